//! Flow monitors: Nicira's up to 1.2, ONF's of 1.3, the standard's from 1.4 on.

use rvs_flow::OfPort;

use super::flow::FlowRemovedReason;
use super::port::pull_port;
use crate::action::{pull_actions, put_actions, ListContext};
use crate::error::{ErrorCode, OfError};
use crate::instruction::{pull_instructions, show_instructions};
use crate::model::{GroupId, Instructions, TableId};
use crate::oxm::{pull_match, pull_nxm, put_match, put_nxm, FlowMatch};
use crate::version::Version;
use crate::wire::{EncodeError, Reader, Writer};

/// What a monitor reports (`OFPFMF_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MonitorFlags(pub u16);

impl MonitorFlags {
    /// The flows that match now.
    pub const INITIAL: Self = Self(1 << 0);
    pub const ADD: Self = Self(1 << 1);
    pub const REMOVED: Self = Self(1 << 2);
    pub const MODIFY: Self = Self(1 << 3);
    pub const INSTRUCTIONS: Self = Self(1 << 4);
    /// The connection's own changes in full; `OWN` of Nicira's and ONF's.
    pub const NO_ABBREV: Self = Self(1 << 5);
    /// OpenFlow 1.4 and later.
    pub const ONLY_OWN: Self = Self(1 << 6);

    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    fn pull(v: u16, version: Version) -> Result<Self, OfError> {
        let known = if version >= Version::Of14 { 0x7f } else { 0x3f };
        let events = Self::ADD.0 | Self::REMOVED.0 | Self::MODIFY.0;
        if v & !known != 0 || v & events == 0 {
            return Err(ErrorCode::MofcBadFlags.because(format!(
                "flow monitor flags {v:#x}; at least one of add, delete and modify, none beyond {known:#x}"
            )));
        }
        Ok(Self(v))
    }
}

/// `OFPFMC_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MonitorCommand {
    Add,
    /// OpenFlow 1.4, as is [`Self::Delete`]; older versions cancel by a message of its own.
    Modify,
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowMonitorRequest {
    pub id: u32,
    pub command: MonitorCommand,
    pub flags: MonitorFlags,
    pub out_port: OfPort,
    /// OpenFlow 1.4 and later.
    pub out_group: GroupId,
    pub table: TableId,
    pub matching: FlowMatch,
}

