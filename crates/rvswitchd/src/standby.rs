//! A second daemon on a run directory, under the name `ovs-vswitchd`: with a control socket of its own, and no pid file or
//! one of its own, it does not fail, as ours otherwise would, but says who is first and waits for its end.
//!
//! Until then it touches nothing: no device, no program in the kernel, no database. It answers `exit` and `version`.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::fcntl::{fcntl, FcntlArg};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signalfd::SignalFd;
use serde_json::json;

use crate::args::{self, Args};
use crate::clients::ControlSession;
use crate::rundir;

/// Milliseconds between looks at the first one's pid file.
const LOOK_EVERY: u16 = 200;
/// How long a client may take for its request, and for taking the answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Octets of a request.
const MAX_REQUEST: usize = 4096;

/// Waits until no other daemon runs in the directory. False when this one is to end.
///
/// # Errors
/// When its control socket can't be made.
pub fn wait(args: &Args, dir: &Path, signals: &SignalFd) -> Result<bool> {
    let Some(socket) = args.unixctl.as_deref() else {
        return Ok(true);
    };
    let usual = |p: &Path| p.as_os_str() == args::USUAL;
    if !args::is_stock() || args.pidfile.as_deref().is_some_and(usual) {
        return Ok(true);
    }
    let pidfile = dir.join("ovs-vswitchd.pid");
    let Some(pid) = owner(&pidfile) else {
        return Ok(true);
    };
    tracing::error!(
        target: "bridge",
        "another ovs-vswitchd process is running, disabling this process (pid {pid}) until it goes away"
    );
    let own = args.pidfile.as_deref();
    let held = own.map(|path| rundir::pidfile(path, dir)).transpose()?;
    let listener = rundir::listen(socket)?;
    let asked = look(&pidfile, &listener, signals);
    let _ = std::fs::remove_file(socket);
    // Who goes on takes it again.
    if let (Some(_), Some(path)) = (held, own) {
        let _ = std::fs::remove_file(path);
    }
    asked
}

/// The process that holds the record lock on a pid file.
fn owner(pidfile: &Path) -> Option<i32> {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(pidfile)
        .ok()?;
    let mut lock = rundir::whole_file();
    fcntl(&file, FcntlArg::F_GETLK(&mut lock)).ok()?;
    (lock.l_type != nix::libc::F_UNLCK as i16).then_some(lock.l_pid)
}

fn look(pidfile: &Path, listener: &UnixListener, signals: &SignalFd) -> Result<bool> {
    while owner(pidfile).is_some() {
        let fd = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = [fd(listener.as_fd()), fd(signals.as_fd())];
        match poll(&mut fds, PollTimeout::from(LOOK_EVERY)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e).context("poll"),
        }
        let [client, signal] = fds.map(|fd| fd.any().unwrap_or(false));
        if signal {
            return Ok(false);
        }
        // One that does not speak the protocol, or not in time, is none.
        if client
            && listener
                .accept()
                .is_ok_and(|(s, _)| answer(s) == Some(true))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Answers one request. True when it is `exit`; nothing when there was none.
fn answer(mut client: UnixStream) -> Option<bool> {
    client.set_nonblocking(false).ok()?;
    client.set_read_timeout(Some(PATIENCE)).ok()?;
    client.set_write_timeout(Some(PATIENCE)).ok()?;
    let mut session = ControlSession::default();
    let (mut buffer, mut taken) = ([0; MAX_REQUEST], 0);
    let started = std::time::Instant::now();
    let request = loop {
        let n = client.read(&mut buffer).ok().filter(|n| *n > 0)?;
        taken += n;
        session.push(buffer.get(..n)?);
        match session.next().ok()? {
            Some(request) => break request,
            None if taken < MAX_REQUEST && started.elapsed() < PATIENCE => {}
            None => return None,
        }
    };
    let ends = request.method == "exit";
    let result = match request.method.as_str() {
        "exit" => Ok(json!("")),
        "version" => Ok(json!(format!("rvswitchd {}\n", env!("CARGO_PKG_VERSION")))),
        _ => Err("this daemon waits for the end of another one\n".to_owned()),
    };
    session.reply(request.id, result);
    client.write_all(session.pending()).ok()?;
    Some(ends)
}
