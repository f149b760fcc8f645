//! Records of the log: bytes to JSON and back, JSON to changes and back.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha1::{Digest, Sha1};

use super::LogError;
use crate::database::{Database, Delta, RowChange};
use crate::error::{OvsdbError, Result};
use crate::limits::MAX_RECORD_BYTES;
use crate::row::Row;
use crate::schema::{ColumnType, Schema, TableSchema, VERSION_COLUMN};
use crate::uuid::{Uuid, UuidGenerator};
use crate::value::Datum;

const MAGIC: &str = "OVSDB JSON ";
/// `OVSDB JSON `, at most 20 digits, a space, 40 hexadecimal digits, a newline.
const LONGEST_HEADER: usize = MAGIC.len() + 20 + 1 + 40 + 1;

/// Where the whole records end and what is wrong with the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Bytes of whole records.
    pub offset: usize,
    /// Why the bytes that follow are no record; `None` if there are none.
    pub damage: Option<String>,
}

/// Splits a file into the bodies of its records, up to the first that is not whole.
pub fn split_records(bytes: &[u8]) -> (Vec<Value>, Tail) {
    let mut records = Vec::new();
    let mut offset = 0;
    while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
        match one_record(rest) {
            Ok((record, length)) => {
                records.push(record);
                offset += length;
            }
            Err(why) => {
                return (
                    records,
                    Tail {
                        offset,
                        damage: Some(why),
                    },
                )
            }
        }
    }
    (
        records,
        Tail {
            offset,
            damage: None,
        },
    )
}

/// The first record and its length in bytes.
fn one_record(bytes: &[u8]) -> std::result::Result<(Value, usize), String> {
    let header_end = bytes
        .iter()
        .take(LONGEST_HEADER)
        .position(|&byte| byte == b'\n');
    let header_end = header_end.ok_or("record header is cut short or malformed")?;
    let header =
        std::str::from_utf8(&bytes[..header_end]).map_err(|_| "record header is not text")?;
    let Some(header) = header.strip_prefix(MAGIC) else {
        return Err(match header.starts_with("OVSDB CLUSTER") {
            true => {
                "it is a clustered database; `ovsdb-tool cluster-to-standalone` converts it".into()
            }
            false => "record does not begin with \"OVSDB JSON\"".into(),
        });
    };
    let (length, checksum) = header.split_once(' ').ok_or("record header is malformed")?;
    let length = length
        .parse::<usize>()
        .ok()
        .filter(|&length| length <= MAX_RECORD_BYTES && !header.starts_with('+'))
        .ok_or("record length is malformed")?;
    let start = header_end + 1;
    let body = bytes
        .get(start..start + length)
        .ok_or("record is cut short")?;
    if !checksum.eq_ignore_ascii_case(&sha1_hex(body)) {
        return Err("record checksum does not match".into());
    }
    let json =
        serde_json::from_slice(body).map_err(|error| format!("record is not JSON: {error}"))?;
    Ok((json, start + length))
}

fn sha1_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(40);
    for byte in Sha1::digest(bytes) {
        write!(text, "{byte:02x}").expect("invariant: writing to a String cannot fail");
    }
    text
}

