//! New flows per second: a miss, its translation, its entry in the caches, and the frame on its way, in one thread.
//!
//! `cargo run --release -p rvs-testkit --example misses`. Prints the figures of two bridges: one that learns and floods
//! (NORMAL), and one with an access list that looks at ports, so that every connection is a flow. What the threads of the
//! daemon cost beyond this (waking, queues between processors) is not in it; what the bench itself does (a copy of each frame,
//! the wires) is. Time is the thread's own, so that a busy machine disturbs it less.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use nix::time::{clock_gettime, ClockId};
use rvs_openflow::Action;
use rvs_packet::MacAddr;
use rvs_slowpath::Limits;
use rvs_testkit::packet::mac;
use rvs_testkit::{Packet, Setup, TestSwitch};
use serde_json::json;

/// Flows that each bridge is asked for, unless the command line says otherwise.
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
    s.stop_capture();
    s
}

/// Time that this thread ran.
fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

/// Sends frames that each need a flow; prints how many flows a second were made. Buffers go round, as a worker's do.
fn measure(name: &str, mut s: TestSwitch, flows: u32, frame: impl Fn(u32) -> Vec<u8>) {
    let frames: Vec<Vec<u8>> = (0..flows).map(frame).collect();
    s.sent_all();
    let before = s.counters().get("installs");
    let started = thread_time();
    for batch in frames.chunks(32) {
        for bytes in batch {
            let mut f = s.datapath(0).pool().take(bytes.len());
            f.bytes_mut().copy_from_slice(bytes);
            s.inject_frame("p1", f);
        }
        s.run();
        for port in ["br", "p1", "p2"] {
            for f in s.sent_frames(port) {
                s.datapath(0).pool().give(f);
            }
        }
    }
    let elapsed = thread_time() - started;
    let installed = s.counters().get("installs") - before;
    assert_eq!(installed, u64::from(flows), "every frame made a flow");
    println!(
        "{name}: {:.0} new flows/s ({:.2} us each)",
        f64::from(flows) / elapsed.as_secs_f64(),
        elapsed.as_secs_f64() * 1e6 / f64::from(flows)
    );
}

fn main() {
    let flows = std::env::args()
        .nth(1)
        .and_then(|a| a.parse().ok())
        .unwrap_or(FLOWS);
    measure("NORMAL, unknown addresses", switch(), flows, |n| {
        let n = n.to_be_bytes();
        Packet::between(mac(1), MacAddr([2, 9, n[0], n[1], n[2], n[3]])).build()
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
    measure("access list on ports, NORMAL", s, flows, |n| {
        let dst = MacAddr([2, 9, 0, (n >> 16) as u8, (n >> 8) as u8, n as u8]);
        let sport = 1024 | (n as u16) | 1;
        Packet::between(mac(1), dst)
            .tcp(1, 2, sport, 443, 2)
            .build()
    });
}
