//! `rvs/perf-start` and `rvs/perf-stop`: where the forwarding threads' time goes between the two.
//!
//! Only the times of the stages and of the kernel's program are measured for the occasion; batches, tiers and upcall latencies are counted anyway, and the
//! answer tells how much they grew. A client that asked and never came back costs nothing: every profile has an end, and the
//! next client's takes its place.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rvs_datapath::perf::{Perf, Stage};
use rvs_datapath::WorkerCounters;
use rvs_kcache::KernelCache;
use rvs_packet::Now;
use serde_json::{json, Map, Value};

use crate::clock;
use crate::commands::{Answer, Command, Daemon};
use crate::tier0::Tier0;
use crate::worker::{Order, WorkerHandle};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "rvs/perf-start",
        usage: "SECONDS",
        params: (1, 1),
        run: start,
    },
    Command {
        name: "rvs/perf-stop",
        usage: "NUMBER",
        params: (1, 1),
        run: stop,
    },
];

/// Longest profile.
const LONGEST: u64 = 60;
/// Readings of the clock from which the cost of one is known.
const READINGS: u32 = 1000;

/// A profile, running or at its end.
pub struct Profile {
    /// What whoever started it has to name.
    number: u64,
    started: Now,
    until: Now,
    workers: Vec<(Arc<Perf>, Counts)>,
    latency: Vec<(u64, u64)>,
    kernel: Option<Kernel>,
}

impl Profile {
    /// At its end the kernel no longer times its programs, whether or not anybody comes for the profile.
    pub fn expire(&mut self, now: Now) {
        if let Some(kernel) = self.kernel.as_mut().filter(|_| now > self.until) {
            kernel.stopwatch = None;
        }
    }
}

/// What tier 0 had done, and what makes the kernel time it.
struct Kernel {
    stopwatch: Option<OwnedFd>,
    /// The kernel was asked to time it and does; it refuses without CAP_SYS_ADMIN.
    timed: bool,
    hits: u64,
    run_time: (u64, u64),
}

impl Kernel {
    fn of(tier0: &Tier0) -> Self {
        let stopwatch = KernelCache::time_programs().ok();
        Self {
            timed: stopwatch.is_some(),
            stopwatch,
            hits: tier0.hits(),
            run_time: tier0.run_time().unwrap_or_default(),
        }
    }

    fn grown(&self, tier0: &Tier0) -> Value {
        let (ns, runs) = tier0.run_time().unwrap_or_default();
        let (ns, runs) = (
            ns.saturating_sub(self.run_time.0),
            runs.saturating_sub(self.run_time.1),
        );
        // It may be timed by somebody else's wish (kernel.bpf_stats_enabled).
        let timed = self.timed || runs > 0;
        json!({
            "tier": 0, "name": "kernel", "hits": tier0.hits().saturating_sub(self.hits), "timed": timed,
            "frames": timed.then_some(runs), "ns": timed.then_some(ns),
            "ns_per_frame": (runs > 0).then(|| ns as f64 / runs as f64),
        })
    }
}

/// What a worker had counted.
struct Counts {
    tiers: [u64; 3],
    upcalls: u64,
    batches: Vec<u64>,
}

impl Counts {
    fn of(c: &WorkerCounters) -> Self {
        Self {
            tiers: [&c.emc_hits, &c.megaflow_hits, &c.misses].map(|n| n.read()),
            upcalls: c.upcalls.read(),
            batches: c.batches.iter().map(|n| n.read()).collect(),
        }
    }
}

/// Starts a profile of so many seconds; its number.
pub fn start(daemon: &mut Daemon, params: &[String]) -> Answer {
    let seconds = params.first().and_then(|s| s.parse().ok());
    let seconds: u64 = seconds
        .filter(|s| (1..=LONGEST).contains(s))
        .ok_or_else(|| format!("a profile takes 1 to {LONGEST} seconds"))?;
    let now = clock::now();
    // Who asked comes a little late to fetch it.
    let until = now + Duration::from_secs(seconds + 1);
    let begin = |w: &WorkerHandle| {
        let perf = Arc::new(Perf::default());
        w.send(Order::Profile(Some((perf.clone(), until))));
        (perf, Counts::of(&w.counters))
    };
    let number = now.0;
    daemon.profile = Some(Profile {
        number,
        started: now,
        until,
        workers: daemon.workers.iter().map(begin).collect(),
        latency: daemon.latency.read(),
        kernel: daemon.switch.rim.devices.kernel().ok().map(Kernel::of),
    });
    Ok(json!(number.to_string()))
}

