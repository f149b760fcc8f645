//! Tier 0 on real devices: hosts in namespaces of their own, joined by nothing but the program.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Netns;
use nix::sys::socket::{
    recvfrom, setsockopt, socket, sockopt, AddressFamily, LinkAddr, SockFlag, SockProtocol,
    SockType,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::time::{clock_gettime, ClockId};
use rvs_dpif::{DpAction, FlowId, FlowStats, Masked, Megaflow, SetField};
use rvs_flow::{DpPort, FlowKey, Mask, Present};
use rvs_kcache::tier0::{Options, OutPort, PortGuard, Punt, PuntRate, PuntedFor, Refusal};
use rvs_kcache::{Guard, IngressDrop, KernelCache, Mode};
use rvs_packet::{EtherType, Now, VlanTci};

fn now() -> Now {
    let t = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    Now(t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}

fn mac(host: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, host]
}

/// A switch of nothing but tier 0: hosts 1.. with 10.9.0.N, host N on port N.
struct Switch {
    host: Netns,
    hosts: Vec<Netns>,
    ifindex: Vec<u32>,
    cache: KernelCache,
    guards: Vec<PortGuard>,
    _drop: (IngressDrop, Guard),
    punt_if: u32,
    tap: OwnedFd,
    peer: bool,
}

impl Switch {
    fn new(test: &str, hosts: u8, mode: Mode) -> Option<Self> {
        let host = Netns::new(test)?;
        host.sh("ip link add punt0 mtu 9500 type veth peer name punt1 mtu 9500");
        host.sh("ip link set punt0 addrgenmode none; ip link set punt1 addrgenmode none");
        host.sh("ip link set punt0 up arp off; ip link set punt1 up arp off");
        let punt_if = host.ifindex("punt1");
        // Heartbeats are the tests' business: a minute is for ever.
        let options = Options {
            flows: 256,
            survive: Duration::from_secs(60),
            mode,
        };
        let (cache, drop) = host.run(|| {
            let cache = KernelCache::open(test, &options, [1, 2], now()).unwrap();
            let drop = IngressDrop::open(test, Mode::Auto, now()).unwrap();
            let guard = drop.attach(punt_if).unwrap();
            (cache, (drop, guard))
        });
        cache.set_punt_device(host.ifindex("punt0"));
        let tap = host.run(|| {
            let all = SockProtocol::EthAll;
            let tap = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), all).unwrap();
            setsockopt(&tap, sockopt::ReceiveTimeout, &TimeVal::milliseconds(100)).unwrap();
            tap
        });
        let mut this = Self {
            host,
            hosts: Vec::new(),
            ifindex: Vec::new(),
            cache,
            guards: Vec::new(),
            _drop: drop,
            punt_if,
            tap,
            peer: false,
        };
        for n in 1..=hosts {
            this.add_host(n);
        }
        Some(this)
    }

    fn add_host(&mut self, n: u8) {
        let ns = Netns::new("").unwrap();
        self.host.sh(&format!(
            "ip link add port{n} type veth peer name eth0 netns {}",
            ns.path()
        ));
        self.host
            .sh(&format!("ip link set port{n} up addrgenmode none"));
        ns.sh(&format!(
            "ip link set eth0 addr 02:00:00:00:00:{n:02x} addrgenmode none"
        ));
        ns.sh(&format!(
            "ip addr add 10.9.0.{n}/24 dev eth0; ip link set eth0 up"
        ));
        let ifindex = self.host.ifindex(&format!("port{n}"));
        let guard = self.host.run(|| {
            self.cache
                .attach(ifindex, DpPort(n.into()), PuntRate::default())
                .unwrap()
        });
        self.guards.push(guard);
        self.ifindex.push(ifindex);
        // A device drops what it is given until the kernel has noticed its carrier.
        self.host.wait_up(&format!("port{n}"));
        ns.wait_up("eth0");
        self.hosts.push(ns);
    }

    /// A wire from one port of the switch to another, the next two numbers. It carries what hosts here can't make: tags.
    fn add_trunk(&mut self, mtu: u32) {
        let n = self.ifindex.len() as u32 + 1;
        let (a, b) = (format!("port{n}"), format!("port{}", n + 1));
        self.host.sh(&format!(
            "ip link add {a} mtu {mtu} type veth peer name {b} mtu {mtu}"
        ));
        for (dev, port) in [(a, n), (b, n + 1)] {
            self.host.sh(&format!(
                "ip link set {dev} addrgenmode none; ip link set {dev} up arp off"
            ));
            let ifindex = self.host.ifindex(&dev);
            let rate = PuntRate::default();
            let guard = self
                .host
                .run(|| self.cache.attach(ifindex, DpPort(port), rate).unwrap());
            self.guards.push(guard);
            self.ifindex.push(ifindex);
        }
        self.host.wait_up(&format!("port{n}"));
        self.host.wait_up(&format!("port{}", n + 1));
    }

    fn out(&self, mtu: u32) -> impl Fn(DpPort) -> Option<OutPort> {
        let (ifindex, peer) = (self.ifindex.clone(), self.peer);
        move |port| {
            let ifindex = *ifindex.get(port.0.checked_sub(1)? as usize)?;
            Some(OutPort { ifindex, mtu, peer })
        }
    }

    fn install(&mut self, id: u64, flow: (FlowKey, Mask<FlowKey>), actions: &[DpAction]) {
        self.try_install(id, flow, actions, 1500).unwrap();
    }

    fn try_install(
        &mut self,
        id: u64,
        (key, mask): (FlowKey, Mask<FlowKey>),
        actions: &[DpAction],
        mtu: u32,
    ) -> Result<(), Refusal> {
        let flow = Megaflow {
            id: FlowId(id),
            key: mask.apply(&key),
            mask,
            actions: actions.into(),
            drop: None,
            stats: Arc::new(FlowStats::default()),
            version: 1,
        };
        let out = self.out(mtu);
        self.cache.install(&flow, out)
    }

    /// What NORMAL would install between the first two hosts: broadcasts and unicasts, both ways.
    fn join(&mut self) {
        self.install(12, l2(1, mac(1), mac(2), None), &[output(2)]);
        self.install(21, l2(2, mac(2), mac(1), None), &[output(1)]);
        self.install(10, l2(1, mac(1), [0xff; 6], None), &[output(2)]);
        self.install(20, l2(2, mac(2), [0xff; 6], None), &[output(1)]);
    }

    /// Frames that were handed up since the last call.
    fn punted(&self) -> Vec<(Punt, Vec<u8>)> {
        let (mut buf, mut found) = (vec![0; 66_000], Vec::new());
        while let Ok((n, from)) = recvfrom::<LinkAddr>(self.tap.as_raw_fd(), &mut buf) {
            if from.is_some_and(|f| f.ifindex() as u32 == self.punt_if) {
                let (punt, frame) = Punt::split(&buf[..n]).expect("only punted frames come here");
                found.push((punt, frame.to_vec()));
            }
        }
        found
    }

    fn ping(&self, from: usize, to: u8, options: &str) -> bool {
        let command = format!("ping -n -c 1 -W 1 {options} 10.9.0.{to}");
        self.hosts[from - 1].try_sh(&command).is_ok()
    }

    /// Sends `megabytes` over TCP from host 1 to `to`, where host 2 listens as `own` port 5001, and checks every octet.
    fn tcp(&self, own: &str, to: (&str, u16), megabytes: usize) {
        let listener = self.hosts[1].run(|| TcpListener::bind((own, 5001)).unwrap());
        std::thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
                let (mut buf, mut at) = (vec![0; 1 << 16], 0usize);
                loop {
                    let n = stream.read(&mut buf).unwrap();
                    if n == 0 {
                        return at;
                    }
                    for byte in &buf[..n] {
                        assert_eq!(*byte, (at % 251) as u8, "octet {at}");
                        at += 1;
                    }
                }
            });
            self.hosts[0].run(|| {
                let to = SocketAddr::new(to.0.parse().unwrap(), to.1);
                let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap();
                let pattern: Vec<u8> = (0..251 * 1024).map(|i| (i % 251) as u8).collect();
                for _ in 0..megabytes * 4 {
                    stream.write_all(&pattern).unwrap();
                }
            });
            assert_eq!(receiver.join().unwrap(), megabytes * 4 * 251 * 1024);
        });
    }
}

