//! Spanning trees in the switch: BPDUs in and out, and what blocked ports do with frames, through every cache.

use std::time::Duration;

use rvs_datapath::Caches;
use rvs_l2::spanning::{
    in_frame, to_frame, Body, Bpdu, BridgeId, PortId, Says, Times, Vector, BRIDGE_GROUP,
};
use rvs_packet::MacAddr;
use rvs_testkit::config::map;
use rvs_testkit::packet::{mac, BROADCAST};
use rvs_testkit::{Packet, Setup, TestSwitch};
use serde_json::json;

fn with_bridge(caches: Caches) -> TestSwitch {
    let mut s = Setup::with(caches).build();
    s.add_bridge("br");
    s
}

/// A BPDU of a bridge that is a better root than any.
pub fn from_the_root(rapid: bool, port: u16) -> Vec<u8> {
    let root = BridgeId::new(0, mac(0xaa));
    let body = Body {
        rapid,
        role: Says::Designated,
        priority: Vector {
            root,
            cost: 0,
            bridge: root,
            port: PortId::new(128, port),
        },
        times: Times::new(20, 2, 15),
        topology_change: false,
        topology_change_ack: false,
        proposal: rapid,
        agreement: false,
        learning: false,
        forwarding: false,
    };
    to_frame(mac(0xab), &Bpdu::Body(body).encode())
}

/// Names of the ports that a frame leaves on, BPDUs and the bridge's own port apart.
fn ports(s: &mut TestSwitch, port: &str, bytes: &[u8]) -> Vec<String> {
    s.sent_all();
    let sent = s.forward(port, bytes).into_iter();
    let sent = sent.filter(|(p, f)| p != "br" && !f.starts_with(&BRIDGE_GROUP.0));
    sent.map(|(p, _)| p).collect()
}

/// BPDUs that have left, by port.
fn bpdus(s: &mut TestSwitch) -> Vec<(String, Bpdu)> {
    let sent = s.sent_all().into_iter();
    sent.filter_map(|(p, f)| Some((p, Bpdu::decode(in_frame(&f)?).unwrap())))
        .collect()
}

fn frame(src: u8, dst: MacAddr) -> Vec<u8> {
    Packet::between(mac(src), dst)
        .udp(src, 9, 1000, 2000)
        .build()
}

#[test]
fn blocked_ports_neither_learn_nor_forward_and_caches_follow_at_once() {
    for caches in Caches::ALL {
        let mut s = with_bridge(caches);
        s.set_bridge("br", json!({"rstp_enable": true}));
        for p in ["p1", "p2", "p3"] {
            s.add_port("br", p, json!({}));
        }
        assert_eq!(
            ports(&mut s, "p3", &frame(3, BROADCAST)),
            [""; 0],
            "nothing before the tree stands"
        );
        s.advance(Duration::from_secs(5));
        // Hosts everywhere: the ports are edges.
        assert_eq!(ports(&mut s, "p3", &frame(3, BROADCAST)), ["p1", "p2"]);
        assert_eq!(ports(&mut s, "p2", &frame(2, mac(3))), ["p3"]);
        assert_eq!(ports(&mut s, "p3", &frame(3, mac(2))), ["p2"]);
        assert_eq!(ports(&mut s, "p2", &frame(2, mac(3))), ["p3"]);
        // The root is behind p1 and p2: p2 blocks at once, and what was cached and learned is forgotten.
        s.forward("p1", &from_the_root(true, 1));
        s.forward("p2", &from_the_root(true, 2));
        s.assert_converged();
        assert_eq!(
            ports(&mut s, "p2", &frame(2, mac(3))),
            [""; 0],
            "{caches:?}"
        );
        assert_eq!(ports(&mut s, "p3", &frame(3, mac(2))), ["p1"], "{caches:?}");
        assert_eq!(ports(&mut s, "p3", &frame(3, BROADCAST)), ["p1"]);
        // Blocked it teaches nothing.
        ports(&mut s, "p2", &frame(7, mac(3)));
        assert_eq!(ports(&mut s, "p3", &frame(3, mac(7))), ["p1"]);
        // The way over p1 is lost: p2 takes over.
        s.set_link("p1", false);
        assert_eq!(ports(&mut s, "p3", &frame(3, mac(7))), ["p2"], "{caches:?}");
        s.assert_converged();
    }
}

/// A number that another interface had is no ticket to forward: that would close a loop until the next BPDU.
#[test]
fn who_takes_over_a_number_starts_blocked() {
    let mut s = with_bridge(Caches::Both);
    s.set_bridge("br", json!({"rstp_enable": true}));
    for p in ["p1", "p2", "p3"] {
        s.add_port("br", p, json!({}));
    }
    s.advance(Duration::from_secs(5));
    s.forward("p1", &from_the_root(true, 1));
    s.forward("p2", &from_the_root(true, 2));
    assert_eq!(ports(&mut s, "p1", &frame(1, BROADCAST)), ["p3"]);
    let number = |name: &str, n: u32| {
        json!({"op": "update", "table": "Interface", "where": [["name", "==", name]],
               "row": {"ofport_request": n}})
    };
    s.transact(&[number("p2", 3), number("p3", 2)]);
    assert_eq!(s.row("Interface", "p2")["ofport"], json!(3));
    assert_eq!(ports(&mut s, "p1", &frame(1, BROADCAST)), [""; 0]);
    assert_eq!(ports(&mut s, "p2", &frame(2, BROADCAST)), [""; 0]);
    s.forward("p2", &from_the_root(true, 2));
    s.advance(Duration::from_secs(5));
    s.assert_converged();
}

