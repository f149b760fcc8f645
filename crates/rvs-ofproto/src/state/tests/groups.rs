//! Group-mods.

use std::sync::Arc;

use rvs_openflow::message::GroupCommand;
use rvs_openflow::{Action, Bucket, Group, GroupId, GroupKind, Selection};
use rvs_pipeline::GroupEntry;

use super::*;

impl Lab {
    fn groups(&self) -> Vec<String> {
        let all = self.state.group_desc(GroupId::ALL, &self.plant);
        all.iter()
            .map(|g| self.words().group(g).to_string())
            .collect()
    }

    fn group(&self, id: u32) -> Arc<GroupEntry> {
        self.plant.up().groups.get(GroupId(id)).unwrap().clone()
    }
}

#[test]
fn groups_are_added_changed_and_deleted() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&["add-group group_id=1,type=all,bucket=actions=output:1,bucket=actions=output:2"]);
    let again = lab.run("add-group group_id=1,type=all");
    assert_eq!(again, Err(ErrorCode::GmfcGroupExists));
    let unknown = lab.run("mod-group group_id=2,type=all");
    assert_eq!(unknown, Err(ErrorCode::GmfcUnknownGroup));
    lab.all(&["mod-group group_id=1,type=select,bucket=weight:5,actions=output:3"]);
    assert_eq!(
        lab.groups(),
        ["group_id=1,type=select,bucket=weight:5,actions=output:3"]
    );
    // Deleting what is not there is no error.
    lab.all(&["del-group group_id=1", "del-group group_id=1"]);
    assert_eq!(lab.groups(), [""; 0]);
}

#[test]
fn a_group_takes_its_flows_with_it() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&[
        "add-group group_id=1,type=indirect,bucket=actions=output:1",
        "add-group group_id=2,type=indirect,bucket=actions=output:2",
        "add send_flow_rem,in_port=1,actions=group:1",
        "add table=4,send_flow_rem,in_port=2,actions=write_actions(group:1)",
        "add in_port=3,actions=group:2",
    ]);
    let stats = lab.state.group_stats(lab.now, GroupId::ALL, &mut lab.plant);
    assert_eq!(
        stats.iter().map(|s| s.ref_count).collect::<Vec<_>>(),
        [2, 1]
    );
    lab.all(&["del-group group_id=1"]);
    assert_eq!(lab.dump(), ["in_port=3 actions=group:2"]);
    let gone = (FlowRemovedReason::GroupDelete, 0);
    assert_eq!(lab.removed(), [gone, gone]);
    let group_id = "all";
    lab.all(&[&format!("del-group group_id={group_id}")]);
    assert_eq!(lab.dump(), [""; 0]);
    assert_eq!(lab.state.index.flows, 0);
}

#[test]
fn chains_have_no_loops_and_an_end() {
    let mut lab = Lab::new(Version::Of13);
    let chained =
        |id, to| format!("may-create group_id={id},type=indirect,bucket=actions=group:{to}");
    assert_eq!(lab.run(&chained(1, 1)), Err(ErrorCode::GmfcLoop));
    lab.all(&["add-group group_id=1,type=indirect,bucket=actions=output:1"]);
    for id in 2..=16 {
        assert_eq!(lab.run(&chained(id, id - 1)), Ok(()), "{id}");
    }
    // Sixteen groups in a row are the most, from whichever end they grow.
    assert_eq!(lab.run(&chained(17, 16)), Err(ErrorCode::GmfcLoop));
    lab.all(&["add-group group_id=30,type=indirect,bucket=actions=output:1"]);
    assert_eq!(lab.run(&chained(1, 30)), Err(ErrorCode::GmfcLoop));
    assert_eq!(lab.run(&chained(2, 30)), Ok(()));
    assert_eq!(lab.run(&chained(2, 1)), Ok(()));
    // A -> B -> A, and the long way round.
    assert_eq!(lab.run(&chained(1, 2)), Err(ErrorCode::GmfcLoop));
    assert_eq!(lab.run(&chained(1, 16)), Err(ErrorCode::GmfcLoop));
    lab.all(&["del-group group_id=all"]);
    assert_eq!(lab.groups(), [""; 0]);
    assert!(lab.state.groups.is_empty() && lab.state.parents.is_empty());
}

