//! The first statistics: description, flows, aggregate, tables, ports; and OXS, the statistics TLVs of OpenFlow 1.5.

use rvs_flow::OfPort;

use super::flow::FlowFlags;
use super::port::{pull_port, put_port};
use super::{props, Dialect};
use crate::error::{ErrorCode, OfError};
use crate::instruction::{pull_instructions, put_instructions};
use crate::model::{GroupId, Instructions, TableId};
use crate::oxm::{
    pull_match, pull_match10, pull_nxm, put_match, put_match10, put_nxm, CookieMask, FlowMatch,
};
use crate::version::Version;
use crate::wire::{text, Reader, Writer};

/// `ofp_desc`. Texts are cut to 255 octets, the serial number to 31.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desc {
    pub manufacturer: String,
    pub hardware: String,
    pub software: String,
    pub serial: String,
    pub datapath: String,
}

const DESC_LEN: usize = 256;
const SERIAL_LEN: usize = 32;

impl Desc {
    pub(crate) fn pull(r: &mut Reader<'_>) -> Result<Self, OfError> {
        Ok(Self {
            manufacturer: text(r.bytes(DESC_LEN)?),
            hardware: text(r.bytes(DESC_LEN)?),
            software: text(r.bytes(DESC_LEN)?),
            serial: text(r.bytes(SERIAL_LEN)?),
            datapath: text(r.bytes(DESC_LEN)?),
        })
    }

    pub(crate) fn put(&self, w: &mut Writer) {
        w.text(&self.manufacturer, DESC_LEN);
        w.text(&self.hardware, DESC_LEN);
        w.text(&self.software, DESC_LEN);
        w.text(&self.serial, SERIAL_LEN);
        w.text(&self.datapath, DESC_LEN);
    }
}

/// Whether flow statistics of OpenFlow 1.0 are the standard's or Nicira's (`NXST_FLOW`). A reply has the request's form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FlowStatsForm {
    #[default]
    Standard,
    Nicira,
}

/// Which flows: of flow statistics and aggregates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStatsRequest {
    /// Nicira's exists in OpenFlow 1.0 alone.
    pub form: FlowStatsForm,
    pub table: TableId,
    pub out_port: OfPort,
    pub out_group: GroupId,
    pub cookie: CookieMask,
    pub matching: FlowMatch,
}

impl FlowStatsRequest {
    /// All flows.
    pub fn all(form: FlowStatsForm) -> Self {
        Self {
            form,
            table: TableId::ALL,
            out_port: OfPort::ANY,
            out_group: GroupId::ANY,
            cookie: CookieMask::default(),
            matching: FlowMatch::any(),
        }
    }

    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut q = Self::all(FlowStatsForm::Standard);
        if version == Version::Of10 {
            q.matching = pull_match10(r)?;
            q.table = TableId(r.u8()?);
            r.skip(1)?;
            q.out_port = OfPort::from_u16(r.u16()?);
            return Ok(q);
        }
        q.table = TableId(r.u8()?);
        r.skip(3)?;
        q.out_port = pull_port(r, version)?;
        q.out_group = GroupId(r.u32()?);
        r.skip(4)?;
        let (value, mask) = (r.u64()?, r.u64()?);
        q.cookie = CookieMask {
            value: value & mask,
            mask,
        };
        q.matching = pull_match(r)?;
        Ok(q)
    }

    pub(crate) fn pull_nicira(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut q = Self::all(FlowStatsForm::Nicira);
        q.out_port = OfPort::from_u16(r.u16()?);
        let len = usize::from(r.u16()?);
        q.table = TableId(r.u8()?);
        r.skip(3)?;
        let (matching, cookie) = pull_nxm(r, len)?;
        q.matching = matching;
        q.cookie = cookie.unwrap_or_default();
        Ok(q)
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        if self.form == FlowStatsForm::Nicira {
            put_port(w, self.out_port, Version::Of10);
            let at = w.len();
            w.zeros(2);
            w.u8(self.table.0);
            w.zeros(3);
            let cookie = Some(self.cookie).filter(|c| c.mask != 0);
            let len = put_nxm(w, &self.matching, cookie);
            w.set_u16(at, len as u16);
        } else if version == Version::Of10 {
            if self.cookie.mask != 0 {
                w.not_in_version("a filter by cookie");
            }
            put_match10(w, &self.matching);
            w.u8(self.table.0);
            w.zeros(1);
            put_port(w, self.out_port, version);
        } else {
            w.u8(self.table.0);
            w.zeros(3);
            w.u32(self.out_port.0);
            w.u32(self.out_group.0);
            w.zeros(4);
            w.u64(self.cookie.value);
            w.u64(self.cookie.mask);
            put_match(w, &self.matching, version);
        }
    }
}

