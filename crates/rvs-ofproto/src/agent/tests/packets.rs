//! Packets to and from controllers.

use rvs_openflow::message::PacketIn;
use rvs_pipeline::FrozenState;

use super::*;
use crate::testing::Call;

fn pin(rig: &mut Rig, c: Client) -> PacketIn {
    let heard = rig.hear(c);
    match &heard[..] {
        [(0, Message::PacketIn(p))] => (**p).clone(),
        _ => panic!("{heard:?}"),
    }
}

#[test]
fn every_form_says_what_it_can() {
    for version in Version::ALL {
        for form in [
            PacketInFormat::Standard,
            PacketInFormat::Nxt,
            PacketInFormat::Nxt2,
        ] {
            let mut rig = Rig::new();
            let mut c = rig.controller(version);
            rig.done(c, &Message::SetPacketInFormat(form));
            c.dialect.packet_in = form;
            let mut n = note(3, PacketInReason::Action);
            n.table = TableId(7);
            n.fields.metadata.set(0x55);
            n.fields.regs[2].set(9);
            n.fields.flow.pkt_mark = 0xaa;
            n.max_len = 20;
            n.userdata = Box::new([1, 2, 3]);
            let frame: Vec<u8> = (0..100).collect();
            rig.agent.packet_in(rig.now, &frame, 100, &n);
            let p = pin(&mut rig, c);
            assert_eq!(p.buffer_id, None);
            // Nothing is kept here, so everything is sent.
            assert_eq!((p.total_len, &p.data), (100, &frame));
            assert_eq!(p.reason, PacketInReason::Action);
            assert_eq!(p.in_port(), OfPort(3));
            let nicira = form != PacketInFormat::Standard;
            if version >= Version::Of11 || nicira {
                assert_eq!(p.table, TableId(7));
            }
            if version >= Version::Of13 || nicira {
                assert_eq!(p.cookie, Some(0x99));
            }
            if version >= Version::Of12 || nicira {
                let field = |f| p.metadata.field(f).0;
                assert_eq!(field(rvs_flow::FieldId::Metadata), 0x55);
                assert_eq!(field(rvs_flow::FieldId::reg(2).unwrap()), 9);
                assert_eq!(field(rvs_flow::FieldId::PktMark), 0xaa);
            }
            if form == PacketInFormat::Nxt2 {
                assert_eq!(p.userdata, [1, 2, 3]);
            }
        }
    }
}

#[test]
fn finer_reasons_are_actions_before_1_4() {
    for (version, want) in [
        (Version::Of13, PacketInReason::Action),
        (Version::Of14, PacketInReason::Group),
    ] {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        rig.agent
            .packet_in(rig.now, &[0; 60], 60, &note(1, PacketInReason::Group));
        assert_eq!(pin(&mut rig, c).reason, want);
    }
}

/// The miss of a table without a flow is no business of 1.3 and later; that of a table-miss flow is.
#[test]
fn a_miss_without_a_flow_goes_to_old_controllers() {
    let mut rig = Rig::new();
    let old = rig.controller(Version::Of12);
    let new = rig.controller(Version::Of13);
    let mut miss = note(1, PacketInReason::NoMatch);
    (miss.cookie, miss.miss) = (u64::MAX, true);
    rig.agent.packet_in(rig.now, &[0; 60], 60, &miss);
    let told = pin(&mut rig, old);
    assert_eq!(told.reason, PacketInReason::NoMatch);
    assert_eq!(told.cookie, None, "1.2 tells none");
    assert_eq!(miss.told_cookie(), 0);
    assert!(rig.hear(new).is_empty());
    // A packet-out whose action names that reason is no miss.
    miss.miss = false;
    rig.agent.packet_in(rig.now, &[0; 60], 60, &miss);
    pin(&mut rig, old);
    pin(&mut rig, new);
    miss.cookie = 0;
    rig.agent.packet_in(rig.now, &[0; 60], 60, &miss);
    pin(&mut rig, old);
    assert_eq!(pin(&mut rig, new).cookie, Some(0));
}

