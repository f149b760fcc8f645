//! Frames that broke switches, by the record of it: CVEs, and Open vSwitch's own list of wrongly forwarded packets.
//!
//! Each is sent before and after ordinary traffic, through every cache: what an attacker sends must not change what happens
//! to anybody else's frames, neither by what it leaves in the caches nor by what it finds there. Every frame is also held
//! against the naive interpreter.

use std::sync::Arc;

use rvs_datapath::Caches;
use rvs_dpif::Megaflow;
use rvs_flow::testing::P0;
use rvs_flow::{OdpFlow, OfPort};
use rvs_openflow::Action;
use rvs_packet::MacAddr;
use rvs_testkit::packet::{hex, mac};
use rvs_testkit::{Packet, Setup, TestSwitch};
use serde_json::json;

/// A frame that arrives, and the ports it must leave on.
type Case = (&'static str, Vec<u8>, Vec<&'static str>);

fn out(n: u32) -> Action {
    Action::output(OfPort(n))
}

/// Four ports `p1` to `p4`, numbered 1 to 4, and two more, `q1` and `q2`, on a bridge of their own.
fn switch(caches: Caches) -> TestSwitch {
    let mut s = Setup::with(caches).build();
    for (bridge, port, n) in [("br", "p", 4), ("other", "q", 2)] {
        s.add_bridge(bridge);
        for i in 1..=n {
            let name = format!("{port}{i}");
            s.add_port(bridge, &name, json!({}));
            assert_eq!(s.of(&name), OfPort(i));
        }
    }
    s
}

fn check(s: &mut TestSwitch, case: &Case) -> Vec<Vec<u8>> {
    let (port, bytes, to) = case;
    let sent = s.judge(port, bytes);
    let ports: Vec<&str> = sent
        .keys()
        .map(String::as_str)
        .filter(|p| *p != "br")
        .collect();
    assert_eq!(&ports, to, "{}", rvs_testkit::packet::text(bytes));
    sent.into_values().flatten().collect()
}

/// Property G: two other ports talk as if nothing happened.
fn bystanders(s: &mut TestSwitch) {
    for (from, to, a, b) in [("q1", "q2", 1, 2), ("q2", "q1", 2, 1)] {
        let sent = s.judge(from, &Packet::eth(a, b).ping(a, b).build());
        assert_eq!(
            sent.keys().filter(|p| *p != "other").collect::<Vec<_>>(),
            [to]
        );
    }
}

/// Attack and ordinary traffic in both orders, each twice, through every cache.
fn both_orders(configure: impl Fn(&mut TestSwitch), attack: &[Case], ordinary: &[Case]) {
    for caches in Caches::ALL {
        for attack_first in [true, false] {
            let mut s = switch(caches);
            configure(&mut s);
            let order = if attack_first {
                [attack, ordinary]
            } else {
                [ordinary, attack]
            };
            for _ in 0..2 {
                for case in order.into_iter().flatten() {
                    check(&mut s, case);
                    bystanders(&mut s);
                }
            }
            s.assert_converged();
        }
    }
}

fn p0() -> Vec<u8> {
    P0.to_vec()
}

/// [`P0`] with some octets changed.
fn p0_with(changes: &[(usize, u8)]) -> Vec<u8> {
    let mut b = p0();
    for (at, value) in changes {
        b[*at] = *value;
    }
    b
}

#[test]
fn cve_2016_2074_label_stacks() {
    let head = [&[0xff; 6][..], &[0; 6], &[0x88, 0x47]].concat();
    let attack: Vec<Case> = [0, 1, 3, 4, 12, 1024]
        .into_iter()
        .map(|n| {
            let frame = [&head[..], &vec![0xcc; n]].concat();
            ("p1", frame, vec!["p2", "p3", "p4"])
        })
        .collect();
    let ordinary = [
        (
            "p2",
            Packet::eth(2, 9).ping(2, 9).build(),
            vec!["p1", "p3", "p4"],
        ),
        ("p3", Packet::eth(3, 2).ping(3, 2).build(), vec!["p2"]),
    ];
    both_orders(|_| {}, &attack, &ordinary);
}

