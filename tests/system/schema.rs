//! Every column of the schema: kept and returned, written to disk or not, and read as with Open vSwitch.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rvs_tests::{eventually, Daemon, Lab};
use serde_json::{json, Value};

use crate::hosts::red_and_green;

const SCHEMA: &str = include_str!("../../crates/rvs-ovsdb/src/vswitch.schema.json");

/// Columns on disk that the switch writes itself, and the one that every command counts up.
const WRITTEN: [&str; 9] = [
    "bond_active_slave",
    "cur_cfg",
    "datapath_types",
    "datapath_version",
    "db_version",
    "iface_types",
    "next_cfg",
    "ofport",
    "ovs_version",
];

fn tables() -> Vec<(String, Value)> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let tables = schema["tables"].as_object().unwrap();
    assert_eq!(tables.len(), 19);
    let columns = |t: &Value| t["columns"].as_object().unwrap().len();
    assert_eq!(tables.values().map(columns).sum::<usize>(), 190);
    tables.iter().map(|(n, t)| (n.clone(), t.clone())).collect()
}

fn is_ephemeral(column: &Value) -> bool {
    column["ephemeral"] == true
}

/// A value of a base type that is not its default. A reference is to the row that is made in that table.
fn atom(base: &Value) -> Value {
    if let Some(table) = base["refTable"].as_str() {
        return json!(["named-uuid", format!("row_{table}")]);
    }
    if let Some(first) = base["enum"][1].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    match base["type"].as_str().or(base.as_str()).unwrap() {
        "integer" => {
            let bound = |key: &str, or: i64| base[key].as_i64().unwrap_or(or);
            json!(7.clamp(bound("minInteger", 0), bound("maxInteger", i64::MAX)))
        }
        "real" => json!(1.5),
        "boolean" => json!(true),
        "string" => json!("v"),
        other => panic!("{other}"),
    }
}

fn value(column: &Value) -> Value {
    let ty = &column["type"];
    if ty.is_string() {
        return atom(ty);
    }
    let key = atom(&ty["key"]);
    match &ty["value"] {
        Value::Null => key,
        value => json!(["map", [[key, atom(value)]]]),
    }
}

/// What comes back for it: UUIDs have no names any more.
fn returned(value: &Value) -> Value {
    match value {
        Value::Array(items) if items.first() == Some(&json!("named-uuid")) => json!("a row"),
        Value::Array(items) if items.first() == Some(&json!("uuid")) => json!("a row"),
        Value::Array(items) => items.iter().map(returned).collect(),
        other => other.clone(),
    }
}

fn transact(switch: &Daemon<'_>, operations: &[Value]) -> Vec<Value> {
    let mut client = UnixStream::connect(switch.rundir().join("db.sock")).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut params = vec![json!("Open_vSwitch")];
    params.extend_from_slice(operations);
    let request = json!({"id": 1, "method": "transact", "params": params});
    client.write_all(request.to_string().as_bytes()).unwrap();
    let mut answer = Vec::new();
    loop {
        let mut part = [0; 65536];
        let n = client.read(&mut part).unwrap();
        answer.extend_from_slice(&part[..n]);
        if let Ok(whole) = serde_json::from_slice::<Value>(&answer) {
            assert!(whole["error"].is_null(), "{whole}");
            return whole["result"].as_array().unwrap().clone();
        }
    }
}

/// What of that on disk is not as it was set. Columns in memory are the switch's, which overwrites them at any time.
fn differences(switch: &Daemon<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, table) in tables() {
        let rows = transact(
            switch,
            &[json!({"op": "select", "table": name, "where": []})],
        );
        let row = &rows[0]["rows"][0];
        for (column, schema) in table["columns"].as_object().unwrap() {
            let (set, is) = (returned(&value(schema)), returned(&row[column]));
            if !is_ephemeral(schema) && !is_written(&name, column) && set != is {
                wrong.push(format!("{name}.{column}: set to {set}, is {is}"));
            }
        }
    }
    wrong
}

fn is_written(table: &str, column: &str) -> bool {
    WRITTEN.contains(&column) || (table, column) == ("Interface", "error")
}