/// One flow of a flow statistics reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStats {
    pub table: TableId,
    pub matching: FlowMatch,
    pub priority: u16,
    pub cookie: u64,
    pub duration_sec: u32,
    pub duration_nsec: u32,
    pub idle_timeout: u16,
    pub hard_timeout: u16,
    /// Seconds since the last frame (Nicira's form, and 1.5); since the last modification (Nicira's form).
    pub idle_age: Option<u32>,
    pub hard_age: Option<u32>,
    /// OpenFlow 1.3 and later.
    pub flags: FlowFlags,
    /// OpenFlow 1.4 and later.
    pub importance: u16,
    /// `u64::MAX` for unknown.
    pub packets: u64,
    pub bytes: u64,
    pub instructions: Instructions,
}

/// Ages travel as one more than they are, 0 being unknown.
fn age(v: u16) -> Option<u32> {
    v.checked_sub(1).map(u32::from)
}

fn put_age(w: &mut Writer, age: Option<u32>) {
    w.u16(age.map_or(0, |a| a.saturating_add(1).min(0xffff) as u16));
}

impl FlowStats {
    /// A flow of `matching` with nothing else to it.
    pub fn new(matching: FlowMatch) -> Self {
        Self {
            table: TableId(0),
            matching,
            priority: 0x8000,
            cookie: 0,
            duration_sec: 0,
            duration_nsec: 0,
            idle_timeout: 0,
            hard_timeout: 0,
            idle_age: None,
            hard_age: None,
            flags: FlowFlags::default(),
            importance: 0,
            packets: 0,
            bytes: 0,
            instructions: Instructions::default(),
        }
    }

    /// Takes the next entry.
    pub(crate) fn pull(
        r: &mut Reader<'_>,
        d: &Dialect,
        form: FlowStatsForm,
    ) -> Result<Self, OfError> {
        let mut e = r.element(0, 4)?;
        let mut f = Self::new(FlowMatch::any());
        e.skip(2)?;
        match (d.version, form) {
            (Version::Of10, FlowStatsForm::Standard) => f.pull10(&mut e)?,
            (_, FlowStatsForm::Nicira) => f.pull_nicira(&mut e)?,
            (Version::Of15, _) => f.pull15(&mut e)?,
            _ => f.pull11(&mut e, d.version)?,
        }
        f.instructions = pull_instructions(&mut e, d.version)?;
        Ok(f)
    }

    fn pull10(&mut self, r: &mut Reader<'_>) -> Result<(), OfError> {
        self.table = TableId(r.u8()?);
        r.skip(1)?;
        self.matching = pull_match10(r)?;
        (self.duration_sec, self.duration_nsec) = (r.u32()?, r.u32()?);
        self.priority = r.u16()?;
        (self.idle_timeout, self.hard_timeout) = (r.u16()?, r.u16()?);
        r.skip(6)?;
        self.cookie = r.u64()?;
        (self.packets, self.bytes) = (r.u64()?, r.u64()?);
        Ok(())
    }

    fn pull_nicira(&mut self, r: &mut Reader<'_>) -> Result<(), OfError> {
        self.table = TableId(r.u8()?);
        r.skip(1)?;
        (self.duration_sec, self.duration_nsec) = (r.u32()?, r.u32()?);
        self.priority = r.u16()?;
        (self.idle_timeout, self.hard_timeout) = (r.u16()?, r.u16()?);
        let len = usize::from(r.u16()?);
        (self.idle_age, self.hard_age) = (age(r.u16()?), age(r.u16()?));
        self.cookie = r.u64()?;
        (self.packets, self.bytes) = (r.u64()?, r.u64()?);
        self.matching = pull_nxm(r, len)?.0;
        Ok(())
    }

