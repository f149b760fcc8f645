//! Devices: rtnetlink, internal ports and taps, in namespaces of their own.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::IpAddr;

use rvs_netdev::internal::{self, InternalError, InternalId, UserEnd};
use rvs_netdev::rtnl::{Change, Event, Link, LinkRef, Monitor, NotAPort, Role, Rtnl, VethEnd};
use rvs_netdev::{tap, FrameSource, Liveness, Transmit, TxScratch};
use rvs_packet::{Csum, Frame, FramePool, Gso, GsoKind, MacAddr, Offload};
use support::{carrier, ethernet, eventually, in_namespace, ip, plain, OtherNamespace, TestPort};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const USER: UserEnd = UserEnd {
    mtu: 1400,
    mac: MAC,
};

fn id(port: &str) -> InternalId {
    InternalId {
        database: "db".into(),
        port: port.into(),
    }
}

fn by_name(rtnl: &mut Rtnl, name: &str) -> Link {
    rtnl.link_by_name(name).unwrap().unwrap()
}

#[test]
fn a_veth_pair_is_made_as_asked_and_changed() {
    in_namespace("veth", || {
        let mut rtnl = Rtnl::open().unwrap();
        let a = VethEnd {
            name: "a",
            mac: MAC,
            mtu: 9000,
            no_arp: true,
        };
        let b = VethEnd {
            name: "b",
            mac: MacAddr([2, 0, 0, 0, 0, 8]),
            mtu: 1400,
            no_arp: false,
        };
        rtnl.create_veth(&a, &b).unwrap();
        let (la, lb) = (by_name(&mut rtnl, "a"), by_name(&mut rtnl, "b"));
        assert_eq!(
            (la.mac, la.mtu, la.role(), la.is_up()),
            (Some(MAC), 9000, Role::Veth, false)
        );
        assert_eq!((lb.mac, lb.mtu), (Some(b.mac), 1400));
        assert!(la.flags & libc::IFF_NOARP as u32 != 0 && lb.flags & libc::IFF_NOARP as u32 == 0);
        assert_eq!(
            la.lower,
            Some(LinkRef {
                index: lb.index,
                nsid: None
            })
        );
        let error = rtnl.create_veth(&a, &b).unwrap_err();
        assert_eq!(error.errno(), Some(libc::EEXIST));
        let change = Change {
            up: Some(true),
            mtu: Some(1300),
            mac: Some(MacAddr([2, 0, 0, 0, 0, 7])),
            name: Some("c"),
            alias: Some("hello"),
            no_ipv6_address: true,
        };
        rtnl.change(lb.index, &change).unwrap();
        let c = by_name(&mut rtnl, "c");
        assert!(c.is_up() && !c.has_carrier() && rtnl.link_by_name("b").unwrap().is_none());
        assert_eq!(
            (c.mtu, c.mac, c.alias.as_deref()),
            (1300, change.mac, Some("hello"))
        );
        rtnl.change(
            la.index,
            &Change {
                up: Some(true),
                ..Change::default()
            },
        )
        .unwrap();
        carrier("c");
        rtnl.delete(la.index).unwrap();
        assert!(rtnl
            .link(LinkRef {
                index: lb.index,
                nsid: None
            })
            .unwrap()
            .is_none());
        assert_eq!(
            rtnl.delete(la.index).unwrap_err().errno(),
            Some(libc::ENODEV)
        );
    });
}

#[test]
fn devices_say_what_they_are() {
    in_namespace("roles", || {
        ip("link add bridge0 type bridge");
        ip("link add v0 type veth peer name v1");
        ip("link set v0 master bridge0");
        ip("link add m0 link v1 type macvlan");
        ip("tuntap add tap0 mode tap");
        ip("tuntap add tun0 mode tun");
        let mut rtnl = Rtnl::open().unwrap();
        let links = rtnl.links().unwrap();
        let find = |name: &str| links.iter().find(|l| l.name == name).unwrap();
        assert_eq!(find("lo").can_be_port(), Err(NotAPort::Loopback));
        assert_eq!(find("bridge0").can_be_port(), Err(NotAPort::Bridge));
        assert_eq!(
            find("v0").can_be_port(),
            Err(NotAPort::HasMaster(find("bridge0").index))
        );
        assert_eq!(
            find("tun0").can_be_port(),
            Err(NotAPort::NotEthernet("tun".into()))
        );
        assert_eq!(find("tap0").role(), Role::Tap);
        assert_eq!(find("m0").role(), Role::Stacked("macvlan".into()));
        assert_eq!(find("m0").lower.map(|l| l.index), Some(find("v1").index));
        for name in ["v1", "m0", "tap0"] {
            assert_eq!(find(name).can_be_port(), Ok(()));
        }
    });
}

