//! Tags that are pushed and popped: 802.1Q/802.1ad VLAN tags, MPLS labels, 802.1ah service instance tags.
//!
//! Where they go: a VLAN tag and an instance tag right behind the addresses, outermost; a label behind the VLAN tags and
//! before everything else, which is where it is looked for. Checksum and segmentation offsets move along
//! ([`Frame::insert`]).

use crate::view::{Eth, ITag, Link, Lse, Vlan};
use crate::{EtherType, Frame, VlanTci};

/// Octets of the two addresses, behind which the outermost tag stands.
const ADDRESSES: usize = 12;

/// Pushes an outermost VLAN tag. False when the frame has no Ethernet header or `tpid` is not a VLAN's.
pub fn push_vlan(frame: &mut Frame, tpid: EtherType, tci: VlanTci) -> bool {
    if frame.len() < Eth::LEN || !tpid.is_vlan() {
        return false;
    }
    frame.insert(ADDRESSES, Vlan::LEN);
    put16(frame, ADDRESSES, tpid.0);
    put16(frame, ADDRESSES + 2, tci.0);
    true
}

/// Pops the outermost VLAN tag. False when there is none.
pub fn pop_vlan(frame: &mut Frame) -> bool {
    if Link::with_max_tags(frame.bytes(), 1).is_none_or(|l| l.tags() == 0) {
        return false;
    }
    frame.remove(ADDRESSES, Vlan::LEN);
    true
}

/// Rewrites the TCI of tag `depth` (0 is the outermost) under `mask`. False when there is no such tag among the first
/// [`Link::MAX_TAGS`].
pub fn set_vlan_tci(frame: &mut Frame, depth: usize, value: VlanTci, mask: u16) -> bool {
    let Some((_, old)) = Link::new(frame.bytes()).and_then(|l| l.tag(depth)) else {
        return false;
    };
    let at = ADDRESSES + depth * Vlan::LEN + 2;
    put16(frame, at, (old.0 & !mask) | (value.0 & mask))
}

/// Pushes a label stack entry behind the VLAN tags, and behind LLC and SNAP where they are (RFC 3032 section 5). False without an
/// Ethernet header, under an 802.3 length without SNAP, or when `ethertype` is not MPLS.
pub fn push_mpls(frame: &mut Frame, ethertype: EtherType, lse: Lse) -> bool {
    let Some((l3, length_at)) = Link::new(frame.bytes())
        .filter(|l| l.ether_type() != EtherType::NOT_ETH_TYPE && ethertype.is_mpls())
        .map(|l| (l.l3(), l.is_802_3().then_some(l.type_at())))
    else {
        return false;
    };
    frame.insert(l3, Lse::LEN);
    lengthen(frame, length_at, Lse::LEN as i16);
    put16(frame, l3 - 2, ethertype.0) && put32(frame, l3, lse.0)
}

/// Changes an 802.3 length; one that would become a type stays as large as a length can be.
fn lengthen(frame: &mut Frame, at: Option<usize>, by: i16) {
    let field = at.and_then(|at| frame.bytes_mut().get_mut(at..)?.first_chunk_mut::<2>());
    if let Some(field) = field {
        let length = u16::from_be_bytes(*field).saturating_add_signed(by);
        *field = length.min(EtherType::MIN - 1).to_be_bytes();
    }
}

/// Rewrites the type behind the outermost `tags` VLAN tags. False when there are fewer, or under an 802.3 length without SNAP.
pub fn set_eth_type(frame: &mut Frame, tags: usize, value: EtherType) -> bool {
    let Some(l3) = Link::with_max_tags(frame.bytes(), tags)
        .filter(|l| l.tags() == tags && l.ether_type() != EtherType::NOT_ETH_TYPE)
        .map(|l| l.l3())
    else {
        return false;
    };
    // SNAP has its type there too.
    put16(frame, l3 - 2, value.0)
}

