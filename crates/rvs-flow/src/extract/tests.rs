#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{mutated_frame, Entropy, ATTACKS, P0};

fn key_of(bytes: &[u8]) -> FlowKey {
    extract_bytes(bytes, DpPort(1), ParseLimits::new(2))
}

fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut f = P0.to_vec();
    f[at..at + bytes.len()].copy_from_slice(bytes);
    f
}

/// Destructured without `..`: a field that is added must be thought of here.
fn assert_no_field_of_an_absent_layer(k: &FlowKey, frame: &[u8]) {
    let FlowKey {
        in_port,
        recirc_id,
        present: p,
        dl_type,
        nw_proto,
        nw_tos,
        dl_dst,
        vlan0_tci,
        dl_src,
        vlan1_tci,
        vlan0_tpid,
        vlan1_tpid,
        nw_ttl,
        nw_frag,
        tcp_flags,
        nw_src,
        nw_dst,
        tp_src,
        tp_dst,
        ipv6_label,
        ipv6_src,
        ipv6_dst,
        arp_sha,
        ipv6_exthdr,
        arp_tha,
        nd_options_type,
        _zero0,
        nd_target,
        mpls_lse,
        pbb_isid,
        nd_reserved,
        pkt_mark,
    } = *k;
    let absent = |layers: Present, zero: bool| {
        assert!(p.any(layers) || zero, "{layers:?} in {k:?} of {frame:02x?}");
    };
    assert_eq!((in_port, recirc_id, pkt_mark, _zero0), (1, 0, 0, 0));
    if p.has(Present::BAD_L2) {
        assert_eq!((dl_dst, dl_src, dl_type.get()), ([0; 6], [0; 6], 0));
    }
    absent(
        Present::VLAN0,
        vlan0_tci.get() == 0 && vlan0_tpid.get() == 0,
    );
    absent(
        Present::VLAN1,
        vlan1_tci.get() == 0 && vlan1_tpid.get() == 0,
    );
    absent(Present::L3, nw_proto == 0);
    absent(Present::IP, nw_tos == 0 && nw_ttl == 0 && nw_frag == 0);
    absent(
        Present::IPV4 | Present::ARP,
        nw_src == [0; 4] && nw_dst == [0; 4],
    );
    absent(Present::IPV6, ipv6_src == [0; 16] && ipv6_dst == [0; 16]);
    absent(Present::IPV6, ipv6_label.get() == 0);
    absent(Present::EXTHDR, ipv6_exthdr.get() == 0);
    absent(Present::L4, tp_src.get() == 0 && tp_dst.get() == 0);
    absent(Present::TCP, tcp_flags.get() == 0);
    absent(
        Present::ND,
        nd_target == [0; 16] && nd_reserved.get() == 0 && nd_options_type == 0,
    );
    absent(Present::ARP | Present::ND_SLL, arp_sha == [0; 6]);
    absent(Present::ARP | Present::ND_TLL, arp_tha == [0; 6]);
    absent(Present::PBB, pbb_isid.get() == 0);
    absent(Present::MPLS0, mpls_lse[0].get() == 0);
    absent(Present::MPLS1, mpls_lse[1].get() == 0);
    absent(Present::MPLS2, mpls_lse[2].get() == 0);
    assert!(
        k.width() == FlowKey::WORDS || crate::Key::words(k)[k.width()..].iter().all(|w| *w == 0)
    );
}

/// Layers exclude each other and build on each other.
fn assert_layers_make_sense(p: Present, frame: &[u8]) {
    let count = |layers: Present| (p.0 & layers.0).count_ones();
    assert!(
        count(Present::L3 | Present::MPLS0 | Present::PBB) <= 1,
        "{p:?} {frame:02x?}"
    );
    assert!(count(Present::L4) <= 1, "{p:?} {frame:02x?}");
    let implies = |a: Present, b: Present| !p.has(a) || p.any(b);
    assert!(implies(Present::VLAN1, Present::VLAN0));
    assert!(implies(Present::MPLS1, Present::MPLS0) && implies(Present::MPLS2, Present::MPLS1));
    for l4 in [Present::TCP, Present::UDP, Present::SCTP, Present::ICMP] {
        assert!(implies(l4, Present::IP));
    }
    assert!(implies(Present::ND, Present::ICMP) && implies(Present::ND, Present::IPV6));
    assert!(implies(Present::ND_SLL, Present::ND) && implies(Present::ND_TLL, Present::ND));
    assert!(!p.has(Present::LATER_FRAG) || !p.any(Present::L4));
    assert!(!p.has(Present::BAD_L3) || !p.any(Present::L3));
}

