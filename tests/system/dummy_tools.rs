//! What Open vSwitch's test-suite reads and asks besides forwarding: messages in the log, datapaths made by hand, features.

use rvs_tests::{eventually, Lab};

use super::dummy::{Suite, TCP};

/// Messages of OpenFlow as they stand in the log, without times, transactions and numbers of connections.
fn messages(suite: &Suite<'_>) -> String {
    suite.sh(
        r#"awk -F'|' '/[|]vconn[|]DBG[|]/ { sub(/[ \t]*$/, ""); print $3 "|" $4 "|" $5; on = 1; next }
           $4 != "" { on = 0; next } on' ovs-vswitchd.log |
           sed 's/ (xid=0x[0-9a-f]*)//; s/unix#[0-9]*:/unix:/; s/ cookie=0x0, duration=[0-9.]*s,//; s/ n_packets=0, n_bytes=0,//; s/ idle_age=[0-9]*,//'"#,
    )
}

/// Who wants to see what is said and heard reads it in the log, in the words of `ovs-ofctl`.
pub fn messages_in_the_log(lab: &Lab) {
    let suite = Suite::start(lab);
    // It has left the console alone.
    assert_eq!(suite.sh("ovs-appctl rvs/log-level"), "info\n");
    suite.sh(": > ovs-vswitchd.log; ovs-appctl vlog/reopen");
    suite.sh("echo 'table=1,dl_vlan=1,importance=3,actions=drop' > flows; ovs-ofctl -OOpenFlow14 --no-names --bundle add-flows br0 flows");
    suite.sh("ovs-ofctl -OOpenFlow14 --no-names dump-flows br0");
    suite.refuses(
        "ovs-ofctl -OOpenFlow13 --no-names add-flow br0 actions=group:7",
        "OFPBAC_BAD_OUT_GROUP",
    );
    let log = messages(&suite);
    let greeting = "vconn|DBG|unix: sent (Success): OFPT_HELLO (OF1.5):\n version bitmap: 0x01, 0x02, 0x03, 0x04, 0x05, 0x06\n\
                    vconn|DBG|unix: received: OFPT_HELLO (OF1.4):\n version bitmap: 0x05\n\
                    vconn|DBG|unix: negotiated OpenFlow version 0x05 (we support version 0x06 and earlier, peer supports version 0x05)\n";
    let bundle = "vconn|DBG|unix: received: OFPT_BUNDLE_CONTROL (OF1.4):\n bundle_id=0 type=OPEN_REQUEST flags=atomic ordered\n\
                  vconn|DBG|unix: sent (Success): OFPT_BUNDLE_CONTROL (OF1.4):\n bundle_id=0 type=OPEN_REPLY flags=0\n\
                  vconn|DBG|unix: received: OFPT_BUNDLE_ADD_MESSAGE (OF1.4):\n bundle_id=0 flags=atomic ordered\n\
                  OFPT_FLOW_MOD (OF1.4): ADD table:1 dl_vlan=1 importance:3 actions=drop\n\
                  vconn|DBG|unix: received: OFPT_BARRIER_REQUEST (OF1.4):\n\
                  vconn|DBG|unix: sent (Success): OFPT_BARRIER_REPLY (OF1.4):\n\
                  vconn|DBG|unix: received: OFPT_BUNDLE_CONTROL (OF1.4):\n bundle_id=0 type=COMMIT_REQUEST flags=atomic ordered\n\
                  vconn|DBG|unix: sent (Success): OFPT_BUNDLE_CONTROL (OF1.4):\n bundle_id=0 type=COMMIT_REPLY flags=0\n";
    let dump = "vconn|DBG|unix: received: OFPST_FLOW request (OF1.4):\n\
                vconn|DBG|unix: sent (Success): OFPST_FLOW reply (OF1.4):\n table=1, importance=3, dl_vlan=1 actions=drop\n";
    let refused = "vconn|DBG|unix: sent (Success): OFPT_ERROR (OF1.3): OFPBAC_BAD_OUT_GROUP\n\
                   OFPT_FLOW_MOD (OF1.3): ADD actions=group:7\n";
    for part in [&format!("{greeting}{bundle}"), dump, refused] {
        assert!(log.contains(part), "{part}\nis not in\n{log}");
    }
    // Who comes over a network is named by its address.
    suite.sh(
        "ovs-vsctl set-controller br0 ptcp:0:127.0.0.1; \
         port=$(ss -Htlnp | sed -n 's/.*127.0.0.1:\\([0-9]*\\) .*vswitchd.*/\\1/p'); ovs-ofctl dump-flows tcp:127.0.0.1:$port",
    );
    let log = messages(&suite);
    let heard = "vconn|DBG|tcp:127.0.0.1:";
    assert!(log.contains(heard), "{heard} is not in\n{log}");
    suite.sh("ovs-vsctl del-controller br0");
    // What nobody wants is not written.
    suite.sh(": > ovs-vswitchd.log; ovs-appctl vlog/reopen; ovs-appctl vlog/set vconn:off; ovs-ofctl dump-flows br0");
    assert_eq!(messages(&suite), "");
    suite.stop();
}

