//! Keeping installed flows true: what a change may have touched is translated afresh.
//!
//! An entry stays when the fresh translation of its key gives the same actions from no more bits than its mask has, and when
//! what its frames teach is what the tables already know. Otherwise it goes: the next frame asks again.

use rvs_dpif::{AckToken, FlowId, WorkerId};
use rvs_l2::{FdbKey, Flush, MacConfig, MacTable};
use rvs_packet::{Now, VlanId};
use rvs_pipeline::{Bridge, BridgeId, Bundle, CachedEffect, ChangeSet, MacDep};

use crate::flows::DelReason;
use crate::slowpath::{Bound, Dispatch, SlowPath};

/// What a change waits for: these workers to have acknowledged the token. Nothing to wait for when no entry was deleted.
pub type Wait = Option<(AckToken, Vec<WorkerId>)>;

impl SlowPath {
    /// Publishes a bridge, new or changed, and revalidates what rests on it.
    pub fn set_bridge(&mut self, bridge: Bridge, macs: MacConfig, out: &mut impl Dispatch) -> Wait {
        let id = bridge.id;
        let old = self.world.bridge(id).cloned();
        let stale = old.map_or(Vec::new(), |old| stale_bundles(&old, &bridge));
        self.world = self.world.with_bridge(self.world.version() + 1, bridge);
        for what in stale {
            self.forget_macs(id, what, out);
        }
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
        self.judge(&suspects, out);
        self.ask_acknowledgement(out)
    }

    /// Publishes what a controller changed of a bridge, as a later version of the bridge, and revalidates what that may concern.
    ///
    /// What is wrong is on its way out of the caches when this returns; [`Self::outstanding`] tells what to wait for.
    pub fn publish(&mut self, bridge: Bridge, changes: &ChangeSet, out: &mut impl Dispatch) {
        let id = bridge.id;
        self.world = self.world.with_bridge(self.world.version() + 1, bridge);
        let suspects = self.flows.suspects(&self.world, id, changes);
        self.judge(&suspects, out);
    }

    /// Judges entries again; when they are so many that it would hold everybody up, they go unjudged, and the next frame of
    /// each asks again.
    fn judge(&mut self, suspects: &[FlowId], out: &mut impl Dispatch) {
        if suspects.len() <= self.limits.retranslations {
            return self.revalidate(suspects, out);
        }
        for id in suspects {
            self.remove(*id, DelReason::Suspect, out);
        }
    }

    /// The acknowledgements after which every worker has done what it was told so far.
    pub fn outstanding(&mut self, out: &mut impl Dispatch) -> Vec<(AckToken, WorkerId)> {
        self.ask_acknowledgement(out);
        self.owed.clone()
    }

    /// Something was sent to this worker beside this book, and is to have been obeyed before [`Self::outstanding`] is.
    pub fn sent_to(&mut self, worker: WorkerId) {
        if !self.touched.contains(&worker) {
            self.touched.push(worker);
        }
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
        let n = self.forget_macs(bridge, what, out);
        (n, self.ask_acknowledgement(out))
    }

    /// Forgets addresses until a frame that is still to come teaches them again: what cached flows have carried so far
    /// must not. Returns how many.
    fn forget_macs(&mut self, bridge: BridgeId, what: Flush, out: &mut impl Dispatch) -> usize {
        let gone = self
            .macs
            .get_mut(bridge)
            .map(|t| t.flush(what))
            .unwrap_or_default();
        self.macs_forgotten(&on(bridge, gone), out)
    }

    fn macs_forgotten(&mut self, gone: &[MacDep], out: &mut impl Dispatch) -> usize {
        for dep in gone {
            let teachers: Vec<FlowId> = self.flows.teachers(dep).collect();
            for id in teachers {
                self.remove(id, DelReason::Changed, out);
            }
        }
        self.macs_changed(gone, out);
        gone.len()
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
            self.macs_forgotten(&[MacDep { bridge, key }], out);
        }
        (known, self.ask_acknowledgement(out))
    }

    /// Judges again what asked for these addresses, and takes out what teaches that they are somewhere else.
    pub(crate) fn macs_changed(&mut self, changed: &[MacDep], out: &mut impl Dispatch) {
        for dep in changed {
            let suspects: Vec<FlowId> = self.flows.by_mac(dep).collect();
            self.judge(&suspects, out);
            let teachers: Vec<FlowId> = self.flows.teachers(dep).collect();
            for id in teachers {
                let wrong = self
                    .flows
                    .get(id)
                    .is_some_and(|f| !self.lessons_known(&f.effects));
                if wrong {
                    self.remove(id, DelReason::Changed, out);
                }
            }
        }
    }

    /// Judges entries again, one by one.
    pub(crate) fn revalidate(&mut self, suspects: &[FlowId], out: &mut impl Dispatch) {
        for id in suspects {
            self.counters.revalidated += 1;
            if !self.still_true(*id, out) {
                self.remove(*id, DelReason::Changed, out);
            }
        }
    }

    fn still_true(&mut self, id: FlowId, out: &mut impl Dispatch) -> bool {
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
        } = self.bind(&flow.key, fresh);
        if actions != flow.actions {
            return false;
        }
        self.close_account(id, &fresh.effects, out);
        self.flows.rebase(id, fresh.deps, fresh.effects, held);
        true
    }

    /// What an entry has carried so far is its old rules', if it is to have others.
    fn close_account(&mut self, id: FlowId, fresh: &[CachedEffect], out: &mut impl Dispatch) {
        let Some(entry) = self.flows.get(id) else {
            return;
        };
        if entry.effects.len() == fresh.len()
            && entry.effects.iter().zip(fresh).all(|(a, b)| a.counts_as(b))
        {
            return;
        }
        out.collect();
        if let Some(entry) = self.flows.get_mut(id) {
            if let Some(delta) = entry.take_delta() {
                let past = entry.effects.clone();
                self.credit_past(&past, delta, out);
            }
        }
    }

    /// True unless the MAC tables say otherwise than these effects teach: a frame that would move an address has to be seen.
    /// An address that is forgotten because it was old, or for lack of room, is taught again by the next sweep.
    pub(crate) fn lessons_known(&self, effects: &[CachedEffect]) -> bool {
        effects.iter().all(|effect| match effect {
            CachedEffect::Learn { bridge, lesson } => self
                .macs
                .get(*bridge)
                .and_then(|t| t.lookup(lesson.key.vlan, lesson.key.mac))
                .is_none_or(|port| port == lesson.port),
            _ => true,
        })
    }
}

/// Bundles of which nothing is known any more: gone, or another one by the same number, or in other VLANs than before.
fn stale_bundles(old: &Bridge, new: &Bridge) -> Vec<Flush> {
    let reserved = |b: &Bundle| new.mirrors.reserves(b.id) && !old.mirrors.reserves(b.id);
    let stale = |b: &Bundle| match new.ports.bundle(b.id).filter(|n| n.name == b.name) {
        Some(n) => (n.vlan != b.vlan || reserved(b)).then_some(false),
        None => Some(true),
    };
    let flush = |b: &Bundle| {
        stale(b).map(|statics| Flush {
            port: Some(b.id),
            vlan: None,
            statics,
        })
    };
    old.ports.bundles().filter_map(flush).collect()
}

pub(crate) fn on(bridge: BridgeId, keys: Vec<FdbKey>) -> Vec<MacDep> {
    keys.into_iter().map(|key| MacDep { bridge, key }).collect()
}