#[test]
fn a_hundred_thousand_hostile_frames() {
    let mut seen = Present::NONE;
    for seed in 0..100_000 {
        let frame = mutated_frame(&mut Entropy::seed(seed));
        let key = key_of(&frame);
        assert_no_field_of_an_absent_layer(&key, &frame);
        assert_layers_make_sense(key.present, &frame);
        seen |= key.present;
    }
    // The generator reaches every layer and every kind of malformed header.
    assert_eq!(seen.0, Present::BAD_L2.0 * 2 - 1);
}

#[test]
fn truncation_never_makes_a_field() {
    for seed in 0..2_000 {
        let frame = crate::testing::frame(&mut Entropy::seed(seed));
        let whole = key_of(&frame);
        for len in 0..frame.len() {
            let key = key_of(&frame[..len]);
            assert_no_field_of_an_absent_layer(&key, &frame[..len]);
            // What is still there reads as before.
            let common = Present(key.present.0 & whole.present.0);
            if common.any(Present::L4) {
                assert_eq!((key.tp_src, key.tp_dst), (whole.tp_src, whole.tp_dst));
            }
            if common.has(Present::IPV4) {
                assert_eq!((key.nw_src, key.nw_proto), (whole.nw_src, whole.nw_proto));
            }
        }
    }
}

#[test]
fn padding_changes_no_key() {
    for seed in 0..5_000 {
        let mut frame = crate::testing::frame(&mut Entropy::seed(seed));
        let key = key_of(&frame);
        if !key.present.any(Present::L3) {
            continue;
        }
        frame.extend([0x5a; 300]);
        assert_eq!(key_of(&frame), key, "{frame:02x?}");
    }
}

#[test]
fn recorded_attacks() {
    for (name, prefix, fill, count) in ATTACKS {
        let mut frame = prefix.to_vec();
        frame.resize(prefix.len() + count, fill);
        let key = key_of(&frame);
        let want = match (prefix.len(), count) {
            (42, _) => key_of(&P0),
            (_, 1024) => FlowKey {
                present: Present::MPLS0 | Present::MPLS1 | Present::MPLS2,
                mpls_lse: [0xcccc_cccc.into(); 3],
                ..key_of(&frame[..14])
            },
            _ => FlowKey {
                present: Present::BAD_L3,
                ..key_of(&frame[..14])
            },
        };
        assert_eq!(key, want, "{name}");
    }
}

/// CVE-2016-10377: an IPv4 header that lies about its lengths has no addresses.
#[test]
fn cve_2016_10377_ipv4_lengths() {
    for frame in [
        with(16, &[0x00, 0x10]),
        with(16, &[0x00, 0x00]),
        with(16, &[0xff, 0xff]),
        with(14, &[0x4f]),
        with(14, &[0x41]),
        with(14, &[0x40]),
    ] {
        let key = key_of(&frame);
        assert_eq!(key.present, Present::BAD_L3, "{frame:02x?}");
        assert_eq!(key.dl_type.get(), 0x0800);
    }
}

/// CVE-2017-9264: a transport header that lies about its length has no ports.
#[test]
fn cve_2017_9264_transport_lengths() {
    let tcp = b"\xbe\x95\xdf\x40\xfb\x57\xfa\x16\x3e\xe3\x57\x08\x08\x00\
\x45\x00\x00\x28\x00\x01\x00\x00\x40\x06\x3e\x94\x0a\x0a\x0a\x0a\x14\x14\x14\x14\
\x00\x64\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\xf0\x02\x20\x00\x93\x33\x00\x00";
    for offset in [0xf0, 0x10, 0x00, 0x60] {
        let mut frame = tcp.to_vec();
        frame[46] = offset;
        assert_eq!(
            key_of(&frame).present,
            Present::IPV4 | Present::BAD_L4,
            "{offset:x}"
        );
    }
    for udp_len in [0u16, 1, 7, 9, 0xffff] {
        let key = key_of(&with(38, &udp_len.to_be_bytes()));
        assert_eq!(key.present, Present::IPV4 | Present::BAD_L4, "{udp_len}");
        assert_eq!(
            (key.tp_src.get(), key.tp_dst.get(), key.nw_proto),
            (0, 0, 17)
        );
    }
}

