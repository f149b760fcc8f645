//! Packet-ins on their way to one controller: fair between input ports, bounded, limited in rate if so configured.
//!
//! Invariants: what waits never exceeds the limit; of one port and class the order is that of arrival; what is lost is
//! the oldest of the port that has most waiting, and is counted. Without a rate limit there is one class, so that a miss
//! and a packet of the same port keep their order too.

use std::collections::{BTreeMap, VecDeque};

use rvs_flow::OfPort;
use rvs_packet::Now;

use super::limits::PACKET_IN_BACKLOG;

/// What a waiting message costs beyond its octets.
const OVERHEAD: usize = 64;

/// Messages by port, round robin.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    ports: BTreeMap<OfPort, PortQueue>,
    /// Ports with messages, the next to be served first.
    ring: VecDeque<OfPort>,
    octets: usize,
    messages: usize,
}

#[derive(Debug, Default)]
struct PortQueue {
    messages: VecDeque<Vec<u8>>,
    octets: usize,
}

impl FairQueue {
    /// Adds a message and drops what then is too much; how many were dropped.
    pub(super) fn push(&mut self, port: OfPort, message: Vec<u8>, limit: usize) -> u64 {
        let cost = message.len() + OVERHEAD;
        let q = self.ports.entry(port).or_default();
        if q.messages.is_empty() {
            self.ring.push_back(port);
        }
        q.octets += cost;
        q.messages.push_back(message);
        self.octets += cost;
        self.messages += 1;
        let mut dropped = 0;
        while self.octets > limit {
            let heaviest = self.ports.iter().max_by_key(|(_, q)| q.octets);
            let Some(port) = heaviest.map(|(p, _)| *p) else {
                break;
            };
            self.take(port);
            dropped += 1;
        }
        dropped
    }

    /// The next message, in turn by port.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let port = *self.ring.front()?;
        let message = self.take(port);
        if self.ring.front() == Some(&port) {
            self.ring.rotate_left(1);
        }
        message
    }

    /// Takes the oldest message of `port`.
    fn take(&mut self, port: OfPort) -> Option<Vec<u8>> {
        let q = self.ports.get_mut(&port)?;
        let message = q.messages.pop_front()?;
        let cost = message.len() + OVERHEAD;
        q.octets -= cost;
        self.octets -= cost;
        self.messages -= 1;
        if q.messages.is_empty() {
            self.ports.remove(&port);
            self.ring.retain(|p| *p != port);
        }
        Some(message)
    }

    pub(super) fn len(&self) -> usize {
        self.messages
    }
}

/// Lets `rate` pass a second, and `burst` at once after a pause.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenBucket {
    rate: u64,
    burst: u64,
    /// Billionths.
    tokens: u64,
    at: Now,
}

const TOKEN: u64 = 1_000_000_000;

impl TokenBucket {
    /// A full bucket.
    pub(super) fn new(rate: u32, burst: u32, now: Now) -> Self {
        let burst = u64::from(burst.max(1));
        Self {
            rate: u64::from(rate.max(1)),
            burst,
            tokens: burst * TOKEN,
            at: now,
        }
    }

    fn refill(&mut self, now: Now) {
        let passed = u128::from(now.0.saturating_sub(self.at.0)) * u128::from(self.rate);
        let full = self.burst * TOKEN;
        let tokens = (u128::from(self.tokens) + passed).min(full.into());
        self.tokens = u64::try_from(tokens).unwrap_or(full);
        self.at = self.at.max(now);
    }

    /// Takes a token if there is one.
    pub(super) fn take(&mut self, now: Now) -> bool {
        self.refill(now);
        let some = self.tokens >= TOKEN;
        if some {
            self.tokens -= TOKEN;
        }
        some
    }

    /// When there will be a token.
    pub(super) fn next(&self) -> Now {
        let lacking = TOKEN.saturating_sub(self.tokens);
        Now(self.at.0.saturating_add(lacking.div_ceil(self.rate)))
    }
}

/// What became of the packet-ins of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketInCounters {
    /// Went out at once.
    pub bypassed: u64,
    /// Had to wait.
    pub queued: u64,
    /// Waited in vain.
    pub dropped: u64,
    /// Wait now.
    pub backlog: u64,
}

/// The packet-ins of a connection, misses and others apart where their rates are limited.
#[derive(Debug, Default)]
pub(super) struct PacketIns {
    queues: [FairQueue; 2],
    buckets: Option<[TokenBucket; 2]>,
    counters: [PacketInCounters; 2],
}

impl PacketIns {
    /// Limits misses to `rate` a second with bursts of `burst`, and likewise the others; `None` for no limit. Rates below
    /// 100 and bursts below 25 are raised to that, and a burst is a quarter of the rate unless it is said.
    pub(super) fn limit(&mut self, rate: Option<u32>, burst: Option<u32>, now: Now) {
        self.buckets = rate.filter(|r| *r > 0).map(|rate| {
            let rate = rate.max(100);
            let burst = burst.unwrap_or(rate / 4).max(25);
            [TokenBucket::new(rate, burst, now); 2]
        });
    }

    /// Adds a packet-in. Call [`Self::next`] afterwards until it gives nothing.
    pub(super) fn push(&mut self, port: OfPort, is_miss: bool, message: Vec<u8>) {
        let counted = class(is_miss);
        let (queue, limit) = match self.buckets {
            Some(_) => (counted, PACKET_IN_BACKLOG / 2),
            None => (0, PACKET_IN_BACKLOG),
        };
        let dropped = self.queues[queue].push(port, message, limit);
        self.counters[counted].queued += 1;
        self.counters[counted].dropped += dropped;
    }

