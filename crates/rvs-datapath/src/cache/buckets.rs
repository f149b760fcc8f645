//! An open hash table of (signature, slot) in cache lines.
//!
//! Eight entries fill one 64-octet line. An entry lives in its home bucket or, when that is full, in the next one: a
//! lookup reads one line, rarely two, and compares at most sixteen signatures, so that a flood of colliding keys costs
//! its sender an install and nobody a search. The home follows from the signature alone; growing and removing
//! never touch the flows.
//!
//! Invariant: an entry lies in the bucket after its home only while its home is full.

const WAYS: usize = 8;
const EMPTY: u32 = u32::MAX;

#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Bucket {
    sig: [u32; WAYS],
    slot: [u32; WAYS],
}

impl Bucket {
    const EMPTY: Self = Self {
        sig: [0; WAYS],
        slot: [EMPTY; WAYS],
    };

    fn free_way(&self) -> Option<usize> {
        self.slot.iter().position(|s| *s == EMPTY)
    }

    /// Bit set of the ways that carry `sig`, empty ones not excluded.
    #[inline(always)]
    fn matching(&self, sig: u32) -> u32 {
        let mut m = 0;
        for (i, s) in self.sig.iter().enumerate() {
            m |= u32::from(*s == sig) << i;
        }
        m
    }
}

/// Entries of one subtable.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    buckets: Vec<Bucket>,
    len: usize,
}

/// Too many entries want one place although the table is nearly empty: somebody aims at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainFull;

impl Buckets {
    /// Full buckets in a row through which an insert looks for room before the table grows.
    const ROW: usize = 8;

