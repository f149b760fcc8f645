//! `struct virtio_net_hdr`, ten octets in front of every frame on packet sockets and taps, to and from [`Offload`].
//!
//! Source: virtio 1.2, 5.1.6; the kernel's legacy form, so every field is in the byte order of the host. A kind of
//! segmentation that [`Offload`] has no word for is an error of that one frame, never a guess.

use rvs_packet::{Csum, Frame, Gso, GsoKind, Offload};

/// Octets of the header.
pub const VNET_LEN: usize = 10;
/// The header as it stands in memory.
pub type VnetHdr = [u8; VNET_LEN];

const F_NEEDS_CSUM: u8 = 1;
const F_DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// Why a header can't be taken; the frame is lost and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VnetError {
    /// A segmentation kind without a name here (UDP fragmentation, or something newer than this program).
    #[error("segmentation kind {0} is unknown")]
    UnknownGso(u8),
    /// A super-frame whose segments would be empty.
    #[error("super-frame with segment size 0")]
    ZeroGsoSize,
    /// The checksum field lies outside the frame.
    #[error("checksum at {start}+{offset} lies outside a frame of {len} octets")]
    BadCsum { start: u16, offset: u16, len: usize },
    /// A super-frame without a checksum to be completed can't be cut: the segments' checksums would be wrong.
    #[error("super-frame without a partial checksum")]
    GsoWithoutCsum,
}

/// What the kernel left undone on a frame of `len` octets.
pub fn decode(hdr: &VnetHdr, len: usize) -> Result<Offload, VnetError> {
    let word = |at: usize| u16::from_ne_bytes([hdr[at], hdr[at + 1]]);
    let (flags, gso_type) = (hdr[0], hdr[1]);
    let csum = if flags & F_NEEDS_CSUM != 0 {
        let (start, offset) = (word(6), word(8));
        if usize::from(start) + usize::from(offset) + 2 > len {
            return Err(VnetError::BadCsum { start, offset, len });
        }
        Csum::Partial { start, offset }
    } else if flags & F_DATA_VALID != 0 {
        Csum::Verified
    } else {
        Csum::Complete
    };
    let kind = match gso_type & !GSO_ECN {
        GSO_NONE => return Ok(Offload { csum, gso: None }),
        GSO_TCPV4 => GsoKind::TcpV4,
        GSO_TCPV6 => GsoKind::TcpV6,
        GSO_UDP_L4 => GsoKind::UdpL4,
        other => return Err(VnetError::UnknownGso(other)),
    };
    let size = word(4);
    if size == 0 {
        return Err(VnetError::ZeroGsoSize);
    }
    if !matches!(csum, Csum::Partial { .. }) {
        return Err(VnetError::GsoWithoutCsum);
    }
    let gso = Gso {
        kind,
        size,
        hdr_len: word(2),
        ecn: gso_type & GSO_ECN != 0,
    };
    Ok(Offload {
        csum,
        gso: Some(gso),
    })
}

