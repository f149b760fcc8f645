//! In memory, one core, from the octets of a frame to its output: tiers 1 and 2.
//!
//! `cargo bench -p rvs-datapath`: the matrix, named `stage/hit-kind/instance`. A figure is the processor time of *one frame*, in
//! batches of 32 TCP frames; it is the thread's own time, so that a busy machine disturbs it less. The egress keeps sent
//! frames and they go back into the next batch, as a real one recycles buffers; what this alone costs is
//! `floor/ring-and-batch`. Beside each figure stand the tiers that answered and the allocations of a frame.
//!
//! `cargo bench -p rvs-datapath -- --instructions`: the same for some cases, counted by valgrind instead of timed: noise does
//! not touch it, so that a change of one per cent shows.
#![allow(clippy::unwrap_used, unsafe_code)]

#[path = "../../tests/common/allocations.rs"]
mod allocations;
#[path = "../../tests/common/mod.rs"]
mod common;
mod count;
mod frames;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use common::{l2_mask, port_mask, Rig};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::Criterion;
use nix::time::{clock_gettime, ClockId};
use rvs_datapath::{Caches, Config, Emc, FrameBatch};
use rvs_dpif::{
    limits, DpAction, DpCommand, DropReason, Egress, FlowId, Masked, SetField, WorkerId,
};
use rvs_flow::{extract, DpPort, FlowKey, Mask, ParseLimits};
use rvs_packet::{EtherType, Frame, MacAddr, Now, VlanTci};

use crate::allocations::allocations;
use crate::frames::{Family, Shape};

/// Time that the thread ran, divided by the frames of a batch.
struct FrameTime(WallTime);

impl Measurement for FrameTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
            .unwrap()
            .into()
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64 / FrameBatch::MAX as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self.0.formatter()
    }
}

type Bench = Criterion<FrameTime>;

/// Sent frames, waiting to be received again, and what is received: a few buffers that stay in the processor's cache, into
/// which the driver writes frame after frame.
struct Ring {
    free: Vec<Frame>,
    shape: Shape,
    /// Which flow's frame comes when.
    flows: Vec<u32>,
    next: usize,
}

impl Egress for Ring {
    fn output(&mut self, _port: DpPort, frame: Frame) -> Result<(), DropReason> {
        self.free.push(frame);
        Ok(())
    }
}

impl Ring {
    fn new(shape: Shape, flows: Vec<u32>) -> Self {
        let free = (0..4 * FrameBatch::MAX).map(|_| shape.frame(0));
        Self {
            free: free.collect(),
            shape,
            flows,
            next: 0,
        }
    }

    fn receive(&mut self, batch: &mut FrameBatch) {
        for _ in 0..FrameBatch::MAX {
            let mut frame = self.free.pop().unwrap();
            self.shape.write(&mut frame, self.flows[self.next]);
            self.next = match self.next + 1 {
                n if n == self.flows.len() => 0,
                n => n,
            };
            batch.push(DpPort(1), frame).unwrap();
        }
    }
}

/// How flows are cached.
#[derive(Clone, Copy, Debug)]
struct Case {
    shape: Shape,
    caches: Caches,
    flows: u32,
    /// 0: one megaflow for all; else one megaflow each, over so many masks.
    masks: u32,
    odds: u32,
}

impl Case {
    const BASE: Self = Self {
        shape: Shape::SMALL,
        caches: Caches::Both,
        flows: 1000,
        masks: 1,
        odds: Emc::ODDS,
    };

    fn instance(self) -> String {
        let Shape { family, octets } = self.shape;
        format!("{}-{octets}-{}", family.name(), self.flows)
    }

    fn rig(self, actions: &[DpAction]) -> (Rig, Ring) {
        let mut config = Config::new(WorkerId(0), [1, 2]);
        config.caches = self.caches;
        config.emc_odds = self.odds;
        let mut rig = Rig::with(config);
        // Any order but that of the addresses.
        let order = |i: u32| i.wrapping_mul(2_654_435_761) % self.flows;
        for i in 0..self.flows.max(self.masks) {
            let frame = self.shape.frame(if i < self.flows { order(i) } else { i });
            let key = extract(&frame, DpPort(1), ParseLimits::new(ParseLimits::MAX_VLANS));
            let mask = match self.masks {
                0 => port_mask(),
                n => mask(i % n),
            };
            rig.answer(key, mask, actions);
        }
        (
            rig,
            Ring::new(self.shape, (0..self.flows).map(order).collect()),
        )
    }
}

/// The `n`th mask: L2 and one bit pattern of the destination port. A port's last is the exact one.
fn mask(n: u32) -> Mask<FlowKey> {
    if n as usize == limits::MASKS_PER_PORT - 1 {
        return Mask::exact();
    }
    let mut m = l2_mask();
    m.0.tp_dst = (n as u16 | 0x8000).into();
    m
}

fn output() -> [DpAction; 1] {
    [DpAction::Output(DpPort(2))]
}

fn turn(rig: &mut Rig, ring: &mut Ring, batch: &mut FrameBatch) {
    ring.receive(batch);
    rig.dp.process(rig.now, batch, black_box(ring), &mut rig.up);
}

