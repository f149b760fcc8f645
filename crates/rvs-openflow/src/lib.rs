//! OpenFlow 1.0 to 1.5 without I/O: bytes to values and back.
//!
//! - [`framer`]: a stream of bytes to whole messages.
//! - [`message`]: whole messages to [`Message`]s and back, in a [`Dialect`] (version and extensions).
//! - [`model`]: the version-free vocabulary: actions, instructions, groups, meters.
//! - [`error`]: what is wrong, how each version numbers it, and a sentence for the log.
//! - [`oxm`] and [`action`]: matches and actions, of which messages are made.
//! - [`text`]: flows, actions, groups and meters in the words of `ovs-ofctl`.
//!
//! Everything that is read is hostile until decoded: no length, count or nesting in a message makes decoding read past
//! its end, loop, or take memory beyond a small multiple of its octets.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod action;
pub mod error;
pub mod framer;
mod instruction;
pub mod message;
pub mod model;
pub mod oxm;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod version;
mod wire;

pub use error::{ErrorCode, ErrorMessage, OfError};
pub use framer::{Framer, RawHeader};
pub use message::{decode, Dialect, Header, Message};
pub use model::{
    Action, ActionSet, Band, BandKind, Bucket, BundleAction, BundleAlgorithm, ControllerAction,
    ControllerId, FieldValue, Group, GroupId, GroupKind, HashFields, Instructions, Learn, LearnDst,
    LearnSpec, LearnSrc, LoadValue, MetadataWrite, Meter, MeterId, MeterUnit, Multipath,
    MultipathAlgorithm, PacketInReason, Selection, StatTrigger, TableId, Threshold,
};
pub use oxm::{CookieMask, FlowMatch};
pub use version::{Version, VersionSet};
pub use wire::EncodeError;
