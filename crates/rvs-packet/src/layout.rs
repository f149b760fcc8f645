//! Where the outermost headers of a frame begin: what an edit has to know, found in one pass.
//!
//! The same views that extract a flow key decide here whether a header is present, so an edit never touches bytes that
//! the key called absent (the class of CVE-2025-40254).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::csum::Sum;
use crate::view::{Arp, Frag, Icmp, Icmpv6, Ipv4, Ipv6, Link, Sctp, Tcp, Udp};
use crate::{EtherType, IpProto};

/// The layer 3 header that is present whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Net {
    #[default]
    None,
    Arp,
    Ipv4,
    Ipv6,
}

/// The transport header that is present whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    #[default]
    None,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmpv6,
}

impl Transport {
    /// Offset of the Internet checksum within the header; SCTP has a CRC instead.
    pub const fn csum_at(self) -> Option<usize> {
        match self {
            Self::Tcp => Some(Tcp::CSUM),
            Self::Udp => Some(Udp::CSUM),
            Self::Icmp => Some(Icmp::CSUM),
            Self::Icmpv6 => Some(Icmpv6::CSUM),
            Self::None | Self::Sctp => None,
        }
    }

    /// True when the checksum covers the IP addresses.
    pub const fn covers_addresses(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Icmpv6)
    }
}

/// Offsets are counted from the Ethernet header. The default is "nothing is there".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    pub net: Net,
    pub transport: Transport,
    /// Where layer 3 begins, whatever it is.
    pub l3: usize,
    /// Where the upper protocol begins, whether or not its header is whole; meaningful with IP.
    pub l4: usize,
    /// Where the IP packet ends; padding follows.
    pub end: usize,
    /// The upper protocol, whether or not its header is whole.
    pub proto: IpProto,
    pub frag: Frag,
    /// IPv6: a routing header has segments left, so that transport checksums do not cover the destination address.
    pub en_route: bool,
}

impl Layout {
    /// Total: what is truncated or contradictory is absent.
    pub fn of(bytes: &[u8]) -> Self {
        let Some(link) = Link::new(bytes) else {
            return Self::default();
        };
        let mut lay = Self {
            l3: link.l3(),
            ..Self::default()
        };
        match link.ether_type() {
            EtherType::IPV4 => lay.ipv4(link.payload()),
            EtherType::IPV6 => lay.ipv6(link.payload()),
            EtherType::ARP | EtherType::RARP if Arp::new(link.payload()).is_some() => {
                lay.net = Net::Arp
            }
            _ => {}
        }
        lay
    }

    fn ipv4(&mut self, bytes: &[u8]) {
        let Some(ip) = Ipv4::new(bytes) else { return };
        self.net = Net::Ipv4;
        self.l4 = self.l3 + ip.header_len();
        self.end = self.l3 + ip.total_len();
        self.proto = ip.proto();
        self.frag = ip.frag();
        self.transport = transport(self.proto, ip.payload(), self.frag, Net::Ipv4);
    }

    fn ipv6(&mut self, bytes: &[u8]) {
        let Some(ip) = Ipv6::new(bytes) else { return };
        self.net = Net::Ipv6;
        self.end = self.l3 + Ipv6::LEN + ip.payload().len();
        self.l4 = self.end;
        self.proto = IpProto::NONE;
        if let Some(upper) = ip.upper() {
            self.l4 = self.l3 + upper.offset;
            self.proto = upper.proto;
            self.frag = upper.frag;
            self.en_route = upper.en_route;
            self.transport = transport(self.proto, ip.upper_payload(&upper), self.frag, Net::Ipv6);
        }
    }

    /// The pseudo-header sum of the IP header in `bytes` for `len` octets of transport; `None` without IP.
    pub fn pseudo(&self, bytes: &[u8], len: usize) -> Option<Sum> {
        let l3 = bytes.get(self.l3..)?;
        match self.net {
            Net::Ipv4 => {
                let a: &[u8; 8] = l3.get(Ipv4::SRC..)?.first_chunk()?;
                let src = Ipv4Addr::new(a[0], a[1], a[2], a[3]);
                let dst = Ipv4Addr::new(a[4], a[5], a[6], a[7]);
                Some(Sum::pseudo_v4(src, dst, self.proto, len))
            }
            Net::Ipv6 => {
                let src: &[u8; 16] = l3.get(Ipv6::SRC..)?.first_chunk()?;
                let dst: &[u8; 16] = l3.get(Ipv6::DST..)?.first_chunk()?;
                let (src, dst) = (Ipv6Addr::from(*src), Ipv6Addr::from(*dst));
                Some(Sum::pseudo_v6(src, dst, self.proto, len))
            }
            Net::None | Net::Arp => None,
        }
    }
}

fn transport(proto: IpProto, payload: &[u8], frag: Frag, net: Net) -> Transport {
    if frag == Frag::Later {
        return Transport::None;
    }
    let (kind, whole) = match (proto, net) {
        (IpProto::TCP, _) => (Transport::Tcp, Tcp::new(payload).is_some()),
        (IpProto::UDP, _) if frag == Frag::First => {
            (Transport::Udp, Udp::in_first_fragment(payload).is_some())
        }
        (IpProto::UDP, _) => (Transport::Udp, Udp::new(payload).is_some()),
        (IpProto::SCTP, _) => (Transport::Sctp, Sctp::new(payload).is_some()),
        (IpProto::ICMP, Net::Ipv4) => (Transport::Icmp, Icmp::new(payload).is_some()),
        (IpProto::ICMPV6, Net::Ipv6) => (Transport::Icmpv6, Icmpv6::new(payload).is_some()),
        _ => (Transport::None, false),
    };
    if whole {
        kind
    } else {
        Transport::None
    }
}
