//! Commands that ask the running daemon, and how their answers look.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::args::Command;
use crate::failure::Failure;
use crate::output::{print, print_json, Style, Table};
use crate::perf;
use crate::unixctl;

/// Runs a command of the daemon and prints its answer.
pub fn run(
    rundir: &Path,
    timeout: Option<Duration>,
    command: &Command,
    style: Style,
) -> Result<(), Failure> {
    let call = |method: &str, params: &[&str]| unixctl::call(rundir, timeout, method, params);
    let optional = |p: &Option<String>| p.iter().map(|s| s.to_owned()).collect::<Vec<_>>();
    let (answer, render): (Value, fn(&Value, Style) -> String) = match command {
        Command::DumpCache { bridge } => (call_with(&call, "rvs/cache", &optional(bridge))?, cache),
        Command::FdbShow { bridge } => (call("rvs/fdb", &[bridge])?, fdb),
        Command::FdbFlush { bridge } => (call_with(&call, "fdb/flush", &optional(bridge))?, text),
        Command::FdbAdd {
            bridge,
            port,
            vlan,
            mac,
        } => (call("fdb/add", &[bridge, port, vlan, mac])?, text),
        Command::FdbDel { bridge, vlan, mac } => (call("fdb/del", &[bridge, vlan, mac])?, text),
        Command::DumpPorts { bridge, .. } => {
            (call_with(&call, "rvs/ports", &optional(bridge))?, ports)
        }
        Command::Trace {
            bridge,
            flow,
            packet,
        } => {
            let mut params = vec!["--names".to_owned(), bridge.clone(), flow.clone()];
            params.extend(packet.clone());
            (call_with(&call, "rvs/trace", &params)?, trace)
        }
        Command::Coverage => (call("rvs/coverage", &[])?, coverage),
        Command::Perf { seconds } => (perf::measure(&call, *seconds)?, perf::render),
        Command::Memory => (call("rvs/memory", &[])?, pairs),
        Command::LogLevel { level } => (call_with(&call, "rvs/log-level", &optional(level))?, text),
        Command::Doctor { clean: true } => return clean(rundir),
        Command::Doctor { clean: false } => (call("rvs/doctor", &[])?, doctor),
        Command::Version => (call("version", &[])?, text),
        Command::Exit { cleanup } => (
            call("exit", if *cleanup { &["--cleanup"] } else { &[] })?,
            text,
        ),
        other => {
            return Err(Failure::Usage(format!(
                "{other:?} is no question to the daemon"
            )))
        }
    };
    if style.json {
        print_json(&answer);
    } else {
        print(&render(&answer, style));
    }
    Ok(())
}

