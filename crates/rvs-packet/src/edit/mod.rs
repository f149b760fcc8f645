//! Header edits that keep the frame true.
//!
//! Two kinds. Tags, labels and instance tags change the length: the functions of [`tag`]. (Beside them
//! the TTL of a label and of the IP header behind it: no edit of fields reaches behind a label.) Fields are rewritten in place
//! under a mask by an [`Edit`], which locates the headers once and keeps checksums true incrementally (RFC 1624), so that
//! a wrong checksum stays wrong and nobody downstream takes a damaged frame for a whole one.
//!
//! Every edit returns whether its header was there. If not, *nothing is written* (the class of CVE-2025-40254): a
//! truncated or contradictory header, a later fragment, another protocol behind the same bytes. Presence is decided by
//! the same views that extract the flow key.
//!
//! What "true" means while the kernel still owes work ([`Csum::Partial`]): the field then holds the sum of the pseudo
//! header, so a change of address changes it, and a change of port does not. Only the innermost transport can be partial;
//! the outer UDP of a tunnel is complete and is treated so.

mod net;
pub mod tag;
mod transport;
mod ttl;

use crate::csum::Sum;
use crate::layout::{Layout, Net, Transport};
use crate::view::{Icmp, Ipv4};
use crate::{Csum, Frame, MacAddr};

pub use tag::{
    pop_mpls, pop_pbb, pop_vlan, push_mpls, push_pbb, push_vlan, set_eth_type, set_mpls_lse,
    set_pbb_tci, set_vlan_tci,
};
pub use ttl::{copy_ttl_in, copy_ttl_out};

/// Rewrites fields of the outermost headers of one frame, any number of them.
///
/// Values and masks have the width of the field; bits outside the mask stay. Everything returns `true` when the header
/// was present, whether or not a bit changed.
#[derive(Debug)]
pub struct Edit<'f> {
    frame: &'f mut Frame,
    lay: Layout,
}

/// Which checksums cover the octets that are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Covered {
    /// None: Ethernet, ARP, most of IPv6.
    No,
    /// The header checksum, if layer 3 is IPv4.
    Header,
    /// That one, and by way of the pseudo header the transport's.
    Addresses,
    /// The transport's.
    Transport,
}

impl<'f> Edit<'f> {
    pub fn new(frame: &'f mut Frame) -> Self {
        let lay = Layout::of(frame.bytes());
        Self { frame, lay }
    }

    /// Where the headers are; no edit of this type moves them.
    pub const fn layout(&self) -> &Layout {
        &self.lay
    }

    pub fn set_eth_dst(&mut self, value: MacAddr, mask: MacAddr) -> bool {
        self.frame.len() >= 14 && self.write(0, value.0, mask.0, Covered::No)
    }

    pub fn set_eth_src(&mut self, value: MacAddr, mask: MacAddr) -> bool {
        self.frame.len() >= 14 && self.write(6, value.0, mask.0, Covered::No)
    }

    /// Writes `N` octets at `at` under `mask`, then repairs the checksums. False, and nothing written, past the end.
    fn write<const N: usize>(
        &mut self,
        at: usize,
        value: [u8; N],
        mask: [u8; N],
        covered: Covered,
    ) -> bool {
        let l3 = self.lay.l3;
        let bytes = self.frame.bytes_mut();
        let Some(field) = bytes.get_mut(at..).and_then(|b| b.first_chunk_mut::<N>()) else {
            return false;
        };
        let old = *field;
        for i in 0..N {
            field[i] = (old[i] & !mask[i]) | (value[i] & mask[i]);
        }
        let new = *field;
        if covered == Covered::No || new == old {
            return true;
        }
        // All headers behind layer 3 start at an even distance from it, so this parity is the checksum's.
        let change = if at.abs_diff(l3) % 2 == 0 {
            Sum::of(&new).minus(Sum::of(&old))
        } else {
            odd_sum(&new).minus(odd_sum(&old))
        };
        if covered != Covered::Transport {
            self.patch_header(change);
        }
        if covered != Covered::Header {
            self.patch_transport(change, covered == Covered::Addresses);
        }
        true
    }

    fn patch_header(&mut self, change: Sum) {
        if self.lay.net == Net::Ipv4 {
            let at = self.lay.l3 + Ipv4::CSUM;
            if let Some(field) = self.field16(at) {
                *field = change.patch(u16::from_be_bytes(*field)).to_be_bytes();
            }
        }
    }

    fn patch_transport(&mut self, change: Sum, in_pseudo: bool) {
        let transport = self.lay.transport;
        if in_pseudo && !transport.covers_addresses() {
            return;
        }
        let Some(csum_at) = transport.csum_at() else {
            return;
        };
        let partial = self.is_partial(csum_at);
        let Some(field) = self.field16(self.lay.l4 + csum_at) else {
            return;
        };
        let old = u16::from_be_bytes(*field);
        let new = match (partial, transport) {
            (true, _) if in_pseudo => change.patch_partial(old),
            (true, _) => return,
            // The sender computed none.
            (false, Transport::Udp) if old == 0 => return,
            (false, Transport::Udp) => match change.patch(old) {
                0 => 0xffff,
                c => c,
            },
            (false, _) => change.patch(old),
        };
        *field = new.to_be_bytes();
        if new == 0 && transport == Transport::Icmp {
            self.mend_icmp_zero();
        }
    }

    /// ICMP has no pseudo header, so all it covers may be zero (an echo reply with nothing in it). Only then the two
    /// zeros of ones-complement arithmetic differ: the sum of nothing is 0x0000, and its checksum 0xffff.
    fn mend_icmp_zero(&mut self) {
        let (l4, end) = (self.lay.l4, self.lay.end);
        let Some(message) = self.frame.bytes_mut().get_mut(l4..end) else {
            return;
        };
        if message.iter().all(|&b| b == 0) {
            if let Some(field) = message.get_mut(Icmp::CSUM..Icmp::CSUM + 2) {
                field.fill(0xff);
            }
        }
    }

    /// True when the kernel still owes the checksum `csum_at` octets behind the start of our transport header.
    fn is_partial(&self, csum_at: usize) -> bool {
        match self.frame.offload.csum {
            Csum::Partial { start, offset } => {
                usize::from(start) == self.lay.l4 && usize::from(offset) == csum_at
            }
            Csum::Complete | Csum::Verified => false,
        }
    }

    fn field16(&mut self, at: usize) -> Option<&mut [u8; 2]> {
        self.frame.bytes_mut().get_mut(at..)?.first_chunk_mut()
    }
}

/// The sum of octets of which the first is the low half of a word.
fn odd_sum(bytes: &[u8]) -> Sum {
    Sum::new(Sum::of(bytes).value().swap_bytes())
}
