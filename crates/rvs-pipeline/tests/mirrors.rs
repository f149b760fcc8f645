//! Mirrors by example; `oracle.rs` has them at random.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{bridge, ether, flow, mac, table_with, udp, vid, vids, Lab};
use rvs_dpif::{DpAction, DropReason};
use rvs_flow::{DpPort, OfPort};
use rvs_l2::{BundleId, VlanMode, VlanSet};
use rvs_openflow::Action;
use rvs_packet::{Frame, MacAddr};
use rvs_pipeline::{
    Bridge, CachedEffect, FragMode, Mirror, MirrorOutput, MirrorPorts, Port, Ports, Settings,
    StpState, Tables, MAX_MIRRORS,
};

fn mirror(output: MirrorOutput) -> Mirror {
    Mirror {
        name: "m".into(),
        arriving: MirrorPorts::All,
        leaving: MirrorPorts::All,
        vlans: VlanSet::empty(),
        output,
        snaplen: None,
        traffic: Arc::default(),
    }
}

fn to_port(n: u32) -> Mirror {
    mirror(MirrorOutput::Port(BundleId(n)))
}

fn set(b: &mut Bridge, mirrors: impl IntoIterator<Item = Mirror>) {
    b.mirrors = Arc::new(mirrors.into_iter().collect());
}

/// Four trunks, of which some are access ports.
fn lab(modes: [Option<u16>; 4], mirrors: impl IntoIterator<Item = Mirror>) -> Lab {
    let modes = modes.map(|tag| tag.map_or(VlanMode::default(), |n| VlanMode::Access(vid(n))));
    let mut b = bridge(&modes);
    set(&mut b, mirrors);
    Lab::new([b])
}

fn does(lab: &mut Lab, actions: Vec<Action>) {
    let table = table_with(0, [flow(0, 1, "", actions)]);
    lab.change(|b| b.tables = Arc::new(Tables::default().with(Arc::new(table))));
}

fn out(n: u32) -> Action {
    Action::output(OfPort(n))
}

fn plain() -> Vec<u8> {
    ether(mac(2), mac(1), &[])
}

#[test]
fn each_mirror_has_one_copy_whatever_the_tables_do() {
    let mut lab = lab([None; 4], [to_port(3)]);
    for actions in [
        vec![],
        vec![out(2)],
        vec![out(2), out(4), out(2)],
        vec![Action::Clone(Box::new([out(2)])), out(4)],
    ] {
        does(&mut lab, actions);
        let to = lab.ports(&plain(), 1);
        assert_eq!(to.iter().filter(|p| **p == 3).count(), 1, "{to:?}");
    }
}

#[test]
fn a_mirrors_port_is_for_nothing_else() {
    let mut lab = lab([None; 4], [to_port(3)]);
    assert_eq!(
        lab.ports(&ether(MacAddr::BROADCAST, mac(1), &[]), 1),
        [2, 3, 4]
    );
    for action in [
        out(3),
        Action::output(OfPort::ALL),
        Action::output(OfPort::FLOOD),
    ] {
        does(&mut lab, vec![action]);
        let to = lab.ports(&plain(), 1);
        assert_eq!(to.iter().filter(|p| **p == 3).count(), 1, "{to:?}");
        let frame = Frame::from_slice(&plain());
        let t = lab.translate(&lab.key(&frame, 3));
        assert_eq!(
            (t.actions, t.drop),
            (vec![], Some(DropReason::MirrorOutput))
        );
    }
    // An address that was learned there before leads nowhere.
    does(&mut lab, vec![Action::output(OfPort::NORMAL)]);
    lab.knows(common::BR, 0, mac(2), 3);
    assert_eq!(lab.ports(&plain(), 1), [3], "the copy alone");
}

#[test]
fn a_tag_for_the_copy_alone_is_taken_off_again_without_a_clone() {
    let mut lab = lab([Some(100), None, None, None], [to_port(3)]);
    does(&mut lab, vec![out(2)]);
    let frame = Frame::from_slice(&plain());
    let t = lab.translate(&lab.key(&frame, 1));
    assert!(
        matches!(
            &t.actions[..],
            [
                DpAction::PushVlan { .. },
                DpAction::Output(DpPort(3)),
                DpAction::PopVlan,
                DpAction::Output(DpPort(2))
            ]
        ),
        "{:?}",
        t.actions
    );
    assert_eq!(lab.ports(&plain(), 1), [2, 3]);
}

