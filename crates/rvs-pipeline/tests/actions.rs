//! What each action does, by example: flows, a packet in, packets out. The interpreter has to agree with every row.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{ether, flow, flows, ipv4, mac, udp, vid, Fate, Lab};
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
    Bridge, BridgeId, CachedEffect, FragMode, FrozenState, Miss, Port, Ports, PuntNote, Rule,
    Settings, Tables,
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
fn push_vlan_copies_the_outer_tag() {
    // OpenFlow 1.3.5 section 5.11.
    let lab = all(vec![Action::PushVlan(EtherType::QINQ), out(2)]);
    let plain = ether(mac(2), mac(1), &[]);
    let tagged = |tags: &[_]| ether(mac(2), mac(1), tags);
    assert_eq!(lab.sent(&plain, 1), vec![(2, tagged(&[(0x88a8, 0)]))]);
    let had = (0x8100, 0xa064);
    assert_eq!(
        lab.sent(&tagged(&[had]), 1),
        vec![(2, tagged(&[(0x88a8, 0xa064), had]))]
    );
}

#[test]
fn vlan_vid_of_1_0_makes_a_tag_and_of_1_1_does_not() {
    let tagged = |tci| ether(mac(2), mac(1), &[(0x8100, tci)]);
    let plain = ether(mac(2), mac(1), &[]);
    let lab = |push| all(vec![Action::SetVlanVid { vid: vid(9), push }, out(2)]);
    assert_eq!(lab(true).sent(&plain, 1), vec![(2, tagged(9))]);
    assert_eq!(lab(false).sent(&plain, 1), vec![(2, plain.clone())]);
    for push in [true, false] {
        assert_eq!(
            lab(push).sent(&tagged(0xe00a), 1),
            vec![(2, tagged(0xe009))],
            "PCP stays"
        );
    }
}

#[test]
fn pop_vlan_uncovers_what_was_there_from_the_start() {
    let lab = flows(vec![
        flow(0, 1, "", vec![Action::PopVlan, resubmit(1)]),
        flow(1, 5, "udp,tp_dst=2,vlan_tci=0", vec![out(2)]),
        flow(1, 4, "dl_vlan=20", vec![out(3)]),
    ]);
    assert_eq!(lab.ports(&udp(1, 2, &[(0x8100, 10)]), 1), vec![2]);
    assert_eq!(
        lab.ports(&udp(1, 2, &[(0x8100, 10), (0x8100, 20)]), 1),
        vec![3]
    );
    // With three tags the last is not in the key: the frame goes round once.
    assert_eq!(
        lab.ports(&udp(1, 2, &[(0x8100, 10), (0x8100, 20), (0x8100, 30)]), 1),
        vec![3]
    );
}

#[test]
fn vlan_limit_of_one_makes_the_inner_tag_payload() {
    let rules = || {
        vec![
            flow(0, 5, "ip", vec![out(2)]),
            flow(0, 4, "dl_type=0x8100", vec![out(3)]),
        ]
    };
    let qinq = udp(1, 2, &[(0x88a8, 10), (0x8100, 20)]);
    assert_eq!(flows(rules()).ports(&qinq, 1), vec![3]);
    let mut two = flows(rules());
    two.change(|b| {
        b.settings = Arc::new(Settings {
            vlan_limit: 2,
            ..Settings::default()
        })
    });
    assert_eq!(two.ports(&qinq, 1), vec![2]);
}

