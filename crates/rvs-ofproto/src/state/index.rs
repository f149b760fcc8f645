//! What the tables don't answer quickly: which flows time out next, which refer to a group or meter, which were learned.
//!
//! The tables' classifiers are the book of flows. This holds ids alone, and only of the flows that it concerns: a flow
//! without timeouts, groups and meters costs nothing here. It follows every change at once; a transaction that fails undoes
//! its steps in reverse.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use rvs_classifier::RuleId;
use rvs_flow::PipelineKey;
use rvs_openflow::{Action, GroupId, MeterId, TableId};
use rvs_packet::Now;
use rvs_pipeline::Rule;

use super::evictable::Evictable;
use super::trigger::Triggers;
use super::uses;

/// A flow of the bridge, as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FlowId {
    pub(super) table: TableId,
    pub(super) rule: RuleId,
}

/// How often flows are looked at whose timeouts packets may lower.
const FIN_POLL: Duration = Duration::from_secs(1);

type Map<K, V> = HashMap<K, V, RandomState>;

pub(super) struct Index {
    /// Flows of all tables.
    pub(super) flows: usize,
    deadlines: BTreeSet<(Now, FlowId)>,
    /// Ordered maps, here and below: a hash table of very many would hold everybody up when it grows.
    deadline_of: BTreeMap<FlowId, Now>,
    by_group: BTreeMap<GroupId, BTreeSet<FlowId>>,
    by_meter: BTreeMap<MeterId, BTreeSet<FlowId>>,
    learned: HashSet<FlowId, RandomState>,
    learned_by: Map<(TableId, u64), u32>,
    /// How many flows have a learn action with `delete_learned` for that table and cookie.
    teachers: Map<(TableId, u64), u32>,
    /// Tables and cookies that may have lost their last teacher.
    pub(super) orphans: Vec<(TableId, u64)>,
    /// Flows that tell statistics.
    pub(super) triggers: Triggers,
    /// Of tables that evict.
    evictable: Map<TableId, Evictable>,
    /// For each table, how many of its flows anything here or any event is about.
    special: Box<[u32; 256]>,
}

impl Index {
    pub(super) fn new(hasher: &RandomState) -> Self {
        Self {
            flows: 0,
            deadlines: BTreeSet::new(),
            deadline_of: BTreeMap::new(),
            by_group: BTreeMap::new(),
            by_meter: BTreeMap::new(),
            learned: HashSet::with_hasher(hasher.clone()),
            learned_by: Map::with_hasher(hasher.clone()),
            teachers: Map::with_hasher(hasher.clone()),
            orphans: Vec::new(),
            triggers: Triggers::default(),
            evictable: Map::with_hasher(hasher.clone()),
            special: Box::new([0; 256]),
        }
    }

    /// A rule is there from now on; `learned` says that a learn action made it, `value` what it matches.
    pub(super) fn add(
        &mut self,
        now: Now,
        id: FlowId,
        rule: &Arc<Rule>,
        learned: bool,
        value: impl FnOnce() -> PipelineKey,
    ) {
        self.flows += 1;
        self.special[usize::from(id.table.0)] += u32::from(is_special(rule, learned));
        if learned {
            self.learned.insert(id);
            *self.learned_by.entry((id.table, rule.cookie)).or_default() += 1;
        }
        self.watch(id, deadline(rule, now).map(|d| d.at));
        self.refer(id, rule, true);
        self.triggers.add(now, id, rule);
        if let Some(e) = self.evictable.get_mut(&id.table) {
            e.add(id.rule, rule, value);
        }
    }

    /// A rule is gone. Returns whether it was learned.
    pub(super) fn remove(&mut self, id: FlowId, rule: &Rule) -> bool {
        self.flows = self.flows.saturating_sub(1);
        self.watch(id, None);
        self.refer(id, rule, false);
        self.triggers.remove(id, rule);
        if let Some(e) = self.evictable.get_mut(&id.table) {
            e.remove(id.rule);
        }
        let learned = !self.learned.is_empty() && self.learned.remove(&id);
        if learned {
            release(&mut self.learned_by, (id.table, rule.cookie));
        }
        self.special[usize::from(id.table.0)] -= u32::from(is_special(rule, learned));
        learned
    }

    /// True when all flows of the table can go at once without anybody noticing: none has a timeout, is referred to, or
    /// wants to be told of.
    pub(super) fn is_plain(&self, table: TableId) -> bool {
        self.special[usize::from(table.0)] == 0 && !self.evictable.contains_key(&table)
    }

    /// Sets or forgets when the flow is looked at for timeouts.
    pub(super) fn watch(&mut self, id: FlowId, at: Option<Now>) {
        let old = match at {
            Some(at) => self.deadline_of.insert(id, at),
            None if self.deadline_of.is_empty() => None,
            None => self.deadline_of.remove(&id),
        };
        if let Some(old) = old {
            self.deadlines.remove(&(old, id));
        }
        if let Some(at) = at {
            self.deadlines.insert((at, id));
        }
    }

