//! Flow-mods and flow-removed of every form.

use rvs_flow::OfPort;

use super::oxs::{pull_oxs, put_oxs, Counters};
use super::port::{pull_port, put_port};
use super::{Dialect, FlowFormat};
use crate::action::{check_instructions, CheckLevel};
use crate::error::{ErrorCode, OfError};
use crate::instruction::{pull_instructions, put_instructions};
use crate::model::{GroupId, Instructions, TableId};
use crate::oxm::{
    pull_match, pull_match10, pull_match_into, pull_nxm, put_match, put_match10, put_nxm,
    CookieMask, FlowMatch,
};
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// `OFPFC_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowCommand {
    Add,
    Modify,
    ModifyStrict,
    Delete,
    DeleteStrict,
}

impl FlowCommand {
    const ALL: [Self; 5] = [
        Self::Add,
        Self::Modify,
        Self::ModifyStrict,
        Self::Delete,
        Self::DeleteStrict,
    ];

    fn from_wire(n: u16) -> Result<Self, OfError> {
        Self::ALL.get(usize::from(n)).copied().ok_or_else(|| {
            ErrorCode::FmfcBadCommand.because(format!("flow-mod command {n}; known are 0 to 4"))
        })
    }

    pub const fn is_delete(self) -> bool {
        matches!(self, Self::Delete | Self::DeleteStrict)
    }
}

/// `OFPFF_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowFlags(pub u16);

impl FlowFlags {
    pub const SEND_FLOW_REM: Self = Self(1 << 0);
    pub const CHECK_OVERLAP: Self = Self(1 << 1);
    /// OpenFlow 1.2 and later; an add of earlier versions always resets and reads as if it said so.
    pub const RESET_COUNTS: Self = Self(1 << 2);
    /// OpenFlow 1.3 and later, as is [`Self::NO_BYT_COUNTS`].
    pub const NO_PKT_COUNTS: Self = Self(1 << 3);
    pub const NO_BYT_COUNTS: Self = Self(1 << 4);

    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    #[must_use]
    pub const fn with(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
    }

    const fn known(version: Version) -> u16 {
        match version {
            Version::Of10 | Version::Of11 => 0x3,
            Version::Of12 => 0x7,
            _ => 0x1f,
        }
    }

    fn pull(v: u16, command: FlowCommand, version: Version) -> Result<Self, OfError> {
        const EMERGENCY: u16 = 1 << 2;
        if version == Version::Of10 && v & EMERGENCY != 0 {
            return Err(ErrorCode::FmfcTableFull
                .because("a flow for emergencies; there is no table for such"));
        }
        let unknown = v & !Self::known(version);
        if unknown != 0 {
            return Err(ErrorCode::FmfcBadFlags
                .because(format!("flow-mod flags {unknown:#x} are not known")));
        }
        let resets = version < Version::Of12 && command == FlowCommand::Add;
        Ok(if resets {
            Self(v).with(Self::RESET_COUNTS)
        } else {
            Self(v)
        })
    }

    pub(crate) const fn to_wire(self, version: Version) -> u16 {
        self.0 & Self::known(version)
    }
}

/// `ofp_flow_mod`, all versions'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowMod {
    pub command: FlowCommand,
    /// [`TableId::ALL`] where the message doesn't say (1.0) or means all.
    pub table: TableId,
    pub matching: FlowMatch,
    pub priority: u16,
    /// Restricts modify and delete to flows with such a cookie.
    pub cookie: CookieMask,
    /// What added flows get; `None` where the message has none to give.
    pub new_cookie: Option<u64>,
    /// Modified flows get it too (OpenFlow 1.0).
    pub modify_cookie: bool,
    /// Seconds, 0 for never.
    pub idle_timeout: u16,
    pub hard_timeout: u16,
    /// What eviction spares longest (OpenFlow 1.4).
    pub importance: u16,
    pub buffer_id: Option<u32>,
    /// Restricts delete to flows that output there; [`OfPort::ANY`] doesn't.
    pub out_port: OfPort,
    pub out_group: GroupId,
    pub flags: FlowFlags,
    pub instructions: Instructions,
}

