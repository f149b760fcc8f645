//! Table-mods, table features that controllers set, and the limits of tables.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use rvs_flow::SubField;
use rvs_openflow::message::{
    FlowRemovedReason, TableConfig, TableFeatures, TableMiss, TableProperty,
};
use rvs_openflow::message::{TableReason, TableStatus, Vacancy};
use rvs_openflow::{ErrorCode, OfError, TableId, Version};
use rvs_packet::Now;
use rvs_pipeline::{Bridge, Miss};

use super::evictable::Evictable;
use super::limits::{SLICE, TOLD};
use super::ofproto::Ofproto;
use super::select::Rules;
use super::txn::{Step, Txn};
use super::Event;
use crate::{Author, Plant};

/// A row of table Flow_Table: what the database says of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableLimit {
    /// Flows that it holds at most.
    pub flows: Option<u32>,
    /// Flows with a timeout make room in a full table.
    pub evicts: bool,
    pub name: Option<Box<str>>,
    /// Fields that divide the flows into groups: the largest group makes room.
    pub groups: Box<[SubField]>,
}

/// What is configured of a table beside what packets see.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TableState {
    /// By the database.
    pub(super) limit: TableLimit,
    /// All flows do, says a controller (`OFPTC_EVICTION`).
    pub(super) evict_all: bool,
    pub(super) vacancy: Option<VacancyEvents>,
}

/// Percents of room at which events go out, and which one is next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct VacancyEvents {
    down: u8,
    up: u8,
    next: TableReason,
}

/// `OFPTMPEF_OTHER | OFPTMPEF_IMPORTANCE | OFPTMPEF_LIFETIME`: what counts in an eviction.
pub(super) const EVICTION_FLAGS: u32 = 7;

/// Types of instructions, from goto_table to meter and stat_trigger.
const GOTO_TABLE: u16 = 1;
const METER: u16 = 6;
const STAT_TRIGGER: u16 = 7;

/// `OFPTFC_*`.
const REPLACE: u8 = 0;
const MODIFY: u8 = 1;

