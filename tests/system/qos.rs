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
    switch.ctl("set interface veth-r ingress_policing_rate=20 ingress_policing_burst=100");
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
        let column = switch.try_ctl("get interface veth-r statistics:ovs_rx_qos_drops");
        column.out.trim().parse::<u64>().is_ok_and(|n| n >= 7)
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

/// Stock tools with the switch's run directory.
fn stock(lab: &Lab, switch: &Daemon<'_>, tool: &str, words: &str) -> String {
    let rundir = switch.rundir();
    lab.sh(&format!(
        "OVS_RUNDIR={} {tool} --timeout=10 {words}",
        rundir.display()
    ))
}

/// TCP from red to green by a source port, in Mbit/s. Each port once only: the one before may linger in TIME_WAIT.
fn mbits(lab: &Lab, source: u32) -> f64 {
    let report = lab.iperf(
        "red",
        "green",
        "10.0.0.2",
        &format!("-t 4 --cport {source}"),
    );
    let rate = &report["end"]["sum_received"]["bits_per_second"];
    rate.as_f64().unwrap() / 1e6
}

/// Octets that a queue has sent, by the words of `ovs-ofctl queue-stats`.
fn queue_bytes(stats: &str, queue: u32) -> u64 {
    let rest = stats.split(&format!("queue {queue}: bytes=")).nth(1);
    let rest = rest.unwrap_or_else(|| panic!("no queue {queue} in {stats}"));
    rest.split(',').next().unwrap().parse().unwrap()
}

/// The manual's way to queues, rates changed while the port lives, and everything gone at the end.
pub fn queues_shape_and_count(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    let vsctl = |words: &str| stock(lab, &switch, "ovs-vsctl", words);
    let ofctl = |words: &str| stock(lab, &switch, "ovs-ofctl", words);
    vsctl(
        "-- set port veth-g qos=@newqos -- --id=@newqos create qos type=linux-htb other-config:max-rate=20000000 \
         queues:0=@q0 queues:1=@q1 queues:2=@q2 -- --id=@q0 create queue other-config:min-rate=1000000 \
         -- --id=@q1 create queue other-config:max-rate=5000000 \
         -- --id=@q2 create queue other-config:min-rate=8000000 other-config:max-rate=10000000 other-config:priority=2",
    );
    let classes = lab.sh("tc class show dev veth-g");
    for class in [
        "1:fffe root",
        "1:1 parent 1:fffe",
        "rate 8Mbit ceil 10Mbit",
        "ceil 5Mbit",
    ] {
        assert!(classes.contains(class), "no {class} in {classes}");
    }
    ofctl("add-flow br1 priority=9,tcp,tp_src=7001,actions=set_queue:1,NORMAL");
    ofctl("add-flow br1 'priority=9,tcp,tp_src=0x1b60/0xfff0,actions=enqueue(veth-g,2)'");
    ofctl("add-flow br1 priority=9,tcp,tp_src=7003,actions=set_queue:1,pop_queue,NORMAL");
    for (source, low, high) in [(7001, 4.0, 5.1), (7008, 8.5, 10.1), (7003, 17.0, 20.2)] {
        let rate = mbits(lab, source);
        assert!((low..high).contains(&rate), "{rate} Mbit/s from {source}");
    }
    for version in ["OpenFlow10", "OpenFlow13", "OpenFlow15"] {
        let stats = ofctl(&format!("-O {version} queue-stats br1"));
        assert!(queue_bytes(&stats, 1) > 1_900_000, "{stats}");
        assert!(queue_bytes(&stats, 2) > 4_000_000, "{stats}");
        assert!(queue_bytes(&stats, 0) > 8_000_000, "{stats}");
        let config = ofctl(&format!("-O {version} queue-get-config br1 2"));
        assert!(
            config.contains("queue 0:") && config.contains("queue 2:"),
            "{config}"
        );
        assert!(config.contains("min_rate:40.0%"), "{config}");
    }
    let ran = lab.try_sh(&format!(
        "ovs-ofctl queue-stats unix:{}/br1.mgmt 2 7",
        switch.rundir().display()
    ));
    assert!(ran.err.contains("OFPQOFC_BAD_QUEUE") || ran.out.contains("OFPQOFC_BAD_QUEUE"));
    let show = stock(lab, &switch, "ovs-appctl", "qos/show veth-g");
    for line in [
        "QoS: veth-g linux-htb",
        "max-rate: 20000000",
        "Default:",
        "Queue 2:",
        "  priority: 2",
        "  min-rate: 8000000",
    ] {
        assert!(show.contains(line), "no {line} in {show}");
    }
    let none = stock(lab, &switch, "ovs-appctl", "qos/show veth-r");
    assert_eq!(none, "QoS not configured on veth-r\n");

    // Other rates, while the port lives: counters go on.
    let before = queue_bytes(&ofctl("queue-stats br1"), 2);
    let queue = vsctl("--bare --columns=_uuid find queue other_config:priority=2");
    let rates = "other_config:max-rate=4000000 other_config:min-rate=2000000";
    vsctl(&format!("set queue {} {rates}", queue.trim()));
    assert!(lab.sh("tc class show dev veth-g").contains("ceil 4Mbit"));
    let rate = mbits(lab, 7009);
    assert!((3.2..4.1).contains(&rate), "{rate} Mbit/s with 4");
    assert!(queue_bytes(&ofctl("queue-stats br1"), 2) > before);

    vsctl("clear port veth-g qos -- --all destroy qos -- --all destroy queue");
    assert!(!lab.sh("tc qdisc show dev veth-g").contains("htb"));
    assert!(mbits(lab, 7010) > 100.0);
    assert!(!ofctl("queue-stats br1").contains("queue 0"));
}

