//! Removed rules are forgotten when nothing can show them any more, little by little.

use std::sync::{Arc, Weak};

use rvs_classifier::{Cursor, Filter};
use rvs_pipeline::{Bridge, Groups, Meters, Table};

use super::limits::PURGES;
use super::ofproto::Ofproto;
use crate::Plant;

/// A table that an empty one has taken the place of.
pub(super) struct Dying {
    table: Arc<Table>,
    /// What the new table has been told of its counters.
    told: (u64, u64),
}

impl Dying {
    pub(super) fn new(table: Arc<Table>, told: (u64, u64)) -> Self {
        Self { table, told }
    }
}

/// Groups and meters of versions that have gone, or have never come. Nothing is here twice, since nothing is forgotten of which
/// there is another copy.
#[derive(Default)]
pub(super) struct Faded {
    groups: Vec<Groups>,
    meters: Vec<Meters>,
}

impl Faded {
    pub(super) fn add(&mut self, bridge: &Bridge) {
        self.add_groups(&bridge.groups);
        self.add_meters(&bridge.meters);
    }

    pub(super) fn add_groups(&mut self, groups: &Groups) {
        if !self.groups.iter().any(|g| g.is_same(groups)) {
            self.groups.push(groups.clone());
        }
    }

    pub(super) fn add_meters(&mut self, meters: &Meters) {
        if !self.meters.iter().any(|m| m.is_same(meters)) {
            self.meters.push(meters.clone());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.meters.is_empty()
    }

    /// Forgets up to `left` of those of which nobody has a copy any more.
    fn shed(&mut self, bridge: &Bridge, left: &mut usize) {
        self.groups.retain_mut(|g| !g.shed(&bridge.groups, left));
        self.meters.retain_mut(|m| !m.shed(&bridge.meters, left));
    }
}

impl Ofproto {
    /// Forgets removed rules that no dump shows any more, so many in one call. True when there is more to do at once.
    ///
    /// Translations read the newest version alone: they run under the lock under which it is published.
    pub fn tidy(&mut self, plant: &impl Plant) -> bool {
        if self.dirty.is_empty() && self.dying.is_empty() && self.faded.is_empty() {
            return false;
        }
        let Some(bridge) = plant.bridge(self.id) else {
            return false;
        };
        self.pins.retain(|p| p.strong_count() > 0);
        let pinned = self.pins.iter().filter_map(Weak::upgrade).map(|v| *v).min();
        // A transaction in slices still has to tell of what it has removed.
        let untold = self.running.as_ref().map(|r| r.version() - 1);
        let newest = bridge.version;
        let up_to = pinned.into_iter().chain(untold).fold(newest, u64::min);
        let mut left = PURGES;
        for id in std::mem::take(&mut self.dirty) {
            let Some(table) = bridge.table(id) else {
                continue;
            };
            let mut rules = table.write();
            left -= rules.purge(up_to, left, |rule| {
                if rule.is_clause() {
                    table.clause_purged();
                }
            });
            if rules.garbage() > 0 {
                self.dirty.insert(id);
            }
        }
        self.drain(&bridge, bridge.version + 1, &mut left);
        self.faded.shed(&bridge, &mut left);
        left == 0
    }

    /// Empties tables that nobody but us knows any more.
    fn drain(&mut self, bridge: &Bridge, version: u64, left: &mut usize) {
        while *left > 0 {
            let Some(at) = self
                .dying
                .iter()
                .position(|d| Arc::strong_count(&d.table) == 1)
            else {
                return;
            };
            let Dying { table, told } = &mut self.dying[at];
            // Until it went, and for flows that were cached then, the table has counted on.
            let (lookups, matches) = table.counters();
            if let Some(heir) = bridge.table(table.id) {
                heir.count(lookups - told.0, matches - told.1);
            }
            *told = (lookups, matches);
            let mut rules = table.write();
            let mut ids = Vec::new();
            rules.scan(version, &mut Cursor::default(), *left, Filter::All, |r| {
                ids.push(r.id());
            });
            for id in &ids {
                let removed = rules.remove_at(*id, version);
                debug_assert!(removed.is_ok());
            }
            rules.purge(version, usize::MAX, drop);
            *left -= ids.len().clamp(1, *left);
            let empty = rules.is_empty();
            drop(rules);
            if empty {
                self.dying.swap_remove(at);
            }
        }
    }
}
