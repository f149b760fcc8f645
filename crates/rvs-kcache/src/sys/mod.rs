//! The unsafe rim of this crate: the bpf(2) system call.
//!
//! Everything here is a thin, checked call: buffers are slices whose sizes are compared with what the kernel will touch,
//! and a descriptor that the kernel returns is owned at once. Policy lives above.
pub mod bpf;
