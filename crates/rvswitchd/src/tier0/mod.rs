//! Tier 0 in the running daemon: which flows go into the kernel, and that none outlives its removal there.
//!
//! ```text
//!  worker: a few hits ─► nominated ─► handler: still live? ─► promote ─► kernel
//!  slow path: Remove ─► out of the kernel ─► worker's inbox;  Ack ─► grace period, if anything left the kernel ─► inbox
//! ```
//!
//! Ordering
//! - A flow is promoted under the slow path's lock, and only while it is live in its book. A removal is dispatched under the
//!   same lock, and takes the flow out of the kernel before the worker hears of it. So the kernel never holds a flow that
//!   the book does not.
//! - An acknowledgement says that no tier knows what was removed, and that its figures are final. Where the kernel held some
//!   of it, the request for it waits for a grace period ([`reaper`]) before it goes to the worker; acknowledgements asked for
//!   meanwhile wait behind it, so that a later one never says an earlier one's word.
//! - The lock in here is the innermost: nobody who holds it takes another, and nobody holds it through a grace period,
//!   but to find a port a place where both of its places are taken.
//!
//! Everything is bounded, and what finds no room costs speed only: flows, a port's share of them, promotions a second, flows
//! that wait to be nominated again.

mod figures;
mod left;
mod reaper;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use crossbeam_channel::{bounded, Receiver, Sender};
use rvs_dpif::{AckToken, FlowId, Megaflow, Standing, WorkerId};
use rvs_flow::DpPort;
use rvs_kcache::tier0::{OutPort, PortGuard, PuntRate, Refusal};
use rvs_kcache::{Error, KernelCache, OldLink, SILENCE};
use rvs_packet::Now;

use crate::clock;
pub use crate::tier0::figures::PortTotals;
use crate::tier0::figures::{Figures, Resident};
use crate::worker::WorkerHandle;

/// Longest frame that the program can hand up: the kernel lets no program lengthen a larger one.
pub const LARGEST_MTU: u32 = 15_000;
/// What one port may hand up: half of what the thread that reads it can take, and half of its ring, so that a port that
/// misses at line rate leaves the others room.
const PUNT_RATE: PuntRate = PuntRate {
    per_second: 200_000,
    burst: 1_024,
};
/// Promotions a second, and how many may come at once.
const RATE: u64 = 20_000;
const BURST: u64 = 4_096;
/// Flows without room that are remembered, to be nominated again.
const DEFERRED: usize = 4_096;
/// Age at which figures of ports are collected anew.
const FRESH: Duration = Duration::from_millis(2);
/// How often masks are ranked, room is made, and flows that found none may ask again.
const TIDY_EVERY: Duration = Duration::from_millis(500);
/// Silence of the daemon after which the program lets frames pass to the host, where the next one can take over, unless the
/// configuration says otherwise: it is dead or hangs. Established flows go on until then.
const SURVIVE: Duration = Duration::from_secs(30);

/// What tier 0 counts beside the program's own counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub promoted: u64,
    /// Flows of a dead daemon that this one goes on with.
    pub adopted: u64,
    /// Taken out again while the flow lives on.
    pub demoted: u64,
    pub evicted: u64,
    /// Ports that somebody else took the program off.
    pub detached: u64,
    /// Promotions put off: too many at once, or the port has its share.
    pub deferred: u64,
    pub refused: [u64; Refusal::ALL.len()],
}

/// The kernel's cache, shared by the handler, the control thread and the reaper.
#[derive(Clone, Debug)]
pub struct Tier0(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    bell: Sender<()>,
    program: u32,
    /// Whoever looks after what the kernel forwards sleeps until something can be forwarded.
    unwatched: AtomicBool,
}

#[derive(Debug)]
struct State {
    cache: KernelCache,
    /// Ways out.
    ports: BTreeMap<DpPort, OutPort>,
    /// Ports that have the program.
    inside: BTreeSet<DpPort>,
    /// Flows in the kernel, and those whose last figures are still to come.
    residents: HashMap<FlowId, Resident>,
    /// How many a port has in the kernel.
    held: HashMap<DpPort, usize>,
    deferred: Vec<Arc<Megaflow>>,
    /// Acknowledgements to be asked for after the next grace period.
    acks: Vec<(WorkerId, AckToken)>,
    /// The reaper is between taking acknowledgements and having sent them.
    reaping: bool,
    ending: bool,
    reaper: Option<JoinHandle<()>>,
    /// The kernel goes on as it is; nothing here changes it any more.
    left: bool,
    /// How long flows are to go on without the daemon.
    survive: Duration,
    figures: Figures,
    counters: Counters,
    /// When the next promotion is due, at [`RATE`].
    due: Now,
    tidied: Now,
    /// When [`Tier0::totals`] last looked.
    collected: Now,
    /// The masks were too many at the last promotion.
    masks_short: bool,
    /// A flow found no room since the last look, and whether that was said.
    full: bool,
    said_full: bool,
}

