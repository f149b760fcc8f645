//! Flow-mods: commands, strictness, filters, versions, counters, timeouts.

use super::*;

#[test]
fn flows_are_added_changed_and_deleted() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&[
        "add table=0,priority=5,ip,nw_dst=10.0.0.0/8,actions=output:1",
        "add table=0,priority=6,ip,nw_dst=10.1.0.0/16,actions=output:2",
        "add table=3,arp,actions=goto_table:4",
        "mod ip,actions=output:3",
    ]);
    assert_eq!(
        lab.dump(),
        [
            "priority=5,ip,nw_dst=10.0.0.0/8 actions=output:3",
            "priority=6,ip,nw_dst=10.1.0.0/16 actions=output:3",
            "table=3, arp actions=goto_table:4",
        ]
    );
    lab.all(&["del ip,nw_dst=10.1.0.0/16", "del-strict table=3,arp"]);
    assert_eq!(
        lab.dump(),
        ["priority=5,ip,nw_dst=10.0.0.0/8 actions=output:3"]
    );
}

/// What a modify does when nothing matches: 1.0 adds, 1.1 unless it filters by cookie, 1.2 and later never.
#[test]
fn modify_adds_in_old_versions_alone() {
    for version in Version::ALL {
        for verb in ["mod", "mod-strict"] {
            let mut lab = Lab::new(version);
            lab.all(&[&format!("{verb} cookie=3,in_port=1,actions=output:2")]);
            let added = lab.dump().len();
            assert_eq!(
                added,
                usize::from(version <= Version::Of11),
                "{version:?} {verb}"
            );
            lab.all(&[
                "del table=0",
                &format!("{verb} cookie=3/-1,in_port=1,actions=output:2"),
            ]);
            assert_eq!(lab.dump().len(), 0, "{version:?} {verb} with a mask");
        }
    }
}

/// 1.0 leaves the table to the switch.
#[test]
fn flow_mods_of_1_0_find_their_table() {
    let mut lab = Lab::new(Version::Of10);
    lab.all(&[
        "add table=255,in_port=1,actions=output:2",
        "add table=4,in_port=1,actions=output:2",
        "mod table=255,actions=output:3",
    ]);
    assert_eq!(
        lab.dump(),
        [
            "reset_counts in_port=1 actions=output:3",
            "table=4, reset_counts in_port=1 actions=output:3",
        ]
    );
    lab.all(&["del table=255"]);
    assert_eq!(lab.dump(), [""; 0]);
}

#[test]
fn cookies_filter_and_are_modified_in_1_0_alone() {
    let flows = [
        "add cookie=0x10,in_port=1,actions=output:1",
        "add cookie=0x11,in_port=2,actions=output:1",
        "add cookie=0x20,in_port=3,actions=output:1",
    ];
    let mut lab = Lab::new(Version::Of13);
    lab.all(&flows);
    lab.all(&["mod cookie=0x10/0xf0,actions=output:2", "del cookie=1/1"]);
    assert_eq!(
        lab.dump(),
        [
            "cookie=0x10, in_port=1 actions=output:2",
            "cookie=0x20, in_port=3 actions=output:1",
        ]
    );
    let mut lab = Lab::new(Version::Of10);
    lab.all(&flows);
    lab.all(&["mod cookie=0x77,in_port=1,actions=output:2"]);
    lab.all(&["mod cookie=0xffffffffffffffff,in_port=2,actions=output:2"]);
    let cookies: Vec<_> = lab.dump().iter().map(|f| f[..11].to_owned()).collect();
    assert_eq!(cookies, ["cookie=0x11", "cookie=0x20", "cookie=0x77"]);
}

#[test]
fn outputs_filter_deletions() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&[
        "add-group group_id=1,type=all,bucket=actions=output:9",
        "add in_port=1,actions=output:2",
        "add in_port=2,actions=write_actions(output:2)",
        "add in_port=3,actions=clone(output:2),output:3",
        "add in_port=4,actions=group:1",
        "add in_port=5,actions=CONTROLLER:100",
        "add in_port=6,actions=output:3",
        // Filters of a modify are ignored.
        "mod out_port=77,in_port=6,actions=output:4",
        "del out_port=9",
    ]);
    assert_eq!(lab.dump().len(), 6);
    lab.all(&[
        "del out_port=2",
        "del out_group=1",
        "del out_port=CONTROLLER",
    ]);
    assert_eq!(lab.dump(), ["in_port=6 actions=output:4"]);
    lab.all(&["del-strict out_port=3,in_port=6"]);
    assert_eq!(lab.dump().len(), 1);
    lab.all(&["del-strict out_port=4,in_port=6"]);
    assert_eq!(lab.dump().len(), 0);
}

