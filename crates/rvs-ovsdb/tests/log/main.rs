//! The log against everything that can happen to a file.
#![allow(clippy::unwrap_used)]

mod files;

use std::process::Command;
use std::sync::Arc;

use proptest::prelude::*;
use rvs_ovsdb::database::Database;
use rvs_ovsdb::error::kind;
use rvs_ovsdb::log::{
    split_records, Durability, Fault, FileStorage, Log, LogError, MemoryStorage, NoJournal, Opened,
    Storage,
};
use rvs_ovsdb::schema::Schema;
use rvs_ovsdb::server::Server;
use rvs_ovsdb::value::Datum;
use rvs_ovsdb::{OvsdbError, Uuid, UuidGenerator};
use serde_json::{json, Value};
use sha1::Digest;

fn uuids() -> UuidGenerator {
    UuidGenerator::new([5; 16])
}

fn open<S: Storage>(storage: S) -> Result<Opened<S>, LogError> {
    Log::open(storage, &Schema::open_vswitch(), &mut uuids())
}

/// The saved part of a database.
fn saved(db: &Database) -> Vec<Value> {
    let mut rows = Vec::new();
    for table in db.tables() {
        for row in table.rows() {
            let schema = table.schema();
            let columns =
                (0..schema.columns.len()).filter(|&c| c == 0 || !schema.columns[c].ephemeral);
            rows.push(json!([schema.name, row.row().to_json(schema, columns)]));
        }
    }
    rows
}

/// A storage that the test can look into while a server uses it.
#[derive(Clone, Default)]
struct Shared(Arc<std::sync::Mutex<MemoryStorage>>);

impl Storage for Shared {
    fn read(&mut self) -> std::io::Result<Vec<u8>> {
        self.0.lock().unwrap().read()
    }
    fn append(&mut self, bytes: &[u8], durability: Durability) -> std::io::Result<()> {
        self.0.lock().unwrap().append(bytes, durability)
    }
    fn truncate(&mut self, length: u64) -> std::io::Result<()> {
        self.0.lock().unwrap().truncate(length)
    }
    fn replace(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.lock().unwrap().replace(bytes)
    }
    fn keep_aside(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.lock().unwrap().keep_aside(bytes)
    }
    fn wall_clock(&self) -> Option<u64> {
        Some(1_700_000_000_000)
    }
}

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.lock().unwrap().faults = faults.into_iter().collect();
    }
}

fn server(storage: Shared) -> Server {
    let opened = open(storage).unwrap();
    let mut server = Server::new(uuids(), Default::default());
    server.add_database(opened.db, Box::new(opened.log));
    server
}

fn set_key(server: &mut Server, key: &str, value: &str) -> Result<(), OvsdbError> {
    let operation = json!({
        "op": "mutate", "table": "Open_vSwitch", "where": [],
        "mutations": [["external_ids", "delete", ["set", [key]]],
                      ["external_ids", "insert", ["map", [[key, value]]]]],
    });
    server
        .transact_internal("Open_vSwitch", &[operation])
        .map(drop)
}

fn root(server: &Server) -> Uuid {
    server
        .database("Open_vSwitch")
        .unwrap()
        .table("Open_vSwitch")
        .unwrap()
        .rows()
        .next()
        .unwrap()
        .uuid()
}

