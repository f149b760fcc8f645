//! In memory, one core, from the octets of a frame to its output: tiers 1 and 2.
//!
//! `cargo bench -p rvs-datapath`. A figure is the processor time of *one frame*, in batches of 32 TCP frames of 64 octets; it
//! is the thread's own time, so that a busy machine disturbs it less. The egress keeps sent frames and they go back into
//! the next batch, as a real one recycles buffers; what this alone costs is `floor/ring_and_batch`.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use common::{l2_mask, port_mask, tcp, Rig};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{criterion_group, criterion_main, Criterion};
use nix::time::{clock_gettime, ClockId};
use rvs_datapath::{Caches, Config, Emc, FrameBatch};
use rvs_dpif::{DpAction, DpCommand, DropReason, Egress, FlowId, WorkerId};
use rvs_flow::{extract, DpPort, FlowKey, Key, Mask, ParseLimits};
use rvs_packet::{Frame, Now};

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
    /// What tells one flow from another: source MAC and IP address and port.
    flows: Vec<[u8; 12]>,
    next: usize,
}

impl Egress for Ring {
    fn output(&mut self, _port: DpPort, frame: Frame) -> Result<(), DropReason> {
        self.free.push(frame);
        Ok(())
    }
}

impl Ring {
    fn new(flows: Vec<[u8; 12]>) -> Self {
        let free = (0..4 * FrameBatch::MAX).map(|_| tcp(1, 5, 0, 0x10, 0));
        Self {
            free: free.collect(),
            flows,
            next: 0,
        }
    }

    fn receive(&mut self, batch: &mut FrameBatch) {
        for _ in 0..FrameBatch::MAX {
            let mut frame = self.free.pop().unwrap();
            let flow = &self.flows[self.next];
            self.next = if self.next + 1 == self.flows.len() {
                0
            } else {
                self.next + 1
            };
            let b = frame.bytes_mut();
            b[6..12].copy_from_slice(&flow[..6]);
            b[26..30].copy_from_slice(&flow[6..10]);
            b[34..36].copy_from_slice(&flow[10..]);
            batch.push(DpPort(1), frame).unwrap();
        }
    }
}

/// How the flows of a bench share megaflows.
#[derive(Clone, Copy)]
enum Share {
    /// One megaflow for all.
    One,
    /// One megaflow each, all under one mask.
    Each,
    /// One megaflow each, spread over so many masks.
    Masks(usize),
}

/// The `n`th mask: L2 and one bit pattern of the destination port.
fn mask(n: usize) -> Mask<FlowKey> {
    let mut m = l2_mask();
    m.0.words_mut()[5] = u64::MAX;
    m.0.tp_dst = (n as u16 | 0x8000).into();
    m
}

fn rig(caches: Caches, flows: u32, share: Share) -> (Rig, Ring) {
    rig_with(caches, flows, share, Emc::ODDS)
}

fn rig_with(caches: Caches, flows: u32, share: Share, odds: u32) -> (Rig, Ring) {
    let mut config = Config::new(WorkerId(0), [1, 2]);
    config.caches = caches;
    config.emc_odds = odds;
    let mut rig = Rig::with(config);
    let mut parts = Vec::new();
    // Any order but that of the addresses.
    for i in (0..flows).map(|i| i.wrapping_mul(2_654_435_761) % flows) {
        let frame = tcp(i + 1, 5, (i % 60_000) as u16 + 1000, 0x10, 0);
        let key = extract(&frame, DpPort(1), ParseLimits::default());
        let mask = match share {
            Share::One => port_mask(),
            Share::Each => mask(0),
            Share::Masks(n) => mask(i as usize % n),
        };
        rig.answer(key, mask, &[DpAction::Output(DpPort(2))]);
        let mut part = [0; 12];
        part[..6].copy_from_slice(&key.dl_src);
        part[6..10].copy_from_slice(&key.nw_src);
        part[10..].copy_from_slice(&key.tp_src.to_bytes());
        parts.push(part);
    }
    (rig, Ring::new(parts))
}

fn turn(rig: &mut Rig, ring: &mut Ring, batch: &mut FrameBatch) {
    ring.receive(batch);
    rig.dp.process(rig.now, batch, black_box(ring), &mut rig.up);
}

fn bench(c: &mut Bench, name: &str, caches: Caches, flows: u32, share: Share) {
    let (mut rig, mut ring) = rig(caches, flows, share);
    measure(c, name, &mut rig, &mut ring);
}

