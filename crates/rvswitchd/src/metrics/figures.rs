//! The figures in Prometheus' text format (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rvs_dpif::DropReason;
use rvs_ovsdb::value::Atom;
use serde_json::{json, Value};

use crate::commands::{rvs_memory, rvs_ports, Answer, Daemon};
use crate::coverage::counters;

/// Labels and a value.
type Sample<'a> = (Vec<(&'a str, &'a str)>, u64);

/// Families of samples: name, type, what it is, and the samples as labels and value.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP rvswitch_{name} {help}");
        let _ = writeln!(self.0, "# TYPE rvswitch_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let escaped = |v: &str| {
            v.replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n")
        };
        let labels: Vec<String> = labels
            .iter()
            .map(|(k, v)| format!("{k}=\"{}\"", escaped(v)))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "rvswitch_{name}{labels} {value}");
    }

    fn alone(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

/// All figures.
pub fn text(daemon: &mut Daemon, _: &[String]) -> Answer {
    let mut text = Text::default();
    text.family("info", "gauge", "The version that runs.");
    text.sample("info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    memory(&mut text, &rvs_memory(daemon, &[])?);
    tiers(&mut text, daemon);
    events(&mut text, counters(daemon));
    latency(&mut text, &daemon.latency.read());
    ports(&mut text, &rvs_ports(daemon, &[])?);
    controllers(&mut text, daemon);
    Ok(json!(text.0))
}

fn memory(text: &mut Text, memory: &Value) {
    let n = |name: &str| memory[name].as_u64().unwrap_or(0);
    let gauge = "gauge";
    text.alone(
        "uptime_seconds",
        gauge,
        "Since the daemon's start.",
        n("uptime"),
    );
    text.alone(
        "resident_bytes",
        gauge,
        "Memory of the process.",
        n("resident_kib") * 1024,
    );
    text.alone("flows", gauge, "Entries of the megaflow cache.", n("flows"));
    text.alone("flows_limit", gauge, "Most of them.", n("flow_limit"));
    text.alone("mac_entries", gauge, "Learned addresses.", n("mac_entries"));
    text.alone("ports", gauge, "Configured interfaces.", n("ports"));
    text.alone(
        "parked_frames",
        gauge,
        "Frames that wait for the slow path.",
        n("parked_frames"),
    );
    text.alone(
        "database_clients",
        gauge,
        "Connections to the database.",
        n("database_clients"),
    );
}

fn tiers(text: &mut Text, daemon: &Daemon) {
    let sum = |read: fn(&rvs_datapath::WorkerCounters) -> u64| -> u64 {
        daemon.workers.iter().map(|w| read(&w.counters)).sum()
    };
    let name = "cache_hits_total";
    text.family(name, "counter", "Frames by the tier that answered them.");
    if let Ok(tier0) = daemon.switch.rim.devices.kernel() {
        text.sample(name, &[("tier", "kernel")], tier0.hits());
    }
    let rest = [
        ("exact-match", sum(|c| c.emc_hits.read())),
        ("megaflow", sum(|c| c.megaflow_hits.read())),
        ("translate", sum(|c| c.misses.read())),
    ];
    for (tier, hits) in rest {
        text.sample(name, &[("tier", tier)], hits);
    }
}

/// The counters of `rvs-ctl coverage`: frames lost by reason, and everything else.
fn events(text: &mut Text, all: Vec<(String, u64)>) {
    let is_drop = |name: &str| DropReason::ALL.iter().any(|r| r.name() == name);
    let (drops, events): (Vec<_>, Vec<_>) = all.into_iter().partition(|(name, _)| is_drop(name));
    text.family("drops_total", "counter", "Frames dropped, by reason.");
    for (reason, n) in drops {
        text.sample("drops_total", &[("reason", &reason)], n);
    }
    text.family("events_total", "counter", "Events of the daemon, by name.");
    for (event, n) in events {
        text.sample("events_total", &[("event", &event)], n);
    }
}

/// Buckets double from 2 us on; the last has no bound. The times themselves are not summed up.
fn latency(text: &mut Text, buckets: &[(u64, u64)]) {
    const BUCKETS: u32 = 24;
    let name = "upcall_latency_seconds";
    text.family(
        name,
        "histogram",
        "From a worker's question to the slow path's answer.",
    );
    let counts: BTreeMap<u64, u64> = buckets.iter().copied().collect();
    let bucket = format!("{name}_bucket");
    let mut so_far = 0;
    for i in 0..BUCKETS {
        let bound = 2u64 << i;
        so_far += counts.get(&bound).copied().unwrap_or(0);
        let le = match i + 1 < BUCKETS {
            true => (bound as f64 / 1e6).to_string(),
            false => "+Inf".to_owned(),
        };
        text.sample(&bucket, &[("le", &le)], so_far);
    }
    text.sample(&format!("{name}_count"), &[], so_far);
}

fn ports(text: &mut Text, rows: &Value) {
    let mut families: BTreeMap<String, Vec<Sample<'_>>> = BTreeMap::new();
    let mut up = Vec::new();
    for row in rows.as_array().into_iter().flatten() {
        let labels: Vec<(&str, &str)> = ["bridge", "port", "interface"]
            .into_iter()
            .map(|l| (l, row[l].as_str().unwrap_or_default()))
            .collect();
        let link = &row["link"];
        let is_up = link["admin"] == json!(true) && link["carrier"] == json!(true);
        up.push((labels.clone(), u64::from(is_up)));
        for (name, n) in row["counters"].as_object().into_iter().flatten() {
            let family = families.entry(format!("port_{name}_total")).or_default();
            family.push((labels.clone(), n.as_u64().unwrap_or(0)));
        }
    }
    text.family(
        "port_up",
        "gauge",
        "1 if the device is up and has a carrier.",
    );
    for (labels, n) in up {
        text.sample("port_up", &labels, n);
    }
    for (name, samples) in families {
        text.family(
            &name,
            "counter",
            "A counter of the port, as the switch sees it.",
        );
        for (labels, n) in samples {
            text.sample(&name, &labels, n);
        }
    }
}

fn controllers(text: &mut Text, daemon: &Daemon) {
    let name = "controller_connected";
    text.family(name, "gauge", "Connections that are up, by target.");
    let database = Some(daemon.switch.database());
    let rows = database
        .and_then(|db| db.table("Controller"))
        .into_iter()
        .flat_map(|t| t.rows().collect::<Vec<_>>());
    // Two bridges may have the same controller: their connections are counted together.
    let mut targets: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows {
        let is = row.get("is_connected").and_then(|d| d.as_scalar());
        *targets.entry(row.str("target").to_owned()).or_default() +=
            u64::from(is == Some(&Atom::Boolean(true)));
    }
    for (target, n) in targets {
        text.sample(name, &[("target", &target)], n);
    }
}
