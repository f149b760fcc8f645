//! Debian's `ovs-ofctl` against the management socket: every command, every version, the text that programs parse, and the errors
//! that it prints for wrong input.

use rvs_tests::{eventually, Lab, Peer};

const VERSIONS: [&str; 7] = ["", "10", "11", "12", "13", "14", "15"];
/// Those with groups in the protocol itself.
const WITH_GROUPS: [&str; 5] = ["11", "12", "13", "14", "15"];
const WITH_METERS: [&str; 3] = ["13", "14", "15"];

fn has(what: &str, text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{what}: no \"{word}\" in\n{text}");
    }
}

/// What the switch is and has: show, descriptions, configuration, ports, tables, queues.
pub fn descriptions(lab: &Lab) {
    let peer = Peer::start(lab);
    peer.wires(2);
    for v in VERSIONS {
        let show = peer.ofctl(v, "show BR");
        has(
            v,
            &show,
            &[
                "dpid:00000000000000b1",
                "n_tables:254, n_buffers:0",
                " 1(p1): addr:",
                " 2(p2): addr:",
                " LOCAL(br1): addr:",
                "capabilities:",
                "OFPT_GET_CONFIG_REPLY",
                "frags=normal miss_send_len=",
            ],
        );
        let desc = peer.ofctl(v, "dump-desc BR");
        has(
            v,
            &desc,
            &[
                "Manufacturer: ",
                "Hardware: ",
                "Software: ",
                "Serial Num: ",
                "DP Description: ",
            ],
        );
        has(v, &peer.ofctl(v, "dump-tables BR"), &["table 0"]);
        has(
            v,
            &peer.ofctl(v, "dump-ports BR"),
            &[
                "port LOCAL: rx pkts=",
                "port  1: rx pkts=",
                "tx pkts=",
                "drop=",
                "errs=",
                "coll=",
            ],
        );
        has(
            v,
            &peer.ofctl(v, "dump-ports BR p1"),
            &["1 ports", "port  1: rx"],
        );
        has(
            v,
            &peer.ofctl(v, "dump-ports-desc BR"),
            &[" 1(p1): addr:", " LOCAL(br1): addr:"],
        );
        has(v, &peer.ofctl(v, "get-frags BR"), &["normal"]);
        has(v, &peer.ofctl(v, "queue-stats BR"), &["0 queues"]);
        assert!(!peer.ofctl(v, "dump-flows BR").contains("actions="), "{v}");
        has(
            v,
            &peer.ofctl(v, "dump-aggregate BR"),
            &["packet_count=0 byte_count=0 flow_count=0"],
        );
        peer.ofctl(v, "probe BR");
        has(v, &peer.ofctl(v, "ping BR 64"), &["64 bytes from", "xid="]);
    }
    let config = peer.try_ofctl("", "queue-get-config BR 1");
    assert!(
        config.out.contains("QUEUE_GET_CONFIG_REPLY") || config.out.contains("QUEUE"),
        "{config:?}"
    );
    // Fragments.
    for mode in ["drop", "nx-match", "normal"] {
        peer.ofctl("", &format!("set-frags BR {mode}"));
        has(mode, &peer.ofctl("", "get-frags BR"), &[mode]);
    }
    // Ports change, and the change is real.
    // (NO_FLOOD is of 1.0 alone.)
    for v in ["", "10"] {
        peer.ofctl(v, "mod-port BR p1 no-flood");
        has(v, &peer.ofctl(v, "show BR"), &["config:     NO_FLOOD"]);
        peer.ofctl(v, "mod-port BR 1 flood");
    }
    for v in VERSIONS {
        peer.ofctl(v, "mod-port BR p1 no-forward");
        has(v, &peer.ofctl(v, "show BR"), &["config:     NO_FWD"]);
        peer.ofctl(v, "mod-port BR p1 forward");
    }
    peer.ofctl("", "mod-port BR p2 down");
    eventually("the device is down", || {
        !lab.sh("ip -br link show dev p2").contains("UP,")
    });
    peer.ofctl("13", "mod-port BR p2 up");
    eventually("the device is up", || {
        lab.sh("ip -br link show dev p2").contains("UP,")
    });
    // Tables.
    for v in WITH_METERS {
        has(
            v,
            &peer.ofctl(v, "dump-table-features BR"),
            &[
                "table 0",
                "max_entries=1000000",
                "instructions",
                "goto_table",
            ],
        );
    }
    has(
        "14",
        &peer.ofctl("14", "dump-table-desc BR"),
        &["table 0", "eviction=off", "vacancy=off"],
    );
    peer.ofctl("14", "mod-table BR 1 evict");
    has(
        "14",
        &peer.ofctl("14", "dump-table-desc BR"),
        &["table 1", "eviction=on"],
    );
    peer.ofctl("14", "mod-table BR 1 noevict");
    peer.ofctl("14", "mod-table BR 2 vacancy:20,80");
    has(
        "14",
        &peer.ofctl("14", "dump-table-desc BR"),
        &["vacancy=on"],
    );
    peer.ofctl("11", "mod-table BR 3 controller");
    peer.ofctl("11", "mod-table BR 3 drop");
    // Not there: refused, not silence.
    has(
        "ipfix",
        &{
            let ran = peer.try_ofctl("14", "dump-ipfix-bridge BR");
            ran.out + &ran.err
        },
        &["OFPT_ERROR"],
    );
}

