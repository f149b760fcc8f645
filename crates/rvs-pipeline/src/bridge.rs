//! One bridge at one version.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use rvs_l2::VlanSet;
use rvs_openflow::{Group, Meter, TableId};

use crate::mirror::Mirrors;
use crate::numbered::{Groups, Meters};
use crate::ports::Ports;
use crate::table::{Counters, Table, Tables, Unused};

/// A bridge of the daemon; not reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BridgeId(pub u32);

/// What happens to a frame that no rule of a table matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Miss {
    /// OpenFlow 1.3 and later.
    #[default]
    Drop,
    /// OpenFlow 1.0 to 1.2.
    Controller,
    /// On to the next table (`OFPTC_TABLE_MISS_CONTINUE` of 1.1).
    Continue,
}

/// What happens to IPv4 and IPv6 fragments (`OFPC_FRAG_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FragMode {
    /// Later fragments have no ports, the first has.
    #[default]
    Normal,
    Drop,
    /// Later fragments have ports of 0 that can be matched (`OFPC_FRAG_NX_MATCH`).
    NxMatch,
}

/// One table's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableConfig {
    pub name: Option<Arc<str>>,
    /// `None`: as the bridge.
    pub miss: Option<Miss>,
}

/// What configures a bridge as a whole.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tags of an arriving frame that matches see: 1 (what is inside is payload) or 2. One for the whole daemon: in bridges
    /// behind a patch that of the first bridge counts.
    pub vlan_limit: u8,
    /// VLANs in which NORMAL floods instead of learning.
    pub flood_vlans: VlanSet,
    /// Link-local control frames are forwarded like others (`other_config:forward-bpdu`).
    pub forward_bpdu: bool,
    /// The bridge takes part in a spanning tree: its BPDUs end here.
    pub spanning_tree: bool,
    /// That tree speaks the rapid protocol, for those who ask.
    pub rapid: bool,
    pub frags: FragMode,
    pub miss: Miss,
    /// TTL expiry goes to controllers (`OFPC_INVALID_TTL_TO_CONTROLLER`).
    pub invalid_ttl_to_controller: bool,
    /// The bridge's datapath is a dummy, for test suites that compare its cached flows with Open vSwitch's: they have the bits
    /// that are looked at there (what is written counts, and what kind of frame it is), queues their own numbers, and copies of
    /// frames whose TTL expired, whoever wants them.
    pub dummy: bool,
    /// No controller can be reached and `fail_mode` is standalone: the bridge switches by itself, whatever its tables say.
    pub fail_open: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            vlan_limit: 1,
            flood_vlans: VlanSet::empty(),
            forward_bpdu: false,
            spanning_tree: false,
            rapid: false,
            frags: FragMode::Normal,
            miss: Miss::Drop,
            invalid_ttl_to_controller: false,
            dummy: false,
            fail_open: false,
        }
    }
}

/// Traffic of a group and its buckets. Each counter outlives changes of the group that keep what it counts.
#[derive(Debug)]
pub struct GroupCounters {
    pub group: Arc<Counters>,
    /// In the order of the group's buckets.
    pub buckets: Box<[Arc<Counters>]>,
}

/// A group and its counters.
#[derive(Clone, Debug)]
pub struct GroupEntry {
    pub group: Group,
    pub counters: Arc<GroupCounters>,
}

impl GroupEntry {
    pub fn new(group: Group) -> Self {
        Self::counting(group, Arc::default(), |_| Arc::default())
    }

    /// The same group changed: buckets that keep their number keep what they have counted.
    pub fn changed(&self, group: Group) -> Self {
        let old = |id| {
            let mut all = self.group.buckets.iter().zip(&self.counters.buckets);
            all.find(|(b, _)| b.id == id).map(|(_, c)| c.clone())
        };
        Self::counting(group, self.counters.group.clone(), |id| {
            old(id).unwrap_or_default()
        })
    }

    fn counting(group: Group, total: Arc<Counters>, bucket: impl Fn(u32) -> Arc<Counters>) -> Self {
        let buckets = group.buckets.iter().map(|b| bucket(b.id)).collect();
        Self {
            group,
            counters: Arc::new(GroupCounters {
                group: total,
                buckets,
            }),
        }
    }
}

/// A meter of the bridge and its number in the datapath, whose bucket all workers share.
#[derive(Clone, Debug)]
pub struct MeterEntry {
    pub meter: Meter,
    pub dp: rvs_dpif::MeterId,
}

/// Everything about a bridge that a translation reads. Cheap to clone and change: the parts are shared.
#[derive(Clone, Debug)]
pub struct Bridge {
    pub id: BridgeId,
    /// Of its tables: rules are seen that were added at this version or before, and not removed by then. Each bridge counts
    /// for itself, so that what one of them publishes shows nothing of what another is still writing.
    pub version: u64,
    pub name: Arc<str>,
    pub ports: Arc<Ports>,
    pub mirrors: Arc<Mirrors>,
    pub tables: Arc<Tables>,
    /// Counts for the tables that are not among those.
    pub unused: Arc<Unused>,
    pub table_configs: Arc<BTreeMap<TableId, TableConfig>>,
    pub groups: Groups,
    pub meters: Meters,
    pub settings: Arc<Settings>,
}

impl Bridge {
    /// A bridge without ports and rules, of version 1.
    pub fn new(id: BridgeId, name: &str) -> Self {
        Self {
            id,
            version: 1,
            name: name.into(),
            ports: Arc::default(),
            mirrors: Arc::default(),
            tables: Arc::default(),
            unused: Arc::default(),
            table_configs: Arc::default(),
            groups: Groups::default(),
            meters: Meters::default(),
            settings: Arc::default(),
        }
    }

    /// What a miss in that table does.
    pub fn miss(&self, table: TableId) -> Miss {
        self.table_configs
            .get(&table)
            .and_then(|c| c.miss)
            .unwrap_or(self.settings.miss)
    }

    pub fn table(&self, table: TableId) -> Option<&Arc<Table>> {
        self.tables.get(table)
    }
}

/// Adds to a counter that several threads write.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}
