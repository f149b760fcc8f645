//! The VLAN matrix: which ports a flooded frame leaves on, and with which tags.
//!
//! Each row is an input port, the tags of the frame that arrives there, and for every port that it leaves on the tags with
//! which it leaves: `300` is an 802.1Q tag with VID 300, `s300` an 802.1ad tag, `300p5` one with priority 5, `-` no tag,
//! `300.10` two tags, outermost first.
#![allow(clippy::unwrap_used)]

mod common;

use common::{bridge, ether, mac, vid, vids, Lab, RawTag};
use rvs_l2::{PriorityTags, TagStack, VlanMode, VlanSet};
use rvs_packet::{EtherType, MacAddr};

fn modes() -> Vec<VlanMode> {
    let tunnel = |cvlans: &[u16]| VlanMode::Dot1qTunnel {
        tag: vid(100),
        cvlans: vids(cvlans),
        ethertype: EtherType::QINQ,
    };
    vec![
        VlanMode::Access(vid(100)),
        VlanMode::Access(vid(200)),
        VlanMode::Trunk {
            trunks: VlanSet::empty(),
        },
        VlanMode::Trunk {
            trunks: vids(&[0, 100, 4095]),
        },
        VlanMode::NativeTagged {
            tag: vid(100),
            trunks: vids(&[200]),
        },
        VlanMode::NativeUntagged {
            tag: vid(100),
            trunks: vids(&[200]),
        },
        tunnel(&[]),
        tunnel(&[10]),
        VlanMode::Access(vid(4095)),
    ]
}

fn tag(text: &str) -> RawTag {
    let (tpid, rest) = match text.strip_prefix('s') {
        Some(rest) => (0x88a8, rest),
        None => (0x8100, text),
    };
    let (vid, pcp) = rest.split_once('p').unwrap_or((rest, "0"));
    (
        tpid,
        pcp.parse::<u16>().unwrap() << 13 | vid.parse::<u16>().unwrap(),
    )
}

fn tags(text: &str) -> Vec<RawTag> {
    match text {
        "-" => vec![],
        _ => text.split('.').map(tag).collect(),
    }
}

fn text_of(frame: &[u8]) -> String {
    let mut at = 12;
    let mut out = Vec::new();
    loop {
        let short = |n: usize| u16::from_be_bytes([frame[n], frame[n + 1]]);
        let tpid = match short(at) {
            0x8100 => "",
            0x88a8 => "s",
            _ => break,
        };
        let tci = short(at + 2);
        let pcp = if tci >> 13 == 0 {
            String::new()
        } else {
            format!("p{}", tci >> 13)
        };
        out.push(format!("{tpid}{}{pcp}", tci & 0xfff));
        at += 4;
    }
    if out.is_empty() {
        "-".into()
    } else {
        out.join(".")
    }
}

