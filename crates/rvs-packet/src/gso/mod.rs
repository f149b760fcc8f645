//! Super-frames: how many frames they stand for, whether those fit a port, and cutting them in software.
//!
//! A super-frame ([`crate::Gso`]) is one header with up to 64 KiB of payload that the kernel (or a card) cuts into segments
//! when it must. Passing it on whole is the largest lever on throughput there is, so it is cut here only where a way out
//! cannot say what it is: a sink without a vnet header, a tunnel ([`crate::tunnel`]), MPLS, an instance tag. Each segment
//! repeats all headers; in each, every length, IPv4 identification, sequence number and checksum is its own, and complete.
//! What is cut inside a UDP tunnel may then leave in bundles that a way out does understand ([`bundle`]).

mod bundle;

use crate::csum::{complete, Incomplete, Sum};
use crate::tunnel::{Header, Unfollowed, Walk};
use crate::view::{Eth, Ipv4, Ipv6, Tcp, Udp};
use crate::{Csum, EtherType, Frame, FramePool, Gso, GsoKind, IpProto};

pub use bundle::bundle;

/// Segments of one super-frame. The smallest segment that Linux' TCP makes holds 8 octets.
pub const MAX_SEGMENTS: usize = 8192;

/// Why a super-frame cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    #[error("a segment size of 0")]
    ZeroSize,
    #[error("{0} segments (at most {MAX_SEGMENTS})")]
    TooMany(usize),
    #[error("cannot segment through {0}")]
    Unfollowed(#[from] Unfollowed),
    #[error("said to be {kind:?}, but there is IP protocol {}", .found.0)]
    Kind { kind: GsoKind, found: IpProto },
    #[error("a routing header hides the final destination from the checksum")]
    EnRoute,
    #[error(transparent)]
    Checksum(#[from] Incomplete),
}

/// Appends to `out` the frames that `frame` stands for, fit for any wire: cut, and with all checksums complete.
///
/// TCP: sequence numbers go on, FIN and PSH only in the last segment, CWR only in the first if the super-frame says so
/// ([`Gso::ecn`]). UDP: each segment is a datagram. IPv4 identifications count up at every level. An outer UDP checksum of 0
/// stays 0 and any other is computed; a GRE checksum is computed and a GRE sequence number counts up.
///
/// A frame that is no super-frame gives one copy with its checksum completed.
///
/// # Errors
/// Headers that cannot be followed or do not agree with the metadata. Then nothing is appended.
pub fn segment(
    frame: &Frame,
    pool: &mut FramePool,
    out: &mut Vec<Frame>,
) -> Result<(), SegmentError> {
    let Some(gso) = frame.offload.gso else {
        let mut copy = pool.copy(frame);
        if let Err(e) = complete(&mut copy) {
            pool.give(copy);
            return Err(e.into());
        }
        out.push(copy);
        return Ok(());
    };
    let plan = Plan::of(frame, gso)?;
    plan.check_checksums(frame.bytes())?;
    out.reserve(plan.count);
    for i in 0..plan.count {
        let mut segment = pool.take(plan.hdr_len + plan.payload_of(i));
        plan.write(i, frame.bytes(), segment.bytes_mut());
        segment.priority = frame.priority;
        out.push(segment);
    }
    Ok(())
}

/// Frames on the wire that `frame` stands for: 1 unless it is a super-frame.
pub fn segment_count(frame: &Frame) -> usize {
    shape(frame).count
}

/// Octets on the wire, without FCS, of all frames that `frame` stands for: each repeats the headers.
pub fn wire_len(frame: &Frame) -> usize {
    let s = shape(frame);
    s.count * s.hdr_len + s.payload
}

/// [`segment_count`] and [`wire_len`]: what every counter of the switch counts of a frame.
#[inline]
pub fn on_wire(frame: &Frame) -> (u64, u64) {
    match frame.offload.gso {
        None => (1, frame.len() as u64),
        Some(_) => {
            let s = shape(frame);
            (s.count as u64, (s.count * s.hdr_len + s.payload) as u64)
        }
    }
}

/// What an AF_PACKET socket with a vnet header can do with a frame on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Send it as it is; the kernel cuts it if it is a super-frame.
    AsIs,
    /// Each segment would fit, but the kernel cannot be told how to cut: [`segment`] or [`bundle`] it first.
    Segment,
    /// It, or its largest segment, exceeds the MTU: this many octets count against it.
    TooBig { octets: usize },
}

/// Judges `frame` for a port whose MTU is `mtu` octets.
///
/// What counts against the MTU is what stands behind the Ethernet header, except one outermost 0x8100 tag, which Linux
/// allows on top. An outermost 0x88a8 tag, a second tag, labels and instance tags count.
pub fn fits(frame: &Frame, mtu: u32) -> Fit {
    let tagged = Eth::new(frame.bytes()).is_some_and(|e| e.ether_type() == EtherType::VLAN);
    let allowed = Eth::LEN + if tagged { 4 } else { 0 };
    let shape = shape(frame);
    let octets = shape.largest.saturating_sub(allowed);
    if octets > mtu as usize {
        Fit::TooBig { octets }
    } else if shape.inexpressible {
        Fit::Segment
    } else {
        Fit::AsIs
    }
}

