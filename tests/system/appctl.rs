//! What stock tools ask of, and tell, a running switch beyond the commands that most scripts use.

use std::time::Duration;

use rvs_tests::lab::{within, Ran};
use rvs_tests::{eventually, Daemon, Lab};

use crate::hosts::red_and_green;

/// `ovs-appctl` and `ovs-vsctl` for a daemon.
struct Tools<'a> {
    lab: &'a Lab,
    rundir: String,
}

impl<'a> Tools<'a> {
    fn new(lab: &'a Lab, switch: &Daemon<'_>) -> Self {
        Self {
            lab,
            rundir: switch.rundir().display().to_string(),
        }
    }

    fn run(&self, tool: &str, words: &str) -> Ran {
        let line = format!("OVS_RUNDIR={} {tool} --timeout=10 {words}", self.rundir);
        self.lab.try_sh(&line)
    }

    fn ask(&self, words: &str) -> String {
        let ran = self.run("ovs-appctl", words);
        assert_eq!(ran.code, 0, "{words}: {}", ran.err);
        ran.out
    }

    fn refuses(&self, words: &str, says: &str) {
        let ran = self.run("ovs-appctl", words);
        assert_eq!(ran.code, 2, "{words}: {}", ran.out);
        assert!(ran.err.contains(says), "{words}: {}", ran.err);
    }

    fn vsctl(&self, words: &str) -> String {
        let ran = self.run("ovs-vsctl", words);
        assert_eq!(ran.code, 0, "{words}: {}", ran.err);
        ran.out.trim().to_owned()
    }
}

/// Idle flows stay while the revalidator is paused; without megaflows each frame's flow is its own; the limit is moved.
pub fn caches_are_kept_as_told(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    let tools = Tools::new(lab, &switch);
    tools.vsctl("set open . other_config:max-idle=500 other_config:kernel-cache=off");
    let echoes = || {
        let flows = tools.ask("dpctl/dump-flows");
        flows.matches("eth_type(0x0800)").count()
    };
    assert_eq!(tools.ask("revalidator/pause"), "");
    tools.ask("revalidator/pause");
    lab.ping("red", "10.0.0.2");
    assert!(echoes() > 0);
    std::thread::sleep(Duration::from_secs(3));
    assert!(echoes() > 0, "idle flows went");
    tools.ask("revalidator/resume");
    within(Duration::from_secs(5), "idle flows go", || echoes() == 0);
    let show = tools.ask("upcall/show");
    for line in [
        "system@ovs-system:\n  flows         : (current ",
        ") (avg ",
        ") (max ",
        ") (limit 200000)\n  dump duration : ",
        "ms\n  ufid enabled : true\n\n  0: (keys ",
    ] {
        assert!(show.contains(line), "{line} in {show}");
    }
    assert_eq!(
        tools.ask("upcall/disable-megaflows"),
        "megaflows disabled\n"
    );
    let ports = "for n in 1 2 3; do echo x > /dev/udp/10.0.0.2/$((7000 + n)); done";
    // (Idle ones go after half a second.)
    eventually("each has a flow of its own", || {
        lab.sh_in("red", &format!("bash -c '{ports}'"));
        echoes() >= 3
    });
    assert_eq!(tools.ask("upcall/enable-megaflows"), "megaflows enabled\n");
    assert_eq!(echoes(), 0, "the exact ones are gone");
    assert_eq!(
        tools.ask("upcall/set-flow-limit 1000"),
        "set flow_limit to 1000\n"
    );
    assert!(tools.ask("upcall/show").contains("(limit 1000)"));
    tools.vsctl("set open . external_ids:a=b");
    assert!(
        tools.ask("upcall/show").contains("(limit 1000)"),
        "it stays"
    );
    tools.refuses("upcall/set-flow-limit", "requires at least 1 arguments");
    tools.refuses("upcall/set-flow-limit many", "number");
    assert!(tools.ask("upcall/disable-ufid").contains("UFID disabled"));
    assert!(tools.ask("upcall/show").contains("ufid enabled : false"));
    assert!(tools
        .ask("upcall/enable-ufid")
        .contains("enabled for supported datapaths"));
    // A megaflow again, and all is as it was.
    lab.ping("red", "10.0.0.2");
}

