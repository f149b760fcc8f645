//! All or nothing: a transaction over tables, groups, meters and ports.
//!
//! Rules are written into the shared tables at the version that the next publication will have, so that no packet sees them.
//! Everything without versions (maps of groups and meters, configurations) is changed in a copy of the bridge that nobody
//! else has. What the agent itself remembers changes at once, with a step noted for each change: a failure undoes the steps
//! in reverse and takes the rules back, and success makes the events out of them. Counters and timeouts belong to rules, and
//! a rule that is changed is a new rule, so a failure leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rvs_classifier::{Config, RuleId, WriteError};
use rvs_flow::{OfPort, PipelineKey};
use rvs_openflow::message::{FlowRemovedReason, PacketOut, PortConfig};
use rvs_openflow::{FlowMatch, GroupId, MeterId, OfError, TableId};
use rvs_packet::Now;
use rvs_pipeline::{Bridge, ChangeSet, Rule, RuleChange, Table};

use super::group_mod::{link, GroupInfo};
use super::index::FlowId;
use super::limits::{CHANGES, SLICE};
use super::meter_mod::MeterInfo;
use super::ofproto::Ofproto;
use super::select::{Found, Rules};
use super::table_mod::TableState;
use super::{Event, FlowChangeKind, Mod};
use crate::{Author, Plant};

/// Something done, in the order in which it was done.
pub(super) enum Step {
    /// The table has the rule: nothing purges it before this step is told of.
    Added {
        id: FlowId,
        kind: FlowChangeKind,
    },
    /// `why` is `None` for a rule that another replaced.
    Removed {
        id: FlowId,
        rule: Arc<Rule>,
        why: Option<FlowRemovedReason>,
        learned: bool,
    },
    /// A table gave way to an empty one, with so many flows, which was told of its counters.
    Emptied {
        table: Arc<Table>,
        flows: usize,
        told: (u64, u64),
    },
    /// What was there before.
    Group(GroupId, Option<GroupInfo>),
    /// All those that forwarded to a group were forgotten.
    Parents(GroupId, BTreeSet<GroupId>),
    /// A group forwards to `child` from now on, or no longer. Its many others are not written down.
    Linked {
        child: GroupId,
        parent: GroupId,
        added: bool,
    },
    Meter(MeterId, Option<MeterInfo>),
    Table(TableId, Option<Box<TableState>>),
    Port(OfPort, PortConfig),
}

/// Vectors that transactions use in turn: a flow-mod allocates nothing but its rule.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) steps: VecDeque<Step>,
    pub(super) changes: ChangeSet,
}

/// A set of tables.
#[derive(Clone, Copy, Default)]
struct TableIds([u64; 4]);

impl TableIds {
    fn insert(&mut self, table: TableId) {
        self.0[usize::from(table.0 / 64)] |= 1 << (table.0 % 64);
    }

    fn contains(self, table: TableId) -> bool {
        self.0[usize::from(table.0 / 64)] & 1 << (table.0 % 64) != 0
    }
}

/// What a transaction holds of its own.
pub(super) struct Work {
    pub(super) now: Now,
    /// While the steps are told of: the rule that the next one takes the place of.
    pub(super) replaced: Option<Arc<Rule>>,
    /// What is written is visible from this version on.
    pub(super) version: u64,
    pub(super) author: Author,
    /// As it will be published.
    pub(super) bridge: Bridge,
    /// The bridge differs from what is published in more than its rules.
    pub(super) changed: bool,
    pub(super) changes: ChangeSet,
    pub(super) steps: VecDeque<Step>,
    /// Tables whose flows the steps are about.
    touched: TableIds,
    /// A flow was removed that asked to be told of.
    pub(super) tells_removed: bool,
    /// Ports whose configuration was changed.
    pub(super) ports: BTreeSet<OfPort>,
    /// Meters whose datapath twin is to be another one once it is published.
    pub(super) meters_changed: BTreeSet<MeterId>,
    /// Numbers of datapath meters that this transaction took, and those that it is done with.
    pub(super) meters_made: Vec<rvs_dpif::MeterId>,
    pub(super) meters_dropped: Vec<rvs_dpif::MeterId>,
    pub(super) requests: VecDeque<Event>,
    pub(super) packet_outs: VecDeque<PacketOut>,
    /// Tables and cookies of flows that nobody teaches any more.
    pub(super) orphans: Vec<(TableId, u64)>,
    /// Tables that taking steps back has touched.
    undone: BTreeSet<TableId>,
}

