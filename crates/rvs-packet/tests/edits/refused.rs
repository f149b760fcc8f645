//! What is not there, or may not be changed, stays as it is.

use super::*;

/// The whole set of in-place edits, each with all bits; returns the names of those that found their header.
fn all_edits(frame: &mut Frame) -> Vec<&'static str> {
    let mut e = Edit::new(frame);
    let (m, a, x) = (
        MacAddr::BROADCAST,
        Ipv4Addr::BROADCAST,
        Ipv6Addr::from(u128::MAX),
    );
    let mut hit = vec![];
    let mut note = |name, done| {
        if done {
            hit.push(name);
        }
    };
    note("nd_target", e.set_nd_target(x, x));
    note("nd_sll", e.set_nd_sll(m, m));
    note("nd_tll", e.set_nd_tll(m, m));
    note("arp_op", e.set_arp_op(9, 0xffff));
    note("arp_sha", e.set_arp_sha(m, m));
    note("arp_spa", e.set_arp_spa(a, a));
    note("arp_tha", e.set_arp_tha(m, m));
    note("arp_tpa", e.set_arp_tpa(a, a));
    note("ipv4_src", e.set_ipv4_src(a, a));
    note("ipv4_dst", e.set_ipv4_dst(a, a));
    note("ipv4_tos", e.set_ipv4_tos(0xff, 0xff));
    note("ipv4_ttl", e.set_ipv4_ttl(0xff, 0xff));
    note("ipv6_src", e.set_ipv6_src(x, x));
    note("ipv6_dst", e.set_ipv6_dst(x, x));
    note("ipv6_tclass", e.set_ipv6_tclass(0xff, 0xff));
    note("ipv6_hop_limit", e.set_ipv6_hop_limit(0xff, 0xff));
    note("ipv6_label", e.set_ipv6_flow_label(0xf_ffff, 0xf_ffff));
    note("tcp_src", e.set_tcp_src(0xffff, 0xffff));
    note("tcp_dst", e.set_tcp_dst(0xffff, 0xffff));
    note("udp_src", e.set_udp_src(0xffff, 0xffff));
    note("udp_dst", e.set_udp_dst(0xffff, 0xffff));
    note("sctp_src", e.set_sctp_src(0xffff, 0xffff));
    note("sctp_dst", e.set_sctp_dst(0xffff, 0xffff));
    note("icmp_type", e.set_icmp_type(0xff, 0xff));
    note("icmp_code", e.set_icmp_code(0xff, 0xff));
    note("icmpv6_type", e.set_icmpv6_type(0xff, 0xff));
    note("icmpv6_code", e.set_icmpv6_code(0xff, 0xff));
    hit
}

fn l3_hits(frame: &[u8]) -> Vec<&'static str> {
    let mut f = Frame::from_slice(frame);
    let hits = all_edits(&mut f);
    if hits.is_empty() {
        assert_eq!(f.bytes(), frame, "a missing header was written to");
    }
    hits
}

