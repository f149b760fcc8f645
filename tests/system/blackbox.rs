//! What the specification says comes out for what goes in: flows by `ovs-ofctl`, frames by Scapy, through real ports, each frame
//! sent as soon as the barrier's reply is there. The tables of rows are in `blackbox/`.

mod actions;
mod fields;
mod limits;

use rvs_tests::lab::within;
use rvs_tests::wire::{client, python};
use rvs_tests::{Lab, Peer, Wires, BRIDGE};

use std::time::Duration;

pub use actions::{actions, groups, tables};
pub use fields::fields;
pub use limits::{meters, meters_of_os_ken, timeouts};

/// Open vSwitch answers a barrier before its caches follow, and counts what a cache answered once a second.
const OVS_SETTLES: Duration = Duration::from_millis(40);

/// A bridge with ports 1 to 4 and the wires at their other ends.
pub struct Bench<'a> {
    pub peer: Peer<'a>,
    pub wires: Wires,
    failures: Vec<String>,
}

impl<'a> Bench<'a> {
    pub fn new(lab: &'a Lab) -> Self {
        let peer = Peer::start(lab);
        peer.wires(4);
        let wires = Wires::open(4);
        Self {
            peer,
            wires,
            failures: Vec::new(),
        }
    }

    /// Puts these flows in the place of all flows, one `ovs-ofctl` command with a barrier after each.
    pub fn install(&self, version: &str, flows: &[String]) -> Result<(), String> {
        let file = self.peer.lab.path("flows");
        std::fs::write(&file, format!("delete\n{}\n", flows.join("\n"))).unwrap();
        let ran = self
            .peer
            .try_ofctl(version, &format!("add-flows BR {}", file.display()));
        if ran.code != 0 || !ran.err.is_empty() {
            return Err(format!("{}{}", ran.out, ran.err));
        }
        if self.peer.is_ovs() {
            std::thread::sleep(OVS_SETTLES);
        }
        Ok(())
    }

    /// Sends frames and expects frames; what the flow whose text contains `flow` has counted must become `count`.
    pub fn judge(
        &mut self,
        version: &str,
        flows: &[String],
        send: &[(u32, &str)],
        expect: &[(u32, &str)],
        counts: &[(&str, u64)],
    ) {
        let outcome = self
            .install(version, flows)
            .and_then(|()| self.wires.exchange(send, expect))
            .and_then(|()| self.count(version, counts));
        if let Err(why) = outcome {
            self.failures.push(format!(
                "OpenFlow{version} {flows:#?}\nsent {send:?}\n{why}"
            ));
        }
    }

    fn count(&self, version: &str, counts: &[(&str, u64)]) -> Result<(), String> {
        // Open vSwitch's counters follow a second or two later.
        if counts.is_empty() || self.peer.is_ovs() {
            return Ok(());
        }
        let limit = Duration::from_secs(5);
        let started = std::time::Instant::now();
        loop {
            let dump = self.peer.ofctl(version, "dump-flows BR");
            let right = |(flow, count): &(&str, u64)| {
                dump.lines()
                    .any(|l| l.contains(flow) && l.contains(&format!("n_packets={count},")))
            };
            if counts.iter().all(right) {
                return Ok(());
            }
            if started.elapsed() > limit {
                return Err(format!("counters are not {counts:?}:\n{dump}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn fail(&mut self, why: String) {
        self.failures.push(why);
    }

    /// Fails when a row has failed.
    pub fn verdict(self) {
        assert!(
            self.failures.is_empty(),
            "{} rows fail:\n{}",
            self.failures.len(),
            self.failures.join("\n--\n")
        );
    }
}

/// Waits for something that the switch does within a second of its time.
pub fn soon(what: &str, is: impl FnMut() -> bool) {
    within(Duration::from_secs(5), what, is);
}

/// Tests of OS-Ken that no switch is to pass.
const NOT_TO_PASS: &[&str] = &[
    // OS-Ken computes SCTP's CRC32c over the wrong octets (RFC 9260 appendix A); a switch that changes a port can't repair it.
    "SET_FIELD/17_SCTP",
    "SET_FIELD/18_SCTP",
];

/// What Open vSwitch lacks or does otherwise.
const NOT_OF_OVS: &[&str] = &[
    "COPY_TTL",
    "PUSH_VLAN_multiple",
    "19_PUSH_MPLS",
    "PBB",
    "EXTHDR",
    "SET_FIELD",
    "NW_TTL",
    "DSCP_REMARK",
    "match/",
];

/// Rules of the specifications that are written down in `clients/rules_*.py`, message by message.
fn rules(lab: &Lab, what: &str) {
    let peer = Peer::start(lab);
    peer.wires(4);
    rules_of(&peer, what);
}

fn rules_of(peer: &Peer<'_>, what: &str) {
    let lab = peer.lab;
    let ran = lab.try_sh_in(
        "wire",
        &format!(
            "env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 {} {} {what}",
            client("rules.py").display(),
            peer.mgmt().display()
        ),
    );
    println!("{}", ran.out.lines().last().unwrap_or_default());
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
}

/// The type and code of the error for each message that is malformed or asks for what cannot be.
pub fn errors(lab: &Lab) {
    rules(lab, "errors");
}

/// Packet-ins, removed flows, counters, reserved ports, port settings, fragments, groups and bundles of each version.
pub fn behaviour(lab: &Lab) {
    rules(lab, "behaviour");
}

/// Who may change what, and hears of what, when there are two controllers.
pub fn roles(lab: &Lab) {
    let peer = Peer::start(lab);
    peer.wires(4);
    let beside = |name| peer.mgmt().with_file_name(name).display().to_string();
    peer.vsctl(&format!(
        "set-controller {BRIDGE} unix:{} unix:{}",
        beside("c1"),
        beside("c2")
    ));
    for row in peer
        .vsctl("--columns=_uuid --bare list controller")
        .split_whitespace()
    {
        peer.vsctl(&format!("set controller {row} max_backoff=1000"));
    }
    rules_of(&peer, "roles");
}

fn switch_tests(lab: &Lab, version: &str, more: &str) {
    let peer = Peer::start(lab);
    peer.wires(3);
    let mut options = String::new();
    let mut skip: Vec<&str> = NOT_TO_PASS.to_vec();
    if peer.is_ovs() {
        options = "--settle 0.04".to_owned();
        skip.extend(NOT_OF_OVS.iter().filter(|_| version != "of10"));
    }
    for word in skip {
        options = format!("{options} --skip {word}");
    }
    let mut run = lab.spawn(
        "os-ken",
        &format!(
            "ip netns exec wire env PYTHONDONTWRITEBYTECODE=1 {} -W ignore {} {} {version} {options} {more}",
            python().display(),
            client("switch_tests.py").display(),
            peer.mgmt().display()
        ),
    );
    let mut ended = None;
    within(Duration::from_secs(110), "the switch tests end", || {
        ended = run.ended();
        ended.is_some()
    });
    println!(
        "OS-Ken's switch tests of {version}: {}",
        run.out().lines().last().unwrap_or_default()
    );
    assert_eq!(ended, Some(0), "{}{}", run.out(), run.err());
}

/// OS-Ken's (Ryu's) own switch tests: 192 of 1.0, 940 of 1.3, 952 of 1.4.
pub fn switch_tests_1_0(lab: &Lab) {
    switch_tests(lab, "of10", "");
}

pub fn switch_tests_1_3(lab: &Lab) {
    switch_tests(lab, "of13", "");
}

pub fn switch_tests_1_4(lab: &Lab) {
    switch_tests(lab, "of14", "");
}
