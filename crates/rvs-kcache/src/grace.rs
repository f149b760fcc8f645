//! Waiting until every program that runs now has ended.
//!
//! The programs of this crate run with bottom halves disabled, as everything does that takes frames in, and such code is
//! not preempted, except on kernels built for real time. So a thread that has run on a CPU has seen the end of whatever
//! program ran there before, and every program that starts there later sees what the thread had stored before it came. A
//! thread that has been on every CPU has waited for all programs: 0.1 ms on two CPUs, where the kernel's own grace period
//! takes 7, and 16 to 50 on busy ones.
//!
//! Other threads would keep it waiting on each CPU until it is its turn there, 5 ms and more on a loaded machine. So it goes
//! ahead of them for that moment ([`ahead`]), where the daemon may do that (`CAP_SYS_NICE`).
//!
//! Where a thread can't go everywhere (a cpuset, too many CPUs, a kernel for real time) the kernel's grace period is waited for.

use std::fs;
use std::io;

use nix::sched::{sched_getaffinity, sched_getcpu, sched_setaffinity, CpuSet};
use nix::unistd::Pid;

use crate::sys::mapped::membarrier;
use crate::sys::thread::ahead;

/// More CPUs than this take longer to visit than the kernel's grace period lasts under load.
const MOST: usize = 64;

/// Waits until every program of this crate that runs now has ended.
///
/// # Errors
/// The kernel's: it has neither way.
pub(crate) fn grace_period() -> io::Result<()> {
    if visit_all() {
        Ok(())
    } else {
        membarrier()
    }
}

/// Runs this thread on every CPU in turn; false if it could not.
fn visit_all() -> bool {
    let myself = Pid::from_raw(0);
    let cpus = online();
    if cpus.is_empty() || cpus.len() > MOST || is_real_time() {
        return false;
    }
    let Ok(before) = sched_getaffinity(myself) else {
        return false;
    };
    let visit = |cpu: usize| {
        let mut only = CpuSet::new();
        only.set(cpu)
            .and_then(|()| sched_setaffinity(myself, &only))?;
        // A change of the cpuset may have moved the thread away at once.
        sched_getcpu()
    };
    let (all, _) = ahead(|| {
        let all = cpus.iter().all(|cpu| visit(*cpu) == Ok(*cpu));
        // Refused only if a cpuset has changed meanwhile, and then the kernel has chosen anew.
        let _ = sched_setaffinity(myself, &before);
        all
    });
    all
}

fn is_real_time() -> bool {
    fs::read("/sys/kernel/realtime").is_ok_and(|text| text.first() == Some(&b'1'))
}

/// The CPUs that can run programs now. One that comes later starts with what has been stored by then.
fn online() -> Vec<usize> {
    let list = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    parse_list(&list).unwrap_or_default()
}

/// "0-3,7" as the kernel writes it; `None` when it is something else.
fn parse_list(list: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse().ok()?, last.parse::<usize>().ok()?);
        if last >= CpuSet::count() {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(parse_list("0-1\n"), Some(vec![0, 1]));
        assert_eq!(parse_list("0,2-3,8"), Some(vec![0, 2, 3, 8]));
        for odd in ["", "x", "0-", "0-4294967295", "1-99999999999999999999"] {
            assert_eq!(parse_list(odd), None, "{odd}");
        }
    }

    /// With four times as many busy threads as CPUs, whoever has to queue for each CPU waits some milliseconds there.
    #[test]
    fn busy_threads_do_not_keep_it_waiting() {
        use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
        use std::time::{Duration, Instant};
        let stop = AtomicBool::new(false);
        let (mut times, raised) = std::thread::scope(|s| {
            for _ in 0..4 * online().len().max(1) {
                s.spawn(|| {
                    while !stop.load(Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let one = || {
                let start = Instant::now();
                grace_period().unwrap();
                let took = start.elapsed();
                std::thread::sleep(Duration::from_millis(2));
                took
            };
            let times: Vec<_> = (0..100).map(|_| one()).collect();
            stop.store(true, Relaxed);
            (times, ahead(|| ()).1)
        });
        times.sort();
        println!(
            "median {:?}, worst {:?}, ahead {raised}",
            times[50], times[99]
        );
        assert!(!raised || !visit_all() || times[50] < Duration::from_millis(20));
    }

    #[test]
    fn a_thread_that_may_go_everywhere_has_been_everywhere_and_is_free_again() {
        let before = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let allowed = online().iter().all(|c| before.is_set(*c).unwrap());
        assert_eq!(visit_all(), allowed && !is_real_time());
        assert_eq!(sched_getaffinity(Pid::from_raw(0)).unwrap(), before);
        grace_period().unwrap();
    }
}
