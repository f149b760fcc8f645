//! The one place that reads a clock.
//!
//! Tests that drive the daemon (`--enable-dummy`) may stop the time that everything else sees, and move it on by hand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{clock_gettime, ClockId};
use rvs_packet::Now;

/// The moment at which time stands still; 0: it runs.
static STOPPED: AtomicU64 = AtomicU64::new(0);

/// `CLOCK_MONOTONIC`: does not run while the machine is suspended, so that nothing expires by sleeping.
pub fn now() -> Now {
    match STOPPED.load(Ordering::Relaxed) {
        0 => running(),
        at => Now(at),
    }
}

/// The same, whether time is stopped or not: for who must not wait for ever.
pub fn running() -> Now {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(t) => Now(t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64),
        Err(_) => Now::ZERO,
    }
}

/// Stops time, for good. Once it has stopped only [`advance`] moves it.
pub fn stop() {
    let at = running().0.max(1);
    let _ = STOPPED.compare_exchange(0, at, Ordering::SeqCst, Ordering::SeqCst);
}

/// Moves time on; stops it first.
pub fn advance(by: Duration) {
    stop();
    let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX / 2);
    STOPPED.fetch_add(by, Ordering::SeqCst);
}
