//! Which flows a request means.

use std::sync::Arc;

use rvs_classifier::{Classifier, Filter, RuleId, RuleRef, Version};
use rvs_flow::{OfPort, PipelineKey};
use rvs_openflow::message::{FlowMod, FlowStatsRequest};
use rvs_openflow::{CookieMask, FlowMatch, GroupId, TableId};
use rvs_pipeline::Rule;

use super::uses::{forwards_to, outputs_to};

pub(super) type Rules = Classifier<PipelineKey, Arc<Rule>>;
pub(super) type Found<'a> = RuleRef<'a, PipelineKey, Arc<Rule>>;

/// Flows of `table` (or all) that are at least as specific as `matching` and satisfy every filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSelect {
    /// [`TableId::ALL`] for all.
    pub table: TableId,
    pub matching: FlowMatch,
    pub cookie: CookieMask,
    /// [`OfPort::ANY`] for no filter.
    pub out_port: OfPort,
    /// [`GroupId::ANY`] for no filter.
    pub out_group: GroupId,
}

impl FlowSelect {
    /// Every flow.
    pub fn all() -> Self {
        Self {
            table: TableId::ALL,
            matching: FlowMatch::any(),
            cookie: CookieMask::default(),
            out_port: OfPort::ANY,
            out_group: GroupId::ANY,
        }
    }

    /// True for every flow of whatever table it names.
    pub(super) fn is_all(&self) -> bool {
        Self {
            table: TableId::ALL,
            ..*self
        } == Self::all()
    }

    /// What a modify or delete means. Outputs restrict deletions alone.
    pub(super) fn of_mod(m: &FlowMod) -> Self {
        let filters = m.command.is_delete();
        Self {
            table: m.table,
            matching: m.matching,
            cookie: m.cookie,
            out_port: if filters { m.out_port } else { OfPort::ANY },
            out_group: if filters { m.out_group } else { GroupId::ANY },
        }
    }

    /// Every flow of that cookie in a table.
    pub(super) fn of_cookie(table: TableId, cookie: u64) -> Self {
        Self {
            table,
            cookie: CookieMask {
                value: cookie,
                mask: u64::MAX,
            },
            ..Self::all()
        }
    }

    /// What the classifier finds without looking at rules.
    pub(super) fn filter(&self) -> Filter<'_, PipelineKey> {
        if self.matching.is_any() {
            return Filter::All;
        }
        Filter::Loose {
            value: self.matching.value(),
            mask: self.matching.mask(),
        }
    }

    /// What is left to ask of the rule itself.
    pub(super) fn admits(&self, rule: &Rule) -> bool {
        let CookieMask { value, mask } = self.cookie;
        !rule.flags.hidden
            && (rule.cookie ^ value) & mask == 0
            && (self.out_port == OfPort::ANY || outputs_to(&rule.instructions, self.out_port))
            && (self.out_group == GroupId::ANY || forwards_to(&rule.instructions, self.out_group))
    }

    /// The one flow of exactly that match and priority.
    pub(super) fn strict(&self, rules: &Rules, version: Version, priority: u16) -> Option<RuleId> {
        find(rules, version, &self.matching, priority)
            .filter(|r| self.admits(r.payload()))
            .map(|r| r.id())
    }
}

impl From<&FlowStatsRequest> for FlowSelect {
    fn from(q: &FlowStatsRequest) -> Self {
        Self {
            table: q.table,
            matching: q.matching,
            cookie: q.cookie,
            out_port: q.out_port,
            out_group: q.out_group,
        }
    }
}

pub(super) fn find<'a>(
    rules: &'a Rules,
    version: Version,
    m: &FlowMatch,
    priority: u16,
) -> Option<Found<'a>> {
    rules.find_exact(version, m.value(), m.mask(), i32::from(priority))
}
