//! Database schemas (RFC 7047 section 3.2): tables, columns, types, and their JSON form.
//!
//! Two schemas ship with the crate: [`Schema::open_vswitch`], the whole Open_vSwitch 8.8.0, and
//! [`Schema::server`], the `_Server` database in which a server describes what it serves.
//!
//! Columns 0 and 1 of every table are [`UUID_COLUMN`] and [`VERSION_COLUMN`]; they are not part of the
//! JSON. A schema without any root table is one from before that notion existed: all its tables are roots.

mod parse;
mod types;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

pub use types::{BaseKind, BaseType, ColumnType, Reference};

/// Index of the `_uuid` column of every table.
pub const UUID_COLUMN: usize = 0;
/// Index of the `_version` column of every table: a fresh UUID for each change of the row.
pub const VERSION_COLUMN: usize = 1;

/// A database schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// Name of the database.
    pub name: String,
    /// Version, `x.y.z`.
    pub version: String,
    /// Checksum that a packager put into the file; kept, never checked.
    pub cksum: Option<String>,
    tables: Vec<TableSchema>,
    by_name: HashMap<String, usize>,
}

/// A table of a schema.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSchema {
    /// Name of the table.
    pub name: String,
    /// Rows live without being referenced.
    pub is_root: bool,
    /// Most rows that a commit may leave.
    pub max_rows: Option<u32>,
    /// Sets of columns whose values must be unique together.
    pub indexes: Vec<Vec<usize>>,
    /// `_uuid`, `_version`, then the columns in the order of the JSON.
    pub columns: Vec<ColumnSchema>,
    /// Columns that hold strong references.
    pub strong_columns: Vec<usize>,
    /// Columns that hold weak references.
    pub weak_columns: Vec<usize>,
    by_name: HashMap<String, usize>,
    declared_root: bool,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnSchema {
    /// Name of the column.
    pub name: String,
    /// Its type.
    pub ty: ColumnType,
    /// Not written to disk.
    pub ephemeral: bool,
    /// May change after the insert.
    pub mutable: bool,
}

impl Schema {
    /// The Open_vSwitch schema 8.8.0: 19 tables, 190 columns.
    pub fn open_vswitch() -> Arc<Schema> {
        static SCHEMA: OnceLock<Arc<Schema>> = OnceLock::new();
        let parse = || {
            let schema = Schema::parse(include_str!("../vswitch.schema.json"));
            Arc::new(
                schema.expect("invariant: the schema shipped with the crate is valid (tested)"),
            )
        };
        SCHEMA.get_or_init(parse).clone()
    }

    /// The `_Server` schema 1.2.0.
    pub fn server() -> Arc<Schema> {
        Arc::new(
            Schema::parse(include_str!("../server.schema.json"))
                .expect("invariant: the schema shipped with the crate is valid (tested)"),
        )
    }

    /// The tables; a table's position is its index everywhere in this crate.
    pub fn tables(&self) -> &[TableSchema] {
        &self.tables
    }

    /// The index of the table called `name`.
    pub fn table_index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The table called `name`.
    pub fn table(&self, name: &str) -> Option<&TableSchema> {
        self.tables.get(self.table_index(name)?)
    }

    /// Major, minor and patch version, for comparing schemas of one name.
    pub fn version_numbers(&self) -> Option<[u32; 3]> {
        parse::version(&self.version)
    }

    /// Whether `self` has every table and column of `needed`, with the same types: code written for
    /// `needed` runs on a database of `self`.
    pub fn covers(&self, needed: &Schema) -> bool {
        self.name == needed.name
            && needed.tables.iter().all(|table| {
                self.table(&table.name).is_some_and(|ours| {
                    table.columns.iter().all(|column| {
                        ours.column(&column.name)
                            .is_some_and(|(_, have)| have.ty.same_as(&column.ty))
                    })
                })
            })
    }

    /// The JSON form.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("name".into(), Value::from(self.name.as_str()));
        object.insert("version".into(), Value::from(self.version.as_str()));
        if let Some(cksum) = &self.cksum {
            object.insert("cksum".into(), Value::from(cksum.as_str()));
        }
        let tables = self
            .tables
            .iter()
            .map(|table| (table.name.clone(), table.to_json()))
            .collect();
        object.insert("tables".into(), Value::Object(tables));
        Value::Object(object)
    }
}

impl TableSchema {
    /// Index and schema of the column called `name`.
    pub fn column(&self, name: &str) -> Option<(usize, &ColumnSchema)> {
        let index = *self.by_name.get(name)?;
        Some((index, self.columns.get(index)?))
    }

