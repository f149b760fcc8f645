//! Flows go on in the kernel while the daemon is dead, for a while; the next daemon goes on with what is still true.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rvs_tests::lab::{within, Background};
use rvs_tests::wire::client;
use rvs_tests::{eventually, Daemon, Lab};
use serde_json::Value;

/// A switch that keeps its flows in a bpf file system of this test's own, and two hosts that need not ask for each other.
pub fn lasting<'a>(lab: &'a Lab, arguments: &str) -> Daemon<'a> {
    lab.sh("mkdir bpf && mount -t bpf none bpf");
    let bpf = lab.path("bpf");
    let switch = Daemon::start(
        lab,
        &format!("--bridge br1 --bpffs {} {arguments}", bpf.display()),
    );
    lab.namespaces(&["red", "green"]);
    lab.host("red", "veth-r", "eth0", "10.0.0.1/24");
    lab.host("green", "veth-g", "eth0", "10.0.0.2/24");
    know_each_other(lab, "eth0", "eth0");
    switch.ctl("add-port br1 veth-r");
    switch.ctl("add-port br1 veth-g");
    switch
}

/// The devices of red and green, whose addresses the other one knows from now on.
pub fn know_each_other(lab: &Lab, red: &str, green: &str) {
    for (ns, own, address, other, far) in [
        ("red", red, "10.0.0.2", "green", green),
        ("green", green, "10.0.0.1", "red", red),
    ] {
        let mac = lab.mac(other, far);
        lab.sh(&format!(
            "ip -n {ns} neigh replace {address} lladdr {mac} dev {own} nud permanent"
        ));
    }
}

/// Numbered frames from red to green.
pub struct Stream {
    from: Background,
    to: Background,
    port: u16,
}

impl Stream {
    const RATE: u32 = 500;

    pub fn start(lab: &Lab, port: u16, seconds: u32) -> Self {
        let program = client("numbered.py");
        let program = program.display();
        let to = lab.spawn(
            &format!("to{port}"),
            &format!("ip netns exec green python3 {program} receive {port}"),
        );
        eventually("the receiver is ready", || to.out().contains("ready"));
        let from = lab.spawn(
            &format!("from{port}"),
            &format!(
                "ip netns exec red python3 {program} send 10.0.0.2 {port} {} {seconds}",
                Self::RATE
            ),
        );
        Self { from, to, port }
    }

    /// Waits until the kernel carries it.
    pub fn in_the_kernel(&self, switch: &Daemon<'_>) {
        eventually("the stream is in the kernel", || {
            let cache = switch.json("dump-cache");
            let flows = cache["flows"].as_array().unwrap().clone();
            let is = |f: &Value| {
                f["tier"] == 0 && f["in_port"] == "veth-r" && f["packets"].as_u64().unwrap() > 20
            };
            flows.iter().any(is)
        });
    }

    /// To its end: what came.
    pub fn end(mut self) -> Value {
        within(Duration::from_secs(60), "the sender ends", || {
            self.from.ended().is_some()
        });
        std::thread::sleep(Duration::from_millis(200));
        self.stop()
    }

    /// What came so far.
    pub fn stop(self) -> Value {
        self.to.signal(Signal::SIGINT);
        let _ = self.port;
        let mut found = Value::Null;
        eventually("the receiver has counted", || {
            let out = self.to.out();
            let line = out.lines().find(|l| l.starts_with('{'));
            found = line.map_or(Value::Null, |l| serde_json::from_str(l).unwrap());
            !found.is_null()
        });
        println!("    {found}");
        found
    }
}

pub fn whole(came: &Value, at_least: u64) {
    assert_eq!(
        (&came["lost"], &came["twice"]),
        (&0.into(), &0.into()),
        "{came}"
    );
    assert!(came["came"].as_u64().unwrap() >= at_least, "{came}");
}

/// Waits until the file says what the next daemon has to know: it is written once a second, when there is something new.
pub fn remembered(switch: &Daemon<'_>, macs: usize) {
    let file = switch.database().with_extension("db.survive");
    let text = || std::fs::read_to_string(&file).unwrap_or_default();
    eventually("the state is written", || {
        let before = text();
        std::thread::sleep(Duration::from_millis(1500));
        before.matches("\nmac ").count() >= macs && !before.is_empty() && text() == before
    });
}

