//! The database as it would be after the commands so far: a replica of the server's, and the changes of this transaction.
//!
//! Commands read and write the draft, so that `add-br br0 -- add-port br0 p -- set interface p ...` works in one
//! transaction. Every column that is changed is verified to be what it was when the commands read it; if somebody was
//! faster the whole is done again on a fresh replica.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use rvs_ovsdb::client::Operations;
use rvs_ovsdb::database::Database;
use rvs_ovsdb::schema::{ColumnSchema, TableSchema};
use rvs_ovsdb::value::{Atom, Datum};
use rvs_ovsdb::{Uuid, UuidGenerator};

use crate::failure::Failure;

/// A row: its table's name and its UUID.
pub type RowId = (String, Uuid);

pub struct Draft<'a> {
    replica: &'a Database,
    changed: BTreeMap<RowId, BTreeMap<String, Datum>>,
    inserted: Vec<RowId>,
    /// The same rows, to be asked for one.
    is_new: BTreeSet<Uuid>,
    deleted: BTreeSet<RowId>,
    /// Rows that `--id=@name` names.
    symbols: HashMap<String, Uuid>,
    operations: Operations,
    /// Rows that have or had a name, by table; made when the first is looked for.
    names: RefCell<HashMap<String, HashMap<String, Vec<Uuid>>>>,
}

impl<'a> Draft<'a> {
    pub fn new(replica: &'a Database, uuids: UuidGenerator) -> Self {
        Self {
            replica,
            changed: BTreeMap::new(),
            inserted: Vec::new(),
            is_new: BTreeSet::new(),
            deleted: BTreeSet::new(),
            symbols: HashMap::new(),
            operations: Operations::new(uuids),
            names: RefCell::default(),
        }
    }

    /// The table that `name` means: in any case, `-` for `_`, and shortened as long as it is one.
    pub fn table(&self, name: &str) -> Result<&TableSchema, Failure> {
        let tables = self.replica.schema().tables();
        pick(tables.iter(), |t| &t.name, name)
            .map_err(|names| Failure::Usage(format!("no table {name} (tables: {names})")))
    }

    /// The column that `name` means, by the same rules.
    pub fn column(&self, table: &str, name: &str) -> Result<ColumnSchema, Failure> {
        let table = self.table(table)?;
        pick(table.columns.iter(), |c| &c.name, name)
            .cloned()
            .map_err(|names| {
                Failure::Usage(format!(
                    "table {} has no column {name} (columns: {names})",
                    table.name
                ))
            })
    }

    /// Every row of a table, ascending, new ones last.
    pub fn rows(&self, table: &str) -> Vec<Uuid> {
        let old = self
            .replica
            .table(table)
            .into_iter()
            .flat_map(|t| t.rows().map(|r| r.uuid()).collect::<Vec<_>>());
        let new = self
            .inserted
            .iter()
            .filter(|(t, _)| t == table)
            .map(|(_, u)| *u);
        old.chain(new)
            .filter(|u| !self.deleted.contains(&(table.to_owned(), *u)))
            .collect()
    }

    /// The value of a column as it would be.
    pub fn get(&self, table: &str, row: Uuid, column: &str) -> Datum {
        if column == "_uuid" {
            return Datum::scalar(row);
        }
        let id = (table.to_owned(), row);
        if let Some(value) = self.changed.get(&id).and_then(|c| c.get(column)) {
            return value.clone();
        }
        if let Some(value) = self.stored(table, row, column) {
            return value;
        }
        let default = self
            .table(table)
            .ok()
            .and_then(|t| t.column(column))
            .map(|(_, c)| c.ty.default_datum());
        default.unwrap_or_else(|| Datum::set(Vec::<Atom>::new()))
    }

    fn stored(&self, table: &str, row: Uuid, column: &str) -> Option<Datum> {
        self.replica.table(table)?.row(row)?.get(column).cloned()
    }

    /// Sets a column. What is as it was is no change.
    pub fn set(&mut self, table: &str, row: Uuid, column: &str, value: Datum) {
        if let ("name", Some(Atom::String(name))) = (column, value.as_scalar()) {
            if let Some(names) = self.names.get_mut().get_mut(table) {
                names.entry(name.to_string()).or_default().push(row);
            }
        }
        let id = (table.to_owned(), row);
        if self.stored(table, row, column).as_ref() != Some(&value) {
            let columns = self.changed.entry(id).or_default();
            columns.insert(column.to_owned(), value);
        } else if let Some(columns) = self.changed.get_mut(&id) {
            columns.remove(column);
            if columns.is_empty() {
                self.changed.remove(&id);
            }
        }
    }

