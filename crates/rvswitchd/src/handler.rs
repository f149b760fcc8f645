//! The handler thread: takes misses from the ports' queues, in turn, and has the slow path answer them.
//!
//! It sleeps until the doorbell rings or the slow path's regular round is due; with nothing installed and nothing learned it
//! sleeps without end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rvs_dpif::{DpCommand, Megaflow, Upcall, UpcallKind, WorkerId};
use rvs_flow::{FlowKey, Mask, OdpFlow};
use rvs_packet::Now;
use rvs_pipeline::PuntNote;
use rvs_slowpath::{Dispatch, Notes, SlowPath, Taught, UpcallQueues};

use crate::acks::AckBoard;
use crate::clock;
use crate::dummy;
use crate::mailbox::{Letter, Slot};
use crate::stock::ufid;
use crate::tier0::Tier0;
use crate::trace;
use crate::trace::committed::Committed;
use crate::wanted::Place;
use crate::worker::{Order, WorkerHandle};

/// Upcalls answered under one lock: the bound of the control thread's wait.
const TURN: usize = 64;
/// Flows put into the kernel under one lock.
const PROMOTIONS: usize = 256;
/// Between two stories of translations that were given up.
const STORIES: Duration = Duration::from_secs(60);
/// Longest sleep while there is anything to look after.
const LONGEST: Duration = Duration::from_secs(3600);

/// The name under which cached flows are in the log.
const FLOWS: &str = "dpif_netdev";

/// Latency of upcalls: from the worker's question to the verdict in its inbox, in powers of two of a microsecond.
#[derive(Debug, Default)]
pub struct Latency([AtomicU64; 24]);

impl Latency {
    fn note(&self, asked: Now, answered: Now) {
        let micros = answered.since(asked).as_micros().max(1);
        let bucket = (u128::BITS - micros.leading_zeros() - 1).min(23) as usize;
        self.0[bucket].fetch_add(1, Ordering::Relaxed);
    }

    /// (upper bound in microseconds, count) of every bucket that has one.
    pub fn read(&self) -> Vec<(u64, u64)> {
        let counts = self
            .0
            .iter()
            .enumerate()
            .map(|(i, c)| (2u64 << i, c.load(Ordering::Relaxed)));
        counts.filter(|(_, n)| *n > 0).collect()
    }
}

/// Who asks for it has every frame that no cached flow decides in the log, as a flow of the datapath.
fn log_misses(batch: &[Upcall]) {
    if !tracing::enabled!(target: FLOWS, tracing::Level::DEBUG) {
        return;
    }
    let exact = Mask::exact();
    for upcall in batch {
        if upcall.kind == UpcallKind::Miss {
            let key = OdpFlow::new(&upcall.key, &exact).bare();
            tracing::debug!(target: FLOWS, "{}: miss upcall:\n{key}", dummy::DATAPATH_NAME);
        }
    }
}

/// Sends the slow path's decisions to the workers.
#[derive(Clone, Debug)]
pub struct Wires {
    pub workers: Vec<WorkerHandle>,
    pub control: Slot,
    pub tier0: Place<Tier0>,
    /// When a translation that was given up was told last.
    pub gave_up: Option<Now>,
}

impl Dispatch for Wires {
    /// What leaves the caches leaves the kernel first; an acknowledgement comes last of all.
    fn command(&mut self, worker: WorkerId, command: DpCommand) {
        if let Some(tier0) = self.tier0.get() {
            match command {
                DpCommand::Remove(id) => tier0.remove(id),
                DpCommand::Flush => tier0.flush(),
                DpCommand::Ack(token) if tier0.defers(worker, token) => return,
                _ => {}
            }
        }
        if let Some(w) = self.workers.get(usize::from(worker.0)) {
            w.send(Order::Command(command));
        }
    }

    fn punt(&mut self, upcall: Upcall, note: Arc<PuntNote>) {
        self.control.put(Letter::Punt(Box::new(upcall), note));
    }

    fn learn_flow(&mut self, taught: Taught) {
        self.control.put(Letter::Learn(taught));
    }

