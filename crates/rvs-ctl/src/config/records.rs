//! Commands on any table: get set add remove clear list find create destroy.

use rvs_ovsdb::schema::{BaseKind, BaseType, ColumnSchema};
use rvs_ovsdb::value::Datum;
use rvs_ovsdb::Uuid;
use serde_json::{json, Value};

use super::condition::{Condition, OPERATORS};
use super::draft::Draft;
use super::json::{atom, plain};
use crate::failure::Failure;

/// The row that a name, a target, a UUID or `.` means.
pub fn find_row(draft: &mut Draft<'_>, table: &str, record: &str) -> Result<Option<Uuid>, Failure> {
    if let Some(symbol) = record.strip_prefix('@') {
        return Ok(Some(draft.symbol(symbol)));
    }
    let rows = draft.rows(table);
    if let Ok(uuid) = record.parse::<Uuid>() {
        return Ok(rows.contains(&uuid).then_some(uuid));
    }
    if record == "." {
        return match rows[..] {
            [one] => Ok(Some(one)),
            _ => Err(Failure::Refused(format!(
                "table {table} has {} rows, so that . names none of them",
                rows.len()
            ))),
        };
    }
    let named = ["name", "target", "id"].into_iter().find_map(|c| {
        draft.table(table).ok()?.column(c)?;
        draft.find(table, c, record)
    });
    // A bridge's controllers and mirrors can be named by the bridge, a port's QoS by the port.
    let through = |owner: &str, column: &str| {
        let row = draft.find(owner, "name", record)?;
        match draft.refs(owner, row, column)[..] {
            [one] => Some(one),
            _ => None,
        }
    };
    Ok(named.or_else(|| match table {
        "Controller" => through("Bridge", "controller"),
        "QoS" => through("Port", "qos"),
        "NetFlow" => through("Bridge", "netflow"),
        "sFlow" => through("Bridge", "sflow"),
        _ => None,
    }))
}

fn must_find(draft: &mut Draft<'_>, table: &str, record: &str) -> Result<Uuid, Failure> {
    find_row(draft, table, record)?.ok_or_else(|| {
        let known: Vec<String> = draft
            .rows(table)
            .into_iter()
            .map(|u| draft.text(table, u, "name"))
            .filter(|n| !n.is_empty())
            .collect();
        let list = if known.is_empty() {
            String::new()
        } else {
            format!(" (rows: {})", known.join(", "))
        };
        Failure::Refused(format!("no row \"{record}\" in table {table}{list}"))
    })
}

/// `COLUMN[:KEY]`, and what follows an operator if there is one.
struct Setting<'s> {
    column: ColumnSchema,
    key: Option<&'s str>,
    value: Option<(&'s str, &'s str)>,
}

fn parse_setting<'s>(
    draft: &Draft<'_>,
    table: &str,
    text: &'s str,
) -> Result<Setting<'s>, Failure> {
    let name_len = text
        .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-')))
        .unwrap_or(text.len());
    let (name, mut rest) = text.split_at(name_len);
    let column = draft.column(table, name)?;
    let mut key = None;
    if let Some(after) = rest.strip_prefix(':') {
        let end = match after.strip_prefix('"') {
            Some(quoted) => quoted.find('"').map_or(after.len(), |i| i + 2),
            None => after.find(['=', '<', '>', '!', '{']).unwrap_or(after.len()),
        };
        let (k, r) = after.split_at(end);
        key = Some(k.trim_matches('"'));
        rest = r;
    }
    let value = if rest.is_empty() {
        None
    } else {
        let operator = OPERATORS
            .into_iter()
            .find(|o| rest.starts_with(o))
            .ok_or_else(|| Failure::Usage(format!("\"{text}\" is not COLUMN[:KEY]=VALUE")))?;
        Some((operator, &rest[operator.len()..]))
    };
    Ok(Setting { column, key, value })
}

pub fn parse_value(
    draft: &mut Draft<'_>,
    column: &ColumnSchema,
    text: &str,
) -> Result<Datum, Failure> {
    Datum::from_text(text, &column.ty, |s| Some(draft.symbol(s)))
        .map_err(|e| Failure::Usage(format!("{}: {e}", column.name)))
}

