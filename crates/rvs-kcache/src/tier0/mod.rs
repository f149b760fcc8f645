//! Tier 0: the flow cache in the kernel.
//!
//! ```text
//!  port ─► tc ingress: parse ─► masks in rank ─► bucket ─► entry ─► actions ─► redirect to the way out
//!                          │ nothing found, or not ours to decide
//!                          └─► 16 octets in front (Punt) ─► punt device ─► the daemon's ring: tiers 1 to 3
//! ```
//!
//! One kernel entry is one installed [`Megaflow`]: same id, key and mask. The program decides nothing; it repeats
//! decisions. What it can't parse, match or do is refused when installed ([`Refusal`]) or handed up ([`Punt`]).
//!
//! Frames are handed up by the program alone, so no packet socket listens on a port: a frame has one way. Each port's
//! share of that way is limited in the program, so that one port's misses don't starve another's.
//!
//! The daemon says with [`KernelCache::beat`] that it lives. Once it has been silent for [`Options::survive`], the program
//! steps aside and the host sees its frames; at once when the daemon ends and nothing has a name ([`KernelCache::pin`]).
//!
//! Removing is two steps. [`KernelCache::remove`] makes the flow invisible to every frame that arrives from now on;
//! [`KernelCache::reap`] waits until frames under way are through, returns what the flow carried in the end, and makes its
//! place free. Whoever must answer for "nothing stale" (a barrier) answers after `reap`.
//!
//! The caller keeps what this tier can't see: a port that leaves the namespace is to be detached at once (a tcx link
//! follows the device, a filter is lost with it); an MTU that changes is to be told by installing the flows again.

mod encode;
mod layout;
pub(crate) mod object;
mod ports;
mod probe;
mod punt;
mod set;
mod survive;
mod table;

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use rvs_dpif::{FlowId, FlowSnapshot, Megaflow};
use rvs_flow::{DpPort, FlowKey, Mask};
use rvs_packet::Now;

pub use encode::{OutPort, Refusal};
pub use ports::{PortGuard, PuntRate};
pub use probe::{KeyProbe, Parsed};
pub use punt::{Punt, PuntedFor};
pub use survive::Past;
pub use table::Orphan;

use crate::asm::MapRef;
use crate::attr;
use crate::error::Error;
use crate::grace;
use crate::hook::{self, Hook, Mode, CACHE_NAME as NAME};
use crate::pins::{OldLink, Pins};
use crate::program;
use crate::sys::bpf::{self, Map};
use crate::sys::mapped::Mapped;
use layout::{config, cpu, entry, pair, port, stat, WAYS};
use ports::Ports;
use table::{Arrays, Shape, Table};

/// How long a daemon may be silent for at the least. One that is dead is known by more than its silence ([`crate::Pins`]).
pub const SILENCE: Duration = Duration::from_secs(3);
/// How often [`KernelCache::beat`] wants to be called: a third of [`SILENCE`].
pub const BEAT_EVERY: Duration = Duration::from_secs(1);

const LOAD: &str = "load the kernel flow cache";

/// Choices that last as long as the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Flows that find room, at most 2^20. Each costs 512 octets of kernel memory and 32 per CPU, taken at once.
    pub flows: u32,
    /// Silence of the daemon after which frames pass to the host.
    pub survive: Duration,
    pub mode: Mode,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            flows: 16 * 1024,
            survive: SILENCE,
            mode: Mode::Auto,
        }
    }
}

/// What was removed up to a moment, and waits for a grace period.
#[derive(Debug)]
pub struct Round(u64);

impl Round {
    /// Waits until every frame that was under way when the round began is through (0.1 ms; 5 to 16 on a busy machine).
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self) -> Result<(), Error> {
        grace::grace_period().map_err(|e| Error::new("wait for a grace period", e))
    }
}

/// What the program counted since it was loaded, over all ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub hit: u64,
    pub miss: u64,
    pub unparsed: u64,
    pub too_big: u64,
    /// Punts beyond the port's rate: dropped.
    pub limited: u64,
    /// Hits of flows without an output: dropped.
    pub drop: u64,
    /// Frames that passed to the host while the daemon was silent.
    pub silent: u64,
    /// Frames, or copies of them, that the kernel refused to change or send: dropped.
    pub error: u64,
}

