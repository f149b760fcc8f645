//! Mutations: changes of a column relative to its value (RFC 7047 section 5.1 `<mutation>`).

use serde_json::Value;

use crate::error::{kind, OvsdbError, Result};
use crate::row::Row;
use crate::schema::{BaseKind, ColumnType, TableSchema};
use crate::value::{Atom, Datum, Symbols};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Insert,
    Delete,
}

/// A change of one column, checked against its type.
#[derive(Clone, Debug, PartialEq)]
pub struct Mutation {
    column: usize,
    mutator: Mutator,
    value: Datum,
}

impl Mutator {
    fn parse(name: &str) -> Option<Mutator> {
        Some(match name {
            "+=" => Mutator::Add,
            "-=" => Mutator::Subtract,
            "*=" => Mutator::Multiply,
            "/=" => Mutator::Divide,
            "%=" => Mutator::Modulo,
            "insert" => Mutator::Insert,
            "delete" => Mutator::Delete,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Mutator::Add => "+=",
            Mutator::Subtract => "-=",
            Mutator::Multiply => "*=",
            Mutator::Divide => "/=",
            Mutator::Modulo => "%=",
            Mutator::Insert => "insert",
            Mutator::Delete => "delete",
        }
    }

    fn fits(self, ty: &ColumnType) -> bool {
        match self {
            Mutator::Insert | Mutator::Delete => !ty.is_scalar(),
            Mutator::Modulo => {
                ty.value.is_none() && matches!(ty.key.kind, BaseKind::Integer { .. })
            }
            Mutator::Add | Mutator::Subtract | Mutator::Multiply | Mutator::Divide => {
                let number = matches!(
                    ty.key.kind,
                    BaseKind::Integer { .. } | BaseKind::Real { .. }
                );
                ty.value.is_none() && number
            }
        }
    }
}

impl Mutation {
    /// Reads one `[column, mutator, value]`.
    pub fn from_json(
        json: &Value,
        table: &TableSchema,
        symbols: Option<&mut Symbols<'_>>,
    ) -> Result<Mutation> {
        let Some([Value::String(name), Value::String(mutator), value]) =
            json.as_array().map(Vec::as_slice)
        else {
            return Err(OvsdbError::syntax(json, "Parse error in mutation."));
        };
        let (index, column) = table.column(name).ok_or_else(|| {
            let details = format!("No column {name} in table {}.", table.name);
            OvsdbError::new(kind::UNKNOWN_COLUMN, details).at(json)
        })?;
        if !column.mutable {
            let details = format!(
                "Cannot mutate immutable column {name} in table {}.",
                table.name
            );
            return Err(OvsdbError::new(kind::CONSTRAINT, details).at(json));
        }
        let mutator = Mutator::parse(mutator).ok_or_else(|| {
            OvsdbError::new(
                kind::UNKNOWN_MUTATOR,
                format!("No mutator named {mutator}."),
            )
        })?;
        if !mutator.fits(&column.ty) {
            return Err(OvsdbError::syntax(
                json,
                format!(
                    "Type mismatch: \"{}\" operator may not be applied to column {name} of type {}.",
                    mutator.name(),
                    column.ty
                ),
            ));
        }
        let value = argument(value, mutator, &column.ty, symbols)?;
        Ok(Mutation {
            column: index,
            mutator,
            value,
        })
    }

