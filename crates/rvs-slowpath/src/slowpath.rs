//! The slow path itself: from a miss to a verdict.

use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use rvs_dpif::{
    AckToken, Actions, DpAction, DpCommand, DropReason, FlowId, FlowStats, Megaflow, Upcall,
    UpcallKind, WorkerId,
};
use rvs_flow::{DpPort, FlowKey, Key, Mask};
use rvs_openflow::MeterId;
use rvs_packet::{gso, Now};
use rvs_pipeline::{
    translate, BridgeId, CachedEffect, FrozenState, LearnedFlow, MacTables, NoTrace, PipelineView,
    PuntNote, Translation, World,
};

use crate::flows::{DelReason, FlowTable, Held, InstalledFlow};
use crate::intern::Interner;
use crate::limits::Limits;
use crate::sweep::changes_of;

/// What a punt's cookie means.
pub type Notes<'a> = &'a dyn Fn(u64) -> Option<Arc<PuntNote>>;

/// Where decisions go.
pub trait Dispatch {
    /// To a worker, in order with everything sent to it before.
    fn command(&mut self, worker: WorkerId, command: DpCommand);

    /// To control: a copy that a flow punts, and what to do with it.
    fn punt(&mut self, upcall: Upcall, note: Arc<PuntNote>);

    /// To control: a learn action's flow is to be there.
    fn learn_flow(&mut self, taught: Taught);

    /// A flow was installed for a frame of this key; `note` tells what the copies that it punts are for.
    fn flow_added(&mut self, _key: &FlowKey, _flow: &Megaflow, _note: Notes<'_>) {}

    /// The translation of a frame of this key was given up: tables lead in circles, or too far.
    fn gave_up(&mut self, _now: Now, _key: &FlowKey) {}

    /// Brings the statistics of flows up to date where a tier does not write them as it goes (the kernel's).
    fn collect(&mut self) {}
}

/// A flow that frames have taught.
#[derive(Clone, Debug)]
pub struct Taught {
    pub bridge: BridgeId,
    pub flow: Arc<LearnedFlow>,
    /// When the last of them came.
    pub used: Now,
    /// The flow stays young if it is there, and is not made: its teacher may have been deleted on purpose.
    pub refresh_only: bool,
}

/// What the slow path counts; a name each for `coverage`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub upcalls: u64,
    pub translations: u64,
    pub installed: u64,
    /// Flows whose mask was rounded up to whole octets because of the mask budget.
    pub masks_rounded: u64,
    /// Flows installed with an exact mask because of the mask budget.
    pub masks_exact: u64,
    /// Verdicts without an entry: the port holds its share already.
    pub not_installed: u64,
    /// Punted copies whose note is gone with the flow.
    pub punts_unknown: u64,
    pub revalidated: u64,
    pub deleted: [u64; DelReason::ALL.len()],
}

/// A translation whose notes and frozen states have their numbers.
pub(crate) struct Bound {
    pub translation: Translation,
    /// Keeps those numbers valid.
    pub held: Held,
    pub actions: Actions,
}

/// The owner of everything slow.
pub struct SlowPath {
    pub(crate) world: World,
    pub(crate) macs: MacTables,
    pub(crate) flows: FlowTable,
    pub(crate) notes: Interner<PuntNote>,
    pub(crate) frozen: Interner<FrozenState>,
    pub(crate) limits: Limits,
    pub(crate) counters: Counters,
    /// Workers that were told something in this turn and have not been asked to acknowledge it yet.
    pub(crate) touched: Vec<WorkerId>,
    /// The last acknowledgement that each worker owes.
    pub(crate) owed: Vec<(AckToken, WorkerId)>,
    next_flow: u64,
    token: AckToken,
    pub(crate) next_sweep: Now,
    /// Put in by hand since the last round.
    pub(crate) by_hand: Vec<FlowId>,
    pub upkeep: Upkeep,
}

/// How cached flows are kept, as people who look for faults may have it, and what that looked like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Idle flows stay.
    pub paused: bool,
    /// Flows are installed with every bit, not only those that were looked at.
    pub exact: bool,
    /// Flows at a sweep, the last ones weighing most.
    pub average: usize,
    /// Most flows at any sweep.
    pub most: usize,
    /// What the last sweep took; whoever calls it reads the clock.
    pub took: Duration,
}

