//! Which device is which port: a table of places that the program looks a device up in, two for each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rvs_flow::DpPort;
use rvs_packet::MacAddr;

use crate::error::Error;
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
}

impl Ports {
    pub fn new(mapped: Mapped) -> Self {
        let inherited = HashMap::new();
        Self(Mutex::new(Places { mapped, inherited }))
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
        Self(Mutex::new(Places { mapped, inherited }))
    }

    /// Devices and their ports that were not taken over yet.
    pub fn inherited(&self) -> HashMap<u32, DpPort> {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.inherited.clone()
    }

    /// Frees the places of devices that were not taken over.
    pub fn disinherit(&self) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Places { mapped, inherited } = &mut *places;
        for place in mapped.words().chunks(port::WORDS) {
            if let Some(word) = place.get(port::PORT_IFINDEX) {
                if inherited.contains_key(&((word.load(Ordering::Relaxed) >> 32) as u32)) {
                    word.store(0, Ordering::Release);
                }
            }
        }
        inherited.clear();
    }

    /// Makes the device known to the program.
    pub fn claim(
        self: &Arc<Self>,
        op: &'static str,
        ifindex: u32,
        dp_port: DpPort,
        rate: PuntRate,
    ) -> Result<Claim, Error> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Places { mapped, inherited } = &mut *guard;
        let words = mapped.words();
        let place = |at: u32| words.get(at as usize * port::WORDS..)?.get(..port::WORDS);
        let holder = |p: &[AtomicU64]| {
            p.get(port::PORT_IFINDEX)
                .map_or(0, |w| (w.load(Ordering::Relaxed) >> 32) as u32)
        };
        let places = port::places(ifindex);
        let held_by = |holds: u32| {
            places
                .into_iter()
                .find(|at| place(*at).is_some_and(|p| holder(p) == holds))
        };
        let own = held_by(ifindex);
        if own.is_some() && inherited.remove(&ifindex).is_none() {
            return Err(Error::AlreadyAttached { op, ifindex });
        }
        let Some(at) = own.or_else(|| held_by(0)) else {
            let cause = "both places of this device in the kernel cache's table of ports are taken";
            return Err(Error::Invalid { op, cause });
        };
        let cost = 1_000_000_000 / rate.per_second.max(1);
        let figures = [
            (port::COST, u64::from(cost)),
            (port::BURST, u64::from(cost) * u64::from(rate.burst)),
            (port::TAT, 0),
            (port::FAR, 0),
        ];
        let set = |word: usize, value: u64, order| {
            if let Some(w) = place(at).and_then(|p| p.get(word)) {
                w.store(value, order);
            }
        };
        figures
            .into_iter()
            .for_each(|(word, value)| set(word, value, Ordering::Relaxed));
        set(
            port::PORT_IFINDEX,
            pair(dp_port.0, ifindex),
            Ordering::Release,
        );
        Ok(Claim {
            ports: Arc::clone(self),
            at: Some(at),
        })
    }
}

impl Ports {
    /// Changes what the program knows of a device that has a place.
    fn set_direct(&self, at: u32, far: Option<MacAddr>) {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let word = at as usize * port::WORDS + port::FAR;
        if let Some(word) = places.mapped.words().get(word) {
            let [a, b, c, d, e, f] = far.unwrap_or_default().0;
            let loaded = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
            word.store(loaded, Ordering::Release);
        }
    }
}

/// A place that is taken; dropping it makes it free.
#[derive(Debug)]
pub(super) struct Claim {
    ports: Arc<Ports>,
    /// `None`: the next daemon's.
    at: Option<u32>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(at) = self.at else { return };
        let places = self.ports.0.lock().unwrap_or_else(PoisonError::into_inner);
        let word = at as usize * port::WORDS + port::PORT_IFINDEX;
        if let Some(word) = places.mapped.words().get(word) {
            word.store(0, Ordering::Release);
        }
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

    /// Lets go, and leaves the program on the device if its link has a name: the next daemon takes it over.
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
