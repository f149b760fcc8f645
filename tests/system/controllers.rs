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

/// Flows tell their statistics when they cross a threshold, by packets that the caches count.
pub fn statistics_told_to_os_ken_1_5(lab: &Lab) {
    let peer = Peer::start(lab);
    hosts(&peer, &["10.0.0.1/24", "10.0.0.2/24"]);
    peer.vsctl("set bridge br1 protocols=OpenFlow15");
    let controller = lab.spawn(
        "os-ken",
        &format!(
            "env PYTHONDONTWRITEBYTECODE=1 {} -W ignore -m os_ken.cmd.manager --ofp-tcp-listen-port 6653 {}",
            python().display(),
            client("triggers.py").display()
        ),
    );
    connect(&peer);
    eventually("the controller knows the switch", || {
        controller.out().contains("connected")
    });
    let told = |port: u32| -> Vec<u64> {
        let head = format!("port {port} reason 1 packets ");
        let out = controller.out();
        let told = out.lines().filter_map(|l| l.strip_prefix(&head));
        told.map(|l| l.strip_suffix(" xid 0").unwrap().parse().unwrap())
            .collect()
    };
    let out = lab.sh_in("n1", "ping -q -n -c 15 -i 0.02 -W 1 10.0.0.2");
    assert!(out.contains(" 15 received"), "{out}");
    eventually("ten packets are told of", || !told(1).is_empty());
    let first = told(1)[0];
    assert!((10..=15).contains(&first), "{}", controller.out());
    lab.sh_in("n1", "ping -q -n -c 4 -i 0.02 -W 1 10.0.0.2");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(told(1), [first], "19 are no multiple of ten more");
    lab.sh_in("n1", "ping -q -n -c 1 -W 1 10.0.0.2");
    eventually("twenty packets are told of", || told(1) == [first, 20]);
    // Five packets came before 1,500 octets, and the first threshold is the only one.
    assert!(matches!(told(2)[..], [5..=15]), "{}", controller.out());
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
