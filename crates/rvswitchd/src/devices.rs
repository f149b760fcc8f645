//! The switch's ports as devices of this machine: opens, closes, adjusts and follows them.
//!
//! Three kinds: existing devices through a packet socket, internal ports (veth pairs of our own making) through a packet
//! socket on their hidden end, and taps. Each port belongs to one forwarding thread that receives from it; all threads send
//! to it. While a port is open an ingress drop keeps the host's own stack from seeing its frames.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rvs_flow::DpPort;
use rvs_kcache::{Guard, IngressDrop};
use rvs_netdev::internal::{self, Internal, InternalError, InternalId, UserEnd};
use rvs_netdev::packet::{self, PacketConfig};
use rvs_netdev::rtnl::{Change, Event, Link, LinkRef, NotAPort, Rtnl};
use rvs_netdev::{tap, OpenError, PortStats, Transmit};
use rvs_packet::MacAddr;
use rvs_slowpath::UpcallQueues;
use rvs_switch::config::IfaceKind;
use rvs_switch::platform::{LinkInfo, Platform, PortCounters, PortError, PortEvent, PortSpec};

use crate::egress::TxPort;
use crate::worker::{Order, Source, WorkerHandle};

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
    owner: usize,
    link: LinkInfo,
    /// The MTU that frames dropped for their size would have needed; written by the workers.
    mtu_needed: Arc<AtomicU32>,
    /// Held while the port is open.
    guard: Option<Guard>,
}

/// An open port for the doctor.
pub struct Report {
    pub name: String,
    pub ifindex: u32,
    pub host_kept_away: bool,
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
    drop: Option<IngressDrop>,
    workers: Vec<WorkerHandle>,
    queues: Arc<Mutex<UpcallQueues>>,
    open: BTreeMap<DpPort, Device>,
}

type Opened = (Base, LinkInfo, Box<dyn Source>, Arc<dyn Transmit>);

impl Devices {
    pub fn new(
        rtnl: Rtnl,
        database: String,
        drop: Option<IngressDrop>,
        workers: Vec<WorkerHandle>,
        queues: Arc<Mutex<UpcallQueues>>,
    ) -> Self {
        Self {
            rtnl,
            database,
            drop,
            workers,
            queues,
            open: BTreeMap::new(),
        }
    }

    pub fn ingress_drop(&self) -> Option<&IngressDrop> {
        self.drop.as_ref()
    }

