//! The walk through a tunnel down to the transport that offloads speak of.
//!
//! `virtio_net_hdr` can say where the innermost checksum begins (`csum_start`) and how the payload is to be cut, but not
//! that tunnel headers stand in front. A super-frame inside VXLAN arrives as "TCP, cut at 1448" with a `csum_start` far
//! behind the outermost transport. Sent back as it came, the kernel would take the outer UDP for what is to be cut: it has
//! to be segmented in software ([`crate::gso::segment`], [`crate::gso::bundle`]), and for that all headers up to
//! `csum_start` must be known.
//!
//! Recognised: VLAN tags, MPLS labels and instance tags anywhere, 4in4, 6in4, 4in6, 6in6, GRE (checksum, key, sequence;
//! IP, Ethernet or MPLS inside), VXLAN on any port, Geneve on its port; one in another, up to [`MAX_HEADERS`] headers with a
//! length of their own.

use std::fmt;

use crate::view::{Frag, ITag, Ipv4, Ipv6, Link, Lse, Udp};
use crate::{Csum, EtherType, Frame, IpProto};

/// Headers with a length or a checksum of their own that are followed; with the tags between them twice as many.
pub const MAX_HEADERS: usize = 8;
/// Tags of one Ethernet header, or labels of one stack, that are followed.
const MAX_TAGS: usize = 16;
/// IANA's UDP port of Geneve (RFC 8926).
const GENEVE_PORT: u16 = 6081;
/// Octets of a VXLAN header (RFC 7348), and of a Geneve header without options.
const OVERLAY_LEN: usize = 8;
const GRE_CSUM: u16 = 0x8000;
const GRE_KEY: u16 = 0x2000;
const GRE_SEQ: u16 = 0x1000;

/// The outermost tunnel of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TunnelKind {
    Vxlan,
    Geneve,
    Gre,
    /// IPv4 in IPv4.
    Ipip,
    /// IPv6 in IPv4.
    SixInFour,
    /// IPv4 in IPv6.
    FourInSix,
    /// IPv6 in IPv6.
    SixInSix,
    /// Something that is not followed: the checksum begins inside it.
    Unknown,
}

impl fmt::Display for TunnelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vxlan => "VXLAN",
            Self::Geneve => "Geneve",
            Self::Gre => "GRE",
            Self::Ipip => "4in4",
            Self::SixInFour => "6in4",
            Self::FourInSix => "4in6",
            Self::SixInSix => "6in6",
            Self::Unknown => "an unknown encapsulation",
        })
    }
}

/// What stands between the Ethernet header and the transport and is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfollowed {
    #[error("Ethernet type {0}")]
    EtherType(EtherType),
    #[error("IP protocol {}", .0 .0)]
    Protocol(IpProto),
    #[error("what is behind UDP port {0}")]
    UdpPort(u16),
    #[error("GRE with flags and version 0x{0:04x}")]
    Gre(u16),
    #[error("Geneve with version and option length 0x{0:02x}")]
    Geneve(u8),
    #[error("an MPLS payload that is not IP")]
    MplsPayload,
    #[error("a fragment")]
    Fragment,
    #[error("a header that is truncated or contradicts itself")]
    Malformed,
    #[error("more than {MAX_HEADERS} headers")]
    TooDeep,
    #[error("no transport where the checksum is said to begin")]
    NoTransport,
}

/// A tunnel around the innermost transport of `frame`: its checksum begins elsewhere than at the outermost transport.
///
/// `None` also when no checksum is partial, for then nothing says where the innermost transport is.
pub fn is_encapsulated(frame: &Frame) -> Option<TunnelKind> {
    let Csum::Partial { start, .. } = frame.offload.csum else {
        return None;
    };
    match Walk::to(frame.bytes(), Some(usize::from(start))) {
        Ok(walk) => walk.tunnel,
        Err(_) => Some(TunnelKind::Unknown),
    }
}

/// A header that speaks of what follows it. Offsets are counted from the outermost Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Ipv4 {
        at: usize,
        len: usize,
    },
    Ipv6 {
        at: usize,
        proto: IpProto,
        en_route: bool,
    },
    Udp {
        at: usize,
    },
    /// `csum` and `seq` are the offsets of these fields, if present.
    Gre {
        at: usize,
        csum: Option<usize>,
        seq: Option<usize>,
    },
}

