//! The prefixes that the rules of a table have on one header field.
//!
//! A walk answers, for one value of the field: which prefix lengths have *some* rule whose prefix covers the value, and how
//! many leading bits had to be read to know. A subtable whose prefix length is not among them holds no match, whatever its
//! other fields say, and the answer stays the same for every value that shares those leading bits. So a packet to
//! 10.1.2.3 in a table with a /32 for 192.168.0.1 pins one bit of the address, not 32.
//!
//! Both are sums over the prefixes, whatever their order: the lengths of those that cover the value, and the largest number
//! of bits that one of them needs, its length if it covers the value and one bit more than it shares with it otherwise.
//! So the prefixes lie side by side in leaves that are read from end to end, one or two cache lines for an address, and the
//! tree above them only finds the leaf: four bits at a time, and in one step past what all below share (burst tries: Heinz,
//! Zobel and Williams 2002). Walks of a million prefixes are bound by what has to come from memory, not by what they compute.
//!
//! Values are left-aligned in a `u128`. The trie holds every rule that is physically there, of any version: one prefix too
//! many costs mask bits, never a wrong answer.

mod inner;

use std::ops::{BitOr, BitXor};

use inner::Inner;

/// Bits of [`Entry::rules_len`] for the length less one.
const LEN_BITS: u32 = 7;
/// Rules that a table may hold for its tries to count them.
pub(crate) const MAX_RULES: usize = (1 << (32 - LEN_BITS)) - 1;
/// Prefixes of a leaf at most; few in tests, so that small tries have more than leaves.
const LEAF: usize = if cfg!(test) { 3 } else { 32 };

/// What a walk found out about one value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Bit `n - 1`: some rule has a prefix of length `n` that covers the value.
    lengths: u128,
    /// Leading bits that were read.
    bits: u8,
}

impl Walk {
    /// When no rule with a prefix of `len` bits covers the value: how many leading bits prove it.
    #[inline]
    pub(crate) fn rules_out(self, len: u8) -> Option<u8> {
        debug_assert!((1..=128).contains(&len));
        (self.lengths >> (len - 1) & 1 == 0).then(|| self.bits.min(len))
    }
}

/// The prefixes of one field, which take a quarter of the room when the field is no wider than an IPv4 address.
pub(crate) enum Trie {
    Narrow(Prefixes<u32>),
    Wide(Prefixes<u128>),
}

impl Trie {
    /// For a field of so many octets, 1..=16.
    pub(crate) fn new(octets: usize) -> Self {
        if octets <= 4 {
            Self::Narrow(Prefixes::default())
        } else {
            Self::Wide(Prefixes::default())
        }
    }

    #[inline]
    pub(crate) fn walk(&self, value: u128) -> Walk {
        match self {
            Self::Narrow(p) => p.walk((value >> 96) as u32),
            Self::Wide(p) => p.walk(value),
        }
    }

    /// Adds a rule whose prefix is the first `len` bits of `value`, 1 to as many as the field has.
    pub(crate) fn insert(&mut self, value: u128, len: u8) {
        match self {
            Self::Narrow(p) => p.insert((value >> 96) as u32, len),
            Self::Wide(p) => p.insert(value, len),
        }
    }

    /// Takes back one `insert` of the same prefix.
    pub(crate) fn remove(&mut self, value: u128, len: u8) {
        match self {
            Self::Narrow(p) => p.remove((value >> 96) as u32, len),
            Self::Wide(p) => p.remove(value, len),
        }
    }

    /// Octets allocated. Looks at every node.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Narrow(p) => p.memory_bytes(),
            Self::Wide(p) => p.memory_bytes(),
        }
    }
}

/// A value of a field, the first bit on top.
pub(crate) trait Bits:
    Copy + Default + Eq + BitOr<Output = Self> + BitXor<Output = Self> + Into<u128>
{
    /// Leading bits that two values share, all of them when they are equal.
    fn common(self, other: Self) -> u8;
    /// Its first `len` bits.
    fn top(self, len: u8) -> Self;
    /// The four bits from bit `at` on, which there are.
    fn four(self, at: u8) -> usize;
    /// `lengths` moved up by `by`: bit `n` is bit `n + by` then.
    fn lengths(lengths: u32, by: u8) -> Self;
}

macro_rules! bits {
    ($($t:ty),*) => {$(
        impl Bits for $t {
            #[inline]
            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }

            #[inline]
            fn top(self, len: u8) -> Self {
                self & !Self::MAX.checked_shr(u32::from(len)).unwrap_or(0)
            }

            #[inline]
            fn four(self, at: u8) -> usize {
                debug_assert!(u32::from(at) + 4 <= Self::BITS);
                (self >> (Self::BITS - 4 - u32::from(at))) as usize & 15
            }

            #[inline]
            fn lengths(lengths: u32, by: u8) -> Self {
                Self::from(lengths) << by
            }
        }
    )*};
}