/// What tools say of ports, addresses and flows, in the words that scripts wait for.
pub fn small_answers(lab: &Lab) {
    let suite = Suite::start(lab);
    let ask = |what: &str| suite.sh(&format!("ovs-appctl {what}"));
    // A static entry says what it takes the place of.
    ask("fdb/add br0 p1 0 02:00:00:00:00:01");
    assert_eq!(ask("fdb/add br0 p1 0 02:00:00:00:00:01"), "");
    assert_eq!(
        ask("fdb/add br0 p2 0 02:00:00:00:00:01"),
        "Overriding already existing static entry on 1\n"
    );
    // Bridges and their kind; the datapath is one.
    assert_eq!(ask("dpif/dump-dps"), "dummy@br0\n");
    // The port of a flow counts.
    suite.refuses(
        "ovs-appctl dpctl/add-flow 'eth(),eth_type(0x0800),ipv4()' 2",
        "ovs-vswitchd: updating flow table (Invalid argument)",
    );
    // The bridge's own port follows the others' smallest MTU, until it is told, and when it is told no more.
    let set = |port: &str, mtu: &str| {
        suite.sh(&format!("ovs-vsctl set interface {port} mtu_request={mtu}"));
    };
    let becomes = |port: &str, mtu: u32| {
        suite.sh(&format!(
            "ovs-vsctl --timeout=10 wait-until interface {port} mtu={mtu}"
        ));
    };
    becomes("br0", 1500);
    set("p1", "1600");
    set("p2", "1700");
    becomes("br0", 1600);
    set("br0", "1800");
    becomes("br0", 1800);
    set("p1", "1400");
    becomes("p1", 1400);
    becomes("br0", 1800);
    set("br0", "[]");
    becomes("br0", 1400);
    // A bond of another mode than there is is no reason to warn.
    suite.sh("ovs-vsctl add-bond br0 bond0 p8 p9 bond_mode=balance-slb -- set interface p8 type=dummy -- set interface p9 type=dummy");
    let log = suite.sh("cat ovs-vswitchd.log");
    assert!(
        log.contains("bond_mode of table Port is taken as active-backup"),
        "{log}"
    );
    assert!(!log.contains("|WARN|"), "{log}");
    suite.stop();
}

/// Tables that lead in circles: the first frame that they cost has its story in the log, the next ones have none.
pub fn a_translation_that_is_given_up(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh("ovs-ofctl add-flow br0 'actions=resubmit(,0)'");
    suite.receive("p1", TCP);
    suite.receive("p2", &TCP.replace("in_port(1)", "in_port(2)"));
    let log = || suite.sh("cat ovs-vswitchd.log");
    let end = "\nTranslation failed (Recursion too deep), packet is dropped.\n";
    eventually("it is told", || log().contains(end));
    let log = log();
    assert!(
        log.contains("|ofproto_dpif_upcall|WARN|Flow: tcp,in_port=1,"),
        "{log}"
    );
    assert!(log.matches("resubmit(,0)\n").count() >= 64, "{log}");
    assert_eq!(log.matches(end).count(), 1, "{log}");
}

