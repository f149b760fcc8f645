//! Two ports joined by a wire in memory: the ports of simulated switches, without any privilege.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rvs_packet::gso::{self, Fit};
use rvs_packet::{Frame, FramePool};

use crate::stats::{Counters, PortStats};
use crate::traits::{FrameSource, Liveness, PortNo, Received, Transmit, TxScratch};
use crate::tx::Limits;

/// One direction of the wire.
#[derive(Debug, Default)]
struct Lane {
    frames: Mutex<VecDeque<Frame>>,
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Frame>> {
        // A queue of whole frames is in order even if a thread died holding it.
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One end of a wire in memory. Offload metadata travel along, as they do over a veth pair.
#[derive(Debug)]
pub struct MemoryPort {
    port: PortNo,
    depth: usize,
    limits: Limits,
    inbound: Arc<Lane>,
    outbound: Arc<Lane>,
    counters: Counters,
}

impl MemoryPort {
    /// Both ends of a wire that holds `depth` frames in each direction. What exceeds that is dropped and counted.
    pub fn pair(a: PortNo, b: PortNo, depth: usize) -> (Self, Self) {
        let (up, down) = (Arc::new(Lane::default()), Arc::new(Lane::default()));
        let end = |port, inbound: &Arc<Lane>, outbound: &Arc<Lane>| Self {
            port,
            depth,
            limits: Limits::new(u32::MAX),
            inbound: inbound.clone(),
            outbound: outbound.clone(),
            counters: Counters::default(),
        };
        (end(a, &up, &down), end(b, &down, &up))
    }
}

impl FrameSource for MemoryPort {
    fn recv_batch(&mut self, _: &mut FramePool, out: &mut Vec<Received>, max: usize) -> usize {
        let mut lane = self.inbound.lock();
        let n = max.min(lane.len());
        let before = out.len();
        out.extend(lane.drain(..n).map(|frame| Received {
            port: self.port,
            frame,
        }));
        drop(lane);
        for received in &out[before..] {
            let (packets, bytes) = gso::on_wire(&received.frame);
            self.counters.rx_packets.add(packets);
            self.counters.rx_bytes.add(bytes);
        }
        n
    }

    fn liveness(&mut self) -> Liveness {
        // The other end holds both lanes as well.
        if Arc::strong_count(&self.inbound) == 1 && self.inbound.lock().is_empty() {
            Liveness::Gone
        } else {
            Liveness::Live
        }
    }
}

impl Transmit for MemoryPort {
    fn transmit(&self, frames: &mut Vec<Frame>, pool: &mut FramePool, _: &mut TxScratch) {
        let mtu = self.limits.mtu();
        let gone = Arc::strong_count(&self.outbound) == 1;
        let mut lane = self.outbound.lock();
        for frame in frames.drain(..) {
            let refused = if gone {
                &self.counters.tx_port_down
            } else if matches!(gso::fits(&frame, mtu), Fit::TooBig { .. }) {
                &self.counters.tx_too_big
            } else if lane.len() >= self.depth {
                &self.counters.tx_queue_full
            } else {
                let (packets, bytes) = gso::on_wire(&frame);
                self.counters.tx_packets.add(packets);
                self.counters.tx_bytes.add(bytes);
                lane.push_back(frame);
                continue;
            };
            refused.add(1);
            pool.give(frame);
        }
    }

    fn set_mtu(&self, mtu: u32) {
        self.limits.set_mtu(mtu);
    }

    fn stats(&self) -> PortStats {
        self.counters.snapshot()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn send(port: &MemoryPort, frames: &[&[u8]]) {
        let mut list = frames.iter().map(|b| Frame::from_slice(b)).collect();
        port.transmit(&mut list, &mut FramePool::new(), &mut TxScratch::default());
    }

    fn recv(port: &mut MemoryPort, max: usize) -> Vec<Received> {
        let mut out = Vec::new();
        port.recv_batch(&mut FramePool::new(), &mut out, max);
        out
    }

    #[test]
    fn frames_arrive_in_order_on_the_other_port_only() {
        let (mut a, mut b) = MemoryPort::pair(1, 2, 8);
        send(&a, &[&[1; 60], &[2; 60], &[3; 60]]);
        assert!(recv(&mut a, 8).is_empty());
        let got = recv(&mut b, 2);
        assert_eq!((got.len(), got[0].port, got[1].frame.bytes()[0]), (2, 2, 2));
        assert_eq!(recv(&mut b, 2).len(), 1);
        assert_eq!((b.stats().rx_packets, b.stats().rx_bytes), (3, 180));
    }

    #[test]
    fn a_full_wire_and_a_small_mtu_lose_by_name() {
        let (a, mut b) = MemoryPort::pair(1, 2, 2);
        a.set_mtu(100);
        send(&a, &[&[1; 60], &[2; 115], &[3; 114], &[4; 60]]);
        assert_eq!(recv(&mut b, 9).len(), 2);
        let s = a.stats();
        assert_eq!((s.tx_packets, s.tx_too_big, s.tx_queue_full), (2, 1, 1));
    }

    #[test]
    fn a_wire_with_one_end_is_gone_once_it_is_empty() {
        let (a, mut b) = MemoryPort::pair(1, 2, 2);
        send(&a, &[&[1; 60]]);
        drop(a);
        assert_eq!(b.liveness(), Liveness::Live);
        recv(&mut b, 1);
        assert_eq!(b.liveness(), Liveness::Gone);
        send(&b, &[&[1; 60]]);
        assert_eq!(b.stats().tx_port_down, 1);
    }
}
