//! Ports whose devices come, go and change under the switch.

use std::time::{Duration, Instant};

use rvs_tests::{eventually, Daemon, Lab};

use crate::hosts::red_and_green;

pub fn deleted_and_made_again(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    let index = switch.interface("veth-r", "ifindex");
    lab.sh("ip link del veth-r");
    eventually("the port says what is missing", || {
        switch
            .interface("veth-r", "error")
            .contains("No such device")
    });
    assert_eq!(switch.interface("veth-r", "ofport"), "-1");
    assert!(
        switch.ctl("show").contains("No such device"),
        "{}",
        switch.ctl("show")
    );
    lab.host("red", "veth-r", "eth0-r", "10.0.0.1/24");
    switch.wait_port("veth-r");
    lab.ping("red", "10.0.0.2");
    assert_ne!(switch.interface("veth-r", "ifindex"), index);
    // Gone and back between two looks.
    lab.sh("ip link del veth-r");
    lab.host("red", "veth-r", "eth0-r", "10.0.0.1/24");
    lab.ping("red", "10.0.0.2");
}

pub fn pending_until_it_appears(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    switch.expects(&["could not open network device"]);
    let ran = switch.try_ctl("add-port br1 veth-r tag=7");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.err.contains("veth-r") && ran.err.contains("waits"),
        "{}",
        ran.err
    );
    assert!(switch.ctl("list-ports br1").contains("veth-r"));
    lab.namespaces(&["red"]);
    lab.host("red", "veth-r", "eth0-r", "10.0.0.1/24");
    eventually("the port opens", || {
        switch.interface("veth-r", "error") == "[]"
    });
    lab.sh("ip addr add 10.0.0.2/24 dev br1; ip link set br1 up");
    switch.ctl("set port br1 tag=7");
    lab.ping("red", "10.0.0.2");
}

pub fn renamed_away_and_back(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    lab.sh("ip link set veth-r down; ip link set veth-r name other; ip link set other up");
    eventually("a device by another name is not the port", || {
        switch
            .interface("veth-r", "error")
            .contains("No such device")
    });
    lab.no_ping("red", "10.0.0.2");
    lab.sh("ip link set other down; ip link set other name veth-r; ip link set veth-r up");
    switch.wait_port("veth-r");
    lab.ping("red", "10.0.0.2");
}

pub fn moved_away_and_back(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    lab.namespaces(&["away"]);
    lab.sh("ip link set veth-r netns away; ip -n away link set veth-r up");
    eventually("a device that left counts as gone", || {
        switch
            .interface("veth-r", "error")
            .contains("No such device")
    });
    lab.no_ping("red", "10.0.0.2");
    // It is its new owner's alone: nothing of ours swallows what it receives.
    lab.sh("ip -n away addr add 10.0.0.7/24 dev veth-r");
    lab.ping("red", "10.0.0.7");
    lab.sh("ip -n away addr flush dev veth-r; ip -n away link set veth-r netns $$; ip link set veth-r up");
    switch.wait_port("veth-r");
    lab.ping("red", "10.0.0.2");
}

pub fn mtu_and_carrier_are_followed(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    lab.sh("ip link set veth-r mtu 9000; ip -n red link set eth0-r mtu 9000");
    eventually("the MTU is stated", || {
        switch.interface("veth-r", "mtu") == "9000"
    });
    lab.sh("ip link set veth-g mtu 9000; ip -n green link set eth0-g mtu 9000");
    eventually("the MTU is stated", || {
        switch.interface("veth-g", "mtu") == "9000"
    });
    lab.ping_size("red", "10.0.0.2", 8900);
    lab.sh("ip -n red link set eth0-r down");
    eventually("no carrier", || {
        switch.interface("veth-r", "link_state") == "down"
    });
    assert_eq!(switch.interface("veth-r", "admin_state"), "up");
    lab.sh("ip -n red link set eth0-r up");
    eventually("carrier", || {
        switch.interface("veth-r", "link_state") == "up"
    });
    lab.ping("red", "10.0.0.2");
}

