//! The OpenFlow agent of a bridge, without I/O.
//!
//! Two rooms. [`state`] is the one writer of a bridge's tables, groups and meters: it applies modifications at a version
//! that no packet sees yet, and publishes all of it at once or nothing. [`agent`] holds the connections: bytes in, bytes
//! out, handshake, roles, statistics, packets to and from controllers. Both reach the rest of the switch through one
//! trait, [`Plant`].
//!
//! **An OpenFlow message**, walked: bytes -> `Framer` -> `Dialect::decode` -> `agent` (role, bundle, dispatch) -> `state`
//! (rules at version n+1) -> [`Plant::publish`] (packets see n+1; cached flows that the change may touch are judged again) ->
//! barrier: [`Plant::settle`] -> reply.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod agent;
mod plant;
pub mod state;
#[cfg(test)]
mod testing;

use rvs_openflow::Version;

pub use plant::Plant;
pub use state::TableLimit;

/// A connection of an agent; not reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Who asks for a modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author {
    /// `None`: the switch itself (a learn action, a configuration change).
    pub conn: Option<ConnId>,
    /// Some commands mean different things in different versions.
    pub version: Version,
    /// Transaction id of the request.
    pub xid: u32,
}
