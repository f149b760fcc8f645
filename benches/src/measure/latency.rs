//! Round trips, by the stock ping.

use anyhow::{ensure, Context, Result};

use super::frames::flood_line;
use super::{percentile, Figure, Pace, Test};
use crate::contender::Running;
use crate::lab::{output, Process};

/// Pings per second.
const RATE: u64 = 500;
/// Frames per second beside the pings under load: what every contender of a small machine should carry.
const LOAD: u64 = 50_000;
/// A ping that got lost counts as so many microseconds.
const LOST: f64 = 1e6;

pub fn tests() -> Vec<Test> {
    let test = |key: &str, name: &str, load: bool| {
        let figures = [("p50", "median"), ("p99", "p99"), ("p999", "p99.9")]
            .map(|(k, h)| Figure::less(&format!("{key}_{k}_us"), &format!("{name}, {h}"), "us"));
        Test::new(name, figures.to_vec(), move |r, pace| trips(r, pace, load))
    };
    vec![
        test("ping_idle", "round trip, idle", false),
        test("ping_loaded", "round trip beside 50,000 frames/s", true),
    ]
}

fn trips(r: &mut Running, pace: Pace, load: bool) -> Result<Vec<f64>> {
    let background = load.then(|| {
        let options = format!("--flows 16 --rate {LOAD}");
        Process::line(r.dir(), "load", &flood_line(pace.millis() + 500, &options)?)
    });
    let _background = background.transpose()?;
    let count = pace.seconds * RATE;
    // Lost pings are no failure of the program; it ends with 1 then.
    let text = output(&format!(
        "ip netns exec red ping -n -i {} -c {count} -w {} 10.0.0.2; [ $? -lt 2 ]",
        1.0 / RATE as f64,
        pace.seconds + 2
    ))?;
    percentiles(&text)
}

/// Median, 99th and 99.9th percentile of what ping printed.
fn percentiles(text: &str) -> Result<Vec<f64>> {
    let mut times: Vec<f64> = text
        .lines()
        .filter_map(|l| l.split_once("time=")?.1.split(' ').next()?.parse().ok())
        .map(|ms: f64| ms * 1e3)
        .collect();
    ensure!(!times.is_empty(), "no ping was answered");
    let sent: usize = text
        .lines()
        .find_map(|l| l.split_once(" packets transmitted")?.0.parse().ok())
        .context("ping gave no summary")?;
    times.resize(sent.max(times.len()), LOST);
    times.sort_by(f64::total_cmp);
    Ok([0.5, 0.99, 0.999].map(|p| percentile(&times, p)).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_pings_count() {
        let reply = "64 bytes from 10.0.0.2: icmp_seq=1 ttl=64 time=0.250 ms\n".repeat(98);
        let all = percentiles(&format!("{reply}98 packets transmitted, 98 received")).unwrap();
        assert_eq!(all, [250.0, 250.0, 250.0]);
        let some = percentiles(&format!("{reply}100 packets transmitted, 98 received")).unwrap();
        assert_eq!(some, [250.0, LOST, LOST]);
        assert!(percentiles("5 packets transmitted, 0 received").is_err());
    }
}
