//! Reading schemas.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{BaseKind, BaseType, ColumnSchema, ColumnType, Reference, Schema, TableSchema};
use crate::error::{OvsdbError, Result};
use crate::value::Datum;

impl Schema {
    /// Reads the text of a schema file.
    pub fn parse(text: &str) -> Result<Schema> {
        let json = serde_json::from_str(text).map_err(|error| {
            OvsdbError::new("syntax error", format!("schema is not JSON: {error}"))
        })?;
        Schema::from_json(&json)
    }

    /// Reads the JSON form; every mistake is refused with a reason.
    pub fn from_json(json: &Value) -> Result<Schema> {
        let mut members = Members::of(json, "database schema")?;
        let name = members.string("name")?;
        let version_text = members.string("version")?;
        if version(&version_text).is_none() {
            return Err(OvsdbError::syntax(
                json,
                "schema version must be of the form x.y.z",
            ));
        }
        let cksum = members.optional_string("cksum")?;
        let tables_json = members.object("tables")?;
        members.finish()?;

        let by_name: HashMap<String, usize> = tables_json
            .keys()
            .enumerate()
            .map(|(index, name)| (name.clone(), index))
            .collect();
        let mut tables = Vec::with_capacity(tables_json.len());
        for (name, json) in tables_json {
            check_name(name, "table", json)?;
            tables.push(table(name, json, &by_name)?);
        }
        if !tables.iter().any(|table| table.declared_root) {
            tables.iter_mut().for_each(|table| table.is_root = true);
        }
        Ok(Schema {
            name,
            version: version_text,
            cksum,
            tables,
            by_name,
        })
    }
}

impl ColumnType {
    /// Whether both types accept and mean the same, wherever their tables stand in their schemas.
    pub(crate) fn same_as(&self, other: &ColumnType) -> bool {
        self.to_json() == other.to_json()
    }
}

/// `x.y.z` as numbers.
pub(super) fn version(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    let version = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(version)
}

fn check_name(name: &str, what: &str, json: &Value) -> Result<()> {
    if name.starts_with('_') {
        Err(OvsdbError::syntax(
            json,
            format!("{what} names beginning with \"_\" are reserved: {name}"),
        ))
    } else if !crate::value::is_id(name) {
        Err(OvsdbError::syntax(
            json,
            format!("{what} name must be a valid id: {name}"),
        ))
    } else {
        Ok(())
    }
}

fn table(name: &str, json: &Value, tables: &HashMap<String, usize>) -> Result<TableSchema> {
    let mut members = Members::of(json, &format!("schema of table {name}"))?;
    let columns_json = members.object("columns")?;
    let declared_root = members.boolean("isRoot", false)?;
    let max_rows = match members.take("maxRows") {
        None => None,
        Some(value) => match value.as_u64().and_then(|n| u32::try_from(n).ok()) {
            Some(n) if n > 0 => Some(n),
            _ => return Err(OvsdbError::syntax(json, "maxRows must be at least 1")),
        },
    };
    let indexes_json = members.take("indexes");
    members.finish()?;

    let pseudo = |name: &str| ColumnSchema {
        name: name.to_owned(),
        ty: ColumnType::scalar(BaseType {
            kind: BaseKind::Uuid { reference: None },
            allowed: None,
        }),
        ephemeral: true,
        mutable: false,
    };
    let mut columns = vec![pseudo("_uuid"), pseudo("_version")];
    for (name, json) in columns_json {
        check_name(name, "column", json)?;
        columns.push(column(name, json, tables)?);
    }
    let by_name: HashMap<String, usize> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| (column.name.clone(), index))
        .collect();
    let indexes = match indexes_json {
        None => Vec::new(),
        Some(json) => indexes(json, &by_name)?,
    };
    if indexes
        .iter()
        .flatten()
        .any(|&column| columns[column].ephemeral)
    {
        // After a restart the rows would no longer be told apart.
        return Err(OvsdbError::syntax(
            json,
            "ephemeral columns may not be part of indexes",
        ));
    }
    let refers = |weak: bool| -> Vec<usize> {
        let of = |base: &BaseType| base.reference().is_some_and(|r| r.weak == weak);
        let in_column =
            |column: &ColumnSchema| of(&column.ty.key) || column.ty.value.as_ref().is_some_and(of);
        columns
            .iter()
            .enumerate()
            .filter(|(_, c)| in_column(c))
            .map(|(index, _)| index)
            .collect()
    };
    Ok(TableSchema {
        name: name.to_owned(),
        is_root: declared_root,
        max_rows,
        indexes,
        strong_columns: refers(false),
        weak_columns: refers(true),
        columns,
        by_name,
        declared_root,
    })
}