#[test]
fn addresses_of_a_device_are_found() {
    in_namespace("addresses", || {
        ip("link add v0 type veth peer name v1");
        ip("addr add 192.0.2.1/24 dev v0");
        ip("addr add 198.51.100.1/32 dev v1");
        let mut rtnl = Rtnl::open().unwrap();
        let (v0, lo) = (by_name(&mut rtnl, "v0"), by_name(&mut rtnl, "lo"));
        let expected: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(rtnl.addresses(v0.index).unwrap(), [(expected, 24)]);
        assert!(rtnl
            .addresses(lo.index)
            .unwrap()
            .iter()
            .any(|(a, _)| a.is_loopback()));
    });
}

#[test]
fn the_monitor_tells_what_comes_changes_and_goes() {
    in_namespace("monitor", || {
        let mut monitor = Monitor::open().unwrap();
        let mut events = Vec::new();
        ip("link add v0 type veth peer name v1");
        ip("link set v0 mtu 1234");
        ip("link set v0 name w0");
        ip("link del w0");
        assert!(support::readable(monitor.fd(), 1000));
        assert!(!monitor.read(&mut events, 1000).unwrap());
        let changed = |test: &dyn Fn(&Link) -> bool| {
            events
                .iter()
                .any(|e| matches!(e, Event::Changed(l) if test(l)))
        };
        assert!(changed(&|l| l.name == "v1"));
        assert!(changed(&|l| l.name == "v0" && l.mtu == 1234));
        assert!(changed(&|l| l.name == "w0"));
        let removed = events
            .iter()
            .filter(|e| matches!(e, Event::Removed(_)))
            .count();
        assert_eq!(removed, 2);
        assert!(!events.contains(&Event::Resync));
    });
}

#[test]
fn a_bridge_port_that_leaves_its_bridge_is_not_removed() {
    in_namespace("bridge port", || {
        ip("link add bridge0 type bridge");
        ip("link add v0 type veth peer name v1");
        ip("link set v0 master bridge0");
        let (mut monitor, mut events) = (Monitor::open().unwrap(), Vec::new());
        ip("link set v0 nomaster");
        monitor.read(&mut events, 1000).unwrap();
        assert!(!events.iter().any(|e| matches!(e, Event::Removed(_))));
        let last = events.iter().rev().find_map(|e| match e {
            Event::Changed(l) if l.name == "v0" => Some(l.master),
            _ => None,
        });
        assert_eq!(last, Some(None));
    });
}

#[test]
fn events_that_are_lost_are_announced() {
    in_namespace("lost events", || {
        let (mut monitor, mut events) = (Monitor::open().unwrap(), Vec::new());
        ip("link add v0 type veth peer name v1");
        ip("link set v0 up");
        let mut rtnl = Rtnl::open().unwrap();
        let index = by_name(&mut rtnl, "v0").index;
        for i in 0..20_000 {
            let alias = format!("{i}");
            rtnl.change(
                index,
                &Change {
                    alias: Some(&alias),
                    ..Change::default()
                },
            )
            .unwrap();
        }
        while monitor.read(&mut events, usize::MAX).unwrap() {}
        assert!(events.contains(&Event::Resync));
        // And it goes on.
        events.clear();
        ip("link set v0 mtu 1300");
        monitor.read(&mut events, usize::MAX).unwrap();
        assert!(events
            .iter()
            .any(|e| matches!(e, Event::Changed(l) if l.mtu == 1300)));
    });
}

#[test]
fn an_internal_port_is_made_and_carries_frames() {
    in_namespace("internal", || {
        let mut rtnl = Rtnl::open().unwrap();
        assert_eq!(internal::adopt(&mut rtnl, &id("br1")).unwrap(), None);
        let port = internal::create(&mut rtnl, &id("br1"), USER).unwrap();
        let user = port.user_link(&mut rtnl).unwrap().unwrap();
        assert_eq!(
            (user.name.as_str(), user.mac, user.mtu),
            ("br1", Some(MAC), 1400)
        );
        assert!(!user.is_up());
        assert_eq!((port.hidden.mtu, port.hidden.is_up()), (65_535, true));
        assert!(port.hidden.flags & libc::IFF_NOARP as u32 != 0 && !port.hidden.has_carrier());
        assert!(internal::can_be_port(&port.hidden).is_err());
        let off = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", port.hidden.name);
        assert!(std::fs::read_to_string(off).is_ok_and(|s| s.trim() == "1"));

        let mut hidden = TestPort::open(&port.hidden.name, 1);
        ip("link set br1 up");
        carrier("br1");
        let mut user = TestPort::open("br1", 2);
        let mut big = udp_super_frame();
        hidden.rx.liveness();
        hidden.send(&[plain(1, 60), big.clone()]);
        let got = user.receive(2);
        assert_eq!(
            (got[0].bytes(), got[1].bytes()),
            (plain(1, 60).bytes(), big.bytes())
        );
        assert_eq!(got[1].offload.csum, big.offload.csum);
        assert_eq!(got[1].offload.gso.map(|g| g.size), Some(1000));
        big.offload = Offload::NONE;
        user.send(&[plain(2, 60)]);
        assert_eq!(hidden.receive(1), [plain(2, 60)]);

        let hidden_index = port.hidden.index;
        port.destroy(&mut rtnl).unwrap();
        assert!(rtnl.link_by_name("br1").unwrap().is_none());
        assert!(rtnl
            .link(LinkRef {
                index: hidden_index,
                nsid: None
            })
            .unwrap()
            .is_none());
        assert_eq!(hidden.rx.liveness(), Liveness::Gone);
    });
}

