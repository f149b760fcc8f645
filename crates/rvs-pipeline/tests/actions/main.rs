//! What each action does, by example: flows, a packet in, packets out. The interpreter has to agree with every row.
#![allow(clippy::unwrap_used)]

mod choices;
mod headers;
mod patches;

#[path = "../common/mod.rs"]
mod common;

use std::sync::Arc;

use common::{ether, flow, flows, ipv4, mac, table_with, udp, vid, Fate, Lab};
use rvs_dpif::{DpAction, DropReason};
use rvs_flow::field::{FieldId, NoPortNames, SubField};
use rvs_flow::{DpPort, Match, OfPort, PipelineKey};
use rvs_l2::VlanMode;
use rvs_openflow::{
    Action, Bucket, BundleAction, BundleAlgorithm, ControllerAction, ControllerId, Group, GroupId,
    GroupKind, HashFields, Instructions, Learn, LearnDst, LearnSpec, LearnSrc, MetadataWrite,
    Multipath, MultipathAlgorithm, PacketInReason, Selection, TableId,
};
use rvs_packet::{EtherType, Frame};
use rvs_pipeline::{
    translate_actions, Bridge, BridgeId, CachedEffect, FragMode, FrozenState, Miss, NoTrace, Port,
    Ports, PuntNote, Rule, Settings, Tables, Translation,
};

fn out(port: u32) -> Action {
    Action::output(OfPort(port))
}

fn whole(field: FieldId) -> SubField {
    SubField::whole(field)
}

fn reg(n: u8, first: u32, last: u32) -> SubField {
    SubField::new(FieldId::reg(n).unwrap(), first, last).unwrap()
}

/// To the controller, which says when to go on.
fn paused() -> Action {
    Action::Controller(Box::new(ControllerAction {
        max_len: 0xffff,
        controller: ControllerId(0),
        reason: PacketInReason::Action,
        userdata: Box::new([]),
        pause: true,
        meter: None,
    }))
}

/// One flow for everything.
fn all(actions: Vec<Action>) -> Lab {
    flows(vec![flow(0, 1, "", actions)])
}

fn resubmit(table: u8) -> Action {
    Action::Resubmit {
        port: None,
        table: Some(TableId(table)),
    }
}

fn rule(
    table: u8,
    priority: u16,
    text: &str,
    instructions: Instructions,
) -> (Match<PipelineKey>, Rule) {
    let m = Match::parse(text, &NoPortNames).unwrap();
    (m, Rule::new(TableId(table), priority, instructions))
}

#[test]
fn reserved_ports() {
    let frame = udp(1, 2, &[]);
    let ports = |p: OfPort| {
        let mut lab = all(vec![Action::output(p)]);
        lab.change(|b| {
            let with = |mut port: Port| {
                port.config.no_flood = port.of == OfPort(3);
                (port, VlanMode::default())
            };
            b.ports = Arc::new(Ports::singles(b.ports.iter().cloned().map(with)).unwrap());
        });
        lab.ports(&frame, 1)
    };
    assert_eq!(ports(OfPort(2)), vec![2]);
    assert_eq!(
        ports(OfPort(1)),
        Vec::<u32>::new(),
        "not back to where it came from"
    );
    assert_eq!(ports(OfPort::IN_PORT), vec![1]);
    assert_eq!(ports(OfPort::ALL), vec![2, 3, 4]);
    assert_eq!(ports(OfPort::FLOOD), vec![2, 4]);
    assert_eq!(ports(OfPort(77)), Vec::<u32>::new());
    assert_eq!(ports(OfPort::ANY), Vec::<u32>::new());
}

#[test]
fn the_action_set_runs_once_in_its_order() {
    let lab = flows(vec![
        rule(
            0,
            1,
            "",
            Instructions {
                apply: Box::new([Action::SetEthDst(mac(0x10))]),
                write: Box::new([
                    out(2),
                    Action::SetEthSrc(mac(0x11)),
                    Action::PushVlan(EtherType::VLAN),
                ]),
                goto: Some(TableId(1)),
                ..Instructions::default()
            },
        ),
        rule(
            1,
            1,
            "dl_dst=02:00:00:00:00:10",
            Instructions {
                write: Box::new([out(3), Action::SetEthSrc(mac(0x12))]),
                ..Instructions::default()
            },
        ),
    ]);
    let want = ether(mac(0x10), mac(0x12), &[(0x8100, 0)]);
    assert_eq!(lab.sent(&ether(mac(2), mac(1), &[]), 1), vec![(3, want)]);
}