bits!(u32, u128);

/// A prefix, and how many rules have it.
#[derive(Clone, Copy)]
struct Entry<V> {
    /// Bits past the length are 0.
    value: V,
    /// The length less one, and above [`LEN_BITS`] the rules.
    rules_len: u32,
}

impl<V: Bits> Entry<V> {
    fn new(value: V, len: u8) -> Self {
        Self {
            value: value.top(len),
            rules_len: 1 << LEN_BITS | u32::from(len - 1),
        }
    }

    /// 1..=128.
    #[inline]
    fn len(&self) -> u8 {
        (self.rules_len & ((1 << LEN_BITS) - 1)) as u8 + 1
    }
}

enum Node<V> {
    /// Prefixes in any order, none twice; nothing at all is an empty one.
    Leaf(Vec<Entry<V>>),
    Inner(Inner<V>),
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Self::Leaf(Vec::new())
    }
}

impl<V> Node<V> {
    #[inline]
    fn is_empty(&self) -> bool {
        matches!(self, Self::Leaf(list) if list.is_empty())
    }
}

#[derive(Default)]
pub(crate) struct Prefixes<V> {
    root: Node<V>,
}

impl<V: Bits> Prefixes<V> {
    fn walk(&self, value: V) -> Walk {
        let mut node = &self.root;
        let mut lengths = V::default();
        let bits = loop {
            match node {
                Node::Leaf(list) => {
                    let mut bits = 0;
                    for e in list {
                        let (same, len) = (e.value.common(value), e.len());
                        let covers = u32::from(same >= len);
                        lengths = lengths | V::lengths(covers, len - 1);
                        bits = (same + 1).min(len).max(bits);
                    }
                    break bits;
                }
                Node::Inner(inner) => match inner.step(value, &mut lengths) {
                    Ok(child) => node = child,
                    Err(bits) => break bits,
                },
            }
        };
        Walk {
            lengths: lengths.into(),
            bits,
        }
    }

    fn insert(&mut self, value: V, len: u8) {
        let mut node = &mut self.root;
        loop {
            if let Node::Leaf(list) = node {
                if add(list, value, len, LEAF) {
                    return;
                }
                let full = std::mem::take(list);
                *node = Node::Inner(Inner::of(full));
            }
            match node {
                Node::Leaf(_) => return,
                Node::Inner(inner) => match inner.insert(value, len) {
                    Some(child) => node = child,
                    None => return,
                },
            }
        }
    }

    fn remove(&mut self, value: V, len: u8) {
        self.root.remove(value, len);
    }

    fn memory_bytes(&self) -> usize {
        self.root.memory_bytes()
    }
}

impl<V: Bits> Node<V> {
    /// Takes a rule's prefix away; true when no rule has it any more. Recursion is as deep as a value has groups of four bits.
    fn remove(&mut self, value: V, len: u8) -> bool {
        let vanished = match self {
            Self::Leaf(list) => take(list, value, len),
            Self::Inner(inner) => inner.remove(value, len),
        };
        if vanished {
            self.tidy();
        }
        vanished
    }

    /// What need not be an inner node any more is none.
    fn tidy(&mut self) {
        if let Self::Inner(inner) = self {
            if let Some(less) = inner.simpler() {
                *self = less;
            }
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Leaf(list) => list.capacity() * size_of::<Entry<V>>(),
            Self::Inner(inner) => inner.memory_bytes(),
        }
    }
}

/// Counts a rule's prefix in a list; false when it is not there and the list holds `most` already.
fn add<V: Bits>(list: &mut Vec<Entry<V>>, value: V, len: u8, most: usize) -> bool {
    let new = Entry::new(value, len);
    if let Some(e) = find(list, &new) {
        list[e].rules_len += 1 << LEN_BITS;
        return true;
    }
    let room = list.len() < most;
    if room {
        list.push(new);
    }
    room
}

/// Takes a rule's prefix out of a list; true when it was the last of that prefix.
fn take<V: Bits>(list: &mut Vec<Entry<V>>, value: V, len: u8) -> bool {
    let Some(at) = find(list, &Entry::new(value, len)) else {
        debug_assert!(false, "a prefix is removed that was never added");
        return false;
    };
    list[at].rules_len -= 1 << LEN_BITS;
    let last = list[at].rules_len >> LEN_BITS == 0;
    if last {
        list.swap_remove(at);
        if list.len() < list.capacity().div_ceil(4) {
            list.shrink_to(list.len() * 2);
        }
    }
    last
}

