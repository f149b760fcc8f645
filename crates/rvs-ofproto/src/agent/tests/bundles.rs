//! Bundles.

use super::*;

const BOTH: BundleFlags = BundleFlags(3);

fn control(bundle: u32, command: BundleCommand) -> Message {
    Message::BundleControl(BundleControl {
        bundle,
        command,
        flags: BOTH,
    })
}

fn add(c: Client, bundle: u32, xid: u32, m: &Message) -> Message {
    Message::BundleAdd(BundleAdd {
        bundle,
        flags: BOTH,
        message: c.dialect.encode(m, xid).unwrap(),
    })
}

impl Rig {
    fn control(&mut self, c: Client, bundle: u32, command: BundleCommand) {
        let reply = self.ask_one(c, &control(bundle, command));
        let want = BundleControl {
            bundle,
            command: command.reply(),
            flags: BundleFlags::default(),
        };
        assert_eq!(reply, Message::BundleControl(want));
    }

    fn add(&mut self, c: Client, bundle: u32, xid: u32, m: &Message) {
        self.say(c, xid, &add(c, bundle, xid, m));
        assert!(self.hear(c).is_empty());
    }

    fn add_error(&mut self, c: Client, bundle: u32, m: &Message) -> ErrorCode {
        self.error(c, &add(c, bundle, 77, m))
    }
}

use BundleCommand::{CloseRequest, CommitRequest, DiscardRequest, OpenRequest};

const VERSIONS: [Version; 3] = [Version::Of13, Version::Of14, Version::Of15];

#[test]
fn a_bundle_is_done_when_it_is_committed() {
    for version in VERSIONS {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        rig.control(c, 9, OpenRequest);
        for n in 0..100 {
            rig.add(c, 9, n, &flow_mod(add_flow(n as u16)));
        }
        assert!(rig.flows(c).is_empty());
        rig.control(c, 9, CloseRequest);
        assert!(rig.flows(c).is_empty());
        rig.plant.take_calls();
        rig.control(c, 9, CommitRequest);
        let calls = rig.plant.take_calls();
        let published = |c: &&crate::testing::Call| matches!(c, crate::testing::Call::Publish(_));
        assert_eq!(calls.iter().filter(published).count(), 1, "one version");
        assert_eq!(rig.flows(c).len(), 100);
        assert_eq!(
            rig.error(c, &control(9, CommitRequest)),
            ErrorCode::BfcBadId
        );
        assert!(rig.agent.bundle_use.is_empty());
    }
}

#[test]
fn a_failed_bundle_names_the_message_and_changes_nothing() {
    for version in VERSIONS {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        rig.done(c, &flow_mod(add_flow(1)));
        let before = rig.flows(c);
        rig.control(c, 1, OpenRequest);
        let mut bad = add_flow(3);
        bad.instructions = Instructions::apply([Action::Group(GroupId(10))]);
        let bad = flow_mod(bad);
        rig.add(c, 1, 100, &delete_all());
        rig.add(c, 1, 101, &flow_mod(add_flow(2)));
        rig.add(c, 1, 102, &bad);
        rig.add(c, 1, 103, &flow_mod(add_flow(4)));
        rig.say(c, 200, &control(1, CommitRequest));
        let heard = rig.hear(c);
        let [(102, Message::Error(first)), (200, Message::Error(second))] = &heard[..] else {
            panic!("{heard:?}")
        };
        assert_eq!(first.known(version), Some(ErrorCode::BacBadOutGroup));
        assert_eq!(first.data, c.dialect.encode(&bad, 102).unwrap());
        assert_eq!(second.known(version), Some(ErrorCode::BfcMsgFailed));
        assert_eq!(rig.flows(c), before);
        assert_eq!(
            rig.error(c, &control(1, DiscardRequest)),
            ErrorCode::BfcBadId
        );
    }
}

#[test]
fn a_discarded_bundle_leaves_nothing() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    rig.control(c, 1, OpenRequest);
    rig.add(c, 1, 5, &flow_mod(add_flow(1)));
    rig.control(c, 1, DiscardRequest);
    assert!(rig.flows(c).is_empty());
    assert!(rig.agent.bundle_use.is_empty());
}

#[test]
fn an_add_opens_the_bundle() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    rig.add(c, 4, 5, &flow_mod(add_flow(1)));
    rig.control(c, 4, CommitRequest);
    assert_eq!(rig.flows(c).len(), 1);
}

