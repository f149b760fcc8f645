//! Batches: tiers, counters, removal at once, frames at fault.
#![allow(clippy::unwrap_used)]

mod common;

use std::panic::{catch_unwind, AssertUnwindSafe};

use common::{l2_mask, tcp, udp, Rig, Wires};
use rvs_datapath::{Caches, FrameBatch};
use rvs_dpif::{DpAction, DpCommand, DropReason, Egress};
use rvs_flow::DpPort;
use rvs_packet::Frame;

const OUT: [DpAction; 1] = [DpAction::Output(DpPort(9))];

#[test]
fn each_tier_answers_when_it_may() {
    for (caches, tier1, tier2) in [
        (Caches::None, 0, 0),
        (Caches::Emc, 10, 0),
        (Caches::Megaflow, 0, 10),
        (Caches::Both, 10, 0),
    ] {
        let mut rig = Rig::new(caches);
        rig.process([(1, udp(1, 2, 5, 20, 0))]);
        let key = rig.question().key;
        rig.answer(key, l2_mask(), &OUT);
        for i in 0..10 {
            rig.process([(1, udp(1, 2, 5, 20, i))]);
        }
        let c = rig.dp.counters();
        let got = (c.emc_hits.read(), c.megaflow_hits.read());
        assert_eq!(got, (tier1, tier2), "{caches:?}");
        assert_eq!(c.misses.read(), 11 - tier1 - tier2, "{caches:?}");
    }
}

#[test]
fn a_megaflow_hit_teaches_tier_1() {
    let mut rig = Rig::new(Caches::Both);
    rig.all_of_port(1, &OUT);
    for _ in 0..3 {
        rig.process((0..4).map(|i| (1, udp(1, 2, i, 20, 0))));
    }
    let c = rig.dp.counters();
    assert_eq!((c.megaflow_hits.read(), c.emc_hits.read()), (4, 8));
    assert_eq!((c.probes.read(), c.emc_ways.read()), (4, 4));
}

#[test]
fn a_removal_holds_for_the_next_frame_in_every_tier() {
    for caches in Caches::ALL {
        let mut rig = Rig::new(caches);
        let flow = rig.all_of_port(1, &OUT);
        for _ in 0..3 {
            rig.process([(1, udp(1, 2, 5, 20, 0))]);
            let asked: Vec<_> = rig.up.queue.drain(..).collect();
            for q in asked {
                rig.answer(q.key, flow.mask, &OUT);
            }
        }
        let installed: Vec<_> = rig.dp.flows().iter().map(|f| f.id).collect();
        for id in installed {
            rig.command(DpCommand::Remove(id));
        }
        rig.tx.take();
        rig.process([(1, udp(1, 2, 5, 20, 0))]);
        assert!(rig.tx.sent.is_empty(), "{caches:?}");
        assert_eq!(rig.up.queue.len(), 1, "{caches:?}");
    }
}

#[test]
fn a_flush_and_a_replacement_hold_for_the_next_frame() {
    let mut rig = Rig::new(Caches::Both);
    rig.all_of_port(1, &OUT);
    rig.process([(1, udp(1, 2, 5, 20, 0)), (1, udp(1, 2, 5, 20, 0))]);
    rig.all_of_port(1, &[DpAction::Output(DpPort(8))]);
    rig.tx.take();
    rig.process([(1, udp(1, 2, 5, 20, 7))]);
    assert_eq!(rig.tx.labels(), [(8, 7)], "tier 1 follows the replacement");
    let c = std::sync::Arc::clone(rig.dp.counters());
    assert_eq!((c.flows.read(), c.masks.read()), (1, 1));
    rig.command(DpCommand::Flush);
    rig.process([(1, udp(1, 2, 5, 20, 7))]);
    assert!(rig.tx.sent.is_empty());
    let c = rig.dp.counters();
    assert_eq!(
        (c.flows.read(), c.masks.read(), c.installs.read()),
        (0, 0, 2)
    );
}

#[test]
fn order_in_a_batch_is_the_order_of_arrival() {
    let mut rig = Rig::new(Caches::Both);
    rig.all_of_port(1, &OUT);
    rig.all_of_port(2, &OUT);
    rig.process((0..32).map(|i| (1 + u32::from(i % 3 == 0), tcp(1, 2, i.into(), 0x10, i))));
    let labels: Vec<_> = rig.tx.labels().iter().map(|l| l.1).collect();
    assert_eq!(labels, (0..32).collect::<Vec<_>>());
}

