//! The unsafe island: the system calls that have no checked wrapper, and the memory that the kernel shares with us.
//!
//! Everything in here is small on purpose: each function takes and gives safe types, does one thing, and its SAFETY
//! comments say why nobody outside has to care. What can be done through `nix` is done outside.
#![allow(unsafe_code)]

pub(crate) mod heap;
pub(crate) mod mmsg;
pub(crate) mod netlink;
pub(crate) mod opt;
pub(crate) mod ring;
