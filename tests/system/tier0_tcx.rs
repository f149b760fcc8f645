//! The kernel's cache where the kernel has no clsact: its programs are tcx links then, which go with the daemon or, with a
//! bpf file system, stay by their names.

use rvs_tests::wire::client;
use rvs_tests::Lab;

use crate::{survive, tier0};

/// What a test does to switches whose kernel refuses clsact to them.
fn alone(lab: &Lab, test: fn(&Lab)) {
    let program = client("refuse_bpf.py");
    lab.daemons_within(&format!(
        "/usr/bin/python3 {} EOPNOTSUPP clsact",
        program.display()
    ));
    test(lab);
}

pub fn vlans(lab: &Lab) {
    alone(lab, tier0::vlans_in_the_kernel);
    // A filter of the daemon, which was killed, would still be there.
    let left = lab.sh("tc qdisc show");
    assert!(
        left.contains("veth-red") && !left.contains("clsact"),
        "{left}"
    );
}

pub fn every_action(lab: &Lab) {
    alone(lab, tier0::every_tier_does_the_same);
}

pub fn nothing_stale(lab: &Lab) {
    alone(lab, tier0::no_stale_packet_with_flows_in_the_kernel);
}

pub fn ports_move_between_tiers(lab: &Lab) {
    alone(lab, tier0::ports_move_between_tiers);
}

pub fn foreign_programs(lab: &Lab) {
    alone(lab, tier0::foreign_programs_keep_a_port_out);
}

pub fn devices_come_and_go(lab: &Lab) {
    alone(lab, tier0::devices_come_and_go);
}

pub fn flows_go_on_through_kill_and_restart(lab: &Lab) {
    alone(lab, survive::normal_flows_go_on_through_kill_and_restart);
}
