//! NORMAL, port by port and octet by octet.

use rvs_flow::OfPort;
use rvs_l2::{FdbKey, GratuitousArp, Lesson, PriorityTags, VlanMode, VlanSet};
use rvs_packet::{edit, EtherType, Frame, MacAddr, VlanId, VlanTci};

use super::{Packet, Run, Step};
use crate::ports::{Bundle, Port};

/// A tag as it stands in a frame.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    vid: u16,
    pcp: u8,
}

/// The tags in front of the payload, `most` at most; `None` when the frame ends inside one, or says by a SNAP header that one
/// follows where none can.
pub(super) fn tags(frame: &Frame, most: usize) -> Option<Vec<Seen>> {
    let bytes = frame.bytes();
    let mut at = 12;
    let mut found = Vec::new();
    loop {
        let ethertype = u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]);
        if !EtherType(ethertype).is_vlan() || found.len() == most {
            let snap = bytes
                .get(at + 2..at + 10)
                .filter(|_| ethertype < EtherType::MIN);
            let is_tag = |s: &[u8]| {
                s[..6] == [0xaa, 0xaa, 3, 0, 0, 0]
                    && EtherType(u16::from_be_bytes([s[6], s[7]])).is_vlan()
            };
            return (found.len() == most || !snap.is_some_and(is_tag)).then_some(found);
        }
        let tci = u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]);
        // A tag is followed by a type.
        bytes.get(at + 5)?;
        found.push(Seen {
            vid: tci & 0xfff,
            pcp: (tci >> 13) as u8,
        });
        at += 4;
    }
}

fn member(set: &VlanSet, vid: u16) -> bool {
    set.is_empty() || VlanId::new(vid).is_some_and(|v| set.contains(v))
}

/// The VLAN of a frame that arrives with these tags, if the port takes it, and whether the outermost tag says so.
pub(super) fn vlan_of(mode: &VlanMode, tags: &[Seen]) -> Option<(u16, bool)> {
    let vid = tags.first().map_or(0, |t| t.vid);
    let tagged = !tags.is_empty();
    match mode {
        VlanMode::Access(own) => (vid == 0).then_some((own.get(), tagged)),
        VlanMode::Trunk { trunks } => member(trunks, vid).then_some((vid, tagged)),
        VlanMode::NativeTagged { tag, trunks } | VlanMode::NativeUntagged { tag, trunks } => {
            let vlan = if vid == 0 { tag.get() } else { vid };
            (vlan == tag.get() || member(trunks, vlan)).then_some((vlan, tagged))
        }
        VlanMode::Dot1qTunnel { tag, cvlans, .. } => {
            member(cvlans, vid).then_some((tag.get(), false))
        }
    }
}

/// What leaves: with the VLAN tag, without it, or nothing.
pub(super) enum Leaves {
    Tagged,
    Bare,
    Not,
    /// With whatever tags it has.
    AsIs,
}

pub(super) fn leaves(mode: &VlanMode, vlan: u16, behind: Option<Seen>) -> Leaves {
    // Without its VLAN tag a frame must not show another one, unless the port is there for that.
    let bare_or_tagged = if behind.is_some() {
        Leaves::Tagged
    } else {
        Leaves::Bare
    };
    match mode {
        VlanMode::Access(own) if own.get() == vlan && behind.is_none() => Leaves::Bare,
        VlanMode::Access(_) => Leaves::Not,
        VlanMode::Trunk { trunks } if !member(trunks, vlan) => Leaves::Not,
        VlanMode::Trunk { .. } if vlan == 0 => bare_or_tagged,
        VlanMode::Trunk { .. } => Leaves::Tagged,
        VlanMode::NativeTagged { tag, trunks } | VlanMode::NativeUntagged { tag, trunks }
            if vlan != tag.get() && (vlan == 0 || !member(trunks, vlan)) =>
        {
            Leaves::Not
        }
        VlanMode::NativeUntagged { tag, .. } if vlan == tag.get() => bare_or_tagged,
        VlanMode::NativeTagged { .. } | VlanMode::NativeUntagged { .. } => Leaves::Tagged,
        VlanMode::Dot1qTunnel { tag, cvlans, .. } => {
            if tag.get() == vlan && member(cvlans, behind.map_or(0, |t| t.vid)) {
                Leaves::Bare
            } else {
                Leaves::Not
            }
        }
    }
}

