//! How fast is tier 0? Beside a bare veth pair and the Linux bridge, in alternation. Not a test; run by hand as root:
//!
//! `cargo test --release -p rvs-kcache --test tier0_speed -- --ignored --nocapture`
//!
//! RVS_ROUNDS (5) and RVS_SECONDS (3) set how long it takes. Prints medians with (smallest..largest).
#![allow(clippy::unwrap_used)]

mod common;

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Netns;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    sendto, socket, AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType,
    SockaddrLike,
};
use nix::time::{clock_gettime, ClockId};
use rvs_dpif::{DpAction, FlowId, FlowStats, Megaflow};
use rvs_flow::{DpPort, FlowKey, Mask, Present};
use rvs_kcache::tier0::{Options, OutPort, PortGuard, PuntRate};
use rvs_kcache::KernelCache;
use rvs_packet::Now;

fn now() -> Now {
    let t = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    Now(t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

fn mac(n: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, n]
}

/// The flow that NORMAL makes of a unicast between two known hosts.
fn normal(id: u64, from: u32, to: u32) -> Megaflow {
    let mask = FlowKey {
        in_port: u32::MAX,
        present: Present::VLAN0,
        dl_src: [0xff; 6],
        dl_dst: [0xff; 6],
        vlan0_tci: u16::MAX.into(),
        ..FlowKey::default()
    };
    let key = FlowKey {
        in_port: from,
        dl_src: mac(from as u8),
        dl_dst: mac(to as u8),
        ..FlowKey::default()
    };
    Megaflow {
        id: FlowId(id),
        key,
        mask: Mask(mask),
        actions: Arc::new([DpAction::Output(DpPort(to))]),
        drop: None,
        stats: Arc::new(FlowStats::default()),
        version: 1,
    }
}

fn options() -> Options {
    Options {
        survive: Duration::from_secs(3600),
        ..Options::default()
    }
}

/// Two hosts, 10.9.0.1 and .2, and what joins them.
struct Pair {
    name: &'static str,
    a: Netns,
    b: Netns,
    _between: Option<Netns>,
    _cache: Option<(KernelCache, Vec<PortGuard>)>,
}

fn dress(ns: &Netns, n: u8, other: u8) {
    ns.sh(&format!(
        "ip link set eth0 addr 02:00:00:00:00:0{n} addrgenmode none"
    ));
    ns.sh(&format!(
        "ip addr add 10.9.0.{n}/24 dev eth0; ip link set eth0 up"
    ));
    ns.sh(&format!(
        "ip neigh replace 10.9.0.{other} lladdr 02:00:00:00:00:0{other} nud permanent dev eth0"
    ));
}

impl Pair {
    fn bare() -> Option<Self> {
        let (a, b) = (Netns::new("speed")?, Netns::new("speed")?);
        a.sh(&format!(
            "ip link add eth0 type veth peer name eth0 netns {}",
            b.path()
        ));
        Some(
            Self {
                name: "bare veth",
                a,
                b,
                _between: None,
                _cache: None,
            }
            .dressed(),
        )
    }

    fn through(
        name: &'static str,
        join: impl FnOnce(&Netns) -> Option<(KernelCache, Vec<PortGuard>)>,
    ) -> Option<Self> {
        let (a, b, host) = (
            Netns::new("speed")?,
            Netns::new("speed")?,
            Netns::new("speed")?,
        );
        for (n, ns) in [(1, &a), (2, &b)] {
            host.sh(&format!(
                "ip link add port{n} type veth peer name eth0 netns {}",
                ns.path()
            ));
            host.sh(&format!(
                "ip link set port{n} addrgenmode none; ip link set port{n} up"
            ));
        }
        let cache = join(&host);
        Some(
            Self {
                name,
                a,
                b,
                _between: Some(host),
                _cache: cache,
            }
            .dressed(),
        )
    }

    fn bridge() -> Option<Self> {
        Self::through("Linux bridge", |host| {
            host.sh("ip link add br0 type bridge; ip link set br0 up");
            host.sh("ip link set port1 master br0; ip link set port2 master br0");
            None
        })
    }

    fn tier0(name: &'static str, peer: bool) -> Option<Self> {
        Self::through(name, |host| {
            let mut cache =
                host.run(|| KernelCache::open("speed", &options(), [3, 4], now()).unwrap());
            let ports = [host.ifindex("port1"), host.ifindex("port2")];
            let guards = host.run(|| {
                let attach = |(i, n)| {
                    cache
                        .attach(n, DpPort(i as u32 + 1), PuntRate::default())
                        .unwrap()
                };
                ports.into_iter().enumerate().map(attach).collect()
            });
            let out = |port: DpPort| {
                Some(OutPort {
                    ifindex: *ports.get(port.0 as usize - 1)?,
                    mtu: 1500,
                    peer,
                })
            };
            cache.install(&normal(1, 1, 2), out).unwrap();
            cache.install(&normal(2, 2, 1), out).unwrap();
            Some((cache, guards))
        })
    }

    fn dressed(self) -> Self {
        dress(&self.a, 1, 2);
        dress(&self.b, 2, 1);
        self.a.wait_up("eth0");
        self.b.wait_up("eth0");
        std::thread::sleep(Duration::from_millis(200));
        self.a.sh("ping -n -q -c 3 -i 0.2 10.9.0.2");
        self
    }

    /// Gbit/s of one TCP stream, and CPU seconds of the whole machine per gigabit.
    fn tcp(&self, seconds: u64) -> (f64, f64) {
        let server = self.b.run(|| {
            std::process::Command::new("iperf3")
                .args(["-s", "-1"])
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        });
        std::thread::sleep(Duration::from_millis(300));
        let busy = busy();
        let out = self.a.sh(&format!("iperf3 -c 10.9.0.2 -t {seconds} -J"));
        let busy = self::busy() - busy;
        let mut server = server;
        server.wait().unwrap();
        let key = "\"sum_received\":";
        let rest = &out[out.find(key).unwrap()..];
        let value = rest.split("\"bits_per_second\":").nth(1).unwrap();
        let bits: f64 = value
            .trim_start()
            .split([',', '\n', '}'])
            .next()
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let gigabits = bits * seconds as f64 / 1e9;
        (bits / 1e9, busy / gigabits)
    }

    /// Thousands of 60-octet frames delivered per second, and CPU microseconds of the whole machine per frame.
    fn frames(&self, seconds: u64, flows: u16) -> (f64, f64) {
        let received = || -> u64 {
            let dev = self.b.sh("grep eth0: /proc/thread-self/net/dev");
            dev.split_whitespace().nth(2).unwrap().parse().unwrap()
        };
        let stop = AtomicBool::new(false);
        let (before, busy) = (received(), busy());
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| self.a.run(|| blast(&stop, flows)));
            std::thread::sleep(Duration::from_secs(seconds));
            stop.store(true, Ordering::Relaxed);
        });
        let (count, elapsed) = ((received() - before) as f64, start.elapsed().as_secs_f64());
        (count / elapsed / 1e3, (self::busy() - busy) * 1e6 / count)
    }

    /// Mean round trip of a flood ping in microseconds.
    fn ping(&self) -> f64 {
        let out = self.a.sh("ping -n -q -f -c 20000 10.9.0.2");
        let rtt = out.split("rtt min/avg/max/mdev = ").nth(1).unwrap();
        rtt.split('/').nth(1).unwrap().parse::<f64>().unwrap() * 1e3
    }
}

