//! What is about very many things is done in slices, and each of them is small.

use std::time::Duration;

use rvs_flow::OfPort;
use rvs_openflow::message::PacketOut;
use rvs_openflow::{Action, FlowMatch, GroupId, MeterId};

use super::bundles::everything;
use super::*;
use crate::state::{Outcome, Task};
use crate::testing::Call;

/// What a turn of the agent does at a time.
const WORK: usize = 1024;

/// The longest that anybody waits, of three tries: what blurs one is not there the next time, what is ours is.
fn worst_of(mut one: impl FnMut() -> Duration) {
    // Built for tests it takes some times as long as what ships.
    const MOST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 150 } else { 50 });
    let mut tries = Vec::new();
    while tries.len() < 3 {
        let worst = one();
        if worst < MOST {
            return println!("{worst:?} at worst");
        }
        tries.push(worst);
    }
    panic!("{tries:?}");
}

/// Time that this thread has had a processor: others' load blurs it little.
fn time_of_thread() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let ns = text.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(ns)
}

fn limits() -> Limits {
    Limits {
        groups: 100_000,
        meters: 100_000,
        ..Limits::default()
    }
}

/// What was seen of a change in slices.
struct Seen {
    outcome: Outcome,
    slices: usize,
    /// The longest slice.
    worst: Duration,
    longest: usize,
    /// The most calls of the switch and events that came of one.
    calls: usize,
    events: usize,
    removed: Vec<(FlowRemovedReason, u64)>,
}

fn numbered(m: &Mod, n: u32) -> Mod {
    let mut m = m.clone();
    match &mut m {
        Mod::Group(m) => m.group.id = GroupId(n),
        Mod::Meter(m) => m.meter.id = MeterId(n),
        other => panic!("{other:?}"),
    }
    m
}

impl Lab {
    fn apply(&mut self, mods: impl IntoIterator<Item = Mod>) {
        let author = self.author();
        let done = self.state.apply(self.now, &author, mods, &mut self.plant);
        assert_eq!(done, Ok(()));
    }

    /// As the agent does it, turn by turn.
    fn in_slices(&mut self, mods: Vec<Mod>) -> Seen {
        self.plant.take_calls();
        self.state.take_events();
        let author = self.author();
        let tasks = mods.into_iter().map(Task::Mod);
        let start = time_of_thread();
        self.state
            .start(self.now, &author, Box::new(tasks), &mut self.plant);
        let mut seen = Seen {
            outcome: Ok(()),
            slices: 0,
            worst: time_of_thread() - start,
            longest: 0,
            calls: 0,
            events: 0,
            removed: Vec::new(),
        };
        for _ in 0..10_000 {
            let start = time_of_thread();
            let outcome = self.state.proceed(WORK, &mut self.plant);
            let took = time_of_thread() - start;
            if took > seen.worst {
                (seen.worst, seen.longest) = (took, seen.slices);
            }
            seen.slices += 1;
            seen.calls = seen.calls.max(self.plant.take_calls().len());
            let events = self.state.take_events();
            seen.events = seen.events.max(events.len());
            seen.removed.extend(events.iter().filter_map(|e| match e {
                Event::FlowRemoved(f) => Some((f.reason, f.packets)),
                _ => None,
            }));
            if let Some(outcome) = outcome {
                seen.outcome = outcome;
                return seen;
            }
        }
        panic!("it comes to no end");
    }
}

