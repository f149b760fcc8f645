//! The one writer of a bridge's tables, groups and meters.

use rvs_openflow::message::{
    FlowMod, FlowRemoved, GroupMod, MeterMod, PacketOut, PortMod, PortStatus, TableConfig,
    TableFeatures, TableStatus,
};
use rvs_openflow::Instructions;

use crate::Author;

/// A change that a controller asks for: what a bundle may hold, and what a single message may ask.
#[derive(Clone, Debug, PartialEq)]
pub enum Mod {
    Flow(Box<FlowMod>),
    Group(Box<GroupMod>),
    Meter(Box<MeterMod>),
    Table(TableConfig),
    TableFeatures(Vec<TableFeatures>),
    Port(Box<PortMod>),
    /// Runs after everything before it has been published.
    PacketOut(Box<PacketOut>),
}

/// Something that happened, for connections to be told. The state collects, the agent hands out.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A flow that asked for it is gone; its counters are final.
    FlowRemoved(Box<FlowRemoved>),
    /// For flow monitors.
    FlowChanged(Box<FlowChanged>),
    PortStatus(Box<PortStatus>),
    TableStatus(TableStatus),
    /// A group-mod or meter-mod succeeded, for other controllers that asked to hear of it.
    Requested(Box<Mod>, Author),
}

/// How a flow changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowChangeKind {
    Added,
    Modified,
    Removed(rvs_openflow::message::FlowRemovedReason),
}

/// A flow that was added, changed or removed.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowChanged {
    pub kind: FlowChangeKind,
    pub by: Author,
    pub table: rvs_openflow::TableId,
    pub priority: u16,
    pub cookie: u64,
    pub idle_timeout: u16,
    pub hard_timeout: u16,
    pub matching: rvs_openflow::FlowMatch,
    pub instructions: Instructions,
}
