//! A controller drives the switch: what it says counts from the barrier on, and what it asks to hear it hears.

use std::time::Duration;

use rvs_flow::{NoPortNames, OfPort};
use rvs_ofproto::agent::ConnKind;
use rvs_openflow::message::{
    BundleAdd, BundleCommand, BundleControl, BundleFlags, FlowCommand, FlowMod, GroupCommand,
    MeterCommand, MeterMod, PacketIn, PacketOut,
};
use rvs_openflow::text::{parse_flow, parse_group, parse_meter, Words};
use rvs_openflow::{Action, FlowMatch, Instructions, Message, PacketInReason, TableId, Version};
use rvs_testkit::openflow::Controller;
use rvs_testkit::seed::for_each_seed;
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

fn meter(s: &mut TestSwitch, c: &mut Controller, text: &str) {
    let meter = parse_meter(text, false).unwrap();
    let command = MeterCommand::Add;
    c.order(s, &Message::MeterMod(Box::new(MeterMod { command, meter })));
}

/// A flow that sends to the controller and elsewhere: the controller's meter bounds the copies alone, whether it comes
/// before the flow or after; so does the meter that an action names.
#[test]
fn the_controllers_meter_bounds_packet_ins_and_nothing_else() {
    for first in [true, false] {
        let mut s = two_ports();
        let mut c = Controller::connect(&mut s, "br", ConnKind::Primary, Version::Of13);
        let both = [
            Action::output(OfPort::CONTROLLER),
            Action::output(s.of("p2")),
        ];
        let text = "meter=controller,pktps,burst,bands=type=drop,rate=10,burst_size=3";
        if first {
            meter(&mut s, &mut c, text);
        }
        c.order(&mut s, &flow(FlowCommand::Add, "", both));
        let frame = Packet::eth(1, 2).tcp(1, 2, 1000, 80, 9).build();
        s.forward("p1", &frame);
        if !first {
            meter(&mut s, &mut c, text);
        }
        c.packet_ins(&mut s);
        s.advance(Duration::from_secs(2));
        let out: usize = (0..20).map(|_| s.forward("p1", &frame).len()).sum();
        assert_eq!((out, c.packet_ins(&mut s).len()), (20, 3), "{first}");
        s.advance(Duration::from_millis(100));
        (0..20).for_each(|_| drop(s.forward("p1", &frame)));
        assert_eq!(c.packet_ins(&mut s).len(), 1, "one in a tenth of a second");
    }
}

#[test]
fn a_controller_action_may_name_its_meter() {
    let mut s = two_ports();
    let mut c = Controller::connect(&mut s, "br", ConnKind::Primary, Version::Of15);
    meter(
        &mut s,
        &mut c,
        "meter=7,pktps,burst,bands=type=drop,rate=10,burst_size=2",
    );
    meter(
        &mut s,
        &mut c,
        "meter=controller,pktps,burst,bands=type=drop,rate=10,burst_size=5",
    );
    let words = Words::new(Version::Of15);
    for (actions, passed) in [("controller(meter_id=7)", 2), ("controller", 5)] {
        let m = parse_flow(&format!("actions={actions}"), FlowCommand::Add, &words).unwrap();
        c.order(&mut s, &Message::FlowMod(Box::new(m)));
        let frame = Packet::eth(1, 2).build();
        (0..9).for_each(|_| drop(s.forward("p1", &frame)));
        assert_eq!(c.packet_ins(&mut s).len(), passed, "{actions}");
    }
}

/// Frames that no cached flow decides pass the slow path's meter; those of a flow in the cache do not.
#[test]
fn the_slow_paths_meter_bounds_what_the_caches_do_not_decide() {
    let mut s = two_ports();
    let mut c = Controller::connect(&mut s, "br", ConnKind::Service, Version::Of13);
    let to = s.of("p2");
    c.order(&mut s, &flow(FlowCommand::Delete, "", []));
    for port in 0..20 {
        let m = format!("tcp,tp_dst={port}");
        c.order(&mut s, &flow(FlowCommand::Add, &m, [Action::output(to)]));
    }
    meter(
        &mut s,
        &mut c,
        "meter=slowpath,pktps,burst,bands=type=drop,rate=10,burst_size=4",
    );
    let tcp = |port| Packet::eth(1, 2).tcp(1, 2, 1000, port, 0).build();
    let out = |s: &mut TestSwitch| -> usize {
        (0..20).map(|port| s.forward("p1", &tcp(port)).len()).sum()
    };
    assert_eq!((out(&mut s), out(&mut s)), (4, 20));
}

