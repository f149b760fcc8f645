//! Finding the rule for a key, and proving it with as few bits as can be had cheaply.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::Ordering::Relaxed;

use rvs_flow::{Key, Mask};

use crate::classifier::{Classifier, Rank, RuleId, Version};
use crate::layout::{specificity, Layout, MAX_PREFIX_FIELDS};
use crate::subtable::{fold, word, Bucket, Element, Prefix, Rule, Subtable};
use crate::trie::Walk;

/// A rule in its table.
pub struct RuleRef<'a, K, R> {
    pub(crate) subtable: &'a Subtable<K, R>,
    pub(crate) rule: &'a Rule<R>,
    pub(crate) subtable_id: u32,
    pub(crate) slot: u32,
}

impl<K, R> Clone for RuleRef<'_, K, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, R> Copy for RuleRef<'_, K, R> {}

impl<'a, K: Layout, R> RuleRef<'a, K, R> {
    pub fn id(&self) -> RuleId {
        RuleId {
            subtable: self.subtable_id,
            slot: self.slot,
            generation: self.rule.generation,
        }
    }

    pub fn payload(&self) -> &'a R {
        &self.rule.payload
    }

    pub fn priority(&self) -> i32 {
        self.rule.priority
    }

    /// The version that added it.
    pub fn added(&self) -> Version {
        self.rule.added
    }

    /// The version that removed it, or [`crate::NEVER`].
    pub fn removed(&self) -> Version {
        self.rule.removed
    }

    /// Canonical: no bit outside the mask is set.
    pub fn value(&self) -> K {
        self.subtable.value(self.slot)
    }

    pub fn mask(&self) -> &'a Mask<K> {
        &self.subtable.mask
    }
}

/// What the tries said about the key, each asked at most once in a lookup.
struct Walks {
    asked: u8,
    walks: [Walk; MAX_PREFIX_FIELDS],
}

