//! Differential test: random transactions through this server and through Open vSwitch's `ovsdb-server`
//! must give the same results, the same kinds of errors, the same monitor updates and the same database.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rvs_ovsdb::database::Database;
use rvs_ovsdb::jsonrpc::Framer;
use rvs_ovsdb::log::NoJournal;
use rvs_ovsdb::schema::Schema;
use rvs_ovsdb::server::{Server, SessionId};
use rvs_ovsdb::{Now, UuidGenerator};
use serde_json::{json, Value};

#[path = "support/script.rs"]
mod script;
use script::{Random, TABLES};

/// Something that answers JSON-RPC requests.
trait Peer {
    fn send(&mut self, text: &str);
    /// The next message.
    fn receive(&mut self) -> Value;

    /// The messages up to the response, which is the last.
    fn call(&mut self, method: &str, params: Vec<Value>) -> Vec<Value> {
        self.send(&json!({"id": "x", "method": method, "params": params}).to_string());
        let mut messages = Vec::new();
        loop {
            messages.push(self.receive());
            if messages.last().unwrap()["id"] == json!("x") {
                return messages;
            }
        }
    }
}

struct Ours {
    server: Server,
    session: SessionId,
    framer: Framer,
}

impl Ours {
    fn new() -> Ours {
        let mut server = Server::new(UuidGenerator::new([3; 16]), Default::default());
        server.add_database(Database::new(Schema::open_vswitch()), Box::new(NoJournal));
        let session = server.connect(Now(0), 0).unwrap();
        Ours {
            server,
            session,
            framer: Framer::default(),
        }
    }
}

impl Peer for Ours {
    fn send(&mut self, text: &str) {
        self.server.input(self.session, text.as_bytes(), Now(0));
        self.framer.push(self.server.output(self.session));
        self.server.sent(self.session, usize::MAX, Now(0));
        while self.server.next_event().is_some() {}
    }

    fn receive(&mut self) -> Value {
        self.framer.next_object().unwrap().expect("a reply at once")
    }
}

struct Theirs {
    child: Child,
    stream: UnixStream,
    framer: Framer,
}