/// All 190 columns are taken; those on disk come back, after a crash too; one without effect says so once.
pub fn every_column_is_kept(lab: &Lab) {
    let mut switch = Daemon::start(lab, "");
    // Nothing of it makes sense.
    switch.expects(&[""]);
    let mut operations = Vec::new();
    for (name, table) in tables() {
        let row: serde_json::Map<String, Value> = table["columns"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(c, _)| !is_written(&name, c))
            .map(|(c, schema)| (c.clone(), value(schema)))
            .collect();
        operations.push(match name.as_str() {
            "Open_vSwitch" => json!({"op": "update", "table": name, "where": [], "row": row}),
            _ => {
                json!({"op": "insert", "table": name, "uuid-name": format!("row_{name}"), "row": row})
            }
        });
    }
    let count = operations.len();
    let answers = transact(&switch, &operations);
    assert_eq!(answers.len(), count, "{answers:?}");
    assert!(answers.iter().all(|a| a["error"].is_null()), "{answers:?}");
    assert_eq!(differences(&switch), Vec::<String>::new());
    let said = |switch: &Daemon<'_>, column: &str, table: &str| {
        let line = format!("column {column} of table {table} has no effect");
        switch.log().matches(&line).count()
    };
    let inert = [
        ("sflow", "Bridge"),
        ("bfd", "Interface"),
        ("targets", "IPFIX"),
        ("lacp", "Port"),
        ("prefixes", "Flow_Table"),
    ];
    switch.ctl("set bridge v external_ids:a=b -- set interface v bfd:enable=false");
    for (column, table) in inert {
        assert_eq!(
            said(&switch, column, table),
            1,
            "{table}.{column}: {}",
            switch.log()
        );
    }
    assert_eq!(said(&switch, "name", "Bridge"), 0);
    switch.ctl("remove bridge v external_ids a -- remove interface v bfd enable");
    switch.kill9();
    switch.again();
    switch.expects(&[""]);
    assert_eq!(differences(&switch), Vec::<String>::new());
    assert_eq!(said(&switch, "sflow", "Bridge"), 1);
}

/// Counters and states go to monitors and not to the file, which does not grow by them.
pub fn what_is_ephemeral_is_not_on_disk(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    let size = || switch.database().metadata().unwrap().len();
    let counted = || -> u64 {
        let read = switch.try_ctl("get interface veth-r statistics:rx_packets");
        read.out.trim().parse().unwrap_or(0)
    };
    eventually("counters are there", || counted() > 0);
    let (before, counter) = (size(), counted());
    lab.sh_in("red", "ping -q -c 20 -i 0.01 10.0.0.2");
    eventually("counters are written again", || counted() > counter);
    assert_eq!(size(), before, "the file grows");
    let text = std::fs::read_to_string(switch.database()).unwrap();
    // The first record is the schema.
    let records: Vec<Value> = text
        .lines()
        .filter(|l| l.starts_with('{'))
        .skip(1)
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert!(records.len() > 1, "{text}");
    for (name, table) in tables() {
        let rows = records.iter().filter_map(|r| r[&name].as_object());
        for row in rows
            .flat_map(|rows| rows.values())
            .filter_map(Value::as_object)
        {
            for column in row.keys() {
                assert!(!is_ephemeral(&table["columns"][column]), "{name}.{column}");
            }
        }
    }
}

/// Two switches with the same ports; the name of each is that of its namespace and of its socket's directory.
const SWITCHES: [&str; 2] = ["stock", "ours"];

const SETUP: &str = "ip link set lo up; ip link add v0 type veth peer name f0; ip link set v0 up; ip link set f0 up; \
    ip link add v1 mtu 1400 type veth peer name f1; ip link add v2 type veth peer name f2; ip link set v2 up; \
    ip tuntap add dev t0 mode tap";

const COMMANDS: [&str; 11] = [
    "add-br br1 -- set bridge br1 datapath_type=netdev other_config:datapath-id=00000000000000b1 other_config:hwaddr=02:00:00:00:00:b1",
    "add-br br2 -- set bridge br2 datapath_type=netdev stp_enable=true other_config:hwaddr=02:00:00:00:00:b2",
    "add-port br1 v0 -- set interface v0 ofport_request=33",
    "add-port br1 v1",
    "add-port br1 v2",
    "add-port br1 t0",
    "add-port br1 in0 -- set interface in0 type=internal mac=\"02\\:00\\:00\\:00\\:00\\:77\" mtu_request=1350",
    "add-port br1 p1 -- set interface p1 type=patch options:peer=p2 -- add-port br2 p2 -- set interface p2 type=patch options:peer=p1",
    "set-controller br1 tcp:127.0.0.1:1 ptcp:6654:127.0.0.1",
    "set-manager ptcp:6640:127.0.0.1",
    "-- --id=@q create qos type=linux-noop -- set port v2 qos=@q -- add-port br1 missing",
];

