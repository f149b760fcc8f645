//! What is asked, and what is refused.

use super::*;

#[test]
fn flows_are_added_shown_and_deleted_in_every_version() {
    for version in Version::ALL {
        for nxm in [false, true] {
            let mut rig = Rig::new();
            let mut c = rig.controller(version);
            if nxm && version == Version::Of10 {
                let nicira = Dialect::nxm();
                rig.done(c, &Message::SetFlowFormat(FlowFormat::Nxm));
                rig.done(c, &Message::FlowModTableId(true));
                c.dialect.flow_format = nicira.flow_format;
                c.dialect.flow_mod_table_id = true;
            }
            for n in 0..5 {
                rig.done(c, &flow_mod(add_flow(n)));
            }
            let flows = rig.flows(c);
            assert_eq!(flows.len(), 5, "{version} {nxm}");
            let settled = rig.plant.take_calls();
            assert!(settled.contains(&crate::testing::Call::Settle));
            let mut m = FlowMod::new(FlowCommand::Delete, FlowMatch::any());
            // 1.1 has no number for all tables.
            m.table = if version == Version::Of11 {
                TableId(0)
            } else {
                TableId::ALL
            };
            rig.done(c, &flow_mod(m));
            assert!(rig.flows(c).is_empty());
        }
    }
}

#[test]
fn a_refused_flow_names_error_and_request() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let mut m = add_flow(1);
    m.instructions = Instructions::apply([Action::Group(GroupId(5))]);
    assert_eq!(rig.error(c, &flow_mod(m)), ErrorCode::BacBadOutGroup);
}

#[test]
fn buffers_are_unknown_but_to_a_delete() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let mut m = add_flow(1);
    m.buffer_id = Some(0);
    assert_eq!(
        rig.error(c, &flow_mod(m.clone())),
        ErrorCode::BrcBufferUnknown
    );
    m.command = FlowCommand::Delete;
    rig.done(c, &flow_mod(m));
    let mut p = PacketOut::new(OfPort(1), vec![], vec![]);
    p.buffer_id = Some(7);
    let p = Message::PacketOut(Box::new(p));
    assert_eq!(rig.error(c, &p), ErrorCode::BrcBufferUnknown);
}

#[test]
fn what_only_switches_say_is_refused() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        let m = Message::BarrierReply;
        assert_eq!(rig.error(c, &m), ErrorCode::BrcBadType);
        let m = Message::GetConfigReply(SwitchConfig::default());
        assert_eq!(rig.error(c, &m), ErrorCode::BrcBadType);
    }
}

#[test]
fn unknown_experimenters_are_refused() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        let v = version.wire();
        let m = [v, 4, 0, 16, 0, 0, 0, 5, 0, 0, 0x12, 0x34, 0, 0, 0, 1];
        assert_eq!(rig.error_of(c, &m), ErrorCode::BrcBadVendor);
        let m = [v, 4, 0, 16, 0, 0, 0, 5, 0, 0, 0x23, 0x20, 0, 0, 0xff, 1];
        assert_eq!(rig.error_of(c, &m), ErrorCode::BrcBadSubtype);
    }
}

