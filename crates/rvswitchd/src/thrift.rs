//! Memory that the daemon needed once and needs no longer goes back to the system.
//!
//! The allocator keeps what is freed, in as many heaps as there are threads: after a burst of flows the process would stay as
//! large as it ever was. When most flows have gone, and a moment later, a thread of its own has the allocator give it back.
//! Whoever allocates or frees meanwhile may wait for it, milliseconds at most.

use std::time::Duration;

use rvs_packet::Now;

use crate::commands::Daemon;

/// Fewer flows than these were no burst.
const BURST: usize = 500;
/// Of a burst so much is left at most when it is over.
const LEFT: usize = 4;
/// What was freed last, on other threads too, is free by then.
const AFTER: Duration = Duration::from_secs(3);

/// How many there were, and whether it is time.
#[derive(Debug, Default)]
pub struct Thrift {
    most: usize,
    due: Option<Now>,
}

impl Thrift {
    /// To be told every second how many flows there are. True when memory is to be given back.
    fn is_time(&mut self, now: Now, flows: usize) -> bool {
        self.most = self.most.max(flows);
        if self.most >= BURST && flows <= self.most / LEFT {
            self.most = flows;
            self.due = Some(now + AFTER);
        }
        let is_time = self.due.is_some_and(|at| now >= at);
        if is_time {
            self.due = None;
        }
        is_time
    }
}

impl Daemon {
    /// Gives memory back when a burst is over.
    pub fn be_thrifty(&mut self, now: Now) {
        let flows = {
            let slow = self.switch.slow();
            let tables = slow.world().bridges().flat_map(|b| b.tables.iter());
            slow.flows().len() + tables.map(|t| t.read().len()).sum::<usize>()
        };
        if self.thrift.is_time(now, flows) {
            let thread = std::thread::Builder::new().name("thrift".to_owned());
            if let Err(e) = thread.spawn(rvs_netdev::give_back_memory) {
                tracing::debug!("no thread to give memory back: {e}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_after_each_burst() {
        let mut thrift = Thrift::default();
        let mut told = |second: u64, flows| thrift.is_time(Now(second * 1_000_000_000), flows);
        assert!(
            !told(0, BURST - 1) && !told(1, 0) && !told(9, 0),
            "no burst"
        );
        assert!(!told(10, 4 * BURST) && !told(11, 2 * BURST) && !told(20, 2 * BURST));
        assert!(!told(30, BURST), "it is over");
        assert!(!told(32, BURST) && told(33, BURST) && !told(34, BURST) && !told(99, BURST));
    }
}
