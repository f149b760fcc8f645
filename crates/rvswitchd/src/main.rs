//! rvswitchd: the switch as a process. Threads, sockets, clocks and signals are here; decisions are not.
#![forbid(unsafe_code)]

mod absent;
mod acks;
mod args;
mod background;
mod bonds;
mod channel;
mod clean;
mod clients;
mod clock;
mod commands;
mod control;
mod coverage;
mod devices;
mod doctor;
mod dummy;
mod egress;
mod fdb;
mod handler;
mod heart;
mod lasting;
mod logging;
mod mailbox;
mod managers;
mod metrics;
mod notify;
mod perf;
mod qos;
mod remote;
mod rundir;
mod setup;
mod source;
mod spanning;
mod spin;
mod standby;
mod stock;
mod survive;
mod thrift;
mod tier0;
mod trace;
mod upkeep;
mod vlog;
mod wanted;
mod worker;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use nix::sys::stat::{umask, Mode};

use crate::args::{Args, Generate, Level};

fn main() -> ExitCode {
    let args = Args::parse_from(args::respell(std::env::args_os()));
    if let Some(what) = args.generate {
        return generate(what);
    }
    nothing_for_everybody_to_write();
    if args.detach {
        return background::detach(&args);
    }
    logging::start(args.log.unwrap_or(Level::Info));
    let done = set_up_log(&args).and_then(|()| {
        if args.monitor {
            return Ok(background::monitor());
        }
        let done = match args.clean {
            true => clean::clean(&args),
            false => setup::run(&args),
        };
        done.map(|()| ExitCode::SUCCESS)
    });
    done.unwrap_or_else(|e| give_up(format!("{e:#}")))
}

/// Whoever starts the daemon may have no umask: what it makes is its user's to write, whatever was inherited.
fn nothing_for_everybody_to_write() {
    let others = Mode::S_IWGRP | Mode::S_IWOTH;
    let inherited = umask(others);
    umask(inherited | others);
}

/// One line, cause and cure; never a backtrace.
fn give_up(why: String) -> ExitCode {
    eprintln!("rvswitchd: {why}");
    ExitCode::FAILURE
}

fn set_up_log(args: &Args) -> anyhow::Result<()> {
    if args::is_stock() && args.log.is_none() {
        logging::set(logging::Place::Console, None, Some(Level::Warn))
            .map_err(anyhow::Error::msg)?;
    }
    // First what is to be said, then where: that there is a file is not for a console that is off.
    for spec in &args.verbose {
        let done = vlog::Spec::parse(spec).and_then(|spec| spec.apply());
        done.map_err(|why| anyhow::anyhow!("processing \"{spec}\": {why}"))?;
    }
    if let Some(file) = &args.log_file {
        let path = match file.as_os_str() == args::USUAL {
            true => args::default_log_file(),
            false => file.clone(),
        };
        logging::open(&path).map_err(anyhow::Error::msg)?;
    }
    Ok(())
}

/// The end of the manual page.
const SEE_ALSO: &[u8] = b".SH \"SEE ALSO\"\n\\fBrvs\\-ctl\\fR(8)\n";

/// Prints what a package needs beside the program.
fn generate(what: Generate) -> ExitCode {
    let out = &mut std::io::stdout();
    let shell = match what {
        Generate::Man => {
            // An empty date would be left out, and what follows it taken for it.
            let man = clap_mangen::Man::new(Args::command())
                .title("RVSWITCHD")
                .section("8")
                .date(" ")
                .manual("System Administration");
            let done = man.render(out).and_then(|()| out.write_all(SEE_ALSO));
            return match done {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            };
        }
        Generate::Bash => Shell::Bash,
        Generate::Zsh => Shell::Zsh,
        Generate::Fish => Shell::Fish,
    };
    clap_complete::generate(shell, &mut Args::command(), "rvswitchd", out);
    ExitCode::SUCCESS
}
