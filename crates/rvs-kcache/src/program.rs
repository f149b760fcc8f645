//! Loading programs, with the verifier's words when it refuses.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::asm::Insn;
use crate::attr;
use crate::error::Error;
use crate::sys::bpf;

const LOG_SIZE: usize = 64 * 1024;
/// How much of the end of the verifier's log goes into an error.
const LOG_TAIL: usize = 400;

/// Loads a classifier program.
pub(crate) fn load(insns: &[Insn], name: &'static str) -> Result<OwnedFd, Error> {
    const OP: &str = "load an eBPF program";
    match bpf::prog_load(attr::PROG_SCHED_CLS, insns, name, &mut []) {
        Ok(prog) => Ok(prog),
        // EACCES is the verifier's word for an invalid access, EINVAL for the rest; EPERM is about privileges.
        Err(e)
            if matches!(
                e.raw_os_error(),
                Some(libc::EACCES | libc::EINVAL | libc::E2BIG)
            ) =>
        {
            let mut log = vec![0; LOG_SIZE];
            // The same answer again, this time with its reasons.
            let again = bpf::prog_load(attr::PROG_SCHED_CLS, insns, name, &mut log);
            again.map_err(|_| Error::refused(OP, name, tail(&log)))
        }
        Err(e) => Err(Error::new(OP, e)),
    }
}

/// The id of a program, map or link.
pub(crate) fn id(object: BorrowedFd<'_>) -> io::Result<u32> {
    // {type, id, ...} in all three.
    bpf::info(object).map(|words| words[1])
}

/// Nanoseconds and runs of a program while programs were timed: `run_time_ns` and `run_cnt` of `struct bpf_prog_info`.
pub(crate) fn run_time(program: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let words = bpf::info(program)?;
    let long = |at: usize| u64::from(words[at]) | u64::from(words[at + 1]) << 32;
    Ok((long(48), long(50)))
}

fn tail(log: &[u8]) -> String {
    let text = crate::netlink::text(log);
    let text = text.trim_end();
    let from = text.len().saturating_sub(LOG_TAIL);
    text.get(from..).unwrap_or(text).replace('\n', "; ")
}
