//! Spanning trees with the bridges of others, in real namespaces: the Linux kernel's, Open vSwitch's.

use std::time::Duration;

use rvs_tests::lab::{within, Background};
use rvs_tests::{eventually, Daemon, Lab};

/// The shortest times that the standard allows.
const QUICK: &str = "stp-hello-time=1 other_config:stp-max-age=6 other_config:stp-forward-delay=4";
/// Listening, learning, and the time to find out that a neighbour is silent.
const CONVERGED: Duration = Duration::from_secs(25);

/// Bridge `br1` with host h1, and two links l1 and l2 to devices k1 and k2 in namespace `far`, where h2's device f2 is too.
pub(crate) fn two_links(lab: &Lab) -> Daemon<'_> {
    let switch = Daemon::start(lab, "--bridge br1");
    lab.namespaces(&["far", "h1", "h2"]);
    lab.host("h1", "p1", "e1", "10.9.0.1/24");
    lab.sh(
        "for n in 1 2; do ip link add l$n type veth peer name k$n; ip link set k$n netns far; ip link set l$n up; \
         ip -n far link set k$n up; done; ip link add e2 type veth peer name f2; ip link set e2 netns h2; \
         ip link set f2 netns far; ip -n far link set f2 up; ip -n h2 addr add 10.9.0.2/24 dev e2; ip -n h2 link set e2 up",
    );
    switch
}

fn reaches(lab: &Lab) -> bool {
    lab.try_sh_in("h1", "ping -q -c 1 -W 1 10.9.0.2").code == 0
}

/// A broadcast arrives once, not for ever.
pub(crate) fn no_storm(lab: &Lab) {
    let heard = || -> u64 {
        let count = lab.sh_in("h2", "cat /sys/class/net/e2/statistics/rx_packets");
        count.trim().parse().unwrap()
    };
    let before = heard();
    lab.sh_in(
        "h1",
        "ip neigh flush all; ping -q -c 3 -W 1 10.9.0.77 || true",
    );
    let after = heard() - before;
    assert!(after < 200, "{after} frames arrived");
}

/// Cuts the link that forwards; the other one takes over.
fn fails_over(lab: &Lab, forwards: impl Fn(&str) -> bool) {
    let used = if forwards("1") { "1" } else { "2" };
    assert_ne!(
        forwards("1"),
        forwards("2"),
        "one link carries frames, the other one waits"
    );
    lab.sh(&format!("ip -n far link set k{used} down"));
    within(CONVERGED, "the other link takes over", || reaches(lab));
    no_storm(lab);
}

pub fn with_the_bridge_of_linux(lab: &Lab) {
    let switch = two_links(lab);
    if lab
        .try_sh_in(
            "far",
            "ip link add kbr type bridge stp_state 1 forward_delay 400 max_age 600 hello_time 100",
        )
        .code
        != 0
    {
        println!("SKIPPED spanning::with_the_bridge_of_linux: this kernel has no bridge");
        return;
    }
    lab.sh_in(
        "far",
        "for d in k1 k2 f2; do ip link set $d master kbr; done; ip link set kbr up",
    );
    switch.ctl(&format!(
        "set bridge br1 stp_enable=true other_config:stp-priority=4096 other_config:{QUICK} -- add-port br1 p1 -- add-port br1 l1 -- add-port br1 l2"
    ));
    within(CONVERGED, "frames pass", || reaches(lab));
    no_storm(lab);
    let appctl = format!(
        "ovs-appctl -t {}/ovs-vswitchd.*.ctl",
        switch.rundir().display()
    );
    let cleared = lab.sh(&format!("{appctl} fdb/stats-clear br1"));
    assert_eq!(cleared, "statistics successfully cleared\n");
    let mdb = lab.try_sh(&format!("{appctl} mdb/show br1"));
    assert!(
        mdb.err.contains("multicast snooping is disabled"),
        "{mdb:?}"
    );
    // Both say that ours is the root.
    let mac = switch.ctl("get interface br1 mac_in_use");
    let mac = mac.trim().trim_matches('"').replace(':', "");
    let root = lab.sh_in("far", "cat /sys/class/net/kbr/bridge/root_id");
    assert_eq!(root.trim(), format!("1000.{mac}"));
    let shown = switch.ctl("get bridge br1 status");
    assert!(
        shown.contains(&format!("stp_designated_root=\"1000.{mac}\"")),
        "{shown}"
    );
    let kernel = |n: &str| {
        lab.sh_in("far", &format!("cat /sys/class/net/k{n}/brport/state"))
            .trim()
            == "3"
    };
    fails_over(lab, kernel);
    // The kernel's becomes the root: one of our links is the way there, the other one blocks.
    lab.sh("for n in 1 2; do ip -n far link set k$n up; done; ip -n far link set kbr type bridge priority 0");
    let state = |n: &str| {
        switch
            .ctl(&format!("get port l{n} status:stp_state"))
            .contains("forwarding")
    };
    within(CONVERGED, "the kernel's bridge is the root", || {
        let root = switch.ctl("get bridge br1 status:stp_designated_root");
        root.contains("0000.") && (state("1") ^ state("2")) && reaches(lab)
    });
    let show = lab.sh(&format!(
        "ovs-appctl -t {}/ovs-vswitchd.*.ctl stp/show br1",
        switch.rundir().display()
    ));
    for line in [
        "---- br1 ----",
        "root-port       l",
        "root       forwarding 2     128.",
        "alternate  blocking",
    ] {
        assert!(show.contains(line), "{line}\n{show}");
    }
    no_storm(lab);
    fails_over(lab, state);
}

