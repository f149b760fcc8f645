//! Group statistics and group features.

use crate::error::OfError;
use crate::model::GroupId;
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// Packets and octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCount {
    /// `u64::MAX` for unknown.
    pub packets: u64,
    pub bytes: u64,
}

impl PacketCount {
    pub(super) fn pull(r: &mut Reader<'_>) -> Result<Self, OfError> {
        Ok(Self {
            packets: r.u64()?,
            bytes: r.u64()?,
        })
    }

    pub(super) fn put(&self, w: &mut Writer) {
        w.u64(self.packets);
        w.u64(self.bytes);
    }
}

/// One group of a group statistics reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStats {
    pub id: GroupId,
    /// Flows and groups that forward to it.
    pub ref_count: u32,
    pub total: PacketCount,
    /// OpenFlow 1.3 and later.
    pub duration_sec: u32,
    pub duration_nsec: u32,
    /// One for each bucket.
    pub buckets: Vec<PacketCount>,
}

/// Durations are said from 1.3 on, and in Nicira's statistics for 1.0.
const fn timed(version: Version) -> bool {
    !matches!(version, Version::Of11 | Version::Of12)
}

impl GroupStats {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut e = r.element8(0, 32)?;
        e.skip(4)?;
        let mut g = Self {
            id: GroupId(e.u32()?),
            ref_count: e.u32()?,
            ..Self::default()
        };
        e.skip(4)?;
        g.total = PacketCount::pull(&mut e)?;
        if timed(version) {
            (g.duration_sec, g.duration_nsec) = (e.u32()?, e.u32()?);
        }
        while !e.is_empty() {
            g.buckets.push(PacketCount::pull(&mut e)?);
        }
        Ok(g)
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        let start = w.len();
        w.zeros(4);
        w.u32(self.id.0);
        w.u32(self.ref_count);
        w.zeros(4);
        self.total.put(w);
        if timed(version) {
            w.u32(self.duration_sec);
            w.u32(self.duration_nsec);
        }
        self.buckets.iter().for_each(|b| b.put(w));
        w.set_len(start, start, "group");
    }
}

/// What groups can do. Arrays are indexed by group type: all, select, indirect, fast failover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupFeatures {
    /// Bits of group types.
    pub types: u32,
    /// `OFPGFC_*`: 1 weights, 2 liveness, 4 chaining, 8 loops are checked.
    pub capabilities: u32,
    pub max_groups: [u32; 4],
    /// Bits of action types.
    pub actions: [u32; 4],
}

impl GroupFeatures {
    pub(crate) fn pull(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut f = Self {
            types: r.u32()?,
            capabilities: r.u32()?,
            ..Self::default()
        };
        for v in f.max_groups.iter_mut().chain(&mut f.actions) {
            *v = r.u32()?;
        }
        Ok(f)
    }

    pub(crate) fn put(&self, w: &mut Writer) {
        w.u32(self.types);
        w.u32(self.capabilities);
        for v in self.max_groups.iter().chain(&self.actions) {
            w.u32(*v);
        }
    }
}