impl Counters {
    /// By name, as `coverage` shows them.
    pub const fn named(&self) -> [(&'static str, u64); cpu::COUNTERS] {
        [
            ("kcache_hit", self.hit),
            ("kcache_miss", self.miss),
            ("kcache_unparsed", self.unparsed),
            ("kcache_too_big", self.too_big),
            ("kcache_punt_limited", self.limited),
            ("kcache_drop", self.drop),
            ("kcache_silent", self.silent),
            ("kcache_error", self.error),
        ]
    }
}

/// The loaded cache.
#[derive(Debug)]
pub struct KernelCache {
    table: Table<Mapped>,
    hook: Hook,
    ports: Arc<Ports>,
    cpus: Mapped,
    /// Where everything has names that outlive the daemon.
    pins: Option<Pins>,
    /// Links that could not get a name: they end with the process.
    unpinned: AtomicU64,
    /// In the order of their names. The program holds them too.
    maps: Vec<Map>,
}

impl AsRef<[AtomicU64]> for Mapped {
    fn as_ref(&self) -> &[AtomicU64] {
        self.words()
    }
}

impl KernelCache {
    /// Creates the maps and loads the program. `instance` as for [`crate::IngressDrop::open`]; `secret` is random, keys
    /// the hash and should differ from boot to boot. `now` (CLOCK_MONOTONIC) is the first heartbeat.
    ///
    /// # Errors
    /// Missing privileges or memory; a kernel that lacks what is needed; the verifier's refusal.
    pub fn open(
        instance: &str,
        options: &Options,
        secret: [u64; 2],
        now: Now,
    ) -> Result<Self, Error> {
        hook::check_instance(instance)?;
        little_endian()?;
        grace::grace_period().map_err(|e| Error::new("wait for a grace period", e))?;
        let shape = Shape::for_flows(options.flows, possible_cpus());
        let fail = |e| Error::new(LOAD, e);
        let (configs, config) = array(config::WORDS, 1, "rvs_config").map_err(fail)?;
        let (bucket_map, buckets) = array(WAYS, shape.buckets, "rvs_buckets").map_err(fail)?;
        let (entry_map, entries) =
            array(entry::WORDS, shape.entries, "rvs_entries").map_err(fail)?;
        let per_cpu = shape.entries.saturating_mul(shape.cpus);
        let (stat_map, stats) = array(stat::WORDS, per_cpu, "rvs_stats").map_err(fail)?;
        let (cpu_map, cpus) = array(cpu::WORDS, shape.cpus, "rvs_cpus").map_err(fail)?;
        let (port_map, ports) = array(port::WORDS, port::PLACES, "rvs_ports").map_err(fail)?;
        let insns = object::program(object::OBJECT, "tc/ingress", |name| {
            let map = match name {
                "config" => return Some((configs.as_fd(), MapRef::Value)),
                "buckets" => &bucket_map,
                "entries" => &entry_map,
                "stats" => &stat_map,
                "cpus" => &cpu_map,
                "ports" => &port_map,
                _ => return None,
            };
            Some((map.as_fd(), MapRef::Map))
        })
        .map_err(|cause| Error::Unsupported { op: LOAD, cause })?;
        let prog = program::load(&insns, "rvs_ingress")?;
        let hook = Hook::new(LOAD, prog, NAME, instance, options.mode)?;
        let table = Table::new(
            Arrays {
                config,
                buckets,
                entries,
                stats,
            },
            shape,
            secret,
        );
        table.set_config(config::ENTRIES_PUNT, pair(shape.entries, 0));
        table.set_config(config::MASKS_VLANS, pair(0, 1));
        let maps = vec![configs, bucket_map, entry_map, stat_map, cpu_map, port_map];
        let this = Self {
            table,
            hook,
            ports: Arc::new(Ports::new(ports)),
            cpus,
            pins: None,
            unpinned: AtomicU64::new(0),
            maps,
        };
        this.set_survive(options.survive);
        this.beat(now);
        Ok(this)
    }

    /// Whether it would load here. Nothing of it stays.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn probe() -> Result<(), Error> {
        Self::open("probe", &Options::default(), [0; 2], Now::ZERO).map(drop)
    }

    /// Says that the daemon lives: one store. To be called every [`BEAT_EVERY`].
    pub fn beat(&self, now: Now) {
        self.table.set_config(config::HEARTBEAT, now.0);
    }

    /// Takes every [`PortGuard::set_direct`] back: nobody looks for the moment whether ports may be direct.
    pub fn none_direct(&self) {
        self.ports.none_direct();
    }

