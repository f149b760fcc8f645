//! A connection with what commands need beside it: the ports' names, and another version when one cannot say something.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use rvs_flow::field::{NoPortNames, PortNames};
use rvs_flow::OfPort;
use rvs_openflow::message::{FlowMod, Port, Reply, Request};
use rvs_openflow::text::{ParseError, Words};
use rvs_openflow::{EncodeError, Message, Version, VersionSet};

use super::batch::Batch;
use super::connection::Connection;
use super::input::Input;
use super::target::Target;
use crate::failure::Failure;

/// Names of a switch's ports.
#[derive(Debug, Default)]
pub struct Names {
    by_name: HashMap<String, OfPort>,
    by_port: HashMap<OfPort, String>,
}

impl Names {
    pub fn new(ports: &[Port]) -> Self {
        let pair = |p: &Port| (p.number, p.name.clone());
        Self {
            by_port: ports.iter().map(pair).collect(),
            by_name: ports.iter().map(pair).map(|(p, n)| (n, p)).collect(),
        }
    }
}

impl PortNames for Names {
    fn port_by_name(&self, name: &str) -> Option<OfPort> {
        self.by_name.get(name).copied()
    }

    fn name_of(&self, port: OfPort) -> Option<Cow<'_, str>> {
        self.by_port.get(&port).map(|n| Cow::Borrowed(n.as_str()))
    }
}

pub struct Session {
    target: Target,
    allowed: VersionSet,
    timeout: Option<Duration>,
    pub connection: Connection,
    names: Names,
    show_names: bool,
}

/// Why a line could not be made a message.
enum Fault {
    Text(String),
    /// This version has no words for it.
    Version(u32, EncodeError),
}

impl Session {
    pub fn open(
        target: Target,
        allowed: VersionSet,
        timeout: Option<Duration>,
        show_names: bool,
    ) -> Result<Self, Failure> {
        let mut connection = Connection::open(&target, allowed, timeout)?;
        let names = Names::new(&ports(&mut connection)?);
        Ok(Self {
            target,
            allowed,
            timeout,
            connection,
            names,
            show_names,
        })
    }

    pub fn version(&self) -> Version {
        self.connection.version()
    }

    /// Speaks this version from now on.
    pub fn use_version(&mut self, v: Version) -> Result<(), Failure> {
        if v != self.version() {
            let only = VersionSet::default().with(v);
            if self.allowed.common(only) == VersionSet::default() {
                return Err(Failure::Usage(format!(
                    "this needs {v}, which --protocols leaves out"
                )));
            }
            self.connection = Connection::open(&self.target, only, self.timeout)?;
        }
        Ok(())
    }

