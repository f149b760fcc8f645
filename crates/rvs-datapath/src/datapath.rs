//! One worker's datapath: from a burst of frames to outputs and questions.
//!
//! The walk, numbered as in the architecture (tier 0 is the kernel's, tier 3 the slow path):
//!
//! 1. *extract* a key from every frame of the batch and hash it once;
//! 2. (1) the exact-match cache, then (2) the megaflow cache, for the whole batch, so that one frame's cache misses overlap
//!    with another's;
//! 3. in the order of arrival: execute what was found; ask the slow path (3) about what was not, and park it.
//!
//! Invariants
//! - Frames of one connection leave in the order they came: a batch is executed strictly in order, whichever tier found the
//!   flow, and a frame that hits while an earlier one of its connection is parked parks behind it ([`crate::park`]).
//! - A flow is used only if it is installed and decides the key at that moment: no tier outlives a removal.
//! - Nothing in a batch changes the caches' flows; commands do, between batches. When a command returns, what it says holds.
//! - A hit allocates nothing.
//!
//! The datapath belongs to one thread; it blocks on nothing, reads no clock and does no I/O.

use std::sync::Arc;

use ahash::{HashMap, HashMapExt};
use rvs_dpif::{limits, DropReason, Egress, FlowStats, Megaflow, Policer, UpcallSink, WorkerId};
use rvs_flow::{extract, DpPort, FlowKey, ParseLimits, Present};
use rvs_packet::{gso, Frame, FramePool, Now};

use crate::batch::FrameBatch;
use crate::cache::{Caches, Emc, FlowHash, FlowRef, MegaflowTable, Tiers};
use crate::execute::{Executor, Io, Origin};
use crate::nominate::Nominations;
use crate::park::{self, Parked, Parking};
use crate::perf::{Laps, Off, Stage};
use crate::stats::{WorkerCounters, MALFORMED};

/// How a worker's datapath is set up.
#[derive(Clone, Debug)]
pub struct Config {
    pub worker: WorkerId,
    /// Secret of the hash tables: random per boot, fixed in tests.
    pub seed: [u64; 2],
    pub caches: Caches,
    /// See [`Emc::new`].
    pub emc_odds: u32,
    /// Flows at most.
    pub flows: usize,
    pub parking: park::Limits,
    /// As many tags as there are: NORMAL looks behind the VLAN tag, and the pipeline hides from the tables what the VLAN
    /// limit hides.
    pub parse: ParseLimits,
}

impl Config {
    /// Defaults, with the hash secret that has none.
    pub fn new(worker: WorkerId, seed: [u64; 2]) -> Self {
        Self {
            worker,
            seed,
            caches: Caches::default(),
            emc_odds: Emc::ODDS,
            flows: limits::FLOWS_PER_WORKER,
            parking: park::Limits::default(),
            parse: ParseLimits::new(ParseLimits::MAX_VLANS),
        }
    }
}

/// Tiers 1 and 2 of one worker.
#[derive(Debug)]
pub struct Datapath {
    pub(crate) parse: ParseLimits,
    pub(crate) tiers: Tiers,
    pub(crate) parking: Parking,
    pub(crate) exec: Executor,
    /// Of ports whose frames are policed.
    pub(crate) policers: HashMap<DpPort, Arc<Policer>>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) ranked: Now,
    nominations: Nominations,
    scratch: Box<Scratch>,
}

/// What is known about the frames of one batch.
#[derive(Debug)]
struct Scratch {
    keys: [FlowKey; FrameBatch::MAX],
    hashes: [u64; FrameBatch::MAX],
    found: [Option<FlowRef>; FrameBatch::MAX],
}

/// What one flow carried in a row, to be counted once.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    frames: u64,
    packets: u64,
    bytes: u64,
    tcp_flags: u16,
}

impl Tally {
    #[inline]
    pub(crate) fn add(&mut self, key: &FlowKey, frame: &Frame) {
        let (packets, bytes) = gso::on_wire(frame);
        self.frames += 1;
        self.packets += packets;
        self.bytes += bytes;
        self.tcp_flags |= key.tcp_flags.get();
    }

    pub(crate) fn count(self, now: Now, stats: &FlowStats) {
        if self.frames == 0 {
            return;
        }
        stats.count(now, self.packets, self.bytes, self.tcp_flags);
    }
}

