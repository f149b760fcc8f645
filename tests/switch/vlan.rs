//! The VLAN matrix: every mode in, every kind of frame, every mode out, through every cache, in both orders.
//!
//! The tables say what the schema of the `Port` table says in words. [`IN`]: which VLAN a frame is in when it arrives, and
//! what tags stand behind its VLAN tag. [`OUT`]: how a frame of that VLAN leaves.

use rvs_datapath::Caches;
use rvs_flow::testing::Entropy;
use rvs_l2::VlanMode;
use rvs_packet::{MacAddr, VlanId};
use rvs_testkit::config::{access, and, map, native_tagged, native_untagged, trunk, tunnel};
use rvs_testkit::packet::{mac, BROADCAST};
use rvs_testkit::seed::for_each_seed;
use rvs_testkit::{Packet, Setup, TestSwitch};
use serde_json::{json, Value};

/// (tpid, tci)
type Tag = (u16, u16);

const PCP3: u16 = 3 << 13;
const PCP5: u16 = 5 << 13;

/// What arrives: tags from the outermost.
const FRAMES: [(&str, &[Tag]); 7] = [
    ("untagged", &[]),
    ("tagged 10", &[(0x8100, 10 | PCP3)]),
    ("tagged 20", &[(0x8100, 20 | PCP3)]),
    ("priority-tagged", &[(0x8100, PCP5)]),
    ("QinQ 20/10", &[(0x88a8, 20), (0x8100, 10)]),
    ("tagged 10/20", &[(0x8100, 10), (0x8100, 20)]),
    ("priority over 20", &[(0x8100, PCP5), (0x8100, 20)]),
];

const MODES: [&str; 8] = [
    "access 10",
    "trunk",
    "trunk 10",
    "trunk 0,20",
    "native-tagged 10 [20]",
    "native-untagged 10 [20]",
    "dot1q-tunnel 10",
    "dot1q-tunnel 10 [20]",
];

fn mode(n: usize) -> Value {
    match n {
        0 => access(10),
        1 => trunk(&[]),
        2 => trunk(&[10]),
        3 => trunk(&[0, 20]),
        4 => native_tagged(10, &[20]),
        5 => native_untagged(10, &[20]),
        6 => tunnel(10, &[]),
        _ => tunnel(10, &[20]),
    }
}

/// By mode (rows) and frame (columns): the VLAN that the frame is in, or -1. A port of a tunnel takes no tag for its own.
const IN: [[i16; 7]; 8] = [
    // untagged, 10, 20, priority, 20/10, 10/20, priority/20
    [10, -1, -1, 10, -1, -1, 10],
    [0, 10, 20, 0, 20, 10, 0],
    [-1, 10, -1, -1, -1, 10, -1],
    [0, -1, 20, 0, 20, -1, 0],
    [10, 10, 20, 10, 20, 10, 10],
    [10, 10, 20, 10, 20, 10, 10],
    [10, 10, 10, 10, 10, 10, 10],
    [-1, -1, 10, -1, 10, -1, -1],
];
const TUNNELS: [usize; 2] = [6, 7];

/// How a frame leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    Not,
    /// With a tag of its VLAN.
    Tagged,
    /// Without.
    Bare,
}
use Leaves::{Bare, Not, Tagged};

/// By mode (rows) and VLAN 0, 10 and 20, each alone and with a tag behind the VLAN tag (columns).
const OUT: [[Leaves; 6]; 8] = [
    // 0, 0 over a tag, 10, 10 over a tag, 20, 20 over a tag
    [Not, Not, Bare, Not, Not, Not],
    [Bare, Tagged, Tagged, Tagged, Tagged, Tagged],
    [Not, Not, Tagged, Tagged, Not, Not],
    [Bare, Tagged, Not, Not, Tagged, Tagged],
    [Not, Not, Tagged, Tagged, Tagged, Tagged],
    [Not, Not, Bare, Tagged, Tagged, Tagged],
    [Not, Not, Bare, Bare, Not, Not],
    // Only if the tag behind is one of the customer's VLANs: see `leaves`.
    [Not, Not, Not, Bare, Not, Not],
];

