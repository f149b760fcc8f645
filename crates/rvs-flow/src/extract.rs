//! [`extract`]: the flow key of a frame.
//!
//! Total: every sequence of octets has a key. What is truncated, contradictory or hostile makes its layer, and those
//! above it, *absent* and sets a `BAD_*` bit for the caller to count; it never makes a wrong field. Open vSwitch reads a
//! broken IPv4 header as 0.0.0.0 and a broken TCP header as port 0, both of which walk through access lists; here a
//! broken header matches no rule on its fields, and rules on what precedes it still apply.
//!
//! Where the specifications leave a choice, the key says what Open vSwitch says: a later IPv6 fragment has protocol 44,
//! an 802.3 frame without SNAP has type 0x05ff, an ARP operation above 255 reads as 0, at most three labels are read and
//! nothing behind them, an inner tag past the limit is payload.
//!
//! Invariants
//! - No field of an absent layer is set, and no word past [`FlowKey::width`] is.
//! - The key depends on nothing but the frame's octets: a GSO super-frame has the key of its first segment's headers, and
//!   Ethernet padding behind an IP packet is never read.
//! - Runs in constant space without allocating, in time bounded by the length of the headers.

use rvs_packet::view::{Arp, Frag, ITag, Icmp, Icmpv6, Ipv4, Ipv6, Link, Lse, Nd, Sctp, Tcp, Udp};
use rvs_packet::{EtherType, Frame, IpProto};
use zerocopy::IntoBytes;

use crate::key::{FlowKey, Present, FRAG_ANY, FRAG_LATER, TCI_PRESENT};
use crate::port::DpPort;

/// How far behind the Ethernet header the parser looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseLimits {
    vlan_limit: u8,
}

impl ParseLimits {
    /// VLAN tags that a key holds.
    pub const MAX_VLANS: u8 = 2;

    /// `vlan_limit` is `other_config:vlan-limit` of the Open_vSwitch table: tags to look behind, brought into 1..=2; 0
    /// means as many as there is room for.
    pub const fn new(vlan_limit: u8) -> Self {
        Self {
            vlan_limit: if vlan_limit == 1 { 1 } else { Self::MAX_VLANS },
        }
    }

    pub const fn vlan_limit(self) -> u8 {
        self.vlan_limit
    }
}

impl Default for ParseLimits {
    /// One tag, as Open vSwitch.
    fn default() -> Self {
        Self::new(1)
    }
}

/// The key of `frame` as it arrived on `in_port`.
#[inline]
pub fn extract(frame: &Frame, in_port: DpPort, limits: ParseLimits) -> FlowKey {
    extract_bytes(frame.bytes(), in_port, limits)
}

/// As [`extract`], of octets that start at the Ethernet header.
#[inline]
pub fn extract_bytes(bytes: &[u8], in_port: DpPort, limits: ParseLimits) -> FlowKey {
    let mut key = FlowKey::default();
    extract_into(&mut key, bytes, in_port, limits);
    key
}

/// As [`extract_bytes`], into a key that lies where it is needed: every field of it is replaced. Saves the hot path a copy of
/// the key, which costs as much as half of the parsing.
pub fn extract_into(key: &mut FlowKey, bytes: &[u8], in_port: DpPort, limits: ParseLimits) {
    key.as_mut_bytes().fill(0);
    key.in_port = in_port.0;
    let Some(link) = Link::with_max_tags(bytes, usize::from(limits.vlan_limit)) else {
        key.present = Present::BAD_L2;
        return;
    };
    key.dl_dst = link.eth().dst().0;
    key.dl_src = link.eth().src().0;
    key.dl_type = link.ether_type().0.into();
    if link.tags() != 0 {
        tags(key, &link);
    }
    let payload = link.payload();
    match link.ether_type() {
        EtherType::IPV4 => ipv4(key, payload),
        EtherType::IPV6 => ipv6(key, payload),
        other => {
            if other.is_vlan() && link.tags() < usize::from(limits.vlan_limit) {
                key.present |= Present::BAD_VLAN;
            }
            uncommon(key, other, payload);
        }
    }
}

