//! P6: a super-frame is cut into exactly the frames that a naive builder makes for each piece of its payload, under any
//! stack of tags and inside any tunnel that is followed.
#![allow(clippy::unwrap_used)]

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

fn plain(v4: bool, udp: bool, payload: usize, size: u16) -> Spec {
    let ip = if v4 {
        Ip::v4([10, 0, 0, 1], [10, 0, 0, 2])
    } else {
        Ip::v6("2001:db8::1", "2001:db8::2")
    };
    Spec {
        wraps: vec![],
        ip,
        udp,
        no_csum: false,
        flags: 0x18,
        ecn: false,
        tcp_options: 3,
        tags: vec![],
        labels: 0,
        pbb: false,
        size,
        payload: Rng(1).bytes(payload),
    }
}

#[test]
fn a_whole_64_kib_super_frame() {
    let spec = plain(true, false, 65_535 - 20 - 32, 1448);
    let f = spec.super_frame();
    let out = cut(&f).unwrap();
    assert_eq!(out.len(), 46);
    let joined: Vec<u8> = out
        .iter()
        .flat_map(|s| s.bytes()[14 + 20 + 32..].to_vec())
        .collect();
    assert_eq!(joined, spec.payload);
    assert!(out
        .iter()
        .all(|s| s.len() <= 1514 && csum::verify(s) == Ok(())));
}

/// The largest super-frame in VXLAN exceeds what one IP packet holds once each segment has its own headers.
#[test]
fn a_whole_64_kib_super_frame_in_two_bundles() {
    let outer = Ip::v4([192, 0, 2, 1], [192, 0, 2, 2]);
    let vxlan = Wrap::Vxlan {
        csum: true,
        tagged: false,
    };
    let spec = Spec {
        wraps: vec![(outer, vxlan)],
        ..plain(true, false, 65_535 - 90 - 32, 1398)
    };
    let (mut pool, mut bundles) = (FramePool::new(), vec![]);
    bundle(&spec.super_frame(), &mut pool, &mut bundles).unwrap();
    let counts: Vec<usize> = bundles.iter().map(segment_count).collect();
    assert_eq!(counts, [24, 23]);
    for b in &bundles {
        let gso = b.offload.gso.unwrap();
        let datagram = 8 + 14 + 20 + 32 + 1398;
        assert_eq!((gso.kind, gso.size), (GsoKind::UdpL4, datagram));
        assert_eq!(fits(b, 1500), Fit::AsIs);
    }
    assert_eq!(pieces_of(&bundles), spec.pieces());
}

/// RFC 768: 0 says that the sender computed none. A bundle could not say it.
#[test]
fn an_outer_checksum_of_zero_stays_zero() {
    let outer = Ip::v4([192, 0, 2, 1], [192, 0, 2, 2]);
    let vxlan = Wrap::Vxlan {
        csum: false,
        tagged: false,
    };
    let spec = Spec {
        wraps: vec![(outer, vxlan)],
        ..plain(true, false, 3000, 1000)
    };
    let mut bundles = vec![];
    bundle(&spec.super_frame(), &mut FramePool::new(), &mut bundles).unwrap();
    assert_eq!(bundles.len(), 3);
    assert!(bundles.iter().all(|b| b.bytes()[40..42] == [0, 0]));
    assert_eq!(pieces_of(&bundles), spec.pieces());
}

#[test]
fn the_flags_of_each_segment() {
    let mut spec = plain(true, false, 30, 10);
    spec.flags = 0x18 | 0x01 | 0x80 | 0x40;
    for (ecn, want) in [(true, [0xd0u8, 0x50, 0x59]), (false, [0xd0, 0xd0, 0xd9])] {
        spec.ecn = ecn;
        let flags: Vec<u8> = cut(&spec.super_frame())
            .unwrap()
            .iter()
            .map(|s| s.bytes()[14 + 20 + 13])
            .collect();
        assert_eq!(flags, want);
    }
}

