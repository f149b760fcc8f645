//! Flow monitors.

use super::*;

const ALL: u16 = MonitorFlags::INITIAL.0
    | MonitorFlags::ADD.0
    | MonitorFlags::REMOVED.0
    | MonitorFlags::MODIFY.0
    | MonitorFlags::INSTRUCTIONS.0;

fn monitor(id: u32, flags: u16, of: &str) -> FlowMonitorRequest {
    FlowMonitorRequest {
        id,
        command: MonitorCommand::Add,
        flags: MonitorFlags(flags),
        out_port: OfPort::ANY,
        out_group: GroupId::ANY,
        table: TableId::ALL,
        matching: matching(of),
    }
}

fn request(q: Vec<FlowMonitorRequest>) -> Message {
    Message::MultipartRequest(MultipartRequest::new(Request::FlowMonitor(q)))
}

fn updates(heard: &[(u32, Message)]) -> Vec<FlowUpdate> {
    let of = |(_, m): &(u32, Message)| match m {
        Message::MultipartReply(MultipartReply {
            body: Reply::FlowMonitor(u),
            ..
        }) => u.clone(),
        Message::FlowMonitorPaused => vec![FlowUpdate::Paused],
        Message::FlowMonitorResumed => vec![FlowUpdate::Resumed],
        m => panic!("{m:?}"),
    };
    heard.iter().flat_map(of).collect()
}

fn start(rig: &mut Rig, c: Client, q: FlowMonitorRequest) -> Vec<FlowUpdate> {
    rig.say(c, 30, &request(vec![q]));
    let heard = rig.hear(c);
    assert!(heard.iter().all(|(x, _)| *x == 30));
    assert!(!heard.is_empty());
    updates(&heard)
}

fn events(u: &[FlowUpdate]) -> Vec<FlowEvent> {
    let of = |u: &FlowUpdate| match u {
        FlowUpdate::Flow(f) => f.event,
        u => panic!("{u:?}"),
    };
    u.iter().map(of).collect()
}

#[test]
fn what_others_change_is_told_in_full() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let (a, b) = (rig.controller(version), rig.controller(version));
        rig.done(b, &flow_mod(add_flow(1)));
        let first = start(&mut rig, a, monitor(1, ALL, ""));
        let initial = match version {
            Version::Of14 | Version::Of15 => FlowEvent::Initial,
            _ => FlowEvent::Added,
        };
        assert_eq!(events(&first), [initial]);
        rig.done(b, &flow_mod(add_flow(2)));
        let mut m = add_flow(2);
        m.command = FlowCommand::ModifyStrict;
        m.instructions = Instructions::apply([Action::output(OfPort(3))]);
        rig.done(b, &flow_mod(m.clone()));
        m.command = FlowCommand::DeleteStrict;
        m.table = TableId(0);
        rig.done(b, &flow_mod(m));
        let heard = rig.hear(a);
        assert!(heard.iter().all(|(x, _)| *x == 0));
        let told = updates(&heard);
        let removed = FlowEvent::Removed(FlowRemovedReason::Delete);
        let want = [FlowEvent::Added, FlowEvent::Modified, removed];
        assert_eq!(events(&told), want, "{version}");
        let FlowUpdate::Flow(f) = &told[1] else {
            panic!()
        };
        assert_eq!(f.instructions.apply[..], [Action::output(OfPort(3))]);
        assert!(updates(&rig.hear(b)).is_empty());
    }
}

#[test]
fn what_a_connection_does_itself_is_told_in_short() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        start(&mut rig, c, monitor(1, ALL, ""));
        rig.say(c, 42, &flow_mod(add_flow(1)));
        let heard = rig.hear(c);
        assert_eq!(updates(&heard), [FlowUpdate::Abbrev { xid: 42 }]);
        let full = ALL | MonitorFlags::NO_ABBREV.0;
        start(&mut rig, c, monitor(2, full, ""));
        rig.say(c, 43, &flow_mod(add_flow(2)));
        let heard = rig.hear(c);
        assert_eq!(events(&updates(&heard)), [FlowEvent::Added]);
    }
}

#[test]
fn a_monitor_sees_what_it_asked_for() {
    let mut rig = Rig::new();
    let (a, b) = (rig.controller(Version::Of13), rig.controller(Version::Of13));
    let adds = MonitorFlags::ADD.0;
    start(&mut rig, a, monitor(1, adds, "udp,tp_dst=7"));
    let mut by_port = monitor(2, adds, "tcp");
    by_port.out_port = OfPort(3);
    start(&mut rig, a, by_port);
    rig.done(b, &flow_mod(add_flow(6)));
    assert!(rig.hear(a).is_empty());
    rig.done(b, &flow_mod(add_flow(7)));
    let told = updates(&rig.hear(a));
    assert_eq!(events(&told), [FlowEvent::Added]);
    let FlowUpdate::Flow(f) = &told[0] else {
        panic!()
    };
    assert!(f.instructions.is_empty(), "not asked for");
    rig.done(b, &delete_all());
    assert!(rig.hear(a).is_empty());
    for port in [1, 3] {
        let mut m = FlowMod::new(FlowCommand::Add, matching("tcp"));
        m.instructions = Instructions::apply([Action::output(OfPort(port))]);
        rig.done(b, &flow_mod(m));
        assert_eq!(rig.hear(a).len(), usize::from(port == 3));
    }
}

