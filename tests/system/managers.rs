//! Database clients by rows of table Manager.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use rvs_tests::wire::{client, python};
use rvs_tests::{eventually, Daemon, Lab};

fn vsctl(lab: &Lab, switch: &Daemon<'_>, words: &str) -> String {
    lab.sh(&format!(
        "ovs-vsctl --timeout=10 --db=unix:{}/db.sock {words}",
        switch.rundir().display()
    ))
}

/// The Python IDL from PyPI over a manager's connection: what OpenStack's agents and others are made of.
pub fn python_idl(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    vsctl(lab, &switch, "set-manager ptcp:6640:127.0.0.1");
    eventually("it listens", || {
        lab.sh("ss -Hltn sport = 6640").contains("6640")
    });
    let program = client("idl.py");
    let mut idl = lab.spawn(
        "idl",
        &format!(
            "env PYTHONWARNINGS=ignore {} {} tcp:127.0.0.1:6640",
            python().display(),
            program.display()
        ),
    );
    eventually("the port is there, or it ended", || {
        idl.out().contains("added") || idl.ended().is_some()
    });
    assert_eq!(idl.ended(), None, "{}{}", idl.out(), idl.err());
    vsctl(lab, &switch, "set port in0 tag=9");
    eventually("it ends", || idl.ended().is_some());
    assert!(idl.out().contains("removed"), "{}{}", idl.out(), idl.err());
}