#[inline]
fn tags(key: &mut FlowKey, link: &Link<'_>) {
    if let Some((tpid, tci)) = link.tag(0) {
        key.present |= Present::VLAN0;
        key.vlan0_tpid = tpid.0.into();
        key.vlan0_tci = (tci.0 | TCI_PRESENT).into();
    }
    if let Some((tpid, tci)) = link.tag(1) {
        key.present |= Present::VLAN1;
        key.vlan1_tpid = tpid.0.into();
        key.vlan1_tci = (tci.0 | TCI_PRESENT).into();
    }
}

#[inline]
fn ipv4(key: &mut FlowKey, bytes: &[u8]) {
    let Some(ip) = Ipv4::new(bytes) else {
        key.present |= Present::BAD_L3;
        return;
    };
    key.present |= Present::IPV4;
    key.nw_src = ip.src().octets();
    key.nw_dst = ip.dst().octets();
    key.nw_proto = ip.proto().0;
    key.nw_tos = ip.tos();
    key.nw_ttl = ip.ttl();
    transport(key, ip.proto(), IpProto::ICMP, ip.payload(), ip.frag());
}

#[inline]
fn ipv6(key: &mut FlowKey, bytes: &[u8]) {
    let whole = Ipv6::new(bytes).and_then(|ip| Some((ip, ip.upper()?)));
    let Some((ip, upper)) = whole else {
        key.present |= Present::BAD_L3;
        return;
    };
    key.present |= Present::IPV6;
    key.ipv6_src = ip.src().octets();
    key.ipv6_dst = ip.dst().octets();
    key.ipv6_label = ip.flow_label().into();
    key.nw_proto = upper.proto.0;
    key.nw_tos = ip.traffic_class();
    key.nw_ttl = ip.hop_limit();
    if upper.exthdr != 0 {
        key.present |= Present::EXTHDR;
        key.ipv6_exthdr = upper.exthdr.into();
    }
    let payload = ip.upper_payload(&upper);
    transport(key, upper.proto, IpProto::ICMPV6, payload, upper.frag);
}

/// `icmp` is the protocol number of this IP version's ICMP; the other version's is none.
#[inline(always)]
fn transport(key: &mut FlowKey, proto: IpProto, icmp: IpProto, payload: &[u8], frag: Frag) {
    match frag {
        Frag::No => {}
        Frag::First => key.nw_frag = FRAG_ANY,
        Frag::Later => {
            key.nw_frag = FRAG_ANY | FRAG_LATER;
            key.present |= Present::LATER_FRAG;
            return;
        }
    }
    let layer = match proto {
        IpProto::TCP => Tcp::new(payload).map(|t| {
            key.tcp_flags = t.flags().into();
            (Present::TCP, t.src_port(), t.dst_port())
        }),
        IpProto::UDP => {
            // In a first fragment the length speaks of the whole datagram.
            let udp = match frag {
                Frag::First => Udp::in_first_fragment(payload),
                _ => Udp::new(payload),
            };
            udp.map(|u| (Present::UDP, u.src_port(), u.dst_port()))
        }
        _ => return uncommon_transport(key, proto, icmp, payload),
    };
    set_ports(key, layer);
}

#[inline(always)]
fn set_ports(key: &mut FlowKey, layer: Option<(Present, u16, u16)>) {
    match layer {
        Some((present, src, dst)) => {
            key.present |= present;
            key.tp_src = src.into();
            key.tp_dst = dst.into();
        }
        None => key.present |= Present::BAD_L4,
    }
}

