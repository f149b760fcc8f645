//! Statistics that flows tell unasked.

use rvs_openflow::message::FlowStats;

use super::super::limits::LOOKED_AT;
use super::*;

impl Lab {
    /// The packets of each flow that tells its statistics, half a second later.
    fn told(&mut self) -> Vec<u64> {
        self.told_after(500)
    }

    fn told_after(&mut self, ms: u64) -> Vec<u64> {
        self.all_told(ms).iter().map(|f| f.packets).collect()
    }

    fn all_told(&mut self, ms: u64) -> Vec<FlowStats> {
        self.pass(ms);
        self.state.watch_statistics(self.now, &mut self.plant);
        let told = |e| match e {
            Event::StatTriggered(stats) => stats,
            _ => Vec::new(),
        };
        let events = self.state.take_events();
        events.into_iter().flat_map(told).collect()
    }
}

fn lab(flow: &str) -> Lab {
    let mut lab = Lab::new(Version::Of15);
    assert_eq!(lab.state.next_look(), None);
    lab.all(&[flow]);
    assert!(lab.state.next_look().is_some());
    lab
}

#[test]
fn each_threshold_is_told_of_once() {
    let mut lab = lab("add in_port=1,actions=output:2,stat_trigger(packet_count=10,packet_count=30,byte_count=1200)");
    assert_eq!(lab.told(), []);
    lab.hit(0, "in_port=1", 9);
    assert_eq!(lab.told(), []);
    lab.hit(0, "in_port=1", 1);
    // Nothing is looked at before its time.
    assert_eq!(lab.told_after(400), []);
    let told = lab.all_told(100);
    assert_eq!(told.len(), 1);
    assert!(told[0].triggered);
    assert_eq!((told[0].packets, told[0].bytes), (10, 600));
    assert_eq!(told[0].matching, crate::testing::matching("in_port=1"));
    assert_eq!(lab.told(), []);
    // Twenty packets are 1200 octets.
    lab.hit(0, "in_port=1", 10);
    assert_eq!(lab.told(), [20]);
    lab.hit(0, "in_port=1", 100);
    assert_eq!(lab.told(), [120]);
    lab.hit(0, "in_port=1", 1000);
    assert_eq!(lab.told(), []);
}

#[test]
fn a_periodic_one_is_told_of_at_every_multiple() {
    let mut lab = lab("add in_port=1,actions=output:2,stat_trigger(periodic,packet_count=10)");
    lab.hit(0, "in_port=1", 15);
    assert_eq!(lab.told(), [15]);
    lab.hit(0, "in_port=1", 4);
    assert_eq!(lab.told(), []);
    lab.hit(0, "in_port=1", 1);
    assert_eq!(lab.told(), [20]);
    lab.hit(0, "in_port=1", 35);
    assert_eq!(lab.told(), [55], "once, however many multiples");
}

#[test]
fn of_only_first_no_other_threshold_counts() {
    let flow = |flags: &str| {
        format!("add in_port=1,actions=output:2,stat_trigger({flags}only_first,packet_count=100,byte_count=600)")
    };
    for (flags, second) in [("", vec![]), ("periodic,", vec![20])] {
        let mut lab = lab(&flow(flags));
        lab.hit(0, "in_port=1", 10);
        assert_eq!(lab.told(), [10], "{flags}");
        lab.hit(0, "in_port=1", 10);
        assert_eq!(lab.told(), second, "{flags}");
        lab.hit(0, "in_port=1", 5);
        assert_eq!(lab.told(), []);
    }
    // Multiples of the other one are nothing.
    let mut lab = lab(&flow("periodic,").replace("600", "18000"));
    lab.hit(0, "in_port=1", 110);
    assert_eq!(lab.told(), [110]);
    lab.hit(0, "in_port=1", 195);
    assert_eq!(lab.told(), [305]);
    lab.hit(0, "in_port=1", 5);
    assert_eq!(lab.told(), []);
}

#[test]
fn time_crosses_thresholds_too() {
    let mut lab = lab("add in_port=1,actions=output:2,stat_trigger(duration=1.5,idle_time=2)");
    assert_eq!(lab.told(), []);
    assert_eq!(lab.told(), []);
    lab.hit(0, "in_port=1", 1);
    assert_eq!(lab.told(), [1], "it is a second and a half old");
    assert_eq!(lab.told(), []);
    assert_eq!(lab.told(), []);
    assert_eq!(lab.told(), [1], "idle since two seconds");
    assert_eq!(lab.told(), []);
    lab.hit(0, "in_port=1", 1);
    assert_eq!(lab.told_after(1999), []);
    assert_eq!(lab.told(), [2], "idle again");
}

#[test]
fn changes_of_a_flow_lose_nothing_and_repeat_nothing() {
    let trigger = "stat_trigger(packet_count=10,packet_count=20)";
    let mut lab = lab(&format!("add in_port=1,actions=output:2,{trigger}"));
    lab.hit(0, "in_port=1", 10);
    assert_eq!(lab.told(), [10]);
    // Crossed, and changed before anybody looked.
    for verb in ["mod", "add"] {
        lab.hit(0, "in_port=1", 5);
        lab.all(&[&format!("{verb} in_port=1,actions=output:3,{trigger}")]);
    }
    assert_eq!(lab.told(), [20]);
    // Other thresholds begin with what there is.
    lab.all(&["mod in_port=1,actions=output:3,stat_trigger(packet_count=15,packet_count=21)"]);
    assert_eq!(lab.told(), []);
    lab.hit(0, "in_port=1", 1);
    assert_eq!(lab.told(), [21]);
    // Counted afresh, told afresh.
    lab.all(&[
        "mod reset_counts,in_port=1,actions=output:3,stat_trigger(packet_count=15,packet_count=21)",
    ]);
    lab.hit(0, "in_port=1", 15);
    assert_eq!(lab.told(), [15]);
    // A change that fails leaves no trace.
    lab.hit(0, "in_port=1", 6);
    let failed = lab.bundle(&["del in_port=1", "add actions=group:7"]);
    assert_eq!(failed, Err((1, ErrorCode::BacBadOutGroup)));
    assert_eq!(lab.told(), [21]);
    lab.all(&["del in_port=1"]);
    assert_eq!(lab.told(), []);
    assert_eq!(lab.state.next_look(), None);
}

/// With many flows a call looks at some, and the next at others.
#[test]
fn many_flows_are_looked_at_in_turn() {
    let mut lab = Lab::new(Version::Of15);
    let n = LOOKED_AT + 10;
    let lines: Vec<String> = (0..n)
        .map(|i| format!("add reg0={i:#x},actions=output:2,stat_trigger(duration=0.1)"))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    lab.bundle(&lines).unwrap();
    assert_eq!(lab.told().len(), LOOKED_AT);
    assert_eq!(lab.told_after(99).len(), 0);
    assert_eq!(lab.told_after(1).len(), 10);
    assert_eq!(lab.told().len(), 0);
    lab.all(&["del"]);
    assert_eq!(lab.told().len(), 0);
    assert_eq!(lab.told().len(), 0);
    assert_eq!(lab.state.next_look(), None);
}