/// A controller's frame, as Open vSwitch's daemon tells it.
pub fn trace_packet_out(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    let tools = Tools::new(lab, &switch);
    let trace = |words: &str| tools.ask(&format!("ofproto/trace-packet-out {words}"));
    let told = trace("br1 in_port=1,dl_type=0x800 2");
    let steps = "\nbridge(\"br1\")\n-------------\n    output:2\n\nFinal flow: unchanged\n";
    assert!(
        told.starts_with("Flow: ip,in_port=1,vlan_tci=0x0000,"),
        "{told}"
    );
    assert!(told.contains(steps), "{told}");
    assert!(told.contains("\nDatapath actions: 3\n"), "{told}");
    let told = trace("-consistent br1 in_port=1,dl_type=0x800 resubmit:1");
    let steps = "    resubmit:1\n 0. priority 0\n    NORMAL\n";
    assert!(told.contains(steps), "{told}");
    let told = trace("br1 in_port=1,dl_type=0x800 drop");
    assert!(told.contains("\nDatapath actions: drop\n"), "{told}");
    tools.refuses(
        "ofproto/trace-packet-out br1 in_port=1 frobnicate",
        "frobnicate",
    );
    tools.refuses("ofproto/trace-packet-out br9 in_port=1 normal", "br9");
    tools.refuses(
        "ofproto/trace-packet-out br1",
        "requires at least 2 arguments",
    );
}

/// OpenFlow connections end when they are asked to; those of other bridges stay.
pub fn bridge_reconnect(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1 --bridge br2");
    let tools = Tools::new(lab, &switch);
    let monitor = |bridge: &str| {
        let line = format!(
            "env OVS_RUNDIR={0} ovs-ofctl monitor unix:{0}/{bridge}.mgmt 65534 watch:",
            tools.rundir
        );
        lab.spawn(bridge, &line)
    };
    let (mut one, mut two) = (monitor("br1"), monitor("br2"));
    eventually("both are connected", || {
        one.err().len() + one.out().len() > 0 && two.err().len() + two.out().len() > 0
    });
    assert_eq!(tools.ask("bridge/reconnect br1"), "");
    eventually("the one ends", || one.ended().is_some());
    assert_eq!(two.ended(), None);
    tools.ask("bridge/reconnect");
    eventually("so does the other", || two.ended().is_some());
    tools.refuses("bridge/reconnect nope", "Unknown bridge");
}

pub fn coverage_has_rates(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    let tools = Tools::new(lab, &switch);
    lab.ping("red", "10.0.0.2");
    let rate = || -> f64 {
        let show = tools.ask("coverage/show");
        assert!(
            show.starts_with(
                "Event coverage, avg rate over last: 5 seconds, last minute, last hour,  hash="
            ),
            "{show}"
        );
        assert!(show.ends_with(" events never hit\n"), "{show}");
        let line = show.lines().find(|l| l.starts_with("translations "));
        let words: Vec<&str> = line.unwrap().split_whitespace().collect();
        assert!(words.len() == 6 && words[4] == "total:", "{words:?}");
        words[2].strip_suffix("/sec").unwrap().parse().unwrap()
    };
    within(Duration::from_secs(12), "the last minute had some", || {
        rate() > 0.0
    });
    assert!(
        tools
            .ask("coverage/read-counter translations")
            .trim()
            .parse::<u64>()
            .unwrap()
            > 0
    );
    tools.refuses("coverage/read-counter nope", "No such counter");
}

