//! What flows in the kernel keep and are kept from: rules, groups and addresses stay alive by them, new connections need no new
//! ones, nobody listens beside them, and where there are too many the rest goes on in user space.

use std::time::Duration;

use rvs_tests::lab::within;
use rvs_tests::wire::client;
use rvs_tests::{eventually, Lab};

use crate::hosts::red_and_green;
use crate::survive::{know_each_other, Stream};
use crate::tier0::{in_the_kernel, ping, waits_for_reason};

/// One flow of a NORMAL bridge stands for all connections between two hosts.
pub fn new_connections_of_known_hosts_never_go_up(lab: &Lab) {
    const CONNECTIONS: u64 = 200;
    let switch = red_and_green(lab, "br1");
    know_each_other(lab, "eth0-r", "eth0-g");
    lab.ping("red", "10.0.0.2");
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-r");
    in_the_kernel(&switch, "veth-g");
    let (miss, hit) = (switch.counter("kcache_miss"), switch.counter("kcache_hit"));
    // Each is refused at once: a frame there and a frame back.
    lab.sh_in(
        "red",
        &format!("python3 -c 'import socket; [socket.socket().connect_ex((\"10.0.0.2\", 3000 + n)) for n in range({CONNECTIONS})]'"),
    );
    let hit = switch.counter("kcache_hit") - hit;
    let miss = switch.counter("kcache_miss") - miss;
    assert!(hit >= 2 * CONNECTIONS, "only {hit} frames in the kernel");
    // What hosts that have just come up say by themselves.
    assert!(miss < 20, "{miss} frames were handed up");
}

/// Of traffic that the kernel alone carries: its rule does not time out, its group counts it, and its source does not age.
pub fn rules_groups_and_addresses_live_on(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    know_each_other(lab, "eth0-r", "eth0-g");
    let stock = |words: &str| {
        let socket = switch.rundir().join("br1.mgmt");
        lab.sh(&words.replace("BR", &format!("unix:{}", socket.display())))
    };
    stock("ovs-ofctl -O OpenFlow13 add-group BR group_id=7,type=indirect,bucket=output:2");
    stock("ovs-ofctl -O OpenFlow13 add-flow BR priority=9,in_port=1,udp,udp_dst=7201,idle_timeout=3,actions=group:7");
    let stream = Stream::start(lab, 7201, 8);
    stream.in_the_kernel(&switch);
    let missed = switch.counter("kcache_miss");
    std::thread::sleep(Duration::from_secs(5));
    let rule = stock("ovs-ofctl -O OpenFlow13 dump-flows BR udp,udp_dst=7201");
    assert!(packets(&rule) > 2000, "after 5 s at 500 a second: {rule}");
    let group = stock("ovs-ofctl -O OpenFlow13 dump-group-stats BR group_id=7");
    assert!(packets(&group) >= packets(&rule), "{group}{rule}");
    let missed = switch.counter("kcache_miss") - missed;
    assert!(missed < 100, "{missed} frames were handed up");
    stream.end();
    eventually("the rule times out without frames", || {
        let rule = stock("ovs-ofctl -O OpenFlow13 dump-flows BR udp,udp_dst=7201");
        !rule.contains("7201")
    });

    // Red alone talks, by NORMAL: green does not look for routers either.
    lab.sh_in("green", "sysctl -q -w net.ipv6.conf.all.disable_ipv6=1");
    lab.ping("red", "10.0.0.2");
    let stream = Stream::start(lab, 7202, 8);
    stream.in_the_kernel(&switch);
    let age = |ns: &str, device: &str| -> u64 {
        let mac = lab.mac(ns, device);
        let rundir = switch.rundir();
        let table = lab.sh(&format!(
            "OVS_RUNDIR={} ovs-appctl fdb/show br1",
            rundir.display()
        ));
        let row = table.lines().find(|l| l.contains(&mac)).unwrap();
        row.split_whitespace().last().unwrap().parse().unwrap()
    };
    std::thread::sleep(Duration::from_secs(6));
    let ages = (age("red", "eth0-r"), age("green", "eth0-g"));
    assert!(ages.0 <= 2 && ages.1 >= 4, "{ages:?}");
    stream.end();
}

/// The number behind the first `n_packets=` or `packet_count=`.
fn packets(text: &str) -> u64 {
    let found = text
        .split(['=', ',', ' '])
        .zip(text.split(['=', ',', ' ']).skip(1));
    let mut counts = found.filter(|(name, _)| matches!(*name, "n_packets" | "packet_count"));
    counts.next().unwrap().1.parse().unwrap()
}

