//! What a dead daemon left, and its removal: `rvswitchd --clean`, which is what `rvs-ctl doctor --clean` runs.
//!
//! A daemon writes into its run directory by what names its things can be found (`rvswitchd.traces`), and takes the file
//! away when it ends and leaves nothing. Whoever cleans holds the run directory as a daemon does: while one lives nothing
//! is touched, and none can start meanwhile.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rvs_kcache::{remove_filters, Pins};
use rvs_netdev::internal::PuntPair;
use rvs_netdev::rtnl::Rtnl;

use crate::args::{self, Args};
use crate::rundir::RunDir;

const NAME: &str = "rvswitchd.traces";

/// By what a daemon's things are found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// What marks its filters, and names its directory.
    pub instance: String,
    /// What marks its devices.
    pub database: String,
    /// Whether it served its database itself.
    pub serves: bool,
    /// The bpf file system that it was given.
    pub bpffs: Option<PathBuf>,
    /// What it remembers for the next one.
    pub memory: PathBuf,
    /// Where its devices are.
    pub namespace: u64,
}

impl Traces {
    /// `serves`: whether the database is the daemon's own.
    pub fn new(instance: &str, serves: bool, bpffs: Option<&Path>, memory: &Path) -> Self {
        let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self {
            instance: instance.to_owned(),
            database: String::new(),
            serves,
            bpffs: bpffs.map(whole),
            memory: whole(memory),
            namespace: namespace(),
        }
    }

    /// Says in the run directory what there may be to clean.
    pub fn write(&self, rundir: &Path, database: &str) {
        let bpffs = self.bpffs.as_deref().unwrap_or(Path::new(""));
        let text = format!(
            "instance {}\ndatabase {}\nserves {}\nnamespace {}\nmemory {}\nbpffs {}\n",
            self.instance,
            database,
            self.serves,
            self.namespace,
            self.memory.display(),
            bpffs.display()
        );
        let path = rundir.join(NAME);
        if let Err(e) = fs::write(&path, text) {
            tracing::warn!(
                "{}: {e}; doctor --clean would not find everything",
                path.display()
            );
        }
    }

    /// There is nothing to clean.
    pub fn remove(rundir: &Path) {
        let _ = fs::remove_file(rundir.join(NAME));
    }

    fn read(rundir: &Path) -> Option<Self> {
        let text = fs::read_to_string(rundir.join(NAME)).ok()?;
        let of = |word: &str| {
            let mut lines = text.lines().filter_map(|l| l.split_once(' '));
            lines.find(|(w, _)| *w == word).map(|(_, rest)| rest)
        };
        Some(Self {
            instance: of("instance")?.to_owned(),
            database: of("database")?.to_owned(),
            serves: of("serves")?.parse().ok()?,
            namespace: of("namespace")?.parse().ok()?,
            memory: of("memory")?.into(),
            bpffs: of("bpffs").filter(|p| !p.is_empty()).map(PathBuf::from),
        })
    }
}

/// The number of this process's network namespace.
fn namespace() -> u64 {
    fs::metadata("/proc/self/ns/net").map_or(0, |m| m.ino())
}

/// Removes what a dead daemon left, and says what that was.
///
/// # Errors
/// A daemon lives there; the system's.
pub fn clean(args: &Args) -> Result<()> {
    let dir = args::rundir(args);
    let mut did = Vec::new();
    if dir.exists() {
        let serves = Traces::read(&dir).is_none_or(|t| t.serves);
        let mut held = RunDir::take(&dir, None, serves).context("nothing was removed")?;
        did = clean_held(&dir)?;
        held.remove();
    }
    let line = match did.is_empty() {
        true => format!("{}: no daemon left anything", dir.display()),
        false => format!("removed {}", did.join(", ")),
    };
    let _ = writeln!(io::stdout(), "{line}");
    Ok(())
}

fn clean_held(dir: &Path) -> Result<Vec<String>> {
    let mut did = Vec::new();
    let traces = Traces::read(dir);
    let instance = traces.as_ref().map_or_else(
        || dir.to_string_lossy().into_owned(),
        |t| t.instance.clone(),
    );
    if let Some(bpffs) = traces.as_ref().and_then(|t| t.bpffs.as_deref()) {
        let pins = Pins::at(bpffs, &instance);
        let n = pins
            .remove()
            .with_context(|| pins.dir().display().to_string())?;
        did.extend(
            (n > 0).then(|| format!("{n} names of kernel objects in {}", pins.dir().display())),
        );
    }
    let n = remove_filters(&instance)?;
    did.extend((n > 0).then(|| format!("{n} filters on devices")));
    if let Some(traces) = &traces {
        anyhow::ensure!(
            traces.namespace == namespace(),
            "{}; its devices are in another network namespace: run this there too",
            if did.is_empty() {
                "nothing else was left".to_owned()
            } else {
                format!("removed {}", did.join(", "))
            }
        );
        let mut rtnl = Rtnl::open().context("can't talk to rtnetlink")?;
        let found = PuntPair::remove_leftover(&mut rtnl, &traces.database)?;
        did.extend(found.then(|| "the punt device".to_owned()));
        if fs::remove_file(&traces.memory).is_ok() {
            did.push(traces.memory.display().to_string());
        }
        Traces::remove(dir);
    }
    let n = dead_sockets(dir);
    did.extend((n > 0).then(|| format!("{n} sockets")));
    Ok(did)
}

/// Removes sockets on which nobody listens.
fn dead_sockets(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sockets = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_socket()));
    let dead = |path: &PathBuf| matches!(UnixStream::connect(path), Err(e) if e.kind() == io::ErrorKind::ConnectionRefused);
    sockets
        .map(|e| e.path())
        .filter(dead)
        .filter(|path| fs::remove_file(path).is_ok())
        .count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn traces_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        for bpffs in [None, Some(Path::new("/sys/fs/bpf"))] {
            let mut traces = Traces::new("/run/x", true, bpffs, Path::new("/x/conf.db.survive"));
            traces.write(dir.path(), "5f0e");
            traces.database = "5f0e".to_owned();
            assert_eq!(Traces::read(dir.path()), Some(traces));
        }
        Traces::remove(dir.path());
        assert_eq!(Traces::read(dir.path()), None);
    }

    #[test]
    fn only_dead_sockets_go() {
        let dir = tempfile::tempdir().unwrap();
        let (dead, living) = (dir.path().join("a.mgmt"), dir.path().join("b.mgmt"));
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let _listener = std::os::unix::net::UnixListener::bind(&living).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(dead_sockets(dir.path()), 1);
        assert!(!dead.exists() && living.exists() && dir.path().join("file").exists());
    }
}