impl<P: Plant> Txn<'_, P> {
    /// Configures one table or all.
    pub(super) fn table_mod(&mut self, m: &TableConfig) -> Result<(), OfError> {
        let all = match m.table {
            TableId::ALL => 0..=TableId::MAX.0,
            id if id <= TableId::MAX => id.0..=id.0,
            id => {
                return Err(ErrorCode::TmfcBadTable.because(format!("no table {} is there", id.0)))
            }
        };
        for id in all.map(TableId) {
            // What a miss does is a setting of 1.1 and 1.2; from 1.3 on a flow says it.
            if self.w.author.version < Version::Of13 {
                self.set_miss(id, m.miss);
            } else if self.w.author.version >= Version::Of14 {
                self.set_eviction(id, m);
            }
        }
        Ok(())
    }

    fn set_miss(&mut self, id: TableId, miss: TableMiss) {
        let miss = match miss {
            TableMiss::Controller => Miss::Controller,
            TableMiss::Continue => Miss::Continue,
            TableMiss::Drop => Miss::Drop,
        };
        let configs = Arc::make_mut(&mut self.w.bridge.table_configs);
        configs.entry(id).or_default().miss = Some(miss);
        self.changed_everything();
    }

    fn set_eviction(&mut self, id: TableId, m: &TableConfig) {
        self.configure(id, |t, room| {
            t.evict_all = m.eviction;
            let given = m.vacancy.unwrap_or_default();
            t.vacancy = m.vacancy_events.then_some(VacancyEvents {
                down: given.down,
                up: given.up,
                // Whichever side the table is on, the event that comes next is the one of the other side.
                next: if room < given.up {
                    TableReason::VacancyUp
                } else {
                    TableReason::VacancyDown
                },
            });
        });
    }

    /// Changes what is configured of a table; `f` is told how much room there is, in percent.
    pub(super) fn configure(&mut self, id: TableId, f: impl FnOnce(&mut TableState, u8)) {
        let room = self.state.room(&self.w.bridge, id);
        let old = self.state.tables.get(&id).cloned();
        let t = self.state.tables.entry(id).or_default();
        let before = (t.limit.evicts, t.evict_all, t.limit.groups.clone());
        f(t, room);
        let evicts = (t.limit.evicts, t.evict_all, t.limit.groups.clone()) != before;
        self.step(Step::Table(id, old.map(Box::new)));
        if evicts {
            self.state
                .index_evictions(&self.w.bridge, id, self.w.version);
        }
    }

    /// Takes the names of tables, and refuses whatever tables can't do or can't do without (OpenFlow 1.3.5 section 7.3.5.5).
    pub(super) fn set_table_features(&mut self, all: &[TableFeatures]) -> Result<(), OfError> {
        let old = self.w.author.version < Version::Of15;
        let mut seen = BTreeSet::new();
        for f in all {
            if f.table > TableId::MAX {
                return Err(ErrorCode::TffcBadTable.because(format!("no table {}", f.table.0)));
            }
            if !seen.insert(f.table) {
                return Err(ErrorCode::NxtffcDupTable.because(format!("table {} twice", f.table.0)));
            }
            if f.command > MODIFY {
                return Err(ErrorCode::TffcEperm.because("tables can't be enabled or disabled"));
            }
            let given = self.state.tables.get(&f.table);
            let given = given.and_then(|t| t.limit.name.as_deref());
            if given.is_some_and(|n| *n != *f.name) {
                return Err(
                    ErrorCode::TffcEperm.because(format!("the database names table {}", f.table.0))
                );
            }
            let limit = self.state.told_limit(f.table);
            if usize::try_from(f.max_entries) != Ok(limit) {
                let code = if old {
                    ErrorCode::TffcEperm
                } else {
                    ErrorCode::TffcBadMaxEnt
                };
                return Err(code.because(format!(
                    "{} entries in table {}; it holds {limit}",
                    f.max_entries, f.table.0
                )));
            }
            let code = if old {
                ErrorCode::TffcEperm
            } else {
                ErrorCode::TffcBadFeatures
            };
            f.properties
                .iter()
                .try_for_each(|p| check_property(f.table, p, self.w.author.version, code))?;
        }
        let replaces = old || all.iter().any(|f| f.command == REPLACE);
        if replaces && seen.len() <= usize::from(TableId::MAX.0) {
            return Err(ErrorCode::TffcEperm.because(format!(
                "{} tables; there are always {}",
                seen.len(),
                u16::from(TableId::MAX.0) + 1
            )));
        }
        for f in all {
            self.name_table(f.table, Some(&f.name));
        }
        Ok(())
    }

    /// Evicts some of what a lower limit leaves no room for, once all flows are in order. A table that does not evict keeps what it
    /// has.
    fn shrink(&mut self, id: TableId) {
        let limit = self.state.table_limit(id);
        let table = self.w.bridge.table(id).cloned();
        let (Some(table), Some(flows)) = (table, self.state.index.evictable(id)) else {
            self.state.large.remove(&id);
            return;
        };
        let mut rules = table.write();
        if !flows.place_some(&rules, self.w.version, SLICE) {
            self.state.large.insert(id);
            return;
        }
        let mut looks = SLICE;
        for _ in 0..SLICE {
            if rules.len() <= limit || self.evict(id, &mut rules, &mut looks).is_none() {
                self.state.large.remove(&id);
                return;
            }
        }
        self.state.large.insert(id);
    }

    /// Takes the flow out of the table that makes room first. `None`: none does.
    pub(super) fn evict(
        &mut self,
        id: TableId,
        rules: &mut Rules,
        looks: &mut usize,
    ) -> Option<()> {
        let flows = self.state.index.evictable(id)?;
        let victim = flows.victim(rules, self.w.version, looks)?;
        self.remove(id, rules, victim, Some(FlowRemovedReason::Eviction))?;
        Some(())
    }

    /// `None` or nothing takes the name away.
    pub(super) fn name_table(&mut self, id: TableId, name: Option<&str>) {
        let name = name.filter(|n| !n.is_empty());
        let old = self.w.bridge.table_configs.get(&id);
        if old.and_then(|c| c.name.as_deref()) == name {
            return;
        }
        let configs = Arc::make_mut(&mut self.w.bridge.table_configs);
        configs.entry(id).or_default().name = name.map(Into::into);
        self.w.changed = true;
    }
}

