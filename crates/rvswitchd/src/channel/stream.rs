//! A connection's socket, never blocking: looked up, connecting, in the TLS handshake, open.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{
    connect, setsockopt, socket, sockopt, AddressFamily, SockFlag, SockType, SockaddrLike,
    SockaddrStorage, UnixAddr,
};

use super::resolve::{Question, Resolver};
use super::session::{Flow, Session};
use super::target::{Host, Target};

/// Octets read from one connection before the others' turn.
const READ: usize = 65_536;
/// Octets of the first read.
const SHORT: usize = 2048;
/// Traffic class of packets to controllers and managers: DSCP CS6, network control (RFC 4594 section 3.1).
const TRAFFIC_CLASS: i32 = 48 << 2;

/// A byte stream to whoever was dialled, or to a client.
pub struct Stream {
    /// Where a client came from.
    from: Option<SocketAddr>,
    wire: Wire,
    tls: Option<Session>,
}

enum Wire {
    /// The name is looked up; `attempt` chooses among its addresses.
    Asking {
        question: Question,
        port: u16,
        attempt: usize,
    },
    Socket(Socket, Phase),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Handshake,
    Open,
}

/// Calls back with what is to be sent, which is then told how much of it was taken; returns what there was and what was taken.
pub type Offer<'a> = dyn FnMut(&mut dyn FnMut(&[u8]) -> usize) -> (usize, usize) + 'a;

/// What came of [`Stream::pump`].
pub struct Pumped {
    /// Something is left, for when the socket has room or its turn comes again.
    pub left: bool,
    /// The most that was offered at a time, and taken in part at least; octets.
    pub most: usize,
}

pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(s) => s.as_fd(),
            Self::Unix(s) => s.as_fd(),
        }
    }

    /// Whether a connection under way has come about.
    fn is_connected(&self) -> Result<bool, String> {
        let (error, peer) = match self {
            Self::Tcp(s) => (s.take_error(), s.peer_addr().map(drop)),
            Self::Unix(s) => (s.take_error(), s.peer_addr().map(drop)),
        };
        if let Some(e) = error.unwrap_or_else(Some) {
            return Err(io_words(&e));
        }
        match peer {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotConnected => Ok(false),
            Err(e) => Err(io_words(&e)),
        }
    }

    /// Small messages are not held back, and they are network control.
    fn tune(&self) {
        let Self::Tcp(stream) = self else {
            return;
        };
        // Without these it works as well, more slowly.
        let _ = stream.set_nodelay(true);
        let _ = match stream.local_addr() {
            Ok(SocketAddr::V6(_)) => setsockopt(stream, sockopt::Ipv6TClass, &TRAFFIC_CLASS),
            _ => setsockopt(stream, sockopt::Ipv4Tos, &TRAFFIC_CLASS),
        };
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.read(buf),
            Self::Unix(s) => s.read(buf),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.write(buf),
            Self::Unix(s) => s.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    /// Begins to connect. Of a name with several addresses, attempts take one after the other.
    ///
    /// # Errors
    /// Why it can't even begin.
    pub fn dial(
        target: &Target,
        tls: Option<Session>,
        attempt: usize,
        resolver: &Resolver,
    ) -> Result<Self, String> {
        let wire = match target {
            Target::Dial { host, port, .. } => match host {
                Host::Address(address) => connecting(connect_tcp(address.socket(*port)?)?),
                Host::Name(name) => Wire::Asking {
                    question: resolver.ask(name)?,
                    port: *port,
                    attempt,
                },
            },
            Target::DialUnix(path) => connecting(connect_unix(path)?),
            Target::Listen { .. } | Target::ListenUnix(_) => {
                return Err("a listener is not dialled".to_owned())
            }
        };
        Ok(Self {
            from: None,
            wire,
            tls,
        })
    }

    /// A client that was accepted.
    ///
    /// # Errors
    /// When the socket can't be made non-blocking.
    pub fn accepted(socket: Socket, tls: Option<Session>) -> io::Result<Self> {
        match &socket {
            Socket::Tcp(s) => s.set_nonblocking(true)?,
            Socket::Unix(s) => s.set_nonblocking(true)?,
        }
        socket.tune();
        let phase = match tls {
            Some(_) => Phase::Handshake,
            None => Phase::Open,
        };
        Ok(Self {
            from: match &socket {
                Socket::Tcp(s) => s.peer_addr().ok(),
                Socket::Unix(_) => None,
            },
            wire: Wire::Socket(socket, phase),
            tls,
        })
    }

    /// `tcp:127.0.0.1:40000`, of a client that came over a network.
    pub fn came_from(&self) -> Option<String> {
        self.from.map(|from| {
            let kind = if self.tls.is_some() { "ssl" } else { "tcp" };
            format!("{kind}:{from}")
        })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.wire {
            Wire::Asking { question, .. } => question.fd(),
            Wire::Socket(s, _) => s.fd(),
        }
    }

    /// What to poll for, given what the user of the stream wants; nothing: not to be polled at all.
    pub fn interest(&self, wants_input: bool, has_output: bool) -> PollFlags {
        let sealed = self.tls.as_ref().is_some_and(Session::wants_write);
        let (input, output) = match &self.wire {
            Wire::Asking { .. } => (true, false),
            Wire::Socket(_, Phase::Connecting) => (false, true),
            Wire::Socket(_, Phase::Handshake) => (!sealed, sealed),
            Wire::Socket(_, Phase::Open) => (wants_input, has_output || sealed),
        };
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, input);
        flags.set(PollFlags::POLLOUT, output);
        flags
    }

    /// Goes on towards an open stream; true when it is.
    ///
    /// # Errors
    /// Why it will not be one, in words.
    pub fn establish(&mut self) -> Result<bool, String> {
        if let Wire::Asking {
            question,
            port,
            attempt,
        } = &mut self.wire
        {
            let Some(list) = question.answer(*port)? else {
                return Ok(false);
            };
            let address = list.get(*attempt % list.len().max(1)).copied();
            let address = address.ok_or("the name has no address")?;
            self.wire = connecting(connect_tcp(address)?);
        }
        let Wire::Socket(socket, phase) = &mut self.wire else {
            return Ok(false);
        };
        if *phase == Phase::Connecting {
            if !socket.is_connected()? {
                return Ok(false);
            }
            socket.tune();
            *phase = Phase::Handshake;
        }
        if *phase == Phase::Handshake {
            if let Some(tls) = &mut self.tls {
                if !tls.handshake(socket)? {
                    return Ok(false);
                }
            }
            *phase = Phase::Open;
        }
        Ok(true)
    }

    /// Appends what is there to `buffer`, little more than 64 KiB at most.
    ///
    /// # Errors
    /// Why nothing comes any more, in words; bytes that came before are in `buffer` all the same.
    pub fn read(&mut self, buffer: &mut Vec<u8>) -> Result<(), String> {
        let Wire::Socket(socket, Phase::Open) = &mut self.wire else {
            return Ok(());
        };
        let flow = match &mut self.tls {
            Some(tls) => {
                let enough = buffer.len() + READ;
                tls.read(socket, buffer, enough)?
            }
            None => read_plain(socket, buffer)?,
        };
        match flow {
            Flow::Open => Ok(()),
            Flow::Ended => Err("the peer closed the connection".to_owned()),
        }
    }

    /// Writes as much of `bytes` as goes; how many octets. With nothing to write, what TLS holds back is written.
    ///
    /// # Errors
    /// Why nothing goes any more, in words.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let Wire::Socket(socket, Phase::Open) = &mut self.wire else {
            return Ok(0);
        };
        if let Some(tls) = &mut self.tls {
            return tls.write(socket, bytes);
        }
        match socket.write(bytes) {
            Ok(n) => Ok(n),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            Err(e) => Err(io_words(&e)),
        }
    }

    /// Writes what is offered until nothing is left, the socket takes no more, or about `limit` octets have gone.
    ///
    /// # Errors
    /// Why nothing goes any more, in words.
    pub fn pump(&mut self, limit: usize, offer: &mut Offer<'_>) -> Result<Pumped, String> {
        let (mut total, mut most) = (0, 0);
        loop {
            let mut failed = None;
            let (there, taken) = offer(&mut |bytes| {
                // Without bytes, TLS writes what it held back.
                if bytes.is_empty() && !self.holds_back() {
                    return 0;
                }
                self.write(bytes).unwrap_or_else(|why| {
                    failed = Some(why);
                    0
                })
            });
            if let Some(why) = failed {
                return Err(why);
            }
            total += taken;
            if taken > 0 {
                most = most.max(there);
            }
            let left = there > taken || self.holds_back();
            if !left || taken == 0 || total >= limit {
                return Ok(Pumped { left, most });
            }
        }
    }

    /// Whether TLS holds back what it took.
    fn holds_back(&self) -> bool {
        self.tls.as_ref().is_some_and(Session::wants_write)
    }

    /// Says farewell, if the socket takes it.
    pub fn close(mut self) {
        if let (Wire::Socket(socket, Phase::Open), Some(tls)) = (&mut self.wire, &mut self.tls) {
            tls.close(socket);
        }
    }
}

