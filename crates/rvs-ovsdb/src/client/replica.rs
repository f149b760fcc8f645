//! A local copy of what a server's monitor tells.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{OvsdbError, Result};
use crate::row::{Row, RowRef};
use crate::schema::{ColumnType, Schema, TableSchema};
use crate::uuid::Uuid;
use crate::value::Datum;

/// Rows by table; columns that are not monitored have their defaults.
#[derive(Clone, Debug)]
pub struct Replica {
    schema: Arc<Schema>,
    tables: Vec<BTreeMap<Uuid, Arc<Row>>>,
}

/// A table of a replica.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaTable<'a> {
    schema: &'a TableSchema,
    rows: &'a BTreeMap<Uuid, Arc<Row>>,
}

impl<'a> ReplicaTable<'a> {
    /// Its schema.
    pub fn schema(&self) -> &'a TableSchema {
        self.schema
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// No rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, by UUID.
    pub fn rows(&self) -> impl Iterator<Item = RowRef<'a>> {
        let schema = self.schema;
        self.rows.values().map(move |row| RowRef::new(schema, row))
    }

    /// The row of this UUID.
    pub fn row(&self, uuid: Uuid) -> Option<RowRef<'a>> {
        self.rows
            .get(&uuid)
            .map(|row| RowRef::new(self.schema, row))
    }

    /// The first row that has this string in the column called `column`.
    pub fn find(&self, column: &str, value: &str) -> Option<RowRef<'a>> {
        self.rows().find(|row| row.opt_str(column) == Some(value))
    }
}

impl Replica {
    /// An empty replica.
    pub fn new(schema: Arc<Schema>) -> Replica {
        let tables = vec![BTreeMap::new(); schema.tables().len()];
        Replica { schema, tables }
    }

    /// The schema.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The table called `name`.
    pub fn table(&self, name: &str) -> Option<ReplicaTable<'_>> {
        let index = self.schema.table_index(name)?;
        Some(ReplicaTable {
            schema: self.schema.tables().get(index)?,
            rows: self.tables.get(index)?,
        })
    }

    /// Applies `<table-updates>` in the form of `update` or of `update2`.
    ///
    /// # Errors
    /// The update contradicts the schema; the replica is then of no more use.
    pub fn apply(&mut self, updates: &Value) -> Result<()> {
        let schema = self.schema.clone();
        for (name, rows) in members(updates)? {
            let unknown = || OvsdbError::syntax(rows, format!("update of unknown table {name}"));
            let index = schema.table_index(name).ok_or_else(unknown)?;
            for (uuid, update) in members(rows)? {
                let wrong = || OvsdbError::syntax(update, "not the UUID of a row");
                let uuid = uuid.parse().map_err(|_| wrong())?;
                apply_row(
                    &schema.tables()[index],
                    &mut self.tables[index],
                    uuid,
                    update,
                )?;
            }
        }
        Ok(())
    }
}

fn members(json: &Value) -> Result<&Map<String, Value>> {
    json.as_object()
        .ok_or_else(|| OvsdbError::syntax(json, "object expected"))
}

fn apply_row(
    table: &TableSchema,
    rows: &mut BTreeMap<Uuid, Arc<Row>>,
    uuid: Uuid,
    update: &Value,
) -> Result<()> {
    let members = members(update)?;
    if let Some(columns) = members.get("modify") {
        let missing = || OvsdbError::syntax(update, "modifies a row that is not there");
        let row = rows.get_mut(&uuid).ok_or_else(missing)?;
        return set_columns(table, Arc::make_mut(row), columns, true);
    }
    let whole = ["new", "insert", "initial"]
        .iter()
        .find_map(|form| members.get(*form));
    match whole {
        Some(columns) => {
            let mut row = Row::new(uuid, table);
            set_columns(table, &mut row, columns, false)?;
            rows.insert(uuid, Arc::new(row));
        }
        None => {
            rows.remove(&uuid);
        }
    }
    Ok(())
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