pub fn survival_of(switch: &Daemon<'_>) -> String {
    let doctor = switch.json("doctor");
    let checks = doctor["checks"].as_array().unwrap();
    let found = checks.iter().find(|c| c["check"] == "survival").unwrap();
    found["text"].as_str().unwrap().to_owned()
}

/// Names in the test's bpf file system.
pub fn pins(lab: &Lab) -> Vec<String> {
    let out = lab.sh("find bpf -mindepth 1 ! -name '*.debug' -printf '%f\\n' | sort");
    out.lines().map(str::to_owned).collect()
}

/// Directory, maps, gate and program.
pub const NAMES: usize = 1 + 8;

/// How many devices have the kernel's cache.
pub fn programs(lab: &Lab) -> usize {
    let on = |device: &String| {
        let filters = lab.sh(&format!("tc filter show dev {device} ingress"));
        filters.contains("rvs-cache")
    };
    lab.devices().iter().filter(|d| on(d)).count()
}

pub fn normal_flows_go_on_through_kill_and_restart(lab: &Lab) {
    let mut switch = lasting(lab, "");
    lab.ping("red", "10.0.0.2");
    remembered(&switch, 2);
    let stream = Stream::start(lab, 7001, 8);
    stream.in_the_kernel(&switch);
    for _ in 0..2 {
        switch.kill9();
        std::thread::sleep(Duration::from_millis(700));
        switch.again();
        assert!(switch.counter("kcache_adopted") > 0, "{}", switch.log());
        stream.in_the_kernel(&switch);
        std::thread::sleep(Duration::from_millis(500));
    }
    // Asked to end it leaves the same behind.
    assert_eq!(switch.terminate(), 0);
    std::thread::sleep(Duration::from_millis(500));
    switch.again();
    assert!(switch.counter("kcache_adopted") > 0, "{}", switch.log());
    whole(&stream.end(), 3900);
    // What has not been seen before works too, and counters go on from here.
    lab.ping("green", "10.0.0.1");
    let numbers: Vec<String> = ["veth-r", "veth-g"]
        .map(|p| switch.interface(p, "ofport"))
        .into();
    assert_eq!(numbers, ["1", "2"]);
    let ran = switch.try_ctl("--json dump-cache");
    assert!(!ran.out.contains("18446744"), "{}", ran.out);
}

pub fn flows_of_a_secure_bridge_wait_for_their_tables(lab: &Lab) {
    let mut switch = lasting(lab, "");
    switch.ctl("set-fail-mode br1 secure");
    let rules = "in_port=1,udp,actions=output:2";
    switch.ctl(&format!("add-flow br1 {rules}"));
    let stream = Stream::start(lab, 7002, 20);
    stream.in_the_kernel(&switch);
    remembered(&switch, 0);
    switch.kill9();
    std::thread::sleep(Duration::from_millis(300));
    switch.again();
    assert!(
        survival_of(&switch).contains("wait for their tables"),
        "{}",
        switch.log()
    );
    assert_eq!(switch.counter("kcache_adopted"), 0);
    std::thread::sleep(Duration::from_millis(1000));
    // Looking is not deciding.
    switch.ctl("dump-flows br1");
    assert!(survival_of(&switch).contains("wait for their tables"));
    switch.ctl(&format!("add-flow br1 {rules}"));
    assert!(switch.counter("kcache_adopted") > 0, "{}", switch.log());
    assert!(!survival_of(&switch).contains("wait for their tables"));
    // By a stock tool, in a bundle.
    remembered(&switch, 0);
    switch.kill9();
    switch.again();
    lab.sh(&format!(
        "echo '{rules}' > rules; ovs-ofctl --bundle -O OpenFlow14 add-flows unix:{}/br1.mgmt rules",
        switch.rundir().display()
    ));
    assert!(switch.counter("kcache_adopted") > 0, "{}", switch.log());
    whole(&stream.end(), 9900);

    // Other tables: the flow ends with the barrier of who makes them.
    let stream = Stream::start(lab, 7003, 60);
    stream.in_the_kernel(&switch);
    remembered(&switch, 0);
    switch.kill9();
    switch.again();
    let capture = lab.capture("green", "eth0", "udp port 7003");
    eventually("it goes on", || capture.count("7003") > 50);
    switch.ctl("add-flow br1 in_port=1,tcp,actions=output:2");
    capture.ends("the flow ends with the barrier of who makes other tables");
    assert!(stream.stop()["came"].as_u64().unwrap() > 500);
}

