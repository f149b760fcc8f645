//! Open vSwitch's own clients against this server, over a Unix socket: the judges of the protocol. Skipped,
//! and said so, where they are not installed.
#![allow(clippy::unwrap_used)]

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rvs_ovsdb::client::{ClientError, Connection, Operations};
use rvs_ovsdb::server::{Event, Server};
use rvs_ovsdb::value::Datum;
use rvs_ovsdb::{Now, UuidGenerator};
use tempfile::TempDir;

#[path = "support/mod.rs"]
mod support;
use support::Running;

struct Fixture {
    _running: Running,
    directory: TempDir,
}

/// Plays the switch: acknowledges the configuration and gives ports their numbers.
fn daemon(server: &mut Server, event: &Event) {
    let Event::Committed(committed) = event else {
        return;
    };
    let schema = committed.delta.schema().clone();
    let root = schema.table_index("Open_vSwitch").unwrap();
    let interface = schema.table_index("Interface").unwrap();
    let asked = committed
        .delta
        .table("Open_vSwitch")
        .any(|change| change.changed("next_cfg"));
    if committed.session.is_none() || !asked {
        return;
    }
    let update = server.update_status("Open_vSwitch", |txn, _| {
        let interfaces: Vec<_> = txn.rows(interface).map(|row| row.uuid()).collect();
        for (n, uuid) in interfaces.into_iter().enumerate() {
            txn.set(interface, uuid, "ofport", Datum::scalar(n as i64 + 1))?;
            txn.set(interface, uuid, "link_state", Datum::scalar("up"))?;
        }
        let rows: Vec<_> = txn.rows(root).map(|row| row.uuid()).collect();
        for uuid in rows {
            let (next, _) = schema.tables()[root].column("next_cfg").unwrap();
            let next_cfg = txn.row(root, uuid).unwrap().column(next).clone();
            txn.set(root, uuid, "cur_cfg", next_cfg)?;
        }
        Ok(())
    });
    update.unwrap();
}

fn start() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let server = support::open(&directory.path().join("conf.db"), 9);
    let running = Running::start(server, &directory.path().join("db.sock"), daemon);
    Fixture {
        _running: running,
        directory,
    }
}

impl Fixture {
    fn socket(&self) -> PathBuf {
        self.directory.path().join("db.sock")
    }