#[test]
fn configuration_is_kept_by_connection_and_bridge() {
    let mut rig = Rig::new();
    let a = rig.controller(Version::Of13);
    let b = rig.controller(Version::Of12);
    let said = SwitchConfig {
        fragments: Fragments::Drop,
        invalid_ttl_to_controller: false,
        miss_send_len: 0xffff,
    };
    rig.done(a, &Message::SetConfig(said));
    let reply = rig.ask_one(a, &Message::GetConfigRequest);
    assert_eq!(reply, Message::GetConfigReply(said));
    let other = SwitchConfig {
        miss_send_len: 128,
        ..said
    };
    let reply = rig.ask_one(b, &Message::GetConfigRequest);
    assert_eq!(reply, Message::GetConfigReply(other));
    assert_eq!(
        rig.agent.state.config(),
        (rvs_pipeline::FragMode::Drop, false)
    );

    let ttl = SwitchConfig {
        invalid_ttl_to_controller: true,
        ..other
    };
    rig.done(b, &Message::SetConfig(ttl));
    assert_eq!(
        rig.agent.state.config(),
        (rvs_pipeline::FragMode::Drop, true)
    );
    let reply = rig.ask_one(b, &Message::GetConfigRequest);
    assert_eq!(reply, Message::GetConfigReply(ttl));
    // As clients of 1.0 may ask, too.
    let old = rig.controller(Version::Of10);
    rig.done(old, &Message::SetConfig(ttl));
    let reply = rig.ask_one(old, &Message::GetConfigRequest);
    assert_eq!(reply, Message::GetConfigReply(ttl));
    rig.agent.disconnect(old.conn);
    rig.agent.disconnect(b.conn);
    rig.turn();
    assert_eq!(
        rig.agent.state.config(),
        (rvs_pipeline::FragMode::Drop, false)
    );
}

/// A barrier also covers settings.
#[test]
fn settings_are_published_before_a_barrier_is_answered() {
    use crate::testing::Call;
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    rig.plant.take_calls();
    let mut bytes = Vec::new();
    let config = SwitchConfig {
        fragments: Fragments::Drop,
        ..SwitchConfig::default()
    };
    for m in [Message::SetConfig(config), Message::BarrierRequest] {
        bytes.extend(c.dialect.encode(&m, 1).unwrap());
    }
    rig.say_bytes(c.conn, &bytes);
    let calls = rig.plant.take_calls();
    assert!(
        matches!(calls[..], [Call::Publish(_), Call::Settle]),
        "{calls:?}"
    );
}

#[test]
fn fragments_are_not_reassembled() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let m = Message::SetConfig(SwitchConfig {
        fragments: Fragments::Reassemble,
        ..SwitchConfig::default()
    });
    assert_eq!(rig.error(c, &m), ErrorCode::ScfcBadFlags);
}

/// A miss goes to the controller while one is there that expects it.
#[test]
fn misses_go_to_controllers_of_1_2_and_before() {
    let miss = |rig: &Rig| rig.plant.up().settings.miss;
    use rvs_pipeline::Miss;
    let mut rig = Rig::new();
    let new = rig.controller(Version::Of13);
    assert_eq!(miss(&rig), Miss::Drop);
    let old = rig.controller(Version::Of10);
    assert_eq!(miss(&rig), Miss::Controller);
    rig.agent.disconnect(old.conn);
    rig.turn();
    assert_eq!(miss(&rig), Miss::Drop);
    // `ovs-ofctl monitor br1 65534` asks for them; other commands don't.
    let service = rig.client(ConnKind::Service, Dialect::new(Version::Of10));
    assert_eq!(miss(&rig), Miss::Drop);
    let config = SwitchConfig {
        miss_send_len: 65534,
        ..SwitchConfig::default()
    };
    rig.done(service, &Message::SetConfig(config));
    assert_eq!(miss(&rig), Miss::Controller);
    rig.agent.disconnect(new.conn);
}

#[test]
fn ports_are_described_and_counted() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        let [Reply::PortDesc(ports)] = &rig.multipart(c, Request::PortDesc(OfPort::ANY))[..] else {
            panic!()
        };
        let numbers: Vec<u32> = ports.iter().map(|p| p.number.0).collect();
        assert_eq!(numbers, [1, 2, 3]);
        let [Reply::Port(stats)] = &rig.multipart(c, Request::Port(OfPort(2)))[..] else {
            panic!()
        };
        assert_eq!(stats.len(), 1);
        assert_eq!(stats[0].port, OfPort(2));
        let m = |r| Message::MultipartRequest(MultipartRequest::new(r));
        let unknown = m(Request::Port(OfPort(9)));
        assert_eq!(rig.error(c, &unknown), ErrorCode::BrcBadPort);
    }
}

