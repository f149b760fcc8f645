//! Roles, and who hears what.

use super::*;

fn role(role: Role, generation_id: Option<u64>) -> Message {
    Message::RoleRequest(RoleMessage {
        role,
        generation_id,
        short_id: 0,
        nicira: false,
    })
}

fn become_one(rig: &mut Rig, c: Client, r: Role, generation: u64) {
    let reply = rig.ask_one(c, &role(r, Some(generation)));
    let Message::RoleReply(m) = reply else {
        panic!("{reply:?}")
    };
    assert_eq!((m.role, m.generation_id), (r, Some(generation)));
}

#[test]
fn a_new_primary_takes_the_place_of_the_old() {
    for version in [Version::Of12, Version::Of13, Version::Of14, Version::Of15] {
        let mut rig = Rig::new();
        let (a, b) = (rig.controller(version), rig.controller(version));
        become_one(&mut rig, a, Role::Primary, 5);
        become_one(&mut rig, b, Role::Primary, 6);
        let heard = rig.hear(a);
        if version >= Version::Of13 {
            let [(0, Message::RoleStatus(s))] = &heard[..] else {
                panic!("{heard:?}")
            };
            assert_eq!((s.role, s.generation_id), (Role::Secondary, Some(6)));
            assert_eq!(s.reason, RoleReason::PrimaryRequest);
        } else {
            assert!(heard.is_empty());
        }
        assert_eq!(rig.agent.status(a.conn).unwrap().role, Role::Secondary);
        assert_eq!(
            rig.error(a, &role(Role::Primary, Some(4))),
            ErrorCode::RrfcStale
        );
        assert_eq!(
            rig.error(a, &role(Role::Secondary, Some(5))),
            ErrorCode::RrfcStale
        );
        // Equal has no generation, and asking changes nothing.
        let asked = rig.ask_one(a, &role(Role::NoChange, None));
        assert!(matches!(asked, Message::RoleReply(m) if m.role == Role::Secondary));
        become_one(&mut rig, a, Role::Primary, 6);
        assert_eq!(rig.agent.status(b.conn).unwrap().role, Role::Secondary);
    }
}

#[test]
fn a_secondary_changes_nothing() {
    for version in [Version::Of12, Version::Of13, Version::Of14, Version::Of15] {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        become_one(&mut rig, c, Role::Secondary, 1);
        let mut changes = vec![
            flow_mod(add_flow(1)),
            packet_out(OfPort(1), vec![]),
            Message::PortMod(Box::new(PortMod {
                number: OfPort(1),
                mac: port(1).mac,
                config: PortConfig(0),
                mask: PortConfig(0),
                advertise: PortFeatures(0),
            })),
            Message::GroupMod(Box::new(GroupMod {
                command: GroupCommand::Delete,
                command_bucket: BUCKET_ALL,
                group: Group {
                    id: GroupId::ALL,
                    kind: GroupKind::All,
                    selection: Selection::Default,
                    buckets: Box::new([]),
                },
            })),
            Message::TableMod(TableConfig::default()),
        ];
        if version >= Version::Of13 {
            changes.push(Message::MeterMod(Box::new(MeterMod {
                command: MeterCommand::Delete,
                meter: Meter {
                    id: MeterId::ALL,
                    unit: MeterUnit::KilobitsPerSecond,
                    burst: false,
                    stats: false,
                    bands: Box::new([]),
                },
            })));
            changes.push(Message::BundleControl(BundleControl {
                bundle: 1,
                command: BundleCommand::OpenRequest,
                flags: BundleFlags(0),
            }));
            let mut t = TableFeatures::default();
            t.properties.clear();
            let features = Request::TableFeatures(vec![t]);
            let m = Message::MultipartRequest(MultipartRequest::new(features));
            if rig.agent.status(c.conn).unwrap().version == Some(Version::Of15) {
                // Other versions want every property of a table that is set.
                changes.push(m);
            }
        }
        for m in &changes {
            assert_eq!(
                rig.error(c, m),
                ErrorCode::BrcIsSecondary,
                "{version} {m:?}"
            );
        }
        assert!(rig.flows(c).is_empty(), "reading is allowed");
        rig.done(c, &Message::SetConfig(SwitchConfig::default()));
    }
}