/// A transaction. Ends with [`Self::commit`](super::commit) or [`Self::rollback`].
pub(super) struct Txn<'a, P> {
    pub(super) w: Work,
    pub(super) state: &'a mut Ofproto,
    pub(super) plant: &'a mut P,
}

impl<'a, P: Plant> Txn<'a, P> {
    /// Ends the one that is under way in slices first. `None` when the bridge is not up.
    pub(super) fn begin(
        state: &'a mut Ofproto,
        now: Now,
        author: Author,
        plant: &'a mut P,
    ) -> Option<Self> {
        state.finish(plant);
        let now = now.max(state.not_before);
        let bridge = (*plant.bridge(state.id)?).clone();
        let Scratch { steps, changes } = std::mem::take(&mut state.scratch);
        let w = Work {
            now,
            replaced: None,
            version: bridge.version + 1,
            author,
            bridge,
            changed: false,
            changes,
            steps,
            touched: TableIds::default(),
            tells_removed: false,
            ports: BTreeSet::new(),
            meters_changed: BTreeSet::new(),
            meters_made: Vec::new(),
            meters_dropped: Vec::new(),
            requests: VecDeque::new(),
            packet_outs: VecDeque::new(),
            orphans: Vec::new(),
            undone: BTreeSet::new(),
        };
        Some(Self { w, state, plant })
    }

    /// Goes on with one that was put aside.
    pub(super) fn resume(w: Work, state: &'a mut Ofproto, plant: &'a mut P) -> Self {
        Self { w, state, plant }
    }

    /// Does what a controller asks for.
    pub(super) fn modify(&mut self, m: Mod) -> Result<(), OfError> {
        match m {
            Mod::Flow(m) => self.flow_mod(m),
            Mod::Group(m) => {
                let doomed = self.group_mod(&m)?;
                self.requested(Mod::Group(m));
                self.remove_doomed(doomed);
                Ok(())
            }
            Mod::Meter(m) => {
                let doomed = self.meter_mod(&m)?;
                self.requested(Mod::Meter(m));
                self.remove_doomed(doomed);
                Ok(())
            }
            Mod::Table(m) => self.table_mod(&m),
            Mod::TableFeatures(all) => self.set_table_features(&all),
            Mod::Port(m) => self.port_mod(&m),
            Mod::PacketOut(m) => {
                self.check_packet_out(&m)?;
                self.w.packet_outs.push_back(*m);
                Ok(())
            }
        }
    }

    /// Others are to be told that this was asked for.
    pub(super) fn requested(&mut self, m: Mod) {
        let asked = Event::Requested(Box::new(m), self.w.author);
        self.w.requests.push_back(asked);
    }

    pub(super) fn step(&mut self, step: Step) {
        match &step {
            Step::Added { id, .. } => self.w.touched.insert(id.table),
            Step::Removed { id, rule, why, .. } => {
                self.w.touched.insert(id.table);
                self.w.tells_removed |= why.is_some() && rule.flags.send_flow_removed;
            }
            Step::Port(port, _) => {
                self.w.ports.insert(*port);
            }
            Step::Emptied { .. }
            | Step::Group(..)
            | Step::Parents(..)
            | Step::Linked { .. }
            | Step::Meter(..)
            | Step::Table(..) => {}
        }
        self.w.steps.push_back(step);
    }

    fn table_config(&self) -> Config {
        self.state.classifier_config(&self.w.bridge.settings)
    }

    /// The table, made if it was never used.
    pub(super) fn table(&mut self, id: TableId) -> Arc<Table> {
        if let Some(t) = self.w.bridge.table(id) {
            return t.clone();
        }
        let table = Arc::new(Table::new(id, self.table_config()));
        self.w.bridge.tables = Arc::new(self.w.bridge.tables.with(table.clone()));
        self.w.changed = true;
        table
    }

    /// Every table that `id` stands for and that was ever used.
    pub(super) fn tables(&self, id: TableId) -> Vec<Arc<Table>> {
        match id {
            TableId::ALL => self.w.bridge.tables.iter().cloned().collect(),
            id => self.w.bridge.table(id).cloned().into_iter().collect(),
        }
    }

