//! The snapshot of everything that a translation may read.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::AHashMap;
use rvs_flow::{DpPort, OfPort};
use rvs_l2::MacTable;

use crate::bridge::{Bridge, BridgeId};
use crate::ports::Port;
use crate::translation::FrozenStates;

/// All bridges of the daemon at one version. Patch ports cross bridges, so one translation may visit several.
///
/// A changed world shares with the old one what did not change: deriving it costs a handful of reference counts. The tables
/// are shared too; their rules carry versions, and a translation sees the rules of the versions that the bridges have.
#[derive(Clone, Debug, Default)]
pub struct World {
    version: u64,
    bridges: BTreeMap<BridgeId, Arc<Bridge>>,
    by_port: Arc<AHashMap<DpPort, (BridgeId, OfPort)>>,
}

impl World {
    /// A world without bridges.
    pub fn new(version: u64) -> Self {
        Self {
            version,
            ..Self::default()
        }
    }

    /// Counts the worlds that were published.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A world of `version` in which `bridge` is as given, new or changed.
    pub fn with_bridge(&self, version: u64, bridge: Bridge) -> Self {
        let mut bridges = self.bridges.clone();
        let old = bridges.insert(bridge.id, Arc::new(bridge.clone()));
        let same_ports = old.is_some_and(|o| Arc::ptr_eq(&o.ports, &bridge.ports));
        let by_port = if same_ports {
            self.by_port.clone()
        } else {
            index(&bridges)
        };
        Self {
            version,
            bridges,
            by_port,
        }
    }

    /// A world of `version` without that bridge.
    pub fn without_bridge(&self, version: u64, id: BridgeId) -> Self {
        let mut bridges = self.bridges.clone();
        bridges.remove(&id);
        let by_port = index(&bridges);
        Self {
            version,
            bridges,
            by_port,
        }
    }

    pub fn bridge(&self, id: BridgeId) -> Option<&Arc<Bridge>> {
        self.bridges.get(&id)
    }

    pub fn bridge_by_name(&self, name: &str) -> Option<&Arc<Bridge>> {
        self.bridges.values().find(|b| &*b.name == name)
    }

    /// Every bridge, by id.
    pub fn bridges(&self) -> impl Iterator<Item = &Arc<Bridge>> {
        self.bridges.values()
    }

    /// The bridge and port that a datapath port belongs to.
    pub fn port(&self, port: DpPort) -> Option<(&Arc<Bridge>, &Port)> {
        let (bridge, of) = self.by_port.get(&port)?;
        let bridge = self.bridges.get(bridge)?;
        Some((bridge, bridge.ports.get(*of)?))
    }
}

fn index(bridges: &BTreeMap<BridgeId, Arc<Bridge>>) -> Arc<AHashMap<DpPort, (BridgeId, OfPort)>> {
    let ports = bridges.values().flat_map(|b| {
        b.ports
            .iter()
            .filter_map(|p| p.dp().map(|dp| (dp, (b.id, p.of))))
    });
    Arc::new(ports.collect())
}

/// The MAC table of every bridge: the one thing beside the world that a translation reads.
#[derive(Debug, Default)]
pub struct MacTables(AHashMap<BridgeId, MacTable>);

impl MacTables {
    pub fn get(&self, bridge: BridgeId) -> Option<&MacTable> {
        self.0.get(&bridge)
    }

    pub fn get_mut(&mut self, bridge: BridgeId) -> Option<&mut MacTable> {
        self.0.get_mut(&bridge)
    }

    pub fn insert(&mut self, bridge: BridgeId, table: MacTable) {
        self.0.insert(bridge, table);
    }

    pub fn remove(&mut self, bridge: BridgeId) -> Option<MacTable> {
        self.0.remove(&bridge)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (BridgeId, &mut MacTable)> {
        self.0.iter_mut().map(|(b, t)| (*b, t))
    }
}

/// Everything that a translation reads.
#[derive(Clone, Copy, Debug)]
pub struct PipelineView<'a> {
    pub world: &'a World,
    pub macs: &'a MacTables,
    /// What frames that recirculated have behind them.
    pub frozen: &'a FrozenStates,
}
