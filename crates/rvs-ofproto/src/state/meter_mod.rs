//! Meter-mods (OpenFlow 1.3.5 section 7.3.4.4).

use std::sync::Arc;

use rvs_dpif::Meter as DpMeter;
use rvs_openflow::message::{MeterCommand, MeterMod};
use rvs_openflow::{BandKind, ErrorCode, Meter, MeterId, MeterUnit, OfError};
use rvs_packet::Now;
use rvs_pipeline::MeterEntry;

use super::doomed::Doomed;
use super::limits::MANY;
use super::txn::{Step, Txn};
use crate::Plant;

/// What the agent knows of a meter beside its configuration.
#[derive(Clone, Debug)]
pub(super) struct MeterInfo {
    pub(super) created: Now,
    /// Its number in the datapath.
    pub(super) number: rvs_dpif::MeterId,
    /// Its buckets and counters.
    pub(super) meter: Arc<DpMeter>,
}

impl<P: Plant> Txn<'_, P> {
    /// Adds, changes or deletes meters. Those that are to go are given back: their flows may be many.
    ///
    /// # Errors
    /// `OFPMMFC_*`.
    pub(super) fn meter_mod(&mut self, m: &MeterMod) -> Result<Doomed, OfError> {
        let id = m.meter.id;
        match (m.command, self.state.meters.get(&id).cloned()) {
            (MeterCommand::Delete, _) if id == MeterId::ALL => return Ok(self.doom_meters()),
            (MeterCommand::Delete, None) => {}
            (MeterCommand::Delete, Some(_)) => return Ok(Doomed::meters([id])),
            (MeterCommand::Add, Some(_)) => {
                return Err(ErrorCode::MmfcMeterExists.because(format!("meter {} is there", id.0)))
            }
            (MeterCommand::Add, None) => self.add_meter(&m.meter)?,
            (MeterCommand::Modify, None) => {
                return Err(
                    ErrorCode::MmfcUnknownMeter.because(format!("no meter {} is there", id.0))
                )
            }
            (MeterCommand::Modify, Some(old)) => {
                self.check_meter(&m.meter)?;
                let info = MeterInfo {
                    meter: datapath_meter(self.w.now, &m.meter),
                    ..old
                };
                self.w.meters_changed.insert(id);
                self.put_meter(m.meter.clone(), info);
            }
        }
        Ok(Doomed::default())
    }

    fn add_meter(&mut self, meter: &Meter) -> Result<(), OfError> {
        self.check_meter(meter)?;
        let limit = self.state.limits.meters;
        let full = || ErrorCode::MmfcOutOfMeters.because(format!("there are {limit} meters"));
        if self.state.meters.len() >= limit {
            return Err(full());
        }
        let number = self.plant.new_meter().ok_or_else(full)?;
        self.w.meters_made.push(number);
        let info = MeterInfo {
            created: self.w.now,
            number,
            meter: datapath_meter(self.w.now, meter),
        };
        // Nothing names it before this is published.
        self.plant.set_meter(number, Some(info.meter.clone()));
        self.put_meter(meter.clone(), info);
        Ok(())
    }

    fn put_meter(&mut self, meter: Meter, info: MeterInfo) {
        let (id, dp) = (meter.id, info.number);
        let old = self.state.meters.insert(id, info);
        self.step(Step::Meter(id, old));
        self.w
            .bridge
            .meters
            .insert(Arc::new(MeterEntry { meter, dp }));
        self.changed_meter(id);
    }

    pub(super) fn doom_meters(&mut self) -> Doomed {
        let all = std::mem::take(&mut self.w.bridge.meters);
        // As with groups.
        if all.len() > MANY {
            self.state.faded.add_meters(&all);
        }
        Doomed::meters(all.ids())
    }

    /// Takes away a meter that no flow refers to.
    pub(super) fn delete_meter(&mut self, id: MeterId) {
        let info = self.state.meters.remove(&id);
        if let Some(info) = &info {
            self.w.meters_dropped.push(info.number);
        }
        self.w.meters_changed.remove(&id);
        self.step(Step::Meter(id, info));
        self.w.bridge.meters.remove(id);
        self.changed_meter(id);
    }

    fn check_meter(&self, m: &Meter) -> Result<(), OfError> {
        let limit = self.state.limits.bands;
        if m.bands.len() > usize::from(limit) {
            return Err(ErrorCode::MmfcOutOfBands.because(format!(
                "{} bands; a meter has {limit} at most",
                m.bands.len()
            )));
        }
        if m.bands.iter().any(|b| b.rate == 0) {
            return Err(ErrorCode::MmfcBadRate.because("a band of rate 0"));
        }
        Ok(())
    }
}

/// A meter of the datapath with full buckets.
fn datapath_meter(now: Now, m: &Meter) -> Arc<DpMeter> {
    let unit = match m.unit {
        MeterUnit::KilobitsPerSecond => rvs_dpif::meter::MeterUnit::Kbps,
        MeterUnit::PacketsPerSecond => rvs_dpif::meter::MeterUnit::Pktps,
    };
    let bands: Vec<_> = m
        .bands
        .iter()
        .map(|b| rvs_dpif::meter::Band {
            kind: match b.kind {
                BandKind::Drop => rvs_dpif::meter::BandKind::Drop,
                BandKind::DscpRemark { levels } => rvs_dpif::meter::BandKind::DscpRemark(levels),
            },
            rate: b.rate,
            // A burst of nothing would let nothing pass.
            burst: (m.burst && b.burst > 0).then_some(b.burst),
        })
        .collect();
    Arc::new(DpMeter::new(now, unit, &bands))
}