#[test]
fn cve_2016_2074_label_stacks_leave_unchanged() {
    let mut s = switch(Caches::Both);
    let head = [&[0xff; 6][..], &[0; 6], &[0x88, 0x47]].concat();
    for n in [0, 1, 3, 1024] {
        let frame = [&head[..], &vec![0xcc; n]].concat();
        for _ in 0..2 {
            for sent in check(&mut s, &("p1", frame.clone(), vec!["p2", "p3", "p4"])) {
                assert_eq!(sent, frame);
            }
        }
    }
}

#[test]
fn cve_2016_10377_lengths_of_ipv4() {
    let configure = |s: &mut TestSwitch| {
        s.clear_flows("br");
        s.add_flow("br", 5, "ip,nw_src=0.0.0.0/8", [out(2)]);
        s.add_flow("br", 5, "ip,nw_src=1.1.1.1", [out(3)]);
        s.add_flow("br", 4, "ip,nw_proto=0", [out(2)]);
        s.add_flow("br", 0, "", [out(4)]);
    };
    // A broken header has no addresses and no protocol, not zeros: no rule on them matches.
    let broken = [
        p0_with(&[(16, 0), (17, 0x10)]),
        p0_with(&[(16, 0), (17, 0)]),
        p0_with(&[(16, 0xff), (17, 0xff)]),
        p0_with(&[(14, 0x4f)]),
        p0_with(&[(14, 0x41)]),
        p0_with(&[(14, 0x40)]),
    ];
    let attack: Vec<Case> = broken.map(|f| ("p1", f, vec!["p4"])).to_vec();
    let ordinary = [("p1", p0(), vec!["p3"])];
    both_orders(configure, &attack, &ordinary);
    let mut s = switch(Caches::Both);
    configure(&mut s);
    for case in &attack {
        check(&mut s, case);
    }
    assert_eq!(s.counters().get("malformed_l3"), attack.len() as u64);
}

#[test]
fn cve_2020_35498_padding() {
    let configure = |s: &mut TestSwitch| {
        s.clear_flows("br");
        s.add_flow("br", 5, "ip,nw_dst=1.1.1.1", [out(1)]);
        s.add_flow("br", 5, "ip,nw_dst=1.1.1.2", [out(2)]);
        s.add_flow("br", 0, "", []);
    };
    let padded = |n: usize| [&P0[..], &vec![0; n]].concat();
    let attack: Vec<Case> = [255, 256, 1472 - 42 + 14]
        .map(|n| ("p3", padded(n), vec!["p2"]))
        .to_vec();
    both_orders(configure, &attack, &[("p3", p0(), vec!["p2"])]);
}

#[test]
fn cve_2023_1668_protocol_0() {
    let configure = |s: &mut TestSwitch| {
        s.clear_flows("br");
        let actions = [Action::SetNwTos(32), Action::DecNwTtl([].into()), out(2)];
        s.add_flow("br", 5, "ip", actions);
    };
    let zero = p0_with(&[(23, 0)]);
    let attack = [("p1", zero.clone(), vec!["p2"])];
    let ordinary = [("p1", p0(), vec!["p2"])];
    both_orders(configure, &attack, &ordinary);
    for caches in Caches::ALL {
        for order in [[&zero, &p0()], [&p0(), &zero]] {
            let mut s = switch(caches);
            configure(&mut s);
            for frame in order.into_iter().chain(order) {
                let sent = check(&mut s, &("p1", frame.clone(), vec!["p2"]));
                assert_eq!((sent[0][15], sent[0][22]), (32, 63), "{caches:?}");
            }
        }
    }
}

