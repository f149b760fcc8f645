//! Mirrors, one by one.

use rvs_l2::VlanMode;

use super::normal::{self, Leaves, View};
use super::{Packet, Run, Step};
use crate::mirror::{Mirror, MirrorOutput, MirrorPorts};
use crate::ports::{Bundle, Port, PortKind};

/// The frame passes a port: mirrors that select it and have had no copy of the frame get one.
pub(super) fn mirror<'w>(
    run: &mut Run<'w, '_>,
    p: &Packet<'w>,
    port: &Port,
    leaving: bool,
) -> Step {
    let bridge = p.bridge;
    let Some(passed) = bridge.ports.bundle(port.bundle) else {
        return Ok(());
    };
    let Some(tags) = normal::tags(&p.frame, p.own_tags + 2) else {
        return Ok(());
    };
    let Some((vlan, consumed)) = normal::vlan_of(&passed.vlan, &tags) else {
        return Ok(());
    };
    let view = View {
        mode: &passed.vlan,
        vlan,
        consumed,
        tags: &tags,
    };
    for (i, m) in bridge.mirrors.iter().enumerate() {
        let ports = if leaving { &m.leaving } else { &m.arriving };
        let selected = match ports {
            MirrorPorts::All => true,
            MirrorPorts::These(set) => set.contains(&passed.id),
        };
        let in_vlan = m.vlans.is_empty() || m.vlans.iter().any(|v| v.get() == vlan);
        if !selected || !in_vlan || run.mirrored.contains(&(bridge.id, i)) {
            continue;
        }
        for (j, other) in bridge.mirrors.iter().enumerate() {
            if other.output == m.output {
                run.mirrored.insert((bridge.id, j));
            }
        }
        copy(run, p, m, &view)?;
    }
    Ok(())
}

fn copy<'w>(run: &mut Run<'w, '_>, p: &Packet<'w>, m: &Mirror, view: &View<'_>) -> Step {
    let bridge = p.bridge;
    match m.output {
        MirrorOutput::Port(id) => {
            let Some(to) = bridge.ports.bundle(id) else {
                return Ok(());
            };
            let Some((_, copy)) = normal::dress(p, view, view.vlan, to, as_sent(to, view.vlan))
            else {
                return Ok(());
            };
            match normal::member_of(bridge, to) {
                Some(port) => leave(run, &copy, m, port),
                None => Ok(()),
            }
        }
        MirrorOutput::Vlan(vlan) => {
            let own = p.frame.bytes().starts_with(&[0x01, 0x80, 0xc2, 0, 0]);
            let own = own && p.frame.bytes().get(5).is_some_and(|last| *last <= 0x0f);
            if vlan.get() == view.vlan || own {
                return Ok(());
            }
            let free: Vec<&Bundle> = bridge
                .ports
                .bundles()
                .filter(|b| !bridge.mirrors.reserves(b.id))
                .collect();
            for (of, copy) in normal::in_order(bridge, p, view, vlan.get(), &free) {
                if let Some(port) = bridge.ports.get(of) {
                    leave(run, &copy, m, port)?;
                }
            }
            Ok(())
        }
    }
}

fn leave<'w>(run: &mut Run<'w, '_>, copy: &Packet<'w>, m: &Mirror, port: &'w Port) -> Step {
    if m.snaplen.is_some() && matches!(port.kind, PortKind::Patch { .. }) {
        return Ok(());
    }
    run.leave(copy, port, m.snaplen)
}

/// What the mirror's port makes of a frame in that VLAN.
fn as_sent(to: &Bundle, vlan: u16) -> Leaves {
    match &to.vlan {
        VlanMode::Access(_) | VlanMode::Dot1qTunnel { .. } => Leaves::Bare,
        VlanMode::NativeUntagged { tag, .. } if tag.get() == vlan => Leaves::Bare,
        _ if vlan == 0 => Leaves::AsIs,
        _ => Leaves::Tagged,
    }
}
