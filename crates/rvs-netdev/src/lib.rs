//! Ports: where frames enter and leave the switch.
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod fault;
pub mod internal;
pub mod memory;
pub mod packet;
pub mod pcap;
pub mod rtnl;
pub mod sink;
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
