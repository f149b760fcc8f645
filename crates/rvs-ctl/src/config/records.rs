//! Commands on any table: get set add remove clear list find create destroy.

use rvs_ovsdb::schema::ColumnSchema;
use rvs_ovsdb::value::{Atom, Datum};
use rvs_ovsdb::Uuid;
use serde_json::{json, Map, Value};

use super::draft::Draft;
use crate::failure::Failure;

/// The row that a name, a target, a UUID or `.` means.
pub fn find_row(draft: &mut Draft<'_>, table: &str, record: &str) -> Result<Option<Uuid>, Failure> {
    if let Some(symbol) = record.strip_prefix('@') {
        return Ok(Some(draft.symbol(symbol)));
    }
    let rows = draft.rows(table);
    if let Ok(uuid) = record.parse::<Uuid>() {
        return Ok(rows.contains(&uuid).then_some(uuid));
    }
    if record == "." {
        return match rows[..] {
            [one] => Ok(Some(one)),
            _ => Err(Failure::Refused(format!(
                "table {table} has {} rows, so that . names none of them",
                rows.len()
            ))),
        };
    }
    let named = ["name", "target", "id"].into_iter().find_map(|c| {
        draft.table(table).ok()?.column(c)?;
        draft.find(table, c, record)
    });
    // A bridge's controllers and mirrors can be named by the bridge, a port's QoS by the port.
    let through = |owner: &str, column: &str| {
        let row = draft.find(owner, "name", record)?;
        match draft.refs(owner, row, column)[..] {
            [one] => Some(one),
            _ => None,
        }
    };
    Ok(named.or_else(|| match table {
        "Controller" => through("Bridge", "controller"),
        "QoS" => through("Port", "qos"),
        "NetFlow" => through("Bridge", "netflow"),
        "sFlow" => through("Bridge", "sflow"),
        _ => None,
    }))
}

fn must_find(draft: &mut Draft<'_>, table: &str, record: &str) -> Result<Uuid, Failure> {
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

/// `COLUMN[:KEY]`, and what follows an operator if there is one.
struct Setting<'s> {
    column: ColumnSchema,
    key: Option<&'s str>,
    value: Option<(&'s str, &'s str)>,
}

const OPERATORS: [&str; 8] = ["{>=}", "{<=}", "!=", ">=", "<=", "=", "<", ">"];

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
            None => after.find(['=', '<', '>', '!']).unwrap_or(after.len()),
        };
        let (k, r) = after.split_at(end);
        key = Some(k.trim_matches('"'));
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

fn parse_value(draft: &mut Draft<'_>, column: &ColumnSchema, text: &str) -> Result<Datum, Failure> {
    Datum::from_text(text, &column.ty, |s| Some(draft.symbol(s)))
        .map_err(|e| Failure::Usage(format!("{}: {e}", column.name)))
}

/// `{key=value}` of a map column.
fn parse_pair(
    draft: &mut Draft<'_>,
    column: &ColumnSchema,
    key: &str,
    value: &str,
) -> Result<Datum, Failure> {
    let quoted = |s: &str| {
        if s.starts_with('"') {
            s.to_owned()
        } else {
            json!(s).to_string()
        }
    };
    let key = quoted(key);
    let is_string = column
        .ty
        .value
        .as_ref()
        .is_some_and(|b| matches!(b.kind, rvs_ovsdb::schema::BaseKind::String { .. }));
    let value = if is_string {
        quoted(value)
    } else {
        value.to_owned()
    };
    parse_value(draft, column, &format!("{{{key}={value}}}"))
}

/// Applies `COLUMN[:KEY]=VALUE` settings to a row.
pub fn apply_settings(
    draft: &mut Draft<'_>,
    table: &str,
    row: Uuid,
    settings: &[String],
) -> Result<(), Failure> {
    for text in settings {
        let setting = parse_setting(draft, table, text)?;
        let Some(("=", value)) = setting.value else {
            return Err(Failure::Usage(format!(
                "\"{text}\" is not COLUMN[:KEY]=VALUE"
            )));
        };
        let name = setting.column.name.clone();
        check_writable(&setting.column)?;
        let new = match setting.key {
            Some(key) => {
                let pair = parse_pair(draft, &setting.column, key, value)?;
                let mut all = draft.get(table, row, &name);
                let old = all
                    .pairs()
                    .iter()
                    .filter(|(k, _)| pair.contains_key(k))
                    .cloned()
                    .collect::<Vec<_>>();
                all.delete_all(&Datum::map(old));
                all.insert_all(&pair);
                all
            }
            None => parse_value(draft, &setting.column, value)?,
        };
        draft.set(table, row, &name, new);
    }
    Ok(())
}