/// CVE-2025-40254: every set on every frame that lacks the header is a no-op that says so.
#[test]
fn missing_headers_are_never_written() {
    let v4 = Ip::v4([10, 0, 0, 1], [10, 0, 0, 2]);
    let v6 = Ip::v6("2001:db8::1", "2001:db8::2");
    let only_v4 = ["ipv4_src", "ipv4_dst", "ipv4_tos", "ipv4_ttl"];
    let only_v6 = [
        "ipv6_src",
        "ipv6_dst",
        "ipv6_tclass",
        "ipv6_hop_limit",
        "ipv6_label",
    ];

    let mut later = v4.clone();
    later.frag = 0x0001;
    let l4 = common::tcp(1, 2, 3, 0, &[], b"x");
    assert_eq!(
        l3_hits(&common::eth(&[], 0x0800, &later.raw(TCP, &l4))),
        only_v4
    );
    let mut later6 = v6.clone();
    later6.ext = vec![(44, vec![0, 0, 8, 0, 0, 0, 9])];
    assert_eq!(
        l3_hits(&common::eth(&[], 0x86dd, &later6.raw(UDP, &l4))),
        only_v6
    );

    // Transport headers that are cut off or lie about their length.
    let mut bad_offset = l4.clone();
    bad_offset[12] = 0xf0;
    let mut bad_udp = common::udp(1, 2, b"x");
    bad_udp[5] = 200;
    for (proto, l4) in [
        (TCP, &l4[..19]),
        (TCP, &bad_offset),
        (UDP, &l4[..7]),
        (UDP, &bad_udp),
        (SCTP, &l4[..11]),
        (ICMP, &l4[..7]),
        (ICMPV6, &l4[..]),
        (99, &l4[..]),
    ] {
        assert_eq!(
            l3_hits(&common::eth(&[], 0x0800, &v4.raw(proto, l4))),
            only_v4,
            "{proto}"
        );
    }
    for (proto, l4) in [(ICMPV6, &l4[..3]), (ICMP, &l4[..]), (TCP, &l4[..19])] {
        assert_eq!(
            l3_hits(&common::eth(&[], 0x86dd, &v6.raw(proto, l4))),
            only_v6,
            "{proto}"
        );
    }

    // Layer 3 that is cut off, contradictory, or something else.
    let whole = v4.packet(TCP, l4);
    let eth_only: [&str; 0] = [];
    for (ty, payload) in [
        (0x0800, &whole[..19]),
        (0x0800, &whole[..whole.len() - 1]),
        (0x86dd, &whole[..]),
        (0x0806, &whole[..]),
        (0x1234, &whole[..]),
        (0x8847, &whole[..]),
        (0x0800, &[]),
        (0x8100, &[0, 1]),
    ] {
        assert_eq!(l3_hits(&common::eth(&[], ty, payload)), eth_only, "{ty:x}");
    }
    for n in 0..14 {
        let mut f = Frame::from_slice(&[0x11; 14][..n]);
        let mut e = Edit::new(&mut f);
        assert!(!e.set_eth_src(MacAddr::BROADCAST, MacAddr::BROADCAST));
        assert!(!e.set_eth_dst(MacAddr::BROADCAST, MacAddr::BROADCAST));
        assert!(!edit::push_vlan(&mut f, EtherType::VLAN, VlanTci(1)));
        assert!(!edit::push_mpls(&mut f, EtherType::MPLS, Lse(1)));
        assert!(!edit::push_pbb(&mut f, 1));
        assert!(!edit::pop_vlan(&mut f) && !edit::pop_pbb(&mut f));
        assert_eq!(f.bytes(), &[0x11; 14][..n]);
    }
}

/// A neighbour option whose length goes past the end, or is 0, or says its address twice: no rewrite.
#[test]
fn nd_options_out_of_bounds_are_not_rewritten() {
    let v6 = Ip::v6("fe80::1", "ff02::1");
    for bad in [
        &[1u8, 2, 1, 2, 3, 4, 5, 6][..],
        &[1, 0, 1, 2, 3, 4, 5, 6],
        &[1, 255, 1, 2, 3, 4, 5, 6],
        &[2, 1, 1, 2, 3, 4, 5],
        &[1, 1, 1, 2, 3, 4, 5, 6, 1, 1, 1, 2, 3, 4, 5, 6],
        &[14, 1, 0, 0, 0, 0, 0, 0, 2],
    ] {
        let msg = common::icmp(135, 0, &[&[0; 20][..], bad].concat());
        // Padding behind the packet must not be taken for the option's octets.
        let bytes = [common::eth_ip(&[], &v6, ICMPV6, msg), vec![0; 64]].concat();
        let mut f = Frame::from_slice(&bytes);
        let mut e = Edit::new(&mut f);
        assert!(!e.set_nd_sll(MacAddr::BROADCAST, MacAddr::BROADCAST));
        assert!(!e.set_nd_tll(MacAddr::BROADCAST, MacAddr::BROADCAST));
        assert!(!e.set_nd_target(Ipv6Addr::LOCALHOST, Ipv6Addr::from(u128::MAX)));
        assert_eq!(f.bytes(), &bytes[..]);
    }
}

/// RFC 8200 section 8.1: on the way to a waypoint the pseudo header holds the final destination.
#[test]
fn a_waypoint_address_is_not_in_the_pseudo_header() {
    let mut ip = Ip::v6("2001:db8::1", "2001:db8::2");
    for (left, covered) in [(1u8, false), (0, true)] {
        ip.ext = vec![(43, vec![0, 0, left, 0, 0, 0, 0])];
        let bytes = common::eth_ip(&[], &ip, UDP, common::udp(1, 2, b"abc"));
        let mut f = Frame::from_slice(&bytes);
        let all = Ipv6Addr::from(u128::MAX);
        assert!(Edit::new(&mut f).set_ipv6_dst("2001:db8::9".parse().unwrap(), all));
        let at = 14 + 48 + 6;
        assert_eq!(f.bytes()[at..at + 2] != bytes[at..at + 2], covered);
        assert!(Edit::new(&mut f).set_ipv6_src("2001:db8::7".parse().unwrap(), all));
        assert_ne!(f.bytes()[at..at + 2], bytes[at..at + 2]);
    }
}

