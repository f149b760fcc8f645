//! The answer of a translation: what the caches shall do, for which packets, what else has to happen, and what it rests on.

use std::sync::Arc;

use ahash::AHashMap;
use rvs_dpif::{Actions, DpAction, DropReason, PuntReason};
use rvs_flow::{FlowKey, Mask, Match, OfPort, PipelineKey};
use rvs_l2::{FdbKey, Lesson};
use rvs_openflow::{
    Action, ActionSet, ControllerId, GroupId, Instructions, MeterId, PacketInReason, TableId,
};

use crate::bridge::{BridgeId, GroupEntry};
use crate::ports::PortTraffic;
use crate::table::{Rule, Table, Unused};

/// What translating one key gave.
///
/// `Punt` and `Recirc` actions in `actions` number their contexts from 0: the cookie of a punt is an index into `notes`,
/// the id of a recirculation one into `frozen`. [`Self::bind`] gives them the numbers that the slow path hands out. Two
/// translations are the same exactly when everything here but `effects` and `deps` is, before binding.
#[derive(Debug)]
pub struct Translation {
    /// Empty means drop.
    pub actions: Vec<DpAction>,
    /// Every bit of the key that was consulted. All keys that agree on them translate to the same actions.
    pub mask: Mask<FlowKey>,
    /// What every frame does beside being forwarded, cached or not.
    pub effects: Vec<CachedEffect>,
    /// What to do with the copies that `actions` punt.
    pub notes: Vec<PuntNote>,
    /// What to go on with when frames recirculate.
    pub frozen: Vec<FrozenState>,
    /// False when the answer holds for this one packet only.
    pub cacheable: bool,
    /// Why the packet goes nowhere, when it goes nowhere.
    pub drop: Option<DropReason>,
    pub deps: Deps,
}

impl Translation {
    /// Replaces the numbers of notes and frozen states in the actions by those that the functions give.
    pub fn bind(
        &mut self,
        mut note: impl FnMut(usize) -> u64,
        mut frozen: impl FnMut(usize) -> u32,
    ) {
        bind_list(&mut self.actions, &mut note, &mut frozen);
    }
}

fn bind_list(
    list: &mut [DpAction],
    note: &mut impl FnMut(usize) -> u64,
    frozen: &mut impl FnMut(usize) -> u32,
) {
    fn nested(
        list: &mut Actions,
        note: &mut impl FnMut(usize) -> u64,
        frozen: &mut impl FnMut(usize) -> u32,
    ) {
        let mut copy = list.to_vec();
        bind_list(&mut copy, note, frozen);
        *list = copy.into();
    }
    for action in list {
        match action {
            DpAction::Punt { cookie, .. } => *cookie = note(*cookie as usize),
            DpAction::Recirc(id) => *id = frozen(*id as usize),
            DpAction::Clone(inner) => nested(inner, note, frozen),
            DpAction::CheckPktLen {
                larger, otherwise, ..
            } => {
                nested(larger, note, frozen);
                nested(otherwise, note, frozen);
            }
            _ => {}
        }
    }
}

/// Something that every frame of a flow does. A cached flow keeps these and replays them from its statistics.
#[derive(Clone, Debug)]
pub enum CachedEffect {
    /// The source address was heard. To be applied before the frame that caused it is forwarded.
    Learn { bridge: BridgeId, lesson: Lesson },
    /// A table was looked up; `rule` matched.
    TableHit {
        bridge: BridgeId,
        table: Arc<Table>,
        rule: Arc<Rule>,
    },
    /// A table was looked up in vain. `None` when the table has never had a rule; then `unused` counts it.
    TableMiss {
        bridge: BridgeId,
        id: TableId,
        table: Option<Arc<Table>>,
        unused: Arc<Unused>,
    },
    /// A group was used, and which bucket of it (all of them in turn for a group of kind all).
    GroupHit {
        bridge: BridgeId,
        group: Arc<GroupEntry>,
        bucket: Option<usize>,
    },
    /// The frame crossed a patch: sent by one port, received by the other.
    PatchHit {
        from: Arc<PortTraffic>,
        to: Arc<PortTraffic>,
    },
    /// A mirror has sent a copy of the frame.
    MirrorHit { traffic: Arc<PortTraffic> },
    /// A learn action: the flow is to be there, as young as the last frame.
    LearnFlow {
        bridge: BridgeId,
        flow: Arc<LearnedFlow>,
    },
    /// Timeouts of `rule` are to be lowered if the frames have FIN or RST among their TCP flags.
    FinTimeout {
        rule: Arc<Rule>,
        idle: u16,
        hard: u16,
    },
}