#[test]
fn clear_actions_empties_the_set_and_metadata_is_masked() {
    let lab = flows(vec![
        rule(
            0,
            1,
            "",
            Instructions {
                write: Box::new([out(2)]),
                metadata: Some(Box::new(MetadataWrite {
                    value: 0xab00,
                    mask: 0xff00,
                })),
                goto: Some(TableId(1)),
                ..Instructions::default()
            },
        ),
        rule(
            1,
            2,
            "metadata=0xab00",
            Instructions {
                clear: true,
                write: Box::new([out(4)]),
                ..Instructions::default()
            },
        ),
        rule(1, 1, "", Instructions::apply(vec![out(3)])),
    ]);
    assert_eq!(lab.ports(&udp(1, 2, &[]), 1), vec![4]);
}

/// Copies that the action set makes are of the table that the packet came to first, whichever wrote them.
#[test]
fn the_action_set_speaks_for_the_first_flow() {
    let to_controller = Action::output(OfPort::CONTROLLER);
    let lab = flows(vec![
        rule(
            0,
            1,
            "",
            Instructions {
                goto: Some(TableId(1)),
                ..Instructions::default()
            },
        ),
        rule(
            1,
            1,
            "",
            Instructions {
                apply: Box::new([to_controller.clone(), Action::DebugRecirc]),
                write: Box::new([to_controller]),
                ..Instructions::default()
            },
        ),
    ]);
    let frame = udp(1, 2, &[]);
    let mut t = lab.translate(&lab.key(&Frame::from_slice(&frame), 1));
    let state = t.frozen.remove(0);
    assert_eq!(
        (t.notes.len(), state.first.map(|f| f.0)),
        (1, Some(TableId(0)))
    );
    let key = lab.key(&Frame::from_slice(&frame), 1);
    let again = translate_actions(&lab.view(), &key, &state, &mut NoTrace);
    let table = |t: &Translation| match &t.notes[0] {
        PuntNote::PacketIn(note) => note.table,
        PuntNote::Protocol { .. } => TableId(255),
    };
    assert_eq!((table(&t), table(&again)), (TableId(1), TableId(0)));
}

#[test]
fn a_table_miss_drops_or_asks_or_goes_on() {
    let with = |miss| {
        let mut lab = flows(vec![
            rule(
                0,
                1,
                "",
                Instructions {
                    goto: Some(TableId(1)),
                    ..Instructions::default()
                },
            ),
            flow(1, 1, "tcp", vec![out(2)]),
            flow(2, 1, "", vec![out(3)]),
        ]);
        lab.change(|b| {
            b.settings = Arc::new(Settings {
                miss,
                ..Settings::default()
            })
        });
        lab
    };
    let frame = udp(1, 2, &[]);
    let t = with(Miss::Drop);
    let t = t.translate(&t.key(&Frame::from_slice(&frame), 1));
    assert_eq!((t.actions.len(), t.drop), (0, Some(DropReason::NoRule)));
    assert_eq!(with(Miss::Continue).ports(&frame, 1), vec![3]);
    let fate = with(Miss::Controller).send(&frame, 1);
    assert_eq!(fate.packet_ins[0].reason, PacketInReason::NoMatch);
    assert_eq!(fate.packet_ins[0].cookie, u64::MAX);
}

/// There is nothing to continue with behind the last table: the miss is one as of OpenFlow 1.0.
#[test]
fn a_miss_that_continues_behind_the_last_table_goes_to_the_controller() {
    let mut lab = flows(vec![flow(2, 1, "tcp", vec![out(3)])]);
    lab.change(|b| {
        b.settings = Arc::new(Settings {
            miss: Miss::Continue,
            ..Settings::default()
        })
    });
    let fate = lab.send(&udp(1, 2, &[]), 1);
    assert_eq!(fate.packet_ins.len(), 1);
    assert_eq!(fate.packet_ins[0].reason, PacketInReason::NoMatch);
    assert!(lab.send(&common::tcp(1, 2), 1).packet_ins.is_empty());
}

/// What is dropped for want of a flow takes its action set along; a flow without instructions executes it.
#[test]
fn a_miss_drops_the_action_set_too() {
    let collects = Instructions {
        write: Box::new([out(2)]),
        goto: Some(TableId(1)),
        ..Instructions::default()
    };
    let lab = flows(vec![
        rule(0, 1, "", collects),
        rule(1, 1, "udp,tp_dst=2", Instructions::default()),
    ]);
    assert_eq!(lab.ports(&udp(1, 3, &[]), 1), Vec::<u32>::new());
    assert_eq!(lab.ports(&udp(1, 2, &[]), 1), vec![2]);
}

