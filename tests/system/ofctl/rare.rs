//! The commands of `ovs-ofctl` that few use, in every version that has them, and what it prints when the switch refuses.

use rvs_tests::{Lab, Peer};

use super::has;

const VERSIONS: [&str; 4] = ["10", "13", "14", "15"];

pub fn rare_commands(lab: &Lab) {
    let peer = Peer::start(lab);
    peer.wires(2);
    let file = lab.path("nothing");
    std::fs::write(&file, "").unwrap();
    for v in VERSIONS {
        // Tunnel options, flow exports and connections there are none: said, not silently swallowed.
        has(
            v,
            &peer.ofctl(v, "dump-tlv-map BR"),
            &["max option space=0 max fields=0"],
        );
        peer.ofctl(v, "del-tlv-map BR");
        for (words, says) in [
            (
                "add-tlv-map BR '{class=0xffff,type=0,len=4}->tun_metadata0'",
                "NXTTMFC_TABLE_FULL",
            ),
            ("dump-ipfix-bridge BR", "NXST_NOT_CONFIGURED"),
            ("dump-ipfix-flow BR", "NXST_NOT_CONFIGURED"),
            ("ct-flush-zone BR 5", "OFPBRC_BAD_SUBTYPE"),
            ("ct-flush BR zone=5", "OFPBRC_BAD_SUBTYPE"),
            ("queue-stats BR 1 5", "OFPQOFC_BAD_QUEUE"),
            ("queue-stats BR 99", "OFPQOFC_BAD_PORT"),
            ("dump-ports BR 99", "OFPBRC_BAD_PORT"),
            (
                "add-flow BR 'actions=sample(probability=1,collector_set_id=1)'",
                "OFPBAC_BAD_VENDOR_TYPE",
            ),
            (
                "add-flow BR actions=group:4294967040",
                "OFPBAC_BAD_OUT_GROUP",
            ),
            (
                "add-flow BR tun_src=1.1.1.1,actions=drop",
                "OFPBMC_BAD_FIELD",
            ),
        ] {
            if peer.is_ovs() {
                continue;
            }
            let ran = peer.try_ofctl(v, words);
            has(&format!("{v} {words}"), &(ran.out + &ran.err), &[says]);
        }
        for config in ["no-receive", "no-packet-in", "no-stp", "no-receive-stp"] {
            peer.ofctl(v, &format!("mod-port BR p1 {config}"));
            let off = config.replacen("no-", "", 1);
            peer.ofctl(v, &format!("mod-port BR p1 {off}"));
        }
        peer.ofctl(v, "queue-get-config BR");
        peer.ofctl(v, &format!("bundle BR {}", file.display()));
        has(
            v,
            &peer.ofctl(v, "benchmark BR 100 50"),
            &["Sending 50 packets"],
        );
        // Flows of tables with names, sorted, without numbers.
        peer.ofctl(v, "del-flows BR");
        let table = match v {
            "10" => "1",
            _ => {
                peer.ofctl(v, "mod-table BR 1 name:access");
                "access"
            }
        };
        for (priority, actions) in [(5, "output:p2"), (7, "drop"), (6, "output:p1")] {
            peer.ofctl(
                v,
                &format!("add-flow BR table={table},priority={priority},ip,actions={actions}"),
            );
        }
        let text = peer.ofctl(v, "--names --no-stats --rsort=priority dump-flows BR");
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                format!("table={table}, priority=7,ip actions=drop"),
                format!("table={table}, priority=6,ip actions=output:p1"),
                format!("table={table}, priority=5,ip actions=output:p2"),
            ],
            "{v}"
        );
    }
    for v in ["13", "14", "15"] {
        peer.ofctl(
            v,
            "add-meter BR meter=controller,kbps,band=type=drop,rate=5",
        );
        peer.ofctl(
            v,
            "mod-meter BR meter=controller,kbps,stats,band=type=drop,rate=6",
        );
        has(
            v,
            &peer.ofctl(v, "dump-meters BR"),
            &["meter=controller kbps stats", "rate=6"],
        );
        has(
            v,
            &peer.ofctl(v, "meter-stats BR"),
            &["meter:controller flow_count:0"],
        );
        peer.ofctl(v, "del-meter BR meter=controller");
        for words in ["meter-stats BR meter=9", "dump-meter BR meter=9"] {
            has(v, &peer.try_ofctl(v, words).out, &["OFPMMFC_UNKNOWN_METER"]);
        }
    }
    let ran = peer.try_ofctl("14", "set-frags BR reassemble");
    has("reassemble", &(ran.out + &ran.err), &["OFPSCFC_BAD_FLAGS"]);
    peer.ofctl_fails("", "show nosuch", &["nosuch is not a bridge or a socket"]);
}
