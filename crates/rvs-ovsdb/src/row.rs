//! Rows and the typed way to read them.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::schema::{TableSchema, UUID_COLUMN, VERSION_COLUMN};
use crate::uuid::Uuid;
use crate::value::{Atom, Datum};

/// A row: one datum for each column of its table, `_uuid` and `_version` included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    uuid: Uuid,
    columns: Vec<Datum>,
}

impl Row {
    /// A row whose columns have their defaults.
    pub fn new(uuid: Uuid, table: &TableSchema) -> Row {
        let mut columns: Vec<Datum> = table
            .columns
            .iter()
            .map(|column| column.ty.default_datum())
            .collect();
        columns[UUID_COLUMN] = Datum::scalar(uuid);
        Row { uuid, columns }
    }

    /// The row's name for life.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The UUID that the row got by its last change.
    pub fn version(&self) -> Uuid {
        self.column(VERSION_COLUMN)
            .as_scalar()
            .and_then(Atom::as_uuid)
            .unwrap_or_default()
    }

    /// The value of the column at this index of the table's schema.
    ///
    /// # Panics
    /// If the table has no such column; indices come from the schema, never from input.
    pub fn column(&self, index: usize) -> &Datum {
        &self.columns[index]
    }

    /// As [`column`](Row::column), to change it; `_uuid` is not to be changed.
    pub(crate) fn column_mut(&mut self, index: usize) -> &mut Datum {
        &mut self.columns[index]
    }

    pub(crate) fn set_version(&mut self, version: Uuid) {
        self.columns[VERSION_COLUMN] = Datum::scalar(version);
    }

    /// The columns at these indices as a JSON `<row>`.
    pub fn to_json(&self, table: &TableSchema, columns: impl IntoIterator<Item = usize>) -> Value {
        let named = |index: usize| {
            (
                table.columns[index].name.clone(),
                self.column(index).to_json(),
            )
        };
        Value::Object(columns.into_iter().map(named).collect::<Map<_, _>>())
    }
}

/// A row together with its table's schema, which gives the columns their names.
///
/// The readers by type answer with the column's default when the table has no such column or it has
/// another type, so that code written for one version of a schema reads a row of another.
#[derive(Clone, Copy, Debug)]
pub struct RowRef<'a> {
    table: &'a TableSchema,
    row: &'a Arc<Row>,
}

impl<'a> RowRef<'a> {
    /// Pairs a row with the schema of its table.
    pub fn new(table: &'a TableSchema, row: &'a Arc<Row>) -> RowRef<'a> {
        RowRef { table, row }
    }

    /// The row's UUID.
    pub fn uuid(&self) -> Uuid {
        self.row.uuid
    }

    /// The row's version.
    pub fn version(&self) -> Uuid {
        self.row.version()
    }

    /// The row itself, to be kept.
    pub fn row(&self) -> &'a Arc<Row> {
        self.row
    }

    /// The schema of the row's table.
    pub fn table(&self) -> &'a TableSchema {
        self.table
    }

    /// The value of the column called `name`; `None` if the table has no such column.
    pub fn get(&self, name: &str) -> Option<&'a Datum> {
        self.table
            .column(name)
            .map(|(index, _)| self.row.column(index))
    }

    fn scalar(&self, name: &str) -> Option<&'a Atom> {
        self.get(name).and_then(Datum::as_scalar)
    }

    /// A mandatory string; "" if it is absent.
    pub fn str(&self, name: &str) -> &'a str {
        self.opt_str(name).unwrap_or("")
    }

    /// An optional string.
    pub fn opt_str(&self, name: &str) -> Option<&'a str> {
        self.scalar(name).and_then(Atom::as_str)
    }

    /// A mandatory integer; 0 if it is absent.
    pub fn int(&self, name: &str) -> i64 {
        self.opt_int(name).unwrap_or(0)
    }

    /// An optional integer.
    pub fn opt_int(&self, name: &str) -> Option<i64> {
        self.scalar(name).and_then(Atom::as_i64)
    }

    /// A mandatory boolean; `false` if it is absent.
    pub fn bool(&self, name: &str) -> bool {
        self.opt_bool(name).unwrap_or(false)
    }

    /// An optional boolean.
    pub fn opt_bool(&self, name: &str) -> Option<bool> {
        match self.scalar(name) {
            Some(Atom::Boolean(b)) => Some(*b),
            _ => None,
        }
    }

    /// An optional reference to a row.
    pub fn opt_uuid(&self, name: &str) -> Option<Uuid> {
        self.scalar(name).and_then(Atom::as_uuid)
    }

    fn keys(&self, name: &str) -> impl Iterator<Item = &'a Atom> {
        self.get(name).into_iter().flat_map(Datum::keys)
    }

    /// A set of references, ascending.
    pub fn set_of_uuid(&self, name: &str) -> impl Iterator<Item = Uuid> + 'a {
        self.keys(name).filter_map(Atom::as_uuid)
    }

    /// A set of integers, ascending.
    pub fn set_of_int(&self, name: &str) -> impl Iterator<Item = i64> + 'a {
        self.keys(name).filter_map(Atom::as_i64)
    }

    /// A set of strings, ascending.
    pub fn set_of_str(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.keys(name).filter_map(Atom::as_str)
    }

    /// A map from string to string.
    pub fn map(&self, name: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.get(name).map(Datum::pairs).unwrap_or_default();
        pairs
            .iter()
            .filter_map(|(k, v)| Some((k.as_str()?, v.as_str()?)))
    }

    /// The value of `key` in a map from string to string.
    pub fn map_value(&self, name: &str, key: &str) -> Option<&'a str> {
        let pairs = self.get(name).map(Datum::pairs).unwrap_or_default();
        let at = pairs
            .binary_search_by(|(k, _)| k.as_str().cmp(&Some(key)))
            .ok()?;
        pairs.get(at)?.1.as_str()
    }

    /// A map from integer to row.
    pub fn int_to_uuid(&self, name: &str) -> impl Iterator<Item = (i64, Uuid)> + 'a {
        let pairs = self.get(name).map(Datum::pairs).unwrap_or_default();
        pairs
            .iter()
            .filter_map(|(k, v)| Some((k.as_i64()?, v.as_uuid()?)))
    }

    /// The value of the column called `name` as `ovs-vsctl` prints it.
    pub fn text(&self, name: &str) -> Option<String> {
        let (index, column) = self.table.column(name)?;
        Some(self.row.column(index).to_text(&column.ty))
    }
}
