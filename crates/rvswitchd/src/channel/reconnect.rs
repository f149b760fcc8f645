//! When to connect again (to a controller, a manager, a database server): a state machine without I/O.
//!
//! A failed attempt, or a connection that ended, is followed by a wait: 1 s after a connection that had been healthy,
//! twice the last wait otherwise, `max_backoff` at most. A connection has been healthy when it lasted `max_backoff`: a
//! peer that accepts and drops at once is not asked each second for ever. Waits are shortened by up to an eighth, by
//! chance, so that the bridges of many machines do not come back in step.
//!
//! *Connected* means that the protocol's handshake is done where it has one (OpenFlow's HELLO), not that there is a socket.

use std::time::Duration;

use rvs_packet::Now;

/// First wait.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// An attempt (connection and handshakes) is given `max_backoff`, within these bounds.
const ATTEMPT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for `until`.
    Backoff { until: Now },
    /// Tries until `deadline`.
    Connecting { deadline: Now },
    /// Connected.
    Active { since: Now },
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    /// Open a connection; then tell [`Reconnect::connected`] or [`Reconnect::failed`].
    Connect,
    /// Give the attempt up, and tell [`Reconnect::failed`].
    GiveUp,
}

/// The life of one peer's connections.
#[derive(Clone, Debug)]
pub struct Reconnect {
    state: State,
    max_backoff: Duration,
    /// The last wait, before chance shortened it. Zero: there was none.
    backoff: Duration,
    chance: u64,
    last_connect: Option<Now>,
    last_disconnect: Option<Now>,
    last_error: Option<String>,
    /// Last moment with a connection; creation counts as one.
    alive: Now,
}

impl Reconnect {
    /// Connects at once. `seed` decides by how much waits are shortened.
    pub fn new(now: Now, max_backoff: Duration, seed: u64) -> Self {
        Self {
            state: State::Backoff { until: now },
            max_backoff: max_backoff.max(MIN_BACKOFF),
            backoff: Duration::ZERO,
            chance: seed,
            last_connect: None,
            last_disconnect: None,
            last_error: None,
            alive: now,
        }
    }