#[test]
fn nicira_roles_are_for_1_0() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of10);
    let nicira = |role| {
        Message::RoleRequest(RoleMessage {
            role,
            generation_id: None,
            short_id: 0,
            nicira: true,
        })
    };
    let Message::RoleReply(r) = rig.ask_one(c, &nicira(Role::Secondary)) else {
        panic!()
    };
    assert_eq!((r.role, r.nicira), (Role::Secondary, true));
    // 1.0 has no number of its own for it: it is a lack of permission.
    let m = c.dialect.encode(&flow_mod(add_flow(1)), 4).unwrap();
    rig.say_bytes(c.conn, &m);
    let heard = rig.hear(c);
    assert!(matches!(&heard[..], [(4, Message::Error(e))] if (e.kind, e.code) == (1, 5)));
}

#[test]
fn no_role_binds_a_service_connection() {
    let mut rig = Rig::new();
    let c = rig.client(ConnKind::Service, Dialect::new(Version::Of13));
    become_one(&mut rig, c, Role::Secondary, 1);
    rig.done(c, &flow_mod(add_flow(1)));
    assert_eq!(rig.flows(c).len(), 1);
}

fn is_port_status(m: &(u32, Message)) -> bool {
    matches!(m.1, Message::PortStatus(_))
}

#[test]
fn a_secondary_hears_of_ports_alone() {
    let mut rig = Rig::new();
    let (a, b) = (rig.controller(Version::Of13), rig.controller(Version::Of13));
    become_one(&mut rig, b, Role::Secondary, 1);
    let mut m = add_flow(1);
    m.flags = FlowFlags::SEND_FLOW_REM;
    rig.done(a, &flow_mod(m));
    rig.say(a, 1, &delete_all());
    rig.agent.state.set_ports(vec![port(1), port(2)]);
    rig.agent
        .packet_in(rig.now, &[0; 60], 60, &note(1, PacketInReason::Action));
    rig.turn();
    let heard = rig.hear(a);
    let names = |m: &(u32, Message)| match &m.1 {
        Message::FlowRemoved(f) => format!("removed {:?}", f.reason),
        Message::PortStatus(s) => format!("{:?} {}", s.change, s.port.number.0),
        Message::PacketIn(_) => "packet-in".into(),
        m => panic!("{m:?}"),
    };
    let said: Vec<String> = heard.iter().map(names).collect();
    assert_eq!(said, ["removed Delete", "packet-in", "Delete 3"]);
    let heard = rig.hear(b);
    assert!(heard.len() == 1 && is_port_status(&heard[0]), "{heard:?}");
}

#[test]
fn service_connections_hear_nothing_until_they_ask() {
    let mut rig = Rig::new();
    let c = rig.client(ConnKind::Service, Dialect::new(Version::Of13));
    let events = |rig: &mut Rig, n: u32| {
        rig.agent.state.set_ports((1..=n).map(port).collect());
        let pin = note(1, PacketInReason::Action);
        rig.agent.packet_in(rig.now, &[0; 60], 60, &pin);
        rig.turn();
    };
    events(&mut rig, 4);
    assert!(rig.hear(c).is_empty());
    let config = SwitchConfig {
        miss_send_len: 128,
        ..SwitchConfig::default()
    };
    rig.done(c, &Message::SetConfig(config));
    events(&mut rig, 5);
    assert_eq!(rig.hear(c).len(), 2);
}

