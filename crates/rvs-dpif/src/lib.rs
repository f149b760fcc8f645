//! The treaty between the fast and the slow path: types only.
//!
//! A worker (tiers 1 and 2) and the kernel cache (tier 0) know nothing of OpenFlow; the slow path (tier 3) knows nothing
//! of rings and sockets. They meet in these values:
//!
//! - up: [`Upcall`], a frame that no installed flow decides, or that a flow punts;
//! - down: [`DpCommand`], in order, through the worker's inbox: a verdict, an install, a delete, a question for an
//!   acknowledgement;
//! - beside: [`FlowStats`], written by the one worker that owns the flow (and by the owner of the kernel's cache), read by
//!   anybody.
//!
//! A lost install or upcall costs speed, counted, never correctness. Deletes are never lost.
#![forbid(unsafe_code)]

pub mod action;
pub mod bucket;
pub mod command;
pub mod drop;
pub mod flow;
pub mod limits;
pub mod meter;
pub mod policer;
pub mod text;
pub mod upcall;

pub use action::{Actions, Announce, DpAction, Masked, MeterId, PuntReason, SetField};
pub use command::{AckToken, DpCommand};
pub use drop::{DropCounters, DropReason};
pub use flow::{FlowId, FlowSnapshot, FlowStats, Megaflow, Standing};
pub use meter::Meter;
pub use policer::{Policer, Policing};
pub use text::ActionText;
pub use upcall::{Egress, Upcall, UpcallKind, UpcallSink, WorkerId};