/// The header that tells the kernel what is left undone on `frame`.
///
/// The header length is only a hint of how much to keep in one piece; it is given for every large frame, because without
/// it the kernel looks for contiguous memory for the whole frame.
pub fn encode(frame: &Frame) -> VnetHdr {
    let mut hdr = [0; VNET_LEN];
    let mut put = |at: usize, value: u16| hdr[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    if let Csum::Partial { start, offset } = frame.offload.csum {
        put(6, start);
        put(8, offset);
    }
    match frame.offload.gso {
        Some(gso) => {
            put(2, linear_part(frame, gso.hdr_len));
            put(4, gso.size);
        }
        None if frame.len() > CONTIGUOUS => put(2, LINEAR),
        None => {}
    }
    hdr[0] = match frame.offload.csum {
        Csum::Partial { .. } => F_NEEDS_CSUM,
        // Nobody behind us may trust what only the other side's device has seen; the kernel ignores the flag anyway.
        Csum::Verified | Csum::Complete => 0,
    };
    if let Some(gso) = frame.offload.gso {
        let kind = match gso.kind {
            GsoKind::TcpV4 => GSO_TCPV4,
            GsoKind::TcpV6 => GSO_TCPV6,
            GsoKind::UdpL4 => GSO_UDP_L4,
        };
        hdr[1] = if gso.ecn { kind | GSO_ECN } else { kind };
    }
    hdr
}

/// Frames up to this many octets may well be contiguous in the kernel.
const CONTIGUOUS: usize = 3072;
/// Octets kept in one piece when the header length is unknown: all headers that occur.
const LINEAR: u16 = 192;

/// A header length that the kernel accepts: not more than the frame, not nothing.
fn linear_part(frame: &Frame, hint: u16) -> u16 {
    let len = if hint == 0 { LINEAR } else { hint };
    u16::try_from(frame.len()).map_or(len, |max| len.min(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u8, gso: u8, words: [u16; 4]) -> VnetHdr {
        let mut h = [0; VNET_LEN];
        h[0] = flags;
        h[1] = gso;
        for (i, w) in words.into_iter().enumerate() {
            h[2 + 2 * i..4 + 2 * i].copy_from_slice(&w.to_ne_bytes());
        }
        h
    }

    #[test]
    fn every_expressible_offload_survives_the_round_trip() {
        let partial = Csum::Partial {
            start: 34,
            offset: 16,
        };
        for csum in [Csum::Complete, partial] {
            let mut f = Frame::from_slice(&[0; 100]);
            f.offload.csum = csum;
            assert_eq!(decode(&encode(&f), f.len()), Ok(f.offload));
        }
        for kind in [GsoKind::TcpV4, GsoKind::TcpV6, GsoKind::UdpL4] {
            for ecn in [false, true] {
                let mut f = Frame::from_slice(&[0; 4000]);
                let gso = Gso {
                    kind,
                    size: 1448,
                    hdr_len: 66,
                    ecn,
                };
                f.offload = Offload {
                    csum: partial,
                    gso: Some(gso),
                };
                assert_eq!(decode(&encode(&f), f.len()), Ok(f.offload));
            }
        }
    }

    #[test]
    fn data_valid_is_taken_and_not_passed_on() {
        let o = decode(&header(F_DATA_VALID, 0, [0; 4]), 60).unwrap();
        assert_eq!(
            o,
            Offload {
                csum: Csum::Verified,
                gso: None
            }
        );
        let mut f = Frame::from_slice(&[0; 60]);
        f.offload = o;
        assert_eq!(encode(&f), [0; VNET_LEN]);
    }

    #[test]
    fn what_has_no_name_costs_the_frame() {
        let csum = [66, 1448, 34, 16];
        assert_eq!(
            decode(&header(1, 3, csum), 3000),
            Err(VnetError::UnknownGso(3))
        );
        assert_eq!(
            decode(&header(1, 3 | 0x80, csum), 3000),
            Err(VnetError::UnknownGso(3))
        );
        assert_eq!(
            decode(&header(1, 1, [66, 0, 34, 16]), 3000),
            Err(VnetError::ZeroGsoSize)
        );
        assert_eq!(
            decode(&header(0, 1, csum), 3000),
            Err(VnetError::GsoWithoutCsum)
        );
    }

    #[test]
    fn a_checksum_outside_the_frame_is_refused() {
        let hdr = header(1, 0, [0, 0, 34, 16]);
        assert!(decode(&hdr, 52).is_ok());
        assert!(matches!(decode(&hdr, 51), Err(VnetError::BadCsum { .. })));
        assert!(decode(&header(1, 0, [0, 0, u16::MAX, u16::MAX]), 65_600).is_err());
    }

    #[test]
    fn large_frames_always_name_a_linear_part() {
        let f = Frame::from_slice(&[0; 9000]);
        assert_eq!(u16::from_ne_bytes([encode(&f)[2], encode(&f)[3]]), LINEAR);
    }
}
