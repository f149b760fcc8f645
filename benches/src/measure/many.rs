//! A million flows come and go, and a hundred thousand cached ones stay, while packets flow and others ask: who has to wait, and
//! for how long.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use rvs_flow::OfPort;
use rvs_openflow::message::FlowCommand;
use rvs_openflow::Action;

use super::change::watch;
use super::openflow::{clear, count, flow_file, target};
use super::{frames, no_openflow, percentile, Figure, Test};
use crate::contender::{Running, RED};
use crate::lab::{output, sh};
use crate::ofclient::{flow_mod, Controller};

const MILLION: u32 = 1_000_000;
/// Frames a second that run beside, of as many flows.
const WATCH: (u64, u64) = (16, 10_000);
/// Seconds after which flows with a timeout go.
const TIMEOUT: u64 = 4;
/// Cached flows beside which rules change, and how often they do.
const CACHED: u64 = 100_000;
const CHANGES: usize = 2001;

/// What is done with a million flows, and the most milliseconds it may take.
const STEPS: [(&str, &str, u64); 5] = [
    ("load", "loaded by one bundle", 16_000),
    ("dump", "dumped", 7_000),
    ("delete", "deleted", 3_000),
    ("idle", "loaded, and all timed out, being idle", 30_000),
    ("hard", "loaded, and all timed out, by the clock", 30_000),
];

pub fn tests() -> Vec<Test> {
    let mut figures = Vec::new();
    for (key, head, _) in STEPS {
        let figure = |end: &str, what: &str, unit| {
            Figure::less(
                &format!("many_{key}_{end}"),
                &format!("a million flows {head}{what}"),
                unit,
            )
        };
        figures.push(figure("s", "", "s"));
        figures.push(figure(
            "pause_ms",
            ": longest pause of the frames beside",
            "ms",
        ));
        figures.push(figure(
            "echo_ms",
            ": slowest echo of another connection",
            "ms",
        ));
    }
    let cached = |key: &str, head: &str| {
        Figure::less(
            &format!("cached_{key}"),
            &format!("beside 100,000 cached flows: {head}"),
            "us",
        )
    };
    vec![
        Test::new("a million flows", figures, |r, _| million(r))
            .unless(no_openflow)
            .thorough(),
        Test::new(
            "changes beside cached flows",
            vec![
                cached("echo_us", "an echo, median"),
                cached(
                    "none_us",
                    "a flow-mod that affects none and its barrier, median",
                ),
                cached(
                    "none_p99_us",
                    "a flow-mod that affects none and its barrier, p99",
                ),
                cached(
                    "eight_us",
                    "a flow-mod that affects eight and its barrier, median",
                ),
                cached(
                    "eight_p99_us",
                    "a flow-mod that affects eight and its barrier, p99",
                ),
            ],
            |r, _| beside_cached(r),
        )
        .unless(no_openflow)
        .thorough(),
    ]
}

/// Asks for an echo every millisecond until told to stop; the slowest reply.
struct Echoes {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<Duration>>,
}

impl Echoes {
    fn start(socket: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut c = Controller::connect(&socket)?;
            let mut worst = Duration::ZERO;
            while !told.load(Ordering::Relaxed) {
                worst = worst.max(c.echo()?);
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(worst)
        });
        Self { stop, thread }
    }

    /// Milliseconds of the slowest.
    fn worst(self) -> Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let worst = self
            .thread
            .join()
            .map_err(|_| anyhow::anyhow!("the echo thread failed"))??;
        Ok(worst.as_secs_f64() * 1e3)
    }
}

