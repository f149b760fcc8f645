use rvs_flow::testing::Entropy;

use super::*;
use crate::error::ErrorCode;
use crate::testing;

/// P4: what was encoded decodes to the same, for every message of every dialect.
#[test]
fn what_was_encoded_decodes_to_the_same() {
    for seed in 0..30_000u64 {
        let mut e = Entropy::seed(seed);
        let d = testing::dialect(&mut e);
        let xid = e.u16().into();
        let mut m = testing::message(&mut e, &d);
        if d.version >= Version::Of13 && e.one_in(20) {
            m = testing::bundle_add(&mut e, &d, xid).unwrap();
        }
        let bytes = d
            .encode(&m, xid)
            .unwrap_or_else(|err| panic!("seed {seed}: {err}: {m:?} in {d:?}"));
        assert_eq!(
            usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
            bytes.len()
        );
        let (h, back) = d
            .decode(&bytes)
            .unwrap_or_else(|err| panic!("seed {seed}: {err}: {m:?} in {d:?}: {bytes:02x?}"));
        assert_eq!(h.xid, xid);
        assert_eq!(back, m, "seed {seed} in {d:?}: {bytes:02x?}");
    }
}

/// A generator ends wherever its octets run out: a loop that draws until it likes what it gets would turn for ever.
#[test]
fn generators_end_when_their_octets_do() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for seed in 0..300_000u64 {
            let mut e = Entropy::seed(seed);
            let octets: Vec<u8> = (0..e.below(40)).map(|_| e.u8()).collect();
            let mut e = Entropy::bytes(&octets);
            let d = testing::dialect(&mut e);
            let _ = testing::message(&mut e, &d);
        }
        let _ = done.send(());
    });
    let patience = std::time::Duration::from_secs(120);
    assert!(ended.recv_timeout(patience).is_ok(), "a generator hangs");
}

/// An insertion need not say the type of the group: whether its buckets may watch a port is the group's to say.
#[test]
fn buckets_to_insert_are_not_judged_by_the_type_in_the_message() {
    let d = Dialect::new(Version::Of15);
    let text = "group_id=1,type=ff,bucket=watch_port:1,actions=output:1";
    let words = crate::text::Words::new(Version::Of15);
    let mut m = crate::text::parse_group(text, GroupCommand::Add, &words).unwrap();
    m.command = GroupCommand::InsertBucket;
    m.command_bucket = BUCKET_LAST;
    m.group.kind = crate::GroupKind::All;
    let m = Message::GroupMod(Box::new(m));
    let bytes = d.encode(&m, 1).unwrap();
    assert_eq!(d.decode(&bytes).map(|(_, m)| m), Ok(m));
}

/// Open vSwitch's suite sends such ones.
#[test]
fn a_selection_method_may_have_the_number_that_it_began_with() {
    let d = Dialect::new(Version::Of15);
    let text = "group_id=1,type=select,selection_method=hash,bucket=output:1";
    let words = crate::text::Words::new(Version::Of15);
    let m = crate::text::parse_group(text, GroupCommand::Add, &words).unwrap();
    let m = Message::GroupMod(Box::new(m));
    let mut bytes = d.encode(&m, 1).unwrap();
    let at = bytes
        .windows(4)
        .position(|w| w == [0, 0, 0x15, 0x4d])
        .unwrap();
    bytes[at + 3] = 0x40;
    assert_eq!(d.decode(&bytes).map(|(_, m)| m), Ok(m));
}

#[test]
fn what_no_message_has_room_for_is_counted() {
    let flow = |n| FlowStats {
        instructions: crate::Instructions::apply(vec![crate::Action::Clone([].into()); n]),
        ..FlowStats::new(crate::FlowMatch::any())
    };
    let mut parts = Parts::new(Dialect::new(Version::Of10), 1);
    parts.push(
        &Reply::Flow(FlowStatsForm::Nicira, vec![flow(1), flow(4096)]),
        |_| {},
    );
    assert_eq!((parts.skipped(), parts.oversized()), (1, 1));
}

/// There is no cache for emergencies, which 1.0 alone has: it is full.
#[test]
fn flows_for_emergencies_find_no_room() {
    let d = Dialect::new(Version::Of10);
    let m = FlowMod::new(FlowCommand::Add, crate::FlowMatch::any());
    let mut bytes = d.encode(&Message::FlowMod(Box::new(m)), 1).unwrap();
    let flags = bytes.len() - 1;
    bytes[flags] |= 4;
    let refused = d.decode(&bytes).map_err(|e| e.code);
    assert_eq!(refused.map(|_| ()), Err(ErrorCode::FmfcTableFull));
}

/// Only the number of the vendor is common to the messages of all vendors.
#[test]
fn a_vendors_message_may_be_its_number_alone() {
    for (vendor, code) in [
        (0x0012_3456, ErrorCode::BrcBadVendor),
        (crate::error::NICIRA, ErrorCode::BrcBadLen),
    ] {
        let mut bytes = vec![1, 4, 0, 12, 0, 0, 0, 1];
        bytes.extend_from_slice(&u32::to_be_bytes(vendor));
        let refused = Dialect::new(Version::Of10).decode(&bytes);
        assert_eq!(refused.map(|_| ()).map_err(|e| e.code), Err(code));
    }
}

