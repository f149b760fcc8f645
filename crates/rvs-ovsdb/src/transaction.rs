//! The operations of `transact` (RFC 7047 section 5.2).
//!
//! [`execute`] runs the operations against a database it only reads and returns what to answer and what
//! to commit; the caller makes the commit durable and applies it. A `wait` that is not yet true makes the
//! whole transaction [`Outcome::Parked`]: it is to be run again when the database changes.

use std::collections::{BTreeSet, HashSet};

use serde_json::{json, Map, Value};

use crate::condition::Condition;
use crate::database::{Database, Prepared, Txn};
use crate::error::{kind, OvsdbError, Result};
use crate::mutation::Mutation;
use crate::parser::{id, string, Parser};
use crate::row::Row;
use crate::schema::{TableSchema, UUID_COLUMN, VERSION_COLUMN};
use crate::uuid::{Uuid, UuidGenerator};
use crate::value::{Datum, Symbols};

/// What a transaction is run with.
pub struct Environment<'a> {
    /// Whether the client owns a lock.
    pub owns_lock: &'a dyn Fn(&str) -> bool,
    /// Milliseconds since the transaction was received.
    pub waited: u64,
    /// Refuse operations that write.
    pub read_only: bool,
    /// Bytes of JSON that the results may take.
    pub max_result: usize,
}

/// How a transaction ended.
#[derive(Debug)]
pub enum Outcome {
    /// A `wait` is not true yet.
    Parked {
        /// Milliseconds since the transaction was received at which it times out; `None` is never.
        timeout: Option<u64>,
        /// Indices of the tables whose change may make it true.
        tables: Vec<usize>,
    },
    /// The results, and the commit unless an operation failed.
    Done {
        /// One result for each operation, null after the first error; one more if the commit failed.
        results: Vec<Value>,
        /// What to commit.
        commit: Option<Commit>,
    },
}

/// A transaction that succeeded and is not yet applied.
#[derive(Debug)]
pub struct Commit {
    /// The change.
    pub prepared: Prepared,
    /// The texts of its `comment` operations, joined by newlines.
    pub comment: Option<String>,
}

/// Why an operation ended early.
enum Stop {
    Error(OvsdbError),
    Park(Option<u64>),
}

impl From<OvsdbError> for Stop {
    fn from(error: OvsdbError) -> Stop {
        Stop::Error(error)
    }
}

/// Runs the operations of one transaction.
///
/// `uuids` gives the UUIDs of new rows and versions.
pub fn execute(
    db: &Database,
    operations: &[Value],
    uuids: &mut UuidGenerator,
    env: &Environment<'_>,
) -> Outcome {
    let mut run = Run {
        txn: db.begin(),
        symbols: Symbols::new(uuids),
        env,
        comment: None,
        waits_on: Vec::new(),
        result_bytes: 0,
    };
    let mut results = Vec::with_capacity(operations.len());
    let mut failed = false;
    for (i, operation) in operations.iter().enumerate() {
        match run.operation(operation, i + 1, operations.len()) {
            Ok(result) => results.push(result),
            Err(Stop::Park(timeout)) => {
                return Outcome::Parked {
                    timeout,
                    tables: run.waits_on,
                }
            }
            Err(Stop::Error(error)) => {
                results.push(error.to_json());
                failed = true;
                break;
            }
        }
    }
    let Run {
        txn,
        comment,
        symbols,
        ..
    } = run;
    drop(symbols);
    if failed {
        results.resize(operations.len(), Value::Null);
        return Outcome::Done {
            results,
            commit: None,
        };
    }
    match txn.prepare(uuids) {
        Ok(prepared) => Outcome::Done {
            results,
            commit: Some(Commit { prepared, comment }),
        },
        Err(error) => {
            results.push(error.to_json());
            Outcome::Done {
                results,
                commit: None,
            }
        }
    }
}

struct Run<'db, 's, 'e> {
    txn: Txn<'db>,
    symbols: Symbols<'s>,
    env: &'e Environment<'e>,
    comment: Option<String>,
    waits_on: Vec<usize>,
    result_bytes: usize,
}

type OpResult = std::result::Result<Value, Stop>;

