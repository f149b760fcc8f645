//! What a learning bridge does: learning, moving, ageing, flooding, and what it must not do.

use std::time::Duration;

use rvs_datapath::Caches;
use rvs_l2::Flush;
use rvs_packet::{MacAddr, VlanId};
use rvs_testkit::config::{access, map, trunk};
use rvs_testkit::counters::expect_counters;
use rvs_testkit::packet::mac;
use rvs_testkit::{Packet, Setup, TestSwitch};
use serde_json::json;

/// Access ports p1 to p4 in VLAN 10.
fn switch(caches: Caches) -> TestSwitch {
    let mut s = Setup::with(caches).build();
    s.add_bridge("br");
    for p in ["p1", "p2", "p3", "p4"] {
        s.add_port("br", p, access(10));
    }
    s
}

fn frame(src: u8, dst: u8) -> Vec<u8> {
    Packet::eth(src, dst).udp(src, dst, 1000, 2000).build()
}

/// Names of the ports that a frame leaves on, but for the bridge's own, which is a trunk of everything.
fn ports(s: &mut TestSwitch, port: &str, bytes: &[u8]) -> Vec<String> {
    s.sent_all();
    let sent = s.forward(port, bytes).into_iter().map(|(p, _)| p);
    sent.filter(|p| p != "br").collect()
}

#[test]
fn unknown_is_flooded_and_known_is_not() {
    for caches in Caches::ALL {
        let mut s = switch(caches);
        assert_eq!(ports(&mut s, "p1", &frame(1, 2)), ["p2", "p3", "p4"]);
        assert_eq!(ports(&mut s, "p2", &frame(2, 1)), ["p1"]);
        // The flood was cached; it must not be repeated.
        assert_eq!(ports(&mut s, "p1", &frame(1, 2)), ["p2"]);
        s.assert_converged();
    }
}

#[test]
fn the_counters_of_a_flow_say_what_happened_and_nothing_else() {
    let mut s = switch(Caches::Both);
    ports(&mut s, "p2", &frame(2, 9));
    let before = s.counters();
    ports(&mut s, "p1", &frame(1, 2));
    let mid = s.counters();
    let octets = frame(1, 2).len() as i64;
    expect_counters(
        &before,
        &mid,
        &[
            ("rx_packets", 1),
            ("rx_bytes", octets),
            ("misses", 1),
            ("upcalls", 1),
            ("parked", 1),
            ("released", 1),
            ("installs", 1),
            ("outputs", 1),
            ("flows", 1),
            ("slow_upcalls", 1),
            ("slow_translations", 2),
            ("slow_installed", 1),
            (
                "masks",
                mid.get("masks") as i64 - before.get("masks") as i64,
            ),
        ],
    );
    for _ in 0..3 {
        ports(&mut s, "p1", &frame(1, 2));
    }
    let after = s.counters();
    expect_counters(
        &mid,
        &after,
        &[
            ("rx_packets", 3),
            ("rx_bytes", 3 * octets),
            ("emc_hits", 3),
            ("outputs", 3),
        ],
    );
}

#[test]
fn split_horizon() {
    for caches in Caches::ALL {
        let mut s = switch(caches);
        ports(&mut s, "p1", &frame(1, 9));
        for _ in 0..2 {
            let before = s.counters().get("drop_split_horizon");
            assert_eq!(ports(&mut s, "p1", &frame(2, 1)), Vec::<String>::new());
            assert_eq!(s.counters().get("drop_split_horizon"), before + 1);
        }
    }
}

#[test]
fn broadcast_and_multicast_go_everywhere_else() {
    let groups = [
        MacAddr::BROADCAST,
        MacAddr([1, 0, 0x5e, 0, 0, 5]),
        MacAddr([0x33, 0x33, 0, 0, 0, 1]),
    ];
    for caches in Caches::ALL {
        let mut s = switch(caches);
        for dst in groups {
            for _ in 0..2 {
                let f = Packet::between(mac(1), dst).udp(1, 2, 1, 2).build();
                assert_eq!(ports(&mut s, "p1", &f), ["p2", "p3", "p4"], "{dst}");
            }
        }
    }
}

