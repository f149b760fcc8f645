//! Which bridges, ports and interfaces there are, and how to get from one configuration to the next.
//!
//! A reconfiguration touches what the transaction touched and nothing else: [`Topology::reconfigure`] is told which rows
//! changed, closes what has to go (on all bridges first, so that a port can move between bridges in one transaction), then
//! opens what is new, and says which bridges and interfaces are different now.

mod state;

use std::collections::{BTreeMap, BTreeSet};

use ahash::AHashMap;
use rvs_flow::{DpPort, OfPort};
use rvs_ovsdb::database::Database;
use rvs_ovsdb::{RowRef, Uuid};
use rvs_packet::MacAddr;

use crate::config::{BridgeConfig, IfaceConfig, IfaceKind, PortConfig};
use crate::numbers::Numbers;
use crate::platform::{LinkInfo, Platform, PortEvent, PortSpec};
use crate::qos;

pub use state::{BridgeState, Changes, IfaceState, PortState, Refusal, Touched};

/// Ports of the daemon, open or waiting. Past it a port is refused with an error in its row.
pub const MAX_PORTS: usize = 4096;

/// All bridges.
#[derive(Debug, Default)]
pub struct Topology {
    pub(crate) bridges: BTreeMap<Uuid, BridgeState>,
    pub(crate) bridge_of_port: AHashMap<Uuid, Uuid>,
    pub(crate) port_of_iface: AHashMap<Uuid, Uuid>,
    /// Interfaces of type `patch` by name.
    pub(crate) patches: BTreeMap<String, Uuid>,
    /// Bridge and interface of each open port.
    pub(crate) by_dp: AHashMap<DpPort, (Uuid, Uuid)>,
    pub(crate) last_dp: u32,
    /// `other_config:kernel-cache` of the whole switch.
    kernel_cache: bool,
}

impl Topology {
    pub fn bridges(&self) -> impl Iterator<Item = &BridgeState> {
        self.bridges.values()
    }

    pub fn bridge(&self, uuid: Uuid) -> Option<&BridgeState> {
        self.bridges.get(&uuid)
    }

    pub fn bridge_by_name(&self, name: &str) -> Option<&BridgeState> {
        self.bridges.values().find(|b| b.cfg.name == name)
    }

    /// Bridge and interface of an open port.
    pub fn by_dp(&self, dp: DpPort) -> Option<(&BridgeState, &IfaceState)> {
        let (bridge, iface) = self.by_dp.get(&dp)?;
        let bridge = self.bridges.get(bridge)?;
        bridge
            .ifaces()
            .map(|(_, i)| i)
            .find(|i| i.cfg.uuid == *iface)
            .map(|i| (bridge, i))
    }

    pub fn iface(&self, uuid: Uuid) -> Option<&IfaceState> {
        let port = self.port_of_iface.get(&uuid)?;
        let bridge = self.bridge_of_port.get(port)?;
        self.bridges
            .get(bridge)?
            .ports
            .get(port)?
            .ifaces
            .iter()
            .find(|i| i.cfg.uuid == uuid)
    }

    /// Gives none of the numbers up to `last` to a port that did not have it.
    pub(crate) fn reserve(&mut self, last: DpPort) {
        self.last_dp = self.last_dp.max(last.0);
    }

    /// Whether ports may be switched in the kernel where neither they nor their bridges say. True when that is new: then
    /// [`Self::reconfigure`] is to be told that everything was touched.
    pub fn set_kernel_cache(&mut self, on: bool) -> bool {
        std::mem::replace(&mut self.kernel_cache, on) != on
    }

    /// Goes from the configuration that is to the one in `db`, as far as `touched` says that they differ.
    pub fn reconfigure(
        &mut self,
        db: &Database,
        touched: &Touched,
        platform: &mut impl Platform,
    ) -> Changes {
        let mut changes = Changes::default();
        let bridges = self.bridges_of(touched);
        for uuid in &bridges {
            self.close_superfluous(db, *uuid, touched, platform, &mut changes);
        }
        for uuid in &bridges {
            self.open_missing(db, *uuid, touched, platform, &mut changes);
        }
        self.join_patches(&mut changes);
        self.follow_mtus(platform, &mut changes);
        changes
    }