impl Theirs {
    fn start(directory: &Path) -> Option<Theirs> {
        let schema = directory.join("schema");
        std::fs::write(&schema, Schema::open_vswitch().to_json().to_string()).unwrap();
        let (db, socket) = (directory.join("db"), directory.join("sock"));
        let created = Command::new("ovsdb-tool")
            .arg("create")
            .arg(&db)
            .arg(&schema)
            .status()
            .ok()?;
        assert!(created.success(), "ovsdb-tool refuses our schema");
        let program = ["ovsdb-server", "/usr/sbin/ovsdb-server"]
            .into_iter()
            .find(|program| {
                Command::new(program)
                    .arg("--version")
                    .stdout(Stdio::null())
                    .status()
                    .is_ok()
            })?;
        let child = Command::new(program)
            .arg(format!("--remote=punix:{}", socket.display()))
            .arg(format!("--unixctl={}", directory.join("ctl").display()))
            .arg(&db)
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        for _ in 0..500 {
            if let Ok(stream) = UnixStream::connect(&socket) {
                stream
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
                return Some(Theirs {
                    child,
                    stream,
                    framer: Framer::default(),
                });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("ovsdb-server does not listen");
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer for Theirs {
    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn receive(&mut self) -> Value {
        let mut buffer = [0; 1 << 16];
        loop {
            if let Some(json) = self.framer.next_object().unwrap() {
                return json;
            }
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "ovsdb-server closed the connection");
            self.framer.push(&buffer[..count]);
        }
    }
}

/// The same JSON with the members of objects in one order, and without the UUIDs that each server makes up
/// for names that no insert defines.
fn sorted(json: Value) -> Value {
    match json {
        Value::Object(object) => {
            let mut members: Vec<_> = object.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(elements) => {
            let mut elements: Vec<Value> = elements.into_iter().map(sorted).collect();
            match elements.as_mut_slice() {
                [Value::String(tag), Value::Array(elements)] if tag == "set" => {
                    elements.sort_by_cached_key(Value::to_string);
                }
                [Value::String(tag), Value::String(uuid)]
                    if tag == "uuid" && !uuid.contains("-0000-4000-8000-") =>
                {
                    *uuid = "made up".into();
                }
                _ => {}
            }
            Value::Array(elements)
        }
        other => other,
    }
}

/// What both must agree on: kinds of errors without their words, rows without their order.
fn normal(message: Value) -> Value {
    let mut message = sorted(message);
    if let Some(results) = message.get_mut("result").and_then(Value::as_array_mut) {
        for result in results {
            if let Some(rows) = result.get_mut("rows").and_then(Value::as_array_mut) {
                rows.sort_by_cached_key(Value::to_string);
            }
            if let Some(kind) = result.get("error") {
                *result = json!({ "error": kind });
            }
        }
    }
    if let Some(object) = message.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    message
}

/// A row with several bad columns may be refused for any of them: `ovsdb-server` looks at columns in the
/// order of a hash table. Makes `ours` theirs in that case.
fn forgive_order(params: &[Value], ours: &mut [Value], theirs: &[Value]) {
    let (Some(ours), Some(theirs)) = (ours.last_mut(), theirs.last()) else {
        return;
    };
    for (i, operation) in params.iter().skip(1).enumerate() {
        let columns = operation["row"].as_object().map_or(0, |row| row.len());
        let (ours, theirs) = (&mut ours["result"][i], &theirs["result"][i]);
        let value_error = |json: &Value| {
            matches!(
                json["error"].as_str(),
                Some("syntax error" | "constraint violation" | "ovsdb error")
            )
        };
        if columns > 1 && value_error(ours) && value_error(theirs) {
            *ours = theirs.clone();
        }
    }
}

fn monitor_request() -> Value {
    let tables = TABLES
        .iter()
        .map(|(name, columns)| ((*name).to_owned(), json!([{"columns": columns}])));
    let mut requests: serde_json::Map<String, Value> = tables.collect();
    requests["Port"] =
        json!([{"columns": ["name", "tag"], "where": [["tag", "==", 5], ["tag", "==", 100]]}]);
    requests["Queue"] = json!([{"columns": []}]);
    requests["Mirror"] = json!({});
    requests["Mirror"]["columns"] = json!(["name"]);
    requests["Mirror"]["select"] = json!({"insert": false});
    Value::Object(requests)
}

fn dump() -> Vec<Value> {
    let mut params = vec![json!("Open_vSwitch")];
    for (name, columns) in TABLES {
        let mut columns = columns.to_vec();
        columns.push("_uuid");
        params.push(json!({"op": "select", "table": name, "where": [], "columns": columns}));
    }
    params
}

#[test]
fn agrees_with_ovsdb_server() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mut theirs) = Theirs::start(directory.path()) else {
        println!("SKIPPED: ovsdb-server and ovsdb-tool are not installed; nothing to compare with");
        return;
    };
    let mut ours = Ours::new();
    for (form, id) in [("monitor_cond", "cond"), ("monitor", "plain")] {
        let mut request = monitor_request();
        if form == "monitor" {
            request["Port"] =
                json!([{"columns": ["name"], "select": {"modify": false}}, {"columns": ["tag"]}]);
        }
        let params = vec![json!("Open_vSwitch"), json!(id), request];
        let expected = theirs.call(form, params.clone());
        assert_eq!(
            normal(ours.call(form, params)[0].clone()),
            normal(expected[0].clone())
        );
    }
    let rounds = std::env::var("RVS_ORACLE_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(3_000);
    let seed = std::env::var("RVS_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let mut random = Random(seed);
    let (mut committed, mut failed) = (0, 0);
    for round in 0..rounds {
        let params = script::transaction(&mut random);
        let all_normal = |messages: Vec<Value>| {
            let mut messages: Vec<Value> = messages.into_iter().map(normal).collect();
            messages.sort_by_cached_key(|message| message["params"][0].to_string());
            messages
        };
        let expected = theirs.call("transact", params.clone());
        let mut found = ours.call("transact", params.clone());
        forgive_order(&params, &mut found, &expected);
        assert_eq!(
            all_normal(found.clone()),
            all_normal(expected.clone()),
            "round {round}: {}\nours: {found:?}\ntheirs: {expected:?}",
            json!(params)
        );
        match found.last().unwrap().to_string().contains("\"error\":\"") {
            true => failed += 1,
            false => committed += 1,
        }
        if round % 50 == 0 {
            let expected = theirs.call("transact", dump());
            let found = ours.call("transact", dump());
            assert_eq!(
                normal(found[0].clone()),
                normal(expected[0].clone()),
                "after round {round}"
            );
        }
    }
    println!("{committed} transactions committed, {failed} failed, all alike");
    assert!(
        committed > rounds / 20 && failed > rounds / 20,
        "the script is one-sided"
    );
}