    /// The next packet-in that may go out at `now`.
    pub(super) fn next(&mut self, now: Now) -> Option<Vec<u8>> {
        for (i, q) in self.queues.iter_mut().enumerate() {
            if q.len() == 0 {
                continue;
            }
            if let Some(buckets) = &mut self.buckets {
                if !buckets[i].take(now) {
                    continue;
                }
            }
            return q.pop();
        }
        None
    }

    /// Notes that the last packet-in pushed did not have to wait.
    pub(super) fn passed_at_once(&mut self, is_miss: bool) {
        let c = &mut self.counters[class(is_miss)];
        c.queued -= 1;
        c.bypassed += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(|q| q.len() == 0)
    }

    /// True when something waits for room alone.
    pub(super) fn may_go(&self) -> bool {
        self.buckets.is_none() && !self.is_empty()
    }

    /// When a token comes for what waits.
    pub(super) fn next_token(&self) -> Option<Now> {
        let buckets = self.buckets.as_ref()?;
        let waiting = self.queues.iter().zip(buckets).filter(|(q, _)| q.len() > 0);
        waiting.map(|(_, b)| b.next()).min()
    }

    /// Of misses, and of others.
    pub(super) fn counters(&self) -> [PacketInCounters; 2] {
        let mut c = self.counters;
        for (c, q) in c.iter_mut().zip(&self.queues) {
            c.backlog = q.len() as u64;
        }
        c
    }
}

const fn class(is_miss: bool) -> usize {
    if is_miss {
        0
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ports_take_turns() {
        let mut q = FairQueue::default();
        for n in 0..3 {
            q.push(OfPort(1), vec![1, n], usize::MAX);
        }
        q.push(OfPort(2), vec![2, 0], usize::MAX);
        let order: Vec<_> = std::iter::from_fn(|| q.pop()).collect();
        assert_eq!(order, [[1, 0], [2, 0], [1, 1], [1, 2]]);
    }

    #[test]
    fn the_heaviest_port_loses_its_oldest() {
        let mut q = FairQueue::default();
        let limit = 10 * (100 + OVERHEAD);
        q.push(OfPort(2), vec![7; 100], limit);
        for n in 0..20u8 {
            let dropped = q.push(OfPort(1), vec![n; 100], limit);
            assert_eq!(dropped, u64::from(n >= 9));
        }
        let mut got: Vec<_> = std::iter::from_fn(|| q.pop().map(|m| m[0])).collect();
        got.sort_unstable();
        assert_eq!(got, [7, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        assert_eq!((q.octets, q.messages), (0, 0));
    }

    proptest! {
        /// Against the law of the bucket: never more than rate times time and a burst, and all of it when asked for.
        #[test]
        fn a_bucket_gives_its_rate_and_no_more(
            rate in 1u32..100_000, burst in 1u32..1000,
            steps in prop::collection::vec(0u64..50_000_000, 1..200),
        ) {
            let mut b = TokenBucket::new(rate, burst, Now::ZERO);
            let (mut now, mut got) = (Now::ZERO, 0u128);
            for step in steps {
                now = now + Duration::from_nanos(step);
                while b.take(now) {
                    got += 1;
                }
                let most = u128::from(now.0) * u128::from(rate) / 1_000_000_000 + u128::from(burst);
                prop_assert!(got <= most);
                prop_assert!(b.next() > now);
                let mut later = b;
                prop_assert!(later.take(b.next()));
            }
        }

        #[test]
        fn what_waits_is_bounded_and_in_order(
            pushes in prop::collection::vec((0u32..6, 0usize..400, any::<bool>()), 0..400),
        ) {
            let limit = 4000;
            let mut q = FairQueue::default();
            let mut last = [0u32; 6];
            let (mut pushed, mut dropped, mut popped) = (0u64, 0u64, 0u64);
            for (n, (port, len, pop)) in pushes.into_iter().enumerate() {
                let mut m = vec![0; len + 8];
                m[..4].copy_from_slice(&port.to_be_bytes());
                m[4..8].copy_from_slice(&(n as u32 + 1).to_be_bytes());
                dropped += q.push(OfPort(port), m, limit);
                pushed += 1;
                prop_assert!(q.octets <= limit);
                if pop {
                    if let Some(m) = q.pop() {
                        popped += 1;
                        let seq = u32::from_be_bytes([m[4], m[5], m[6], m[7]]);
                        prop_assert!(seq > last[m[3] as usize]);
                        last[m[3] as usize] = seq;
                    }
                }
            }
            prop_assert_eq!(pushed, dropped + popped + q.len() as u64);
        }
    }

    #[test]
    fn a_limit_holds_for_each_class_apart() {
        let mut p = PacketIns::default();
        p.limit(Some(1), None, Now::ZERO);
        for _ in 0..100 {
            p.push(OfPort(1), true, vec![0; 10]);
            p.push(OfPort(1), false, vec![1; 10]);
        }
        let first: Vec<_> = std::iter::from_fn(|| p.next(Now::ZERO)).collect();
        assert_eq!(first.len(), 50);
        assert_eq!(p.next_token(), Some(Now::from_millis(10)));
        assert_eq!(p.counters().map(|c| c.backlog), [75, 75]);
        assert_eq!(std::iter::from_fn(|| p.next(Now::from_secs(1))).count(), 50);
    }
}
