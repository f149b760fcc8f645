//! One case at a time.

use super::*;

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