/// 100,000 groups, or meters (N in `action`), each with a flow that goes with it and one of them with 5,000 more.
fn deleted_with_flows(first: &str, action: &str, delete: &str, why: FlowRemovedReason) -> Duration {
    const N: u32 = 100_000;
    let mut lab = Lab::with_limits(Version::Of13, limits());
    lab.plant.silent = true;
    let one = lab.parse(first).unwrap();
    lab.apply((1..=N).map(|n| numbered(&one, n)));
    let flows: Vec<_> = (0..N + 5000)
        .map(|n| {
            let of = if n < N { n + 1 } else { 7 };
            let flags = if n % 100 == 0 { "send_flow_rem," } else { "" };
            let action = action.replace('N', &of.to_string());
            let text = format!("add {flags}reg0={n},actions={action}");
            lab.parse(&text).unwrap()
        })
        .collect();
    lab.apply(flows);
    lab.all(&["add arp,actions=output:1"]);
    assert_eq!(lab.state.index.flows, N as usize + 5001);
    let (bridge, before) = (lab.plant.up().clone(), lab.dump().len());
    let delete = lab.parse(delete).unwrap();
    assert!(lab.state.is_long(&delete));

    // With a mistake at its end nothing has happened.
    let wrong = lab.parse("add ip,actions=group:200000").unwrap();
    let failed = lab.in_slices(vec![delete.clone(), wrong]);
    assert_eq!(
        failed.outcome.map_err(|(at, e)| (at, e.code)),
        Err((1, ErrorCode::BacBadOutGroup))
    );
    assert_eq!(lab.dump().len(), before);
    assert!(std::sync::Arc::ptr_eq(&bridge, lab.plant.up()));
    drop(bridge);

    let seen = lab.in_slices(vec![delete]);
    assert_eq!(seen.outcome, Ok(()));
    assert!(seen.slices > 200, "{}", seen.slices);
    assert!(seen.calls <= WORK + 2 && seen.events <= WORK + 1);
    // What is left of it is forgotten in slices too.
    println!(
        "{} of {} {:?}; {} of {} {:?}",
        failed.longest, failed.slices, failed.worst, seen.longest, seen.slices, seen.worst
    );
    let mut worst = seen.worst.max(failed.worst);
    for _ in 0..1000 {
        let start = time_of_thread();
        let more = lab.state.tidy(&lab.plant);
        worst = worst.max(time_of_thread() - start);
        if !more {
            break;
        }
    }
    assert!(lab.state.faded.is_empty());
    assert_eq!(seen.removed, vec![(why, 0); N as usize / 100 + 50]);
    assert_eq!(lab.dump(), ["arp actions=output:1"]);
    assert!(lab.plant.up().groups.is_empty() && lab.plant.up().meters.is_empty());
    assert!(lab.state.groups.is_empty() && lab.state.meters.is_empty());
    assert!(lab.plant.meters.is_empty());
    worst
}

#[test]
fn all_groups_go_in_slices_and_their_flows_with_them() {
    let first = "add-group group_id=0,type=all,bucket=actions=output:1";
    let why = FlowRemovedReason::GroupDelete;
    worst_of(|| deleted_with_flows(first, "group:N", "del-group group_id=all", why));
}

#[test]
fn all_meters_go_in_slices_and_their_flows_with_them() {
    let first = "add-meter meter=1,pktps,bands=type=drop,rate=10";
    let why = FlowRemovedReason::MeterDelete;
    worst_of(|| deleted_with_flows(first, "meter:N,output:1", "del-meter meter=all", why));
}

/// One group that many flows refer to.
#[test]
fn a_group_goes_in_slices_when_many_flows_refer_to_it() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&[
        "add-group group_id=1,type=all,bucket=actions=output:1",
        "add-group group_id=2,type=all,bucket=actions=group:1",
    ]);
    let flows: Vec<_> = (0..3000)
        .map(|n| lab.parse(&format!("add reg0={n},actions=group:2")).unwrap())
        .collect();
    lab.apply(flows);
    lab.pass(10);
    let before = everything(&mut lab);
    let delete = lab.parse("del-group group_id=2").unwrap();
    let wrong = lab.parse("add-group group_id=1,type=all").unwrap();
    let failed = lab.in_slices(vec![delete.clone(), wrong]);
    assert_eq!(failed.outcome.map_err(|(at, _)| at), Err(1));
    assert_eq!(everything(&mut lab), before);
    assert!(lab.state.is_long(&delete));
    assert!(!lab
        .state
        .is_long(&lab.parse("del-group group_id=1").unwrap()));
    let seen = lab.in_slices(vec![delete]);
    assert!(seen.slices >= 3 && seen.outcome.is_ok());
    assert_eq!((lab.dump(), lab.plant.up().groups.len()), (vec![], 1));
    // Nothing forwards to the first any more.
    lab.all(&["del-group group_id=1"]);
}

/// Flows that nobody teaches any more go in slices too.
#[test]
fn what_was_taught_goes_in_slices() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&["add reg1=5,actions=learn(table=2,delete_learned,cookie=0x5,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[])"]);
    let flows: Vec<_> = (0..3000)
        .map(|n| {
            lab.parse(&format!("add table=2,cookie=5,reg0={n},actions=drop"))
                .unwrap()
        })
        .collect();
    lab.apply(flows);
    let delete = lab.parse("del table=0").unwrap();
    let seen = lab.in_slices(vec![delete]);
    assert!(seen.slices >= 3 && seen.outcome.is_ok());
    assert_eq!(lab.state.index.flows, 0);
}

