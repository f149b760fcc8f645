//! Whether a frame may come in by a port, and frames of protocols that the bridge itself speaks: they end here.

use rvs_dpif::DropReason;
use rvs_l2::spanning::BRIDGE_GROUP;

use super::ctx::Ctx;
use crate::bridge::Bridge;
use crate::ports::Port;
use crate::trace::{Trace, TraceEvent};
use crate::translation::{push, PuntNote};

/// What becomes of a frame at the door.
pub(super) enum Door {
    /// It goes through the bridge's tables.
    Open,
    /// It was the bridge's own to take.
    Taken,
}

impl<T: Trace> Ctx<'_, '_, T> {
    /// Lets the frame in by a port of `bridge`, takes it there, or says why not.
    pub(super) fn admit(&mut self, bridge: &Bridge, port: &Port) -> Result<Door, DropReason> {
        push(&mut self.deps.bridges, bridge.id);
        let config = &port.config;
        let spanning = bridge.settings.spanning_tree;
        let bpdu = (spanning || config.no_recv || config.no_recv_stp) && {
            self.see(|m| m.dl_dst = [0xff; 6]);
            self.key.flow.dst() == BRIDGE_GROUP
        };
        let refused = if bpdu {
            config.no_recv_stp
        } else {
            config.no_recv
        };
        if refused {
            return Err(DropReason::PortNoRecv);
        }
        if bpdu && spanning {
            self.note(|| TraceEvent::Note("a frame of the spanning tree: the bridge's own".into()));
            self.punt(PuntNote::Protocol {
                bridge: bridge.id,
                port: port.of,
            });
            return Ok(Door::Taken);
        }
        self.not_reserved(bridge, port)?;
        if !port.stp.learns() {
            return Err(DropReason::StpBlocked);
        }
        Ok(Door::Open)
    }
}
