//! Generators for tests: plausible frames, keys that frames have, matches that they hit (feature `testing`).
//!
//! Everything is drawn from an [`Entropy`], a row of octets: from a seed for loops over millions, from `proptest` for
//! shrinking (fewer and smaller octets give simpler things), from a fuzzer's input for fuzzing. Domains are small on
//! purpose (six hosts, a few ports and VLANs), so that keys collide, rules overlap and caches hit.

mod entropy;
mod frames;
mod keys;

use proptest::prelude::*;

use crate::key::{FlowKey, PipelineKey};
use crate::matching::Match;

pub use entropy::Entropy;
pub use frames::{fix_checksums, frame, mutate, mutated_frame, ATTACKS, P0};
pub use keys::{any_words, field_value, flow_key, key_in_match, matching, pipeline_key};

/// Anything that can be drawn.
pub fn drawn<T: std::fmt::Debug>(draw: fn(&mut Entropy) -> T) -> impl Strategy<Value = T> {
    prop::collection::vec(any::<u8>(), 0..160).prop_map(move |b| draw(&mut Entropy::bytes(&b)))
}

/// Well-formed frames with correct lengths and checksums.
pub fn frames() -> impl Strategy<Value = Vec<u8>> {
    drawn(frame)
}

/// Frames with truncated, contradictory or hostile headers, and some well-formed ones.
pub fn mutated_frames() -> impl Strategy<Value = Vec<u8>> {
    drawn(mutated_frame)
}

/// Keys of frames, some malformed.
pub fn flow_keys() -> impl Strategy<Value = FlowKey> {
    drawn(flow_key)
}

pub fn pipeline_keys() -> impl Strategy<Value = PipelineKey> {
    drawn(pipeline_key)
}

/// Matches with their prerequisites, as a controller would write them.
pub fn matches() -> impl Strategy<Value = Match<PipelineKey>> {
    drawn(matching)
}
