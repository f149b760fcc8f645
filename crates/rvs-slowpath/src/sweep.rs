//! The regular round: credit what cached flows carried, let idle ones go, let old addresses go.

use rvs_dpif::FlowSnapshot;
use rvs_flow::FlowKey;
use rvs_l2::{Learned, Lesson};
use rvs_packet::{gso, Frame, Now};
use rvs_pipeline::{BridgeId, CachedEffect, MacDep, MacTables};

use crate::flows::{DelReason, InstalledFlow};
use crate::revalidate::{on, Wait};
use crate::slowpath::{Dispatch, SlowPath, Taught};

const TCP_FIN: u16 = 0x001;
const TCP_RST: u16 = 0x004;

impl SlowPath {
    /// When [`Self::sweep`] has something to do; `None` while there is nothing installed, nothing learned and nothing
    /// that punted copies point at.
    pub fn next_sweep(&self) -> Option<Now> {
        let macs = self
            .world
            .bridges()
            .filter_map(|b| self.macs.get(b.id)?.next_expiry())
            .min();
        let interned = !self.notes.items().is_empty() || !self.frozen.items().is_empty();
        let installed = !self.flows.is_empty() || self.flows.leaving() > 0;
        let flows = (installed || interned).then_some(self.next_sweep);
        match (macs, flows) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The regular round. Credits come first: an address that cached traffic uses must not age.
    pub fn sweep(&mut self, now: Now, out: &mut impl Dispatch) -> Wait {
        self.next_sweep = now + self.limits.sweep_every;
        self.credit_all(out);
        if !self.upkeep.paused {
            self.judge_by_hand(out);
        }
        let flows = self.flows.len();
        self.upkeep.average = (self.upkeep.average + flows) / 2;
        self.upkeep.most = self.upkeep.most.max(flows);
        let oldest = now - self.limits.max_idle;
        let looked_at = match self.upkeep.paused {
            true => Vec::new(),
            false => self.flows.ids(),
        };
        for id in looked_at {
            if self.flows.get(id).is_some_and(|f| {
                f.last_used <= oldest && now.since(f.created) >= self.limits.max_idle
            }) {
                self.remove(id, DelReason::Idle, out);
            }
        }
        let bridges: Vec<BridgeId> = self.world.bridges().map(|b| b.id).collect();
        for bridge in bridges {
            let expired = self
                .macs
                .get_mut(bridge)
                .map(|t| t.expire(now))
                .unwrap_or_default();
            self.macs_changed(&on(bridge, expired), out);
        }
        self.notes.sweep();
        self.frozen.sweep();
        self.ask_acknowledgement(out)
    }

    /// Credits what every live entry carried since it was last credited. To be called before statistics are shown.
    pub fn credit_all(&mut self, out: &mut impl Dispatch) {
        out.collect();
        let mut changed = Vec::new();
        let Self { flows, macs, .. } = self;
        for entry in flows.iter_mut() {
            if let Some(delta) = entry.take_delta() {
                apply(
                    &entry.effects,
                    delta,
                    Share::Present,
                    macs,
                    &mut changed,
                    out,
                );
            }
        }
        self.macs_changed(&changed, out);
    }

    /// Credits one frame that no entry counts.
    pub(crate) fn credit_frame(
        &mut self,
        now: Now,
        key: &FlowKey,
        frame: &Frame,
        effects: &[CachedEffect],
        out: &mut impl Dispatch,
    ) {
        let one = FlowSnapshot {
            packets: gso::segment_count(frame) as u64,
            bytes: gso::wire_len(frame) as u64,
            used: now,
            tcp_flags: key.tcp_flags.get(),
        };
        let mut changed = Vec::new();
        apply(
            effects,
            one,
            Share::Present,
            &mut self.macs,
            &mut changed,
            out,
        );
        self.macs_changed(&changed, out);
    }

    /// Credits an entry that has left the caches for the last time.
    pub(crate) fn credit(&mut self, entry: &mut InstalledFlow, out: &mut impl Dispatch) {
        if let Some(delta) = entry.take_delta() {
            self.credit_past(&entry.effects, delta, out);
        }
    }

    /// Credits what frames did that may no longer be what frames do: an entry has left the caches, or has other effects now.
    pub(crate) fn credit_past(
        &mut self,
        effects: &[CachedEffect],
        delta: FlowSnapshot,
        out: &mut impl Dispatch,
    ) {
        let mut changed = Vec::new();
        apply(
            effects,
            delta,
            Share::Past,
            &mut self.macs,
            &mut changed,
            out,
        );
        self.macs_changed(&changed, out);
    }
}

/// When effects are credited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    /// They are what frames do.
    Present,
    /// They may not be any more. What they taught stays young where it is known, and is not taught: it may have been
    /// forgotten on purpose.
    Past,
}

