//! Tiers 1 and 2: the caches that answer a frame without asking the slow path, and what is done with it then.
#![forbid(unsafe_code)]

pub mod cache;

pub use cache::{Emc, FlowHash, FlowRef, InstallRefused, MegaflowTable};
