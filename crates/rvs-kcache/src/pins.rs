//! What outlives the daemon: program, maps and links with names in a bpf file system.
//!
//! Each daemon has a directory of its own there, named by its run directory, which only one living daemon can own. A filter
//! goes on while its gate has a name, a tcx link while it has one itself; a program with a name can be taken over by the next daemon. The program's
//! name carries the hash of its code, so that only a daemon with the very same program goes on with it.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{statfs, BPF_FS_MAGIC};

use crate::error::Error;
use crate::hook::Guard;
use crate::sys::bpf::{self, Map};
use crate::tier0::object;

const OP: &str = "keep the kernel cache in a bpf file system";
const LINK: &str = "link-";
/// The name of the gate of filters: while it is there, or somebody holds the gate, frames go through it.
pub(crate) const GATE: &str = "gate";

/// One daemon's directory in a bpf file system.
#[derive(Clone, Debug)]
pub struct Pins {
    dir: PathBuf,
}

/// A program on a device, left by a dead daemon. Dropping it takes the program off.
#[derive(Debug)]
pub struct OldLink {
    pub(crate) guard: Guard,
    /// Which program it is.
    pub prog_id: u32,
}

impl OldLink {
    pub const fn ifindex(&self) -> u32 {
        self.guard.ifindex()
    }
}

impl Pins {
    /// The directory of this instance (the run directory) under `bpffs`, made if it is missing.
    ///
    /// # Errors
    /// `bpffs` is not there, is no bpf file system, or can't be written.
    pub fn open(bpffs: &Path, instance: &str) -> Result<Self, Error> {
        let fail = |cause: String| Error::Unsupported { op: OP, cause };
        let shown = bpffs.display();
        let kind = statfs(bpffs).map_err(|e| {
            fail(format!(
                "{shown}: {e}; mount one (mount -t bpf bpf {shown})"
            ))
        })?;
        if kind.filesystem_type() != BPF_FS_MAGIC {
            let text = format!(
                "{shown} is no bpf file system; mount one (mount -t bpf bpf {shown}), and mind that `ip netns exec` hides those under /sys"
            );
            return Err(fail(text));
        }
        let this = Self::at(bpffs, instance);
        match fs::create_dir(&this.dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                Err(fail(format!("{}: {e}", this.dir.display())))
            }
            _ => Ok(this),
        }
    }

    /// Where an instance has its directory, there or not.
    pub fn at(bpffs: &Path, instance: &str) -> Self {
        let hash = fnv(instance.as_bytes());
        Self {
            dir: bpffs.join(format!("rvswitch-{hash:016x}")),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The programs that a dead daemon left on devices of this namespace. Links whose device is gone, or has moved to
    /// another namespace, are taken off here and now.
    pub fn old_links(&self) -> Vec<OldLink> {
        let mut found = Vec::new();
        for name in self.names() {
            let Some(ifindex) = name.strip_prefix(LINK).and_then(|n| n.parse().ok()) else {
                continue;
            };
            let Ok((guard, prog_id)) = self.old_link(&name, ifindex) else {
                let _ = fs::remove_file(self.dir.join(&name));
                continue;
            };
            if matches!(guard.is_attached(), Ok(true)) {
                found.push(OldLink { guard, prog_id });
            }
        }
        found
    }

    fn old_link(&self, name: &str, ifindex: u32) -> io::Result<(Guard, u32)> {
        let link = self.get(name)?;
        // struct bpf_link_info: type, id, program.
        let [_, id, prog_id, ..] = bpf::info(link.as_fd())?;
        Ok((
            Guard::found(ifindex, link, id, self.dir.join(name)),
            prog_id,
        ))
    }

    /// Keeps a dead daemon's filters going whatever becomes of its names, until this is dropped.
    pub fn hold_gate(&self) -> Option<OwnedFd> {
        self.get(GATE).ok()
    }

    /// Whether a cache of this very program has its names here: somebody may have unmounted the file system, or removed them.
    pub fn is_whole(&self) -> bool {
        fs::symlink_metadata(self.dir.join(object::name())).is_ok()
    }

    /// Removes the names of everything but links, so that what nobody holds ends.
    pub fn forget_objects(&self) {
        for name in self.names().iter().filter(|n| !n.starts_with(LINK)) {
            let _ = fs::remove_file(self.dir.join(name));
        }
    }

    /// Takes everything away: programs off devices, then maps and programs. How many names there were.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove(&self) -> io::Result<usize> {
        self.remove_but(None)
    }

    /// The same, but the program of this id, which is the caller's own, stays on devices: only its names go.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove_but(&self, own: Option<u32>) -> io::Result<usize> {
        let names = self.names();
        for name in &names {
            if name.starts_with(LINK) {
                match self.old_link(name, 0) {
                    Ok((guard, program)) if own == Some(program) => guard.leave(),
                    Ok((guard, _)) => drop(guard),
                    Err(_) => {}
                }
            }
            match fs::remove_file(self.dir.join(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        match fs::remove_dir(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(names.len()),
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries
            .filter_map(|e| e.file_name().into_string().ok())
            .collect()
    }

    /// Where the link of a device has its name.
    pub(crate) fn link(&self, ifindex: u32) -> PathBuf {
        self.dir.join(format!("{LINK}{ifindex}"))
    }

    pub(crate) fn put(&self, name: &str, object: BorrowedFd<'_>) -> Result<(), Error> {
        put(object, &self.dir.join(name)).map_err(|e| Error::new(OP, e))
    }

    pub(crate) fn get(&self, name: &str) -> io::Result<OwnedFd> {
        bpf::pinned(&c_path(&self.dir.join(name))?)
    }

    /// A pinned array map whose elements are of `words` words, and how many it has.
    pub(crate) fn array(
        &self,
        name: &str,
        words: usize,
        entries: Option<u32>,
    ) -> io::Result<(Map, u32)> {
        let octets = u32::try_from(words * 8).map_err(|_| io::ErrorKind::InvalidInput)?;
        let (kind, flags) = (crate::attr::MAP_ARRAY, crate::attr::MMAPABLE);
        Map::found(self.get(name)?, kind, 4, octets, entries, flags)
    }
}

/// Gives an object a name.
pub(crate) fn put(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    bpf::pin(object, &c_path(path)?)
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// FNV-1a, 64 bits: names that outlive a daemon depend on it.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)
    })
}