#[test]
fn cve_2023_5366_target_of_an_advertisement() {
    let configure = |s: &mut TestSwitch| {
        s.clear_flows("br");
        let rule = "icmp6,icmp_type=136,icmp_code=0,nd_target=2001::1:0:0/112";
        s.add_flow("br", 100, rule, [out(2)]);
        s.add_flow("br", 0, "", []);
    };
    let target = |head: [u8; 2], tail: [u8; 4]| {
        let mut t = [0; 16];
        t[..2].copy_from_slice(&head);
        t[12..].copy_from_slice(&tail);
        t[11] = u8::from(head == [0x20, 0x01]);
        Packet::eth(1, 2).advertisement(1, 2, t).build()
    };
    let attack = [("p1", target([0x30, 0], [0, 0, 0, 1]), vec![])];
    let ordinary = [("p1", target([0x20, 0x01], [0, 0, 3, 0x92]), vec!["p2"])];
    both_orders(configure, &attack, &ordinary);
}

#[test]
fn cve_2017_9264_short_transport_headers() {
    const TCP: &str = "be95df40fb57fa163e5ee3570800450000280001000040063e940a0a0a0a\
                       14141414006400100000000000000000f002200093330000";
    let configure = |s: &mut TestSwitch| {
        s.clear_flows("br");
        // Neither the ports that stand in the octets nor zeros.
        for rule in [
            "tcp,tp_dst=16",
            "tcp,tp_dst=0",
            "udp,tp_dst=53",
            "udp,tp_dst=0",
        ] {
            s.add_flow("br", 10, rule, [out(2)]);
        }
        for rule in ["tcp6,tp_dst=80", "tcp6,tp_dst=0", "udp6,tp_dst=0"] {
            s.add_flow("br", 10, rule, [out(2)]);
        }
        s.add_flow("br", 5, "ip", [out(3)]);
        s.add_flow("br", 5, "ipv6", [out(3)]);
        s.add_flow("br", 0, "", [out(4)]);
    };
    let long = hex(TCP);
    let mut short = long.clone();
    let at = short.len() - 8;
    assert_eq!(short[at], 0xf0);
    short[at] = 0x10;
    let mut attack: Vec<Case> = vec![("p1", long, vec!["p3"]), ("p1", short, vec!["p3"])];
    for len in 0..8 {
        attack.push(("p1", p0_with(&[(38, 0), (39, len)]), vec!["p3"]));
    }
    // The payload is said to be longer than the frame: nothing of IPv6 is there but its type.
    let mut beyond = Packet::eth(1, 2).tcp6(1, 2, 9, 80, 2).unpadded().build();
    beyond[19] += 1;
    attack.push(("p1", beyond, vec!["p3"]));
    let ordinary = [
        ("p1", p0(), vec!["p2"]),
        (
            "p1",
            Packet::eth(1, 2).tcp6(1, 2, 9, 80, 2).build(),
            vec!["p2"],
        ),
    ];
    both_orders(configure, &attack, &ordinary);
}

#[test]
fn b1_tcp_flags_are_looked_at() {
    let configure = |s: &mut TestSwitch| {
        s.clear_flows("br");
        s.add_flow("br", 10, "tcp,tp_dst=80,tcp_flags=+psh", []);
        s.add_flow("br", 0, "", [out(2)]);
    };
    let tcp = |flags| Packet::eth(1, 2).tcp(1, 2, 4000, 80, flags).build();
    both_orders(
        configure,
        &[("p1", tcp(0x02), vec!["p2"])],
        &[("p1", tcp(0x08), vec![]), ("p1", tcp(0x18), vec![])],
    );
}

#[test]
fn b2_a_rewritten_field_stays_looked_at() {
    let configure = |s: &mut TestSwitch| {
        s.clear_flows("br");
        let rule = "in_port=1,dl_src=02:00:00:00:00:09";
        s.add_flow("br", 5, rule, [Action::SetEthDst(mac(10)), out(2)]);
    };
    let frame = |src, dst| Packet::eth(src, dst).ping(src, dst).build();
    let a = [
        ("p1", frame(9, 10), vec!["p2"]),
        ("p1", frame(9, 12), vec!["p2"]),
    ];
    both_orders(configure, &a, &[("p1", frame(11, 12), vec![])]);
    let mut s = switch(Caches::Both);
    configure(&mut s);
    for case in &a {
        for sent in check(&mut s, case) {
            assert_eq!(sent[..6], mac(10).0);
        }
    }
}

