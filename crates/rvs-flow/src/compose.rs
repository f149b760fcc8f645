//! A frame for a key: the shortest one whose key it is, with checksums that are right.
//!
//! For tests that say what a frame is like instead of spelling it. The payload of TCP, UDP and ICMP is [`PAYLOAD`] octets
//! that count up from zero, or as many zeros as a wanted length leaves, so that checksums are those that Open vSwitch's dummy
//! devices give such frames; other protocols have none but a wanted length.

use std::net::{Ipv4Addr, Ipv6Addr};

use rvs_packet::csum::{sctp_crc, Sum};
use rvs_packet::{EtherType, IpProto};

use crate::key::{FlowKey, Present, FRAG_ANY, FRAG_LATER, TCI_PRESENT};

/// Octets behind the transport header when no length is wanted.
pub const PAYLOAD: usize = 64;

/// FIN, SYN and RST: segments that open or close a connection carry nothing.
const TCP_OPENS_OR_CLOSES: u16 = 0x007;
/// Octets of the longest frame that is made.
pub const MAX: usize = 65_535;

/// A frame whose key is `key`, `size` octets long if its headers leave room and it has a transport layer.
pub fn compose(key: &FlowKey, size: Option<usize>) -> Vec<u8> {
    let mut frame = [key.dl_dst, key.dl_src].concat();
    for (tci, tpid) in [
        (key.vlan0_tci, key.vlan0_tpid),
        (key.vlan1_tci, key.vlan1_tpid),
    ] {
        if tci.get() & TCI_PRESENT != 0 {
            let tpid = if tpid.get() == 0 {
                EtherType::VLAN.0
            } else {
                tpid.get()
            };
            frame.extend(tpid.to_be_bytes());
            frame.extend((tci.get() & !TCI_PRESENT).to_be_bytes());
        }
    }
    let room = |used: usize, usual: usize| match size {
        Some(size) => vec![0; size.min(MAX).saturating_sub(used)],
        None => counting(usual),
    };
    frame.extend(key.dl_type.get().to_be_bytes());
    match EtherType(key.dl_type.get()) {
        EtherType::IPV4 => {
            let upper = transport(key, &|n, usual| room(frame.len() + 20 + n, usual));
            frame.extend(ipv4(key, upper.len()));
            frame.extend(upper);
        }
        EtherType::IPV6 => {
            let fragment = key.nw_frag & FRAG_ANY != 0;
            let header = if fragment { 48 } else { 40 };
            let upper = transport(key, &|n, usual| room(frame.len() + header + n, usual));
            frame.extend(ipv6(key, upper.len()));
            frame.extend(upper);
        }
        EtherType::ARP | EtherType::RARP => frame.extend(arp(key)),
        EtherType::MPLS | EtherType::MPLS_MC => {
            for lse in key.mpls_lse.iter() {
                frame.extend(lse.get().to_be_bytes());
                // Bottom of stack (RFC 3032 section 2.1).
                if lse.get() & 0x100 != 0 {
                    break;
                }
            }
        }
        _ => {}
    }
    // Something that has no length of its own is padded.
    if frame.len() < size.unwrap_or(0).min(MAX) {
        frame.resize(size.unwrap_or(0).min(MAX), 0);
    }
    frame
}

fn ipv4(key: &FlowKey, upper: usize) -> Vec<u8> {
    let mut h = vec![0x45, key.nw_tos];
    h.extend(((20 + upper) as u16).to_be_bytes());
    // A fragment is one because more follow, a later one because it is not at the start.
    let fragment: u16 = match key.nw_frag {
        f if f & FRAG_LATER != 0 => 100,
        f if f & FRAG_ANY != 0 => 0x2000,
        _ => 0,
    };
    h.extend([0, 0]);
    h.extend(fragment.to_be_bytes());
    h.extend([key.nw_ttl, key.nw_proto, 0, 0]);
    h.extend(key.nw_src);
    h.extend(key.nw_dst);
    let sum = Sum::of(&h).checksum().to_be_bytes();
    h[10..12].copy_from_slice(&sum);
    h
}

fn ipv6(key: &FlowKey, upper: usize) -> Vec<u8> {
    let fragment = key.nw_frag & FRAG_ANY != 0;
    let first = 6 << 28 | u32::from(key.nw_tos) << 20 | (key.ipv6_label.get() & 0xf_ffff);
    let mut h = first.to_be_bytes().to_vec();
    let length = upper + if fragment { 8 } else { 0 };
    h.extend((length as u16).to_be_bytes());
    // 44: the fragment header (RFC 8200 section 4.5).
    h.extend([if fragment { 44 } else { key.nw_proto }, key.nw_ttl]);
    h.extend(key.ipv6_src);
    h.extend(key.ipv6_dst);
    if fragment {
        let offset: u16 = if key.nw_frag & FRAG_LATER != 0 {
            100 << 3
        } else {
            1
        };
        h.extend([key.nw_proto, 0]);
        h.extend(offset.to_be_bytes());
        h.extend([0; 4]);
    }
    h
}