/// A group may forward to one that is not there, yet or any more; loops and too long chains are found whatever comes last.
#[test]
fn groups_of_a_chain_come_and_go_in_any_order() {
    let mut lab = Lab::new(Version::Of13);
    let chained =
        |id, to| format!("add-group group_id={id},type=indirect,bucket=actions=group:{to}");
    lab.all(&[&chained(1, 2), &chained(2, 3), &chained(4, 3)]);
    assert_eq!(lab.run(&chained(3, 1)), Err(ErrorCode::GmfcLoop));
    lab.all(&["add-group group_id=3,type=indirect,bucket=actions=output:1"]);
    lab.all(&[
        "add in_port=1,actions=group:1",
        "add in_port=2,actions=group:3",
    ]);
    let references = |lab: &mut Lab, id| {
        let stats = lab.state.group_stats(lab.now, GroupId(id), &mut lab.plant);
        stats[0].ref_count
    };
    assert_eq!(references(&mut lab, 3), 3);
    // The flows of the group go with it, not those of a group that forwards to it.
    lab.all(&["del-group group_id=3"]);
    assert_eq!(lab.dump(), ["in_port=1 actions=group:1"]);
    assert_eq!(lab.run(&chained(3, 1)), Err(ErrorCode::GmfcLoop));
    // What a failed bundle did is not remembered of missing groups either.
    let wrong = lab.bundle(&["del-group group_id=all", &chained(3, 1), &chained(3, 1)]);
    assert_eq!(wrong, Err((2, ErrorCode::GmfcGroupExists)));
    assert_eq!(lab.run(&chained(3, 1)), Err(ErrorCode::GmfcLoop));
    lab.all(&["del-group group_id=2", &chained(3, 1)]);
    assert_eq!(lab.run(&chained(2, 3)), Err(ErrorCode::GmfcLoop));
    lab.all(&["del-group group_id=all"]);
    assert!(lab.state.groups.is_empty() && lab.state.parents.is_empty());
    // Two halves of a chain that are together too long are not joined.
    for id in (1..=8).chain(10..=17) {
        lab.all(&[&chained(id, id + 1)]);
    }
    assert_eq!(lab.run(&chained(9, 10)), Err(ErrorCode::GmfcLoop));
    lab.all(&["add-group group_id=9,type=indirect,bucket=actions=output:1"]);
    // Meters have to be there.
    let mut lab = Lab::new(Version::Of15);
    let metered =
        lab.run("add-group group_id=1,type=all,bucket=bucket_id:1,actions=group:9,meter:3");
    assert_eq!(metered, Err(ErrorCode::BacBadMeter));
}

/// Many ways through the chain are walked as few times as there are groups.
#[test]
fn a_lattice_of_groups_is_checked_quickly() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&["add-group group_id=1000,type=all,bucket=actions=output:1"]);
    for level in 1..15 {
        for n in 0..8 {
            let below: String = match level {
                1 => "bucket=actions=group:1000".into(),
                _ => (0..8)
                    .map(|m| format!("bucket=actions=group:{},", (level - 1) * 10 + m))
                    .collect(),
            };
            let id = level * 10 + n;
            lab.all(&[format!("add-group group_id={id},type=all,{below}").trim_end_matches(',')]);
        }
    }
    let parents = lab.state.parents[&GroupId(10)].len();
    assert_eq!(parents, 8);
}