/// Ends the profile of that number and tells what it found.
pub fn stop(daemon: &mut Daemon, params: &[String]) -> Answer {
    let number = params.first().and_then(|n| n.parse().ok());
    let Some(profile) = daemon.profile.take_if(|p| Some(p.number) == number) else {
        return Err("no such profile is running; another one may have taken its place".to_owned());
    };
    for w in &daemon.workers {
        w.send(Order::Profile(None));
    }
    let took = clock::now().min(profile.until).since(profile.started);
    let workers = profile.workers.iter().zip(&daemon.workers).enumerate();
    let workers: Vec<Value> = workers
        .map(|(i, ((perf, before), w))| {
            let mut row = worker(perf, before, &Counts::of(&w.counters), took);
            row["worker"] = json!(format!("dp-{i}"));
            row
        })
        .collect();
    let tier0 = daemon.switch.rim.devices.kernel().ok();
    let kernel = profile.kernel.as_ref().zip(tier0).map(|(k, t)| k.grown(t));
    let before = |bound: u64| {
        let found = profile.latency.iter().find(|(b, _)| *b == bound);
        found.map_or(0, |(_, n)| *n)
    };
    let latency: Vec<(u64, u64)> = daemon
        .latency
        .read()
        .into_iter()
        .map(|(bound, n)| (bound, n.saturating_sub(before(bound))))
        .filter(|(_, n)| *n > 0)
        .collect();
    Ok(json!({
        "seconds": took.as_secs_f64(),
        "clock_ns": clock_cost(),
        "workers": workers,
        "kernel": kernel,
        "upcall_latency_us": latency,
    }))
}

fn worker(perf: &Perf, before: &Counts, after: &Counts, took: Duration) -> Value {
    let (frames, took) = (perf.frames(), took.as_nanos() as u64);
    let each = |ns: u64| (frames > 0).then(|| ns as f64 / frames as f64);
    let stages: Map<String, Value> = Stage::ALL
        .iter()
        .map(|s| {
            let ns = perf.nanos(*s);
            let row = json!({"ns": ns, "ns_per_frame": each(ns)});
            (s.name().to_owned(), row)
        })
        .collect();
    let busy: u64 = Stage::ALL.iter().map(|s| perf.nanos(*s)).sum();
    let grown = |i: usize| after.tiers[i].wrapping_sub(before.tiers[i]);
    let sizes: Vec<(usize, u64)> = (1..)
        .zip(after.batches.iter().zip(&before.batches))
        .map(|(size, (now, then))| (size, now.wrapping_sub(*then)))
        .filter(|(_, n)| *n > 0)
        .collect();
    json!({
        "frames": frames,
        "batches": perf.batches(),
        "busy_ns": busy,
        "asleep_ns": took.saturating_sub(busy),
        "ns_per_frame": each(busy),
        "stages": stages,
        "tiers": [
            {"tier": 1, "name": "exact-match", "hits": grown(0)},
            {"tier": 2, "name": "megaflow", "hits": grown(1)},
            {"tier": 3, "name": "translate", "hits": grown(2)},
        ],
        "upcalls": after.upcalls.wrapping_sub(before.upcalls),
        "batch_sizes": sizes,
    })
}

/// Nanoseconds of one reading of the clock: what each lap adds to its stage.
fn clock_cost() -> f64 {
    let start = clock::now();
    let mut last = start;
    for _ in 0..READINGS {
        last = clock::now();
    }
    last.since(start).as_nanos() as f64 / f64::from(READINGS)
}
