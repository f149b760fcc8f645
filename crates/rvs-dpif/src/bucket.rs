//! Token buckets that every worker shares, for meters and policers.
//!
//! A bucket is one atomic word, the *theoretical arrival time* of the generic cell rate algorithm (ITU-T I.371): the moment
//! at which the bucket is full again. A frame of size `s` moves it on by `s / rate` and conforms while it stays within
//! `burst / rate` of now. One compare-and-swap per frame and bucket: no lock, and one bucket lets through `rate * t + burst`
//! however many workers charge it.
//!
//! A bucket of the usual size suits TCP and still keeps its rate within 2 % over ten seconds from idle. It holds
//! a tenth of a second of the rate ([`USUAL`]), so that little more than the rate passes at first. But a TCP that lost the tail of
//! its window says nothing for a retransmission timeout, 200 ms and more, and what a tenth of a second can't hold would be
//! lost to it each time: half of the rate at 20 Mbit/s. So the bucket holds more, [`AFTER_EXCESS`], for a second after a frame
//! has exceeded it; if it fills to the brim nobody wants that, and it is down to the tenth again. A strict bucket is kept to
//! the letter: no interval carries more than the rate and the burst.
//!
//! Times are kept in 1/64 ns since the clock was started (nine years fit), and a frame's time is rounded up, so that a rate is
//! never exceeded; at 100 Gbit/s and 64 octets that is 0.3 % short.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rvs_packet::Now;

use crate::meter::MeterUnit;

/// Parts of a nanosecond in which buckets count.
const PARTS: u128 = 64;

/// What a bucket of the usual size holds, in time.
pub const USUAL: Duration = Duration::from_millis(100);
/// What it holds after a frame has exceeded it: a little more than Linux's retransmission timeout to a near peer.
pub const AFTER_EXCESS: Duration = Duration::from_millis(260);
/// For how long: a TCP that lost something is back by then.
const EXCESS_COUNTS: Duration = Duration::from_secs(1);
/// What it holds at least: two frames of an Ethernet.
const LEAST_OCTETS: u64 = 2 * 1518;
/// Likewise where frames are counted: as many, unless that is more than a second's.
const LEAST_FRAMES: u32 = 10;

/// Since when buckets that are charged together count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Now);

impl Clock {
    pub const fn started(now: Now) -> Self {
        Self(now)
    }

    pub const fn start(self) -> Now {
        self.0
    }

    /// The time in parts.
    pub fn at(self, now: Now) -> u64 {
        let parts = u128::from(now.0.saturating_sub(self.0 .0)) * PARTS;
        u64::try_from(parts).unwrap_or(u64::MAX)
    }
}

/// One bucket, full of tokens when it is made.
#[derive(Debug)]
pub(crate) struct Bucket {
    unit: MeterUnit,
    /// Kilobits or frames in a second; of rate 0 nothing conforms.
    rate: u32,
    /// How far the bucket may be filled ahead of now.
    depth: u64,
    /// How much of that is lost while nothing exceeds the bucket.
    extra: u64,
    full_again: AtomicU64,
    /// Until when the bucket may hold all of `depth`.
    deep_until: AtomicU64,
}

impl Bucket {
    /// Of `burst` kilobits or frames, to the letter.
    pub fn strict(unit: MeterUnit, rate: u32, burst: u32) -> Self {
        let amount = match unit {
            MeterUnit::Kbps => u128::from(burst) * 1000,
            MeterUnit::Pktps => u128::from(burst),
        };
        Self::new(unit, rate, time_of(unit, rate, amount), 0)
    }

    /// Of a size that suits TCP (see the head of the file).
    pub fn usual(unit: MeterUnit, rate: u32) -> Self {
        let usual = parts_of(USUAL).max(least(unit, rate));
        let deep = parts_of(AFTER_EXCESS).max(usual);
        Self::new(unit, rate, deep, deep - usual)
    }

    /// As a strict one from idle, and as deep as a usual one after an excess: a TCP that is silent for a retransmission
    /// timeout gets its rate, whatever the burst. Whole frames pass always.
    pub fn forgiving(unit: MeterUnit, rate: u32, burst: u32) -> Self {
        let idle = Self::strict(unit, rate, burst).depth.max(least(unit, rate));
        let deep = parts_of(AFTER_EXCESS).max(idle);
        Self::new(unit, rate, deep, deep - idle)
    }

    fn new(unit: MeterUnit, rate: u32, depth: u64, extra: u64) -> Self {
        Self {
            unit,
            rate,
            depth,
            extra,
            full_again: AtomicU64::new(0),
            deep_until: AtomicU64::new(0),
        }
    }

    /// Takes what `packets` frames of `bytes` octets together need, if it is there.
    pub fn take(&self, at: u64, packets: u64, bytes: u64) -> bool {
        let time = self.time(packets, bytes);
        let may_be_deep = at < self.deep_until.load(Ordering::Relaxed);
        let mut full = self.full_again.load(Ordering::Relaxed);
        loop {
            // To the brim: idle.
            let fullest = if may_be_deep && full > at {
                full
            } else {
                full.max(at.saturating_add(self.extra))
            };
            let new = fullest.saturating_add(time);
            if new - at > self.depth {
                return false;
            }
            match self.full_again.compare_exchange_weak(
                full,
                new,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(other) => full = other,
            }
        }
    }

    /// Undoes a [`Self::take`] of this moment.
    pub fn give_back(&self, packets: u64, bytes: u64) {
        let time = self.time(packets, bytes);
        self.full_again.fetch_sub(time, Ordering::Relaxed);
    }

    /// A frame exceeded the bucket: what its sender leaves out now it may send later.
    pub fn deepen(&self, at: u64) {
        if self.extra == 0 {
            return;
        }
        if at >= self.deep_until.load(Ordering::Relaxed) {
            // What was lost while the bucket was shallow stays lost.
            let fullest = at.saturating_add(self.extra);
            self.full_again.fetch_max(fullest, Ordering::Relaxed);
        }
        let until = at.saturating_add(parts_of(EXCESS_COUNTS));
        self.deep_until.fetch_max(until, Ordering::Relaxed);
    }

    fn time(&self, packets: u64, bytes: u64) -> u64 {
        let amount = match self.unit {
            MeterUnit::Kbps => u128::from(bytes) * 8,
            MeterUnit::Pktps => u128::from(packets),
        };
        time_of(self.unit, self.rate, amount)
    }
}

/// So much that whole frames pass.
fn least(unit: MeterUnit, rate: u32) -> u64 {
    match unit {
        MeterUnit::Kbps => time_of(unit, rate, u128::from(LEAST_OCTETS) * 8),
        MeterUnit::Pktps => time_of(unit, rate, LEAST_FRAMES.min(rate).into()),
    }
}

fn parts_of(d: Duration) -> u64 {
    let parts = d.as_nanos() * PARTS;
    u64::try_from(parts).unwrap_or(u64::MAX)
}

/// How long `amount` (bits or frames) takes at `rate`, rounded up; for ever at rate 0.
fn time_of(unit: MeterUnit, rate: u32, amount: u128) -> u64 {
    let per_second = match unit {
        MeterUnit::Kbps => u128::from(rate) * 1000,
        MeterUnit::Pktps => u128::from(rate),
    };
    if per_second == 0 {
        return if amount == 0 { 0 } else { u64::MAX };
    }
    let parts = (amount * 1_000_000_000 * PARTS).div_ceil(per_second);
    u64::try_from(parts).unwrap_or(u64::MAX)
}