    /// Where frames are handed up: the near end of the punt device. 0 turns handing up off; what is not decided here then
    /// passes to the host.
    pub fn set_punt_device(&self, ifindex: u32) {
        self.table.set_config(
            config::ENTRIES_PUNT,
            pair(self.table.shape().entries, ifindex),
        );
    }

    /// Tags that the parser looks behind: 1 or 2, the same as user space's. Flows installed under another limit are to be
    /// flushed by the caller.
    pub fn set_vlan_limit(&self, limit: u8) {
        let masks = self.table.config(config::MASKS_VLANS) as u32;
        self.table.set_config(
            config::MASKS_VLANS,
            pair(masks, u32::from(limit.clamp(1, 2))),
        );
    }

    /// Puts the program on a device of the calling thread's namespace, as port `dp_port`.
    ///
    /// # Errors
    /// No such device, attached already, no place for it.
    pub fn attach(
        &self,
        ifindex: u32,
        dp_port: DpPort,
        rate: PuntRate,
    ) -> Result<PortGuard, Error> {
        self.attach_over(ifindex, dp_port, rate, None)
    }

    /// The same in place of what a dead daemon left there.
    ///
    /// # Errors
    /// As [`Self::attach`]; what was there is gone then.
    pub fn attach_over(
        &self,
        ifindex: u32,
        dp_port: DpPort,
        rate: PuntRate,
        old: Option<OldLink>,
    ) -> Result<PortGuard, Error> {
        const OP: &str = "attach the kernel flow cache";
        let claim = self.ports.claim(OP, ifindex, dp_port, rate)?;
        let guard = self.attach_in_place(OP, ifindex, old)?;
        Ok(PortGuard::new(guard, claim))
    }

    /// Puts a flow into the kernel. One with the same id, or the same key and mask, is replaced. `out` tells the device of
    /// a port.
    ///
    /// # Errors
    /// Why the flow stays in user space.
    pub fn install(
        &mut self,
        flow: &Megaflow,
        out: impl Fn(DpPort) -> Option<OutPort>,
    ) -> Result<(), Refusal> {
        // A presence bit that counts and is 0: no frame of this flow has that layer.
        let absent = flow.mask.0.present.without(flow.key.present);
        let steps = encode::steps(&flow.actions, absent, out)?;
        self.table.install(flow.id, &flow.key, &flow.mask, &steps)
    }

    /// Makes a flow invisible to frames that arrive from now on; `false` if it is not here.
    pub fn remove(&mut self, id: FlowId) -> bool {
        self.table.remove(id)
    }

    /// Makes every flow invisible, at once.
    pub fn flush(&mut self) {
        self.table.flush();
    }

    /// Whether [`Self::reap`] has something to do.
    pub fn has_limbo(&self) -> bool {
        self.table.has_limbo()
    }

    /// Waits until no frame is under way through a removed flow (milliseconds; at once if nothing was removed), frees
    /// their places, and returns what each of them carried in the end.
    ///
    /// # Errors
    /// The kernel's; nothing is freed then.
    pub fn reap(&mut self) -> Result<Vec<(FlowId, FlowSnapshot)>, Error> {
        if !self.has_limbo() {
            return Ok(Vec::new());
        }
        let round = self.begin_reap();
        round.wait()?;
        Ok(self.end_reap(&round))
    }

    /// First part of [`Self::reap`], for callers that share the cache: they let go of it, wait, and come back with the
    /// round for [`Self::end_reap`].
    pub fn begin_reap(&mut self) -> Round {
        Round(self.table.end_round())
    }

    /// Last part of [`Self::reap`]: for what had been removed when the round began. The caller has waited.
    pub fn end_reap(&mut self, round: &Round) -> Vec<(FlowId, FlowSnapshot)> {
        self.table.release(round.0)
    }