#[test]
fn misuse_discards_the_bundle() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    let gone = |rig: &mut Rig| {
        assert_eq!(
            rig.error(c, &control(1, DiscardRequest)),
            ErrorCode::BfcBadId
        );
    };
    // Opened twice.
    rig.control(c, 1, OpenRequest);
    assert_eq!(rig.error(c, &control(1, OpenRequest)), ErrorCode::BfcBadId);
    gone(&mut rig);
    // Added to, or closed again, after it was closed.
    for m in [
        add(c, 1, 77, &flow_mod(add_flow(1))),
        control(1, CloseRequest),
    ] {
        rig.control(c, 1, OpenRequest);
        rig.control(c, 1, CloseRequest);
        assert_eq!(rig.error(c, &m), ErrorCode::BfcBundleClosed);
        gone(&mut rig);
    }
    // Other flags.
    for command in [CloseRequest, CommitRequest] {
        rig.control(c, 1, OpenRequest);
        let m = Message::BundleControl(BundleControl {
            bundle: 1,
            command,
            flags: BundleFlags(0),
        });
        assert_eq!(rig.error(c, &m), ErrorCode::BfcBadFlags);
        gone(&mut rig);
    }
    for command in [CloseRequest, CommitRequest, DiscardRequest] {
        assert_eq!(rig.error(c, &control(8, command)), ErrorCode::BfcBadId);
    }
    let reply = control(1, BundleCommand::OpenReply);
    assert_eq!(rig.error(c, &reply), ErrorCode::BfcBadType);
}

#[test]
fn what_is_wrong_with_a_message_is_said_when_it_is_added() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    rig.control(c, 1, OpenRequest);
    let mut m = add_flow(1);
    m.buffer_id = Some(4);
    assert_eq!(
        rig.add_error(c, 1, &flow_mod(m)),
        ErrorCode::BrcBufferUnknown
    );
    let barrier = Message::BarrierRequest;
    assert_eq!(rig.add_error(c, 1, &barrier), ErrorCode::BfcMsgUnsup);
    rig.add(c, 1, 3, &flow_mod(add_flow(2)));
    rig.control(c, 1, CommitRequest);
    assert_eq!(rig.flows(c).len(), 1);
}

#[test]
fn packet_outs_run_when_the_flows_are_there() {
    use crate::testing::Call;
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    rig.control(c, 1, OpenRequest);
    rig.add(
        c,
        1,
        3,
        &packet_out(OfPort(1), vec![Action::output(OfPort::TABLE)]),
    );
    rig.add(c, 1, 4, &flow_mod(add_flow(2)));
    rig.plant.take_calls();
    rig.control(c, 1, CommitRequest);
    let calls = rig.plant.take_calls();
    assert!(
        calls.iter().any(|c| matches!(c, Call::Execute(..))),
        "{calls:?}"
    );
}

#[test]
fn eight_bundles_are_the_most() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    for id in 0..8 {
        rig.control(c, id, OpenRequest);
    }
    assert_eq!(
        rig.error(c, &control(8, OpenRequest)),
        ErrorCode::BfcOutOfBundles
    );
    let m = flow_mod(add_flow(1));
    assert_eq!(rig.add_error(c, 8, &m), ErrorCode::BfcOutOfBundles);
    rig.add(c, 7, 5, &m);
    // Another connection has its own.
    let d = rig.controller(Version::Of14);
    rig.control(d, 0, OpenRequest);
    rig.control(c, 3, DiscardRequest);
    rig.control(c, 8, OpenRequest);
}

#[test]
fn a_bundle_holds_so_much_and_no_more() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    let m = flow_mod(add_flow(1));
    rig.add(c, 1, 5, &m);
    rig.agent.bundle_use.messages = limits::BUNDLE_MESSAGES - 1;
    rig.add(c, 1, 5, &m);
    assert_eq!(rig.add_error(c, 1, &m), ErrorCode::BfcMsgTooMany);
    rig.agent.bundle_use.messages = 2;
    let len = c.dialect.encode(&m, 1).unwrap().len();
    rig.agent.bundle_use.octets = limits::BUNDLE_OCTETS - len;
    rig.add(c, 1, 5, &m);
    assert_eq!(rig.add_error(c, 1, &m), ErrorCode::BfcMsgTooMany);
    rig.agent.bundle_use.octets = 3 * len;
    rig.control(c, 1, CommitRequest);
    assert!(rig.agent.bundle_use.is_empty());
}

