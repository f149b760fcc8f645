//! What a flow-mod with its barrier costs while many flows are cached, measured on the simulated switch.
//!
//! `cargo run --release -p rvs-testkit --example flowmods`. Prints the medians of flow-mods that concern no cached flow, and
//! of flow-mods that concern eight. From the bytes of the request to the bytes of the reply; sockets are not in it.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use rvs_flow::{NoPortNames, OfPort};
use rvs_ofproto::agent::ConnKind;
use rvs_openflow::message::{FlowCommand, FlowMod};
use rvs_openflow::{Action, FlowMatch, Instructions, Message, Version};
use rvs_packet::MacAddr;
use rvs_slowpath::Limits;
use rvs_testkit::openflow::Controller;
use rvs_testkit::packet::mac;
use rvs_testkit::{Packet, Setup, TestSwitch};
use serde_json::json;

/// Cached flows, unless the command line says otherwise.
const FLOWS: u32 = 100_000;
const ROUNDS: usize = 2_001;

fn flow_mod(priority: u16, text: &str, actions: Vec<Action>) -> Message {
    let matching = FlowMatch::parse(text, &NoPortNames).unwrap();
    let mut f = FlowMod::new(FlowCommand::Add, matching);
    f.priority = priority;
    f.instructions = Instructions::apply(actions);
    Message::FlowMod(Box::new(f))
}

/// Median time of `ROUNDS` changes.
fn median(s: &mut TestSwitch, c: &mut Controller, change: impl Fn(usize) -> Message) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|n| {
            let change = change(n);
            let started = Instant::now();
            c.order(s, &change);
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

fn main() {
    let flows = std::env::args()
        .nth(1)
        .and_then(|a| a.parse().ok())
        .unwrap_or(FLOWS);
    let limits = Limits {
        flows: 1_000_000,
        port_share: 100,
        ..Limits::default()
    };
    let mut s = Setup {
        limits,
        ..Setup::default()
    }
    .build();
    s.add_bridge("br");
    for p in ["p1", "p2"] {
        s.add_port("br", p, json!({}));
    }
    s.stop_capture();
    let mut c = Controller::connect(&mut s, "br", ConnKind::Service, Version::Of13);
    let to = Action::output(s.of("p2"));
    c.order(&mut s, &flow_mod(1, "", vec![to.clone()]));
    // Every destination is a flow of its own: this rule looks at the whole address.
    let one = "dl_dst=02:09:ff:ff:ff:ff";
    c.order(&mut s, &flow_mod(2, one, vec![]));
    for n in 0..flows {
        let octets = n.to_be_bytes();
        let to = MacAddr([2, 9, octets[0], octets[1], octets[2], octets[3]]);
        let bytes = Packet::between(mac(1), to).tcp(1, 2, 1000, 80, 2).build();
        s.inject("p1", &bytes);
        if n % 64 == 63 {
            s.run();
            s.sent_all();
        }
    }
    s.run();
    let cached = s.slow().flows().len();
    let far = |n: usize| {
        let actions = vec![Action::output(OfPort(1 + n as u32 % 2))];
        flow_mod(9, "dl_dst=02:0a:00:00:00:01", actions)
    };
    let none = median(&mut s, &mut c, far);
    let near = |n: usize| {
        let n = 8 * n as u32 % flows;
        let [a, b, c, d] = n.to_be_bytes();
        let text = format!("dl_dst=02:09:{a:02x}:{b:02x}:{c:02x}:{d:02x}/ff:ff:ff:ff:ff:f8");
        flow_mod(9, &text, vec![])
    };
    let some = median(&mut s, &mut c, near);
    let removed = cached - s.slow().flows().len();
    println!("{cached} cached flows, {removed} removed by the changes");
    println!("flow-mod and barrier that concern none: {none:.1?} median");
    println!("flow-mod and barrier that concern eight: {some:.1?} median");
}
