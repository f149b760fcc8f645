//! Tables that fill up: limits of the database, eviction by either side's wish, vacancy events.

use rvs_tests::lab::Background;
use rvs_tests::{eventually, Lab, Peer};

use super::{has, VERSIONS};

/// A full table refuses or evicts, and tells how full it is.
pub fn full_tables(lab: &Lab) {
    let peer = Peer::start(lab);
    peer.wires(2);
    peer.vsctl(
        "-- --id=@t create flow_table name=acl flow_limit=3 -- set bridge br1 flow_tables:0=@t",
    );
    refuses(&peer);
    evicts_the_least_important(&peer);
    evicts_what_expires_soonest(&peer);
    if !peer.is_ovs() {
        // It tells monitors nothing of vacancy.
        tells_of_vacancy(&peer);
    }
    // Without a row the table is as it was.
    peer.vsctl("clear bridge br1 flow_tables");
    fill(&peer, 0..20);
    assert_eq!(flows(&peer).len(), 20);
    let stats = peer.ofctl("10", "dump-tables BR");
    assert!(!stats.contains("acl"), "{stats}");
    has("no limit", &stats, &["max_entries=1000000"]);
}

/// Flows 0.. of priority 9.
fn fill(peer: &Peer<'_>, which: std::ops::Range<u32>) {
    for n in which {
        peer.ofctl(
            "13",
            &format!("add-flow BR priority=9,udp,tp_dst={n},actions=drop"),
        );
    }
}

/// The ports that flows match, in order.
fn flows(peer: &Peer<'_>) -> Vec<u32> {
    let text = peer.ofctl("14", "--no-stats dump-flows BR");
    let port = |line: &str| {
        let (_, rest) = line.split_once("tp_dst=")?;
        rest.split(' ').next()?.parse().ok()
    };
    let mut all: Vec<u32> = text.lines().filter_map(port).collect();
    all.sort_unstable();
    all
}

fn monitor(peer: &Peer<'_>, version: &str, name: &str) -> Background {
    let line = peer.ofctl_line(version, "monitor BR 128");
    let line = line.replace("--timeout=15", "--timeout=100");
    let monitor = peer.lab.spawn(name, &line);
    // What it asks first is answered.
    std::thread::sleep(std::time::Duration::from_millis(300));
    monitor
}

fn refuses(peer: &Peer<'_>) {
    fill(peer, 0..3);
    for v in VERSIONS {
        let text = peer.ofctl_fails(
            v,
            "add-flow BR priority=9,udp,tp_dst=3,actions=drop",
            &["OFPFMFC_TABLE_FULL"],
        );
        assert!(text.contains("OFPT_FLOW_MOD"), "{v}: {text}");
        // What is there may change, other tables have room.
        peer.ofctl(v, "add-flow BR priority=9,udp,tp_dst=2,actions=output:2");
        peer.ofctl(v, "add-flow BR table=1,udp,actions=drop");
    }
    let bundle = peer.lab.path("full.txt");
    std::fs::write(&bundle, "flow add priority=9,arp,actions=drop\n").unwrap();
    peer.ofctl_fails(
        "14",
        &format!("bundle BR {}", bundle.display()),
        &["OFPFMFC_TABLE_FULL"],
    );
    assert_eq!(flows(peer), [0, 1, 2]);
    has(
        "stats",
        &peer.ofctl("10", "dump-tables BR"),
        &["table 0 (\"acl\"):", "max_entries=3", "active=3"],
    );
    has(
        "features",
        &peer.ofctl("13", "dump-table-features BR"),
        &["table 0 (\"acl\"):", "max_entries=3"],
    );
    peer.ofctl("13", "del-flows BR");
}

