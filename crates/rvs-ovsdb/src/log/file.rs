//! A log in a file: the only part of this crate that touches the file system.
//!
//! A database is used by one process at a time. The lock is the one of Open vSwitch's tools, an
//! exclusive `fcntl` lock on `.<name>.~lock~` beside the file, so that `ovsdb-server`, `ovsdb-tool` and
//! a second daemon are kept out alike, and it vanishes with the process. It is an open-file-description
//! lock, which also conflicts with a second open in the same process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{fcntl, FcntlArg};
use nix::libc;

use super::{Durability, Storage};
use crate::limits::MAX_RECORD_BYTES;

/// A file and its lock.
#[derive(Debug)]
pub struct FileStorage {
    path: PathBuf,
    /// `None` until there is a file.
    file: Option<File>,
    /// Bytes that were read and written with success.
    length: u64,
    _lock: File,
}

impl FileStorage {
    /// Locks the database at `path`, which need not exist; the directory must.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if another process uses the database; the message says which.
    pub fn open(path: impl AsRef<Path>) -> io::Result<FileStorage> {
        // Through a symbolic link, so that a replacement does not turn the link into a file.
        let path = path.as_ref();
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let lock = lock(&path)?;
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) if file.metadata()?.is_file() => Some(file),
            Ok(_) => return Err(named(&path, io::Error::other("not a regular file"))),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(named(&path, error)),
        };
        Ok(FileStorage {
            path,
            file,
            length: 0,
            _lock: lock,
        })
    }

    /// The file's path, symbolic links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path beside the database: its name with `suffix`.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        self.path.with_file_name(name)
    }

    /// Makes a rename in the directory durable.
    fn sync_directory(&self) -> io::Result<()> {
        let parent = self
            .path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Writes a file beside the database and gives it `to` as its name.
    fn write_beside(&self, temporary: &Path, to: &Path, bytes: &[u8]) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640);
        let written = options.open(temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(temporary, to)?;
            Ok(file)
        });
        if written.is_err() {
            let _best_effort = fs::remove_file(temporary);
        }
        written
    }
}

/// Adds the path to an error.
fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn lock(path: &Path) -> io::Result<File> {
    let mut name = std::ffi::OsString::from(".");
    name.push(
        path.file_name()
            .ok_or_else(|| named(path, io::Error::other("not a file name")))?,
    );
    name.push(".~lock~");
    let lock_path = path.with_file_name(name);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|error| named(&lock_path, error))?;
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    if fcntl(&file, FcntlArg::F_OFD_SETLK(&whole)).is_ok() {
        return Ok(file);
    }
    let mut holder = whole;
    let holder = match fcntl(&file, FcntlArg::F_OFD_GETLK(&mut holder)) {
        Ok(_) if holder.l_pid > 0 => format!("process {}", holder.l_pid),
        _ => "another process".to_owned(),
    };
    Err(io::Error::new(
        ErrorKind::WouldBlock,
        format!(
            "{} is in use by {holder}; stop it or use another database",
            path.display()
        ),
    ))
}

impl Storage for FileStorage {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let Some(file) = &mut self.file else {
            return Ok(Vec::new());
        };
        // A log never grows beyond one snapshot of the largest size and as much again.
        let limit = 2 * MAX_RECORD_BYTES as u64;
        if file.metadata()?.len() > limit {
            let error = io::Error::other(format!("larger than {limit} bytes"));
            return Err(named(&self.path, error));
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut bytes)
            .map_err(|error| named(&self.path, error))?;
        self.length = bytes.len() as u64;
        Ok(bytes)
    }

    fn append(&mut self, bytes: &[u8], durability: Durability) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::Error::new(
                ErrorKind::NotFound,
                "the log has no file yet",
            ));
        };
        file.seek(SeekFrom::Start(self.length))?;
        file.write_all(bytes)
            .and_then(|()| match durability {
                Durability::Synced => file.sync_data(),
                Durability::Buffered => Ok(()),
            })
            .map_err(|e| named(&self.path, e))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.set_len(length)
                .and_then(|()| file.sync_data())
                .map_err(|e| named(&self.path, e))?;
        }
        self.length = length;
        Ok(())
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.beside(".tmp");
        let file = self
            .write_beside(&temporary, &self.path, bytes)
            .map_err(|e| named(&temporary, e))?;
        // From here on the new file is in place; only its name may not be durable yet.
        self.file = Some(file);
        self.length = bytes.len() as u64;
        self.sync_directory()
            .map_err(|error| named(&self.path, error))
    }

    fn keep_aside(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_beside(
            &self.beside(".damaged.tmp"),
            &self.beside(".damaged"),
            bytes,
        )?;
        self.sync_directory()
    }

    fn wall_clock(&self) -> Option<u64> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok()
    }
}