/// However the last teacher goes; nothing of what it taught is seen without it.
#[test]
fn no_call_takes_away_all_that_was_taught() {
    const N: usize = 5000;
    type Way = fn(&mut Lab);
    let ways: [(&str, usize, Way); 6] = [
        ("del-strict", 0, |lab| lab.all(&["del-strict reg1=5"])),
        ("mod-strict", 1, |lab| {
            lab.all(&["mod-strict reg1=5,actions=drop"]);
        }),
        ("add", 1, |lab| lab.all(&["add reg1=5,actions=drop"])),
        ("del-group", 0, |lab| lab.all(&["del-group group_id=1"])),
        ("timeout", 0, |lab| {
            lab.pass(10_000);
            lab.expire();
        }),
        // Whoever comes in between ends it.
        ("another", 1, |lab| {
            lab.all(&["del-strict reg1=5"]);
            assert!(lab.state.is_busy());
            lab.all(&["add reg1=6,actions=drop"]);
            assert_eq!((lab.state.index.flows, lab.state.is_busy()), (1, false));
        }),
    ];
    for (name, left, way) in ways {
        let mut lab = Lab::new(Version::Of13);
        lab.all(&[
            "add-group group_id=1,type=all",
            "add hard_timeout=10,reg1=5,actions=group:1,\
             learn(table=2,delete_learned,cookie=0x5,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[])",
        ]);
        let flows: Vec<_> = (0..N)
            .map(|n| {
                lab.parse(&format!("add table=2,cookie=5,reg0={n},actions=drop"))
                    .unwrap()
            })
            .collect();
        lab.apply(flows);
        let mut before = lab.state.index.flows;
        way(&mut lab);
        for _ in 0..N {
            if name != "another" {
                let gone = before - lab.state.index.flows;
                assert!(gone <= WORK + 1, "{gone} at once by {name}");
            }
            before = lab.state.index.flows;
            let seen = lab.dump().len();
            assert!(seen == N + 1 || seen == left, "{seen} by {name}");
            if !lab.state.is_busy() {
                break;
            }
            assert_eq!(lab.state.proceed(WORK, &mut lab.plant), None);
        }
        assert_eq!((lab.state.index.flows, lab.state.is_busy()), (left, false));
        assert_eq!(lab.dump().len(), left);
        assert_eq!(lab.run("del "), Ok(()));
    }
}

/// A limit that leaves no room for the teacher of many flows holds nobody up, nor does one that comes meanwhile.
#[test]
fn a_table_limit_that_orphans_many_flows_takes_them_in_slices() {
    use rvs_openflow::TableId;
    const N: usize = 5000;
    let mut lab = Lab::new(Version::Of13);
    lab.all(&[
        "add reg1=6,actions=drop",
        "add table=1,reg1=6,actions=drop",
        "add table=1,hard_timeout=5,reg1=7,actions=drop",
        "add hard_timeout=10,reg1=5,\
         actions=learn(table=2,delete_learned,cookie=0x5,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[])",
    ]);
    let flow = |n| lab.parse(&format!("add table=2,cookie=5,reg0={n},actions=drop"));
    let flows: Vec<_> = (0..N).map(|n| flow(n).unwrap()).collect();
    lab.apply(flows);
    let limit = crate::TableLimit {
        flows: Some(1),
        evicts: true,
        ..crate::TableLimit::default()
    };
    let mut before = lab.state.index.flows;
    for table in [0, 1] {
        let (now, plant) = (lab.now, &mut lab.plant);
        lab.state
            .set_table_limit(now, TableId(table), &limit, plant);
        let gone = before - lab.state.index.flows;
        assert!(gone <= WORK + 1, "{gone} at once");
        before -= gone;
    }
    assert!(lab.state.is_busy());
    let mut calls = 0;
    while lab.state.is_busy() || lab.state.is_shrinking() {
        lab.state.proceed(WORK, &mut lab.plant);
        lab.state.shrink(lab.now, &mut lab.plant);
        let gone = before - lab.state.index.flows;
        assert!(gone <= WORK + 2, "{gone} at once");
        before -= gone;
        calls += 1;
        assert!(calls < 100);
    }
    assert_eq!(
        lab.dump(),
        ["reg1=0x6 actions=drop", "table=1, reg1=0x6 actions=drop"]
    );
    assert_eq!(lab.state.index.flows, 2);
}

