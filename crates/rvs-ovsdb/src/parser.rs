//! Members of a JSON object as operations have them: each is asked for once, what nobody asked for is an
//! error, and the first error is kept.

use serde_json::{Map, Value};

use crate::error::{kind, OvsdbError, Result};

pub(crate) struct Parser<'a> {
    json: &'a Value,
    object: Option<&'a Map<String, Value>>,
    what: String,
    asked: Vec<&'static str>,
    error: Option<OvsdbError>,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(json: &'a Value, what: impl Into<String>) -> Parser<'a> {
        let mut parser = Parser {
            json,
            object: json.as_object(),
            what: what.into(),
            asked: Vec::new(),
            error: None,
        };
        if parser.object.is_none() {
            let details = format!("Parsing {} failed: Object expected.", parser.what);
            parser.error = Some(OvsdbError::new(kind::SYNTAX, details));
        }
        parser
    }

    /// The object.
    pub(crate) fn json(&self) -> &'a Value {
        self.json
    }

    pub(crate) fn fail(&mut self, why: &str) {
        if self.error.is_none() {
            let details = format!("Parsing {} failed: {why}", self.what);
            self.error = Some(OvsdbError::syntax(self.json, details));
        }
    }

    pub(crate) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        self.asked.push(name);
        let value = read(self.object?.get(name)?);
        if value.is_none() {
            self.fail(&format!("Type mismatch for member '{name}'."));
        }
        value
    }

    pub(crate) fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.optional(name, read);
        if value.is_none() {
            self.fail(&format!("Required '{name}' member is missing."));
        }
        value
    }

    /// The first error, or that some member was not asked for.
    pub(crate) fn finish(mut self) -> Result<()> {
        let stranger = self.object.and_then(|object| {
            object
                .keys()
                .find(|key| !self.asked.contains(&key.as_str()))
                .cloned()
        });
        if let Some(key) = stranger {
            self.fail(&format!("Member '{key}' is present but not allowed here."));
        }
        self.error.map_or(Ok(()), Err)
    }
}

/// An `<id>`.
pub(crate) fn id(json: &Value) -> Option<&str> {
    json.as_str().filter(|text| crate::value::is_id(text))
}

/// A string without NUL, which the log could not hold.
pub(crate) fn string(json: &Value) -> Option<&str> {
    json.as_str().filter(|text| !text.contains('\0'))
}