    /// Every open port, for the doctor.
    pub fn report(&self) -> impl Iterator<Item = Report> + '_ {
        self.open.values().map(|d| Report {
            name: d.spec.name.clone(),
            ifindex: d.base.index(),
            host_kept_away: d.guard.is_some(),
            notes: d.notes(),
        })
    }

    pub fn stats(&self, dp: DpPort) -> Option<PortStats> {
        self.open.get(&dp).map(|d| d.tx.stats())
    }

    /// Internal ports of this database that no configuration names any more.
    pub fn remove_leftovers(&mut self, wanted: impl Fn(&str) -> bool) {
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

    fn open_system(&mut self, dp: DpPort, spec: &PortSpec) -> Result<Opened, PortError> {
        let link = self
            .rtnl
            .link_by_name(&spec.name)
            .map_err(|e| PortError(e.to_string()))?
            .ok_or_else(|| {
                PortError(format!(
                    "could not open network device {} (No such device)",
                    spec.name
                ))
            })?;
        internal::can_be_port(&link).map_err(|e| self.not_a_port(&spec.name, &e))?;
        let (rx, tx) = packet::open(&link, dp.0, &PacketConfig::default())
            .map_err(|e| open_error(&spec.name, &e))?;
        let mut info = info(&link);
        info.note = self.address_note(&link, &spec.bridge);
        Ok((
            Base::System { index: link.index },
            info,
            Box::new(rx),
            Arc::new(tx),
        ))
    }

    fn not_a_port(&mut self, name: &str, why: &NotAPort) -> PortError {
        let NotAPort::HasMaster(index) = why else {
            return PortError(format!("{name} can't be a port: {why}"));
        };
        let at = LinkRef {
            index: *index,
            nsid: None,
        };
        let master = match self.rtnl.link(at) {
            Ok(Some(link)) => format!("{} ({})", link.name, link.role()),
            _ => format!("the device with index {index}"),
        };
        PortError(format!(
            "{name} can't be a port: it belongs to {master}; take it out first (ip link set {name} nomaster)"
        ))
    }

    /// A device with an address is no longer answered for by the host: say so, and how to go on.
    fn address_note(&mut self, link: &Link, bridge: &str) -> Option<String> {
        let addresses: Vec<String> = self
            .rtnl
            .addresses(link.index)
            .ok()?
            .into_iter()
            .filter(|(ip, _)| !matches!(ip, std::net::IpAddr::V6(v6) if v6.is_unicast_link_local()))
            .map(|(ip, prefix)| format!("{ip}/{prefix}"))
            .collect();
        if addresses.is_empty() {
            return None;
        }
        let moves: Vec<String> = addresses
            .iter()
            .map(|a| {
                format!(
                    "ip addr del {a} dev {name}; ip addr add {a} dev {bridge}",
                    name = link.name
                )
            })
            .collect();
        Some(format!(
            "{name} carries {list}, on which the host no longer answers while it is a port; move it to the bridge: {moves}; \
             ip link set {bridge} up",
            name = link.name,
            list = addresses.join(", "),
            moves = moves.join("; ")
        ))
    }

    fn open_internal(&mut self, dp: DpPort, spec: &PortSpec) -> Result<Opened, PortError> {
        let id = self.internal_id(spec);
        let error = |e: InternalError| PortError(e.to_string());
        let port = match internal::adopt(&mut self.rtnl, &id).map_err(error)? {
            Some(found) => found,
            None => {
                let user = UserEnd {
                    mtu: spec.mtu.unwrap_or(DEFAULT_MTU),
                    mac: spec.mac.unwrap_or_else(|| id.stable_mac()),
                };
                internal::create(&mut self.rtnl, &id, user).map_err(error)?
            }
        };
        let (rx, tx) = packet::open(&port.hidden, dp.0, &PacketConfig::default())
            .map_err(|e| open_error(&spec.name, &e))?;
        let info = self.internal_info(&port);
        Ok((
            Base::Internal(Box::new(port)),
            info,
            Box::new(rx),
            Arc::new(tx),
        ))
    }

    fn open_tap(&mut self, dp: DpPort, spec: &PortSpec) -> Result<Opened, PortError> {
        let (rx, tx) = tap::open(&spec.name, dp.0).map_err(|e| {
            PortError(format!(
                "could not open tap {}: {e} (it needs /dev/net/tun and CAP_NET_ADMIN)",
                spec.name
            ))
        })?;
        let link = self.rtnl.link_by_name(&spec.name).ok().flatten();
        let link = link.ok_or_else(|| {
            PortError(format!(
                "tap {} vanished while it was being made",
                spec.name
            ))
        })?;
        Ok((
            Base::Tap { index: link.index },
            info(&link),
            Box::new(rx),
            Arc::new(tx),
        ))
    }

    fn internal_id(&self, spec: &PortSpec) -> InternalId {
        InternalId {
            database: self.database.clone(),
            port: spec.name.clone(),
        }
    }

    /// What the user sees of an internal port.
    fn internal_info(&mut self, port: &Internal) -> LinkInfo {
        match port.user_link(&mut self.rtnl) {
            Ok(Some(user)) => LinkInfo {
                ifindex: if user.nsid.is_none() { user.index } else { 0 },
                link_up: user.is_up(),
                driver: "veth".to_owned(),
                ..info(&user)
            },
            // In a namespace that we can't look into: the hidden end's carrier still tells whether it is up.
            _ => LinkInfo {
                ifindex: 0,
                mac: MacAddr::ZERO,
                mtu: DEFAULT_MTU,
                admin_up: port.hidden.has_carrier(),
                link_up: port.hidden.has_carrier(),
                driver: "veth".to_owned(),
                note: None,
            },
        }
    }

    fn start(&mut self, dp: DpPort, source: Box<dyn Source>, device: &Device) {
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
        let upcalls = self
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add_port(dp);
        self.workers[device.owner].send(Order::Receive {
            port: dp,
            source,
            upcalls,
        });
    }

    /// What an event of the kernel means for the switch.
    pub fn interpret(&mut self, event: Event, out: &mut Vec<PortEvent>) {
        match event {
            Event::Changed(link) => self.link_changed(&link, out),
            Event::Removed(link) => self.link_removed(&link, out),
            Event::Resync => {
                let Ok(links) = self.rtnl.links() else { return };
                let here: Vec<u32> = links.iter().map(|l| l.index).collect();
                let gone = self
                    .open
                    .iter()
                    .filter(|(_, d)| !here.contains(&d.base.index()));
                out.extend(gone.map(|(dp, _)| PortEvent::Gone(*dp)));
                for link in &links {
                    self.link_changed(link, out);
                }
            }
        }
    }

    fn link_changed(&mut self, link: &Link, out: &mut Vec<PortEvent>) {
        let at = LinkRef {
            index: link.index,
            nsid: link.nsid,
        };
        if let Some(dp) = self.find_user_end(at) {
            return self.refresh_internal(dp, out);
        }
        if link.nsid.is_some() {
            return;
        }
        let found = self
            .open
            .iter()
            .find(|(_, d)| d.base.index() == link.index)
            .map(|(dp, _)| *dp);
        let Some(dp) = found else {
            out.push(PortEvent::Appeared(link.name.clone()));
            return;
        };
        match self.open.get_mut(&dp) {
            Some(Device {
                base: Base::Internal(_),
                ..
            }) => self.refresh_internal(dp, out),
            Some(device) if device.spec.name != link.name => {
                out.push(PortEvent::Gone(dp));
                out.push(PortEvent::Appeared(link.name.clone()));
            }
            Some(device) => {
                let new = LinkInfo {
                    note: device.link.note.clone(),
                    ..info(link)
                };
                self.set_link(dp, new, out);
            }
            None => {}
        }
    }

    fn link_removed(&mut self, link: &Link, out: &mut Vec<PortEvent>) {
        let at = LinkRef {
            index: link.index,
            nsid: link.nsid,
        };
        if let Some(dp) = self.find_user_end(at) {
            // Moved or deleted: the hidden end knows.
            return self.refresh_internal(dp, out);
        }
        if link.nsid.is_none() {
            let gone = self.open.iter().find(|(_, d)| d.base.index() == link.index);
            out.extend(gone.map(|(dp, _)| PortEvent::Gone(*dp)));
            // Whoever waits for the name may try again: an internal port is made anew.
            out.push(PortEvent::Appeared(link.name.clone()));
        }
    }

    fn find_user_end(&self, at: LinkRef) -> Option<DpPort> {
        let is = |d: &Device| matches!(&d.base, Base::Internal(i) if i.user == at);
        self.open.iter().find(|(_, d)| is(d)).map(|(dp, _)| *dp)
    }

    /// Looks again where the user's end of an internal port is and how it is.
    fn refresh_internal(&mut self, dp: DpPort, out: &mut Vec<PortEvent>) {
        let Some(Device {
            base: Base::Internal(port),
            ..
        }) = self.open.get(&dp)
        else {
            return;
        };
        let at = LinkRef {
            index: port.hidden.index,
            nsid: None,
        };
        let hidden = self.rtnl.link(at).ok().flatten();
        let Some((hidden, user)) = hidden.and_then(|h| h.lower.map(|user| (h, user))) else {
            out.push(PortEvent::Gone(dp));
            return;
        };
        let port = Internal { hidden, user };
        let link = self.internal_info(&port);
        if let Some(device) = self.open.get_mut(&dp) {
            device.base = Base::Internal(Box::new(port));
        }
        self.set_link(dp, link, out);
    }

    fn set_link(&mut self, dp: DpPort, link: LinkInfo, out: &mut Vec<PortEvent>) {
        let Some(device) = self.open.get_mut(&dp) else {
            return;
        };
        if device.link == link {
            return;
        }
        device.link = link.clone();
        device.tx.set_mtu(link.mtu);
        for worker in &self.workers {
            worker.send(Order::Adjust {
                port: dp,
                mtu: link.mtu,
                up: link.admin_up,
            });
        }
        out.push(PortEvent::Changed(dp, link));
    }
}

