//! Tier 0 on real devices: hosts in namespaces of their own, joined by nothing but the program.
#![allow(clippy::unwrap_used)]

mod common;

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use common::sender::Sender;
use common::switch::{l2, mac, now, output, Switch};
use nix::sys::socket::{
    recvfrom, setsockopt, socket, sockopt, AddressFamily, LinkAddr, SockFlag, SockProtocol,
    SockType,
};
use nix::sys::time::{TimeVal, TimeValLike};
use rvs_dpif::FlowId;
use rvs_flow::{DpPort, FlowKey, Present};
use rvs_kcache::tier0::{Punt, PuntRate, PuntedFor};
use rvs_kcache::Mode;
use rvs_packet::MacAddr;

#[test]
fn a_miss_is_handed_up_as_it_came() {
    let Some(s) = Switch::new("miss", 2, Mode::Auto) else {
        return;
    };
    assert!(!s.ping(1, 2, ""));
    let punted = s.punted();
    let (punt, frame) = &punted[0];
    assert_eq!(
        *punt,
        Punt {
            in_port: DpPort(1),
            reason: PuntedFor::Miss
        }
    );
    // An ARP request, octet by octet.
    assert_eq!(frame[..6], [0xff; 6]);
    assert_eq!(frame[6..14], [2, 0, 0, 0, 0, 1, 8, 6]);
    assert_eq!(frame[22..28], mac(1));
    assert_eq!(frame[38..42], [10, 9, 0, 2]);
    assert_eq!(frame.len(), 42);
    let c = s.cache.counters();
    assert_eq!((c.miss as usize, c.hit, c.error), (punted.len(), 0, 0));
}

fn joined_hosts_talk(mode: Mode, test: &str) {
    let Some(mut s) = Switch::new(test, 2, mode) else {
        return;
    };
    s.join();
    assert!(s.ping(1, 2, "") && s.ping(2, 1, "-s 1400"));
    s.tcp("10.9.0.2", ("10.9.0.2", 5001), 16);
    assert!(
        s.punted().is_empty(),
        "everything was decided in the kernel"
    );
    let c = s.cache.counters();
    assert_eq!((c.miss, c.unparsed, c.too_big, c.error), (0, 0, 0, 0));
    let forth = s.cache.stats(FlowId(12)).unwrap();
    // A super-frame counts as its segments: 16 MB take more than 11,000 of them.
    // ... each with its headers: 54 octets and some options, and what was sent again (a super-frame of 64 KiB is 6 of each).
    let headers = (forth.bytes - 16 * 4 * 251 * 1024) / forth.packets;
    assert!(
        forth.packets > 11_000 && (60..100).contains(&headers),
        "{forth:?}"
    );
    assert_eq!(forth.tcp_flags & 0x13, 0x13, "SYN, ACK and FIN were seen");
    assert!(now().since(forth.used) < Duration::from_secs(5));
    assert_eq!(s.cache.masks().map(|(_, n)| n).collect::<Vec<_>>(), [4]);
}

#[test]
fn tcx_joined_hosts_talk() {
    joined_hosts_talk(Mode::Tcx, "tcx_joined");
}

#[test]
fn clsact_joined_hosts_talk() {
    joined_hosts_talk(Mode::Clsact, "clsact_joined");
}

#[test]
fn straight_into_the_other_namespace() {
    let Some(mut s) = Switch::new("peer", 2, Mode::Auto) else {
        return;
    };
    for (guard, host) in s.guards.iter().zip(1..) {
        guard.set_direct(Some(MacAddr(mac(host))));
    }
    s.join();
    assert!(s.ping(1, 2, "") && s.ping(2, 1, "-s 1400"));
    s.tcp("10.9.0.2", ("10.9.0.2", 5001), 8);
    assert!(s.punted().is_empty());
    // Past the port itself: it has sent next to nothing.
    let sent = s.sent(2);
    assert!(sent < 50, "{sent}");
}

