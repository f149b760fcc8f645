//! One connection: framing, handshake, echo, what waits to be sent, and what the peer has asked for.
//!
//! A peer says HELLO first and within [`HANDSHAKE`], in a version that the bridge allows; whatever else it says before
//! that ends the connection. Afterwards every message is decoded in the dialect of the connection; what does not decode is
//! answered with an error and forgotten, except a length from which no next message can be found, which ends it too.

use std::sync::Arc;
use std::time::Duration;

use rvs_openflow::framer::RawHeader;
use rvs_openflow::message::{Hello, Reassembly, Role};
use rvs_openflow::{
    ControllerId, Dialect, ErrorCode, ErrorMessage, Framer, Message, OfError, Version, VersionSet,
};
use rvs_packet::Now;

use super::async_config::AsyncMasks;
use super::bundle::Bundles;
use super::job::Job;
use super::limits::{
    EVENT_BACKLOG, HANDSHAKE, INPUT_BACKLOG, INPUT_MAX, MISS_SEND_LEN, PACKET_IN_WINDOW,
    REPLY_BACKLOG,
};
use super::log::{self, LogLimit};
use super::monitor::Monitors;
use super::outbox::Outbox;
use super::queue::PacketIns;
use super::status::{CloseReason, ConnKind, ConnOptions, ConnStatus};
use crate::ConnId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Hello { deadline: Now },
    Open,
    Closing,
}

/// A message that wants an answer.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) message: Message,
    pub(super) xid: u32,
    pub(super) octets: usize,
    /// The start of the message, for errors.
    pub(super) head: Vec<u8>,
}

/// What came of looking for the next message.
#[derive(Debug)]
pub(super) enum Step {
    /// There is none, or it has to wait.
    Idle,
    /// There was one, done with.
    Done,
    Request(Request),
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    /// Its name, for logs.
    bridge: Arc<str>,
    /// What the log calls it: the peer where it has an address, `unix#N` otherwise.
    name: String,
    pub(super) kind: ConnKind,
    pub(super) dialect: Dialect,
    pub(super) role: Role,
    /// What it calls itself (OpenFlow 1.5); 0 for nothing.
    pub(super) short_id: u16,
    pub(super) masks: AsyncMasks,
    /// A length for misses. No frame is cut to it, for none is kept here to send the rest of; but a service connection that
    /// sets one asks for messages.
    pub(super) miss_send_len: u16,
    pub(super) controller: ControllerId,
    pub(super) reassembly: Reassembly,
    pub(super) bundles: Bundles,
    /// It has changed rules, groups or meters, outside bundles.
    pub(super) has_changed: bool,
    pub(super) monitors: Monitors,
    pub(super) packet_ins: PacketIns,
    /// A long reply that is being written. Later requests wait for it.
    pub(super) job: Option<Job>,
    /// Copies of everything said and heard, for those who listen; `None` while nobody does.
    pub(super) tap: Option<Vec<u8>>,
    versions: VersionSet,
    phase: Phase,
    closed: Option<CloseReason>,
    framer: Framer,
    /// Something came since the clock was last read.
    heard: bool,
    last_heard: Now,
    since: Now,
    options: ConnOptions,
    probe: Option<Duration>,
    probed: Option<Now>,
    outbox: Outbox,
    pub(super) log: LogLimit,
}

impl Connection {
    /// A connection that has said HELLO.
    pub(super) fn new(
        now: Now,
        bridge: Arc<str>,
        id: ConnId,
        kind: ConnKind,
        versions: VersionSet,
        peer: Option<&str>,
    ) -> Self {
        let newest = versions.newest().unwrap_or(Version::Of10);
        let mut conn = Self {
            id,
            bridge,
            name: peer.map_or_else(|| format!("unix#{}", id.0), str::to_owned),
            kind,
            dialect: Dialect::new(newest),
            role: Role::Equal,
            short_id: 0,
            masks: AsyncMasks::default(),
            miss_send_len: match kind {
                ConnKind::Primary => MISS_SEND_LEN,
                ConnKind::Service | ConnKind::Snoop => 0,
            },
            controller: ControllerId(0),
            reassembly: Reassembly::new(),
            bundles: Bundles::default(),
            has_changed: false,
            monitors: Monitors::default(),
            packet_ins: PacketIns::default(),
            job: None,
            tap: None,
            versions,
            phase: Phase::Hello {
                deadline: now + HANDSHAKE,
            },
            closed: None,
            framer: Framer::new(),
            heard: false,
            last_heard: now,
            since: now,
            options: ConnOptions::default(),
            probe: None,
            probed: None,
            outbox: Outbox::default(),
            log: LogLimit::default(),
        };
        conn.send(0, &Message::Hello(Hello { versions }));
        conn
    }

