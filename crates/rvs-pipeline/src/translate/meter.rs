//! Meters: the datapath charges them; here their number is found.

use rvs_dpif::DpAction;
use rvs_openflow::MeterId;

use super::ctx::Ctx;
use crate::trace::{Trace, TraceEvent};
use crate::translation::push;

impl<T: Trace> Ctx<'_, '_, T> {
    /// Passes the meter or ends here. A meter that does not exist lets everything pass.
    pub(super) fn meter(&mut self, id: MeterId) {
        let Some(bridge) = self.at.bridge else {
            return;
        };
        push(&mut self.deps.meters, (bridge.id, id));
        if let Some(entry) = bridge.meters.get(id) {
            self.note(|| TraceEvent::Aside(format!("if meter {id} has tokens")));
            self.emit(DpAction::Meter(entry.dp));
        }
    }
}
