//! Handshake, echo, probes.

use super::*;

#[test]
fn every_version_shakes_hands() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        let status = rig.agent.status(c.conn).unwrap();
        assert_eq!(status.version, Some(version));
        assert!(status.established);
        let reply = rig.ask_one(c, &Message::EchoRequest(b"abc".to_vec()));
        assert_eq!(reply, Message::EchoReply(b"abc".to_vec()));
        let Message::FeaturesReply(f) = rig.ask_one(c, &Message::FeaturesRequest) else {
            panic!()
        };
        assert_eq!((f.datapath_id, f.n_buffers, f.n_tables), (0x1234, 0, 254));
        let ports = if version <= Version::Of12 { 3 } else { 0 };
        assert_eq!(f.ports.len(), ports, "{version}");
    }
}

/// What `ovs-ofctl show` prints of Open vSwitch 3.1 as `capabilities`, and flow monitoring, which 1.4 has a bit for.
#[test]
fn capabilities_are_those_that_a_version_has() {
    let of = |version| {
        let mut rig = Rig::new();
        let c = rig.controller(version);
        let Message::FeaturesReply(f) = rig.ask_one(c, &Message::FeaturesRequest) else {
            panic!()
        };
        f.capabilities.0
    };
    assert_eq!(of(Version::Of10), 0xc7);
    assert_eq!(of(Version::Of11), 0xcf);
    assert_eq!(of(Version::Of12), 0x4f);
    assert_eq!(of(Version::Of13), 0x4f);
    assert_eq!(of(Version::Of14), 0x24f);
    assert_eq!(of(Version::Of15), 0x24f);
}

#[test]
fn versions_without_a_common_one_are_told_so() {
    let mut rig = Rig::new();
    let ours = VersionSet::default().with(Version::Of13);
    let conn = rig.connect(ConnKind::Primary, ours);
    rig.say_bytes(conn, &[1, 0, 0, 8, 0, 0, 0, 9]);
    let bytes = rig.read(conn);
    let heard = messages(&Dialect::new(Version::Of13), &bytes);
    let [(_, Message::Hello(h)), (9, Message::Error(e))] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!(h.versions, ours);
    assert_eq!((e.vendor, e.kind, e.code), (0, 0, 0));
    let text = String::from_utf8(e.data.clone()).unwrap();
    assert!(text.contains("OpenFlow13"), "{text}");
    assert_eq!(rig.closed(), [CloseReason::Incompatible]);
    assert!(!rig.agent.wants_input(conn));
}

#[test]
fn a_bitmap_chooses_what_the_header_would_not() {
    let mut rig = Rig::new();
    let ours = VersionSet::default()
        .with(Version::Of10)
        .with(Version::Of13);
    let conn = rig.connect(ConnKind::Primary, ours);
    // 1.5 in the header, 1.0, 1.3 and 1.5 in the bitmap.
    rig.say_bytes(conn, &[6, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0, 8, 0, 0, 0, 0x52]);
    let status = rig.agent.status(conn).unwrap();
    assert_eq!(status.version, Some(Version::Of13));
}

/// `ovs-ofctl` doesn't wait for our HELLO.
#[test]
fn requests_right_behind_hello_are_answered() {
    let mut rig = Rig::new();
    let conn = rig.connect(ConnKind::Service, VersionSet::ALL);
    let d = Dialect::new(Version::Of10);
    let mut bytes = vec![1, 0, 0, 8, 0, 0, 0, 1];
    for xid in 2..5 {
        bytes.extend(d.encode(&Message::BarrierRequest, xid).unwrap());
    }
    rig.say_bytes(conn, &bytes);
    let heard = rig.hear(Client { conn, dialect: d });
    let xids: Vec<u32> = heard.iter().skip(1).map(|(x, _)| *x).collect();
    assert_eq!(xids, [2, 3, 4]);
}

#[test]
fn hello_comes_first() {
    let mut rig = Rig::new();
    let conn = rig.connect(ConnKind::Service, VersionSet::ALL);
    let d = Dialect::new(Version::Of15);
    rig.say_bytes(conn, &d.encode(&Message::BarrierRequest, 5).unwrap());
    let heard = rig.hear(Client { conn, dialect: d });
    assert!(matches!(heard[1], (5, Message::Error(_))), "{heard:?}");
    assert_eq!(rig.closed(), [CloseReason::NoHello]);
    // Nothing is heard any more.
    rig.say_bytes(conn, &[1, 0, 0, 8, 0, 0, 0, 1]);
    assert!(rig.read(conn).is_empty());
}

/// Octets that look like the beginning of a long message would hold a place for ten seconds.
#[test]
fn who_begins_with_something_else_is_not_heard_out() {
    let mut rig = Rig::new();
    let conn = rig.connect(ConnKind::Service, VersionSet::ALL);
    rig.say_bytes(conn, &[0xff; 7]);
    assert_eq!(rig.closed(), []);
    rig.say_bytes(conn, &[0xff; 57]);
    assert_eq!(rig.closed(), [CloseReason::NoHello]);
}

