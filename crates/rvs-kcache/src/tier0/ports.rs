//! Which device is which port: a table of places that the program looks a device up in, two for each.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rvs_flow::DpPort;
use rvs_packet::MacAddr;

use crate::error::Error;
use crate::grace;
use crate::hook::Guard;
use crate::sys::mapped::Mapped;
use crate::tier0::layout::{pair, port};

/// How many frames of one port may be handed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PuntRate {
    /// At least 1.
    pub per_second: u32,
    /// Frames that may come at once.
    pub burst: u32,
}

impl Default for PuntRate {
    /// About what one ring can read.
    fn default() -> Self {
        Self {
            per_second: 400_000,
            burst: 4096,
        }
    }
}

/// The places. One writer at a time; the program reads along.
#[derive(Debug)]
pub(super) struct Ports(Mutex<Places>);

#[derive(Debug)]
struct Places {
    mapped: Mapped,
    /// Devices that a dead daemon's program is on, and their ports: they have a place that may be taken over.
    inherited: HashMap<u32, DpPort>,
    /// Places of devices that the program has left, which frames under way may still look at: such a frame must find its
    /// own port, not another's, nor none. They are free after a grace period.
    leaving: HashSet<u32>,
}

impl Places {
    fn new(mapped: Mapped, inherited: HashMap<u32, DpPort>) -> Self {
        let leaving = HashSet::new();
        Self {
            mapped,
            inherited,
            leaving,
        }
    }

    fn word(&self, at: u32, word: usize) -> Option<&AtomicU64> {
        self.mapped.words().get(at as usize * port::WORDS + word)
    }

    fn set(&self, at: u32, word: usize, value: u64, order: Ordering) {
        if let Some(w) = self.word(at, word) {
            w.store(value, order);
        }
    }

    /// The device that has a place; 0: none.
    fn holder(&self, at: u32) -> Option<u32> {
        let word = self.word(at, port::PORT_IFINDEX)?;
        Some((word.load(Ordering::Relaxed) >> 32) as u32)
    }

    /// A place for a device that has no program of ours.
    fn place_for(&mut self, op: &'static str, ifindex: u32) -> Result<u32, Error> {
        let places = port::places(ifindex);
        let held_by = |this: &Self, by: u32| {
            let mut both = places.into_iter();
            both.find(|at| this.holder(*at) == Some(by))
        };
        if let Some(own) = held_by(self, ifindex) {
            // Frames of this device that are under way belong to the port that it is now.
            let free = self.leaving.remove(&own) || self.inherited.remove(&ifindex).is_some();
            return free
                .then_some(own)
                .ok_or(Error::AlreadyAttached { op, ifindex });
        }
        if let Some(at) = held_by(self, 0) {
            return Ok(at);
        }
        if places.iter().any(|at| self.leaving.contains(at)) {
            grace::grace_period().map_err(|e| Error::new("wait for a grace period", e))?;
            for at in std::mem::take(&mut self.leaving) {
                self.set(at, port::PORT_IFINDEX, 0, Ordering::Release);
            }
        }
        let cause = "both places of this device in the kernel cache's table of ports are taken";
        held_by(self, 0).ok_or(Error::Invalid { op, cause })
    }
}

impl Ports {
    pub fn new(mapped: Mapped) -> Self {
        Self(Mutex::new(Places::new(mapped, HashMap::new())))
    }

