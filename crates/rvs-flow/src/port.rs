//! The two port numberings. They never mix: only a snapshot's port map converts one into the other.

use std::fmt;

/// A datapath port: what the caches and the kernel know. Not reused while a tier may hold an entry that names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DpPort(pub u32);

/// An OpenFlow port of one bridge, in the 32-bit numbering of OpenFlow 1.1 and later; 1.0's 16-bit reserved ports are
/// widened when decoded (OpenFlow 1.3.5 section 7.2.1; Open vSwitch maps 0xff00.. to 0xffffff00..).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfPort(pub u32);

impl DpPort {
    /// No port: packets that a controller injects without an input port.
    pub const NONE: Self = Self(u32::MAX);
}

impl OfPort {
    /// Largest number of a real port.
    pub const MAX: Self = Self(0xff00);
    /// Not set (OpenFlow 1.5, `actset_output`).
    pub const UNSET: Self = Self(0xffff_fff7);
    pub const IN_PORT: Self = Self(0xffff_fff8);
    pub const TABLE: Self = Self(0xffff_fff9);
    pub const NORMAL: Self = Self(0xffff_fffa);
    pub const FLOOD: Self = Self(0xffff_fffb);
    pub const ALL: Self = Self(0xffff_fffc);
    pub const CONTROLLER: Self = Self(0xffff_fffd);
    pub const LOCAL: Self = Self(0xffff_fffe);
    /// `OFPP_ANY`; `OFPP_NONE` of 1.0.
    pub const ANY: Self = Self(0xffff_ffff);

    const RESERVED: [(Self, &'static str); 10] = [
        (Self::UNSET, "UNSET"),
        (Self::IN_PORT, "IN_PORT"),
        (Self::TABLE, "TABLE"),
        (Self::NORMAL, "NORMAL"),
        (Self::FLOOD, "FLOOD"),
        (Self::ALL, "ALL"),
        (Self::CONTROLLER, "CONTROLLER"),
        (Self::LOCAL, "LOCAL"),
        (Self::ANY, "ANY"),
        (Self::ANY, "NONE"),
    ];

    pub const fn is_reserved(self) -> bool {
        self.0 >= Self::MAX.0
    }

    /// The number on a 16-bit wire (OpenFlow 1.0), if it has one.
    pub const fn to_u16(self) -> Option<u16> {
        if self.0 < Self::MAX.0 {
            Some(self.0 as u16)
        } else if self.0 >= 0xffff_ff00 {
            Some((self.0 & 0xffff) as u16)
        } else {
            None
        }
    }

    pub const fn from_u16(v: u16) -> Self {
        if v < 0xff00 {
            Self(v as u32)
        } else {
            Self(0xffff_0000 | v as u32)
        }
    }

    /// A reserved port by its OpenFlow name, in any case.
    pub fn from_name(s: &str) -> Option<Self> {
        Self::RESERVED
            .iter()
            .find(|(_, n)| n.eq_ignore_ascii_case(s))
            .map(|(p, _)| *p)
    }

    pub fn reserved_name(self) -> Option<&'static str> {
        Self::RESERVED
            .iter()
            .find(|(p, _)| *p == self)
            .map(|(_, n)| *n)
    }
}

impl fmt::Display for DpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for OfPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reserved_name() {
            Some(n) => f.write_str(n),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bit_numbers_map_both_ways() {
        for v in [1u16, 0xfeff, 0xfff8, 0xfffe, 0xffff] {
            assert_eq!(OfPort::from_u16(v).to_u16(), Some(v));
        }
        assert_eq!(OfPort(0xff00).to_u16(), None);
        assert_eq!(OfPort::from_u16(0xfffe), OfPort::LOCAL);
        assert_eq!(OfPort::from_name("normal"), Some(OfPort::NORMAL));
        assert_eq!(OfPort::ANY.to_string(), "ANY");
    }
}