fn output(port: u32) -> DpAction {
    DpAction::Output(DpPort(port))
}

/// A layer 2 flow: port, addresses, and the tag or that there is none.
fn l2(port: u32, src: [u8; 6], dst: [u8; 6], tag: Option<u16>) -> (FlowKey, Mask<FlowKey>) {
    let ones = u16::MAX.into();
    let mask = FlowKey {
        in_port: u32::MAX,
        present: Present::VLAN0,
        dl_src: [0xff; 6],
        dl_dst: [0xff; 6],
        vlan0_tci: ones,
        ..FlowKey::default()
    };
    let key = FlowKey {
        in_port: port,
        present: if tag.is_some() {
            Present::VLAN0
        } else {
            Present::NONE
        },
        dl_src: src,
        dl_dst: dst,
        vlan0_tci: tag.map_or(0, |t| t | 0x1000).into(),
        ..FlowKey::default()
    };
    (key, Mask(mask))
}

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
    // ... each with its headers: 54 octets and some options.
    let headers = (forth.bytes - 16 * 4 * 251 * 1024) / forth.packets;
    assert!(
        forth.packets > 11_000 && (60..70).contains(&headers),
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
    s.peer = true;
    s.join();
    assert!(s.ping(1, 2, "") && s.ping(2, 1, "-s 1400"));
    s.tcp("10.9.0.2", ("10.9.0.2", 5001), 8);
    assert!(s.punted().is_empty());
    // Past the port itself: it has sent next to nothing.
    let sent = s
        .host
        .sh("cat /proc/thread-self/net/dev | grep port2")
        .split_whitespace()
        .nth(9)
        .unwrap()
        .to_owned();
    assert!(sent.parse::<u64>().unwrap() < 100_000, "{sent}");
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

/// `steps` for both hosts' unicasts and broadcasts that come in on `port` with `tag`.
fn relay(s: &mut Switch, id: u64, port: u32, tag: Option<u16>, steps: &[DpAction]) {
    for (n, (src, dst)) in [(1, 2), (2, 1), (1, 0xff), (2, 0xff)]
        .into_iter()
        .enumerate()
    {
        let dst = if dst == 0xff { [0xff; 6] } else { mac(dst) };
        let flow = l2(port, mac(src), dst, tag);
        s.try_install(id * 10 + n as u64, flow, steps, 1600)
            .unwrap();
    }
}

fn push(tpid: EtherType, tci: u16) -> DpAction {
    DpAction::PushVlan {
        tpid,
        tci: VlanTci(tci),
    }
}

/// Host 1 - access port 1 - VLAN 100 with priority 5 - trunk 3/4 - rewritten to 200 - trunk 5/6 - access port 2 - host 2.
#[test]
fn tags_are_pushed_rewritten_and_popped() {
    let Some(mut s) = Switch::new("vlan", 2, Mode::Auto) else {
        return;
    };
    s.add_trunk(1500);
    s.add_trunk(1500);
    let vid = |v: u16| DpAction::Set(SetField::Vlan(Masked::new(v, 0xfff)));
    relay(
        &mut s,
        1,
        1,
        None,
        &[push(EtherType::VLAN, 0xa064), output(3)],
    );
    relay(&mut s, 4, 4, Some(0xa064), &[vid(200), output(5)]);
    relay(&mut s, 6, 6, Some(0xa0c8), &[DpAction::PopVlan, output(2)]);
    relay(&mut s, 2, 2, None, &[push(EtherType::VLAN, 200), output(6)]);
    relay(&mut s, 5, 5, Some(200), &[vid(100), output(4)]);
    relay(&mut s, 3, 3, Some(100), &[DpAction::PopVlan, output(1)]);
    assert!(
        s.ping(1, 2, "") && s.ping(2, 1, "-s 1472 -M do"),
        "full-size frames too"
    );
    s.tcp("10.9.0.2", ("10.9.0.2", 5001), 8);
    assert!(s.punted().is_empty());
    assert_eq!(s.cache.counters().error, 0);

    // An untagged frame on the trunk is another flow; so is another VLAN.
    relay(&mut s, 1, 1, None, &[output(3)]);
    assert!(!s.ping(1, 2, ""));
    relay(
        &mut s,
        1,
        1,
        None,
        &[push(EtherType::VLAN, 0xa065), output(3)],
    );
    assert!(!s.ping(1, 2, ""));
    let up = s.punted();
    assert!(
        !up.is_empty() && up.iter().all(|(p, _)| p.in_port == DpPort(4)),
        "{up:?}"
    );
}

/// The same with a customer tag inside a service tag, which leave one after the other.
#[test]
fn two_tags_are_seen_and_taken_off_in_turn() {
    let Some(mut s) = Switch::new("qinq", 2, Mode::Auto) else {
        return;
    };
    s.cache.set_vlan_limit(2);
    s.add_trunk(1600);
    s.add_trunk(1600);
    let (c, service) = (push(EtherType::VLAN, 7), push(EtherType::QINQ, 100));
    relay(&mut s, 1, 1, None, &[c.clone(), service.clone(), output(3)]);
    relay(&mut s, 6, 6, Some(7), &[DpAction::PopVlan, output(2)]);
    relay(&mut s, 2, 2, None, &[c, output(6)]);
    relay(&mut s, 5, 5, Some(7), &[service, output(4)]);
    relay(
        &mut s,
        3,
        3,
        Some(100),
        &[DpAction::PopVlan, DpAction::PopVlan, output(1)],
    );
    // On port 4 both tags count.
    for (n, dst) in [mac(2), [0xff; 6]].into_iter().enumerate() {
        let (mut key, mut mask) = l2(4, mac(1), dst, Some(100));
        mask.0.present |= Present::VLAN1;
        mask.0.vlan1_tci = u16::MAX.into();
        mask.0.vlan0_tpid = u16::MAX.into();
        key.present |= Present::VLAN1;
        key.vlan1_tci = 0x1007.into();
        key.vlan0_tpid = EtherType::QINQ.0.into();
        s.try_install(
            40 + n as u64,
            (key, mask),
            &[DpAction::PopVlan, output(5)],
            1600,
        )
        .unwrap();
    }
    assert!(s.ping(1, 2, "") && s.ping(2, 1, "-s 1472 -M do"));
    s.tcp("10.9.0.2", ("10.9.0.2", 5001), 8);
    assert!(s.punted().is_empty());
    assert_eq!(s.cache.counters().error, 0);
}

/// Packets that come in on `port` for an address, TCP or anything else, with rewrites.
fn translate(
    s: &mut Switch,
    id: u64,
    port: u32,
    dst: &str,
    tcp: bool,
    fields: &[SetField],
    to: u32,
) {
    let (mut key, mut mask) = (FlowKey::default(), FlowKey::default());
    let ip = match dst.parse().unwrap() {
        IpAddr::V4(dst) => {
            (key.nw_dst, mask.nw_dst) = (dst.octets(), [0xff; 4]);
            Present::IPV4
        }
        IpAddr::V6(dst) => {
            (key.ipv6_dst, mask.ipv6_dst) = (dst.octets(), [0xff; 16]);
            Present::IPV6
        }
    };
    (key.in_port, mask.in_port) = (port, u32::MAX);
    key.present = if tcp { ip | Present::TCP } else { ip };
    mask.present = Present::VLAN0 | Present::IPV4 | Present::IPV6 | Present::TCP;
    let mut actions: Vec<DpAction> = fields.iter().copied().map(DpAction::Set).collect();
    actions.push(output(to));
    s.install(id, (key, Mask(mask)), &actions);
}

/// Host 1 knows host 2 as .9, host 2 knows host 1 as .8; TCP port 6001 of .9 is 5001 of .2. Super-frames whose checksums
/// nobody has computed yet go through all that.
#[test]
fn addresses_and_ports_are_translated() {
    use SetField::{Ipv4Dst, Ipv4Src, Ipv6Dst, Ipv6Src, NwTtl, TpDst, TpSrc};
    let Some(mut s) = Switch::new("nat", 2, Mode::Auto) else {
        return;
    };
    for (n, alias, other) in [(1, 9, 2), (2, 8, 1)] {
        let host = &s.hosts[n - 1];
        host.sh(&format!("ip addr add fd00::{n}/64 dev eth0 nodad"));
        for net in ["10.9.0.", "fd00::"] {
            host.sh(&format!(
                "ip neigh replace {net}{alias} lladdr 02:00:00:00:00:0{other} nud permanent dev eth0"
            ));
        }
    }
    let v4 = |n: u8| Masked::new([10, 9, 0, n], [0xff; 4]);
    let v6 = |n: u8| {
        let mut address = [0; 16];
        (address[0], address[15]) = (0xfd, n);
        Masked::new(address, [0xff; 16])
    };
    let port = |p: u16| Masked::new(p, 0xffff);
    for (id, tcp) in [(10, true), (20, false)] {
        let with = |fields: &[SetField], last| {
            let mut all = fields.to_vec();
            all.extend(tcp.then_some(last));
            all
        };
        let there = with(
            &[Ipv4Src(v4(8)), Ipv4Dst(v4(2)), NwTtl(17)],
            TpDst(port(5001)),
        );
        translate(&mut s, id, 1, "10.9.0.9", tcp, &there, 2);
        let back = with(
            &[Ipv4Src(v4(9)), Ipv4Dst(v4(1)), NwTtl(17)],
            TpSrc(port(6001)),
        );
        translate(&mut s, id + 1, 2, "10.9.0.8", tcp, &back, 1);
        let there = with(&[Ipv6Src(v6(8)), Ipv6Dst(v6(2))], TpDst(port(5001)));
        translate(&mut s, id + 2, 1, "fd00::9", tcp, &there, 2);
        let back = with(&[Ipv6Src(v6(9)), Ipv6Dst(v6(1))], TpSrc(port(6001)));
        translate(&mut s, id + 3, 2, "fd00::8", tcp, &back, 1);
    }
    assert!(
        s.ping(1, 9, "") && s.ping(2, 8, "-s 1472 -M do"),
        "{:?}",
        s.punted()
    );
    s.hosts[0].sh("ping -n -c 1 -W 1 fd00::9");
    s.tcp("10.9.0.2", ("10.9.0.9", 6001), 16);
    s.tcp("fd00::2", ("fd00::9", 6001), 16);
    for id in [10, 12] {
        let forth = s.cache.stats(FlowId(id)).unwrap();
        assert!(forth.bytes > 16_000_000, "{forth:?}");
    }
    assert_eq!(s.cache.counters().error, 0);
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
    s.guards.remove(0).detach().unwrap();
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
    guard.detach().unwrap();
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