fn build(src: u8, dst: MacAddr, tags: &[Tag]) -> Vec<u8> {
    let base = Packet::between(mac(src), dst).udp(src, 9, 1000, 2000);
    let tagged = tags.iter().fold(base, |p, (tpid, tci)| p.tag(*tpid, *tci));
    tagged.build()
}

/// The tags with which frame `f` that came in by mode `i` leaves by mode `o`.
fn expected(i: usize, f: usize, o: usize) -> Option<Vec<Tag>> {
    let vlan = u16::try_from(IN[i][f]).ok()?;
    let tags = FRAMES[f].1;
    let (own, behind) = match tags.split_first() {
        Some((first, rest)) if !TUNNELS.contains(&i) => (Some(*first), rest),
        _ => (None, tags),
    };
    let column = usize::from(vlan / 10) * 2 + usize::from(!behind.is_empty());
    let mut leaves = OUT[o][column];
    if o == 7 && behind.first().is_none_or(|(_, tci)| tci & 0xfff != 20) {
        leaves = Not;
    }
    let tag = match own {
        Some((tpid, tci)) => (tpid, tci & 0xf000 | vlan),
        None if TUNNELS.contains(&i) => (0x88a8, vlan),
        None => (0x8100, vlan),
    };
    match leaves {
        Not => None,
        Tagged => Some([&[tag], behind].concat()),
        Bare => Some(behind.to_vec()),
    }
}

fn port(n: usize) -> String {
    format!("p{n}")
}

fn switch(caches: Caches) -> TestSwitch {
    let mut s = Setup::with(caches).build();
    s.add_bridge("br");
    for n in 0..MODES.len() {
        s.add_port("br", &port(n), mode(n));
        s.set_mtu(&port(n), 9000);
    }
    s
}

/// Sends every frame on every port and compares with the tables; `to` says which ports it may leave on.
fn sweep(
    s: &mut TestSwitch,
    reverse: bool,
    dst: impl Fn(usize) -> MacAddr,
    to: impl Fn(usize, usize) -> bool,
) {
    let mut cases: Vec<(usize, usize, usize)> = (0..MODES.len())
        .flat_map(|i| (0..FRAMES.len()).flat_map(move |f| (0..MODES.len()).map(move |o| (i, f, o))))
        .filter(|(i, _, o)| i != o)
        .collect();
    if reverse {
        cases.reverse();
    }
    for (i, f, o) in cases {
        let src = 1 + i as u8;
        let frame = build(src, dst(o), FRAMES[f].1);
        s.sent_all();
        s.inject(&port(i), &frame);
        s.run();
        for (out, mode) in MODES.iter().enumerate() {
            let sent = s.sent(&port(out));
            let wanted = expected(i, f, out).filter(|_| out != i && to(o, out));
            let wanted: Vec<Vec<u8>> = wanted.iter().map(|t| build(src, dst(o), t)).collect();
            let what = (FRAMES[f].0, MODES[i], mode);
            assert_eq!(
                sent.iter().map(|f| tags_of(f)).collect::<Vec<_>>(),
                wanted.iter().map(|f| tags_of(f)).collect::<Vec<_>>(),
                "{what:?}"
            );
            for (sent, wanted) in sent.iter().zip(&wanted) {
                let n = sent.len().min(wanted.len());
                assert_eq!(sent[..n], wanted[..n], "{what:?}");
            }
        }
    }
    s.assert_converged();
}

/// The tags in front of a frame.
fn tags_of(frame: &[u8]) -> Vec<Tag> {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let mut at = 12;
    let mut tags = Vec::new();
    while matches!(word(at), 0x8100 | 0x88a8) {
        tags.push((word(at), word(at + 2)));
        at += 4;
    }
    tags
}

#[test]
fn every_mode_and_frame_flooded() {
    for caches in Caches::ALL {
        for reverse in [false, true] {
            let mut s = switch(caches);
            // Twice: what the slow path decides first the caches decide then.
            sweep(&mut s, reverse, |_| BROADCAST, |_, _| true);
            sweep(&mut s, reverse, |_| BROADCAST, |_, _| true);
        }
    }
}

