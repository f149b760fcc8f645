//! What rvswitch does inside the kernel, without a kernel module.
//!
//! This crate alone talks to bpf(2). Today it holds the *ingress drop* ([`IngressDrop`]): it keeps the host's own stack
//! from seeing the frames that the switch has taken from a port. The flow cache in the kernel (tier 0) moves in beside it.
//!
//! Everything here is optional at run time: where kernel or privileges lack something, the call says so with cause and
//! cure ([`Error`]), and the switch goes on in user space. `unsafe` is confined to `sys`.
#![deny(unsafe_op_in_unsafe_fn)]

mod asm;
mod attr;
mod error;
mod foreign;
mod hook;
mod ingress_drop;
mod netlink;
mod program;
#[allow(unsafe_code)]
mod sys;
mod tc;

pub use error::Error;
pub use foreign::{foreign_programs, Foreign, ForeignHook};
pub use hook::{Guard, Mode};
pub use ingress_drop::{Capability, IngressDrop, BEAT_EVERY, SILENCE};