fn check_writable(column: &ColumnSchema) -> Result<(), Failure> {
    if column.name.starts_with('_') || !column.mutable {
        return Err(Failure::Refused(format!(
            "column {} can't be changed",
            column.name
        )));
    }
    Ok(())
}

pub fn set(
    draft: &mut Draft<'_>,
    table: &str,
    record: &str,
    settings: &[String],
    if_exists: bool,
) -> Result<(), Failure> {
    let table = draft.table(table)?.name.clone();
    let row = if if_exists {
        find_row(draft, &table, record)?
    } else {
        Some(must_find(draft, &table, record)?)
    };
    row.map_or(Ok(()), |row| apply_settings(draft, &table, row, settings))
}

/// `add TABLE RECORD COLUMN [KEY=]VALUE...` and `remove TABLE RECORD COLUMN KEY|VALUE|KEY=VALUE...`.
pub fn add_remove(
    draft: &mut Draft<'_>,
    table: &str,
    record: &str,
    column: &str,
    values: &[String],
    add: bool,
) -> Result<(), Failure> {
    let table = draft.table(table)?.name.clone();
    let row = must_find(draft, &table, record)?;
    let column = draft.column(&table, column)?;
    check_writable(&column)?;
    let mut all = draft.get(&table, row, &column.name);
    let mut loose = column.clone();
    loose.ty.max = u32::MAX;
    loose.ty.min = 0;
    for text in values {
        let is_map = column.ty.value.is_some();
        if is_map && !add && !text.contains('=') {
            let keys: Vec<_> = all
                .pairs()
                .iter()
                .filter(|(k, _)| k.as_str() == Some(text.as_str()))
                .cloned()
                .collect();
            all.delete_all(&Datum::map(keys));
            continue;
        }
        let datum = match text.split_once('=').filter(|_| is_map) {
            Some((k, v)) => parse_pair(draft, &loose, k, v)?,
            None => parse_value(draft, &loose, text)?,
        };
        if add {
            all.insert_all(&datum);
        } else {
            all.delete_all(&datum);
        }
    }
    column
        .ty
        .check(&all)
        .map_err(|e| Failure::Refused(format!("{}: {e}", column.name)))?;
    draft.set(&table, row, &column.name, all);
    Ok(())
}

pub fn clear(
    draft: &mut Draft<'_>,
    table: &str,
    record: &str,
    columns: &[String],
) -> Result<(), Failure> {
    let table = draft.table(table)?.name.clone();
    let row = must_find(draft, &table, record)?;
    for name in columns {
        let column = draft.column(&table, name)?;
        check_writable(&column)?;
        if column.ty.min > 0 {
            return Err(Failure::Refused(format!(
                "column {} must have a value",
                column.name
            )));
        }
        draft.set(&table, row, &column.name, column.ty.default_datum());
    }
    Ok(())
}

pub fn get(
    draft: &mut Draft<'_>,
    table: &str,
    record: &str,
    columns: &[String],
    if_exists: bool,
) -> Result<Vec<(String, Datum, String)>, Failure> {
    let table = draft.table(table)?.name.clone();
    let row = if if_exists {
        find_row(draft, &table, record)?
    } else {
        Some(must_find(draft, &table, record)?)
    };
    let Some(row) = row else {
        return Ok(Vec::new());
    };
    let mut out = Vec::new();
    for text in columns {
        let setting = parse_setting(draft, &table, text)?;
        let datum = draft.get(&table, row, &setting.column.name);
        match setting.key {
            Some(key) => {
                let found = datum
                    .pairs()
                    .iter()
                    .find(|(k, _)| k.to_string().trim_matches('"') == key);
                match found {
                    Some((_, v)) => {
                        out.push((text.clone(), Datum::scalar(v.clone()), v.to_string()))
                    }
                    None if if_exists => {}
                    None => {
                        return Err(Failure::Refused(format!(
                            "no key \"{key}\" in {table} record \"{record}\" column {}",
                            setting.column.name
                        )))
                    }
                }
            }
            None => {
                let shown = datum.to_text(&setting.column.ty);
                out.push((text.clone(), datum, shown));
            }
        }
    }
    Ok(out)
}

