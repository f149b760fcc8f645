//! Mirrors: a watcher sees what it is to see, in the kernel and in user space, and what Open vSwitch would show it.

use std::path::PathBuf;
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
    switch.expects(&["it does nothing"]);
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

/// One of two switches under the same commands: ports p1 to p4 in memory, each with a record of what it sends.
struct Side<'a> {
    lab: &'a Lab,
    directory: PathBuf,
}

impl<'a> Side<'a> {
    fn start(lab: &'a Lab, name: &str, ours: bool) -> Self {
        let directory = lab.path(name);
        lab.sh(&format!("mkdir -p {name}/bin"));
        if ours {
            lab.sh(&format!(
                "ln -s {} {name}/bin/ovs-vswitchd",
                rvs_tests::daemon::binary("rvswitchd").display()
            ));
        }
        let side = Self { lab, directory };
        side.sh("ovsdb-tool create conf.db /usr/share/openvswitch/vswitch.ovsschema");
        side.sh("ovsdb-server --detach --no-chdir --pidfile --log-file --remote=punix:$OVS_RUNDIR/db.sock conf.db 2>/dev/null");
        side.sh("ovs-vsctl --no-wait init");
        side.sh("ovs-vswitchd --enable-dummy --disable-system --detach --no-chdir --pidfile --log-file 2>/dev/null");
        let ports: String = (1..=4)
            .map(|n| format!(" -- add-port br0 p{n} -- set interface p{n} type=dummy ofport_request={n} options:tx_pcap=p{n}.pcap"))
            .collect();
        side.sh(&format!(
            "ovs-vsctl add-br br0 -- set bridge br0 datapath_type=dummy fail_mode=secure{ports}"
        ));
        side
    }

    fn sh(&self, script: &str) -> String {
        let dir = self.directory.display();
        self.lab.sh(&format!(
            "cd {dir}; export OVS_RUNDIR={dir} OVS_LOGDIR={dir} OVS_DBDIR={dir} OVS_SYSCONFDIR={dir} PATH={dir}/bin:$PATH; {script}"
        ))
    }

    /// Every frame that has left since [`Self::forget`], port by port.
    fn sent(&self) -> String {
        self.sh("for n in 1 2 3 4; do echo p$n; (ovs-pcap p$n.pcap 2>/dev/null || :) | tail -n +$(($(cat p$n.seen) + 1)) | sort; done")
    }

    /// What has left until now is not to be shown.
    fn forget(&self) {
        self.sh(
            "for n in 1 2 3 4; do (ovs-pcap p$n.pcap 2>/dev/null || :) | wc -l > p$n.seen; done",
        );
    }

    fn apply(&self, case: &Case) {
        let (words, flows, frames) = (case.mirrors, case.flows, case.frames);
        self.sh("ovs-vsctl clear bridge br0 mirrors; for p in 1 2 3 4; do ovs-vsctl clear port p$p tag trunks vlan_mode; done");
        self.sh("ovs-ofctl -O OpenFlow13 del-groups br0; ovs-ofctl del-flows br0; ovs-appctl fdb/flush br0 >/dev/null");
        let ids: String = (1..=4)
            .map(|n| format!(" -- --id=@p{n} get port p{n}"))
            .collect();
        self.sh(&format!("ovs-vsctl {ids} -- {words} >/dev/null"));
        for flow in flows {
            let add = if flow.starts_with("group_id") {
                "add-group"
            } else {
                "add-flow"
            };
            self.sh(&format!("ovs-ofctl -O OpenFlow13 {add} br0 '{flow}'"));
        }
        // There flows of the cache outlive the rules that made them for a while.
        self.sh("ovs-appctl revalidator/purge");
        for (port, frame) in frames {
            self.sh(&format!(
                "ovs-appctl netdev-dummy/receive p{port} '{frame}'"
            ));
        }
    }
}

impl Drop for Side<'_> {
    fn drop(&mut self) {
        self.lab.try_sh(&format!(
            "cd {}; kill $(cat *.pid)",
            self.directory.display()
        ));
    }
}

struct Case {
    name: &'static str,
    mirrors: &'static str,
    flows: &'static [&'static str],
    frames: &'static [(u32, &'static str)],
}

const PLAIN: &str = "020202020202 020202020201 88b5 00112233445566778899aabbccddeeff0011";
const V5: &str = "020202020202 020202020201 8100 0005 88b5 00112233445566778899aabbccddeeff";
const V9: &str = "020202020202 020202020201 8100 0009 88b5 00112233445566778899aabbccddeeff";
const V12: &str = "020202020202 020202020201 8100 000c 88b5 00112233445566778899aabbccddeeff";
const QINQ: &str =
    "020202020202 020202020201 88a8 0005 8100 0009 88b5 00112233445566778899aabbccddeeff";
