//! The server as its clients see it: requests, monitors, locks, waits, limits, and what it does with
//! clients that misbehave.
#![allow(clippy::unwrap_used)]

mod limits;

use proptest::prelude::*;
use rvs_ovsdb::database::Database;
use rvs_ovsdb::jsonrpc::Framer;
use rvs_ovsdb::limits::Limits;
use rvs_ovsdb::log::NoJournal;
use rvs_ovsdb::schema::Schema;
use rvs_ovsdb::server::{CloseReason, Event, Server, SessionId};
use rvs_ovsdb::value::Datum;
use rvs_ovsdb::{Now, UuidGenerator};
use serde_json::{json, Value};

#[path = "../support/script.rs"]
mod script;

const SECOND: u64 = 1_000_000_000;

fn server_with(limits: Limits) -> Server {
    let mut server = Server::new(UuidGenerator::new([7; 16]), limits);
    server.add_database(Database::new(Schema::open_vswitch()), Box::new(NoJournal));
    let insert = json!({"op": "insert", "table": "Open_vSwitch", "row": {}});
    server.transact_internal("Open_vSwitch", &[insert]).unwrap();
    while server.next_event().is_some() {}
    server
}

fn server() -> Server {
    server_with(Limits::default())
}

fn connect(server: &mut Server) -> SessionId {
    server.connect(Now(0), 0).unwrap()
}

fn take(server: &mut Server, session: SessionId, now: Now) -> Vec<Value> {
    let mut framer = Framer::with_max(usize::MAX);
    framer.push(server.output(session));
    let count = server.output(session).len();
    server.sent(session, count, now);
    std::iter::from_fn(|| framer.next_object().unwrap()).collect()
}

fn send(server: &mut Server, session: SessionId, message: &Value, now: Now) -> Vec<Value> {
    server.input(session, message.to_string().as_bytes(), now);
    take(server, session, now)
}

/// The messages up to the reply; the reply last.
fn request(server: &mut Server, session: SessionId, method: &str, params: Value) -> Vec<Value> {
    send(
        server,
        session,
        &json!({"id": 1, "method": method, "params": params}),
        Now(0),
    )
}

fn result(server: &mut Server, session: SessionId, method: &str, params: Value) -> Value {
    let mut messages = request(server, session, method, params);
    let reply = messages.pop().unwrap();
    assert_eq!(reply["error"], Value::Null, "{reply}");
    reply["result"].clone()
}

fn error(server: &mut Server, session: SessionId, method: &str, params: Value) -> Value {
    let mut messages = request(server, session, method, params);
    let reply = messages.pop().unwrap();
    assert_eq!(reply["result"], Value::Null, "{reply}");
    match &reply["error"] {
        Value::String(_) => reply["error"].clone(),
        object => object["error"].clone(),
    }
}

fn events(server: &mut Server) -> Vec<Event> {
    std::iter::from_fn(|| server.next_event()).collect()
}

fn set_key(value: &str) -> Value {
    json!(["Open_vSwitch", {"op": "update", "table": "Open_vSwitch", "where": [],
           "row": {"external_ids": ["map", [["k", value]]]}}])
}

fn wait_for(value: &str, timeout: Value) -> Value {
    let mut wait = json!({"op": "wait", "table": "Open_vSwitch", "where": [], "columns": ["external_ids"],
                          "until": "==", "rows": [{"external_ids": ["map", [["k", value]]]}]});
    if !timeout.is_null() {
        wait["timeout"] = timeout;
    }
    json!(["Open_vSwitch", wait, {"op": "comment", "comment": "waited"}])
}

