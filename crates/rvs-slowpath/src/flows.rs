//! The slow path's book of installed flows: what is in the caches, why, and what it has carried.
//!
//! Invariants
//! - An entry's identity is (key, mask): two entries with the same masked key and different masks are two entries.
//! - An entry is live from the command that installs it until the command that removes it, and leaving from then until the
//!   worker has acknowledged that command: only then are its last frames counted.
//! - Every index names live entries only.

use std::hash::Hash;
use std::sync::Arc;

use ahash::{AHashMap, RandomState};
use hashbrown::HashTable;
use rvs_dpif::{AckToken, FlowId, FlowSnapshot, Megaflow, WorkerId};
use rvs_flow::{DpPort, FlowKey, Key, Mask};
use rvs_openflow::MeterId;
use rvs_packet::Now;
use rvs_pipeline::{
    BridgeId, CachedEffect, ChangeSet, Deps, FrozenState, GroupDep, MacDep, PuntNote, Translation,
    World,
};

use crate::ids::{FlowMap, Ids};
use crate::index::{concerns, TableIndex};

/// Why an entry left the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DelReason {
    /// Nothing used it for the idle time.
    Idle,
    /// A fresh translation disagrees with it.
    Changed,
    /// One of many that a change concerned: not translated afresh, but asked for again.
    Suspect,
    /// Its input port is gone.
    PortGone,
    /// The table was full and its port held the most.
    Evicted,
    /// Another entry with the same key and mask took its place.
    Replaced,
    /// Somebody asked for an empty cache.
    Flushed,
}

impl DelReason {
    pub const ALL: [Self; 7] = [
        Self::Idle,
        Self::Changed,
        Self::Suspect,
        Self::PortGone,
        Self::Evicted,
        Self::Replaced,
        Self::Flushed,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "flow_del_idle",
            Self::Changed => "flow_del_changed",
            Self::Suspect => "flow_del_suspect",
            Self::PortGone => "flow_del_port_gone",
            Self::Evicted => "flow_del_evicted",
            Self::Replaced => "flow_del_replaced",
            Self::Flushed => "flow_del_flushed",
        }
    }
}

/// Where an entry stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Live,
    /// Removed from the indexes; the worker may still count frames for it until it acknowledges.
    Leaving(AckToken),
}

/// What the actions of a flow point at; held so that it lives as long as the flow.
#[derive(Clone, Debug, Default)]
pub struct Held {
    pub notes: Vec<Arc<PuntNote>>,
    pub frozen: Vec<Arc<FrozenState>>,
}

/// One installed flow and everything the slow path knows about it.
#[derive(Debug)]
pub struct InstalledFlow {
    pub flow: Arc<Megaflow>,
    pub worker: WorkerId,
    pub deps: Deps,
    /// Effects that cached frames must keep having.
    pub effects: Vec<CachedEffect>,
    pub held: Held,
    pub created: Now,
    /// Frames and octets that asked for it. It counts them, where Open vSwitch's do not.
    pub asked: (u64, u64),
    /// What has been credited to rules, tables and MAC entries so far.
    pub credited: FlowSnapshot,
    /// Last time it carried a frame, as the last sweep saw it; the time of creation before that.
    pub last_used: Now,
    stage: Stage,
    /// Position in its port's list.
    slot: usize,
}

impl InstalledFlow {
    pub fn new(
        flow: Arc<Megaflow>,
        worker: WorkerId,
        translation: Translation,
        held: Held,
        now: Now,
    ) -> Self {
        Self {
            flow,
            worker,
            deps: translation.deps,
            effects: translation.effects,
            held,
            created: now,
            asked: (0, 0),
            credited: FlowSnapshot::default(),
            last_used: now,
            stage: Stage::Live,
            slot: 0,
        }
    }

    pub fn port(&self) -> DpPort {
        DpPort(self.flow.key.in_port)
    }

    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// What it carried since it was last credited; credits it.
    pub fn take_delta(&mut self) -> Option<FlowSnapshot> {
        let now = self.flow.stats.read();
        if now.packets == self.credited.packets {
            return None;
        }
        let delta = FlowSnapshot {
            packets: now.packets.wrapping_sub(self.credited.packets),
            bytes: now.bytes.wrapping_sub(self.credited.bytes),
            used: now.used,
            tcp_flags: now.tcp_flags,
        };
        self.credited = now;
        self.last_used = self.last_used.max(now.used);
        Some(delta)
    }
}

