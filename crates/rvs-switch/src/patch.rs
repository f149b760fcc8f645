//! Patch ports: wires between bridges of this switch, without devices.
//!
//! A patch port is open as soon as it names its other end, whether that is there or not. Frames pass while both ends are
//! there and name each other; until then they are dropped. Who is whose other end is found out anew after every change, and
//! bridges for which it is different are published again.

use std::sync::Arc;

use rvs_flow::OfPort;
use rvs_ovsdb::Uuid;
use rvs_packet::MacAddr;
use rvs_pipeline::PortTraffic;

use crate::platform::{LinkInfo, PortCounters};
use crate::ports::{Changes, IfaceState, Refusal, Topology};

/// An open end of a patch.
#[derive(Debug)]
pub struct Patch {
    /// Bridge and number of the other end, while it names this one.
    pub peer: Option<(Uuid, OfPort)>,
    /// Frames that no device counts.
    pub traffic: Arc<PortTraffic>,
    pub link: LinkInfo,
}

impl Patch {
    pub fn counters(&self) -> PortCounters {
        let ((rx_packets, rx_bytes), (tx_packets, tx_bytes)) =
            (self.traffic.rx(), self.traffic.tx());
        PortCounters {
            rx_packets,
            rx_bytes,
            tx_packets,
            tx_bytes,
            ..PortCounters::UNKNOWN
        }
    }
}

impl IfaceState {
    /// Opens it where `options:peer` makes sense, or says in `error` why not. Open already, it keeps its counters.
    pub(crate) fn open_patch(&mut self, changes: &mut Changes) {
        let name = &self.cfg.name;
        let error = match &self.cfg.peer {
            None => {
                format!("{name}: patch type requires valid 'peer' argument")
            }
            Some(peer) if peer == name => format!("{name}: patch peer must not be self"),
            Some(_) => {
                self.error = None;
                changes.ifaces.insert(self.cfg.uuid);
                let mac = invented_mac(self.cfg.uuid);
                self.patch.get_or_insert_with(|| Patch {
                    peer: None,
                    traffic: Arc::default(),
                    link: LinkInfo {
                        mac,
                        admin_up: true,
                        link_up: true,
                        ..LinkInfo::default()
                    },
                });
                return;
            }
        };
        self.patch = None;
        self.refuse(Refusal::Because(error), changes);
    }
}

impl Topology {
    pub(crate) fn has_patches(&self) -> bool {
        !self.patches.is_empty()
    }

    /// Finds the other end of every patch port.
    pub(crate) fn join_patches(&mut self, changes: &mut Changes) {
        let ends: Vec<Uuid> = self.patches.values().copied().collect();
        for uuid in ends {
            let Some((bridge, peer)) = self.iface(uuid).and_then(|i| self.other_end(i)) else {
                continue;
            };
            let state = self.bridges.get_mut(&bridge);
            let iface = state.and_then(|b| b.ifaces_mut().find(|i| i.cfg.uuid == uuid));
            if let Some(patch) = iface.and_then(|i| i.patch.as_mut()) {
                if std::mem::replace(&mut patch.peer, peer) != peer {
                    changes.bridges.insert(bridge);
                }
            }
        }
    }

    /// Bridge of an open end, and where its other end is.
    fn other_end(&self, iface: &IfaceState) -> Option<(Uuid, Option<(Uuid, OfPort)>)> {
        iface.patch.as_ref()?;
        let bridge = self.bridge_of_iface(iface.cfg.uuid)?;
        let found = iface.cfg.peer.as_ref().and_then(|name| {
            let peer = self.iface(*self.patches.get(name)?)?;
            let mutual = peer.cfg.peer.as_ref() == Some(&iface.cfg.name) && peer.patch.is_some();
            mutual
                .then(|| Some((self.bridge_of_iface(peer.cfg.uuid)?, peer.of_port)))
                .flatten()
        });
        Some((bridge, found))
    }

    fn bridge_of_iface(&self, iface: Uuid) -> Option<Uuid> {
        let port = self.port_of_iface.get(&iface)?;
        self.bridge_of_port.get(port).copied()
    }
}

/// A local address that stays the same as long as the row does.
fn invented_mac(row: Uuid) -> MacAddr {
    let [.., a, b, c, d, e, f] = *row.as_bytes();
    MacAddr([(a & 0xfc) | 0x02, b, c, d, e, f])
}