#[test]
fn methods_without_a_database() {
    let (mut server, mut other) = (server(), server());
    let session = connect(&mut server);
    assert_eq!(
        result(&mut server, session, "list_dbs", json!([])),
        json!(["Open_vSwitch", "_Server"])
    );
    assert_eq!(
        result(&mut server, session, "echo", json!([1, {}])),
        json!([1, {}])
    );
    let id = result(&mut server, session, "get_server_id", json!([]));
    assert_eq!(id, result(&mut server, session, "get_server_id", json!([])));
    assert_eq!(
        result(&mut server, session, "set_db_change_aware", json!([true])),
        json!({})
    );
    assert_eq!(
        error(&mut server, session, "set_db_change_aware", json!([5])),
        "syntax error"
    );
    assert_eq!(
        error(&mut server, session, "nonsense", json!([])),
        "unknown method"
    );
    let schema = result(&mut server, session, "get_schema", json!(["Open_vSwitch"]));
    assert_eq!(Schema::from_json(&schema).unwrap(), *Schema::open_vswitch());
    assert_eq!(
        error(&mut server, session, "get_schema", json!(["Nope"])),
        "unknown database"
    );
    assert_eq!(
        error(&mut server, session, "transact", json!([])),
        "syntax error"
    );
    // Requests to another server change nothing here.
    let session = connect(&mut other);
    assert_eq!(
        error(&mut other, session, "cancel", json!([1])),
        "unknown method"
    );
}

#[test]
fn the_server_database_describes_and_is_read_only() {
    let mut server = server();
    let session = connect(&mut server);
    let select = json!(["_Server", {"op": "select", "table": "Database", "where": [["name", "==", "Open_vSwitch"]],
                        "columns": ["model", "connected", "leader", "schema", "cid"]}]);
    let row = result(&mut server, session, "transact", select)[0]["rows"][0].clone();
    assert_eq!(row["model"], "standalone");
    assert_eq!(
        (&row["connected"], &row["leader"], &row["cid"]),
        (&json!(true), &json!(true), &json!(["set", []]))
    );
    let schema: Value = serde_json::from_str(row["schema"].as_str().unwrap()).unwrap();
    assert_eq!(schema["version"], "8.8.0");
    let delete = json!(["_Server", {"op": "delete", "table": "Database", "where": []}]);
    let results = result(&mut server, session, "transact", delete);
    assert_eq!(results[0]["error"], "not allowed");
    assert!(events(&mut server).is_empty());
}

#[test]
fn monitors_in_their_three_forms() {
    let mut server = server();
    let (watcher, client) = (connect(&mut server), connect(&mut server));
    let what = json!({"Open_vSwitch": [{"columns": ["external_ids", "next_cfg"]}]});
    for (method, id, extra) in [
        ("monitor", "m1", None),
        ("monitor_cond", "m2", None),
        (
            "monitor_cond_since",
            "m3",
            Some("00000000-0000-0000-0000-000000000000"),
        ),
    ] {
        let mut params = json!(["Open_vSwitch", id, what]);
        params
            .as_array_mut()
            .unwrap()
            .extend(extra.map(Value::from));
        let initial = result(&mut server, watcher, method, params.clone());
        match method {
            "monitor" => assert!(initial["Open_vSwitch"].to_string().contains("\"new\"")),
            "monitor_cond" => assert!(initial["Open_vSwitch"]
                .to_string()
                .contains("\"initial\":{}")),
            _ => assert_eq!(initial[0], false),
        }
        assert_eq!(
            error(&mut server, watcher, method, params),
            "syntax error",
            "the name is taken"
        );
    }
    result(&mut server, client, "transact", set_key("a"));
    let updates = take(&mut server, watcher, Now(0));
    let methods: Vec<_> = updates
        .iter()
        .map(|update| update["method"].as_str().unwrap())
        .collect();
    assert_eq!(methods, ["update", "update2", "update3"]);
    let row = |update: &Value| {
        let tables = update["params"].as_array().unwrap().last().unwrap();
        tables["Open_vSwitch"]
            .as_object()
            .unwrap()
            .values()
            .next()
            .unwrap()
            .clone()
    };
    let map = json!(["map", [["k", "a"]]]);
    assert_eq!(
        row(&updates[0]),
        json!({"old": {"external_ids": ["map", []]}, "new": {"external_ids": map, "next_cfg": 0}})
    );
    assert_eq!(row(&updates[1]), json!({"modify": {"external_ids": map}}));
    assert_eq!(row(&updates[2]), json!({"modify": {"external_ids": map}}));
    for id in ["m1", "m2", "m3"] {
        assert_eq!(
            result(&mut server, watcher, "monitor_cancel", json!([id])),
            json!({})
        );
        assert_eq!(
            error(&mut server, watcher, "monitor_cancel", json!([id])),
            "unknown monitor"
        );
    }
    result(&mut server, client, "transact", set_key("b"));
    assert!(take(&mut server, watcher, Now(0)).is_empty());
}

