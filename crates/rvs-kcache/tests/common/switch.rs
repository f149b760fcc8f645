//! A switch of nothing but tier 0 between hosts in namespaces of their own.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{
    recvfrom, setsockopt, socket, sockopt, AddressFamily, LinkAddr, SockFlag, SockProtocol,
    SockType,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::time::{clock_gettime, ClockId};
use rvs_dpif::{DpAction, FlowId, FlowStats, Megaflow};
use rvs_flow::{DpPort, FlowKey, Mask, Present};
use rvs_kcache::tier0::{Options, OutPort, PortGuard, Punt, PuntRate, Refusal};
use rvs_kcache::{Guard, IngressDrop, KernelCache, Mode};
use rvs_packet::Now;

use super::Netns;

pub fn now() -> Now {
    let t = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    Now(t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}

pub fn mac(host: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, host]
}

/// A switch of nothing but tier 0: hosts 1.. with 10.9.0.N, host N on port N.
pub struct Switch {
    pub host: Netns,
    pub hosts: Vec<Netns>,
    pub ifindex: Vec<u32>,
    pub cache: KernelCache,
    pub guards: Vec<PortGuard>,
    _drop: (IngressDrop, Guard),
    punt_if: u32,
    tap: OwnedFd,
}

impl Switch {
    pub fn new(test: &str, hosts: u8, mode: Mode) -> Option<Self> {
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
            let drop = IngressDrop::open(test, Mode::Auto).unwrap();
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
        };
        for n in 1..=hosts {
            this.add_host(n);
        }
        Some(this)
    }

    pub fn add_host(&mut self, n: u8) {
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
    pub fn add_trunk(&mut self, mtu: u32) {
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

    /// Frames that have left through the device of a port.
    pub fn sent(&self, port: u32) -> u64 {
        let table = self
            .host
            .sh(&format!("grep port{port}: /proc/thread-self/net/dev"));
        let after = table.split_once(':').unwrap().1;
        after.split_whitespace().nth(9).unwrap().parse().unwrap()
    }

    pub fn out(&self, mtu: u32) -> impl Fn(DpPort) -> Option<OutPort> {
        let ifindex = self.ifindex.clone();
        move |port| {
            let ifindex = *ifindex.get(port.0.checked_sub(1)? as usize)?;
            Some(OutPort { ifindex, mtu })
        }
    }

    pub fn install(&mut self, id: u64, flow: (FlowKey, Mask<FlowKey>), actions: &[DpAction]) {
        self.try_install(id, flow, actions, 1500).unwrap();
    }

    pub fn try_install(
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
    pub fn join(&mut self) {
        self.install(12, l2(1, mac(1), mac(2), None), &[output(2)]);
        self.install(21, l2(2, mac(2), mac(1), None), &[output(1)]);
        self.install(10, l2(1, mac(1), [0xff; 6], None), &[output(2)]);
        self.install(20, l2(2, mac(2), [0xff; 6], None), &[output(1)]);
    }

    /// Frames that were handed up since the last call.
    pub fn punted(&self) -> Vec<(Punt, Vec<u8>)> {
        let (mut buf, mut found) = (vec![0; 66_000], Vec::new());
        while let Ok((n, from)) = recvfrom::<LinkAddr>(self.tap.as_raw_fd(), &mut buf) {
            if from.is_some_and(|f| f.ifindex() as u32 == self.punt_if) {
                let (punt, frame) = Punt::split(&buf[..n]).expect("only punted frames come here");
                found.push((punt, frame.to_vec()));
            }
        }
        found
    }

    pub fn ping(&self, from: usize, to: u8, options: &str) -> bool {
        let command = format!("ping -n -c 1 -W 1 {options} 10.9.0.{to}");
        self.hosts[from - 1].try_sh(&command).is_ok()
    }

    /// Sends `megabytes` over TCP from host 1 to `to`, where host 2 listens as `own` port 5001, and checks every octet.
    pub fn tcp(&self, own: &str, to: (&str, u16), megabytes: usize) {
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

pub fn output(port: u32) -> DpAction {
    DpAction::Output(DpPort(port))
}

/// A layer 2 flow: port, addresses, and the tag or that there is none.
pub fn l2(port: u32, src: [u8; 6], dst: [u8; 6], tag: Option<u16>) -> (FlowKey, Mask<FlowKey>) {
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
