//! Wire versions and sets of them.

use std::fmt;

/// A version of OpenFlow, as the first octet of a message says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    Of10 = 1,
    Of11 = 2,
    Of12 = 3,
    Of13 = 4,
    Of14 = 5,
    Of15 = 6,
}

impl Version {
    /// Oldest first.
    pub const ALL: [Self; 6] = [
        Self::Of10,
        Self::Of11,
        Self::Of12,
        Self::Of13,
        Self::Of14,
        Self::Of15,
    ];

    pub const fn wire(self) -> u8 {
        self as u8
    }

    pub fn from_wire(v: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.wire() == v)
    }

    /// The spelling of the `protocols` column: `OpenFlow13`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Of10 => "OpenFlow10",
            Self::Of11 => "OpenFlow11",
            Self::Of12 => "OpenFlow12",
            Self::Of13 => "OpenFlow13",
            Self::Of14 => "OpenFlow14",
            Self::Of15 => "OpenFlow15",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.name() == name)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of wire versions, also of those that we do not speak: bit n is version n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VersionSet(u32);

impl VersionSet {
    pub const ALL: Self = Self(0b111_1110);

    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Every version up to `wire`: what a HELLO without a bitmap offers (OpenFlow 1.3.5 section 6.3.1).
    pub const fn up_to(wire: u8) -> Self {
        if wire >= 31 {
            Self(!1)
        } else {
            Self((2u32 << wire) - 2)
        }
    }

    pub const fn has(self, v: Version) -> bool {
        self.0 >> v.wire() & 1 != 0
    }

    #[must_use]
    pub const fn with(self, v: Version) -> Self {
        Self(self.0 | 1 << v.wire())
    }

    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The newest version of the set that we speak.
    pub fn newest(self) -> Option<Version> {
        Version::ALL.into_iter().rev().find(|v| self.has(*v))
    }

    /// The numbers of all of the set, ours or not.
    pub fn wire(self) -> impl Iterator<Item = u32> {
        (0..u32::BITS).filter(move |v| self.0 >> v & 1 != 0)
    }

    pub fn iter(self) -> impl Iterator<Item = Version> {
        Version::ALL.into_iter().filter(move |v| self.has(*v))
    }
}

impl FromIterator<Version> for VersionSet {
    fn from_iter<I: IntoIterator<Item = Version>>(iter: I) -> Self {
        iter.into_iter().fold(Self::default(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_wins() {
        let ours: VersionSet = [Version::Of10, Version::Of13].into_iter().collect();
        assert_eq!(
            ours.common(VersionSet::up_to(6)).newest(),
            Some(Version::Of13)
        );
        assert_eq!(
            ours.common(VersionSet::up_to(3)).newest(),
            Some(Version::Of10)
        );
        assert_eq!(ours.common(VersionSet::from_bits(0b100)).newest(), None);
        assert_eq!(VersionSet::up_to(6), VersionSet::ALL);
        assert_eq!(VersionSet::up_to(255).newest(), Some(Version::Of15));
    }

    #[test]
    fn names_read_back() {
        for v in Version::ALL {
            assert_eq!(Version::from_name(v.name()), Some(v));
            assert_eq!(Version::from_wire(v.wire()), Some(v));
        }
        assert_eq!(Version::from_wire(0), None);
        assert_eq!(Version::from_wire(7), None);
    }
}
