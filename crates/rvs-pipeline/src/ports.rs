//! Ports of a bridge, twice: one by one as OpenFlow sees them, and in bundles as NORMAL sees them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use ahash::AHashMap;
use rvs_flow::{DpPort, OfPort};
use rvs_l2::{BundleId, PriorityTags, VlanMode};
use rvs_packet::MacAddr;

use crate::bridge::BridgeId;

/// What a port is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// A device of the datapath, the bridge's own interface included.
    Device(DpPort),
    /// One end of a patch: frames go on in the other bridge within the same translation. `None` while the peer is missing
    /// or does not name this port.
    Patch { peer: Option<(BridgeId, OfPort)> },
}

/// `OFPPC_*`: what a controller has configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortConfig {
    pub down: bool,
    /// The port takes no part in the spanning tree.
    pub no_stp: bool,
    /// Frames that come in are dropped, but those of the spanning tree.
    pub no_recv: bool,
    /// Frames of the spanning tree that come in are dropped.
    pub no_recv_stp: bool,
    pub no_flood: bool,
    pub no_fwd: bool,
    pub no_packet_in: bool,
}

/// Spanning tree's word about a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StpState {
    /// Spanning tree does not run: everything passes.
    #[default]
    Disabled,
    Blocking,
    Listening,
    Learning,
    Forwarding,
}

impl StpState {
    pub const fn forwards(self) -> bool {
        matches!(self, Self::Disabled | Self::Forwarding)
    }

    pub const fn learns(self) -> bool {
        matches!(self, Self::Disabled | Self::Learning | Self::Forwarding)
    }
}

/// Frames that no device counts: over a patch port, or into a mirror.
#[derive(Debug, Default)]
pub struct PortTraffic {
    rx_packets: AtomicU64,
    rx_bytes: AtomicU64,
    tx_packets: AtomicU64,
    tx_bytes: AtomicU64,
}

impl PortTraffic {
    pub fn count_rx(&self, packets: u64, bytes: u64) {
        self.rx_packets.fetch_add(packets, Relaxed);
        self.rx_bytes.fetch_add(bytes, Relaxed);
    }

    pub fn count_tx(&self, packets: u64, bytes: u64) {
        self.tx_packets.fetch_add(packets, Relaxed);
        self.tx_bytes.fetch_add(bytes, Relaxed);
    }

    /// (packets, bytes) received.
    pub fn rx(&self) -> (u64, u64) {
        (self.rx_packets.load(Relaxed), self.rx_bytes.load(Relaxed))
    }

    /// (packets, bytes) sent.
    pub fn tx(&self) -> (u64, u64) {
        (self.tx_packets.load(Relaxed), self.tx_bytes.load(Relaxed))
    }
}

/// One OpenFlow port.
#[derive(Clone, Debug)]
pub struct Port {
    pub of: OfPort,
    pub kind: PortKind,
    pub name: Arc<str>,
    pub mac: MacAddr,
    /// The bundle that NORMAL knows it by.
    pub bundle: BundleId,
    pub config: PortConfig,
    /// The device is there, up and has carrier.
    pub live: bool,
    pub stp: StpState,
    /// Octets of payload that the device carries; too big a frame is dropped where it leaves.
    pub mtu: u32,
    /// Of patch ports.
    pub traffic: Arc<PortTraffic>,
    /// What queues write into the DSCP of what they send: a queue's priority, as translations choose it, and the six bits.
    pub dscp: Arc<[(u32, u8)]>,
}

impl Port {
    /// A live port over a device, in a bundle of its own number.
    pub fn device(of: OfPort, dp: DpPort, name: &str) -> Self {
        Self::new(of, PortKind::Device(dp), name)
    }

    /// A live patch port, in a bundle of its own number.
    pub fn patch(of: OfPort, peer: Option<(BridgeId, OfPort)>, name: &str) -> Self {
        Self::new(of, PortKind::Patch { peer }, name)
    }

    fn new(of: OfPort, kind: PortKind, name: &str) -> Self {
        Self {
            of,
            kind,
            name: name.into(),
            mac: MacAddr::ZERO,
            bundle: BundleId(of.0),
            config: PortConfig::default(),
            live: true,
            stp: StpState::Disabled,
            mtu: 1500,
            traffic: Arc::default(),
            dscp: Arc::default(),
        }
    }

    pub const fn dp(&self) -> Option<DpPort> {
        match self.kind {
            PortKind::Device(dp) => Some(dp),
            PortKind::Patch { .. } => None,
        }
    }
}

