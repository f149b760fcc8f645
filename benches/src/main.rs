//! Measures rvswitch beside what one might use instead: one topology, the same traffic, contenders in alternation.
//!
//! Everything happens in network namespaces that the run makes and removes; no other interface of the machine is touched.
#![forbid(unsafe_code)]

mod contender;
mod flood;
mod lab;
mod measure;
mod openflow;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::contender::Kind;

/// Benchmarks of rvswitch that anyone can repeat.
#[derive(Parser, Debug)]
#[command(name = "rvs-bench", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Compare contenders in one run: A B C, A B C, ...
    Compare {
        /// Rounds; the table shows median, least and most.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Seconds of each TCP and each frame measurement.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
        /// What is measured.
        #[arg(long, value_enum, default_value_t = Set::Traffic)]
        what: Set,
        /// Only these contenders.
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<Kind>,
        /// Write the figures here too, as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Send 60-octet frames from one device as fast as one thread can (used by compare).
    #[command(hide = true)]
    Flood {
        device: String,
        to: String,
        seconds: u64,
        flows: u16,
    },
}

/// What a comparison measures.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Set {
    /// Frames through the switch.
    Traffic,
    /// Many flows loaded, read and removed by ovs-ofctl.
    Openflow,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("rvs-bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match Cli::parse().what {
        What::Flood {
            device,
            to,
            seconds,
            flows,
        } => flood::run(&device, &to, seconds, flows),
        What::Compare {
            rounds,
            seconds,
            what,
            only,
            json,
        } => {
            let (measurements, able) = match what {
                Set::Traffic => (measure::ALL, Kind::all()),
                Set::Openflow => (openflow::ALL, vec![Kind::Ovs, Kind::Rvswitch]),
            };
            let kinds = if only.is_empty() { able } else { only };
            report::compare(measurements, &kinds, rounds, seconds, json.as_deref())
        }
    }
}
