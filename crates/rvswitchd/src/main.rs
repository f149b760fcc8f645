//! rvswitchd: the switch as a process. Threads, sockets, clocks and signals are here; decisions are not.
#![forbid(unsafe_code)]

mod acks;
mod args;
mod channel;
mod clients;
mod clock;
mod commands;
mod control;
mod devices;
mod egress;
mod handler;
mod logging;
mod mailbox;
mod notify;
mod perf;
mod rundir;
mod setup;
mod spin;
mod tier0;
mod trace;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    if args.detach {
        return setup::detach();
    }
    logging::start(args.log);
    match setup::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // One line, cause and cure; never a backtrace.
            eprintln!("rvswitchd: {e:#}");
            ExitCode::FAILURE
        }
    }
}
