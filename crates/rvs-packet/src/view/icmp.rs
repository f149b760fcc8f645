//! ICMP (RFC 792), ICMPv6 (RFC 4443) and the neighbour messages of RFC 4861.

use std::net::Ipv6Addr;

use crate::view::{be16, be32};
use crate::MacAddr;

/// An ICMP message; every kind of RFC 792 has at least 8 octets.
#[derive(Clone, Copy, Debug)]
pub struct Icmp<'a> {
    hdr: &'a [u8; Icmp::LEN],
}

impl<'a> Icmp<'a> {
    pub const LEN: usize = 8;
    pub(crate) const CSUM: usize = 2;

    /// `None` when truncated.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first_chunk() {
            Some(hdr) => Some(Self { hdr }),
            None => None,
        }
    }

    #[inline]
    pub const fn icmp_type(&self) -> u8 {
        self.hdr[0]
    }

    #[inline]
    pub const fn code(&self) -> u8 {
        self.hdr[1]
    }

    #[inline]
    pub const fn csum(&self) -> u16 {
        be16(self.hdr, Self::CSUM)
    }
}

/// An ICMPv6 message (RFC 4443 section 2.1).
#[derive(Clone, Copy, Debug)]
pub struct Icmpv6<'a> {
    hdr: &'a [u8; Icmpv6::LEN],
    bytes: &'a [u8],
}

impl<'a> Icmpv6<'a> {
    pub const LEN: usize = 4;
    pub(crate) const CSUM: usize = 2;

    /// `None` when truncated.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first_chunk() {
            Some(hdr) => Some(Self { hdr, bytes }),
            None => None,
        }
    }

    #[inline]
    pub const fn icmp_type(&self) -> u8 {
        self.hdr[0]
    }

    #[inline]
    pub const fn code(&self) -> u8 {
        self.hdr[1]
    }

    #[inline]
    pub const fn csum(&self) -> u16 {
        be16(self.hdr, Self::CSUM)
    }

    /// The neighbour solicitation or advertisement that this is, if it is a well-formed one.
    #[inline]
    pub fn nd(&self) -> Option<Nd<'a>> {
        Nd::new(self.bytes)
    }
}

/// A neighbour solicitation or advertisement (RFC 4861 sections 4.3 and 4.4) with all its options in bounds.
#[derive(Clone, Copy, Debug)]
pub struct Nd<'a> {
    hdr: &'a [u8; Nd::LEN],
    bytes: &'a [u8],
    sll: Option<u16>,
    tll: Option<u16>,
}

impl<'a> Nd<'a> {
    pub const LEN: usize = 24;
    pub const SOLICITATION: u8 = 135;
    pub const ADVERTISEMENT: u8 = 136;
    /// Option types: source and target link-layer address.
    pub const OPT_SLL: u8 = 1;
    pub const OPT_TLL: u8 = 2;
    pub(crate) const TARGET: usize = 8;

