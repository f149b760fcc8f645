//! The learn action: a flow that makes flows out of the frames it sees.

use rvs_flow::field::SubField;

use super::TableId;

/// `learn(...)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Learn {
    pub table: TableId,
    pub priority: u16,
    pub cookie: u64,
    /// Seconds; 0 for never.
    pub idle_timeout: u16,
    pub hard_timeout: u16,
    /// Timeouts after a TCP FIN or RST; 0 leaves them.
    pub fin_idle_timeout: u16,
    pub fin_hard_timeout: u16,
    pub send_flow_removed: bool,
    /// The learned flows go when this flow goes.
    pub delete_learned: bool,
    /// Learned flows at most; 0 for no limit.
    pub limit: u32,
    /// Gets 1 when the flow was learned or known, 0 when the limit forbids it.
    pub result: Option<SubField>,
    pub specs: Box<[LearnSpec]>,
}

/// One part of the learned flow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LearnSpec {
    pub src: LearnSrc,
    pub dst: LearnDst,
}

/// Where the bits come from; as many as the destination has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LearnSrc {
    /// Of the frame that is being looked at.
    Field(SubField),
    Value(u128),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LearnDst {
    /// The learned flow matches the bits.
    Match(SubField),
    /// The learned flow loads the bits.
    Load(SubField),
    /// The learned flow outputs to the port of that number.
    Output,
}