#[test]
fn overlaps_are_refused_when_asked() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&["add priority=5,ip,nw_dst=10.0.0.0/8,actions=drop"]);
    let cases = [
        ("priority=5,ip,nw_src=1.0.0.0/8", false),
        ("priority=5,ip,nw_dst=10.0.0.0/8", false),
        ("priority=6,ip,nw_dst=10.0.0.0/8", true),
        ("priority=5,arp", true),
        ("table=1,priority=5,ip,nw_src=1.0.0.0/8", true),
    ];
    for (flow, ok) in cases {
        let got = lab.run(&format!("add check_overlap,{flow},actions=drop"));
        let want = if ok {
            Ok(())
        } else {
            Err(ErrorCode::FmfcOverlap)
        };
        assert_eq!(got, want, "{flow}");
    }
    lab.all(&["add priority=5,ip,nw_src=1.0.0.0/8,actions=drop"]);
}

#[test]
fn replaced_flows_keep_counters_unless_reset() {
    let mut lab = Lab::new(Version::Of13);
    let packets = |lab: &mut Lab| {
        let line = lab.dump_of(FlowSelect::all(), true).remove(0);
        let at = line.find("n_packets").unwrap();
        line[at..].split(',').next().unwrap().to_owned()
    };
    lab.all(&["add send_flow_rem,in_port=1,actions=output:2"]);
    lab.hit(0, "in_port=1", 5);
    lab.pass(3000);
    lab.all(&["add send_flow_rem,in_port=1,actions=output:3"]);
    let line = lab.dump_of(FlowSelect::all(), true).remove(0);
    assert!(
        line.contains("duration=0s") && line.contains("n_packets=5"),
        "{line}"
    );
    lab.all(&["mod in_port=1,actions=output:2"]);
    assert_eq!(packets(&mut lab), "n_packets=5");
    lab.all(&["mod reset_counts,in_port=1,actions=output:2"]);
    assert_eq!(packets(&mut lab), "n_packets=0");
    lab.hit(0, "in_port=1", 2);
    lab.all(&["add reset_counts,in_port=1,actions=output:2"]);
    assert_eq!(packets(&mut lab), "n_packets=0");
    // A replaced flow was not removed.
    assert_eq!(lab.removed(), []);
}

#[test]
fn bad_flow_mods_are_refused() {
    let mut lab = Lab::new(Version::Of13);
    let cases = [
        ("add in_port=1,actions=group:1", ErrorCode::BacBadOutGroup),
        (
            "add in_port=1,actions=clone(group:1)",
            ErrorCode::BacBadOutGroup,
        ),
        (
            "add in_port=1,actions=write_actions(group:1)",
            ErrorCode::BacBadOutGroup,
        ),
        (
            "add in_port=1,actions=meter:1,output:1",
            ErrorCode::MmfcInvalidMeter,
        ),
        (
            "add table=254,in_port=1,actions=output:1",
            ErrorCode::FmfcBadTableId,
        ),
        ("del table=254", ErrorCode::FmfcBadTableId),
    ];
    for (line, error) in cases {
        assert_eq!(lab.run(line), Err(error), "{line}");
    }
    lab.version = Version::Of15;
    assert_eq!(
        lab.run("add in_port=1,actions=output:1,meter:1"),
        Err(ErrorCode::BacBadMeter)
    );
    let Ok(Mod::Flow(mut m)) = lab.parse("add in_port=1,actions=output:1") else {
        panic!("a flow");
    };
    m.buffer_id = Some(5);
    let author = lab.author();
    let got = lab
        .state
        .apply(lab.now, &author, [Mod::Flow(m)], &mut lab.plant);
    assert_eq!(
        got.map_err(|(i, e)| (i, e.code)),
        Err((0, ErrorCode::BrcBufferUnknown))
    );
    assert_eq!(lab.plant.take_calls(), []);
}

