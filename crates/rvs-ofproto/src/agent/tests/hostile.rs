//! Messages that broke other switches, and peers that mean no good. Whatever they send, the connection answers the next
//! request, or is closed; the others don't notice.

use super::*;

fn hex(s: &str) -> Vec<u8> {
    (0..s.len() / 2)
        .map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

/// `message` with its length filled in.
fn whole(mut message: Vec<u8>) -> Vec<u8> {
    let len = (message.len() as u16).to_be_bytes();
    message[2..4].copy_from_slice(&len);
    message
}

/// The error for `message`, from a connection of its version that goes on afterwards.
fn refused(message: &[u8]) -> ErrorCode {
    let mut rig = Rig::new();
    let c = rig.controller(Version::from_wire(message[0]).unwrap());
    let code = rig.error_of(c, message);
    assert_eq!(
        rig.ask_one(c, &Message::BarrierRequest),
        Message::BarrierReply
    );
    code
}

/// A packet-out of 1.3 with these octets for actions.
fn packet_out_of(actions: &[u8]) -> Vec<u8> {
    let mut m = hex("040d000000000001ffffffff00000001");
    m.extend_from_slice(&(actions.len() as u16).to_be_bytes());
    m.extend_from_slice(&[0; 6]);
    m.extend_from_slice(actions);
    m.extend_from_slice(&[0; 64]);
    whole(m)
}

#[test]
fn cve_2021_36980_encap_properties() {
    for n in [1usize, 2, 100, 2000] {
        let mut a = hex("ffff0000000023200000002e00000000");
        for _ in 0..n {
            a.extend_from_slice(&hex("0004010400000000"));
        }
        let len = (a.len() as u16).to_be_bytes();
        a[2..4].copy_from_slice(&len);
        a[8..10].copy_from_slice(&[0, 46]);
        let code = refused(&packet_out_of(&a));
        assert_eq!(code, ErrorCode::BacBadVendorType);
    }
}

#[test]
fn cve_2017_9214_queue_config_reply() {
    let m = hex("0115001800000001000100000000000000000001ffff0000");
    assert_eq!(refused(&m), ErrorCode::BrcBadLen);
}

#[test]
fn cve_2017_9263_role_status_of_an_unknown_reason() {
    let m = hex("051e00180000000100000002ff0000000000000000000001");
    assert_eq!(refused(&m), ErrorCode::NxbrcBadReason);
}

#[test]
fn cve_2017_9265_group_mod_over_read() {
    let m = hex("060f0018000000010000000000000001ffff000000000000");
    assert_eq!(refused(&m), ErrorCode::GmfcBadBucket);
}

#[test]
fn cve_2018_17204_group_type_and_command() {
    let m = hex("060f001800000001ffffff000000000100000000ffffffff");
    assert_eq!(refused(&m), ErrorCode::GmfcBadCommand);
}

#[test]
fn cve_2018_17206_bundle_and_learn_over_read() {
    let bundle = "ffff002800002320000c00010000000000000002ffff000000000000000000000001000200030004";
    let mut short = hex(bundle);
    short[20..22].copy_from_slice(&[0, 9]);
    assert_eq!(refused(&packet_out_of(&short)), ErrorCode::BacBadLen);
    let learn = "ffff0028000023200010000000000000000000000000000000000100000000002080000000000000";
    assert_eq!(refused(&packet_out_of(&hex(learn))), ErrorCode::BacBadLen);
}

/// oss-fuzz 9918: elements of no length.
#[test]
fn elements_without_octets_end() {
    for len in [0u16, 1, 3, 7, 0xffff] {
        let l = format!("{len:04x}");
        let action = hex(&format!("0000{l}0000000100000000"));
        assert_eq!(refused(&packet_out_of(&action)), ErrorCode::BacBadLen);
        let bucket = hex(&format!(
            "040f0000000000010000000000000001{l}0000000000000000000000000000"
        ));
        assert_eq!(refused(&whole(bucket)), ErrorCode::GmfcBadBucket);
        let entry = hex(&format!("04120000000000010001000c00000000{l}000000000000"));
        let code = refused(&whole(entry));
        assert_eq!(code, ErrorCode::BrcBadLen, "{len}");
    }
}

/// Kernel CVE-2022-2639, CVE-2024-1151: too many actions, too deep.
#[test]
fn actions_are_limited_in_number_and_depth() {
    // pop_vlan
    let many = hex("0012000800000000").repeat(4097);
    assert_eq!(refused(&packet_out_of(&many)), ErrorCode::BacTooMany);
    let mut deep = Vec::new();
    for level in 0..4000u16 {
        deep.extend_from_slice(&hex("ffff"));
        deep.extend_from_slice(&(16 * (4000 - level)).to_be_bytes());
        deep.extend_from_slice(&hex("00002320002a000000000000"));
    }
    assert_eq!(refused(&packet_out_of(&deep)), ErrorCode::BacTooMany);
}

/// CVE-2017-14970, CVE-2024-22563: errors that leak.
#[test]
fn a_hundred_thousand_refusals_leave_nothing() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of15);
    let bad = hex("060f0018000000010000000000000001ffff0000ffffffff").repeat(1000);
    for _ in 0..100 {
        rig.say_bytes(c.conn, &bad);
        assert_eq!(rig.hear(c).len(), 1000);
    }
    let conn = &rig.agent.conns[&c.conn];
    assert_eq!(conn.backlog(), 0);
    assert!(!conn.bundles.any() && conn.job.is_none());
}

