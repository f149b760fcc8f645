//! `--enable-dummy`: a switch without devices, for tests that drive it by commands and need no privilege.
//!
//! Every bridge's own interface, and interfaces of the types `dummy`, `dummy-pmd` and `internal`, are ports in memory
//! ([`port`]); with `--enable-dummy=override` (or `=system`) so are those of every other type that has a device. No device
//! of the machine is touched. Frames come by `netdev-dummy/receive`, whose answer says that they have been forwarded, to the
//! last effect; time may be stopped and moved by `time/stop` and `time/warp` ([`commands`]).
//!
//! Two ports can be joined: what one with `options:pstream=punix:FILE` sends comes in by every one with
//! `options:stream=unix:FILE`, and the other way round. No file is made: both are ports of this daemon.
//!
//! Numbers of datapath ports follow from names, as tests of the field count on: `p7` is 7, `br1` is 101.

pub mod commands;
pub mod port;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rvs_flow::DpPort;
use rvs_packet::MacAddr;
use rvs_slowpath::UpcallQueues;
use rvs_switch::config::IfaceKind;
use rvs_switch::platform::{
    LinkInfo, Platform, PortCounters, PortError, PortEvent, PortSpec, QueueCounters,
};

use self::port::{Captures, DummyPort, DummyRx};
use crate::egress::TxPort;
use crate::handler::Rounds;
use crate::worker::{add_queue, Order, WorkerHandle};

/// What the datapath is called.
pub const DATAPATH: &str = "dummy@ovs-dummy";
/// The same without its type, as log lines have it.
pub const DATAPATH_NAME: &str = "ovs-dummy";
/// How long a thread may take for its turn.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a frame may take, also for its verdict: commands wait for it, and a slow machine must not lose it.
pub const ON_ITS_WAY: Duration = Duration::from_secs(5);
/// MTU of a port without a wish.
const MTU: u32 = 1500;
/// MTUs that a port takes.
const MTUS: std::ops::RangeInclusive<u32> = 68..=65_535;
/// MAC of the first port; the others count up.
const FIRST_MAC: u64 = 0xaa55_aa55_0000;

struct Dummy {
    name: String,
    link: LinkInfo,
    options: Vec<(String, String)>,
    port: Arc<DummyPort>,
}

impl Dummy {
    /// The file that an option names, behind this word.
    fn socket(&self, option: &str, word: &str) -> Option<&str> {
        let found = self.options.iter().find(|(k, _)| k == option);
        found.and_then(|(_, v)| v.strip_prefix(word))
    }

    /// The file where it waits for others.
    fn waits_at(&self) -> Option<&str> {
        self.socket("pstream", "punix:")
    }

    /// The file where it looks for another.
    fn looks_at(&self) -> Option<&str> {
        self.socket("stream", "unix:")
    }

    fn is_joined_to(&self, other: &Self) -> bool {
        let meets = |file: Option<&str>, at: Option<&str>| file.is_some() && file == at;
        meets(self.waits_at(), other.looks_at()) || meets(self.looks_at(), other.waits_at())
    }
}

/// All ports without devices.
pub struct Dummies {
    /// Interfaces of every type are made of nothing.
    everything: bool,
    worker: WorkerHandle,
    queues: Arc<Mutex<UpcallQueues>>,
    open: BTreeMap<DpPort, Dummy>,
    made: u64,
    /// What has happened to ports since it was last asked for.
    events: Vec<PortEvent>,
    rounds: Rounds,
}

impl Dummies {
    /// `how`: the value of the option. All frames are one worker's, so that they keep their order.
    pub fn new(
        how: &str,
        worker: WorkerHandle,
        queues: Arc<Mutex<UpcallQueues>>,
        rounds: Rounds,
    ) -> Self {
        Self {
            everything: matches!(how, "override" | "system"),
            worker,
            queues,
            open: BTreeMap::new(),
            // The datapath has a port of its own.
            made: 1,
            rounds,
            events: Vec::new(),
        }
    }