    fn remote(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    fn vsctl(&self, args: &str) -> Output {
        let mut words = vec![format!("--db={}", self.remote()), "--timeout=10".into()];
        words.extend(args.split_whitespace().map(str::to_owned));
        Command::new("ovs-vsctl").args(words).output().unwrap()
    }

    fn vsctl_ok(&self, args: &str) -> String {
        let output = self.vsctl(args);
        assert!(
            output.status.success(),
            "{args}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn ovsdb_client(&self, args: &[&str]) -> String {
        let output = Command::new("ovsdb-client")
            .arg("--timeout=10")
            .args(args)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn connection(&self) -> Connection<UnixStream> {
        connect(&self.socket())
    }
}

fn connect(socket: &Path) -> Connection<UnixStream> {
    let stream = UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let start = Instant::now();
    let mut connection = Connection::new(stream, move || Now(start.elapsed().as_nanos() as u64));
    connection.set_deadline(Some(Now(10_000_000_000)));
    connection
}

fn installed(tool: &str) -> bool {
    let found = Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    if !found {
        println!("SKIPPED: {tool} is not installed");
    }
    found
}

#[test]
fn ovs_vsctl_configures_a_bridge() {
    if !installed("ovs-vsctl") {
        return;
    }
    let fixture = start();
    fixture.vsctl_ok("--no-wait init");
    fixture.vsctl_ok("add-br br0 -- set bridge br0 other_config:datapath-id=0000000000000001");
    fixture.vsctl_ok("add-port br0 p1 tag=5 -- set interface p1 type=internal");
    fixture.vsctl_ok("add-port br0 p2 trunks=1,2,3 -- add-port br0 p3");
    assert_eq!(fixture.vsctl_ok("list-ports br0"), "p1\np2\np3\n");
    assert_eq!(fixture.vsctl_ok("get port p2 trunks"), "[1, 2, 3]\n");
    assert_eq!(fixture.vsctl_ok("port-to-br p3"), "br0\n");
    assert_eq!(fixture.vsctl_ok("get interface p1 link_state"), "up\n");
    assert!(fixture.vsctl_ok("show").contains("tag: 5"));
    assert_eq!(
        fixture.vsctl_ok("--bare --columns=name find port tag=5"),
        "p1\n"
    );
    fixture.vsctl_ok("--id=@m create mirror name=m0 select_all=true -- add bridge br0 mirrors @m");
    fixture.vsctl_ok("--id=@p get port p2 -- set mirror m0 output_port=@p");
    fixture.vsctl_ok("del-port br0 p2");
    assert_eq!(
        fixture.vsctl_ok("get mirror m0 output_port"),
        "[]\n",
        "the weak reference is gone"
    );
    fixture.vsctl_ok("set-controller br0 tcp:127.0.0.1:6653 -- set-fail-mode br0 secure");
    assert_eq!(
        fixture.vsctl_ok("get-controller br0"),
        "tcp:127.0.0.1:6653\n"
    );
    fixture.vsctl_ok("set-manager ptcp:6640:127.0.0.1");
    fixture.vsctl_ok("set port p1 qos=@q -- --id=@q create qos type=linux-htb queues=0=@u -- --id=@u create queue other_config:max-rate=1000");
    assert_eq!(
        fixture.vsctl_ok("--bare --columns=type list qos"),
        "linux-htb\n"
    );
    fixture.vsctl_ok("wait-until interface p3 ofport!=0");
    let refused = fixture.vsctl("set port p1 tag=4096");
    assert_eq!(refused.status.code(), Some(1));
    let refused = fixture.vsctl("add-port br0 p1");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("already exists on bridge br0"));
    let late = fixture.vsctl("--timeout=1 wait-until interface p3 type=never");
    assert!(!late.status.success());
    fixture.vsctl_ok("del-br br0");
    assert_eq!(fixture.vsctl_ok("list-br"), "");
    assert_eq!(
        fixture.vsctl_ok("--bare --columns=_uuid list interface"),
        ""
    );
    fixture.vsctl_ok("emer-reset");
}

#[test]
fn ovsdb_client_dumps_monitors_and_transacts() {
    if !installed("ovsdb-client") || !installed("ovs-vsctl") {
        return;
    }
    let fixture = start();
    let remote = fixture.remote();
    fixture.vsctl_ok("--no-wait init");
    assert_eq!(
        fixture.ovsdb_client(&["list-dbs", &remote]),
        "Open_vSwitch\n_Server\n"
    );
    assert_eq!(
        fixture.ovsdb_client(&["get-schema-version", &remote]),
        "8.8.0\n"
    );
    assert_eq!(
        fixture
            .ovsdb_client(&["list-tables", &remote])
            .lines()
            .count(),
        19 + 2
    );
    let insert = r#"["Open_vSwitch",{"op":"insert","table":"QoS","row":{"type":"x"}}]"#;
    assert!(fixture
        .ovsdb_client(&["transact", &remote, insert])
        .contains("uuid"));
    assert!(fixture
        .ovsdb_client(&["dump", &remote, "QoS", "type"])
        .contains('x'));
    fixture.ovsdb_client(&["dump", &remote]);

    for monitor in ["monitor", "monitor-cond", "monitor-cond-since"] {
        let mut arguments = vec![
            "--timeout=10",
            "--format=json",
            monitor,
            &remote,
            "Open_vSwitch",
        ];
        match monitor {
            "monitor" => arguments.extend(["QoS", "type"]),
            "monitor-cond" => {
                arguments.extend([r#"[["type","==","x"],["type","==","y"]]"#, "QoS", "type"])
            }
            _ => arguments.extend([
                "00000000-0000-0000-0000-000000000000",
                r#"[true]"#,
                "QoS",
                "type",
            ]),
        }
        let child = Command::new("ovsdb-client")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        fixture.vsctl_ok("--no-wait set qos . type=y");
        std::thread::sleep(Duration::from_millis(300));
        nix_terminate(child.id());
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            text.contains("initial") && text.contains("\"y\""),
            "{monitor}: {text}{error}"
        );
        fixture.vsctl_ok("--no-wait set qos . type=x");
    }
}

fn nix_terminate(pid: u32) {
    let _gone = Command::new("kill").arg(pid.to_string()).status();
}

#[test]
fn ovsdb_client_backs_up_and_restores() {
    if !installed("ovsdb-client") || !installed("ovs-vsctl") {
        return;
    }
    let fixture = start();
    let remote = fixture.remote();
    fixture.vsctl_ok("--no-wait init");
    fixture.vsctl_ok("add-br br0 -- add-port br0 p1 tag=7");
    let backup = fixture.ovsdb_client(&["backup", &remote]);
    fixture.vsctl_ok("del-br br0");
    let file = fixture.directory.path().join("backup");
    std::fs::write(&file, backup).unwrap();
    let restored = Command::new("ovsdb-client")
        .args(["--timeout=10", "restore", &remote])
        .stdin(std::fs::File::open(&file).unwrap())
        .status()
        .unwrap();
    assert!(restored.success());
    assert_eq!(fixture.vsctl_ok("get port p1 tag"), "7\n");
}

#[test]
fn the_python_idl_follows() {
    let script = r#"
import sys, ovs.db.idl, ovs.poller, ovs.dirs
helper = ovs.db.idl.SchemaHelper('/usr/share/openvswitch/vswitch.ovsschema')
helper.register_all()
idl = ovs.db.idl.Idl(sys.argv[1], helper)
def wait(done):
    while not done():
        idl.run()
        poller = ovs.poller.Poller(); idl.wait(poller); poller.timer_wait(2000); poller.block()
wait(lambda: idl.has_ever_connected() and idl.tables['Open_vSwitch'].rows)
txn = ovs.db.idl.Transaction(idl)
root = list(idl.tables['Open_vSwitch'].rows.values())[0]
root.setkey('external_ids', 'by', 'idl')
qos = txn.insert(idl.tables['QoS']); qos.type = 'linux-htb'
root.increment('next_cfg') if hasattr(root, 'increment') else root.verify('next_cfg')
status = txn.commit_block()
print(status)
wait(lambda: any(q.type == 'linux-htb' for q in idl.tables['QoS'].rows.values()))
print('seen')
"#;
    let fixture = start();
    fixture.vsctl_ok("--no-wait init");
    let python = Path::new("/usr/bin/python3");
    let has_ovs = python.exists()
        && Command::new(python)
            .args(["-c", "import ovs"])
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success();
    if !has_ovs {
        println!("SKIPPED: the Python module ovs is not installed");
        return;
    }
    let output = Command::new("timeout")
        .args(["20", "/usr/bin/python3", "-c", script, &fixture.remote()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("success") && text.contains("seen"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        fixture.vsctl_ok("get open_vswitch . external_ids:by"),
        "idl\n"
    );
}

#[test]
fn our_client_speaks_to_our_server() {
    let fixture = start();
    our_client_configures(fixture.connection(), true);
}

/// The same client against Open vSwitch's server.
#[test]
fn our_client_speaks_to_ovsdb_server() {
    let directory = tempfile::tempdir().unwrap();
    let (db, socket) = (directory.path().join("db"), directory.path().join("sock"));
    let server = ["ovsdb-server", "/usr/sbin/ovsdb-server"]
        .into_iter()
        .find(|tool| {
            Command::new(tool)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok()
        });
    let Some(server) = server.filter(|_| installed("ovsdb-tool")) else {
        println!("SKIPPED: ovsdb-server is not installed");
        return;
    };
    drop(support::open(&db, 1));
    let mut child = Command::new(server)
        .arg(format!("--remote=punix:{}", socket.display()))
        .arg(format!(
            "--unixctl={}",
            directory.path().join("ctl").display()
        ))
        .arg(&db)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while UnixStream::connect(&socket).is_err() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    our_client_configures(connect(&socket), false);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn our_client_configures(mut connection: Connection<UnixStream>, has_daemon: bool) {
    let schema = connection.schema("Open_vSwitch").unwrap();
    let names = Datum::scalar("p0");
    let mut operations = Operations::new(UuidGenerator::new([4; 16]));
    let interface = operations.insert("Interface", [("name", names.clone())]);
    let port = operations.insert(
        "Port",
        [
            ("name", names),
            ("interfaces", Datum::scalar(interface)),
            ("tag", Datum::scalar(9)),
        ],
    );
    let bridge = operations.insert(
        "Bridge",
        [
            ("name", Datum::scalar("br0")),
            ("ports", Datum::scalar(port)),
            ("other_config", Datum::map([("a", "b"), ("c", "d")])),
        ],
    );
    let root = operations.insert("Open_vSwitch", [("bridges", Datum::scalar(bridge))]);
    operations.bump_next_cfg(root);
    operations.comment("our client");
    let results = connection
        .transact("Open_vSwitch", operations.to_json())
        .unwrap();
    let (root, bridge) = (
        operations.inserted(root, &results).unwrap(),
        operations.inserted(bridge, &results).unwrap(),
    );
    let next_cfg = operations.next_cfg(&results).unwrap();
    assert_eq!(next_cfg, 1);

    let columns: &[&str] = &["cur_cfg", "next_cfg", "bridges"];
    let tables = [
        ("Open_vSwitch", Some(columns)),
        ("Bridge", None),
        ("Port", None),
    ];
    connection.monitor(&schema, &tables).unwrap();
    if has_daemon {
        connection.wait_for_config(next_cfg).unwrap();
    }
    let replica = connection.replica().unwrap();
    let row = replica
        .table("Bridge")
        .unwrap()
        .find("name", "br0")
        .unwrap();
    assert_eq!(row.uuid(), bridge);
    assert_eq!(
        row.map("other_config").collect::<Vec<_>>(),
        [("a", "b"), ("c", "d")]
    );
    let port = row.set_of_uuid("ports").next().unwrap();
    assert_eq!(
        replica
            .table("Port")
            .unwrap()
            .row(port)
            .unwrap()
            .opt_int("tag"),
        Some(9)
    );
    assert_eq!(
        replica
            .table("Port")
            .unwrap()
            .row(port)
            .unwrap()
            .text("tag")
            .unwrap(),
        "9"
    );

    // A change that the replica sees as a difference.
    let mut operations = Operations::new(UuidGenerator::new([5; 16]));
    operations.verify("Bridge", bridge, [("fail_mode", Datum::empty_set())]);
    operations.mutate(
        "Bridge",
        bridge,
        "other_config",
        "delete",
        &Datum::set(["a"]),
    );
    operations.mutate(
        "Bridge",
        bridge,
        "other_config",
        "insert",
        &Datum::map([("e", "f")]),
    );
    operations.update("Bridge", bridge, [("fail_mode", Datum::scalar("secure"))]);
    connection
        .transact("Open_vSwitch", operations.to_json())
        .unwrap();
    connection
        .wait_until(|replica| {
            let row = replica.table("Bridge").and_then(|table| table.row(bridge));
            row.is_some_and(|row| {
                row.map("other_config").collect::<Vec<_>>() == [("c", "d"), ("e", "f")]
                    && row.str("fail_mode") == "secure"
            })
        })
        .unwrap();
    // What was verified is no longer true.
    let refused = connection
        .transact("Open_vSwitch", operations.to_json())
        .unwrap_err();
    assert!(
        matches!(&refused, ClientError::Refused(error) if error.kind == "timed out"),
        "{refused}"
    );

    let mut operations = Operations::new(UuidGenerator::new([6; 16]));
    operations.update("Open_vSwitch", root, [("bridges", Datum::empty_set())]);
    connection
        .transact("Open_vSwitch", operations.to_json())
        .unwrap();
    connection
        .wait_until(|replica| replica.table("Port").is_some_and(|table| table.is_empty()))
        .unwrap();
    assert!(matches!(
        connection.call("nonsense", vec![]),
        Err(ClientError::Refused(_))
    ));
}

#[test]
fn our_client_times_out() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("silent");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut connection = connect(&socket);
    connection.set_deadline(Some(Now(100_000_000)));
    assert!(matches!(
        connection.schema("Open_vSwitch"),
        Err(ClientError::TimedOut)
    ));
}
