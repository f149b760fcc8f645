//! OXS: the statistics TLVs of OpenFlow 1.5.

use crate::error::{ErrorCode, OfError};
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
    let header = |field: u32, len: u32| OXS_BASIC << 16 | field << 9 | len;
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
