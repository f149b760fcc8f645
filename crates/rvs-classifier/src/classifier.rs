//! The table itself and everything that changes it.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::Ordering::Relaxed;

use ahash::RandomState;
use hashbrown::HashTable;
use rvs_flow::{Key, Mask};

use crate::layout::{specificity, Layout};
use crate::lookup::RuleRef;
use crate::subtable::{Rule, Subtable};
use crate::trie::{Trie, MAX_RULES};

/// The version of a table. Readers pin one; writers bring ones that never go back.
pub type Version = u64;

/// `removed` of a rule that no version has removed.
pub const NEVER: Version = Version::MAX;

/// How a classifier hashes and un-wildcards.
#[derive(Clone)]
pub struct Config {
    /// Random per boot, so that nobody can aim at one bucket; fixed in tests.
    pub hasher: RandomState,
    /// Un-wildcard prefixes that rule a subtable out in whole octets. Headers made up by an attacker then choose between 4
    /// masks for an IPv4 address instead of 32, and between 2 for a port instead of 16.
    pub round_prefixes: bool,
}

/// Names a rule for as long as it is there. A `RuleId` of a purged rule names nothing (a generation tells).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId {
    pub(crate) subtable: u32,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Why a change was refused. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("a rule with the same match and priority is in the table")]
    Duplicate(RuleId),
    #[error("no such rule is in the table")]
    NoSuchRule,
    #[error("the rule was removed at version {0}")]
    AlreadyRemoved(Version),
    #[error("the table has changes of version {newest} already")]
    VersionInPast { newest: Version },
    #[error("the table holds as many rules as it can count")]
    Full,
}

/// What one subtable looks like, for diagnostics.
#[derive(Clone, Copy, Debug)]
pub struct SubtableInfo<'a, K> {
    pub mask: &'a Mask<K>,
    /// Highest priority of the rules that are physically there.
    pub max_priority: i32,
    /// Rules that are physically there, removed ones that were not purged included.
    pub rules: usize,
    /// Lookups that ended with a rule of this subtable.
    pub hits: u64,
}

/// A table of rules that carry an `R` each. `R` is cheap to clone and to move, such as an `Arc`.
pub struct Classifier<K, R> {
    pub(crate) config: Config,
    pub(crate) subtables: Vec<Option<Box<Subtable<K, R>>>>,
    free_subtables: Vec<u32>,
    /// Subtables by mask.
    masks: HashTable<u32>,
    /// Subtables in the order of lookup: highest priority first, the more specific mask first among equals.
    pub(crate) order: Vec<Rank>,
    /// One for each of `K::PREFIX_FIELDS`.
    pub(crate) tries: Vec<Trie>,
    len: usize,
    generation: u32,
    newest: Version,
    /// The newest before that.
    previous: Version,
    /// What version `newest` has changed, in order.
    journal: Vec<Change>,
    /// Removed rules that are physically there, oldest removal first.
    graveyard: VecDeque<(Version, RuleId)>,
}

#[derive(Clone, Copy)]
pub(crate) struct Rank {
    pub(crate) max_priority: i32,
    pub(crate) subtable: u32,
}

#[derive(Clone, Copy)]
enum Change {
    Added(RuleId),
    Removed(RuleId),
}

impl<K: Layout, R> Classifier<K, R> {
    pub fn new(config: Config) -> Self {
        Self {
            config,
            subtables: Vec::new(),
            free_subtables: Vec::new(),
            masks: HashTable::new(),
            order: Vec::new(),
            tries: K::PREFIX_FIELDS
                .iter()
                .map(|f| Trie::new(f.octets))
                .collect(),
            len: 0,
            generation: 0,
            newest: 0,
            previous: 0,
            journal: Vec::new(),
            graveyard: VecDeque::new(),
        }
    }

    /// Rules that are there at the newest version.
    pub fn len(&self) -> usize {
        self.len - self.graveyard.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removed rules that wait for [`Self::purge`].
    pub fn garbage(&self) -> usize {
        self.graveyard.len()
    }

    /// Distinct masks, which is what a lookup costs.
    pub fn mask_count(&self) -> usize {
        self.order.len()
    }

    /// The subtables in the order of lookup.
    pub fn subtables(&self) -> impl Iterator<Item = SubtableInfo<'_, K>> {
        self.order.iter().filter_map(|rank| {
            self.subtable(rank.subtable).map(|s| SubtableInfo {
                mask: &s.mask,
                max_priority: rank.max_priority,
                rules: s.rules.len(),
                hits: s.hits.load(Relaxed),
            })
        })
    }

