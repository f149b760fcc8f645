//! More of a daemon without devices: what its commands tell of flows and ports, and two daemons on one run directory.

use rvs_tests::{eventually, Lab};

use crate::dummy::{Suite, TCP};

/// `dpctl/show -s` counts, and `filter=` chooses among cached flows.
pub fn ports_are_counted_and_flows_chosen(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh("ovs-ofctl add-flow br0 in_port=1,actions=2; ovs-ofctl add-flow br0 in_port=2,actions=LOCAL");
    suite.receive("p1", TCP);
    suite.sh(&format!(
        "ovs-appctl netdev-dummy/receive p1 '{TCP}' --len 1100"
    ));
    suite.receive(
        "p2",
        "eth(src=02:00:00:00:00:03,dst=02:00:00:00:00:04),eth_type(0x0806),arp(sip=10.0.0.3,tip=10.0.0.4,op=1)",
    );
    for (flow, length) in [
        (TCP, "59"),
        (
            "eth(),eth_type(0x86dd),ipv6(proto=6),tcp(src=1,dst=2)",
            "70",
        ),
    ] {
        suite.refuses(
            &format!("ovs-appctl netdev-dummy/receive p1 '{flow}' --len {length}"),
            "too small packet len",
        );
    }
    let shown = suite.sh("ovs-appctl dpctl/show -s");
    for part in [
        "  port 0: ovs-dummy (dummy-internal)\n    RX packets:0 errors:? dropped:? overruns:? frame:?\n",
        "  port 1: p1 (dummy)\n    RX packets:2 errors:? dropped:? overruns:? frame:?\n    TX packets:0 errors:? \
         dropped:? aborted:? carrier:?\n    collisions:?\n    RX bytes:1218 (1.2 KiB)  TX bytes:0\n",
    ] {
        assert!(shown.contains(part), "{part}{shown}");
    }
    assert!(!suite.sh("ovs-appctl dpctl/show").contains("RX"));
    let chosen = |words: &str| {
        let text = suite.sh(&format!("ovs-appctl dpctl/dump-flows {words}"));
        let ports = text.lines().filter_map(|l| l.split_once("in_port("));
        let ports = ports.filter_map(|(_, rest)| Some(rest.split_once(')')?.0.to_owned()));
        ports.collect::<Vec<_>>()
    };
    assert_eq!(chosen(""), ["1", "2"]);
    assert_eq!(chosen("filter=tcp"), ["1"]);
    assert_eq!(chosen("filter=in_port=p2"), ["2"]);
    assert_eq!(chosen("filter=arp,in_port=2,arp_op=1 type=ovs"), ["2"]);
    // What a flow leaves open is open to the filter.
    assert_eq!(chosen("filter=udp,in_port=p1"), ["1"]);
    assert!(chosen("filter=ipv6").is_empty() && chosen("type=tc").is_empty());
    for (words, says) in [
        ("filter=rubbish", "Failed to parse filter (rubbish"),
        ("type=rubbish", "Failed to parse type (rubbish)"),
        ("nosuch", "opening datapath nosuch failed"),
    ] {
        suite.refuses(&format!("ovs-appctl dpctl/dump-flows {words}"), says);
    }
    suite.stop();
}

/// A second daemon that is started beside the first says so, waits, and takes over when the first ends.
pub fn a_second_one_takes_over(lab: &Lab) {
    let suite = Suite::start(lab);
    let start = |name: &str| {
        let line =
            format!("ovs-vswitchd --enable-dummy --log-file=$PWD/{name}.log --unixctl=$PWD/{name}");
        suite.sh(&format!(
            "setsid {line} >/dev/null 2>&1 & echo $! > {name}.pid"
        ));
        eventually("it waits", || {
            suite.sh(&format!("cat {name}.log || true")).contains(
                "|bridge|ERR|another ovs-vswitchd process is running, disabling this process (pid ",
            )
        });
        eventually("it answers", || {
            suite
                .sh(&format!("ovs-appctl -t $PWD/{name} version 2>&1 || true"))
                .contains("rvswitchd")
        });
    };
    start("second");
    suite.refuses(
        "ovs-appctl -t $PWD/second dpif/show",
        "waits for the end of another",
    );
    assert_eq!(
        suite.sh("ovs-appctl -t $PWD/second exit; ls second 2>/dev/null || echo gone"),
        "gone\n"
    );
    let line = "ovs-vswitchd --enable-dummy --log-file=$PWD/fourth.log --unixctl=$PWD/fourth";
    let run = format!("setsid {line} --pidfile=$PWD/fourth.pid >/dev/null 2>&1 &");
    suite.sh(&run);
    eventually("one with a pid file waits, and has it", || {
        suite
            .sh("test -s fourth.pid && ovs-appctl -t $PWD/fourth version 2>&1 || true")
            .contains("rvswitchd")
    });
    let left = "ovs-appctl -t $PWD/fourth exit; ls fourth fourth.pid 2>/dev/null || echo gone";
    assert_eq!(suite.sh(left), "gone\n");
    start("third");
    suite.sh("kill $(cat ovs-vswitchd.pid)");
    eventually("the bridge is made", || {
        let log = suite.sh("cat third.log");
        log.contains("|bridge|INFO|bridge br0: added interface p1 on port 1\n")
            && log.contains("|bridge|INFO|bridge br0: using datapath ID fedcba9876543210\n")
    });
    let log = suite.sh("grep -v 'another ovs-vswitchd' third.log");
    assert!(!log.contains("|WARN|") && !log.contains("|ERR|"), "{log}");
    suite.sh("ovs-vsctl --timeout=10 add-port br0 p9 -- set interface p9 type=dummy; ovs-appctl -t $PWD/third exit");
}

