//! A row of octets to draw choices from.

/// Source of choices. When the octets are used up every choice is the first one.
#[derive(Clone, Debug)]
pub struct Entropy<'a>(Source<'a>);

#[derive(Clone, Debug)]
enum Source<'a> {
    Bytes(&'a [u8]),
    Seed(u64),
}

impl<'a> Entropy<'a> {
    pub const fn bytes(bytes: &'a [u8]) -> Self {
        Self(Source::Bytes(bytes))
    }

    /// Never used up: splitmix64.
    pub const fn seed(seed: u64) -> Self {
        Self(Source::Seed(seed))
    }

    pub fn u64(&mut self) -> u64 {
        match &mut self.0 {
            Source::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }
            Source::Bytes(_) => (0..8).fold(0, |v, _| v << 8 | u64::from(self.u8())),
        }
    }

    pub fn u8(&mut self) -> u8 {
        match &mut self.0 {
            Source::Bytes(b) => match b.split_first() {
                Some((first, rest)) => {
                    *b = rest;
                    *first
                }
                None => 0,
            },
            Source::Seed(_) => self.u64() as u8,
        }
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    /// 0..n, `n` at least 1.
    pub fn below(&mut self, n: usize) -> usize {
        let v = if n <= 256 {
            usize::from(self.u8())
        } else {
            usize::from(self.u16())
        };
        v % n.max(1)
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of `choices`, which are not none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