/// Matches that overlap each other in many ways, with the fields that actions below rewrite.
const MATCHES: &[&str] = &[
    "",
    "ip",
    "arp",
    "tcp",
    "udp",
    "in_port=1",
    "in_port=2",
    "dl_dst=02:00:00:00:00:02",
    "dl_src=02:00:00:00:00:00/ff:ff:ff:ff:ff:fe",
    "dl_vlan=5",
    "vlan_tci=0",
    "ip,nw_dst=10.0.0.2",
    "ip,nw_dst=10.0.0.0/30",
    "ip,nw_src=10.0.0.1",
    "tcp,tp_dst=80",
    "tcp,tp_dst=80/0xfff0",
    "udp,tp_src=53",
    "tcp,nw_src=10.0.0.1,tp_dst=81",
    "reg0=1",
    "reg0=1,ip",
    "metadata=7",
];

const ACTIONS: &[&str] = &[
    "drop",
    "NORMAL",
    "output:1",
    "output:2",
    "output:3",
    "mod_dl_dst:02:00:00:00:00:02,resubmit(,1)",
    "mod_vlan_vid:5,resubmit(,1)",
    "load:1->NXM_NX_REG0[],resubmit(,1)",
    "move:NXM_OF_ETH_SRC[0..15]->NXM_NX_REG0[0..15],resubmit(,2)",
    "resubmit(2,1),output:3",
    "resubmit(,1),resubmit(,2)",
    "strip_vlan,NORMAL",
    "group:1",
    "group:2",
    "clone(mod_dl_src:02:00:00:00:00:09,output:2),resubmit(,2)",
];

/// What a rule of a table may do: only tables after its own may be resubmitted to, or the limits end it all.
fn actions_of(table: u8, text: &str) -> bool {
    match table {
        0 => true,
        1 => !text.contains(",1)"),
        _ => !text.contains("resubmit"),
    }
}

fn group(s: &mut TestSwitch, c: &mut Controller, command: GroupCommand, text: &str) {
    let group = parse_group(text, command, &Words::new(Version::Of13)).unwrap();
    c.order(s, &Message::GroupMod(Box::new(group)));
}

/// P3 for what controllers change: after every change and its barrier, before any other frame is looked at, every cached
/// entry is what a fresh translation gives, and frames go where the naive interpreter says.
#[test]
fn every_entry_is_true_after_every_flow_mod_p3() {
    for_each_seed("flow-mods", 30, |_, e| {
        let mut s = two_ports();
        s.add_port("br", "p3", json!({}));
        let mut c = Controller::connect(&mut s, "br", ConnKind::Service, Version::Of13);
        for id in [1, 2] {
            let text = format!(
                "group_id={id},type=all,bucket=output:1,bucket=output:{}",
                id + 1
            );
            group(&mut s, &mut c, GroupCommand::Add, &text);
        }
        let mut sent = Vec::new();
        for _ in 0..60 {
            match e.below(4) {
                0 => {
                    let table = e.below(3) as u8;
                    let actions = ACTIONS[e.below(ACTIONS.len())];
                    if actions_of(table, actions) {
                        let m = MATCHES[e.below(MATCHES.len())];
                        let priority = 10 + e.below(3) as u16;
                        let command = [
                            FlowCommand::Add,
                            FlowCommand::Modify,
                            FlowCommand::DeleteStrict,
                        ];
                        let command = command[e.below(3)];
                        let text = format!(
                            "{m}{}actions={actions}",
                            if m.is_empty() { "" } else { "," }
                        );
                        let text = if command.is_delete() {
                            m
                        } else {
                            text.as_str()
                        };
                        let mut f = parse_flow(text, command, &Words::new(Version::Of13)).unwrap();
                        f.table = TableId(table);
                        f.priority = priority;
                        // An action on a header that the match does not promise is refused, and changes nothing.
                        c.request(&mut s, &Message::FlowMod(Box::new(f)));
                        c.request(&mut s, &Message::BarrierRequest);
                    }
                }
                1 if e.one_in(4) => {
                    let n = 1 + e.below(3);
                    let text = format!("group_id=1,type=all,bucket=output:{n}");
                    group(&mut s, &mut c, GroupCommand::Modify, &text);
                }
                _ => {
                    let (from, to) = (e.below(3) as u8 + 1, e.below(3) as u8 + 1);
                    let mut p = Packet::eth(from, to);
                    if e.one_in(3) {
                        p = p.vlan([5, 6][e.below(2)]);
                    }
                    let p = match e.below(4) {
                        0 => p.arp_request(from, to),
                        1 => p.udp(from, to, 53, 1000),
                        _ => p.tcp(from, to, 1000, 80 + e.below(3) as u16, 2),
                    };
                    let port = ["p1", "p2", "p3"][e.below(3)];
                    s.judge(port, &p.build());
                    sent.push((port, p.build()));
                }
            }
            s.assert_true();
            // What is cached answers as the interpreter does.
            for _ in 0..sent.len().min(4) {
                let (port, frame) = &sent[e.below(sent.len())];
                s.judge(port, frame);
            }
        }
    });
}