/// Datapaths and ports by hand, and features that are set.
pub fn datapaths_by_hand(lab: &Lab) {
    let suite = Suite::start(lab);
    let dpctl = |what: &str| suite.sh(&format!("ovs-appctl dpctl/{what}"));
    let refuses = |what: &str, says: &str| suite.refuses(&format!("ovs-appctl dpctl/{what}"), says);
    dpctl("add-dp dummy@br0");
    refuses("add-dp dummy@br0", "ovs-vswitchd: add_dp (File exists)\n");
    let eth = |n: u32| format!("in_port(1),eth(dst=02:00:00:00:00:0{n}),eth_type(0x1234)");
    let (a, b) = (eth(1), eth(2));
    suite.sh(&format!(
        "printf '{a} 2\nadd {b} 3\n' > flows; printf 'delete {b}\n{a} 4\n' > changes"
    ));
    dpctl("add-flows dummy@br0 flows");
    refuses(
        "add-flows dummy@br0 flows",
        "updating flow table (File exists)\nflows:1: ",
    );
    dpctl("mod-flows dummy@br0 changes");
    let end = "packets:0, bytes:0, used:never, actions:4\n";
    assert_eq!(
        dpctl("dump-flows dummy@br0"),
        format!("flow-dump from the main thread:\nrecirc_id(0),{a}, {end}")
    );
    dpctl("del-flows dummy@br0");
    assert_eq!(dpctl("dump-flows dummy@br0"), "");
    // A port of the bridges' own goes, and comes back with the next change of the configuration.
    let ports = || suite.sh("ovs-appctl dpif/show");
    dpctl("del-if dummy@ovs-dummy p1");
    assert!(!ports().contains("    p1 "), "{}", ports());
    refuses(
        "del-if dummy@ovs-dummy p1",
        "ovs-vswitchd: no port named p1",
    );
    suite.sh("ovs-vsctl --timeout=10 set bridge br0 other_config:forward-bpdu=true");
    assert!(ports().contains("    p1 1/1: (dummy)\n"), "{}", ports());
    // The bridges' own takes flows, too.
    suite.sh("ovs-appctl revalidator/pause");
    dpctl("add-flows flows");
    dpctl("mod-flows changes");
    let there = dpctl("dump-flows");
    assert!(
        there.ends_with(&format!(" {end}")) && there.lines().count() == 2,
        "{there}"
    );
    dpctl("del-flows");
    suite.sh("ovs-appctl revalidator/resume");
    assert_eq!(dpctl("dump-dps"), "dummy@br0\ndummy@ovs-dummy\n");
    dpctl("add-if dummy@br0 vif1.0,type=tap,port_no=5");
    let head = "dummy@br0:\n  lookups: hit:0 missed:0 lost:0\n  flows: 0\n  port 0: br0 (dummy-internal)\n";
    assert_eq!(
        dpctl("show dummy@br0"),
        format!("{head}  port 5: vif1.0 (tap)\n")
    );
    let all = dpctl("show");
    assert!(
        all.starts_with(head) && all.contains("\ndummy@ovs-dummy:\n"),
        "{all}"
    );
    refuses(
        "set-if dummy@br0 vif1.0,type=system",
        "ovs-vswitchd: vif1.0: can't change type from tap to system\n",
    );
    dpctl("add-if dummy@br0 vif2,type=dummy vif3,type=dummy");
    refuses(
        "set-if dummy@br0 vif2,type=tap nope vif3,type=tap",
        "ovs-vswitchd: vif2: can't change type from dummy to tap\n\
         ovs-vswitchd: nope: failed to query port in dummy@br0 (No such device)\n\
         ovs-vswitchd: vif3: can't change type from dummy to tap\n",
    );
    // One by its number.
    refuses(
        "del-if dummy@br0 nope 2 77 vif3",
        "ovs-vswitchd: no port named nope\n\
         ovs-vswitchd: deleting port 77 from dummy@br0 failed (No such device)\n",
    );
    assert_eq!(
        dpctl("show dummy@br0"),
        format!("{head}  port 5: vif1.0 (tap)\n")
    );
    dpctl("del-if dummy@br0 vif1.0");
    refuses(
        "del-if dummy@br0 vif1.0",
        "ovs-vswitchd: no port named vif1.0\n",
    );
    dpctl("del-dp dummy@br0");
    refuses("del-dp dummy@br0", "ovs-vswitchd: opening datapath (");
    refuses(
        "add-if dummy@ovs-dummy p7,type=dummy",
        "come and go with bridges",
    );
    let feature = |words: &str| suite.sh(&format!("ovs-appctl dpif/set-dp-features br0 {words}"));
    assert_eq!(feature("recirc false"), "");
    assert_eq!(
        feature("recirc"),
        "recirc (Recirc) : [run time]:false, [boot time]:true\n"
    );
    let shown = suite.sh("ovs-appctl dpif/show-dp-features br0");
    assert!(shown.contains("Recirc: No\n"), "{shown}");
    for (words, says) in [
        ("colour true", "Unexpected support field\n"),
        ("recirc yes", "Boolean value expected\n"),
        (
            "ct_state true",
            "Can not enable features not supported by the datapth\n",
        ),
        (
            "max_vlan_headers 99",
            "Can not set value beyond the datapath capability\n",
        ),
        ("max_vlan_headers x", "Integer number expected\n"),
    ] {
        assert_eq!(feature(words), says, "{words}");
    }
    suite.stop();
}

