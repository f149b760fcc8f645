//! The ways out of one worker: a queue per port, emptied when a batch ends.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use rvs_dpif::{DropReason, Egress};
use rvs_flow::DpPort;
use rvs_netdev::{Transmit, TxScratch};
use rvs_packet::gso::{fits, Fit};
use rvs_packet::{Frame, FramePool};

/// Room for the frames of an ordinary batch.
const QUEUE: usize = 64;
/// Frames that may wait for one port within a batch: many outputs to one port, or parked frames released at once.
const MAX_QUEUE: usize = 1024;

/// A port to send to.
#[derive(Debug)]
pub struct TxPort {
    pub port: DpPort,
    pub tx: Arc<dyn Transmit>,
    pub mtu: u32,
    pub up: bool,
    /// The MTU that the largest frame dropped for its size would have needed; 0 while there was none.
    needed: Arc<AtomicU32>,
    queue: Vec<Frame>,
}

impl TxPort {
    pub fn new(
        port: DpPort,
        tx: Arc<dyn Transmit>,
        mtu: u32,
        up: bool,
        needed: Arc<AtomicU32>,
    ) -> Self {
        Self {
            port,
            tx,
            mtu,
            up,
            needed,
            queue: Vec::with_capacity(QUEUE),
        }
    }
}

/// All ports that a worker can send to. Indexed by port number: numbers are dense and grow slowly.
#[derive(Debug, Default)]
pub struct Outputs {
    ports: Vec<Option<TxPort>>,
    /// Ports with frames waiting.
    pending: Vec<usize>,
    scratch: TxScratch,
}

impl Outputs {
    pub fn add(&mut self, port: TxPort) {
        let index = port.port.0 as usize;
        if index >= self.ports.len() {
            self.ports.resize_with(index + 1, || None);
        }
        self.ports[index] = Some(port);
    }

    pub fn remove(&mut self, port: DpPort) {
        if let Some(slot) = self.ports.get_mut(port.0 as usize) {
            *slot = None;
        }
    }

    pub fn adjust(&mut self, port: DpPort, mtu: u32, up: bool) {
        if let Some(p) = self.ports.get_mut(port.0 as usize).and_then(Option::as_mut) {
            p.mtu = mtu;
            p.up = up;
        }
    }

    /// Sends everything that waits; buffers go to `pool`.
    pub fn flush(&mut self, pool: &mut FramePool) {
        for index in self.pending.drain(..) {
            if let Some(p) = self.ports.get_mut(index).and_then(Option::as_mut) {
                p.tx.transmit(&mut p.queue, pool, &mut self.scratch);
            }
        }
    }
}

impl Egress for Outputs {
    fn output(&mut self, port: DpPort, frame: Frame) -> Result<(), DropReason> {
        let index = port.0 as usize;
        let Some(p) = self.ports.get_mut(index).and_then(Option::as_mut) else {
            return Err(DropReason::NoPort);
        };
        if !p.up {
            return Err(DropReason::PortDown);
        }
        // What has to be segmented first is segmented by the port.
        if let Fit::TooBig { octets } = fits(&frame, p.mtu) {
            p.needed
                .fetch_max(u32::try_from(octets).unwrap_or(u32::MAX), Ordering::Relaxed);
            return Err(DropReason::TooBig);
        }
        if p.queue.is_empty() {
            self.pending.push(index);
        }
        if p.queue.len() >= MAX_QUEUE {
            return Err(DropReason::TxQueueFull);
        }
        p.queue.push(frame);
        Ok(())
    }
}
