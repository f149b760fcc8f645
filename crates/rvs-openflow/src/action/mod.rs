//! Actions on the wire.
//!
//! [`pull_actions`] reads a list of any version, standard and Nicira's alike, into [`Action`]s; [`put_actions`] writes it,
//! choosing the encoding that the version has (OpenFlow 1.0 says `mod_dl_src`, 1.3 the same as a `set_field`). Reading is
//! bounded: [`MAX_ACTIONS`] per list with all that it nests, [`MAX_DEPTH`] levels of nesting, and every element is at
//! least 8 octets, so that no list takes longer than its octets.
//!
//! What can only be told against the match (is there an IP header to set a field of?) is [`check_actions`]'s business.

mod check;
mod controller;
mod decode;
mod encode;
mod field;
mod learn;
mod nicira;
mod select;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{ErrorCode, OfError};
use crate::model::{Action, MetadataWrite};
use crate::version::Version;
use crate::wire::Reader;

pub use check::{check_actions, check_instructions, CheckLevel};
pub(crate) use controller::{reason_from, reason_number};
pub(crate) use encode::{put_actions, ListContext};
pub(crate) use field::settable_whole;

/// Whether the actions that only tests have a use for are known.
static DEBUG_ACTIONS: AtomicBool = AtomicBool::new(false);

/// From now on `debug_recirc` and `debug_slow` are actions like others, in the whole process. They are refused otherwise, as
/// Open vSwitch refuses them.
pub fn know_debug_actions() {
    DEBUG_ACTIONS.store(true, Ordering::Relaxed);
}

fn debug_actions() -> bool {
    DEBUG_ACTIONS.load(Ordering::Relaxed)
}

/// Actions in one list, those nested in `clone` included.
pub const MAX_ACTIONS: usize = 4096;

/// Levels of `clone` in `clone`.
pub const MAX_DEPTH: usize = 64;

/// Subtype of Nicira's action that stands in for the instruction in OpenFlow 1.0.
pub(crate) use nicira::subtype::WRITE_METADATA as NXAST_WRITE_METADATA;

/// `OFPAT_EXPERIMENTER`.
const EXPERIMENTER: u16 = 0xffff;

/// What the reading of one list shares with the lists nested in it.
pub(crate) struct Budget {
    version: Version,
    left: usize,
    depth: usize,
}

impl Budget {
    const fn new(version: Version) -> Self {
        Self {
            version,
            left: MAX_ACTIONS,
            depth: 0,
        }
    }
}

/// A list of actions, and what OpenFlow 1.0 puts among them though it is an instruction.
pub(crate) struct ActionList {
    pub(crate) actions: Vec<Action>,
    pub(crate) metadata: Option<MetadataWrite>,
}

/// Reads all of `r` as actions.
pub(crate) fn pull_actions(r: &mut Reader<'_>, version: Version) -> Result<Vec<Action>, OfError> {
    let list = pull_list(r, &mut Budget::new(version))?;
    match list.metadata {
        None => Ok(list.actions),
        Some(_) => Err(ErrorCode::BicUnsupInst.because("write_metadata is no action here")),
    }
}

/// As [`pull_actions`], for the flows of OpenFlow 1.0: its last action may be Nicira's `write_metadata`.
pub(crate) fn pull_flow_actions(
    r: &mut Reader<'_>,
    version: Version,
) -> Result<ActionList, OfError> {
    pull_list(r, &mut Budget::new(version))
}

fn pull_list(r: &mut Reader<'_>, budget: &mut Budget) -> Result<ActionList, OfError> {
    let mut r = Reader::new(r.rest(), ErrorCode::BacBadLen);
    let mut list = ActionList {
        // Just as many as there are: most lists end as boxed slices, which then need not be moved.
        actions: Vec::with_capacity(elements(r.peek()).min(budget.left)),
        metadata: None,
    };
    while !r.is_empty() {
        let mut element = r.element8(2, 8)?;
        if list.metadata.is_some() {
            return Err(ErrorCode::BacUnsupportedOrder
                .because("write_metadata must come last in a list of actions"));
        }
        budget.left = budget.left.checked_sub(1).ok_or_else(|| {
            ErrorCode::BacTooMany.because(format!("more than {MAX_ACTIONS} actions"))
        })?;
        match decode::pull_action(&mut element, budget)? {
            decode::Pulled::Action(a) => list.actions.push(a),
            decode::Pulled::Metadata(m) => list.metadata = Some(m),
        }
    }
    verify_conjunction(&list.actions)?;
    Ok(list)
}

/// How many elements there are, going by the lengths that they say.
fn elements(mut octets: &[u8]) -> usize {
    let mut n = 0;
    while let Some(&[hi, lo]) = octets.get(2..4) {
        n += 1;
        let len = usize::from(u16::from_be_bytes([hi, lo]));
        octets = octets.get(len.max(8)..).unwrap_or_default();
    }
    n
}

/// Checks the number of a meter that a flow names.
pub(crate) fn check_meter(id: u32) -> Result<(), OfError> {
    decode::meter(id).map(|_| ())
}

/// A flow with `conjunction` is a clause and nothing else.
fn verify_conjunction(actions: &[Action]) -> Result<(), OfError> {
    let conjunction = |a: &Action| matches!(a, Action::Conjunction { .. });
    let alone = |a: &Action| conjunction(a) || matches!(a, Action::Note(_));
    if actions.iter().any(conjunction) && !actions.iter().all(alone) {
        return Err(ErrorCode::NxbacBadConjunction
            .because("conjunction may stand beside conjunction and note only"));
    }
    Ok(())
}