proptest::proptest! {
    /// The same on inputs that shrink.
    #[test]
    fn messages_survive_the_wire((d, m) in testing::messages()) {
        let bytes = d.encode(&m, 7).unwrap();
        proptest::prop_assert_eq!(d.decode(&bytes).unwrap().1, m);
    }
}

/// Decoding ends, without panic, and names an error that the version can send.
#[test]
fn mutated_messages_are_refused_or_read() {
    for seed in 0..100_000u64 {
        let mut e = Entropy::seed(seed);
        let d = testing::dialect(&mut e);
        let m = testing::message(&mut e, &d);
        let mut bytes = d.encode(&m, 1).unwrap();
        for _ in 0..1 + e.below(3) {
            mutate(&mut e, &mut bytes);
        }
        fix_length(&mut bytes);
        match d.decode(&bytes) {
            Ok((_, m)) => {
                // What was read can be written, if perhaps not in this version, and then reads the same.
                if let Ok(again) = d.encode(&m, 1) {
                    if let Ok((_, back)) = d.decode(&again) {
                        let third = d.encode(&back, 1).unwrap();
                        assert_eq!(d.decode(&third).unwrap().1, back, "seed {seed}");
                    }
                }
            }
            Err(err) => {
                let reply = err.reply(d.version, &bytes);
                let (_, said) = d.decode(&reply).unwrap();
                let Message::Error(said) = said else {
                    panic!("{said:?}");
                };
                assert!(said.known(d.version).is_some(), "seed {seed}: {err}");
            }
        }
    }
}

pub(super) fn mutate(e: &mut Entropy<'_>, bytes: &mut Vec<u8>) {
    if bytes.len() <= 8 {
        bytes.extend_from_slice(&[0; 8]);
    }
    let at = 8 + e.below(bytes.len() - 8);
    match e.below(7) {
        0 => bytes[at] ^= 1 << e.below(8),
        1 => bytes[at] = e.pick(&[0, 1, 0x7f, 0x80, 0xff]),
        2 => bytes.truncate(at),
        3 => bytes.insert(at, e.u8()),
        4 => {
            bytes.remove(at);
        }
        5 => {
            let end = (at + 8).min(bytes.len());
            let copy = bytes[at..end].to_vec();
            bytes.extend_from_slice(&copy);
        }
        _ => {
            let end = (at + 2).min(bytes.len());
            let v = e.pick(&[0u16, 1, 4, 7, 8, 0xffff]).to_be_bytes();
            bytes[at..end].copy_from_slice(&v[..end - at]);
        }
    }
}

pub(super) fn fix_length(bytes: &mut Vec<u8>) {
    bytes.truncate(65535);
    let len = (bytes.len() as u16).to_be_bytes();
    bytes[2..4].copy_from_slice(&len);
}

pub(crate) fn hex(s: &str) -> Vec<u8> {
    (0..s.len() / 2)
        .map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

fn refused(s: &str) -> ErrorCode {
    decode(&hex(s)).unwrap_err().code
}

#[test]
fn lengths_that_lie_are_refused() {
    assert_eq!(refused("0402000900000000"), ErrorCode::BrcBadLen);
    assert_eq!(refused("04020007"), ErrorCode::BrcBadLen);
    assert_eq!(refused("0463000800000000"), ErrorCode::BrcBadType);
    assert_eq!(refused("0902000800000000"), ErrorCode::BrcBadVersion);
    assert_eq!(refused("04050009000000aaff"), ErrorCode::BrcBadLen);
    assert_eq!(
        refused("040400100000000000001234000000ff"),
        ErrorCode::BrcBadVendor
    );
    assert_eq!(
        refused("0404001000000000000023200000ffff"),
        ErrorCode::BrcBadSubtype
    );
}

#[test]
fn hello_of_any_version_is_read() {
    let (_, m) = decode(&hex("0900000800000001")).unwrap();
    let Message::Hello(h) = m else { panic!() };
    assert_eq!(h.negotiate(crate::VersionSet::ALL).unwrap(), Version::Of15);
    let (_, m) = decode(&hex("0600001000000001000100080000001200000000")[..16]).unwrap();
    let Message::Hello(h) = m else { panic!() };
    assert_eq!(h.negotiate(crate::VersionSet::ALL).unwrap(), Version::Of13);
    assert_eq!(
        h.negotiate(crate::VersionSet::from_bits(0b100))
            .unwrap_err()
            .code,
        ErrorCode::HfcIncompatible
    );
}

#[test]
fn replies_are_cut_at_64_kib() {
    let d = Dialect::new(Version::Of13);
    let flow = FlowStats::new(crate::FlowMatch::any());
    let flows = vec![flow; 10_000];
    let parts = d
        .encode_reply(7, &Reply::Flow(FlowStatsForm::Standard, flows.clone()))
        .unwrap();
    assert!(parts.len() > 8);
    let mut got = Vec::new();
    for (i, p) in parts.iter().enumerate() {
        let (h, Message::MultipartReply(r)) = d.decode(p).unwrap() else {
            panic!()
        };
        assert_eq!(h.xid, 7);
        assert_eq!(r.more, i + 1 < parts.len());
        assert!(r.more || i + 1 == parts.len());
        let Reply::Flow(_, part) = r.body else {
            panic!()
        };
        got.extend(part);
    }
    assert_eq!(got, flows);
    let empty = d
        .encode_reply(7, &Reply::Flow(FlowStatsForm::Standard, vec![]))
        .unwrap();
    assert_eq!(empty.len(), 1);
}
