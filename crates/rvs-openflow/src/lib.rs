//! OpenFlow without a version: what flows, groups and meters say.
#![forbid(unsafe_code)]

pub mod model;

pub use model::{
    Action, ActionSet, Band, BandKind, Bucket, BundleAction, BundleAlgorithm, ControllerAction,
    ControllerId, FieldValue, Group, GroupId, GroupKind, HashFields, Instructions, Learn, LearnDst,
    LearnSpec, LearnSrc, LoadValue, MetadataWrite, Meter, MeterId, MeterUnit, Multipath,
    MultipathAlgorithm, PacketInReason, Selection, TableId,
};