fn arp(key: &FlowKey) -> Vec<u8> {
    // Ethernet and IPv4 (RFC 826).
    let mut a = vec![0, 1, 8, 0, 6, 4, 0, key.nw_proto];
    a.extend(key.arp_sha);
    a.extend(key.nw_src);
    a.extend(key.arp_tha);
    a.extend(key.nw_dst);
    a
}

/// The transport header and its payload; `payload` gives that, behind a header of so many octets, where it usually has so many.
fn transport(key: &FlowKey, payload: &dyn Fn(usize, usize) -> Vec<u8>) -> Vec<u8> {
    if key.nw_frag & FRAG_LATER != 0 {
        return payload(0, 0);
    }
    let ports = [
        key.tp_src.get().to_be_bytes(),
        key.tp_dst.get().to_be_bytes(),
    ]
    .concat();
    let (mut h, at) = match IpProto(key.nw_proto) {
        IpProto::TCP => {
            let mut h = ports;
            h.extend([0; 8]);
            h.extend((5 << 12 | (key.tcp_flags.get() & 0xfff)).to_be_bytes());
            h.extend([0; 6]);
            (h, Some(16))
        }
        IpProto::UDP => {
            let length = 8 + payload(8, PAYLOAD).len();
            let mut h = ports;
            h.extend((length as u16).to_be_bytes());
            h.extend([0; 2]);
            (h, Some(6))
        }
        IpProto::SCTP => {
            let mut h = ports;
            h.extend([0; 8]);
            (h, None)
        }
        IpProto::ICMP | IpProto::ICMPV6 => {
            let mut h = vec![key.tp_src.get() as u8, key.tp_dst.get() as u8];
            h.extend([0; 6]);
            if key.present.any(Present::ND) {
                neighbour(key, &mut h);
            }
            (h, Some(2))
        }
        _ => return payload(0, 0),
    };
    if !key.present.any(Present::ND) {
        let opens_or_closes =
            key.nw_proto == IpProto::TCP.0 && key.tcp_flags.get() & TCP_OPENS_OR_CLOSES != 0;
        let usual = if at.is_some() && !opens_or_closes {
            PAYLOAD
        } else {
            0
        };
        h.extend(payload(h.len(), usual));
    }
    match at {
        Some(at) => {
            let sum = pseudo(key, h.len()).plus(Sum::of(&h)).checksum();
            // UDP says "none" by zero (RFC 768).
            let sum = if sum == 0 && key.nw_proto == IpProto::UDP.0 {
                0xffff
            } else {
                sum
            };
            h[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        None => {
            let crc = sctp_crc(&h);
            h[8..12].copy_from_slice(&crc.to_le_bytes());
        }
    }
    h
}

/// Octets that count up from zero.
fn counting(length: usize) -> Vec<u8> {
    (0..length).map(|i| i as u8).collect()
}

/// Behind type, code and checksum of a neighbour discovery message: its target, and the address that it tells (RFC 4861).
fn neighbour(key: &FlowKey, h: &mut Vec<u8>) {
    h.truncate(4);
    h.extend(key.nd_reserved.get().to_be_bytes());
    h.extend(key.nd_target);
    for (kind, address) in [(1, key.arp_sha), (2, key.arp_tha)] {
        if address != [0; 6] {
            h.extend([kind, 1]);
            h.extend(address);
        }
    }
}

fn pseudo(key: &FlowKey, length: usize) -> Sum {
    let proto = IpProto(key.nw_proto);
    match EtherType(key.dl_type.get()) {
        EtherType::IPV6 => {
            let (src, dst) = (Ipv6Addr::from(key.ipv6_src), Ipv6Addr::from(key.ipv6_dst));
            Sum::pseudo_v6(src, dst, proto, length)
        }
        _ if proto == IpProto::ICMP => Sum::ZERO,
        _ => {
            let (src, dst) = (Ipv4Addr::from(key.nw_src), Ipv4Addr::from(key.nw_dst));
            Sum::pseudo_v4(src, dst, proto, length)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rvs_packet::Frame;

    use super::*;
    use crate::{extract_bytes, DpPort, ParseLimits};

    fn key_of(bytes: &[u8]) -> FlowKey {
        extract_bytes(bytes, DpPort(1), ParseLimits::new(2))
    }

    #[test]
    fn lengths_are_those_of_the_field() {
        let mut key = FlowKey {
            dl_type: EtherType::IPV4.0.into(),
            nw_proto: IpProto::ICMP.0,
            nw_ttl: 64,
            ..FlowKey::default()
        };
        assert_eq!(compose(&key, None).len(), 106);
        key.nw_proto = IpProto::TCP.0;
        assert_eq!(compose(&key, None).len(), 118);
        for (flags, length) in [(0x002, 54), (0x011, 54), (0x014, 54), (0x018, 118)] {
            key.tcp_flags = flags.into();
            assert_eq!(compose(&key, None).len(), length, "{flags:#x}");
        }
        key.tcp_flags = 0.into();
        key.nw_proto = IpProto::UDP.0;
        assert_eq!(compose(&key, Some(200)).len(), 200);
        assert_eq!(compose(&key, Some(usize::MAX)).len(), MAX);
        key.nw_proto = IpProto::SCTP.0;
        assert_eq!(compose(&key, None).len(), 46);
        key.nw_proto = 99;
        assert_eq!(compose(&key, None).len(), 34);
        assert_eq!(compose(&key, Some(40)).len(), 40);
        key.dl_type = EtherType::ARP.0.into();
        assert_eq!(compose(&key, None).len(), 42);
        key.dl_type = 0x1234.into();
        assert_eq!(compose(&key, None).len(), 14);
        assert_eq!(compose(&key, Some(60)).len(), 60);
    }

    /// Clients print checksums of such frames: the payload counts up from zero.
    #[test]
    fn the_payload_counts_up_and_is_summed() {
        let key = FlowKey {
            dl_type: EtherType::IPV4.0.into(),
            nw_proto: IpProto::UDP.0,
            nw_ttl: 3,
            nw_src: [172, 20, 1, 9],
            nw_dst: [172, 20, 1, 10],
            tp_src: 700.into(),
            tp_dst: 701.into(),
            ..FlowKey::default()
        };
        let frame = compose(&key, None);
        let payload: Vec<u8> = (0..PAYLOAD as u8).collect();
        assert_eq!(frame[42..], payload[..]);
        assert_eq!(rvs_packet::csum::verify(&Frame::from_slice(&frame)), Ok(()));
        // Of a wanted length it is zeros.
        let frame = compose(&key, Some(90));
        assert_eq!(frame[42..], [0; 48]);
        assert_eq!(rvs_packet::csum::verify(&Frame::from_slice(&frame)), Ok(()));
    }

    proptest! {
        /// The key of a frame, composed, has the same key; checksums hold.
        #[test]
        fn a_frame_made_of_a_key_has_that_key(frame in crate::testing::frames()) {
            let key = key_of(&frame);
            prop_assume!(!key.present.any(Present::MALFORMED | Present::EXTHDR | Present::PBB));
            prop_assume!(key.dl_type.get() != 0x05ff && key.nw_frag == 0);
            let made = compose(&key, None);
            let again = key_of(&made);
            prop_assert_eq!(again.dl_type, key.dl_type);
            prop_assert_eq!((again.dl_src, again.dl_dst), (key.dl_src, key.dl_dst));
            prop_assert_eq!((again.vlan0_tci, again.vlan1_tci), (key.vlan0_tci, key.vlan1_tci));
            if key.present.any(Present::IP) {
                prop_assert_eq!((again.nw_src, again.nw_dst, again.nw_proto, again.nw_ttl, again.nw_tos),
                                (key.nw_src, key.nw_dst, key.nw_proto, key.nw_ttl, key.nw_tos));
                prop_assert_eq!((again.ipv6_src, again.ipv6_dst), (key.ipv6_src, key.ipv6_dst));
            }
            if key.present.any(Present::TCP | Present::UDP) {
                prop_assert_eq!((again.tp_src, again.tp_dst, again.tcp_flags), (key.tp_src, key.tp_dst, key.tcp_flags));
                prop_assert_eq!(rvs_packet::csum::verify(&Frame::from_slice(&made)), Ok(()));
            }
        }

        /// Keys that no frame has cost no panic.
        #[test]
        fn any_key_makes_some_frame(words in prop::collection::vec(any::<u64>(), FlowKey::WORDS), size: Option<u16>) {
            use crate::key::Key;
            let mut key = FlowKey::default();
            key.words_mut().copy_from_slice(&words);
            prop_assert!(compose(&key, size.map(usize::from)).len() >= 14);
        }
    }
}