impl FlowMonitorRequest {
    /// Takes the next request of a message.
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        match version {
            Version::Of10 | Version::Of11 | Version::Of12 => Self::pull_nicira(r, version),
            Version::Of13 => Self::pull_onf(r),
            _ => Self::pull14(r, version),
        }
    }

    fn pull_nicira(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let id = r.u32()?;
        let flags = MonitorFlags::pull(r.u16()?, version)?;
        let out_port = OfPort::from_u16(r.u16()?);
        let len = usize::from(r.u16()?);
        let table = TableId(r.u8()?);
        r.zeros(5, ErrorCode::NxbrcMustBeZero)?;
        Ok(Self {
            id,
            command: MonitorCommand::Add,
            flags,
            out_port,
            out_group: GroupId::ANY,
            table,
            matching: pull_nxm(r, len)?.0,
        })
    }

    fn pull_onf(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let id = r.u32()?;
        let flags = MonitorFlags::pull(r.u16()?, Version::Of13)?;
        r.skip(2)?;
        let out_port = pull_port(r, Version::Of13)?;
        let table = TableId(r.u8()?);
        r.zeros(3, ErrorCode::NxbrcMustBeZero)?;
        Ok(Self {
            id,
            command: MonitorCommand::Add,
            flags,
            out_port,
            out_group: GroupId::ANY,
            table,
            matching: pull_match(r)?,
        })
    }

    fn pull14(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let id = r.u32()?;
        let out_port = pull_port(r, version)?;
        let out_group = GroupId(r.u32()?);
        let flags = r.u16()?;
        let table = TableId(r.u8()?);
        let command = match r.u8()? {
            0 => MonitorCommand::Add,
            1 => MonitorCommand::Modify,
            2 => MonitorCommand::Delete,
            n => {
                return Err(ErrorCode::MofcBadCommand
                    .because(format!("flow monitor command {n}; known are 0 to 2")))
            }
        };
        Ok(Self {
            id,
            command,
            flags: match command {
                MonitorCommand::Delete => MonitorFlags(0),
                _ => MonitorFlags::pull(flags, version)?,
            },
            out_port,
            out_group,
            table,
            matching: pull_match(r)?,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        if version < Version::Of14 && self.command != MonitorCommand::Add {
            w.not_in_version("modify or delete of a flow monitor");
        }
        w.u32(self.id);
        match version {
            Version::Of10 | Version::Of11 | Version::Of12 => {
                w.u16(self.flags.0);
                match self.out_port.to_u16() {
                    Some(p) => w.u16(p),
                    None => w.fault(EncodeError::Port(self.out_port.0)),
                }
                let at = w.len();
                w.zeros(2);
                w.u8(self.table.0);
                w.zeros(5);
                let len = put_nxm(w, &self.matching, None);
                w.set_u16(at, len as u16);
            }
            Version::Of13 => {
                w.u16(self.flags.0);
                let at = w.len();
                w.zeros(2);
                w.u32(self.out_port.0);
                w.u8(self.table.0);
                w.zeros(3);
                let start = w.len();
                put_match(w, &self.matching, version);
                w.set_len(at, start, "match");
            }
            _ => {
                w.u32(self.out_port.0);
                w.u32(self.out_group.0);
                w.u16(self.flags.0);
                w.u8(self.table.0);
                w.u8(self.command as u8);
                put_match(w, &self.matching, version);
            }
        }
    }
}

/// `OFPFME_*` of updates with a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowEvent {
    /// There when the monitor was made; an add before 1.4.
    Initial,
    Added,
    /// Why is said by the reason.
    Removed(FlowRemovedReason),
    Modified,
}

/// One flow that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowChange {
    pub event: FlowEvent,
    pub table: TableId,
    pub priority: u16,
    pub idle_timeout: u16,
    pub hard_timeout: u16,
    pub cookie: u64,
    pub matching: FlowMatch,
    /// Empty unless asked for; before 1.3 the actions alone.
    pub instructions: Instructions,
}

/// One update of a flow monitor reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowUpdate {
    Flow(Box<FlowChange>),
    /// What the connection's own request of this transaction id did.
    Abbrev {
        xid: u32,
    },
    /// OpenFlow 1.4 and later, as is [`Self::Resumed`]; older versions have messages for it.
    Paused,
    Resumed,
}

const NX_ABBREV: u16 = 3;
const ABBREV: u16 = 4;
const PAUSED: u16 = 5;
const RESUMED: u16 = 6;

fn bad_event(n: u16) -> OfError {
    ErrorCode::NxbrcFmBadEvent.because(format!("flow monitor event {n} is not known"))
}

impl FlowUpdate {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut e = r.element8(0, 8)?;
        e.skip(2)?;
        let event = e.u16()?;
        if version < Version::Of14 {
            return match event {
                NX_ABBREV => Ok(Self::Abbrev { xid: e.u32()? }),
                0..=2 => FlowChange::pull_old(&mut e, event, version),
                _ => Err(bad_event(event)),
            };
        }
        match event {
            ABBREV => Ok(Self::Abbrev { xid: e.u32()? }),
            PAUSED => Ok(Self::Paused),
            RESUMED => Ok(Self::Resumed),
            0..=3 => FlowChange::pull14(&mut e, event, version),
            _ => Err(bad_event(event)),
        }
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        let old = version < Version::Of14;
        let start = w.len();
        w.zeros(2);
        match self {
            Self::Abbrev { xid } => {
                w.u16(if old { NX_ABBREV } else { ABBREV });
                w.u32(*xid);
            }
            Self::Paused | Self::Resumed if old => {
                w.not_in_version("pause among the updates of a flow monitor");
            }
            Self::Paused => {
                w.u16(PAUSED);
                w.zeros(4);
            }
            Self::Resumed => {
                w.u16(RESUMED);
                w.zeros(4);
            }
            Self::Flow(f) if old => f.put_old(w, version),
            Self::Flow(f) => f.put14(w, version),
        }
        w.set_len(start, start, "flow update");
    }
}