/// A group forwards to another from the moment that the other is there, and as long as it is, for cached flows too.
#[test]
fn a_group_forwards_to_groups_that_come_and_go() {
    let mut s = two_ports();
    let mut c = Controller::connect(&mut s, "br", ConnKind::Service, Version::Of13);
    c.order(&mut s, &flow(FlowCommand::Delete, "", []));
    let add = GroupCommand::Add;
    let chained = "group_id=1,type=indirect,bucket=actions=group:2";
    group(&mut s, &mut c, add, chained);
    let to = Action::Group(rvs_openflow::GroupId(1));
    c.order(&mut s, &flow(FlowCommand::Add, "", [to]));
    let frame = Packet::eth(1, 2).build();
    let end = format!(
        "group_id=2,type=indirect,bucket=actions=output:{}",
        s.of("p2").0
    );
    for _ in 0..2 {
        assert!(s.forward("p1", &frame).is_empty());
        group(&mut s, &mut c, add, &end);
        assert_eq!(s.forward("p1", &frame), [("p2".to_owned(), frame.clone())]);
        group(&mut s, &mut c, GroupCommand::Delete, "group_id=2");
    }
    assert!(s.forward("p1", &frame).is_empty());
}

/// ARP of many hosts behind one router's address is spread too.
#[test]
fn a_select_group_spreads_arp_by_its_protocol_addresses() {
    let mut s = two_ports();
    s.add_port("br", "p3", json!({}));
    let mut c = Controller::connect(&mut s, "br", ConnKind::Service, Version::Of13);
    let (two, three) = (s.of("p2").0, s.of("p3").0);
    let text = format!("group_id=1,type=select,bucket=output:{two},bucket=output:{three}");
    group(&mut s, &mut c, GroupCommand::Add, &text);
    let to_group = parse_flow(
        "actions=group:1",
        FlowCommand::Add,
        &Words::new(Version::Of13),
    );
    c.order(&mut s, &Message::FlowMod(Box::new(to_group.unwrap())));
    let mut used = [0, 0];
    for from in 1..=32 {
        let frame = Packet::eth(1, 2).arp_request(from, 200).build();
        let sent = s.forward("p1", &frame);
        assert_eq!(sent.len(), 1);
        used[usize::from(sent[0].0 == "p3")] += 1;
    }
    assert!(used.iter().all(|n| *n > 4), "{used:?}");
}

