//! Fuzz targets: functions of octets that must not panic, whatever the octets.
//!
//! The same functions run under libFuzzer (`tests/fuzz`), from a seed (`tests/fuzz/short`) and over the corpus. Beside not
//! panicking each asserts what it can about the answer.

use std::cell::RefCell;

use rvs_flow::field::FieldId;
use rvs_flow::testing::Entropy;
use rvs_flow::{extract, DpPort, FlowKey, Key, ParseLimits, Present};
use rvs_ovsdb::database::Database;
use rvs_ovsdb::jsonrpc::Framer;
use rvs_ovsdb::limits::Limits;
use rvs_ovsdb::log::NoJournal;
use rvs_ovsdb::server::{Event, Server};
use rvs_ovsdb::UuidGenerator;
use rvs_packet::edit::{self, Edit};
use rvs_packet::view::Lse;
use rvs_packet::{EtherType, Frame, MacAddr, VlanTci};

use crate::config::{access, native_untagged, trunk, tunnel};
use crate::switch::{schema, TestSwitch};

/// A target: its name and the function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 4] = [
    ("extract", extract_total),
    ("edits", edits),
    ("ovsdb_json", ovsdb_json),
    ("switch_frames", switch_frames),
];

/// A key has no field of a layer that is not there, and depends on nothing but the octets.
pub fn extract_total(bytes: &[u8]) {
    let frame = Frame::from_slice(bytes);
    for limits in [ParseLimits::new(1), ParseLimits::new(2)] {
        let key = extract(&frame, DpPort(1), limits);
        assert_eq!(key, extract(&frame, DpPort(1), limits));
        let width = key.width();
        assert!(key.words()[width..].iter().all(|w| *w == 0), "{key:?}");
        if !key.present.any(Present::L3) {
            assert_eq!(
                (key.nw_src, key.nw_dst, key.nw_proto),
                Default::default(),
                "{key:?}"
            );
        }
        if !key.present.any(Present::L4) {
            assert_eq!((key.tp_src.get(), key.tp_dst.get()), (0, 0), "{key:?}");
        }
    }
    // Octets behind the end of an IP packet are padding: they change nothing.
    let key = extract(&frame, DpPort(1), ParseLimits::new(2));
    if key.present.any(Present::IP) && !key.present.any(Present::MALFORMED) {
        let longer = Frame::from_slice(&[bytes, &[0xa5; 300]].concat());
        let padded = extract(&longer, DpPort(1), ParseLimits::new(2));
        if !padded.present.any(Present::MALFORMED) {
            assert_eq!(key, padded);
        }
    }
}

/// Edits of any frame: none reads past the end, and rewriting a field changes nothing in front of it.
pub fn edits(bytes: &[u8]) {
    let Some((script, frame)) = bytes.split_at_checked(16) else {
        return;
    };
    let mut e = Entropy::bytes(script);
    let mut f = Frame::from_slice(frame);
    for _ in 0..6 {
        match e.below(12) {
            0 => drop(edit::push_vlan(&mut f, EtherType::VLAN, VlanTci(e.u16()))),
            1 => drop(edit::pop_vlan(&mut f)),
            2 => drop(edit::set_vlan_tci(
                &mut f,
                e.below(3),
                VlanTci(e.u16()),
                0xfff,
            )),
            3 => drop(edit::push_mpls(
                &mut f,
                EtherType::MPLS,
                Lse(e.u64() as u32),
            )),
            4 => drop(edit::pop_mpls(&mut f, EtherType::IPV4)),
            5 => drop(edit::push_pbb(&mut f, e.u64() as u32)),
            6 => drop(edit::pop_pbb(&mut f)),
            n => {
                let before = f.bytes().to_vec();
                let mut edit = Edit::new(&mut f);
                let done = match n {
                    7 => edit.set_ipv4_src([10, 0, 0, e.u8()].into(), [0xff; 4].into()),
                    8 => edit.set_eth_dst(MacAddr([2, 0, 0, 0, 0, e.u8()]), MacAddr::BROADCAST),
                    9 => edit.set_tcp_dst(e.u16(), 0xffff) || edit.set_udp_dst(e.u16(), 0xffff),
                    10 => edit.set_ipv6_dst([e.u8(); 16].into(), [0xff; 16].into()),
                    _ => edit.set_nd_target([e.u8(); 16].into(), [0xff; 16].into()),
                };
                assert_eq!(f.len(), before.len());
                assert!(
                    done || f.bytes() == before,
                    "an edit that was not done changed something"
                );
            }
        }
        assert!(f.len() <= frame.len() + 6 * 32);
    }
    let key: FlowKey = extract(&f, DpPort(1), ParseLimits::new(2));
    let _ = rvs_flow::Field::of(FieldId::EthType).get(&rvs_flow::PipelineKey {
        flow: key,
        ..Default::default()
    });
}