/// Entries of one input port.
#[derive(Debug, Default)]
struct PortFlows {
    ids: Vec<FlowId>,
    /// Distinct masks with how many entries have each, for the mask budget.
    masks: AHashMap<u64, u32>,
    /// Where the eviction hand stands.
    hand: usize,
}

/// Entries by something that they rest on.
#[derive(Debug)]
struct Index<K>(AHashMap<K, Ids>);

impl<K: Copy + Eq + Hash> Index<K> {
    fn new() -> Self {
        Self(AHashMap::default())
    }

    fn add(&mut self, keys: impl Iterator<Item = K>, id: FlowId) {
        for key in keys {
            self.0.entry(key).or_insert(Ids::One(id)).insert(id);
        }
    }

    fn remove(&mut self, keys: impl Iterator<Item = K>, id: FlowId) {
        for key in keys {
            if self.0.get_mut(&key).is_some_and(|ids| ids.remove(id)) {
                self.0.remove(&key);
            }
        }
    }

    fn get(&self, key: &K) -> impl Iterator<Item = FlowId> + '_ {
        self.0.get(key).into_iter().flat_map(Ids::iter)
    }
}

/// The addresses that these effects teach.
fn lessons(effects: &[CachedEffect]) -> impl Iterator<Item = MacDep> + '_ {
    effects.iter().filter_map(|e| match e {
        CachedEffect::Learn { bridge, lesson } => Some(MacDep {
            bridge: *bridge,
            key: lesson.key,
        }),
        _ => None,
    })
}

/// All entries with their indexes.
#[derive(Debug)]
pub struct FlowTable {
    /// Boxed: an entry is large, and the table grows.
    entries: FlowMap<Box<InstalledFlow>>,
    identity: HashTable<(u64, FlowId)>,
    ports: AHashMap<DpPort, PortFlows>,
    /// Entries by the addresses that they asked for.
    by_mac: Index<MacDep>,
    /// Entries by the addresses that their frames teach.
    teachers: Index<MacDep>,
    by_group: Index<GroupDep>,
    by_meter: Index<(BridgeId, MeterId)>,
    /// Entries by the tables that they asked.
    by_table: TableIndex,
    leaving: Vec<FlowId>,
    live: usize,
    hasher: RandomState,
}

impl FlowTable {
    pub fn new(hasher: RandomState) -> Self {
        Self {
            entries: FlowMap::default(),
            identity: HashTable::new(),
            ports: AHashMap::default(),
            by_mac: Index::new(),
            teachers: Index::new(),
            by_group: Index::new(),
            by_meter: Index::new(),
            by_table: TableIndex::new(hasher.clone()),
            leaving: Vec::new(),
            live: 0,
            hasher,
        }
    }

    /// Live entries.
    pub fn len(&self) -> usize {
        self.live
    }

    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    pub fn get(&self, id: FlowId) -> Option<&InstalledFlow> {
        self.entries.get(&id).map(Box::as_ref)
    }

    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut InstalledFlow> {
        self.entries.get_mut(&id).map(Box::as_mut)
    }

    /// Whether this very flow is live.
    pub fn is_live(&self, flow: &Arc<Megaflow>) -> bool {
        self.get(flow.id)
            .is_some_and(|e| e.stage == Stage::Live && Arc::ptr_eq(&e.flow, flow))
    }