    /// From the ICMPv6 header on. `None` when it is another type, has a code, is truncated, has an option of length 0 or
    /// past the end (RFC 4861 section 4.6: such a message is discarded), or says a link-layer address twice.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let hdr: &[u8; Nd::LEN] = bytes.first_chunk()?;
        if !matches!(hdr[0], Self::SOLICITATION | Self::ADVERTISEMENT) || hdr[1] != 0 {
            return None;
        }
        let mut nd = Self {
            hdr,
            bytes,
            sll: None,
            tll: None,
        };
        let mut at = Self::LEN;
        while at < bytes.len() {
            let option: &[u8; 2] = bytes.get(at..)?.first_chunk()?;
            let len = usize::from(option[1]) * 8;
            if len == 0 || len > bytes.len() - at {
                return None;
            }
            // Only a length of 8 octets holds an Ethernet address.
            if len == 8 {
                let slot = match option[0] {
                    Self::OPT_SLL => Some(&mut nd.sll),
                    Self::OPT_TLL => Some(&mut nd.tll),
                    _ => None,
                };
                if let Some(slot) = slot {
                    if slot.is_some() {
                        return None;
                    }
                    *slot = u16::try_from(at + 2).ok();
                }
            }
            at += len;
        }
        Some(nd)
    }

    #[inline]
    pub const fn is_solicitation(&self) -> bool {
        self.hdr[0] == Self::SOLICITATION
    }

    /// The 32 bits before the target: flags of an advertisement, reserved in a solicitation.
    #[inline]
    pub const fn reserved(&self) -> u32 {
        be32(self.hdr, 4)
    }

    #[inline]
    pub fn target(&self) -> Ipv6Addr {
        let mut a = [0; 16];
        a.copy_from_slice(&self.hdr[Self::TARGET..]);
        Ipv6Addr::from(a)
    }

    /// Source link-layer address option.
    #[inline]
    pub fn sll(&self) -> Option<MacAddr> {
        self.mac(self.sll_at()?)
    }

    /// Target link-layer address option.
    #[inline]
    pub fn tll(&self) -> Option<MacAddr> {
        self.mac(self.tll_at()?)
    }

    /// Type of the first option that holds an Ethernet address ([`Nd::OPT_SLL`] or [`Nd::OPT_TLL`]).
    pub fn address_option(&self) -> Option<u8> {
        match (self.sll, self.tll) {
            (None, None) => None,
            (Some(s), Some(t)) if t < s => Some(Self::OPT_TLL),
            (Some(_), _) => Some(Self::OPT_SLL),
            (None, Some(_)) => Some(Self::OPT_TLL),
        }
    }

    /// Offset of the source link-layer address, counted from the ICMPv6 header.
    pub(crate) fn sll_at(&self) -> Option<usize> {
        self.sll.map(usize::from)
    }

    /// Offset of the target link-layer address, counted from the ICMPv6 header.
    pub(crate) fn tll_at(&self) -> Option<usize> {
        self.tll.map(usize::from)
    }

    fn mac(&self, at: usize) -> Option<MacAddr> {
        self.bytes.get(at..)?.first_chunk().copied().map(MacAddr)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ns(options: &[u8]) -> Vec<u8> {
        let mut b = vec![0u8; 24];
        b[0] = Nd::SOLICITATION;
        b[8] = 0x20;
        b[23] = 9;
        b.extend_from_slice(options);
        b
    }

    #[test]
    fn target_and_options() {
        let b = ns(&[14, 1, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7]);
        let nd = Icmpv6::new(&b).unwrap().nd().unwrap();
        assert_eq!(nd.target(), "2000::9".parse::<Ipv6Addr>().unwrap());
        assert_eq!(nd.sll(), Some(MacAddr([2, 3, 4, 5, 6, 7])));
        assert_eq!(nd.tll(), None);
        assert!(nd.is_solicitation());
    }

    #[test]
    fn bad_options_leave_no_neighbour_message() {
        for bad in [
            &[1u8, 0, 0, 0, 0, 0, 0, 0][..],
            &[1, 2, 2, 3, 4, 5, 6, 7],
            &[1],
            &[1, 1, 2, 3],
            &[1, 255, 2, 3, 4, 5, 6, 7],
            &[1, 1, 2, 3, 4, 5, 6, 7, 1, 1, 2, 3, 4, 5, 6, 7],
        ] {
            assert!(Nd::new(&ns(bad)).is_none(), "{bad:?}");
        }
        let long = ns(&[1, 2, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Nd::new(&long).unwrap().sll(), None);
    }

    #[test]
    fn code_type_and_length() {
        let mut b = ns(&[]);
        assert!(Nd::new(&b).is_some());
        assert!(Nd::new(&b[..23]).is_none());
        b[1] = 1;
        assert!(Nd::new(&b).is_none());
        b[1] = 0;
        b[0] = 128;
        assert!(Nd::new(&b).is_none());
        assert!(Icmp::new(&b[..7]).is_none());
        assert!(Icmpv6::new(&b[..3]).is_none());
    }
}
