//! What broke other switches by their record, at the real daemon: its files, its memory, its devices, its bridges under change.

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rvs_openflow::message::FlowCommand;
use rvs_openflow::text::{parse_flow, Words};
use rvs_openflow::{Dialect, Message, Version};
use rvs_tests::daemon::binary;
use rvs_tests::{eventually, Daemon, Lab};

use crate::hosts::red_and_green;

/// CVE-2012-3449 was a directory of keys that everybody could write to. Whatever the daemon makes, with no umask at all: nothing is
/// for everybody to write, and only sockets for the group, which is the daemon's own.
pub fn cve_2012_3449_nothing_is_for_everybody_to_write(lab: &Lab) {
    let dir = lab.path("switch");
    let log = lab.path("files/rvswitchd.log");
    lab.sh("mkdir -m 755 files");
    let mut daemon = lab.spawn(
        "bare",
        &format!(
            "bash -c 'umask 0; exec {} --rundir {} --db {} --log-file={} --bridge br1'",
            binary("rvswitchd").display(),
            dir.display(),
            lab.path("files/conf.db").display(),
            log.display()
        ),
    );
    eventually("it is ready or ends", || {
        daemon.ended().is_some() || daemon.out().contains("rvswitchd: ready")
    });
    assert_eq!(daemon.ended(), None, "{}", daemon.err());
    let ctl = |words: &str| {
        let ran = rvs_tests::daemon::ctl(&dir, words);
        assert_eq!(ran.code, 0, "{words}: {}", ran.err);
    };
    ctl("set-controller br1 punix:br1.extra");
    ctl("set-manager punix:db.extra");
    let mut seen = Vec::new();
    for root in [&dir, &lab.path("files")] {
        walk(root, &mut |path| {
            let m = std::fs::symlink_metadata(path).unwrap();
            let (mode, text) = (m.mode() & 0o7777, path.display());
            if m.file_type().is_symlink() {
                return;
            }
            assert_eq!(mode & 0o002, 0, "{text} is {mode:o}");
            let group = mode & 0o020 != 0;
            assert!(!group || m.file_type().is_socket(), "{text} is {mode:o}");
            assert!(!group || m.gid() == 0, "{text} is of group {}", m.gid());
            seen.push(path.display().to_string());
        });
    }
    for part in ["conf.db", "rvswitchd.log", "br1.mgmt", "db.sock", ".pid"] {
        assert!(seen.iter().any(|s| s.contains(part)), "no {part}: {seen:?}");
    }
}

fn walk(path: &Path, f: &mut impl FnMut(&Path)) {
    f(path);
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), f);
        }
    }
}

/// Octets of memory that the daemon holds.
fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count()
}

/// Kernel CVE-2022-49086 lost what was nested in the actions of a flow when it was deleted. A million flows of nested actions come
/// and go, a thousand at a time.
pub fn cve_2022_49086_nested_flows_come_and_go(lab: &Lab) {
    const AT_ONCE: u32 = 1000;
    let switch = red_and_green(lab, "br1");
    let dialect = Dialect::new(Version::Of13);
    let words = Words::new(Version::Of13);
    let mut octets = Vec::new();
    let mut put = |m: &Message, xid| octets.extend_from_slice(&dialect.encode(m, xid).unwrap());
    for (command, actions) in [
        (
            FlowCommand::Add,
            ",actions=clone(clone(set_field:1->tcp_src,learn(table=9,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[])),output:1),output:2",
        ),
        (FlowCommand::DeleteStrict, ""),
    ] {
        for n in 0..AT_ONCE {
            let text = format!("table=3,priority=7,tcp,tp_dst={n}{actions}");
            let m = parse_flow(&text, command, &words).unwrap();
            put(&Message::FlowMod(Box::new(m)), n);
        }
    }
    put(&Message::BarrierRequest, 1);
    let mut s = UnixStream::connect(switch.rundir().join("br1.mgmt")).unwrap();
    s.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    s.write_all(&[4, 0, 0, 8, 0, 0, 0, 1]).unwrap();
    let round = |s: &mut UnixStream| {
        s.write_all(&octets).unwrap();
        // The reply to the barrier, after whatever else there is to say, is the only message of its kind.
        let mut header = [0; 8];
        loop {
            s.read_exact(&mut header).unwrap();
            let mut rest = vec![0; usize::from(header[2]) << 8 | usize::from(header[3])];
            rest.truncate(rest.len().saturating_sub(8));
            s.read_exact(&mut rest).unwrap();
            assert_ne!(header[1], 1, "refused: {rest:?}");
            if header[1] == 21 {
                return;
            }
        }
    };
    (0..100).for_each(|_| round(&mut s));
    let before = resident(switch.pid());
    (0..900).for_each(|_| round(&mut s));
    let grown = resident(switch.pid()).saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} octets more after a million flows");
    assert_eq!(switch.ctl("dump-flows br1").matches("table=3").count(), 0);
}

