#![allow(clippy::unwrap_used)]
use rvs_l2::VlanMode;
use rvs_openflow::{Action, GroupId};
use rvs_pipeline::{BridgeId, MacTables, Port};

use super::*;

/// A bridge without flows: ports p1 and p2 are devices 11 and 12, p3 is a patch port that leads nowhere.
fn bridge() -> Bridge {
    let device = |n| Port::device(OfPort(n), DpPort(n + 10), &format!("p{n}"));
    let ports = Ports::singles([
        (device(1), VlanMode::default()),
        (device(2), VlanMode::default()),
        (Port::patch(OfPort(3), None, "p3"), VlanMode::default()),
    ]);
    let mut bridge = Bridge::new(BridgeId(1), "br1");
    bridge.ports = Arc::new(ports.unwrap());
    bridge
}

fn told(flow: &str, names: bool) -> Result<String, String> {
    let bridge = bridge();
    let asked = Asked {
        bridge: Some("br1"),
        flow,
        names,
        ..Asked::default()
    };
    let key = arrival(&bridge, &asked)?;
    let world = World::new(0).with_bridge(1, bridge.clone());
    let view = PipelineView {
        world: &world,
        macs: &MacTables::default(),
        frozen: &FrozenStates::default(),
    };
    let start = start_of(&world, &bridge, &key);
    Ok(follow(
        view,
        &bridge,
        &key,
        (start, FrozenStates::default()),
        &asked,
    )
    .text())
}

#[test]
fn a_miss_is_told_as_programs_expect() {
    let text = told("in_port=1,tcp,nw_src=10.0.0.1,tp_dst=80,nw_ttl=9", false).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let flow = "Flow: tcp,in_port=1,vlan_tci=0x0000,dl_src=00:00:00:00:00:00,dl_dst=00:00:00:00:00:00,\
                nw_src=10.0.0.1,nw_dst=0.0.0.0,nw_tos=0,nw_ecn=0,nw_ttl=9,nw_frag=no,tp_src=0,tp_dst=80,tcp_flags=0";
    assert_eq!(lines[0], flow);
    assert_eq!(lines[1..4], ["", "bridge(\"br1\")", "-------------"]);
    assert_eq!(lines[4..6], [" 0. No match.", "    drop"], "{text}");
    let at = |start: &str| lines.iter().position(|l| l.starts_with(start)).unwrap();
    assert_eq!(lines[at("Final flow:")], "Final flow: unchanged");
    assert!(
        lines[at("Megaflow:")].starts_with("Megaflow: recirc_id=0,eth"),
        "{text}"
    );
    assert!(lines[at("Megaflow:")].contains("in_port=1"), "{text}");
    assert_eq!(
        at("Drop reason: drop_no_rule:") + 1,
        at("Datapath actions:")
    );
    assert_eq!(lines[at("Datapath actions:")], "Datapath actions: drop");
}

#[test]
fn ports_may_be_named_and_need_not_be_devices() {
    let text = told("in_port=p2,arp", true).unwrap();
    assert!(text.starts_with("Flow: arp,in_port=p2,"), "{text}");
    for flow in [
        "in_port=p3,udp",
        "in_port=LOCAL",
        "in_port=77",
        "",
        "reg0=5,in_port=1",
    ] {
        let text = told(flow, false).unwrap();
        assert!(text.contains(" 0. No match."), "{flow}: {text}");
    }
    for bad in ["frob=1", "in_port=nonesuch", "tcp,udp"] {
        let e = told(bad, false).unwrap_err();
        assert!(e.starts_with("Bad openflow flow syntax: "), "{e}");
    }
}

#[test]
fn what_a_flow_announces_is_there() {
    let present = |flow: &str| {
        let asked = Asked {
            flow,
            ..Asked::default()
        };
        arrival(&bridge(), &asked).unwrap().flow
    };
    let tcp = present("tcp,dl_vlan=5");
    assert!(tcp
        .present
        .has(Present::IPV4.with(Present::TCP).with(Present::VLAN0)));
    assert_eq!((tcp.vlan0_tpid.get(), tcp.nw_ttl), (0x8100, 64));
    assert_eq!(present("tcp,nw_ttl=0").nw_ttl, 0);
    assert!(present("icmp6")
        .present
        .has(Present::IPV6.with(Present::ICMP)));
    let later = present("udp,nw_frag=later").present;
    assert!(later.has(Present::LATER_FRAG) && !later.any(Present::UDP));
    assert!(present("arp").present.has(Present::ARP));
    assert_eq!(present("").present, Present::NONE);
}

