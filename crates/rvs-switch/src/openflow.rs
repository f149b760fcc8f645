//! OpenFlow of every bridge: the agents, and what the rest of the switch tells them.
//!
//! An agent lives as long as its bridge. Which tables a new bridge starts with, and when they are emptied, is the field's
//! rule: without a primary controller and with `fail_mode` standalone there is one visible flow, `priority=0
//! actions=NORMAL`; when the first primary controller comes or the last goes, or `fail_mode` changes while there is none,
//! flows, groups and meters are cleared.

use std::collections::{BTreeMap, BTreeSet};

use rvs_dpif::Upcall;
use rvs_ofproto::agent::{Agent, Identity};
use rvs_ofproto::{Plant, TableLimit};
use rvs_openflow::message::{Desc, Port, PortConfig, PortFeatures, PortState};
use rvs_openflow::TableId;
use rvs_ovsdb::Uuid;
use rvs_packet::Now;
use rvs_pipeline::{BridgeId, PuntNote};
use rvs_slowpath::Taught;

use crate::config::{FailMode, IfaceKind};
use crate::controllers::{
    self, ControllerStatus, ManagerConfig, ManagerStatus, OpenflowConfig, SslConfig,
};
use crate::plant::SwitchPlant;
use crate::ports::{BridgeState, IfaceState};
use crate::spanning::openflow_state;
use crate::switch::{Rim, Switch};

/// A bridge's agent and what decides which flows it starts with.
pub(crate) struct Office {
    pub(crate) agent: Agent,
    /// Whether it has primary controllers, and what happens without, when its flows were last cleared for that.
    rules_of: Option<(bool, FailMode)>,
    /// What the database said of its tables last.
    pub(crate) tables: BTreeMap<TableId, TableLimit>,
    /// The switch forwards by itself because no controller can be reached.
    pub(crate) fail_open: bool,
}

impl<R: Rim> Switch<R> {
    /// What is wanted of OpenFlow, bridge by bridge.
    pub fn openflow_configs(&self) -> Vec<OpenflowConfig> {
        let Some(table) = self.database().table("Bridge") else {
            return Vec::new();
        };
        let configs = self.topology().bridges().filter_map(|state| {
            let id = self.bridge_id(state.cfg.uuid)?;
            let row = table.row(state.cfg.uuid)?;
            Some(controllers::read(
                self.database(),
                row,
                id,
                state.cfg.fail_mode,
            ))
        });
        configs.collect()
    }

    /// Changes when [`Self::openflow_configs`] or [`Self::ssl`] may have changed.
    pub fn openflow_epoch(&self) -> u64 {
        self.openflow_epoch
    }

    /// Clients of the database that are wanted. New when [`Self::openflow_epoch`] is.
    pub fn managers(&self) -> Vec<ManagerConfig> {
        controllers::managers(self.database())
    }

    pub fn manager_status(&mut self, rows: Vec<ManagerStatus>) {
        let rows: Vec<_> = rows.into_iter().map(ManagerStatus::row).collect();
        self.write_status(&rows);
    }

    pub fn ssl(&self) -> Option<SslConfig> {
        controllers::ssl(self.database())
    }

