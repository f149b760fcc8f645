//! Flow statistics and aggregates.

use rvs_flow::OfPort;

use super::flow::FlowFlags;
use super::oxs::{pull_oxs, put_oxs, Counters};
use super::port::{pull_port, put_port};
use crate::error::OfError;
use crate::instruction::{pull_instructions, show_instructions};
use crate::model::{GroupId, Instructions, TableId};
use crate::oxm::{
    pull_match, pull_match10, pull_nxm, put_match, put_match10, put_nxm, CookieMask, FlowMatch,
};
use crate::version::Version;
use crate::wire::{Reader, Writer};

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
    /// Nobody asked: a threshold of the flow was crossed (`OFPFSR_STAT_TRIGGER`; counters of 1.5).
    pub triggered: bool,
    pub instructions: Instructions,
}

/// `OFPFSR_STAT_TRIGGER`.
const STAT_TRIGGER: u8 = 1;

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
            triggered: false,
            instructions: Instructions::default(),
        }
    }

    /// Takes the next entry.
    pub(crate) fn pull(
        r: &mut Reader<'_>,
        version: Version,
        form: FlowStatsForm,
    ) -> Result<Self, OfError> {
        let mut e = r.element(0, 4)?;
        let mut f = Self::new(FlowMatch::any());
        e.skip(2)?;
        match (version, form) {
            (Version::Of10, FlowStatsForm::Standard) => f.pull10(&mut e)?,
            (_, FlowStatsForm::Nicira) => f.pull_nicira(&mut e)?,
            (Version::Of15, _) => f.pull15(&mut e)?,
            _ => f.pull11(&mut e, version)?,
        }
        f.instructions = pull_instructions(&mut e, version)?;
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
        self.pull_match_and_oxs(r)
    }

    fn pull_match_and_oxs(&mut self, r: &mut Reader<'_>) -> Result<(), OfError> {
        self.matching = pull_match(r)?;
        let c = pull_oxs(r)?;
        (self.duration_sec, self.duration_nsec) = c.duration.unwrap_or_default();
        self.idle_age = c.idle.map(|(sec, _)| sec);
        self.packets = c.packets.unwrap_or(u64::MAX);
        self.bytes = c.bytes.unwrap_or(u64::MAX);
        Ok(())
    }

    /// Takes the next entry of a reply of counters (OpenFlow 1.5 section 7.3.5.4).
    pub(crate) fn pull_counters(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut e = r.element(0, 8)?;
        let mut f = Self::new(FlowMatch::any());
        e.skip(4)?;
        f.table = TableId(e.u8()?);
        f.triggered = e.u8()? == STAT_TRIGGER;
        f.priority = e.u16()?;
        f.pull_match_and_oxs(&mut e)?;
        Ok(f)
    }

    pub(crate) fn put_counters(&self, w: &mut Writer) {
        let start = w.len();
        w.zeros(4);
        w.u8(self.table.0);
        w.u8(if self.triggered { STAT_TRIGGER } else { 0 });
        w.u16(self.priority);
        self.put_match_and_oxs(w);
        w.set_len(start, start, "flow");
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
        show_instructions(w, &self.instructions, &self.matching, version);
        w.set_len(start, start, "flow");
    }

    fn put_times(&self, w: &mut Writer) {
        w.u32(self.duration_sec);
        w.u32(self.duration_nsec);
        w.u16(self.priority);
        w.u16(self.idle_timeout);
        w.u16(self.hard_timeout);
    }

    fn put_cookie_and_counters(&self, w: &mut Writer) {
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
        self.put_cookie_and_counters(w);
    }

    fn put_nicira(&self, w: &mut Writer) {
        w.u8(self.table.0);
        w.zeros(1);
        self.put_times(w);
        let at = w.len();
        w.zeros(2);
        put_age(w, self.idle_age);
        put_age(w, self.hard_age);
        self.put_cookie_and_counters(w);
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
        self.put_cookie_and_counters(w);
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
        self.put_match_and_oxs(w);
    }

    fn put_match_and_oxs(&self, w: &mut Writer) {
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