/// Kernel CVE-2026-45840 and its neighbours: a device goes while frames are on their way to it. `RVS_LOOPS` is another number.
pub fn cve_2026_45840_devices_go_under_load(lab: &Lab) {
    let loops: u32 = std::env::var("RVS_LOOPS").map_or(40, |n| n.parse().unwrap());
    let switch = red_and_green(lab, "br1");
    lab.namespaces(&["attic"]);
    lab.host("attic", "veth-a", "eth0-a", "10.0.0.3/24");
    lab.sh("ip link add veth-x type veth peer name eth0-x netns attic");
    lab.sh("ip link set veth-x up; ip -n attic link set eth0-x up");
    switch.ctl("add-port br1 veth-a -- add-port br1 veth-x");
    switch.wait_port("veth-x");
    lab.ping("red", "10.0.0.2");
    // To an address that nobody has: each frame goes to every port.
    let _flood = lab.spawn(
        "flood",
        &format!(
            "ip netns exec attic {} tool flood eth0-a 02:00:00:00:00:77 110000 --flows 200 --rate 20000",
            binary("rvs-bench").display()
        ),
    );
    let mut pings = lab.spawn("pings", "ip netns exec red ping -n -i 0.05 -W 1 10.0.0.2");
    let (mut files, mut memory) = (0, 0);
    for n in 0..loops {
        lab.sh(
            "ip link del veth-x; ip link add veth-x type veth peer name eth0-x netns attic; \
             ip link set veth-x up; ip -n attic link set eth0-x up",
        );
        // Every other time while it is still being opened.
        if n % 2 == 0 {
            switch.wait_port("veth-x");
        }
        if n == loops / 2 {
            switch.wait_port("veth-x");
            (files, memory) = (open_files(switch.pid()), resident(switch.pid()));
        }
    }
    switch.wait_port("veth-x");
    // What a port leaves behind, it leaves within its grace periods.
    eventually("no file is left open", || open_files(switch.pid()) <= files);
    let grown = resident(switch.pid()).saturating_sub(memory);
    assert!(grown < 4 << 20, "{grown} octets more");
    pings.signal(nix::sys::signal::Signal::SIGINT);
    pings.wait();
    let out = pings.out();
    // One may be under way when they end; the wires may be full for a moment.
    let lost = out
        .split(" packet loss")
        .next()
        .and_then(|s| s.rsplit(' ').next());
    let lost: f64 = lost
        .and_then(|s| s.strip_suffix('%'))
        .unwrap()
        .parse()
        .unwrap();
    assert!(lost < 2.0, "{}", &out[out.len() - 200..]);
    assert_eq!(switch.counter("poison_packets"), 0);
}

