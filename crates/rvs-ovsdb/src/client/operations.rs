//! The operations of a transaction as a client builds them.

use std::collections::{HashMap, HashSet};

use serde_json::{json, Map, Value};

use crate::uuid::{Uuid, UuidGenerator};
use crate::value::{Atom, Datum};

/// Operations in order.
///
/// A row to be inserted gets a UUID at once, by which later operations refer to it; on the wire that is
/// a `named-uuid`, and the server's choice is found in the results by [`inserted`](Operations::inserted).
#[derive(Debug)]
pub struct Operations {
    operations: Vec<Value>,
    /// Rows inserted, with the position of their operation.
    inserts: HashMap<Uuid, usize>,
    /// Those of them whose UUIDs the client has chosen.
    chosen: HashSet<Uuid>,
    /// Position of the operation that reads `next_cfg`.
    next_cfg: Option<usize>,
    uuids: UuidGenerator,
}

impl Operations {
    /// No operations; `uuids` gives the UUIDs of rows to be inserted.
    pub fn new(uuids: UuidGenerator) -> Operations {
        Operations {
            operations: Vec::new(),
            inserts: HashMap::new(),
            chosen: HashSet::new(),
            next_cfg: None,
            uuids,
        }
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// No operations.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// A UUID for a row that will be inserted by [`insert_as`](Operations::insert_as): other operations
    /// may mention it before.
    pub fn reserve(&mut self) -> Uuid {
        let uuid = self.uuids.generate();
        self.inserts.insert(uuid, usize::MAX);
        uuid
    }

    /// The same for a UUID that the row has to have in the database.
    pub fn choose(&mut self, uuid: Uuid) {
        self.inserts.insert(uuid, usize::MAX);
        self.chosen.insert(uuid);
    }

    /// Whether this is the UUID of a row of this transaction.
    pub fn is_reserved(&self, uuid: Uuid) -> bool {
        self.inserts.contains_key(&uuid)
    }

    /// Inserts a row.
    pub fn insert<'a>(
        &mut self,
        table: &str,
        columns: impl IntoIterator<Item = (&'a str, Datum)>,
    ) -> Uuid {
        let uuid = self.reserve();
        self.insert_as(uuid, table, columns);
        uuid
    }

    /// Inserts a row under a [reserved](Operations::reserve) UUID.
    pub fn insert_as<'a>(
        &mut self,
        uuid: Uuid,
        table: &str,
        columns: impl IntoIterator<Item = (&'a str, Datum)>,
    ) {
        let row = self.row(columns);
        self.inserts.insert(uuid, self.operations.len());
        let mut insert =
            json!({"op": "insert", "table": table, "uuid-name": name_of(uuid), "row": row});
        if self.chosen.contains(&uuid) {
            insert["uuid"] = json!(uuid.to_string());
        }
        self.operations.push(insert);
    }

    /// Sets columns of a row.
    pub fn update<'a>(
        &mut self,
        table: &str,
        row: Uuid,
        columns: impl IntoIterator<Item = (&'a str, Datum)>,
    ) {
        let (condition, columns) = (self.is_row(row), self.row(columns));
        self.operations
            .push(json!({"op": "update", "table": table, "where": condition, "row": columns}));
    }

    /// Changes a column of a row relative to its value, by "insert", "delete", "+=" and so on.
    pub fn mutate(&mut self, table: &str, row: Uuid, column: &str, mutator: &str, value: &Datum) {
        let mutation = json!([column, mutator, self.datum(value)]);
        let condition = self.is_row(row);
        self.operations.push(
            json!({"op": "mutate", "table": table, "where": condition, "mutations": [mutation]}),
        );
    }

    /// Deletes a row.
    pub fn delete(&mut self, table: &str, row: Uuid) {
        let condition = self.is_row(row);
        self.operations
            .push(json!({"op": "delete", "table": table, "where": condition}));
    }

    /// Makes the transaction fail unless the row still has these values: what was decided from a replica
    /// holds only then.
    pub fn verify<'a>(
        &mut self,
        table: &str,
        row: Uuid,
        columns: impl IntoIterator<Item = (&'a str, Datum)>,
    ) {
        let expected = self.row(columns);
        let names: Vec<&str> = expected.keys().map(String::as_str).collect();
        let operation = json!({
            "op": "wait", "table": table, "timeout": 0, "where": self.is_row(row), "columns": names,
            "until": "==", "rows": [&expected],
        });
        self.operations.push(operation);
    }

    /// Reads columns of a row at this point of the transaction; returns the operation's position in the results.
    pub fn select(&mut self, table: &str, row: Uuid, columns: &[&str]) -> usize {
        let condition = self.is_row(row);
        self.operations
            .push(json!({"op": "select", "table": table, "where": condition, "columns": columns}));
        self.operations.len() - 1
    }

    /// Increments `next_cfg` of the Open_vSwitch row, which asks the daemon to say by `cur_cfg` when it has
    /// made the configuration its own; [`next_cfg`](Operations::next_cfg) finds the value in the results.
    pub fn bump_next_cfg(&mut self, open_vswitch: Uuid) {
        self.mutate(
            "Open_vSwitch",
            open_vswitch,
            "next_cfg",
            "+=",
            &Datum::scalar(1_i64),
        );
        self.next_cfg = Some(self.select("Open_vSwitch", open_vswitch, &["next_cfg"]));
    }

    /// The value that [`bump_next_cfg`](Operations::bump_next_cfg) gave to `next_cfg`.
    pub fn next_cfg(&self, results: &[Value]) -> Option<i64> {
        results
            .get(self.next_cfg?)?
            .get("rows")?
            .get(0)?
            .get("next_cfg")?
            .as_i64()
    }

    /// Says in the log what the transaction is for.
    pub fn comment(&mut self, text: &str) {
        self.operations
            .push(json!({"op": "comment", "comment": text}));
    }

    /// The operations for `transact`.
    pub fn to_json(&self) -> Vec<Value> {
        self.operations.clone()
    }

    /// The UUID that the server gave to an inserted row.
    pub fn inserted(&self, row: Uuid, results: &[Value]) -> Option<Uuid> {
        results
            .get(*self.inserts.get(&row)?)?
            .get("uuid")?
            .get(1)?
            .as_str()?
            .parse()
            .ok()
    }

    fn is_row(&self, row: Uuid) -> Value {
        json!([["_uuid", "==", self.atom(&Atom::Uuid(row))]])
    }

    fn row<'a>(&self, columns: impl IntoIterator<Item = (&'a str, Datum)>) -> Map<String, Value> {
        columns
            .into_iter()
            .map(|(name, datum)| (name.to_owned(), self.datum(&datum)))
            .collect()
    }

    fn atom(&self, atom: &Atom) -> Value {
        match atom {
            Atom::Uuid(uuid) if self.inserts.contains_key(uuid) => {
                json!(["named-uuid", name_of(*uuid)])
            }
            atom => atom.to_json(),
        }
    }

    fn datum(&self, datum: &Datum) -> Value {
        match datum {
            Datum::Set(atoms) if atoms.len() == 1 => self.atom(&atoms[0]),
            Datum::Set(atoms) => {
                json!([
                    "set",
                    atoms.iter().map(|atom| self.atom(atom)).collect::<Vec<_>>()
                ])
            }
            Datum::Map(pairs) => {
                let pair = |(k, v): &(Atom, Atom)| json!([self.atom(k), self.atom(v)]);
                json!(["map", pairs.iter().map(pair).collect::<Vec<_>>()])
            }
        }
    }
}

/// The `uuid-name` of a row: an `<id>`.
fn name_of(uuid: Uuid) -> String {
    format!("row{}", uuid.to_string().replace('-', "_"))
}
