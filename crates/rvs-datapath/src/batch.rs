//! A burst of frames on its way through a worker.

use std::collections::VecDeque;

use rvs_flow::DpPort;
use rvs_packet::{Frame, FramePool};

/// At most [`Self::MAX`] frames, each with the port that it came in on, in the order of arrival.
///
/// [`crate::Datapath::process`] takes frames out in order as it executes them. If it panics, the frame at fault is gone or
/// still the first, and the rest is here to be processed one by one.
#[derive(Debug)]
pub struct FrameBatch(VecDeque<(DpPort, Frame)>);

impl FrameBatch {
    /// Frames that are looked up together.
    pub const MAX: usize = 32;

    pub fn new() -> Self {
        Self(VecDeque::with_capacity(Self::MAX))
    }

    /// Appends a frame, or gives it back when the batch is full.
    pub fn push(&mut self, port: DpPort, frame: Frame) -> Result<(), Frame> {
        if self.is_full() {
            return Err(frame);
        }
        self.0.push_back((port, frame));
        Ok(())
    }

    /// Takes the frame that arrived first.
    pub fn pop(&mut self) -> Option<(DpPort, Frame)> {
        self.0.pop_front()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.0.len() >= Self::MAX
    }

    pub fn iter(&self) -> impl Iterator<Item = &(DpPort, Frame)> {
        self.0.iter()
    }

    /// Gives every frame back to `pool`.
    pub fn clear_into(&mut self, pool: &mut FramePool) {
        for (_, frame) in self.0.drain(..) {
            pool.give(frame);
        }
    }
}

impl Default for FrameBatch {
    fn default() -> Self {
        Self::new()
    }
}
