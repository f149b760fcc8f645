//! Types of columns (RFC 7047 section 3.2: `<type>`, `<base-type>`) and the checks they make.

use std::fmt;

use serde_json::{Map, Value};

use crate::error::{kind, OvsdbError, Result};
use crate::uuid::Uuid;
use crate::value::{Atom, Datum};

/// What one atom of a column may be.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseType {
    /// The atomic type with its range.
    pub kind: BaseKind,
    /// The only values allowed, ascending, if the schema lists them.
    pub allowed: Option<Vec<Atom>>,
}

/// An atomic type with the bounds that go with it (all inclusive).
#[derive(Clone, Debug, PartialEq)]
pub enum BaseKind {
    /// 64-bit signed integer.
    Integer {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// Double.
    Real {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
    },
    /// Boolean.
    Boolean,
    /// UTF-8 text; lengths are in characters.
    String {
        /// Shortest length.
        min: u32,
        /// Longest length.
        max: u32,
    },
    /// UUID, plain or naming a row.
    Uuid {
        /// The table whose rows are named.
        reference: Option<Reference>,
    },
}

/// The target of a `uuid` column with `refTable`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Name of the table referred to.
    pub table: String,
    /// Its position in the schema.
    pub index: usize,
    /// A weak reference to a vanished row is dropped; a strong one keeps the row alive.
    pub weak: bool,
}

/// The type of a column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnType {
    /// Elements of a set or keys of a map.
    pub key: BaseType,
    /// Values of a map; `None` makes the column a set.
    pub value: Option<BaseType>,
    /// Fewest elements: 0 or 1.
    pub min: u32,
    /// Most elements; `u32::MAX` is "unlimited".
    pub max: u32,
}

impl BaseKind {
    /// The name of the atomic type in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            BaseKind::Integer { .. } => "integer",
            BaseKind::Real { .. } => "real",
            BaseKind::Boolean => "boolean",
            BaseKind::String { .. } => "string",
            BaseKind::Uuid { .. } => "uuid",
        }
    }

    /// The type called `name`, without constraints.
    pub(crate) fn plain(name: &str) -> Option<BaseKind> {
        Some(match name {
            "integer" => BaseKind::Integer {
                min: i64::MIN,
                max: i64::MAX,
            },
            "real" => BaseKind::Real {
                min: -f64::MAX,
                max: f64::MAX,
            },
            "boolean" => BaseKind::Boolean,
            "string" => BaseKind::String {
                min: 0,
                max: u32::MAX,
            },
            "uuid" => BaseKind::Uuid { reference: None },
            _ => return None,
        })
    }

    /// The value of a mandatory column that nobody has set.
    pub fn default_atom(&self) -> Atom {
        match self {
            BaseKind::Integer { .. } => Atom::Integer(0),
            BaseKind::Real { .. } => Atom::Real(0.0),
            BaseKind::Boolean => Atom::Boolean(false),
            BaseKind::String { .. } => Atom::from(""),
            BaseKind::Uuid { .. } => Atom::Uuid(Uuid::ZERO),
        }
    }
}

impl BaseType {
    /// The row that atoms of this type name.
    pub fn reference(&self) -> Option<&Reference> {
        match &self.kind {
            BaseKind::Uuid { reference } => reference.as_ref(),
            _ => None,
        }
    }

    /// The same atomic type without constraints.
    pub(crate) fn unconstrained(&self) -> BaseType {
        let kind = BaseKind::plain(self.kind.name());
        BaseType {
            kind: kind.unwrap_or(BaseKind::Boolean),
            allowed: None,
        }
    }

    /// Checks enumeration, range and length.
    pub fn check(&self, atom: &Atom) -> Result<()> {
        let refused = |details: String| Err(OvsdbError::new(kind::CONSTRAINT, details));
        if let Some(allowed) = &self.allowed {
            if allowed.binary_search(atom).is_err() {
                return refused(format!(
                    "{atom} is not one of the allowed values ({})",
                    Datum::Set(allowed.clone())
                ));
            }
        }
        match (&self.kind, atom) {
            (BaseKind::Integer { min, max }, Atom::Integer(i)) if !(min..=max).contains(&i) => {
                let min = (*min != i64::MIN).then_some(min);
                refused(out_of_range(i, min, (*max != i64::MAX).then_some(max)))
            }
            (BaseKind::Real { min, max }, Atom::Real(r)) if !(min..=max).contains(&r) => {
                let min = (*min != -f64::MAX).then_some(min);
                refused(out_of_range(r, min, (*max != f64::MAX).then_some(max)))
            }
            (BaseKind::String { min, max }, Atom::String(text)) => {
                let length = text.chars().count();
                if length < *min as usize {
                    refused(format!(
                        "\"{text}\" length {length} is less than minimum allowed length {min}"
                    ))
                } else if length > *max as usize {
                    refused(format!(
                        "\"{text}\" length {length} is greater than maximum allowed length {max}"
                    ))
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }

    fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("type".into(), Value::from(self.kind.name()));
        if let Some(allowed) = &self.allowed {
            let elements = allowed.iter().map(Atom::to_json).collect();
            object.insert(
                "enum".into(),
                Value::Array(vec![Value::from("set"), Value::Array(elements)]),
            );
        }
        let mut bound = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                object.insert(name.into(), value);
            }
        };
        match &self.kind {
            BaseKind::Integer { min, max } => {
                bound("minInteger", (*min != i64::MIN).then(|| Value::from(*min)));
                bound("maxInteger", (*max != i64::MAX).then(|| Value::from(*max)));
            }
            BaseKind::Real { min, max } => {
                bound("minReal", (*min != -f64::MAX).then(|| Value::from(*min)));
                bound("maxReal", (*max != f64::MAX).then(|| Value::from(*max)));
            }
            BaseKind::String { min, max } => {
                bound("minLength", (*min != 0).then(|| Value::from(*min)));
                bound("maxLength", (*max != u32::MAX).then(|| Value::from(*max)));
            }
            BaseKind::Uuid {
                reference: Some(reference),
            } => {
                bound("refTable", Some(Value::from(reference.table.as_str())));
                bound("refType", reference.weak.then(|| Value::from("weak")));
            }
            BaseKind::Boolean | BaseKind::Uuid { reference: None } => {}
        }
        match object.len() {
            1 => Value::from(self.kind.name()),
            _ => Value::Object(object),
        }
    }
}