    /// Live entries, in no order, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut InstalledFlow> {
        self.entries
            .values_mut()
            .map(Box::as_mut)
            .filter(|f| f.stage == Stage::Live)
    }

    /// Gives a live entry what a fresh translation rests on. What it carried so far is the caller's to have credited.
    pub fn rebase(&mut self, id: FlowId, deps: Deps, effects: Vec<CachedEffect>, held: Held) {
        let Some(mut entry) = self.entries.remove(&id) else {
            return;
        };
        self.forget_deps(&entry);
        entry.deps = deps;
        entry.effects = effects;
        entry.held = held;
        self.note_deps(&entry);
        self.entries.insert(id, entry);
    }

    /// Enters an entry in the indexes of what it rests on.
    fn note_deps(&mut self, entry: &InstalledFlow) {
        let (id, deps) = (entry.flow.id, &entry.deps);
        self.by_mac.add(deps.macs(), id);
        self.teachers.add(lessons(&entry.effects), id);
        self.by_group.add(deps.groups.iter().copied(), id);
        self.by_meter.add(deps.meters.iter().copied(), id);
        self.by_table.insert(&entry.flow, &deps.tables);
    }

    fn forget_deps(&mut self, entry: &InstalledFlow) {
        let (id, deps) = (entry.flow.id, &entry.deps);
        self.by_mac.remove(deps.macs(), id);
        self.teachers.remove(lessons(&entry.effects), id);
        self.by_group.remove(deps.groups.iter().copied(), id);
        self.by_meter.remove(deps.meters.iter().copied(), id);
        self.by_table.remove(&entry.flow, &deps.tables);
    }

    /// Live entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &InstalledFlow> {
        self.entries
            .values()
            .map(Box::as_ref)
            .filter(|f| f.stage == Stage::Live)
    }

    /// Ids of all live entries.
    pub fn ids(&self) -> Vec<FlowId> {
        self.iter().map(|f| f.flow.id).collect()
    }

    /// The live entry with this key and mask.
    pub fn find(&self, key: &FlowKey, mask: &Mask<FlowKey>) -> Option<&InstalledFlow> {
        let hash = self.identity_hash(key, mask);
        let (_, id) = self
            .identity
            .find(hash, |(h, id)| *h == hash && self.is(*id, key, mask))?;
        self.get(*id)
    }

    /// Adds a live entry. The caller has made sure that there is none with the same identity.
    pub fn insert(&mut self, entry: InstalledFlow) {
        let mut entry = Box::new(entry);
        let id = entry.flow.id;
        let hash = self.identity_hash(&entry.flow.key, &entry.flow.mask);
        self.identity.insert_unique(hash, (hash, id), |(h, _)| *h);
        let mask = self.mask_hash(&entry.flow.mask);
        let port = self.ports.entry(entry.port()).or_default();
        entry.slot = port.ids.len();
        port.ids.push(id);
        *port.masks.entry(mask).or_insert(0) += 1;
        self.note_deps(&entry);
        self.live += 1;
        self.entries.insert(id, entry);
    }

    /// Takes a live entry out of every index; it stays until [`Self::acknowledged`].
    pub fn leave(&mut self, id: FlowId, token: AckToken) -> Option<&mut InstalledFlow> {
        self.entries.get(&id).filter(|e| e.stage == Stage::Live)?;
        let mut entry = self.entries.remove(&id)?;
        entry.stage = Stage::Leaving(token);
        let (flow, slot, port) = (entry.flow.clone(), entry.slot, entry.port());
        self.forget_deps(&entry);
        let hash = self.identity_hash(&flow.key, &flow.mask);
        if let Ok(found) = self.identity.find_entry(hash, |(_, i)| *i == id) {
            found.remove();
        }
        self.leave_port(port, slot, self.mask_hash(&flow.mask));
        self.live -= 1;
        self.leaving.push(id);
        Some(self.entries.entry(id).or_insert(entry))
    }

    fn leave_port(&mut self, port: DpPort, slot: usize, mask: u64) {
        let Some(flows) = self.ports.get_mut(&port) else {
            return;
        };
        flows.ids.swap_remove(slot);
        if let Some(moved) = flows.ids.get(slot).and_then(|id| self.entries.get_mut(id)) {
            moved.slot = slot;
        }
        if let Some(n) = flows.masks.get_mut(&mask) {
            *n -= 1;
            if *n == 0 {
                flows.masks.remove(&mask);
            }
        }
        if flows.ids.is_empty() {
            self.ports.remove(&port);
        }
    }

    /// Entries that nobody counts for any more: those that left at or before `token`.
    pub fn acknowledged(&mut self, worker: WorkerId, token: AckToken) -> Vec<InstalledFlow> {
        let mut gone = Vec::new();
        let entries = &mut self.entries;
        self.leaving.retain(|id| {
            let done = entries.get(id).is_some_and(|e| {
                e.worker == worker && matches!(e.stage, Stage::Leaving(t) if t <= token)
            });
            if done {
                gone.extend(entries.remove(id).map(|entry| *entry));
            }
            !done
        });
        gone
    }

    /// Entries that wait for an acknowledgement.
    pub fn leaving(&self) -> usize {
        self.leaving.len()
    }

    /// Live entries whose translation asked for this address.
    pub fn by_mac(&self, mac: &MacDep) -> impl Iterator<Item = FlowId> + '_ {
        self.by_mac.get(mac)
    }

    /// Live entries whose frames teach this address.
    pub fn teachers(&self, mac: &MacDep) -> impl Iterator<Item = FlowId> + '_ {
        self.teachers.get(mac)
    }

    /// Live entries that a change of a bridge may concern.
    pub fn suspects(
        &mut self,
        world: &World,
        bridge: BridgeId,
        changes: &ChangeSet,
    ) -> Vec<FlowId> {
        if changes.all {
            return self.by_bridge(bridge);
        }
        let mut found = Vec::new();
        for group in &changes.groups {
            let dep = GroupDep {
                bridge,
                group: *group,
            };
            found.extend(self.by_group.get(&dep));
        }
        for meter in &changes.meters {
            found.extend(self.by_meter.get(&(bridge, *meter)));
        }
        let entries = &self.entries;
        let mut candidates = Vec::new();
        for change in &changes.rules {
            let key_of = |id| entries.get(&id).map(|e| &e.flow.key);
            self.by_table
                .candidates(world, bridge, change, key_of, &mut candidates);
            found.extend(candidates.drain(..).filter(|id| {
                entries
                    .get(id)
                    .is_some_and(|e| concerns(&e.flow, &e.deps.tables, bridge, change))
            }));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Live entries of an input port.
    pub fn by_port(&self, port: DpPort) -> &[FlowId] {
        self.ports.get(&port).map_or(&[], |p| p.ids.as_slice())
    }

    /// Live entries that rest on this bridge's ports, VLANs or settings, and those of ports that no bridge had.
    pub fn by_bridge(&self, bridge: BridgeId) -> Vec<FlowId> {
        self.iter()
            .filter(|f| f.deps.bridges.is_empty() || f.deps.bridges.contains(&bridge))
            .map(|f| f.flow.id)
            .collect()
    }

    /// How many live entries the port has.
    pub fn port_len(&self, port: DpPort) -> usize {
        self.by_port(port).len()
    }

    /// Ports with how many entries and distinct masks each has.
    pub fn port_usage(&self) -> impl Iterator<Item = (DpPort, usize, usize)> + '_ {
        self.ports
            .iter()
            .map(|(p, f)| (*p, f.ids.len(), f.masks.len()))
    }

    /// Distinct masks of the port, and whether `mask` is one of them.
    pub fn mask_usage(&self, port: DpPort, mask: &Mask<FlowKey>) -> (usize, bool) {
        let hash = self.mask_hash(mask);
        self.ports
            .get(&port)
            .map_or((0, false), |p| (p.masks.len(), p.masks.contains_key(&hash)))
    }

    /// The entry to give up for a new one: from the port that holds the most, the least recently used of a few.
    pub fn victim(&mut self) -> Option<FlowId> {
        let heaviest = self
            .ports
            .iter()
            .max_by_key(|(_, p)| p.ids.len())
            .map(|(p, _)| *p)?;
        self.victim_of(heaviest)
    }

    /// The entry of this port to give up: the least recently used of the few where its hand stands.
    pub fn victim_of(&mut self, port: DpPort) -> Option<FlowId> {
        const SAMPLE: usize = 8;
        let flows = self.ports.get_mut(&port)?;
        let n = flows.ids.len();
        let start = flows.hand;
        flows.hand = (start + SAMPLE) % n.max(1);
        let entries = &self.entries;
        let used = |id: &FlowId| {
            entries
                .get(id)
                .map_or(Now::ZERO, |e| e.last_used.max(e.flow.stats.read().used))
        };
        (0..SAMPLE.min(n))
            .filter_map(|i| flows.ids.get((start + i) % n).copied())
            .min_by_key(used)
    }

    fn is(&self, id: FlowId, key: &FlowKey, mask: &Mask<FlowKey>) -> bool {
        self.entries
            .get(&id)
            .is_some_and(|e| e.flow.key == *key && e.flow.mask == *mask)
    }

    fn identity_hash(&self, key: &FlowKey, mask: &Mask<FlowKey>) -> u64 {
        self.hasher
            .hash_one((Words(key.words()), Words(mask.0.words())))
    }

    fn mask_hash(&self, mask: &Mask<FlowKey>) -> u64 {
        self.hasher.hash_one(Words(mask.0.words()))
    }
}

/// Hashes a key by its words.
struct Words<'a>(&'a [u64]);

impl Hash for Words<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for w in self.0 {
            state.write_u64(*w);
        }
    }
}