#[test]
fn a_client_that_reconnects_gets_what_it_missed() {
    let mut server = server();
    let client = connect(&mut server);
    let what = json!({"Open_vSwitch": [{"columns": ["external_ids"]}]});
    let since = |server: &mut Server, session, last: &Value| {
        result(
            server,
            session,
            "monitor_cond_since",
            json!(["Open_vSwitch", "m", what, last]),
        )
    };
    let first = connect(&mut server);
    let last = since(
        &mut server,
        first,
        &json!("00000000-0000-0000-0000-000000000000"),
    )[1]
    .clone();
    server.disconnect(first);
    result(&mut server, client, "transact", set_key("a"));
    result(&mut server, client, "transact", set_key("b"));
    let again = connect(&mut server);
    let answer = since(&mut server, again, &last);
    assert_eq!(answer[0], true);
    let text = answer[2].to_string();
    assert!(
        text.contains("modify") && text.contains("\"b\"") && !text.contains("\"a\""),
        "{text}"
    );
    // Nothing missed.
    server.disconnect(again);
    let third = connect(&mut server);
    assert_eq!(
        since(&mut server, third, &answer[1]),
        json!([true, answer[1], {}])
    );
    // Too long ago.
    for n in 0..101 {
        result(&mut server, client, "transact", set_key(&n.to_string()));
    }
    let fourth = connect(&mut server);
    assert_eq!(since(&mut server, fourth, &last)[0], false);
}

#[test]
fn conditions_show_and_hide_rows() {
    let mut server = server();
    let (watcher, client) = (connect(&mut server), connect(&mut server));
    let what = json!({"QoS": [{"columns": ["type"], "where": [["type", "==", "a"], ["type", "==", "b"]]}]});
    let initial = result(
        &mut server,
        watcher,
        "monitor_cond",
        json!(["Open_vSwitch", "m", what]),
    );
    assert_eq!(initial, json!({}));
    let insert = |name: &str| json!(["Open_vSwitch", {"op": "insert", "table": "QoS", "row": {"type": name}}]);
    let mut kinds = Vec::new();
    let mut note = |server: &mut Server| {
        let updates = take(server, watcher, Now(0));
        let kind = updates.first().map(|update| {
            let row = update["params"][1]["QoS"]
                .as_object()
                .unwrap()
                .values()
                .next()
                .unwrap();
            row.as_object().unwrap().keys().next().unwrap().clone()
        });
        kinds.push(kind.unwrap_or_default());
    };
    for name in ["a", "c"] {
        result(&mut server, client, "transact", insert(name));
        note(&mut server);
    }
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "a")] {
        let update = json!(["Open_vSwitch", {"op": "update", "table": "QoS", "where": [["type", "==", from]],
                            "row": {"type": to}}]);
        result(&mut server, client, "transact", update);
        note(&mut server);
    }
    assert_eq!(kinds, ["insert", "", "modify", "delete", "insert"]);
    let change = |clauses: Value| json!(["m", "m2", {"QoS": [{"where": clauses}]}]);
    let messages = request(
        &mut server,
        watcher,
        "monitor_cond_change",
        change(json!([false])),
    );
    assert_eq!(messages.len(), 2, "the update comes before the reply");
    assert_eq!(messages[0]["params"][0], "m2");
    assert_eq!(
        messages[0]["params"][1]["QoS"].as_object().unwrap().len(),
        2,
        "both rows vanish"
    );
    assert_eq!(
        error(
            &mut server,
            watcher,
            "monitor_cond_change",
            change(json!([true]))
        ),
        "syntax error"
    );
}

#[test]
fn a_wait_parks_until_a_commit_makes_it_true() {
    let mut server = server();
    let (waiter, client) = (connect(&mut server), connect(&mut server));
    let wait = json!({"id": 7, "method": "transact", "params": wait_for("x", Value::Null)});
    assert!(send(&mut server, waiter, &wait, Now(0)).is_empty());
    assert_eq!(server.next_deadline(), None);
    // The session goes on meanwhile.
    assert_eq!(result(&mut server, waiter, "echo", json!([])), json!([]));
    result(&mut server, client, "transact", set_key("y"));
    assert!(take(&mut server, waiter, Now(0)).is_empty());
    result(&mut server, client, "transact", set_key("x"));
    let replies = take(&mut server, waiter, Now(0));
    assert_eq!(
        replies,
        [json!({"id": 7, "result": [{}, {}], "error": null})]
    );
}