#[test]
fn only_own_changes() {
    let mut rig = Rig::new();
    let (a, b) = (rig.controller(Version::Of14), rig.controller(Version::Of14));
    let own = MonitorFlags::ADD.0 | MonitorFlags::ONLY_OWN.0 | MonitorFlags::NO_ABBREV.0;
    start(&mut rig, a, monitor(1, own, ""));
    rig.done(b, &flow_mod(add_flow(1)));
    assert!(rig.hear(a).is_empty());
    rig.say(a, 3, &flow_mod(add_flow(2)));
    assert_eq!(updates(&rig.hear(a)).len(), 1);
}

/// What `ovs-ofctl -O OpenFlow14 monitor br1 watch:` says, and what it expects of it (Open vSwitch 3.1 does that).
#[test]
fn own_of_ovs_ofctl() {
    for version in [Version::Of14, Version::Of15] {
        let mut rig = Rig::new();
        let (a, b) = (rig.controller(version), rig.controller(version));
        start(&mut rig, a, monitor(1, ALL | MonitorFlags::ONLY_OWN.0, ""));
        rig.done(b, &flow_mod(add_flow(1)));
        assert_eq!(events(&updates(&rig.hear(a))), [FlowEvent::Added]);
        rig.say(a, 3, &flow_mod(add_flow(2)));
        assert_eq!(events(&updates(&rig.hear(a))), [FlowEvent::Added]);
    }
}

#[test]
fn monitors_have_numbers_and_a_limit() {
    for version in [Version::Of10, Version::Of13, Version::Of14] {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        for id in 0..16 {
            start(&mut rig, c, monitor(id, ALL, ""));
        }
        let again = request(vec![monitor(3, ALL, "")]);
        assert_eq!(rig.error(c, &again), ErrorCode::MofcMonitorExists);
        let m = c.dialect.encode(&request(vec![monitor(16, ALL, "")]), 5);
        rig.say_bytes(c.conn, &m.unwrap());
        assert!(matches!(rig.hear(c)[..], [(5, Message::Error(_))]));
        if version < Version::Of14 {
            rig.done(c, &Message::FlowMonitorCancel(3));
            let unknown = Message::FlowMonitorCancel(3);
            assert_eq!(rig.error(c, &unknown), ErrorCode::MofcUnknownMonitor);
        } else {
            let mut q = monitor(3, 0, "");
            q.command = MonitorCommand::Delete;
            rig.say(c, 1, &request(vec![q.clone()]));
            assert_eq!(rig.hear(c).len(), 1);
            let m = request(vec![q.clone()]);
            assert_eq!(rig.error(c, &m), ErrorCode::MofcUnknownMonitor);
            q.command = MonitorCommand::Modify;
            q.flags = MonitorFlags(ALL);
            let m = request(vec![q]);
            assert_eq!(rig.error(c, &m), ErrorCode::MofcUnknownMonitor);
        }
        start(&mut rig, c, monitor(16, ALL, ""));
    }
}

/// At 128 KiB monitors pause; what they missed is told when they have been read, and nothing more than that.
#[test]
fn a_slow_reader_is_paused_and_told_later() {
    for version in [Version::Of10, Version::Of13, Version::Of15] {
        let mut rig = Rig::new();
        let (a, b) = (rig.controller(version), rig.controller(version));
        start(&mut rig, a, monitor(1, ALL, ""));
        let n = 3000u16;
        for i in 0..n {
            rig.now = rig.now + Duration::from_millis(1);
            rig.say(b, 1, &flow_mod(add_flow(i)));
        }
        // Some that it knows are deleted, some changed.
        for i in 0..10 {
            let mut m = add_flow(i);
            m.command = FlowCommand::DeleteStrict;
            rig.say(b, 1, &flow_mod(m));
            let mut m = add_flow(10 + i);
            m.command = FlowCommand::ModifyStrict;
            m.instructions = Instructions::apply([Action::output(OfPort(2))]);
            rig.say(b, 1, &flow_mod(m));
        }
        let waits = rig.agent.output(a.conn).len();
        assert!(waits < limits::MONITOR_BACKLOG + 4000, "{waits}");
        let told = updates(&rig.hear(a));
        let at = |u| told.iter().position(|x| *x == u);
        let (paused, resumed) = (at(FlowUpdate::Paused), at(FlowUpdate::Resumed));
        assert!(paused.is_some_and(|p| p > 100) && resumed == Some(told.len() - 1));
        // What is told adds up to what is there.
        let mut flows = std::collections::BTreeMap::new();
        for u in &told {
            let FlowUpdate::Flow(f) = u else { continue };
            let port = f.matching.field(rvs_flow::FieldId::UdpDst).0;
            match f.event {
                FlowEvent::Removed(_) => {
                    assert!(flows.remove(&port).is_some());
                }
                _ => {
                    flows.insert(port, f.instructions.clone());
                }
            }
        }
        let there = rig.flows(b).into_iter().map(|f| {
            let port = f.matching.field(rvs_flow::FieldId::UdpDst).0;
            (port, f.instructions)
        });
        assert_eq!(flows, there.collect(), "{version}");
        rig.say(b, 1, &flow_mod(add_flow(9999)));
        assert_eq!(events(&updates(&rig.hear(a))), [FlowEvent::Added]);
    }
}

