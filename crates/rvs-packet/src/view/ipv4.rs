//! IPv4 (RFC 791).

use std::net::Ipv4Addr;

use crate::view::{be16, Frag};
use crate::IpProto;

/// An IPv4 packet whose header is whole and whose lengths agree with the bytes present.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    hdr: &'a [u8; Ipv4::MIN_LEN],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Ipv4<'a> {
    pub const MIN_LEN: usize = 20;
    pub(crate) const TOS: usize = 1;
    pub(crate) const TOTAL_LEN: usize = 2;
    pub(crate) const ID: usize = 4;
    pub(crate) const FRAG: usize = 6;
    pub(crate) const TTL: usize = 8;
    pub(crate) const PROTO: usize = 9;
    pub(crate) const CSUM: usize = 10;
    pub(crate) const SRC: usize = 12;
    pub(crate) const DST: usize = 16;
    /// Don't fragment, in the word of the fragment offset.
    pub(crate) const DF: u16 = 0x4000;
    pub(crate) const MF: u16 = 0x2000;
    pub(crate) const OFFSET_MASK: u16 = 0x1fff;

    /// `None` when not version 4, when the header length is below 20 octets or past the bytes present, or when the total
    /// length is below the header length or past the bytes present (CVE-2016-10377). More bytes than the total length
    /// are padding.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let hdr: &[u8; Ipv4::MIN_LEN] = bytes.first_chunk()?;
        let ihl = usize::from(hdr[0] & 0xf) * 4;
        let total = usize::from(be16(hdr, Self::TOTAL_LEN));
        if hdr[0] >> 4 != 4 || ihl < Self::MIN_LEN {
            return None;
        }
        let packet = bytes.get(..total)?;
        let (_, options) = packet
            .get(..ihl)?
            .split_first_chunk::<{ Ipv4::MIN_LEN }>()?;
        Some(Self {
            hdr,
            options,
            payload: &packet[ihl..],
        })
    }

    /// Octets of the header, options included: 20..=60, a multiple of 4.
    #[inline]
    pub const fn header_len(&self) -> usize {
        Self::MIN_LEN + self.options.len()
    }

    /// Octets of header and payload.
    #[inline]
    pub const fn total_len(&self) -> usize {
        self.header_len() + self.payload.len()
    }

    /// DSCP (6 bits) and ECN (2).
    #[inline]
    pub const fn tos(&self) -> u8 {
        self.hdr[Self::TOS]
    }

    #[inline]
    pub const fn id(&self) -> u16 {
        be16(self.hdr, Self::ID)
    }

    #[inline]
    pub const fn ttl(&self) -> u8 {
        self.hdr[Self::TTL]
    }

    #[inline]
    pub const fn proto(&self) -> IpProto {
        IpProto(self.hdr[Self::PROTO])
    }

    #[inline]
    pub const fn csum(&self) -> u16 {
        be16(self.hdr, Self::CSUM)
    }

    #[inline]
    pub const fn src(&self) -> Ipv4Addr {
        let h = self.hdr;
        Ipv4Addr::new(h[12], h[13], h[14], h[15])
    }

    #[inline]
    pub const fn dst(&self) -> Ipv4Addr {
        let h = self.hdr;
        Ipv4Addr::new(h[16], h[17], h[18], h[19])
    }

    /// The reserved bit and "don't fragment" say nothing here.
    #[inline]
    pub const fn frag(&self) -> Frag {
        let w = be16(self.hdr, Self::FRAG);
        if w & Self::OFFSET_MASK != 0 {
            Frag::Later
        } else if w & Self::MF != 0 {
            Frag::First
        } else {
            Frag::No
        }
    }

    #[inline]
    pub const fn dont_fragment(&self) -> bool {
        be16(self.hdr, Self::FRAG) & Self::DF != 0
    }

    #[inline]
    pub const fn options(&self) -> &'a [u8] {
        self.options
    }

    /// What the total length covers behind the header; padding excluded.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// UDP 1.1.1.1 -> 1.1.1.2:53, from the IP header on.
    const P0: [u8; 28] = [
        0x45, 0, 0, 0x1c, 0, 1, 0, 0, 0x40, 0x11, 0x76, 0xcc, 1, 1, 1, 1, 1, 1, 1, 2, 0x0d, 0x6a,
        0, 0x35, 0, 8, 0xee, 0x3a,
    ];

    #[test]
    fn fields() {
        let ip = Ipv4::new(&P0).unwrap();
        assert_eq!(
            (ip.header_len(), ip.total_len(), ip.payload().len()),
            (20, 28, 8)
        );
        assert_eq!(
            (ip.proto(), ip.ttl(), ip.id(), ip.csum()),
            (IpProto::UDP, 64, 1, 0x76cc)
        );
        assert_eq!(ip.dst(), Ipv4Addr::new(1, 1, 1, 2));
        assert_eq!(ip.frag(), Frag::No);
    }

    /// CVE-2016-10377: lengths that lie leave no IPv4 header.
    #[test]
    fn contradictory_lengths_are_none() {
        for total in [0u16, 0x10, 0x13, 29, 0xffff] {
            let mut p = P0;
            p[2..4].copy_from_slice(&total.to_be_bytes());
            assert!(Ipv4::new(&p).is_none(), "{total}");
        }
        for first in [0x4f, 0x48, 0x41, 0x40, 0x65, 0x05] {
            let mut p = P0;
            p[0] = first;
            assert!(Ipv4::new(&p).is_none(), "{first:x}");
        }
        assert!(Ipv4::new(&P0[..27]).is_none());
    }

    /// CVE-2020-35498: padding of any length changes nothing.
    #[test]
    fn padding_is_not_payload() {
        for pad in [1, 18, 255, 256, 1472] {
            let mut p = P0.to_vec();
            p.resize(28 + pad, 0xee);
            assert_eq!(Ipv4::new(&p).unwrap().payload(), &P0[20..]);
        }
    }

    #[test]
    fn fragments() {
        for (w, want) in [
            (0x8000u16, Frag::No),
            (0x4000, Frag::No),
            (0x2000, Frag::First),
            (0x2001, Frag::Later),
            (0x1fff, Frag::Later),
        ] {
            let mut p = P0;
            p[6..8].copy_from_slice(&w.to_be_bytes());
            assert_eq!(Ipv4::new(&p).unwrap().frag(), want);
        }
    }
}
