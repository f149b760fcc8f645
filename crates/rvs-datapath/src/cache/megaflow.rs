//! Tier 2, the megaflow cache: tuple-space search per input port.
//!
//! Flows of one mask form a subtable; a subtable is a hash table under that mask. Every mask pins the input port, so
//! each port has its own list of subtables (a port with many masks slows nobody else), ordered by what they hit lately.
//! The first subtable that knows the masked key answers: flows that overlap have equal actions (the slow path sees to it),
//! so there are no priorities here.
//!
//! Invariants
//! - A flow's identity is (key, mask). Two flows with the same masked key under different masks are two flows (Open
//!   vSwitch once made them one); a second one with the same key and mask replaces the first.
//! - `mask.apply(key) == key`, and the mask pins `in_port`; anything else is refused.
//! - One lookup probes at most [`limits::MASKS_PER_PORT`] subtables. The slow path keeps the budget; here it is a wall. The
//!   last place of a port is kept for the exact mask, the fallback that keeps a port with too many masks cached.
//! - A refused install costs speed, is counted, and is never wrong.

use std::cell::Cell;
use std::sync::Arc;

use ahash::{HashMap, HashMapExt};
use rvs_dpif::{limits, FlowId, Megaflow};
use rvs_flow::{FlowKey, Mask};

use crate::cache::buckets::Buckets;
use crate::cache::hash::{same_under, FlowHash, Width};

/// The place of an installed flow. Valid until the flow is removed; then it may name another flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRef(pub(crate) u32);

/// Why a flow did not get into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstallRefused {
    #[error("the megaflow cache holds as many flows as it may")]
    Full,
    #[error("the input port has as many masks as it may")]
    PortMasks,
    #[error("the worker has as many masks as it may")]
    WorkerMasks,
    #[error("too many flows share one place of the hash table")]
    Chain,
    #[error("the key has bits outside of its mask, or the mask does not pin the input port")]
    NotCanonical,
}

#[derive(Debug)]
struct Installed {
    flow: Arc<Megaflow>,
    subtable: u32,
    sig: u32,
}

#[derive(Debug)]
struct Subtable {
    in_port: u32,
    mask: Mask<FlowKey>,
    width: Width,
    /// Hits of this tier since the last ranking, and an average over earlier ones.
    recent: Cell<u64>,
    rank: u64,
    entries: Buckets,
}

/// The megaflow cache of one worker.
#[derive(Debug)]
pub struct MegaflowTable {
    hash: FlowHash,
    flows: Vec<Option<Installed>>,
    free: Vec<u32>,
    by_id: HashMap<FlowId, u32>,
    subtables: Vec<Option<Subtable>>,
    /// Per input port the indices of its subtables, best first. Never empty.
    ports: HashMap<u32, Vec<u32>>,
    wild_masks: usize,
    exact_masks: usize,
    capacity: usize,
}

