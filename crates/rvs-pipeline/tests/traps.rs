//! Wrong forwarding by Open vSwitch, on the record: each as a named test, in every order of the packets, with a cache made
//! of the megaflows of the packets before.
#![allow(clippy::unwrap_used)]

mod common;

use common::{flow, flows, ipv4, mac, tcp, udp, Lab};
use rvs_flow::field::FieldId;
use rvs_flow::{FlowKey, Mask, OfPort};
use rvs_openflow::{Action, Group, GroupId};
use rvs_packet::{Frame, MacAddr};

fn out(port: u32) -> Vec<Action> {
    vec![Action::output(OfPort(port))]
}

/// Sends the frames in every order through a cache that trusts every mask, and checks that each fares as alone.
fn in_every_order(lab: &Lab, port: u32, frames: &[(&str, Vec<u8>, Vec<u32>)]) {
    for (name, frame, want) in frames {
        assert_eq!(lab.ports(frame, port), *want, "{name} alone");
    }
    let keys: Vec<FlowKey> = frames
        .iter()
        .map(|(_, f, _)| lab.key(&Frame::from_slice(f), port))
        .collect();
    for order in permutations(frames.len()) {
        let mut cache: Vec<(FlowKey, Mask<FlowKey>, usize)> = Vec::new();
        for i in order {
            let (name, frame, want) = &frames[i];
            let hit = cache
                .iter()
                .find(|(k, m, _)| m.same(k, &keys[i]))
                .map(|(.., by)| *by);
            let by = hit.unwrap_or_else(|| {
                cache.push((keys[i], lab.translate(&keys[i]).mask, i));
                i
            });
            let frame = Frame::from_slice(frame);
            let fate = lab.execute(lab.translate(&keys[by]), &frame, port).sorted();
            let got: Vec<u32> = fate.outputs.iter().map(|(p, _)| p.0).collect();
            assert_eq!(got, *want, "{name}, by the megaflow of {}", frames[by].0);
            let alone = lab.interpret(frame.bytes(), port).sorted();
            assert_eq!(fate, alone, "{name}, by the megaflow of {}", frames[by].0);
        }
    }
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for shorter in permutations(n - 1) {
        for at in 0..=shorter.len() {
            let mut p = shorter.clone();
            p.insert(at, n - 1);
            all.push(p);
        }
    }
    all
}

#[test]
fn b1_tcp_flags_of_a_failed_rule_stay_in_the_mask() {
    let lab = flows(vec![
        flow(0, 10, "tcp,tp_dst=80,tcp_flags=+psh", vec![]),
        flow(0, 0, "", out(2)),
    ]);
    in_every_order(
        &lab,
        1,
        &[
            ("SYN", tcp(80, 0x02), vec![2]),
            ("PSH", tcp(80, 0x18), vec![]),
            ("other", tcp(81, 0x18), vec![2]),
        ],
    );
}

#[test]
fn b2_a_set_field_never_removes_mask_bits() {
    let to = |dst: u8, src: u8| {
        let mut f = udp(1, 2, &[]);
        f[..6].copy_from_slice(&mac(dst).0);
        f[6..12].copy_from_slice(&mac(src).0);
        f
    };
    let mut rewrite = vec![Action::SetEthDst(mac(0x0a))];
    rewrite.extend(out(2));
    let lab = flows(vec![flow(
        0,
        5,
        "in_port=1,dl_src=02:00:00:00:00:09",
        rewrite,
    )]);
    in_every_order(
        &lab,
        1,
        &[
            ("09 to 0a", to(0x0a, 9), vec![2]),
            ("09 to 0c", to(0x0c, 9), vec![2]),
            ("0b to 0c", to(0x0c, 0x0b), vec![]),
        ],
    );
}