#[test]
fn a_port_of_the_old_protocol_listens_learns_and_then_forwards() {
    let mut s = with_bridge(Caches::Both);
    s.set_bridge("br", json!({"stp_enable": true}));
    s.add_port("br", "p1", json!({}));
    s.add_port("br", "p2", json!({}));
    assert_eq!(
        s.row("Port", "p1")["status"][1][3],
        json!(["stp_state", "listening"])
    );
    s.advance(Duration::from_secs(16));
    assert_eq!(
        s.row("Port", "p1")["status"][1][3],
        json!(["stp_state", "learning"])
    );
    // It learns, and sends nothing.
    assert_eq!(ports(&mut s, "p1", &frame(1, BROADCAST)), [""; 0]);
    s.advance(Duration::from_secs(15));
    assert_eq!(
        s.row("Port", "p1")["status"][1][3],
        json!(["stp_state", "forwarding"])
    );
    assert_eq!(ports(&mut s, "p2", &frame(2, mac(1))), ["p1"]);
    // A bridge in its normal state says hello every two seconds.
    s.sent_all();
    s.advance(Duration::from_secs(10));
    assert_eq!(bpdus(&mut s).iter().filter(|(p, _)| p == "p1").count(), 5);
    // Without the tree the ports are free at once, and the columns empty.
    s.set_bridge("br", json!({"stp_enable": false}));
    s.add_port("br", "p3", json!({}));
    assert_eq!(ports(&mut s, "p3", &frame(3, BROADCAST)), ["p1", "p2"]);
    assert_eq!(s.row("Port", "p1")["status"], json!(["map", []]));
}

#[test]
fn bpdus_end_at_a_bridge_with_a_tree_and_pass_one_that_is_told_to() {
    let mut s = with_bridge(Caches::Both);
    for p in ["p1", "p2"] {
        s.add_port("br", p, json!({}));
    }
    let bpdu = from_the_root(false, 1);
    let passed = |s: &mut TestSwitch| {
        s.sent_all();
        let sent = s.forward("p1", &bpdu);
        sent.iter().any(|(p, f)| p == "p2" && *f == bpdu)
    };
    assert!(
        !passed(&mut s),
        "a switch without a tree does not pass them on"
    );
    s.set_bridge(
        "br",
        json!({"other_config": map(&[("forward-bpdu", "true")])}),
    );
    assert!(passed(&mut s));
    s.set_bridge("br", json!({"stp_enable": true}));
    assert!(!passed(&mut s));
    s.advance(Duration::from_secs(40));
    assert!(!passed(&mut s));
    assert_eq!(
        s.row("Bridge", "br")["status"][1][1],
        json!(["stp_designated_root", "0000.0200000000aa"])
    );
}

#[test]
fn two_patches_between_two_bridges_are_no_loop() {
    for (column, seconds) in [("rstp_enable", 5), ("stp_enable", 31)] {
        let mut s = with_bridge(Caches::Both);
        s.add_bridge("other");
        for b in ["br", "other"] {
            s.set_bridge(b, json!({(column): true}));
        }
        for n in 1..=2 {
            for (bridge, from, to) in [("br", "a", "b"), ("other", "b", "a")] {
                let options = map(&[("peer", &format!("{to}{n}"))]);
                let patch = json!({"type": "patch", "options": options});
                s.add_port_of(bridge, &format!("{from}{n}"), json!({}), patch);
            }
        }
        s.add_port("br", "p1", json!({}));
        s.add_port("other", "p2", json!({}));
        s.advance(Duration::from_secs(seconds));
        assert_eq!(
            ports(&mut s, "p1", &frame(1, BROADCAST)),
            ["other", "p2"],
            "{column}"
        );
        assert_eq!(ports(&mut s, "p2", &frame(2, mac(1))), ["p1"]);
        let blocked = |s: &mut TestSwitch, port: &str| {
            let row = s.row("Port", port);
            format!("{}{}", row["status"], row["rstp_status"]).contains("lternate")
        };
        let used = if ["a1", "b1"].iter().any(|p| blocked(&mut s, p)) {
            2
        } else {
            1
        };
        s.del_port("br", &format!("a{used}"));
        // The other end is still up, and finds out when three hellos are missing.
        s.advance(Duration::from_secs(seconds + 8));
        assert_eq!(
            ports(&mut s, "p1", &frame(1, BROADCAST)),
            ["other", "p2"],
            "{column}, the other way"
        );
        s.assert_converged();
    }
}

/// Who switches a tree on reads what it is as soon as the command has returned.
#[test]
fn the_columns_are_filled_at_once() {
    for (column, shown) in [("stp_enable", "status"), ("rstp_enable", "rstp_status")] {
        let mut s = with_bridge(Caches::Both);
        s.add_port("br", "p1", json!({}));
        s.set_bridge("br", json!({ column: true }));
        assert_ne!(s.row("Bridge", "br")[shown], json!(["map", []]), "{column}");
        assert_ne!(s.row("Port", "p1")[shown], json!(["map", []]), "{column}");
    }
}
