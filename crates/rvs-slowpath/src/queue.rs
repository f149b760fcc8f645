//! Upcall queues: one bounded queue per input port and one for frames of controllers, emptied round robin.
//!
//! A port that misses at line rate fills its own queue and nobody else's: the forwarding thread never waits, the frame that
//! finds no room is dropped and counted by the worker, and the handler takes at most [`QUANTUM`] upcalls of a port
//! before it looks at the next one.

use ahash::AHashMap;
use crossbeam_channel::{bounded, Receiver, Sender, TrySendError};
use rvs_dpif::upcall::UpcallRefused;
use rvs_dpif::{Upcall, UpcallSink};
use rvs_flow::DpPort;

/// Upcalls that may wait for one input port.
pub const PER_PORT: usize = 256;
/// Upcalls taken from one port before the next port's turn.
pub const QUANTUM: usize = 16;

/// The worker's end of one port's queue.
#[derive(Clone, Debug)]
pub struct UpcallSender {
    port: DpPort,
    queue: Sender<Upcall>,
    /// Holds one token while the handler has something to do.
    doorbell: Sender<()>,
}

/// The worker's ends of the queues of all its ports, and of the one for frames that came in by none of them.
#[derive(Debug)]
pub struct UpcallSenders {
    ports: AHashMap<DpPort, UpcallSender>,
    injected: UpcallSender,
}

impl UpcallSenders {
    /// `injected` is [`UpcallQueues::injected`].
    pub fn new(injected: UpcallSender) -> Self {
        Self {
            ports: AHashMap::default(),
            injected,
        }
    }

    pub fn add(&mut self, sender: UpcallSender) {
        self.ports.insert(sender.port, sender);
    }

    pub fn remove(&mut self, port: DpPort) {
        self.ports.remove(&port);
    }

    /// A frame that a controller injects has no port, or one that another worker receives from.
    fn of(&self, port: DpPort) -> &UpcallSender {
        self.ports.get(&port).unwrap_or(&self.injected)
    }
}

impl UpcallSink for UpcallSenders {
    fn has_room(&self, in_port: DpPort) -> bool {
        !self.of(in_port).queue.is_full()
    }

    fn offer(&mut self, upcall: Upcall) -> Result<(), UpcallRefused> {
        let s = self.of(DpPort(upcall.key.in_port));
        match s.queue.try_send(upcall) {
            Ok(()) => {
                // A full doorbell already rings.
                let _ = s.doorbell.try_send(());
                Ok(())
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(UpcallRefused),
        }
    }
}

/// The handler's ends of all queues.
#[derive(Debug)]
pub struct UpcallQueues {
    ports: Vec<(DpPort, Receiver<Upcall>)>,
    next: usize,
    ring: Sender<()>,
    doorbell: Receiver<()>,
    injected: UpcallSender,
}

impl UpcallQueues {
    pub fn new() -> Self {
        let (ring, doorbell) = bounded(1);
        let (queue, receiver) = bounded(PER_PORT);
        let injected = UpcallSender {
            port: DpPort::NONE,
            queue,
            doorbell: ring.clone(),
        };
        Self {
            ports: vec![(DpPort::NONE, receiver)],
            next: 0,
            ring,
            doorbell,
            injected,
        }
    }

    /// The workers' end of the queue for frames that controllers inject.
    pub fn injected(&self) -> UpcallSender {
        self.injected.clone()
    }

    /// Opens the queue of a new port and returns the worker's end.
    pub fn add_port(&mut self, port: DpPort) -> UpcallSender {
        self.remove_port(port);
        let (queue, receiver) = bounded(PER_PORT);
        self.ports.push((port, receiver));
        UpcallSender {
            port,
            queue,
            doorbell: self.ring.clone(),
        }
    }

    /// Closes a port's queue; what waits in it is dropped with the port.
    pub fn remove_port(&mut self, port: DpPort) {
        self.ports.retain(|(p, _)| *p != port);
        self.next = 0;
    }

    /// Rings when there may be something to take.
    pub fn doorbell(&self) -> &Receiver<()> {
        &self.doorbell
    }

    /// Wakes the handler for another reason than an upcall.
    pub fn ringer(&self) -> Sender<()> {
        self.ring.clone()
    }

    /// Takes up to `max` upcalls into `out`, round robin by port. Returns whether more may wait.
    pub fn take(&mut self, max: usize, out: &mut Vec<Upcall>) -> bool {
        let n = self.ports.len();
        let full = out.len() + max;
        let mut empty = 0;
        while n > 0 && empty < n {
            let (_, queue) = &self.ports[self.next % n];
            self.next = (self.next + 1) % n;
            let before = out.len();
            let room = QUANTUM.min(full - before);
            if room == 0 {
                return true;
            }
            out.extend(queue.try_iter().take(room));
            empty = if out.len() == before { empty + 1 } else { 0 };
        }
        false
    }

    /// How many upcalls wait, by port.
    pub fn waiting(&self) -> impl Iterator<Item = (DpPort, usize)> + '_ {
        self.ports.iter().map(|(p, q)| (*p, q.len()))
    }
}

impl Default for UpcallQueues {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rvs_dpif::{UpcallKind, WorkerId};
    use rvs_flow::FlowKey;
    use rvs_packet::{Frame, Now};

    fn upcall(port: u32) -> Upcall {
        Upcall {
            worker: WorkerId(0),
            kind: UpcallKind::Miss,
            key: FlowKey {
                in_port: port,
                ..Default::default()
            },
            frame: Frame::from_slice(&[]),
            asked: Now::ZERO,
        }
    }

    #[test]
    fn a_full_queue_refuses_only_its_own_port() {
        let mut queues = UpcallQueues::new();
        let mut senders = UpcallSenders::new(queues.injected());
        senders.add(queues.add_port(DpPort(1)));
        senders.add(queues.add_port(DpPort(2)));
        for _ in 0..PER_PORT {
            assert!(senders.offer(upcall(1)).is_ok());
        }
        assert_eq!(
            senders.offer(upcall(1)),
            Err(UpcallRefused),
            "one past the limit"
        );
        assert!(senders.offer(upcall(2)).is_ok());
        // A controller's frames come in by a port of another worker, or by none.
        assert!(senders.offer(upcall(3)).is_ok());
        let mut all = Vec::new();
        queues.take(2 * PER_PORT, &mut all);
        assert_eq!(all.iter().filter(|u| u.key.in_port == 3).count(), 1);
        assert!(queues.doorbell().try_recv().is_ok(), "the handler is woken");
    }

    #[test]
    fn a_busy_port_does_not_starve_a_quiet_one() {
        let mut queues = UpcallQueues::new();
        let mut senders = UpcallSenders::new(queues.injected());
        for p in [1, 2, 3] {
            senders.add(queues.add_port(DpPort(p)));
        }
        for _ in 0..200 {
            assert!(senders.offer(upcall(1)).is_ok());
        }
        assert!(senders.offer(upcall(2)).is_ok());
        assert!(senders.offer(upcall(3)).is_ok());
        let mut out = Vec::new();
        assert!(queues.take(64, &mut out));
        let ports: Vec<u32> = out.iter().map(|u| u.key.in_port).collect();
        assert_eq!(ports.len(), 64);
        assert!(
            ports[..QUANTUM + 2].contains(&2) && ports[..QUANTUM + 2].contains(&3),
            "{ports:?}"
        );
        while queues.take(64, &mut out) {}
        assert_eq!(out.len(), 202);
    }
}
