//! What the control plane costs: loading, reading and removing many flows with the stock `ovs-ofctl`, the same client and the
//! same flows for every contender.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{bail, Result};
use nix::sys::resource::{getrusage, UsageWho};
use nix::sys::time::TimeValLike;

use super::{Figure, Test};
use crate::contender::Running;
use crate::lab::{output, sh};

/// Flows of a load.
const FLOWS: u32 = 100_000;

pub fn tests() -> Vec<Test> {
    let test = |key: &str, head: &str, unit, run: fn(&mut Running) -> Result<f64>| {
        let figures = vec![Figure::less(key, head, unit)];
        Test::new(head, figures, move |r, _| Ok(vec![run(r)?]))
            .unless(super::no_openflow)
            .thorough()
    };
    vec![
        test(
            "octets_per_flow",
            "memory of a flow",
            "octets",
            octets_per_flow,
        ),
        test(
            "add_flows_s",
            "100,000 flows by ovs-ofctl add-flows",
            "s",
            |r| timed(r, "", "add-flows"),
        ),
        test(
            "dump_flows_s",
            "dump of them by ovs-ofctl dump-flows",
            "s",
            dump,
        ),
        bundle(),
    ]
}

/// The client's own share is the same for everybody, and no switch can make the whole shorter than that.
fn bundle() -> Test {
    const HEAD: &str = "100,000 flows by ovs-ofctl --bundle add-flows";
    let own = format!("{HEAD}: processor time of ovs-ofctl itself");
    let figures = vec![
        Figure::less("bundle_s", HEAD, "s"),
        Figure::less("bundle_client_s", &own, "s"),
    ];
    Test::new(HEAD, figures, |r, _| {
        let (whole, own) = load(r, "-O OpenFlow14 --bundle", "add-flows")?;
        Ok(vec![whole, own])
    })
    .unless(super::no_openflow)
    .thorough()
}

/// Seconds of processor time of all children that have ended.
fn children_time() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let times = [usage.user_time(), usage.system_time()];
    Ok(times
        .iter()
        .map(|t| t.num_microseconds() as f64 / 1e6)
        .sum())
}

/// Flows of four kinds of matches, so that the tables have several masks, each with `also` before its actions. As a file in the
/// contender's directory.
pub(super) fn flow_file(r: &Running, flows: u32, also: &str) -> Result<String> {
    let path = r.dir().join(format!("flows-{flows}-{}.txt", also.len()));
    if !path.exists() {
        let mut text = String::new();
        for i in 0..flows {
            let [a, b, c, d] = i.to_be_bytes();
            let _ = match i % 4 {
                0 => writeln!(
                    text,
                    "priority=100,ip,nw_dst=10.{b}.{c}.{d},{also}actions=output:2"
                ),
                1 => writeln!(
                    text,
                    "priority=110,tcp,nw_src=10.{b}.{c}.{d},tp_dst={},{also}actions=output:1",
                    i % 60_000
                ),
                2 => writeln!(
                    text,
                    "priority=90,dl_dst=02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x},{also}actions=drop"
                ),
                _ => writeln!(
                    text,
                    "priority=120,udp,nw_dst=10.{b}.{c}.0/24,tp_src={},{also}actions=output:2",
                    i % 65_536
                ),
            };
        }
        std::fs::write(&path, text)?;
    }
    Ok(path.display().to_string())
}

pub(super) fn target(r: &Running) -> String {
    format!("unix:{}", r.openflow().display())
}

pub(super) fn clear(r: &Running) -> Result<()> {
    sh(&format!("ovs-ofctl --timeout=120 del-flows {}", target(r)))
}

pub(super) fn count(r: &Running) -> Result<u32> {
    let text = output(&format!(
        "ovs-ofctl --timeout=60 dump-aggregate {}",
        target(r)
    ))?;
    let n = text.split("flow_count=").nth(1).unwrap_or("0");
    Ok(n.trim().parse()?)
}

/// Seconds that `ovs-ofctl` takes to load the file into an empty table.
fn timed(r: &Running, options: &str, command: &str) -> Result<f64> {
    load(r, options, command).map(|(whole, _)| whole)
}

/// As [`timed`], with the seconds of processor time that are `ovs-ofctl`'s own.
fn load(r: &Running, options: &str, command: &str) -> Result<(f64, f64)> {
    let file = flow_file(r, FLOWS, "")?;
    clear(r)?;
    let line = format!(
        "ovs-ofctl --timeout=300 {options} {command} {} {file}",
        target(r)
    );
    let (started, before) = (Instant::now(), children_time()?);
    sh(&line)?;
    let elapsed = started.elapsed().as_secs_f64();
    let own = children_time()? - before;
    let n = count(r)?;
    if n != FLOWS {
        bail!("{n} flows are there instead of {FLOWS}");
    }
    Ok((elapsed, own))
}

/// Growth of the resident memory over the first load of a fresh process: buffers that stay are in it.
fn octets_per_flow(r: &mut Running) -> Result<f64> {
    let before = r.resident();
    timed(r, "-O OpenFlow14 --bundle", "add-flows")?;
    let grown = r.resident().saturating_sub(before);
    Ok(grown as f64 / f64::from(FLOWS))
}

fn dump(r: &mut Running) -> Result<f64> {
    let started = Instant::now();
    sh(&format!(
        "ovs-ofctl --timeout=120 dump-flows {} > /dev/null",
        target(r)
    ))?;
    Ok(started.elapsed().as_secs_f64())
}
