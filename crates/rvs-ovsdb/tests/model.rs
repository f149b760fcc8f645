//! Commits against a naive model that looks at the whole database each time, and the promises that follow
//! from it: the log replays to the same state, deltas add up, indexes find what is there.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use rvs_ovsdb::database::{Database, Delta, Txn};
use rvs_ovsdb::log::{Durability, Journal, Log, MemoryStorage};
use rvs_ovsdb::schema::{BaseType, Schema};
use rvs_ovsdb::value::{Atom, Datum};
use rvs_ovsdb::{Row, Uuid, UuidGenerator};

/// Every kind of reference, dense enough that random edits meet all rules.
const SCHEMA: &str = r#"{"name": "D", "version": "1.0.0", "tables": {
    "Root": {"isRoot": true, "maxRows": 4, "indexes": [["name"]], "columns": {
        "name": {"type": "string"},
        "strong": {"type": {"key": {"type": "uuid", "refTable": "A"}, "min": 0, "max": "unlimited"}},
        "weak": {"type": {"key": {"type": "uuid", "refTable": "B", "refType": "weak"},
                          "min": 0, "max": "unlimited"}},
        "both": {"type": {"key": {"type": "uuid", "refTable": "A", "refType": "weak"},
                          "value": {"type": "uuid", "refTable": "B"}, "min": 0, "max": "unlimited"}}}},
    "A": {"indexes": [["name", "number"]], "columns": {
        "name": {"type": "string"},
        "number": {"type": "integer"},
        "status": {"type": "string", "ephemeral": true},
        "strong": {"type": {"key": {"type": "uuid", "refTable": "B"}, "min": 0, "max": 1}},
        "weak": {"type": {"key": {"type": "uuid", "refTable": "A", "refType": "weak"},
                          "min": 0, "max": "unlimited"}}}},
    "B": {"columns": {
        "map": {"type": {"key": "integer", "value": {"type": "uuid", "refTable": "A"},
                         "min": 0, "max": "unlimited"}},
        "must": {"type": {"key": {"type": "uuid", "refTable": "Root", "refType": "weak"},
                          "min": 0, "max": 2}},
        "text": {"type": {"key": "string", "min": 0, "max": "unlimited"}}}}}}"#;

const ROWS: u8 = 5;

fn uuid(table: usize, n: u8) -> Uuid {
    let mut bytes = [0; 16];
    (bytes[0], bytes[15]) = (table as u8 + 1, n);
    Uuid::from_bytes(bytes)
}

type State = BTreeMap<(usize, Uuid), Vec<Datum>>;

/// The rows without `_uuid` and `_version`.
fn state_of(db: &Database) -> State {
    state_of_txn(&db.begin())
}

fn state_of_txn(txn: &Txn<'_>) -> State {
    let schema = txn.database().schema();
    let rows = |table: usize| {
        let columns = schema.tables()[table].columns.len();
        txn.rows(table).map(move |row| {
            (
                (table, row.uuid()),
                (2..columns)
                    .map(|column| row.column(column).clone())
                    .collect(),
            )
        })
    };
    (0..schema.tables().len()).flat_map(rows).collect()
}

/// The references of one row: (target, weak).
fn references(schema: &Schema, table: usize, columns: &[Datum]) -> Vec<((usize, Uuid), bool)> {
    let mut found = Vec::new();
    for (datum, column) in columns.iter().zip(&schema.tables()[table].columns[2..]) {
        let mut add = |base: &BaseType, atom: &Atom| {
            if let Some(reference) = base.reference() {
                found.push(((reference.index, atom.as_uuid().unwrap()), reference.weak));
            }
        };
        for key in datum.keys() {
            add(&column.ty.key, key);
        }
        for (_, value) in datum.pairs() {
            add(column.ty.value.as_ref().unwrap(), value);
        }
    }
    found
}

