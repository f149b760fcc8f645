//! Tier 1, the exact-match cache: from the hash of a whole key to the flow that decided it last.
//!
//! A way holds 32 bits of the hash and the flow's place in the megaflow table, no copy of the key: the flow found is
//! *confirmed under its own mask* before it is used. So a hit is right by construction, whatever happened since the way
//! was written: a flow that was removed is not there to be confirmed, a place that was given to another flow confirms
//! only the frames that this flow decides, and a hash that collides costs a miss. Nothing needs invalidating. With
//! eight octets a way, sixteen thousand sets stay in a second-level cache where copies of keys would not.
//!
//! Fairness: a port holds at most half of the ways of a set ([`Emc::WAYS_PER_PORT`]), so that a port that invents
//! addresses replaces its own entries and leaves its neighbours theirs.

use crate::cache::megaflow::{FlowRef, MegaflowTable};

const EMPTY: u32 = u32::MAX;

#[derive(Clone, Debug)]
#[repr(C, align(32))]
struct Set {
    sig: [u32; Emc::WAYS],
    flow: [u32; Emc::WAYS],
}

/// The exact-match cache of one worker.
#[derive(Debug)]
pub struct Emc {
    sets: Vec<Set>,
    /// Position of a Weyl sequence: decides replacement and odds, the same way in every run.
    dice: u32,
    odds: u32,
    used: usize,
}

impl Emc {
    pub const SETS: usize = 16_384;
    pub const WAYS: usize = 4;
    /// Ways of one set that frames of one port may hold.
    pub const WAYS_PER_PORT: usize = Self::WAYS / 2;
    /// One in so many megaflow hits replaces a live entry; a free way is always taken. See `benches/caches.rs`.
    pub const ODDS: u32 = 100;

    /// An empty cache. `odds`: one in so many hits of the megaflow cache replaces a live entry; at least 1.
    pub fn new(odds: u32) -> Self {
        let set = Set {
            sig: [0; Self::WAYS],
            flow: [EMPTY; Self::WAYS],
        };
        Self {
            sets: vec![set; Self::SETS],
            dice: 0,
            odds: odds.max(1),
            used: 0,
        }
    }

    #[inline(always)]
    fn index(hash: u64) -> (usize, u32) {
        ((hash >> 32) as usize & (Self::SETS - 1), hash as u32)
    }

    /// The flow that may decide a key of this hash; to be confirmed before it is used.
    #[inline]
    pub fn candidate(&self, hash: u64) -> Option<FlowRef> {
        let (set, sig) = Self::index(hash);
        let set = &self.sets[set];
        // Two ways of a set never have the same signature.
        let way = (0..Self::WAYS).find(|w| set.sig[*w] == sig && set.flow[*w] != EMPTY)?;
        Some(FlowRef(set.flow[way]))
    }

    /// Remembers that `flow` decides keys of `hash`. Free ways and own stale ways are taken at once, a live one by
    /// the odds.
    pub fn remember(&mut self, hash: u64, flow: FlowRef, flows: &MegaflowTable) {
        let Some(port) = flows.in_port(flow) else {
            return;
        };
        let (set, sig) = Self::index(hash);
        let set = &mut self.sets[set];
        let known = (0..Self::WAYS).find(|w| set.sig[*w] == sig && set.flow[*w] != EMPTY);
        if let Some(way) = known {
            set.flow[way] = flow.0;
            return;
        }
        let owners = set.flow.map(|f| flows.in_port(FlowRef(f)));
        let mine = owners.iter().filter(|o| **o == Some(port)).count();
        let free = owners.iter().position(Option::is_none);
        let way = match free {
            Some(way) if mine < Self::WAYS_PER_PORT => way,
            _ => {
                self.dice = self.dice.wrapping_add(0x9e37_79b9);
                if self.odds > 1 && (self.dice >> 8) % self.odds != 0 {
                    return;
                }
                let Some(way) = Self::victim(&owners, port, self.dice >> 30) else {
                    return;
                };
                way
            }
        };
        self.used += usize::from(set.flow[way] == EMPTY);
        set.sig[way] = sig;
        set.flow[way] = flow.0;
    }

