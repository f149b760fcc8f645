//! The connections of a bridge: bytes in, bytes out.
//!
//! An [`Agent`] owns the connections of one bridge and its [`state`](crate::state). It does no I/O: whoever owns the sockets
//! hands it what arrives ([`Agent::input`]), gives it turns ([`Agent::turn`]), and sends what waits ([`Agent::output`]).
//!
//! **A request**, walked: [`Agent::input`] -> `Connection::step` (frame, decode in the connection's dialect; HELLO and ECHO
//! end here) -> `Agent::dispatch` -> the state, or a reply -> `Agent::hand_out` (what the request caused is told to
//! everybody before it is answered) -> outbox. An error goes back with the start of the request.
//!
//! Invariants:
//! - Requests of a connection are handled, and answered, in order. A long reply is written in slices (`job`), and what
//!   follows waits for it.
//! - Everything that waits is bounded ([`limits`]): input, replies, packet-ins, bundles, monitors, paused translations. A
//!   peer that doesn't read, dribbles, or never says HELLO costs its own connection.
//! - A turn is bounded, so that no connection starves another, or the packets.
//! - A barrier is answered when no packet can meet what was before it ([`crate::Plant::settle`]).
//! - Packet-ins wait apart, fair by port, and never in front of replies.

#[allow(clippy::module_inception)]
mod agent;
mod async_config;
mod bundle;
mod connection;
mod continuation;
mod dispatch;
mod events;
mod job;
pub mod limits;
mod log;
mod monitor;
mod multipart;
mod outbox;
mod packet_in;
mod queue;
mod role;
mod roster;
mod status;
#[cfg(test)]
mod tests;

pub use agent::{Agent, Identity};
pub use queue::PacketInCounters;
pub use status::{CloseReason, ConnKind, ConnOptions, ConnStatus};
