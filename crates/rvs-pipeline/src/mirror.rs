//! Mirrors of a bridge (SPAN, RSPAN): copies of what arrives or leaves, for somebody who watches.
//!
//! Of one frame each mirror gets one copy, whatever the tables do with it: as it arrived, when the input port is selected, or
//! else as it leaves for the first time on a selected port. A frame is selected when it is in one of the mirror's VLANs too;
//! which VLAN it is in the mode of the selected port says. Two mirrors with the same output are one where both select. A port
//! that mirrors send to is theirs alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use rvs_l2::{BundleId, VlanSet};
use rvs_packet::VlanId;

use crate::ports::PortTraffic;

/// Mirrors of one bridge; past it the database's are ignored, with a warning.
pub const MAX_MIRRORS: usize = 32;

/// A set of mirrors of one bridge, by their places in its list.
pub(crate) type MirrorSet = u32;

/// Ports that a mirror selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorPorts {
    All,
    These(BTreeSet<BundleId>),
}

impl MirrorPorts {
    pub fn selects(&self, bundle: BundleId) -> bool {
        match self {
            Self::All => true,
            Self::These(bundles) => bundles.contains(&bundle),
        }
    }
}

/// Where the copies go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorOutput {
    /// To that port, which is reserved for it.
    Port(BundleId),
    /// To every port that carries the VLAN, in that VLAN.
    Vlan(VlanId),
}

/// One mirror.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub name: Arc<str>,
    /// Ports whose arriving frames are copied.
    pub arriving: MirrorPorts,
    /// Ports whose leaving frames are copied.
    pub leaving: MirrorPorts,
    /// VLANs of the frames that are copied; the empty set means all.
    pub vlans: VlanSet,
    pub output: MirrorOutput,
    /// Octets of each copy, at most.
    pub snaplen: Option<u16>,
    /// Selected frames, as sent.
    pub traffic: Arc<PortTraffic>,
}

/// Which way a frame passes a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Arriving,
    Leaving,
}

/// All mirrors of a bridge, at most [`MAX_MIRRORS`].
#[derive(Clone, Debug, Default)]
pub struct Mirrors(Vec<Mirror>);

impl FromIterator<Mirror> for Mirrors {
    /// The first [`MAX_MIRRORS`] of them.
    fn from_iter<I: IntoIterator<Item = Mirror>>(mirrors: I) -> Self {
        Self(mirrors.into_iter().take(MAX_MIRRORS).collect())
    }
}

impl Mirrors {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Mirror> {
        self.0.iter()
    }

    /// True when a mirror sends to that port: nothing else leaves there, and nothing comes in.
    pub fn reserves(&self, bundle: BundleId) -> bool {
        self.iter().any(|m| m.output == MirrorOutput::Port(bundle))
    }

    /// Mirrors that copy what passes that port that way, their VLANs apart.
    pub(crate) fn selecting(&self, bundle: BundleId, way: Way) -> MirrorSet {
        self.set(|m| match way {
            Way::Arriving => m.arriving.selects(bundle),
            Way::Leaving => m.leaving.selects(bundle),
        })
    }

    /// Mirrors that send to where `mirror` sends, itself among them.
    pub(crate) fn like(&self, mirror: &Mirror) -> MirrorSet {
        self.set(|m| m.output == mirror.output)
    }

    fn set(&self, is_in: impl Fn(&Mirror) -> bool) -> MirrorSet {
        let bits = self.iter().enumerate().filter(|(_, m)| is_in(m));
        bits.fold(0, |set, (i, _)| set | 1 << i)
    }
}