/// What somebody else put on a device stays there, whatever becomes of the port.
pub fn foreign_disciplines_stay(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    switch.expects(&["on it is somebody else's"]);
    let has = |what: &str| lab.sh("tc qdisc show dev veth-g").contains(what);
    let create = "-- --id=@q create qos type=linux-htb other-config:max-rate=20000000";
    lab.sh("tc qdisc add dev veth-g root handle 5: htb default 1; tc class add dev veth-g parent 5: classid 5:1 htb rate 10mbit");
    stock(
        lab,
        &switch,
        "ovs-vsctl",
        &format!("set port veth-g qos=@q {create}"),
    );
    assert!(has("htb 5:"));
    let note = switch.interface("veth-g", "status");
    assert!(note.contains("somebody else's"), "{note}");
    switch.ctl("clear port veth-g qos");
    switch.ctl("del-port br1 veth-g");
    assert!(has("htb 5:"));
    lab.sh("tc qdisc del dev veth-g root");
    // Ours goes with the port, with the bridge, and with a daemon that cleans up; a killed one leaves it to the next.
    let queued = || {
        let words = format!("add-port br1 veth-g -- set port veth-g qos=@q {create}");
        stock(lab, &switch, "ovs-vsctl", &words);
        assert!(has("htb 1:"));
    };
    queued();
    switch.ctl("del-port br1 veth-g");
    assert!(!has("htb"));
    queued();
    let mut switch = switch;
    switch.kill9();
    assert!(has("htb 1:"));
    switch.again();
    switch.wait_port("veth-g");
    assert!(has("htb 1:"));
    switch.ctl("clear port veth-g qos");
    assert!(!has("htb"), "ours was known again");
    // One without queues bears no sign of ours, and is known again by what is asked for. With linux-noop it goes, too.
    let words = "set port veth-g qos=@q -- --id=@q create qos type=linux-fq_codel";
    let noop = |switch: &Daemon<'_>| {
        let row = switch.ctl("get port veth-g qos");
        switch.ctl(&format!("set qos {} type=linux-noop", row.trim()));
    };
    let tried = lab.try_sh("tc qdisc add dev veth-g root fq_codel && tc qdisc del dev veth-g root");
    if tried.code == 0 {
        stock(lab, &switch, "ovs-vsctl", words);
        assert!(has("fq_codel 1:"));
        switch.kill9();
        switch.again();
        switch.wait_port("veth-g");
        let note = switch.interface("veth-g", "status");
        assert!(!note.contains("somebody else's"), "{note}");
        noop(&switch);
        assert!(!has("fq_codel 1:"));
    } else {
        println!("    this kernel has no fq_codel: only HTB was looked at");
    }
    let words = format!("set port veth-g qos=@q {create}");
    stock(lab, &switch, "ovs-vsctl", &words);
    assert!(has("htb 1:"));
    noop(&switch);
    assert!(
        !has("htb 1:"),
        "what was ours goes when hands are to be off"
    );
    stock(lab, &switch, "ovs-vsctl", &words);
    switch.try_ctl("exit --cleanup");
    switch.wait_end();
    assert!(!has("htb"));
}
