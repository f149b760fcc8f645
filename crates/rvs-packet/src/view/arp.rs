//! ARP and RARP for IPv4 over Ethernet (RFC 826, RFC 903).

use std::net::Ipv4Addr;

use crate::view::be16;
use crate::MacAddr;

/// An ARP packet whose hardware is Ethernet and whose protocol is IPv4; no other has fields to match.
#[derive(Clone, Copy, Debug)]
pub struct Arp<'a> {
    hdr: &'a [u8; Arp::LEN],
}

impl<'a> Arp<'a> {
    pub const LEN: usize = 28;
    pub(crate) const OP: usize = 6;
    pub(crate) const SHA: usize = 8;
    pub(crate) const SPA: usize = 14;
    pub(crate) const THA: usize = 18;
    pub(crate) const TPA: usize = 24;

    /// `None` when truncated or not (Ethernet, IPv4, 6, 4).
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let hdr: &[u8; Arp::LEN] = bytes.first_chunk()?;
        (hdr[..6] == [0, 1, 8, 0, 6, 4]).then_some(Self { hdr })
    }

    /// Operation: 1 request, 2 reply, 3 and 4 RARP.
    #[inline]
    pub const fn op(&self) -> u16 {
        be16(self.hdr, Self::OP)
    }

    /// Sender hardware address.
    #[inline]
    pub const fn sha(&self) -> MacAddr {
        let h = self.hdr;
        MacAddr([h[8], h[9], h[10], h[11], h[12], h[13]])
    }

    /// Sender protocol address.
    #[inline]
    pub const fn spa(&self) -> Ipv4Addr {
        let h = self.hdr;
        Ipv4Addr::new(h[14], h[15], h[16], h[17])
    }

    /// Target hardware address.
    #[inline]
    pub const fn tha(&self) -> MacAddr {
        let h = self.hdr;
        MacAddr([h[18], h[19], h[20], h[21], h[22], h[23]])
    }

    /// Target protocol address.
    #[inline]
    pub const fn tpa(&self) -> Ipv4Addr {
        let h = self.hdr;
        Ipv4Addr::new(h[24], h[25], h[26], h[27])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_ethernet_and_ipv4() {
        let mut b = [0u8; 28];
        b[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2]);
        for (i, v) in b.iter_mut().enumerate().skip(8) {
            *v = i as u8;
        }
        let a = Arp::new(&b).unwrap();
        assert_eq!(a.op(), 2);
        assert_eq!(a.sha(), MacAddr([8, 9, 10, 11, 12, 13]));
        assert_eq!(a.spa(), Ipv4Addr::new(14, 15, 16, 17));
        assert_eq!(a.tha(), MacAddr([18, 19, 20, 21, 22, 23]));
        assert_eq!(a.tpa(), Ipv4Addr::new(24, 25, 26, 27));
        assert!(Arp::new(&b[..27]).is_none());
        for at in 0..6 {
            let mut c = b;
            c[at] ^= 1;
            assert!(Arp::new(&c).is_none());
        }
    }
}
