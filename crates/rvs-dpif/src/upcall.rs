//! The way up, and the way out.

use rvs_flow::{DpPort, FlowKey};
use rvs_packet::{Frame, Now};

use crate::action::PuntReason;
use crate::drop::DropReason;

/// A forwarding thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpcallKind {
    /// No flow decides the frame. The worker parks it and followers with the same key until the verdict comes.
    Miss,
    /// A flow hands up a copy; the worker is done with the frame.
    Punt { reason: PuntReason, cookie: u64 },
}

/// A question to the slow path.
#[derive(Debug)]
pub struct Upcall {
    pub worker: WorkerId,
    pub kind: UpcallKind,
    pub key: FlowKey,
    /// A copy of the frame, as it was at that moment.
    pub frame: Frame,
    /// When the worker asked.
    pub asked: Now,
}

/// Where upcalls go: a bounded queue per input port.
pub trait UpcallSink {
    /// False when an upcall of `in_port` would be refused now: asked before a frame is copied, so that a flood costs little.
    fn has_room(&self, in_port: DpPort) -> bool {
        let _ = in_port;
        true
    }

    /// Takes the upcall, or says that the input port's share is used up (counted by the caller).
    fn offer(&mut self, upcall: Upcall) -> Result<(), UpcallRefused>;
}

/// The input port has as many upcalls waiting as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpcallRefused;

/// Where frames leave.
pub trait Egress {
    /// Sends `frame` on `port` (at the latest when the batch ends). A frame that can't go is consumed; the reason is
    /// returned for the caller to count.
    fn output(&mut self, port: DpPort, frame: Frame) -> Result<(), DropReason>;
}
