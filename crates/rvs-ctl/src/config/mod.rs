//! Configuration commands: all of one command line in one transaction.

pub mod args;
mod bridges;
mod command;
mod condition;
mod connect;
mod draft;
mod json;
mod ports;
mod records;
mod show;
pub mod table;
mod targets;
mod tree;
mod zones;

use std::time::{Duration, Instant};

use rvs_ovsdb::client::{ClientError, Connection, Operations};
use rvs_ovsdb::{Now, Uuid, UuidGenerator};
use serde_json::{json, Value};

use crate::failure::Failure;
use crate::output::{print, print_json, Style};
use args::{ConfigCommand, TableOptions, TransactionOptions};
use command::Output;
use connect::{Patience, Stream};
use draft::Draft;
use table::Printer;

const DATABASE: &str = "Open_vSwitch";
/// How often a transaction is tried again because somebody else was faster.
const TRIES: usize = 20;

/// What the command line asks of the database, besides its commands.
pub struct Request<'a> {
    /// `unix:FILE` or `tcp:HOST[:PORT]`.
    pub target: String,
    pub timeout: Option<Duration>,
    pub transaction: &'a TransactionOptions,
    pub table: &'a TableOptions,
    pub style: Style,
    /// The words of the command line, for the database's log.
    pub words: String,
}

/// Runs the commands and prints what they say.
pub fn run(request: &Request<'_>, commands: &[ConfigCommand]) -> Result<(), Failure> {
    let mut session = Session::open(request)?;
    let outputs = session.run(commands)?;
    if request.style.json {
        let json = |output| match output {
            Output::Text { json, .. } => json,
            Output::Table(table) => table.to_json(),
            Output::Created(row) => json!([row.to_string()]),
        };
        let said = outputs.into_iter().map(json);
        let mut values: Vec<Value> = said.filter(|v| !v.is_null()).collect();
        match values.len() {
            0 => {}
            1 => print_json(&values.remove(0)),
            _ => print_json(&Value::Array(values)),
        }
        return Ok(());
    }
    let mut printer = Printer::new(request.table);
    for output in outputs {
        let text = match output {
            Output::Table(table) => {
                print(&printer.render(&table));
                continue;
            }
            Output::Text { text, .. } => text,
            Output::Created(row) => format!("{row}\n"),
        };
        if request.transaction.oneline {
            let line = text.strip_suffix('\n').unwrap_or(&text);
            print(&line.replace('\\', "\\\\").replace('\n', "\\n"));
            print("\n");
        } else {
            print(&text);
        }
    }
    Ok(())
}

/// A connection to the database with everything in it.
struct Session<'a> {
    connection: Connection<Box<dyn Stream>>,
    request: &'a Request<'a>,
    started: Instant,
}

