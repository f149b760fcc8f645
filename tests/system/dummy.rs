//! The daemon driven as Open vSwitch's own test-suite drives the other one: under its name, beside a stock `ovsdb-server`,
//! with ports in memory, time by command, and no privilege.

use std::path::PathBuf;

use rvs_tests::{eventually, Lab};

/// A daemon that was started so, with the bridge `br0` and ports `p1`, `p2`.
pub struct Suite<'a> {
    lab: &'a Lab,
    directory: PathBuf,
}

impl<'a> Suite<'a> {
    pub fn start(lab: &'a Lab) -> Self {
        let directory = lab.path("suite");
        lab.sh(&format!(
            "mkdir -p suite/bin; ln -s {} suite/bin/ovs-vswitchd",
            rvs_tests::daemon::binary("rvswitchd").display()
        ));
        let suite = Self { lab, directory };
        suite.sh("ovsdb-tool create conf.db /usr/share/openvswitch/vswitch.ovsschema");
        suite.sh("ovsdb-server --detach --no-chdir --pidfile --log-file --remote=punix:$OVS_RUNDIR/db.sock conf.db 2>/dev/null");
        suite.sh("ovs-vsctl --no-wait init");
        let said = suite.sh(
            "setpriv --bounding-set=-all --inh-caps=-all ovs-vswitchd --enable-dummy --disable-system --disable-system-route --detach \
             --no-chdir --pidfile --log-file -vvconn -vofproto_dpif -vunixctl 2>&1",
        );
        assert_eq!(said, "", "it says nothing when all is well");
        suite.sh(
            "ovs-vsctl -- add-br br0 -- set bridge br0 datapath-type=dummy fail-mode=secure \
             other-config:datapath-id=fedcba9876543210 other-config:hwaddr=aa:55:aa:55:00:00 \
             -- add-port br0 p1 -- set interface p1 type=dummy ofport_request=1 options:rxq_pcap=p1-rx.pcap \
             -- add-port br0 p2 -- set interface p2 type=dummy ofport_request=2 options:tx_pcap=p2-tx.pcap",
        );
        suite
    }

    pub(crate) fn line(&self, script: &str) -> String {
        format!(
            "cd {dir}; export OVS_RUNDIR={dir} OVS_LOGDIR={dir} OVS_DBDIR={dir} OVS_SYSCONFDIR={dir} PATH={dir}/bin:$PATH; {script}",
            dir = self.directory.display()
        )
    }

    pub fn sh(&self, script: &str) -> String {
        self.lab.sh(&self.line(script))
    }

    /// A command that has to be refused; what it says.
    pub fn fails(&self, script: &str) -> String {
        let ran = self.lab.try_sh(&self.line(script));
        assert_ne!(ran.code, 0, "{script}: {}", ran.out);
        ran.err
    }

    /// A command that has to be refused in these words.
    pub fn refuses(&self, script: &str, says: &str) {
        let said = self.fails(script);
        assert!(said.contains(says), "{script}: {said}");
    }

    pub fn receive(&self, port: &str, flow: &str) {
        self.sh(&format!("ovs-appctl netdev-dummy/receive {port} '{flow}'"));
    }

    /// Asks for the end, as the suite does, and looks at the log.
    pub fn stop(self) {
        let log = self.sh("cat ovs-vswitchd.log");
        assert!(!log.contains("|WARN|") && !log.contains("|ERR|"), "{log}");
        self.sh("pid=$(cat ovs-vswitchd.pid); ovs-appctl -t ovs-vswitchd exit; while kill -0 $pid 2>/dev/null; do sleep 0.05; done");
        self.sh("ovs-appctl -t ovsdb-server exit");
    }
}

/// A test that fails leaves nobody in the background.
impl Drop for Suite<'_> {
    fn drop(&mut self) {
        self.lab.try_sh(&self.line("kill $(cat *.pid) 2>/dev/null"));
    }
}

/// A frame of TCP as the suite writes it.
pub const TCP: &str = "in_port(1),eth(src=50:54:00:00:00:05,dst=50:54:00:00:00:07),eth_type(0x0800),\
                   ipv4(src=10.0.0.1,dst=10.0.0.2,proto=6,tos=0,ttl=64,frag=no),tcp(src=8,dst=9),tcp_flags(ack)";

