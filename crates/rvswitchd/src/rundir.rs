//! The run directory: who owns it, and the files by which clients find the daemon.
//!
//! `rvswitchd.pid` is locked for the life of the process; a second daemon on the same directory finds the lock taken and
//! says so. A pid file without a lock belongs to a dead daemon and is replaced. `ovs-vswitchd.pid` and
//! `ovs-vswitchd.<pid>.ctl` are there because stock tools look for them.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use nix::fcntl::{Flock, FlockArg};

/// The directory, held by its locked pid files.
#[derive(Debug)]
pub struct RunDir {
    dir: PathBuf,
    locks: Vec<Flock<File>>,
    made: Vec<PathBuf>,
}

impl RunDir {
    /// Takes the directory for this process; fails when another daemon lives there. `serves`: the database is this process's
    /// too, and so are the names by which its server is found.
    pub fn take(dir: &Path, extra_pidfile: Option<&Path>, serves: bool) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| {
            format!(
                "can't make the run directory {} (try --rundir DIR)",
                dir.display()
            )
        })?;
        let mut this = Self {
            dir: dir.to_owned(),
            locks: Vec::new(),
            made: Vec::new(),
        };
        this.pidfile(&dir.join("rvswitchd.pid"))?;
        this.pidfile(&dir.join("ovs-vswitchd.pid"))?;
        if serves {
            this.pidfile(&dir.join("ovsdb-server.pid"))?;
        }
        if let Some(path) = extra_pidfile.filter(|p| !this.has(p)) {
            this.pidfile(path)?;
        }
        this.remove_dead_sockets(serves);
        Ok(this)
    }

    /// Whether a path is one of the pid files, in whatever spelling.
    fn has(&self, path: &Path) -> bool {
        let real = |p: &Path| fs::canonicalize(p).ok();
        let asked = real(path);
        asked.is_some() && self.made.iter().any(|m| real(m) == asked)
    }

    /// Control sockets carry their daemon's pid: with the lock taken, all that are here belong to dead ones.
    fn remove_dead_sockets(&self, serves: bool) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = ["rvswitchd.", "ovs-vswitchd."]
                .iter()
                .any(|p| name.starts_with(p))
                || (serves && name.starts_with("ovsdb-server."));
            if ours && name.ends_with(".ctl") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Remembers a file to remove at the end.
    pub fn made(&mut self, path: PathBuf) {
        self.made.push(path);
    }

    fn pidfile(&mut self, path: &Path) -> Result<()> {
        self.locks.push(pidfile(path, &self.dir)?);
        self.made.push(path.to_owned());
        Ok(())
    }

    /// Removes what this process made.
    pub fn remove(&mut self) {
        for path in self.made.drain(..) {
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Writes this process's number where nobody else who runs has written one. It is this process's while the file is open.
pub fn pidfile(path: &Path, dir: &Path) -> Result<Flock<File>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path)
        .with_context(|| format!("can't write {}", path.display()))?;
    let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err(_) => {
            let pid = fs::read_to_string(path).unwrap_or_default();
            bail!(
                "another switch daemon (pid {}) runs on {}; stop it, or give this one a --rundir of its own",
                pid.trim(),
                dir.display()
            );
        }
    };
    stock_lock(&lock).with_context(|| format!("can't lock {}", path.display()))?;
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())?;
    lock.flush()?;
    Ok(lock)
}

/// Stock tools believe a pid file only while its writer holds a POSIX record lock on it.
fn stock_lock(file: &File) -> nix::Result<()> {
    nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_SETLK(&whole_file())).map(drop)
}

/// A record lock for one writer.
pub const fn whole_file() -> nix::libc::flock {
    nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Binds a listening Unix socket that only owner and group may use, in place of a dead daemon's.
pub fn listen(path: &Path) -> Result<std::os::unix::net::UnixListener> {
    let _ = fs::remove_file(path);
    let listener = std::os::unix::net::UnixListener::bind(path)
        .with_context(|| format!("can't listen on {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_and_a_dead_one_is_replaced() {
        let tmp = tempfile::tempdir().unwrap();
        fs::write(tmp.path().join("rvswitchd.pid"), "999999\n").unwrap();
        fs::write(tmp.path().join("rvswitchd.999999.ctl"), "").unwrap();
        // The pid file that scripts ask for is one of those that are there anyway.
        let asked = tmp.path().join("../").join(tmp.path().file_name().unwrap());
        let first = RunDir::take(tmp.path(), Some(&asked.join("ovs-vswitchd.pid")), true).unwrap();
        let error = RunDir::take(tmp.path(), None, true)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("pid {}", std::process::id())),
            "{error}"
        );
        drop(first);
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0);
        RunDir::take(tmp.path(), None, true).unwrap();
    }
}