    fn bridges_of(&self, touched: &Touched) -> BTreeSet<Uuid> {
        let ports_of_ifaces = touched
            .ifaces
            .iter()
            .filter_map(|i| self.port_of_iface.get(i));
        let ports = touched.ports.iter().chain(ports_of_ifaces);
        let mirrored = self.bridges.values().filter(|b| {
            let mirrors = &b.cfg.mirrors;
            mirrors.iter().any(|m| touched.mirrors.contains(m))
        });
        ports
            .filter_map(|p| self.bridge_of_port.get(p))
            .chain(&touched.bridges)
            .copied()
            .chain(mirrored.map(|b| b.cfg.uuid))
            .collect()
    }

    fn close_superfluous(
        &mut self,
        db: &Database,
        uuid: Uuid,
        touched: &Touched,
        platform: &mut impl Platform,
        changes: &mut Changes,
    ) {
        changes.bridges.insert(uuid);
        let Some(mut bridge) = self.bridges.remove(&uuid) else {
            return;
        };
        let wanted: BTreeSet<Uuid> = match row(db, "Bridge", uuid) {
            Some(row) => row.set_of_uuid("ports").collect(),
            None => BTreeSet::new(),
        };
        let gone: Vec<Uuid> = bridge
            .ports
            .keys()
            .filter(|p| !wanted.contains(*p))
            .copied()
            .collect();
        for port in gone {
            if let Some(state) = bridge.ports.remove(&port) {
                self.bridge_of_port.remove(&port);
                for iface in state.ifaces {
                    self.forget(iface, platform, changes);
                }
            }
        }
        for (port, state) in &mut bridge.ports {
            let wanted: Vec<Uuid> = row(db, "Port", *port)
                .map(|r| r.set_of_uuid("interfaces").collect())
                .unwrap_or_default();
            let ifaces = std::mem::take(&mut state.ifaces);
            for iface in ifaces {
                let same = || {
                    let new = row(db, "Interface", iface.cfg.uuid).map(IfaceConfig::read);
                    new.is_some_and(|n| n.kind == iface.cfg.kind && n.name == iface.cfg.name)
                };
                let keep = wanted.contains(&iface.cfg.uuid)
                    && (!touched.ifaces.contains(&iface.cfg.uuid) || same());
                if keep {
                    state.ifaces.push(iface);
                } else {
                    self.forget(iface, platform, changes);
                }
            }
        }
        if row(db, "Bridge", uuid).is_some() {
            self.bridges.insert(uuid, bridge);
        }
    }

    fn forget(&mut self, iface: IfaceState, platform: &mut impl Platform, changes: &mut Changes) {
        self.port_of_iface.remove(&iface.cfg.uuid);
        if iface.cfg.kind == IfaceKind::Patch {
            self.patches.remove(&iface.cfg.name);
            return;
        }
        match iface.open {
            Some((dp, _)) => {
                self.by_dp.remove(&dp);
                platform.close(dp, true);
                changes.closed.push(dp);
            }
            None => platform.destroy(&iface.wish),
        }
    }

