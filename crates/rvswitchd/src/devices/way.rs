//! The way of a port's frames into the daemon, and how it changes.
//!
//! With the kernel's cache (tier 0) on a port, its program takes every frame, and hands up what it does not decide through
//! the punt device, which one thread reads for all ports. Without, a packet socket of the port's own sees its frames and an
//! ingress drop keeps them from the host. No frame goes both ways:
//!
//! - into the kernel: the socket stops listening, then the program comes, then the drop goes;
//! - out of it: the drop comes (a filter in front of the program, a link behind it), then the program goes, then the socket
//!   listens.
//!
//! Frames of the moment between are lost; the host sees none of them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::bounded;
use rvs_flow::DpPort;
use rvs_kcache::tier0::{OutPort, PortGuard, Punt};
use rvs_kcache::{foreign_programs, Guard};
use rvs_netdev::internal::PuntPair;
use rvs_netdev::packet::{self, PacketConfig};
use rvs_netdev::rtnl::{Change, LinkRef};
use rvs_netdev::{OpenError, PortStats};
use rvs_switch::platform::{LinkInfo, PortEvent};

use crate::clock;
use crate::devices::{Device, Devices, Past};
use crate::tier0::LARGEST_MTU;
use crate::worker::{add_queue, Order, PUNTS};

/// The worker that reads what is handed up.
const PUNT_WORKER: usize = 0;
/// Octets of super-frames that may wait to be read from the punt device.
const PUNT_BUFFER: i32 = 32 << 20;
/// How long a worker may take to let go of a port.
const PATIENCE: Duration = Duration::from_secs(1);
/// No device has this index: what is handed up there is dropped.
const NOBODY: u32 = 0x7fff_ffff;
/// Ports looked after in one beat.
const CHECKS: usize = 4;

/// How frames of a port come in.
#[derive(Debug)]
pub(super) enum Way {
    /// Not at all, yet.
    None,
    /// From the port's own socket or file; `why` it is not in the kernel.
    Own { guard: Option<Guard>, why: String },
    /// By the kernel's cache.
    Kernel(PortGuard),
}

/// The punt device, open.
#[derive(Debug)]
pub(super) struct Punts {
    pair: PuntPair,
    _guard: Guard,
}

