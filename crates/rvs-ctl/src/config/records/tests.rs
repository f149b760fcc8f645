//! Commands on rows, on a draft of a database in memory.
#![allow(clippy::unwrap_used)]
use rvs_ovsdb::database::Database;
use rvs_ovsdb::limits::Limits;
use rvs_ovsdb::log::NoJournal;
use rvs_ovsdb::schema::Schema;
use rvs_ovsdb::server::Server;
use rvs_ovsdb::UuidGenerator;
use serde_json::json;

use super::super::ports::{self, NewPort, OldPort};
use super::super::{bridges, table};
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
    bridges::add(&mut draft, "br0", None, false).unwrap();
    add_port(&mut draft, "br0", "p", "tag=7 trunks=1,2", false).unwrap();
    run(&mut draft);
}

fn add_port(
    draft: &mut Draft<'_>,
    bridge: &str,
    name: &str,
    settings: &str,
    may_exist: bool,
) -> Result<(), Failure> {
    let new = NewPort {
        bridge,
        name,
        interfaces: &[name.to_owned()],
        settings: &words(settings),
        may_exist,
        fake_iface: false,
    };
    ports::add(draft, &new)
}

fn delete_port(
    draft: &mut Draft<'_>,
    bridge: Option<&str>,
    name: &str,
    if_exists: bool,
) -> Result<(), Failure> {
    let old = OldPort {
        bridge,
        name,
        if_exists,
        with_iface: false,
    };
    ports::delete(draft, &old)
}

fn change(draft: &mut Draft<'_>, line: &str, add: bool) -> Result<(), Failure> {
    let words = words(line);
    let [table, record, column, values @ ..] = &words[..] else {
        panic!("{line}");
    };
    let what = Values {
        table,
        record,
        column,
        values,
        if_exists: false,
    };
    add_remove(draft, &what, add)
}

fn words(s: &str) -> Vec<String> {
    s.split_whitespace().map(str::to_owned).collect()
}

fn shown(draft: &mut Draft<'_>, record: &str, columns: &str) -> Vec<String> {
    let got = get(draft, "port", record, &words(columns), false, None);
    got.unwrap().into_iter().map(|g| g.text).collect()
}

#[test]
fn columns_and_tables_may_be_shortened_and_keep_their_order() {
    with_port(|draft| {
        let only = words("tr tag name");
        let shown = list(draft, "por", &words("p"), &only, false).unwrap();
        let mut printer = table::Printer::new(&Default::default());
        assert_eq!(
            printer.render(&shown),
            "trunks              : [1, 2]\ntag                 : 7\nname                : p\n"
        );
        assert_eq!(
            shown.to_json(),
            json!([{"trunks": [1, 2], "tag": 7, "name": "p"}])
        );
        assert!(list(draft, "port", &[], &words("nonesuch"), false).is_err());
        assert!(
            list(draft, "port", &[], &words("t"), false).is_err(),
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
        change(draft, "port p other_config a", false).unwrap();
        assert_eq!(shown(draft, "p", "other_config"), ["{b=\"x,y\"}"]);
        create(draft, "qos", &words("type=x queues:3=@q"), Some("@qos")).unwrap();
        change(draft, "qos @qos queues 3", false).unwrap();
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
            rows.rows.iter().any(|r| r[0] == Datum::scalar("p"))
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
        assert!(add_port(draft, "br0", "p", "", false).is_err());
        add_port(draft, "br0", "p", "", true).unwrap();
        delete_port(draft, Some("br0"), "p", false).unwrap();
        assert!(delete_port(draft, None, "p", false).is_err());
        delete_port(draft, None, "p", true).unwrap();
        add_port(draft, "br0", "p", "", false).unwrap();
        assert_ne!(draft.find("Port", "name", "p"), Some(old));
    });
}