impl CachedEffect {
    /// Whether it makes no difference which of the two a frame is credited to.
    pub fn counts_as(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::TableHit { table, rule, .. },
                Self::TableHit {
                    table: t, rule: r, ..
                },
            ) => Arc::ptr_eq(table, t) && Arc::ptr_eq(&rule.counters, &r.counters),
            (
                Self::TableMiss {
                    table, id, unused, ..
                },
                Self::TableMiss {
                    table: t,
                    id: i,
                    unused: u,
                    ..
                },
            ) => match (table, t) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (a, b) => a.is_none() && b.is_none() && id == i && Arc::ptr_eq(unused, u),
            },
            (
                Self::GroupHit { group, bucket, .. },
                Self::GroupHit {
                    group: g,
                    bucket: b,
                    ..
                },
            ) => Arc::ptr_eq(group, g) && bucket == b,
            (Self::PatchHit { from, to }, Self::PatchHit { from: f, to: t }) => {
                Arc::ptr_eq(from, f) && Arc::ptr_eq(to, t)
            }
            (Self::MirrorHit { traffic }, Self::MirrorHit { traffic: t }) => {
                Arc::ptr_eq(traffic, t)
            }
            (
                Self::Learn { bridge, lesson },
                Self::Learn {
                    bridge: b,
                    lesson: l,
                },
            ) => (bridge, lesson) == (b, l),
            _ => false,
        }
    }
}

/// A flow that a learn action makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedFlow {
    pub table: TableId,
    pub priority: u16,
    pub cookie: u64,
    pub matching: Match<PipelineKey>,
    pub instructions: Instructions,
    /// Seconds; 0 for never.
    pub idle_timeout: u16,
    pub hard_timeout: u16,
    pub send_flow_removed: bool,
    /// The flow goes when the flow that taught it goes.
    pub delete_learned: bool,
    /// No more than this many flows of that cookie in that table; 0 for no limit.
    pub limit: u32,
    /// The actions of a flow itself taught it, not a bucket's, nor a controller's: a flow that teaches such is to be there still when
    /// it is made.
    pub by_flow: bool,
}

/// What to do with a punted copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PuntNote {
    PacketIn(Box<PacketInNote>),
    /// A protocol of the switch itself.
    Protocol {
        bridge: BridgeId,
        port: OfPort,
    },
}

impl PuntNote {
    pub fn reason(&self) -> PuntReason {
        match self {
            Self::PacketIn(_) => PuntReason::Controller,
            Self::Protocol { .. } => PuntReason::Protocol,
        }
    }
}

/// A copy for the controllers of a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PacketInNote {
    pub bridge: BridgeId,
    pub table: TableId,
    /// Of the flow that sent it; all ones where there is none.
    pub cookie: u64,
    /// No flow at all sent it: a table was missed that has no table-miss flow.
    pub miss: bool,
    /// A table-miss flow sends it: controllers of versions that know of none are told of an action.
    pub miss_flow: bool,
    pub reason: PacketInReason,
    /// Octets of the frame to send; 0xffff for all.
    pub max_len: u16,
    pub controller: ControllerId,
    pub userdata: Box<[u8]>,
    pub meter: Option<MeterId>,
    /// The pipeline's own fields at that moment (input port, metadata, registers, tunnel id); `flow` is not meant.
    pub fields: PipelineKey,
    /// What to go on with when the controller resumes it.
    pub paused: Option<Box<FrozenState>>,
}

impl PacketInNote {
    /// The cookie that controllers are told: Open vSwitch has one of 0 for a miss without a flow.
    pub fn told_cookie(&self) -> u64 {
        if self.miss {
            0
        } else {
            self.cookie
        }
    }
}

/// A translation that stopped in the middle, to go on with a frame parsed anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FrozenState {
    pub bridge: BridgeId,
    /// The pipeline's own fields; `flow` is not meant.
    pub fields: PipelineKey,
    pub stack: Vec<u128>,
    pub action_set: ActionSet,
    /// What is left to do, innermost first.
    pub rest: Vec<FrozenRest>,
    /// Table and cookie of the first rule, for which the action set speaks.
    pub first: Option<(TableId, u64)>,
    /// The action set is executed at the end.
    pub run_set: bool,
    /// Two tags are to be seen whatever the VLAN limit: the pipeline itself has pushed one of them.
    pub two_tags: bool,
    /// The frame has not arrived yet: mirrors of the input port want their copies.
    pub arriving: bool,
    /// Mirrors that have had their copies, as bits by bridge.
    pub mirrored: Vec<(BridgeId, u32)>,
    /// Of the queue that was chosen; 0: none.
    pub priority: u32,
}

