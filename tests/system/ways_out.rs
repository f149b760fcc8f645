//! Frames that the kernel sends straight into the namespace behind a port: only while nobody could see them leave, and
//! counted all the same.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rvs_tests::lab::{within, Background};
use rvs_tests::wire::client;
use rvs_tests::{eventually, Daemon, Lab};
use serde_json::Value;

use crate::hosts::red_and_green;

/// What the kernel says of a device here.
fn transmitted(lab: &Lab, device: &str) -> u64 {
    let link = lab.sh(&format!("ip -j -s link show {device}"));
    let link: Value = serde_json::from_str(&link).unwrap();
    link[0]["stats64"]["tx"]["packets"].as_u64().unwrap()
}

fn is_direct(switch: &Daemon<'_>, port: &str) -> bool {
    let doctor = switch.json("doctor");
    let ports = doctor["ports"].as_array().unwrap();
    let port = ports.iter().find(|p| p["port"] == port).unwrap();
    match port["way_out"].as_str().unwrap() {
        "direct" => true,
        "egress" => false,
        other => panic!("{other}"),
    }
}

fn becomes(switch: &Daemon<'_>, port: &str, direct: bool, why: &str) {
    let what = format!("{port} direct: {direct}, {why}");
    within(Duration::from_secs(8), &what, || {
        is_direct(switch, port) == direct
    });
}

/// Keeps the kernel busy.
fn pings(lab: &Lab) -> Background {
    lab.ping("red", "10.0.0.2");
    lab.spawn("pings", "ip netns exec red ping -n -i 0.01 10.0.0.2")
}

pub fn straight_into_the_namespace_while_nobody_looks(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    assert!(!is_direct(&switch, "veth-g"), "nothing flows yet");
    let mut pings = pings(lab);
    becomes(&switch, "veth-g", true, "with traffic");
    becomes(&switch, "veth-r", true, "with traffic");
    assert!(
        !is_direct(&switch, "br1"),
        "the bridge's own interface is in this namespace"
    );
    lab.ping("red", "10.0.0.2");
    // The device sees none of them, the port's counter has them all. (A daemon without processor for a second and a half
    // takes the way back, since nobody looks who may see them.)
    eventually("frames pass the device by", || {
        becomes(&switch, "veth-g", true, "with traffic");
        let (device, port) = (transmitted(lab, "veth-g"), tx(&switch, "veth-g"));
        let sent = lab.sh_in("red", "ping -q -n -c 200 -i 0.002 10.0.0.2");
        assert!(sent.contains(" 200 received"), "{sent}");
        assert!(tx(&switch, "veth-g") - port >= 200);
        transmitted(lab, "veth-g") - device < 20
    });
    let mbits = lab.tcp("red", "green", "10.0.0.2");
    assert!(mbits > 500.0, "TCP at {mbits} Mbit/s");

    for (on, off, why) in [
        ("ip -n green link set eth0-g mtu 1400", "ip -n green link set eth0-g mtu 1500", "a far end that takes less"),
        ("tc qdisc add dev veth-g root pfifo", "tc qdisc del dev veth-g root", "a queueing discipline"),
        (
            "tc filter add dev veth-g egress protocol ip u32 match u32 0 0 flowid 1:1",
            "tc filter del dev veth-g egress",
            "an egress filter",
        ),
        (
            "nft 'add table netdev t; add chain netdev t out { type filter hook egress device veth-g priority 0; }'",
            "nft delete table netdev t",
            "a netfilter chain on egress",
        ),
        ("ethtool -K veth-g tso off", "ethtool -K veth-g tso on", "super-frames are to be cut"),
        ("ethtool -K veth-g tx off", "ethtool -K veth-g tx on tso on", "checksums are to be completed"),
        ("rvs-ctl set port veth-g other_config:kernel-cache=off", "rvs-ctl remove port veth-g other_config kernel-cache", "not in the kernel"),
    ] {
        let run = |script: &str| match script.strip_prefix("rvs-ctl ") {
            Some(words) => drop(switch.ctl(words)),
            None => drop(lab.sh(script)),
        };
        run(on);
        becomes(&switch, "veth-g", false, why);
        let before = tx(&switch, "veth-g");
        lab.ping("red", "10.0.0.2");
        assert!(tx(&switch, "veth-g") > before, "{why}");
        run(off);
        becomes(&switch, "veth-g", true, why);
    }
    pings.signal(Signal::SIGINT);
    assert_eq!(pings.wait(), 0, "{}", pings.out());
    assert!(!pings.out().contains("DUP!"), "{}", pings.out());
    becomes(&switch, "veth-g", false, "nothing flows any more");
}

