//! Mirrors of a bridge: rows of table Mirror, and what is made of them.
//!
//! A mirror keeps its place among those of its bridge, and its counters, for as long as its row is there. One that can't work
//! (no output, an output that is no port of the bridge, one too many) is left out of the snapshot, with a warning.

use std::collections::BTreeSet;
use std::sync::Arc;

use rvs_l2::{BundleId, VlanSet};
use rvs_ovsdb::database::Database;
use rvs_ovsdb::{RowRef, Uuid};
use rvs_packet::VlanId;
use rvs_pipeline::{Mirror, MirrorOutput, MirrorPorts, Mirrors, PortTraffic, MAX_MIRRORS};

use crate::ports::{row, BridgeState, Changes};

/// One row of table Mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorConfig {
    pub uuid: Uuid,
    pub name: String,
    pub select_all: bool,
    /// Rows of table Port.
    pub select_src_port: Vec<Uuid>,
    pub select_dst_port: Vec<Uuid>,
    /// Empty for all.
    pub select_vlan: VlanSet,
    pub output_port: Option<Uuid>,
    pub output_vlan: Option<VlanId>,
    /// Octets of a copy, at most: 14..=65535.
    pub snaplen: Option<u16>,
}

impl MirrorConfig {
    pub fn read(row: RowRef<'_>) -> Self {
        let vlan = |n: i64| u16::try_from(n).ok().and_then(VlanId::new);
        Self {
            uuid: row.uuid(),
            name: row.str("name").to_owned(),
            select_all: row.bool("select_all"),
            select_src_port: row.set_of_uuid("select_src_port").collect(),
            select_dst_port: row.set_of_uuid("select_dst_port").collect(),
            select_vlan: row.set_of_int("select_vlan").filter_map(vlan).collect(),
            output_port: row.set_of_uuid("output_port").next(),
            output_vlan: row.opt_int("output_vlan").and_then(vlan),
            // The longest that there can be cuts nothing.
            snaplen: row
                .opt_int("snaplen")
                .and_then(|n| u16::try_from(n).ok())
                .filter(|n| *n != u16::MAX),
        }
    }
}

/// A mirror as it is.
#[derive(Debug)]
pub struct MirrorState {
    pub cfg: MirrorConfig,
    /// Copies that it has sent.
    pub traffic: Arc<PortTraffic>,
}

impl BridgeState {
    /// Goes from the mirrors that are to those in `db`.
    pub(crate) fn update_mirrors(&mut self, db: &Database, changes: &mut Changes) {
        let wanted = &self.cfg.mirrors;
        self.mirrors.retain(|m| wanted.contains(&m.cfg.uuid));
        for uuid in wanted {
            let Some(cfg) = row(db, "Mirror", *uuid).map(MirrorConfig::read) else {
                continue;
            };
            match self.mirrors.iter_mut().find(|m| m.cfg.uuid == *uuid) {
                Some(known) if known.cfg == cfg => continue,
                Some(known) => known.cfg = cfg,
                None => self.mirrors.push(MirrorState {
                    cfg,
                    traffic: Arc::default(),
                }),
            }
            changes.warnings.extend(self.complaint(*uuid));
        }
    }

    /// What is wrong with a mirror that is new or changed.
    fn complaint(&self, uuid: Uuid) -> Option<String> {
        let place = self.mirrors.iter().position(|m| m.cfg.uuid == uuid)?;
        let cfg = &self.mirrors.get(place)?.cfg;
        let text = match (cfg.output_port, cfg.output_vlan) {
            _ if place >= MAX_MIRRORS => {
                format!("a bridge has at most {MAX_MIRRORS} mirrors; this one does nothing")
            }
            (None, None) => "no output_port and no output_vlan; it does nothing".to_owned(),
            (Some(port), _) if !self.cfg.ports.contains(&port) => {
                "output_port is not on the bridge; it does nothing".to_owned()
            }
            (Some(_), Some(_)) => "output_port is there, output_vlan is ignored".to_owned(),
            _ => return None,
        };
        Some(format!(
            "Bridge {}: mirror {}: {text}",
            self.cfg.name, cfg.name
        ))
    }
}

/// Mirrors for the snapshot. `bundle` tells under which number a row of table Port is open.
pub fn snapshot(state: &BridgeState, bundle: impl Fn(Uuid) -> Option<BundleId>) -> Mirrors {
    let ports = |cfg: &MirrorConfig, rows: &[Uuid]| match cfg.select_all {
        true => MirrorPorts::All,
        false => MirrorPorts::These(
            rows.iter()
                .filter_map(|p| bundle(*p))
                .collect::<BTreeSet<_>>(),
        ),
    };
    let mirror = |m: &MirrorState| {
        let cfg = &m.cfg;
        let output = match cfg.output_port {
            Some(port) => MirrorOutput::Port(bundle(port)?),
            None => MirrorOutput::Vlan(cfg.output_vlan?),
        };
        Some(Mirror {
            name: cfg.name.as_str().into(),
            arriving: ports(cfg, &cfg.select_src_port),
            leaving: ports(cfg, &cfg.select_dst_port),
            vlans: cfg.select_vlan.clone(),
            output,
            snaplen: cfg.snaplen,
            traffic: m.traffic.clone(),
        })
    };
    let able = state.mirrors.iter().take(MAX_MIRRORS);
    able.filter_map(mirror).collect()
}
