//! Layer 2: Ethernet II, 802.3 with LLC/SNAP, 802.1Q/802.1ad tags, 802.1ah service instance tags.

use crate::view::{be16, be32};
use crate::{EtherType, MacAddr, VlanTci};

/// An Ethernet header (IEEE 802.3 section 3.1), without FCS.
#[derive(Clone, Copy, Debug)]
pub struct Eth<'a> {
    hdr: &'a [u8; Eth::LEN],
    payload: &'a [u8],
}

impl<'a> Eth<'a> {
    pub const LEN: usize = 14;

    /// `None` when shorter than 14 octets.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.split_first_chunk() {
            Some((hdr, payload)) => Some(Self { hdr, payload }),
            None => None,
        }
    }

    #[inline]
    pub const fn dst(&self) -> MacAddr {
        let h = self.hdr;
        MacAddr([h[0], h[1], h[2], h[3], h[4], h[5]])
    }

    #[inline]
    pub const fn src(&self) -> MacAddr {
        let h = self.hdr;
        MacAddr([h[6], h[7], h[8], h[9], h[10], h[11]])
    }

    /// The type or 802.3 length field behind the addresses, as it stands there.
    #[inline]
    pub const fn ether_type(&self) -> EtherType {
        EtherType(be16(self.hdr, 12))
    }

    /// What follows the header, padding included.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// A VLAN tag (IEEE 802.1Q section 9.3), seen from behind its TPID: the TCI and the type that follows it.
#[derive(Clone, Copy, Debug)]
pub struct Vlan<'a> {
    hdr: &'a [u8; Vlan::LEN],
    payload: &'a [u8],
}

impl<'a> Vlan<'a> {
    pub const LEN: usize = 4;

    /// `None` when the TCI or the type behind it is cut off.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.split_first_chunk() {
            Some((hdr, payload)) => Some(Self { hdr, payload }),
            None => None,
        }
    }

    #[inline]
    pub const fn tci(&self) -> VlanTci {
        VlanTci(be16(self.hdr, 0))
    }

    /// The type (or 802.3 length) that the tag carries.
    #[inline]
    pub const fn ether_type(&self) -> EtherType {
        EtherType(be16(self.hdr, 2))
    }

    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// A service instance tag (IEEE 802.1Q section 9.7), seen from behind its TPID 0x88e7: the I-TCI and the customer's
/// Ethernet frame, which starts inside the tag with the customer addresses.
#[derive(Clone, Copy, Debug)]
pub struct ITag<'a> {
    tci: &'a [u8; 4],
    customer: &'a [u8],
}

impl<'a> ITag<'a> {
    /// Octets that stand between the outer addresses and the customer's: TPID and I-TCI.
    pub const LEN: usize = 6;

    /// `None` when the tag or the customer's Ethernet header is cut off.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.split_first_chunk() {
            Some((tci, customer)) if customer.len() >= Eth::LEN => Some(Self { tci, customer }),
            _ => None,
        }
    }

    /// I-PCP (3 bits), I-DEI (1), UCA (1), reserved (3), I-SID (24).
    #[inline]
    pub const fn tci(&self) -> u32 {
        be32(self.tci, 0)
    }

    /// Service instance identifier, 24 bits.
    #[inline]
    pub const fn isid(&self) -> u32 {
        self.tci() & 0x00ff_ffff
    }

    /// Use customer addresses bit.
    #[inline]
    pub const fn uca(&self) -> bool {
        self.tci[0] & 0x08 != 0
    }

    /// The customer's frame, from its destination address on.
    #[inline]
    pub const fn customer(&self) -> &'a [u8] {
        self.customer
    }
}

/// All of layer 2: addresses, at most [`Link::MAX_TAGS`] VLAN tags, and where layer 3 begins.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    bytes: &'a [u8],
    eth: Eth<'a>,
    tags: u8,
    type_at: u16,
    l3: u16,
    ether_type: EtherType,
}

impl<'a> Link<'a> {
    /// Tags that are looked behind; a further one stays payload and its TPID is [`Link::ether_type`].
    pub const MAX_TAGS: usize = 2;

