//! A slab that grows by chunks: stable indices, no move of old items when it grows, memory given back when a chunk empties.
//!
//! A plain `Vec` would copy a table of a million rules when it doubles, and packets would wait for that. Each slot may
//! carry a fixed number of words beside its item (the masked value of a rule), so that a rule needs no allocation of its own.

/// Large enough that the chunk headers of a million rules stay in the first-level cache.
const CHUNK: usize = 4096;
const NONE: u32 = u32::MAX;

enum Slot<T> {
    Used(T),
    /// Next free slot of the same chunk, or [`NONE`].
    Free(u32),
}

struct Chunk<T> {
    slots: Vec<Slot<T>>,
    words: Vec<u64>,
    /// The free slots, from the one that has been free longest to the last: what is put in one after the other is found in
    /// that order again.
    free: u32,
    last_free: u32,
    used: u32,
}

pub(crate) struct Slab<T> {
    /// Words per slot.
    stride: usize,
    chunks: Vec<Chunk<T>>,
    /// Every chunk that is not full, once.
    open: Vec<u32>,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new(stride: usize) -> Self {
        Self {
            stride,
            chunks: Vec::new(),
            open: Vec::new(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Stores an item with its `stride` words.
    pub(crate) fn insert(&mut self, item: T, words: &[u64]) -> u32 {
        debug_assert_eq!(words.len(), self.stride);
        let at = match self.open.last() {
            Some(&at) => at as usize,
            None => {
                self.chunks.push(Chunk {
                    slots: Vec::new(),
                    words: Vec::new(),
                    free: NONE,
                    last_free: NONE,
                    used: 0,
                });
                self.open.push((self.chunks.len() - 1) as u32);
                self.chunks.len() - 1
            }
        };
        let chunk = &mut self.chunks[at];
        let slot = if chunk.free == NONE {
            chunk.slots.push(Slot::Used(item));
            chunk.words.extend_from_slice(words);
            chunk.slots.len() - 1
        } else {
            let slot = chunk.free as usize;
            let Slot::Free(next) = std::mem::replace(&mut chunk.slots[slot], Slot::Used(item))
            else {
                unreachable!("invariant: the free list holds free slots only")
            };
            chunk.free = next;
            chunk.words[slot * self.stride..(slot + 1) * self.stride].copy_from_slice(words);
            slot
        };
        chunk.used += 1;
        if chunk.used as usize == CHUNK {
            self.open.pop();
        }
        self.len += 1;
        (at * CHUNK + slot) as u32
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let (at, slot) = split(index);
        let chunk = self.chunks.get_mut(at)?;
        let place = chunk.slots.get_mut(slot)?;
        if matches!(place, Slot::Free(_)) {
            return None;
        }
        let Slot::Used(item) = std::mem::replace(place, Slot::Free(NONE)) else {
            unreachable!("invariant: a free slot returned above")
        };
        if chunk.free == NONE {
            chunk.free = slot as u32;
        } else {
            chunk.slots[chunk.last_free as usize] = Slot::Free(slot as u32);
        }
        chunk.last_free = slot as u32;
        if chunk.used as usize == CHUNK {
            self.open.push(at as u32);
        }
        chunk.used -= 1;
        if chunk.used == 0 {
            chunk.slots = Vec::new();
            chunk.words = Vec::new();
            chunk.free = NONE;
        }
        self.len -= 1;
        Some(item)
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let (at, slot) = split(index);
        match self.chunks.get(at)?.slots.get(slot)? {
            Slot::Used(item) => Some(item),
            Slot::Free(_) => None,
        }
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (at, slot) = split(index);
        match self.chunks.get_mut(at)?.slots.get_mut(slot)? {
            Slot::Used(item) => Some(item),
            Slot::Free(_) => None,
        }
    }

    /// The words beside an item; empty for an index that holds none.
    #[inline]
    pub(crate) fn words(&self, index: u32) -> &[u64] {
        let (at, slot) = split(index);
        self.chunks
            .get(at)
            .and_then(|c| c.words.get(slot * self.stride..(slot + 1) * self.stride))
            .unwrap_or(&[])
    }

    /// The first item at or after `index`. Empty chunks are stepped over whole.
    pub(crate) fn next_from(&self, index: u32) -> Option<(u32, &T)> {
        let (first, mut skip) = split(index);
        for (at, chunk) in self.chunks.iter().enumerate().skip(first) {
            for (slot, s) in chunk.slots.iter().enumerate().skip(skip) {
                if let Slot::Used(item) = s {
                    return Some(((at * CHUNK + slot) as u32, item));
                }
            }
            skip = 0;
        }
        None
    }

    /// Bytes allocated.
    pub(crate) fn memory_bytes(&self) -> usize {
        let chunks = self.chunks.iter().map(|c| {
            c.slots.capacity() * size_of::<Slot<T>>() + c.words.capacity() * size_of::<u64>()
        });
        chunks.sum::<usize>()
            + self.chunks.capacity() * size_of::<Chunk<T>>()
            + self.open.capacity() * size_of::<u32>()
    }
}

fn split(index: u32) -> (usize, usize) {
    (index as usize / CHUNK, index as usize % CHUNK)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    #[test]
    fn what_comes_after_another_is_found_after_it() {
        let mut slab = Slab::new(0);
        let old: Vec<_> = (0..6).map(|n| slab.insert(n, &[])).collect();
        for at in &old[..4] {
            slab.remove(*at);
        }
        let new: Vec<_> = (10..14).map(|n| slab.insert(n, &[])).collect();
        assert_eq!(new, old[..4]);
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(ops in prop::collection::vec((any::<bool>(), any::<u16>()), 0..1500)) {
            let mut slab = Slab::new(2);
            let mut model = BTreeMap::new();
            for (add, n) in ops {
                if add || model.is_empty() {
                    let at = slab.insert(n, &[u64::from(n), 7]);
                    prop_assert!(model.insert(at, n).is_none());
                } else {
                    let at = *model.keys().nth(n as usize % model.len()).unwrap();
                    prop_assert_eq!(slab.remove(at), model.remove(&at));
                    prop_assert_eq!(slab.remove(at), None);
                }
            }
            prop_assert_eq!(slab.len(), model.len());
            let (mut seen, mut at) = (BTreeMap::new(), 0);
            while let Some((i, &n)) = slab.next_from(at) {
                prop_assert_eq!(slab.words(i), &[u64::from(n), 7]);
                seen.insert(i, n);
                at = i + 1;
            }
            prop_assert_eq!(seen, model);
        }
    }

    #[test]
    fn memory_comes_back() {
        let mut slab = Slab::new(4);
        let all: Vec<u32> = (0..100_000u64).map(|n| slab.insert(n, &[n; 4])).collect();
        let full = slab.memory_bytes();
        for i in all {
            slab.remove(i);
        }
        assert_eq!(slab.len(), 0);
        assert!(slab.memory_bytes() * 20 < full);
        assert_eq!(
            slab.insert(1, &[1; 4]) as usize / CHUNK,
            slab.open.last().copied().unwrap() as usize
        );
    }
}
