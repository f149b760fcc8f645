//! Mininet as Debian packages it, unmodified, with the switch in the place of Open vSwitch's daemon.
//!
//! `mn` ends processes by name and empties `/tmp` when something goes wrong: it runs with process ids and a `/tmp` of its own.

use std::time::Duration;

use rvs_tests::lab::{within, Background};
use rvs_tests::wire::client;
use rvs_tests::{eventually, Lab};

/// The daemon on the run directory where every stock tool looks without being told.
pub fn drop_in(lab: &Lab, arguments: &str) -> Background {
    let process = lab.spawn(
        "switch",
        &format!(
            "{} --rundir /var/run/openvswitch --db conf.db {arguments}",
            rvs_tests::daemon::binary("rvswitchd").display()
        ),
    );
    eventually("the daemon is ready", || process.out().contains("ready"));
    process
}

/// Runs `mn` with these arguments; what it prints. Afterwards nothing of the network is left.
fn mn(lab: &Lab, arguments: &str) -> String {
    let out = lab.sh(&format!(
        "unshare --mount --pid --fork --mount-proc --kill-child bash -c 'mount -t tmpfs none /tmp; exec mn {arguments} 2>&1'"
    ));
    nothing_left(lab);
    out
}

fn nothing_left(lab: &Lab) {
    eventually("no device is left", || lab.devices() == ["lo"]);
    assert_eq!(
        lab.sh("ovs-vsctl list-br; ls /run/openvswitch | grep -E 'mgmt|snoop' || :"),
        ""
    );
}

fn pings(lab: &Lab, arguments: &str) {
    let out = mn(lab, &format!("{arguments} --test pingall"));
    assert!(out.contains("Results: 0% dropped"), "mn {arguments}\n{out}");
}

pub fn every_host_reaches_every_other(lab: &Lab) {
    let switch = drop_in(lab, "");
    for arguments in [
        "",
        "--switch ovsk",
        "--switch ovsk,protocols=OpenFlow13",
        "--switch ovsk,datapath=user",
        "--switch ovsk,failMode=standalone --controller none",
        "--switch ovsbr",
        "--switch ovsbr,batch=1 --topo linear,8",
        "--switch ovsbr --topo tree,2,3",
        "--topo tree,2,3",
        "--topo linear,4 --mac --arp",
        "--topo single,20 --controller none --switch ovsbr",
        "--link ovs --topo linear,3 --switch ovsbr",
        "--link ovs --topo linear,3 --switch ovsk,protocols=OpenFlow13",
    ] {
        pings(lab, arguments);
    }
    assert!(!switch.err().contains("|ERR|"), "{}", switch.err());
}

pub fn remote_controller(lab: &Lab) {
    let _switch = drop_in(lab, "");
    let _controller = lab.spawn("controller", "ovs-testcontroller ptcp:6653:127.0.0.1");
    eventually("the controller listens", || {
        lab.sh("ss -Hltn sport = 6653").contains("6653")
    });
    pings(lab, "--controller remote --topo linear,3");
    pings(
        lab,
        "--controller remote,ip=127.0.0.1,port=6653 --switch ovsk,protocols=OpenFlow10",
    );
}

/// TCP through the switch, as fast as the link's shaper on the switch's ports lets it.
pub fn shaped_links(lab: &Lab) {
    let _switch = drop_in(lab, "");
    lab.sh(
        "printf 'h2 iperf -s -D\\nh2 timeout 20 sh -c \"until ss -Hltn | grep -q :5001; do sleep 0.1; done\"\\nh1 iperf -c 10.0.0.2 -t 3 -f m\\nh2 pkill iperf\\n' > post",
    );
    let rate = |arguments: &str| -> f64 {
        let out = mn(lab, &format!("{arguments} --post post --test none"));
        let line = out.lines().rfind(|l| l.contains("Mbits/sec"));
        let words: Vec<&str> = line
            .unwrap_or_else(|| panic!("{out}"))
            .split_whitespace()
            .collect();
        words[words.len() - 2].parse().unwrap()
    };
    let free = rate("--switch ovsbr");
    assert!(free > 200.0, "{free} Mbit/s without a shaper");
    if lab
        .try_sh("tc qdisc add dev lo root htb && tc qdisc del dev lo root")
        .code
        != 0
    {
        println!("SKIPPED the shaped half of mininet::shaped_links: this kernel has no htb");
        return;
    }
    let shaped = rate("--switch ovsbr --link tc,bw=10");
    assert!((5.0..15.0).contains(&shaped), "{shaped} Mbit/s with bw=10");
}

/// Nine switches in a torus: without a spanning tree the first broadcast would never end.
pub fn loops(lab: &Lab) {
    let _switch = drop_in(lab, "");
    // One port of each that forwards is enough for `mn`; the others follow within the second.
    lab.sh("echo sh sleep 10 > pre");
    pings(
        lab,
        "--switch ovsbr,stp=1 --topo torus,3,3 --controller none --wait --pre pre",
    );
}

/// A hundred networks come and go, a few by `mn`, the others without starting Python anew for each; nothing is left, and the
/// daemon stays as it was.
pub fn many_starts_and_stops(lab: &Lab) {
    let switch = drop_in(lab, "");
    let files = || lab.sh(&format!("ls /proc/{}/fd | wc -l", switch.pid()));
    mn(lab, "--switch ovsbr --controller none --test none");
    let before = files();
    for _ in 0..4 {
        mn(
            lab,
            "--switch ovsbr --controller none --topo linear,3 --test none",
        );
    }
    let mut networks = lab.spawn(
        "networks",
        &format!(
            "unshare --mount --pid --fork --mount-proc --kill-child bash -c 'mount -t tmpfs none /tmp; exec /usr/bin/python3 - 95' <{}",
            client("networks.py").display()
        ),
    );
    within(Duration::from_secs(240), "the last network is gone", || {
        networks.ended().is_some()
    });
    assert_eq!(networks.out(), "done\n", "{}", networks.err());
    nothing_left(lab);
    within(
        Duration::from_secs(5),
        "as many files are open as before",
        || files() == before,
    );
    assert!(!switch.err().contains("|WARN|"), "{}", switch.err());
}