const BPDU: &str = "0180c2000001 020202020201 88b5 00112233445566778899aabbccddeeff0011";
const EVERY: &[(u32, &str)] = &[(1, PLAIN), (1, V5), (1, V9), (1, V12), (1, QINQ), (1, BPDU)];
/// Without the frame that ends at a bridge: there a flow of the cache that another frame has made floods it all the same.
const IN_VLANS: &[(u32, &str)] = &[(1, PLAIN), (1, V5), (1, V9), (1, V12), (1, QINQ)];
const ALL_TO_P3: &str =
    "--id=@m create mirror name=m select_all=true output_port=@p3 -- set bridge br0 mirrors=@m";

const fn case(
    name: &'static str,
    mirrors: &'static str,
    flows: &'static [&'static str],
    frames: &'static [(u32, &'static str)],
) -> Case {
    Case {
        name,
        mirrors,
        flows,
        frames,
    }
}

const CASES: &[Case] = &[
    case("everything", ALL_TO_P3, &["in_port=1,actions=2", "in_port=3,actions=2"], &[(1, PLAIN), (1, V5), (3, PLAIN), (2, PLAIN)]),
    case("source", "--id=@m create mirror name=m select_src_port=@p1 output_port=@p3 -- set bridge br0 mirrors=@m",
         &["in_port=1,actions=2", "in_port=2,actions=1"], &[(1, PLAIN), (2, V5)]),
    case("destination, as sent", "--id=@m create mirror name=m select_dst_port=@p2 output_port=@p3 -- set bridge br0 mirrors=@m",
         &["in_port=1,actions=mod_dl_src:aa:aa:aa:aa:aa:aa,mod_vlan_vid:17,2,4", "in_port=2,actions=1"], EVERY),
    case("as received, whatever is rewritten", ALL_TO_P3, &["actions=mod_dl_src:aa:aa:aa:aa:aa:aa,mod_vlan_vid:17,2,strip_vlan,4"], EVERY),
    case("pushed and popped", "--id=@m create mirror name=m select_dst_port=@p2,@p4 output_port=@p3 -- set bridge br0 mirrors=@m",
         &["in_port=1,actions=push_vlan:0x8100,set_field:4196->vlan_vid,output:2,pop_vlan,output:4"], EVERY),
    case("first departure only", "--id=@m create mirror name=m select_dst_port=@p2,@p4 output_port=@p3 -- set bridge br0 mirrors=@m",
         &["actions=mod_dl_src:aa:aa:aa:aa:aa:aa,2,mod_dl_src:aa:aa:aa:aa:aa:ab,4"], EVERY),
    case("VLAN 5", "--id=@m create mirror name=m select_all=true select_vlan=5 output_port=@p3 -- set bridge br0 mirrors=@m",
         &["actions=mod_vlan_vid:9,2"], EVERY),
    case("VLAN 9", "--id=@m create mirror name=m select_all=true select_vlan=9,17 output_port=@p3 -- set bridge br0 mirrors=@m",
         &["actions=mod_vlan_vid:9,2"], EVERY),
    case("a VLAN and no port", "--id=@m create mirror name=m select_vlan=9 output_port=@p3 -- set bridge br0 mirrors=@m",
         &["actions=2"], EVERY),
    case("into a VLAN", "--id=@m create mirror name=m select_all=true output_vlan=12 -- set bridge br0 mirrors=@m",
         &["actions=2"], IN_VLANS),
    case("into a VLAN, access and trunk ports", "set port p4 tag=12 -- set port p2 trunks=5 -- --id=@m create mirror name=m select_all=true output_vlan=12 -- set bridge br0 mirrors=@m",
         &["actions=2"], &[(1, PLAIN), (1, V5), (1, V9), (1, V12), (4, PLAIN)]),
    case("into a VLAN, of one port", "set port p1 tag=9 -- --id=@m create mirror name=m select_dst_port=@p1 output_vlan=12 -- set bridge br0 mirrors=@m",
         &["in_port=2,actions=normal"], &[(2, V9), (2, V5)]),
    case("NORMAL, access to trunk", "set port p1 tag=100 -- set port p2 tag=100 -- --id=@m create mirror name=m select_all=true output_port=@p3 -- set bridge br0 mirrors=@m",
         &["actions=normal"], &[(1, PLAIN), (2, PLAIN), (4, PLAIN), (1, V5), (4, V5)]),
    case("NORMAL, to an access port", "set port p1 tag=9 -- set port p3 tag=5 -- --id=@m create mirror name=m select_all=true output_port=@p3 -- set bridge br0 mirrors=@m",
         &["actions=normal"], &[(1, PLAIN), (4, V9), (4, V5), (4, PLAIN)]),
    case("NORMAL, leaving access ports", "set port p1 tag=9 -- set port p2 tag=9 -- --id=@m create mirror name=m select_dst_port=@p2 output_port=@p3 -- set bridge br0 mirrors=@m",
         &["actions=normal"], &[(1, PLAIN), (4, V5), (1, PLAIN)]),
    case("native VLANs", "set port p1 tag=9 vlan_mode=native-untagged -- set port p3 tag=5 vlan_mode=native-untagged trunks=7 -- --id=@m create mirror name=m select_all=true output_port=@p3 -- set bridge br0 mirrors=@m",
         &["actions=2"], &[(1, PLAIN), (1, V5), (1, V9), (1, V12)]),
    case("tunnel", "set port p1 tag=9 vlan_mode=dot1q-tunnel -- --id=@m create mirror name=m select_src_port=@p1 output_port=@p3 -- set bridge br0 mirrors=@m",
         &["actions=2"], &[(1, PLAIN), (1, V5)]),
    case("dropped", ALL_TO_P3, &["actions=drop"], EVERY),
    case("no rule", ALL_TO_P3, &[], EVERY),
    case("to nobody who listens", ALL_TO_P3, &["actions=controller"], EVERY),
    case("back", ALL_TO_P3, &["actions=in_port"], EVERY),
    case("clone", "--id=@m create mirror name=m select_dst_port=@p2 output_port=@p3 -- set bridge br0 mirrors=@m",
         &["actions=clone(set_field:aa:aa:aa:aa:aa:aa->eth_src,output:2),output:4"], EVERY),
    case("group", "--id=@m create mirror name=m select_dst_port=@p2,@p4 output_port=@p3 -- set bridge br0 mirrors=@m",
         &["group_id=1,type=all,bucket=set_field:aa:aa:aa:aa:aa:aa->eth_src,output:2,bucket=output:4", "actions=group:1"], EVERY),
    case("tables and the action set", "--id=@m create mirror name=m select_dst_port=@p2 output_port=@p3 -- set bridge br0 mirrors=@m",
         &["actions=write_actions(set_field:aa:aa:aa:aa:aa:aa->eth_src,output:2),goto_table:1", "table=1,actions=output:4"], EVERY),
    case("short", "--id=@m create mirror name=m select_all=true output_port=@p3 snaplen=20 -- set bridge br0 mirrors=@m",
         &["actions=2"], EVERY),
    case("two to one port", "--id=@m create mirror name=m select_src_port=@p1 output_port=@p3 -- --id=@n create mirror name=n select_dst_port=@p2 output_port=@p3 -- set bridge br0 mirrors=@m,@n",
         &["actions=mod_dl_src:aa:aa:aa:aa:aa:aa,2"], EVERY),
    case("two ports", "--id=@m create mirror name=m select_src_port=@p1 output_port=@p3 -- --id=@n create mirror name=n select_dst_port=@p2 output_port=@p4 -- set bridge br0 mirrors=@m,@n",
         &["actions=mod_dl_src:aa:aa:aa:aa:aa:aa,2"], EVERY),
    case("a mirror of a mirror", "--id=@m create mirror name=m select_src_port=@p1 output_port=@p3 -- --id=@n create mirror name=n select_dst_port=@p3 output_port=@p4 -- set bridge br0 mirrors=@m,@n",
         &["actions=2"], EVERY),
    case("no output", "--id=@m create mirror name=m select_all=true -- set bridge br0 mirrors=@m", &["actions=2"], &[(1, PLAIN)]),
    case("two outputs", "--id=@m create mirror name=m select_all=true output_port=@p3 output_vlan=5 -- set bridge br0 mirrors=@m", &["actions=2"], &[(1, PLAIN)]),
];