#[test]
fn b2_a_set_field_before_a_match_on_the_same_field() {
    let lab = flows(vec![
        flow(
            0,
            5,
            "dl_dst=02:00:00:00:00:02",
            vec![
                Action::SetEthDst(mac(7)),
                Action::Resubmit {
                    port: None,
                    table: Some(rvs_openflow::TableId(1)),
                },
            ],
        ),
        flow(1, 5, "dl_dst=02:00:00:00:00:07", out(2)),
        flow(1, 4, "", out(3)),
    ]);
    let mut other = udp(1, 2, &[]);
    other[5] = 9;
    in_every_order(
        &lab,
        1,
        &[
            ("matching", udp(1, 2, &[]), vec![2]),
            ("other", other, vec![]),
        ],
    );
}

#[test]
fn b3_the_absence_of_a_tag_is_in_the_mask() {
    let lab = flows(vec![
        flow(0, 110, "in_port=1,dl_vlan=10", out(2)),
        flow(0, 100, "in_port=1", out(3)),
    ]);
    let tagged = |tci| udp(1, 2, &[(0x8100, tci)]);
    in_every_order(
        &lab,
        1,
        &[
            ("untagged", udp(1, 2, &[]), vec![3]),
            ("VID 10", tagged(10), vec![2]),
            ("VID 11", tagged(11), vec![3]),
            ("priority-tagged", tagged(0), vec![3]),
        ],
    );
}

#[test]
fn cve_2016_10377_a_broken_ip_header_matches_no_address() {
    let lab = flows(vec![
        flow(0, 5, "ip,nw_src=0.0.0.0/8", out(2)),
        flow(0, 1, "ip", out(3)),
    ]);
    let mut frames = vec![("whole", udp(1, 2, &[]), vec![3])];
    for (name, at, value) in [
        ("total length 16", 17, 0x10u8),
        ("header length 15", 14, 0x4f),
        ("header length 1", 14, 0x41),
        ("header length 0", 14, 0x40),
    ] {
        let mut f = udp(1, 2, &[]);
        f[at] = value;
        frames.push((name, f, vec![3]));
    }
    in_every_order(&lab, 1, &frames);
}

#[test]
fn cve_2017_9264_a_broken_tcp_header_has_no_ports() {
    let lab = flows(vec![
        flow(0, 9, "tcp,tp_dst=22", vec![]),
        flow(0, 8, "tcp,tp_dst=0", out(4)),
        flow(0, 5, "tcp", out(2)),
    ]);
    let bent = |offset: u8| {
        let mut f = tcp(22, 2);
        f[46] = offset;
        f
    };
    // Without ports it is TCP still; no rule about ports applies to it.
    in_every_order(
        &lab,
        1,
        &[
            ("whole", tcp(22, 2), vec![]),
            ("data offset 15", bent(0xf0), vec![2]),
            ("data offset 1", bent(0x10), vec![2]),
            ("another port", tcp(80, 2), vec![2]),
        ],
    );
}

#[test]
fn cve_2020_35498_padding_does_not_widen_a_megaflow() {
    let lab = flows(vec![
        flow(0, 5, "ip,nw_dst=10.0.0.1", out(3)),
        flow(0, 5, "ip,nw_dst=10.0.0.2", out(2)),
        flow(0, 0, "", vec![]),
    ]);
    let padded = |n: usize| {
        let mut f = udp(1, 2, &[]);
        f.resize(f.len() + n, 0);
        f
    };
    in_every_order(
        &lab,
        1,
        &[
            ("plain", padded(0), vec![2]),
            ("255 octets", padded(255), vec![2]),
            ("256 octets", padded(256), vec![2]),
            ("up to the MTU", padded(1468), vec![2]),
        ],
    );
}

#[test]
fn cve_2023_1668_protocol_0_is_pinned() {
    let actions = vec![
        Action::SetNwTos(32),
        Action::DecNwTtl(Box::new([])),
        Action::output(OfPort(2)),
    ];
    let lab = flows(vec![flow(0, 5, "ip", actions)]);
    in_every_order(
        &lab,
        1,
        &[
            ("protocol 0", ipv4(0, 64, &[0; 8], &[]), vec![2]),
            ("UDP", udp(1, 2, &[]), vec![2]),
        ],
    );
}

