//! Ports: where frames enter and leave the switch, and the devices behind them.
//!
//! - [`traits`] say what the switch sees: a [`FrameSource`] gives frames that each carry their port, a [`FrameSink`] takes
//!   them for a port. Behind them stand packet sockets on existing devices ([`packet`]), taps ([`tap`]), wires in memory
//!   ([`memory`]) and files ([`pcap`]); [`sink`] gathers many ports into one sink, [`fault`] makes a source unreliable.
//! - [`rtnl`] lists, watches, makes and changes the devices; [`internal`] builds the switch's own ports of them.
//!
//! **One way through.** Whatever the port, a frame comes with the offload metadata that the kernel gave it and leaves with
//! what is left of them: the vnet header ([`vnet`]) is always there, both ways. What it can't say (a super-frame inside a
//! tunnel or behind labels) is cut here, what the device's MTU doesn't allow is dropped here, and each loss has a counter
//! of its own in [`PortStats`]. A refused frame never holds up the frames behind it.
//!
//! **Threads.** Each port has two halves. The receiving half belongs to one thread (`&mut self`); the sending half is shared
//! (`&self`, [`Transmit`]) and each thread brings its own buffers. Nothing here blocks, except [`rtnl::Rtnl`]'s requests,
//! which the kernel answers at once.
//!
//! **Namespaces.** Sockets belong to the network namespace of the thread that opens them, and go on to do so.
//!
//! **Unsafe** code is in `sys` and nowhere else.
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod egress;
pub mod fault;
pub mod internal;
mod late;
pub mod memory;
pub mod packet;
pub mod pcap;
pub mod rtnl;
pub mod sink;
mod sorted;
pub mod stats;
mod sys;
pub mod tap;
pub mod traits;
mod tx;
pub mod vlan;
pub mod vnet;

pub use fault::{FaultCounts, Faults, FaultySource};
pub use memory::MemoryPort;
pub use packet::{OpenError, PacketConfig, PacketRx, PacketTx};
pub use pcap::{PcapError, PcapSink, PcapSource};
pub use sink::PortSink;
pub use stats::PortStats;
pub use traits::{FrameSink, FrameSource, Liveness, PortNo, Received, Transmit, TxScratch};

/// Gives memory that the process has freed back to the system. Who allocates or frees meanwhile may wait.
pub fn give_back_memory() {
    sys::heap::trim();
}