    /// Changes the row; on an error the row is half changed and its transaction must be dropped.
    pub(crate) fn apply(&self, row: &mut Row, table: &TableSchema) -> Result<()> {
        let ty = &table.columns[self.column].ty;
        let datum = row.column_mut(self.column);
        match self.mutator {
            Mutator::Insert => datum.insert_all(&self.value),
            Mutator::Delete => datum.delete_all(&self.value),
            _ => {
                let Some(operand) = self.value.as_scalar() else {
                    return Ok(());
                };
                let mut atoms = Vec::with_capacity(datum.len());
                for atom in datum.keys() {
                    atoms.push(arithmetic(atom, self.mutator, operand)?);
                }
                *datum = Datum::strict_set(atoms).map_err(|_| {
                    let details = format!(
                        "Result of \"{}\" operation contains duplicates.",
                        self.mutator.name()
                    );
                    OvsdbError::new(kind::CONSTRAINT, details)
                })?;
                for atom in datum.keys() {
                    ty.key.check(atom)?;
                }
            }
        }
        if datum.len() > ty.max as usize || datum.len() < ty.min as usize {
            let details = format!("Attempted to store {} elements in {ty}.", datum.len());
            return Err(OvsdbError::new(kind::CONSTRAINT, details));
        }
        Ok(())
    }
}

/// The operand: a scalar for arithmetic, a possibly empty set or map otherwise.
fn argument(
    json: &Value,
    mutator: Mutator,
    ty: &ColumnType,
    mut symbols: Option<&mut Symbols<'_>>,
) -> Result<Datum> {
    let mut ty = ty.clone();
    match mutator {
        Mutator::Insert => ty.min = 0,
        Mutator::Delete => {
            (ty.min, ty.max) = (0, u32::MAX);
            // A map's pairs are deleted by pairs or by keys alone.
            if ty.value.is_some() {
                if let Ok(pairs) = Datum::from_json(json, &ty, symbols.as_deref_mut()) {
                    return Ok(pairs);
                }
                ty.value = None;
            }
        }
        _ => ty = ColumnType::scalar(ty.key.unconstrained()),
    }
    Datum::from_json(json, &ty, symbols)
}

fn arithmetic(left: &Atom, mutator: Mutator, right: &Atom) -> Result<Atom> {
    let by_zero = || OvsdbError::new(kind::DOMAIN, "Division by zero.");
    let overflow = || {
        let details = format!(
            "Result of \"{}\" operation is out of range.",
            mutator.name()
        );
        OvsdbError::new(kind::RANGE, details)
    };
    match (left, right) {
        (Atom::Integer(a), Atom::Integer(b)) => {
            let (a, b) = (*a, *b);
            if b == 0 && matches!(mutator, Mutator::Divide | Mutator::Modulo) {
                return Err(by_zero());
            }
            let result = match mutator {
                Mutator::Add => a.checked_add(b),
                Mutator::Subtract => a.checked_sub(b),
                Mutator::Multiply => a.checked_mul(b),
                Mutator::Divide => a.checked_div(b),
                Mutator::Modulo => a.checked_rem(b),
                Mutator::Insert | Mutator::Delete => None,
            };
            result.map(Atom::Integer).ok_or_else(overflow)
        }
        (Atom::Real(a), Atom::Real(b)) => {
            let result = match mutator {
                Mutator::Add => a + b,
                Mutator::Subtract => a - b,
                Mutator::Multiply => a * b,
                Mutator::Divide if *b == 0.0 => return Err(by_zero()),
                Mutator::Divide => a / b,
                Mutator::Modulo | Mutator::Insert | Mutator::Delete => f64::NAN,
            };
            Atom::real(result).ok_or_else(overflow)
        }
        _ => Err(overflow()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_never_wraps() {
        let int = |a: i64, m, b: i64| arithmetic(&Atom::Integer(a), m, &Atom::Integer(b));
        assert_eq!(int(-5, Mutator::Divide, 2), Ok(Atom::Integer(-2)));
        assert_eq!(int(-5, Mutator::Modulo, 2), Ok(Atom::Integer(-1)));
        for (a, m, b, kind) in [
            (i64::MAX, Mutator::Add, 1, kind::RANGE),
            (i64::MIN, Mutator::Subtract, 1, kind::RANGE),
            (i64::MIN, Mutator::Divide, -1, kind::RANGE),
            (i64::MIN, Mutator::Modulo, -1, kind::RANGE),
            (1, Mutator::Divide, 0, kind::DOMAIN),
            (1, Mutator::Modulo, 0, kind::DOMAIN),
        ] {
            assert_eq!(
                int(a, m, b).map_err(|e| e.kind),
                Err(kind.into()),
                "{a} {m:?} {b}"
            );
        }
        let real = |a: f64, m, b: f64| arithmetic(&Atom::Real(a), m, &Atom::Real(b));
        assert_eq!(
            real(1.0, Mutator::Divide, 0.0).map_err(|e| e.kind),
            Err(kind::DOMAIN.into())
        );
        assert_eq!(
            real(1e308, Mutator::Multiply, 10.0).map_err(|e| e.kind),
            Err(kind::RANGE.into())
        );
    }
}
