//! What is bounded stays bounded, and a port that presses against a bound is the one that feels it.

use std::time::Duration;

use rvs_flow::OfPort;
use rvs_openflow::Action;
use rvs_packet::MacAddr;
use rvs_slowpath::queue::PER_PORT;
use rvs_slowpath::Limits;
use rvs_testkit::packet::mac;
use rvs_testkit::{Packet, Setup, TestSwitch};
use serde_json::json;

fn switch(limits: Limits) -> TestSwitch {
    let setup = Setup {
        limits,
        ..Setup::default()
    };
    let mut s = setup.build();
    s.add_bridge("br");
    for p in ["p1", "p2", "p3"] {
        s.add_port("br", p, json!({}));
    }
    s
}

/// A frame to an address that nobody has: an entry of its own.
fn to_nobody(src: u8, n: usize) -> Vec<u8> {
    let n = (n as u32).to_be_bytes();
    Packet::between(mac(src), MacAddr([2, 9, n[0], n[1], n[2], n[3]])).build()
}

/// Injects and runs, in portions that the queues have room for.
fn flood(s: &mut TestSwitch, port: &str, frames: impl Iterator<Item = Vec<u8>>) {
    for (i, f) in frames.enumerate() {
        s.inject(port, &f);
        if i % 64 == 63 {
            s.run();
        }
    }
    s.run();
    s.sent_all();
}

#[test]
fn the_flow_limit_evicts_from_the_heaviest_port_and_flushes_nothing() {
    const LIMIT: usize = 400;
    for n in [LIMIT - 51, LIMIT - 50, LIMIT - 49, 20 * LIMIT] {
        let mut s = switch(Limits {
            flows: LIMIT,
            port_share: 100,
            ..Limits::default()
        });
        flood(&mut s, "p2", (0..50).map(|i| to_nobody(2, i)));
        flood(&mut s, "p1", (0..n).map(|i| to_nobody(1, 100_000 + i)));
        let c = s.counters();
        assert_eq!(c.get("flows"), LIMIT.min(n + 50) as u64, "{n}");
        assert_eq!(
            c.get("flow_del_evicted"),
            (n + 50).saturating_sub(LIMIT) as u64,
            "{n}"
        );
        assert_eq!(c.get("flow_del_flushed"), 0);
        assert_eq!(c.drops(), 0, "{n}");
        let p2 = s.dp("p2");
        assert_eq!(
            s.slow().flows().port_len(p2),
            50,
            "the quiet port keeps its entries"
        );
        s.assert_converged();
        // And they are used.
        let misses = s.counters().get("misses");
        flood(&mut s, "p2", (0..50).map(|i| to_nobody(2, i)));
        assert_eq!(s.counters().get("misses"), misses);
    }
}

#[test]
fn a_nearly_full_table_gives_one_port_no_more_than_its_share() {
    let mut s = switch(Limits {
        flows: 400,
        ..Limits::default()
    });
    flood(&mut s, "p2", (0..170).map(|i| to_nobody(2, i)));
    flood(&mut s, "p1", (0..4000).map(|i| to_nobody(1, 100_000 + i)));
    let (p1, p2) = (s.dp("p1"), s.dp("p2"));
    let held = s.slow().flows().port_len(p1);
    assert!((190..=200).contains(&held), "{held}");
    assert_eq!(s.slow().flows().port_len(p2), 170);
    s.assert_converged();
}

#[test]
fn idle_entries_go_and_busy_ones_stay() {
    let mut s = switch(Limits::default());
    flood(&mut s, "p1", (0..100).map(|i| to_nobody(1, i)));
    for _ in 0..24 {
        flood(&mut s, "p1", (0..10).map(|i| to_nobody(1, i)));
        s.advance(Duration::from_millis(500));
    }
    assert_eq!(s.counters().get("flows"), 10);
    assert_eq!(s.counters().get("flow_del_idle"), 90);
    s.advance(Duration::from_secs(11));
    assert_eq!(s.counters().get("flows"), 0);
    s.assert_converged();
}

