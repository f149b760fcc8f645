//! Which flow a full table gives up: the least important, and among those the one that expires soonest; of the largest group,
//! where the database divides the flows into groups by some fields, so that nobody's flows push out everybody else's.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use ahash::RandomState;
use rvs_classifier::{Cursor, Filter, RuleId};
use rvs_flow::{PipelineKey, SubField};
use rvs_packet::Now;
use rvs_pipeline::Rule;

use super::limits::SLICE;
use super::select::Rules;

type Map<K, V> = HashMap<K, V, RandomState>;

/// Slices of a table in which one eviction looks for a flow that may go.
const SEARCHED: usize = 8;

/// Of a group's fields, what its flows match.
type Group = Box<[u128]>;

/// The flows of a table that may be evicted.
#[derive(Default)]
pub(super) struct Evictable {
    /// Each group's flows, the first to go first: by importance and by when they expire.
    groups: Map<Group, BTreeSet<(u16, Now, RuleId)>>,
    /// Groups by how many flows they have.
    sizes: BTreeSet<(usize, Group)>,
    place: Map<RuleId, (Group, u16, Now)>,
    /// Flows without a timeout too.
    all: bool,
    fields: Box<[SubField]>,
    /// Where the flows begin that were there before and have no place yet.
    todo: Option<Cursor>,
}

impl Evictable {
    /// Flows with a timeout, or `all`; `fields` divide them into groups. Of those that are there already none has a place.
    pub(super) fn new(all: bool, fields: Box<[SubField]>) -> Self {
        Self {
            all,
            fields,
            todo: Some(Cursor::default()),
            ..Self::default()
        }
    }

    /// Gives up to `max` more of the table's flows their places. True when all have theirs.
    pub(super) fn place_some(&mut self, rules: &Rules, version: u64, max: usize) -> bool {
        let Some(mut cursor) = self.todo else {
            return true;
        };
        let done = rules.scan(version, &mut cursor, max, Filter::All, |r| {
            self.add(r.id(), r.payload(), || r.value());
        });
        self.todo = (!done).then_some(cursor);
        done
    }

    /// `value` says what the flow matches. One that has a place keeps it.
    pub(super) fn add(&mut self, id: RuleId, rule: &Rule, value: impl FnOnce() -> PipelineKey) {
        if rule.flags.hidden || rule.timeouts() == (0, 0) && !self.all {
            return;
        }
        if self.place.contains_key(&id) {
            return;
        }
        let group: Group = match self.fields.is_empty() {
            true => Box::new([]),
            false => {
                let value = value();
                self.fields.iter().map(|f| f.get(&value)).collect()
            }
        };
        self.place_in(group, rule.importance, expires(rule), id);
    }

    pub(super) fn remove(&mut self, id: RuleId) {
        let Some((group, importance, at)) = self.place.remove(&id) else {
            return;
        };
        let Some(flows) = self.groups.get_mut(&group) else {
            return;
        };
        let was = flows.len();
        flows.remove(&(importance, at, id));
        let is = flows.len();
        self.sizes.remove(&(was, group.clone()));
        if is == 0 {
            self.groups.remove(&group);
        } else {
            self.sizes.insert((is, group));
        }
    }

    fn place_in(&mut self, group: Group, importance: u16, at: Now, id: RuleId) {
        self.place.insert(id, (group.clone(), importance, at));
        let flows = self.groups.entry(group.clone()).or_default();
        let was = flows.len();
        flows.insert((importance, at, id));
        let is = flows.len();
        self.sizes.remove(&(was, group.clone()));
        self.sizes.insert((is, group));
    }

    /// The flow to go first, of those that have places; of some more, where none that may go has one yet. Packets have put off since
    /// when some of them expire: up to `looks` of those are put back, then whoever is first goes.
    pub(super) fn victim(
        &mut self,
        rules: &Rules,
        version: u64,
        looks: &mut usize,
    ) -> Option<RuleId> {
        // Not the whole table under its lock: where none of so many may go, others are looked for in slices.
        for _ in 0..SEARCHED {
            if !self.sizes.is_empty() || self.place_some(rules, version, SLICE) {
                break;
            }
        }
        let (_, group) = self.sizes.last()?.clone();
        loop {
            let (importance, at, id) = *self.groups.get(&group)?.first()?;
            match rules.rule(id).map(|r| expires(r.payload())) {
                Some(later) if later > at && *looks > 0 => {
                    *looks -= 1;
                    self.remove(id);
                    self.place_in(group.clone(), importance, later, id);
                }
                _ => return Some(id),
            }
        }
    }
}

/// When a flow expires, going by its timeouts and the last packet that it is known to have had.
fn expires(rule: &Rule) -> Now {
    let (idle, hard) = rule.timeouts();
    let after = |start: Now, seconds: u16| start + Duration::from_secs(seconds.into());
    let used = rule.created.max(rule.counters.used());
    let idle = (idle != 0).then(|| after(used, idle));
    let hard = (hard != 0).then(|| after(rule.young_since(), hard));
    let first = [idle, hard].into_iter().flatten().min();
    first.unwrap_or(Now(u64::MAX))
}
