//! Groups, multipath, conjunctions and learned flows: what chooses.

use super::*;

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

/// Whatever the method: shares follow the weights, and when a bucket dies and lives again, its flows alone move, by the weights
/// of the others.
#[test]
fn a_select_group_shares_by_weight_and_moves_few_flows() {
    const FLOWS: u16 = 8000;
    let source = (rvs_flow::FieldId::UdpSrc, 0xffff);
    let methods = [
        Selection::Default,
        Selection::DpHash { param: 0 },
        Selection::DpHash { param: 77 },
        Selection::Hash {
            param: 5,
            fields: [source].into(),
        },
    ];
    let mut seen = Vec::new();
    for selection in methods {
        let weights = [1, 2, 5];
        let bucket = |n: u32| Bucket {
            weight: weights[n as usize],
            ..bucket(n, Some(n + 2), vec![out(n + 2)])
        };
        let buckets = (0..3).map(bucket).collect();
        let group = Group {
            selection: selection.clone(),
            ..group(1, GroupKind::Select, buckets)
        };
        let mut lab = all(vec![Action::Group(GroupId(1))]).with_groups(vec![group]);
        let ports = |lab: &Lab| -> Vec<u32> {
            let port = |src| lab.send(&udp(src, 2, &[]), 1).outputs[0].0 .0;
            (0..FLOWS).map(port).collect()
        };
        let share = |of: &[u32], port, part: f64| {
            let n = of.iter().filter(|p| **p == port).count() as f64;
            let total = of.len() as f64;
            assert!(
                (n / total - part).abs() < 0.02,
                "{selection:?}: {port} {n} of {total}"
            );
        };
        let before = ports(&lab);
        for (port, part) in [(2, 0.125), (3, 0.25), (4, 0.625)] {
            share(&before, port, part);
        }
        let live = |lab: &mut Lab, on: bool| {
            lab.change(|b| {
                let with = |mut p: Port| {
                    p.live = on || p.of != OfPort(4);
                    (p, VlanMode::default())
                };
                b.ports = Arc::new(Ports::singles(b.ports.iter().cloned().map(with)).unwrap());
            });
        };
        live(&mut lab, false);
        let without = ports(&lab);
        let (mut moved, mut stayed) = (Vec::new(), true);
        for (old, new) in before.iter().zip(&without) {
            match old {
                4 => moved.push(*new),
                _ => stayed &= old == new,
            }
        }
        assert!(stayed, "{selection:?}");
        share(&moved, 2, 1.0 / 3.0);
        share(&moved, 3, 2.0 / 3.0);
        live(&mut lab, true);
        assert_eq!(ports(&lab), before);
        seen.push(before);
        let mask = lab
            .translate(&lab.key(&Frame::from_slice(&udp(5, 2, &[])), 1))
            .mask;
        let named = matches!(selection, Selection::Hash { .. });
        assert_eq!(mask.0.tp_src.get(), 0xffff);
        assert_eq!(mask.0.tp_dst.get(), if named { 0 } else { 0xffff });
    }
    assert_eq!(seen[0], seen[1], "the usual method is dp_hash");
    assert_ne!(seen[0], seen[2], "the parameter counts");
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
    assert!(learned[0].by_flow);
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

/// Queues are classes `1:(n + 1)`; a bucket's or clone's choice ends with it, `enqueue`'s with its output.
#[test]
fn queues_sort_what_leaves_behind_them() {
    use rvs_dpif::DpAction as D;
    let frame = ether(mac(2), mac(1), &[]);
    let actions_of = |actions: Vec<Action>| {
        let lab = all(actions);
        let key = lab.key(&rvs_packet::Frame::from_slice(&frame), 1);
        lab.translate(&key).actions
    };
    let to = |n: u32| actions_of(vec![out(n)])[0].clone();
    let q = |n: u32| D::Priority(0x1_0000 | (n + 1));
    assert_eq!(
        actions_of(vec![
            Action::SetQueue(5),
            Action::SetQueue(6),
            out(2),
            Action::SetQueue(6),
            out(3),
            Action::PopQueue,
            out(4),
            Action::SetQueue(9),
        ]),
        [q(6), to(2), to(3), D::Priority(0), to(4)]
    );
    let enqueue = Action::Enqueue {
        port: OfPort(2),
        queue: 0,
    };
    assert_eq!(
        actions_of(vec![Action::SetQueue(5), enqueue, out(3)]),
        [q(0), to(2), q(5), to(3)]
    );
    let clone = Action::Clone(vec![Action::SetQueue(5), out(2)].into());
    let inner = [q(5), to(2)];
    assert_eq!(
        actions_of(vec![clone, out(3)]),
        [D::Clone(inner.into()), to(3)]
    );
    // There is no such queue.
    assert_eq!(actions_of(vec![Action::SetQueue(61_440), out(2)]), [to(2)]);
}

/// The queue stays chosen behind a recirculation, where an `enqueue` gives way to it again, and behind a pause, where the frame
/// that comes back knows nothing of it.
#[test]
fn a_queue_is_remembered_by_what_goes_on_later() {
    use rvs_dpif::DpAction as D;
    let q = |n: u32| D::Priority(0x1_0000 | (n + 1));
    let to = |n: u32| D::Output(DpPort(n));
    let enqueue = Action::Enqueue {
        port: OfPort(2),
        queue: 0,
    };
    let after = vec![enqueue, out(3)];
    let mut lab = flows(vec![
        flow(
            0,
            1,
            "mpls",
            vec![
                Action::SetQueue(5),
                Action::PopMpls(EtherType::IPV4),
                resubmit(1),
            ],
        ),
        flow(1, 1, "udp", after.clone()),
    ]);
    let plain = udp(1, 2, &[]);
    let mut labelled = plain.clone();
    labelled[12..14].copy_from_slice(&[0x88, 0x47]);
    labelled.splice(14..14, [0, 0, 0x11, 64]);
    let t = lab.translate(&lab.key(&Frame::from_slice(&labelled), 1));
    assert_eq!(t.actions[0], q(5));
    lab.frozen
        .insert(1, std::sync::Arc::new(t.frozen[0].clone()));
    let mut key = lab.key(&Frame::from_slice(&plain), 1);
    key.recirc_id = 1;
    assert_eq!(lab.translate(&key).actions, [q(0), to(2), q(5), to(3)]);

    let mut actions = vec![Action::SetQueue(5), paused(), out(4)];
    actions.extend(after);
    let lab = all(actions);
    key.recirc_id = 0;
    let t = lab.translate(&key);
    let PuntNote::PacketIn(note) = &t.notes[0] else {
        panic!("{:?}", t.notes)
    };
    let state = note.paused.as_deref().unwrap();
    let on = rvs_pipeline::translate_actions(&lab.view(), &key, state, &mut rvs_pipeline::NoTrace);
    assert_eq!(on.actions, [q(5), to(4), q(0), to(2), q(5), to(3)]);
}

/// Each port writes what its queue says, for itself alone; where there is no DSCP nothing is written.
#[test]
fn a_queue_writes_its_dscp_at_each_port_that_has_one() {
    let port = |n: u32, marks: &[(u32, u8)]| {
        let mut port = Port::device(OfPort(n), DpPort(n), "p");
        port.dscp = marks.into();
        (port, VlanMode::default())
    };
    let queue = |n: u32| 0x1_0001 + n;
    let enqueue = |port, queue| Action::Enqueue {
        port: OfPort(port),
        queue,
    };
    let mut lab = all(vec![
        enqueue(2, 0),
        enqueue(2, 1),
        enqueue(3, 0),
        enqueue(3, 1),
        out(2),
        Action::SetQueue(2),
        out(3),
    ]);
    lab.change(|b| {
        let ports = [
            port(1, &[]),
            port(2, &[(queue(0), 11), (queue(1), 12)]),
            port(3, &[(queue(0), 21), (queue(1), 0)]),
        ];
        b.ports = Arc::new(Ports::singles(ports).unwrap());
    });
    let mut ip = udp(1, 2, &[]);
    ip[15] = 5 << 2 | 1;
    rvs_flow::testing::fix_checksums(&mut ip);
    let mut labelled = ip.clone();
    labelled[12..14].copy_from_slice(&[0x88, 0x47]);
    labelled.splice(14..14, [0, 0, 0x11, 64]);
    let dscp = |frame: &[u8]| -> Vec<(u32, u8)> {
        let sent = lab.sent(frame, 1).into_iter();
        sent.map(|(port, f)| (port, f[15] >> 2)).collect()
    };
    assert_eq!(
        dscp(&ip),
        [(2, 5), (2, 11), (2, 12), (3, 0), (3, 5), (3, 21)]
    );
    assert!(
        lab.sent(&ip, 1).iter().all(|(_, f)| f[15] & 3 == 1),
        "ECN stays"
    );
    for other in [arp(), labelled.clone()] {
        let sent = lab.sent(&other, 1);
        assert_eq!(sent.len(), 6);
        assert!(sent.iter().all(|(_, f)| *f == other));
    }
    // What a pop uncovers has one too.
    let table = table_with(
        0,
        [flow(
            0,
            1,
            "mpls",
            vec![Action::PopMpls(EtherType::IPV4), enqueue(2, 0), out(3)],
        )],
    );
    lab.change(|b| b.tables = Arc::new(Tables::default().with(Arc::new(table))));
    let sent = lab.sent(&labelled, 1).into_iter();
    let dscp: Vec<_> = sent.map(|(port, f)| (port, f[15] >> 2)).collect();
    assert_eq!(dscp, [(2, 11), (3, 5)]);
}

fn arp() -> Vec<u8> {
    let mut b = ether(mac(2), mac(1), &[]);
    b[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    b
}