/// What a commit of `state` must give, by looking at everything until nothing changes.
fn naive_commit(schema: &Schema, mut state: State) -> Result<State, &'static str> {
    for ((table, uuid), columns) in &state {
        for (to, weak) in references(schema, *table, columns) {
            if !weak && to != (*table, *uuid) && !state.contains_key(&to) {
                return Err("referential integrity violation");
            }
        }
    }
    loop {
        let before = state.clone();
        let referenced: BTreeSet<(usize, Uuid)> = before
            .iter()
            .flat_map(|(id, columns)| {
                let strong = references(schema, id.0, columns)
                    .into_iter()
                    .filter(|(_, weak)| !weak);
                strong.map(|(to, _)| to).filter(move |to| to != id)
            })
            .collect();
        state.retain(|id, _| schema.tables()[id.0].is_root || referenced.contains(id));
        if state != before {
            continue;
        }
        for ((table, _), columns) in &mut state {
            for (datum, column) in columns
                .iter_mut()
                .zip(&schema.tables()[*table].columns[2..])
            {
                let alive = |base: &BaseType, atom: &Atom| match base.reference() {
                    Some(r) if r.weak => before.contains_key(&(r.index, atom.as_uuid().unwrap())),
                    _ => true,
                };
                *datum = match &*datum {
                    Datum::Set(atoms) => {
                        Datum::set(atoms.iter().filter(|a| alive(&column.ty.key, a)).cloned())
                    }
                    Datum::Map(pairs) => {
                        let keep = |(k, v): &&(Atom, Atom)| {
                            alive(&column.ty.key, k) && alive(column.ty.value.as_ref().unwrap(), v)
                        };
                        Datum::map(pairs.iter().filter(keep).cloned())
                    }
                };
            }
        }
        if state == before {
            break;
        }
    }
    for (table, schema) in schema.tables().iter().enumerate() {
        let rows = || state.iter().filter(|((of, _), _)| *of == table);
        if schema
            .max_rows
            .is_some_and(|max| rows().count() > max as usize)
        {
            return Err("constraint violation");
        }
        for index in &schema.indexes {
            let keys: BTreeSet<Vec<&Datum>> = rows()
                .map(|(_, row)| index.iter().map(|column| &row[column - 2]).collect())
                .collect();
            if keys.len() < rows().count() {
                return Err("constraint violation");
            }
        }
    }
    Ok(state)
}

#[derive(Clone, Debug)]
enum Edit {
    /// One row of each table, linked: something that survives garbage collection.
    Build {
        n: u8,
        m: u8,
    },
    Insert {
        table: usize,
        n: u8,
    },
    Delete {
        table: usize,
        n: u8,
    },
    Set {
        table: usize,
        n: u8,
        column: usize,
        picks: Vec<(u8, u8)>,
    },
}

fn edit() -> impl Strategy<Value = Edit> {
    let table = 0..3_usize;
    prop_oneof![
        3 => (0..ROWS, 0..ROWS).prop_map(|(n, m)| Edit::Build { n, m }),
        3 => (table.clone(), 0..ROWS).prop_map(|(table, n)| Edit::Insert { table, n }),
        1 => (table.clone(), 0..ROWS).prop_map(|(table, n)| Edit::Delete { table, n }),
        6 => (table, 0..ROWS, 0..5_usize, prop::collection::vec((0..ROWS, 0..ROWS), 0..3))
            .prop_map(|(table, n, column, picks)| Edit::Set { table, n, column, picks }),
    ]
}

fn apply(txn: &mut Txn<'_>, edit: &Edit) {
    let schema = txn.database().schema().clone();
    match edit {
        Edit::Build { n, m } => {
            for table in 0..3 {
                apply(txn, &Edit::Insert { table, n: *n });
            }
            let (a, b) = (uuid(1, *n), uuid(2, *n));
            let links = [
                txn.set(0, uuid(0, *n), "strong", Datum::scalar(a)),
                txn.set(1, a, "strong", Datum::scalar(b)),
                txn.set(0, uuid(0, *n), "both", Datum::map([(uuid(1, *m), b)])),
                txn.set(1, a, "weak", Datum::scalar(uuid(1, *m))),
                txn.set(2, b, "must", Datum::scalar(uuid(0, *m))),
            ];
            let _some_rows_may_be_deleted = links;
        }
        Edit::Insert { table, n } => {
            let id = uuid(*table, *n);
            if !txn.is_taken(*table, id) {
                txn.insert(*table, Row::new(id, &schema.tables()[*table]));
                let _unique = txn.set(*table, id, "name", Datum::scalar(format!("r{n}")));
            }
        }
        Edit::Delete { table, n } => txn.delete(*table, uuid(*table, *n)),
        Edit::Set {
            table,
            n,
            column,
            picks,
        } => {
            let table_schema = &schema.tables()[*table];
            let column = &table_schema.columns[2 + column % (table_schema.columns.len() - 2)];
            let atom = |base: &BaseType, pick: u8| match (base.reference(), base.kind.name()) {
                (Some(to), _) => Atom::Uuid(uuid(to.index, pick)),
                (None, "integer") => Atom::Integer(i64::from(pick)),
                _ => Atom::from(format!("r{pick}")),
            };
            let datum = match (&column.ty.value, column.ty.max, picks.first()) {
                (_, 1, None) if column.ty.min == 1 => return,
                (None, max, _) => {
                    let max = max as usize;
                    Datum::set(
                        picks
                            .iter()
                            .take(max)
                            .map(|(k, _)| atom(&column.ty.key, *k)),
                    )
                }
                (Some(value), _, _) => Datum::map(
                    picks
                        .iter()
                        .map(|(k, v)| (atom(&column.ty.key, *k), atom(value, *v))),
                ),
            };
            let _missing_row = txn.set(*table, uuid(*table, *n), &column.name, datum);
        }
    }
}

