//! New flows per second: a miss, its translation, its entry in the caches, and the frame on its way, in one thread.
//!
//! `cargo run --release -p rvs-testkit --example misses`. Prints the figures of two bridges: one that learns and floods
//! (NORMAL), and one with an access list that looks at ports, so that every connection is a flow. What the threads of the
//! daemon cost beyond this (waking, queues between processors) is not in it; what the bench itself does (copying frames
//! in and out, the capture) is.

use std::time::Instant;

use rvs_openflow::Action;
use rvs_packet::{Frame, MacAddr};
use rvs_slowpath::Limits;
use rvs_testkit::packet::mac;
use rvs_testkit::{Packet, Setup, TestSwitch};
use serde_json::json;

const FLOWS: u32 = 150_000;

fn switch() -> TestSwitch {
    let mut s = Setup {
        workers: 1,
        limits: Limits {
            flows: 200_000,
            port_share: 100,
            ..Limits::default()
        },
        ..Setup::default()
    }
    .build();
    s.add_bridge("br");
    for p in ["p1", "p2"] {
        s.add_port("br", p, json!({}));
    }
    s.forward("p2", &Packet::eth(2, 1).build());
    s
}

/// Sends frames that each need a flow; prints how many flows a second were made.
fn measure(name: &str, mut s: TestSwitch, frame: impl Fn(u32) -> Frame) {
    let frames: Vec<Frame> = (0..FLOWS).map(frame).collect();
    s.sent_all();
    let before = s.counters().get("installs");
    let started = Instant::now();
    for batch in frames.chunks(64) {
        for f in batch {
            s.inject_frame("p1", f.clone());
        }
        s.run();
        s.sent_all();
    }
    let elapsed = started.elapsed();
    let installed = s.counters().get("installs") - before;
    assert_eq!(installed, u64::from(FLOWS), "every frame made a flow");
    println!(
        "{name}: {:.0} new flows/s ({:.2} us each)",
        f64::from(FLOWS) / elapsed.as_secs_f64(),
        elapsed.as_secs_f64() * 1e6 / f64::from(FLOWS)
    );
}

fn main() {
    measure("NORMAL, unknown addresses", switch(), |n| {
        let n = n.to_be_bytes();
        Packet::between(mac(1), MacAddr([2, 9, n[0], n[1], n[2], n[3]])).frame()
    });
    let mut s = switch();
    for port in [22, 23, 25] {
        s.add_flow("br", 10, &format!("tcp,tp_dst={port}"), []);
    }
    s.add_flow(
        "br",
        9,
        "tcp,tp_src=1/1",
        [Action::output(rvs_flow::OfPort::NORMAL)],
    );
    measure("access list on ports, NORMAL", s, |n| {
        let dst = MacAddr([2, 9, 0, (n >> 16) as u8, (n >> 8) as u8, n as u8]);
        let sport = 1024 | (n as u16) | 1;
        Packet::between(mac(1), dst)
            .tcp(1, 2, sport, 443, 2)
            .frame()
    });
}