#[test]
fn every_mode_and_frame_to_a_known_address() {
    for caches in Caches::ALL {
        for reverse in [false, true] {
            let mut s = switch(caches);
            let bridge = s.uuid("Bridge", "br");
            let now = s.now();
            for o in 0..MODES.len() {
                for vlan in [0, 10, 20] {
                    let vlan = VlanId::new(vlan).unwrap();
                    s.switch
                        .add_static_mac(now, bridge, &port(o), vlan, mac(101 + o as u8))
                        .unwrap();
                }
            }
            let dst = |o| mac(101 + o as u8);
            sweep(&mut s, reverse, dst, |o, out| o == out);
            sweep(&mut s, reverse, dst, |o, out| o == out);
        }
    }
}

#[test]
fn the_vlan_limit_does_not_change_what_normal_does() {
    let mut s = switch(Caches::Both);
    s.set_vlan_limit(2);
    sweep(&mut s, false, |_| BROADCAST, |_, _| true);
    s.set_vlan_limit(1);
    sweep(&mut s, false, |_| BROADCAST, |_, _| true);
}

#[test]
fn priority_tags_on_an_access_port() {
    let cases = [
        ("no", [None, None, None]),
        ("if-nonzero", [None, Some(PCP5), None]),
        ("always", [None, Some(PCP5), Some(0)]),
    ];
    for (setting, expected) in cases {
        let mut s = TestSwitch::default();
        s.add_bridge("br");
        s.add_port("br", "in", trunk(&[]));
        let columns = and(
            access(10),
            json!({"other_config": map(&[("priority-tags", setting)])}),
        );
        s.add_port("br", "out", columns);
        for _ in 0..2 {
            let untagged_from_access = &[(0x8100, 10 | PCP5)][..];
            let zero = &[(0x8100, 10)][..];
            for (tags, wanted) in [(untagged_from_access, expected[1]), (zero, expected[2])] {
                s.inject("in", &build(1, BROADCAST, tags));
                s.run();
                let sent = s.sent("out");
                let wanted: Vec<Tag> = wanted.iter().map(|tci| (0x8100, *tci)).collect();
                assert_eq!(tags_of(&sent[0]), wanted, "{setting}");
            }
        }
    }
}

#[test]
fn tag_4095_as_a_dead_vlan_p2() {
    let mut s = TestSwitch::default();
    s.add_bridge("br");
    let dead = json!({"tag": 4095, "vlan_mode": "trunk", "trunks": 4095});
    s.add_port("br", "dead", dead);
    s.add_port("br", "live", access(10));
    s.add_port("br", "all", trunk(&[]));
    let sent = s.forward("dead", &build(1, BROADCAST, &[]));
    assert_eq!(sent, []);
    let sent = s.forward("live", &build(2, BROADCAST, &[]));
    assert_eq!(sent.len(), 2, "the trunk and the bridge itself: {sent:?}");
}

#[test]
fn a_tag_that_is_cut_off_goes_nowhere() {
    for caches in Caches::ALL {
        let mut s = Setup::with(caches).build();
        s.add_bridge("br");
        s.add_port("br", "a", access(10));
        s.add_port("br", "t", trunk(&[]));
        let whole = Packet::between(mac(1), BROADCAST)
            .vlan(10)
            .unpadded()
            .build();
        for len in [14, 15, 16, 17] {
            for _ in 0..2 {
                let before = s.counters().get("drop_vlan_partial");
                assert_eq!(s.forward("t", &whole[..len]), [], "{len} octets");
                assert_eq!(s.counters().get("drop_vlan_partial"), before + 1);
            }
        }
    }
}

