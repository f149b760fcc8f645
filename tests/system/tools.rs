//! Stock tools of Open vSwitch against our sockets.

use rvs_tests::{eventually, Daemon, Lab};

use crate::hosts::red_and_green;

pub fn stock_vsctl(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    switch.expects(&["can't be a port"]);
    let vsctl = format!(
        "OVS_RUNDIR={} ovs-vsctl --timeout=10",
        switch.rundir().display()
    );
    let show = lab.sh(&format!("{vsctl} show"));
    for line in ["Bridge br1", "Port veth-r", "Port veth-g", "type: internal"] {
        assert!(show.contains(line), "no \"{line}\" in\n{show}");
    }
    lab.sh(&format!(
        "{vsctl} add-br br2 -- add-port br2 in0 tag=7 -- set interface in0 type=internal; {vsctl} set port veth-r tag=9; \
         {vsctl} br-exists br2; {vsctl} get interface veth-r ofport link_state admin_state mtu"
    ));
    assert!(lab.link("in0").is_some() && lab.link("br2").is_some());
    assert_eq!(lab.sh(&format!("{vsctl} list-br")), switch.ctl("list-br"));
    assert_eq!(
        lab.sh(&format!("{vsctl} list-ports br1")),
        switch.ctl("list-ports br1")
    );
    assert_eq!(lab.sh(&format!("{vsctl} port-to-br in0")).trim(), "br2");
    lab.no_ping("red", "10.0.0.2");
    lab.sh(&format!("{vsctl} clear port veth-r tag"));
    lab.ping("red", "10.0.0.2");
    lab.sh(&format!("{vsctl} del-br br2"));
    eventually("its devices are gone", || {
        lab.link("in0").is_none() && lab.link("br2").is_none()
    });
    // A device that can't be a port: ovs-vsctl says so and ends with 0, as with Open vSwitch; the row keeps the error.
    let ran = lab.try_sh(&format!("{vsctl} add-port br1 lo"));
    assert!(ran.err.contains("loopback"), "{}", ran.err);
    lab.sh(&format!("{vsctl} del-port lo"));
    let client = lab.sh(&format!(
        "ovsdb-client --timeout=10 list-dbs unix:{d}/db.sock; ovsdb-client --timeout=10 dump unix:{d}/db.sock Open_vSwitch Bridge name",
        d = switch.rundir().display()
    ));
    assert!(
        client.contains("Open_vSwitch") && client.contains("br1"),
        "{client}"
    );
}

/// Two bridges and a patch between them, all by ovs-vsctl.
pub fn patch_ports(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    switch.expects(&["patch type requires"]);
    let run = |tool: &str, words: &str| {
        let rundir = switch.rundir();
        lab.sh(&format!(
            "OVS_RUNDIR={} {tool} --timeout=10 {words}",
            rundir.display()
        ))
    };
    run(
        "ovs-vsctl",
        "del-port veth-g -- add-br br2 -- add-port br2 veth-g",
    );
    lab.no_ping("red", "10.0.0.2");
    run(
        "ovs-vsctl",
        "add-port br1 p1 -- set interface p1 type=patch options:peer=p2 -- add-port br2 p2 -- set interface p2 type=patch options:peer=p1",
    );
    lab.ping("red", "10.0.0.2");
    lab.tcp("red", "green", "10.0.0.2");
    let columns = run(
        "ovs-vsctl",
        "get interface p1 admin_state link_state error ofport mtu",
    );
    assert_eq!(columns, "up\nup\n[]\n3\n[]\n");
    let counter = |port: &str, name: &str| -> u64 {
        let text = run(
            "ovs-vsctl",
            &format!("get interface {port} statistics:{name}"),
        );
        text.trim().parse().unwrap()
    };
    eventually("both ends have counted the same frames", || {
        let sent = counter("p1", "tx_packets");
        sent > 10
            && sent == counter("p2", "rx_packets")
            && counter("p1", "rx_bytes") == counter("p2", "tx_bytes")
    });
    let ports = run("ovs-ofctl", "dump-ports-desc br1");
    assert!(ports.contains("3(p1)"), "{ports}");
    run("ovs-vsctl", "set interface p2 options:peer=other");
    lab.no_ping("red", "10.0.0.2");
    run("ovs-vsctl", "set interface p2 options:peer=p1");
    lab.ping("red", "10.0.0.2");
    run("ovs-vsctl", "del-br br2");
    let error = run(
        "ovs-vsctl",
        "remove interface p1 options peer -- get interface p1 name",
    );
    assert_eq!(error, "p1\n");
    assert!(switch.interface("p1", "error").contains("peer"));
}

