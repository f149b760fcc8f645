//! Packet ports on real devices, in namespaces of their own.
#![allow(clippy::unwrap_used)]

mod support;

use rvs_netdev::{
    packet, tap, FrameSource, Liveness, OpenError, PacketConfig, Transmit, TxScratch,
};
use rvs_packet::{csum, gso, Csum, Frame, FramePool, Gso, GsoKind, Offload};
use support::{carrier, ethernet, ethtool, in_namespace, ip, plain, tc, TestPort};

/// A veth pair x0, x1 with a port on each end.
fn wire(mtu: u32) -> (TestPort, TestPort) {
    ip(&format!(
        "link add x0 mtu {mtu} type veth peer name x1 mtu {mtu}"
    ));
    ip("link set x0 up");
    ip("link set x1 up");
    carrier("x0");
    carrier("x1");
    (TestPort::open("x0", 1), TestPort::open("x1", 2))
}

/// A TCP super-frame of `payload` octets over IPv4 or IPv6; the checksum field holds the pseudo header's sum.
fn tcp_super_frame(v6: bool, payload: usize) -> Frame {
    let tcp = 20 + payload;
    let mut b = if v6 {
        let mut h = vec![0x60, 0, 0, 0];
        h.extend((tcp as u16).to_be_bytes());
        h.extend([6, 64]);
        h.extend([0xfd; 32]);
        ethernet(0x86dd, &h)
    } else {
        let mut h = vec![0x45, 0];
        h.extend((20 + tcp as u16).to_be_bytes());
        h.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        ethernet(0x0800, &h)
    };
    let start = b.len() as u16;
    b.extend([
        0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0xab, 0xcd, 0, 0,
    ]);
    b.extend((0..payload).map(|i| i as u8));
    let mut f = Frame::from_slice(&b);
    f.offload = Offload {
        csum: Csum::Partial { start, offset: 16 },
        gso: Some(Gso {
            kind: if v6 { GsoKind::TcpV6 } else { GsoKind::TcpV4 },
            size: 1400,
            hdr_len: start + 20,
            ecn: false,
        }),
    };
    f
}

#[test]
fn frames_cross_a_veth_in_order_and_own_ones_do_not_come_back() {
    in_namespace("ring", || {
        let (mut a, mut b) = wire(1500);
        let frames: Vec<Frame> = (0..150).map(|i| plain(i, 60 + usize::from(i))).collect();
        a.send(&frames);
        assert_eq!(b.receive(150), frames);
        a.silent();
        b.send(&frames[..3]);
        assert_eq!(a.receive(3), frames[..3]);
        let (sent, got) = (a.tx.stats(), b.tx.stats());
        assert_eq!(
            (sent.tx_packets, sent.rx_packets, sent.tx_lost()),
            (150, 3, 0)
        );
        assert_eq!((got.rx_packets, got.tx_packets, got.rx_lost()), (150, 3, 0));
        assert_eq!(sent.tx_bytes, got.rx_bytes);
    });
}

#[test]
fn a_full_ring_goes_round_and_drops_are_counted() {
    in_namespace("ring drops", || {
        let (mut a, mut b) = wire(1500);
        for round in 0..5u8 {
            let frames = vec![plain(round, 60); 200];
            a.send(&frames);
            assert_eq!(b.receive(200), frames);
        }
        // 256 slots, nobody receives.
        a.send(&vec![plain(9, 60); 300]);
        b.receive(256);
        b.silent();
        assert!(!b.rx.tend(), "a ring that was full is not stuck");
        assert_eq!(b.tx.stats().rx_dropped, 44);
        a.send(&[plain(10, 60)]);
        assert_eq!(b.receive(1), [plain(10, 60)]);
    });
}

