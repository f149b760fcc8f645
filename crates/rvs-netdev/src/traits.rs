//! Where frames come from and where they go.
//!
//! A port is not a file descriptor: one ring may serve one port or all of them, so that a source says of each frame on
//! which port it came in, and a sink is told for each frame on which port it goes out. Port numbers are the caller's;
//! nothing here looks into them.

use std::fmt;

use rvs_packet::{Frame, FramePool};

use crate::stats::PortStats;

/// Number of a port, as the caller counts them (the datapath's numbering).
pub type PortNo = u32;

/// A frame and the port it came in on.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    pub port: PortNo,
    pub frame: Frame,
}

/// Whether a source or a port is still worth asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Frames may come.
    Live,
    /// The device is down; frames come again when it is set up.
    Down,
    /// The device is gone (deleted, moved to another namespace) or the file is at its end. Nothing will ever come.
    Gone,
}

/// Gives frames, in the order in which each port received them.
pub trait FrameSource {
    /// Appends at most `max` frames that are there now, in buffers of `pool`, and returns how many. Never blocks.
    ///
    /// Fewer than `max` does not mean that there is nothing more: a batch is also bounded in octets.
    fn recv_batch(&mut self, pool: &mut FramePool, out: &mut Vec<Received>, max: usize) -> usize;

    /// To be asked when a poll reports an error or a hang-up, and by those who wait for an end. Clears the error.
    fn liveness(&mut self) -> Liveness;
}

/// Takes frames for ports.
///
/// Frames for one port leave in the order in which they were pushed. Between [`Self::push`] and [`Self::flush`] a frame
/// may wait; what can't be sent is dropped and counted by the port, and never holds up what comes behind.
pub trait FrameSink {
    /// Queues `frame` for `port`. A port that is not there costs the frame: it comes back.
    fn push(&mut self, port: PortNo, frame: Frame) -> Result<(), Frame>;

    /// Sends all that is queued. The buffers go to `pool`.
    fn flush(&mut self, pool: &mut FramePool);
}

/// The sending half of one port. Several threads may send at once; each brings its own [`TxScratch`].
pub trait Transmit: Send + Sync + fmt::Debug {
    /// Sends all of `frames` in order and gives the buffers to `pool`. What can't be sent is counted by name.
    fn transmit(&self, frames: &mut Vec<Frame>, pool: &mut FramePool, scratch: &mut TxScratch);

    /// Tells the device's MTU in octets, now and whenever it changes. Until told, nothing is too big.
    fn set_mtu(&self, mtu: u32);

    /// Counters of the whole port, both directions.
    fn stats(&self) -> PortStats;
}

/// Working space of one sending thread, so that sending allocates nothing.
#[derive(Debug, Default)]
pub struct TxScratch {
    pub(crate) headers: Vec<crate::vnet::VnetHdr>,
    /// The batch as it goes out, when it is not as it came.
    pub(crate) ready: Vec<Frame>,
}
