//! Commands on any table: how they name rows and columns, and how they read values.

mod change;
mod query;
#[cfg(test)]
mod tests;

use rvs_ovsdb::schema::ColumnSchema;
use rvs_ovsdb::value::{Atom, Datum};
use rvs_ovsdb::Uuid;

use super::condition::OPERATORS;
use super::draft::Draft;
use crate::failure::Failure;

pub use change::{add_remove, apply_settings, clear, create, destroy, set, Values};
pub use query::{find, get, list, meets};

/// Hexadecimal digits that a shortened UUID has at least.
const MIN_UUID_DIGITS: usize = 4;

/// What names a row besides its UUID: a column of its own, or the one row that a named row of another table refers to.
const NAMES: [(&str, &str); 7] = [
    ("Bridge", "name"),
    ("Port", "name"),
    ("Interface", "name"),
    ("Mirror", "name"),
    ("Flow_Table", "name"),
    ("Manager", "target"),
    ("Flow_Sample_Collector_Set", "id"),
];
const THROUGH: [(&str, &str, &str); 6] = [
    ("Controller", "Bridge", "controller"),
    ("NetFlow", "Bridge", "netflow"),
    ("sFlow", "Bridge", "sflow"),
    ("IPFIX", "Bridge", "ipfix"),
    ("AutoAttach", "Bridge", "auto_attach"),
    ("QoS", "Port", "qos"),
];

/// The row that a name, a target, a UUID or its beginning, `@name` or `.` means.
fn find_row(draft: &Draft<'_>, table: &str, record: &str) -> Result<Option<Uuid>, Failure> {
    if let Some(symbol) = record.strip_prefix('@') {
        return Ok(draft.named(table, symbol));
    }
    let rows = draft.rows(table);
    if record == "." {
        return match rows[..] {
            [one] => Ok(Some(one)),
            _ => Err(Failure::Refused(format!(
                "table {table} has {} rows, so that . names none of them",
                rows.len()
            ))),
        };
    }
    let own = NAMES.iter().filter(|(t, _)| *t == table);
    let found = own.filter_map(|(_, column)| named_by(draft, table, column, record));
    let through = THROUGH.iter().filter(|(t, ..)| *t == table);
    let referred = through.filter_map(|(_, owner, column)| {
        let row = draft.find(owner, "name", record)?;
        match draft.refs(owner, row, column)[..] {
            [one] => Some(one),
            _ => None,
        }
    });
    if let Some(row) = found.chain(referred).next() {
        return Ok(Some(row));
    }
    Ok(by_uuid(&rows, record))
}

fn named_by(draft: &Draft<'_>, table: &str, column: &str, record: &str) -> Option<Uuid> {
    draft.find(table, column, record).or_else(|| {
        let number = Atom::Integer(record.parse().ok()?);
        let is = |r: &Uuid| draft.get(table, *r, column).as_scalar() == Some(&number);
        draft.rows(table).into_iter().find(is)
    })
}

/// The one row whose UUID begins so.
fn by_uuid(rows: &[Uuid], record: &str) -> Option<Uuid> {
    let digits = record.bytes().filter(u8::is_ascii_hexdigit).count();
    if digits < MIN_UUID_DIGITS {
        return None;
    }
    let record = record.to_ascii_lowercase();
    let mut fits = rows.iter().filter(|r| r.to_string().starts_with(&record));
    match (fits.next(), fits.next()) {
        (Some(one), None) => Some(*one),
        _ => None,
    }
}

fn must_find(draft: &Draft<'_>, table: &str, record: &str) -> Result<Uuid, Failure> {
    find_row(draft, table, record)?.ok_or_else(|| {
        let known: Vec<String> = draft
            .rows(table)
            .into_iter()
            .map(|u| draft.text(table, u, "name"))
            .filter(|n| !n.is_empty())
            .collect();
        let list = if known.is_empty() {
            String::new()
        } else {
            format!(" (rows: {})", known.join(", "))
        };
        Failure::Refused(format!("no row \"{record}\" in table {table}{list}"))
    })
}

/// The row, or `None` if it need not exist.
fn may_find(
    draft: &Draft<'_>,
    table: &str,
    record: &str,
    if_exists: bool,
) -> Result<Option<Uuid>, Failure> {
    match if_exists {
        true => find_row(draft, table, record),
        false => must_find(draft, table, record).map(Some),
    }
}

/// `COLUMN[:KEY]`, and what follows an operator if there is one.
struct Setting<'s> {
    column: ColumnSchema,
    key: Option<&'s str>,
    value: Option<(&'s str, &'s str)>,
}

fn parse_setting<'s>(
    draft: &Draft<'_>,
    table: &str,
    text: &'s str,
) -> Result<Setting<'s>, Failure> {
    let name_len = text
        .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-')))
        .unwrap_or(text.len());
    let (name, mut rest) = text.split_at(name_len);
    let column = draft.column(table, name)?;
    let mut key = None;
    if let Some(after) = rest.strip_prefix(':') {
        let end = match after.strip_prefix('"') {
            Some(quoted) => quoted.find('"').map_or(after.len(), |i| i + 2),
            None => after.find(['=', '<', '>', '!', '{']).unwrap_or(after.len()),
        };
        let (k, r) = after.split_at(end);
        if column.ty.value.is_none() {
            return Err(Failure::Usage(format!(
                "column {} is no map: it has no keys",
                column.name
            )));
        }
        key = Some(k);
        rest = r;
    }
    let value = if rest.is_empty() {
        None
    } else {
        let operator = OPERATORS
            .into_iter()
            .find(|o| rest.starts_with(o))
            .ok_or_else(|| Failure::Usage(format!("\"{text}\" is not COLUMN[:KEY]=VALUE")))?;
        Some((operator, &rest[operator.len()..]))
    };
    Ok(Setting { column, key, value })
}

/// Reads a value of a column.
pub fn parse_value(
    draft: &mut Draft<'_>,
    column: &ColumnSchema,
    text: &str,
) -> Result<Datum, Failure> {
    Datum::from_text(text, &column.ty, |s| Some(draft.symbol(s)))
        .map_err(|e| Failure::Usage(format!("{}: {e}", column.name)))
}

/// Reads a key and a value of a map column; each is the whole of its text.
fn parse_pair(
    draft: &mut Draft<'_>,
    column: &ColumnSchema,
    key: &str,
    value: &str,
) -> Result<Datum, Failure> {
    let wrong = |e| Failure::Usage(format!("{}: {e}", column.name));
    let Some(value_type) = &column.ty.value else {
        return Err(Failure::Usage(format!(
            "column {} is no map: it has no keys",
            column.name
        )));
    };
    let key = Atom::from_text(key, &column.ty.key, |s| Some(draft.symbol(s))).map_err(wrong)?;
    let value = Atom::from_text(value, value_type, |s| Some(draft.symbol(s))).map_err(wrong)?;
    Ok(Datum::map([(key, value)]))
}