#[test]
fn a_controller_chooses_what_it_hears() {
    for version in [Version::Of13, Version::Of14, Version::Of15] {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        let Message::GetAsyncReply(before) = rig.ask_one(c, &Message::GetAsyncRequest) else {
            panic!()
        };
        let finer = if version >= Version::Of14 { 0x3b } else { 3 };
        assert_eq!(before.get(AsyncKind::PacketIn, false), Some(finer));
        let mut wish = AsyncConfig::default();
        wish.set(AsyncKind::PacketIn, false, 0b100);
        wish.set(AsyncKind::PacketIn, true, 0);
        wish.set(AsyncKind::PortStatus, false, 0);
        wish.set(AsyncKind::PortStatus, true, 0);
        wish.set(AsyncKind::FlowRemoved, false, 0);
        wish.set(AsyncKind::FlowRemoved, true, 0);
        rig.done(c, &Message::SetAsync(Box::new(wish)));
        for reason in [PacketInReason::Action, PacketInReason::InvalidTtl] {
            rig.agent.packet_in(rig.now, &[0; 60], 60, &note(1, reason));
        }
        rig.agent.state.set_ports(vec![]);
        rig.turn();
        let heard = rig.hear(c);
        let [(0, Message::PacketIn(p))] = &heard[..] else {
            panic!("{heard:?}")
        };
        assert_eq!(p.reason, PacketInReason::InvalidTtl);
        assert!(rig.agent.state.config().1, "the pipeline is told");
    }
}

#[test]
fn other_controllers_requests_are_forwarded_to_those_who_ask() {
    let mut rig = Rig::new();
    let (a, b) = (rig.controller(Version::Of14), rig.controller(Version::Of14));
    let mut wish = AsyncConfig::default();
    wish.set(AsyncKind::RequestForward, false, 3);
    rig.done(a, &Message::SetAsync(Box::new(wish)));
    rig.done(b, &Message::SetAsync(Box::new(wish)));
    let m = Message::GroupMod(Box::new(GroupMod {
        command: GroupCommand::Add,
        command_bucket: BUCKET_ALL,
        group: Group {
            id: GroupId(4),
            kind: GroupKind::All,
            selection: Selection::Default,
            buckets: Box::new([]),
        },
    }));
    rig.say(a, 21, &m);
    let heard = rig.hear(b);
    let [(0, Message::RequestForward(f))] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!((f.xid, &f.request), (21, &m));
    assert!(rig.hear(a).is_empty(), "not to who asked");
}

/// A controller of 1.5 that the configuration names, past its handshake.
fn named(rig: &mut Rig, uri: &str) -> Client {
    let conn = rig.connect(ConnKind::Primary, VersionSet::ALL);
    rig.agent.belongs_to(conn, uri);
    let dialect = Dialect::new(Version::Of15);
    let versions = VersionSet::default().with(Version::Of15);
    let c = Client { conn, dialect };
    rig.say(c, 1, &Message::Hello(Hello { versions }));
    let heard = rig.hear(c);
    assert!(matches!(heard[..], [(_, Message::Hello(_))]), "{heard:?}");
    c
}

/// What it heard of others: reason, URI, up, role and short id.
fn told(rig: &mut Rig, c: Client) -> Vec<(ControllerReason, String, bool, Role, u16)> {
    rig.turn();
    let of = |m| match m {
        Message::ControllerStatus(s) => (s.reason, s.uri, s.up, s.role, s.short_id),
        m => panic!("{m:?}"),
    };
    rig.hear(c).into_iter().map(|(_, m)| of(m)).collect()
}