    /// `None` when shorter than an Ethernet header. A tag cut off by the end of the frame is payload.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        Self::with_max_tags(bytes, Self::MAX_TAGS)
    }

    /// As [`Link::new`], looking behind at most `max_tags` tags (bounded by the caller: 255 at most).
    #[inline]
    pub fn with_max_tags(bytes: &'a [u8], max_tags: usize) -> Option<Self> {
        let eth = Eth::new(bytes)?;
        let mut ether_type = eth.ether_type();
        let mut rest = eth.payload();
        let mut type_at = 12u16;
        let mut tags = 0u8;
        while ether_type.is_vlan() && usize::from(tags) < max_tags.min(255) {
            let Some(tag) = Vlan::new(rest) else { break };
            ether_type = tag.ether_type();
            rest = tag.payload();
            type_at += 4;
            tags += 1;
        }
        let mut l3 = type_at + 2;
        if ether_type.0 < EtherType::MIN {
            ether_type = match snap_type(rest) {
                Some(t) => {
                    l3 += SNAP_LEN;
                    t
                }
                None => EtherType::NOT_ETH_TYPE,
            };
        }
        Some(Self {
            bytes,
            eth,
            tags,
            type_at,
            l3,
            ether_type,
        })
    }

    #[inline]
    pub const fn eth(&self) -> Eth<'a> {
        self.eth
    }

    /// Number of tags looked behind.
    #[inline]
    pub const fn tags(&self) -> usize {
        self.tags as usize
    }

    /// Tag `depth` (0 is the outermost): TPID and TCI.
    #[inline]
    pub fn tag(&self, depth: usize) -> Option<(EtherType, VlanTci)> {
        if depth >= self.tags() {
            return None;
        }
        let h: &[u8; 4] = self.bytes.get(12 + 4 * depth..)?.first_chunk()?;
        Some((EtherType(be16(h, 0)), VlanTci(be16(h, 2))))
    }

    /// What layer 3 is: the type behind the tags, or the one of a SNAP header, or [`EtherType::NOT_ETH_TYPE`].
    #[inline]
    pub const fn ether_type(&self) -> EtherType {
        self.ether_type
    }

    /// Offset of the type or length field behind the last tag looked at.
    #[inline]
    pub const fn type_at(&self) -> usize {
        self.type_at as usize
    }

    /// True when the field at [`Link::type_at`] is an 802.3 length.
    #[inline]
    pub const fn is_802_3(&self) -> bool {
        self.l3 > self.type_at + 2 || self.ether_type.0 < EtherType::MIN
    }

    /// Offset of layer 3.
    #[inline]
    pub const fn l3(&self) -> usize {
        self.l3 as usize
    }

    /// Layer 3 and all behind it, padding included.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.l3()..).unwrap_or_default()
    }
}

/// Octets of an LLC header (DSAP, SSAP, control) with its SNAP extension (OUI, type).
const SNAP_LEN: u16 = 8;

/// The type of an LLC/SNAP header with the OUI of RFC 1042; `None` when the payload is anything else.
#[inline]
fn snap_type(payload: &[u8]) -> Option<EtherType> {
    let h: &[u8; SNAP_LEN as usize] = payload.first_chunk()?;
    let t = EtherType(be16(h, 6));
    (h[..6] == [0xaa, 0xaa, 0x03, 0, 0, 0] && t.0 >= EtherType::MIN).then_some(t)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn frame(behind_addresses: &[u8]) -> Vec<u8> {
        let mut f = vec![0; 12];
        f.extend_from_slice(behind_addresses);
        f
    }

    #[test]
    fn two_tags_are_looked_behind_and_a_third_is_payload() {
        let f = frame(&[
            0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 0x08, 0, 0x45,
        ]);
        let l = Link::new(&f).unwrap();
        assert_eq!(l.tags(), 2);
        assert_eq!(l.tag(0), Some((EtherType::QINQ, VlanTci(1))));
        assert_eq!(l.tag(1), Some((EtherType::VLAN, VlanTci(2))));
        assert_eq!(l.tag(2), None);
        assert_eq!((l.ether_type(), l.l3()), (EtherType::VLAN, 22));
        let l = Link::with_max_tags(&f, 9).unwrap();
        assert_eq!(
            (l.tags(), l.ether_type(), l.payload()),
            (3, EtherType::IPV4, &[0x45][..])
        );
    }

    #[test]
    fn a_tag_cut_off_by_the_end_is_payload() {
        let f = frame(&[0x81, 0, 0, 1, 8]);
        let l = Link::new(&f).unwrap();
        assert_eq!((l.tags(), l.ether_type(), l.l3()), (0, EtherType::VLAN, 14));
        assert!(Link::new(&f[..13]).is_none());
    }

    #[test]
    fn lengths_are_types_only_with_snap() {
        let snap = frame(&[0, 40, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45]);
        let l = Link::new(&snap).unwrap();
        assert_eq!((l.ether_type(), l.l3()), (EtherType::IPV4, 22));
        assert!(l.is_802_3());
        for other in [
            &[0u8, 40, 0x42, 0x42, 3, 0, 0, 0, 8, 0][..],
            &[0, 40, 0xaa, 0xaa, 3, 0, 0, 1, 8, 0],
            &[0, 40, 0xaa, 0xaa, 3, 0, 0, 0, 5, 0xff],
            &[0, 40, 0xaa, 0xaa, 3, 0, 0, 0, 8],
        ] {
            let f = frame(other);
            let l = Link::new(&f).unwrap();
            assert_eq!((l.ether_type(), l.l3()), (EtherType::NOT_ETH_TYPE, 14));
            assert!(l.is_802_3());
        }
        assert!(!Link::new(&frame(&[8, 0])).unwrap().is_802_3());
    }
}