/// Instructions that flows of the table can have: the last leads nowhere, and in 1.5 a meter is an action and stat_trigger is there.
pub(super) fn instructions(table: TableId, version: Version) -> impl Iterator<Item = u16> {
    let all = GOTO_TABLE..=STAT_TRIGGER;
    all.filter(move |i| match *i {
        GOTO_TABLE => table < TableId::MAX,
        METER => version < Version::Of15,
        STAT_TRIGGER => version >= Version::Of15,
        _ => true,
    })
}

/// Tables that they can lead to.
pub(super) fn next_tables(table: TableId) -> RangeInclusive<u8> {
    table.0 + 1..=TableId::MAX.0
}

fn check_property(
    table: TableId,
    p: &TableProperty,
    version: Version,
    code: ErrorCode,
) -> Result<(), OfError> {
    let bad = match p {
        TableProperty::Instructions { types, .. } => {
            let ok = |t: u16| instructions(table, version).any(|i| i == t);
            types.iter().find(|t| !ok(**t)).copied()
        }
        TableProperty::NextTables { tables, .. } => {
            let ok = next_tables(table);
            let bad = tables.iter().find(|t| !ok.contains(t));
            bad.map(|t| u16::from(*t))
        }
        _ => None,
    };
    bad.map_or(Ok(()), |n| {
        Err(code.because(format!("{n} among what table {} shall do", table.0)))
    })
}

impl Ofproto {
    /// Limit, eviction and name of a table, as the database has them. Without a name there, a controller's stays.
    ///
    /// The limit holds when this returns, and some flows that are too many are gone; [`Self::shrink`] takes the others, and where many
    /// flows lose their teacher by it, [`Self::proceed`] takes those. While a transaction is under way it is only written down:
    /// [`Self::shrink`] sets it afterwards.
    pub fn set_table_limit(
        &mut self,
        now: Now,
        table: TableId,
        limit: &TableLimit,
        plant: &mut impl Plant,
    ) {
        if self.is_busy() {
            self.coming.insert(table, limit.clone());
            return;
        }
        let Some(mut txn) = Txn::begin(self, now, Author::switch(), plant) else {
            return;
        };
        let mut renamed = false;
        txn.configure(table, |t, _| {
            renamed = t.limit.name != limit.name;
            t.limit = limit.clone();
        });
        if renamed {
            txn.name_table(table, limit.name.as_deref());
        }
        txn.commit();
        self.shrink_one(now, table, plant);
    }

    /// Sets a limit that waits, or goes on with tables that have more flows than a lower limit leaves room for: puts some in order, or
    /// evicts some. While a transaction is under way nothing goes. True when there is more to do.
    pub fn shrink(&mut self, now: Now, plant: &mut impl Plant) -> bool {
        if self.is_busy() {
            return false;
        }
        if let Some((table, limit)) = self.coming.pop_first() {
            self.set_table_limit(now, table, &limit, plant);
        } else if let Some(id) = self.large.first().copied() {
            self.shrink_one(now, id, plant);
        }
        self.is_shrinking()
    }

    fn shrink_one(&mut self, now: Now, id: TableId, plant: &mut impl Plant) {
        if let Some(mut txn) = Txn::begin(self, now, Author::switch(), plant) {
            txn.shrink(id);
            txn.commit();
        }
    }

