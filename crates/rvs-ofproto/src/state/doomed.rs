//! Groups and meters that go, and with them the flows that refer to them, in slices.

use rvs_openflow::message::FlowRemovedReason;
use rvs_openflow::{GroupId, MeterId};

use super::index::FlowId;
use super::limits::SLICE;
use super::txn::Txn;
use crate::Plant;

#[derive(Clone, Copy)]
enum One {
    Group(GroupId),
    Meter(MeterId),
}

/// Groups and meters that are still to go, the next one last.
#[derive(Default)]
pub(super) struct Doomed(Vec<One>);

impl Doomed {
    pub(super) fn groups(ids: impl IntoIterator<Item = GroupId>) -> Self {
        Self(ids.into_iter().map(One::Group).collect())
    }

    pub(super) fn meters(ids: impl IntoIterator<Item = MeterId>) -> Self {
        Self(ids.into_iter().map(One::Meter).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<P: Plant> Txn<'_, P> {
    /// Takes all of them away at once.
    pub(super) fn remove_doomed(&mut self, mut doomed: Doomed) {
        while !self.remove_some(&mut doomed, &mut { usize::MAX }) {}
    }

    /// Takes some of them away, or of their flows; `left` is how many, and says afterwards how many more might have been. True
    /// when it is complete.
    pub(super) fn remove_some(&mut self, doomed: &mut Doomed, left: &mut usize) -> bool {
        while *left > 0 {
            let Some(one) = doomed.0.last().copied() else {
                return true;
            };
            let flows = self.referring(one, SLICE.min(*left));
            if flows.is_empty() {
                doomed.0.pop();
                *left -= 1;
                match one {
                    One::Group(id) => self.delete_group(id),
                    One::Meter(id) => self.delete_meter(id),
                }
                continue;
            }
            *left -= flows.len();
            self.remove_flows(&flows, one.why());
        }
        doomed.is_empty()
    }

    fn referring(&self, one: One, max: usize) -> Vec<FlowId> {
        match one {
            One::Group(id) => self.state.index.by_group(id).take(max).collect(),
            One::Meter(id) => self.state.index.by_meter(id).take(max).collect(),
        }
    }
}

impl One {
    fn why(self) -> FlowRemovedReason {
        match self {
            Self::Group(_) => FlowRemovedReason::GroupDelete,
            Self::Meter(_) => FlowRemovedReason::MeterDelete,
        }
    }
}
