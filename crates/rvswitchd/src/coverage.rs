//! `coverage/*`: every event that the daemon counts, and how often each has happened of late.
//!
//! Totals are read every 5 seconds, and those of whole minutes are kept for an hour: rates are differences. A daemon without
//! bridges has no beat to read them by, and no events.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use rvs_dpif::DropReason;
use rvs_packet::Now;
use rvs_slowpath::DelReason;
use serde_json::{json, Map, Value};

use crate::commands::{Answer, Command, Daemon};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "coverage/read-counter",
        usage: "COUNTER",
        params: (1, 1),
        run: read_counter,
    },
    Command {
        name: "coverage/show",
        usage: "",
        params: (0, 0),
        run: show,
    },
    Command {
        name: "rvs/coverage",
        usage: "",
        params: (0, 0),
        run: as_json,
    },
];

/// Between readings.
const STEP: Duration = Duration::from_secs(5);
/// Readings in a minute, and minutes in an hour.
const STEPS: usize = 12;
const MINUTES: usize = 60;

/// Totals by name, as they were at a moment.
type Reading = Vec<(String, u64)>;

/// Readings of the last minute and the last hour, the oldest first.
#[derive(Default)]
pub struct Rates {
    next: Now,
    steps: VecDeque<Reading>,
    minutes: VecDeque<Reading>,
    /// Readings since the last whole minute.
    since: usize,
}

impl Rates {
    pub fn is_due(&self, now: Now) -> bool {
        now >= self.next
    }

    pub fn take(&mut self, now: Now, reading: Reading) {
        self.next = now + STEP;
        if self.since == 0 {
            keep(&mut self.minutes, reading.clone(), MINUTES);
        }
        self.since = (self.since + 1) % STEPS;
        keep(&mut self.steps, reading, STEPS);
    }

    /// Events a second in the last 5 seconds, minute and hour.
    fn of(&self, name: &str) -> [f64; 3] {
        let total = |reading: Option<&Reading>| {
            let found = reading.and_then(|r| {
                let at = r.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok()?;
                r.get(at).map(|(_, n)| *n)
            });
            found.unwrap_or(0)
        };
        let last = total(self.steps.back());
        let since = |reading: Option<&Reading>, secs: f64| {
            // Before the first reading nothing had happened.
            last.saturating_sub(total(reading)) as f64 / secs
        };
        let full = |readings: &'_ VecDeque<Reading>, most: usize| readings.len() > most;
        let before = self.steps.len().checked_sub(2);
        let minute = self.steps.front().filter(|_| full(&self.steps, STEPS));
        let hour = self
            .minutes
            .front()
            .filter(|_| full(&self.minutes, MINUTES));
        [
            since(before.and_then(|i| self.steps.get(i)), 5.0),
            since(minute, 60.0),
            since(hour, 3600.0),
        ]
    }
}

/// One reading more than there are steps between them.
fn keep(readings: &mut VecDeque<Reading>, reading: Reading, steps: usize) {
    readings.push_back(reading);
    if readings.len() > steps + 1 {
        readings.pop_front();
    }
}

/// Every counter of the daemon by name, ascending.
pub fn counters(daemon: &Daemon) -> Vec<(String, u64)> {
    let mut all = std::collections::BTreeMap::<String, u64>::new();
    let mut add = |name: &str, n: u64| *all.entry(name.to_owned()).or_default() += n;
    for worker in &daemon.workers {
        for (name, n) in worker.counters.iter() {
            add(name, n);
        }
        for reason in DropReason::ALL {
            add(reason.name(), worker.counters.drops.read(*reason));
        }
        add("poison_packets", worker.poisoned());
        add("kcache_stray", worker.stray());
    }
    if let Ok(tier0) = daemon.switch.rim.devices.kernel() {
        for (name, n) in tier0.named() {
            add(name, n);
        }
    }
    for (name, n) in daemon.switch.rim.devices.refusals() {
        add(name, n);
    }
    add("kcache_names_lost", daemon.survival.lost());
    add("letters_lost", daemon.switch.rim.wires.control.lost());
    for (_, agent) in daemon.switch.agents() {
        add("lessons_late", agent.state.late_lessons());
    }
    let slow = daemon.switch.slow();
    let c = slow.counters();
    let named = [
        ("upcalls_handled", c.upcalls),
        ("translations", c.translations),
        ("flow_installed", c.installed),
        ("flow_not_installed", c.not_installed),
        ("masks_rounded", c.masks_rounded),
        ("masks_exact", c.masks_exact),
        ("punts_unknown", c.punts_unknown),
        ("revalidated", c.revalidated),
    ];
    for (name, n) in named {
        add(name, n);
    }
    for reason in DelReason::ALL {
        add(reason.name(), c.deleted[reason as usize]);
    }
    all.into_iter().collect()
}

