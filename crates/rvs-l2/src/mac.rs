//! The MAC table of one bridge: where each (VLAN, address) was last heard.
//!
//! Independent learning per VLAN. Entries live in a slab; a hash map finds them, two intrusive lists (all dynamic entries
//! by age, and those of each port by age) make learning, refreshing, moving, ageing and evicting O(1). Only the choice of
//! the heaviest port is O(log ports), and only when an entry comes or goes.
//!
//! Every change of an answer that [`MacTable::lookup`] could have given is reported, because somebody may have cached a
//! decision that depended on it: [`Learned`] says new, moved, and who was evicted for it; [`MacTable::expire`] and
//! [`MacTable::flush`] return the keys they removed.
//!
//! Fairness: a full table evicts the oldest entry of the port with the most entries, so that a port that invents addresses
//! evicts its own; and once the table is 90 % full, a port that has half of it replaces its own oldest entry (not in tables
//! too small for a tenth to be a reserve).
//! Static entries are not evicted, do not age and do not move.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use rvs_packet::{MacAddr, Now, VlanId};

use crate::BundleId;

/// What is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FdbKey {
    pub vlan: VlanId,
    pub mac: MacAddr,
}

/// Limits of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacConfig {
    /// How long an entry lives without being refreshed (`other_config:mac-aging-time`).
    pub ageing: Duration,
    /// Dynamic entries at most (`other_config:mac-table-size`); at least 1.
    pub size: usize,
}

impl Default for MacConfig {
    fn default() -> Self {
        Self {
            ageing: Duration::from_secs(300),
            size: 8192,
        }
    }
}

impl MacConfig {
    /// Largest table that may be configured.
    pub const MAX_SIZE: usize = 1_000_000;
}

/// Whether a lesson comes from a gratuitous ARP: behind a bond such a frame may be our own, reflected by the other switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GratuitousArp {
    #[default]
    No,
    /// On a port that is no bond: true, and locks the entry against [`Self::OnBond`] for [`MacTable::ARP_LOCK`].
    OnPort,
    /// On a bond: believed unless the entry is locked.
    OnBond,
}

/// One frame's source address, heard on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lesson {
    pub key: FdbKey,
    pub port: BundleId,
    pub arp: GratuitousArp,
}

/// What a lesson changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// A new entry; `evicted` had to go for it.
    New {
        evicted: Option<FdbKey>,
    },
    Moved {
        from: BundleId,
    },
    /// Known, and younger now.
    Refreshed,
    /// The entry is static.
    Static,
    /// The entry is locked by a gratuitous ARP.
    ArpLocked,
    /// The address moves too often; the entry stays where it is for a while.
    Held,
    /// A multicast or zero source address is never learned.
    NotAnAddress,
}

impl Learned {
    /// True when a cached decision about the key may be wrong now.
    pub fn changed(&self) -> bool {
        matches!(self, Self::New { .. } | Self::Moved { .. })
    }
}

/// One entry, as `fdb/show` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacEntry {
    pub key: FdbKey,
    pub port: BundleId,
    pub is_static: bool,
    /// When the address was last heard.
    pub used: Now,
}

/// What [`MacTable::flush`] removes: entries that agree with every restriction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flush {
    pub port: Option<BundleId>,
    pub vlan: Option<VlanId>,
    /// Static entries too.
    pub statics: bool,
}

/// Counters since the table was made or they were cleared (`fdb/stats-show`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MacStats {
    pub learned: u64,
    pub expired: u64,
    pub evicted: u64,
    pub moved: u64,
    /// Lessons refused because the address moved too often.
    pub held: u64,
}

/// The table. See the head of the module.
#[derive(Debug)]
pub struct MacTable {
    config: MacConfig,
    index: HashMap<u64, u32, ahash::RandomState>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    all: List,
    ports: HashMap<BundleId, PortList, ahash::RandomState>,
    /// (entries, port) of every port that has a dynamic entry.
    by_weight: BTreeSet<(u32, BundleId)>,
    dynamic: usize,
    stats: MacStats,
}