    /// Has the agent of a bridge do something.
    pub fn with_agent<T>(
        &mut self,
        bridge: BridgeId,
        f: impl FnOnce(&mut Agent, &mut SwitchPlant<'_, R>) -> T,
    ) -> Option<T> {
        let office = self.offices.get_mut(&bridge)?;
        let mut plant = SwitchPlant {
            slow: &self.slow,
            rim: &mut self.rim,
            topology: &self.topology,
            bridge_ids: &self.bridge_ids,
            meters: &mut self.meters,
            policers: &self.policers,
            opened: &self.opened,
            waiting: &mut self.waiting,
            restoring: self.restoring,
        };
        Some(f(&mut office.agent, &mut plant))
    }

    /// Bridges that have agents.
    pub fn agents(&self) -> impl Iterator<Item = (BridgeId, &Agent)> {
        self.offices.iter().map(|(id, o)| (*id, &o.agent))
    }

    /// A copy that a flow punted, for whoever the note names.
    pub fn punted(&mut self, now: Now, upcall: &Upcall, note: &PuntNote) {
        let bytes = upcall.frame.bytes();
        match note {
            PuntNote::PacketIn(note) => {
                self.with_agent(note.bridge, |agent, _| {
                    agent.packet_in(now, bytes, bytes.len() as u32, note);
                });
            }
            PuntNote::Protocol { bridge, port } => self.heard_bpdu(now, *bridge, *port, bytes),
        }
    }

    /// A flow that a learn action wants.
    pub fn learned(&mut self, now: Now, taught: &Taught) {
        self.with_agent(taught.bridge, |agent, plant| {
            let (state, flow, used) = (&mut agent.state, &taught.flow, taught.used);
            if taught.refresh_only {
                state.refresh_learned(flow, used, plant);
            } else {
                state.learn(now, flow, used, plant);
            }
        });
    }

    /// The bridge forwards by itself as long as `on`, because no controller can be reached.
    pub fn set_fail_open(&mut self, bridge: BridgeId, on: bool) {
        let changed = self
            .offices
            .get_mut(&bridge)
            .is_some_and(|o| std::mem::replace(&mut o.fail_open, on) != on);
        let uuid = self.bridge_ids.iter().find(|(_, id)| **id == bridge);
        if let (true, Some(uuid)) = (changed, uuid.map(|(u, _)| *u)) {
            self.publish(uuid);
        }
    }

    pub fn controller_status(&mut self, rows: Vec<ControllerStatus>) {
        let rows: Vec<_> = rows.into_iter().map(ControllerStatus::row).collect();
        self.write_status(&rows);
    }

    /// Makes the agent of a bridge that has just come, and tells it of ports, name and rules that are different now.
    pub(crate) fn tell_agent(&mut self, uuid: Uuid, id: BridgeId) {
        let Some(state) = self.topology.bridge(uuid) else {
            return;
        };
        let now = self.rim.now();
        let (ports, identity) = (self.descriptions(state, id), identity(state));
        let primaries = self
            .openflow_configs()
            .iter()
            .filter(|c| c.bridge == id)
            .any(|c| c.controllers.iter().any(|c| !c.service));
        let rules_of = (primaries, self.fail_mode(uuid));
        let opened: BTreeSet<_> = self
            .topology
            .bridges()
            .flat_map(BridgeState::ifaces)
            .filter(|(_, i)| i.link().is_some())
            .map(|(_, i)| i.cfg.uuid)
            .collect();
        self.opened.retain(|iface, _| opened.contains(iface));
        for bridge in self.topology.bridges() {
            let new = |i: &IfaceState| {
                opened.contains(&i.cfg.uuid) && !self.opened.contains_key(&i.cfg.uuid)
            };
            let ifaces = bridge.ifaces().map(|(_, i)| i);
            ifaces
                .filter(|i| new(i))
                .for_each(|i| log_port(&bridge.cfg.name, i));
        }
        for iface in opened {
            self.opened.entry(iface).or_insert(now);
        }
        let hasher = self.hasher.clone();
        let office = self.offices.entry(id).or_insert_with(|| Office {
            agent: Agent::new(id, identity.clone(), hasher),
            rules_of: None,
            tables: BTreeMap::new(),
            fail_open: false,
        });
        office.agent.set_bundle_idle(self.bundle_idle);
        if office.rules_of.is_none() {
            tracing::info!(
                target: "bridge",
                "bridge {}: using datapath ID {:016x}",
                identity.name,
                identity.datapath_id
            );
        }
        let old = office.rules_of.replace(rules_of);
        let reset = old.is_none_or(|o| o.0 != rules_of.0 || (!rules_of.0 && o.1 != rules_of.1));
        self.with_agent(id, |agent, plant| {
            agent.set_identity(identity);
            agent.state.set_ports(ports);
            if reset {
                let standalone = rules_of == (false, FailMode::Standalone);
                agent.state.reset(now, standalone, plant);
                plant.settle();
            }
        });
        self.tell_tables(now, uuid, id);
    }

    /// The open ports as OpenFlow describes them.
    fn descriptions(&self, state: &BridgeState, id: BridgeId) -> Vec<Port> {
        let rapid = state.cfg.rstp;
        let stp = |of| openflow_state(self.trees.state(id, of), rapid);
        let ports = state.ifaces();
        let ports = ports.filter_map(|(_, i)| description(i, stp(i.of_port)));
        ports.collect()
    }

    fn fail_mode(&self, uuid: Uuid) -> FailMode {
        self.topology
            .bridge(uuid)
            .map_or(FailMode::Standalone, |b| b.cfg.fail_mode)
    }
}

/// Says which number a port has, in the words and as the module that scripts look for.
fn log_port(bridge: &str, iface: &IfaceState) {
    let of = iface.of_port;
    tracing::info!(
        target: "bridge",
        "bridge {bridge}: added interface {} on port {}",
        iface.cfg.name,
        of.to_u16().map_or(of.0, u32::from)
    );
}

/// By what name controllers know the bridge.
fn identity(state: &BridgeState) -> Identity {
    Identity {
        name: state.cfg.name.clone(),
        datapath_id: state.datapath_id(),
        desc: Desc {
            manufacturer: "rvswitch".to_owned(),
            hardware: "rvswitch".to_owned(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
            serial: state.cfg.dp_sn.clone().unwrap_or_else(|| "None".to_owned()),
            datapath: state
                .cfg
                .dp_desc
                .clone()
                .unwrap_or_else(|| state.cfg.name.clone()),
        },
    }
}

fn description(iface: &IfaceState, stp: u32) -> Option<Port> {
    let link = iface.link()?;
    let flag = |on: bool, bit: u32| if on { bit } else { 0 };
    // What the kernel says of a veth or tap: 10 Gbit/s over copper, whatever it carries.
    let (current, speed) = match iface.cfg.kind {
        IfaceKind::Internal | IfaceKind::Patch | IfaceKind::Dummy => (PortFeatures::default(), 0),
        _ => (
            PortFeatures(PortFeatures::GB10_FD.0 | PortFeatures::COPPER.0),
            10_000_000,
        ),
    };
    Some(Port {
        number: iface.of_port,
        mac: link.mac,
        name: iface.cfg.name.clone(),
        config: PortConfig(flag(!link.admin_up, PortConfig::PORT_DOWN.0)),
        state: PortState(
            flag(!link.link_up, PortState::LINK_DOWN.0)
                | flag(link.link_up && link.admin_up, PortState::LIVE.0)
                | stp,
        ),
        current,
        advertised: PortFeatures::default(),
        supported: PortFeatures::default(),
        peer: PortFeatures::default(),
        current_speed: speed,
        max_speed: 0,
    })
}