impl<'db> Run<'db, '_, '_> {
    fn operation(&mut self, json: &Value, number: usize, total: usize) -> OpResult {
        let mut parser = Parser::new(json, format!("ovsdb operation {number} of {total}"));
        let Some(op) = parser.required("op", id) else {
            return Err(parser_error(parser));
        };
        let writes = matches!(
            op,
            "insert" | "update" | "mutate" | "delete" | "comment" | "commit"
        );
        if writes && self.env.read_only {
            let details =
                format!("{op} operation not allowed on a database that clients only read");
            return Err(OvsdbError::new(kind::NOT_ALLOWED, details).into());
        }
        match op {
            "insert" => self.insert(parser),
            "select" => self.select(parser),
            "update" => self.update(parser),
            "mutate" => self.mutate(parser),
            "delete" => self.delete(parser),
            "wait" => self.wait(parser),
            "commit" => {
                // Every commit is durable here, whatever the client asks for.
                parser.required("durable", Value::as_bool);
                parser.finish()?;
                Ok(json!({}))
            }
            "abort" => {
                parser.finish()?;
                Err(OvsdbError::new(kind::ABORTED, "aborted by request").into())
            }
            "comment" => {
                let comment = parser.required("comment", string);
                parser.finish()?;
                let text = self.comment.get_or_insert_default();
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(comment.unwrap_or_default());
                Ok(json!({}))
            }
            "assert" => {
                let lock = parser.required("lock", id).unwrap_or_default();
                parser.finish()?;
                if (self.env.owns_lock)(lock) {
                    Ok(json!({}))
                } else {
                    let details = format!("Asserted lock {lock} not held.");
                    Err(OvsdbError::new(kind::NOT_OWNER, details).into())
                }
            }
            _ => {
                parser.fail(&format!("No operation \"{op}\""));
                Err(parser_error(parser))
            }
        }
    }

    /// Takes the "table" member.
    fn table(&self, parser: &mut Parser<'_>) -> (usize, &'db TableSchema) {
        let schema = self.txn.database().schema();
        let name = parser.required("table", id);
        let index = name.and_then(|name| schema.table_index(name));
        if let (Some(name), None) = (name, index) {
            parser.fail(&format!("No table named {name}."));
        }
        // A failed parser ends the operation before the table is used.
        let index = index.unwrap_or_default();
        (index, &schema.tables()[index])
    }

    fn insert(&mut self, mut parser: Parser<'_>) -> OpResult {
        let (table, schema) = self.table(&mut parser);
        let name = parser.optional("uuid-name", |json| Some((json, id(json)?)));
        let explicit = parser.optional("uuid", |json| json.as_str()?.parse::<Uuid>().ok());
        let row_json = parser.required("row", object);
        parser.finish()?;
        let Some(row_json) = row_json else {
            return Ok(Value::Null);
        };

        let uuid = self.new_uuid(table, name, explicit)?;
        let mut row = Row::new(uuid, schema);
        for (column, datum) in self.row(row_json, schema)? {
            if !matches!(column, UUID_COLUMN | VERSION_COLUMN) {
                *row.column_mut(column) = datum;
            }
        }
        // What the row does not mention must be legal by default.
        for (index, column) in schema.columns.iter().enumerate() {
            column.ty.check(row.column(index))?;
        }
        self.txn.insert(table, row);
        Ok(json!({ "uuid": ["uuid", uuid.to_string()] }))
    }

    fn new_uuid(
        &mut self,
        table: usize,
        name: Option<(&Value, &str)>,
        explicit: Option<Uuid>,
    ) -> Result<Uuid> {
        if let Some(uuid) = explicit {
            if self.txn.is_taken(table, uuid) {
                return Err(OvsdbError::new(
                    kind::DUPLICATE_UUID,
                    "This UUID would duplicate a UUID already present within the table or deleted within \
                     the same transaction.",
                ));
            }
        }
        let Some((json, name)) = name else {
            return Ok(explicit.unwrap_or_else(|| self.symbols.anonymous()));
        };
        let symbol = self.symbols.named(name);
        if symbol.created {
            return Err(OvsdbError::new(
                kind::DUPLICATE_UUID_NAME,
                "This \"uuid-name\" appeared on an earlier \"insert\" operation.",
            )
            .at(json));
        }
        symbol.created = true;
        if let Some(uuid) = explicit {
            symbol.uuid = uuid;
        }
        Ok(symbol.uuid)
    }