    /// Flows in the kernel, those that wait for [`Self::reap`] not counted.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn contains(&self, id: FlowId) -> bool {
        self.table.contains(id)
    }

    /// Flows that find room.
    pub const fn capacity(&self) -> usize {
        self.table.shape().entries.saturating_sub(1) as usize
    }

    /// Changes [`Options::survive`].
    pub fn set_survive(&self, survive: Duration) {
        let survive = u64::try_from(survive.as_nanos()).unwrap_or(u64::MAX >> 1);
        self.table
            .set_config(config::SURVIVE, survive.min(u64::MAX >> 1));
    }

    /// What a flow has carried in the kernel so far. A super-frame counts as its segments.
    pub fn stats(&self, id: FlowId) -> Option<FlowSnapshot> {
        self.table.stats(id)
    }

    /// Every flow with its figures; no system call.
    pub fn all_stats(&self) -> impl Iterator<Item = (FlowId, FlowSnapshot)> + '_ {
        self.table.all_stats()
    }

    /// The masks in the order in which they are asked, with the number of their flows.
    pub fn masks(&self) -> impl Iterator<Item = (&Mask<FlowKey>, u32)> + '_ {
        self.table.masks()
    }

    /// Lets the masks whose flows carried most be asked first.
    pub fn rank_masks(&mut self) {
        self.table.rank();
    }

    pub fn counters(&self) -> Counters {
        let mut sum = [0u64; cpu::COUNTERS];
        for cpu in self.cpus.words().chunks(cpu::WORDS) {
            for (sum, word) in sum.iter_mut().zip(cpu) {
                *sum = sum.wrapping_add(word.load(Ordering::Relaxed));
            }
        }
        let [hit, miss, unparsed, too_big, limited, drop, silent, error] = sum;
        Counters {
            hit,
            miss,
            unparsed,
            too_big,
            limited,
            drop,
            silent,
            error,
        }
    }

    /// The program's id, for [`crate::foreign_programs`].
    pub const fn prog_id(&self) -> u32 {
        self.hook.prog_id()
    }

    /// Has the kernel time all eBPF programs of the machine for as long as the descriptor is open. Costs each run two readings
    /// of the clock.
    ///
    /// # Errors
    /// The kernel's: before Linux 5.8 it cannot.
    pub fn time_programs() -> io::Result<OwnedFd> {
        bpf::enable_stats()
    }

    /// Nanoseconds and runs of the program while programs were timed; the helpers that it called are in them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn run_time(&self) -> io::Result<(u64, u64)> {
        program::run_time(self.hook.prog())
    }

    /// Runs the program on a frame as if it had come from the device, `repeat` times, without sending it. Returns what
    /// became of it. For benchmarks and self-tests.
    ///
    /// # Errors
    /// The kernel's: frames that end in the Ethernet header, or in the IP header behind it, or are longer than about a page.
    pub fn run(&self, frame: &[u8], ifindex: u32, repeat: u32) -> Result<Run, Error> {
        let mut skb = [0; 12];
        skb[probe::SKB_IFINDEX] = ifindex;
        let mut frame_after = vec![0; frame.len() + Punt::LEN];
        let (verdict, len, nanos) =
            bpf::test_run(self.hook.prog(), frame, &skb, repeat, &mut frame_after)
                .map_err(|e| Error::new("run the kernel flow cache", e))?;
        frame_after.truncate(len);
        Ok(Run {
            redirected: verdict == probe::TC_ACT_REDIRECT,
            frame: frame_after,
            nanos,
        })
    }
}

/// What the program did with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Sent on, or handed up, rather than dropped or passed to the host.
    pub redirected: bool,
    /// The frame afterwards, a tag beside it not included.
    pub frame: Vec<u8>,
    /// Of one run.
    pub nanos: u32,
}

/// An array map of `entries` elements of `words` words, and its mapping.
fn array(words: usize, entries: u32, name: &str) -> io::Result<(Map, Mapped)> {
    let octets = u32::try_from(words * 8).map_err(|_| io::ErrorKind::InvalidInput)?;
    let map = Map::create(attr::MAP_ARRAY, 4, octets, entries, attr::MMAPABLE, name)?;
    let all = NonZeroUsize::new(words * entries as usize).ok_or(io::ErrorKind::InvalidInput)?;
    let mapped = Mapped::new(map.as_fd(), all)?;
    Ok((map, mapped))
}

fn little_endian() -> Result<(), Error> {
    if cfg!(target_endian = "little") {
        return Ok(());
    }
    let cause = "the program is compiled for little-endian machines only".to_owned();
    Err(Error::Unsupported { op: LOAD, cause })
}

/// One more than the highest number a CPU can ever have.
fn possible_cpus() -> u32 {
    std::fs::read_to_string("/sys/devices/system/cpu/possible")
        .ok()
        .and_then(|list| list.trim().rsplit(['-', ',']).next()?.parse::<u32>().ok())
        .map_or(1, |last| last.saturating_add(1))
}
