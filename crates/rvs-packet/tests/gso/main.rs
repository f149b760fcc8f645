//! P6: a super-frame is cut into exactly the frames that a naive builder makes for each piece of its payload, under any
//! stack of tags and inside any tunnel that is followed.
#![allow(clippy::unwrap_used)]

mod cases;

#[path = "../common/mod.rs"]
mod common;

use common::{Ip, Rng, TCP, UDP};
use proptest::prelude::*;
use rvs_packet::gso::{
    bundle, fits, segment, segment_count, wire_len, Fit, SegmentError, MAX_SEGMENTS,
};
use rvs_packet::tunnel::{is_encapsulated, TunnelKind, Unfollowed};
use rvs_packet::view::Lse;
use rvs_packet::{csum, edit, Csum, EtherType, Frame, FramePool, Gso, GsoKind, IpProto, VlanTci};

#[derive(Clone, Debug)]
enum Wrap {
    Ip,
    Gre {
        csum: bool,
        key: bool,
        seq: bool,
        eth: bool,
        label: bool,
    },
    Vxlan {
        csum: bool,
        tagged: bool,
    },
    Geneve {
        csum: bool,
        options: usize,
        eth: bool,
    },
}

#[derive(Clone, Debug)]
struct Spec {
    /// Outermost first; the IP header in front of each.
    wraps: Vec<(Ip, Wrap)>,
    ip: Ip,
    udp: bool,
    /// UDP without a checksum.
    no_csum: bool,
    flags: u16,
    ecn: bool,
    tcp_options: usize,
    tags: Vec<(u16, u16)>,
    labels: usize,
    pbb: bool,
    size: u16,
    payload: Vec<u8>,
}

const FIN_PSH: u16 = 0x09;
const CWR: u16 = 0x80;

fn numbered(ip: &Ip, i: usize) -> Ip {
    Ip {
        id: ip.id.wrapping_add(i as u16),
        ..ip.clone()
    }
}

impl Spec {
    fn kind(&self) -> GsoKind {
        match (self.udp, self.ip.src.is_ipv4()) {
            (true, _) => GsoKind::UdpL4,
            (false, true) => GsoKind::TcpV4,
            (false, false) => GsoKind::TcpV6,
        }
    }

    fn transport(&self, at: usize, len: usize, flags: u16) -> (u8, Vec<u8>) {
        let chunk = &self.payload[at..at + len];
        if self.udp {
            return (UDP, common::udp(3000, 443, chunk));
        }
        let seq = 0xffff_f000u32.wrapping_add(at as u32);
        (
            TCP,
            common::tcp(3000, 80, seq, flags, &vec![1; self.tcp_options * 4], chunk),
        )
    }

    /// The frame around `l4`, as piece `i`.
    fn around(&self, i: usize, proto: u8, l4: Vec<u8>) -> Vec<u8> {
        let ip = numbered(&self.ip, i);
        let mut packet = if self.no_csum {
            ip.raw(proto, &l4)
        } else {
            ip.packet(proto, l4)
        };
        let mut ty = self.ip.ethertype();
        for (ip, wrap) in self.wraps.iter().rev() {
            packet = wrapped(&numbered(ip, i), wrap, i, ty, packet);
            ty = ip.ethertype();
        }
        for n in 0..self.labels {
            let lse = [0, 1, u8::from(n == 0), 64];
            packet = [&lse[..], &packet].concat();
            ty = 0x8847;
        }
        if self.pbb {
            packet = [&[0, 0, 0, 9][..], &common::eth(&[], ty, &packet)].concat();
            ty = 0x88e7;
        }
        common::eth(&self.tags, ty, &packet)
    }

    fn super_frame(&self) -> Frame {
        let (proto, l4) = self.transport(0, self.payload.len(), self.flags);
        let len = l4.len();
        let mut bytes = self.around(0, proto, l4);
        let start = bytes.len() - len;
        let at = common::csum_at(proto).unwrap();
        if !self.no_csum {
            common::fill_partial(self.ip.src, self.ip.dst, proto, &mut bytes[start..]);
        }
        let mut f = Frame::from_slice(&bytes);
        if !self.no_csum {
            f.offload.csum = Csum::Partial {
                start: start as u16,
                offset: at as u16,
            };
        }
        f.offload.gso = Some(Gso {
            kind: self.kind(),
            size: self.size,
            hdr_len: 0,
            ecn: self.ecn,
        });
        f
    }

