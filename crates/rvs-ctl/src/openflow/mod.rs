//! Flow commands: an OpenFlow client in the words of `ovs-ofctl`.
//!
//! - [`target`] and [`connection`]: bytes to and from a switch, version agreed on.
//! - [`session`]: a connection with the ports' names; another version when one lacks the words.
//! - [`batch`]: changes sent without waiting, errors brought back to their lines.
//! - [`flows`], [`diff`], [`groups`], [`ports`], [`packet`], [`watch`]: the commands.

pub mod args;
mod batch;
mod connection;
mod diff;
mod errors;
mod flows;
mod groups;
mod input;
mod packet;
mod ports;
mod printer;
mod session;
mod target;
mod watch;

use std::path::Path;
use std::time::{Duration, Instant};

use rvs_openflow::message::{self, GroupCommand, MeterCommand};
use rvs_openflow::{Message, Version, VersionSet};
use serde_json::json;

use crate::failure::Failure;
use crate::output::{print, print_json, Style};
use args::{FlowCommand, FlowOptions};
use connection::Connection;
use session::Session;
use target::{Socket, Target};

/// What all flow commands need.
pub struct Context<'a> {
    pub rundir: &'a Path,
    pub timeout: Option<Duration>,
    pub options: &'a FlowOptions,
    pub style: Style,
}

impl Context<'_> {
    fn target(&self, switch: &str) -> Result<Target, Failure> {
        Target::parse(switch, self.rundir, Socket::Management)
    }

    fn versions(&self) -> Result<VersionSet, Failure> {
        let asked = self.options.versions()?;
        if !self.options.bundle {
            return Ok(asked);
        }
        let bundles: VersionSet = [Version::Of13, Version::Of14, Version::Of15]
            .into_iter()
            .collect();
        match asked.common(bundles) {
            set if set == VersionSet::default() => Err(Failure::Usage(
                "--bundle needs OpenFlow13 or later among --protocols".to_owned(),
            )),
            set => Ok(set),
        }
    }

    fn open(&self, switch: &str) -> Result<Session, Failure> {
        let names = self.options.names || (self.style.terminal && !self.options.no_names);
        Session::open(self.target(switch)?, self.versions()?, self.timeout, names)
    }
}

/// Runs one flow command.
pub fn run(cx: &Context<'_>, command: &FlowCommand) -> Result<(), Failure> {
    use FlowCommand as F;
    match command {
        F::AddFlow { .. }
        | F::AddFlows { .. }
        | F::ModFlows { .. }
        | F::DelFlows { .. }
        | F::DumpFlows { .. }
        | F::DumpAggregate { .. } => on_flows(cx, command),
        F::ReplaceFlows { switch, file } => {
            diff::replace(&mut cx.open(switch)?, file, cx.options.bundle)
        }
        F::DiffFlows { first, second } => diff::diff(cx, first, second),
        F::DumpTables { switch } => ports::dump_tables(&mut cx.open(switch)?, cx.style),
        F::DumpPortsDesc { switch, port } => {
            ports::dump_desc(&mut cx.open(switch)?, port.as_deref(), cx.style)
        }
        F::ModPort {
            switch,
            port,
            action,
        } => ports::modify(&mut cx.open(switch)?, port, action),
        F::PacketOut { switch, packet } => packet::send(&mut cx.open(switch)?, packet),
        F::Monitor { switch, options } => watch::monitor(cx, switch, options),
        F::Snoop { switch } => watch::snoop(cx, switch),
        F::Probe { switch } => probe(cx, switch),
        F::Ping {
            switch,
            count,
            size,
        } => ping(cx, switch, *count, *size),
        _ => on_groups(cx, command),
    }
}

fn on_flows(cx: &Context<'_>, command: &FlowCommand) -> Result<(), Failure> {
    use message::FlowCommand as C;
    use FlowCommand as F;
    let bundle = cx.options.bundle;
    let strict = |strict: C, loose: C| if cx.options.strict { strict } else { loose };
    let or_all = |flow: &Option<String>| flow.clone().unwrap_or_default();
    match command {
        F::AddFlow { switch, flow } => flows::change(&mut cx.open(switch)?, flow, C::Add, bundle),
        F::AddFlows { switch, file } => flows::change_file(&mut cx.open(switch)?, file, bundle),
        F::ModFlows { switch, flow } => {
            let command = strict(C::ModifyStrict, C::Modify);
            flows::change(&mut cx.open(switch)?, flow, command, bundle)
        }
        F::DelFlows { switch, flow } => {
            let command = strict(C::DeleteStrict, C::Delete);
            flows::change(&mut cx.open(switch)?, &or_all(flow), command, bundle)
        }
        F::DumpAggregate { switch, flow } => {
            flows::aggregate(&mut cx.open(switch)?, &or_all(flow), cx.style)
        }
        F::DumpFlows { switch, flow } => {
            flows::dump(&mut cx.open(switch)?, &or_all(flow), cx.options, cx.style)
        }
        other => Err(not_here(other)),
    }
}

