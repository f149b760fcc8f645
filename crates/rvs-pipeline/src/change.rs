//! What a change of tables, groups and meters may have touched: for whoever keeps cached translations true.

use rvs_flow::{Match, PipelineKey};
use rvs_openflow::{GroupId, MeterId, TableId};

/// A rule that was added, changed or removed. Packets that it does not match, and packets that a rule of higher priority
/// decides, are translated as before.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleChange {
    pub table: TableId,
    pub priority: u16,
    pub matching: Match<PipelineKey>,
}

/// Everything about one bridge that differs between two versions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChangeSet {
    pub rules: Vec<RuleChange>,
    pub groups: Vec<GroupId>,
    pub meters: Vec<MeterId>,
    /// Something that every translation of the bridge rests on: settings, ports, what a table miss does.
    pub all: bool,
}

impl ChangeSet {
    /// Everything may be different.
    pub fn everything() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    pub fn is_empty(&self) -> bool {
        !self.all && self.rules.is_empty() && self.groups.is_empty() && self.meters.is_empty()
    }
}
