//! All or nothing.

use rvs_flow::OfPort;
use rvs_openflow::message::PacketOut;
use rvs_openflow::{Action, FlowMatch, GroupId};

use super::*;
use crate::testing::Call;

/// Everything that can be seen of the state: flows with counters and ages, groups, meters, tables, ports, deadlines.
pub(super) fn everything(lab: &mut Lab) -> String {
    let flows = lab.dump_of(FlowSelect::all(), true);
    let groups = lab.state.group_stats(lab.now, GroupId::ALL, &mut lab.plant);
    let desc = lab.state.group_desc(GroupId::ALL, &lab.plant);
    let meters = lab
        .state
        .meter_config(rvs_openflow::MeterId::ALL, &lab.plant);
    let tables = lab.state.table_desc(&lab.plant);
    let stats = lab.state.table_stats(&mut lab.plant);
    let ports: Vec<_> = lab.state.ports().collect();
    let clauses = format!("{:?}", lab.plant.up().tables);
    format!(
        "{flows:#?}{groups:#?}{desc:#?}{meters:#?}{tables:?}{stats:?}{ports:?}{:?}{}{clauses}{:?}",
        lab.state.next_expiry(),
        lab.state.index.flows,
        lab.plant.meters.keys(),
    )
}

/// CVE-2018-17205: a bundle that fails after it has changed flows.
#[test]
fn cve_2018_17205_a_failed_bundle_leaves_not_one_byte_changed() {
    let mut lab = Lab::new(Version::Of14);
    lab.all(&[
        "add cookie=1,send_flow_rem,idle_timeout=60,in_port=1,actions=output:2",
        "add cookie=2,hard_timeout=90,in_port=2,actions=output:1",
    ]);
    lab.hit(0, "in_port=1", 5);
    lab.pass(1234);
    let before = everything(&mut lab);
    lab.plant.take_calls();
    let failed = lab.bundle(&[
        "mod-strict reset_counts,in_port=1,actions=drop",
        "mod-strict in_port=2,actions=group:10",
    ]);
    assert_eq!(failed, Err((1, ErrorCode::BacBadOutGroup)));
    assert_eq!(lab.plant.take_calls(), []);
    assert_eq!(everything(&mut lab), before);
    assert_eq!(lab.state.take_events(), []);
    // The flows work on as they were.
    lab.pass(60_000);
    lab.expire();
    assert_eq!(lab.removed(), [(FlowRemovedReason::IdleTimeout, 5)]);
}

/// One of everything that can be changed, then a failure.
#[test]
fn every_kind_of_change_is_taken_back() {
    let mut lab = Lab::new(Version::Of15);
    lab.state.set_ports(vec![crate::testing::port(1)]);
    lab.all(&[
        "add-group group_id=1,type=all,bucket=bucket_id:1,actions=output:1",
        "add-group group_id=2,type=all,bucket=bucket_id:1,actions=group:1",
        "add-group group_id=3,type=all,bucket=bucket_id:1,actions=output:3",
        "add-meter meter=1,pktps,bands=type=drop,rate=10",
        "add importance=3,send_flow_rem,in_port=1,actions=group:2",
        "add in_port=2,actions=meter:1,output:1",
        "add table=1,ip,actions=learn(table=2,delete_learned,cookie=0x5,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[])",
        "add table=2,cookie=5,arp,actions=output:3",
        "add table=3,ip,actions=conjunction(1,1/2)",
    ]);
    lab.state.take_events();
    lab.plant.take_calls();
    let before = everything(&mut lab);
    let changes = [
        "del-group group_id=2",
        "mod-group group_id=1,type=all,bucket=bucket_id:7,actions=group:3",
        "add-group group_id=9,type=all,bucket=bucket_id:1,actions=group:3",
        "del-meter meter=1",
        "add-meter meter=1,kbps,bands=type=drop,rate=10",
        "add-meter meter=5,kbps,bands=type=drop,rate=10",
        "del table=1",
        "add table=7,hard_timeout=3,ip,actions=conjunction(1,2/2)",
        "add table=3,ip,actions=output:1",
        "mod actions=drop",
        "del ",
        "add in_port=3,actions=meter:5,group:9",
        "del-group group_id=all",
    ];
    for n in 1..=changes.len() {
        let mut lines = changes[..n].to_vec();
        lines.push("add in_port=1,actions=group:77");
        let failed = lab.bundle(&lines);
        assert_eq!(failed, Err((n, ErrorCode::BacBadOutGroup)));
        assert_eq!(everything(&mut lab), before, "{lines:#?}");
        assert_eq!(lab.state.take_events(), []);
        let published = lab
            .plant
            .take_calls()
            .iter()
            .any(|c| matches!(c, Call::Publish(_)));
        assert!(!published);
    }
    // And the same changes succeed.
    lab.bundle(&changes).unwrap();
    let published = lab.plant.take_calls();
    let published = published.iter().filter(|c| matches!(c, Call::Publish(_)));
    assert_eq!(published.count(), 1);
    assert_eq!(lab.dump(), [""; 0]);
}