    fn pull11(&mut self, r: &mut Reader<'_>, version: Version) -> Result<(), OfError> {
        self.table = TableId(r.u8()?);
        r.skip(1)?;
        (self.duration_sec, self.duration_nsec) = (r.u32()?, r.u32()?);
        self.priority = r.u16()?;
        (self.idle_timeout, self.hard_timeout) = (r.u16()?, r.u16()?);
        let (flags, importance) = (r.u16()?, r.u16()?);
        if version >= Version::Of13 {
            self.flags = FlowFlags(flags & FlowFlags(u16::MAX).to_wire(version));
        }
        if version >= Version::Of14 {
            self.importance = importance;
        }
        r.skip(2)?;
        self.cookie = r.u64()?;
        (self.packets, self.bytes) = (r.u64()?, r.u64()?);
        self.matching = pull_match(r)?;
        Ok(())
    }

    fn pull15(&mut self, r: &mut Reader<'_>) -> Result<(), OfError> {
        r.skip(2)?;
        self.table = TableId(r.u8()?);
        r.skip(1)?;
        self.priority = r.u16()?;
        (self.idle_timeout, self.hard_timeout) = (r.u16()?, r.u16()?);
        self.flags = FlowFlags(r.u16()? & FlowFlags(u16::MAX).to_wire(Version::Of15));
        self.importance = r.u16()?;
        self.cookie = r.u64()?;
        self.matching = pull_match(r)?;
        let c = pull_oxs(r)?;
        (self.duration_sec, self.duration_nsec) = c.duration.unwrap_or_default();
        self.idle_age = c.idle.map(|(sec, _)| sec);
        self.packets = c.packets.unwrap_or(u64::MAX);
        self.bytes = c.bytes.unwrap_or(u64::MAX);
        Ok(())
    }

    /// Writes the entry.
    pub(crate) fn put(&self, w: &mut Writer, version: Version, form: FlowStatsForm) {
        let start = w.len();
        w.zeros(2);
        match (version, form) {
            (Version::Of10, FlowStatsForm::Standard) => self.put10(w),
            (_, FlowStatsForm::Nicira) => self.put_nicira(w),
            (Version::Of15, _) => self.put15(w),
            _ => self.put11(w, version),
        }
        put_instructions(w, &self.instructions, &self.matching, version);
        w.set_len(start, start, "flow");
    }

    fn put_times(&self, w: &mut Writer) {
        w.u32(self.duration_sec);
        w.u32(self.duration_nsec);
        w.u16(self.priority);
        w.u16(self.idle_timeout);
        w.u16(self.hard_timeout);
    }

    fn put_counters(&self, w: &mut Writer) {
        w.u64(self.cookie);
        w.u64(self.packets);
        w.u64(self.bytes);
    }

    fn put10(&self, w: &mut Writer) {
        w.u8(self.table.0);
        w.zeros(1);
        put_match10(w, &self.matching);
        self.put_times(w);
        w.zeros(6);
        self.put_counters(w);
    }

    fn put_nicira(&self, w: &mut Writer) {
        w.u8(self.table.0);
        w.zeros(1);
        self.put_times(w);
        let at = w.len();
        w.zeros(2);
        put_age(w, self.idle_age);
        put_age(w, self.hard_age);
        self.put_counters(w);
        let len = put_nxm(w, &self.matching, None);
        w.set_u16(at, len as u16);
    }

    fn put11(&self, w: &mut Writer, version: Version) {
        w.u8(self.table.0);
        w.zeros(1);
        self.put_times(w);
        let flags = if version >= Version::Of13 {
            self.flags.to_wire(version)
        } else {
            0
        };
        w.u16(flags);
        w.u16(if version >= Version::Of14 {
            self.importance
        } else {
            0
        });
        w.zeros(2);
        self.put_counters(w);
        put_match(w, &self.matching, version);
    }

