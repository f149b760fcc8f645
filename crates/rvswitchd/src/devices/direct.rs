//! The direct way out of the kernel's cache: straight into the namespace behind a veth (`bpf_redirect_peer`).
//!
//! It saves a queue and a wake-up for each frame, and passes everything by that could see the frame leave the port. So a port
//! is *direct* only while nothing could:
//!
//! - the frame is addressed to the other end, which the program compares: who is given a frame this way takes it for its own,
//!   so broadcasts and what is flooded go through the device;
//! - the port is in the kernel's cache and up; it is a veth, and its other end is in another namespace (to the same one the
//!   kernel would drop the frame in silence), takes frames as long, and has no XDP program, which would be passed by too;
//! - its queueing discipline is `noqueue`; no tcx program, filter or netfilter chain works on its egress; it does not cut
//!   super-frames or complete checksums (`ethtool -K PORT tx off`);
//! - no packet socket listens on it, and nobody but the switch has asked for promiscuous mode.
//!
//! Rtnetlink tells of most of this at once, also of a capture (promiscuous mode). What nobody tells of (tcx programs, chains,
//! sockets without that mode, an XDP program put there by a link) is looked for four times a second while the kernel forwards,
//! from the moment when the first flow comes into its cache. When it has forwarded nothing for a second no port is direct: an
//! idle switch looks for nothing but, as long as flows are in the cache, whether they are used again.
//!
//! A change takes effect with the next frame; frames queued at the port may then be overtaken, once.

use std::time::Duration;

use rvs_flow::DpPort;
use rvs_kcache::EgressHooks;
use rvs_netdev::egress::{takes_super_frames, Listeners};
use rvs_netdev::rtnl::{Link, LinkRef, Role};
use rvs_packet::{MacAddr, Now};

use crate::devices::way::Way;
use crate::devices::{Device, Devices};

/// How often the ports that are direct are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Looks without a frame after which no port is direct.
const PATIENCE: u32 = 4;
/// A port's socket asks for promiscuous mode once. Whoever else does is about to listen: a capture asks first and is
/// bound to the device, of which nobody tells, after that.
const OUR_OWN: u32 = 1;
const NO_QUEUE: &str = "noqueue";

/// Whether ports may be direct now.
#[derive(Debug, Default)]
pub(super) struct Direct {
    /// The kernel forwards.
    on: bool,
    /// When to look again; `None`: the kernel can forward nothing.
    next: Option<Now>,
    /// Frames that the kernel had forwarded at the last look, and looks since one more came.
    hits: u64,
    idle: u32,
}

/// The other end of a port that is direct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FarEnd {
    at: LinkRef,
    mac: MacAddr,
}

/// What was asked once for all ports.
struct Seen {
    listeners: Listeners,
    hooks: EgressHooks,
}

impl Seen {
    fn now() -> std::io::Result<Self> {
        Ok(Self {
            listeners: Listeners::now()?,
            hooks: EgressHooks::now()?,
        })
    }

    fn nobody_on(&self, ifindex: u32) -> std::io::Result<bool> {
        Ok(!self.listeners.on(ifindex) && !self.hooks.on(ifindex)?)
    }
}

impl Devices {
    /// When [`Self::look_at_direct`] is due.
    pub fn next_look(&self) -> Option<Now> {
        self.direct.next
    }

    /// Looks whether the kernel forwards, and at the ports that are direct.
    pub fn look_at_direct(&mut self, now: Now) {
        let Ok(tier0) = self.kernel.get() else { return };
        let hits = tier0.hits();
        let came = hits != std::mem::replace(&mut self.direct.hits, hits);
        self.direct.idle = if came { 0 } else { self.direct.idle + 1 };
        if came || self.direct.on && self.direct.idle < PATIENCE {
            return self.look_at_ports(now);
        }
        tier0.wake_me();
        let may_forward = tier0.size().0 > 0;
        self.direct.next = may_forward.then(|| now + LOOK_EVERY);
        if std::mem::take(&mut self.direct.on) {
            self.none_direct();
        }
    }

    /// The first flow has come into the kernel's cache.
    pub fn kernel_forwards(&mut self, now: Now) {
        if !self.direct.on {
            self.direct.idle = 0;
            self.look_at_ports(now);
        }
    }

    /// Looks at the ports that are direct; when the kernel begins to forward, at all.
    fn look_at_ports(&mut self, now: Now) {
        let was_on = std::mem::replace(&mut self.direct.on, true);
        self.direct.next = Some(now + LOOK_EVERY);
        let Ok(seen) = Seen::now() else {
            return self.none_direct();
        };
        for dp in self.open.keys().copied().collect::<Vec<_>>() {
            let Some(device) = self.open.get(&dp) else {
                continue;
            };
            if device.direct.is_some() || !was_on {
                self.consider(dp, &seen);
            }
        }
    }

    /// Something about the port, or about what it leads to, has changed.
    pub(super) fn reconsider(&mut self, dp: DpPort) {
        if !self.direct.on {
            return self.set_direct(dp, None);
        }
        match Seen::now() {
            Ok(seen) => self.consider(dp, &seen),
            Err(_) => self.set_direct(dp, None),
        }
    }

    /// The other end of a port has changed, or was moved or deleted.
    pub(super) fn far_end_changed(&mut self, at: LinkRef) {
        let found = self
            .open
            .iter()
            .find(|(_, d)| d.direct.is_some_and(|far| far.at == at));
        if let Some(dp) = found.map(|(dp, _)| *dp) {
            self.reconsider(dp);
        }
    }

    fn none_direct(&mut self) {
        for device in self.open.values_mut() {
            device.set_direct(None);
        }
    }

    fn consider(&mut self, dp: DpPort, seen: &Seen) {
        let far = self.far_end_for(dp, seen);
        self.set_direct(dp, far);
    }

    fn set_direct(&mut self, dp: DpPort, far: Option<FarEnd>) {
        if let Some(device) = self.open.get_mut(&dp) {
            device.set_direct(far);
        }
    }

    /// The other end, if the port may be direct.
    fn far_end_for(&mut self, dp: DpPort, seen: &Seen) -> Option<FarEnd> {
        let device = self.open.get(&dp)?;
        if !matches!(device.way, Way::Kernel(_)) {
            return None;
        }
        let index = device.base.index();
        let at = LinkRef { index, nsid: None };
        let near = self.rtnl.link(at).ok()??;
        let at = near.lower.filter(|far| far.nsid.is_some())?;
        let far = self.rtnl.link(at).ok()??;
        let may = ends_allow(&near, &far)
            && takes_super_frames(&near.name).ok()?
            && seen.nobody_on(index).ok()?;
        let mac = far.mac?;
        may.then_some(FarEnd { at, mac })
    }
}

/// What the two ends say of themselves.
fn ends_allow(near: &Link, far: &Link) -> bool {
    near.role() == Role::Veth
        && near.is_up()
        && near.master.is_none()
        && near.promiscuity <= OUR_OWN
        && near.qdisc.as_deref() == Some(NO_QUEUE)
        && far.mtu >= near.mtu
        && !far.has_xdp
}

impl Device {
    fn set_direct(&mut self, far: Option<FarEnd>) {
        // One that is direct is told again: the heart takes it back while nobody looks.
        if self.direct == far && far.is_none() {
            return;
        }
        if self.direct.is_some() != far.is_some() {
            let how = if far.is_some() { "past" } else { "through" };
            tracing::debug!("frames for {} leave {how} its egress", self.spec.name);
        }
        self.direct = far;
        if let Way::Kernel(guard) = &self.way {
            guard.set_direct(far.map(|f| f.mac));
        }
    }
}
