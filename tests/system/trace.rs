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
    let stock = lab.sh(&format!(
        "OVS_RUNDIR={} ovs-appctl ofproto/trace br1 in_port=1,arp",
        switch.rundir().display()
    ));
    assert!(stock.contains("Datapath actions: "), "{stock}");
    switch.refuses("trace br9 arp", 1, &["br9"]);
    switch.refuses("trace br1 frob=1", 1, &["frob"]);
}