/// A port as NORMAL sees it: one row of the `Port` table with its interfaces.
#[derive(Clone, Debug)]
pub struct Bundle {
    pub id: BundleId,
    pub name: Arc<str>,
    /// In the order of preference; a bundle sends through its first live member, and NORMAL takes frames from that one alone.
    pub members: Vec<OfPort>,
    pub vlan: VlanMode,
    pub priority_tags: PriorityTags,
    /// Protected ports do not talk to each other.
    pub protected: bool,
}

impl Bundle {
    /// The bundle of a single port, named and numbered as the port.
    pub fn of_port(port: &Port, vlan: VlanMode) -> Self {
        Self {
            id: port.bundle,
            name: port.name.clone(),
            members: vec![port.of],
            vlan,
            priority_tags: PriorityTags::No,
            protected: false,
        }
    }
}

/// The ports of a bridge: the only place where OpenFlow and datapath numbers meet.
#[derive(Clone, Debug, Default)]
pub struct Ports {
    by_of: AHashMap<OfPort, Port>,
    /// Every port number, ascending.
    numbers: Vec<OfPort>,
    bundles: BTreeMap<BundleId, Bundle>,
}

/// Ports and bundles that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPorts {
    #[error("OpenFlow port {0} appears twice")]
    DuplicateNumber(OfPort),
    #[error("datapath port {0} appears twice")]
    DuplicateDevice(DpPort),
    #[error("bundle {0:?} appears twice")]
    DuplicateBundle(BundleId),
    #[error("port {0} is in a bundle that does not exist or does not name it")]
    NotInBundle(OfPort),
    #[error("a bundle names port {0}, which does not exist or is in another one")]
    NoSuchMember(OfPort),
}

impl Ports {
    /// # Errors
    /// When a number appears twice, or a port and its bundle disagree about each other.
    pub fn new(
        ports: impl IntoIterator<Item = Port>,
        bundles: impl IntoIterator<Item = Bundle>,
    ) -> Result<Self, BadPorts> {
        let mut made = Self::default();
        let mut devices = AHashMap::default();
        for p in ports {
            if let Some(dp) = p.dp() {
                if devices.insert(dp, p.of).is_some() {
                    return Err(BadPorts::DuplicateDevice(dp));
                }
            }
            let of = p.of;
            if made.by_of.insert(of, p).is_some() {
                return Err(BadPorts::DuplicateNumber(of));
            }
        }
        for b in bundles {
            if let Some(of) = b
                .members
                .iter()
                .find(|of| made.by_of.get(of).is_none_or(|p| p.bundle != b.id))
            {
                return Err(BadPorts::NoSuchMember(*of));
            }
            let id = b.id;
            if made.bundles.insert(id, b).is_some() {
                return Err(BadPorts::DuplicateBundle(id));
            }
        }
        for p in made.by_of.values() {
            if made
                .bundles
                .get(&p.bundle)
                .is_none_or(|b| !b.members.contains(&p.of))
            {
                return Err(BadPorts::NotInBundle(p.of));
            }
        }
        made.numbers = made.by_of.keys().copied().collect();
        made.numbers.sort_unstable();
        Ok(made)
    }

    /// Single ports with their VLAN modes.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn singles(ports: impl IntoIterator<Item = (Port, VlanMode)>) -> Result<Self, BadPorts> {
        let (ports, bundles): (Vec<_>, Vec<_>) = ports
            .into_iter()
            .map(|(p, vlan)| {
                let b = Bundle::of_port(&p, vlan);
                (p, b)
            })
            .unzip();
        Self::new(ports, bundles)
    }

    /// These ports, one of them configured anew. A port that is not there stays away.
    pub fn with_config(&self, of: OfPort, config: PortConfig) -> Self {
        let mut ports = self.clone();
        if let Some(p) = ports.by_of.get_mut(&of) {
            p.config = config;
        }
        ports
    }

    pub fn get(&self, of: OfPort) -> Option<&Port> {
        self.by_of.get(&of)
    }

    pub fn by_name(&self, name: &str) -> Option<&Port> {
        self.iter().find(|p| &*p.name == name)
    }

    pub fn by_dp(&self, dp: DpPort) -> Option<&Port> {
        self.iter().find(|p| p.dp() == Some(dp))
    }

    /// Every port, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Port> {
        self.numbers.iter().filter_map(|of| self.by_of.get(of))
    }

    pub fn bundle(&self, id: BundleId) -> Option<&Bundle> {
        self.bundles.get(&id)
    }

    /// The member that a bundle sends through: the first that is live, or the first of all.
    pub fn active(&self, bundle: &Bundle) -> Option<&Port> {
        let mut members = bundle.members.iter().filter_map(|of| self.get(*of));
        let first = members.clone().next();
        members.find(|p| p.live && p.stp.forwards()).or(first)
    }

    /// Every bundle, by id.
    pub fn bundles(&self) -> impl Iterator<Item = &Bundle> {
        self.bundles.values()
    }

    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}
