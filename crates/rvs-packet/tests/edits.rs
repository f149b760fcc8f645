//! P6: an edited frame is, octet for octet, the frame that a naive builder makes from the changed fields; and nothing is
//! written where a header is missing.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use common::{Ip, Rng, ICMP, ICMPV6, SCTP, TCP, UDP};
use proptest::prelude::*;
use rvs_packet::edit::{self, Edit};
use rvs_packet::view::{Frag, Lse};
use rvs_packet::{csum, Csum, EtherType, Frame, IpProto, MacAddr, VlanTci};

/// A field to set, with value and mask as wide as any field (cut to the field's width).
#[derive(Clone, Copy, Debug)]
struct Set {
    field: Field,
    value: u128,
    mask: u128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    EthSrc,
    EthDst,
    Src,
    Dst,
    Tos,
    Ttl,
    Label,
    TpSrc,
    TpDst,
    IcmpType,
    IcmpCode,
    NdTarget,
    NdSll,
    NdTll,
}

const FIELDS: [Field; 14] = [
    Field::EthSrc,
    Field::EthDst,
    Field::Src,
    Field::Dst,
    Field::Tos,
    Field::Ttl,
    Field::Label,
    Field::TpSrc,
    Field::TpDst,
    Field::IcmpType,
    Field::IcmpCode,
    Field::NdTarget,
    Field::NdSll,
    Field::NdTll,
];

fn mac(v: u128) -> MacAddr {
    MacAddr::from_u64(v as u64)
}

fn v4(v: u128) -> Ipv4Addr {
    Ipv4Addr::from(v as u32)
}

fn v6(v: u128) -> Ipv6Addr {
    Ipv6Addr::from(v)
}

/// What the frame under test is made of; offsets are known from building it, not from parsing.
#[derive(Clone, Debug)]
struct Made {
    bytes: Vec<u8>,
    l3: usize,
    l4: usize,
    end: usize,
    v4: bool,
    proto: u8,
    nd: bool,
}

impl Made {
    /// Where `field` lies and how wide it is; `None` when this frame has no such field.
    fn locate(&self, field: Field) -> Option<(usize, u32, u32)> {
        let ports = matches!(self.proto, TCP | UDP | SCTP);
        let icmp = matches!(self.proto, ICMP | ICMPV6);
        // (byte offset, bits, shift to the left within the bytes)
        Some(match field {
            Field::EthDst => (0, 48, 0),
            Field::EthSrc => (6, 48, 0),
            Field::Src if self.v4 => (self.l3 + 12, 32, 0),
            Field::Dst if self.v4 => (self.l3 + 16, 32, 0),
            Field::Tos if self.v4 => (self.l3 + 1, 8, 0),
            Field::Ttl if self.v4 => (self.l3 + 8, 8, 0),
            Field::Src => (self.l3 + 8, 128, 0),
            Field::Dst => (self.l3 + 24, 128, 0),
            Field::Tos => (self.l3, 8, 4),
            Field::Ttl => (self.l3 + 7, 8, 0),
            Field::Label if !self.v4 => (self.l3 + 1, 20, 0),
            Field::TpSrc if ports => (self.l4, 16, 0),
            Field::TpDst if ports => (self.l4 + 2, 16, 0),
            Field::IcmpType if icmp => (self.l4, 8, 0),
            Field::IcmpCode if icmp => (self.l4 + 1, 8, 0),
            Field::NdTarget if self.nd => (self.l4 + 8, 128, 0),
            Field::NdSll if self.nd => (self.l4 + 26, 48, 0),
            Field::NdTll if self.nd => (self.l4 + 34, 48, 0),
            _ => return None,
        })
    }

    /// Sets the field the slow way, bit by bit, and recomputes every checksum in full.
    fn set(&mut self, s: Set) -> bool {
        let Some((at, bits, shift)) = self.locate(s.field) else {
            return false;
        };
        let octets = (bits + shift).div_ceil(8) as usize;
        // The label's 20 bits start in the middle of their first octet.
        let lead = if s.field == Field::Tos && !self.v4 {
            4
        } else {
            octets as u32 * 8 - bits
        };
        for i in 0..bits {
            let (v, m) = (s.value >> (bits - 1 - i) & 1, s.mask >> (bits - 1 - i) & 1);
            let pos = lead + i;
            let byte = &mut self.bytes[at + pos as usize / 8];
            let bit = 0x80u8 >> (pos % 8);
            if m == 1 {
                *byte = if v == 1 { *byte | bit } else { *byte & !bit };
            }
        }
        true
    }

