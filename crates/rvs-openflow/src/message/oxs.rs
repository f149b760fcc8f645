//! OXS: the statistics TLVs of OpenFlow 1.5.

use std::time::Duration;

use crate::error::{ErrorCode, OfError};
use crate::model::{StatTrigger, Threshold};
use crate::wire::{Reader, Writer};

/// What OXS can say (OpenFlow 1.5 section 7.2.4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Seconds and nanoseconds.
    pub(crate) duration: Option<(u32, u32)>,
    pub(crate) idle: Option<(u32, u32)>,
    pub(crate) flows: Option<u32>,
    pub(crate) packets: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

/// `OFPXSC_OPENFLOW_BASIC`, and its fields.
const OXS_BASIC: u32 = 0x8002;
const OXS_DURATION: u32 = 0;
const OXS_IDLE_TIME: u32 = 1;
const OXS_FLOW_COUNT: u32 = 3;
const OXS_PACKET_COUNT: u32 = 4;
const OXS_BYTE_COUNT: u32 = 5;

const fn header(field: u32, len: u32) -> u32 {
    OXS_BASIC << 16 | field << 9 | len
}

pub(crate) fn pull_oxs(r: &mut Reader<'_>) -> Result<Counters, OfError> {
    let mut c = Counters::default();
    let mut list = r.element(2, 4)?;
    let len = list.len();
    r.pad8(len);
    list.skip(4)?;
    while !list.is_empty() {
        let h = list.u32()?;
        let mut v = list.sub((h & 0xff) as usize, ErrorCode::BrcBadLen)?;
        if h >> 16 != OXS_BASIC {
            continue;
        }
        match h >> 9 & 0x7f {
            OXS_DURATION => c.duration = Some((v.u32()?, v.u32()?)),
            OXS_IDLE_TIME => c.idle = Some((v.u32()?, v.u32()?)),
            OXS_FLOW_COUNT => c.flows = Some(v.u32()?),
            OXS_PACKET_COUNT => c.packets = Some(v.u64()?),
            OXS_BYTE_COUNT => c.bytes = Some(v.u64()?),
            _ => {}
        }
    }
    Ok(c)
}

pub(crate) fn put_oxs(w: &mut Writer, c: &Counters) {
    let start = w.len();
    w.zeros(4);
    for (field, time) in [(OXS_DURATION, c.duration), (OXS_IDLE_TIME, c.idle)] {
        if let Some((sec, nsec)) = time {
            w.u32(header(field, 8));
            w.u32(sec);
            w.u32(nsec);
        }
    }
    if let Some(n) = c.flows {
        w.u32(header(OXS_FLOW_COUNT, 4));
        w.u32(n);
    }
    for (field, n) in [(OXS_PACKET_COUNT, c.packets), (OXS_BYTE_COUNT, c.bytes)] {
        if let Some(n) = n {
            w.u32(header(field, 8));
            w.u64(n);
        }
    }
    w.set_len(start + 2, start, "statistics");
    w.pad8(start);
}

/// The thresholds of a stat_trigger: statistics that a single flow has, each of its own length, any of them more than once.
pub(crate) fn pull_thresholds(r: &mut Reader<'_>) -> Result<Box<[Threshold]>, OfError> {
    let mut list = r.element(2, 4)?;
    let len = list.len();
    r.pad8(len);
    list.skip(4)?;
    let mut all = Vec::new();
    while !list.is_empty() {
        let h = list.u32()?;
        let mut v = list.sub((h & 0xff) as usize, ErrorCode::BicBadLen)?;
        all.push(match (h >> 16, h >> 9 & 0x7f) {
            (OXS_BASIC, OXS_DURATION) => Threshold::Duration(pull_time(&mut v)?),
            (OXS_BASIC, OXS_IDLE_TIME) => Threshold::Idle(pull_time(&mut v)?),
            (OXS_BASIC, OXS_PACKET_COUNT) => Threshold::Packets(v.u64()?),
            (OXS_BASIC, OXS_BYTE_COUNT) => Threshold::Bytes(v.u64()?),
            (class, field) => {
                return Err(ErrorCode::BicUnsupInst.because(format!(
                "a threshold of statistic {field} of class {class:#x}, which a flow does not have"
            )))
            }
        });
        if !v.is_empty() {
            return Err(v.bad_len(format!("a threshold with {} octets too many", v.len())));
        }
        if all.len() > StatTrigger::MAX {
            break;
        }
    }
    Ok(all.into())
}

fn pull_time(r: &mut Reader<'_>) -> Result<Duration, OfError> {
    let (sec, nsec) = (r.u32()?, r.u32()?);
    if nsec >= 1_000_000_000 {
        return Err(ErrorCode::BicUnsupInst.because(format!(
            "a threshold of {nsec} nanoseconds, which is a second or more"
        )));
    }
    Ok(Duration::new(sec.into(), nsec))
}

pub(crate) fn put_thresholds(w: &mut Writer, all: &[Threshold]) {
    let start = w.len();
    w.zeros(4);
    for t in all {
        let (field, time, count) = match *t {
            Threshold::Duration(t) => (OXS_DURATION, Some(t), 0),
            Threshold::Idle(t) => (OXS_IDLE_TIME, Some(t), 0),
            Threshold::Packets(n) => (OXS_PACKET_COUNT, None, n),
            Threshold::Bytes(n) => (OXS_BYTE_COUNT, None, n),
        };
        w.u32(header(field, 8));
        match time {
            Some(t) => {
                w.u32(u32::try_from(t.as_secs()).unwrap_or(u32::MAX));
                w.u32(t.subsec_nanos());
            }
            None => w.u64(count),
        }
    }
    w.set_len(start + 2, start, "thresholds");
    w.pad8(start);
}
