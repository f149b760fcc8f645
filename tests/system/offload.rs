//! What hosts leave for later, checksums and segmentation, must be done by whoever comes next.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rvs_tests::lab::DEADLINE;
use rvs_tests::{eventually, Daemon, Lab};

use crate::hosts::red_and_green;

/// A server's answers carry partial checksums, and DHCP clients read raw frames: they believe only complete ones.
pub fn dhcp_lease_is_granted(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    lab.namespaces(&["server", "client"]);
    lab.host("server", "veth-s", "eth0", "10.0.0.1/24");
    lab.sh("ip link add eth0 type veth peer name veth-c; ip link set eth0 netns client; ip link set veth-c up; ip -n client link set eth0 up");
    switch.ctl("add-port br1 veth-s");
    switch.ctl("add-port br1 veth-c");
    let server = lab.spawn(
        "dnsmasq",
        "ip netns exec server dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --user=root --log-facility=- \
         --interface=eth0 --bind-interfaces --dhcp-range=10.0.0.50,10.0.0.59 --dhcp-leasefile=leases --pid-file=dnsmasq.pid \
         --dhcp-authoritative --no-ping",
    );
    eventually("dnsmasq listens", || {
        lab.try_sh_in("server", "ss -H -l -u -n sport = 67")
            .out
            .contains(":67")
    });
    lab.sh("printf '#!/bin/sh\\n[ -z \"$new_ip_address\" ] || ip addr replace $new_ip_address/24 dev $interface\\n' > script; chmod +x script");
    // A copy, since some systems confine the original to directories of its own.
    lab.sh("cp \"$(PATH=$PATH:/usr/sbin:/sbin command -v dhclient)\" client-program; : > dhclient.conf");
    let directory = lab.path("");
    let client = lab.spawn(
        "dhclient",
        &format!(
            "ip netns exec client ./client-program -4 -d -v -cf {d}dhclient.conf -lf {d}client.leases -pf {d}client.pid -sf {d}script eth0",
            d = directory.display()
        ),
    );
    // A frame that is lost costs a client up to twenty seconds: none may be.
    let started = Instant::now();
    let has_lease = || {
        let addresses = lab.sh_in("client", "ip -4 -br addr show dev eth0");
        addresses.contains("10.0.0.5")
    };
    while !has_lease() {
        assert!(
            started.elapsed() < DEADLINE,
            "no lease: {}{}{}",
            client.err(),
            server.err(),
            switch.log()
        );
        sleep(Duration::from_millis(50));
    }
    lab.ping("client", "10.0.0.1");
    drop((client, server));
}

/// TCP inside a tunnel inside the hosts: super-frames whose checksum starts behind the outer headers.
pub fn vxlan_inside_the_hosts(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    for (ns, me, peer, n) in [
        ("red", "10.0.0.1", "10.0.0.2", 1),
        ("green", "10.0.0.2", "10.0.0.1", 2),
    ] {
        lab.sh(&format!(
            "ip -n {ns} link add vx0 type vxlan id 42 local {me} remote {peer} dstport 4789 dev eth0-{}; \
             ip -n {ns} addr add 10.42.0.{n}/24 dev vx0; ip -n {ns} link set vx0 up",
            &ns[..1]
        ));
    }
    lab.ping("red", "10.42.0.2");
    lab.ping_size("red", "10.42.0.2", 1400);
    let mbits = lab.tcp("red", "green", "10.42.0.2");
    assert!(
        mbits > 100.0,
        "TCP inside VXLAN at {mbits} Mbit/s\n{}",
        switch.ctl("coverage")
    );
    let mbits = lab.tcp("green", "red", "10.42.0.1");
    assert!(mbits > 100.0, "TCP inside VXLAN at {mbits} Mbit/s");
}