/// `ptcp:`, `punix:` and `tcp:`, from the row to the client and back to the row.
pub fn listened_for_and_dialled(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = there.local_addr().unwrap().port();
    vsctl(
        lab,
        &switch,
        &format!("set-manager ptcp:0:127.0.0.1 punix:managers.sock tcp:127.0.0.1:{port}"),
    );
    let row = |target: &str, column: &str| {
        let words = format!("--bare --columns={column} find Manager 'target=\"{target}\"'");
        vsctl(lab, &switch, &words).trim().to_owned()
    };
    eventually("it listens", || {
        row("ptcp:0:127.0.0.1", "status").contains("bound_port=")
    });
    let bound = row("ptcp:0:127.0.0.1", "status");
    let bound = bound.split("bound_port=").nth(1).unwrap();
    let bound: u16 = bound
        .chars()
        .take_while(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .unwrap();
    let socket = switch.rundir().join("managers.sock");
    eventually("its socket is there", || socket.exists());
    for server in [
        format!("tcp:127.0.0.1:{bound}"),
        format!("unix:{}", socket.display()),
    ] {
        assert_eq!(
            lab.sh(&format!("ovs-vsctl --timeout=10 --db={server} list-br")),
            "br1\n"
        );
        let dump = lab.sh(&format!(
            "ovsdb-client --timeout=10 dump {server} Open_vSwitch Bridge name"
        ));
        assert!(dump.contains("br1"), "{dump}");
        // A client that holds on is seen, and gone when it goes.
        let target = if server.starts_with("tcp") {
            "ptcp:0:127.0.0.1"
        } else {
            "punix:managers.sock"
        };
        let monitor = lab.spawn(
            "monitor",
            &format!("ovsdb-client monitor {server} Open_vSwitch Bridge name"),
        );
        eventually("the row says that it is connected", || {
            row(target, "is_connected") == "true"
        });
        assert!(row(target, "status").contains("state=ACTIVE"));
        eventually("the monitor has the bridge", || {
            monitor.out().contains("br1")
        });
        drop(monitor);
        eventually("the row says that it is gone", || {
            row(target, "is_connected") == "false"
        });
    }
    // The one that is dialled asks as any client does, and is dialled again when it hangs up.
    let target = format!("tcp:127.0.0.1:{port}");
    for _ in 0..2 {
        let (mut client, _) = there.accept().unwrap();
        is_served(&mut client);
        eventually("the row says that it is connected", || {
            row(&target, "is_connected") == "true"
        });
    }
    vsctl(lab, &switch, "del-manager");
    eventually("nothing listens", || {
        !socket.exists()
            && lab
                .try_sh(&format!(
                    "ovsdb-client --timeout=2 list-dbs tcp:127.0.0.1:{bound}"
                ))
                .code
                != 0
    });
}

/// An authority and what it has signed for a switch (`sw`) and a client (`cl`), in the directory `pki`.
pub fn certificates(lab: &Lab) {
    lab.sh("mkdir pki");
    for name in ["sw", "cl"] {
        // Version 3, as the library asks for.
        lab.sh(&format!(
            "cd pki; [ -f ca.pem ] || openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 9 -subj /CN=ca 2>/dev/null; \
             echo basicConstraints=CA:FALSE > ext; \
             openssl req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name} 2>/dev/null; \
             openssl x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 -extfile ext -out {name}.pem 2>/dev/null"
        ));
    }
}

/// `pssl:` with certificates of the authority that the row SSL names.
pub fn over_tls(lab: &Lab) {
    let switch = Daemon::start(lab, "");
    certificates(lab);
    let d = lab.path("pki");
    let d = d.display();
    vsctl(
        lab,
        &switch,
        &format!("set-ssl {d}/sw.key {d}/sw.pem {d}/ca.pem -- set-manager pssl:6641:127.0.0.1"),
    );
    eventually("a client with a certificate is answered", || {
        let ran = lab.try_sh(&format!(
            "ovsdb-client --timeout=5 -p {d}/cl.key -c {d}/cl.pem -C {d}/ca.pem list-dbs ssl:127.0.0.1:6641"
        ));
        ran.out.contains("Open_vSwitch")
    });
    let plain = lab.try_sh("ovsdb-client --timeout=2 list-dbs tcp:127.0.0.1:6641");
    assert_ne!(plain.code, 0, "{}", plain.out);
}

/// Processor time that the daemon takes within a second; seconds.
fn busy(switch: &Daemon<'_>) -> f64 {
    let before = ticks(switch);
    std::thread::sleep(Duration::from_secs(1));
    (ticks(switch) - before) / 100.0
}

/// Processor time that the daemon has taken so far; hundredths of a second.
fn ticks(switch: &Daemon<'_>) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", switch.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
}

/// Targets that can't be had, and clients for whom there are no file descriptors: said, and waited for.
pub fn trouble_costs_no_time(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    switch.expects(&[
        "a host is missing",
        "name.example is a name",
        "Too many open files",
    ]);
    vsctl(
        lab,
        &switch,
        "set-manager ptcp:6640:name.example tcp: ptcp:6641:127.0.0.1",
    );
    let spent = busy(&switch);
    assert!(spent < 0.3, "bad targets: {spent} s a second");
    let files = std::fs::read_dir(format!("/proc/{}/fd", switch.pid()))
        .unwrap()
        .count();
    let limit = |n: usize| lab.sh(&format!("prlimit --pid {} --nofile={n}:", switch.pid()));
    limit(files);
    let waiting = std::net::TcpStream::connect("127.0.0.1:6641").unwrap();
    let spent = busy(&switch);
    let said = switch.log().matches("no new database clients").count();
    assert!(spent < 0.3, "no descriptors: {spent} s a second");
    assert!((1..=4).contains(&said), "{}", switch.log());
    // Whoever waited is served when there are some again.
    limit(files + 100);
    let mut client = waiting;
    is_served(&mut client);
}

/// A client that asks which databases there are is told.
fn is_served(client: &mut std::net::TcpStream) {
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    client
        .write_all(br#"{"id":1,"method":"list_dbs","params":[]}"#)
        .unwrap();
    let mut answer = [0; 256];
    let n = client.read(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer[..n]).contains("Open_vSwitch"));
}

/// A hundred clients that monitor everything, ten commits a second: under a twentieth of a core.
pub fn a_hundred_monitors_cost_little(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    let socket = switch.rundir().join("db.sock");
    let _monitors: Vec<_> = (0..100)
        .map(|n| {
            let line = format!("ovsdb-client monitor unix:{} ALL", socket.display());
            lab.spawn(&format!("monitor{n}"), &line)
        })
        .collect();
    let heard = |what: &str| {
        lab.sh(&format!("grep -l '{what}' monitor*.out | wc -l || true"))
            .trim()
            .to_owned()
    };
    eventually("all of them monitor", || heard("br1") == "100");
    let mut client = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let mut commit = |n: u32| {
        let request = format!(
            r#"{{"id":{n},"method":"transact","params":["Open_vSwitch",{{"op":"update","table":"Bridge","where":[],"row":{{"external_ids":["map",[["turn","n{n}n"]]]}}}}]}}"#
        );
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 512];
        let n = client.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..n]).into_owned();
        assert!(answer.contains(r#""count":1"#), "{answer}");
    };
    let (started, before) = (std::time::Instant::now(), ticks(&switch));
    for n in 0..100 {
        commit(n);
        let next = Duration::from_millis(100) * (n + 1);
        std::thread::sleep(next.saturating_sub(started.elapsed()));
    }
    let share = (ticks(&switch) - before) / 100.0 / started.elapsed().as_secs_f64();
    println!(
        "    100 monitors, 10 commits a second: {:.1} % of a core",
        share * 100.0
    );
    assert!(share < 0.05, "{share} of a core");
    eventually("all of them have heard the last", || heard("n99n") == "100");
}
