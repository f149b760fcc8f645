//! NORMAL: what a learning VLAN bridge does (IEEE 802.1Q clause 8, semantics of the `Port` table).

use rvs_dpif::{DpAction, DropReason};
use rvs_flow::{OfPort, Present};
use rvs_l2::{
    BundleId, FdbKey, GratuitousArp, Inside, Lesson, PriorityTags, TagEdit, VlanDrop, VlanMode,
};
use rvs_packet::MacAddr;

use super::ctx::Ctx;
use super::vlan::set_vid;
use crate::bridge::Bridge;
use crate::ports::{Bundle, Port};
use crate::trace::{Trace, TraceEvent};
use crate::translation::{push, CachedEffect, MacDep};

impl<'a, T: Trace> Ctx<'a, '_, T> {
    pub(super) fn normal(&mut self) {
        if let Err(reason) = self.forward_normally() {
            self.drop_with(reason);
        }
    }

    fn forward_normally(&mut self) -> Result<(), DropReason> {
        let Some(bridge) = self.at.bridge else {
            return Err(DropReason::NoBridge);
        };
        let of = OfPort(self.key.of_port);
        let (input, bundle) = self.input_bundle(bridge, of)?;
        let inside = self.classify(bundle)?;
        // A neighbour that knows nothing of the bond floods into all its members: one of them is listened to.
        let active = bundle.and_then(|b| sender(bridge, b));
        if active.is_some_and(|active| active.of != of) {
            return Err(DropReason::InactiveMember);
        }
        let (src, dst) = (self.key.flow.src(), self.key.flow.dst());
        self.see(|m| {
            m.dl_src = [0xff; 6];
            m.dl_dst = [0xff; 6];
        });
        if !bridge.settings.forward_bpdu && is_reserved(dst) {
            return Err(DropReason::ReservedMulticast);
        }
        let learns = !bridge.settings.flood_vlans.contains(inside.vlan);
        if let (Some(bundle), true) = (bundle, learns) {
            self.learn_source(bridge, bundle.id, &inside, src);
        }
        if input.is_some_and(|p| !p.stp.forwards()) {
            return Err(DropReason::StpBlocked);
        }
        if dst.is_multicast() || !learns {
            return self.flood_vlan(bridge, bundle, &inside);
        }
        match self.find(bridge, &inside, dst) {
            None => self.flood_vlan(bridge, bundle, &inside),
            Some(to) if bundle.is_some_and(|b| b.id == to.id) => Err(DropReason::SplitHorizon),
            Some(to) => {
                self.note(|| TraceEvent::Note("forwarding to learned port".into()));
                self.send(bridge, bundle, &inside, &[to])
            }
        }
    }

    /// The port and bundle that the packet came from. Packets that a controller injects without a port have none: they are
    /// in whatever VLAN their tag says, and teach nothing.
    fn input_bundle(
        &mut self,
        bridge: &'a Bridge,
        of: OfPort,
    ) -> Result<(Option<&'a Port>, Option<&'a Bundle>), DropReason> {
        if of == OfPort::CONTROLLER || of == OfPort::ANY {
            return Ok((None, None));
        }
        let port = bridge.ports.get(of).ok_or(DropReason::NoPort)?;
        Ok((Some(port), bridge.ports.bundle(port.bundle)))
    }

    /// The VLAN of the packet.
    pub(super) fn classify(&mut self, bundle: Option<&Bundle>) -> Result<Inside, DropReason> {
        self.see(|m| m.present |= Present::BAD_VLAN);
        if self.key.flow.present.has(Present::BAD_VLAN) {
            return Err(DropReason::VlanPartial);
        }
        let tags = self.tags();
        let trunk = VlanMode::default();
        let mode = bundle.map_or(&trunk, |b| &b.vlan);
        mode.input(&tags).map_err(|e| match e {
            VlanDrop::TagOnAccess => DropReason::VlanTagOnAccess,
            VlanDrop::NotInTrunk => DropReason::VlanNotInTrunk,
            VlanDrop::CvlanNotAllowed => DropReason::VlanCvlan,
        })
    }

    fn learn_source(&mut self, bridge: &Bridge, port: BundleId, inside: &Inside, src: MacAddr) {
        if src.is_multicast() || src.is_zero() {
            return;
        }
        let key = FdbKey {
            vlan: inside.vlan,
            mac: src,
        };
        let lesson = Lesson {
            key,
            port,
            arp: GratuitousArp::No,
        };
        let same = |e: &CachedEffect| matches!(e, CachedEffect::Learn { bridge: b, lesson: l } if (*b, *l) == (bridge.id, lesson));
        if !self.effects.iter().any(same) {
            self.effects.push(CachedEffect::Learn {
                bridge: bridge.id,
                lesson,
            });
        }
        self.note(|| TraceEvent::Aside(format!("{src} in VLAN {} is here", inside.vlan)));
    }

    /// Where the address was learned, as long as that port still is.
    fn find(&mut self, bridge: &'a Bridge, inside: &Inside, dst: MacAddr) -> Option<&'a Bundle> {
        let key = FdbKey {
            vlan: inside.vlan,
            mac: dst,
        };
        push(
            &mut self.deps.macs,
            MacDep {
                bridge: bridge.id,
                key,
            },
        );
        let learned = self.view.macs.get(bridge.id)?.lookup(key.vlan, key.mac)?;
        bridge.ports.bundle(learned)
    }

    fn flood_vlan(
        &mut self,
        bridge: &'a Bridge,
        from: Option<&'a Bundle>,
        inside: &Inside,
    ) -> Result<(), DropReason> {
        self.note(|| TraceEvent::Note("no learned MAC for destination, flooding".into()));
        let others: Vec<&Bundle> = bridge
            .ports
            .bundles()
            .filter(|b| from.is_none_or(|f| f.id != b.id) && !bridge.mirrors.reserves(b.id))
            .filter(|b| sender(bridge, b).is_some_and(|p| !p.config.no_flood))
            .collect();
        self.send(bridge, from, inside, &others)
    }

    /// Sends the frame to those of the bundles that carry it, each with the tags that it wants.
    fn send(
        &mut self,
        bridge: &'a Bridge,
        from: Option<&'a Bundle>,
        inside: &Inside,
        to: &[&'a Bundle],
    ) -> Result<(), DropReason> {
        let isolated = |b: &&&Bundle| !(b.protected && from.is_some_and(|f| f.protected));
        let apart: Vec<&Bundle> = to.iter().filter(isolated).copied().collect();
        let copies = self.copies(bridge, &apart, inside);
        if copies.is_empty() {
            let blocked = to.iter().any(|b| !isolated(&b));
            return Err(if blocked {
                DropReason::Protected
            } else {
                DropReason::NoFloodPort
            });
        }
        self.send_copies(inside, copies, |ctx, port, edit| {
            ctx.output_with_tags(port, edit);
        });
        Ok(())
    }

    /// Ports of those bundles that carry the frame, each with the edit that it wants.
    pub(super) fn copies(
        &mut self,
        bridge: &'a Bridge,
        to: &[&'a Bundle],
        inside: &Inside,
    ) -> Vec<(TagEdit, OfPort)> {
        let mut copies = Vec::with_capacity(to.len());
        for bundle in to {
            let Some(port) = sender(bridge, bundle) else {
                continue;
            };
            self.see_behind(bundle.vlan.looks_behind(inside.vlan));
            if bundle.priority_tags == PriorityTags::IfNonzero && inside.consumed.is_some() {
                self.see_priority();
            }
            if let Some(edit) = bundle.vlan.output(inside, bundle.priority_tags) {
                copies.push((edit, port.of));
            }
        }
        copies
    }

    /// Sends copies of a frame that is in the VLAN `inside` says, each with its edit, and leaves the frame as it was.
    pub(super) fn send_copies(
        &mut self,
        inside: &Inside,
        mut copies: Vec<(TagEdit, OfPort)>,
        mut send: impl FnMut(&mut Self, OfPort, TagEdit),
    ) {
        // From the frame as it is to the frame without its tag: in this order each edit follows from the one before, and
        // nothing has to be restored in between.
        copies.sort_unstable();
        let scope = self.out.begin();
        let mut now = TagEdit::Keep;
        for (edit, port) in copies {
            if edit != now {
                self.edit_tag(edit);
                now = edit;
            }
            send(self, port, edit);
            if self.exit {
                break;
            }
        }
        match (now, inside.consumed) {
            (TagEdit::Push { .. }, _) => self.out.end_undoing(scope, DpAction::PopVlan),
            (TagEdit::SetVid(_), Some(tag)) => self.out.end_undoing(scope, set_vid(tag.vid)),
            _ => self.out.end(scope),
        }
    }

    /// Sends the frame, whose tags were edited, on a port.
    fn output_with_tags(&mut self, of: OfPort, edit: TagEdit) {
        let Some(port) = self.at.bridge.and_then(|b| b.ports.get(of)) else {
            return;
        };
        self.with_tags(port, edit, |ctx| ctx.output_port(of, None));
    }

    /// Another bridge, and a mirror, have to see in the key what was done to the tags.
    pub(super) fn with_tags(&mut self, port: &Port, edit: TagEdit, send: impl FnOnce(&mut Self)) {
        if port.dp().is_some() && !self.awaits_departure(port.bundle) {
            return send(self);
        }
        let saved = self.save();
        self.apply_tag_edit(edit);
        send(self);
        self.restore(saved);
    }
}

/// The member that a bundle sends through, and takes frames from.
pub(super) fn sender<'a>(bridge: &'a Bridge, bundle: &Bundle) -> Option<&'a Port> {
    bridge.ports.active(bundle)
}

/// Control protocols of a link, which end at a bridge: IEEE 802.1D and Cisco's and Extreme Networks' own.
fn is_reserved(dst: MacAddr) -> bool {
    const CISCO_CFM: u64 = 0x0100_0ccc_ccc0;
    let mac = dst.to_u64();
    dst.is_reserved()
        || mac & !7 == CISCO_CFM
        || matches!(
            mac,
            // Extreme discovery and EAPS.
            0x00e0_2b00_0000 | 0x00e0_2b00_0004 | 0x00e0_2b00_0006
            // ISL, CDP and VTP, PVST+, STP uplink fast.
            | 0x0100_0c00_0000 | 0x0100_0ccc_cccc | 0x0100_0ccc_cccd | 0x0100_0ccd_cdcd
        )
}