impl FlowMod {
    /// A flow-mod of `command` with everything else as a controller would leave it.
    pub fn new(command: FlowCommand, matching: FlowMatch) -> Self {
        Self {
            command,
            table: TableId(0),
            matching,
            priority: 0x8000,
            cookie: CookieMask::default(),
            new_cookie: (!command.is_delete()).then_some(0),
            modify_cookie: false,
            idle_timeout: 0,
            hard_timeout: 0,
            importance: 0,
            buffer_id: None,
            out_port: OfPort::ANY,
            out_group: GroupId::ANY,
            flags: FlowFlags::default(),
            instructions: Instructions::default(),
        }
    }
}

pub(crate) fn buffer(v: u32) -> Option<u32> {
    (v != u32::MAX).then_some(v)
}

/// Command and table of the 16 bits that 1.0 has for the command.
fn split_command(v: u16, d: &Dialect) -> Result<(FlowCommand, TableId), OfError> {
    if d.flow_mod_table_id {
        Ok((FlowCommand::from_wire(v & 0xff)?, TableId((v >> 8) as u8)))
    } else {
        Ok((FlowCommand::from_wire(v)?, TableId::ALL))
    }
}

fn join_command(m: &FlowMod, d: &Dialect) -> u16 {
    let table = if d.flow_mod_table_id {
        u16::from(m.table.0) << 8
    } else {
        0
    };
    m.command as u16 | table
}

impl FlowMod {
    /// `OFPT_FLOW_MOD` of 1.0.
    pub(crate) fn pull10(r: &mut Reader<'_>, d: &Dialect) -> Result<Box<Self>, OfError> {
        let wild = r.clone().u32()?;
        let matching = pull_match10(r)?;
        let cookie = r.u64()?;
        let (command, table) = split_command(r.u16()?, d)?;
        let mut m = Box::new(Self::new(command, matching));
        m.table = table;
        m.set_cookie10(cookie);
        m.idle_timeout = r.u16()?;
        m.hard_timeout = r.u16()?;
        m.priority = r.u16()?;
        // A flow without wildcards has the highest priority in 1.0.
        if wild & 0x3f_ffff == 0 {
            m.priority = u16::MAX;
        }
        m.buffer_id = buffer(r.u32()?);
        m.out_port = OfPort::from_u16(r.u16()?);
        m.flags = FlowFlags::pull(r.u16()?, command, d.version)?;
        m.finish(r, d)?;
        Ok(m)
    }

    /// A cookie that filters nothing: 1.0 has no filter. All ones leaves the cookies of modified flows alone.
    fn set_cookie10(&mut self, cookie: u64) {
        self.new_cookie = Some(cookie);
        self.modify_cookie = cookie != u64::MAX;
    }

    /// `NXT_FLOW_MOD`.
    pub(crate) fn pull_nxm(r: &mut Reader<'_>, d: &Dialect) -> Result<Box<Self>, OfError> {
        let cookie = r.u64()?;
        let (command, table) = split_command(r.u16()?, d)?;
        let mut m = Box::new(Self::new(command, FlowMatch::any()));
        m.table = table;
        m.idle_timeout = r.u16()?;
        m.hard_timeout = r.u16()?;
        m.priority = r.u16()?;
        m.buffer_id = buffer(r.u32()?);
        m.out_port = OfPort::from_u16(r.u16()?);
        m.flags = FlowFlags::pull(r.u16()?, command, d.version)?;
        let len = usize::from(r.u16()?);
        r.skip(6)?;
        let (matching, filter) = pull_nxm(r, len)?;
        m.matching = matching;
        m.set_cookie10(cookie);
        if let Some(c) = filter {
            if command == FlowCommand::Add {
                return Err(ErrorCode::NxbrcNxmInvalid
                    .because("an add that matches a cookie; only modify and delete can"));
            }
            m.cookie = c;
        }
        m.finish(r, d)?;
        Ok(m)
    }