/// What one of two joined ports sends comes in by the other, and frames that nothing decides are in the log.
pub fn ports_are_joined(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh(
        "ovs-vsctl -- add-br br4 -- set bridge br4 datapath-type=dummy fail-mode=secure \
         -- add-port br4 p5 -- set interface p5 type=dummy ofport_request=5 options:stream=unix:$OVS_RUNDIR/joint \
         -- add-port br4 p6 -- set interface p6 type=dummy ofport_request=6 \
         -- set interface p2 options:pstream=punix:$OVS_RUNDIR/joint",
    );
    let states = |words: &str| suite.sh(&format!("ovs-appctl netdev-dummy/conn-state {words}"));
    assert_eq!(states(""), "p5: connected\n");
    assert_eq!(states("p2"), "p2: unknown\n");
    suite.sh(
        "ovs-ofctl add-flow br0 in_port=1,actions=2; ovs-ofctl add-flow br0 in_port=2,actions=1; \
         ovs-ofctl add-flow br4 in_port=5,actions=6; ovs-ofctl add-flow br4 in_port=6,actions=5; \
         ovs-appctl vlog/set dpif_netdev:dbg",
    );
    // An IP header says what the frame is.
    let udp = "eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),ipv4(src=10.1.0.1,dst=10.1.0.2,proto=17,ttl=9),udp(src=1,dst=2)";
    suite.receive("p1", udp);
    suite.receive("p6", udp);
    suite.receive("p6", udp);
    let counted = |bridge: &str, port: &str| {
        let text = suite.sh(&format!("ovs-ofctl dump-ports {bridge} {port}"));
        let of = |way: &str| {
            let (_, rest) = text.split_once(way).unwrap();
            rest.split_once(',').unwrap().0.parse::<u64>().unwrap()
        };
        (of("rx pkts="), of("tx pkts="))
    };
    assert_eq!((counted("br0", "1"), counted("br0", "2")), ((1, 2), (2, 1)));
    assert_eq!((counted("br4", "5"), counted("br4", "6")), ((1, 2), (2, 1)));
    let missed = suite.sh("grep -A1 'dpif_netdev|DBG|ovs-dummy: miss upcall:$' ovs-vswitchd.log");
    let ports: Vec<&str> = missed
        .lines()
        .filter_map(|l| l.split_once("in_port(")?.1.split_once(')'))
        .map(|(port, _)| port)
        .collect();
    assert_eq!(ports, ["1", "5", "6", "2"], "{missed}");
    assert!(
        missed.contains(
            "skb_priority(0),skb_mark(0),ct_state(0),ct_zone(0),ct_mark(0),ct_label(0),recirc_id(0),dp_hash(0),in_port(5),\
             packet_type(ns=0,id=0),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800),\
             ipv4(src=10.1.0.1,dst=10.1.0.2,proto=17,tos=0,ttl=9,frag=no),udp(src=1,dst=2)\n"
        ),
        "{missed}"
    );
    suite.sh("ovs-vsctl set interface p5 options:stream=unix:$OVS_RUNDIR/elsewhere");
    assert_eq!(states(""), "p5: disconnected\n");
    suite.receive("p1", udp);
    assert_eq!(counted("br4", "5"), (1, 2));
    suite.stop();
}

