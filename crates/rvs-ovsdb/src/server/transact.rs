//! Transactions: run, parked, committed, told to everyone.

use std::sync::Arc;

use serde_json::{json, Value};

use super::monitor::Spec;
use super::session::{Answer, Session};
use super::{CloseReason, Committed, Event, Server, SessionId, SERVER_DATABASE};
use crate::database::{Delta, Prepared};
use crate::error::{kind, OvsdbError, Result};
use crate::limits::{MAX_HISTORY, MAX_HISTORY_ROWS};
use crate::log::{Durability, LogError};
use crate::transaction::{execute, Commit, Environment, Outcome};
use crate::Now;

/// A transaction that waits.
pub(super) struct Parked {
    pub(super) session: SessionId,
    id: Value,
    database: usize,
    operations: Vec<Value>,
    received: Now,
    pub(super) deadline: Option<Now>,
    tables: Vec<usize>,
    /// One of the tables has changed, or the deadline has come.
    pub(super) ready: bool,
}

impl Server {
    /// Runs operations in their JSON form, as `transact` does, without a client. A `wait` must be true.
    ///
    /// # Errors
    /// The first operation's that failed, or the commit's; nothing has changed then.
    pub fn transact_internal(
        &mut self,
        database: &str,
        operations: &[Value],
    ) -> Result<Vec<Value>> {
        let index = self.database_index(database)?;
        let results = match self.attempt(index, operations, None, u64::MAX) {
            Outcome::Parked { .. } => {
                return Err(OvsdbError::new(kind::TIMED_OUT, "\"wait\" is not true"));
            }
            Outcome::Done { results, commit } => self.finish(index, results, commit, None),
        };
        match results.iter().find(|result| result.get("error").is_some()) {
            Some(error) => Err(OvsdbError::from_json(error)),
            None => Ok(results),
        }
    }

    /// Runs operations up to the commit. `asker` is `None` for the daemon; `waited` is in milliseconds.
    fn attempt(
        &mut self,
        database: usize,
        operations: &[Value],
        asker: Option<SessionId>,
        waited: u64,
    ) -> Outcome {
        let locks = &self.locks;
        let served = &self.databases[database];
        let env = Environment {
            owns_lock: &|lock| asker.is_some_and(|session| locks.owns(session, lock)),
            waited,
            read_only: served.read_only && asker.is_some(),
            max_result: self.limits.results,
        };
        execute(&served.db, operations, &mut self.uuids, &env)
    }

    /// Commits what a transaction prepared and completes its results.
    fn finish(
        &mut self,
        database: usize,
        mut results: Vec<Value>,
        commit: Option<Commit>,
        session: Option<SessionId>,
    ) -> Vec<Value> {
        if let Some(commit) = commit {
            if let Err(error) = self.commit(database, &commit, session, Durability::Synced) {
                results.push(error.to_json());
            }
        }
        results
    }

    /// Makes a change durable, applies it and tells everyone.
    pub(super) fn commit(
        &mut self,
        database: usize,
        commit: &Commit,
        session: Option<SessionId>,
        durability: Durability,
    ) -> Result<()> {
        let Commit { prepared, comment } = commit;
        if prepared.delta.is_empty() {
            return Ok(());
        }
        let served = &mut self.databases[database];
        served
            .journal
            .commit(&served.db, &prepared.delta, comment.as_deref(), durability)
            .map_err(LogError::into_ovsdb)?;
        served.db.apply(prepared);
        served.journal.committed(&served.db);
        let delta = self.remember(database, prepared);
        self.tell_monitors(database, &delta);
        for parked in self
            .parked
            .iter_mut()
            .filter(|parked| parked.database == database)
        {
            let touched =
                |table: &usize| delta.tables.iter().any(|changed| changed.table == *table);
            parked.ready |= parked.tables.iter().any(touched);
        }
        if database != SERVER_DATABASE {
            let database = self.databases[database].name.clone();
            let comment = comment.clone();
            self.events.push_back(Event::Committed(Committed {
                database,
                delta,
                comment,
                session,
            }));
        }
        Ok(())
    }

