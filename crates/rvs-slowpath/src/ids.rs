//! Maps and sets of flow numbers.
//!
//! Flow numbers are given out in sequence, and so they lie in these tables: what was installed together stands together, a
//! table of 100,000 flows grows at the cost of a few cache lines, not of as many as there are flows. Nobody outside chooses
//! the numbers, so the hash needs no secret.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use rvs_dpif::FlowId;

pub(crate) type FlowMap<V> = HashMap<FlowId, V, BuildHasherDefault<InSequence>>;
pub(crate) type FlowSet = HashSet<FlowId, BuildHasherDefault<InSequence>>;

/// Keeps numbers in sequence; the highest bits, which tables compare first, are mixed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InSequence(u64);

impl Hasher for InSequence {
    fn finish(&self) -> u64 {
        const POSITION: u64 = !0 >> 7;
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0 & POSITION | self.0.wrapping_mul(GOLDEN) & !POSITION
    }

    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*b);
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// One flow or many: most addresses are asked for by one.
#[derive(Debug)]
pub(crate) enum Ids {
    One(FlowId),
    Many(FlowSet),
}

impl Ids {
    pub(crate) fn insert(&mut self, id: FlowId) {
        match self {
            Self::One(only) if *only == id => {}
            Self::One(only) => *self = Self::Many(FlowSet::from_iter([*only, id])),
            Self::Many(ids) => {
                ids.insert(id);
            }
        }
    }

    /// Takes a number out; true when none is left.
    pub(crate) fn remove(&mut self, id: FlowId) -> bool {
        match self {
            Self::One(only) => *only == id,
            Self::Many(ids) => {
                ids.remove(&id);
                ids.is_empty()
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = FlowId> + '_ {
        let (one, many) = match self {
            Self::One(id) => (Some(*id), None),
            Self::Many(ids) => (None, Some(ids)),
        };
        one.into_iter().chain(many.into_iter().flatten().copied())
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, BuildHasherDefault};

    use super::*;

    #[test]
    fn numbers_stay_in_sequence_and_differ_in_what_is_compared_first() {
        let hash = |n| BuildHasherDefault::<InSequence>::default().hash_one(FlowId(n));
        assert_eq!(hash(1001) & 0xffff, (hash(1000) & 0xffff) + 1);
        let tags: HashSet<u64> = (0..128).map(|n| hash(n) >> 57).collect();
        assert!(tags.len() > 100, "{}", tags.len());
    }

    #[test]
    fn one_becomes_many_and_none() {
        let mut ids = Ids::One(FlowId(1));
        ids.insert(FlowId(1));
        assert_eq!(ids.iter().count(), 1);
        assert!(!ids.remove(FlowId(2)));
        ids.insert(FlowId(2));
        ids.insert(FlowId(2));
        let mut all: Vec<u64> = ids.iter().map(|i| i.0).collect();
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
        assert!(!ids.remove(FlowId(1)));
        assert!(ids.remove(FlowId(2)));
    }
}
