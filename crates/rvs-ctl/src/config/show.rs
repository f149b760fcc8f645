//! `show`: the tree of managers, bridges, controllers, ports and interfaces, as ovs-vsctl draws it, by name.

use rvs_ovsdb::Uuid;
use serde_json::{json, Map, Value};

use super::draft::Draft;
use super::json::plain;
use crate::failure::Failure;
use crate::output::Style;

/// A table of the tree: what names its rows, and what is shown of them in this order.
struct Level {
    table: &'static str,
    title: &'static str,
    columns: &'static [&'static str],
}

const LEVELS: [Level; 6] = [
    Level {
        table: "Open_vSwitch",
        title: "",
        columns: &["manager_options", "bridges", "ovs_version"],
    },
    Level {
        table: "Bridge",
        title: "name",
        columns: &["controller", "fail_mode", "datapath_type", "ports"],
    },
    Level {
        table: "Port",
        title: "name",
        columns: &["vlan_mode", "tag", "trunks", "interfaces"],
    },
    Level {
        table: "Interface",
        title: "name",
        columns: &["type", "options", "error"],
    },
    Level {
        table: "Controller",
        title: "target",
        columns: &["is_connected"],
    },
    Level {
        table: "Manager",
        title: "target",
        columns: &["is_connected"],
    },
];

fn level(table: &str) -> Option<&'static Level> {
    LEVELS.iter().find(|l| l.table == table)
}

/// The rows that a column refers to, by name, if they belong to the tree.
fn below(
    draft: &Draft<'_>,
    table: &str,
    row: Uuid,
    column: &str,
) -> Option<(&'static Level, Vec<Uuid>)> {
    let (_, schema) = draft.table(table).ok()?.column(column)?;
    let level = level(&schema.ty.key.reference()?.table)?;
    let mut rows = draft.refs(table, row, column);
    rows.sort_by_key(|r| draft.text(level.table, *r, level.title));
    Some((level, rows))
}

/// The value of a column that somebody has set.
fn shown(draft: &Draft<'_>, table: &str, row: Uuid, column: &str) -> Option<String> {
    let (_, schema) = draft.table(table).ok()?.column(column)?;
    let value = draft.get(table, row, column);
    let text = value.to_text(&schema.ty);
    (!schema.ty.is_default(&value)).then_some(text)
}

/// The tree as text.
pub fn text(draft: &Draft<'_>, style: Style) -> Result<String, Failure> {
    let root = draft.root()?;
    let mut out = format!("{root}\n");
    columns(draft, &LEVELS[0], root, 1, style, &mut out);
    Ok(out)
}

/// The columns of a row, each on a line, or the rows that they refer to. The depth is that of the schema: four levels.
fn columns(draft: &Draft<'_>, at: &Level, row: Uuid, depth: usize, style: Style, out: &mut String) {
    let indent = "    ".repeat(depth);
    for column in at.columns {
        if let Some((level, rows)) = below(draft, at.table, row, column) {
            for r in rows {
                let title = shown(draft, level.table, r, level.title).unwrap_or_default();
                let title = match level.table {
                    "Bridge" => style.bold(&title),
                    _ => title,
                };
                out.push_str(&format!("{indent}{} {title}\n", level.table));
                columns(draft, level, r, depth + 1, style, out);
            }
        } else if let Some(text) = shown(draft, at.table, row, column) {
            out.push_str(&format!("{indent}{column}: {text}\n"));
        }
    }
}

/// The tree as JSON.
pub fn json(draft: &Draft<'_>) -> Result<Value, Failure> {
    let root = draft.root()?;
    let mut tree = Map::new();
    tree.insert("uuid".to_owned(), json!(root.to_string()));
    tree.extend(members(draft, &LEVELS[0], root));
    Ok(Value::Object(tree))
}

fn members(draft: &Draft<'_>, at: &Level, row: Uuid) -> Map<String, Value> {
    let mut out = Map::new();
    let title = Some(at.title).filter(|t| !t.is_empty());
    for column in title.iter().chain(at.columns) {
        let Ok(schema) = draft.column(at.table, column) else {
            continue;
        };
        let value = match below(draft, at.table, row, column) {
            Some((level, rows)) => rows
                .into_iter()
                .map(|r| Value::Object(members(draft, level, r)))
                .collect(),
            None => plain(&draft.get(at.table, row, column), &schema.ty),
        };
        let name = match *column {
            "controller" => "controllers",
            "manager_options" => "managers",
            name => name,
        };
        out.insert(name.to_owned(), value);
    }
    out
}
