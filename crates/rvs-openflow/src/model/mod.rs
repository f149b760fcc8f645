//! The version-free vocabulary: one type for what several versions of OpenFlow (and Nicira's extensions) encode in several
//! ways. The codec turns bytes into these values, checked; the pipeline interprets them; nothing here knows a wire format.
//!
//! Ports are [`rvs_flow::OfPort`] in the 32-bit numbering, fields are [`rvs_flow::field::FieldId`]s. Where two encodings
//! mean the same but must read back as they were written (`load` and `set_field`, OpenFlow 1.0's `mod_nw_src`), there are
//! two variants; where only the version decides how it is written, there is one.

mod action;
mod group;
mod instruction;
mod learn;
mod meter;
mod stat_trigger;

pub use action::{
    Action, BundleAction, BundleAlgorithm, ControllerAction, ControllerId, FieldValue, HashFields,
    LoadValue, Multipath, MultipathAlgorithm, PacketInReason,
};
pub use group::{Bucket, Group, GroupId, GroupKind, Selection};
pub use instruction::{ActionSet, Instructions, MetadataWrite, TableId};
pub use learn::{Learn, LearnDst, LearnSpec, LearnSrc};
pub use meter::{Band, BandKind, Meter, MeterId, MeterUnit};
pub use stat_trigger::{StatTrigger, Threshold};
