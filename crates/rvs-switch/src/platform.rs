//! What the switch asks of the world outside: devices.
//!
//! The daemon implements it with packet sockets, veth pairs and rtnetlink; the simulated switch of the tests with
//! in-memory wires. Calls are short and synchronous; what changes by itself comes back as a [`PortEvent`].

use rvs_flow::DpPort;
use rvs_packet::{MacAddr, Now};

use crate::config::IfaceKind;
use crate::qos::Qos;

/// What a port is to be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    pub name: String,
    /// The bridge that it belongs to.
    pub bridge: String,
    pub kind: IfaceKind,
    /// For internal interfaces: the user's wish, else chosen from name and database.
    pub mac: Option<MacAddr>,
    /// For internal interfaces: the user's wish.
    pub mtu: Option<u32>,
    /// Whether its frames may be switched in the kernel (tier 0), where that is possible.
    pub kernel_cache: bool,
    /// What comes in is policed, by the workers.
    pub policed: bool,
    /// The discipline at its egress; `None`: whatever somebody else put there.
    pub qos: Option<Qos>,
    /// For dummies: column `options`.
    pub options: Vec<(String, String)>,
}

/// What is known of an open port's device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkInfo {
    /// Interface index where the user sees the device; 0 when it is in another namespace.
    pub ifindex: u32,
    /// The device is in another namespace, where its MTU is its user's.
    pub elsewhere: bool,
    pub mac: MacAddr,
    pub mtu: u32,
    /// For internal interfaces: the MTU that the switch gave the device last, in an earlier life of the daemon perhaps.
    pub given_mtu: Option<u32>,
    pub admin_up: bool,
    /// Carrier: the other side is there and up.
    pub link_up: bool,
    /// What kind of device it is (`veth`, `tun`, ...), as column `status:driver_name` shows it.
    pub driver: String,
    /// `None` when the device does not tell.
    pub speed: Option<LinkSpeed>,
    /// What keeps the port from working fully, for people.
    pub note: Option<String>,
}

/// How fast a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSpeed {
    /// Bits a second.
    pub bits: u64,
    /// Both ways at once.
    pub full_duplex: bool,
}

/// Counters of a port, seen from the switch (received = came into the switch).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub rx_dropped: u64,
    pub rx_errors: u64,
    /// Of those dropped, what policing did not let in; `None`: nothing is policed.
    pub rx_policed: Option<u64>,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    pub tx_dropped: u64,
    pub tx_errors: u64,
}

impl PortCounters {
    /// What stands for a number that nobody counts (OpenFlow 1.3.5 section A.3.5.6).
    pub const NOT_COUNTED: u64 = u64::MAX;
    /// Nothing is counted.
    pub const UNKNOWN: Self = Self {
        rx_packets: Self::NOT_COUNTED,
        rx_bytes: Self::NOT_COUNTED,
        rx_dropped: Self::NOT_COUNTED,
        rx_errors: Self::NOT_COUNTED,
        rx_policed: None,
        tx_packets: Self::NOT_COUNTED,
        tx_bytes: Self::NOT_COUNTED,
        tx_dropped: Self::NOT_COUNTED,
        tx_errors: Self::NOT_COUNTED,
    };
}

/// One queue of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueCounters {
    pub queue: u32,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    /// Frames that found it full.
    pub tx_dropped: u64,
    /// Since when there is this queue, where that is known.
    pub since: Option<Now>,
}

/// Something happened to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortEvent {
    /// State, MTU, MAC or carrier of an open port changed.
    Changed(DpPort, LinkInfo),
    /// The device of an open port is gone: deleted, or moved to another namespace.
    Gone(DpPort),
    /// A device of this name is there, or is no longer what it was: whoever waits for it may try again.
    Appeared(String),
}

/// Why a port could not be opened: a text that names cause and cure, as column `error` shows it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PortError(pub String);

pub trait Platform {
    /// The number that a port should have: the one of an earlier daemon's life, if it is the same device. Asked for before
    /// [`Self::open`]. `None` leaves it to the switch, which gives none twice.
    fn number(&mut self, _spec: &PortSpec) -> Option<DpPort> {
        None
    }

    /// Whether ports are in memory, without devices.
    fn dummies(&self) -> bool {
        false
    }

    /// Opens a device as port `dp`: from here on its frames come to the datapath.
    fn open(&mut self, dp: DpPort, spec: &PortSpec) -> Result<LinkInfo, PortError>;

    /// Ends the port. `destroy`: what the switch itself made for it is removed too.
    fn close(&mut self, dp: DpPort, destroy: bool);

    /// Removes what the switch itself once made for a port that is not open.
    fn destroy(&mut self, spec: &PortSpec);

    /// Changes MAC or MTU of an internal interface, or where a port's frames are switched.
    fn adjust(&mut self, dp: DpPort, spec: &PortSpec) -> Result<LinkInfo, PortError>;

    /// Sets the port's device administratively up or down.
    fn set_up(&mut self, dp: DpPort, up: bool);

    fn counters(&mut self, dp: DpPort) -> PortCounters;

    /// What the queues of a port have sent; none where there are no queues.
    fn queues(&mut self, _dp: DpPort) -> Vec<QueueCounters> {
        Vec::new()
    }
}