fn on_groups(cx: &Context<'_>, command: &FlowCommand) -> Result<(), Failure> {
    use FlowCommand as F;
    use GroupCommand as G;
    use MeterCommand as M;
    let bundle = cx.options.bundle;
    let group = |switch: &str, text: &str, command: G| {
        groups::change_group(&mut cx.open(switch)?, text, command, bundle)
    };
    match command {
        F::AddGroup { switch, group: g } => group(switch, g, G::Add),
        F::AddGroups { switch, file } => {
            groups::change_group_file(&mut cx.open(switch)?, file, bundle)
        }
        F::ModGroup {
            switch,
            group: g,
            may_create,
        } => group(switch, g, if *may_create { G::AddOrMod } else { G::Modify }),
        F::DelGroups { switch, group: g } => {
            groups::delete_groups(&mut cx.open(switch)?, g.as_deref(), bundle)
        }
        F::InsertBuckets { switch, group: g } => group(switch, g, G::InsertBucket),
        F::RemoveBuckets { switch, group: g } => group(switch, g, G::RemoveBucket),
        F::DumpGroups { switch, group: g } => {
            groups::dump_groups(&mut cx.open(switch)?, g.as_deref(), cx.style)
        }
        F::DumpGroupStats { switch, group: g } => {
            groups::dump_group_stats(&mut cx.open(switch)?, g.as_deref(), cx.style)
        }
        F::GroupFeatures { switch } => groups::group_features(&mut cx.open(switch)?, cx.style),
        F::AddMeter { switch, meter } => groups::change_meter(&mut cx.open(switch)?, meter, M::Add),
        F::ModMeter { switch, meter } => {
            groups::change_meter(&mut cx.open(switch)?, meter, M::Modify)
        }
        F::DelMeters { switch, meter } => {
            let text = groups::meter_text(meter.as_deref());
            groups::change_meter(&mut cx.open(switch)?, &text, M::Delete)
        }
        F::DumpMeters { switch, meter } => {
            groups::dump_meters(&mut cx.open(switch)?, meter.as_deref(), cx.style)
        }
        F::MeterStats { switch, meter } => {
            groups::meter_stats(&mut cx.open(switch)?, meter.as_deref(), cx.style)
        }
        F::MeterFeatures { switch } => groups::meter_features(&mut cx.open(switch)?, cx.style),
        other => Err(not_here(other)),
    }
}

fn not_here(command: &FlowCommand) -> Failure {
    Failure::Usage(format!("{command:?} is not known here"))
}

fn open_snoop(cx: &Context<'_>, bridge: &str) -> Result<Connection, Failure> {
    let target = Target::parse(bridge, cx.rundir, Socket::Snoop)?;
    Connection::open_plain(&target, cx.versions()?, cx.timeout)
}

/// Counters of ports, asked over OpenFlow.
pub fn dump_ports(cx: &Context<'_>, switch: &str, port: Option<&str>) -> Result<(), Failure> {
    ports::dump_stats(&mut cx.open(switch)?, port, cx.style)
}

/// `probe`: an echo, silently.
fn probe(cx: &Context<'_>, switch: &str) -> Result<(), Failure> {
    let mut c = Connection::open(&cx.target(switch)?, cx.versions()?, cx.timeout)?;
    c.request(&Message::EchoRequest(Vec::new())).map(drop)
}

/// `ping`: echoes, one a second, with the time that each took.
fn ping(cx: &Context<'_>, switch: &str, count: u32, size: u16) -> Result<(), Failure> {
    let mut c = Connection::open(&cx.target(switch)?, cx.versions()?, cx.timeout)?;
    let data: Vec<u8> = (0..size.min(60_000)).map(|i| i as u8).collect();
    for n in 0..count {
        if n > 0 {
            std::thread::sleep(Duration::from_secs(1));
        }
        let start = Instant::now();
        let answer = c.request(&Message::EchoRequest(data.clone()))?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        match answer.message {
            Message::EchoReply(back) if back == data => {}
            _ => {
                return Err(Failure::Refused(format!(
                    "{switch} did not echo what was sent"
                )))
            }
        }
        if cx.style.json {
            print_json(&json!({"switch": switch, "octets": data.len() + 8, "ms": ms}));
        } else {
            let octets = data.len() + 8;
            print(&format!(
                "{octets} bytes from {switch}: xid={:08x} time={ms:.1} ms\n",
                answer.xid
            ));
        }
    }
    Ok(())
}
