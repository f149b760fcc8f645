//! Controllers of the field drive the switch: OS-Ken, Faucet, Open vSwitch's test controller.

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

const FAUCET: &str = "\
vlans:
  office: {vid: 100, faucet_vips: ['10.1.0.254/24'], faucet_mac: '0e:00:00:00:10:01'}
  guest: {vid: 200, faucet_vips: ['10.2.0.254/24'], faucet_mac: '0e:00:00:00:20:01'}
routers:
  between: {vlans: [office, guest]}
acls:
  no-telnet:
    - rule: {dl_type: 0x800, nw_proto: 6, tcp_dst: 23, actions: {allow: 0}}
    - rule: {actions: {allow: 1}}
dps:
  sw1:
    dp_id: 0xb1
    hardware: 'Open vSwitch'
    interfaces:
      1: {native_vlan: office, acl_in: no-telnet}
      2: {native_vlan: office}
      3: {native_vlan: guest}
";

/// Faucet: two VLANs, routing between them, an access list. Gauge reads the ports' statistics.
pub fn faucet(lab: &Lab) {
    let peer = Peer::start(lab);
    hosts(&peer, &["10.1.0.1/24", "10.1.0.2/24", "10.2.0.3/24"]);
    for (ns, gateway) in [
        ("n1", "10.1.0.254"),
        ("n2", "10.1.0.254"),
        ("n3", "10.2.0.254"),
    ] {
        lab.sh_in(ns, &format!("ip route add default via {gateway}"));
    }
    let dir = lab.path("").display().to_string();
    let write = |name: &str, text: &str| std::fs::write(lab.path(name), text).unwrap();
    write("faucet.yaml", FAUCET);
    write(
        "gauge.yaml",
        &format!(
            "faucet_configs: ['{dir}/faucet.yaml']\nwatchers:\n  ports: {{dps: [sw1], type: port_stats, interval: 1, db: file}}\n\
             dbs:\n  file: {{type: text, file: '{dir}/gauge.txt'}}\n"
        ),
    );
    let programs = python().parent().unwrap().display().to_string();
    let settings = format!(
        "env PATH={programs}:$PATH PYTHONWARNINGS=ignore FAUCET_CONFIG={dir}/faucet.yaml GAUGE_CONFIG={dir}/gauge.yaml FAUCET_LOG={dir}/faucet.log GAUGE_LOG={dir}/gauge.log \
         FAUCET_EXCEPTION_LOG={dir}/faucet.exc GAUGE_EXCEPTION_LOG={dir}/gauge.exc"
    );
    let faucet = lab.spawn(
        "faucet",
        &format!("{settings} {programs}/faucet --ryu-ofp-tcp-listen-port 6653"),
    );
    let gauging = lab.spawn(
        "gauge",
        &format!("{settings} {programs}/gauge --ryu-ofp-tcp-listen-port 6654"),
    );
    peer.vsctl("set-controller br1 tcp:127.0.0.1:6653 tcp:127.0.0.1:6654 -- set bridge br1 protocols=OpenFlow13");
    let log = || std::fs::read_to_string(lab.path("faucet.log")).unwrap_or_default();
    let started = std::time::Instant::now();
    while !log().contains("Cold start configuring DP") {
        let told = || format!("{}{}{}{}", log(), faucet.out(), faucet.err(), peer.log());
        assert!(
            started.elapsed().as_secs() < 30,
            "Faucet has not configured the switch:\n{}",
            told()
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    lab.ping("n1", "10.1.0.2");
    lab.ping("n1", "10.1.0.254");
    lab.ping("n3", "10.2.0.254");
    lab.ping("n1", "10.2.0.3");
    lab.ping("n3", "10.1.0.2");
    // Telnet from port 1 is what the list forbids, another port is not; from port 2 both pass.
    let _servers = [23, 24].map(|port| {
        lab.spawn(
            &format!("server{port}"),
            &format!("ip netns exec n3 /usr/bin/python3 -m http.server {port}"),
        )
    });
    let reaches = |ns: &str, port: u32| {
        lab.try_sh_in(
            ns,
            &format!("timeout 2 bash -c 'echo > /dev/tcp/10.2.0.3/{port}'"),
        )
        .code
            == 0
    };
    eventually("the server is reached", || reaches("n1", 24));
    assert!(reaches("n2", 23), "the list of port 1 holds for port 2");
    assert!(!reaches("n1", 23), "the access list lets telnet pass");
    // VLANs are apart for what is not routed.
    lab.sh_in("n3", "ip addr add 10.1.0.77/24 dev eth0");
    let ran = lab.try_sh_in("n1", "ping -q -n -c 2 -i 0.2 -W 1 10.1.0.77");
    assert!(ran.out.contains(" 0 received"), "{}", ran.out);
    let gauge = || std::fs::read_to_string(lab.path("gauge.txt")).unwrap_or_default();
    let started = std::time::Instant::now();
    while !gauge()
        .lines()
        .any(|l| l.contains("sw1") && l.contains("packets-in"))
    {
        let logged = std::fs::read_to_string(lab.path("gauge.log")).unwrap_or_default();
        let told = format!("{}{logged}{}{}", gauge(), gauging.out(), gauging.err());
        assert!(
            started.elapsed().as_secs() < 20,
            "Gauge has read nothing:\n{told}"
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    // (It logs an error of its own, of messages before it has a datapath.)
    assert!(
        !log().contains("OFPErrorMsg") && !log().contains("OFError"),
        "{}",
        log()
    );
}