#[test]
fn flow_counters_equal_frames_sent_over_a_removal_b8() {
    let mut rig = Rig::new(Caches::Both);
    let mut counted = 0;
    for round in 0..20 {
        let flow = rig.all_of_port(1, &OUT);
        rig.process((0..round).map(|i| (1, udp(1, 2, i, 20, 0))));
        rig.command(DpCommand::Remove(flow.id));
        counted += flow.stats.read().packets;
    }
    assert_eq!(counted, (0..20).sum::<u64>());
    assert_eq!(rig.tx.sent.len() as u64, counted);
}

#[test]
fn batches_are_counted_by_size() {
    let mut rig = Rig::new(Caches::Both);
    rig.all_of_port(1, &OUT);
    for n in [1, 1, 5, 32, 33] {
        rig.process((0..n).map(|_| (1, udp(1, 2, 5, 20, 0))));
    }
    let c = rig.dp.counters();
    let sizes: Vec<_> = (1..)
        .zip(&c.batches)
        .filter(|(_, c)| c.read() > 0)
        .map(|(n, c)| (n, c.read()))
        .collect();
    assert_eq!(sizes, [(1, 3), (5, 1), (32, 2)]);
    assert_eq!((c.rx_packets.read(), c.rx_bytes.read()), (72, 72 * 62));
}

/// Panics on the way out of one frame, as a fault of ours would.
struct Faulty(Wires);

impl Egress for Faulty {
    fn output(&mut self, port: DpPort, frame: Frame) -> Result<(), DropReason> {
        assert!(*frame.bytes().last().unwrap() != 66, "poison");
        self.0.output(port, frame)
    }
}

#[test]
fn a_poison_frame_costs_one_frame() {
    let mut rig = Rig::new(Caches::Both);
    rig.all_of_port(1, &OUT);
    let mut tx = Faulty(Wires::default());
    let mut batch = FrameBatch::new();
    for i in 50..82 {
        batch.push(DpPort(1), udp(1, 2, 5, 20, i)).unwrap();
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    // What the worker does: the rest of the batch frame by frame, each on its own.
    let mut poisoned = 0;
    let mut single = FrameBatch::new();
    let mut go = |batch: &mut FrameBatch, tx: &mut Faulty| {
        let mut process = || rig.dp.process(rig.now, batch, tx, &mut rig.up);
        poisoned += u32::from(catch_unwind(AssertUnwindSafe(&mut process)).is_err());
    };
    go(&mut batch, &mut tx);
    assert_eq!(
        batch.len(),
        15,
        "the frame at fault is gone, what came after it is not"
    );
    while let Some((port, frame)) = batch.pop() {
        single.push(port, frame).unwrap();
        go(&mut single, &mut tx);
    }
    std::panic::set_hook(hook);
    assert_eq!(poisoned, 1);
    let labels: Vec<_> = tx.0.labels().iter().map(|l| l.1).collect();
    assert_eq!(labels, (50..82).filter(|l| *l != 66).collect::<Vec<_>>());
}

#[test]
fn random_octets_do_no_harm() {
    let mut rig = Rig::new(Caches::Both);
    let mut x = 7u64;
    let mut random = move || {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (x >> 33) as u32
    };
    let mut sent = 0;
    for _ in 0..3000 {
        let frames: Vec<_> = (0..32)
            .map(|_| {
                let mut f = tcp(random() % 3, 2, 5, 0x10, 0);
                for _ in 0..random() % 4 {
                    let at = random() as usize % f.len();
                    f.bytes_mut()[at] = random() as u8;
                }
                f.truncate(random() as usize % 80);
                (random() % 3, f)
            })
            .collect();
        rig.process(frames);
        while let Some(q) = rig.up.queue.pop_front() {
            rig.answer(q.key, common::exact(), &OUT);
        }
        sent += rig.tx.take().len() as u64;
    }
    let c = rig.dp.counters();
    assert_eq!(c.waiting.read(), 0);
    let lost: u64 = rig.drops().iter().map(|d| d.1).sum();
    assert_eq!(
        sent + lost,
        c.rx_packets.read(),
        "every frame left or has a reason"
    );
    assert!(rig.drops().iter().all(|d| d.0 == DropReason::BadFrame));
}
