//! Monitors: which changes a client is told of, and in which of three forms (RFC 7047 section 4.1.5 and
//! Open vSwitch's `monitor_cond` and `monitor_cond_since`).
//!
//! The clauses of a monitor's `where` are joined by "or"; a row that begins to match is told as inserted,
//! one that ceases to match as deleted.
//!
//! What is monitored, [`Spec`], is shared by monitors that ask for the same, of whatever sessions: a
//! change is turned into text once for all of them.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::condition::Condition;
use crate::database::{Database, Delta, RowChange, Table};
use crate::error::{kind, OvsdbError, Result};
use crate::parser::Parser;
use crate::row::{Row, RowRef};
use crate::schema::{Schema, TableSchema, UUID_COLUMN};
use crate::transaction::columns_from_json;
use crate::uuid::Uuid;

/// The form of updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `monitor`: "update" with whole old and new rows.
    Update,
    /// `monitor_cond`: "update2" with differences.
    Update2,
    /// `monitor_cond_since`: "update3", differences with the identifier of the transaction.
    Update3,
}

/// Kinds of changes that a client wants to see of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Select {
    initial: bool,
    insert: bool,
    delete: bool,
    modify: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Insert,
    Delete,
    Modify,
}

impl Select {
    const NOTHING: Select = Select {
        initial: false,
        insert: false,
        delete: false,
        modify: false,
    };

    /// What either of both asks for.
    fn or(self, other: Select) -> Select {
        Select {
            initial: self.initial || other.initial,
            insert: self.insert || other.insert,
            delete: self.delete || other.delete,
            modify: self.modify || other.modify,
        }
    }

    fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::Insert => self.insert,
            Kind::Delete => self.delete,
            Kind::Modify => self.modify,
        }
    }
}

/// What is monitored of one table.
#[derive(Clone, Debug, PartialEq)]
struct MonitoredTable {
    table: usize,
    /// What some request asks for: also one without columns, which is told which rows there are.
    select: Select,
    columns: Vec<(usize, Select)>,
    condition: Condition,
}

/// A monitor of a session.
#[derive(Clone, Debug)]
pub(super) struct Monitor {
    /// The client's name for it.
    pub(super) id: Value,
    pub(super) spec: Arc<Spec>,
}

/// What is monitored and how it is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spec {
    /// Index of the database.
    pub(super) database: usize,
    pub(super) form: Form,
    tables: Vec<MonitoredTable>,
}