#[test]
fn a_wait_times_out_at_its_deadline() {
    let mut server = server();
    let waiter = connect(&mut server);
    let wait = json!({"id": 7, "method": "transact", "params": wait_for("x", json!(1_500))});
    assert!(send(&mut server, waiter, &wait, Now(SECOND)).is_empty());
    let deadline = Now(SECOND * 5 / 2);
    assert_eq!(server.next_deadline(), Some(deadline));
    server.tick(Now(deadline.0 - 1));
    assert!(take(&mut server, waiter, deadline).is_empty());
    server.tick(deadline);
    let replies = take(&mut server, waiter, deadline);
    assert_eq!(replies[0]["result"][0]["error"], "timed out");
    assert_eq!(
        replies[0]["result"][0]["details"],
        "\"wait\" timed out after 1500 ms"
    );
    assert_eq!(replies[0]["result"][1], Value::Null);
    assert_eq!(server.next_deadline(), None);
}

#[test]
fn a_wait_can_be_cancelled_or_dies_with_its_session() {
    let mut server = server();
    let (waiter, client) = (connect(&mut server), connect(&mut server));
    for id in [7, 8] {
        let wait = json!({"id": id, "method": "transact", "params": wait_for("x", Value::Null)});
        assert!(send(&mut server, waiter, &wait, Now(0)).is_empty());
    }
    let cancel = json!({"id": null, "method": "cancel", "params": [7]});
    let replies = send(&mut server, waiter, &cancel, Now(0));
    assert_eq!(
        replies,
        [json!({"id": 7, "result": null, "error": "canceled"})]
    );
    assert!(send(&mut server, waiter, &cancel, Now(0)).is_empty());
    server.disconnect(waiter);
    result(&mut server, client, "transact", set_key("x"));
}

#[test]
fn one_commit_can_wake_another() {
    let mut server = server();
    let (a, b, client) = (
        connect(&mut server),
        connect(&mut server),
        connect(&mut server),
    );
    let chain = |from: &str, to: &str| {
        let mut params = wait_for(from, Value::Null);
        params.as_array_mut().unwrap().push(set_key(to)[1].clone());
        json!({"id": 1, "method": "transact", "params": params})
    };
    send(&mut server, b, &chain("2", "3"), Now(0));
    send(&mut server, a, &chain("1", "2"), Now(0));
    result(&mut server, client, "transact", set_key("1"));
    assert_eq!(take(&mut server, a, Now(0)).len(), 1);
    assert_eq!(take(&mut server, b, Now(0)).len(), 1);
    let table = server
        .database("Open_vSwitch")
        .unwrap()
        .table("Open_vSwitch")
        .unwrap();
    assert_eq!(
        table.rows().next().unwrap().map_value("external_ids", "k"),
        Some("3")
    );
}

#[test]
fn locks_pass_from_hand_to_hand() {
    let mut server = server();
    let (a, b, c) = (
        connect(&mut server),
        connect(&mut server),
        connect(&mut server),
    );
    let lock = |server: &mut Server, session| {
        result(server, session, "lock", json!(["L"]))["locked"].clone()
    };
    assert_eq!(lock(&mut server, a), true);
    assert_eq!(lock(&mut server, b), false);
    assert_eq!(error(&mut server, b, "lock", json!(["L"])), "syntax error");
    assert_eq!(
        error(&mut server, c, "unlock", json!(["L"])),
        "syntax error"
    );
    let assert_op = json!(["Open_vSwitch", {"op": "assert", "lock": "L"}]);
    assert_eq!(
        result(&mut server, a, "transact", assert_op.clone()),
        json!([{}])
    );
    assert_eq!(
        result(&mut server, b, "transact", assert_op.clone())[0]["error"],
        "not owner"
    );
    assert_eq!(
        result(&mut server, c, "steal", json!(["L"])),
        json!({"locked": true})
    );
    let stolen = json!({"id": null, "method": "stolen", "params": ["L"]});
    let locked = json!({"id": null, "method": "locked", "params": ["L"]});
    assert_eq!(take(&mut server, a, Now(0)), [stolen]);
    assert_eq!(
        result(&mut server, a, "transact", assert_op)[0]["error"],
        "not owner"
    );
    server.disconnect(c);
    assert_eq!(take(&mut server, a, Now(0)), std::slice::from_ref(&locked));
    result(&mut server, a, "unlock", json!(["L"]));
    assert_eq!(take(&mut server, b, Now(0)), [locked]);
    assert_eq!(
        error(&mut server, b, "lock", json!(["not an id"])),
        "syntax error"
    );
}

