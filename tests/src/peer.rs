//! The switch that a judge judges: ours, or Open vSwitch itself.
//!
//! A test that a foreign program writes the answers of is only worth something when it is known to be right. So such tests take
//! the switch as a parameter: `RVS_PEER=ovs` runs them on Open vSwitch's user-space datapath, which they were written against.

use std::path::PathBuf;

use crate::lab::{eventually, Background, Lab, Ran};
use crate::Daemon;

/// Which switch a test judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    Rvswitch,
    Ovs,
}

impl Under {
    /// `$RVS_PEER`: `ovs`, else ours.
    pub fn chosen() -> Self {
        match std::env::var("RVS_PEER").as_deref() {
            Ok("ovs") => Self::Ovs,
            Ok("rvswitch" | "") | Err(_) => Self::Rvswitch,
            Ok(other) => panic!("RVS_PEER={other}: ovs or rvswitch"),
        }
    }
}

enum Running<'a> {
    Ours(Daemon<'a>),
    Theirs {
        _database: Background,
        switch: Background,
    },
}

/// A running switch with one bridge, `br1`, that starts empty: no controller, no flow, `fail_mode` secure.
pub struct Peer<'a> {
    pub lab: &'a Lab,
    pub under: Under,
    running: Running<'a>,
}

/// The bridge under test.
pub const BRIDGE: &str = "br1";

impl<'a> Peer<'a> {
    pub fn start(lab: &'a Lab) -> Self {
        let peer = match Under::chosen() {
            Under::Rvswitch => Self {
                lab,
                under: Under::Rvswitch,
                running: Running::Ours(Daemon::start(lab, "")),
            },
            Under::Ovs => Self::start_ovs(lab),
        };
        peer.vsctl(&format!(
            "add-br {BRIDGE} -- set bridge {BRIDGE} datapath_type=netdev fail_mode=secure \
             other_config:datapath-id=00000000000000b1 other_config:disable-in-band=true"
        ));
        eventually("the management socket is there", || peer.mgmt().exists());
        peer
    }