#[test]
fn frames_larger_than_a_slot_come_whole_and_in_order() {
    in_namespace("jumbo", || {
        let (mut a, mut b) = wire(65_535);
        let sizes = [60, 9014, 1972, 1973, 60, 65_549, 2048, 60, 4000];
        let frames: Vec<Frame> = sizes.iter().zip(0..).map(|(n, i)| plain(i, *n)).collect();
        a.send(&frames);
        assert_eq!(b.receive(sizes.len()), frames);
    });
}

#[test]
fn super_frames_pass_with_their_metadata() {
    in_namespace("gso", || {
        let (mut a, mut b) = wire(1500);
        let frames = [
            tcp_super_frame(false, 60_000),
            plain(1, 60),
            tcp_super_frame(true, 30_000),
            tcp_super_frame(false, 1_900),
        ];
        a.send(&frames);
        let got = b.receive(4);
        for (sent, got) in frames.iter().zip(&got) {
            assert_eq!(sent.bytes(), got.bytes());
            assert_eq!(sent.offload.csum, got.offload.csum);
            assert_eq!(
                sent.offload.gso.map(|g| (g.kind, g.size)),
                got.offload.gso.map(|g| (g.kind, g.size))
            );
        }
    });
}

#[test]
fn an_open_checksum_passes_as_it_is_unless_it_is_a_crc() {
    in_namespace("checksum", || {
        let (mut a, mut b) = wire(1500);
        let ip = |proto, len: u8| {
            [
                0x45,
                0,
                0,
                20 + len,
                0,
                1,
                0,
                0,
                64,
                proto,
                0,
                0,
                10,
                0,
                0,
                1,
                10,
                0,
                0,
                2,
            ]
        };
        // What a DHCP client sends: the pseudo header's sum, nothing more.
        let udp = [
            &ip(17, 30)[..],
            &[0, 68, 0, 67, 0, 30, 0xab, 0xcd],
            &[5; 22],
        ]
        .concat();
        let mut udp = Frame::from_slice(&ethernet(0x0800, &udp));
        udp.offload.csum = Csum::Partial {
            start: 34,
            offset: 6,
        };
        let sctp = [
            &ip(132, 28)[..],
            &[0, 1, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0],
            &[6; 16],
        ]
        .concat();
        let mut sctp = Frame::from_slice(&ethernet(0x0800, &sctp));
        sctp.offload.csum = Csum::Partial {
            start: 34,
            offset: 8,
        };
        a.send(&[udp.clone(), sctp.clone(), plain(1, 60)]);
        let got = b.receive(3);
        assert_eq!(got[0], udp);
        csum::complete(&mut sctp).unwrap();
        assert_eq!(got[1].bytes(), sctp.bytes());
        assert_eq!(got[2], plain(1, 60));
    });
}

/// A shaper that is out of tokens refuses frames one by one.
#[test]
fn a_full_queue_costs_what_does_not_fit_and_nothing_more() {
    in_namespace("queue", || {
        let (mut a, mut b) = wire(1500);
        tc("qdisc add dev x0 root tbf rate 8kbit burst 1600 limit 1600");
        let frames: Vec<Frame> = (0..20).map(|i| plain(i, 1000)).collect();
        a.send(&frames);
        assert_eq!(b.receive(1), frames[..1]);
        let s = a.tx.stats();
        assert_eq!(
            (s.tx_packets + s.tx_queue_full, s.tx_lost()),
            (20, s.tx_queue_full)
        );
        assert!(s.tx_queue_full >= 17, "{s:?}");
        tc("qdisc del dev x0 root");
        a.send(&[plain(99, 60)]);
        assert_eq!(b.receive(1), [plain(99, 60)]);
    });
}

