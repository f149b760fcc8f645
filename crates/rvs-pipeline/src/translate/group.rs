//! Groups: one frame becomes the frames of its buckets.

use std::sync::Arc;

use rvs_dpif::DropReason;
use rvs_openflow::{ActionSet, Bucket, GroupId, GroupKind, PacketInReason};

use super::ctx::Ctx;
use super::limits::{MAX_RESUBMITS, MAX_WATCHED};
use crate::bridge::{Bridge, GroupEntry};
use crate::trace::{Trace, TraceEvent};
use crate::translation::{push, CachedEffect, GroupDep};

impl<T: Trace> Ctx<'_, '_, T> {
    pub(super) fn group(&mut self, id: GroupId) {
        let Some(bridge) = self.at.bridge else {
            return;
        };
        push(
            &mut self.deps.groups,
            GroupDep {
                bridge: bridge.id,
                group: id,
            },
        );
        let Some(entry) = bridge.groups.get(id) else {
            return self.drop_with(DropReason::GroupEmpty);
        };
        if self.is_deepest() {
            return self.abort(DropReason::TooDeep);
        }
        // Groups that lead to groups multiply, also when nothing comes out of them.
        self.resubmits += 1;
        if self.resubmits > MAX_RESUBMITS {
            return self.abort(DropReason::TooManyResubmits);
        }
        match entry.group.kind {
            GroupKind::All => {
                self.group_hit(entry, None);
                for index in 0..entry.group.buckets.len() {
                    self.bucket(entry, index);
                    if self.aborted {
                        return;
                    }
                }
            }
            GroupKind::Indirect => {
                self.chosen(entry, (!entry.group.buckets.is_empty()).then_some(0))
            }
            GroupKind::FastFailover => {
                // What was found dead for one bucket is dead for the next.
                let mut dead = Vec::new();
                let mut buckets = entry.group.buckets.iter();
                let live = buckets.position(|b| self.is_live(b, &mut dead));
                self.chosen(entry, live);
            }
            GroupKind::Select => {
                let live: Vec<usize> = (0..entry.group.buckets.len())
                    .filter(|i| self.is_live(&entry.group.buckets[*i], &mut Vec::new()))
                    .collect();
                let choice = self.select(&entry.group, &live);
                self.chosen(entry, choice);
            }
        }
    }

    fn chosen(&mut self, entry: &Arc<GroupEntry>, bucket: Option<usize>) {
        self.group_hit(entry, bucket);
        match bucket {
            Some(index) => self.bucket(entry, index),
            None => self.drop_with(DropReason::GroupEmpty),
        }
    }

    fn group_hit(&mut self, entry: &Arc<GroupEntry>, bucket: Option<usize>) {
        if let Some(bridge) = self.at.bridge {
            let (bridge, group) = (bridge.id, entry.clone());
            self.effects.push(CachedEffect::GroupHit {
                bridge,
                group,
                bucket,
            });
        }
    }

    /// Runs a bucket's actions, in the order of an action set, on a frame of its own.
    fn bucket(&mut self, entry: &Arc<GroupEntry>, index: usize) {
        let Some(bucket) = entry.group.buckets.get(index) else {
            return;
        };
        let id = entry.group.id;
        let chosen = matches!(
            entry.group.kind,
            GroupKind::Select | GroupKind::FastFailover
        );
        self.note(|| TraceEvent::Bucket {
            group: id,
            index,
            chosen,
        });
        let mut set = ActionSet::default();
        set.write(&bucket.actions);
        let in_order: Vec<_> = set.in_order().cloned().collect();
        self.isolated(|ctx| {
            ctx.at.become_part(PacketInReason::Group);
            ctx.run_actions(&in_order);
        });
    }

    /// Runs something on a copy of the packet: afterwards everything is as before.
    pub(super) fn isolated(&mut self, run: impl FnOnce(&mut Self)) {
        if self.is_deepest() {
            return self.abort(DropReason::TooDeep);
        }
        let before = (self.save(), self.at.clone());
        let stack = self.stack.clone();
        let action_set = std::mem::take(&mut self.action_set);
        let scope = self.out.begin();
        self.descend(true);
        run(self);
        self.action_set.clear();
        self.boundary(false);
        self.ascend(true);
        if self.aborted {
            return;
        }
        self.out.end(scope);
        self.exit = false;
        self.halted = false;
        self.restore(before.0);
        self.at = before.1;
        self.stack = stack;
        self.action_set = action_set;
    }

    /// A bucket is live when a port or a group that it watches is, or when it watches nothing. `dead` are groups known not to
    /// be live; those found dead are added.
    fn is_live(&mut self, bucket: &Bucket, dead: &mut Vec<GroupId>) -> bool {
        is_live_itself(self.at.bridge, bucket)
            || bucket
                .watch_group
                .is_some_and(|id| self.is_group_live(id, dead))
    }

    /// A group is live when one of its buckets is. Groups may watch each other, in rings too: each is visited once.
    fn is_group_live(&mut self, first: GroupId, dead: &mut Vec<GroupId>) -> bool {
        let Some(at) = self.at.bridge else {
            return false;
        };
        let mut todo = vec![first];
        while let Some(group) = todo.pop() {
            if dead.contains(&group) {
                continue;
            }
            if dead.len() >= MAX_WATCHED {
                return false;
            }
            dead.push(group);
            let bridge = at.id;
            push(&mut self.deps.groups, GroupDep { bridge, group });
            for bucket in at.groups.get(group).map_or(&[][..], |e| &e.group.buckets) {
                if is_live_itself(Some(at), bucket) {
                    return true;
                }
                todo.extend(bucket.watch_group.filter(|id| !dead.contains(id)));
            }
        }
        false
    }
}

/// Live without regard to other groups.
fn is_live_itself(bridge: Option<&Arc<Bridge>>, bucket: &Bucket) -> bool {
    match bucket.watch_port {
        Some(of) => bridge
            .and_then(|b| b.ports.get(of))
            .is_some_and(|p| p.live && !p.config.down),
        None => bucket.watch_group.is_none(),
    }
}