    pub fn insert(&mut self, table: &str) -> Uuid {
        let uuid = self.operations.reserve();
        self.insert_row(table, uuid);
        uuid
    }

    /// Inserts a row under a UUID that its user has chosen.
    pub fn insert_as(&mut self, table: &str, uuid: Uuid) -> Result<(), Failure> {
        if self.rows(table).contains(&uuid) || self.is_new(uuid) {
            return Err(Failure::Refused(format!("there is a row {uuid} already")));
        }
        self.operations.choose(uuid);
        self.insert_row(table, uuid);
        Ok(())
    }

    /// Whether the row is one of this transaction.
    pub fn is_new(&self, row: Uuid) -> bool {
        self.is_new.contains(&row)
    }

    fn insert_row(&mut self, table: &str, uuid: Uuid) {
        self.inserted.push((table.to_owned(), uuid));
        self.is_new.insert(uuid);
        self.changed.entry((table.to_owned(), uuid)).or_default();
    }

    pub fn delete(&mut self, table: &str, row: Uuid) {
        let id = (table.to_owned(), row);
        self.changed.remove(&id);
        if let Some(i) = self.inserted.iter().position(|r| *r == id) {
            self.inserted.remove(i);
            self.is_new.remove(&row);
        } else {
            self.deleted.insert(id);
        }
    }

    /// The row that `@name` means; a name that a later command gives gets its row now.
    pub fn symbol(&mut self, name: &str) -> Uuid {
        let operations = &mut self.operations;
        *self
            .symbols
            .entry(name.to_owned())
            .or_insert_with(|| operations.reserve())
    }

    /// Lets `@name` mean a row that is there.
    ///
    /// # Errors
    /// When the name means something else already.
    pub fn name(&mut self, name: &str, row: Uuid) -> Result<(), Failure> {
        let name = name.trim_start_matches('@').to_owned();
        match *self.symbols.entry(name.clone()).or_insert(row) {
            meant if meant == row => Ok(()),
            _ => Err(Failure::Usage(format!(
                "@{name} is used before --id gives it, or twice"
            ))),
        }
    }

    /// The row inserted under a symbol that was mentioned before.
    pub fn insert_named(&mut self, table: &str, symbol: &str) -> Result<Uuid, Failure> {
        let uuid = self.symbol(symbol);
        if self.is_new(uuid) || !self.operations.is_reserved(uuid) {
            return Err(Failure::Usage(format!("@{symbol} is given to two rows")));
        }
        self.insert_row(table, uuid);
        Ok(uuid)
    }

    /// The row of `table` that `@name` means, if a command before has named one.
    pub fn named(&self, table: &str, name: &str) -> Option<Uuid> {
        let uuid = *self.symbols.get(name)?;
        self.rows(table).contains(&uuid).then_some(uuid)
    }

    /// References in a set column.
    pub fn refs(&self, table: &str, row: Uuid, column: &str) -> Vec<Uuid> {
        self.get(table, row, column)
            .keys()
            .filter_map(Atom::as_uuid)
            .collect()
    }

