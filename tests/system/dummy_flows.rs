//! Flows of the daemon driven as in [`crate::dummy`]: monitors of them, and actions for tests.

use rvs_tests::{eventually, Lab};

use crate::dummy::{Suite, TCP};

/// A client that monitors flows and does not read is told, when it reads again, what has become of the flows that it knew and
/// of those that are new: nothing of what came and went meanwhile.
pub fn flow_monitors_pause_and_resume(lab: &Lab) {
    let suite = Suite::start(lab);
    for version in ["OpenFlow10", "OpenFlow14"] {
        suite.sh(&format!(
            "ovs-ofctl del-flows br0; ovs-ofctl add-flow br0 in_port=2,actions=1; \
             ovs-ofctl -O {version} monitor br0 watch: --detach --no-chdir --pidfile > told 2>&1"
        ));
        let ask = |what: &str| suite.sh(&format!("ovs-appctl -t ovs-ofctl ofctl/{what}"));
        ask("barrier");
        ask("block");
        suite.sh(
            "seq 1 8000 | sed 's/.*/cookie=1,reg1=&,actions=drop/' > many; ovs-ofctl add-flows br0 many; \
             ovs-ofctl add-flow br0 in_port=1,cookie=3,actions=drop; ovs-ofctl mod-flows br0 in_port=2,cookie=2,actions=2; \
             ovs-ofctl del-flows br0 cookie=1/-1",
        );
        ask("unblock");
        eventually("the monitor resumes", || {
            suite.sh("grep -c RESUMED told || true") == "1\n"
        });
        suite.sh("pid=$(cat ovs-ofctl.pid); ovs-appctl -t ovs-ofctl exit; while kill -0 $pid 2>/dev/null; do sleep 0.05; done");
        let count = |of: &str| {
            let n = suite.sh(&format!("grep -c '{of}.*reg1=' told || true"));
            n.trim().parse::<u32>().unwrap()
        };
        let (added, gone) = (count("ADDED"), count("DELETED"));
        assert!(added > 100 && added < 8_000, "{added}");
        assert_eq!(added, gone, "{version}");
        let rest = suite.sh("sed -n -e 's/ table=0//; /cookie=0x[23]/p' told | sort");
        let want = " event=ADDED cookie=0x3 in_port=1\n event=MODIFIED cookie=0x2 in_port=2 actions=output:2\n";
        assert!(rest.starts_with(want), "{rest}");
    }
    suite.stop();
}

/// The actions that only tests have a use for: one recirculates and loses nothing, one is seen in traces.
pub fn debug_actions(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh(
        "ovs-ofctl add-flow br0 'in_port=1,actions=load:7->NXM_NX_REG0[],resubmit(,1),output:2'; \
         ovs-ofctl add-flow br0 table=1,reg0=7,actions=debug_recirc,mod_dl_src:02:00:00:00:00:77; \
         ovs-ofctl add-flow br0 in_port=2,actions=debug_slow,output:1",
    );
    let trace = |words: &str| suite.sh(&format!("ovs-appctl ofproto/trace br0 {words}"));
    let text = trace("in_port=1,dl_type=0x2000 -generate");
    assert!(
        text.ends_with("\nDatapath actions: recirc(0x1)\n"),
        "{text}"
    );
    // A trace that says what brought the frame back goes on there.
    let flow = |id: &str| format!("'in_port(1),eth_type(0x2000),recirc_id({id})'");
    let text = suite.sh(&format!("ovs-appctl ofproto/trace {}", flow("1")));
    assert!(text.contains("\nFinal flow: recirc_id=0x1,eth,"), "{text}");
    assert!(
        text.ends_with("Datapath actions: set(eth(src=02:00:00:00:00:77)),2\n"),
        "{text}"
    );
    suite.refuses(
        &format!("ovs-appctl ofproto/trace {}", flow("0x42")),
        "no recirculation data for recirc_id 0x42",
    );
    assert!(
        trace("in_port=2,dl_type=0x2000").ends_with(
            "\nDatapath actions: 1\nThis flow is handled by the userspace slow path because it:\n  \
             - Uses action(s) not supported by datapath.\n"
        ),
        "{}",
        trace("in_port=2,dl_type=0x2000")
    );
    suite.receive("p1", TCP);
    let sent = suite.sh("ovs-ofctl parse-pcap p2-tx.pcap");
    assert!(sent.contains("dl_src=02:00:00:00:00:77"), "{sent}");
    suite.stop();
}

/// Traces of flows in the datapath's words, to the letter: two tags, queues, copies of frames whose time is over.
pub fn traces_of_datapath_flows(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh(
        "ovs-ofctl add-flow br0 'in_port=1,dl_vlan=16,dl_type=0x8100,actions=2'; \
         ovs-ofctl add-flow br0 'in_port=1,ip,actions=dec_ttl,2'; \
         ovs-ofctl add-flow br0 'in_port=1,dl_type=0x2000,actions=set_queue:7,2'; \
         ovs-ofctl add-flow br0 'in_port=2,ip,actions=move:NXM_NX_REG1[]->NXM_OF_IP_SRC[],1'; \
         ovs-ofctl -O OpenFlow15 add-group br0 group_id=5,type=select,selection_method=hash,bucket=output:1,bucket=output:2",
    );
    let trace = |flow: &str| suite.sh(&format!("ovs-appctl ofproto/trace ovs-dummy '{flow}'"));
    let text = trace(
        "in_port(1),eth_type(0x8100),vlan(vid=16,pcp=0),encap(eth_type(0x8100),vlan(vid=17,pcp=0),encap(eth_type(0xabcd)))",
    );
    assert!(text.ends_with("Datapath actions: 2\n"), "{text}");
    let text = trace("in_port(1),eth_type(0x0800),ipv4(proto=17,ttl=1)");
    assert!(
        text.contains("Datapath actions: userspace(pid=0,controller(reason=2,dont_send=1,"),
        "{text}"
    );
    let text = trace("in_port(1),eth_type(0x2000)");
    assert!(
        text.contains("Megaflow: recirc_id=0,skb_priority=0,eth,in_port=1,"),
        "{text}"
    );
    // What is moved does not fix the protocol, what is set does.
    let text = trace("in_port(2),eth_type(0x0800),ipv4(src=10.0.0.1,proto=17,ttl=9)");
    assert!(
        text.contains("Megaflow: recirc_id=0,eth,ip,in_port=2,nw_src=10.0.0.1,nw_frag=no\n"),
        "{text}"
    );
    let log = suite.sh("grep -A2 'Constructing select group 5' ovs-vswitchd.log");
    assert!(
        log.ends_with("|No hash fields. Falling back to default hash method.\n"),
        "{log}"
    );
    suite.stop();
}
