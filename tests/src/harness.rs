//! Runs system tests: each on a thread with network and mount namespaces of its own.
//!
//! Everything that a test makes (devices, named namespaces, mounts) lives in those namespaces and dies with them; every
//! process that it starts is told to die with the thread. So a test cleans up after itself however it ends: by success, by
//! panic, by the timeout of the whole process, or by a kill. Without the privilege to make namespaces each test is
//! skipped, loudly, and counted.

use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process::{Command, ExitCode};
use std::sync::{mpsc, Mutex};
use std::time::{Duration, Instant};

use nix::sched::{unshare, CloneFlags};

use crate::lab::Lab;

/// A test that takes longer is stuck: the process says so and ends, and everything it started ends with it. `RVS_TOO_LONG`
/// seconds instead are for tests that are asked by a variable of their own to do more than usual.
const TOO_LONG: Duration = Duration::from_secs(300);

fn too_long() -> Duration {
    let given = std::env::var("RVS_TOO_LONG");
    let given = given.ok().and_then(|s| s.parse().ok());
    given.map_or(TOO_LONG, Duration::from_secs)
}
/// How often a test that measures may be done at most. Each failure is shown, and the summary names what needed more than one.
const TRIES: usize = 3;
/// Most of a test's time is waiting, so that several may run on a small machine.
const AT_ONCE: usize = 3;

/// A test: its name and what it does.
#[derive(Clone, Copy)]
pub struct Test {
    pub name: &'static str,
    pub run: fn(&Lab),
    /// Measures times or rates: nothing else may run meanwhile, and it is done up to `TRIES` times, since whoever shares
    /// the machine disturbs a measurement. A fault of the switch fails each of them.
    pub measures: bool,
}

/// The tests named by their paths; whether each measures.
#[macro_export]
macro_rules! tests {
    (measures = $measures:expr; $($test:path),* $(,)?) => {
        [$($crate::Test { name: stringify!($test), run: $test, measures: $measures }),*]
    };
}

enum Outcome {
    /// How long it took in all, and at which try.
    Passed(Duration, usize),
    Failed(Duration),
    Skipped(String),
}

/// Runs the tests that the command line names (all, when it names none). Understands `--list` and `--test-threads=N`.
pub fn run(tests: &[Test]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let wanted = |t: &&Test| names.is_empty() || names.iter().any(|n| t.name.contains(n.as_str()));
    let chosen: Vec<Test> = tests.iter().filter(wanted).copied().collect();
    if arguments.iter().any(|a| a == "--list") {
        chosen.iter().for_each(|t| println!("{}: test", t.name));
        return ExitCode::SUCCESS;
    }
    let threads = arguments
        .iter()
        .find_map(|a| a.strip_prefix("--test-threads=")?.parse().ok())
        .unwrap_or(AT_ONCE);
    println!("\nrunning {} tests", chosen.len());
    let started = Instant::now();
    let (alone, together): (Vec<Test>, Vec<Test>) = chosen.into_iter().partition(|t| t.measures);
    let mut outcomes = several(together, threads);
    outcomes.extend(several(alone, 1));
    summary(&outcomes, started.elapsed())
}

fn summary(outcomes: &[(Test, Outcome)], took: Duration) -> ExitCode {
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|(_, o)| matches!(o, Outcome::Failed(_)))
        .map(|(t, _)| t.name)
        .collect();
    let skipped = outcomes
        .iter()
        .filter(|(_, o)| matches!(o, Outcome::Skipped(_)))
        .count();
    if skipped > 0 {
        println!(
            "\n{skipped} tests SKIPPED: they need root (CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW)"
        );
    }
    for (test, outcome) in outcomes {
        if let Outcome::Passed(_, tries @ 2..) = outcome {
            println!(
                "\n{} measured wrong before: passed at try {tries}",
                test.name
            );
        }
    }
    if !failed.is_empty() {
        println!("\nfailures:\n    {}", failed.join("\n    "));
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; {skipped} skipped; finished in {:.1}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        outcomes.len() - failed.len() - skipped,
        failed.len(),
        took.as_secs_f64(),
    );
    match failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Runs tests, as many at once as there are threads.
fn several(tests: Vec<Test>, threads: usize) -> Vec<(Test, Outcome)> {
    let queue = Mutex::new(VecDeque::from(tests));
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| loop {
                let Some(test) = queue.lock().unwrap().pop_front() else {
                    return;
                };
                let outcome = tried(test);
                match &outcome {
                    Outcome::Passed(t, _) => {
                        println!("test {} ... ok ({:.1}s)", test.name, t.as_secs_f64())
                    }
                    Outcome::Failed(t) => {
                        println!("test {} ... FAILED ({:.1}s)", test.name, t.as_secs_f64());
                    }
                    Outcome::Skipped(why) => println!("SKIPPED {}: needs root ({why})", test.name),
                }
                done.lock().unwrap().push((test, outcome));
            });
        }
    });
    done.into_inner().unwrap()
}

/// Runs a test, one that measures as often as it may be done.
fn tried(test: Test) -> Outcome {
    let (started, mut this) = (Instant::now(), 1);
    loop {
        match one(test) {
            Outcome::Passed(..) => return Outcome::Passed(started.elapsed(), this),
            Outcome::Failed(_) if test.measures && this < TRIES => {
                println!("test {} measured wrong at try {this} of {TRIES}", test.name);
            }
            other => return other,
        }
        this += 1;
    }
}

/// Runs a test on a thread of its own, in namespaces of its own.
fn one(test: Test) -> Outcome {
    let started = Instant::now();
    let (tell, told) = mpsc::channel();
    let body = move || {
        let _ = tell.send(match own_namespaces() {
            Err(why) => Outcome::Skipped(why),
            Ok(()) => match catch_unwind(AssertUnwindSafe(|| (test.run)(&Lab::new()))) {
                Ok(()) => Outcome::Passed(started.elapsed(), 1),
                Err(_) => Outcome::Failed(started.elapsed()),
            },
        });
    };
    let thread = std::thread::Builder::new()
        .name(test.name.to_owned())
        .spawn(body)
        .unwrap();
    match told.recv_timeout(too_long()) {
        Ok(outcome) => {
            // Processes of the test die with its thread.
            let _ = thread.join();
            outcome
        }
        Err(_) => {
            println!(
                "test {} is stuck after {} s: giving up",
                test.name,
                too_long().as_secs()
            );
            std::process::exit(101);
        }
    }
}

/// Moves this thread to new network and mount namespaces with an empty `/run`, where nothing that happens is seen outside.
fn own_namespaces() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .map_err(|e| format!("no namespaces: {e}"))?;
    for line in [
        "mount --make-rprivate /",
        "mount -t tmpfs -o mode=755 none /run",
        "mkdir /run/netns",
        "ip link set lo up",
    ] {
        let done = Command::new("sh").args(["-c", line]).output();
        match done {
            Ok(out) if out.status.success() => {}
            Ok(out) => {
                return Err(format!(
                    "{line}: {}",
                    String::from_utf8_lossy(&out.stderr).trim()
                ))
            }
            Err(e) => return Err(format!("{line}: {e}")),
        }
    }
    Ok(())
}
