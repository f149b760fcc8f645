//! What NORMAL remembers and decides: VLAN membership, the MAC table, spanning trees.
//!
//! Everything here is sans-I/O: pure functions ([`vlan`]) and state machines that take [`rvs_packet::Now`] and return what
//! changed ([`mac`], [`spanning`]), so that the caller can put right what it had cached.
#![forbid(unsafe_code)]

pub mod mac;
pub mod spanning;
pub mod vlan;

pub use mac::{
    FdbKey, Flush, GratuitousArp, Learned, Lesson, MacConfig, MacEntry, MacStats, MacTable,
};
pub use vlan::{
    Inside, LookBehind, PriorityTags, Tag, TagEdit, TagStack, VlanDrop, VlanMode, VlanSet,
};

/// A port as NORMAL sees it: one interface or a bond of several. Unique within its bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId(pub u32);
