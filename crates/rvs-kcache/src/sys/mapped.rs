//! Elements of an array map, mapped: the daemon's stores are the program's loads, without a system call.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::sys::mman::{mmap, munmap, MapFlags, ProtFlags};

/// A shared mapping, seen as words that others may change at any time.
#[derive(Debug)]
pub struct Mapped {
    start: NonNull<std::ffi::c_void>,
    words: NonZeroUsize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only reached as atomics.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps the first `words` words of a map created with `BPF_F_MMAPABLE`; the kernel refuses to map more than it has.
    pub fn new(map: BorrowedFd<'_>, words: NonZeroUsize) -> io::Result<Self> {
        let len = words.get().checked_mul(8).and_then(NonZeroUsize::new);
        let len = len.ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping at an address that the kernel chooses touches no memory of this program.
        let start = unsafe { mmap(None, len, access, MapFlags::MAP_SHARED, map, 0) }?;
        Ok(Self { start, words })
    }

    /// The words; the mapping begins on a page, so they are aligned.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: `words` words are mapped readable and writable until `self` is dropped, and an AtomicU64 has the layout
        // of a u64 and is valid for every value of it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.words.get()) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; `words()` borrows from `self`, so nobody looks at it any more.
        let _ = unsafe { munmap(self.start, self.words.get() * 8) };
    }
}

const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;

/// A grace period of the kernel's RCU (7 ms on average, 16 at worst on an idle machine).
pub fn membarrier() -> io::Result<()> {
    // SAFETY: membarrier(2) with this command takes no addresses.
    let rc = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
