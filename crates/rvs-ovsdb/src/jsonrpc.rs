//! JSON-RPC 1.0 over a byte stream (RFC 7047 section 4): messages follow each other without framing, so
//! the end of one is found by matching its brackets.
//!
//! [`Framer`] looks at each byte once, without recursion; only a complete object of bounded size and depth
//! reaches the JSON parser.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::limits::{MAX_JSON_DEPTH, MAX_MESSAGE_BYTES};

/// The peer does not speak JSON-RPC; the connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Something other than an object between messages.
    #[error("expected a JSON object, found byte {0:#04x}")]
    NotAnObject(u8),
    /// Brackets nest too deep.
    #[error("JSON nests deeper than {MAX_JSON_DEPTH}")]
    TooDeep,
    /// A message is too long.
    #[error("message exceeds {0} bytes")]
    TooLong(usize),
    /// Bytes that are not JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// JSON that is not a JSON-RPC message.
    #[error("not a JSON-RPC message: {0}")]
    NotAMessage(String),
}

/// Cuts a stream of bytes into JSON objects.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    /// First byte of the current object.
    start: usize,
    /// First byte not looked at.
    at: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    max: usize,
}

impl Default for Framer {
    fn default() -> Framer {
        Framer::with_max(MAX_MESSAGE_BYTES)
    }
}

impl Framer {
    /// A framer of messages of at most `max` bytes.
    pub fn with_max(max: usize) -> Framer {
        Framer {
            buffer: Vec::new(),
            start: 0,
            at: 0,
            depth: 0,
            in_string: false,
            escaped: false,
            max,
        }
    }

    /// Adds bytes from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            (self.start, self.at) = (0, 0);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that are held.
    pub fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next complete object.
    ///
    /// # Errors
    /// The stream is of no more use.
    pub fn next_object(&mut self) -> Result<Option<Value>, ProtocolError> {
        while let Some(&byte) = self.buffer.get(self.at) {
            self.at += 1;
            if self.depth == 0 {
                match byte {
                    b' ' | b'\t' | b'\r' | b'\n' => self.start = self.at,
                    b'{' => self.depth = 1,
                    other => return Err(ProtocolError::NotAnObject(other)),
                }
                continue;
            }
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' if self.depth == MAX_JSON_DEPTH => return Err(ProtocolError::TooDeep),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
            if self.depth == 0 {
                return self.take().map(Some);
            }
        }
        if self.len() > self.max {
            return Err(ProtocolError::TooLong(self.max));
        }
        Ok(None)
    }

    fn take(&mut self) -> Result<Value, ProtocolError> {
        let text = &self.buffer[self.start..self.at];
        if text.len() > self.max {
            return Err(ProtocolError::TooLong(self.max));
        }
        let value = serde_json::from_slice(text);
        self.start = self.at;
        if self.start > 64 << 10 {
            // Keeps the cost of shifting the rest below that of having scanned what is dropped.
            if self.start * 2 > self.buffer.len() {
                self.buffer.drain(..self.start);
                (self.start, self.at) = (0, 0);
            }
        }
        value.map_err(|error| ProtocolError::NotJson(error.to_string()))
    }
}

/// A message of JSON-RPC 1.0.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Asks for a response that bears `id`.
    Request {
        /// Any value but null.
        id: Value,
        /// What to do.
        method: String,
        /// With what.
        params: Vec<Value>,
    },
    /// Asks for nothing.
    Notification {
        /// What happened.
        method: String,
        /// To what.
        params: Vec<Value>,
    },
    /// Answers a request.
    Response {
        /// The request's.
        id: Value,
        /// The result, or the error object.
        result: Result<Value, Value>,
    },
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// A member is missing, unknown or of the wrong type.
    pub fn from_json(json: Value) -> Result<Message, ProtocolError> {
        let wrong = |why: &str| ProtocolError::NotAMessage(why.to_owned());
        let Value::Object(mut object) = json else {
            return Err(wrong("not an object"));
        };
        let mut take = |name: &str| object.shift_remove(name).filter(|value| !value.is_null());
        let (id, error, result) = (take("id"), take("error"), take("result"));
        let (method, params) = (take("method"), take("params"));
        if let Some(stranger) = strange_member(&object) {
            return Err(wrong(&format!("unexpected member \"{stranger}\"")));
        }
        let Some(method) = method else {
            if params.is_some() {
                return Err(wrong("\"params\" without \"method\""));
            }
            let id = id.ok_or_else(|| wrong("response without \"id\""))?;
            return Ok(Message::Response {
                id,
                result: error.map_or(Ok(result.unwrap_or_default()), Err),
            });
        };
        let Value::String(method) = method else {
            return Err(wrong("\"method\" must be a string"));
        };
        let Some(Value::Array(params)) = params else {
            return Err(wrong("\"params\" must be an array"));
        };
        if error.is_some() || result.is_some() {
            return Err(wrong("a request has no \"result\" and no \"error\""));
        }
        Ok(match id {
            Some(id) => Message::Request { id, method, params },
            None => Message::Notification { method, params },
        })
    }

    /// The message as JSON.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("invariant: a message is JSON")
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(3))?;
        match self {
            Message::Request { id, method, params } => {
                object.serialize_entry("id", id)?;
                object.serialize_entry("method", method)?;
                object.serialize_entry("params", params)?;
            }
            Message::Notification { method, params } => {
                object.serialize_entry("id", &())?;
                object.serialize_entry("method", method)?;
                object.serialize_entry("params", params)?;
            }
            Message::Response { id, result } => {
                object.serialize_entry("id", id)?;
                object.serialize_entry("result", &result.as_ref().ok())?;
                object.serialize_entry("error", &result.as_ref().err())?;
            }
        }
        object.end()
    }
}

