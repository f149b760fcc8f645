//! Egress queues as the database asks for them: tables QoS and Queue.
//!
//! A port that names no QoS row is left as it is: whatever discipline is on its device is somebody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rvs_ovsdb::database::{Database, Delta};
use rvs_ovsdb::{RowRef, Uuid};
use rvs_pipeline::{frame_priority, QUEUES};

use crate::ports::row;

/// Types of QoS that are known, as `qos/show-types` lists them.
pub const TYPES: &[&str] = &[
    "linux-codel",
    "linux-fq_codel",
    "linux-htb",
    "linux-noop",
    "linux-sfq",
];

/// What is to be at the egress of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qos {
    pub kind: QosKind,
    /// `other_config:max-rate` in bit/s.
    pub max_rate: Option<u64>,
    /// By number; queue 0 is among them where there are queues at all.
    pub queues: BTreeMap<u32, Queue>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QosKind {
    /// `linux-noop`: whatever is there.
    Noop,
    /// `linux-htb`
    Htb,
    /// A discipline without queues, by its name in the kernel.
    Plain(String),
    /// A type that there is not.
    Unknown(String),
}

/// One row of table Queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// In bit/s.
    pub min_rate: Option<u64>,
    pub max_rate: Option<u64>,
    /// In bits.
    pub burst: Option<u64>,
    pub priority: u32,
    /// Written into what the queue sends.
    pub dscp: Option<u8>,
}

impl QosKind {
    fn of(text: &str) -> Self {
        match text.strip_prefix("linux-") {
            Some("noop") => Self::Noop,
            Some("htb") => Self::Htb,
            Some(kind @ ("codel" | "fq_codel" | "sfq")) => Self::Plain(kind.to_owned()),
            _ => Self::Unknown(text.to_owned()),
        }
    }

    /// The type as the database names it.
    pub fn name(&self) -> String {
        match self {
            Self::Noop => "linux-noop".to_owned(),
            Self::Htb => "linux-htb".to_owned(),
            Self::Plain(kind) => format!("linux-{kind}"),
            Self::Unknown(text) => text.clone(),
        }
    }
}

/// What the port's row asks for. A type that is empty asks for nothing.
pub(crate) fn read(db: &Database, port: RowRef<'_>) -> Option<Qos> {
    let qos = row(db, "QoS", port.set_of_uuid("qos").next()?)?;
    let kind = match qos.str("type") {
        "" => return None,
        text => QosKind::of(text),
    };
    let mut queues = BTreeMap::new();
    if kind == QosKind::Htb {
        queues = queues_of(qos)
            .filter_map(|(n, uuid)| Some((n, Queue::read(row(db, "Queue", uuid)?))))
            .collect();
        queues.entry(0).or_insert_with(Queue::default);
    }
    let max_rate = number(qos, "max-rate").filter(|r| *r > 0);
    Some(Qos {
        kind,
        max_rate,
        queues,
    })
}

impl Queue {
    fn read(row: RowRef<'_>) -> Self {
        let priority = number(row, "priority").unwrap_or(0);
        Self {
            min_rate: number(row, "min-rate"),
            max_rate: number(row, "max-rate"),
            burst: number(row, "burst"),
            priority: u32::try_from(priority).unwrap_or(u32::MAX),
            dscp: row.opt_int("dscp").and_then(|d| u8::try_from(d).ok()),
        }
    }
}

fn number(row: RowRef<'_>, key: &str) -> Option<u64> {
    row.map_value("other_config", key)?.parse().ok()
}

/// What a port's queues write into the DSCP, by the priority of their frames.
pub(crate) fn dscp(qos: Option<&Qos>, dummy: bool) -> Arc<[(u32, u8)]> {
    let queues = qos.into_iter().flat_map(|q| &q.queues);
    let marks = queues.filter_map(|(n, queue)| Some((frame_priority(*n, dummy)?, queue.dscp?)));
    marks.collect()
}

/// Numbers and rows of the queues that can be.
fn queues_of(qos: RowRef<'_>) -> impl Iterator<Item = (u32, Uuid)> + '_ {
    let all = qos.int_to_uuid("queues");
    all.filter_map(|(n, uuid)| Some((u32::try_from(n).ok().filter(|n| *n < QUEUES)?, uuid)))
}

/// Ports whose queues a change of tables QoS and Queue may touch.
pub(crate) fn touched(db: &Database, delta: &Delta) -> BTreeSet<Uuid> {
    let rows = |table| {
        let all = delta.table(table).map(|c| c.uuid());
        all.collect::<BTreeSet<Uuid>>()
    };
    let (mut qos, queues) = (rows("QoS"), rows("Queue"));
    if qos.is_empty() && queues.is_empty() {
        return BTreeSet::new();
    }
    if let Some(table) = db.table("QoS") {
        let names = |r: &RowRef<'_>| queues_of(*r).any(|(_, uuid)| queues.contains(&uuid));
        qos.extend(table.rows().filter(names).map(|r| r.uuid()));
    }
    let ports = db.table("Port").into_iter().flat_map(|t| t.rows());
    let has = |r: &RowRef<'_>| r.set_of_uuid("qos").any(|uuid| qos.contains(&uuid));
    ports.filter(has).map(|r| r.uuid()).collect()
}
