//! Values of columns: [`Atom`], the scalar, and [`Datum`], the sorted set or map of atoms that every
//! column holds (RFC 7047 section 3.2).
//!
//! Invariants: the elements of a set and the keys of a map are strictly ascending, so that equality is
//! plain comparison and differences are one merge; all atoms of a datum's keys (values) have one type;
//! reals are finite and never `-0.0`; strings hold no NUL, which the log format's other readers
//! cannot represent.

mod datum;
mod json;
mod text;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub use datum::{Change, Datum, DatumError};
pub(crate) use json::is_id;
pub use json::{Symbol, Symbols};
pub use text::TextError;

use crate::uuid::Uuid;

/// A scalar.
#[derive(Clone, Debug)]
pub enum Atom {
    /// A 64-bit signed integer.
    Integer(i64),
    /// A finite double; construct it by [`Atom::real`].
    Real(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// UTF-8 text without NUL; cheap to clone.
    String(Arc<str>),
    /// A row of this or another table, or plain data.
    Uuid(Uuid),
}

impl Atom {
    /// A real; `None` if it is not finite. Negative zero becomes zero.
    pub fn real(value: f64) -> Option<Atom> {
        value
            .is_finite()
            .then_some(Atom::Real(if value == 0.0 { 0.0 } else { value }))
    }

    /// The text of a string atom.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Atom::String(s) => Some(s),
            _ => None,
        }
    }

    /// The number of an integer atom.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Atom::Integer(i) => Some(*i),
            _ => None,
        }
    }

    /// The UUID of a `uuid` atom.
    pub fn as_uuid(&self) -> Option<Uuid> {
        match self {
            Atom::Uuid(u) => Some(*u),
            _ => None,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Atom::Integer(_) => 0,
            Atom::Real(_) => 1,
            Atom::Boolean(_) => 2,
            Atom::String(_) => 3,
            Atom::Uuid(_) => 4,
        }
    }
}

impl Ord for Atom {
    fn cmp(&self, other: &Atom) -> Ordering {
        match (self, other) {
            (Atom::Integer(a), Atom::Integer(b)) => a.cmp(b),
            (Atom::Real(a), Atom::Real(b)) => a.total_cmp(b),
            (Atom::Boolean(a), Atom::Boolean(b)) => a.cmp(b),
            (Atom::String(a), Atom::String(b)) => a.cmp(b),
            (Atom::Uuid(a), Atom::Uuid(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Atom {
    fn partial_cmp(&self, other: &Atom) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Atom {
    fn eq(&self, other: &Atom) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Atom {}

impl Hash for Atom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Atom::Integer(i) => i.hash(state),
            Atom::Real(r) => r.to_bits().hash(state),
            Atom::Boolean(b) => b.hash(state),
            Atom::String(s) => s.hash(state),
            Atom::Uuid(u) => u.hash(state),
        }
    }
}

impl From<i64> for Atom {
    fn from(value: i64) -> Atom {
        Atom::Integer(value)
    }
}

impl From<bool> for Atom {
    fn from(value: bool) -> Atom {
        Atom::Boolean(value)
    }
}

impl From<&str> for Atom {
    /// The text up to its first NUL, if it has one.
    fn from(value: &str) -> Atom {
        let end = value.find('\0').unwrap_or(value.len());
        Atom::String(Arc::from(&value[..end]))
    }
}

impl From<String> for Atom {
    fn from(value: String) -> Atom {
        Atom::from(value.as_str())
    }
}

impl From<Uuid> for Atom {
    fn from(value: Uuid) -> Atom {
        Atom::Uuid(value)
    }
}
