//! All or nothing: a transaction over tables, groups, meters and ports.
//!
//! Rules are written into the shared tables at the version that the next publication will have, so that no packet sees them.
//! Everything without versions (maps of groups and meters, configurations) is changed in a copy of the bridge that nobody
//! else has. What the agent itself remembers changes at once, with a step noted for each change: a failure undoes the steps
//! in reverse and takes the rules back, and success makes the events out of them. Counters and timeouts belong to rules, and
//! a rule that is changed is a new rule, so a failure leaves nothing behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use rvs_classifier::RuleId;
use rvs_flow::OfPort;
use rvs_openflow::message::{FlowRemoved, FlowRemovedReason, PacketOut, PortConfig};
use rvs_openflow::{FlowMatch, GroupId, MeterId, OfError, TableId};
use rvs_packet::Now;
use rvs_pipeline::{Bridge, ChangeSet, FrozenState, Rule, RuleChange, Table};

use super::garbage::Dying;
use super::group_mod::GroupInfo;
use super::index::FlowId;
use super::limits::{CHANGES, SLICE};
use super::meter_mod::MeterInfo;
use super::ofproto::Ofproto;
use super::select::{FlowSelect, Found, Rules};
use super::table_mod::TableState;
use super::{Event, FlowChangeKind, FlowChanged, Mod};
use crate::{Author, Plant};

/// Something done, in the order in which it was done.
pub(super) enum Step {
    Added {
        id: FlowId,
        rule: Arc<Rule>,
        kind: FlowChangeKind,
    },
    /// `why` is `None` for a rule that another replaced.
    Removed {
        id: FlowId,
        rule: Arc<Rule>,
        why: Option<FlowRemovedReason>,
        learned: Option<Now>,
    },
    /// A table gave way to an empty one, with so many flows, which was told of its counters.
    Emptied {
        table: Arc<Table>,
        flows: usize,
        told: (u64, u64),
    },
    /// What was there before.
    Group(GroupId, Option<GroupInfo>),
    Meter(MeterId, Option<MeterInfo>),
    Table(TableId, Option<Box<TableState>>),
    Port(OfPort, PortConfig),
}

/// Vectors that transactions use in turn: a flow-mod allocates nothing but its rule.
#[derive(Default)]
pub(super) struct Scratch {
    steps: Vec<Step>,
    changes: ChangeSet,
}

/// Beyond this capacity a scratch vector is given back.
const KEEP: usize = 1024;

/// What a transaction holds of its own.
pub(super) struct Work {
    pub(super) now: Now,
    /// What is written is visible from this version on.
    pub(super) version: u64,
    pub(super) author: Author,
    /// As it will be published.
    pub(super) bridge: Bridge,
    /// The bridge differs from what is published in more than its rules.
    pub(super) changed: bool,
    changes: ChangeSet,
    steps: Vec<Step>,
    /// Numbers of datapath meters that this transaction took, and those that it is done with.
    pub(super) meters_made: Vec<rvs_dpif::MeterId>,
    pub(super) meters_dropped: Vec<rvs_dpif::MeterId>,
    requests: Vec<Event>,
    packet_outs: Vec<PacketOut>,
    /// Tables that taking steps back has touched.
    undone: BTreeSet<TableId>,
}