/// Rows with all their columns, as `list` and `find` show them.
pub fn rows_as_json(
    draft: &Draft<'_>,
    table: &str,
    rows: &[Uuid],
    only: &[String],
) -> Result<Value, Failure> {
    let table = draft.table(table)?;
    let wanted = |name: &str| {
        if only.is_empty() {
            name != "_version"
        } else {
            only.iter().any(|c| c == name)
        }
    };
    let row = |uuid: &Uuid| {
        let columns = table.columns.iter().filter(|c| wanted(&c.name));
        let pair = |c: &ColumnSchema| {
            let value = if c.name == "_uuid" {
                Datum::scalar(*uuid)
            } else {
                draft.get(&table.name, *uuid, &c.name)
            };
            (c.name.clone(), Value::String(value.to_text(&c.ty)))
        };
        Value::Object(columns.map(pair).collect::<Map<_, _>>())
    };
    Ok(rows.iter().map(row).collect())
}

pub fn list(
    draft: &mut Draft<'_>,
    table: &str,
    records: &[String],
    only: &[String],
) -> Result<Value, Failure> {
    let name = draft.table(table)?.name.clone();
    let rows = if records.is_empty() {
        draft.rows(&name)
    } else {
        records
            .iter()
            .map(|r| must_find(draft, &name, r))
            .collect::<Result<_, _>>()?
    };
    rows_as_json(draft, &name, &rows, only)
}

pub fn find(
    draft: &mut Draft<'_>,
    table: &str,
    conditions: &[String],
    only: &[String],
) -> Result<Value, Failure> {
    let name = draft.table(table)?.name.clone();
    let mut rows = draft.rows(&name);
    for text in conditions {
        let setting = parse_setting(draft, &name, text)?;
        let Some((operator, value)) = setting.value else {
            return Err(Failure::Usage(format!(
                "\"{text}\" is not COLUMN[:KEY]=VALUE"
            )));
        };
        let wanted = match setting.key {
            Some(key) => parse_pair(draft, &setting.column, key, value)?,
            None => parse_value(draft, &setting.column, value)?,
        };
        let holds = |u: &Uuid| {
            let own = if setting.column.name == "_uuid" {
                Datum::scalar(*u)
            } else {
                draft.get(&name, *u, &setting.column.name)
            };
            holds(&own, operator, &wanted, setting.key.is_some())
        };
        rows.retain(holds);
    }
    rows_as_json(draft, &name, &rows, only)
}

fn holds(own: &Datum, operator: &str, wanted: &Datum, by_key: bool) -> bool {
    let equal = if by_key {
        own.includes(wanted)
    } else {
        own == wanted
    };
    let order = || {
        let number = |d: &Datum| d.as_scalar().and_then(Atom::as_i64);
        number(own).zip(number(wanted)).map(|(a, b)| a.cmp(&b))
    };
    match operator {
        "=" => equal,
        "!=" => !equal,
        "{>=}" => own.includes(wanted),
        "{<=}" => wanted.includes(own),
        "<" => order().is_some_and(|o| o.is_lt()),
        "<=" => order().is_some_and(|o| o.is_le()),
        ">" => order().is_some_and(|o| o.is_gt()),
        _ => order().is_some_and(|o| o.is_ge()),
    }
}

pub fn create(
    draft: &mut Draft<'_>,
    table: &str,
    settings: &[String],
    symbol: Option<&str>,
) -> Result<Uuid, Failure> {
    let name = draft.table(table)?.name.clone();
    let row = match symbol.map(|s| s.trim_start_matches('@')) {
        Some(symbol) => draft.insert_named(&name, symbol),
        None => draft.insert(&name),
    };
    apply_settings(draft, &name, row, settings)?;
    Ok(row)
}

pub fn destroy(
    draft: &mut Draft<'_>,
    table: &str,
    records: &[String],
    all: bool,
    if_exists: bool,
) -> Result<(), Failure> {
    let name = draft.table(table)?.name.clone();
    let rows = if all {
        draft.rows(&name)
    } else {
        let mut rows = Vec::new();
        for r in records {
            match find_row(draft, &name, r)? {
                Some(row) => rows.push(row),
                None if if_exists => {}
                None => rows.push(must_find(draft, &name, r)?),
            }
        }
        rows
    };
    for row in rows {
        draft.delete(&name, row);
    }
    Ok(())
}