/// `{key=value}` of a map column.
fn parse_pair(
    draft: &mut Draft<'_>,
    column: &ColumnSchema,
    key: &str,
    value: &str,
) -> Result<Datum, Failure> {
    let quoted = |s: &str| {
        if s.starts_with('"') {
            s.to_owned()
        } else {
            json!(s).to_string()
        }
    };
    let as_text = |base: Option<&BaseType>, s: &str| match base.map(|b| &b.kind) {
        Some(BaseKind::String { .. }) => quoted(s),
        _ => s.to_owned(),
    };
    let key = as_text(Some(&column.ty.key), key);
    let value = as_text(column.ty.value.as_ref(), value);
    parse_value(draft, column, &format!("{{{key}={value}}}"))
}

/// Applies `COLUMN[:KEY]=VALUE` settings to a row.
pub fn apply_settings(
    draft: &mut Draft<'_>,
    table: &str,
    row: Uuid,
    settings: &[String],
) -> Result<(), Failure> {
    for text in settings {
        let setting = parse_setting(draft, table, text)?;
        let Some(("=", value)) = setting.value else {
            return Err(Failure::Usage(format!(
                "\"{text}\" is not COLUMN[:KEY]=VALUE"
            )));
        };
        let name = setting.column.name.clone();
        check_writable(&setting.column)?;
        let new = match setting.key {
            Some(key) => {
                let pair = parse_pair(draft, &setting.column, key, value)?;
                let mut all = draft.get(table, row, &name);
                let old = all
                    .pairs()
                    .iter()
                    .filter(|(k, _)| pair.contains_key(k))
                    .cloned()
                    .collect::<Vec<_>>();
                all.delete_all(&Datum::map(old));
                all.insert_all(&pair);
                all
            }
            None => parse_value(draft, &setting.column, value)?,
        };
        draft.set(table, row, &name, new);
    }
    Ok(())
}

fn check_writable(column: &ColumnSchema) -> Result<(), Failure> {
    if column.name.starts_with('_') || !column.mutable {
        return Err(Failure::Refused(format!(
            "column {} can't be changed",
            column.name
        )));
    }
    Ok(())
}

pub fn set(
    draft: &mut Draft<'_>,
    table: &str,
    record: &str,
    settings: &[String],
    if_exists: bool,
) -> Result<(), Failure> {
    let table = draft.table(table)?.name.clone();
    let row = if if_exists {
        find_row(draft, &table, record)?
    } else {
        Some(must_find(draft, &table, record)?)
    };
    row.map_or(Ok(()), |row| apply_settings(draft, &table, row, settings))
}

/// `add TABLE RECORD COLUMN [KEY=]VALUE...` and `remove TABLE RECORD COLUMN KEY|VALUE|KEY=VALUE...`.
pub fn add_remove(
    draft: &mut Draft<'_>,
    table: &str,
    record: &str,
    column: &str,
    values: &[String],
    add: bool,
) -> Result<(), Failure> {
    let table = draft.table(table)?.name.clone();
    let row = must_find(draft, &table, record)?;
    let column = draft.column(&table, column)?;
    check_writable(&column)?;
    let mut all = draft.get(&table, row, &column.name);
    let mut loose = column.clone();
    loose.ty.max = u32::MAX;
    loose.ty.min = 0;
    for text in values {
        let is_map = column.ty.value.is_some();
        if is_map && !add && !text.contains('=') {
            let keys: Vec<_> = all
                .pairs()
                .iter()
                .filter(|(k, _)| k.to_string().trim_matches('"') == text.trim_matches('"'))
                .cloned()
                .collect();
            all.delete_all(&Datum::map(keys));
            continue;
        }
        let datum = match text.split_once('=').filter(|_| is_map) {
            Some((k, v)) => parse_pair(draft, &loose, k, v)?,
            None => parse_value(draft, &loose, text)?,
        };
        if add {
            all.insert_all(&datum);
        } else {
            all.delete_all(&datum);
        }
    }
    column
        .ty
        .check(&all)
        .map_err(|e| Failure::Refused(format!("{}: {e}", column.name)))?;
    draft.set(&table, row, &column.name, all);
    Ok(())
}

