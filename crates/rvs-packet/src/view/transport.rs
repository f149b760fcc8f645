//! TCP (RFC 9293), UDP (RFC 768) and SCTP (RFC 9260).

use crate::view::{be16, be32};

/// A TCP segment whose data offset agrees with the bytes present.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    hdr: &'a [u8; Tcp::MIN_LEN],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Tcp<'a> {
    pub const MIN_LEN: usize = 20;
    pub const FIN: u16 = 0x001;
    pub const SYN: u16 = 0x002;
    pub const RST: u16 = 0x004;
    pub const PSH: u16 = 0x008;
    pub const ACK: u16 = 0x010;
    pub const URG: u16 = 0x020;
    pub const ECE: u16 = 0x040;
    pub const CWR: u16 = 0x080;
    pub const NS: u16 = 0x100;
    pub(crate) const SEQ: usize = 4;
    pub(crate) const FLAGS: usize = 12;
    pub(crate) const CSUM: usize = 16;

    /// `None` when truncated or when the data offset is below 5 or past the bytes present (CVE-2017-9264).
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let hdr: &[u8; Tcp::MIN_LEN] = bytes.first_chunk()?;
        let len = usize::from(hdr[12] >> 4) * 4;
        let options = bytes.get(Self::MIN_LEN..len)?;
        Some(Self {
            hdr,
            options,
            payload: &bytes[len..],
        })
    }

    #[inline]
    pub const fn src_port(&self) -> u16 {
        be16(self.hdr, 0)
    }

    #[inline]
    pub const fn dst_port(&self) -> u16 {
        be16(self.hdr, 2)
    }

    #[inline]
    pub const fn seq(&self) -> u32 {
        be32(self.hdr, Self::SEQ)
    }

    #[inline]
    pub const fn ack(&self) -> u32 {
        be32(self.hdr, 8)
    }

    /// All twelve bits beside the data offset, NS and the reserved three included.
    #[inline]
    pub const fn flags(&self) -> u16 {
        be16(self.hdr, Self::FLAGS) & 0xfff
    }

    #[inline]
    pub const fn window(&self) -> u16 {
        be16(self.hdr, 14)
    }

    #[inline]
    pub const fn csum(&self) -> u16 {
        be16(self.hdr, Self::CSUM)
    }

    /// Octets of the header, options included: 20..=60.
    #[inline]
    pub const fn header_len(&self) -> usize {
        Self::MIN_LEN + self.options.len()
    }

    #[inline]
    pub const fn options(&self) -> &'a [u8] {
        self.options
    }

    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// A UDP datagram whose length agrees with the bytes present.
#[derive(Clone, Copy, Debug)]
pub struct Udp<'a> {
    hdr: &'a [u8; Udp::LEN],
    payload: &'a [u8],
}

impl<'a> Udp<'a> {
    pub const LEN: usize = 8;
    pub(crate) const LENGTH: usize = 4;
    pub(crate) const CSUM: usize = 6;

    /// `None` when truncated or when the length is below 8 or past the bytes present.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let udp = Self::in_first_fragment(bytes)?;
        let payload = udp.payload.get(..udp.length() - Self::LEN)?;
        Some(Self { payload, ..udp })
    }

    /// As [`Udp::new`] in the first fragment of a datagram, where the length speaks of the whole datagram and may go past
    /// the bytes present.
    #[inline]
    pub fn in_first_fragment(bytes: &'a [u8]) -> Option<Self> {
        let (hdr, payload) = bytes.split_first_chunk::<{ Udp::LEN }>()?;
        (usize::from(be16(hdr, Self::LENGTH)) >= Self::LEN).then_some(Self { hdr, payload })
    }

    #[inline]
    pub const fn src_port(&self) -> u16 {
        be16(self.hdr, 0)
    }

    #[inline]
    pub const fn dst_port(&self) -> u16 {
        be16(self.hdr, 2)
    }

    /// Octets of header and payload.
    #[inline]
    pub const fn length(&self) -> usize {
        be16(self.hdr, Self::LENGTH) as usize
    }

    /// 0 means that the sender computed none.
    #[inline]
    pub const fn csum(&self) -> u16 {
        be16(self.hdr, Self::CSUM)
    }

    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// The common header of an SCTP packet.
#[derive(Clone, Copy, Debug)]
pub struct Sctp<'a> {
    hdr: &'a [u8; Sctp::LEN],
    chunks: &'a [u8],
}

impl<'a> Sctp<'a> {
    pub const LEN: usize = 12;
    pub(crate) const CSUM: usize = 8;

    /// `None` when truncated.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.split_first_chunk() {
            Some((hdr, chunks)) => Some(Self { hdr, chunks }),
            None => None,
        }
    }

    #[inline]
    pub const fn src_port(&self) -> u16 {
        be16(self.hdr, 0)
    }

    #[inline]
    pub const fn dst_port(&self) -> u16 {
        be16(self.hdr, 2)
    }

    /// CRC32c of the packet, in the byte order of the wire (least significant octet first, RFC 9260 appendix A).
    #[inline]
    pub const fn crc(&self) -> u32 {
        be32(self.hdr, Self::CSUM).swap_bytes()
    }

    #[inline]
    pub const fn chunks(&self) -> &'a [u8] {
        self.chunks
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// CVE-2017-9264: a data offset below 5 or past the segment leaves no TCP header.
    #[test]
    fn tcp_data_offset() {
        let mut b = [0u8; 24];
        for off in 0..16u8 {
            b[12] = off << 4 | 1;
            b[13] = 0x12;
            let t = Tcp::new(&b);
            assert_eq!(t.is_some(), off == 5 || off == 6, "{off}");
            if let Some(t) = t {
                assert_eq!(t.flags(), Tcp::NS | Tcp::SYN | Tcp::ACK);
                assert_eq!(t.payload().len(), 24 - usize::from(off) * 4);
            }
        }
        assert!(Tcp::new(&b[..19]).is_none());
    }

    #[test]
    fn udp_length() {
        let mut b = [0u8; 16];
        for len in 0..=20u8 {
            b[5] = len;
            let whole = Udp::new(&b);
            assert_eq!(whole.is_some(), (8..=16).contains(&len), "{len}");
            assert_eq!(Udp::in_first_fragment(&b).is_some(), len >= 8);
            if let Some(u) = whole {
                assert_eq!(u.payload().len(), usize::from(len) - 8);
            }
        }
        assert!(Udp::new(&b[..7]).is_none());
    }

    #[test]
    fn sctp_crc_is_little_endian() {
        let b = [0, 1, 0, 2, 0, 0, 0, 0, 0x78, 0x56, 0x34, 0x12];
        assert_eq!(Sctp::new(&b).unwrap().crc(), 0x1234_5678);
        assert!(Sctp::new(&b[..11]).is_none());
    }
}
