//! The second half of a transaction: it is published, and everybody hears what follows from it.
//!
//! Publication is one step, whatever the number of changes. What follows is told step by step, so that it can be done in slices:
//! first of flows, in the order in which they changed, then of requests that others asked to hear of; then meters that no flow
//! names any more go, and packets of the controller's own.

use std::sync::Arc;

use rvs_openflow::message::{FlowRemoved, FlowRemovedReason, PacketOut};
use rvs_openflow::FlowMatch;
use rvs_pipeline::{Bridge, FrozenState, Rule};

use super::garbage::Dying;
use super::index::FlowId;
use super::limits::{MANY, PACKET_OUT};
use super::slices::Running;
use super::sweep::Sweep;
use super::txn::{match_of, Scratch, Step, Txn, Work};
use super::{Event, FlowChangeKind, FlowChanged};
use crate::Plant;

/// Beyond this capacity a scratch vector is given back.
const KEEP: usize = 1024;

impl<P: Plant> Txn<'_, P> {
    /// Makes it what packets see, and tells who has to know: at once, or, where many flows lose their teacher by it, when they are
    /// gone too, which [`Ofproto::proceed`](super::Ofproto::proceed) does.
    pub(super) fn commit(mut self) {
        if let Some(rest) = self.remove_orphans() {
            self.state.running = Some(Box::new(Running::rest(self.w, rest)));
            return;
        }
        self.publish();
        self.tell_some(usize::MAX);
        self.conclude();
    }

    /// Makes it what packets see. Flows that nobody teaches any more are gone by now.
    pub(super) fn publish(&mut self) {
        for id in &self.w.meters_changed {
            if let Some(m) = self.state.meters.get(id) {
                self.plant.set_meter(m.number, Some(m.meter.clone()));
            }
        }
        if self.w.changed || !self.w.changes.is_empty() {
            let mut bridge = self.w.bridge.clone();
            bridge.version = self.w.version;
            self.plant.publish(bridge, &self.w.changes);
        }
        if !self.w.meters_dropped.is_empty() || self.w.tells_removed {
            self.plant.settle();
        }
    }

    /// Does what follows from up to `max` changes that are published. True when nothing is left.
    pub(super) fn tell_some(&mut self, max: usize) -> bool {
        let mut left = max;
        while left > 0 {
            if let Some(step) = self.w.steps.pop_front() {
                left -= 1;
                self.tell(&step);
            } else if let Some(asked) = self.w.requests.pop_front() {
                left -= 1;
                self.state.events.push(asked);
            } else if let Some(gone) = self.w.meters_dropped.pop() {
                left -= 1;
                self.plant.set_meter(gone, None);
            } else if let Some(out) = self.w.packet_outs.pop_front() {
                left -= PACKET_OUT.min(left);
                let data = out.data.clone();
                let start = packet_out(self.state.id, out);
                self.plant.execute(self.w.now, start, data);
            } else {
                return true;
            }
        }
        false
    }

    /// The last part of a commit.
    pub(super) fn conclude(self) {
        self.state.check_vacancy(&self.w.bridge);
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
        for port in &self.w.ports {
            let config = self.state.port_config(*port);
            let ports = self.w.bridge.ports.with_config(*port, config);
            self.w.bridge.ports = Arc::new(ports);
        }
    }

    /// Flows that nobody teaches any more go, and flows that they taught; as many as one call may take. Gives what is left.
    fn remove_orphans(&mut self) -> Option<Sweep> {
        let mut left = MANY;
        while let Some(mut sweep) = self.next_orphans() {
            let done = self.sweep(&mut sweep, &mut left);
            debug_assert!(done.is_ok(), "deleting does not fail");
            if done == Ok(false) {
                return Some(sweep);
            }
        }
        None
    }

    /// What follows from a step that is final.
    fn tell(&mut self, step: &Step) {
        match step {
            Step::Added { id, kind } if self.state.watched => {
                let rules = self.w.bridge.table(id.table).map(|t| t.read());
                let rule = rules.and_then(|r| r.rule(id.rule).map(|r| r.payload().clone()));
                if let Some(rule) = rule {
                    self.report(*id, &rule, *kind);
                }
            }
            Step::Removed { id, rule, why, .. } => {
                self.state.dirty.insert(id.table);
                let Some(why) = why else {
                    self.w.replaced = self.state.watched.then(|| rule.clone());
                    return;
                };
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
        let replaced = self.w.replaced.take();
        let same = |r: &Arc<Rule>| r.cookie == rule.cookie && r.instructions == rule.instructions;
        if kind == FlowChangeKind::Modified && replaced.as_ref().is_some_and(same) {
            return;
        }
        let before = replaced.map(|r| r.instructions.clone());
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
                before,
                created: rule.created,
                changed: rule.modified,
                replaces: rule.flags.replaces,
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