    /// For reading: ports by name or number.
    pub fn reading(&self) -> Words<'_> {
        Words {
            ports: &self.names,
            version: self.version(),
        }
    }

    /// For printing: ports as the user wants them.
    pub fn printing(&self) -> Words<'_> {
        words(&self.names, self.show_names, self.version())
    }

    /// An added flow as the switch will tell of it: this version's words for its actions.
    pub fn as_switch_reads(&self, m: FlowMod) -> Result<FlowMod, String> {
        let dialect = self.connection.dialect();
        let sent = dialect
            .encode(&Message::FlowMod(Box::new(m)), 0)
            .map_err(|e| e.to_string())?;
        match dialect.decode(&sent).map_err(|e| e.to_string())? {
            (_, Message::FlowMod(m)) => Ok(*m),
            _ => Err("it is no flow".to_owned()),
        }
    }

    /// Makes every line a message, sends them, and waits until the switch has done them all.
    pub fn change(
        &mut self,
        input: &Input,
        bundle: bool,
        make: impl Fn(&str, &Words<'_>) -> Result<Message, ParseError>,
    ) -> Result<(), Failure> {
        let batch = self.sayable(|s| s.encode(input, bundle, &make))?;
        batch.send(&mut self.connection, &input.source)
    }

    fn encode(
        &self,
        input: &Input,
        bundle: bool,
        make: impl Fn(&str, &Words<'_>) -> Result<Message, ParseError>,
    ) -> Result<Batch, Fault> {
        let mut batch = Batch::new(bundle);
        let dialect = self.connection.dialect();
        for (n, line) in input.lines() {
            let message = make(line, &self.reading())
                .map_err(|e| Fault::Text(input.source.at(n, &e.to_string())))?;
            batch
                .push(&dialect, &message, n)
                .map_err(|e| Fault::Version(n, e))?;
        }
        Ok(batch)
    }

    /// Sends messages that are there already, as one batch.
    pub fn change_to(&mut self, messages: &[Message], bundle: bool) -> Result<(), Failure> {
        let batch = self.sayable(|s| {
            let mut batch = Batch::new(bundle);
            for m in messages {
                batch
                    .push(&s.connection.dialect(), m, 1)
                    .map_err(|e| Fault::Version(1, e))?;
            }
            Ok(batch)
        })?;
        batch.send(&mut self.connection, &super::batch::Source(None))
    }

    /// Tries `make` in the version agreed on, then over again in the others that both ends speak, newest first.
    fn sayable<T>(&mut self, make: impl Fn(&Self) -> Result<T, Fault>) -> Result<T, Failure> {
        let both = self.allowed.common(self.connection.peer_versions());
        let agreed = self.version();
        let mut versions: Vec<Version> = both.iter().filter(|v| *v != agreed).collect();
        versions.push(agreed);
        let mut first = None;
        while let Some(v) = versions.pop() {
            self.use_version(v)?;
            match make(self) {
                Ok(t) => return Ok(t),
                Err(Fault::Text(why)) => return Err(Failure::Refused(why)),
                Err(Fault::Version(n, e)) => first = first.or(Some((n, e))),
            }
        }
        let (n, e) = first.unwrap_or((1, EncodeError::NotInVersion("this")));
        Err(Failure::Refused(format!(
            "{}{e}, and no other that both ends speak has it (see --protocols)",
            if n > 1 {
                format!("line {n}: ")
            } else {
                String::new()
            }
        )))
    }

    /// Asks in the newest version that has the question, and hands out each part of the answer with its transaction.
    pub fn ask(
        &mut self,
        body: impl Fn(&Self) -> Result<Request, ParseError>,
        mut part: impl FnMut(&Words<'_>, u32, Reply),
    ) -> Result<(), Failure> {
        let request = self.sayable(|s| {
            let request = body(s).map_err(|e| Fault::Text(e.to_string()))?;
            let multipart = rvs_openflow::message::MultipartRequest::new(request.clone());
            let message = Message::MultipartRequest(multipart);
            s.connection
                .dialect()
                .encode(&message, 0)
                .map_err(|e| Fault::Version(1, e))?;
            Ok(request)
        })?;
        let words = words(&self.names, self.show_names, self.version());
        self.connection
            .ask(request, |xid, reply| part(&words, xid, reply))
    }
}

fn words(names: &Names, shown: bool, version: Version) -> Words<'_> {
    Words {
        ports: if shown { names } else { &NoPortNames },
        version,
    }
}

/// The switch's ports; none where it doesn't say.
fn ports(c: &mut Connection) -> Result<Vec<Port>, Failure> {
    let mut ports = Vec::new();
    let asked = c.ask(Request::PortDesc(OfPort::ANY), |_, reply| {
        if let Reply::PortDesc(p) = reply {
            ports.extend(p);
        }
    });
    match asked {
        Ok(_) => Ok(ports),
        // Before 1.3 the features list them.
        Err(Failure::Refused(_)) => match c.request(&Message::FeaturesRequest)?.message {
            Message::FeaturesReply(f) => Ok(f.ports),
            _ => Ok(Vec::new()),
        },
        Err(e) => Err(e),
    }
}