/// Sees every flow a few times, so that the caches are as they stay.
fn warm(rig: &mut Rig, ring: &mut Ring, batch: &mut FrameBatch) {
    for _ in 0..(ring.flows.len() / FrameBatch::MAX + 1) * 4 {
        turn(rig, ring, batch);
    }
    rig.now = Now::from_secs(100);
    rig.tick();
}

/// Whether the command line asks for it: a case that is not measured need not be set up either.
fn wanted(name: &str) -> bool {
    let mut words = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .peekable();
    words.peek().is_none() || words.any(|w| name.contains(&w))
}

fn bench(c: &mut Bench, name: &str, case: Case) {
    if !wanted(name) {
        return;
    }
    let (mut rig, mut ring) = case.rig(&output());
    measure(c, name, &mut rig, &mut ring);
}

fn measure(c: &mut Bench, name: &str, rig: &mut Rig, ring: &mut Ring) {
    let mut batch = FrameBatch::new();
    warm(rig, ring, &mut batch);
    let counts = |rig: &Rig| {
        let c = rig.dp.counters();
        [&c.emc_hits, &c.megaflow_hits, &c.misses, &c.probes].map(|c| c.read())
    };
    let before = counts(rig);
    let allocated = timed(c, name, || turn(rig, ring, &mut batch));
    let now = counts(rig);
    let [emc, mega, miss, probes] = std::array::from_fn(|i| (now[i] - before[i]) as f64);
    let total = emc + mega + miss;
    if total > 0.0 {
        println!(
            "    tier 1 {:.1} %, tier 2 {:.1} %, {:.1} probes in tier 2, {miss} misses, {allocated:.3} allocations a frame",
            emc / total * 100.0,
            mega / total * 100.0,
            probes / mega.max(1.0),
        );
    }
}

/// Times a batch; the allocations of a frame.
fn timed(c: &mut Bench, name: &str, mut batch: impl FnMut()) -> f64 {
    let (mut allocated, mut batches) = (0, 0u64);
    c.bench_function(name, |b| {
        let before = allocations();
        b.iter(|| {
            batches += 1;
            batch();
        });
        allocated += allocations() - before;
    });
    allocated as f64 / (batches * FrameBatch::MAX as u64).max(1) as f64
}

/// How many flows there are. A run of the tests, which only tries every case once, spares itself the many.
fn flows() -> impl Iterator<Item = u32> {
    let all = std::env::args().any(|a| a == "--bench");
    [1, 1000, 100_000]
        .into_iter()
        .filter(move |n| all || *n < 100_000)
}

/// What answers, by what the frames are, by how long they are, by how many flows there are.
fn matrix(c: &mut Bench) {
    let kinds = [
        ("emc", Caches::Both, 1),
        ("megaflow-1", Caches::Megaflow, 1),
        ("megaflow-8", Caches::Megaflow, 8),
        ("megaflow-64", Caches::Megaflow, 64),
    ];
    for family in Family::ALL {
        for octets in [64, 1500] {
            for flows in flows() {
                let shape = Shape { family, octets };
                for (kind, caches, masks) in kinds {
                    let case = Case {
                        shape,
                        caches,
                        flows,
                        masks,
                        ..Case::BASE
                    };
                    bench(c, &format!("process/{kind}/{}", case.instance()), case);
                }
                new_flows(c, shape, flows);
            }
        }
    }
    // Many connections in one megaflow.
    for flows in [1000, 10_000, 100_000] {
        let case = Case {
            flows,
            masks: 0,
            ..Case::BASE
        };
        bench(
            c,
            &format!("process/emc-one-megaflow/{}", case.instance()),
            case,
        );
    }
}

/// How often a megaflow hit should replace a live entry of tier 1: half of the frames from 1,000 flows, half from 100,000.
fn odds(c: &mut Bench) {
    for odds in [1, 8, 100] {
        let case = Case {
            flows: 100_000,
            masks: 16,
            odds,
            ..Case::BASE
        };
        let (mut rig, mut ring) = case.rig(&output());
        let mut x = 1u32;
        let all = ring.flows.clone();
        ring.flows.extend((0..all.len()).map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            all[(x >> 8) as usize % 1000]
        }));
        // Interleaved, not one half after the other.
        let n = ring.flows.len();
        ring.flows = (0..n).map(|i| ring.flows[(i * 7919) % n]).collect();
        measure(
            c,
            &format!("process/emc-odds/1-in-{odds}"),
            &mut rig,
            &mut ring,
        );
    }
}

