//! The messages that broke other switches, and every limit at its value and one past it.

use super::tests::{fix_length, hex};
use super::{decode, Dialect, Message, PacketOut};
use crate::error::{ErrorCode, OfError};
use crate::model::{Action, BundleAction, BundleAlgorithm, HashFields};
use crate::text::message::wire_text;
use crate::version::Version;
use crate::wire::Writer;

fn refused(message: &str) -> ErrorCode {
    decode(&hex(message)).unwrap_err().code
}

/// A packet-out of 1.3 with these octets for actions.
fn packet_out(actions: &[u8]) -> Result<Message, OfError> {
    let mut m = hex("040d000000000001ffffffff00000001");
    m.extend_from_slice(&(actions.len() as u16).to_be_bytes());
    m.extend_from_slice(&[0; 6]);
    m.extend_from_slice(actions);
    fix_length(&mut m);
    decode(&m).map(|(_, m)| m)
}

/// A flow-mod of 1.3 with these octets for match and instructions.
fn flow_mod(tail: &str) -> Result<Message, OfError> {
    let mut m = hex("040e000000000001");
    m.extend_from_slice(&[0; 24]);
    m.extend_from_slice(&[0xff; 12]);
    m.extend_from_slice(&[0; 4]);
    m.extend_from_slice(&hex(tail));
    m.resize(m.len().next_multiple_of(8), 0);
    fix_length(&mut m);
    decode(&m).map(|(_, m)| m)
}

/// A message whose length is filled in.
fn whole(text: String) -> ErrorCode {
    let mut m = hex(&text);
    fix_length(&mut m);
    code(decode(&m).map(|(_, m)| m))
}

fn code(r: Result<Message, OfError>) -> ErrorCode {
    r.unwrap_err().code
}

/// CVE-2021-36980: a use after free in the encap action.
#[test]
fn encap_properties_are_refused() {
    for n in [1usize, 2, 100, 2000] {
        let mut a = hex("ffff0000000023200000002e");
        a.extend_from_slice(&[0; 4]);
        for _ in 0..n {
            a.extend_from_slice(&hex("0004010400000000"));
        }
        let len = (a.len() as u16).to_be_bytes();
        a[2..4].copy_from_slice(&len);
        a[8..10].copy_from_slice(&[0, 46]);
        assert_eq!(code(packet_out(&a)), ErrorCode::BacBadVendorType);
    }
}

/// CVE-2017-9214: the length of a queue in a queue configuration reply.
#[test]
fn queue_config_reply_with_a_length_too_large() {
    assert_eq!(
        refused("0115001800000001000100000000000000000001ffff0000"),
        ErrorCode::BrcBadLen
    );
}

/// CVE-2017-9263: an unknown reason in a role status.
#[test]
fn role_status_with_an_unknown_reason() {
    assert_eq!(
        refused("051e00180000000100000002ff0000000000000000000001"),
        ErrorCode::NxbrcBadReason
    );
}

/// CVE-2017-9265: buckets longer than the group-mod of 1.5 that holds them.
#[test]
fn group_mod_with_buckets_past_its_end() {
    assert_eq!(
        refused("060f0018000000010000000000000001ffff000000000000"),
        ErrorCode::GmfcBadBucket
    );
    assert_eq!(
        refused("060f0018000000010000000000000001ffff0000ffffffff"),
        ErrorCode::BrcBadLen
    );
}

/// CVE-2018-17204: an unknown group type with an unknown command.
#[test]
fn group_mod_of_unknown_type_and_command() {
    assert_eq!(
        refused("060f001800000001ffffff000000000100000000ffffffff"),
        ErrorCode::GmfcBadCommand
    );
    assert_eq!(
        refused("060f0018000000010000ff000000000100000000ffffffff"),
        ErrorCode::GmfcBadType
    );
}

