//! P6: the views agree with a second parser, field by field, on whole frames and on 10^5 damaged ones; and where a view
//! says "no such header", the second parser's raw fields show the contradiction.
#![allow(clippy::unwrap_used)]

mod common;

use common::Rng;
use pnet_packet::icmpv6::ndp::{NdpOptionPacket, NeighborSolicitPacket};
use pnet_packet::ipv6::{ExtensionPacket, FragmentPacket, RoutingPacket};
use pnet_packet::{arp, ethernet, icmp, icmpv6, ipv4, ipv6, tcp, udp, vlan, Packet};
use rvs_packet::layout::{Layout, Net, Transport};
use rvs_packet::view::{Arp, Eth, Frag, Icmp, Icmpv6, Ipv4, Ipv6, Link, Nd, Tcp, Udp, Vlan};
use rvs_packet::{EtherType, IpProto};

/// What was compared, so that the corpus cannot silently stop covering something.
#[derive(Default, Debug)]
struct Seen {
    tags: usize,
    arp: usize,
    v4: usize,
    v4_refused: usize,
    v6: usize,
    v6_refused: usize,
    ext: usize,
    later: usize,
    tcp: usize,
    tcp_refused: usize,
    udp: usize,
    udp_refused: usize,
    icmp: usize,
    nd: usize,
    nd_refused: usize,
}

fn check(bytes: &[u8], seen: &mut Seen) {
    let theirs = ethernet::EthernetPacket::new(bytes);
    let ours = Eth::new(bytes);
    assert_eq!(ours.is_some(), theirs.is_some());
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return;
    };
    assert_eq!(ours.dst().0, theirs.get_destination().octets());
    assert_eq!(ours.src().0, theirs.get_source().octets());
    assert_eq!(ours.ether_type().0, theirs.get_ethertype().0);
    assert_eq!(ours.payload(), theirs.payload());

    let mut ty = theirs.get_ethertype().0;
    let mut rest = theirs.payload();
    let link = Link::new(bytes).unwrap();
    let mut depth = 0;
    while matches!(ty, 0x8100 | 0x88a8) && depth < Link::MAX_TAGS {
        let Some(tag) = vlan::VlanPacket::new(rest) else {
            break;
        };
        let tci = u16::from(tag.get_priority_code_point().0) << 13
            | u16::from(tag.get_drop_eligible_indicator()) << 12
            | tag.get_vlan_identifier();
        let (tpid, ours) = link.tag(depth).unwrap();
        assert_eq!((tpid.0, ours.0), (ty, tci));
        let v = Vlan::new(rest).unwrap();
        assert_eq!((v.tci().0, v.ether_type().0), (tci, tag.get_ethertype().0));
        ty = tag.get_ethertype().0;
        rest = &rest[4..];
        depth += 1;
        seen.tags += 1;
    }
    assert_eq!(link.tags(), depth);
    if ty >= EtherType::MIN {
        assert_eq!((link.ether_type().0, link.payload()), (ty, rest));
    }
    let lay = Layout::of(bytes);
    let l3 = link.payload();
    match link.ether_type() {
        EtherType::ARP => check_arp(l3, &lay, seen),
        EtherType::IPV4 => check_v4(l3, &lay, seen),
        EtherType::IPV6 => check_v6(l3, &lay, seen),
        _ => {}
    }
}

fn check_arp(b: &[u8], lay: &Layout, seen: &mut Seen) {
    let theirs = arp::ArpPacket::new(b).filter(|a| {
        a.get_hardware_type().0 == 1
            && a.get_protocol_type().0 == 0x0800
            && (a.get_hw_addr_len(), a.get_proto_addr_len()) == (6, 4)
    });
    let ours = Arp::new(b);
    assert_eq!(ours.is_some(), theirs.is_some());
    assert_eq!(ours.is_some(), lay.net == Net::Arp);
    if let (Some(o), Some(t)) = (ours, theirs) {
        assert_eq!(o.op(), t.get_operation().0);
        assert_eq!(o.sha().0, t.get_sender_hw_addr().octets());
        assert_eq!(o.tha().0, t.get_target_hw_addr().octets());
        assert_eq!(o.spa(), t.get_sender_proto_addr());
        assert_eq!(o.tpa(), t.get_target_proto_addr());
        seen.arp += 1;
    }
}