#[test]
fn b3_the_absence_of_a_tag_is_looked_at() {
    let tagged = |vid: u16| Packet::eth(1, 2).vlan(vid).ping(1, 2).build();
    let cases: [Case; 4] = [
        ("p1", Packet::eth(1, 2).ping(1, 2).build(), vec!["p3"]),
        ("p1", tagged(10), vec!["p2"]),
        ("p1", tagged(11), vec!["p3"]),
        ("p1", tagged(0), vec!["p3"]),
    ];
    for caches in Caches::ALL {
        for order in 0..24 {
            let mut s = switch(caches);
            s.clear_flows("br");
            s.add_flow("br", 110, "in_port=1,dl_vlan=10", [out(2)]);
            s.add_flow("br", 100, "in_port=1", [out(3)]);
            // The order-th permutation.
            let mut left: Vec<usize> = (0..4).collect();
            let mut rest = order;
            let mut sequence = Vec::new();
            for n in (1..=4).rev() {
                sequence.push(left.remove(rest % n));
                rest /= n;
            }
            for i in sequence.iter().chain(&sequence) {
                check(&mut s, &cases[*i]);
            }
        }
    }
}

#[test]
fn b4_and_b5_a_wide_entry_beside_a_narrow_one_of_the_same_value() {
    let to = |dst: [u8; 4]| {
        let mut b = Packet::eth(1, 2).udp(1, 2, 1, 2).build();
        b[30..34].copy_from_slice(&dst);
        b
    };
    for caches in Caches::ALL {
        let mut s = switch(caches);
        s.clear_flows("br");
        s.add_flow("br", 20, "ip,nw_dst=1.0.0.0", [out(2)]);
        s.add_flow("br", 10, "ip,nw_proto=200", [out(3)]);
        s.add_flow("br", 0, "", [out(2)]);
        check(&mut s, &("p1", to([0, 0, 0, 0]), vec!["p2"]));
        // Without the rule nobody looks at the address any more; the entry that did is as true as ever.
        s.del_flow("br", 20, "ip,nw_dst=1.0.0.0");
        s.purge_flows("br");
        s.assert_converged();
        check(&mut s, &("p1", to([9, 9, 9, 9]), vec!["p2"]));
        if caches != Caches::None {
            let slow = s.slow();
            let entries: Vec<_> = slow.flows().iter().map(|f| f.flow.clone()).collect();
            let twins = entries
                .iter()
                .filter(|a| entries.iter().any(|b| a.key == b.key && a.mask != b.mask));
            let text = |f: &Arc<Megaflow>| OdpFlow::new(&f.key, &f.mask).to_string();
            let all: Vec<String> = entries.iter().map(text).collect();
            assert_eq!(twins.count(), 2, "{caches:?}: {all:#?}");
        }
        // A steady flow is not asked about again (B6).
        let misses = s.counters().get("misses");
        for _ in 0..20 {
            check(&mut s, &("p1", to([0, 0, 0, 0]), vec!["p2"]));
            check(&mut s, &("p1", to([9, 9, 9, 9]), vec!["p2"]));
            s.advance(std::time::Duration::from_millis(700));
        }
        if caches == Caches::Both || caches == Caches::Megaflow {
            assert_eq!(s.counters().get("misses"), misses);
        }
        s.assert_converged();
    }
}

