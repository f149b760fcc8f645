//! Frames that leave, for the wire or for another bridge.

use rvs_flow::OfPort;

use super::lookup::admits;
use super::{mirror, End, Packet, Run, Step};
use crate::bridge::{Bridge, BridgeId};
use crate::ports::{Port, PortKind};

impl<'w> Run<'w, '_> {
    /// The frame, or its first octets, leaves on a port that is not a mirror's.
    pub(super) fn send(&mut self, p: &Packet<'w>, port: OfPort, max_len: Option<u16>) -> Step {
        match p.bridge.ports.get(port) {
            Some(port) if !p.bridge.mirrors.reserves(port.bundle) => self.leave(p, port, max_len),
            _ => Ok(()),
        }
    }

    /// The frame leaves on a port, for the wire or another bridge, and mirrors see it.
    pub(super) fn leave(&mut self, p: &Packet<'w>, port: &'w Port, max_len: Option<u16>) -> Step {
        if port.config.no_fwd || port.config.down || !port.stp.forwards() {
            return Ok(());
        }
        if port.of != p.of_port && protected(p.bridge, port) {
            let from = p.bridge.ports.get(p.of_port);
            if from.is_some_and(|f| protected(p.bridge, f)) {
                return Ok(());
            }
        }
        match port.kind {
            PortKind::Device(dp) => {
                let mut frame = p.frame.bytes().to_vec();
                frame.truncate(max_len.map_or(usize::MAX, usize::from));
                self.out.outputs.push((dp, frame));
            }
            PortKind::Patch { peer } => self.cross(p, peer)?,
        }
        mirror::mirror(self, p, port, true)
    }

    fn cross(&mut self, p: &Packet<'w>, peer: Option<(BridgeId, OfPort)>) -> Step {
        let Some((bridge, of)) = peer else {
            return Ok(());
        };
        let Some(bridge) = self.world.bridge(bridge) else {
            return Ok(());
        };
        let Some(to) = bridge.ports.get(of) else {
            return Ok(());
        };
        if to.config.down || !admits(bridge, to, &p.frame) {
            return Ok(());
        }
        let mut there = Packet::arrived(p.frame.clone(), bridge, of);
        there.own_tags = p.own_tags;
        there.vlan_limit = p.vlan_limit;
        there.frags = p.frags;
        self.down(true, |run| {
            mirror::mirror(run, &there, to, false)?;
            match run.pipeline(&mut there) {
                Err(End::Aborted) => Err(End::Aborted),
                _ => Ok(()),
            }
        })
    }
}

fn protected(bridge: &Bridge, port: &Port) -> bool {
    bridge
        .ports
        .bundle(port.bundle)
        .is_some_and(|b| b.protected)
}
