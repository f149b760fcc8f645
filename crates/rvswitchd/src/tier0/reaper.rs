//! The thread that waits for the kernel's grace periods, so that nobody else has to.
//!
//! It sleeps until something has left the kernel. One grace period serves everything that left before it began.

use std::thread::JoinHandle;

use anyhow::{Context, Result};
use crossbeam_channel::Receiver;
use rvs_dpif::{AckToken, DpCommand, WorkerId};
use rvs_kcache::tier0::Round;

use crate::tier0::Tier0;
use crate::worker::{Order, WorkerHandle};

pub(super) fn start(
    tier0: Tier0,
    ring: Receiver<()>,
    workers: Vec<WorkerHandle>,
) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("reaper".to_owned())
        .spawn(move || {
            while ring.recv().is_ok() {
                while let Some(turn) = tier0.next_turn() {
                    if !tier0.reap(turn, &workers) {
                        break;
                    }
                }
                if tier0.lock().ending {
                    return;
                }
            }
        })
        .context("can't start the reaper")
}

/// What one grace period is for.
pub(super) struct Turn {
    round: Option<Round>,
    acks: Vec<(WorkerId, AckToken)>,
}

impl Tier0 {
    /// What there is to wait for; `None`: nothing, and acknowledgements need not wait.
    pub(super) fn next_turn(&self) -> Option<Turn> {
        let mut state = self.lock();
        let limbo = state.cache.has_limbo();
        state.reaping = limbo || !state.acks.is_empty();
        state.reaping.then(|| Turn {
            round: limbo.then(|| state.cache.begin_reap()),
            acks: std::mem::take(&mut state.acks),
        })
    }

    /// Waits, notes the last figures of what had left, and lets the workers acknowledge. False when the kernel would not
    /// say that the time has come: then it is asked again with the next removal.
    pub(super) fn reap(&self, turn: Turn, workers: &[WorkerHandle]) -> bool {
        let mut done = true;
        if let Some(round) = turn.round {
            match round.wait() {
                Ok(()) => {
                    let mut state = self.lock();
                    for (id, last) in state.cache.end_reap(&round) {
                        state.bury(id, &last);
                    }
                }
                // Removed flows are invisible all the same; their places stay taken.
                Err(e) => {
                    tracing::error!("kernel cache: {e}");
                    done = false;
                }
            }
        }
        for (worker, token) in turn.acks {
            if let Some(w) = workers.get(usize::from(worker.0)) {
                w.send(Order::Command(DpCommand::Ack(token)));
            }
        }
        done
    }
}
