//! Where a worker's time goes, while somebody asks.
//!
//! The walk through a worker is timed by laps: each stage ends with [`Laps::lap`], which adds the time since the last lap to the
//! stage. Whoever runs the walk chooses between [`Off`], of which the compiler leaves nothing, and [`Watch`], and so
//! the question whether somebody asks is one branch for each turn of a worker. The clock is the caller's.

use rvs_packet::Now;

use crate::stats::Counter;

/// A part of a worker's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Taking frames from ports, also in vain.
    Receive,
    /// Keys and hashes of a batch.
    Extract,
    /// Tiers 1 and 2.
    Lookup,
    /// Actions, and what leads to the slow path.
    Execute,
    /// Handing frames to ports.
    Transmit,
    /// The inbox, timeouts, asking which ports are ready.
    Other,
}

impl Stage {
    pub const ALL: [Self; 6] = [
        Self::Receive,
        Self::Extract,
        Self::Lookup,
        Self::Execute,
        Self::Transmit,
        Self::Other,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Extract => "extract",
            Self::Lookup => "lookup",
            Self::Execute => "execute",
            Self::Transmit => "transmit",
            Self::Other => "other",
        }
    }
}

/// What one worker's laps added up to. The worker writes, anybody reads.
#[derive(Debug, Default)]
pub struct Perf {
    nanos: [Counter; Stage::ALL.len()],
    frames: Counter,
    batches: Counter,
}

impl Perf {
    /// Nanoseconds spent in a stage.
    pub fn nanos(&self, stage: Stage) -> u64 {
        self.nanos[stage as usize].read()
    }

    pub fn frames(&self) -> u64 {
        self.frames.read()
    }

    pub fn batches(&self) -> u64 {
        self.batches.read()
    }
}

/// Times the stages of a turn, or does not.
pub trait Laps {
    /// A stage ends here, and the next one begins.
    fn lap(&mut self, stage: Stage);
    /// What was since the last lap is no stage's: the worker slept.
    fn skip(&mut self);
    /// A batch of so many frames begins.
    fn batch(&mut self, frames: usize);
}

/// Nobody asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Off;

impl Laps for Off {
    #[inline(always)]
    fn lap(&mut self, _: Stage) {}

    #[inline(always)]
    fn skip(&mut self) {}

    #[inline(always)]
    fn batch(&mut self, _: usize) {}
}

/// A running stopwatch.
#[derive(Debug)]
pub struct Watch<'a> {
    perf: &'a Perf,
    clock: fn() -> Now,
    last: Now,
}

impl<'a> Watch<'a> {
    /// Starts with this moment.
    pub fn start(perf: &'a Perf, clock: fn() -> Now) -> Self {
        let last = clock();
        Self { perf, clock, last }
    }
}

impl Laps for Watch<'_> {
    fn lap(&mut self, stage: Stage) {
        let now = (self.clock)();
        let spent = now.since(self.last).as_nanos() as u64;
        self.perf.nanos[stage as usize].add(spent);
        self.last = now;
    }

    fn skip(&mut self) {
        self.last = (self.clock)();
    }

    fn batch(&mut self, frames: usize) {
        self.perf.batches.add(1);
        self.perf.frames.add(frames as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Ten nanoseconds pass between two looks.
    fn clock() -> Now {
        static TIME: AtomicU64 = AtomicU64::new(1);
        Now(TIME.fetch_add(10, Ordering::Relaxed))
    }

    #[test]
    fn laps_add_up_and_sleep_is_nobodys() {
        let perf = Perf::default();
        let mut watch = Watch::start(&perf, clock);
        watch.lap(Stage::Receive);
        watch.batch(32);
        watch.lap(Stage::Lookup);
        watch.lap(Stage::Lookup);
        watch.skip();
        watch.lap(Stage::Other);
        let nanos = Stage::ALL.map(|s| perf.nanos(s));
        assert_eq!(nanos, [10, 0, 20, 0, 0, 10]);
        assert_eq!((perf.frames(), perf.batches()), (32, 1));
    }
}
