//! Group-mods (OpenFlow 1.3.5 section 6.5, 1.5.1 section 7.3.4.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rvs_openflow::message::{GroupCommand, GroupMod, BUCKET_ALL, BUCKET_FIRST, BUCKET_LAST};
use rvs_openflow::{Action, Bucket, ErrorCode, Group, GroupId, GroupKind, OfError, Selection};
use rvs_packet::Now;
use rvs_pipeline::GroupEntry;

use super::doomed::Doomed;
use super::limits::MANY;
use super::txn::{Step, Txn};
use super::uses;
use crate::Plant;

/// What the agent knows of a group beside the group.
#[derive(Clone, Debug)]
pub(super) struct GroupInfo {
    pub(super) created: Now,
}

/// Groups by a group that they forward to, which need not be there.
pub(super) type Parents = BTreeMap<GroupId, BTreeSet<GroupId>>;

impl<P: Plant> Txn<'_, P> {
    /// Adds, changes or deletes groups or buckets of one. Groups that are to go are given back: their flows may be many.
    ///
    /// # Errors
    /// `OFPGMFC_*`, and those of the buckets' actions.
    pub(super) fn group_mod(&mut self, m: &GroupMod) -> Result<Doomed, OfError> {
        let id = m.group.id;
        let old = self.w.bridge.groups.get(id).cloned();
        match (m.command, old) {
            (GroupCommand::Delete, _) if id == GroupId::ALL => return Ok(self.doom_groups()),
            (GroupCommand::Delete, None) => {}
            (GroupCommand::Delete, Some(_)) => return Ok(Doomed::groups([id])),
            (GroupCommand::Add, Some(_)) => {
                return Err(ErrorCode::GmfcGroupExists.because(format!(
                    "group {} is there; modify it or delete it first",
                    id.0
                )))
            }
            (GroupCommand::Add | GroupCommand::AddOrMod, None) => {
                self.add_group(m.group.clone())?;
            }
            (_, None) => return Err(unknown(id)),
            (GroupCommand::InsertBucket, Some(old)) => {
                let group = inserted(&old.group, m)?;
                self.change_group(&old, group)?;
            }
            (GroupCommand::RemoveBucket, Some(old)) => {
                let group = removed(&old.group, m.command_bucket)?;
                self.change_group(&old, group)?;
            }
            (GroupCommand::Modify | GroupCommand::AddOrMod, Some(old)) => {
                self.change_group(&old, m.group.clone())?;
            }
        }
        Ok(Doomed::default())
    }

    fn add_group(&mut self, group: Group) -> Result<(), OfError> {
        let limit = self.state.limits.groups;
        if self.w.bridge.groups.len() >= limit {
            return Err(ErrorCode::GmfcOutOfGroups.because(format!("there are {limit} groups")));
        }
        self.check_group(&group)?;
        let info = GroupInfo {
            created: self.w.now,
        };
        self.step(Step::Group(group.id, None));
        self.state.groups.insert(group.id, info);
        self.link(&group, true);
        self.put_group(GroupEntry::new(group));
        Ok(())
    }

    fn change_group(&mut self, old: &GroupEntry, group: Group) -> Result<(), OfError> {
        self.check_group(&group)?;
        self.link(&old.group, false);
        self.link(&group, true);
        self.put_group(old.changed(group));
        Ok(())
    }

    fn put_group(&mut self, entry: GroupEntry) {
        tell_selection(&entry.group);
        let id = entry.group.id;
        self.w.bridge.groups.insert(Arc::new(entry));
        self.changed_group(id);
    }

    pub(super) fn doom_groups(&mut self) -> Doomed {
        // All of them go: no group needs to hear which others forward to it no longer.
        let all = std::mem::take(&mut self.w.bridge.groups);
        // Those of this transaction's own nobody else has. A few are forgotten here, or many deletes would leave much behind.
        if all.len() > MANY {
            self.state.faded.add_groups(&all);
        }
        let missing: Vec<_> = self.state.parents.keys().copied().collect();
        let missing = missing.into_iter().filter(|id| !all.contains(*id));
        Doomed::groups(all.ids().chain(missing))
    }

    /// Takes away a group that no flow refers to. Groups that forward to it go on without it, until it is there again.
    pub(super) fn delete_group(&mut self, id: GroupId) {
        let group = self.w.bridge.groups.get(id).cloned();
        if let Some(entry) = group {
            self.link(&entry.group, false);
            self.w.bridge.groups.remove(id);
        } else if let Some(parents) = self.state.parents.remove(&id) {
            self.step(Step::Parents(id, parents));
        }
        let info = self.state.groups.remove(&id);
        self.step(Step::Group(id, info));
        self.changed_group(id);
    }

    /// Notes in the groups that this one forwards to that it does so, or no longer.
    fn link(&mut self, group: &Group, added: bool) {
        for child in children(group) {
            let step = Step::Linked {
                child,
                parent: group.id,
                added,
            };
            if link(&mut self.state.parents, child, group.id, added) {
                self.step(step);
            }
        }
    }

    fn check_group(&self, group: &Group) -> Result<(), OfError> {
        let (n, limit) = (group.buckets.len(), self.state.limits.buckets);
        if n > limit {
            return Err(ErrorCode::GmfcOutOfBuckets
                .because(format!("{n} buckets; a group has {limit} at most")));
        }
        if group.kind == GroupKind::Indirect && n != 1 {
            return Err(ErrorCode::GmfcInvalidGroup
                .because(format!("an indirect group with {n} buckets; it has one")));
        }
        let ids: BTreeSet<u32> = group.buckets.iter().map(|b| b.id).collect();
        if ids.len() != n {
            return Err(ErrorCode::GmfcBucketExists.because("two buckets with the same number"));
        }
        let children = children(group);
        if children.contains(&group.id) {
            return Err(looping(group.id));
        }
        for b in &group.buckets {
            check_bucket(group.kind, b)?;
            self.check_meters(&b.actions)?;
        }
        if children.is_empty() {
            return Ok(());
        }
        let down = self.chain_down(group.id, &children, &mut BTreeMap::new())?;
        let up = self.chain_up(group.id, &mut BTreeMap::new());
        let limit = self.state.limits.chain;
        if up + down > limit {
            return Err(ErrorCode::GmfcLoop.because(format!(
                "a chain of {} groups; {limit} may follow one another",
                up + down
            )));
        }
        Ok(())
    }

    /// Groups on the longest way on from `children`; those that are not there yet may follow. Each group is walked once, however
    /// many ways lead to it; the groups that are there hold no loop and no chain longer than the limit.
    fn chain_down(
        &self,
        start: GroupId,
        children_: &BTreeSet<GroupId>,
        known: &mut BTreeMap<GroupId, usize>,
    ) -> Result<usize, OfError> {
        let mut longest = 0;
        for child in children_ {
            if *child == start {
                return Err(looping(start));
            }
            let n = match known.get(child) {
                Some(n) => *n,
                None => {
                    let entry = self.w.bridge.groups.get(*child);
                    let next = entry.map(|e| children(&e.group)).unwrap_or_default();
                    let n = 1 + self.chain_down(start, &next, known)?;
                    known.insert(*child, n);
                    n
                }
            };
            longest = longest.max(n);
        }
        Ok(longest)
    }

    /// Groups on the longest way to this one, itself included.
    fn chain_up(&self, id: GroupId, known: &mut BTreeMap<GroupId, usize>) -> usize {
        if let Some(n) = known.get(&id) {
            return *n;
        }
        let parents = self.state.parents.get(&id);
        let longest = parents
            .into_iter()
            .flatten()
            .map(|p| self.chain_up(*p, known))
            .max();
        let n = 1 + longest.unwrap_or(0);
        known.insert(id, n);
        n
    }
}

