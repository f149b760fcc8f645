//! Faucet drives one switch, and two of a stack.

use std::time::Duration;

use rvs_tests::lab::{within, Background};
use rvs_tests::wire::python;
use rvs_tests::{eventually, Lab, Peer};

use crate::controllers::hosts;

/// Faucet and Gauge, both running.
struct Faucet<'a> {
    lab: &'a Lab,
    faucet: Background,
    gauge: Background,
}

impl<'a> Faucet<'a> {
    /// Starts both with this configuration, Faucet on port 6653 and Gauge, which watches the ports of `sw1`, on 6654.
    fn start(lab: &'a Lab, configuration: &str) -> Self {
        let dir = lab.path("").display().to_string();
        let write = |name: &str, text: &str| std::fs::write(lab.path(name), text).unwrap();
        write("faucet.yaml", configuration);
        write(
            "gauge.yaml",
            &format!(
                "faucet_configs: ['{dir}/faucet.yaml']\nwatchers:\n  ports: {{dps: [sw1], type: port_stats, interval: 1, db: file}}\n\
                 dbs:\n  file: {{type: text, file: '{dir}/gauge.txt'}}\n"
            ),
        );
        let programs = python().parent().unwrap().display().to_string();
        let settings = format!(
            "env PATH={programs}:$PATH PYTHONWARNINGS=ignore FAUCET_CONFIG={dir}/faucet.yaml GAUGE_CONFIG={dir}/gauge.yaml \
             FAUCET_LOG={dir}/faucet.log GAUGE_LOG={dir}/gauge.log FAUCET_EXCEPTION_LOG={dir}/faucet.exc GAUGE_EXCEPTION_LOG={dir}/gauge.exc"
        );
        let run = |name: &str, port: u32| {
            lab.spawn(
                name,
                &format!("{settings} {programs}/{name} --ryu-ofp-tcp-listen-port {port}"),
            )
        };
        Self {
            lab,
            faucet: run("faucet", 6653),
            gauge: run("gauge", 6654),
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.lab.path("faucet.log")).unwrap_or_default()
    }

