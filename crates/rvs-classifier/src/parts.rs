//! A hash table that never stops to grow.
//!
//! A table of a million entries that doubles moves all of them at once, several tables of a classifier do so at about the
//! same time, and packets, echoes and everything else waits for a tenth of a second. This one is made of parts of some
//! thousand entries, and grows by one part at a time: the part whose turn it is gives half of its entries to the new one
//! (linear hashing, Litwin 1980). So an insert moves what two parts hold at most, and all of them together move about as
//! much as doubling would. It shrinks the same way.
//!
//! Entries keep their 32-bit hash, so that nothing but the table itself is touched. The low bits choose the place in a
//! part, the ones above them the part, the highest the tag by which places are told apart.

use hashbrown::HashTable;

/// Entries of a part when all parts are alike; between half and twice as many while they take their turns.
const PART: usize = if cfg!(test) { 8 } else { 3_300 };
/// Low bits of a hash that do not choose the part: what chooses a place among twice [`PART`] entries.
const PLACE_BITS: u32 = 13;

/// What knows its own hash.
pub(crate) trait Hashed {
    fn hash(&self) -> u32;
}

pub(crate) struct Parts<T> {
    /// A small table is this part alone, and found without a detour.
    first: HashTable<T>,
    rest: Vec<HashTable<T>>,
    len: usize,
}

impl<T: Hashed> Parts<T> {
    pub(crate) fn new() -> Self {
        Self {
            first: HashTable::new(),
            rest: Vec::new(),
            len: 0,
        }
    }

    #[inline]
    pub(crate) fn find(&self, hash: u32, eq: impl FnMut(&T) -> bool) -> Option<&T> {
        let part = match part_of(hash, self.parts()) {
            0 => &self.first,
            n => self.rest.get(n - 1)?,
        };
        part.find(spread(hash), eq)
    }

    pub(crate) fn find_mut(&mut self, hash: u32, eq: impl FnMut(&T) -> bool) -> Option<&mut T> {
        let at = part_of(hash, self.parts());
        self.part_mut(at).find_mut(spread(hash), eq)
    }

    /// Adds an entry that is not there.
    pub(crate) fn insert(&mut self, entry: T) {
        self.len += 1;
        if self.len > (self.parts() + 1) * PART {
            self.split();
        }
        let at = part_of(entry.hash(), self.parts());
        put(self.part_mut(at), entry);
    }

    /// Takes an entry out; false when there is none.
    pub(crate) fn remove(&mut self, hash: u32, eq: impl FnMut(&T) -> bool) -> bool {
        let at = part_of(hash, self.parts());
        let Ok(found) = self.part_mut(at).find_entry(spread(hash), eq) else {
            return false;
        };
        found.remove();
        self.len -= 1;
        if self.rest.is_empty() {
            let part = &mut self.first;
            // Paid for by the removals since it was full.
            if part.capacity() > 64 && part.len() < part.capacity() / 8 {
                part.shrink_to(part.len() * 2, |e| spread(e.hash()));
            }
        } else if self.len < self.parts() * PART / 4 {
            self.join();
        }
        true
    }

    /// Octets allocated.
    pub(crate) fn allocation_size(&self) -> usize {
        let parts = self.rest.iter().chain([&self.first]);
        parts.map(HashTable::allocation_size).sum::<usize>()
            + self.rest.capacity() * size_of::<HashTable<T>>()
    }

    fn parts(&self) -> usize {
        self.rest.len() + 1
    }

    fn part_mut(&mut self, at: usize) -> &mut HashTable<T> {
        match at {
            0 => &mut self.first,
            n => &mut self.rest[n - 1],
        }
    }

    /// Makes one part more, of the part that has held its entries so far.
    fn split(&mut self) {
        let new = self.parts();
        let from = self.part_mut(origin(new));
        let old = std::mem::take(from);
        let half = old.len() / 2;
        *from = HashTable::with_capacity(half);
        let mut made = HashTable::with_capacity(half);
        for entry in old {
            if part_of(entry.hash(), new + 1) == new {
                put(&mut made, entry);
            } else {
                put(from, entry);
            }
        }
        self.rest.push(made);
    }

    /// Gives the entries of the last part back to where they came from.
    fn join(&mut self) {
        let Some(last) = self.rest.pop() else {
            return;
        };
        let gone = self.parts();
        let to = self.part_mut(origin(gone));
        last.into_iter().for_each(|entry| put(to, entry));
    }
}

fn put<T: Hashed>(part: &mut HashTable<T>, entry: T) {
    part.insert_unique(spread(entry.hash()), entry, |e| spread(e.hash()));
}

/// The part that the entries of a hash are in when there are so many parts.
#[inline]
fn part_of(hash: u32, parts: usize) -> usize {
    if parts == 1 {
        return 0;
    }
    let all = parts.next_power_of_two();
    let at = hash.rotate_right(PLACE_BITS) as usize & (all - 1);
    // The later half is there in part; what is not has not left its origin yet.
    if at < parts {
        at
    } else {
        at - all / 2
    }
}

/// Where the entries of a part were before there was that part.
fn origin(part: usize) -> usize {
    part - (part + 1).next_power_of_two() / 2
}

/// A table takes its place from the low bits of a hash and its tag from the high ones.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    struct Entry {
        hash: u32,
        key: u32,
        value: u32,
    }

    impl Hashed for Entry {
        fn hash(&self) -> u32 {
            self.hash
        }
    }

    /// Good enough a hash; some keys share one.
    fn hash(key: u32) -> u32 {
        let h = u64::from(key & !1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (h ^ h >> 32) as u32
    }

    fn entry(key: u32, value: u32) -> Entry {
        Entry {
            hash: hash(key),
            key,
            value,
        }
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(ops in prop::collection::vec((0u8..4, 0u32..400, any::<u32>()), 0..1500)) {
            let (mut parts, mut model) = (Parts::new(), BTreeMap::new());
            // Grows first and shrinks then, so that parts come and go.
            let half = ops.len() / 2;
            for (n, (what, key, value)) in ops.into_iter().enumerate() {
                let adds = (what < 3) == (n < half);
                let is = |e: &Entry| e.key == key;
                match model.get_mut(&key) {
                    Some(old) if adds => {
                        *old = value;
                        parts.find_mut(hash(key), is).unwrap().value = value;
                    }
                    None if adds => {
                        model.insert(key, value);
                        parts.insert(entry(key, value));
                    }
                    known => {
                        prop_assert_eq!(parts.remove(hash(key), is), known.is_some());
                        model.remove(&key);
                    }
                }
                prop_assert!(parts.len == model.len());
            }
            for key in 0..400 {
                let found = parts.find(hash(key), |e| e.key == key).map(|e| e.value);
                prop_assert_eq!(found, model.get(&key).copied());
            }
        }
    }

    /// An operation touches two parts at most, so that their size is its cost.
    #[test]
    fn parts_stay_small_and_come_back() {
        let mut parts = Parts::new();
        for key in 0..50_000 {
            parts.insert(entry(2 * key, key));
            let touched = part_of(hash(2 * key), parts.parts());
            assert!(parts.part_mut(touched).len() <= 8 * PART);
        }
        assert!(parts.parts() > 50_000 / PART / 2);
        let full = parts.allocation_size();
        for key in 0..50_000 {
            assert!(parts.remove(hash(2 * key), |e| e.key == 2 * key));
            let touched = part_of(hash(2 * key), parts.parts());
            assert!(parts.part_mut(touched).len() <= 8 * PART);
        }
        assert_eq!((parts.parts(), parts.len), (1, 0));
        assert!(parts.allocation_size() * 4 < full);
    }
}
