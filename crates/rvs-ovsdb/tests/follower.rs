//! A follower against the server of this crate: lock, contents, writes, the end of a connection.
#![allow(clippy::unwrap_used)]

use rvs_ovsdb::client::{Follower, FollowerEvent, RowUpdate};
use rvs_ovsdb::database::Database;
use rvs_ovsdb::limits::Limits;
use rvs_ovsdb::log::NoJournal;
use rvs_ovsdb::schema::Schema;
use rvs_ovsdb::server::{Server, SessionId};
use rvs_ovsdb::value::Datum;
use rvs_ovsdb::{Now, Uuid, UuidGenerator};
use serde_json::{json, Value};

const DB: &str = "Open_vSwitch";

fn server() -> Server {
    let mut server = Server::new(UuidGenerator::new([7; 16]), Limits::default());
    server.add_database(Database::new(Schema::open_vswitch()), Box::new(NoJournal));
    transact(
        &mut server,
        json!({"op": "insert", "table": DB, "row": {"next_cfg": 1}}),
    );
    server
}

fn transact(server: &mut Server, operation: Value) {
    server.transact_internal(DB, &[operation]).unwrap();
}

fn next_cfg(server: &mut Server) {
    let bump = json!([["next_cfg", "+=", 1]]);
    transact(
        server,
        json!({"op": "mutate", "table": DB, "where": [], "mutations": bump}),
    );
}

/// A follower and its connection.
struct Side {
    follower: Follower,
    session: Option<SessionId>,
}

impl Side {
    fn new() -> Side {
        let schema = Schema::open_vswitch();
        Side {
            follower: Follower::new(DB, "ovs_vswitchd", schema, 5),
            session: None,
        }
    }

    fn connect(&mut self, server: &mut Server) {
        self.session = Some(server.connect(Now(0), 0).unwrap());
        self.follower.connected(Now(0));
        self.talk(server);
    }

    fn disconnect(&mut self, server: &mut Server) {
        server.disconnect(self.session.take().unwrap());
        self.follower.disconnected();
    }

    /// Carries bytes until nobody has anything to say.
    fn talk(&mut self, server: &mut Server) {
        self.talk_to(server, |up| up);
    }

    /// The same, to a server that reads what `as_heard` makes of the bytes.
    fn talk_to(&mut self, server: &mut Server, as_heard: impl Fn(Vec<u8>) -> Vec<u8>) {
        let session = self.session.unwrap();
        loop {
            let (up, down) = (
                self.follower.output().to_vec(),
                server.output(session).to_vec(),
            );
            if up.is_empty() && down.is_empty() {
                return;
            }
            self.follower.sent(up.len());
            server.input(session, &as_heard(up), Now(1));
            server.sent(session, down.len(), Now(1));
            self.follower.input(&down, Now(1)).unwrap();
        }
    }

    /// What happened, in a word each.
    fn news(&mut self) -> Vec<&'static str> {
        let events = std::iter::from_fn(|| self.follower.next_event());
        let word = |e| match e {
            FollowerEvent::Whole => "whole",
            FollowerEvent::Changed(_) => "changed",
            FollowerEvent::Waiting => "waiting",
            FollowerEvent::Refused(_) => "refused",
        };
        events.map(word).collect()
    }

    fn root(&self) -> Option<(Uuid, i64)> {
        let row = self.follower.database().table(DB)?.rows().next()?;
        Some((row.uuid(), row.int("next_cfg")))
    }
}

fn cur_cfg(row: Uuid, value: i64) -> RowUpdate {
    RowUpdate {
        table: DB,
        row,
        columns: vec![
            ("cur_cfg", Datum::scalar(value)),
            ("no_such_column", Datum::scalar(1_i64)),
        ],
    }
}

fn written(server: &Server) -> i64 {
    let table = server.database(DB).unwrap().table(DB).unwrap();
    let row = table.rows().next().unwrap();
    row.int("cur_cfg")
}