/// Every step in turn, each beside frames and echoes of its own.
fn million(r: &mut Running) -> Result<Vec<f64>> {
    let plain = flow_file(r, MILLION, "")?;
    let timeouts = format!("idle_timeout={TIMEOUT},hard_timeout={},", 2 * TIMEOUT);
    let idle = flow_file(r, MILLION, &timeouts)?;
    let hard = flow_file(r, MILLION, &format!("hard_timeout={TIMEOUT},"))?;
    let bundle = |file: &str, r: &Running| {
        sh(&format!(
            "ovs-ofctl --timeout=60 -O OpenFlow14 --bundle add-flows {} {file}",
            target(r)
        ))
    };
    clear(r)?;
    let mut all = Vec::new();
    // The frames beside have a rule of their own, above all of the load.
    let green = RED + 1;
    sh(&format!(
        "ovs-ofctl add-flow {} cookie=1,priority=1000,udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,actions=output:{green}",
        target(r)
    ))?;
    for (key, _, millis) in STEPS {
        let (mut seconds, mut echo) = (0.0, 0.0);
        let w = watch(r, millis, WATCH, |r| {
            let echoes = Echoes::start(r.openflow());
            let start = Instant::now();
            match key {
                "load" => bundle(&plain, r)?,
                "dump" => sh(&format!(
                    "ovs-ofctl --timeout=60 dump-flows {} > /dev/null",
                    target(r)
                ))?,
                "delete" => sh(&format!("ovs-ofctl del-flows {} cookie=0/-1", target(r)))?,
                _ => {
                    bundle(if key == "hard" { &hard } else { &idle }, r)?;
                    std::thread::sleep(Duration::from_secs(TIMEOUT));
                    while count(r)? > 1 {
                        std::thread::sleep(Duration::from_millis(250));
                    }
                }
            }
            seconds = start.elapsed().as_secs_f64();
            echo = echoes.worst()?;
            Ok(())
        })?;
        ensure!(
            seconds * 1e3 < millis as f64,
            "{key} took {seconds:.1} s, longer than what was sent beside"
        );
        all.extend([seconds, w.pause_ms(), echo]);
    }
    Ok(all)
}

/// Rules come and go beside as many cached flows of one mask.
fn beside_cached(r: &mut Running) -> Result<Vec<f64>> {
    let mut c = Controller::connect(&r.openflow())?;
    c.put(&flow_mod(FlowCommand::Delete, 0, "", Vec::new())?)?;
    let to_green = || vec![Action::output(OfPort(u32::from(RED) + 1))];
    for i in 0..CACHED {
        let ([a, b, d, e], port) = crate::tool::flow(i);
        let matching = format!("udp,nw_src={a}.{b}.{d}.{e},tp_src={port}");
        c.put(&flow_mod(FlowCommand::Add, 100, &matching, to_green())?)?;
    }
    c.barrier()?;
    let options = format!("--flows {CACHED} --rate 60000");
    sh(&format!(
        "{} > /dev/null",
        frames::flood_line(4000, &options)?
    ))?;
    let cached = cached_flows(r)?;
    ensure!(cached >= CACHED, "{cached} flows are cached");
    let mut echoes = Vec::new();
    for _ in 0..CHANGES {
        echoes.push(c.echo()?.as_secs_f64() * 1e6);
    }
    // Nobody sends this; and the eight flows of source ports 10,000 to 10,007.
    let mut none = changes(&mut c, |_| "udp,nw_src=10.9.0.1,tp_src=7".to_owned())?;
    let mut eight = changes(&mut c, |n| {
        format!(
            "udp,nw_src=10.0.0.1,tp_src={:#x}/0xfff8",
            10_000 + 8 * (n as u64 / 2 % 1000)
        )
    })?;
    for times in [&mut echoes, &mut none, &mut eight] {
        times.sort_by(f64::total_cmp);
    }
    Ok(vec![
        percentile(&echoes, 0.5),
        percentile(&none, 0.5),
        percentile(&none, 0.99),
        percentile(&eight, 0.5),
        percentile(&eight, 0.99),
    ])
}

/// How many flows the switch says it has in its cache.
fn cached_flows(r: &Running) -> Result<u64> {
    let text = output(&format!(
        "ovs-appctl --timeout=20 -t $(ls {}/*vswitchd*.ctl | head -1) upcall/show",
        r.dir().display()
    ))?;
    let number = text
        .split("(current ")
        .nth(1)
        .and_then(|t| t.split(')').next());
    Ok(number
        .context("upcall/show says nothing of flows")?
        .parse()?)
}

/// Adds a rule and takes it away again, with a barrier each; microseconds of each.
fn changes(c: &mut Controller, matching: impl Fn(usize) -> String) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(CHANGES);
    for n in 0..CHANGES {
        let command = match n % 2 {
            0 => FlowCommand::Add,
            _ => FlowCommand::DeleteStrict,
        };
        c.put(&flow_mod(command, 200, &matching(n), Vec::new())?)?;
        let start = Instant::now();
        c.barrier()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}