/// Octets of a database client: the server answers, refuses or drops it, and another client still gets its answer.
pub fn ovsdb_json(bytes: &[u8]) {
    let mut server = Server::new(UuidGenerator::new([9; 16]), Limits::default());
    let db = Database::new(schema());
    server.add_database(db, Box::new(NoJournal));
    let now = rvs_ovsdb::Now(1);
    let session = server.connect(now, 0).unwrap();
    for chunk in bytes.chunks(61) {
        server.input(session, chunk, now);
    }
    let mut framer = Framer::default();
    framer.push(server.output(session));
    while framer.next_object().unwrap().is_some() {}
    while let Some(event) = server.next_event() {
        if let Event::Committed(c) = event {
            assert_eq!(&*c.database, "Open_vSwitch");
        }
    }
    let other = server.connect(now, 0).unwrap();
    server.input(other, br#"{"method":"echo","params":["x"],"id":1}"#, now);
    assert!(
        !server.output(other).is_empty(),
        "another client waits for ever"
    );
}

thread_local! {
    static SWITCH: RefCell<Option<TestSwitch>> = const { RefCell::new(None) };
}

/// A switch with one port of each VLAN mode, ports `p1` to `p5` of bridge `br`.
pub fn switch_of_all_modes() -> TestSwitch {
    let mut s = TestSwitch::default();
    s.add_bridge("br");
    s.add_port("br", "p1", access(10));
    s.add_port("br", "p2", trunk(&[]));
    s.add_port("br", "p3", trunk(&[10, 100]));
    s.add_port("br", "p4", native_untagged(10, &[10, 200]));
    s.add_port("br", "p5", tunnel(100, &[0, 10]));
    for p in ["p1", "p2", "p3", "p4", "p5", "br"] {
        s.set_mtu(p, 65_535);
    }
    s
}

/// Frames through the whole switch: each leaves where the interpreter says, twice (from the slow path and from the caches).
///
/// The input is a row of frames: a port, a length in two octets, the octets.
pub fn switch_frames(mut bytes: &[u8]) {
    SWITCH.with_borrow_mut(|slot| {
        let s = slot.get_or_insert_with(switch_of_all_modes);
        // What earlier inputs taught must not matter.
        let bridge = s.uuid("Bridge", "br");
        s.switch.flush_macs(bridge, rvs_l2::Flush::default());
        s.switch.flush_flows();
        while let [port, high, low, rest @ ..] = bytes {
            let len = usize::from(u16::from_be_bytes([*high, *low]) % 2048).min(rest.len());
            let (frame, next) = rest.split_at(len);
            bytes = next;
            let port = format!("p{}", port % 5 + 1);
            s.judge(&port, frame);
            s.judge(&port, frame);
        }
    });
}

/// A row of frames as [`switch_frames`] takes it.
pub fn row_of_frames(e: &mut Entropy<'_>, n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..n {
        let frame = rvs_flow::testing::mutated_frame(e);
        let frame = &frame[..frame.len().min(2047)];
        out.push(e.u8());
        out.extend((frame.len() as u16).to_be_bytes());
        out.extend(frame);
    }
    out
}

/// An input for a target, of the kind it eats.
pub fn input(target: &str, e: &mut Entropy<'_>) -> Vec<u8> {
    match target {
        "ovsdb_json" => json(e),
        "switch_frames" => row_of_frames(e, 4),
        "edits" => {
            let mut out: Vec<u8> = (0..16).map(|_| e.u8()).collect();
            out.extend(rvs_flow::testing::mutated_frame(e));
            out
        }
        _ => rvs_flow::testing::mutated_frame(e),
    }
}

/// Requests of a database client, broken here and there.
fn json(e: &mut Entropy<'_>) -> Vec<u8> {
    const REQUESTS: [&str; 7] = [
        r#"{"method":"list_dbs","params":[],"id":1}"#,
        r#"{"method":"get_schema","params":["Open_vSwitch"],"id":2}"#,
        r#"{"method":"transact","params":["Open_vSwitch",{"op":"insert","table":"Bridge","row":{"name":"b"}}],"id":3}"#,
        r#"{"method":"transact","params":["Open_vSwitch",{"op":"mutate","table":"Open_vSwitch","where":[],"mutations":[["next_cfg","+=",1]]}],"id":4}"#,
        r#"{"method":"transact","params":["Open_vSwitch",{"op":"wait","table":"Bridge","where":[],"columns":["name"],"until":"==","rows":[],"timeout":0}],"id":5}"#,
        r#"{"method":"monitor","params":["Open_vSwitch",null,{"Bridge":[{"columns":["name"]}]}],"id":6}"#,
        r#"{"method":"cancel","params":[5],"id":null}"#,
    ];
    let mut out = Vec::new();
    for _ in 0..1 + e.below(4) {
        out.extend(e.pick(&REQUESTS).as_bytes());
    }
    for _ in 0..e.below(6) {
        let at = e.below(out.len());
        match e.below(4) {
            0 => drop(out.remove(at)),
            1 => out.insert(at, e.pick(b"{}[]\",:0-\\u\xff\x00e.")),
            2 => out[at] = e.u8(),
            _ => {
                let piece: Vec<u8> = out.iter().skip(at).take(e.below(40)).copied().collect();
                out.splice(at..at, piece);
            }
        }
        if out.is_empty() {
            break;
        }
    }
    out
}