    /// Puts a rule into the table.
    ///
    /// # Errors
    /// [`WriteError::Duplicate`] names what is there with its match and priority at this version; see [`unwritable`] for the
    /// others. Nothing has changed.
    pub(super) fn insert(
        &mut self,
        table: &Table,
        rules: &mut Rules,
        m: &FlowMatch,
        rule: &Arc<Rule>,
        kind: FlowChangeKind,
        learned: bool,
    ) -> Result<FlowId, WriteError> {
        // Before the rule is seen, packets have to know that there are clauses.
        if rule.is_clause() {
            table.clause_added();
        }
        let priority = i32::from(rule.priority);
        let inserted = rules.insert(m.value(), m.mask(), priority, rule.clone(), self.w.version);
        let id = inserted.inspect_err(|_| {
            if rule.is_clause() {
                table.clause_purged();
            }
        })?;
        let id = FlowId {
            table: table.id,
            rule: id,
        };
        self.state
            .index
            .add(self.w.now, id, rule, learned, || *m.value());
        self.changed_rule(table.id, rule.priority, m);
        self.step(Step::Added { id, kind });
        Ok(id)
    }

    /// Takes a rule out of the table, for a reason or because another replaces it. Returns the rule and whether it was
    /// learned; `None` when it is gone already.
    pub(super) fn remove(
        &mut self,
        table: TableId,
        rules: &mut Rules,
        id: RuleId,
        why: Option<FlowRemovedReason>,
    ) -> Option<(Arc<Rule>, bool)> {
        let found = rules.rule(id)?;
        let rule = found.payload().clone();
        if !self.w.changes.all {
            let m = match_of(&found);
            self.changed_rule(table, rule.priority, &m);
        }
        rules.remove_at(id, self.w.version).ok()?;
        let id = FlowId { table, rule: id };
        let learned = self.state.index.remove(id, &rule);
        self.step(Step::Removed {
            id,
            rule: rule.clone(),
            why,
            learned,
        });
        Some((rule, learned))
    }

    /// Removes flows of one table, slice by slice, so that packets get at the table between them.
    pub(super) fn remove_all(&mut self, table: &Table, ids: &[RuleId], why: FlowRemovedReason) {
        for slice in ids.chunks(SLICE) {
            let mut rules = table.write();
            for id in slice {
                self.remove(table.id, &mut rules, *id, Some(why));
            }
        }
    }

    /// Puts an empty table in the place of this one, if that comes to the same as deleting its flows one by one. A million
    /// flows are gone in a moment then, and forgotten little by little.
    pub(super) fn empty(&mut self, table: &Arc<Table>) -> bool {
        let flows = table.read().len();
        let plain = self.state.index.is_plain(table.id) && !self.state.watched;
        if flows < SLICE || !plain || self.w.touched.contains(table.id) {
            return false;
        }
        let empty = Table::new(table.id, self.table_config());
        let told = table.counters();
        empty.count(told.0, told.1);
        self.w.bridge.tables = Arc::new(self.w.bridge.tables.with(Arc::new(empty)));
        self.state.index.flows -= flows;
        self.changed_everything();
        self.step(Step::Emptied {
            table: table.clone(),
            flows,
            told,
        });
        true
    }

    /// Removes flows of any table.
    pub(super) fn remove_flows(&mut self, flows: &[FlowId], why: FlowRemovedReason) {
        for same in flows.chunk_by(|a, b| a.table == b.table) {
            let Some(table) = same.first().and_then(|f| self.w.bridge.table(f.table)) else {
                continue;
            };
            let table = table.clone();
            let ids: Vec<_> = same.iter().map(|f| f.rule).collect();
            self.remove_all(&table, &ids, why);
        }
    }

    fn changed_rule(&mut self, table: TableId, priority: u16, m: &FlowMatch) {
        if self.is_named_singly(self.w.changes.rules.len()) {
            self.w.changes.rules.push(RuleChange {
                table,
                priority,
                matching: *m,
            });
        }
    }

    pub(super) fn changed_group(&mut self, id: GroupId) {
        self.w.changed = true;
        if self.is_named_singly(self.w.changes.groups.len()) {
            self.w.changes.groups.push(id);
        }
    }

    pub(super) fn changed_meter(&mut self, id: MeterId) {
        self.w.changed = true;
        if self.is_named_singly(self.w.changes.meters.len()) {
            self.w.changes.meters.push(id);
        }
    }

