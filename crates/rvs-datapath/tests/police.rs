//! What a policed port may bring in.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{super_frame, udp, Rig};
use rvs_datapath::Caches;
use rvs_dpif::{DpAction, DpCommand, DropReason, Policer, Policing};
use rvs_flow::DpPort;
use rvs_packet::{csum, Now};

fn rig(policing: Policing) -> (Rig, Arc<Policer>) {
    let mut rig = Rig::new(Caches::Both);
    let policer = Arc::new(Policer::new(rig.now, policing));
    rig.command(DpCommand::Police {
        port: DpPort(1),
        policer: Some(Arc::clone(&policer)),
    });
    for port in [1, 2] {
        rig.all_of_port(port, &[DpAction::Output(DpPort(9))]);
    }
    (rig, policer)
}

fn frames(pps: u32, frames: u32) -> Policing {
    Policing {
        pps,
        frames,
        ..Policing::default()
    }
}

#[test]
fn only_its_own_port_is_policed_and_only_while_it_is() {
    let (mut rig, policer) = rig(frames(20, 13));
    rig.process((0..20).map(|i| (1, udp(1, 2, 5, 20, i))));
    rig.process((20..40).map(|i| (2, udp(1, 2, 5, 20, i))));
    let want: Vec<u8> = (0..13).chain(20..40).collect();
    let got: Vec<u8> = rig.tx.labels().into_iter().map(|l| l.1).collect();
    assert_eq!(got, want);
    assert_eq!(rig.drops(), [(DropReason::Policed, 7)]);
    assert_eq!(
        (policer.dropped().packets, policer.dropped().bytes),
        (7, 7 * 62)
    );
    rig.command(DpCommand::Police {
        port: DpPort(1),
        policer: None,
    });
    rig.process((0..20).map(|i| (1, udp(1, 2, 5, 20, i))));
    assert_eq!(rig.tx.labels().len(), 20);
}

#[test]
fn refused_frames_count_for_no_flow_and_ask_nothing() {
    let (mut rig, _) = rig(frames(20, 10));
    let flow = rig.all_of_port(1, &[DpAction::Output(DpPort(9))]);
    rig.process((0..20).map(|i| (1, udp(1, 2, 5, 20, i))));
    assert_eq!(flow.stats.read().packets, 10);
    rig.command(DpCommand::Flush);
    rig.process((0..5).map(|i| (1, udp(1, 2, 5, 20, i))));
    assert!(rig.up.queue.is_empty());
}

#[test]
fn a_super_frame_passes_whole_or_by_segment() {
    let (mut rig, policer) = rig(frames(20, 13));
    rig.process([(1, super_frame(10, 100)), (1, super_frame(10, 100))]);
    let sent = rig.tx.take();
    assert!(sent[0].1.offload.gso.is_some(), "covered whole");
    let first: Vec<_> = sent[1..].iter().map(|(_, f)| f.bytes()[54]).collect();
    assert_eq!(first, [0, 1, 2], "the first segments, in order");
    let whole = |f: &rvs_packet::Frame| f.offload.is_plain() && csum::verify(f).is_ok();
    assert!(sent[1..].iter().all(|(_, f)| whole(f)));
    assert_eq!(policer.dropped().packets, 7);
    // The segments that passed are counted as frames of the flow; time lets more pass.
    rig.now = Now(rig.now.0 + 100_000_000);
    rig.process([(1, super_frame(10, 100))]);
    assert_eq!(rig.tx.take().len(), 2);
}

#[test]
fn segments_of_an_unknown_flow_wait_for_one_verdict() {
    let (mut rig, _) = rig(frames(20, 13));
    rig.command(DpCommand::Flush);
    rig.process([(1, super_frame(20, 100))]);
    let asked = rig.question();
    assert!(rig.up.queue.is_empty(), "one question");
    assert_eq!(rig.drops(), [(DropReason::Policed, 7)]);
    rig.answer(asked.key, common::exact(), &[DpAction::Output(DpPort(9))]);
    let sent = rig.tx.take();
    let order: Vec<_> = sent.iter().map(|(_, f)| f.bytes()[54]).collect();
    assert_eq!(order, (0..13).collect::<Vec<u8>>());
}
