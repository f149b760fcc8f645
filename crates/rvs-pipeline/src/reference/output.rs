//! Frames that leave, for the wire or for another bridge.

use rvs_flow::field::FieldId;
use rvs_flow::OfPort;

use super::lookup::admits;
use super::{edit, mirror, End, Packet, Run, Step};
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
                let p = marked(p, port);
                let mut frame = p.frame.bytes().to_vec();
                frame.truncate(max_len.map_or(usize::MAX, usize::from));
                self.out.outputs.push((dp, frame));
                mirror::mirror(self, &p, port, true)
            }
            // A part of a frame is for the wire alone.
            PortKind::Patch { .. } if max_len.is_some() => Ok(()),
            PortKind::Patch { peer } => {
                self.cross(p, peer)?;
                mirror::mirror(self, p, port, true)
            }
        }
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
        there.priority = p.priority;
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

/// The packet with the DSCP that its queue has at this port.
fn marked<'w>(p: &Packet<'w>, port: &Port) -> Packet<'w> {
    let mut p = p.clone();
    if let Some((_, dscp)) = port.dscp.iter().find(|(queue, _)| *queue == p.priority) {
        edit::set_field(&mut p, FieldId::IpDscp, u128::from(*dscp), 0x3f);
    }
    p
}

/// What `port.dscp` calls a queue.
pub(super) fn priority_of(bridge: &Bridge, queue: u32) -> Option<u32> {
    let class = 0x1_0001 + u64::from(queue);
    match bridge.settings.dummy {
        _ if class > 0x1_f000 => None,
        true => Some(queue),
        false => u32::try_from(class).ok(),
    }
}

fn protected(bridge: &Bridge, port: &Port) -> bool {
    bridge
        .ports
        .bundle(port.bundle)
        .is_some_and(|b| b.protected)
}