/// A TCP super-frame of five segments in VXLAN, with this in the outer UDP checksum.
fn super_frame_in_vxlan(csum: u16) -> Frame {
    let mut frame = tcp_super_frame(false, 7_000);
    let inner = frame.len() as u16;
    frame.insert(0, 50);
    let mut outer = vec![0x45, 0];
    outer.extend((inner + 36).to_be_bytes());
    outer.extend([0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    outer.extend([0x80, 0, 0x12, 0xb5]);
    outer.extend((inner + 16).to_be_bytes());
    outer.extend(csum.to_be_bytes());
    outer.extend([8, 0, 0, 0, 0, 0, 42, 0]);
    frame.bytes_mut()[..50].copy_from_slice(&ethernet(0x0800, &outer));
    frame
}

/// The kernel would take the inner segments for the outer ones.
#[test]
fn a_super_frame_inside_a_tunnel_is_cut_before_it_is_sent() {
    in_namespace("tunnel", || {
        let (mut a, mut b) = wire(1500);
        a.send(&[plain(1, 60), super_frame_in_vxlan(0), plain(2, 60)]);
        let got = b.receive(7);
        assert_eq!((&got[0], &got[6]), (&plain(1, 60), &plain(2, 60)));
        for segment in &got[1..6] {
            assert_eq!((segment.len(), segment.offload.gso), (50 + 54 + 1400, None));
            assert_eq!(csum::verify(segment), Ok(()));
        }
        let s = a.tx.stats();
        assert_eq!((s.tx_segmented, s.tx_packets, s.tx_lost()), (1, 7, 0));
    });
}

/// With an outer checksum it travels as a super-frame of datagrams. Whoever cuts that, we or the kernel, gets the same.
#[test]
fn a_super_frame_inside_udp_is_sent_as_datagrams() {
    in_namespace("bundle", || {
        let (mut a, mut b) = wire(1500);
        let (mut pool, mut want) = (FramePool::new(), Vec::new());
        gso::segment(&super_frame_in_vxlan(0xabcd), &mut pool, &mut want).unwrap();
        a.send(&[plain(1, 60), super_frame_in_vxlan(0xabcd), plain(2, 60)]);
        let got = b.receive(3);
        assert_eq!((&got[0], &got[2]), (&plain(1, 60), &plain(2, 60)));
        let mut cut = Vec::new();
        gso::segment(&got[1], &mut pool, &mut cut).unwrap();
        assert_eq!(cut, want);
        let s = a.tx.stats();
        // One of them stands for five.
        assert_eq!((s.tx_segmented, s.tx_packets, s.tx_lost()), (1, 7, 0));

        ethtool("-K x0 tx-udp-segmentation off");
        a.send(&[super_frame_in_vxlan(0xabcd)]);
        for (mut got, want) in b.receive(5).into_iter().zip(&want) {
            csum::complete(&mut got).unwrap();
            assert_eq!(got.bytes(), want.bytes());
        }
    });
}

/// The kernel does not look at the size of segments.
#[test]
fn a_super_frame_whose_segments_exceed_the_mtu_is_too_big() {
    in_namespace("gso mtu", || {
        let (mut a, mut b) = wire(1500);
        let mut frame = tcp_super_frame(false, 7_000);
        a.tx.set_mtu(1439);
        a.send(&[frame.clone(), plain(1, 60)]);
        assert_eq!(b.receive(1), [plain(1, 60)]);
        assert_eq!(a.tx.stats().tx_too_big, 1);
        frame.offload.gso.as_mut().unwrap().size = 1399;
        a.send(&[frame]);
        assert_eq!(b.receive(1)[0].len(), 7_054);
    });
}

#[test]
fn the_stripped_tag_is_put_back() {
    in_namespace("vlan", || {
        let (mut a, mut b) = wire(1500);
        let mut tagged_super = tcp_super_frame(false, 20_000);
        tagged_super.insert(12, 4);
        tagged_super.bytes_mut()[12..16].copy_from_slice(&[0x81, 0, 0x60, 7]);
        let single = Frame::from_slice(&ethernet(
            0x8100,
            &[&[0xe0, 100, 0x88, 0xb5][..], &[1; 50]].concat(),
        ));
        let double = Frame::from_slice(&ethernet(
            0x88a8,
            &[&[0, 5, 0x81, 0, 0x20, 6, 0x88, 0xb5][..], &[2; 50]].concat(),
        ));
        // A tag above the MTU: 1518 octets.
        let full = Frame::from_slice(&ethernet(0x8100, &[3; 1504]));
        let frames = [single, double, full, tagged_super, plain(4, 60)];
        a.send(&frames);
        let got = b.receive(frames.len());
        for (sent, got) in frames.iter().zip(&got) {
            assert_eq!(sent.bytes(), got.bytes());
            assert_eq!(sent.offload.csum, got.offload.csum);
        }
    });
}

#[test]
fn a_frame_above_the_mtu_costs_itself_only() {
    in_namespace("mtu", || {
        let (mut a, mut b) = wire(1500);
        let too_big = [
            plain(1, 1519),
            // One tag may exceed the MTU, but only a C-tag, and only one.
            Frame::from_slice(&ethernet(0x88a8, &[0; 1504])),
            Frame::from_slice(&ethernet(0x8847, &[0; 1504])),
        ];
        let mut batch = vec![plain(0, 60)];
        for (i, f) in (10..).zip(&too_big) {
            batch.push(f.clone());
            batch.push(plain(i, 1514));
        }
        a.send(&batch);
        assert_eq!(
            b.receive(4),
            [
                plain(0, 60),
                plain(10, 1514),
                plain(11, 1514),
                plain(12, 1514)
            ]
        );
        assert_eq!((a.tx.stats().tx_too_big, a.tx.stats().tx_lost()), (3, 3));
    });
}

#[test]
fn a_device_that_is_set_down_comes_back() {
    in_namespace("down", || {
        let (mut a, mut b) = wire(1500);
        ip("link set x0 down");
        assert!(support::readable(a.rx.fd(), 1000));
        assert_eq!(a.rx.liveness(), Liveness::Down);
        a.send(&[plain(1, 60), plain(2, 60)]);
        assert_eq!(a.tx.stats().tx_port_down, 2);
        ip("link set x0 up");
        carrier("x0");
        carrier("x1");
        assert_eq!(a.rx.liveness(), Liveness::Live);
        a.send(&[plain(3, 60)]);
        b.send(&[plain(4, 60)]);
        assert_eq!(b.receive(1), [plain(3, 60)]);
        assert_eq!(a.receive(1), [plain(4, 60)]);
    });
}

#[test]
fn a_pending_error_costs_no_frame() {
    in_namespace("pending error", || {
        let (mut a, mut b) = wire(1500);
        ip("link set x0 down");
        ip("link set x0 up");
        carrier("x0");
        carrier("x1");
        a.send(&[plain(1, 60), plain(2, 60)]);
        assert_eq!(b.receive(2), [plain(1, 60), plain(2, 60)]);
        assert_eq!(a.tx.stats().tx_lost(), 0);
    });
}

#[test]
fn a_port_opened_while_its_device_is_down_comes_alive() {
    in_namespace("opened down", || {
        ip("link add x0 type veth peer name x1");
        let (mut a, mut b) = (TestPort::open("x0", 1), TestPort::open("x1", 2));
        a.send(&[plain(1, 60)]);
        assert_eq!(a.tx.stats().tx_port_down, 1);
        ip("link set x0 up");
        ip("link set x1 up");
        carrier("x0");
        carrier("x1");
        b.rx.liveness();
        a.send(&[plain(2, 60)]);
        assert_eq!(b.receive(1), [plain(2, 60)]);
    });
}

#[test]
fn a_deleted_device_is_gone_and_a_new_one_of_its_name_is_opened_anew() {
    in_namespace("deleted", || {
        let (mut a, _b) = wire(1500);
        ip("link del x0");
        assert_eq!(a.rx.liveness(), Liveness::Gone);
        a.send(&[plain(1, 60)]);
        assert_eq!(a.tx.stats().tx_port_down, 1);
        let (mut a, mut b) = wire(1500);
        a.send(&[plain(2, 60)]);
        assert_eq!(b.receive(1), [plain(2, 60)]);
        assert_eq!(a.rx.liveness(), Liveness::Live);
    });
}

#[test]
fn a_device_that_moves_to_another_namespace_is_gone() {
    in_namespace("moved", || {
        let (mut a, _b) = wire(1500);
        let other = support::OtherNamespace::new();
        ip(&format!("link set x0 netns {}", other.path()));
        assert_eq!(a.rx.liveness(), Liveness::Gone);
    });
}

#[test]
fn opening_what_is_not_there_says_so() {
    in_namespace("no device", || {
        ip("link add x0 type veth peer name x1");
        let device = support::link("x0");
        ip("link del x0");
        let error = packet::open(&device, 1, &PacketConfig::default())
            .err()
            .unwrap();
        assert!(matches!(error, OpenError::NoDevice), "{error}");
    });
}

#[test]
fn several_threads_send_on_one_port() {
    in_namespace("threads", || {
        let (a, mut b) = wire(1500);
        let send = |tag: u8| {
            let tx = a.tx.clone();
            move || {
                let (mut pool, mut scratch) = (FramePool::new(), TxScratch::default());
                for _ in 0..5 {
                    let mut frames = vec![plain(tag, 100); 20];
                    tx.transmit(&mut frames, &mut pool, &mut scratch);
                }
            }
        };
        std::thread::scope(|s| {
            s.spawn(send(1));
            s.spawn(send(2));
        });
        let got = b.receive(200);
        let ones = got.iter().filter(|f| **f == plain(1, 100)).count();
        assert_eq!((ones, a.tx.stats().tx_packets), (100, 200));
    });
}

/// UDP fragmentation offload has no vnet header on its way to a packet socket. The kernel loses the frame and forgets to
/// free its slot, after which it would drop every frame for ever.
#[test]
fn a_ring_that_an_unknown_kind_of_super_frame_got_stuck_is_replaced() {
    in_namespace("unknown gso", || {
        let (tap, _tx) = tap::open("t0", 1).unwrap();
        ip("link set t0 up");
        let mut port = TestPort::open("t0", 2);
        let mut udp = vec![
            0x45, 0, 0x0f, 0xa0, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        udp.extend([0, 7, 0, 9, 0x0f, 0x8c, 0, 0]);
        udp.resize(4000, 0);
        let udp = ethernet(0x0800, &udp);
        let write = |flags: u8, gso: u8, bytes: &[u8]| {
            let words = if gso == 0 {
                [0; 4]
            } else {
                [42u16, 1480, 34, 6]
            };
            let mut hdr = vec![flags, gso];
            hdr.extend(words.into_iter().flat_map(u16::to_ne_bytes));
            let iov = [std::io::IoSlice::new(&hdr), std::io::IoSlice::new(bytes)];
            nix::sys::uio::writev(tap.fd(), &iov).unwrap();
        };
        let send = |tag| write(0, 0, plain(tag, 60).bytes());
        send(0);
        assert_eq!(port.receive(1), [plain(0, 60)]);
        assert!(!port.rx.tend());
        for round in [10, 20] {
            write(1, 3, &udp);
            send(round);
            // A kernel without the fault delivers this one; then there is nothing to be replaced.
            if support::readable(port.rx.fd(), 100) {
                assert_eq!(port.receive(1), [plain(round, 60)]);
            } else {
                assert!(port.rx.tend());
            }
            send(round + 1);
            assert_eq!(port.receive(1), [plain(round + 1, 60)]);
            assert!(!port.rx.tend());
        }
        let s = port.tx.stats();
        assert_eq!(s.rx_resets * 2, s.rx_dropped);
    });
}
