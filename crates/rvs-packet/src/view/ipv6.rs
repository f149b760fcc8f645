//! IPv6 and its extension headers (RFC 8200, RFC 4302).

use std::net::Ipv6Addr;

use crate::view::{be16, be32, Frag};
use crate::IpProto;

/// The bits of the `ipv6_exthdr` pseudo-field (OpenFlow 1.3, section 7.2.3.8, `enum ofp_ipv6exthdr_flags`).
pub mod exthdr {
    /// "No next header" ends the chain.
    pub const NONEXT: u16 = 1 << 0;
    /// Encapsulating security payload.
    pub const ESP: u16 = 1 << 1;
    /// Authentication header.
    pub const AUTH: u16 = 1 << 2;
    /// One or two destination options headers.
    pub const DEST: u16 = 1 << 3;
    /// Fragment header.
    pub const FRAG: u16 = 1 << 4;
    /// Routing header.
    pub const ROUTER: u16 = 1 << 5;
    /// Hop-by-hop options as the first header.
    pub const HOP: u16 = 1 << 6;
    /// A header more often than expected: twice, or destination options three times.
    pub const UNREP: u16 = 1 << 7;
    /// Headers not in the order that RFC 8200 section 4.1 recommends.
    pub const UNSEQ: u16 = 1 << 8;
}

/// An IPv6 packet whose header is whole and whose payload length agrees with the bytes present.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a> {
    hdr: &'a [u8; Ipv6::LEN],
    payload: &'a [u8],
}

/// What lies behind the extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The first header that is not skipped; [`IpProto::FRAGMENT`] for a later fragment, whose content has no header.
    pub proto: IpProto,
    /// Where it starts, counted from the IPv6 header.
    pub offset: usize,
    /// The octet that names it, counted from the IPv6 header; of a later fragment the one in its fragment header.
    pub named_at: usize,
    pub frag: Frag,
    /// Bits of [`exthdr`].
    pub exthdr: u16,
    /// A routing header has segments left: the destination is a way station, and transport checksums cover the final
    /// one instead (RFC 8200 section 8.1).
    pub en_route: bool,
}

impl<'a> Ipv6<'a> {
    pub const LEN: usize = 40;
    /// Extension headers that are skipped; a longer chain counts as unreadable. RFC 8883 lets a node stop at 8.
    pub const MAX_EXT_HEADERS: usize = 16;
    pub(crate) const PAYLOAD_LEN: usize = 4;
    pub(crate) const NEXT: usize = 6;
    pub(crate) const HOP_LIMIT: usize = 7;
    pub(crate) const SRC: usize = 8;
    pub(crate) const DST: usize = 24;

    /// `None` when not version 6, truncated, or when the payload length goes past the bytes present. Jumbograms
    /// (RFC 2675) are not recognised: their payload length of 0 means an empty payload.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let (hdr, rest) = bytes.split_first_chunk::<{ Ipv6::LEN }>()?;
        if hdr[0] >> 4 != 6 {
            return None;
        }
        let payload = rest.get(..usize::from(be16(hdr, Self::PAYLOAD_LEN)))?;
        Some(Self { hdr, payload })
    }

    #[inline]
    pub const fn traffic_class(&self) -> u8 {
        (be16(self.hdr, 0) >> 4) as u8
    }

    /// 20 bits.
    #[inline]
    pub const fn flow_label(&self) -> u32 {
        be32(self.hdr, 0) & 0xf_ffff
    }

    /// The first header behind this one; see [`Ipv6::upper`] for the one behind the extension headers.
    #[inline]
    pub const fn next_header(&self) -> IpProto {
        IpProto(self.hdr[Self::NEXT])
    }

    #[inline]
    pub const fn hop_limit(&self) -> u8 {
        self.hdr[Self::HOP_LIMIT]
    }

    #[inline]
    pub fn src(&self) -> Ipv6Addr {
        self.address(Self::SRC)
    }

    #[inline]
    pub fn dst(&self) -> Ipv6Addr {
        self.address(Self::DST)
    }

    #[inline(always)]
    fn address(&self, at: usize) -> Ipv6Addr {
        let mut a = [0; 16];
        a.copy_from_slice(&self.hdr[at..at + 16]);
        Ipv6Addr::from(a)
    }

    /// What the payload length covers; padding excluded, extension headers included.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Skips the extension headers. `None` when one of them is cut off by the end of the packet or when there are more
    /// than [`Ipv6::MAX_EXT_HEADERS`]: then nothing is known of the upper protocol.
    #[inline]
    pub fn upper(&self) -> Option<Upper> {
        let proto = self.next_header();
        if is_extension(proto) {
            return walk(proto, self.payload);
        }
        Some(Upper {
            proto,
            offset: Self::LEN,
            named_at: Self::NEXT,
            frag: Frag::No,
            exthdr: 0,
            en_route: false,
        })
    }

    /// The bytes of the upper protocol that [`Ipv6::upper`] found.
    #[inline]
    pub fn upper_payload(&self, upper: &Upper) -> &'a [u8] {
        upper
            .offset
            .checked_sub(Self::LEN)
            .and_then(|at| self.payload.get(at..))
            .unwrap_or_default()
    }
}