/// Internal ports, in another namespace too, and the bridge's own interface are ports as all others.
pub fn internal_ports_take_part(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.namespaces(&["blue"]);
    switch.ctl("add-port br1 int0 -- set interface int0 type=internal");
    lab.sh(
        "ip link set int0 netns blue; ip -n blue addr add 10.0.0.3/24 dev int0; ip -n blue link set int0 up; \
         ip addr add 10.0.0.4/24 dev br1; ip link set br1 up",
    );
    for (from, to) in [
        ("red", "10.0.0.3"),
        ("red", "10.0.0.4"),
        ("blue", "10.0.0.4"),
    ] {
        lab.ping(from, to);
        ping(lab, from, to, 20);
    }
    for port in ["int0", "br1"] {
        waits_for_reason(&switch, port, "");
        in_the_kernel(&switch, port);
    }
    let mbits = lab.tcp("red", "blue", "10.0.0.3");
    assert!(mbits > 500.0, "TCP at {mbits} Mbit/s");
}

/// A frame has one way: with the program on a port no packet socket listens there.
pub fn no_socket_listens_beside_it(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    let sockets_on = |device: &str| {
        let index = lab.link(device).unwrap()["ifindex"].to_string();
        let all = lab.sh("cat /proc/net/packet");
        let listens = |line: &&str| {
            // sk, references, type, protocol, device ...
            let words: Vec<&str> = line.split_whitespace().collect();
            words.len() > 4 && words[4] == index && words[3] != "0000"
        };
        all.lines().filter(listens).count()
    };
    for (set, why, sockets) in [
        ("off", "kernel-cache=off", 1),
        ("on", "", 0),
        ("off", "kernel-cache=off", 1),
        ("on", "", 0),
    ] {
        switch.ctl(&format!("set port veth-r other_config:kernel-cache={set}"));
        waits_for_reason(&switch, "veth-r", why);
        assert_eq!(sockets_on("veth-r"), sockets, "kernel-cache={set}");
        lab.ping("red", "10.0.0.2");
    }
}

/// More flows than the kernel has room for: every frame arrives all the same, one line and counters say so, and when they are
/// gone there is room again.
pub fn a_full_map_costs_speed_only(lab: &Lab) {
    const FLOWS: u64 = 10_000;
    const ROUNDS: u64 = 8;
    const ROOM: u64 = 16 * 1024;
    let switch = red_and_green(lab, "br1");
    know_each_other(lab, "eth0-r", "eth0-g");
    switch.ctl("set open . other_config:max-idle=60000");
    // What is read is a flow of its own.
    for (from, to) in [(1, 2), (2, 1)] {
        switch.ctl(&format!(
            "add-flow br1 priority=9,in_port={from},udp,actions=move:NXM_OF_UDP_SRC[]->NXM_NX_REG0[0..15],output:{to}"
        ));
    }
    let program = client("many_flows.py");
    let arrived = |ns: &str, device: &str| -> u64 {
        let path = format!("cat /sys/class/net/{device}/statistics/rx_packets");
        lab.sh_in(ns, &path).trim().parse().unwrap()
    };
    let before = arrived("red", "eth0-r") + arrived("green", "eth0-g");
    let mut senders: Vec<_> = [
        ("red", "eth0-r", "green", "eth0-g"),
        ("green", "eth0-g", "red", "eth0-r"),
    ]
    .iter()
    .map(|(ns, device, other, far)| {
        let to = lab.mac(other, far);
        let program = program.display();
        lab.spawn(
            &format!("many-{ns}"),
            &format!(
                "ip netns exec {ns} python3 {program} {device} {to} {FLOWS} {ROUNDS} 1000 6000"
            ),
        )
    })
    .collect();
    let mut most = 0;
    within(Duration::from_secs(60), "all is sent", || {
        let size = switch.json("dump-cache")["tiers"][0]["flows"]
            .as_u64()
            .unwrap();
        most = most.max(size);
        senders.iter_mut().all(|s| s.ended().is_some())
    });
    let counts = ["deferred", "evicted", "refused_full", "refused_bucket"];
    let counts = counts.map(|name| (name, switch.counter(&format!("kcache_{name}"))));
    println!("    {most} flows at most in the kernel; {counts:?}");
    assert!(most * 10 > ROOM * 8 && most <= ROOM, "{most}");
    assert!(counts[0].1 > 0 && counts[1].1 > 0, "{counts:?}");
    let log = switch.log();
    let lines = log
        .lines()
        .filter(|l| l.contains("the kernel cache is full"));
    assert_eq!(lines.count(), 1, "{log}");
    let arrived = || arrived("red", "eth0-r") + arrived("green", "eth0-g") - before;
    // A fifth of the flows has no room. New ones may be too many at once for a slow machine.
    let sent = 2 * FLOWS * ROUNDS;
    eventually("the frames have arrived", || arrived() >= sent * 9 / 10);
    println!("    {} of {sent} frames arrived", arrived());
    // The cause is gone with the flows.
    switch.ctl("remove open . other_config max-idle");
    within(Duration::from_secs(40), "there is room again", || {
        switch.json("dump-cache")["tiers"][0]["flows"]
            .as_u64()
            .unwrap()
            < 100
    });
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-r");
}
