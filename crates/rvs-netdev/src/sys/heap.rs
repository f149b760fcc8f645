//! The allocator of the process.

/// Stays at the end of the main heap for what comes next.
#[cfg(target_env = "gnu")]
const PAD: usize = 1024 * 1024;

/// Gives freed memory back to the system, wherever in the heap it lies; whoever uses that heap waits meanwhile. Does nothing
/// where the C library can't.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: any thread may call it at any time; the allocator locks what it looks at.
    unsafe {
        libc::malloc_trim(PAD);
    }
}
