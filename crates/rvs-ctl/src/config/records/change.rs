//! set add remove clear create destroy.

use rvs_ovsdb::schema::ColumnSchema;
use rvs_ovsdb::value::{Atom, Datum};
use rvs_ovsdb::Uuid;

use super::super::draft::Draft;
use super::{may_find, parse_pair, parse_setting, parse_value};
use crate::failure::Failure;

/// Applies `COLUMN[:KEY]=VALUE` settings to a row.
pub fn apply_settings(
    draft: &mut Draft<'_>,
    table: &str,
    row: Uuid,
    settings: &[String],
) -> Result<(), Failure> {
    for text in settings {
        let setting = parse_setting(draft, table, text)?;
        let Some(("=", value)) = setting.value.filter(|(_, v)| !v.is_empty()) else {
            return Err(Failure::Usage(format!(
                "\"{text}\" is not COLUMN[:KEY]=VALUE"
            )));
        };
        let name = setting.column.name.clone();
        check_writable(draft, &setting.column, row)?;
        let new = match setting.key {
            Some(key) => {
                let pair = parse_pair(draft, &setting.column, key, value)?;
                let mut all = draft.get(table, row, &name);
                let old = all.pairs().iter().filter(|(k, _)| pair.contains_key(k));
                all.delete_all(&Datum::map(old.cloned().collect::<Vec<_>>()));
                all.insert_all(&pair);
                all
            }
            None => parse_value(draft, &setting.column, value)?,
        };
        draft.set(table, row, &name, new);
    }
    Ok(())
}

/// A column that is not mutable can be set while its row is new.
fn check_writable(draft: &Draft<'_>, column: &ColumnSchema, row: Uuid) -> Result<(), Failure> {
    if column.name.starts_with('_') || !column.mutable && !draft.is_new(row) {
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
    let row = may_find(draft, &table, record, if_exists)?;
    row.map_or(Ok(()), |row| apply_settings(draft, &table, row, settings))
}

/// Values to add to a column or to remove from it.
pub struct Values<'a> {
    pub table: &'a str,
    pub record: &'a str,
    pub column: &'a str,
    pub values: &'a [String],
    pub if_exists: bool,
}

/// `add TABLE RECORD COLUMN [KEY=]VALUE...` and `remove TABLE RECORD COLUMN KEY|VALUE|KEY=VALUE...`.
pub fn add_remove(draft: &mut Draft<'_>, what: &Values<'_>, add: bool) -> Result<(), Failure> {
    let table = draft.table(what.table)?.name.clone();
    let Some(row) = may_find(draft, &table, what.record, what.if_exists)? else {
        return Ok(());
    };
    let column = draft.column(&table, what.column)?;
    check_writable(draft, &column, row)?;
    let mut all = draft.get(&table, row, &column.name);
    let mut loose = column.clone();
    (loose.ty.min, loose.ty.max) = (0, u32::MAX);
    for text in what.values {
        if add {
            // A key that is there gets the new value, as with ovs-vsctl 3.1 (its manual says otherwise).
            let added = several(draft, &loose, text)?;
            all.delete_all(&pairs_of(&all, &added));
            all.insert_all(&added);
        } else {
            let removed = match keys(draft, &loose, text) {
                Some(keys) => pairs_of(&all, &keys),
                None => several(draft, &loose, text)?,
            };
            all.delete_all(&removed);
        }
    }
    column
        .ty
        .check(&all)
        .map_err(|e| Failure::Refused(format!("{}: {e}", column.name)))?;
    draft.set(&table, row, &column.name, all);
    Ok(())
}

/// `VALUE,VALUE` or `KEY=VALUE,KEY=VALUE`; one `KEY=VALUE` may have anything behind its first =.
fn several(draft: &mut Draft<'_>, column: &ColumnSchema, text: &str) -> Result<Datum, Failure> {
    let pair = text.split_once('=').filter(|_| column.ty.value.is_some());
    match (parse_value(draft, column, text), pair) {
        (Err(_), Some((key, value))) => parse_pair(draft, column, key, value),
        (read, _) => read,
    }
}

/// The keys if the text is nothing but keys of a map.
fn keys(draft: &mut Draft<'_>, column: &ColumnSchema, text: &str) -> Option<Datum> {
    let mut set = column.clone();
    set.ty.value.take()?;
    parse_value(draft, &set, text).ok()
}

fn pairs_of(map: &Datum, keys: &Datum) -> Datum {
    let named = |(k, _): &&(Atom, Atom)| keys.keys().any(|key| key == k);
    Datum::map(
        map.pairs()
            .iter()
            .filter(named)
            .cloned()
            .collect::<Vec<_>>(),
    )
}

pub fn clear(
    draft: &mut Draft<'_>,
    table: &str,
    record: &str,
    columns: &[String],
    if_exists: bool,
) -> Result<(), Failure> {
    let table = draft.table(table)?.name.clone();
    let Some(row) = may_find(draft, &table, record, if_exists)? else {
        return Ok(());
    };
    for name in columns {
        let column = draft.column(&table, name)?;
        check_writable(draft, &column, row)?;
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

pub fn create(
    draft: &mut Draft<'_>,
    table: &str,
    settings: &[String],
    id: Option<&str>,
) -> Result<Uuid, Failure> {
    let name = draft.table(table)?.name.clone();
    let row = match id {
        None => draft.insert(&name),
        Some(id) => match (id.strip_prefix('@'), id.parse::<Uuid>()) {
            (Some(symbol), _) => draft.insert_named(&name, symbol)?,
            (None, Ok(uuid)) => {
                draft.insert_as(&name, uuid)?;
                uuid
            }
            (None, Err(_)) => {
                return Err(Failure::Usage(format!(
                    "--id={id}: neither @NAME nor a UUID"
                )))
            }
        },
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
    let mut rows = match all {
        true => draft.rows(&name),
        false => Vec::new(),
    };
    for record in records {
        rows.extend(may_find(draft, &name, record, if_exists)?);
    }
    for row in rows {
        draft.delete(&name, row);
    }
    Ok(())
}