#[test]
fn queues_there_are_none() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        let m = |r| Message::MultipartRequest(MultipartRequest::new(r));
        let q = |port, queue| {
            Request::Queue(QueueSelector {
                port: OfPort(port),
                queue,
            })
        };
        let none = vec![Reply::Queue(vec![])];
        assert_eq!(rig.multipart(c, q(1, QUEUE_ALL)), none);
        assert_eq!(rig.multipart(c, q(OfPort::ANY.0, QUEUE_ALL)), none);
        assert_eq!(rig.error(c, &m(q(9, QUEUE_ALL))), ErrorCode::QofcBadPort);
        assert_eq!(rig.error(c, &m(q(1, 4))), ErrorCode::QofcBadQueue);
        if version <= Version::Of13 {
            let reply = rig.ask_one(c, &Message::QueueGetConfigRequest(OfPort(1)));
            let Message::QueueGetConfigReply(r) = reply else {
                panic!()
            };
            assert_eq!((r.port, r.queues.len()), (OfPort(1), 0));
            let m = Message::QueueGetConfigRequest(OfPort(9));
            assert_eq!(rig.error(c, &m), ErrorCode::QofcBadPort);
        }
    }
}

/// Every kind of statistics has an answer of its kind.
#[test]
fn every_multipart_is_answered() {
    let all = |version: Version| {
        let flows = || Box::new(FlowStatsRequest::all(FlowStatsForm::Standard));
        let mut all = vec![
            Request::Desc,
            Request::Flow(flows()),
            Request::Aggregate(flows()),
            Request::Table,
            Request::Port(OfPort::ANY),
            Request::PortDesc(OfPort::ANY),
            Request::Group(GroupId::ALL),
            Request::GroupDesc(GroupId::ALL),
            Request::GroupFeatures,
        ];
        if version >= Version::Of13 {
            all.extend([
                Request::Meter(MeterId::ALL),
                Request::MeterConfig(MeterId::ALL),
                Request::MeterFeatures,
                Request::TableFeatures(vec![]),
            ]);
        }
        if version >= Version::Of14 {
            all.push(Request::TableDesc);
        }
        if version >= Version::Of15 {
            all.push(Request::FlowCounters(flows()));
            all.push(Request::ControllerStatus);
            all.push(Request::BundleFeatures(BundleFeaturesRequest::default()));
        }
        all
    };
    for version in Version::ALL {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        rig.done(c, &flow_mod(add_flow(1)));
        for request in all(version) {
            let replies = rig.multipart(c, request.clone());
            assert!(!replies.is_empty());
            let same = |r: &Reply| match (&request, r) {
                (Request::Aggregate(_), Reply::Aggregate(_, a)) => a.flows == 1,
                (Request::Flow(_), Reply::Flow(_, f)) => f.len() == 1,
                (Request::Desc, Reply::Desc(d)) => d.datapath == "a bridge",
                (q, r) => format!("{q:?}")
                    .split('(')
                    .next()
                    .is_some_and(|n| format!("{r:?}").starts_with(n)),
            };
            assert!(replies.iter().all(same), "{version} {request:?}");
        }
    }
}

#[test]
fn bundles_are_atomic_and_ordered_and_never_scheduled() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of15);
    let ask = |flags| Request::BundleFeatures(BundleFeaturesRequest { flags });
    let capabilities = BundleFlags(3);
    let able = Reply::BundleFeatures(BundleFeatures { capabilities });
    assert_eq!(rig.multipart(c, ask(1)), [able]);
    let set = ask(BundleFeaturesRequest::SET_SCHED);
    let m = Message::MultipartRequest(MultipartRequest::new(set));
    assert_eq!(rig.error(c, &m), ErrorCode::BrcMultipartBadSched);
}