/// A table-miss flow is one of 1.3 and later: before, what it does is an action, for those who want such.
#[test]
fn a_table_miss_flow_sends_by_an_action_before_1_3() {
    for (version, want) in [
        (Version::Of10, PacketInReason::Action),
        (Version::Of12, PacketInReason::Action),
        (Version::Of13, PacketInReason::NoMatch),
    ] {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        let mut miss = note(1, PacketInReason::NoMatch);
        miss.miss_flow = true;
        rig.agent.packet_in(rig.now, &[0; 60], 60, &miss);
        assert_eq!(pin(&mut rig, c).reason, want, "{version:?}");
    }
}

#[test]
fn a_controller_gets_what_bears_its_number() {
    let mut rig = Rig::new();
    let (a, b) = (rig.controller(Version::Of13), rig.controller(Version::Of13));
    rig.done(b, &Message::SetControllerId(ControllerId(5)));
    let mut n = note(1, PacketInReason::Action);
    n.controller = ControllerId(5);
    rig.agent.packet_in(rig.now, &[0; 60], 60, &n);
    assert!(rig.hear(a).is_empty());
    pin(&mut rig, b);
}

#[test]
fn a_paused_translation_is_resumed_once() {
    let mut rig = Rig::new();
    let mut c = rig.controller(Version::Of13);
    rig.done(c, &Message::SetPacketInFormat(PacketInFormat::Nxt2));
    c.dialect.packet_in = PacketInFormat::Nxt2;
    let state = FrozenState::packet_out(BRIDGE, OfPort(1), vec![Action::output(OfPort(2))]);
    let mut n = note(1, PacketInReason::Action);
    n.paused = Some(Box::new(state.clone()));
    rig.agent.packet_in(rig.now, &[7; 60], 60, &n);
    let mut p = pin(&mut rig, c);
    assert!(!p.continuation.is_empty());
    // The controller may change the frame and the pipeline's fields.
    p.data = vec![8; 61];
    p.total_len = 61;
    p.metadata
        .set_exact(rvs_flow::FieldId::reg(0).unwrap(), 5)
        .unwrap();
    let resume = Message::Resume(Box::new(p.clone()));
    rig.plant.take_calls();
    rig.done(c, &resume);
    let calls = rig.plant.take_calls();
    let Call::Execute(resumed, frame) = &calls[0] else {
        panic!("{calls:?}")
    };
    assert_eq!(frame, &[8; 61]);
    let mut want = state;
    want.fields.regs[0].set(5);
    assert_eq!(**resumed, want);
    assert_eq!(rig.error(c, &resume), ErrorCode::NxrStale);

    // Nor after 30 seconds, nor what was never given out.
    rig.agent.packet_in(rig.now, &[7; 60], 60, &n);
    let late = Message::Resume(Box::new(pin(&mut rig, c)));
    rig.agent
        .tick(rig.now + Duration::from_secs(30), &mut rig.plant);
    rig.hear(c);
    assert_eq!(rig.error(c, &late), ErrorCode::NxrStale);
    p.continuation = vec![1; 8];
    let forged = Message::Resume(Box::new(p));
    assert_eq!(rig.error(c, &forged), ErrorCode::NxrStale);
}

#[test]
fn packet_outs_run_from_where_they_say() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        for port in [OfPort(2), OfPort::CONTROLLER, OfPort::LOCAL, OfPort::ANY] {
            rig.plant.take_calls();
            rig.done(c, &packet_out(port, vec![Action::output(OfPort(1))]));
            let calls = rig.plant.take_calls();
            let Some(Call::Execute(state, frame)) = calls.first() else {
                panic!("{version} {port:?} {calls:?}")
            };
            assert_eq!(frame.len(), 60);
            let want = FrozenState::packet_out(BRIDGE, port, vec![Action::output(OfPort(1))]);
            assert_eq!(**state, want);
        }
    }
}

