//! The rim of the simulated switch: devices that are names in a map, workers that run when told, time that is set.
//!
//! What the daemon does with threads and channels is done here in turns, in the same order: commands go into a worker's
//! inbox and are obeyed before it looks at frames; upcalls go into the shipping queues, port by port; waiting for a worker
//! ([`Rim::settle`]) lets it run its inbox.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use rvs_datapath::{Datapath, FrameBatch};
use rvs_dpif::{AckToken, DpCommand, DropReason, Egress, Upcall, WorkerId};
use rvs_flow::DpPort;
use rvs_packet::gso::{fits, Fit};
use rvs_packet::{Frame, MacAddr, Now};
use rvs_pipeline::PuntNote;
use rvs_slowpath::{Dispatch, SlowPath, Taught, UpcallQueues, UpcallSenders};
use rvs_switch::config::IfaceKind;
use rvs_switch::platform::{LinkInfo, Platform, PortCounters, PortError, PortSpec};
use rvs_switch::Rim;

use crate::capture::{Capture, Direction};

/// MTU of a device unless a test sets another.
pub const MTU: u32 = 1500;

/// A device, open as a port or not.
#[derive(Debug)]
pub(crate) struct Device {
    pub info: LinkInfo,
    pub port: Option<DpPort>,
    pub counters: PortCounters,
    /// What left through it and nobody has looked at yet.
    pub sent: Vec<Frame>,
    /// What comes in the moment the port is opened: a wire does not wait for the configuration.
    pub on_open: Vec<Frame>,
}

/// Every device, and the way out to each.
#[derive(Debug, Default)]
pub(crate) struct Fabric {
    pub devices: BTreeMap<String, Device>,
    pub names: BTreeMap<DpPort, String>,
    pub capture: Capture,
    pub now: Now,
}

impl Fabric {
    pub fn device_of(&mut self, port: DpPort) -> Option<&mut Device> {
        self.devices.get_mut(self.names.get(&port)?)
    }
}

impl Egress for Fabric {
    fn output(&mut self, port: DpPort, frame: Frame) -> Result<(), DropReason> {
        let name = self.names.get(&port).ok_or(DropReason::NoPort)?;
        let device = self.devices.get_mut(name).ok_or(DropReason::NoPort)?;
        if !device.info.admin_up {
            return Err(DropReason::PortDown);
        }
        if let Fit::TooBig { .. } = fits(&frame, device.info.mtu) {
            return Err(DropReason::TooBig);
        }
        device.counters.tx_packets += 1;
        device.counters.tx_bytes += frame.len() as u64;
        self.capture.note(self.now, Direction::Out, name, &frame);
        device.sent.push(frame);
        Ok(())
    }
}

/// One forwarding thread's state.
#[derive(Debug)]
pub(crate) struct Worker {
    pub id: WorkerId,
    pub datapath: Datapath,
    pub inbox: VecDeque<DpCommand>,
    pub upcalls: UpcallSenders,
    pub rx: VecDeque<(DpPort, Frame)>,
    pub acknowledged: AckToken,
    batch: FrameBatch,
}

impl Worker {
    pub fn new(id: WorkerId, datapath: Datapath, upcalls: UpcallSenders) -> Self {
        Self {
            id,
            datapath,
            inbox: VecDeque::new(),
            upcalls,
            rx: VecDeque::new(),
            acknowledged: AckToken(0),
            batch: FrameBatch::new(),
        }
    }

    /// Obeys everything in the inbox; false when it was empty.
    pub fn obey(&mut self, fabric: &mut Fabric) -> bool {
        let busy = !self.inbox.is_empty();
        while let Some(command) = self.inbox.pop_front() {
            let ack = self
                .datapath
                .command(fabric.now, command, fabric, &mut self.upcalls);
            if let Some(token) = ack {
                self.acknowledged = self.acknowledged.max(token);
            }
        }
        busy
    }

    /// Takes one batch of at most `max` frames; false when there was none.
    pub fn forward(&mut self, fabric: &mut Fabric, max: usize) -> bool {
        for _ in 0..max.min(FrameBatch::MAX) {
            let Some((port, frame)) = self.rx.pop_front() else {
                break;
            };
            self.batch
                .push(port, frame)
                .expect("invariant: no more frames are taken than a batch holds");
        }
        let busy = !self.batch.is_empty();
        let now = fabric.now;
        self.datapath
            .process(now, &mut self.batch, fabric, &mut self.upcalls);
        self.datapath.tick(now, fabric, &mut self.upcalls);
        busy
    }
}

/// A copy that a flow handed up, and what it is for.
#[derive(Debug)]
pub struct Punted {
    pub upcall: Upcall,
    pub note: Arc<PuntNote>,
}

/// The rim.
pub struct Wires {
    pub(crate) fabric: Fabric,
    pub(crate) workers: Vec<Worker>,
    pub(crate) queues: UpcallQueues,
    slow: Arc<Mutex<SlowPath>>,
    /// Copies for controllers, oldest first.
    pub punted: Vec<Punted>,
    /// Flows that learn actions asked for.
    pub learned: Vec<Taught>,
}

impl Wires {
    pub(crate) fn new(
        workers: Vec<Worker>,
        queues: UpcallQueues,
        slow: Arc<Mutex<SlowPath>>,
    ) -> Self {
        Self {
            slow,
            fabric: Fabric::default(),
            workers,
            queues,
            punted: Vec::new(),
            learned: Vec::new(),
        }
    }

