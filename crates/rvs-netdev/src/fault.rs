//! A source with faults: loses, doubles, swaps and corrupts frames at given rates, the same ones for the same seed.

use rvs_packet::FramePool;

use crate::traits::{FrameSource, Liveness, Received};

/// Rates in thousandths of the frames; each fault is decided on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub drop: u16,
    pub duplicate: u16,
    /// The frame arrives behind the next one.
    pub reorder: u16,
    /// One bit of the frame is flipped.
    pub corrupt: u16,
}

/// What was done to how many frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    pub dropped: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupted: u64,
}

/// Wraps a source.
#[derive(Debug)]
pub struct FaultySource<S> {
    inner: S,
    faults: Faults,
    state: u64,
    counts: FaultCounts,
    held: Option<Received>,
    fresh: Vec<Received>,
}

impl<S: FrameSource> FaultySource<S> {
    pub fn new(inner: S, faults: Faults, seed: u64) -> Self {
        let counts = FaultCounts::default();
        Self {
            inner,
            faults,
            state: seed,
            counts,
            held: None,
            fresh: Vec::new(),
        }
    }

    pub fn counts(&self) -> FaultCounts {
        self.counts
    }

    /// SplitMix64: small, seeded, good enough to choose victims.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn happens(&mut self, per_mille: u16) -> bool {
        self.random() % 1000 < u64::from(per_mille)
    }

    fn corrupt(&mut self, victim: &mut Received) {
        let at = self.random();
        let bytes = victim.frame.bytes_mut();
        if let Some(octet) = usize::try_from(at >> 3)
            .ok()
            .and_then(|i| i.checked_rem(bytes.len()))
            .and_then(|i| bytes.get_mut(i))
        {
            *octet ^= 1 << (at & 7);
            self.counts.corrupted += 1;
        }
    }
}

impl<S: FrameSource> FrameSource for FaultySource<S> {
    /// May give up to twice `max` frames: duplicates come on top. A frame held back for reordering comes with the next
    /// frame, or alone when nothing follows.
    fn recv_batch(&mut self, pool: &mut FramePool, out: &mut Vec<Received>, max: usize) -> usize {
        let before = out.len();
        let mut fresh = std::mem::take(&mut self.fresh);
        self.inner.recv_batch(pool, &mut fresh, max);
        if fresh.is_empty() {
            out.extend(self.held.take());
        }
        for mut received in fresh.drain(..) {
            if self.happens(self.faults.drop) {
                self.counts.dropped += 1;
                pool.give(received.frame);
                continue;
            }
            if self.happens(self.faults.corrupt) {
                self.corrupt(&mut received);
            }
            if self.happens(self.faults.duplicate) {
                self.counts.duplicated += 1;
                out.push(Received {
                    port: received.port,
                    frame: pool.copy(&received.frame),
                });
            }
            if self.held.is_none() && self.happens(self.faults.reorder) {
                self.counts.reordered += 1;
                self.held = Some(received);
                continue;
            }
            out.push(received);
            out.extend(self.held.take());
        }
        self.fresh = fresh;
        out.len() - before
    }

    fn liveness(&mut self) -> Liveness {
        match self.inner.liveness() {
            Liveness::Gone if self.held.is_some() => Liveness::Live,
            other => other,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rvs_packet::Frame;

    use super::*;
    use crate::memory::MemoryPort;
    use crate::traits::{Transmit, TxScratch};

    /// First octets of what arrives when frames 0..n are sent.
    fn run(faults: Faults, seed: u64, n: u8) -> (Vec<u8>, FaultCounts) {
        let (tx, rx) = MemoryPort::pair(1, 2, 1000);
        let mut pool = FramePool::new();
        let mut frames = (0..n).map(|i| Frame::from_slice(&[i; 60])).collect();
        tx.transmit(&mut frames, &mut pool, &mut TxScratch::default());
        let mut source = FaultySource::new(rx, faults, seed);
        let mut out = Vec::new();
        while source.recv_batch(&mut pool, &mut out, 7) > 0 || source.held.is_some() {}
        let firsts = out.iter().map(|r| r.frame.bytes()[0]).collect();
        (firsts, source.counts())
    }

    #[test]
    fn no_faults_no_change() {
        let (got, counts) = run(Faults::default(), 1, 200);
        assert_eq!(got, (0..200).collect::<Vec<u8>>());
        assert_eq!(counts, FaultCounts::default());
    }

    #[test]
    fn the_counts_explain_what_arrived_and_the_seed_repeats_it() {
        let faults = Faults {
            drop: 100,
            duplicate: 100,
            reorder: 100,
            corrupt: 100,
        };
        let (got, counts) = run(faults, 7, 250);
        assert_eq!(got.len() as u64, 250 - counts.dropped + counts.duplicated);
        assert!(counts.dropped > 5 && counts.duplicated > 5 && counts.reordered > 5);
        assert!(counts.corrupted > 5);
        assert_eq!(run(faults, 7, 250), (got.clone(), counts));
        assert_ne!(run(faults, 8, 250).0, got);
    }

    #[test]
    fn reordering_swaps_and_loses_nothing() {
        let (mut got, counts) = run(
            Faults {
                reorder: 300,
                ..Faults::default()
            },
            3,
            200,
        );
        assert!(counts.reordered > 20);
        assert!(got.windows(2).any(|w| w[0] > w[1]));
        got.sort_unstable();
        assert_eq!(got, (0..200).collect::<Vec<u8>>());
    }
}