    fn flow_added(&mut self, key: &FlowKey, flow: &Megaflow, note: Notes<'_>) {
        if !tracing::enabled!(target: FLOWS, tracing::Level::DEBUG) {
            return;
        }
        let actions = Committed {
            port: &|dp| dp.to_string(),
            punt: &|cookie| trace::copy_in_flow(&*note(cookie)?),
        };
        tracing::debug!(
            target: FLOWS,
            "flow_add: {0} mega_{0} {1}, actions:{2}",
            ufid(flow.id),
            OdpFlow::new(key, &flow.mask),
            actions.text(key, &flow.actions)
        );
    }

    /// It is a long story: told once a minute.
    fn gave_up(&mut self, now: Now, key: &FlowKey) {
        if self.gave_up.is_none_or(|at| now.since(at) >= STORIES) {
            self.gave_up = Some(now);
            self.control.put(Letter::GaveUp(*key));
        }
    }

    fn collect(&mut self) {
        if let Some(tier0) = self.tier0.get() {
            tier0.collect(clock::now());
        }
    }
}

/// Rounds that the handler has made, for who has to know that it is done.
#[derive(Clone, Debug)]
pub struct Rounds {
    made: Arc<AtomicU64>,
    /// Wakes it.
    bell: Sender<()>,
}

impl Rounds {
    pub fn new(bell: Sender<()>) -> Self {
        let made = Arc::default();
        Self { made, bell }
    }

    /// Waits until a round that began after now is over, no longer than this.
    pub fn pass(&self, patience: Duration) {
        // The one under way began before.
        let wanted = self.made.load(Ordering::SeqCst) + 2;
        let deadline = Instant::now() + patience;
        while self.made.load(Ordering::SeqCst) < wanted && Instant::now() < deadline {
            let _ = self.bell.try_send(());
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

pub struct Handler {
    pub slow: Arc<Mutex<SlowPath>>,
    pub queues: Arc<Mutex<UpcallQueues>>,
    pub doorbell: Receiver<()>,
    pub wires: Wires,
    pub acks: Arc<AckBoard>,
    pub latency: Arc<Latency>,
    pub rounds: Rounds,
    /// Flows that the workers would have in the kernel.
    pub nominations: Receiver<Arc<Megaflow>>,
    pub stop: Arc<AtomicBool>,
}

impl Handler {
    pub fn start(mut self) -> Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name("handler".to_owned())
            .stack_size(rvs_pipeline::STACK)
            .spawn(move || self.run())
            .context("can't start the handler thread")
    }

    fn run(&mut self) {
        let mut batch = Vec::with_capacity(TURN);
        while !self.stop.load(Ordering::Relaxed) {
            let more = self
                .queues
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(TURN, &mut batch);
            let next = self.turn(&mut batch);
            self.rounds.made.fetch_add(1, Ordering::SeqCst);
            if !more && self.nominations.is_empty() {
                self.sleep(next);
            }
        }
    }

    /// One turn under the lock. Returns when the next regular round is due.
    fn turn(&mut self, batch: &mut Vec<Upcall>) -> Option<Now> {
        let asked: Vec<Now> = batch.iter().map(|u| u.asked).collect();
        let now = clock::now();
        let next = {
            let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
            for (worker, token) in self.acks.all() {
                slow.acknowledged(worker, token, &mut self.wires);
            }
            log_misses(batch);
            slow.handle(now, batch, &mut self.wires);
            self.promote(now, &slow);
            if slow.next_sweep().is_some_and(|at| at <= now) {
                let began = clock::now();
                slow.sweep(now, &mut self.wires);
                slow.upkeep.took = clock::now().since(began);
            }
            slow.next_sweep()
        };
        let answered = clock::now();
        for asked in asked {
            self.latency.note(asked, answered);
        }
        next
    }

    /// Puts nominated flows into the kernel, as long as nobody can remove them: under the slow path's lock.
    fn promote(&self, now: Now, slow: &SlowPath) {
        if let (Some(tier0), false) = (self.wires.tier0.get(), self.nominations.is_empty()) {
            let nominated = self.nominations.try_iter().take(PROMOTIONS);
            if tier0.promote(now, nominated.filter(|f| slow.flows().is_live(f))) {
                self.wires.control.put(Letter::KernelForwards);
            }
        }
    }

    fn sleep(&self, next: Option<Now>) {
        let wait = next.map_or(LONGEST, |at| at.since(clock::now()));
        match self.doorbell.recv_timeout(wait) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            // Cannot happen while the queues live; without them there is nothing to do.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LONGEST),
        }
    }
}