/// Headers that the walk stops at to set a bit or to skip.
#[inline]
const fn is_extension(p: IpProto) -> bool {
    matches!(
        p,
        IpProto::HOPOPTS
            | IpProto::ROUTING
            | IpProto::FRAGMENT
            | IpProto::AH
            | IpProto::DSTOPTS
            | IpProto::ESP
            | IpProto::NONE
    )
}

/// Keeps the [`exthdr`] bits while headers go by in order.
///
/// The order of RFC 8200 section 4.1 is: hop-by-hop, destination options, routing, fragment, authentication, ESP,
/// destination options, upper. Each header has its rank there; a rank below the highest so far is out of sequence.
#[derive(Default)]
struct Order {
    bits: u16,
    highest: u8,
    dest: u8,
    seen: u16,
}

impl Order {
    fn note(&mut self, proto: IpProto, first: bool) {
        let (bit, rank) = match proto {
            IpProto::HOPOPTS => (exthdr::HOP, 0),
            IpProto::DSTOPTS => (
                exthdr::DEST,
                if self.highest == 0 && self.dest == 0 {
                    1
                } else {
                    6
                },
            ),
            IpProto::ROUTING => (exthdr::ROUTER, 2),
            IpProto::FRAGMENT => (exthdr::FRAG, 3),
            IpProto::AH => (exthdr::AUTH, 4),
            IpProto::ESP => (exthdr::ESP, 5),
            _ => (exthdr::NONEXT, 7),
        };
        let repeated = if bit == exthdr::DEST {
            self.dest = self.dest.saturating_add(1);
            self.dest > 2
        } else {
            self.seen & bit != 0
        };
        if repeated {
            self.bits |= exthdr::UNREP;
        }
        if rank < self.highest || (bit == exthdr::HOP && !first && !repeated) {
            self.bits |= exthdr::UNSEQ;
        }
        self.seen |= bit;
        self.highest = self.highest.max(rank);
        if bit != exthdr::HOP || first {
            self.bits |= bit;
        }
    }
}