fn find<V: Bits>(list: &[Entry<V>], e: &Entry<V>) -> Option<usize> {
    list.iter()
        .position(|x| x.value == e.value && x.len() == e.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn top(value: u128, len: u8) -> u128 {
        value & !u128::MAX.checked_shr(u32::from(len)).unwrap_or(0)
    }

    /// Values that share long prefixes, so that nodes split and join.
    fn value() -> impl Strategy<Value = u128> {
        prop_oneof![
            any::<u128>(),
            (0u8..128).prop_map(|b| 1 << b),
            (0u128..4, 0u8..126).prop_map(|(v, s)| v << s),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_list_of_prefixes(
            ops in prop::collection::vec((value(), 1u8..=128, prop::bool::weighted(0.7), any::<u16>()), 1..100),
            probes in prop::collection::vec(value(), 1..20),
        ) {
            let mut trie = Prefixes::<u128>::default();
            let mut list: Vec<(u128, u8)> = Vec::new();
            for (v, len, add, pick) in ops {
                if add || list.is_empty() {
                    trie.insert(v, len);
                    list.push((top(v, len), len));
                } else {
                    let (v, len) = list.swap_remove(pick as usize % list.len());
                    trie.remove(v, len);
                }
                let near = list.iter().map(|&(v, len)| v ^ 1u128.checked_shl(127 - u32::from(len.min(127))).unwrap_or(0));
                for p in probes.iter().copied().chain(near) {
                    let walk = trie.walk(p);
                    for n in 1..=128u8 {
                        let covered = list.iter().any(|&(v, len)| len == n && top(p, n) == v);
                        match walk.rules_out(n) {
                            None => prop_assert!(covered),
                            Some(bits) => {
                                // No prefix of that length is compatible with the bits that were read.
                                prop_assert!(bits <= n);
                                prop_assert!(!list.iter().any(|&(v, len)| len == n && top(v, bits) == top(p, bits)));
                            }
                        }
                    }
                }
            }
            for (v, len) in list {
                trie.remove(v, len);
            }
            prop_assert!(trie.root.is_empty() && trie.memory_bytes() == 0);
        }

        #[test]
        fn narrow_and_wide_agree(
            ops in prop::collection::vec((any::<u32>(), 0u32..32, 1u8..=32), 1..300),
            probes in prop::collection::vec(any::<u32>(), 1..40),
        ) {
            let (mut narrow, mut wide) = (Trie::new(4), Trie::new(16));
            let wide_value = |v: u32| u128::from(v) << 96;
            for &(v, shift, len) in &ops {
                let v = v & u32::MAX.checked_shl(shift).unwrap_or(0) & 0x000f_ffff;
                narrow.insert(wide_value(v), len);
                wide.insert(wide_value(v), len);
                for p in probes.iter().copied().chain([v, v ^ 1 << (shift % 32), v.swap_bytes()]) {
                    prop_assert_eq!(narrow.walk(wide_value(p)), wide.walk(wide_value(p)));
                }
            }
            for (v, shift, len) in ops {
                let v = v & u32::MAX.checked_shl(shift).unwrap_or(0) & 0x000f_ffff;
                narrow.remove(wide_value(v), len);
                wide.remove(wide_value(v), len);
                for &p in &probes {
                    prop_assert_eq!(narrow.walk(wide_value(p)), wide.walk(wide_value(p)));
                }
            }
            prop_assert_eq!(narrow.memory_bytes(), 0);
        }
    }

    #[test]
    fn reads_no_more_bits_than_needed() {
        let mut trie = Prefixes::<u128>::default();
        let addr = |s: u32| u128::from(s) << 96;
        trie.insert(addr(0xc0a8_0001), 32);
        assert_eq!(trie.walk(addr(0x0a01_0203)).rules_out(32), Some(1));
        assert_eq!(trie.walk(addr(0xc0a8_0001)).rules_out(32), None);
        assert_eq!(trie.walk(addr(0xc0a8_0001)).rules_out(24), Some(24));
        assert_eq!(trie.walk(addr(0xc0a8_0000)).rules_out(32), Some(32));
        trie.insert(addr(0xc0a8_0000), 16);
        assert_eq!(trie.walk(addr(0xc0a8_8000)).rules_out(32), Some(17));
        assert_eq!(trie.walk(addr(0xc0a8_8000)).rules_out(16), None);
    }
}