    /// Reads a `<row>`.
    fn row(&mut self, json: &Value, schema: &TableSchema) -> Result<Vec<(usize, Datum)>> {
        let mut columns = Vec::new();
        for (name, value) in json.as_object().into_iter().flatten() {
            let (index, column) = schema.column(name).ok_or_else(|| {
                let details = format!("No column {name} in table {}.", schema.name);
                OvsdbError::new(kind::UNKNOWN_COLUMN, details).at(json)
            })?;
            columns.push((
                index,
                Datum::from_json(value, &column.ty, Some(&mut self.symbols))?,
            ));
        }
        Ok(columns)
    }

    fn condition(&mut self, json: Option<&Value>, schema: &TableSchema) -> Result<Condition> {
        match json {
            Some(json) => Condition::from_json(json, schema, Some(&mut self.symbols)),
            None => Ok(Condition::default()),
        }
    }

    fn select(&mut self, mut parser: Parser<'_>) -> OpResult {
        let (table, schema) = self.table(&mut parser);
        let condition = parser.required("where", array);
        let columns = parser.optional("columns", array);
        parser.finish()?;
        let condition = self.condition(condition, schema)?;
        let columns = columns_from_json(columns, schema)?;

        // Of rows that do not differ in the selected columns one is returned.
        let mut seen: HashSet<Vec<&Datum>> = HashSet::new();
        let mut rows: Vec<Value> = Vec::new();
        for uuid in self.txn.select(table, &condition) {
            let Some(row) = self.txn.row(table, uuid) else {
                continue;
            };
            let distinct = columns.contains(&UUID_COLUMN)
                || seen.insert(columns.iter().map(|&column| row.column(column)).collect());
            if !distinct {
                continue;
            }
            let row = row.to_json(schema, columns.iter().copied());
            self.result_bytes += json_size(&row);
            if self.result_bytes > self.env.max_result {
                let details = format!("results exceed {} bytes", self.env.max_result);
                return Err(OvsdbError::new(kind::EXHAUSTED, details).into());
            }
            rows.push(row);
        }
        Ok(json!({ "rows": rows }))
    }

    fn update(&mut self, mut parser: Parser<'_>) -> OpResult {
        let (table, schema) = self.table(&mut parser);
        let condition = parser.required("where", array);
        let row_json = parser.required("row", object);
        let whole = parser.json();
        parser.finish()?;
        let columns = self.row(row_json.unwrap_or(&Value::Null), schema)?;
        let immutable = columns
            .iter()
            .find(|(index, _)| !schema.columns[*index].mutable);
        if let Some((index, _)) = immutable {
            let column = &schema.columns[*index].name;
            let details = format!(
                "Cannot update immutable column {column} in table {}.",
                schema.name
            );
            return Err(OvsdbError::new(kind::CONSTRAINT, details).at(whole).into());
        }
        let condition = self.condition(condition, schema)?;
        let selected = self.txn.select(table, &condition);
        for &uuid in &selected {
            if columns.is_empty() {
                break;
            }
            if let Some(row) = self.txn.row_mut(table, uuid) {
                for (index, datum) in &columns {
                    row.column_mut(*index).clone_from(datum);
                }
            }
        }
        Ok(json!({ "count": selected.len() }))
    }

    fn mutate(&mut self, mut parser: Parser<'_>) -> OpResult {
        let (table, schema) = self.table(&mut parser);
        let condition = parser.required("where", array);
        let mutations = parser.required("mutations", |json| json.as_array());
        parser.finish()?;
        let mutations = mutations
            .into_iter()
            .flatten()
            .map(|json| Mutation::from_json(json, schema, Some(&mut self.symbols)))
            .collect::<Result<Vec<_>>>()?;
        let condition = self.condition(condition, schema)?;
        let selected = self.txn.select(table, &condition);
        for &uuid in &selected {
            if let Some(row) = self.txn.row_mut(table, uuid) {
                for mutation in &mutations {
                    mutation.apply(row, schema)?;
                }
            }
        }
        Ok(json!({ "count": selected.len() }))
    }

    fn delete(&mut self, mut parser: Parser<'_>) -> OpResult {
        let (table, schema) = self.table(&mut parser);
        let condition = parser.required("where", array);
        parser.finish()?;
        let condition = self.condition(condition, schema)?;
        let selected = self.txn.select(table, &condition);
        for &uuid in &selected {
            self.txn.delete(table, uuid);
        }
        Ok(json!({ "count": selected.len() }))
    }

