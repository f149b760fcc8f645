//! Frames: layer upon layer, then mutated.

use rvs_packet::csum::{sctp_crc, Sum};
use rvs_packet::layout::{Layout, Net, Transport};

use super::Entropy;

/// UDP 1.1.1.1 to 1.1.1.2:53, the base of the attack frames.
pub const P0: [u8; 42] = *b"\
\x00\x02\x02\x02\x02\x00\x00\x01\x01\x01\x01\x00\x08\x00\
\x45\x00\x00\x1c\x00\x01\x00\x00\x40\x11\x76\xcc\x01\x01\x01\x01\x01\x01\x01\x02\
\x0d\x6a\x00\x35\x00\x08\xee\x3a";

/// Frames that broke switches, by the record of it: prefix octets, then one octet repeated.
pub const ATTACKS: [(&str, &[u8], u8, usize); 6] = [
    (
        "CVE-2016-2074: a stack of 1024 octets of labels",
        &MPLS,
        0xcc,
        1024,
    ),
    ("CVE-2016-2074: an MPLS frame without a label", &MPLS, 0, 0),
    (
        "CVE-2016-2074: a label cut after three octets",
        &MPLS,
        0xcc,
        3,
    ),
    ("CVE-2020-35498: 255 octets of padding", &P0, 0, 255),
    ("CVE-2020-35498: 256 octets of padding", &P0, 0, 256),
    ("CVE-2020-35498: padding up to the MTU", &P0, 0, 1472),
];

const MPLS: [u8; 14] = *b"\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x88\x47";

const MACS: [[u8; 6]; 8] = [
    [2, 0, 0, 0, 0, 1],
    [2, 0, 0, 0, 0, 2],
    [2, 0, 0, 0, 0, 3],
    [2, 0, 0, 0, 0, 4],
    [0xff; 6],
    [0x33, 0x33, 0, 0, 0, 1],
    [1, 0, 0x5e, 0, 0, 1],
    [1, 0x80, 0xc2, 0, 0, 0],
];
const VIDS: [u16; 7] = [10, 100, 200, 0, 1, 11, 4095];
const PORTS: [u16; 8] = [80, 22, 53, 443, 0, 1024, 32768, 65535];
const HOSTS: [u8; 6] = [1, 2, 3, 4, 254, 255];

/// A well-formed frame.
pub fn frame(e: &mut Entropy<'_>) -> Vec<u8> {
    let mut b = Vec::with_capacity(128);
    // A source is never a group address.
    let src = MACS[e.below(4)];
    b.extend(e.pick(&MACS));
    b.extend(src);
    let tags = [0, 0, 1, 0, 1, 2, 0, 3][e.below(8)];
    for _ in 0..tags {
        b.extend(e.pick(&[0x8100u16, 0x8100, 0x88a8]).to_be_bytes());
        let tci = e.pick(&VIDS) | u16::from(e.u8() & 0xf0) << 8;
        b.extend(tci.to_be_bytes());
    }
    match e.below(16) {
        0..=5 => ipv4(e, &mut b),
        6..=9 => ipv6(e, &mut b),
        10 | 11 => arp(e, &mut b),
        12 => mpls(e, &mut b),
        13 => pbb(e, &mut b),
        14 => llc(e, &mut b),
        _ => {
            b.extend(e.pick(&[0x88ccu16, 0x9000, 0x88b5, 0x22f0]).to_be_bytes());
            filler(e, &mut b, 48);
        }
    }
    match e.below(8) {
        0..=4 => b.resize(b.len().max(60), 0),
        5 => {
            // More padding than any header is long.
            let len = b.len() + e.below(300);
            b.resize(len, 0xaa);
        }
        _ => {}
    }
    fix_checksums(&mut b);
    b
}

/// Any frame: well-formed, broken here and there, or noise.
pub fn mutated_frame(e: &mut Entropy<'_>) -> Vec<u8> {
    if e.one_in(32) {
        let mut noise = Vec::new();
        filler(e, &mut noise, 128);
        return noise;
    }
    let mut b = frame(e);
    for _ in 0..e.below(4) {
        mutate(e, &mut b);
    }
    b
}