    fn worker_of(&mut self, port: DpPort) -> &mut Worker {
        let n = self.workers.len();
        &mut self.workers[port.0 as usize % n]
    }

    /// Puts a frame on the wire of an open port.
    pub(crate) fn receive(&mut self, port: DpPort, frame: Frame) {
        if let Some(name) = self.fabric.names.get(&port).cloned() {
            let now = self.fabric.now;
            self.fabric.capture.note(now, Direction::In, &name, &frame);
        }
        if let Some(d) = self.fabric.device_of(port) {
            d.counters.rx_packets += 1;
            d.counters.rx_bytes += frame.len() as u64;
        }
        self.worker_of(port).rx.push_back((port, frame));
    }

    /// A frame that worker and handler deal with while the control thread is still configuring.
    fn receive_early(&mut self, port: DpPort, frame: Frame) {
        self.receive(port, frame);
        let n = self.workers.len();
        let worker = &mut self.workers[port.0 as usize % n];
        worker.obey(&mut self.fabric);
        worker.forward(&mut self.fabric, 1);
        let mut upcalls = Vec::new();
        self.queues.take(1, &mut upcalls);
        let slow = self.slow.clone();
        let mut slow = slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.handle(self.fabric.now, &mut upcalls, self);
    }

    /// Makes a device that the switch did not make.
    pub(crate) fn plug(&mut self, name: &str) {
        let n = self.fabric.devices.len() as u8;
        let info = LinkInfo {
            ifindex: u32::from(n) + 1,
            elsewhere: false,
            mac: MacAddr([2, 0xaa, 0, 0, 0, n]),
            mtu: MTU,
            given_mtu: None,
            admin_up: true,
            link_up: true,
            driver: "memory".to_owned(),
            speed: None,
            note: None,
        };
        let device = Device {
            info,
            port: None,
            counters: PortCounters::default(),
            sent: Vec::new(),
            on_open: Vec::new(),
        };
        self.fabric.devices.entry(name.to_owned()).or_insert(device);
    }
}

impl Dispatch for Wires {
    fn command(&mut self, worker: WorkerId, command: DpCommand) {
        if let Some(w) = self.workers.get_mut(usize::from(worker.0)) {
            w.inbox.push_back(command);
        }
    }

    fn punt(&mut self, upcall: Upcall, note: Arc<PuntNote>) {
        self.punted.push(Punted { upcall, note });
    }

    fn learn_flow(&mut self, taught: Taught) {
        self.learned.push(taught);
    }
}

impl Platform for Wires {
    fn open(&mut self, dp: DpPort, spec: &PortSpec) -> Result<LinkInfo, PortError> {
        if spec.kind != IfaceKind::System {
            self.plug(&spec.name);
        }
        let Some(device) = self.fabric.devices.get_mut(&spec.name) else {
            return Err(PortError(format!(
                "could not open network device {} (No such device)",
                spec.name
            )));
        };
        if device.port.is_some() {
            return Err(PortError(format!("{} is a port already", spec.name)));
        }
        device.port = Some(dp);
        device.counters = PortCounters::default();
        if let (Some(mac), IfaceKind::Internal) = (spec.mac, &spec.kind) {
            device.info.mac = mac;
        }
        let (info, early) = (device.info.clone(), std::mem::take(&mut device.on_open));
        self.fabric.names.insert(dp, spec.name.clone());
        let sender = self.queues.add_port(dp);
        self.worker_of(dp).upcalls.add(sender);
        for frame in early {
            self.receive_early(dp, frame);
        }
        Ok(info)
    }

    fn close(&mut self, dp: DpPort, destroy: bool) {
        let worker = self.worker_of(dp);
        worker.rx.retain(|(p, _)| *p != dp);
        worker.upcalls.remove(dp);
        self.queues.remove_port(dp);
        let Some(name) = self.fabric.names.remove(&dp) else {
            return;
        };
        if let Some(device) = self.fabric.devices.get_mut(&name) {
            device.port = None;
            if destroy && device.info.driver == "internal" {
                self.fabric.devices.remove(&name);
            }
        }
    }

    fn destroy(&mut self, _: &PortSpec) {}

    fn adjust(&mut self, dp: DpPort, spec: &PortSpec) -> Result<LinkInfo, PortError> {
        let Some(device) = self.fabric.device_of(dp) else {
            return Err(PortError("no such port".to_owned()));
        };
        if let Some(mac) = spec.mac {
            device.info.mac = mac;
        }
        if let Some(mtu) = spec.mtu {
            device.info.mtu = mtu;
            device.info.given_mtu = Some(mtu);
        }
        Ok(device.info.clone())
    }

    fn set_up(&mut self, dp: DpPort, up: bool) {
        if let Some(device) = self.fabric.device_of(dp) {
            device.info.admin_up = up;
        }
    }

    fn counters(&mut self, dp: DpPort) -> PortCounters {
        self.fabric
            .device_of(dp)
            .map(|d| d.counters)
            .unwrap_or_default()
    }
}

impl Rim for Wires {
    fn workers(&self) -> u16 {
        self.workers.len() as u16
    }

    fn now(&self) -> Now {
        self.fabric.now
    }

    fn settle(&mut self, token: AckToken, workers: &[WorkerId]) {
        for id in workers {
            let worker = &mut self.workers[usize::from(id.0)];
            worker.obey(&mut self.fabric);
            assert!(
                worker.acknowledged >= token,
                "worker {id:?} was not asked to acknowledge {token:?}"
            );
        }
    }
}