    fn pieces(&self) -> Vec<Vec<u8>> {
        let size = usize::from(self.size);
        let count = self.payload.len().div_ceil(size).max(1);
        (0..count)
            .map(|i| {
                let mut flags = self.flags;
                if i + 1 < count {
                    flags &= !FIN_PSH;
                }
                if i > 0 && self.ecn {
                    flags &= !CWR;
                }
                let len = size.min(self.payload.len() - i * size);
                let (proto, l4) = self.transport(i * size, len, flags);
                self.around(i, proto, l4)
            })
            .collect()
    }

    fn tunnel(&self) -> Option<TunnelKind> {
        let (ip, wrap) = self.wraps.first()?;
        let inner = self.wraps.get(1).map_or(&self.ip, |w| &w.0);
        Some(match (wrap, ip.src.is_ipv4(), inner.src.is_ipv4()) {
            (Wrap::Gre { .. }, ..) => TunnelKind::Gre,
            (Wrap::Vxlan { .. }, ..) => TunnelKind::Vxlan,
            (Wrap::Geneve { .. }, ..) => TunnelKind::Geneve,
            (Wrap::Ip, true, true) => TunnelKind::Ipip,
            (Wrap::Ip, true, false) => TunnelKind::SixInFour,
            (Wrap::Ip, false, true) => TunnelKind::FourInSix,
            (Wrap::Ip, false, false) => TunnelKind::SixInSix,
        })
    }
}

fn wrapped(ip: &Ip, wrap: &Wrap, i: usize, ty: u16, packet: Vec<u8>) -> Vec<u8> {
    let overlay = |dport, header: &[u8], csum: bool, body: &[u8]| {
        let l4 = common::udp(5555, dport, &[header, body].concat());
        if csum {
            ip.packet(UDP, l4)
        } else {
            ip.raw(UDP, &l4)
        }
    };
    match *wrap {
        Wrap::Ip => ip.raw(if ty == 0x0800 { 4 } else { 41 }, &packet),
        Wrap::Vxlan { csum, tagged } => {
            let tags: &[_] = if tagged { &[(0x8100, 77)] } else { &[] };
            overlay(
                4789,
                &[8, 0, 0, 0, 1, 2, 3, 0],
                csum,
                &common::eth(tags, ty, &packet),
            )
        }
        Wrap::Geneve { csum, options, eth } => {
            let inner = if eth { 0x6558 } else { ty }.to_be_bytes();
            let mut h = vec![options as u8, 0, inner[0], inner[1], 1, 2, 3, 0];
            h.extend(vec![0xab; options * 4]);
            let body = if eth {
                common::eth(&[], ty, &packet)
            } else {
                packet
            };
            overlay(6081, &h, csum, &body)
        }
        Wrap::Gre {
            csum,
            key,
            seq,
            eth,
            label,
        } => {
            let mut body = packet;
            let mut ty = ty;
            if label {
                body = [&[0, 1, 1, 64][..], &body].concat();
                ty = 0x8847;
            }
            if eth {
                body = common::eth(&[(0x8100, 5)], ty, &body);
                ty = 0x6558;
            }
            let flags = u16::from(csum) << 15 | u16::from(key) << 13 | u16::from(seq) << 12;
            let mut h = [flags.to_be_bytes(), ty.to_be_bytes()].concat();
            if csum {
                h.extend([0; 4]);
            }
            if key {
                h.extend([0, 0, 0, 42]);
            }
            if seq {
                h.extend((0xffff_fffeu32.wrapping_add(i as u32)).to_be_bytes());
            }
            let mut gre = [h, body].concat();
            if csum {
                let c = !common::naive_sum(&[&gre]);
                gre[4..6].copy_from_slice(&c.to_be_bytes());
            }
            ip.raw(47, &gre)
        }
    }
}

fn any_ip() -> impl Strategy<Value = Ip> {
    (
        any::<bool>(),
        any::<u128>(),
        any::<u128>(),
        any::<u16>(),
        0usize..3,
    )
        .prop_map(|(v4, s, d, id, opt)| {
            let mut ip = Ip::v4([0; 4], [0; 4]);
            if v4 {
                ip.src = std::net::Ipv4Addr::from(s as u32).into();
                ip.dst = std::net::Ipv4Addr::from(d as u32).into();
                ip.options = vec![1; opt * 4];
            } else {
                ip.src = std::net::Ipv6Addr::from(s).into();
                ip.dst = std::net::Ipv6Addr::from(d).into();
                ip.ext = vec![(60, vec![0, 1, 4, 0, 0, 0, 0]); opt];
            }
            (ip.id, ip.tos) = (id, 0x03);
            ip
        })
}

