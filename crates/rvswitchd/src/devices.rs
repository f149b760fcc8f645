//! The switch's ports as devices of this machine: opens, closes, adjusts and follows them.
//!
//! Three kinds: existing devices through a packet socket, internal ports (veth pairs of our own making) through a packet
//! socket on their hidden end, and taps. Each port belongs to one forwarding thread that receives from it; all threads send
//! to it. Where the kernel's cache is not on a port ([`way`]), an ingress drop keeps the host's own stack from seeing its
//! frames.

mod direct;
mod events;
mod open;
mod queues;
mod want;
mod way;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rvs_flow::DpPort;
use rvs_kcache::{Guard, IngressDrop, OldLink};
use rvs_netdev::internal::{self, Internal, PuntPair};
use rvs_netdev::packet::PacketTx;
use rvs_netdev::rtnl::{Change, Rtnl};
use rvs_netdev::Transmit;
use rvs_slowpath::UpcallQueues;
use rvs_switch::config::IfaceKind;
use rvs_switch::platform::{LinkInfo, Platform, PortCounters, PortError, PortSpec, QueueCounters};

use crate::devices::direct::{Direct, FarEnd};
use crate::devices::open::{info, open_error, Io, Opened};
use crate::devices::queues::Applied;
use crate::devices::way::{Punts, Way};
use crate::egress::TxPort;
use crate::tier0::Tier0;
use crate::wanted::{Asked, Wanted};
use crate::worker::{add_queue, Order, PuntCount, Source, WorkerHandle};

/// MTU of an internal port when neither the user nor the bridge has a wish.
const DEFAULT_MTU: u32 = 1500;

/// What a port stands on.
#[derive(Debug)]
enum Base {
    System { index: u32 },
    Internal(Box<Internal>),
    Tap { index: u32 },
}

impl Base {
    /// The device that frames come from and go to.
    fn index(&self) -> u32 {
        match self {
            Self::System { index } | Self::Tap { index } => *index,
            Self::Internal(i) => i.hidden.index,
        }
    }
}

#[derive(Debug)]
struct Device {
    spec: PortSpec,
    base: Base,
    tx: Arc<dyn Transmit>,
    /// The same, where it is a packet socket.
    packet: Option<PacketTx>,
    owner: usize,
    link: LinkInfo,
    /// The MTU that frames dropped for their size would have needed; written by the workers.
    mtu_needed: Arc<AtomicU32>,
    way: Way,
    /// The other end of the veth, while the kernel's cache gives it frames directly.
    direct: Option<FarEnd>,
    /// Keeps the host away while the port is between two ways.
    waiting_drop: Option<Guard>,
    /// What was handed up of its frames.
    received: Arc<PuntCount>,
    /// Notes for people: of its opening, that the host sees its frames, what keeps it out of the kernel.
    opened_with: Option<String>,
    seen_by_host: Option<String>,
    kept_out: Option<String>,
    /// The discipline at its egress that is ours, and what is in the way of it.
    queues: Applied,
    no_queues: Option<String>,
}

/// An open port for the doctor.
pub struct Report {
    pub name: String,
    pub ifindex: u32,
    pub host_kept_away: bool,
    /// Why the kernel's cache is not on it; `None`: it is.
    pub not_in_kernel: Option<String>,
    /// Frames that the kernel's cache sends there pass by the port's egress.
    pub direct: bool,
    /// What its user should know.
    pub notes: Vec<String>,
}

impl Device {
    fn notes(&self) -> Vec<String> {
        let (needed, mtu) = (self.mtu_needed.load(Ordering::Relaxed), self.link.mtu);
        let too_small = (needed > mtu).then(|| {
            format!(
                "frames for {name} were dropped because its MTU is {mtu} and they need {needed} (ip link set {name} mtu {needed})",
                name = self.spec.name
            )
        });
        self.link
            .note
            .clone()
            .into_iter()
            .chain(too_small)
            .collect()
    }
}

