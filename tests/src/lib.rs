//! What the system tests stand on: a runner that gives each test a machine of its own, and words to describe it.
#![forbid(unsafe_code)]
// A test that can't go on says why by failing.
#![allow(clippy::unwrap_used)]

pub mod daemon;
pub mod harness;
pub mod lab;
pub mod peer;
pub mod traffic;
pub mod wire;

pub use daemon::Daemon;
pub use harness::Test;
pub use lab::{eventually, Lab, Ran};
pub use peer::{Peer, Under, BRIDGE};
pub use wire::Wires;