    fn addresses(&self) -> (IpAddr, IpAddr) {
        let at = |from: usize, n: usize| self.bytes[self.l3 + from..self.l3 + from + n].to_vec();
        if self.v4 {
            let a = |v: Vec<u8>| IpAddr::from(<[u8; 4]>::try_from(v).unwrap());
            (a(at(12, 4)), a(at(16, 4)))
        } else {
            let a = |v: Vec<u8>| IpAddr::from(<[u8; 16]>::try_from(v).unwrap());
            (a(at(8, 16)), a(at(24, 16)))
        }
    }

    fn recompute(&mut self) {
        if self.v4 {
            let h = &mut self.bytes[self.l3..self.l4];
            h[10..12].fill(0);
            let c = !common::naive_sum(&[h]);
            h[10..12].copy_from_slice(&c.to_be_bytes());
        }
        let (s, d) = self.addresses();
        common::fill_l4(s, d, self.proto, &mut self.bytes[self.l4..self.end]);
    }

    fn frame(&self) -> Frame {
        Frame::from_slice(&self.bytes)
    }

    /// The same frame with its transport checksum still to be completed.
    fn partial_frame(&self) -> Frame {
        let mut b = self.bytes.clone();
        let (s, d) = self.addresses();
        common::fill_partial(s, d, self.proto, &mut b[self.l4..self.end]);
        let mut f = Frame::from_slice(&b);
        let offset = common::csum_at(self.proto).unwrap() as u16;
        f.offload.csum = Csum::Partial {
            start: self.l4 as u16,
            offset,
        };
        f
    }
}

fn apply(e: &mut Edit<'_>, m: &Made, s: Set) -> bool {
    let (v, k) = (s.value, s.mask);
    let (p, q) = (v as u16, k as u16);
    let (b, c) = (v as u8, k as u8);
    match s.field {
        Field::EthSrc => e.set_eth_src(mac(v), mac(k)),
        Field::EthDst => e.set_eth_dst(mac(v), mac(k)),
        Field::Src if m.v4 => e.set_ipv4_src(v4(v), v4(k)),
        Field::Src => e.set_ipv6_src(v6(v), v6(k)),
        Field::Dst if m.v4 => e.set_ipv4_dst(v4(v), v4(k)),
        Field::Dst => e.set_ipv6_dst(v6(v), v6(k)),
        Field::Tos if m.v4 => e.set_ipv4_tos(b, c),
        Field::Tos => e.set_ipv6_tclass(b, c),
        Field::Ttl if m.v4 => e.set_ipv4_ttl(b, c),
        Field::Ttl => e.set_ipv6_hop_limit(b, c),
        Field::Label => e.set_ipv6_flow_label(v as u32, k as u32),
        Field::TpSrc => e.set_tcp_src(p, q) | e.set_udp_src(p, q) | e.set_sctp_src(p, q),
        Field::TpDst => e.set_tcp_dst(p, q) | e.set_udp_dst(p, q) | e.set_sctp_dst(p, q),
        Field::IcmpType => e.set_icmp_type(b, c) | e.set_icmpv6_type(b, c),
        Field::IcmpCode => e.set_icmp_code(b, c) | e.set_icmpv6_code(b, c),
        Field::NdTarget => e.set_nd_target(v6(v), v6(k)),
        Field::NdSll => e.set_nd_sll(mac(v), mac(k)),
        Field::NdTll => e.set_nd_tll(mac(v), mac(k)),
    }
}

fn any_set() -> impl Strategy<Value = Set> {
    let value = prop_oneof![any::<u128>(), Just(0), Just(u128::MAX)];
    let mask = prop_oneof![any::<u128>(), Just(u128::MAX), Just(0xff00_ff00_ff00_ff00)];
    (0..FIELDS.len(), value, mask).prop_map(|(i, value, mask)| Set {
        field: FIELDS[i],
        value,
        mask,
    })
}

prop_compose! {
    fn any_ip()(is_v4 in any::<bool>(), src: u128, dst: u128, ttl: u8, tos: u8, id: u16, opt in 0usize..3)
        -> Ip {
        let mut ip = Ip::v4([0; 4], [0; 4]);
        if is_v4 {
            ip.src = v4(src).into();
            ip.dst = v4(dst).into();
            ip.options = vec![1; opt * 4];
        } else {
            ip.src = v6(src).into();
            ip.dst = v6(dst).into();
            ip.ext = vec![(60, vec![0, 1, 4, 0, 0, 0, 0]); opt];
        }
        (ip.ttl, ip.tos, ip.id) = (ttl, tos, id);
        ip
    }
}

