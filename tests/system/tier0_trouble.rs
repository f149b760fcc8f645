//! What can go wrong with the kernel's cache: frames go on in user space, one line says why, and when the cause is gone
//! the kernel takes over again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rvs_tests::lab::{eventually, within};
use rvs_tests::wire::client;
use rvs_tests::{Daemon, Lab};

use crate::devices::numbered_ports;
use crate::hosts::red_and_green;
use crate::tier0::{self, doctor_of, in_the_kernel, ping, waits_for_reason};

/// Commands of bpf(2).
const MAP_CREATE: u32 = 0;
const PROG_LOAD: u32 = 5;
const PROG_QUERY: u32 = 16;
const LINK_CREATE: u32 = 28;

/// Daemons that are started from now on meet a kernel whose bpf(2) refuses these commands.
fn refuse(lab: &Lab, errno: &str, commands: &[u32]) {
    let list: Vec<String> = commands.iter().map(u32::to_string).collect();
    let program = client("refuse_bpf.py");
    lab.daemons_within(&format!(
        "/usr/bin/python3 {} {errno} {}",
        program.display(),
        list.join(",")
    ));
}

/// A kernel before Linux 6.6.
fn without_tcx(lab: &Lab) {
    refuse(lab, "EINVAL", &[LINK_CREATE, PROG_QUERY]);
}

fn refused_and_back(lab: &Lab, errno: &str, command: u32, says: &str) {
    refuse(lab, errno, &[command]);
    let mut switch = red_and_green(lab, "br1");
    switch.expects(&[
        "no kernel cache, frames are switched in user space",
        "the host will see the frames of the ports too",
    ]);
    lab.ping("red", "10.0.0.2");
    ping(lab, "green", "10.0.0.1", 20);
    let why = doctor_of(&switch, "veth-r")["not_in_kernel"].to_string();
    assert!(why.contains(says), "{why}");
    let doctor = switch.ctl("doctor");
    assert!(
        doctor.contains(says) && doctor.contains("ports run on tiers 1 to 3"),
        "{doctor}"
    );
    let log = switch.log();
    let lines = log.lines().filter(|l| l.contains("no kernel cache"));
    assert_eq!(lines.count(), 1, "{log}");
    // The cause is gone.
    assert_eq!(switch.terminate(), 0);
    lab.daemons_within("");
    switch.again();
    lab.ping("red", "10.0.0.2");
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-r");
}

pub fn no_memory_for_its_maps(lab: &Lab) {
    refused_and_back(lab, "ENOMEM", MAP_CREATE, "Cannot allocate memory");
}

pub fn a_policy_against_it(lab: &Lab) {
    refused_and_back(lab, "EPERM", MAP_CREATE, "a security policy");
}

pub fn a_verifier_that_refuses(lab: &Lab) {
    refused_and_back(
        lab,
        "EACCES",
        PROG_LOAD,
        "the kernel's verifier refused the program",
    );
}

/// Daemons that are started from now on meet a kernel that refuses a command until the file that is returned is removed: a
/// policy that is changed, memory that comes back.
fn refuse_for_a_while(lab: &Lab, errno: &str, command: u32) -> PathBuf {
    let cause = lab.path("cause");
    std::fs::write(&cause, "").unwrap();
    lab.daemons_within(&format!(
        "/usr/bin/python3 {} {errno} {command} --while {}",
        client("refuse_bpf.py").display(),
        cause.display()
    ));
    cause
}

pub fn recovery_when_the_cause_is_gone(lab: &Lab) {
    let cause = refuse_for_a_while(lab, "ENOMEM", MAP_CREATE);
    let switch = red_and_green(lab, "br1");
    switch.expects(&["no kernel cache", "the host will see the frames"]);
    lab.ping("red", "10.0.0.2");
    waits_for_reason(&switch, "veth-r", "Cannot allocate memory");
    assert_eq!(doctor_of(&switch, "veth-r")["host_kept_away"], false);
    eventually("it is asked again", || {
        switch.counter("kcache_load_refused") > 1
    });
    let said = |what: &str| switch.log().lines().filter(|l| l.contains(what)).count();
    assert_eq!(said("no kernel cache"), 1, "{}", switch.log());
    std::fs::remove_file(&cause).unwrap();
    within(
        Duration::from_secs(40),
        "all ports are in the kernel",
        || {
            let ports = switch.json("doctor")["ports"].clone();
            let inside = |p: &serde_json::Value| p["not_in_kernel"].is_null();
            ports.as_array().unwrap().iter().all(inside)
        },
    );
    assert_eq!(doctor_of(&switch, "veth-r")["host_kept_away"], true);
    assert_eq!(said("there is a kernel cache now"), 1, "{}", switch.log());
    lab.ping("red", "10.0.0.2");
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-r");
}

