//! Groups and meters of a bridge by number, as forwarding reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rvs_openflow::{GroupId, MeterId};

use crate::bridge::{GroupEntry, MeterEntry};

/// Parts that entries are spread over. At the most that a bridge takes (65,536 groups and as many meters) a part has as many
/// entries as there are parts, so that a change copies the least.
const PARTS: usize = 256;

/// What a controller gives a number of its own choice.
pub trait Entry {
    type Id: Copy + Ord + std::fmt::Debug;

    fn id(&self) -> Self::Id;

    /// Any number that spreads them.
    fn number(id: Self::Id) -> u32;
}

impl Entry for GroupEntry {
    type Id = GroupId;

    fn id(&self) -> GroupId {
        self.group.id
    }

    fn number(id: GroupId) -> u32 {
        id.0
    }
}

impl Entry for MeterEntry {
    type Id = MeterId;

    fn id(&self) -> MeterId {
        self.meter.id
    }

    fn number(id: MeterId) -> u32 {
        id.0
    }
}

pub type Groups = Numbered<GroupEntry>;
pub type Meters = Numbered<MeterEntry>;

type Part<E> = Arc<BTreeMap<<E as Entry>::Id, Arc<E>>>;

/// A map from numbers to entries whose copies share all but what was changed: a change copies one part and the row of parts,
/// some microseconds for any number of entries, while threads go on reading the copy that they have.
#[derive(Debug)]
pub struct Numbered<E: Entry> {
    parts: Arc<[Part<E>]>,
    len: usize,
}

impl<E: Entry> Clone for Numbered<E> {
    fn clone(&self) -> Self {
        Self {
            parts: self.parts.clone(),
            len: self.len,
        }
    }
}

impl<E: Entry> Default for Numbered<E> {
    fn default() -> Self {
        Self {
            parts: (0..PARTS).map(|_| Part::<E>::default()).collect(),
            len: 0,
        }
    }
}

/// Controllers number from 0 or by address: both spread by their low octet.
fn part<E: Entry>(id: E::Id) -> usize {
    E::number(id) as usize % PARTS
}

impl<E: Entry> Numbered<E> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True for copies that nothing has changed since: comparing them is one look.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.parts, &other.parts)
    }

    pub fn get(&self, id: E::Id) -> Option<&Arc<E>> {
        self.parts.get(part::<E>(id))?.get(&id)
    }

    pub fn contains(&self, id: E::Id) -> bool {
        self.get(id).is_some()
    }

    /// All entries, in the order of their numbers.
    pub fn sorted(&self) -> Vec<&Arc<E>> {
        let mut all: Vec<_> = self.parts.iter().flat_map(|p| p.iter()).collect();
        all.sort_unstable_by_key(|(id, _)| **id);
        all.into_iter().map(|(_, e)| e).collect()
    }

    /// All numbers, in no order that means anything.
    pub fn ids(&self) -> impl Iterator<Item = E::Id> + '_ {
        self.parts.iter().flat_map(|p| p.keys().copied())
    }

    /// Puts an entry in the place of the one of its number.
    pub fn insert(&mut self, entry: Arc<E>) {
        let id = entry.id();
        if self.part_mut(id).insert(id, entry).is_none() {
            self.len += 1;
        }
    }

    pub fn remove(&mut self, id: E::Id) {
        if self.contains(id) && self.part_mut(id).remove(&id).is_some() {
            self.len -= 1;
        }
    }

    /// Forgets entries of which this is the last copy, as many as `left` says at most, and takes them off it. True when nothing
    /// is left that `heir` does not have, false too while somebody reads this copy. To forget a hundred thousand at once would
    /// hold whoever does it up for long.
    pub fn shed(&mut self, heir: &Self, left: &mut usize) -> bool {
        if self.is_same(heir) {
            return true;
        }
        let Some(parts) = Arc::get_mut(&mut self.parts) else {
            return false;
        };
        for part in parts {
            // What others share is theirs to forget.
            let Some(entries) = Arc::get_mut(part) else {
                *part = Part::<E>::default();
                continue;
            };
            while !entries.is_empty() {
                if *left == 0 {
                    return false;
                }
                *left -= 1;
                entries.pop_first();
            }
        }
        true
    }

    fn part_mut(&mut self, id: E::Id) -> &mut BTreeMap<E::Id, Arc<E>> {
        Arc::make_mut(&mut Arc::make_mut(&mut self.parts)[part::<E>(id)])
    }
}

impl<E: Entry> FromIterator<Arc<E>> for Numbered<E> {
    fn from_iter<I: IntoIterator<Item = Arc<E>>>(entries: I) -> Self {
        let mut all = Self::default();
        entries.into_iter().for_each(|e| all.insert(e));
        all
    }
}

#[cfg(test)]
mod tests {
    use rvs_openflow::{Group, GroupKind, Selection};

    use super::*;

    fn entry(id: u32) -> Arc<GroupEntry> {
        Arc::new(GroupEntry::new(Group {
            id: GroupId(id),
            kind: GroupKind::All,
            selection: Selection::default(),
            buckets: Box::new([]),
        }))
    }

    #[test]
    fn copies_keep_what_they_had() {
        let mut groups: Groups = [7, 263, 1, 7].map(entry).into_iter().collect();
        let before = groups.clone();
        groups.remove(GroupId(7));
        groups.remove(GroupId(7));
        groups.insert(entry(u32::MAX));
        let ids = |g: &Groups| g.sorted().iter().map(|e| e.group.id.0).collect::<Vec<_>>();
        assert_eq!((ids(&before), before.len()), (vec![1, 7, 263], 3));
        assert_eq!((ids(&groups), groups.len()), (vec![1, 263, u32::MAX], 3));
        assert!(before.contains(GroupId(7)) && !groups.contains(GroupId(7)));
    }

    #[test]
    fn an_old_copy_is_forgotten_little_by_little() {
        let mut old: Groups = (0..1000).map(entry).collect();
        let kept = old.get(GroupId(5)).cloned();
        let mut new = old.clone();
        assert!(old.shed(&new, &mut 0), "it is the same");
        for id in (0..1000).filter(|id| id % 256 != 7) {
            new.remove(GroupId(id));
        }
        let reader = old.clone();
        assert!(!old.shed(&new, &mut 1000), "somebody reads it");
        drop(reader);
        let (mut turns, mut forgotten) = (1, 0);
        loop {
            let mut left = 100;
            let done = old.shed(&new, &mut left);
            forgotten += 100 - left;
            if done {
                break;
            }
            turns += 1;
            assert!(turns < 20);
        }
        // Part 7 is the new one's too.
        assert_eq!((forgotten, turns), (996, 10));
        assert_eq!(kept.as_ref().map(Arc::strong_count), Some(1));
        assert_eq!(new.sorted().len(), 4);
    }

    /// A change beside 65,536 groups that somebody reads copies two rows of 256.
    #[test]
    fn a_change_copies_little() {
        let mut groups: Groups = (0..65_536).map(entry).collect();
        let before = groups.clone();
        groups.insert(entry(5));
        let shared = |n: usize| Arc::ptr_eq(&before.parts[n], &groups.parts[n]);
        assert_eq!((0..PARTS).filter(|n| !shared(*n)).collect::<Vec<_>>(), [5]);
        assert_eq!(groups.parts[5].len(), 256);
    }
}
