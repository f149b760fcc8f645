//! The checks at commit, in the order in which Open vSwitch makes them: references, garbage collection,
//! weak references, row limits, indexes.

use std::collections::HashMap;
use std::sync::Arc;

use super::{index_key, strong_changes, weak_changes, Delta, RowChange, RowId, TableDelta, Txn};
use crate::error::{kind, OvsdbError, Result};
use crate::row::Row;
use crate::uuid::{Uuid, UuidGenerator};
use crate::value::{Atom, Datum};

/// A transaction that may be applied: nothing in it can fail any more.
#[derive(Debug)]
pub struct Prepared {
    /// The change; empty if the transaction changed nothing.
    pub delta: Delta,
    /// By how much the number of strong references to a row changes.
    pub(super) strong: HashMap<RowId, isize>,
}

impl Prepared {
    /// A change that a server has already checked.
    pub(crate) fn unchecked(delta: Delta) -> Prepared {
        Prepared {
            delta,
            strong: HashMap::new(),
        }
    }
}

impl Txn<'_> {
    /// Ends the transaction: checks it as a whole and gives each changed row a new version.
    ///
    /// # Errors
    /// "referential integrity violation" or "constraint violation"; nothing has changed then.
    pub fn prepare(mut self, uuids: &mut UuidGenerator) -> Result<Prepared> {
        self.forget_unchanged();
        if self.touched.iter().all(|rows| rows.is_empty()) {
            let delta = Delta::new(self.db.schema.clone(), Vec::new());
            return Ok(Prepared {
                delta,
                strong: HashMap::new(),
            });
        }
        let mut strong = References::default();
        self.count_references(&mut strong)?;
        self.collect_garbage(&mut strong);
        while self.prune_weak(&mut strong)? {
            self.collect_garbage(&mut strong);
        }
        self.check_max_rows()?;
        self.check_indexes()?;
        Ok(Prepared {
            delta: self.into_delta(uuids),
            strong: strong.counts,
        })
    }

    fn forget_unchanged(&mut self) {
        for rows in &mut self.touched {
            rows.retain(|_, row| match (&row.old, &row.new) {
                (Some(old), Some(new)) => old.as_ref() != new,
                (None, None) => false,
                _ => true,
            });
        }
    }

    fn count_references(&self, strong: &mut References) -> Result<()> {
        let mut first_error = None;
        for (table, rows) in self.touched.iter().enumerate() {
            let schema = &self.db.schema.tables()[table];
            for (uuid, row) in rows {
                strong_changes(
                    schema,
                    row.old.as_deref(),
                    row.new.as_ref(),
                    |to, by, column| {
                        if by > 0 && !self.is_taken(to.0, to.1) {
                            first_error.get_or_insert_with(|| {
                            format!(
                                "Table {} column {} row {uuid} references nonexistent row {} in table {}.",
                                schema.name,
                                schema.columns[column].name,
                                to.1,
                                self.db.schema.tables()[to.0].name
                            )
                        });
                        }
                        strong.add(to, by);
                    },
                );
            }
        }
        if let Some(details) = first_error {
            return Err(OvsdbError::new(kind::REFERENTIAL, details));
        }
        for (table, rows) in self.touched.iter().enumerate() {
            for (&uuid, row) in rows {
                let references = self.strong_count((table, uuid), strong);
                if row.new.is_none() && references > 0 {
                    let name = &self.db.schema.tables()[table].name;
                    let details = format!(
                        "cannot delete {name} row {uuid} because of {references} remaining reference(s)"
                    );
                    return Err(OvsdbError::new(kind::REFERENTIAL, details));
                }
            }
        }
        Ok(())
    }

    /// References to a row at the end of the transaction as far as it is known.
    fn strong_count(&self, row: RowId, strong: &References) -> isize {
        let before = self.db.tables[row.0]
            .rows
            .get(&row.1)
            .map_or(0, |slot| slot.strong);
        isize::try_from(before).unwrap_or(isize::MAX)
            + strong.counts.get(&row).copied().unwrap_or(0)
    }

    /// Deletes the non-root rows that nothing refers to, among those inserted and those that lost a
    /// reference, and then what those referred to.
    fn collect_garbage(&mut self, strong: &mut References) {
        let db = self.db;
        let mut suspects: Vec<RowId> = std::mem::take(&mut strong.suspects);
        for (table, rows) in self.touched.iter().enumerate() {
            suspects.extend(
                rows.iter()
                    .filter(|(_, r)| r.old.is_none())
                    .map(|(&uuid, _)| (table, uuid)),
            );
        }
        while let Some((table, uuid)) = suspects.pop() {
            let schema = &db.schema.tables()[table];
            if schema.is_root || self.strong_count((table, uuid), strong) > 0 {
                continue;
            }
            let Some(row) = self.row_mut(table, uuid).map(|row| row.clone()) else {
                continue;
            };
            self.delete(table, uuid);
            strong_changes(schema, Some(&row), None, |to, by, _| strong.add(to, by));
            suspects.append(&mut strong.suspects);
        }
        for rows in &mut self.touched {
            rows.retain(|_, row| row.old.is_some() || row.new.is_some());
        }
    }

    /// Drops weak references to rows that do not exist at the end of the transaction. Returns whether
    /// that also dropped strong references, which a map from weak to strong ones can do.
    fn prune_weak(&mut self, strong: &mut References) -> Result<bool> {
        let mut dangling: Vec<RowId> = Vec::new();
        for (table, rows) in self.touched.iter().enumerate() {
            let schema = &self.db.schema.tables()[table];
            for (&uuid, row) in rows {
                if row.new.is_none() {
                    let slot = self.db.tables[table].rows.get(&uuid);
                    dangling.extend(slot.iter().flat_map(|slot| slot.weak.keys()));
                }
                let mut broken = false;
                weak_changes(schema, row.old.as_deref(), row.new.as_ref(), |to, added| {
                    broken |= added && self.row(to.0, to.1).is_none();
                });
                if broken {
                    dangling.push((table, uuid));
                }
            }
        }
        dangling.sort_unstable();
        dangling.dedup();
        let mut lost_strong = false;
        for (table, uuid) in dangling {
            lost_strong |= self.prune_row(table, uuid, strong)?;
        }
        Ok(lost_strong)
    }

    fn prune_row(&mut self, table: usize, uuid: Uuid, strong: &mut References) -> Result<bool> {
        let schema = &self.db.schema.tables()[table];
        let Some(row) = self.row(table, uuid) else {
            return Ok(false);
        };
        let mut pruned = row.clone();
        for &column in &schema.weak_columns {
            let ty = &schema.columns[column].ty;
            let alive = |base: &crate::schema::BaseType, atom: &Atom| match base.reference() {
                Some(to) if to.weak => atom
                    .as_uuid()
                    .is_none_or(|to_uuid| self.row(to.index, to_uuid).is_some()),
                _ => true,
            };
            let before = row.column(column).len();
            let datum = pruned.column_mut(column);
            match datum {
                Datum::Set(atoms) => atoms.retain(|atom| alive(&ty.key, atom)),
                Datum::Map(pairs) => pairs.retain(|(k, v)| {
                    alive(&ty.key, k) && ty.value.as_ref().is_none_or(|base| alive(base, v))
                }),
            }
            if datum.len() < ty.min as usize && datum.len() < before {
                let details = format!(
                    "Deletion of {} weak reference(s) to deleted (or never-existing) rows from column \
                     \"{}\" in \"{}\" row {uuid} would leave fewer values than the column must have.",
                    before - datum.len(),
                    schema.columns[column].name,
                    schema.name
                );
                return Err(OvsdbError::new(kind::CONSTRAINT, details));
            }
        }
        let suspects = strong.suspects.len();
        strong_changes(schema, Some(row), Some(&pruned), |to, by, _| {
            strong.add(to, by)
        });
        if let Some(row) = self.row_mut(table, uuid) {
            *row = pruned;
        }
        Ok(strong.suspects.len() > suspects)
    }

    fn check_max_rows(&self) -> Result<()> {
        for (table, rows) in self.touched.iter().enumerate() {
            let schema = &self.db.schema.tables()[table];
            let Some(max) = schema.max_rows else { continue };
            let gone = rows.values().filter(|row| row.new.is_none()).count();
            let come = rows.values().filter(|row| row.old.is_none()).count();
            let count = self.db.tables[table].rows.len() + come - gone;
            if count > max as usize {
                return Err(OvsdbError::new(
                    kind::CONSTRAINT,
                    format!(
                        "transaction causes \"{}\" table to contain {count} rows, greater than the \
                         schema-defined limit of {max} row(s)",
                        schema.name
                    ),
                ));
            }
        }
        Ok(())
    }

    fn check_indexes(&self) -> Result<()> {
        for (table, rows) in self.touched.iter().enumerate() {
            let schema = &self.db.schema.tables()[table];
            let data = &self.db.tables[table];
            for (columns, index) in schema.indexes.iter().zip(&data.indexes) {
                let mut seen: HashMap<Vec<Datum>, Uuid> = HashMap::new();
                for (&uuid, row) in rows {
                    let Some(new) = &row.new else { continue };
                    let key = index_key(new, columns);
                    let stays = |other: &&Uuid| **other != uuid && !rows.contains_key(other);
                    let other = seen.get(&key).or_else(|| index.get(&key).filter(stays));
                    if let Some(&other) = other {
                        return Err(self.duplicate(table, columns, new, other));
                    }
                    seen.insert(key, uuid);
                }
            }
        }
        Ok(())
    }

    fn duplicate(&self, table: usize, columns: &[usize], row: &Row, other: Uuid) -> OvsdbError {
        let schema = &self.db.schema.tables()[table];
        let values: Vec<String> = columns
            .iter()
            .map(|&c| row.column(c).to_text(&schema.columns[c].ty))
            .collect();
        let names: Vec<String> = columns
            .iter()
            .map(|&c| format!("\"{}\"", schema.columns[c].name))
            .collect();
        let history = |uuid: Uuid| {
            match self.touched[table].get(&uuid) {
            None => {
                "existed in the database before this transaction and was not modified by the transaction"
            }
            Some(row) if row.old.is_none() => "was inserted by this transaction",
            Some(_) => "was modified by this transaction",
        }
        };
        let column = if columns.len() == 1 {
            "column"
        } else {
            "columns"
        };
        OvsdbError::new(
            kind::CONSTRAINT,
            format!(
                "Transaction causes multiple rows in \"{}\" table to have identical values ({}) for index \
                 on {column} {}.  First row, with UUID {}, {}.  Second row, with UUID {other}, {}.",
                schema.name,
                values.join(" and "),
                names.join(" and "),
                row.uuid(),
                history(row.uuid()),
                history(other),
            ),
        )
    }

    fn into_delta(self, uuids: &mut UuidGenerator) -> Delta {
        let schema = self.db.schema.clone();
        let mut tables = Vec::new();
        for (table, rows) in self.touched.into_iter().enumerate() {
            let mut changes = Vec::with_capacity(rows.len());
            for row in rows.into_values() {
                let new = row.new.map(|mut new| {
                    // Pruning may have undone the change.
                    if row.old.as_deref() != Some(&new) {
                        new.set_version(uuids.generate());
                    }
                    Arc::new(new)
                });
                changes.extend(RowChange::between(&schema.tables()[table], row.old, new));
            }
            if !changes.is_empty() {
                tables.push(TableDelta {
                    table,
                    rows: changes,
                });
            }
        }
        Delta::new(schema, tables)
    }
}

/// How the transaction changes the number of strong references to rows.
#[derive(Default)]
struct References {
    counts: HashMap<RowId, isize>,
    /// Rows that lost a reference and have not been looked at since.
    suspects: Vec<RowId>,
}

impl References {
    fn add(&mut self, to: RowId, by: isize) {
        *self.counts.entry(to).or_insert(0) += by;
        if by < 0 {
            self.suspects.push(to);
        }
    }
}