/// Who restores the tables says when they are complete.
pub fn flow_restore_wait_is_waited_for(lab: &Lab) {
    let mut switch = lasting(lab, "");
    switch.ctl("set-fail-mode br1 secure");
    switch.ctl("add-flow br1 in_port=1,udp,actions=output:2");
    let stream = Stream::start(lab, 7004, 12);
    stream.in_the_kernel(&switch);
    switch.ctl("set open . other_config:flow-restore-wait=true");
    remembered(&switch, 0);
    switch.kill9();
    switch.again();
    // One after another; each ends with a barrier.
    switch.ctl("add-flow br1 priority=5,tcp,actions=drop");
    switch.ctl("add-flow br1 in_port=1,udp,actions=output:2");
    switch.ctl("add-flow br1 in_port=2,actions=output:1");
    assert!(survival_of(&switch).contains("wait for their tables"));
    assert_eq!(switch.counter("kcache_adopted"), 0);
    switch.ctl("remove open . other_config flow-restore-wait");
    assert!(switch.counter("kcache_adopted") > 0, "{}", switch.log());
    whole(&stream.end(), 5900);
}

pub fn without_a_daemon_forwarding_ends_in_time(lab: &Lab) {
    let mut switch = lasting(lab, "");
    switch.ctl("set open . other_config:survive-secs=6");
    lab.ping("red", "10.0.0.2");
    let stream = Stream::start(lab, 7005, 60);
    stream.in_the_kernel(&switch);
    // An address of the host's, which it answers for only without a switch.
    lab.sh("ip addr add 10.0.0.77/24 dev veth-r");
    assert_ne!(lab.try_sh_in("red", "ping -c 1 -W 1 10.0.0.77").code, 0);
    let capture = lab.capture("green", "eth0", "udp port 7005");
    switch.kill9();
    let killed = Instant::now();
    std::thread::sleep(Duration::from_millis(1500));
    let before = capture.count("7005");
    eventually("it goes on", || capture.count("7005") > before + 20);
    capture.ends("it ends");
    assert!(
        killed.elapsed() > Duration::from_secs(4),
        "{:?}",
        killed.elapsed()
    );
    lab.sh_in("red", "ip neigh flush all; ping -c 1 -W 2 10.0.0.77");
    lab.sh("ip addr del 10.0.0.77/24 dev veth-r");
    // What was too old is not gone on with, and what is new works.
    switch.again();
    assert_eq!(switch.counter("kcache_adopted"), 0);
    lab.ping("green", "10.0.0.1");
    stream.in_the_kernel(&switch);
    stream.stop();
}