fn call_with(
    call: &impl Fn(&str, &[&str]) -> Result<Value, Failure>,
    method: &str,
    params: &[String],
) -> Result<Value, Failure> {
    call(
        method,
        &params.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

fn text(answer: &Value, _: Style) -> String {
    answer.as_str().unwrap_or_default().to_owned()
}

/// The text; its lines of interest stand out.
fn trace(answer: &Value, style: Style) -> String {
    let text = answer["text"].as_str().unwrap_or_default();
    let lines = text.lines().map(|l| match l.split_once(": ") {
        Some((label @ ("Final flow" | "Megaflow" | "Drop reason" | "Datapath actions"), rest)) => {
            format!("{}: {rest}\n", style.bold(label))
        }
        _ => format!("{l}\n"),
    });
    lines.collect()
}

fn string(v: &Value) -> String {
    match v {
        Value::Null => "-".to_owned(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

fn seconds(v: &Value) -> String {
    v.as_f64()
        .map_or_else(|| "never".to_owned(), |s| format!("{s:.3}s"))
}

fn list(v: &Value) -> impl Iterator<Item = &Value> {
    v.as_array().into_iter().flatten()
}

fn cache(answer: &Value, style: Style) -> String {
    let mut tiers = Table::new(&["TIER", "NAME", "ANSWERED", "FLOWS", "MASKS"]);
    for t in list(&answer["tiers"]) {
        tiers.row(["tier", "name", "hits", "flows", "masks"].map(|k| string(&t[k])));
    }
    let mut out = tiers.render(style);
    for f in list(&answer["flows"]) {
        let why = f["drop"]
            .as_str()
            .map(|d| format!(" # {d}"))
            .unwrap_or_default();
        out.push_str(&format!(
            "\ntier {} {}\n    packets:{}, bytes:{}, used:{}, age:{}, actions:{}{why}\n",
            f["tier"],
            style.bold(&string(&f["match"])),
            f["packets"],
            f["bytes"],
            seconds(&f["used"]),
            seconds(&f["age"]),
            string(&f["actions"]),
        ));
    }
    out
}

fn fdb(answer: &Value, style: Style) -> String {
    let mut table = Table::new(&["port", "name", "VLAN", "MAC", "Age"]);
    for e in list(answer) {
        let age = if e["static"] == Value::Bool(true) {
            "static".to_owned()
        } else {
            string(&e["age"])
        };
        table.row([
            string(&e["port"]),
            string(&e["name"]),
            string(&e["vlan"]),
            string(&e["mac"]),
            age,
        ]);
    }
    table.render(style)
}

fn ports(answer: &Value, style: Style) -> String {
    let mut out = String::new();
    for p in list(answer) {
        let state = match (&p["error"], &p["link"]) {
            (Value::String(e), _) => format!("error: {e}"),
            (_, link) if link.is_object() => format!(
                "{}, {}, mtu {}, mac {}",
                if link["admin"] == Value::Bool(true) {
                    "up"
                } else {
                    "down"
                },
                if link["carrier"] == Value::Bool(true) {
                    "carrier"
                } else {
                    "no carrier"
                },
                link["mtu"],
                string(&link["mac"]),
            ),
            _ => "closed".to_owned(),
        };
        let name = style.bold(&string(&p["interface"]));
        out.push_str(&format!(
            "{name} (port {} of {}): {state}\n",
            string(&p["ofport"]),
            string(&p["bridge"])
        ));
        if let Some(note) = p["link"]["note"].as_str() {
            out.push_str(&format!("    note: {note}\n"));
        }
        for direction in ["rx", "tx"] {
            let counters: Vec<String> = p["counters"]
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(k, v)| Some((k.strip_prefix(&format!("{direction}_"))?, v.as_u64()?)))
                .filter(|(k, v)| *v > 0 || matches!(*k, "packets" | "bytes"))
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            out.push_str(&format!("    {direction} {}\n", counters.join(", ")));
        }
    }
    out
}

fn coverage(answer: &Value, style: Style) -> String {
    let mut table = Table::new(&["EVENT", "COUNT"]);
    let mut silent = 0;
    for (name, n) in answer.as_object().into_iter().flatten() {
        if n.as_u64() == Some(0) {
            silent += 1;
        } else {
            table.row([name.clone(), string(n)]);
        }
    }
    format!("{}{silent} events never happened\n", table.render(style))
}

fn pairs(answer: &Value, style: Style) -> String {
    let mut table = Table::new(&["WHAT", "HOW MUCH"]);
    for (name, n) in answer.as_object().into_iter().flatten() {
        table.row([name.clone(), string(n)]);
    }
    table.render(style)
}

/// Has the daemon's program, which knows its own things, clean up after a dead one.
fn clean(rundir: &Path) -> Result<(), Failure> {
    let name = "rvswitchd";
    let beside = std::env::current_exe().map(|p| p.with_file_name(name));
    let program = beside.ok().filter(|p| p.exists());
    let program = program.unwrap_or_else(|| name.into());
    let ran = std::process::Command::new(&program)
        .args(["--clean", "--rundir"])
        .arg(rundir)
        .output()
        .map_err(|e| Failure::Refused(format!("can't run {}: {e}", program.display())))?;
    if ran.status.success() {
        print(&String::from_utf8_lossy(&ran.stdout));
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    let said = said.trim().trim_start_matches("rvswitchd: ");
    Err(Failure::Refused(said.to_owned()))
}

fn doctor(answer: &Value, style: Style) -> String {
    let mut out = format!("kernel {}\n", string(&answer["kernel"]));
    for c in list(&answer["checks"]) {
        let mark = if c["ok"] == Value::Bool(true) {
            "yes"
        } else {
            "no "
        };
        out.push_str(&format!(
            "{mark}  {}: {}\n",
            style.bold(&string(&c["check"])),
            string(&c["text"])
        ));
    }
    let mut table = Table::new(&["PORT", "IFINDEX", "TIERS", "WAY OUT", "HOST KEPT AWAY"]);
    for p in list(&answer["ports"]) {
        let kept = if p["host_kept_away"] == Value::Bool(true) {
            "yes"
        } else {
            "no"
        };
        table.row([
            string(&p["port"]),
            string(&p["ifindex"]),
            string(&p["tier"]),
            string(&p["way_out"]),
            kept.to_owned(),
        ]);
    }
    out.push_str(&table.render(style));
    for p in list(&answer["ports"]) {
        if let Some(note) = p["note"].as_str() {
            out.push_str(&format!("{}: {note}\n", string(&p["port"])));
        }
        if let Some(why) = p["not_in_kernel"].as_str() {
            let port = string(&p["port"]);
            out.push_str(&format!("{port}: not in the kernel cache: {why}\n"));
        }
    }
    for p in list(&answer["waiting"]) {
        out.push_str(&format!(
            "{} waits: {}\n",
            string(&p["port"]),
            string(&p["error"])
        ));
    }
    out
}
