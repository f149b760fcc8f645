//! Namespaces, devices and processes of a run, gone when the run is gone.
//!
//! The whole run moves into a network and mount namespace of its own first, so that even a killed run leaves nothing on the
//! machine: the kernel removes the devices with the last process.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use nix::mount::{mount, MsFlags};
use nix::sched::{unshare, CloneFlags};

/// Moves this process into namespaces of its own.
pub fn enter() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("namespaces need root: run it as root");
    }
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .context("no network namespaces here (CAP_SYS_ADMIN, CONFIG_NET_NS)")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("private mounts")?;
    mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), none)
        .context("a /run of our own")?;
    sh("ip link set lo up")
}

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
        bail!(
            "`{line}` failed: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Waits until `met` says so.
pub fn wait_until(what: &str, mut met: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !met() {
        if Instant::now() > deadline {
            bail!("{what} did not happen within 10 s");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A process of the run, ended with it, also when the run is killed.
pub struct Process(Child);

impl Process {
    pub fn start(program: &str, arguments: &[&str]) -> Result<Self> {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("can't start {program}"))?;
        Ok(Self(child))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(3);
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two hosts, `red` (10.0.0.1, device `e-red`) and `green` (10.0.0.2, `e-green`). Joined directly, or each by a veth whose
/// other end (`v-red`, `v-green`) is a contender's to take.
pub struct Hosts;

impl Hosts {
    pub fn make(direct: bool) -> Result<Self> {
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
                "ip -n {h} link set lo up && ip -n {h} addr add 10.0.0.{a}/24 dev e-{h} && ip -n {h} link set e-{h} up"
            ))?;
        }
        Ok(hosts)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = sh("for h in red green; do ip link del v-$h; ip netns del $h; done");
    }
}
