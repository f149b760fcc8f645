//! Controllers of the field drive the switch: OS-Ken, Open vSwitch's test controller (Faucet: `faucet.rs`).

use rvs_tests::lab::Background;
use rvs_tests::wire::{client, python};
use rvs_tests::{eventually, Lab, Peer};

/// Hosts `n1`.. with 10.0.N.x on ports 1.. of the bridge.
pub fn hosts(peer: &Peer<'_>, addresses: &[&str]) {
    for (n, address) in (1..).zip(addresses) {
        let ns = format!("n{n}");
        peer.lab.namespaces(&[&ns]);
        peer.lab.host(&ns, &format!("p{n}"), "eth0", address);
        peer.vsctl(&format!(
            "add-port br1 p{n} -- set interface p{n} ofport_request={n}"
        ));
    }
}

pub fn connect(peer: &Peer<'_>) {
    peer.vsctl("set-controller br1 tcp:127.0.0.1:6653 -- set controller br1 max_backoff=1000");
    eventually("the controller is connected", || {
        peer.vsctl("get controller br1 is_connected").trim() == "true"
    });
}

fn learns(peer: &Peer<'_>, version: &str, controller: &Background, says: &str) {
    connect(peer);
    eventually("the controller knows the switch", || {
        controller.out().contains(says)
    });
    for (from, to) in [("n1", "10.0.0.2"), ("n2", "10.0.0.3"), ("n3", "10.0.0.1")] {
        peer.lab.ping(from, to);
    }
    let out = peer
        .lab
        .sh_in("n1", "ping -q -n -c 10 -i 0.05 -W 1 10.0.0.2");
    assert!(out.contains(" 10 received"), "{out}");
    let flows = peer.ofctl(version, "dump-flows BR");
    assert!(flows.matches("actions=output:").count() >= 4, "{flows}");
}

fn os_ken(lab: &Lab, version: &str, says: &str) {
    let peer = Peer::start(lab);
    hosts(&peer, &["10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24"]);
    peer.vsctl(&format!("set bridge br1 protocols=OpenFlow{version}"));
    let controller = lab.spawn(
        "os-ken",
        &format!(
            "env PYTHONDONTWRITEBYTECODE=1 {} -W ignore -m os_ken.cmd.manager --ofp-tcp-listen-port 6653 {}",
            python().display(),
            client("learning.py").display()
        ),
    );
    learns(&peer, version, &controller, says);
}

pub fn os_ken_1_0(lab: &Lab) {
    os_ken(lab, "10", "connected: version 1, datapath b1");
}

pub fn os_ken_1_3(lab: &Lab) {
    os_ken(lab, "13", "connected: version 4, datapath b1");
}

/// The learning controller that Mininet starts when nobody says which.
pub fn test_controller(lab: &Lab) {
    let peer = Peer::start(lab);
    hosts(&peer, &["10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24"]);
    peer.vsctl("set bridge br1 protocols=OpenFlow10");
    let dir = lab.path("").display().to_string();
    let controller = lab.spawn(
        "controller",
        &format!("env OVS_RUNDIR={dir} ovs-testcontroller ptcp:6653"),
    );
    learns(&peer, "10", &controller, "");
}