/// A UDP super-frame whose sender computed no checksum has none in its segments either.
#[test]
fn udp_without_checksum_stays_without() {
    let mut spec = plain(true, true, 3000, 1000);
    spec.no_csum = true;
    let out = cut(&spec.super_frame()).unwrap();
    assert_eq!(
        out.iter().map(|s| s.bytes().to_vec()).collect::<Vec<_>>(),
        spec.pieces()
    );
    assert!(out.iter().all(|s| s.bytes()[40..42] == [0, 0]));
}

/// A sender that asks for a checksum gets one, even if it left no pseudo-header sum.
#[test]
fn a_partial_udp_checksum_of_zero_is_computed() {
    let spec = plain(true, true, 3000, 1000);
    let mut f = spec.super_frame();
    f.bytes_mut()[40..42].fill(0);
    let out = cut(&f).unwrap();
    assert_eq!(
        out.iter().map(|s| s.bytes().to_vec()).collect::<Vec<_>>(),
        spec.pieces()
    );
}

/// On the way to a waypoint the sum is over the final destination, which only the partial field knows.
#[test]
fn a_routing_header_keeps_the_final_destination_in_the_sum() {
    let mut spec = plain(false, false, 300, 100);
    spec.ip.ext = vec![(
        43,
        vec![
            2, 0, 1, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
        ],
    )];
    let mut f = spec.super_frame();
    let final_dst = "2001:db8::9".parse().unwrap();
    let l4 = 14 + 40 + 24;
    common::fill_partial(spec.ip.src, final_dst, TCP, &mut f.bytes_mut()[l4..]);
    for s in cut(&f).unwrap() {
        let l4 = &s.bytes()[l4..];
        let ps = common::pseudo(spec.ip.src, final_dst, TCP, l4.len());
        assert_eq!(common::naive_sum(&[&ps, l4]), 0xffff);
    }
    f.offload.csum = Csum::Complete;
    assert_eq!(cut(&f), Err(SegmentError::EnRoute));
}

/// Our own edits on a super-frame, then the cut.
#[test]
fn tags_pushed_after_arrival_are_repeated() {
    let mut spec = plain(false, false, 5000, 1400);
    let mut f = spec.super_frame();
    assert!(edit::push_mpls(
        &mut f,
        EtherType::MPLS,
        Lse::new(16, 0, true, 64)
    ));
    assert!(edit::push_vlan(&mut f, EtherType::QINQ, VlanTci(9)));
    let out = cut(&f).unwrap();
    spec.labels = 1;
    spec.tags = vec![(0x88a8, 9)];
    assert_eq!(
        out.iter().map(|s| s.bytes().to_vec()).collect::<Vec<_>>(),
        spec.pieces()
    );
}

#[test]
fn no_super_frame_gives_one_completed_copy() {
    let spec = plain(true, false, 100, 1);
    let mut f = spec.super_frame();
    f.offload.gso = None;
    let out = cut(&f).unwrap();
    assert_eq!(out.len(), 1);
    assert_eq!(csum::verify(&out[0]), Ok(()));
    assert!(out[0].offload.is_plain());
    assert_eq!((segment_count(&f), wire_len(&f)), (1, f.len()));
    f.offload.csum = Csum::Partial {
        start: 60_000,
        offset: 16,
    };
    assert!(matches!(cut(&f), Err(SegmentError::Checksum(_))));
}