#[test]
fn fragments() {
    let first = key_of(&with(20, &[0x20, 0]));
    assert_eq!((first.nw_frag, first.tp_dst.get()), (FRAG_ANY, 53));
    // The datagram's length goes past the first fragment, rightly.
    let mut long = with(20, &[0x20, 0]);
    long[38..40].copy_from_slice(&2000u16.to_be_bytes());
    assert_eq!(key_of(&long).present, Present::IPV4 | Present::UDP);
    let later = key_of(&with(20, &[0, 1]));
    assert_eq!(later.present, Present::IPV4 | Present::LATER_FRAG);
    assert_eq!((later.nw_frag, later.nw_proto), (FRAG_ANY | FRAG_LATER, 17));
    // A first fragment too short for its transport header.
    let mut tiny = with(20, &[0x20, 0]);
    tiny[16..18].copy_from_slice(&24u16.to_be_bytes());
    assert_eq!(key_of(&tiny).present, Present::IPV4 | Present::BAD_L4);
}

fn tagged(tags: &[u16], limit: u8) -> FlowKey {
    let mut frame = P0[..12].to_vec();
    for tci in tags {
        frame.extend([0x81, 0]);
        frame.extend(tci.to_be_bytes());
    }
    frame.extend(&P0[12..]);
    extract_bytes(&frame, DpPort(1), ParseLimits::new(limit))
}

#[test]
fn tags_up_to_the_limit() {
    let one = tagged(&[0xa00a], 1);
    assert_eq!((one.vlan0_tci.get(), one.dl_type.get()), (0xb00a, 0x0800));
    let inner_is_payload = tagged(&[10, 20], 1);
    assert_eq!(inner_is_payload.dl_type.get(), 0x8100);
    assert_eq!(inner_is_payload.present, Present::VLAN0);
    let both = tagged(&[10, 20], 2);
    assert_eq!(
        (both.vlan0_tci.get(), both.vlan1_tci.get()),
        (0x100a, 0x1014)
    );
    assert!(both
        .present
        .has(Present::VLAN0 | Present::VLAN1 | Present::UDP));
    assert_eq!(tagged(&[1, 2, 3], 2).dl_type.get(), 0x8100);
    assert_eq!(tagged(&[1, 2], 0), tagged(&[1, 2], 2));
    // Priority-tagged is not untagged, and DEI is not part of the key (B3 of the field's wrong-forwarding record).
    assert_eq!(tagged(&[0], 1).vlan0_tci.get(), TCI_PRESENT);
    assert_eq!(tagged(&[0x1005], 1), tagged(&[0x0005], 1));
}

#[test]
fn a_tag_cut_off_is_announced_and_absent() {
    for len in 14..18 {
        let mut frame = P0[..12].to_vec();
        frame.extend([0x81, 0, 0, 10]);
        frame.resize(18, 0);
        let key = extract_bytes(&frame[..len], DpPort(1), ParseLimits::new(1));
        let want = if len < 18 {
            Present::BAD_VLAN
        } else {
            Present::VLAN0
        };
        assert_eq!(key.present, want, "{len}");
        assert_eq!(key.dl_type.get(), if len < 18 { 0x8100 } else { 0x05ff });
    }
}

