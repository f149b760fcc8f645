//! Ingress policing and queues, by what hosts send and tools say.

use std::time::Duration;

use rvs_tests::lab::within;
use rvs_tests::{eventually, Daemon, Lab};
use serde_json::Value;

use crate::hosts::red_and_green;
use crate::tier0::{in_the_kernel, ping, waits_for_reason};

/// Ports policed, each with its server's port, and what they may bring in: kbit/s or frames a second.
const POLICED: [(u32, &str, Rate); 4] = [
    (1, "ingress_policing_rate=20000", Rate::Kbps(20_000.0)),
    (
        2,
        "ingress_policing_rate=100000 ingress_policing_burst=10000",
        Rate::Kbps(100_000.0),
    ),
    (
        3,
        "ingress_policing_rate=50000 ingress_policing_burst=1000",
        Rate::Kbps(50_000.0),
    ),
    (4, "ingress_policing_kpkts_rate=4", Rate::Frames(4000.0)),
];

#[derive(Clone, Copy)]
enum Rate {
    Kbps(f64),
    Frames(f64),
}

impl Rate {
    /// What UDP has to send to exceed it by half.
    fn exceeded(self) -> String {
        match self {
            Self::Kbps(kbps) => format!("-u -l 1400 -b {}K", kbps * 1.5),
            Self::Frames(pps) => format!("-u -l 1400 -b {}K", pps * 1.5 * 1.4 * 8.0),
        }
    }

    fn share(self, (packets, bytes): (f64, f64), seconds: f64) -> f64 {
        match self {
            Self::Kbps(kbps) => bytes * 8.0 / 1000.0 / seconds / kbps,
            Self::Frames(pps) => packets / seconds / pps,
        }
    }
}

/// Frames and octets that the switch has taken from a port: what policing refused is not among them.
fn taken(switch: &Daemon<'_>, port: &str) -> (f64, f64) {
    let text = switch.ctl(&format!("dump-flows br1 in_port={port}"));
    let after = |word: &str| -> f64 {
        let rest = text.split(word).nth(1).unwrap_or_default();
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        number.parse().unwrap()
    };
    (after("n_packets="), after("n_bytes="))
}

/// All ports send for ten seconds; what each brought in, as a share of its rate.
fn shares(lab: &Lab, switch: &Daemon<'_>, how: impl Fn(Rate) -> String) -> Vec<f64> {
    let before = POLICED.map(|(n, ..)| taken(switch, &format!("veth-{n}")));
    let mut clients = POLICED.map(|(n, _, rate)| {
        let name = format!("client{n}-{}", how(rate).len());
        let how = how(rate);
        let command =
            format!("ip netns exec host{n} iperf3 -J -c 10.0.0.100 -p 520{n} -t 10 {how}");
        lab.spawn(&name, &command)
    });
    let each = POLICED.iter().zip(before).zip(&mut clients);
    let share = each.map(|(((n, _, rate), before), client)| {
        within(Duration::from_secs(30), "iperf3 ends", || {
            client.ended().is_some()
        });
        let report: Value = serde_json::from_str(&client.out()).unwrap();
        let end = &report["end"];
        let sum = end.get("sum_sent").unwrap_or(&end["sum"]);
        let after = taken(switch, &format!("veth-{n}"));
        let seconds = sum["seconds"].as_f64().unwrap();
        rate.share((after.0 - before.0, after.1 - before.1), seconds)
    });
    share.collect()
}

/// Default offloads, ten seconds from idle: 2 % is the promise. (TCP is given some more downwards: how long it hesitates is not
/// the switch's to say.)
pub fn policing_holds_for_tcp_and_udp(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    lab.namespaces(&["host1", "host2", "host3", "host4", "server"]);
    lab.host("server", "veth-s", "eth0", "10.0.0.100/24");
    switch.ctl("add-port br1 veth-s");
    let mut servers = Vec::new();
    for (n, policing, _) in POLICED {
        let (host, port) = (format!("host{n}"), format!("veth-{n}"));
        lab.host(&host, &port, "eth0", &format!("10.0.0.{n}/24"));
        switch.ctl(&format!(
            "add-port br1 {port} -- set interface {port} {policing}"
        ));
        switch.ctl(&format!("add-flow br1 in_port={port},actions=NORMAL"));
        lab.ping(&host, "10.0.0.100");
        let server = format!("ip netns exec server iperf3 -s -p 520{n}");
        servers.push(lab.spawn(&format!("server{n}"), &server));
    }
    eventually("four servers listen", || {
        let out = lab.sh_in("server", "ss -H -l -t -n");
        POLICED
            .iter()
            .all(|(n, ..)| out.contains(&format!(":520{n}")))
    });
    let tcp = shares(lab, &switch, |_| String::new());
    std::thread::sleep(Duration::from_secs(2));
    let udp = shares(lab, &switch, Rate::exceeded);
    println!("TCP got {tcp:.3?} of the rate, UDP {udp:.3?}");
    assert!(tcp.iter().all(|s| (0.95..=1.02).contains(s)), "{tcp:.3?}");
    assert!(udp.iter().all(|s| (0.98..=1.02).contains(s)), "{udp:.3?}");
    assert!(switch.counter("drop_policed") > 1000);
}

pub fn policed_ports_leave_the_kernel(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-r");
    switch.ctl("set interface veth-r ingress_policing_rate=1000 ingress_policing_burst=100");
    waits_for_reason(&switch, "veth-r", "policed");
    // 20 frames of 1,042 octets at once: 100 kbit are 12.
    let before = switch.counter("drop_policed");
    lab.sh_in(
        "red",
        "python3 -c 'import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); \
         [s.sendto(bytes(1000), (\"10.0.0.2\", 9)) for i in range(20)]'",
    );
    eventually("what exceeds the burst is dropped", || {
        let dropped = switch.counter("drop_policed") - before;
        (7..=9).contains(&dropped)
    });
    within(Duration::from_secs(15), "the row tells of it", || {
        let column = switch.ctl("get interface veth-r statistics:ovs_rx_qos_drops");
        column.trim().parse::<u64>().is_ok_and(|n| n >= 7)
    });
    // The other direction is as it was, and nothing of the kernel's was put on the port.
    assert!(!lab
        .sh("tc filter show dev veth-r ingress")
        .contains("police"));
    switch.ctl("set interface veth-r ingress_policing_rate=0");
    waits_for_reason(&switch, "veth-r", "");
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-r");
    assert!(lab.tcp("red", "green", "10.0.0.2") > 100.0);
}
