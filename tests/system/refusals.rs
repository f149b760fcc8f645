//! Commands that make no sense: one line that names cause and cure, and nothing changes.

use rvs_tests::daemon::ctl;
use rvs_tests::{eventually, Daemon, Lab};

pub fn bridges_and_ports(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    switch.expects(&[
        "not one that the switch made",
        "could not open network device",
    ]);
    lab.sh("ip link add v0 type veth peer name v1; ip link add d0 type ifb");
    switch.ctl("add-br br2 -- add-port br1 v0");
    switch.refuses("add-port br9 v1", 1, &["no bridge named br9", "br1, br2"]);
    switch.refuses("fdb-show br9", 1, &["br9", "br1"]);
    switch.refuses("dump-cache br9", 1, &["br9", "br1"]);
    switch.refuses("dump-ports br9", 1, &["br9", "br1"]);
    switch.refuses("list-ports br9", 1, &["br9"]);
    // The exit code is the answer, as with ovs-vsctl.
    assert_eq!(switch.try_ctl("br-exists br9").code, 2);
    switch.refuses("del-br br9", 1, &["br9"]);
    switch.refuses("del-port nope", 1, &["nope", "v0"]);
    switch.refuses("port-to-br nope", 1, &["nope"]);
    switch.refuses("set port nope tag=1", 1, &["nope"]);
    switch.refuses("get interface nope mtu", 1, &["nope"]);
    switch.refuses("add-br br1", 1, &["br1", "already exists"]);
    switch.refuses("add-br v0", 1, &["v0", "br1"]);
    switch.refuses("add-br d0", 1, &["d0", "ifb"]);
    switch.refuses(
        "add-port br2 v0",
        1,
        &["v0", "already exists on bridge br1"],
    );
    switch.refuses("--may-exist add-port br2 v0", 1, &["v0", "br1"]);
    switch.refuses("del-port br2 v0", 1, &["v0", "br1"]);
    switch.refuses("del-port br1 br1", 1, &["own interface", "del-br"]);
    // One bad command spoils the line.
    switch.refuses("add-br br3 -- add-port br9 v1", 1, &["br9"]);
    for name in ["this-name-is-too-long", "a/b", "..", "."] {
        switch.refuses(&format!("add-br {name}"), 2, &["1 to 15"]);
        switch.refuses(&format!("add-port br1 {name}"), 2, &["1 to 15"]);
    }
    switch.ctl("--if-exists del-port nope");
    switch.ctl("--if-exists del-br br9");
    switch.ctl("--may-exist add-br br1");
    switch.ctl("add-port br1 fifteen-octets_");
}

pub fn devices_that_cannot_be_ports(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    switch.expects(&[
        "can't be a port",
        "not one that the switch made",
        "interface type gre is not supported",
    ]);
    lab.sh(
        "ip link add lbr type bridge; ip link add v0 type veth peer name v1; ip link set v0 master lbr; \
         ip link add d0 type ifb; ip link set d0 master lbr",
    );
    switch.refuses("add-port br1 lo", 1, &["lo", "loopback"]);
    switch.refuses("add-port br1 lbr", 1, &["lbr", "bridge"]);
    switch.refuses(
        "add-port br1 v0",
        1,
        &["v0", "lbr", "ip link set v0 nomaster"],
    );
    switch.refuses(
        "add-port br1 d0",
        1,
        &["d0", "lbr", "ip link set d0 nomaster"],
    );
    switch.refuses("add-br lbr", 1, &["lbr", "bridge"]);
    // Hidden ends are nobody's ports.
    let hidden = lab
        .devices()
        .into_iter()
        .find(|d| d.starts_with("rv-"))
        .unwrap();
    switch.refuses(&format!("add-port br1 {hidden}"), 1, &[&hidden]);
    switch.refuses("add-port br1 v1 -- set interface v1 type=gre", 1, &["gre"]);
    // What is in the way removed, the same command works.
    lab.sh("ip link set v0 nomaster");
    switch.ctl("add-port br1 v0");
}

