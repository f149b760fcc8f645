//! The small numbers of layers 2 to 4, each with its own type, holding the wire's truth.

use std::fmt;
use std::str::FromStr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An Ethernet address, in wire order.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    pub const ZERO: Self = Self([0; 6]);
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Group bit set: multicast or broadcast.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    pub const fn is_broadcast(self) -> bool {
        u64_of(self.0) == 0xffff_ffff_ffff
    }

    pub const fn is_zero(self) -> bool {
        u64_of(self.0) == 0
    }

    /// Addresses that an 802.1D bridge must not forward (01:80:c2:00:00:00 to :0f).
    pub const fn is_reserved(self) -> bool {
        u64_of(self.0) & !0xf == 0x0180_c200_0000
    }

    pub const fn to_u64(self) -> u64 {
        u64_of(self.0)
    }

    pub const fn from_u64(v: u64) -> Self {
        let b = v.to_be_bytes();
        Self([b[2], b[3], b[4], b[5], b[6], b[7]])
    }
}

const fn u64_of(b: [u8; 6]) -> u64 {
    u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]])
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Not six colon-separated pairs of hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an Ethernet address is six pairs of hexadecimal digits, as in 00:1b:21:0a:0b:0c")]
pub struct BadMac;

impl FromStr for MacAddr {
    type Err = BadMac;
    fn from_str(s: &str) -> Result<Self, BadMac> {
        let mut out = [0u8; 6];
        let mut parts = s.split(':');
        for b in &mut out {
            let p = parts.next().ok_or(BadMac)?;
            if p.is_empty() || p.len() > 2 || p.starts_with('+') {
                return Err(BadMac);
            }
            *b = u8::from_str_radix(p, 16).map_err(|_| BadMac)?;
        }
        if parts.next().is_some() {
            return Err(BadMac);
        }
        Ok(Self(out))
    }
}

/// An Ethernet type (values from 0x0600; smaller ones on the wire are 802.3 lengths).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    pub const IPV4: Self = Self(0x0800);
    pub const ARP: Self = Self(0x0806);
    pub const RARP: Self = Self(0x8035);
    pub const IPV6: Self = Self(0x86dd);
    pub const VLAN: Self = Self(0x8100);
    pub const QINQ: Self = Self(0x88a8);
    pub const MPLS: Self = Self(0x8847);
    pub const MPLS_MC: Self = Self(0x8848);
    pub const PBB: Self = Self(0x88e7);
    pub const TEB: Self = Self(0x6558);
    /// What the pipeline sees for an 802.3 length field without SNAP (OpenFlow 1.0, section 3.4).
    pub const NOT_ETH_TYPE: Self = Self(0x05ff);
    /// Smallest value that is a type and not a length (IEEE 802.3).
    pub const MIN: u16 = 0x0600;

    pub const fn is_vlan(self) -> bool {
        matches!(self, Self::VLAN | Self::QINQ)
    }

    pub const fn is_mpls(self) -> bool {
        matches!(self, Self::MPLS | Self::MPLS_MC)
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04x}", self.0)
    }
}

/// IP protocol numbers (IANA).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpProto(pub u8);

impl IpProto {
    pub const HOPOPTS: Self = Self(0);
    pub const ICMP: Self = Self(1);
    pub const IGMP: Self = Self(2);
    pub const IPIP: Self = Self(4);
    pub const TCP: Self = Self(6);
    pub const UDP: Self = Self(17);
    pub const IPV6: Self = Self(41);
    pub const ROUTING: Self = Self(43);
    pub const FRAGMENT: Self = Self(44);
    pub const GRE: Self = Self(47);
    pub const ESP: Self = Self(50);
    pub const AH: Self = Self(51);
    pub const ICMPV6: Self = Self(58);
    pub const NONE: Self = Self(59);
    pub const DSTOPTS: Self = Self(60);
    pub const SCTP: Self = Self(132);
}

/// A VLAN identifier as configuration and the wire know it, 0..=4095.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(u16);

impl VlanId {
    pub const ZERO: Self = Self(0);
    pub const MAX: u16 = 4095;

    /// `None` past 4095.
    pub const fn new(vid: u16) -> Option<Self> {
        if vid <= Self::MAX {
            Some(Self(vid))
        } else {
            None
        }
    }

    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tag control information: PCP (3 bits), DEI (1), VID (12), as on the wire (IEEE 802.1Q section 9.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanTci(pub u16);

impl VlanTci {
    pub const VID_MASK: u16 = 0x0fff;
    pub const DEI: u16 = 0x1000;
    pub const PCP_MASK: u16 = 0xe000;
    pub const PCP_SHIFT: u32 = 13;

    pub const fn new(vid: VlanId, pcp: u8) -> Self {
        Self(vid.get() | ((pcp as u16 & 7) << Self::PCP_SHIFT))
    }

    pub const fn vid(self) -> VlanId {
        VlanId(self.0 & Self::VID_MASK)
    }

    pub const fn pcp(self) -> u8 {
        (self.0 >> Self::PCP_SHIFT) as u8
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn mac_text_round_trips_and_refuses_junk() {
        let m: MacAddr = "00:1b:21:0A:0b:0c".parse().unwrap();
        assert_eq!(m.to_string(), "00:1b:21:0a:0b:0c");
        assert_eq!(MacAddr::from_u64(m.to_u64()), m);
        for bad in [
            "",
            "1:2:3:4:5",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:+6",
            "1:2:3:4:5:666",
            "g:0:0:0:0:0",
        ] {
            assert_eq!(bad.parse::<MacAddr>(), Err(BadMac), "{bad}");
        }
    }

    #[test]
    fn reserved_multicast_is_sixteen_addresses() {
        assert!(MacAddr([1, 0x80, 0xc2, 0, 0, 0x0f]).is_reserved());
        assert!(!MacAddr([1, 0x80, 0xc2, 0, 0, 0x10]).is_reserved());
    }

    #[test]
    fn vlan_id_ends_at_4095() {
        assert_eq!(VlanId::new(4095).map(VlanId::get), Some(4095));
        assert_eq!(VlanId::new(4096), None);
        assert_eq!(VlanTci::new(VlanId::new(100).unwrap(), 5).0, 0xa064);
    }
}
