//! How deep a translation goes, and what it takes along when the frame comes again.
#![allow(clippy::unwrap_used)]

mod common;

use common::{flow, flows, udp, Lab};
use rvs_flow::field::FieldId;
use rvs_flow::OfPort;
use rvs_openflow::Action;
use rvs_packet::Frame;

fn out(port: u32) -> Vec<Action> {
    vec![Action::output(OfPort(port))]
}

/// Each table sends the packet on to the next, and the last, as often as a register says, to the first again.
fn laps(register: u32) -> Lab {
    let to = |n: u8| Action::Resubmit {
        port: None,
        table: Some(rvs_openflow::TableId(n)),
    };
    let mut all: Vec<_> = (0..253).map(|n| flow(n, 1, "", vec![to(n + 1)])).collect();
    for n in 0..register {
        let lap = vec![
            Action::load(rvs_flow::SubField::whole(FieldId::Reg0), u128::from(n) + 1),
            to(0),
        ];
        all.push(flow(253, 2, &format!("reg0={n}"), lap));
    }
    all.push(flow(253, 1, "", out(2)));
    flows(all)
}

#[test]
fn resubmits_to_later_tables_lead_through_them_all() {
    let (lab, frame) = (laps(0), udp(1, 2, &[]));
    let t = lab.translate(&lab.key(&Frame::from_slice(&frame), 1));
    assert_eq!((t.drop, lab.sent(&frame, 1).len()), (None, 1));
}

/// However it is nested, a translation ends within the stack that its thread has.
#[test]
fn nested_resubmits_end_before_the_stack_does() {
    let deep = || {
        for (n, drop) in [(1, None), (2, Some(rvs_dpif::DropReason::TooDeep))] {
            let lab = laps(n);
            let key = lab.key(&Frame::from_slice(&udp(1, 2, &[])), 1);
            assert_eq!(lab.translate(&key).drop, drop, "{n} laps");
        }
    };
    // The tests are built to be quicker than the slowest build is: an eighth is to do.
    let thread = std::thread::Builder::new()
        .stack_size(rvs_pipeline::STACK / 8)
        .spawn(deep)
        .unwrap();
    thread.join().unwrap();
}

/// What a packet has with it survives a recirculation, in the middle of nested lists too.
#[test]
fn a_recirculation_for_tests_changes_nothing() {
    let reg = rvs_flow::SubField::whole(FieldId::Reg0);
    let to = |n: u8| Action::Resubmit {
        port: None,
        table: Some(rvs_openflow::TableId(n)),
    };
    let around = |list: Vec<Action>| {
        let between = list.into_iter().flat_map(|a| [Action::DebugRecirc, a]);
        between.collect::<Vec<_>>()
    };
    let lab = flows(vec![
        flow(
            0,
            1,
            "",
            around(vec![
                Action::load(reg, 7),
                Action::Push(reg),
                to(1),
                Action::Pop(reg),
                to(2),
            ]),
        ),
        flow(
            1,
            1,
            "reg0=7",
            vec![Action::load(reg, 8), Action::DebugRecirc],
        ),
        flow(
            2,
            1,
            "reg0=7",
            vec![Action::DebugSlow, Action::output(OfPort(2))],
        ),
    ]);
    let frame = udp(1, 2, &[]);
    assert_eq!(lab.ports(&frame, 1), [2]);
    let first = lab.translate(&lab.key(&Frame::from_slice(&frame), 1));
    assert!(matches!(first.actions[..], [rvs_dpif::DpAction::Recirc(_)]));
}

#[test]
fn a_stack_has_an_end() {
    let push = Action::Push(rvs_flow::SubField::whole(FieldId::Reg0));
    let lab = flows(vec![flow(0, 1, "", vec![push; 4097])]);
    let t = lab.translate(&lab.key(&Frame::from_slice(&udp(1, 2, &[])), 1));
    assert_eq!(t.drop, Some(rvs_dpif::DropReason::StackTooDeep));
}
