//! get list find wait-until.

use rvs_ovsdb::schema::ColumnSchema;
use rvs_ovsdb::Uuid;
use serde_json::Value;

use super::super::condition::Condition;
use super::super::draft::Draft;
use super::super::json::{atom, plain};
use super::super::table::Table;
use super::{find_row, may_find, parse_setting};
use crate::failure::Failure;

/// A value that `get` prints.
#[derive(Clone, Debug, PartialEq)]
pub struct Got {
    pub text: String,
    pub json: Value,
}

pub fn get(
    draft: &mut Draft<'_>,
    table: &str,
    record: &str,
    columns: &[String],
    if_exists: bool,
    symbol: Option<&str>,
) -> Result<Vec<Got>, Failure> {
    let table = draft.table(table)?.name.clone();
    let Some(row) = may_find(draft, &table, record, if_exists)? else {
        return Ok(Vec::new());
    };
    if let Some(symbol) = symbol {
        let name = symbol
            .strip_prefix('@')
            .ok_or_else(|| Failure::Usage(format!("--id={symbol}: a name begins with @")))?;
        draft.name(name, row)?;
    }
    let mut out = Vec::new();
    for text in columns {
        let setting = parse_setting(draft, &table, text)?;
        if setting.value.is_some() {
            return Err(Failure::Usage(format!("\"{text}\" is not COLUMN[:KEY]")));
        }
        let datum = draft.get(&table, row, &setting.column.name);
        let Some(key) = setting.key else {
            out.push(Got {
                text: datum.to_text(&setting.column.ty),
                json: plain(&datum, &setting.column.ty),
            });
            continue;
        };
        let key = key.trim_matches('"');
        let pairs = datum.pairs().iter();
        let mut found =
            pairs.filter(|(k, _)| k.as_str().map_or(k.to_string() == key, |k| k == key));
        out.push(match found.next() {
            Some((_, v)) => Got {
                text: v.to_string(),
                json: atom(v),
            },
            // A line for each column asked for, so that a script can count them.
            None if if_exists => Got {
                text: String::new(),
                json: Value::Null,
            },
            None => {
                return Err(Failure::Refused(format!(
                    "no key \"{key}\" in {table} record \"{record}\" column {}",
                    setting.column.name
                )))
            }
        });
    }
    Ok(out)
}

/// All columns by name, or `only` those, in that order.
fn show_rows(
    draft: &Draft<'_>,
    table: &str,
    rows: &[Uuid],
    only: &[String],
) -> Result<Table, Failure> {
    let mut columns = draft.table(table)?.columns.clone();
    columns.retain(|c| c.name != "_version");
    columns.sort_by(|a, b| a.name.cmp(&b.name));
    if !only.is_empty() {
        let named = only.iter().map(|name| draft.column(table, name));
        columns = named.collect::<Result<_, _>>()?;
    }
    let cell = |row: &Uuid, c: &ColumnSchema| draft.get(table, *row, &c.name);
    let row = |row: &Uuid| columns.iter().map(|c| cell(row, c)).collect();
    let rows = rows.iter().map(row).collect();
    let columns = columns.into_iter().map(|c| (c.name, c.ty)).collect();
    Ok(Table { columns, rows })
}

pub fn list(
    draft: &Draft<'_>,
    table: &str,
    records: &[String],
    only: &[String],
    if_exists: bool,
) -> Result<Table, Failure> {
    let name = draft.table(table)?.name.clone();
    let mut rows = match records {
        [] => draft.rows(&name),
        _ => Vec::new(),
    };
    for record in records {
        rows.extend(may_find(draft, &name, record, if_exists)?);
    }
    show_rows(draft, &name, &rows, only)
}

fn conditions<'s>(
    draft: &mut Draft<'_>,
    table: &str,
    texts: &'s [String],
) -> Result<Vec<Condition<'s>>, Failure> {
    let mut conditions = Vec::new();
    for text in texts {
        let setting = parse_setting(draft, table, text)?;
        let Some((operator, value)) = setting.value.filter(|(_, v)| !v.is_empty()) else {
            return Err(Failure::Usage(format!(
                "\"{text}\" is not COLUMN[:KEY]=VALUE"
            )));
        };
        let key = setting.key;
        conditions.push(Condition::new(
            draft,
            &setting.column,
            key,
            operator,
            value,
        )?);
    }
    Ok(conditions)
}

fn all_hold(draft: &Draft<'_>, table: &str, row: Uuid, conditions: &[Condition<'_>]) -> bool {
    let holds = |c: &Condition<'_>| c.holds(&draft.get(table, row, c.column()));
    conditions.iter().all(holds)
}

pub fn find(
    draft: &mut Draft<'_>,
    table: &str,
    texts: &[String],
    only: &[String],
) -> Result<Table, Failure> {
    let name = draft.table(table)?.name.clone();
    let conditions = conditions(draft, &name, texts)?;
    let mut rows = draft.rows(&name);
    rows.retain(|row| all_hold(draft, &name, *row, &conditions));
    show_rows(draft, &name, &rows, only)
}

/// Whether the row is there and meets all conditions.
pub fn meets(
    draft: &mut Draft<'_>,
    table: &str,
    record: &str,
    texts: &[String],
) -> Result<bool, Failure> {
    let name = draft.table(table)?.name.clone();
    let conditions = conditions(draft, &name, texts)?;
    let row = find_row(draft, &name, record)?;
    Ok(row.is_some_and(|row| all_hold(draft, &name, row, &conditions)))
}