/// The same configurations, flows and frames: the same frames leave by the same ports as from Open vSwitch.
pub fn same_copies_as_open_vswitch(lab: &Lab) {
    let (ours, theirs) = (
        Side::start(lab, "ours", true),
        Side::start(lab, "theirs", false),
    );
    let mut different = Vec::new();
    for case in CASES {
        ours.forget();
        theirs.forget();
        ours.apply(case);
        theirs.apply(case);
        let mut last = (String::new(), String::new());
        let agree = std::iter::repeat_with(|| {
            std::thread::sleep(Duration::from_millis(30));
            last = (ours.sent(), theirs.sent());
            last.0 == last.1
        });
        let agree = agree.take(60).any(|same| same);
        if !agree {
            different.push(format!(
                "{}\nours\n{}\ntheirs\n{}",
                case.name, last.0, last.1
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    // A packet of a controller's arrives like any other.
    for side in [&ours, &theirs] {
        side.apply(&case("packet-out", ALL_TO_P3, &[], &[]));
        let frame = PLAIN.replace(' ', "");
        for port in ["1", "none", "3"] {
            side.sh(&format!(
                "ovs-ofctl packet-out br0 'in_port={port} packet={frame} actions=output:2'"
            ));
        }
    }
    eventually("the same", || ours.sent() == theirs.sent());
}
