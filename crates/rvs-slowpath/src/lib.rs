//! Tier 3: answers the misses of the caches, keeps what it answered true, and remembers what it costs.
//!
//! One value, [`SlowPath`], owns the published world, the MAC tables and the book of installed flows. The handler thread
//! and the control thread take it in bounded turns (`docs/adr/0001-one-lock-for-the-slow-path.md`). Whatever it decides goes
//! out through a [`Dispatch`]: commands to workers, in order, and effects to control.
//!
//! Ordering
//! - State first: what a frame teaches (a MAC address) is applied, and the flows that depended on the old state are
//!   judged again, before that frame's verdict is sent. An answer never overtakes the lesson.
//! - A deletion is dispatched before the call that caused it returns.
#![forbid(unsafe_code)]

mod adopt;
mod by_hand;
mod execute;
pub mod flows;
mod ids;
mod index;
mod intern;
pub mod limits;
pub mod queue;
mod revalidate;
mod slowpath;
mod sweep;

pub use adopt::Adopted;
pub use flows::{DelReason, FlowTable, InstalledFlow};
pub use limits::Limits;
pub use queue::{UpcallQueues, UpcallSender, UpcallSenders};
pub use slowpath::{Counters, Dispatch, Notes, SlowPath, Taught, Upkeep};
