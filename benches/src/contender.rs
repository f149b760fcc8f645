//! Who is compared, each with its own best settings.

use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use clap::ValueEnum;
use tempfile::TempDir;

use crate::lab::{output, sh, wait_until, Hosts, Process};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A bare veth pair: the physical limit.
    Veth,
    /// The Linux bridge.
    Bridge,
    /// Open vSwitch netdev with userspace-tso-enable, its best setting for TCP over veth.
    OvsTso,
    /// Open vSwitch netdev as it comes: no TCP gets through.
    Ovs,
    /// rvswitch in user space (tiers 1 to 3).
    Rvswitch,
}

impl Kind {
    pub fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Veth => "bare veth",
            Self::Bridge => "Linux bridge",
            Self::OvsTso => "OVS netdev, TSO",
            Self::Ovs => "OVS netdev as it comes",
            Self::Rvswitch => "rvswitch, user space",
        }
    }

    /// What the contender needs and the machine lacks.
    pub fn lacks(self) -> Option<String> {
        let missing = |program: &str| output(&format!("command -v {program}")).is_err();
        match self {
            Self::Ovs | Self::OvsTso if missing("ovs-vswitchd") => {
                Some("ovs-vswitchd (apt-get install openvswitch-switch)".to_owned())
            }
            Self::Rvswitch if daemon().is_err() => {
                Some("rvswitchd (cargo build --release)".to_owned())
            }
            _ => None,
        }
    }

    /// What is measured, for the report.
    pub fn version(self) -> String {
        let line = match self {
            Self::Veth | Self::Bridge => "uname -r".to_owned(),
            Self::Ovs | Self::OvsTso => "ovs-vswitchd --version | head -n 1".to_owned(),
            Self::Rvswitch => daemon().map_or_else(
                |_| "false".to_owned(),
                |d| format!("{} --version", d.display()),
            ),
        };
        output(&line).map_or_else(|_| "unknown".to_owned(), |s| s.trim().to_owned())
    }
}

/// A contender at work, with its hosts joined through it.
pub struct Running {
    // Fields are dropped in this order: the switch ends before its hosts go.
    processes: Vec<Process>,
    cleanup: &'static str,
    _hosts: Hosts,
    dir: TempDir,
}

impl Running {
    pub fn start(kind: Kind) -> Result<Self> {
        // On the run's own /run: gone with its namespaces, however it ends.
        let dir = tempfile::tempdir_in("/run")?;
        let hosts = Hosts::make(kind == Kind::Veth)?;
        let mut running = Self {
            processes: Vec::new(),
            cleanup: "",
            _hosts: hosts,
            dir,
        };
        let dir = running.dir.path().to_owned();
        match kind {
            Kind::Veth => {}
            Kind::Bridge => running.bridge()?,
            Kind::Ovs => running.ovs(&dir, false)?,
            Kind::OvsTso => running.ovs(&dir, true)?,
            Kind::Rvswitch => running.rvswitch(&dir)?,
        }
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

    fn ovs(&mut self, dir: &Path, tso: bool) -> Result<()> {
        let d = dir.display();
        self.cleanup = "ip link del br0; ip link del ovs-netdev; true";
        sh(&format!(
            "ovsdb-tool create {d}/conf.db /usr/share/openvswitch/vswitch.ovsschema"
        ))?;
        let remote = format!("--remote=punix:{d}/db.sock");
        let pidfile = format!("--pidfile={d}/ovsdb-server.pid");
        let control = format!("--unixctl={d}/ovsdb.ctl");
        let database = format!("{d}/conf.db");
        self.processes.push(Process::start(
            "ovsdb-server",
            &[&database, &remote, &pidfile, &control],
        )?);
        let vsctl = format!("ovs-vsctl --timeout=10 --db=unix:{d}/db.sock");
        wait_until("start of ovsdb-server", || dir.join("db.sock").exists())?;
        sh(&format!(
            "{vsctl} --no-wait init -- set open . other_config:userspace-tso-enable={tso}"
        ))?;
        let pidfile = format!("--pidfile={d}/ovs-vswitchd.pid");
        let control = format!("--unixctl={d}/vswitchd.ctl");
        std::env::set_var("OVS_RUNDIR", dir);
        self.processes.insert(
            0,
            Process::start(
                "ovs-vswitchd",
                &[&format!("unix:{d}/db.sock"), &pidfile, &control],
            )?,
        );
        sh(&format!(
            "{vsctl} add-br br0 -- set bridge br0 datapath_type=netdev -- add-port br0 v-red -- add-port br0 v-green"
        ))
    }

    fn rvswitch(&mut self, dir: &Path) -> Result<()> {
        let d = dir.display().to_string();
        let database = format!("{d}/conf.db");
        let program = daemon()?;
        let program = program.to_str().context("the program's path is not text")?;
        let arguments = [
            "--bridge",
            "br0",
            "--rundir",
            &d,
            "--db",
            &database,
            "--cleanup-on-exit",
        ];
        self.processes.push(Process::start(program, &arguments)?);
        wait_until("start of rvswitchd", || dir.join("db.sock").exists())?;
        let ctl = daemon()?.with_file_name("rvs-ctl");
        sh(&format!(
            "{} --rundir {d} add-port br0 v-red -- add-port br0 v-green",
            ctl.display()
        ))
    }

    /// The run directory of the contender's processes.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Octets of memory that the contender's processes have resident.
    pub fn resident(&self) -> u64 {
        let of = |p: &Process| {
            let status =
                std::fs::read_to_string(format!("/proc/{}/status", p.pid())).unwrap_or_default();
            let line = status
                .lines()
                .find_map(|l| l.strip_prefix("VmRSS:"))
                .unwrap_or("0");
            line.split_whitespace()
                .next()
                .and_then(|n| n.parse::<u64>().ok())
                .unwrap_or(0)
                * 1024
        };
        self.processes.iter().map(of).sum()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.processes.clear();
        if !self.cleanup.is_empty() {
            let _ = sh(self.cleanup);
        }
    }
}

/// The daemon beside this program.
fn daemon() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("rvswitchd");
    if !path.exists() {
        bail!(
            "{} is not there: build it with cargo build --release",
            path.display()
        );
    }
    Ok(path)
}
