//! Frames switched inside the kernel: they go where user space would send them, are counted once, and never take an old way.

use std::time::Duration;

use rvs_tests::lab::within;
use rvs_tests::wire::Wires;
use rvs_tests::{eventually, Daemon, Lab, Peer};
use serde_json::Value;

use crate::barrier;
use crate::hosts::{move_green_to_blue, red_and_green};

/// Flows of the cache that have `text` in what they match or do.
fn flows(switch: &Daemon<'_>, text: &str) -> Vec<Value> {
    let cache = switch.json("dump-cache");
    let has = |f: &&Value| {
        let both = format!("{} {}", f["match"], f["actions"]);
        both.contains(text)
    };
    let all = cache["flows"].as_array().unwrap();
    all.iter().filter(has).cloned().collect()
}

/// Waits until the kernel has flows from and to `port`.
pub fn in_the_kernel(switch: &Daemon<'_>, port: &str) {
    let of = |f: &Value, key: &str| f[key].to_string().contains(port);
    eventually("flows are in the kernel", || {
        let found = flows(switch, "");
        let kernel: Vec<_> = found.iter().filter(|f| f["tier"] == 0).collect();
        kernel.iter().any(|f| of(f, "in_port")) && kernel.iter().any(|f| of(f, "actions"))
    });
}

pub fn ping(lab: &Lab, from: &str, to: &str, count: u32) {
    let out = lab.sh_in(from, &format!("ping -q -n -c {count} -i 0.02 {to}"));
    assert!(out.contains(&format!(" {count} received")), "{out}");
    assert!(!out.contains("duplicates"), "{out}");
}

pub fn doctor_of(switch: &Daemon<'_>, port: &str) -> Value {
    let doctor = switch.json("doctor");
    let ports = doctor["ports"].as_array().unwrap();
    ports.iter().find(|p| p["port"] == port).unwrap().clone()
}

pub fn waits_for_reason(switch: &Daemon<'_>, port: &str, reason: &str) {
    within(Duration::from_secs(10), reason, || {
        let why = doctor_of(switch, port)["not_in_kernel"].clone();
        match reason {
            "" => why.is_null(),
            _ => why.as_str().is_some_and(|w| w.contains(reason)),
        }
    });
}

