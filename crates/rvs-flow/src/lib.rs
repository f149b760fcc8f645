//! Flow keys, masks, matches: the vocabulary in which every tier speaks about packets.
//!
//! - [`key`]: the two keys and their masks. [`FlowKey`] is what caches hash, [`PipelineKey`] what OpenFlow tables see.
//! - [`mod@extract`]: the key of a frame; total.
//! - [`field`]: the registry of OpenFlow and Nicira fields: place in the key, names, headers, prerequisites.
//! - [`matching`]: [`Match`] and its text syntax; [`odp`]: cache entries as text.
//! - [`odp_text`] reads such text; [`mod@compose`] makes a frame for a key.
//! - [`port`]: the two port numberings, which never mix.
//! - `testing` (feature): generators of frames, keys and matches.
#![forbid(unsafe_code)]

pub mod compose;
pub mod extract;
pub mod field;
pub mod key;
pub mod matching;
pub mod odp;
pub mod odp_text;
pub mod port;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use extract::{extract, extract_bytes, extract_into, ParseLimits};
pub use field::{Field, FieldId, NoPortNames, PortNames, SubField};
pub use key::{FlowKey, Key, Mask, PipelineKey, Present};
pub use matching::Match;
pub use odp::OdpFlow;
pub use port::{DpPort, OfPort};
