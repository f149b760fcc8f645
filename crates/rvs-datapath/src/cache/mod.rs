//! Tiers 1 and 2: which installed flow decides a frame.

mod buckets;
pub mod emc;
mod hash;
pub mod megaflow;

pub use emc::Emc;
pub use hash::FlowHash;
pub use megaflow::{FlowRef, InstallRefused, MegaflowTable};