#[test]
fn registers_alias_and_load_and_move_and_stack() {
    let lab = flows(vec![
        flow(
            0,
            1,
            "",
            vec![
                Action::load(whole(FieldId::Xreg0), 0x1111_2222_3333_4444),
                Action::Move {
                    src: reg(1, 0, 15),
                    dst: reg(2, 16, 31),
                },
                Action::Push(reg(2, 16, 31)),
                Action::Pop(reg(3, 0, 15)),
                Action::Move {
                    src: reg(3, 0, 15),
                    dst: SubField::new(FieldId::EthDst, 0, 15).unwrap(),
                },
                resubmit(1),
            ],
        ),
        flow(
            1,
            1,
            "reg0=0x11112222,reg2=0x44440000,reg3=0x4444",
            vec![out(2)],
        ),
    ]);
    let mut want = udp(1, 2, &[]);
    want[4..6].copy_from_slice(&[0x44, 0x44]);
    assert_eq!(lab.sent(&udp(1, 2, &[]), 1), vec![(2, want)]);
}

#[test]
fn output_to_a_register_and_truncated() {
    let mut frame = udp(1, 2, &[]);
    let lab = all(vec![
        Action::load(reg(0, 0, 15), 3),
        Action::OutputReg {
            src: reg(0, 0, 15),
            max_len: 0xffff,
        },
        Action::OutputTruncated {
            port: OfPort(2),
            max_len: 20,
        },
        out(4),
    ]);
    let sent = lab.sent(&frame, 1);
    assert_eq!(sent[1..], [(3, frame.clone()), (4, frame.clone())]);
    frame.truncate(20);
    assert_eq!(sent[0], (2, frame));
}

#[test]
fn resubmit_sees_the_port_given_and_goes_on_with_the_real_one() {
    let lab = flows(vec![
        flow(
            0,
            1,
            "in_port=1",
            vec![
                Action::Resubmit {
                    port: Some(OfPort(2)),
                    table: None,
                },
                Action::output(OfPort::IN_PORT),
            ],
        ),
        flow(
            0,
            1,
            "in_port=2",
            vec![Action::output(OfPort::IN_PORT), out(4)],
        ),
    ]);
    assert_eq!(lab.ports(&udp(1, 2, &[]), 1), vec![1, 1, 4]);
}

#[test]
fn exit_ends_the_pipeline_but_not_the_action_set() {
    let lab = flows(vec![
        rule(
            0,
            1,
            "",
            Instructions {
                write: Box::new([out(4)]),
                goto: Some(TableId(1)),
                ..Instructions::default()
            },
        ),
        flow(1, 1, "", vec![resubmit(2), out(2)]),
        flow(2, 1, "", vec![Action::Exit, out(3)]),
    ]);
    assert_eq!(lab.ports(&udp(1, 2, &[]), 1), vec![4]);
}

#[test]
fn a_clone_takes_its_changes_back() {
    let lab = all(vec![
        Action::Clone(Box::new([
            Action::SetEthDst(mac(9)),
            Action::PushVlan(EtherType::VLAN),
            out(2),
        ])),
        out(3),
    ]);
    let plain = ether(mac(2), mac(1), &[]);
    let sent = lab.sent(&plain, 1);
    assert_eq!(
        sent,
        vec![(2, ether(mac(9), mac(1), &[(0x8100, 0)])), (3, plain)]
    );
}

#[test]
fn controller_actions_leave_notes() {
    let lab = all(vec![
        Action::load(reg(0, 0, 31), 5),
        Action::Controller(Box::new(ControllerAction {
            max_len: 100,
            controller: ControllerId(3),
            reason: PacketInReason::Action,
            userdata: Box::new([1, 2]),
            pause: false,
            meter: None,
        })),
        Action::SetEthDst(mac(9)),
        out(2),
    ]);
    let t = lab.translate(&lab.key(&Frame::from_slice(&udp(1, 2, &[])), 1));
    assert!(matches!(t.actions[0], DpAction::Punt { cookie: 0, .. }));
    let PuntNote::PacketIn(note) = &t.notes[0] else {
        panic!("{:?}", t.notes)
    };
    assert_eq!(
        (note.max_len, note.controller, &*note.userdata),
        (100, ControllerId(3), &[1, 2][..])
    );
    assert_eq!(note.fields.regs[0].get(), 5);
    assert_eq!(note.fields.of_port, 1);
}