fn check_v4(b: &[u8], lay: &Layout, seen: &mut Seen) {
    let theirs = ipv4::Ipv4Packet::new(b).filter(|p| {
        let (ihl, total) = (
            usize::from(p.get_header_length()) * 4,
            usize::from(p.get_total_length()),
        );
        p.get_version() == 4 && ihl >= 20 && ihl <= total && total <= b.len()
    });
    let ours = Ipv4::new(b);
    assert_eq!(ours.is_some(), theirs.is_some());
    assert_eq!(ours.is_some(), lay.net == Net::Ipv4);
    let (Some(o), Some(t)) = (ours, theirs) else {
        seen.v4_refused += 1;
        return;
    };
    seen.v4 += 1;
    assert_eq!(o.src(), t.get_source());
    assert_eq!(o.dst(), t.get_destination());
    assert_eq!(o.tos(), t.get_dscp() << 2 | t.get_ecn());
    assert_eq!(
        (o.ttl(), o.proto().0),
        (t.get_ttl(), t.get_next_level_protocol().0)
    );
    assert_eq!(
        (o.id(), o.csum()),
        (t.get_identification(), t.get_checksum())
    );
    assert_eq!(o.total_len(), usize::from(t.get_total_length()));
    assert_eq!(o.dont_fragment(), t.get_flags() & 2 != 0);
    assert_eq!(o.options(), t.get_options_raw());
    assert_eq!(o.payload(), t.payload());
    let frag = match (t.get_fragment_offset(), t.get_flags() & 1) {
        (0, 0) => Frag::No,
        (0, _) => Frag::First,
        _ => Frag::Later,
    };
    assert_eq!(o.frag(), frag);
    check_l4(o.proto(), o.payload(), frag, lay, false, seen);
}

fn check_v6(b: &[u8], lay: &Layout, seen: &mut Seen) {
    let theirs = ipv6::Ipv6Packet::new(b)
        .filter(|p| p.get_version() == 6 && usize::from(p.get_payload_length()) <= b.len() - 40);
    let ours = Ipv6::new(b);
    assert_eq!(ours.is_some(), theirs.is_some());
    assert_eq!(ours.is_some(), lay.net == Net::Ipv6);
    let (Some(o), Some(t)) = (ours, theirs) else {
        seen.v6_refused += 1;
        return;
    };
    seen.v6 += 1;
    assert_eq!(o.src(), t.get_source());
    assert_eq!(o.dst(), t.get_destination());
    assert_eq!(o.traffic_class(), t.get_traffic_class());
    assert_eq!(o.flow_label(), t.get_flow_label());
    assert_eq!(
        (o.hop_limit(), o.next_header().0),
        (t.get_hop_limit(), t.get_next_header().0)
    );
    assert_eq!(o.payload(), t.payload());

    // The chain, walked with the second parser's extension types.
    let (mut proto, mut rest, mut frag, mut en_route) =
        (t.get_next_header().0, t.payload(), Frag::No, false);
    let walked = loop {
        let (next, len) = match proto {
            0 | 43 | 60 => {
                if proto == 43 {
                    en_route |=
                        RoutingPacket::new(rest).is_some_and(|r| r.get_segments_left() != 0);
                }
                let Some(e) = ExtensionPacket::new(rest) else {
                    break None;
                };
                (
                    e.get_next_header().0,
                    usize::from(e.get_hdr_ext_len()) * 8 + 8,
                )
            }
            51 => {
                let Some(e) = ExtensionPacket::new(rest) else {
                    break None;
                };
                (
                    e.get_next_header().0,
                    usize::from(e.get_hdr_ext_len()) * 4 + 8,
                )
            }
            44 => {
                let Some(f) = FragmentPacket::new(rest) else {
                    break None;
                };
                let w = f.get_fragment_offset_with_flags();
                if w & 0xfff8 != 0 {
                    frag = Frag::Later;
                } else if w & 1 != 0 {
                    frag = Frag::First;
                }
                (f.get_next_header().0, 8)
            }
            _ => break Some(proto),
        };
        if len > rest.len() || rest.len() < 8 {
            break None;
        }
        rest = &rest[len..];
        seen.ext += 1;
        if frag == Frag::Later {
            seen.later += 1;
            break Some(44);
        }
        proto = next;
    };
    let upper = o.upper();
    assert_eq!(upper.map(|u| u.proto.0), walked);
    if let Some(u) = upper {
        assert_eq!(
            (o.upper_payload(&u), u.frag, u.en_route),
            (rest, frag, en_route)
        );
        check_l4(u.proto, rest, frag, lay, true, seen);
    } else {
        assert_eq!(lay.transport, Transport::None);
    }
}