#[test]
fn a_silent_peer_is_given_up_after_ten_seconds() {
    let mut rig = Rig::new();
    let start = rig.now;
    rig.connect(ConnKind::Service, VersionSet::ALL);
    assert_eq!(
        rig.agent.next_deadline(),
        Some(start + Duration::from_secs(10))
    );
    rig.tick(start + Duration::from_millis(9_999));
    assert_eq!(rig.closed(), []);
    rig.tick(start + Duration::from_secs(10));
    assert_eq!(rig.closed(), [CloseReason::HandshakeTimeout]);
}

#[test]
fn a_dribbling_hello_is_no_hello() {
    let mut rig = Rig::new();
    let start = rig.now;
    let conn = rig.connect(ConnKind::Service, VersionSet::ALL);
    for s in 0..10 {
        rig.tick(start + Duration::from_secs(s));
        rig.say_bytes(conn, &[1]);
    }
    rig.tick(start + Duration::from_secs(10));
    assert_eq!(rig.closed(), [CloseReason::HandshakeTimeout]);
}

#[test]
fn an_unanswered_probe_ends_the_connection() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let t = rig.now;
    rig.tick(t + Duration::from_secs(5));
    let heard = rig.hear(c);
    assert!(
        matches!(heard[..], [(_, Message::EchoRequest(_))]),
        "{heard:?}"
    );
    rig.tick(t + Duration::from_secs(9));
    rig.say(c, 0, &Message::EchoReply(vec![]));
    rig.tick(t + Duration::from_secs(13));
    assert!(rig.hear(c).is_empty());
    rig.tick(t + Duration::from_secs(14));
    assert_eq!(rig.hear(c).len(), 1);
    rig.tick(t + Duration::from_secs(19));
    assert_eq!(rig.closed(), [CloseReason::Inactive]);
}

#[test]
fn without_a_probe_silence_is_golden() {
    let mut rig = Rig::new();
    for probe in [None, Some(Duration::ZERO)] {
        let options = ConnOptions::default();
        let kind = ConnKind::Primary;
        let conn = rig
            .agent
            .connect(rig.now, kind, VersionSet::ALL, probe, options, None);
        rig.say_bytes(conn, &[4, 0, 0, 8, 0, 0, 0, 1]);
    }
    assert_eq!(rig.agent.next_deadline(), None);
    rig.tick(rig.now + Duration::from_secs(1_000_000));
    assert_eq!(rig.closed(), []);
}

#[test]
fn a_length_below_eight_is_answered_and_the_end() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let bytes = [4, 2, 0, 7, 0, 0, 0, 9];
    assert_eq!(rig.error_of(c, &bytes), ErrorCode::BrcBadLen);
    assert_eq!(rig.closed(), [CloseReason::BadStream]);
}

#[test]
fn a_message_of_another_version_is_refused() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let bytes = [1, 5, 0, 8, 0, 0, 0, 9];
    assert_eq!(rig.error_of(c, &bytes), ErrorCode::BrcBadVersion);
}

#[test]
fn errors_are_not_answered_with_errors() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    // A whole one, and one too short to be one.
    rig.say_bytes(c.conn, &[4, 1, 0, 12, 0, 0, 0, 9, 0, 1, 0, 1]);
    rig.say_bytes(c.conn, &[4, 1, 0, 9, 0, 0, 0, 9, 0]);
    assert!(rig.hear(c).is_empty());
}

#[test]
fn a_snoop_hears_what_controllers_say_and_hear() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let s = rig.client(ConnKind::Snoop, Dialect::new(Version::Of13));
    let service = rig.client(ConnKind::Service, Dialect::new(Version::Of13));
    rig.ask(c, &Message::BarrierRequest);
    rig.ask(service, &Message::FeaturesRequest);
    let heard: Vec<_> = rig.hear(s).into_iter().map(|(_, m)| m).collect();
    assert_eq!(heard, [Message::BarrierRequest, Message::BarrierReply]);
    rig.agent
        .packet_in(rig.now, &[0; 60], 60, &note(1, PacketInReason::Action));
    assert!(matches!(rig.hear(s)[..], [(_, Message::PacketIn(_))]));
    // It asks in vain, but for an echo.
    assert!(rig.ask(s, &Message::FeaturesRequest).is_empty());
    assert_eq!(rig.ask(s, &Message::EchoRequest(vec![])).len(), 1);
    rig.agent.disconnect(s.conn);
    rig.ask(c, &Message::BarrierRequest);
    assert!(rig.agent.conns.values().all(|c| c.tap.is_none()));
}

/// `ovs-ofctl snoop` offers 1.0, whatever the bridge allows.
#[test]
fn a_snoop_may_speak_any_version() {
    let mut rig = Rig::new();
    let only = VersionSet::default().with(Version::Of13);
    let conn = rig.connect(ConnKind::Snoop, only);
    rig.say_bytes(conn, &[1, 0, 0, 8, 0, 0, 0, 1]);
    assert!(rig.agent.status(conn).unwrap().established);
}