#[test]
fn the_daemon_is_told_of_commits() {
    let mut server = server();
    let client = connect(&mut server);
    result(&mut server, client, "transact", set_key("a"));
    result(&mut server, client, "transact", set_key("a"));
    let events = events(&mut server);
    assert_eq!(
        events.len(),
        1,
        "a transaction that changes nothing is no event"
    );
    let Event::Committed(committed) = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&*committed.database, committed.session),
        ("Open_vSwitch", Some(client))
    );
    let change = committed.delta.table("Open_vSwitch").next().unwrap();
    assert!(change.changed("external_ids") && !change.changed("next_cfg"));
    assert_eq!(
        change.before().unwrap().map_value("external_ids", "k"),
        None
    );
    assert_eq!(
        change.after().unwrap().map_value("external_ids", "k"),
        Some("a")
    );
    assert_eq!(committed.delta.table("Bridge").count(), 0);
}

#[test]
fn the_daemon_writes_status() {
    let mut server = server();
    let watcher = connect(&mut server);
    let what = json!({"Open_vSwitch": {"columns": ["cur_cfg"]}});
    result(
        &mut server,
        watcher,
        "monitor",
        json!(["Open_vSwitch", "m", what]),
    );
    let schema = server.database("Open_vSwitch").unwrap().schema().clone();
    let table = schema.table_index("Open_vSwitch").unwrap();
    let row = server
        .database("Open_vSwitch")
        .unwrap()
        .table("Open_vSwitch")
        .unwrap()
        .rows()
        .next()
        .unwrap();
    let uuid = row.uuid();
    let set = |server: &mut Server, column: &'static str, value: Datum| {
        server.update("Open_vSwitch", |txn, _| txn.set(table, uuid, column, value))
    };
    assert_eq!(set(&mut server, "cur_cfg", Datum::scalar(5)), Ok(true));
    assert_eq!(set(&mut server, "cur_cfg", Datum::scalar(5)), Ok(false));
    assert_eq!(take(&mut server, watcher, Now(0)).len(), 1);
    assert_eq!(
        set(&mut server, "cur_cfg", Datum::scalar("5"))
            .unwrap_err()
            .kind,
        "syntax error"
    );
    assert_eq!(
        set(&mut server, "nonsense", Datum::scalar(5))
            .unwrap_err()
            .kind,
        "unknown column"
    );
    assert_eq!(
        set(&mut server, "ssl", Datum::set([1, 2]))
            .unwrap_err()
            .kind,
        "syntax error"
    );
    assert_eq!(
        server.update("Nope", |_, _| Ok(())).unwrap_err().kind,
        "unknown database"
    );
}

#[test]
fn weak_references_may_not_leave_a_column_too_empty() {
    let schema = r#"{"name": "D", "version": "1.0.0", "tables": {
        "T": {"columns": {"must": {"type": {"key": {"type": "uuid", "refTable": "U", "refType": "weak"}}}}},
        "U": {"columns": {"n": {"type": "integer"}}}}}"#;
    let db = Database::new(std::sync::Arc::new(Schema::parse(schema).unwrap()));
    let mut server = Server::new(UuidGenerator::new([1; 16]), Limits::default());
    server.add_database(db, Box::new(NoJournal));
    let build = [
        json!({"op": "insert", "table": "U", "uuid-name": "u", "row": {}}),
        json!({"op": "insert", "table": "T", "row": {"must": ["named-uuid", "u"]}}),
    ];
    server.transact_internal("D", &build).unwrap();
    let delete = json!({"op": "delete", "table": "U", "where": []});
    let error = server
        .transact_internal("D", std::slice::from_ref(&delete))
        .unwrap_err();
    assert_eq!(error.kind, "constraint violation");
    assert_eq!(server.database("D").unwrap().table("U").unwrap().len(), 1);
}