    /// True while [`Self::shrink`] has something to do.
    pub fn is_shrinking(&self) -> bool {
        !self.large.is_empty() || !self.coming.is_empty()
    }

    /// Flows that a table holds at most.
    pub(super) fn table_limit(&self, id: TableId) -> usize {
        let limit = self.tables.get(&id).and_then(|t| t.limit.flows);
        limit.map_or(self.limits.flows, |n| (n as usize).min(self.limits.flows))
    }

    /// What clients are told that the table holds: room for the switch's own flows is not theirs.
    pub(super) fn told_limit(&self, id: TableId) -> usize {
        self.table_limit(id).min(TOLD)
    }

    /// Room in the table, in percent of its limit.
    fn room(&self, bridge: &Bridge, id: TableId) -> u8 {
        let used = bridge.table(id).map_or(0, |t| t.read().len());
        let limit = self.table_limit(id);
        let free = limit.saturating_sub(used);
        (free * 100 / limit.max(1)) as u8
    }

    /// Remembers in which order the flows of a table make room, or forgets it. Of many, most are put in order by [`Self::shrink`].
    pub(super) fn index_evictions(&mut self, bridge: &Bridge, id: TableId, version: u64) {
        let (timed, all) = self
            .tables
            .get(&id)
            .map_or((false, false), |t| (t.limit.evicts, t.evict_all));
        if !timed && !all {
            return self.index.keep(id);
        }
        let fields = self.tables.get(&id).map(|t| t.limit.groups.clone());
        let mut flows = Evictable::new(all, fields.unwrap_or_default());
        let table = bridge.table(id);
        if !table.is_none_or(|t| flows.place_some(&t.read(), version, SLICE)) {
            self.large.insert(id);
        }
        self.index.evict(id, flows);
    }

    pub(super) fn restore_table(&mut self, id: TableId, old: Option<&TableState>) {
        match old {
            Some(t) => self.tables.insert(id, t.clone()),
            None => self.tables.remove(&id),
        };
    }

    /// Tells of tables that have filled or emptied past the marks that a controller set.
    pub(super) fn check_vacancy(&mut self, bridge: &Bridge) {
        let watched: Vec<_> = self
            .tables
            .iter()
            .filter(|(_, t)| t.vacancy.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in watched {
            let room = self.room(bridge, id);
            let Some(v) = self.tables.get_mut(&id).and_then(|t| t.vacancy.as_mut()) else {
                continue;
            };
            let reason = v.next;
            let crossed = match reason {
                TableReason::VacancyDown => room < v.down,
                TableReason::VacancyUp => room > v.up,
            };
            if !crossed {
                continue;
            }
            v.next = match reason {
                TableReason::VacancyDown => TableReason::VacancyUp,
                TableReason::VacancyUp => TableReason::VacancyDown,
            };
            let table = self.table_config(bridge, id);
            self.events
                .push(Event::TableStatus(TableStatus { reason, table }));
        }
    }

    /// A table as table descriptions have it.
    pub(super) fn table_config(&self, bridge: &Bridge, id: TableId) -> TableConfig {
        let state = self.tables.get(&id);
        let vacancy = state.and_then(|t| t.vacancy);
        let eviction = state.is_some_and(|t| t.evict_all);
        TableConfig {
            table: id,
            // Only 1.1 and 1.2 hear of it: to them, a table that nobody has configured sends to the controller.
            miss: match bridge.table_configs.get(&id).and_then(|c| c.miss) {
                None | Some(Miss::Controller) => TableMiss::Controller,
                Some(Miss::Continue) => TableMiss::Continue,
                Some(Miss::Drop) => TableMiss::Drop,
            },
            eviction,
            vacancy_events: vacancy.is_some(),
            eviction_flags: Some(EVICTION_FLAGS),
            vacancy: vacancy.map(|v| Vacancy {
                down: v.down,
                up: v.up,
                current: self.room(bridge, id),
            }),
        }
    }
}
