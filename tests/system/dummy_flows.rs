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
    let text = trace("in_port=1,dl_type=0x2000");
    assert!(text.contains("\nDatapath actions: recirc(0x1)\n"), "{text}");
    assert!(
        text.ends_with("Datapath actions: set(eth(src=02:00:00:00:00:77)),2\n"),
        "{text}"
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