/// All open ports.
pub struct Devices {
    rtnl: Rtnl,
    database: String,
    drop: Wanted<IngressDrop>,
    workers: Vec<WorkerHandle>,
    queues: Arc<Mutex<UpcallQueues>>,
    open: BTreeMap<DpPort, Device>,
    /// The kernel's cache, or why there is none.
    kernel: Wanted<Tier0>,
    /// One of the two came: whether ports wait for it, and whether the cache has its names, is to be looked at.
    came: bool,
    unnamed: bool,
    /// Ports that are still to get what came late.
    waiting: BTreeSet<DpPort>,
    /// How long flows in the kernel are to go on without the daemon, once that is known.
    survive: Option<Duration>,
    punts: Option<Punts>,
    direct: Direct,
    /// Ports of whose devices events have told that were not looked at yet.
    changed: BTreeSet<DpPort>,
    /// Last port looked after.
    looked_at: DpPort,
    past: Past,
    /// Nothing is handed up: tables are being restored, or what a dead daemon left is not judged yet.
    holding: bool,
}

/// What a dead daemon left, as long as it was not taken over.
#[derive(Debug, Default)]
pub struct Past {
    /// Programs on devices.
    pub links: HashMap<u32, OldLink>,
    /// Numbers of ports, by name and device.
    pub numbers: HashMap<(String, u32), DpPort>,
    /// What lets the filters among the programs go on.
    pub gate: Option<OwnedFd>,
}

impl Devices {
    pub fn new(
        rtnl: Rtnl,
        database: String,
        drop: Wanted<IngressDrop>,
        workers: Vec<WorkerHandle>,
        queues: Arc<Mutex<UpcallQueues>>,
        kernel: Wanted<Tier0>,
        past: Past,
    ) -> Self {
        let this = Self {
            past,
            holding: true,
            kernel,
            came: false,
            unnamed: false,
            waiting: BTreeSet::new(),
            survive: None,
            punts: None,
            direct: Direct::default(),
            changed: BTreeSet::new(),
            looked_at: DpPort(0),
            rtnl,
            database,
            drop,
            workers,
            queues,
            open: BTreeMap::new(),
        };
        // A dead daemon's.
        this.cache_is_there();
        this
    }

    /// What ports are made of from now on is marked as that of another database.
    pub fn identify(&mut self, database: String) {
        self.database = database;
    }

    /// The kernel's cache, or why there is none.
    pub fn kernel(&self) -> Result<&Tier0, &str> {
        self.kernel.get()
    }

    /// The ingress drop, or why there is none.
    pub fn ingress_drop(&self) -> Result<&IngressDrop, &str> {
        self.drop.get()
    }

    /// By what devices of ours are marked.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Name, device and number of every open port.
    pub fn numbers(&self) -> impl Iterator<Item = (&str, u32, DpPort)> + '_ {
        let all = self.open.iter();
        all.map(|(dp, d)| (d.spec.name.as_str(), d.base.index(), *dp))
    }

    /// Every open port, for the doctor.
    pub fn report(&self) -> impl Iterator<Item = Report> + '_ {
        self.open.values().map(|d| Report {
            name: d.spec.name.clone(),
            ifindex: d.base.index(),
            host_kept_away: match &d.way {
                Way::Kernel(_) => true,
                Way::Own { guard, .. } => guard.is_some(),
                Way::None => false,
            },
            not_in_kernel: match &d.way {
                Way::Kernel(_) => None,
                Way::Own { why, .. } => Some(why.clone()),
                Way::None => Some("it has no way in".to_owned()),
            },
            direct: d.direct.is_some(),
            notes: d.notes(),
        })
    }

    /// Internal ports of this database that no configuration names any more.
    pub fn remove_leftovers(&mut self, wanted: impl Fn(&str) -> bool) {
        if self.punts.is_none() {
            if let Err(e) = PuntPair::remove_leftover(&mut self.rtnl, &self.database) {
                tracing::warn!("punt device: {e}");
            }
        }
        let Ok(links) = self.rtnl.links() else { return };
        for (id, port) in internal::find_all(&links, &self.database) {
            if !wanted(&id.port) {
                tracing::info!(
                    "removing internal port {}, which the configuration no longer has",
                    id.port
                );
                if let Err(e) = port.destroy(&mut self.rtnl) {
                    tracing::warn!("internal port {}: {e}", id.port);
                }
            }
        }
    }

    /// Lets every worker send to the port.
    fn start_outputs(&self, dp: DpPort, device: &Device) {
        for worker in &self.workers {
            // A device that is down takes nothing; the kernel says so frame by frame, which is slower and no truer.
            worker.send(Order::Output(TxPort::new(
                dp,
                device.tx.clone(),
                device.link.mtu,
                device.link.admin_up,
                device.mtu_needed.clone(),
            )));
        }
    }

    /// Takes frames from a file.
    fn start_source(&self, dp: DpPort, source: Box<dyn Source>, owner: usize) {
        let upcalls = add_queue(&self.queues, dp);
        self.workers[owner].send(Order::Receive {
            port: dp,
            source,
            upcalls,
        });
    }
}