fn without_ephemeral(schema: &Schema, mut state: State) -> State {
    for ((table, _), row) in &mut state {
        for (datum, column) in row.iter_mut().zip(&schema.tables()[*table].columns[2..]) {
            if column.ephemeral {
                *datum = column.ty.default_datum();
            }
        }
    }
    state
}

fn applied(mut state: State, delta: &Delta) -> State {
    for table in &delta.tables {
        let columns = delta.schema().tables()[table.table].columns.len();
        for change in &table.rows {
            let id = (table.table, change.uuid);
            assert_eq!(
                change.old.is_some(),
                state.contains_key(&id),
                "the old row is the one there"
            );
            match &change.new {
                Some(row) => state.insert(
                    id,
                    (2..columns)
                        .map(|column| row.column(column).clone())
                        .collect(),
                ),
                None => state.remove(&id),
            };
        }
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn commits_are_those_of_the_model(
        script in prop::collection::vec(prop::collection::vec(edit(), 1..8), 1..40),
        compact_at in 0..40_usize,
    ) {
        let schema = Arc::new(Schema::parse(SCHEMA).unwrap());
        let mut uuids = UuidGenerator::new([1; 16]);
        let opened = Log::open(MemoryStorage::default(), &schema, &mut uuids).unwrap();
        let (mut log, mut db) = (opened.log, opened.db);
        let mut state = State::new();
        let mut deltas: Vec<(State, Delta)> = Vec::new();
        for (round, edits) in script.iter().enumerate() {
            let mut txn = db.begin();
            edits.iter().for_each(|edit| apply(&mut txn, edit));
            let expected = naive_commit(&schema, state_of_txn(&txn));
            match txn.prepare(&mut uuids) {
                Err(error) => prop_assert_eq!(expected, Err(&*error.kind), "{}", error),
                Ok(prepared) => {
                    let expected = expected.map_err(TestCaseError::fail)?;
                    log.commit(&db, &prepared.delta, None, Durability::Synced).unwrap();
                    db.apply(&prepared);
                    prop_assert_eq!(&applied(state.clone(), &prepared.delta), &expected);
                    deltas.push((state, prepared.delta));
                    state = expected;
                }
            }
            prop_assert_eq!(&state_of(&db), &state);
            if round == compact_at {
                log.compact(&db).unwrap();
            }
        }
        // Deltas add up, from any point on.
        for from in 0..deltas.len() {
            let sum = Delta::merged(&schema, deltas[from..].iter().map(|(_, delta)| delta));
            prop_assert_eq!(&applied(deltas[from].0.clone(), &sum), &state);
        }
        // The log replays to the same state, and so does a snapshot.
        let bytes = log.storage_mut().bytes.clone();
        let again = Log::open(MemoryStorage::with(bytes), &schema, &mut uuids).unwrap();
        prop_assert!(again.notes.is_empty());
        let saved = without_ephemeral(&schema, state.clone());
        prop_assert_eq!(&state_of(&again.db), &saved);
        prop_assert_eq!(&applied(State::new(), &db.snapshot()), &state);
        // Indexes find what is there and nothing else.
        let root = db.table("Root").unwrap();
        for n in 0..ROWS {
            let name = format!("r{n}");
            let found = root.find("name", name.as_str()).map(|row| row.uuid());
            let scanned = root.rows().find(|row| row.str("name") == name).map(|row| row.uuid());
            prop_assert_eq!(found, scanned);
        }
    }
}