fn walk(mut proto: IpProto, payload: &[u8]) -> Option<Upper> {
    let mut order = Order::default();
    let mut at = 0;
    let mut named_at = Ipv6::NEXT;
    let mut frag = Frag::No;
    let mut en_route = false;
    for n in 0..=Ipv6::MAX_EXT_HEADERS {
        let done = |proto, frag, bits, en_route| {
            Some(Upper {
                proto,
                offset: Ipv6::LEN + at,
                named_at,
                frag,
                exthdr: bits,
                en_route,
            })
        };
        if !is_extension(proto) {
            return done(proto, frag, order.bits, en_route);
        }
        order.note(proto, n == 0);
        if matches!(proto, IpProto::ESP | IpProto::NONE) {
            return done(proto, frag, order.bits, en_route);
        }
        let h: &[u8; 8] = payload.get(at..)?.first_chunk()?;
        let len = match proto {
            IpProto::AH => (usize::from(h[1]) + 2) * 4,
            IpProto::FRAGMENT => 8,
            _ => (usize::from(h[1]) + 1) * 8,
        };
        if at + len > payload.len() {
            return None;
        }
        named_at = Ipv6::LEN + at;
        at += len;
        match proto {
            IpProto::FRAGMENT => {
                let w = be16(h, 2);
                if w & 0xfff8 != 0 {
                    let offset = Ipv6::LEN + at;
                    let bits = order.bits;
                    return Some(Upper {
                        proto,
                        offset,
                        named_at,
                        frag: Frag::Later,
                        exthdr: bits,
                        en_route,
                    });
                }
                if w & 1 != 0 {
                    frag = Frag::First;
                }
            }
            IpProto::ROUTING => en_route |= h[3] != 0,
            _ => {}
        }
        proto = IpProto(h[0]);
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::exthdr::*;
    use super::*;

    /// An IPv6 packet: the chain of (protocol, its bytes without the next-header octet), then `last`.
    fn packet(chain: &[(u8, &[u8])], last: u8, tail: &[u8]) -> Vec<u8> {
        let mut p = vec![0u8; 40];
        p[0] = 0x60;
        p[6] = chain.first().map_or(last, |c| c.0);
        for (i, (_, body)) in chain.iter().enumerate() {
            p.push(chain.get(i + 1).map_or(last, |c| c.0));
            p.extend_from_slice(body);
        }
        p.extend_from_slice(tail);
        let len = (p.len() - 40) as u16;
        p[4..6].copy_from_slice(&len.to_be_bytes());
        p
    }

    const OPT: &[u8] = &[0, 0, 0, 0, 0, 0, 0];
    const RT: &[u8] = &[0, 0, 1, 0, 0, 0, 0];
    const FR1: &[u8] = &[0, 0, 1, 0, 0, 0, 9];
    const FRN: &[u8] = &[0, 0, 8, 0, 0, 0, 9];
    const AUTH12: &[u8] = &[1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];

    fn bits(chain: &[(u8, &[u8])], last: u8) -> u16 {
        Ipv6::new(&packet(chain, last, &[0; 20]))
            .unwrap()
            .upper()
            .unwrap()
            .exthdr
    }

    #[test]
    fn walks_to_the_upper_protocol() {
        let p = packet(
            &[
                (0, OPT),
                (60, OPT),
                (43, RT),
                (44, FR1),
                (51, AUTH12),
                (60, OPT),
            ],
            6,
            &[7; 20],
        );
        let ip = Ipv6::new(&p).unwrap();
        let u = ip.upper().unwrap();
        assert_eq!(
            (u.proto, u.offset, u.frag),
            (IpProto::TCP, 40 + 5 * 8 + 12, Frag::First)
        );
        assert_eq!(u.exthdr, HOP | DEST | ROUTER | FRAG | AUTH);
        assert!(u.en_route);
        assert_eq!(ip.upper_payload(&u), &[7; 20]);
    }

    #[test]
    fn no_extension_headers() {
        let p = packet(&[], 17, &[1; 8]);
        let u = Ipv6::new(&p).unwrap().upper().unwrap();
        assert_eq!(
            (u.proto, u.offset, u.frag, u.exthdr, u.en_route),
            (IpProto::UDP, 40, Frag::No, 0, false)
        );
    }

    #[test]
    fn later_fragment_has_no_header() {
        let p = packet(&[(44, FRN)], 6, &[7; 20]);
        let u = Ipv6::new(&p).unwrap().upper().unwrap();
        assert_eq!((u.proto, u.frag), (IpProto::FRAGMENT, Frag::Later));
        let atomic = packet(&[(44, &[0, 0, 0, 0, 0, 0, 9])], 6, &[7; 20]);
        let u = Ipv6::new(&atomic).unwrap().upper().unwrap();
        assert_eq!((u.proto, u.frag), (IpProto::TCP, Frag::No));
    }

    #[test]
    fn order_and_repeats() {
        assert_eq!(bits(&[(0, OPT)], 6), HOP);
        assert_eq!(bits(&[(0, OPT), (0, OPT)], 6), HOP | UNREP);
        assert_eq!(bits(&[(60, OPT), (0, OPT)], 6), DEST | UNSEQ);
        assert_eq!(bits(&[(60, OPT), (60, OPT)], 6), DEST);
        assert_eq!(bits(&[(60, OPT), (60, OPT), (60, OPT)], 6), DEST | UNREP);
        assert_eq!(bits(&[(60, OPT), (43, RT), (60, OPT)], 6), DEST | ROUTER);
        assert_eq!(
            bits(&[(43, RT), (60, OPT), (43, RT)], 6),
            DEST | ROUTER | UNREP | UNSEQ
        );
        assert_eq!(bits(&[(51, AUTH12), (44, FR1)], 6), AUTH | FRAG | UNSEQ);
        assert_eq!(bits(&[(0, OPT), (51, AUTH12)], 50), HOP | AUTH | ESP);
        assert_eq!(bits(&[(0, OPT)], 59), HOP | NONEXT);
        assert_eq!(bits(&[], 59), NONEXT);
        assert_eq!(
            bits(&[(60, OPT), (60, OPT), (51, AUTH12)], 6),
            DEST | AUTH | UNSEQ
        );
    }

    #[test]
    fn truncated_or_endless_chains_are_none() {
        let p = packet(&[(0, &[200, 0, 0, 0, 0, 0, 0])], 6, &[0; 20]);
        assert!(Ipv6::new(&p).unwrap().upper().is_none());
        let p = packet(&[(0, &[])], 6, &[]);
        assert!(Ipv6::new(&p).unwrap().upper().is_none());
        let at_limit = vec![(60, OPT); Ipv6::MAX_EXT_HEADERS];
        assert!(Ipv6::new(&packet(&at_limit, 6, &[]))
            .unwrap()
            .upper()
            .is_some());
        let past = vec![(60, OPT); Ipv6::MAX_EXT_HEADERS + 1];
        assert!(Ipv6::new(&packet(&past, 6, &[])).unwrap().upper().is_none());
    }

    #[test]
    fn lengths() {
        let p = packet(&[], 17, &[1; 8]);
        assert!(Ipv6::new(&p[..47]).is_none());
        let mut padded = p.clone();
        padded.extend([0; 300]);
        assert_eq!(Ipv6::new(&padded).unwrap().payload(), &[1; 8]);
        let mut v4 = p;
        v4[0] = 0x45;
        assert!(Ipv6::new(&v4).is_none());
    }

    #[test]
    fn class_and_label() {
        let mut p = packet(&[], 59, &[]);
        p[..4].copy_from_slice(&[0x6a, 0xb1, 0x23, 0x45]);
        let ip = Ipv6::new(&p).unwrap();
        assert_eq!((ip.traffic_class(), ip.flow_label()), (0xab, 0x12345));
    }
}
