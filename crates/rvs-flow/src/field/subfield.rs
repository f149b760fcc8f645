//! A contiguous run of bits of a field: `reg0[4..11]`.

use std::fmt;
use std::str::FromStr;

use super::{ones, Field, FieldId};
use crate::key::{Mask, PipelineKey};

/// Bits `ofs` to `ofs + bits - 1` of a field, counted from the least significant.
///
/// Invariant: `bits >= 1` and `ofs + bits` is at most the field's width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubField {
    field: FieldId,
    ofs: u8,
    bits: u8,
}

/// Why a text or a pair of numbers is no sub-field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSubField {
    #[error("no field is called {0}")]
    UnknownField(String),
    #[error("{0}: a sub-field is written field[], field[bit] or field[first..last]")]
    Syntax(String),
    #[error("{field} has bits 0 to {}, so {first}..{last} is not part of it", Field::of(*.field).bits - 1)]
    Range {
        field: FieldId,
        first: u32,
        last: u32,
    },
}

impl SubField {
    /// The bits `first..=last` of `field`.
    ///
    /// # Errors
    /// [`BadSubField::Range`] if `first > last` or the field is narrower.
    pub fn new(field: FieldId, first: u32, last: u32) -> Result<Self, BadSubField> {
        let bits = u32::from(Field::of(field).bits);
        if first > last || last >= bits {
            return Err(BadSubField::Range { field, first, last });
        }
        Ok(Self {
            field,
            ofs: first as u8,
            bits: (last - first + 1) as u8,
        })
    }

    /// All of `field`.
    pub fn whole(field: FieldId) -> Self {
        Self {
            field,
            ofs: 0,
            bits: Field::of(field).bits,
        }
    }

    pub fn field(&self) -> &'static Field {
        Field::of(self.field)
    }

    pub const fn id(&self) -> FieldId {
        self.field
    }

    /// First bit, counted from the least significant.
    pub const fn ofs(&self) -> u8 {
        self.ofs
    }

    /// Number of bits, 1 to 128.
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    pub fn is_whole(&self) -> bool {
        self.bits == self.field().bits
    }

    /// Ones at the sub-field's place in the field.
    #[inline]
    pub const fn mask(&self) -> u128 {
        ones(self.bits) << self.ofs
    }

    /// The bits, right-aligned; 0 if the field does not exist.
    #[inline]
    pub fn get(&self, key: &PipelineKey) -> u128 {
        (self.field().get(key) & self.mask()) >> self.ofs
    }

    /// Writes the low bits of `value`.
    #[inline]
    pub fn set(&self, key: &mut PipelineKey, value: u128) {
        self.field()
            .set_masked(key, (value << self.ofs) & self.mask(), self.mask());
    }

    /// Makes these bits count, with the presence bits of the field's layer.
    #[inline]
    pub fn unwildcard(&self, mask: &mut Mask<PipelineKey>) {
        self.field().unwildcard_bits(mask, self.mask());
    }
}

impl FromStr for SubField {
    type Err = BadSubField;

    /// Takes the field's text names and the names of its TLVs (`NXM_NX_REG0[0..15]`).
    fn from_str(s: &str) -> Result<Self, BadSubField> {
        let syntax = || BadSubField::Syntax(s.to_owned());
        let (name, range) = match s.split_once('[') {
            None => (s, ""),
            Some((name, rest)) => (name, rest.strip_suffix(']').ok_or_else(syntax)?),
        };
        let field = Field::by_name(name.trim())
            .ok_or_else(|| BadSubField::UnknownField(name.trim().to_owned()))?;
        if range.is_empty() {
            return Ok(Self::whole(field.id));
        }
        let (first, last) = range.split_once("..").unwrap_or((range, range));
        let number = |t: &str| match t.trim() {
            t if t.bytes().all(|b| b.is_ascii_digit()) => t.parse::<u32>().map_err(|_| syntax()),
            _ => Err(syntax()),
        };
        Self::new(field.id, number(first)?, number(last)?)
    }
}

impl fmt::Display for SubField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field();
        f.write_str(field.oxms.last().map_or(field.name, |o| o.name))?;
        if self.is_whole() {
            f.write_str("[]")
        } else if self.bits == 1 {
            write!(f, "[{}]", self.ofs)
        } else {
            write!(f, "[{}..{}]", self.ofs, self.ofs + self.bits - 1)
        }
    }
}
