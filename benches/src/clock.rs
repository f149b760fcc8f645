//! The monotonic clock, the same for all processes of the run.

use nix::time::{clock_gettime, ClockId};

/// Microseconds of `CLOCK_MONOTONIC`.
pub fn micros() -> u64 {
    let t = clock_gettime(ClockId::CLOCK_MONOTONIC);
    t.map_or(0, |t| {
        t.tv_sec() as u64 * 1_000_000 + t.tv_nsec() as u64 / 1000
    })
}