    pub(crate) fn new() -> Self {
        Self {
            buckets: vec![Bucket::EMPTY],
            len: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn memory(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }

    #[inline(always)]
    fn home(&self, sig: u32) -> usize {
        sig as usize & (self.buckets.len() - 1)
    }

    #[inline(always)]
    fn next(&self, i: usize) -> usize {
        (i + 1) & (self.buckets.len() - 1)
    }

    /// The slot with signature `sig` that `is_it` confirms.
    #[inline(always)]
    pub(crate) fn find(&self, sig: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let home = self.home(sig);
        let bucket = &self.buckets[home];
        let mut m = bucket.matching(sig);
        while m != 0 {
            let slot = bucket.slot[m.trailing_zeros() as usize & (WAYS - 1)];
            if slot != EMPTY && is_it(slot) {
                return Some(slot);
            }
            m &= m - 1;
        }
        if bucket.slot[WAYS - 1] == EMPTY {
            return None;
        }
        self.find_overflowed(home, sig, is_it)
    }

    #[cold]
    fn find_overflowed(
        &self,
        home: usize,
        sig: u32,
        mut is_it: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let bucket = &self.buckets[self.next(home)];
        let ways = bucket.sig.iter().zip(&bucket.slot);
        ways.filter(|(g, s)| **g == sig && **s != EMPTY)
            .map(|(_, s)| *s)
            .find(|s| is_it(*s))
    }

    /// Adds an entry; grows when its place is taken and the table is not nearly empty.
    pub(crate) fn insert(&mut self, sig: u32, slot: u32) -> Result<(), ChainFull> {
        loop {
            if self.place(sig, slot) {
                self.len += 1;
                return Ok(());
            }
            if self.buckets.len() > 2 && self.len * 8 < self.buckets.len() * WAYS {
                return Err(ChainFull);
            }
            self.grow()?;
        }
    }

    /// False when neither the home nor the bucket after it has room or can be given some.
    fn place(&mut self, sig: u32, slot: u32) -> bool {
        let home = self.home(sig);
        let next = self.next(home);
        for i in [home, next] {
            if let Some(way) = self.buckets[i].free_way() {
                self.buckets[i].sig[way] = sig;
                self.buckets[i].slot[way] = slot;
                return true;
            }
        }
        self.make_room(next) && self.place(sig, slot)
    }

    /// Frees a way of the full bucket `i`: entries at home in a row of full buckets move on by one each.
    fn make_room(&mut self, i: usize) -> bool {
        let row: Vec<usize> = std::iter::successors(Some(i), |i| Some(self.next(*i)))
            .take(Self::ROW.min(self.buckets.len()))
            .collect();
        let Some(end) = row
            .iter()
            .position(|i| self.buckets[*i].free_way().is_some())
        else {
            return false;
        };
        // All or nothing: a half-moved row would leave an entry away from a home that has room.
        if row[..end].iter().any(|i| self.at_home(*i, *i).is_none()) {
            return false;
        }
        for pair in row[..=end].windows(2).rev() {
            let (from, to) = (pair[0], pair[1]);
            let Some(w) = self.at_home(from, from) else {
                return false;
            };
            let (sig, slot) = (self.buckets[from].sig[w], self.buckets[from].slot[w]);
            self.clear(from, w);
            let way = self.buckets[to].free_way().unwrap_or(WAYS - 1);
            self.buckets[to].sig[way] = sig;
            self.buckets[to].slot[way] = slot;
        }
        true
    }

    /// A way of bucket `i` whose home is `home`.
    fn at_home(&self, i: usize, home: usize) -> Option<usize> {
        let b = &self.buckets[i];
        (0..WAYS).find(|w| b.slot[*w] != EMPTY && self.home(b.sig[*w]) == home)
    }

    /// Empties one way; the last one used takes its place, so that ways fill from the left without holes.
    fn clear(&mut self, i: usize, way: usize) -> usize {
        let b = &mut self.buckets[i];
        let last = b.free_way().unwrap_or(WAYS) - 1;
        b.sig[way] = b.sig[last];
        b.slot[way] = b.slot[last];
        b.sig[last] = 0;
        b.slot[last] = EMPTY;
        last
    }

    /// Doubles until every entry has a place, which two doublings always reach short of an attack.
    fn grow(&mut self) -> Result<(), ChainFull> {
        let mut size = self.buckets.len();
        for _ in 0..3 {
            size *= 2;
            let mut bigger = Self {
                buckets: vec![Bucket::EMPTY; size],
                len: self.len,
            };
            if self.iter().all(|(sig, slot)| bigger.place(sig, slot)) {
                *self = bigger;
                return Ok(());
            }
        }
        Err(ChainFull)
    }

    fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.buckets
            .iter()
            .flat_map(|b| b.sig.iter().copied().zip(b.slot.iter().copied()))
            .filter(|(_, slot)| *slot != EMPTY)
    }

    /// Removes the entry of `slot`. False when it is not there.
    pub(crate) fn remove(&mut self, sig: u32, slot: u32) -> bool {
        let home = self.home(sig);
        for i in [home, self.next(home)] {
            let ways = self.buckets[i].slot.iter();
            if let Some(way) = ways.into_iter().position(|s| *s == slot) {
                self.vacate(i, way);
                self.len -= 1;
                return true;
            }
        }
        false
    }

    /// Empties one way; an entry that had overflowed comes home to it, and so on down the row.
    fn vacate(&mut self, mut i: usize, mut way: usize) {
        loop {
            let was_full = self.buckets[i].free_way().is_none();
            let free = self.clear(i, way);
            let next = self.next(i);
            let Some(w) = self.at_home(next, i).filter(|_| was_full && next != i) else {
                return;
            };
            self.buckets[i].sig[free] = self.buckets[next].sig[w];
            self.buckets[i].slot[free] = self.buckets[next].slot[w];
            (i, way) = (next, w);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Signatures that one lookup compares at most.
    const CHAIN: usize = 2 * WAYS;

    #[test]
    fn a_lookup_reads_one_line() {
        assert_eq!(size_of::<Bucket>(), 64);
        assert_eq!(align_of::<Bucket>(), 64);
    }

    /// Equal signatures at the chain's length, one below and one above.
    #[test]
    fn a_flood_of_equal_signatures_ends_at_the_chain() {
        let mut b = Buckets::new();
        for slot in 0..CHAIN as u32 {
            assert_eq!(b.insert(77, slot), Ok(()), "{slot}");
        }
        for slot in 0..CHAIN as u32 * 20 {
            assert_eq!(b.insert(77, 1000 + slot), Err(ChainFull));
        }
        assert!(b.memory() <= 64 * 64, "{}", b.memory());
        for slot in 0..CHAIN as u32 {
            assert_eq!(b.find(77, |s| s == slot), Some(slot));
        }
        assert!(b.remove(77, 3));
        assert_eq!(b.insert(77, 5000), Ok(()));
    }

    #[test]
    fn random_signatures_fill_more_than_a_third() {
        let mut b = Buckets::new();
        let mut x = 1u64;
        for slot in 0..100_000 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b.insert((x >> 32) as u32, slot).unwrap();
        }
        assert!(b.memory() <= 100_000 * 24, "{}", b.memory());
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u32),
        Remove(usize),
    }

    proptest! {
        /// The oracle is a map; signatures come from few values, so that buckets overflow and entries come home.
        #[test]
        fn equals_a_map(ops in prop::collection::vec(prop_oneof![
            3 => (0u32..200).prop_map(Op::Insert),
            2 => any::<usize>().prop_map(Op::Remove),
        ], 1..400)) {
            let mut b = Buckets::new();
            let mut model: HashMap<u32, u32> = HashMap::new();
            let mut order = Vec::new();
            for (slot, op) in ops.into_iter().enumerate() {
                let slot = slot as u32;
                match op {
                    Op::Insert(v) => {
                        let sig = (v % 5) | (v / 5) << 20;
                        if b.insert(sig, slot).is_ok() {
                            model.insert(slot, sig);
                            order.push(slot);
                        }
                    }
                    Op::Remove(n) if !order.is_empty() => {
                        let slot = order.swap_remove(n % order.len());
                        let sig = model.remove(&slot).unwrap();
                        prop_assert!(b.remove(sig, slot));
                        prop_assert!(!b.remove(sig, slot));
                    }
                    Op::Remove(_) => {}
                }
                prop_assert_eq!(b.len, model.len());
                for (slot, sig) in &model {
                    prop_assert_eq!(b.find(*sig, |s| s == *slot), Some(*slot));
                }
            }
            prop_assert_eq!(b.iter().count(), model.len());
        }
    }
}