prop_compose! {
    fn any_made()(
        ip in any_ip(),
        tags in prop::collection::vec((prop_oneof![Just(0x8100u16), Just(0x88a8)], any::<u16>()), 0..3),
        kind in 0usize..5,
        ports: (u16, u16),
        seq: u32,
        zeros in any::<bool>(),
        mut payload in prop::collection::vec(any::<u8>(), 0..80),
        pad in 0usize..70,
    ) -> Made {
        if zeros { payload.fill(0); }
        let is_v4 = ip.src.is_ipv4();
        let (proto, l4, nd) = match kind {
            0 => (TCP, common::tcp(ports.0, ports.1, seq, 0x10, &[], &payload), false),
            1 => (UDP, common::udp(ports.0, ports.1, &payload), false),
            2 => (SCTP, common::sctp(ports.0, ports.1, &payload), false),
            3 if is_v4 => (ICMP, common::icmp(8, 0, &[&[0; 4][..], &payload].concat()), false),
            4 if is_v4 => (ICMP, common::icmp(8, 0, &[0; 4]), false),
            3 => (ICMPV6, common::icmp(128, 0, &payload), false),
            _ => {
                let opts = [&[0; 20][..], &[1, 1, 2, 3, 4, 5, 6, 7, 2, 1, 2, 3, 4, 5, 6, 9]].concat();
                (ICMPV6, common::icmp(135, 0, &opts), true)
            }
        };
        let mut bytes = common::eth_ip(&tags, &ip, proto, l4.clone());
        let l3 = 14 + 4 * tags.len();
        let (l4_at, end) = (l3 + ip.header_len(), bytes.len());
        bytes.resize(end + pad, 0);
        Made { bytes, l3, l4: l4_at, end, v4: is_v4, proto, nd }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 8192,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Any sequence of sets leaves exactly the bytes that a full recompute leaves.
    #[test]
    fn sets_equal_the_naive_model(made in any_made(), sets in prop::collection::vec(any_set(), 1..6)) {
        let mut model = made.clone();
        let mut frame = made.frame();
        let mut e = Edit::new(&mut frame);
        for s in &sets {
            // While type and code say something else, there are no neighbour fields.
            model.nd = made.nd && matches!(model.bytes[model.l4], 135 | 136) && model.bytes[model.l4 + 1] == 0;
            let present = model.set(*s);
            prop_assert_eq!(apply(&mut e, &made, *s), present, "{:?}", s);
        }
        model.recompute();
        prop_assert_eq!(csum::verify(&frame), Ok(()));
        prop_assert_eq!(frame.bytes(), &model.bytes[..]);
    }

    /// Editing and then completing is completing and then editing.
    #[test]
    fn partial_checksums_stay_true(made in any_made(), sets in prop::collection::vec(any_set(), 1..6)) {
        if made.proto == ICMP {
            // No pseudo header, so nobody leaves its checksum partial.
            return Ok(());
        }
        let mut model = made.clone();
        let mut frame = made.partial_frame();
        // The sum of a partial checksum runs to the end of the frame.
        frame.truncate(made.end);
        model.bytes.truncate(made.end);
        let mut e = Edit::new(&mut frame);
        for s in &sets {
            model.nd = made.nd && matches!(model.bytes[model.l4], 135 | 136) && model.bytes[model.l4 + 1] == 0;
            model.set(*s);
            apply(&mut e, &made, *s);
        }
        edit::push_vlan(&mut frame, EtherType::VLAN, VlanTci(7));
        csum::complete(&mut frame).unwrap();
        edit::pop_vlan(&mut frame);
        model.recompute();
        prop_assert_eq!(csum::verify(&frame), Ok(()));
        let at = made.l4 + common::csum_at(made.proto).unwrap();
        // The kernel writes 0xffff for 0 whatever the protocol.
        if frame.bytes()[at..at + 2] == [0xff, 0xff] && made.proto != SCTP {
            prop_assert!(matches!(model.bytes[at..at + 2], [0, 0] | [0xff, 0xff]));
            model.bytes[at..at + 2].fill(0xff);
        }
        prop_assert_eq!(frame.bytes(), &model.bytes[..]);
    }

    /// An edit does not launder a damaged frame.
    #[test]
    fn wrong_checksums_stay_wrong(made in any_made(), sets in prop::collection::vec(any_set(), 1..4), damage in 1u16..0xffff) {
        let mut frame = made.frame();
        let at = made.l4 + common::csum_at(made.proto).unwrap();
        let field = &mut frame.bytes_mut()[at..at + 2];
        let old = u16::from_be_bytes([field[0], field[1]]);
        // Any value that is not the same number in ones-complement arithmetic.
        let bad = (u32::from(old) + u32::from(damage)) % 0xffff;
        prop_assume!(!(bad == 0 && made.proto == UDP));
        let bad = bad as u16;
        prop_assume!(bad != old);
        field.copy_from_slice(&bad.to_be_bytes());
        prop_assume!(made.proto != SCTP || frame.bytes()[at..at + 4] != [0; 4]);
        prop_assert!(csum::verify(&frame).is_err());
        let mut e = Edit::new(&mut frame);
        for s in &sets {
            apply(&mut e, &made, *s);
        }
        prop_assert!(csum::verify(&frame).is_err());
    }

    /// A UDP checksum of 0 stays 0, and a computed one never becomes 0.
    #[test]
    fn udp_zero(ip in any_ip(), sets in prop::collection::vec(any_set(), 1..4), sport: u16) {
        let l3 = 14;
        let bytes = common::eth_ip(&[], &ip, UDP, common::udp(sport, 0, &[]));
        let l4 = l3 + ip.header_len();
        let made = Made { end: bytes.len(), bytes, l3, l4, v4: ip.src.is_ipv4(), proto: UDP, nd: false };
        let mut none = made.frame();
        none.bytes_mut()[l4 + 6..l4 + 8].fill(0);
        let mut some = made.frame();
        for s in &sets {
            apply(&mut Edit::new(&mut none), &made, *s);
            apply(&mut Edit::new(&mut some), &made, *s);
            // Drive the sum to where its complement is 0.
            let now = u16::from_be_bytes(some.bytes()[l4 + 6..l4 + 8].try_into().unwrap());
            let dst = u16::from_be_bytes(some.bytes()[l4 + 2..l4 + 4].try_into().unwrap());
            let next = (u32::from(dst) + u32::from(now)) % 0xffff;
            Edit::new(&mut some).set_udp_dst(next as u16, 0xffff);
            let csum_field = &some.bytes()[l4 + 6..l4 + 8];
            prop_assert_eq!(csum_field, &[0xff, 0xff]);
        }
        prop_assert_eq!(&none.bytes()[l4 + 6..l4 + 8], &[0, 0]);
        prop_assert_eq!(csum::verify(&some), Ok(()));
    }

    /// pop after push is the identity, metadata included.
    #[test]
    fn pop_undoes_push(made in any_made(), tpid in prop_oneof![Just(EtherType::VLAN), Just(EtherType::QINQ)], word: u32) {
        let mut frame = made.partial_frame();
        let before = frame.clone();
        prop_assert!(edit::push_vlan(&mut frame, tpid, VlanTci(word as u16)));
        prop_assert_eq!(&frame.bytes()[12..16], &[tpid.0.to_be_bytes(), (word as u16).to_be_bytes()].concat()[..]);
        prop_assert!(edit::pop_vlan(&mut frame));
        prop_assert_eq!(&frame, &before);

        let inner = EtherType(if made.v4 { 0x0800 } else { 0x86dd });
        prop_assert!(edit::push_mpls(&mut frame, EtherType::MPLS, Lse(word)));
        prop_assert_eq!(&frame.bytes()[made.l3..made.l3 + 4], &word.to_be_bytes());
        prop_assert!(edit::push_mpls(&mut frame, EtherType::MPLS_MC, Lse(!word)));
        prop_assert!(edit::set_mpls_lse(&mut frame, Lse(7), 0xff));
        prop_assert_eq!(&frame.bytes()[made.l3..made.l3 + 4], &(!word & !0xff | 7).to_be_bytes());
        prop_assert!(edit::pop_mpls(&mut frame, EtherType::MPLS));
        prop_assert!(edit::pop_mpls(&mut frame, inner));
        prop_assert_eq!(&frame, &before);

        prop_assert!(edit::push_pbb(&mut frame, word));
        prop_assert!(edit::set_pbb_tci(&mut frame, 5, 0xff_ffff));
        prop_assert_eq!(&frame.bytes()[14..18], &(word & 0xff00_0000 | 5).to_be_bytes());
        prop_assert_eq!(&frame.bytes()[18..], before.bytes());
        prop_assert_eq!(&frame.bytes()[..12], &before.bytes()[..12]);
        prop_assert!(edit::pop_pbb(&mut frame));
        prop_assert_eq!(&frame, &before);
    }
}

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
