//! The sign of life that the kernel's cache looks for: it lets frames pass to the host once it stays away.
//!
//! A thread of its own gives it, so that a long turn of the control thread (a thousand ports in one transaction, a disk that
//! is slow) is not taken for death. It ends with the process, and stops when the control thread has not been seen for
//! [`PATIENCE`]: a daemon that hangs is as good as dead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use crossbeam_channel::{bounded, RecvTimeoutError, Sender};
use rvs_kcache::BEAT_EVERY;
use rvs_packet::Now;

use crate::clock;
use crate::tier0::Tier0;
use crate::wanted::Place;

/// How long a turn of the control thread may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Without a sign of the control thread for as long, nobody looks whether ports may still be direct: none is. Together with
/// [`BEAT_EVERY`] less than the 2.5 s after which the program of a dead daemon stops by itself.
const LOOKS: Duration = Duration::from_millis(1500);

/// What the control thread holds of it; it beats until this is dropped.
#[derive(Debug)]
pub struct Heart {
    seen: Arc<AtomicU64>,
    _end: Sender<()>,
}

impl Heart {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread to be had.
    pub fn start(tier0: Place<Tier0>) -> Result<Self> {
        let seen = Arc::new(AtomicU64::new(clock::now().0));
        let (end, ended) = bounded(0);
        let heart = Self {
            seen: Arc::clone(&seen),
            _end: end,
        };
        let beat = move || {
            while ended.recv_timeout(BEAT_EVERY) == Err(RecvTimeoutError::Timeout) {
                let now = clock::now();
                let silent = now.since(Now(seen.load(Ordering::Relaxed)));
                if silent > PATIENCE {
                    continue;
                }
                if let Some(tier0) = tier0.get() {
                    if silent > LOOKS {
                        tier0.none_direct();
                    }
                    tier0.beat(now);
                }
            }
        };
        let thread = std::thread::Builder::new().name("heart".to_owned());
        thread.spawn(beat).context("can't start the heart thread")?;
        Ok(heart)
    }

    /// The control thread is alive.
    pub fn saw(&self, now: Now) {
        self.seen.store(now.0, Ordering::Relaxed);
    }
}
