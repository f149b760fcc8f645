//! Misses: what is asked, what waits, and in which order it goes on.
#![allow(clippy::unwrap_used)]

mod common;

use common::{exact, l2_mask, port_mask, tcp, udp, Rig};
use rvs_datapath::{Caches, Config};
use rvs_dpif::{AckToken, DpAction, DpCommand, DropReason, UpcallKind, WorkerId};
use rvs_flow::DpPort;
use rvs_packet::Now;

const OUT: [DpAction; 1] = [DpAction::Output(DpPort(9))];
const SYN: u8 = 2;
const ACK: u8 = 0x10;
const PSH: u8 = 0x18;

#[test]
fn one_question_for_a_flow_and_its_followers() {
    let mut rig = Rig::new(Caches::Both);
    rig.process((0..5).map(|i| (1, tcp(1, 2, 1000, SYN, i))));
    assert_eq!(rig.up.queue.len(), 1);
    let q = rig.question();
    assert_eq!(
        (q.kind, q.worker, q.asked),
        (UpcallKind::Miss, WorkerId(1), rig.now)
    );
    assert_eq!(
        *q.frame.bytes().last().unwrap(),
        0,
        "the first frame, unchanged"
    );
    assert!(rig.tx.sent.is_empty());
    let flow = rig.answer(q.key, l2_mask(), &OUT);
    assert_eq!(rig.tx.labels(), [(9, 0), (9, 1), (9, 2), (9, 3), (9, 4)]);
    let s = flow.stats.read();
    assert_eq!((s.packets, s.bytes, s.tcp_flags), (5, 300, 2));
    let c = rig.dp.counters();
    assert_eq!(
        (c.upcalls.read(), c.parked.read(), c.released.read()),
        (1, 5, 5)
    );
    assert_eq!((c.waiting.read(), c.waiting_bytes.read()), (0, 0));
}

/// A hit must not overtake frames of its connection that wait, whichever tier it hits (Open vSwitch 9b4f08cdc reordered a
/// TCP connection across its caches).
#[test]
fn order_is_kept_per_connection_in_mixed_hits_b7() {
    for caches in Caches::ALL {
        let mut rig = Rig::new(caches);
        // The SYN has its own flow already; ACK and PSH do not.
        let syn = rvs_flow::extract(&tcp(1, 2, 1000, SYN, 0), DpPort(1), Default::default());
        rig.answer(syn, exact(), &OUT);
        rig.process([(1, tcp(1, 2, 1000, ACK, 1))]);
        // Would hit, or be decided at once: waits behind the ACK.
        rig.process([(1, tcp(1, 2, 1000, SYN, 2)), (1, tcp(1, 2, 1000, PSH, 3))]);
        rig.process([(1, tcp(1, 2, 1000, ACK, 4))]);
        assert_eq!(
            rig.up.queue.len(),
            1,
            "{caches:?}: one question per connection"
        );
        let mut sent = Vec::new();
        while let Some(q) = rig.up.queue.pop_front() {
            rig.answer(q.key, exact(), &OUT);
            sent.extend(rig.tx.labels().iter().map(|l| l.1));
        }
        assert_eq!(sent, [1, 2, 3, 4], "{caches:?}");
        assert!(rig.drops().is_empty());
    }
}

#[test]
fn a_wide_answer_releases_what_waits_behind_without_asking_again() {
    let mut rig = Rig::new(Caches::Both);
    rig.process([SYN, ACK, PSH].map(|f| (1, tcp(1, 2, 1000, f, f))));
    let q = rig.question();
    rig.answer(q.key, l2_mask(), &OUT);
    assert_eq!(rig.tx.labels(), [(9, SYN), (9, ACK), (9, PSH)]);
    assert!(rig.up.queue.is_empty());
}

#[test]
fn an_answer_that_is_not_installed_still_releases() {
    let mut rig = Rig::new(Caches::Both);
    rig.process([(1, tcp(1, 2, 1000, ACK, 1)), (1, tcp(1, 2, 1000, ACK, 2))]);
    let key = rig.question().key;
    rig.command(DpCommand::Verdict {
        key,
        actions: OUT.as_slice().into(),
        drop: None,
        flow: None,
    });
    assert_eq!(rig.tx.labels(), [(9, 1), (9, 2)]);
    rig.process([(1, tcp(1, 2, 1000, ACK, 3))]);
    assert_eq!(rig.up.queue.len(), 1, "nothing was remembered");
}

