//! What a transaction changed: the one description from which monitors, the log and the switch's
//! reconfiguration are all derived.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::row::{Row, RowRef};
use crate::schema::{Schema, TableSchema};
use crate::uuid::Uuid;

/// A set of columns of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnMask(Vec<u64>);

impl ColumnMask {
    /// Whether the column at this index is in the set.
    pub fn contains(&self, column: usize) -> bool {
        self.0
            .get(column / 64)
            .is_some_and(|word| word >> (column % 64) & 1 == 1)
    }

    /// Adds a column.
    pub fn insert(&mut self, column: usize) {
        if self.0.len() <= column / 64 {
            self.0.resize(column / 64 + 1, 0);
        }
        self.0[column / 64] |= 1 << (column % 64);
    }

    /// The columns, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.0.len() * 64).filter(|&column| self.contains(column))
    }

    /// No column.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }
}

/// One row before and after.
#[derive(Clone, Debug)]
pub struct RowChange {
    /// The row.
    pub uuid: Uuid,
    /// Before; `None` if it was inserted.
    pub old: Option<Arc<Row>>,
    /// After; `None` if it was deleted.
    pub new: Option<Arc<Row>>,
    /// The columns that differ, if the row was there before and after; `_version` is always one.
    pub changed: ColumnMask,
}

impl RowChange {
    /// The insertion of a row.
    pub fn inserted(row: Arc<Row>) -> RowChange {
        RowChange {
            uuid: row.uuid(),
            old: None,
            new: Some(row),
            changed: ColumnMask::default(),
        }
    }

    /// The change from `old` to `new`, which are states of one row; `None` if nothing differs.
    pub fn between(
        table: &TableSchema,
        old: Option<Arc<Row>>,
        new: Option<Arc<Row>>,
    ) -> Option<RowChange> {
        let uuid = new.as_ref().or(old.as_ref())?.uuid();
        let mut changed = ColumnMask::default();
        if let (Some(old), Some(new)) = (&old, &new) {
            for column in 0..table.columns.len() {
                if old.column(column) != new.column(column) {
                    changed.insert(column);
                }
            }
            if changed.is_empty() {
                return None;
            }
        }
        Some(RowChange {
            uuid,
            old,
            new,
            changed,
        })
    }
}

/// The changed rows of one table.
#[derive(Clone, Debug)]
pub struct TableDelta {
    /// Index of the table in the schema.
    pub table: usize,
    /// The rows, by UUID.
    pub rows: Vec<RowChange>,
}

/// The changed rows of a transaction, by table.
#[derive(Clone, Debug)]
pub struct Delta {
    schema: Arc<Schema>,
    /// Only tables with changes, in the order of the schema.
    pub tables: Vec<TableDelta>,
}

impl Delta {
    pub(crate) fn new(schema: Arc<Schema>, tables: Vec<TableDelta>) -> Delta {
        Delta { schema, tables }
    }

    /// The schema that gives the columns their names.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Nothing changed.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Number of rows changed.
    pub fn len(&self) -> usize {
        self.tables.iter().map(|table| table.rows.len()).sum()
    }

    /// The changes that are more than a change of columns that `ignored` names by table and column.
    pub fn without(&self, ignored: impl Fn(&str, &str) -> bool) -> Delta {
        let counts = |table: &TableSchema, row: &RowChange| {
            let names = |c: usize| table.columns.get(c).map(|c| c.name.as_str());
            let is_change = row.old.is_none() || row.new.is_none();
            // That the version differs says nothing by itself.
            let mut columns = row.changed.iter().filter_map(names);
            is_change || columns.any(|c| c != "_version" && !ignored(&table.name, c))
        };
        let tables = self.tables.iter().filter_map(|table| {
            let schema = self.schema.tables().get(table.table)?;
            let rows = table.rows.iter().filter(|r| counts(schema, r));
            let rows: Vec<RowChange> = rows.cloned().collect();
            (!rows.is_empty()).then_some(TableDelta {
                table: table.table,
                rows,
            })
        });
        Delta {
            schema: self.schema.clone(),
            tables: tables.collect(),
        }
    }

    /// The changes in the table called `name`.
    pub fn table(&self, name: &str) -> impl Iterator<Item = ChangeRef<'_>> {
        let wanted = self.schema.table_index(name);
        self.changes()
            .filter(move |change| Some(change.index) == wanted)
    }

    /// All changes.
    pub fn changes(&self) -> impl Iterator<Item = ChangeRef<'_>> {
        self.tables.iter().flat_map(move |table| {
            let schema = &self.schema.tables()[table.table];
            let index = table.table;
            table.rows.iter().map(move |change| ChangeRef {
                schema,
                index,
                change,
            })
        })
    }

    /// The net change of several deltas in order; a row that ends as it began is left out.
    pub fn merged<'a>(schema: &Arc<Schema>, deltas: impl Iterator<Item = &'a Delta>) -> Delta {
        type Ends = (Option<Arc<Row>>, Option<Arc<Row>>);
        let mut rows: BTreeMap<(usize, Uuid), Ends> = BTreeMap::new();
        for delta in deltas {
            for table in &delta.tables {
                for change in &table.rows {
                    rows.entry((table.table, change.uuid))
                        .and_modify(|ends| ends.1 = change.new.clone())
                        .or_insert_with(|| (change.old.clone(), change.new.clone()));
                }
            }
        }
        let mut tables: Vec<TableDelta> = Vec::new();
        for ((table, _), (old, new)) in rows {
            let Some(change) = RowChange::between(&schema.tables()[table], old, new) else {
                continue;
            };
            match tables.last_mut() {
                Some(last) if last.table == table => last.rows.push(change),
                _ => tables.push(TableDelta {
                    table,
                    rows: vec![change],
                }),
            }
        }
        Delta {
            schema: schema.clone(),
            tables,
        }
    }
}

/// A change together with its table's schema.
#[derive(Clone, Copy, Debug)]
pub struct ChangeRef<'a> {
    schema: &'a TableSchema,
    index: usize,
    change: &'a RowChange,
}

impl<'a> ChangeRef<'a> {
    /// The row.
    pub fn uuid(&self) -> Uuid {
        self.change.uuid
    }

    /// The table.
    pub fn table(&self) -> &'a TableSchema {
        self.schema
    }

    /// The row before; `None` if it was inserted.
    pub fn before(&self) -> Option<RowRef<'a>> {
        self.change
            .old
            .as_ref()
            .map(|row| RowRef::new(self.schema, row))
    }

    /// The row after; `None` if it was deleted.
    pub fn after(&self) -> Option<RowRef<'a>> {
        self.change
            .new
            .as_ref()
            .map(|row| RowRef::new(self.schema, row))
    }

    /// Whether the column called `name` has another value than before; true for all columns of a row
    /// that was inserted or deleted.
    pub fn changed(&self, name: &str) -> bool {
        match (&self.change.old, &self.change.new) {
            (Some(_), Some(_)) => self
                .schema
                .column(name)
                .is_some_and(|(index, _)| self.change.changed.contains(index)),
            _ => true,
        }
    }
}