#[test]
fn parameters_are_read() {
    let words = |t: &str| t.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let p = words("br1 in_port=1 -generate --names");
    let a = Asked::parse(&p, false).unwrap();
    assert_eq!(
        (a.bridge, a.flow, a.names),
        (Some("br1"), "in_port=1", true)
    );
    let p = words("br1 in_port=1 ffffffffffff0000000000010806");
    assert_eq!(Asked::parse(&p, false).unwrap().packet.unwrap().len(), 14);
    for bad in [
        "br1",
        "br1 x 00",
        "br1 x 0",
        "br1 x zz",
        "br1 x y z",
        "--frob br1 x",
    ] {
        assert!(Asked::parse(&words(bad), false).is_err(), "{bad}");
    }
}

/// A packet is the last word if it is one: the words before it are a bridge and a flow, or a flow alone.
#[test]
fn stock_traces_take_a_packet_behind_a_flow_without_a_bridge() {
    let words = |t: &str| t.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let p = words("in_port(4) ffffffffffff02000000000988b5");
    let a = Asked::parse(&p, true).unwrap();
    assert_eq!((a.bridge, a.flow, a.teaches), (None, "in_port(4)", true));
    assert_eq!(a.packet.unwrap().len(), 14);
    let p = words("in_port=4");
    assert_eq!(Asked::parse(&p, true).unwrap().flow, "in_port=4");
    let p = words("br1 in_port=4 02000000zz");
    let e = Asked::parse(&p, true).unwrap_err();
    assert_eq!(e, "Trailing garbage in packet data");
}

fn rule(table: u8, priority: u16, cookie: u64) -> TraceEvent {
    let mut matching = Match::any();
    if priority > 0 {
        matching.set_in_port(OfPort(1));
    }
    TraceEvent::Rule {
        table: TableId(table),
        priority,
        cookie,
        matching: Box::new(matching),
    }
}

fn bridge_event() -> TraceEvent {
    TraceEvent::Bridge {
        name: "br1".to_owned(),
        in_port: OfPort(1),
    }
}

/// The lines of these events, as they are printed.
fn laid_out(events: impl IntoIterator<Item = (u16, TraceEvent)>, stock: bool) -> Vec<String> {
    let world = World::default();
    let mut layout = Layout::new(Words::default(), &world, stock);
    for (depth, event) in events {
        layout.line(&TraceLine { depth, event });
    }
    let lines = layout.finish();
    lines.iter().map(|(n, s)| format!("{:n$}{s}", "")).collect()
}

#[test]
fn tables_nest_and_actions_stand_below_them() {
    let resubmit = Action::Resubmit {
        port: None,
        table: Some(TableId(1)),
    };
    let bucket = TraceEvent::Bucket {
        group: GroupId(5),
        index: 1,
        chosen: true,
    };
    let events = [
        (0, bridge_event()),
        (0, rule(0, 100, 0xabc)),
        (0, TraceEvent::Action(resubmit.clone())),
        (0, rule(1, 7, 0)),
        (1, TraceEvent::Action(Action::output(OfPort(2)))),
        (0, TraceEvent::Action(resubmit)),
        (0, TraceEvent::Miss { table: TableId(1) }),
        (0, TraceEvent::Note("said".to_owned())),
        (0, TraceEvent::Aside("kept to itself".to_owned())),
        (0, rule(2, 0, 0)),
        (0, TraceEvent::Action(Action::Group(GroupId(5)))),
        (0, bucket),
        (1, TraceEvent::Action(Action::output(OfPort(3)))),
        (0, TraceEvent::Action(Action::output(OfPort(1)))),
        (0, TraceEvent::Drop(DropReason::InPort)),
    ];
    let wanted = [
        "",
        "bridge(\"br1\")",
        "-------------",
        " 0. in_port=1, priority 100, cookie 0xabc",
        "    resubmit(,1)",
        "     1. in_port=1, priority 7",
        "            output:2",
        "    resubmit(,1)",
        "     1. No match.",
        "            drop",
        "     -> said",
        "    goto_table:2",
        " 2. priority 0",
        "    group:5",
        "     -> using bucket 1",
        "    bucket 1",
        "            output:3",
        "    output:1",
        "     >> skipping output to input port",
    ];
    assert_eq!(laid_out(events, true), wanted);
}

