//! Changes, and what the traffic notices of them.

use std::time::Instant;

use anyhow::{ensure, Context, Result};
use rvs_flow::OfPort;
use rvs_openflow::message::FlowCommand;
use rvs_openflow::Action;

use super::frames::flood_line;
use super::{no_openflow, percentile, Figure, Pace, Test};
use crate::clock::micros;
use crate::contender::{Kind, Running, RED};
use crate::lab::{output, own, sh, Process};
use crate::ofclient::{flow_mod, Controller};

/// Flow-mods of a load.
const FLOWS: u64 = 10_000;
/// Flow-mods between two barriers while traffic runs.
const STRIDE: u64 = 100;
/// Ports added one by one.
const PORTS: u32 = 10;
/// Frames per second that watch a change.
const WATCH: u64 = 20_000;
/// The flood's flows while rules change.
const WATCHED: u64 = 16;
/// Milliseconds within which a daemon started again has to forward, and in a quick run.
const RESTART: u64 = 5000;
const RESTART_QUICK: u64 = 2000;

pub fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "flow-mods",
            vec![Figure::more(
                "flow_mods",
                "10,000 flow-mods and one barrier",
                "flow-mods/s",
            )],
            |r, _| flow_mods(r),
        )
        .unless(no_openflow),
        Test::new(
            "add port",
            vec![Figure::less(
                "add_port_ms",
                "adding one port, by ovs-vsctl or ip, median of ten",
                "ms",
            )],
            |r, _| add_ports(r),
        )
        .unless(|k| (k == Kind::Veth).then_some("-")),
        Test::new(
            "change under traffic",
            vec![
                Figure::less(
                    "change_lost",
                    "frames lost of 20,000/s while 10,000 flow-mods change rules",
                    "frames",
                ),
                Figure::less("change_pause_ms", "longest pause meanwhile", "ms"),
                Figure::less(
                    "change_ms",
                    "these flow-mods, a barrier after every hundred",
                    "ms",
                ),
            ],
            change,
        )
        .unless(no_openflow),
        Test::new(
            "restart",
            vec![Figure::less(
                "restart_ms",
                "killed and started again: to the first frame",
                "ms",
            )],
            restart,
        )
        .unless(no_openflow),
    ]
}

/// A rule that leaves the traffic as it is.
fn rule(command: FlowCommand, n: u64) -> Result<rvs_openflow::Message> {
    let (_, port) = crate::tool::flow(n);
    let matching = format!("udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_src={port}");
    flow_mod(
        command,
        100,
        &matching,
        vec![Action::output(OfPort(u32::from(RED) + 1))],
    )
}

fn flow_mods(r: &mut Running) -> Result<Vec<f64>> {
    let mut c = Controller::connect(&r.openflow())?;
    for n in 0..FLOWS {
        c.put(&rule(FlowCommand::Add, n)?)?;
    }
    let start = Instant::now();
    c.barrier()?;
    let elapsed = start.elapsed().as_secs_f64();
    for n in 0..FLOWS {
        c.put(&rule(FlowCommand::DeleteStrict, n)?)?;
    }
    c.barrier()?;
    Ok(vec![FLOWS as f64 / elapsed])
}

fn add_ports(r: &mut Running) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for n in 0..PORTS {
        sh(&format!(
            "ip link add x{n} type veth peer name y{n} && ip link set x{n} up && ip link set y{n} up"
        ))?;
        let line = r.add_port(&format!("x{n}"));
        let start = Instant::now();
        sh(&line)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let gone: Vec<String> = (0..PORTS).map(|n| r.del_port(&format!("x{n}"))).collect();
    sh(&gone.join("; "))?;
    times.sort_by(f64::total_cmp);
    Ok(vec![percentile(&times, 0.5)])
}

/// What a watcher saw of a flood.
struct Watched {
    sent: u64,
    arrived: u64,
    /// When the longest pause began and ended, in microseconds.
    pause: (u64, u64),
}

/// Lets something happen in the midst of a flood.
fn watch(
    r: &mut Running,
    millis: u64,
    rate: u64,
    event: impl FnOnce(&mut Running) -> Result<()>,
) -> Result<Watched> {
    let receiver = own("green", &format!("tool receive {}", millis + 500))?;
    let receiver = Process::line(r.dir(), "receive", &receiver)?;
    std::thread::sleep(std::time::Duration::from_millis(100));
    let options = format!("--flows {WATCHED} --rate {rate}");
    let flood = Process::line(r.dir(), "flood", &flood_line(millis, &options)?)?;
    std::thread::sleep(std::time::Duration::from_millis(200));
    event(r)?;
    let number = |text: &str, n: usize| -> Result<u64> {
        let word = text.split_whitespace().nth(n).context("no figure")?;
        Ok(word.parse()?)
    };
    let sent = number(&flood.finish()?, 0)?;
    let seen = receiver.finish()?;
    Ok(Watched {
        sent,
        arrived: number(&seen, 0)?,
        pause: (number(&seen, 1)?, number(&seen, 2)?),
    })
}

/// 5,000 rules come and go, those of the running traffic among them.
fn change(r: &mut Running, pace: Pace) -> Result<Vec<f64>> {
    let mut c = Controller::connect(&r.openflow())?;
    let mut took = 0.0;
    let w = watch(r, pace.millis().max(1500), WATCH, |_| {
        let start = Instant::now();
        for command in [FlowCommand::Add, FlowCommand::DeleteStrict] {
            for n in 0..FLOWS / 2 {
                c.put(&rule(command, n)?)?;
                if n % STRIDE == STRIDE - 1 {
                    c.barrier()?;
                }
            }
        }
        took = start.elapsed().as_secs_f64() * 1e3;
        Ok(())
    })?;
    ensure!(w.arrived > 0, "no frame arrived");
    let lost = w.sent.saturating_sub(w.arrived);
    Ok(vec![
        lost as f64,
        (w.pause.1 - w.pause.0) as f64 / 1e3,
        took,
    ])
}

/// Milliseconds from the start of a killed daemon, its configuration in its database, to the first frame that arrives.
fn restart(r: &mut Running, pace: Pace) -> Result<Vec<f64>> {
    let limit = if pace.quick { RESTART_QUICK } else { RESTART };
    let mut started = 0;
    let w = watch(r, limit, 2000, |r| {
        r.kill();
        std::thread::sleep(std::time::Duration::from_millis(300));
        started = micros();
        r.again()
    })?;
    ensure!(
        w.pause.0 < started && w.pause.1 > started,
        "no frame arrived within {limit} ms"
    );
    // Whoever measures next finds it as it was.
    let _ = output("timeout 5 ip netns exec red ping -q -c 1 -W 2 10.0.0.2");
    Ok(vec![(w.pause.1 - started) as f64 / 1e3])
}