fn encode(json: &Value) -> Vec<u8> {
    let mut body = json.to_string();
    body.push('\n');
    let mut bytes = format!("{MAGIC}{} {}\n", body.len(), sha1_hex(body.as_bytes())).into_bytes();
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

/// The record of a schema.
pub(super) fn schema(schema: &Schema) -> Vec<u8> {
    encode(&schema.to_json())
}

/// The record of a change; `None` if only ephemeral columns changed.
pub(super) fn transaction(
    delta: &Delta,
    comment: Option<&str>,
    date: Option<u64>,
) -> Option<Vec<u8>> {
    let mut object = Map::new();
    for table in &delta.tables {
        let schema = &delta.schema().tables()[table.table];
        let rows: Map<String, Value> = table
            .rows
            .iter()
            .filter_map(|change| Some((change.uuid.to_string(), row_to_json(schema, change)?)))
            .collect();
        if !rows.is_empty() {
            object.insert(schema.name.clone(), Value::Object(rows));
        }
    }
    if object.is_empty() {
        return None;
    }
    if let Some(comment) = comment {
        object.insert("_comment".into(), Value::from(comment));
    }
    if let Some(date) = date {
        object.insert("_date".into(), Value::from(date));
    }
    object.insert("_is_diff".into(), Value::from(true));
    Some(encode(&Value::Object(object)))
}

/// What is saved of a changed row; `None` if that is nothing.
fn row_to_json(schema: &TableSchema, change: &RowChange) -> Option<Value> {
    let Some(new) = &change.new else {
        return Some(Value::Null);
    };
    let saved = schema
        .columns
        .iter()
        .enumerate()
        .skip(VERSION_COLUMN + 1)
        .filter(|(_, c)| !c.ephemeral);
    let mut columns = Map::new();
    match &change.old {
        None => {
            for (index, column) in saved {
                if !column.ty.is_default(new.column(index)) {
                    columns.insert(column.name.clone(), new.column(index).to_json());
                }
            }
        }
        Some(old) => {
            for (index, column) in saved.filter(|(index, _)| change.changed.contains(*index)) {
                let json = match column.ty.is_composite() {
                    true => old.column(index).difference(new.column(index)).to_json(),
                    false => new.column(index).to_json(),
                };
                columns.insert(column.name.clone(), json);
            }
            if columns.is_empty() {
                return None;
            }
        }
    }
    Some(Value::Object(columns))
}

/// The database that the records describe.
pub(super) fn replay(
    records: &[Value],
    uuids: &mut UuidGenerator,
) -> std::result::Result<Database, LogError> {
    let Some((first, transactions)) = records.split_first() else {
        return Err(LogError::NotALog("no schema".into()));
    };
    let corrupt = |number: usize| move |error: OvsdbError| LogError::Corrupt { number, error };
    let schema = Schema::from_json(first).map_err(corrupt(1))?;
    let mut db = Database::new(schema.into());
    for (i, record) in transactions.iter().enumerate() {
        apply(&mut db, record, uuids).map_err(corrupt(i + 2))?;
    }
    Ok(db)
}

fn apply(db: &mut Database, record: &Value, uuids: &mut UuidGenerator) -> Result<()> {
    let schema = db.schema().clone();
    let object = record
        .as_object()
        .ok_or_else(|| OvsdbError::syntax(record, "object expected"))?;
    let is_diff = object
        .get("_is_diff")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let mut txn = db.begin();
    for (name, rows) in object {
        if name.starts_with('_') {
            continue;
        }
        let unknown = || OvsdbError::syntax(record, format!("No table named {name}."));
        let table = schema.table_index(name).ok_or_else(unknown)?;
        let rows = rows
            .as_object()
            .ok_or_else(|| OvsdbError::syntax(rows, "object expected"))?;
        for (uuid, columns) in rows {
            let wrong = || OvsdbError::syntax(columns, format!("\"{uuid}\" is not a valid UUID"));
            let uuid: Uuid = uuid.parse().map_err(|_| wrong())?;
            if columns.is_null() {
                if txn.row(table, uuid).is_none() {
                    let details = format!("deletes row {uuid} of {name}, which does not exist");
                    return Err(OvsdbError::syntax(columns, details));
                }
                txn.delete(table, uuid);
                continue;
            }
            let table_schema = &schema.tables()[table];
            match txn.row_mut(table, uuid) {
                Some(row) => row_from_json(row, table_schema, columns, is_diff)?,
                None => {
                    let mut row = Row::new(uuid, table_schema);
                    row_from_json(&mut row, table_schema, columns, false)?;
                    txn.insert(table, row);
                }
            }
        }
    }
    let prepared = txn.prepare(uuids)?;
    db.apply(&prepared);
    Ok(())
}

fn row_from_json(row: &mut Row, table: &TableSchema, json: &Value, is_diff: bool) -> Result<()> {
    let columns = json
        .as_object()
        .ok_or_else(|| OvsdbError::syntax(json, "object expected"))?;
    for (name, value) in columns {
        let unknown =
            || OvsdbError::syntax(json, format!("No column {name} in table {}.", table.name));
        let (index, column) = table.column(name).ok_or_else(unknown)?;
        if index <= VERSION_COLUMN {
            return Err(unknown());
        }
        if is_diff && column.ty.is_composite() {
            // A difference may have fewer or more elements than the column.
            let any = ColumnType {
                min: 0,
                max: u32::MAX,
                ..column.ty.clone()
            };
            let difference = Datum::from_json(value, &any, None)?;
            let datum = row.column(index).apply_difference(&difference);
            column.ty.check(&datum)?;
            *row.column_mut(index) = datum;
        } else {
            *row.column_mut(index) = Datum::from_json(value, &column.ty, None)?;
        }
    }
    Ok(())
}