#[test]
fn a_forgotten_bundle_is_given_up_after_ten_seconds() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    rig.agent
        .set_options(rig.now, c.conn, None, ConnOptions::default());
    rig.say(c, 55, &control(1, OpenRequest));
    rig.hear(c);
    let t = rig.now;
    rig.tick(t + Duration::from_secs(9));
    rig.add(c, 1, 3, &flow_mod(add_flow(1)));
    rig.tick(t + Duration::from_millis(18_999));
    assert!(rig.hear(c).is_empty());
    assert_eq!(rig.agent.next_deadline(), Some(t + Duration::from_secs(19)));
    rig.tick(t + Duration::from_secs(19));
    let heard = rig.hear(c);
    let [(55, Message::Error(e))] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!(e.known(Version::Of14), Some(ErrorCode::BfcTimeout));
    assert!(rig.agent.bundle_use.is_empty());
}

#[test]
fn bundles_go_with_their_connection() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    for n in 0..50 {
        rig.add(c, n % 5, n, &flow_mod(add_flow(1)));
    }
    assert_eq!(rig.agent.bundle_use.messages, 50);
    rig.agent.disconnect(c.conn);
    assert!(rig.agent.bundle_use.is_empty());
}

/// A client that ends in the midst of a long bundle: what it was to be is forgotten turn by turn.
#[test]
fn a_long_bundle_is_discarded_little_by_little() {
    const N: usize = 2 * limits::TURN_FORGOTTEN + 2;
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    let one = c.dialect.encode(&add(c, 1, 5, &flow_mod(add_flow(1))), 5);
    let one = one.unwrap();
    for _ in 0..N / 50 {
        rig.say_bytes(c.conn, &one.repeat(50));
    }
    rig.say_bytes(c.conn, &one.repeat(N % 50));
    assert_eq!(rig.agent.bundle_use.messages, N);
    rig.agent.disconnect(c.conn);
    assert!(rig.agent.bundle_use.is_empty());
    let turns = (0..10).take_while(|_| rig.agent.turn(rig.now, &mut rig.plant));
    assert_eq!(turns.count(), 2);
}

#[test]
fn many_short_bundles_are_forgotten_as_fast_as_they_are_discarded() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    let mut bytes = Vec::new();
    for id in 0..300 {
        let one = c.dialect.encode(&add(c, id, 5, &flow_mod(add_flow(1))), 5);
        bytes.extend(one.unwrap());
        let command = BundleCommand::DiscardRequest;
        bytes.extend(c.dialect.encode(&control(id, command), 6).unwrap());
    }
    rig.say_bytes(c.conn, &bytes);
    let turns = (0..10).take_while(|_| rig.agent.turn(rig.now, &mut rig.plant));
    assert!(turns.count() < 3);
    assert_eq!(rig.agent.bundle_use.left(), (0, 0));
}

/// CVE-2018-17205: a bundle that has to be taken back.
#[test]
fn ten_thousand_bundles_that_fail_somewhere_leave_no_trace() {
    use rvs_flow::testing::Entropy;
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    for n in 0..4 {
        rig.done(c, &flow_mod(add_flow(n)));
    }
    let before = rig.flows(c);
    let mut bad = add_flow(1);
    bad.instructions = Instructions::apply([Action::Group(GroupId(10))]);
    for seed in 0..2_000u64 {
        let mut e = Entropy::seed(seed);
        let mut bytes = Vec::new();
        let put = |bytes: &mut Vec<u8>, m: &Message| {
            bytes.extend(c.dialect.encode(m, 7).unwrap());
        };
        put(&mut bytes, &control(1, OpenRequest));
        let n = e.below(6);
        for _ in 0..n {
            let mut m = add_flow(e.below(6) as u16);
            m.command = e.pick(&[
                FlowCommand::Add,
                FlowCommand::Modify,
                FlowCommand::ModifyStrict,
                FlowCommand::Delete,
                FlowCommand::DeleteStrict,
            ]);
            m.priority = if e.one_in(3) { 5 } else { 0x8000 };
            m.instructions = Instructions::apply([Action::output(OfPort(e.below(3) as u32 + 1))]);
            put(&mut bytes, &add(c, 1, 7, &flow_mod(m)));
        }
        put(&mut bytes, &add(c, 1, 7, &flow_mod(bad.clone())));
        put(&mut bytes, &control(1, CommitRequest));
        rig.say_bytes(c.conn, &bytes);
        let heard = rig.hear(c);
        let errors = |m: &&(u32, Message)| matches!(m.1, Message::Error(_));
        assert_eq!(heard.iter().filter(errors).count(), 2, "seed {seed}");
    }
    assert_eq!(rig.flows(c), before);
}