/// Adds one to those that forward to a group, or takes it away. False: nothing had to be done.
pub(super) fn link(all: &mut Parents, child: GroupId, parent: GroupId, add: bool) -> bool {
    if add {
        return all.entry(child).or_default().insert(parent);
    }
    let Some(parents) = all.get_mut(&child) else {
        return false;
    };
    let was_there = parents.remove(&parent);
    if parents.is_empty() {
        all.remove(&child);
    }
    was_there
}

/// The groups that a group forwards to.
fn children(group: &Group) -> BTreeSet<GroupId> {
    let mut all = BTreeSet::new();
    for b in &group.buckets {
        uses::each(&b.actions, &mut |a| {
            if let Action::Group(g) = a {
                all.insert(*g);
            }
        });
    }
    all
}

/// What the codec can't check of a bucket that comes without its group.
fn check_bucket(kind: GroupKind, b: &Bucket) -> Result<(), OfError> {
    if b.weight != 0 && kind != GroupKind::Select {
        return Err(ErrorCode::GmfcInvalidGroup
            .because("a weight in a group that does not select by weight"));
    }
    let watches = b.watch_port.is_some() || b.watch_group.is_some();
    if watches && matches!(kind, GroupKind::All | GroupKind::Indirect) {
        return Err(ErrorCode::GmfcWatchUnsupported
            .because("a watched port or group in a group that does not look at liveness"));
    }
    // A fast failover bucket that watches nothing is refused in a whole group, and taken when it is put into one, as the
    // field does.
    Ok(())
}

