//! A client of any OVSDB server: requests, replies, notifications, and a [`Replica`] of what it monitors.
//!
//! [`Client`] is without I/O: its owner carries [`output`](Client::output) to the server and what comes back to
//! [`input`](Client::input). [`Connection`] does that for a blocking stream.

mod connection;
mod follower;
mod operations;
mod replica;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{json, Map, Value};

pub use connection::{ClientError, Connection};
pub use follower::{Follower, FollowerEvent, RowUpdate};
pub use operations::Operations;
pub use replica::Replica;

use crate::database::{Database, Delta};
use crate::error::{OvsdbError, Result};
use crate::jsonrpc::{Framer, Message, Outbox, ProtocolError};
use crate::limits::MAX_REPLY_BYTES;
use crate::schema::Schema;

/// A request of this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(u64);

/// What a server said.
#[derive(Clone, Debug)]
pub enum ClientEvent {
    /// The answer to a request.
    Response {
        /// The request.
        id: RequestId,
        /// Its result.
        result: Result<Value>,
    },
    /// The replica has changed; also by the answer to [`Client::monitor`], before its response.
    Updated(Arc<Delta>),
    /// A notification of another kind ("locked", "stolen").
    Notification {
        /// What happened.
        method: String,
        /// To what.
        params: Vec<Value>,
    },
}

/// The client's side of a session.
#[derive(Debug)]
pub struct Client {
    framer: Framer,
    out: Outbox,
    next_id: u64,
    /// Requests without an answer; the value says whether it is the start of the monitor.
    pending: HashMap<u64, bool>,
    replica: Option<Replica>,
    events: VecDeque<ClientEvent>,
}

/// The name of the one monitor of a client.
const MONITOR: &str = "replica";

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}

impl Client {
    /// A client that has said nothing yet.
    pub fn new() -> Client {
        Client {
            framer: Framer::with_max(MAX_REPLY_BYTES),
            out: Outbox::default(),
            next_id: 0,
            pending: HashMap::new(),
            replica: None,
            events: VecDeque::new(),
        }
    }

    /// Sends a request; its answer comes as an event.
    pub fn request(&mut self, method: &str, params: Vec<Value>) -> RequestId {
        self.send(method, params, false)
    }

    fn send(&mut self, method: &str, params: Vec<Value>, is_monitor: bool) -> RequestId {
        self.next_id += 1;
        self.pending.insert(self.next_id, is_monitor);
        let (id, method) = (json!(self.next_id), method.to_owned());
        self.out.push(&Message::Request { id, method, params });
        RequestId(self.next_id)
    }

    /// Asks for a database's schema.
    pub fn request_schema(&mut self, database: &str) -> RequestId {
        self.request("get_schema", vec![json!(database)])
    }

    /// Sends a transaction.
    pub fn transact(&mut self, database: &str, operations: Vec<Value>) -> RequestId {
        let mut params = vec![json!(database)];
        params.extend(operations);
        self.request("transact", params)
    }

    /// Monitors columns of tables (`None`: all columns) and keeps them in the [`replica`](Client::replica), in
    /// place of what was monitored before. With `differences` the server is asked for differences, which
    /// servers older than Open vSwitch 2.6 refuse as an unknown method.
    pub fn monitor(
        &mut self,
        schema: &Arc<Schema>,
        tables: &[(&str, Option<&[&str]>)],
        differences: bool,
    ) -> RequestId {
        if self.replica.take().is_some() {
            let _answer_is_ignored = self.request("monitor_cancel", vec![json!(MONITOR)]);
        }
        let requests: Map<String, Value> = tables
            .iter()
            .map(|(table, columns)| {
                let request = match columns {
                    Some(columns) => json!([{ "columns": columns }]),
                    None => json!([{}]),
                };
                ((*table).to_owned(), request)
            })
            .collect();
        self.replica = Some(Replica::new(schema.clone()));
        let method = if differences {
            "monitor_cond"
        } else {
            "monitor"
        };
        let params = vec![json!(schema.name), json!(MONITOR), Value::Object(requests)];
        self.send(method, params, true)
    }

    /// What is monitored; empty until the answer to [`monitor`](Client::monitor) has come.
    pub fn replica(&self) -> Option<&Database> {
        self.replica.as_ref().map(Replica::database)
    }

    /// What was monitored, for who goes on with it when the connection has ended.
    pub fn into_replica(self) -> Option<Database> {
        self.replica.map(Replica::into_database)
    }

    /// The bytes to send.
    pub fn output(&self) -> &[u8] {
        self.out.pending()
    }

    /// Notes that so many bytes of the [`output`](Client::output) were sent.
    pub fn sent(&mut self, count: usize) {
        self.out.sent(count);
    }

    /// Takes bytes from the server.
    ///
    /// # Errors
    /// The server does not speak the protocol.
    pub fn input(&mut self, bytes: &[u8]) -> std::result::Result<(), ProtocolError> {
        self.framer.push(bytes);
        while let Some(json) = self.framer.next_object()? {
            self.handle(Message::from_json(json)?)?;
        }
        Ok(())
    }

    /// The next thing that the server said.
    pub fn next_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    fn handle(&mut self, message: Message) -> std::result::Result<(), ProtocolError> {
        match message {
            Message::Request { id, method, params } => {
                let known = method == "echo";
                let result = if known {
                    Ok(Value::Array(params))
                } else {
                    Err(json!("unknown method"))
                };
                self.out.push(&Message::Response { id, result });
            }
            Message::Response { id, result } => {
                let Some((number, is_monitor)) = id
                    .as_u64()
                    .and_then(|number| Some((number, self.pending.remove(&number)?)))
                else {
                    return Ok(());
                };
                if let (true, Ok(rows)) = (is_monitor, &result) {
                    self.update(rows)?;
                }
                let result = result.map_err(|error| OvsdbError::from_json(&error));
                self.events.push_back(ClientEvent::Response {
                    id: RequestId(number),
                    result,
                });
            }
            Message::Notification { method, params } => {
                match (method.as_str(), params.as_slice()) {
                    ("update" | "update2", [Value::String(name), rows]) if name == MONITOR => {
                        self.update(rows)?;
                    }
                    _ => self
                        .events
                        .push_back(ClientEvent::Notification { method, params }),
                }
            }
        }
        Ok(())
    }

    fn update(&mut self, rows: &Value) -> std::result::Result<(), ProtocolError> {
        let Some(replica) = &mut self.replica else {
            return Ok(());
        };
        let delta = replica
            .apply(rows)
            .map_err(|error| ProtocolError::NotAMessage(error.to_string()))?;
        self.events.push_back(ClientEvent::Updated(Arc::new(delta)));
        Ok(())
    }
}