/// What is no longer true when the daemon comes back goes before its ports are served.
pub fn stale_flows_end_with_the_restart(lab: &Lab) {
    let mut switch = lasting(lab, "");
    switch.expects(&[
        "could not open network device",
        "the kernel cache keeps off it",
    ]);
    lab.ping("red", "10.0.0.2");
    remembered(&switch, 2);
    let tag = |tag: &str| {
        format!(
            r#"ovsdb-tool transact {} '["Open_vSwitch",{{"op":"update","table":"Port","where":[["name","==","veth-g"]],"row":{{"tag":{tag}}}}}]'"#,
            switch.database().display()
        )
    };
    let (tagged, plain) = (tag("2"), tag(r#"["set",[]]"#));
    let stream = Stream::start(lab, 7006, 60);
    stream.in_the_kernel(&switch);
    switch.kill9();
    lab.sh(&tagged);
    let capture = lab.capture("green", "eth0", "udp port 7006");
    eventually("it goes on without a daemon", || capture.count("7006") > 50);
    switch.again();
    capture.ends("a flow of another VLAN ends");
    let before = capture.count("7006");
    switch.kill9();
    lab.sh(&plain);
    switch.again();
    eventually("it goes on", || capture.count("7006") > before);
    lab.ping("green", "10.0.0.1");
    stream.in_the_kernel(&switch);
    drop(capture);

    // A port that is gone, and made again.
    switch.kill9();
    lab.sh("ip link del veth-g");
    switch.again();
    assert!(switch
        .interface("veth-g", "error")
        .contains("No such device"));
    lab.host("green", "veth-g", "eth0", "10.0.0.2/24");
    switch.wait_port("veth-g");
    know_each_other(lab, "eth0", "eth0");
    lab.ping("red", "10.0.0.2");
    // One that is no longer for the kernel: never two ways at once.
    stream.stop();
    let stream = Stream::start(lab, 7007, 10);
    stream.in_the_kernel(&switch);
    switch.kill9();
    lab.sh("tc filter add dev veth-r ingress pref 5 protocol ip u32 match u32 0 0 flowid 1:1");
    switch.again();
    let doctor = switch.ctl("doctor");
    assert!(doctor.contains("keeps off it"), "{doctor}");
    let came = stream.end();
    assert_eq!(came["twice"], 0, "{came}");
    assert!(came["silence"].as_u64().unwrap() < 5000, "{came}");
}

pub fn nothing_is_left_where_it_should_not(lab: &Lab) {
    let mut switch = lasting(lab, "");
    lab.ping("red", "10.0.0.2");
    assert_eq!((pins(lab).len(), programs(lab)), (NAMES, 3));
    switch.ctl("del-port br1 veth-g");
    assert_eq!((pins(lab).len(), programs(lab)), (NAMES, 2));
    switch.ctl("del-br br1");
    assert_eq!(programs(lab), 0);
    assert_eq!(switch.terminate(), 0);
    assert_eq!(pins(lab), [""; 0]);
    switch.again();
    switch.ctl("add-port br1 veth-r");
    assert_eq!((pins(lab).len(), programs(lab)), (NAMES, 2));
    switch.ctl("exit --cleanup");
    assert_eq!(switch.wait_end(), 0);
    assert_eq!(pins(lab), [""; 0]);
    assert_eq!(programs(lab), 0);
    assert!(!switch.database().with_extension("db.survive").exists());
    assert!(
        lab.devices().iter().all(|d| !d.starts_with("rv-")),
        "{:?}",
        lab.devices()
    );
}

pub fn without_a_bpf_file_system(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1 --bpffs /run");
    switch.expects(&["flows in the kernel end with the daemon"]);
    assert!(
        switch.log().contains("/run is no bpf file system"),
        "{}",
        switch.log()
    );
    assert!(survival_of(&switch).contains("/run is no bpf file system"));
    let other = Daemon::named(lab, "other", "--bridge br2");
    assert!(survival_of(&other).contains("--bpffs DIR"));
    lab.namespaces(&["red", "green"]);
    lab.host("red", "veth-r", "eth0", "10.0.0.1/24");
    lab.host("green", "veth-g", "eth0", "10.0.0.2/24");
    switch.ctl("add-port br1 veth-r");
    switch.ctl("add-port br1 veth-g");
    lab.ping("red", "10.0.0.2");
}

pub fn doctor_cleans_up_after_the_dead(lab: &Lab) {
    let mut switch = lasting(lab, "");
    let living = Daemon::named(
        lab,
        "living",
        &format!("--bridge br9 --bpffs {}", lab.path("bpf").display()),
    );
    lab.namespaces(&["blue"]);
    lab.host("blue", "veth-b", "eth0", "10.0.9.1/24");
    living.ctl("add-port br9 veth-b");
    lab.ping("red", "10.0.0.2");
    let bare = lab.devices();
    switch.refuses("doctor --clean", 1, &["another switch daemon", "stop it"]);
    lab.ping("red", "10.0.0.2");
    let theirs = pins(lab).len();
    switch.kill9();
    let said = switch.ctl("doctor --clean");
    for what in [
        "names of kernel objects",
        "filters on devices",
        "the punt device",
        "db.survive",
        "sockets",
    ] {
        assert!(said.contains(what), "no {what}: {said}");
    }
    // The bridge's interface is the user's, and the other daemon's things are the other daemon's.
    let gone: Vec<_> = bare
        .iter()
        .filter(|d| !lab.devices().contains(d))
        .cloned()
        .collect();
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert_eq!(pins(lab).len(), theirs - NAMES, "{:?}", pins(lab));
    assert_eq!(programs(lab), 2, "the other daemon's");
    assert!(!switch.database().with_extension("db.survive").exists());
    let sockets = lab.sh(&format!("find {} -mindepth 1", switch.rundir().display()));
    assert_eq!(sockets, "");
    let doctor = living.json("doctor");
    let port = &doctor["ports"].as_array().unwrap()[0];
    assert!(port["not_in_kernel"].is_null(), "{doctor}");
    assert!(switch
        .ctl("doctor --clean")
        .contains("no daemon left anything"));
    switch.again();
    lab.ping("red", "10.0.0.2");
}
