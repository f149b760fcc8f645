//! Who has obeyed what: the last token that each worker acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver, Sender};
use rvs_dpif::{AckToken, WorkerId};

/// A worker that has not obeyed for so long is stuck; whoever waits says so.
const PATIENCE: Duration = Duration::from_secs(1);

/// One number per worker, written by it and read by anybody; a bell for the one thread that waits.
#[derive(Debug)]
pub struct AckBoard {
    tokens: Vec<AtomicU64>,
    waiting: AtomicBool,
    bell: (Sender<()>, Receiver<()>),
}

impl AckBoard {
    pub fn new(workers: usize) -> Self {
        let tokens = (0..workers).map(|_| AtomicU64::new(0)).collect();
        Self {
            tokens,
            waiting: AtomicBool::new(false),
            bell: bounded(1),
        }
    }

    /// For a worker: everything up to `token` has taken effect. Never blocks.
    pub fn acknowledge(&self, worker: WorkerId, token: AckToken) {
        if let Some(t) = self.tokens.get(usize::from(worker.0)) {
            t.fetch_max(token.0, Ordering::SeqCst);
        }
        if self.waiting.load(Ordering::SeqCst) {
            // A full bell already rings.
            let _ = self.bell.0.try_send(());
        }
    }

    pub fn last(&self, worker: WorkerId) -> AckToken {
        AckToken(
            self.tokens
                .get(usize::from(worker.0))
                .map_or(0, |t| t.load(Ordering::SeqCst)),
        )
    }

    /// Every worker with its last token.
    pub fn all(&self) -> impl Iterator<Item = (WorkerId, AckToken)> + '_ {
        (0..self.tokens.len())
            .map(|w| WorkerId(w as u16))
            .map(|w| (w, self.last(w)))
    }

    /// For the control thread: waits until these workers have acknowledged the token. False when one did not in time.
    pub fn wait(&self, token: AckToken, workers: &[WorkerId]) -> bool {
        let deadline = Instant::now() + PATIENCE;
        self.waiting.store(true, Ordering::SeqCst);
        let done = loop {
            if workers.iter().all(|w| self.last(*w) >= token) {
                break true;
            }
            if self.bell.1.recv_deadline(deadline).is_err() {
                break false;
            }
        };
        self.waiting.store(false, Ordering::SeqCst);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn waits_for_every_worker_named_and_no_other() {
        let board = Arc::new(AckBoard::new(3));
        let other = board.clone();
        let worker = std::thread::spawn(move || {
            other.acknowledge(WorkerId(0), AckToken(5));
            other.acknowledge(WorkerId(2), AckToken(4));
            other.acknowledge(WorkerId(2), AckToken(5));
        });
        assert!(board.wait(AckToken(5), &[WorkerId(0), WorkerId(2)]));
        assert_eq!(board.last(WorkerId(1)), AckToken(0));
        assert!(worker.join().is_ok());
    }
}