fn show(daemon: &mut Daemon, _: &[String]) -> Answer {
    let all = counters(daemon);
    let mut text = format!(
        "Event coverage, avg rate over last: 5 seconds, last minute, last hour,  hash={:08x}:\n",
        hash(&all)
    );
    for (name, n) in all.iter().filter(|(_, n)| *n > 0) {
        let [step, minute, hour] = daemon.rates.of(name);
        let _ = writeln!(
            text,
            "{name:<24} {step:5.1}/sec {minute:9.3}/sec {hour:13.4}/sec   total: {n}"
        );
    }
    let _ = writeln!(
        text,
        "{} events never hit",
        all.iter().filter(|(_, n)| *n == 0).count()
    );
    Ok(json!(text))
}

/// Tells sets of events that have happened apart (FNV-1a).
fn hash(all: &[(String, u64)]) -> u32 {
    let hit = all.iter().filter(|(_, n)| *n > 0);
    hit.flat_map(|(name, _)| name.bytes().chain([0]))
        .fold(0x811c_9dc5, |h, b| {
            (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
        })
}

/// What Open vSwitch counts frames under that go nowhere, and our reasons for that; without one it does not happen here.
const OPEN_VSWITCH: &[(&str, &[DropReason])] = &[
    ("datapath_drop_invalid_port", &[DropReason::NoPort]),
    ("datapath_drop_lock_error", &[]),
    ("datapath_drop_meter", &[DropReason::Meter]),
    ("datapath_drop_recirc_error", &[DropReason::RecircTooDeep]),
    ("datapath_drop_rx_invalid_packet", &[DropReason::BadFrame]),
    ("datapath_drop_tunnel_pop_error", &[]),
    ("datapath_drop_tunnel_push_error", &[]),
    ("datapath_drop_upcall_error", DropReason::NO_ROOM),
    ("datapath_drop_userspace_action_error", &[]),
    ("drop_action_bridge_not_found", &[DropReason::NoBridge]),
    ("drop_action_congestion", &[]),
    ("drop_action_forwarding_disabled", &[DropReason::StpBlocked]),
    ("drop_action_invalid_tunnel_metadata", &[]),
    (
        "drop_action_no_recirculation_context",
        &[DropReason::RecircUnknown],
    ),
    ("drop_action_of_pipeline", DropReason::TABLES),
    ("drop_action_recirculation_conflict", &[]),
    ("drop_action_recursion_too_deep", &[DropReason::TooDeep]),
    ("drop_action_stack_too_deep", &[DropReason::StackTooDeep]),
    ("drop_action_too_many_mpls_labels", &[]),
    (
        "drop_action_too_many_resubmit",
        &[DropReason::TooManyResubmits, DropReason::TooManyActions],
    ),
    ("drop_action_unsupported_packet_type", &[]),
];

fn read_counter(daemon: &mut Daemon, params: &[String]) -> Answer {
    let name = params.first().map_or("", String::as_str);
    let all = counters(daemon);
    let total = |name: &str| all.iter().find(|(n, _)| n == name).map(|(_, n)| *n);
    let theirs = || {
        let (_, reasons) = OPEN_VSWITCH.iter().find(|(n, _)| *n == name)?;
        Some(reasons.iter().filter_map(|r| total(r.name())).sum())
    };
    let found = total(name).or_else(theirs);
    found
        .map(|n: u64| json!(format!("{n}\n")))
        .ok_or_else(|| "No such counter".to_owned())
}

fn as_json(daemon: &mut Daemon, _: &[String]) -> Answer {
    let pairs = counters(daemon).into_iter().map(|(k, v)| (k, json!(v)));
    Ok(Value::Object(pairs.collect::<Map<_, _>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_a_translation_has_a_name_there() {
        use DropReason::{StackTooDeep, TooDeep, TooManyActions, TooManyResubmits};
        for reason in [TooDeep, StackTooDeep, TooManyResubmits, TooManyActions] {
            let named = OPEN_VSWITCH.iter().any(|(_, all)| all.contains(&reason));
            assert!(named, "{}", reason.name());
        }
    }

    #[test]
    fn rates_are_differences_of_readings() {
        let mut rates = Rates::default();
        let mut now = Now::from_secs(100);
        assert!(rates.is_due(now));
        let reading = |n: u64| vec![("a".to_owned(), n), ("b".to_owned(), 0)];
        rates.take(now, reading(10));
        assert_eq!(rates.of("a"), [2.0, 10.0 / 60.0, 10.0 / 3600.0]);
        assert!(!rates.is_due(now + Duration::from_secs(4)));
        // One event a second for two hours.
        for n in 1..=1440_u64 {
            now = now + STEP;
            assert!(rates.is_due(now));
            rates.take(now, reading(10 + 5 * n));
        }
        let [step, minute, hour] = rates.of("a");
        assert_eq!((step, minute), (1.0, 1.0));
        assert!((hour - 1.0).abs() < 0.02, "{hour}");
        assert_eq!(rates.of("b"), [0.0; 3]);
        assert_eq!(rates.of("c"), [0.0; 3]);
        assert_eq!((rates.steps.len(), rates.minutes.len()), (13, 61));
    }
}