/// The octet that names the upper protocol is in the last extension header; the pseudo header follows it.
#[test]
fn the_protocol_is_written_where_it_is_named() {
    let v6 = Ip::v6("2001:db8::1", "2001:db8::2");
    let mut far = Ip::v6("2001:db8::1", "2001:db8::2");
    far.ext = vec![
        (0, vec![0, 1, 4, 0, 0, 0, 0]),
        (43, vec![0, 0, 0, 0, 0, 0, 0]),
    ];
    let v4 = Ip::v4([10, 0, 0, 1], [10, 0, 0, 2]);
    for (ip, named_at) in [(v4, 14 + 9), (v6, 14 + 6), (far, 14 + 40 + 8)] {
        let tcp = || common::tcp(1, 2, 3, 0x10, &[], b"abc");
        let mut f = Frame::from_slice(&common::eth_ip(&[], &ip, TCP, tcp()));
        assert!(Edit::new(&mut f).set_ip_proto(IpProto::UDP));
        assert_eq!(f.bytes()[named_at], UDP);
        let l4 = &f.bytes()[f.bytes().len() - tcp().len()..];
        let pseudo = common::pseudo(ip.src, ip.dst, UDP, l4.len());
        assert_eq!(common::naive_sum(&[&pseudo, l4]), 0xffff);
    }
}

/// The first fragment of a UDP datagram has a checksum over all of it, which still follows.
#[test]
fn first_fragment_follows_and_sctp_refuses() {
    let mut ip = Ip::v4([10, 0, 0, 1], [10, 0, 0, 2]);
    let mut whole = common::udp(1000, 2000, &[7; 64]);
    common::fill_l4(ip.src, ip.dst, UDP, &mut whole);
    ip.frag = 0x2000;
    let mut f = Frame::from_slice(&common::eth(&[], 0x0800, &ip.raw(UDP, &whole[..32])));
    let mut e = Edit::new(&mut f);
    assert_eq!(e.layout().frag, Frag::First);
    assert!(e.set_udp_dst(53, 0xffff));
    assert!(e.set_ipv4_src(Ipv4Addr::new(1, 2, 3, 4), Ipv4Addr::BROADCAST));
    let mut want = common::udp(1000, 53, &[7; 64]);
    common::fill_l4(Ipv4Addr::new(1, 2, 3, 4).into(), ip.dst, UDP, &mut want);
    assert_eq!(&f.bytes()[34..], &want[..32]);

    let sctp = common::eth(&[], 0x0800, &ip.raw(SCTP, &common::sctp(1, 2, &[0; 20])));
    let mut f = Frame::from_slice(&sctp);
    assert!(!Edit::new(&mut f).set_sctp_src(5, 0xffff));
    assert_eq!(f.bytes(), &sctp[..]);
}

/// RFC 9653: an SCTP checksum of 0 says that none was computed.
#[test]
fn sctp_zero_stays_zero() {
    let ip = Ip::v4([10, 0, 0, 1], [10, 0, 0, 2]);
    let mut f = Frame::from_slice(&common::eth(
        &[],
        0x0800,
        &ip.raw(SCTP, &common::sctp(1, 2, &[0; 20])),
    ));
    assert!(Edit::new(&mut f).set_sctp_src(5, 0xffff));
    assert_eq!(&f.bytes()[34..46], &[0, 5, 0, 2, 9, 8, 7, 6, 0, 0, 0, 0]);
}

/// The outer UDP of a tunnel is complete while the inner transport is partial.
#[test]
fn a_partial_inner_checksum_leaves_the_outer_one_complete() {
    let ip = Ip::v4([10, 0, 0, 1], [10, 0, 0, 2]);
    let inner = common::eth_ip(&[], &ip, TCP, common::tcp(1, 2, 3, 0x10, &[], b"abc"));
    let bytes = common::eth_ip(
        &[],
        &ip,
        UDP,
        common::udp(9, 4789, &[&[8, 0, 0, 0, 0, 0, 1, 0][..], &inner].concat()),
    );
    let mut f = Frame::from_slice(&bytes);
    f.offload.csum = Csum::Partial {
        start: 14 + 28 + 8 + 34,
        offset: 16,
    };
    assert!(Edit::new(&mut f).set_ipv4_src(Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::BROADCAST));
    f.offload.csum = Csum::Complete;
    assert_eq!(csum::verify(&f), Ok(()));
    let inner_at = 14 + 28 + 8;
    assert_eq!(&f.bytes()[inner_at..], &bytes[inner_at..]);
}