/// CVE-2018-17206: more bundle members than the action has room for; and a learn value past the action's end.
#[test]
fn bundle_and_learn_past_their_ends() {
    let bundle = hex("ffff00280000232000\
                      0c00010000000000000002ffff00000000000000000000000100020003\
                      0004");
    assert_eq!(bundle.len(), 40);
    assert_eq!(code(packet_out(&bundle)), ErrorCode::BacBadArgument);
    let mut fits_no_member = bundle;
    fits_no_member[20..22].copy_from_slice(&[0, 9]);
    assert_eq!(code(packet_out(&fits_no_member)), ErrorCode::BacBadLen);

    // A value of 0x80 bits where two octets are left; one of 0x3ff bits.
    let learn = |header: &str| {
        let text = "ffff002800002320001000000000000000000000000000000000010000000000";
        hex(&format!("{text}{header}000000000000"))
    };
    assert_eq!(code(packet_out(&learn("2080"))), ErrorCode::BacBadLen);
    assert_eq!(code(packet_out(&learn("23ff"))), ErrorCode::BacBadArgument);
    assert_eq!(code(packet_out(&learn("2000"))), ErrorCode::BacBadArgument);
    assert_eq!(code(packet_out(&learn("3800"))), ErrorCode::BacBadArgument);
}

/// oss-fuzz 9918: elements of no length, which a loop never gets past.
#[test]
fn every_element_of_an_odd_length_is_refused() {
    let lengths = [0u16, 1, 3, 7, 0xffff];
    for len in lengths {
        let l = format!("{len:04x}");
        let odd = |before: &str, after: &str| hex(&format!("{before}{l}{after}"));
        // An action.
        assert_eq!(
            code(packet_out(&odd("0000", "0000000100000000"))),
            ErrorCode::BacBadLen
        );
        // A property in an action: it may be as short as its own header.
        let mut c2 = hex("ffff002000002320002500000000000000030000");
        c2.extend_from_slice(&[0; 12]);
        c2[18..20].copy_from_slice(&len.to_be_bytes());
        if len != 7 {
            assert_eq!(code(packet_out(&c2)), ErrorCode::BpcBadLen);
        }
        // An instruction; a match; a field in a match, which says its octets in one.
        let instruction = format!("00010004000000000004{l}00000000");
        assert_eq!(code(flow_mod(&instruction)), ErrorCode::BicBadLen);
        if len != 7 {
            let matching = format!("0001{l}00000000");
            assert_eq!(code(flow_mod(&matching)), ErrorCode::BmcBadLen);
        }
        let field = format!("0001000c800000{:02x}0000000000000000", len as u8);
        assert_eq!(code(flow_mod(&field)), ErrorCode::BmcBadLen);
        // A bucket, a meter band, an entry of a multipart.
        let bucket = format!("040f0000000000010000000000000001{l}000000000000000000000000");
        assert_eq!(whole(format!("{bucket}0000")), ErrorCode::GmfcBadBucket);
        let band = format!("041d00000000000100000001000000010001{l}000000010000000000000000");
        assert_eq!(whole(band[..64].to_owned()), ErrorCode::BrcBadLen);
        let entry = format!("04130000000000010001000000000000{l}000000000000");
        assert_eq!(whole(entry), ErrorCode::BrcBadLen);
    }
}

fn pops(n: usize) -> Vec<Action> {
    vec![Action::PopVlan; n]
}

fn encoded(actions: Vec<Action>) -> Vec<u8> {
    let m = Message::PacketOut(Box::new(PacketOut::new(
        rvs_flow::OfPort(1),
        actions,
        vec![],
    )));
    Dialect::new(Version::Of13).encode(&m, 1).unwrap()
}