    /// The way to replace in a set without a free one: the port's own if it holds its share, else one of the port that
    /// holds most; `start` says where to look first.
    fn victim(owners: &[Option<u32>; Self::WAYS], port: u32, start: u32) -> Option<usize> {
        let held = |p: Option<u32>| owners.iter().filter(|o| **o == p).count();
        let ways = (0..Self::WAYS).map(|i| (i + start as usize) % Self::WAYS);
        if held(Some(port)) >= Self::WAYS_PER_PORT {
            return ways.into_iter().find(|w| owners[*w] == Some(port));
        }
        // `max_by_key` takes the last of equals: reversed, so that `start` decides.
        ways.rev().max_by_key(|w| held(owners[*w]))
    }

    /// Ways in use, of [`Self::SETS`] times [`Self::WAYS`].
    pub const fn ways(&self) -> usize {
        self.used
    }

    /// Octets of memory.
    pub fn memory(&self) -> usize {
        self.sets.capacity() * size_of::<Set>()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rvs_flow::FlowKey;

    use super::*;
    use crate::cache::megaflow::tests::{flow, table};

    /// A hash of set 5.
    fn hash(sig: u32) -> u64 {
        5 << 32 | u64::from(sig)
    }

    /// What tier 1 answers.
    fn find(emc: &Emc, hash: u64, key: &FlowKey, flows: &MegaflowTable) -> Option<FlowRef> {
        emc.candidate(hash).filter(|f| flows.decides(*f, key))
    }

    fn held(emc: &Emc, flows: &MegaflowTable, port: u32) -> usize {
        emc.sets[5]
            .flow
            .iter()
            .filter(|f| flows.in_port(FlowRef(**f)) == Some(port))
            .count()
    }

    #[test]
    fn an_entry_is_at_most_128_octets() {
        assert_eq!(size_of::<Set>(), 32);
        assert!(Emc::new(1).memory() / (Emc::SETS * Emc::WAYS) <= 128);
    }

    #[test]
    fn a_port_holds_at_most_half_of_a_set() {
        let (mut emc, mut flows) = (Emc::new(1), table());
        let refs: Vec<_> = (0..80)
            .map(|i| flows.install(flow(i, 1, i as u8, 0xff)).unwrap())
            .collect();
        for (i, r) in refs.iter().enumerate() {
            emc.remember(hash(i as u32 + 1), *r, &flows);
            assert_eq!(held(&emc, &flows, 1), (i + 1).min(Emc::WAYS_PER_PORT));
        }
        // Its neighbour gets its share and keeps it while the first goes on inventing keys.
        for i in 0..2 {
            let r = flows.install(flow(1000 + i, 2, i as u8, 0xff)).unwrap();
            emc.remember(hash(500 + i as u32), r, &flows);
        }
        for (i, r) in refs.iter().enumerate() {
            emc.remember(hash(10_000 + i as u32), *r, &flows);
            assert_eq!((held(&emc, &flows, 1), held(&emc, &flows, 2)), (2, 2));
        }
        let newcomer = flows.install(flow(9000, 4, 1, 0xff)).unwrap();
        emc.remember(hash(9000), newcomer, &flows);
        assert_eq!(held(&emc, &flows, 4), 1, "a new port finds room");
    }

    #[test]
    fn a_removed_flow_is_never_hit_nor_is_its_place_given_to_another() {
        let (mut emc, mut flows) = (Emc::new(1), table());
        let old = flow(1, 1, 7, 0xff);
        let r = flows.install(old.clone()).unwrap();
        emc.remember(hash(1), r, &flows);
        assert_eq!(find(&emc, hash(1), &old.key, &flows), Some(r));
        assert!(flows.remove(old.id));
        assert_eq!(find(&emc, hash(1), &old.key, &flows), None);
        assert_eq!(emc.ways(), 1);
        let new = flow(2, 1, 8, 0xff);
        assert_eq!(
            flows.install(new.clone()).unwrap(),
            r,
            "the place is reused"
        );
        assert_eq!(find(&emc, hash(1), &old.key, &flows), None);
        assert_eq!(find(&emc, hash(1), &new.key, &flows), Some(r));
    }

    #[test]
    fn odds_protect_live_entries_from_a_flood() {
        let (mut emc, mut flows) = (Emc::new(100), table());
        let refs: Vec<_> = (0..200)
            .map(|i| flows.install(flow(i, 1, i as u8, 0xff)).unwrap())
            .collect();
        let mut replaced = 0;
        for i in 0..100_000u32 {
            let before = emc.sets[5].flow;
            emc.remember(hash(i + 1), refs[i as usize % 200], &flows);
            replaced += u32::from(before != emc.sets[5].flow);
        }
        assert!((800..1200).contains(&replaced), "{replaced}");
    }
}