/// As with Open vSwitch the row's `error` stays empty; who asked is told all the same.
pub fn reserved_names(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    switch.expects(&["name is reserved"]);
    for name in [
        "vxlan_sys_4789",
        "gtpu_sys",
        "udp_sys_6635",
        "ovs-system",
        "ovs-netdev",
    ] {
        let add = format!("add-port br1 {name}");
        for command in [
            add.clone(),
            format!("{add} -- set interface {name} type=internal"),
            format!("add-br {name}"),
        ] {
            switch.refuses(&command, 1, &[name, "reserved", "choose another"]);
        }
        assert!(lab.link(name).is_none(), "{name}");
    }
    // Who does not wait for the switch has a port that says why it is none.
    switch.ctl("--no-wait add-port br1 stt_sys");
    eventually("the switch has seen it", || {
        switch.interface("stt_sys", "ofport") == "-1"
    });
    assert_eq!(switch.interface("stt_sys", "error"), "[]");
    assert!(switch.ctl("doctor").contains("name is reserved"));
}

pub fn tags(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    lab.sh("ip link add v0 type veth peer name v1");
    switch.ctl("add-port br1 v0");
    for bad in [
        "tag=-1",
        "tag=4096",
        "tag=abc",
        "tag=1.5",
        "tag=99999999999999999999",
        "trunks=5000",
        "vlan_mode=hybrid",
        "nosuch=1",
        "tag",
    ] {
        switch.refuses(&format!("set port v0 {bad}"), 2, &[]);
        switch.refuses(&format!("add-port br1 v1 {bad}"), 2, &[]);
    }
    for good in [0, 1, 4094, 4095] {
        switch.ctl(&format!("set port v0 tag={good}"));
        assert_eq!(switch.ctl("get port v0 tag").trim(), good.to_string());
    }
    switch.ctl("set port v0 vlan_mode=trunk tag=4095 trunks=4095");
    switch.ctl("clear port v0 tag trunks vlan_mode");
    assert_eq!(switch.ctl("get port v0 tag").trim(), "[]");
}

pub fn usage(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    for words in [
        "frob",
        "add-port",
        "add-port br1",
        "set port",
        "--timeout never show",
        "--frob show",
        "show -- dump-cache",
        "del-br",
        "fdb-show",
    ] {
        let ran = switch.try_ctl(words);
        assert_eq!(ran.code, 2, "{words}: {}{}", ran.out, ran.err);
        assert!(
            !ran.err.is_empty() && !ran.err.contains("panicked"),
            "{words}: {}",
            ran.err
        );
    }
    switch.refuses("log-level loudly", 1, &["loudly", "debug"]);
    assert_eq!(switch.try_ctl("--help").code, 0);
    assert_eq!(switch.try_ctl("--version").code, 0);
    assert!(switch.ctl("completions bash").contains("rvs-ctl"));
    assert!(switch.ctl("man").contains("rvs-ctl"));
}

pub fn daemon_not_running(lab: &Lab) {
    let nowhere = lab.path("nowhere");
    for words in [
        "show",
        "add-br br1",
        "dump-cache",
        "fdb-show br1",
        "version",
        "doctor",
    ] {
        let started = std::time::Instant::now();
        let ran = ctl(&nowhere, words);
        assert_eq!(ran.code, 1, "{words}: {}{}", ran.out, ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{words}: {}", ran.err);
        assert!(
            ran.err.contains("not running") && ran.err.contains(&nowhere.display().to_string()),
            "{words}: {}",
            ran.err
        );
        assert!(started.elapsed().as_secs() < 2, "{words}: said at once");
    }
    // A daemon that was killed leaves its sockets: nobody answers there either.
    let mut switch = Daemon::start(lab, "--bridge br1");
    switch.kill9();
    for words in ["show", "dump-cache"] {
        let ran = switch.try_ctl(words);
        assert_eq!(
            (ran.code, ran.err.contains("not running")),
            (1, true),
            "{words}: {}",
            ran.err
        );
    }
}

/// A daemon that is there and does not answer: exit code 124 after the time that was asked for.
pub fn daemon_not_answering(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    lab.sh(&format!("kill -STOP {}", switch.pid()));
    for words in [
        "--timeout 1 show",
        "--timeout 1 add-br br2",
        "--timeout 1 dump-cache",
    ] {
        let started = std::time::Instant::now();
        let ran = switch.try_ctl(words);
        assert_eq!(ran.code, 124, "{words}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains("timed out"), "{words}: {}", ran.err);
        assert!(started.elapsed().as_secs() < 5, "{words}");
    }
    lab.sh(&format!("kill -CONT {}", switch.pid()));
    switch.ctl("--may-exist add-br br2");
}