    /// The word of the `status:state` column.
    pub fn word(&self) -> &'static str {
        match self.state {
            State::Backoff { .. } => "BACKOFF",
            State::Connecting { .. } => "CONNECTING",
            State::Active { .. } => "ACTIVE",
        }
    }

    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Active { .. })
    }

    /// A shorter limit also shortens a wait that has begun.
    pub fn set_max_backoff(&mut self, now: Now, max_backoff: Duration) {
        self.max_backoff = max_backoff.max(MIN_BACKOFF);
        if let State::Backoff { until } = &mut self.state {
            *until = (*until).min(now + self.max_backoff);
        }
    }

    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Whole seconds since the last connection was made.
    pub fn sec_since_connect(&self, now: Now) -> Option<u64> {
        self.last_connect.map(|t| now.since(t).as_secs())
    }

    /// Whole seconds since the last connection ended.
    pub fn sec_since_disconnect(&self, now: Now) -> Option<u64> {
        self.last_disconnect.map(|t| now.since(t).as_secs())
    }

    /// How long there has been no connection: from the end of the last one, or from the beginning.
    pub fn alone_for(&self, now: Now) -> Duration {
        if self.is_connected() {
            Duration::ZERO
        } else {
            now.since(self.alive)
        }
    }

    /// When [`Self::step`] has something to say if nothing happens.
    pub fn deadline(&self) -> Option<Now> {
        match self.state {
            State::Backoff { until } => Some(until),
            State::Connecting { deadline } => Some(deadline),
            State::Active { .. } => None,
        }
    }

    pub fn step(&mut self, now: Now) -> Step {
        match self.state {
            State::Backoff { until } if until <= now => {
                let patience = self.max_backoff.clamp(ATTEMPT.0, ATTEMPT.1);
                self.state = State::Connecting {
                    deadline: now + patience,
                };
                Step::Connect
            }
            State::Connecting { deadline } if deadline <= now => Step::GiveUp,
            _ => Step::Nothing,
        }
    }

    /// The handshake is done.
    pub fn connected(&mut self, now: Now) {
        if !self.is_connected() {
            self.state = State::Active { since: now };
            self.last_connect = Some(now);
            self.alive = now;
        }
    }

    /// The attempt failed, or the connection ended; `why` is for people.
    pub fn failed(&mut self, now: Now, why: impl Into<String>) {
        if let State::Active { since } = self.state {
            self.last_disconnect = Some(now);
            self.alive = now;
            if now.since(since) >= self.max_backoff {
                self.backoff = Duration::ZERO;
            }
        }
        self.last_error = Some(why.into());
        self.backoff = (self.backoff * 2).clamp(MIN_BACKOFF, self.max_backoff);
        let wait = self.backoff - self.shortening();
        self.state = State::Backoff { until: now + wait };
    }

    /// Up to an eighth of the wait (SplitMix64).
    fn shortening(&mut self) -> Duration {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        self.backoff / 8 * (z >> 54) as u32 / 1024
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const MAX: Duration = Duration::from_secs(8);

    fn wait(r: &Reconnect, now: Now) -> Duration {
        match r.state {
            State::Backoff { until } => until.since(now),
            other => panic!("{other:?}"),
        }
    }

    fn about(wait: Duration, secs: u64) -> bool {
        let whole = Duration::from_secs(secs);
        wait <= whole && wait >= whole * 7 / 8
    }

    #[test]
    fn waits_double_up_to_the_limit() {
        let mut now = Now::from_secs(100);
        let mut r = Reconnect::new(now, MAX, 1);
        for secs in [1, 2, 4, 8, 8, 8] {
            assert_eq!(r.step(now), Step::Connect);
            assert_eq!(r.word(), "CONNECTING");
            r.failed(now, "connection refused");
            assert_eq!(r.word(), "BACKOFF");
            let wait = wait(&r, now);
            assert!(about(wait, secs), "{wait:?} for {secs}");
            assert_eq!(r.step(now), Step::Nothing);
            now = r.deadline().unwrap();
        }
        assert_eq!(r.last_error(), Some("connection refused"));
        assert_eq!(r.sec_since_connect(now), None);
        assert_eq!(r.sec_since_disconnect(now), None);
    }

    #[test]
    fn a_blackhole_is_given_up_at_the_deadline() {
        let now = Now::from_secs(1);
        let mut r = Reconnect::new(now, MAX, 1);
        assert_eq!(r.step(now), Step::Connect);
        assert_eq!(r.step(now), Step::Nothing);
        let deadline = r.deadline().unwrap();
        assert_eq!(deadline.since(now), MAX);
        assert_eq!(r.step(deadline - Duration::from_nanos(1)), Step::Nothing);
        assert_eq!(r.step(deadline), Step::GiveUp);
    }

    #[test]
    fn a_healthy_connection_resets_the_wait_and_a_short_one_does_not() {
        let mut now = Now::from_secs(1);
        let mut r = Reconnect::new(now, MAX, 7);
        for secs in [1, 2, 4] {
            assert_eq!(r.step(now), Step::Connect);
            r.connected(now);
            r.failed(now + Duration::from_secs(1), "closed");
            assert!(about(wait(&r, now + Duration::from_secs(1)), secs));
            now = r.deadline().unwrap();
        }
        assert_eq!(r.step(now), Step::Connect);
        r.connected(now);
        assert_eq!(r.deadline(), None);
        let end = now + MAX;
        r.failed(end, "closed");
        assert!(about(wait(&r, end), 1));
    }

    #[test]
    fn status_counts_from_the_last_change_of_each_kind() {
        let t = Now::from_secs;
        let mut r = Reconnect::new(t(10), MAX, 3);
        assert_eq!(r.alone_for(t(25)), Duration::from_secs(15));
        assert_eq!(r.step(t(25)), Step::Connect);
        r.connected(t(26));
        assert_eq!((r.word(), r.is_connected()), ("ACTIVE", true));
        assert_eq!(r.sec_since_connect(t(30)), Some(4));
        assert_eq!(r.alone_for(t(30)), Duration::ZERO);
        // A second report of the same fact changes nothing.
        r.connected(t(31));
        assert_eq!(r.sec_since_connect(t(31)), Some(5));
        r.failed(t(40), "no answer to the probe");
        assert_eq!(r.sec_since_connect(t(45)), Some(19));
        assert_eq!(r.sec_since_disconnect(t(45)), Some(5));
        assert_eq!(r.alone_for(t(45)), Duration::from_secs(5));
    }

    #[test]
    fn a_shorter_limit_acts_at_once() {
        let mut r = Reconnect::new(Now::ZERO, Duration::from_secs(60), 3);
        let mut now = Now::ZERO;
        for _ in 0..10 {
            r.step(now);
            r.failed(now, "x");
            now = r.deadline().unwrap();
        }
        r.step(now);
        r.failed(now, "x");
        r.set_max_backoff(now, Duration::from_secs(2));
        assert_eq!(r.deadline().unwrap().since(now), Duration::from_secs(2));
        // Below the least wait nobody goes.
        r.set_max_backoff(now, Duration::ZERO);
        r.failed(now, "x");
        assert!(about(wait(&r, now), 1));
    }

    proptest! {
        /// Whatever happens, a wait is between 7/8 s and `max_backoff`, and there is always a next step.
        #[test]
        fn waits_are_bounded(seed: u64, max in 0u64..100, script in prop::collection::vec((0u8..3, 0u64..20), 1..100)) {
            let mut now = Now::from_secs(5);
            let max = Duration::from_secs(max);
            let mut r = Reconnect::new(now, max, seed);
            for (what, secs) in script {
                now = now + Duration::from_secs(secs);
                match what {
                    0 => {
                        r.failed(now, "x");
                        let wait = wait(&r, now);
                        prop_assert!(wait >= Duration::from_millis(875));
                        prop_assert!(wait <= max.max(MIN_BACKOFF));
                    }
                    1 => { r.step(now); }
                    _ => r.connected(now),
                }
                prop_assert!(r.is_connected() != r.deadline().is_some());
            }
        }
    }
}