impl Device {
    /// What people should know of the port, in the order in which it became known.
    pub(super) fn joined_note(&self) -> Option<String> {
        let all: Vec<&str> = [
            &self.opened_with,
            &self.seen_by_host,
            &self.kept_out,
            &self.no_queues,
        ]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

impl Devices {
    /// Says why a port is not for the kernel: the reason, and whether its user should hear of it.
    fn why_not_kernel(&self, device: &Device) -> Option<(String, bool)> {
        let quiet = |why: &str| Some((why.to_owned(), false));
        if device.packet.is_none() {
            return quiet("its frames come from a file");
        }
        if !device.spec.kernel_cache {
            return quiet("other_config:kernel-cache=off");
        }
        if device.spec.policed {
            return quiet(
                "what it brings in is policed (ingress_policing_*), which user space does",
            );
        }
        let tier0 = match self.kernel.get() {
            Ok(tier0) => tier0,
            Err(why) => return quiet(why),
        };
        let Ok(drop) = self.drop.get() else {
            return quiet("the ingress drop, which its punt device needs, does not work here");
        };
        if device.link.mtu > LARGEST_MTU {
            let mtu = device.link.mtu;
            return quiet(&format!(
                "frames of its MTU of {mtu} can't be handed up ({LARGEST_MTU} can)"
            ));
        }
        let old = self.past.links.get(&device.base.index());
        let ours = [
            drop.prog_id(),
            tier0.program(),
            old.map_or(0, |link| link.prog_id),
        ];
        match foreign_programs(device.base.index(), &ours) {
            Ok(found) => {
                let list: Vec<String> = found.iter().map(ToString::to_string).collect();
                (!found.is_empty()).then(|| {
                    let name = &device.spec.name;
                    let list = list.join(", ");
                    (format!("{list} works on the ingress of {name}, so the kernel cache keeps off it"), true)
                })
            }
            Err(e) => Some((e.to_string(), false)),
        }
    }

    /// Puts a port where it belongs now: into the kernel, or on its own socket.
    ///
    /// # Errors
    /// Its socket can't receive; the port then has no way in.
    pub(super) fn place(&mut self, dp: DpPort) -> Result<(), OpenError> {
        let Some(device) = self.open.get(&dp) else {
            return Ok(());
        };
        let mut why = self.why_not_kernel(device);
        if why.is_none() && !matches!(device.way, Way::Kernel(_)) {
            why = self.enter_kernel(dp).err().map(|e| (e, true));
        }
        let placed = match &why {
            Some((why, _)) => self.use_own_socket(dp, why),
            None => Ok(()),
        };
        if let Some(device) = self.open.get_mut(&dp) {
            device.kept_out = why.filter(|(_, tell)| *tell).map(|(why, _)| why);
        }
        self.tell_out(dp);
        self.reconsider(dp);
        self.let_go_of_punts();
        placed
    }

    /// Tells the kernel's cache where the port's frames leave.
    pub(super) fn tell_out(&self, dp: DpPort) {
        let Ok(tier0) = self.kernel.get() else { return };
        let out = self
            .open
            .get(&dp)
            .filter(|d| d.packet.is_some() && d.spec.kernel_cache)
            .map(|d| OutPort {
                ifindex: d.base.index(),
                mtu: d.link.mtu,
            });
        tier0.set_out(dp, out);
    }

    fn enter_kernel(&mut self, dp: DpPort) -> Result<(), String> {
        self.need_punts()?;
        let Ok(tier0) = self.kernel.get().cloned() else {
            return Err("there is no kernel cache".to_owned());
        };
        let Some(device) = self.open.get(&dp) else {
            return Ok(());
        };
        if matches!(device.way, Way::Own { .. }) {
            if let Some(tx) = &device.packet {
                tx.mute().map_err(|e| e.to_string())?;
            }
            self.ignore(device.owner, dp);
        }
        let index = device.base.index();
        let old = self.past.links.remove(&index);
        let upcalls = add_queue(&self.queues, dp);
        self.workers[PUNT_WORKER].send(Order::Expect {
            port: dp,
            upcalls,
            received: device.received.clone(),
        });
        let attached = tier0.attach(index, dp, old).map_err(|e| e.to_string());
        if attached.is_err() {
            self.ignore(PUNT_WORKER, dp);
        }
        if let Some(device) = self.open.get_mut(&dp) {
            // The drop stays until `use_own_socket` has the socket listen again.
            device.direct = None;
            let drop = match std::mem::replace(&mut device.way, Way::None) {
                Way::Own { guard, .. } => guard,
                _ => None,
            };
            match attached {
                Ok(guard) => device.way = Way::Kernel(guard),
                Err(why) => {
                    device.waiting_drop = drop;
                    return Err(why);
                }
            }
        }
        Ok(())
    }

    fn use_own_socket(&mut self, dp: DpPort, reason: &str) -> Result<(), OpenError> {
        let drop = self.drop.get().ok();
        let Some(device) = self.open.get_mut(&dp) else {
            return Ok(());
        };
        if let Way::Own { why, .. } = &mut device.way {
            reason.clone_into(why);
            return Ok(());
        }
        let (index, owner) = (device.base.index(), device.owner);
        let mut guard = device.waiting_drop.take().map(Ok);
        device.direct = None;
        if let Some(old) = self.past.links.remove(&index) {
            guard = drop.map(|d| d.attach(index));
            std::mem::drop(old);
        }
        if let Way::Kernel(program) = std::mem::replace(&mut device.way, Way::None) {
            guard = drop.map(|d| d.attach(index));
            std::mem::drop(program);
            if let Ok(tier0) = self.kernel.get() {
                tier0.forget_port(dp);
            }
            self.ignore(PUNT_WORKER, dp);
        }
        let Some(device) = self.open.get_mut(&dp) else {
            return Ok(());
        };
        if let Some(tx) = &device.packet {
            let source = tx.receive(dp.0, &PacketConfig::default())?;
            let upcalls = add_queue(&self.queues, dp);
            self.workers[owner].send(Order::Receive {
                port: dp,
                source: Box::new(source),
                upcalls,
            });
            // A new port: what the host sees until here it has always seen.
            guard = guard.or_else(|| self.drop.get().ok().map(|d| d.attach(index)));
        }
        device.seen_by_host = match &guard {
            Some(Err(e)) => Some(format!(
                "the host still sees the frames of {}: {e}",
                device.spec.name
            )),
            _ => None,
        };
        device.way = Way::Own {
            guard: guard.and_then(Result::ok),
            why: reason.to_owned(),
        };
        Ok(())
    }

    /// Keeps the host away from a port with a packet socket of its own where nothing does: it was opened when nothing could,
    /// somebody else took the drop off, or the last try failed.
    pub(super) fn give_drop(&mut self, dp: DpPort) {
        let (Ok(drop), Some(device)) = (self.drop.get(), self.open.get_mut(&dp)) else {
            return;
        };
        let (Way::Own { guard, .. }, true) = (&mut device.way, device.packet.is_some()) else {
            return;
        };
        let lost = |guard: &Guard| matches!(guard.is_attached(), Ok(false));
        let was_taken = guard.as_ref().map(lost);
        if was_taken == Some(false) {
            return;
        }
        // Before the new one comes, which it would take along.
        *guard = None;
        let name = &device.spec.name;
        match drop.attach(device.base.index()) {
            Ok(new) => {
                if was_taken.is_some() {
                    tracing::warn!("{name}: somebody took the ingress drop off; it is there again");
                }
                *guard = Some(new);
                device.seen_by_host = None;
            }
            Err(e) => {
                device.seen_by_host =
                    Some(format!("the host still sees the frames of {name}: {e}"));
            }
        }
    }

    /// Has a worker let go of a port, and waits until it has.
    fn ignore(&self, worker: usize, port: DpPort) {
        let (done, wait) = bounded(0);
        self.workers[worker].send(Order::Ignore {
            port,
            done: Some(done),
        });
        // The end of the channel is the answer.
        if let Err(crossbeam_channel::RecvTimeoutError::Timeout) = wait.recv_timeout(PATIENCE) {
            tracing::error!("a forwarding thread did not let go of port {port} within a second");
        }
    }

    /// Makes the punt device, unless it is there.
    fn need_punts(&mut self) -> Result<(), String> {
        let (Ok(tier0), Ok(drop), None) = (self.kernel.get(), self.drop.get(), &self.punts) else {
            return Ok(());
        };
        let pair = PuntPair::create(&mut self.rtnl, &self.database).map_err(|e| e.to_string())?;
        let guard = drop.attach(pair.far.index).map_err(|e| e.to_string())?;
        let config = PacketConfig {
            slots: PacketConfig::MAX_SLOTS,
            receive_buffer: PUNT_BUFFER,
            ..PacketConfig::default()
        };
        let (rx, _) = packet::open(&pair.far, PUNTS.0, &config).map_err(|e| e.to_string())?;
        let rx =
            rx.with_head(|bytes| Punt::split(bytes).map(|(punt, _)| (punt.in_port.0, Punt::LEN)));
        self.workers[PUNT_WORKER].send(Order::ReceivePunts(Box::new(rx)));
        // A device drops what it is given until the kernel has noticed its carrier.
        for _ in 0..200 {
            let near = LinkRef {
                index: pair.near.index,
                nsid: None,
            };
            if matches!(self.rtnl.link(near), Ok(Some(l)) if l.has_carrier()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        tier0.set_punt_device(if self.holding {
            NOBODY
        } else {
            pair.near.index
        });
        self.punts = Some(Punts {
            pair,
            _guard: guard,
        });
        Ok(())
    }

    /// Every port of the configuration is open: what a dead daemon left on other devices goes.
    pub fn end_of_past(&mut self) {
        self.past = Past::default();
        if let Ok(tier0) = self.kernel.get() {
            tier0.disinherit();
        }
    }

    /// Whether what the kernel does not decide is dropped.
    pub const fn is_holding(&self) -> bool {
        self.holding
    }

    /// What the kernel does not decide is handed up from now on.
    pub fn hand_up(&mut self) {
        if !std::mem::replace(&mut self.holding, false) {
            return;
        }
        if let (Ok(tier0), Some(punts)) = (self.kernel.get(), &self.punts) {
            tier0.set_punt_device(punts.pair.near.index);
        }
    }

    /// The daemon ends, and the kernel goes on without it for a while. True when there is anything that goes on.
    pub fn leave(&mut self) -> bool {
        let Ok(tier0) = self.kernel.get() else {
            return false;
        };
        let inside = |d: &Device| matches!(d.way, Way::Kernel(_));
        if !tier0.is_pinned() || !self.open.values().any(inside) {
            return false;
        }
        tier0.leave(clock::now());
        for device in self.open.values_mut() {
            if let Way::Kernel(guard) = std::mem::replace(&mut device.way, Way::None) {
                guard.leave();
            }
        }
        true
    }

    /// Every link gets its name, once there is a place for names again.
    pub fn name_links(&mut self) {
        let Ok(tier0) = self.kernel.get() else { return };
        for device in self.open.values_mut() {
            if let Way::Kernel(guard) = &mut device.way {
                tier0.name_link(guard);
            }
        }
    }

    /// Removes the punt device when no port needs it.
    pub(super) fn let_go_of_punts(&mut self) {
        let needed = self.open.values().any(|d| matches!(d.way, Way::Kernel(_)));
        if needed || self.punts.is_none() {
            return;
        }
        self.forget_punts();
        if let Err(e) = PuntPair::remove_leftover(&mut self.rtnl, &self.database) {
            tracing::warn!("punt device: {e}");
        }
    }

    fn forget_punts(&mut self) {
        if self.punts.take().is_some() {
            if let Ok(tier0) = self.kernel.get() {
                // A dead daemon's programs must not let frames pass to the host.
                tier0.set_punt_device(if self.past.links.is_empty() {
                    0
                } else {
                    NOBODY
                });
            }
            self.ignore(PUNT_WORKER, PUNTS);
        }
    }

    /// Closes a port's way in.
    pub(super) fn end_way(&mut self, dp: DpPort, device: Device) -> super::Base {
        let Device {
            way, base, owner, ..
        } = device;
        if let Ok(tier0) = self.kernel.get() {
            tier0.set_out(dp, None);
        }
        let worker = match way {
            Way::Kernel(guard) => {
                drop(guard);
                if let Ok(tier0) = self.kernel.get() {
                    tier0.forget_port(dp);
                }
                PUNT_WORKER
            }
            _ => owner,
        };
        self.workers[worker].send(Order::Ignore {
            port: dp,
            done: None,
        });
        base
    }

    /// A device of the punt pair may have been set down or deleted by somebody else.
    pub(super) fn punts_changed(&mut self, index: u32) {
        let ours = |p: &Punts| p.pair.near.index == index || p.pair.far.index == index;
        if !self.punts.as_ref().is_some_and(ours) {
            return;
        }
        // The event may tell of an earlier state.
        let at = LinkRef { index, nsid: None };
        if matches!(self.rtnl.link(at), Ok(Some(link)) if link.is_up()) {
            return;
        }
        tracing::warn!("the punt device was set down or deleted; it is set up anew");
        let change = Change {
            up: Some(true),
            ..Change::default()
        };
        if self.rtnl.change(index, &change).is_ok() {
            return;
        }
        self.forget_punts();
        if let Err(e) = self.need_punts() {
            tracing::error!("punt device: {e}");
            let inside: Vec<DpPort> = self
                .open
                .iter()
                .filter(|(_, d)| matches!(d.way, Way::Kernel(_)))
                .map(|(dp, _)| *dp)
                .collect();
            for dp in inside {
                if let Err(e) = self.use_own_socket(dp, "the punt device is gone") {
                    tracing::error!("port {dp}: {e}");
                }
            }
        }
    }

    /// Looks after a few ports: foreign programs come and go, and ours may be taken off, without an event.
    pub fn look_after(&mut self) -> Vec<PortEvent> {
        let mut events = Vec::new();
        self.want_again();
        let from = self.looked_at;
        let next: Vec<DpPort> = self
            .open
            .range((std::ops::Bound::Excluded(from), std::ops::Bound::Unbounded))
            .filter(|(_, d)| d.packet.is_some())
            .filter(|(_, d)| d.spec.kernel_cache || matches!(d.way, Way::Own { .. }))
            .map(|(dp, _)| *dp)
            .take(CHECKS)
            .collect();
        self.looked_at = match next.last() {
            Some(last) if next.len() == CHECKS => *last,
            _ => DpPort(0),
        };
        for dp in next {
            self.give_drop(dp);
            if self.kernel.get().is_ok() {
                self.notice_detached(dp);
            }
            self.place_and_tell(dp, &mut events);
        }
        events
    }

    /// Somebody else may have taken the program off.
    pub(super) fn notice_detached(&mut self, dp: DpPort) {
        let Some(device) = self.open.get_mut(&dp) else {
            return;
        };
        let lost = |guard: &PortGuard| matches!(guard.is_attached(), Ok(false));
        if !matches!(&device.way, Way::Kernel(guard) if lost(guard)) {
            return;
        }
        // It went with the device: the event that says so is on its way.
        let index = device.base.index();
        let here = self.rtnl.link(LinkRef { index, nsid: None });
        if !matches!(here, Ok(Some(_))) {
            return;
        }
        tracing::warn!("{}: somebody took the kernel cache off", device.spec.name);
        device.way = Way::None;
        device.direct = None;
        if let Ok(tier0) = self.kernel.get() {
            tier0.detached(dp);
        }
    }

    /// Puts a port where it belongs now, and tells what people should know.
    pub(super) fn place_and_tell(&mut self, dp: DpPort, out: &mut Vec<PortEvent>) {
        match self.place(dp) {
            Ok(()) => {}
            // Deleted meanwhile: the event that says so is on its way.
            Err(OpenError::NoDevice) => tracing::debug!("port {dp}: its device is gone"),
            Err(e) => tracing::error!("port {dp}: {e}"),
        }
        let Some(device) = self.open.get_mut(&dp) else {
            return;
        };
        let note = device.joined_note();
        if device.link.note != note {
            device.link.note = note;
            let link: LinkInfo = device.link.clone();
            out.push(PortEvent::Changed(dp, link));
        }
    }

    /// Counters of a port, over all tiers.
    pub fn stats(&self, dp: DpPort) -> Option<PortStats> {
        let device = self.open.get(&dp)?;
        let mut stats = device.tx.stats();
        let (own, handed_up) = (&mut stats, &device.received);
        own.rx_packets += handed_up.packets.load(Ordering::Relaxed);
        own.rx_bytes += handed_up.bytes.load(Ordering::Relaxed);
        if let Ok(tier0) = self.kernel.get() {
            let kernel = tier0.totals(clock::now(), dp);
            own.rx_packets += kernel.rx_packets;
            own.rx_bytes += kernel.rx_bytes;
            own.tx_packets += kernel.tx_packets;
            own.tx_bytes += kernel.tx_bytes;
        }
        Some(stats)
    }
}