/// A neighbour advertisement for a target, without options.
fn advertisement(target: [u8; 16]) -> Vec<u8> {
    let mut f = Vec::new();
    f.extend(mac(2).0);
    f.extend(mac(1).0);
    f.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255]);
    f.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    f.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    f.extend([136, 0, 0, 0, 0, 0, 0, 0]);
    f.extend(target);
    rvs_flow::testing::fix_checksums(&mut f);
    f
}

#[test]
fn cve_2023_5366_the_nd_target_is_in_the_mask() {
    let mut good = [0u8; 16];
    (good[0], good[1], good[15]) = (0x20, 0x01, 0x92);
    let mut bad = good;
    bad[0] = 0x30;
    let lab = flows(vec![
        flow(0, 10, "icmp6,icmp_type=136,nd_target=2001::92", out(2)),
        flow(0, 5, "icmp6,icmp_type=136", vec![]),
    ]);
    in_every_order(
        &lab,
        1,
        &[
            ("foreign", advertisement(bad), vec![]),
            ("own", advertisement(good), vec![2]),
        ],
    );
}

#[test]
fn cve_2024_1151_groups_that_lead_to_each_other_end() {
    let group = |id: u32, next: u32| Group {
        id: GroupId(id),
        kind: rvs_openflow::GroupKind::All,
        selection: rvs_openflow::Selection::Default,
        buckets: Box::new([rvs_openflow::Bucket {
            id: 0,
            weight: 1,
            watch_port: None,
            watch_group: None,
            actions: vec![Action::output(OfPort(2)), Action::Group(GroupId(next))].into(),
        }]),
    };
    let lab = flows(vec![flow(0, 1, "", vec![Action::Group(GroupId(1))])])
        .with_groups(vec![group(1, 2), group(2, 1)]);
    assert!(lab.sent(&udp(1, 2, &[]), 1).is_empty());
}

/// A bucket that watches a group.
fn watching(group: u32, actions: Vec<Action>) -> rvs_openflow::Bucket {
    rvs_openflow::Bucket {
        id: 0,
        weight: 0,
        watch_port: None,
        watch_group: Some(GroupId(group)),
        actions: actions.into(),
    }
}

fn failover(id: u32, buckets: Vec<rvs_openflow::Bucket>) -> Group {
    Group {
        id: GroupId(id),
        kind: rvs_openflow::GroupKind::FastFailover,
        selection: rvs_openflow::Selection::Default,
        buckets: buckets.into(),
    }
}

/// Buckets that watch their own group twice would be asked 2^64 times if groups were visited again.
#[test]
fn groups_that_watch_each_other_are_asked_once() {
    let run = |groups| {
        let lab = flows(vec![flow(0, 1, "", vec![Action::Group(GroupId(1))])]).with_groups(groups);
        lab.sent(&udp(1, 2, &[]), 1)
    };
    let ring =
        |id: u32, next: u32| failover(id, vec![watching(next, out(2)), watching(id, out(3))]);
    assert!(run(vec![ring(1, 1)]).is_empty());
    assert!(run(vec![ring(1, 2), ring(2, 3), ring(3, 1)]).is_empty());
    // Somewhere in the ring there is one that lives.
    let mut alive = ring(3, 1);
    let mut buckets = alive.buckets.to_vec();
    buckets.push(rvs_openflow::Bucket {
        watch_port: Some(OfPort(2)),
        ..watching(3, out(3))
    });
    alive.buckets = buckets.into();
    let sent = run(vec![ring(1, 2), ring(2, 3), alive]);
    assert_eq!(sent.iter().map(|(p, _)| *p).collect::<Vec<_>>(), [2]);
}

