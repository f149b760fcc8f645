//! The database: tables of immutable rows, changed by whole transactions.
//!
//! # How a change happens
//! 1. A [`Txn`] borrows the database and collects changed rows beside it.
//! 2. [`Txn::prepare`] checks the whole: references, garbage collection, weak references, row limits,
//!    indexes. Its result, [`Prepared`], holds the final [`Delta`] and nothing has changed yet.
//! 3. The owner makes the delta durable. If that fails, it drops the `Prepared`, and nothing happened.
//! 4. [`Database::apply`] makes the change, which cannot fail.
//!
//! # Cost
//! Every step is linear in the rows changed (and in the size of their columns), never in the size of the
//! database: each row carries the number of strong references to it and the rows that refer to it
//! weakly, and each index is a hash map.
//!
//! # Invariants
//! Between transactions: every strong reference names a row; every non-root row is referenced by another
//! row; every weak reference names a row; indexes are unique; no table exceeds its `maxRows`; no column
//! breaks its type. (A cycle of non-root rows keeps itself alive, as in Open vSwitch.)

mod delta;
mod prepare;
mod txn;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub use delta::{ChangeRef, ColumnMask, Delta, RowChange, TableDelta};
pub use prepare::Prepared;
pub use txn::Txn;

use crate::error::{OvsdbError, Result};
use crate::row::{Row, RowRef};
use crate::schema::{Schema, TableSchema};
use crate::uuid::{Uuid, UuidGenerator};
use crate::value::{Change, Datum};

/// A row's address: index of its table and its UUID.
pub type RowId = (usize, Uuid);

/// A database in memory.
#[derive(Clone, Debug)]
pub struct Database {
    schema: Arc<Schema>,
    tables: Vec<TableData>,
}

#[derive(Clone, Debug, Default)]
struct TableData {
    rows: BTreeMap<Uuid, Slot>,
    /// For each index of the schema: the values of its columns, and the row that has them.
    indexes: Vec<HashMap<Vec<Datum>, Uuid>>,
}

#[derive(Clone, Debug)]
struct Slot {
    row: Arc<Row>,
    /// Strong references from other rows.
    strong: usize,
    /// Weak references from other rows, counted by row.
    weak: HashMap<RowId, usize>,
}

impl Database {
    /// An empty database.
    pub fn new(schema: Arc<Schema>) -> Database {
        let table = |table: &TableSchema| TableData {
            rows: BTreeMap::new(),
            indexes: vec![HashMap::new(); table.indexes.len()],
        };
        Database {
            tables: schema.tables().iter().map(table).collect(),
            schema,
        }
    }

    /// The schema.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The table called `name`.
    pub fn table(&self, name: &str) -> Option<Table<'_>> {
        let index = self.schema.table_index(name)?;
        Some(Table {
            schema: &self.schema.tables()[index],
            data: &self.tables[index],
        })
    }

    /// The tables in the order of the schema.
    pub fn tables(&self) -> impl Iterator<Item = Table<'_>> {
        let pair = |(schema, data)| Table { schema, data };
        self.schema.tables().iter().zip(&self.tables).map(pair)
    }

    /// Starts a transaction; dropping it changes nothing.
    pub fn begin(&self) -> Txn<'_> {
        Txn::new(self)
    }

    /// The whole database as the insertion of every row.
    pub fn snapshot(&self) -> Delta {
        let tables = self
            .tables
            .iter()
            .enumerate()
            .map(|(index, table)| TableDelta {
                table: index,
                rows: table
                    .rows
                    .values()
                    .map(|slot| RowChange::inserted(slot.row.clone()))
                    .collect(),
            });
        Delta::new(
            self.schema.clone(),
            tables.filter(|table| !table.rows.is_empty()).collect(),
        )
    }

    /// The same rows under another schema: columns that `schema` lacks are dropped, columns that it adds
    /// get their defaults, references are checked again.
    ///
    /// # Errors
    /// A value that the new schema forbids.
    pub fn convert(&self, schema: Arc<Schema>, uuids: &mut UuidGenerator) -> Result<Database> {
        let mut converted = Database::new(schema.clone());
        let mut txn = converted.begin();
        for old in self.tables() {
            let Some(table) = schema.table_index(&old.schema.name) else {
                continue;
            };
            let new_schema = &schema.tables()[table];
            for row in old.rows() {
                let mut new = Row::new(row.uuid(), new_schema);
                for (index, column) in new_schema.columns.iter().enumerate().skip(1) {
                    if let Some(datum) = row.get(&column.name) {
                        column
                            .ty
                            .check(datum)
                            .map_err(|error| in_column(error, old.schema, &column.name))?;
                        *new.column_mut(index) = datum.clone();
                    }
                }
                txn.insert(table, new);
            }
        }
        let prepared = txn.prepare(uuids)?;
        converted.apply(&prepared);
        Ok(converted)
    }

    /// Makes a prepared change. It must come from the last transaction begun.
    pub fn apply(&mut self, prepared: &Prepared) {
        let changes = || {
            prepared
                .delta
                .tables
                .iter()
                .flat_map(|t| t.rows.iter().map(|r| (t.table, r)))
        };
        for (table, change) in changes() {
            self.unindex(table, change);
        }
        for (table, change) in changes() {
            self.store(table, change);
        }
        for (&(table, uuid), &count) in &prepared.strong {
            if let Some(slot) = self.tables[table].rows.get_mut(&uuid) {
                slot.strong = slot.strong.saturating_add_signed(count);
            }
        }
        for (table, change) in changes() {
            self.link_weak(table, change);
        }
    }

    fn unindex(&mut self, table: usize, change: &RowChange) {
        let Some(old) = &change.old else { return };
        let indexes = &self.schema.tables()[table].indexes;
        for (columns, index) in indexes.iter().zip(&mut self.tables[table].indexes) {
            index.remove(&index_key(old, columns));
        }
    }

    fn store(&mut self, table: usize, change: &RowChange) {
        let data = &mut self.tables[table];
        let Some(new) = &change.new else {
            data.rows.remove(&change.uuid);
            return;
        };
        for (columns, index) in self.schema.tables()[table]
            .indexes
            .iter()
            .zip(&mut data.indexes)
        {
            index.insert(index_key(new, columns), change.uuid);
        }
        data.rows
            .entry(change.uuid)
            .and_modify(|slot| slot.row = new.clone())
            .or_insert_with(|| Slot {
                row: new.clone(),
                strong: 0,
                weak: HashMap::new(),
            });
    }

    fn link_weak(&mut self, table: usize, change: &RowChange) {
        let schema = self.schema.clone();
        let from = (table, change.uuid);
        weak_changes(
            &schema.tables()[table],
            change.old.as_deref(),
            change.new.as_deref(),
            |to, added| {
                let Some(slot) = self.tables[to.0].rows.get_mut(&to.1) else {
                    return;
                };
                if added {
                    *slot.weak.entry(from).or_insert(0) += 1;
                } else if let Some(count) = slot.weak.get_mut(&from) {
                    *count -= 1;
                    if *count == 0 {
                        slot.weak.remove(&from);
                    }
                }
            },
        );
    }
}