    fn to_json(&self) -> Value {
        let mut object = Map::new();
        if self.declared_root {
            object.insert("isRoot".into(), Value::from(true));
        }
        if let Some(max_rows) = self.max_rows {
            object.insert("maxRows".into(), Value::from(max_rows));
        }
        if !self.indexes.is_empty() {
            let name = |&column: &usize| Value::from(self.columns[column].name.as_str());
            let index = |columns: &Vec<usize>| Value::Array(columns.iter().map(name).collect());
            object.insert(
                "indexes".into(),
                Value::Array(self.indexes.iter().map(index).collect()),
            );
        }
        let mut columns = Map::new();
        for column in self.columns.iter().skip(VERSION_COLUMN + 1) {
            let mut json = Map::new();
            json.insert("type".into(), column.ty.to_json());
            if column.ephemeral {
                json.insert("ephemeral".into(), Value::from(true));
            }
            if !column.mutable {
                json.insert("mutable".into(), Value::from(false));
            }
            columns.insert(column.name.clone(), Value::Object(json));
        }
        object.insert("columns".into(), Value::Object(columns));
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn open_vswitch_is_whole() {
        let schema = Schema::open_vswitch();
        assert_eq!(schema.version_numbers(), Some([8, 8, 0]));
        assert_eq!(schema.tables().len(), 19);
        let columns = |of: fn(&ColumnSchema) -> bool| -> usize {
            schema
                .tables()
                .iter()
                .map(|t| t.columns[2..].iter().filter(|c| of(c)).count())
                .sum()
        };
        assert_eq!(columns(|_| true), 190);
        assert_eq!(columns(|c| c.ephemeral), 31);
        let roots: Vec<_> = schema
            .tables()
            .iter()
            .filter(|t| t.is_root)
            .map(|t| t.name.as_str())
            .collect();
        assert_eq!(
            roots,
            ["Flow_Sample_Collector_Set", "Open_vSwitch", "QoS", "Queue"]
        );
    }

    #[test]
    fn json_round_trip() {
        for schema in [Schema::open_vswitch(), Schema::server()] {
            assert_eq!(Schema::from_json(&schema.to_json()).unwrap(), *schema);
        }
    }

    #[test]
    fn a_schema_without_roots_has_only_roots() {
        let schema = Schema::server();
        assert!(schema.tables()[0].is_root);
        assert!(schema.to_json()["tables"]["Database"]
            .get("isRoot")
            .is_none());
    }

    #[test]
    fn every_broken_schema_is_refused_with_a_reason() {
        let with =
            |table: &str| format!(r#"{{"name":"D","version":"1.0.0","tables":{{"T":{table}}}}}"#);
        let column = |ty: &str| with(&format!(r#"{{"columns":{{"c":{{"type":{ty}}}}}}}"#));
        for bad in [
            "5".to_owned(),
            r#"{"name":"D"}"#.to_owned(),
            r#"{"name":"D","version":"1","tables":{}}"#.to_owned(),
            with("{}"),
            with(r#"{"columns":{},"zork":1}"#),
            with(r#"{"columns":{},"maxRows":0}"#),
            with(r#"{"columns":{"_x":{"type":"string"}}}"#),
            with(r#"{"columns":{"c":{"type":"string"}},"indexes":[["d"]]}"#),
            with(r#"{"columns":{"c":{"type":"string"}},"indexes":[[]]}"#),
            with(r#"{"columns":{"c":{"type":"string","ephemeral":true}},"indexes":[["c"]]}"#),
            column(r#""strang""#),
            column(r#"{"min":0}"#),
            column(r#"{"key":"string","min":2}"#),
            column(r#"{"key":"string","max":0}"#),
            column(r#"{"key":{"type":"integer","minInteger":5,"maxInteger":4}}"#),
            column(r#"{"key":{"type":"string","minInteger":5}}"#),
            column(r#"{"key":{"type":"uuid","refTable":"Nope"}}"#),
            column(r#"{"key":{"type":"uuid","refTable":"T","refType":"soft"}}"#),
            column(r#"{"key":{"type":"string","enum":["set",[]]}}"#),
            column(r#"{"key":{"type":"string","enum":["set",[1]]}}"#),
        ] {
            let error = Schema::parse(&bad).unwrap_err();
            assert!(!error.details.is_empty(), "{bad}");
        }
    }
}