/// Monitors hear of every change, with who made it; nobody pays when nobody listens.
#[test]
fn changes_are_told_of_when_watched() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&["add in_port=1,actions=output:2"]);
    assert_eq!(lab.state.take_events(), []);
    lab.state.set_watched(true);
    lab.all(&[
        "add in_port=2,actions=output:1",
        "mod in_port=2,actions=output:3",
        "add hard_timeout=1,in_port=2,actions=output:1",
        "del in_port=1",
    ]);
    lab.pass(1000);
    lab.expire();
    let events = lab.state.take_events();
    let told: Vec<_> = events
        .iter()
        .map(|e| match e {
            Event::FlowChanged(f) => (f.kind, f.matching.value().of_port, f.by.conn.is_some()),
            other => panic!("{other:?}"),
        })
        .collect();
    use super::super::FlowChangeKind::{Added, Modified, Removed};
    assert_eq!(
        told,
        [
            (Added, 2, true),
            (Modified, 2, true),
            (Added, 2, true),
            (Removed(FlowRemovedReason::Delete), 1, true),
            (Removed(FlowRemovedReason::HardTimeout), 2, false),
        ]
    );
}

/// What caches are told: the flows by name while they are few, everything when they are many.
#[test]
fn changes_are_named_while_they_are_few() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&["add priority=7,in_port=1,actions=output:2"]);
    let calls = lab.plant.take_calls();
    let crate::testing::Call::Publish(c) = &calls[0] else {
        panic!("{calls:?}");
    };
    let rule = &c.rules[0];
    assert_eq!((rule.table.0, rule.priority, c.all), (0, 7, false));
    assert_eq!(rule.matching, crate::testing::matching("in_port=1"));
    for (flows, all) in [(1024, false), (1025, true)] {
        let mods: Vec<_> = (0..flows)
            .map(|n| {
                lab.parse(&format!("add table=3,priority={n},ip,actions=drop"))
                    .unwrap()
            })
            .collect();
        let author = lab.author();
        lab.state
            .apply(lab.now, &author, mods, &mut lab.plant)
            .unwrap();
        let calls = lab.plant.take_calls();
        let crate::testing::Call::Publish(c) = &calls[0] else {
            panic!("{calls:?}");
        };
        assert_eq!((c.all, c.rules.len()), (all, if all { 0 } else { flows }));
        lab.all(&["del table=3"]);
        lab.plant.take_calls();
    }
}

/// A dump shows the version at which it began, whatever happens while it is read in slices.
#[test]
fn a_dump_is_one_snapshot() {
    let mut lab = Lab::new(Version::Of13);
    for n in 0..100 {
        lab.all(&[&format!("add priority={n},in_port=1,actions=output:2")]);
    }
    let before = lab.dump();
    let mut dump = lab.state.dump(&mut lab.plant, FlowSelect::all());
    let mut lines = Vec::new();
    let mut n = 0;
    loop {
        let done = lab.state.dump_next(&mut dump, 7, |f| {
            let f = flow_stats(&f, Now::ZERO);
            lines.push(Words::new(Version::Of13).flow(&f, false).to_string());
        });
        if done {
            break;
        }
        lab.all(&[
            &format!("del-strict priority={},in_port=1", 99 - n),
            &format!("mod-strict priority={n},in_port=1,actions=drop"),
            &format!("add priority={},arp,actions=drop", 1000 + n),
        ]);
        while lab.state.tidy(&lab.plant) {}
        n += 1;
    }
    assert!(n > 10);
    lab.state.dump_end(dump);
    lines.sort();
    assert_eq!(lines, before);
    // Then what was kept for it is forgotten.
    lab.state.tidy(&lab.plant);
    assert_eq!(
        lab.plant
            .up()
            .table(rvs_openflow::TableId(0))
            .unwrap()
            .read()
            .garbage(),
        0
    );
}

#[test]
fn clauses_are_counted_while_they_are_there() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&[
        "add ip,actions=conjunction(1,1/2)",
        "add ip,actions=conjunction(1,2/2)",
        "add ip,actions=output:1",
        "add arp,actions=conjunction(1,2/2)",
        "del arp",
    ]);
    let failed = lab.bundle(&[
        "add udp,actions=conjunction(1,1/2)",
        "add udp,actions=group:9",
    ]);
    assert_eq!(failed, Err((1, ErrorCode::BacBadOutGroup)));
    while lab.state.tidy(&lab.plant) {}
    let table = lab
        .plant
        .up()
        .table(rvs_openflow::TableId(0))
        .unwrap()
        .clone();
    assert!(!table.has_clauses());
}
