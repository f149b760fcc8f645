//! Timeouts, learned flows, final counters.

use std::sync::Arc;

use rvs_openflow::{Action, Instructions, TableId};
use rvs_pipeline::LearnedFlow;

use super::super::limits::LESSONS;
use super::*;
use crate::testing::{matching, Call};

/// Packets for every rule that is physically in table 0.
fn count_all(bridge: &rvs_pipeline::Bridge, packets: u64, used: Now) {
    let rules = bridge.table(TableId(0)).unwrap().read();
    let mut cursor = rvs_classifier::Cursor::default();
    rules.scan(2, &mut cursor, 10, rvs_classifier::Filter::All, |r| {
        r.payload().counters.count(packets, packets * 60, used);
    });
}

#[test]
fn flows_go_when_idle_or_old() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&[
        "add send_flow_rem,idle_timeout=10,in_port=1,actions=output:2",
        "add send_flow_rem,hard_timeout=15,idle_timeout=10,in_port=2,actions=output:2",
        "add in_port=3,actions=output:2",
    ]);
    assert_eq!(lab.state.next_expiry(), Some(Now::from_secs(1010)));
    lab.pass(9_999);
    lab.expire();
    // Not due, not asked: nobody is bothered for counts.
    assert_eq!(
        lab.plant
            .calls
            .iter()
            .filter(|c| **c == Call::Credit)
            .count(),
        0
    );
    lab.hit(0, "in_port=1", 3);
    lab.hit(0, "in_port=2", 4);
    lab.pass(1);
    lab.expire();
    assert_eq!(lab.removed(), []);
    // The flow with both timeouts lives on packets, until it is too old.
    lab.pass(4_999);
    lab.expire();
    assert_eq!(lab.removed(), []);
    lab.pass(1);
    lab.expire();
    assert_eq!(lab.removed(), [(FlowRemovedReason::HardTimeout, 4)]);
    lab.pass(4_999);
    lab.expire();
    assert_eq!(lab.removed(), [(FlowRemovedReason::IdleTimeout, 3)]);
    assert_eq!(lab.state.next_expiry(), None);
    assert_eq!(lab.dump(), ["in_port=3 actions=output:2"]);
}

/// A flow that takes another's place shows the idle age of that one, whose packets it may count on with; its timeout begins anew.
#[test]
fn idle_age_goes_on_and_the_timeout_begins_anew() {
    for flags in ["", "reset_counts,"] {
        let mut lab = Lab::new(Version::Of13);
        let add = format!("add {flags}idle_timeout=10,in_port=1,actions=output:2");
        lab.all(&[&add]);
        lab.pass(4_000);
        lab.hit(0, "in_port=1", 3);
        lab.pass(6_000);
        lab.all(&[&add]);
        lab.pass(9_000);
        let shown = lab.dump_of(FlowSelect::all(), true);
        assert!(shown[0].contains("duration=9s"), "{shown:?}");
        assert!(shown[0].contains("idle_age=15"), "{shown:?}");
        lab.expire();
        assert_eq!(lab.dump().len(), 1);
        lab.pass(1_000);
        lab.expire();
        assert!(lab.dump().is_empty());
    }
}

/// Packets that a cache counted and has not told of yet.
#[test]
fn counts_that_arrive_late_are_in_time() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&["add send_flow_rem,idle_timeout=10,in_port=1,actions=output:2"]);
    lab.pass(10_000);
    let at = Now(lab.now.0 - 2_000_000_000);
    let mut once = Some(());
    lab.plant.on_settle = Some(Box::new(move |bridge| {
        if once.take().is_some() {
            count_all(bridge, 9, at);
        }
    }));
    lab.expire();
    assert_eq!(lab.removed(), []);
    assert_eq!(lab.state.next_expiry(), Some(Now::from_secs(1018)));
    // Final counters: what leaves the caches while the flow goes counts too.
    lab.plant.on_settle = Some(Box::new(|bridge| count_all(bridge, 1, Now::ZERO)));
    lab.plant.take_calls();
    lab.all(&["del "]);
    assert_eq!(lab.removed(), [(FlowRemovedReason::Delete, 10)]);
    assert_eq!(lab.plant.take_calls()[1..], [Call::Settle]);
}