#[test]
fn flow_limit_and_max_idle_of_the_database_hold_at_once() {
    let mut s = switch(Limits {
        port_share: 100,
        ..Limits::default()
    });
    let flows = |s: &mut TestSwitch| s.counters().get("flows");
    flood(&mut s, "p1", (0..300).map(|i| to_nobody(1, i)));
    assert_eq!(flows(&mut s), 300);
    s.set_other_config(&[("flow-limit", "100"), ("max-idle", "60000")]);
    flood(&mut s, "p1", (1000..1100).map(|i| to_nobody(1, i)));
    assert_eq!(flows(&mut s), 200, "two go for each that comes");
    flood(&mut s, "p1", (2000..2500).map(|i| to_nobody(1, i)));
    assert_eq!(flows(&mut s), 100);
    s.advance(Duration::from_secs(50));
    assert_eq!(flows(&mut s), 100, "not idle for long enough");
    s.set_other_config(&[("max-idle", "1")]);
    flood(&mut s, "p1", (3000..3300).map(|i| to_nobody(1, i)));
    s.advance(Duration::from_millis(400));
    assert!(flows(&mut s) >= 300, "no limit, and less than 500 ms");
    s.advance(Duration::from_millis(1200));
    assert_eq!(flows(&mut s), 0);
    for nonsense in ["", "-1", "many"] {
        s.set_other_config(&[("flow-limit", nonsense), ("max-idle", nonsense)]);
        assert_eq!(s.slow().limits().flows, Limits::default().flows);
        assert_eq!(s.slow().limits().max_idle, Limits::default().max_idle);
    }
    s.assert_converged();
}

/// Flows to an address that moves are judged one by one when they are few, and asked for again when they are many.
#[test]
fn a_popular_address_that_moves_costs_no_translation_for_each_flow() {
    for (flows, judged) in [(20, true), (21, false)] {
        let mut s = switch(Limits {
            retranslations: 20,
            ..Limits::default()
        });
        s.forward("p2", &Packet::eth(9, 1).build());
        for n in 0..flows {
            s.forward("p1", &Packet::eth(100 + n, 9).build());
        }
        let before = s.counters();
        s.forward("p3", &Packet::eth(9, 1).build());
        let now = s.counters();
        let grown = |name| now.get(name) - before.get(name);
        let all = u64::from(flows);
        assert_eq!(grown("flow_del_suspect"), if judged { 0 } else { all });
        let translated = grown("slow_revalidated");
        assert_eq!(translated, if judged { all } else { 0 });
        for n in 0..flows {
            let out = s.forward("p1", &Packet::eth(100 + n, 9).build());
            assert!(out.len() == 1 && out[0].0 == "p3", "{out:?}");
        }
        s.assert_converged();
    }
}

/// CVE-2019-25076: access rules on both ports and the source, and frames that differ from the rules in one bit each.
#[test]
fn tuple_space_explosion_stays_inside_the_mask_budget() {
    let mut s = switch(Limits::default());
    s.clear_flows("br");
    for rule in ["tcp,tp_dst=80", "tcp,tp_src=12345", "ip,nw_src=10.0.0.5"] {
        s.add_flow("br", 10, rule, [Action::output(OfPort(2))]);
    }
    s.add_flow("br", 1, "in_port=3", [Action::output(OfPort(2))]);
    let mut sent = 0;
    for i in 0..32 {
        for j in (0..16).step_by(2) {
            for k in (0..16).step_by(3) {
                let mut b = Packet::eth(1, 2)
                    .tcp(1, 2, 12345 ^ 1 << j, 80 ^ 1 << k, 2)
                    .build();
                let src = 0x0a00_0005u32 ^ 1 << i;
                b[26..30].copy_from_slice(&src.to_be_bytes());
                s.judge("p1", &b);
                sent += 1;
            }
        }
    }
    let dp = s.dp("p1");
    let (masks, budget) = {
        let slow = s.slow();
        let usage = slow.flows().port_usage().find(|u| u.0 == dp);
        (usage.map_or(0, |u| u.2), slow.limits().masks)
    };
    assert!(masks <= budget + 1, "{masks} masks of {sent} frames");
    assert_eq!(
        s.counters().get("refused_masks"),
        0,
        "the slow path keeps inside what workers take"
    );
    // A bystander's port has as few masks as it would have had.
    s.judge("p3", &Packet::eth(3, 2).tcp(3, 2, 1, 2, 2).build());
    let p3 = s.dp("p3");
    let usage = s.slow().flows().port_usage().find(|u| u.0 == p3);
    assert!(usage.unwrap().2 <= 2);
    s.assert_converged();
}