fn check_l4(proto: IpProto, b: &[u8], frag: Frag, lay: &Layout, v6: bool, seen: &mut Seen) {
    if frag == Frag::Later {
        assert_eq!(lay.transport, Transport::None);
        return;
    }
    match proto {
        IpProto::TCP => {
            let theirs = tcp::TcpPacket::new(b).filter(|t| {
                let len = usize::from(t.get_data_offset()) * 4;
                (20..=b.len()).contains(&len)
            });
            let ours = Tcp::new(b);
            assert_eq!(ours.is_some(), theirs.is_some());
            assert_eq!(ours.is_some(), lay.transport == Transport::Tcp);
            let (Some(o), Some(t)) = (ours, theirs) else {
                seen.tcp_refused += 1;
                return;
            };
            seen.tcp += 1;
            assert_eq!(
                (o.src_port(), o.dst_port()),
                (t.get_source(), t.get_destination())
            );
            assert_eq!(
                (o.seq(), o.ack()),
                (t.get_sequence(), t.get_acknowledgement())
            );
            assert_eq!(
                o.flags(),
                u16::from(t.get_reserved()) << 8 | u16::from(t.get_flags())
            );
            assert_eq!((o.window(), o.csum()), (t.get_window(), t.get_checksum()));
            assert_eq!(
                (o.options(), o.payload()),
                (t.get_options_raw(), t.payload())
            );
        }
        IpProto::UDP => {
            let theirs = udp::UdpPacket::new(b).filter(|u| {
                let len = usize::from(u.get_length());
                len >= 8 && (frag == Frag::First || len <= b.len())
            });
            let ours = if frag == Frag::First {
                Udp::in_first_fragment(b)
            } else {
                Udp::new(b)
            };
            assert_eq!(ours.is_some(), theirs.is_some());
            assert_eq!(ours.is_some(), lay.transport == Transport::Udp);
            let (Some(o), Some(t)) = (ours, theirs) else {
                seen.udp_refused += 1;
                return;
            };
            seen.udp += 1;
            assert_eq!(
                (o.src_port(), o.dst_port()),
                (t.get_source(), t.get_destination())
            );
            assert_eq!(
                (o.length(), o.csum()),
                (usize::from(t.get_length()), t.get_checksum())
            );
            if frag == Frag::No {
                // The second parser takes all that is there.
                assert_eq!(o.payload(), &t.payload()[..o.length() - 8]);
            }
        }
        IpProto::ICMP if !v6 => {
            let theirs = icmp::IcmpPacket::new(b).filter(|_| b.len() >= 8);
            let ours = Icmp::new(b);
            assert_eq!(ours.is_some(), theirs.is_some());
            if let (Some(o), Some(t)) = (ours, theirs) {
                assert_eq!(
                    (o.icmp_type(), o.code()),
                    (t.get_icmp_type().0, t.get_icmp_code().0)
                );
                assert_eq!(o.csum(), t.get_checksum());
                seen.icmp += 1;
            }
        }
        IpProto::ICMPV6 if v6 => {
            let (theirs, ours) = (icmpv6::Icmpv6Packet::new(b), Icmpv6::new(b));
            assert_eq!(ours.is_some(), theirs.is_some());
            if let (Some(o), Some(t)) = (ours, theirs) {
                assert_eq!(
                    (o.icmp_type(), o.code()),
                    (t.get_icmpv6_type().0, t.get_icmpv6_code().0)
                );
                assert_eq!(o.csum(), t.get_checksum());
                seen.icmp += 1;
                check_nd(b, o.nd(), seen);
            }
        }
        _ => {}
    }
}