#[test]
fn instructions_and_the_action_set_have_lines_of_their_own() {
    let alone = |text: &str| {
        let words = Words::new(rvs_openflow::Version::Of13);
        let flow = format!("actions={text}");
        let add = rvs_openflow::message::FlowCommand::Add;
        let flow = rvs_openflow::text::parse_flow(&flow, add, &words).unwrap();
        TraceEvent::Instruction(Box::new(flow.instructions))
    };
    let events = [
        bridge_event(),
        rule(0, 1, 0),
        alone("meter:5"),
        TraceEvent::Aside("if meter 5 has tokens".to_owned()),
        alone("clear_actions"),
        TraceEvent::ActionSetWas(Vec::new()),
        alone("write_actions(output:2)"),
        TraceEvent::ActionSetIs(vec![Action::output(OfPort(2))]),
        alone("write_metadata:0x5/0xff"),
        rule(1, 1, 0),
        TraceEvent::Drop(DropReason::Action),
        TraceEvent::ActionSet,
        TraceEvent::Action(Action::output(OfPort(2))),
    ];
    let wanted = [
        "",
        "bridge(\"br1\")",
        "-------------",
        " 0. in_port=1, priority 1",
        "    meter:5",
        "     -> if meter 5 has tokens",
        "    clear_actions",
        "     -> action set was empty",
        "    write_actions(output:2)",
        "     -> action set is: output:2",
        "    write_metadata:0x5/0xff",
        "    goto_table:1",
        "     1. in_port=1, priority 1",
        "            drop",
        "             >> The matching rule has no output.",
        "--. Executing action set:",
        "    output:2",
    ];
    assert_eq!(laid_out(events.map(|e| (0, e)), false), wanted);
}

#[test]
fn another_bridge_stands_where_its_patch_port_is_and_what_was_written_is_told() {
    let whole = |name: &str| name.parse().unwrap();
    let events = [
        (0, bridge_event()),
        (0, rule(0, 1, 0)),
        (0, TraceEvent::Action(Action::output(OfPort(9)))),
        (1, bridge_event()),
        (1, rule(0, 0, 0)),
        (1, TraceEvent::Drop(DropReason::Action)),
        (
            0,
            TraceEvent::Written {
                dst: whole("NXM_OF_ETH_DST[]"),
                value: 0x1122_3344_5566,
            },
        ),
        (
            0,
            TraceEvent::Written {
                dst: whole("NXM_NX_REG0[0..3]"),
                value: 0,
            },
        ),
    ];
    let wanted = [
        "",
        "bridge(\"br1\")",
        "-------------",
        " 0. in_port=1, priority 1",
        "    output:9",
        "",
        "    bridge(\"br1\")",
        "    -------------",
        "         0. priority 0",
        "            drop",
        "     -> NXM_OF_ETH_DST[] is now 11:22:33:44:55:66",
        "     -> NXM_NX_REG0[0..3] is now 0",
    ];
    assert_eq!(laid_out(events, true), wanted);
}

/// What stock tools get is what they would get of the field's daemon: no reasons, and flows to the letter.
#[test]
fn stock_traces_say_what_the_fields_say() {
    let bridge = bridge();
    let asked = Asked {
        bridge: Some("br1"),
        flow: "in_port=1,ip",
        stock: true,
        ..Asked::default()
    };
    let key = arrival(&bridge, &asked).unwrap();
    let world = World::new(0).with_bridge(1, bridge.clone());
    let view = PipelineView {
        world: &world,
        macs: &MacTables::default(),
        frozen: &FrozenStates::default(),
    };
    let start = start_of(&world, &bridge, &key);
    let text = follow(
        view,
        &bridge,
        &key,
        (start, FrozenStates::default()),
        &asked,
    )
    .text();
    assert!(text.contains("nw_ttl=0"), "{text}");
    let (steps, _) = text.split_once("\nMegaflow: ").unwrap();
    assert!(
        steps.ends_with(" 0. No match.\n    drop\n\nFinal flow: unchanged"),
        "{text}"
    );
    assert!(!text.contains("Drop reason"), "{text}");
}

#[test]
fn the_packet_type_stands_behind_the_datapaths_own() {
    assert_eq!(with_eth("recirc_id=0,tcp"), "recirc_id=0,eth,tcp");
    assert_eq!(
        with_eth("pkt_mark=1,recirc_id=0"),
        "pkt_mark=1,recirc_id=0,eth"
    );
    assert_eq!(with_eth(""), "eth");
    assert_eq!(with_eth("in_port=1"), "eth,in_port=1");
}
