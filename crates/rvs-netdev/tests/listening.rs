//! A port that somebody else takes the frames of: its socket listens no more, and may listen again.
#![allow(clippy::unwrap_used)]

mod support;

use rvs_netdev::egress::Listeners;
use rvs_netdev::{packet, FrameSource, PacketConfig, Received, Transmit};
use rvs_packet::FramePool;
use support::{carrier, in_namespace, ip, link, plain, readable, TestPort};

/// A socket bound to protocol 0 goes on to listen if it ever did, and gathers frames that nobody reads.
#[test]
fn a_port_that_has_stopped_listening_hears_nothing() {
    in_namespace("mute", || {
        ip("link add x0 type veth peer name x1");
        ip("link set x0 up");
        ip("link set x1 up");
        carrier("x0");
        carrier("x1");
        let mut far = TestPort::open("x0", 1);
        let near = link("x1");
        let tx = packet::open_sender(&near, &PacketConfig::default()).unwrap();
        let listens = || Listeners::now().unwrap().on(near.index);
        assert!(!listens());
        for round in 0..3 {
            let mut rx = tx.receive(2, &PacketConfig::default()).unwrap();
            assert!(listens());
            far.send(&[plain(1, 100), plain(2, 1400)]);
            assert!(readable(rx.fd(), 1000));
            tx.mute().unwrap();
            far.send(&[plain(3, 100)]);
            let (mut pool, mut got) = (FramePool::default(), Vec::<Received>::new());
            std::thread::sleep(std::time::Duration::from_millis(20));
            rx.recv_batch(&mut pool, &mut got, 10);
            let lens: Vec<usize> = got.iter().map(|r| r.frame.len()).collect();
            assert_eq!(
                lens,
                [100, 1400],
                "round {round}: what came before, nothing after"
            );
            drop(rx);
            assert!(!listens(), "round {round}");
        }
        assert_eq!(tx.stats().rx_packets, 6);
    });
}