/// Open vSwitch's daemon in namespace `far`.
fn open_vswitch(lab: &Lab) -> [Background; 2] {
    let dir = lab.path("theirs");
    let dir = dir.display();
    lab.sh(&format!(
        "mkdir {dir}; ovsdb-tool create {dir}/conf.db /usr/share/openvswitch/vswitch.ovsschema"
    ));
    let environment = format!("ip netns exec far env OVS_RUNDIR={dir} OVS_LOGDIR={dir} OVS_DBDIR={dir} OVS_SYSCONFDIR={dir}");
    let start = |name: &str, program: &str| lab.spawn(name, &format!("{environment} {program}"));
    let database = start(
        "ovsdb",
        &format!(
            "ovsdb-server -vconsole:emer --pidfile --remote=punix:{dir}/db.sock {dir}/conf.db"
        ),
    );
    eventually("ovsdb-server listens", || {
        lab.path("theirs/db.sock").exists()
    });
    lab.sh(&format!("ovs-vsctl --db=unix:{dir}/db.sock --no-wait init"));
    let daemon = start(
        "vswitchd",
        &format!("ovs-vswitchd -vconsole:emer --pidfile --disable-system unix:{dir}/db.sock"),
    );
    [database, daemon]
}

pub fn with_open_vswitch(lab: &Lab) {
    let switch = two_links(lab);
    let _theirs = open_vswitch(lab);
    let vsctl = |words: &str| {
        let db = lab.path("theirs/db.sock");
        lab.sh(&format!(
            "ovs-vsctl -t 10 --db=unix:{} {words}",
            db.display()
        ))
    };
    // Their user-space datapath does not finish checksums.
    lab.sh_in("h2", "ethtool -K e2 tx off > /dev/null");
    for (enable, keys, role) in [
        (
            "rstp_enable=true",
            "rstp-priority=4096",
            "rstp_status:rstp_port_state",
        ),
        ("stp_enable=true", QUICK, "status:stp_state"),
    ] {
        vsctl(&format!(
            "add-br br9 -- set bridge br9 datapath_type=netdev {enable} -- add-port br9 k1 -- add-port br9 k2 -- add-port br9 f2"
        ));
        switch.ctl(&format!(
            "set bridge br1 {enable} other_config:stp-priority=0 other_config:{keys} -- add-port br1 p1 -- add-port br1 l1 -- add-port br1 l2"
        ));
        within(CONVERGED, "frames pass", || reaches(lab));
        no_storm(lab);
        let theirs = |n: &str| {
            vsctl(&format!("get port k{n} {role}"))
                .to_lowercase()
                .contains("forwarding")
        };
        fails_over(lab, theirs);
        vsctl("del-br br9");
        lab.sh("for n in 1 2; do ip -n far link set k$n up; done");
        switch.ctl("del-port p1 -- del-port l1 -- del-port l2 -- clear bridge br1 other_config -- set bridge br1 stp_enable=false rstp_enable=false");
    }
}