impl Header {
    /// Where it begins.
    pub(crate) fn at(self) -> usize {
        match self {
            Self::Ipv4 { at, .. }
            | Self::Ipv6 { at, .. }
            | Self::Udp { at }
            | Self::Gre { at, .. } => at,
        }
    }
}

/// The headers in front of a transport.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    headers: [Option<Header>; MAX_HEADERS],
    n: usize,
    pub(crate) tunnel: Option<TunnelKind>,
    /// An MPLS label or an instance tag stands somewhere in front.
    pub(crate) shimmed: bool,
    /// The transport: its protocol, where it begins, and where the IP packet around it ends.
    pub(crate) proto: IpProto,
    pub(crate) l4: usize,
    pub(crate) end: usize,
}

/// Where the walk stands.
enum At {
    Ethernet(usize),
    Net(EtherType, usize),
    Upper(IpProto, usize),
}

impl Walk {
    /// Walks to the transport that begins at `target`, or without a target to the outermost one.
    pub(crate) fn to(bytes: &[u8], target: Option<usize>) -> Result<Self, Unfollowed> {
        let mut walk = Self {
            headers: [None; MAX_HEADERS],
            n: 0,
            tunnel: None,
            shimmed: false,
            proto: IpProto::NONE,
            l4: 0,
            end: bytes.len(),
        };
        let mut at = At::Ethernet(0);
        for _ in 0..3 * MAX_HEADERS {
            at = match at {
                At::Ethernet(from) => ethernet(bytes, from)?,
                At::Net(ty, from) => walk.net(bytes, ty, from)?,
                At::Upper(proto, from) if target.is_none_or(|t| t <= from) => {
                    (walk.proto, walk.l4) = (proto, from);
                    return match target {
                        Some(t) if t < from => Err(Unfollowed::NoTransport),
                        _ => Ok(walk),
                    };
                }
                At::Upper(proto, from) => walk.upper(bytes, proto, from)?,
            };
        }
        Err(Unfollowed::TooDeep)
    }