/// Not a second later, which is as long as many a transfer takes.
pub fn straight_from_the_first_flow_on(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    for round in 0..3 {
        becomes(&switch, "veth-g", false, "nothing flows");
        switch.ctl("fdb-flush br1");
        let device = transmitted(lab, "veth-g");
        let sent = lab.sh_in("red", "ping -q -n -c 250 -i 0.002 10.0.0.2");
        assert!(sent.contains(" 250 received"), "{sent}");
        let seen = transmitted(lab, "veth-g") - device;
        assert!(
            seen < 100,
            "round {round}: {seen} of 250 frames went through the device"
        );
    }
}

fn tx(switch: &Daemon<'_>, port: &str) -> u64 {
    let ports = switch.json("dump-ports");
    let row = ports
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["interface"] == port);
    row.unwrap()["counters"]["tx_packets"].as_u64().unwrap()
}

/// A program in the driver of the far end works on every frame, though nobody tells that it has come: the kernel would pass
/// it by.
pub fn an_xdp_program_at_the_far_end_has_its_way(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    // The device need not change for the program, so that there is no event at all.
    lab.sh_in("green", "ethtool -K eth0-g gro on");
    let _pings = pings(lab);
    becomes(&switch, "veth-g", true, "with traffic");
    let program = client("xdp_link.py");
    let xdp = lab.spawn(
        "xdp",
        &format!("ip netns exec green python3 {} eth0-g", program.display()),
    );
    eventually("the program is there", || xdp.out().contains("attached"));
    becomes(&switch, "veth-g", false, "XDP");
    let lost = lab.try_sh_in("red", "ping -c 3 -i 0.1 -W 0.3 10.0.0.2");
    assert_ne!(lost.code, 0, "{}", lost.out);
    xdp.signal(Signal::SIGINT);
    becomes(&switch, "veth-g", true, "without XDP");
    lab.ping("red", "10.0.0.2");
}

/// A capture that starts on a port sees what goes in and out of it, whichever way frames took before.
pub fn captures_see_all_of_a_direct_port(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    let _pings = pings(lab);
    for filter in ["icmp", "-p icmp"] {
        becomes(&switch, "veth-g", true, "nobody looks");
        let capture = lab.capture("", "veth-g", filter);
        if !filter.contains("-p") {
            assert!(
                !is_direct(&switch, "veth-g"),
                "noticed before the capture begins"
            );
        }
        // The kernel tells of promiscuous mode; other sockets are looked for.
        becomes(&switch, "veth-g", false, "tcpdump looks");
        // What was captured before is shown by now. From here each request is seen with its reply.
        sleep(Duration::from_millis(500));
        let both = || {
            let lines = capture.lines();
            let of = |what: &str| lines.iter().filter(|l| l.contains(what)).count();
            (of("echo request"), of("echo reply"))
        };
        let before = both();
        eventually("fifty of each", || {
            let now = both();
            now.0 >= before.0 + 50 && now.1 >= before.1 + 50
        });
        let now = both();
        let (requests, replies) = (now.0 - before.0, now.1 - before.1);
        assert!(requests.abs_diff(replies) <= 2, "{requests} and {replies}");
    }
}

/// Shaping that is put on a port while frames pass it by holds them from then on. What counts is what comes out
/// at the far end: iperf3's sender counts what it could hand over, seconds ahead of the wire or none at all.
pub fn shaping_starts_while_traffic_runs(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    let _server = lab.spawn("server", "ip netns exec green iperf3 -s -1");
    eventually("iperf3 listens", || {
        let ran = lab.try_sh_in("green", "ss -H -l -t -n sport = 5201");
        ran.out.contains("5201")
    });
    let _client = lab.spawn("client", "ip netns exec red iperf3 -t 60 -c 10.0.0.2");
    becomes(&switch, "veth-g", true, "TCP flows");
    let arrived = || -> f64 {
        let octets = lab.sh_in("green", "cat /sys/class/net/eth0-g/statistics/rx_bytes");
        octets.trim().parse().unwrap()
    };
    eventually("TCP is far above the rate to come", || arrived() > 50e6);
    lab.sh("tc qdisc add dev veth-g root tbf rate 10mbit burst 32k latency 50ms");
    // What is on its way past the qdisc when it comes is there within moments.
    sleep(Duration::from_secs(1));
    let (before, start) = (arrived(), Instant::now());
    sleep(Duration::from_secs(4));
    let mbits = (arrived() - before) * 8.0 / 1e6 / start.elapsed().as_secs_f64();
    println!("    {mbits:.1} Mbit/s");
    assert!((0.5..12.5).contains(&mbits), "{mbits} Mbit/s through 10");
}