const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct List {
    oldest: u32,
    youngest: u32,
}

impl List {
    const EMPTY: Self = Self {
        oldest: NIL,
        youngest: NIL,
    };
}

#[derive(Debug)]
struct PortList {
    list: List,
    len: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    older: u32,
    younger: u32,
}

#[derive(Debug)]
struct Slot {
    entry: MacEntry,
    locked_until: Now,
    /// Start of the current window of moves, and how many fell into it.
    moves_since: Now,
    moves: u8,
    held_until: Now,
    links: [Link; 2],
}

/// The two lists a dynamic slot is in.
const ALL: usize = 0;
const PORT: usize = 1;

impl MacTable {
    /// How long a gratuitous ARP on a plain port keeps a bond from claiming the address.
    pub const ARP_LOCK: Duration = Duration::from_secs(5);
    /// More moves than this within a second hold the entry where it is.
    pub const MAX_MOVES_PER_SECOND: u8 = 10;
    pub const HOLD: Duration = Duration::from_secs(5);
    /// Tables of this size have a reserve for ports that have few entries.
    pub const RESERVES: usize = 64;

    pub fn new(config: MacConfig) -> Self {
        Self {
            config: MacConfig {
                size: config.size.clamp(1, MacConfig::MAX_SIZE),
                ..config
            },
            index: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            all: List::EMPTY,
            ports: HashMap::default(),
            by_weight: BTreeSet::new(),
            dynamic: 0,
            stats: MacStats::default(),
        }
    }

    pub fn config(&self) -> MacConfig {
        self.config
    }

    /// Changes the limits; returns the keys that had to go because the table is smaller now.
    pub fn reconfigure(&mut self, config: MacConfig) -> Vec<FdbKey> {
        self.config = MacConfig {
            size: config.size.clamp(1, MacConfig::MAX_SIZE),
            ..config
        };
        let mut gone = Vec::new();
        while self.dynamic > self.config.size {
            gone.extend(self.evict(None));
        }
        gone
    }

    pub fn stats(&self) -> MacStats {
        self.stats
    }

    /// Counts from 0 again.
    pub fn clear_stats(&mut self) {
        self.stats = MacStats::default();
    }

    /// Entries, static ones included.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Where `mac` is in `vlan`, if known.
    #[inline]
    pub fn lookup(&self, vlan: VlanId, mac: MacAddr) -> Option<BundleId> {
        self.slot_of(FdbKey { vlan, mac })
            .map(|s| self.slots[s as usize].entry.port)
    }

    /// Everything known about an address.
    pub fn entry(&self, key: FdbKey) -> Option<MacEntry> {
        self.slot_of(key).map(|s| self.slots[s as usize].entry)
    }

    /// Takes note of where an address was heard. Lessons of cached traffic come late: an older `now` than the entry's makes
    /// it no older.
    pub fn learn(&mut self, now: Now, lesson: Lesson) -> Learned {
        let Lesson { key, port, arp } = lesson;
        if key.mac.is_multicast() || key.mac.is_zero() {
            return Learned::NotAnAddress;
        }
        let Some(s) = self.slot_of(key) else {
            let evicted = self.make_room(port);
            self.insert(
                MacEntry {
                    key,
                    port,
                    is_static: false,
                    used: now,
                },
                lock_of(now, arp),
            );
            self.stats.learned += 1;
            return Learned::New { evicted };
        };
        let slot = &mut self.slots[s as usize];
        if slot.entry.is_static {
            return Learned::Static;
        }
        match arp {
            GratuitousArp::OnBond if now < slot.locked_until => return Learned::ArpLocked,
            GratuitousArp::OnPort => slot.locked_until = lock_of(now, arp),
            GratuitousArp::OnBond | GratuitousArp::No => {}
        }
        let from = slot.entry.port;
        if from == port {
            self.touch(s, now);
            return Learned::Refreshed;
        }
        if !slot.may_move(now) {
            self.stats.held += 1;
            return Learned::Held;
        }
        self.unlink_port(s);
        self.slots[s as usize].entry.port = port;
        self.link_port(s);
        self.touch(s, now);
        self.stats.moved += 1;
        Learned::Moved { from }
    }

