//! Statistics and descriptions of tables, groups and meters.

use rvs_flow::field::{FieldId, FIELDS};
use rvs_openflow::message::{
    GroupFeatures, GroupStats, MeterFeatures, MeterStats, PacketCount, TableConfig, TableFeatures,
    TableProperty, TableStats,
};
use rvs_openflow::{ErrorCode, Group, GroupId, Meter, MeterId, OfError, TableId, Version};
use rvs_packet::Now;
use rvs_pipeline::{Counters, GroupEntry};

use super::dump::seconds;
use super::ofproto::Ofproto;
use super::table_mod::{instructions, next_tables};
use crate::Plant;

/// Types of actions that every table takes: output, then copy_ttl_out to pop_pbb.
const ACTIONS: [u16; 16] = [
    0, 11, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
];
/// Those of OpenFlow 1.5: copy_field and meter.
const ACTIONS_15: [u16; 2] = [28, 29];

/// `OFPTC_EVICTION | OFPTC_VACANCY_EVENTS`.
const TABLE_CAPABILITIES: u32 = 0xc;

/// Weights, liveness, chaining. Loops are refused, but not deletions of groups that others forward to, so that this is no
/// `OFPGFC_CHAINING_CHECKS`.
const GROUP_CAPABILITIES: u32 = 0x7;

/// Types drop and dscp_remark; units kbps and pktps, burst, statistics.
const BAND_TYPES: u32 = 1 << 1 | 1 << 2;
const METER_CAPABILITIES: u32 = 0xf;

/// Every action of 1.0 and of 1.1 has a type of its own: output to enqueue, output to dec_nw_ttl.
const ACTIONS_10: u32 = (1 << 12) - 1;
const ACTIONS_11: u32 = (1 << 25) - 1;
/// push_pbb and pop_pbb, which came with 1.3.
const PBB_ACTIONS: u32 = 1 << 26 | 1 << 27;

fn bits(types: &[u16]) -> u32 {
    types.iter().fold(0, |all, t| all | 1 << t)
}

fn tables() -> impl Iterator<Item = TableId> {
    (0..=TableId::MAX.0).map(TableId)
}

impl Ofproto {
    /// Every table, used or not.
    pub fn table_stats(&self, plant: &mut impl Plant) -> Vec<TableStats> {
        plant.credit();
        let Some(bridge) = plant.bridge(self.id) else {
            return Vec::new();
        };
        tables()
            .map(|id| {
                let table = bridge.table(id);
                let (lookups, matched) = table.map_or((0, 0), |t| t.counters());
                TableStats {
                    table: id,
                    name: self.table_name(&bridge, id),
                    max_entries: count(self.told_limit(id)),
                    config: self.table_config(&bridge, id).miss as u32,
                    active: table.map_or(0, |t| count(t.read().len())),
                    lookups: lookups.saturating_add(bridge.unused.lookups(id)),
                    matched,
                }
            })
            .collect()
    }

    fn table_name(&self, bridge: &rvs_pipeline::Bridge, id: TableId) -> String {
        let name = bridge
            .table_configs
            .get(&id)
            .and_then(|c| c.name.as_deref());
        name.unwrap_or_default().into()
    }

    /// Every table, in the fields of `version`. All can do the same, but the last has no next.
    pub fn table_features(&self, version: Version, plant: &impl Plant) -> Vec<TableFeatures> {
        let Some(bridge) = plant.bridge(self.id) else {
            return Vec::new();
        };
        tables()
            .map(|id| TableFeatures {
                table: id,
                command: 0,
                name: self.table_name(&bridge, id),
                metadata_match: u64::MAX,
                metadata_write: u64::MAX,
                capabilities: TABLE_CAPABILITIES,
                max_entries: count(self.told_limit(id)),
                properties: properties(id, version),
            })
            .collect()
    }

    /// Every table's configuration.
    pub fn table_desc(&self, plant: &impl Plant) -> Vec<TableConfig> {
        let Some(bridge) = plant.bridge(self.id) else {
            return Vec::new();
        };
        tables().map(|id| self.table_config(&bridge, id)).collect()
    }

    /// One group, or [`GroupId::ALL`]. No group is no error.
    pub fn group_stats(&self, now: Now, id: GroupId, plant: &mut impl Plant) -> Vec<GroupStats> {
        plant.credit();
        let mut all = Vec::new();
        self.each_group(id, plant, |g| all.push(self.stats_of_group(now, g)));
        all
    }

    fn stats_of_group(&self, now: Now, g: &GroupEntry) -> GroupStats {
        let id = g.group.id;
        let info = self.groups.get(&id);
        let there = info.map_or_else(Default::default, |i| now.since(i.created));
        let parents = self.parents.get(&id).map_or(0, |p| p.len());
        GroupStats {
            id,
            ref_count: count(self.index.by_group(id).len() + parents),
            total: counted(&g.counters.group),
            duration_sec: seconds(there.as_secs()),
            duration_nsec: there.subsec_nanos(),
            buckets: g.counters.buckets.iter().map(|b| counted(b)).collect(),
        }
    }