    /// Lets our daemon log warnings that contain one of these texts.
    pub fn expects(&self, texts: &[&'static str]) {
        if let Running::Ours(daemon) = &self.running {
            daemon.expects(texts);
        }
    }

    fn start_ovs(lab: &'a Lab) -> Self {
        let dir = lab.path("switch");
        let dir = dir.display();
        lab.sh(&format!(
            "mkdir {dir}; ovsdb-tool create {dir}/conf.db /usr/share/openvswitch/vswitch.ovsschema"
        ));
        let environment =
            format!("env OVS_RUNDIR={dir} OVS_LOGDIR={dir} OVS_DBDIR={dir} OVS_SYSCONFDIR={dir}");
        let quiet = "-vconsole:emer";
        let database = lab.spawn(
            "ovsdb",
            &format!("{environment} ovsdb-server {quiet} --pidfile --remote=punix:{dir}/db.sock {dir}/conf.db"),
        );
        eventually("ovsdb-server listens", || {
            lab.path("switch/db.sock").exists()
        });
        lab.sh(&format!("ovs-vsctl --db=unix:{dir}/db.sock --no-wait init"));
        let switch = lab.spawn(
            "vswitchd",
            &format!("{environment} ovs-vswitchd {quiet} --pidfile --disable-system --log-file={dir}/log unix:{dir}/db.sock"),
        );
        Self {
            lab,
            under: Under::Ovs,
            running: Running::Theirs {
                _database: database,
                switch,
            },
        }
    }

    pub fn is_ovs(&self) -> bool {
        self.under == Under::Ovs
    }

    pub fn rundir(&self) -> PathBuf {
        self.lab.path("switch")
    }

    pub fn pid(&self) -> u32 {
        match &self.running {
            Running::Ours(daemon) => daemon.pid(),
            Running::Theirs { switch, .. } => switch.pid(),
        }
    }

    /// What the switch has logged.
    pub fn log(&self) -> String {
        match &self.running {
            Running::Ours(daemon) => daemon.log(),
            Running::Theirs { .. } => {
                std::fs::read_to_string(self.rundir().join("log")).unwrap_or_default()
            }
        }
    }

    /// The bridge's socket for `ovs-ofctl`.
    pub fn mgmt(&self) -> PathBuf {
        self.rundir().join(format!("{BRIDGE}.mgmt"))
    }

    /// The stock `ovs-vsctl`, which has to succeed; what it prints.
    pub fn vsctl(&self, words: &str) -> String {
        let db = self.rundir().join("db.sock");
        self.lab.sh(&format!(
            "ovs-vsctl --timeout=15 --db=unix:{} {words}",
            db.display()
        ))
    }

    /// The stock `ovs-ofctl` with a version (`10` to `15`; empty for its default), whatever its end. `BR` in the words stands for
    /// the bridge's socket.
    pub fn try_ofctl(&self, version: &str, words: &str) -> Ran {
        self.lab.try_sh(&self.ofctl_line(version, words))
    }

    /// The command line of that.
    pub fn ofctl_line(&self, version: &str, words: &str) -> String {
        let protocol = match version {
            "" => String::new(),
            v => format!("-O OpenFlow{v}"),
        };
        let socket = format!("unix:{}", self.mgmt().display());
        let words: Vec<&str> = words
            .split(' ')
            .map(|w| if w == "BR" { socket.as_str() } else { w })
            .collect();
        // Its monitor command makes a control socket of its own.
        format!(
            "env OVS_RUNDIR={} ovs-ofctl --timeout=15 {protocol} {}",
            self.lab.path("").display(),
            words.join(" ")
        )
    }

    /// The same, which has to succeed without a word of complaint; what it prints.
    pub fn ofctl(&self, version: &str, words: &str) -> String {
        let ran = self.try_ofctl(version, words);
        assert!(
            ran.code == 0 && ran.err.is_empty(),
            "ovs-ofctl {version} {words}: exit {}\n{}{}",
            ran.code,
            ran.out,
            ran.err
        );
        ran.out
    }

    /// The same, which has to fail and to say all of this.
    pub fn ofctl_fails(&self, version: &str, words: &str, says: &[&str]) -> String {
        let ran = self.try_ofctl(version, words);
        let text = format!("{}{}", ran.out, ran.err);
        assert!(
            ran.code != 0,
            "ovs-ofctl {version} {words} succeeds:\n{text}"
        );
        for s in says {
            assert!(
                text.contains(s),
                "ovs-ofctl {version} {words}: no \"{s}\" in\n{text}"
            );
        }
        text
    }

    /// Takes flows, groups and meters away.
    pub fn empty(&self) {
        for words in ["del-flows BR", "del-groups BR", "del-meters BR"] {
            self.ofctl("13", words);
        }
    }

    /// Makes veth pairs `p1`.. (ports of the bridge with these numbers) and `h1`.. in the namespace `wire`, silent: neither end
    /// has an address or sends a frame by itself.
    pub fn wires(&self, count: u32) {
        self.lab.namespaces(&["wire"]);
        let quiet =
            "sysctl -q -w net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1";
        self.lab.sh(&format!("{quiet}; ip netns exec wire {quiet}"));
        for n in 1..=count {
            self.lab.sh(&format!(
                "ip link add p{n} type veth peer name h{n}; ip link set h{n} netns wire; ip link set p{n} up; \
                 ip -n wire link set h{n} up"
            ));
            self.vsctl(&format!(
                "add-port {BRIDGE} p{n} -- set interface p{n} ofport_request={n}"
            ));
        }
        for n in 1..=count {
            eventually(&format!("port p{n} is up"), || {
                let is = self.vsctl(&format!("get interface p{n} ofport link_state"));
                is.split_whitespace().eq([n.to_string().as_str(), "up"])
            });
        }
    }
}