/// One change of the kind that attacks and faults make.
pub fn mutate(e: &mut Entropy<'_>, b: &mut Vec<u8>) {
    let at = e.below(b.len().clamp(1, 120));
    match e.below(8) {
        0 => b.truncate(at),
        1 | 2 => {
            if let Some(v) = b.get_mut(at) {
                *v = e.u8();
            }
        }
        3 => {
            if let Some(v) = b.get_mut(at) {
                *v ^= 1 << e.below(8);
            }
        }
        // Lengths, offsets and types live in the low octets after the addresses.
        4 | 5 => {
            let value = e.pick(&[0u8, 1, 4, 5, 0x0f, 0x40, 0x41, 0x4f, 0x60, 0x7f, 0x80, 0xff]);
            let at = 12 + e.below(60);
            if let Some(v) = b.get_mut(at) {
                *v = value;
            }
        }
        6 => {
            let end = (at + e.below(16)).min(b.len());
            if at < end {
                b.drain(at..end);
            }
        }
        _ => {
            let mut more = Vec::new();
            filler(e, &mut more, 16);
            let at = at.min(b.len());
            b.splice(at..at, more);
        }
    }
}

/// Computes the IPv4 header checksum and the transport checksum of what is there.
pub fn fix_checksums(b: &mut [u8]) {
    let lay = Layout::of(b);
    if lay.net == Net::Ipv4 {
        b[lay.l3 + 10..lay.l3 + 12].fill(0);
        let sum = Sum::of(&b[lay.l3..lay.l4]).checksum();
        b[lay.l3 + 10..lay.l3 + 12].copy_from_slice(&sum.to_be_bytes());
    }
    if lay.transport == Transport::Sctp {
        b[lay.l4 + 8..lay.l4 + 12].fill(0);
        let crc = sctp_crc(&b[lay.l4..lay.end]);
        b[lay.l4 + 8..lay.l4 + 12].copy_from_slice(&crc.to_le_bytes());
    }
    let Some(at) = lay.transport.csum_at().map(|o| lay.l4 + o) else {
        return;
    };
    let pseudo = lay.pseudo(b, lay.end - lay.l4);
    b[at..at + 2].fill(0);
    let mut sum = Sum::of(&b[lay.l4..lay.end]);
    if lay.transport.covers_addresses() {
        sum = sum.plus(pseudo.unwrap_or_default());
    }
    let sum = match lay.transport {
        Transport::Udp => sum.udp_checksum(),
        _ => sum.checksum(),
    };
    b[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn filler(e: &mut Entropy<'_>, b: &mut Vec<u8>, max: usize) {
    for _ in 0..e.below(max) {
        b.push(e.u8());
    }
}

fn ipv4(e: &mut Entropy<'_>, b: &mut Vec<u8>) {
    b.extend([0x08, 0x00]);
    let start = b.len();
    let options = [0, 0, 0, 1, 10][e.below(5)];
    b.extend([0x45 + options, e.u8(), 0, 0, 0, e.u8()]);
    let frag = e.pick(&[0x4000u16, 0, 0, 0x2000, 0x2010, 0x0010]);
    b.extend(frag.to_be_bytes());
    b.extend([e.pick(&[64, 255, 1, 0]), 0, 0, 0]);
    b.extend([10, 0, 0, e.pick(&HOSTS)]);
    b.extend([10, 0, e.pick(&[0, 0, 1]), e.pick(&HOSTS)]);
    b.extend(std::iter::repeat_n(1, usize::from(options) * 4));
    let proto = upper(e, b, &[6, 17, 1, 132, 2, 47], frag & 0x1fff != 0);
    b[start + 9] = proto;
    let len = (b.len() - start) as u16;
    b[start + 2..start + 4].copy_from_slice(&len.to_be_bytes());
}

fn ipv6_address(e: &mut Entropy<'_>) -> [u8; 16] {
    let mut a = [0; 16];
    a[..2].copy_from_slice(&e.pick(&[[0xfe, 0x80], [0x20, 0x01], [0xff, 0x02]]));
    a[15] = e.pick(&HOSTS);
    a
}

fn ipv6(e: &mut Entropy<'_>, b: &mut Vec<u8>) {
    b.extend([0x86, 0xdd]);
    let start = b.len();
    b.extend([0x60 | (e.u8() & 0xf), e.u8(), 0, e.pick(&[0, 1, 0xff])]);
    b.extend([0, 0, 59, e.pick(&[64, 255, 1, 0])]);
    b.extend(ipv6_address(e));
    b.extend(ipv6_address(e));
    let mut next_at = start + 6;
    let mut later = false;
    for _ in 0..[0, 0, 0, 1, 2, 3][e.below(6)] {
        let kind = e.pick(&[0u8, 60, 43, 44, 51]);
        b[next_at] = kind;
        next_at = b.len();
        match kind {
            44 => {
                let offset = e.pick(&[1u16, 0x11, 0x10, 0]);
                later = offset & 0xfff8 != 0;
                b.extend([59, 0]);
                b.extend(offset.to_be_bytes());
                b.extend([0, 0, 0, 7]);
            }
            51 => {
                b.extend([59, 1]);
                b.extend([0; 10]);
            }
            _ => {
                let units = e.pick(&[0u8, 0, 1]);
                b.extend([59, units]);
                b.extend(std::iter::repeat_n(1, 6 + 8 * usize::from(units)));
            }
        }
        if later {
            break;
        }
    }
    let proto = upper(e, b, &[6, 17, 58, 132, 59, 50], later);
    b[next_at] = proto;
    let len = (b.len() - start - 40) as u16;
    b[start + 4..start + 6].copy_from_slice(&len.to_be_bytes());
}

/// Appends a transport header and payload of one of `protos`, and says which.
fn upper(e: &mut Entropy<'_>, b: &mut Vec<u8>, protos: &[u8], later: bool) -> u8 {
    let proto = e.pick(protos);
    if later {
        filler(e, b, 32);
        return proto;
    }
    let (src, dst) = (e.pick(&PORTS).to_be_bytes(), e.pick(&PORTS).to_be_bytes());
    match proto {
        6 => {
            b.extend([src, dst].concat());
            b.extend([0; 8]);
            let options = [0, 0, 3, 10][e.below(4)];
            b.push((0x50 + (options << 4)) | u8::from(e.one_in(8)));
            b.push(e.pick(&[0x10, 0x02, 0x12, 0x18, 0x11, 0x04, 0xff]));
            b.extend([0xff, 0xff, 0, 0, 0, 0]);
            b.extend(std::iter::repeat_n(1, usize::from(options) * 4));
            filler(e, b, 24);
        }
        17 => {
            let start = b.len();
            b.extend([src, dst].concat());
            b.extend([0; 4]);
            filler(e, b, 24);
            let len = (b.len() - start) as u16;
            b[start + 4..start + 6].copy_from_slice(&len.to_be_bytes());
        }
        132 => {
            b.extend([src, dst].concat());
            b.extend([0, 0, 0, 1, 0, 0, 0, 0]);
        }
        1 => {
            b.extend([e.pick(&[8, 0, 3, 11]), e.pick(&[0, 1, 3]), 0, 0, 0, 1, 0, 1]);
            filler(e, b, 24);
        }
        58 => icmpv6(e, b),
        59 => {}
        _ => filler(e, b, 32),
    }
    proto
}

fn icmpv6(e: &mut Entropy<'_>, b: &mut Vec<u8>) {
    let kind = e.pick(&[135u8, 136, 128, 129, 133, 1]);
    let code = u8::from(e.one_in(8));
    b.extend([kind, code, 0, 0, e.pick(&[0, 0x40, 0xe0]), 0, 0, 0]);
    if !matches!(kind, 135 | 136) {
        filler(e, b, 16);
        return;
    }
    b.extend(ipv6_address(e));
    for option in [14u8, 1, 2] {
        if e.one_in(3) {
            b.extend([option, 1]);
            b.extend(e.pick(&MACS));
        }
    }
}

fn arp(e: &mut Entropy<'_>, b: &mut Vec<u8>) {
    b.extend(e.pick(&[[8, 6], [8, 6], [8, 6], [0x80, 0x35]]));
    b.extend([0, 1, 8, 0, 6, 4, 0, e.pick(&[1, 2, 3, 4])]);
    b.extend(e.pick(&MACS));
    b.extend([10, 0, 0, e.pick(&HOSTS)]);
    b.extend(e.pick(&MACS));
    b.extend([10, 0, 0, e.pick(&HOSTS)]);
}

fn mpls(e: &mut Entropy<'_>, b: &mut Vec<u8>) {
    b.extend(e.pick(&[[0x88, 0x47], [0x88, 0x48]]));
    let entries = 1 + e.below(4);
    for n in 0..entries {
        let bottom = u8::from(n + 1 == entries);
        b.extend([0, e.pick(&[1, 2]), e.u8() & 0xfe | bottom, 64]);
    }
    filler(e, b, 32);
}

fn pbb(e: &mut Entropy<'_>, b: &mut Vec<u8>) {
    b.extend([0x88, 0xe7, e.u8(), 0, 0, e.pick(&[1, 2])]);
    b.extend(e.pick(&MACS));
    b.extend(MACS[e.below(4)]);
    b.extend([0x88, 0xb5]);
    filler(e, b, 32);
}

fn llc(e: &mut Entropy<'_>, b: &mut Vec<u8>) {
    let at = b.len();
    b.extend([0, 0]);
    if e.one_in(2) {
        b.extend([0xaa, 0xaa, 3, 0, 0, 0]);
        ipv4(e, b);
    } else {
        b.extend([0x42, 0x42, 3]);
        filler(e, b, 40);
    }
    let len = (b.len() - at - 2) as u16;
    b[at..at + 2].copy_from_slice(&len.to_be_bytes());
}
