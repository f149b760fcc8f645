//! One OpenFlow connection: negotiates a version, sends without waiting, reads whatever comes meanwhile.
//!
//! The socket does not block. What is to be sent lies in a buffer that [`Connection::send`] drains once it is long, reading
//! at the same time: a switch that stops reading because nobody takes its errors cannot lock up with us. The timeout is
//! about silence, not about the whole: a million flows may take their time as long as something moves.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use rvs_openflow::message::{FlowFormat, Hello, MultipartRequest, PacketInFormat, Reply, Request};
use rvs_openflow::{Dialect, EncodeError, Framer, Message, Version, VersionSet};

use super::errors;
use super::target::{Stream, Target};
use crate::failure::Failure;

/// Octets that wait to be sent before sending becomes more important than encoding.
const SEND_AHEAD: usize = 256 << 10;
/// Octets of messages that nobody asked for and that are kept while sending.
const MAX_INBOX: usize = 256 << 20;
const READ_CHUNK: usize = 64 << 10;

/// A message as it came, with the transaction it belongs to.
pub struct Incoming {
    pub xid: u32,
    pub message: Message,
}

pub struct Connection {
    stream: Stream,
    peer: String,
    timeout: Option<Duration>,
    dialect: Dialect,
    peer_versions: VersionSet,
    framer: Framer,
    out: Vec<u8>,
    sent: usize,
    inbox: VecDeque<Vec<u8>>,
    inbox_octets: usize,
    chunk: Vec<u8>,
    closed: bool,
    last_xid: u32,
}

impl Connection {
    /// Connects, and agrees on the newest version of `versions` that the switch speaks too. In OpenFlow 1.0 Nicira's
    /// extensions are switched on where the switch has them.
    pub fn open(
        target: &Target,
        versions: VersionSet,
        timeout: Option<Duration>,
    ) -> Result<Self, Failure> {
        let mut c = Self::connect(target, timeout)?;
        c.negotiate(versions)?;
        if c.dialect.version == Version::Of10 {
            c.extend_of10()?;
        }
        Ok(c)
    }

    fn connect(target: &Target, timeout: Option<Duration>) -> Result<Self, Failure> {
        Ok(Self {
            stream: target.connect(timeout)?,
            peer: target.shown(),
            timeout,
            dialect: Dialect::new(Version::Of13),
            peer_versions: VersionSet::default(),
            framer: Framer::new(),
            out: Vec::new(),
            sent: 0,
            inbox: VecDeque::new(),
            inbox_octets: 0,
            chunk: vec![0; READ_CHUNK],
            closed: false,
            last_xid: 0,
        })
    }

    fn negotiate(&mut self, versions: VersionSet) -> Result<(), Failure> {
        self.send(&Message::Hello(Hello { versions }))?;
        match self.receive()?.message {
            Message::Hello(peer) => {
                self.peer_versions = peer.versions;
                let version = peer.negotiate(versions).map_err(|_| {
                    Failure::Refused(format!(
                        "{} speaks {}, not {}; see --protocols",
                        self.peer,
                        names(peer.versions),
                        names(versions)
                    ))
                })?;
                self.dialect = Dialect::new(version);
                Ok(())
            }
            Message::Error(e) => Err(Failure::Refused(format!(
                "{}: {}",
                self.peer,
                errors::said(&e, self.dialect.version)
            ))),
            _ => Err(Failure::Refused(format!(
                "{} does not start with a HELLO as OpenFlow does",
                self.peer
            ))),
        }
    }