/// Sends 60-octet UDP frames from eth0 to host 2's discard port as fast as one thread can.
fn blast(stop: &AtomicBool, flows: u16) {
    let (kind, none) = (SockType::Raw, SockFlag::empty());
    let tap = socket(AddressFamily::Packet, kind, none, None::<SockProtocol>).unwrap();
    let device = getifaddrs().unwrap().find(|a| {
        a.interface_name == "eth0"
            && a.address
                .is_some_and(|a| a.family() == Some(AddressFamily::Packet))
    });
    let to: LinkAddr = *device.unwrap().address.unwrap().as_link_addr().unwrap();
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([
        0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0x66, 0xab, 10, 9, 0, 1, 10, 9, 0, 2,
    ]);
    frame.extend([0x80, 0, 0, 9, 0, 26, 0, 0]);
    frame.resize(60, 0);
    let mut n = 0u16;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..64 {
            n = (n + 1) % flows;
            frame[34..36].copy_from_slice(&(0x8000 + n).to_be_bytes());
            let _ = sendto(tap.as_raw_fd(), &frame, &to, MsgFlags::empty());
        }
    }
}

/// CPU seconds that the machine has been busy.
fn busy() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let ticks: Vec<f64> = stat
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .skip(1)
        .map(|t| t.parse().unwrap())
        .collect();
    // All but idle and iowait; guest time is in user time already.
    [0, 1, 2, 5, 6].iter().map(|i| ticks[*i]).sum::<f64>() / 100.0
}

fn summary(mut v: Vec<f64>) -> String {
    v.sort_by(f64::total_cmp);
    format!(
        "{:>8.3} ({:.3}..{:.3})",
        v[v.len() / 2],
        v[0],
        v[v.len() - 1]
    )
}

