//! A local copy of what a server's monitor tells: a [`Database`] that is changed by updates instead of
//! transactions, so that the same code reads the one and the other, and every update is a [`Delta`].

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::database::{Database, Delta, Prepared, RowChange, TableDelta};
use crate::error::{OvsdbError, Result};
use crate::row::Row;
use crate::schema::{ColumnType, Schema, TableSchema};
use crate::uuid::Uuid;
use crate::value::Datum;

/// Rows as far as they are monitored; other columns have their defaults, other tables are empty.
#[derive(Clone, Debug)]
pub struct Replica {
    db: Database,
}

impl Replica {
    /// An empty replica.
    pub fn new(schema: Arc<Schema>) -> Replica {
        Replica {
            db: Database::new(schema),
        }
    }

    /// The rows.
    pub fn database(&self) -> &Database {
        &self.db
    }

    /// The rows, when no update will follow.
    pub fn into_database(self) -> Database {
        self.db
    }

    /// Applies `<table-updates>` in the form of `update` or of `update2` and returns what they changed.
    ///
    /// # Errors
    /// The update contradicts the schema; nothing of it is applied.
    pub fn apply(&mut self, updates: &Value) -> Result<Delta> {
        let schema = self.db.schema().clone();
        let mut tables = Vec::new();
        for (name, rows) in members(updates)? {
            let unknown = || OvsdbError::syntax(rows, format!("update of unknown table {name}"));
            let index = schema.table_index(name).ok_or_else(unknown)?;
            let table = &schema.tables()[index];
            let mut changes = Vec::new();
            for (uuid, update) in members(rows)? {
                let wrong = || OvsdbError::syntax(update, "not the UUID of a row");
                let uuid = uuid.parse().map_err(|_| wrong())?;
                let old = self
                    .db
                    .table(name)
                    .and_then(|table| Some(table.row(uuid)?.row().clone()));
                let new = updated(table, uuid, old.as_ref(), update)?;
                if old.is_some() || new.is_some() {
                    changes.extend(RowChange::between(table, old, new));
                }
            }
            changes.sort_by_key(|change| change.uuid);
            if !changes.is_empty() {
                tables.push(TableDelta {
                    table: index,
                    rows: changes,
                });
            }
        }
        tables.sort_by_key(|table| table.table);
        let prepared = Prepared::unchecked(Delta::new(schema, tables));
        self.db.apply(&prepared);
        Ok(prepared.delta)
    }
}

fn members(json: &Value) -> Result<&Map<String, Value>> {
    json.as_object()
        .ok_or_else(|| OvsdbError::syntax(json, "object expected"))
}

/// The row after a `<row-update>`; `None` if it is gone.
fn updated(
    table: &TableSchema,
    uuid: Uuid,
    old: Option<&Arc<Row>>,
    update: &Value,
) -> Result<Option<Arc<Row>>> {
    let members = members(update)?;
    if let Some(columns) = members.get("modify") {
        let missing = || OvsdbError::syntax(update, "modifies a row that is not there");
        let mut row = Row::clone(old.ok_or_else(missing)?);
        set_columns(table, &mut row, columns, true)?;
        return Ok(Some(Arc::new(row)));
    }
    let whole = ["new", "insert", "initial"]
        .iter()
        .find_map(|form| members.get(*form));
    let Some(columns) = whole else {
        return Ok(None);
    };
    let mut row = Row::new(uuid, table);
    set_columns(table, &mut row, columns, false)?;
    Ok(Some(Arc::new(row)))
}

fn set_columns(
    table: &TableSchema,
    row: &mut Row,
    columns: &Value,
    differences: bool,
) -> Result<()> {
    for (name, value) in members(columns)? {
        let unknown = || OvsdbError::syntax(columns, format!("update of unknown column {name}"));
        let (index, column) = table.column(name).ok_or_else(unknown)?;
        *row.column_mut(index) = if differences && column.ty.is_composite() {
            let any = ColumnType {
                min: 0,
                max: u32::MAX,
                ..column.ty.clone()
            };
            row.column(index)
                .apply_difference(&Datum::from_json(value, &any, None)?)
        } else {
            Datum::from_json(value, &column.ty, None)?
        };
    }
    Ok(())
}