impl Tier0 {
    /// Starts the reaper.
    ///
    /// # Errors
    /// No thread to be had.
    pub fn start(cache: KernelCache, workers: Vec<WorkerHandle>) -> Result<Self> {
        let (this, ring) = Self::new(cache);
        let thread = reaper::start(this.clone(), ring, workers)?;
        this.lock().reaper = Some(thread);
        Ok(this)
    }

    fn new(cache: KernelCache) -> (Self, Receiver<()>) {
        let (bell, ring) = bounded(1);
        let program = cache.prog_id();
        let state = State {
            cache,
            ports: BTreeMap::new(),
            inside: BTreeSet::new(),
            residents: HashMap::new(),
            held: HashMap::new(),
            deferred: Vec::new(),
            acks: Vec::new(),
            reaping: false,
            ending: false,
            reaper: None,
            left: false,
            survive: SURVIVE,
            figures: Figures::default(),
            counters: Counters::default(),
            due: Now::ZERO,
            tidied: Now::ZERO,
            collected: Now::ZERO,
            masks_short: false,
            full: false,
            said_full: false,
        };
        state.set_silence();
        let inner = Inner {
            state: Mutex::new(state),
            bell,
            program,
            unwatched: AtomicBool::new(true),
        };
        (Self(Arc::new(inner)), ring)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // A full bell already rings.
        let _ = self.0.bell.try_send(());
    }

    /// The program's id, as foreign ones are told from.
    pub fn program(&self) -> u32 {
        self.0.program
    }

    /// Puts flows into the kernel that are live in the slow path's book, whose lock the caller holds. True when one got in
    /// that [`Self::wake_me`] waits for.
    pub fn promote(&self, now: Now, flows: impl Iterator<Item = Arc<Megaflow>>) -> bool {
        let mut state = self.lock();
        let before = state.counters.promoted;
        for flow in flows {
            state.promote(now, flow);
        }
        state.counters.promoted != before && self.0.unwatched.swap(false, Ordering::Relaxed)
    }

    /// The next flow that gets in is told of, once.
    pub fn wake_me(&self) {
        self.0.unwatched.store(true, Ordering::Relaxed);
    }

    /// Takes a flow out, if it is here: no frame that arrives from now on finds it.
    pub fn remove(&self, id: FlowId) {
        self.lock().take_out(id);
    }

    /// Takes every flow out.
    pub fn flush(&self) {
        let mut state = self.lock();
        state.demote_where(|_| true);
        state.discard_left();
    }

    /// True when the acknowledgement has to wait for the kernel: then it is asked for later, from here.
    pub fn defers(&self, worker: WorkerId, token: AckToken) -> bool {
        let mut state = self.lock();
        if !state.reaping && state.acks.is_empty() && !state.cache.has_limbo() {
            return false;
        }
        state.acks.push((worker, token));
        self.ring();
        true
    }

    /// Brings the figures of all flows here up to date.
    pub fn collect(&self, now: Now) {
        let mut state = self.lock();
        state.collect();
        if now.since(state.tidied) >= TIDY_EVERY {
            state.tidied = now;
            state.tidy();
        }
        if state.cache.has_limbo() {
            self.ring();
        }
    }

    /// Says where a port's frames leave; flows that go there otherwise leave the kernel.
    pub fn set_out(&self, port: DpPort, out: Option<OutPort>) {
        let mut state = self.lock();
        if state.left {
            return;
        }
        let before = match out {
            Some(out) => state.ports.insert(port, out),
            None => state.ports.remove(&port),
        };
        if before.is_some() && before != out {
            state.demote_where(|r| r.goes_to(port));
            state.discard_left();
            self.ring();
        }
    }

    /// The program has left the port: so do its flows.
    pub fn forget_port(&self, port: DpPort) {
        let mut state = self.lock();
        if state.left {
            return;
        }
        state.inside.remove(&port);
        state.demote_where(|r| r.in_port() == port);
        state.discard_left();
        self.ring();
    }

    /// Somebody else has taken the program off the port: so its flows leave, as with [`Self::forget_port`].
    pub fn detached(&self, port: DpPort) {
        self.lock().counters.detached += 1;
        self.forget_port(port);
    }

