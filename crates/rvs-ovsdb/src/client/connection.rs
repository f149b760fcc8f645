//! A client over a blocking stream.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use serde_json::Value;

use super::{Client, ClientEvent, RequestId};
use crate::database::Database;
use crate::error::OvsdbError;
use crate::jsonrpc::ProtocolError;
use crate::schema::Schema;
use crate::Now;

/// Why a call to a server failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server closed the connection.
    #[error("the database server closed the connection")]
    Closed,
    /// There was no answer before the deadline.
    #[error("timed out")]
    TimedOut,
    /// The server does not speak the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The server refused the request or the transaction.
    #[error(transparent)]
    Refused(#[from] OvsdbError),
}

/// A connection to a server.
///
/// The stream needs a read timeout of its own (50 ms, say), after which a read fails with
/// [`ErrorKind::WouldBlock`] or [`ErrorKind::TimedOut`]: then the clock is looked at.
pub struct Connection<S> {
    stream: S,
    client: Client,
    clock: Box<dyn FnMut() -> Now>,
    deadline: Option<Now>,
}

impl<S: Read + Write> Connection<S> {
    /// A connection over `stream`, with a clock for deadlines.
    pub fn new(stream: S, clock: impl FnMut() -> Now + 'static) -> Connection<S> {
        Connection {
            stream,
            client: Client::new(),
            clock: Box::new(clock),
            deadline: None,
        }
    }

    /// When calls give up; `None` is never.
    pub fn set_deadline(&mut self, deadline: Option<Now>) {
        self.deadline = deadline;
    }

    /// What is monitored; empty before [`monitor`](Connection::monitor).
    pub fn replica(&self) -> Option<&Database> {
        self.client.replica()
    }

    /// Calls a method and waits for its result.
    pub fn call(&mut self, method: &str, params: Vec<Value>) -> Result<Value, ClientError> {
        let id = self.client.request(method, params);
        self.result_of(id)
    }

    /// The schema of a database.
    pub fn schema(&mut self, database: &str) -> Result<Arc<Schema>, ClientError> {
        let id = self.client.request_schema(database);
        let json = self.result_of(id)?;
        Ok(Arc::new(Schema::from_json(&json)?))
    }

    /// Fills the [`replica`](Connection::replica) with columns of tables (`None`: all columns) and keeps it
    /// current while further calls wait.
    pub fn monitor(
        &mut self,
        schema: &Arc<Schema>,
        tables: &[(&str, Option<&[&str]>)],
    ) -> Result<(), ClientError> {
        let id = self.client.monitor(schema, tables, true);
        match self.result_of(id) {
            Err(ClientError::Refused(error)) if error.kind == "unknown method" => {
                let id = self.client.monitor(schema, tables, false);
                self.result_of(id).map(drop)
            }
            result => result.map(drop),
        }
    }

    /// Runs a transaction and returns the results of its operations.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the first operation's error or the commit's.
    pub fn transact(
        &mut self,
        database: &str,
        operations: Vec<Value>,
    ) -> Result<Vec<Value>, ClientError> {
        let id = self.client.transact(database, operations);
        let Value::Array(results) = self.result_of(id)? else {
            return Err(ProtocolError::NotAMessage("results must be an array".into()).into());
        };
        match results
            .iter()
            .find(|result| result.get("error").is_some_and(|e| !e.is_null()))
        {
            Some(error) => Err(OvsdbError::from_json(error).into()),
            None => Ok(results),
        }
    }

    /// Waits until the replica meets a condition.
    pub fn wait_until(
        &mut self,
        mut met: impl FnMut(&Database) -> bool,
    ) -> Result<(), ClientError> {
        loop {
            if self.client.replica().is_some_and(&mut met) {
                return Ok(());
            }
            self.wait_for_change()?;
        }
    }

    /// Waits until something may have changed in the replica: at the latest until the next read times out.
    pub fn wait_for_change(&mut self) -> Result<(), ClientError> {
        self.exchange()?;
        while self.client.next_event().is_some() {}
        Ok(())
    }

    /// Waits until the daemon has made the configuration `next_cfg` its own: the replica must hold
    /// `cur_cfg` of Open_vSwitch.
    pub fn wait_for_config(&mut self, next_cfg: i64) -> Result<(), ClientError> {
        self.wait_until(|replica| {
            let table = replica.table("Open_vSwitch");
            table.is_some_and(|table| table.rows().any(|row| row.int("cur_cfg") >= next_cfg))
        })
    }

    fn result_of(&mut self, wanted: RequestId) -> Result<Value, ClientError> {
        loop {
            while let Some(event) = self.client.next_event() {
                match event {
                    ClientEvent::Response { id, result } if id == wanted => return Ok(result?),
                    _ => {}
                }
            }
            self.exchange()?;
        }
    }

    /// Sends what there is and reads once.
    fn exchange(&mut self) -> Result<(), ClientError> {
        while !self.client.output().is_empty() {
            match self.stream.write(self.client.output()) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(count) => self.client.sent(count),
                Err(error) => self.retry(error)?,
            }
        }
        let mut buffer = [0; 32 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(ClientError::Closed),
            Ok(count) => {
                self.client.input(&buffer[..count])?;
                self.check_deadline()
            }
            Err(error) => self.retry(error),
        }
    }

    fn retry(&mut self, error: io::Error) -> Result<(), ClientError> {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                self.check_deadline()
            }
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Err(ClientError::Closed),
            _ => Err(error.into()),
        }
    }

    fn check_deadline(&mut self) -> Result<(), ClientError> {
        match self.deadline {
            Some(deadline) if (self.clock)() >= deadline => Err(ClientError::TimedOut),
            _ => Ok(()),
        }
    }
}
