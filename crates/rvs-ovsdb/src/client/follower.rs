//! A client whose configuration is a server's database: it takes a lock, follows the database, and writes back how
//! things are.
//!
//! This is how a switch daemon lives beside a database server of its own: the lock (`ovs_vswitchd`) makes sure that one
//! daemon at a time acts on the configuration; the monitor tells what is wanted; `cur_cfg`, port numbers and counters
//! are written back. Without I/O, like [`Client`]: the owner dials, tells [`connected`](Follower::connected) and
//! [`disconnected`](Follower::disconnected), and carries bytes.
//!
//! While there is no connection the last known configuration stays in force. After each connection the whole is
//! monitored anew, and [`FollowerEvent::Whole`] says so: rows may have come and gone unseen. Whoever loses the lock has
//! no configuration: [`database`](Follower::database) is empty from then on.
//!
//! Writes are bounded: one transaction is under way, and what is to be written next is kept by row and column, the last
//! value of each. A transaction that the server refuses is repeated row by row, so that one row costs no other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{json, Map, Value};

use super::{Client, ClientEvent, RequestId};
use crate::database::{Database, Delta};
use crate::error::Result;
use crate::jsonrpc::ProtocolError;
use crate::schema::Schema;
use crate::uuid::Uuid;
use crate::value::Datum;
use crate::Now;

/// Columns that this client only writes, and whose values are not worth hearing again.
const NOT_FOLLOWED: &[&str] = &["statistics"];

