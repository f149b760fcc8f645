//! What cached frames did is credited to the rules that they were forwarded by, and to no other.

use rvs_ofproto::agent::ConnKind;
use rvs_openflow::message::{
    FlowCommand, FlowRemoved, FlowStats, FlowStatsForm, FlowStatsRequest, MeterCommand, MeterMod,
    MultipartReply, MultipartRequest, Reply, Request,
};
use rvs_openflow::text::{parse_flow, parse_meter, Words};
use rvs_openflow::{Message, Version};
use rvs_testkit::openflow::Controller;
use rvs_testkit::{Packet, TestSwitch};
use serde_json::json;

const VERSION: Version = Version::Of13;

struct Bench {
    s: TestSwitch,
    c: Controller,
}

impl Bench {
    /// A bridge with two ports and no flows.
    fn new() -> Self {
        let mut s = TestSwitch::default();
        s.add_bridge("br");
        s.add_port("br", "p1", json!({}));
        s.add_port("br", "p2", json!({}));
        let c = Controller::connect(&mut s, "br", ConnKind::Primary, VERSION);
        let mut bench = Self { s, c };
        bench.order(FlowCommand::Delete, "");
        bench
    }

    fn flow_mod(&self, command: FlowCommand, text: &str) -> Message {
        let m = parse_flow(text, command, &Words::new(VERSION)).unwrap();
        Message::FlowMod(Box::new(m))
    }

    fn order(&mut self, command: FlowCommand, text: &str) {
        let m = self.flow_mod(command, text);
        self.c.order(&mut self.s, &m);
    }

    /// Without a barrier.
    fn say(&mut self, command: FlowCommand, text: &str) {
        let m = self.flow_mod(command, text);
        assert!(self.c.request(&mut self.s, &m).is_empty());
    }

    fn forward(&mut self, frames: usize) {
        let frame = Packet::eth(1, 2).tcp(1, 2, 1000, 80, 0).build();
        for _ in 0..frames {
            self.s.forward("p1", &frame);
        }
    }

    /// Flows as `table/priority=packets`.
    fn counts(&mut self) -> Vec<String> {
        let all = FlowStatsRequest::all(FlowStatsForm::Standard);
        let request = MultipartRequest::new(Request::Flow(Box::new(all)));
        let mut lines = Vec::new();
        for answer in self
            .c
            .request(&mut self.s, &Message::MultipartRequest(request))
        {
            if let Message::MultipartReply(MultipartReply {
                body: Reply::Flow(_, flows),
                ..
            }) = answer
            {
                let line = |f: &FlowStats| format!("{}/{}={}", f.table.0, f.priority, f.packets);
                lines.extend(flows.iter().map(line));
            }
        }
        lines.sort();
        lines
    }

    fn removed(&mut self) -> Vec<FlowRemoved> {
        self.s.run();
        self.c.packet_ins(&mut self.s);
        let all = std::mem::take(&mut self.c.unasked).into_iter();
        all.filter_map(|m| match m {
            Message::FlowRemoved(r) => Some(*r),
            _ => None,
        })
        .collect()
    }
}

/// The rule below does the same, so that the cached flow stays: the frames of before are not its.
#[test]
fn a_deleted_flow_keeps_its_frames() {
    let mut b = Bench::new();
    b.order(FlowCommand::Add, "priority=10,actions=output:2");
    b.order(
        FlowCommand::Add,
        "send_flow_rem,priority=20,tcp,actions=output:2",
    );
    b.forward(10);
    b.say(FlowCommand::DeleteStrict, "priority=20,tcp");
    let removed = b.removed();
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0].packets, 10);
    assert_eq!(b.counts(), ["0/10=0"]);
    b.forward(3);
    assert_eq!(b.counts(), ["0/10=3"]);
}

#[test]
fn an_added_flow_starts_with_no_frames_of_before() {
    let mut b = Bench::new();
    b.order(FlowCommand::Add, "priority=10,actions=output:2");
    b.forward(10);
    b.say(FlowCommand::Add, "priority=20,tcp,actions=output:2");
    assert_eq!(b.counts(), ["0/10=10", "0/20=0"]);
}

/// The entries have left the caches, and nobody has looked since.
#[test]
fn frames_of_flows_that_have_left_count() {
    let mut b = Bench::new();
    b.order(FlowCommand::Add, "priority=10,actions=output:2");
    b.forward(7);
    b.say(FlowCommand::Add, "priority=20,tcp,actions=drop");
    assert_eq!(b.counts(), ["0/10=7", "0/20=0"]);
}

/// What the frames of before taught is not taught again by counting them.
#[test]
fn a_deleted_learned_flow_does_not_come_back() {
    let mut b = Bench::new();
    let teacher = "table=0,actions=learn(table=10,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),output:2";
    b.order(FlowCommand::Add, teacher);
    b.forward(5);
    b.s.run();
    assert_eq!(b.counts().len(), 2);
    b.forward(5);
    b.order(FlowCommand::Delete, "");
    b.s.run();
    assert!(b.counts().is_empty(), "{:?}", b.counts());
    b.s.advance(std::time::Duration::from_secs(3));
    assert!(b.counts().is_empty(), "{:?}", b.counts());
}

/// A meter that is changed holds for frames behind the barrier, although no flow changes.
#[test]
fn a_barrier_waits_for_a_meter() {
    let mut b = Bench::new();
    let meter = |text: &str, command| {
        let meter = parse_meter(text, false).unwrap();
        Message::MeterMod(Box::new(MeterMod { command, meter }))
    };
    let wide = meter(
        "meter=1,pktps,band=type=drop,rate=1000000",
        MeterCommand::Add,
    );
    b.c.order(&mut b.s, &wide);
    b.order(FlowCommand::Add, "actions=meter:1,output:2");
    b.forward(2);
    let narrow = meter(
        "meter=1,pktps,burst,band=type=drop,rate=1,burst_size=1",
        MeterCommand::Modify,
    );
    b.c.order(&mut b.s, &narrow);
    let frame = Packet::eth(1, 2).tcp(1, 2, 1000, 80, 0).build();
    let sent: usize = (0..10).map(|_| b.s.forward("p1", &frame).len()).sum();
    assert_eq!(sent, 1);
}

/// On the simulated switch workers obey when they are asked to, or in their turn.
#[test]
fn a_meter_owes_an_acknowledgement() {
    let mut b = Bench::new();
    let meter = parse_meter("meter=1,pktps,band=type=drop,rate=5", false).unwrap();
    let command = MeterCommand::Add;
    let m = Message::MeterMod(Box::new(MeterMod { command, meter }));
    assert!(b.c.request(&mut b.s, &m).is_empty());
    let owed = |b: &mut Bench| b.s.with_slow(|slow, wires| slow.outstanding(wires).len());
    assert!(owed(&mut b) > 0);
    assert_eq!(
        b.c.request(&mut b.s, &Message::BarrierRequest),
        [Message::BarrierReply]
    );
    assert_eq!(owed(&mut b), 0);
}
