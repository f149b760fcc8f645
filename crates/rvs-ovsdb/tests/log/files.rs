//! Real files, and the databases of Open vSwitch.

use super::*;

#[test]
fn a_second_daemon_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("conf.db");
    let first = FileStorage::open(&path).unwrap();
    let error = FileStorage::open(&path).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    assert!(
        error.to_string().contains("in use by another process"),
        "{error}"
    );
    drop(first);
    FileStorage::open(&path).unwrap();
}

#[test]
fn files_are_created_appended_compacted_and_keep_their_link() {
    let directory = tempfile::tempdir().unwrap();
    let (real, link) = (
        directory.path().join("real.db"),
        directory.path().join("conf.db"),
    );
    drop(open(FileStorage::open(&real).unwrap()).unwrap());
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let opened = open(FileStorage::open(&link).unwrap()).unwrap();
    let mut server = Server::new(uuids(), Default::default());
    server.add_database(opened.db, Box::new(opened.log));
    let insert = json!({"op": "insert", "table": "Open_vSwitch", "row": {}});
    server.transact_internal("Open_vSwitch", &[insert]).unwrap();
    for n in 0..400 {
        set_key(&mut server, "counter", &format!("{n:0100}")).unwrap();
    }
    let state = saved(server.database("Open_vSwitch").unwrap());
    drop(server);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(std::fs::metadata(&real).unwrap().len() < 80 << 10);
    let opened = open(FileStorage::open(&link).unwrap()).unwrap();
    assert_eq!(saved(&opened.db), state);
    let names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.iter().any(|name| name.contains("tmp")), "{names:?}");
}

#[test]
fn a_damaged_file_is_kept_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("conf.db");
    let (storage, _) = history();
    let mut bytes = storage.bytes();
    bytes.truncate(bytes.len() - 1);
    std::fs::write(&path, &bytes).unwrap();
    let opened = open(FileStorage::open(&path).unwrap()).unwrap();
    assert_eq!(opened.notes.len(), 1);
    assert_eq!(
        std::fs::read(directory.path().join("conf.db.damaged")).unwrap(),
        bytes
    );
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_clustered_database_is_named() {
    let error = open(MemoryStorage::with("OVSDB CLUSTER 5 abc\n{}\n")).unwrap_err();
    assert!(error.to_string().contains("clustered"), "{error}");
    for text in [
        "garbage",
        "\n",
        "OVSDB JSON 2 x\n{}",
        "OVSDB JSON 99999999999999999999 x\n",
    ] {
        assert!(
            matches!(open(MemoryStorage::with(text)), Err(LogError::NotALog(_))),
            "{text}"
        );
    }
}

/// Runs Open vSwitch's tool; `None` if it is not installed.
fn ovsdb_tool(args: &[&std::ffi::OsStr]) -> Option<String> {
    match Command::new("ovsdb-tool").args(args).output() {
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "ovsdb-tool: {error}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(_) => {
            println!("SKIPPED: ovsdb-tool is not installed");
            None
        }
    }
}

#[test]
fn ovsdb_tool_reads_and_writes_our_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("conf.db");
    let (storage, states) = history();
    std::fs::write(&path, storage.bytes()).unwrap();
    let db = path.as_os_str();
    let Some(log) = ovsdb_tool(&["show-log".as_ref(), db]) else {
        return;
    };
    assert!(log.contains("ünïcode"), "{log}");
    let query = json!(["Open_vSwitch",
        {"op": "select", "table": "Bridge", "where": [], "columns": ["fail_mode", "ports"]},
        {"op": "mutate", "table": "Open_vSwitch", "where": [],
         "mutations": [["external_ids", "insert", ["map", [["by", "tool"]]]]]}]);
    let answer = ovsdb_tool(&["transact".as_ref(), db, query.to_string().as_ref()]).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        answer[0]["rows"],
        json!([{"fail_mode": "secure", "ports": ["set", []]}])
    );

    let opened = open(FileStorage::open(&path).unwrap()).unwrap();
    let row = opened
        .db
        .table("Open_vSwitch")
        .unwrap()
        .rows()
        .next()
        .unwrap();
    assert_eq!(row.map_value("external_ids", "by"), Some("tool"));
    assert_ne!(saved(&opened.db), states.last().unwrap().1);
    drop(opened);
    let before = saved(&open(FileStorage::open(&path).unwrap()).unwrap().db);
    ovsdb_tool(&["compact".as_ref(), db]).unwrap();
    assert_eq!(
        saved(&open(FileStorage::open(&path).unwrap()).unwrap().db),
        before
    );
}

/// A database that Open vSwitch's package created opens here, converted; ours opens there (above).
#[test]
fn a_database_of_open_vswitch_opens() {
    let schema = std::path::Path::new("/usr/share/openvswitch/vswitch.ovsschema");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("conf.db");
    if !schema.exists() {
        println!("SKIPPED: openvswitch-switch is not installed");
        return;
    }
    let arguments = ["create".as_ref(), path.as_os_str(), schema.as_os_str()];
    if ovsdb_tool(&arguments).is_none() {
        return;
    }
    let insert = json!(["Open_vSwitch",
        {"op": "insert", "table": "Manager", "uuid-name": "m", "row": {"target": "ptcp:6640"}},
        {"op": "insert", "table": "Open_vSwitch", "row": {"manager_options": ["named-uuid", "m"]}}]);
    ovsdb_tool(&[
        "transact".as_ref(),
        path.as_os_str(),
        insert.to_string().as_ref(),
    ])
    .unwrap();
    let opened = open(FileStorage::open(&path).unwrap()).unwrap();
    assert_eq!(opened.db.schema().version, "8.8.0");
    let managers = opened.db.table("Manager").unwrap();
    assert_eq!(
        managers.find("target", "ptcp:6640").unwrap().str("target"),
        "ptcp:6640"
    );
    drop(opened);
    let version = ovsdb_tool(&["db-version".as_ref(), path.as_os_str()]).unwrap();
    assert_eq!(version.trim(), "8.8.0");
}
