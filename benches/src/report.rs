//! The run itself, and its table.

use std::path::Path;

use anyhow::{bail, Result};
use serde_json::{json, Map, Value};

use crate::contender::{Kind, Running};
use crate::lab;
use crate::measure::{Figure, Measurement};

/// Figures by contender, measurement and round.
type Figures = Vec<Vec<Vec<Figure>>>;

/// Compares the contenders and prints the table.
pub fn compare(
    all: &[Measurement],
    kinds: &[Kind],
    rounds: usize,
    seconds: u64,
    json_file: Option<&Path>,
) -> Result<()> {
    let mut present = Vec::new();
    for kind in kinds {
        match kind.lacks() {
            Some(what) => eprintln!("LEFT OUT: {} ({what} is missing)", kind.name()),
            None => present.push(*kind),
        }
    }
    if present.is_empty() {
        bail!("no contender can run here");
    }
    lab::enter()?;
    let mut figures: Figures = vec![vec![Vec::new(); all.len()]; present.len()];
    for round in 1..=rounds {
        for (kind, figures) in present.iter().zip(&mut figures) {
            eprintln!("round {round} of {rounds}: {}", kind.name());
            one(all, *kind, seconds, figures);
        }
    }
    print_table(all, &present, &figures);
    if let Some(file) = json_file {
        std::fs::write(
            file,
            format!("{:#}\n", as_json(all, &present, &figures, rounds, seconds)),
        )?;
    }
    Ok(())
}

/// One round of one contender. What fails is a failure in the table, not the end of the run.
fn one(all: &[Measurement], kind: Kind, seconds: u64, figures: &mut [Vec<Figure>]) {
    let running = Running::start(kind);
    if let Err(e) = &running {
        eprintln!("  {} does not start: {e:#}", kind.name());
    }
    for (m, figures) in all.iter().zip(figures) {
        let figure = running
            .as_ref()
            .ok()
            .and_then(|r| match (m.run)(r, seconds) {
                Ok(f) => Some(f),
                Err(e) => {
                    eprintln!("  {}: {}: {e:#}", kind.name(), m.head);
                    None
                }
            });
        figures.push(figure);
    }
}

/// Median, least and most of the rounds that gave a figure.
fn spread(rounds: &[Figure]) -> Option<(f64, f64, f64)> {
    let mut got: Vec<f64> = rounds.iter().flatten().copied().collect();
    got.sort_by(f64::total_cmp);
    Some((*got.get(got.len() / 2)?, *got.first()?, *got.last()?))
}

fn print_table(all: &[Measurement], kinds: &[Kind], figures: &Figures) {
    let reference = [Kind::OvsTso, Kind::Ovs]
        .iter()
        .find_map(|r| kinds.iter().position(|k| k == r));
    println!("\n{}", machine());
    for kind in kinds {
        println!("{:<24} {}", kind.name(), kind.version());
    }
    for (i, m) in all.iter().enumerate() {
        let better = if m.more_is_better {
            "more is better"
        } else {
            "less is better"
        };
        println!("\n{} ({better})", m.head);
        let base = reference.and_then(|r| spread(&figures[r][i])).map(|s| s.0);
        for (kind, figures) in kinds.iter().zip(figures) {
            println!("  {:<24} {}", kind.name(), line(m, &figures[i], base));
        }
    }
}

fn line(_: &Measurement, rounds: &[Figure], base: Option<f64>) -> String {
    let failed = rounds.iter().filter(|f| f.is_none()).count();
    let failures = if failed > 0 {
        format!("  FAILED {failed} of {}", rounds.len())
    } else {
        String::new()
    };
    match spread(rounds) {
        None => failures.trim_start().to_owned(),
        Some((median, least, most)) => {
            let ratio = base
                .filter(|b| *b > 0.0)
                .map(|b| format!("  {:>5.2} x OVS", median / b))
                .unwrap_or_default();
            format!("{median:>9.2} ({least:.2}..{most:.2}){ratio}{failures}")
        }
    }
}

fn machine() -> String {
    let cpu = lab::output("grep -m1 'model name' /proc/cpuinfo | cut -d: -f2").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, |n| n.get());
    let kernel = lab::output("uname -r").unwrap_or_default();
    let load = lab::output("cut -d' ' -f1 /proc/loadavg").unwrap_or_default();
    format!(
        "{cores} cores,{}, kernel {}, load at the end {}",
        cpu.trim_end(),
        kernel.trim(),
        load.trim()
    )
}

fn as_json(
    all: &[Measurement],
    kinds: &[Kind],
    figures: &Figures,
    rounds: usize,
    seconds: u64,
) -> Value {
    let contenders: Vec<Value> = kinds
        .iter()
        .zip(figures)
        .map(|(kind, figures)| {
            let measured: Map<String, Value> = all
                .iter()
                .zip(figures)
                .map(|(m, f)| (m.key.to_owned(), json!(f)))
                .collect();
            json!({"name": kind.name(), "version": kind.version(), "rounds": measured})
        })
        .collect();
    json!({"machine": machine(), "rounds": rounds, "seconds": seconds, "contenders": contenders})
}
