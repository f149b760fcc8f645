//! Copies for controllers.

use rvs_dpif::DpAction;
use rvs_flow::{FlowKey, OfPort, PipelineKey};
use rvs_openflow::{ControllerAction, ControllerId, MeterId, PacketInReason};

use super::ctx::Ctx;
use crate::trace::{Trace, TraceEvent};
use crate::translation::{PacketInNote, PuntNote};

impl<T: Trace> Ctx<'_, '_, T> {
    /// Sends a copy to every controller that wants such.
    pub(super) fn packet_in(&mut self, reason: PacketInReason, max_len: u16) {
        self.packet_in_to(ControllerId(0), reason, max_len);
    }

    pub(super) fn packet_in_to(
        &mut self,
        controller: ControllerId,
        reason: PacketInReason,
        max_len: u16,
    ) {
        self.controller(&ControllerAction {
            max_len,
            controller,
            reason,
            userdata: Box::new([]),
            pause: false,
            meter: None,
        });
    }

    /// Sends a copy of a packet that no flow matched.
    pub(super) fn missed(&mut self) {
        let what = ControllerAction {
            max_len: 0xffff,
            controller: ControllerId(0),
            reason: PacketInReason::NoMatch,
            userdata: Box::new([]),
            pause: false,
            meter: None,
        };
        self.copy_up(&what, true);
    }

    /// The controller action.
    pub(super) fn controller(&mut self, what: &ControllerAction) {
        self.copy_up(what, false);
    }

    /// `OFPPC_NO_PACKET_IN` is about table misses (OpenFlow 1.3.5 section 7.2.1), of which a table-miss flow makes packet-ins too.
    fn copy_up(&mut self, what: &ControllerAction, miss: bool) {
        let silent = self
            .at
            .bridge
            .and_then(|b| b.ports.get(OfPort(self.key.of_port)))
            .is_some_and(|p| p.config.no_packet_in);
        if silent && (miss || self.at.reason == PacketInReason::NoMatch) {
            let what = "the input port sends no packet-ins for misses";
            return self.note(|| TraceEvent::Note(what.into()));
        }
        let note = PacketInNote {
            miss,
            ..self.packet_in_note(what)
        };
        self.metered_punt(note);
    }

    /// Hands a copy up that has to pass the meter of the action, or else that of all packet-ins. The packet itself goes on
    /// whatever the meter says of the copy.
    pub(super) fn metered_punt(&mut self, note: PacketInNote) {
        let meter = note.meter.unwrap_or(MeterId::CONTROLLER);
        let scope = self.out.begin();
        self.meter(meter);
        self.punt(PuntNote::PacketIn(Box::new(note)));
        self.out.end(scope);
    }

    pub(super) fn packet_in_note(&self, what: &ControllerAction) -> PacketInNote {
        PacketInNote {
            bridge: self.at.bridge.map_or_else(Default::default, |b| b.id),
            table: self.at.table,
            cookie: self.at.cookie,
            miss: false,
            miss_flow: [what.reason, self.at.reason] == [PacketInReason::NoMatch; 2],
            reason: what.reason,
            max_len: what.max_len,
            controller: what.controller,
            userdata: what.userdata.clone(),
            meter: what.meter,
            fields: PipelineKey {
                // No frame arrives with a mark: it is what the pipeline wrote, and the mask needs no bit of it.
                flow: FlowKey {
                    pkt_mark: self.key.flow.pkt_mark,
                    ..FlowKey::default()
                },
                ..self.key
            },
            paused: None,
        }
    }

    /// Hands a copy to the slow path with this note.
    pub(super) fn punt(&mut self, note: PuntNote) {
        let reason = note.reason();
        let cookie = self.notes.len() as u64;
        self.notes.push(note);
        self.emit(DpAction::Punt { reason, cookie });
    }
}
