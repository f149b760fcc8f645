//! The cache beyond the life of one daemon: its names in a bpf file system, and taking it over from them.
//!
//! The next daemon takes over only what is certain: the same program by its hash, arrays of the sizes that it would make
//! itself, a heartbeat that is not too old. Anything else it replaces: port by port the new program takes the old one's
//! place in one step (filters), or comes behind the old one, which then goes (links), so that neither the host nor two
//! programs see a frame.

use super::*;
use crate::gate::Gate;
use crate::pins::GATE;

const OP: &str = "take over a dead daemon's kernel cache";

/// What a dead daemon's cache says of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// When the program stops forwarding unless somebody beats.
    pub deadline: Now,
}

impl KernelCache {
    /// Takes over the cache that a dead daemon left under `pins`; `None` when there is none that can be. The caller says
    /// [`Self::beat`], judges every [`Self::orphans`], and attaches ports with their old links.
    ///
    /// # Errors
    /// The kernel's.
    pub fn inherit(instance: &str, pins: &Pins, now: Now) -> Result<Option<(Self, Past)>, Error> {
        hook::check_instance(instance)?;
        let fail = |e| Error::new(OP, e);
        let prog = match pins.get(&object::name()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(fail)?,
        };
        // Programs of the dead daemon's last commands are through.
        grace::grace_period().map_err(|e| Error::new("wait for a grace period", e))?;
        let open = |name: &str, words, entries| -> io::Result<(Map, Mapped, u32)> {
            let (map, n) = pins.array(name, words, entries)?;
            let all = NonZeroUsize::new(words * n as usize).ok_or(io::ErrorKind::InvalidInput)?;
            let mapped = Mapped::new(map.as_fd(), all)?;
            Ok((map, mapped, n))
        };
        let cpus_here = possible_cpus();
        let (configs, config, _) = open("config", config::WORDS, Some(1)).map_err(fail)?;
        let (bucket_map, buckets, n_buckets) = open("buckets", WAYS, None).map_err(fail)?;
        let (entry_map, entries, n_entries) = open("entries", entry::WORDS, None).map_err(fail)?;
        let per_cpu = n_entries.saturating_mul(cpus_here);
        let (stat_map, stats, _) = open("stats", stat::WORDS, Some(per_cpu)).map_err(fail)?;
        let (cpu_map, cpus, _) = open("cpus", cpu::WORDS, Some(cpus_here)).map_err(fail)?;
        let (port_map, ports, _) = open("ports", port::WORDS, Some(port::PLACES)).map_err(fail)?;
        let shape = Shape {
            entries: n_entries,
            buckets: n_buckets,
            cpus: cpus_here,
        };
        if !n_buckets.is_power_of_two() {
            return Ok(None);
        }
        let arrays = Arrays {
            config,
            buckets,
            entries,
            stats,
        };
        let Some(table) = Table::inherit(arrays, shape) else {
            return Ok(None);
        };
        // So are those that still saw what was cleared just now: it may be used again.
        grace::grace_period().map_err(|e| Error::new("wait for a grace period", e))?;
        let survive = table.config(config::SURVIVE);
        let deadline = Now(table.config(config::HEARTBEAT).saturating_add(survive));
        if deadline <= now {
            return Ok(None);
        }
        let gate = match pins.get(GATE) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            other => Some(other.and_then(Gate::found).map_err(fail)?),
        };
        let hook = Hook::found(prog, gate, NAME, instance)?;
        let this = Self {
            table,
            hook,
            ports: Arc::new(Ports::inherit(ports)),
            cpus,
            pins: Some(pins.clone()),
            unpinned: AtomicU64::new(0),
            maps: vec![configs, bucket_map, entry_map, stat_map, cpu_map, port_map],
        };
        Ok(Some((this, Past { deadline })))
    }

    /// Gives program and maps names under `pins`, in place of what is there, and from now on every link: what the daemon
    /// leaves when it ends goes on until [`Options::survive`] has passed, and the next one can take it over.
    ///
    /// # Errors
    /// The file system's. Nothing can be taken over then.
    pub fn pin(&mut self, pins: &Pins) -> Result<(), Error> {
        pins.forget_objects();
        let names = ["config", "buckets", "entries", "stats", "cpus", "ports"];
        let maps = names.into_iter().zip(self.maps.iter().map(Map::as_fd));
        let gate = self.hook.gate().map(|gate| (GATE, gate.as_fd()));
        // The program comes last: where it is, all of it is.
        let pinned = maps
            .chain(gate)
            .try_for_each(|(name, map)| pins.put(name, map))
            .and_then(|()| pins.put(&object::name(), self.hook.prog()));
        match pinned {
            Ok(()) => self.pins = Some(pins.clone()),
            Err(_) => pins.forget_objects(),
        }
        pinned
    }

    /// The names are gone: nobody can take over what is attached.
    pub fn forget_names(&mut self) {
        self.pins = None;
    }

    /// Gives the link of a port a name, among those of [`Self::pin`].
    pub fn name_link(&self, port: &mut PortGuard) {
        self.name(port.link());
    }

    fn name(&self, guard: &mut hook::Guard) {
        let Some(pins) = &self.pins else { return };
        if guard.pin(pins.link(guard.ifindex())).is_err() {
            // It works as well, but for as long as the daemon lives.
            self.unpinned.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether what is attached from now on outlives the daemon.
    pub const fn is_pinned(&self) -> bool {
        self.pins.is_some()
    }

    /// Links that could not be given a name since the start: they end with the daemon.
    pub fn unpinned(&self) -> u64 {
        self.unpinned.load(Ordering::Relaxed)
    }

    /// The devices on which a dead daemon's program is, and their ports, as long as they were not attached again.
    pub fn inherited_ports(&self) -> std::collections::HashMap<u32, DpPort> {
        self.ports.inherited()
    }

    /// Forgets the devices of the dead daemon that were not attached again. Their links are gone by now.
    pub fn disinherit(&self) {
        self.ports.disinherit();
    }

    /// Flows of the dead daemon that wait to be judged. They are carried out until then.
    pub fn orphans(&self) -> Vec<Orphan> {
        self.table.orphans()
    }

    /// Makes the orphan the flow `flow`, if the program does for it what it would do for the flow.
    pub fn name_orphan(
        &mut self,
        orphan: &Orphan,
        flow: FlowId,
        actions: &[rvs_dpif::DpAction],
        out: impl Fn(DpPort) -> Option<OutPort>,
    ) -> bool {
        let absent = orphan.mask.0.present.without(orphan.key.present);
        let Ok(steps) = encode::steps(actions, absent, out) else {
            return false;
        };
        self.table.does(orphan.id, &steps) && self.table.name(orphan.id, flow)
    }

    /// Puts the program on a device: takes over a dead daemon's guard of the same program, or puts the program in another one's
    /// place.
    pub(super) fn attach_in_place(
        &self,
        op: &'static str,
        ifindex: u32,
        old: Option<OldLink>,
    ) -> Result<hook::Guard, Error> {
        let mut guard = match old {
            Some(old) if old.prog_id == self.prog_id() => return Ok(old.guard),
            other => self.hook.attach_over(op, ifindex, other)?,
        };
        self.name(&mut guard);
        Ok(guard)
    }
}
