//! Looking again for a moment before falling asleep.
//!
//! A client that sends one message, waits for its answer and sends the next (`ovs-ofctl add-flows` does so a hundred
//! thousand times) pays for two threads that wake each other each time, which takes far longer than the message. While
//! it pays, the control thread looks for the next message for [`LOOK`] before it sleeps. Looking in vain costs twice as
//! many messages without looking each time, so that the processor time lost is a small part of what messages cost anyway.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{poll, PollFd, PollTimeout};

use crate::clock;

/// How long the next message of a busy client is looked for.
pub const LOOK: Duration = Duration::from_micros(60);
/// Messages without a look after several looks in vain, at most.
const MAX_SKIPS: u32 = 64;

/// Whether looking pays.
#[derive(Debug)]
pub struct Spin {
    /// Messages to go without a look.
    skip: u32,
    /// What the next look in vain costs.
    penalty: u32,
}

impl Spin {
    pub fn new() -> Self {
        Self {
            skip: 0,
            penalty: 1,
        }
    }

    /// Messages have come: whether to look for more of them before sleeping.
    pub fn is_worth_it(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        true
    }

    /// What a look brought.
    pub fn looked(&mut self, found: bool) {
        if found {
            self.penalty = 1;
        } else {
            self.skip = self.penalty;
            self.penalty = (self.penalty * 2).min(MAX_SKIPS);
        }
    }
}

/// Polls; the number of descriptors that have something.
pub fn wait_for(fds: &mut [PollFd<'_>], timeout: PollTimeout) -> Result<i32> {
    match poll(fds, timeout) {
        Err(nix::errno::Errno::EINTR) => Ok(0),
        other => other.context("poll"),
    }
}

/// Polls without sleeping, for [`LOOK`] at most; whether something came.
pub fn look_for(fds: &mut [PollFd<'_>]) -> Result<bool> {
    let end = clock::running() + LOOK;
    while clock::running() < end {
        if wait_for(fds, PollTimeout::ZERO)? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks of 1,000 messages, each followed by another in time or not.
    fn looks(in_time: impl Fn(u32) -> bool) -> u32 {
        let mut spin = Spin::new();
        let mut looks = 0;
        for i in 0..1000 {
            if spin.is_worth_it() {
                looks += 1;
                spin.looked(in_time(i));
            }
        }
        looks
    }

    #[test]
    fn looks_while_it_pays() {
        assert_eq!(looks(|_| true), 1000);
        assert!(looks(|_| false) < 25, "{}", looks(|_| false));
        // A client that becomes busy is soon looked for again.
        assert!(looks(|i| i >= 500) > 400);
    }
}
