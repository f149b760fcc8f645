//! What rvswitch does inside the kernel, without a kernel module. This crate alone talks to bpf(2).
//!
//! - [`IngressDrop`] keeps the host's own stack from seeing the frames that the switch has taken from a port by AF_PACKET.
//! - [`KernelCache`] is tier 0: megaflows carried out by an eBPF program on the ingress of every port. [`tier0`] tells how.
//! - [`Tagger`] gives a host a VLAN where the kernel can't.
//! - [`foreign_programs`] names who else works on a port's ingress.
//!
//! Everything here is optional at run time: where kernel or privileges lack something, the call says so with cause and
//! cure ([`Error`]), and the switch goes on in user space. `unsafe` is confined to `sys`.
#![deny(unsafe_op_in_unsafe_fn)]

mod asm;
mod attr;
mod egress;
mod error;
mod foreign;
mod gate;
mod grace;
mod hook;
mod ingress_drop;
mod netlink;
mod pins;
mod program;
#[allow(unsafe_code)]
mod sys;
mod tagger;
mod tc;
pub mod tier0;

pub use egress::EgressHooks;
pub use error::Error;
pub use foreign::{foreign_programs, Foreign, ForeignHook};
pub use hook::{old_filters, remove_drops, remove_filters, Guard, Mode};
pub use ingress_drop::{Capability, IngressDrop};
pub use pins::{OldLink, Pins};
pub use tagger::Tagger;
pub use tier0::{KernelCache, BEAT_EVERY, SILENCE};
