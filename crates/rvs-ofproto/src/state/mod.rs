//! The one writer of a bridge's tables, groups and meters.
//!
//! [`Ofproto`] takes modifications and makes them what packets see, all of a request or nothing. The published
//! [`rvs_pipeline::Bridge`] is the book: flows are in its tables' classifiers, groups and meters in its maps; nothing is
//! kept twice. Beside it there is an [index](index) of what those don't answer quickly, and a [transaction](txn) that makes
//! a change, or takes it back.
//!
//! - [`flow_mod`], [`group_mod`], [`meter_mod`], [`table_mod`], [`port_mod`]: what controllers ask for.
//! - [`learn`], [`expiry`], [`trigger`]: what packets and time do.
//! - [`slices`], [`sweep`], [`doomed`], [`ready`]: requests about many flows, done little by little, or made ready before their
//!   time; [`commit`]: what follows when they are done.
//! - [`select`], [`dump`], [`stats`]: reading, pinned to a version.
//!
//! Invariants: packets see the version before a request or the one after, nothing between, and flows that go with their last teacher
//! (`delete_learned`) go in the same one; a request that fails leaves no trace; a removed flow's
//! counters are final when it is told of; work in one call is bounded, or done in slices between which packets get at the tables.

mod commit;
mod doomed;
mod dump;
mod evictable;
mod expiry;
mod flow_mod;
mod garbage;
mod group_mod;
mod index;
mod learn;
mod limits;
mod meter_mod;
mod ofproto;
mod port_mod;
mod ready;
mod select;
mod slices;
mod stats;
mod sweep;
mod table_mod;
#[cfg(test)]
mod tests;
mod trigger;
mod txn;
mod uses;

use rvs_openflow::message::{
    FlowMod, FlowRemoved, FlowStats, GroupMod, MeterMod, PacketOut, PortMod, PortStatus,
    TableConfig, TableFeatures, TableStatus,
};
use rvs_openflow::{Instructions, Version};

use crate::Author;

pub use dump::{aggregate, flow_stats, FlowDump, FlowView};
pub use limits::Limits;
pub use ofproto::Ofproto;
pub use ready::{Masks, ReadyAdd};
pub use select::FlowSelect;
pub use slices::{Outcome, Task, Tasks};
pub use table_mod::TableLimit;
pub(crate) use uses::{forwards_to, outputs_to};

impl Author {
    /// The switch itself: timeouts, learn actions, configuration.
    pub(crate) const fn switch() -> Self {
        Self {
            conn: None,
            version: Version::Of15,
            xid: 0,
        }
    }
}

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
    /// A port that has just been added is live: nothing that 1.0 could say.
    PortLive(Box<PortStatus>),
    TableStatus(TableStatus),
    /// Flows that crossed a threshold of their statistics.
    StatTriggered(Vec<FlowStats>),
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
    /// What they were before a modification, or an add that took the place of a flow.
    pub before: Option<Instructions>,
    /// When the flow was added.
    pub created: rvs_packet::Now,
    /// When it was last changed.
    pub changed: rvs_packet::Now,
    /// There may have been another flow in its place when it was added.
    pub replaces: bool,
}
