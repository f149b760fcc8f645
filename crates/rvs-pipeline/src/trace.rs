//! Telling what a translation does while it does it. `ofproto/trace` walks the very same code as the packets.

use rvs_dpif::DropReason;
use rvs_flow::{Match, OfPort, PipelineKey, SubField};
use rvs_openflow::{Action, GroupId, Instructions, TableId};

/// Hears of each step. The cheap implementer is compiled away.
pub trait Trace {
    /// Takes note of an event, `depth` levels down. `event` is called only if somebody listens.
    fn record(&mut self, depth: u16, event: impl FnOnce() -> TraceEvent);
}

/// One step of a translation.
#[derive(Clone, Debug, PartialEq)]
pub enum TraceEvent {
    /// Translation goes on in this bridge.
    Bridge { name: String, in_port: OfPort },
    /// A table was looked up and this rule matched.
    Rule {
        table: TableId,
        priority: u16,
        cookie: u64,
        matching: Box<Match<PipelineKey>>,
    },
    /// A table was looked up in vain.
    Miss { table: TableId },
    /// An action is about to run.
    Action(Action),
    /// An instruction other than actions to apply, alone.
    Instruction(Box<Instructions>),
    /// The action set is about to run.
    ActionSet,
    /// Bucket number `index` of a group is about to run; `chosen` from among others.
    Bucket {
        group: GroupId,
        index: usize,
        chosen: bool,
    },
    /// What an action did, in the words of the field's traces.
    Note(String),
    /// What it did, of which the field's traces say nothing.
    Aside(String),
    /// An action wrote `value` into this field, or part of one.
    Written { dst: SubField, value: u128 },
    /// The action set, after actions were written into it.
    ActionSetIs(Vec<Action>),
    /// The action set that was cleared.
    ActionSetWas(Vec<Action>),
    /// A copy, or the frame, goes nowhere.
    Drop(DropReason),
    /// The frame as the tables saw it last.
    Final { key: Box<PipelineKey> },
}

/// Nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTrace;

impl Trace for NoTrace {
    #[inline]
    fn record(&mut self, _depth: u16, _event: impl FnOnce() -> TraceEvent) {}
}

/// An event and how deep it lies.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceLine {
    pub depth: u16,
    pub event: TraceEvent,
}

/// Keeps every event, in order.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    pub lines: Vec<TraceLine>,
}

impl Recorder {
    /// Whether this action came to run.
    pub fn ran(&self, action: &Action) -> bool {
        let runs = |l: &TraceLine| matches!(&l.event, TraceEvent::Action(a) if a == action);
        self.lines.iter().any(runs)
    }
}

impl Trace for Recorder {
    fn record(&mut self, depth: u16, event: impl FnOnce() -> TraceEvent) {
        self.lines.push(TraceLine {
            depth,
            event: event(),
        });
    }
}