/// Solicitation and advertisement have the same shape, so the second parser's solicitation reads both.
fn check_nd(b: &[u8], ours: Option<Nd<'_>>, seen: &mut Seen) {
    let theirs = NeighborSolicitPacket::new(b)
        .filter(|n| matches!(n.get_icmpv6_type().0, 135 | 136) && n.get_icmpv6_code().0 == 0);
    let Some(t) = theirs else {
        assert!(ours.is_none());
        return;
    };
    let mut addresses = [None, None];
    let mut rest = &b[24..];
    let mut well_formed = true;
    while !rest.is_empty() && well_formed {
        let option = NdpOptionPacket::new(rest);
        let len = option
            .as_ref()
            .map_or(0, |o| usize::from(o.get_length()) * 8);
        well_formed = len != 0 && len <= rest.len();
        if let (Some(o), true) = (option, well_formed) {
            if let (1 | 2, 8) = (o.get_option_type().0, len) {
                let slot = &mut addresses[usize::from(o.get_option_type().0) - 1];
                well_formed = slot.is_none();
                *slot = Some(o.payload().to_vec());
            }
            rest = &rest[len..];
        }
    }
    assert_eq!(ours.is_some(), well_formed);
    let Some(o) = ours else {
        seen.nd_refused += 1;
        return;
    };
    seen.nd += 1;
    assert_eq!(
        (o.target(), o.reserved()),
        (t.get_target_addr(), t.get_reserved())
    );
    assert_eq!(o.is_solicitation(), t.get_icmpv6_type().0 == 135);
    let [sll, tll] = addresses;
    assert_eq!(o.sll().map(|m| m.0.to_vec()), sll);
    assert_eq!(o.tll().map(|m| m.0.to_vec()), tll);
}

#[test]
fn views_agree_with_the_second_parser() {
    let mut seen = Seen::default();
    let seeds = common::seeds();
    for s in &seeds {
        check(s, &mut seen);
        for len in 0..s.len() {
            check(&s[..len], &mut seen);
        }
    }
    let mut rng = Rng(11);
    for _ in 0..100_000 {
        check(&common::hostile(&mut rng, &seeds), &mut seen);
        let n = rng.below(100);
        check(&rng.bytes(n), &mut seen);
    }
    let Seen {
        tags,
        arp,
        v4,
        v4_refused,
        v6,
        v6_refused,
        ext,
        later,
        tcp,
        ..
    } = seen;
    let Seen {
        tcp_refused,
        udp,
        udp_refused,
        icmp,
        nd,
        nd_refused,
        ..
    } = seen;
    for n in [
        tags, arp, v4, v4_refused, v6, v6_refused, ext, tcp, udp, icmp, nd,
    ] {
        assert!(n > 1_000, "{seen:?}");
    }
    for n in [later, tcp_refused, udp_refused, nd_refused] {
        assert!(n > 20, "{seen:?}");
    }
}
