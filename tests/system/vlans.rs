//! VLANs on internal ports, on plain devices and on an uplink: the second story of the guide.

use rvs_tests::{eventually, Daemon, Lab};

/// Bridge `br1` with internal ports tap1a, tap1b in ns1 and tap2a, tap2b in ns2: the a's in VLAN 100 with 10.1.0.N, the b's
/// in VLAN 200 with 10.2.0.N.
pub fn two_vlans(lab: &Lab) -> Daemon<'_> {
    let switch = Daemon::start(lab, "--bridge br1");
    lab.namespaces(&["ns1", "ns2"]);
    for n in [1, 2] {
        for (letter, tag, net) in [("a", 100, 1), ("b", 200, 2)] {
            let port = format!("tap{n}{letter}");
            switch.ctl(&format!(
                "add-port br1 {port} tag={tag} -- set interface {port} type=internal"
            ));
            lab.sh(&format!(
                "ip link set {port} netns ns{n}; ip -n ns{n} addr add 10.{net}.0.{n}/24 dev {port}; ip -n ns{n} link set {port} up"
            ));
        }
    }
    switch
}

/// Adds `eth0`, a trunk to a namespace `outside` where it is called `out0`.
fn uplink(lab: &Lab, switch: &Daemon<'_>) {
    lab.namespaces(&["outside"]);
    lab.sh("ip link add out0 type veth peer name eth0; ip link set out0 netns outside; ip -n outside link set out0 up");
    lab.sh("ip link set eth0 up");
    switch.ctl("add-port br1 eth0");
}

pub fn internal_ports_uplink_and_gateway(lab: &Lab) {
    let switch = two_vlans(lab);
    uplink(lab, &switch);
    // Same VLAN: everything.
    for (from, to) in [
        ("ns1", "10.1.0.2"),
        ("ns2", "10.1.0.1"),
        ("ns1", "10.2.0.2"),
    ] {
        lab.ping(from, to);
        lab.ping_size(from, to, 1472);
    }
    let mbits = lab.tcp("ns1", "ns2", "10.1.0.2");
    assert!(mbits > 300.0, "TCP in VLAN 100 at {mbits} Mbit/s");
    // The uplink sees the VLANs tagged, and a host out there that speaks the tag takes part, also with full-size frames.
    let capture = lab.capture("outside", "out0", "vlan 100");
    lab.sh_in("ns1", "ping -q -c 1 -W 1 10.1.0.77 || true");
    capture.sees(&["802.1Q (0x8100)", "vlan 100", "who-has 10.1.0.77"]);
    // (Out there is a switch too, since not every kernel has VLAN devices; what the wire carries was seen above.)
    let beyond = Daemon::named(lab, "outside", "--bridge br9");
    beyond.ctl("add-port br9 out0 -- add-port br9 in0 tag=100 -- set interface in0 type=internal");
    lab.sh("ip -n outside addr add 10.1.0.50/24 dev in0; ip -n outside link set in0 up");
    lab.ping("outside", "10.1.0.1");
    lab.ping_size("ns2", "10.1.0.50", 1472);
    let mbits = lab.tcp("ns1", "outside", "10.1.0.50");
    assert!(mbits > 200.0, "TCP into the trunk at {mbits} Mbit/s");
    let mbits = lab.tcp("outside", "ns2", "10.1.0.2");
    assert!(mbits > 200.0, "TCP out of the trunk at {mbits} Mbit/s");
    // The host itself is gateway of VLAN 100 on the bridge's own interface.
    switch.ctl("set port br1 tag=100");
    lab.sh("ip addr add 10.1.0.254/24 dev br1; ip link set br1 up");
    lab.ping("ns1", "10.1.0.254");
    lab.sh("ping -q -c 1 -W 2 10.1.0.2");
    lab.gateways(&[("ns1", "10.1.0.254")]);
    lab.sh("ip addr add 192.0.2.1/32 dev lo");
    lab.ping("ns1", "192.0.2.1");
}