impl Platform for Devices {
    fn open(&mut self, dp: DpPort, spec: &PortSpec) -> Result<LinkInfo, PortError> {
        let (base, mut link, source, tx) = match &spec.kind {
            IfaceKind::System => self.open_system(dp, spec)?,
            IfaceKind::Internal => self.open_internal(dp, spec)?,
            IfaceKind::Tap => self.open_tap(dp, spec)?,
            kind @ (IfaceKind::Patch | IfaceKind::Unknown(_)) => {
                return Err(PortError(format!("{kind:?} is no device")))
            }
        };
        // A tap's frames come from its file; the host never had them.
        let guarded = !matches!(base, Base::Tap { .. });
        let guard = match self
            .drop
            .as_ref()
            .filter(|_| guarded)
            .map(|d| d.attach(base.index()))
        {
            Some(Ok(guard)) => Some(guard),
            Some(Err(e)) => {
                let text = format!("the host still sees the frames of {}: {e}", spec.name);
                link.note = Some(
                    link.note
                        .map_or_else(|| text.clone(), |n| format!("{n}; {text}")),
                );
                None
            }
            None => None,
        };
        let owner = dp.0 as usize % self.workers.len();
        let device = Device {
            spec: spec.clone(),
            base,
            tx,
            owner,
            link: link.clone(),
            mtu_needed: Arc::default(),
            guard,
        };
        self.start(dp, source, &device);
        self.open.insert(dp, device);
        Ok(link)
    }