    /// Whether interfaces of every type are made of nothing.
    pub fn has_everything(&self) -> bool {
        self.everything
    }

    /// Takes away a port that is named, or numbered. The next change of the configuration brings it back.
    pub fn unplug(&mut self, port: &str) -> bool {
        let number = port.parse().ok().map(DpPort);
        let wanted = |dp: &DpPort, d: &Dummy| Some(*dp) == number || d.name == port;
        let found = self.open.iter().find(|(dp, d)| wanted(dp, d));
        let found = found.map(|(dp, _)| PortEvent::Gone(*dp));
        let was_there = found.is_some();
        self.events.extend(found);
        was_there
    }

    pub fn take_events(&mut self) -> Vec<PortEvent> {
        std::mem::take(&mut self.events)
    }

    fn port(&self, name: &str) -> Option<&Arc<DummyPort>> {
        self.open.values().find(|d| d.name == name).map(|d| &d.port)
    }

    /// Sets ports up or down: the one of this name, or all.
    fn set_admin_state(&mut self, name: Option<&str>, up: bool) -> bool {
        let of_name = |d: &Dummy| name.is_none_or(|n| d.name == n);
        let chosen = self.open.iter().filter(|(_, d)| of_name(d));
        let chosen: Vec<DpPort> = chosen.map(|(dp, _)| *dp).collect();
        for dp in &chosen {
            self.set_up(*dp, up);
        }
        !chosen.is_empty()
    }

    /// Whether every frame has been taken from its port.
    fn is_idle(&self) -> bool {
        self.open.values().all(|d| d.port.is_idle())
    }

    /// Whether no upcall waits for the handler.
    fn asks_nothing(&self) -> bool {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting: usize = queues.waiting().map(|(_, n)| n).sum();
        waiting == 0
    }

    /// Waits until the worker has ended its turn and begun another.
    fn pass_worker(&self) {
        let (done, passed) = crossbeam_channel::bounded(0);
        self.worker.send(Order::Pass(done));
        let _ = passed.recv_timeout(PATIENCE);
    }

    /// Waits until the handler has ended its round, and another.
    fn pass_handler(&self) {
        self.rounds.pass(PATIENCE);
    }

    /// Joins ports whose options name each other, and no others.
    fn join(&self) {
        let able = |d: &&Dummy| d.waits_at().is_some() || d.looks_at().is_some();
        let ports: Vec<&Dummy> = self.open.values().filter(able).collect();
        for this in self.open.values() {
            let peers = ports.iter().filter(|that| this.is_joined_to(that));
            this.port
                .join(peers.map(|d| Arc::downgrade(&d.port)).collect());
        }
    }

    fn captures(spec: &PortSpec) -> Result<Captures, PortError> {
        Captures::open(&spec.options).map_err(PortError)
    }

    fn change(&mut self, dp: DpPort, change: impl FnOnce(&mut LinkInfo)) {
        if let Some(dummy) = self.open.get_mut(&dp) {
            change(&mut dummy.link);
            let (mtu, up) = (dummy.link.mtu, dummy.link.admin_up);
            dummy.port.set_up(up);
            let link = dummy.link.clone();
            self.worker.send(Order::Adjust { port: dp, mtu, up });
            self.events.push(PortEvent::Changed(dp, link));
        }
    }
}

impl Platform for Dummies {
    fn number(&mut self, spec: &PortSpec) -> Option<DpPort> {
        let base = if spec.name.starts_with("br") { 100 } else { 0 };
        let digits = spec.name.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = digits.find(|c: char| !c.is_ascii_digit());
        let named: Option<u32> = digits[..end.unwrap_or(digits.len())].parse().ok();
        let named = named.map(|n: u32| n.saturating_add(base));
        // Names without a number, and others that want the same, get the lowest that is free.
        let free = |n: &u32| (1..=0xfffe).contains(n) && !self.open.contains_key(&DpPort(*n));
        named
            .filter(free)
            .or_else(|| (1..=0xfffe).find(free))
            .map(DpPort)
    }

