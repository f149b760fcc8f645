//! Random conversations: valid messages, messages with a few octets changed, several connections, time that passes, packets
//! that come in. Nothing panics, every barrier is answered, everything said can be read, and what waits stays bounded.

use proptest::prelude::*;
use rvs_flow::testing::{drawn, Entropy};
use rvs_openflow::testing;

use super::*;

/// One step of a conversation.
fn step(e: &mut Entropy<'_>, rig: &mut Rig, clients: &mut Vec<Client>) {
    match e.below(20) {
        0 => {
            let kind = e.pick(&[ConnKind::Primary, ConnKind::Service, ConnKind::Snoop]);
            let dialect = Dialect::new(e.pick(&Version::ALL));
            if clients.len() < 5 {
                clients.push(rig.client(kind, dialect));
            }
        }
        1 if clients.len() > 1 => {
            let c = clients.swap_remove(e.below(clients.len()));
            rig.agent.disconnect(c.conn);
        }
        2 => {
            let later = rig.now + Duration::from_millis(e.below(3000) as u64);
            rig.tick(later);
        }
        3 => {
            let ports = (1..=4).filter(|_| e.one_in(2)).map(port).collect();
            rig.agent.state.set_ports(ports);
        }
        4 => {
            let mut n = note(1 + e.below(4) as u32, PacketInReason::Action);
            n.reason = e.pick(&[PacketInReason::NoMatch, PacketInReason::InvalidTtl]);
            if e.one_in(3) {
                let state = rvs_pipeline::FrozenState::packet_out(BRIDGE, OfPort(1), vec![]);
                n.paused = Some(Box::new(state));
            }
            rig.agent.packet_in(rig.now, &[0; 60], 60, &n);
        }
        _ => {
            let c = clients[e.below(clients.len())];
            let d = rig.agent.conns[&c.conn].dialect;
            let m = testing::message(e, &d);
            let mut bytes = d.encode(&m, e.u8().into()).unwrap();
            if e.one_in(3) {
                mutate(e, &mut bytes);
            }
            rig.say_bytes(c.conn, &bytes);
        }
    }
}

fn mutate(e: &mut Entropy<'_>, bytes: &mut Vec<u8>) {
    for _ in 0..=e.below(3) {
        if bytes.len() <= 8 {
            bytes.extend_from_slice(&[0; 8]);
        }
        let at = 8 + e.below(bytes.len() - 8);
        match e.below(4) {
            0 => bytes[at] ^= 1 << e.below(8),
            1 => bytes[at] = e.pick(&[0, 1, 0x7f, 0xff]),
            2 => bytes.truncate(at),
            _ => bytes.insert(at, e.u8()),
        }
    }
    bytes.truncate(0xffff);
    let len = (bytes.len() as u16).to_be_bytes();
    bytes[2..4].copy_from_slice(&len);
}

/// Reads what waits for every client, in the dialect that the connection has by now.
fn read_all(rig: &mut Rig, clients: &[Client]) {
    for c in clients {
        let dialect = rig.agent.conns[&c.conn].dialect;
        let bytes = rig.read(c.conn);
        let said = framed(&bytes);
        if rig.agent.status(c.conn).unwrap().kind != ConnKind::Snoop {
            for m in said {
                dialect
                    .decode(m)
                    .unwrap_or_else(|e| panic!("{e}: {m:02x?}"));
            }
        }
    }
}

/// The messages in `bytes`, which are whole.
fn framed(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some(h) = rvs_openflow::RawHeader::parse(bytes) {
        let (m, rest) = bytes.split_at(h.length.into());
        all.push(m);
        bytes = rest;
    }
    assert!(bytes.is_empty());
    all
}

fn converse(e: &mut Entropy<'_>, steps: usize) {
    let mut rig = Rig::new();
    let dialect = Dialect::new(e.pick(&Version::ALL));
    let mut clients = vec![rig.client(ConnKind::Primary, dialect)];
    for _ in 0..steps {
        step(e, &mut rig, &mut clients);
        if e.one_in(2) {
            read_all(&mut rig, &clients);
        }
        for (conn, _) in rig.agent.closed() {
            rig.agent.disconnect(conn);
            clients.retain(|c| c.conn != conn);
        }
        if clients.is_empty() {
            clients.push(rig.client(ConnKind::Primary, dialect));
        }
    }
    read_all(&mut rig, &clients);
    for c in &clients {
        if rig.agent.status(c.conn).unwrap().kind == ConnKind::Snoop {
            continue;
        }
        let dialect = rig.agent.conns[&c.conn].dialect;
        let c = Client { dialect, ..*c };
        rig.say(c, 0xabcd, &Message::BarrierRequest);
        let heard = rig.hear(c);
        let is_reply = |m: &(u32, Message)| *m == (0xabcd, Message::BarrierReply);
        assert!(heard.iter().any(is_reply), "{heard:?}");
    }
    for c in clients {
        rig.agent.disconnect(c.conn);
    }
    assert!(rig.agent.bundle_use.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn conversations((seed, steps) in drawn(|e| (e.u64(), e.below(60)))) {
        converse(&mut Entropy::seed(seed), steps);
    }
}

#[test]
fn long_conversations() {
    for seed in 0..150 {
        converse(&mut Entropy::seed(seed), 200);
    }
}

/// Every request has an answer or an error of its own transaction, or none because its kind has none.
#[test]
fn every_question_has_one_answer() {
    for seed in 0..20_000u64 {
        let mut e = Entropy::seed(seed);
        let mut rig = Rig::new();
        let dialect = testing::dialect(&mut e);
        let dialect = Dialect::new(dialect.version);
        let c = rig.client(ConnKind::Service, dialect);
        let m = testing::message(&mut e, &dialect);
        rig.say(c, 0x77, &m);
        let heard = rig.hear(c);
        let errors = heard.iter().filter(|(_, m)| matches!(m, Message::Error(_)));
        assert!(errors.count() <= 1, "seed {seed} {m:?} {heard:?}");
        assert!(
            heard.iter().all(|(xid, _)| *xid == 0x77),
            "seed {seed} {m:?} {heard:?}"
        );
        let asks = matches!(
            m,
            Message::EchoRequest(_)
                | Message::FeaturesRequest
                | Message::GetConfigRequest
                | Message::BarrierRequest
                | Message::QueueGetConfigRequest(_)
                | Message::RoleRequest(_)
                | Message::GetAsyncRequest
                | Message::BundleControl(_)
                | Message::MultipartRequest(MultipartRequest { more: false, .. })
                | Message::TlvTableRequest
        );
        assert!(!asks || !heard.is_empty(), "seed {seed} {m:?}");
    }
}