    /// Pins an address to a port (`fdb/add`). Returns true when an answer of [`Self::lookup`] changed.
    pub fn add_static(&mut self, now: Now, key: FdbKey, port: BundleId) -> bool {
        let before = self.lookup(key.vlan, key.mac);
        self.remove(key);
        self.insert(
            MacEntry {
                key,
                port,
                is_static: true,
                used: now,
            },
            Now::ZERO,
        );
        before != Some(port)
    }

    /// Forgets one address (`fdb/del`), static or not. Returns whether it was there.
    pub fn remove(&mut self, key: FdbKey) -> bool {
        match self.slot_of(key) {
            Some(s) => {
                self.delete(s);
                true
            }
            None => false,
        }
    }

    /// Removes what was not heard for the ageing time; returns the keys. To be called about once a second.
    pub fn expire(&mut self, now: Now) -> Vec<FdbKey> {
        let mut gone = Vec::new();
        while self.all.oldest != NIL {
            let entry = self.slots[self.all.oldest as usize].entry;
            if now.since(entry.used) < self.config.ageing {
                break;
            }
            self.delete(self.all.oldest);
            gone.push(entry.key);
        }
        self.stats.expired += gone.len() as u64;
        gone
    }

    /// When [`Self::expire`] has something to do next.
    pub fn next_expiry(&self) -> Option<Now> {
        (self.all.oldest != NIL)
            .then(|| self.slots[self.all.oldest as usize].entry.used + self.config.ageing)
    }

    /// Removes the entries that `what` names; returns the keys.
    pub fn flush(&mut self, what: Flush) -> Vec<FdbKey> {
        let doomed: Vec<FdbKey> = self
            .iter()
            .filter(|e| what.statics || !e.is_static)
            .filter(|e| what.port.is_none_or(|p| p == e.port))
            .filter(|e| what.vlan.is_none_or(|v| v == e.key.vlan))
            .map(|e| e.key)
            .collect();
        for key in &doomed {
            self.remove(*key);
        }
        doomed
    }