pub fn clear(
    draft: &mut Draft<'_>,
    table: &str,
    record: &str,
    columns: &[String],
) -> Result<(), Failure> {
    let table = draft.table(table)?.name.clone();
    let row = must_find(draft, &table, record)?;
    for name in columns {
        let column = draft.column(&table, name)?;
        check_writable(&column)?;
        if column.ty.min > 0 {
            return Err(Failure::Refused(format!(
                "column {} must have a value",
                column.name
            )));
        }
        draft.set(&table, row, &column.name, column.ty.default_datum());
    }
    Ok(())
}

pub fn get(
    draft: &mut Draft<'_>,
    table: &str,
    record: &str,
    columns: &[String],
    if_exists: bool,
    symbol: Option<&str>,
) -> Result<Vec<Cell>, Failure> {
    let table = draft.table(table)?.name.clone();
    let row = if if_exists {
        find_row(draft, &table, record)?
    } else {
        Some(must_find(draft, &table, record)?)
    };
    let Some(row) = row else {
        return Ok(Vec::new());
    };
    if let Some(symbol) = symbol {
        draft.name(symbol, row)?;
    }
    let mut out = Vec::new();
    for text in columns {
        let setting = parse_setting(draft, &table, text)?;
        let datum = draft.get(&table, row, &setting.column.name);
        match setting.key {
            Some(key) => {
                let found = datum
                    .pairs()
                    .iter()
                    .find(|(k, _)| k.to_string().trim_matches('"') == key);
                match found {
                    Some((_, v)) => out.push(Cell {
                        column: text.clone(),
                        text: v.to_string(),
                        json: atom(v),
                    }),
                    // A line for each column asked for, so that a script can count them.
                    None if if_exists => out.push(Cell {
                        column: text.clone(),
                        text: String::new(),
                        json: Value::Null,
                    }),
                    None => {
                        return Err(Failure::Refused(format!(
                            "no key \"{key}\" in {table} record \"{record}\" column {}",
                            setting.column.name
                        )))
                    }
                }
            }
            None => {
                out.push(Cell {
                    column: text.clone(),
                    text: datum.to_text(&setting.column.ty),
                    json: plain(&datum, &setting.column.ty),
                });
            }
        }
    }
    Ok(out)
}

/// A column of a row, as `list` and `find` show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub column: String,
    pub text: String,
    pub json: Value,
}

/// Rows with their columns.
pub type Rows = Vec<Vec<Cell>>;

/// All columns by name, or `only` those, in that order.
fn show_rows(
    draft: &Draft<'_>,
    table: &str,
    rows: &[Uuid],
    only: &[String],
) -> Result<Rows, Failure> {
    let mut columns = draft.table(table)?.columns.clone();
    columns.retain(|c| c.name != "_version");
    columns.sort_by(|a, b| a.name.cmp(&b.name));
    if !only.is_empty() {
        let named = only.iter().map(|name| draft.column(table, name));
        columns = named.collect::<Result<_, _>>()?;
    }
    let cell = |row: &Uuid, c: &ColumnSchema| {
        let datum = draft.get(table, *row, &c.name);
        Cell {
            column: c.name.clone(),
            text: datum.to_text(&c.ty),
            json: plain(&datum, &c.ty),
        }
    };
    let row = |row: &Uuid| columns.iter().map(|c| cell(row, c)).collect();
    Ok(rows.iter().map(row).collect())
}

pub fn list(
    draft: &mut Draft<'_>,
    table: &str,
    records: &[String],
    only: &[String],
) -> Result<Rows, Failure> {
    let name = draft.table(table)?.name.clone();
    let rows = if records.is_empty() {
        draft.rows(&name)
    } else {
        records
            .iter()
            .map(|r| must_find(draft, &name, r))
            .collect::<Result<_, _>>()?
    };
    show_rows(draft, &name, &rows, only)
}

