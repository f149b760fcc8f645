//! Statistics that flows tell unasked (`OFPIT_STAT_TRIGGER`).
//!
//! Who counts packets does not look at thresholds. Counters are looked at in rounds, after cached flows were credited, and a threshold
//! counts as crossed when it lies between what a flow had when it was last looked at and what it has now. A round does so many
//! flows at a time: with more of them each is looked at less often.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::Duration;

use rvs_openflow::message::FlowStats;
use rvs_openflow::Threshold;
use rvs_packet::Now;
use rvs_pipeline::{Bridge, Rule};

use super::dump::{flow_stats, FlowView};
use super::index::FlowId;
use super::limits::LOOKED_AT;
use super::ofproto::Ofproto;
use super::txn::match_of;
use super::Event;
use crate::Plant;

/// From the end of a round to the next.
const ROUND: Duration = Duration::from_millis(500);

/// From one slice of a round to the next.
const PAUSE: Duration = Duration::from_millis(100);

/// The flows of a bridge that tell statistics.
#[derive(Default)]
pub(super) struct Triggers {
    flows: BTreeMap<FlowId, Watched>,
    /// The flow that was looked at last, while a round is under way.
    at: Option<FlowId>,
    next: Now,
}

struct Watched {
    rule: Arc<Rule>,
    /// It is forgotten in the next round, unless it comes back: a change that fails leaves no trace.
    gone: bool,
    seen: Seen,
}

/// What a flow had when it was last looked at.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Now,
    packets: u64,
    bytes: u64,
    /// Where only the threshold counts that is crossed first: which it was.
    first: Option<usize>,
}

impl Triggers {
    pub(super) fn add(&mut self, now: Now, id: FlowId, rule: &Arc<Rule>) {
        if rule.instructions.stat_trigger.is_none() {
            return;
        }
        if let Some(w) = self.flows.get_mut(&id) {
            if Arc::ptr_eq(&w.rule, rule) {
                w.gone = false;
                return;
            }
        }
        if self.flows.is_empty() {
            self.next = now + ROUND;
        }
        let watched = Watched {
            rule: rule.clone(),
            gone: false,
            seen: Seen::now(now, rule, None),
        };
        self.flows.insert(id, watched);
    }

    pub(super) fn remove(&mut self, id: FlowId, rule: &Rule) {
        if rule.instructions.stat_trigger.is_some() {
            if let Some(w) = self.flows.get_mut(&id) {
                w.gone = true;
            }
        }
    }

    /// The flow `new` has taken the place of `old`. Where it counts on with the same thresholds, nothing that was crossed before is told
    /// again, and nothing is missed.
    pub(super) fn inherit(&mut self, old: FlowId, new: FlowId) {
        let Some(old) = self.flows.get(&old) else {
            return;
        };
        let (before, seen) = (old.rule.clone(), old.seen);
        let Some(w) = self.flows.get_mut(&new) else {
            return;
        };
        let trigger = |r: &Rule| r.instructions.stat_trigger.clone();
        if Arc::ptr_eq(&before.counters, &w.rule.counters) && trigger(&before) == trigger(&w.rule) {
            w.seen = seen;
        }
    }

    /// When flows are to be looked at next; `None` while no flow has thresholds.
    fn next(&self) -> Option<Now> {
        (!self.flows.is_empty()).then_some(self.next)
    }

    /// Looks at the next flows, and gives those that crossed a threshold.
    fn look(&mut self, now: Now, max: usize) -> Vec<(FlowId, Arc<Rule>)> {
        let from = self.at.map_or(Unbounded, Excluded);
        let (mut crossed, mut gone) = (Vec::new(), Vec::new());
        let (mut looked, mut last) = (0, None);
        for (id, w) in self.flows.range_mut((from, Unbounded)).take(max) {
            (looked, last) = (looked + 1, Some(*id));
            if w.gone {
                gone.push(*id);
            } else if w.look(now) {
                crossed.push((*id, w.rule.clone()));
            }
        }
        for id in gone {
            self.flows.remove(&id);
        }
        let over = looked < max;
        self.at = last.filter(|_| !over);
        self.next = now + if over { ROUND } else { PAUSE };
        crossed
    }
}

impl Watched {
    /// True if a threshold was crossed since the last time.
    fn look(&mut self, now: Now) -> bool {
        let Some(t) = self.rule.instructions.stat_trigger.as_deref() else {
            return false;
        };
        let (before, first) = (self.seen, self.seen.first);
        let after = Seen::now(now, &self.rule, first);
        self.seen = after;
        if first.is_some() && !t.periodic {
            return false;
        }
        let crossed = t.thresholds.iter().enumerate().find(|(n, threshold)| {
            let counts = first.is_none_or(|f| f == *n);
            counts && crosses(&self.rule, **threshold, t.periodic, before, after)
        });
        if t.only_first {
            self.seen.first = first.or(crossed.map(|(n, _)| n));
        }
        crossed.is_some()
    }
}

fn crosses(rule: &Rule, threshold: Threshold, periodic: bool, before: Seen, after: Seen) -> bool {
    let since = |start: Now, s: Seen| s.at.0.saturating_sub(start.0);
    let (old, new) = match threshold {
        Threshold::Duration(_) => (since(rule.created, before), since(rule.created, after)),
        Threshold::Idle(_) => {
            let start = rule.created.max(rule.counters.used());
            (since(start, before), since(start, after))
        }
        Threshold::Packets(_) => (before.packets, after.packets),
        Threshold::Bytes(_) => (before.bytes, after.bytes),
    };
    let at = threshold.value().max(1);
    if periodic {
        old / at < new / at
    } else {
        old < at && at <= new
    }
}

impl Seen {
    fn now(at: Now, rule: &Rule, first: Option<usize>) -> Self {
        Self {
            at,
            packets: rule.counters.packets(),
            bytes: rule.counters.bytes(),
            first,
        }
    }
}

impl Ofproto {
    /// When [`Self::watch_statistics`] is to be called next.
    pub fn next_look(&self) -> Option<Now> {
        self.index.triggers.next()
    }

    /// Tells of flows whose statistics have crossed a threshold by `now`. Looks at a bounded number of flows. While a transaction is
    /// under way none is looked at.
    pub fn watch_statistics(&mut self, now: Now, plant: &mut impl Plant) {
        if self.is_busy() || self.next_look().is_none_or(|at| at > now) {
            return;
        }
        plant.credit();
        let crossed = self.index.triggers.look(now, LOOKED_AT);
        let Some(bridge) = plant.bridge(self.id).filter(|_| !crossed.is_empty()) else {
            return;
        };
        let stats: Vec<FlowStats> = crossed
            .iter()
            .filter_map(|(id, rule)| told(&bridge, *id, rule, now))
            .collect();
        self.events.push(Event::StatTriggered(stats));
    }
}

/// The statistics that a flow tells.
fn told(bridge: &Bridge, id: FlowId, rule: &Rule, now: Now) -> Option<FlowStats> {
    let rules = bridge.table(id.table)?.read();
    let matching = match_of(&rules.rule(id.rule)?);
    let view = FlowView {
        table: id.table,
        priority: rule.priority,
        matching,
        rule,
    };
    let mut stats = flow_stats(&view, now);
    stats.triggered = true;
    Some(stats)
}