/// What statistics and size checks want to know; total, for lack of a plan it follows the metadata's hint.
struct Shape {
    count: usize,
    /// Octets that each frame on the wire repeats; 0 for an ordinary frame.
    hdr_len: usize,
    payload: usize,
    /// Octets of the largest frame on the wire.
    largest: usize,
    /// A super-frame that the kernel cannot be told of.
    inexpressible: bool,
}

fn shape(frame: &Frame) -> Shape {
    let len = frame.len();
    let Some(gso) = frame.offload.gso else {
        return Shape {
            count: 1,
            hdr_len: 0,
            payload: len,
            largest: len,
            inexpressible: false,
        };
    };
    let size = usize::from(gso.size.max(1));
    let (hdr_len, payload, inexpressible) = match Plan::of(frame, gso) {
        Ok(p) => (
            p.hdr_len,
            p.payload,
            p.walk.tunnel.is_some() || p.walk.shimmed,
        ),
        Err(_) => {
            let hint = usize::from(gso.hdr_len).min(len);
            (hint, len - hint, true)
        }
    };
    let count = payload.div_ceil(size).max(1);
    let largest = hdr_len + payload.min(size);
    Shape {
        count,
        hdr_len,
        payload,
        largest,
        inexpressible,
    }
}

/// All that is known before the first octet is copied.
struct Plan {
    walk: Walk,
    gso: Gso,
    hdr_len: usize,
    size: usize,
    payload: usize,
    count: usize,
    /// The kernel left the transport checksum partial.
    partial: bool,
}

impl Plan {
    fn of(frame: &Frame, gso: Gso) -> Result<Self, SegmentError> {
        let bytes = frame.bytes();
        let target = match frame.offload.csum {
            Csum::Partial { start, .. } => Some(usize::from(start)),
            Csum::Complete | Csum::Verified => None,
        };
        let walk = Walk::to(bytes, target)?;
        let found = walk.proto;
        let l4 = bytes.get(walk.l4..walk.end).ok_or(Unfollowed::Malformed)?;
        let ip = walk.headers().next_back();
        let v4 = matches!(ip, Some(Header::Ipv4 { .. }));
        let header_len = match (gso.kind, found) {
            (GsoKind::TcpV4, IpProto::TCP) if v4 => Tcp::new(l4).map(|t| t.header_len()),
            (GsoKind::TcpV6, IpProto::TCP) if !v4 => Tcp::new(l4).map(|t| t.header_len()),
            (GsoKind::UdpL4, IpProto::UDP) => Udp::new(l4).map(|_| Udp::LEN),
            (kind, found) => return Err(SegmentError::Kind { kind, found }),
        };
        let hdr_len = walk.l4 + header_len.ok_or(Unfollowed::Malformed)?;
        let size = usize::from(gso.size);
        if size == 0 {
            return Err(SegmentError::ZeroSize);
        }
        let payload = walk.end - hdr_len;
        let count = payload.div_ceil(size).max(1);
        if count > MAX_SEGMENTS {
            return Err(SegmentError::TooMany(count));
        }
        Ok(Self {
            walk,
            gso,
            hdr_len,
            size,
            payload,
            count,
            partial: target.is_some(),
        })
    }

    /// A transport checksum behind a routing header with segments left needs the sum that a partial field holds.
    fn check_checksums(&self, bytes: &[u8]) -> Result<(), SegmentError> {
        let mut hidden = false;
        for header in self.walk.headers() {
            match header {
                Header::Ipv6 { en_route, .. } => hidden = en_route,
                Header::Ipv4 { .. } => hidden = false,
                Header::Udp { at } if hidden && get16(bytes, at + Udp::CSUM) != 0 => {
                    return Err(SegmentError::EnRoute);
                }
                Header::Udp { .. } | Header::Gre { .. } => {}
            }
        }
        if hidden && !self.partial {
            return Err(SegmentError::EnRoute);
        }
        Ok(())
    }

    /// Payload octets of segment `i`.
    fn payload_of(&self, i: usize) -> usize {
        self.size.min(self.payload - i * self.size)
    }

    /// Writes segment `i` of `whole` into `segment`, which has its length.
    fn write(&self, i: usize, whole: &[u8], segment: &mut [u8]) {
        self.write_inside(i, 0, whole, segment);
    }

