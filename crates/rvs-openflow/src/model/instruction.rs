//! Instructions of a flow. Their order is fixed by the specification (OpenFlow 1.3.5 section 5.9), so they are a record,
//! not a list.

use super::{Action, MeterId, StatTrigger};

/// A table of a bridge, 0..=253 for flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u8);

impl TableId {
    /// Last table that holds flows.
    pub const MAX: Self = Self(253);
    /// `OFPTT_ALL`: every table, in requests.
    pub const ALL: Self = Self(0xff);
}

/// `metadata = (metadata & !mask) | (value & mask)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MetadataWrite {
    pub value: u64,
    pub mask: u64,
}

/// What a matching flow does, in the order in which it is done. All absent is drop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Instructions {
    pub meter: Option<MeterId>,
    /// OpenFlow 1.0 actions are these.
    pub apply: Box<[Action]>,
    /// Empties the action set.
    pub clear: bool,
    /// Merged into the action set.
    pub write: Box<[Action]>,
    pub metadata: Option<Box<MetadataWrite>>,
    /// Nothing that packets see.
    pub stat_trigger: Option<Box<StatTrigger>>,
    pub goto: Option<TableId>,
}

impl Instructions {
    /// Nothing but actions.
    pub fn apply(actions: impl Into<Box<[Action]>>) -> Self {
        Self {
            apply: actions.into(),
            ..Self::default()
        }
    }

    pub fn is_empty(&self) -> bool {
        self.apply.is_empty() && self.is_only_apply()
    }

    /// True when there is nothing but actions to apply, if any.
    pub fn is_only_apply(&self) -> bool {
        let others = self.meter.is_some() || self.metadata.is_some() || self.goto.is_some();
        !others && !self.clear && self.write.is_empty() && self.stat_trigger.is_none()
    }
}

/// The action set that a frame carries from table to table: at most one action of each kind, executed in the order of the
/// specification (OpenFlow 1.3.5 section 5.10), whatever the order of writing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ActionSet {
    /// Sorted by [`slot`]; set-field actions one per field, in the order of writing.
    actions: Vec<(u8, Action)>,
}

impl ActionSet {
    pub fn clear(&mut self) {
        self.actions.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Adds each action, replacing one of the same kind. Actions that can't be in a set are ignored (the codec refuses
    /// them).
    pub fn write(&mut self, actions: &[Action]) {
        for a in actions {
            let Some(slot) = slot(a) else {
                continue;
            };
            self.actions
                .retain(|(s, old)| *s != slot || !covers(a, old));
            let at = self.actions.partition_point(|(s, _)| *s <= slot);
            self.actions.insert(at, (slot, a.clone()));
        }
    }

    /// The actions in the order of execution. Of group, output and resubmit (Open vSwitch's extension) the first that
    /// is there counts alone; without any the frame is dropped.
    pub fn in_order(&self) -> impl Iterator<Item = &Action> + '_ {
        let finals = self.actions.iter().map(|(s, _)| *s);
        let last = finals.filter(|s| *s >= SLOT_GROUP).min();
        self.actions
            .iter()
            .filter(move |(s, _)| *s < SLOT_GROUP || Some(*s) == last)
            .map(|(_, a)| a)
    }

    /// True when something in the set sends the frame somewhere.
    pub fn has_output(&self) -> bool {
        self.actions.iter().any(|(s, _)| *s >= SLOT_GROUP)
    }

    /// The port of the set's output, unless a group overrules it.
    pub fn output_port(&self) -> Option<rvs_flow::OfPort> {
        self.in_order().find_map(|a| match a {
            Action::Output { port, .. } | Action::OutputTruncated { port, .. } => Some(*port),
            _ => None,
        })
    }
}

impl Action {
    /// True for actions that an action set can hold.
    pub fn allowed_in_set(&self) -> bool {
        slot(self).is_some()
    }
}

const SLOT_POP: u8 = 1;
const SLOT_SET: u8 = 8;
const SLOT_GROUP: u8 = 11;
const SLOT_OUTPUT: u8 = 12;
const SLOT_RESUBMIT: u8 = 13;