/// A bundle of 20,000 flows, of which number `bad` names a group that is not there. Its commit was asked for as 900.
fn big_bundle(bad: Option<u16>) -> (Rig, Client, Client) {
    let mut rig = Rig::new();
    let (c, other) = (rig.controller(Version::Of14), rig.controller(Version::Of13));
    rig.done(other, &flow_mod(add_flow(7)));
    rig.control(c, 1, OpenRequest);
    for n in 0..20_000 {
        let mut flow = add_flow(n);
        if bad == Some(n) {
            flow.instructions = Instructions::apply([Action::Group(GroupId(10))]);
        }
        rig.add(c, 1, n.into(), &flow_mod(flow));
    }
    rig.agent.input(
        c.conn,
        &c.dialect.encode(&control(1, CommitRequest), 900).unwrap(),
    );
    (rig, c, other)
}

/// Others wait for the end of it, but nobody waits for an echo.
#[test]
fn a_big_bundle_is_done_in_slices() {
    let (mut rig, c, other) = big_bundle(None);
    let echo = Message::EchoRequest(vec![1]);
    for (xid, m) in [(1, &echo), (3, &Message::BarrierRequest)] {
        rig.agent
            .input(other.conn, &other.dialect.encode(m, xid).unwrap());
    }
    rig.plant.take_calls();
    let (mut turns, mut published, mut heard) = (0, 0, Vec::new());
    while rig.agent.turn(rig.now, &mut rig.plant) {
        turns += 1;
        heard.extend(rig.hear_now(other));
        let done = !rig.hear_now(c).is_empty();
        if turns == 1 {
            assert_eq!(heard, [(1, Message::EchoReply(vec![1]))]);
        }
        assert!(turns > 3 || !done);
        published += rig.plant.take_calls().len();
        if done {
            assert_eq!(
                rig.plant.up().table(TableId(0)).unwrap().read().len(),
                20_000
            );
            break;
        }
    }
    assert_eq!(published, 1, "all at once");
    assert!(turns >= 20_000 / super::super::limits::TURN_CHANGES);
    while rig.agent.turn(rig.now, &mut rig.plant) {}
    assert_eq!(rig.hear_now(other), [(3, Message::BarrierReply)]);
}

#[test]
fn a_big_bundle_that_fails_leaves_nothing() {
    let (mut rig, c, other) = big_bundle(Some(19_000));
    while rig.agent.turn(rig.now, &mut rig.plant) {}
    let heard: Vec<_> = rig.hear_now(c).into_iter().map(|(xid, _)| xid).collect();
    assert_eq!(heard, [19_000, 900], "the message, then the commit");
    assert_eq!(rig.flows(c).len(), 1);
    rig.done(other, &flow_mod(add_flow(8)));
    assert_eq!(rig.flows(c).len(), 2);
}

/// A controller set that changes, a learned flow: whoever writes ends it first.
#[test]
fn another_writer_ends_it() {
    let (mut rig, c, _) = big_bundle(None);
    rig.agent.turn(rig.now, &mut rig.plant);
    assert!(rig.hear_now(c).is_empty());
    rig.agent.state.reset(rig.now, false, &mut rig.plant);
    rig.turn();
    assert_eq!(rig.hear_now(c).len(), 1, "it succeeded");
    assert!(rig.flows(c).is_empty(), "and then all was deleted");
}

