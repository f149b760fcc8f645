//! Who is compared, each with its own best settings.

mod ovs;
mod rvswitch;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use tempfile::TempDir;

use crate::lab::{output, own, sh, wait_until, Hosts, Process};
use crate::packages;

/// Number of the port that leads to `red`, in contenders that speak OpenFlow; `green`'s is the next.
pub const RED: u16 = 1;

/// In the order of a run: who matters most is not last, where a quick run may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A bare veth pair: the physical limit.
    Veth,
    /// The Linux bridge.
    Bridge,
    /// Open vSwitch netdev with userspace-tso-enable, its best setting for TCP over veth.
    OvsTso,
    /// rvswitch in user space (tiers 1 to 3).
    Rvswitch,
    /// rvswitch with its flow cache in the kernel (tier 0), as it comes.
    RvswitchKernel,
    /// Open vSwitch netdev, transmit offloads switched off in the hosts.
    OvsTxOff,
    /// Open vSwitch netdev with AF_XDP ports, transmit offloads switched off in the hosts.
    OvsAfxdp,
    /// Open vSwitch netdev as it comes: no TCP gets through.
    Ovs,
    /// Open vSwitch with the kernel's datapath module.
    OvsKernel,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Veth => "bare veth",
            Self::Bridge => "Linux bridge",
            Self::OvsTso => "OVS netdev, TSO",
            Self::OvsTxOff => "OVS netdev, tx off",
            Self::OvsAfxdp => "OVS AF_XDP, tx off",
            Self::Ovs => "OVS netdev as it comes",
            Self::OvsKernel => "OVS kernel datapath",
            Self::Rvswitch => "rvswitch, user space",
            Self::RvswitchKernel => "rvswitch, kernel cache",
        }
    }

    /// Settings that differ from what comes by default, for the report.
    pub fn settings(self) -> &'static str {
        match self {
            Self::Veth => "the hosts joined directly",
            Self::Bridge => "defaults, no VLAN filtering",
            Self::OvsTso => "datapath_type=netdev, other_config:userspace-tso-enable=true",
            Self::OvsTxOff => "datapath_type=netdev, `ethtool -K DEVICE tx off` in both hosts",
            Self::OvsAfxdp => {
                "datapath_type=netdev, ports type=afxdp (best-effort mode), `tx off` in both hosts"
            }
            Self::Ovs => "datapath_type=netdev",
            Self::OvsKernel => "datapath_type=system",
            Self::Rvswitch => "other_config:kernel-cache=off",
            Self::RvswitchKernel => "defaults",
        }
    }

    /// Transmit offloads of the hosts' devices.
    fn tx_offload(self) -> bool {
        !matches!(self, Self::OvsTxOff | Self::OvsAfxdp)
    }

    fn is_ovs(self) -> bool {
        matches!(
            self,
            Self::OvsTso | Self::OvsTxOff | Self::OvsAfxdp | Self::Ovs | Self::OvsKernel
        )
    }

    /// Has OVSDB and OpenFlow.
    pub fn is_open(self) -> bool {
        self.is_ovs() || self.is_rvswitch()
    }

    fn is_rvswitch(self) -> bool {
        matches!(self, Self::Rvswitch | Self::RvswitchKernel)
    }
}

/// One of those compared: a kind, and for rvswitch where its programs are.
#[derive(Clone, Debug)]
pub struct Contender {
    pub kind: Kind,
    pub name: String,
    /// Directory of `rvswitchd`.
    pub programs: PathBuf,
}

impl Contender {
    /// The kind as it is on this machine; rvswitch beside this program.
    pub fn here(kind: Kind) -> Result<Self> {
        let own = std::env::current_exe()?;
        Ok(Self {
            kind,
            name: kind.name().to_owned(),
            programs: own.parent().unwrap_or(Path::new(".")).to_owned(),
        })
    }

    /// What the contender needs and the machine lacks.
    pub fn lacks(&self) -> Option<String> {
        let kind = self.kind;
        if kind.is_ovs() {
            if let Some(tool) = packages::lacking(packages::OVS) {
                return Some(tool);
            }
        }
        let module = || {
            let _ = sh("modprobe -q openvswitch");
            Path::new("/sys/module/openvswitch").exists()
        };
        match kind {
            Kind::OvsKernel if !module() => Some("the kernel's module openvswitch".to_owned()),
            _ if kind.is_rvswitch() && !self.daemon().exists() => Some(format!(
                "{} (cargo build --release)",
                self.daemon().display()
            )),
            _ => None,
        }
    }

    /// What is measured, for the report.
    pub fn version(&self) -> String {
        let line = match self.kind {
            Kind::Veth | Kind::Bridge => "echo Linux $(uname -r)".to_owned(),
            kind if kind.is_rvswitch() => format!("{} --version", self.daemon().display()),
            _ => "ovs-vswitchd --version | head -n 1".to_owned(),
        };
        output(&line).map_or_else(|_| "unknown".to_owned(), |s| s.trim().to_owned())
    }

    fn daemon(&self) -> PathBuf {
        self.programs.join("rvswitchd")
    }
}

/// A program of the contender, to be started again.
struct Daemon {
    process: Process,
    program: String,
    arguments: Vec<String>,
}

