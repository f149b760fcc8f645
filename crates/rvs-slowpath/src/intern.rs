//! Numbers for what actions can only point at: notes about punted copies, and states to go on with after recirculation.
//!
//! Equal content gets the same number, so that two translations with the same outcome have the same actions, and a flow that
//! matches on a recirculation number survives a fresh translation of the flow that recirculates into it.

use std::fmt::Debug;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use ahash::{AHashMap, AHashSet, RandomState};

/// Values by number. A number is not reused while the daemon runs (32 bits last for 4 billion distinct values).
#[derive(Debug)]
pub struct Interner<T> {
    items: AHashMap<u32, Arc<T>>,
    by_hash: AHashMap<u64, Vec<u32>>,
    /// Values that nobody held at the last sweep.
    idle: AHashSet<u32>,
    last: u32,
    hasher: RandomState,
}

impl<T: Debug + PartialEq> Interner<T> {
    pub fn new(hasher: RandomState) -> Self {
        Self {
            items: AHashMap::default(),
            by_hash: AHashMap::default(),
            idle: AHashSet::default(),
            last: 0,
            hasher,
        }
    }

    /// The number of a value equal to this one, from 1.
    pub fn intern(&mut self, value: T) -> (u32, Arc<T>) {
        let mut state = Hashed(self.hasher.build_hasher());
        // Writing to a hasher can't fail.
        let _ = std::fmt::Write::write_fmt(&mut state, format_args!("{value:?}"));
        let numbers = self.by_hash.entry(state.0.finish()).or_default();
        for n in numbers.iter() {
            if let Some(found) = self.items.get(n).filter(|v| ***v == value) {
                self.idle.remove(n);
                return (*n, found.clone());
            }
        }
        self.last += 1;
        let value = Arc::new(value);
        numbers.push(self.last);
        self.items.insert(self.last, value.clone());
        (self.last, value)
    }

    pub fn get(&self, number: u32) -> Option<&Arc<T>> {
        self.items.get(&number)
    }

    /// All values by number.
    pub fn items(&self) -> &AHashMap<u32, Arc<T>> {
        &self.items
    }

    /// Forgets values that nobody has held since the last sweep: a frame on its way through the caches, or a question of the
    /// workers that waits for its answer, may name one that nobody holds.
    pub fn sweep(&mut self) {
        let items = &mut self.items;
        let before = std::mem::take(&mut self.idle);
        let idle = &mut self.idle;
        items.retain(|n, v| {
            Arc::strong_count(v) > 1
                || !before.contains(n) && {
                    idle.insert(*n);
                    true
                }
        });
        self.by_hash.retain(|_, ids| {
            ids.retain(|id| items.contains_key(id));
            !ids.is_empty()
        });
    }
}

struct Hashed<H>(H);

impl<H: Hasher> std::fmt::Write for Hashed<H> {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        self.0.write(s.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_a_number_and_unused_ones_go() {
        let mut i = Interner::new(RandomState::with_seeds(1, 2, 3, 4));
        let (a, keep) = i.intern("a".to_owned());
        let (b, _) = i.intern("b".to_owned());
        assert_ne!(a, b);
        assert_eq!(i.intern("a".to_owned()).0, a);
        i.sweep();
        assert!(i.get(b).is_some(), "a frame may still name it");
        assert_eq!(i.intern("b".to_owned()).0, b);
        i.sweep();
        assert!(i.get(b).is_some(), "it was asked for since");
        i.sweep();
        assert!(i.get(b).is_none());
        assert_eq!(i.get(a), Some(&keep));
        assert_ne!(i.intern("b".to_owned()).0, b, "a number is not reused");
    }
}
