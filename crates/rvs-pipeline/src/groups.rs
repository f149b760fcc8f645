//! Groups of a bridge by number, as forwarding reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rvs_openflow::GroupId;

use crate::bridge::GroupEntry;

/// Parts that groups are spread over. At the most groups that a bridge takes (65,536) a part has as many groups as there
/// are parts, so that a change copies the least.
const PARTS: usize = 256;

type Part = Arc<BTreeMap<GroupId, Arc<GroupEntry>>>;

/// A map from numbers to groups whose copies share all but what was changed: a change copies one part and the row of parts,
/// some microseconds for any number of groups, while threads go on reading the copy that they have.
#[derive(Clone, Debug)]
pub struct Groups {
    parts: Arc<[Part]>,
    len: usize,
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            parts: (0..PARTS).map(|_| Part::default()).collect(),
            len: 0,
        }
    }
}

/// Controllers number groups from 0 or by address: both spread by their low octet.
fn part(id: GroupId) -> usize {
    id.0 as usize % PARTS
}

impl Groups {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, id: GroupId) -> Option<&Arc<GroupEntry>> {
        self.parts.get(part(id))?.get(&id)
    }

    pub fn contains(&self, id: GroupId) -> bool {
        self.get(id).is_some()
    }

    /// All groups, in the order of their numbers.
    pub fn sorted(&self) -> Vec<&Arc<GroupEntry>> {
        let mut all: Vec<_> = self.parts.iter().flat_map(|p| p.values()).collect();
        all.sort_unstable_by_key(|e| e.group.id);
        all
    }

    /// Puts a group in the place of the one of its number.
    pub fn insert(&mut self, entry: Arc<GroupEntry>) {
        let id = entry.group.id;
        if self.part_mut(id).insert(id, entry).is_none() {
            self.len += 1;
        }
    }

    pub fn remove(&mut self, id: GroupId) {
        if self.contains(id) && self.part_mut(id).remove(&id).is_some() {
            self.len -= 1;
        }
    }

    fn part_mut(&mut self, id: GroupId) -> &mut BTreeMap<GroupId, Arc<GroupEntry>> {
        Arc::make_mut(&mut Arc::make_mut(&mut self.parts)[part(id)])
    }
}

impl FromIterator<Arc<GroupEntry>> for Groups {
    fn from_iter<I: IntoIterator<Item = Arc<GroupEntry>>>(entries: I) -> Self {
        let mut groups = Self::default();
        entries.into_iter().for_each(|e| groups.insert(e));
        groups
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
