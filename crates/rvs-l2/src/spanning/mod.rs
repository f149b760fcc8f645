//! Spanning trees: STP and RSTP.
//!
//! Several bridges with more than one way between them would send frames in circles. They agree on a tree: the bridge with
//! the smallest identifier is its root, every other one keeps its cheapest way there (the *root port*), every segment the
//! bridge through which it reaches the root (whose port is *designated*), and all other ports discard. What they tell each
//! other are BPDUs; [`SpanningTree`] takes those and the time, and says which ports may learn and forward, what is to be
//! sent, and where learned addresses may have moved.
//!
//! **One machine for both protocols**, that of IEEE 802.1D-2004 clause 17 (802.1w as revised). With [`Config::rapid`] off it
//! is that standard's STP compatibility mode (*force protocol version* 0): BPDUs of the old protocol alone, and no port
//! forwards before it has listened and learned for a forward delay each. Against 802.1D-1998 it differs in one thing: what a
//! neighbour said is forgotten when three hellos in a row are missing, not after `max_age`.
//!
//! **Order.** Whoever drives it makes the ports' new states true before it sends: an agreement promises that the other ports
//! discard.
//!
//! **Bounds.** Work per event is bounded by rounds over the ports; output by the transmit hold count. Timers count whole
//! seconds. Not thread-safe, and need not be: control owns it.

mod bpdu;
mod machine;
mod port;
#[cfg(test)]
mod tests;
mod tree;
mod vector;

pub use bpdu::{in_frame, to_frame, BadBpdu, Body, Bpdu, Says, BRIDGE_GROUP};
pub use port::{Forwarding, PortConfig, PortCounters, Role};
pub use tree::{Config, Event, PortStatus, RootStatus, SpanningTree, MAX_PORTS};
pub use vector::{BridgeId, PortId, Times, Vector};
