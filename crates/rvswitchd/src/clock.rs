//! The one place that reads a clock.

use nix::time::{clock_gettime, ClockId};
use rvs_packet::Now;

/// `CLOCK_MONOTONIC`: does not run while the machine is suspended, so that nothing expires by sleeping.
pub fn now() -> Now {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(t) => Now(t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64),
        Err(_) => Now::ZERO,
    }
}