#[test]
fn fin_timeout_lowers_timeouts() {
    let mut lab = Lab::new(Version::Of10);
    lab.all(&["add send_flow_rem,tcp,actions=fin_timeout(idle_timeout=2),output:1"]);
    assert_eq!(lab.state.next_expiry(), Some(Now::from_secs(1001)));
    lab.pass(1000);
    lab.expire();
    let bridge = lab.plant.up().clone();
    {
        let rules = bridge.table(TableId(0)).unwrap().read();
        let rule = rules
            .select(lab.plant.up().version, rvs_classifier::Filter::All)
            .next()
            .unwrap();
        rule.payload().counters.count(1, 60, lab.now);
        rule.payload().lower_timeouts(2, 0);
    }
    lab.pass(1000);
    lab.expire();
    assert_eq!(lab.removed(), []);
    lab.pass(1000);
    lab.expire();
    assert_eq!(lab.removed(), [(FlowRemovedReason::IdleTimeout, 1)]);
}

/// As many as time out, in slices.
#[test]
fn many_flows_expire_in_slices() {
    let mut lab = Lab::new(Version::Of13);
    for n in 0..5000 {
        lab.all(&[&format!(
            "add priority={n},hard_timeout=1,ip,actions=output:1"
        )]);
    }
    lab.pass(1000);
    lab.expire();
    assert_eq!(lab.state.index.flows, 5000 - crate::state::limits::EXPIRIES);
    assert!(lab.state.next_expiry().unwrap() <= lab.now);
    lab.expire();
    assert_eq!((lab.state.index.flows, lab.state.next_expiry()), (0, None));
}

fn learned(text: &str, cookie: u64) -> Arc<LearnedFlow> {
    Arc::new(LearnedFlow {
        table: TableId(1),
        priority: 10,
        cookie,
        matching: matching(text),
        instructions: Instructions::apply([Action::output(rvs_flow::OfPort(1))]),
        idle_timeout: 0,
        hard_timeout: 10,
        send_flow_removed: true,
        delete_learned: false,
        limit: 2,
        by_flow: false,
    })
}

#[test]
fn learned_flows_stay_young() {
    let mut lab = Lab::new(Version::Of10);
    let flow = learned("in_port=1", 7);
    lab.state.learn(lab.now, &flow, lab.now, &mut lab.plant);
    assert_eq!(lab.dump(), ["cookie=0x7, table=1, hard_timeout=10, send_flow_rem priority=10,in_port=1 actions=output:1"]);
    lab.plant.take_calls();
    lab.pass(8000);
    lab.state.learn(lab.now, &flow, lab.now, &mut lab.plant);
    assert_eq!(
        lab.plant.take_calls(),
        [],
        "the same lesson publishes nothing"
    );
    lab.pass(8000);
    lab.expire();
    assert_eq!(lab.removed(), []);
    let told = lab.dump_of(FlowSelect::all(), true).remove(0);
    assert!(told.contains("hard_age=8"), "{told}");
    // Another lesson about the same packets changes the flow.
    let mut other = (*flow).clone();
    other.instructions = Instructions::apply([Action::output(rvs_flow::OfPort(2))]);
    lab.state
        .learn(lab.now, &Arc::new(other), lab.now, &mut lab.plant);
    assert!(lab.dump()[0].ends_with("output:2"));
    lab.pass(9_999);
    lab.expire();
    assert_eq!(lab.removed(), []);
    lab.pass(1);
    lab.expire();
    assert_eq!(lab.removed(), [(FlowRemovedReason::HardTimeout, 0)]);
}

#[test]
fn a_change_makes_a_flow_young_again() {
    let mut lab = Lab::new(Version::Of10);
    lab.all(&["add send_flow_rem,hard_timeout=10,in_port=1,actions=drop"]);
    lab.pass(9_999);
    lab.all(&["mod in_port=1,actions=output:1"]);
    lab.pass(9_999);
    lab.expire();
    assert_eq!(lab.removed(), []);
    lab.pass(1);
    lab.expire();
    assert_eq!(lab.removed(), [(FlowRemovedReason::HardTimeout, 0)]);
}

