//! Connections of clients: bytes between sockets and the sans-I/O sessions behind them.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::poll::PollFlags;
use rvs_ovsdb::jsonrpc::{Framer, Message, Outbox};
use rvs_ovsdb::server::SessionId;
use serde_json::Value;

use crate::logging::UNIXCTL;

/// Octets read from one client before the others' turn.
const READ: usize = 65_536;
/// Clients of the control sockets at once.
pub const MAX_CONTROL_CLIENTS: usize = 32;
/// Octets that may wait for a control client when it asks for more; one answer may exceed it.
const MAX_BACKLOG: usize = 128 << 20;

/// What listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Database,
    Control,
}

pub struct Listener {
    pub service: Service,
    socket: UnixListener,
}

impl Listener {
    pub fn new(service: Service, socket: UnixListener) -> Self {
        Self { service, socket }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next client that knocks, not blocking.
    ///
    /// # Errors
    /// When there are no file descriptors left: the client still knocks, and whoever polls must not ask again at once.
    pub fn accept(&self) -> std::io::Result<Option<UnixStream>> {
        match self.socket.accept() {
            Ok((stream, _)) => stream.set_nonblocking(true).map(|()| Some(stream)),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                ) =>
            {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

/// What a client speaks.
pub enum Talk {
    Database(SessionId),
    Control(ControlSession),
}

/// A unixctl session: JSON-RPC requests with strings as parameters.
#[derive(Default)]
pub struct ControlSession {
    framer: Framer,
    out: Outbox,
}

/// A command of a control client.
pub struct Request {
    pub id: Value,
    pub method: String,
    pub params: Vec<String>,
}

impl ControlSession {
    pub fn push(&mut self, bytes: &[u8]) {
        self.framer.push(bytes);
    }

    /// The next whole request. An error means that the client does not speak the protocol.
    pub fn next(&mut self) -> Result<Option<Request>, String> {
        if self.out.pending().len() > MAX_BACKLOG {
            return Err("it asks, and does not read the answers".to_owned());
        }
        let Some(json) = self.framer.next_object().map_err(|e| e.to_string())? else {
            return Ok(None);
        };
        match Message::from_json(json).map_err(|e| e.to_string())? {
            Message::Request { id, method, params } => {
                let text = |p: Value| match p {
                    Value::String(s) => Ok(s),
                    other => Err(format!("parameters are strings, not {other}")),
                };
                let params: Vec<String> = params.into_iter().map(text).collect::<Result<_, _>>()?;
                tracing::debug!(target: UNIXCTL, "received request {method}{params:?}, id={id}");
                Ok(Some(Request { id, method, params }))
            }
            _ => Err("a request is expected".to_owned()),
        }
    }

    /// What is to be sent.
    pub fn pending(&self) -> &[u8] {
        self.out.pending()
    }

    pub fn reply(&mut self, id: Value, result: Result<Value, String>) {
        match &result {
            Ok(v) => {
                let text = v.as_str().unwrap_or_default();
                tracing::debug!(target: UNIXCTL, "replying with success, id={id}: \"{text}\"");
            }
            Err(text) => {
                tracing::debug!(target: UNIXCTL, "replying with error, id={id}: \"{text}\"");
            }
        }
        self.out.push(&Message::Response {
            id,
            result: result.map_err(Value::String),
        });
    }
}

pub struct Client {
    stream: UnixStream,
    pub talk: Talk,
}

/// What a turn with a client ended in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Open,
    Closed,
}

impl Client {
    pub fn new(stream: UnixStream, talk: Talk) -> Self {
        Self { stream, talk }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Reads what is there, at most [`READ`] octets.
    pub fn read(&mut self, buffer: &mut Vec<u8>) -> Turn {
        buffer.resize(READ, 0);
        match self.stream.read(buffer) {
            Ok(0) => Turn::Closed,
            Ok(n) => {
                buffer.truncate(n);
                Turn::Open
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                buffer.clear();
                Turn::Open
            }
            Err(_) => Turn::Closed,
        }
    }

    /// Writes as much of `bytes` as the socket takes; how many octets went.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, ()> {
        match self.stream.write(bytes) {
            Ok(n) => Ok(n),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            Err(_) => Err(()),
        }
    }

    /// Sends what a control session has to say.
    pub fn flush_control(&mut self) -> Turn {
        let Talk::Control(session) = &mut self.talk else {
            return Turn::Open;
        };
        while !session.out.pending().is_empty() {
            match self.stream.write(session.out.pending()) {
                Ok(0) => return Turn::Closed,
                Ok(n) => session.out.sent(n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Turn::Closed,
            }
        }
        Turn::Open
    }

    /// What to poll for; `wants_input` and `has_output` are a database session's.
    pub fn interest(&self, wants_input: bool, has_output: bool) -> PollFlags {
        let (input, output) = match &self.talk {
            Talk::Database(_) => (wants_input, has_output),
            Talk::Control(s) => (s.out.pending().is_empty(), !s.out.pending().is_empty()),
        };
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, input);
        flags.set(PollFlags::POLLOUT, output);
        flags
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn who_asks_without_reading_is_dropped_before_the_answers_fill_the_memory() {
        let mut session = ControlSession::default();
        let asked = br#"{"method":"dump","params":["x"],"id":1}"#;
        let mut answers = 0;
        let refused = loop {
            session.push(asked);
            match session.next() {
                Ok(request) => {
                    let request = request.unwrap();
                    assert_eq!(request.params, ["x"]);
                    session.reply(request.id, Ok(Value::String("x".repeat(MAX_BACKLOG / 4))));
                    answers += 1;
                }
                Err(e) => break e,
            }
        };
        assert!(refused.contains("does not read"), "{refused}");
        assert_eq!(answers, 4);
    }
}
