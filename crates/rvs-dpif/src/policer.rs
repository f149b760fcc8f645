//! Ingress policing: what a port may bring into the switch, in kilobits and in frames a second.
//!
//! A frame passes when both buckets cover it, and otherwise takes nothing from either. A super-frame passes whole, or its
//! segments one by one. Without a burst a bucket has the usual size of [`crate::bucket`]; with one it holds that much from
//! idle, and after an excess 0.26 s of the rate if that is more, so that a TCP gets its rate however small the burst is.

use std::sync::atomic::{AtomicU64, Ordering};

use rvs_packet::Now;

use crate::bucket::{Bucket, Clock};
use crate::meter::{MeterCount, MeterUnit};

/// Rates and bursts as the database has them (`ingress_policing_*`). A rate of 0 polices nothing; a burst of 0 is the usual
/// one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policing {
    /// In 1,000 bit/s, of the frames' octets without preamble and checksum.
    pub kbps: u32,
    /// In 1,000 bit.
    pub kbits: u32,
    /// Frames/s.
    pub pps: u32,
    pub frames: u32,
}

impl Policing {
    /// Whether anything is policed.
    pub const fn is_on(&self) -> bool {
        self.kbps > 0 || self.pps > 0
    }
}

/// The buckets of one port. Several workers may charge it.
#[derive(Debug)]
pub struct Policer {
    clock: Clock,
    octets: Option<Bucket>,
    frames: Option<Bucket>,
    dropped: AtomicU64,
    dropped_bytes: AtomicU64,
}

impl Policer {
    /// With full buckets.
    pub fn new(now: Now, p: Policing) -> Self {
        let bucket = |unit, rate, burst| match (rate, burst) {
            (0, _) => None,
            (rate, 0) => Some(Bucket::usual(unit, rate)),
            (rate, burst) => Some(Bucket::forgiving(unit, rate, burst)),
        };
        Self {
            clock: Clock::started(now),
            octets: bucket(MeterUnit::Kbps, p.kbps, p.kbits),
            frames: bucket(MeterUnit::Pktps, p.pps, p.frames),
            dropped: AtomicU64::new(0),
            dropped_bytes: AtomicU64::new(0),
        }
    }

    /// Whether `packets` frames of `bytes` octets, which stand in one (super-)frame, pass together.
    pub fn passes(&self, now: Now, packets: u64, bytes: u64) -> bool {
        let at = self.clock.at(now);
        let takes = |b: &Option<Bucket>| b.as_ref().is_none_or(|b| b.take(at, packets, bytes));
        if !takes(&self.octets) {
            return false;
        }
        let both = takes(&self.frames);
        if let (false, Some(octets)) = (both, &self.octets) {
            octets.give_back(packets, bytes);
        }
        both
    }

    /// Whether one frame of the wire, of `bytes` octets, passes. One that does not is counted as dropped.
    pub fn admits(&self, now: Now, bytes: u64) -> bool {
        if self.passes(now, 1, bytes) {
            return true;
        }
        let at = self.clock.at(now);
        for bucket in [&self.octets, &self.frames].into_iter().flatten() {
            bucket.deepen(at);
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.dropped_bytes.fetch_add(bytes, Ordering::Relaxed);
        false
    }

    /// What did not pass.
    pub fn dropped(&self) -> MeterCount {
        MeterCount {
            packets: self.dropped.load(Ordering::Relaxed),
            bytes: self.dropped_bytes.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn policer(kbps: u32, kbits: u32, pps: u32, frames: u32) -> Policer {
        let p = Policing {
            kbps,
            kbits,
            pps,
            frames,
        };
        Policer::new(Now(0), p)
    }

    /// Frames of 1,500 octets that pass at once.
    fn burst(p: &Policer, at: u64) -> usize {
        (0..5000).filter(|_| p.admits(Now(at), 1500)).count()
    }

    #[test]
    fn the_burst_is_kept_from_idle() {
        // 10 Mbit/s with 60 kbit: five frames.
        assert_eq!(burst(&policer(10_000, 60, 0, 0), SECOND), 5);
        assert_eq!(burst(&policer(0, 0, 1000, 7), SECOND), 10, "at least ten");
        assert_eq!(burst(&policer(0, 0, 1000, 70), SECOND), 70);
        // Two whole frames pass, whatever the burst.
        assert_eq!(burst(&policer(10_000, 1, 0, 0), SECOND), 2);
        assert_eq!(burst(&policer(0, 0, 0, 0), SECOND), 5000);
    }

    #[test]
    fn after_an_excess_a_silence_is_forgiven() {
        let p = policer(12_000, 60, 0, 0);
        assert_eq!(burst(&p, SECOND), 5);
        // 1,000 frames a second: 200 ms are worth 200.
        assert_eq!(burst(&p, SECOND + 200_000_000), 200);
        // After two seconds of silence it is the burst again.
        assert_eq!(burst(&p, 4 * SECOND), 5);
    }

    #[test]
    fn ten_seconds_carry_the_rate() {
        for (kbps, kbits, pps, frames) in [
            (20_000, 0, 0, 0),
            (20_000, 2_000, 0, 0),
            (0, 0, 2000, 0),
            (0, 0, 2000, 200),
        ] {
            let p = policer(kbps, kbits, pps, frames);
            let passed = (0..100_000u64).filter(|i| p.admits(Now(SECOND + i * 100_000), 1500));
            let passed = passed.count();
            let want = if kbps > 0 { 16_666 } else { 20_000 };
            assert!(
                passed >= want && passed <= want * 102 / 100,
                "{passed} of {want} at {kbps} {pps}"
            );
            assert_eq!(p.dropped().packets as usize, 100_000 - passed);
        }
    }

    #[test]
    fn what_one_bucket_refuses_the_other_keeps() {
        let p = policer(12_000, 1_200, 10, 10);
        assert_eq!(burst(&p, 0), 10);
        // The octets of the refused frames were given back: 90 frames' worth is left, and frames are the limit.
        assert!(!p.passes(Now(SECOND), 20, 30_000));
        assert!(p.passes(Now(SECOND), 10, 90 * 1500));
    }

    #[test]
    fn a_super_frame_passes_whole_or_not() {
        let p = policer(12_000, 600, 0, 0);
        assert!(!p.passes(Now(0), 51, 51 * 1500));
        assert_eq!(p.dropped(), MeterCount::default());
        assert!(p.passes(Now(0), 50, 50 * 1500));
        assert!(!p.admits(Now(0), 1500));
    }
}
