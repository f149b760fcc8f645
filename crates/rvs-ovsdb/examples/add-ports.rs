//! Times transactions like those of `ovs-vsctl add-port` and `del-port`, in memory and with a log on disk
//! (in the temporary directory): `add-ports [PORTS [MONITORS]]` (1,000 and 1 by default).

use std::time::{Duration, Instant};

use rvs_ovsdb::database::Database;
use rvs_ovsdb::log::{FileStorage, Journal, Log, NoJournal};
use rvs_ovsdb::schema::Schema;
use rvs_ovsdb::server::{Server, SessionId};
use rvs_ovsdb::{Now, UuidGenerator};
use serde_json::{json, Value};

fn main() {
    let number = |n: usize, default: usize| {
        std::env::args()
            .nth(n)
            .and_then(|arg| arg.parse().ok())
            .unwrap_or(default)
    };
    let (ports, monitors) = (number(1, 1_000), number(2, 1));
    run(
        "in memory",
        ports,
        monitors,
        Database::new(Schema::open_vswitch()),
        Box::new(NoJournal),
    );

    let path = std::env::temp_dir().join(format!("add-ports-{}.db", std::process::id()));
    let storage = FileStorage::open(&path).expect("database in the temporary directory");
    let opened = Log::open(
        storage,
        &Schema::open_vswitch(),
        &mut UuidGenerator::new([1; 16]),
    );
    let opened = opened.expect("new database");
    run(
        "with fsync",
        ports,
        monitors,
        opened.db,
        Box::new(opened.log),
    );
    let size = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    println!("            log of {} KiB", size >> 10);
    let _best_effort = std::fs::remove_file(&path);
}

fn run(name: &str, ports: usize, monitors: usize, db: Database, journal: Box<dyn Journal + Send>) {
    let mut server = Server::new(UuidGenerator::new([2; 16]), Default::default());
    server.add_database(db, journal);
    let client = server.connect(Now(0), 0).expect("first session");
    transact(
        &mut server,
        client,
        json!([
            {"op": "insert", "table": "Bridge", "uuid-name": "b", "row": {"name": "br0"}},
            {"op": "insert", "table": "Open_vSwitch", "row": {"bridges": ["named-uuid", "b"]}},
        ]),
    );
    for _ in 0..monitors {
        let session = server.connect(Now(0), 0).expect("session");
        let request = json!({"id": 1, "method": "monitor_cond", "params": ["Open_vSwitch", 1,
            {"Bridge": [{}], "Port": [{}], "Interface": [{}], "Open_vSwitch": [{}]}]});
        server.input(session, request.to_string().as_bytes(), Now(0));
    }
    let what = format!("{ports} ports, {monitors} monitor(s)");
    println!("{name}, {what}");
    report("  added one by one  ", ports, |n| {
        let operations = add_port(&format!("p{n}"), n);
        transact(&mut server, client, operations);
    });
    report("  removed one by one", ports, |n| {
        let table = server
            .database("Open_vSwitch")
            .and_then(|db| db.table("Port"));
        let name = format!("p{n}");
        let port = table
            .and_then(|table| table.find("name", name))
            .expect("the port is there");
        let uuid = port.uuid().to_string();
        transact(
            &mut server,
            client,
            json!([{"op": "mutate", "table": "Bridge", "where": [["name", "==", "br0"]],
                    "mutations": [["ports", "delete", ["uuid", uuid]]]}]),
        );
    });
    report("  added at once     ", 1, |_| {
        // As `ovs-vsctl` does it: the bridge's ports are set once, at the end.
        let mut operations = Vec::new();
        for n in 0..ports {
            let interface = format!("i{n}");
            let name = format!("p{n}");
            operations.push(
                json!({"op": "insert", "table": "Interface", "uuid-name": interface,
                                   "row": {"name": name}}),
            );
            operations.push(json!({"op": "insert", "table": "Port", "uuid-name": name,
                                   "row": {"name": name, "interfaces": ["named-uuid", interface]}}));
        }
        let all: Vec<Value> = (0..ports)
            .map(|n| json!(["named-uuid", format!("p{n}")]))
            .collect();
        operations.push(
            json!({"op": "update", "table": "Bridge", "where": [["name", "==", "br0"]],
                               "row": {"ports": ["set", all]}}),
        );
        transact(&mut server, client, Value::Array(operations));
    });
}

/// Times `count` runs of `one`.
fn report(what: &str, count: usize, mut one: impl FnMut(usize)) {
    let mut slowest = Duration::ZERO;
    let start = Instant::now();
    for n in 0..count {
        let begin = Instant::now();
        one(n);
        slowest = slowest.max(begin.elapsed());
    }
    let total = start.elapsed();
    let mean = total / count.max(1) as u32;
    println!("{what} {total:>12.3?}, mean {mean:>10.3?}, slowest {slowest:>10.3?}");
}

fn add_port(name: &str, n: usize) -> Value {
    json!([
        {"op": "wait", "table": "Bridge", "timeout": 0, "until": "==", "columns": ["fail_mode"],
         "where": [["name", "==", "br0"]], "rows": [{"fail_mode": ["set", []]}]},
        {"op": "insert", "table": "Interface", "uuid-name": "i", "row": {"name": name}},
        {"op": "insert", "table": "Port", "uuid-name": "p",
         "row": {"name": name, "interfaces": ["named-uuid", "i"], "tag": n % 4096}},
        {"op": "mutate", "table": "Bridge", "where": [["name", "==", "br0"]],
         "mutations": [["ports", "insert", ["set", [["named-uuid", "p"]]]]]},
        {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]},
        {"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"]},
        {"op": "comment", "comment": "add-port"},
    ])
}

fn transact(server: &mut Server, client: SessionId, operations: Value) {
    let mut params = vec![json!("Open_vSwitch")];
    params.extend(operations.as_array().cloned().unwrap_or_default());
    let request = json!({"id": 1, "method": "transact", "params": params});
    server.input(client, request.to_string().as_bytes(), Now(0));
    let reply = String::from_utf8_lossy(server.output(client)).into_owned();
    assert!(!reply.contains("details"), "{reply}");
    while server.next_event().is_some() {}
    let sessions: Vec<SessionId> = server.sessions_with_output().collect();
    for session in sessions {
        server.sent(session, usize::MAX, Now(0));
    }
}
