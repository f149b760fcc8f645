//! A bridge and its controllers, seen from outside: who listens in, what happens when nobody answers, and `rvs-ctl` as the one who
//! says what is to be done.

use rvs_tests::{eventually, Lab, Peer};

use crate::hosts::red_and_green;

/// Whoever listens at the snoop socket reads what a controller and the switch say to each other.
pub fn snoop_shows_what_is_said(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    let dir = lab.path("").display().to_string();
    let _controller = lab.spawn(
        "controller",
        &format!("env OVS_RUNDIR={dir} ovs-testcontroller ptcp:6653"),
    );
    // A connection by another version ends when the versions change, the listener's too.
    switch.ctl("set bridge br1 protocols=OpenFlow10");
    let snoop = switch.rundir().join("br1.snoop").display().to_string();
    let listener = lab.spawn(
        "snoop",
        &format!("env OVS_RUNDIR={dir} ovs-ofctl snoop unix:{snoop}"),
    );
    switch.ctl("set-controller br1 tcp:127.0.0.1:6653");
    eventually("the controller forwards", || {
        lab.try_sh_in("red", "ping -q -n -c 1 -W 1 10.0.0.2").code == 0
    });
    let mgmt = switch.rundir().join("br1.mgmt").display().to_string();
    for said in ["OFPT_PACKET_IN", "OFPT_PACKET_OUT", "OFPT_FLOW_MOD"] {
        eventually(said, || {
            // Its flows forgotten, the controller is asked again.
            lab.sh(&format!("ovs-ofctl del-flows unix:{mgmt}"));
            lab.try_sh_in("red", "ping -q -n -c 1 -W 1 10.0.0.2");
            format!("{}{}", listener.out(), listener.err()).contains(said)
        });
    }
}

/// `fail_mode` decides what a bridge does whose controller does not answer: forward by itself after three probes, or not.
pub fn forwards_alone_when_no_controller_answers(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    switch.expects(&["no controller can be reached"]);
    let reaches = || lab.try_sh_in("red", "ping -q -n -c 1 -W 1 10.0.0.2").code == 0;
    lab.ping("red", "10.0.0.2");
    switch.ctl("set-fail-mode br1 standalone");
    switch.ctl("set-controller br1 tcp:127.0.0.1:1");
    switch.ctl("set controller br1 inactivity_probe=1000");
    switch.ctl("fdb-flush br1");
    eventually("the bridge forwards by itself", reaches);
    switch.ctl("set-fail-mode br1 secure");
    eventually("nothing passes without a controller", || !reaches());
    switch.ctl("set-fail-mode br1 standalone");
    eventually("the bridge forwards by itself again", reaches);
    switch.ctl("del-controller br1");
    eventually("as a learning switch", reaches);
}

/// `rvs-ctl`'s flow commands drive our own daemon as they drive Open vSwitch (`ofctl_peer.rs`); `ovs-ofctl` sees the same.
pub fn flow_commands_on_our_own_switch(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    switch.ctl("set-fail-mode br1 secure");
    let stock = |words: &str| {
        let mgmt = switch.rundir().join("br1.mgmt").display().to_string();
        lab.sh(&format!("ovs-ofctl -O OpenFlow13 {words} unix:{mgmt}"))
    };
    let of = "-O OpenFlow13";
    switch.ctl(&format!(
        "{of} add-flow br1 priority=5,arp,actions=veth-r,veth-g"
    ));
    let file = lab.path("flows").display().to_string();
    std::fs::write(
        &file,
        "table=0,priority=7,ip,in_port=veth-r,actions=goto_table:1\n\
         table=1,ip,nw_dst=10.0.0.2,actions=group:1\n\
         priority=7,icmp,in_port=veth-g,actions=output:veth-r\n",
    )
    .unwrap();
    // The group first: a flow names it.
    switch.refuses(
        &format!("{of} --bundle add-flows br1 {file}"),
        1,
        &["group"],
    );
    assert_eq!(
        stock("--no-stats dump-flows").lines().count(),
        1,
        "all or nothing"
    );
    switch.ctl(&format!(
        "{of} add-group br1 group_id=1,type=all,bucket=output:veth-g"
    ));
    switch.ctl(&format!("{of} --bundle add-flows br1 {file}"));
    assert!(switch
        .ctl(&format!("{of} dump-groups br1"))
        .contains("group_id=1,type=all"));
    lab.ping("red", "10.0.0.2");
    let flows = switch.ctl(&format!("{of} dump-flows br1 table=1"));
    assert!(
        flows.contains("actions=group:1") && !flows.contains("n_packets=0,"),
        "{flows}"
    );
    switch.ctl(&format!("{of} mod-flows br1 table=1,ip,actions=drop"));
    let ran = lab.try_sh_in("red", "ping -q -n -c 2 -i 0.2 -W 1 10.0.0.2");
    assert!(ran.out.contains(" 0 received"), "{}", ran.out);
    switch.ctl(&format!(
        "{of} add-meter br1 meter=1,pktps,burst,band=type=drop,rate=1000,burst_size=1000"
    ));
    switch.ctl(&format!(
        "{of} mod-flows br1 table=1,ip,actions=meter:1,output:veth-g"
    ));
    lab.ping("red", "10.0.0.2");
    let meters = switch.ctl(&format!("{of} dump-meters br1"));
    assert!(
        meters.contains("meter=1") && meters.contains("rate=1000"),
        "{meters}"
    );
    switch.ctl(&format!("{of} del-groups br1"));
    switch.ctl(&format!(
        "{of} --strict del-flows br1 table=1,ip,nw_dst=10.0.0.2"
    ));
    std::fs::write(&file, "priority=1,actions=NORMAL\n").unwrap();
    let diff = switch.try_ctl(&format!("{of} diff-flows br1 {file}"));
    assert!(
        diff.out.contains("+priority=1 actions=NORMAL"),
        "{}{}",
        diff.out,
        diff.err
    );
    switch.ctl(&format!("{of} replace-flows br1 {file}"));
    let left = stock("--no-stats dump-flows");
    assert_eq!(left.trim(), "priority=1 actions=NORMAL");
    lab.ping("green", "10.0.0.1");
}

/// A controller that dies takes nothing with it when the bridge is secure: its flows stay.
pub fn flows_outlive_their_controller(lab: &Lab) {
    let peer = Peer::start(lab);
    lab.namespaces(&["n1", "n2"]);
    for (n, address) in [(1, "10.0.0.1/24"), (2, "10.0.0.2/24")] {
        lab.host(&format!("n{n}"), &format!("p{n}"), "eth0", address);
        peer.vsctl(&format!(
            "add-port br1 p{n} -- set interface p{n} ofport_request={n}"
        ));
    }
    let dir = lab.path("").display().to_string();
    let controller = lab.spawn(
        "controller",
        &format!("env OVS_RUNDIR={dir} ovs-testcontroller --max-idle=permanent ptcp:6653"),
    );
    peer.vsctl("set bridge br1 protocols=OpenFlow10 -- set-controller br1 tcp:127.0.0.1:6653");
    lab.ping("n1", "10.0.0.2");
    drop(controller);
    eventually("the connection is gone", || {
        peer.vsctl("get controller br1 is_connected").trim() == "false"
    });
    let out = lab.sh_in("n1", "ping -q -n -c 5 -i 0.05 -W 1 10.0.0.2");
    assert!(out.contains(" 5 received"), "{out}");
}
