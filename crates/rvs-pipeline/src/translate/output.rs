//! Frames that leave, by number.

use rvs_dpif::{DpAction, DropReason};
use rvs_flow::OfPort;

use super::ctx::Ctx;
use crate::ports::{Port, PortKind};
use crate::trace::{Trace, TraceEvent};

impl<'a, T: Trace> Ctx<'a, '_, T> {
    /// Sends the frame as it is on one port of the bridge, at most `max_len` octets of it.
    ///
    /// Whether the port is the input port is the caller's to judge: `output` drops, `IN_PORT` does not.
    pub(super) fn output_port(&mut self, of: OfPort, max_len: Option<u16>) {
        let Some(bridge) = self.at.bridge else {
            return;
        };
        let Some(port) = bridge.ports.get(of) else {
            return self.drop_with(DropReason::NoPort);
        };
        if let Err(reason) = self.may_send(port) {
            return self.drop_with(reason);
        }
        match port.kind {
            PortKind::Device(dp) => self.emit(match max_len {
                None => DpAction::Output(dp),
                Some(max_len) => DpAction::OutputTruncated { port: dp, max_len },
            }),
            PortKind::Patch { peer } => self.cross_patch(port, peer),
        }
        if port.dp().is_some() {
            self.note(|| TraceEvent::Aside(format!("output to {}", port.name)));
        }
    }

    fn may_send(&self, port: &Port) -> Result<(), DropReason> {
        if port.config.no_fwd || port.config.down {
            return Err(DropReason::PortNoFwd);
        }
        if !port.stp.forwards() {
            return Err(DropReason::StpBlocked);
        }
        let protected = |of| {
            let ports = &self.at.bridge?.ports;
            Some(ports.bundle(ports.get(of)?.bundle)?.protected)
        };
        let from = OfPort(self.key.of_port);
        if protected(from) == Some(true) && protected(port.of) == Some(true) && from != port.of {
            return Err(DropReason::Protected);
        }
        Ok(())
    }
}
