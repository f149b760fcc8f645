//! What a translation costs, one thread, everything in memory: `cargo bench -p rvs-pipeline`. Names are `stage/kind/instance`.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::time::Duration;

use common::{bridge, ether, flow, flows, mac, udp, vid, Lab, BR};
use criterion::{criterion_group, criterion_main, Criterion};
use rvs_flow::OfPort;
use rvs_l2::VlanMode;
use rvs_openflow::{Action, TableId};
use rvs_packet::{Frame, MacAddr};

fn measure(c: &mut Criterion, name: &str, lab: &Lab, frame: &[u8]) {
    let key = lab.key(&Frame::from_slice(frame), 1);
    assert!(!lab.translate(&key).actions.is_empty(), "{name} drops");
    c.bench_function(&format!("translate/{name}"), |b| {
        b.iter(|| lab.translate(black_box(&key)))
    });
}

fn bench(c: &mut Criterion) {
    let access = |n| vec![VlanMode::Access(vid(100)); n];
    let unicast = ether(mac(2), mac(1), &[]);
    let mut lab = Lab::new([bridge(&access(8))]);
    lab.knows(BR, 100, mac(2), 2);
    measure(c, "normal-unicast/8-access", &lab, &unicast);
    measure(
        c,
        "normal-broadcast/8-access",
        &lab,
        &ether(MacAddr::BROADCAST, mac(1), &[]),
    );
    let mut modes = access(4);
    modes.extend(vec![VlanMode::default(); 4]);
    let mut lab = Lab::new([bridge(&modes)]);
    lab.knows(BR, 100, mac(2), 6);
    measure(c, "normal-unicast/4-access-4-trunk", &lab, &unicast);
    measure(
        c,
        "normal-broadcast/4-access-4-trunk",
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
        c,
        "output/1001-flows-2-masks",
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
        c,
        "resubmit-and-rewrite/11-tables",
        &flows(rules),
        &udp(1, 2, &[]),
    );
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .measurement_time(Duration::from_millis(600))
        .warm_up_time(Duration::from_millis(150))
        .sample_size(20);
    targets = bench
}
criterion_main!(benches);
