//! Checksums: the Internet checksum (RFC 1071), its incremental update (RFC 1624), CRC32c of SCTP (RFC 9260).
//!
//! [`Sum`] is a ones-complement sum, *not* inverted, as a big-endian number. A checksum field is its inverse
//! ([`Sum::checksum`]). A field that the kernel left `Partial` holds the sum of the pseudo header, not inverted
//! ([`Sum::value`]): this difference is what [`Sum::patch`] and [`Sum::patch_partial`] are about.
//!
//! In ones-complement arithmetic 0x0000 and 0xffff are the same number. A verifier does not mind, except that UDP has
//! given 0 the meaning "none computed" (RFC 768); who writes a UDP checksum writes 0xffff instead.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::layout::{Layout, Net, Transport};
use crate::view::{Frag, Ipv4, Sctp, Udp};
use crate::{Csum, Frame, IpProto};

/// A ones-complement sum of 16-bit words, folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u16);

impl Sum {
    pub const ZERO: Self = Self(0);

    pub const fn new(value: u16) -> Self {
        Self(value)
    }

    /// The sum of `bytes` as big-endian words; an odd last octet is padded with zero.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        // Words are added in the order of the machine, eight octets at a time, which gives the sum with its octets
        // swapped or not (RFC 1071 section 2, B). A carry is added back once at the end: 2^64 additions fit.
        let mut lanes = [0u128; 2];
        let mut chunks = bytes.chunks_exact(16);
        for c in &mut chunks {
            let (a, b) = c.split_at(8);
            lanes[0] += u128::from(word(a));
            lanes[1] += u128::from(word(b));
        }
        let mut acc = lanes[0] + lanes[1];
        let mut tail = chunks.remainder().chunks_exact(8);
        for c in &mut tail {
            acc += u128::from(word(c));
        }
        let mut last = [0u8; 8];
        let rest = tail.remainder();
        last[..rest.len()].copy_from_slice(rest);
        acc += u128::from(word(&last));
        let acc = fold64(acc);
        Self(u16::from_be(fold16(acc)))
    }

    /// The sum of two words.
    #[inline]
    pub const fn of32(v: u32) -> Self {
        Self(v as u16).plus(Self((v >> 16) as u16))
    }

    /// The sum as it stands in a field that is still `Partial`.
    #[inline]
    pub const fn value(self) -> u16 {
        self.0
    }

    /// The inverted sum: what a checksum field holds.
    #[inline]
    pub const fn checksum(self) -> u16 {
        !self.0
    }

    /// As [`Sum::checksum`] for UDP, where 0 means "none": 0xffff instead.
    #[inline]
    pub const fn udp_checksum(self) -> u16 {
        match !self.0 {
            0 => 0xffff,
            c => c,
        }
    }

    /// Sum of two ranges; the first must have an even number of octets.
    #[inline]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        let s = self.0 as u32 + other.0 as u32;
        Self((s + (s >> 16)) as u16)
    }

    /// What has to be added to `other` to get `self`.
    #[inline]
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        self.plus(Self(!other.0))
    }

    /// The change of a sum when a word changes.
    #[inline]
    pub const fn change16(old: u16, new: u16) -> Self {
        Self(new).minus(Self(old))
    }

    /// The change of a sum when two words, at an even offset, change.
    #[inline]
    pub const fn change32(old: u32, new: u32) -> Self {
        Self::of32(new).minus(Self::of32(old))
    }

    /// The change of a sum when eight words, at an even offset, change.
    #[inline]
    pub fn change128(old: u128, new: u128) -> Self {
        Self::of(&new.to_be_bytes()).minus(Self::of(&old.to_be_bytes()))
    }

    /// The checksum field `field` after the covered octets changed by `self` (RFC 1624, equation 3). A field that was
    /// wrong stays wrong.
    #[inline]
    pub const fn patch(self, field: u16) -> u16 {
        Self(!field).plus(self).checksum()
    }

    /// The field of a `Partial` checksum after the *pseudo header* changed by `self`.
    #[inline]
    pub const fn patch_partial(self, field: u16) -> u16 {
        Self(field).plus(self).value()
    }

    /// Pseudo header of RFC 793 and RFC 768; `len` counts transport header and payload.
    #[inline]
    pub fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, proto: IpProto, len: usize) -> Self {
        Self::of32(u32::from(src))
            .plus(Self::of32(u32::from(dst)))
            .plus(Self(u16::from(proto.0)))
            .plus(Self::of32(len as u32))
    }

    /// Pseudo header of RFC 8200 section 8.1; `dst` is the final destination.
    #[inline]
    pub fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, proto: IpProto, len: usize) -> Self {
        Self::of(&src.octets())
            .plus(Self::of(&dst.octets()))
            .plus(Self(u16::from(proto.0)))
            .plus(Self::of32(len as u32))
    }

    /// True for the sum of a range that holds its own checksum, pseudo header included.
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.0 == 0xffff
    }
}

