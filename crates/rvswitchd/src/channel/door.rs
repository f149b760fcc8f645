//! Listening sockets.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{
    bind, connect, listen, socket, AddressFamily, Backlog, SockFlag, SockType, UnixAddr,
};
use nix::sys::stat::{fchmod, Mode};

use super::stream::{io_words, Socket};
use super::target::Target;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 64;
/// Owner and group may connect; who that is decides the run directory's.
const MODE: u32 = 0o660;

/// A listening socket. Its file, if it has one, goes when it goes.
pub struct Door {
    socket: Listening,
    tls: bool,
}

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// A client that knocked.
pub struct Visitor {
    pub socket: Socket,
    /// Where it comes from, when that is another machine or could be.
    pub source: Option<IpAddr>,
}

impl Door {
    /// # Errors
    /// Why nobody can listen there, in words.
    pub fn open(target: &Target) -> Result<Self, String> {
        let socket = match target {
            Target::Listen { at, port, .. } => {
                let at = at.socket(*port)?;
                let fail = |e: io::Error| format!("can't listen on {at}: {}", io_words(&e));
                let listener = TcpListener::bind(at).map_err(fail)?;
                listener.set_nonblocking(true).map_err(fail)?;
                Listening::Tcp(listener)
            }
            Target::ListenUnix(path) => Listening::Unix(listen_unix(path)?, path.clone()),
            Target::Dial { .. } | Target::DialUnix(_) => {
                return Err("an address that is dialled is not listened on".to_owned())
            }
        };
        Ok(Self {
            socket,
            tls: target.is_tls(),
        })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Listening::Tcp(s) => s.as_fd(),
            Listening::Unix(s, _) => s.as_fd(),
        }
    }

    /// The TCP port that it listens on.
    pub fn port(&self) -> Option<u16> {
        match &self.socket {
            Listening::Tcp(s) => s.local_addr().ok().map(|a| a.port()),
            Listening::Unix(..) => None,
        }
    }

    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The next client, if one knocks.
    ///
    /// # Errors
    /// When there are no file descriptors left: the client still knocks, and whoever polls must not ask again at once.
    pub fn accept(&self) -> io::Result<Option<Visitor>> {
        let accepted = match &self.socket {
            Listening::Tcp(s) => s.accept().map(|(s, from)| Visitor {
                socket: Socket::Tcp(s),
                // One machine is one source, whichever family its address is written in.
                source: Some(from.ip().to_canonical()),
            }),
            Listening::Unix(s, _) => s.accept().map(|(s, _)| Visitor {
                socket: Socket::Unix(s),
                source: None,
            }),
        };
        match accepted {
            Ok(visitor) => Ok(Some(visitor)),
            Err(e) if is_passing(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    #[cfg(test)]
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        match &self.socket {
            Listening::Tcp(s) => s.local_addr().ok(),
            Listening::Unix(..) => None,
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Listening::Unix(_, path) = &self.socket {
            let _ = fs::remove_file(path);
        }
    }
}

/// Nobody there, or gone meanwhile (the network errors that accept(2) reports of the new connection).
fn is_passing(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::WouldBlock
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionAborted
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
    )
}

/// Listens on a file. It has its permissions from the first moment, and replaces nothing but a socket that nobody answers.
fn listen_unix(path: &Path) -> Result<UnixListener, String> {
    let name = path.display();
    let address = UnixAddr::new(path).map_err(|_| {
        format!("can't listen on {name}: the path is too long; choose a shorter --rundir")
    })?;
    if let Ok(meta) = fs::symlink_metadata(path) {
        if !meta.file_type().is_socket() {
            return Err(format!(
                "can't listen on {name}: a file of that name exists"
            ));
        }
        if answers(&address) {
            return Err(format!("can't listen on {name}: another one listens there"));
        }
        let _ = fs::remove_file(path);
    }
    let fail = |e: Errno| format!("can't listen on {name}: {}", io_words(&e.into()));
    let fd = stream_socket().map_err(fail)?;
    // Linux gives the file the permissions of the unbound socket, less the umask.
    fchmod(&fd, Mode::from_bits_truncate(MODE)).map_err(fail)?;
    bind(fd.as_raw_fd(), &address).map_err(fail)?;
    let wide = fs::set_permissions(path, fs::Permissions::from_mode(MODE));
    let backlog = Backlog::new(BACKLOG).map_err(fail)?;
    let listening = listen(&fd, backlog).map_err(fail);
    if let Err(e) = wide.map_err(|e| e.to_string()).and(listening) {
        let _ = fs::remove_file(path);
        return Err(e);
    }
    Ok(fd.into())
}

fn stream_socket() -> nix::Result<std::os::fd::OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

/// Whether somebody listens, however busy.
fn answers(address: &UnixAddr) -> bool {
    let tried = stream_socket().and_then(|fd| connect(fd.as_raw_fd(), address));
    !matches!(tried, Err(Errno::ECONNREFUSED | Errno::ENOENT))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn open(path: &Path) -> Result<Door, String> {
        Door::open(&Target::ListenUnix(path.to_owned()))
    }

    #[test]
    fn a_file_is_for_owner_and_group_and_goes_with_the_door() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("br0.mgmt");
        let door = open(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            MODE
        );
        assert!(door.accept().unwrap().is_none());
        drop(door);
        assert!(!path.exists());
    }

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("s");
        let door = open(&path).unwrap();
        assert!(open(&path).err().unwrap().contains("another one listens"));
        assert!(path.exists());
        drop(door);
        drop(UnixListener::bind(&path).unwrap());
        drop(open(&path).unwrap());
        fs::write(&path, "precious").unwrap();
        assert!(open(&path).err().unwrap().contains("a file of that name"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let target = tmp.path().join("target");
        fs::write(&target, "precious").unwrap();
        let link = tmp.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(open(&link).is_err());
        assert!(target.exists() && link.exists());
    }

    #[test]
    fn a_path_too_long_is_said() {
        let path = Path::new("/tmp").join("x".repeat(120));
        assert!(open(&path).err().unwrap().contains("--rundir"));
    }

    #[test]
    fn a_port_in_use_is_said() {
        let listen = |text: &str| Door::open(&Target::parse(text, Path::new("/")).unwrap());
        let door = listen("ptcp:0:127.0.0.1").unwrap();
        let port = door.address().unwrap().port();
        let again = listen(&format!("ptcp:{port}:127.0.0.1")).err().unwrap();
        assert!(again.contains("Address already in use"), "{again}");
        assert!(listen("ptcp:1:192.0.2.1").is_err());
    }
}