/// Two hundred ports wait for what the kernel refused. When it comes they move a few at a time: whoever asks the daemon for
/// something meanwhile is answered.
pub fn many_ports_move_in_slices_when_the_cause_is_gone(lab: &Lab) {
    const PORTS: usize = 200;
    const LIMIT: Duration = Duration::from_secs(3);
    let cause = refuse_for_a_while(lab, "ENOMEM", MAP_CREATE);
    let switch = red_and_green(lab, "br1");
    switch.expects(&["no kernel cache", "the host will see the frames"]);
    let all = numbered_ports(lab, PORTS);
    switch.ctl(&all("add-port br1"));
    std::fs::remove_file(&cause).unwrap();
    within(Duration::from_secs(40), "it comes", || {
        switch.log().contains("there is a kernel cache now")
    });
    let mut longest = Duration::ZERO;
    let took = within(
        Duration::from_secs(40),
        "all ports are in the kernel",
        || {
            let asked = Instant::now();
            let doctor = switch.json("doctor");
            longest = longest.max(asked.elapsed());
            let ports = doctor["ports"].as_array().unwrap();
            // The bridge's own, and those of the two hosts.
            assert_eq!(ports.len(), PORTS + 3);
            ports.iter().all(|p| p["not_in_kernel"].is_null())
        },
    );
    println!("    {PORTS} ports in {took:?}, the longest answer took {longest:?}");
    assert!(longest < LIMIT, "{longest:?}");
    lab.ping("red", "10.0.0.2");
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-r");
}

pub fn nothing_is_loaded_that_no_port_wants(lab: &Lab) {
    let switch = Daemon::start(lab, "");
    let loaded = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", switch.pid())).unwrap();
        let targets = fds.filter_map(|f| std::fs::read_link(f.unwrap().path()).ok());
        targets
            .filter(|t| t.to_string_lossy().starts_with("anon_inode:bpf-"))
            .count()
    };
    assert_eq!(loaded(), 0);
    let doctor = switch.ctl("doctor");
    assert!(doctor.contains("it works here; not loaded"), "{doctor}");
    switch.ctl("set open . other_config:kernel-cache=off");
    switch.ctl("add-br br1");
    lab.namespaces(&["red", "green"]);
    lab.host("red", "veth-r", "eth0-r", "10.0.0.1/24");
    lab.host("green", "veth-g", "eth0-g", "10.0.0.2/24");
    switch.ctl("add-port br1 veth-r");
    switch.ctl("add-port br1 veth-g");
    ping(lab, "red", "10.0.0.2", 20);
    let drop = loaded();
    assert!(drop <= 2, "{drop}: the ingress drop's map and program");
    switch.ctl("set open . other_config:kernel-cache=on");
    waits_for_reason(&switch, "veth-r", "");
    assert!(loaded() > drop);
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-r");
}

/// Somebody takes the program off a port: the host may see frames until it is noticed, the switch goes on.
pub fn a_program_taken_off_comes_back(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    switch.expects(&["somebody took the kernel cache off"]);
    lab.ping("red", "10.0.0.2");
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-r");
    lab.sh("tc qdisc del dev veth-r clsact");
    within(Duration::from_secs(5), "it is noticed", || {
        switch.counter("kcache_detached") == 1
    });
    let log = switch.log();
    let lines = log
        .lines()
        .filter(|l| l.contains("veth-r: somebody took the kernel cache off"));
    assert_eq!(lines.count(), 1, "{log}");
    waits_for_reason(&switch, "veth-r", "");
    lab.ping("red", "10.0.0.2");
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-r");
}