/// Not one frame crosses from a VLAN to another: broadcast, multicast, unknown unicast, full size, super-frames.
pub fn no_frame_crosses_vlans(lab: &Lab) {
    let switch = two_vlans(lab);
    uplink(lab, &switch);
    lab.ping("ns1", "10.1.0.2");
    lab.ping("ns1", "10.2.0.2");
    let (a1, b2) = (lab.mac("ns1", "tap1a"), lab.mac("ns2", "tap2b"));
    let other = lab.capture("ns2", "tap2b", "");
    let same = lab.capture("ns2", "tap2a", "");
    // From VLAN 100: to nobody, to everybody, to addresses that only VLAN 200 knows.
    lab.sh_in("ns1", "ping -q -c 2 -i 0.2 -W 1 10.1.0.99 || true");
    lab.sh_in("ns1", "ping -q -b -c 2 -i 0.2 -W 1 10.1.0.255 || true");
    lab.sh_in("ns1", "ping -q -c 2 -i 0.2 -W 1 ff02::1%tap1a || true");
    lab.sh_in(
        "ns1",
        &format!("ip neigh add 10.1.0.98 lladdr {b2} dev tap1a"),
    );
    lab.sh_in("ns1", "ping -q -c 2 -i 0.2 -s 1472 -W 1 10.1.0.98 || true");
    // iperf to an address that does not answer would wait; a socket that sends and forgets makes super-frames of UDP.
    lab.sh_in("ns1", "python3 -c \"import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(17, 103, 1400)\nfor _ in range(20): s.sendto(b'x'*28000, ('10.1.0.98', 9))\"");
    let mbits = lab.tcp("ns1", "ns2", "10.1.0.2");
    assert!(mbits > 100.0, "{mbits}");
    same.sees(&[&a1, "who-has 10.1.0.99"]);
    // A frame of VLAN 200 sent after all of that: what was to come has come when it is there.
    lab.sh_in("ns1", "ping -q -c 3 -i 0.2 -W 1 -p 5a5a 10.2.0.2");
    other.sees(&["10.2.0.1 > 10.2.0.2"]);
    let crossed: Vec<String> = other
        .lines()
        .into_iter()
        .filter(|l| l.contains(&a1) || l.contains("10.1.0."))
        .collect();
    assert!(crossed.is_empty(), "{crossed:#?}");
    assert!(switch.counter("drop_poison") == 0);
}

/// A tag on an existing device is the same thing, and changing it moves the port with the next frame.
pub fn veth_as_access_port_moves_at_once(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    lab.namespaces(&["red", "green", "blue"]);
    for (n, (ns, port, tag)) in [
        ("red", "veth-r", 100),
        ("green", "veth-g", 100),
        ("blue", "veth-b", 200),
    ]
    .iter()
    .enumerate()
    {
        lab.host(ns, port, "eth0", &format!("10.0.0.{}/24", n + 1));
        switch.ctl(&format!("add-port br1 {port} tag={tag}"));
    }
    lab.ping("red", "10.0.0.2");
    lab.no_ping("red", "10.0.0.3");
    let mbits = lab.tcp("red", "green", "10.0.0.2");
    assert!(mbits > 300.0, "{mbits}");
    // Cached flows of the old VLAN stop at once: when the command has returned, not one more frame gets through.
    switch.ctl("set port veth-r tag=200");
    lab.no_ping("red", "10.0.0.2");
    lab.ping("red", "10.0.0.3");
    switch.ctl("set port veth-r tag=100");
    lab.no_ping("red", "10.0.0.3");
    lab.ping("red", "10.0.0.2");
    let known = switch.fdb("br1");
    assert!(
        known
            .iter()
            .any(|(vlan, _, port)| (*vlan, port.as_str()) == (100, "veth-r")),
        "{known:?}"
    );
    assert!(
        !known
            .iter()
            .any(|(vlan, _, port)| (*vlan, port.as_str()) == (200, "veth-r")),
        "{known:?}"
    );
}

/// A second tag makes a full-size frame longer than a device takes: that frame is dropped and counted, the others pass, and
/// `doctor` or `show` says what MTU is needed.
pub fn frame_too_large_after_a_push_costs_itself_only(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    lab.namespaces(&["red", "outside"]);
    lab.host("red", "veth-r", "eth0-r", "10.0.0.1/24");
    lab.host("outside", "eth0", "out0", "10.7.0.2/24");
    switch.ctl("add-port br1 veth-r vlan_mode=dot1q-tunnel tag=300");
    switch.ctl("add-port br1 eth0");
    let beyond = Daemon::named(lab, "outside", "--bridge br9");
    beyond.expects(&["on which the host no longer answers"]);
    beyond.ctl("add-port br9 out0 -- add-port br9 in0 vlan_mode=dot1q-tunnel tag=300 -- set interface in0 type=internal");
    lab.sh("ip -n outside addr add 10.0.0.2/24 dev in0; ip -n outside link set in0 up");
    lab.ping("red", "10.0.0.2");
    let capture = lab.capture("outside", "out0", "");
    lab.ping_size("red", "10.0.0.2", 56);
    capture.sees(&["802.1Q-QinQ (0x88a8)", "vlan 300", "echo request"]);
    let before = switch.counter("drop_too_big");
    // 1500 octets and a service tag do not fit through an MTU of 1500; 1496 do.
    let ran = lab.try_sh_in("red", "ping -q -n -M do -c 2 -i 0.2 -W 1 -s 1472 10.0.0.2");
    assert!(ran.out.contains(" 0 received"), "{}", ran.out);
    eventually("the drops are counted", || {
        switch.counter("drop_too_big") >= before + 2
    });
    lab.ping_size("red", "10.0.0.2", 1468);
    let told = switch.ctl("show") + &switch.ctl("doctor");
    assert!(
        told.contains("1504"),
        "nobody says that eth0 needs an MTU of 1504:\n{told}"
    );
    lab.sh("ip link set eth0 mtu 1504; ip -n outside link set out0 mtu 1504");
    eventually("full size passes", || {
        lab.try_sh_in("red", "ping -q -n -M do -c 1 -W 1 -s 1472 10.0.0.2")
            .code
            == 0
    });
}
