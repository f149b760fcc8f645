//! What one worker counted. The worker writes, anybody reads.

use std::sync::atomic::{AtomicU64, Ordering};

use rvs_dpif::DropCounters;
use rvs_flow::Present;

/// A counter with one writer: an addition is a load and a store, no locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        if n != 0 {
            let now = self.0.load(Ordering::Relaxed).wrapping_add(n);
            self.0.store(now, Ordering::Relaxed);
        }
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Layers that were announced and are contradictory, by the bit of [`Present`] that says so.
pub const MALFORMED: [(Present, &str); 4] = [
    (Present::BAD_L2, "malformed_l2"),
    (Present::BAD_VLAN, "malformed_vlan"),
    (Present::BAD_L3, "malformed_l3"),
    (Present::BAD_L4, "malformed_l4"),
];

macro_rules! counters {
    ($($field:ident: $text:literal,)*) => {
        /// Counters of one worker, since it started. Read through an `Arc`.
        #[derive(Debug, Default)]
        pub struct WorkerCounters {
            $(#[doc = $text] pub $field: Counter,)*
            /// Frames that went nowhere, by reason.
            pub drops: DropCounters,
            /// Frames with a contradictory layer, in the order of [`MALFORMED`].
            pub malformed: [Counter; MALFORMED.len()],
            /// Batches by size: `batches[n - 1]` had n frames.
            pub batches: [Counter; crate::batch::FrameBatch::MAX],
        }

        impl WorkerCounters {
            /// Every plain counter with its name, as `coverage` shows it.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                [$((stringify!($field), &self.$field),)*]
                    .into_iter()
                    .chain(MALFORMED.iter().zip(&self.malformed).map(|((_, name), c)| (*name, c)))
                    .map(|(name, c)| (name, c.read()))
            }
        }
    };
}

counters! {
    rx_packets: "Frames taken from ports; a super-frame counts once.",
    rx_bytes: "Their octets.",
    emc_hits: "Lookups that the exact-match cache answered (tier 1).",
    megaflow_hits: "Lookups that the megaflow cache answered (tier 2).",
    misses: "Lookups that no cache answered.",
    probes: "Subtables asked by lookups that got as far as tier 2.",
    recirculated: "Frames looked up again after a recirculation.",
    upcalls: "Questions and punts that the slow path took.",
    upcalls_refused: "Questions and punts that the slow path had no room for.",
    parked: "Frames that waited for a verdict.",
    released: "Parked frames that went on.",
    installs: "Flows put into the cache.",
    removes: "Flows taken out of the cache.",
    refused_full: "Installs refused: as many flows as allowed.",
    refused_masks: "Installs refused: as many masks as allowed, of the port or the worker.",
    refused_chain: "Installs refused: too many flows in one place of a hash table.",
    refused_invalid: "Installs refused: the slow path sent a flow that is not canonical.",
    outputs: "Frames handed to ports.",
    segmented: "Super-frames cut in software, for a meter, a punt or a truncated output.",
    flows: "Flows in the cache now.",
    masks: "Masks in the cache now.",
    emc_ways: "Ways of the exact-match cache in use now; some may point at flows that are gone.",
    waiting: "Frames parked now.",
    waiting_bytes: "Octets of their buffers.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_own_name() {
        let c = WorkerCounters::default();
        c.masks.set(3);
        c.malformed[3].add(2);
        let mut names: Vec<_> = c.iter().map(|(n, _)| n).collect();
        assert!(c.iter().any(|x| x == ("masks", 3)));
        assert!(c.iter().any(|x| x == ("malformed_l4", 2)));
        let len = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), len);
    }
}
