//! The state of one client.

use serde_json::{json, Value};

use super::monitor::Monitor;
use crate::jsonrpc::{Framer, Message, Outbox};
use crate::Now;

/// A client's connection, for as long as the server lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(super) u64);

/// The result of a request.
#[derive(Debug)]
pub(super) enum Answer {
    Json(Value),
    /// Is JSON already: of many rows, for which no tree is built.
    Text(String),
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) framer: Framer,
    pub(super) out: Outbox,
    pub(super) monitors: Vec<Monitor>,
    /// Nanoseconds of silence before a probe; 0 is never.
    pub(super) probe_interval: u64,
    /// When the client was last heard.
    pub(super) heard: Now,
    /// Whether a probe is unanswered.
    pub(super) probed: bool,
}

impl Session {
    pub(super) fn new(now: Now, probe_interval: u64) -> Session {
        Session {
            framer: Framer::default(),
            out: Outbox::default(),
            monitors: Vec::new(),
            probe_interval,
            heard: now,
            probed: false,
        }
    }

    pub(super) fn reply(&mut self, id: Value, result: Result<Answer, Value>) {
        let result = match result {
            Ok(Answer::Text(text)) => {
                let text = format!(r#"{{"id":{id},"result":{text},"error":null}}"#);
                return self.out.push_text(&text);
            }
            Ok(Answer::Json(json)) => Ok(json),
            Err(error) => Err(error),
        };
        self.out.push(&Message::Response { id, result });
    }

    pub(super) fn notify(&mut self, method: &str, params: Vec<Value>) {
        self.out.push(&Message::Notification {
            method: method.to_owned(),
            params,
        });
    }

    /// When the client must be probed, or dropped if it has been.
    pub(super) fn probe_deadline(&self) -> Option<Now> {
        let silences = if self.probed { 2 } else { 1 };
        (self.probe_interval > 0).then(|| {
            Now(self
                .heard
                .0
                .saturating_add(self.probe_interval.saturating_mul(silences)))
        })
    }

    /// Probes the client; `false` if it has not answered the last probe.
    pub(super) fn probe(&mut self) -> bool {
        if self.probed {
            return false;
        }
        self.probed = true;
        let (id, method) = (json!("echo"), "echo".to_owned());
        self.out.push(&Message::Request {
            id,
            method,
            params: Vec::new(),
        });
        true
    }
}