/// When more happened than the kernel keeps events of, what was missed is looked for: a drop that was taken off meanwhile, too.
pub fn a_drop_lost_among_too_many_events_comes_back(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    switch.expects(&["somebody took the ingress drop off"]);
    switch.ctl("set port veth-r other_config:kernel-cache=off");
    let filters = || lab.sh("tc filter show dev veth-r ingress");
    eventually("the drop is there", || filters().contains("rvs-drop"));
    lab.sh(&format!("kill -STOP {}", switch.pid()));
    lab.sh(
        "for i in $(seq 10000); do echo link set lo mtu $((40000 + i)); done | ip -batch -; \
         tc qdisc del dev veth-r clsact",
    );
    lab.sh(&format!("kill -CONT {}", switch.pid()));
    eventually("it is put back", || filters().contains("rvs-drop"));
    lab.ping("red", "10.0.0.2");
}

/// A port outside the kernel's cache has a filter too, which keeps the host away. The qdisc goes with whichever filter goes last.
pub fn a_drop_taken_off_comes_back_and_the_qdisc_goes(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    switch.expects(&["somebody took the ingress drop off"]);
    waits_for_reason(&switch, "veth-r", "");
    switch.ctl("set port veth-r other_config:kernel-cache=off");
    let filters = || lab.sh("tc filter show dev veth-r ingress");
    eventually("the drop has taken over", || {
        let there = filters();
        there.contains("rvs-drop") && !there.contains("rvs-cache")
    });
    lab.sh("tc qdisc del dev veth-r clsact");
    eventually("it is put back", || filters().contains("rvs-drop"));
    lab.ping("red", "10.0.0.2");
    switch.ctl("del-port br1 veth-r");
    let left = lab.sh("tc qdisc show dev veth-r");
    assert!(!left.contains("clsact"), "{left}");
}

/// The device of a port goes while the kernel forwards to it, and comes back.
pub fn a_device_that_goes_and_comes_back(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-g");
    let before = switch.counter("kcache_demoted");
    let _pings = lab.spawn("pings", "ip netns exec red ping -n -i 0.01 10.0.0.2");
    lab.sh("ip link del veth-g");
    eventually("it is noticed", || {
        switch
            .interface("veth-g", "error")
            .contains("No such device")
    });
    assert!(switch.counter("kcache_demoted") > before);
    let log = switch.log();
    let lines = log
        .lines()
        .filter(|l| l.contains("the device of interface veth-g is gone"));
    assert_eq!(lines.count(), 1, "{log}");
    lab.host("green", "veth-g", "eth0-g", "10.0.0.2/24");
    switch.wait_port("veth-g");
    // It has another address.
    lab.sh("ip -n red neigh flush dev eth0-r");
    lab.ping("red", "10.0.0.2");
    waits_for_reason(&switch, "veth-g", "");
    in_the_kernel(&switch, "veth-g");
}

pub fn a_foreign_xdp_program_keeps_a_port_out(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    switch.expects(&["the kernel cache keeps off it"]);
    waits_for_reason(&switch, "veth-r", "");
    lab.sh(
        "echo '__attribute__((section(\"xdp\"), used)) int pass(void *c) { return 2; }' >pass.c; \
         clang -O2 -target bpf -c pass.c; ip link set veth-r xdpgeneric obj pass.o sec xdp",
    );
    waits_for_reason(&switch, "veth-r", "XDP");
    lab.ping("red", "10.0.0.2");
    lab.sh("ip link set veth-r xdpgeneric off");
    waits_for_reason(&switch, "veth-r", "");
    lab.ping("red", "10.0.0.2");
    ping(lab, "red", "10.0.0.2", 20);
    in_the_kernel(&switch, "veth-r");
}

pub fn clsact_vlans(lab: &Lab) {
    without_tcx(lab);
    tier0::vlans_in_the_kernel(lab);
    // A filter that its daemon left when it was killed, not a link.
    let filters = lab.sh("tc filter show dev veth-red ingress");
    assert!(filters.contains("rvs-cache"), "{filters}");
}

pub fn clsact_every_action(lab: &Lab) {
    without_tcx(lab);
    tier0::every_tier_does_the_same(lab);
}

pub fn clsact_nothing_stale(lab: &Lab) {
    without_tcx(lab);
    tier0::no_stale_packet_with_flows_in_the_kernel(lab);
}

pub fn clsact_ports_move_between_tiers(lab: &Lab) {
    without_tcx(lab);
    tier0::ports_move_between_tiers(lab);
}

pub fn clsact_foreign_programs(lab: &Lab) {
    without_tcx(lab);
    tier0::foreign_programs_keep_a_port_out(lab);
}

pub fn clsact_devices_come_and_go(lab: &Lab) {
    without_tcx(lab);
    tier0::devices_come_and_go(lab);
}
