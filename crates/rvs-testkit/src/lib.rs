//! The test kit: the switch that ships, on a bench.
//!
//! [`TestSwitch`] is `rvs-switch`, `rvs-slowpath` and `rvs-datapath` wired as the daemon wires them, in one thread, in
//! virtual time, with wires in memory. Nothing of the product is replaced but the rim ([`wires::Wires`]): devices, the clock,
//! and the channels between threads. It is configured as a user configures it, by OVSDB transactions over a client session.
//!
//! Around it: [`packet`] builds frames, [`host`] puts real TCP/IP stacks on ports, [`counters`] says what must have been
//! counted and that nothing else was, [`openflow`] is a controller, [`oracle`] says what must have left (by the naive interpreter) and that every cached
//! entry is true, [`capture`] keeps the last frames for the one who debugs, [`seed`] makes a failure repeatable, and
//! [`fuzz`] holds the fuzz targets.
//!
//! One seed, one run: no clock is read and no thread started. A test of this kit may panic where the product may not.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

pub mod capture;
pub mod config;
pub mod counters;
pub mod flows;
pub mod fuzz;
pub mod host;
pub mod openflow;
pub mod oracle;
pub mod packet;
pub mod seed;
pub mod switch;
pub mod wires;

pub use counters::Snapshot;
pub use host::{Lan, SimHost};
pub use packet::Packet;
pub use switch::{Setup, TestSwitch};
