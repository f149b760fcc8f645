//! Tiers 1 and 2: the caches that answer a frame without asking the slow path, and what is done with it then.
//!
//! One [`Datapath`] per worker, owned by its thread and shared with nobody. What goes up and what comes down is in
//! `rvs-dpif`; what it counted is read through [`WorkerCounters`].
#![forbid(unsafe_code)]

pub mod batch;
pub mod cache;
mod command;
pub mod datapath;
mod execute;
mod nominate;
pub mod park;
pub mod perf;
mod police;
pub mod stats;

pub use batch::FrameBatch;
pub use cache::{Caches, Emc, FlowHash, FlowRef, InstallRefused, MegaflowTable};
pub use datapath::{Config, Datapath};
pub use stats::{Counter, WorkerCounters};