fn out_of_range<T: fmt::Display>(value: &T, min: Option<&T>, max: Option<&T>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => {
            format!("{value} is not in the valid range {min} to {max} (inclusive)")
        }
        (Some(min), None) => format!("{value} is less than minimum allowed value {min}"),
        (None, Some(max)) => format!("{value} is greater than maximum allowed value {max}"),
        (None, None) => format!("{value} is out of range"),
    }
}

impl ColumnType {
    /// Exactly one atom without constraints.
    pub(crate) fn scalar(key: BaseType) -> ColumnType {
        ColumnType {
            key,
            value: None,
            min: 1,
            max: 1,
        }
    }

    /// Exactly one element, not a map.
    pub fn is_scalar(&self) -> bool {
        self.min == 1 && self.max == 1 && self.value.is_none()
    }

    /// At most one element, not a map.
    pub fn is_optional_scalar(&self) -> bool {
        self.min == 0 && self.max == 1 && self.value.is_none()
    }

    /// Whether several elements are possible: such columns are sent and logged as differences.
    pub fn is_composite(&self) -> bool {
        self.max > 1
    }

    /// The value of a column that nobody has set.
    pub fn default_datum(&self) -> Datum {
        match (&self.value, self.min) {
            (None, 0) => Datum::empty_set(),
            (Some(_), 0) => Datum::empty_map(),
            (None, _) => Datum::Set(vec![self.key.kind.default_atom()]),
            (Some(value), _) => Datum::Map(vec![(
                self.key.kind.default_atom(),
                value.kind.default_atom(),
            )]),
        }
    }

    /// Whether `datum` is [`default_datum`](ColumnType::default_datum).
    pub fn is_default(&self, datum: &Datum) -> bool {
        datum.len() == self.min as usize && (self.min == 0 || *datum == self.default_datum())
    }

    /// Checks the number of elements; `class` is "set" or "map" in the message.
    pub(crate) fn check_count(&self, count: usize, class: &str) -> std::result::Result<(), String> {
        if (self.min as usize..=self.max as usize).contains(&count) {
            Ok(())
        } else if self.min == 1 && self.max == 1 {
            Err(format!(
                "{class} must have exactly one member but {count} are present"
            ))
        } else {
            Err(format!(
                "{class} must have {} to {} members but {count} are present",
                self.min, self.max
            ))
        }
    }

    /// Checks that the datum has the shape and the atomic types of the column; JSON and text that are
    /// read for a type have them already.
    pub(crate) fn check_kind(&self, datum: &Datum) -> Result<()> {
        let is = |base: &BaseType, atom: &Atom| {
            std::mem::discriminant(&base.kind.default_atom()) == std::mem::discriminant(atom)
        };
        let fits = match (datum, &self.value) {
            (Datum::Set(atoms), None) => atoms.iter().all(|atom| is(&self.key, atom)),
            (Datum::Map(pairs), Some(value)) => {
                pairs.iter().all(|(k, v)| is(&self.key, k) && is(value, v))
            }
            _ => false,
        };
        if fits {
            Ok(())
        } else {
            Err(OvsdbError::new(
                kind::SYNTAX,
                format!("{datum} is not a {self}"),
            ))
        }
    }

    /// Checks every atom against the base types, and the number of elements.
    pub fn check(&self, datum: &Datum) -> Result<()> {
        for key in datum.keys() {
            self.key.check(key)?;
        }
        if let Some(value) = &self.value {
            for (_, v) in datum.pairs() {
                value.check(v)?;
            }
        }
        let class = if self.value.is_some() { "map" } else { "set" };
        self.check_count(datum.len(), class)
            .map_err(|text| OvsdbError::new(kind::CONSTRAINT, text))
    }

    pub(crate) fn to_json(&self) -> Value {
        let key = self.key.to_json();
        if self.is_scalar() && key.is_string() {
            return key;
        }
        let mut object = Map::new();
        object.insert("key".into(), key);
        if let Some(value) = &self.value {
            object.insert("value".into(), value.to_json());
        }
        if self.min != 1 {
            object.insert("min".into(), Value::from(self.min));
        }
        if self.max != 1 {
            let max = if self.max == u32::MAX {
                Value::from("unlimited")
            } else {
                Value::from(self.max)
            };
            object.insert("max".into(), max);
        }
        Value::Object(object)
    }
}

impl fmt::Display for ColumnType {
    /// The type in words, as error messages say it: "set of up to 1 strings".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.kind.name();
        if self.is_scalar() {
            return f.write_str(key);
        }
        f.write_str(if self.value.is_some() {
            "map of "
        } else {
            "set of "
        })?;
        match (self.min, self.max) {
            (0, u32::MAX) => {}
            (min, u32::MAX) => write!(f, "{min} or more ")?,
            (0, max) => write!(f, "up to {max} ")?,
            (min, max) => write!(f, "{min} to {max} ")?,
        }
        match &self.value {
            Some(value) => write!(f, "({key}, {}) pairs", value.kind.name()),
            None => write!(f, "{key}s"),
        }
    }
}
