//! Tags, labels, time to live and PBB: what changes the headers.

use super::*;

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

/// A dummy's cached flows fix what kind of frame it is, and the fields that are written; others are wider.
#[test]
fn flows_of_a_dummy_have_the_bits_that_are_written() {
    let mask = |dummy| {
        let mut lab = all(vec![Action::SetNwSrc([10, 9, 8, 7]), out(2)]);
        lab.change(|b| {
            b.settings = Arc::new(Settings {
                dummy,
                ..Settings::default()
            })
        });
        let key = lab.key(&Frame::from_slice(&udp(1, 2, &[])), 1);
        let m = lab.translate(&key).mask.0;
        (m.nw_src, m.nw_proto, m.dl_type.get(), m.nw_frag)
    };
    assert_eq!(mask(false), ([0; 4], 0, 0, 0));
    assert_eq!(mask(true), ([0xff; 4], 0xff, 0xffff, 3));
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

#[test]
fn an_action_set_speaks_for_the_first_rule_after_another_look_and_an_exit() {
    let with_cookie = |(m, mut r): (_, Rule), cookie| {
        r.cookie = cookie;
        (m, r)
    };
    let on = Instructions {
        apply: Box::new([Action::PopMpls(EtherType::IPV4)]),
        write: Box::new([Action::output(OfPort::CONTROLLER)]),
        goto: Some(TableId(2)),
        ..Instructions::default()
    };
    let lab = flows(vec![
        with_cookie(flow(0, 5, "", vec![resubmit(1)]), 7),
        with_cookie(rule(1, 5, "mpls", on), 8),
        with_cookie(flow(2, 5, "udp", vec![Action::Exit]), 9),
    ]);
    let frame = labelled(&udp(1, 2, &[]), 64);
    let fate = lab.send(&frame, 1);
    assert_eq!(fate.packet_ins[0].cookie, 7);
    assert_eq!(fate, lab.interpret(&frame, 1));
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
