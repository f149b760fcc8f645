//! Where frames wait for a verdict.
//!
//! A frame that no flow decides is parked, and one question goes up. What follows it parks behind it, so that a flow is
//! asked about once and never overtakes itself. "It" is the *connection* ([`connection_of`]): frames of one TCP
//! connection differ in flags, TTL and ECN, so they have different keys, may need different flows, and must still leave in
//! the order they came. So a queue belongs to a connection, and the question is always about the key of its first frame.
//! When the verdict comes the worker releases the frames with that key from the front, then looks the next one up: decided
//! by now, or the next question.
//!
//! Bounds (reliability part 5): [`Limits`]. A port may hold as much as is left free for others: one port at most half of
//! the room, two a third each, and a port that has nothing parked always finds some. Memory is counted by buffers, not by
//! what is in them.

use std::collections::VecDeque;
use std::time::Duration;

use ahash::{HashMap, HashMapExt, RandomState};
use rvs_flow::FlowKey;
use rvs_packet::{Frame, Now};
use zerocopy::byteorder::network_endian::U16;

/// How much may wait in one worker.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Frames of one connection.
    pub per_queue: usize,
    /// Frames of all ports.
    pub frames: usize,
    /// Octets of buffers of all ports.
    pub bytes: usize,
    /// How long a frame waits for its verdict.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_queue: 64,
            frames: 1024,
            bytes: 4 << 20,
            timeout: Duration::from_millis(100),
        }
    }
}

/// The fields of a key that frames of one connection share.
pub(crate) fn connection_of(key: &FlowKey) -> FlowKey {
    FlowKey {
        tcp_flags: U16::ZERO,
        nw_ttl: 0,
        nw_tos: 0,
        ..*key
    }
}

/// A waiting frame.
#[derive(Debug)]
pub(crate) struct Parked {
    pub key: FlowKey,
    pub frame: Frame,
    /// Recirculations behind it.
    pub depth: u8,
}

#[derive(Debug)]
struct Queue {
    connection: FlowKey,
    frames: VecDeque<Parked>,
    /// When the question about the first frame went up; `None` until then.
    asked: Option<Now>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    frames: usize,
    bytes: usize,
}

/// All queues of one worker.
#[derive(Debug)]
pub(crate) struct Parking {
    limits: Limits,
    /// Reused places, so that queues keep their memory.
    queues: Vec<Queue>,
    free: Vec<u32>,
    by_connection: HashMap<FlowKey, u32>,
    ports: HashMap<u32, Share>,
    held: Share,
    /// No question is older.
    oldest: Now,
}

impl Parking {
    pub(crate) fn new(limits: Limits, seed: [u64; 2]) -> Self {
        let state = RandomState::with_seeds(seed[0], seed[1], 1, 2);
        Self {
            limits,
            queues: Vec::new(),
            free: Vec::new(),
            by_connection: HashMap::with_hasher(state),
            ports: HashMap::new(),
            held: Share::default(),
            oldest: Now(u64::MAX),
        }
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.held.frames == 0
    }

    pub(crate) fn frames(&self) -> usize {
        self.held.frames
    }

    pub(crate) fn bytes(&self) -> usize {
        self.held.bytes
    }