/// A contender at work, with its hosts joined through it.
pub struct Running {
    // Fields are dropped in this order: the switch ends before its hosts go.
    /// The one that forwards is first.
    daemons: Vec<Daemon>,
    cleanup: &'static str,
    helpers: Vec<Process>,
    _hosts: Hosts,
    pub kind: Kind,
    /// What `probe` found, by address.
    carries: RefCell<HashMap<String, Result<(), String>>>,
    dir: TempDir,
}

impl Running {
    pub fn start(contender: &Contender) -> Result<Self> {
        let kind = contender.kind;
        // On the run's own /run: gone with its namespaces, however it ends.
        let dir = tempfile::tempdir_in("/run")?;
        let hosts = Hosts::make(kind == Kind::Veth, kind.tx_offload())?;
        let mut running = Self {
            daemons: Vec::new(),
            cleanup: "",
            helpers: Vec::new(),
            _hosts: hosts,
            kind,
            carries: RefCell::default(),
            dir,
        };
        match kind {
            Kind::Veth => {}
            Kind::Bridge => running.bridge()?,
            Kind::Rvswitch => running.rvswitch(contender, "off")?,
            Kind::RvswitchKernel => running.rvswitch(contender, "on")?,
            _ => running.ovs()?,
        }
        let answer = Process::line(running.dir(), "answer", &own("green", "tool answer")?)?;
        running.helpers.push(answer);
        // Also warms up: addresses are learned, caches filled.
        wait_until("the first ping", || {
            sh("ip netns exec red ping -q -c 1 -W 1 10.0.0.2").is_ok()
        })?;
        Ok(running)
    }

    fn bridge(&mut self) -> Result<()> {
        self.cleanup = "ip link del br0";
        sh("ip link add br0 type bridge && ip link set br0 up && ip link set v-red master br0 && ip link set v-green master br0")
    }

    fn daemon(&mut self, name: &str, program: &str, arguments: &[&str]) -> Result<()> {
        let process = Process::start(self.dir(), name, program, arguments)?;
        let daemon = Daemon {
            process,
            program: program.to_owned(),
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
        };
        self.daemons.insert(0, daemon);
        Ok(())
    }

    /// Waits until the daemon just started has made a file.
    fn wait_file(&mut self, name: &str) -> Result<()> {
        let file = self.dir().join(name);
        let daemon = self.daemons.first_mut();
        let mut ended = Ok(());
        let Some(daemon) = daemon else { return Ok(()) };
        wait_until("the daemon's start", || {
            ended = daemon.process.check();
            ended.is_err() || file.exists()
        })?;
        ended
    }

    /// Kills the forwarding daemon, as a crash would.
    pub fn kill(&mut self) {
        if let Some(d) = self.daemons.first_mut() {
            d.process.kill();
        }
    }

    /// Starts the killed one again.
    pub fn again(&mut self) -> Result<()> {
        let dir = self.dir.path().to_owned();
        if let Some(d) = self.daemons.first_mut() {
            let arguments: Vec<&str> = d.arguments.iter().map(String::as_str).collect();
            d.process = Process::start(&dir, "again", &d.program, &arguments)?;
        }
        Ok(())
    }

    /// Shell line that adds a device as a port.
    pub fn add_port(&self, device: &str) -> String {
        match self.kind {
            Kind::Bridge => format!("ip link set {device} master br0"),
            _ => format!("{} add-port br0 {device}", self.vsctl()),
        }
    }

    /// Shell line that takes a port away, and its device too.
    pub fn del_port(&self, device: &str) -> String {
        match self.kind {
            Kind::Bridge => format!("ip link del {device}"),
            _ => format!(
                "{} del-port br0 {device}; ip link del {device}",
                self.vsctl()
            ),
        }
    }

    /// The stock client, for every contender that has a database.
    pub fn vsctl(&self) -> String {
        format!(
            "ovs-vsctl --timeout=10 --db=unix:{}/db.sock",
            self.dir().display()
        )
    }

    /// The socket of the bridge's OpenFlow service.
    pub fn openflow(&self) -> PathBuf {
        self.dir().join("br0.mgmt")
    }

    /// The run directory of the contender's processes.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Fails unless TCP gets through to an address of `green`; asked once.
    pub fn carries(&self, address: &str) -> Result<()> {
        let ask = || {
            let to = match address.contains(':') {
                true => format!("[{address}]:{}", crate::tool::ANSWER),
                false => format!("{address}:{}", crate::tool::ANSWER),
            };
            let line = own("red", &format!("tool probe {to}")).map_err(|e| e.to_string())?;
            sh(&line).map_err(|_| "no TCP gets through (256 KiB not within 2 s)".to_owned())
        };
        let mut known = self.carries.borrow_mut();
        let known = known.entry(address.to_owned()).or_insert_with(ask);
        known.clone().map_err(anyhow::Error::msg)
    }

    /// Octets of memory that the contender's processes have resident.
    pub fn resident(&self) -> u64 {
        let of = |d: &Daemon| {
            let file = format!("/proc/{}/status", d.process.pid());
            let status = std::fs::read_to_string(file).unwrap_or_default();
            let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
            let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
            kib.unwrap_or(0) * 1024
        };
        self.daemons.iter().map(of).sum()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.daemons.clear();
        self.helpers.clear();
        if !self.cleanup.is_empty() {
            let _ = sh(self.cleanup);
        }
    }
}