/// New values of columns of one row.
#[derive(Clone, Debug)]
pub struct RowUpdate {
    /// Name of the table.
    pub table: &'static str,
    /// The row. If it is gone, nothing is written.
    pub row: Uuid,
    /// Columns that the server's schema lacks are left out.
    pub columns: Vec<(&'static str, Datum)>,
}

/// What the owner must know.
#[derive(Clone, Debug)]
pub enum FollowerEvent {
    /// [`database`](Follower::database) is another one than before.
    Whole,
    /// Rows have changed.
    Changed(Arc<Delta>),
    /// Another client has the lock; this one waits.
    Waiting,
    /// The server refused to write a row, in its words; the row keeps what it had.
    Refused(String),
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Schema(RequestId),
    Contents {
        lock: RequestId,
        monitor: RequestId,
        /// The answer to the monitor has come.
        whole: bool,
        /// The answer to the lock, and whether it is there.
        locked: Option<bool>,
    },
}

/// One connection.
#[derive(Debug)]
struct Line {
    client: Client,
    stage: Stage,
    schema: Option<Arc<Schema>>,
    under_way: Option<(RequestId, Vec<RowUpdate>)>,
    /// The server has refused to send differences.
    plain: bool,
    /// When something was heard last, and whether the silence since was answered by a probe.
    heard: Now,
    probed: bool,
}

/// The follower of one database.
#[derive(Debug)]
pub struct Follower {
    database: String,
    lock: String,
    /// Silence in nanoseconds after which the server is probed; 0 never.
    probe: u64,
    line: Option<Line>,
    /// The configuration is this client's to act on: it has had the lock, and nobody else since.
    acting: bool,
    /// What is in force while the connection does not tell.
    kept: Database,
    /// What is in force for who does not act.
    nothing: Database,
    waiting: BTreeMap<(&'static str, Uuid), BTreeMap<&'static str, Datum>>,
    /// Rows of a refused transaction, each to be tried alone.
    alone: VecDeque<RowUpdate>,
    events: VecDeque<FollowerEvent>,
}

impl Follower {
    /// Follows `database` of whatever server the owner connects to, under `lock`. `schema` is that of the empty
    /// database before the first connection.
    pub fn new(database: &str, lock: &str, schema: Arc<Schema>, probe: u64) -> Follower {
        Follower {
            database: database.to_owned(),
            lock: lock.to_owned(),
            probe,
            line: None,
            acting: false,
            kept: Database::new(schema.clone()),
            nothing: Database::new(schema),
            waiting: BTreeMap::new(),
            alone: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A connection has been made.
    pub fn connected(&mut self, now: Now) {
        self.disconnected();
        let mut client = Client::new();
        let stage = Stage::Schema(client.request_schema(&self.database));
        self.line = Some(Line {
            client,
            stage,
            schema: None,
            under_way: None,
            plain: false,
            heard: now,
            probed: false,
        });
    }

    /// The connection has ended. What it has told stays in force.
    pub fn disconnected(&mut self) {
        let Some(line) = self.line.take() else { return };
        if matches!(line.stage, Stage::Contents { whole: true, .. }) {
            if let Some(db) = line.client.into_replica() {
                self.kept = db;
            }
        }
        // Whoever comes back tells everything anew.
        self.waiting.clear();
        self.alone.clear();
    }

    /// The configuration in force; empty before the first, and for who does not have the lock.
    pub fn database(&self) -> &Database {
        if !self.acting {
            return &self.nothing;
        }
        let line = self.line.as_ref().filter(|l| l.is_whole());
        line.and_then(|l| l.client.replica()).unwrap_or(&self.kept)
    }

    /// Whether the server tells what is wanted, and takes what is written.
    pub fn is_live(&self) -> bool {
        self.acting && self.line.as_ref().is_some_and(Line::is_whole)
    }

    /// Whether another client has the lock.
    pub fn is_waiting(&self) -> bool {
        let stage = self.line.as_ref().map(|l| &l.stage);
        matches!(
            stage,
            Some(Stage::Contents {
                locked: Some(false),
                ..
            })
        )
    }

    /// The bytes to send.
    pub fn output(&self) -> &[u8] {
        self.line.as_ref().map_or(&[], |l| l.client.output())
    }

    /// Notes that so many bytes of the [`output`](Follower::output) were sent.
    pub fn sent(&mut self, count: usize) {
        if let Some(line) = &mut self.line {
            line.client.sent(count);
        }
    }

    /// Takes bytes from the server.
    ///
    /// # Errors
    /// The server does not speak the protocol, or has no such database: the connection is of no use.
    pub fn input(&mut self, bytes: &[u8], now: Now) -> std::result::Result<(), ProtocolError> {
        let Some(line) = &mut self.line else {
            return Ok(());
        };
        line.heard = now;
        line.probed = false;
        line.client.input(bytes)?;
        while let Some(event) = self.line.as_mut().and_then(|l| l.client.next_event()) {
            self.handle(event)?;
        }
        self.flush();
        Ok(())
    }

    /// The next thing that the owner must know.
    pub fn next_event(&mut self) -> Option<FollowerEvent> {
        self.events.pop_front()
    }

    /// When [`tick`](Follower::tick) has something to do.
    pub fn next_deadline(&self) -> Option<Now> {
        let line = self.line.as_ref().filter(|_| self.probe > 0)?;
        let times = if line.probed { 2 } else { 1 };
        Some(Now(line.heard.0.saturating_add(self.probe * times)))
    }

    /// Probes a silent server. False: it did not answer the last probe, and the connection is of no use.
    pub fn tick(&mut self, now: Now) -> bool {
        if self.next_deadline().is_none_or(|at| at > now) {
            return true;
        }
        match &mut self.line {
            Some(line) if !line.probed => {
                line.probed = true;
                line.client.request("echo", Vec::new());
                true
            }
            _ => false,
        }
    }

    /// Writes columns, as soon as the server takes it. Without a connection nothing is kept for later.
    pub fn write(&mut self, rows: impl IntoIterator<Item = RowUpdate>) {
        if !self.is_live() {
            return;
        }
        for update in rows {
            let row = self.waiting.entry((update.table, update.row)).or_default();
            row.extend(update.columns);
        }
        self.flush();
    }

    fn handle(&mut self, event: ClientEvent) -> std::result::Result<(), ProtocolError> {
        match event {
            ClientEvent::Response { id, result } => self.answered(id, result),
            ClientEvent::Updated(delta) => {
                // The first contents are told as a whole.
                if self.is_live() && !delta.is_empty() {
                    self.events.push_back(FollowerEvent::Changed(delta));
                }
                Ok(())
            }
            ClientEvent::Notification { method, params } => {
                if params.first().and_then(Value::as_str) == Some(&self.lock) {
                    match method.as_str() {
                        "locked" => self.lock_changed(true),
                        "stolen" => self.lock_changed(false),
                        _ => {}
                    }
                }
                Ok(())
            }
        }
    }

    fn answered(
        &mut self,
        id: RequestId,
        result: Result<Value>,
    ) -> std::result::Result<(), ProtocolError> {
        let Some(line) = &mut self.line else {
            return Ok(());
        };
        let useless = |e: &dyn std::fmt::Display| ProtocolError::NotAMessage(e.to_string());
        match &mut line.stage {
            Stage::Schema(asked) if *asked == id => {
                let json = result.map_err(|e| useless(&e))?;
                let schema = Arc::new(Schema::from_json(&json).map_err(|e| useless(&e))?);
                line.follow(&self.lock, &schema);
            }
            Stage::Contents { monitor, whole, .. } if *monitor == id => {
                match (result, line.schema.clone()) {
                    // A server that knows no differences sends whole rows.
                    (Err(e), Some(schema)) if e.kind == "unknown method" && !line.plain => {
                        line.plain = true;
                        *monitor = ask_contents(&mut line.client, &schema, false);
                    }
                    (result, _) => {
                        result.map_err(|e| useless(&e))?;
                        *whole = true;
                        self.take_over();
                    }
                }
            }
            Stage::Contents { lock, .. } if *lock == id => {
                let locked = result.map_err(|e| useless(&e))?;
                self.lock_changed(locked.get("locked") == Some(&Value::Bool(true)));
            }
            _ => self.written(id, result),
        }
        Ok(())
    }

    fn lock_changed(&mut self, mine: bool) {
        let Some(Line {
            stage: Stage::Contents { locked, .. },
            ..
        }) = &mut self.line
        else {
            return;
        };
        *locked = Some(mine);
        if mine {
            self.take_over();
            return;
        }
        self.events.push_back(FollowerEvent::Waiting);
        if std::mem::take(&mut self.acting) {
            self.events.push_back(FollowerEvent::Whole);
        }
    }

    /// Acts on the configuration once it is whole and the lock is there.
    fn take_over(&mut self) {
        let ready = |l: &Line| l.is_whole() && l.is_locked();
        if self.line.as_ref().is_some_and(ready) {
            self.acting = true;
            self.events.push_back(FollowerEvent::Whole);
        }
    }

    /// The answer to a transaction.
    fn written(&mut self, id: RequestId, result: Result<Value>) {
        let Some(line) = &mut self.line else { return };
        if line
            .under_way
            .as_ref()
            .is_none_or(|(asked, _)| *asked != id)
        {
            return;
        }
        let Some((_, rows)) = line.under_way.take() else {
            return;
        };
        let error = match &result {
            Err(e) => Some(e.to_string()),
            Ok(Value::Array(results)) => results
                .iter()
                .find(|r| r.get("error").is_some_and(|e| !e.is_null()))
                .map(Value::to_string),
            Ok(_) => None,
        };
        let Some(error) = error else { return };
        if rows.len() > 1 {
            self.alone.extend(rows);
        } else {
            self.events.push_back(FollowerEvent::Refused(error));
        }
    }

    /// Begins the next transaction, when there is something to write and none under way.
    fn flush(&mut self) {
        if !self.is_live() {
            return;
        }
        let Some(line) = self.line.as_mut().filter(|l| l.under_way.is_none()) else {
            return;
        };
        let rows: Vec<RowUpdate> = match self.alone.pop_front() {
            Some(row) => vec![row],
            None => std::mem::take(&mut self.waiting)
                .into_iter()
                .map(|((table, row), columns)| RowUpdate {
                    table,
                    row,
                    columns: columns.into_iter().collect(),
                })
                .collect(),
        };
        let Some(schema) = line.schema.clone().filter(|_| !rows.is_empty()) else {
            return;
        };
        let mut operations = vec![json!({"op": "assert", "lock": self.lock})];
        operations.extend(rows.iter().filter_map(|r| update(&schema, r)));
        let id = line.client.transact(&self.database, operations);
        line.under_way = Some((id, rows));
    }
}

impl Line {
    fn is_whole(&self) -> bool {
        matches!(self.stage, Stage::Contents { whole: true, .. })
    }

    fn is_locked(&self) -> bool {
        matches!(
            self.stage,
            Stage::Contents {
                locked: Some(true),
                ..
            }
        )
    }

    /// Asks for the lock and the contents.
    fn follow(&mut self, lock: &str, schema: &Arc<Schema>) {
        let lock = self.client.request("lock", vec![json!(lock)]);
        let monitor = ask_contents(&mut self.client, schema, true);
        self.schema = Some(schema.clone());
        self.stage = Stage::Contents {
            lock,
            monitor,
            whole: false,
            locked: None,
        };
    }
}

/// Asks for the columns that are followed, of every table.
fn ask_contents(client: &mut Client, schema: &Arc<Schema>, differences: bool) -> RequestId {
    let followed = |name: &&str| !name.starts_with('_') && !NOT_FOLLOWED.contains(name);
    let columns: Vec<Vec<&str>> = schema
        .tables()
        .iter()
        .map(|t| t.columns.iter().map(|c| c.name.as_str()))
        .map(|names| names.filter(followed).collect())
        .collect();
    let tables = schema.tables().iter().zip(&columns);
    let wanted: Vec<(&str, Option<&[&str]>)> = tables
        .map(|(t, columns)| (t.name.as_str(), Some(columns.as_slice())))
        .collect();
    client.monitor(schema, &wanted, differences)
}

/// The operation that writes a row; `None` if the server's schema has none of it.
fn update(schema: &Schema, row: &RowUpdate) -> Option<Value> {
    let table = &schema.tables()[schema.table_index(row.table)?];
    let columns: Map<String, Value> = row
        .columns
        .iter()
        .filter(|(name, _)| table.column(name).is_some())
        .map(|(name, value)| ((*name).to_owned(), value.to_json()))
        .collect();
    let this = json!([["_uuid", "==", ["uuid", row.row.to_string()]]]);
    (!columns.is_empty())
        .then(|| json!({"op": "update", "table": row.table, "where": this, "row": columns}))
}
