//! Packets, monitors and the snoop.

use rvs_tests::{eventually, Lab, Peer};

use super::VERSIONS;

/// Packets to and from a controller, the monitor of flows, the snoop.
pub fn monitors(lab: &Lab) {
    let peer = Peer::start(lab);
    peer.wires(2);
    let mut wires = rvs_tests::Wires::open(2);
    let frame = "I4/UDP(sport=7,dport=9)/'data'";
    let long = |line: String| line.replace("--timeout=15", "--timeout=100");
    for v in ["10", "13", "14", "15"] {
        peer.empty();
        let name = format!("monitor{v}");
        let monitor = lab.spawn(&name, &long(peer.ofctl_line(v, "monitor BR 65535 watch:")));
        let says = || monitor.err() + &monitor.out();
        eventually("the monitor of flows is there", || {
            says().contains("FLOW_MONITOR")
        });
        peer.ofctl(
            v,
            "add-flow BR cookie=0x5,priority=3,udp,tp_dst=9,actions=controller:128,output:2",
        );
        eventually("the flow is told of", || {
            says().contains("event=ADDED") && says().contains("cookie=0x5")
        });
        if peer.is_ovs() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        wires.sees(v, &[(1, frame)], &[(2, frame)]);
        eventually("the packet is told of", || {
            let text = says();
            text.contains("PACKET_IN")
                && text.contains("in_port=1")
                && text.contains("(via action)")
                && text.contains("udp,")
                && text.contains("tp_dst=9")
        });
        peer.ofctl(v, "del-flows BR");
        eventually("its end is told of", || {
            says().contains("event=DELETED reason=delete")
        });
    }
    // Out: raw octets by each version; through the tables too.
    let hex =
        "02000000000202000000000108004500001c0000000040110ed50a0000010a000002000700090008deb2";
    for v in VERSIONS {
        let ports = peer.ofctl(v, "dump-ports BR p2");
        peer.ofctl(
            v,
            &format!("packet-out BR in_port=none,packet={hex},actions=output:2"),
        );
        eventually("it went out", || peer.ofctl(v, "dump-ports BR p2") != ports);
    }
    peer.ofctl_fails(
        "13",
        &format!("packet-out BR in_port=none,packet={hex},actions=group:77"),
        &["OFPBAC_BAD_OUT_GROUP"],
    );
}