/// A short history with inserts, differences, ephemeral changes, garbage collection and a deletion.
fn history() -> (Shared, Vec<(usize, Vec<Value>)>) {
    let storage = Shared::default();
    let mut server = server(storage.clone());
    let mut states = vec![(storage.bytes().len(), Vec::new())];
    let name = |n: usize| format!("port{n}");
    let scripts: Vec<Vec<Value>> = vec![
        vec![
            json!({"op": "insert", "table": "Bridge", "uuid-name": "b", "row": {"name": "br0"}}),
            json!({"op": "insert", "table": "Open_vSwitch", "row": {"bridges": ["named-uuid", "b"]}}),
            json!({"op": "comment", "comment": "ünïcode \"quoted\"\nline"}),
        ],
        (0..3)
            .flat_map(|n| {
                [
                    json!({"op": "insert", "table": "Interface", "uuid-name": format!("i{n}"),
                           "row": {"name": name(n), "ofport": n, "options": ["map", [["a", "b"]]]}}),
                    json!({"op": "insert", "table": "Port", "uuid-name": format!("p{n}"),
                           "row": {"name": name(n), "interfaces": ["named-uuid", format!("i{n}")]}}),
                    json!({"op": "mutate", "table": "Bridge", "where": [],
                           "mutations": [["ports", "insert", ["named-uuid", format!("p{n}")]]]}),
                ]
            })
            .collect(),
        vec![json!({"op": "update", "table": "Port", "where": [["name", "==", "port1"]],
                    "row": {"tag": 5, "trunks": ["set", [1, 2, 3]], "external_ids": ["map", [["k", "v"]]]}})],
        vec![json!({"op": "update", "table": "Port", "where": [["name", "==", "port1"]],
                    "row": {"tag": ["set", []], "trunks": ["set", [2, 4]],
                            "external_ids": ["map", [["k", "w"], ["l", ""]]]}})],
        vec![json!({"op": "update", "table": "Interface", "where": [],
                    "row": {"mtu": 9000, "link_state": "up"}})],
        vec![json!({"op": "update", "table": "Bridge", "where": [],
                    "row": {"ports": ["set", []], "fail_mode": "secure"}})],
    ];
    for script in scripts {
        server.transact_internal("Open_vSwitch", &script).unwrap();
        states.push((
            storage.bytes().len(),
            saved(server.database("Open_vSwitch").unwrap()),
        ));
    }
    (storage, states)
}

fn created(schema: &Arc<Schema>) -> Vec<u8> {
    let mut opened = Log::open(MemoryStorage::default(), schema, &mut uuids()).unwrap();
    opened.log.storage_mut().bytes.clone()
}

#[test]
fn a_log_opens_to_what_was_committed() {
    let (storage, states) = history();
    let opened = open(storage).unwrap();
    assert_eq!(saved(&opened.db), states.last().unwrap().1);
    assert!(opened.notes.is_empty());
}

#[test]
fn ephemeral_columns_are_never_written() {
    let (storage, states) = history();
    assert_eq!(
        states[4].0, states[5].0,
        "a change of ephemeral columns alone writes nothing"
    );
    let text = String::from_utf8(storage.bytes()).unwrap();
    let (_, transactions) = text.split_once("\"_date\"").unwrap();
    assert!(!transactions.contains("link_state") && !transactions.contains("mtu"));
    assert!(!transactions.contains("_version"));
}

/// Row 24: cut at every offset. The file opens to the longest whole prefix, commits again, and opens again.
#[test]
fn cut_at_every_offset() {
    let (storage, states) = history();
    let bytes = storage.bytes();
    let schema_end = states[0].0;
    for cut in 0..bytes.len() {
        let storage = MemoryStorage::with(&bytes[..cut]);
        if cut > 0 && cut < schema_end {
            // All offsets near the edges, a sample between: a prefix of the schema is no database.
            if !(100..schema_end - 100).contains(&cut) || cut % 97 == 0 {
                assert!(
                    matches!(open(storage), Err(LogError::NotALog(_))),
                    "cut at {cut}"
                );
            }
            continue;
        }
        let mut opened = open(storage).unwrap();
        if cut == 0 {
            assert!(saved(&opened.db).is_empty());
            continue;
        }
        let (whole, state) = states.iter().rfind(|(end, _)| *end <= cut).unwrap();
        assert_eq!(saved(&opened.db), *state, "cut at {cut}");
        assert_eq!(
            opened.notes.is_empty(),
            *whole == cut,
            "cut at {cut}: {:?}",
            opened.notes
        );
        assert_eq!(
            opened.log.storage_mut().bytes,
            &bytes[..cut],
            "opening changes nothing"
        );
    }
}

/// Row 24: every byte of the transactions flipped, and every 97th of the schema, in one of three ways.
#[test]
fn every_byte_flipped() {
    let (storage, states) = history();
    let bytes = storage.bytes();
    let schema_end = states[0].0;
    for at in (0..schema_end).step_by(97).chain(schema_end..bytes.len()) {
        let flip = [0x01, 0x20, 0x80][at % 3];
        let mut damaged = bytes.clone();
        damaged[at] ^= flip;
        match open(MemoryStorage::with(damaged.clone())) {
            Ok(mut opened) => {
                // A flip may leave the record whole: the case of a digit of the checksum.
                let whole = saved(&opened.db) == states.last().unwrap().1;
                let prefix = states.iter().rfind(|(end, _)| *end <= at);
                let legal = prefix.is_some_and(|(_, state)| saved(&opened.db) == *state);
                assert!(legal || whole, "byte {at} ^ {flip}");
                assert_eq!(opened.notes.is_empty(), whole);
                assert_eq!(
                    opened.log.storage_mut().bytes,
                    damaged,
                    "opening changes nothing"
                );
                assert_eq!(opened.log.storage_mut().aside.len(), usize::from(!whole));
            }
            Err(error) => assert!(at < schema_end, "byte {at} ^ {flip}: {error}"),
        }
    }
}