/// Speed and duplex as drivers tell them, and what a spanning tree makes of them.
pub fn link_speed_and_path_cost(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    let tools = Tools::new(lab, &switch);
    lab.sh(
        "ip tuntap add slow mode tap; ip link set slow up; ethtool -s slow speed 1000 duplex half",
    );
    tools.vsctl("add-port br1 slow");
    let columns = |name: &str| tools.vsctl(&format!("get interface {name} link_speed duplex"));
    for name in ["veth-r", "br1"] {
        assert_eq!(columns(name), "10000000000\nfull", "{name}");
    }
    assert_eq!(columns("slow"), "1000000000\nhalf");
    let cost = |show: &str, name: &str| {
        let show = tools.ask(show);
        let line = show.lines().find(|l| l.trim_start().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {show}"));
        line.split_whitespace().nth(3).unwrap().to_owned()
    };
    tools.vsctl("set bridge br1 rstp_enable=true");
    eventually("there is a tree", || {
        tools.ask("rstp/show br1").contains("veth-r")
    });
    assert_eq!(cost("rstp/show br1", "veth-r"), "2000");
    assert_eq!(cost("rstp/show br1", "slow"), "20000");
    tools.vsctl("set port slow other_config:rstp-path-cost=77");
    eventually("the user's wish counts", || {
        cost("rstp/show br1", "slow") == "77"
    });
    tools.vsctl("set bridge br1 rstp_enable=false stp_enable=true");
    eventually("there is a tree", || {
        tools.ask("stp/show br1").contains("veth-r")
    });
    assert_eq!(cost("stp/show br1", "veth-r"), "2");
}

/// Counters come into the database as often as is asked, and not more often than every five seconds.
pub fn statistics_interval(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    let tools = Tools::new(lab, &switch);
    tools.vsctl("set open . other_config:stats-update-interval=3600000");
    // A client that comes finds them fresh; from then on the interval holds.
    std::thread::sleep(Duration::from_secs(2));
    let monitor = lab.spawn(
        "monitor",
        &format!(
            "ovsdb-client monitor unix:{}/db.sock Open_vSwitch Interface statistics",
            tools.rundir
        ),
    );
    eventually("it has the rows", || monitor.out().contains("rx_packets"));
    let said = monitor.out().len();
    lab.ping("red", "10.0.0.2");
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(monitor.out().len(), said, "{}", monitor.out());
    tools.vsctl("set open . other_config:stats-update-interval=1000");
    std::thread::sleep(Duration::from_secs(1));
    for _ in 0..2 {
        let said = monitor.out().len();
        lab.ping("red", "10.0.0.2");
        within(Duration::from_secs(6), "they are written again", || {
            monitor.out().len() > said
        });
    }
}

/// Whoever asks for the lock of the daemon that acts on the configuration waits.
pub fn the_daemon_holds_its_lock(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    let line = format!(
        "ovsdb-client lock unix:{}/db.sock ovs_vswitchd",
        switch.rundir().display()
    );
    let waiting = lab.spawn("waiting", &line);
    eventually("it is told to wait", || {
        waiting.out().contains("\"locked\":false")
    });
    let other = lab.spawn("other", &line.replace("ovs_vswitchd", "another"));
    eventually("another lock is free", || {
        other.out().contains("\"locked\":true")
    });
}

/// Who asks for what there is none of, or what this switch does not have, is told in the words that scripts know.
pub fn what_there_is_none_of(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    let tools = Tools::new(lab, &switch);
    for (words, says) in [
        ("autoattach/status", ""),
        ("bfd/show", ""),
        ("bond/list", "bond\ttype\trecircID\tmembers\n"),
        ("bond/show", ""),
        ("cfm/show", ""),
        ("dpctl/ct-get-nconns", "0\n"),
        ("dpctl/ct-stats-show", "Connections Stats:\n    Total: 0\n"),
        ("dpctl/dump-conntrack -m zone=5", ""),
        ("dpctl/flush-conntrack", ""),
        ("lacp/show", ""),
        ("ofproto/list-tunnels", ""),
        ("ovs/route/show", "Route Table:\n"),
        ("tnl/ports/show -v", "Listening ports:\n"),
    ] {
        assert_eq!(tools.ask(words), says, "{words}");
    }
    let neighbours = tools.ask("tnl/neigh/show");
    let heading = "IP                                            MAC                 Bridge\n=====";
    assert!(neighbours.starts_with(heading), "{neighbours}");
    for (words, says) in [
        ("bfd/show veth-r", "no such bfd object"),
        ("bond/show veth-r", "no such bond"),
        ("cfm/show veth-r", "no such CFM object"),
        ("lacp/show veth-r", "no such lacp object"),
        ("lacp/show-stats veth-r", "no such lacp object"),
        ("ovs/route/lookup 1.2.3.4", "Not found"),
        (
            "bond/show a b",
            "\"bond/show\" command takes at most 1 arguments",
        ),
        ("bond/migrate a 1 b", "is not a valid command"),
    ] {
        tools.refuses(words, says);
    }
    assert_eq!(
        tools.vsctl("get bridge br1 datapath_version"),
        "\"<built-in>\""
    );
}