    /// `OFPT_FLOW_MOD` of 1.1 and later.
    pub(crate) fn pull11(r: &mut Reader<'_>, d: &Dialect) -> Result<Box<Self>, OfError> {
        let (cookie, mask, table) = (r.u64()?, r.u64()?, r.u8()?);
        let command = FlowCommand::from_wire(r.u8()?.into())?;
        let mut m = Box::new(Self::new(command, FlowMatch::any()));
        m.table = TableId(table);
        let all_allowed = command.is_delete() && d.version != Version::Of11;
        if m.table == TableId::ALL && !all_allowed {
            return Err(ErrorCode::FmfcBadTableId.because(
                "table 255 stands for all tables, and only a delete of 1.2 or later takes them",
            ));
        }
        m.idle_timeout = r.u16()?;
        m.hard_timeout = r.u16()?;
        m.priority = r.u16()?;
        m.buffer_id = buffer(r.u32()?);
        m.out_port = pull_port(r, d.version)?;
        m.out_group = GroupId(r.u32()?);
        m.flags = FlowFlags::pull(r.u16()?, command, d.version)?;
        let importance = r.u16()?;
        if d.version >= Version::Of14 {
            m.importance = importance;
        }
        pull_match_into(r, &mut m.matching)?;
        if command == FlowCommand::Add {
            m.new_cookie = Some(cookie);
        } else {
            m.cookie = CookieMask {
                value: cookie & mask,
                mask,
            };
            // A modify of 1.1 that filters no cookie may add a flow, which gets this one.
            let may_add = d.version == Version::Of11 && mask == 0 && !command.is_delete();
            m.new_cookie = may_add.then_some(cookie);
        }
        m.finish(r, d)?;
        Ok(m)
    }

    fn finish(&mut self, r: &mut Reader<'_>, d: &Dialect) -> Result<(), OfError> {
        if self.command.is_delete() {
            self.new_cookie = None;
            self.modify_cookie = false;
        }
        self.instructions = pull_instructions(r, d.version)?;
        let level = CheckLevel::of(d.version);
        check_instructions(&self.matching, &self.instructions, self.table, level)
    }

    /// Writes the body in the form that [`FlowMod::form`] chose.
    pub(crate) fn put(&self, w: &mut Writer, d: &Dialect) {
        match (d.version, d.flow_format) {
            (Version::Of10, FlowFormat::OpenFlow10) => self.put10(w, d),
            (Version::Of10, FlowFormat::Nxm) => self.put_nxm(w, d),
            _ => self.put11(w, d.version),
        }
        put_instructions(w, &self.instructions, &self.matching, d.version);
    }

    fn cookie10(&self) -> u64 {
        let keeps = matches!(
            self.command,
            FlowCommand::Modify | FlowCommand::ModifyStrict
        ) && !self.modify_cookie;
        if keeps {
            u64::MAX
        } else {
            self.new_cookie.unwrap_or(0)
        }
    }

    fn put10(&self, w: &mut Writer, d: &Dialect) {
        if self.cookie.mask != 0 {
            w.not_in_version("a filter by cookie");
        }
        put_match10(w, &self.matching);
        w.u64(self.cookie10());
        w.u16(join_command(self, d));
        w.u16(self.idle_timeout);
        w.u16(self.hard_timeout);
        w.u16(self.priority);
        w.u32(self.buffer_id.unwrap_or(u32::MAX));
        put_port(w, self.out_port, d.version);
        w.u16(self.flags.to_wire(d.version));
    }

    fn put_nxm(&self, w: &mut Writer, d: &Dialect) {
        w.u64(self.cookie10());
        w.u16(join_command(self, d));
        w.u16(self.idle_timeout);
        w.u16(self.hard_timeout);
        w.u16(self.priority);
        w.u32(self.buffer_id.unwrap_or(u32::MAX));
        put_port(w, self.out_port, d.version);
        w.u16(self.flags.to_wire(d.version));
        let at = w.len();
        w.zeros(8);
        let cookie = Some(self.cookie).filter(|c| c.mask != 0);
        let len = put_nxm(w, &self.matching, cookie);
        w.set_u16(at, len as u16);
    }

