//! The unsafe rim of this crate: bpf(2), mapped arrays, membarrier(2) and sched_setscheduler(2).
//!
//! Everything here is a thin, checked call: buffers are slices whose sizes are compared with what the kernel will touch,
//! and a descriptor that the kernel returns is owned at once. Policy lives above.
pub mod bpf;
pub mod mapped;
pub mod thread;
