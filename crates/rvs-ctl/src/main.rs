//! rvs-ctl: one program to configure, ask and watch the switch. A client of OVSDB and of the control socket.
#![forbid(unsafe_code)]

mod args;
mod config;
mod failure;
mod openflow;
mod output;
mod perf;
mod runtime;
mod unixctl;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use serde_json::Value;

use crate::args::{Cli, Command, Segment};
use crate::failure::Failure;
use crate::output::{print, print_json, Style};

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Answer(_)) {
                eprintln!("rvs-ctl: {failure}");
            }
            failure.exit_code()
        }
    }
}

fn run(arguments: Vec<String>) -> Result<(), Failure> {
    let mut parts = args::segments(arguments).into_iter();
    let first = parts.next().unwrap_or_default();
    let cli = Cli::parse_from(std::iter::once("rvs-ctl".to_owned()).chain(first));
    let rest = parts.map(Segment::parse_from).map(|s| s.command);
    let commands: Vec<Command> = std::iter::once(cli.command.clone()).chain(rest).collect();
    let style = Style::detect(cli.json);
    match &commands[..] {
        [Command::Completions { shell }] => {
            clap_complete::generate(
                *shell,
                &mut Cli::command(),
                "rvs-ctl",
                &mut std::io::stdout(),
            );
            Ok(())
        }
        [Command::Man] => clap_mangen::Man::new(Cli::command())
            .render(&mut std::io::stdout())
            .map_err(Failure::io),
        [Command::Flow(command)] => {
            openflow::run(&flow_context(&cli, &cli.rundir(), style), command)
        }
        [Command::DumpPorts {
            bridge: Some(switch),
            port,
        }] if port.is_some()
            || cli.flow_options.protocols.is_some()
            || switch.contains([':', '/']) =>
        {
            let rundir = cli.rundir();
            openflow::dump_ports(&flow_context(&cli, &rundir, style), switch, port.as_deref())
        }
        _ if cli.flow_options.any() => Err(Failure::Usage(
            "--protocols, --bundle, --strict, --names, --sort and the like are for flow commands"
                .to_owned(),
        )),
        [one] if !one.is_configuration() => runtime::run(&cli.rundir(), cli.timeout(), one, style),
        several if several.iter().all(Command::is_configuration) => configure(&cli, several, style),
        _ => Err(Failure::Usage(
            "only configuration commands can be joined by --".to_owned(),
        )),
    }
}

fn flow_context<'a>(cli: &'a Cli, rundir: &'a Path, style: Style) -> openflow::Context<'a> {
    openflow::Context {
        rundir,
        timeout: cli.timeout(),
        options: &cli.flow_options,
        style,
    }
}

fn configure(cli: &Cli, commands: &[Command], style: Style) -> Result<(), Failure> {
    let socket = match &cli.db {
        Some(target) => PathBuf::from(target.strip_prefix("unix:").ok_or_else(|| {
            Failure::Usage(format!("--db {target}: a database is named as unix:FILE"))
        })?),
        None => cli.rundir().join("db.sock"),
    };
    let mut session = config::Session::open(&socket, cli.timeout(), !cli.no_wait)?;
    let outputs = session.run(commands, style)?;
    if style.json {
        let mut values: Vec<Value> = outputs
            .into_iter()
            .map(|o| o.json)
            .filter(|v| !v.is_null())
            .collect();
        match values.len() {
            0 => {}
            1 => print_json(&values.remove(0)),
            _ => print_json(&Value::Array(values)),
        }
    } else {
        for o in outputs {
            print(&o.text);
        }
    }
    Ok(())
}
