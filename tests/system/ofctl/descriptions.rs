//! What the switch tells of itself, ports, fragments and tables.

use rvs_tests::{eventually, Lab, Peer};

use super::{has, VERSIONS, WITH_METERS};

/// What the switch is and has: show, descriptions, configuration, ports, tables, queues.
pub fn descriptions(lab: &Lab) {
    let peer = Peer::start(lab);
    peer.wires(2);
    who_it_is(&peer);
    ports_change(lab, &peer);
    tables(&peer);
}

fn who_it_is(peer: &Peer<'_>) {
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
}

/// Ports change, and the change is real.
fn ports_change(lab: &Lab, peer: &Peer<'_>) {
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
}

/// Tables and groups in the words of old versions.
fn old_versions(peer: &Peer<'_>) {
    for v in ["11", "12"] {
        let stats = peer.ofctl(v, "dump-tables BR");
        // Nobody has said what a miss does: in these versions it goes to the controller.
        has(v, &stats, &["config=controller", "max_entries=1000000"]);
        let last = stats.split("table 253").nth(1).unwrap_or_default();
        assert!(!last.contains("goto_table"), "{v}: {stats}");
    }
    has(
        "11",
        &peer.ofctl("11", "dump-tables BR"),
        &["exact match or wildcard: metadata in_port eth_{src,dst,type} vlan_{vid,pcp} mpls_{label,tc} ip_{src,dst} nw_{proto,tos} tcp_{src,dst}"],
    );
    for (v, actions) in [
        ("10", "output enqueue set_vlan_vid set_vlan_pcp strip_vlan mod_dl_src mod_dl_dst mod_nw_src mod_nw_dst mod_nw_tos mod_tp_src mod_tp_dst"),
        ("11", "output group set_vlan_vid set_vlan_pcp strip_vlan push_vlan mod_dl_src mod_dl_dst mod_nw_src mod_nw_dst mod_nw_tos mod_nw_ecn"),
        ("12", "output group set_field strip_vlan push_vlan"),
    ] {
        has(
            v,
            &peer.ofctl(v, "dump-group-features BR"),
            &[&format!("actions: {actions}")],
        );
    }
}

fn tables(peer: &Peer<'_>) {
    old_versions(peer);
    let fifteen = peer.ofctl("15", "dump-table-features BR");
    assert!(
        !fifteen.contains("instructions: meter"),
        "in 1.5 a meter is an action: {fifteen}"
    );
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
