//! Paused translations, each waiting for a controller to resume it.
//!
//! The controller gets a number that it can't guess others from, not the state itself: what comes back is looked up, never
//! believed. A state is resumed once, by whoever has its number, within [`CONTINUATION_AGE`].

use std::collections::{BTreeMap, VecDeque};

use ahash::RandomState;
use rvs_packet::Now;
use rvs_pipeline::FrozenState;

use super::limits::{CONTINUATIONS, CONTINUATION_AGE};

#[derive(Debug)]
pub(super) struct Continuations {
    hasher: RandomState,
    given: u64,
    states: BTreeMap<u64, Box<FrozenState>>,
    /// Oldest first; may name states that are gone.
    ages: VecDeque<(Now, u64)>,
}

impl Continuations {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            hasher,
            given: 0,
            states: BTreeMap::new(),
            ages: VecDeque::new(),
        }
    }

    /// Keeps `state`, at the cost of the oldest when there are too many; gives the octets that name it.
    pub(super) fn keep(&mut self, now: Now, state: Box<FrozenState>) -> Vec<u8> {
        if self.ages.len() >= CONTINUATIONS {
            if let Some((_, old)) = self.ages.pop_front() {
                self.states.remove(&old);
            }
        }
        let mut id;
        loop {
            self.given += 1;
            id = self.hasher.hash_one(self.given);
            if !self.states.contains_key(&id) {
                break;
            }
        }
        self.states.insert(id, state);
        self.ages.push_back((now, id));
        id.to_be_bytes().to_vec()
    }

    /// The state that the octets name.
    pub(super) fn take(&mut self, octets: &[u8]) -> Option<Box<FrozenState>> {
        let id = u64::from_be_bytes(octets.try_into().ok()?);
        self.states.remove(&id)
    }

    /// Forgets states of before [`CONTINUATION_AGE`].
    pub(super) fn expire(&mut self, now: Now) {
        while let Some((since, id)) = self.ages.front() {
            if now.since(*since) < CONTINUATION_AGE {
                break;
            }
            self.states.remove(id);
            self.ages.pop_front();
        }
    }

    pub(super) fn next_expiry(&self) -> Option<Now> {
        self.ages
            .front()
            .map(|(since, _)| *since + CONTINUATION_AGE)
    }
}

#[cfg(test)]
mod tests {
    use rvs_flow::OfPort;
    use rvs_pipeline::BridgeId;

    use super::*;

    fn state(n: u32) -> Box<FrozenState> {
        Box::new(FrozenState::packet_out(BridgeId(n), OfPort::ANY, vec![]))
    }

    fn some() -> Continuations {
        Continuations::new(RandomState::with_seeds(1, 2, 3, 4))
    }

    #[test]
    fn a_state_is_resumed_once() {
        let mut c = some();
        let a = c.keep(Now::ZERO, state(1));
        let b = c.keep(Now::ZERO, state(2));
        assert_ne!(a, b);
        assert_eq!(c.take(&b), Some(state(2)));
        assert_eq!(c.take(&b), None);
        assert_eq!(c.take(&a[..7]), None);
        assert_eq!(c.take(&[]), None);
        assert_eq!(c.take(&a), Some(state(1)));
    }

    #[test]
    fn states_are_bounded_in_number_and_age() {
        let mut c = some();
        let ids: Vec<_> = (0..=CONTINUATIONS)
            .map(|n| c.keep(Now::from_millis(n as u64), state(n as u32)))
            .collect();
        assert_eq!(c.states.len(), CONTINUATIONS);
        assert_eq!(c.take(&ids[0]), None, "one too many");
        assert!(c.take(&ids[1]).is_some());
        c.expire(Now::from_millis(30_002));
        assert_eq!(c.take(&ids[2]), None);
        assert!(c.take(&ids[3]).is_some());
        c.expire(Now::from_secs(100));
        assert_eq!((c.states.len(), c.ages.len()), (0, 0));
    }
}