impl MegaflowTable {
    /// An empty table for at most `capacity` flows.
    pub fn new(hash: FlowHash, capacity: usize) -> Self {
        Self {
            hash,
            flows: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            subtables: Vec::new(),
            ports: HashMap::new(),
            wild_masks: 0,
            exact_masks: 0,
            capacity,
        }
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Masks of all ports together.
    pub fn masks(&self) -> usize {
        self.wild_masks + self.exact_masks
    }

    /// Masks of one input port: what a lookup of its frames probes at most.
    pub fn masks_of(&self, in_port: u32) -> usize {
        self.ports.get(&in_port).map_or(0, Vec::len)
    }

    pub fn flow(&self, at: FlowRef) -> Option<&Arc<Megaflow>> {
        self.installed(at).map(|i| &i.flow)
    }

    /// The port whose frames a flow decides; `None` when there is no flow any more.
    pub(crate) fn in_port(&self, at: FlowRef) -> Option<u32> {
        let subtable = self.installed(at)?.subtable;
        let s = self.subtables.get(subtable as usize)?.as_ref()?;
        Some(s.in_port)
    }

    #[inline(always)]
    fn installed(&self, at: FlowRef) -> Option<&Installed> {
        self.flows.get(at.0 as usize).and_then(Option::as_ref)
    }

    /// True when a flow is installed at `at` and decides `key`.
    #[inline]
    pub(crate) fn decides(&self, at: FlowRef, key: &FlowKey) -> bool {
        let Some(i) = self.installed(at) else {
            return false;
        };
        match self.subtables.get(i.subtable as usize) {
            Some(Some(s)) => same_under(s.width, &s.mask.0, &i.flow.key, key),
            _ => false,
        }
    }

    /// The flow that decides `key`, and how many subtables were asked.
    #[inline]
    pub fn find(&self, key: &FlowKey) -> (Option<FlowRef>, usize) {
        let Some(order) = self.ports.get(&key.in_port) else {
            return (None, 0);
        };
        for (asked, index) in order.iter().enumerate() {
            if let Some(Some(s)) = self.subtables.get(*index as usize) {
                let sig = self.hash.masked(s.width, &s.mask.0, key) as u32;
                let found = s.entries.find(sig, |slot| {
                    self.installed(FlowRef(slot))
                        .is_some_and(|i| same_under(s.width, &s.mask.0, &i.flow.key, key))
                });
                if let Some(slot) = found {
                    s.recent.set(s.recent.get() + 1);
                    return (Some(FlowRef(slot)), asked + 1);
                }
            }
        }
        (None, order.len())
    }

    /// Orders each port's subtables by their hits, recent ones counting double.
    pub fn rank(&mut self) {
        for s in self.subtables.iter_mut().flatten() {
            s.rank = s.rank / 2 + s.recent.take();
        }
        let rank = |i: &u32| match self.subtables.get(*i as usize) {
            Some(Some(s)) => std::cmp::Reverse(s.rank),
            _ => std::cmp::Reverse(0),
        };
        for order in self.ports.values_mut() {
            order.sort_by_key(rank);
        }
    }

    /// Puts a flow in. One with the same key and mask, or with the same id, is replaced.
    pub fn install(&mut self, flow: Arc<Megaflow>) -> Result<FlowRef, InstallRefused> {
        if flow.mask.0.in_port != u32::MAX || flow.mask.apply(&flow.key) != flow.key {
            return Err(InstallRefused::NotCanonical);
        }
        let same = self.same_identity(&flow);
        if self.by_id.get(&flow.id).is_some_and(|s| Some(*s) != same) {
            self.remove(flow.id);
        }
        if let Some(slot) = same {
            return Ok(self.replace(slot, flow));
        }
        if self.len() >= self.capacity {
            return Err(InstallRefused::Full);
        }
        let index = self.subtable_for(&flow)?;
        let slot = self.free.pop().unwrap_or(self.flows.len() as u32);
        let Some(Some(s)) = self.subtables.get_mut(index as usize) else {
            return Err(InstallRefused::PortMasks);
        };
        let sig = self.hash.masked(s.width, &s.mask.0, &flow.key) as u32;
        if s.entries.insert(sig, slot).is_err() {
            self.free.push(slot);
            self.drop_if_empty(index, flow.key.in_port);
            return Err(InstallRefused::Chain);
        }
        if slot as usize == self.flows.len() {
            self.flows.push(None);
        }
        self.by_id.insert(flow.id, slot);
        self.flows[slot as usize] = Some(Installed {
            flow,
            subtable: index,
            sig,
        });
        Ok(FlowRef(slot))
    }

    /// The place of the flow with the same key and mask.
    fn same_identity(&self, flow: &Megaflow) -> Option<u32> {
        let order = self.ports.get(&flow.key.in_port)?;
        let mut tables = order
            .iter()
            .filter_map(|i| self.subtables.get(*i as usize)?.as_ref());
        let s = tables.find(|s| s.mask == flow.mask)?;
        let sig = self.hash.masked(s.width, &s.mask.0, &flow.key) as u32;
        s.entries.find(sig, |slot| {
            self.installed(FlowRef(slot))
                .is_some_and(|i| i.flow.key == flow.key)
        })
    }

    /// Puts a flow in the place of one with the same identity: its subtable keeps its rank, tier 1 follows by itself.
    fn replace(&mut self, slot: u32, flow: Arc<Megaflow>) -> FlowRef {
        self.by_id.insert(flow.id, slot);
        if let Some(Some(i)) = self.flows.get_mut(slot as usize) {
            let old = std::mem::replace(&mut i.flow, flow);
            if old.id != i.flow.id {
                self.by_id.remove(&old.id);
            }
        }
        FlowRef(slot)
    }

    /// The subtable of the flow's port and mask, made if the budget allows.
    fn subtable_for(&mut self, flow: &Megaflow) -> Result<u32, InstallRefused> {
        let order = self.ports.get(&flow.key.in_port).map_or(&[][..], |o| o);
        let has_mask = |i: &u32| matches!(self.subtables.get(*i as usize), Some(Some(s)) if s.mask == flow.mask);
        if let Some(i) = order.iter().copied().find(|i| has_mask(i)) {
            return Ok(i);
        }
        let exact = flow.mask == Mask::exact();
        let is_exact = |i: &&u32| matches!(self.subtables.get(**i as usize), Some(Some(s)) if s.mask == Mask::exact());
        let wild = order.len() - order.iter().filter(is_exact).count();
        if !exact && wild >= limits::MASKS_PER_PORT - 1 {
            return Err(InstallRefused::PortMasks);
        }
        if !exact && self.wild_masks >= limits::MASKS_PER_WORKER {
            return Err(InstallRefused::WorkerMasks);
        }
        let made = Subtable {
            in_port: flow.key.in_port,
            mask: flow.mask,
            width: Width::of_mask(&flow.mask.0),
            recent: Cell::new(0),
            rank: 0,
            entries: Buckets::new(),
        };
        *self.masks_of_kind(exact) += 1;
        let index = match self.subtables.iter().position(Option::is_none) {
            Some(i) => {
                self.subtables[i] = Some(made);
                i as u32
            }
            None => {
                self.subtables.push(Some(made));
                (self.subtables.len() - 1) as u32
            }
        };
        self.ports.entry(flow.key.in_port).or_default().push(index);
        Ok(index)
    }

    fn masks_of_kind(&mut self, exact: bool) -> &mut usize {
        if exact {
            &mut self.exact_masks
        } else {
            &mut self.wild_masks
        }
    }

    /// Takes a flow out. False when it is not there.
    pub fn remove(&mut self, id: FlowId) -> bool {
        let Some(slot) = self.by_id.remove(&id) else {
            return false;
        };
        let Some(gone) = self.flows.get_mut(slot as usize).and_then(Option::take) else {
            return false;
        };
        self.free.push(slot);
        if let Some(Some(s)) = self.subtables.get_mut(gone.subtable as usize) {
            s.entries.remove(gone.sig, slot);
        }
        self.drop_if_empty(gone.subtable, gone.flow.key.in_port);
        true
    }

    fn drop_if_empty(&mut self, index: u32, in_port: u32) {
        let Some(place) = self.subtables.get_mut(index as usize) else {
            return;
        };
        let Some(s) = place.take_if(|s| s.entries.is_empty()) else {
            return;
        };
        *self.masks_of_kind(s.mask == Mask::exact()) -= 1;
        if let Some(order) = self.ports.get_mut(&in_port) {
            order.retain(|i| *i != index);
            if order.is_empty() {
                self.ports.remove(&in_port);
            }
        }
    }

    /// Takes every flow out and returns the memory.
    pub fn flush(&mut self) {
        *self = Self::new(self.hash.clone(), self.capacity);
    }

    /// Installed flows, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Megaflow>> {
        self.flows.iter().flatten().map(|i| &i.flow)
    }

    /// Octets of memory of the table itself; the flows belong to the slow path as well and are not counted.
    pub fn memory(&self) -> usize {
        let tables = self.subtables.iter().flatten();
        self.flows.capacity() * size_of::<Option<Installed>>()
            + self.free.capacity() * size_of::<u32>()
            + self.by_id.capacity() * (size_of::<(FlowId, u32)>() + 1)
            + self.subtables.capacity() * size_of::<Option<Subtable>>()
            + tables.map(|s| s.entries.memory()).sum::<usize>()
    }
}

#[cfg(test)]
pub(crate) mod tests;