fn indexes(json: &Value, columns: &HashMap<String, usize>) -> Result<Vec<Vec<usize>>> {
    let wrong = || OvsdbError::syntax(json, "indexes must be arrays of names of columns");
    let mut indexes = Vec::new();
    for index in json.as_array().ok_or_else(wrong)? {
        let names = index
            .as_array()
            .filter(|names| !names.is_empty())
            .ok_or_else(wrong)?;
        let mut index = Vec::with_capacity(names.len());
        for name in names {
            let name = name.as_str().ok_or_else(wrong)?;
            index.push(*columns.get(name).ok_or_else(wrong)?);
        }
        indexes.push(index);
    }
    Ok(indexes)
}

fn column(name: &str, json: &Value, tables: &HashMap<String, usize>) -> Result<ColumnSchema> {
    let mut members = Members::of(json, &format!("schema of column {name}"))?;
    let ty = members.required("type")?;
    let ephemeral = members.boolean("ephemeral", false)?;
    let mutable = members.boolean("mutable", true)?;
    members.finish()?;
    let ty = column_type(ty, tables)?;
    // A row that only an unsaved column keeps alive would not survive a restart: such a column is saved.
    let strong = |base: &BaseType| base.reference().is_some_and(|reference| !reference.weak);
    let holds_strong = strong(&ty.key) || ty.value.as_ref().is_some_and(strong);
    Ok(ColumnSchema {
        name: name.to_owned(),
        ty,
        ephemeral: ephemeral && !holds_strong,
        mutable,
    })
}

fn column_type(json: &Value, tables: &HashMap<String, usize>) -> Result<ColumnType> {
    if json.is_string() {
        return Ok(ColumnType::scalar(base_type(json, tables)?));
    }
    let mut members = Members::of(json, "ovsdb type")?;
    let key = base_type(members.required("key")?, tables)?;
    let value = members
        .take("value")
        .map(|json| base_type(json, tables))
        .transpose()?;
    let count = |json: &Value| json.as_u64().and_then(|n| u32::try_from(n).ok());
    let wrong = |what: &str| OvsdbError::syntax(json, format!("bad \"{what}\" for ovsdb type"));
    let min = match members.take("min") {
        None => 1,
        Some(json) => count(json)
            .filter(|&n| n <= 1)
            .ok_or_else(|| wrong("min"))?,
    };
    let max = match members.take("max") {
        None => 1,
        Some(Value::String(text)) if text == "unlimited" => u32::MAX,
        Some(json) => count(json)
            .filter(|&n| n >= 1)
            .ok_or_else(|| wrong("max"))?,
    };
    members.finish()?;
    Ok(ColumnType {
        key,
        value,
        min,
        max,
    })
}

fn base_type(json: &Value, tables: &HashMap<String, usize>) -> Result<BaseType> {
    let unknown = || OvsdbError::syntax(json, "expected the name of an atomic type");
    if let Value::String(name) = json {
        let kind = BaseKind::plain(name).ok_or_else(unknown)?;
        return Ok(BaseType {
            kind,
            allowed: None,
        });
    }
    let mut members = Members::of(json, "ovsdb type")?;
    let plain = BaseKind::plain(&members.string("type")?).ok_or_else(unknown)?;
    let allowed = members.take("enum");
    let kind = bounds(plain, &mut members, json, tables)?;
    members.finish()?;
    let mut base = BaseType {
        kind,
        allowed: None,
    };
    if let Some(json) = allowed {
        let set = ColumnType {
            key: base.unconstrained(),
            value: None,
            min: 1,
            max: u32::MAX,
        };
        if let Datum::Set(atoms) = Datum::from_json(json, &set, None)? {
            base.allowed = Some(atoms);
        }
    }
    Ok(base)
}