    /// Waits until this many switches have been configured.
    fn configured(&self, peer: &Peer<'_>, switches: usize) {
        let started = std::time::Instant::now();
        while self.log().matches("Cold start configuring DP").count() < switches {
            let told = || {
                let (out, err) = (self.faucet.out(), self.faucet.err());
                format!("{}{out}{err}{}", self.log(), peer.log())
            };
            assert!(
                started.elapsed().as_secs() < 30,
                "Faucet has not configured the switch:\n{}",
                told()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// (It logs an error of its own, of messages before it has a datapath.)
    fn complains_of_nothing(&self) {
        let log = self.log();
        assert!(
            !log.contains("OFPErrorMsg") && !log.contains("OFError"),
            "{log}"
        );
    }
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
pub fn routes_and_access_lists(lab: &Lab) {
    let peer = Peer::start(lab);
    hosts(&peer, &["10.1.0.1/24", "10.1.0.2/24", "10.2.0.3/24"]);
    lab.gateways(&[
        ("n1", "10.1.0.254"),
        ("n2", "10.1.0.254"),
        ("n3", "10.2.0.254"),
    ]);
    let faucet = Faucet::start(lab, FAUCET);
    peer.vsctl("set-controller br1 tcp:127.0.0.1:6653 tcp:127.0.0.1:6654 -- set bridge br1 protocols=OpenFlow13");
    faucet.configured(&peer, 1);
    lab.ping("n1", "10.1.0.2");
    lab.ping("n1", "10.1.0.254");
    lab.ping("n3", "10.2.0.254");
    // (The router learns each host's way when it first speaks: seconds, now and then.)
    lab.ping("n1", "10.2.0.3");
    lab.ping("n2", "10.2.0.3");
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
    eventually("the list of port 1 does not hold for port 2", || {
        reaches("n2", 23)
    });
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
        let told = format!(
            "{}{logged}{}{}",
            gauge(),
            faucet.gauge.out(),
            faucet.gauge.err()
        );
        assert!(
            started.elapsed().as_secs() < 20,
            "Gauge has read nothing:\n{told}"
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    faucet.complains_of_nothing();
}

/// Two switches, two links between them, two VLANs on both.
const STACK: &str = "\
vlans:
  office: {vid: 100}
  guest: {vid: 200}
dps:
  sw1:
    dp_id: 0xb1
    hardware: 'Open vSwitch'
    stack: {priority: 1}
    lldp_beacon: {send_interval: 1, max_per_interval: 10}
    interfaces:
      1: {native_vlan: office}
      2: {native_vlan: guest}
      3: {stack: {dp: sw2, port: 3}}
      4: {stack: {dp: sw2, port: 4}}
  sw2:
    dp_id: 0xb2
    hardware: 'Open vSwitch'
    lldp_beacon: {send_interval: 1, max_per_interval: 10}
    interfaces:
      1: {native_vlan: office}
      2: {native_vlan: guest}
      3: {stack: {dp: sw1, port: 3}}
      4: {stack: {dp: sw1, port: 4}}
";

/// A stack of two: hosts reach those of their VLAN on both switches, nobody else, and go on when a link between the switches
/// fails, whichever it is, with loss of carrier and without.
pub fn stack_of_two(lab: &Lab) {
    let peer = Peer::start(lab);
    peer.vsctl(
        "add-br br2 -- set bridge br2 datapath_type=netdev fail_mode=secure other_config:datapath-id=00000000000000b2 \
         other_config:disable-in-band=true",
    );
    let add = |bridge: u32, port: &str, number: u32| {
        peer.vsctl(&format!(
            "add-port br{bridge} {port} -- set interface {port} ofport_request={number}"
        ));
    };
    for (n, ns) in [(1, "o1"), (2, "g1"), (3, "o2"), (4, "g2")] {
        lab.namespaces(&[ns]);
        lab.host(ns, &format!("p{n}"), "eth0", &format!("10.1.0.{n}/24"));
        add(1 + (n - 1) / 2, &format!("p{n}"), 1 + (n - 1) % 2);
    }
    // What joins the two ends may be taken away unseen, or seen. It remembers no address: a ring floods what it does not know
    // to where it came from.
    lab.namespaces(&["between"]);
    for (link, number) in [("x", 3), ("y", 4)] {
        lab.sh(&format!(
            "ip -n between link add name {link} type bridge ageing_time 0 mcast_snooping 0 group_fwd_mask 0x4000; ip -n between link set dev {link} up"
        ));
        for bridge in [1, 2] {
            lab.sh(&format!(
                "ip link add s{bridge}{link} type veth peer name {link}{bridge} netns between; ip link set s{bridge}{link} up; \
                 ip -n between link set {link}{bridge} master {link} up"
            ));
            add(bridge, &format!("s{bridge}{link}"), number);
        }
    }
    let faucet = Faucet::start(lab, STACK);
    for bridge in ["br1", "br2"] {
        peer.vsctl(&format!(
            "set bridge {bridge} protocols=OpenFlow13 -- set-controller {bridge} tcp:127.0.0.1:6653"
        ));
    }
    faucet.configured(&peer, 2);
    let up = |port: u32, times: usize| {
        let line = format!("Stack Port {port} state UP (");
        within(Duration::from_secs(25), &line, || {
            faucet.log().matches(&line).count() >= times
        });
    };
    let reaches = || {
        for (from, to) in [("o1", "10.1.0.3"), ("g2", "10.1.0.2")] {
            let ping = format!("ping -q -n -c 1 -W 1 {to}");
            let started = std::time::Instant::now();
            while lab.try_sh_in(from, &ping).code != 0 {
                assert!(
                    started.elapsed().as_secs() < 25,
                    "{to} doesn't answer {from}\n{}",
                    faucet.log()
                );
            }
        }
    };
    reaches();
    for to in ["10.1.0.2", "10.1.0.4"] {
        lab.no_ping("o1", to);
    }
    let sent = |port: u32| -> u64 {
        let text = peer.ofctl("13", &format!("dump-ports BR {port}"));
        let (_, count) = text.split_once("tx pkts=").unwrap();
        count.split_once(',').unwrap().0.parse().unwrap()
    };
    // Ten frames take this link, once Faucet has made up its mind.
    let by = |port: u32| {
        let started = std::time::Instant::now();
        loop {
            reaches();
            let before = sent(port);
            let ran = lab.try_sh_in("o1", "ping -q -n -c 10 -i 0.05 -W 1 10.1.0.3");
            let more = sent(port) - before;
            if ran.code == 0 && more >= 10 {
                return;
            }
            assert!(
                started.elapsed().as_secs() < 25,
                "{more} frames by port {port}: {}\n{}",
                ran.out,
                faucet.log()
            );
        }
    };
    up(3, 2);
    up(4, 2);
    by(3);
    // Neither end loses its carrier: only Faucet's own frames tell that the link is cut.
    lab.sh("ip -n between link set x1 nomaster");
    by(4);
    lab.sh("ip -n between link set x1 master x");
    up(3, 4);
    by(3);
    // One end of the other sees that, and of this one.
    lab.sh("ip -n between link set y1 down");
    by(3);
    lab.sh("ip -n between link set y1 up; ip -n between link set x1 down");
    by(4);
    for to in ["10.1.0.2", "10.1.0.4"] {
        lab.no_ping("o1", to);
    }
    faucet.complains_of_nothing();
}
