//! The rules of one mask: a hash map from masked value to rules, and for each stage but the last the set of values seen.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::AtomicU64;

use ahash::{AHasher, RandomState};
use rvs_flow::Mask;

use crate::classifier::{Version, NEVER};
use crate::layout::{Layout, Stage};
use crate::parts::{Hashed, Parts};
use crate::slab::Slab;

/// Set in [`Entry::head`]: the rest is an index of `lists`.
const LIST: u32 = 1 << 31;

/// A rule as it is stored; its masked value lies beside it in the slab.
pub(crate) struct Rule<R> {
    pub(crate) payload: R,
    pub(crate) added: Version,
    pub(crate) removed: Version,
    pub(crate) priority: i32,
    /// Tells a rule from an earlier one in the same slot.
    pub(crate) generation: u32,
}

impl<R> Rule<R> {
    #[inline]
    pub(crate) fn visible(&self, version: Version) -> bool {
        self.added <= version && version < self.removed
    }
}

/// One word of the mask, or the part of it that belongs to one stage.
#[derive(Clone, Copy)]
pub(crate) struct Element {
    pub(crate) mask: u64,
    pub(crate) word: u32,
}

/// A prefix that every rule of the subtable has on a field with a trie.
#[derive(Clone, Copy)]
pub(crate) struct Prefix {
    /// Index into [`Layout::PREFIX_FIELDS`].
    pub(crate) field: u8,
    pub(crate) len: u8,
}

/// The stages of the mask that have bits, in order; the last one has no set of its own but the index.
pub(crate) struct StageIndex {
    /// Elements of this stage and the ones before it.
    pub(crate) end: usize,
    /// Prefixes of this stage and the ones before it.
    pub(crate) prefix_end: usize,
    /// Hashes of all elements up to `end`, over all rules that are there, with how many rules share each. Two values
    /// with one hash make a lookup consult one stage more, nothing else.
    values: Parts<Counted>,
}

#[derive(Clone, Copy)]
struct Counted {
    hash: u32,
    rules: u32,
}

/// All rules of one masked value.
#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    /// A rule's slot, or [`LIST`] and a list.
    head: u32,
}

impl Hashed for Counted {
    fn hash(&self) -> u32 {
        self.hash
    }
}

impl Hashed for Entry {
    fn hash(&self) -> u32 {
        self.hash
    }
}

pub(crate) struct Subtable<K, R> {
    pub(crate) mask: Mask<K>,
    pub(crate) elements: Box<[Element]>,
    pub(crate) stages: Box<[StageIndex]>,
    pub(crate) prefixes: Box<[Prefix]>,
    index: Parts<Entry>,
    pub(crate) rules: Slab<Rule<R>>,
    /// Rules that share a masked value when there is more than one: highest priority first, newest first within one.
    lists: Slab<Vec<u32>>,
    /// How many rules have each priority.
    priorities: BTreeMap<i32, u32>,
    pub(crate) hits: AtomicU64,
}

impl<K: Layout, R> Subtable<K, R> {
    pub(crate) fn new(mask: &Mask<K>) -> Self {
        let mut elements = Vec::new();
        let mut prefixes = Vec::new();
        let mut stages = Vec::new();
        for stage in Stage::ALL {
            let before = elements.len();
            let of_stage = K::stage_mask(stage);
            for (word, (m, s)) in mask.0.words().iter().zip(of_stage.0.words()).enumerate() {
                if m & s != 0 {
                    elements.push(Element {
                        mask: m & s,
                        word: word as u32,
                    });
                }
            }
            if elements.len() == before {
                continue;
            }
            for (i, field) in K::PREFIX_FIELDS.iter().enumerate() {
                let len = field.prefix_len(mask);
                if field.stage == stage && len > 0 {
                    prefixes.push(Prefix {
                        field: i as u8,
                        len,
                    });
                }
            }
            stages.push(StageIndex {
                end: elements.len(),
                prefix_end: prefixes.len(),
                values: Parts::new(),
            });
        }
        if stages.is_empty() {
            // The mask without bits: one stage of no elements, whose index holds the rules that match everything.
            stages.push(StageIndex {
                end: 0,
                prefix_end: 0,
                values: Parts::new(),
            });
        }
        Self {
            mask: *mask,
            rules: Slab::new(elements.len()),
            elements: elements.into(),
            stages: stages.into(),
            prefixes: prefixes.into(),
            index: Parts::new(),
            lists: Slab::new(0),
            priorities: BTreeMap::new(),
            hits: AtomicU64::new(0),
        }
    }

    pub(crate) fn max_priority(&self) -> Option<i32> {
        self.priorities.last_key_value().map(|(p, _)| *p)
    }