/// The VLAN that a frame with these tags is in, by the words of the schema.
fn vlan_in(m: &VlanMode, tags: &[Tag]) -> Option<u16> {
    let vid = tags.first().map_or(0, |t| t.1 & 0xfff);
    let carries =
        |set: &rvs_l2::VlanSet, v: u16| set.is_empty() || set.contains(VlanId::new(v).unwrap());
    match m {
        VlanMode::Access(tag) => (vid == 0).then_some(tag.get()),
        VlanMode::Trunk { trunks } => carries(trunks, vid).then_some(vid),
        VlanMode::NativeTagged { tag, trunks } | VlanMode::NativeUntagged { tag, trunks } => {
            let v = if vid == 0 { tag.get() } else { vid };
            (v == tag.get() || carries(trunks, v)).then_some(v)
        }
        VlanMode::Dot1qTunnel { tag, cvlans, .. } => carries(cvlans, vid).then_some(tag.get()),
    }
}

/// Property P7, on the wire: a frame that leaves a port would be in the same VLAN if it came back in by that port, and an
/// access port shows no tag but a priority tag. (A frame of VLAN 0 that leaves bare comes back in as untagged.)
fn check_isolation(s: &TestSwitch, input: &str, frame: &[u8], sent: &[(String, Vec<u8>)]) {
    let slow = s.slow();
    let mode_of = |port: &str| {
        let (bridge, p) = slow.world().port(s.dp(port)).unwrap();
        bridge.ports.bundle(p.bundle).unwrap().vlan.clone()
    };
    let inside = vlan_in(&mode_of(input), &tags_of(frame));
    for (out, bytes) in sent {
        let mode = mode_of(out);
        let tags = tags_of(bytes);
        assert_ne!(out, input, "hairpin");
        assert!(
            inside.is_some(),
            "{input} does not take {:x?}",
            tags_of(frame)
        );
        assert_eq!(
            vlan_in(&mode, &tags),
            inside,
            "{out} ({mode:?}) showed {tags:x?}"
        );
        if let VlanMode::Access(_) = mode {
            assert!(
                tags.iter().all(|t| t.1 & 0xfff == 0) && tags.len() <= 1,
                "{out} showed {tags:x?}"
            );
        }
    }
}

fn vids(e: &mut Entropy<'_>) -> Vec<u16> {
    (0..e.below(4))
        .map(|_| e.pick(&[0, 1, 10, 20, 100, 4095]))
        .collect()
}

pub fn random_mode(e: &mut Entropy<'_>) -> Value {
    let tag = e.pick(&[0, 1, 10, 20, 100, 4095]);
    let columns = match e.below(6) {
        0 | 1 => access(tag),
        2 => trunk(&vids(e)),
        3 => native_tagged(tag, &vids(e)),
        4 => native_untagged(tag, &vids(e)),
        _ => tunnel(tag, &vids(e)),
    };
    let priority = e.pick(&["no", "if-nonzero", "always"]);
    let ethertype = e.pick(&["802.1ad", "802.1q"]);
    let config = map(&[("priority-tags", priority), ("qinq-ethtype", ethertype)]);
    and(columns, json!({"other_config": config}))
}

pub fn random_tags(e: &mut Entropy<'_>) -> Vec<Tag> {
    (0..[0, 1, 1, 2, 2, 3][e.below(6)])
        .map(|_| {
            let tci = e.pick(&[0u16, 1, 10, 20, 100, 4095]) | e.pick(&[0, PCP3, PCP5]);
            (e.pick(&[0x8100, 0x8100, 0x88a8]), tci)
        })
        .collect()
}

#[test]
fn isolation_of_random_ports_p7() {
    for_each_seed("isolation", 60, |_, e| {
        let mut s = Setup::with(e.pick(&Caches::ALL)).build();
        s.add_bridge("br");
        for n in 0..5 {
            s.add_port("br", &port(n), random_mode(e));
        }
        for _ in 0..60 {
            let i = port(e.below(5));
            let dst = e.pick(&[BROADCAST, mac(1), mac(2), mac(3)]);
            let frame = build(1 + e.below(3) as u8, dst, &random_tags(e));
            s.sent_all();
            let sent = s.forward(&i, &frame);
            check_isolation(&s, &i, &frame, &sent);
            if e.one_in(12) {
                s.set_port(&port(e.below(5)), random_mode(e));
            }
        }
    });
}
