//! The error object of RFC 7047 section 3.1: a kind that programs match and details for a person.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

/// An `<error>` as it goes into a reply: `{"error": kind, "details": ..., "syntax": ...}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OvsdbError {
    /// The kind, which clients compare as a string ("constraint violation", "timed out", ...).
    pub kind: Cow<'static, str>,
    /// A sentence for a person.
    pub details: String,
    /// The JSON text at fault.
    pub syntax: Option<String>,
}

/// Shorthand of this crate's results.
pub type Result<T> = std::result::Result<T, OvsdbError>;

/// Kinds of errors (RFC 7047 sections 3.1, 4.1.3 and 5.2; the last ones are Open vSwitch's).
pub mod kind {
    /// Malformed JSON structure or a value of the wrong type.
    pub const SYNTAX: &str = "syntax error";
    /// A value or a commit that the schema forbids.
    pub const CONSTRAINT: &str = "constraint violation";
    /// A strong reference to a row that does not exist, or a deleted row that is still referenced.
    pub const REFERENTIAL: &str = "referential integrity violation";
    /// A `wait` operation that did not come true.
    pub const TIMED_OUT: &str = "timed out";
    /// An `abort` operation.
    pub const ABORTED: &str = "aborted";
    /// An `assert` of a lock that the session does not own.
    pub const NOT_OWNER: &str = "not owner";
    /// The write to disk failed; nothing was committed.
    pub const IO: &str = "I/O error";
    /// A limit of the server was reached.
    pub const EXHAUSTED: &str = "resources exhausted";
    /// Two inserts with one `uuid-name`.
    pub const DUPLICATE_UUID_NAME: &str = "duplicate uuid-name";
    /// An insert whose explicit `uuid` is taken.
    pub const DUPLICATE_UUID: &str = "duplicate uuid";
    /// Division by zero in a mutation.
    pub const DOMAIN: &str = "domain error";
    /// Overflow in a mutation.
    pub const RANGE: &str = "range error";
    /// A column that the table does not have.
    pub const UNKNOWN_COLUMN: &str = "unknown column";
    /// A condition function that does not exist.
    pub const UNKNOWN_FUNCTION: &str = "unknown function";
    /// A mutator that does not exist.
    pub const UNKNOWN_MUTATOR: &str = "unknown mutator";
    /// A database that the server does not have.
    pub const UNKNOWN_DATABASE: &str = "unknown database";
    /// A write to a database that clients only read.
    pub const NOT_ALLOWED: &str = "not allowed";
    /// Errors without a kind of their own.
    pub const OTHER: &str = "ovsdb error";
}

impl OvsdbError {
    /// An error of `kind` (one of [`kind`]).
    pub fn new(kind: &'static str, details: impl Into<String>) -> OvsdbError {
        OvsdbError {
            kind: Cow::Borrowed(kind),
            details: details.into(),
            syntax: None,
        }
    }

    /// A "syntax error" about the JSON value `at`.
    pub fn syntax(at: &Value, details: impl Into<String>) -> OvsdbError {
        OvsdbError::new(kind::SYNTAX, details).at(at)
    }

    /// Adds the JSON text at fault, shortened when it is long.
    pub fn at(mut self, at: &Value) -> OvsdbError {
        const LONGEST: usize = 1024;
        let mut text = at.to_string();
        if text.len() > LONGEST {
            let cut = (0..=LONGEST)
                .rev()
                .find(|&i| text.is_char_boundary(i))
                .unwrap_or(0);
            text.truncate(cut);
            text.push_str("...");
        }
        self.syntax = Some(text);
        self
    }

    /// The JSON object that a reply carries.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        if let Some(syntax) = &self.syntax {
            object.insert("syntax".into(), Value::from(syntax.as_str()));
        }
        if !self.details.is_empty() {
            object.insert("details".into(), Value::from(self.details.as_str()));
        }
        object.insert("error".into(), Value::from(self.kind.as_ref()));
        Value::Object(object)
    }

    /// Reads an error object of a server; anything else is kept whole in the details.
    pub fn from_json(json: &Value) -> OvsdbError {
        let text = |key: &str| json.get(key).and_then(Value::as_str);
        match (json, text("error")) {
            (Value::String(kind), _) => OvsdbError {
                kind: Cow::Owned(kind.clone()),
                details: String::new(),
                syntax: None,
            },
            (_, Some(kind)) => OvsdbError {
                kind: Cow::Owned(kind.to_owned()),
                details: text("details").unwrap_or_default().to_owned(),
                syntax: text("syntax").map(str::to_owned),
            },
            _ => OvsdbError::new(kind::OTHER, json.to_string()),
        }
    }
}

impl fmt::Display for OvsdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.details.is_empty() {
            write!(f, ": {}", self.details)?;
        }
        if let Some(syntax) = &self.syntax {
            write!(f, " (at {syntax})")?;
        }
        Ok(())
    }
}

impl std::error::Error for OvsdbError {}
