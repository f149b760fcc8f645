//! `rvs-ctl`'s flow commands against Open vSwitch (user-space, dummy devices): a switch that is not ours says whether they
//! are understood, and `ovs-ofctl` on the same switch says whether what they print is right.

use rvs_tests::daemon::binary;
use rvs_tests::lab::Background;
use rvs_tests::{eventually, Lab, Ran};

/// Open vSwitch with bridge `br1` and ports `p1`, `p2` ... (OpenFlow ports 1, 2 ...), each of which writes what it sends to
/// `ovs/pN.pcap`.
pub struct Theirs<'a> {
    pub lab: &'a Lab,
    running: [Background; 2],
}

impl<'a> Theirs<'a> {
    fn start(lab: &'a Lab) -> Self {
        Self::with_ports(lab, 2)
    }

    pub fn with_ports(lab: &'a Lab, ports: u32) -> Self {
        let dir = lab.path("ovs").display().to_string();
        lab.sh(&format!(
            "mkdir {dir}; ovsdb-tool create {dir}/conf.db /usr/share/openvswitch/vswitch.ovsschema"
        ));
        let environment = format!("env OVS_RUNDIR={dir} OVS_LOGDIR={dir} OVS_DBDIR={dir}");
        let database = lab.spawn(
            "ovsdb",
            &format!(
                "{environment} ovsdb-server --pidfile --remote=punix:{dir}/db.sock {dir}/conf.db"
            ),
        );
        eventually("ovsdb-server listens", || lab.path("ovs/db.sock").exists());
        let vsctl = format!("ovs-vsctl --timeout=20 --db=unix:{dir}/db.sock");
        lab.sh(&format!("{vsctl} --no-wait init"));
        let switch = lab.spawn(
            "vswitchd",
            &format!(
                "{environment} ovs-vswitchd --enable-dummy=override --disable-system --pidfile unix:{dir}/db.sock"
            ),
        );
        let ports: String = (1..=ports)
            .map(|n| {
                format!(
                    " -- add-port br1 p{n} -- set interface p{n} ofport_request={n} \
                     options:tx_pcap={dir}/p{n}.pcap"
                )
            })
            .collect();
        lab.sh(&format!(
            "{vsctl} add-br br1 -- set bridge br1 datapath_type=dummy fail_mode=secure{ports}"
        ));
        Self {
            lab,
            running: [database, switch],
        }
    }

    /// The switch's process.
    pub fn pid(&self) -> u32 {
        self.running[1].pid()
    }

    fn try_ctl(&self, words: &str) -> Ran {
        let ctl = binary("rvs-ctl").display().to_string();
        let dir = self.lab.path("ovs").display().to_string();
        self.lab.try_sh(&format!("RVS_RUNDIR={dir} {ctl} {words}"))
    }

    fn ctl(&self, words: &str) -> String {
        let ran = self.try_ctl(words);
        assert_eq!(ran.code, 0, "{words}: {}{}", ran.out, ran.err);
        ran.out
    }

