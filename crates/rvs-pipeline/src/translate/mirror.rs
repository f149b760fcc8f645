//! Copies for mirrors.

use std::sync::Arc;

use rvs_dpif::DropReason;
use rvs_l2::{BundleId, Inside, PriorityTags, TagEdit};
use rvs_packet::VlanId;

use super::ctx::{Ctx, Unparsed};
use super::normal::sender;
use crate::bridge::{Bridge, BridgeId};
use crate::mirror::{Mirror, MirrorOutput, MirrorSet, Way};
use crate::ports::{Port, PortKind};
use crate::trace::{Trace, TraceEvent};
use crate::translation::CachedEffect;

/// Mirrors that have had their copy of the packet, by bridge.
pub(super) type Mirrored = Vec<(BridgeId, MirrorSet)>;

impl<'a, T: Trace> Ctx<'a, '_, T> {
    /// The packet comes in by a port of this bridge: mirrors get their copies, or the port is theirs and the packet is not
    /// for the tables.
    pub(super) fn mirror_arrival(&mut self, port: &Port) {
        self.mirror(port.bundle, Way::Arriving);
    }

    /// The packet has left on a port of this bridge.
    pub(super) fn mirror_departure(&mut self, port: &Port) {
        if !self.aborted {
            self.mirror(port.bundle, Way::Leaving);
        }
    }

    /// Whether a mirror waits for what leaves on a port of this bridge.
    pub(super) fn awaits_departure(&self, bundle: BundleId) -> bool {
        let waiting = |b: &Bridge| b.mirrors.selecting(bundle, Way::Leaving) & !self.done(b.id);
        self.at.bridge.is_some_and(|b| waiting(b) != 0)
    }

    /// Whether mirrors have to know the VLAN of what is sent, which the key does not show.
    pub(super) fn mirrors_blindly(&self) -> bool {
        self.unparsed == Unparsed::Tags && self.at.bridge.is_some_and(|b| !b.mirrors.is_empty())
    }

    fn done(&self, bridge: BridgeId) -> MirrorSet {
        let found = self.mirrored.iter().find(|(b, _)| *b == bridge);
        found.map_or(0, |(_, set)| *set)
    }

    fn have_done(&mut self, bridge: BridgeId, set: MirrorSet) {
        match self.mirrored.iter_mut().find(|(b, _)| *b == bridge) {
            Some((_, done)) => *done |= set,
            None => self.mirrored.push((bridge, set)),
        }
    }

    fn mirror(&mut self, bundle: BundleId, way: Way) {
        let Some(bridge) = self.at.bridge else {
            return;
        };
        let selecting = bridge.mirrors.selecting(bundle, way) & !self.done(bridge.id);
        if selecting == 0 {
            return;
        }
        let Ok(inside) = self.classify(bridge.ports.bundle(bundle)) else {
            return self.note(|| TraceEvent::Aside("in no VLAN of the port: not mirrored".into()));
        };
        for (i, mirror) in bridge.mirrors.iter().enumerate() {
            let waits = selecting & !self.done(bridge.id) & 1 << i != 0;
            if !waits || !mirror.vlans.carries(inside.vlan) {
                continue;
            }
            // At once, so that the copy itself is not copied there again.
            self.have_done(bridge.id, bridge.mirrors.like(mirror));
            // Once, also where both branches of a choice copy: one of them is gone.
            let is_hit = |e: &CachedEffect| matches!(e, CachedEffect::MirrorHit { traffic } if Arc::ptr_eq(traffic, &mirror.traffic));
            if !self.effects.iter().any(is_hit) {
                self.effects.push(CachedEffect::MirrorHit {
                    traffic: mirror.traffic.clone(),
                });
            }
            self.note(|| TraceEvent::Aside(format!("mirror {}", mirror.name)));
            match mirror.output {
                MirrorOutput::Port(to) => self.copy_to_port(bridge, mirror, to, &inside),
                MirrorOutput::Vlan(vlan) => self.copy_to_vlan(bridge, mirror, vlan, &inside),
            }
            if self.aborted {
                return;
            }
        }
    }

    /// The copy leaves on the mirror's port, with the tags that the port's mode wants and whatever VLANs it carries.
    fn copy_to_port(&mut self, bridge: &'a Bridge, mirror: &Mirror, to: BundleId, inside: &Inside) {
        let Some(bundle) = bridge.ports.bundle(to) else {
            return;
        };
        if bundle.priority_tags == PriorityTags::IfNonzero && inside.consumed.is_some() {
            self.see_priority();
        }
        let edit = bundle.vlan.mirror(inside, bundle.priority_tags);
        if let Some(port) = sender(bridge, bundle) {
            self.send_copies(inside, vec![(edit, port.of)], |ctx, port, edit| {
                ctx.copy_out(bridge, mirror, port, edit);
            });
        }
    }

    /// The copy floods the mirror's VLAN, the input port included, unless it was in that VLAN already.
    fn copy_to_vlan(&mut self, bridge: &'a Bridge, mirror: &Mirror, vlan: VlanId, inside: &Inside) {
        self.see(|m| m.dl_dst = [0xff; 6]);
        if inside.vlan == vlan || self.key.flow.dst().is_reserved() {
            return;
        }
        let moved = Inside { vlan, ..*inside };
        let free = bridge
            .ports
            .bundles()
            .filter(|b| !bridge.mirrors.reserves(b.id));
        let to: Vec<_> = free.collect();
        let copies = self.copies(bridge, &to, &moved);
        self.send_copies(inside, copies, |ctx, port, edit| {
            ctx.copy_out(bridge, mirror, port, edit);
        });
    }

    /// One copy leaves, its tags edited already.
    fn copy_out(
        &mut self,
        bridge: &'a Bridge,
        mirror: &Mirror,
        of: rvs_flow::OfPort,
        edit: TagEdit,
    ) {
        let Some(port) = bridge.ports.get(of) else {
            return;
        };
        if mirror.snaplen.is_some() && matches!(port.kind, PortKind::Patch { .. }) {
            return self.note(|| TraceEvent::Aside("a patch port can't shorten the copy".into()));
        }
        if let Err(reason) = self.may_send(port) {
            return self.note(|| TraceEvent::Drop(reason));
        }
        self.with_tags(port, edit, |ctx| ctx.leave(port, mirror.snaplen));
    }

    /// A port that mirrors send to takes nothing else, in neither direction.
    pub(super) fn not_reserved(&self, bridge: &Bridge, port: &Port) -> Result<(), DropReason> {
        if bridge.mirrors.reserves(port.bundle) {
            return Err(DropReason::MirrorOutput);
        }
        Ok(())
    }
}

/// What both have done.
pub(super) fn common(a: &Mirrored, b: &Mirrored) -> Mirrored {
    let of = |bridge: &BridgeId| b.iter().find(|(id, _)| id == bridge).map_or(0, |(_, s)| *s);
    a.iter()
        .map(|(bridge, set)| (*bridge, set & of(bridge)))
        .collect()
}
