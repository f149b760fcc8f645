//! Commands, processes and hosts of a run. Everything is inside the run's cage and ends with it ([`crate::cage`]).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

/// Runs a shell line; an error shows what it printed.
pub fn sh(line: &str) -> Result<()> {
    output(line).map(drop)
}

/// Runs a shell line and returns what it printed.
pub fn output(line: &str) -> Result<String> {
    let out = Command::new("sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .output()
        .context("sh")?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        let why = match (said.trim(), out.status.code()) {
            ("", Some(124)) => "it did not end in time".to_owned(),
            ("", _) => out.status.to_string(),
            (said, _) => said.lines().last().unwrap_or(said).to_owned(),
        };
        bail!("`{line}`: {why}");
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Waits until `met` says so.
pub fn wait_until(what: &str, met: impl FnMut() -> bool) -> Result<()> {
    wait_for(Duration::from_secs(10), what, met)
}

/// Waits until `met` says so, no longer than this.
pub fn wait_for(limit: Duration, what: &str, mut met: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !met() {
        if Instant::now() > deadline {
            bail!("{what}: not within {} s", limit.as_secs_f64());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Line of a shell that runs this very program inside a host.
pub fn own(host: &str, arguments: &str) -> Result<String> {
    let program = std::env::current_exe()?;
    Ok(format!(
        "ip netns exec {host} {} {arguments}",
        program.display()
    ))
}

/// A program beside the run; it is ended when this is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it prints goes to `NAME.out` and `NAME.log` in a directory.
    pub fn start(dir: &Path, name: &str, program: &str, arguments: &[&str]) -> Result<Self> {
        let file = |end| File::create(dir.join(format!("{name}.{end}")));
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file("out")?)
            .stderr(file("log")?)
            .spawn()
            .with_context(|| format!("can't start {program}"))?;
        Ok(Self {
            child,
            log: dir.join(format!("{name}.log")),
        })
    }

    /// The same, of a shell line with one command.
    pub fn line(dir: &Path, name: &str, line: &str) -> Result<Self> {
        Self::start(dir, name, "sh", &["-c", &format!("exec {line}")])
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails when the program has ended, with its last words.
    pub fn check(&mut self) -> Result<()> {
        if let Ok(Some(status)) = self.child.try_wait() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            bail!(
                "it ended ({status}): {}",
                log.lines().last().unwrap_or("no word")
            );
        }
        Ok(())
    }

    /// Waits for its end; what it printed.
    pub fn finish(mut self) -> Result<String> {
        let status = self.child.wait()?;
        if !status.success() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            bail!("{status}: {}", log.lines().last().unwrap_or("no word"));
        }
        Ok(std::fs::read_to_string(self.log.with_extension("out"))?)
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(3);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
    }
}

/// VLAN of the tagged measurements.
pub const VLAN: u16 = 7;

/// Two hosts, `red` (10.0.0.1, device `e-red`) and `green` (10.0.0.2, `e-green`), joined directly, or each by a veth whose
/// other end (`v-red`, `v-green`) is a contender's to take. IPv6 addresses are fd00::1 and fd00::2.
pub struct Hosts;

impl Hosts {
    pub fn make(direct: bool, tx_offload: bool) -> Result<Self> {
        let hosts = Self;
        sh("ip netns add red && ip netns add green")?;
        if direct {
            sh("ip link add e-red netns red type veth peer name e-green netns green")?;
        } else {
            for h in ["red", "green"] {
                sh(&format!(
                    "ip link add v-{h} type veth peer name e-{h} netns {h} && ip link set v-{h} up"
                ))?;
            }
        }
        for (h, a) in [("red", 1), ("green", 2)] {
            sh(&format!(
                "ip -n {h} link set lo up && ip -n {h} addr add 10.0.0.{a}/24 dev e-{h} && ip -n {h} link set e-{h} up \
                 && ip -n {h} addr add fd00::{a}/64 dev e-{h} nodad \
                 && ip netns exec {h} sysctl -q -w net.ipv4.ip_local_port_range='1024 65535'"
            ))?;
            if !tx_offload {
                sh(&format!("ip netns exec {h} ethtool -K e-{h} tx off"))?;
            }
        }
        Ok(hosts)
    }
}

/// Both hosts' VLAN, for as long as this lives where the kernel has no VLAN devices.
pub struct Tagged {
    taggers: Vec<Process>,
    prefix: [&'static str; 2],
}

impl Tagged {
    /// Gives both hosts a VLAN device with 10.7.0.1 and 10.7.0.2, fd07::1 and fd07::2, unless they have it. Where the kernel
    /// has none, eBPF programs tag and untag all that the hosts send and receive meanwhile.
    pub fn hosts(dir: &Path) -> Result<Self> {
        if !has_vlan_devices() {
            return Self::programs(dir);
        }
        for (h, a) in [("red", 1), ("green", 2)] {
            sh(&format!(
                "ip -n {h} link show tagged > /dev/null 2>&1 || {{ \
                 ip -n {h} link add tagged link e-{h} type vlan id {VLAN} && ip -n {h} addr add 10.7.0.{a}/24 dev tagged \
                 && ip -n {h} addr add fd07::{a}/64 dev tagged nodad && ip -n {h} link set tagged up; }}"
            ))?;
        }
        Ok(Self {
            taggers: Vec::new(),
            prefix: ["10.7.0.", "fd07::"],
        })
    }

    fn programs(dir: &Path) -> Result<Self> {
        let mut taggers = Vec::new();
        for host in ["red", "green"] {
            let name = format!("tag-{host}");
            let line = own(host, &format!("tool tag e-{host} {VLAN}"))?;
            let mut process = Process::line(dir, &name, &line)?;
            wait_until("tagging in a host", || {
                let said = std::fs::read_to_string(dir.join(format!("{name}.out")));
                said.is_ok_and(|s| s == "tagging\n") || process.check().is_err()
            })?;
            process.check()?;
            taggers.push(process);
        }
        Ok(Self {
            taggers,
            prefix: ["10.0.0.", "fd00::"],
        })
    }

    /// An address of host `number` in the VLAN.
    pub fn address(&self, v6: bool, number: u32) -> String {
        format!("{}{number}", self.prefix[usize::from(v6)])
    }
}

impl Drop for Tagged {
    fn drop(&mut self) {
        // They have nothing to put in order.
        self.taggers.iter_mut().for_each(Process::kill);
    }
}

/// Whether the kernel has VLAN devices.
fn has_vlan_devices() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        sh("ip link add vlanprobe link lo type vlan id 1 && ip link del vlanprobe").is_ok()
    })
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // The growth of ports leaves devices of its own.
        let _ = sh("for h in red green; do ip link del v-$h; ip netns del $h; done; \
             ip -o link show type veth | sed -n 's/^[0-9]*: \\(p[0-9]*\\)@.*/link del \\1/p' | ip -batch -; true");
    }
}