#[test]
fn a_refused_install_still_releases_and_is_counted() {
    let mut config = Config::new(WorkerId(0), [1, 1]);
    config.flows = 1;
    let mut rig = Rig::with(config);
    rig.all_of_port(7, &OUT);
    rig.process([(1, udp(1, 2, 5, 20, 1))]);
    let key = rig.question().key;
    rig.answer(key, l2_mask(), &OUT);
    assert_eq!(rig.tx.labels(), [(9, 1)]);
    assert_eq!(rig.dp.counters().refused_full.read(), 1);
}

#[test]
fn a_dropping_answer_drops_what_waits_for_its_reason() {
    let mut rig = Rig::new(Caches::Both);
    rig.process((0..3).map(|i| (1, udp(1, 2, 5, 20, i))));
    let key = rig.question().key;
    rig.command(DpCommand::Verdict {
        key,
        actions: [].into(),
        drop: Some(DropReason::SplitHorizon),
        flow: None,
    });
    assert_eq!(rig.drops(), [(DropReason::SplitHorizon, 3)]);
}

#[test]
fn a_full_queue_upwards_costs_the_frame_and_is_counted() {
    let mut rig = Rig::new(Caches::Both);
    for (room, refused) in [(1, 0), (1, 1)] {
        rig.up.room = room;
        let port = 100 + refused as u16;
        rig.process([(1, udp(1, 2, port, 20, 0))]);
        let c = rig.dp.counters();
        assert_eq!((c.upcalls.read(), c.upcalls_refused.read()), (1, refused));
    }
    assert_eq!(rig.drops(), [(DropReason::UpcallQueueFull, 1)]);
    assert_eq!(
        rig.dp.counters().waiting.read(),
        1,
        "only what was asked about waits"
    );
}

#[test]
fn a_full_parking_costs_the_frame_and_is_counted() {
    let mut config = Config::new(WorkerId(0), [1, 1]);
    config.parking.per_queue = 3;
    let mut rig = Rig::with(config);
    rig.process((0..60).map(|i| (1, udp(1, 2, 5, 20, i))));
    assert_eq!(rig.drops(), [(DropReason::ParkingFull, 57)]);
    let key = rig.question().key;
    rig.answer(key, l2_mask(), &OUT);
    assert_eq!(rig.tx.labels(), [(9, 0), (9, 1), (9, 2)], "the oldest stay");
}

#[test]
fn a_lost_answer_costs_100_ms_of_frames() {
    let mut rig = Rig::new(Caches::Both);
    rig.process((0..3).map(|i| (1, udp(1, 2, 5, 20, i))));
    let lost = rig.question();
    let deadline = rig.dp.deadline().unwrap();
    assert_eq!(deadline.since(rig.now).as_millis(), 100);
    rig.now = Now(deadline.0 - 1);
    rig.tick();
    assert_eq!(rig.dp.counters().waiting.read(), 3);
    rig.now = deadline;
    rig.tick();
    assert_eq!(rig.drops(), [(DropReason::ParkTimeout, 3)]);
    assert_eq!(
        (rig.dp.deadline(), rig.dp.counters().waiting.read()),
        (None, 0)
    );
    // The next frame asks anew; a late answer installs and releases it.
    rig.process([(1, udp(1, 2, 5, 20, 7))]);
    assert_eq!(rig.up.queue.len(), 1);
    rig.answer(lost.key, l2_mask(), &OUT);
    assert_eq!(rig.tx.labels(), [(9, 7)]);
}

#[test]
fn what_waits_too_long_goes_on_if_another_flow_decides_it_by_now() {
    let mut rig = Rig::new(Caches::Both);
    rig.process([(1, tcp(1, 2, 5, SYN, 1)), (1, tcp(1, 2, 5, ACK, 2))]);
    rig.all_of_port(1, &OUT);
    rig.now = rig.dp.deadline().unwrap();
    rig.tick();
    assert_eq!(rig.tx.labels(), [(9, 1), (9, 2)]);
    assert!(rig.drops().is_empty());
}