    /// How long the peer may be silent before it is probed, and as long again until it is given up (`None` or zero: for
    /// ever), and how many packet-ins it gets.
    pub(super) fn set_options(&mut self, now: Now, probe: Option<Duration>, options: ConnOptions) {
        let probe = probe.filter(|p| !p.is_zero());
        if self.probe != probe {
            self.probe = probe;
            self.probed = None;
        }
        if self.options != options {
            self.options = options;
            let ConnOptions {
                rate_limit,
                burst_limit,
            } = options;
            self.packet_ins.limit(rate_limit, burst_limit, now);
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(super) fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    pub(super) fn version(&self) -> Version {
        self.dialect.version
    }

    pub(super) fn is_secondary(&self) -> bool {
        self.role == Role::Secondary
    }

    /// A controller that the configuration names.
    pub(super) fn is_controller(&self) -> bool {
        self.kind == ConnKind::Primary
    }

    /// True while messages that nobody asked for may go to it.
    pub(super) fn hears_events(&self) -> bool {
        self.is_open()
            && match self.kind {
                ConnKind::Primary => true,
                ConnKind::Service => self.miss_send_len > 0,
                ConnKind::Snoop => false,
            }
    }

    pub(super) fn status(&self) -> ConnStatus {
        ConnStatus {
            kind: self.kind,
            version: self.is_open().then_some(self.dialect.version),
            role: self.role,
            since: self.since,
            established: self.is_open(),
            packet_ins: self.packet_ins.counters(),
        }
    }

    // Input.

    pub(super) fn input(&mut self, bytes: &[u8]) {
        if self.is_closing() {
            return;
        }
        self.heard = true;
        self.framer.push(bytes);
        if self.framer.pending().len() > INPUT_MAX {
            self.close(CloseReason::TooMuchInput);
        }
    }

    pub(super) fn wants_input(&self) -> bool {
        !self.is_closing()
            && self.outbox.len() < REPLY_BACKLOG
            && self.framer.pending().len() < INPUT_BACKLOG
    }

    /// True when [`Self::step`] would look at a message.
    pub(super) fn takes_requests(&self) -> bool {
        !self.is_closing() && self.job.is_none() && self.outbox.len() < REPLY_BACKLOG
    }

    /// True when a whole message waits and may be handled.
    pub(super) fn has_request(&self) -> bool {
        let waiting = self.framer.pending();
        let whole = |h: RawHeader| waiting.len() >= h.length.into();
        self.takes_requests()
            && (RawHeader::parse(waiting).is_some_and(whole) || self.begins_wrongly())
    }

    /// True when the first message is not whole yet, and known to be neither HELLO nor ERROR: its rest need not be heard.
    fn begins_wrongly(&self) -> bool {
        const ERROR: u8 = 1;
        let waiting = self.framer.pending();
        let wrong = |h: RawHeader| h.kind > ERROR && waiting.len() < h.length.into();
        matches!(self.phase, Phase::Hello { .. }) && RawHeader::parse(waiting).is_some_and(wrong)
    }

    /// True when the next message is an echo, which never waits for others.
    pub(super) fn echo_is_next(&self) -> bool {
        const ECHO_REQUEST: u8 = 2;
        const ECHO_REPLY: u8 = 3;
        let next = RawHeader::parse(self.framer.pending());
        next.is_some_and(|h| matches!(h.kind, ECHO_REQUEST | ECHO_REPLY))
    }

    /// True when a turn would get something done without new input.
    pub(super) fn wants_turn(&self) -> bool {
        let waiting = self.outbox.len();
        !self.is_closing()
            && (self.has_request()
                || self.job.is_some() && waiting < REPLY_BACKLOG
                || self.monitors.may_resume(waiting)
                || self.packet_ins.may_go() && waiting < PACKET_IN_WINDOW)
    }

    /// Notes when the peer was last heard.
    pub(super) fn read_clock(&mut self, now: Now) {
        if std::mem::take(&mut self.heard) {
            self.last_heard = now;
            self.probed = None;
        }
    }

    /// Looks at the next message; answers what needs nobody else.
    pub(super) fn step(&mut self, now: Now) -> Step {
        if !self.takes_requests() {
            return Step::Idle;
        }
        if self.begins_wrongly() {
            let head = head(self.framer.pending());
            self.greet(now, Err(not_hello()), &head);
            return Step::Done;
        }
        let bytes = match self.framer.next_message() {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Step::Idle,
            Err(e) => {
                let head = head(self.framer.pending());
                self.refuse(now, &e, &head);
                self.close(CloseReason::BadStream);
                return Step::Done;
            }
        };
        if let Some(tap) = &mut self.tap {
            tap.extend_from_slice(bytes);
        }
        log::message(&self.name, "received", &self.dialect, bytes);
        let (head, octets) = (head(bytes), bytes.len());
        let decoded = self.dialect.decode(bytes);
        if matches!(self.phase, Phase::Hello { .. }) {
            self.greet(now, decoded.map(|(_, m)| m), &head);
            return Step::Done;
        }
        match decoded {
            Ok((header, message)) => self.sort(now, message, header.xid, octets, head),
            Err(e) => {
                self.refuse(now, &e, &head);
                Step::Done
            }
        }
    }

    /// Answers what any connection answers alike.
    fn sort(&mut self, now: Now, message: Message, xid: u32, octets: usize, head: Vec<u8>) -> Step {
        match message {
            Message::EchoRequest(data) => self.send(xid, &Message::EchoReply(data)),
            Message::EchoReply(_) | Message::Hello(_) => {}
            Message::Error(e) => {
                if self.log.allows(now) {
                    let known = e.known(self.version()).map_or("unknown", |c| c.name());
                    tracing::info!(
                        conn = self.id.0,
                        xid,
                        error = known,
                        "the peer reports an error"
                    );
                }
            }
            _ if self.kind == ConnKind::Snoop => {}
            message => {
                return Step::Request(Request {
                    message,
                    xid,
                    octets,
                    head,
                })
            }
        }
        Step::Done
    }

    /// The first message.
    fn greet(&mut self, now: Now, decoded: Result<Message, OfError>, head: &[u8]) {
        let hello = match decoded {
            Ok(Message::Hello(hello)) => hello,
            Ok(Message::Error(_)) => return self.close(CloseReason::Incompatible),
            _ => {
                self.refuse(now, &not_hello(), head);
                return self.close(CloseReason::NoHello);
            }
        };
        match hello.negotiate(self.versions) {
            Ok(version) => {
                self.dialect = Dialect::new(version);
                self.phase = Phase::Open;
                self.since = now;
                log::negotiated(&self.name, version, self.versions, hello.versions);
                tracing::debug!(bridge = %self.bridge, conn = self.id.0, %version, "connected");
            }
            Err(e) => {
                tracing::warn!(bridge = %self.bridge, conn = self.id.0, "{e}");
                let text = e.why.as_bytes();
                let error = ErrorMessage::new(e.code, self.version(), text);
                let xid = RawHeader::parse(head).map_or(0, |h| h.xid);
                self.send(xid, &Message::Error(error));
                self.close(CloseReason::Incompatible);
            }
        }
    }

    // Output.

    /// Queues a message. What the dialect can't say is left out and logged: a bug of ours, or a value that another version
    /// has brought in.
    pub(super) fn send(&mut self, xid: u32, message: &Message) {
        match self.dialect.encode(message, xid) {
            Ok(bytes) => self.send_bytes(&bytes),
            Err(e) => {
                tracing::warn!(bridge = %self.bridge, conn = self.id.0, xid, "a message was not sent: {e}")
            }
        }
    }

    /// Queues a whole message.
    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap.extend_from_slice(bytes);
        }
        log::message(&self.name, "sent (Success)", &self.dialect, bytes);
        self.outbox.push(bytes);
    }