#[test]
fn group_addresses_and_zeros_as_sources_teach_nobody() {
    let from = |src: MacAddr| Packet::between(src, mac(2)).build();
    let attack = [
        ("p1", from(MacAddr::BROADCAST), vec!["p2"]),
        ("p1", from(MacAddr([0x33, 0x33, 0, 0, 0, 2])), vec!["p2"]),
        ("p1", from(MacAddr::ZERO), vec!["p2"]),
    ];
    let ordinary = [("p3", Packet::eth(3, 2).build(), vec!["p2"])];
    let learned = |s: &mut TestSwitch| drop(s.forward("p2", &Packet::eth(2, 9).build()));
    both_orders(learned, &attack, &ordinary);
}

/// A frame of link layer discovery from address 1 with these octets behind the type.
fn lldp(tlvs: &[u8]) -> Vec<u8> {
    let head = [0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 1, 0x88, 0xcc];
    [&head[..], tlvs].concat()
}

/// Lengths that overflow, the same element three hundred times: NORMAL keeps them on their link, a rule sends them on
/// unchanged, and nobody reads them.
#[test]
fn cve_2015_8011_2020_27827_and_2022_4337_lldp_is_not_read() {
    let management = lldp(&[0x10, 0x09, 255, 1, 10, 0, 0, 1, 2, 0, 0]);
    let repeated = lldp(&[0x0a, 0x04, 0x41, 0x41, 0x41, 0x41].repeat(230));
    let attach = lldp(&[0xfe, 0x05, 0x00, 0x04, 0x0d, 0x0b, 0x00]);
    let frames = [management, repeated, attach];
    let attack = frames.clone().map(|f| ("p1", f, vec![]));
    let ordinary = [("p3", Packet::eth(3, 2).build(), vec!["p2"])];
    let learned = |s: &mut TestSwitch| drop(s.forward("p2", &Packet::eth(2, 9).build()));
    both_orders(learned, &attack, &ordinary);
    let sent_on = |s: &mut TestSwitch| {
        learned(s);
        s.add_flow("br", 9, "dl_type=0x88cc", [out(4)]);
    };
    let attack = frames.map(|f| ("p1", f, vec!["p4"]));
    both_orders(sent_on, &attack, &ordinary);
    let mut s = switch(Caches::Both);
    sent_on(&mut s);
    for case in &attack {
        assert_eq!(check(&mut s, case), std::slice::from_ref(&case.1));
    }
}

/// First fragments that nothing completes are forwarded and forgotten: what the switch holds does not grow with them.
#[test]
fn cve_2021_3905_fragments_are_not_kept() {
    let mut s = switch(Caches::Both);
    s.forward("p2", &Packet::eth(2, 9).build());
    let first = |id: u16| {
        let mut f = p0_with(&[(18, (id >> 8) as u8), (19, id as u8), (20, 0x20)]);
        f[..12].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
        f
    };
    for id in 0..20_000 {
        assert_eq!(s.forward("p1", &first(id)).len(), 1);
    }
    let flows = s.slow().flows().len();
    assert!(flows < 8, "{flows} cached flows");
    bystanders(&mut s);
}

/// No payload is read: what looks like a command of FTP, with a header length that fits no octet, goes as it came.
#[test]
fn cve_2026_34956_payload_is_data() {
    let command = [&b"PORT 192,168,123,2,113,42"[..], &[b' '; 236]].concat();
    let mut segment = vec![0; 20];
    segment[..4].copy_from_slice(&[0x9c, 0x40, 0, 21]);
    segment[12] = 0x50;
    segment.extend(command);
    let frame = Packet::eth(1, 2).ipv4(1, 2, 6, &segment).build();
    let learned = |s: &mut TestSwitch| drop(s.forward("p2", &Packet::eth(2, 9).build()));
    let attack = [("p1", frame.clone(), vec!["p2"])];
    let ordinary = [("p3", Packet::eth(3, 2).build(), vec!["p2"])];
    both_orders(learned, &attack, &ordinary);
    let mut s = switch(Caches::Both);
    learned(&mut s);
    assert_eq!(check(&mut s, &attack[0]), [frame]);
}