/// Kernel CVE-2022-2639: lists of actions that fill a message.
#[test]
fn a_list_has_4096_actions_at_most() {
    assert!(decode(&encoded(pops(4096))).is_ok());
    let err = decode(&encoded(pops(4097))).unwrap_err();
    assert_eq!(err.code, ErrorCode::BacTooMany);
    // Nested actions count, too.
    let nested = |n| vec![Action::Clone(pops(n).into())];
    assert!(decode(&encoded(nested(4095))).is_ok());
    assert_eq!(
        decode(&encoded(nested(4096))).unwrap_err().code,
        ErrorCode::BacTooMany
    );
    let mut full = Vec::new();
    while full.len() < 65_504 {
        full.extend_from_slice(&hex("0012000800000000"));
    }
    assert_eq!(code(packet_out(&full)), ErrorCode::BacTooMany);
}

/// Kernel CVE-2024-1151: nesting that eats the stack. The thread has 128 KiB.
#[test]
fn nesting_is_64_levels_at_most() {
    let clones = |depth: usize| {
        // Each level is 16 octets around the next.
        let mut bytes = Vec::new();
        for level in 0..depth {
            let len = (16 * (depth - level)) as u16;
            bytes.extend_from_slice(&hex("ffff"));
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(&hex("00002320002a000000000000"));
        }
        bytes
    };
    std::thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(move || {
            assert!(packet_out(&clones(64)).is_ok());
            assert_eq!(code(packet_out(&clones(65))), ErrorCode::BacTooMany);
            assert_eq!(code(packet_out(&clones(4_000))), ErrorCode::BacTooMany);
        })
        .unwrap()
        .join()
        .unwrap();
}