    fn put11(&self, w: &mut Writer, version: Version) {
        match self.new_cookie {
            Some(c) if self.command == FlowCommand::Add || self.cookie.mask == 0 => {
                w.u64(c);
                w.u64(0);
            }
            _ => {
                w.u64(self.cookie.value);
                w.u64(self.cookie.mask);
            }
        }
        w.u8(self.table.0);
        w.u8(self.command as u8);
        w.u16(self.idle_timeout);
        w.u16(self.hard_timeout);
        w.u16(self.priority);
        w.u32(self.buffer_id.unwrap_or(u32::MAX));
        w.u32(self.out_port.0);
        w.u32(self.out_group.0);
        w.u16(self.flags.to_wire(version));
        w.u16(if version >= Version::Of14 {
            self.importance
        } else {
            0
        });
        put_match(w, &self.matching, version);
    }
}

/// Why a flow went (`OFPRR_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowRemovedReason {
    IdleTimeout,
    HardTimeout,
    Delete,
    GroupDelete,
    MeterDelete,
    Eviction,
}

impl FlowRemovedReason {
    const ALL: [Self; 6] = [
        Self::IdleTimeout,
        Self::HardTimeout,
        Self::Delete,
        Self::GroupDelete,
        Self::MeterDelete,
        Self::Eviction,
    ];

    pub(crate) fn from_wire(n: u8) -> Result<Self, OfError> {
        Self::ALL.get(usize::from(n)).copied().ok_or_else(|| {
            ErrorCode::NxbrcBadReason
                .because(format!("flow removed for reason {n}; known are 0 to 5"))
        })
    }

    /// Reasons that a version lacks are deletions.
    pub(crate) const fn to_wire(self, version: Version) -> u8 {
        match self {
            Self::GroupDelete if matches!(version, Version::Of10) => 2,
            Self::MeterDelete | Self::Eviction
                if !matches!(version, Version::Of14 | Version::Of15) =>
            {
                2
            }
            _ => self as u8,
        }
    }
}

/// `ofp_flow_removed`, all versions'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRemoved {
    pub matching: FlowMatch,
    pub cookie: u64,
    pub priority: u16,
    pub reason: FlowRemovedReason,
    /// `None` where the message doesn't say (the standard message of 1.0).
    pub table: Option<TableId>,
    /// Seconds and nanoseconds for which the flow was there.
    pub duration_sec: u32,
    pub duration_nsec: u32,
    pub idle_timeout: u16,
    /// OpenFlow 1.2 and later; 0 before.
    pub hard_timeout: u16,
    /// `u64::MAX` for unknown.
    pub packets: u64,
    pub bytes: u64,
}

impl FlowRemoved {
    fn empty() -> Self {
        Self {
            matching: FlowMatch::any(),
            cookie: 0,
            priority: 0,
            reason: FlowRemovedReason::Delete,
            table: None,
            duration_sec: 0,
            duration_nsec: 0,
            idle_timeout: 0,
            hard_timeout: 0,
            packets: 0,
            bytes: 0,
        }
    }

    pub(crate) fn pull10(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut f = Self::empty();
        f.matching = pull_match10(r)?;
        f.cookie = r.u64()?;
        f.priority = r.u16()?;
        f.reason = FlowRemovedReason::from_wire(r.u8()?)?;
        r.skip(1)?;
        (f.duration_sec, f.duration_nsec) = (r.u32()?, r.u32()?);
        f.idle_timeout = r.u16()?;
        r.skip(2)?;
        (f.packets, f.bytes) = (r.u64()?, r.u64()?);
        Ok(f)
    }