    /// Queues a message that nobody asked for, unless the version has no words for it.
    pub(super) fn tell(&mut self, message: &Message) {
        if let Ok(bytes) = self.dialect.encode(message, 0) {
            self.tell_bytes(&bytes);
        }
    }

    pub(super) fn tell_bytes(&mut self, bytes: &[u8]) {
        if self.outbox.len() > EVENT_BACKLOG {
            return self.close(CloseReason::NotReading);
        }
        self.send_bytes(bytes);
    }

    /// Answers a request with an error, and says so in the log. An error is not answered with an error.
    pub(super) fn refuse(&mut self, now: Now, error: &OfError, request: &[u8]) {
        let header = RawHeader::parse(request);
        const ERROR: u8 = 1;
        if self.log.allows(now) {
            let (kind, xid) = header.map_or((0, 0), |h| (h.kind, h.xid));
            tracing::info!(bridge = %self.bridge, conn = self.id.0, xid, kind, "refused: {error}");
        }
        if header.is_none_or(|h| h.kind != ERROR) {
            let reply = error.reply(self.version(), request);
            self.send_bytes(&reply);
        }
    }

    pub(super) fn output(&self) -> &[u8] {
        self.outbox.bytes()
    }

    pub(super) fn sent(&mut self, n: usize) {
        self.outbox.sent(n);
    }