/// Flows: add, modify, delete, strict and not, by cookie, out_port and out_group; replace, diff, bundles.
pub fn flows(lab: &Lab) {
    let peer = Peer::start(lab);
    peer.wires(2);
    let count = |v: &str, filter: &str| {
        let text = peer.ofctl(v, &format!("dump-aggregate BR {filter}"));
        let at = text.find("flow_count=").unwrap() + "flow_count=".len();
        text[at..]
            .split_whitespace()
            .next()
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    let file = lab.path("flows.txt");
    for v in VERSIONS {
        peer.ofctl(v, "del-flows BR");
        peer.ofctl(
            v,
            "add-flow BR cookie=0xa1,priority=10,tcp,tp_dst=80,actions=output:2",
        );
        peer.ofctl(
            v,
            "add-flow BR cookie=0xa2,priority=20,tcp,nw_src=10.0.0.0/8,actions=output:1,output:2",
        );
        peer.ofctl(v, "add-flow BR cookie=0xb1,table=3,priority=30,idle_timeout=60,hard_timeout=600,arp,actions=drop");
        let dump = peer.ofctl(v, "dump-flows BR");
        has(
            v,
            &dump,
            &[
                " cookie=0xa1, duration=",
                ", table=0, n_packets=0, n_bytes=0, ",
                "priority=10,tcp,tp_dst=80 actions=output:2",
                "priority=20,tcp,nw_src=10.0.0.0/8 actions=output:1,output:2",
                "table=3, n_packets=0, n_bytes=0, idle_timeout=60, hard_timeout=600,",
                "priority=30,arp actions=drop",
            ],
        );
        assert_eq!(count(v, "cookie=0xa0/0xf0"), 2, "{v}");
        // Identical match and priority: replaced. Modify, strict and not.
        peer.ofctl(
            v,
            "add-flow BR cookie=0xa1,priority=10,tcp,tp_dst=80,actions=output:1",
        );
        assert_eq!(count(v, ""), 3, "{v}");
        peer.ofctl(v, "mod-flows BR tcp,actions=drop");
        assert_eq!(
            peer.ofctl(v, "dump-flows BR tcp")
                .matches("actions=drop")
                .count(),
            2,
            "{v}"
        );
        peer.ofctl(
            v,
            "--strict mod-flows BR priority=10,tcp,tp_dst=80,actions=output:2",
        );
        assert_eq!(
            peer.ofctl(v, "dump-flows BR out_port=2")
                .matches("actions=")
                .count(),
            1,
            "{v}"
        );
        peer.ofctl(v, "--strict mod-flows BR priority=11,udp,actions=output:2");
        // 1.0 and 1.1 add what a modify does not find, later versions don't.
        let added = u32::from(["", "10", "11"].contains(&v));
        assert_eq!(count(v, ""), 3 + added, "{v}");
        // (In 1.1 this ovs-ofctl sends other cookies and tables than it was given.)
        let which = if v == "11" {
            "table=3"
        } else {
            "cookie=0xb1/-1"
        };
        peer.ofctl(v, &format!("del-flows BR {which}"));
        assert_eq!(count(v, ""), 2 + added, "{v}");
        peer.ofctl(v, "del-flows BR out_port=2");
        assert_eq!(count(v, ""), 1, "{v}");
        peer.ofctl(v, "--strict del-flows BR priority=19,tcp,nw_src=10.0.0.0/8");
        assert_eq!(count(v, ""), 1, "{v}");
        peer.ofctl(v, "--strict del-flows BR priority=20,tcp,nw_src=10.0.0.0/8");
        assert_eq!(count(v, ""), 0, "{v}");
        // From a file; replace and compare.
        let lines: String = (0..50)
            .map(|n| format!("priority={n},udp,tp_dst={n},actions=output:{}\n", 1 + n % 2))
            .collect();
        std::fs::write(&file, &lines).unwrap();
        let path = file.display();
        peer.ofctl(v, &format!("add-flows BR {path}"));
        assert_eq!(count(v, ""), 50, "{v}");
        let same = peer.ofctl(v, &format!("diff-flows BR {path}"));
        assert!(same.is_empty(), "{v}: {same}");
        std::fs::write(&file, lines.replace("priority=49", "priority=490")).unwrap();
        let ran = peer.try_ofctl(v, &format!("diff-flows BR {path}"));
        assert_eq!(ran.code, 2, "{v}: {ran:?}");
        has(v, &ran.out, &["-priority=49,udp", "+priority=490,udp"]);
        peer.ofctl(v, &format!("replace-flows BR {path}"));
        assert!(
            peer.ofctl(v, &format!("diff-flows BR {path}")).is_empty(),
            "{v}"
        );
        peer.ofctl(v, "del-flows BR");
    }
    bundles(&peer);
}

/// A bundle is done whole or not at all.
fn bundles(peer: &Peer<'_>) {
    let file = peer.lab.path("bundle.txt");
    let path = file.display().to_string();
    for v in ["", "10", "13", "14", "15"] {
        peer.empty();
        std::fs::write(
            &file,
            "priority=1,ip,actions=output:1\npriority=2,arp,actions=output:2\n",
        )
        .unwrap();
        peer.ofctl(v, &format!("--bundle add-flows BR {path}"));
        assert_eq!(
            peer.ofctl(v, "dump-flows BR").matches("actions=").count(),
            2,
            "{v}"
        );
        // The second one is refused: nothing of it happens.
        std::fs::write(
            &file,
            "delete\npriority=3,ip,actions=output:1\npriority=4,ip,actions=group:99\n",
        )
        .unwrap();
        let version = if v.is_empty() || v == "10" { "13" } else { v };
        peer.ofctl_fails(
            version,
            &format!("--bundle add-flows BR {path}"),
            &["OFPBAC_BAD_OUT_GROUP"],
        );
        let dump = peer.ofctl(v, "dump-flows BR");
        assert!(
            dump.matches("actions=").count() == 2 && !dump.contains("priority=3"),
            "{v}: {dump}"
        );
        peer.ofctl(v, "--bundle mod-flows BR ip,actions=drop");
        peer.ofctl(v, "--bundle del-flows BR arp");
        assert_eq!(
            peer.ofctl(v, "dump-flows BR")
                .matches("actions=drop")
                .count(),
            1,
            "{v}"
        );
    }
    // Flows, groups and packets in one.
    std::fs::write(
        &file,
        "flow delete\ngroup delete\ngroup add group_id=7,type=all,bucket=output:1\nflow add ip,actions=group:7\n\
         packet-out in_port=2,packet=020000000002020000000001080045000014000000004000ffff0a0000010a000002,actions=table\n",
    )
    .unwrap();
    for v in ["14", "15"] {
        peer.ofctl(v, &format!("bundle BR {path}"));
        has(v, &peer.ofctl(v, "dump-flows BR"), &["actions=group:7"]);
        eventually("the packet was counted", || {
            peer.ofctl(v, "dump-flows BR").contains("n_packets=1,")
        });
    }
}

/// Groups and meters.
pub fn groups_and_meters(lab: &Lab) {
    let peer = Peer::start(lab);
    peer.wires(2);
    for v in WITH_GROUPS {
        peer.ofctl(v, "del-groups BR");
        peer.ofctl(
            v,
            "add-group BR group_id=1,type=all,bucket=output:1,bucket=output:2",
        );
        peer.ofctl(v, "add-group BR group_id=2,type=select,bucket=weight:10,output:1,bucket=weight:20,output:2");
        peer.ofctl(
            v,
            "add-group BR group_id=3,type=ff,bucket=watch_port:1,output:1",
        );
        let dump = peer.ofctl(v, "dump-groups BR");
        has(
            v,
            &dump,
            &[
                "group_id=1,type=all,bucket=",
                "group_id=2,type=select,bucket=",
                "weight:10",
                "weight:20",
                "group_id=3,type=ff,bucket=",
                "watch_port:",
            ],
        );
        peer.ofctl(v, "mod-group BR group_id=1,type=indirect,bucket=output:2");
        has(
            v,
            &peer.ofctl(v, "dump-groups BR"),
            &["group_id=1,type=indirect"],
        );
        has(
            v,
            &peer.ofctl(v, "dump-group-stats BR"),
            &[
                "group_id=1,",
                "ref_count=0,packet_count=0,byte_count=0,bucket0:packet_count=0,byte_count=0",
            ],
        );
        peer.ofctl_fails(
            v,
            "add-group BR group_id=1,type=all",
            &["OFPGMFC_GROUP_EXISTS"],
        );
        peer.ofctl_fails(
            v,
            "mod-group BR group_id=99,type=all",
            &["OFPGMFC_UNKNOWN_GROUP"],
        );
        peer.ofctl(
            v,
            "--may-create mod-group BR group_id=4,type=all,bucket=output:1",
        );
        peer.ofctl(v, "add-flow BR ip,actions=group:4");
        peer.ofctl(v, "del-groups BR group_id=4");
        has(v, &peer.ofctl(v, "dump-aggregate BR"), &["flow_count=0"]);
        peer.ofctl(v, "del-groups BR group_id=99");
    }
    for v in ["12", "13", "14", "15"] {
        has(
            v,
            &peer.ofctl(v, "dump-group-features BR"),
            &[
                "Group table:",
                "Types:  0xf",
                "all group:",
                "max_groups=",
                "fast failover group:",
            ],
        );
    }
    // 1.5 changes single buckets.
    peer.ofctl("15", "del-groups BR");
    peer.ofctl(
        "15",
        "add-group BR group_id=1,type=all,bucket=bucket_id:1,actions=output:1",
    );
    peer.ofctl(
        "15",
        "insert-buckets BR group_id=1,command_bucket_id=last,bucket=bucket_id:2,actions=output:2",
    );
    has(
        "15",
        &peer.ofctl("15", "dump-groups BR"),
        &[
            "bucket=bucket_id:1,actions=output:",
            "bucket=bucket_id:2,actions=output:",
        ],
    );
    peer.ofctl("15", "remove-buckets BR group_id=1,command_bucket_id=1");
    let dump = peer.ofctl("15", "dump-groups BR");
    assert!(!dump.contains("bucket_id:1,"), "{dump}");
    peer.ofctl_fails(
        "15",
        "insert-buckets BR group_id=1,command_bucket_id=last,bucket=bucket_id:2,actions=output:2",
        &["OFPGMFC_BUCKET_EXISTS"],
    );
    peer.ofctl_fails(
        "15",
        "remove-buckets BR group_id=1,command_bucket_id=77",
        &["OFPGMFC_UNKNOWN_BUCKET"],
    );
    peer.ofctl("15", "del-groups BR");
    for v in WITH_METERS {
        peer.ofctl(
            v,
            "add-meter BR meter=1,kbps,burst,stats,bands=type=drop,rate=1000,burst_size=100",
        );
        peer.ofctl(v, "add-meter BR meter=2,pktps,bands=type=drop,rate=500");
        has(
            v,
            &peer.ofctl(v, "dump-meters BR"),
            &[
                "meter=1 kbps burst stats bands=",
                "type=drop rate=1000 burst_size=100",
                "meter=2 pktps bands=",
            ],
        );
        peer.ofctl(v, "mod-meter BR meter=2,pktps,bands=type=drop,rate=700");
        has(v, &peer.ofctl(v, "dump-meter BR meter=2"), &["rate=700"]);
        has(
            v,
            &peer.ofctl(v, "meter-stats BR"),
            &[
                "meter:1 flow_count:0 packet_in_count:0 byte_in_count:0 duration:",
                "bands:",
                "0: packet_count:0 byte_count:0",
            ],
        );
        has(
            v,
            &peer.ofctl(v, "meter-features BR"),
            &[
                "max_meter:",
                "max_bands:",
                "max_color:",
                "band_types: drop",
                "capabilities: ",
                "kbps",
                "pktps",
                "burst",
                "stats",
            ],
        );
        peer.ofctl_fails(
            v,
            "add-meter BR meter=1,kbps,bands=type=drop,rate=1",
            &["OFPMMFC_METER_EXISTS"],
        );
        peer.ofctl_fails(
            v,
            "mod-meter BR meter=9,kbps,bands=type=drop,rate=1",
            &["OFPMMFC_UNKNOWN_METER"],
        );
        peer.ofctl(v, "add-flow BR priority=5,ip,actions=meter:1,output:1");
        has(
            v,
            &peer.ofctl(v, "dump-flows BR"),
            &["actions=meter:1,output:1"],
        );
        peer.ofctl(v, "del-meter BR meter=1");
        has(v, &peer.ofctl(v, "dump-aggregate BR"), &["flow_count=0"]);
        peer.ofctl(v, "del-meters BR");
        assert!(!peer.ofctl(v, "dump-meters BR").contains("meter="), "{v}");
    }
}

/// What is wrong gets the error that the specification names, and changes nothing.
pub fn refusals(lab: &Lab) {
    let peer = Peer::start(lab);
    peer.wires(2);
    let refused: &[(&str, &str, &str)] = &[
        (
            "13",
            "add-flow BR ip,actions=group:99",
            "OFPBAC_BAD_OUT_GROUP",
        ),
        (
            "13",
            "add-flow BR ip,actions=meter:99,output:1",
            "OFPMMFC_INVALID_METER",
        ),
        (
            "10",
            "add-flow BR check_overlap,priority=5,ip,nw_src=10.0.0.1,actions=drop",
            "OFPFMFC_OVERLAP",
        ),
        (
            "13",
            "add-flow BR check_overlap,priority=5,ip,nw_src=10.0.0.1,actions=drop",
            "OFPFMFC_OVERLAP",
        ),
        (
            "15",
            "add-flow BR check_overlap,priority=5,ip,nw_src=10.0.0.1,actions=drop",
            "OFPFMFC_OVERLAP",
        ),
        ("13", "mod-port BR 77 up", ""),
    ];
    peer.ofctl(
        "13",
        "add-flow BR priority=5,ip,nw_dst=10.0.0.2,actions=output:1",
    );
    let before = peer.ofctl("13", "--no-stats dump-flows BR");
    for (version, words, error) in refused {
        let said = peer.ofctl_fails(version, words, &[error]);
        assert!(
            !said.contains("timed out") && !said.contains("connection"),
            "{words}: {said}"
        );
    }
    // Not a word of which the switch may believe: the messages that ovs-ofctl itself would not send are in `wire` tests.
    assert_eq!(peer.ofctl("13", "--no-stats dump-flows BR"), before);
    has(
        "13",
        &peer.ofctl("13", "dump-groups BR"),
        &["OFPST_GROUP_DESC reply"],
    );
    // Versions that the bridge does not speak are refused with a reason.
    peer.vsctl("set bridge br1 protocols=OpenFlow13,OpenFlow14");
    eventually("1.0 is refused", || {
        peer.try_ofctl("10", "show BR").code != 0
    });
    peer.ofctl_fails("10", "show BR", &["version negotiation failed"]);
    peer.ofctl("13", "show BR");
    peer.ofctl("14", "show BR");
    peer.ofctl_fails("15", "show BR", &["version negotiation failed"]);
    peer.vsctl("clear bridge br1 protocols");
    eventually("1.0 is spoken again", || {
        peer.try_ofctl("10", "show BR").code == 0
    });
}

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
