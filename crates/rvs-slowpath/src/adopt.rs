//! Flows of an earlier daemon that are still carried out: they come into the book if they are what would be decided today.
//!
//! Nothing is known of such a flow but its key, its mask, and (to whoever asks here) what it does. So it is judged as every
//! flow is after a change: translated afresh, and kept only if the answer is the same from no more bits than its mask has,
//! and what its frames teach is what the tables know.

use std::sync::Arc;

use rvs_dpif::{DpAction, DpCommand, FlowId, FlowStats, Megaflow, WorkerId};
use rvs_flow::{FlowKey, Mask};
use rvs_l2::{BundleId, FdbKey, GratuitousArp, Lesson};
use rvs_packet::Now;
use rvs_pipeline::{BridgeId, CachedEffect};

use crate::flows::InstalledFlow;
use crate::slowpath::{Bound, Dispatch, SlowPath};
use crate::sweep::refresh;

/// What became of a flow that was left.
#[derive(Clone, Debug)]
pub enum Adopted {
    /// It is in the book now, under this number.
    Kept(Arc<Megaflow>),
    /// It has to go.
    Wrong,
    /// It rests on a bridge whose tables are not complete yet.
    Undecided,
}

impl SlowPath {
    /// Restores what was known of an address, unless something younger is known of it.
    pub fn recall_mac(
        &mut self,
        bridge: BridgeId,
        key: FdbKey,
        port: BundleId,
        used: Now,
        out: &mut impl Dispatch,
    ) {
        let lesson = Lesson {
            key,
            port,
            arp: GratuitousArp::No,
        };
        let mut changed = Vec::new();
        refresh(&mut self.macs, bridge, &lesson, used, &mut changed);
        self.macs_changed(&changed, out);
    }

    /// Learns from what a left flow has carried, where `trusted` says that its port is what it was.
    pub fn recall_lessons(
        &mut self,
        key: &FlowKey,
        used: Now,
        trusted: impl Fn(BridgeId, BundleId) -> bool,
        out: &mut impl Dispatch,
    ) {
        for effect in self.translate(key).effects {
            if let CachedEffect::Learn { bridge, lesson } = effect {
                if trusted(bridge, lesson.port) {
                    let mut changed = Vec::new();
                    refresh(&mut self.macs, bridge, &lesson, used, &mut changed);
                    self.macs_changed(&changed, out);
                }
            }
        }
    }

    /// Judges a left flow. `undecided` names bridges whose tables are not complete; `takes` says whether what is carried out
    /// is the same, and if so remembers the number.
    pub fn adopt(
        &mut self,
        now: Now,
        worker: WorkerId,
        (key, mask): (&FlowKey, &Mask<FlowKey>),
        undecided: impl Fn(BridgeId) -> bool,
        takes: impl FnOnce(FlowId, &[DpAction]) -> bool,
        out: &mut impl Dispatch,
    ) -> Adopted {
        let fresh = self.translate(key);
        if fresh.deps.bridges.iter().any(|b| undecided(*b)) {
            return Adopted::Undecided;
        }
        // Ports of no bridge have no say.
        if fresh.deps.bridges.is_empty()
            || !fresh.cacheable
            || !fresh.mask.is_subset_of(mask)
            || !self.lessons_known(&fresh.effects)
            || self.flows.find(key, mask).is_some()
            || self.flows.len() >= self.limits.flows
        {
            return Adopted::Wrong;
        }
        let Bound {
            translation,
            held,
            actions,
        } = self.bind(key, fresh);
        let id = self.new_flow_id();
        if !takes(id, &actions) {
            return Adopted::Wrong;
        }
        let flow = Arc::new(Megaflow {
            id,
            key: *key,
            mask: *mask,
            actions,
            drop: translation.drop,
            stats: Arc::new(FlowStats::default()),
            version: self.world.version(),
        });
        self.counters.installed += 1;
        let entry = InstalledFlow::new(flow.clone(), worker, translation, held, now);
        self.flows.insert(entry);
        out.command(worker, DpCommand::Install(flow.clone()));
        self.sent_to(worker);
        Adopted::Kept(flow)
    }
}