impl Datapath {
    pub fn new(config: Config) -> Self {
        let hash = FlowHash::new(config.seed);
        let counters = Arc::new(WorkerCounters::default());
        Self {
            parse: config.parse,
            tiers: Tiers {
                which: config.caches,
                emc: Emc::new(config.emc_odds),
                flows: MegaflowTable::new(hash.clone(), config.flows),
                hash,
            },
            parking: Parking::new(config.parking, config.seed),
            exec: Executor::new(config.worker, Arc::clone(&counters)),
            policers: HashMap::new(),
            counters,
            ranked: Now::ZERO,
            nominations: Nominations::default(),
            scratch: Box::new(Scratch {
                keys: [FlowKey::default(); FrameBatch::MAX],
                hashes: [0; FrameBatch::MAX],
                found: [None; FrameBatch::MAX],
            }),
        }
    }

    /// Counters of this worker, to be read by anybody at any time.
    pub fn counters(&self) -> &Arc<WorkerCounters> {
        &self.counters
    }

    /// The worker's free frames: receivers take from it, and what [`Egress`] has sent comes back to it.
    pub fn pool(&mut self) -> &mut FramePool {
        &mut self.exec.pool
    }

    /// What is installed.
    pub fn flows(&self) -> &MegaflowTable {
        &self.tiers.flows
    }

    /// Octets of the caches, the flows themselves not counted: they belong to the slow path as well.
    pub fn memory(&self) -> usize {
        self.tiers.emc.memory() + self.tiers.flows.memory() + self.parking.bytes()
    }

    /// Takes every frame of `batch` through the caches, in order; the batch is empty afterwards.
    ///
    /// Should it panic (a fault of ours), the frames not yet executed are still in the batch; processing them one by one
    /// finds the one at fault and saves the others.
    pub fn process(
        &mut self,
        now: Now,
        batch: &mut FrameBatch,
        tx: &mut impl Egress,
        up: &mut impl UpcallSink,
    ) {
        self.process_timed(now, batch, tx, up, &mut Off);
    }

    /// [`Self::process`], with a lap after each stage.
    pub fn process_timed(
        &mut self,
        now: Now,
        batch: &mut FrameBatch,
        tx: &mut impl Egress,
        up: &mut impl UpcallSink,
        laps: &mut impl Laps,
    ) {
        if batch.is_empty() {
            return;
        }
        self.exec.reset();
        let malformed = self.extract(batch);
        laps.batch(batch.len());
        laps.lap(Stage::Extract);
        let n = batch.len();
        let s = &mut *self.scratch;
        let (keys, found) = (&s.keys[..n], &mut s.found[..n]);
        self.tiers.find(keys, &s.hashes[..n], found, &self.counters);
        if malformed {
            // No flow decides what is not even Ethernet, however wide it is.
            for (key, found) in keys.iter().zip(found) {
                *found = found.filter(|_| !key.present.has(Present::BAD_L2));
            }
        }
        laps.lap(Stage::Lookup);
        let mut io = Io { now, tx, up };
        // The flow that decided the frames just before, and what they were: counted when the row ends.
        let mut row: Option<(FlowRef, Tally)> = None;
        for i in 0..n {
            let Some((port, frame)) = batch.pop() else {
                break;
            };
            let Some(frame) = self.police(&mut io, port, frame) else {
                continue;
            };
            let (key, found) = (&self.scratch.keys[i], self.scratch.found[i]);
            let decided = found.and_then(|at| Some((at, self.tiers.flows.flow(at)?)));
            match decided {
                Some((at, flow)) if self.parking.is_empty() => {
                    if row.is_none_or(|(last, _)| last != at) {
                        let waiting = !self.parking.is_empty();
                        count_row(&self.tiers, &mut self.nominations, now, row.take(), waiting);
                    }
                    row.get_or_insert((at, Tally::default())).1.add(key, &frame);
                    self.exec
                        .perform(&mut io, Origin { key, depth: 0 }, flow, frame);
                }
                _ => {
                    let key = *key;
                    self.forward(&mut io, &key, found, frame, 0);
                }
            }
            self.recirculate(&mut io, port);
        }
        let waiting = !self.parking.is_empty();
        count_row(&self.tiers, &mut self.nominations, now, row, waiting);
        self.publish();
        laps.lap(Stage::Execute);
    }

    /// There is a tier 0: flows are nominated for it from now on.
    pub fn nominate(&mut self) {
        self.nominations.begin();
    }