/// Gives rules, tables, groups, patch ports and addresses their share of what a flow carried.
fn apply(
    effects: &[CachedEffect],
    delta: FlowSnapshot,
    share: Share,
    macs: &mut MacTables,
    changed: &mut Vec<MacDep>,
    out: &mut impl Dispatch,
) {
    let FlowSnapshot {
        packets,
        bytes,
        used,
        tcp_flags,
    } = delta;
    for effect in effects {
        match effect {
            CachedEffect::Learn { bridge, lesson } => {
                let (vlan, mac) = (lesson.key.vlan, lesson.key.mac);
                let known = macs.get(*bridge).and_then(|t| t.lookup(vlan, mac));
                if share == Share::Present || known == Some(lesson.port) {
                    refresh(macs, *bridge, lesson, used, changed);
                }
            }
            CachedEffect::TableHit { table, rule, .. } => {
                table.count(packets, packets);
                rule.counters.count(packets, bytes, used);
            }
            CachedEffect::TableMiss {
                id, table, unused, ..
            } => match table {
                Some(table) => table.count(packets, 0),
                None => unused.count(*id, packets),
            },
            CachedEffect::GroupHit { group, bucket, .. } => {
                group.counters.group.count(packets, bytes, used);
                let buckets = &group.counters.buckets;
                let hit = match bucket {
                    Some(i) => buckets.get(*i..=*i).unwrap_or_default(),
                    None => &buckets[..],
                };
                hit.iter().for_each(|b| b.count(packets, bytes, used));
            }
            CachedEffect::PatchHit { from, to } => {
                from.count_tx(packets, bytes);
                to.count_rx(packets, bytes);
            }
            CachedEffect::MirrorHit { traffic } => traffic.count_tx(packets, bytes),
            CachedEffect::LearnFlow { bridge, flow } => out.learn_flow(Taught {
                bridge: *bridge,
                flow: flow.clone(),
                used,
                refresh_only: share == Share::Past,
            }),
            CachedEffect::FinTimeout { rule, idle, hard } => {
                if tcp_flags & (TCP_FIN | TCP_RST) != 0 {
                    rule.lower_timeouts(*idle, *hard);
                }
            }
        }
    }
}

/// Cached frames keep their source address young. An address that has moved meanwhile stays where it was heard last.
pub(crate) fn refresh(
    macs: &mut MacTables,
    bridge: BridgeId,
    lesson: &Lesson,
    used: Now,
    changed: &mut Vec<MacDep>,
) {
    let Some(table) = macs.get_mut(bridge) else {
        return;
    };
    match table.entry(lesson.key) {
        Some(e) if e.port != lesson.port && e.used >= used => {}
        _ => changed.extend(changes_of(table.learn(used, *lesson), bridge, lesson)),
    }
}

/// Addresses of which a translation may now say something else.
pub(crate) fn changes_of(
    learned: Learned,
    bridge: BridgeId,
    lesson: &Lesson,
) -> impl Iterator<Item = MacDep> {
    let evicted = match learned {
        Learned::New { evicted } => evicted,
        _ => None,
    };
    learned
        .changed()
        .then_some(lesson.key)
        .into_iter()
        .chain(evicted)
        .map(move |key| MacDep { bridge, key })
}