#[test]
fn mpls_push_set_and_pop() {
    let ip = ipv4(17, 33, &[0, 1, 0, 2, 0, 12, 0, 0, 1, 2, 3, 4], &[]);
    let lab = all(vec![
        Action::PushMpls(EtherType::MPLS),
        Action::set(FieldId::MplsLabel, 0x12345),
        Action::set(FieldId::MplsTc, 5),
        out(2),
    ]);
    let labelled = {
        let mut f = ip.clone();
        f[12..14].copy_from_slice(&[0x88, 0x47]);
        // The TTL is that of IP, and it is the bottom of the stack.
        let lse: u32 = 0x12345 << 12 | 5 << 9 | 0x100 | 33;
        f.splice(14..14, lse.to_be_bytes());
        f
    };
    assert_eq!(lab.sent(&ip, 1), vec![(2, labelled.clone())]);
    // What the label covered is matched after another look at the frame.
    let lab = flows(vec![
        flow(
            0,
            5,
            "mpls,mpls_label=74565",
            vec![Action::PopMpls(EtherType::IPV4), resubmit(1), out(4)],
        ),
        flow(
            1,
            5,
            "udp,tp_dst=2,nw_ttl=33",
            vec![Action::DecNwTtl(Box::new([])), out(3)],
        ),
    ]);
    let mut less = ip.clone();
    less[22] = 32;
    rvs_flow::testing::fix_checksums(&mut less);
    assert_eq!(lab.sent(&labelled, 1), vec![(3, less.clone()), (4, less)]);
}

#[test]
fn pop_mpls_without_a_further_look_does_not_recirculate() {
    let lab = all(vec![
        Action::PopMpls(EtherType::IPV4),
        Action::SetEthDst(mac(9)),
        out(2),
    ]);
    let mut frame = udp(1, 2, &[]);
    frame[12..14].copy_from_slice(&[0x88, 0x47]);
    frame.splice(14..14, [0, 0, 0x11, 64]);
    let t = lab.translate(&lab.key(&Frame::from_slice(&frame), 1));
    assert!(t.frozen.is_empty());
    assert_eq!(t.actions.len(), 3);
}

/// `payload` behind one label, the last of the stack.
fn labelled(frame: &[u8], ttl: u8) -> Vec<u8> {
    let mut f = frame.to_vec();
    f[12..14].copy_from_slice(&[0x88, 0x47]);
    f.splice(14..14, [0, 0, 0x11, ttl]);
    f
}

#[test]
fn ttl_is_copied_between_the_last_label_and_ip() {
    let ip = |ttl| ipv4(17, ttl, &[0, 1, 0, 2, 0, 12, 0, 0, 1, 2, 3, 4], &[]);
    let frame = labelled(&ip(32), 64);
    let outward = all(vec![Action::CopyTtlOut, out(2)]);
    assert_eq!(outward.sent(&frame, 1), vec![(2, labelled(&ip(32), 32))]);
    let inward = all(vec![Action::CopyTtlIn, out(2)]);
    assert_eq!(inward.sent(&frame, 1), vec![(2, labelled(&ip(64), 64))]);
    // What is behind the label need not be IP.
    let mut other = labelled(&ip(32), 64);
    other[18] = 0x55;
    for lab in [&outward, &inward] {
        assert_eq!(lab.sent(&other, 1), vec![(2, other.clone())]);
        assert_eq!(lab.sent(&ip(9), 1), vec![(2, ip(9))]);
    }
    // A label that was pushed, then counted down.
    let lab = all(vec![
        Action::PushMpls(EtherType::MPLS),
        Action::DecMplsTtl,
        Action::CopyTtlIn,
        Action::PopMpls(EtherType::IPV4),
        out(2),
    ]);
    assert_eq!(lab.sent(&ip(32), 1), vec![(2, ip(31))]);
}

#[test]
fn a_copied_ttl_is_known_after_another_look() {
    let ip = |ttl| ipv4(17, ttl, &[0, 1, 0, 2, 0, 12, 0, 0, 1, 2, 3, 4], &[]);
    let lab = flows(vec![
        flow(0, 1, "mpls", vec![Action::CopyTtlOut, resubmit(1), out(4)]),
        flow(1, 1, "mpls,mpls_ttl=32", vec![Action::DecMplsTtl, out(2)]),
        flow(1, 0, "", vec![out(3)]),
    ]);
    let sent = lab.sent(&labelled(&ip(32), 64), 1);
    let less = labelled(&ip(32), 31);
    assert_eq!(sent, vec![(2, less.clone()), (4, less)]);
    let sent = lab.sent(&labelled(&ip(33), 32), 1);
    let more = labelled(&ip(33), 33);
    assert_eq!(sent, vec![(3, more.clone()), (4, more)]);
    // Counted down at once; expired, it goes nowhere.
    let lab = all(vec![Action::CopyTtlOut, Action::DecMplsTtl, out(2)]);
    let sent = lab.sent(&labelled(&ip(32), 1), 1);
    assert_eq!(sent, vec![(2, labelled(&ip(32), 31))]);
    assert_eq!(lab.sent(&labelled(&ip(1), 64), 1), vec![]);
    // Nobody looks: one pass, one flow for all TTLs.
    let lab = all(vec![Action::CopyTtlOut, out(2)]);
    let t = lab.translate(&lab.key(&Frame::from_slice(&labelled(&ip(32), 64)), 1));
    assert!(t.frozen.is_empty());
    assert_eq!(t.actions[0], DpAction::CopyTtlOut);
    assert_eq!(t.mask.0.mpls_lse[0].get(), 0);
}