    /// Counts or forgets what the rule's actions refer to.
    fn refer(&mut self, id: FlowId, rule: &Rule, add: bool) {
        if let Some(m) = rule.instructions.meter {
            link(&mut self.by_meter, m, id, add);
        }
        uses::each_of(&rule.instructions, &mut |a| match a {
            Action::Group(g) => link(&mut self.by_group, *g, id, add),
            Action::Meter(m) => link(&mut self.by_meter, *m, id, add),
            Action::Learn(l) if l.delete_learned => {
                let key = (l.table, l.cookie);
                if add {
                    *self.teachers.entry(key).or_default() += 1;
                } else if release(&mut self.teachers, key) {
                    self.orphans.push(key);
                }
            }
            _ => {}
        });
    }

    /// Tables and cookies whose learned flows are to go, as no flow teaches them any more.
    pub(super) fn take_orphans(&mut self) -> Vec<(TableId, u64)> {
        let mut all = std::mem::take(&mut self.orphans);
        all.retain(|key| !self.teachers.contains_key(key));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// True when a flow is there with which flows of that cookie in that table are to go.
    pub(super) fn has_teacher(&self, table: TableId, cookie: u64) -> bool {
        self.teachers.contains_key(&(table, cookie))
    }

    pub(super) fn by_group(&self, id: GroupId) -> impl ExactSizeIterator<Item = FlowId> + '_ {
        let none: &BTreeSet<_> = const { &BTreeSet::new() };
        self.by_group.get(&id).unwrap_or(none).iter().copied()
    }

    pub(super) fn by_meter(&self, id: MeterId) -> impl ExactSizeIterator<Item = FlowId> + '_ {
        let none: &BTreeSet<_> = const { &BTreeSet::new() };
        self.by_meter.get(&id).unwrap_or(none).iter().copied()
    }

    pub(super) fn next_deadline(&self) -> Option<Now> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The flows to look at by now, most urgent first.
    pub(super) fn due(&self, now: Now, max: usize) -> Vec<FlowId> {
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now);
        due.take(max).map(|(_, id)| *id).collect()
    }

    /// Learned flows of that cookie in that table.
    pub(super) fn learned_count(&self, table: TableId, cookie: u64) -> u32 {
        self.learned_by.get(&(table, cookie)).copied().unwrap_or(0)
    }

    /// The flows of a table that may be evicted; `None` where none may.
    pub(super) fn evictable(&mut self, table: TableId) -> Option<&mut Evictable> {
        self.evictable.get_mut(&table)
    }

    /// Evicts in a table from now on, in that order.
    pub(super) fn evict(&mut self, table: TableId, flows: Evictable) {
        self.evictable.insert(table, flows);
    }

    pub(super) fn keep(&mut self, table: TableId) {
        self.evictable.remove(&table);
    }
}

fn link<K: Ord>(map: &mut BTreeMap<K, BTreeSet<FlowId>>, key: K, id: FlowId, add: bool) {
    if add {
        map.entry(key).or_default().insert(id);
    } else if let Some(set) = map.get_mut(&key) {
        set.remove(&id);
        if set.is_empty() {
            map.remove(&key);
        }
    }
}

/// Counts down; true when nothing is left.
fn release<K: std::hash::Hash + Eq>(map: &mut Map<K, u32>, key: K) -> bool {
    let Some(n) = map.get_mut(&key) else {
        return false;
    };
    *n -= 1;
    let last = *n == 0;
    if last {
        map.remove(&key);
    }
    last
}

/// True when removing the flow is more than taking it out of its table. What makes it so stays so while the flow lives.
fn is_special(rule: &Rule, learned: bool) -> bool {
    let mut refers = rule.instructions.meter.is_some() || learned;
    uses::each_of(&rule.instructions, &mut |a| {
        refers |= matches!(
            a,
            Action::Group(_) | Action::Meter(_) | Action::Learn(_) | Action::FinTimeout { .. }
        );
    });
    refers |= rule.instructions.stat_trigger.is_some();
    refers || rule.flags.send_flow_removed || rule.flags.hidden || rule.timeouts() != (0, 0)
}

/// When a flow is to be looked at, and why it would go then.
pub(super) struct Deadline {
    pub(super) at: Now,
    /// Idle timeout; hard timeout otherwise. Means nothing before `at`.
    pub(super) idle: bool,
    /// The flow goes at `at`; otherwise it is only looked at again.
    pub(super) expires: bool,
}

/// When the flow times out, going by what its counters say now.
pub(super) fn deadline(rule: &Rule, now: Now) -> Option<Deadline> {
    let (idle, hard) = rule.timeouts();
    let idle = (idle != 0).then(|| after(rule.created.max(rule.counters.used()), idle));
    let hard = (hard != 0).then(|| after(rule.young_since(), hard));
    let first = match (idle, hard) {
        (Some(i), Some(h)) => Some((i.min(h), i < h)),
        (Some(i), None) => Some((i, true)),
        (None, Some(h)) => Some((h, false)),
        (None, None) => None,
    };
    let poll = lowers_timeouts(rule).then(|| now + FIN_POLL);
    match (first, poll) {
        (Some((at, idle)), p) if p.is_none_or(|p| at <= p) => Some(Deadline {
            at,
            idle,
            expires: true,
        }),
        (_, Some(at)) => Some(Deadline {
            at,
            idle: false,
            expires: false,
        }),
        _ => None,
    }
}

fn lowers_timeouts(rule: &Rule) -> bool {
    let mut found = false;
    uses::each(&rule.instructions.apply, &mut |a| {
        found |= matches!(a, Action::FinTimeout { .. });
    });
    found
}

fn after(start: Now, seconds: u16) -> Now {
    start + Duration::from_secs(seconds.into())
}