    /// Flows that were hit a few times and wait in no queue: tier 0 may have them.
    pub fn nominated(&mut self) -> impl Iterator<Item = Arc<Megaflow>> + '_ {
        self.nominations.take()
    }

    /// Keys and hashes of the whole batch. True when a layer of one of them is contradictory.
    fn extract(&mut self, batch: &FrameBatch) -> bool {
        let s = &mut *self.scratch;
        let (mut bytes, mut malformed) = (0, false);
        for (i, (port, frame)) in batch.iter().enumerate() {
            rvs_flow::extract_into(&mut s.keys[i], frame.bytes(), *port, self.parse);
            s.hashes[i] = self.tiers.hash.key(&s.keys[i]);
            bytes += frame.len() as u64;
            if s.keys[i].present.any(Present::MALFORMED) {
                malformed = true;
                count_malformed(&self.counters, s.keys[i].present);
            }
        }
        let c = &self.counters;
        c.rx_packets.add(batch.len() as u64);
        c.rx_bytes.add(bytes);
        c.batches[batch.len() - 1].add(1);
        malformed
    }

    /// The flow that decides one key.
    pub(crate) fn find_one(&mut self, key: &FlowKey) -> Option<FlowRef> {
        let mut found = [None];
        let hash = self.tiers.hash.key(key);
        let key = std::slice::from_ref(key);
        self.tiers.find(key, &[hash], &mut found, &self.counters);
        found[0]
    }

    /// One frame whose lookup is done: behind parked ones of its connection, or as found, or up to the slow path (3).
    pub(crate) fn forward<T: Egress, U: UpcallSink>(
        &mut self,
        io: &mut Io<'_, T, U>,
        key: &FlowKey,
        found: Option<FlowRef>,
        frame: Frame,
        depth: u8,
    ) {
        if key.present.has(Present::BAD_L2) {
            return self.exec.drop(frame, DropReason::BadFrame);
        }
        let queue = self.parking.queue_of(key);
        if let (None, Some(at)) = (queue, found) {
            return self.hit(io, key, at, frame, depth);
        }
        if !self.parking.has_room(queue, key.in_port, &frame) {
            return self.exec.drop(frame, DropReason::ParkingFull);
        }
        let key = *key;
        if let Some(queue) = queue {
            self.parking.follow(queue, Parked { key, frame, depth });
        } else {
            if !self.exec.ask_about(io, &key, &frame) {
                return self.exec.drop(frame, DropReason::UpcallQueueFull);
            }
            self.parking.open(io.now, Parked { key, frame, depth });
        }
        self.counters.parked.add(1);
    }

    /// Counts one frame for the flow that decides it, and executes it.
    pub(crate) fn hit<T: Egress, U: UpcallSink>(
        &mut self,
        io: &mut Io<'_, T, U>,
        key: &FlowKey,
        at: FlowRef,
        frame: Frame,
        depth: u8,
    ) {
        let mut tally = Tally::default();
        tally.add(key, &frame);
        let waiting = !self.parking.is_empty();
        let row = Some((at, tally));
        count_row(&self.tiers, &mut self.nominations, io.now, row, waiting);
        if let Some(flow) = self.tiers.flows.flow(at) {
            self.exec.perform(io, Origin { key, depth }, flow, frame);
        }
    }

    /// Takes what the last frame left to recirculate through the caches, until nothing is left of it.
    pub(crate) fn recirculate<T: Egress, U: UpcallSink>(
        &mut self,
        io: &mut Io<'_, T, U>,
        port: DpPort,
    ) {
        while let Some(r) = self.exec.next_recirculated() {
            let key = FlowKey {
                recirc_id: r.id,
                ..extract(&r.frame, port, self.parse)
            };
            self.counters.recirculated.add(1);
            let found = self.find_one(&key);
            self.forward(io, &key, found, r.frame, r.depth);
        }
    }

    /// Makes what was counted aside visible.
    pub(crate) fn publish(&mut self) {
        let c = &self.counters;
        c.outputs.add(std::mem::take(&mut self.exec.outputs));
        c.flows.set(self.tiers.flows.len() as u64);
        c.masks.set(self.tiers.flows.masks() as u64);
        c.emc_ways.set(self.tiers.emc.ways() as u64);
        c.waiting.set(self.parking.frames() as u64);
        c.waiting_bytes.set(self.parking.bytes() as u64);
    }
}

/// Counts what a flow carried in a row, and perhaps names the flow for tier 0.
#[inline]
fn count_row(
    tiers: &Tiers,
    nominations: &mut Nominations,
    now: Now,
    row: Option<(FlowRef, Tally)>,
    waiting: bool,
) {
    let Some((at, tally)) = row else { return };
    if let Some(flow) = tiers.flows.flow(at) {
        tally.count(now, &flow.stats);
        nominations.consider(flow, waiting);
    }
}

#[cold]
fn count_malformed(counters: &WorkerCounters, present: Present) {
    for ((bit, _), counter) in MALFORMED.iter().zip(&counters.malformed) {
        counter.add(u64::from(present.any(*bit)));
    }
}
