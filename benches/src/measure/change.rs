//! Changes, and what the traffic notices of them.

use std::time::{Duration, Instant};

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
use crate::tool::PORTS;

/// Flow-mods of a load.
const FLOWS: u64 = 10_000;
/// Flow-mods between two barriers while traffic runs.
const STRIDE: u64 = 100;
/// Ports added one by one.
const ADDED: u32 = 10;
/// Frames per second that watch a change.
const WATCH: u64 = 20_000;
/// Frames per second beside changes that do not concern them, and these changes per second.
const BESIDE: u64 = 50_000;
const MODS: u64 = 10_000;
/// Frames per second that go through a controller.
const REFLECTED: u64 = 10_000;
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
            "unrelated changes under traffic",
            vec![
                Figure::more(
                    "beside_share",
                    "50,000 frames/s beside 10,000 flow-mods/s for other packets: arrived",
                    "%",
                ),
                Figure::less("beside_pause_ms", "longest pause meanwhile", "ms"),
                Figure::more("beside_mods", "flow-mods meanwhile", "flow-mods/s"),
            ],
            beside,
        )
        .unless(no_openflow)
        .thorough(),
        Test::new(
            "through a controller",
            vec![
                Figure::more(
                    "reflected_share",
                    "10,000 frames/s as packet-ins and back as packet-outs: arrived",
                    "%",
                ),
                Figure::less("reflected_late", "of them overtaken", "frames"),
                Figure::less("reflected_pause_ms", "longest pause meanwhile", "ms"),
            ],
            reflected,
        )
        .unless(no_openflow)
        .thorough(),
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
    for n in 0..ADDED {
        sh(&format!(
            "ip link add x{n} type veth peer name y{n} && ip link set x{n} up && ip link set y{n} up"
        ))?;
        let line = r.add_port(&format!("x{n}"));
        let start = Instant::now();
        sh(&line)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let gone: Vec<String> = (0..ADDED).map(|n| r.del_port(&format!("x{n}"))).collect();
    sh(&gone.join("; "))?;
    times.sort_by(f64::total_cmp);
    Ok(vec![percentile(&times, 0.5)])
}

/// What a watcher saw of a flood.
pub(super) struct Watched {
    sent: u64,
    arrived: u64,
    /// Overtaken, of a flood of [`PORTS`] flows.
    late: u64,
    /// When the longest pause began and ended, in microseconds.
    pause: (u64, u64),
}

/// Lets something happen in the midst of a flood.
pub(super) fn watch(
    r: &mut Running,
    millis: u64,
    (flows, rate): (u64, u64),
    event: impl FnOnce(&mut Running) -> Result<()>,
) -> Result<Watched> {
    let receiver = own("green", &format!("tool receive {}", millis + 500))?;
    let receiver = Process::line(r.dir(), "receive", &receiver)?;
    std::thread::sleep(std::time::Duration::from_millis(100));
    let options = format!("--flows {flows} --rate {rate}");
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
        late: number(&seen, 3)?,
    })
}

/// 5,000 rules come and go, those of the running traffic among them.
fn change(r: &mut Running, pace: Pace) -> Result<Vec<f64>> {
    let mut c = Controller::connect(&r.openflow())?;
    let mut took = 0.0;
    let w = watch(r, pace.millis().max(1500), (WATCHED, WATCH), |_| {
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

impl Watched {
    /// Percent of what was sent.
    fn share(&self) -> f64 {
        self.arrived as f64 * 100.0 / self.sent.max(1) as f64
    }

    pub(super) fn pause_ms(&self) -> f64 {
        (self.pause.1 - self.pause.0) as f64 / 1e3
    }
}

/// Rules for packets that nobody sends come and go, [`STRIDE`] at a time, each with a barrier.
fn beside(r: &mut Running, pace: Pace) -> Result<Vec<f64>> {
    let mut c = Controller::connect(&r.openflow())?;
    let time = Duration::from_millis(pace.millis().max(1500));
    let other = |command, n: u64| {
        let matching = format!(
            "udp,nw_src=10.9.0.1,nw_dst=10.9.{}.2,tp_src={}",
            n % 7,
            n % FLOWS
        );
        flow_mod(command, 100, &matching, vec![Action::output(OfPort(1))])
    };
    let (mut done, mut rate) = (0, 0.0);
    let w = watch(r, time.as_millis() as u64 + 200, (256, BESIDE), |_| {
        let start = Instant::now();
        while start.elapsed() < time {
            // Every other stride takes back what the one before has added.
            let command = match done / STRIDE % 2 {
                0 => FlowCommand::Add,
                _ => FlowCommand::DeleteStrict,
            };
            let first = done / (2 * STRIDE) * STRIDE;
            for n in first..first + STRIDE {
                c.put(&other(command, n)?)?;
            }
            c.barrier()?;
            done += STRIDE;
            let due = Duration::from_secs_f64(done as f64 / MODS as f64);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
        rate = done as f64 / start.elapsed().as_secs_f64();
        Ok(())
    })?;
    Ok(vec![w.share(), w.pause_ms(), rate])
}

/// Every frame goes to a controller, which sends it on.
fn reflected(r: &mut Running, pace: Pace) -> Result<Vec<f64>> {
    let mut c = Controller::connect(&r.openflow())?;
    let millis = pace.millis().max(1500);
    let to_controller = |command| {
        let ask = Action::output(OfPort::CONTROLLER);
        flow_mod(
            command,
            200,
            "udp,nw_src=10.0.0.1,nw_dst=10.0.0.2",
            vec![ask],
        )
    };
    c.put(&to_controller(FlowCommand::Add)?)?;
    c.listen()?;
    let w = watch(r, millis, (PORTS, REFLECTED), |_| {
        c.reflect(Duration::from_millis(millis), OfPort(u32::from(RED) + 1))?;
        Ok(())
    });
    c.put(&to_controller(FlowCommand::DeleteStrict)?)?;
    c.barrier()?;
    let w = w?;
    Ok(vec![w.share(), w.late as f64, w.pause_ms()])
}

/// How long a killed daemon stays dead: by then the kernel's cache of one has stopped to forward, too (three seconds).
const DEAD: u64 = 3500;

/// Milliseconds from the start of a killed daemon, its configuration in its database, to the first frame that arrives.
fn restart(r: &mut Running, pace: Pace) -> Result<Vec<f64>> {
    let limit = if pace.quick { RESTART_QUICK } else { RESTART };
    let mut started = 0;
    let w = watch(r, limit + DEAD, (WATCHED, 2000), |r| {
        r.kill();
        std::thread::sleep(Duration::from_millis(DEAD));
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