pub(super) fn normal<'w>(run: &mut Run<'w, '_>, p: &Packet<'w>) -> Step {
    let bridge = p.bridge;
    // As many as a key holds, behind those that the pipeline itself has pushed.
    let Some(tags) = tags(&p.frame, p.own_tags + 2) else {
        return Ok(());
    };
    let injected = p.of_port == OfPort::CONTROLLER || p.of_port == OfPort::ANY;
    let from: Option<(&Port, &Bundle)> = bridge
        .ports
        .get(p.of_port)
        .and_then(|port| Some((port, bridge.ports.bundle(port.bundle)?)));
    if from.is_none() && !injected {
        return Ok(());
    }
    // Of a bond only the member that sends is listened to.
    if from.is_some_and(|(port, b)| member_of(bridge, b).is_some_and(|m| m.of != port.of)) {
        return Ok(());
    }
    let trunk = VlanMode::default();
    let mode = from.map_or(&trunk, |(_, b)| &b.vlan);
    let Some((vlan, consumed)) = vlan_of(mode, &tags) else {
        return Ok(());
    };
    let octets = p.frame.bytes();
    let mac = |at: usize| {
        let mut m = MacAddr::ZERO;
        m.0.copy_from_slice(octets.get(at..at + 6).unwrap_or(&[0; 6]));
        m
    };
    let (dst, src) = (mac(0), mac(6));
    if !bridge.settings.forward_bpdu && reserved(dst) {
        return Ok(());
    }
    let Some(vid) = VlanId::new(vlan) else {
        return Ok(());
    };
    let learns = !bridge.settings.flood_vlans.contains(vid);
    if let (true, Some((port, b))) = (learns && !src.is_multicast() && !src.is_zero(), from) {
        let key = FdbKey {
            vlan: vid,
            mac: src,
        };
        let lesson = Lesson {
            key,
            port: b.id,
            arp: GratuitousArp::No,
        };
        debug_assert_eq!(port.bundle, b.id);
        run.out.lessons.push((bridge.id, lesson));
    }
    if from.is_some_and(|(port, _)| !port.stp.forwards()) {
        return Ok(());
    }
    let known = run
        .macs
        .get(bridge.id)
        .filter(|_| learns && !dst.is_multicast())
        .and_then(|t| t.lookup(vid, dst))
        .and_then(|id| bridge.ports.bundle(id));
    let mut to: Vec<&Bundle> = match known {
        Some(b) => vec![b],
        None => bridge
            .ports
            .bundles()
            .filter(|b| member_of(bridge, b).is_some_and(|p| !p.config.no_flood))
            .filter(|b| !bridge.mirrors.reserves(b.id))
            .collect(),
    };
    to.retain(|b| from.is_none_or(|(_, f)| f.id != b.id && !(f.protected && b.protected)));
    let view = View {
        mode,
        vlan,
        consumed,
        tags: &tags,
    };
    for (of, copy) in in_order(bridge, p, &view, vlan, &to) {
        run.send(&copy, of, None)?;
    }
    Ok(())
}

/// A frame that came with these tags by a port of that mode, and the VLAN that makes.
pub(super) struct View<'a> {
    pub(super) mode: &'a VlanMode,
    pub(super) vlan: u16,
    pub(super) consumed: bool,
    pub(super) tags: &'a [Seen],
}