#[test]
fn packet_outs_come_from_any_number_of_a_port() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let of = |port| packet_out(port, vec![Action::output(OfPort(1))]);
    rig.done(c, &of(OfPort(99)));
    assert_eq!(rig.error(c, &of(OfPort::FLOOD)), ErrorCode::BrcBadPort);
    let mut short = PacketOut::new(OfPort(1), vec![], vec![0; 13]);
    let m = Message::PacketOut(Box::new(short.clone()));
    assert_eq!(rig.error(c, &m), ErrorCode::BrcBadLen);
    short.data.push(0);
    rig.done(c, &Message::PacketOut(Box::new(short)));
    let group = packet_out(OfPort(1), vec![Action::Group(GroupId(3))]);
    assert_eq!(rig.error(c, &group), ErrorCode::BacBadOutGroup);
}

fn flood(rig: &mut Rig, port: u32, count: usize) {
    for i in 0..count {
        let mut frame = vec![0; 1000];
        frame[..4].copy_from_slice(&(i as u32).to_be_bytes());
        let n = note(port, PacketInReason::Action);
        rig.agent.packet_in(rig.now, &frame, 1000, &n);
    }
}

fn read_all(rig: &mut Rig, c: Client) -> Vec<(u32, u32)> {
    let heard = rig.hear(c);
    let one = |(_, m): &(u32, Message)| match m {
        Message::PacketIn(p) => {
            let n = u32::from_be_bytes([p.data[0], p.data[1], p.data[2], p.data[3]]);
            Some((p.in_port().0, n))
        }
        _ => None,
    };
    heard.iter().filter_map(one).collect()
}

#[test]
fn a_controller_that_does_not_read_costs_one_queue() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let other = rig.controller(Version::Of13);
    flood(&mut rig, 1, 100);
    flood(&mut rig, 2, 20_000);
    let waits = rig.agent.output(c.conn).len();
    assert!(waits <= limits::PACKET_IN_WINDOW + 2000, "{waits}");
    let status = rig.agent.status(c.conn).unwrap();
    let counted = status.packet_ins[1];
    assert_eq!(counted.bypassed + counted.queued, 20_100);
    assert!(counted.backlog < (1 << 20) / 1000);
    assert!(counted.dropped > 18_000);
    // Replies don't wait behind them.
    rig.say(c, 3, &Message::BarrierRequest);
    let before = rig.agent.output(c.conn).len();
    assert!(before <= limits::PACKET_IN_WINDOW + 3000);
    let got = read_all(&mut rig, c);
    let of = |p| {
        got.iter()
            .filter(move |(port, _)| *port == p)
            .map(|(_, n)| *n)
    };
    // The port that sent little lost nothing; the other its oldest; each kept its order.
    assert!(of(1).eq(0..100));
    assert!(of(2).is_sorted());
    assert_eq!(of(2).max(), Some(19_999));
    assert!(read_all(&mut rig, other).len() > 1000);
}

#[test]
fn ten_thousand_packet_ins_arrive_in_order() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let mut got = Vec::new();
    for i in 0..10_000u32 {
        let mut frame = vec![0; 60];
        frame[..4].copy_from_slice(&i.to_be_bytes());
        let reason = [PacketInReason::Action, PacketInReason::NoMatch][i as usize % 2];
        rig.agent
            .packet_in(rig.now, &frame, 60, &note(1 + i % 3, reason));
        if i % 100 == 99 {
            got.extend(read_all(&mut rig, c).into_iter().map(|(_, n)| n));
        }
    }
    assert!(got.into_iter().eq(0..10_000));
}

#[test]
fn a_rate_limit_holds_and_what_waits_follows() {
    let mut rig = Rig::new();
    let options = ConnOptions {
        rate_limit: Some(1000),
        burst_limit: Some(100),
    };
    let c = rig.controller(Version::Of13);
    rig.agent.set_options(rig.now, c.conn, None, options);
    flood(&mut rig, 1, 300);
    assert_eq!(read_all(&mut rig, c).len(), 100);
    let start = rig.now;
    let mut got = 0;
    while let Some(t) = rig.agent.next_deadline() {
        rig.tick(t);
        got += read_all(&mut rig, c).len();
    }
    assert_eq!(got, 200);
    let took = rig.now.since(start);
    assert_eq!(took, Duration::from_millis(200));
}