/// What is not addressed to the other end must not look to it as if it were: it would answer, or route it.
#[test]
fn straight_or_not_frames_are_for_whom_they_are_for() {
    let Some(mut s) = Switch::new("pkttype", 2, Mode::Auto) else {
        return;
    };
    let multicast = [1, 0, 0x5e, 0, 0, 9];
    let to = [mac(2), mac(9), [0xff; 6], multicast];
    for (id, dst) in (1..).zip(to) {
        s.install(id, l2(1, mac(1), dst, None), &[output(2)]);
    }
    let open = |ns: &common::Netns| {
        ns.run(|| {
            let all = SockProtocol::EthAll;
            let s = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), all).unwrap();
            setsockopt(&s, sockopt::ReceiveTimeout, &TimeVal::milliseconds(500)).unwrap();
            s
        })
    };
    let there = open(&s.hosts[1]);
    let Some(mut sender) = Sender::new(&s.hosts[0], "eth0") else {
        return;
    };
    for (far, past_the_port) in [(None, 0), (Some(MacAddr(mac(2))), 1)] {
        s.guards[1].set_direct(far);
        let before = s.sent(2);
        let mut seen = Vec::new();
        for dst in to {
            let mut frame = [dst, mac(1)].concat();
            frame.extend([0x88, 0xb6]);
            frame.resize(60, 7);
            sender.send(&frame);
            let mut buf = [0; 100];
            let (n, at) = recvfrom::<LinkAddr>(there.as_raw_fd(), &mut buf).unwrap();
            assert_eq!(buf[..n], frame);
            seen.push(at.unwrap().pkttype());
        }
        // PACKET_HOST, PACKET_OTHERHOST, PACKET_BROADCAST, PACKET_MULTICAST
        assert_eq!(seen, [0, 3, 1, 2], "to {far:?}");
        assert_eq!(s.sent(2) - before, 4 - past_the_port);
    }
}

#[test]
fn a_removed_flow_is_gone_and_its_figures_are_final() {
    let Some(mut s) = Switch::new("removed", 2, Mode::Auto) else {
        return;
    };
    s.join();
    assert!(s.ping(1, 2, ""));
    let before = s.cache.stats(FlowId(12)).unwrap();
    assert!(s.cache.remove(FlowId(12)));
    assert!(!s.cache.remove(FlowId(12)));
    s.punted();
    assert!(!s.ping(1, 2, ""));
    assert!(s.punted().iter().any(|(p, _)| p.in_port == DpPort(1)));
    assert_eq!(s.cache.reap().unwrap(), [(FlowId(12), before)]);
    assert_eq!(s.cache.reap().unwrap(), []);
    s.install(13, l2(1, mac(1), mac(2), None), &[output(2)]);
    assert!(s.ping(1, 2, ""));

    s.cache.flush();
    assert!(s.cache.is_empty() && !s.ping(1, 2, ""));
    assert_eq!(s.cache.reap().unwrap().len(), 4);
    s.join();
    assert!(s.ping(1, 2, ""));
}

#[test]
fn a_flood_reaches_all_and_an_empty_list_none() {
    let Some(mut s) = Switch::new("flood", 3, Mode::Auto) else {
        return;
    };
    s.join();
    s.install(10, l2(1, mac(1), [0xff; 6], None), &[output(3), output(2)]);
    s.install(31, l2(3, mac(3), mac(1), None), &[output(1)]);
    s.install(13, l2(1, mac(1), mac(3), None), &[output(3)]);
    assert!(s.ping(1, 2, "") && s.ping(1, 3, ""));
    assert!(s.punted().is_empty());
    s.install(13, l2(1, mac(1), mac(3), None), &[]);
    assert!(!s.ping(1, 3, "") && s.ping(1, 2, ""));
    assert!(s.punted().is_empty(), "a drop is decided here");
    assert!(s.cache.counters().drop >= 1);
}

#[test]
fn what_an_output_can_not_carry_is_handed_up() {
    let Some(mut s) = Switch::new("mtu", 2, Mode::Auto) else {
        return;
    };
    s.join();
    assert!(s.ping(1, 2, ""));
    s.try_install(12, l2(1, mac(1), mac(2), None), &[output(2)], 1000)
        .unwrap();
    assert!(s.ping(1, 2, "-s 900"));
    assert!(s.punted().is_empty());
    assert!(!s.ping(1, 2, "-s 1200"));
    let up = s.punted();
    assert_eq!(up.len(), 1);
    assert_eq!(
        (up[0].0.reason, up[0].1.len()),
        (PuntedFor::TooBig, 14 + 28 + 1200)
    );
    assert_eq!(s.cache.counters().too_big, 1);
}

#[test]
fn a_port_can_not_hand_up_more_than_its_share() {
    let Some(mut s) = Switch::new("share", 2, Mode::Auto) else {
        return;
    };
    let guard = s.guards.remove(0);
    s.host.run(|| guard.detach().unwrap());
    let rate = PuntRate {
        per_second: 10,
        burst: 5,
    };
    s.guards.push(
        s.host
            .run(|| s.cache.attach(s.ifindex[0], DpPort(1), rate).unwrap()),
    );
    let before = s.cache.counters();
    // Unknown unicasts, as fast as they go: about a hundred.
    s.hosts[0].sh("ip neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 dev eth0");
    s.hosts[0].sh("ping -n -q -f -c 100 -W 0.1 10.9.0.77 || true");
    assert!(!s.ping(2, 1, ""), "the other port's share is its own");
    let up = s.punted();
    let mine = up.iter().filter(|(p, _)| p.in_port == DpPort(1)).count();
    assert!((6..60).contains(&mine), "{mine} frames came up");
    assert!(up.iter().any(|(p, _)| p.in_port == DpPort(2)));
    let c = s.cache.counters();
    assert_eq!(
        c.limited - before.limited + up.len() as u64,
        c.miss - before.miss
    );
}