#[test]
fn arp_shapes() {
    let mut frame = P0[..12].to_vec();
    frame.extend(b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01");
    frame.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    let key = key_of(&frame);
    assert_eq!(key.present, Present::ARP);
    assert_eq!(
        (key.nw_proto, key.nw_dst, key.arp_sha[5]),
        (1, [10, 0, 0, 2], 1)
    );
    assert_eq!(key_of(&frame[..41]).present, Present::BAD_L3);
    frame[20] = 1;
    assert_eq!(key_of(&frame).nw_proto, 0);
    frame[15] = 6;
    assert_eq!(key_of(&frame).present, Present::NONE);
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut f = P0[..12].to_vec();
    f.extend([0x86, 0xdd, 0x6a, 0xb1, 0x23, 0x45]);
    f.extend((payload.len() as u16).to_be_bytes());
    f.extend([next, 64]);
    f.extend([0xfe; 16]);
    f.extend([0xff; 16]);
    f.extend(payload);
    f
}

#[test]
fn ipv6_extension_headers() {
    let udp = [0, 7, 0, 9, 0, 8, 0, 0];
    let chain = [
        &[60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0][..],
        &udp,
    ]
    .concat();
    let key = key_of(&ipv6(0, &chain));
    assert_eq!(key.present, Present::IPV6 | Present::EXTHDR | Present::UDP);
    assert_eq!(
        (key.nw_proto, key.tp_src.get(), key.tp_dst.get()),
        (17, 7, 9)
    );
    assert_eq!((key.nw_tos, key.ipv6_label.get()), (0xab, 0x12345));
    // A later fragment is protocol 44, whatever the datagram holds.
    let later = [&[17, 0, 0, 8, 0, 0, 0, 1][..], &udp].concat();
    let key = key_of(&ipv6(44, &later));
    assert_eq!(
        key.present,
        Present::IPV6 | Present::EXTHDR | Present::LATER_FRAG
    );
    assert_eq!((key.nw_proto, key.nw_frag), (44, FRAG_ANY | FRAG_LATER));
    let first = [&[17, 0, 0, 1, 0, 0, 0, 1][..], &udp].concat();
    let key = key_of(&ipv6(44, &first));
    assert_eq!(
        (key.nw_proto, key.nw_frag, key.tp_dst.get()),
        (17, FRAG_ANY, 9)
    );
    // A header past the end leaves no IPv6 at all.
    assert_eq!(
        key_of(&ipv6(0, &[17, 9, 0, 0, 0, 0, 0, 0])).present,
        Present::BAD_L3
    );
}

fn neighbour(kind: u8, code: u8, options: &[u8]) -> FlowKey {
    let mut icmp = vec![kind, code, 0, 0, 0x40, 0, 0, 0];
    icmp.extend([0x20; 16]);
    icmp.extend(options);
    key_of(&ipv6(58, &icmp))
}

/// CVE-2023-5366 and the option bounds of B12: a lying option leaves no ND field, so that no rule can rewrite one.
#[test]
fn neighbour_discovery() {
    let base = Present::IPV6 | Present::ICMP;
    let sll = [1, 1, 2, 0, 0, 0, 0, 9];
    let tll = [2, 1, 2, 0, 0, 0, 0, 8];
    let key = neighbour(135, 0, &sll);
    assert_eq!(key.present, base | Present::ND | Present::ND_SLL);
    assert_eq!(
        (key.arp_sha[5], key.nd_options_type, key.nd_reserved.get()),
        (9, 1, 0x4000_0000)
    );
    let both = neighbour(
        136,
        0,
        &[&[14, 1, 0, 0, 0, 0, 0, 0][..], &tll, &sll].concat(),
    );
    assert_eq!(
        both.present,
        base | Present::ND | Present::ND_SLL | Present::ND_TLL
    );
    assert_eq!(both.nd_options_type, 2);
    for bad in [
        &[1, 0, 2, 0, 0, 0, 0, 9][..],
        &[1, 2, 2, 0, 0, 0, 0, 9],
        &[1, 255, 2, 0, 0, 0, 0, 9],
        &[sll, sll].concat(),
    ] {
        let key = neighbour(135, 0, bad);
        assert_eq!(key.present, base | Present::BAD_L4, "{bad:?}");
        assert_eq!((key.tp_src.get(), key.nd_target), (135, [0; 16]));
    }
    assert_eq!(neighbour(135, 1, &sll).present, base);
    assert_eq!(neighbour(133, 0, &sll).present, base);
}

#[test]
fn a_super_frame_has_the_key_of_its_segments() {
    let mut frame = P0.to_vec();
    frame[23] = 6;
    frame[16..18].copy_from_slice(&60_000u16.to_be_bytes());
    frame.truncate(34);
    frame.extend([
        0, 80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0,
    ]);
    frame.resize(60_014, 0x5a);
    let key = key_of(&frame);
    assert_eq!(key.present, Present::IPV4 | Present::TCP);
    assert_eq!((key.tp_src.get(), key.tcp_flags.get()), (80, 0x10));
}