#[test]
fn ttl_counts_down_and_an_expired_packet_stops() {
    let frame = |ttl| ipv4(17, ttl, &[0, 1, 0, 2, 0, 12, 0, 0, 1, 2, 3, 4], &[]);
    let mut lab = flows(vec![
        flow(0, 1, "", vec![resubmit(1), out(3)]),
        flow(
            1,
            1,
            "",
            vec![Action::DecNwTtl(Box::new([ControllerId(7)])), out(2)],
        ),
    ]);
    assert_eq!(lab.sent(&frame(2), 1), vec![(2, frame(1)), (3, frame(1))]);
    // The actions of that table stop; those of the table before go on.
    assert_eq!(lab.sent(&frame(1), 1), vec![(3, frame(1))]);
    lab.change(|b| {
        b.settings = Arc::new(Settings {
            invalid_ttl_to_controller: true,
            ..Settings::default()
        });
    });
    let fate = lab.send(&frame(1), 1);
    let reasons: Vec<_> = fate
        .packet_ins
        .iter()
        .map(|p| (p.reason, p.controller))
        .collect();
    assert_eq!(reasons, vec![(PacketInReason::InvalidTtl, ControllerId(7))]);
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

fn bucket(id: u32, watch: Option<u32>, actions: Vec<Action>) -> Bucket {
    Bucket {
        id,
        weight: 1,
        watch_port: watch.map(OfPort),
        watch_group: None,
        actions: actions.into(),
    }
}

fn group(id: u32, kind: GroupKind, buckets: Vec<Bucket>) -> Group {
    Group {
        id: GroupId(id),
        kind,
        selection: Selection::Default,
        buckets: buckets.into(),
    }
}

#[test]
fn groups_of_each_kind() {
    let frame = ether(mac(2), mac(1), &[]);
    let lab = |groups| all(vec![Action::Group(GroupId(1)), out(4)]).with_groups(groups);
    let every = group(
        1,
        GroupKind::All,
        vec![
            bucket(0, None, vec![out(2), Action::SetEthDst(mac(9))]),
            bucket(1, None, vec![out(3)]),
        ],
    );
    // The set-field comes before the output, and the other bucket and the output after the group do not see it.
    let changed = ether(mac(9), mac(1), &[]);
    assert_eq!(
        lab(vec![every]).sent(&frame, 1),
        vec![(2, changed), (3, frame.clone()), (4, frame.clone())]
    );
    let failover = || {
        group(
            1,
            GroupKind::FastFailover,
            vec![
                bucket(0, Some(2), vec![out(2)]),
                bucket(1, Some(3), vec![out(3)]),
            ],
        )
    };
    assert_eq!(lab(vec![failover()]).ports(&frame, 1), vec![2, 4]);
    let mut down = lab(vec![failover()]);
    down.change(|b| {
        let with = |mut p: Port| {
            p.live = p.of != OfPort(2);
            (p, VlanMode::default())
        };
        b.ports = Arc::new(Ports::singles(b.ports.iter().cloned().map(with)).unwrap());
    });
    assert_eq!(down.ports(&frame, 1), vec![3, 4]);
    let indirect = group(
        1,
        GroupKind::Indirect,
        vec![bucket(0, None, vec![Action::Group(GroupId(2))])],
    );
    let end = group(2, GroupKind::Indirect, vec![bucket(0, None, vec![out(3)])]);
    assert_eq!(lab(vec![indirect, end]).ports(&frame, 1), vec![3, 4]);
    assert_eq!(
        lab(vec![]).ports(&frame, 1),
        vec![4],
        "a group that is not there is nothing"
    );
}

#[test]
fn a_select_group_keeps_a_flow_together_and_spreads_flows() {
    let buckets = (0..3).map(|n| bucket(n, None, vec![out(n + 2)])).collect();
    let lab = all(vec![Action::Group(GroupId(1))]).with_groups(vec![group(
        1,
        GroupKind::Select,
        buckets,
    )]);
    let port = |src: u16| {
        let fate = lab.send(&udp(src, 2, &[]), 1);
        assert_eq!(fate.outputs.len(), 1);
        fate.outputs[0].0 .0
    };
    let mut counts = [0; 5];
    for src in 0..600 {
        assert_eq!(port(src), port(src));
        counts[port(src) as usize] += 1;
    }
    assert!(
        counts[2..].iter().all(|n| (130..270).contains(n)),
        "{counts:?}"
    );
    // What was hashed is in the mask.
    let t = lab.translate(&lab.key(&Frame::from_slice(&udp(5, 2, &[])), 1));
    assert_eq!(t.mask.0.tp_src.get(), 0xffff);
}

#[test]
fn conjunctions_need_every_clause() {
    let clause = |clause| {
        vec![Action::Conjunction {
            id: 7,
            clause,
            n_clauses: 2,
        }]
    };
    let lab = flows(vec![
        flow(0, 10, "ip,nw_src=10.0.0.1", clause(0)),
        flow(0, 10, "ip,nw_src=10.0.0.3", clause(0)),
        flow(0, 10, "udp,tp_dst=2", clause(1)),
        flow(0, 10, "udp,tp_dst=4", clause(1)),
        flow(0, 10, "conj_id=7,ip", vec![out(2)]),
        flow(0, 1, "", vec![out(3)]),
    ]);
    assert_eq!(lab.ports(&udp(1, 2, &[]), 1), vec![2]);
    assert_eq!(lab.ports(&udp(1, 4, &[]), 1), vec![2]);
    assert_eq!(lab.ports(&udp(1, 5, &[]), 1), vec![3]);
    let mut other = udp(1, 2, &[]);
    other[29] = 9;
    rvs_flow::testing::fix_checksums(&mut other);
    assert_eq!(lab.ports(&other, 1), vec![3]);
    // Every clause's field is in the mask, also of the packet that matched none.
    let t = lab.translate(&lab.key(&Frame::from_slice(&other), 1));
    assert_eq!(t.mask.0.nw_src, [0xff; 4]);
}

#[test]
fn learn_makes_a_flow_out_of_the_packet() {
    let learn = Learn {
        table: TableId(5),
        priority: 9,
        cookie: 0x77,
        idle_timeout: 10,
        hard_timeout: 20,
        fin_idle_timeout: 0,
        fin_hard_timeout: 0,
        send_flow_removed: false,
        delete_learned: false,
        limit: 0,
        result: None,
        specs: Box::new([
            LearnSpec {
                src: LearnSrc::Field(whole(FieldId::EthSrc)),
                dst: LearnDst::Match(whole(FieldId::EthDst)),
            },
            LearnSpec {
                src: LearnSrc::Value(6),
                dst: LearnDst::Load(reg(0, 0, 15)),
            },
            LearnSpec {
                src: LearnSrc::Field(whole(FieldId::InPort)),
                dst: LearnDst::Output,
            },
        ]),
    };
    let lab = all(vec![Action::Learn(Box::new(learn)), out(2)]);
    let t = lab.translate(&lab.key(&Frame::from_slice(&udp(1, 2, &[])), 1));
    let learned: Vec<_> = t
        .effects
        .iter()
        .filter_map(|e| match e {
            CachedEffect::LearnFlow { flow, .. } => Some(flow.clone()),
            _ => None,
        })
        .collect();
    let want = Match::parse("dl_dst=02:00:00:00:00:01", &NoPortNames).unwrap();
    assert_eq!(learned[0].matching, want);
    assert_eq!(
        *learned[0].instructions.apply,
        [Action::load(reg(0, 0, 15), 6), out(1)]
    );
    assert_eq!(
        (learned[0].table, learned[0].priority, learned[0].cookie),
        (TableId(5), 9, 0x77)
    );
    assert_eq!(
        t.mask.0.dl_src, [0xff; 6],
        "what was learned from is in the mask"
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
                Action::Controller(Box::new(ControllerAction {
                    max_len: 0xffff,
                    controller: ControllerId(0),
                    reason: PacketInReason::Action,
                    userdata: Box::new([]),
                    pause: true,
                    meter: None,
                })),
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
fn check_pkt_larger_takes_both_branches() {
    let lab = flows(vec![
        flow(
            0,
            1,
            "",
            vec![
                Action::CheckPktLarger {
                    dst: reg(0, 0, 0),
                    len: 100,
                },
                Action::SetEthDst(mac(9)),
                resubmit(1),
            ],
        ),
        flow(1, 1, "reg0=1", vec![out(2)]),
        flow(1, 1, "reg0=0", vec![out(3)]),
    ]);
    let small = udp(1, 2, &[]);
    let mut large = small.clone();
    large.resize(101, 0);
    assert_eq!(
        (lab.ports(&small, 1), lab.ports(&large, 1)),
        (vec![3], vec![2])
    );
}

#[test]
fn multipath_and_bundle_choose_by_flow() {
    let lab = all(vec![
        Action::Multipath(Box::new(Multipath {
            fields: HashFields::SymmetricL3L4Udp,
            basis: 0,
            algorithm: MultipathAlgorithm::HashThreshold,
            max_link: 1,
            arg: 0,
            dst: reg(0, 0, 0),
        })),
        resubmit(1),
    ]);
    let t = lab.translate(&lab.key(&Frame::from_slice(&udp(1, 2, &[])), 1));
    assert_eq!(
        (t.mask.0.tp_src.get(), t.mask.0.nw_src),
        (0xffff, [0xff; 4])
    );
    let bundle = |dead: u32| {
        let mut lab = all(vec![Action::Bundle(Box::new(BundleAction {
            algorithm: BundleAlgorithm::ActiveBackup,
            fields: HashFields::EthSrc,
            basis: 0,
            members: Box::new([OfPort(2), OfPort(3)]),
            dst: None,
        }))]);
        lab.change(|b| {
            let with = |mut p: Port| {
                p.live = p.of != OfPort(dead);
                (p, VlanMode::default())
            };
            b.ports = Arc::new(Ports::singles(b.ports.iter().cloned().map(with)).unwrap());
        });
        let fate: Fate = lab.send(&udp(1, 2, &[]), 1);
        fate.outputs[0].0
    };
    assert_eq!((bundle(9), bundle(2)), (DpPort(2), DpPort(3)));
}

/// What is behind a new type, protocol number or bottom-of-stack bit is parsed anew before anything looks at it.
#[test]
fn what_announces_the_rest_is_written() {
    let frame = udp(1, 2, &[(0x8100, 0x6064)]);
    let lab = flows(vec![
        flow(
            0,
            1,
            "ip",
            vec![Action::set(FieldId::EthType, 0x9999), resubmit(1)],
        ),
        flow(1, 2, "ip", vec![out(9)]),
        flow(
            1,
            1,
            "dl_type=0x9999",
            vec![
                out(2),
                Action::set(FieldId::EthType, 0x0800),
                Action::set(FieldId::IpTtl, 7),
                out(3),
            ],
        ),
    ]);
    let mut other = frame.clone();
    other[16..18].copy_from_slice(&[0x99, 0x99]);
    let sent = lab.sent(&frame, 1);
    assert_eq!(sent[0], (2, other));
    assert_eq!((sent[1].0, sent[1].1[18 + 8]), (3, 7), "IP again");
    let lab = flows(vec![
        flow(
            0,
            1,
            "udp",
            vec![Action::set(FieldId::IpProto, 132), resubmit(1)],
        ),
        flow(1, 1, "sctp,sctp_dst=2", vec![out(2)]),
    ]);
    let sent = lab.sent(&frame, 1);
    assert_eq!((sent[0].0, sent[0].1[18 + 9]), (2, 132));
    let lab = flows(vec![
        flow(
            0,
            1,
            "mpls,mpls_bos=1",
            vec![Action::set(FieldId::MplsBos, 0), resubmit(1)],
        ),
        flow(1, 1, "mpls,mpls_bos=0", vec![out(2)]),
    ]);
    let labelled = |bos: u8| {
        let mut f = udp(1, 2, &[]);
        f[12..14].copy_from_slice(&[0x88, 0x47]);
        f.splice(14..14, [0, 1, bos, 64]);
        f
    };
    assert_eq!(lab.sent(&labelled(1), 1), vec![(2, labelled(0))]);
}

#[test]
fn pbb_push_and_pop() {
    let inner = udp(1, 2, &[(0x8100, 0x6064)]);
    let lab = all(vec![
        Action::PushPbb(EtherType::PBB),
        Action::set(FieldId::PbbIsid, 0xabcdef),
        Action::SetEthDst(mac(0x20)),
        out(2),
    ]);
    let sent = lab.sent(&inner, 1);
    let mut want = Vec::new();
    want.extend(mac(0x20).0);
    want.extend(mac(1).0);
    // I-PCP is the tag's priority.
    want.extend([0x88, 0xe7, 0x60, 0xab, 0xcd, 0xef]);
    want.extend(&inner);
    assert_eq!(sent, vec![(2, want.clone())]);
    let back = flows(vec![
        flow(
            0,
            1,
            "dl_type=0x88e7,pbb_isid=0xabcdef",
            vec![Action::PopPbb, resubmit(1)],
        ),
        flow(
            1,
            1,
            "udp,dl_vlan=100,dl_dst=02:00:00:00:00:02",
            vec![out(3)],
        ),
    ]);
    assert_eq!(back.sent(&want, 1), vec![(3, inner.clone())]);
    // A second header has the service instance of the first, not its UCA.
    let lab = flows(vec![
        flow(
            0,
            1,
            "dl_type=0x88e7,pbb_uca=0",
            vec![Action::set(FieldId::PbbUca, 1), out(2)],
        ),
        flow(
            0,
            1,
            "dl_type=0x88e7,pbb_uca=1",
            vec![Action::PushPbb(EtherType::PBB), out(3)],
        ),
    ]);
    let mut used = want.clone();
    used[14] |= 8;
    assert_eq!(lab.sent(&want, 1), vec![(2, used.clone())]);
    let head = [&used[..14], &[0, 0xab, 0xcd, 0xef]].concat();
    assert_eq!(lab.sent(&used, 1), vec![(3, [head, used].concat())]);
}

#[test]
fn a_patch_carries_the_packet_into_the_other_bridge_and_nothing_else() {
    let two = |id: u32, rules: Vec<_>| {
        let dev = |of: u32| Port::device(OfPort(of), DpPort(id * 10 + of), "d");
        let patch = Port::patch(OfPort(9), Some((BridgeId(3 - id), OfPort(9))), "patch");
        let mut b = Bridge::new(BridgeId(id), &format!("br{id}"));
        let ports = [dev(1), dev(2), patch].map(|p| (p, VlanMode::default()));
        b.ports = Arc::new(Ports::singles(ports).unwrap());
        b.tables = Arc::new(Tables::default().with(Arc::new(common::table_with(0, rules))));
        b
    };
    let lab = Lab::new([
        two(
            1,
            vec![flow(
                0,
                1,
                "",
                vec![Action::load(reg(0, 0, 15), 1), out(9), out(2)],
            )],
        ),
        two(
            2,
            vec![
                flow(0, 2, "reg0=1", vec![]),
                flow(0, 1, "in_port=9", vec![Action::SetEthDst(mac(9)), out(1)]),
            ],
        ),
    ]);
    let plain = ether(mac(2), mac(1), &[]);
    assert_eq!(
        lab.sent(&plain, 11),
        vec![(12, plain.clone()), (21, ether(mac(9), mac(1), &[]))]
    );
    let t = lab.translate(&lab.key(&Frame::from_slice(&plain), 11));
    assert_eq!(t.deps.bridges, vec![BridgeId(1), BridgeId(2)]);
    assert!(t
        .effects
        .iter()
        .any(|e| matches!(e, CachedEffect::PatchHit { .. })));
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
