//! What a key costs: one frame of each kind, in cache. Names are `stage/kind/instance`.

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion};
use rvs_flow::{extract, DpPort, ParseLimits};
use rvs_packet::Frame;

/// Ethernet, a tag or none, IPv4, 20 octets of TCP without payload.
fn tcp_v4(tag: bool) -> Frame {
    let mut b = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if tag {
        b.extend([0x81, 0, 0, 100]);
    }
    b.extend([
        8, 0, 0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    b.extend([
        0, 80, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0,
    ]);
    b.resize(b.len().max(60), 0);
    Frame::from_slice(&b)
}

fn udp_v6() -> Frame {
    let mut b = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
    b.extend([0x60, 0, 0, 0, 0, 8, 17, 64]);
    b.extend([0xfe; 32]);
    b.extend([0, 53, 0, 54, 0, 8, 0, 0]);
    Frame::from_slice(&b)
}

fn arp() -> Frame {
    let mut b = vec![0xff; 6];
    b.extend([2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    b.resize(60, 0);
    Frame::from_slice(&b)
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("extract");
    for (name, frame) in [
        ("tcp-ipv4/untagged-60", tcp_v4(false)),
        ("tcp-ipv4/vlan-64", tcp_v4(true)),
        ("udp-ipv6/untagged-62", udp_v6()),
        ("arp/untagged-60", arp()),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                extract(
                    black_box(&frame),
                    black_box(DpPort(1)),
                    ParseLimits::default(),
                )
            })
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