/// Groups that forward to one and the same cost each the same, however many there are already. Taken back, nothing is left of them.
#[test]
fn many_groups_forward_to_one() {
    const MANY: u32 = 30_000;
    let mut lab = Lab::new(Version::Of13);
    let Ok(Mod::Group(one)) = lab.parse("add-group group_id=0,type=indirect,bucket=group:1") else {
        panic!("a group");
    };
    let numbered = |id| {
        let mut m = one.clone();
        m.group.id = GroupId(id);
        Mod::Group(m)
    };
    let ids = 2..2 + MANY;
    let author = lab.author();
    for taken_back in [true, false] {
        let last = taken_back.then(|| numbered(2));
        let all = ids.clone().map(numbered).chain(last);
        let start = std::time::Instant::now();
        let done = lab.state.apply(lab.now, &author, all, &mut lab.plant);
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
        assert_eq!(done.is_err(), taken_back);
        let parents = lab.state.parents.get(&GroupId(1));
        let want = if taken_back { 0 } else { MANY as usize };
        assert_eq!(parents.map_or(0, |p| p.len()), want);
    }
}

#[test]
fn buckets_are_inserted_and_removed() {
    let mut lab = Lab::new(Version::Of15);
    lab.all(&[
        "add-group group_id=1,type=select,bucket=bucket_id:1,actions=output:1,bucket=bucket_id:2,actions=output:2",
        "insert command_bucket_id=last,group_id=1,bucket=bucket_id:9,actions=output:3",
        "insert command_bucket_id=first,group_id=1,bucket=bucket_id:8,actions=output:3",
        "insert command_bucket_id=1,group_id=1,bucket=bucket_id:7,actions=output:3",
    ]);
    let ids = |lab: &Lab| {
        lab.group(1)
            .group
            .buckets
            .iter()
            .map(|b| b.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&lab), [8, 1, 7, 2, 9]);
    let cases = [
        (
            "insert command_bucket_id=55,group_id=1,bucket=bucket_id:6,actions=output:1",
            ErrorCode::GmfcUnknownBucket,
        ),
        (
            "insert command_bucket_id=last,group_id=1,bucket=bucket_id:8,actions=output:1",
            ErrorCode::GmfcBucketExists,
        ),
        (
            "remove command_bucket_id=55,group_id=1",
            ErrorCode::GmfcUnknownBucket,
        ),
        (
            "remove command_bucket_id=first,group_id=2",
            ErrorCode::GmfcUnknownGroup,
        ),
    ];
    for (line, error) in cases {
        assert_eq!(lab.run(line), Err(error), "{line}");
    }
    assert_eq!(ids(&lab), [8, 1, 7, 2, 9]);
    lab.all(&[
        "remove command_bucket_id=first,group_id=1",
        "remove command_bucket_id=last,group_id=1",
        "remove command_bucket_id=7,group_id=1",
    ]);
    assert_eq!(ids(&lab), [1, 2]);
    lab.all(&["remove command_bucket_id=all,group_id=1"]);
    assert_eq!(ids(&lab), [0u32; 0]);
    lab.all(&[
        "remove command_bucket_id=first,group_id=1",
        "remove command_bucket_id=last,group_id=1",
    ]);
}

#[test]
fn buckets_that_stay_keep_their_counters() {
    let mut lab = Lab::new(Version::Of15);
    lab.all(&["add-group group_id=1,type=all,bucket=bucket_id:1,actions=output:1,bucket=bucket_id:2,actions=output:2"]);
    let old = lab.group(1);
    old.counters.group.count(7, 700, lab.now);
    old.counters.buckets[1].count(4, 400, lab.now);
    lab.pass(1500);
    lab.all(&["mod-group group_id=1,type=all,bucket=bucket_id:2,actions=output:3,bucket=bucket_id:3,actions=output:1"]);
    // What cached flows of the old group still report is not lost.
    old.counters.buckets[1].count(1, 100, lab.now);
    let stats = lab.state.group_stats(lab.now, GroupId(1), &mut lab.plant);
    let s = &stats[0];
    assert_eq!(
        (s.total.packets, s.duration_sec, s.duration_nsec),
        (7, 1, 500_000_000)
    );
    assert_eq!(
        s.buckets.iter().map(|b| b.packets).collect::<Vec<_>>(),
        [5, 0]
    );
}

