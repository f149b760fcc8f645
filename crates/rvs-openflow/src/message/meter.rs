//! Meter-mods, meter configuration, statistics and features (OpenFlow 1.3 and later).

use super::group_stats::PacketCount;
use crate::error::{ErrorCode, OfError};
use crate::model::{Band, BandKind, Meter, MeterId, MeterUnit};
use crate::version::Version;
use crate::wire::{Reader, Writer};

const KBPS: u16 = 1 << 0;
const PKTPS: u16 = 1 << 1;
const BURST: u16 = 1 << 2;
const STATS: u16 = 1 << 3;

const DROP: u16 = 1;
const DSCP_REMARK: u16 = 2;

/// `OFPMC_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MeterCommand {
    Add,
    Modify,
    Delete,
}

/// `ofp_meter_mod`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterMod {
    pub command: MeterCommand,
    /// Only the number counts for a delete; it may be [`MeterId::ALL`].
    pub meter: Meter,
}

fn pull_flags(v: u16, id: MeterId) -> Result<Meter, OfError> {
    let both = v & KBPS != 0 && v & PKTPS != 0;
    if v & !(KBPS | PKTPS | BURST | STATS) != 0 || both {
        return Err(ErrorCode::MmfcBadFlags.because(format!(
            "meter flags {v:#x}; either kbps or pktps, with burst and stats"
        )));
    }
    Ok(Meter {
        id,
        unit: if v & PKTPS != 0 {
            MeterUnit::PacketsPerSecond
        } else {
            MeterUnit::KilobitsPerSecond
        },
        burst: v & BURST != 0,
        stats: v & STATS != 0,
        bands: Box::new([]),
    })
}

fn flags(m: &Meter) -> u16 {
    let unit = match m.unit {
        MeterUnit::KilobitsPerSecond => KBPS,
        MeterUnit::PacketsPerSecond => PKTPS,
    };
    unit | if m.burst { BURST } else { 0 } | if m.stats { STATS } else { 0 }
}

fn pull_bands(r: &mut Reader<'_>) -> Result<Box<[Band]>, OfError> {
    let mut bands = Vec::new();
    while !r.is_empty() {
        let mut b = r.element8(2, 8)?;
        let kind = b.u16()?;
        b.skip(2)?;
        if !matches!(kind, DROP | DSCP_REMARK) {
            return Err(ErrorCode::MmfcBadBand.because(format!(
                "band type {kind}; known are 1 (drop) and 2 (dscp_remark)"
            )));
        }
        let (rate, burst, levels) = (b.u32()?, b.u32()?, b.u8()?);
        b.skip(3)?;
        if !b.is_empty() {
            return Err(b.bad_len("a band with octets too many"));
        }
        bands.push(Band {
            kind: match kind {
                DROP => BandKind::Drop,
                _ => BandKind::DscpRemark { levels },
            },
            rate,
            burst,
        });
    }
    Ok(bands.into())
}

fn put_bands(w: &mut Writer, bands: &[Band]) {
    for b in bands {
        let (kind, levels) = match b.kind {
            BandKind::Drop => (DROP, 0),
            BandKind::DscpRemark { levels } => (DSCP_REMARK, levels),
        };
        w.u16(kind);
        w.u16(16);
        w.u32(b.rate);
        w.u32(b.burst);
        w.u8(levels);
        w.zeros(3);
    }
}

impl MeterMod {
    pub(crate) fn pull(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let command = match r.u16()? {
            0 => MeterCommand::Add,
            1 => MeterCommand::Modify,
            2 => MeterCommand::Delete,
            n => {
                return Err(ErrorCode::MmfcBadCommand
                    .because(format!("meter command {n}; known are 0 to 2")))
            }
        };
        let v = r.u16()?;
        let id = MeterId(r.u32()?);
        let mut meter = pull_flags(v, id)?;
        meter.bands = pull_bands(r)?;
        let special = [MeterId::SLOWPATH, MeterId::CONTROLLER];
        let real = id.0 != 0 && id <= MeterId::MAX || special.contains(&id);
        let all = command == MeterCommand::Delete && id == MeterId::ALL;
        if !real && !all {
            return Err(ErrorCode::MmfcInvalidMeter.because(format!(
                "meter {:#x}; meters are numbered 1 to 0xffff0000",
                id.0
            )));
        }
        Ok(Self { command, meter })
    }

    pub(crate) fn put(&self, w: &mut Writer) {
        w.u16(self.command as u16);
        w.u16(flags(&self.meter));
        w.u32(self.meter.id.0);
        put_bands(w, &self.meter.bands);
    }
}

/// One entry of a meter configuration reply.
pub(crate) fn pull_meter_config(r: &mut Reader<'_>) -> Result<Meter, OfError> {
    let mut e = r.element8(0, 8)?;
    e.skip(2)?;
    let v = e.u16()?;
    let id = MeterId(e.u32()?);
    let mut meter = pull_flags(v, id)?;
    meter.bands = pull_bands(&mut e)?;
    Ok(meter)
}

pub(crate) fn put_meter_config(w: &mut Writer, m: &Meter) {
    let start = w.len();
    w.zeros(2);
    w.u16(flags(m));
    w.u32(m.id.0);
    put_bands(w, &m.bands);
    w.set_len(start, start, "meter");
}

/// One meter of a meter statistics reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeterStats {
    pub id: MeterId,
    /// Flows that use it.
    pub flow_count: u32,
    /// What came to the meter.
    pub total: PacketCount,
    pub duration_sec: u32,
    pub duration_nsec: u32,
    /// What each band applied to.
    pub bands: Vec<PacketCount>,
}

impl MeterStats {
    pub(crate) fn pull(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut e = r.element8(4, 40)?;
        let mut m = Self {
            id: MeterId(e.u32()?),
            ..Self::default()
        };
        e.skip(8)?;
        m.flow_count = e.u32()?;
        m.total = PacketCount::pull(&mut e)?;
        (m.duration_sec, m.duration_nsec) = (e.u32()?, e.u32()?);
        while !e.is_empty() {
            m.bands.push(PacketCount::pull(&mut e)?);
        }
        Ok(m)
    }

    pub(crate) fn put(&self, w: &mut Writer) {
        let start = w.len();
        w.u32(self.id.0);
        w.zeros(8);
        w.u32(self.flow_count);
        self.total.put(w);
        w.u32(self.duration_sec);
        w.u32(self.duration_nsec);
        self.bands.iter().for_each(|b| b.put(w));
        w.set_len(start + 4, start, "meter");
    }
}

/// What meters can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterFeatures {
    /// Number of meters.
    pub max_meter: u32,
    /// Bits of band types: 2 drop, 4 dscp_remark.
    pub band_types: u32,
    /// `OFPMF_*`: 1 kbps, 2 pktps, 4 burst, 8 stats.
    pub capabilities: u32,
    pub max_bands: u8,
    pub max_color: u8,
}

impl MeterFeatures {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let f = Self {
            max_meter: r.u32()?,
            band_types: r.u32()?,
            capabilities: r.u32()?,
            max_bands: r.u8()?,
            max_color: r.u8()?,
        };
        r.skip(2)?;
        // The specification of 1.5 has eight octets more, which Open vSwitch leaves out.
        if version >= Version::Of15 {
            r.skip(r.len().min(8))?;
        }
        Ok(f)
    }

    pub(crate) fn put(&self, w: &mut Writer) {
        w.u32(self.max_meter);
        w.u32(self.band_types);
        w.u32(self.capabilities);
        w.u8(self.max_bands);
        w.u8(self.max_color);
        w.zeros(2);
    }
}