impl Monitor {
    /// The notification that carries an update, whose text is `update`.
    pub(super) fn notification(&self, update: &str, last_txn: Uuid) -> String {
        let id = &self.id;
        match self.spec.form {
            Form::Update => format!(r#"{{"id":null,"method":"update","params":[{id},{update}]}}"#),
            Form::Update2 => {
                format!(r#"{{"id":null,"method":"update2","params":[{id},{update}]}}"#)
            }
            Form::Update3 => {
                format!(r#"{{"id":null,"method":"update3","params":[{id},"{last_txn}",{update}]}}"#)
            }
        }
    }
}

impl Spec {
    /// Reads the `<monitor-requests>`.
    pub(super) fn from_json(
        database: usize,
        form: Form,
        schema: &Schema,
        json: &Value,
    ) -> Result<Spec> {
        let requests = json
            .as_object()
            .ok_or_else(|| OvsdbError::syntax(json, "monitor-requests must be object"))?;
        let mut tables = Vec::with_capacity(requests.len());
        for (name, json) in requests {
            let unknown = || OvsdbError::new(kind::SYNTAX, format!("no table named {name}"));
            let table = schema.table_index(name).ok_or_else(unknown)?;
            let mut monitored = MonitoredTable {
                table,
                select: Select::NOTHING,
                columns: Vec::new(),
                condition: Condition::default(),
            };
            let several = json.as_array().map(Vec::as_slice);
            for request in several.unwrap_or(std::slice::from_ref(json)) {
                monitored.add(request, form, &schema.tables()[table])?;
            }
            tables.push(monitored);
        }
        Ok(Spec {
            database,
            form,
            tables,
        })
    }

    /// The rows that are there when the monitor begins, as text: with many rows it is the largest of all answers, and what a
    /// client like ovs-vsctl waits for.
    pub(super) fn initial(&self, db: &Database) -> String {
        let tables = || {
            let all = db.tables().enumerate();
            all.filter_map(|(index, table)| {
                let monitored = self.tables.iter().find(|m| m.table == index)?;
                let mut seen = monitored.initial_rows(&table);
                seen.next()?;
                let rows = move || {
                    let all = monitored.initial_rows(&table);
                    all.map(move |row| (row.uuid(), monitored.initial(self.form, row)))
                };
                Some((&table.schema().name, Object(rows)))
            })
        };
        serde_json::to_string(&Object(tables)).expect("invariant: rows are JSON")
    }

    /// What the change means to this monitor; `None` if nothing.
    pub(super) fn update(&self, delta: &Delta) -> Option<Value> {
        let mut update = Map::new();
        for changes in &delta.tables {
            let Some(monitored) = self.tables.iter().find(|m| m.table == changes.table) else {
                continue;
            };
            let schema = &delta.schema().tables()[changes.table];
            let rows: Map<String, Value> = changes
                .rows
                .iter()
                .filter_map(|change| {
                    Some((
                        change.uuid.to_string(),
                        monitored.change(self.form, schema, change)?,
                    ))
                })
                .collect();
            if !rows.is_empty() {
                update.insert(schema.name.clone(), Value::Object(rows));
            }
        }
        (!update.is_empty()).then_some(Value::Object(update))
    }

    /// Changes conditions; returns what that shows and hides, `None` if nothing.
    pub(super) fn change_conditions(
        &mut self,
        db: &Database,
        json: &Value,
    ) -> Result<Option<Value>> {
        let wrong = || OvsdbError::syntax(json, "monitor-cond-change-requests must be object");
        let mut changed = Vec::new();
        for (name, requests) in json.as_object().ok_or_else(wrong)? {
            let unknown = || {
                OvsdbError::new(
                    kind::SYNTAX,
                    format!("no table named {name} in monitor session"),
                )
            };
            let table = db.table(name).ok_or_else(unknown)?;
            let index = db.schema().table_index(name);
            let position = self
                .tables
                .iter()
                .position(|monitored| Some(monitored.table) == index);
            let position = position.ok_or_else(unknown)?;
            let not_array = || {
                let details = format!("table {name} no monitor-cond-change JSON array");
                OvsdbError::new(kind::SYNTAX, details)
            };
            let mut condition = Condition::default();
            for request in requests.as_array().ok_or_else(not_array)? {
                let mut parser = Parser::new(request, format!("table {name}"));
                let clauses = parser.optional("where", Some);
                parser.finish()?;
                if let Some(clauses) = clauses {
                    let clauses = Condition::from_json(clauses, table.schema(), None)?.clauses;
                    condition.clauses.extend(clauses);
                }
            }
            changed.push((position, table, condition));
        }
        let mut update = Map::new();
        for (position, table, condition) in changed {
            let monitored = &mut self.tables[position];
            let before = std::mem::replace(&mut monitored.condition, condition);
            let mut rows = Map::new();
            for row in table.rows() {
                let was = before.matches_any(row.row()).then_some(&**row.row());
                let is = monitored
                    .condition
                    .matches_any(row.row())
                    .then_some(&**row.row());
                let json = match (was, is) {
                    (None, Some(_)) => {
                        monitored.row(self.form, table.schema(), Kind::Insert, None, is)
                    }
                    (Some(_), None) => {
                        monitored.row(self.form, table.schema(), Kind::Delete, was, None)
                    }
                    _ => None,
                };
                rows.extend(json.map(|json| (row.uuid().to_string(), json)));
            }
            if !rows.is_empty() {
                update.insert(table.schema().name.clone(), Value::Object(rows));
            }
        }
        Ok((!update.is_empty()).then_some(Value::Object(update)))
    }
}

impl MonitoredTable {
    /// Adds one `<monitor-request>`.
    fn add(&mut self, json: &Value, form: Form, schema: &TableSchema) -> Result<()> {
        let name = &schema.name;
        let mut parser = Parser::new(json, format!("table {name}"));
        let columns = parser.optional("columns", Some);
        let select = parser.optional("select", Some);
        let condition = match form {
            Form::Update => None,
            Form::Update2 | Form::Update3 => parser.optional("where", Some),
        };
        parser.finish()?;
        let select = select_from_json(select, name)?;
        self.select = self.select.or(select);
        let named = columns_from_json(columns, schema)?;
        for column in named {
            if columns.is_none() && column == UUID_COLUMN {
                continue;
            }
            if self.columns.iter().any(|(have, _)| *have == column) {
                let details = format!(
                    "column {} mentioned more than once",
                    schema.columns[column].name
                );
                return Err(OvsdbError::new(kind::SYNTAX, details).at(json));
            }
            self.columns.push((column, select));
        }
        if let Some(condition) = condition {
            let clauses = Condition::from_json(condition, schema, None)?.clauses;
            self.condition.clauses.extend(clauses);
        }
        Ok(())
    }

    /// What a changed row means to the monitor.
    fn change(&self, form: Form, schema: &TableSchema, change: &RowChange) -> Option<Value> {
        let seen = |row: &&Row| self.condition.matches_any(row);
        let old = change.old.as_deref().filter(seen);
        let new = change.new.as_deref().filter(seen);
        let kind = match (old, new) {
            (None, None) => return None,
            (None, Some(_)) => Kind::Insert,
            (Some(_), None) => Kind::Delete,
            (Some(_), Some(_)) => {
                let visible = |(column, select): &(usize, Select)| {
                    select.modify && change.changed.contains(*column)
                };
                if !self.columns.iter().any(visible) {
                    return None;
                }
                Kind::Modify
            }
        };
        self.row(form, schema, kind, old, new)
    }

    /// The rows that are told when the monitor begins.
    fn initial_rows<'a>(&'a self, table: &Table<'a>) -> impl Iterator<Item = RowRef<'a>> {
        let wanted = self.select.initial;
        let seen = move |row: &RowRef<'_>| wanted && self.condition.matches_any(row.row());
        table.rows().filter(seen)
    }

    /// The `<row-update>` of a row that is there when the monitor begins.
    fn initial<'a>(&'a self, form: Form, row: RowRef<'a>) -> impl Serialize + 'a {
        let columns = move || {
            let wanted = self.columns.iter().filter(|(_, select)| select.initial);
            wanted.filter_map(move |&(index, _)| {
                let (column, datum) = (&row.table().columns[index], row.row().column(index));
                let told = form == Form::Update || !column.ty.is_default(datum);
                told.then_some((&column.name, datum))
            })
        };
        let kind = match form {
            Form::Update => "new",
            Form::Update2 | Form::Update3 => "initial",
        };
        Object(move || std::iter::once((kind, Object(columns))))
    }

    /// The `<row-update>`; `None` if the client does not want this kind of change.
    fn row(
        &self,
        form: Form,
        schema: &TableSchema,
        kind: Kind,
        old: Option<&Row>,
        new: Option<&Row>,
    ) -> Option<Value> {
        if !self.select.has(kind) {
            return None;
        }
        let wanted = || {
            self.columns
                .iter()
                .filter(|(_, select)| select.has(kind))
                .map(|(c, _)| *c)
        };
        let differs = |column: &usize| match (old, new) {
            (Some(old), Some(new)) => old.column(*column) != new.column(*column),
            _ => true,
        };
        if form == Form::Update {
            let mut object = Map::new();
            if let Some(old) = old {
                object.insert("old".into(), old.to_json(schema, wanted().filter(differs)));
            }
            if let Some(new) = new {
                object.insert("new".into(), new.to_json(schema, wanted()));
            }
            return Some(Value::Object(object));
        }
        Some(match (kind, old, new) {
            (Kind::Delete, _, _) | (_, _, None) => object("delete", Value::Null),
            (Kind::Modify, Some(old), Some(new)) => object(
                "modify",
                difference(schema, old, new, wanted().filter(differs)),
            ),
            (_, _, Some(new)) => {
                let set =
                    |column: &usize| !schema.columns[*column].ty.is_default(new.column(*column));
                object("insert", new.to_json(schema, wanted().filter(set)))
            }
        })
    }
}

/// An object of these members.
struct Object<F>(F);

impl<F, I, K, V> Serialize for Object<F>
where
    F: Fn() -> I,
    I: Iterator<Item = (K, V)>,
    K: Serialize,
    V: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
}

fn object(key: &str, value: Value) -> Value {
    Value::Object(std::iter::once((key.to_owned(), value)).collect())
}

/// The columns' changes: differences where several values are possible, new values otherwise.
fn difference(
    schema: &TableSchema,
    old: &Row,
    new: &Row,
    columns: impl Iterator<Item = usize>,
) -> Value {
    let column = |index: usize| {
        let (column, new) = (&schema.columns[index], new.column(index));
        let json = match column.ty.is_composite() {
            true => old.column(index).difference(new).to_json(),
            false => new.to_json(),
        };
        (column.name.clone(), json)
    };
    Value::Object(columns.map(column).collect())
}

fn select_from_json(json: Option<&Value>, table: &str) -> Result<Select> {
    let Some(json) = json else {
        return Ok(Select {
            initial: true,
            insert: true,
            delete: true,
            modify: true,
        });
    };
    let mut parser = Parser::new(json, format!("table {table} select"));
    let mut flag = |name| parser.optional(name, Value::as_bool).unwrap_or(true);
    let select = Select {
        initial: flag("initial"),
        insert: flag("insert"),
        delete: flag("delete"),
        modify: flag("modify"),
    };
    parser.finish()?;
    Ok(select)
}
