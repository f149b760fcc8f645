//! Real TCP/IP stacks across the switch.

use std::time::Duration;

use rvs_datapath::Caches;
use rvs_testkit::config::{access, trunk};
use rvs_testkit::{Lan, Setup, SimHost, TestSwitch};

/// Hosts 1 and 2 in VLAN 100, host 3 in VLAN 200, hosts 4 (VLAN 100) and 5 (VLAN 200) behind a trunk.
fn lan(caches: Caches) -> Lan {
    let mut s = Setup::with(caches).build();
    s.add_bridge("br1");
    s.add_port("br1", "p1", access(100));
    s.add_port("br1", "p2", access(100));
    s.add_port("br1", "p3", access(200));
    s.add_port("br1", "t", trunk(&[100, 200]));
    let hosts = vec![
        SimHost::new("p1", 1),
        SimHost::new("p2", 2),
        SimHost::new("p3", 3),
        SimHost::tagged("t", 4, 100),
        SimHost::tagged("t", 5, 200),
    ];
    Lan::new(s, hosts)
}

#[test]
fn arp_and_ping_inside_a_vlan_and_not_across() {
    for caches in Caches::ALL {
        let mut lan = lan(caches);
        assert!(lan.ping(0, 2), "{caches:?}: 1 to 2");
        assert!(lan.ping(0, 4), "{caches:?}: 1 to 4 behind the trunk");
        assert!(lan.ping(2, 5), "{caches:?}: 3 to 5 behind the trunk");
        assert!(lan.ping(4, 3), "{caches:?}: and back");
        assert!(!lan.ping(0, 3), "{caches:?}: VLAN 100 to 200");
        assert!(!lan.ping(3, 5), "{caches:?}: across VLANs of one trunk");
        lan.switch.assert_converged();
    }
}

#[test]
fn tcp_transfers_come_whole_through_every_cache() {
    let data: Vec<u8> = (0..300_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
    for caches in Caches::ALL {
        let mut lan = lan(caches);
        let limit = Duration::from_secs(20);
        assert!(
            lan.transfer(0, 3, &data, limit),
            "{caches:?}: access to trunk"
        );
        assert!(
            lan.transfer(1, 0, &data, limit),
            "{caches:?}: access to access"
        );
        let c = lan.switch.counters();
        match caches {
            Caches::None => assert_eq!(c.get("emc_hits") + c.get("megaflow_hits"), 0),
            Caches::Emc => assert!(c.get("emc_hits") > 300),
            Caches::Megaflow => assert!(c.get("megaflow_hits") > 300),
            Caches::Both => assert!(c.get("emc_hits") > 300 && c.get("misses") < 40),
        }
        assert_eq!(c.drops(), 0, "{caches:?}");
    }
}

#[test]
fn a_moved_host_is_reached_at_its_new_port_at_once() {
    let mut lan = lan(Caches::Both);
    assert!(lan.ping(0, 2));
    // Host 2 is unplugged from p2 and appears behind the trunk, where it speaks first.
    lan.hosts[1] = SimHost::tagged("t", 2, 100);
    assert!(lan.ping(1, 1));
    assert!(lan.ping(0, 2));
    lan.switch.assert_converged();
}

#[test]
fn hosts_talk_again_after_their_port_was_down() {
    let mut lan = lan(Caches::Both);
    assert!(lan.ping(0, 2));
    lan.switch.set_link("p2", false);
    assert!(!lan.ping(0, 2));
    lan.switch.set_link("p2", true);
    assert!(lan.ping(0, 2));
}

#[test]
fn a_device_that_is_made_again_carries_traffic_again_b11() {
    let mut lan = lan(Caches::Both);
    assert!(lan.ping(0, 2));
    for _ in 0..50 {
        lan.switch.vanish("p2");
        let row = lan.switch.row("Interface", "p2");
        assert_eq!(row["ofport"], -1);
        assert!(row["error"].as_str().unwrap().contains("No such device"));
        lan.switch.assert_converged();
        lan.switch.appear("p2");
        let row = lan.switch.row("Interface", "p2");
        assert_eq!(
            (&row["error"], &row["link_state"]),
            (&serde_json::json!(["set", []]), &"up".into())
        );
    }
    assert!(lan.ping(0, 2));
}

#[test]
fn two_bridges_are_two_lans() {
    let mut s = TestSwitch::default();
    for b in ["br1", "br2"] {
        s.add_bridge(b);
    }
    s.add_port("br1", "a1", access(10));
    s.add_port("br1", "a2", access(10));
    s.add_port("br2", "b1", access(10));
    s.add_port("br2", "b2", access(10));
    let hosts = vec![
        SimHost::new("a1", 1),
        SimHost::new("a2", 2),
        SimHost::new("b1", 3),
        SimHost::new("b2", 4),
    ];
    let mut lan = Lan::new(s, hosts);
    assert!(lan.ping(0, 2) && lan.ping(2, 4));
    assert!(!lan.ping(0, 3));
    lan.switch.del_bridge("br2");
    assert!(lan.ping(0, 2));
    lan.switch.assert_converged();
}
