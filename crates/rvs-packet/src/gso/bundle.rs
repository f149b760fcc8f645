//! Segments of a tunnelled super-frame, bundled into super-frames of datagrams.
//!
//! A kernel cannot be told "TCP inside VXLAN, cut at 1448", but it can be told "UDP, each datagram 1522 octets"
//! ([`GsoKind::UdpL4`]): then the payload of the outer UDP is cut and the UDP header repeated. If each such piece is a whole
//! encapsulated segment with inner headers of its own, what the kernel makes of it, or whoever cuts it later, is octet for octet
//! what [`segment`] makes. The lever is the receiving side: a bundle goes through the stack once and its segments reach the
//! tunnel together, where GRO joins them, instead of one by one.
//!
//! Only what stays the same on the wire is bundled. In a bundle the outer UDP checksum is partial, so that it comes out
//! computed: frames without one (0) are not bundled.

use std::ops::Range;

use super::{count_up, get16, pseudo, put16, segment, Plan, SegmentError};
use crate::tunnel::{Header, Walk};
use crate::view::{Ipv6, Udp};
use crate::{Csum, Frame, FramePool, Gso, GsoKind, IpProto};

/// Octets of a bundle: as an IP packet, and as what a Linux device takes in one piece by default (`gso_max_size`).
const MAX_BUNDLE: usize = 65_535;
/// Datagrams of a bundle: what Linux grants a sending application (`UDP_MAX_SEGMENTS` when `UDP_SEGMENT` came).
const MAX_DATAGRAMS: usize = 64;

/// As [`segment`], but segments behind an outer UDP header leave in as few super-frames as hold them, where that makes no
/// difference on the wire. Cutting those gives what [`segment`] gives.
///
/// # Errors
/// As [`segment`]. Then nothing is appended.
pub fn bundle(
    frame: &Frame,
    pool: &mut FramePool,
    out: &mut Vec<Frame>,
) -> Result<(), SegmentError> {
    let Some(gso) = frame.offload.gso else {
        return segment(frame, pool, out);
    };
    let plan = Plan::of(frame, gso)?;
    let Some(outer) = Outer::of(frame.bytes(), &plan) else {
        return segment(frame, pool, out);
    };
    plan.check_checksums(frame.bytes())?;
    let bundles = plan.count.div_ceil(outer.fitting);
    let each = plan.count.div_ceil(bundles);
    out.reserve(bundles);
    for first in (0..plan.count).step_by(each) {
        let segments = first..plan.count.min(first + each);
        let mut bundle = outer.bundle(&plan, segments, frame.bytes(), pool);
        bundle.priority = frame.priority;
        out.push(bundle);
    }
    Ok(())
}

/// The headers that a bundle has once: up to and with the outermost UDP.
struct Outer {
    ip: Header,
    udp: usize,
    /// Payload octets of each datagram but the last.
    size: u16,
    /// Datagrams that one bundle holds; at least 1.
    fitting: usize,
}

impl Outer {
    /// `None`: the kernel could not be told, or it would make a difference.
    fn of(bytes: &[u8], plan: &Plan) -> Option<Self> {
        let mut headers = plan.walk.headers();
        let (ip, Header::Udp { at }) = (headers.next()?, headers.next()?) else {
            return None;
        };
        let direct = match ip {
            Header::Ipv4 { .. } => true,
            // Extension headers are nothing that every kernel cuts through.
            Header::Ipv6 { at: ip, .. } => at == ip + Ipv6::LEN,
            Header::Udp { .. } | Header::Gre { .. } => false,
        };
        let inside = plan.walk.l4 > at;
        // Labels and instance tags in front of the outer header, not those inside the tunnel.
        let shimmed = Walk::to(bytes, Some(at)).map_or(true, |w| w.shimmed);
        if !direct || !inside || shimmed || get16(bytes, at + Udp::CSUM) == 0 {
            return None;
        }
        let len = at + Udp::LEN;
        let size = plan.hdr_len - len + plan.size;
        let fitting = (MAX_BUNDLE.checked_sub(len)? / size).clamp(1, MAX_DATAGRAMS);
        Some(Self {
            ip,
            udp: at,
            size: u16::try_from(size).ok()?,
            fitting,
        })
    }

    fn bundle(
        &self,
        plan: &Plan,
        segments: Range<usize>,
        whole: &[u8],
        pool: &mut FramePool,
    ) -> Frame {
        let outer_len = self.udp + Udp::LEN;
        let size = usize::from(self.size);
        let at = |i: usize| (i - segments.start) * size;
        let len_of = |i: usize| plan.hdr_len + plan.payload_of(i);
        let end = segments.end - 1;
        let mut frame = pool.take(at(end) + len_of(end));
        let bytes = frame.bytes_mut();
        // From the last to the first: each is written with outer headers, which the end of the one before it overwrites.
        for i in segments.clone().rev() {
            let from = at(i);
            plan.write_inside(i, outer_len, whole, &mut bytes[from..from + len_of(i)]);
        }
        bytes[..outer_len].copy_from_slice(&whole[..outer_len]);
        count_up(self.ip, segments.start, bytes);
        count_up(Header::Udp { at: self.udp }, segments.start, bytes);
        let partial = pseudo(Some(self.ip), IpProto::UDP, self.udp, bytes);
        put16(bytes, self.udp + Udp::CSUM, partial.value());
        frame.offload.csum = Csum::Partial {
            start: self.udp as u16,
            offset: Udp::CSUM as u16,
        };
        if segments.len() > 1 {
            frame.offload.gso = Some(Gso {
                kind: GsoKind::UdpL4,
                size: self.size,
                hdr_len: outer_len as u16,
                ecn: false,
            });
        }
        frame
    }
}
