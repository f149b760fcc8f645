//! Flows that learn actions make.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ahash::RandomState;
use rvs_openflow::{Instructions, OfError, TableId};
use rvs_packet::Now;
use rvs_pipeline::{LearnedFlow, Rule, RuleFlags};

use super::flow_mod::like;
use super::limits::{LESSON, LESSONS};
use super::ofproto::Ofproto;
use super::select::find;
use super::txn::{match_of, unwritable, Txn};
use super::FlowChangeKind;
use crate::{Author, Plant};

/// Learned flows that wait for the end of a change in slices.
#[derive(Default)]
pub(super) struct Lessons {
    /// Each with when the last packet came that taught it.
    pub(super) queue: VecDeque<(Arc<LearnedFlow>, Now)>,
    /// Hashes of where they belong, and which of them is the last of a place: its number, counted since the switch began.
    places: BTreeMap<u64, u64>,
    /// How many have left the queue: the number of the first that waits.
    left: u64,
    /// Lessons whose flows would have gone with their teachers.
    late: u64,
}

impl Lessons {
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.places.clear();
    }

    /// Puts a lesson behind the others. One that is the same as the last about its packets makes that younger. False: there is no room.
    fn wait(&mut self, place: u64, flow: &Arc<LearnedFlow>, used: Now) -> bool {
        let last = self.places.get(&place).map(|n| (n - self.left) as usize);
        if let Some((waits, at)) = last.and_then(|at| self.queue.get_mut(at)) {
            if waits == flow {
                *at = used.max(*at);
                return true;
            }
        }
        if self.queue.len() >= LESSONS {
            return false;
        }
        let number = self.left + self.queue.len() as u64;
        self.places.insert(place, number);
        self.queue.push_back((flow.clone(), used));
        true
    }

    fn next(&mut self, hasher: &RandomState) -> Option<(Arc<LearnedFlow>, Now)> {
        let (flow, used) = self.queue.pop_front()?;
        let place = place(hasher, &flow);
        if self.places.get(&place) == Some(&self.left) {
            self.places.remove(&place);
        }
        self.left += 1;
        Some((flow, used))
    }
}

/// Where a flow belongs: two with the same are about the same packets.
fn place(hasher: &RandomState, flow: &LearnedFlow) -> u64 {
    hasher.hash_one((flow.table, flow.priority, &flow.matching))
}

impl Ofproto {
    /// Adds the flow of a learn action, or makes the one that is there young again. `used` is when the last packet came that
    /// taught it. A flow that does not fit (limits, missing groups) is not learned, nor one that was to go with its teachers when the
    /// last of them has gone meanwhile; one that outlives its teachers is. While a change is made in slices it waits.
    pub fn learn(&mut self, now: Now, flow: &Arc<LearnedFlow>, used: Now, plant: &mut impl Plant) {
        if flow.table > TableId::MAX {
            return;
        }
        let place = place(&self.hasher, flow);
        // The last lesson about the same packets is to be the one that counts.
        let waits = self.lessons.places.contains_key(&place);
        if !waits && self.refresh_learned(flow, used, plant) {
            return;
        }
        if waits || self.running.is_some() {
            if self.lessons.wait(place, flow, used) {
                return;
            }
            while !self.lessons.queue.is_empty() {
                self.finish(plant);
                self.learn_waiting(usize::MAX, plant);
            }
        }
        self.learn_now(now, flow, used, plant);
    }

    /// Makes some of the learned flows that waited; `work` is how much may be done.
    pub(super) fn learn_waiting(&mut self, work: usize, plant: &mut impl Plant) {
        for _ in 0..(work / LESSON).max(1) {
            let free = self.running.is_none();
            let next = free.then(|| self.lessons.next(&self.hasher));
            let Some((flow, used)) = next.flatten() else {
                break;
            };
            if !self.refresh_learned(&flow, used, plant) {
                self.learn_now(used, &flow, used, plant);
            }
        }
    }

    /// Lessons that came too late: their flows would have gone with the last of their teachers.
    pub fn late_lessons(&self) -> u64 {
        self.lessons.late
    }

    fn learn_now(&mut self, now: Now, flow: &LearnedFlow, used: Now, plant: &mut impl Plant) {
        // A transaction under way may take teachers away.
        self.finish(plant);
        // It would have gone with its last teacher.
        let orphan = flow.delete_learned && flow.by_flow;
        if orphan && !self.index.has_teacher(flow.table, flow.cookie) {
            self.lessons.late += 1;
            return;
        }
        let Some(mut txn) = Txn::begin(self, now, Author::switch(), plant) else {
            return;
        };
        match txn.learn(flow, used) {
            Ok(()) => txn.commit(),
            Err(e) => {
                tracing::debug!(error = %e, "flow not learned");
                txn.rollback();
            }
        }
    }

    /// Makes the flow of a learn action young again if it is there as the action wants it. False: it is not.
    pub fn refresh_learned(&mut self, flow: &LearnedFlow, used: Now, plant: &impl Plant) -> bool {
        let Some(bridge) = plant.bridge(self.id) else {
            return false;
        };
        let Some(table) = bridge.table(flow.table) else {
            return false;
        };
        let rules = table.read();
        let Some(found) = find(&rules, bridge.version, &flow.matching, flow.priority) else {
            return false;
        };
        let rule = found.payload();
        if rule.cookie != flow.cookie || rule.instructions != flow.instructions {
            return false;
        }
        rule.counters.count(0, 0, used);
        rule.learned_again(used);
        true
    }
}

impl<P: Plant> Txn<'_, P> {
    fn learn(&mut self, flow: &LearnedFlow, used: Now) -> Result<(), OfError> {
        self.check_actions(&flow.instructions.apply)?;
        let table = self.table(flow.table);
        let mut rules = table.write();
        let found = find(&rules, self.w.version, &flow.matching, flow.priority);
        if let Some((id, matching)) = found.map(|r| (r.id(), match_of(&r))) {
            let Some((old, learned)) = self.remove(flow.table, &mut rules, id, None) else {
                return Ok(());
            };
            let mut rule = like(&old, self.w.now);
            rule.cookie = flow.cookie;
            rule.instructions = flow.instructions.clone();
            rule.counters.count(0, 0, used);
            let kind = FlowChangeKind::Modified;
            self.insert(
                &table,
                &mut rules,
                &matching,
                &Arc::new(rule),
                kind,
                learned,
            )
            .map_err(unwritable)?;
            return Ok(());
        }
        let known = self.state.index.learned_count(flow.table, flow.cookie);
        if flow.limit != 0 && known >= flow.limit {
            return Ok(());
        }
        self.make_room(&table, &mut rules)?;
        let mut rule = Rule::new(flow.table, flow.priority, Instructions::default());
        rule.instructions = flow.instructions.clone();
        rule.cookie = flow.cookie;
        rule.flags = RuleFlags {
            send_flow_removed: flow.send_flow_removed,
            ..RuleFlags::default()
        };
        (rule.created, rule.modified) = (self.w.now, self.w.now);
        rule.set_timeouts(flow.idle_timeout, flow.hard_timeout);
        rule.counters.count(0, 0, used);
        let (kind, learned) = (FlowChangeKind::Added, true);
        self.insert(
            &table,
            &mut rules,
            &flow.matching,
            &Arc::new(rule),
            kind,
            learned,
        )
        .map_err(unwritable)?;
        Ok(())
    }
}