#[test]
fn no_more_flows_are_learned_than_the_limit() {
    let mut lab = Lab::new(Version::Of10);
    for n in 1..=3 {
        let flow = learned(&format!("in_port={n}"), 7);
        lab.state.learn(lab.now, &flow, lab.now, &mut lab.plant);
    }
    assert_eq!(lab.state.index.flows, 2);
    // Of another cookie there may be more, and room comes back.
    lab.state
        .learn(lab.now, &learned("in_port=3", 8), lab.now, &mut lab.plant);
    lab.all(&["del table=1,cookie=7/-1,in_port=1"]);
    lab.state
        .learn(lab.now, &learned("in_port=1", 7), lab.now, &mut lab.plant);
    assert_eq!(lab.state.index.flows, 3);
    lab.all(&["del "]);
    assert_eq!(lab.state.index.learned_count(TableId(1), 7), 0);
    // What can't be learned changes nothing.
    let mut bad = (*learned("in_port=1", 7)).clone();
    bad.instructions = Instructions::apply([Action::Group(rvs_openflow::GroupId(4))]);
    lab.state
        .learn(lab.now, &Arc::new(bad.clone()), lab.now, &mut lab.plant);
    bad.table = TableId(254);
    lab.state
        .learn(lab.now, &Arc::new(bad), lab.now, &mut lab.plant);
    assert_eq!(lab.dump(), [""; 0]);
}

/// Learned flows go when the last flow that teaches them goes.
#[test]
fn learned_flows_go_with_their_teacher() {
    let mut lab = Lab::new(Version::Of10);
    let teach =
        "actions=learn(table=1,delete_learned,cookie=0x7,NXM_OF_IN_PORT[],output:NXM_OF_IN_PORT[])";
    lab.all(&[
        &format!("add priority=1,in_port=1,{teach}"),
        &format!("add priority=1,in_port=2,{teach}"),
        "add table=1,cookie=8,arp,actions=drop",
        "add table=2,cookie=7,arp,actions=drop",
    ]);
    lab.state
        .learn(lab.now, &learned("in_port=1", 7), lab.now, &mut lab.plant);
    lab.all(&["del-strict priority=1,in_port=1"]);
    assert_eq!(lab.removed(), []);
    // Changing what the teacher does ends the lesson too.
    lab.all(&["mod in_port=2,actions=drop"]);
    assert_eq!(lab.removed(), [(FlowRemovedReason::Delete, 0)]);
    assert_eq!(
        lab.dump(),
        [
            "cookie=0x7, table=2, reset_counts arp actions=drop",
            "cookie=0x8, table=1, reset_counts arp actions=drop",
            "reset_counts priority=1,in_port=2 actions=drop",
        ]
    );
}

/// A flow that is to go with its teacher; table 1, cookie 7.
fn kept_by_its_teacher(text: &str) -> Arc<LearnedFlow> {
    let mut flow = (*learned(text, 7)).clone();
    (flow.delete_learned, flow.by_flow, flow.limit) = (true, true, 0);
    Arc::new(flow)
}

const TEACH: &str =
    "actions=learn(table=1,delete_learned,cookie=0x7,NXM_OF_IN_PORT[],output:NXM_OF_IN_PORT[])";

/// What packets taught before the teacher went may be heard of after it went: what would have gone with it does not come.
#[test]
fn a_dead_teacher_teaches_only_what_outlives_it() {
    let mut lab = Lab::new(Version::Of10);
    // One that lets its flows stay does not make others stay.
    lab.all(&[
        &format!("add priority=1,in_port=1,{TEACH}"),
        "del-strict priority=1,in_port=1",
        "add table=3,in_port=1,actions=learn(table=1,cookie=0x7,NXM_OF_IN_PORT[])",
    ]);
    let late = kept_by_its_teacher("in_port=1");
    lab.state.learn(lab.now, &late, lab.now, &mut lab.plant);
    assert_eq!((lab.dump().len(), lab.state.late_lessons()), (1, 1));
    lab.all(&["del table=3"]);
    let mut stays = (*late).clone();
    stays.delete_learned = false;
    let stays = Arc::new(stays);
    lab.state.learn(lab.now, &stays, lab.now, &mut lab.plant);
    assert_eq!((lab.dump().len(), lab.state.late_lessons()), (1, 1));
    // Frames of controllers teach without a flow.
    let mut told = (*kept_by_its_teacher("in_port=2")).clone();
    told.by_flow = false;
    let told = Arc::new(told);
    lab.state.learn(lab.now, &told, lab.now, &mut lab.plant);
    assert_eq!((lab.dump().len(), lab.state.late_lessons()), (2, 1));
}

