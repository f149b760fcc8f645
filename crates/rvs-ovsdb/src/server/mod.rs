//! The database server, without I/O: sessions of clients, their requests, monitors and locks, and the
//! daemon's own access to the databases.
//!
//! # Use
//! The owner moves bytes: [`connect`](Server::connect), [`input`](Server::input), then
//! [`output`](Server::output) and [`sent`](Server::sent); it calls [`tick`](Server::tick) when
//! [`next_deadline`](Server::next_deadline) has come. After each of these it takes
//! [`next_event`](Server::next_event) until there is none: commits, with what they changed, and sessions
//! that the server has dropped.
//!
//! # Order
//! A commit reaches the journal first, then memory, then the monitors of every session, then the events,
//! and last the reply to the client that asked for it. Transactions parked on a `wait` are tried again
//! after each commit that touches their tables.
//!
//! # Bounds
//! See [`Limits`]. A client that sends what is not JSON-RPC, or that has a monitor and does not read, is
//! dropped; one that merely sends requests faster than it reads replies is not read from.

mod locks;
mod monitor;
mod requests;
mod session;
mod transact;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

pub use session::SessionId;

use self::locks::Locks;
use self::session::{Answer, Session};
use self::transact::Parked;
use crate::database::{Database, Delta, Txn};
use crate::error::{kind, OvsdbError, Result};
use crate::jsonrpc::{Message, ProtocolError};
use crate::limits::{Limits, MAX_MESSAGE_BYTES};
use crate::log::{Durability, Journal, NoJournal};
use crate::schema::Schema;
use crate::transaction::Commit;
use crate::uuid::{Uuid, UuidGenerator};
use crate::value::Datum;
use crate::Now;

/// What the owner of a server must know.
#[derive(Clone, Debug)]
pub enum Event {
    /// A database has changed.
    Committed(Committed),
    /// The server has dropped a session; its connection is to be closed.
    Closed {
        /// The session, which is already gone.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
}

/// A committed transaction.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Name of the database.
    pub database: Arc<str>,
    /// What changed.
    pub delta: Arc<Delta>,
    /// What the client said about it.
    pub comment: Option<String>,
    /// The client; `None` if the daemon itself made the change.
    pub session: Option<SessionId>,
}

/// Why a session was dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The client does not speak the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The client monitors but does not read.
    #[error("client does not read: {0} bytes wait for it")]
    Backlog(usize),
    /// The client did not answer a probe.
    #[error("client did not answer a probe")]
    Silent,
}

/// The server has as many sessions as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many database clients ({0})")]
pub struct TooManySessions(pub usize);

/// A database and what goes with serving it.
struct Served {
    name: Arc<str>,
    db: Database,
    journal: Box<dyn Journal + Send>,
    /// Clients only read it.
    read_only: bool,
    /// The last transactions, oldest first, each by the identifier it produced.
    history: VecDeque<(Uuid, Arc<Delta>)>,
    history_rows: usize,
    /// Identifier of the last transaction.
    last_txn: Uuid,
}

/// Databases and their clients.
pub struct Server {
    databases: Vec<Served>,
    sessions: BTreeMap<SessionId, Session>,
    next_session: u64,
    locks: Locks,
    parked: Vec<Parked>,
    events: VecDeque<Event>,
    uuids: UuidGenerator,
    id: Uuid,
    limits: Limits,
}

/// Index of the `_Server` database.
const SERVER_DATABASE: usize = 0;
/// Stands for the server among the owners of locks. Sessions are counted from 1.
const OWN: SessionId = SessionId(0);

impl Server {
    /// A server with no database but `_Server`.
    pub fn new(mut uuids: UuidGenerator, limits: Limits) -> Server {
        let id = uuids.generate();
        let mut server = Server {
            databases: Vec::new(),
            sessions: BTreeMap::new(),
            next_session: 1,
            locks: Locks::default(),
            parked: Vec::new(),
            events: VecDeque::new(),
            uuids,
            id,
            limits,
        };
        server.serve(Database::new(Schema::server()), Box::new(NoJournal), true);
        server
    }

    /// Takes a lock for the server itself, before any client can. Who asks for it waits; it can be stolen, which the server
    /// is not told.
    pub fn hold(&mut self, lock: &str) {
        self.locks.lock(OWN, lock);
    }

    /// Serves a database. Its name must be new.
    pub fn add_database(&mut self, db: Database, journal: Box<dyn Journal + Send>) {
        self.serve(db, journal, false);
    }

