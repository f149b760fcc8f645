//! The JSON wire form of values (RFC 7047 section 5.1: `<value>`, `<atom>`, `<set>`, `<map>`, `<uuid>`,
//! `<named-uuid>`), with the checks of the column's type.

use std::collections::HashMap;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{Atom, Datum};
use crate::error::{kind, OvsdbError, Result};
use crate::schema::{BaseKind, BaseType, ColumnType};
use crate::uuid::{Uuid, UuidGenerator};

/// A name that a transaction gives to a row it inserts.
#[derive(Clone, Copy, Debug)]
pub struct Symbol {
    /// The row's UUID, fixed when the name is first mentioned.
    pub uuid: Uuid,
    /// Whether an `insert` has taken the name.
    pub created: bool,
}

/// The `named-uuid`s of one transaction, which may be used before the insert that defines them.
#[derive(Debug)]
pub struct Symbols<'a> {
    names: HashMap<String, Symbol>,
    uuids: &'a mut UuidGenerator,
}

impl<'a> Symbols<'a> {
    /// No names yet; UUIDs come from `uuids`.
    pub fn new(uuids: &'a mut UuidGenerator) -> Symbols<'a> {
        Symbols {
            names: HashMap::new(),
            uuids,
        }
    }

    /// The symbol called `name`, made on first mention.
    pub fn named(&mut self, name: &str) -> &mut Symbol {
        let uuids = &mut *self.uuids;
        self.names.entry(name.to_owned()).or_insert_with(|| Symbol {
            uuid: uuids.generate(),
            created: false,
        })
    }

    /// A UUID for a row without a name.
    pub fn anonymous(&mut self) -> Uuid {
        self.uuids.generate()
    }
}

/// `<id>` of RFC 7047: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub(crate) fn is_id(text: &str) -> bool {
    let mut chars = text.bytes();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

/// The atom on the wire.
impl Serialize for Atom {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Atom::Integer(i) => serializer.serialize_i64(*i),
            Atom::Real(r) => serializer.serialize_f64(*r),
            Atom::Boolean(b) => serializer.serialize_bool(*b),
            Atom::String(s) => serializer.serialize_str(s),
            Atom::Uuid(u) => ("uuid", u).serialize(serializer),
        }
    }
}

/// The datum on the wire: a set of one element is the bare atom.
impl Serialize for Datum {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Datum::Set(atoms) => match atoms.as_slice() {
                [atom] => atom.serialize(serializer),
                atoms => ("set", atoms).serialize(serializer),
            },
            Datum::Map(pairs) => ("map", pairs).serialize(serializer),
        }
    }
}

impl Atom {
    /// The atom on the wire.
    pub fn to_json(&self) -> Value {
        value_of(self)
    }

    /// Reads an atom of this base type and checks the type's constraints.
    pub fn from_json(
        json: &Value,
        base: &BaseType,
        symbols: Option<&mut Symbols<'_>>,
    ) -> Result<Atom> {
        let wrong = || OvsdbError::syntax(json, format!("expected {}", base.kind.name()));
        let atom = match &base.kind {
            BaseKind::Integer { .. } => Atom::Integer(integer(json).ok_or_else(wrong)?),
            BaseKind::Real { .. } => json.as_f64().and_then(Atom::real).ok_or_else(wrong)?,
            BaseKind::Boolean => Atom::Boolean(json.as_bool().ok_or_else(wrong)?),
            BaseKind::String { .. } => {
                let text = json.as_str().ok_or_else(wrong)?;
                if text.contains('\0') {
                    return Err(OvsdbError::syntax(json, "strings may not contain NUL"));
                }
                Atom::from(text)
            }
            BaseKind::Uuid { .. } => Atom::Uuid(uuid(json, symbols)?),
        };
        base.check(&atom)?;
        Ok(atom)
    }
}

/// An integer, also when it is written as `1.0` or `1e3`.
fn integer(json: &Value) -> Option<i64> {
    /// 2^63, the first value beyond the range of i64; exact in a double.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    json.as_i64().or_else(|| {
        let real = json.as_f64().filter(|_| json.is_f64())?;
        (real.fract() == 0.0 && (-BEYOND..BEYOND).contains(&real)).then_some(real as i64)
    })
}

fn uuid(json: &Value, symbols: Option<&mut Symbols<'_>>) -> Result<Uuid> {
    let expected = || OvsdbError::syntax(json, "expected [\"uuid\", <string>]");
    let Some([Value::String(class), Value::String(text)]) = json.as_array().map(Vec::as_slice)
    else {
        return Err(expected());
    };
    match (class.as_str(), symbols) {
        ("uuid", _) => text
            .parse()
            .map_err(|_| OvsdbError::syntax(json, format!("\"{text}\" is not a valid UUID"))),
        ("named-uuid", Some(symbols)) if is_id(text) => Ok(symbols.named(text).uuid),
        ("named-uuid", Some(_)) => Err(OvsdbError::syntax(
            json,
            format!("\"{text}\" is not a valid name"),
        )),
        _ => Err(expected()),
    }
}

impl Datum {
    /// The datum on the wire: a set of one element is the bare atom.
    pub fn to_json(&self) -> Value {
        value_of(self)
    }

    /// Reads a value of a column of type `ty` and checks every constraint of the type.
    pub fn from_json(
        json: &Value,
        ty: &ColumnType,
        mut symbols: Option<&mut Symbols<'_>>,
    ) -> Result<Datum> {
        let is_tagged_set = json.get(0).and_then(Value::as_str) == Some("set");
        if ty.value.is_none() && !is_tagged_set {
            return Ok(Datum::Set(vec![Atom::from_json(json, &ty.key, symbols)?]));
        }
        let class = if ty.value.is_some() { "map" } else { "set" };
        let elements = match json.as_array().map(Vec::as_slice) {
            Some([Value::String(tag), Value::Array(elements)]) if tag == class => elements,
            _ => {
                return Err(OvsdbError::syntax(
                    json,
                    format!("expected [\"{class}\", <array>]"),
                ))
            }
        };
        ty.check_count(elements.len(), class)
            .map_err(|details| OvsdbError::syntax(json, details))?;
        let made = match &ty.value {
            None => {
                let mut atoms = Vec::with_capacity(elements.len());
                for element in elements {
                    atoms.push(Atom::from_json(element, &ty.key, symbols.as_deref_mut())?);
                }
                Datum::strict_set(atoms)
            }
            Some(value) => {
                let mut pairs = Vec::with_capacity(elements.len());
                for element in elements {
                    let Some([k, v]) = element.as_array().map(Vec::as_slice) else {
                        return Err(OvsdbError::syntax(element, "expected 2-element array"));
                    };
                    let k = Atom::from_json(k, &ty.key, symbols.as_deref_mut())?;
                    pairs.push((k, Atom::from_json(v, value, symbols.as_deref_mut())?));
                }
                Datum::strict_map(pairs)
            }
        };
        made.map_err(|error| OvsdbError::new(kind::OTHER, error.to_string()))
    }
}

fn value_of(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("invariant: atoms and data are JSON, their keys are strings")
}