impl Platform for Devices {
    fn number(&mut self, spec: &PortSpec) -> Option<DpPort> {
        let name = match spec.kind {
            _ if self.past.numbers.is_empty() => return None,
            IfaceKind::System => spec.name.clone(),
            IfaceKind::Internal => self.internal_id(spec).hidden_name(),
            _ => return None,
        };
        let index = self.rtnl.link_by_name(&name).ok().flatten()?.index;
        self.past.numbers.remove(&(spec.name.clone(), index))
    }

    fn open(&mut self, dp: DpPort, spec: &PortSpec) -> Result<LinkInfo, PortError> {
        let Opened { base, link, io } = match &spec.kind {
            IfaceKind::System => self.open_system(spec)?,
            IfaceKind::Internal => self.open_internal(spec)?,
            IfaceKind::Tap => self.open_tap(dp, spec)?,
            IfaceKind::Dummy => {
                return Err(PortError(
                    "dummy ports are there for tests, with rvswitchd --enable-dummy".to_owned(),
                ))
            }
            kind @ (IfaceKind::Patch | IfaceKind::Unknown(_)) => {
                return Err(PortError(format!("{kind:?} is no device")))
            }
        };
        let (tx, packet, source): (Arc<dyn Transmit>, _, _) = match io {
            Io::Packet(tx) => (Arc::new(tx.clone()), Some(tx), None),
            Io::Tap(source, tx) => (tx, None, Some(source)),
        };
        let owner = dp.0 as usize % self.workers.len();
        let device = Device {
            spec: spec.clone(),
            base,
            tx,
            packet,
            owner,
            opened_with: link.note.clone(),
            seen_by_host: None,
            kept_out: None,
            queues: Applied::default(),
            no_queues: None,
            link,
            mtu_needed: Arc::default(),
            way: Way::None,
            direct: None,
            waiting_drop: None,
            received: Arc::default(),
        };
        self.start_outputs(dp, &device);
        self.open.insert(dp, device);
        if let Some(source) = source {
            self.start_source(dp, source, owner);
        }
        // A port without a device, which is tried every second, wants nothing.
        self.want(spec, Asked::ByChange);
        if let Err(e) = self.place(dp) {
            self.close(dp, false);
            return Err(open_error(&spec.name, &e));
        }
        self.set_queues(dp);
        let Some(device) = self.open.get_mut(&dp) else {
            return Err(PortError("the port is not open".to_owned()));
        };
        device.link.note = device.joined_note();
        Ok(device.link.clone())
    }

    fn close(&mut self, dp: DpPort, destroy: bool) {
        let Some(device) = self.open.remove(&dp) else {
            return;
        };
        let name = device.spec.name.clone();
        if destroy {
            self.end_queues(&device);
        }
        let base = self.end_way(dp, device);
        for worker in &self.workers {
            worker.send(Order::NoOutput(dp));
        }
        self.queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove_port(dp);
        if let (Base::Internal(port), true) = (base, destroy) {
            if let Err(e) = port.destroy(&mut self.rtnl) {
                tracing::warn!("internal port {name}: {e}");
            }
        }
        self.let_go_of_punts();
    }