    /// Bytes allocated by the table; what the payloads point at is the owner's.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self
                .subtables
                .iter()
                .flatten()
                .map(|s| s.memory_bytes())
                .sum::<usize>()
            + self.tries.iter().map(Trie::memory_bytes).sum::<usize>()
            + self.masks.allocation_size()
            + self.subtables.capacity() * size_of::<Option<Box<Subtable<K, R>>>>()
            + self.order.capacity() * size_of::<Rank>()
            + self.journal.capacity() * size_of::<Change>()
            + self.graveyard.capacity() * size_of::<(Version, RuleId)>()
    }

    /// Adds a rule that is visible from `version` on. Bits of `value` outside `mask` do not count.
    ///
    /// # Errors
    /// [`WriteError::Duplicate`] when the newest version has a rule of that match and priority; `VersionInPast`; `Full`.
    pub fn insert(
        &mut self,
        value: &K,
        mask: &Mask<K>,
        priority: i32,
        payload: R,
        version: Version,
    ) -> Result<RuleId, WriteError> {
        self.check_version(version)?;
        if self.len >= MAX_RULES {
            return Err(WriteError::Full);
        }
        let known = self.subtable_of(mask);
        if let Some(twin) = known.and_then(|s| self.current(s, value, priority)) {
            return Err(WriteError::Duplicate(twin));
        }
        let subtable = known.unwrap_or_else(|| self.add_subtable(mask));
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let Some(s) = self
            .subtables
            .get_mut(subtable as usize)
            .and_then(Option::as_mut)
        else {
            unreachable!("invariant: the subtable was found or made above")
        };
        let before = s.max_priority();
        let words = s.masked(value);
        let rule = Rule {
            payload,
            added: version,
            removed: NEVER,
            priority,
            generation,
        };
        let slot = s.insert(&self.config.hasher, &words, rule);
        for p in &s.prefixes {
            let field = usize::from(p.field);
            self.tries[field].insert(K::PREFIX_FIELDS[field].read(value), p.len);
        }
        if before.is_none_or(|b| priority > b) {
            self.rank(subtable, before, Some(priority));
        }
        self.len += 1;
        self.start_version(version);
        let id = RuleId {
            subtable,
            slot,
            generation,
        };
        self.journal.push(Change::Added(id));
        Ok(id)
    }

    /// Makes a rule invisible from `version` on.
    ///
    /// # Errors
    /// [`WriteError::NoSuchRule`], `AlreadyRemoved`, `VersionInPast`.
    pub fn remove_at(&mut self, id: RuleId, version: Version) -> Result<(), WriteError> {
        self.check_version(version)?;
        let rule = self.rule_mut(id).ok_or(WriteError::NoSuchRule)?;
        if rule.removed != NEVER {
            return Err(WriteError::AlreadyRemoved(rule.removed));
        }
        rule.removed = version;
        self.start_version(version);
        self.journal.push(Change::Removed(id));
        self.graveyard.push_back((version, id));
        Ok(())
    }

    /// Undoes everything that `version` did, as long as no later version has changed anything and [`Self::purge`] has
    /// not been told that `version` is final: rules that it added vanish, rules that it removed come back. Returns
    /// true when all is undone, after `max_work` changes at most. The version may be used again then.
    ///
    /// # Errors
    /// [`WriteError::VersionInPast`] when a later version has changed something.
    pub fn rollback(&mut self, version: Version, max_work: usize) -> Result<bool, WriteError> {
        self.check_version(version)?;
        if version > self.newest {
            return Ok(true);
        }
        for _ in 0..max_work {
            let Some(change) = self.journal.pop() else {
                break;
            };
            match change {
                Change::Removed(id) => {
                    // Removals of one version are journalled and buried in the same order.
                    self.graveyard.pop_back();
                    if let Some(rule) = self.rule_mut(id) {
                        rule.removed = NEVER;
                    }
                }
                Change::Added(id) => drop(self.take(id)),
            }
        }
        let done = self.journal.is_empty();
        if done && self.previous < version {
            // Later changes may have any version that is later than what is left.
            self.newest = self.previous;
        }
        Ok(done)
    }

    /// Takes rules out for good that were removed at `up_to` or before, at most `max_work` of them, and hands each
    /// payload to `sink`. Returns how many.
    ///
    /// The owner promises that every reader, now and later, is pinned to `up_to` or a later version, and that no version
    /// up to `up_to` will be rolled back.
    pub fn purge(&mut self, up_to: Version, max_work: usize, mut sink: impl FnMut(R)) -> usize {
        if self.newest <= up_to {
            self.journal = Vec::new();
        }
        let mut done = 0;
        while done < max_work {
            match self.graveyard.front() {
                Some(&(removed, id)) if removed <= up_to => {
                    self.graveyard.pop_front();
                    if let Some(payload) = self.take(id) {
                        sink(payload);
                    }
                    done += 1;
                }
                _ => break,
            }
        }
        if self.graveyard.is_empty() && self.graveyard.capacity() > 1024 {
            self.graveyard = VecDeque::new();
        }
        done
    }

    /// The rule that an id names, whatever its versions.
    pub fn rule(&self, id: RuleId) -> Option<RuleRef<'_, K, R>> {
        let subtable = self.subtable(id.subtable)?;
        let rule = subtable
            .rules
            .get(id.slot)
            .filter(|r| r.generation == id.generation)?;
        Some(RuleRef {
            subtable,
            rule,
            subtable_id: id.subtable,
            slot: id.slot,
        })
    }

    #[inline]
    pub(crate) fn subtable(&self, id: u32) -> Option<&Subtable<K, R>> {
        self.subtables.get(id as usize)?.as_deref()
    }

    pub(crate) fn subtable_of(&self, mask: &Mask<K>) -> Option<u32> {
        self.masks
            .find(self.mask_hash(mask), |id| {
                self.subtable(*id).is_some_and(|s| s.mask == *mask)
            })
            .copied()
    }

    /// The rule of a subtable of that value and priority at the newest version.
    fn current(&self, subtable: u32, value: &K, priority: i32) -> Option<RuleId> {
        let s = self.subtable(subtable)?;
        let slot = s.current(s.bucket_of(&self.config.hasher, value), priority)?;
        let generation = s.rules.get(slot)?.generation;
        Some(RuleId {
            subtable,
            slot,
            generation,
        })
    }

    fn rule_mut(&mut self, id: RuleId) -> Option<&mut Rule<R>> {
        let s = self.subtables.get_mut(id.subtable as usize)?.as_mut()?;
        s.rules
            .get_mut(id.slot)
            .filter(|r| r.generation == id.generation)
    }

    fn check_version(&self, version: Version) -> Result<(), WriteError> {
        if version < self.newest || version == NEVER {
            return Err(WriteError::VersionInPast {
                newest: self.newest,
            });
        }
        Ok(())
    }

    /// A change of a later version means that the earlier ones stay.
    fn start_version(&mut self, version: Version) {
        if version > self.newest {
            self.previous = self.newest;
            self.newest = version;
            self.journal.clear();
            self.journal.shrink_to(1024);
        }
    }

    fn mask_hash(&self, mask: &Mask<K>) -> u64 {
        mask_hash(&self.config.hasher, mask)
    }

    fn add_subtable(&mut self, mask: &Mask<K>) -> u32 {
        let made = Some(Box::new(Subtable::new(mask)));
        let id = match self.free_subtables.pop() {
            Some(id) => {
                self.subtables[id as usize] = made;
                id
            }
            None => {
                self.subtables.push(made);
                (self.subtables.len() - 1) as u32
            }
        };
        let (subtables, hasher) = (&self.subtables, &self.config.hasher);
        self.masks.insert_unique(mask_hash(hasher, mask), id, |id| {
            subtables
                .get(*id as usize)
                .and_then(Option::as_ref)
                .map_or(0, |s| mask_hash(hasher, &s.mask))
        });
        id
    }

    /// Takes a rule out of everything that knows it.
    fn take(&mut self, id: RuleId) -> Option<R> {
        self.rule_mut(id)?;
        let s = self.subtables.get_mut(id.subtable as usize)?.as_mut()?;
        let before = s.max_priority();
        let value = s.value(id.slot);
        let rule = s.remove(&self.config.hasher, id.slot)?;
        for p in &s.prefixes {
            let field = usize::from(p.field);
            self.tries[field].remove(K::PREFIX_FIELDS[field].read(&value), p.len);
        }
        self.len -= 1;
        let after = s.max_priority();
        if before != after {
            self.rank(id.subtable, before, after);
        }
        if after.is_none() {
            self.drop_subtable(id.subtable);
        }
        Some(rule.payload)
    }

    fn drop_subtable(&mut self, id: u32) {
        let Some(s) = self.subtables.get_mut(id as usize).and_then(Option::take) else {
            return;
        };
        if let Ok(found) = self
            .masks
            .find_entry(mask_hash(&self.config.hasher, &s.mask), |i| *i == id)
        {
            found.remove();
        }
        self.free_subtables.push(id);
    }

    /// Moves a subtable to its place in the order of lookup when its highest priority changes.
    fn rank(&mut self, id: u32, before: Option<i32>, after: Option<i32>) {
        if let Some(max_priority) = before {
            let at = self.rank_position(id, max_priority);
            debug_assert_eq!(self.order.get(at).map(|r| r.subtable), Some(id));
            self.order.remove(at);
        }
        if let Some(max_priority) = after {
            let at = self.rank_position(id, max_priority);
            self.order.insert(
                at,
                Rank {
                    max_priority,
                    subtable: id,
                },
            );
        }
    }

    /// Where a subtable with that highest priority stands, or would.
    fn rank_position(&self, id: u32, max_priority: i32) -> usize {
        let Some(new) = self.subtable(id) else {
            return self.order.len();
        };
        self.order.partition_point(|r| {
            let by_priority = r.max_priority.cmp(&max_priority);
            let by_mask = || match self.subtable(r.subtable) {
                Some(s) => specificity(&s.mask, &new.mask),
                None => std::cmp::Ordering::Equal,
            };
            by_priority.then_with(by_mask).is_gt()
        })
    }
}

fn mask_hash<K: Key>(hasher: &RandomState, mask: &Mask<K>) -> u64 {
    let mut h = hasher.build_hasher();
    // Most words of a mask are zero.
    for (i, w) in mask.0.words().iter().enumerate().filter(|(_, w)| **w != 0) {
        h.write_u64(*w);
        h.write_usize(i);
    }
    h.finish()
}