    fn open_missing(
        &mut self,
        db: &Database,
        uuid: Uuid,
        touched: &Touched,
        platform: &mut impl Platform,
        changes: &mut Changes,
    ) {
        let Some(row) = row(db, "Bridge", uuid) else {
            return;
        };
        let cfg = BridgeConfig::read(row);
        let (mut hwaddr_changed, mut tier_changed) = (false, false);
        let mut bridge = match self.bridges.remove(&uuid) {
            Some(mut b) => {
                hwaddr_changed = b.cfg.hwaddr != cfg.hwaddr;
                tier_changed = b.cfg.kernel_cache != cfg.kernel_cache;
                if b.cfg.warnings != cfg.warnings {
                    changes.warnings.extend(cfg.warnings.iter().cloned());
                }
                b.cfg = cfg;
                b
            }
            None => {
                changes.warnings.extend(cfg.warnings.iter().cloned());
                BridgeState {
                    cfg,
                    ports: BTreeMap::new(),
                    mirrors: Vec::new(),
                    last_number: OfPort(0),
                }
            }
        };
        let mut numbers = None;
        for port in in_order(db, &bridge) {
            let known = bridge.ports.contains_key(&port);
            // The MAC of the bridge's own interface is a setting of the bridge.
            let touched_below = bridge.ports.get(&port).is_some_and(|p| {
                let ifaces = &p.cfg.interfaces;
                ifaces.iter().any(|i| touched.ifaces.contains(i))
                    || tier_changed
                    || (hwaddr_changed && p.cfg.name == bridge.cfg.name)
            });
            if known && !touched.ports.contains(&port) && !touched_below {
                continue;
            }
            if self.bridge_of_port.get(&port).is_some_and(|b| *b != uuid) {
                changes.warnings.push(format!(
                    "port {port} is on two bridges; the second one is ignored"
                ));
                continue;
            }
            let numbers = numbers.get_or_insert_with(|| Numbers::of(db, &bridge));
            self.update_port(db, &mut bridge, port, numbers, platform, changes);
        }
        if let Some(numbers) = numbers {
            bridge.last_number = numbers.last;
            bridge.grant_numbers(&numbers.kept, changes);
        }
        bridge.update_mirrors(db, changes);
        self.bridges.insert(uuid, bridge);
    }

    fn update_port(
        &mut self,
        db: &Database,
        bridge: &mut BridgeState,
        uuid: Uuid,
        numbers: &mut Numbers,
        platform: &mut impl Platform,
        changes: &mut Changes,
    ) {
        let Some(of_port) = row(db, "Port", uuid) else {
            return;
        };
        let (cfg, qos) = (PortConfig::read(of_port), qos::read(db, of_port));
        let mut state = match bridge.ports.remove(&uuid) {
            Some(mut old) => {
                if old.cfg.warnings != cfg.warnings {
                    changes.warnings.extend(cfg.warnings.iter().cloned());
                }
                old.cfg = cfg;
                old.qos = qos;
                old
            }
            None => {
                changes.warnings.extend(cfg.warnings.iter().cloned());
                PortState {
                    cfg,
                    qos,
                    ifaces: Vec::new(),
                }
            }
        };
        self.bridge_of_port.insert(uuid, bridge.cfg.uuid);
        for iface in state.cfg.interfaces.clone() {
            let Some(cfg) = row(db, "Interface", iface).map(IfaceConfig::read) else {
                continue;
            };
            if self.port_of_iface.get(&iface).is_some_and(|p| *p != uuid) {
                changes.warnings.push(format!(
                    "Interface {} is in two ports; the second one, {}, does without it",
                    cfg.name, state.cfg.name
                ));
                continue;
            }
            changes.ifaces.insert(iface);
            self.port_of_iface.insert(iface, uuid);
            match state.ifaces.iter_mut().find(|i| i.cfg.uuid == iface) {
                Some(old) => {
                    let kernel = self.may_use_kernel(&cfg, &state.cfg, bridge);
                    let mut wish = spec(&cfg, bridge, old.hwaddr(bridge.cfg.hwaddr), kernel);
                    wish.qos = state.qos.clone();
                    old.cfg = cfg;
                    old.adjust(wish, platform, changes);
                }
                None => {
                    let of_port = numbers.choose(bridge, &cfg);
                    let kernel = self.may_use_kernel(&cfg, &state.cfg, bridge);
                    let mut new = IfaceState {
                        wish: PortSpec {
                            qos: state.qos.clone(),
                            ..spec(
                                &cfg,
                                bridge,
                                bridge.cfg.hwaddr.filter(|_| of_port == OfPort::LOCAL),
                                kernel,
                            )
                        },
                        cfg,
                        of_port,
                        open: None,
                        patch: None,
                        error: None,
                        link_resets: 0,
                    };
                    self.try_open(bridge, &mut new, platform, changes);
                    state.ifaces.push(new);
                }
            }
        }
        bridge.ports.insert(uuid, state);
    }