/// A datagram may end before its packet does; what follows is covered by no checksum.
#[test]
fn octets_behind_a_datagram_are_not_covered() {
    let ip = Ip::v4([10, 0, 0, 1], [10, 0, 0, 2]);
    let mut l4 = common::udp(1, 2, b"abc");
    common::fill_l4(ip.src, ip.dst, UDP, &mut l4);
    l4.extend(b"not mine");
    let mut f = Frame::from_slice(&common::eth(&[], 0x0800, &ip.raw(UDP, &l4)));
    assert_eq!(csum::verify(&f), Ok(()));
    assert!(Edit::new(&mut f).set_udp_src(7, 0xffff));
    assert!(Edit::new(&mut f).set_ipv4_dst(Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST));
    assert_eq!(csum::verify(&f), Ok(()));
}

#[test]
fn tags_where_they_cannot_go() {
    let ip = Ip::v4([10, 0, 0, 1], [10, 0, 0, 2]);
    let plain = common::eth_ip(&[], &ip, UDP, common::udp(1, 2, b""));
    let snap = common::eth(
        &[],
        44,
        &[
            &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..],
            &ip.packet(UDP, common::udp(1, 2, b"")),
        ]
        .concat(),
    );
    let mut f = Frame::from_slice(&plain);
    assert!(
        !edit::pop_vlan(&mut f)
            && !edit::pop_mpls(&mut f, EtherType::IPV4)
            && !edit::pop_pbb(&mut f)
    );
    assert!(!edit::set_vlan_tci(&mut f, 0, VlanTci(1), 0xfff));
    assert!(!edit::set_mpls_lse(&mut f, Lse(1), 1) && !edit::set_pbb_tci(&mut f, 1, 1));
    assert!(!edit::push_vlan(&mut f, EtherType::IPV4, VlanTci(1)));
    assert!(!edit::push_mpls(&mut f, EtherType::IPV4, Lse(1)));
    assert_eq!(f.bytes(), &plain[..]);
    let mut f = Frame::from_slice(&snap);
    // Behind SNAP a label has its type there, and the length stays true.
    assert!(edit::push_mpls(&mut f, EtherType::MPLS, Lse(1)));
    assert_eq!(
        f.bytes()[12..26],
        [0, 48, 0xaa, 0xaa, 3, 0, 0, 0, 0x88, 0x47, 0, 0, 0, 1]
    );
    assert!(edit::pop_mpls(&mut f, EtherType::IPV4));
    assert_eq!(f.bytes(), &snap[..]);
    let mut llc = Frame::from_slice(&common::eth(&[], 3, &[0x42, 0x42, 3]));
    assert!(!edit::push_mpls(&mut llc, EtherType::MPLS, Lse(1)));
    assert!(
        Edit::new(&mut f).set_ipv4_ttl(9, 0xff),
        "SNAP carries IPv4 like any other frame"
    );
    // A label stack cut off after 0..3 octets (CVE-2016-2074).
    for n in 0..4 {
        let bytes = common::eth(&[], 0x8847, &[0xcc; 4][..n]);
        let mut f = Frame::from_slice(&bytes);
        assert!(!edit::pop_mpls(&mut f, EtherType::IPV4) && !edit::set_mpls_lse(&mut f, Lse(1), 1));
        assert_eq!(f.bytes(), &bytes[..]);
    }
    let mut f = Frame::from_slice(&common::eth(
        &[(0x88a8, 1), (0x8100, 2)],
        0x0800,
        &ip.packet(UDP, vec![0; 8]),
    ));
    assert!(edit::set_vlan_tci(&mut f, 1, VlanTci(0xefff), 0xe000));
    assert!(edit::set_vlan_tci(&mut f, 0, VlanTci(0x0fff), 0x0fff));
    assert!(!edit::set_vlan_tci(&mut f, 2, VlanTci(1), 1));
    assert_eq!(
        &f.bytes()[12..20],
        &[0x88, 0xa8, 0x0f, 0xff, 0x81, 0, 0xe0, 2]
    );
}