/// A peer that asks and never reads: its requests stop being handled, its input stops being taken.
#[test]
fn a_peer_that_never_reads_is_bounded() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let other = rig.controller(Version::Of13);
    let echo = c.dialect.encode(&Message::EchoRequest(vec![7; 60_000]), 1);
    let echo = echo.unwrap();
    let mut sent = 0;
    while rig.agent.wants_input(c.conn) {
        rig.say_bytes(c.conn, &echo);
        sent += echo.len();
        assert!(sent < 4 << 20);
    }
    let waits = rig.agent.output(c.conn).len();
    assert!((limits::REPLY_BACKLOG..limits::REPLY_BACKLOG + 60_008).contains(&waits));
    assert!(!rig.agent.wants_turn());
    assert_eq!(
        rig.ask_one(other, &Message::BarrierRequest),
        Message::BarrierReply
    );
    // A caller that doesn't ask whether input is wanted is stopped, too.
    while rig.closed().is_empty() {
        rig.say_bytes(c.conn, &echo);
        sent += echo.len();
        assert!(sent < 8 << 20);
    }
    // At the limit input is wanted again as soon as there is room.
    let d = rig.controller(Version::Of13);
    while rig.agent.wants_input(d.conn) {
        rig.say_bytes(d.conn, &echo);
    }
    let over = rig.agent.output(d.conn).len() - limits::REPLY_BACKLOG;
    rig.agent.sent(d.conn, over);
    assert!(!rig.agent.wants_input(d.conn));
    rig.agent.sent(d.conn, 1);
    assert!(rig.agent.wants_input(d.conn));
}

#[test]
fn a_peer_that_dribbles_is_answered_in_the_end() {
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of13);
    let m = c.dialect.encode(&Message::EchoRequest(vec![1; 100]), 1);
    for byte in m.unwrap() {
        assert!(rig.read(c.conn).is_empty());
        rig.say_bytes(c.conn, &[byte]);
    }
    assert_eq!(rig.hear(c).len(), 1);
}

/// Noise is refused message by message, or ends the connection; in either case only its own.
#[test]
fn garbage_hurts_nobody_else() {
    use rvs_flow::testing::Entropy;
    for seed in 0..200 {
        let mut e = Entropy::seed(seed);
        let mut rig = Rig::new();
        let good = rig.controller(Version::Of13);
        let conn = match e.one_in(2) {
            true => rig.connect(ConnKind::Service, VersionSet::ALL),
            false => rig.controller(Version::Of14).conn,
        };
        for _ in 0..50 {
            let n = e.below(300);
            let noise: Vec<u8> = (0..n).map(|_| e.u8()).collect();
            rig.say_bytes(conn, &noise);
            rig.read(conn);
        }
        assert_eq!(
            rig.ask_one(good, &Message::BarrierRequest),
            Message::BarrierReply
        );
    }
}

/// ovs-issues 168: connections that come and go.
#[test]
fn ten_thousand_handshakes() {
    let mut rig = Rig::new();
    for _ in 0..10_000 {
        let c = rig.controller(Version::Of13);
        rig.ask_one(c, &Message::FeaturesRequest);
        rig.agent.disconnect(c.conn);
    }
    assert_eq!(rig.agent.connections().count(), 0);
}