/// Four buckets each, fifteen deep, and nothing comes out at the end: 10^9 buckets.
#[test]
fn groups_that_multiply_end() {
    let group = |id: u32, actions: Vec<Action>| Group {
        kind: rvs_openflow::GroupKind::All,
        buckets: vec![
            rvs_openflow::Bucket {
                watch_group: None,
                ..watching(0, actions)
            };
            4
        ]
        .into(),
        ..failover(id, Vec::new())
    };
    let groups = (1..=15)
        .map(|id| group(id, vec![Action::Group(GroupId(id + 1))]))
        .chain([group(16, Vec::new())])
        .collect();
    let lab = flows(vec![flow(0, 1, "", vec![Action::Group(GroupId(1))])]).with_groups(groups);
    let t = lab.translate(&lab.key(&Frame::from_slice(&udp(1, 2, &[])), 1));
    assert_eq!(t.drop, Some(rvs_dpif::DropReason::TooManyResubmits));
    assert!(t.effects.len() < 10_000);
}

#[test]
fn resubmits_without_end_end() {
    let again = Action::Resubmit {
        port: None,
        table: Some(rvs_openflow::TableId(0)),
    };
    let mut actions = out(2);
    actions.extend([again.clone(), again]);
    let lab = flows(vec![flow(0, 1, "", actions)]);
    let key = lab.key(&Frame::from_slice(&udp(1, 2, &[])), 1);
    let t = lab.translate(&key);
    assert!(t.actions.is_empty());
    assert_eq!(t.drop, Some(rvs_dpif::DropReason::TooDeep));
    assert!(lab.sent(&udp(1, 2, &[]), 1).is_empty());
}

#[test]
fn cve_2022_2639_outputs_beyond_the_limit_drop_the_packet() {
    let lab = |n: usize| flows(vec![flow(0, 1, "", vec![Action::output(OfPort(2)); n])]);
    let frame = udp(1, 2, &[]);
    assert_eq!(lab(4096).send(&frame, 1).outputs.len(), 4096);
    let over = lab(4097);
    let t = over.translate(&over.key(&Frame::from_slice(&frame), 1));
    assert_eq!(
        (t.actions.len(), t.drop),
        (0, Some(rvs_dpif::DropReason::TooManyActions))
    );
}

#[test]
fn cve_2025_40254_a_field_of_an_absent_header_is_never_written() {
    let frames = [
        udp(1, 2, &[]),
        tcp(80, 2),
        common::ether(mac(2), mac(1), &[]),
        advertisement([0x20; 16]),
        ipv4(17, 64, &[0, 1], &[]),
    ];
    for field in rvs_flow::field::FIELDS
        .iter()
        .filter(|f| f.writable && !f.is_vlan())
    {
        let set = Action::set(field.id, field.max());
        let lab = flows(vec![flow(0, 1, "", vec![set, Action::output(OfPort(2))])]);
        for frame in &frames {
            let key = lab.key(&Frame::from_slice(frame), 1);
            let key = rvs_flow::PipelineKey {
                flow: key,
                ..Default::default()
            };
            let sent = lab.sent(frame, 1);
            if !field.exists_in(&key)
                && field.id != FieldId::InPortOxm
                && field.id != FieldId::InPort
            {
                assert_eq!(sent, vec![(2, frame.clone())], "{field}");
            }
        }
    }
}

#[test]
fn reserved_multicast_stays_on_its_link() {
    let reserved: [[u8; 6]; 6] = [
        [1, 0x80, 0xc2, 0, 0, 0],
        [1, 0x80, 0xc2, 0, 0, 0x0f],
        [1, 0, 0x0c, 0xcc, 0xcc, 0xcc],
        [1, 0, 0x0c, 0xcc, 0xcc, 0xcd],
        [0, 0xe0, 0x2b, 0, 0, 4],
        [1, 0, 0x0c, 0xcc, 0xcc, 0xc3],
    ];
    let mut lab = flows(vec![flow(0, 0, "", vec![Action::output(OfPort::NORMAL)])]);
    let frame = |dst| common::ether(MacAddr(dst), mac(1), &[]);
    for dst in reserved {
        assert!(lab.sent(&frame(dst), 1).is_empty(), "{dst:02x?}");
    }
    assert_eq!(
        lab.ports(&frame([1, 0x80, 0xc2, 0, 0, 0x10]), 1),
        vec![2, 3, 4]
    );
    lab.change(|b| {
        b.settings = std::sync::Arc::new(rvs_pipeline::Settings {
            forward_bpdu: true,
            ..Default::default()
        });
    });
    assert_eq!(lab.ports(&frame(reserved[0]), 1), vec![2, 3, 4]);
}