#[rustfmt::skip]
const MATRIX: &[(u32, &str, &str)] = &[
    // access 100
    (1, "-",       "3:100 4:100 5:100 6:- 7:-"),
    (1, "0p5",     "3:100p5 4:100p5 5:100p5 6:- 7:-"),
    (1, "100",     ""),
    (1, "100p3",   ""),
    (1, "200",     ""),
    (1, "300",     ""),
    (1, "10",      ""),
    (1, "4095",    ""),
    (1, "s100",    ""),
    (1, "100.10",  ""),
    (1, "100.11",  ""),
    (1, "0.10",    "3:100.10 4:100.10 5:100.10 6:100.10 7:10 8:10"),
    (1, "200.100", ""),
    // access 200
    (2, "-",       "3:200 5:200 6:200"),
    (2, "0p5",     "3:200p5 5:200p5 6:200p5"),
    (2, "100",     ""),
    (2, "100p3",   ""),
    (2, "200",     ""),
    (2, "300",     ""),
    (2, "10",      ""),
    (2, "4095",    ""),
    (2, "s100",    ""),
    (2, "100.10",  ""),
    (2, "100.11",  ""),
    (2, "0.10",    "3:200.10 5:200.10 6:200.10"),
    (2, "200.100", ""),
    // trunk of everything
    (3, "-",       "4:-"),
    (3, "0p5",     "4:-"),
    (3, "100",     "1:- 4:100 5:100 6:- 7:-"),
    (3, "100p3",   "1:- 4:100p3 5:100p3 6:- 7:-"),
    (3, "200",     "2:- 5:200 6:200"),
    (3, "300",     ""),
    (3, "10",      ""),
    (3, "4095",    "4:4095 9:-"),
    (3, "s100",    "1:- 4:s100 5:s100 6:- 7:-"),
    (3, "100.10",  "4:100.10 5:100.10 6:100.10 7:10 8:10"),
    (3, "100.11",  "4:100.11 5:100.11 6:100.11 7:11"),
    (3, "0.10",    "4:0.10"),
    (3, "200.100", "5:200.100 6:200.100"),
    // trunk of 0, 100, 4095
    (4, "-",       "3:-"),
    (4, "0p5",     "3:-"),
    (4, "100",     "1:- 3:100 5:100 6:- 7:-"),
    (4, "100p3",   "1:- 3:100p3 5:100p3 6:- 7:-"),
    (4, "200",     ""),
    (4, "300",     ""),
    (4, "10",      ""),
    (4, "4095",    "3:4095 9:-"),
    (4, "s100",    "1:- 3:s100 5:s100 6:- 7:-"),
    (4, "100.10",  "3:100.10 5:100.10 6:100.10 7:10 8:10"),
    (4, "100.11",  "3:100.11 5:100.11 6:100.11 7:11"),
    (4, "0.10",    "3:0.10"),
    (4, "200.100", ""),
    // native-tagged 100, trunk of 200
    (5, "-",       "1:- 3:100 4:100 6:- 7:-"),
    (5, "0p5",     "1:- 3:100p5 4:100p5 6:- 7:-"),
    (5, "100",     "1:- 3:100 4:100 6:- 7:-"),
    (5, "100p3",   "1:- 3:100p3 4:100p3 6:- 7:-"),
    (5, "200",     "2:- 3:200 6:200"),
    (5, "300",     ""),
    (5, "10",      ""),
    (5, "4095",    ""),
    (5, "s100",    "1:- 3:s100 4:s100 6:- 7:-"),
    (5, "100.10",  "3:100.10 4:100.10 6:100.10 7:10 8:10"),
    (5, "100.11",  "3:100.11 4:100.11 6:100.11 7:11"),
    (5, "0.10",    "3:100.10 4:100.10 6:100.10 7:10 8:10"),
    (5, "200.100", "3:200.100 6:200.100"),
    // native-untagged 100, trunk of 200
    (6, "-",       "1:- 3:100 4:100 5:100 7:-"),
    (6, "0p5",     "1:- 3:100p5 4:100p5 5:100p5 7:-"),
    (6, "100",     "1:- 3:100 4:100 5:100 7:-"),
    (6, "100p3",   "1:- 3:100p3 4:100p3 5:100p3 7:-"),
    (6, "200",     "2:- 3:200 5:200"),
    (6, "300",     ""),
    (6, "10",      ""),
    (6, "4095",    ""),
    (6, "s100",    "1:- 3:s100 4:s100 5:s100 7:-"),
    (6, "100.10",  "3:100.10 4:100.10 5:100.10 7:10 8:10"),
    (6, "100.11",  "3:100.11 4:100.11 5:100.11 7:11"),
    (6, "0.10",    "3:100.10 4:100.10 5:100.10 7:10 8:10"),
    (6, "200.100", "3:200.100 5:200.100"),
    // dot1q-tunnel 100
    (7, "-",       "1:- 3:s100 4:s100 5:s100 6:-"),
    (7, "0p5",     "3:s100.0p5 4:s100.0p5 5:s100.0p5 6:s100.0p5"),
    (7, "100",     "3:s100.100 4:s100.100 5:s100.100 6:s100.100"),
    (7, "100p3",   "3:s100.100p3 4:s100.100p3 5:s100.100p3 6:s100.100p3"),
    (7, "200",     "3:s100.200 4:s100.200 5:s100.200 6:s100.200"),
    (7, "300",     "3:s100.300 4:s100.300 5:s100.300 6:s100.300"),
    (7, "10",      "3:s100.10 4:s100.10 5:s100.10 6:s100.10 8:10"),
    (7, "4095",    "3:s100.4095 4:s100.4095 5:s100.4095 6:s100.4095"),
    (7, "s100",    "3:s100.s100 4:s100.s100 5:s100.s100 6:s100.s100"),
    (7, "100.10",  "3:s100.100.10 4:s100.100.10 5:s100.100.10 6:s100.100.10"),
    (7, "100.11",  "3:s100.100.11 4:s100.100.11 5:s100.100.11 6:s100.100.11"),
    (7, "0.10",    "3:s100.0.10 4:s100.0.10 5:s100.0.10 6:s100.0.10"),
    (7, "200.100", "3:s100.200.100 4:s100.200.100 5:s100.200.100 6:s100.200.100"),
    // dot1q-tunnel 100, cvlans 10
    (8, "-",       ""),
    (8, "0p5",     ""),
    (8, "100",     ""),
    (8, "100p3",   ""),
    (8, "200",     ""),
    (8, "300",     ""),
    (8, "10",      "3:s100.10 4:s100.10 5:s100.10 6:s100.10 7:10"),
    (8, "4095",    ""),
    (8, "s100",    ""),
    (8, "100.10",  ""),
    (8, "100.11",  ""),
    (8, "0.10",    ""),
    (8, "200.100", ""),
    // access 4095
    (9, "-",       "3:4095 4:4095"),
    (9, "0p5",     "3:4095p5 4:4095p5"),
    (9, "100",     ""),
    (9, "100p3",   ""),
    (9, "200",     ""),
    (9, "300",     ""),
    (9, "10",      ""),
    (9, "4095",    ""),
    (9, "s100",    ""),
    (9, "100.10",  ""),
    (9, "100.11",  ""),
    (9, "0.10",    "3:4095.10 4:4095.10"),
    (9, "200.100", ""),
];

