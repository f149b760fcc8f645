//! Patch ports: the frame goes on in another bridge within the same translation.

use rvs_dpif::DropReason;
use rvs_flow::{Mask, OfPort, PipelineKey};
use rvs_openflow::TableId;

use super::ctx::Ctx;
use super::protocol::Door;
use crate::bridge::BridgeId;
use crate::ports::Port;
use crate::trace::Trace;
use crate::translation::CachedEffect;

impl<'a, T: Trace> Ctx<'a, '_, T> {
    /// Sends the frame through a patch port. The other bridge starts with empty registers, metadata, stack and action set;
    /// what it does to the frame is not seen here afterwards.
    pub(super) fn cross_patch(&mut self, port: &Port, peer: Option<(BridgeId, OfPort)>) {
        let world = self.view.world;
        let found = peer.and_then(|(id, of)| {
            let bridge = world.bridge(id)?;
            Some((bridge, bridge.ports.get(of)?))
        });
        let Some((bridge, to)) = found else {
            return self.drop_with(DropReason::NoPort);
        };
        // Sent and received, whether the other end then takes it or not.
        self.effects.push(CachedEffect::PatchHit {
            from: port.traffic.clone(),
            to: to.traffic.clone(),
        });
        let door = if to.config.down {
            Err(DropReason::PortNoRecv)
        } else {
            self.admit(bridge, to)
        };
        let door = match door {
            Ok(door) => door,
            Err(reason) => return self.drop_with(reason),
        };
        if self.is_deepest() {
            return self.abort(DropReason::TooDeep);
        }
        if let Door::Taken = door {
            return;
        }

        let before = (self.save(), self.at.clone());
        let stack = std::mem::take(&mut self.stack);
        let action_set = std::mem::take(&mut self.action_set);
        let scope = self.out.begin();
        self.descend(true);
        self.key = PipelineKey {
            flow: self.key.flow,
            actset_output: OfPort::UNSET.0,
            ..Default::default()
        };
        let mut own = Mask::<PipelineKey>::exact();
        own.0.flow = Default::default();
        self.forget(&own);
        self.enter(bridge, to.of);
        self.mirror_arrival(to);
        let halted = std::mem::take(&mut self.halted);
        let in_set = std::mem::take(&mut self.in_set);
        self.run_tables(TableId(0));
        self.boundary(true);
        self.ascend(true);
        if self.aborted {
            return;
        }
        self.out.end(scope);
        self.halted = halted;
        self.in_set = in_set;

        // `exit` ends the other bridge's actions alone.
        self.exit = false;
        self.restore(before.0);
        self.at = before.1;
        self.stack = stack;
        self.action_set = action_set;
    }
}