#[inline(always)]
fn word(b: &[u8]) -> u64 {
    b.first_chunk().map_or(0, |w| u64::from_ne_bytes(*w))
}

#[inline(always)]
const fn fold64(acc: u128) -> u64 {
    let (s, carry) = (acc as u64).overflowing_add((acc >> 64) as u64);
    s + carry as u64
}

#[inline(always)]
const fn fold16(acc: u64) -> u16 {
    let s = (acc & 0xffff_ffff) + (acc >> 32);
    let s = (s & 0xffff) + ((s >> 16) & 0xffff) + (s >> 32);
    let s = (s & 0xffff) + (s >> 16);
    (s + (s >> 16)) as u16
}

/// Why a partial checksum cannot be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    #[error("the checksum field at {start}+{offset} lies outside a frame of {len} octets")]
    OutOfBounds { start: u16, offset: u16, len: usize },
    #[error("a super-frame has no checksum of its own: segment it")]
    SuperFrame,
}

/// Finishes a [`Csum::Partial`], so that the bytes can go out on any wire; does nothing to any other frame.
///
/// As the kernel does, the sum runs to the end of the frame and 0 is written as 0xffff for every protocol. A field at
/// offset 8 is SCTP's: there, and only there, it is a CRC32c.
///
/// # Errors
/// A field outside the frame, or a super-frame: its checksum exists only once it is cut.
pub fn complete(frame: &mut Frame) -> Result<(), Incomplete> {
    let Csum::Partial { start, offset } = frame.offload.csum else {
        return Ok(());
    };
    if frame.offload.gso.is_some() {
        return Err(Incomplete::SuperFrame);
    }
    let len = frame.len();
    let covered = frame
        .bytes_mut()
        .get_mut(usize::from(start)..)
        .unwrap_or_default();
    let at = usize::from(offset);
    let outside = Incomplete::OutOfBounds { start, offset, len };
    if at == Sctp::CSUM {
        if covered.len() < Sctp::LEN {
            return Err(outside);
        }
        let crc = sctp_crc(covered);
        covered[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    } else {
        if covered.len() < at + 2 {
            return Err(outside);
        }
        let sum = Sum::of(covered).udp_checksum();
        covered[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    frame.offload.csum = Csum::Complete;
    Ok(())
}

/// A checksum that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCsum {
    #[error("the IPv4 header checksum does not hold")]
    Ipv4Header,
    #[error("the checksum of IP protocol {} does not hold", .0 .0)]
    Transport(IpProto),
}

/// Judges the IPv4 header checksum and the transport checksum of the outermost headers by a full sum.
///
/// What cannot be judged passes: fragments, unknown protocols, a UDP checksum of 0, a transport checksum that the frame's
/// metadata calls partial or verified, and super-frames.
///
/// # Errors
/// The first checksum that does not hold.
pub fn verify(frame: &Frame) -> Result<(), BadCsum> {
    let bytes = frame.bytes();
    let lay = Layout::of(bytes);
    if lay.net == Net::Ipv4 {
        let ip = Ipv4::new(bytes.get(lay.l3..).unwrap_or_default());
        let header_len = ip.map_or(0, |ip| ip.header_len());
        if !Sum::of(bytes.get(lay.l3..lay.l3 + header_len).unwrap_or_default()).is_valid() {
            return Err(BadCsum::Ipv4Header);
        }
    }
    let judged_elsewhere = frame.offload.gso.is_some() || frame.offload.csum != Csum::Complete;
    if judged_elsewhere || lay.frag != Frag::No {
        return Ok(());
    }
    if transport_is_valid(bytes, &lay) {
        Ok(())
    } else {
        Err(BadCsum::Transport(lay.proto))
    }
}

fn transport_is_valid(bytes: &[u8], lay: &Layout) -> bool {
    let mut l4 = bytes.get(lay.l4..lay.end).unwrap_or_default();
    if let (Transport::Udp, Some(udp)) = (lay.transport, Udp::new(l4)) {
        // The datagram may end before the packet does.
        l4 = &l4[..udp.length()];
    }
    match lay.transport {
        Transport::None => true,
        Transport::Sctp => Sctp::new(l4).is_none_or(|s| s.crc() == sctp_crc(l4)),
        Transport::Icmp => Sum::of(l4).is_valid(),
        Transport::Udp if l4.get(6..8) == Some(&[0, 0]) => true,
        // The final destination, which the pseudo header speaks of, is inside the routing header.
        _ if lay.en_route => true,
        _ => lay
            .pseudo(bytes, l4.len())
            .is_none_or(|p| p.plus(Sum::of(l4)).is_valid()),
    }
}

/// CRC32c of an SCTP packet with its checksum field taken as zero. `packet` starts at the common header; shorter than it
/// gives the CRC of what is there.
pub fn sctp_crc(packet: &[u8]) -> u32 {
    let at = packet.len().min(Sctp::CSUM);
    let behind = packet.len().min(Sctp::LEN);
    let crc = crc32c(!0, &packet[..at]);
    let crc = crc32c(crc, &[0; 4][..behind - at]);
    !crc32c(crc, &packet[behind..])
}

/// Tables of the reflected Castagnoli polynomial, for eight octets a step.
const CRC_TABLES: [[u32; 256]; 8] = {
    let mut t = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut bit = 0;
        while bit < 8 {
            c = (c >> 1) ^ (0x82f6_3b78 & (c & 1).wrapping_neg());
            bit += 1;
        }
        t[0][i] = c;
        i += 1;
    }
    let mut n = 1;
    while n < 8 {
        let mut i = 0;
        while i < 256 {
            let c = t[n - 1][i];
            t[n][i] = (c >> 8) ^ t[0][(c & 0xff) as usize];
            i += 1;
        }
        n += 1;
    }
    t
};

/// Continues a CRC32c (not inverted) over `bytes`.
fn crc32c(mut crc: u32, bytes: &[u8]) -> u32 {
    static T: [[u32; 256]; 8] = CRC_TABLES;
    let mut chunks = bytes.chunks_exact(8);
    for c in &mut chunks {
        let w = u64::from_le_bytes(c.first_chunk().copied().unwrap_or_default()) ^ u64::from(crc);
        crc = w
            .to_le_bytes()
            .iter()
            .zip(T.iter().rev())
            .fold(0, |acc, (&b, table)| acc ^ table[usize::from(b)]);
    }
    for &b in chunks.remainder() {
        crc = (crc >> 8) ^ T[0][usize::from(crc as u8 ^ b)];
    }
    crc
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn naive(bytes: &[u8]) -> u16 {
        let mut s = 0u32;
        for c in bytes.chunks(2) {
            s += u32::from(c[0]) << 8 | c.get(1).copied().map_or(0, u32::from);
            s = (s & 0xffff) + (s >> 16);
        }
        s as u16
    }

    #[test]
    fn sum_is_the_naive_sum_for_every_length() {
        let bytes: Vec<u8> = (0..400u32)
            .map(|i| (i * i * 31 + i * 7 + 200) as u8)
            .collect();
        for from in 0..9 {
            for to in from..bytes.len() {
                assert_eq!(Sum::of(&bytes[from..to]).value(), naive(&bytes[from..to]));
            }
        }
        assert_eq!(Sum::of(&[0xff; 70_001]).value(), naive(&[0xff; 70_001]));
    }

    /// The example of RFC 1624 section 4: the header must not end up with 0xffff.
    #[test]
    fn rfc_1624_example() {
        assert_eq!(Sum::change16(0x5555, 0x3285).patch(0xdd2f), 0x0000);
    }

    #[test]
    fn changes_agree_with_each_other() {
        let (old, new) = (0x0123_4567_89ab_cdef_0011_2233_4455_6677u128, u128::MAX - 5);
        let mut by_words = Sum::ZERO;
        let mut by_longs = Sum::ZERO;
        for i in 0..8 {
            by_words = by_words.plus(Sum::change16(
                (old >> (16 * i)) as u16,
                (new >> (16 * i)) as u16,
            ));
        }
        for i in 0..4 {
            by_longs = by_longs.plus(Sum::change32(
                (old >> (32 * i)) as u32,
                (new >> (32 * i)) as u32,
            ));
        }
        let c = 0x1234;
        assert_eq!(Sum::change128(old, new).patch(c), by_words.patch(c));
        assert_eq!(by_longs.patch(c), by_words.patch(c));
    }

    /// RFC 3720 appendix B.4 gives these values.
    #[test]
    fn crc32c_vectors() {
        assert_eq!(!crc32c(!0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(!crc32c(!0, &[0xff; 32]), 0x62a8_ab43);
        let up: Vec<u8> = (0..32).collect();
        assert_eq!(!crc32c(!0, &up), 0x46dd_794e);
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        for split in 0..32 {
            assert_eq!(!crc32c(crc32c(!0, &up[..split]), &up[split..]), 0x46dd_794e);
        }
    }

    #[test]
    fn complete_refuses_what_lies_outside() {
        for (start, offset, ok) in [
            (20, 6, true),
            (20, 10, true),
            (20, 11, false),
            (40, 0, false),
            (22, 8, false),
            (20, 8, true),
        ] {
            let mut f = Frame::from_slice(&[1; 32]);
            f.offload.csum = Csum::Partial { start, offset };
            let before = f.clone();
            assert_eq!(complete(&mut f).is_ok(), ok, "{start}+{offset}");
            if !ok {
                assert_eq!(f, before);
            }
        }
    }
}