impl<K: Layout, R> Classifier<K, R> {
    /// The rule of the highest priority that matches `key` at `version`; adds to `wc` every bit that was consulted.
    #[inline]
    pub fn lookup(&self, version: Version, key: &K, wc: &mut Mask<K>) -> Option<RuleRef<'_, K, R>> {
        self.lookup_from(version, key, i32::MAX, wc)
    }

    /// As [`Self::lookup`], among the rules of priority `limit` and below.
    pub fn lookup_from(
        &self,
        version: Version,
        key: &K,
        limit: i32,
        wc: &mut Mask<K>,
    ) -> Option<RuleRef<'_, K, R>> {
        let mut best: Option<RuleRef<'_, K, R>> = None;
        let mut walks = Walks::new();
        for rank in &self.order {
            let Some(subtable) = self.subtable(rank.subtable) else {
                continue;
            };
            if let Some(b) = best {
                if rank.max_priority < b.rule.priority {
                    break;
                }
                if rank.max_priority == b.rule.priority
                    && specificity(&subtable.mask, &b.subtable.mask).is_lt()
                {
                    continue;
                }
            }
            let Some(found) = self.find(rank, subtable, version, key, limit, &mut walks, wc) else {
                continue;
            };
            let better = best.is_none_or(|b| {
                found
                    .rule
                    .priority
                    .cmp(&b.rule.priority)
                    .then_with(|| specificity(&found.subtable.mask, &b.subtable.mask))
                    .is_gt()
            });
            if better {
                best = Some(found);
            }
        }
        if let Some(b) = best {
            b.subtable.hits.fetch_add(1, Relaxed);
        }
        best
    }

    /// The highest priority, at most `limit`, of which any rule matches, with *all* rules of it that match (no order),
    /// which replace what was in `out`. For conjunctive matches, whose parts are rules of one priority.
    pub fn lookup_level<'a>(
        &'a self,
        version: Version,
        key: &K,
        limit: i32,
        wc: &mut Mask<K>,
        out: &mut Vec<RuleRef<'a, K, R>>,
    ) -> Option<i32> {
        out.clear();
        let mut level = None;
        let mut walks = Walks::new();
        for rank in &self.order {
            if level.is_some_and(|l| rank.max_priority < l) {
                break;
            }
            let Some(subtable) = self.subtable(rank.subtable) else {
                continue;
            };
            if let Some(found) = self.find(rank, subtable, version, key, limit, &mut walks, wc) {
                let priority = Some(found.rule.priority);
                if priority > level {
                    level = priority;
                    out.clear();
                }
                if priority == level {
                    out.push(found);
                }
            }
        }
        level
    }

    /// The best rule of one subtable for `key`, with the bits that say so.
    #[allow(clippy::too_many_arguments)]
    #[inline]
    fn find<'a>(
        &'a self,
        rank: &Rank,
        subtable: &'a Subtable<K, R>,
        version: Version,
        key: &K,
        limit: i32,
        walks: &mut Walks,
        wc: &mut Mask<K>,
    ) -> Option<RuleRef<'a, K, R>> {
        let bucket = self.consult(subtable, key, walks, wc);
        for slot in subtable.at_most(bucket, limit) {
            let Some(rule) = subtable.rules.get(slot) else {
                continue;
            };
            if rule.priority <= limit && rule.visible(version) {
                return Some(RuleRef {
                    subtable,
                    rule,
                    subtable_id: rank.subtable,
                    slot,
                });
            }
        }
        None
    }

    /// The rules of a subtable whose masked value is the key's.
    #[inline]
    fn consult<'a>(
        &self,
        subtable: &'a Subtable<K, R>,
        key: &K,
        walks: &mut Walks,
        wc: &mut Mask<K>,
    ) -> Bucket<'a> {
        let words = key.words();
        let mut h = self.config.hasher.build_hasher();
        let (mut from, mut prefix_from) = (0, 0);
        let last = subtable.stages.len() - 1;
        for (i, stage) in subtable.stages.iter().enumerate() {
            let prefixes = &subtable.prefixes[prefix_from..stage.prefix_end];
            // Free of charge when an earlier subtable has asked the tries.
            if let Some((p, bits)) = ruled_out(prefixes, |f| walks.asked(f)) {
                self.pin_prefix(wc, &subtable.elements[..from], p, bits);
                return Bucket::Empty;
            }
            for e in &subtable.elements[from..stage.end] {
                h.write_u64(word(words, e));
            }
            let hash = fold(&h);
            let shared = if i == last {
                let bucket = subtable.bucket(hash, words);
                if !bucket.is_empty() {
                    pin(wc, &subtable.elements);
                    return bucket;
                }
                false
            } else {
                Subtable::<K, R>::shares_stage(stage, hash)
            };
            if !shared {
                // The whole stage proves it, but a few leading bits of an address may do.
                match ruled_out(prefixes, |f| Some(walks.ask(self, key, f))) {
                    Some((p, bits)) => self.pin_prefix(wc, &subtable.elements[..from], p, bits),
                    None => pin(wc, &subtable.elements[..stage.end]),
                }
                return Bucket::Empty;
            }
            from = stage.end;
            prefix_from = stage.prefix_end;
        }
        Bucket::Empty
    }

    /// Un-wildcards the stages that were passed, and the leading bits of a field that rule the subtable out.
    fn pin_prefix(&self, wc: &mut Mask<K>, passed: &[Element], p: Prefix, bits: u8) {
        pin(wc, passed);
        let bits = if self.config.round_prefixes {
            bits.next_multiple_of(8)
        } else {
            bits
        };
        K::PREFIX_FIELDS[usize::from(p.field)].pin(wc, bits);
    }
}

impl Walks {
    fn new() -> Self {
        Self {
            asked: 0,
            walks: [Walk::default(); MAX_PREFIX_FIELDS],
        }
    }

    #[inline]
    fn asked(&self, field: u8) -> Option<Walk> {
        (self.asked & 1 << field != 0).then(|| self.walks[usize::from(field)])
    }

    fn ask<K: Layout, R>(&mut self, table: &Classifier<K, R>, key: &K, field: u8) -> Walk {
        if let Some(walk) = self.asked(field) {
            return walk;
        }
        let at = usize::from(field);
        let walk = table.tries[at].walk(K::PREFIX_FIELDS[at].read(key));
        self.asked |= 1 << field;
        self.walks[at] = walk;
        walk
    }
}

/// The prefix that rules a subtable out with the fewest bits, if one does.
#[inline]
fn ruled_out(
    prefixes: &[Prefix],
    mut walk: impl FnMut(u8) -> Option<Walk>,
) -> Option<(Prefix, u8)> {
    prefixes
        .iter()
        .filter_map(|p| Some((*p, walk(p.field)?.rules_out(p.len)?)))
        .min_by_key(|(_, bits)| *bits)
}

/// Un-wildcards elements of a mask.
#[inline]
fn pin<K: Key>(wc: &mut Mask<K>, elements: &[Element]) {
    let words = wc.0.words_mut();
    for e in elements {
        if let Some(w) = words.get_mut(e.word as usize) {
            *w |= e.mask;
        }
    }
}