    pub fn text(&self, table: &str, row: Uuid, column: &str) -> String {
        self.get(table, row, column)
            .as_scalar()
            .and_then(|a| a.as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    /// The value of a column with an integer or none.
    pub fn integer(&self, table: &str, row: Uuid, column: &str) -> Option<i64> {
        self.get(table, row, column)
            .as_scalar()
            .and_then(Atom::as_i64)
    }

    /// The value of a column with a boolean.
    pub fn flag(&self, table: &str, row: Uuid, column: &str) -> bool {
        self.get(table, row, column).as_scalar() == Some(&Atom::Boolean(true))
    }

    /// The row whose column has this text.
    pub fn find(&self, table: &str, column: &str, text: &str) -> Option<Uuid> {
        let is = |row: &Uuid| self.text(table, *row, column) == text;
        if column != "name" {
            return self.rows(table).into_iter().find(is);
        }
        let mut names = self.names.borrow_mut();
        if !names.contains_key(table) {
            let mut all: HashMap<String, Vec<Uuid>> = HashMap::new();
            for row in self.rows(table) {
                all.entry(self.text(table, row, "name"))
                    .or_default()
                    .push(row);
            }
            names.insert(table.to_owned(), all);
        }
        let rows = names.get(table)?.get(text)?.iter();
        rows.copied()
            .find(|row| self.exists(table, *row) && is(row))
    }

    fn exists(&self, table: &str, row: Uuid) -> bool {
        let id = (table.to_owned(), row);
        let stored = self
            .replica
            .table(table)
            .is_some_and(|t| t.row(row).is_some());
        (stored || self.changed.contains_key(&id)) && !self.deleted.contains(&id)
    }

    /// Adds to or takes from a set of references.
    pub fn link(&mut self, table: &str, row: Uuid, column: &str, target: Uuid, present: bool) {
        let mut set: BTreeSet<Uuid> = self.refs(table, row, column).into_iter().collect();
        if present {
            set.insert(target);
        } else {
            set.remove(&target);
        }
        self.set(table, row, column, Datum::set(set));
    }

    /// The one row of table Open_vSwitch.
    pub fn root(&self) -> Result<Uuid, Failure> {
        let found = self.rows("Open_vSwitch").first().copied();
        found.ok_or_else(|| {
            Failure::Refused("the database has no row in table Open_vSwitch".to_owned())
        })
    }

    /// Makes that row if the database is empty.
    pub fn initialize(&mut self) {
        if self.rows("Open_vSwitch").is_empty() {
            self.insert("Open_vSwitch");
        }
    }

    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty() || self.deleted.iter().any(|(t, _)| self.is_deletable(t))
    }

    /// Rows of other tables go by themselves when nothing refers to them, and stay as long as something does.
    fn is_deletable(&self, table: &str) -> bool {
        self.table(table).is_ok_and(|t| t.is_root)
    }

    /// Rows inserted in this table.
    pub fn inserted(&self, table: &str) -> Vec<Uuid> {
        self.inserted
            .iter()
            .filter(|(t, _)| t == table)
            .map(|(_, u)| *u)
            .collect()
    }

    /// The transaction, with everything changed verified first; `words` say in the database's log what it is for.
    pub fn into_operations(mut self, bump: bool, words: &str) -> Result<Operations, Failure> {
        let root = self.root()?;
        self.check_symbols()?;
        for ((table, row), columns) in &self.changed {
            if self.is_new.contains(row) {
                continue;
            }
            let old: Vec<(&str, Datum)> = columns
                .keys()
                .filter_map(|c| {
                    self.replica
                        .table(table)?
                        .row(*row)?
                        .get(c)
                        .cloned()
                        .map(|d| (c.as_str(), d))
                })
                .collect();
            self.operations.verify(table, *row, old);
        }
        for (table, row) in &self.inserted {
            let columns = self
                .changed
                .get(&(table.clone(), *row))
                .cloned()
                .unwrap_or_default();
            let columns = columns.iter().map(|(c, d)| (c.as_str(), d.clone()));
            self.operations.insert_as(*row, table, columns);
        }
        for ((table, row), columns) in &self.changed {
            if !self.is_new.contains(row) {
                self.operations.update(
                    table,
                    *row,
                    columns.iter().map(|(c, d)| (c.as_str(), d.clone())),
                );
            }
        }
        for (table, row) in &self.deleted {
            if self.is_deletable(table) {
                self.operations.delete(table, *row);
            }
        }
        self.operations.comment(words);
        if bump {
            self.operations.bump_next_cfg(root);
        }
        Ok(self.operations)
    }

    /// Every `@name` that is mentioned has to be given to a row.
    fn check_symbols(&self) -> Result<(), Failure> {
        let unknown = |(_, uuid): &(&String, &Uuid)| {
            self.operations.is_reserved(**uuid) && !self.is_new.contains(uuid)
        };
        match self.symbols.iter().find(unknown) {
            None => Ok(()),
            Some((name, _)) => Err(Failure::Usage(format!(
                "@{name} is mentioned, and no command gives it to a row (--id=@{name} create ...)"
            ))),
        }
    }
}

/// The one item whose name is `wanted`, or begins with it and is alone in that. The error lists all names.
fn pick<'t, T>(
    items: impl Iterator<Item = &'t T> + Clone,
    name: impl Fn(&T) -> &String,
    wanted: &str,
) -> Result<&'t T, String> {
    let plain = |s: &str| s.to_ascii_lowercase().replace('-', "_");
    let wanted = plain(wanted);
    if let Some(exact) = items.clone().find(|i| plain(name(i)) == wanted) {
        return Ok(exact);
    }
    let mut shortened = items
        .clone()
        .filter(|i| plain(name(i)).starts_with(&wanted));
    match (shortened.next(), shortened.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(items
            .map(|i| name(i).as_str())
            .filter(|n| !n.starts_with('_'))
            .collect::<Vec<_>>()
            .join(", ")),
    }
}