    pub(crate) fn pull_nxm(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut f = Self::empty();
        f.cookie = r.u64()?;
        f.priority = r.u16()?;
        f.reason = FlowRemovedReason::from_wire(r.u8()?)?;
        f.table = r.u8()?.checked_sub(1).map(TableId);
        (f.duration_sec, f.duration_nsec) = (r.u32()?, r.u32()?);
        f.idle_timeout = r.u16()?;
        let len = usize::from(r.u16()?);
        (f.packets, f.bytes) = (r.u64()?, r.u64()?);
        f.matching = pull_nxm(r, len)?.0;
        Ok(f)
    }

    pub(crate) fn pull11(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut f = Self::empty();
        if version >= Version::Of15 {
            f.table = Some(TableId(r.u8()?));
            f.reason = FlowRemovedReason::from_wire(r.u8()?)?;
            f.priority = r.u16()?;
            (f.idle_timeout, f.hard_timeout) = (r.u16()?, r.u16()?);
            f.cookie = r.u64()?;
            f.matching = pull_match(r)?;
            let c = pull_oxs(r)?;
            (f.duration_sec, f.duration_nsec) = c.duration.unwrap_or_default();
            (f.packets, f.bytes) = (c.packets.unwrap_or(u64::MAX), c.bytes.unwrap_or(u64::MAX));
            return Ok(f);
        }
        f.cookie = r.u64()?;
        f.priority = r.u16()?;
        f.reason = FlowRemovedReason::from_wire(r.u8()?)?;
        f.table = Some(TableId(r.u8()?));
        (f.duration_sec, f.duration_nsec) = (r.u32()?, r.u32()?);
        f.idle_timeout = r.u16()?;
        let hard = r.u16()?;
        f.hard_timeout = if version >= Version::Of12 { hard } else { 0 };
        (f.packets, f.bytes) = (r.u64()?, r.u64()?);
        f.matching = pull_match(r)?;
        Ok(f)
    }

    pub(crate) fn put(&self, w: &mut Writer, d: &Dialect) {
        let version = d.version;
        let table = self.table.unwrap_or(TableId::ALL).0;
        match (version, d.flow_format) {
            (Version::Of10, FlowFormat::OpenFlow10) => {
                put_match10(w, &self.matching);
                w.u64(self.cookie);
                w.u16(self.priority);
                w.u8(self.reason.to_wire(version));
                w.zeros(1);
                self.put_duration(w);
                w.u16(self.idle_timeout);
                w.zeros(2);
                self.put_counters(w);
            }
            (Version::Of10, FlowFormat::Nxm) => {
                w.u64(self.cookie);
                w.u16(self.priority);
                w.u8(self.reason.to_wire(version));
                w.u8(table.wrapping_add(1));
                self.put_duration(w);
                w.u16(self.idle_timeout);
                let at = w.len();
                w.zeros(2);
                self.put_counters(w);
                let len = put_nxm(w, &self.matching, None);
                w.set_u16(at, len as u16);
            }
            (Version::Of15, _) => {
                w.u8(table);
                w.u8(self.reason.to_wire(version));
                w.u16(self.priority);
                w.u16(self.idle_timeout);
                w.u16(self.hard_timeout);
                w.u64(self.cookie);
                put_match(w, &self.matching, version);
                put_oxs(
                    w,
                    &Counters {
                        duration: Some((self.duration_sec, self.duration_nsec)),
                        packets: Some(self.packets),
                        bytes: Some(self.bytes),
                        ..Counters::default()
                    },
                );
            }
            _ => {
                w.u64(self.cookie);
                w.u16(self.priority);
                w.u8(self.reason.to_wire(version));
                w.u8(table);
                self.put_duration(w);
                w.u16(self.idle_timeout);
                w.u16(if version >= Version::Of12 {
                    self.hard_timeout
                } else {
                    0
                });
                self.put_counters(w);
                put_match(w, &self.matching, version);
            }
        }
    }

    fn put_duration(&self, w: &mut Writer) {
        w.u32(self.duration_sec);
        w.u32(self.duration_nsec);
    }

    fn put_counters(&self, w: &mut Writer) {
        w.u64(self.packets);
        w.u64(self.bytes);
    }
}
