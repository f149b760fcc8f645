//! Conditions of `find`: `COLUMN[:KEY] OPERATOR VALUE`, with the operators of ovs-vsctl.

use std::cmp::Ordering;

use rvs_ovsdb::schema::{BaseKind, ColumnSchema};
use rvs_ovsdb::value::{Atom, Datum};

use super::draft::Draft;
use super::records::parse_value;
use crate::failure::Failure;

/// Longer ones first, so that none hides behind its beginning.
pub const OPERATORS: [&str; 14] = [
    "{not-in}", "{>=}", "{<=}", "{!=}", "{in}", "{=}", "{<}", "{>}", "!=", ">=", "<=", "=", "<",
    ">",
];

/// A condition with its value read.
pub struct Condition<'t> {
    column: ColumnSchema,
    /// Of a map: the value under this key is compared.
    key: Option<Atom>,
    operator: &'t str,
    wanted: Datum,
}

impl<'t> Condition<'t> {
    pub fn new(
        draft: &mut Draft<'_>,
        column: &ColumnSchema,
        key: Option<&str>,
        operator: &'t str,
        value: &str,
    ) -> Result<Self, Failure> {
        let mut column = column.clone();
        // A condition on a scalar may ask for emptiness, or for several values of which it can't have all.
        let key = match (key, column.ty.value.take()) {
            (None, value) => {
                column.ty.value = value;
                None
            }
            (Some(key), Some(value_type)) => {
                let mut keys = column.clone();
                (keys.ty.min, keys.ty.max) = (1, 1);
                let atom = parse_value(draft, &keys, &quoted(&keys, key))?;
                column.ty.key = value_type;
                atom.as_scalar().cloned()
            }
            (Some(_), None) => {
                return Err(Failure::Usage(format!(
                    "column {} is no map: it has no keys",
                    column.name
                )))
            }
        };
        let set = operator.starts_with('{');
        if set || key.is_some() {
            // Any number of values may be compared with.
            (column.ty.min, column.ty.max) = (u32::from(!set), if set { u32::MAX } else { 1 });
        }
        let text = match key.is_some() && !set {
            true => quoted(&column, value),
            false => value.to_owned(),
        };
        let wanted = parse_value(draft, &column, &text)?;
        Ok(Self {
            column,
            key,
            operator,
            wanted,
        })
    }

    pub fn column(&self) -> &str {
        &self.column.name
    }

    /// True for a row whose column has this value. A key that is not there has no value: the plain operators do not hold,
    /// those of sets compare with the empty set.
    pub fn holds(&self, own: &Datum) -> bool {
        match &self.key {
            None => holds(own, self.operator, &self.wanted),
            Some(key) => match own.value_of(key) {
                Some(value) => holds(&Datum::scalar(value.clone()), self.operator, &self.wanted),
                None if self.operator.starts_with('{') => {
                    holds(&Datum::empty_set(), self.operator, &self.wanted)
                }
                None => false,
            },
        }
    }
}

/// A bare word for a string is a string whatever is in it.
fn quoted(column: &ColumnSchema, text: &str) -> String {
    match column.ty.key.kind {
        BaseKind::String { .. } if !text.starts_with('"') => serde_json::json!(text).to_string(),
        _ => text.to_owned(),
    }
}

fn holds(own: &Datum, operator: &str, wanted: &Datum) -> bool {
    let order = || order(own, wanted);
    let within = wanted.includes(own);
    let around = own.includes(wanted);
    match operator {
        "=" | "{=}" => own == wanted,
        "!=" | "{!=}" => own != wanted,
        "{>=}" => around,
        "{>}" => around && own != wanted,
        "{<=}" | "{in}" => within,
        "{<}" => within && own != wanted,
        "{not-in}" => own.excludes(wanted),
        "<" => order().is_lt(),
        "<=" => order().is_le(),
        ">" => order().is_gt(),
        _ => order().is_ge(),
    }
}

/// More elements are larger; of equally many the first pair that differs decides, keys before values.
fn order(a: &Datum, b: &Datum) -> Ordering {
    let values = |d: &Datum| d.pairs().iter().map(|(_, v)| v.clone()).collect::<Vec<_>>();
    a.len()
        .cmp(&b.len())
        .then_with(|| a.keys().cmp(b.keys()))
        .then_with(|| values(a).cmp(&values(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(atoms: &[i64]) -> Datum {
        Datum::set(atoms.iter().map(|n| Atom::Integer(*n)))
    }

    #[test]
    fn operators_compare_as_ovs_vsctl_does() {
        let cases: [(&[i64], &str, &[i64], bool); 24] = [
            (&[1, 2], "=", &[1, 2], true),
            (&[1, 2], "{=}", &[2, 1], true),
            (&[1], "{=}", &[1, 2], false),
            (&[1], "{!=}", &[1, 2], true),
            (&[1], "{<=}", &[1, 2], true),
            (&[1, 2], "{<=}", &[1, 2], true),
            (&[1, 2], "{<}", &[1, 2], false),
            (&[1], "{<}", &[1, 2], true),
            (&[1, 2], "{>}", &[1], true),
            (&[1], "{>}", &[1], false),
            (&[1, 2], "{>=}", &[1], true),
            (&[1], "{>=}", &[1, 2], false),
            (&[1], "{in}", &[1, 2], true),
            (&[3], "{in}", &[1, 2], false),
            (&[], "{in}", &[1, 2], true),
            (&[3], "{not-in}", &[1, 2], true),
            (&[1, 3], "{not-in}", &[1, 2], false),
            (&[5], "<", &[6], true),
            (&[5], ">=", &[6], false),
            (&[5], "!=", &[6], true),
            (&[], "<", &[6], true),
            (&[1, 2], ">", &[6], true),
            (&[1, 3], "<", &[1, 4], true),
            (&[5], "<=", &[5], true),
        ];
        for (own, operator, wanted, held) in cases {
            assert_eq!(
                holds(&set(own), operator, &set(wanted)),
                held,
                "{own:?} {operator} {wanted:?}"
            );
        }
    }
}