/// Takes the bounds that `plain` may have; other members are left, and refused by the caller.
fn bounds(
    plain: BaseKind,
    members: &mut Members<'_>,
    json: &Value,
    tables: &HashMap<String, usize>,
) -> Result<BaseKind> {
    let wrong = |what: &str| OvsdbError::syntax(json, format!("bad {what}"));
    let kind = match plain {
        BaseKind::Integer { min, max } => BaseKind::Integer {
            min: members.number("minInteger", min, Value::as_i64)?,
            max: members.number("maxInteger", max, Value::as_i64)?,
        },
        BaseKind::Real { min, max } => BaseKind::Real {
            min: members.number("minReal", min, Value::as_f64)?,
            max: members.number("maxReal", max, Value::as_f64)?,
        },
        BaseKind::String { min, max } => {
            let length = |json: &Value| json.as_u64().and_then(|n| u32::try_from(n).ok());
            BaseKind::String {
                min: members.number("minLength", min, length)?,
                max: members.number("maxLength", max, length)?,
            }
        }
        BaseKind::Boolean => BaseKind::Boolean,
        BaseKind::Uuid { .. } => {
            let table = members.optional_string("refTable")?;
            let weak = match members.optional_string("refType")?.as_deref() {
                None | Some("strong") => false,
                Some("weak") => true,
                Some(_) => return Err(wrong("\"refType\": \"strong\" or \"weak\" expected")),
            };
            let reference = match table {
                None => None,
                Some(table) => {
                    let index = *tables
                        .get(&table)
                        .ok_or_else(|| wrong(&format!("\"refTable\": no table named {table}")))?;
                    Some(Reference { table, index, weak })
                }
            };
            BaseKind::Uuid { reference }
        }
    };
    let inverted = match &kind {
        BaseKind::Integer { min, max } => min > max,
        BaseKind::Real { min, max } => min > max,
        BaseKind::String { min, max } => min > max,
        BaseKind::Boolean | BaseKind::Uuid { .. } => false,
    };
    if inverted {
        return Err(wrong("range: the minimum exceeds the maximum"));
    }
    Ok(kind)
}

/// The members of a JSON object, each taken at most once; what nobody took is an error.
struct Members<'a> {
    json: &'a Value,
    object: &'a Map<String, Value>,
    what: String,
    taken: Vec<&'static str>,
}

impl<'a> Members<'a> {
    fn of(json: &'a Value, what: &str) -> Result<Members<'a>> {
        let object = json
            .as_object()
            .ok_or_else(|| OvsdbError::syntax(json, format!("{what}: object expected")))?;
        Ok(Members {
            json,
            object,
            what: what.to_owned(),
            taken: Vec::new(),
        })
    }

    fn wrong(&self, what: &str) -> OvsdbError {
        OvsdbError::syntax(self.json, format!("{}: {what}", self.what))
    }

    fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        self.taken.push(name);
        self.object.get(name)
    }

    fn required(&mut self, name: &'static str) -> Result<&'a Value> {
        self.take(name)
            .ok_or_else(|| self.wrong(&format!("required member \"{name}\" is missing")))
    }

    fn string(&mut self, name: &'static str) -> Result<String> {
        let text = self.required(name)?.as_str().map(str::to_owned);
        text.ok_or_else(|| self.wrong(&format!("\"{name}\" must be a string")))
    }

    fn optional_string(&mut self, name: &'static str) -> Result<Option<String>> {
        match self.object.get(name) {
            None => Ok(None),
            Some(_) => self.string(name).map(Some),
        }
    }

    fn object(&mut self, name: &'static str) -> Result<&'a Map<String, Value>> {
        let object = self.required(name)?.as_object();
        object.ok_or_else(|| self.wrong(&format!("\"{name}\" must be an object")))
    }

    fn boolean(&mut self, name: &'static str, default: bool) -> Result<bool> {
        match self.take(name) {
            None => Ok(default),
            Some(json) => json
                .as_bool()
                .ok_or_else(|| self.wrong(&format!("\"{name}\" must be true or false"))),
        }
    }

    fn number<T>(
        &mut self,
        name: &'static str,
        default: T,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T> {
        match self.take(name) {
            None => Ok(default),
            Some(json) => read(json).ok_or_else(|| self.wrong(&format!("bad number \"{name}\""))),
        }
    }

    fn finish(self) -> Result<()> {
        match self
            .object
            .keys()
            .find(|key| !self.taken.contains(&key.as_str()))
        {
            None => Ok(()),
            Some(key) => Err(self.wrong(&format!("member \"{key}\" is not allowed here"))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::value::Atom;

    #[test]
    fn enumeration_is_sorted_and_checked() {
        let json = serde_json::json!({"type": "string", "enum": ["set", ["b", "a"]]});
        let base = base_type(&json, &HashMap::new()).unwrap();
        assert_eq!(base.allowed, Some(vec![Atom::from("a"), Atom::from("b")]));
        assert!(base.check(&Atom::from("a")).is_ok());
        let error = base.check(&Atom::from("c")).unwrap_err();
        assert_eq!(error.details, "c is not one of the allowed values ([a, b])");
    }

    #[test]
    fn versions() {
        assert_eq!(version("8.8.0"), Some([8, 8, 0]));
        for bad in ["", "8", "8.8", "8.8.0.1", "8.x.0", "-1.0.0"] {
            assert_eq!(version(bad), None, "{bad}");
        }
    }
}