    fn serve(&mut self, db: Database, journal: Box<dyn Journal + Send>, read_only: bool) {
        let (name, schema) = (db.schema().name.clone(), db.schema().to_json().to_string());
        self.databases.push(Served {
            name: name.as_str().into(),
            db,
            journal,
            read_only,
            history: VecDeque::new(),
            history_rows: 0,
            last_txn: self.uuids.generate(),
        });
        let described = self.update("_Server", |txn, uuids| {
            let table = 0;
            let uuid = uuids.generate();
            txn.insert(
                table,
                crate::Row::new(uuid, &txn.database().schema().tables()[table]),
            );
            txn.set(table, uuid, "name", Datum::scalar(name.as_str()))?;
            txn.set(table, uuid, "model", Datum::scalar("standalone"))?;
            txn.set(table, uuid, "connected", Datum::scalar(true))?;
            txn.set(table, uuid, "leader", Datum::scalar(true))?;
            txn.set(table, uuid, "schema", Datum::scalar(schema.as_str()))
        });
        described
            .expect("invariant: a row of the _Server schema that ships with the crate is legal");
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The database called `name`.
    pub fn database(&self, name: &str) -> Option<&Database> {
        self.databases
            .iter()
            .find(|served| *served.name == *name)
            .map(|served| &served.db)
    }

    /// Names of the databases, `_Server` first.
    pub fn database_names(&self) -> impl Iterator<Item = &str> {
        self.databases.iter().map(|served| &*served.name)
    }

    /// Makes a database's log as short as it can be.
    ///
    /// # Errors
    /// There is no such database, or the log could not be written; it is then as it was.
    pub fn compact(&mut self, database: &str) -> Result<()> {
        let index = self.database_index(database)?;
        let served = &mut self.databases[index];
        served
            .journal
            .compact(&served.db)
            .map_err(|error| error.into_ovsdb())
    }

    /// Why a database cannot be written at the moment: the last failure of its log, until a later write
    /// succeeds.
    pub fn journal_error(&self, database: &str) -> Option<&str> {
        let served = self
            .databases
            .iter()
            .find(|served| *served.name == *database)?;
        served.journal.last_error()
    }

    /// Changes a database from inside: `change` edits a transaction, which is then committed as any
    /// client's is. Returns what `change` returned.
    ///
    /// # Errors
    /// Those of `change`, of the checks at commit, and of the journal; nothing has changed then.
    pub fn update<T>(
        &mut self,
        database: &str,
        change: impl FnOnce(&mut Txn<'_>, &mut UuidGenerator) -> Result<T>,
    ) -> Result<T> {
        self.update_with(database, Durability::Synced, change)
    }

    /// As [`update`](Server::update), for what the daemon would find out again after a crash of the machine
    /// (`cur_cfg`, `ofport`, statistics): it is written but not waited for.
    ///
    /// # Errors
    /// As [`update`](Server::update).
    pub fn update_status<T>(
        &mut self,
        database: &str,
        change: impl FnOnce(&mut Txn<'_>, &mut UuidGenerator) -> Result<T>,
    ) -> Result<T> {
        self.update_with(database, Durability::Buffered, change)
    }

    fn update_with<T>(
        &mut self,
        database: &str,
        durability: Durability,
        change: impl FnOnce(&mut Txn<'_>, &mut UuidGenerator) -> Result<T>,
    ) -> Result<T> {
        let index = self.database_index(database)?;
        let mut txn = self.databases[index].db.begin();
        let result = change(&mut txn, &mut self.uuids)?;
        let prepared = txn.prepare(&mut self.uuids)?;
        let commit = Commit {
            prepared,
            comment: None,
        };
        self.commit(index, &commit, None, durability)?;
        Ok(result)
    }

    fn database_index(&self, name: &str) -> Result<usize> {
        self.databases
            .iter()
            .position(|served| *served.name == *name)
            .ok_or_else(|| {
                OvsdbError::new(kind::UNKNOWN_DATABASE, format!("no database named {name}"))
            })
    }

    /// Begins a session. `probe_interval` is the silence in nanoseconds after which the client is probed
    /// (0 never: right for Unix sockets).
    ///
    /// # Errors
    /// There are too many already.
    pub fn connect(
        &mut self,
        now: Now,
        probe_interval: u64,
    ) -> std::result::Result<SessionId, TooManySessions> {
        if self.sessions.len() >= self.limits.sessions {
            return Err(TooManySessions(self.limits.sessions));
        }
        let id = SessionId(self.next_session);
        self.next_session += 1;
        self.sessions.insert(id, Session::new(now, probe_interval));
        Ok(id)
    }

    /// Ends a session whose connection is gone.
    pub fn disconnect(&mut self, session: SessionId) {
        if self.sessions.remove(&session).is_none() {
            return;
        }
        self.parked.retain(|parked| parked.session != session);
        for (lock, owner) in self.locks.forget(session) {
            self.notify(owner, "locked", vec![Value::from(lock)]);
        }
    }

    fn close(&mut self, session: SessionId, reason: CloseReason) {
        if self.sessions.contains_key(&session) {
            self.disconnect(session);
            self.events.push_back(Event::Closed { session, reason });
        }
    }

    /// Takes bytes that a client sent and does what they ask for.
    pub fn input(&mut self, session: SessionId, bytes: &[u8], now: Now) {
        let Some(state) = self.sessions.get_mut(&session) else {
            return;
        };
        state.heard = now;
        state.probed = false;
        state.framer.push(bytes);
        self.process(session, now);
    }

    /// Whether the client's bytes are welcome; if not, they are again after [`sent`](Server::sent).
    pub fn wants_input(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|state| {
            state.out.pending().len() < self.limits.pause && state.framer.len() < MAX_MESSAGE_BYTES
        })
    }

    /// Handles the complete messages of a session until its replies pile up.
    fn process(&mut self, session: SessionId, now: Now) {
        loop {
            let Some(state) = self.sessions.get_mut(&session) else {
                return;
            };
            if state.out.pending().len() >= self.limits.pause {
                return;
            }
            let message = match state.framer.next_object() {
                Ok(None) => return,
                Ok(Some(json)) => Message::from_json(json),
                Err(error) => Err(error),
            };
            match message {
                Ok(message) => self.handle(session, message, now),
                Err(error) => self.close(session, error.into()),
            }
        }
    }

    /// The bytes that wait to be sent to a client.
    pub fn output(&self, session: SessionId) -> &[u8] {
        self.sessions
            .get(&session)
            .map_or(&[], |state| state.out.pending())
    }

    /// Notes that so many bytes of the [`output`](Server::output) were sent.
    pub fn sent(&mut self, session: SessionId, count: usize, now: Now) {
        let Some(state) = self.sessions.get_mut(&session) else {
            return;
        };
        state.out.sent(count);
        self.process(session, now);
    }

    /// The sessions that have bytes to be sent.
    pub fn sessions_with_output(&self) -> impl Iterator<Item = SessionId> + '_ {
        let waiting = self
            .sessions
            .iter()
            .filter(|(_, state)| !state.out.pending().is_empty());
        waiting.map(|(&id, _)| id)
    }

    /// Number of sessions.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The next thing that the owner must know.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`tick`](Server::tick) has something to do.
    pub fn next_deadline(&self) -> Option<Now> {
        let waits = self.parked.iter().filter_map(|parked| parked.deadline);
        let probes = self.sessions.values().filter_map(Session::probe_deadline);
        waits.chain(probes).min()
    }

    /// Ends waits that have timed out, probes silent clients and drops those that stay silent.
    pub fn tick(&mut self, now: Now) {
        for parked in &mut self.parked {
            parked.ready |= parked.deadline.is_some_and(|deadline| deadline <= now);
        }
        self.run_parked(now);
        let due: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, state)| {
                state
                    .probe_deadline()
                    .is_some_and(|deadline| deadline <= now)
            })
            .map(|(&id, _)| id)
            .collect();
        for session in due {
            if !self.sessions.get_mut(&session).is_some_and(Session::probe) {
                self.close(session, CloseReason::Silent);
            }
        }
    }

    fn reply(&mut self, session: SessionId, id: Value, result: std::result::Result<Answer, Value>) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.reply(id, result);
        }
    }

    fn notify(&mut self, session: SessionId, method: &str, params: Vec<Value>) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.notify(method, params);
        }
    }

    fn handle(&mut self, session: SessionId, message: Message, now: Now) {
        match message {
            Message::Request { id, method, params } if method == "transact" => {
                self.transact(session, id, params, now);
            }
            Message::Request { id, method, params } => {
                let result = self.request(session, &method, params);
                self.reply(session, id, result);
            }
            Message::Notification { method, params } if method == "cancel" => {
                self.cancel(session, params.first());
            }
            Message::Notification { .. } | Message::Response { .. } => {}
        }
        self.run_parked(now);
    }
}