/// Ports look like the other's, frames come by command and are where they belong when it returns.
pub fn frames_by_command(lab: &Lab) {
    let suite = Suite::start(lab);
    assert_eq!(
        suite.sh("ovs-appctl dpif/show"),
        "dummy@ovs-dummy: hit:0 missed:0\n  br0:\n    br0 65534/100: (dummy-internal)\n    p1 1/1: (dummy)\n    p2 2/2: (dummy)\n"
    );
    assert_eq!(
        suite.sh("ovs-vsctl get open . datapath_types iface_types"),
        "[dummy, netdev, system]\n[dummy, dummy-internal, dummy-pmd, internal, patch, system, tap]\n"
    );
    let show = suite.sh("ovs-ofctl -vwarn show br0");
    let local = " LOCAL(br0): addr:aa:55:aa:55:00:00\n     config:     0\n     state:      0\n     speed: 0 Mbps now, 0 Mbps max\n";
    assert!(
        show.contains("dpid:fedcba9876543210\n") && show.contains(local),
        "{show}"
    );
    suite.sh("ovs-ofctl add-flow br0 in_port=1,actions=2; ovs-ofctl add-flow br0 in_port=2,actions=controller");
    suite.sh("ovs-ofctl monitor br0 65534 --detach --no-chdir --pidfile 2> monitor.log");
    suite.receive("p1", TCP);
    suite.receive(
        "p1",
        &TCP.replace("proto=6", "proto=17")
            .replace("tcp(", "udp(")
            .replace(",tcp_flags(ack)", ""),
    );
    suite.sh(&format!(
        "ovs-appctl netdev-dummy/receive p1 '{TCP}' --len 200"
    ));
    suite.receive(
        "p2",
        &format!("020202020202 010101010101 1234 {}", "00".repeat(20)),
    );
    let flows = suite.sh("ovs-ofctl dump-flows br0");
    // 118 octets with TCP, 106 with UDP, as many as were asked for.
    assert!(
        flows.contains("n_packets=3, n_bytes=424,") && flows.contains("n_packets=1, n_bytes=34,"),
        "{flows}"
    );
    let cached = suite.sh("ovs-appctl dpctl/dump-flows");
    assert!(
        cached.starts_with("flow-dump from the main thread:\n") && cached.contains("actions:2\n"),
        "{cached}"
    );
    let ports = suite.sh("ovs-ofctl dump-ports br0 2");
    assert!(
        ports.contains("rx pkts=1, bytes=34, drop=?,") && ports.contains("tx pkts=3, bytes=424,"),
        "{ports}"
    );
    eventually("the controller has the frame", || {
        suite.sh("cat monitor.log").contains(
            "vlan_tci=0x0000,dl_src=01:01:01:01:01:01,dl_dst=02:02:02:02:02:02,dl_type=0x1234",
        )
    });
    suite.sh("ovs-appctl -t ovs-ofctl exit");
    assert_eq!(
        suite.sh("ovs-pcap p1-rx.pcap"),
        suite.sh("ovs-pcap p2-tx.pcap")
    );
    assert_eq!(suite.sh("ovs-pcap p2-tx.pcap | wc -l").trim(), "3");
    for (words, says) in [
        ("netdev-dummy/receive nop 00", "no such dummy netdev"),
        ("netdev-dummy/receive p1 junk", "syntax error at junk"),
        ("netdev-dummy/receive p1 0102", "not an Ethernet frame"),
        (
            "netdev-dummy/set-admin-state p1 sideways",
            "Invalid Admin State",
        ),
        (
            "netdev-dummy/set-admin-state p9 up",
            "Unknown Dummy Interface",
        ),
        ("netdev-dummy/ip4addr br0 fe80::1/64", "not an address"),
        ("time/warp 0", "invalid MSECS"),
    ] {
        suite.refuses(&format!("ovs-appctl {words}"), says);
    }
    suite.stop();
}

/// Nothing happens while time stands still; what time brings comes when it is moved.
pub fn time_by_command(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh("ovs-appctl time/stop");
    suite.sh("ovs-ofctl add-flow br0 idle_timeout=15,in_port=1,actions=2; ovs-ofctl add-flow br0 hard_timeout=20,in_port=2,actions=1");
    let flows = || suite.sh("ovs-ofctl dump-flows br0");
    assert_eq!(flows().matches("duration=0s").count(), 2, "{}", flows());
    let warp = |words: &str| {
        assert_eq!(
            suite.sh(&format!("ovs-appctl time/warp {words}")),
            "warped\n"
        )
    };
    warp("9000");
    assert_eq!(flows().matches("duration=9s").count(), 2, "{}", flows());
    // A frame keeps the first alive.
    suite.receive("p1", TCP);
    warp("9000 1000");
    assert_eq!(flows().matches("duration=18s").count(), 2, "{}", flows());
    warp("3000 500");
    assert!(
        !flows().contains("in_port=2") && flows().contains("n_packets=1"),
        "{}",
        flows()
    );
    warp("5000 1000");
    assert!(!flows().contains("in_port=1"), "{}", flows());
    suite.stop();
}

