//! Smallest frames, as many as one sender can send.

use anyhow::{Context, Result};
use serde_json::Value;

use super::rest::busy_seconds;
use super::{Figure, Pace, Test};
use crate::lab::{output, own};

pub fn tests() -> Vec<Test> {
    [1u64, 256, 10_000]
        .into_iter()
        .map(|flows| {
            let name = format!(
                "64-octet frames, {flows} flow{}",
                if flows == 1 { "" } else { "s" }
            );
            let key = format!("frames_{flows}");
            let figures = vec![
                Figure::more(&format!("{key}_kfps"), &name, "thousands/s"),
                Figure::less(
                    &format!("{key}_cpu"),
                    &format!("{name}: processor time of the machine"),
                    "s/million",
                ),
            ];
            Test::new(&name, figures, move |_, p| {
                flood(p, &format!("--flows {flows}"))
            })
        })
        .collect()
}

/// Thousands of frames delivered per second, and processor seconds for each million of them.
pub fn flood(pace: Pace, options: &str) -> Result<Vec<f64>> {
    let line = flood_line(pace.millis(), options)?;
    let (before, busy) = (received()?, busy_seconds()?);
    let text = output(&line)?;
    let (delivered, busy) = (received()? - before, busy_seconds()? - busy);
    let micros: f64 = text
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .context("the generator gave no figure")?;
    anyhow::ensure!(delivered > 0.0, "no frame arrived");
    Ok(vec![delivered / micros * 1e3, busy * 1e6 / delivered])
}

/// Shell line of a flood from `red` to `green`.
pub fn flood_line(millis: u64, options: &str) -> Result<String> {
    let to = output("ip netns exec green cat /sys/class/net/e-green/address")?;
    own(
        "red",
        &format!("tool flood e-red {} {millis} {options}", to.trim()),
    )
}

/// Frames that `green`'s device has received.
fn received() -> Result<f64> {
    let json: Value = serde_json::from_str(&output("ip -n green -s -j link show e-green")?)?;
    json[0]["stats64"]["rx"]["packets"]
        .as_f64()
        .context("ip gave no counter")
}
