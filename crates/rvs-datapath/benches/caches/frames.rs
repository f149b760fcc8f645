//! The frames of the matrix: TCP segments, untagged, tagged, double tagged, or over IPv6.

use rvs_packet::Frame;

use crate::common::{ethernet, ipv4};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Untagged,
    Vlan,
    Qinq,
    Ipv6,
}

impl Family {
    pub const ALL: [Self; 4] = [Self::Untagged, Self::Vlan, Self::Qinq, Self::Ipv6];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Untagged => "untagged",
            Self::Vlan => "vlan",
            Self::Qinq => "qinq",
            Self::Ipv6 => "ipv6",
        }
    }

    /// Where the TCP source port lies.
    const fn port_at(self) -> usize {
        match self {
            Self::Untagged => 34,
            Self::Vlan => 38,
            Self::Qinq => 42,
            Self::Ipv6 => 54,
        }
    }
}

/// A kind of frames.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub family: Family,
    /// Octets on the wire, FCS included.
    pub octets: usize,
}

impl Shape {
    pub const SMALL: Self = Self {
        family: Family::Untagged,
        octets: 64,
    };

    /// Flow `n`'s frame. The smallest IPv6 segment is longer than 64 octets: it is as short as it can be.
    pub fn frame(self, n: u32) -> Frame {
        let mut b = ethernet(n + 1, 5, 0);
        b.truncate(12);
        match self.family {
            Family::Vlan => b.extend([0x81, 0, 0, 100]),
            Family::Qinq => b.extend([0x88, 0xa8, 0, 200, 0x81, 0, 0, 100]),
            Family::Untagged | Family::Ipv6 => {}
        }
        let (ip, network) = match self.family {
            Family::Ipv6 => ([0x86, 0xdd], 40),
            _ => ([8, 0], 20),
        };
        b.extend(ip);
        let payload = (self.octets - 4).saturating_sub(b.len() + network).max(20);
        if self.family == Family::Ipv6 {
            b.extend([0x60, 0, 0, 0]);
            b.extend((payload as u16).to_be_bytes());
            b.extend([6, 64]);
            b.extend([0xfd; 32]);
        } else {
            b.extend(ipv4(6, payload, 1, 5));
        }
        let mut tcp = [
            0, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0,
        ];
        tcp[..2].copy_from_slice(&port(n).to_be_bytes());
        b.extend(tcp);
        b.resize(b.len() + payload - 20, 0);
        Frame::from_slice(&b)
    }

    /// Makes a frame of this shape flow `n`'s.
    #[inline]
    pub fn write(self, frame: &mut Frame, n: u32) {
        let at = self.family.port_at();
        let b = frame.bytes_mut();
        b[8..12].copy_from_slice(&(n + 1).to_be_bytes());
        b[at..at + 2].copy_from_slice(&port(n).to_be_bytes());
    }
}

const fn port(n: u32) -> u16 {
    (n % 60_000) as u16 + 1000
}
