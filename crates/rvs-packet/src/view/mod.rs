//! Borrowed, checked views of headers: the parser of the hot path.
//!
//! A view is made from the bytes that start at its header. Its constructor checks everything the accessors rely on and
//! gives `None` when the header is truncated or contradicts itself or the bytes present; after that no accessor can fail.
//! The fixed part of a header is a `&[u8; N]`, so that constant indices cost no bounds check, and what follows is a slice
//! that ends where the *protocol* says it ends: Ethernet padding never reaches a transport view.
//!
//! *Strict on purpose.* A header that lies about its length (IPv4 total length past the frame, TCP data offset past the
//! segment) is no header: its fields are absent, not zero, so that a rule for port 0 or 0.0.0.0/8 does not match it and a
//! rule that denies a port is not silently bypassed by "port 0". The caller counts such frames.
//!
//! Nothing here allocates, loops without a bound, or looks at offload metadata.

mod arp;
mod icmp;
mod ipv4;
mod ipv6;
mod link;
mod mpls;
mod transport;

pub use arp::Arp;
pub use icmp::{Icmp, Icmpv6, Nd};
pub use ipv4::Ipv4;
pub use ipv6::{exthdr, Ipv6, Upper};
pub use link::{Eth, ITag, Link, Vlan};
pub use mpls::Lse;
pub use transport::{Sctp, Tcp, Udp};

/// Where a packet stands in its datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Frag {
    /// The whole datagram (an IPv6 "atomic fragment", RFC 6946, too).
    #[default]
    No,
    /// The first fragment: the transport header is here, though its lengths speak of the whole datagram.
    First,
    /// A later fragment: what follows the IP header is *not* a transport header.
    Later,
}

/// Big-endian 16 bits at a constant offset of a checked header.
#[inline(always)]
const fn be16<const N: usize>(h: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([h[at], h[at + 1]])
}

/// Big-endian 32 bits at a constant offset of a checked header.
#[inline(always)]
const fn be32<const N: usize>(h: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]])
}