#[test]
fn what_cannot_be_cut_is_named() {
    let spec = plain(true, false, 1000, 100);
    let gso = |f: &mut Frame, kind, size| {
        f.offload.gso = Some(Gso {
            kind,
            size,
            hdr_len: 66,
            ecn: false,
        })
    };
    let mut f = spec.super_frame();
    gso(&mut f, GsoKind::TcpV6, 100);
    assert_eq!(
        cut(&f),
        Err(SegmentError::Kind {
            kind: GsoKind::TcpV6,
            found: IpProto::TCP
        })
    );
    gso(&mut f, GsoKind::UdpL4, 100);
    assert_eq!(
        cut(&f),
        Err(SegmentError::Kind {
            kind: GsoKind::UdpL4,
            found: IpProto::TCP
        })
    );
    gso(&mut f, GsoKind::TcpV4, 0);
    assert_eq!(cut(&f), Err(SegmentError::ZeroSize));
    assert_eq!(segment_count(&f), 1000, "statistics are total");

    let many = plain(true, false, MAX_SEGMENTS + 1, 1).super_frame();
    assert_eq!(cut(&many), Err(SegmentError::TooMany(MAX_SEGMENTS + 1)));
    assert_eq!(
        cut(&plain(true, false, MAX_SEGMENTS, 1).super_frame())
            .unwrap()
            .len(),
        MAX_SEGMENTS
    );

    let inner = |proto: u8, body: &[u8]| {
        let ip = Ip::v4([1, 1, 1, 1], [2, 2, 2, 2]);
        let mut f = Frame::from_slice(&common::eth(&[], 0x0800, &ip.raw(proto, body)));
        f.offload = spec.super_frame().offload;
        f.offload.csum = Csum::Partial {
            start: 100,
            offset: 16,
        };
        assert_eq!(is_encapsulated(&f), Some(TunnelKind::Unknown));
        assert_eq!(fits(&f, 9000), Fit::Segment);
        cut(&f).unwrap_err()
    };
    let body = [0x45; 200];
    assert_eq!(inner(50, &body), Unfollowed::Protocol(IpProto::ESP).into());
    assert_eq!(
        inner(UDP, &common::udp(1, 500, &body)),
        Unfollowed::UdpPort(500).into()
    );
    assert_eq!(
        inner(47, &[&[0x30, 1, 0x88, 0x0b][..], &body].concat()),
        Unfollowed::Gre(0x3001).into()
    );
    assert_eq!(
        inner(47, &[&[0, 0, 0x88, 0xbe][..], &body].concat()),
        Unfollowed::EtherType(EtherType(0x88be)).into()
    );
    assert_eq!(
        inner(
            47,
            &[&[0, 0, 0x88, 0x47, 0, 0, 1, 1, 0][..], &body].concat()
        ),
        Unfollowed::MplsPayload.into()
    );
    assert_eq!(inner(TCP, &body), Unfollowed::Protocol(IpProto::TCP).into());
    let geneve = common::udp(
        1,
        6081,
        &[&[0x40, 0, 0x65, 0x58, 0, 0, 0, 0][..], &body].concat(),
    );
    assert_eq!(inner(UDP, &geneve), Unfollowed::Geneve(0x40).into());

    let mut frag = spec.clone();
    frag.ip.frag = 0x2000;
    assert_eq!(cut(&frag.super_frame()), Err(Unfollowed::Fragment.into()));
    let mut deep = spec.clone();
    deep.wraps = vec![(spec.ip.clone(), Wrap::Ip); 8];
    assert_eq!(cut(&deep.super_frame()), Err(Unfollowed::TooDeep.into()));
    deep.wraps.pop();
    assert!(cut(&deep.super_frame()).is_ok());
    let mut short = spec.super_frame();
    short.truncate(80);
    assert_eq!(cut(&short), Err(Unfollowed::Malformed.into()));
    let mut inside_header = spec.super_frame();
    inside_header.offload.csum = Csum::Partial {
        start: 20,
        offset: 16,
    };
    assert_eq!(cut(&inside_header), Err(Unfollowed::NoTransport.into()));
}

