//! Keeping installed flows true: what a change may have touched is translated afresh.
//!
//! An entry stays when the fresh translation of its key gives the same actions from no more bits than its mask has, and when
//! what its frames teach is what the tables already know. Otherwise it goes: the next frame asks again.

use rvs_dpif::{AckToken, FlowId, WorkerId};
use rvs_l2::{FdbKey, Flush, MacConfig, MacTable};
use rvs_packet::{Now, VlanId};
use rvs_pipeline::{Bridge, BridgeId, CachedEffect, MacDep};

use crate::flows::DelReason;
use crate::slowpath::{Bound, Dispatch, SlowPath};

/// What a change waits for: these workers to have acknowledged the token. Nothing to wait for when no entry was deleted.
pub type Wait = Option<(AckToken, Vec<WorkerId>)>;

impl SlowPath {
    /// Publishes a bridge, new or changed, and revalidates what rests on it.
    pub fn set_bridge(&mut self, bridge: Bridge, macs: MacConfig, out: &mut impl Dispatch) -> Wait {
        let id = bridge.id;
        self.world = self.world.with_bridge(self.world.version() + 1, bridge);
        let gone = match self.macs.get_mut(id) {
            Some(table) if table.config() != macs => table.reconfigure(macs),
            Some(_) => Vec::new(),
            None => {
                self.macs.insert(id, MacTable::new(macs));
                Vec::new()
            }
        };
        self.macs_changed(&on(id, gone), out);
        let suspects = self.flows.by_bridge(id);
        self.revalidate(&suspects, out);
        self.ask_acknowledgement(out)
    }

    /// Removes a bridge and everything that rests on it.
    pub fn remove_bridge(&mut self, id: BridgeId, out: &mut impl Dispatch) -> Wait {
        self.world = self.world.without_bridge(self.world.version() + 1, id);
        self.macs.remove(id);
        for flow in self.flows.by_bridge(id) {
            self.remove(flow, DelReason::Changed, out);
        }
        self.ask_acknowledgement(out)
    }

    /// Removes every entry whose frames come in on the port.
    pub fn remove_port(&mut self, port: rvs_flow::DpPort, out: &mut impl Dispatch) -> Wait {
        for id in self.flows.by_port(port).to_vec() {
            self.remove(id, DelReason::PortGone, out);
        }
        self.ask_acknowledgement(out)
    }

    /// Removes every entry.
    pub fn flush(&mut self, out: &mut impl Dispatch) -> Wait {
        for id in self.flows.ids() {
            self.remove(id, DelReason::Flushed, out);
        }
        self.ask_acknowledgement(out)
    }

    /// Forgets addresses. Returns how many, and what to wait for.
    pub fn flush_macs(
        &mut self,
        bridge: BridgeId,
        what: Flush,
        out: &mut impl Dispatch,
    ) -> (usize, Wait) {
        let gone = self
            .macs
            .get_mut(bridge)
            .map(|t| t.flush(what))
            .unwrap_or_default();
        let n = gone.len();
        self.macs_changed(&on(bridge, gone), out);
        (n, self.ask_acknowledgement(out))
    }

    /// Pins an address to a port.
    pub fn add_static_mac(
        &mut self,
        now: Now,
        bridge: BridgeId,
        key: FdbKey,
        port: rvs_l2::BundleId,
        out: &mut impl Dispatch,
    ) -> Wait {
        if self
            .macs
            .get_mut(bridge)
            .is_some_and(|t| t.add_static(now, key, port))
        {
            self.macs_changed(&[MacDep { bridge, key }], out);
        }
        self.ask_acknowledgement(out)
    }

    /// Forgets one address; false when it was not known.
    pub fn remove_mac(
        &mut self,
        bridge: BridgeId,
        vlan: VlanId,
        mac: rvs_packet::MacAddr,
        out: &mut impl Dispatch,
    ) -> (bool, Wait) {
        let key = FdbKey { vlan, mac };
        let known = self.macs.get_mut(bridge).is_some_and(|t| t.remove(key));
        if known {
            self.macs_changed(&[MacDep { bridge, key }], out);
        }
        (known, self.ask_acknowledgement(out))
    }

    /// Judges again what asked for these addresses or teaches them.
    pub(crate) fn macs_changed(&mut self, changed: &[MacDep], out: &mut impl Dispatch) {
        for dep in changed {
            let suspects: Vec<FlowId> = self.flows.by_mac(dep).collect();
            self.revalidate(&suspects, out);
        }
    }

    /// Judges entries again, one by one.
    pub(crate) fn revalidate(&mut self, suspects: &[FlowId], out: &mut impl Dispatch) {
        for id in suspects {
            self.counters.revalidated += 1;
            if !self.still_true(*id) {
                self.remove(*id, DelReason::Changed, out);
            }
        }
    }

    fn still_true(&mut self, id: FlowId) -> bool {
        let Some(entry) = self.flows.get(id) else {
            return true;
        };
        let flow = entry.flow.clone();
        let fresh = self.translate(&flow.key);
        if !fresh.cacheable
            || fresh.drop != flow.drop
            || !fresh.mask.is_subset_of(&flow.mask)
            || !self.lessons_known(&fresh.effects)
        {
            return false;
        }
        let Bound {
            translation: fresh,
            held,
            actions,
        } = self.bind(fresh);
        if actions != flow.actions {
            return false;
        }
        self.flows.rebase(id, fresh.deps, fresh.effects, held)
    }

    /// True when the MAC tables already say what these effects teach. A frame that would teach something new has to be seen.
    fn lessons_known(&self, effects: &[CachedEffect]) -> bool {
        effects.iter().all(|effect| match effect {
            CachedEffect::Learn { bridge, lesson } => {
                self.macs
                    .get(*bridge)
                    .and_then(|t| t.lookup(lesson.key.vlan, lesson.key.mac))
                    == Some(lesson.port)
            }
            _ => true,
        })
    }
}

pub(crate) fn on(bridge: BridgeId, keys: Vec<FdbKey>) -> Vec<MacDep> {
    keys.into_iter().map(|key| MacDep { bridge, key }).collect()
}
