//! Groups, their buckets, and meters.

use rvs_tests::{Lab, Peer};

use super::{has, WITH_GROUPS, WITH_METERS};

/// Groups and meters.
pub fn groups_and_meters(lab: &Lab) {
    let peer = Peer::start(lab);
    peer.wires(2);
    groups(&peer);
    buckets(&peer);
    meters(&peer);
}

fn groups(peer: &Peer<'_>) {
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
}

/// 1.5 changes single buckets.
fn buckets(peer: &Peer<'_>) {
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
}

fn meters(peer: &Peer<'_>) {
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
