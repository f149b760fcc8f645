//! Copies for controllers, as lists of datapath actions show them.

use rvs_dpif::{DpAction, PuntReason};
use rvs_pipeline::{PacketInNote, PuntNote};

/// A copy that a cached flow makes, if it is for controllers.
pub fn copy_in_flow(note: &PuntNote) -> Option<String> {
    match note {
        PuntNote::PacketIn(note) => Some(packet_in(note, false)),
        PuntNote::Protocol { .. } => None,
    }
}

/// The copy for a controller as Open vSwitch's traces have it, where it is made and not sent. What it would go on with has a
/// number of its own there.
pub(super) fn packet_in(note: &PacketInNote, traced: bool) -> String {
    format!(
        "userspace(pid=0,controller(reason={},dont_send={},continuation={},recirc_id=1,rule_cookie={},controller_id={},max_len={}))",
        note.reason as u8,
        u8::from(traced),
        u8::from(note.paused.is_some()),
        match note.told_cookie() {
            0 => "0".to_owned(),
            cookie => format!("{cookie:#x}"),
        },
        note.controller.0,
        note.max_len
    )
}

pub(super) fn punts(actions: &[DpAction]) -> bool {
    actions.iter().any(|a| match a {
        DpAction::Punt { reason, .. } => *reason == PuntReason::Controller,
        DpAction::Clone(inner) => punts(inner),
        DpAction::CheckPktLen {
            larger, otherwise, ..
        } => punts(larger) || punts(otherwise),
        _ => false,
    })
}
