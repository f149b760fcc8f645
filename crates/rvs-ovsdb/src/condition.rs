//! Conditions of operations and of monitors (RFC 7047 section 5.1 `<condition>`; bare booleans are
//! Open vSwitch's extension for `monitor_cond`).

use std::cmp::Ordering;

use serde_json::Value;

use crate::error::{kind, OvsdbError, Result};
use crate::row::Row;
use crate::schema::{BaseKind, TableSchema, UUID_COLUMN};
use crate::uuid::Uuid;
use crate::value::{Atom, Datum, Symbols};

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>=`
    GreaterOrEqual,
    /// `>`
    Greater,
    /// `includes`
    Includes,
    /// `excludes`
    Excludes,
}

/// One clause of a condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Clause {
    /// True or false for every row.
    Constant(bool),
    /// A column compared with a value.
    Compare {
        /// Index of the column.
        column: usize,
        /// How to compare.
        function: Function,
        /// With what.
        value: Datum,
    },
}

/// Clauses: joined by "and" in operations ([`matches`](Condition::matches)), by "or" in monitors
/// ([`matches_any`](Condition::matches_any)).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition {
    /// The clauses; none is true.
    pub clauses: Vec<Clause>,
}

impl Condition {
    /// Reads an array of clauses.
    pub fn from_json(
        json: &Value,
        table: &TableSchema,
        mut symbols: Option<&mut Symbols<'_>>,
    ) -> Result<Condition> {
        let clauses = json
            .as_array()
            .ok_or_else(|| OvsdbError::syntax(json, "array expected"))?;
        let clauses = clauses
            .iter()
            .map(|clause| Clause::from_json(clause, table, symbols.as_deref_mut()))
            .collect::<Result<_>>()?;
        Ok(Condition { clauses })
    }

    /// Whether the row meets every clause.
    pub fn matches(&self, row: &Row) -> bool {
        self.clauses.iter().all(|clause| clause.matches(row))
    }

    /// Whether the row meets some clause, or there is none.
    pub fn matches_any(&self, row: &Row) -> bool {
        self.clauses.is_empty() || self.clauses.iter().any(|clause| clause.matches(row))
    }

    /// The only row that can match, if a clause says `_uuid == <uuid>`.
    pub(crate) fn only_row(&self) -> Option<Uuid> {
        self.equal_to(UUID_COLUMN)
            .and_then(Datum::as_scalar)
            .and_then(Atom::as_uuid)
    }

    /// The value that this column must have for the condition to be true, if a clause says so.
    pub(crate) fn equal_to(&self, wanted: usize) -> Option<&Datum> {
        self.clauses.iter().find_map(|clause| match clause {
            Clause::Compare {
                column,
                function: Function::Equal,
                value,
            } if *column == wanted => Some(value),
            _ => None,
        })
    }
}

impl Function {
    fn parse(name: &str) -> Option<Function> {
        Some(match name {
            "<" => Function::Less,
            "<=" => Function::LessOrEqual,
            "==" => Function::Equal,
            "!=" => Function::NotEqual,
            ">=" => Function::GreaterOrEqual,
            ">" => Function::Greater,
            "includes" => Function::Includes,
            "excludes" => Function::Excludes,
            _ => return None,
        })
    }

    fn is_order(self) -> bool {
        use Function::{Greater, GreaterOrEqual, Less, LessOrEqual};
        matches!(self, Less | LessOrEqual | GreaterOrEqual | Greater)
    }
}

impl Clause {
    fn from_json(
        json: &Value,
        table: &TableSchema,
        symbols: Option<&mut Symbols<'_>>,
    ) -> Result<Clause> {
        if let Value::Bool(constant) = json {
            return Ok(Clause::Constant(*constant));
        }
        let Some([Value::String(name), Value::String(function), value]) =
            json.as_array().map(Vec::as_slice)
        else {
            return Err(OvsdbError::syntax(json, "Parse error in condition."));
        };
        let (index, column) = table.column(name).ok_or_else(|| {
            let details = format!("No column {name} in table {}.", table.name);
            OvsdbError::new(kind::UNKNOWN_COLUMN, details).at(json)
        })?;
        let parsed = Function::parse(function).ok_or_else(|| {
            OvsdbError::new(
                kind::UNKNOWN_FUNCTION,
                format!("No function named {function}."),
            )
        })?;
        let mut ty = column.ty.clone();
        if parsed.is_order() {
            let number = matches!(
                ty.key.kind,
                BaseKind::Integer { .. } | BaseKind::Real { .. }
            );
            if !(ty.is_scalar() || ty.is_optional_scalar()) || !number {
                return Err(OvsdbError::syntax(
                    json,
                    format!(
                        "Type mismatch: \"{function}\" operator may not be applied to column {name} \
                         of type {ty}."
                    ),
                ));
            }
        }
        if parsed.is_order() {
            // The column may be empty, the operand not.
            ty.min = 1;
        }
        if matches!(parsed, Function::Includes | Function::Excludes) && !ty.is_scalar() {
            ty.min = 0;
            if parsed == Function::Excludes {
                ty.max = u32::MAX;
            }
        }
        let value = Datum::from_json(value, &ty, symbols)?;
        Ok(Clause::Compare {
            column: index,
            function: parsed,
            value,
        })
    }

    fn matches(&self, row: &Row) -> bool {
        let (column, function, value) = match self {
            Clause::Constant(constant) => return *constant,
            Clause::Compare {
                column,
                function,
                value,
            } => (*column, function, value),
        };
        let have = row.column(column);
        // An absent optional is neither less nor greater than anything.
        let order = || Some(have.as_scalar()?.cmp(value.as_scalar()?));
        match function {
            Function::Less => order().is_some_and(Ordering::is_lt),
            Function::LessOrEqual => order().is_some_and(Ordering::is_le),
            Function::Equal => have == value,
            Function::NotEqual => have != value,
            Function::GreaterOrEqual => order().is_some_and(Ordering::is_ge),
            Function::Greater => order().is_some_and(Ordering::is_gt),
            Function::Includes => have.includes(value),
            Function::Excludes => have.excludes(value),
        }
    }
}