#[inline(never)]
fn uncommon_transport(key: &mut FlowKey, proto: IpProto, icmp: IpProto, payload: &[u8]) {
    let message = |kind: u8, code: u8| (Present::ICMP, u16::from(kind), u16::from(code));
    let layer = match proto {
        IpProto::SCTP => Sctp::new(payload).map(|s| (Present::SCTP, s.src_port(), s.dst_port())),
        IpProto::ICMP if icmp == proto => {
            Icmp::new(payload).map(|i| message(i.icmp_type(), i.code()))
        }
        // No message of RFC 4443 is shorter than 8 octets.
        IpProto::ICMPV6 if icmp == proto && payload.len() < 8 => None,
        IpProto::ICMPV6 if icmp == proto => Icmpv6::new(payload).map(|i| {
            neighbour(key, &i);
            message(i.icmp_type(), i.code())
        }),
        _ => return,
    };
    set_ports(key, layer);
}

/// A neighbour message with an option that lies about its length, or says an address twice, has no ND fields at all
/// (CVE-2023-5366 and the bounds fixes after it), but keeps its ICMPv6 type and code.
fn neighbour(key: &mut FlowKey, icmp: &Icmpv6<'_>) {
    if icmp.code() != 0 || !matches!(icmp.icmp_type(), Nd::SOLICITATION | Nd::ADVERTISEMENT) {
        return;
    }
    let Some(nd) = icmp.nd() else {
        key.present |= Present::BAD_L4;
        return;
    };
    key.present |= Present::ND;
    key.nd_target = nd.target().octets();
    key.nd_reserved = nd.reserved().into();
    key.nd_options_type = nd.address_option().unwrap_or(0);
    if let Some(mac) = nd.sll() {
        key.present |= Present::ND_SLL;
        key.arp_sha = mac.0;
    }
    if let Some(mac) = nd.tll() {
        key.present |= Present::ND_TLL;
        key.arp_tha = mac.0;
    }
}

#[inline(never)]
fn uncommon(key: &mut FlowKey, kind: EtherType, payload: &[u8]) {
    match kind {
        EtherType::ARP | EtherType::RARP => arp(key, payload),
        EtherType::MPLS | EtherType::MPLS_MC => mpls(key, payload),
        EtherType::PBB => match ITag::new(payload) {
            Some(tag) => {
                key.present |= Present::PBB;
                key.pbb_isid = (tag.tci() & (FlowKey::PBB_ISID | FlowKey::PBB_UCA)).into();
            }
            None => key.present |= Present::BAD_L3,
        },
        _ => {}
    }
}

fn arp(key: &mut FlowKey, bytes: &[u8]) {
    /// Hardware Ethernet, protocol IPv4, and their address lengths.
    const SHAPE: [u8; 6] = [0, 1, 8, 0, 6, 4];
    let Some(arp) = Arp::new(bytes) else {
        // ARP for other hardware or protocols is well-formed, it just has nothing to match.
        if bytes.first_chunk().is_none_or(|shape| *shape == SHAPE) {
            key.present |= Present::BAD_L3;
        }
        return;
    };
    key.present |= Present::ARP;
    key.nw_proto = u8::try_from(arp.op()).unwrap_or(0);
    key.nw_src = arp.spa().octets();
    key.nw_dst = arp.tpa().octets();
    key.arp_sha = arp.sha().0;
    key.arp_tha = arp.tha().0;
}

/// At most three entries (CVE-2016-2074), then stop: what follows the stack is not known from the frame.
fn mpls(key: &mut FlowKey, bytes: &[u8]) {
    let mut rest = bytes;
    for (lse, layer) in
        key.mpls_lse
            .iter_mut()
            .zip([Present::MPLS0, Present::MPLS1, Present::MPLS2])
    {
        let Some((entry, tail)) = Lse::split(rest) else {
            key.present |= Present::BAD_L3;
            return;
        };
        *lse = entry.0.into();
        key.present |= layer;
        if entry.bos() {
            return;
        }
        rest = tail;
    }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