/// 10^5 damaged frames: no panic, and no octet past the headers or before the frame changes length.
#[test]
fn hostile_frames_cost_nothing() {
    let mut rng = Rng(6);
    let seeds = common::seeds();
    for _ in 0..100_000 {
        let bytes = common::hostile(&mut rng, &seeds);
        let mut f = Frame::from_slice(&bytes);
        if rng.below(3) == 0 {
            f.offload.csum = Csum::Partial {
                start: rng.below(120) as u16,
                offset: rng.below(20) as u16,
            };
        }
        let _ = csum::verify(&f);
        let hits = all_edits(&mut f);
        assert_eq!(f.len(), bytes.len());
        if hits.is_empty() {
            assert_eq!(f.bytes(), &bytes[..]);
        }
        let before = f.clone();
        match rng.below(7) {
            0 if edit::pop_vlan(&mut f) => assert_eq!(f.len() + 4, before.len()),
            1 if edit::pop_mpls(&mut f, EtherType::IPV4) => assert_eq!(f.len() + 4, before.len()),
            2 if edit::pop_pbb(&mut f) => assert_eq!(f.len() + 18, before.len()),
            3 if edit::push_mpls(&mut f, EtherType::MPLS, Lse(1)) => {
                assert_eq!(f.len(), before.len() + 4);
                assert!(edit::pop_mpls(&mut f, EtherType::IPV4));
            }
            4 if edit::push_pbb(&mut f, 1) => assert!(edit::pop_pbb(&mut f) && f == before),
            5 if edit::push_vlan(&mut f, EtherType::QINQ, VlanTci(1)) => {
                assert!(edit::pop_vlan(&mut f) && f == before);
            }
            6 if edit::set_vlan_tci(&mut f, 1, VlanTci(1), 0xffff) => {
                assert_eq!(f.len(), before.len())
            }
            _ => assert_eq!(f, before),
        }
        let _ = csum::complete(&mut f);
    }
}

/// Nothing in a label says that IP follows: a whole packet of a known version does, everything else stays as it is.
#[test]
fn a_ttl_is_copied_between_the_last_label_and_ip_only() {
    use edit::{copy_ttl_in, copy_ttl_out};
    let v4 = [
        &[
            0x45, 0, 0, 24, 0, 0, 0, 0, 32, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ][..],
        &[1, 2, 3, 4],
    ]
    .concat();
    let mut v6 = vec![0; 44];
    (v6[0], v6[5], v6[7]) = (0x60, 4, 32);
    let frame = |labels: &[u8], packet: &[u8]| {
        let head = [&[2; 12][..], &[0x88, 0x47], labels].concat();
        Frame::from_slice(&[&head, packet].concat())
    };
    let last = [0, 0, 0x11, 64];
    // (packet, offset of its TTL)
    for (packet, at) in [(&v4, 8), (&v6, 7)] {
        let mut f = frame(&last, packet);
        assert!(copy_ttl_out(&mut f));
        assert_eq!(f.bytes(), frame(&[0, 0, 0x11, 32], packet).bytes());
        for ttl in 0..=255 {
            let mut f = frame(&[0, 0, 0x11, ttl], packet);
            let old = v4_sum(&f.bytes()[18..38]);
            assert!(copy_ttl_in(&mut f));
            assert_eq!(f.bytes()[18 + at], ttl);
            // As wrong or right as it was.
            if at == 8 {
                assert_eq!(v4_sum(&f.bytes()[18..38]), old, "{ttl}");
            }
            assert_eq!(f.bytes()[38..], packet[20..]);
        }
        let mut wrong: Vec<Frame> = (0..packet.len())
            .map(|n| frame(&last, &packet[..n]))
            .collect();
        // Not the bottom of the stack; no label; another version; no MPLS.
        wrong.push(frame(&[0, 0, 0x10, 64], packet));
        wrong.push(frame(&[0, 0, 0x11], &[]));
        wrong.push(frame(&last, &[&[packet[0] ^ 0x10], &packet[1..]].concat()));
        let mut other = frame(&last, packet);
        other.bytes_mut()[13] = 0;
        wrong.push(other);
        for f in wrong {
            let mut after = f.clone();
            assert!(!copy_ttl_out(&mut after) && !copy_ttl_in(&mut after));
            assert_eq!(after.bytes(), f.bytes());
        }
    }
}

/// What the words of a header add up to, in ones' complement (0xffff is 0).
fn v4_sum(header: &[u8]) -> u32 {
    let words = header
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
    words.sum::<u32>() % 0xffff
}