impl SlowPath {
    /// `hasher` is keyed at random by the daemon and fixed in tests.
    pub fn new(limits: Limits, hasher: RandomState) -> Self {
        Self {
            world: World::default(),
            macs: MacTables::default(),
            flows: FlowTable::new(hasher.clone()),
            notes: Interner::new(hasher.clone()),
            frozen: Interner::new(hasher),
            limits,
            counters: Counters::default(),
            touched: Vec::new(),
            owed: Vec::new(),
            next_flow: 1,
            token: AckToken(1),
            next_sweep: Now::ZERO,
            by_hand: Vec::new(),
            upkeep: Upkeep::default(),
        }
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    pub fn macs(&self) -> &MacTables {
        &self.macs
    }

    /// Counts what happens to a bridge's addresses from 0 again.
    pub fn clear_mac_stats(&mut self, bridge: BridgeId) {
        if let Some(table) = self.macs.get_mut(bridge) {
            table.clear_stats();
        }
    }

    pub fn flows(&self) -> &FlowTable {
        &self.flows
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn view(&self) -> PipelineView<'_> {
        PipelineView {
            world: &self.world,
            macs: &self.macs,
            frozen: self.frozen.items(),
        }
    }

    /// Answers a batch of upcalls.
    pub fn handle(&mut self, now: Now, upcalls: &mut Vec<Upcall>, out: &mut impl Dispatch) {
        for upcall in upcalls.drain(..) {
            self.counters.upcalls += 1;
            match upcall.kind {
                UpcallKind::Miss => self.miss(now, upcall, out),
                UpcallKind::Punt { cookie, .. } => self.punt(cookie, upcall, out),
            }
        }
        self.ask_acknowledgement(out);
    }

    /// What to do with copies that carry this cookie.
    pub fn note(&self, cookie: u64) -> Option<Arc<PuntNote>> {
        let number = u32::try_from(cookie).ok()?;
        self.notes.get(number).cloned()
    }

    fn punt(&mut self, cookie: u64, upcall: Upcall, out: &mut impl Dispatch) {
        match self.note(cookie) {
            Some(note) => out.punt(upcall, note),
            None => self.counters.punts_unknown += 1,
        }
    }

    fn miss(&mut self, now: Now, upcall: Upcall, out: &mut impl Dispatch) {
        let Upcall {
            worker, key, frame, ..
        } = upcall;
        let translation = self.translate_settled(now, &key, out);
        if translation.drop.is_some_and(DropReason::is_endless) {
            out.gave_up(now, &key);
        }
        let bound = self.bind(&key, translation);
        let (actions, drop) = (self.metered(&key, &bound.actions), bound.translation.drop);
        let effects = bound.translation.effects.clone();
        let flow = self.install(now, worker, &key, bound, out);
        if let Some(entry) = flow.as_ref().and_then(|f| self.flows.get_mut(f.id)) {
            entry.asked.0 += gso::segment_count(&frame) as u64;
            entry.asked.1 += gso::wire_len(&frame) as u64;
        }
        if flow.is_none() {
            // No entry will count this frame.
            self.credit_frame(now, &key, &frame, &effects, out);
            // Frames that parked behind it go by this verdict, also after a change that finds no entry to delete.
            self.sent_to(worker);
        }
        out.command(
            worker,
            DpCommand::Verdict {
                key,
                actions,
                drop,
                flow,
            },
        );
    }

    /// What the frames that asked do: they pass the bridge's slow path meter (`OFPM_SLOWPATH`) first if it has one. The entry
    /// does without.
    fn metered(&self, key: &FlowKey, actions: &Actions) -> Actions {
        let meter = self
            .world
            .port(DpPort(key.in_port))
            .and_then(|(bridge, _)| bridge.meters.get(MeterId::SLOWPATH));
        match meter {
            Some(meter) if !actions.is_empty() => {
                let first = DpAction::Meter(meter.dp);
                std::iter::once(first)
                    .chain(actions.iter().cloned())
                    .collect()
            }
            _ => actions.clone(),
        }
    }

    /// Translates, and applies what the frame teaches. When the lesson changes anything the answer is asked for again, so
    /// that it is the one that the next frame would get.
    fn translate_settled(
        &mut self,
        now: Now,
        key: &FlowKey,
        out: &mut impl Dispatch,
    ) -> Translation {
        const ROUNDS: usize = 3;
        let mut translation = self.translate(key);
        for _ in 0..ROUNDS {
            if !self.apply_lessons(now, &translation, out) {
                break;
            }
            translation = self.translate(key);
        }
        translation
    }

    pub(crate) fn translate(&mut self, key: &FlowKey) -> Translation {
        self.counters.translations += 1;
        translate(&self.view(), key, &mut NoTrace)
    }

    /// Gives notes and frozen states their numbers. What the frames of `key` go on with is held too: the flow that
    /// recirculates into it may go and come again, and is to find the same number.
    pub(crate) fn bind(&mut self, key: &FlowKey, mut translation: Translation) -> Bound {
        let mut held = Held::default();
        held.frozen.extend(self.frozen.get(key.recirc_id).cloned());
        let mut number = |interned: (u32, Arc<PuntNote>)| {
            held.notes.push(interned.1);
            u64::from(interned.0)
        };
        let notes: Vec<u64> = std::mem::take(&mut translation.notes)
            .into_iter()
            .map(|n| number(self.notes.intern(n)))
            .collect();
        let mut frozen = Vec::new();
        for state in std::mem::take(&mut translation.frozen) {
            let (n, state) = self.frozen.intern(state);
            held.frozen.push(state);
            frozen.push(n);
        }
        translation.bind(
            |i| notes.get(i).copied().unwrap_or_default(),
            |i| frozen.get(i).copied().unwrap_or_default(),
        );
        let actions = translation.actions.as_slice().into();
        Bound {
            translation,
            held,
            actions,
        }
    }

    /// Learns what a translation teaches, as if its frame had come; the answer is what to wait for until
    /// no tier forwards by what was known before.
    pub fn teach(
        &mut self,
        now: Now,
        translation: &Translation,
        out: &mut impl Dispatch,
    ) -> crate::revalidate::Wait {
        self.apply_lessons(now, translation, out);
        self.ask_acknowledgement(out)
    }

    /// Applies the state effects of a translation; true when they changed what a translation may say.
    pub(crate) fn apply_lessons(
        &mut self,
        now: Now,
        translation: &Translation,
        out: &mut impl Dispatch,
    ) -> bool {
        let mut changed = Vec::new();
        for effect in &translation.effects {
            match effect {
                CachedEffect::Learn { bridge, lesson } => {
                    if let Some(table) = self.macs.get_mut(*bridge) {
                        let learned = table.learn(now, *lesson);
                        changed.extend(changes_of(learned, *bridge, lesson));
                    }
                }
                CachedEffect::LearnFlow { bridge, flow } => out.learn_flow(Taught {
                    bridge: *bridge,
                    flow: flow.clone(),
                    used: now,
                    refresh_only: false,
                }),
                _ => {}
            }
        }
        self.macs_changed(&changed, out);
        !changed.is_empty()
    }

    /// Makes an entry of a translation, within the bounds. `None`: the frame gets its verdict, no entry is made.
    fn install(
        &mut self,
        now: Now,
        worker: WorkerId,
        key: &FlowKey,
        bound: Bound,
        out: &mut impl Dispatch,
    ) -> Option<Arc<Megaflow>> {
        let Bound {
            translation,
            held,
            actions,
        } = bound;
        if !translation.cacheable {
            return None;
        }
        let port = DpPort(key.in_port);
        let mask = self.within_mask_budget(port, translation.mask);
        let masked = mask.apply(key);
        if let Some(old) = self.flows.find(&masked, &mask) {
            if old.worker == worker
                && old.flow.actions[..] == actions[..]
                && old.flow.drop == translation.drop
            {
                return Some(old.flow.clone());
            }
            let id = old.flow.id;
            self.remove(id, DelReason::Replaced, out);
        }
        if !self.make_room(port, out) {
            self.counters.not_installed += 1;
            return None;
        }
        let flow = Arc::new(Megaflow {
            id: self.new_flow_id(),
            key: masked,
            mask,
            actions,
            drop: translation.drop,
            stats: Arc::new(FlowStats::default()),
            version: self.world.version(),
        });
        self.counters.installed += 1;
        out.flow_added(key, &flow, &|cookie| self.note(cookie));
        self.flows.insert(InstalledFlow::new(
            flow.clone(),
            worker,
            translation,
            held,
            now,
        ));
        Some(flow)
    }

    pub(crate) fn new_flow_id(&mut self) -> FlowId {
        let id = FlowId(self.next_flow);
        self.next_flow += 1;
        id
    }

    /// Keeps the number of distinct masks of a port down: first prefixes are rounded up to whole octets, then flows are
    /// installed exactly. A mask bit too many is slow; a bit too few would be wrong, and none is ever taken away.
    fn within_mask_budget(&mut self, port: DpPort, mask: Mask<FlowKey>) -> Mask<FlowKey> {
        if self.upkeep.exact {
            return Mask::exact();
        }
        let (masks, known) = self.flows.mask_usage(port, &mask);
        if known || masks < self.limits.masks_coarse {
            return mask;
        }
        let rounded = whole_octets(&mask);
        if self.flows.mask_usage(port, &rounded).1 || masks < self.limits.masks {
            self.counters.masks_rounded += 1;
            return rounded;
        }
        self.counters.masks_exact += 1;
        Mask::exact()
    }

    /// Makes room for one more entry of `port`; false when the port has to do without.
    fn make_room(&mut self, port: DpPort, out: &mut impl Dispatch) -> bool {
        let limit = self.limits.flows;
        if self.flows.len() > limit {
            // The limit was lowered: two go for each that comes.
            self.evict(out);
        }
        let nearly_full = self.flows.len() * 10 >= limit * 9;
        if nearly_full && self.flows.port_len(port) * 100 >= limit * self.limits.port_share {
            return self
                .flows
                .victim_of(port)
                .is_some_and(|id| self.remove(id, DelReason::Evicted, out));
        }
        if self.flows.len() < limit {
            return true;
        }
        self.evict(out)
    }

    fn evict(&mut self, out: &mut impl Dispatch) -> bool {
        self.flows
            .victim()
            .is_some_and(|id| self.remove(id, DelReason::Evicted, out))
    }

    /// Takes an entry out of the caches. Its last frames are credited once the worker has acknowledged.
    pub(crate) fn remove(
        &mut self,
        id: FlowId,
        reason: DelReason,
        out: &mut impl Dispatch,
    ) -> bool {
        let Some(entry) = self.flows.leave(id, self.token) else {
            return false;
        };
        let worker = entry.worker;
        self.counters.deleted[reason as usize] += 1;
        out.command(worker, DpCommand::Remove(id));
        self.sent_to(worker);
        true
    }

    /// Asks every worker that was told something to acknowledge it. Returns the token and the workers to wait for.
    pub(crate) fn ask_acknowledgement(
        &mut self,
        out: &mut impl Dispatch,
    ) -> Option<(AckToken, Vec<WorkerId>)> {
        if self.touched.is_empty() {
            return None;
        }
        let token = self.token;
        self.token = AckToken(token.0 + 1);
        let workers = std::mem::take(&mut self.touched);
        for worker in &workers {
            out.command(*worker, DpCommand::Ack(token));
            self.owed.retain(|(_, w)| w != worker);
            self.owed.push((token, *worker));
        }
        Some((token, workers))
    }

    /// A worker has obeyed everything up to `token`: entries that left by then are final.
    pub fn acknowledged(&mut self, worker: WorkerId, token: AckToken, out: &mut impl Dispatch) {
        self.owed.retain(|(t, w)| *w != worker || *t > token);
        if self.flows.leaving() == 0 {
            return;
        }
        for mut entry in self.flows.acknowledged(worker, token) {
            self.credit(&mut entry, out);
        }
    }
}

/// Every octet that counts in part counts whole.
fn whole_octets(mask: &Mask<FlowKey>) -> Mask<FlowKey> {
    let mut out = *mask;
    for word in out.0.words_mut() {
        let octets = word.to_ne_bytes().map(|b| if b == 0 { 0 } else { 0xff });
        *word = u64::from_ne_bytes(octets);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_adds_bits_and_takes_none_away() {
        let mask = Mask(FlowKey {
            nw_src: [0xff, 0x80, 0, 0],
            in_port: u32::MAX,
            ..Default::default()
        });
        let rounded = whole_octets(&mask);
        assert!(mask.is_subset_of(&rounded));
        assert_eq!(rounded.0.nw_src, [0xff, 0xff, 0, 0]);
    }
}
