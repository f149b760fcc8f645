//! What a flow command talks to: the management socket of a bridge, or any switch by address.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::Failure;

/// Where a switch listens without a port being said (OpenFlow 1.3.3 and later).
const DEFAULT_PORT: u16 = 6653;

/// Which of a bridge's two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// Takes commands.
    Management,
    /// Copies what the bridge and its controllers say to each other.
    Snoop,
}

impl Socket {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Management => "mgmt",
            Self::Snoop => "snoop",
        }
    }
}

/// An address, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Bridge { name: String, path: PathBuf },
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
}

/// A byte stream to a switch.
pub enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Target {
    /// Reads `BRIDGE`, `unix:FILE`, `FILE` (with a slash) or `tcp:HOST[:PORT]`.
    pub fn parse(text: &str, rundir: &Path, socket: Socket) -> Result<Self, Failure> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Some(address) = text.strip_prefix("tcp:") {
            return tcp(address);
        }
        if text.starts_with("ssl:") {
            return Err(Failure::Usage(format!(
                "{text}: rvs-ctl speaks tcp: and unix:, no TLS; use the bridge's own socket"
            )));
        }
        if text.contains('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        if text.is_empty() || text.starts_with('.') {
            return Err(Failure::Usage(format!("\"{text}\" names no bridge")));
        }
        Ok(Self::Bridge {
            name: text.to_owned(),
            path: rundir.join(format!("{text}.{}", socket.suffix())),
        })
    }

    /// The address in a message.
    pub fn shown(&self) -> String {
        match self {
            Self::Bridge { path, .. } | Self::Unix(path) => path.display().to_string(),
            Self::Tcp { host, port } if host.contains(':') => format!("tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => format!("tcp:{host}:{port}"),
        }
    }

    /// Opens a stream that does not block.
    pub fn connect(&self, timeout: Option<Duration>) -> Result<Stream, Failure> {
        let stream = match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(|e| Failure::no_switch(path, &e))?;
                Stream::Unix(stream)
            }
            Self::Bridge { name, path } => {
                let stream = UnixStream::connect(path).map_err(|e| no_bridge(name, path, &e))?;
                Stream::Unix(stream)
            }
            Self::Tcp { host, port } => Stream::Tcp(self.connect_tcp(host, *port, timeout)?),
        };
        stream.set_nonblocking().map_err(Failure::io)?;
        Ok(stream)
    }

    fn connect_tcp(
        &self,
        host: &str,
        port: u16,
        timeout: Option<Duration>,
    ) -> Result<TcpStream, Failure> {
        let refused = |e: io::Error| match e.kind() {
            io::ErrorKind::TimedOut => {
                Failure::TimedOut(format!("{} did not answer in time", self.shown()))
            }
            _ => Failure::Refused(format!("cannot connect to {}: {e}", self.shown())),
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (host, port).to_socket_addrs().map_err(refused)? {
            let attempt = match timeout {
                Some(t) => TcpStream::connect_timeout(&address, t),
                None => TcpStream::connect(address),
            };
            match attempt {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(refused)?;
                    return Ok(stream);
                }
                Err(e) => last = e,
            }
        }
        Err(refused(last))
    }
}

/// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
fn tcp(address: &str) -> Result<Target, Failure> {
    let bad = || Failure::Usage(format!("tcp:{address} is not tcp:HOST[:PORT]"));
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(bad()),
            }
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    if host.is_empty() {
        return Err(bad());
    }
    let port = match port {
        Some(p) => p.parse().map_err(|_| bad())?,
        None => DEFAULT_PORT,
    };
    Ok(Target::Tcp {
        host: host.to_owned(),
        port,
    })
}

/// Why a bridge's socket cannot be opened: no daemon, or no such bridge.
fn no_bridge(name: &str, path: &Path, why: &io::Error) -> Failure {
    let Some(rundir) = path
        .parent()
        .filter(|_| why.kind() == io::ErrorKind::NotFound)
    else {
        return Failure::not_running(path, why);
    };
    if UnixStream::connect(rundir.join("db.sock")).is_err() {
        return Failure::not_running(path, why);
    }
    let mut bridges: Vec<String> = std::fs::read_dir(rundir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|f| Some(f.file_name().to_str()?.strip_suffix(".mgmt")?.to_owned()))
        .collect();
    bridges.sort();
    Failure::Refused(format!(
        "no bridge named {name} (bridges: {})",
        bridges.join(", ")
    ))
}

impl Stream {
    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Unix(s) => s.set_nonblocking(true),
            Self::Tcp(s) => s.set_nonblocking(true),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(s) => s.read(buf),
            Self::Tcp(s) => s.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(s) => s.write(buf),
            Self::Tcp(s) => s.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(s) => s.as_fd(),
            Self::Tcp(s) => s.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(text: &str) -> Result<Target, Failure> {
        Target::parse(text, Path::new("/run/x"), Socket::Management)
    }

    fn tcp_target(host: &str, port: u16) -> Target {
        Target::Tcp {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn targets_are_bridges_files_and_addresses() {
        let br1 = parse("br1").unwrap();
        assert_eq!(br1.shown(), "/run/x/br1.mgmt");
        assert_eq!(
            Target::parse("br1", Path::new("/r"), Socket::Snoop)
                .unwrap()
                .shown(),
            "/r/br1.snoop"
        );
        assert_eq!(parse("unix:/a/b").unwrap(), Target::Unix("/a/b".into()));
        assert_eq!(parse("./b").unwrap(), Target::Unix("./b".into()));
        assert_eq!(parse("tcp:h").unwrap(), tcp_target("h", 6653));
        assert_eq!(
            parse("tcp:1.2.3.4:6654").unwrap(),
            tcp_target("1.2.3.4", 6654)
        );
        assert_eq!(parse("tcp:[::1]").unwrap(), tcp_target("::1", 6653));
        let six = parse("tcp:[::1]:1").unwrap();
        assert_eq!(
            (six.shown().as_str(), six),
            ("tcp:[::1]:1", tcp_target("::1", 1))
        );
        for bad in [
            "",
            ".",
            "tcp:",
            "tcp::1",
            "tcp:h:x",
            "tcp:[::1",
            "tcp:[::1]x",
            "ssl:h",
        ] {
            assert!(matches!(parse(bad), Err(Failure::Usage(_))), "{bad}");
        }
    }
}