    fn put15(&self, w: &mut Writer) {
        w.zeros(2);
        w.u8(self.table.0);
        w.zeros(1);
        w.u16(self.priority);
        w.u16(self.idle_timeout);
        w.u16(self.hard_timeout);
        w.u16(self.flags.to_wire(Version::Of15));
        w.u16(self.importance);
        w.u64(self.cookie);
        put_match(w, &self.matching, Version::Of15);
        put_oxs(
            w,
            &Counters {
                duration: Some((self.duration_sec, self.duration_nsec)),
                idle: self.idle_age.map(|a| (a, 0)),
                flows: None,
                packets: Some(self.packets),
                bytes: Some(self.bytes),
            },
        );
    }
}

/// Sums over flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AggregateStats {
    /// `u64::MAX` for unknown.
    pub packets: u64,
    pub bytes: u64,
    pub flows: u32,
}

impl AggregateStats {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        if version >= Version::Of15 {
            let c = pull_oxs(r)?;
            return Ok(Self {
                packets: c.packets.unwrap_or(u64::MAX),
                bytes: c.bytes.unwrap_or(u64::MAX),
                flows: c.flows.unwrap_or(0),
            });
        }
        let stats = Self {
            packets: r.u64()?,
            bytes: r.u64()?,
            flows: r.u32()?,
        };
        r.skip(4)?;
        Ok(stats)
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        if version >= Version::Of15 {
            return put_oxs(
                w,
                &Counters {
                    flows: Some(self.flows),
                    packets: Some(self.packets),
                    bytes: Some(self.bytes),
                    ..Counters::default()
                },
            );
        }
        w.u64(self.packets);
        w.u64(self.bytes);
        w.u32(self.flows);
        w.zeros(4);
    }
}

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

/// One table of a table statistics reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    pub table: TableId,
    /// 31 octets at most; OpenFlow 1.0 to 1.2, as are `max_entries` and, from 1.1, `config`.
    pub name: String,
    pub max_entries: u32,
    pub config: u32,
    pub active: u32,
    pub lookups: u64,
    pub matched: u64,
}

const TABLE_NAME_LEN: usize = 32;

/// Every field and every instruction of 1.1; every OXM, instruction and action type of 1.2.
const OF10_WILDCARDS: u32 = 0x3f_ffff;
const OF11_FIELDS: u32 = 0x3ff;
const OF11_INSTRUCTIONS: u32 = 0x3e;
const OF11_ACTIONS: u32 = 0x1ff_ffff;
const OF12_FIELDS: u64 = 0xf_ffff_ffff;
const OF12_ACTIONS: u32 = 0x3ff_ffff;

impl TableStats {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut t = Self {
            table: TableId(r.u8()?),
            ..Self::default()
        };
        match version {
            Version::Of10 => {
                r.skip(3)?;
                t.name = text(r.bytes(TABLE_NAME_LEN)?);
                r.skip(4)?;
                t.max_entries = r.u32()?;
            }
            Version::Of11 => {
                r.skip(7)?;
                t.name = text(r.bytes(TABLE_NAME_LEN)?);
                r.skip(20)?;
                t.config = r.u32()?;
                t.max_entries = r.u32()?;
            }
            Version::Of12 => {
                r.skip(7)?;
                t.name = text(r.bytes(TABLE_NAME_LEN)?);
                r.skip(60)?;
                t.config = r.u32()?;
                t.max_entries = r.u32()?;
            }
            _ => r.skip(3)?,
        }
        t.active = r.u32()?;
        (t.lookups, t.matched) = (r.u64()?, r.u64()?);
        Ok(t)
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        w.u8(self.table.0);
        match version {
            Version::Of10 => {
                w.zeros(3);
                w.text(&self.name, TABLE_NAME_LEN);
                w.u32(OF10_WILDCARDS);
                w.u32(self.max_entries);
            }
            Version::Of11 => {
                w.zeros(7);
                w.text(&self.name, TABLE_NAME_LEN);
                for v in [
                    OF11_FIELDS,
                    OF11_FIELDS,
                    OF11_INSTRUCTIONS,
                    OF11_ACTIONS,
                    OF11_ACTIONS,
                ] {
                    w.u32(v);
                }
                w.u32(self.config);
                w.u32(self.max_entries);
            }
            Version::Of12 => {
                w.zeros(7);
                w.text(&self.name, TABLE_NAME_LEN);
                w.u64(OF12_FIELDS);
                w.u64(OF12_FIELDS);
                w.u32(OF12_ACTIONS);
                w.u32(OF12_ACTIONS);
                w.u64(OF12_FIELDS);
                w.u64(OF12_FIELDS);
                w.u64(u64::MAX);
                w.u64(u64::MAX);
                w.u32(OF11_INSTRUCTIONS);
                w.u32(self.config);
                w.u32(self.max_entries);
            }
            _ => w.zeros(3),
        }
        w.u32(self.active);
        w.u64(self.lookups);
        w.u64(self.matched);
    }
}