pub fn stock_appctl(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    let appctl = format!(
        "OVS_RUNDIR={} ovs-appctl --timeout=10",
        switch.rundir().display()
    );
    assert!(lab.sh(&format!("{appctl} version")).contains("rvswitchd"));
    assert!(lab
        .sh(&format!("{appctl} list-commands"))
        .contains("fdb/show"));
    let fdb = lab.sh(&format!("{appctl} fdb/show br1"));
    assert!(
        fdb.starts_with(" port  VLAN  MAC                Age\n"),
        "{fdb}"
    );
    assert!(fdb.contains(&lab.mac("red", "eth0-r")), "{fdb}");
    assert!(lab
        .sh(&format!("{appctl} coverage/show"))
        .contains("total:"));
    assert!(lab.sh(&format!("{appctl} memory/show")).contains("ports:"));
    let ran = lab.try_sh(&format!("{appctl} fdb/show br9"));
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("br9"), "{}", ran.err);
    lab.sh(&format!("{appctl} fdb/add br1 veth-g 0 02:00:00:00:00:55"));
    assert!(lab.sh(&format!("{appctl} fdb/show br1")).contains("static"));
    lab.sh(&format!("{appctl} fdb/flush br1"));
    lab.sh(&format!("{appctl} exit"));
}

/// A VLAN of a bridge under a name of its own, as ovs-vsctl makes it of ordinary rows.
pub fn fake_bridges(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    let vsctl = |words: &str| {
        let rundir = switch.rundir();
        lab.sh(&format!(
            "OVS_RUNDIR={} ovs-vsctl --timeout=10 {words}",
            rundir.display()
        ))
    };
    vsctl("add-br br1v7 br1 7 -- del-port veth-r -- add-port br1v7 veth-r");
    assert_eq!(vsctl("list-br"), "br1\nbr1v7\n");
    assert_eq!(vsctl("br-to-vlan br1v7 -- br-to-parent br1v7"), "7\nbr1\n");
    assert_eq!(vsctl("list-ports br1v7"), "veth-r\n");
    lab.no_ping("red", "10.0.0.2");
    vsctl("set port veth-g tag=7");
    lab.ping("red", "10.0.0.2");
    lab.sh("ip addr add 10.0.0.3/24 dev br1v7; ip link set br1v7 up");
    lab.ping("red", "10.0.0.3");
    // Every port of the VLAN belongs to it, and goes with it.
    assert_eq!(vsctl("list-ports br1v7"), "veth-g\nveth-r\n");
    vsctl("del-br br1v7");
    assert_eq!(vsctl("list-ports br1"), "");
    eventually("its device is gone", || lab.link("br1v7").is_none());
}