/// Pops the outermost label stack entry and says what it covered: `ethertype`, MPLS again if it was not the last. False
/// when there is no whole entry.
pub fn pop_mpls(frame: &mut Frame, ethertype: EtherType) -> bool {
    let Some((l3, _)) = outermost_lse(frame) else {
        return false;
    };
    let length_at = Link::new(frame.bytes()).and_then(|l| l.is_802_3().then_some(l.type_at()));
    frame.remove(l3, Lse::LEN);
    lengthen(frame, length_at, -(Lse::LEN as i16));
    put16(frame, l3 - 2, ethertype.0)
}

/// Rewrites the outermost label stack entry under `mask`. False when there is no whole one.
pub fn set_mpls_lse(frame: &mut Frame, value: Lse, mask: u32) -> bool {
    let Some((l3, old)) = outermost_lse(frame) else {
        return false;
    };
    put32(frame, l3, (old.0 & !mask) | (value.0 & mask))
}

/// Pushes an outermost service instance tag with the I-TCI `tci` (I-PCP 3 bits, I-DEI 1, UCA 1, reserved 3, I-SID 24).
///
/// The frame with all its tags becomes the customer's, the backbone addresses are copies of the customer's (OpenFlow 1.3
/// section 5.12). False without an Ethernet header.
pub fn push_pbb(frame: &mut Frame, tci: u32) -> bool {
    let Some(addresses) = frame.bytes().first_chunk::<ADDRESSES>().copied() else {
        return false;
    };
    if frame.len() < Eth::LEN {
        return false;
    }
    frame.insert(0, ADDRESSES + ITag::LEN);
    frame.bytes_mut()[..ADDRESSES].copy_from_slice(&addresses);
    put16(frame, ADDRESSES, EtherType::PBB.0) && put32(frame, ADDRESSES + 2, tci)
}

/// Pops the outermost service instance tag together with the backbone addresses, which leaves the customer's frame.
/// False when there is none, or when the customer's Ethernet header is cut off.
pub fn pop_pbb(frame: &mut Frame) -> bool {
    let whole = Eth::new(frame.bytes())
        .filter(|e| e.ether_type() == EtherType::PBB)
        .and_then(|e| ITag::new(e.payload()))
        .is_some();
    if whole {
        frame.remove(0, ADDRESSES + ITag::LEN);
    }
    whole
}

/// Rewrites the I-TCI under `mask`, behind VLAN tags too (the backbone's B-tag). False when there is no instance tag.
pub fn set_pbb_tci(frame: &mut Frame, value: u32, mask: u32) -> bool {
    let Some((l3, old)) = Link::new(frame.bytes())
        .filter(|l| l.ether_type() == EtherType::PBB)
        .and_then(|l| ITag::new(l.payload()).map(|t| (l.l3(), t.tci())))
    else {
        return false;
    };
    put32(frame, l3, (old & !mask) | (value & mask))
}

/// Offset of the outermost entry, and the entry. The type that says MPLS is in the two octets before it.
pub(super) fn outermost_lse(frame: &Frame) -> Option<(usize, Lse)> {
    let link = Link::new(frame.bytes())?;
    if !link.ether_type().is_mpls() {
        return None;
    }
    let (lse, _) = Lse::split(link.payload())?;
    Some((link.l3(), lse))
}

fn put16(frame: &mut Frame, at: usize, v: u16) -> bool {
    put(frame, at, v.to_be_bytes())
}

fn put32(frame: &mut Frame, at: usize, v: u32) -> bool {
    put(frame, at, v.to_be_bytes())
}

pub(super) fn put<const N: usize>(frame: &mut Frame, at: usize, v: [u8; N]) -> bool {
    match frame
        .bytes_mut()
        .get_mut(at..)
        .and_then(|b| b.first_chunk_mut::<N>())
    {
        Some(field) => {
            *field = v;
            true
        }
        None => false,
    }
}