pub fn flows_move_into_the_kernel_and_are_counted_once(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-r");
    assert_eq!(doctor_of(&switch, "veth-r")["tier"], "0 (kernel cache)");

    let packets = |text: &str| -> u64 {
        let found = flows(&switch, text);
        found.iter().map(|f| f["packets"].as_u64().unwrap()).sum()
    };
    let counters = |port: &str, name: &str| -> u64 {
        let ports = switch.json("dump-ports");
        let row = ports
            .as_array()
            .unwrap()
            .iter()
            .find(|p| p["interface"] == port);
        row.unwrap()["counters"][name].as_u64().unwrap()
    };
    let (before, hits) = (packets("0x0800"), switch.counter("kcache_hit"));
    let (rx, tx) = (
        counters("veth-r", "rx_packets"),
        counters("veth-g", "tx_packets"),
    );
    let rule = || switch.ctl("dump-flows br1");
    let in_rule = |text: &str| -> u64 {
        let n = text.split("n_packets=").nth(1).unwrap();
        n.split(',').next().unwrap().parse().unwrap()
    };
    let rule_before = in_rule(&rule());
    ping(lab, "red", "10.0.0.2", 50);
    assert_eq!(packets("0x0800") - before, 100);
    assert!(switch.counter("kcache_hit") - hits >= 100);
    assert!(counters("veth-r", "rx_packets") - rx >= 50);
    assert!(counters("veth-g", "tx_packets") - tx >= 50);
    assert!(counters("veth-r", "rx_packets") - rx <= 60, "counted twice");
    assert!(in_rule(&rule()) - rule_before >= 100);
    let bytes: u64 = flows(&switch, "0x0800")
        .iter()
        .map(|f| f["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(bytes, 98 * packets("0x0800"), "echoes of 98 octets");

    // With the veths' default offloads: super-frames without checksums.
    for (from, to, address) in [("red", "green", "10.0.0.2"), ("green", "red", "10.0.0.1")] {
        let mbits = lab.tcp(from, to, address);
        assert!(mbits > 500.0, "TCP at {mbits} Mbit/s");
        let arrived = lab.udp(from, to, address, "20M");
        assert!(arrived > 0.95, "{arrived} of the datagrams arrived");
    }
    // Idle flows go, and take their last figures with them.
    lab.sh("ip -n red link set eth0-r down");
    within(Duration::from_secs(20), "the kernel is empty again", || {
        switch.json("dump-cache")["tiers"][0]["flows"] == 0
    });
}

pub fn captures_see_both_directions(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-r");
    let capture = lab.capture("", "veth-r", "icmp");
    // What is answered now has looked at every change of the device before.
    doctor_of(&switch, "veth-r");
    ping(lab, "red", "10.0.0.2", 5);
    eventually("all ten frames", || capture.count("ICMP echo") >= 10);
    assert_eq!(
        capture.count("ICMP echo request"),
        5,
        "{:#?}",
        capture.lines()
    );
    assert_eq!(
        capture.count("ICMP echo reply"),
        5,
        "{:#?}",
        capture.lines()
    );
}

/// Access ports on both ends of a trunk between two bridges: tags come and go in the kernel, and nothing crosses.
pub fn vlans_in_the_kernel(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1 --bridge br2");
    lab.namespaces(&["red", "green", "rose", "grass"]);
    for (ns, bridge, tag, address) in [
        ("red", "br1", 1, "10.1.0.1"),
        ("rose", "br2", 1, "10.1.0.9"),
        ("green", "br1", 2, "10.2.0.1"),
        ("grass", "br2", 2, "10.2.0.9"),
    ] {
        lab.host(ns, &format!("veth-{ns}"), "eth0", &format!("{address}/24"));
        switch.ctl(&format!("add-port {bridge} veth-{ns} tag={tag}"));
    }
    lab.sh("ip link add trunk1 type veth peer name trunk2; ip link set trunk1 up; ip link set trunk2 up");
    switch.ctl("add-port br1 trunk1");
    switch.ctl("add-port br2 trunk2");
    for (host, to) in [("red", "10.1.0.9"), ("green", "10.2.0.9")] {
        lab.ping(host, to);
        ping(lab, host, to, 20);
    }
    in_the_kernel(&switch, "veth-red");
    let used = |f: &Value| f["tier"] == 0 && f["packets"].as_u64().unwrap() >= 15;
    for text in ["push_vlan(vid=1", "push_vlan(vid=2", "pop_vlan"] {
        let found = flows(&switch, text);
        assert!(
            found.iter().any(used),
            "{text}: {}",
            switch.ctl("dump-cache")
        );
    }
    let plain = lab.capture("", "veth-red", "");
    let tags = lab.capture("", "trunk1", "vlan");
    ping(lab, "red", "10.1.0.9", 5);
    tags.sees(&["vlan 1", "echo request"]);
    plain.sees(&["echo reply"]);
    assert_eq!(plain.count("vlan"), 0, "{:#?}", plain.lines());
    for (from, to, address) in [("red", "rose", "10.1.0.9"), ("rose", "red", "10.1.0.1")] {
        let mbits = lab.tcp(from, to, address);
        assert!(mbits > 500.0, "TCP from {from} at {mbits} Mbit/s");
    }
    // The VLAN of a port changes: when the command ends its frames go nowhere else.
    let other = lab.capture("", "veth-rose", "icmp");
    switch.ctl("set port veth-red tag=2");
    lab.no_ping("red", "10.1.0.9");
    assert_eq!(other.count("echo request"), 0, "{:#?}", other.lines());
    switch.ctl("set port veth-red tag=1");
    lab.ping("red", "10.1.0.9");
}

pub fn no_stale_packet_with_flows_in_the_kernel(lab: &Lab) {
    let peer = Peer::start(lab);
    if peer.is_ovs() {
        return;
    }
    let changes = std::env::var("RVS_KERNEL_BARRIERS").unwrap_or("400".into());
    barrier::change_and_send(lab, &peer, &format!("{changes} 0 40"));
    let ran = rvs_tests::daemon::ctl(&peer.rundir(), "--json coverage");
    let coverage: Value = serde_json::from_str(&ran.out).unwrap();
    let promoted = coverage["kcache_promoted"].as_u64().unwrap();
    println!("    {promoted} flows were in the kernel when they changed");
    assert!(promoted * 2 > changes.parse::<u64>().unwrap(), "{coverage}");
}

/// Every packet of a flow is in its rule's counter when the rule goes, whatever tier carried it.
pub fn counters_are_exact_at_removal(lab: &Lab) {
    let peer = Peer::start(lab);
    if peer.is_ovs() {
        return;
    }
    peer.wires(3);
    let mut wires = Wires::open(3);
    peer.ofctl("13", "add-flow BR in_port=1,udp,actions=output:2,output:3");
    let sent = wires.flood(1, 2000, 1.0, &["I4/UDP(sport=7,dport=3)/'data'"]);
    let dump = peer.ofctl("13", "dump-flows BR");
    let count = format!("n_packets={},", sent.sent());
    assert!(dump.contains(&count), "{count} in {dump}");
    assert_eq!(sent.frames(2), sent.sent());
    assert_eq!(sent.frames(3), sent.sent());
    let ran = rvs_tests::daemon::ctl(&peer.rundir(), "--json coverage");
    let coverage: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(
        coverage["kcache_hit"].as_u64().unwrap() > sent.sent() / 2,
        "{coverage}"
    );
}

/// Frames of every kind, twenty of each, through every kind of action: the first of them is translated, the next ones are
/// decided in user space, the last ones in the kernel. All must leave the same, bit by bit, on the same ports.
pub fn every_tier_does_the_same(lab: &Lab) {
    const FRAMES: &[&str] = &[
        "I4/UDP(sport=7,dport=9)/'some data'",
        "I4/TCP(sport=7,dport=80,flags='PA')/'some data'",
        "E/IP(src='10.0.0.3',dst='10.0.0.2',tos=0x2e,ttl=2)/UDP(sport=1,dport=2,chksum=0)/'no checksum'",
        "E/IP(src='10.0.0.4',dst='10.0.0.2',ttl=1)/ICMP()/'the last hop'",
        "E/IP(src='10.0.0.5',dst='10.0.0.2',frag=7)/('x'*30)",
        "E/IP(src='10.0.0.5',dst='10.0.0.2',flags='MF')/UDP(sport=3,dport=4)/('x'*24)",
        "E/IP(src='10.0.0.6',dst='10.0.0.2',options=[IPOption_NOP()]*4)/UDP(sport=5,dport=6)/'options'",
        "E/IP(src='10.0.0.7',dst='10.0.0.2',proto=132)/(b'\\x00\\x07\\x00\\x09'+bytes(28))",
        "E/IP(src='10.0.0.8',dst='10.0.0.2',len=900)/UDP(sport=5,dport=6)/'cut off'",
        "E/IP(src='10.0.0.9',dst='10.0.0.2',proto=99)/'what is it'",
        "I6/UDP(sport=7,dport=9)/'some data'",
        "I6/ICMPv6EchoRequest(data='some data')",
        "E/IPv6(src='fd00::3',dst='fd00::2',tc=0x2e,hlim=3)/UDP(sport=7,dport=9)/'class'",
        "E/IPv6(src='fd00::4',dst='fd00::2')/IPv6ExtHdrFragment()/UDP(sport=7,dport=9)/'fragment'",
        "E/ARP(op=1,psrc='10.0.0.1',pdst='10.0.0.2')",
        "E/Dot1Q(vlan=5,prio=3)/IP(src='10.0.0.1',dst='10.0.0.2')/UDP(sport=7,dport=9)/'tagged'",
        "E/Dot1Q(vlan=0,prio=5)/IP(src='10.0.0.1',dst='10.0.0.2')/UDP(sport=7,dport=9)/'priority'",
        "E/Dot1Q(vlan=5)/Dot1Q(vlan=6)/IP(src='10.0.0.1',dst='10.0.0.2')/UDP(sport=7,dport=9)/'twice'",
        "E/Dot1AD(vlan=8)/Dot1Q(vlan=6)/IP(src='10.0.0.1',dst='10.0.0.2')/UDP(sport=7,dport=9)/'of a provider'",
        "Ether(src='02:00:00:00:00:01',dst='02:00:00:00:00:02',type=0x9999)/('y'*50)",
    ];
    const ACTIONS: &[&str] = &[
        "output:2,output:3",
        "NORMAL",
        "push_vlan:0x8100,set_field:4105->vlan_vid,output:2",
        "push_vlan:0x88a8,set_field:4105->vlan_vid,output:2,pop_vlan,output:3",
        "strip_vlan,output:2",
        "mod_vlan_vid:7,output:2,mod_vlan_pcp:6,output:3",
        "mod_dl_src:02:00:00:00:00:77,output:2,mod_dl_dst:02:00:00:00:00:78,output:3",
    ];
    const OF_IP: &[&str] = &[
        "ip,actions=mod_nw_src:192.0.2.1,output:2,mod_nw_dst:192.0.2.2,output:3",
        "ip,actions=mod_nw_tos:40,output:2",
        "ip,actions=dec_ttl,output:2",
        "ipv6,actions=dec_ttl,output:2",
        "udp,actions=mod_tp_dst:4242,output:2,mod_tp_src:4141,output:3",
        "tcp,actions=mod_tp_dst:4242,mod_nw_dst:192.0.2.9,dec_ttl,output:2",
        "udp6,actions=set_field:fd00::99->ipv6_src,set_field:77->udp_dst,output:2",
        "arp,actions=set_field:192.0.2.7->arp_spa,output:2",
    ];
    const COPIES: u64 = 20;
    let peer = Peer::start(lab);
    if peer.is_ovs() {
        return;
    }
    peer.wires(3);
    let mut wires = Wires::open(3);
    let counter = |name: &str| -> u64 {
        let ran = rvs_tests::daemon::ctl(&peer.rundir(), "--json coverage");
        let coverage: Value = serde_json::from_str(&ran.out).unwrap();
        coverage[name].as_u64().unwrap()
    };
    let plain = ACTIONS.iter().map(|a| format!("actions={a}"));
    let rules = plain.chain(OF_IP.iter().map(|r| (*r).to_owned()));
    let total = FRAMES.len() as u64 * COPIES;
    let (mut wrong, mut hits) = (Vec::new(), 0);
    for rule in rules {
        peer.empty();
        let old = ["strip_vlan", "mod_vlan"].iter().any(|w| rule.contains(w));
        let version = if old { "10" } else { "13" };
        peer.ofctl(version, &format!("add-flow BR 'in_port=1,{rule}'"));
        let before = counter("kcache_hit");
        let sent = wires.flood(1, 2000, total as f64 / 2000.0, FRAMES);
        assert_eq!(sent.sent(), total);
        hits += counter("kcache_hit") - before;
        for port in 1..=3 {
            let odd = sent
                .kinds(port)
                .into_iter()
                .filter(|(_, n)| n % COPIES != 0);
            wrong.extend(odd.map(|(kind, n)| format!("{rule}: {n} of {COPIES} on {port}: {kind}")));
        }
        if sent.frames(2) == 0 {
            wrong.push(format!("{rule}: nothing came through"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(counter("kcache_error"), 0);
    println!(
        "    {hits} frames in the kernel, {} handed up",
        counter("kcache_miss")
    );
    assert!(hits > total * 2, "only {hits} in the kernel");
}

pub fn a_mac_that_moves_leaves_the_kernel(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.namespaces(&["blue"]);
    lab.host("blue", "veth-b", "eth0-b", "10.0.0.9/24");
    switch.ctl("add-port br1 veth-b");
    lab.ping("red", "10.0.0.2");
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-g");
    move_green_to_blue(lab);
    lab.ping("blue", "10.0.0.1");
    let old = lab.capture("", "veth-g", "icmp");
    ping(lab, "red", "10.0.0.2", 10);
    assert_eq!(old.count("echo request"), 0, "{:#?}", old.lines());
    in_the_kernel(&switch, "veth-b");
}

/// A port leaves the kernel's cache and comes back while frames flow: none is seen twice, and the host sees none.
pub fn ports_move_between_tiers(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    // An address that the host must not answer for.
    lab.sh("ip addr add 10.0.0.77/24 dev veth-r");
    lab.ping("red", "10.0.0.2");
    let host = lab.spawn("host", "ip netns exec red ping -n -i 0.05 10.0.0.77");
    let pings = lab.spawn("pings", "ip netns exec red ping -n -D -i 0.005 10.0.0.2");
    for (set, unset) in [
        (
            "set port veth-r other_config:kernel-cache=off",
            "remove port veth-r other_config kernel-cache",
        ),
        (
            "set interface veth-r other_config:kernel-cache=off",
            "remove interface veth-r other_config kernel-cache",
        ),
        (
            "set bridge br1 other_config:kernel-cache=off",
            "remove bridge br1 other_config kernel-cache",
        ),
        (
            "set open . other_config:kernel-cache=off",
            "remove open . other_config kernel-cache",
        ),
    ] {
        in_the_kernel(&switch, "veth-r");
        switch.ctl(set);
        waits_for_reason(&switch, "veth-r", "kernel-cache=off");
        assert!(flows(&switch, "0x0800")
            .iter()
            .all(|f| f["in_port"] != "veth-r" || f["tier"] != 0));
        lab.ping("red", "10.0.0.2");
        lab.ping("green", "10.0.0.1");
        switch.ctl(unset);
        waits_for_reason(&switch, "veth-r", "");
        lab.ping("red", "10.0.0.2");
    }
    pings.signal(nix::sys::signal::Signal::SIGINT);
    eventually("ping has counted", || {
        pings.out().contains("packets transmitted")
    });
    assert!(!pings.out().contains("DUP!"), "{}", pings.out());
    assert!(
        !host.out().contains("bytes from 10.0.0.77"),
        "{}",
        host.out()
    );
    assert_eq!(switch.counter("drop_upcall_queue_full"), 0);
}

pub fn foreign_programs_keep_a_port_out(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    switch.expects(&[
        "the kernel cache keeps off it",
        "somebody took the ingress drop off",
    ]);
    waits_for_reason(&switch, "veth-r", "");
    let put = "tc qdisc add dev veth-r clsact 2>/dev/null || true; \
               tc filter add dev veth-r ingress pref 5 protocol ip u32 match u32 0 0 flowid 1:1";
    lab.sh(put);
    waits_for_reason(
        &switch,
        "veth-r",
        "tc ingress filter (u32) works on the ingress of veth-r",
    );
    assert!(switch
        .ctl("doctor")
        .contains("so the kernel cache keeps off it"));
    let note = "so the kernel cache keeps off it";
    eventually("the database says so", || {
        switch.interface("veth-r", "status").contains(note)
    });
    lab.ping("red", "10.0.0.2");
    lab.sh("tc qdisc del dev veth-r clsact");
    waits_for_reason(&switch, "veth-r", "");
    lab.ping("red", "10.0.0.2");
    // There before the port is.
    switch.ctl("del-port br1 veth-g");
    lab.sh(&put.replace("veth-r", "veth-g"));
    let ran = switch.try_ctl("add-port br1 veth-g");
    assert!(ran.err.contains(note), "{}", ran.err);
    lab.ping("red", "10.0.0.2");
}

/// A queueing discipline on the way out holds in every tier.
pub fn shaping_holds(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-g");
    lab.sh("tc qdisc add dev veth-g root tbf rate 10mbit burst 32k latency 50ms");
    let report = lab.iperf("red", "green", "10.0.0.2", "-t 3");
    let mbits = report["end"]["sum_received"]["bits_per_second"]
        .as_f64()
        .unwrap()
        / 1e6;
    assert!((5.0..12.0).contains(&mbits), "{mbits} Mbit/s through 10");
}

/// Super-frames count as their segments, and each with all its headers, whichever tier carries them.
pub fn port_counters_mean_the_same_in_every_tier(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    let counters = |port: &str, name: &str| -> u64 {
        let ports = switch.json("dump-ports");
        let ports = ports.as_array().unwrap();
        let row = ports.iter().find(|p| p["interface"] == port).unwrap();
        row["counters"][name].as_u64().unwrap()
    };
    for setting in ["off", "on"] {
        switch.ctl(&format!(
            "set bridge br1 other_config:kernel-cache={setting}"
        ));
        let reason = if setting == "on" {
            ""
        } else {
            "kernel-cache=off"
        };
        waits_for_reason(&switch, "veth-r", reason);
        let both = |name: &str| {
            [
                counters("veth-r", &format!("rx_{name}")),
                counters("veth-g", &format!("tx_{name}")),
            ]
        };
        let (packets, bytes) = (both("packets"), both("bytes"));
        let mbits = lab.tcp_once("red", "green", "10.0.0.2");
        let sent = mbits * 1e6 / 8.0;
        for i in 0..2 {
            let packets = (both("packets")[i] - packets[i]) as f64;
            let bytes = (both("bytes")[i] - bytes[i]) as f64;
            assert!(
                (1300.0..1515.0).contains(&(bytes / packets)),
                "cache {setting}: {bytes} octets in {packets} packets"
            );
            assert!(
                bytes > sent,
                "cache {setting}: {bytes} octets carried {sent}"
            );
        }
    }
}

/// Whatever happens to the devices, frames find their way again.
pub fn devices_come_and_go(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    switch.expects(&["the punt device was set down or deleted"]);
    lab.ping("red", "10.0.0.2");
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-r");
    // A smaller way out: what does not fit is user space's to judge, at once.
    lab.sh("ip link set veth-g mtu 1000");
    eventually("the MTU is followed", || {
        switch.interface("veth-g", "mtu") == "1000"
    });
    let ran = lab.try_sh_in("red", "ping -q -n -c 3 -i 0.1 -W 1 -s 1400 -M do 10.0.0.2");
    assert_ne!(ran.code, 0, "{}", ran.out);
    ping(lab, "red", "10.0.0.2", 20);
    lab.sh("ip link set veth-g mtu 1500");
    eventually("the MTU is followed", || {
        switch.interface("veth-g", "mtu") == "1500"
    });
    lab.ping_size("red", "10.0.0.2", 1400);
    // Moved away: the program does not follow.
    lab.namespaces(&["away"]);
    lab.sh("ip link set veth-g netns away; ip -n away link set veth-g up; ip -n away addr add 10.0.0.50/24 dev veth-g");
    lab.ping("green", "10.0.0.50");
    lab.sh("ip -n away addr flush dev veth-g; ip -n away link set veth-g netns $$; ip link set veth-g up");
    switch.wait_port("veth-g");
    lab.ping("red", "10.0.0.2");
    // The punt device itself is deleted, and taken down.
    for what in ["del", "set down"] {
        let hidden =
            lab.sh("ip -o link show | grep -o 'rv-[0-9a-f]*@rv-[0-9a-f]*' | head -1 | cut -d@ -f1");
        let hidden = hidden.trim();
        let (verb, tail) = what.split_once(' ').unwrap_or((what, ""));
        lab.sh(&format!("ip link {verb} {hidden} {tail}"));
        lab.sh("ip -n red neigh flush dev eth0-r; ip -n green neigh flush dev eth0-g");
        lab.ping("red", "10.0.0.2");
        ping(lab, "green", "10.0.0.1", 10);
        assert_eq!(doctor_of(&switch, "veth-r")["tier"], "0 (kernel cache)");
    }
}