    fn open(&mut self, dp: DpPort, spec: &PortSpec) -> Result<LinkInfo, PortError> {
        let has = matches!(spec.kind, IfaceKind::Dummy | IfaceKind::Internal);
        if !(has || self.everything) {
            return Err(PortError(format!(
                "could not open network device {} (No such device)",
                spec.name
            )));
        }
        let port = DummyPort::new(dp.0, Self::captures(spec)?)
            .map_err(|e| PortError(format!("{}: {e}", spec.name)))?;
        let mac = spec
            .mac
            .unwrap_or_else(|| MacAddr::from_u64(FIRST_MAC + self.made));
        self.made += 1;
        let link = LinkInfo {
            mac,
            mtu: spec.mtu.unwrap_or(MTU),
            given_mtu: spec.mtu,
            admin_up: true,
            link_up: true,
            ..LinkInfo::default()
        };
        self.worker.send(Order::Output(TxPort::new(
            dp,
            port.clone(),
            link.mtu,
            true,
            Arc::default(),
        )));
        let upcalls = add_queue(&self.queues, dp);
        self.worker.send(Order::Receive {
            port: dp,
            source: Box::new(DummyRx(port.clone())),
            upcalls,
        });
        let dummy = Dummy {
            name: spec.name.clone(),
            link: link.clone(),
            options: spec.options.clone(),
            port,
        };
        self.open.insert(dp, dummy);
        self.join();
        Ok(link)
    }

    fn close(&mut self, dp: DpPort, _: bool) {
        if self.open.remove(&dp).is_none() {
            return;
        }
        self.join();
        let (done, gone) = crossbeam_channel::bounded(0);
        self.worker.send(Order::Ignore {
            port: dp,
            done: Some(done),
        });
        // The end of the channel says that the worker has let go: its number is free for another.
        let _ = gone.recv();
        self.worker.send(Order::NoOutput(dp));
        self.queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove_port(dp);
    }

    fn destroy(&mut self, _: &PortSpec) {}

    fn adjust(&mut self, dp: DpPort, spec: &PortSpec) -> Result<LinkInfo, PortError> {
        let gone = || PortError("the port is not open".to_owned());
        if spec.mtu.is_some_and(|mtu| !MTUS.contains(&mtu)) {
            return Err(PortError("failed to set MTU: Invalid argument".to_owned()));
        }
        let dummy = self.open.get_mut(&dp).ok_or_else(gone)?;
        if dummy.options != spec.options {
            dummy.port.set_captures(Self::captures(spec)?);
            dummy.options = spec.options.clone();
            self.join();
        }
        self.change(dp, |link| {
            link.mac = spec.mac.unwrap_or(link.mac);
            link.mtu = spec.mtu.unwrap_or(link.mtu);
            link.given_mtu = spec.mtu.or(link.given_mtu);
        });
        self.open.get(&dp).map(|d| d.link.clone()).ok_or_else(gone)
    }

    fn set_up(&mut self, dp: DpPort, up: bool) {
        self.change(dp, |link| (link.admin_up, link.link_up) = (up, up));
    }

    /// One, of which nothing is known, as the field's have.
    fn queues(&mut self, dp: DpPort) -> Vec<QueueCounters> {
        let one = QueueCounters {
            queue: 0,
            tx_packets: PortCounters::NOT_COUNTED,
            tx_bytes: PortCounters::NOT_COUNTED,
            tx_dropped: PortCounters::NOT_COUNTED,
            since: None,
        };
        self.open.get(&dp).map(|_| one).into_iter().collect()
    }

    fn counters(&mut self, dp: DpPort) -> PortCounters {
        let Some(dummy) = self.open.get(&dp) else {
            return PortCounters::default();
        };
        let ([rx_packets, rx_bytes], [tx_packets, tx_bytes]) = dummy.port.counted();
        // Losses are not counted where there is no device to lose anything.
        PortCounters {
            rx_packets,
            rx_bytes,
            tx_packets,
            tx_bytes,
            ..PortCounters::UNKNOWN
        }
    }
}