/// Frames that go nowhere are counted under the names that scripts ask for.
pub fn drops_have_the_names_of_the_field(lab: &Lab) {
    let suite = Suite::start(lab);
    let counter = |name: &str| -> u64 {
        let text = suite.sh(&format!("ovs-appctl coverage/read-counter {name}"));
        text.trim().parse().unwrap()
    };
    for name in [
        "drop_action_bridge_not_found",
        "drop_action_congestion",
        "datapath_drop_upcall_error",
        "datapath_drop_tunnel_pop_error",
    ] {
        assert_eq!(counter(name), 0, "{name}");
    }
    suite.sh(
        "ovs-ofctl add-flow br0 dl_type=0x2000,actions=drop; ovs-ofctl add-flow br0 dl_type=0x2001,actions=resubmit:1; \
         ovs-ofctl -OOpenFlow13 add-meter br0 'meter=1 pktps burst bands=type=drop rate=1 burst_size=1'; \
         ovs-ofctl -OOpenFlow13 add-flow br0 dl_type=0x2002,actions=meter:1,output:2; \
         ovs-appctl time/stop",
    );
    for (kind, frames) in [(0x2000, 2), (0x2001, 3), (0x2002, 5), (0x2003, 4)] {
        for _ in 0..frames {
            suite.receive(
                "p1",
                &format!("eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type({kind:#06x})"),
            );
        }
    }
    // What no flow matches is dropped in good order.
    assert_eq!(counter("drop_action_of_pipeline"), 6);
    assert_eq!(counter("drop_action_recursion_too_deep"), 3);
    assert_eq!(counter("datapath_drop_meter"), 4);
    suite.refuses(
        "ovs-appctl coverage/read-counter drop_action_of_nobody",
        "No such counter",
    );
    // One of those translations has its story in the log.
    suite.sh("sed -i '/|ofproto_dpif_upcall|WARN|/d' ovs-vswitchd.log");
    suite.stop();
}

/// Names of devices that Open vSwitch makes for itself are nobody's, and scripts find that in the log.
pub fn names_are_reserved(lab: &Lab) {
    let suite = Suite::start(lab);
    for name in ["ovs-netdev", "gre_sys", "vxlan_sys_4789"] {
        let said = suite.sh(&format!("ovs-vsctl add-port br0 {name} 2>&1"));
        assert!(
            said.starts_with(&format!(
                "ovs-vsctl: Error detected while setting up '{name}'.  See"
            )),
            "{said}"
        );
        let row = suite.sh(&format!("ovs-vsctl get interface {name} ofport error"));
        assert_eq!(row, "-1\n[]\n");
        let log = suite.sh("cat ovs-vswitchd.log; : >ovs-vswitchd.log");
        assert_eq!(
            log.matches(&format!(
                "|bridge|WARN|could not create interface {name}, name is reserved\n"
            ))
            .count(),
            1,
            "{log}"
        );
        suite.sh(&format!("ovs-vsctl del-port {name}"));
    }
    suite.stop();
}

/// A queue may write the DSCP of what it sends, at its port and of IP alone; the frame leaves elsewhere as it was.
pub fn queues_write_the_dscp(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh(
        "ovs-ofctl add-flow br0 \
         actions=output:LOCAL,enqueue:2:1,enqueue:2:2,enqueue:2:2,enqueue:2:1,output:2,mod_nw_tos:0,output:2,output:LOCAL; \
         ovs-vsctl set port p2 qos=@q -- --id=@q create qos type=linux-htb queues=1=@a,2=@b \
         -- --id=@a create queue dscp=1 -- --id=@b create queue dscp=2",
    );
    let trace = |flow: &str| suite.sh(&format!("ovs-appctl ofproto/trace br0 {flow} | tail -1"));
    assert_eq!(
        trace("in_port=1,icmp,nw_tos=252,nw_ecn=3,nw_ttl=64"),
        "Datapath actions: 100,set(ipv4(tos=0x4/0xfc)),set(skb_priority(0x1)),2,set(ipv4(tos=0x8/0xfc)),\
         set(skb_priority(0x2)),2,2,set(ipv4(tos=0x4/0xfc)),set(skb_priority(0x1)),2,set(ipv4(tos=0xfc/0xfc)),\
         set(skb_priority(0)),2,set(ipv4(tos=0/0xfc)),2,100\n"
    );
    assert_eq!(
        trace("in_port=1,arp"),
        "Datapath actions: 100,set(skb_priority(0x1)),2,set(skb_priority(0x2)),2,2,set(skb_priority(0x1)),2,\
         set(skb_priority(0)),2,2,100\n"
    );
    suite.sh("ovs-vsctl clear queue $(ovs-vsctl --bare --columns=_uuid find queue dscp=1) dscp");
    assert!(trace("in_port=1,icmp,nw_tos=252,nw_ttl=64")
        .starts_with("Datapath actions: 100,set(skb_priority(0x1)),2,set(ipv4(tos=0x8"));
    suite.stop();
}

/// A dummy has a queue 0, of which nothing is known.
pub fn dummies_have_a_queue(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh("ovs-vsctl del-port p1 -- del-port p2");
    let queue = "1 queues\n  port LOCAL queue 0: bytes=?, pkts=?, errors=?, duration=?\n";
    for ask in ["br0", "br0 ALL 0", "-OOpenFlow13 br0 LOCAL 0"] {
        let told = suite.sh(&format!("ovs-ofctl queue-stats {ask}"));
        assert!(told.ends_with(queue), "{ask}: {told}");
    }
    suite.refuses(
        "ovs-ofctl queue-stats br0 LOCAL 5 >&2; false",
        "OFPQOFC_BAD_QUEUE",
    );
    let config = suite.sh("ovs-ofctl -OOpenFlow14 queue-get-config br0");
    assert!(config.ends_with(": port=LOCAL\nqueue 0:\n"), "{config}");
    suite.stop();
}