    /// Outermost first.
    pub(crate) fn headers(&self) -> impl DoubleEndedIterator<Item = Header> + Clone + '_ {
        self.headers.iter().take(self.n).copied().flatten()
    }

    fn push(&mut self, h: Header) -> Result<(), Unfollowed> {
        let slot = self.headers.get_mut(self.n).ok_or(Unfollowed::TooDeep)?;
        *slot = Some(h);
        self.n += 1;
        Ok(())
    }

    fn net(&mut self, bytes: &[u8], ty: EtherType, at: usize) -> Result<At, Unfollowed> {
        let here = bytes.get(at..self.end).ok_or(Unfollowed::Malformed)?;
        match ty {
            EtherType::IPV4 => {
                let ip = Ipv4::new(here).ok_or(Unfollowed::Malformed)?;
                if ip.frag() != Frag::No {
                    return Err(Unfollowed::Fragment);
                }
                self.end = at + ip.total_len();
                self.push(Header::Ipv4 {
                    at,
                    len: ip.header_len(),
                })?;
                Ok(At::Upper(ip.proto(), at + ip.header_len()))
            }
            EtherType::IPV6 => {
                let ip = Ipv6::new(here).ok_or(Unfollowed::Malformed)?;
                let upper = ip.upper().ok_or(Unfollowed::Malformed)?;
                if upper.frag != Frag::No {
                    return Err(Unfollowed::Fragment);
                }
                self.end = at + Ipv6::LEN + ip.payload().len();
                self.push(Header::Ipv6 {
                    at,
                    proto: upper.proto,
                    en_route: upper.en_route,
                })?;
                Ok(At::Upper(upper.proto, at + upper.offset))
            }
            EtherType::MPLS | EtherType::MPLS_MC => {
                self.shimmed = true;
                behind_labels(here, at)
            }
            EtherType::PBB => {
                self.shimmed = true;
                ITag::new(here).ok_or(Unfollowed::Malformed)?;
                Ok(At::Ethernet(at + ITag::LEN - 2))
            }
            other => Err(Unfollowed::EtherType(other)),
        }
    }

    fn upper(&mut self, bytes: &[u8], proto: IpProto, at: usize) -> Result<At, Unfollowed> {
        let outer_is_v4 = matches!(self.headers().next_back(), Some(Header::Ipv4 { .. }));
        let (kind, inside) = match proto {
            IpProto::IPIP if outer_is_v4 => (TunnelKind::Ipip, At::Net(EtherType::IPV4, at)),
            IpProto::IPIP => (TunnelKind::FourInSix, At::Net(EtherType::IPV4, at)),
            IpProto::IPV6 if outer_is_v4 => (TunnelKind::SixInFour, At::Net(EtherType::IPV6, at)),
            IpProto::IPV6 => (TunnelKind::SixInSix, At::Net(EtherType::IPV6, at)),
            IpProto::GRE => (TunnelKind::Gre, self.gre(bytes, at)?),
            IpProto::UDP => self.udp(bytes, at)?,
            other => return Err(Unfollowed::Protocol(other)),
        };
        self.tunnel = self.tunnel.or(Some(kind));
        Ok(inside)
    }

    fn gre(&mut self, bytes: &[u8], at: usize) -> Result<At, Unfollowed> {
        let h: &[u8; 4] = first(bytes, at)?;
        let flags = u16::from_be_bytes([h[0], h[1]]);
        if flags & !(GRE_CSUM | GRE_KEY | GRE_SEQ) != 0 {
            return Err(Unfollowed::Gre(flags));
        }
        let mut next = at + 4;
        let mut field = |bit| {
            let here = (flags & bit != 0).then_some(next);
            next += if here.is_some() { 4 } else { 0 };
            here
        };
        let csum = field(GRE_CSUM);
        field(GRE_KEY);
        let seq = field(GRE_SEQ);
        self.push(Header::Gre { at, csum, seq })?;
        Ok(inside(EtherType(u16::from_be_bytes([h[2], h[3]])), next))
    }

    fn udp(&mut self, bytes: &[u8], at: usize) -> Result<(TunnelKind, At), Unfollowed> {
        let datagram = bytes
            .get(at..self.end)
            .and_then(Udp::new)
            .ok_or(Unfollowed::Malformed)?;
        let h: &[u8; OVERLAY_LEN] = first(datagram.payload(), 0)?;
        self.push(Header::Udp { at })?;
        let next = at + Udp::LEN + OVERLAY_LEN;
        if datagram.dst_port() == GENEVE_PORT {
            if h[0] >> 6 != 0 {
                return Err(Unfollowed::Geneve(h[0]));
            }
            let options = usize::from(h[0] & 0x3f) * 4;
            let ty = EtherType(u16::from_be_bytes([h[2], h[3]]));
            return Ok((TunnelKind::Geneve, inside(ty, next + options)));
        }
        // The instance flag, the group policy flag at most beside it, and the reserved last octet.
        if h[0] & !0x80 == 0x08 && h[7] == 0 {
            return Ok((TunnelKind::Vxlan, At::Ethernet(next)));
        }
        Err(Unfollowed::UdpPort(datagram.dst_port()))
    }
}

fn inside(ty: EtherType, at: usize) -> At {
    if ty == EtherType::TEB {
        At::Ethernet(at)
    } else {
        At::Net(ty, at)
    }
}

fn ethernet(bytes: &[u8], at: usize) -> Result<At, Unfollowed> {
    let link = bytes
        .get(at..)
        .and_then(|b| Link::with_max_tags(b, MAX_TAGS))
        .ok_or(Unfollowed::Malformed)?;
    Ok(At::Net(link.ether_type(), at + link.l3()))
}

fn behind_labels(mut here: &[u8], at: usize) -> Result<At, Unfollowed> {
    for n in 1..=MAX_TAGS {
        let (lse, rest) = Lse::split(here).ok_or(Unfollowed::Malformed)?;
        if lse.bos() {
            let at = at + n * Lse::LEN;
            return match rest.first().map(|b| b >> 4) {
                Some(4) => Ok(At::Net(EtherType::IPV4, at)),
                Some(6) => Ok(At::Net(EtherType::IPV6, at)),
                _ => Err(Unfollowed::MplsPayload),
            };
        }
        here = rest;
    }
    Err(Unfollowed::TooDeep)
}

fn first<const N: usize>(bytes: &[u8], at: usize) -> Result<&[u8; N], Unfollowed> {
    bytes
        .get(at..)
        .and_then(|b| b.first_chunk())
        .ok_or(Unfollowed::Malformed)
}