    fn destroy(&mut self, spec: &PortSpec) {
        if spec.kind != IfaceKind::Internal {
            return;
        }
        let id = self.internal_id(spec);
        if let Ok(Some(port)) = internal::adopt(&mut self.rtnl, &id) {
            if let Err(e) = port.destroy(&mut self.rtnl) {
                tracing::warn!("internal port {}: {e}", spec.name);
            }
        }
    }

    fn adjust(&mut self, dp: DpPort, spec: &PortSpec) -> Result<LinkInfo, PortError> {
        let device = self
            .open
            .get_mut(&dp)
            .ok_or_else(|| PortError("the port is not open".to_owned()))?;
        let old = (device.spec.kernel_cache, device.spec.policed);
        let moves = old != (spec.kernel_cache, spec.policed);
        let requeue = device.spec.qos != spec.qos;
        device.spec = spec.clone();
        if moves {
            self.want(spec, Asked::ByChange);
            self.place(dp).map_err(|e| open_error(&spec.name, &e))?;
        }
        if requeue {
            self.set_queues(dp);
        }
        let device = self
            .open
            .get_mut(&dp)
            .ok_or_else(|| PortError("the port is not open".to_owned()))?;
        device.link.note = device.joined_note();
        if (spec.mac, spec.mtu) == (None, None) {
            return Ok(device.link.clone());
        }
        let port = match &device.base {
            Base::Internal(port) if port.user.nsid.is_none() => port.clone(),
            Base::Internal(_) => {
                return Err(PortError(
                    "it is in another namespace, where its user sets MTU and MAC".to_owned(),
                ))
            }
            // MTU and MAC of a device that exists without us are its owner's.
            Base::System { index } | Base::Tap { index } => {
                let change = Change {
                    mtu: spec.mtu,
                    ..Change::default()
                };
                self.rtnl
                    .change(*index, &change)
                    .map_err(|e| PortError(e.to_string()))?;
                return Ok(device.link.clone());
            }
        };
        let change = Change {
            mtu: spec.mtu,
            mac: spec.mac,
            ..Change::default()
        };
        let id = self.internal_id(spec);
        let rtnl = &mut self.rtnl;
        rtnl.change(port.user.index, &change)
            .and_then(|()| match spec.mtu {
                Some(mtu) => port.note_given_mtu(rtnl, &id, mtu),
                None => Ok(()),
            })
            .map_err(|e| PortError(e.to_string()))?;
        let mut events = Vec::new();
        self.refresh_internal(dp, &mut events);
        self.open
            .get(&dp)
            .map(|d| d.link.clone())
            .ok_or_else(|| PortError("the device vanished".to_owned()))
    }

    /// Of an internal port the switch's end is set: its user sees the carrier go.
    fn set_up(&mut self, dp: DpPort, up: bool) {
        let Some(index) = self.open.get(&dp).map(|d| d.base.index()) else {
            return;
        };
        let change = Change {
            up: Some(up),
            ..Change::default()
        };
        if let Err(e) = self.rtnl.change(index, &change) {
            tracing::warn!(
                "a port could not be set {}: {e}",
                if up { "up" } else { "down" }
            );
        }
    }

    fn queues(&mut self, dp: DpPort) -> Vec<QueueCounters> {
        self.queue_counters(dp)
    }

    fn counters(&mut self, dp: DpPort) -> PortCounters {
        let Some(s) = self.stats(dp) else {
            return PortCounters::default();
        };
        PortCounters {
            rx_packets: s.rx_packets,
            rx_bytes: s.rx_bytes,
            rx_dropped: s.rx_dropped,
            rx_errors: s.rx_lost() - s.rx_dropped,
            rx_policed: None,
            tx_packets: s.tx_packets,
            tx_bytes: s.tx_bytes,
            tx_dropped: s.tx_queue_full + s.tx_port_down,
            tx_errors: s.tx_lost() - s.tx_queue_full - s.tx_port_down,
        }
    }
}
