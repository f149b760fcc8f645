//! The control plane in memory: OpenFlow's codec and OVSDB's transactions. `cargo bench -p rvs-bench --bench control`; names are
//! `stage/hit-kind/instance`.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{criterion_group, criterion_main, Criterion};
use rvs_flow::{NoPortNames, OfPort};
use rvs_openflow::message::{FlowCommand, FlowMod, PacketIn};
use rvs_openflow::{
    Action, Dialect, FlowMatch, Framer, Instructions, Message, PacketInReason, Version,
};
use rvs_ovsdb::database::Database;
use rvs_ovsdb::log::NoJournal;
use rvs_ovsdb::schema::Schema;
use rvs_ovsdb::server::{Server, SessionId};
use rvs_ovsdb::{Now, UuidGenerator};
use serde_json::{json, Value};

const SHORT: &str = "in_port=1,dl_dst=02:00:00:00:00:01";
const LONG: &str = "tcp,in_port=1,dl_vlan=100,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,\
                    nw_src=10.0.0.0/24,nw_dst=10.0.1.7,tp_src=0x400/0xfc00,tp_dst=80";

fn flow_mod(text: &str) -> Message {
    let matching = FlowMatch::parse(text, &NoPortNames).unwrap();
    let mut f = FlowMod::new(FlowCommand::Add, matching);
    f.instructions = Instructions::apply(vec![Action::output(OfPort(2))]);
    Message::FlowMod(Box::new(f))
}

fn packet_in() -> Message {
    let mut p = PacketIn::new(OfPort(1), PacketInReason::NoMatch);
    p.data = vec![0; 128];
    p.total_len = 128;
    Message::PacketIn(Box::new(p))
}

fn codec(c: &mut Criterion) {
    for (version, name) in [
        (Version::Of10, "1.0"),
        (Version::Of13, "1.3"),
        (Version::Of15, "1.5"),
    ] {
        let dialect = Dialect::new(version);
        let messages = [
            ("flow-mod-short", flow_mod(SHORT)),
            ("flow-mod-long", flow_mod(LONG)),
            ("packet-in", packet_in()),
            ("barrier", Message::BarrierRequest),
        ];
        for (kind, message) in messages {
            let bytes = dialect.encode(&message, 7).unwrap();
            c.bench_function(&format!("encode/{kind}/{name}"), |b| {
                b.iter(|| dialect.encode(black_box(&message), 7).unwrap())
            });
            c.bench_function(&format!("decode/{kind}/{name}"), |b| {
                b.iter(|| dialect.decode(black_box(&bytes)).unwrap())
            });
        }
    }
    let bytes = Dialect::new(Version::Of13)
        .encode(&flow_mod(SHORT), 7)
        .unwrap();
    let hundred = bytes.repeat(100);
    c.bench_function("frame/flow-mod-short/100-in-one-read", |b| {
        b.iter(|| {
            let mut framer = Framer::new();
            framer.push(black_box(&hundred));
            while let Some(m) = framer.next_message().unwrap() {
                black_box(m);
            }
        })
    });
    c.bench_function("parse/flow-text/long", |b| {
        b.iter(|| FlowMatch::parse(black_box(LONG), &NoPortNames).unwrap())
    });
}

fn transact(server: &mut Server, client: SessionId, operations: Value) {
    let mut params = vec![json!("Open_vSwitch")];
    params.extend(operations.as_array().cloned().unwrap());
    let request = json!({"id": 1, "method": "transact", "params": params});
    server.input(client, request.to_string().as_bytes(), Now(0));
    let reply = String::from_utf8_lossy(server.output(client)).into_owned();
    assert!(!reply.contains("details"), "{reply}");
    while server.next_event().is_some() {}
    server.sent(client, usize::MAX, Now(0));
}

/// As `ovs-vsctl add-port` does it, from the request's text to the reply's.
fn add(server: &mut Server, client: SessionId, name: &str) {
    let operations = json!([
        {"op": "insert", "table": "Interface", "uuid-name": "i", "row": {"name": name}},
        {"op": "insert", "table": "Port", "uuid-name": "p", "row": {"name": name, "interfaces": ["named-uuid", "i"]}},
        {"op": "mutate", "table": "Bridge", "where": [["name", "==", "br0"]],
         "mutations": [["ports", "insert", ["set", [["named-uuid", "p"]]]]]},
        {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]},
    ]);
    transact(server, client, operations);
}

fn remove(server: &mut Server, client: SessionId, name: &str) {
    let database = server.database("Open_vSwitch").unwrap();
    let port = database
        .table("Port")
        .unwrap()
        .find("name", name.to_owned())
        .unwrap();
    let uuid = port.uuid().to_string();
    let mutations = json!([["ports", "delete", ["uuid", uuid]]]);
    let operations = json!([{"op": "mutate", "table": "Bridge", "where": [["name", "==", "br0"]], "mutations": mutations}]);
    transact(server, client, operations);
}

fn ovsdb(c: &mut Criterion) {
    for ports in [0, 100, 1000] {
        let mut server = Server::new(UuidGenerator::new([2; 16]), Default::default());
        server.add_database(Database::new(Schema::open_vswitch()), Box::new(NoJournal));
        let client = server.connect(Now(0), 0).unwrap();
        let bridge = json!([
            {"op": "insert", "table": "Bridge", "uuid-name": "b", "row": {"name": "br0"}},
            {"op": "insert", "table": "Open_vSwitch", "row": {"bridges": ["named-uuid", "b"]}},
        ]);
        transact(&mut server, client, bridge);
        (0..ports).for_each(|n| add(&mut server, client, &format!("p{n}")));
        c.bench_function(
            &format!("transact/add-and-remove-port/{ports}-ports"),
            |b| {
                b.iter(|| {
                    add(&mut server, client, "new");
                    remove(&mut server, client, "new");
                })
            },
        );
        let read = json!([{"op": "select", "table": "Port", "where": [["name", "==", "p7"]], "columns": ["tag"]}]);
        c.bench_function(&format!("transact/select-by-name/{ports}-ports"), |b| {
            b.iter(|| transact(&mut server, client, read.clone()))
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .measurement_time(Duration::from_millis(600))
        .warm_up_time(Duration::from_millis(150))
        .sample_size(20);
    targets = codec, ovsdb
}
criterion_main!(benches);
