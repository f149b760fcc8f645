//! An open hash table of (signature, slot) in cache lines.
//!
//! Seven entries and a word of tags fill one 64-octet line. A tag is eight bits of the signature, so that one comparison of
//! the word says which of the seven can be meant, mostly none: asking a subtable that does not know a key costs one line
//! and a handful of instructions. An entry lives in its home bucket or, when that is full, in the next one; the home counts
//! those, and the second line is read only if there are any. So a flood of colliding keys costs its sender an install and
//! nobody a search. The home follows from the signature alone: growing and removing never touch the flows.

const WAYS: usize = 7;
/// The lowest bit of each way's tag, and its highest.
const LOW: u64 = 0x0001_0101_0101_0101;
const HIGH: u64 = LOW << 7;

#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// Octet i: tag of way i, 0 when it is free. Octet 7: entries at home here that live in the next bucket.
    tags: u64,
    entries: [Entry; WAYS],
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Entry {
    sig: u32,
    slot: u32,
}

impl Bucket {
    const EMPTY: Self = Self {
        tags: 0,
        entries: [Entry { sig: 0, slot: 0 }; WAYS],
    };
    const OVERFLOW: u64 = 1 << 56;

    /// Never 0.
    #[inline(always)]
    fn tag(sig: u32) -> u64 {
        u64::from((sig >> 24).max(1))
    }

    /// Marks the highest bit of each way whose tag is `tag`; now and then of one more (the carry of the subtraction).
    #[inline(always)]
    fn matching(&self, tag: u64) -> u64 {
        let diff = self.tags ^ (tag * LOW);
        diff.wrapping_sub(LOW) & !diff & HIGH
    }

    #[inline(always)]
    fn overflows(&self) -> bool {
        self.tags >= Self::OVERFLOW
    }

    #[inline(always)]
    fn find(&self, sig: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut m = self.matching(Self::tag(sig));
        while m != 0 {
            // At most 55 / 8.
            let e = self.entries[(m.trailing_zeros() / 8) as usize % WAYS];
            if e.sig == sig && is_it(e.slot) {
                return Some(e.slot);
            }
            m &= m - 1;
        }
        None
    }

    /// False when every way is taken.
    fn place(&mut self, sig: u32, slot: u32) -> bool {
        let Some(way) = (0..WAYS).find(|w| (self.tags >> (8 * w)) as u8 == 0) else {
            return false;
        };
        self.tags |= Self::tag(sig) << (8 * way);
        self.entries[way] = Entry { sig, slot };
        true
    }

    fn remove(&mut self, sig: u32, slot: u32) -> bool {
        let Some(way) = self.used().position(|e| e.is_some_and(|e| e.slot == slot)) else {
            return false;
        };
        debug_assert_eq!(self.entries[way].sig, sig);
        self.tags &= !(0xff << (8 * way));
        true
    }

    fn used(&self) -> impl Iterator<Item = Option<Entry>> + '_ {
        let ways = self.entries.iter().enumerate();
        ways.map(|(w, e)| ((self.tags >> (8 * w)) as u8 != 0).then_some(*e))
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

    fn next(&self, i: usize) -> usize {
        (i + 1) & (self.buckets.len() - 1)
    }

    /// The slot with signature `sig` that `is_it` confirms.
    #[inline(always)]
    pub(crate) fn find(&self, sig: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let home = self.home(sig);
        let bucket = &self.buckets[home];
        let found = bucket.find(sig, &mut is_it);
        if found.is_none() && bucket.overflows() {
            return self.buckets[self.next(home)].find(sig, is_it);
        }
        found
    }

    /// Adds an entry. Grows when half full, so that few buckets overflow.
    pub(crate) fn insert(&mut self, sig: u32, slot: u32) -> Result<(), ChainFull> {
        let room = self.buckets.len() * WAYS;
        if self.len >= room.max(2 * WAYS) / 2 {
            self.grow()?;
        }
        while !self.place(sig, slot) {
            if self.buckets.len() > 2 && self.len < self.buckets.len() {
                return Err(ChainFull);
            }
            self.grow()?;
        }
        self.len += 1;
        Ok(())
    }

    /// False when neither the home nor the bucket after it has room.
    fn place(&mut self, sig: u32, slot: u32) -> bool {
        let home = self.home(sig);
        let next = self.next(home);
        if self.buckets[home].place(sig, slot) {
            return true;
        }
        let overflowed = next != home && self.buckets[next].place(sig, slot);
        if overflowed {
            self.buckets[home].tags += Bucket::OVERFLOW;
        }
        overflowed
    }

    /// Doubles, more than once if need be, until every entry has a place.
    fn grow(&mut self) -> Result<(), ChainFull> {
        let mut size = self.buckets.len();
        for _ in 0..3 {
            size *= 2;
            let mut bigger = Self {
                buckets: vec![Bucket::EMPTY; size],
                len: self.len,
            };
            if self.iter().all(|e| bigger.place(e.sig, e.slot)) {
                *self = bigger;
                return Ok(());
            }
        }
        Err(ChainFull)
    }

    fn iter(&self) -> impl Iterator<Item = Entry> + '_ {
        self.buckets.iter().flat_map(Bucket::used).flatten()
    }

    /// Removes the entry of `slot`. False when it is not there.
    pub(crate) fn remove(&mut self, sig: u32, slot: u32) -> bool {
        let home = self.home(sig);
        let next = self.next(home);
        if !self.buckets[home].remove(sig, slot) {
            if !self.buckets[home].overflows() || !self.buckets[next].remove(sig, slot) {
                return false;
            }
            self.buckets[home].tags -= Bucket::OVERFLOW;
        }
        self.len -= 1;
        true
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
    fn random_signatures_take_at_most_48_octets_each() {
        let mut b = Buckets::new();
        let mut x = 1u64;
        for slot in 0..100_000 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b.insert((x >> 32) as u32, slot).unwrap();
        }
        assert!(b.memory() <= 100_000 * 48, "{}", b.memory());
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
                        let sig = (v % 5) | (v / 5) << 23;
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
