//! Settings of the whole switch: `other_config` of table Open_vSwitch, and what commands say instead.

use std::time::Duration;

use rvs_dpif::limits::FLOWS_PER_WORKER;
use rvs_ovsdb::Uuid;

use super::{Rim, Switch, LONGEST_STATISTICS, STATISTICS};

impl<R: Rim> Switch<R> {
    pub(super) fn global_settings(&mut self, vlan_limit: Option<&str>) {
        // 0 asks for as many as the datapath knows.
        let limit = match vlan_limit.and_then(|s| s.parse::<u8>().ok()) {
            Some(0 | 2..) => 2,
            Some(1) | None => 1,
        };
        if limit != self.vlan_limit {
            self.vlan_limit = limit;
            let all: Vec<Uuid> = self.topology.bridges().map(|b| b.cfg.uuid).collect();
            for uuid in all {
                self.publish(uuid);
            }
        }
    }

    /// How often counters are written into the database while somebody may read them there.
    pub fn statistics_every(&self) -> Duration {
        self.statistics_every
    }

    pub(super) fn statistics_interval(&mut self, millis: Option<&str>) {
        let millis = millis
            .and_then(|s| s.parse().ok())
            .map(Duration::from_millis);
        self.statistics_every =
            millis.map_or(STATISTICS, |d| d.clamp(STATISTICS, LONGEST_STATISTICS));
    }

    /// For how many seconds bundles are kept that nothing is added to.
    pub(super) fn bundle_patience(&mut self, secs: Option<&str>) {
        const LEAST: u64 = 1;
        let secs = secs.and_then(|s| s.parse().ok());
        self.bundle_idle = secs.map(|s| Duration::from_secs(LEAST.max(s)));
        for office in self.offices.values_mut() {
            office.agent.set_bundle_idle(self.bundle_idle);
        }
    }

    /// How many seconds flows in the kernel go on without a daemon.
    pub(super) fn survival(&mut self, secs: Option<&str>) {
        const USUAL: u64 = 30;
        const MOST: u64 = 3600;
        let secs = secs.and_then(|s| s.parse().ok()).unwrap_or(USUAL);
        self.survive = Duration::from_secs(MOST.min(secs));
    }

    /// Who does not say BPDUs is taken for gone by the other bridges, after six seconds by RSTP's: by then flows must not go
    /// on where a loop may be closed.
    pub(super) fn tell_survival(&mut self) {
        const BESIDE_TREES: Duration = Duration::from_secs(5);
        let most = if self.has_trees() {
            BESIDE_TREES
        } else {
            Duration::MAX
        };
        self.rim.set_survival(self.survive.min(most));
    }

    pub(crate) fn has_trees(&self) -> bool {
        self.topology.bridges().any(|b| b.cfg.spanning.is_some())
    }

    /// How many flows the caches may hold, and for how many milliseconds without a frame (at least 500).
    pub(super) fn cache_limits(&mut self, flow_limit: Option<&str>, max_idle: Option<&str>) {
        const LEAST_IDLE: u64 = 500;
        let mut limits = self.default_limits;
        if let Some(flows) = flow_limit.and_then(|s| s.parse().ok()) {
            limits.flows = FLOWS_PER_WORKER.min(flows);
        }
        if let Some(idle) = max_idle.and_then(|s| s.parse().ok()) {
            limits.max_idle = Duration::from_millis(LEAST_IDLE.max(idle));
        }
        self.slow().set_limits(limits);
    }

    /// How many flows the caches may hold where `other_config:flow-limit` does not say; until the daemon ends.
    pub fn set_flow_limit(&mut self, flows: usize) {
        self.default_limits.flows = FLOWS_PER_WORKER.min(flows);
        let mut limits = *self.slow().limits();
        limits.flows = self.default_limits.flows;
        self.slow().set_limits(limits);
    }
}