#[test]
fn a_vlan_is_flooded_but_with_its_own_frames() {
    let lab = lab(
        [None, Some(12), Some(5), None],
        [mirror(MirrorOutput::Vlan(vid(12)))],
    );
    let sent = lab.sent(&ether(MacAddr::BROADCAST, mac(1), &[(0x8100, 5)]), 1);
    let tagged = |vlan: u16| ether(MacAddr::BROADCAST, mac(1), &[(0x8100, vlan)]);
    let bare = ether(MacAddr::BROADCAST, mac(1), &[]);
    assert_eq!(
        sent,
        [
            (1, tagged(12)),
            (2, bare.clone()),
            (3, bare),
            (4, tagged(5)),
            (4, tagged(12))
        ]
    );
    assert_eq!(lab.ports(&tagged(12), 1), [2, 4], "no loops");
    let reserved = ether(MacAddr([1, 0x80, 0xc2, 0, 0, 3]), mac(1), &[]);
    assert_eq!(lab.ports(&reserved, 1), [] as [u32; 0]);
}

#[test]
fn vlans_select() {
    let mut m = to_port(3);
    m.vlans = vids(&[7]);
    let mut lab = lab([Some(7), None, None, None], [m]);
    does(&mut lab, vec![out(2)]);
    assert_eq!(lab.ports(&plain(), 1), [2, 3]);
    assert_eq!(lab.ports(&plain(), 4), [2]);
    assert_eq!(lab.ports(&ether(mac(2), mac(1), &[(0x8100, 7)]), 4), [2, 3]);
    // In no VLAN of port 1, but in VLAN 7 where it leaves.
    assert_eq!(lab.ports(&ether(mac(2), mac(1), &[(0x8100, 7)]), 1), [2, 3]);
}

#[test]
fn mirrors_of_mirrors_end() {
    let lab = lab([None; 4], [to_port(3), to_port(4)]);
    assert_eq!(lab.ports(&plain(), 1), [2, 3, 4]);
}

/// A spanning tree lets a port learn, not forward.
fn only_learns(lab: &mut Lab, blocked: u32) {
    lab.change(|b| {
        let ports = (1..=4).map(|n| {
            let mut port = Port::device(OfPort(n), DpPort(n), "p");
            if n == blocked {
                port.stp = StpState::Learning;
            }
            (port, VlanMode::default())
        });
        b.ports = Arc::new(Ports::singles(ports).unwrap());
    });
}

#[test]
fn copies_that_a_tree_takes_back_are_not_counted() {
    let mut lab = lab([None; 4], [to_port(3)]);
    let counts = |lab: &Lab| {
        let t = lab.translate(&lab.key(&Frame::from_slice(&plain()), 1));
        let hits = |e: &&CachedEffect| matches!(e, CachedEffect::MirrorHit { .. });
        t.effects.iter().filter(hits).count()
    };
    assert_eq!(counts(&lab), 1);
    only_learns(&mut lab, 1);
    assert_eq!((counts(&lab), lab.ports(&plain(), 1)), (0, vec![]));
}

#[test]
fn a_dropped_fragment_is_mirrored_but_not_from_a_blocked_port() {
    let mut fragment = udp(1, 2, &[]);
    fragment[20] = 0x20;
    rvs_flow::testing::fix_checksums(&mut fragment);
    let mut lab = lab([None; 4], [to_port(3)]);
    lab.change(|b| {
        b.settings = Arc::new(Settings {
            frags: FragMode::Drop,
            ..Settings::default()
        });
    });
    assert_eq!(lab.ports(&fragment, 1), [3]);
    only_learns(&mut lab, 1);
    assert_eq!(lab.ports(&fragment, 1), Vec::<u32>::new());
}

#[test]
fn more_than_the_limit_are_left_out() {
    let all: rvs_pipeline::Mirrors = (0..100).map(|_| to_port(3)).collect();
    assert_eq!(all.iter().count(), MAX_MIRRORS);
}

#[test]
fn a_copy_has_the_dscp_that_the_frame_left_with() {
    let mut lab = lab([None; 4], [to_port(3), to_port(4)]);
    lab.change(|b| {
        let dscp = [(2, 46), (3, 10)];
        let ports = (1..=4).map(|n| {
            let mut port = Port::device(OfPort(n), DpPort(n), "p");
            let marks = dscp.iter().filter(|(of, _)| *of == n);
            port.dscp = marks.map(|(_, to)| (0x1_0002, *to)).collect();
            (port, VlanMode::default())
        });
        b.ports = Arc::new(Ports::singles(ports).unwrap());
        let leaving = |n| Mirror {
            arriving: MirrorPorts::These([].into()),
            leaving: MirrorPorts::These([BundleId(2)].into()),
            ..to_port(n)
        };
        set(b, [leaving(3), leaving(4)]);
    });
    does(
        &mut lab,
        vec![Action::SetQueue(1), out(2), Action::output(OfPort::IN_PORT)],
    );
    let tos = |(port, frame): (u32, Vec<u8>)| (port, frame[15] >> 2);
    let sent: Vec<_> = lab.sent(&udp(1, 2, &[]), 1).into_iter().map(tos).collect();
    // Port 3 has a DSCP of its own for the queue, port 4 none; what leaves elsewhere is as it was.
    assert_eq!(sent, [(1, 0), (2, 46), (3, 10), (4, 46)]);
}
