//! Flow keys, masks, matches: the vocabulary in which every tier speaks about packets.
#![forbid(unsafe_code)]

pub mod extract;
pub mod field;
pub mod key;
pub mod matching;
pub mod odp;
pub mod port;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use extract::{extract, extract_into, ParseLimits};
pub use field::{Field, FieldId, SubField};
pub use key::{FlowKey, Key, Mask, PipelineKey, Present};
pub use matching::Match;
pub use port::{DpPort, OfPort};