    /// Keeps the change for clients that reconnect.
    fn remember(&mut self, database: usize, prepared: &Prepared) -> Arc<Delta> {
        let delta = Arc::new(prepared.delta.clone());
        let served = &mut self.databases[database];
        served.last_txn = self.uuids.generate();
        served.history_rows += delta.len();
        served.history.push_back((served.last_txn, delta.clone()));
        while served.history.len() > MAX_HISTORY || served.history_rows > MAX_HISTORY_ROWS {
            let Some((_, oldest)) = served.history.pop_front() else {
                break;
            };
            served.history_rows -= oldest.len();
        }
        delta
    }

    fn tell_monitors(&mut self, database: usize, delta: &Delta) {
        let last_txn = self.databases[database].last_txn;
        // Texts by specification: a hundred clients that watch the same cost one.
        let mut texts: Vec<(*const Spec, Option<String>)> = Vec::new();
        let mut overflowed = Vec::new();
        for (&id, session) in &mut self.sessions {
            let Session { monitors, out, .. } = session;
            for monitor in monitors
                .iter()
                .filter(|monitor| monitor.spec.database == database)
            {
                let spec = Arc::as_ptr(&monitor.spec);
                let position = texts
                    .iter()
                    .position(|(have, _)| *have == spec)
                    .unwrap_or_else(|| {
                        texts.push((
                            spec,
                            monitor.spec.update(delta).map(|update| update.to_string()),
                        ));
                        texts.len() - 1
                    });
                let Some(update) = &texts[position].1 else {
                    continue;
                };
                let waiting = out.pending().len();
                if waiting > self.limits.backlog {
                    overflowed.push((id, CloseReason::Backlog(waiting)));
                    break;
                }
                out.push_text(&monitor.notification(update, last_txn));
            }
        }
        for (session, reason) in overflowed {
            self.close(session, reason);
        }
    }

    /// Tries the parked transactions that are ready; each commit may make others ready.
    pub(super) fn run_parked(&mut self, now: Now) {
        while let Some(position) = self.parked.iter().position(|parked| parked.ready) {
            let parked = self.parked.remove(position);
            self.transact_or_park(parked, now);
        }
    }

    /// Runs a client's transaction and replies, or parks it.
    fn transact_or_park(&mut self, mut parked: Parked, now: Now) {
        let waited = now.0.saturating_sub(parked.received.0) / 1_000_000;
        let asker = Some(parked.session);
        match self.attempt(parked.database, &parked.operations, asker, waited) {
            Outcome::Parked { timeout, tables } => {
                let deadline = |ms: u64| {
                    Now(parked
                        .received
                        .0
                        .saturating_add(ms.saturating_mul(1_000_000)))
                };
                parked.deadline = timeout.map(deadline);
                parked.tables = tables;
                parked.ready = false;
                self.parked.push(parked);
            }
            Outcome::Done { results, commit } => {
                let results = self.finish(parked.database, results, commit, asker);
                self.reply(
                    parked.session,
                    parked.id,
                    Ok(Answer::Json(Value::Array(results))),
                );
            }
        }
    }

    pub(super) fn transact(
        &mut self,
        session: SessionId,
        id: Value,
        mut params: Vec<Value>,
        now: Now,
    ) {
        let database = match self.database_of("transact", &params) {
            Ok(database) => database,
            Err(error) => return self.reply(session, id, Err(error.to_json())),
        };
        params.remove(0);
        let waiting = self
            .parked
            .iter()
            .filter(|parked| parked.session == session)
            .count();
        let refused = if params.len() > self.limits.operations {
            Some(format!(
                "a transaction may have {} operations",
                self.limits.operations
            ))
        } else if waiting >= self.limits.parked {
            Some(format!(
                "a session may have {} waiting transactions",
                self.limits.parked
            ))
        } else {
            None
        };
        if let Some(details) = refused {
            let error = OvsdbError::new(kind::EXHAUSTED, details).to_json();
            return self.reply(session, id, Err(error));
        }
        let parked = Parked {
            session,
            id,
            database,
            operations: params,
            received: now,
            deadline: None,
            tables: Vec::new(),
            ready: false,
        };
        self.transact_or_park(parked, now);
    }

    /// Ends a waiting transaction (RFC 7047 section 4.1.4).
    pub(super) fn cancel(&mut self, session: SessionId, id: Option<&Value>) {
        let wanted = |parked: &Parked| parked.session == session && Some(&parked.id) == id;
        if let Some(position) = self.parked.iter().position(wanted) {
            let parked = self.parked.remove(position);
            self.reply(session, parked.id, Err(json!("canceled")));
        }
    }
}