    pub(crate) fn has_priority(&self, priority: i32) -> bool {
        self.priorities.contains_key(&priority)
    }

    /// The masked words of a key, in the order in which rules store theirs.
    pub(crate) fn masked(&self, key: &K) -> Vec<u64> {
        let words = key.words();
        self.elements.iter().map(|e| word(words, e)).collect()
    }

    /// The value of a rule as a key.
    pub(crate) fn value(&self, slot: u32) -> K {
        let mut key = K::default();
        for (e, v) in self.elements.iter().zip(self.rules.words(slot)) {
            if let Some(w) = key.words_mut().get_mut(e.word as usize) {
                *w |= v;
            }
        }
        key
    }

    /// The rules whose masked value is that of `key`, best first; none for a value that no rule has.
    #[inline]
    pub(crate) fn bucket(&self, hash: u32, words: &[u64]) -> Bucket<'_> {
        let entry = self.index.find(hash, |e| {
            e.hash == hash
                && self
                    .elements
                    .iter()
                    .zip(self.rules.words(self.first(e.head)))
                    .all(|(e, v)| word(words, e) == *v)
        });
        match entry {
            None => Bucket::Empty,
            Some(e) if e.head & LIST == 0 => Bucket::One(e.head),
            Some(e) => Bucket::Many(self.list(e.head)),
        }
    }

    /// [`Self::bucket`] of a key, hashed here.
    pub(crate) fn bucket_of(&self, hasher: &RandomState, key: &K) -> Bucket<'_> {
        let mut h = hasher.build_hasher();
        let words = key.words();
        for e in &self.elements {
            h.write_u64(word(words, e));
        }
        self.bucket(fold(&h), words)
    }

    /// True when some rule shares the elements of `stage` and of the stages before it, whose hash that is.
    #[inline]
    pub(crate) fn shares_stage(stage: &StageIndex, hash: u32) -> bool {
        stage.values.find(hash, |c| c.hash == hash).is_some()
    }

    /// Adds a rule. `words` as [`Self::masked`] made them; no rule of this value and priority may be current.
    pub(crate) fn insert(&mut self, hasher: &RandomState, words: &[u64], rule: Rule<R>) -> u32 {
        *self.priorities.entry(rule.priority).or_insert(0) += 1;
        let slot = self.rules.insert(rule, words);
        let hash = self.each_stage_hash(hasher, slot, |values, hash| {
            match values.find_mut(hash, |c| c.hash == hash) {
                Some(c) => c.rules += 1,
                None => values.insert(Counted { hash, rules: 1 }),
            }
        });
        match self.find_entry(hash, slot) {
            None => self.index.insert(Entry { hash, head: slot }),
            Some(head) if head & LIST == 0 => {
                let at = self.lists.insert(vec![head], &[]);
                self.set_head(hash, head, at | LIST);
                self.list_insert(at, slot);
            }
            Some(head) => self.list_insert(head & !LIST, slot),
        }
        slot
    }

    /// Takes a rule out for good.
    pub(crate) fn remove(&mut self, hasher: &RandomState, slot: u32) -> Option<Rule<R>> {
        let priority = self.rules.get(slot)?.priority;
        let hash = self.each_stage_hash(hasher, slot, |values, hash| {
            let Some(found) = values.find_mut(hash, |c| c.hash == hash) else {
                return;
            };
            found.rules -= 1;
            if found.rules == 0 {
                values.remove(hash, |c| c.hash == hash);
            }
        });
        let head = self.find_entry(hash, slot)?;
        if head & LIST == 0 {
            self.index.remove(hash, |e| e.head == head);
        } else if let Some(list) = self.lists.get_mut(head & !LIST) {
            let rules = &self.rules;
            let order = |s: u32| rules.get(s).map(|r| (r.priority, r.added));
            let from = list.partition_point(|s| order(*s) > order(slot));
            if let Some(at) = list[from..].iter().position(|s| *s == slot) {
                list.remove(from + at);
            }
            if let [last] = list[..] {
                self.lists.remove(head & !LIST);
                self.set_head(hash, head, last);
            }
        }
        if let Some(n) = self.priorities.get_mut(&priority) {
            *n -= 1;
            if *n == 0 {
                self.priorities.remove(&priority);
            }
        }
        self.rules.remove(slot)
    }

    /// The rule of this value and priority that no version has removed yet.
    pub(crate) fn current(&self, bucket: Bucket<'_>, priority: i32) -> Option<u32> {
        self.of_priority(bucket, priority)
            .find_map(|(slot, r)| (r.removed == NEVER).then_some(slot))
    }

    /// The rules of a bucket with that priority, of any version.
    pub(crate) fn of_priority<'a>(
        &'a self,
        bucket: Bucket<'a>,
        priority: i32,
    ) -> impl Iterator<Item = (u32, &'a Rule<R>)> {
        self.at_most(bucket, priority)
            .filter_map(|slot| Some((slot, self.rules.get(slot)?)))
            .take_while(move |(_, r)| r.priority >= priority)
            .filter(move |(_, r)| r.priority == priority)
    }

    /// The rules of a bucket from priority `limit` on downwards; a rule that is alone is not looked at.
    #[inline]
    pub(crate) fn at_most<'a>(&self, bucket: Bucket<'a>, limit: i32) -> Bucket<'a> {
        match bucket {
            Bucket::Many(list) if limit < i32::MAX => {
                let above = |s: &u32| self.rules.get(*s).is_some_and(|r| r.priority > limit);
                Bucket::Many(&list[list.partition_point(above)..])
            }
            other => other,
        }
    }

    /// Bytes allocated, payloads aside.
    pub(crate) fn memory_bytes(&self) -> usize {
        let stages = self.stages.iter();
        size_of::<Self>()
            + std::mem::size_of_val::<[Element]>(&self.elements)
            + std::mem::size_of_val::<[Prefix]>(&self.prefixes)
            + stages.map(|s| size_of::<StageIndex>() + s.values.allocation_size()).sum::<usize>()
            + self.index.allocation_size()
            + self.rules.memory_bytes()
            + self.lists.memory_bytes()
            // Nodes of a B-tree are at least half full.
            + self.priorities.len() * 2 * size_of::<(i32, u32)>()
    }

    /// Calls `f` with the set of each stage but the last and the rule's hash there; returns the hash of the whole value.
    fn each_stage_hash(
        &mut self,
        hasher: &RandomState,
        slot: u32,
        mut f: impl FnMut(&mut Parts<Counted>, u32),
    ) -> u32 {
        let mut h = hasher.build_hasher();
        let words = self.rules.words(slot);
        let mut hashed = 0;
        let last = self.stages.len() - 1;
        for (i, stage) in self.stages.iter_mut().enumerate() {
            for w in &words[hashed..stage.end] {
                h.write_u64(*w);
            }
            hashed = stage.end;
            if i < last {
                f(&mut stage.values, fold(&h));
            }
        }
        fold(&h)
    }

    /// The head of the entry with the value of the rule in `slot`.
    fn find_entry(&self, hash: u32, slot: u32) -> Option<u32> {
        let value = self.rules.words(slot);
        self.index
            .find(hash, |e| {
                e.hash == hash && self.rules.words(self.first(e.head)) == value
            })
            .map(|e| e.head)
    }

    fn set_head(&mut self, hash: u32, from: u32, to: u32) {
        if let Some(e) = self.index.find_mut(hash, |e| e.head == from) {
            e.head = to;
        }
    }

    fn list_insert(&mut self, list: u32, slot: u32) {
        let order = |s: u32| self.rules.get(s).map(|r| (r.priority, r.added));
        let new = order(slot);
        if let Some(list) = self.lists.get_mut(list) {
            let at = list.partition_point(|s| order(*s) > new);
            list.insert(at, slot);
        }
    }

    /// Any rule of an entry: they share the value.
    #[inline]
    fn first(&self, head: u32) -> u32 {
        if head & LIST == 0 {
            head
        } else {
            self.list(head).first().copied().unwrap_or(u32::MAX)
        }
    }

    fn list(&self, head: u32) -> &[u32] {
        self.lists.get(head & !LIST).map_or(&[], |l| l)
    }
}

/// Slots of the rules that share one masked value.
#[derive(Clone, Copy)]
pub(crate) enum Bucket<'a> {
    Empty,
    One(u32),
    Many(&'a [u32]),
}

impl Bucket<'_> {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Iterator for Bucket<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        match self {
            Self::Empty => None,
            Self::One(slot) => {
                let slot = *slot;
                *self = Self::Empty;
                Some(slot)
            }
            Self::Many(list) => {
                let (slot, rest) = list.split_first()?;
                *list = rest;
                Some(*slot)
            }
        }
    }
}

/// The part of a key that an element consults.
#[inline]
pub(crate) fn word(words: &[u64], e: &Element) -> u64 {
    words.get(e.word as usize).map_or(0, |w| w & e.mask)
}

/// Tables keep 32 bits of a hash beside each entry, so that they grow without touching rules.
#[inline]
pub(crate) fn fold(h: &AHasher) -> u32 {
    let h = h.finish();
    (h ^ h >> 32) as u32
}
