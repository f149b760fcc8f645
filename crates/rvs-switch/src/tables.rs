//! Rows of table Flow_Table: how many flows a table of a bridge holds, what happens when it is full, and its name.

use std::collections::{BTreeMap, BTreeSet};

use rvs_ofproto::{Plant as _, TableLimit};
use rvs_openflow::TableId;
use rvs_ovsdb::database::{Database, Delta};
use rvs_ovsdb::{RowRef, Uuid};
use rvs_packet::Now;
use rvs_pipeline::BridgeId;

use crate::ports::row;
use crate::switch::{Rim, Switch};

/// Bridges whose tables a change of table Flow_Table may touch.
pub(crate) fn touched(db: &Database, delta: &Delta) -> BTreeSet<Uuid> {
    let tables: BTreeSet<Uuid> = delta.table("Flow_Table").map(|c| c.uuid()).collect();
    if tables.is_empty() {
        return BTreeSet::new();
    }
    let bridges = db.table("Bridge").into_iter().flat_map(|t| t.rows());
    let has = |r: &RowRef<'_>| {
        let mut of_bridge = r.int_to_uuid("flow_tables");
        of_bridge.any(|(_, uuid)| tables.contains(&uuid))
    };
    bridges.filter(has).map(|r| r.uuid()).collect()
}

/// What the database says of tables of a bridge.
fn read(db: &Database, bridge: Uuid) -> BTreeMap<TableId, TableLimit> {
    let Some(bridge) = row(db, "Bridge", bridge) else {
        return BTreeMap::new();
    };
    let tables = bridge.int_to_uuid("flow_tables").filter_map(|(n, uuid)| {
        let id = u8::try_from(n)
            .ok()
            .map(TableId)
            .filter(|id| *id <= TableId::MAX)?;
        Some((id, limit(row(db, "Flow_Table", uuid)?)))
    });
    tables.collect()
}

fn limit(row: RowRef<'_>) -> TableLimit {
    TableLimit {
        // More than 32 bits hold is no limit.
        flows: row
            .opt_int("flow_limit")
            .and_then(|n| u32::try_from(n).ok()),
        evicts: row.opt_str("overflow_policy") == Some("evict"),
        name: row.opt_str("name").and_then(name),
        // A field that there is not divides nothing.
        groups: row
            .set_of_str("groups")
            .filter_map(|t| t.parse().ok())
            .collect(),
    }
}

/// A table's name as OpenFlow can say it (31 octets and a zero that ends it); one without anything is none.
fn name(given: &str) -> Option<Box<str>> {
    const OCTETS: usize = 31;
    let mut name = String::new();
    for c in given.chars().take_while(|c| *c != '\0') {
        if name.len() + c.len_utf8() > OCTETS {
            break;
        }
        name.push(c);
    }
    (!name.is_empty()).then(|| name.into())
}

impl<R: Rim> Switch<R> {
    /// Has the bridge's tables be as the database says, as far as that is new.
    pub(crate) fn tell_tables(&mut self, now: Now, uuid: Uuid, id: BridgeId) {
        let wanted = read(self.database(), uuid);
        let Some(office) = self.offices.get_mut(&id) else {
            return;
        };
        let old = std::mem::replace(&mut office.tables, wanted.clone());
        let gone = old.keys().filter(|t| !wanted.contains_key(t)).copied();
        let gone: Vec<_> = gone.map(|t| (t, TableLimit::default())).collect();
        let new = wanted
            .into_iter()
            .filter(|(t, limit)| old.get(t) != Some(limit));
        for (table, limit) in gone.into_iter().chain(new) {
            self.with_agent(id, |agent, plant| {
                agent.state.set_table_limit(now, table, &limit, plant);
                plant.settle();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A controller that gives back what table features said changes nothing.
    #[test]
    fn tables_have_names_that_openflow_can_say() {
        let long = "é".repeat(20);
        for (given, want) in [
            ("acl", Some("acl")),
            ("", None),
            ("\0x", None),
            ("a\0x", Some("a")),
            (&"x".repeat(31), Some("x".repeat(31).as_str())),
            (&"x".repeat(32), Some("x".repeat(31).as_str())),
            (&long, Some("é".repeat(15).as_str())),
        ] {
            assert_eq!(name(given).as_deref(), want, "{given:?}");
        }
    }
}
