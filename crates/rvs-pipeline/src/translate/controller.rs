//! Copies for controllers.

use rvs_dpif::{DpAction, PuntReason};
use rvs_flow::{OfPort, PipelineKey};
use rvs_openflow::{ControllerAction, ControllerId, PacketInReason};

use super::ctx::Ctx;
use crate::trace::{Trace, TraceEvent};
use crate::translation::{PacketInNote, PuntNote};

impl<T: Trace> Ctx<'_, '_, T> {
    /// Sends a copy to every controller that wants such.
    pub(super) fn packet_in(&mut self, reason: PacketInReason, max_len: u16) {
        self.controller(&ControllerAction {
            max_len,
            controller: ControllerId(0),
            reason,
            userdata: Box::new([]),
            pause: false,
            meter: None,
        });
    }

    /// The controller action.
    pub(super) fn controller(&mut self, what: &ControllerAction) {
        let Some(bridge) = self.at.bridge else {
            return;
        };
        let silent = bridge
            .ports
            .get(OfPort(self.key.of_port))
            .is_some_and(|p| p.config.no_packet_in);
        if silent && what.reason != PacketInReason::PacketOut {
            return self.note(|| TraceEvent::Note("the input port sends no packet-ins".into()));
        }
        let note = PacketInNote {
            bridge: bridge.id,
            table: self.at.table,
            cookie: self.at.rule.as_ref().map_or(u64::MAX, |r| r.cookie),
            reason: what.reason,
            max_len: what.max_len,
            controller: what.controller,
            userdata: what.userdata.clone(),
            meter: what.meter,
            fields: PipelineKey {
                flow: Default::default(),
                ..self.key
            },
            paused: None,
        };
        self.punt(PuntNote::PacketIn(Box::new(note)));
    }

    /// Hands a copy to the slow path with this note.
    pub(super) fn punt(&mut self, note: PuntNote) {
        let reason: PuntReason = note.reason();
        let cookie = self.notes.len() as u64;
        self.notes.push(note);
        self.emit(DpAction::Punt { reason, cookie });
    }
}
