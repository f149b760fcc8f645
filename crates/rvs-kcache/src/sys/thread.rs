//! How the kernel schedules the calling thread.

use std::io;

/// Of the policies for real time the lowest: ahead of every ordinary thread, behind whoever asked for more.
const PRIORITY: libc::c_int = 1;

/// Runs `f` ahead of all ordinary threads, if the kernel allows that and the thread is an ordinary one; says whether it was.
///
/// For work of microseconds: nobody else runs on its CPU meanwhile.
pub fn ahead<T>(f: impl FnOnce() -> T) -> (T, bool) {
    let ordinary = matches!(policy(), Ok(libc::SCHED_OTHER | libc::SCHED_BATCH));
    let before = policy().unwrap_or(libc::SCHED_OTHER);
    let raised = ordinary && set_policy(libc::SCHED_FIFO, PRIORITY).is_ok();
    let result = f();
    if raised {
        // Ordinary policies are open to everybody.
        let lowered = set_policy(before, 0);
        debug_assert!(lowered.is_ok());
    }
    (result, raised)
}

/// The policy of the calling thread.
fn policy() -> io::Result<libc::c_int> {
    // SAFETY: sched_getscheduler(2) takes no addresses; 0 is the calling thread.
    let rc = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    match libc::c_int::try_from(rc) {
        Ok(policy) if policy >= 0 => Ok(policy),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The niceness stays what it is.
fn set_policy(policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    let param = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: the kernel reads one `sched_param`, which outlives the call; 0 is the calling thread.
    let rc = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const param) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_thread_is_as_before_afterwards() {
        let before = policy().unwrap();
        let (inside, raised) = ahead(|| policy().unwrap());
        assert_eq!(raised, inside == libc::SCHED_FIFO);
        assert_eq!(policy().unwrap(), before);
        // One within the other: the inner one leaves it to the outer one.
        let ((_, again), _) = ahead(|| ahead(|| ()));
        assert!(!again || !raised);
        assert_eq!(policy().unwrap(), before);
    }
}
