//! [`Txn`]: the changed rows of a transaction, seen as a layer over the unchanged database.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Database;
use crate::condition::Condition;
use crate::error::{kind, OvsdbError, Result};
use crate::row::Row;
use crate::uuid::Uuid;
use crate::value::Datum;

/// A row that the transaction has touched.
#[derive(Clone, Debug)]
pub(super) struct Touched {
    pub(super) old: Option<Arc<Row>>,
    pub(super) new: Option<Row>,
}

/// A transaction in progress.
#[derive(Debug)]
pub struct Txn<'db> {
    pub(super) db: &'db Database,
    /// For each table, the rows touched.
    pub(super) touched: Vec<BTreeMap<Uuid, Touched>>,
}

impl<'db> Txn<'db> {
    pub(super) fn new(db: &'db Database) -> Txn<'db> {
        Txn {
            db,
            touched: vec![BTreeMap::new(); db.tables.len()],
        }
    }

    /// The database without the changes of this transaction.
    pub fn database(&self) -> &'db Database {
        self.db
    }

    /// The row as this transaction sees it.
    pub fn row(&self, table: usize, uuid: Uuid) -> Option<&Row> {
        match self.touched[table].get(&uuid) {
            Some(touched) => touched.new.as_ref(),
            None => self.db.tables[table]
                .rows
                .get(&uuid)
                .map(|slot| slot.row.as_ref()),
        }
    }

    /// The table's rows as this transaction sees them: those of the database by UUID, then those inserted.
    pub fn rows(&self, table: usize) -> impl Iterator<Item = &Row> {
        let touched = &self.touched[table];
        let existing = self.db.tables[table]
            .rows
            .iter()
            .filter_map(move |(uuid, slot)| match touched.get(uuid) {
                Some(touched) => touched.new.as_ref(),
                None => Some(slot.row.as_ref()),
            });
        let inserted = touched.values().filter(|row| row.old.is_none());
        existing.chain(inserted.filter_map(|row| row.new.as_ref()))
    }

    /// The rows that meet a condition. A clause `_uuid == X`, or equality on an indexed column, is looked
    /// up instead of searched for.
    pub fn select(&self, table: usize, condition: &Condition) -> Vec<Uuid> {
        if let Some(uuid) = condition.only_row() {
            let row = self.row(table, uuid).filter(|row| condition.matches(row));
            return row.map(Row::uuid).into_iter().collect();
        }
        let matching = |row: &&Row| condition.matches(row);
        if let Some(candidate) = self.indexed(table, condition) {
            // The index knows the state before the transaction; touched rows are looked at one by one.
            let untouched = candidate
                .filter(|uuid| !self.touched[table].contains_key(uuid))
                .and_then(|uuid| self.row(table, uuid));
            let touched = self.touched[table]
                .values()
                .filter_map(|row| row.new.as_ref());
            return untouched
                .into_iter()
                .chain(touched)
                .filter(matching)
                .map(Row::uuid)
                .collect();
        }
        self.rows(table).filter(matching).map(Row::uuid).collect()
    }

    /// If the condition fixes all columns of an index: the row that the database has there, if any.
    fn indexed(&self, table: usize, condition: &Condition) -> Option<Option<Uuid>> {
        let indexes = &self.db.schema.tables()[table].indexes;
        indexes
            .iter()
            .zip(&self.db.tables[table].indexes)
            .find_map(|(columns, index)| {
                let key: Option<Vec<_>> = columns
                    .iter()
                    .map(|&column| condition.equal_to(column).cloned())
                    .collect();
                key.map(|key| index.get(&key).copied())
            })
    }

    /// Whether the UUID is in the table, or was before the transaction.
    pub fn is_taken(&self, table: usize, uuid: Uuid) -> bool {
        self.touched[table].contains_key(&uuid) || self.db.tables[table].rows.contains_key(&uuid)
    }

    /// Adds a row, whose UUID must not be [taken](Txn::is_taken).
    pub fn insert(&mut self, table: usize, row: Row) {
        self.touched[table].insert(
            row.uuid(),
            Touched {
                old: None,
                new: Some(row),
            },
        );
    }

    /// The row, to be changed.
    pub fn row_mut(&mut self, table: usize, uuid: Uuid) -> Option<&mut Row> {
        self.touch(table, uuid)?.new.as_mut()
    }

    /// Sets a column of a row and says whether that changed it; setting the value that is already there
    /// costs a comparison and nothing else.
    ///
    /// # Errors
    /// The table has no such row or column, or the value breaks the column's type.
    pub fn set(&mut self, table: usize, uuid: Uuid, column: &str, value: Datum) -> Result<bool> {
        let schema = &self.db.schema.tables()[table];
        let (index, column) = schema.column(column).ok_or_else(|| {
            let details = format!("No column {column} in table {}.", schema.name);
            OvsdbError::new(kind::UNKNOWN_COLUMN, details)
        })?;
        let missing = || {
            OvsdbError::new(
                kind::OTHER,
                format!("no row {uuid} in table {}", schema.name),
            )
        };
        if *self.row(table, uuid).ok_or_else(missing)?.column(index) == value {
            return Ok(false);
        }
        column.ty.check_kind(&value)?;
        column.ty.check(&value)?;
        *self
            .row_mut(table, uuid)
            .ok_or_else(missing)?
            .column_mut(index) = value;
        Ok(true)
    }

    /// Removes a row.
    pub fn delete(&mut self, table: usize, uuid: Uuid) {
        if let Some(touched) = self.touch(table, uuid) {
            touched.new = None;
        }
    }

    fn touch(&mut self, table: usize, uuid: Uuid) -> Option<&mut Touched> {
        use std::collections::btree_map::Entry;
        match self.touched[table].entry(uuid) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(entry) => {
                let old = self.db.tables[table].rows.get(&uuid)?.row.clone();
                let new = Some(Row::clone(&old));
                Some(entry.insert(Touched {
                    old: Some(old),
                    new,
                }))
            }
        }
    }
}
