//! Tier 3: what the switch means to do with a packet.
//!
//! A [`World`] is an immutable snapshot of every bridge: ports, VLAN modes, tables, groups, meters. [`translate`] is a pure
//! function from a snapshot (with the MAC tables) and a flow key to a [`Translation`]: the actions for the caches, the mask
//! of every bit of the key that was consulted, and what else has to happen, as data. The same function serves misses,
//! revalidation and `ofproto/trace`; they differ in what they do with the answer.
//!
//! [`mod@reference`] is the same meaning again, written to be obviously right: it interprets the tables on the frame itself,
//! without caches, masks or composition. The property tests judge one by the other.
#![forbid(unsafe_code)]

mod bridge;
mod change;
mod mirror;
mod numbered;
mod ports;
pub mod reference;
mod table;
mod trace;
mod translate;
mod translation;
mod world;

pub use bridge::{
    Bridge, BridgeId, FragMode, GroupCounters, GroupEntry, MeterEntry, Miss, Settings, TableConfig,
};
pub use change::{ChangeSet, RuleChange};
pub use mirror::{Mirror, MirrorOutput, MirrorPorts, Mirrors, MAX_MIRRORS};
pub use numbered::{Groups, Meters, Numbered};
pub use ports::{BadPorts, Bundle, Port, PortConfig, PortKind, PortTraffic, Ports, StpState};
pub use table::{Counters, Rule, RuleFlags, Table, Tables, Unused};
pub use trace::{NoTrace, Recorder, Trace, TraceEvent, TraceLine};
pub use translate::limits::STACK;
pub use translate::output::{frame_priority, queue_priority, QUEUES};
pub use translate::{translate, translate_actions};
pub use translation::{
    CachedEffect, Deps, FrozenRest, FrozenState, FrozenStates, FrozenThen, GroupDep, LearnedFlow,
    MacDep, PacketInNote, PuntNote, TableDep, Translation,
};
pub use world::{MacTables, PipelineView, World};