#[test]
fn a_damaged_tail_is_cut_off_by_the_next_commit() {
    let (storage, states) = history();
    let mut bytes = storage.bytes();
    bytes.truncate(bytes.len() - 5);
    let storage = Shared(Arc::new(std::sync::Mutex::new(MemoryStorage::with(bytes))));
    let mut server = server(storage.clone());
    set_key(&mut server, "a", "b").unwrap();
    let state = saved(server.database("Open_vSwitch").unwrap());
    assert_ne!(state, states.last().unwrap().1);
    let again = open(storage).unwrap();
    assert!(again.notes.is_empty());
    assert_eq!(saved(&again.db), state);
}

/// Rows 22 and 23: whatever fails, the transaction is refused, memory and file agree, and the next commit
/// after the fault works, without a restart.
#[test]
fn faults_refuse_the_transaction_and_pass() {
    let one = [
        Fault::Full,
        Fault::Short(0),
        Fault::Short(1),
        Fault::Short(70),
        Fault::Flush,
    ];
    for first in one {
        for second in [Fault::None, Fault::Full, Fault::Flush] {
            for third in [Fault::None, Fault::Full, Fault::Flush] {
                let (storage, _) = history();
                let mut server = server(storage.clone());
                let before = saved(server.database("Open_vSwitch").unwrap());
                storage.fail([first, second, third]);
                let error = set_key(&mut server, "a", "1").unwrap_err();
                assert_eq!(error.kind, kind::IO);
                assert!(server.journal_error("Open_vSwitch").is_some());
                assert_eq!(saved(server.database("Open_vSwitch").unwrap()), before);
                let reopened = open(MemoryStorage::with(storage.bytes())).unwrap();
                let on_disk = saved(&reopened.db);
                if second == Fault::None {
                    assert_eq!(on_disk, before, "the refused transaction was cut off");
                    assert!(reopened.notes.is_empty());
                }
                let mut acknowledged = before.clone();
                for value in ["2", "3", "4"] {
                    if set_key(&mut server, "a", value).is_ok() {
                        acknowledged = saved(server.database("Open_vSwitch").unwrap());
                        let reopened = open(MemoryStorage::with(storage.bytes())).unwrap();
                        assert_eq!(
                            saved(&reopened.db),
                            acknowledged,
                            "{first:?} {second:?} {third:?}"
                        );
                    } else {
                        assert_eq!(
                            saved(server.database("Open_vSwitch").unwrap()),
                            acknowledged
                        );
                    }
                }
                assert_ne!(
                    acknowledged, before,
                    "the fault has passed: {first:?} {second:?} {third:?}"
                );
            }
        }
    }
}

#[test]
fn ephemeral_changes_need_no_disk() {
    let (storage, _) = history();
    let mut server = server(storage.clone());
    storage.fail([Fault::Full, Fault::Full]);
    let root = root(&server);
    let table = Schema::open_vswitch().table_index("Open_vSwitch").unwrap();
    let statistics = Datum::map([("load", "1")]);
    let set = server.update("Open_vSwitch", |txn, _| {
        txn.set(table, root, "statistics", statistics.clone())
    });
    assert_eq!(set, Ok(true));
    let again = server.update("Open_vSwitch", |txn, _| {
        txn.set(table, root, "statistics", statistics)
    });
    assert_eq!(again, Ok(false));
}

#[test]
fn compaction_bounds_the_file() {
    let (storage, _) = history();
    let mut server = server(storage.clone());
    let mut largest = 0;
    for n in 0..2_000 {
        set_key(&mut server, "counter", &format!("{n:0100}")).unwrap();
        largest = largest.max(storage.bytes().len());
    }
    assert!(largest < (64 << 10) + 1_000, "{largest} bytes");
    let state = saved(server.database("Open_vSwitch").unwrap());
    assert_eq!(saved(&open(storage).unwrap().db), state);
}