/// So does what follows from it, where there is much to delete; until then packets see what there was.
#[test]
fn a_new_set_of_controllers_deletes_many_flows_in_slices() {
    let (mut rig, c, _) = big_bundle(None);
    while rig.agent.turn(rig.now, &mut rig.plant) {}
    rig.hear_now(c);
    let mut timed = add_flow(60_000);
    timed.hard_timeout = 60;
    rig.done(c, &flow_mod(timed));
    let there = |rig: &Rig| {
        let up = rig.plant.up();
        let rules = up.table(TableId(0)).unwrap().read();
        rules
            .select(up.version, rvs_classifier::Filter::All)
            .count()
    };
    let (all, mut turns) = (there(&rig), 0);
    rig.agent.state.reset(rig.now, true, &mut rig.plant);
    while rig.agent.state.is_busy() {
        assert!([all, 1].contains(&there(&rig)), "{}", there(&rig));
        rig.agent.turn(rig.now, &mut rig.plant);
        turns += 1;
    }
    assert!((4..100).contains(&turns), "{turns}");
    assert_eq!(there(&rig), 1, "the flow of a learning switch");
}

/// Flows with timeouts are deleted one by one, but not all in one turn.
#[test]
fn many_flows_are_deleted_in_slices() {
    let (mut rig, c, other) = big_bundle(None);
    while rig.agent.turn(rig.now, &mut rig.plant) {}
    rig.hear_now(c);
    let mut timed = add_flow(60_000);
    timed.hard_timeout = 60;
    rig.done(other, &flow_mod(timed));
    rig.agent
        .input(c.conn, &c.dialect.encode(&delete_all(), 1).unwrap());
    rig.agent.input(
        c.conn,
        &c.dialect.encode(&Message::BarrierRequest, 2).unwrap(),
    );
    let mut turns = 0;
    while rig.agent.turn(rig.now, &mut rig.plant) {
        turns += 1;
    }
    assert!(turns >= 4, "{turns}");
    assert_eq!(rig.hear_now(c), [(2, Message::BarrierReply)]);
    assert!(rig.flows(c).is_empty());
}

/// Who sees the last teacher gone sees nothing of what it taught.
#[test]
fn what_a_deleted_flow_taught_is_gone_before_the_next_request() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    let teach = "reg1=5,actions=learn(table=2,delete_learned,cookie=0x5,NXM_OF_ETH_DST[])";
    let words = text::Words::new(Version::Of14);
    let mut teach = text::parse_flow(teach, FlowCommand::Add, &words).unwrap();
    rig.done(c, &flow_mod(teach.clone()));
    let n = 5 * super::super::limits::TURN_CHANGES;
    for i in 0..n as u16 {
        let mut m = add_flow(i);
        m.flags = FlowFlags::SEND_FLOW_REM;
        (m.table, m.new_cookie) = (TableId(2), Some(5));
        rig.say(c, 1, &flow_mod(m));
    }
    rig.hear(c);
    assert_eq!(rig.flows(c).len(), n + 1);
    (teach.command, teach.instructions) = (FlowCommand::DeleteStrict, Instructions::default());
    for (xid, m) in [(1, &flow_mod(teach)), (2, &Message::BarrierRequest)] {
        rig.agent.input(c.conn, &c.dialect.encode(m, xid).unwrap());
    }
    let (mut turns, mut told) = (0, Vec::new());
    while rig.agent.turn(rig.now, &mut rig.plant) {
        turns += 1;
        told.extend(rig.hear_now(c));
    }
    told.extend(rig.hear_now(c));
    assert!((4..100).contains(&turns), "{turns}");
    assert_eq!(told.len(), n + 1);
    assert_eq!(told.last(), Some(&(2, Message::BarrierReply)));
    assert!(rig.flows(c).is_empty());
}

/// What was removed is forgotten little by little too, but not before it was told of.
#[test]
fn every_flow_of_a_long_delete_is_told_of() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    let n = 5 * super::super::limits::TURN_CHANGES;
    for i in 0..n as u16 {
        let mut m = add_flow(i);
        m.flags = FlowFlags::SEND_FLOW_REM;
        rig.say(c, 1, &flow_mod(m));
    }
    // Garbage that the tables are still busy with when the delete begins to tell.
    for i in 0..n as u16 {
        let mut m = add_flow(i);
        (m.priority, m.table) = (7, TableId(1));
        rig.say(c, 1, &flow_mod(m));
    }
    rig.say(c, 1, &delete_all());
    let told = rig.hear(c);
    let gone = |m: &(u32, Message)| matches!(m.1, Message::FlowRemoved(_));
    assert_eq!(told.iter().filter(|m| gone(m)).count(), n);
}