    fn close(&mut self, dp: DpPort, destroy: bool) {
        let Some(device) = self.open.remove(&dp) else {
            return;
        };
        self.workers[device.owner].send(Order::Ignore(dp));
        for worker in &self.workers {
            worker.send(Order::NoOutput(dp));
        }
        self.queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove_port(dp);
        drop(device.guard);
        if let (Base::Internal(port), true) = (device.base, destroy) {
            if let Err(e) = port.destroy(&mut self.rtnl) {
                tracing::warn!("internal port {}: {e}", device.spec.name);
            }
        }
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
        device.spec = spec.clone();
        let index = match &device.base {
            Base::Internal(port) if port.user.nsid.is_none() => port.user.index,
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
        self.rtnl
            .change(index, &change)
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

    fn counters(&mut self, dp: DpPort) -> PortCounters {
        let Some(s) = self.stats(dp) else {
            return PortCounters::default();
        };
        PortCounters {
            rx_packets: s.rx_packets,
            rx_bytes: s.rx_bytes,
            rx_dropped: s.rx_dropped,
            rx_errors: s.rx_lost() - s.rx_dropped,
            tx_packets: s.tx_packets,
            tx_bytes: s.tx_bytes,
            tx_dropped: s.tx_queue_full + s.tx_port_down,
            tx_errors: s.tx_lost() - s.tx_queue_full - s.tx_port_down,
        }
    }
}

fn open_error(name: &str, e: &OpenError) -> PortError {
    match e {
        OpenError::NoDevice => PortError(format!(
            "could not open network device {name} (No such device)"
        )),
        e => PortError(format!("could not open network device {name}: {e}")),
    }
}

fn info(link: &Link) -> LinkInfo {
    LinkInfo {
        ifindex: link.index,
        mac: link.mac.unwrap_or_default(),
        mtu: link.mtu,
        admin_up: link.is_up(),
        link_up: link.has_carrier(),
        driver: link.kind.clone().unwrap_or_default(),
        note: link.master.map(|m| {
            format!("{} belongs to the device with index {m} now; take it out (ip link set {0} nomaster)", link.name)
        }),
    }
}