pub fn find(
    draft: &mut Draft<'_>,
    table: &str,
    conditions: &[String],
    only: &[String],
) -> Result<Rows, Failure> {
    let name = draft.table(table)?.name.clone();
    let mut rows = draft.rows(&name);
    for text in conditions {
        let setting = parse_setting(draft, &name, text)?;
        let Some((operator, value)) = setting.value else {
            return Err(Failure::Usage(format!(
                "\"{text}\" is not COLUMN[:KEY]=VALUE"
            )));
        };
        let condition = Condition::new(draft, &setting.column, setting.key, operator, value)?;
        rows.retain(|u| condition.holds(&draft.get(&name, *u, condition.column())));
    }
    show_rows(draft, &name, &rows, only)
}

pub fn create(
    draft: &mut Draft<'_>,
    table: &str,
    settings: &[String],
    symbol: Option<&str>,
) -> Result<Uuid, Failure> {
    let name = draft.table(table)?.name.clone();
    let row = match symbol.map(|s| s.trim_start_matches('@')) {
        Some(symbol) => draft.insert_named(&name, symbol),
        None => draft.insert(&name),
    };
    apply_settings(draft, &name, row, settings)?;
    Ok(row)
}

pub fn destroy(
    draft: &mut Draft<'_>,
    table: &str,
    records: &[String],
    all: bool,
    if_exists: bool,
) -> Result<(), Failure> {
    let name = draft.table(table)?.name.clone();
    let rows = if all {
        draft.rows(&name)
    } else {
        let mut rows = Vec::new();
        for r in records {
            match find_row(draft, &name, r)? {
                Some(row) => rows.push(row),
                None if if_exists => {}
                None => rows.push(must_find(draft, &name, r)?),
            }
        }
        rows
    };
    for row in rows {
        draft.delete(&name, row);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rvs_ovsdb::database::Database;
    use rvs_ovsdb::limits::Limits;
    use rvs_ovsdb::log::NoJournal;
    use rvs_ovsdb::schema::Schema;
    use rvs_ovsdb::server::Server;
    use rvs_ovsdb::UuidGenerator;

    use super::super::bridges::{add_bridge, add_port, delete_port};
    use super::*;

    /// Runs on a draft in which bridge br0 has port p.
    fn with_port(run: impl FnOnce(&mut Draft<'_>)) {
        let db = Database::new(Schema::open_vswitch());
        let mut server = Server::new(UuidGenerator::new([1; 16]), Limits::default());
        server.add_database(db, Box::new(NoJournal));
        let root = json!({"op": "insert", "table": "Open_vSwitch", "row": {}});
        server.transact_internal("Open_vSwitch", &[root]).unwrap();
        let db = server.database("Open_vSwitch").unwrap();
        let mut draft = Draft::new(db, UuidGenerator::new([2; 16]));
        add_bridge(&mut draft, "br0", false).unwrap();
        add_port(&mut draft, "br0", "p", &words("tag=7 trunks=1,2"), false).unwrap();
        run(&mut draft);
    }

    fn words(s: &str) -> Vec<String> {
        s.split_whitespace().map(str::to_owned).collect()
    }

    fn shown(draft: &mut Draft<'_>, record: &str, columns: &str) -> Vec<String> {
        let got = get(draft, "port", record, &words(columns), false, None);
        got.unwrap().into_iter().map(|c| c.text).collect()
    }

    #[test]
    fn columns_and_tables_may_be_shortened_and_keep_their_order() {
        with_port(|draft| {
            let only = words("tr tag name");
            let rows = list(draft, "por", &words("p"), &only).unwrap();
            let said: Vec<(&str, &str, Value)> = rows[0]
                .iter()
                .map(|c| (c.column.as_str(), c.text.as_str(), c.json.clone()))
                .collect();
            let wanted = [
                ("trunks", "[1, 2]", json!([1, 2])),
                ("tag", "7", json!(7)),
                ("name", "p", json!("p")),
            ];
            assert_eq!(said, wanted);
            assert!(list(draft, "port", &[], &words("nonesuch")).is_err());
            assert!(
                list(draft, "port", &[], &words("t")).is_err(),
                "tag or trunks"
            );
        });
    }

    #[test]
    fn get_shows_uuids_and_a_line_for_a_missing_key() {
        with_port(|draft| {
            let port = draft.find("Port", "name", "p").unwrap();
            assert_eq!(
                shown(draft, "p", "_uuid tag"),
                [port.to_string(), "7".to_owned()]
            );
            let key = words("other_config:nonesuch");
            assert!(get(draft, "port", "p", &key, false, None).is_err());
            let got = get(draft, "port", "p", &key, true, None).unwrap();
            assert_eq!(got[0].text, "");
            assert!(get(draft, "port", "q", &key, true, None)
                .unwrap()
                .is_empty());
        });
    }

    #[test]
    fn a_row_that_is_there_can_be_named_for_later_commands() {
        with_port(|draft| {
            get(draft, "port", "p", &[], false, Some("@p")).unwrap();
            create(draft, "mirror", &words("name=m output_port=@p"), Some("@m")).unwrap();
            let port = draft.find("Port", "name", "p").unwrap();
            let mirror = draft.find("Mirror", "name", "m").unwrap();
            assert_eq!(draft.refs("Mirror", mirror, "output_port"), [port]);
            let twice = get(draft, "port", "br0", &[], false, Some("@p"));
            assert!(twice.is_err());
        });
    }

    #[test]
    fn keys_of_every_type_can_be_set_and_removed() {
        with_port(|draft| {
            set(
                draft,
                "port",
                "p",
                &words("other_config:a=1 other_config:b=x,y"),
                false,
            )
            .unwrap();
            assert_eq!(shown(draft, "p", "other_config"), ["{a=\"1\", b=\"x,y\"}"]);
            add_remove(draft, "port", "p", "other_config", &words("a"), false).unwrap();
            assert_eq!(shown(draft, "p", "other_config"), ["{b=\"x,y\"}"]);
            create(draft, "qos", &words("type=x queues:3=@q"), Some("@qos")).unwrap();
            add_remove(draft, "qos", "@qos", "queues", &words("3"), false).unwrap();
            let qos = draft.symbol("qos");
            assert!(draft.refs("QoS", qos, "queues").is_empty());
        });
    }

    #[test]
    fn rows_are_found_by_every_kind_of_condition() {
        with_port(|draft| {
            set(draft, "port", "p", &words("other_config:a=1"), false).unwrap();
            let mut found = |condition: &str| {
                let rows = find(draft, "port", &words(condition), &words("name")).unwrap();
                rows.into_iter().any(|r| r[0].text == "p")
            };
            for condition in [
                "tag=7",
                "tag{in}6,7",
                "tag<8",
                "trunks{>=}1",
                "trunks{<}1,2,3",
                "trunks{not-in}3,4",
                "other_config:a=1",
                "other_config:a{in}1,2",
                "other_config:b{!=}1",
            ] {
                assert!(found(condition), "{condition}");
            }
            for condition in ["tag{in}6,8", "trunks{=}1", "other_config:b!=1", "tag>7"] {
                assert!(!found(condition), "{condition}");
            }
            assert!(find(draft, "port", &words("tag:x=1"), &[]).is_err());
        });
    }

    #[test]
    fn bad_values_are_refused_and_borders_are_not() {
        with_port(|draft| {
            for tag in ["0", "4095"] {
                set(draft, "port", "p", &[format!("tag={tag}")], false).unwrap();
            }
            for tag in ["-1", "4096", "x", "1,2"] {
                let refused = set(draft, "port", "p", &[format!("tag={tag}")], false);
                assert!(refused.is_err(), "tag={tag}");
            }
            let uuid = set(draft, "port", "p", &words("_uuid=x"), false);
            assert!(uuid.is_err());
        });
    }

    #[test]
    fn a_port_deleted_and_added_in_one_transaction_is_a_new_port() {
        with_port(|draft| {
            let old = draft.find("Port", "name", "p").unwrap();
            assert!(add_port(draft, "br0", "p", &[], false).is_err());
            add_port(draft, "br0", "p", &[], true).unwrap();
            delete_port(draft, Some("br0"), "p", false).unwrap();
            assert!(delete_port(draft, None, "p", false).is_err());
            delete_port(draft, None, "p", true).unwrap();
            add_port(draft, "br0", "p", &[], false).unwrap();
            assert_ne!(draft.find("Port", "name", "p"), Some(old));
        });
    }
}