/// OpenFlow 1.4: importance, then lifetime.
fn evicts_the_least_important(peer: &Peer<'_>) {
    for v in ["14", "15"] {
        let watcher = monitor(peer, v, &format!("evicted{v}"));
        peer.ofctl(v, "mod-table BR 0 evict");
        has(
            v,
            &peer.ofctl(v, "dump-table-desc BR"),
            &["eviction=on", "IMPORTANCE|LIFETIME"],
        );
        for (n, importance) in [(0, 5), (1, 3), (2, 9), (3, 7)] {
            peer.ofctl(v, &format!("add-flow BR send_flow_rem,importance={importance},hard_timeout=600,priority=9,udp,tp_dst={n},actions=drop"));
        }
        assert_eq!(flows(peer), [0, 2, 3], "{v}");
        let dump = peer.ofctl(v, "dump-flows BR");
        has(v, &dump, &["importance=9", "importance=7", "importance=5"]);
        eventually("the eviction is told of", || {
            let text = watcher.err() + &watcher.out();
            text.contains("OFPT_FLOW_REMOVED")
                && text.contains("reason=eviction")
                && text.contains("tp_dst=1")
        });
        // Among equals, what lives shortest.
        peer.ofctl(
            v,
            "add-flow BR importance=9,hard_timeout=100,priority=9,udp,tp_dst=4,actions=drop",
        );
        peer.ofctl(
            v,
            "add-flow BR importance=9,hard_timeout=300,priority=9,udp,tp_dst=5,actions=drop",
        );
        peer.ofctl(
            v,
            "add-flow BR importance=9,hard_timeout=300,priority=9,udp,tp_dst=6,actions=drop",
        );
        assert_eq!(flows(peer), [2, 5, 6], "{v}");
        peer.ofctl(v, "mod-table BR 0 noevict");
        has(
            v,
            &peer.ofctl(v, "dump-table-desc BR"),
            &["table 0:\n   eviction=off"],
        );
        peer.ofctl_fails(
            v,
            "add-flow BR importance=10,priority=9,udp,tp_dst=7,actions=drop",
            &["OFPFMFC_TABLE_FULL"],
        );
        assert_eq!(flows(peer), [2, 5, 6], "{v}");
        peer.ofctl(v, "del-flows BR");
        if peer.is_ovs() {
            continue;
        }
        // The specification lets flows without a timeout make room too; Open vSwitch keeps them.
        fill(peer, 0..3);
        peer.ofctl(v, "mod-table BR all evict");
        peer.ofctl(
            v,
            "add-flow BR importance=1,priority=9,udp,tp_dst=3,actions=drop",
        );
        assert_eq!(flows(peer).len(), 3, "{v}");
        assert!(flows(peer).contains(&3), "{v}");
        peer.ofctl(v, "mod-table BR all noevict");
        peer.ofctl(v, "del-flows BR");
    }
}

/// The database's policy, which holds for every version: flows with a timeout, soonest first.
fn evicts_what_expires_soonest(peer: &Peer<'_>) {
    peer.vsctl("set flow_table acl overflow_policy=evict");
    for v in VERSIONS {
        let add = |n: u32, more: &str| {
            format!("add-flow BR {more}priority=9,udp,tp_dst={n},actions=drop")
        };
        peer.ofctl(v, &add(0, "idle_timeout=300,"));
        peer.ofctl(v, &add(1, "hard_timeout=100,"));
        peer.ofctl(v, &add(2, ""));
        peer.ofctl(v, &add(3, ""));
        assert_eq!(flows(peer), [0, 2, 3], "{v}");
        peer.ofctl(v, &add(4, ""));
        assert_eq!(flows(peer), [2, 3, 4], "{v}");
        peer.ofctl_fails(v, &add(5, ""), &["OFPFMFC_TABLE_FULL"]);
        peer.ofctl(v, "del-flows BR");
    }
    peer.vsctl("set flow_table acl overflow_policy=refuse");
}

/// Room in percent, falling below one mark and rising above the other.
fn tells_of_vacancy(peer: &Peer<'_>) {
    peer.vsctl("set flow_table acl flow_limit=10");
    for v in ["14", "15"] {
        peer.ofctl(v, "mod-table BR 0 vacancy:20,50");
        has(
            v,
            &peer.ofctl(v, "dump-table-desc BR"),
            &["vacancy=on vacancy_down=20% vacancy_up=50% vacancy=100%"],
        );
        let watcher = monitor(peer, v, &format!("vacancy{v}"));
        let told = || {
            let text = watcher.err() + &watcher.out();
            let of = |reason| text.matches(reason).count();
            (of("reason=VACANCY_DOWN"), of("reason=VACANCY_UP"))
        };
        fill(peer, 0..8);
        // Two of ten are 20 %: not below.
        assert_eq!(told(), (0, 0), "{v}: {}", watcher.err());
        fill(peer, 8..10);
        eventually("a full table is told of", || told() == (1, 0));
        for n in 0..5 {
            peer.ofctl(
                "13",
                &format!("--strict del-flows BR priority=9,udp,tp_dst={n}"),
            );
        }
        assert_eq!(told(), (1, 0), "{v}: {}", watcher.err());
        peer.ofctl("13", "--strict del-flows BR priority=9,udp,tp_dst=5");
        eventually("room is told of", || told() == (1, 1));
        let text = watcher.err() + &watcher.out();
        has(v, &text, &["OFPT_TABLE_STATUS", "table 0", "vacancy=60%"]);
        peer.ofctl(v, "mod-table BR 0 novacancy");
        peer.ofctl(v, "del-flows BR");
    }
}
