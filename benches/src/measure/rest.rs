//! What the contender and the machine use.

use anyhow::{Context, Result};

use super::{no_openflow, Figure, Test};
use crate::contender::Running;

/// Resident memory of the contender's processes at one moment of its round.
pub fn memory(when: &str) -> Test {
    let head = match when {
        "rest" => "memory at rest",
        _ => "memory after everything else",
    };
    let figures = vec![Figure::less(&format!("memory_{when}_mib"), head, "MiB")];
    let mib = |r: &mut Running, _| Ok(vec![r.resident() as f64 / 1_048_576.0]);
    // The others have no process.
    Test::new(head, figures, mib).unless(no_openflow)
}

/// Seconds for which the machine's processors worked, for whatever process, kernel thread or interrupt.
pub fn busy_seconds() -> Result<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat")?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|t| t.parse().ok())
        .collect();
    // user, nice, system; idle and iowait are not work; irq, softirq. What the hypervisor stole is nobody's.
    let at = |i: usize| ticks.get(i).copied().unwrap_or(0.0);
    Ok((at(0) + at(1) + at(2) + at(5) + at(6)) / TICKS_PER_SECOND)
}