/// A port that is set down says so and takes nothing; traces take flows of the datapath.
pub fn states_and_traces(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh(
        "ovs-ofctl add-flow br0 in_port=1,actions=2; ovs-ofctl add-flow br0 in_port=2,actions=1",
    );
    let trace = |words: &str| {
        let text = suite.sh(&format!("ovs-appctl ofproto/trace {words}"));
        text.trim_end()
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(trace("br0 in_port=1,tcp"), "Datapath actions: 2");
    assert_eq!(trace(&format!("ovs-dummy '{TCP}'")), "Datapath actions: 2");
    assert_eq!(
        trace(&format!("'{}'", TCP.replace("in_port(1)", "in_port(p2)"))),
        "Datapath actions: 1"
    );
    let elsewhere = TCP.replace("(1)", "(77)");
    suite.refuses(
        &format!("ovs-appctl ofproto/trace '{elsewhere}'"),
        "no OpenFlow port for datapath port 77",
    );
    for flow in [
        "priority=40000,dl_type=0x2000,actions=resubmit(,1),output:2",
        "table=1,actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],resubmit(,2)",
    ] {
        suite.sh(&format!("ovs-ofctl add-flow br0 '{flow}'"));
    }
    let told =
        suite.sh("ovs-appctl ofproto/trace br0 in_port=1,dl_src=00:00:00:00:00:01,dl_type=0x2000");
    let (told, _) = told.split_once("\nFinal flow: ").unwrap();
    let wanted = "Flow: in_port=1,vlan_tci=0x0000,dl_src=00:00:00:00:00:01,dl_dst=00:00:00:00:00:00,dl_type=0x2000\n\n\
                  bridge(\"br0\")\n-------------\n 0. dl_type=0x2000, priority 40000\n    resubmit(,1)\n     1. priority 32768\n            \
                  move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]\n             -> NXM_OF_ETH_DST[] is now 00:00:00:00:00:01\n            \
                  resubmit(,2)\n         2. No match.\n            drop\n    output:2\n";
    assert_eq!(told, wanted);
    // Rewrites are one set before the output, and what a bucket changed is put back.
    for flow in [
        "priority=40000,dl_type=0x2001,actions=mod_vlan_vid:4,mod_vlan_pcp:3,output:2",
        "priority=40000,tcp,tp_dst=77,actions=dec_ttl,mod_nw_src:1.2.3.4,output:2",
        "priority=40000,dl_type=0x2002,actions=clone(mod_dl_src:00:00:00:00:00:09,output:2),output:LOCAL",
    ] {
        suite.sh(&format!("ovs-ofctl add-flow br0 '{flow}'"));
    }
    for (flow, wanted) in [
        ("dl_type=0x2001", "push_vlan(vid=4,pcp=3),2"),
        (
            "dl_type=0x2001,dl_vlan=5",
            "pop_vlan,push_vlan(vid=4,pcp=3),2",
        ),
        ("tcp,tp_dst=77,nw_ttl=9", "set(ipv4(src=1.2.3.4,ttl=8)),2"),
        (
            "dl_type=0x2002,dl_src=00:00:00:00:00:01",
            "set(eth(src=00:00:00:00:00:09)),2,set(eth(src=00:00:00:00:00:01)),100",
        ),
    ] {
        let actions = trace(&format!("br0 in_port=1,{flow}"));
        assert_eq!(actions, format!("Datapath actions: {wanted}"), "{flow}");
    }
    let states = || suite.sh("ovs-vsctl get interface p1 admin_state link_state");
    assert_eq!(
        suite.sh("ovs-appctl netdev-dummy/set-admin-state p1 down"),
        "OK\n"
    );
    eventually("the row says so", || states() == "down\ndown\n");
    suite.receive("p1", TCP);
    assert!(suite.sh("ovs-ofctl dump-ports br0 1").contains("rx pkts=0"));
    suite.sh("ovs-ofctl mod-port br0 p1 up");
    eventually("the row says so", || states() == "up\nup\n");
    suite.receive("p1", TCP);
    assert!(suite.sh("ovs-ofctl dump-ports br0 1").contains("rx pkts=1"));
    // A number is used again by the port of that name.
    suite.sh("ovs-vsctl del-port p1; ovs-vsctl add-port br0 p1 -- set interface p1 type=dummy ofport_request=1");
    suite.receive("p1", TCP);
    assert!(suite.sh("ovs-ofctl dump-ports br0 2").contains("tx pkts=2"));
    assert!(suite
        .sh("ovs-appctl dpif/show")
        .contains("    p1 1/1: (dummy)\n"));
    suite.stop();
}

/// What is wrong with a trace is said in the words that scripts look for, and a file of frames is one from the beginning.
pub fn refusals_of_traces(lab: &Lab) {
    let suite = Suite::start(lab);
    let refused = |words: &str| {
        let said = suite.fails(&format!("ovs-appctl ofproto/trace {words}"));
        said.lines().next().unwrap_or_default().to_owned()
    };
    for (words, wanted) in [
        ("nobody 'in_port(2)'", "Cannot find the datapath"),
        ("'' 'in_port(2)' -generate", "Cannot find the datapath"),
        ("ovs-system 'in_port(2)'", "Cannot find the datapath"),
        ("br0 'in_port(2)'", "Cannot find the datapath"),
        ("ovs-dummy in_port=2", "ovs-dummy: unknown bridge"),
        (
            "in_port=2",
            "syntax error at in_port=2 (or the bridge name was omitted)",
        ),
        ("br0 in_port=2 rubbish", "Trailing garbage in packet data"),
    ] {
        assert_eq!(refused(words), wanted, "{words}");
    }
    suite.sh("ovs-ofctl add-flow br0 dl_type=0x2009,actions=resubmit:1");
    let text = suite.sh("ovs-appctl ofproto/trace br0 in_port=1,dl_type=0x2009");
    assert!(
        text.ends_with(
            "\nDatapath actions: drop\nTranslation failed (Recursion too deep), packet is dropped.\n"
        ),
        "{text}"
    );
    // Who asks for it finds the answer in the log too.
    let log = suite.sh("grep -c 'over max translation depth 64' ovs-vswitchd.log");
    assert_eq!(log, "1\n");
    suite.sh(
        "for i in $(seq 0 252); do echo \"table=$i,dl_type=0x200a,actions=resubmit(,$((i+1)))\"; done > chain; \
         echo 'table=253,dl_type=0x200a,actions=2' >> chain; ovs-ofctl add-flows br0 chain",
    );
    let text = suite.sh("ovs-appctl ofproto/trace br0 in_port=1,dl_type=0x200a");
    assert!(text.ends_with("\nDatapath actions: 2\n"), "{text}");
    let frame = "02000000000a02000000000b88b5";
    let text = suite.sh(&format!("ovs-appctl ofproto/trace 'in_port(2)' {frame}"));
    assert!(text.contains("dl_src=02:00:00:00:00:0b"), "{text}");
    assert_eq!(suite.sh("ovs-ofctl parse-pcap p2-tx.pcap"), "");
    suite.stop();
}

/// A spanning tree counts every second of long steps, says what its ports do, and does not wonder at an identifier that is
/// none; new ports are numbered by name.
pub fn trees_by_the_clock(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh(
        "ovs-appctl time/stop; ovs-appctl vlog/set ofproto_dpif:dbg; ovs-vsctl \
         -- set bridge br0 stp_enable=true -- set port br0 other_config:stp-enable=false \
         -- add-br br5 -- set bridge br5 datapath-type=dummy stp_enable=true other-config:datapath-id=77 \
         -- set port br5 other_config:stp-enable=false \
         -- add-port br0 left -- set interface left type=patch options:peer=right \
         -- add-port br5 right -- set interface right type=patch options:peer=left",
    );
    suite.sh("ovs-ofctl add-flow br0 in_port=1,actions=2");
    let last = || suite.sh("ovs-appctl ofproto/trace br0 in_port=2,dl_type=0x2000 | tail -1");
    let trace = || suite.sh("ovs-appctl ofproto/trace br0 in_port=1,dl_type=0x2000");
    suite.sh("ovs-ofctl add-flow br0 in_port=2,actions=1");
    suite.sh("ovs-vsctl set port p1 other_config:stp-enable=false");
    suite.sh("ovs-appctl time/warp 8000 4000");
    assert!(
        trace().contains(" >> STP not in forwarding state, skipping output\n"),
        "{}",
        trace()
    );
    suite.sh("ovs-appctl time/warp 28000 4000");
    eventually("the tree forwards", || {
        trace().ends_with("Datapath actions: 2\n")
    });
    assert_eq!(last(), "Datapath actions: 1\n");
    let log = suite.sh("grep '|ofproto_dpif|DBG|' ovs-vswitchd.log");
    for (was, now) in [
        ("disabled", "listening"),
        ("listening", "learning"),
        ("learning", "forwarding"),
    ] {
        for port in ["left", "right"] {
            let line = format!("|port {port}: STP state changed from {was} to {now}\n");
            assert!(log.contains(&line), "{line}: {log}");
        }
    }
    suite.sh("ovs-appctl netdev-dummy/set-admin-state p2 down");
    eventually("a port without a link is not in the tree", || {
        !suite.sh("ovs-appctl stp/show br0").contains("p2")
    });
    suite.sh(
        "ovs-vsctl -- add-port br5 zz -- set interface zz type=dummy -- add-port br5 yy -- set interface yy type=dummy \
         -- add-port br5 xx -- set interface xx type=dummy",
    );
    let numbers = suite.sh(
        "ovs-vsctl get interface xx ofport -- get interface yy ofport -- get interface zz ofport",
    );
    assert_eq!(numbers, "2\n3\n4\n");
    suite.stop();
}

/// Who asks for it has every cached flow in the log.
pub fn flows_in_the_log(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh(
        "ovs-ofctl add-flow br0 in_port=1,dl_type=0x2000,actions=mod_dl_src:02:00:00:00:00:77,2",
    );
    let frame = "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x2000)";
    suite.receive("p1", frame);
    let logged = || {
        suite.sh("sed -n 's/.*|dpif_netdev|DBG|flow_add: ufid:[-0-9a-f]* mega_ufid:[-0-9a-f]* //p' ovs-vswitchd.log")
    };
    assert_eq!(logged(), "");
    suite.sh("ovs-appctl revalidator/purge; ovs-appctl vlog/set dpif:dbg dpif_netdev:dbg");
    suite.receive("p1", frame);
    let said = logged();
    assert!(
        said.starts_with("recirc_id(0),in_port(1),packet_type(ns=0,id=0)")
            && said.contains("eth_type(0x2000)")
            && said.ends_with(", actions:set(eth(src=02:00:00:00:00:77)),2\n"),
        "{said}"
    );
    suite.sh("ovs-appctl vlog/set dpif_netdev:info; ovs-appctl revalidator/purge");
    suite.receive("p1", frame);
    assert_eq!(logged(), said);
    suite.stop();
}

/// A trace of a frame, given or made up, teaches addresses and flows; a trace of a flow does not.
pub fn traces_that_teach(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh("ovs-ofctl add-flow br0 dl_type=0x2000,actions=normal");
    suite.sh(
        "ovs-ofctl add-flow br0 'dl_type=0x2001,actions=learn(table=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])'",
    );
    let trace = |words: &str| suite.sh(&format!("ovs-appctl ofproto/trace br0 {words}"));
    let addresses = || suite.sh("ovs-appctl fdb/show br0");
    let learned = || suite.sh("ovs-ofctl --no-stats dump-flows br0 table=1");
    let normal = "in_port=1,dl_src=50:54:00:00:00:05,dl_type=0x2000";
    let teaching = "in_port=2,dl_src=50:54:00:00:00:06,dl_type=0x2001";
    trace(normal);
    assert!(trace(teaching).contains(" >> suppressing side effects, so learn action ignored\n"));
    assert_eq!(addresses().lines().count(), 1);
    assert!(!learned().contains("actions"));
    trace(&format!("{normal} -generate"));
    assert!(
        addresses().contains("    1     0  50:54:00:00:00:05    0\n"),
        "{}",
        addresses()
    );
    assert!(!trace(&format!("{teaching} -generate")).contains("suppressing"));
    eventually("the flow is learned", || {
        learned().contains("dl_dst=50:54:00:00:00:06 actions=output:2")
    });
    trace("in_port=2 5054000000055054000000072000");
    assert!(addresses().contains("    2     0  50:54:00:00:00:07    0\n"));
    suite.stop();
}

/// Names, limits and eviction of flow tables as the database has them.
pub fn flow_tables_are_named_and_limited_by_the_database(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh(
        "ovs-vsctl -- --id=@a create Flow_Table name=front flow_limit=3 overflow_policy=evict \
              -- set bridge br0 flow_tables:0=@a",
    );
    let tables = suite.sh("ovs-ofctl dump-tables br0");
    assert!(
        tables.contains("table 0 (\"front\"):") && tables.contains("max_entries=3\n"),
        "{tables}"
    );
    suite.refuses(
        "ovs-ofctl -O OpenFlow13 mod-table br0 0 name:mine",
        "OFPTFFC_EPERM",
    );
    for (port, idle) in [(1, 60), (2, 50), (3, 70), (4, 80)] {
        suite.sh(&format!(
            "ovs-ofctl add-flow br0 idle_timeout={idle},in_port={port},actions=drop"
        ));
    }
    let flows = suite.sh("ovs-ofctl dump-flows br0");
    assert!(
        !flows.contains("idle_timeout=50") && flows.contains("idle_timeout=60"),
        "{flows}"
    );
    suite.sh("ovs-vsctl set flow_table front overflow_policy=refuse");
    let said = suite.fails("ovs-ofctl add-flow br0 in_port=9,actions=drop");
    assert!(
        said.contains("OFPFMFC_TABLE_FULL") && said.contains("ADD in_port=9 actions=drop"),
        "{said}"
    );
    suite.sh("ovs-vsctl clear bridge br0 flow_tables");
    suite.sh("ovs-ofctl add-flow br0 in_port=9,actions=drop");
    suite.stop();
}

/// In one change of the database each of three ports asks for the number of the next.
pub fn ports_swap_their_numbers(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh("ovs-vsctl add-port br0 p3 -- set interface p3 type=dummy ofport_request=3");
    for order in ["2 3 1", "3 1 2", "1 3 2", "3 2 1"] {
        let got = suite.sh(&format!(
            "set {order}; ovs-vsctl set interface p1 ofport_request=$1 -- set interface p2 ofport_request=$2 \
             -- set interface p3 ofport_request=$3; \
             echo $(ovs-vsctl get interface p1 ofport -- get interface p2 ofport -- get interface p3 ofport)"
        ));
        assert_eq!(got.trim(), order);
    }
    suite.stop();
}

/// A bundle that nobody goes on with, after as long as the database says.
/// Controllers tell bridges by it: two without an interface of their own are two, and stay what they are.
pub fn bridges_without_an_interface_have_an_identity(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh("ovs-vsctl -- --id=@a create bridge name=bare1 datapath_type=dummy -- add open . bridges @a \
         -- --id=@b create bridge name=bare2 datapath_type=dummy -- add open . bridges @b");
    let identity = |bridge: &str| {
        let id = suite.sh(&format!("ovs-vsctl get bridge {bridge} datapath_id"));
        let id = id.trim().trim_matches('"').to_owned();
        let told = suite.sh(&format!("ovs-ofctl show {bridge}"));
        assert!(told.contains(&format!("dpid:{id}")), "{id}: {told}");
        u64::from_str_radix(&id, 16).unwrap()
    };
    let ids = ["bare1", "bare2"].map(identity);
    for id in ids {
        // A unicast address that nobody was given.
        assert_eq!(id >> 40 & 3, 2, "{id:016x}");
    }
    assert_ne!(ids[0], ids[1]);
    suite.sh("ovs-vsctl -- add-port bare1 q1 -- set interface q1 type=dummy");
    assert_eq!(identity("bare1"), ids[0]);
    suite.stop();
}

pub fn bundles_wait_as_long_as_the_database_says(lab: &Lab) {
    let suite = Suite::start(lab);
    suite.sh("ovs-vsctl set open_vswitch . other_config:bundle-idle-timeout=3");
    suite.sh("ovs-ofctl -O OpenFlow14 monitor br0 --detach --no-chdir --pidfile >monitor.log 2>&1; ovs-appctl time/stop");
    suite
        .sh("ovs-appctl -t ovs-ofctl ofctl/send '05 21 00 10 00 00 00 21 00 00 00 07 00 00 00 03'; ovs-appctl -t ovs-ofctl ofctl/barrier");
    suite.sh("ovs-appctl time/warp 2500");
    let log = suite.sh("ovs-appctl -t ovs-ofctl ofctl/barrier; cat monitor.log");
    assert!(
        log.contains("type=OPEN_REPLY flags=0") && !log.contains("TIMEOUT"),
        "{log}"
    );
    suite.sh("ovs-appctl time/warp 1000");
    eventually("the bundle is given up", || {
        suite.sh("cat monitor.log").contains("OFPBFC_TIMEOUT")
    });
    suite.sh("ovs-appctl -t ovs-ofctl exit");
    suite.stop();
}
