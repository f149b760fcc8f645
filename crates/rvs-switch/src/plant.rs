//! The switch as the OpenFlow agents see it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::AHashMap;
use rvs_dpif::{DpCommand, Meter, MeterId, WorkerId};
use rvs_flow::OfPort;
use rvs_ofproto::Plant;
use rvs_openflow::message::{PortStats, Queue, QueueStats};
use rvs_ovsdb::Uuid;
use rvs_packet::{Frame, Now};
use rvs_pipeline::{Bridge, BridgeId, ChangeSet, FrozenState};
use rvs_slowpath::SlowPath;

use crate::platform::PortCounters;
use crate::policing::Policers;
use crate::ports::{IfaceState, Topology};
use crate::survive::Waiting;
use crate::switch::Rim;

/// Meters of the daemon's datapath. A number is free again once no flow can name it.
#[derive(Debug, Default)]
pub(crate) struct MeterPool {
    next: u32,
    free: Vec<MeterId>,
    /// Given back while caches may still name it: free after the next settling.
    leaving: Vec<MeterId>,
}

impl MeterPool {
    /// Meters of all bridges together.
    const MAX: u32 = 65_536;

    fn take(&mut self) -> Option<MeterId> {
        if let Some(id) = self.free.pop() {
            return Some(id);
        }
        let id = self.next;
        self.next = id.checked_add(1).filter(|n| *n <= Self::MAX)?;
        Some(MeterId(id))
    }
}

/// A queue's share of its port's rate, at most all of it.
fn tenths_of_percent(rate: u64, of: u64) -> Option<u16> {
    let share = u128::from(rate) * 1000 / u128::from(of.max(1));
    u16::try_from(share.min(1000)).ok()
}

/// What an agent's calls act on. Borrowed from the switch for one turn.
pub struct SwitchPlant<'a, R> {
    pub(crate) slow: &'a Arc<Mutex<SlowPath>>,
    pub(crate) rim: &'a mut R,
    pub(crate) topology: &'a Topology,
    pub(crate) bridge_ids: &'a BTreeMap<Uuid, BridgeId>,
    pub(crate) meters: &'a mut MeterPool,
    pub(crate) policers: &'a Policers,
    pub(crate) opened: &'a AHashMap<Uuid, Now>,
    /// Flows of a dead daemon that wait to be judged.
    pub(crate) waiting: &'a mut Option<Waiting>,
    pub(crate) restoring: bool,
}

impl<R: Rim> SwitchPlant<'_, R> {
    fn lock(&self) -> MutexGuard<'_, SlowPath> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn iface(&self, bridge: BridgeId, port: OfPort) -> Option<&IfaceState> {
        let uuid = self
            .bridge_ids
            .iter()
            .find_map(|(u, id)| (*id == bridge).then_some(*u))?;
        let state = self.topology.bridge(uuid)?;
        state.ifaces().map(|(_, i)| i).find(|i| i.of_port == port)
    }
}