fn any_wrap() -> impl Strategy<Value = Wrap> {
    let b = any::<bool>;
    prop_oneof![
        Just(Wrap::Ip),
        (b(), b()).prop_map(|(csum, tagged)| Wrap::Vxlan { csum, tagged }),
        (b(), 0usize..5, b()).prop_map(|(csum, options, eth)| Wrap::Geneve { csum, options, eth }),
        (b(), b(), b(), b(), b()).prop_map(|(csum, key, seq, eth, label)| Wrap::Gre {
            csum,
            key,
            seq,
            eth,
            label
        }),
    ]
}

prop_compose! {
    fn any_spec(max_wraps: usize)(
        wraps in prop::collection::vec((any_ip(), any_wrap()), 0..=max_wraps),
        ip in any_ip(),
        udp in any::<bool>(),
        flags in any::<u16>(),
        ecn in any::<bool>(),
        tcp_options in 0usize..11,
        tags in prop::collection::vec((prop_oneof![Just(0x8100u16), Just(0x88a8)], any::<u16>()), 0..4),
        labels in 0usize..3,
        pbb in prop::bool::weighted(0.2),
        size in prop_oneof![1u16..50, 500u16..9000],
        len in 0usize..4000,
        seed: u64,
    ) -> Spec {
        let payload = Rng(seed).bytes(len);
        let flags = flags & 0xfff;
        Spec { wraps, ip, udp, no_csum: false, flags, ecn, tcp_options, tags, labels, pbb, size, payload }
    }
}

fn cut(f: &Frame) -> Result<Vec<Frame>, SegmentError> {
    let mut out = vec![Frame::from_slice(b"what was there before")];
    let result = segment(f, &mut FramePool::new(), &mut out);
    assert_eq!(out.remove(0).bytes(), b"what was there before");
    if result.is_err() {
        assert!(out.is_empty(), "appended in spite of an error");
    }
    result.map(|()| out)
}

fn judge(spec: &Spec) -> Result<(), TestCaseError> {
    let f = spec.super_frame();
    let out = cut(&f).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let want = spec.pieces();
    prop_assert_eq!(out.len(), want.len());
    for (got, want) in out.iter().zip(&want) {
        prop_assert!(got.offload.is_plain());
        prop_assert_eq!(got.bytes(), &want[..]);
    }
    prop_assert_eq!(segment_count(&f), out.len());
    prop_assert_eq!(wire_len(&f), out.iter().map(Frame::len).sum::<usize>());
    Ok(())
}

/// What a bundle stands for is what [`segment`] gives, and a kernel can be told how to cut it.
fn judge_bundles(spec: &Spec) -> Result<(), TestCaseError> {
    let f = spec.super_frame();
    let (mut pool, mut bundles, mut out) = (FramePool::new(), Vec::new(), Vec::new());
    bundle(&f, &mut pool, &mut bundles).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let want = spec.pieces();
    for b in &bundles {
        prop_assert_eq!(fits(b, 65_535), Fit::AsIs);
        prop_assert!(b.len() <= 65_535 && segment_count(b) <= 64);
        segment(b, &mut pool, &mut out).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(b.offload.gso.is_some(), segment_count(b) > 1);
    }
    prop_assert_eq!(out.len(), want.len());
    for (got, want) in out.iter().zip(&want) {
        prop_assert_eq!(got.bytes(), &want[..]);
    }
    let udp = matches!(
        spec.wraps.first(),
        Some((ip, Wrap::Vxlan { csum: true, .. } | Wrap::Geneve { csum: true, .. })) if ip.ext.is_empty()
    );
    let bundled = udp && spec.labels == 0 && !spec.pbb;
    if bundled {
        prop_assert!(bundles.len() <= want.len().div_ceil(64) + 1 + f.len() / 16_000);
    } else {
        prop_assert_eq!(bundles, out);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn segments_equal_the_naive_pieces(spec in any_spec(0)) {
        judge(&spec)?;
        prop_assert_eq!(is_encapsulated(&spec.super_frame()), None);
    }

    #[test]
    fn segments_inside_tunnels_equal_the_naive_pieces(spec in any_spec(2)) {
        judge(&spec)?;
        prop_assert_eq!(is_encapsulated(&spec.super_frame()), spec.tunnel());
        let mtu = 65_535;
        let software = !spec.wraps.is_empty() || spec.labels > 0 || spec.pbb;
        let want = if software { Fit::Segment } else { Fit::AsIs };
        prop_assert_eq!(fits(&spec.super_frame(), mtu), want);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bundles_stand_for_the_naive_pieces(spec in any_spec(2)) {
        judge_bundles(&spec)?;
    }
}