#[test]
fn a_port_that_misses_at_line_rate_does_not_keep_another_waiting() {
    for n in [PER_PORT - 1, PER_PORT, PER_PORT + 1, 20 * PER_PORT] {
        let mut s = switch(Limits::default());
        // Two turns of the workers without an answer: the attacker's queue fills.
        s.stalled = true;
        for i in 0..n {
            s.inject("p1", &to_nobody(1, i));
        }
        for i in 0..8 {
            s.inject("p2", &to_nobody(2, 100_000 + i));
        }
        s.run();
        s.handler_turn();
        // One turn of the handler has answered all of the quiet port's questions.
        s.turn();
        let first = s.sent("p3");
        let quiet = first.iter().filter(|f| f[11] == 2).count();
        assert_eq!(quiet, 8, "{n}");
        s.stalled = false;
        s.run();
        let c = s.counters();
        assert_eq!(c.get("rx_packets"), n as u64 + 8);
        let lost = c.drops();
        let left = first.len() + s.sent("p3").len();
        assert_eq!(
            left as u64 + lost,
            n as u64 + 8,
            "{n}: every loss has a name"
        );
        if n < PER_PORT {
            assert_eq!(lost, 0, "{n}");
        }
    }
}

#[test]
fn invented_addresses_evict_their_own_port_s_addresses() {
    let mut s = switch(Limits::default());
    let size = rvs_testkit::config::map(&[("mac-table-size", "100")]);
    s.set_bridge("br", json!({"other_config": size}));
    let from = |n: usize| {
        let n = (n as u32).to_be_bytes();
        let src = MacAddr([2, 9, n[0], n[1], n[2], n[3]]);
        Packet::between(src, mac(7)).build()
    };
    flood(&mut s, "p2", (1..=20).map(|n| Packet::eth(n, 99).build()));
    flood(&mut s, "p1", (0..2000).map(from));
    for n in 1..=20 {
        let sent = s.judge("p3", &Packet::eth(33, n).build());
        let ports: Vec<&String> = sent.keys().collect();
        assert_eq!(ports, ["p2"], "host {n} is still known");
    }
    let id = s.slow().world().bridges().next().unwrap().id;
    assert!(s.slow().macs().get(id).unwrap().len() <= 100);
    s.assert_converged();
}

#[test]
fn frames_that_are_too_big_or_for_a_port_that_is_down_are_lost_by_name() {
    let mut s = switch(Limits::default());
    s.forward("p2", &Packet::eth(2, 9).build());
    let mut big = Packet::eth(1, 2).build();
    big.resize(1514, 0);
    assert_eq!(s.forward("p1", &big).len(), 1, "at the MTU");
    big.push(0);
    assert_eq!(s.forward("p1", &big), [], "one octet more");
    assert_eq!(s.counters().get("drop_too_big"), 1);
    s.set_mtu("p2", 9000);
    assert_eq!(s.forward("p1", &big).len(), 1);
    s.set_link("p2", false);
    assert_eq!(s.forward("p1", &big), []);
    assert_eq!(s.counters().get("drop_port_down"), 1);
}