#[test]
fn groups_keep_to_their_kind_and_limits() {
    let limits = Limits {
        groups: 3,
        buckets: 4,
        ..Limits::default()
    };
    let mut lab = Lab::with_limits(Version::Of15, limits);
    let group = |id: u32, kind, n: u32| {
        let bucket = |id| Bucket {
            id,
            weight: 0,
            watch_port: None,
            watch_group: None,
            actions: [Action::output(rvs_flow::OfPort(1))].into(),
        };
        Mod::Group(Box::new(rvs_openflow::message::GroupMod {
            command: GroupCommand::Add,
            command_bucket: rvs_openflow::message::BUCKET_ALL,
            group: Group {
                id: GroupId(id),
                kind,
                selection: Selection::Default,
                buckets: (0..n).map(bucket).collect(),
            },
        }))
    };
    let author = lab.author();
    let mut add = |id, kind, n| {
        let got = lab
            .state
            .apply(lab.now, &author, [group(id, kind, n)], &mut lab.plant);
        got.map_err(|(_, e)| e.code)
    };
    assert_eq!(add(1, GroupKind::All, 5), Err(ErrorCode::GmfcOutOfBuckets));
    assert_eq!(add(1, GroupKind::All, 4), Ok(()));
    assert_eq!(add(2, GroupKind::All, 3), Ok(()));
    assert_eq!(
        add(3, GroupKind::Indirect, 0),
        Err(ErrorCode::GmfcInvalidGroup)
    );
    assert_eq!(
        add(3, GroupKind::Indirect, 2),
        Err(ErrorCode::GmfcInvalidGroup)
    );
    assert_eq!(add(3, GroupKind::Indirect, 1), Ok(()));
    assert_eq!(
        add(4, GroupKind::Indirect, 1),
        Err(ErrorCode::GmfcOutOfGroups)
    );
    // One bucket is what an indirect group has, whatever the command.
    assert_eq!(
        lab.run("remove command_bucket_id=all,group_id=3"),
        Err(ErrorCode::GmfcInvalidGroup)
    );
    assert_eq!(
        lab.run("insert command_bucket_id=last,group_id=1,bucket=bucket_id:77,actions=output:1"),
        Err(ErrorCode::GmfcOutOfBuckets)
    );
    lab.all(&["insert command_bucket_id=last,group_id=2,bucket=bucket_id:77,actions=output:1"]);
}

/// The limits that ship.
#[test]
fn as_many_groups_and_buckets_fit_as_promised() {
    let mut lab = Lab::new(Version::Of13);
    let Ok(Mod::Group(one)) = lab.parse("add-group group_id=0,type=all,bucket=actions=output:1")
    else {
        panic!("a group");
    };
    let numbered = |id| {
        let mut m = one.clone();
        m.group.id = GroupId(id);
        Mod::Group(m)
    };
    let author = lab.author();
    let all = (0..65_535).map(numbered);
    assert_eq!(
        lab.state.apply(lab.now, &author, all, &mut lab.plant),
        Ok(())
    );
    let mut add = |m| {
        let got = lab.state.apply(lab.now, &author, [m], &mut lab.plant);
        got.map_err(|(_, e)| e.code)
    };
    assert_eq!(add(numbered(70_000)), Ok(()));
    assert_eq!(add(numbered(70_001)), Err(ErrorCode::GmfcOutOfGroups));
    for (buckets, want) in [
        (255, Ok(())),
        (256, Ok(())),
        (257, Err(ErrorCode::GmfcOutOfBuckets)),
    ] {
        let mut m = one.clone();
        m.command = GroupCommand::Modify;
        let bucket = m.group.buckets[0].clone();
        m.group.buckets = (0..buckets)
            .map(|id| Bucket {
                id,
                ..bucket.clone()
            })
            .collect();
        assert_eq!(add(Mod::Group(m)), want, "{buckets}");
    }
}