/// What comes and goes while monitors are paused is never told of; what was there before is, also when the clock stands still.
#[test]
fn while_paused_only_flows_that_were_told_of_are_said_to_go() {
    let mut rig = Rig::new();
    let (a, b) = (rig.controller(Version::Of13), rig.controller(Version::Of13));
    start(&mut rig, a, monitor(1, ALL, ""));
    let n = 3000u16;
    for i in 0..n {
        rig.say(b, 1, &flow_mod(add_flow(i)));
    }
    // Known, added anew, and gone: the last word is to be that.
    rig.say(b, 1, &flow_mod(add_flow(7)));
    rig.done(b, &delete_all());
    let told = updates(&rig.hear(a));
    let mut known = std::collections::BTreeSet::new();
    let mut gone = 0;
    for u in &told {
        let FlowUpdate::Flow(f) = u else { continue };
        let port = f.matching.field(rvs_flow::FieldId::UdpDst).0;
        match f.event {
            FlowEvent::Removed(_) => {
                assert!(known.remove(&port), "{port} was never there");
                gone += 1;
            }
            _ => assert!(known.insert(port)),
        }
    }
    assert!(known.is_empty(), "{known:?} are said to be there still");
    assert!(gone > 100 && gone < n);
    assert_eq!(told.last(), Some(&FlowUpdate::Resumed));
    assert!(told.contains(&FlowUpdate::Paused));
}

/// The flows of a long bundle have one time, and are told in slices: a monitor that pauses in the middle hears the rest once.
#[test]
fn a_monitor_that_pauses_within_a_bundle_hears_of_no_flow_three_times() {
    let mut rig = Rig::new();
    let (a, b) = (rig.controller(Version::Of13), rig.controller(Version::Of13));
    start(&mut rig, a, monitor(1, ALL, ""));
    let n = 6 * 1024u16;
    let control = |command| {
        Message::BundleControl(BundleControl {
            bundle: 1,
            command,
            flags: BundleFlags(3),
        })
    };
    rig.say(b, 1, &control(BundleCommand::OpenRequest));
    for i in 0..n {
        let m = Message::BundleAdd(BundleAdd {
            bundle: 1,
            flags: BundleFlags(3),
            message: b.dialect.encode(&flow_mod(add_flow(i)), i.into()).unwrap(),
        });
        rig.say(b, i.into(), &m);
    }
    let commit = b.dialect.encode(&control(BundleCommand::CommitRequest), 2);
    rig.agent.input(b.conn, &commit.unwrap());
    let mut told = Vec::new();
    // It reads all the time.
    while rig.agent.turn(rig.now, &mut rig.plant) {
        told.extend(updates(&rig.hear(a)));
    }
    told.extend(updates(&rig.hear(a)));
    let before = told.iter().position(|u| *u == FlowUpdate::Paused).unwrap();
    let mut times = std::collections::BTreeMap::new();
    for u in &told {
        if let FlowUpdate::Flow(f) = u {
            let port = f.matching.field(rvs_flow::FieldId::UdpDst).0;
            *times.entry(port).or_insert(0) += 1;
        }
    }
    assert_eq!(times.len(), usize::from(n));
    // The list at the end has what was told before the pause, too.
    let again: usize = times.values().map(|t| t - 1).sum();
    assert!(again <= before, "{again} of {before} are told again");
}

