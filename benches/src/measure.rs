//! What is measured, and how.

use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::contender::Running;
use crate::lab::{output, sh, Process};

/// One figure of one contender in one round; `None`: the contender failed at it.
pub type Figure = Option<f64>;

/// A measurement: its key, its column's head, and whether more is better.
pub struct Measurement {
    pub key: &'static str,
    pub head: &'static str,
    pub more_is_better: bool,
    pub run: fn(&Running, u64) -> Result<f64>,
}

pub const ALL: &[Measurement] = &[
    Measurement {
        key: "tcp_gbps",
        head: "TCP Gbit/s",
        more_is_better: true,
        run: tcp,
    },
    Measurement {
        key: "frames_1_flow",
        head: "kframes/s, 1 flow",
        more_is_better: true,
        run: |_, s| frames(s, 1),
    },
    Measurement {
        key: "frames_256_flows",
        head: "kframes/s, 256 flows",
        more_is_better: true,
        run: |_, s| frames(s, 256),
    },
    Measurement {
        key: "cpu_us_per_frame",
        head: "CPU us/frame",
        more_is_better: false,
        run: cpu_per_frame,
    },
    Measurement {
        key: "ping_us",
        head: "ping us",
        more_is_better: false,
        run: ping,
    },
    Measurement {
        key: "vxlan_gbps",
        head: "VXLAN TCP Gbit/s",
        more_is_better: true,
        run: vxlan,
    },
    Measurement {
        key: "resident_mib",
        head: "memory MiB",
        more_is_better: false,
        run: |r, _| Ok(r.resident() as f64 / 1048576.0),
    },
];

/// One TCP stream with the veths' default offloads.
fn tcp(_: &Running, seconds: u64) -> Result<f64> {
    iperf("10.0.0.2", seconds)
}

fn iperf(to: &str, seconds: u64) -> Result<f64> {
    // Ended with this function: a server that a failed client left would keep its namespace, and the devices in it.
    let _server = Process::start("ip", &["netns", "exec", "green", "iperf3", "-s", "-1"])?;
    crate::lab::wait_until("start of iperf3", || {
        sh("ip netns exec green ss -Hltn 'sport = :5201' | grep -q .").is_ok()
    })?;
    let text = output(&format!(
        "timeout {} ip netns exec red iperf3 -c {to} -t {seconds} -J",
        seconds + 10
    ))?;
    let json: Value = serde_json::from_str(&text)?;
    json["end"]["sum_received"]["bits_per_second"]
        .as_f64()
        .map(|b| b / 1e9)
        .context("iperf3 gave no figure")
}

/// Delivered 60-octet frames in thousands per second, from one sender.
fn frames(seconds: u64, flows: u16) -> Result<f64> {
    let before = received()?;
    let start = Instant::now();
    flood(seconds, flows)?;
    Ok((received()? - before) / start.elapsed().as_secs_f64() / 1e3)
}

fn flood(seconds: u64, flows: u16) -> Result<()> {
    let to = output("ip netns exec green cat /sys/class/net/e-green/address")?;
    let own = std::env::current_exe()?;
    sh(&format!(
        "ip netns exec red {} flood e-red {} {seconds} {flows}",
        own.display(),
        to.trim()
    ))
}

fn received() -> Result<f64> {
    let text = output("ip netns exec green cat /sys/class/net/e-green/statistics/rx_packets")?;
    text.trim().parse().context("rx_packets")
}

/// Busy microseconds of the whole machine for each frame delivered.
fn cpu_per_frame(_: &Running, seconds: u64) -> Result<f64> {
    let (before, busy) = (received()?, busy_seconds()?);
    flood(seconds, 1)?;
    Ok((busy_seconds()? - busy) * 1e6 / (received()? - before).max(1.0))
}

/// Seconds in which the machine's processors were not idle.
fn busy_seconds() -> Result<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat")?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|t| t.parse().ok())
        .collect();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    Ok((ticks.iter().take(8).sum::<f64>() - idle) / TICKS_PER_SECOND)
}

/// Mean round trip at 100 a second, in microseconds.
fn ping(_: &Running, seconds: u64) -> Result<f64> {
    let count = seconds * 100;
    let text = output(&format!(
        "ip netns exec red ping -q -i 0.01 -c {count} 10.0.0.2"
    ))?;
    let mean = text
        .lines()
        .last()
        .and_then(|l| l.split('/').nth(4))
        .context("ping gave no figure")?;
    Ok(mean.parse::<f64>()? * 1e3)
}

/// One TCP stream through a VXLAN between the hosts.
fn vxlan(_: &Running, seconds: u64) -> Result<f64> {
    for (host, own, other) in [("red", 1, 2), ("green", 2, 1)] {
        sh(&format!(
            "ip -n {host} link add vx type vxlan id 7 remote 10.0.0.{other} dstport 4789 dev e-{host} \
             && ip -n {host} addr add 10.9.0.{own}/24 dev vx && ip -n {host} link set vx up"
        ))?;
    }
    iperf("10.9.0.2", seconds)
}