/// What counts against the MTU: everything behind the Ethernet header but one outermost 0x8100 tag.
#[test]
fn fits_a_port() {
    let frame = |tags: &[(u16, u16)], l3: usize| {
        Frame::from_slice(&common::eth(tags, 0x0800, &vec![0; l3]))
    };
    let (c, s) = ((0x8100, 1), (0x88a8, 1));
    for (tags, l3, want) in [
        (&[][..], 1500, Fit::AsIs),
        (&[], 1501, Fit::TooBig { octets: 1501 }),
        (&[c], 1500, Fit::AsIs),
        (&[c], 1501, Fit::TooBig { octets: 1501 }),
        (&[s], 1496, Fit::AsIs),
        (&[s], 1497, Fit::TooBig { octets: 1501 }),
        (&[c, c], 1496, Fit::AsIs),
        (&[c, c], 1500, Fit::TooBig { octets: 1504 }),
        (&[s, c], 1492, Fit::AsIs),
        (&[s, c], 1493, Fit::TooBig { octets: 1501 }),
    ] {
        assert_eq!(fits(&frame(tags, l3), 1500), want, "{tags:?} {l3}");
    }
    let mut labelled = frame(&[], 1497);
    edit::push_mpls(&mut labelled, EtherType::MPLS, Lse(0x1ff));
    assert_eq!(fits(&labelled, 1500), Fit::TooBig { octets: 1501 });

    let mut spec = plain(true, false, 40_000, 1448);
    assert_eq!(fits(&spec.super_frame(), 1500), Fit::AsIs);
    assert_eq!(
        fits(&spec.super_frame(), 1499),
        Fit::TooBig { octets: 1500 }
    );
    spec.tags = vec![c];
    assert_eq!(fits(&spec.super_frame(), 1500), Fit::AsIs);
    spec.tags = vec![s];
    assert_eq!(
        fits(&spec.super_frame(), 1500),
        Fit::TooBig { octets: 1504 }
    );
    spec.tags = vec![];
    spec.labels = 1;
    assert_eq!(
        fits(&spec.super_frame(), 1500),
        Fit::TooBig { octets: 1504 }
    );
    assert_eq!(fits(&spec.super_frame(), 1504), Fit::Segment);
    spec.payload.truncate(100);
    assert_eq!(
        fits(&spec.super_frame(), 1500),
        Fit::Segment,
        "the only segment is short"
    );
}

/// 10^5 damaged frames with damaged metadata: no panic; what is cut has true checksums and bounded sizes.
/// The octets of all frames that `bundles` stand for.
fn pieces_of(bundles: &[Frame]) -> Vec<Vec<u8>> {
    bundles
        .iter()
        .flat_map(|b| cut(b).unwrap())
        .map(|f| f.bytes().to_vec())
        .collect()
}

#[test]
fn hostile_super_frames_cost_nothing() {
    let mut rng = Rng(40);
    let seeds = common::seeds();
    let mut pool = FramePool::new();
    let mut cut_some = 0;
    for _ in 0..100_000 {
        let bytes = common::hostile(&mut rng, &seeds);
        let mut f = Frame::from_slice(&bytes);
        let kind = [GsoKind::TcpV4, GsoKind::TcpV6, GsoKind::UdpL4][rng.below(3)];
        let size = [0, 1, 3, 7, 1448, 65_535][rng.below(6)];
        let hdr_len = rng.next() as u16;
        f.offload.gso = Some(Gso {
            kind,
            size,
            hdr_len,
            ecn: rng.below(2) == 0,
        });
        if rng.below(4) != 0 {
            let start = [34, 38, 54, 88, 96, 62][rng.below(6)] + rng.below(2) as u16 * 4;
            f.offload.csum = Csum::Partial {
                start,
                offset: rng.below(20) as u16,
            };
        }
        let mut out = vec![];
        let (count, wire) = (segment_count(&f), wire_len(&f));
        let _ = (is_encapsulated(&f), fits(&f, rng.below(2000) as u32));
        match segment(&f, &mut pool, &mut out) {
            Ok(()) => {
                cut_some += 1;
                assert_eq!(out.len(), count);
                assert_eq!(out.iter().map(Frame::len).sum::<usize>(), wire);
                for s in &out {
                    assert_eq!(csum::verify(s), Ok(()), "{f:?}");
                }
            }
            Err(_) => assert!(out.is_empty()),
        }
        let mut bundles = vec![];
        if bundle(&f, &mut pool, &mut bundles).is_ok() {
            assert!(!out.is_empty());
            let whole = out.drain(..).map(|s| s.bytes().to_vec());
            assert!(whole.eq(pieces_of(&bundles)), "{f:?}");
        }
        assert!(out.is_empty(), "cut, but not bundled: {f:?}");
        for s in out.into_iter().chain(bundles) {
            pool.give(s);
        }
    }
    assert!(
        cut_some > 1_000,
        "the corpus is too hostile to prove anything: {cut_some}"
    );
}