/// Cached flows of a dummy fix as many bits of an address as there, and say of copies for controllers what is said there;
/// nobody counts what a patch port loses.
pub fn flows_in_the_other_s_words(lab: &Lab) {
    let suite = Suite::start(lab);
    for _ in 0..3 {
        suite.receive("p1", TCP);
    }
    // A table without a rule is looked up all the same.
    assert!(suite
        .sh("ovs-ofctl -OOpenFlow13 dump-tables br0")
        .contains("  table 0:\n    active=0, lookup=3, matched=0\n"));
    suite.sh("ovs-appctl vlog/set dpif_netdev:dbg");
    suite.sh("ovs-ofctl add-flow br0 in_port=1,icmp,nw_src=10.0.0.4,actions=2");
    suite.sh("ovs-ofctl add-flow br0 in_port=2,actions=controller");
    let icmp = TCP
        .replace("proto=6", "proto=1")
        .replace("tcp(src=8,dst=9),tcp_flags(ack)", "icmp(type=8,code=0)")
        .replace("src=10.0.0.1", "src=10.0.0.2");
    suite.receive("p1", &icmp);
    suite.receive("p2", &icmp.replace("in_port(1)", "in_port(2)"));
    let copy = "userspace(pid=0,controller(reason=1,dont_send=0,continuation=0,recirc_id=1,rule_cookie=0,controller_id=0,max_len=65535))";
    let wide = "recirc_id(0),in_port(1),packet_type(ns=0,id=0),eth_type(0x0800),ipv4(src=10.0.0.2/255.255.255.252,frag=no), actions:drop";
    let log = suite.sh("grep flow_add: ovs-vswitchd.log");
    assert!(
        log.contains(wide) && log.contains(&format!("actions:{copy}\n")),
        "{log}"
    );
    let dump = suite.sh("ovs-appctl dpctl/dump-flows");
    assert!(dump.contains(&format!("actions:{copy}\n")), "{dump}");
    suite.sh(
        "ovs-vsctl add-br br1 -- set bridge br1 datapath-type=dummy fail-mode=secure \
         -- add-port br1 b -- set interface b type=patch options:peer=a \
         -- add-port br0 a -- set interface a type=patch options:peer=b ofport_request=7",
    );
    assert_eq!(
        suite.sh("ovs-ofctl dump-ports br0 a | tail -n 2"),
        "  port  7: rx pkts=0, bytes=0, drop=?, errs=?, frame=?, over=?, crc=?\n           \
         tx pkts=0, bytes=0, drop=?, errs=?, coll=?\n"
    );
    suite.stop();
}

