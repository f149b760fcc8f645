//! Mirrors: a watcher sees what it is to see, in the kernel and in user space.

use std::time::Duration;

use rvs_tests::lab::within;
use rvs_tests::{eventually, Daemon, Lab};

use crate::hosts::red_and_green;
use crate::tier0::{in_the_kernel, ping};

/// Words of a mirror's ports, for the command that makes it.
const PORTS: &str = "--id=@r get port veth-r -- --id=@g get port veth-g -- --id=@w get port veth-w";

/// The stock tool on our switch.
fn vsctl(lab: &Lab, switch: &Daemon<'_>, words: &str) -> String {
    lab.sh(&format!(
        "OVS_RUNDIR={} ovs-vsctl --timeout=10 {words}",
        switch.rundir().display()
    ))
}

/// Ports, and a namespace `watch` behind a third one.
fn watched(lab: &Lab) -> Daemon<'_> {
    let switch = red_and_green(lab, "br1");
    lab.namespaces(&["watch"]);
    lab.host("watch", "veth-w", "eth0-w", "10.0.0.3/24");
    switch.ctl("add-port br1 veth-w");
    lab.ping("red", "10.0.0.2");
    lab.ping("watch", "10.0.0.2");
    switch
}

/// A mirror made by the stock tool copies both directions, exactly once, in every tier, from the moment that the command
/// returns until that in which it is taken away; its port is for nothing else.
pub fn watcher_sees_every_frame_once(lab: &Lab) {
    let switch = watched(lab);
    let watch = lab.capture("watch", "eth0-w", "icmp");
    for kernel in ["on", "off"] {
        vsctl(
            lab,
            &switch,
            &format!("set open . other_config:kernel-cache={kernel}"),
        );
        ping(lab, "red", "10.0.0.2", 20);
        if kernel == "on" {
            in_the_kernel(&switch, "veth-r");
        }
        let before = watch.count("ICMP");
        vsctl(
            lab,
            &switch,
            &format!(
                "{PORTS} -- --id=@m create mirror name=all select_all=true output_port=@w -- set bridge br1 mirrors=@m"
            ),
        );
        ping(lab, "red", "10.0.0.2", 30);
        eventually("the watcher has them all", || {
            watch.count("ICMP") >= before + 60
        });
        if kernel == "on" {
            in_the_kernel(&switch, "veth-w");
            ping(lab, "red", "10.0.0.2", 30);
            eventually("from the kernel too", || {
                watch.count("ICMP") >= before + 120
            });
        }
        let copies = watch.count("ICMP") - before;
        within(Duration::from_secs(12), "the copies are counted", || {
            let said = vsctl(
                lab,
                &switch,
                "--if-exists get mirror all statistics:tx_packets",
            );
            said.trim().parse::<usize>().unwrap_or(0) >= copies
        });
        // Nothing comes in by its port, and nothing else leaves there.
        lab.no_ping("watch", "10.0.0.2");
        switch.ctl("add-flow br1 priority=9,icmp,in_port=veth-r,actions=flood");
        let before = watch.count("ICMP");
        ping(lab, "red", "10.0.0.2", 10);
        eventually("still a copy of each", || {
            watch.count("ICMP") >= before + 20
        });
        switch.ctl("del-flows br1 icmp");
        let copies = watch.count("ICMP");
        assert_eq!(copies - before, 20, "each once");

        vsctl(lab, &switch, "clear bridge br1 mirrors");
        ping(lab, "red", "10.0.0.2", 10);
        assert!(!switch.ctl("dump-cache").contains("actions:veth-w"));
        assert_eq!(watch.count("ICMP"), copies, "it was taken away");
        lab.ping("watch", "10.0.0.2");
    }
}

/// Ports selected one by one, changed while traffic flows; super-frames and shortened copies.
pub fn selections_take_effect_at_once(lab: &Lab) {
    let switch = watched(lab);
    let watch = lab.capture("watch", "eth0-w", "icmp and host 10.0.0.1");
    vsctl(
        lab,
        &switch,
        &format!("{PORTS} -- --id=@m create mirror name=m select_src_port=@r output_port=@w -- set bridge br1 mirrors=@m"),
    );
    let counts = || (watch.count("echo request"), watch.count("echo reply"));
    let more = |what: &str, requests: usize, replies: usize| {
        let (a, b) = counts();
        ping(lab, "red", "10.0.0.2", 10);
        eventually(what, || counts() == (a + requests, b + replies));
        ping(lab, "red", "10.0.0.2", 10);
        eventually(what, || counts() == (a + 2 * requests, b + 2 * replies));
    };
    more("what red sends", 10, 0);
    for (words, what, requests, replies) in [
        (
            "set mirror m select_dst_port=@r",
            "what red gets too",
            10,
            10,
        ),
        (
            "clear mirror m select_src_port",
            "only what red gets",
            0,
            10,
        ),
        (
            "set mirror m select_vlan=7",
            "nothing of another VLAN",
            0,
            0,
        ),
        (
            "clear mirror m select_vlan -- set mirror m snaplen=60",
            "short ones",
            0,
            10,
        ),
        (
            "clear mirror m snaplen -- set mirror m select_src_port=@g",
            "once",
            0,
            10,
        ),
    ] {
        vsctl(lab, &switch, &format!("{PORTS} -- {words}"));
        more(what, requests, replies);
        if words.contains("snaplen=60") {
            let lines = watch.lines();
            assert!(lines.last().unwrap().contains(", length 60: "), "{lines:?}");
        }
    }
    // Copies of super-frames arrive, and nobody is slowed down by a drop.
    let mbits = lab.tcp("red", "green", "10.0.0.2");
    assert!(mbits > 300.0, "TCP beside a mirror at {mbits} Mbit/s");
    // The mirror goes with its port.
    switch.ctl("del-port br1 veth-w");
    lab.ping("red", "10.0.0.2");
}
