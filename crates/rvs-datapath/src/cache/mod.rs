//! Tiers 1 and 2: which installed flow decides a frame.

mod buckets;
pub mod emc;
mod hash;
pub mod megaflow;

use rvs_flow::FlowKey;

pub use emc::Emc;
pub use hash::FlowHash;
pub use megaflow::{FlowRef, InstallRefused, MegaflowTable};

use crate::stats::WorkerCounters;

/// Which tiers answer. Flows are installed in any case; a tier that is off is not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caches {
    /// Every frame asks the slow path.
    None,
    Emc,
    Megaflow,
    #[default]
    Both,
}

impl Caches {
    pub const ALL: [Self; 4] = [Self::None, Self::Emc, Self::Megaflow, Self::Both];

    const fn emc(self) -> bool {
        matches!(self, Self::Emc | Self::Both)
    }

    const fn megaflow(self) -> bool {
        matches!(self, Self::Megaflow | Self::Both)
    }
}

/// Both tiers of one worker.
#[derive(Debug)]
pub(crate) struct Tiers {
    pub which: Caches,
    pub hash: FlowHash,
    pub emc: Emc,
    pub flows: MegaflowTable,
}

impl Tiers {
    /// For each key, with its hash, the flow that decides it. Tier by tier over all keys, so that one key's memory latency
    /// hides behind another's.
    #[inline]
    pub(crate) fn find(
        &mut self,
        keys: &[FlowKey],
        hashes: &[u64],
        found: &mut [Option<FlowRef>],
        counters: &WorkerCounters,
    ) {
        found.fill(None);
        let mut missing = keys.len();
        // (1) The exact-match cache.
        if self.which.emc() {
            for (hash, found) in hashes.iter().zip(found.iter_mut()) {
                *found = self.emc.candidate(*hash);
            }
            for (key, found) in keys.iter().zip(found.iter_mut()) {
                *found = found.filter(|at| self.flows.decides(*at, key));
                missing -= usize::from(found.is_some());
            }
            counters.emc_hits.add((keys.len() - missing) as u64);
        }
        // (2) The megaflow cache.
        if self.which.megaflow() && missing != 0 {
            let after_emc = missing;
            let mut probes = 0;
            for ((key, hash), found) in keys.iter().zip(hashes).zip(found.iter_mut()) {
                if found.is_some() {
                    continue;
                }
                let asked;
                (*found, asked) = self.flows.find(key);
                probes += asked;
                if let Some(flow) = *found {
                    missing -= 1;
                    self.remember(*hash, flow);
                }
            }
            counters.megaflow_hits.add((after_emc - missing) as u64);
            counters.probes.add(probes as u64);
        }
        counters.misses.add(missing as u64);
    }

    /// Lets tier 1 know which flow decides keys of `hash`.
    #[inline]
    pub(crate) fn remember(&mut self, hash: u64, flow: FlowRef) {
        if self.which.emc() {
            self.emc.remember(hash, flow, &self.flows);
        }
    }
}