    /// One group, or [`GroupId::ALL`].
    pub fn group_desc(&self, id: GroupId, plant: &impl Plant) -> Vec<Group> {
        let mut all = Vec::new();
        self.each_group(id, plant, |g| all.push(g.group.clone()));
        all
    }

    fn each_group(&self, id: GroupId, plant: &impl Plant, mut f: impl FnMut(&GroupEntry)) {
        let Some(bridge) = plant.bridge(self.id) else {
            return;
        };
        if id == GroupId::ALL || id == GroupId::ANY {
            bridge.groups.sorted().into_iter().for_each(|g| f(g));
        } else if let Some(g) = bridge.groups.get(id) {
            f(g);
        }
    }

    /// In the types of actions of that version.
    pub fn group_features(&self, version: Version) -> GroupFeatures {
        let actions = match version {
            Version::Of10 => ACTIONS_10,
            Version::Of11 => ACTIONS_11,
            Version::Of12 => bits(&ACTIONS) & !PBB_ACTIONS,
            Version::Of13 | Version::Of14 => bits(&ACTIONS),
            Version::Of15 => bits(&ACTIONS) | bits(&ACTIONS_15),
        };
        GroupFeatures {
            types: 0xf,
            capabilities: GROUP_CAPABILITIES,
            max_groups: [count(self.limits.groups); 4],
            actions: [actions; 4],
        }
    }

    /// One meter, or [`MeterId::ALL`].
    ///
    /// # Errors
    /// [`ErrorCode::MmfcUnknownMeter`].
    pub fn meter_stats(
        &self,
        now: Now,
        id: MeterId,
        plant: &mut impl Plant,
    ) -> Result<Vec<MeterStats>, OfError> {
        plant.credit();
        let mut all = Vec::new();
        for m in self.meter_config(id, plant)? {
            all.extend(self.stats_of_meter(now, m.id));
        }
        Ok(all)
    }

    fn stats_of_meter(&self, now: Now, id: MeterId) -> Option<MeterStats> {
        let info = self.meters.get(&id)?;
        let there = now.since(info.created);
        let count_of = |c: rvs_dpif::meter::MeterCount| PacketCount {
            packets: c.packets,
            bytes: c.bytes,
        };
        Some(MeterStats {
            id,
            flow_count: count(self.index.by_meter(id).len()),
            total: count_of(info.meter.total()),
            duration_sec: seconds(there.as_secs()),
            duration_nsec: there.subsec_nanos(),
            bands: info.meter.bands().map(|(_, c)| count_of(c)).collect(),
        })
    }

    /// One meter, or [`MeterId::ALL`].
    ///
    /// # Errors
    /// [`ErrorCode::MmfcUnknownMeter`].
    pub fn meter_config(&self, id: MeterId, plant: &impl Plant) -> Result<Vec<Meter>, OfError> {
        let bridge = plant.bridge(self.id);
        let meters = bridge.iter().flat_map(|b| match id {
            MeterId::ALL => b.meters.sorted(),
            id => b.meters.get(id).into_iter().collect(),
        });
        let all: Vec<_> = meters.map(|m| m.meter.clone()).collect();
        if all.is_empty() && id != MeterId::ALL {
            return Err(ErrorCode::MmfcUnknownMeter.because(format!("no meter {} is there", id.0)));
        }
        Ok(all)
    }

    pub fn meter_features(&self) -> MeterFeatures {
        MeterFeatures {
            max_meter: count(self.limits.meters),
            band_types: BAND_TYPES,
            capabilities: METER_CAPABILITIES,
            max_bands: self.limits.bands,
            max_color: 0,
        }
    }
}

fn properties(id: TableId, version: Version) -> Vec<TableProperty> {
    let named = || {
        FIELDS
            .iter()
            .filter(|f| f.oxm_for(version.wire()).is_some())
    };
    let fields: Vec<FieldId> = named().map(|f| f.id).collect();
    let writable: Vec<FieldId> = named()
        .filter(|f| f.writable || f.announces())
        .map(|f| f.id)
        .collect();
    let (miss, mut types) = (false, ACTIONS.to_vec());
    if version >= Version::Of15 {
        types.extend(ACTIONS_15);
    }
    vec![
        TableProperty::Instructions {
            miss,
            types: instructions(id, version).collect(),
        },
        TableProperty::NextTables {
            miss,
            tables: next_tables(id).collect(),
        },
        TableProperty::WriteActions {
            miss,
            types: types.clone(),
        },
        TableProperty::ApplyActions { miss, types },
        TableProperty::Match(named().map(|f| (f.id, f.maskable)).collect()),
        TableProperty::Wildcards(fields),
        TableProperty::WriteSetField {
            miss,
            fields: writable.clone(),
        },
        TableProperty::ApplySetField {
            miss,
            fields: writable,
        },
    ]
}

fn counted(c: &Counters) -> PacketCount {
    PacketCount {
        packets: c.packets(),
        bytes: c.bytes(),
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