#[test]
fn it_takes_the_whole_then_changes_and_writes_back() {
    let (mut server, mut a) = (server(), Side::new());
    assert_eq!(a.root(), None);
    a.connect(&mut server);
    assert_eq!(a.news(), ["whole"]);
    next_cfg(&mut server);
    a.talk(&mut server);
    assert_eq!(a.news(), ["changed"]);
    let (row, next) = a.root().unwrap();
    assert_eq!(next, 2);
    // While a transaction is under way only the last value of a column is kept.
    for value in [7, 8, 9] {
        a.follower.write([cur_cfg(row, value)]);
    }
    a.talk(&mut server);
    assert_eq!(written(&server), 9);
}

#[test]
fn one_refused_row_costs_no_other() {
    let (mut server, mut a) = (server(), Side::new());
    a.connect(&mut server);
    let (row, _) = a.root().unwrap();
    a.news();
    // The first is under way alone; the other two go together, and the server refuses what is no string.
    a.follower.write([cur_cfg(row, 1)]);
    let wrong = RowUpdate {
        table: "Bridge",
        row: UuidGenerator::new([1; 16]).generate(),
        columns: vec![("name", Datum::scalar(5_i64))],
    };
    a.follower.write([wrong, cur_cfg(row, 3)]);
    a.talk(&mut server);
    assert_eq!(written(&server), 3);
    assert_eq!(a.news(), ["changed", "refused", "changed"]);
}

#[test]
fn the_last_configuration_stays_when_the_server_goes_and_the_next_is_told_whole() {
    let (mut server, mut a) = (server(), Side::new());
    a.connect(&mut server);
    a.news();
    a.disconnect(&mut server);
    assert_eq!(a.root().unwrap().1, 1);
    assert!(!a.follower.is_live());
    next_cfg(&mut server);
    let row = a.root().unwrap().0;
    a.follower.write([cur_cfg(row, 5)]);
    a.connect(&mut server);
    assert_eq!((a.news(), a.root().unwrap().1), (vec!["whole"], 2));
    // What was written to nobody is not written later.
    assert_eq!(written(&server), 0);
}

#[test]
fn who_has_no_lock_has_no_configuration() {
    let (mut server, mut a, mut b) = (server(), Side::new(), Side::new());
    a.connect(&mut server);
    b.connect(&mut server);
    assert_eq!((a.news(), b.news()), (vec!["whole"], vec!["waiting"]));
    assert!(b.follower.is_waiting());
    assert_eq!(b.root(), None);
    next_cfg(&mut server);
    b.talk(&mut server);
    assert!(b.news().is_empty());
    // The first one goes: the second takes over.
    a.disconnect(&mut server);
    b.talk(&mut server);
    assert_eq!((b.news(), b.root().unwrap().1), (vec!["whole"], 2));
    // It comes back too late.
    a.connect(&mut server);
    assert_eq!((a.news(), a.root()), (vec!["waiting", "whole"], None));
}

#[test]
fn a_silent_server_is_probed_once_and_then_given_up() {
    let (mut server, mut a) = (server(), Side::new());
    a.connect(&mut server);
    assert_eq!(a.follower.next_deadline(), Some(Now(6)));
    assert!(a.follower.tick(Now(5)));
    assert!(a.follower.output().is_empty());
    assert!(a.follower.tick(Now(6)));
    assert!(!a.follower.output().is_empty());
    assert_eq!(a.follower.next_deadline(), Some(Now(11)));
    assert!(!a.follower.tick(Now(11)));
}

#[test]
fn a_server_that_knows_no_differences_is_followed_by_whole_rows() {
    let (mut server, mut a) = (server(), Side::new());
    // Of the time before the method was made.
    let old = |up: Vec<u8>| {
        let text = String::from_utf8(up).unwrap();
        text.replace("monitor_cond", "monitor_none").into_bytes()
    };
    a.session = Some(server.connect(Now(0), 0).unwrap());
    a.follower.connected(Now(0));
    a.talk_to(&mut server, old);
    assert_eq!((a.news(), a.root().unwrap().1), (vec!["whole"], 1));
    next_cfg(&mut server);
    a.talk_to(&mut server, old);
    assert_eq!((a.news(), a.root().unwrap().1), (vec!["changed"], 2));
}
