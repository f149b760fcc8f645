//! Rules by what they match instead of by a key: strict and loose selection, overlaps, and dumps in slices.

use std::hash::{BuildHasher, Hasher};

use rvs_flow::Mask;

use crate::classifier::{Classifier, Version};
use crate::layout::Layout;
use crate::lookup::RuleRef;
use crate::subtable::{fold, word, Bucket, Subtable};

/// Where a dump stands. Positions of rules do not change while they live: across any number of changes between slices, a
/// dump visits each rule that is there from its first slice to its last exactly once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    subtable: u32,
    slot: u32,
}

/// Which rules a scan selects.
#[derive(Clone, Copy, Debug)]
pub enum Filter<'a, K> {
    All,
    /// Rules at least as specific as this match: everything that they match, it matches (OpenFlow's non-strict selection).
    Loose {
        value: &'a K,
        mask: &'a Mask<K>,
    },
    /// Rules that some key matches together with this match, of one priority if it is given (`OFPFF_CHECK_OVERLAP`).
    Overlapping {
        value: &'a K,
        mask: &'a Mask<K>,
        priority: Option<i32>,
    },
}

impl<K: Layout, R> Classifier<K, R> {
    /// The rule of exactly that match and priority that is visible at `version` (OpenFlow's strict selection).
    pub fn find_exact(
        &self,
        version: Version,
        value: &K,
        mask: &Mask<K>,
        priority: i32,
    ) -> Option<RuleRef<'_, K, R>> {
        let id = self.subtable_of(mask)?;
        let subtable = self.subtable(id)?;
        let bucket = subtable.bucket_of(&self.config.hasher, value);
        subtable
            .of_priority(bucket, priority)
            .find_map(|(slot, rule)| {
                let found = RuleRef {
                    subtable,
                    rule,
                    subtable_id: id,
                    slot,
                };
                rule.visible(version).then_some(found)
            })
    }

    /// The rules visible at `version` that the filter selects, in no particular order. Subtables that can hold none are
    /// not scanned, and one whose mask the match covers costs one hash.
    pub fn select<'a>(
        &'a self,
        version: Version,
        filter: Filter<'a, K>,
    ) -> impl Iterator<Item = RuleRef<'a, K, R>> + 'a {
        self.order.iter().flat_map(move |rank| {
            let id = rank.subtable;
            let subtable = self.subtable(id);
            let slots = subtable
                .map(|s| s.slots(self, filter))
                .unwrap_or(Slots::Bucket(Bucket::Empty));
            slots
                .filter_map(move |slot| rule_at(subtable?, id, slot))
                .filter(move |r| r.rule.visible(version) && filter.selects(r))
        })
    }

    /// One slice of a dump: hands the rules visible at `version` that the filter selects to `f`, from `cursor` on, until
    /// about `max_work` rules were looked at. Returns true when the dump is complete. A dump that must show one version
    /// keeps it from being purged until then.
    pub fn scan<'a>(
        &'a self,
        version: Version,
        cursor: &mut Cursor,
        max_work: usize,
        filter: Filter<'_, K>,
        mut f: impl FnMut(RuleRef<'a, K, R>),
    ) -> bool {
        let mut work = 0;
        while (cursor.subtable as usize) < self.subtables.len() {
            let subtable = self.subtable(cursor.subtable).filter(|s| filter.admits(s));
            while let Some((slot, rule)) = subtable.and_then(|s| s.rules.next_from(cursor.slot)) {
                if work >= max_work {
                    return false;
                }
                work += 1;
                cursor.slot = slot + 1;
                if let Some(r) = subtable.and_then(|s| rule_at(s, cursor.subtable, slot)) {
                    if rule.visible(version) && filter.selects(&r) {
                        f(r);
                    }
                }
            }
            work += 1;
            *cursor = Cursor {
                subtable: cursor.subtable + 1,
                slot: 0,
            };
        }
        true
    }
}

impl<K: Layout> Filter<'_, K> {
    /// False when no rule of the subtable can be selected, going by its mask and priorities.
    fn admits<R>(&self, s: &Subtable<K, R>) -> bool {
        match self {
            Self::All => true,
            Self::Loose { mask, .. } => mask.is_subset_of(&s.mask),
            Self::Overlapping { priority, .. } => priority.is_none_or(|p| s.has_priority(p)),
        }
    }

    fn selects<R>(&self, r: &RuleRef<'_, K, R>) -> bool {
        match self {
            Self::All => true,
            Self::Loose { value, mask } => {
                mask.is_subset_of(r.mask()) && agrees(r, value.words(), mask)
            }
            Self::Overlapping {
                value,
                mask,
                priority,
            } => priority.is_none_or(|p| p == r.rule.priority) && agrees(r, value.words(), mask),
        }
    }
}

/// Slots of one subtable that a filter may select.
enum Slots<'a, K, R> {
    Bucket(Bucket<'a>),
    All {
        subtable: &'a Subtable<K, R>,
        next: u32,
    },
}

impl<K, R> Iterator for Slots<'_, K, R> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        match self {
            Self::Bucket(b) => b.next(),
            Self::All { subtable, next } => {
                let (slot, _) = subtable.rules.next_from(*next)?;
                *next = slot + 1;
                Some(slot)
            }
        }
    }
}

impl<K: Layout, R> Subtable<K, R> {
    fn slots<'a>(&'a self, table: &'a Classifier<K, R>, filter: Filter<'_, K>) -> Slots<'a, K, R> {
        let all = Slots::All {
            subtable: self,
            next: 0,
        };
        if !filter.admits(self) {
            return Slots::Bucket(Bucket::Empty);
        }
        let (Filter::Loose { value, mask } | Filter::Overlapping { value, mask, .. }) = filter
        else {
            return all;
        };
        // As far as the match fixes whole stages, it is looked up like a key.
        let words = value.words();
        let mut h = table.config.hasher.build_hasher();
        let mut from = 0;
        let last = self.stages.len() - 1;
        for (i, stage) in self.stages.iter().enumerate() {
            for e in &self.elements[from..stage.end] {
                if e.mask & !mask.0.words().get(e.word as usize).copied().unwrap_or(0) != 0 {
                    return all;
                }
                h.write_u64(word(words, e));
            }
            from = stage.end;
            let hash = fold(&h);
            if i == last {
                return Slots::Bucket(self.bucket(hash, words));
            }
            if !Self::shares_stage(stage, hash) {
                return Slots::Bucket(Bucket::Empty);
            }
        }
        all
    }
}

fn rule_at<K, R>(
    subtable: &Subtable<K, R>,
    subtable_id: u32,
    slot: u32,
) -> Option<RuleRef<'_, K, R>> {
    let rule = subtable.rules.get(slot)?;
    Some(RuleRef {
        subtable,
        rule,
        subtable_id,
        slot,
    })
}

/// True when the rule and the match ask for the same bits where both ask.
fn agrees<K: Layout, R>(r: &RuleRef<'_, K, R>, value: &[u64], mask: &Mask<K>) -> bool {
    let s = r.subtable;
    s.elements.iter().zip(s.rules.words(r.slot)).all(|(e, v)| {
        let w = e.word as usize;
        let both = e.mask & mask.0.words().get(w).copied().unwrap_or(0);
        (v ^ value.get(w).copied().unwrap_or(0)) & both == 0
    })
}