    /// Puts the program on a device, in place of what a dead daemon left there.
    ///
    /// # Errors
    /// As [`KernelCache::attach`].
    pub fn attach(
        &self,
        ifindex: u32,
        port: DpPort,
        old: Option<OldLink>,
    ) -> std::result::Result<PortGuard, Error> {
        let mut state = self.lock();
        state.cache.beat(clock::now());
        let unpinned = state.cache.unpinned();
        let guard = state.cache.attach_over(ifindex, port, PUNT_RATE, old)?;
        if state.cache.unpinned() > unpinned {
            tracing::warn!("port {port}: the kernel cache on it ends with the daemon: its link got no name in the bpf file system");
        }
        state.inside.insert(port);
        Ok(guard)
    }

    /// See [`KernelCache::set_punt_device`].
    pub fn set_punt_device(&self, ifindex: u32) {
        let state = self.lock();
        if !state.left {
            state.cache.set_punt_device(ifindex);
        }
    }

    pub fn beat(&self, now: Now) {
        self.lock().cache.beat(now);
    }

    /// As [`KernelCache::none_direct`].
    pub fn none_direct(&self) {
        self.lock().cache.none_direct();
    }

    pub fn contains(&self, id: FlowId) -> bool {
        self.lock().cache.contains(id)
    }

    /// Flows in the kernel, and masks.
    pub fn size(&self) -> (usize, usize) {
        let state = self.lock();
        (state.cache.len(), state.cache.masks().count())
    }

    /// Frames that the kernel has switched.
    pub fn hits(&self) -> u64 {
        self.lock().cache.counters().hit
    }

    /// Nanoseconds and runs of the program while programs were timed.
    pub fn run_time(&self) -> Option<(u64, u64)> {
        self.lock().cache.run_time().ok()
    }

    /// What the kernel carried in and out of a port.
    pub fn totals(&self, now: Now, port: DpPort) -> PortTotals {
        let mut state = self.lock();
        // Whoever asks for one port asks for the others too.
        if now.since(state.collected) >= FRESH {
            state.collected = now;
            state.collect();
        }
        state.figures.port(port)
    }

    /// Every counter by name.
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        let state = self.lock();
        let c = &state.counters;
        let mut all = vec![
            ("kcache_promoted", c.promoted),
            ("kcache_adopted", c.adopted),
            ("kcache_demoted", c.demoted),
            ("kcache_evicted", c.evicted),
            ("kcache_detached", c.detached),
            ("kcache_deferred", c.deferred),
        ];
        let refused = Refusal::ALL.iter().map(|r| r.name()).zip(c.refused);
        all.extend(refused);
        all.extend(state.cache.counters().named());
        all.extend(state.figures.drops().map(|(reason, n)| (reason.name(), n)));
        all
    }

    /// Ends the reaper, which does what it has to do first. The workers are still there.
    pub fn end(&self) {
        let reaper = {
            let mut state = self.lock();
            state.ending = true;
            state.reaper.take()
        };
        self.ring();
        if let Some(reaper) = reaper {
            let _ = reaper.join();
        }
    }
}

impl State {
    fn promote(&mut self, now: Now, flow: Arc<Megaflow>) {
        if self.left {
            return;
        }
        if self.residents.contains_key(&flow.id) {
            // Its last figures of an earlier stay are still to come.
            return self.defer(flow);
        }
        let port = DpPort(flow.key.in_port);
        if !self.inside.contains(&port) {
            return self.ask_later(flow);
        }
        if !self.has_room(now, port) {
            return self.defer(flow);
        }
        let ports = &self.ports;
        match self.cache.install(&flow, |port| ports.get(&port).copied()) {
            Ok(()) => {
                self.counters.promoted += 1;
                *self.held.entry(DpPort(flow.key.in_port)).or_default() += 1;
                self.residents.insert(flow.id, Resident::new(flow));
            }
            Err(refusal) => {
                let at = Refusal::ALL.iter().position(|r| *r == refusal);
                if let Some(n) = at.and_then(|at| self.counters.refused.get_mut(at)) {
                    *n += 1;
                }
                self.masks_short |= refusal == Refusal::Masks;
                self.full |= refusal == Refusal::Full;
                // The others are refused for good.
                if matches!(
                    refusal,
                    Refusal::Masks | Refusal::Full | Refusal::Bucket | Refusal::NoDevice
                ) {
                    self.defer(flow);
                }
            }
        }
    }