    /// Every entry, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = MacEntry> + '_ {
        self.index.values().map(|s| self.slots[*s as usize].entry)
    }

    /// Dynamic entries of one port.
    pub fn port_len(&self, port: BundleId) -> usize {
        self.ports.get(&port).map_or(0, |p| p.len as usize)
    }

    #[inline]
    fn slot_of(&self, key: FdbKey) -> Option<u32> {
        self.index.get(&packed(key)).copied()
    }

    /// Evicts what must go before `port` may have one entry more.
    fn make_room(&mut self, port: BundleId) -> Option<FdbKey> {
        let size = self.config.size;
        if self.dynamic >= size {
            return self.evict(None);
        }
        let own = self.port_len(port);
        let crowded = size >= Self::RESERVES && self.dynamic * 10 >= size * 9;
        (crowded && own > 0 && own * 2 >= size)
            .then(|| self.evict(Some(port)))
            .flatten()
    }

    /// Removes the oldest entry of `port`, or of the port that has the most.
    fn evict(&mut self, port: Option<BundleId>) -> Option<FdbKey> {
        let port = port.or_else(|| self.by_weight.last().map(|(_, p)| *p))?;
        let s = self.ports.get(&port)?.list.oldest;
        let key = self.slots.get(s as usize)?.entry.key;
        self.delete(s);
        self.stats.evicted += 1;
        Some(key)
    }

    fn insert(&mut self, entry: MacEntry, locked_until: Now) {
        let slot = Slot {
            entry,
            locked_until,
            moves_since: Now::ZERO,
            moves: 0,
            held_until: Now::ZERO,
            links: [Link {
                older: NIL,
                younger: NIL,
            }; 2],
        };
        let s = match self.free.pop() {
            Some(s) => {
                self.slots[s as usize] = slot;
                s
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.index.insert(packed(entry.key), s);
        if !entry.is_static {
            append(&mut self.slots, &mut self.all, ALL, s);
            self.link_port(s);
            self.dynamic += 1;
        }
    }

    fn delete(&mut self, s: u32) {
        let entry = self.slots[s as usize].entry;
        self.index.remove(&packed(entry.key));
        if !entry.is_static {
            unlink(&mut self.slots, &mut self.all, ALL, s);
            self.unlink_port(s);
            self.dynamic -= 1;
        }
        self.free.push(s);
    }

    /// Makes a dynamic entry the youngest of both its lists.
    fn touch(&mut self, s: u32, now: Now) {
        let used = &mut self.slots[s as usize].entry.used;
        *used = (*used).max(now);
        unlink(&mut self.slots, &mut self.all, ALL, s);
        append(&mut self.slots, &mut self.all, ALL, s);
        if let Some(p) = self.ports.get_mut(&self.slots[s as usize].entry.port) {
            unlink(&mut self.slots, &mut p.list, PORT, s);
            append(&mut self.slots, &mut p.list, PORT, s);
        }
    }

    fn link_port(&mut self, s: u32) {
        let port = self.slots[s as usize].entry.port;
        let p = self.ports.entry(port).or_insert(PortList {
            list: List::EMPTY,
            len: 0,
        });
        append(&mut self.slots, &mut p.list, PORT, s);
        self.by_weight.remove(&(p.len, port));
        p.len += 1;
        self.by_weight.insert((p.len, port));
    }

    fn unlink_port(&mut self, s: u32) {
        let port = self.slots[s as usize].entry.port;
        let Some(p) = self.ports.get_mut(&port) else {
            return;
        };
        unlink(&mut self.slots, &mut p.list, PORT, s);
        self.by_weight.remove(&(p.len, port));
        p.len -= 1;
        if p.len == 0 {
            self.ports.remove(&port);
        } else {
            self.by_weight.insert((p.len, port));
        }
    }
}

impl Slot {
    /// Counts a move; false while the address is held.
    fn may_move(&mut self, now: Now) -> bool {
        if now < self.held_until {
            return false;
        }
        if now.since(self.moves_since) >= Duration::from_secs(1) {
            self.moves_since = now;
            self.moves = 0;
        }
        if self.moves >= MacTable::MAX_MOVES_PER_SECOND {
            self.held_until = now + MacTable::HOLD;
            return false;
        }
        self.moves += 1;
        true
    }
}

fn lock_of(now: Now, arp: GratuitousArp) -> Now {
    match arp {
        GratuitousArp::OnPort => now + MacTable::ARP_LOCK,
        GratuitousArp::No | GratuitousArp::OnBond => Now::ZERO,
    }
}

fn packed(key: FdbKey) -> u64 {
    u64::from(key.vlan.get()) << 48 | key.mac.to_u64()
}

fn append(slots: &mut [Slot], list: &mut List, which: usize, s: u32) {
    slots[s as usize].links[which] = Link {
        older: list.youngest,
        younger: NIL,
    };
    match list.youngest {
        NIL => list.oldest = s,
        y => slots[y as usize].links[which].younger = s,
    }
    list.youngest = s;
}

fn unlink(slots: &mut [Slot], list: &mut List, which: usize, s: u32) {
    let Link { older, younger } = slots[s as usize].links[which];
    match older {
        NIL => list.oldest = younger,
        o => slots[o as usize].links[which].younger = younger,
    }
    match younger {
        NIL => list.youngest = older,
        y => slots[y as usize].links[which].older = older,
    }
}

#[cfg(test)]
mod tests;