    fn wait(&mut self, mut parser: Parser<'_>) -> OpResult {
        let (table, schema) = self.table(&mut parser);
        let timeout = parser.optional("timeout", |json| Some((json, json.as_i64()?)));
        let condition = parser.required("where", array);
        let columns = parser.optional("columns", array);
        let until = parser.required("until", |json| Some((json, json.as_str()?)));
        let rows = parser.required("rows", |json| json.as_array());
        parser.finish()?;
        let timeout = match timeout {
            None => None,
            Some((json, timeout)) => Some(
                u64::try_from(timeout)
                    .map_err(|_| OvsdbError::syntax(json, "timeout must be nonnegative"))?,
            ),
        };
        let condition = self.condition(condition, schema)?;
        let columns = columns_from_json(columns, schema)?;
        let equal = match until {
            Some((_, "==")) => true,
            Some((_, "!=")) => false,
            Some((json, _)) => {
                let details = "\"until\" must be \"==\" or \"!=\"";
                return Err(OvsdbError::syntax(json, details).into());
            }
            None => return Ok(Value::Null),
        };
        let expected = self.expected_rows(rows, schema, &columns)?;
        let found = self.found_rows(table, &condition, &columns);
        if (expected == found) == equal {
            return Ok(json!({}));
        }
        match timeout {
            Some(0) => Err(OvsdbError::new(kind::TIMED_OUT, "\"where\" clause test failed").into()),
            Some(timeout) if self.env.waited >= timeout => {
                let details = format!("\"wait\" timed out after {} ms", self.env.waited);
                Err(OvsdbError::new(kind::TIMED_OUT, details).into())
            }
            timeout => {
                self.waits_on.push(table);
                Err(Stop::Park(timeout))
            }
        }
    }

    /// The rows that a `wait` compares with, as a set of the values of `columns`.
    fn expected_rows(
        &mut self,
        rows: Option<&Vec<Value>>,
        schema: &TableSchema,
        columns: &[usize],
    ) -> Result<RowSet> {
        let mut expected = RowSet::new();
        for json in rows.into_iter().flatten() {
            if !json.is_object() {
                return Err(OvsdbError::syntax(json, "object expected"));
            }
            let mut row = Row::new(Uuid::ZERO, schema);
            for (column, datum) in self.row(json, schema)? {
                *row.column_mut(column) = datum;
            }
            expected.insert(
                columns
                    .iter()
                    .map(|&column| row.column(column).clone())
                    .collect(),
            );
        }
        Ok(expected)
    }

    fn found_rows(&self, table: usize, condition: &Condition, columns: &[usize]) -> RowSet {
        let selected = self.txn.select(table, condition);
        let rows = selected
            .iter()
            .filter_map(|&uuid| self.txn.row(table, uuid));
        rows.map(|row| {
            columns
                .iter()
                .map(|&column| row.column(column).clone())
                .collect()
        })
        .collect()
    }
}

/// Distinct rows, reduced to some columns.
type RowSet = BTreeSet<Vec<Datum>>;

fn parser_error(parser: Parser<'_>) -> Stop {
    match parser.finish() {
        Err(error) => error.into(),
        Ok(()) => OvsdbError::new(kind::SYNTAX, "malformed operation").into(),
    }
}

fn array(json: &Value) -> Option<&Value> {
    json.is_array().then_some(json)
}

fn object(json: &Value) -> Option<&Value> {
    json.is_object().then_some(json)
}

/// Reads an array of distinct names of columns; all columns if there is none.
pub(crate) fn columns_from_json(json: Option<&Value>, schema: &TableSchema) -> Result<Vec<usize>> {
    let Some(json) = json else {
        return Ok((0..schema.columns.len()).collect());
    };
    let mut columns = Vec::new();
    let wrong = || OvsdbError::syntax(json, "array of distinct column names expected");
    for name in json.as_array().ok_or_else(wrong)? {
        let name = name.as_str().ok_or_else(wrong)?;
        let (index, _) = schema.column(name).ok_or_else(|| {
            OvsdbError::syntax(json, format!("{name} is not a valid column name"))
        })?;
        if columns.contains(&index) {
            return Err(wrong());
        }
        columns.push(index);
    }
    Ok(columns)
}

/// About how many bytes the value takes as text.
fn json_size(json: &Value) -> usize {
    match json {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 3,
        Value::Array(elements) => 2 + elements.iter().map(json_size).sum::<usize>(),
        Value::Object(members) => member_sizes(members),
    }
}

fn member_sizes(members: &Map<String, Value>) -> usize {
    2 + members
        .iter()
        .map(|(key, value)| key.len() + 4 + json_size(value))
        .sum::<usize>()
}
