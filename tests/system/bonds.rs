//! Bonds as the stock tools make them.

use std::time::Duration;

use rvs_tests::lab::within;
use rvs_tests::Lab;

use crate::spanning::{no_storm, two_links};

/// Two links to a bridge that knows nothing of a bond: no loop, no frame twice, and the other link when one fails.
pub fn one_member_at_a_time(lab: &Lab) {
    let switch = two_links(lab);
    if lab
        .try_sh("ip -n far link add name k0 type bridge mcast_snooping 0")
        .code
        != 0
    {
        println!("SKIPPED bonds::one_member_at_a_time: this kernel has no bridge");
        return;
    }
    let tool = |tool: &str, words: &str| {
        let dir = switch.rundir();
        lab.sh(&format!(
            "OVS_RUNDIR={} {tool} --timeout=10 {words}",
            dir.display()
        ))
    };
    tool("ovs-vsctl", "add-port br1 p1 -- add-bond br1 bond0 l1 l2");
    lab.sh(
        "for d in k1 k2 f2; do ip -n far link set $d master k0; done; ip -n far link set dev k0 up",
    );
    lab.ping("h1", "10.9.0.2");
    no_storm(lab);
    // Neither more nor fewer answers than questions.
    let counted = lab.sh_in("h1", "ping -n -c 10 -i 0.05 -W 1 10.9.0.2");
    assert!(
        counted.contains(" 10 received") && !counted.contains("DUP"),
        "{counted}"
    );
    let list = tool("ovs-appctl", "bond/list");
    assert_eq!(
        list,
        "bond\ttype\trecircID\tmembers\nbond0\tactive-backup\t0\tl1, l2\n"
    );
    let active = |is: &str| {
        let shown = tool("ovs-appctl", "bond/show bond0");
        let mac = tool("ovs-vsctl", &format!("get interface {is} mac_in_use"));
        let line = format!(
            "active member mac: {}({is})\n",
            mac.trim().trim_matches('"')
        );
        shown.contains(&line)
            && shown.contains(&format!(
                "\nmember {is}: enabled\n  active member\n  may_enable: true\n"
            ))
            && tool("ovs-vsctl", "get port bond0 bond_active_slave") == mac
    };
    assert!(active("l1"), "{}", tool("ovs-appctl", "bond/show"));
    for (down, up, is) in [
        ("k1", "", "l2"),
        ("k2", "k1", "l1"),
        ("k1", "k2", "l2"),
        ("", "k1", "l2"),
    ] {
        for (device, state) in [(up, "up"), (down, "down")] {
            if !device.is_empty() {
                lab.sh(&format!("ip -n far link set {device} {state}"));
            }
        }
        within(Duration::from_secs(5), &format!("{is} is in use"), || {
            active(is)
        });
        // (The neighbour finds out by the next frame.)
        lab.ping("h1", "10.9.0.2");
        no_storm(lab);
    }
    // It stays with the one that it has, but for the primary.
    assert!(active("l2"), "{}", tool("ovs-appctl", "bond/show"));
    tool("ovs-vsctl", "set port bond0 other_config:bond-primary=l1");
    within(Duration::from_secs(5), "the primary is in use", || {
        active("l1")
    });
    let log = switch.log();
    assert!(!log.contains("|WARN|") && !log.contains("|ERR|"), "{log}");
}