fn connecting(socket: Socket) -> Wire {
    Wire::Socket(socket, Phase::Connecting)
}

fn read_plain(socket: &mut Socket, buffer: &mut Vec<u8>) -> Result<Flow, String> {
    // Most messages are short, and room has to be zeroed.
    match read_some(socket, buffer, SHORT) {
        Ok(SHORT) => {}
        Ok(0) => return Ok(Flow::Ended),
        other => return open_unless(other),
    }
    // An end that comes now is seen the next time.
    open_unless(read_some(socket, buffer, READ - SHORT))
}

/// Appends up to `room` octets.
fn read_some(socket: &mut Socket, buffer: &mut Vec<u8>, room: usize) -> io::Result<usize> {
    let start = buffer.len();
    buffer.resize(start + room, 0);
    let read = socket.read(&mut buffer[start..]);
    buffer.truncate(start + *read.as_ref().unwrap_or(&0));
    read
}

fn open_unless(read: io::Result<usize>) -> Result<Flow, String> {
    match read {
        Ok(_) => Ok(Flow::Open),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(Flow::Open)
        }
        Err(e) => Err(io_words(&e)),
    }
}

fn connect_tcp(to: SocketAddr) -> Result<Socket, String> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd = begin(family, &SockaddrStorage::from(to)).map_err(errno_words)?;
    Ok(Socket::Tcp(fd.into()))
}

fn connect_unix(to: &Path) -> Result<Socket, String> {
    let address = UnixAddr::new(to).map_err(|_| "the name of the socket is too long".to_owned())?;
    match begin(AddressFamily::Unix, &address) {
        Ok(fd) => Ok(Socket::Unix(fd.into())),
        Err(Errno::EAGAIN) => Err("connections are not accepted fast enough there".into()),
        Err(e) => Err(errno_words(e)),
    }
}

/// A socket that connects.
fn begin(family: AddressFamily, to: &dyn SockaddrLike) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None)?;
    match connect(fd.as_raw_fd(), to) {
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(fd),
        Err(e) => Err(e),
    }
}

fn errno_words(e: Errno) -> String {
    io_words(&e.into())
}

/// An error of a socket without the number that the library appends.
pub fn io_words(e: &io::Error) -> String {
    match e.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::TcpListener;

    use super::*;

    #[test]
    fn clients_are_named_by_where_they_come_from() {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(door.local_addr().unwrap()).unwrap();
        let socket = Socket::Tcp(door.accept().unwrap().0);
        let from = Stream::accepted(socket, None).unwrap().came_from();
        assert_eq!(from, Some(format!("tcp:{}", client.local_addr().unwrap())));
        let (_near, far) = UnixStream::pair().unwrap();
        let from = Stream::accepted(Socket::Unix(far), None)
            .unwrap()
            .came_from();
        assert_eq!(from, None);
    }
}
