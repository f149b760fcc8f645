//! Bridges, ports and interfaces as they are, and what a change touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rvs_flow::{DpPort, OfPort};
use rvs_ovsdb::Uuid;
use rvs_packet::MacAddr;

use super::Topology;
use crate::config::{BridgeConfig, IfaceConfig, IfaceKind, PortConfig};
use crate::mirrors::MirrorState;
use crate::patch::Patch;
use crate::platform::{LinkInfo, Platform, PortSpec};
use crate::qos::Qos;

/// Why an interface is not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its name is one that Open vSwitch keeps for devices of its own. As there, the log says so and the row does not.
    ReservedName,
    /// In words that name cause and cure.
    Because(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedName => {
                "its name is reserved for Open vSwitch's own devices; choose another"
            }
            Self::Because(text) => text,
        })
    }
}

/// An interface as it is.
#[derive(Debug)]
pub struct IfaceState {
    pub cfg: IfaceConfig,
    /// What the device was made of, or is to be made of.
    pub(crate) wish: PortSpec,
    pub of_port: OfPort,
    /// The open device.
    pub open: Option<(DpPort, LinkInfo)>,
    /// The end of a patch, when it is one and names its other end.
    pub patch: Option<Patch>,
    pub error: Option<Refusal>,
    /// How often carrier or administrative state changed since it was opened.
    pub link_resets: u64,
}

impl IfaceState {
    /// What is known of the port, once it is open.
    pub fn link(&self) -> Option<&LinkInfo> {
        let of_device = self.open.as_ref().map(|(_, link)| link);
        of_device.or(self.patch.as_ref().map(|p| &p.link))
    }

    /// The queues that its port asks for.
    pub fn qos(&self) -> Option<&Qos> {
        self.wish.qos.as_ref()
    }

    /// The bridge's setting applies to the bridge's own interface.
    pub(super) fn hwaddr(&self, of_bridge: Option<MacAddr>) -> Option<MacAddr> {
        of_bridge.filter(|_| self.of_port == OfPort::LOCAL)
    }

    /// Says why it is not open, once for each reason.
    pub(crate) fn refuse(&mut self, why: Refusal, changes: &mut Changes) {
        if self.error.as_ref() == Some(&why) {
            return;
        }
        let name = &self.cfg.name;
        changes.ifaces.insert(self.cfg.uuid);
        changes.warnings.push(match &why {
            // In the field's words.
            Refusal::ReservedName => {
                format!("could not create interface {name}, name is reserved")
            }
            Refusal::Because(text) => format!("Interface {name}: {text}"),
        });
        self.error = Some(why);
    }

    /// Changes the device where the wish has changed, and only there: what its user has set since stays.
    pub(super) fn adjust(
        &mut self,
        wish: PortSpec,
        platform: &mut impl Platform,
        changes: &mut Changes,
    ) {
        if self.cfg.kind == IfaceKind::Patch {
            return self.open_patch(changes);
        }
        let old = std::mem::replace(&mut self.wish, wish);
        let new = &self.wish;
        if old == *new {
            return;
        }
        let Some((dp, link)) = &mut self.open else {
            return;
        };
        let differing = PortSpec {
            mac: new.mac.filter(|_| old.mac != new.mac),
            mtu: new.mtu.filter(|_| old.mtu != new.mtu),
            ..new.clone()
        };
        match platform.adjust(*dp, &differing) {
            Ok(now) => {
                if let Some(note) = now.note.as_ref().filter(|n| link.note.as_ref() != Some(n)) {
                    let warning = format!("Interface {}: {note}", self.cfg.name);
                    changes.warnings.push(warning);
                }
                *link = now;
            }
            Err(e) => changes
                .warnings
                .push(format!("Interface {}: {e}", self.cfg.name)),
        }
    }
}

#[derive(Debug)]
pub struct PortState {
    pub cfg: PortConfig,
    /// What its row of table QoS says.
    pub qos: Option<Qos>,
    pub ifaces: Vec<IfaceState>,
}

#[derive(Debug)]
pub struct BridgeState {
    pub cfg: BridgeConfig,
    pub ports: BTreeMap<Uuid, PortState>,
    /// In the order in which they came.
    pub mirrors: Vec<MirrorState>,
    /// The number that a port was given last which asked for none: the next one gets another, so that one that has just
    /// become free is not taken for the port that had it.
    pub(crate) last_number: OfPort,
}

impl BridgeState {
    pub fn ifaces(&self) -> impl Iterator<Item = (&PortState, &IfaceState)> {
        self.ports
            .values()
            .flat_map(|p| p.ifaces.iter().map(move |i| (p, i)))
    }

    pub(crate) fn ifaces_mut(&mut self) -> impl Iterator<Item = &mut IfaceState> {
        self.ports.values_mut().flat_map(|p| p.ifaces.iter_mut())
    }

    /// 64 bits by which controllers know the bridge: configured, else its interface's MAC. Without either a local MAC made of the
    /// row's UUID, so that it is the bridge's own and stays.
    pub fn datapath_id(&self) -> u64 {
        let local = || self.ifaces().find(|(_, i)| i.of_port == OfPort::LOCAL);
        let mac = || Some(local()?.1.link()?.mac.to_u64());
        self.cfg.datapath_id.or_else(mac).unwrap_or_else(|| {
            let [a, b, c, d, e, f, ..] = *self.cfg.uuid.as_bytes();
            u64::from_be_bytes([0, 0, a & !1 | 2, b, c, d, e, f])
        })
    }
}

/// Rows of the configuration that a transaction touched.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    pub bridges: BTreeSet<Uuid>,
    pub ports: BTreeSet<Uuid>,
    pub ifaces: BTreeSet<Uuid>,
    pub mirrors: BTreeSet<Uuid>,
}

impl Touched {
    /// Everything that there is: a setting of the whole switch has changed.
    pub(crate) fn add_all(&mut self, topology: &Topology) {
        for bridge in topology.bridges() {
            self.bridges.insert(bridge.cfg.uuid);
            self.ports.extend(&bridge.cfg.ports);
        }
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.bridges.extend(other.bridges);
        self.ports.extend(other.ports);
        self.ifaces.extend(other.ifaces);
        self.mirrors.extend(other.mirrors);
    }

    pub fn is_empty(&self) -> bool {
        self.bridges.is_empty()
            && self.ports.is_empty()
            && self.ifaces.is_empty()
            && self.mirrors.is_empty()
    }
}

/// What a reconfiguration or an event changed.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Bridges whose snapshot has to be made anew; gone ones too.
    pub bridges: BTreeSet<Uuid>,
    /// Interfaces whose status columns have to be written.
    pub ifaces: BTreeSet<Uuid>,
    /// Datapath ports that no longer exist.
    pub closed: Vec<DpPort>,
    pub opened: Vec<DpPort>,
    pub warnings: Vec<String>,
}
