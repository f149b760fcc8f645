//! Flows as statistics: of one version, in slices.

use std::sync::Arc;

use rvs_classifier::Cursor;
use rvs_openflow::message::{AggregateStats, FlowFlags, FlowStats};
use rvs_openflow::{FlowMatch, TableId};
use rvs_packet::Now;
use rvs_pipeline::{Rule, Table};

use super::ofproto::Ofproto;
use super::select::FlowSelect;
use super::txn::match_of;
use crate::Plant;

/// A dump under way. It shows the flows that were there when it began; what is removed meanwhile is kept for it until it
/// ends or is dropped.
#[derive(Debug)]
pub struct FlowDump {
    version: Arc<u64>,
    /// Those still to be shown, last first.
    tables: Vec<Arc<Table>>,
    cursor: Cursor,
    select: FlowSelect,
}

/// A flow of a dump.
#[derive(Clone, Copy, Debug)]
pub struct FlowView<'a> {
    pub table: TableId,
    pub priority: u16,
    pub matching: FlowMatch,
    pub rule: &'a Rule,
}

impl Ofproto {
    /// Begins to show flows. Credits them with what cached traffic has carried so far.
    pub fn dump(&mut self, plant: &mut impl Plant, select: FlowSelect) -> FlowDump {
        plant.credit();
        let bridge = plant.bridge(self.id);
        let version = Arc::new(bridge.as_ref().map_or(0, |b| b.version));
        self.pins.push(Arc::downgrade(&version));
        let mut tables: Vec<_> = match bridge {
            Some(b) if select.table == TableId::ALL => b.tables.iter().cloned().collect(),
            Some(b) => b.table(select.table).cloned().into_iter().collect(),
            None => Vec::new(),
        };
        tables.reverse();
        FlowDump {
            version,
            tables,
            cursor: Cursor::default(),
            select,
        }
    }

    /// Shows flows until about `max` were looked at. True when the dump is complete.
    pub fn dump_next(
        &self,
        dump: &mut FlowDump,
        max: usize,
        mut f: impl FnMut(FlowView<'_>),
    ) -> bool {
        let FlowDump {
            version,
            tables,
            cursor,
            select,
        } = dump;
        while let Some(table) = tables.last() {
            let rules = table.read();
            let complete = rules.scan(**version, cursor, max, select.filter(), |r| {
                if select.admits(r.payload()) {
                    f(FlowView {
                        table: table.id,
                        priority: r.payload().priority,
                        matching: match_of(&r),
                        rule: r.payload(),
                    });
                }
            });
            drop(rules);
            if !complete {
                return false;
            }
            tables.pop();
            *cursor = Cursor::default();
        }
        true
    }

    /// Ends a dump, complete or not.
    pub fn dump_end(&mut self, dump: FlowDump) {
        drop(dump);
        self.pins.retain(|p| p.strong_count() > 0);
    }
}

/// A flow in the words of flow statistics.
pub fn flow_stats(flow: &FlowView<'_>, now: Now) -> FlowStats {
    let rule = flow.rule;
    let (idle_timeout, hard_timeout) = rule.timeouts();
    let there = now.since(rule.created);
    let age = |since: Now| Some(seconds(now.since(since).as_secs()));
    FlowStats {
        table: flow.table,
        matching: flow.matching,
        priority: flow.priority,
        cookie: rule.cookie,
        duration_sec: seconds(there.as_secs()),
        duration_nsec: there.subsec_nanos(),
        idle_timeout,
        hard_timeout,
        idle_age: age(idle_since(rule)),
        hard_age: age(rule.young_since()),
        flags: flags(rule),
        importance: rule.importance,
        packets: rule.counters.packets(),
        bytes: rule.counters.bytes(),
        triggered: false,
        instructions: rule.instructions.clone(),
    }
}

/// Since when the flow has been idle, as Open vSwitch counts it: a flow that was put in the place of another goes on with its
/// idle age. Its timeout begins anew all the same.
fn idle_since(rule: &Rule) -> Now {
    let used = rule.counters.used();
    if rule.flags.replaces && used != Now::ZERO {
        return used;
    }
    rule.created.max(used)
}

fn flags(rule: &Rule) -> FlowFlags {
    let f = &rule.flags;
    let bits = [
        (f.send_flow_removed, FlowFlags::SEND_FLOW_REM),
        (f.check_overlap, FlowFlags::CHECK_OVERLAP),
        (f.reset_counts, FlowFlags::RESET_COUNTS),
        (f.no_packet_counts, FlowFlags::NO_PKT_COUNTS),
        (f.no_byte_counts, FlowFlags::NO_BYT_COUNTS),
    ];
    let set = bits.into_iter().filter(|(on, _)| *on);
    set.fold(FlowFlags::default(), |all, (_, bit)| all.with(bit))
}

/// Adds a flow to an aggregate.
pub fn aggregate(sum: &mut AggregateStats, flow: &FlowView<'_>) {
    sum.flows = sum.flows.saturating_add(1);
    let c = &flow.rule.counters;
    sum.packets = sum.packets.saturating_add(c.packets());
    sum.bytes = sum.bytes.saturating_add(c.bytes());
}

pub(super) fn seconds(s: u64) -> u32 {
    u32::try_from(s).unwrap_or(u32::MAX)
}
