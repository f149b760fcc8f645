//! What the channels ask of the switch: its configuration and its agents.

use std::time::Duration;

use rvs_ofproto::agent::{Agent, ConnKind, ConnOptions, ConnStatus};
use rvs_ofproto::ConnId;
use rvs_openflow::VersionSet;
use rvs_packet::Now;
use rvs_pipeline::BridgeId;
use rvs_switch::controllers::{ControllerStatus, OpenflowConfig, SslConfig};
use rvs_switch::{Rim, Switch};

/// How a connection is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    pub kind: ConnKind,
    pub versions: VersionSet,
    pub probe: Option<Duration>,
    pub options: ConnOptions,
}

/// The switch, as its channels see it. A bridge that is gone takes and gives nothing.
pub trait Host {
    /// Changes when configuration may have.
    fn openflow_epoch(&self) -> u64;
    fn openflow_configs(&self) -> Vec<OpenflowConfig>;
    fn ssl(&self) -> Option<SslConfig>;
    /// The controllers of a bridge, by URI.
    fn set_controllers(&mut self, bridge: BridgeId, uris: &[String]);
    /// A new connection of the bridge's agent, to the controller of this URI if it is one, with the peer that the log names; `None`: the bridge isn't up.
    fn connect(
        &mut self,
        now: Now,
        bridge: BridgeId,
        manner: &Manner,
        uri: Option<&str>,
        peer: Option<&str>,
    ) -> Option<ConnId>;
    /// Probe and options of `manner`, from now on.
    fn adjust(&mut self, now: Now, bridge: BridgeId, conn: ConnId, manner: &Manner);
    fn input(&mut self, bridge: BridgeId, conn: ConnId, bytes: &[u8]);
    fn wants_input(&mut self, bridge: BridgeId, conn: ConnId) -> bool;
    /// Offers what is to be sent to `write`, which returns how much it took. Returns what was there and what was taken.
    fn send(
        &mut self,
        bridge: BridgeId,
        conn: ConnId,
        write: &mut dyn FnMut(&[u8]) -> usize,
    ) -> (usize, usize);
    /// Serves the bridge's connections and deadlines. True: there is more to do at once.
    fn turn(&mut self, now: Now, bridge: BridgeId) -> bool;
    /// Connections that the agent gives up, and why.
    fn closed(&mut self, bridge: BridgeId) -> Vec<(ConnId, String)>;
    fn disconnect(&mut self, bridge: BridgeId, conn: ConnId);
    fn status(&mut self, bridge: BridgeId, conn: ConnId) -> Option<ConnStatus>;
    /// When time alone gives an agent something to do.
    fn deadline(&self) -> Option<Now>;
    fn controller_status(&mut self, rows: Vec<ControllerStatus>);
    /// Whether the bridge forwards by itself because no controller can be reached.
    fn set_fail_open(&mut self, bridge: BridgeId, on: bool);
}

impl<R: Rim> Host for Switch<R> {
    fn openflow_epoch(&self) -> u64 {
        Self::openflow_epoch(self)
    }

    fn openflow_configs(&self) -> Vec<OpenflowConfig> {
        let mut configs = Self::openflow_configs(self);
        if self.is_restoring() {
            // Controllers are to find the tables complete.
            for bridge in &mut configs {
                bridge.controllers.retain(|c| c.service);
            }
        }
        configs
    }

    fn ssl(&self) -> Option<SslConfig> {
        Self::ssl(self)
    }

    fn set_controllers(&mut self, bridge: BridgeId, uris: &[String]) {
        self.with_agent(bridge, |agent, _| agent.set_controllers(uris));
    }

    fn connect(
        &mut self,
        now: Now,
        bridge: BridgeId,
        m: &Manner,
        uri: Option<&str>,
        peer: Option<&str>,
    ) -> Option<ConnId> {
        self.with_agent(bridge, |agent, _| {
            let conn = agent.connect(now, m.kind, m.versions, m.probe, m.options, peer);
            if let Some(uri) = uri {
                agent.belongs_to(conn, uri);
            }
            conn
        })
    }

    fn adjust(&mut self, now: Now, bridge: BridgeId, conn: ConnId, m: &Manner) {
        self.with_agent(bridge, |agent, _| {
            agent.set_options(now, conn, m.probe, m.options);
        });
    }

    fn input(&mut self, bridge: BridgeId, conn: ConnId, bytes: &[u8]) {
        self.with_agent(bridge, |agent, _| agent.input(conn, bytes));
    }

    fn wants_input(&mut self, bridge: BridgeId, conn: ConnId) -> bool {
        self.with_agent(bridge, |agent, _| agent.wants_input(conn))
            .unwrap_or(false)
    }

    fn send(
        &mut self,
        bridge: BridgeId,
        conn: ConnId,
        write: &mut dyn FnMut(&[u8]) -> usize,
    ) -> (usize, usize) {
        let sent = self.with_agent(bridge, |agent, _| {
            let output = agent.output(conn);
            let there = output.len();
            let taken = write(output);
            agent.sent(conn, taken);
            (there, taken)
        });
        sent.unwrap_or((0, 0))
    }

    fn turn(&mut self, now: Now, bridge: BridgeId) -> bool {
        self.with_agent(bridge, |agent, plant| {
            if agent.next_deadline().is_some_and(|at| at <= now) {
                agent.tick(now, plant);
            }
            agent.turn(now, plant)
        })
        .unwrap_or(false)
    }

    fn closed(&mut self, bridge: BridgeId) -> Vec<(ConnId, String)> {
        let closed = self.with_agent(bridge, |agent, _| agent.closed());
        let words = closed.into_iter().flatten();
        words.map(|(c, why)| (c, why.to_string())).collect()
    }

    fn disconnect(&mut self, bridge: BridgeId, conn: ConnId) {
        self.with_agent(bridge, |agent, _| agent.disconnect(conn));
    }

    fn status(&mut self, bridge: BridgeId, conn: ConnId) -> Option<ConnStatus> {
        self.with_agent(bridge, |agent, _| agent.status(conn))
            .flatten()
    }

    fn deadline(&self) -> Option<Now> {
        let deadline = |(_, agent): (BridgeId, &Agent)| agent.next_deadline();
        self.agents().filter_map(deadline).min()
    }

    fn controller_status(&mut self, rows: Vec<ControllerStatus>) {
        Self::controller_status(self, rows);
    }

    fn set_fail_open(&mut self, bridge: BridgeId, on: bool) {
        Self::set_fail_open(self, bridge, on);
    }
}