    /// The interface's word counts, else its port's, its bridge's, the switch's.
    fn may_use_kernel(&self, iface: &IfaceConfig, port: &PortConfig, bridge: &BridgeState) -> bool {
        let own = iface.kernel_cache.or(port.kernel_cache);
        own.or(bridge.cfg.kernel_cache).unwrap_or(self.kernel_cache)
    }

    /// Opens the device of an interface, or says in `error` why not.
    fn try_open(
        &mut self,
        bridge: &BridgeState,
        iface: &mut IfaceState,
        platform: &mut impl Platform,
        changes: &mut Changes,
    ) {
        if self.by_dp.len() + self.patches.len() >= MAX_PORTS {
            let error = format!("the switch has {MAX_PORTS} ports already");
            return iface.refuse(Refusal::Because(error), changes);
        }
        if is_reserved(&iface.cfg.name) {
            return iface.refuse(Refusal::ReservedName, changes);
        }
        match &iface.cfg.kind {
            IfaceKind::Unknown(kind) => {
                let error = format!(
                    "interface type {kind} is not supported (system, internal, tap and patch are)"
                );
                return iface.refuse(Refusal::Because(error), changes);
            }
            IfaceKind::Patch => {
                self.patches.insert(iface.cfg.name.clone(), iface.cfg.uuid);
                return iface.open_patch(changes);
            }
            IfaceKind::System | IfaceKind::Internal | IfaceKind::Tap | IfaceKind::Dummy => {}
        }
        let dp = self.next_dp(&iface.wish, platform, changes);
        let mut wish = iface.wish.clone();
        if iface.cfg.kind == IfaceKind::Internal {
            wish.mtu = wish.mtu.or(bridge.smallest_mtu());
        }
        match platform.open(dp, &wish) {
            Ok(link) => {
                self.last_dp = self.last_dp.max(dp.0);
                self.by_dp.insert(dp, (bridge.cfg.uuid, iface.cfg.uuid));
                if let Some(note) = &link.note {
                    changes
                        .warnings
                        .push(format!("Interface {}: {note}", iface.cfg.name));
                }
                iface.open = Some((dp, link));
                iface.error = None;
                changes.ifaces.insert(iface.cfg.uuid);
                changes.opened.push(dp);
            }
            Err(e) => iface.refuse(Refusal::Because(e.0), changes),
        }
    }

    /// Follows a device.
    pub fn event(&mut self, event: PortEvent, platform: &mut impl Platform) -> Changes {
        let mut changes = Changes::default();
        match event {
            PortEvent::Changed(dp, link) => self.changed(dp, link, &mut changes),
            PortEvent::Gone(dp) => self.gone(dp, platform, &mut changes),
            PortEvent::Appeared(name) => self.retry(|i| i.cfg.name == name, platform, &mut changes),
        }
        self.follow_mtus(platform, &mut changes);
        changes
    }

    fn changed(&mut self, dp: DpPort, link: LinkInfo, changes: &mut Changes) {
        let Some((bridge, uuid)) = self.by_dp.get(&dp).copied() else {
            return;
        };
        let Some(b) = self.bridges.get_mut(&bridge) else {
            return;
        };
        let Some(iface) = b.ifaces_mut().find(|i| i.cfg.uuid == uuid) else {
            return;
        };
        let Some((_, old)) = &mut iface.open else {
            return;
        };
        if *old == link {
            return;
        }
        if (old.admin_up, old.link_up) != (link.admin_up, link.link_up) {
            iface.link_resets += 1;
        }
        if let Some(note) = link.note.as_ref().filter(|n| old.note.as_ref() != Some(n)) {
            changes
                .warnings
                .push(format!("Interface {}: {note}", iface.cfg.name));
        }
        *old = link;
        changes.bridges.insert(bridge);
        changes.ifaces.insert(uuid);
    }

