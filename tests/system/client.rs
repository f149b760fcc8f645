//! The daemon as the client of a stock `ovsdb-server`, as Open vSwitch's own daemon is.

use nix::sys::signal::Signal;
use rvs_tests::lab::Background;
use rvs_tests::{eventually, Lab};

use crate::managers::certificates;

/// A stock database server, with its files in `db/`.
struct Server<'a> {
    lab: &'a Lab,
    process: Background,
}

impl<'a> Server<'a> {
    /// Starts it on a new database.
    fn new(lab: &'a Lab) -> Self {
        lab.sh("mkdir db && ovsdb-tool create db/conf.db /usr/share/openvswitch/vswitch.ovsschema");
        let server = Self {
            lab,
            process: Self::launch(lab, ""),
        };
        server.vsctl("--no-wait init");
        server
    }

    fn launch(lab: &Lab, more: &str) -> Background {
        let dir = lab.path("db");
        let dir = dir.display();
        let process = lab.spawn(
            "ovsdb",
            &format!(
                "env OVS_RUNDIR={dir} OVS_DBDIR={dir} ovsdb-server -vconsole:emer --remote=punix:{dir}/db.sock {more} {dir}/conf.db"
            ),
        );
        eventually("ovsdb-server answers", || {
            let list = format!("ovsdb-client --timeout=2 list-dbs unix:{dir}/db.sock");
            lab.try_sh(&list).code == 0
        });
        process
    }

    fn stop(&mut self) {
        self.process.signal(Signal::SIGTERM);
        self.process.wait();
    }

    fn start(&mut self) {
        self.start_with("");
    }

    /// Starts it with more options.
    fn start_with(&mut self, more: &str) {
        self.process = Self::launch(self.lab, more);
    }

    fn vsctl(&self, words: &str) -> String {
        let socket = self.lab.path("db/db.sock");
        self.lab.sh(&format!(
            "ovs-vsctl --timeout=15 --db=unix:{} {words}",
            socket.display()
        ))
    }

    /// Our daemon as its client, with a run directory of this name.
    fn switch(&self, name: &str) -> Background {
        let socket = self.lab.path("db/db.sock");
        self.switch_of(name, &format!("unix:{}", socket.display()))
    }

    /// The same by another way to the server.
    fn switch_of(&self, name: &str, database: &str) -> Background {
        let line = format!(
            "{} --rundir {} {database}",
            rvs_tests::daemon::binary("rvswitchd").display(),
            self.lab.path(name).display(),
        );
        let process = self.lab.spawn(name, &line);
        eventually("the daemon is ready", || {
            process.out().contains("rvswitchd: ready")
        });
        process
    }
}

/// Ports, settings and status by way of a server of its own, which may go and come back without a frame lost.
pub fn of_a_stock_server(lab: &Lab) {
    lab.namespaces(&["red", "green"]);
    lab.host("red", "veth-r", "eth0", "10.0.0.1/24");
    lab.host("green", "veth-g", "eth0", "10.0.0.2/24");
    let mut server = Server::new(lab);
    let mut switch = server.switch("switch");
    server.vsctl(
        "add-br br1 -- add-port br1 veth-r -- set interface veth-r ofport_request=7 -- add-port br1 veth-g",
    );
    // The command has returned: the ports are live, and their rows say so.
    lab.ping("red", "10.0.0.2");
    let columns = server.vsctl("get interface veth-r ofport link_state error");
    assert_eq!(columns, "7\nup\n[]\n");
    assert!(!server
        .vsctl("get Open_vSwitch . ovs_version")
        .contains("[]"));
    assert!(
        !lab.path("switch/db.sock").exists(),
        "it serves nothing itself"
    );
    eventually("counters are written", || {
        let counters = server.vsctl("get interface veth-r statistics");
        counters.contains("rx_packets=") && !counters.contains("rx_packets=0")
    });

    // Without the server the switch goes on as it was.
    server.stop();
    lab.ping("red", "10.0.0.2");
    server.start();
    server.vsctl("set port veth-r tag=9");
    lab.no_ping("red", "10.0.0.2");
    server.vsctl("clear port veth-r tag");
    lab.ping("red", "10.0.0.2");
    // What has changed while nobody told is found out.
    server.stop();
    switch.signal(Signal::SIGSTOP);
    server.start();
    server.vsctl("--no-wait del-port veth-g -- add-br br2 -- add-port br2 veth-g");
    switch.signal(Signal::SIGCONT);
    server.vsctl("add-port br2 in0 -- set interface in0 type=internal");
    lab.no_ping("red", "10.0.0.2");
    assert_eq!(server.vsctl("get interface veth-g error").trim(), "[]");
    server.vsctl("del-br br1 -- del-br br2");
    assert!(lab.link("br1").is_none() && lab.link("in0").is_none());
    switch.signal(Signal::SIGTERM);
    assert_eq!(switch.wait(), 0);
    assert!(!switch.err().contains("|ERR|"), "{}", switch.err());
}

/// Of two daemons one acts; the other waits for the lock, and takes over.
pub fn a_second_daemon_waits(lab: &Lab) {
    let server = Server::new(lab);
    let mut first = server.switch("first");
    server.vsctl("add-br br1");
    assert!(lab.path("first/br1.mgmt").exists());
    let mut second = server.switch("second");
    eventually("it says what it waits for", || {
        second.err().contains("another daemon has the lock")
    });
    server.vsctl("add-br br2");
    assert!(lab.path("first/br2.mgmt").exists());
    assert!(!lab.path("second/br1.mgmt").exists() && !lab.path("second/br2.mgmt").exists());
    first.signal(Signal::SIGTERM);
    assert_eq!(first.wait(), 0);
    eventually("the second has both bridges", || {
        lab.path("second/br1.mgmt").exists() && lab.path("second/br2.mgmt").exists()
    });
    server.vsctl("del-br br1 -- del-br br2");
    second.signal(Signal::SIGTERM);
    assert_eq!(second.wait(), 0);
}

/// Over TCP, and over TLS with the files that the command line names; without them it says what is missing.
pub fn over_tcp_and_tls(lab: &Lab) {
    certificates(lab);
    let mut server = Server::new(lab);
    server.stop();
    server.start_with(
        "--remote=ptcp:6640:127.0.0.1 --remote=pssl:6641:127.0.0.1 -p pki/sw.key -c pki/sw.pem -C pki/ca.pem",
    );
    for (bridge, database) in [
        ("br1", "tcp:127.0.0.1:6640"),
        (
            "br2",
            "-p pki/cl.key -c pki/cl.pem -C pki/ca.pem ssl:127.0.0.1:6641",
        ),
    ] {
        let mut switch = server.switch_of(bridge, database);
        server.vsctl(&format!("add-br {bridge}"));
        assert!(lab.link(bridge).is_some(), "{}", switch.err());
        server.vsctl(&format!("del-br {bridge}"));
        switch.signal(Signal::SIGTERM);
        assert_eq!(switch.wait(), 0);
        assert!(!switch.err().contains("|WARN|"), "{}", switch.err());
    }
    let switch = lab.spawn(
        "bare",
        &format!(
            "{} --rundir bare ssl:127.0.0.1:6641",
            rvs_tests::daemon::binary("rvswitchd").display()
        ),
    );
    eventually("it says which options are missing", || {
        switch
            .err()
            .contains("--private-key, --certificate and --ca-cert")
    });
}
