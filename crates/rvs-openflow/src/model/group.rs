//! Groups and their buckets.

use rvs_flow::field::FieldId;
use rvs_flow::OfPort;

use super::Action;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

impl GroupId {
    /// `OFPG_MAX`.
    pub const MAX: Self = Self(0xffff_ff00);
    /// `OFPG_ALL`, in requests.
    pub const ALL: Self = Self(0xffff_fffc);
    /// `OFPG_ANY`, in requests.
    pub const ANY: Self = Self(0xffff_ffff);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupKind {
    /// Every bucket gets its own copy.
    All,
    /// One bucket, by a hash of the frame and the buckets' weights.
    Select,
    /// The one bucket.
    Indirect,
    /// The first live bucket.
    FastFailover,
}

/// How a select group chooses (`NTR_SELECTION_METHOD`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Selection {
    /// Addresses and ports of the flow.
    #[default]
    Default,
    /// `dp_hash`: the datapath's hash of the flow; `param` is its basis.
    DpHash { param: u64 },
    /// `hash`: these fields under these masks; none listed means the default's.
    Hash {
        param: u64,
        fields: Box<[(FieldId, u128)]>,
    },
}

/// One alternative of a group. Its actions are a set: they run in the order of the specification.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// Unique within the group (OpenFlow 1.5); numbered by the switch for earlier versions.
    pub id: u32,
    /// Share of a select group; 0 gets nothing.
    pub weight: u16,
    /// The bucket is live while this port is.
    pub watch_port: Option<OfPort>,
    /// The bucket is live while this group has a live bucket.
    pub watch_group: Option<GroupId>,
    pub actions: Box<[Action]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    pub id: GroupId,
    pub kind: GroupKind,
    pub selection: Selection,
    pub buckets: Box<[Bucket]>,
}