    fn refuses(&self, words: &str, code: i32, says: &[&str]) {
        let ran = self.try_ctl(words);
        assert_eq!(ran.code, code, "{words}: {}{}", ran.out, ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{words}: {}", ran.err);
        for s in says {
            assert!(ran.err.contains(s), "{words}: no \"{s}\" in {}", ran.err);
        }
    }

    /// The stock tool on the same switch.
    pub fn ofctl(&self, words: &str) -> String {
        let dir = self.lab.path("ovs").display().to_string();
        self.lab.sh(&format!("OVS_RUNDIR={dir} ovs-ofctl {words}"))
    }

    /// Both tools print the same but for transactions and times.
    fn agree(&self, version: &str, ours: &str, theirs: &str) {
        let plain = |text: &str| {
            let words = text.split(' ').map(|w| {
                let times = ["duration=", "duration:", "idle_age=", "hard_age=", "(xid="];
                match times.iter().find_map(|t| w.find(t).map(|at| (at, t))) {
                    Some((at, t)) => {
                        let end = w[at..].find([',', '\n', ')']).map_or("", |e| &w[at + e..]);
                        format!("{}{t}{end}", &w[..at])
                    }
                    None => w.to_owned(),
                }
            });
            words.collect::<Vec<_>>().join(" ")
        };
        let (a, b) = (
            self.ctl(&format!("-O {version} {ours}")),
            self.ofctl(&format!("-O {version} {theirs}")),
        );
        assert_eq!(plain(&a), plain(&b), "{version} {ours}");
    }
}

const VERSIONS: [&str; 4] = ["OpenFlow10", "OpenFlow13", "OpenFlow14", "OpenFlow15"];

pub fn flows_read_as_with_the_stock_tool(lab: &Lab) {
    let ovs = Theirs::start(lab);
    for (n, flow) in [
        "priority=10,tcp,in_port=1,tp_dst=80,actions=set_field:5->reg0,resubmit(,1)",
        "table=1,udp,nw_src=10.0.0.0/8,actions=p2",
        "table=1,idle_timeout=30,cookie=0x5,dl_vlan=7,actions=strip_vlan,output:1",
        "table=2,arp,actions=NORMAL",
        "icmp6,icmp_type=135,actions=CONTROLLER",
        "priority=3,actions=drop",
    ]
    .iter()
    .enumerate()
    {
        let version = VERSIONS[n % VERSIONS.len()];
        ovs.ctl(&format!("-O {version} add-flow br1 '{flow}'"));
    }
    for version in VERSIONS {
        ovs.agree(version, "dump-flows br1", "dump-flows br1");
        ovs.agree(version, "dump-flows br1 table=1", "dump-flows br1 table=1");
        ovs.agree(
            version,
            "--no-stats dump-flows br1 cookie=5/-1",
            "--no-stats dump-flows br1 cookie=5/-1",
        );
        ovs.agree(version, "dump-ports-desc br1", "dump-ports-desc br1");
        if version != "OpenFlow10" {
            ovs.agree(version, "dump-tables br1", "dump-tables br1");
        }
    }
    ovs.agree("OpenFlow13", "dump-ports br1", "dump-ports br1");
    assert!(ovs
        .ctl("--names dump-flows br1 table=1")
        .contains("output:p2"));
    let json: serde_json::Value =
        serde_json::from_str(&ovs.ctl("--json dump-flows br1 table=2")).unwrap();
    assert_eq!(
        (&json[0]["match"], &json[0]["actions"]),
        (&"arp".into(), &"NORMAL".into())
    );
    ovs.ctl("mod-flows br1 'table=1,udp,actions=1'");
    ovs.ctl("--strict del-flows br1 priority=3");
    ovs.ctl("del-flows br1 tcp");
    let left = ovs.ofctl("dump-flows br1");
    assert!(
        left.contains("udp,nw_src=10.0.0.0/8 actions=output:1"),
        "{left}"
    );
    assert!(
        !left.contains("priority=3") && !left.contains("tcp"),
        "{left}"
    );
    ovs.ctl("del-flows br1");
    assert_eq!(ovs.ofctl("dump-flows br1").lines().count(), 1);
}

pub fn files_of_flows(lab: &Lab) {
    let ovs = Theirs::start(lab);
    let file = |text: &str| std::fs::write(lab.path("f.txt"), text).unwrap();
    let dump = || ovs.ofctl("--no-stats dump-flows br1");
    file("# two\ntcp,actions=1\n\nudp,actions=group:99\nicmp,actions=group:98\n");
    // Every good line counts; the first bad one is named, the others too.
    ovs.refuses(
        "add-flows br1 f.txt",
        1,
        &["f.txt:4: OFPBAC_BAD_OUT_GROUP: ", "line 5"],
    );
    assert!(dump().contains("tcp"));
    ovs.ctl("del-flows br1");
    // A bundle is all or nothing.
    ovs.refuses(
        "--bundle add-flows br1 f.txt",
        1,
        &["f.txt:4: OFPBAC_BAD_OUT_GROUP: "],
    );
    ovs.refuses(
        "--bundle replace-flows br1 f.txt",
        1,
        &["OFPBAC_BAD_OUT_GROUP"],
    );
    assert_eq!(dump(), "");
    // A mistake in the text sends nothing.
    file("tcp,actions=1\nfoo=1,actions=2\n");
    ovs.refuses("add-flows br1 f.txt", 1, &["f.txt:2: foo"]);
    assert_eq!(dump(), "");
    file("tcp,actions=1\nudp,actions=1\nadd icmp,actions=1\ndelete udp\nmodify_strict tcp,actions=2\n");
    ovs.ctl("add-flows br1 f.txt");
    let lines = dump();
    assert!(lines.contains("tcp actions=output:2") && lines.contains("icmp actions=output:1"));
    assert!(!lines.contains("udp"), "{lines}");
    // What is there already is not touched.
    file("tcp,actions=2\nudp,cookie=7,actions=2\n");
    let differ = ovs.try_ctl("diff-flows br1 f.txt");
    assert_eq!(differ.code, 2, "{}", differ.err);
    assert_eq!(
        differ.out,
        "-icmp actions=output:1\n+udp cookie=0x7 actions=output:2\n"
    );
    ovs.ctl("replace-flows br1 f.txt");
    ovs.ctl("diff-flows br1 f.txt");
    ovs.ctl("diff-flows f.txt br1");
    file("tcp,actions=1\n");
    lab.sh(&format!(
        "printf 'table=4,actions=drop\\n' | {} --rundir ovs add-flows br1 -",
        binary("rvs-ctl").display()
    ));
    assert!(dump().contains("table=4"));
    // Ten thousand in one go.
    let many: String = (0..10_000)
        .map(|n| {
            format!(
                "tcp,tp_src={},nw_src=10.0.{}.1,actions=1\n",
                n % 60_000 + 1,
                n % 250
            )
        })
        .collect();
    file(&many);
    ovs.ctl("add-flows br1 f.txt");
    assert!(ovs.ofctl("dump-aggregate br1").contains("flow_count=10003"));
    ovs.ctl("diff-flows f.txt f.txt");
}

pub fn groups_and_meters(lab: &Lab) {
    let ovs = Theirs::start(lab);
    ovs.ctl("add-group br1 'group_id=1,type=select,bucket=weight:3,watch_port:p1,actions=output:1,bucket=actions=2'");
    std::fs::write(
        lab.path("g.txt"),
        "group_id=2,type=all,bucket=actions=1\nadd group_id=3,type=indirect,bucket=actions=2\n",
    )
    .unwrap();
    ovs.ctl("add-groups br1 g.txt");
    ovs.ctl("insert-buckets br1 group_id=2,command_bucket_id=first,bucket=bucket_id:7,actions=2");
    ovs.ctl("remove-buckets br1 group_id=2,command_bucket_id=0");
    ovs.ctl("mod-group br1 group_id=3,type=indirect,bucket=actions=1");
    ovs.ctl("--may-create mod-group br1 group_id=4,type=all,bucket=actions=1");
    ovs.ctl("add-flow br1 tcp,actions=group:1");
    ovs.ctl("add-meter br1 meter=1,kbps,burst,stats,bands=type=drop,rate=1000,burst_size=10");
    ovs.ctl("add-meter br1 meter=2,pktps,bands=type=drop,rate=10");
    for version in ["OpenFlow13", "OpenFlow15"] {
        for same in [
            "dump-groups br1",
            "dump-group-stats br1",
            "meter-features br1",
            "meter-stats br1",
            "dump-meters br1",
        ] {
            ovs.agree(version, same, same);
        }
        ovs.agree(version, "group-features br1", "dump-group-features br1");
    }
    ovs.refuses(
        "add-group br1 group_id=1,type=all",
        1,
        &["OFPGMFC_GROUP_EXISTS", "mod-group"],
    );
    ovs.refuses(
        "mod-meter br1 meter=9,kbps,bands=type=drop,rate=1",
        1,
        &["OFPMMFC_UNKNOWN_METER", "add-meter"],
    );
    ovs.refuses(
        "-O OpenFlow10 add-meter br1 meter=3,kbps,bands=type=drop,rate=1",
        1,
        &["--protocols"],
    );
    ovs.ctl("del-meters br1 meter=2");
    ovs.ctl("del-groups br1 group_id=4");
    ovs.ctl("del-groups br1");
    ovs.ctl("del-meters br1");
    assert_eq!(
        ovs.ofctl("-O OpenFlow13 dump-groups br1").lines().count(),
        1
    );
}

pub fn packets_and_monitors(lab: &Lab) {
    let ovs = Theirs::start(lab);
    let ctl = binary("rvs-ctl").display().to_string();
    let watcher = lab.spawn(
        "watcher",
        &format!("{ctl} --rundir ovs monitor br1 65534 watch:"),
    );
    eventually("the monitor is connected", || {
        ovs.ctl("add-flow br1 table=9,icmp,actions=1");
        ovs.ctl("del-flows br1 table=9");
        watcher.out().contains("event=ADDED table=9")
    });
    ovs.ctl("add-flow br1 in_port=1,actions=CONTROLLER");
    let frame = "ffffffffffff50540000000508060001080006040001505400000005010203040000000000000102030500000000";
    ovs.ctl(&format!(
        "packet-out br1 in_port=1,packet={frame},actions=TABLE"
    ));
    ovs.ctl(&format!("packet-out br1 p1 TABLE {frame}"));
    eventually("both packets are seen", || {
        watcher
            .out()
            .matches("arp,vlan_tci=0x0000,dl_src=50:54:00:00:00:05")
            .count()
            == 2
    });
    let out = watcher.out();
    for said in [
        "event=DELETED reason=delete table=9",
        "NXT_PACKET_IN2",
        "in_port=1 (via packet_out)",
        "arp_tpa=1.2.3.5",
    ] {
        assert!(out.contains(said), "no {said} in {out}");
    }
    ovs.ctl("probe br1");
    assert!(ovs.ctl("ping -c 1 br1").starts_with("64 bytes from br1"));
    ovs.refuses("dump-flows br9", 1, &["no bridge named br9", "br1"]);
    ovs.refuses("dump-flows tcp:127.0.0.1:1", 1, &["tcp:127.0.0.1:1"]);
    ovs.refuses(
        "packet-out br1 in_port=1,packet=00,actions=1",
        1,
        &["packet"],
    );
    ovs.refuses("-O OpenFlow17 dump-flows br1", 2, &["OpenFlow17"]);
}