#[test]
fn a_bundle_sees_its_own_changes() {
    let mut lab = Lab::new(Version::Of14);
    lab.bundle(&[
        "add-group group_id=1,type=all,bucket=actions=output:1",
        "add in_port=1,actions=group:1",
        "mod in_port=1,actions=output:3",
        "add in_port=2,actions=group:1",
        "del-group group_id=1",
        "add-group group_id=1,type=all,bucket=actions=output:2",
        "add in_port=3,actions=group:1",
    ])
    .unwrap();
    assert_eq!(
        lab.dump(),
        ["in_port=1 actions=output:3", "in_port=3 actions=group:1"]
    );
    let stats = lab.state.group_stats(lab.now, GroupId(1), &mut lab.plant);
    assert_eq!(stats[0].ref_count, 1);
}

/// Deleting everything is quick when nobody has to hear of single flows; it can be taken back too.
#[test]
fn all_flows_go_at_once_and_come_back() {
    let mut lab = Lab::new(Version::Of13);
    for n in 0..3000 {
        lab.all(&[&format!("add priority={n},ip,actions=output:1")]);
    }
    lab.all(&["add table=1,ip,actions=conjunction(1,1/2)"]);
    let table = lab
        .plant
        .up()
        .table(rvs_openflow::TableId(0))
        .unwrap()
        .clone();
    table.count(10, 7);
    let before = everything(&mut lab);
    let failed = lab.bundle(&[
        "del ",
        "add in_port=1,actions=output:1",
        "add in_port=1,actions=group:9",
    ]);
    assert_eq!(failed, Err((2, ErrorCode::BacBadOutGroup)));
    assert_eq!(everything(&mut lab), before);
    assert!(lab.state.dying.is_empty());

    // A dump under way goes on with what was there.
    let mut dump = lab.state.dump(&mut lab.plant, FlowSelect::all());
    let mut seen = 0;
    assert!(!lab.state.dump_next(&mut dump, 100, |_| seen += 1));
    lab.bundle(&["del ", "add in_port=1,actions=output:1"])
        .unwrap();
    assert_eq!(lab.state.index.flows, 1);
    while lab.state.tidy(&lab.plant) {}
    while !lab.state.dump_next(&mut dump, 100, |_| seen += 1) {}
    assert_eq!(seen, 3001);
    lab.state.dump_end(dump);
    // Whoever holds the table counts on, and its heir hears of it.
    table.count(5, 5);
    drop(table);
    while lab.state.tidy(&lab.plant) {}
    assert!(lab.state.dying.is_empty());
    assert_eq!(lab.dump(), ["in_port=1 actions=output:1"]);
    let stats = lab.state.table_stats(&mut lab.plant);
    assert_eq!((stats[0].lookups, stats[0].matched), (15, 12));
}

