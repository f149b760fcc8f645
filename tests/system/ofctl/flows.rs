//! Flows one by one, from files and in bundles.

use std::path::Path;

use rvs_tests::{eventually, Lab, Peer};

use super::{has, VERSIONS};

/// Flows: add, modify, delete, strict and not, by cookie, out_port and out_group; replace, diff, bundles.
pub fn flows(lab: &Lab) {
    let peer = Peer::start(lab);
    peer.wires(2);
    let file = lab.path("flows.txt");
    for v in VERSIONS {
        one_by_one(&peer, v);
        of_files(&peer, v, &file);
    }
    bundles(&peer);
}

/// How many flows the filter takes.
fn count(peer: &Peer<'_>, v: &str, filter: &str) -> u32 {
    let text = peer.ofctl(v, &format!("dump-aggregate BR {filter}"));
    let (_, number) = text.split_once("flow_count=").unwrap();
    number.split_whitespace().next().unwrap().parse().unwrap()
}

fn one_by_one(peer: &Peer<'_>, v: &str) {
    let count = |v: &str, filter: &str| count(peer, v, filter);
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
}

/// From a file; replace and compare.
fn of_files(peer: &Peer<'_>, v: &str, file: &Path) {
    let lines: String = (0..50)
        .map(|n| format!("priority={n},udp,tp_dst={n},actions=output:{}\n", 1 + n % 2))
        .collect();
    std::fs::write(file, &lines).unwrap();
    let path = file.display();
    peer.ofctl(v, &format!("add-flows BR {path}"));
    assert_eq!(count(peer, v, ""), 50, "{v}");
    let same = peer.ofctl(v, &format!("diff-flows BR {path}"));
    assert!(same.is_empty(), "{v}: {same}");
    std::fs::write(file, lines.replace("priority=49", "priority=490")).unwrap();
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