    /// The queue of the key's connection, if frames of it wait.
    pub(crate) fn queue_of(&self, key: &FlowKey) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        self.by_connection.get(&connection_of(key)).copied()
    }

    /// True when `frame` of `port` may wait, in `queue` if its connection has one.
    pub(crate) fn has_room(&self, queue: Option<u32>, port: u32, frame: &Frame) -> bool {
        let waiting = queue.map_or(0, |q| self.queues[q as usize].frames.len());
        let mine = self.ports.get(&port).copied().unwrap_or_default();
        let l = &self.limits;
        waiting < l.per_queue
            && self.held.frames + mine.frames < l.frames
            && self.held.bytes + mine.bytes + frame.capacity() <= l.bytes
    }

    /// Parks the first frame of a connection, about which the question has gone up.
    pub(crate) fn open(&mut self, now: Now, parked: Parked) {
        let connection = connection_of(&parked.key);
        let index = self.free.pop().unwrap_or(self.queues.len() as u32);
        if index as usize == self.queues.len() {
            self.queues.push(Queue {
                connection,
                frames: VecDeque::new(),
                asked: None,
            });
        }
        self.queues[index as usize].connection = connection;
        self.by_connection.insert(connection, index);
        self.asked(index, now);
        self.follow(index, parked);
    }

    /// Parks a frame behind others of its connection.
    pub(crate) fn follow(&mut self, queue: u32, parked: Parked) {
        let share = self.ports.entry(parked.key.in_port).or_default();
        for s in [&mut self.held, share] {
            s.frames += 1;
            s.bytes += parked.frame.capacity();
        }
        self.queues[queue as usize].frames.push_back(parked);
    }

    /// Notes that the question about the queue's first frame has gone up.
    pub(crate) fn asked(&mut self, queue: u32, now: Now) {
        self.queues[queue as usize].asked = Some(now);
        self.oldest = self.oldest.min(now);
    }

    /// True while the question about the queue's first frame is up.
    pub(crate) fn is_asked(&self, queue: u32) -> bool {
        self.queues
            .get(queue as usize)
            .is_some_and(|q| q.asked.is_some())
    }

    /// The frame that the queue's question is about.
    pub(crate) fn first(&self, queue: u32) -> Option<&Parked> {
        self.queues.get(queue as usize)?.frames.front()
    }

    /// Takes the first frame. The queue ends with its last frame.
    pub(crate) fn take(&mut self, queue: u32) -> Option<Parked> {
        let q = self.queues.get_mut(queue as usize)?;
        let parked = q.frames.pop_front()?;
        q.asked = None;
        self.held.frames -= 1;
        self.held.bytes -= parked.frame.capacity();
        if let Some(s) = self.ports.get_mut(&parked.key.in_port) {
            s.frames -= 1;
            s.bytes -= parked.frame.capacity();
            if s.frames == 0 {
                self.ports.remove(&parked.key.in_port);
            }
        }
        if q.frames.is_empty() {
            self.by_connection.remove(&q.connection);
            self.free.push(queue);
            if self.held.frames == 0 {
                self.oldest = Now(u64::MAX);
            }
        }
        Some(parked)
    }

    /// When the first question may be due; `None` while nothing waits. May be early, never late.
    pub(crate) fn deadline(&self) -> Option<Now> {
        (!self.is_empty()).then(|| self.oldest + self.limits.timeout)
    }

    /// Keys of the questions that got no answer in time.
    pub(crate) fn overdue(&mut self, now: Now) -> Vec<FlowKey> {
        if self.deadline().is_none_or(|d| now < d) {
            return Vec::new();
        }
        let timeout = self.limits.timeout;
        let late: Vec<FlowKey> = self
            .queues
            .iter()
            .filter(|q| q.asked.is_some_and(|a| now >= a + timeout))
            .filter_map(|q| Some(q.frames.front()?.key))
            .collect();
        let rest = self.queues.iter().filter_map(|q| q.asked);
        self.oldest = rest
            .filter(|a| now < *a + timeout)
            .min()
            .unwrap_or(Now(u64::MAX));
        late
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parked(port: u32, tp: u16, flags: u16) -> Parked {
        let key = FlowKey {
            in_port: port,
            tp_src: U16::new(tp),
            tcp_flags: U16::new(flags),
            nw_ttl: flags as u8,
            ..Default::default()
        };
        Parked {
            key,
            frame: Frame::from_slice(&[port as u8; 60]),
            depth: 0,
        }
    }

    fn parking(frames: usize, bytes: usize) -> Parking {
        let limits = Limits {
            frames,
            bytes,
            ..Default::default()
        };
        Parking::new(limits, [1, 2])
    }

    /// Parks as the worker does; false when there is no room.
    fn park(p: &mut Parking, now: Now, f: Parked) -> bool {
        let q = p.queue_of(&f.key);
        if !p.has_room(q, f.key.in_port, &f.frame) {
            return false;
        }
        match q {
            Some(q) => p.follow(q, f),
            None => p.open(now, f),
        }
        true
    }

    #[test]
    fn a_connection_is_one_queue_whatever_its_flags_b7() {
        let mut p = parking(1024, 4 << 20);
        for flags in [2, 16, 24, 16] {
            assert!(park(&mut p, Now(5), parked(1, 80, flags)));
        }
        assert!(park(&mut p, Now(5), parked(1, 81, 2)));
        let q = p.queue_of(&parked(1, 80, 1).key).unwrap();
        let mut flags = Vec::new();
        while let Some(f) = p.take(q) {
            flags.push(f.key.tcp_flags.get());
        }
        assert_eq!(flags, [2, 16, 24, 16]);
        assert_eq!(p.queue_of(&parked(1, 80, 2).key), None);
        assert_eq!(p.frames(), 1);
    }

    #[test]
    fn one_connection_at_its_cap_and_around_it() {
        let mut p = parking(1024, 4 << 20);
        for i in 0..64 {
            assert!(park(&mut p, Now(0), parked(1, 1, i)), "{i}");
        }
        for i in 64..64 * 20 {
            assert!(!park(&mut p, Now(0), parked(1, 1, i)), "{i}");
        }
        assert!(park(&mut p, Now(0), parked(1, 2, 0)), "another connection");
    }

    #[test]
    fn a_port_may_hold_what_is_free_and_never_starves_another() {
        let mut p = parking(120, 4 << 20);
        let fill = |p: &mut Parking, port| {
            let parks = (0..2400).filter(|i| park(p, Now(0), parked(port, *i, 0)));
            parks.count()
        };
        assert_eq!(fill(&mut p, 1), 60, "one port: half");
        let mut more = Vec::new();
        for port in 2..5 {
            more.push(fill(&mut p, port));
        }
        assert_eq!(more, [30, 15, 8], "each newcomer half of what is left");
        assert!(p.frames() < 120);
    }

    #[test]
    fn memory_counts_buffers_at_the_cap() {
        let mut p = parking(1024, 8 * Frame::SMALL);
        for i in 0..4 {
            assert!(park(&mut p, Now(0), parked(1, i, 0)), "{i}");
        }
        assert!(!park(&mut p, Now(0), parked(1, 9, 0)));
        assert_eq!(p.bytes(), 4 * Frame::SMALL);
        let q = p.queue_of(&parked(1, 0, 0).key).unwrap();
        p.take(q).unwrap();
        assert!(park(&mut p, Now(0), parked(1, 9, 0)));
    }

    #[test]
    fn only_questions_without_an_answer_are_overdue() {
        let mut p = parking(1024, 4 << 20);
        assert_eq!(p.deadline(), None);
        park(&mut p, Now::from_millis(0), parked(1, 1, 0));
        park(&mut p, Now::from_millis(60), parked(1, 2, 0));
        assert_eq!(p.deadline(), Some(Now::from_millis(100)));
        assert!(p.overdue(Now::from_millis(99)).is_empty());
        let late = p.overdue(Now::from_millis(100));
        assert_eq!(late.len(), 1);
        assert_eq!(late[0].tp_src.get(), 1);
        p.take(p.queue_of(&late[0]).unwrap()).unwrap();
        assert_eq!(p.deadline(), Some(Now::from_millis(160)));
        let late = p.overdue(Now::from_millis(161));
        p.take(p.queue_of(&late[0]).unwrap()).unwrap();
        assert_eq!((p.deadline(), p.frames(), p.bytes()), (None, 0, 0));
        assert!(p.ports.is_empty() && p.by_connection.is_empty());
    }
}
