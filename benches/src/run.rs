//! The run itself: contenders in alternation, round after round.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, Result};
use indicatif::{ProgressBar, ProgressStyle};

use crate::contender::{Contender, Kind, Running};
use crate::growth::{curves, Curve};
use crate::lab::output;
use crate::measure::{tests, Pace, Set, Test};
use crate::result::{Cell, Comparison, CurveResult, TestResult, Who, NO_START};

/// No test is begun after so long in a quick run, which has to end within three minutes.
const QUICK: Duration = Duration::from_secs(160);
/// Rounds of the curves at most: a million flows take their time.
const CURVE_ROUNDS: usize = 3;

/// What is to be compared, and how.
pub struct Plan {
    pub contenders: Vec<Contender>,
    pub left_out: Vec<String>,
    pub sets: Vec<Set>,
    /// Only tests and curves whose name has one of these words; all, if there are none.
    pub measure: Vec<String>,
    pub rounds: usize,
    pub pace: Pace,
}

impl Plan {
    fn wants(&self, name: &str) -> bool {
        self.measure.is_empty() || self.measure.iter().any(|m| name.contains(m.as_str()))
    }

    fn tests(&self) -> Vec<Test> {
        let mut all = tests(&self.sets);
        all.retain(|t| self.wants(&t.name) && (t.quick || !self.pace.quick));
        all
    }

    fn curves(&self) -> Vec<Curve> {
        let mut all = match self.sets.contains(&Set::Growth) {
            true => curves(),
            false => Vec::new(),
        };
        all.retain(|c| self.wants(c.name));
        all
    }

    /// Those whose growth is worth the time.
    fn growers(&self) -> Vec<usize> {
        let kinds = [
            Kind::Bridge,
            Kind::OvsTso,
            Kind::OvsKernel,
            Kind::Rvswitch,
            Kind::RvswitchKernel,
        ];
        let all = self.contenders.iter().enumerate();
        all.filter(|(_, c)| kinds.contains(&c.kind))
            .map(|(i, _)| i)
            .collect()
    }
}

/// How far the run is: a bar on a terminal, lines elsewhere.
struct Progress {
    bar: ProgressBar,
    started: Instant,
    limit: Option<Duration>,
}

impl Progress {
    fn new(steps: u64, quick: bool) -> Self {
        let bar = ProgressBar::new(steps);
        if let Ok(style) = ProgressStyle::with_template(
            "{elapsed_precise} {wide_bar} {pos}/{len}, {eta} left  {msg}",
        ) {
            bar.set_style(style);
        }
        Self {
            bar,
            started: Instant::now(),
            limit: quick.then_some(QUICK),
        }
    }

    /// Announces a contender's turn.
    fn turn(&self, text: &str) {
        match self.bar.is_hidden() {
            true => eprintln!("{text}"),
            false => self.bar.set_message(text.to_owned()),
        }
    }

    fn step(&self, text: &str) {
        self.bar.set_message(text.to_owned());
        self.bar.inc(1);
    }

    /// A failure that the reader wants to know at once.
    fn complain(&self, text: &str) {
        match self.bar.is_hidden() {
            true => eprintln!("  {text}"),
            false => self.bar.println(text),
        }
    }

    fn out_of_time(&self) -> bool {
        self.limit.is_some_and(|l| self.started.elapsed() > l)
    }
}

/// Runs everything. The caller is in its cage.
pub fn run(plan: &Plan, command: String) -> Result<Comparison> {
    let (tests, curves) = (plan.tests(), plan.curves());
    if tests.is_empty() && curves.is_empty() {
        bail!("nothing of that name is measured");
    }
    let load = output("cut -d' ' -f1-3 /proc/loadavg").unwrap_or_default();
    let growers = plan.growers();
    let points: usize = curves.iter().map(|c| c.points.len()).sum();
    let steps = plan.rounds * plan.contenders.len() * tests.len()
        + plan.rounds.min(CURVE_ROUNDS) * growers.len() * points;
    let progress = Progress::new(steps as u64, plan.pace.quick);
    let mut results: Vec<TestResult> = tests.iter().map(|t| empty(t, plan)).collect();
    if !tests.is_empty() {
        for round in 1..=plan.rounds {
            for (who, contender) in plan.contenders.iter().enumerate() {
                progress.turn(&format!(
                    "round {round} of {}: {}",
                    plan.rounds, contender.name
                ));
                turn(plan, who, &tests, &mut results, &progress);
            }
        }
    }
    let grown = curves
        .iter()
        .map(|c| grow(plan, c, &growers, &progress))
        .collect();
    progress.bar.finish_and_clear();
    let find = |kinds: &[Kind]| {
        let of = |k: &Kind| plan.contenders.iter().position(|c| c.kind == *k);
        kinds.iter().find_map(of)
    };
    let mut references = Vec::new();
    if let [.., other] = &plan.contenders[..] {
        if other.name.ends_with(crate::against::OTHER) {
            references.push((plan.contenders.len() - 1, "x other"));
        }
    }
    references.extend(find(&[Kind::OvsTso, Kind::OvsTxOff, Kind::Ovs]).map(|i| (i, "x OVS")));
    references.extend(find(&[Kind::Veth]).map(|i| (i, "x limit")));
    Ok(Comparison {
        command,
        machine: machine(&load),
        rounds: plan.rounds,
        seconds: plan.pace.seconds,
        contenders: plan.contenders.iter().map(who).collect(),
        left_out: plan.left_out.clone(),
        references,
        tests: results,
        curves: grown,
    })
}