/// `ip netns del`, and the commands that made the host once more, without `del-port`.
pub fn namespace_deleted_and_same_commands_again(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    for _ in 0..3 {
        lab.ping("red", "10.0.0.2");
        lab.sh("ip netns del red");
        eventually("the device is gone", || lab.link("veth-r").is_none());
        lab.namespaces(&["red"]);
        lab.host("red", "veth-r", "eth0-r", "10.0.0.1/24");
        switch.ctl("--may-exist add-port br1 veth-r");
    }
    lab.ping("red", "10.0.0.2");
    assert_eq!(switch.ctl("list-ports br1"), "veth-g\nveth-r\n");
}

/// Makes so many veth pairs, all up, and returns what says a command of each of their near ends.
pub fn numbered_ports(lab: &Lab, count: usize) -> impl Fn(&str) -> String {
    lab.sh(&format!(
        "for n in $(seq {count}); do \
           echo link add m$n type veth peer name n$n; \
           echo link set m$n addrgenmode none; echo link set n$n addrgenmode none; \
           echo link set m$n up; echo link set n$n up; \
         done | ip -batch -"
    ));
    move |command| {
        let each: Vec<String> = (1..=count).map(|n| format!("{command} m{n}")).collect();
        each.join(" -- ")
    }
}

/// As many as a switch on a busy host has come and go in one transaction each, in bounded time, and the others go on meanwhile.
pub fn two_hundred_ports_in_one_transaction(lab: &Lab) {
    const PORTS: usize = 200;
    const LIMIT: Duration = Duration::from_secs(2);
    let switch = red_and_green(lab, "br1");
    let all = numbered_ports(lab, PORTS);
    let timed = |words: &str| {
        let start = Instant::now();
        switch.ctl(words);
        start.elapsed()
    };
    let took = timed(&all("add-port br1"));
    assert!(took < LIMIT, "added in {took:?}");
    let doctor = switch.json("doctor");
    let ports = doctor["ports"].as_array().unwrap();
    let inside = ports.iter().filter(|p| p["not_in_kernel"].is_null());
    // The bridge's own, and those of the two hosts.
    assert_eq!(inside.count(), PORTS + 3, "{doctor}");
    lab.ping("red", "10.0.0.2");
    let took = timed(&all("del-port br1"));
    assert!(took < LIMIT, "removed in {took:?}");
    assert_eq!(switch.json("doctor")["ports"].as_array().unwrap().len(), 3);
    lab.ping("red", "10.0.0.2");
}

/// Taps: made by the switch, and taps that exist already.
pub fn tap_ports(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    lab.namespaces(&["red"]);
    lab.host("red", "veth-r", "eth0-r", "10.0.0.1/24");
    switch.ctl("add-port br1 veth-r");
    lab.sh("ip tuntap add dev tap0 mode tap");
    switch.ctl("add-port br1 tap0");
    switch.wait_port("tap0");
    let ran = switch.try_ctl("add-port br1 tap1 -- set interface tap1 type=tap");
    if !std::path::Path::new("/dev/net/tun").exists() {
        assert_ne!(ran.code, 0);
        return;
    }
    assert_eq!(ran.code, 0, "{}", ran.err);
    switch.wait_port("tap1");
    lab.sh("ip addr add 10.0.0.2/24 dev tap1; ip link set tap1 up");
    lab.ping("red", "10.0.0.2");
    let mbits = {
        lab.sh("iptables -V >/dev/null 2>&1 || true");
        lab.sh_in("red", "ping -q -c 3 -i 0.2 -s 1472 10.0.0.2")
    };
    assert!(mbits.contains(" 3 received"), "{mbits}");
    switch.ctl("del-port tap1");
    eventually("its tap goes with the port", || lab.link("tap1").is_none());
    switch.ctl("del-port tap0");
    assert!(lab.link("tap0").is_some(), "somebody else's tap stays");
}