/// The group with the message's buckets put in.
fn inserted(old: &Group, m: &GroupMod) -> Result<Group, OfError> {
    let at = match m.command_bucket {
        BUCKET_FIRST => 0,
        BUCKET_LAST => old.buckets.len(),
        id => 1 + place(old, id)?,
    };
    let mut buckets = old.buckets.to_vec();
    buckets.splice(at..at, m.group.buckets.iter().cloned());
    Ok(Group {
        buckets: buckets.into(),
        ..old.clone()
    })
}

/// Says in the log, in the words that test suites look for, how a group that hashes chooses.
fn tell_selection(group: &Group) {
    let (GroupKind::Select, Selection::Hash { fields, .. }) = (group.kind, &group.selection) else {
        return;
    };
    tracing::debug!(target: "ofproto_dpif", "Constructing select group {}", group.id.0);
    tracing::debug!(target: "ofproto_dpif", "Selection method specified: hash.");
    if fields.is_empty() {
        let what = "No hash fields. Falling back to default hash method.";
        tracing::debug!(target: "ofproto_dpif", "{what}");
    }
}

/// The group without the bucket, or without any.
fn removed(old: &Group, bucket: u32) -> Result<Group, OfError> {
    let mut buckets = old.buckets.to_vec();
    match bucket {
        BUCKET_ALL => buckets.clear(),
        // There may be none to take: that is no error.
        BUCKET_FIRST => drop(buckets.drain(..buckets.len().min(1))),
        BUCKET_LAST => drop(buckets.pop()),
        id => drop(buckets.remove(place(old, id)?)),
    }
    Ok(Group {
        buckets: buckets.into(),
        ..old.clone()
    })
}

fn place(group: &Group, bucket: u32) -> Result<usize, OfError> {
    let found = group.buckets.iter().position(|b| b.id == bucket);
    found.ok_or_else(|| {
        ErrorCode::GmfcUnknownBucket.because(format!("group {} has no bucket {bucket}", group.id.0))
    })
}

fn unknown(id: GroupId) -> OfError {
    ErrorCode::GmfcUnknownGroup.because(format!("no group {} is there", id.0))
}

fn looping(id: GroupId) -> OfError {
    ErrorCode::GmfcLoop.because(format!("group {} would forward to itself", id.0))
}