/// A transaction. Ends with [`Self::commit`] or [`Self::rollback`].
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
        let bridge = (*plant.bridge(state.id)?).clone();
        let Scratch { steps, changes } = std::mem::take(&mut state.scratch);
        let w = Work {
            now,
            version: plant.next_version(),
            author,
            bridge,
            changed: false,
            changes,
            steps,
            meters_made: Vec::new(),
            meters_dropped: Vec::new(),
            requests: Vec::new(),
            packet_outs: Vec::new(),
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
                self.group_mod(&m)?;
                self.requested(Mod::Group(m));
                Ok(())
            }
            Mod::Meter(m) => {
                self.meter_mod(&m)?;
                self.requested(Mod::Meter(m));
                Ok(())
            }
            Mod::Table(m) => self.table_mod(&m),
            Mod::TableFeatures(all) => self.set_table_features(&all),
            Mod::Port(m) => self.port_mod(&m),
            Mod::PacketOut(m) => {
                self.check_packet_out(&m)?;
                self.w.packet_outs.push(*m);
                Ok(())
            }
        }
    }

    fn requested(&mut self, m: Mod) {
        self.w
            .requests
            .push(Event::Requested(Box::new(m), self.w.author));
    }

    pub(super) fn step(&mut self, step: Step) {
        self.w.steps.push(step);
    }

    /// The table, made if it was never used.
    pub(super) fn table(&mut self, id: TableId) -> Arc<Table> {
        if let Some(t) = self.w.bridge.table(id) {
            return t.clone();
        }
        let table = Arc::new(Table::new(id, self.state.classifier_config()));
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

    /// Puts a rule into the table. Nothing is there with its match and priority at this version.
    pub(super) fn insert(
        &mut self,
        table: &Table,
        rules: &mut Rules,
        m: &FlowMatch,
        rule: Arc<Rule>,
        kind: FlowChangeKind,
        learned: Option<Now>,
    ) -> Result<FlowId, OfError> {
        if rule.is_clause() {
            table.clause_added();
        }
        let priority = i32::from(rule.priority);
        let inserted = rules.insert(m.value(), m.mask(), priority, rule.clone(), self.w.version);
        let id = inserted.map_err(|e| {
            if rule.is_clause() {
                table.clause_purged();
            }
            rvs_openflow::ErrorCode::FmfcTableFull.because(e.to_string())
        })?;
        let id = FlowId {
            table: table.id,
            rule: id,
        };
        self.state.index.add(self.w.now, id, &rule, learned);
        self.changed_rule(table.id, rule.priority, m);
        self.w.steps.push(Step::Added { id, rule, kind });
        Ok(id)
    }

    /// Takes a rule out of the table, for a reason or because another replaces it. Returns the rule with when it was
    /// learned; `None` when it is gone already.
    pub(super) fn remove(
        &mut self,
        table: TableId,
        rules: &mut Rules,
        id: RuleId,
        why: Option<FlowRemovedReason>,
    ) -> Option<(Arc<Rule>, Option<Now>)> {
        let found = rules.rule(id)?;
        let rule = found.payload().clone();
        if !self.w.changes.all {
            let m = match_of(&found);
            self.changed_rule(table, rule.priority, &m);
        }
        rules.remove_at(id, self.w.version).ok()?;
        let id = FlowId { table, rule: id };
        let learned = self.state.index.remove(id, &rule);
        self.w.steps.push(Step::Removed {
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
        if flows < SLICE || !plain || self.has_touched(table.id) {
            return false;
        }
        let empty = Table::new(table.id, self.state.classifier_config());
        let told = table.counters();
        empty.count(told.0, told.1);
        self.w.bridge.tables = Arc::new(self.w.bridge.tables.with(Arc::new(empty)));
        self.state.index.flows -= flows;
        self.changed_everything();
        self.w.steps.push(Step::Emptied {
            table: table.clone(),
            flows,
            told,
        });
        true
    }

    /// True when this transaction has added or removed flows of the table.
    fn has_touched(&self, table: TableId) -> bool {
        self.w.steps.iter().any(|s| match s {
            Step::Added { id, .. } | Step::Removed { id, .. } => id.table == table,
            _ => false,
        })
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
        if self.w.changes.all {
            return;
        }
        if self.w.changes.rules.len() >= CHANGES {
            return self.changed_everything();
        }
        self.w.changes.rules.push(RuleChange {
            table,
            priority,
            matching: *m,
        });
    }

    pub(super) fn changed_group(&mut self, id: GroupId) {
        self.w.changed = true;
        self.w.changes.groups.push(id);
    }

    pub(super) fn changed_meter(&mut self, id: MeterId) {
        self.w.changed = true;
        self.w.changes.meters.push(id);
    }

    /// Something that every translation rests on is different, or too much to name.
    pub(super) fn changed_everything(&mut self) {
        self.w.changed = true;
        self.w.changes.all = true;
        self.w.changes.rules.clear();
    }

    /// Takes everything back.
    pub(super) fn rollback(mut self) {
        while !self.undo(usize::MAX) {}
        self.give_back();
    }

    /// Takes up to `max` steps back, the last first; what was done without steps goes with the last. True when nothing is left.
    pub(super) fn undo(&mut self, max: usize) -> bool {
        for _ in 0..max {
            let Some(step) = self.w.steps.pop() else {
                break;
            };
            self.undo_step(step);
        }
        if !self.w.steps.is_empty() {
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
        for made in std::mem::take(&mut self.w.meters_made) {
            self.plant.set_meter(made, None);
        }
        true
    }

    fn undo_step(&mut self, step: Step) {
        match step {
            Step::Added { id, rule, .. } => {
                self.state.index.remove(id, &rule);
                if let Some(table) = self.w.bridge.table(id.table).filter(|_| rule.is_clause()) {
                    table.clause_purged();
                }
                self.w.undone.insert(id.table);
            }
            Step::Removed {
                id, rule, learned, ..
            } => {
                self.state.index.add(self.w.now, id, &rule, learned);
                self.w.undone.insert(id.table);
            }
            Step::Emptied { table, flows, .. } => {
                self.state.index.flows += flows;
                self.w.bridge.tables = Arc::new(self.w.bridge.tables.with(table));
            }
            Step::Group(id, old) => restore(&mut self.state.groups, id, old),
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

    /// Makes it what packets see, and tells who has to know.
    pub(super) fn commit(mut self) {
        self.publish();
        self.tell_steps(usize::MAX);
        self.conclude();
    }

    /// Makes it what packets see. The steps are in their order from the end after it.
    pub(super) fn publish(&mut self) {
        self.remove_orphans();
        for id in &self.w.changes.meters {
            if let Some(m) = self.state.meters.get(id) {
                self.plant.set_meter(m.number, Some(m.meter.clone()));
            }
        }
        if self.w.changed || !self.w.changes.is_empty() {
            let (version, bridge) = (self.w.version, self.w.bridge.clone());
            self.plant.publish(version, bridge, &self.w.changes);
        }
        let asked = |s: &Step| matches!(s, Step::Removed { rule, why: Some(_), .. } if rule.flags.send_flow_removed);
        if !self.w.meters_dropped.is_empty() || self.w.steps.iter().any(asked) {
            self.plant.settle();
        }
        for gone in std::mem::take(&mut self.w.meters_dropped) {
            self.plant.set_meter(gone, None);
        }
        self.w.steps.reverse();
    }

    /// Tells what follows from up to `max` steps that are published. True when none is left.
    pub(super) fn tell_steps(&mut self, max: usize) -> bool {
        for _ in 0..max {
            let Some(step) = self.w.steps.pop() else {
                break;
            };
            self.tell(&step);
        }
        self.w.steps.is_empty()
    }

    /// The last part of a commit.
    pub(super) fn conclude(mut self) {
        self.state.events.append(&mut self.w.requests);
        self.state.check_vacancy(&self.w.bridge);
        for out in std::mem::take(&mut self.w.packet_outs) {
            let data = out.data.clone();
            let start = packet_out(self.state.id, out);
            self.plant.execute(self.w.now, start, data);
        }
        self.give_back();
    }

    /// Ports and settings are the switch's: they may have changed while the transaction was put aside.
    pub(super) fn catch_up(&mut self) {
        let Some(current) = self.plant.bridge(self.state.id) else {
            return;
        };
        self.w.bridge = Bridge {
            tables: self.w.bridge.tables.clone(),
            groups: self.w.bridge.groups.clone(),
            meters: self.w.bridge.meters.clone(),
            table_configs: self.w.bridge.table_configs.clone(),
            ..(*current).clone()
        };
        for step in &self.w.steps {
            if let Step::Port(port, _) = step {
                let config = self.state.port_config(*port);
                let ports = self.w.bridge.ports.with_config(*port, config);
                self.w.bridge.ports = Arc::new(ports);
            }
        }
    }

    /// Flows that nobody teaches any more go, and flows that they taught.
    fn remove_orphans(&mut self) {
        while !self.state.index.orphans.is_empty() {
            for (table, cookie) in self.state.index.take_orphans() {
                let select = FlowSelect::of_cookie(table, cookie);
                for table in self.tables(table) {
                    let ids = select.loose(&table.read(), self.w.version);
                    self.remove_all(&table, &ids, FlowRemovedReason::Delete);
                }
            }
        }
    }

    /// What follows from a step that is final.
    fn tell(&mut self, step: &Step) {
        match step {
            Step::Added { id, rule, kind } if self.state.watched => {
                self.report(*id, rule, *kind);
            }
            Step::Removed { id, rule, why, .. } => {
                self.state.dirty.insert(id.table);
                let Some(why) = why else { return };
                if rule.flags.send_flow_removed {
                    self.flow_removed(*id, rule, *why);
                }
                if self.state.watched {
                    self.report(*id, rule, FlowChangeKind::Removed(*why));
                }
            }
            Step::Emptied { table, told, .. } => {
                self.state.dying.push(Dying::new(table.clone(), *told));
            }
            Step::Port(port, old) => self.configured(*port, *old),
            _ => {}
        }
    }

    fn flow_removed(&mut self, id: FlowId, rule: &Rule, why: FlowRemovedReason) {
        let Some(matching) = self.matching(id) else {
            return;
        };
        let (idle_timeout, hard_timeout) = rule.timeouts();
        let there = self.w.now.since(rule.created);
        self.state
            .events
            .push(Event::FlowRemoved(Box::new(FlowRemoved {
                matching,
                cookie: rule.cookie,
                priority: rule.priority,
                reason: why,
                table: Some(id.table),
                duration_sec: u32::try_from(there.as_secs()).unwrap_or(u32::MAX),
                duration_nsec: there.subsec_nanos(),
                idle_timeout,
                hard_timeout,
                packets: rule.counters.packets(),
                bytes: rule.counters.bytes(),
            })));
    }

    fn report(&mut self, id: FlowId, rule: &Rule, kind: FlowChangeKind) {
        let Some(matching) = self.matching(id).filter(|_| !rule.flags.hidden) else {
            return;
        };
        let (idle_timeout, hard_timeout) = rule.timeouts();
        self.state
            .events
            .push(Event::FlowChanged(Box::new(FlowChanged {
                kind,
                by: self.w.author,
                table: id.table,
                priority: rule.priority,
                cookie: rule.cookie,
                idle_timeout,
                hard_timeout,
                matching,
                instructions: rule.instructions.clone(),
            })));
    }

    /// Rules stay in their tables until they are purged, which this transaction does not do.
    fn matching(&self, id: FlowId) -> Option<FlowMatch> {
        let rules = self.w.bridge.table(id.table)?.read();
        rules.rule(id.rule).map(|r| match_of(&r))
    }

    pub(super) fn give_back(self) {
        let Work {
            mut steps,
            mut changes,
            ..
        } = self.w;
        steps.clear();
        steps.shrink_to(KEEP);
        changes.rules.clear();
        changes.rules.shrink_to(KEEP);
        changes.groups.clear();
        changes.meters.clear();
        changes.all = false;
        self.state.scratch = Scratch { steps, changes };
    }
}

pub(super) fn match_of(found: &Found<'_>) -> FlowMatch {
    FlowMatch::new(&found.value(), *found.mask())
}

fn restore<K: std::hash::Hash + Eq, V: Clone>(
    map: &mut std::collections::HashMap<K, V, ahash::RandomState>,
    id: K,
    old: Option<V>,
) {
    match old {
        Some(v) => map.insert(id, v),
        None => map.remove(&id),
    };
}

/// The pipeline's fields that the message gives, and its actions.
fn packet_out(bridge: rvs_pipeline::BridgeId, out: PacketOut) -> FrozenState {
    let in_port = out.in_port();
    let mut start = FrozenState::packet_out(bridge, in_port, out.actions);
    let actset_output = start.fields.actset_output;
    start.fields = *out.metadata.value();
    start.fields.of_port = in_port.0;
    start.fields.actset_output = actset_output;
    start
}