    /// Octets that wait to be sent.
    pub(super) fn backlog(&self) -> usize {
        self.outbox.len()
    }

    /// Moves packet-ins that may go out now to where they do.
    pub(super) fn pump(&mut self, now: Now) {
        while self.outbox.len() < PACKET_IN_WINDOW && !self.is_closing() {
            let Some(message) = self.packet_ins.next(now) else {
                break;
            };
            self.send_bytes(&message);
        }
    }

    /// When the rate limit lets the next packet-in go. None while the peer has to read first.
    pub(super) fn next_packet_in(&self) -> Option<Now> {
        let room = self.outbox.len() < PACKET_IN_WINDOW && !self.is_closing();
        self.packet_ins.next_token().filter(|_| room)
    }

    // The end.

    pub(super) fn close(&mut self, reason: CloseReason) {
        if self.is_closing() {
            return;
        }
        tracing::info!(bridge = %self.bridge, conn = self.id.0, "closing: {reason}");
        self.phase = Phase::Closing;
        self.closed = Some(reason);
    }

    /// Why it was closed, once.
    pub(super) fn take_closed(&mut self) -> Option<CloseReason> {
        self.closed.take()
    }

    /// Deadlines of handshake and probe.
    pub(super) fn tick(&mut self, now: Now) {
        self.read_clock(now);
        if self.next_deadline().is_none_or(|d| now < d) {
            return;
        }
        match self.phase {
            Phase::Hello { .. } => self.close(CloseReason::HandshakeTimeout),
            Phase::Open if self.probed.is_some() => self.close(CloseReason::Inactive),
            Phase::Open => {
                self.probed = Some(now);
                self.send(0, &Message::EchoRequest(Vec::new()));
            }
            Phase::Closing => {}
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Now> {
        match self.phase {
            Phase::Hello { deadline } => Some(deadline),
            Phase::Open => {
                let from = self.probed.unwrap_or(self.last_heard);
                self.probe.map(|p| from + p)
            }
            Phase::Closing => None,
        }
    }
}

fn not_hello() -> OfError {
    ErrorCode::BrcBadType.because("the first message must be a HELLO")
}

/// As much of a message as an error carries.
fn head(message: &[u8]) -> Vec<u8> {
    message[..message.len().min(rvs_openflow::error::ERROR_DATA)].to_vec()
}