/// In a table that has just begun to evict, not all flows are in order yet.
#[test]
fn a_big_table_puts_its_flows_in_order_little_by_little() {
    const N: u32 = 5000;
    let table = rvs_openflow::TableId(0);
    let limit = |lab: &mut Lab, flows: u32| {
        let limit = crate::TableLimit {
            flows: Some(flows),
            evicts: true,
            ..crate::TableLimit::default()
        };
        lab.state
            .set_table_limit(lab.now, table, &limit, &mut lab.plant);
    };
    let shrunk = |lab: &mut Lab| {
        let calls = 0..100;
        let more = calls.take_while(|_| lab.state.shrink(lab.now, &mut lab.plant));
        assert!(more.count() < 99);
    };
    // The one flow that may go is found, wherever it is.
    let mut lab = Lab::new(Version::Of13);
    let add = |lab: &Lab, n: u32, timeout: &str| {
        let text = format!("add {timeout}reg0={n},actions=drop");
        lab.parse(&text).unwrap()
    };
    let mods: Vec<_> = (1..N).map(|n| add(&lab, n, "")).collect();
    lab.apply(mods);
    lab.all(&["add hard_timeout=9,reg0=0,actions=drop"]);
    limit(&mut lab, N);
    assert!(lab.state.is_shrinking());
    lab.all(&["add ip,actions=drop"]);
    assert!(!lab.dump().join(" ").contains("hard_timeout"));
    let full = Err(ErrorCode::FmfcTableFull);
    assert_eq!(lab.run("add arp,actions=drop"), full);
    shrunk(&mut lab);
    assert_eq!(lab.run("add arp,actions=drop"), full);
    assert_eq!(lab.state.index.flows, N as usize);

    // Flows that come, go and come back meanwhile have one place, and all go in the end.
    let mut lab = Lab::new(Version::Of13);
    let mods: Vec<_> = (0..N).map(|n| add(&lab, n, "hard_timeout=9,")).collect();
    lab.apply(mods);
    limit(&mut lab, N + 2);
    for n in [0, 4000, N - 1] {
        let gone = format!("del-strict reg0={n}");
        let failed = lab.bundle(&[&gone, "add ip,actions=group:7"]);
        assert_eq!(failed, Err((1, ErrorCode::BacBadOutGroup)));
    }
    lab.all(&["add hard_timeout=9,ip,actions=drop", "del-strict reg0=4500"]);
    assert!(lab.state.is_shrinking());
    shrunk(&mut lab);
    assert_eq!(lab.state.index.flows, N as usize);
    limit(&mut lab, 0);
    shrunk(&mut lab);
    assert_eq!((lab.state.index.flows, lab.dump().len()), (0, 0));
}

/// Packets of a bundle leave some at a time, in order, when all of it is published.
#[test]
fn many_packet_outs_leave_in_slices() {
    const N: usize = 10_000;
    let mut lab = Lab::new(Version::Of14);
    let mut metadata = FlowMatch::any();
    metadata.set_in_port(OfPort::CONTROLLER);
    let mut mods: Vec<_> = (0..N)
        .map(|n| {
            Mod::PacketOut(Box::new(PacketOut {
                buffer_id: None,
                metadata,
                actions: vec![Action::output(OfPort::TABLE)],
                data: n.to_be_bytes().to_vec(),
            }))
        })
        .collect();
    mods.push(lab.parse("add in_port=1,actions=output:2").unwrap());
    lab.plant.silent = true;
    let author = lab.author();
    let wrong = lab.parse("add ip,actions=group:7").unwrap();
    let failed = lab.in_slices(mods.iter().cloned().chain([wrong]).collect());
    assert_eq!(
        (failed.outcome.map_err(|(at, _)| at), failed.calls),
        (Err(N + 1), 0)
    );

    let tasks = Box::new(mods.into_iter().map(Task::Mod));
    lab.state.start(lab.now, &author, tasks, &mut lab.plant);
    let (mut sent, mut done) = (Vec::new(), false);
    for _ in 0..N {
        done = lab.state.proceed(WORK, &mut lab.plant).is_some();
        let calls = lab.plant.take_calls();
        assert!(calls.len() <= WORK / 8 + 1, "{}", calls.len());
        assert!(calls.is_empty() || lab.dump().len() == 1);
        lab.plant.take_calls();
        sent.extend(calls.into_iter().map(|c| match c {
            Call::Execute(_, data) => data,
            other => panic!("{other:?}"),
        }));
        if done {
            break;
        }
    }
    assert!(
        done && sent
            .iter()
            .cloned()
            .eq((0..N).map(|n| n.to_be_bytes().to_vec()))
    );
}