/// Where a kind of action stands in the order of execution; `None` for actions that a set can't hold.
fn slot(a: &Action) -> Option<u8> {
    Some(match a {
        Action::CopyTtlIn => 0,
        Action::PopVlan | Action::PopMpls(_) | Action::PopPbb => SLOT_POP,
        Action::PushMpls(_) => 2,
        Action::PushPbb(_) => 3,
        Action::PushVlan(_) => 4,
        Action::CopyTtlOut => 5,
        Action::DecNwTtl(_) => 6,
        Action::DecMplsTtl => 7,
        Action::SetField(_)
        | Action::Load(_)
        | Action::Move { .. }
        | Action::SetVlanVid { .. }
        | Action::SetVlanPcp { .. }
        | Action::SetEthSrc(_)
        | Action::SetEthDst(_)
        | Action::SetNwSrc(_)
        | Action::SetNwDst(_)
        | Action::SetNwTos(_)
        | Action::SetNwEcn(_)
        | Action::SetNwTtl(_)
        | Action::SetTpSrc(_)
        | Action::SetTpDst(_)
        | Action::SetTunnel(_)
        | Action::SetMplsLabel(_)
        | Action::SetMplsTc(_)
        | Action::SetMplsTtl(_) => SLOT_SET,
        Action::SetQueue(_) | Action::PopQueue | Action::Enqueue { .. } => 9,
        Action::Meter(_) => 10,
        Action::Group(_) => SLOT_GROUP,
        Action::Output { .. }
        | Action::OutputTruncated { .. }
        | Action::OutputReg { .. }
        | Action::Controller(_) => SLOT_OUTPUT,
        Action::Resubmit { .. } => SLOT_RESUBMIT,
        _ => return None,
    })
}

/// True when `new` replaces `old`, an action of the same slot. There is one of each pop, and one set-field per field.
fn covers(new: &Action, old: &Action) -> bool {
    use Action::{Load, Move, SetField};
    match (new, old) {
        (SetField(a), SetField(b)) => a.field == b.field && b.mask & !a.mask == 0,
        (Load(a), Load(b)) => a.dst == b.dst,
        (Move { dst: a, .. }, Move { dst: b, .. }) => a == b,
        _ => {
            !matches!(slot(new), Some(SLOT_SET | SLOT_POP))
                || std::mem::discriminant(new) == std::mem::discriminant(old)
        }
    }
}

#[cfg(test)]
mod tests {
    use rvs_flow::{FieldId, OfPort};
    use rvs_packet::EtherType;

    use super::*;
    use crate::model::GroupId;

    fn order(set: &ActionSet) -> Vec<Action> {
        set.in_order().cloned().collect()
    }

    #[test]
    fn a_set_runs_in_the_order_of_the_specification() {
        let mut set = ActionSet::default();
        set.write(&[
            Action::output(OfPort(1)),
            Action::set(FieldId::EthDst, 1),
            Action::PushVlan(EtherType::VLAN),
            Action::PopMpls(EtherType::IPV4),
            Action::PopVlan,
            Action::DecNwTtl(Box::new([])),
            Action::CopyTtlIn,
        ]);
        set.write(&[Action::output(OfPort(2)), Action::set(FieldId::EthDst, 2)]);
        assert_eq!(
            order(&set),
            vec![
                Action::CopyTtlIn,
                Action::PopMpls(EtherType::IPV4),
                Action::PopVlan,
                Action::PushVlan(EtherType::VLAN),
                Action::DecNwTtl(Box::new([])),
                Action::set(FieldId::EthDst, 2),
                Action::output(OfPort(2)),
            ]
        );
    }

    #[test]
    fn a_group_overrules_an_output() {
        let mut set = ActionSet::default();
        set.write(&[Action::output(OfPort(1)), Action::Group(GroupId(7))]);
        assert_eq!(order(&set), vec![Action::Group(GroupId(7))]);
        assert_eq!(set.output_port(), None);
        assert!(set.has_output());
        let mut set = ActionSet::default();
        let resubmit = Action::Resubmit {
            port: None,
            table: Some(crate::model::TableId(9)),
        };
        set.write(std::slice::from_ref(&resubmit));
        assert_eq!(order(&set), vec![resubmit.clone()]);
        set.write(&[Action::output(OfPort(1)), resubmit]);
        assert_eq!(order(&set), vec![Action::output(OfPort(1))]);
    }
}
