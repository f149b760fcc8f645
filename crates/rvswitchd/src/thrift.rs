//! Memory that the daemon needed once and needs no longer goes back to the system.
//!
//! The allocator keeps what is freed, in as many heaps as there are threads: after a burst of flows the process would stay as
//! large as it ever was. When most flows have gone, and a moment later, a thread of its own has the allocator give it back.
//!
//! A forwarding thread that frees what came from a heap just looked through waits for that heap, a quarter to half a millisecond
//! for each MiB in it. So it is done only when the process has grown by much since the last time, and seldom: what comes and goes
//! all day, such as a scan of ports, is kept for the next. Nor is it done when it would take long: whoever deletes a million flows
//! gets answers without a pause, and the memory stays for the next million.

use std::time::Duration;

use rvs_packet::Now;

use crate::commands::{resident_kib, Daemon};

/// Fewer flows than these were no burst.
const BURST: usize = 500;
/// Of a burst so much is left at most when it is over.
const LEFT: usize = 4;
/// What was freed last, on other threads too, is free by then.
const AFTER: Duration = Duration::from_secs(3);
/// A process that has grown by less keeps it.
const GROWN_KIB: u64 = 32 * 1024;
/// Nor does one that has grown by more: nobody is to wait for 50 ms.
const MOST_KIB: u64 = 96 * 1024;
/// Not more often.
const PAUSE: Duration = Duration::from_secs(60);

/// How many there were, and whether it is time.
#[derive(Debug, Default)]
pub struct Thrift {
    most: usize,
    due: Option<Now>,
    last: Option<Now>,
    /// The least that was resident since the last time.
    least_kib: Option<u64>,
}

impl Thrift {
    /// To be told every second how many flows there are and what is resident. True when memory is to be given back.
    fn is_time(&mut self, now: Now, flows: usize, kib: u64) -> bool {
        let least = self.least_kib.map_or(kib, |least| least.min(kib));
        self.least_kib = Some(least);
        self.most = self.most.max(flows);
        if self.most >= BURST && flows <= self.most / LEFT {
            self.most = flows;
            self.due = Some(now + AFTER);
        }
        if self.due.is_none_or(|at| now < at) {
            return false;
        }
        if kib < least + GROWN_KIB {
            self.due = None;
            return false;
        }
        if kib > least + MOST_KIB {
            (self.due, self.least_kib) = (None, Some(kib));
            return false;
        }
        if self.last.is_some_and(|at| now < at + PAUSE) {
            return false;
        }
        *self = Self {
            most: self.most,
            last: Some(now),
            ..Self::default()
        };
        true
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
        if self.thrift.is_time(now, flows, resident_kib()) {
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
    fn memory_is_given_back_after_a_large_burst_and_not_soon_again() {
        let mut thrift = Thrift::default();
        let mut told = |second: u64, flows, mib: u64| {
            thrift.is_time(Now(second * 1_000_000_000), flows, mib * 1024)
        };
        assert!(
            !told(0, BURST - 1, 20) && !told(1, 0, 99) && !told(9, 0, 99),
            "no burst"
        );
        assert!(!told(10, 4 * BURST, 60) && !told(20, 2 * BURST, 60));
        assert!(!told(30, BURST, 52), "it is over");
        assert!(!told(32, BURST, 52) && told(33, BURST, 52) && !told(34, BURST, 30));
        assert!(!told(35, 4 * BURST, 90) && !told(36, 0, 90), "the next one");
        assert!(!told(39, 0, 90) && !told(92, 0, 90), "too soon");
        assert!(told(93, 0, 90) && !told(94, 0, 90));
    }

    #[test]
    fn what_would_take_long_is_kept() {
        let mut thrift = Thrift::default();
        let mut told =
            |second: u64, flows, kib: u64| thrift.is_time(Now(second * 1_000_000_000), flows, kib);
        assert!(!told(0, 0, 0) && !told(1, 4 * BURST, MOST_KIB + 1));
        assert!(
            !told(2, 0, MOST_KIB + 1) && !told(5, 0, MOST_KIB + 1),
            "too much"
        );
        // What the next burst adds goes back.
        assert!(!told(6, 4 * BURST, 2 * MOST_KIB) && !told(7, 0, 2 * MOST_KIB));
        assert!(told(10, 0, 2 * MOST_KIB));
    }

    #[test]
    fn a_scan_that_comes_again_and_again_is_left_alone() {
        let mut thrift = Thrift::default();
        for second in 0..1000 {
            let flows = if second % 10 < 5 { 20 * BURST } else { 0 };
            let kib = if second == 0 { 0 } else { GROWN_KIB - 1 };
            assert!(
                !thrift.is_time(Now(second * 1_000_000_000), flows, kib),
                "{second}"
            );
        }
    }
}