    fn gone(&mut self, dp: DpPort, platform: &mut impl Platform, changes: &mut Changes) {
        let Some((bridge, uuid)) = self.by_dp.remove(&dp) else {
            return;
        };
        platform.close(dp, false);
        changes.closed.push(dp);
        changes.bridges.insert(bridge);
        changes.ifaces.insert(uuid);
        let Some(b) = self.bridges.get_mut(&bridge) else {
            return;
        };
        let name = b.cfg.name.clone();
        if let Some(iface) = b.ifaces_mut().find(|i| i.cfg.uuid == uuid) {
            tracing::info!(target: "bridge", "bridge {name}: the device of interface {} is gone", iface.cfg.name);
            iface.open = None;
            iface.error = Some(Refusal::Because(format!(
                "could not open network device {} (No such device)",
                iface.cfg.name
            )));
        }
    }

    /// Tries again to open interfaces that are not open and that `wanted` names.
    pub fn retry(
        &mut self,
        wanted: impl Fn(&IfaceState) -> bool,
        platform: &mut impl Platform,
        changes: &mut Changes,
    ) {
        let waiting: Vec<(Uuid, Uuid, Uuid)> = self
            .bridges
            .values()
            .flat_map(|b| b.ports.values().map(move |p| (b, p)))
            .flat_map(|(b, p)| p.ifaces.iter().map(move |i| (b, p, i)))
            .filter(|(_, _, i)| i.link().is_none() && wanted(i))
            .map(|(b, p, i)| (b.cfg.uuid, p.cfg.uuid, i.cfg.uuid))
            .collect();
        for (bridge_uuid, port, iface) in waiting {
            let Some(mut bridge) = self.bridges.remove(&bridge_uuid) else {
                continue;
            };
            if let Some(mut state) = bridge.ports.remove(&port) {
                if let Some(i) = state.ifaces.iter_mut().find(|i| i.cfg.uuid == iface) {
                    self.try_open(&bridge, i, platform, changes);
                    if i.link().is_some() {
                        changes.bridges.insert(bridge_uuid);
                    }
                }
                bridge.ports.insert(port, state);
            }
            self.bridges.insert(bridge_uuid, bridge);
        }
        self.join_patches(changes);
        self.follow_mtus(platform, changes);
    }
}

/// Names that Open vSwitch keeps for devices of its own. Whoever has both keeps clear of them, and so do its tests.
fn is_reserved(name: &str) -> bool {
    // The devices of its datapaths, one for each type.
    const WHOLE: [&str; 3] = ["ovs-system", "ovs-netdev", "ovs-dummy"];
    const BEGINNINGS: [&str; 11] = [
        "gre_sys",
        "erspan_sys",
        "ip6gre_sys",
        "ip6erspan_sys",
        "genev_sys",
        "gtpu_sys",
        "lisp_sys",
        "srv6_sys",
        "stt_sys",
        "udp_sys",
        "vxlan_sys",
    ];
    WHOLE.contains(&name) || BEGINNINGS.iter().any(|b| name.starts_with(b))
}

/// The ports of a bridge; new ones last, by name, so that they are numbered the same way every time.
fn in_order(db: &Database, bridge: &BridgeState) -> Vec<Uuid> {
    let all = bridge.cfg.ports.iter().copied();
    let (mut ports, mut new): (Vec<Uuid>, Vec<Uuid>) =
        all.partition(|p| bridge.ports.contains_key(p));
    new.sort_by_cached_key(|p| row(db, "Port", *p).map(|r| r.str("name").to_owned()));
    ports.append(&mut new);
    ports
}

pub(crate) fn row<'a>(db: &'a Database, table: &str, uuid: Uuid) -> Option<RowRef<'a>> {
    db.table(table)?.row(uuid)
}

/// What to make a device of. Without a MAC the platform chooses one that is the same after every start.
fn spec(
    cfg: &IfaceConfig,
    bridge: &BridgeState,
    hwaddr: Option<MacAddr>,
    kernel_cache: bool,
) -> PortSpec {
    PortSpec {
        name: cfg.name.clone(),
        bridge: bridge.cfg.name.clone(),
        kind: cfg.kind.clone(),
        mac: cfg.mac.or(hwaddr),
        mtu: cfg.mtu_request,
        kernel_cache,
        policed: cfg.policing.is_on(),
        qos: None,
        options: cfg.options.clone(),
    }
}