#[test]
fn compaction_on_demand() {
    let (storage, _) = history();
    let mut server = server(storage.clone());
    set_key(&mut server, "a", "b").unwrap();
    let (before, state) = (
        storage.bytes().len(),
        saved(server.database("Open_vSwitch").unwrap()),
    );
    storage.fail([Fault::Full]);
    assert_eq!(server.compact("Open_vSwitch").unwrap_err().kind, kind::IO);
    assert_eq!(storage.bytes().len(), before);
    server.compact("Open_vSwitch").unwrap();
    assert!(storage.bytes().len() < before && server.journal_error("Open_vSwitch").is_none());
    assert_eq!(saved(&open(storage).unwrap().db), state);
    assert!(server.compact("Nope").is_err());
}

#[test]
fn a_failed_compaction_loses_nothing() {
    let (storage, _) = history();
    let mut server = server(storage.clone());
    let mut n = 0;
    while storage.bytes().len() < 64 << 10 {
        n += 1;
        set_key(&mut server, "counter", &format!("{n:0100}")).unwrap();
        let size = storage.bytes().len();
        if size + 400 > 64 << 10 {
            // The append succeeds, the replacement after it fails.
            storage.fail([Fault::None, Fault::Full]);
        }
    }
    set_key(&mut server, "a", "b").unwrap();
    let state = saved(server.database("Open_vSwitch").unwrap());
    assert_eq!(saved(&open(storage).unwrap().db), state);
}

#[test]
fn the_size_limit_refuses_writes_until_there_is_room() {
    let opened = open(MemoryStorage::default()).unwrap();
    let mut log = opened.log;
    let limit = log.len() + 2_000;
    log.set_limit(limit);
    let mut server = Server::new(uuids(), Default::default());
    server.add_database(opened.db, Box::new(log));
    let insert = json!({"op": "insert", "table": "Open_vSwitch", "row": {}});
    server.transact_internal("Open_vSwitch", &[insert]).unwrap();
    set_key(&mut server, "big", &"x".repeat(1_000)).unwrap();
    let error = set_key(&mut server, "bigger", &"x".repeat(1_000)).unwrap_err();
    assert_eq!(error.kind, kind::EXHAUSTED);
    // Compaction makes room for what fits.
    for n in 0..50 {
        set_key(&mut server, "big", &format!("{n:0500}")).unwrap();
    }
}

/// Row 36: formats of other versions.
#[test]
fn schemas_of_other_versions() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut json = Schema::open_vswitch().to_json();
        change(&mut json);
        Arc::new(Schema::from_json(&json).unwrap())
    };
    let create = |schema: &Arc<Schema>| {
        let opened = Log::open(MemoryStorage::default(), schema, &mut uuids()).unwrap();
        let mut log = opened.log;
        let bytes = log.storage_mut().bytes.clone();
        let mut server = Server::new(uuids(), Default::default());
        let shared = Shared(Arc::new(std::sync::Mutex::new(MemoryStorage::with(bytes))));
        let opened = Log::open(shared.clone(), schema, &mut uuids()).unwrap();
        server.add_database(opened.db, Box::new(opened.log));
        let insert = json!({"op": "insert", "table": "Open_vSwitch",
                            "row": {"external_ids": ["map", [["a", "b"]]]}});
        server.transact_internal("Open_vSwitch", &[insert]).unwrap();
        shared.bytes()
    };
    let key = |db: &Database| {
        let row = db.table("Open_vSwitch").unwrap().rows().next().unwrap();
        row.map_value("external_ids", "a").map(str::to_owned)
    };

    let older = with(&|json| {
        json["version"] = json!("8.3.1");
        json["tables"]["Mirror"]["columns"]
            .as_object_mut()
            .unwrap()
            .remove("filter");
    });
    let mut opened = open(MemoryStorage::with(create(&older))).unwrap();
    assert!(opened.notes[0].contains("converted"), "{:?}", opened.notes);
    assert_eq!(opened.db.schema().version, "8.8.0");
    assert_eq!(key(&opened.db).as_deref(), Some("b"));
    let bytes = opened.log.storage_mut().bytes.clone();
    assert!(
        open(MemoryStorage::with(bytes)).unwrap().notes.is_empty(),
        "converted once"
    );

    let newer = with(&|json| {
        json["version"] = json!("9.0.0");
        json["tables"]["Mirror"]["columns"]["more"] = json!({"type": "string"});
    });
    let opened = open(MemoryStorage::with(create(&newer))).unwrap();
    assert_eq!(opened.db.schema().version, "9.0.0");
    assert_eq!(key(&opened.db).as_deref(), Some("b"));

    let foreign = with(&|json| {
        json["version"] = json!("9.0.0");
        json["tables"]["Mirror"]["columns"]["select_all"] = json!({"type": "string"});
    });
    let bytes = create(&foreign);
    assert!(matches!(
        open(MemoryStorage::with(bytes)),
        Err(LogError::Schema { .. })
    ));
    let other = with(&|json| json["name"] = json!("Other"));
    let bytes = created(&other);
    assert!(matches!(
        open(MemoryStorage::with(bytes)),
        Err(LogError::Schema { .. })
    ));
}

