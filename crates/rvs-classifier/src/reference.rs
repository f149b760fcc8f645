//! The oracle: a classifier that is a list. Slow, and obviously right.
//!
//! It keeps the same promises on versions and ties as [`crate::Classifier`], whose tests run both side by side. It does not
//! un-wildcard: whoever uses it uses no cache.

use rvs_flow::{Key, Mask};

use crate::classifier::{Version, NEVER};
use crate::layout::specificity;

#[derive(Clone, Debug)]
pub struct LinearRule<K, R> {
    /// Canonical: no bit outside the mask is set.
    pub value: K,
    pub mask: Mask<K>,
    pub priority: i32,
    pub payload: R,
    pub added: Version,
    pub removed: Version,
}

#[derive(Clone, Debug)]
pub struct LinearClassifier<K, R> {
    rules: Vec<LinearRule<K, R>>,
}

impl<K: Key, R> LinearRule<K, R> {
    pub fn visible(&self, version: Version) -> bool {
        self.added <= version && version < self.removed
    }

    pub fn matches(&self, key: &K) -> bool {
        self.mask.same(&self.value, key)
    }

    fn is(&self, value: &K, mask: &Mask<K>, priority: i32) -> bool {
        self.mask == *mask && self.value == mask.apply(value) && self.priority == priority
    }
}

impl<K: Key, R> LinearClassifier<K, R> {
    pub fn new() -> Self {
        Self { rules: Vec::new() }
    }

    /// The rules visible at a version, oldest first.
    pub fn rules(&self, version: Version) -> impl Iterator<Item = &LinearRule<K, R>> {
        self.rules.iter().filter(move |r| r.visible(version))
    }

    /// Adds a rule; false, and no change, when a rule of that match and priority is current.
    pub fn insert(
        &mut self,
        value: &K,
        mask: &Mask<K>,
        priority: i32,
        payload: R,
        version: Version,
    ) -> bool {
        if self
            .rules
            .iter()
            .any(|r| r.removed == NEVER && r.is(value, mask, priority))
        {
            return false;
        }
        self.rules.push(LinearRule {
            value: mask.apply(value),
            mask: *mask,
            priority,
            payload,
            added: version,
            removed: NEVER,
        });
        true
    }

    /// Removes the current rule of that match and priority; false when there is none.
    pub fn remove_at(
        &mut self,
        value: &K,
        mask: &Mask<K>,
        priority: i32,
        version: Version,
    ) -> bool {
        let current = |r: &&mut LinearRule<K, R>| r.removed == NEVER && r.is(value, mask, priority);
        match self.rules.iter_mut().find(current) {
            Some(rule) => {
                rule.removed = version;
                true
            }
            None => false,
        }
    }

    /// Undoes the newest version.
    pub fn rollback(&mut self, version: Version) {
        self.rules.retain(|r| r.added != version);
        for r in self.rules.iter_mut().filter(|r| r.removed == version) {
            r.removed = NEVER;
        }
    }

    pub fn lookup(&self, version: Version, key: &K) -> Option<&LinearRule<K, R>> {
        self.lookup_from(version, key, i32::MAX)
    }

    pub fn lookup_from(&self, version: Version, key: &K, limit: i32) -> Option<&LinearRule<K, R>> {
        self.rules(version)
            .filter(|r| r.priority <= limit && r.matches(key))
            .max_by(|a, b| {
                a.priority
                    .cmp(&b.priority)
                    .then_with(|| specificity(&a.mask, &b.mask))
            })
    }

    pub fn find_exact(
        &self,
        version: Version,
        value: &K,
        mask: &Mask<K>,
        priority: i32,
    ) -> Option<&LinearRule<K, R>> {
        self.rules(version).find(|r| r.is(value, mask, priority))
    }

    /// Rules at least as specific as the match.
    pub fn loose<'a>(
        &'a self,
        version: Version,
        value: &'a K,
        mask: &'a Mask<K>,
    ) -> impl Iterator<Item = &'a LinearRule<K, R>> {
        self.rules(version)
            .filter(move |r| mask.is_subset_of(&r.mask) && mask.same(value, &r.value))
    }

    /// Rules that some key matches together with the match.
    pub fn overlapping<'a>(
        &'a self,
        version: Version,
        value: &'a K,
        mask: &'a Mask<K>,
        priority: Option<i32>,
    ) -> impl Iterator<Item = &'a LinearRule<K, R>> {
        self.rules(version).filter(move |r| {
            priority.is_none_or(|p| p == r.priority)
                && Mask(r.mask.apply(&mask.0)).same(value, &r.value)
        })
    }
}

impl<K: Key, R> Default for LinearClassifier<K, R> {
    fn default() -> Self {
        Self::new()
    }
}
