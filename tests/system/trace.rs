//! `ofproto/trace` says what frames then do.

use rvs_tests::{eventually, Lab};

use crate::hosts::red_and_green;

/// Every flow that real frames put into the cache: traced with the same headers, the answer is the same.
pub fn tells_what_frames_do(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    let (red, green) = (lab.mac("red", "eth0-r"), lab.mac("green", "eth0-g"));
    let echo = format!(
        "in_port=veth-r,icmp,dl_src={red},dl_dst={green},nw_src=10.0.0.1,nw_dst=10.0.0.2,icmp_type=8"
    );
    eventually("the echo requests are cached", || {
        lab.ping("red", "10.0.0.2");
        let cache = switch.json("dump-cache br1");
        let flows = cache["flows"].as_array().unwrap();
        let cached = flows.iter().find(|f| {
            let said = f["match"].as_str().unwrap();
            said.contains(&format!("dst={green}")) && said.contains("veth-r")
        });
        let trace = switch.json(&format!("trace br1 {echo}"));
        cached.is_some_and(|f| f["actions"] == trace["rounds"][0]["actions"])
    });
    let text = switch.ctl(&format!("trace br1 {echo}"));
    for line in [
        "Flow: icmp,in_port=\"veth-r\",",
        "bridge(\"br1\")\n-------------\n 0. priority 0",
        "    NORMAL",
        "Final flow: unchanged",
        "Megaflow: recirc_id=0,eth,",
        "Datapath actions: veth-g",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    // Nothing was learned or counted by asking.
    let before = switch.ctl("fdb-show br1");
    switch.ctl("trace br1 in_port=veth-r,dl_src=02:00:00:00:00:77,arp");
    assert_eq!(
        switch.ctl("fdb-show br1").contains("02:00:00:00:00:77"),
        before.contains("02:00:00:00:00:77")
    );
    // A frame that goes nowhere, and why.
    let text = switch.ctl(&format!(
        "trace br1 in_port=veth-r,dl_src={red},dl_dst=01:80:c2:00:00:0e"
    ));
    assert!(
        text.contains("Drop reason: drop_reserved_multicast"),
        "{text}"
    );
    assert!(text.ends_with("Datapath actions: drop\n"), "{text}");
    // Instructions, the meter and the action set have lines, and the reason for a drop.
    for flow in [
        "priority=9,in_port=veth-r,udp,actions=meter:4,write_actions(output:veth-g),write_metadata:0x5,goto_table:3",
        "table=3,priority=9,udp,tp_dst=9,actions=drop",
    ] {
        if flow.contains("meter") {
            switch.ctl("add-meter br1 meter=4,kbps,bands=type=drop,rate=1000");
        }
        switch.ctl(&format!("add-flow br1 {flow}"));
    }
    let text = switch.ctl("trace br1 in_port=veth-r,udp,tp_dst=9");
    for line in [
        "    meter:4\n",
        " -> if meter 4 has tokens\n",
        "    write_actions(output:\"veth-g\")\n",
        "    write_metadata:0x5\n",
        "    goto_table:3\n",
        "--. Executing action set:\n",
        "Datapath actions: meter(0),veth-g\n",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    let text = switch.ctl("trace br1 in_port=veth-r,udp,tp_dst=10");
    assert!(text.contains("No match."), "{text}");
    switch.ctl("del-flows br1 udp");
    switch.ctl("add-flow br1 priority=9,in_port=veth-r,udp,actions=drop");
    let text = switch.ctl("trace br1 in_port=veth-r,udp,tp_dst=9");
    assert!(text.contains("Drop reason: drop_action"), "{text}");
    let stock = lab.sh(&format!(
        "OVS_RUNDIR={} ovs-appctl ofproto/trace br1 in_port=1,arp",
        switch.rundir().display()
    ));
    assert!(stock.contains("Datapath actions: "), "{stock}");
    switch.refuses("trace br9 arp", 1, &["br9"]);
    switch.refuses("trace br1 frob=1", 1, &["frob"]);
}
