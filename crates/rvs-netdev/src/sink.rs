//! The sink of one forwarding thread: a queue for each port, sent port by port when the batch ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use rvs_packet::{Frame, FramePool};

use crate::traits::{FrameSink, PortNo, Transmit, TxScratch};

#[derive(Debug)]
struct Queue {
    port: Arc<dyn Transmit>,
    frames: Vec<Frame>,
}

/// Sends to a set of ports. Each forwarding thread has its own; the ports behind are shared.
#[derive(Debug, Default)]
pub struct PortSink {
    queues: BTreeMap<PortNo, Queue>,
    /// Ports with frames queued, in the order in which they got their first.
    dirty: Vec<PortNo>,
    scratch: TxScratch,
}

impl PortSink {
    /// Adds a port, or replaces it; what was queued for the old one is for the new one.
    pub fn insert(&mut self, no: PortNo, port: Arc<dyn Transmit>) {
        let frames = self.queues.remove(&no).map_or_else(Vec::new, |q| q.frames);
        self.queues.insert(no, Queue { port, frames });
    }

    /// Removes a port. What was queued for it is lost with it.
    pub fn remove(&mut self, no: PortNo) -> Option<Arc<dyn Transmit>> {
        self.dirty.retain(|d| *d != no);
        self.queues.remove(&no).map(|q| q.port)
    }
}

impl FrameSink for PortSink {
    fn push(&mut self, port: PortNo, frame: Frame) -> Result<(), Frame> {
        let Some(queue) = self.queues.get_mut(&port) else {
            return Err(frame);
        };
        if queue.frames.is_empty() {
            self.dirty.push(port);
        }
        queue.frames.push(frame);
        Ok(())
    }

    fn flush(&mut self, pool: &mut FramePool) {
        for no in self.dirty.drain(..) {
            if let Some(queue) = self.queues.get_mut(&no) {
                queue
                    .port
                    .transmit(&mut queue.frames, pool, &mut self.scratch);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::memory::MemoryPort;
    use crate::traits::FrameSource;

    #[test]
    fn frames_wait_for_the_flush_and_keep_their_order() {
        let (a, mut far_a) = MemoryPort::pair(1, 101, 8);
        let (b, mut far_b) = MemoryPort::pair(2, 102, 8);
        let mut sink = PortSink::default();
        sink.insert(1, Arc::new(a));
        sink.insert(2, Arc::new(b));
        let (mut pool, mut out) = (FramePool::new(), Vec::new());
        for (port, byte) in [(1, 1), (2, 2), (1, 3)] {
            sink.push(port, Frame::from_slice(&[byte; 60])).unwrap();
        }
        assert_eq!(far_a.recv_batch(&mut pool, &mut out, 8), 0);
        sink.flush(&mut pool);
        assert_eq!(far_a.recv_batch(&mut pool, &mut out, 8), 2);
        assert_eq!(far_b.recv_batch(&mut pool, &mut out, 8), 1);
        let bytes: Vec<u8> = out.iter().map(|r| r.frame.bytes()[0]).collect();
        assert_eq!(bytes, [1, 3, 2]);
    }

    #[test]
    fn a_port_that_is_not_there_gives_the_frame_back() {
        let mut sink = PortSink::default();
        let frame = Frame::from_slice(&[1; 60]);
        assert_eq!(sink.push(9, frame.clone()), Err(frame));
    }
}
