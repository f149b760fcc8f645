//! Meters and their bands.

use std::fmt;

/// A meter of a bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterId(pub u32);

impl MeterId {
    /// `OFPM_MAX`: largest number of a meter that flows use.
    pub const MAX: Self = Self(0xffff_0000);
    /// Meters what goes to the slow path (`OFPM_SLOWPATH`).
    pub const SLOWPATH: Self = Self(0xffff_fffd);
    /// Meters what goes to controllers (`OFPM_CONTROLLER`).
    pub const CONTROLLER: Self = Self(0xffff_fffe);
    /// `OFPM_ALL`, in requests.
    pub const ALL: Self = Self(0xffff_ffff);
}

impl fmt::Display for MeterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SLOWPATH => f.write_str("slowpath"),
            Self::CONTROLLER => f.write_str("controller"),
            Self::ALL => f.write_str("all"),
            Self(n) => n.fmt(f),
        }
    }
}

/// What rates count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MeterUnit {
    /// 1,000 bits of Ethernet frame (without FCS) a second.
    KilobitsPerSecond,
    PacketsPerSecond,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BandKind {
    Drop,
    /// Raises the drop precedence of the DSCP by `levels`.
    DscpRemark {
        levels: u8,
    },
}

/// Applies when the meter's rate exceeds `rate` and no band with a higher rate applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Band {
    pub kind: BandKind,
    /// In the meter's unit.
    pub rate: u32,
    /// Kilobits or packets.
    pub burst: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Meter {
    pub id: MeterId,
    pub unit: MeterUnit,
    /// The bands' burst sizes count (`OFPMF_BURST`).
    pub burst: bool,
    /// Statistics were asked for (`OFPMF_STATS`); they are kept anyway.
    pub stats: bool,
    pub bands: Box<[Band]>,
}
