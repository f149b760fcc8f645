//! The allocator of the process.

/// Gives freed memory back to the system, wherever in the heap it lies. Does nothing where the C library can't.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: any thread may call it at any time; the allocator locks what it looks at.
    unsafe {
        libc::malloc_trim(0);
    }
}