/// A UDP datagram of 5000 octets to be cut into pieces of 1000, with its checksum open.
fn udp_super_frame() -> Frame {
    let mut b = vec![
        0x45, 0, 0x13, 0xa4, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    b.extend([0, 7, 0, 9, 0x13, 0x90, 0x11, 0x22]);
    b.resize(20 + 8 + 5000, 7);
    let mut f = Frame::from_slice(&ethernet(0x0800, &b));
    let gso = Gso {
        kind: GsoKind::UdpL4,
        size: 1000,
        hdr_len: 42,
        ecn: false,
    };
    f.offload = Offload {
        csum: Csum::Partial {
            start: 34,
            offset: 6,
        },
        gso: Some(gso),
    };
    f
}

#[test]
fn an_internal_port_is_adopted_wherever_its_user_end_has_gone() {
    in_namespace("adopt", || {
        let (mut rtnl, other) = (Rtnl::open().unwrap(), OtherNamespace::new());
        let made = internal::create(&mut rtnl, &id("tap1a"), USER).unwrap();
        let mut monitor = Monitor::open().unwrap();
        ip(&format!("link set tap1a netns {}", other.path()));
        other.ip("link set tap1a name eth7 mtu 1300 address 02:00:00:00:00:55");
        other.ip("addr add 192.0.2.1/24 dev eth7");
        other.ip("link set eth7 up");

        // A daemon that starts finds it by its own end.
        let again = internal::adopt(&mut rtnl, &id("tap1a")).unwrap().unwrap();
        assert_eq!(again.hidden.index, made.hidden.index);
        assert!(again.user.nsid.is_some());
        let user = again.user_link(&mut rtnl).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.mtu), ("eth7", 1300));
        assert_eq!(user.mac, Some(MacAddr([2, 0, 0, 0, 0, 0x55])));
        let links = rtnl.links().unwrap();
        assert_eq!(
            internal::find_all(&links, "db"),
            [(id("tap1a"), again.clone())]
        );
        assert_eq!(internal::find_all(&links, "other"), []);

        // Changes over there are heard here.
        let mut events = Vec::new();
        other.ip("link set eth7 mtu 1310");
        eventually("the event from the other namespace", || {
            monitor.read(&mut events, 1000).unwrap();
            events.iter().any(|e| {
                matches!(e, Event::Changed(l) if l.name == "eth7" && l.mtu == 1310 && l.nsid == again.user.nsid)
            })
        });

        // The namespace goes, and both ends with it.
        drop(other);
        eventually("the end of the pair", || {
            rtnl.link_by_name(&made.hidden.name).unwrap().is_none()
        });
        assert_eq!(internal::adopt(&mut rtnl, &id("tap1a")).unwrap(), None);
        assert_eq!(again.user_link(&mut rtnl).unwrap(), None);
        internal::create(&mut rtnl, &id("tap1a"), USER).unwrap();
    });
}

#[test]
fn frames_reach_a_user_end_in_another_namespace() {
    in_namespace("internal traffic", || {
        let (mut rtnl, other) = (Rtnl::open().unwrap(), OtherNamespace::new());
        let port = internal::create(&mut rtnl, &id("tap1a"), USER).unwrap();
        let mut hidden = TestPort::open(&port.hidden.name, 1);
        ip(&format!("link set tap1a netns {}", other.path()));
        other.ip("addr add 192.0.2.1/24 dev tap1a");
        other.ip("link set tap1a up");
        carrier(&port.hidden.name);
        let ask = ethernet(
            0x0806,
            &[
                0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 9, 0, 0, 0, 0, 0, 0, 192, 0,
                2, 1,
            ],
        );
        let mut ask = Frame::from_slice(&ask);
        ask.bytes_mut()[..6].fill(0xff);
        hidden.send(&[ask]);
        let answer = hidden.receive(1);
        assert_eq!(
            &answer[0].bytes()[20..32],
            &[0, 2, 2, 0, 0, 0, 0, 9, 192, 0, 2, 1]
        );
    });
}