/// An error that holds an error and so on: writing it out for the log takes neither stack nor memory for each level.
#[test]
fn errors_in_errors_are_written_out_to_a_depth() {
    const LEVEL: usize = 12;
    let nested = |depth: usize| {
        let mut bytes = Vec::new();
        for level in 0..depth {
            let len = (LEVEL * (depth - level)) as u16;
            bytes.extend_from_slice(&hex("0401"));
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(&hex("0000000700010002"));
        }
        bytes
    };
    std::thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(move || {
            let text = wire_text(&Dialect::new(Version::Of13), &nested(5461));
            assert_eq!(text.matches("OFPT_ERROR (OF1.3) (xid=0x7):").count(), 4);
        })
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_bundle_has_2048_members_at_most() {
    let bundle = |n: usize| {
        let b = Action::Bundle(Box::new(BundleAction {
            algorithm: BundleAlgorithm::Hrw,
            fields: HashFields::EthSrc,
            basis: 0,
            members: vec![rvs_flow::OfPort(1); n].into(),
            dst: None,
        }));
        decode(&encoded(vec![b]))
    };
    assert!(bundle(2048).is_ok());
    assert_eq!(bundle(2049).unwrap_err().code, ErrorCode::BacBadArgument);
}

/// CVE-2017-14970 and CVE-2024-22563: errors that leak. Ours hold what they say, and are dropped.
#[test]
fn a_hundred_thousand_bad_mods_are_refused_alike() {
    let bad = hex("060f0018000000010000000000000001ffff0000ffffffff");
    for _ in 0..100_000 {
        assert_eq!(decode(&bad).unwrap_err().code, ErrorCode::BrcBadLen);
    }
}

#[test]
fn what_is_too_long_is_not_written() {
    let d = Dialect::new(Version::Of13);
    assert!(d.encode(&Message::EchoRequest(vec![0; 65_527]), 1).is_ok());
    assert!(d.encode(&Message::EchoRequest(vec![0; 65_528]), 1).is_err());
    let mut w = Writer::default();
    w.zeros(65_536);
    w.set_len(0, 0, "test");
    assert!(w.finish_part().is_err());
}

#[test]
fn errors_say_cause_and_cure() {
    let err = flow_mod("0001001080000a02080080001c020050").unwrap_err();
    assert_eq!(err.code, ErrorCode::BmcBadPrereq);
    assert_eq!(
        err.to_string(),
        "OFPBMC_BAD_PREREQ: tcp_dst needs ip_proto=6, which is not matched"
    );

    let why = |tail: &str| flow_mod(tail).unwrap_err().to_string();
    assert_eq!(
        why("0001000c8000160410000000"),
        "OFPBMC_BAD_PREREQ: ip_src needs eth_type=0x0800, which is not matched"
    );
    assert_eq!(
        why("0001001080000a02080080000a020800"),
        "OFPBMC_DUP_FIELD: eth_type is matched twice"
    );
    let set_field = "0001000400000000000400180000000000190010800018040a00000100000000";
    assert_eq!(
        why(set_field),
        "OFPBAC_MATCH_INCONSISTENT: ip_dst needs eth_type=0x0800, which neither the match nor an earlier action provides"
    );
}

/// A flow-mod of 1.5 with a stat_trigger of these octets behind its length.
fn stat_trigger(body: &str) -> Result<Message, OfError> {
    let mut m = hex("060e000000000001");
    m.extend_from_slice(&[0; 24]);
    m.extend_from_slice(&[0xff; 12]);
    m.extend_from_slice(&hex("000000000001000400000000"));
    let body = hex(&body.replace(' ', ""));
    m.extend_from_slice(&7u16.to_be_bytes());
    m.extend_from_slice(&(4 + body.len() as u16).to_be_bytes());
    m.extend_from_slice(&body);
    fix_length(&mut m);
    decode(&m).map(|(_, m)| m)
}

#[test]
fn stat_triggers_that_are_wrong_are_refused() {
    use crate::model::{StatTrigger, Threshold};
    let packets = "80020808000000000000000a";
    let Ok(Message::FlowMod(m)) = stat_trigger(&format!("00000001 0000 0010 {packets}")) else {
        panic!("every ten packets");
    };
    assert_eq!(
        m.instructions.stat_trigger.as_deref(),
        Some(&StatTrigger {
            periodic: true,
            only_first: false,
            thresholds: [Threshold::Packets(10)].into(),
        })
    );
    use ErrorCode::{BicBadLen, BicUnsupInst};
    let many = |n: usize| {
        let len = 4 + 12 * n;
        let pad = "00".repeat(len.next_multiple_of(8) - len);
        format!("00000000 0000{len:04x}{}{pad}", packets.repeat(n))
    };
    assert!(stat_trigger(&many(16)).is_ok());
    for (body, error, why) in [
        (many(17).as_str(), BicUnsupInst, "more than there may be"),
        ("00000000 00000004 00000000", BicUnsupInst, "none"),
        (
            "00000004 0000 0010 80020808000000000000000a",
            BicUnsupInst,
            "an unknown flag",
        ),
        (
            "00000000 0000 0010 800208080000000000000000",
            BicUnsupInst,
            "a threshold of 0",
        ),
        (
            "00000000 0000 000c 8002060400000005 00000000",
            BicUnsupInst,
            "a count of flows",
        ),
        (
            "00000000 0000 0010 80021e08000000000000000a",
            BicUnsupInst,
            "an unknown statistic",
        ),
        (
            "00000000 0000 0010 ffff0808000000000000000a",
            BicUnsupInst,
            "an unknown class",
        ),
        (
            "00000000 0000 0010 80020008000000003b9aca00",
            BicUnsupInst,
            "a second of nanoseconds",
        ),
        (
            "00000000 0000 0010 80020807000000000000000a",
            BicBadLen,
            "a short value",
        ),
        (
            "00000000 0000 0010 80020809000000000000000a",
            BicBadLen,
            "a value beyond the end",
        ),
        (
            "00000000 0000 0018 80020808000000000000000a",
            BicBadLen,
            "a list beyond the end",
        ),
        (
            "00000000 0000 0003 80020808000000000000000a",
            BicBadLen,
            "a list within its header",
        ),
        ("00000000", BicBadLen, "no list"),
        (
            "00000000 0000 0010 80020808000000000000000a 0000000000000000",
            BicBadLen,
            "octets too many",
        ),
    ] {
        assert_eq!(code(stat_trigger(body)), error, "{why}");
    }
}