#[test]
fn a_paused_packet_goes_on_where_it_stopped() {
    let lab = flows(vec![
        flow(0, 1, "", vec![resubmit(1), out(3)]),
        flow(
            1,
            1,
            "",
            vec![
                Action::load(reg(0, 0, 15), 4),
                paused(),
                Action::OutputReg {
                    src: reg(0, 0, 15),
                    max_len: 0xffff,
                },
            ],
        ),
    ]);
    let frame = Frame::from_slice(&udp(1, 2, &[]));
    let key = lab.key(&frame, 1);
    let t = lab.translate(&key);
    assert_eq!(t.actions.len(), 1);
    let PuntNote::PacketIn(note) = &t.notes[0] else {
        panic!("{:?}", t.notes)
    };
    let state = note.paused.as_deref().unwrap();
    let on = rvs_pipeline::translate_actions(&lab.view(), &key, state, &mut rvs_pipeline::NoTrace);
    assert_eq!(
        on.actions,
        vec![DpAction::Output(DpPort(4)), DpAction::Output(DpPort(3))]
    );
}

#[test]
fn a_packet_out_floods_from_no_port_and_teaches_nothing() {
    let lab = Lab::new([common::bridge(&[
        VlanMode::Access(vid(100)),
        VlanMode::default(),
        VlanMode::Access(vid(200)),
    ])]);
    let send = |frame: &[u8], actions| {
        let key = rvs_flow::extract(
            &Frame::from_slice(frame),
            DpPort::NONE,
            rvs_flow::ParseLimits::new(0),
        );
        let state = FrozenState::packet_out(common::BR, OfPort::CONTROLLER, actions);
        rvs_pipeline::translate_actions(&lab.view(), &key, &state, &mut rvs_pipeline::NoTrace)
    };
    let normal = || vec![Action::output(OfPort::NORMAL)];
    let tagged = send(&ether(mac(2), mac(1), &[(0x8100, 100)]), normal());
    let o = |n| DpAction::Output(DpPort(n));
    assert_eq!(tagged.actions, vec![o(2), DpAction::PopVlan, o(1)]);
    assert!(common::lessons(&tagged).is_empty());
    assert!(!tagged.cacheable);
    // The tables, on request.
    let plain = ether(mac(2), mac(1), &[]);
    assert_eq!(
        send(&plain, vec![Action::output(OfPort::TABLE)]).actions,
        vec![o(2)]
    );
    assert_eq!(send(&plain, vec![out(3), out(1)]).actions, vec![o(3), o(1)]);
}

#[test]
fn later_fragments_have_ports_only_if_configured() {
    let mut later = udp(1, 2, &[]);
    later[21] = 1;
    rvs_flow::testing::fix_checksums(&mut later);
    let lab = |frags| {
        let mut lab = flows(vec![
            flow(0, 5, "udp,tp_dst=0", vec![out(2)]),
            flow(0, 4, "udp", vec![out(3)]),
        ]);
        lab.change(|b| {
            b.settings = Arc::new(Settings {
                frags,
                ..Settings::default()
            })
        });
        lab
    };
    assert_eq!(lab(FragMode::Normal).ports(&later, 1), vec![3]);
    assert_eq!(lab(FragMode::NxMatch).ports(&later, 1), vec![2]);
    assert_eq!(lab(FragMode::Drop).ports(&later, 1), Vec::<u32>::new());
    assert_eq!(lab(FragMode::NxMatch).ports(&udp(1, 2, &[]), 1), vec![3]);
}

#[test]
fn edits_that_nobody_sees_cost_nothing() {
    let lab = all(vec![
        Action::SetEthDst(mac(5)),
        Action::SetEthDst(mac(9)),
        out(2),
        Action::PushVlan(EtherType::VLAN),
        Action::PopVlan,
        Action::SetNwTos(32),
    ]);
    let t = lab.translate(&lab.key(&Frame::from_slice(&udp(1, 2, &[])), 1));
    assert_eq!(t.actions.len(), 2, "{:?}", t.actions);
}

#[test]
fn a_rewrite_does_not_narrow_the_megaflow() {
    let lab = all(vec![Action::SetEthDst(mac(5)), out(2)]);
    let t = lab.translate(&lab.key(&Frame::from_slice(&udp(1, 2, &[])), 1));
    assert_eq!(t.mask.0.dl_dst, [0; 6]);
    assert_eq!(t.mask.0.nw_dst, [0; 4]);
}