impl FlowChange {
    fn pull_old(r: &mut Reader<'_>, event: u16, version: Version) -> Result<FlowUpdate, OfError> {
        let reason = r.u16()?;
        let event = match event {
            0 => FlowEvent::Added,
            1 => FlowEvent::Removed(FlowRemovedReason::from_wire(reason.min(255) as u8)?),
            _ => FlowEvent::Modified,
        };
        let (priority, idle_timeout, hard_timeout) = (r.u16()?, r.u16()?, r.u16()?);
        let len = usize::from(r.u16()?);
        let table = TableId(r.u8()?);
        r.skip(1)?;
        let cookie = r.u64()?;
        let (matching, instructions) = if version == Version::Of13 {
            let m = pull_match(r)?;
            (m, pull_instructions(r, version)?)
        } else {
            let m = pull_nxm(r, len)?.0;
            (m, Instructions::apply(pull_actions(r, version)?))
        };
        Ok(FlowUpdate::Flow(Box::new(Self {
            event,
            table,
            priority,
            idle_timeout,
            hard_timeout,
            cookie,
            matching,
            instructions,
        })))
    }

    fn pull14(r: &mut Reader<'_>, event: u16, version: Version) -> Result<FlowUpdate, OfError> {
        let table = TableId(r.u8()?);
        let reason = r.u8()?;
        let event = match event {
            0 => FlowEvent::Initial,
            1 => FlowEvent::Added,
            2 => FlowEvent::Removed(FlowRemovedReason::from_wire(reason)?),
            _ => FlowEvent::Modified,
        };
        let (idle_timeout, hard_timeout, priority) = (r.u16()?, r.u16()?, r.u16()?);
        r.skip(4)?;
        let cookie = r.u64()?;
        let matching = pull_match(r)?;
        Ok(FlowUpdate::Flow(Box::new(Self {
            event,
            table,
            priority,
            idle_timeout,
            hard_timeout,
            cookie,
            matching,
            instructions: pull_instructions(r, version)?,
        })))
    }

    fn put_old(&self, w: &mut Writer, version: Version) {
        let (event, reason) = match self.event {
            FlowEvent::Initial | FlowEvent::Added => (0, 0),
            // Nicira's message knows all reasons, whatever the version.
            FlowEvent::Removed(why) => (1, why as u16),
            FlowEvent::Modified => (2, 0),
        };
        w.u16(event);
        w.u16(reason);
        w.u16(self.priority);
        w.u16(self.idle_timeout);
        w.u16(self.hard_timeout);
        let at = w.len();
        w.zeros(2);
        w.u8(self.table.0);
        w.zeros(1);
        w.u64(self.cookie);
        if version == Version::Of13 {
            let start = w.len();
            put_match(w, &self.matching, version);
            w.set_len(at, start, "match");
            show_instructions(w, &self.instructions, &self.matching, version);
        } else {
            let len = put_nxm(w, &self.matching, None);
            w.set_u16(at, len as u16);
            let cx = ListContext::of_flow(version, &self.matching);
            put_actions(w, &self.instructions.apply, cx);
        }
    }

    fn put14(&self, w: &mut Writer, version: Version) {
        let (event, reason) = match self.event {
            FlowEvent::Initial => (0, 0),
            FlowEvent::Added => (1, 0),
            FlowEvent::Removed(why) => (2, why.to_wire(version)),
            FlowEvent::Modified => (3, 0),
        };
        w.u16(event);
        w.u8(self.table.0);
        w.u8(reason);
        w.u16(self.idle_timeout);
        w.u16(self.hard_timeout);
        w.u16(self.priority);
        w.zeros(4);
        w.u64(self.cookie);
        put_match(w, &self.matching, version);
        show_instructions(w, &self.instructions, &self.matching, version);
    }
}