impl<'a> Session<'a> {
    fn open(request: &'a Request<'a>) -> Result<Self, Failure> {
        let started = Instant::now();
        let patience = Patience {
            until: request.timeout.map(|t| started + t),
            retry: request.transaction.retry,
        };
        let stream = connect::connect(&request.target, &patience)?;
        let clock = move || Now(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let mut connection = Connection::new(stream, clock);
        let nanoseconds = |t: Duration| Now(u64::try_from(t.as_nanos()).unwrap_or(u64::MAX));
        connection.set_deadline(request.timeout.map(nanoseconds));
        let schema = connection.schema(DATABASE).map_err(failure)?;
        let tables: Vec<(&str, Option<&[&str]>)> = schema
            .tables()
            .iter()
            .map(|t| (t.name.as_str(), None))
            .collect();
        connection.monitor(&schema, &tables).map_err(failure)?;
        Ok(Self {
            connection,
            request,
            started,
        })
    }

    /// Runs the commands in one transaction. When it returns the switch has made the result its own.
    fn run(&mut self, commands: &[ConfigCommand]) -> Result<Vec<Output>, Failure> {
        let options = self.request.transaction;
        let mut attempt = 1;
        while attempt <= TRIES {
            let Some(replica) = self.connection.replica() else {
                break;
            };
            let mut draft = Draft::new(replica, UuidGenerator::new(self.seed(attempt)));
            draft.initialize();
            let Some(mut outputs) = self.draw_up(&mut draft, commands)? else {
                // A command waits for something: again when the database has changed.
                self.connection.wait_for_change().map_err(failure)?;
                continue;
            };
            if !draft.is_changed() || options.dry_run {
                return Ok(outputs);
            }
            let created: Vec<Uuid> = draft.inserted("Interface");
            let operations = draft.into_operations(!options.no_wait, &self.request.words)?;
            match self.connection.transact(DATABASE, operations.to_json()) {
                Ok(results) => {
                    name_created(&operations, &results, &mut outputs);
                    if let Some(next) = operations.next_cfg(&results) {
                        self.connection.wait_for_config(next).map_err(failure)?;
                        let made = created
                            .iter()
                            .filter_map(|u| operations.inserted(*u, &results))
                            .collect::<Vec<_>>();
                        self.check_interfaces(&made)?;
                    }
                    return Ok(outputs);
                }
                Err(ClientError::Refused(e)) if e.kind == "timed out" => {
                    // Somebody else changed what was read: once more on what there is now.
                    attempt += 1;
                    self.connection.call("echo", Vec::new()).map_err(failure)?;
                }
                Err(e) => return Err(failure(e)),
            }
        }
        Err(Failure::Refused(
            "the database changes faster than this command can follow; try again".to_owned(),
        ))
    }

    /// Does the commands on the draft; `None` if one of them waits.
    fn draw_up(
        &self,
        draft: &mut Draft<'_>,
        commands: &[ConfigCommand],
    ) -> Result<Option<Vec<Output>>, Failure> {
        let mut outputs = Vec::new();
        for command in commands {
            match command::run(draft, command, self.request.style)? {
                Some(output) => outputs.push(output),
                None => return Ok(None),
            }
        }
        ports::check_devices(draft)?;
        Ok(Some(outputs))
    }

    fn seed(&self, attempt: usize) -> [u8; 16] {
        let mut seed = [0; 16];
        let time = self.started.elapsed().as_nanos() as u64 ^ (u64::from(std::process::id()) << 32);
        seed[..8].copy_from_slice(&time.to_be_bytes());
        seed[8..].copy_from_slice(&(attempt as u64).to_be_bytes());
        seed
    }

    /// New interfaces that could not be opened: a missing device is waited for; anything else undoes the command.
    fn check_interfaces(&mut self, made: &[Uuid]) -> Result<(), Failure> {
        let Some(replica) = self.connection.replica() else {
            return Ok(());
        };
        let mut refused = Vec::new();
        for uuid in made {
            let Some(row) = replica.table("Interface").and_then(|t| t.row(*uuid)) else {
                continue;
            };
            let Some(error) = row.opt_str("error") else {
                if row.opt_int("ofport") == Some(-1) {
                    // As with Open vSwitch, only names that it keeps for itself are refused without a word.
                    let name = row.str("name");
                    let error = format!(
                        "{name} can't be a port: its name is reserved for Open vSwitch's own devices; choose another"
                    );
                    refused.push((name.to_owned(), error));
                    continue;
                }
                // It is open; there may be something to know about it.
                if let Some(note) = row.map_value("status", "note") {
                    eprintln!("rvs-ctl: {note}");
                }
                continue;
            };
            if error.contains("No such device") {
                eprintln!(
                    "rvs-ctl: {}: there is no such device yet; the port waits for it",
                    row.str("name")
                );
            } else {
                refused.push((row.str("name").to_owned(), error.to_owned()));
            }
        }
        let Some((_, error)) = refused.first().cloned() else {
            return Ok(());
        };
        for (name, _) in &refused {
            self.undo(name)?;
        }
        Err(Failure::Refused(error))
    }

    /// Takes back what was added for an interface: its bridge if it is the bridge's own, else its port.
    fn undo(&mut self, name: &str) -> Result<(), Failure> {
        let Some(replica) = self.connection.replica() else {
            return Ok(());
        };
        let mut draft = Draft::new(replica, UuidGenerator::new(self.seed(TRIES)));
        if draft.find("Bridge", "name", name).is_some() {
            bridges::delete(&mut draft, name, true)?;
        } else {
            let old = ports::OldPort {
                bridge: None,
                name,
                if_exists: true,
                with_iface: true,
            };
            ports::delete(&mut draft, &old)?;
        }
        let words = format!("rvs-ctl: {name} could not be opened");
        let operations = draft.into_operations(true, &words)?;
        self.connection
            .transact(DATABASE, operations.to_json())
            .map_err(failure)
            .map(drop)
    }
}

fn failure(e: ClientError) -> Failure {
    match e {
        ClientError::TimedOut => {
            Failure::TimedOut("the switch did not answer in time (see --timeout)".to_owned())
        }
        ClientError::Io(e) => Failure::io(e),
        other => Failure::Refused(other.to_string()),
    }
}

/// `create` prints the UUIDs that the server chose.
fn name_created(operations: &Operations, results: &[Value], outputs: &mut [Output]) {
    for output in outputs {
        if let Output::Created(row) = output {
            if let Some(uuid) = operations.inserted(*row, results) {
                *row = uuid;
            }
        }
    }
}