#[test]
fn controllers_hear_how_the_others_fare() {
    use ControllerReason as Why;
    let mut rig = Rig::new();
    let uris = ["tcp:a", "tcp:b", "tcp:c"].map(str::to_owned);
    rig.agent.set_controllers(&uris[..2]);
    let a = named(&mut rig, "tcp:a");
    assert!(told(&mut rig, a).is_empty(), "nothing of itself");
    let b = named(&mut rig, "tcp:b");
    let of_b = |why, up, role, id| (why, "tcp:b".to_owned(), up, role, id);
    assert_eq!(
        told(&mut rig, a),
        [of_b(Why::Channel, true, Role::Equal, 0)]
    );
    let ask = |role, short_id| {
        Message::RoleRequest(RoleMessage {
            role,
            generation_id: Some(1),
            short_id,
            nicira: false,
        })
    };
    let Message::RoleReply(r) = rig.ask_one(b, &ask(Role::Primary, 7)) else {
        panic!()
    };
    assert_eq!((r.role, r.short_id), (Role::Primary, 7));
    let now = |why| of_b(why, true, Role::Primary, 7);
    assert_eq!(told(&mut rig, a), [now(Why::Role), now(Why::ShortId)]);
    let code = rig.error(a, &ask(Role::Equal, 7));
    assert_eq!(code, ErrorCode::RrfcIdInUse);
    let [Reply::ControllerStatus(all)] = &rig.multipart(a, Request::ControllerStatus)[..] else {
        panic!()
    };
    let all = all
        .iter()
        .map(|s| (&*s.uri, s.up, s.role, s.short_id, s.reason));
    let all: Vec<_> = all.collect();
    assert_eq!(
        all,
        [
            ("tcp:a", true, Role::Equal, 0, Why::Request),
            ("tcp:b", true, Role::Primary, 7, Why::Request)
        ]
    );
    rig.agent.set_controllers(&uris);
    let added = (Why::Added, uris[2].clone(), false, Role::Equal, 0);
    assert_eq!(told(&mut rig, a), [added]);
    rig.agent.disconnect(b.conn);
    let down = |why| of_b(why, false, Role::Primary, 7);
    assert_eq!(told(&mut rig, a), [down(Why::Channel)]);
    // It stops listening.
    let mut wish = AsyncConfig::default();
    wish.set(AsyncKind::ControllerStatus, false, 1 << Why::Removed as u32);
    rig.done(a, &Message::SetAsync(Box::new(wish)));
    named(&mut rig, "tcp:b");
    assert!(told(&mut rig, a).is_empty());
    rig.agent.set_controllers(&uris[..1]);
    let gone: Vec<_> = told(&mut rig, a).into_iter().map(|t| (t.0, t.1)).collect();
    let removed = |n: usize| (Why::Removed, uris[n].clone());
    assert_eq!(gone, [removed(1), removed(2)]);
}

/// Controllers of 1.5 hear what flows tell, unless they are secondary or say that they won't.
#[test]
fn statistics_are_told_to_who_has_words_for_them() {
    let mut rig = Rig::new();
    let new = rig.controller(Version::Of15);
    let old = rig.controller(Version::Of14);
    let second = rig.controller(Version::Of15);
    become_one(&mut rig, second, Role::Secondary, 1);
    let deaf = rig.controller(Version::Of15);
    let mut config = AsyncConfig::default();
    config.set(AsyncKind::FlowStats, false, 0);
    rig.done(deaf, &Message::SetAsync(Box::new(config)));
    let mut flow = add_flow(1);
    flow.instructions.stat_trigger = Some(Box::new(rvs_openflow::StatTrigger {
        periodic: true,
        only_first: false,
        thresholds: [rvs_openflow::Threshold::Duration(Duration::from_secs(3))].into(),
    }));
    rig.done(new, &flow_mod(flow));
    // Others are shown the flow without what they have no words for.
    let shown = |rig: &mut Rig, c| rig.flows(c)[0].instructions.clone();
    assert!(shown(&mut rig, new).stat_trigger.is_some());
    assert_eq!(shown(&mut rig, old), add_flow(1).instructions);
    for told in [0, 1, 2] {
        let heard = rig.hear(new);
        assert_eq!(heard.len(), usize::from(told > 0), "{heard:?}");
        for (xid, m) in heard {
            let Message::MultipartReply(r) = m else {
                panic!("{m:?}")
            };
            let Reply::FlowCounters(flows) = &r.body else {
                panic!("{r:?}")
            };
            assert_eq!((xid, r.more, flows.len()), (0, false, 1));
            assert!(flows[0].triggered);
            assert_eq!(flows[0].duration_sec / 3, told);
        }
        for c in [old, second, deaf] {
            assert_eq!(rig.hear(c), []);
        }
        let end = rig.now + Duration::from_secs(3);
        while let Some(at) = rig.agent.next_deadline().filter(|at| *at <= end) {
            rig.tick(at);
            for c in [new, old, second, deaf] {
                if rig.agent.output(c.conn).get(1) == Some(&2) {
                    rig.hear_now(c);
                    rig.say(c, 0, &Message::EchoReply(Vec::new()));
                }
            }
        }
        rig.tick(end);
    }
}