/// While a change is made in slices, lessons wait for its end, and for what it leaves of their teachers.
#[test]
fn lessons_wait_for_the_end_of_a_change_in_slices() {
    let teacher = format!("priority=1,in_port=1,{TEACH}");
    for (delete, learned) in [("del table=2", 2), ("del ", 0)] {
        let mut lab = Lab::new(Version::Of13);
        lab.all(&[&format!("add {teacher}")]);
        for n in 0..3000 {
            lab.all(&[&format!(
                "add table=2,idle_timeout=60,reg0={n},actions=drop"
            )]);
        }
        let delete = lab.parse(delete).unwrap();
        assert!(lab.state.is_long(&delete));
        let author = lab.author();
        let tasks = Box::new([delete.into()].into_iter());
        lab.state.start(lab.now, &author, tasks, &mut lab.plant);
        assert_eq!(lab.state.proceed(1000, &mut lab.plant), None);
        for n in [1, 2] {
            let lesson = kept_by_its_teacher(&format!("in_port={n}"));
            lab.state.learn(lab.now, &lesson, lab.now, &mut lab.plant);
        }
        assert_eq!(lab.dump().len(), 3001, "nothing is seen of either");
        while lab.state.proceed(1000, &mut lab.plant).is_none() {}
        assert!(lab.state.is_busy());
        assert_eq!(lab.state.proceed(1000, &mut lab.plant), None);
        assert!(!lab.state.is_busy());
        let taught = lab.dump();
        let taught = taught
            .iter()
            .filter(|l| l.starts_with("cookie=0x7, table=1"));
        assert_eq!(taught.count(), learned);
    }
}

impl Lab {
    /// A lesson about packets of port 1: they go to this one.
    fn learn_output(&mut self, port: u32) {
        let mut flow = (*learned("in_port=1", 7)).clone();
        flow.instructions = Instructions::apply([Action::output(rvs_flow::OfPort(port))]);
        let (now, plant) = (self.now, &mut self.plant);
        self.state.learn(now, &Arc::new(flow), now, plant);
    }

    /// A change in slices, of nothing: lessons wait for its end.
    fn begin_nothing(&mut self) {
        let author = self.author();
        let tasks = Box::new(std::iter::empty());
        self.state.start(self.now, &author, tasks, &mut self.plant);
    }
}

/// Of two lessons about the same packets the later counts, however long they wait.
#[test]
fn lessons_that_wait_keep_their_order() {
    let mut lab = Lab::new(Version::Of13);
    lab.learn_output(1);
    lab.begin_nothing();
    for port in [2, 1] {
        lab.learn_output(port);
    }
    while lab.state.is_busy() {
        lab.state.proceed(1000, &mut lab.plant);
    }
    assert!(lab.dump()[0].ends_with("output:1"), "{:?}", lab.dump());
}

/// More of them than may wait end it at once, and none is lost.
#[test]
fn too_many_lessons_end_a_change_in_slices() {
    let mut lab = Lab::new(Version::Of13);
    for n in 0..3000 {
        lab.all(&[&format!(
            "add table=2,idle_timeout=60,reg0={n},actions=drop"
        )]);
    }
    let delete = lab.parse("del table=2").unwrap();
    let author = lab.author();
    let tasks = Box::new([delete.into()].into_iter());
    lab.state.start(lab.now, &author, tasks, &mut lab.plant);
    let lesson = |n: usize| {
        let mut flow = (*learned(&format!("reg1={n}"), 7)).clone();
        flow.limit = 0;
        Arc::new(flow)
    };
    for n in 0..LESSONS {
        lab.state
            .learn(lab.now, &lesson(n), lab.now, &mut lab.plant);
    }
    assert_eq!(lab.dump().len(), 3000);
    lab.plant.silent = true;
    lab.state
        .learn(lab.now, &lesson(LESSONS), lab.now, &mut lab.plant);
    assert_eq!(lab.dump().len(), LESSONS + 1);
    assert_eq!(lab.state.proceed(1000, &mut lab.plant), Some(Ok(())));
    assert!(!lab.state.is_busy());
}

/// A lesson that is repeated takes one place among those that wait, and counts with its last packet.
#[test]
fn repeated_lessons_wait_once() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&["add table=1,priority=10,cookie=0x7,in_port=1,actions=drop"]);
    lab.begin_nothing();
    for port in [1, 2] {
        for _ in 0..2 * LESSONS {
            lab.pass(1);
            lab.learn_output(port);
        }
    }
    assert_eq!(lab.state.lessons.queue.len(), 2);
    assert_eq!(lab.state.lessons.queue[1].1, lab.now);
    while lab.state.is_busy() {
        lab.state.proceed(1000, &mut lab.plant);
    }
    assert!(lab.dump()[0].ends_with("output:2"), "{:?}", lab.dump());
    // What came of them is out of the way of later ones.
    lab.learn_output(1);
    assert!(lab.dump()[0].ends_with("output:1"), "{:?}", lab.dump());
}
