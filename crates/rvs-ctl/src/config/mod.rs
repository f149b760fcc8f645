//! Configuration commands: all of one command line in one transaction.

mod bridges;
mod condition;
mod draft;
mod json;
mod records;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rvs_ovsdb::client::{ClientError, Connection, Operations};
use rvs_ovsdb::{Now, Uuid, UuidGenerator};
use serde_json::{json, Value};

use crate::args::Command;
use crate::failure::Failure;
use crate::output::Style;
use draft::Draft;

const DATABASE: &str = "Open_vSwitch";
/// A read waits this long before the deadline is looked at.
const POLL: Duration = Duration::from_millis(50);
/// How often a transaction is tried again because somebody else was faster.
const TRIES: usize = 20;

/// One command of the line with what it printed.
pub struct Output {
    pub text: String,
    pub json: Value,
}

impl Output {
    fn none() -> Self {
        Self {
            text: String::new(),
            json: Value::Null,
        }
    }

    fn lines(lines: Vec<String>) -> Self {
        let text = lines.iter().map(|l| format!("{l}\n")).collect();
        Self {
            text,
            json: json!(lines),
        }
    }
}

/// A connection to the database with everything in it.
pub struct Session {
    connection: Connection<UnixStream>,
    wait: bool,
    started: Instant,
}

