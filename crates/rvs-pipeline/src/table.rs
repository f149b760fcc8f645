//! Tables and their rules.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rvs_classifier::{Classifier, Config};
use rvs_flow::PipelineKey;
use rvs_openflow::{Action, Instructions, TableId};
use rvs_packet::Now;

use crate::bridge::add;

/// Lookups of tables in vain that have never had a rule, and so are not there to count them.
#[derive(Debug)]
pub struct Unused([AtomicU64; 256]);

impl Default for Unused {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; 256])
    }
}

impl Unused {
    pub fn count(&self, table: TableId, lookups: u64) {
        add(&self.0[usize::from(table.0)], lookups);
    }

    pub fn lookups(&self, table: TableId) -> u64 {
        self.0[usize::from(table.0)].load(Relaxed)
    }
}

/// Packets and octets. Written by whoever credits cached traffic, read by anybody.
#[derive(Debug, Default)]
pub struct Counters {
    packets: AtomicU64,
    bytes: AtomicU64,
    /// When the last packet came, in nanoseconds; 0 for never.
    used: AtomicU64,
}

impl Counters {
    /// Counts packets, the last of them at `used`.
    pub fn count(&self, packets: u64, bytes: u64, used: Now) {
        add(&self.packets, packets);
        add(&self.bytes, bytes);
        self.used.fetch_max(used.0, Relaxed);
    }

    pub fn packets(&self) -> u64 {
        self.packets.load(Relaxed)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// When the last packet came; zero for never.
    pub fn used(&self) -> Now {
        Now(self.used.load(Relaxed))
    }
}

/// `OFPFF_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RuleFlags {
    pub send_flow_removed: bool,
    pub check_overlap: bool,
    pub reset_counts: bool,
    pub no_packet_counts: bool,
    pub no_byte_counts: bool,
    /// Its add, or one before it, took the place of a flow with the same match and priority.
    pub replaces: bool,
    /// The switch's own, not shown to controllers.
    pub hidden: bool,
}

/// One flow of a table, without its match and priority, which the classifier holds. Immutable but for its counters and
/// timeouts; a modified flow is a new rule that shares the old one's counters.
#[derive(Debug)]
pub struct Rule {
    pub table: TableId,
    pub priority: u16,
    pub cookie: u64,
    pub importance: u16,
    pub flags: RuleFlags,
    pub created: Now,
    /// When its instructions were last changed.
    pub modified: Now,
    pub instructions: Instructions,
    pub counters: Arc<Counters>,
    /// Idle timeout in the upper half, hard timeout in the lower, in seconds: `fin_timeout` lowers them.
    timeouts: AtomicU32,
    /// When it was learned last: a learn action that finds its flow as it wants it makes that young again.
    learned: AtomicU64,
}

impl Rule {
    pub fn new(table: TableId, priority: u16, instructions: Instructions) -> Self {
        Self {
            table,
            priority,
            cookie: 0,
            importance: 0,
            flags: RuleFlags::default(),
            created: Now::ZERO,
            modified: Now::ZERO,
            instructions,
            counters: Arc::default(),
            timeouts: AtomicU32::new(0),
            learned: AtomicU64::new(0),
        }
    }

    /// Since when its hard timeout runs: its last change, or when it was learned last.
    pub fn young_since(&self) -> Now {
        self.modified.max(Now(self.learned.load(Relaxed)))
    }

    pub fn learned_again(&self, at: Now) {
        self.learned.fetch_max(at.0, Relaxed);
    }

    /// (idle, hard) in seconds; 0 for never.
    pub fn timeouts(&self) -> (u16, u16) {
        let t = self.timeouts.load(Relaxed);
        ((t >> 16) as u16, t as u16)
    }

    pub fn set_timeouts(&self, idle: u16, hard: u16) {
        self.timeouts
            .store(u32::from(idle) << 16 | u32::from(hard), Relaxed);
    }

    /// Lowers timeouts after a FIN or RST; 0 leaves one alone.
    pub fn lower_timeouts(&self, idle: u16, hard: u16) {
        let lower = |old: u16, new: u16| match (old, new) {
            (old, 0) => old,
            (0, new) => new,
            (old, new) => old.min(new),
        };
        let (i, h) = self.timeouts();
        self.set_timeouts(lower(i, idle), lower(h, hard));
    }

    /// True when the flow is nothing but clauses of conjunctions.
    pub fn is_clause(&self) -> bool {
        let clause = |a: &Action| matches!(a, Action::Conjunction { .. } | Action::Note(_));
        let conjunction = |a: &Action| matches!(a, Action::Conjunction { .. });
        self.instructions.apply.iter().any(conjunction)
            && self.instructions.apply.iter().all(clause)
    }
}

/// One table of a bridge. Shared by all versions of the world: readers look rules up at their version.
pub struct Table {
    pub id: TableId,
    rules: RwLock<Classifier<PipelineKey, Arc<Rule>>>,
    lookups: AtomicU64,
    matches: AtomicU64,
    /// Rules with conjunction actions; 0 makes lookups take the short way.
    clauses: AtomicU64,
}

impl Table {
    pub fn new(id: TableId, config: Config) -> Self {
        Self {
            id,
            rules: RwLock::new(Classifier::new(config)),
            lookups: AtomicU64::new(0),
            matches: AtomicU64::new(0),
            clauses: AtomicU64::new(0),
        }
    }

    /// The rules, for reading. Not held across anything that blocks.
    pub fn read(&self) -> RwLockReadGuard<'_, Classifier<PipelineKey, Arc<Rule>>> {
        // A writer that panicked has left whole versions behind it: versions are published one by one.
        self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rules, for the one writer.
    pub fn write(&self) -> RwLockWriteGuard<'_, Classifier<PipelineKey, Arc<Rule>>> {
        self.rules.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts lookups and those that found a rule.
    pub fn count(&self, lookups: u64, matches: u64) {
        add(&self.lookups, lookups);
        add(&self.matches, matches);
    }

    /// (lookups, matches)
    pub fn counters(&self) -> (u64, u64) {
        (self.lookups.load(Relaxed), self.matches.load(Relaxed))
    }

    /// To be called by the writer *before* a rule with [`Rule::is_clause`] is inserted.
    pub fn clause_added(&self) {
        add(&self.clauses, 1);
    }

    /// To be called by the writer after such a rule was purged.
    pub fn clause_purged(&self) {
        self.clauses.fetch_sub(1, Relaxed);
    }

    /// True while a rule with conjunction actions may be there.
    pub fn has_clauses(&self) -> bool {
        self.clauses.load(Relaxed) > 0
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({}, {} rules)", self.id.0, self.read().len())
    }
}

/// The tables of a bridge that have ever held a rule. A table that is not there is empty.
#[derive(Clone, Debug, Default)]
pub struct Tables(Vec<Option<Arc<Table>>>);

impl Tables {
    pub fn get(&self, id: TableId) -> Option<&Arc<Table>> {
        self.0.get(usize::from(id.0))?.as_ref()
    }

    /// These tables and one more.
    pub fn with(&self, table: Arc<Table>) -> Self {
        let mut all = self.0.clone();
        let at = usize::from(table.id.0);
        if all.len() <= at {
            all.resize(at + 1, None);
        }
        all[at] = Some(table);
        Self(all)
    }

    /// By number.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.0.iter().flatten()
    }
}