/// What people and exporters ask of a running switch, by the stock ovs-appctl.
pub fn stock_runtime_commands(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    let rundir = switch.rundir();
    let try_ask = |words: &str| {
        lab.try_sh(&format!(
            "OVS_RUNDIR={} ovs-appctl --timeout=10 {words}",
            rundir.display()
        ))
    };
    let ask = |words: &str| {
        let ran = try_ask(words);
        assert_eq!(ran.code, 0, "{words}: {}", ran.err);
        ran.out
    };
    lab.ping("red", "10.0.0.2");
    assert_eq!(ask("ofproto/list"), "br1\n");
    assert_eq!(ask("dpif/dump-dps"), "system@br1\n");
    assert_eq!(ask("dpctl/dump-dps"), "system@ovs-system\n");
    let show = ask("dpif/show");
    assert!(show.starts_with("system@ovs-system: hit:"), "{show}");
    for line in [
        "\n  br1:\n",
        "    br1 65534/1: (internal)\n",
        "    veth-g 2/3: (system)\n",
    ] {
        assert!(show.contains(line), "{line} in {show}");
    }
    assert!(ask("dpctl/show").contains("  lookups: hit:"));
    assert!(ask("dpctl/show ovs-system").contains("  port 2: veth-r\n"));
    for words in [
        "dpctl/dump-flows",
        "dpctl/dump-flows -m --no-names system@ovs-system",
        "dpif/dump-flows br1",
    ] {
        let flows = ask(words);
        let echo = flows
            .lines()
            .find(|l| l.contains("eth_type(0x0800)"))
            .unwrap();
        for part in [
            "recirc_id(0)",
            "in_port(2)",
            ", packets:",
            ", bytes:",
            ", used:",
            "actions:3",
        ] {
            assert!(flows.contains(part), "{words}: {part} in {echo}");
        }
    }
    assert!(ask("dpif/dump-flows --names br1").contains("in_port(veth-r)"));
    assert!(ask("upcall/show").contains("(limit 200000)"));
    ask("revalidator/wait");
    ask("revalidator/purge");
    assert!(!ask("dpctl/dump-flows").contains("eth_type(0x0800)"));
    let flows = ask("bridge/dump-flows br1");
    assert!(
        flows.contains("n_packets=") && flows.ends_with("priority=0,actions=NORMAL\n"),
        "{flows}"
    );
    assert!(ask("dpif/show-dp-features br1").contains("Max VLAN headers: 2\n"));
    assert!(ask("vlog/list").contains("vswitchd          INFO       INFO       INFO\n"));
    ask("vlog/set ofproto_dpif:dbg ANY:console:warn");
    assert!(ask("vlog/list").contains("vswitchd          WARN"));
    ask("vlog/set 'PATTERN:file:I<3|%m'");
    assert!(ask("vlog/list-pattern").ends_with(" I<3|%m\n"));
    ask("vlog/reopen");
    assert!(ask("-t ovsdb-server ovsdb-server/list-dbs").contains("Open_vSwitch\n"));
    ask("-t ovsdb-server ovsdb-server/compact");
    for (words, says) in [
        ("dpif/dump-flows br9", "no such bridge"),
        ("dpctl/show dp9", "No such device"),
        ("bridge/dump-flows br9", "Unknown bridge"),
        ("vlog/set a=b", "no destination, level, or module"),
        (
            "vlog/set nonesuch:dbg",
            "no destination, level, or module \"nonesuch\"",
        ),
        (
            "vlog/set PATTERN:nonesuch:%m",
            "unknown destination \"nonesuch\"",
        ),
        ("vlog/set FACILITY:nonesuch", "invalid facility"),
        ("nonesuch", "is not a valid command"),
    ] {
        let ran = try_ask(words);
        assert_eq!(ran.code, 2, "{words}");
        assert!(ran.err.contains(says), "{words}: {}", ran.err);
    }
}

/// The daemon under a monitor ends by a signal, and its successor has the bridge.
const CRASHES: &str = r#"first=$(cat /var/run/openvswitch/ovs-vswitchd.pid)
kill -ABRT $first
for i in $(seq 200); do
    sleep 0.1
    now=$(cat /var/run/openvswitch/ovs-vswitchd.pid 2>/dev/null || :)
    [ -n "$now" ] && [ "$now" != $first ] && ovs-appctl version 2>/dev/null && break
done
[ "$(ovs-vsctl --timeout=10 list-br)" = br1 ]"#;

