//! The keyed hash of both caches.
//!
//! A header is chosen by whoever sends it, so the hash has a secret key per boot (reliability: hash flooding). It is NH,
//! the universal hash of UMAC (RFC 4418 section 5.2, here on 64-bit words): the sum of `(w0 + k0) * (w1 + k1)` over pairs
//! of words. The products do not wait for each other, which makes it several times faster on seven words than a chained
//! hash, and any two different keys collide with a chance of about 2^-64 over the choice of the secret, whatever the keys
//! are. The 128-bit sum is folded by one more product.

use ahash::RandomState;
use rvs_flow::{FlowKey, Key};

const PAIRS: usize = FlowKey::WORDS / 2;

/// The secret of one worker's caches.
#[derive(Clone, Debug)]
pub struct FlowHash {
    keys: [u64; FlowKey::WORDS],
    fold: [u64; 2],
}

/// How many leading words of a key a mask (or a key) reaches, rounded up so that each loop over them is unrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Width {
    /// Ethernet and tags.
    W4,
    /// IPv4 with ports.
    W8,
    /// IPv6 addresses.
    W12,
    /// Everything.
    W18,
}

impl Width {
    pub(crate) const fn of_words(words: usize) -> Self {
        match words {
            0..=4 => Self::W4,
            5..=8 => Self::W8,
            9..=12 => Self::W12,
            _ => Self::W18,
        }
    }

    /// Width that covers the last word of `key` that is not zero.
    pub(crate) fn of_mask(key: &FlowKey) -> Self {
        let words = key
            .words()
            .iter()
            .rposition(|w| *w != 0)
            .map_or(0, |i| i + 1);
        Self::of_words(words)
    }
}

impl FlowHash {
    /// A hash keyed by `seed`: random per boot in the daemon, fixed in tests.
    pub fn new(seed: [u64; 2]) -> Self {
        let state = RandomState::with_seeds(seed[0], seed[1], !seed[0], !seed[1]);
        Self {
            keys: std::array::from_fn(|i| state.hash_one(i as u64)),
            fold: std::array::from_fn(|i| state.hash_one((FlowKey::WORDS + i) as u64)),
        }
    }

    /// Hash of every word that can be non-zero.
    #[inline]
    pub(crate) fn key(&self, key: &FlowKey) -> u64 {
        let w = key.words();
        match Width::of_words(key.width()) {
            Width::W4 | Width::W8 => self.plain::<4>(w),
            Width::W12 => self.plain::<6>(w),
            Width::W18 => self.plain::<PAIRS>(w),
        }
    }

    /// Hash of `key` under `mask`, of which the words past `width` are zero.
    #[inline]
    pub(crate) fn masked(&self, width: Width, mask: &FlowKey, key: &FlowKey) -> u64 {
        let (m, k) = (mask.words(), key.words());
        match width {
            Width::W4 => self.under::<2>(m, k),
            Width::W8 => self.under::<4>(m, k),
            Width::W12 => self.under::<6>(m, k),
            Width::W18 => self.under::<PAIRS>(m, k),
        }
    }

    #[inline(always)]
    fn plain<const N: usize>(&self, words: &[u64]) -> u64 {
        let mut sum = 0u128;
        for i in 0..N {
            sum = sum.wrapping_add(self.pair(i, words[2 * i], words[2 * i + 1]));
        }
        self.fold(sum)
    }

    #[inline(always)]
    fn under<const N: usize>(&self, mask: &[u64], words: &[u64]) -> u64 {
        let mut sum = 0u128;
        for i in 0..N {
            let (a, b) = (2 * i, 2 * i + 1);
            sum = sum.wrapping_add(self.pair(i, words[a] & mask[a], words[b] & mask[b]));
        }
        self.fold(sum)
    }

    #[inline(always)]
    fn pair(&self, i: usize, a: u64, b: u64) -> u128 {
        let (a, b) = (
            a.wrapping_add(self.keys[2 * i]),
            b.wrapping_add(self.keys[2 * i + 1]),
        );
        u128::from(a) * u128::from(b)
    }