/// Each delete of all flows in a bundle costs the same, whatever the bundle has done before.
#[test]
fn a_bundle_of_deletes_does_not_look_at_its_own_steps_again() {
    let mut lab = Lab::new(Version::Of13);
    let flows: Vec<_> = (0..1100)
        .map(|n| lab.parse(&format!("add reg0={n},actions=drop")).unwrap())
        .collect();
    lab.apply(flows);
    let delete = lab.parse("del ").unwrap();
    let mut mods: Vec<_> = (0..20_000)
        .map(|n| {
            lab.parse(&format!("add table=1,reg0={n},actions=drop"))
                .unwrap()
        })
        .collect();
    mods.push(delete.clone());
    let first = lab.parse("add reg0=1,actions=drop").unwrap();
    for _ in 0..2000 {
        mods.extend([first.clone(), delete.clone()]);
    }
    let seen = lab.in_slices(mods);
    assert_eq!(seen.outcome, Ok(()));
    assert_eq!(lab.state.index.flows, 0);
}

/// Versions that share their groups and meters are forgotten all the same, each as soon as nobody reads it.
#[test]
fn nothing_is_left_of_groups_that_are_gone() {
    let group = |lab: &Lab, n: u32| {
        let text = format!("add-group group_id={n},type=all,bucket=actions=output:1");
        lab.parse(&text).unwrap()
    };
    let mut lab = Lab::new(Version::Of13);
    let flows = ["add ip,actions=drop", "add arp,actions=drop"];
    let flows = flows.map(|f| lab.parse(f).unwrap());
    // Bundles of flows alone, then a group; then a bundle with one.
    for first in [1, 3] {
        for flow in flows.clone() {
            lab.in_slices(vec![flow]);
        }
        let one = group(&lab, first);
        lab.apply([one]);
        lab.state.tidy(&lab.plant);
        assert!(lab.state.faded.is_empty());
        lab.in_slices(vec![flows[0].clone()]);
        let another = group(&lab, first + 1);
        lab.in_slices(vec![another]);
        lab.state.tidy(&lab.plant);
        assert!(lab.state.faded.is_empty());
    }
    // Who reads one version keeps that one.
    let entry = |lab: &Lab, n: u32| {
        let groups = &lab.plant.up().groups;
        std::sync::Arc::downgrade(groups.get(GroupId(n)).unwrap())
    };
    let gone = entry(&lab, 1);
    let delete = lab.parse("del-group group_id=1").unwrap();
    lab.in_slices(vec![delete]);
    let (reader, read) = (lab.plant.up().clone(), entry(&lab, 2));
    let delete = lab.parse("del-group group_id=2").unwrap();
    lab.in_slices(vec![delete]);
    lab.state.tidy(&lab.plant);
    assert!(gone.upgrade().is_none() && read.upgrade().is_some());
    drop(reader);
    lab.state.tidy(&lab.plant);
    assert!(read.upgrade().is_none() && lab.state.faded.is_empty());
}

/// What a bundle adds and deletes again nobody has ever seen: it is forgotten little by little too.
#[test]
fn groups_and_meters_that_never_came_are_forgotten_in_slices() {
    for (first, delete) in [
        (
            "add-group group_id=0,type=all,bucket=actions=output:1",
            "del-group group_id=all",
        ),
        (
            "add-meter meter=1,pktps,bands=type=drop,rate=10",
            "del-meter meter=all",
        ),
    ] {
        let mut lab = Lab::new(Version::Of13);
        let one = lab.parse(first).unwrap();
        let mut mods: Vec<_> = (1..=5000).map(|n| numbered(&one, n)).collect();
        mods.push(lab.parse(delete).unwrap());
        let seen = lab.in_slices(mods);
        assert_eq!(seen.outcome, Ok(()));
        let calls = (0..100).take_while(|_| lab.state.tidy(&lab.plant)).count();
        assert_eq!(calls, 5000 / 1024, "{first}");
        assert!(lab.state.faded.is_empty());
    }
}
