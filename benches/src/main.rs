//! Measures rvswitch beside what one might use instead: one topology, the same traffic, contenders in alternation.
//!
//! Everything happens in namespaces that the run makes and that end with it ([`cage`]); no other interface of the machine is
//! touched.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod against;
mod cage;
mod clock;
mod contender;
mod growth;
mod lab;
mod measure;
mod ofclient;
mod packages;
mod report;
mod result;
mod run;
mod tool;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{bail, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::contender::{Contender, Kind};
use crate::measure::{Pace, Set};
use crate::run::Plan;

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
    Compare(CompareArgs),
    /// A tool of the run.
    #[command(hide = true)]
    Tool {
        #[command(subcommand)]
        tool: tool::Tool,
    },
}

#[derive(Args, Debug)]
struct CompareArgs {
    /// Rounds; the table shows median, least and most [default: 5, quick: 1].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Seconds of each measurement of traffic [default: 3, quick: 1].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// One short round of what matters most, within three minutes.
    #[arg(long)]
    quick: bool,
    /// What is measured [default: all, quick: traffic and control].
    #[arg(long, value_enum, value_delimiter = ',')]
    what: Vec<Set>,
    /// Only tests and curves whose name has one of these words in it, such as "64-octet,round trip".
    #[arg(long, value_delimiter = ',', value_name = "WORDS")]
    measure: Vec<String>,
    /// Only these contenders.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Compare this tree with another commit of the repository, built for the occasion.
    #[arg(long, value_name = "REV")]
    against: Option<String>,
    /// Write the figures here too, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report with plots into this directory.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Do not install missing packages.
    #[arg(long)]
    no_install: bool,
}

fn main() -> ExitCode {
    match dispatch() {
        Ok(code) => code,
        Err(e) => {
            eprintln!("rvs-bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<ExitCode> {
    match Cli::parse().what {
        What::Tool { tool } => tool::run(tool).map(|()| ExitCode::SUCCESS),
        What::Compare(args) if cage::is_inside() => compare(&args).map(|()| ExitCode::SUCCESS),
        What::Compare(args) => {
            cage::check()?;
            if !args.no_install {
                packages::install()?;
            }
            if let Some(tool) = packages::lacking(packages::TOOLS) {
                bail!("needs {tool}");
            }
            cage::run_inside()
        }
    }
}

fn compare(args: &CompareArgs) -> Result<()> {
    cage::own_mounts()?;
    let mut able = Vec::new();
    if let Some(revision) = &args.against {
        able.extend(against::build(revision)?);
    }
    let kinds = match (&args.only[..], &args.against) {
        ([], None) => Kind::value_variants(),
        (only, _) => only,
    };
    let mut others = Vec::new();
    for kind in kinds {
        if args.against.is_none() || *kind != Kind::Rvswitch {
            others.push(Contender::here(*kind)?);
        }
    }
    // The other commit comes last.
    able.splice(0..0, others);
    let mut left_out = Vec::new();
    able.retain(|c| match c.lacks() {
        Some(what) => {
            left_out.push(format!("{}: {what} is missing", c.name));
            false
        }
        None => true,
    });
    for line in &left_out {
        eprintln!("LEFT OUT: {line}");
    }
    if able.is_empty() {
        bail!("no contender can run here");
    }
    cage::own_network()?;
    let sets = match (&args.what[..], args.quick) {
        ([], true) => vec![Set::Traffic, Set::Control],
        ([], false) => Set::value_variants().to_vec(),
        (what, _) => what.to_vec(),
    };
    let plan = Plan {
        contenders: able,
        left_out,
        sets,
        measure: args.measure.clone(),
        rounds: usize::from(args.rounds.unwrap_or(if args.quick { 1 } else { 5 })),
        pace: Pace {
            seconds: args.seconds.unwrap_or(if args.quick { 1 } else { 3 }),
            quick: args.quick,
        },
    };
    let command: Vec<String> = std::env::args().skip(1).collect();
    let found = run::run(&plan, format!("rvs-bench {}", command.join(" ")))?;
    print!("{}", report::table(&found));
    if let Some(file) = &args.json {
        std::fs::write(file, format!("{:#}\n", report::json(&found)))?;
    }
    if let Some(dir) = &args.report {
        report::write(&found, dir)?;
        eprintln!("report: {}", dir.join("report.md").display());
    }
    Ok(())
}