    /// True when one more change beside `named` is to be named; otherwise everything is said to have changed.
    fn is_named_singly(&mut self, named: usize) -> bool {
        if !self.w.changes.all && named >= CHANGES {
            self.changed_everything();
        }
        !self.w.changes.all
    }

    /// Something that every translation rests on is different, or too much to name.
    pub(super) fn changed_everything(&mut self) {
        self.w.changed = true;
        self.w.changes = ChangeSet::everything();
    }

    /// Takes everything back.
    pub(super) fn rollback(mut self) {
        while !self.undo(usize::MAX) {}
        self.give_back();
    }

    /// Takes up to `max` steps back, the last first; what was done without steps comes after the first. True when nothing is
    /// left.
    pub(super) fn undo(&mut self, max: usize) -> bool {
        for _ in 0..max {
            let Some(step) = self.w.steps.pop_back() else {
                break;
            };
            self.undo_step(step);
        }
        shorten(&mut self.w.requests, max);
        shorten(&mut self.w.packet_outs, max);
        for _ in 0..max {
            let Some(made) = self.w.meters_made.pop() else {
                break;
            };
            self.plant.set_meter(made, None);
        }
        let w = &self.w;
        if !w.steps.is_empty() || !w.meters_made.is_empty() {
            return false;
        }
        if !w.requests.is_empty() || !w.packet_outs.is_empty() {
            return false;
        }
        for id in self.w.undone.clone() {
            let Some(table) = self.w.bridge.table(id) else {
                continue;
            };
            let undone = table.write().rollback(self.w.version, max);
            debug_assert!(undone.is_ok());
            if undone == Ok(false) {
                return false;
            }
            self.w.undone.remove(&id);
        }
        self.state.index.orphans.clear();
        true
    }

    fn undo_step(&mut self, step: Step) {
        match step {
            Step::Added { id, .. } => {
                if let Some(table) = self.w.bridge.table(id.table) {
                    let rules = table.read();
                    if let Some(rule) = rules.rule(id.rule).map(|r| r.payload()) {
                        self.state.index.remove(id, rule);
                        if rule.is_clause() {
                            table.clause_purged();
                        }
                    }
                }
                self.w.undone.insert(id.table);
            }
            Step::Removed {
                id, rule, learned, ..
            } => {
                let bridge = &self.w.bridge;
                let value = || {
                    let rules = bridge.table(id.table).map(|t| t.read());
                    let found = rules.as_ref().and_then(|r| r.rule(id.rule));
                    found.map_or_else(PipelineKey::default, |f| f.value())
                };
                self.state.index.add(self.w.now, id, &rule, learned, value);
                self.w.undone.insert(id.table);
            }
            Step::Emptied { table, flows, .. } => {
                self.state.index.flows += flows;
                self.w.bridge.tables = Arc::new(self.w.bridge.tables.with(table));
            }
            Step::Group(id, old) => restore(&mut self.state.groups, id, old),
            Step::Parents(id, old) => restore(&mut self.state.parents, id, Some(old)),
            Step::Linked {
                child,
                parent,
                added,
            } => {
                link(&mut self.state.parents, child, parent, !added);
            }
            Step::Meter(id, old) => restore(&mut self.state.meters, id, old),
            Step::Table(id, old) => {
                self.state.restore_table(id, old.as_deref());
                let before = self.w.version - 1;
                self.state.index_evictions(&self.w.bridge, id, before);
            }
            Step::Port(port, old) => {
                self.state.configs.insert(port, old);
            }
        }
    }
}

/// A table that takes no more says so as a full one.
pub(super) fn unwritable(e: WriteError) -> OfError {
    rvs_openflow::ErrorCode::FmfcTableFull.because(e.to_string())
}

pub(super) fn match_of(found: &Found<'_>) -> FlowMatch {
    FlowMatch::new(&found.value(), *found.mask())
}

fn restore<K: Ord, V>(map: &mut BTreeMap<K, V>, id: K, old: Option<V>) {
    match old {
        Some(v) => map.insert(id, v),
        None => map.remove(&id),
    };
}

/// Takes up to `max` from the end.
fn shorten<T>(all: &mut VecDeque<T>, max: usize) {
    all.truncate(all.len().saturating_sub(max));
}