/// One cached flow: put in by hand, found by its number and in its words, taken out. It goes when the tables say otherwise.
pub fn flows_by_hand(lab: &Lab) {
    let suite = Suite::start(lab);
    let dpctl = |what: &str| suite.sh(&format!("ovs-appctl dpctl/{what}"));
    let refuses = |what: &str, says: &str| suite.refuses(&format!("ovs-appctl dpctl/{what}"), says);
    suite.sh("ovs-appctl revalidator/pause");
    let ufid = "ufid:c5f9a0b1-3399-4436-b742-30825c64a1e5";
    let ip = "in_port(1),eth(src=00:00:00:00:00:01),eth_type(0x0800),ipv4(frag=no)";
    dpctl(&format!("add-flow '{ufid},{ip}' 2"));
    refuses(
        &format!("add-flow '{ip}' 2"),
        "ovs-vswitchd: updating flow table (File exists)\n",
    );
    let whole = format!(
        "recirc_id(0),{}, packets:0, bytes:0, used:never, actions:",
        ip.replace("),eth(", "),packet_type(ns=0,id=0),eth(")
    );
    assert_eq!(dpctl(&format!("get-flow {ufid}")), format!("{whole}2\n"));
    assert_eq!(
        dpctl("dump-flows"),
        format!("flow-dump from the main thread:\n{whole}2\n")
    );
    assert!(dpctl("dump-flows -m").contains(&format!("{ufid}, ")));
    dpctl(&format!(
        "mod-flow '{ip}' 'push_vlan(vid=5,pcp=0),2,pop_vlan,trunc(100),1'"
    ));
    assert!(dpctl("dump-flows").contains(&format!(
        "{whole}push_vlan(vid=5,pcp=0),2,pop_vlan,trunc(100),1\n"
    )));
    // Frames go by it, although no rule says so.
    suite.receive(
        "p1",
        &TCP.replace("src=50:54:00:00:00:05", "src=00:00:00:00:00:01"),
    );
    assert!(dpctl("dump-flows").contains("packets:1, "));
    dpctl(&format!("del-flow '{ip}'"));
    refuses(
        &format!("del-flow '{ip}'"),
        "ovs-vswitchd: deleting flow (No such file or directory)\nPerhaps you need to specify a UFID?\n",
    );
    refuses(
        &format!("get-flow {ufid}"),
        "ovs-vswitchd: getting flow (No such file or directory)\n",
    );
    refuses(
        "mod-flow 'in_port(2),eth_type(0x0800),ipv4(frag=no)' 1",
        "updating flow table (No such file or directory)",
    );
    for (flow, actions, says) in [
        ("junk", "2", "parsing flow key (syntax error at junk)"),
        ("in_port(1),foo(1)", "2", "parsing flow key"),
        (ip, "foo", "parsing actions (Invalid argument)"),
    ] {
        refuses(&format!("add-flow '{flow}' '{actions}'"), says);
    }
    // The tables drop what comes in by p2: nobody else's word lasts.
    dpctl("mod-flow --may-create 'in_port(2),eth_type(0x0800),ipv4(frag=no)' 1");
    assert_ne!(dpctl("dump-flows"), "");
    suite.sh("ovs-appctl revalidator/resume");
    eventually("the round that judges it", || {
        suite.sh("ovs-appctl dpctl/dump-flows").is_empty()
    });
    suite.stop();
}