#[test]
fn after_the_daemon_falls_silent_the_host_sees_its_frames() {
    let Some(mut s) = Switch::new("silent", 2, Mode::Auto) else {
        return;
    };
    s.join();
    s.host.sh("ip addr add 10.9.0.100/24 dev port1");
    assert!(s.ping(1, 2, "") && !s.ping(1, 100, ""));
    s.cache.beat(now() - Duration::from_secs(61));
    assert!(!s.ping(1, 2, "") && s.ping(1, 100, ""));
    assert!(s.cache.counters().silent > 0);
    s.cache.beat(now());
    s.hosts[0].sh("ip neigh flush dev eth0");
    assert!(s.ping(1, 2, "") && !s.ping(1, 100, ""));
}

#[test]
fn a_detached_port_is_the_hosts_again() {
    let Some(mut s) = Switch::new("detached", 2, Mode::Auto) else {
        return;
    };
    s.join();
    s.host.sh("ip addr add 10.9.0.100/24 dev port1");
    assert!(!s.ping(1, 100, ""));
    let guard = s.guards.remove(0);
    assert!(s.host.run(|| guard.is_attached().unwrap()));
    s.host.run(|| guard.detach().unwrap());
    assert!(s.ping(1, 100, ""));
    // A second guard for the same port is refused and does the first no harm.
    let twice = s
        .host
        .run(|| s.cache.attach(s.ifindex[1], DpPort(9), PuntRate::default()));
    assert!(twice.is_err());
}

/// A frame whose headers are not in the linear part of the kernel's buffer, as a packet socket can make them.
#[test]
fn headers_outside_the_linear_part_are_pulled() {
    let Some(mut s) = Switch::new("nonlinear", 2, Mode::Auto) else {
        return;
    };
    for n in 1..=2 {
        s.host.sh(&format!("ip link set port{n} mtu 9000"));
        s.hosts[n - 1].sh("ip link set eth0 mtu 9000");
    }
    let ports = FlowKey {
        tp_dst: u16::MAX.into(),
        ..FlowKey::default()
    };
    let (mut key, mut mask) = l2(1, mac(1), mac(2), None);
    mask.0.present |= Present::UDP;
    mask.0.tp_dst = ports.tp_dst;
    key.present |= Present::UDP;
    key.tp_dst = 7777.into();
    s.try_install(1, (key, mask), &[output(2)], 9000).unwrap();
    let script = r#"
import socket, struct
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind(("eth0", 0))
s.setsockopt(263, 15, 1)
udp = struct.pack("!HHHH", 1, 7777, 8 + 6000, 0) + bytes(6000)
ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, b"\x0a\x09\0\1", b"\x0a\x09\0\2")
frame = bytes.fromhex("0200000000020200000000010800") + ip + udp
s.send(struct.pack("=BBHHHH", 0, 0, 14, 0, 0, 0) + frame)
"#;
    if s.hosts[0].try_sh("python3 -c ''").is_err() {
        println!("SKIPPED nonlinear: no python3 to send the frame with");
        return;
    }
    s.hosts[0].sh(&format!("python3 -c '{script}'"));
    let start = Instant::now();
    while s.cache.stats(FlowId(1)).unwrap().packets == 0 {
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{:?}",
            s.cache.counters()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let seen = s.cache.stats(FlowId(1)).unwrap();
    assert_eq!((seen.packets, seen.bytes), (1, 14 + 20 + 8 + 6000));
}

/// A port that goes makes room for another one, but not before frames under way have done with its place.
#[test]
fn the_place_of_a_port_that_left_is_used_again() {
    const X: u32 = 5000;
    let Some(s) = Switch::new("places", 0, Mode::Auto) else {
        return;
    };
    // One device for each of the two places that X can have.
    let taken = [X & 4095, X.wrapping_mul(0x9e37_79b1) >> 20].map(|place| place + 2 * 4096);
    for index in taken.into_iter().chain([X]) {
        let add = format!("ip link add p{index} index {index} type veth peer name q{index}");
        s.host.sh(&add);
    }
    let attach = |index: u32| {
        let put = || s.cache.attach(index, DpPort(index), PuntRate::default());
        s.host.run(put)
    };
    let mut guards = taken.map(|index| Some(attach(index).unwrap()));
    assert!(attach(X).is_err(), "there is no place");
    let left = guards[1].take().unwrap();
    s.host.run(|| left.detach().unwrap());
    let x = attach(X).unwrap();
    assert!(attach(X).is_err(), "it is attached");
    // The same device at once: its own place.
    s.host.run(|| x.detach().unwrap());
    let x = attach(X).unwrap();
    s.host.run(|| {
        drop(x);
        drop(guards);
    });
}
