//! Copying a TTL between a label and the IP header behind it (OpenFlow 1.3.5 section 5.12).
//!
//! Nothing in a label says what it covers. Behind the bottom of the stack an IP packet is what begins with IP's version and
//! is a whole packet of that version, as the views see it: the convention of label switching routers (RFC 4928 section 3).
//! Labels above others are not meant here: their TTLs are copied like any field.

use super::tag::{outermost_lse, put, set_mpls_lse};
use crate::csum::Sum;
use crate::view::{Ipv4, Ipv6, Lse};
use crate::Frame;

/// Where the label and the IP header behind it keep their TTLs.
struct Stack {
    lse: Lse,
    /// Offset of the IP header.
    l3: usize,
    v4: bool,
    ttl: u8,
}

/// Writes the TTL (or hop limit) of the IP header into the label in front of it. False, and nothing is written, unless the
/// outermost label is the bottom of the stack and a whole IP packet follows.
pub fn copy_ttl_out(frame: &mut Frame) -> bool {
    Stack::of(frame).is_some_and(|s| set_mpls_lse(frame, Lse(u32::from(s.ttl)), Lse::TTL_MASK))
}

/// Writes the TTL of the label into the IP header behind it, with its checksum. False, and nothing is written, unless the
/// outermost label is the bottom of the stack and a whole IP packet follows.
pub fn copy_ttl_in(frame: &mut Frame) -> bool {
    let Some(s) = Stack::of(frame) else {
        return false;
    };
    let ttl = s.lse.ttl();
    if !s.v4 {
        return put(frame, s.l3 + Ipv6::HOP_LIMIT, [ttl]);
    }
    let at = s.l3 + Ipv4::CSUM;
    let Some(csum) = frame.bytes().get(at..).and_then(|b| b.first_chunk()) else {
        return false;
    };
    // The TTL is the high half of its word.
    let change = Sum::of(&[ttl]).minus(Sum::of(&[s.ttl]));
    let csum = if ttl == s.ttl {
        *csum
    } else {
        change.patch(u16::from_be_bytes(*csum)).to_be_bytes()
    };
    put(frame, s.l3 + Ipv4::TTL, [ttl]) && put(frame, at, csum)
}

impl Stack {
    fn of(frame: &Frame) -> Option<Self> {
        let (at, lse) = outermost_lse(frame)?;
        let l3 = at + Lse::LEN;
        let packet = frame.bytes().get(l3..)?;
        let (v4, ttl) = match (Ipv4::new(packet), Ipv6::new(packet)) {
            (Some(ip), _) => (true, ip.ttl()),
            (None, Some(ip)) => (false, ip.hop_limit()),
            (None, None) => return None,
        };
        lse.bos().then_some(Self { lse, l3, v4, ttl })
    }
}