#[test]
fn reserved_multicast_is_not_forwarded_unless_asked() {
    for caches in Caches::ALL {
        let mut s = switch(caches);
        for last in [0, 1, 2, 3, 0x0e, 0x0f] {
            let f = Packet::between(mac(1), MacAddr([1, 0x80, 0xc2, 0, 0, last])).build();
            assert_eq!(ports(&mut s, "p1", &f), Vec::<String>::new());
        }
        let f = Packet::between(mac(1), MacAddr([1, 0x80, 0xc2, 0, 0, 0x10])).build();
        assert_eq!(ports(&mut s, "p1", &f).len(), 3);
        let bpdu = Packet::between(mac(1), MacAddr([1, 0x80, 0xc2, 0, 0, 0])).build();
        s.set_bridge(
            "br",
            json!({"other_config": map(&[("forward-bpdu", "true")])}),
        );
        assert_eq!(ports(&mut s, "p1", &bpdu).len(), 3);
        s.set_bridge("br", json!({"other_config": map(&[])}));
        assert_eq!(ports(&mut s, "p1", &bpdu).len(), 0);
    }
}

#[test]
fn group_addresses_are_never_learned_as_sources() {
    let mut s = switch(Caches::Both);
    let group = MacAddr([3, 0, 0, 0, 0, 7]);
    ports(&mut s, "p1", &Packet::between(group, mac(2)).build());
    assert_eq!(
        ports(&mut s, "p2", &Packet::between(mac(2), group).build()).len(),
        3
    );
    ports(
        &mut s,
        "p1",
        &Packet::between(MacAddr::ZERO, mac(2)).build(),
    );
    let id = s.slow().world().bridges().next().unwrap().id;
    assert_eq!(s.slow().macs().get(id).unwrap().len(), 1);
}

#[test]
fn a_moved_address_is_followed_at_once_and_back_again() {
    for caches in Caches::ALL {
        let mut s = switch(caches);
        ports(&mut s, "p4", &frame(4, 9));
        for round in 0..3 {
            for p in ["p1", "p2", "p3"] {
                // Every frame but those of the first round could come from the cache.
                assert_eq!(ports(&mut s, p, &frame(1, 4)), ["p4"], "{caches:?}");
                let back = ports(&mut s, "p4", &frame(4, 1));
                assert_eq!(back, [p], "{caches:?}, round {round}");
                s.assert_converged();
                s.advance(Duration::from_millis(300));
            }
        }
    }
}

#[test]
fn an_address_that_moved_too_often_is_found_again_when_it_stays() {
    let mut s = switch(Caches::Both);
    ports(&mut s, "p4", &frame(4, 9));
    // A loop: the address is on two ports at once.
    for _ in 0..30 {
        ports(&mut s, "p1", &frame(1, 4));
        ports(&mut s, "p2", &frame(1, 4));
        s.advance(Duration::from_millis(5));
    }
    // The loop is gone; the host is on p3 and keeps talking.
    for _ in 0..80 {
        ports(&mut s, "p3", &frame(1, 4));
        s.advance(Duration::from_millis(100));
    }
    assert_eq!(ports(&mut s, "p4", &frame(4, 1)), ["p3"]);
}

#[test]
fn cached_traffic_keeps_an_address_and_silence_ages_it() {
    let mut s = switch(Caches::Both);
    s.set_bridge(
        "br",
        json!({"other_config": map(&[("mac-aging-time", "20")])}),
    );
    ports(&mut s, "p2", &frame(2, 9));
    ports(&mut s, "p1", &frame(1, 2));
    let misses = s.counters().get("misses");
    for _ in 0..120 {
        assert_eq!(ports(&mut s, "p1", &frame(1, 2)), ["p2"]);
        ports(&mut s, "p2", &frame(2, 1));
        s.advance(Duration::from_secs(1));
    }
    assert!(
        s.counters().get("misses") <= misses + 2,
        "steady traffic is not asked about"
    );
    assert_eq!(ports(&mut s, "p3", &frame(3, 1)), ["p1"]);
    // p1 falls silent; p3 keeps sending to it.
    for _ in 0..19 {
        assert_eq!(ports(&mut s, "p3", &frame(3, 1)), ["p1"]);
        s.advance(Duration::from_secs(1));
    }
    s.advance(Duration::from_secs(2));
    assert_eq!(ports(&mut s, "p3", &frame(3, 1)), ["p1", "p2", "p4"]);
    s.assert_converged();
}

