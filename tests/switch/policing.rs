//! Ingress policing as the database asks for it.

use std::time::Duration;

use rvs_testkit::packet::mac;
use rvs_testkit::{Packet, TestSwitch};
use serde_json::{json, Value};

fn switch(policing: Value) -> TestSwitch {
    let mut s = TestSwitch::default();
    s.add_bridge("br");
    s.add_port("br", "p1", json!({}));
    s.add_port("br", "p2", json!({}));
    set(&mut s, policing);
    s
}

fn set(s: &mut TestSwitch, columns: Value) {
    s.transact(&[
        json!({"op": "update", "table": "Interface", "where": [["name", "==", "p1"]], "row": columns}),
    ]);
}

/// How many of `n` frames of 1,000 octets pass at once.
fn pass(s: &mut TestSwitch, port: &str, n: usize) -> usize {
    let frame = Packet::between(mac(1), mac(2))
        .payload(0x88b5, &[0; 986])
        .build();
    let other = if port == "p1" { "p2" } else { "p1" };
    for _ in 0..n {
        s.inject(port, &frame);
        s.run();
    }
    s.sent(other).len()
}

#[test]
fn a_change_of_rates_is_obeyed_and_nothing_else_refills_a_bucket() {
    // 8 Mbit/s, burst 120 kbit: 15 frames at once, then one a millisecond.
    let mut s = switch(json!({"ingress_policing_rate": 8000, "ingress_policing_burst": 120}));
    assert_eq!(pass(&mut s, "p1", 40), 15);
    assert_eq!(pass(&mut s, "p2", 40), 40, "the other port is not policed");
    set(&mut s, json!({"external_ids": ["map", [["a", "b"]]]}));
    assert_eq!(pass(&mut s, "p1", 40), 0);
    set(&mut s, json!({"ingress_policing_burst": 200}));
    assert_eq!(pass(&mut s, "p1", 40), 25);
    set(
        &mut s,
        json!({"ingress_policing_rate": 0, "ingress_policing_kpkts_rate": 1}),
    );
    assert_eq!(pass(&mut s, "p1", 400), 100, "a tenth of a second's");
    set(&mut s, json!({"ingress_policing_kpkts_rate": 0}));
    assert_eq!(pass(&mut s, "p1", 400), 400);
    let refused = 25 + 40 + 15 + 300;
    assert_eq!(s.counters().get("drop_policed"), refused);
}

#[test]
fn a_port_that_comes_back_is_policed_again() {
    let mut s = switch(json!({"ingress_policing_kpkts_rate": 1}));
    assert_eq!(pass(&mut s, "p1", 200), 100);
    s.del_port("br", "p1");
    s.add_port("br", "p1", json!({}));
    assert_eq!(pass(&mut s, "p1", 200), 200, "the row is new");
    set(&mut s, json!({"ingress_policing_kpkts_rate": 1}));
    s.vanish("p1");
    s.appear("p1");
    assert_eq!(pass(&mut s, "p1", 200), 100);
    s.advance(Duration::from_millis(50));
    assert_eq!(pass(&mut s, "p1", 200), 50, "for each millisecond one");
}
