//! Frames that wait for a verdict: in order, bounded, and not for ever.

use std::time::Duration;

use rvs_datapath::{park, Caches};
use rvs_testkit::counters::moved;
use rvs_testkit::{Packet, Setup, TestSwitch};
use serde_json::json;

fn switch(setup: Setup) -> TestSwitch {
    let mut s = setup.build();
    s.add_bridge("br");
    for p in ["p1", "p2", "p3"] {
        s.add_port("br", p, json!({}));
    }
    s
}

/// Frame `n` of a connection: flags, TTL and content differ as they do in a connection.
fn frame(n: u8, sport: u16) -> Vec<u8> {
    let flags = [0x02, 0x10, 0x18, 0x10, 0x11][usize::from(n) % 5];
    let mut b = Packet::eth(1, 2).tcp(1, 2, sport, 80, flags).build();
    b.push(n);
    b
}

#[test]
fn frames_of_a_connection_leave_in_the_order_they_came_b7() {
    for caches in Caches::ALL {
        for batch in [1, 3, 32] {
            let mut s = switch(Setup {
                batch,
                ..Setup::with(caches)
            });
            for round in 0..4 {
                for n in 0..50 {
                    s.inject("p1", &frame(n, 5000));
                    if n % 7 == round {
                        s.turn();
                    }
                }
                s.run();
                let order: Vec<u8> = s.sent("p2").iter().map(|f| f[f.len() - 1]).collect();
                assert_eq!(
                    order,
                    (0..50).collect::<Vec<u8>>(),
                    "{caches:?}, batches of {batch}"
                );
            }
        }
    }
}

#[test]
fn frames_without_a_verdict_are_dropped_after_their_time() {
    let mut s = switch(Setup::default());
    s.stalled = true;
    for n in 0..10 {
        s.inject("p1", &frame(n, 5000));
    }
    s.run();
    let before = s.counters();
    assert_eq!(before.get("waiting"), 10);
    s.advance(Duration::from_millis(99));
    assert_eq!(s.counters().get("waiting"), 10);
    s.advance(Duration::from_millis(400));
    let after = s.counters();
    // The frames of one connection have several keys: each key is a question of its own, asked in turn.
    let m = moved(&before, &after);
    assert_eq!(
        after.get("waiting") + after.get("drop_park_timeout"),
        10,
        "{m:?}"
    );
    s.advance(Duration::from_secs(2));
    assert_eq!(s.counters().get("drop_park_timeout"), 10);
    assert_eq!(s.counters().get("waiting_bytes"), 0);
    // The answer that comes too late harms nobody, and the next frame finds the flow.
    s.stalled = false;
    s.run();
    assert_eq!(s.sent("p2").len(), 0);
    s.inject("p1", &frame(1, 5000));
    s.run();
    assert_eq!(s.sent("p2").len(), 1);
}

#[test]
fn parking_is_bounded_and_a_full_one_is_counted() {
    let parking = park::Limits {
        frames: 64,
        ..park::Limits::default()
    };
    for n in [31, 32, 33, 64 * 20] {
        let mut s = switch(Setup {
            workers: 1,
            parking: Some(parking),
            ..Setup::default()
        });
        s.stalled = true;
        for i in 0..n {
            // Every frame is a question of its own.
            let dst = (i as u16).to_be_bytes();
            let to = rvs_packet::MacAddr([2, 9, 0, 0, dst[0], dst[1]]);
            s.inject(
                "p1",
                &Packet::between(rvs_testkit::packet::mac(1), to).build(),
            );
        }
        s.run();
        let c = s.counters();
        assert!(c.get("waiting") <= 64, "{n}");
        assert_eq!(
            c.get("waiting") + c.drops(),
            n as u64,
            "{n}: every loss has a name"
        );
        s.stalled = false;
        s.run();
        assert_eq!(
            s.sent("p2").len() as u64,
            n as u64 - s.counters().drops(),
            "{n}"
        );
    }
}

#[test]
fn a_port_that_goes_takes_its_waiting_frames_along() {
    let mut s = switch(Setup::default());
    s.stalled = true;
    for n in 0..10 {
        s.inject("p1", &frame(n, 5000));
    }
    s.run();
    s.del_port("br", "p1");
    s.stalled = false;
    s.run();
    s.advance(Duration::from_secs(2));
    assert_eq!(s.counters().get("waiting"), 0);
    assert_eq!(s.sent("p2").len(), 0);
    s.assert_converged();
}
