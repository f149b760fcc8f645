//! The world outside, as the switch sees it: devices or dummies, forwarding threads, the kernel's cache, the clock.

use std::sync::Arc;
use std::time::Duration;

use rvs_dpif::{AckToken, DpCommand, Megaflow, Upcall, WorkerId};
use rvs_flow::{DpPort, FlowKey};
use rvs_packet::Now;
use rvs_pipeline::PuntNote;
use rvs_slowpath::{Dispatch, Notes, SlowPath, Taught};
use rvs_switch::platform::{LinkInfo, Platform, PortCounters, PortError, PortSpec, QueueCounters};
use rvs_switch::survive::Evidence;
use rvs_switch::Rim;

use crate::acks::AckBoard;
use crate::clock;
use crate::devices::Devices;
use crate::dummy::Dummies;
use crate::handler::Wires;

/// The world outside, as the switch sees it.
pub struct Outside {
    pub devices: Devices,
    pub wires: Wires,
    pub acks: Arc<AckBoard>,
    /// Ports without devices, in place of those of the machine.
    pub dummies: Option<Dummies>,
    /// How long flows in the kernel go on without a daemon; zero: not at all.
    pub survive: Duration,
}

impl Outside {
    fn platform(&mut self) -> &mut dyn Platform {
        match &mut self.dummies {
            Some(dummies) => dummies,
            None => &mut self.devices,
        }
    }
}

impl Dispatch for Outside {
    fn command(&mut self, worker: WorkerId, command: DpCommand) {
        self.wires.command(worker, command);
    }

    fn punt(&mut self, upcall: Upcall, note: Arc<PuntNote>) {
        self.wires.punt(upcall, note);
    }

    fn learn_flow(&mut self, taught: Taught) {
        self.wires.learn_flow(taught);
    }

    fn flow_added(&mut self, key: &FlowKey, flow: &Megaflow, note: Notes<'_>) {
        self.wires.flow_added(key, flow, note);
    }

    fn gave_up(&mut self, now: Now, key: &FlowKey) {
        self.wires.gave_up(now, key);
    }

    fn collect(&mut self) {
        self.wires.collect();
    }
}

impl Platform for Outside {
    fn number(&mut self, spec: &PortSpec) -> Option<DpPort> {
        self.platform().number(spec)
    }

    fn dummies(&self) -> bool {
        self.dummies.is_some()
    }

    fn open(&mut self, dp: DpPort, spec: &PortSpec) -> Result<LinkInfo, PortError> {
        self.platform().open(dp, spec)
    }

    fn close(&mut self, dp: DpPort, destroy: bool) {
        self.platform().close(dp, destroy);
    }

    fn destroy(&mut self, spec: &PortSpec) {
        self.platform().destroy(spec);
    }

    fn adjust(&mut self, dp: DpPort, spec: &PortSpec) -> Result<LinkInfo, PortError> {
        self.platform().adjust(dp, spec)
    }

    fn set_up(&mut self, dp: DpPort, up: bool) {
        self.platform().set_up(dp, up);
    }

    fn counters(&mut self, dp: DpPort) -> PortCounters {
        self.platform().counters(dp)
    }

    fn queues(&mut self, dp: DpPort) -> Vec<QueueCounters> {
        self.platform().queues(dp)
    }
}

impl Rim for Outside {
    fn settle(&mut self, token: AckToken, workers: &[WorkerId]) {
        // Whoever is told that rules have changed must be able to rely on it, so there is no going on without.
        while !self.acks.wait(token, workers) {
            tracing::error!("a forwarding thread has not answered for a second; waiting for it");
        }
    }

    fn judge_left(&mut self, slow: &mut SlowPath, evidence: &Evidence<'_>) -> usize {
        match self.wires.tier0.get().cloned() {
            Some(tier0) => tier0.judge_left(clock::now(), slow, evidence, self),
            None => 0,
        }
    }

    fn discard_left(&mut self) {
        if let Some(tier0) = self.wires.tier0.get() {
            tier0.discard_left();
        }
    }

    fn set_survival(&mut self, time: Duration) {
        self.survive = time;
        self.devices.set_survive(time);
    }

    fn restored(&mut self) {
        self.devices.hand_up();
    }

    fn workers(&self) -> u16 {
        self.wires.workers.len() as u16
    }

    fn now(&self) -> Now {
        clock::now()
    }
}
