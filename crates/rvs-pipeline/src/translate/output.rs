//! Frames that leave, by number.

use rvs_dpif::{DpAction, DropReason};
use rvs_flow::field::{FieldId, SubField};
use rvs_flow::OfPort;

use super::ctx::{Ctx, Unparsed};
use crate::bridge::Bridge;
use crate::ports::{Port, PortKind};
use crate::trace::{Trace, TraceEvent};

/// The bits of `nw_tos` that are the DSCP.
const DSCP: u128 = 0xfc;

/// Queues of a port are numbered below this.
pub const QUEUES: u32 = 0xf000;

/// The class that a queue is, in the words of the kernel's disciplines: major number 1, and the queue's number and one.
pub const fn queue_priority(queue: u32) -> Option<u32> {
    if queue < QUEUES {
        Some(0x1_0000 | (queue + 1))
    } else {
        None
    }
}

/// The priority of a frame that goes to a queue: the queue's class, of a dummy its number.
pub fn frame_priority(queue: u32, dummy: bool) -> Option<u32> {
    queue_priority(queue).map(|class| if dummy { queue } else { class })
}

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
        let may = self.not_reserved(bridge, port);
        if let Err(reason) = may.and_then(|()| self.may_send(port)) {
            return self.drop_with(reason);
        }
        self.leave(port, max_len);
        if port.dp().is_some() {
            self.note(|| TraceEvent::Aside(format!("output to {}", port.name)));
        }
    }

    /// The frame leaves on a port that takes it, and is mirrored.
    pub(super) fn leave(&mut self, port: &'a Port, max_len: Option<u16>) {
        match port.kind {
            PortKind::Device(dp) => {
                let was = self.mark(port);
                self.emit(match max_len {
                    None => DpAction::Output(dp),
                    Some(max_len) => DpAction::OutputTruncated { port: dp, max_len },
                });
                // Mirrors copy what has left.
                self.mirror_departure(port);
                if let Some(tos) = was {
                    self.write_field(FieldId::NwTos, tos, DSCP);
                }
            }
            PortKind::Patch { .. } if max_len.is_some() => {
                let of = port.of;
                let text = || format!("output_trunc does not support patch port {of}");
                self.note(|| TraceEvent::Note(text()));
                self.drop_with(DropReason::PatchCut);
            }
            PortKind::Patch { peer } => {
                self.cross_patch(port, peer);
                self.mirror_departure(port);
            }
        }
    }

    /// Whether queues have to write where the key shows nothing.
    pub(super) fn marks_blindly(&self) -> bool {
        let marks = |b: &Bridge| b.ports.iter().any(|p| !p.dscp.is_empty());
        self.unparsed != Unparsed::Nothing && self.at.bridge.is_some_and(|b| marks(b))
    }

    /// Writes the DSCP that the frame's queue has at this port, and returns what the frame had: it leaves elsewhere as it was.
    fn mark(&mut self, port: &Port) -> Option<u128> {
        let queue = port.dscp.iter().find(|(queue, _)| *queue == self.priority);
        let dscp = u128::from(queue?.1) << 2;
        let tos = self.read(SubField::whole(FieldId::NwTos))?;
        self.write_field(FieldId::NwTos, dscp, DSCP);
        Some(tos & DSCP)
    }

    /// What leaves from here on goes to this queue of its port. A queue that no port can have changes nothing.
    pub(super) fn set_queue(&mut self, queue: u32) {
        let dummy = self.at.bridge.is_some_and(|b| b.settings.dummy);
        if let Some(priority) = frame_priority(queue, dummy) {
            self.set_priority(priority);
        }
    }

    pub(super) fn set_priority(&mut self, priority: u32) {
        if std::mem::replace(&mut self.priority, priority) != priority {
            self.out.edit(DpAction::Priority(priority));
        }
    }

    pub(super) fn may_send(&self, port: &Port) -> Result<(), DropReason> {
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