/// B9 of Open vSwitch's record (14773af4b, f77dbc1eb): VLANs of ports change and bridges go while the slow path translates frames of
/// theirs. Frames of a VLAN reach nobody who never carries it, whatever the moment.
pub fn b9_vlans_and_bridges_change_under_new_flows(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    lab.namespaces(&["red", "green", "blue"]);
    lab.host("red", "veth-r", "eth0-r", "10.0.0.1/24");
    lab.host("green", "veth-g", "eth0-g", "10.0.0.2/24");
    lab.host("blue", "veth-b", "eth0-b", "10.0.0.3/24");
    // From its first moment red's port takes some VLANs only, of which blue's is none.
    switch.ctl(
        "add-port br1 veth-r trunks=10,30 -- add-port br1 veth-g tag=30 -- add-port br1 veth-b tag=40",
    );
    for port in ["veth-r", "veth-g", "veth-b"] {
        switch.wait_port(port);
    }
    // New flows all the time, tagged 1 to 60: 30 is green's whenever red may use it, 40 is blue's and never red's.
    let _flood = lab.spawn(
        "flood",
        &format!(
            "ip netns exec red {} tool flood eth0-r 02:00:00:00:00:77 110000 --flows 1000000 --vlans 60 --rate 5000",
            binary("rvs-bench").display()
        ),
    );
    let to_green = lab.capture("green", "eth0-g", "udp port 9 and inbound");
    let to_blue = lab.capture("blue", "eth0-b", "udp port 9 and inbound");
    for n in 0..40 {
        let trunks = ["10,30", "30,50", "10,20", "30"][n % 4];
        switch.ctl(&format!("set port veth-r trunks={trunks}"));
        // A bridge of the same slow path comes and goes, with a port that takes frames along.
        switch.ctl(&format!(
            "add-br br2 -- add-port br2 in{n} -- set interface in{n} type=internal"
        ));
        if n % 3 == 0 {
            switch.ctl("del-port br1 veth-r -- add-port br1 veth-r trunks=10,30");
        }
        switch.ctl("del-br br2");
    }
    eventually("frames of VLAN 30 arrive", || to_green.lines().len() > 300);
    assert_eq!(to_blue.lines(), [""; 0]);
    assert_eq!(switch.counter("poison_packets"), 0);
    switch.ctl("set port veth-r trunks=10");
    to_green.ends("VLAN 30 is not red's any more");
}

/// B6 at the real daemon, with the kernel's cache: a flow that keeps coming is asked about once. `RVS_STEADY` is another number of
/// seconds.
pub fn b6_a_steady_flow_stays_where_it_is(lab: &Lab) {
    let seconds: f64 = std::env::var("RVS_STEADY").map_or(10.0, |s| s.parse().unwrap());
    let peer = rvs_tests::Peer::start(lab);
    peer.wires(3);
    let mut wires = rvs_tests::wire::Wires::open(3);
    for flow in [
        "in_port=1,tcp,tp_dst=80,actions=mod_nw_tos:32,output:2",
        "in_port=1,udp,nw_src=10.0.0.0/29,actions=push_vlan:0x8100,mod_vlan_vid:7,output:3",
        "in_port=1,arp,actions=output:2,3",
        "in_port=1,priority=1,actions=drop",
    ] {
        peer.ofctl("13", &format!("add-flow BR {flow}"));
    }
    let frames = [
        "I4/TCP(dport=80)",
        "I4/UDP(dport=53)",
        "E/ARP(pdst='10.0.0.9')",
        "I6/TCP(dport=80)",
    ];
    wires.flood(1, 200, 2.0, &frames);
    let rundir = peer.rundir();
    let asked = || {
        let text = rvs_tests::daemon::ctl(&rundir, "--json coverage").out;
        let all: serde_json::Value = serde_json::from_str(&text).unwrap();
        ["misses", "flow_del_suspect", "flow_del_changed"].map(|n| all[n].as_u64().unwrap())
    };
    let before = asked();
    let flood = wires.flood(1, 200, seconds, &frames);
    assert_eq!(asked(), before, "[misses, deleted, changed]");
    let (a, b) = (flood.frames(2), flood.frames(3));
    assert_eq!((a, b), (flood.sent() / 2, flood.sent() / 2), "{flood:?}");
}