    /// As [`Self::write`]; what stands before `inside` is unspecified.
    fn write_inside(&self, i: usize, inside: usize, whole: &[u8], segment: &mut [u8]) {
        let from = self.hdr_len + i * self.size;
        let (headers, payload) = segment.split_at_mut(self.hdr_len);
        headers.copy_from_slice(&whole[..self.hdr_len]);
        payload.copy_from_slice(&whole[from..from + payload.len()]);
        let written = self.walk.headers().filter(|h| h.at() >= inside);
        for header in written.clone() {
            count_up(header, i, segment);
        }
        self.transport(i, whole, segment);
        // From the inside out: an outer checksum covers the inner ones.
        let mut headers = written.rev();
        while let Some(header) = headers.next() {
            match header {
                Header::Udp { at } if get16(segment, at + Udp::CSUM) != 0 => {
                    let ip = headers.clone().next();
                    put16(segment, at + Udp::CSUM, 0);
                    let sum = pseudo(ip, IpProto::UDP, at, segment).plus(Sum::of(&segment[at..]));
                    put16(segment, at + Udp::CSUM, sum.udp_checksum());
                }
                Header::Gre {
                    at,
                    csum: Some(csum),
                    ..
                } => {
                    put16(segment, csum, 0);
                    put16(segment, csum, Sum::of(&segment[at..]).checksum());
                }
                _ => {}
            }
        }
    }

    fn transport(&self, i: usize, whole: &[u8], segment: &mut [u8]) {
        let l4 = self.walk.l4;
        let csum_at = if self.gso.kind == GsoKind::UdpL4 {
            put16(segment, l4 + Udp::LENGTH, (segment.len() - l4) as u16);
            l4 + Udp::CSUM
        } else {
            let seq = get32(segment, l4 + Tcp::SEQ).wrapping_add((i * self.size) as u32);
            put32(segment, l4 + Tcp::SEQ, seq);
            let mut cleared = 0;
            if i + 1 != self.count {
                cleared |= Tcp::FIN | Tcp::PSH;
            }
            if i != 0 && self.gso.ecn {
                cleared |= Tcp::CWR;
            }
            let flags = get16(segment, l4 + Tcp::FLAGS) & !cleared;
            put16(segment, l4 + Tcp::FLAGS, flags);
            l4 + Tcp::CSUM
        };
        let field = get16(segment, csum_at);
        if self.gso.kind == GsoKind::UdpL4 && field == 0 && !self.partial {
            return;
        }
        let ip = self.walk.headers().next_back();
        let pseudo = if let Some(Header::Ipv6 { en_route: true, .. }) = ip {
            // The field has the sum over the final destination and the whole length.
            let (old, new) = (self.walk.end - l4, segment.len() - l4);
            let change = Sum::change32(old as u32, new as u32);
            Sum::new(change.patch_partial(get16(whole, csum_at)))
        } else {
            pseudo(ip, self.walk.proto, l4, segment)
        };
        put16(segment, csum_at, 0);
        let sum = pseudo.plus(Sum::of(&segment[l4..]));
        let is_udp = self.gso.kind == GsoKind::UdpL4;
        put16(
            segment,
            csum_at,
            if is_udp {
                sum.udp_checksum()
            } else {
                sum.checksum()
            },
        );
    }
}

/// Lengths and numbers of one header of segment `i`; no transport or tunnel checksums.
fn count_up(header: Header, i: usize, segment: &mut [u8]) {
    let end = segment.len();
    match header {
        Header::Ipv4 { at, len } => {
            put16(segment, at + Ipv4::TOTAL_LEN, (end - at) as u16);
            let id = get16(segment, at + Ipv4::ID).wrapping_add(i as u16);
            put16(segment, at + Ipv4::ID, id);
            put16(segment, at + Ipv4::CSUM, 0);
            let sum = Sum::of(&segment[at..at + len]);
            put16(segment, at + Ipv4::CSUM, sum.checksum());
        }
        Header::Ipv6 { at, .. } => {
            put16(
                segment,
                at + Ipv6::PAYLOAD_LEN,
                (end - at - Ipv6::LEN) as u16,
            );
        }
        Header::Udp { at } => put16(segment, at + Udp::LENGTH, (end - at) as u16),
        Header::Gre { seq: Some(at), .. } => {
            let seq = get32(segment, at).wrapping_add(i as u32);
            put32(segment, at, seq);
        }
        Header::Gre { .. } => {}
    }
}

/// Pseudo-header sum of the transport at `l4` behind the header `ip`, to the end of the segment.
fn pseudo(ip: Option<Header>, proto: IpProto, l4: usize, segment: &[u8]) -> Sum {
    let addresses = match ip {
        Some(Header::Ipv4 { at, .. }) => &segment[at + Ipv4::SRC..at + Ipv4::MIN_LEN],
        Some(Header::Ipv6 { at, .. }) => &segment[at + Ipv6::SRC..at + Ipv6::LEN],
        _ => &[],
    };
    let len = (segment.len() - l4) as u32;
    Sum::of(addresses)
        .plus(Sum::new(u16::from(proto.0)))
        .plus(Sum::change32(0, len))
}

fn get16(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([b[at], b[at + 1]])
}

fn put16(b: &mut [u8], at: usize, v: u16) {
    b[at..at + 2].copy_from_slice(&v.to_be_bytes());
}

fn get32(b: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn put32(b: &mut [u8], at: usize, v: u32) {
    b[at..at + 4].copy_from_slice(&v.to_be_bytes());
}