impl FrozenState {
    /// Where a packet-out starts: `actions` in `bridge`, as if the packet had come from `in_port` (often
    /// [`OfPort::CONTROLLER`] or [`OfPort::ANY`]).
    pub fn packet_out(bridge: BridgeId, in_port: OfPort, actions: Vec<Action>) -> Self {
        let fields = PipelineKey {
            of_port: in_port.0,
            actset_output: OfPort::UNSET.0,
            ..PipelineKey::default()
        };
        let rest = FrozenRest {
            table: TableId(0),
            cookie: u64::MAX,
            reason: PacketInReason::PacketOut,
            actions,
            then: FrozenThen::Next,
        };
        Self {
            bridge,
            fields,
            stack: Vec::new(),
            action_set: ActionSet::default(),
            rest: vec![rest],
            first: None,
            run_set: true,
            two_tags: false,
            arriving: true,
            mirrored: Vec::new(),
            priority: 0,
        }
    }
}

/// A tail of one rule's actions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FrozenRest {
    pub table: TableId,
    pub cookie: u64,
    /// Why an output to the controller is a packet-in.
    pub reason: PacketInReason,
    pub actions: Vec<Action>,
    /// The table to go to after the actions.
    pub then: FrozenThen,
}

/// What comes after a tail of actions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum FrozenThen {
    /// The next tail.
    #[default]
    Next,
    /// The rest of the rule's instructions: write, metadata, goto; without a goto the action set.
    Instructions(Box<Instructions>),
}

/// Frozen states by recirculation id.
pub type FrozenStates = AHashMap<u32, Arc<FrozenState>>;

/// A MAC table entry, or its absence, that a translation rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacDep {
    pub bridge: BridgeId,
    pub key: FdbKey,
}

/// A lookup that a translation rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableDep {
    pub bridge: BridgeId,
    pub table: TableId,
    /// Of the rule that decided; `None` for a miss. A change of rules below it changes nothing.
    pub priority: Option<u16>,
    /// Words of [`PipelineKey`] that were rewritten before the lookup, as bits: there the entry's key says nothing about
    /// what the table saw.
    pub rewritten: u32,
}

/// A group that a translation rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupDep {
    pub bridge: BridgeId,
    pub group: GroupId,
}

/// What a translation rests on. While none of it changes, the translation stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deps {
    /// Bridges visited: their ports, VLANs and settings.
    pub bridges: Vec<BridgeId>,
    pub tables: Vec<TableDep>,
    pub macs: Vec<MacDep>,
    pub groups: Vec<GroupDep>,
    pub meters: Vec<(BridgeId, MeterId)>,
}

impl Deps {
    /// The addresses asked for.
    pub fn macs(&self) -> impl Iterator<Item = MacDep> + '_ {
        self.macs.iter().copied()
    }

    /// Everything of `other` too.
    pub fn merge(&mut self, other: &Self) {
        fn union<T: Copy + PartialEq>(into: &mut Vec<T>, from: &[T]) {
            for x in from {
                push(into, *x);
            }
        }
        union(&mut self.bridges, &other.bridges);
        union(&mut self.tables, &other.tables);
        union(&mut self.macs, &other.macs);
        union(&mut self.groups, &other.groups);
        union(&mut self.meters, &other.meters);
    }
}

/// Adds what is not there yet.
pub(crate) fn push<T: PartialEq>(list: &mut Vec<T>, x: T) {
    if !list.contains(&x) {
        list.push(x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A patch that leads to another bridge now: a frame is credited to the table that it missed there.
    #[test]
    fn misses_of_tables_without_rules_differ_by_bridge() {
        let miss = |bridge, id, unused: &Arc<Unused>| CachedEffect::TableMiss {
            bridge: BridgeId(bridge),
            id: TableId(id),
            table: None,
            unused: unused.clone(),
        };
        let (one, other) = (Arc::<Unused>::default(), Arc::default());
        let this = miss(1, 0, &one);
        assert!(this.counts_as(&miss(1, 0, &one)));
        assert!(!this.counts_as(&miss(1, 1, &one)));
        assert!(!this.counts_as(&miss(2, 0, &other)));
    }
}