impl<R: Rim> Plant for SwitchPlant<'_, R> {
    fn bridge(&self, id: BridgeId) -> Option<Arc<Bridge>> {
        self.lock().world().bridge(id).cloned()
    }

    fn publish(&mut self, bridge: Bridge, changes: &ChangeSet) {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.publish(bridge, changes, self.rim);
    }

    fn completed(&mut self, bridge: BridgeId, by_controller: bool) {
        let Some(waiting) = self.waiting.as_mut().filter(|_| !self.restoring) else {
            return;
        };
        if waiting.completed(bridge, by_controller) {
            let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
            if !waiting.judge(&mut slow, self.rim) {
                *self.waiting = None;
            }
        }
    }

    fn settle(&mut self) {
        let owed = {
            let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
            slow.outstanding(self.rim)
        };
        for (token, worker) in &owed {
            self.rim.settle(*token, &[*worker]);
        }
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        for (token, worker) in owed {
            slow.acknowledged(worker, token, self.rim);
        }
        self.meters.free.append(&mut self.meters.leaving);
    }

    fn credit(&mut self) {
        // What has left the caches counts too, once it is sure to be the last.
        self.settle();
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.credit_all(self.rim);
    }

    fn execute(&mut self, now: Now, start: FrozenState, frame: Vec<u8>) {
        // One worker for all: packets of controllers leave in the order in which they came.
        const WORKER: WorkerId = WorkerId(0);
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.execute(now, WORKER, &start, Frame::from_slice(&frame), self.rim);
    }

    fn port_stats(&mut self, now: Now, bridge: BridgeId, port: OfPort) -> Option<PortStats> {
        if self.iface(bridge, port)?.patch.is_some() {
            self.credit();
        }
        let iface = self.iface(bridge, port)?;
        let up = now.since(self.opened.get(&iface.cfg.uuid).copied().unwrap_or(now));
        let c = match (&iface.open, &iface.patch) {
            (Some((dp, _)), _) => {
                let dp = *dp;
                self.policers.counters(dp, self.rim)
            }
            (None, Some(patch)) => patch.counters(),
            (None, None) => return None,
        };
        // An Ethernet device of the kernel counts these among the errors, and veth has none.
        let finer = match c.rx_errors {
            PortCounters::NOT_COUNTED => PortCounters::NOT_COUNTED,
            _ => 0,
        };
        Some(PortStats {
            port,
            duration_sec: u32::try_from(up.as_secs()).unwrap_or(u32::MAX),
            duration_nsec: up.subsec_nanos(),
            rx_packets: c.rx_packets,
            tx_packets: c.tx_packets,
            rx_bytes: c.rx_bytes,
            tx_bytes: c.tx_bytes,
            rx_dropped: c.rx_dropped,
            tx_dropped: c.tx_dropped,
            rx_errors: c.rx_errors,
            tx_errors: c.tx_errors,
            rx_frame_err: finer,
            rx_over_err: finer,
            rx_crc_err: finer,
            collisions: finer,
        })
    }

    fn queues(&mut self, now: Now, bridge: BridgeId, port: OfPort) -> Vec<(Queue, QueueStats)> {
        let Some((dp, wish)) = self.iface(bridge, port).and_then(|i| {
            let (dp, _) = i.open.as_ref()?;
            Some((*dp, i.qos().cloned()))
        }) else {
            return Vec::new();
        };
        let counters = self.rim.queues(dp).into_iter();
        let told = counters.filter_map(|c| {
            let up = c.since.map(|since| now.since(since));
            let stats = QueueStats {
                port,
                queue: c.queue,
                tx_bytes: c.tx_bytes,
                tx_packets: c.tx_packets,
                tx_errors: c.tx_dropped,
                duration_sec: up.map_or(u32::MAX, |up| {
                    u32::try_from(up.as_secs()).unwrap_or(u32::MAX)
                }),
                duration_nsec: up.map_or(u32::MAX, |up| up.subsec_nanos()),
            };
            // A dummy has a queue that nobody has asked for.
            let (asked, whole) = match &wish {
                Some(wish) => (wish.queues.get(&c.queue)?.clone(), wish.max_rate),
                None => Default::default(),
            };
            let share = |rate: Option<u64>| tenths_of_percent(rate?, whole?);
            let queue = Queue {
                port,
                id: c.queue,
                min_rate: share(asked.min_rate),
                max_rate: share(asked.max_rate),
            };
            Some((queue, stats))
        });
        told.collect()
    }

    fn set_port_up(&mut self, bridge: BridgeId, port: OfPort, up: bool) {
        let open = self.iface(bridge, port).and_then(|i| i.open.as_ref());
        if let Some(dp) = open.map(|(dp, _)| *dp) {
            self.rim.set_up(dp, up);
        }
    }

    fn new_meter(&mut self) -> Option<MeterId> {
        self.meters.take()
    }

    fn set_meter(&mut self, id: MeterId, meter: Option<Arc<Meter>>) {
        if meter.is_none() {
            self.meters.leaving.push(id);
        }
        for worker in 0..self.rim.workers() {
            let meter = meter.clone();
            let worker = WorkerId(worker);
            self.rim.command(worker, DpCommand::Meter { id, meter });
            self.lock().sent_to(worker);
        }
    }
}