/// Columns of an interface, but those that differ from device to device.
const INTERFACE: &str = "type admin_state link_state mtu link_resets error ofport ofport_request link_speed duplex mac options bfd_status cfm_fault lacp_current";

/// Column by column what both daemons write for the same ports.
pub fn status_reads_as_there(lab: &Lab) {
    lab.namespaces(&SWITCHES);
    lab.sh("mkdir stock; ovsdb-tool create stock/conf.db /usr/share/openvswitch/vswitch.ovsschema");
    let places = "env OVS_RUNDIR=$PWD/stock OVS_LOGDIR=$PWD/stock OVS_DBDIR=$PWD/stock OVS_SYSCONFDIR=$PWD/stock";
    let _database = lab.spawn(
        "ovsdb",
        &format!(
            "ip netns exec stock {places} ovsdb-server -vconsole:emer --remote=punix:$PWD/stock/db.sock \
             --remote=db:Open_vSwitch,Open_vSwitch,manager_options stock/conf.db"
        ),
    );
    eventually("ovsdb-server listens", || {
        lab.path("stock/db.sock").exists()
    });
    let vsctl = |name: &str, words: &str| {
        lab.try_sh(&format!(
            "ovs-vsctl --timeout=10 -vsyslog:off --db=unix:$PWD/{name}/db.sock {words}"
        ))
    };
    assert_eq!(vsctl("stock", "--no-wait init").code, 0);
    let _switch = lab.spawn(
        "vswitchd",
        &format!("ip netns exec stock {places} ovs-vswitchd -vconsole:emer --pidfile --disable-system unix:$PWD/stock/db.sock"),
    );
    let ours = Daemon::named(lab, "ours", "");
    ours.expects(&["could not open network device missing"]);
    for name in SWITCHES {
        lab.sh_in(name, SETUP);
        for words in COMMANDS {
            let ran = vsctl(name, words);
            assert_eq!(ran.code, 0, "{name}: {words}: {}", ran.err);
        }
    }
    let columns = [
        (
            "Open_vSwitch",
            "",
            "next_cfg cur_cfg ssl other_config".to_owned(),
        ),
        (
            "Bridge",
            "name=br1",
            "datapath_id datapath_version fail_mode protocols status rstp_status".to_owned(),
        ),
        (
            "Bridge",
            "name=br2",
            "datapath_version status rstp_status".to_owned(),
        ),
        (
            "Port",
            "name=p2",
            "bond_active_slave rstp_status".to_owned(),
        ),
        (
            "Port",
            "name=v0",
            "status statistics rstp_statistics bond_active_slave".to_owned(),
        ),
        ("Interface", "name=br1", format!("{INTERFACE} mac_in_use")),
        ("Interface", "name=in0", format!("{INTERFACE} mac_in_use")),
        ("Interface", "name=v0", INTERFACE.to_owned()),
        ("Interface", "name=v1", INTERFACE.to_owned()),
        ("Interface", "name=v2", INTERFACE.to_owned()),
        ("Interface", "name=t0", INTERFACE.to_owned()),
        ("Interface", "name=p1", format!("{INTERFACE} ifindex")),
        (
            "Interface",
            "name=missing",
            format!("{INTERFACE} ifindex mac_in_use status statistics"),
        ),
        ("Controller", "is_connected=false", "role type".to_owned()),
        (
            "Controller",
            "'target=\"ptcp:6654:127.0.0.1\"'",
            "is_connected status".to_owned(),
        ),
    ];
    for (table, which, names) in columns {
        for column in names.split(' ') {
            let read = |name| {
                let words = format!("--columns={column} find {table} {which}");
                let ran = vsctl(name, &words);
                format!("{}{}", ran.out, ran.err)
            };
            let limit = Instant::now() + Duration::from_secs(4);
            while read("stock") != read("ours") {
                let (there, here) = (read("stock"), read("ours"));
                assert!(
                    Instant::now() < limit,
                    "{table} {which}: {there} here {here}"
                );
            }
        }
    }
    for name in SWITCHES {
        eventually("why the controller is not there", || {
            let ran = vsctl(name, "--columns=status find Controller is_connected=false");
            ran.out.contains("last_error=\"Connection refused\"")
        });
    }
}
