//! The interpreter of action lists.

use rvs_dpif::DropReason;
use rvs_flow::OfPort;
use rvs_openflow::{Action, PacketInReason};

use super::ctx::Ctx;
use crate::trace::{Trace, TraceEvent};

impl<T: Trace> Ctx<'_, '_, T> {
    /// Runs actions until one ends the packet's way.
    pub(super) fn run_actions(&mut self, actions: &[Action]) {
        for action in actions {
            if self.exit {
                return;
            }
            self.run_action(action);
        }
    }

    pub(super) fn run_action(&mut self, action: &Action) {
        self.note(|| TraceEvent::Action(action.clone()));
        match action {
            Action::Output { port, max_len } => self.output(*port, *max_len),
            _ => {}
        }
    }

    /// `output`, to a port or a reserved one.
    pub(super) fn output(&mut self, port: OfPort, max_len: u16) {
        let in_port = OfPort(self.key.of_port);
        match port {
            OfPort::NORMAL => self.normal(),
            OfPort::IN_PORT => self.output_port(in_port, None),
            OfPort::CONTROLLER => {
                let reason = match (self.at_action_set, self.at.is_miss) {
                    (_, true) => PacketInReason::NoMatch,
                    (true, false) => PacketInReason::ActionSet,
                    (false, false) => PacketInReason::Action,
                };
                self.packet_in(reason, max_len);
            }
            _ if port == in_port => self.drop_with(DropReason::InPort),
            _ => self.output_port(port, None),
        }
    }
}