/// A controller's frame has whatever port it names as input: one that another thread receives from, a patch, or none. What
/// it meets on its way may ask the controllers of the bridges that it crosses.
#[test]
fn a_controllers_frame_reaches_the_controllers_of_the_bridges_it_crosses() {
    let mut s = TestSwitch::default();
    let patch = |peer: &str| json!({"type": "patch", "options": ["map", [["peer", peer]]]});
    for bridge in ["a", "b", "c"] {
        s.add_bridge(bridge);
    }
    for (bridge, port, peer) in [
        ("a", "ab", "ba"),
        ("b", "ba", "ab"),
        ("b", "bc", "cb"),
        ("c", "cb", "bc"),
    ] {
        s.add_port_of(bridge, port, json!({}), patch(peer));
    }
    s.add_port("b", "p1", json!({}));
    s.add_port("b", "p2", json!({}));
    let ask = flow(FlowCommand::Add, "", [Action::output(OfPort::CONTROLLER)]);
    let mut b = Controller::connect(&mut s, "b", ConnKind::Primary, Version::Of13);
    let mut c = Controller::connect(&mut s, "c", ConnKind::Primary, Version::Of13);
    c.order(&mut s, &ask);
    let frame = Packet::eth(1, 2).build();
    let uuid = s.switch.topology().bridge_by_name("b").unwrap().cfg.uuid;
    let state = s.switch.topology().bridge(uuid).unwrap();
    let named = |name: &str| state.ifaces().find(|(_, i)| i.cfg.name == name);
    let inputs = ["p1", "p2", "ba"].map(|p| named(p).unwrap().1.of_port);
    for input in inputs.into_iter().chain([OfPort::CONTROLLER]) {
        let flood = vec![Action::output(OfPort::FLOOD)];
        let out = PacketOut::new(input, flood, frame.clone());
        b.order(&mut s, &Message::PacketOut(Box::new(out)));
        assert_eq!(c.packet_ins(&mut s).len(), 1, "{input:?}");
    }
}

/// Collects a bundle whose first flow drops everything and whose last sends everything to the port, and asks for its commit.
fn begin_commit(s: &mut TestSwitch, c: &mut Controller, flows: u32, to: OfPort) {
    let (bundle, flags) = (1, BundleFlags::ATOMIC);
    for xid in 0..flows {
        let (text, actions) = match xid {
            0 => (String::new(), Vec::new()),
            x if x + 1 == flows => (String::new(), vec![Action::output(to)]),
            x => (
                format!("arp,arp_tpa=10.0.{}.{}", x >> 8, x & 255),
                Vec::new(),
            ),
        };
        let mut m = FlowMod::new(FlowCommand::Add, matching(&text));
        m.priority = 10 + u16::from(xid + 1 == flows);
        m.instructions = Instructions::apply(actions);
        let m = Message::FlowMod(Box::new(m));
        let message = c.dialect.encode(&m, xid).unwrap();
        let add = Message::BundleAdd(BundleAdd {
            bundle,
            flags,
            message,
        });
        c.give(s, &c.dialect.encode(&add, xid).unwrap());
    }
    while c.turn(s) {}
    let command = BundleCommand::CommitRequest;
    let commit = Message::BundleControl(BundleControl {
        bundle,
        command,
        flags,
    });
    c.give(s, &c.dialect.encode(&commit, flows).unwrap());
}

#[test]
fn long_changes_of_two_bridges_do_not_show_each_other() {
    // Whichever begins, and whichever ends first.
    for (flows, head_start) in [
        ([9_000, 3_000], 0),
        ([9_000, 3_000], 3),
        ([3_000, 9_000], 2),
    ] {
        let mut s = TestSwitch::default();
        let names = [("a", ["a1", "a2"]), ("b", ["b1", "b2"])];
        for (bridge, ports) in names {
            s.add_bridge(bridge);
            ports.iter().for_each(|p| s.add_port(bridge, p, json!({})));
        }
        let bridges: Vec<_> = (0..2)
            .map(|i| {
                let (name, ports) = names[i];
                let mut c = Controller::connect(&mut s, name, ConnKind::Service, Version::Of14);
                let to = s.of(ports[1]);
                begin_commit(&mut s, &mut c, flows[i], to);
                (c, ports)
            })
            .collect();
        let (mut turn, mut more) = (0u8, true);
        while more && turn < 100 {
            more = bridges[0].0.turn(&mut s);
            // Something small in between, so that versions differ.
            if turn == head_start {
                s.add_port("a", "a3", json!({}));
            }
            more |= turn < head_start || bridges[1].0.turn(&mut s);
            turn += 1;
            // None that a cache knows.
            let frame = Packet::eth(turn, 100 + turn).build();
            for (_, [from, to]) in &bridges {
                let out = s.forward(from, &frame);
                assert!(
                    out.iter().any(|(port, _)| port == to),
                    "{flows:?} {head_start}: {from} turn {turn}: {out:?}"
                );
            }
        }
        assert!(!more);
        let frame = Packet::eth(201, 202).build();
        for (_, [from, to]) in &bridges {
            let out = s.forward(from, &frame);
            assert_eq!(out, [((*to).to_owned(), frame.clone())], "{from}");
        }
    }
}