fn in_column(mut error: OvsdbError, table: &TableSchema, column: &str) -> OvsdbError {
    error.details = format!("table {} column {column}: {}", table.name, error.details);
    error
}

fn index_key(row: &Row, columns: &[usize]) -> Vec<Datum> {
    columns
        .iter()
        .map(|&column| row.column(column).clone())
        .collect()
}

/// Reports each strong reference that differs between two states of a row, as (target, +1 or -1).
/// References of a row to itself do not count.
fn strong_changes(
    table: &TableSchema,
    old: Option<&Row>,
    new: Option<&Row>,
    mut report: impl FnMut(RowId, isize, usize),
) {
    reference_changes(
        table,
        &table.strong_columns,
        false,
        old,
        new,
        |to, added, column| {
            report(to, if added { 1 } else { -1 }, column);
        },
    );
}

/// Reports each weak reference that differs between two states of a row, as (target, whether it is new).
fn weak_changes(
    table: &TableSchema,
    old: Option<&Row>,
    new: Option<&Row>,
    mut report: impl FnMut(RowId, bool),
) {
    reference_changes(
        table,
        &table.weak_columns,
        true,
        old,
        new,
        |to, added, _| report(to, added),
    );
}

fn reference_changes(
    table: &TableSchema,
    columns: &[usize],
    weak: bool,
    old: Option<&Row>,
    new: Option<&Row>,
    mut report: impl FnMut(RowId, bool, usize),
) {
    let Some(own) = new.or(old).map(Row::uuid) else {
        return;
    };
    for &column in columns {
        let ty = &table.columns[column].ty;
        let of = |base: &crate::schema::BaseType| {
            base.reference().filter(|r| r.weak == weak).map(|r| r.index)
        };
        let (key_table, value_table) = (of(&ty.key), ty.value.as_ref().and_then(of));
        let empty = match ty.value {
            Some(_) => Datum::empty_map(),
            None => Datum::empty_set(),
        };
        let mut emit = |table: Option<usize>, atom: &crate::value::Atom, added: bool| {
            if let (Some(table), Some(uuid)) = (table, atom.as_uuid()) {
                if uuid != own {
                    report((table, uuid), added, column);
                }
            }
        };
        let before = old.map_or(&empty, |row| row.column(column));
        let after = new.map_or(&empty, |row| row.column(column));
        before.compare(after, |change| match change {
            Change::Removed(key, value) => {
                emit(key_table, key, false);
                value
                    .into_iter()
                    .for_each(|value| emit(value_table, value, false));
            }
            Change::Added(key, value) => {
                emit(key_table, key, true);
                value
                    .into_iter()
                    .for_each(|value| emit(value_table, value, true));
            }
            Change::Value(_, from, to) => {
                emit(value_table, from, false);
                emit(value_table, to, true);
            }
        });
    }
}

/// A table of a database, for reading.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    schema: &'a TableSchema,
    data: &'a TableData,
}

impl<'a> Table<'a> {
    /// Its schema.
    pub fn schema(&self) -> &'a TableSchema {
        self.schema
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.data.rows.len()
    }

    /// No rows.
    pub fn is_empty(&self) -> bool {
        self.data.rows.is_empty()
    }

    /// All rows, by UUID.
    pub fn rows(&self) -> impl Iterator<Item = RowRef<'a>> {
        let schema = self.schema;
        self.data
            .rows
            .values()
            .map(move |slot| RowRef::new(schema, &slot.row))
    }

    /// The row of this UUID.
    pub fn row(&self, uuid: Uuid) -> Option<RowRef<'a>> {
        self.data
            .rows
            .get(&uuid)
            .map(|slot| RowRef::new(self.schema, &slot.row))
    }

    /// The row that has this value in the column called `column`; fast if the schema has an index on
    /// that column alone, a scan otherwise.
    pub fn find(&self, column: &str, value: impl Into<crate::value::Atom>) -> Option<RowRef<'a>> {
        let (column, _) = self.schema.column(column)?;
        let wanted = Datum::scalar(value);
        match self
            .schema
            .indexes
            .iter()
            .position(|columns| columns.as_slice() == [column])
        {
            Some(index) => self.row(*self.data.indexes[index].get(&vec![wanted])?),
            None => self.rows().find(|row| *row.row().column(column) == wanted),
        }
    }
}
