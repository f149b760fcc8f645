//! P6: an edited frame is, octet for octet, the frame that a naive builder makes from the changed fields; and nothing is
//! written where a header is missing.
#![allow(clippy::unwrap_used)]

mod refused;

#[path = "../common/mod.rs"]
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