/// A record that the checksum vouches for but that says the impossible is corruption, not a tail.
#[test]
fn an_impossible_record_is_refused() {
    let (storage, _) = history();
    for (what, body) in [
        ("unknown table", json!({"Nope": {}})),
        (
            "unknown row",
            json!({"Port": {"11111111-1111-4111-8111-111111111111": null}}),
        ),
        ("bad uuid", json!({"Port": {"1": {}}})),
        (
            "bad type",
            json!({"Open_vSwitch": {"11111111-1111-4111-8111-111111111111": {"next_cfg": "x"}}}),
        ),
        (
            "dangling",
            json!({"QoS": {"11111111-1111-4111-8111-111111111111":
            {"queues": ["map", [[1, ["uuid", "11111111-1111-4111-8111-111111111112"]]]]}}}),
        ),
        ("not an object", json!([1])),
    ] {
        let body = format!("{body}\n");
        let digest = sha1::Sha1::digest(body.as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut bytes = storage.bytes();
        bytes.extend(format!("OVSDB JSON {} {hex}\n{body}", body.len()).into_bytes());
        let error = open(MemoryStorage::with(bytes)).unwrap_err();
        assert!(matches!(error, LogError::Corrupt { .. }), "{what}: {error}");
    }
}

proptest! {
    /// F10: arbitrary bytes never panic and never hang.
    #[test]
    fn arbitrary_bytes_are_a_prefix_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        at in 0..4_000_usize,
    ) {
        let _refused = open(MemoryStorage::with(bytes.clone()));
        let (storage, _) = history();
        let mut whole = storage.bytes();
        let at = whole.len() - at.min(whole.len());
        whole.splice(at..at, bytes);
        let (records, tail) = split_records(&whole);
        prop_assert!(tail.offset <= whole.len());
        prop_assert!(tail.damage.is_some() || !records.is_empty());
        let _opened = open(MemoryStorage::with(whole));
    }
}

#[test]
fn no_journal_needs_no_storage() {
    let mut server = Server::new(uuids(), Default::default());
    server.add_database(Database::new(Schema::open_vswitch()), Box::new(NoJournal));
    let insert = json!({"op": "insert", "table": "Open_vSwitch", "row": {}});
    server.transact_internal("Open_vSwitch", &[insert]).unwrap();
    set_key(&mut server, "a", "b").unwrap();
}

/// What the daemon finds out again is written, but not waited for.
#[test]
fn status_is_written_without_a_flush() {
    use rvs_ovsdb::log::Journal;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("conf.db");
    let opened = open(FileStorage::open(&path).unwrap()).unwrap();
    let (mut log, mut db) = (opened.log, opened.db);
    let table = db.schema().table_index("Open_vSwitch").unwrap();
    let row = rvs_ovsdb::Row::new(Uuid::from_bytes([1; 16]), &db.schema().tables()[table]);
    let mut txn = db.begin();
    txn.insert(table, row);
    let prepared = txn.prepare(&mut uuids()).unwrap();
    log.commit(&db, &prepared.delta, None, Durability::Buffered)
        .unwrap();
    db.apply(&prepared);
    drop(log);
    let again = open(FileStorage::open(&path).unwrap()).unwrap();
    assert_eq!(saved(&again.db), saved(&db));
}