/// Between slices packets go on by the table that is to go.
#[test]
fn a_table_counts_until_it_is_gone() {
    let mut lab = Lab::new(Version::Of13);
    for n in 0..1100 {
        lab.all(&[&format!("add priority={n},ip,actions=output:1")]);
    }
    let table = lab.plant.up().table(rvs_openflow::TableId(0)).unwrap();
    let table = table.clone();
    table.count(10, 7);
    let tasks = vec![lab.parse("del ").unwrap().into()];
    let author = lab.author();
    let tasks = Box::new(tasks.into_iter());
    lab.state.start(lab.now, &author, tasks, &mut lab.plant);
    assert!(lab.state.proceed(1, &mut lab.plant).is_none());
    table.count(5, 5);
    assert_eq!(lab.state.proceed(usize::MAX, &mut lab.plant), Some(Ok(())));
    drop(table);
    while lab.state.tidy(&lab.plant) {}
    let stats = lab.state.table_stats(&mut lab.plant);
    let told = stats.first().map(|s| (s.active, s.lookups, s.matched));
    assert_eq!(told, Some((0, 15, 12)));
}

/// Each table for itself: one whose flows nobody asks after, one with a flow that somebody does, one that the bundle has
/// changed before.
#[test]
fn big_tables_are_emptied_each_in_its_way() {
    let mut lab = Lab::new(Version::Of13);
    for table in 0..3 {
        let mods: Vec<_> = (0..1100)
            .map(|n| {
                lab.parse(&format!("add table={table},priority={n},ip,actions=drop"))
                    .unwrap()
            })
            .collect();
        let author = lab.author();
        lab.state
            .apply(lab.now, &author, mods, &mut lab.plant)
            .unwrap();
    }
    lab.all(&[
        "add table=1,send_flow_rem,arp,actions=drop",
        "add table=3,arp,actions=drop",
    ]);
    let before = everything(&mut lab);
    let lines = [
        "del-strict table=2,priority=5,ip",
        "del ",
        "add table=0,arp,actions=drop",
    ];
    let failed = lab.bundle(&[lines[0], lines[1], lines[2], "add arp,actions=group:1"]);
    assert_eq!(failed, Err((3, ErrorCode::BacBadOutGroup)));
    assert_eq!(everything(&mut lab), before);
    lab.bundle(&lines).unwrap();
    assert_eq!(lab.state.dying.len(), 1);
    assert_eq!(lab.removed(), [(FlowRemovedReason::Delete, 0)]);
    assert_eq!(lab.dump(), ["arp actions=drop"]);
    while lab.state.tidy(&lab.plant) {}
    assert_eq!((lab.state.index.flows, lab.state.dying.len()), (1, 0));
    lab.bundle(&["add table=1,arp,actions=drop", "del "])
        .unwrap();
    assert_eq!(lab.state.index.flows, 0);
}

#[test]
fn packet_outs_follow_what_was_before_them() {
    let mut lab = Lab::new(Version::Of14);
    let out = |actions: Vec<Action>| {
        let mut metadata = FlowMatch::any();
        metadata.set_in_port(OfPort::CONTROLLER);
        Mod::PacketOut(Box::new(PacketOut {
            buffer_id: None,
            metadata,
            actions,
            data: vec![1, 2, 3],
        }))
    };
    let author = lab.author();
    let mods = [
        out(vec![Action::output(OfPort::TABLE)]),
        lab.parse("add in_port=1,actions=output:2").unwrap(),
    ];
    lab.state
        .apply(lab.now, &author, mods, &mut lab.plant)
        .unwrap();
    let calls = lab.plant.take_calls();
    assert!(matches!(calls[0], Call::Publish(_)));
    let Call::Execute(start, data) = &calls[1] else {
        panic!("{calls:?}");
    };
    assert_eq!(
        (start.fields.of_port, &data[..]),
        (OfPort::CONTROLLER.0, &[1, 2, 3][..])
    );
    let group = lab.state.apply(
        lab.now,
        &author,
        [out(vec![Action::Group(GroupId(5))])],
        &mut lab.plant,
    );
    assert_eq!(
        group.map_err(|(i, e)| (i, e.code)),
        Err((0, ErrorCode::BacBadOutGroup))
    );
    assert_eq!(lab.plant.take_calls(), []);
}

#[test]
fn nothing_is_published_when_nothing_changes() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&["del ", "mod ip,actions=drop", "del-group group_id=1"]);
    assert_eq!(lab.plant.take_calls(), []);
    lab.plant.bridge = None;
    assert_eq!(lab.run("del "), Err(ErrorCode::BrcEperm));
}