#[test]
fn unknown_tables_and_meters_are_refused() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let mut q = FlowStatsRequest::all(FlowStatsForm::Standard);
    q.table = TableId(254);
    let m = |r| Message::MultipartRequest(MultipartRequest::new(r));
    let flow = m(Request::Flow(Box::new(q)));
    assert_eq!(rig.error(c, &flow), ErrorCode::BrcBadTableId);
    let meter = m(Request::Meter(MeterId(4)));
    assert_eq!(rig.error(c, &meter), ErrorCode::MmfcUnknownMeter);
}

/// As Open vSwitch has it, which keeps that table for itself.
#[test]
fn adding_to_the_table_behind_the_last_is_not_permitted() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let mut flow = add_flow(1);
    flow.table = TableId(254);
    let m = Message::FlowMod(Box::new(flow));
    assert_eq!(rig.error(c, &m), ErrorCode::BrcEperm);
}

#[test]
fn a_split_request_is_put_together_or_times_out() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let part = |more| {
        Message::MultipartRequest(MultipartRequest {
            more,
            body: Request::TableFeatures(vec![]),
        })
    };
    rig.say(c, 5, &part(true));
    assert!(rig.hear(c).is_empty());
    rig.say(c, 5, &part(false));
    let heard = rig.hear(c);
    assert!(!heard.is_empty());
    assert!(heard
        .iter()
        .all(|(x, m)| *x == 5 && matches!(m, Message::MultipartReply(_))));

    rig.say(c, 6, &part(true));
    let later = rig.agent.next_deadline().unwrap();
    rig.tick(later);
    let heard = rig.hear(c);
    let [(6, Message::Error(e))] = &heard[..] else {
        panic!("{heard:?}")
    };
    let code = e.known(Version::Of13);
    assert_eq!(code, Some(ErrorCode::BrcMultipartRequestTimeout));
}

#[test]
fn sixteen_unfinished_requests_are_the_most() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let part = Message::MultipartRequest(MultipartRequest {
        more: true,
        body: Request::TableFeatures(vec![]),
    });
    for xid in 0..16 {
        rig.say(c, xid, &part);
    }
    assert!(rig.hear(c).is_empty());
    let one_more = c.dialect.encode(&part, 99).unwrap();
    assert_eq!(
        rig.error_of(c, &one_more),
        ErrorCode::BrcMultipartBufferOverflow
    );
}

#[test]
fn settings_of_nicira() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of10);
    rig.done(c, &Message::FlowAge);
    rig.done(c, &Message::SetControllerId(ControllerId(9)));
    let reply = rig.ask_one(c, &Message::TlvTableRequest);
    assert_eq!(reply, Message::TlvTableReply(TlvTableReply::default()));
    let tlv = |command, maps| Message::TlvTableMod(TlvTableMod { command, maps });
    rig.done(c, &tlv(TlvCommand::Clear, vec![]));
    let map = TlvMap {
        class: 0x102,
        kind: 0x80,
        len: 4,
        index: 0,
    };
    let add = tlv(TlvCommand::Add, vec![map]);
    assert_eq!(rig.error(c, &add), ErrorCode::NxttmfcTableFull);
}

#[test]
fn port_mods_reach_the_port() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let mut m = PortMod {
        number: OfPort(2),
        mac: port(2).mac,
        config: PortConfig::NO_FWD,
        mask: PortConfig::NO_FWD,
        advertise: PortFeatures(0),
    };
    rig.say(c, 3, &Message::PortMod(Box::new(m.clone())));
    let heard = rig.hear(c);
    let [(0, Message::PortStatus(s))] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!((s.change, s.port.number), (PortChange::Modify, OfPort(2)));
    m.mac = port(3).mac;
    let wrong = Message::PortMod(Box::new(m));
    assert_eq!(rig.error(c, &wrong), ErrorCode::PmfcBadHwAddr);
}