fn measure(c: &mut Bench, name: &str, rig: &mut Rig, ring: &mut Ring) {
    let mut batch = FrameBatch::new();
    for _ in 0..(ring.flows.len() / FrameBatch::MAX + 1) * 4 {
        turn(rig, ring, &mut batch);
    }
    rig.now = Now::from_secs(100);
    rig.tick();
    let counts = |rig: &Rig| {
        let c = rig.dp.counters();
        [&c.emc_hits, &c.megaflow_hits, &c.misses, &c.probes].map(|c| c.read())
    };
    let before = counts(rig);
    c.bench_function(name, |b| b.iter(|| turn(rig, ring, &mut batch)));
    let [emc, mega, miss, probes] = std::array::from_fn(|i| (counts(rig)[i] - before[i]) as f64);
    let total = (emc + mega + miss) / 100.0;
    if total > 0.0 {
        let (emc, mega, each) = (emc / total, mega / total, probes / mega.max(1.0));
        println!(
            "    tier 1 {emc:.1} %, tier 2 {mega:.1} %, {each:.1} probes in tier 2, {miss} misses"
        );
    }
}

fn caches(c: &mut Bench) {
    for flows in [1, 1000, 10_000, 100_000] {
        bench(
            c,
            &format!("emc/{flows}_flows_1_megaflow"),
            Caches::Both,
            flows,
            Share::One,
        );
        bench(
            c,
            &format!("emc/{flows}_megaflows"),
            Caches::Both,
            flows,
            Share::Each,
        );
    }
    for masks in [1, 16, 63] {
        let share = Share::Masks(masks);
        bench(
            c,
            &format!("megaflow/{masks}_masks_1000_flows"),
            Caches::Megaflow,
            1008,
            share,
        );
    }
    bench(
        c,
        "megaflow/100k_flows",
        Caches::Megaflow,
        100_000,
        Share::Each,
    );
}

/// How often a megaflow hit should replace a live entry of tier 1: half of the frames from 1,000 flows, half from 100,000.
fn odds(c: &mut Bench) {
    for odds in [1, 8, 100] {
        let (mut rig, mut ring) = rig_with(Caches::Both, 100_000, Share::Masks(16), odds);
        let mut x = 1u32;
        let all = ring.flows.clone();
        ring.flows.extend((0..all.len()).map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            all[(x >> 8) as usize % 1000]
        }));
        // Interleaved, not one half after the other.
        let n = ring.flows.len();
        ring.flows = (0..n).map(|i| ring.flows[(i * 7919) % n]).collect();
        measure(c, &format!("emc_odds/1_in_{odds}"), &mut rig, &mut ring);
    }
}

/// Miss, question, verdict, install, release: what is ours of a new flow.
fn new_flows(c: &mut Bench) {
    let (mut rig, mut ring) = rig(Caches::Both, 1, Share::One);
    let mut batch = FrameBatch::new();
    let mut n = 0u32;
    rig.command(DpCommand::Flush);
    c.bench_function("new_flow/miss_verdict_install", |b| {
        b.iter(|| {
            for _ in 0..FrameBatch::MAX {
                n += 1;
                let mut frame = ring.free.pop().unwrap();
                frame.bytes_mut()[8..12].copy_from_slice(&n.to_be_bytes());
                batch.push(DpPort(1), frame).unwrap();
            }
            rig.dp.process(rig.now, &mut batch, &mut ring, &mut rig.up);
            while let Some(q) = rig.up.queue.pop_front() {
                let flow = rig.flow(&q.key, mask(0), &[DpAction::Output(DpPort(2))]);
                rig.dp.pool().give(q.frame);
                // Ten thousand flows live.
                let old = FlowId(flow.id.0.saturating_sub(10_000));
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
        })
    });
}

/// What is not ours: the ring, the batch, the parser.
fn floor(c: &mut Bench) {
    let (_, mut ring) = rig(Caches::Both, 1000, Share::One);
    let mut batch = FrameBatch::new();
    c.bench_function("floor/ring_and_batch", |b| {
        b.iter(|| {
            ring.receive(&mut batch);
            while let Some((_, frame)) = batch.pop() {
                black_box(&mut ring).output(DpPort(2), frame).unwrap();
            }
        })
    });
    ring.receive(&mut batch);
    c.bench_function("floor/extract", |b| {
        b.iter(|| {
            for (port, frame) in batch.iter() {
                black_box(extract(frame, *port, ParseLimits::default()));
            }
        })
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .with_measurement(FrameTime(WallTime))
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(300))
        .sample_size(30);
    targets = floor, caches, odds, new_flows
}
criterion_main!(benches);
