//! `rvs-ctl perf`: switches the daemon's profile on, waits, and shows what it found.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::failure::Failure;
use crate::output::{Style, Table};

/// Has the daemon watch itself for so long.
pub fn measure(
    call: &impl Fn(&str, &[&str]) -> Result<Value, Failure>,
    seconds: u64,
) -> Result<Value, Failure> {
    let number = call("rvs/perf-start", &[&seconds.to_string()])?;
    std::thread::sleep(Duration::from_secs(seconds));
    // What stock tools would print ends with a line's end.
    let number = number.as_str().unwrap_or_default().trim_end();
    call("rvs/perf-stop", &[number])
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or(0.0)
}

fn percent(part: f64, whole: f64) -> String {
    match whole > 0.0 {
        true => format!("{:.1}", part / whole * 100.0),
        false => "-".to_owned(),
    }
}

/// The answer for people.
pub fn render(answer: &Value, style: Style) -> String {
    let mut out = format!(
        "{:.1} s; each stage of a batch has {:.0} ns of looking at the clock in it\n",
        number(&answer["seconds"]),
        number(&answer["clock_ns"])
    );
    out.push_str(&kernel(answer, style));
    for w in answer["workers"].as_array().into_iter().flatten() {
        out.push_str(&worker(w, style));
    }
    let latency = answer["upcall_latency_us"].as_array();
    let rows: Vec<(u64, u64)> = latency.into_iter().flatten().filter_map(pair).collect();
    if !rows.is_empty() {
        let mut table = Table::new(&["UPCALLS ANSWERED WITHIN, US", "COUNT"]);
        for (bound, n) in rows {
            table.row([bound.to_string(), n.to_string()]);
        }
        let _ = write!(out, "\n{}", table.render(style));
    }
    out
}

/// What never came up: the kernel's cache.
fn kernel(answer: &Value, style: Style) -> String {
    let k = &answer["kernel"];
    if k.is_null() {
        return String::new();
    }
    let hits = |tiers: &Value| -> f64 {
        let rows = tiers.as_array().into_iter().flatten();
        rows.map(|t| number(&t["hits"])).sum()
    };
    let workers = answer["workers"].as_array().into_iter().flatten();
    let above: f64 = workers.map(|w| hits(&w["tiers"])).sum();
    let each = match (k["timed"].as_bool(), k["ns_per_frame"].as_f64()) {
        (Some(false), _) => {
            "its time is not known: the kernel tells it to who has CAP_SYS_ADMIN".to_owned()
        }
        (_, Some(ns)) => {
            let frames = &k["frames"];
            format!("the program saw {frames}: {ns:.1} ns a frame, sending included")
        }
        (_, None) => "the program saw no frame".to_owned(),
    };
    format!(
        "\n{}: answered {}, {} % of all; {each}\n",
        style.bold("kernel (tier 0)"),
        k["hits"],
        percent(number(&k["hits"]), number(&k["hits"]) + above),
    )
}

fn pair(v: &Value) -> Option<(u64, u64)> {
    Some((v[0].as_u64()?, v[1].as_u64()?))
}

fn worker(w: &Value, style: Style) -> String {
    let (busy, asleep) = (number(&w["busy_ns"]), number(&w["asleep_ns"]));
    let (frames, batches) = (number(&w["frames"]), number(&w["batches"]));
    let mut out = format!(
        "\n{}: {frames} frames in {batches} batches, {} % of the time at work, {} upcalls\n",
        style.bold(w["worker"].as_str().unwrap_or_default()),
        percent(busy, busy + asleep),
        w["upcalls"]
    );
    let mut stages = Table::new(&["STAGE", "NS/FRAME", "SHARE %"]);
    for (name, s) in w["stages"].as_object().into_iter().flatten() {
        let each = s["ns_per_frame"].as_f64();
        stages.row([
            name.clone(),
            each.map_or_else(|| "-".to_owned(), |n| format!("{n:.1}")),
            percent(number(&s["ns"]), busy),
        ]);
    }
    out.push_str(&stages.render(style));
    let tiers = || w["tiers"].as_array().into_iter().flatten();
    let all: f64 = tiers().map(|t| number(&t["hits"])).sum();
    let mut table = Table::new(&["TIER", "NAME", "ANSWERED", "SHARE %"]);
    for t in tiers() {
        table.row([
            t["tier"].to_string(),
            t["name"].as_str().unwrap_or_default().to_owned(),
            t["hits"].to_string(),
            percent(number(&t["hits"]), all),
        ]);
    }
    let _ = write!(out, "\n{}", table.render(style));
    let sizes: Vec<(u64, u64)> = w["batch_sizes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(pair)
        .collect();
    if !sizes.is_empty() {
        let mut table = Table::new(&["BATCHES OF", "COUNT"]);
        for (first, last) in [(1, 1), (2, 3), (4, 7), (8, 15), (16, 31), (32, u64::MAX)] {
            let within = sizes.iter().filter(|(n, _)| (first..=last).contains(n));
            let count: u64 = within.map(|(_, n)| n).sum();
            let name = match (first, last) {
                (a, b) if a == b || b == u64::MAX => a.to_string(),
                (a, b) => format!("{a} to {b}"),
            };
            table.row([name, count.to_string()]);
        }
        let _ = write!(out, "\n{}", table.render(style));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_kernel_that_times_nothing_is_not_taken_for_one_that_saw_nothing() {
        let plain = Style {
            json: false,
            colour: false,
            terminal: false,
        };
        let says = |kernel: Value| {
            let answer = json!({"seconds": 1.0, "clock_ns": 25.0, "workers": [], "kernel": kernel});
            render(&answer, plain)
        };
        let text = says(
            json!({"hits": 7, "timed": false, "frames": null, "ns": null, "ns_per_frame": null}),
        );
        assert!(
            text.contains("answered 7") && text.contains("CAP_SYS_ADMIN") && !text.contains("saw"),
            "{text}"
        );
        let text =
            says(json!({"hits": 7, "timed": true, "frames": 8, "ns": 80, "ns_per_frame": 10.0}));
        assert!(text.contains("saw 8: 10.0 ns a frame"), "{text}");
        let text =
            says(json!({"hits": 0, "timed": true, "frames": 0, "ns": 0, "ns_per_frame": null}));
        assert!(text.contains("the program saw no frame"), "{text}");
    }

    #[test]
    fn an_idle_worker_is_shown_as_idle() {
        let plain = Style {
            json: false,
            colour: false,
            terminal: false,
        };
        let answer = json!({"seconds": 1.0, "clock_ns": 25.0, "upcall_latency_us": [], "workers": [{
            "worker": "dp-0", "frames": 0, "batches": 0, "busy_ns": 0, "asleep_ns": 1_000_000_000, "upcalls": 0,
            "stages": {"receive": {"ns": 0, "ns_per_frame": null}}, "tiers": [{"tier": 1, "name": "exact-match", "hits": 0}],
            "batch_sizes": [],
        }]});
        let text = render(&answer, plain);
        assert!(
            text.contains("dp-0: 0 frames in 0 batches, 0.0 % of the time at work"),
            "{text}"
        );
        assert!(text.contains("receive         -        -"), "{text}");
        assert!(
            !text.contains("BATCHES OF") && !text.contains("UPCALLS"),
            "{text}"
        );
    }
}
