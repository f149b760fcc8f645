//! Ports as controllers see them: descriptions from the switch, configuration from port-mods.

use std::collections::BTreeMap;
use std::sync::Arc;

use rvs_flow::OfPort;
use rvs_openflow::message::{Port, PortChange, PortConfig, PortMod, PortState, PortStatus};
use rvs_openflow::{ErrorCode, OfError};

use super::ofproto::Ofproto;
use super::txn::{Step, Txn};
use super::Event;
use crate::Plant;

impl<P: Plant> Txn<'_, P> {
    /// Sets configuration bits of a port.
    ///
    /// # Errors
    /// [`ErrorCode::PmfcBadPort`], [`ErrorCode::PmfcBadHwAddr`].
    pub(super) fn port_mod(&mut self, m: &PortMod) -> Result<(), OfError> {
        let port = self.state.ports.get(&m.number).ok_or_else(|| {
            ErrorCode::PmfcBadPort.because(format!("no port {} is there", m.number))
        })?;
        if port.mac != m.mac {
            return Err(ErrorCode::PmfcBadHwAddr.because(format!(
                "port {} has address {}, not {}",
                m.number, port.mac, m.mac
            )));
        }
        let old = self.state.configured_as(m.number);
        let new = PortConfig(old.0 & !m.mask.0 | m.config.0 & m.mask.0);
        if new == old {
            return Ok(());
        }
        self.step(Step::Port(m.number, old));
        self.state.configs.insert(m.number, new);
        let ports = self.w.bridge.ports.with_config(m.number, pipeline(new));
        self.w.bridge.ports = Arc::new(ports);
        self.changed_everything();
        Ok(())
    }

    /// A port's configuration is final.
    pub(super) fn configured(&mut self, port: OfPort, old: PortConfig) {
        let down = |c: &PortConfig| c.has(PortConfig::PORT_DOWN);
        let new = self.state.configured_as(port);
        if down(&old) != down(&new) {
            self.plant.set_port_up(self.state.id, port, !down(&new));
        }
        self.state.port_changed(port, PortChange::Modify);
    }
}

impl Ofproto {
    /// The ports that the bridge has from now on, as the switch sees them: of `config`, only whether the port is down
    /// counts. The difference to the ports before is what controllers hear.
    pub fn set_ports(&mut self, ports: Vec<Port>) {
        let mut new: BTreeMap<_, _> = ports.into_iter().map(|p| (p.number, p)).collect();
        let gone: Vec<OfPort> = self
            .ports
            .values()
            .filter(|old| new.get(&old.number).is_none_or(|n| n.name != old.name))
            .map(|old| old.number)
            .collect();
        for number in gone {
            self.port_changed(number, PortChange::Delete);
            self.ports.remove(&number);
            self.configs.remove(&number);
        }
        while let Some((number, port)) = new.pop_first() {
            let old = self.described(number);
            let down = PortConfig::PORT_DOWN.0;
            let kept = self.configured_as(number).0 & !down;
            self.configs
                .insert(number, PortConfig(kept | port.config.0 & down));
            self.ports.insert(number, port);
            if old.is_none() {
                self.port_added(number);
            } else if self.described(number) != old {
                self.port_changed(number, PortChange::Modify);
            }
        }
    }

    /// Every port with its configuration, by number.
    pub fn ports(&self) -> impl Iterator<Item = Port> + '_ {
        self.ports.keys().filter_map(|n| self.described(*n))
    }

    /// One port with its configuration.
    pub fn port(&self, number: OfPort) -> Option<Port> {
        self.described(number)
    }

    /// What controllers have configured of a port, for the snapshot.
    pub fn port_config(&self, port: OfPort) -> rvs_pipeline::PortConfig {
        pipeline(self.configured_as(port))
    }

    fn described(&self, number: OfPort) -> Option<Port> {
        let mut p = self.ports.get(&number)?.clone();
        p.config = self.configured_as(number);
        if p.config.has(PortConfig::PORT_DOWN) {
            p.state.0 &= !PortState::LIVE.0;
        }
        Some(p)
    }

    fn configured_as(&self, port: OfPort) -> PortConfig {
        self.configs.get(&port).copied().unwrap_or_default()
    }

    /// A port is announced before it is known to be live, as the field does.
    fn port_added(&mut self, number: OfPort) {
        let Some(live) = self.described(number) else {
            return;
        };
        let mut port = live.clone();
        port.state.0 &= !PortState::LIVE.0;
        let is_live = port.state != live.state;
        let status = |change, port| Box::new(PortStatus { change, port });
        self.events
            .push(Event::PortStatus(status(PortChange::Add, port)));
        if is_live {
            self.events
                .push(Event::PortLive(status(PortChange::Modify, live)));
        }
    }

    fn port_changed(&mut self, number: OfPort, change: PortChange) {
        if let Some(port) = self.described(number) {
            let status = Box::new(PortStatus { change, port });
            self.events.push(Event::PortStatus(status));
        }
    }
}

fn pipeline(c: PortConfig) -> rvs_pipeline::PortConfig {
    rvs_pipeline::PortConfig {
        down: c.has(PortConfig::PORT_DOWN),
        no_stp: c.has(PortConfig::NO_STP),
        no_recv: c.has(PortConfig::NO_RECV),
        no_recv_stp: c.has(PortConfig::NO_RECV_STP),
        no_flood: c.has(PortConfig::NO_FLOOD),
        no_fwd: c.has(PortConfig::NO_FWD),
        no_packet_in: c.has(PortConfig::NO_PACKET_IN),
    }
}