#[test]
fn flushed_addresses_are_flooded_at_once() {
    for caches in Caches::ALL {
        let mut s = switch(caches);
        ports(&mut s, "p1", &frame(1, 2));
        ports(&mut s, "p2", &frame(2, 1));
        assert_eq!(ports(&mut s, "p1", &frame(1, 2)), ["p2"]);
        let br = s.uuid("Bridge", "br");
        assert_eq!(s.switch.flush_macs(br, Flush::default()), 2);
        s.assert_converged();
        assert_eq!(ports(&mut s, "p1", &frame(1, 2)), ["p2", "p3", "p4"]);
        // One address alone is taken out and speaks again.
        ports(&mut s, "p2", &frame(2, 1));
        let vlan = VlanId::new(10).unwrap();
        assert!(s.switch.remove_mac(br, vlan, mac(2)));
        s.assert_converged();
        ports(&mut s, "p2", &frame(2, 1));
        assert_eq!(ports(&mut s, "p1", &frame(1, 2)), ["p2"]);
    }
}

#[test]
fn static_addresses_neither_move_nor_age() {
    let mut s = switch(Caches::Both);
    let br = s.uuid("Bridge", "br");
    let vlan = VlanId::new(10).unwrap();
    ports(&mut s, "p1", &frame(1, 2));
    let now = s.now();
    s.switch
        .add_static_mac(now, br, "p2", vlan, mac(2))
        .unwrap();
    assert_eq!(ports(&mut s, "p1", &frame(1, 2)), ["p2"]);
    ports(&mut s, "p3", &frame(2, 1));
    s.advance(Duration::from_secs(400));
    assert_eq!(ports(&mut s, "p1", &frame(1, 2)), ["p2"]);
}

#[test]
fn addresses_of_a_port_that_was_deleted_are_forgotten() {
    let mut s = switch(Caches::Both);
    ports(&mut s, "p2", &frame(2, 1));
    ports(&mut s, "p1", &frame(1, 2));
    let number = s.of("p2");
    s.del_port("br", "p2");
    s.assert_converged();
    assert_eq!(ports(&mut s, "p1", &frame(1, 2)), ["p3", "p4"]);
    // Another port takes the number; host 2 is not behind it.
    let wish = json!({"ofport_request": number.0});
    s.plug("p5");
    s.add_port_of("br", "p5", access(10), wish);
    assert_eq!(s.of("p5"), number);
    assert_eq!(ports(&mut s, "p1", &frame(1, 2)), ["p3", "p4", "p5"]);
}

#[test]
fn addresses_of_a_port_that_left_the_vlan_are_forgotten() {
    let mut s = switch(Caches::Both);
    ports(&mut s, "p2", &frame(2, 1));
    ports(&mut s, "p1", &frame(1, 2));
    assert_eq!(ports(&mut s, "p1", &frame(1, 2)), ["p2"]);
    s.set_port("p2", access(20));
    s.assert_converged();
    assert_eq!(ports(&mut s, "p1", &frame(1, 2)), ["p3", "p4"]);
    s.set_port("p2", access(10));
    assert_eq!(ports(&mut s, "p1", &frame(1, 2)), ["p2", "p3", "p4"]);
}

#[test]
fn protected_ports_do_not_talk_to_each_other() {
    for caches in Caches::ALL {
        let mut s = switch(caches);
        s.set_port("p1", json!({"protected": true}));
        s.set_port("p2", json!({"protected": true}));
        assert_eq!(ports(&mut s, "p1", &frame(1, 2)), ["p3", "p4"]);
        assert_eq!(ports(&mut s, "p2", &frame(2, 1)), Vec::<String>::new());
        assert_eq!(ports(&mut s, "p3", &frame(3, 1)), ["p1"]);
        s.set_port("p2", json!({"protected": false}));
        assert_eq!(ports(&mut s, "p2", &frame(2, 1)), ["p1"]);
    }
}

