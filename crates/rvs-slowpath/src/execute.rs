//! Frames of controllers: packet-outs, and packet-ins that are resumed.

use rvs_dpif::{DpCommand, WorkerId};
use rvs_flow::{extract, DpPort, OfPort, ParseLimits};
use rvs_packet::{Frame, Now};
use rvs_pipeline::{translate_actions, FrozenState, NoTrace};

use crate::slowpath::{Bound, Dispatch, SlowPath};

impl SlowPath {
    /// Runs a frame through the pipeline from where `start` says. What it teaches and counts is applied at once; its
    /// actions run on `worker`, in order with everything sent there before.
    pub fn execute(
        &mut self,
        now: Now,
        worker: WorkerId,
        start: &FrozenState,
        frame: Frame,
        out: &mut impl Dispatch,
    ) {
        let in_port = self
            .world
            .bridge(start.bridge)
            .and_then(|b| b.ports.get(OfPort(start.fields.of_port))?.dp())
            .unwrap_or(DpPort::NONE);
        let key = extract(&frame, in_port, ParseLimits::new(ParseLimits::MAX_VLANS));
        self.counters.translations += 1;
        let mut translation = translate_actions(&self.view(), &key, start, &mut NoTrace);
        self.apply_lessons(now, &translation, out);
        let effects = std::mem::take(&mut translation.effects);
        self.credit_frame(now, &key, &frame, &effects, out);
        let Bound { actions, .. } = self.bind(&key, translation);
        if !actions.is_empty() {
            out.command(
                worker,
                DpCommand::Execute {
                    frame,
                    in_port,
                    actions,
                },
            );
        }
        self.ask_acknowledgement(out);
        // A barrier behind it waits until it has left.
        self.sent_to(worker);
    }
}