#[test]
#[ignore = "a benchmark: takes minutes and a quiet machine"]
fn wires() {
    let makers: [fn() -> Option<Pair>; 4] = [
        Pair::bare,
        Pair::bridge,
        || Pair::tier0("tier 0", false),
        || Pair::tier0("tier 0, peer", true),
    ];
    let pairs: Vec<Pair> = makers.into_iter().map_while(|make| make()).collect();
    let (rounds, seconds) = (setting("RVS_ROUNDS", 5), setting("RVS_SECONDS", 3));
    const COLUMNS: [&str; 7] = [
        "TCP Gbit/s",
        "CPU s/Gbit",
        "kframes/s, 1 flow",
        "CPU us/frame",
        "kframes/s, 256 flows",
        "CPU us/frame",
        "ping flood us",
    ];
    let mut figures = vec![vec![Vec::new(); COLUMNS.len()]; pairs.len()];
    for _ in 0..rounds {
        for (pair, row) in pairs.iter().zip(&mut figures) {
            let (tcp, one, many) = (
                pair.tcp(seconds),
                pair.frames(seconds, 1),
                pair.frames(seconds, 256),
            );
            let all = [tcp.0, tcp.1, one.0, one.1, many.0, many.1, pair.ping()];
            row.iter_mut()
                .zip(all)
                .for_each(|(column, figure)| column.push(figure));
        }
    }
    for (pair, row) in pairs.iter().zip(figures) {
        println!("{}", pair.name);
        for (column, figures) in COLUMNS.iter().zip(row) {
            println!("  {column:22} {}", summary(figures));
        }
    }
}

/// The program alone, from the first instruction to the verdict, over BPF_PROG_TEST_RUN.
#[test]
#[ignore = "a benchmark"]
fn program() {
    let Some(ns) = Netns::new("speed") else {
        return;
    };
    ns.sh("ip link add port1 type veth peer name port2");
    let ifindex = ns.ifindex("port1");
    ns.run(|| {
        let mut cache = KernelCache::open("speed", &options(), [3, 4], now()).unwrap();
        let _guard = cache
            .attach(ifindex, DpPort(1), PuntRate::default())
            .unwrap();
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        frame.extend([
            0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0x66, 0xab, 10, 9, 0, 1, 10, 9, 0, 2,
        ]);
        frame.extend([0x80, 0, 0, 9, 0, 26, 0, 0]);
        frame.resize(60, 0);
        let out = |_: DpPort| {
            Some(OutPort {
                ifindex,
                mtu: 1500,
                peer: false,
            })
        };
        // What the harness costs: a device that is no port.
        let harness = cache.run(&frame, 1, 1_000_000).unwrap().nanos;
        println!("nothing, the harness itself        {harness:>5} ns");
        let measure = |cache: &KernelCache, what: &str| {
            let mut runs: Vec<f64> = (0..9)
                .map(|_| f64::from(cache.run(&frame, ifindex, 1_000_000).unwrap().nanos))
                .collect();
            runs.sort_by(f64::total_cmp);
            println!("{what:34} {:>5} ns ({}..{})", runs[4], runs[0], runs[8]);
        };
        cache.install(&normal(1, 1, 2), out).unwrap();
        measure(&cache, "hit, 1 mask, 7 words");
        for others in [3u8, 11] {
            for n in 0..others {
                let mut flow = normal(100 + u64::from(n), 1, 3);
                flow.mask.0.dl_src = [n, 0xff, 0xff, 0xff, 0xff, 0xff];
                flow.key.dl_src[0] &= n;
                cache.install(&flow, out).unwrap();
            }
        }
        let start = Instant::now();
        let mut installed = 0u32;
        for n in 0..10_000u64 {
            let mut flow = normal(1000 + n, 1, 4);
            flow.key.dl_src = [2, 9, 0, 0, (n >> 8) as u8, n as u8];
            installed += u32::from(cache.install(&flow, out).is_ok());
        }
        println!(
            "install: {installed} of 10000 flows, {:.0} ns each",
            start.elapsed().as_nanos() as f64 / 1e4
        );
        measure(&cache, "hit, 1st of 12 masks, 10,000 flows");
        cache.remove(FlowId(1));
        let mut last = normal(1, 1, 2);
        last.mask.0.dl_src = [0x0f, 0xff, 0xff, 0xff, 0xff, 0xff];
        cache.install(&last, out).unwrap();
        println!("{} masks", cache.masks().count());
        measure(&cache, "hit, last mask");
        let start = Instant::now();
        cache.reap().unwrap();
        println!("reap: {:?}", start.elapsed());
    });
}