#[test]
fn a_frame_that_comes_before_its_port_is_published_condemns_nothing() {
    let mut s = switch(Caches::Both);
    s.inject_on_open("p5", &frame(5, 1));
    s.add_port("br", "p5", access(10));
    s.run();
    s.assert_converged();
    assert_eq!(ports(&mut s, "p5", &frame(5, 1)), ["p1", "p2", "p3", "p4"]);
}

#[test]
fn the_bridge_itself_is_a_port() {
    let mut s = TestSwitch::default();
    s.add_bridge("br");
    s.add_port("br", "p1", trunk(&[]));
    s.add_port("br", "p2", access(10));
    let mut to = |port: &str, frame: &[u8]| {
        let sent = s.forward(port, frame).into_iter().map(|(p, _)| p);
        sent.collect::<Vec<_>>()
    };
    assert_eq!(to("p1", &frame(1, 2)), ["br"]);
    assert_eq!(to("br", &frame(2, 1)), ["p1"]);
    let tagged = Packet::eth(3, 2).vlan(10).build();
    assert_eq!(to("p1", &tagged), ["br", "p2"]);
}

/// A bond sends through one member and listens to that one alone, whatever its mode; the other takes over when it fails.
#[test]
fn a_bond_uses_one_member_at_a_time() {
    for (caches, mode) in Caches::ALL
        .into_iter()
        .flat_map(|c| ["active-backup", "balance-slb", "balance-tcp"].map(|mode| (c, mode)))
    {
        let mut s = switch(caches);
        let columns = json!({"tag": 10, "bond_mode": mode});
        s.add_bond("br", "bond", &["b1", "b2"], columns);
        let shown = |s: &mut TestSwitch| s.row("Port", "bond")["bond_active_slave"].clone();
        let first = shown(&mut s);
        assert_eq!(first, s.row("Interface", "b1")["mac_in_use"], "{caches:?}");
        let flooded = ["b1", "p2", "p3", "p4"];
        assert_eq!(ports(&mut s, "p1", &frame(1, 9)), flooded, "{caches:?}");
        assert_eq!(ports(&mut s, "b1", &frame(7, 1)), ["p1"], "{caches:?}");
        // A neighbour that floods sends it by both: the second is no other frame, and teaches nothing.
        assert_eq!(ports(&mut s, "b2", &frame(8, 1)), [""; 0], "{caches:?}");
        assert_eq!(ports(&mut s, "p1", &frame(1, 8)), flooded, "{caches:?}");
        assert_eq!(ports(&mut s, "b2", &frame(1, 9)), [""; 0], "{caches:?}");
        assert_eq!(ports(&mut s, "p2", &frame(2, 1)), ["p1"], "{caches:?}");
        s.set_link("b1", false);
        assert_eq!(ports(&mut s, "p1", &frame(1, 7)), ["b2"], "{caches:?}");
        assert_eq!(ports(&mut s, "b2", &frame(7, 1)), ["p1"], "{caches:?}");
        assert_eq!(shown(&mut s), s.row("Interface", "b2")["mac_in_use"]);
        s.assert_converged();
        s.set_link("b2", false);
        assert_eq!(shown(&mut s), json!(["set", []]));
        s.set_link("b1", true);
        assert_eq!(shown(&mut s), first);
        s.set_link("b2", true);
        assert_eq!(shown(&mut s), first);
        s.set_port(
            "bond",
            json!({"other_config": map(&[("bond-primary", "b2")])}),
        );
        assert_eq!(shown(&mut s), s.row("Interface", "b2")["mac_in_use"]);
        assert_eq!(ports(&mut s, "p1", &frame(1, 7)), ["b2"], "{caches:?}");
        // Nothing is better without it.
        s.set_port("bond", json!({"other_config": map(&[])}));
        assert_eq!(ports(&mut s, "p1", &frame(1, 7)), ["b2"], "{caches:?}");
        // With one member it is a bond no more, and says nothing of one.
        let only = s.uuid("Interface", "b1").to_string();
        s.set_port("bond", json!({"interfaces": ["uuid", only]}));
        assert_eq!(shown(&mut s), json!(["set", []]), "{caches:?}");
        s.assert_converged();
    }
}