fn strange_member(object: &Map<String, Value>) -> Option<&str> {
    let known = ["id", "error", "result", "method", "params"];
    object
        .keys()
        .map(String::as_str)
        .find(|key| !known.contains(key))
}

/// Bytes on their way out.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// Adds a message.
    pub fn push(&mut self, message: &Message) {
        self.compact();
        serde_json::to_writer(&mut self.bytes, message)
            .expect("invariant: a JSON value can be written to memory");
    }

    /// Adds a message that is already text.
    pub fn push_text(&mut self, text: &str) {
        self.compact();
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// The bytes to send next.
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Notes that so many of the pending bytes were sent.
    pub fn sent(&mut self, count: usize) {
        self.sent = self.sent.saturating_add(count).min(self.bytes.len());
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
            // A large reply does not pin its memory for the life of the session.
            self.bytes.shrink_to(64 << 10);
        }
    }

    fn compact(&mut self) {
        if self.sent > 64 << 10 && self.sent * 2 > self.bytes.len() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn all(framer: &mut Framer) -> Vec<Value> {
        std::iter::from_fn(|| framer.next_object().unwrap()).collect()
    }

    #[test]
    fn any_split_gives_the_same_messages() {
        let text = br#" {"a":"}\"{\\"}{"b":[1,{"c":[]}]} {} "#;
        let expected = vec![
            json!({"a": "}\"{\\"}),
            json!({"b": [1, {"c": []}]}),
            json!({}),
        ];
        for cut in 0..text.len() {
            let mut framer = Framer::default();
            framer.push(&text[..cut]);
            let mut found = all(&mut framer);
            framer.push(&text[cut..]);
            found.extend(all(&mut framer));
            assert_eq!(found, expected, "cut at {cut}");
            assert!(framer.is_empty());
        }
    }

    #[test]
    fn depth_bomb_is_refused_before_it_is_parsed() {
        let mut framer = Framer::default();
        framer.push(b"{\"a\":");
        framer.push(&b"[".repeat(MAX_JSON_DEPTH - 1));
        assert_eq!(framer.next_object(), Ok(None));
        framer.push(b"[");
        assert_eq!(framer.next_object(), Err(ProtocolError::TooDeep));
    }

    #[test]
    fn endless_string_is_refused_at_the_limit() {
        let mut framer = Framer::default();
        framer.push(b"{\"");
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..15 {
            framer.push(&chunk);
            assert_eq!(framer.next_object(), Ok(None));
        }
        framer.push(&chunk);
        assert_eq!(
            framer.next_object(),
            Err(ProtocolError::TooLong(MAX_MESSAGE_BYTES))
        );
    }

    #[test]
    fn strangers_are_refused() {
        for (text, error) in [
            ("[]", ProtocolError::NotAnObject(b'[')),
            ("nonsense", ProtocolError::NotAnObject(b'n')),
            ("{]", ProtocolError::NotJson(String::new())),
        ] {
            let mut framer = Framer::default();
            framer.push(text.as_bytes());
            let found = framer.next_object().unwrap_err();
            assert_eq!(
                std::mem::discriminant(&found),
                std::mem::discriminant(&error),
                "{text}"
            );
        }
        for text in [
            r#"{}"#,
            r#"{"method":"echo","id":1}"#,
            r#"{"method":"echo","params":{},"id":1}"#,
            r#"{"method":"echo","params":[],"id":1,"x":1}"#,
            r#"{"method":5,"params":[],"id":1}"#,
            r#"{"method":"a","params":[],"id":1,"result":1}"#,
            r#"{"result":1}"#,
        ] {
            assert!(
                Message::from_json(serde_json::from_str(text).unwrap()).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn messages_round_trip() {
        for message in [
            Message::Request {
                id: json!(1),
                method: "m".into(),
                params: vec![json!(2)],
            },
            Message::Notification {
                method: "m".into(),
                params: vec![],
            },
            Message::Response {
                id: json!("x"),
                result: Ok(json!([])),
            },
            Message::Response {
                id: json!("x"),
                result: Err(json!("unknown method")),
            },
        ] {
            assert_eq!(Message::from_json(message.to_json()), Ok(message));
        }
    }

    #[test]
    fn outbox_sends_in_order() {
        let mut out = Outbox::default();
        let message = Message::Notification {
            method: "m".into(),
            params: vec![],
        };
        out.push(&message);
        let text = out.pending().to_vec();
        out.sent(3);
        out.push(&message);
        assert_eq!(out.pending(), [&text[3..], &text[..]].concat());
        out.sent(usize::MAX - 3);
        assert!(out.pending().is_empty());
    }
}