impl Session {
    pub fn open(socket: &Path, timeout: Option<Duration>, wait: bool) -> Result<Self, Failure> {
        let stream = UnixStream::connect(socket).map_err(|e| Failure::not_running(socket, &e))?;
        stream.set_read_timeout(Some(POLL)).map_err(Failure::io)?;
        let started = Instant::now();
        let clock = move || Now(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let mut connection = Connection::new(stream, clock);
        connection
            .set_deadline(timeout.map(|t| Now(u64::try_from(t.as_nanos()).unwrap_or(u64::MAX))));
        let schema = connection.schema(DATABASE).map_err(failure)?;
        let tables: Vec<(String, Option<&[&str]>)> = schema
            .tables()
            .iter()
            .map(|t| (t.name.clone(), None))
            .collect();
        let tables: Vec<(&str, Option<&[&str]>)> =
            tables.iter().map(|(t, c)| (t.as_str(), *c)).collect();
        connection.monitor(&schema, &tables).map_err(failure)?;
        Ok(Self {
            connection,
            wait,
            started,
        })
    }

    /// Runs the commands in one transaction. When it returns the switch has made the result its own.
    pub fn run(&mut self, commands: &[Command], style: Style) -> Result<Vec<Output>, Failure> {
        for attempt in 1.. {
            let Some(replica) = self.connection.replica() else {
                break;
            };
            let mut draft = Draft::new(replica, UuidGenerator::new(self.seed(attempt)));
            let mut outputs = Vec::new();
            for command in commands {
                outputs.push(one(&mut draft, command, style)?);
            }
            if !draft.is_changed() {
                return Ok(outputs);
            }
            let created: Vec<Uuid> = draft.inserted("Interface");
            let operations = draft.into_operations(self.wait)?;
            match self.connection.transact(DATABASE, operations.to_json()) {
                Ok(results) => {
                    self.name_created(&operations, &results, commands, &mut outputs);
                    if let Some(next) = operations.next_cfg(&results).filter(|_| self.wait) {
                        self.connection.wait_for_config(next).map_err(failure)?;
                        let made = created
                            .iter()
                            .filter_map(|u| operations.inserted(*u, &results))
                            .collect::<Vec<_>>();
                        self.check_interfaces(&made)?;
                    }
                    return Ok(outputs);
                }
                Err(ClientError::Refused(e)) if e.kind == "timed out" && attempt < TRIES => {
                    // Somebody else changed what was read: once more on what there is now.
                    self.connection.call("echo", Vec::new()).map_err(failure)?;
                }
                Err(e) => return Err(failure(e)),
            }
        }
        Err(Failure::Refused(
            "the database changes faster than this command can follow; try again".to_owned(),
        ))
    }

    fn seed(&self, attempt: usize) -> [u8; 16] {
        let mut seed = [0; 16];
        let time = self.started.elapsed().as_nanos() as u64 ^ (u64::from(std::process::id()) << 32);
        seed[..8].copy_from_slice(&time.to_be_bytes());
        seed[8..].copy_from_slice(&(attempt as u64).to_be_bytes());
        seed
    }

    /// `create` prints the UUID that the server chose.
    fn name_created(
        &self,
        operations: &Operations,
        results: &[Value],
        commands: &[Command],
        outputs: &mut [Output],
    ) {
        for (command, output) in commands.iter().zip(outputs) {
            if let (Command::Create { .. }, Some(Ok(draft))) =
                (command, output.json.as_str().map(str::parse::<Uuid>))
            {
                if let Some(uuid) = operations.inserted(draft, results) {
                    *output = Output::lines(vec![uuid.to_string()]);
                }
            }
        }
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
            bridges::delete_bridge(&mut draft, name, true)?;
        } else {
            bridges::delete_port(&mut draft, None, name, true)?;
        }
        let operations = draft.into_operations(true)?;
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

/// Runs one command on the draft.
fn one(draft: &mut Draft<'_>, command: &Command, style: Style) -> Result<Output, Failure> {
    let done = |r: Result<(), Failure>| r.map(|()| Output::none());
    match command {
        Command::AddBr { bridge, may_exist } => {
            done(bridges::add_bridge(draft, bridge, *may_exist))
        }
        Command::DelBr { bridge, if_exists } => {
            done(bridges::delete_bridge(draft, bridge, *if_exists))
        }
        Command::ListBr => Ok(Output::lines(bridges::list_bridges(draft))),
        Command::BrExists { bridge } => match bridges::bridge(draft, bridge) {
            Ok(_) => Ok(Output::none()),
            Err(_) => Err(Failure::Answer(2)),
        },
        Command::AddPort {
            bridge,
            port,
            settings,
            may_exist,
        } => done(bridges::add_port(draft, bridge, port, settings, *may_exist)),
        Command::DelPort {
            first,
            second,
            if_exists,
        } => done(match second {
            Some(port) => bridges::delete_port(draft, Some(first), port, *if_exists),
            None => bridges::delete_port(draft, None, first, *if_exists),
        }),
        Command::ListPorts { bridge } => {
            bridges::list_ports(draft, bridge, false).map(Output::lines)
        }
        Command::ListIfaces { bridge } => {
            bridges::list_ports(draft, bridge, true).map(Output::lines)
        }
        Command::PortToBr { port } => {
            bridges::port_to_bridge(draft, port).map(|b| Output::lines(vec![b]))
        }
        Command::SetController { bridge, targets } => {
            done(bridges::set_controller(draft, bridge, targets))
        }
        Command::DelController { bridge } => done(bridges::set_controller(draft, bridge, &[])),
        Command::GetController { bridge } => bridges::controllers(draft, bridge).map(Output::lines),
        Command::GetFailMode { bridge } => bridges::fail_mode(draft, bridge).map(|mode| Output {
            text: format!("{}\n", mode.as_deref().unwrap_or_default()),
            json: json!(mode),
        }),
        Command::SetFailMode { bridge, mode } => {
            done(bridges::set_fail_mode(draft, bridge, Some(mode)))
        }
        Command::DelFailMode { bridge } => done(bridges::set_fail_mode(draft, bridge, None)),
        Command::Show => bridges::show(draft).map(|json| Output {
            text: show_text(&json, style),
            json,
        }),
        Command::Get {
            table,
            record,
            columns,
            if_exists,
            id,
        } => {
            let values = records::get(draft, table, record, columns, *if_exists, id.as_deref())?;
            Ok(Output {
                text: values.iter().map(|c| format!("{}\n", c.text)).collect(),
                json: values.into_iter().map(|c| c.json).collect(),
            })
        }
        Command::Set {
            table,
            record,
            settings,
            if_exists,
        } => done(records::set(draft, table, record, settings, *if_exists)),
        Command::Add {
            table,
            record,
            column,
            values,
        } => done(records::add_remove(
            draft, table, record, column, values, true,
        )),
        Command::Remove {
            table,
            record,
            column,
            values,
        } => done(records::add_remove(
            draft, table, record, column, values, false,
        )),
        Command::Clear {
            table,
            record,
            columns,
        } => done(records::clear(draft, table, record, columns)),
        Command::List {
            table,
            records: wanted,
            options,
        } => records::list(draft, table, wanted, &options.columns).map(rows_output),
        Command::Find {
            table,
            conditions,
            options,
        } => records::find(draft, table, conditions, &options.columns).map(rows_output),
        Command::Create {
            table,
            settings,
            id,
        } => {
            let row = records::create(draft, table, settings, id.as_deref())?;
            Ok(Output {
                text: String::new(),
                json: json!(row.to_string()),
            })
        }
        Command::Destroy {
            table,
            records: wanted,
            all,
            if_exists,
        } => done(records::destroy(draft, table, wanted, *all, *if_exists)),
        other => Err(Failure::Usage(format!(
            "{other:?} can't be part of a transaction"
        ))),
    }
}

fn rows_output(rows: records::Rows) -> Output {
    let text = |row: &Vec<records::Cell>| {
        let lines = row
            .iter()
            .map(|c| format!("{:<20}: {}\n", c.column, c.text));
        lines.collect::<String>()
    };
    let cells = |r: &Vec<records::Cell>| -> Value {
        r.iter()
            .map(|c| (c.column.clone(), c.json.clone()))
            .collect()
    };
    let json = rows.iter().map(cells);
    Output {
        text: rows.iter().map(text).collect::<Vec<_>>().join("\n"),
        json: json.collect(),
    }
}

/// The tree as `ovs-vsctl show` draws it, and what is wrong with a port.
fn show_text(tree: &Value, style: Style) -> String {
    let s = |v: &Value| v.as_str().map(str::to_owned).unwrap_or_default();
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let mut text = format!("{}\n", s(&tree["uuid"]));
    for bridge in list(&tree["bridges"]) {
        text.push_str(&format!("    Bridge {}\n", style.bold(&s(&bridge["name"]))));
        for c in list(&bridge["controllers"]) {
            text.push_str(&format!("        Controller \"{}\"\n", s(&c["target"])));
            if c["is_connected"] == json!(true) {
                text.push_str("            is_connected: true\n");
            }
        }
        if !bridge["fail_mode"].is_null() {
            text.push_str(&format!("        fail_mode: {}\n", s(&bridge["fail_mode"])));
        }
        for port in list(&bridge["ports"]) {
            text.push_str(&format!("        Port {}\n", s(&port["name"])));
            for (key, label) in [
                ("vlan_mode", "vlan_mode"),
                ("tag", "tag"),
                ("trunks", "trunks"),
            ] {
                match &port[key] {
                    Value::Null => {}
                    Value::Array(a) if a.is_empty() => {}
                    Value::Array(a) => {
                        let items: Vec<String> = a.iter().map(Value::to_string).collect();
                        text.push_str(&format!("            {label}: [{}]\n", items.join(", ")));
                    }
                    Value::String(v) => text.push_str(&format!("            {label}: {v}\n")),
                    v => text.push_str(&format!("            {label}: {v}\n")),
                }
            }
            for i in list(&port["interfaces"]) {
                text.push_str(&format!("            Interface {}\n", s(&i["name"])));
                if !s(&i["type"]).is_empty() {
                    text.push_str(&format!("                type: {}\n", s(&i["type"])));
                }
                if !i["error"].is_null() {
                    text.push_str(&format!("                error: \"{}\"\n", s(&i["error"])));
                }
            }
        }
    }
    text.push_str(&format!(
        "    ovs_version: \"{}\"\n",
        s(&tree["ovs_version"])
    ));
    text
}