/// One port of a port statistics reply. Counters are `u64::MAX` where they are not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    pub port: OfPort,
    /// OpenFlow 1.3 and later.
    pub duration_sec: u32,
    pub duration_nsec: u32,
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_frame_err: u64,
    pub rx_over_err: u64,
    pub rx_crc_err: u64,
    pub collisions: u64,
}

/// `OFPPSPT_ETHERNET`.
const PROP_ETHERNET: u16 = 0;

impl PortStats {
    fn basic(&self) -> [u64; 8] {
        [
            self.rx_packets,
            self.tx_packets,
            self.rx_bytes,
            self.tx_bytes,
            self.rx_dropped,
            self.tx_dropped,
            self.rx_errors,
            self.tx_errors,
        ]
    }

    fn pull_basic(&mut self, r: &mut Reader<'_>) -> Result<(), OfError> {
        (self.rx_packets, self.tx_packets) = (r.u64()?, r.u64()?);
        (self.rx_bytes, self.tx_bytes) = (r.u64()?, r.u64()?);
        (self.rx_dropped, self.tx_dropped) = (r.u64()?, r.u64()?);
        (self.rx_errors, self.tx_errors) = (r.u64()?, r.u64()?);
        Ok(())
    }

    fn pull_ethernet(&mut self, r: &mut Reader<'_>) -> Result<(), OfError> {
        (self.rx_frame_err, self.rx_over_err) = (r.u64()?, r.u64()?);
        (self.rx_crc_err, self.collisions) = (r.u64()?, r.u64()?);
        Ok(())
    }

    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut s = Self::default();
        if version >= Version::Of14 {
            let mut e = r.element(0, 80)?;
            e.skip(4)?;
            s.port = pull_port(&mut e, version)?;
            (s.duration_sec, s.duration_nsec) = (e.u32()?, e.u32()?);
            s.pull_basic(&mut e)?;
            let mut properties = Reader::new(e.rest(), ErrorCode::BpcBadLen);
            while let Some((kind, mut p)) = props::pull(&mut properties)? {
                if kind == PROP_ETHERNET {
                    p.skip(4)?;
                    s.pull_ethernet(&mut p)?;
                }
            }
            return Ok(s);
        }
        s.port = pull_port(r, version)?;
        r.skip(if version == Version::Of10 { 6 } else { 4 })?;
        s.pull_basic(r)?;
        s.pull_ethernet(r)?;
        if version == Version::Of13 {
            (s.duration_sec, s.duration_nsec) = (r.u32()?, r.u32()?);
        }
        Ok(s)
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        let ethernet = [
            self.rx_frame_err,
            self.rx_over_err,
            self.rx_crc_err,
            self.collisions,
        ];
        if version >= Version::Of14 {
            let start = w.len();
            w.zeros(4);
            w.u32(self.port.0);
            w.u32(self.duration_sec);
            w.u32(self.duration_nsec);
            self.basic().into_iter().for_each(|v| w.u64(v));
            props::put(w, PROP_ETHERNET, |w| {
                w.zeros(4);
                ethernet.into_iter().for_each(|v| w.u64(v));
            });
            return w.set_len(start, start, "port");
        }
        put_port(w, self.port, version);
        w.zeros(if version == Version::Of10 { 6 } else { 4 });
        self.basic()
            .into_iter()
            .chain(ethernet)
            .for_each(|v| w.u64(v));
        if version == Version::Of13 {
            w.u32(self.duration_sec);
            w.u32(self.duration_nsec);
        }
    }
}
