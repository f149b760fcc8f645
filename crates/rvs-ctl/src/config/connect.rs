//! A stream to the database.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// A read waits this long before the deadline is looked at.
const POLL: Duration = Duration::from_millis(50);
/// With `--retry`, how long nobody is called again.
const AGAIN: Duration = Duration::from_millis(100);
/// Where a database listens by IANA's list.
const PORT: u16 = 6640;

/// Bytes both ways.
pub trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// How long to try.
pub struct Patience {
    /// `None` is for ever.
    pub until: Option<Instant>,
    /// Call again when nobody answers.
    pub retry: bool,
}

/// Connects to `unix:FILE` or `tcp:HOST[:PORT]`.
///
/// # Errors
/// The target is none, or nobody answers there.
pub fn connect(target: &str, patience: &Patience) -> Result<Box<dyn Stream>, Failure> {
    loop {
        let refused = match once(target, patience) {
            Ok(stream) => return Ok(stream),
            Err(failure @ Failure::Usage(_)) => return Err(failure),
            Err(failure) => failure,
        };
        if !patience.retry {
            return Err(refused);
        }
        if patience.until.is_some_and(|end| Instant::now() >= end) {
            return Err(Failure::TimedOut(refused.to_string()));
        }
        std::thread::sleep(AGAIN);
    }
}

fn once(target: &str, patience: &Patience) -> Result<Box<dyn Stream>, Failure> {
    if let Some(path) = target.strip_prefix("unix:") {
        let path = Path::new(path);
        let stream = UnixStream::connect(path).map_err(|e| Failure::not_running(path, &e))?;
        stream.set_read_timeout(Some(POLL)).map_err(Failure::io)?;
        return Ok(Box::new(stream));
    }
    let Some(rest) = target.strip_prefix("tcp:") else {
        return Err(Failure::Usage(format!(
            "--db {target}: a database is named as unix:FILE or tcp:HOST[:PORT]"
        )));
    };
    let stream = call(rest, patience.until)
        .map_err(|e| Failure::Refused(format!("cannot connect to {target}: {e}")))?;
    stream.set_read_timeout(Some(POLL)).map_err(Failure::io)?;
    Ok(Box::new(stream))
}

/// `HOST[:PORT]`, IPv6 addresses in brackets.
fn call(host: &str, until: Option<Instant>) -> io::Result<TcpStream> {
    let has_port = match host.strip_prefix('[') {
        Some(rest) => rest.contains("]:"),
        None => host.contains(':'),
    };
    let with_port = match has_port {
        true => host.to_owned(),
        false => format!("{host}:{PORT}"),
    };
    let mut refused = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in with_port.to_socket_addrs()? {
        let called = match until {
            None => TcpStream::connect(address),
            Some(end) => {
                // A timeout of nothing is not allowed.
                let left = end.saturating_duration_since(Instant::now()).max(POLL);
                TcpStream::connect_timeout(&address, left)
            }
        };
        match called {
            Ok(stream) => return Ok(stream),
            Err(e) => refused = e,
        }
    }
    Err(refused)
}
