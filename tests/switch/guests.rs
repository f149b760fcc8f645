//! Guests that talk to the switch itself: frames of its protocols, and frames that want the slow path's or a controller's attention.
//!
//! OVN's CVE-2023-3153 (what is handed up was not limited in rate) and CVE-2024-2182 (a guest's BFD was believed).

use rvs_ofproto::agent::ConnKind;
use rvs_openflow::message::FlowCommand;
use rvs_openflow::text::{parse_flow, Words};
use rvs_openflow::{Message, Version};
use rvs_packet::MacAddr;
use rvs_slowpath::queue::PER_PORT;
use rvs_testkit::openflow::Controller;
use rvs_testkit::packet::mac;
use rvs_testkit::{Packet, TestSwitch};
use serde_json::json;

use crate::spanning::from_the_root;

fn switch() -> TestSwitch {
    let mut s = TestSwitch::default();
    s.add_bridge("br");
    for p in ["p1", "p2", "p3"] {
        s.add_port("br", p, json!({}));
    }
    s
}

/// A frame of host `src` that differs from all others with another `n`.
fn numbered(src: u8, n: usize, ttl: u8) -> Vec<u8> {
    let n = (n as u32).to_be_bytes();
    let mut b = Packet::between(mac(src), MacAddr([2, 9, n[0], n[1], n[2], n[3]]))
        .udp(src, 9, 1000, 2000)
        .build();
    b[22] = ttl;
    b
}

/// Each reason to hand a frame up, at a rate that nobody can answer, beside one who asks for the same now and then: his queue is
/// his own, in the slow path and towards the controller.
#[test]
fn cve_2023_3153_a_flood_for_the_switch_itself_costs_its_port_alone() {
    // A rule that punts every copy; a table's miss; a TTL that runs out; a rule that no cache can express.
    let reasons = [
        "actions=controller,output:3",
        "priority=0,actions=controller:128",
        "ip,actions=dec_ttl(1),output:3",
        "actions=normal",
    ];
    for reason in reasons {
        let mut s = switch();
        let mut c = Controller::connect(&mut s, "br", ConnKind::Primary, Version::Of13);
        s.clear_flows("br");
        let words = Words::new(Version::Of13);
        let m = parse_flow(reason, FlowCommand::Add, &words).unwrap();
        c.order(&mut s, &Message::FlowMod(Box::new(m)));
        // Two turns of the workers without an answer: the attacker's queue is full.
        s.stalled = true;
        for n in 0..20 * PER_PORT {
            s.inject("p1", &numbered(1, n, 1));
        }
        for n in 0..8 {
            s.inject("p2", &numbered(2, n, 1));
        }
        s.run();
        s.stalled = false;
        s.run();
        let heard: Vec<_> = c.packet_ins(&mut s);
        let out = s.sent("p3");
        let quiet = |source: &dyn Fn(&[u8]) -> bool| {
            heard.iter().filter(|p| source(&p.data)).count()
                + out.iter().filter(|f| source(f)).count()
        };
        let expected = if reason.contains("controller,output") {
            16
        } else {
            8
        };
        if reason.contains("dec_ttl") {
            // Not asked for: a controller hears of it when its configuration says so. Nobody is hurt.
            assert_eq!(quiet(&|f| f[11] == 2), 0, "{reason}");
        } else {
            assert_eq!(quiet(&|f| f[11] == 2), expected, "{reason}");
        }
        let c = s.counters();
        assert!(c.get("rx_packets") >= 20 * PER_PORT as u64, "{reason}");
        s.assert_true();
    }
}

/// Frames of protocols that a bridge may speak, from a port where it does not: nothing is believed, nothing is answered.
#[test]
fn cve_2024_2182_guests_reach_no_protocol_of_the_switch() {
    let mut s = switch();
    s.set_bridge("br", json!({"rstp_enable": true}));
    let off = rvs_testkit::config::map(&[("rstp-enable", "false")]);
    s.set_port("p1", json!({"other_config": off}));
    s.advance(std::time::Duration::from_secs(5));
    s.sent_all();
    let root = |s: &mut TestSwitch| format!("{:?}", s.row("Bridge", "br").get("rstp_status"));
    let before = root(&mut s);
    assert!(before.contains("rstp_root_id"), "{before}");
    let lacp =
        Packet::between(mac(1), MacAddr([1, 0x80, 0xc2, 0, 0, 2])).payload(0x8809, &[1; 110]);
    let cfm =
        Packet::between(mac(1), MacAddr([1, 0x80, 0xc2, 0, 0, 0x30])).payload(0x8902, &[0; 70]);
    let lldp =
        Packet::between(mac(1), MacAddr([1, 0x80, 0xc2, 0, 0, 0xe])).payload(0x88cc, &[2; 60]);
    let bfd = Packet::eth(1, 9).udp(1, 9, 49152, 3784);
    let frames = [
        from_the_root(true, 1),
        lacp.build(),
        cfm.build(),
        lldp.build(),
        bfd.build(),
    ];
    for frame in &frames {
        for _ in 0..3 {
            let answered = s
                .forward("p1", frame)
                .into_iter()
                .filter(|(p, _)| p == "p1");
            assert_eq!(answered.count(), 0);
        }
    }
    s.advance(std::time::Duration::from_secs(5));
    assert_eq!(root(&mut s), before);
    let ping = Packet::eth(2, 3).ping(2, 3).build();
    assert!(s.forward("p2", &ping).iter().any(|(p, _)| p == "p3"));
    s.assert_converged();
}