#[test]
fn names_that_others_have_are_refused_with_their_kind() {
    in_namespace("refused", || {
        let mut rtnl = Rtnl::open().unwrap();
        ip("link add br1 type bridge");
        let error = internal::create(&mut rtnl, &id("br1"), USER).unwrap_err();
        assert!(
            matches!(
                &error,
                InternalError::NameTaken {
                    role: Role::Bridge,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().starts_with("br1 is a Linux bridge"));
        // The hidden name belongs to somebody else: neither adopted nor made, nor touched.
        let name = id("p").hidden_name();
        ip(&format!("link add {name} type veth peer name q"));
        let error = internal::adopt(&mut rtnl, &id("p")).unwrap_err();
        assert!(
            matches!(
                error,
                InternalError::HiddenTaken {
                    role: Role::Veth,
                    ..
                }
            ),
            "{error}"
        );
        assert!(internal::create(&mut rtnl, &id("p"), USER).is_err());
        let q = by_name(&mut rtnl, "q");
        assert_eq!((q.is_up(), q.alias), (false, None));
        assert!(rtnl.link_by_name("p").unwrap().is_none());
    });
}

#[test]
fn a_pair_that_a_killed_daemon_left_unmarked_is_finished() {
    in_namespace("unmarked", || {
        let mut rtnl = Rtnl::open().unwrap();
        let made = internal::create(&mut rtnl, &id("p"), USER).unwrap();
        // As it stands right after it was made.
        let index = made.hidden.index;
        let undo = Change {
            alias: Some(""),
            up: Some(false),
            mtu: Some(1500),
            ..Change::default()
        };
        rtnl.change(index, &undo).unwrap();
        assert_eq!(by_name(&mut rtnl, &made.hidden.name).alias, None);
        let again = internal::adopt(&mut rtnl, &id("p")).unwrap().unwrap();
        assert_eq!((again.hidden.mtu, again.hidden.is_up()), (65_535, true));
        assert_eq!(internal::find_all(&rtnl.links().unwrap(), "db").len(), 1);
    });
}

#[test]
fn a_tap_carries_frames_and_super_frames_both_ways() {
    in_namespace("tap", || {
        let (mut rx, tx) = tap::open("t0", 5).unwrap();
        let (mut pool, mut scratch) = (FramePool::new(), TxScratch::default());
        let mut frames = vec![plain(1, 60)];
        tx.transmit(&mut frames, &mut pool, &mut scratch);
        assert_eq!(tx.stats().tx_port_down, 1);
        ip("link set t0 up");
        carrier("t0");
        let mut host = TestPort::open("t0", 6);
        let big = udp_super_frame();
        let mut frames = vec![plain(2, 60), big.clone(), plain(3, 1514)];
        tx.transmit(&mut frames, &mut pool, &mut scratch);
        let got = host.receive(3);
        assert_eq!((&got[0], &got[2]), (&plain(2, 60), &plain(3, 1514)));
        assert_eq!((got[1].bytes(), got[1].offload), (big.bytes(), big.offload));

        host.send(&[plain(4, 60), big.clone(), plain(5, 1514)]);
        let mut out = Vec::new();
        eventually("frames from the tap", || {
            rx.recv_batch(&mut pool, &mut out, 32);
            out.len() >= 3
        });
        assert_eq!(out.len(), 3);
        assert!(out.iter().all(|r| r.port == 5));
        assert_eq!(
            (&out[0].frame, &out[2].frame),
            (&plain(4, 60), &plain(5, 1514))
        );
        assert_eq!(
            (out[1].frame.bytes(), out[1].frame.offload),
            (big.bytes(), big.offload)
        );
        let s = tx.stats();
        // The super-frame is five datagrams.
        assert_eq!((s.tx_packets, s.rx_packets, s.rx_lost()), (7, 7, 0));

        assert_eq!(rx.liveness(), Liveness::Live);
        ip("link del t0");
        assert_eq!(rx.liveness(), Liveness::Gone);
    });
}

#[test]
fn a_persistent_tap_is_attached_to_and_outlives_us_and_a_busy_one_is_refused() {
    in_namespace("persistent tap", || {
        ip("tuntap add t0 mode tap vnet_hdr");
        let held = tap::open("t0", 1).unwrap();
        let error = tap::open("t0", 1).err().unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
        drop(held);
        let mut rtnl = Rtnl::open().unwrap();
        assert_eq!(by_name(&mut rtnl, "t0").role(), Role::Tap);
        drop(tap::open("t1", 1).unwrap());
        eventually("the end of t1", || {
            rtnl.link_by_name("t1").unwrap().is_none()
        });
        ip("link add v0 type veth peer name v1");
        assert_eq!(
            tap::open("v0", 1).err().unwrap().raw_os_error(),
            Some(libc::EINVAL)
        );
    });
}