    /// Tables in flow-mods and Nicira's match; a switch without them is spoken to as the specification has it.
    fn extend_of10(&mut self) -> Result<(), Failure> {
        if self.request_if_known(&Message::SetFlowFormat(FlowFormat::Nxm))?
            && self.request_if_known(&Message::FlowModTableId(true))?
        {
            self.dialect = Dialect::nxm();
        }
        Ok(())
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub fn version(&self) -> Version {
        self.dialect.version
    }

    /// What the switch said it speaks.
    pub fn peer_versions(&self) -> VersionSet {
        self.peer_versions
    }

    pub fn set_packet_in(&mut self, format: PacketInFormat) {
        self.dialect.packet_in = format;
    }

    /// Opens a stream on which only the versions are agreed on: of a snoop socket.
    pub fn open_plain(
        target: &Target,
        versions: VersionSet,
        timeout: Option<Duration>,
    ) -> Result<Self, Failure> {
        let mut c = Self::connect(target, timeout)?;
        c.negotiate(versions)?;
        Ok(c)
    }

    /// Silence is no reason to give up from now on.
    pub fn wait_for_ever(&mut self) {
        self.timeout = None;
    }

    /// A transaction id that was not used before.
    pub fn new_xid(&mut self) -> u32 {
        self.last_xid = self.last_xid.wrapping_add(1).max(1);
        self.last_xid
    }

    /// Sends a message; its transaction id.
    pub fn send(&mut self, message: &Message) -> Result<u32, Failure> {
        let xid = self.new_xid();
        let bytes = self
            .dialect
            .encode(message, xid)
            .map_err(|e| self.unsayable(&e))?;
        self.send_bytes(&bytes)?;
        Ok(xid)
    }

    pub fn unsayable(&self, e: &EncodeError) -> Failure {
        Failure::Refused(format!(
            "{e} (this connection speaks {}; see --protocols)",
            self.dialect.version
        ))
    }

    /// Adds encoded messages to what is to be sent.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        for part in bytes.chunks(SEND_AHEAD) {
            self.out.extend_from_slice(part);
            while self.out.len() - self.sent > SEND_AHEAD && !self.closed {
                self.step()?;
            }
        }
        Ok(())
    }

    /// The next message; echo requests are answered on the way.
    pub fn receive(&mut self) -> Result<Incoming, Failure> {
        loop {
            let bytes = self.receive_bytes()?;
            let (header, message) = self.dialect.decode(&bytes).map_err(|e| {
                Failure::Refused(format!("{} sent what it should not: {e}", self.peer))
            })?;
            if let Message::EchoRequest(data) = message {
                let reply = self.dialect.encode(&Message::EchoReply(data), header.xid);
                self.send_bytes(&reply.map_err(|e| self.unsayable(&e))?)?;
                continue;
            }
            return Ok(Incoming {
                xid: header.xid,
                message,
            });
        }
    }

    /// The next message as it is.
    pub fn receive_bytes(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            if let Some(bytes) = self.inbox.pop_front() {
                self.inbox_octets -= bytes.len();
                return Ok(bytes);
            }
            if self.closed {
                return Err(Failure::Refused(format!(
                    "{} closed the connection",
                    self.peer
                )));
            }
            self.step()?;
        }
    }

    /// Sends a request and returns its answer.
    pub fn request(&mut self, message: &Message) -> Result<Incoming, Failure> {
        let xid = self.send(message)?;
        loop {
            let answer = self.receive()?;
            if answer.xid == xid {
                return self.not_an_error(answer);
            }
        }
    }

    /// Sends a message that has no answer; false when the switch refuses it.
    pub fn request_if_known(&mut self, message: &Message) -> Result<bool, Failure> {
        let xid = self.send(message)?;
        let barrier = self.send(&Message::BarrierRequest)?;
        let mut known = true;
        loop {
            let answer = self.receive()?;
            known &= answer.xid != xid;
            if answer.xid == barrier {
                return Ok(known);
            }
        }
    }

    fn not_an_error(&self, answer: Incoming) -> Result<Incoming, Failure> {
        match &answer.message {
            Message::Error(e) => Err(Failure::Refused(errors::said(e, self.dialect.version))),
            _ => Ok(answer),
        }
    }

    /// Asks a multipart question and hands out each part of the answer with the transaction id.
    pub fn ask(&mut self, body: Request, mut part: impl FnMut(u32, Reply)) -> Result<(), Failure> {
        let xid = self.send(&Message::MultipartRequest(MultipartRequest::new(body)))?;
        loop {
            let answer = self.receive()?;
            if answer.xid != xid {
                continue;
            }
            if let Message::MultipartReply(reply) = self.not_an_error(answer)?.message {
                part(xid, reply.body);
                if !reply.more {
                    return Ok(());
                }
            }
        }
    }

    /// Waits until something can be read or written, and does it.
    fn step(&mut self) -> Result<(), Failure> {
        let pending = self.sent < self.out.len();
        let mut events = PollFlags::POLLIN;
        if pending {
            events |= PollFlags::POLLOUT;
        }
        let wait = match self.timeout {
            None => PollTimeout::NONE,
            Some(t) => PollTimeout::try_from(t).unwrap_or(PollTimeout::MAX),
        };
        let mut fds = [PollFd::new(self.stream.as_fd(), events)];
        match poll(&mut fds, wait) {
            Ok(0) => {
                return Err(Failure::TimedOut(format!(
                    "{} did not answer in time (see --timeout)",
                    self.peer
                )))
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(Failure::io(e.into())),
        }
        let ready = fds[0].revents().unwrap_or(PollFlags::empty());
        if ready.contains(PollFlags::POLLOUT) {
            self.write_some()?;
        }
        if ready.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.read_some()?;
        }
        Ok(())
    }

    fn write_some(&mut self) -> Result<(), Failure> {
        match self.stream.write(self.out.get(self.sent..).unwrap_or(&[])) {
            Ok(n) => self.sent += n,
            Err(e) if again(&e) => {}
            // The switch is gone; what it said before can still be read.
            Err(e) if gone(&e) => self.sent = self.out.len(),
            Err(e) => return Err(Failure::io(e)),
        }
        if self.sent * 2 > self.out.len() {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    fn read_some(&mut self) -> Result<(), Failure> {
        let n = match self.stream.read(&mut self.chunk) {
            Ok(n) => n,
            Err(e) if again(&e) => return Ok(()),
            Err(e) if gone(&e) => 0,
            Err(e) => return Err(Failure::io(e)),
        };
        self.closed = n == 0;
        self.framer.push(self.chunk.get(..n).unwrap_or(&[]));
        loop {
            let next = self.framer.next_message().map_err(|e| {
                Failure::Refused(format!("{} does not speak OpenFlow: {e}", self.peer))
            })?;
            let Some(message) = next else {
                return Ok(());
            };
            self.inbox_octets += message.len();
            self.inbox.push_back(message.to_vec());
            if self.inbox_octets > MAX_INBOX {
                return Err(Failure::Refused(format!(
                    "{} sent {} MiB that were not asked for",
                    self.peer,
                    MAX_INBOX >> 20
                )));
            }
        }
    }
}

fn again(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn gone(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// `OpenFlow10, OpenFlow13`.
pub fn names(versions: VersionSet) -> String {
    let names: Vec<&str> = versions.iter().map(Version::name).collect();
    names.join(", ")
}