fn who(c: &Contender) -> Who {
    Who {
        name: c.name.clone(),
        version: c.version(),
        settings: c.kind.settings(),
    }
}

fn empty(test: &Test, plan: &Plan) -> TestResult {
    TestResult {
        name: test.name.clone(),
        figures: test.figures.clone(),
        cells: vec![vec![Cell::default(); test.figures.len()]; plan.contenders.len()],
    }
}

/// All tests of one contender, once. What fails is a failure in the table, not the end of the run.
fn turn(plan: &Plan, who: usize, tests: &[Test], results: &mut [TestResult], progress: &Progress) {
    let contender = &plan.contenders[who];
    let mut running = match progress.out_of_time() {
        true => Err("no time left".to_owned()),
        false => start(contender),
    };
    if let Err(e) = &running {
        progress.complain(&format!("{}: {e}", contender.name));
    }
    for (test, result) in tests.iter().zip(results) {
        progress.step(&format!("{}: {}", contender.name, test.name));
        let cells = &mut result.cells[who];
        let late = progress.out_of_time().then_some("no time left");
        if let Some(why) = (test.lacks)(contender.kind).or(late) {
            cells.iter_mut().for_each(|c| c.left_out = Some(why));
            continue;
        }
        let values = match &mut running {
            Ok(r) => (test.run)(r, plan.pace).map_err(|e| format!("{e:#}")),
            Err(e) => Err(e.clone()),
        };
        if let (Err(e), Ok(_)) = (&values, &running) {
            progress.complain(&format!("{}: {}: {e}", contender.name, test.name));
        }
        note(cells, values);
    }
}

fn start(contender: &Contender) -> Result<Running, String> {
    Running::start(contender).map_err(|e| format!("{NO_START}: {e:#}"))
}

fn note(cells: &mut [Cell], values: Result<Vec<f64>, String>) {
    match values {
        Ok(values) => cells
            .iter_mut()
            .zip(values)
            .for_each(|(c, v)| c.values.push(v)),
        Err(e) => cells.iter_mut().for_each(|c| c.failures.push(e.clone())),
    }
}

/// One curve: contenders in alternation, each from its first point to its last.
fn grow(plan: &Plan, curve: &Curve, growers: &[usize], progress: &Progress) -> CurveResult {
    let cell = Cell {
        left_out: Some("-"),
        ..Cell::default()
    };
    let one = vec![vec![cell; curve.figures.len()]; curve.points.len()];
    let mut cells = vec![one; plan.contenders.len()];
    for round in 1..=plan.rounds.min(CURVE_ROUNDS) {
        for who in growers {
            let contender = &plan.contenders[*who];
            if !(curve.able)(contender.kind) {
                progress.bar.inc(curve.points.len() as u64);
                continue;
            }
            progress.turn(&format!(
                "{}, round {round}: {}",
                curve.name, contender.name
            ));
            let mut running = start(contender);
            for (point, cells) in curve.points.iter().zip(&mut cells[*who]) {
                progress.step(&format!("{}: {point} {}", contender.name, curve.name));
                let values = match &mut running {
                    Ok(r) => (curve.run)(r, plan.pace, *point).map_err(|e| format!("{e:#}")),
                    Err(e) => Err(e.clone()),
                };
                if let Err(e) = &values {
                    progress.complain(&format!("{}: {point} {}: {e}", contender.name, curve.name));
                }
                note(cells, values);
            }
        }
    }
    CurveResult {
        name: curve.name,
        of: curve.of,
        figures: curve.figures.clone(),
        points: curve.points.to_vec(),
        cells,
    }
}

fn machine(load: &str) -> Vec<(&'static str, String)> {
    let said =
        |line: &str| output(line).map_or_else(|_| "unknown".to_owned(), |s| s.trim().to_owned());
    let cores = std::thread::available_parallelism().map_or(0, |n| n.get());
    let hypervisor = match Path::new("/sys/hypervisor").exists()
        || said("grep -c -w hypervisor /proc/cpuinfo || true") != "0"
    {
        true => ", virtual",
        false => "",
    };
    vec![
        (
            "processor",
            said("grep -m1 'model name' /proc/cpuinfo | cut -d: -f2"),
        ),
        ("cores", format!("{cores}{hypervisor}")),
        (
            "memory",
            said("awk '/^MemTotal/ { printf \"%.1f GiB\", $2 / 1048576 }' /proc/meminfo"),
        ),
        ("kernel", said("uname -sr")),
        (
            "tools",
            said("(iperf3 --version | cut -d' ' -f1,2 | head -n 1; ping -V | head -n 1) | paste -sd, -"),
        ),
        ("load before", load.trim().to_owned()),
        ("load after", said("cut -d' ' -f1-3 /proc/loadavg")),
        ("date", said("date -u +%F")),
    ]
}