    /// Whether one more flow of the port may come now.
    fn has_room(&mut self, now: Now, port: DpPort) -> bool {
        const COST: Duration = Duration::from_nanos(1_000_000_000 / RATE);
        let held = self.held.get(&port).copied().unwrap_or(0);
        let (len, capacity) = (self.cache.len(), self.cache.capacity());
        if len * 10 >= capacity * 9 && held * 2 >= capacity {
            self.full = true;
            return false;
        }
        let from = self.due.max(now);
        if from.since(now) > COST * BURST as u32 {
            return false;
        }
        self.due = from + COST;
        true
    }

    fn defer(&mut self, flow: Arc<Megaflow>) {
        self.counters.deferred += 1;
        self.ask_later(flow);
    }

    fn ask_later(&mut self, flow: Arc<Megaflow>) {
        if self.deferred.len() < DEFERRED {
            self.deferred.push(flow);
        }
    }

    fn take_out(&mut self, id: FlowId) -> bool {
        if self.left || !self.cache.remove(id) {
            return false;
        }
        if let Some(resident) = self.residents.get_mut(&id) {
            resident.leaving = true;
            let port = resident.in_port();
            if let Some(n) = self.held.get_mut(&port) {
                *n = n.saturating_sub(1);
                if *n == 0 {
                    self.held.remove(&port);
                }
            }
        }
        true
    }

    fn take_out_where(&mut self, which: impl Fn(&Resident) -> bool) -> usize {
        let found: Vec<FlowId> = self
            .residents
            .iter()
            .filter(|(_, r)| !r.leaving && which(r))
            .map(|(id, _)| *id)
            .collect();
        for id in &found {
            self.take_out(*id);
        }
        found.len()
    }

    fn demote_where(&mut self, which: impl Fn(&Resident) -> bool) {
        self.counters.demoted += self.take_out_where(which) as u64;
    }

    fn collect(&mut self) {
        let Self {
            cache,
            residents,
            figures,
            ..
        } = self;
        for (id, stats) in cache.all_stats() {
            if let Some(resident) = residents.get_mut(&id) {
                resident.account(&stats, figures);
            }
        }
    }

    /// A flow's entry is final: its figures too.
    fn bury(&mut self, id: FlowId, last: &rvs_dpif::FlowSnapshot) {
        if let Some(mut resident) = self.residents.remove(&id) {
            resident.account(last, &mut self.figures);
            // If it lives on in user space it may come again.
            resident.flow.stats.set_standing(Standing::Unasked);
        }
    }

    /// Makes room before it is missing, and lets those ask again that found none.
    fn tidy(&mut self) {
        let (len, capacity) = (self.cache.len(), self.cache.capacity());
        self.say_when_full(len, capacity);
        if len * 16 >= capacity * 15 {
            self.evict_coldest(capacity / 8);
        }
        if std::mem::take(&mut self.masks_short) {
            self.evict_idle_mask();
        }
        for resident in self.residents.values_mut() {
            resident.forget_recent();
        }
        self.cache.rank_masks();
        for flow in self.deferred.drain(..) {
            if !self.residents.contains_key(&flow.id) {
                flow.stats.set_standing(Standing::Unasked);
            }
        }
    }

    /// Once, and again only after a quarter of it was free.
    fn say_when_full(&mut self, len: usize, capacity: usize) {
        let full = std::mem::take(&mut self.full);
        if full && !self.said_full {
            tracing::info!("the kernel cache is full ({len} flows of {capacity}): what finds no room is switched in user space");
        }
        self.said_full = full || self.said_full && len * 4 >= capacity * 3;
    }

    fn evict_coldest(&mut self, how_many: usize) {
        let mut by_use: Vec<(Now, FlowId)> = self
            .residents
            .iter()
            .filter(|(_, r)| !r.leaving)
            .map(|(id, r)| (r.used(), *id))
            .collect();
        by_use.sort_unstable();
        for (_, id) in by_use.iter().take(how_many) {
            self.take_out(*id);
            self.counters.evicted += 1;
        }
    }

    /// Gives up the mask whose flows carried least since the last look, if that was nothing.
    fn evict_idle_mask(&mut self) {
        let masks: Vec<_> = self.cache.masks().map(|(m, _)| *m).collect();
        let idle = masks.into_iter().find(|mask| {
            let of_mask = |r: &&Resident| !r.leaving && r.flow.mask == *mask;
            self.residents
                .values()
                .filter(of_mask)
                .all(|r| r.recent() == 0)
        });
        if let Some(mask) = idle {
            let n = self.take_out_where(|r| r.flow.mask == mask);
            self.counters.evicted += n as u64;
        }
    }
}

#[cfg(test)]
mod tests;
