//! What was counted, and that nothing else was.
//!
//! A [`Snapshot`] holds every counter of the workers (summed) and of the slow path by name. [`expect_counters`] compares two
//! of them and names every counter that moved and was not expected to: a loss without a name cannot hide.

use std::collections::BTreeMap;

use rvs_dpif::DropReason;
use rvs_slowpath::DelReason;

use crate::switch::TestSwitch;

/// Counters that say how fast something was found, not what happened.
const SPEED: [&str; 2] = ["probes", "emc_ways"];

/// Every counter at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(pub BTreeMap<&'static str, u64>);

impl Snapshot {
    /// A counter; 0 when it has not moved yet.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Frames lost, by any reason.
    pub fn drops(&self) -> u64 {
        let drops = self.0.iter().filter(|(n, _)| n.starts_with("drop_"));
        drops.map(|(_, v)| v).sum()
    }
}

impl TestSwitch {
    /// Every counter now.
    pub fn counters(&mut self) -> Snapshot {
        let mut all = BTreeMap::new();
        for i in 0..self.workers() {
            let c = self.datapath(i).counters().clone();
            for (name, value) in c.iter() {
                *all.entry(name).or_insert(0) += value;
            }
            for reason in DropReason::ALL {
                *all.entry(reason.name()).or_insert(0) += c.drops.read(*reason);
            }
        }
        let slow = self.slow().counters().clone();
        let pairs = [
            ("slow_upcalls", slow.upcalls),
            ("slow_translations", slow.translations),
            ("slow_installed", slow.installed),
            ("slow_masks_rounded", slow.masks_rounded),
            ("slow_masks_exact", slow.masks_exact),
            ("slow_not_installed", slow.not_installed),
            ("slow_punts_unknown", slow.punts_unknown),
            ("slow_revalidated", slow.revalidated),
        ];
        all.extend(pairs);
        all.extend(
            DelReason::ALL
                .iter()
                .map(|r| (r.name(), slow.deleted[*r as usize])),
        );
        Snapshot(all)
    }
}

/// What moved between two snapshots.
pub fn moved(before: &Snapshot, after: &Snapshot) -> BTreeMap<&'static str, i64> {
    let mut out = BTreeMap::new();
    for (name, value) in &after.0 {
        let delta = *value as i64 - before.get(name) as i64;
        if delta != 0 {
            out.insert(*name, delta);
        }
    }
    out
}

/// Asserts that exactly these counters moved, by exactly so much. Gauges (`flows`, `masks`, `waiting`) count too.
///
/// # Panics
/// With everything that moved, when it is something else.
pub fn expect_counters(before: &Snapshot, after: &Snapshot, expected: &[(&'static str, i64)]) {
    let mut moved = moved(before, after);
    moved.retain(|name, _| !SPEED.contains(name));
    let expected: BTreeMap<&'static str, i64> =
        expected.iter().copied().filter(|(_, n)| *n != 0).collect();
    assert_eq!(moved, expected, "counters that moved, and that should have");
}
