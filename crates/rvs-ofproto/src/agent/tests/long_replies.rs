//! Replies of more than a message, and what waits for them.

use super::*;

fn load(rig: &mut Rig, c: Client, flows: u16) {
    let mut bytes = Vec::new();
    for n in 0..flows {
        bytes.extend(c.dialect.encode(&flow_mod(add_flow(n)), 1).unwrap());
        if bytes.len() > 64_000 || n + 1 == flows {
            rig.say_bytes(c.conn, &bytes);
            bytes.clear();
        }
    }
    assert!(rig.hear(c).is_empty());
}

fn dump() -> Message {
    let all = FlowStatsRequest::all(FlowStatsForm::Standard);
    Message::MultipartRequest(MultipartRequest::new(Request::Flow(Box::new(all))))
}

#[test]
fn a_long_reply_is_cut_and_what_follows_waits() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    load(&mut rig, c, 20_000);
    rig.say(c, 1, &dump());
    rig.say(c, 2, &Message::BarrierRequest);
    rig.say(c, 3, &Message::EchoRequest(vec![]));
    // It isn't written before it is read.
    assert!(rig.agent.output(c.conn).len() < limits::REPLY_BACKLOG + (64 << 10) + 100);
    assert!(!rig.agent.wants_turn());
    let heard = rig.hear(c);
    let tail = heard.len() - 2;
    assert!(matches!(
        heard[tail..],
        [(2, Message::BarrierReply), (3, Message::EchoReply(_))]
    ));
    let mut flows = 0;
    for (i, (xid, m)) in heard[..tail].iter().enumerate() {
        let Message::MultipartReply(r) = m else {
            panic!("{m:?}")
        };
        assert_eq!((*xid, r.more), (1, i + 1 < tail));
        let Reply::Flow(_, f) = &r.body else { panic!() };
        flows += f.len();
    }
    assert_eq!(flows, 20_000);
}

/// It shows the flows that were there when it was asked for.
#[test]
fn a_long_reply_is_one_snapshot() {
    let mut rig = Rig::new();
    let (a, b) = (rig.controller(Version::Of13), rig.controller(Version::Of13));
    load(&mut rig, a, 20_000);
    rig.say(a, 1, &dump());
    rig.done(b, &delete_all());
    for n in 0..100 {
        let mut m = add_flow(n);
        m.table = TableId(9);
        rig.done(b, &flow_mod(m));
    }
    let heard = rig.hear(a);
    let of = |m: &(u32, Message)| match &m.1 {
        Message::MultipartReply(MultipartReply {
            body: Reply::Flow(_, f),
            ..
        }) => f.iter().filter(|f| f.table == TableId(0)).count(),
        m => panic!("{m:?}"),
    };
    assert_eq!(heard.iter().map(of).sum::<usize>(), 20_000);
    assert_eq!(rig.flows(a).len(), 100);
}

/// Others are served, and hear echoes, while one reads slowly.
#[test]
fn a_turn_is_shared() {
    let mut rig = Rig::new();
    let (a, b) = (rig.controller(Version::Of13), rig.controller(Version::Of13));
    load(&mut rig, a, 20_000);
    let request = a.dialect.encode(&dump(), 1).unwrap();
    rig.agent.input(a.conn, &request);
    let barriers: Vec<u8> = (0..200)
        .flat_map(|x| b.dialect.encode(&Message::BarrierRequest, x).unwrap())
        .collect();
    rig.agent.input(b.conn, &barriers);
    assert!(rig.agent.turn(rig.now, &mut rig.plant));
    let d = b.dialect;
    let count = |rig: &Rig| messages(&d, rig.agent.output(b.conn)).len();
    assert_eq!(count(&rig), limits::TURN_MESSAGES);
    assert!(rig.agent.turn(rig.now, &mut rig.plant));
    assert_eq!(count(&rig), 2 * limits::TURN_MESSAGES);
}

#[test]
fn a_connection_that_goes_lets_go_of_its_snapshot() {
    let mut rig = Rig::new();
    let (a, b) = (rig.controller(Version::Of13), rig.controller(Version::Of13));
    load(&mut rig, a, 20_000);
    rig.say(a, 1, &dump());
    assert!(rig.agent.conns[&a.conn].job.is_some());
    rig.done(b, &delete_all());
    rig.agent.disconnect(a.conn);
    rig.turn();
    let bridge = rig.plant.up().clone();
    let left = bridge.table(TableId(0)).unwrap().read().len();
    assert_eq!(left, 0, "what was removed is forgotten");
}

#[test]
fn sums_are_of_all_flows() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    load(&mut rig, c, 20_000);
    let all = Box::new(FlowStatsRequest::all(FlowStatsForm::Standard));
    let replies = rig.multipart(c, Request::Aggregate(all));
    let [Reply::Aggregate(_, sum)] = &replies[..] else {
        panic!("{replies:?}")
    };
    assert_eq!(sum.flows, 20_000);
}

#[test]
fn a_list_of_ports_that_fills_the_message_of_1_0() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of10);
    rig.agent.state.set_ports((1..=4000).map(port).collect());
    rig.turn();
    rig.hear(c);
    let Message::FeaturesReply(f) = rig.ask_one(c, &Message::FeaturesRequest) else {
        panic!()
    };
    // One more would not have fitted; that is how `ovs-ofctl` knows to ask for descriptions.
    assert_eq!(f.ports.len(), (65535 - 32) / 48);
    let described: usize = rig
        .multipart(c, Request::PortDesc(OfPort::ANY))
        .iter()
        .map(|r| r.len())
        .sum();
    assert_eq!(described, 4000);
}

/// CVE-2025-40254's neighbours: replies for thousands of ports are split.
#[test]
fn statistics_of_four_thousand_ports() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        rig.agent.state.set_ports((1..=4096).map(port).collect());
        rig.turn();
        rig.hear(c);
        let described = rig.multipart(c, Request::PortDesc(OfPort::ANY));
        assert_eq!(described.iter().map(Reply::len).sum::<usize>(), 4096);
        assert!(described.len() > 2);
    }
}
