//! Locks (RFC 7047 sections 4.1.8-4.1.10): named queues of sessions; the first owns the lock.

use std::collections::{HashMap, VecDeque};

use super::SessionId;

/// All locks of a server.
#[derive(Debug, Default)]
pub(super) struct Locks {
    queues: HashMap<String, VecDeque<SessionId>>,
}

impl Locks {
    pub(super) fn owns(&self, session: SessionId, lock: &str) -> bool {
        self.queues.get(lock).and_then(VecDeque::front) == Some(&session)
    }

    /// Whether the session owns the lock or waits for it.
    pub(super) fn has(&self, session: SessionId, lock: &str) -> bool {
        self.queues
            .get(lock)
            .is_some_and(|queue| queue.contains(&session))
    }

    /// How many locks the session owns or waits for.
    pub(super) fn count(&self, session: SessionId) -> usize {
        self.queues
            .values()
            .filter(|queue| queue.contains(&session))
            .count()
    }

    /// Queues the session up; returns whether it owns the lock.
    pub(super) fn lock(&mut self, session: SessionId, lock: &str) -> bool {
        let queue = self.queues.entry(lock.to_owned()).or_default();
        queue.push_back(session);
        queue.len() == 1
    }

    /// Makes the session the owner; returns whom the lock was taken from.
    pub(super) fn steal(&mut self, session: SessionId, lock: &str) -> Option<SessionId> {
        let queue = self.queues.entry(lock.to_owned()).or_default();
        let robbed = queue.front().copied();
        queue.push_front(session);
        robbed
    }

    /// Takes the session out of the queue; returns the new owner if the owner changed.
    pub(super) fn unlock(&mut self, session: SessionId, lock: &str) -> Option<SessionId> {
        let queue = self.queues.get_mut(lock)?;
        let owned = queue.front() == Some(&session);
        queue.retain(|waiting| *waiting != session);
        let next = queue.front().copied();
        if next.is_none() {
            self.queues.remove(lock);
        }
        next.filter(|_| owned)
    }

    /// Takes the session out of every queue; returns the new owners.
    pub(super) fn forget(&mut self, session: SessionId) -> Vec<(String, SessionId)> {
        let mut mine: Vec<String> = self
            .queues
            .keys()
            .filter(|lock| self.has(session, lock))
            .cloned()
            .collect();
        mine.sort_unstable();
        mine.into_iter()
            .filter_map(|lock| Some((lock.clone(), self.unlock(session, &lock)?)))
            .collect()
    }
}
