//! rvs-ctl: one program to configure, ask and watch the switch. A client of OVSDB and of the control socket.
#![forbid(unsafe_code)]

mod args;
mod config;
mod failure;
mod man;
mod openflow;
mod output;
mod perf;
mod runtime;
mod unixctl;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command, Segment};
use crate::config::args::ConfigCommand;
use crate::failure::Failure;
use crate::output::Style;

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
    let words = format!("rvs-ctl: {}", arguments.join(" "));
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
        [Command::Man] => man::render(Cli::command(), &mut std::io::stdout()).map_err(Failure::io),
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
        several => {
            let configuration: Vec<ConfigCommand> = several
                .iter()
                .filter_map(|command| match command {
                    Command::Config(command) => Some(command.clone()),
                    _ => None,
                })
                .collect();
            match several {
                _ if configuration.len() == several.len() => {
                    configure(&cli, &configuration, style, words)
                }
                [one] => runtime::run(&cli.rundir(), cli.timeout(), one, style),
                _ => Err(Failure::Usage(
                    "only configuration commands can be joined by --".to_owned(),
                )),
            }
        }
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

fn configure(
    cli: &Cli,
    commands: &[ConfigCommand],
    style: Style,
    words: String,
) -> Result<(), Failure> {
    let socket = || format!("unix:{}", cli.rundir().join("db.sock").display());
    let request = config::Request {
        target: cli.transaction.db.clone().unwrap_or_else(socket),
        timeout: cli.timeout(),
        transaction: &cli.transaction,
        table: &cli.table,
        style,
        words,
    };
    config::run(&request, commands)
}