#[test]
fn the_deepest_nesting_needs_a_small_stack() {
    let again = Action::Resubmit {
        port: None,
        table: Some(rvs_openflow::TableId(0)),
    };
    let nested = (0..40).fold(again, |inner, _| Action::Clone(Box::new([inner])));
    let lab = flows(vec![flow(
        0,
        1,
        "",
        vec![Action::output(OfPort(2)), nested],
    )]);
    let deep = move || {
        let key = lab.key(&Frame::from_slice(&udp(1, 2, &[])), 1);
        assert_eq!(
            lab.translate(&key).drop,
            Some(rvs_dpif::DropReason::TooDeep)
        );
    };
    let thread = std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(deep)
        .unwrap();
    thread.join().unwrap();
}

#[test]
fn b2_looking_again_at_less_of_a_field_keeps_what_was_seen() {
    // The first copy depends on the whole label; taking the label off looks at one bit of it.
    let lab = flows(vec![
        flow(
            0,
            1,
            "mpls",
            vec![
                Action::PushMpls(rvs_packet::EtherType::MPLS),
                Action::PopMpls(rvs_packet::EtherType::MPLS),
            ],
        ),
        flow(
            0,
            2,
            "mpls,mpls_label=3",
            vec![
                Action::Clone(Box::new([
                    Action::PushMpls(rvs_packet::EtherType::MPLS),
                    Action::output(OfPort(2)),
                ])),
                Action::PopMpls(rvs_packet::EtherType::IPV4),
                Action::output(OfPort(3)),
            ],
        ),
    ]);
    let mut frame = udp(1, 2, &[]);
    frame[12..14].copy_from_slice(&[0x88, 0x47]);
    frame.splice(14..14, [0, 0, 0x37, 64]);
    let t = lab.translate(&lab.key(&Frame::from_slice(&frame), 1));
    assert_eq!(t.mask.0.mpls_lse[0].get() | 0x100, u32::MAX);
}

#[test]
fn checks_of_the_length_do_not_double_without_end() {
    let dst = rvs_flow::SubField::new(FieldId::Reg0, 0, 0).unwrap();
    let checks = vec![Action::CheckPktLarger { dst, len: 100 }; 60];
    let lab = flows(vec![flow(0, 1, "", checks)]);
    let t = lab.translate(&lab.key(&Frame::from_slice(&udp(1, 2, &[])), 1));
    assert_eq!(t.drop, Some(rvs_dpif::DropReason::TooManyResubmits));
}

#[test]
fn cve_2024_1151_nested_copies_stay_within_what_a_datapath_runs() {
    // Each copy edits the frame and is followed by an output, so that none can be left out.
    let nest = |depth: usize| {
        (0..depth).fold(vec![Action::output(OfPort(2))], |inner, n| {
            let mut list = vec![Action::SetNwTtl(n as u8)];
            list.extend(inner);
            vec![Action::Clone(list.into()), Action::output(OfPort(3))]
        })
    };
    let drop = |depth| {
        let lab = flows(vec![flow(0, 1, "", nest(depth))]);
        lab.translate(&lab.key(&Frame::from_slice(&udp(1, 2, &[])), 1))
            .drop
    };
    let limit = usize::from(rvs_dpif::limits::ACTION_NESTING);
    assert_eq!(drop(limit), None);
    assert_eq!(drop(limit + 1), Some(rvs_dpif::DropReason::TooDeep));
}