/// Miss, question, verdict, install, release: what is ours of a new flow, while so many others live.
fn new_flows(c: &mut Bench, shape: Shape, live: u32) {
    let case = Case {
        shape,
        flows: live,
        ..Case::BASE
    };
    let name = format!("process/miss-install/{}", case.instance());
    if !wanted(&name) {
        return;
    }
    let (mut rig, mut ring) = case.rig(&output());
    let mut batch = FrameBatch::new();
    let mut n = live;
    let allocated = timed(c, &name, || {
        for _ in 0..FrameBatch::MAX {
            n += 1;
            let mut frame = ring.free.pop().unwrap();
            shape.write(&mut frame, n);
            batch.push(DpPort(1), frame).unwrap();
        }
        rig.dp.process(rig.now, &mut batch, &mut ring, &mut rig.up);
        while let Some(q) = rig.up.queue.pop_front() {
            let flow = rig.flow(&q.key, mask(0), &output());
            rig.dp.pool().give(q.frame);
            let old = FlowId(flow.id.0.saturating_sub(u64::from(live)));
            let verdict = DpCommand::Verdict {
                key: q.key,
                actions: Arc::clone(&flow.actions),
                drop: None,
                flow: Some(flow),
            };
            for command in [verdict, DpCommand::Remove(old)] {
                rig.dp.command(rig.now, command, &mut ring, &mut rig.up);
            }
        }
    });
    println!("    {allocated:.3} allocations a frame, those of the slow path's stand-in included");
}

/// What actions cost: a hit in tier 1 each.
fn execute(c: &mut Bench) {
    let out = DpAction::Output(DpPort(2));
    let rewrite = DpAction::Set(SetField::EthSrc(Masked::new(
        common::mac(9),
        MacAddr::BROADCAST,
    )));
    let push = DpAction::PushVlan {
        tpid: EtherType::VLAN,
        tci: VlanTci(7),
    };
    let lists = [
        ("drop", vec![]),
        ("output", vec![out.clone()]),
        ("set-mac", vec![rewrite, out.clone()]),
        (
            "set-ttl",
            vec![DpAction::Set(SetField::NwTtl(5)), out.clone()],
        ),
        ("push-pop-vlan", vec![push, DpAction::PopVlan, out]),
    ];
    for (name, actions) in lists {
        let (mut rig, mut ring) = Case::BASE.rig(&actions);
        if actions.is_empty() {
            // What is dropped goes to the worker's pool, from where it is copied afresh.
            let (mut batch, template) = (FrameBatch::new(), ring.shape.frame(0));
            timed(c, "execute/drop/untagged-64-1000", || {
                while ring.free.len() < FrameBatch::MAX {
                    ring.free.push(rig.dp.pool().copy(&template));
                }
                turn(&mut rig, &mut ring, &mut batch);
            });
            continue;
        }
        measure(
            c,
            &format!("execute/{name}/{}", Case::BASE.instance()),
            &mut rig,
            &mut ring,
        );
    }
}

/// What is not ours: the ring, the batch, the parser.
fn floor(c: &mut Bench) {
    let (_, mut ring) = Case::BASE.rig(&output());
    let mut batch = FrameBatch::new();
    c.bench_function("floor/ring-and-batch/untagged-64-1000", |b| {
        b.iter(|| {
            ring.receive(&mut batch);
            while let Some((_, frame)) = batch.pop() {
                black_box(&mut ring).output(DpPort(2), frame).unwrap();
            }
        })
    });
    ring.receive(&mut batch);
    c.bench_function("floor/extract/untagged-64-1000", |b| {
        b.iter(|| {
            for (port, frame) in batch.iter() {
                black_box(extract(frame, *port, ParseLimits::default()));
            }
        })
    });
}

/// Turns of a case whose instructions are counted.
const COUNTED: usize = 1000;

/// The cases that are counted, by name.
fn counted() -> Vec<(String, Case)> {
    let mut all = Vec::new();
    for family in Family::ALL {
        let shape = Shape { family, octets: 64 };
        for (kind, caches, masks) in [
            ("emc", Caches::Both, 1),
            ("megaflow-1", Caches::Megaflow, 1),
            ("megaflow-64", Caches::Megaflow, 64),
        ] {
            let case = Case {
                shape,
                caches,
                masks,
                ..Case::BASE
            };
            all.push((format!("process/{kind}/{}", case.instance()), case));
        }
    }
    all
}

#[inline(never)]
fn counted_turns(rig: &mut Rig, ring: &mut Ring, batch: &mut FrameBatch) {
    for _ in 0..COUNTED {
        turn(rig, ring, batch);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |what: &str| arguments.iter().position(|a| a == what);
    if has("--instructions").is_some() {
        let names: Vec<String> = counted().into_iter().map(|(n, _)| n).collect();
        let frames = (COUNTED * FrameBatch::MAX) as u64;
        return count::instructions(&names, "counted_turns", frames);
    }
    if let Some(name) = has("--count").and_then(|i| arguments.get(i + 1)) {
        let (_, case) = counted().into_iter().find(|(n, _)| n == name).unwrap();
        let (mut rig, mut ring) = case.rig(&output());
        let mut batch = FrameBatch::new();
        warm(&mut rig, &mut ring, &mut batch);
        return counted_turns(&mut rig, &mut ring, &mut batch);
    }
    // A hundred cases: a second each.
    let mut c = Criterion::default()
        .with_measurement(FrameTime(WallTime))
        .measurement_time(Duration::from_millis(600))
        .warm_up_time(Duration::from_millis(150))
        .sample_size(20)
        .configure_from_args();
    floor(&mut c);
    matrix(&mut c);
    execute(&mut c);
    odds(&mut c);
    c.final_summary();
}