/// What leaves on these ports, in VLAN `vlan` now, in the order in which it leaves: frames that stay as they are first, then
/// those with another VID, with one more tag, with one less.
pub(super) fn in_order<'w>(
    bridge: &'w crate::bridge::Bridge,
    p: &Packet<'w>,
    view: &View<'_>,
    vlan: u16,
    to: &[&'w Bundle],
) -> Vec<(OfPort, Packet<'w>)> {
    let behind = view.tags.get(usize::from(view.consumed)).copied();
    let mut copies: Vec<(Rank, OfPort, Packet<'w>)> = Vec::new();
    for b in to {
        if let Some(port) = member_of(bridge, b) {
            let how = leaves(&b.vlan, vlan, behind);
            if let Some((rank, copy)) = dress(p, view, vlan, b, how) {
                copies.push((rank, port.of, copy));
            }
        }
    }
    copies.sort_by_key(|(rank, of, _)| (*rank, *of));
    copies.into_iter().map(|(_, of, copy)| (of, copy)).collect()
}

/// How the tags were changed, and the new VID.
type Rank = (u8, u16);

/// The frame as it leaves a port that way.
pub(super) fn dress<'w>(
    p: &Packet<'w>,
    view: &View<'_>,
    vlan: u16,
    b: &Bundle,
    how: Leaves,
) -> Option<(Rank, Packet<'w>)> {
    let mut copy = p.clone();
    let outer = view.tags.first().filter(|_| view.consumed);
    let renumber = |copy: &mut Packet<'w>, vid: u16| {
        edit::set_vlan_tci(&mut copy.frame, 0, VlanTci(vid), 0xfff);
        match outer {
            Some(t) if t.vid == vid => (0, 0),
            _ => (1, vid),
        }
    };
    let rank = match how {
        Leaves::Not => return None,
        Leaves::AsIs => (0, 0),
        Leaves::Tagged if view.consumed => renumber(&mut copy, vlan),
        Leaves::Tagged => {
            let tpid = match view.mode {
                VlanMode::Dot1qTunnel { ethertype, .. } => *ethertype,
                _ => EtherType::VLAN,
            };
            edit::push_vlan(&mut copy.frame, tpid, VlanTci(vlan));
            copy.own_tags += 1;
            (2, 0)
        }
        Leaves::Bare => {
            let tunnel = matches!(b.vlan, VlanMode::Dot1qTunnel { .. });
            let keeps = match (b.priority_tags, outer.map(|t| t.pcp)) {
                (_, None) | (PriorityTags::No, _) => false,
                (PriorityTags::IfNonzero, Some(pcp)) => pcp != 0,
                (PriorityTags::Always, _) => true,
            };
            if view.consumed && keeps && !tunnel {
                renumber(&mut copy, 0)
            } else if view.consumed {
                edit::pop_vlan(&mut copy.frame);
                copy.own_tags = copy.own_tags.saturating_sub(1);
                (3, 0)
            } else {
                (0, 0)
            }
        }
    };
    Some((rank, copy))
}

/// The member of a bundle that sends.
pub(super) fn member_of<'a>(bridge: &'a crate::bridge::Bridge, b: &Bundle) -> Option<&'a Port> {
    let ports = b.members.iter().filter_map(|of| bridge.ports.get(*of));
    let mut able = ports.clone().filter(|p| p.live && p.stp.forwards());
    able.next().or_else(|| ports.clone().next())
}

/// Addresses of protocols that a bridge is itself an end of.
fn reserved(dst: MacAddr) -> bool {
    match dst.0 {
        [0x01, 0x80, 0xc2, 0, 0, last] => last <= 0x0f,
        [0x00, 0xe0, 0x2b, 0, 0, last] => matches!(last, 0 | 4 | 6),
        [0x01, 0x00, 0x0c, 0xcc, 0xcc, last] => matches!(last, 0xcc | 0xcd | 0xc0..=0xc7),
        [0x01, 0x00, 0x0c, 0xcd, 0xcd, 0xcd] | [0x01, 0x00, 0x0c, 0, 0, 0] => true,
        _ => false,
    }
}