    /// The places as a dead daemon left them, but that no port is direct: nobody has looked for as long as it is dead.
    pub fn inherit(mapped: Mapped) -> Self {
        for place in mapped.words().chunks(port::WORDS) {
            if let Some(far) = place.get(port::FAR) {
                far.store(0, Ordering::Release);
            }
        }
        let held = mapped.words().chunks(port::WORDS).filter_map(|place| {
            let word = place.get(port::PORT_IFINDEX)?.load(Ordering::Relaxed);
            let ifindex = (word >> 32) as u32;
            (ifindex != 0).then_some((ifindex, DpPort(word as u32)))
        });
        let inherited = held.collect();
        Self(Mutex::new(Places::new(mapped, inherited)))
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Devices and their ports that were not taken over yet.
    pub fn inherited(&self) -> HashMap<u32, DpPort> {
        self.lock().inherited.clone()
    }

    /// Frees the places of devices that were not taken over, as soon as no frame looks at them.
    pub fn disinherit(&self) {
        let mut places = self.lock();
        let inherited = std::mem::take(&mut places.inherited);
        let held = (0..port::PLACES).filter(|at| {
            places
                .holder(*at)
                .is_some_and(|i| inherited.contains_key(&i))
        });
        let held: Vec<u32> = held.collect();
        places.leaving.extend(held);
    }

    /// Makes the device known to the program.
    pub fn claim(
        self: &Arc<Self>,
        op: &'static str,
        ifindex: u32,
        dp_port: DpPort,
        rate: PuntRate,
    ) -> Result<Claim, Error> {
        let mut places = self.lock();
        let at = places.place_for(op, ifindex)?;
        let cost = 1_000_000_000 / rate.per_second.max(1);
        let figures = [
            (port::COST, u64::from(cost)),
            (port::BURST, u64::from(cost) * u64::from(rate.burst)),
            (port::TAT, 0),
            (port::FAR, 0),
        ];
        for (word, value) in figures {
            places.set(at, word, value, Ordering::Relaxed);
        }
        let known = pair(dp_port.0, ifindex);
        places.set(at, port::PORT_IFINDEX, known, Ordering::Release);
        Ok(Claim {
            ports: Arc::clone(self),
            at: Some(at),
        })
    }

    /// Changes what the program knows of a device that has a place.
    fn set_direct(&self, at: u32, far: Option<MacAddr>) {
        let [a, b, c, d, e, f] = far.unwrap_or_default().0;
        let loaded = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        self.lock().set(at, port::FAR, loaded, Ordering::Release);
    }

    /// No port is direct any more.
    pub(super) fn none_direct(&self) {
        let places = self.lock();
        for at in 0..port::PLACES {
            places.set(at, port::FAR, 0, Ordering::Release);
        }
    }
}

/// A place that is taken; dropping it makes it free once no frame looks at it any more.
#[derive(Debug)]
pub(super) struct Claim {
    ports: Arc<Ports>,
    /// `None`: the next daemon's.
    at: Option<u32>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(at) = self.at else { return };
        let mut places = self.ports.lock();
        places.set(at, port::FAR, 0, Ordering::Release);
        places.leaving.insert(at);
    }
}

/// Holds the cache on one port; dropping it takes the program off.
#[derive(Debug)]
#[must_use = "dropping the guard takes the program off the device"]
pub struct PortGuard {
    // In this order: the program leaves before its place does.
    guard: Guard,
    claim: Claim,
}

impl PortGuard {
    pub(super) const fn new(guard: Guard, claim: Claim) -> Self {
        Self { guard, claim }
    }

    /// Lets frames that leave by this port for `far`, the address of its other end, go straight into the namespace there
    /// (`bpf_redirect_peer`), past everything that would see them leave: a queueing discipline, programs and hooks on egress,
    /// packet sockets. Only for a veth whose other end is in another namespace; the kernel drops frames of any other in
    /// silence. `None`: no more.
    pub fn set_direct(&self, far: Option<MacAddr>) {
        if let Some(at) = self.claim.at {
            self.claim.ports.set_direct(at, far);
        }
    }

    pub(super) const fn link(&mut self) -> &mut Guard {
        &mut self.guard
    }

    /// As [`Guard::is_attached`].
    ///
    /// # Errors
    /// The kernel's, when it can't be asked.
    pub fn is_attached(&self) -> Result<bool, Error> {
        self.guard.is_attached()
    }

    /// Lets go, and leaves the program on the device (a link: if it has a name): the next daemon takes it over.
    pub fn leave(self) {
        // Nobody will look whether it still may be.
        self.set_direct(None);
        let Self { guard, mut claim } = self;
        claim.at = None;
        guard.leave();
    }

    /// As [`Guard::detach`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn detach(self) -> Result<(), Error> {
        let Self { guard, claim } = self;
        let detached = guard.detach();
        drop(claim);
        detached
    }
}
