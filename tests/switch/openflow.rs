//! A controller drives the switch: what it says counts from the barrier on, and what it asks to hear it hears.

use rvs_flow::{NoPortNames, OfPort};
use rvs_ofproto::agent::ConnKind;
use rvs_openflow::message::{FlowCommand, FlowMod, PacketIn, PacketOut};
use rvs_openflow::{Action, FlowMatch, Instructions, Message, PacketInReason, TableId, Version};
use rvs_testkit::openflow::Controller;
use rvs_testkit::{Packet, TestSwitch};
use serde_json::json;

fn two_ports() -> TestSwitch {
    let mut s = TestSwitch::default();
    s.add_bridge("br");
    s.add_port("br", "p1", json!({}));
    s.add_port("br", "p2", json!({}));
    s
}

fn flow(command: FlowCommand, m: &str, actions: impl Into<Box<[Action]>>) -> Message {
    let mut f = FlowMod::new(command, matching(m));
    f.instructions = Instructions::apply(actions);
    f.table = TableId(if command.is_delete() { 0xff } else { 0 });
    Message::FlowMod(Box::new(f))
}

fn matching(text: &str) -> FlowMatch {
    FlowMatch::parse(text, &NoPortNames).unwrap()
}

#[test]
fn a_flow_mod_counts_from_its_barrier_on_also_for_cached_flows() {
    for version in [Version::Of10, Version::Of13, Version::Of15] {
        let mut s = two_ports();
        let mut c = Controller::connect(&mut s, "br", ConnKind::Service, version);
        let frame = Packet::eth(1, 2).build();
        assert_eq!(s.forward("p1", &frame).len(), 2, "NORMAL floods");
        c.order(&mut s, &flow(FlowCommand::Delete, "", []));
        assert!(s.forward("p1", &frame).is_empty(), "an empty table drops");
        let to = s.of("p2");
        for _ in 0..3 {
            c.order(&mut s, &flow(FlowCommand::Add, "", [Action::output(to)]));
            assert_eq!(s.forward("p1", &frame), [("p2".to_owned(), frame.clone())]);
            c.order(&mut s, &flow(FlowCommand::Modify, "", []));
            assert!(s.forward("p1", &frame).is_empty());
        }
    }
}

#[test]
fn a_change_elsewhere_leaves_cached_flows_alone() {
    let mut s = two_ports();
    let mut c = Controller::connect(&mut s, "br", ConnKind::Service, Version::Of13);
    let to = s.of("p2");
    let tcp = |port| Packet::eth(1, 2).tcp(1, 2, 1000, port, 0).build();
    c.order(
        &mut s,
        &flow(FlowCommand::Add, "tcp,tp_dst=80", [Action::output(to)]),
    );
    s.forward("p1", &tcp(80));
    let before = s.counters();
    c.order(&mut s, &flow(FlowCommand::Add, "tcp,tp_dst=81", []));
    let after = s.counters();
    assert_eq!(
        after.get("flow_del_changed"),
        before.get("flow_del_changed")
    );
    assert!(s.forward("p1", &tcp(81)).is_empty());
    assert_eq!(s.forward("p1", &tcp(80)).len(), 1);
}

#[test]
fn frames_go_to_the_controller_and_come_back() {
    let mut s = two_ports();
    let mut c = Controller::connect(&mut s, "br", ConnKind::Primary, Version::Of13);
    let all = Action::output(OfPort::CONTROLLER);
    c.order(&mut s, &flow(FlowCommand::Add, "", [all]));
    let frame = Packet::eth(1, 2).tcp(1, 2, 1000, 80, 9).build();
    s.forward("p1", &frame);
    let ins: Vec<PacketIn> = c.packet_ins(&mut s);
    assert_eq!(ins.len(), 1);
    assert_eq!(ins[0].data, frame);
    assert_eq!(ins[0].reason, PacketInReason::Action);
    let actions = vec![Action::output(s.of("p2"))];
    let out = PacketOut::new(OfPort::CONTROLLER, actions, frame.clone());
    c.order(&mut s, &Message::PacketOut(Box::new(out)));
    s.run();
    assert_eq!(s.sent_all(), [("p2".to_owned(), frame)]);
}