    #[inline(always)]
    fn fold(&self, sum: u128) -> u64 {
        let (hi, lo) = ((sum >> 64) as u64, sum as u64);
        let p =
            u128::from(hi.wrapping_add(self.fold[0])) * u128::from(lo.wrapping_add(self.fold[1]));
        (p >> 64) as u64 ^ p as u64
    }
}

/// True when `a` and `b` agree under `mask`, of which the words past `width` are zero.
#[inline]
pub(crate) fn same_under(width: Width, mask: &FlowKey, a: &FlowKey, b: &FlowKey) -> bool {
    let (m, a, b) = (mask.words(), a.words(), b.words());
    match width {
        Width::W4 => same::<4>(m, a, b),
        Width::W8 => same::<8>(m, a, b),
        Width::W12 => same::<12>(m, a, b),
        Width::W18 => same::<{ FlowKey::WORDS }>(m, a, b),
    }
}

#[inline(always)]
fn same<const N: usize>(mask: &[u64], a: &[u64], b: &[u64]) -> bool {
    let mut diff = 0;
    for i in 0..N {
        diff |= (a[i] ^ b[i]) & mask[i];
    }
    diff == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rvs_flow::{Mask, Present};

    use super::*;

    fn key_of(words: &[u64]) -> FlowKey {
        let mut k = FlowKey::default();
        k.words_mut().copy_from_slice(words);
        k
    }

    #[test]
    fn widths_cover_the_last_word_of_a_mask() {
        for i in 0..FlowKey::WORDS {
            let mut k = FlowKey::default();
            k.words_mut()[i] = 1;
            let covered = match Width::of_mask(&k) {
                Width::W4 => 4,
                Width::W8 => 8,
                Width::W12 => 12,
                Width::W18 => 18,
            };
            assert!(i < covered, "word {i}");
        }
        assert_eq!(Width::of_mask(&FlowKey::default()), Width::W4);
    }

    #[test]
    fn another_seed_gives_another_hash() {
        let k = FlowKey {
            in_port: 1,
            ..Default::default()
        };
        assert_ne!(FlowHash::new([1, 2]).key(&k), FlowHash::new([1, 3]).key(&k));
    }

    /// One flipped bit anywhere in the words that count moves about half of the hash's bits.
    #[test]
    fn every_bit_of_the_width_counts() {
        let h = FlowHash::new([7, 9]);
        let base = FlowKey {
            present: Present::IPV4 | Present::TCP,
            ..Default::default()
        };
        let mut total = 0u32;
        for bit in 0..FlowKey::WIDTH_V4 * 64 {
            let mut k = base;
            k.words_mut()[bit / 64] ^= 1 << (bit % 64);
            let moved = (h.key(&k) ^ h.key(&base)).count_ones();
            assert!(moved > 8, "bit {bit} moves {moved}");
            total += moved;
        }
        let mean = total / (FlowKey::WIDTH_V4 as u32 * 64);
        assert!((28..=36).contains(&mean), "{mean}");
    }

    proptest! {
        /// Hash and comparison under a mask see what the mask names and nothing else (a mask comparison that reads too
        /// far was CVE-2022-32166).
        #[test]
        fn masked_hash_and_comparison_equal_the_model(
            a in prop::array::uniform18(any::<u64>()),
            b in prop::array::uniform18(any::<u64>()),
            m in prop::array::uniform18(prop_oneof![Just(0), Just(u64::MAX), any::<u64>()]),
            cut in 0usize..=18,
        ) {
            let mut m = m;
            m[cut..].fill(0);
            let (mask, a, mut b) = (Mask(key_of(&m)), key_of(&a), key_of(&b));
            let h = FlowHash::new([3, 4]);
            let width = Width::of_mask(&mask.0);
            prop_assert_eq!(same_under(width, &mask.0, &a, &b), mask.same(&a, &b));
            for (i, w) in b.words_mut().iter_mut().enumerate() {
                *w = (a.words()[i] & m[i]) | (*w & !m[i]);
            }
            prop_assert!(same_under(width, &mask.0, &a, &b));
            prop_assert_eq!(h.masked(width, &mask.0, &a), h.masked(width, &mask.0, &b));
        }
    }
}
