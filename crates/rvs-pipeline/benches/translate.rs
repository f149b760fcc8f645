//! Nanoseconds a translation, one thread, everything in memory: `cargo bench -p rvs-pipeline`.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::time::Instant;

use common::{bridge, ether, flow, flows, mac, udp, vid, Lab, BR};
use rvs_flow::OfPort;
use rvs_l2::VlanMode;
use rvs_openflow::{Action, TableId};
use rvs_packet::{Frame, MacAddr};

fn measure(name: &str, lab: &Lab, frame: &[u8]) {
    let key = lab.key(&Frame::from_slice(frame), 1);
    let outputs = lab.translate(&key).actions.len();
    let mut best = f64::MAX;
    for _ in 0..20 {
        let n = 20_000;
        let start = Instant::now();
        for _ in 0..n {
            black_box(lab.translate(black_box(&key)));
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(n));
    }
    println!("{name:48} {best:8.0} ns   {outputs} actions");
}

fn main() {
    let access = |n| vec![VlanMode::Access(vid(100)); n];
    let unicast = ether(mac(2), mac(1), &[]);
    let mut lab = Lab::new([bridge(&access(8))]);
    lab.knows(BR, 100, mac(2), 2);
    measure("NORMAL, known unicast, 8 access ports", &lab, &unicast);
    measure(
        "NORMAL, broadcast, 8 access ports",
        &lab,
        &ether(MacAddr::BROADCAST, mac(1), &[]),
    );
    let mut modes = access(4);
    modes.extend(vec![VlanMode::default(); 4]);
    let mut lab = Lab::new([bridge(&modes)]);
    lab.knows(BR, 100, mac(2), 6);
    measure("NORMAL, known unicast, access to trunk", &lab, &unicast);
    measure(
        "NORMAL, broadcast, 4 access and 4 trunk ports",
        &lab,
        &ether(MacAddr::BROADCAST, mac(1), &[]),
    );

    let mut rules: Vec<_> = (0..1000)
        .map(|n| {
            flow(
                0,
                10,
                &format!("udp,nw_dst=10.1.{}.{}", n / 250, n % 250),
                vec![],
            )
        })
        .collect();
    rules.push(flow(0, 1, "udp,tp_dst=2", vec![Action::output(OfPort(2))]));
    measure(
        "1,001 flows of two masks, output",
        &flows(rules),
        &udp(1, 2, &[]),
    );
    let next = |t: u8| Action::Resubmit {
        port: None,
        table: Some(TableId(t)),
    };
    let mut rules: Vec<_> = (0..10)
        .map(|t| flow(t, 1, "ip", vec![next(t + 1)]))
        .collect();
    let last = vec![
        Action::DecNwTtl(Box::new([])),
        Action::SetEthSrc(mac(7)),
        Action::SetEthDst(mac(8)),
        Action::output(OfPort(2)),
    ];
    rules.push(flow(10, 1, "ip", last));
    measure(
        "eleven tables, three rewrites, output",
        &flows(rules),
        &udp(1, 2, &[]),
    );
}
