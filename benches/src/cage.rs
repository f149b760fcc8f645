//! The cage of a run: process, network and mount namespaces of its own.
//!
//! Two processes. The outer one only waits. The inner one is the first process of a new process namespace, so that the kernel
//! ends everything that the run started when the inner one ends, however that happens; it dies with the outer one. With the
//! last process go the network namespaces, their devices and sockets, and the private `/run` with all files of the run.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{bail, Context, Result};
use nix::mount::{mount, MsFlags};
use nix::sched::{unshare, CloneFlags};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;

use crate::lab::sh;

/// Tells the inner process that it is in the cage.
const INSIDE: &str = "RVS_BENCH_CAGE";

pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Says what the machine or the user lacks for a cage.
pub fn check() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "needs root: it makes network namespaces (CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW)"
        );
    }
    for program in ["setpriv", "ip"] {
        if !crate::packages::present(program) {
            bail!("needs {program} (Debian packages util-linux, iproute2)");
        }
    }
    Ok(())
}

/// Runs this program again, with the same arguments, inside a cage; its exit code.
pub fn run_inside() -> Result<ExitCode> {
    // Blocked from here on: they are waited for below. A child begins with none blocked.
    let mut signals = SigSet::empty();
    for s in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ] {
        signals.add(s);
    }
    signals.thread_block().context("sigprocmask")?;
    unshare(CloneFlags::CLONE_NEWPID)
        .context("no process namespaces here (CAP_SYS_ADMIN, CONFIG_PID_NS)")?;
    let mut inner = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .spawn()
        .context("setpriv")?;
    let pid = Pid::from_raw(inner.id() as i32);
    loop {
        let signal = signals.wait().context("sigwait")?;
        if signal != Signal::SIGCHLD {
            let _ = inner.kill();
            let _ = inner.wait();
            eprintln!("\nrvs-bench: ended by {signal}; nothing of the run is left");
            return Ok(ExitCode::from(128 + signal as u8));
        }
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(ExitCode::from(code as u8)),
            Ok(WaitStatus::Signaled(_, signal, _)) => bail!("the run was ended by {signal}"),
            _ => {}
        }
    }
}

/// Gives the inner process mounts of its own, with an empty `/run` and the `/proc` of its process namespace.
pub fn own_mounts() -> Result<()> {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).context("no mount namespaces here (CAP_SYS_ADMIN)")?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("private mounts")?;
    for (kind, at) in [("tmpfs", "/run"), ("proc", "/proc")] {
        mount(Some(kind), at, Some(kind), MsFlags::empty(), none)
            .with_context(|| format!("a {at} of our own"))?;
    }
    Ok(())
}

/// Gives the inner process a network of its own: from here on it can't touch the machine's.
pub fn own_network() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)
        .context("no network namespaces here (CAP_SYS_ADMIN, CONFIG_NET_NS)")?;
    sh("ip link set lo up")
}