#[test]
fn a_timeout_asks_about_what_waited_behind() {
    let mut rig = Rig::new(Caches::Both);
    rig.process([(1, tcp(1, 2, 5, SYN, 1)), (1, tcp(1, 2, 5, ACK, 2))]);
    rig.question();
    rig.now = rig.dp.deadline().unwrap();
    rig.tick();
    assert_eq!(rig.drops(), [(DropReason::ParkTimeout, 1)]);
    let q = rig.question();
    assert_eq!((q.key.tcp_flags.get(), q.asked), (u16::from(ACK), rig.now));
    assert_eq!(rig.dp.deadline().unwrap().since(rig.now).as_millis(), 100);
    rig.answer(q.key, exact(), &OUT);
    assert_eq!(rig.tx.labels(), [(9, 2)]);
}

#[test]
fn an_answer_that_comes_twice_does_not_ask_twice() {
    let mut rig = Rig::new(Caches::Both);
    rig.process([
        (1, tcp(1, 2, 5, SYN, 1)),
        (1, tcp(1, 2, 5, ACK, 2)),
        (1, tcp(1, 2, 5, PSH, 3)),
    ]);
    let first = rig.question();
    for _ in 0..3 {
        rig.answer(first.key, exact(), &OUT);
        assert_eq!(rig.up.queue.len(), 1, "the question about the ACK is up");
    }
    let second = rig.question();
    rig.answer(second.key, exact(), &OUT);
    assert_eq!(rig.tx.labels(), [(9, 1), (9, 2)]);
    assert_eq!(rig.up.queue.len(), 1);
}

#[test]
fn one_ports_misses_do_not_take_the_parking_of_another() {
    let mut rig = Rig::new(Caches::Both);
    rig.process((0..5000u32).map(|i| (1, udp(i, 2, 5, 20, 0))));
    assert_eq!(rig.dp.counters().waiting.read(), 512);
    rig.process([(2, udp(1, 2, 5, 20, 77))]);
    let q = rig.up.queue.pop_back().unwrap();
    assert_eq!(q.key.in_port, 2);
    rig.answer(q.key, port_mask(), &OUT);
    assert_eq!(rig.tx.labels(), [(9, 77)]);
}

#[test]
fn a_recirculated_frame_parks_and_goes_on_where_it_was() {
    let mut rig = Rig::new(Caches::Both);
    rig.all_of_port(1, &[DpAction::PopVlan, DpAction::Recirc(5)]);
    rig.process((0..3).map(|i| (1, udp(1, 2, 5, 20, i))));
    let q = rig.question();
    assert_eq!(q.key.recirc_id, 5);
    assert!(rig.up.queue.is_empty());
    rig.answer(q.key, port_mask(), &OUT);
    assert_eq!(rig.tx.labels(), [(9, 0), (9, 1), (9, 2)]);
    // From now on both lookups hit.
    rig.process([(1, udp(1, 2, 5, 20, 9))]);
    assert_eq!(rig.tx.labels(), [(9, 9)]);
    assert_eq!(rig.dp.counters().recirculated.read(), 4);
}

#[test]
fn an_acknowledgement_comes_after_what_was_before_it() {
    let mut rig = Rig::new(Caches::Both);
    let flow = rig.all_of_port(1, &OUT);
    rig.process([(1, udp(1, 2, 5, 20, 1))]);
    rig.command(DpCommand::Remove(flow.id));
    let token = rig.dp.command(
        rig.now,
        DpCommand::Ack(AckToken(7)),
        &mut rig.tx,
        &mut rig.up,
    );
    assert_eq!(token, Some(AckToken(7)));
    rig.tx.take();
    rig.process([(1, udp(1, 2, 5, 20, 2))]);
    assert!(
        rig.tx.sent.is_empty() && rig.up.queue.len() == 1,
        "nothing stale"
    );
}