/// The line by which scripts start Open vSwitch's daemon starts this one, and a crash is not the end of it.
pub fn started_as_the_other_daemon(lab: &Lab) {
    let daemon = rvs_tests::daemon::binary("rvswitchd");
    std::fs::write(
        lab.path("script"),
        format!(
            "set -eux
{} unix:/var/run/openvswitch/db.sock -vconsole:emer -vsyslog:err -vfile:dbg --mlockall --no-chdir --db conf.db \\
    --log-file=$PWD/switch.log --pidfile=/var/run/openvswitch/ovs-vswitchd.pid --disable-system --detach --monitor
ovs-vsctl --timeout=10 add-br br1
grep -q '|DBG|' switch.log
mv switch.log old.log
ovs-appctl vlog/reopen
{CRASHES}
grep -q '|DBG|' switch.log
ovs-appctl exit --cleanup
set +x
for i in $(seq 50); do pgrep -x rvswitchd >/dev/null || exit 0; sleep 0.1; done
echo \"something is left\"; exit 1
",
            daemon.display()
        ),
    )
    .unwrap();
    let ran = lab.try_sh("unshare --mount --pid --fork --mount-proc --kill-child bash script");
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
}

/// The monitor starts what ran before when an upgrade has replaced its file meanwhile, and neither it nor the daemon keeps
/// the caller's standard error open.
pub fn monitored_through_an_upgrade(lab: &Lab) {
    let daemon = rvs_tests::daemon::binary("rvswitchd");
    std::fs::write(
        lab.path("script"),
        format!(
            "set -eu
cp {} new; mv new ovs-vswitchd
# Until the pipe of its standard error is closed by everybody, the command isn't over.
timeout 20 sh -c 'PATH=$PWD:$PATH ovs-vswitchd unix:/var/run/openvswitch/db.sock --no-chdir --db conf.db \
    --log-file=$PWD/switch.log --pidfile --detach --monitor 2>&1 | cat'
ovs-vsctl --timeout=10 add-br br1
cp {} new; mv new ovs-vswitchd
{CRASHES}
grep -q 'crashed (SIGABRT)' switch.log
ovs-appctl exit --cleanup
",
            daemon.display(),
            daemon.display(),
        ),
    )
    .unwrap();
    let ran = lab.try_sh("unshare --mount --pid --fork --mount-proc --kill-child bash script");
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
}

/// On Open vSwitch's own run directory its tools need no option.
pub fn stock_tools_without_options(lab: &Lab) {
    let mut process = lab.spawn(
        "switch",
        &format!(
            "{} --bridge br1 --rundir /var/run/openvswitch --db conf.db",
            rvs_tests::daemon::binary("rvswitchd").display()
        ),
    );
    eventually("it is ready", || process.out().contains("ready"));
    assert_eq!(lab.sh("ovs-vsctl --timeout=10 list-br"), "br1\n");
    assert!(lab
        .sh("ovs-appctl --timeout=10 version")
        .contains("rvswitchd"));
    lab.sh("ovs-appctl --timeout=10 exit --cleanup");
    assert_eq!(process.wait(), 0);
    assert!(lab.link("br1").is_none());
}

pub fn every_question_has_json(lab: &Lab) {
    let switch: Daemon<'_> = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    for words in [
        "show",
        "list-br",
        "list-ports br1",
        "list-ifaces br1",
        "port-to-br veth-r",
        "get interface veth-r ofport",
        "list port",
        "find port",
        "dump-cache",
        "dump-cache br1",
        "fdb-show br1",
        "dump-ports",
        "dump-ports br1",
        "coverage",
        "memory",
        "doctor",
        "version",
        "log-level",
    ] {
        let text = switch.ctl(words);
        assert!(!text.contains('\u{1b}'), "{words}: colour in a pipe");
        let json = switch.json(words);
        assert!(!json.is_null(), "{words}");
    }
    let tiers = &switch.json("dump-cache")["tiers"];
    let names: Vec<_> = (0..4).map(|t| tiers[t]["tier"].as_u64().unwrap()).collect();
    assert_eq!(names, [0, 1, 2, 3], "{tiers}");
    assert!(tiers[3]["hits"].as_u64().unwrap() > 0, "{tiers}");
    assert!(tiers[2]["flows"].as_u64().unwrap() > 0, "{tiers}");
    assert!(tiers[2]["masks"].as_u64().unwrap() > 0, "{tiers}");
    let doctor = switch.ctl("doctor");
    assert!(
        doctor.contains("kernel") && doctor.contains("veth-r"),
        "{doctor}"
    );
}