/// Every tunnel that the hosts' kernel can make, its outer header with a checksum and without, cut by us and by the kernel.
pub fn every_tunnel_inside_the_hosts(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.sh("ip -n red addr add fd00::1/64 dev eth0-r nodad; ip -n green addr add fd00::2/64 dev eth0-g nodad");
    lab.ping("red", "10.0.0.2");
    lab.ping("red", "fd00::2");
    let tunnels = [
        ("vxlan id 1 dstport 4789 udpcsum", "10.0.0."),
        ("vxlan id 2 dstport 4790 noudpcsum", "10.0.0."),
        ("vxlan id 3 dstport 4791", "fd00::"),
        ("geneve id 4 udpcsum", "10.0.0."),
        ("geneve id 5 dstport 6082", "fd00::"),
        ("gretap", "10.0.0."),
        ("ipip", "10.0.0."),
    ];
    let errors = |ns: &str| {
        let all = lab.sh_in(ns, "nstat -asz");
        let bad = [
            "TcpInCsumErrors",
            "UdpInCsumErrors",
            "UdpInErrors",
            "Udp6InErrors",
        ];
        all.lines()
            .filter(|l| bad.iter().any(|b| l.starts_with(b)))
            .any(|l| l.split_whitespace().nth(1) != Some("0"))
    };
    'tunnels: for (i, (kind, net)) in tunnels.into_iter().enumerate() {
        for (ns, device, own, other) in [("red", "eth0-r", 1, 2), ("green", "eth0-g", 2, 1)] {
            let local = if kind.starts_with("geneve") {
                String::new()
            } else {
                format!("local {net}{own} dev {device}")
            };
            let (kind, rest) = kind.split_once(' ').unwrap_or((kind, ""));
            let made = lab.try_sh(&format!(
                "ip -n {ns} link add t{i} type {kind} remote {net}{other} {local} {rest}"
            ));
            if made.err.contains("Unknown device type") {
                println!("    this kernel has no {kind}");
                continue 'tunnels;
            }
            assert_eq!(made.code, 0, "{}", made.err);
            lab.sh(&format!(
                "ip -n {ns} addr add 10.4{i}.0.{own}/24 dev t{i} && ip -n {ns} link set t{i} up"
            ));
        }
        for by_kernel in ["on", "off"] {
            lab.sh(&format!(
                "ethtool -K veth-g tx-udp-segmentation {by_kernel}; ethtool -K veth-r tx-udp-segmentation {by_kernel}"
            ));
            for (from, to, n) in [("red", "green", 2), ("green", "red", 1)] {
                let address = format!("10.4{i}.0.{n}");
                lab.ping_size(from, &address, 1300);
                let mbits = lab.tcp(from, to, &address);
                println!("    {kind} over {net}, UDP segmentation {by_kernel}: {mbits:.0} Mbit/s");
                assert!(
                    mbits > 50.0,
                    "TCP in {kind} at {mbits} Mbit/s\n{}",
                    switch.ctl("coverage")
                );
                assert!(!errors(to), "{kind}\n{}", lab.sh_in(to, "nstat -as"));
            }
        }
        lab.sh(&format!(
            "ip -n red link del t{i}; ip -n green link del t{i}"
        ));
    }
}

/// Hosts with every mix of offloads switched off still talk.
pub fn software_fallbacks_carry_tcp(lab: &Lab) {
    let _switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    for features in [
        "tso off gso off",
        "tx off",
        "gro off",
        "tso on gso on tx on sg off",
    ] {
        lab.sh_in("red", &format!("ethtool -K eth0-r {features}"));
        let mbits = lab.tcp("red", "green", "10.0.0.2");
        assert!(mbits > 100.0, "{features}: TCP at {mbits} Mbit/s");
    }
    lab.sh("ip link set veth-g mtu 9000; ip -n green link set eth0-g mtu 9000");
    lab.sh("ip link set veth-r mtu 9000; ip -n red link set eth0-r mtu 9000");
    lab.ping_size("red", "10.0.0.2", 8972);
    let mbits = lab.tcp("red", "green", "10.0.0.2");
    assert!(mbits > 100.0, "MTU 9000: TCP at {mbits} Mbit/s");
}

/// One send of many datagrams (UDP_SEGMENT) arrives as that many, whole, whatever the receiver can take.
pub fn udp_super_frames_arrive_as_datagrams(lab: &Lab) {
    let _switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    std::fs::write(
        lab.path("receive.py"),
        "import socket\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('10.0.0.2', 7777)); s.settimeout(20)\n\
         print('bound', flush=True)\n\
         for i in range(40):\n    d = s.recv(65536)\n    assert d == bytes([i % 20]) * 1400, (i, len(d), d[:4])\n\
         print('all', flush=True)\n",
    )
    .unwrap();
    std::fs::write(
        lab.path("send.py"),
        "import socket\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(17, 103, 1400)\n\
         s.sendto(b''.join(bytes([i]) * 1400 for i in range(20)), ('10.0.0.2', 7777))\n",
    )
    .unwrap();
    let receiver = lab.spawn("receiver", "ip netns exec green python3 receive.py");
    eventually("the receiver is bound", || receiver.out().contains("bound"));
    lab.sh_in("red", "python3 send.py");
    lab.sh_in(
        "red",
        "ethtool -K eth0-r tx-udp-segmentation off; python3 send.py",
    );
    eventually("all datagrams", || {
        receiver.out().contains("all") || !receiver.err().is_empty()
    });
    assert_eq!(receiver.err(), "");
}

/// Not a benchmark: catches the mistakes that cost an order of magnitude.
pub fn throughput_is_in_the_right_class(lab: &Lab) {
    let _switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    let mbits = (0..3)
        .map(|_| lab.tcp("red", "green", "10.0.0.2"))
        .fold(0.0, f64::max);
    println!("    TCP with default offloads: {:.1} Gbit/s", mbits / 1e3);
    assert!(mbits > 2_000.0, "TCP at {mbits} Mbit/s at best");
}