#[test]
fn frames_leave_where_and_as_the_matrix_says() {
    let lab = Lab::new([bridge(&modes())]);
    for (port, arriving, want) in MATRIX {
        let frame = ether(MacAddr::BROADCAST, mac(1), &tags(arriving));
        let got: Vec<String> = lab
            .sent(&frame, *port)
            .iter()
            .map(|(p, f)| format!("{p}:{}", text_of(f)))
            .collect();
        assert_eq!(got.join(" "), *want, "port {port}, {arriving}");
    }
}

#[test]
fn priority_tags_on_access_ports() {
    // The input trunk is port 1, the access ports 2 to 4 differ in their priority-tags.
    let mut lab = Lab::new([bridge(&[
        VlanMode::default(),
        VlanMode::Access(vid(100)),
        VlanMode::Access(vid(100)),
        VlanMode::Access(vid(100)),
    ])]);
    lab.change(|b| {
        let kinds = [
            PriorityTags::No,
            PriorityTags::No,
            PriorityTags::IfNonzero,
            PriorityTags::Always,
        ];
        let bundles =
            b.ports
                .bundles()
                .zip(kinds)
                .map(|(bundle, priority_tags)| rvs_pipeline::Bundle {
                    priority_tags,
                    ..bundle.clone()
                });
        let ports = rvs_pipeline::Ports::new(b.ports.iter().cloned(), bundles.collect::<Vec<_>>());
        b.ports = std::sync::Arc::new(ports.unwrap());
    });
    for (port, arriving, want) in [
        (1, "100", "2:- 3:- 4:0"),
        (1, "100p6", "2:- 3:0p6 4:0p6"),
        (2, "-", "1:100 3:- 4:-"),
        (2, "0", "1:100 3:- 4:0"),
        (2, "0p6", "1:100p6 3:0p6 4:0p6"),
    ] {
        let frame = ether(MacAddr::BROADCAST, mac(1), &tags(arriving));
        let got: Vec<String> = lab
            .sent(&frame, port)
            .iter()
            .map(|(p, f)| format!("{p}:{}", text_of(f)))
            .collect();
        assert_eq!(got.join(" "), want, "port {port}, {arriving}");
    }
}

#[test]
fn a_tag_that_is_cut_off_is_dropped() {
    let lab = Lab::new([bridge(&modes())]);
    for port in 1..=9 {
        for len in 14..18 {
            let mut frame = ether(MacAddr::BROADCAST, mac(1), &tags("0"));
            frame.truncate(len);
            assert!(
                lab.sent(&frame, port).is_empty(),
                "port {port}, {len} octets"
            );
        }
    }
}

#[test]
fn the_canonical_form_of_dei_passes_untouched() {
    let lab = Lab::new([bridge(&[VlanMode::default(), VlanMode::default()])]);
    let frame = ether(MacAddr::BROADCAST, mac(1), &[(0x8100, 0x1064)]);
    assert_eq!(lab.sent(&frame, 1), vec![(2, frame)]);
}

/// P7: a frame that leaves a port, read back as if it had arrived there, is in the VLAN that it was in.
#[test]
fn p7_no_frame_changes_its_vlan_on_the_way_through() {
    let modes = modes();
    let lab = Lab::new([bridge(&modes)]);
    let stack = |raw: &[RawTag]| {
        let one = |t: &RawTag| rvs_l2::Tag {
            tpid: EtherType(t.0),
            vid: vid(t.1 & 0xfff),
            pcp: (t.1 >> 13) as u8,
        };
        TagStack {
            outer: raw.first().map(one),
            inner: raw.get(1).map(one),
        }
    };
    let pool = ["0", "0p5", "10", "100", "200", "4095", "s100", "s10", "300"];
    let mut frames: Vec<Vec<RawTag>> = vec![vec![]];
    for a in pool {
        frames.push(vec![tag(a)]);
        frames.extend(pool.iter().map(|b| vec![tag(a), tag(b)]));
    }
    for port in 1..=9u32 {
        for raw in &frames {
            let frame = ether(MacAddr::BROADCAST, mac(1), raw);
            let came_in = modes[port as usize - 1].input(&stack(raw)).map(|i| i.vlan);
            let left = lab.sent(&frame, port);
            assert!(came_in.is_ok() || left.is_empty());
            for (to, f) in left {
                assert_ne!(to, port);
                let back = modes[to as usize - 1].input(&stack(&tags(&text_of(&f))));
                assert_eq!(
                    back.map(|i| i.vlan),
                    came_in,
                    "{raw:x?} from {port} to {to}"
                );
            }
        }
    }
}