/// An add that takes a flow's place takes it away from a port as a modification does.
#[test]
fn a_flow_is_seen_leaving_a_port() {
    for command in [FlowCommand::Add, FlowCommand::ModifyStrict] {
        let mut rig = Rig::new();
        let (a, b) = (rig.controller(Version::Of13), rig.controller(Version::Of13));
        let mut q = monitor(1, ALL, "");
        q.out_port = OfPort(3);
        start(&mut rig, a, q);
        let mut m = add_flow(1);
        m.instructions = Instructions::apply([Action::output(OfPort(3))]);
        rig.done(b, &flow_mod(m.clone()));
        assert_eq!(events(&updates(&rig.hear(a))), [FlowEvent::Added]);
        m.command = command;
        m.instructions = Instructions::apply([Action::output(OfPort(4))]);
        rig.done(b, &flow_mod(m.clone()));
        let event = match command {
            FlowCommand::Add => FlowEvent::Added,
            _ => FlowEvent::Modified,
        };
        assert_eq!(events(&updates(&rig.hear(a))), [event]);
        rig.done(b, &delete_all());
        assert!(rig.hear(a).is_empty());
    }
}

/// A modification that changes neither cookie nor instructions is not told of; an add always is.
#[test]
fn what_changes_nothing_is_not_told() {
    let mut rig = Rig::new();
    let (a, b) = (rig.controller(Version::Of13), rig.controller(Version::Of10));
    start(&mut rig, a, monitor(1, ALL, ""));
    let mut m = add_flow(1);
    m.new_cookie = Some(5);
    rig.done(b, &flow_mod(m.clone()));
    rig.done(b, &flow_mod(m.clone()));
    m.command = FlowCommand::ModifyStrict;
    rig.done(b, &flow_mod(m.clone()));
    let told = updates(&rig.hear(a));
    assert_eq!(events(&told), [FlowEvent::Added, FlowEvent::Added]);
    m.new_cookie = Some(6);
    m.modify_cookie = true;
    rig.done(b, &flow_mod(m));
    assert_eq!(events(&updates(&rig.hear(a))), [FlowEvent::Modified]);
}

/// A turn that can do nothing must not be asked for, or the caller never sleeps.
#[test]
fn a_paused_connection_that_is_closed_wants_no_turn() {
    let mut rig = Rig::new();
    let (a, b) = (rig.controller(Version::Of14), rig.controller(Version::Of14));
    start(&mut rig, a, monitor(1, ALL, ""));
    for i in 0..3000u16 {
        rig.say(b, 1, &flow_mod(add_flow(i)));
    }
    assert!(rig.agent.conns[&a.conn].backlog() > limits::MONITOR_BACKLOG);
    rig.say_bytes(a.conn, &[5, 2, 0, 7, 0, 0, 0, 1]);
    assert_eq!(rig.closed(), [CloseReason::BadStream]);
    let n = rig.agent.output(a.conn).len();
    rig.agent.sent(a.conn, n);
    rig.turn();
    assert!(!rig.agent.wants_turn());
}

/// Flows that go while they are still being listed are listed first, and then said to be gone.
#[test]
fn the_last_word_about_a_flow_is_true_also_while_flows_are_listed() {
    let mut rig = Rig::new();
    let (a, b) = (rig.controller(Version::Of14), rig.controller(Version::Of14));
    let n = 6000u16;
    for i in 0..n {
        rig.say(b, 1, &flow_mod(add_flow(i)));
    }
    // The listing stops where it fills what may wait, and goes on when that is read.
    let m = a.dialect.encode(&request(vec![monitor(1, ALL, "")]), 5);
    rig.say_bytes(a.conn, &m.unwrap());
    assert!(rig.agent.output(a.conn).len() > 1000);
    let mut m = FlowMod::new(FlowCommand::Delete, FlowMatch::any());
    m.table = TableId::ALL;
    rig.done(b, &flow_mod(m));
    let mut told = Vec::new();
    for _ in 0..100 {
        told.extend(updates(&rig.hear(a)));
        rig.turn();
    }
    let mut flows = std::collections::BTreeSet::new();
    for u in &told {
        let FlowUpdate::Flow(f) = u else { continue };
        let port = f.matching.field(rvs_flow::FieldId::UdpDst).0;
        match f.event {
            FlowEvent::Removed(_) => assert!(flows.remove(&port), "{port} was not there"),
            _ => assert!(flows.insert(port)),
        }
    }
    assert!(flows.is_empty(), "{} of {n} are left", flows.len());
    assert!(told.len() >= 2 * usize::from(n));
}

/// One request can't ask for the same flows again and again.
#[test]
fn a_monitor_that_is_changed_lists_its_flows_once() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    rig.done(c, &flow_mod(add_flow(1)));
    let mut all = vec![monitor(1, ALL, "")];
    for _ in 0..1000 {
        let mut q = monitor(1, ALL, "");
        q.command = MonitorCommand::Modify;
        all.push(q);
    }
    let m = c.dialect.encode(&request(all), 5);
    rig.say_bytes(c.conn, &m.unwrap());
    assert_eq!(updates(&rig.hear(c)).len(), 1);
}
