//! Commands of the control sockets (unixctl): what `rvs-ctl` and `ovs-appctl` ask of a running daemon.
//!
//! Commands named `rvs/...` answer in JSON, which `rvs-ctl` renders; the others answer in the text that stock tools print.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use rvs_dpif::{ActionText, DropReason, FlowId};
use rvs_flow::{DpPort, OdpFlow};
use rvs_packet::Now;
use rvs_pipeline::{BridgeId, FrozenStates};
use rvs_slowpath::{InstalledFlow, SlowPath};
use rvs_switch::ports::BridgeState;
use rvs_switch::Switch;
use serde_json::{json, Map, Value};

use crate::absent;
use crate::bonds;
use crate::clients::Request;
use crate::clock;
use crate::control::Outside;
use crate::coverage::{self, Rates};
use crate::doctor;
use crate::dummy;
use crate::fdb;
use crate::handler::Latency;
use crate::logging;
use crate::metrics;
use crate::perf::{self, Profile};
use crate::qos;
use crate::spanning;
use crate::stock;
use crate::survive::Survival;
use crate::thrift::Thrift;
use crate::trace;
use crate::upkeep;
use crate::vlog;
use crate::worker::WorkerHandle;

/// How the daemon is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Nothing of ours may stay in the kernel.
    pub cleanup: bool,
}

/// The daemon as its commands see it.
pub struct Daemon {
    pub switch: Switch<Outside>,
    pub workers: Vec<WorkerHandle>,
    pub latency: Arc<Latency>,
    pub cleanup_on_exit: bool,
    pub survival: Survival,
    /// The profile that was asked for last.
    pub profile: Option<Profile>,
    /// How far time is to be moved, and in what steps.
    pub warp: Option<(Duration, Duration)>,
    pub started: Now,
    pub rates: Rates,
    /// Bridges (`None`: all) whose OpenFlow connections are to be made anew.
    pub reconnect: Vec<Option<BridgeId>>,
    /// What `upcall/enable-ufid` was told.
    pub ufid: bool,
    /// What `dpif/set-dp-features` was told.
    pub features: stock::Features,
    /// Numbers that people gave to flows that they put in.
    pub named_flows: BTreeMap<FlowId, String>,
    /// What `dpctl/add-dp` made.
    pub handmade: stock::Handmade,
    pub thrift: Thrift,
    /// Where traces that teach stopped, for those that go on there.
    pub traced: FrozenStates,
}

pub type Answer = Result<Value, String>;

/// A command: its name, what parameters it takes, how many at least and at most, and what it does.
pub struct Command {
    pub name: &'static str,
    pub usage: &'static str,
    pub params: (usize, usize),
    pub run: fn(&mut Daemon, &[String]) -> Answer,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "dpctl/flush-flows",
        usage: "",
        params: (0, 0),
        run: flush_flows,
    },
    Command {
        name: "list-commands",
        usage: "",
        params: (0, 0),
        run: list_commands,
    },
    Command {
        name: "memory/show",
        usage: "",
        params: (0, 0),
        run: memory_show,
    },
    Command {
        name: "ofproto/trace",
        usage: "BRIDGE FLOW [PACKET]",
        params: (1, 8),
        run: trace::as_text,
    },
    Command {
        name: "ofproto/trace-packet-out",
        usage: "[-consistent] BRIDGE FLOW [PACKET] ACTIONS",
        params: (2, 8),
        run: trace::packet_out::as_text,
    },
    Command {
        name: "rvs/cache",
        usage: "[BRIDGE]",
        params: (0, 1),
        run: rvs_cache,
    },
    Command {
        name: "rvs/doctor",
        usage: "",
        params: (0, 0),
        run: doctor::run,
    },
    Command {
        name: "rvs/log-level",
        usage: "[LEVEL]",
        params: (0, 1),
        run: log_level,
    },
    Command {
        name: "rvs/memory",
        usage: "",
        params: (0, 0),
        run: rvs_memory,
    },
    Command {
        name: "rvs/metrics",
        usage: "",
        params: (0, 0),
        run: metrics::text,
    },
    Command {
        name: "rvs/ports",
        usage: "[BRIDGE]",
        params: (0, 1),
        run: rvs_ports,
    },
    Command {
        name: "rvs/trace",
        usage: "BRIDGE FLOW [PACKET]",
        params: (2, 8),
        run: trace::as_json,
    },
    Command {
        name: "version",
        usage: "",
        params: (0, 0),
        run: version,
    },
];

/// Every command but `exit`.
fn commands(daemon: &Daemon) -> impl Iterator<Item = &'static Command> {
    let dummy = daemon.switch.rim.dummies.as_ref();
    let dummy = dummy.map_or(&[] as &[Command], |_| dummy::commands::COMMANDS);
    let all = [
        COMMANDS,
        absent::COMMANDS,
        bonds::COMMANDS,
        coverage::COMMANDS,
        fdb::COMMANDS,
        perf::COMMANDS,
        qos::COMMANDS,
        spanning::COMMANDS,
        stock::COMMANDS,
        upkeep::COMMANDS,
        vlog::COMMANDS,
        dummy,
    ];
    all.into_iter().flatten()
}

impl Daemon {
    pub fn new(
        switch: Switch<Outside>,
        workers: Vec<WorkerHandle>,
        latency: Arc<Latency>,
        cleanup_on_exit: bool,
        survival: Survival,
    ) -> Self {
        Self {
            switch,
            workers,
            latency,
            cleanup_on_exit,
            survival,
            profile: None,
            warp: None,
            started: clock::now(),
            rates: Rates::default(),
            reconnect: Vec::new(),
            ufid: true,
            features: stock::Features::default(),
            named_flows: BTreeMap::new(),
            handmade: stock::Handmade::default(),
            traced: FrozenStates::default(),
            thrift: Thrift::default(),
        }
    }

    /// Events are counted anyway; now and then it is kept how many there were.
    pub fn count_events(&mut self, now: Now) {
        if self.rates.is_due(now) {
            let all = coverage::counters(self);
            self.rates.take(now, all);
        }
    }

    pub fn bridge(&self, name: &str) -> Result<&BridgeState, String> {
        self.switch.topology().bridge_by_name(name).ok_or_else(|| {
            let names: Vec<&str> = self
                .switch
                .topology()
                .bridges()
                .map(|b| b.cfg.name.as_str())
                .collect();
            let known = if names.is_empty() {
                "there is none".to_owned()
            } else {
                names.join(", ")
            };
            format!("no bridge named {name} (bridges: {known})")
        })
    }

    pub fn port_name(&self, dp: DpPort) -> String {
        self.switch
            .topology()
            .by_dp(dp)
            .map_or_else(|| dp.to_string(), |(_, i)| i.cfg.name.clone())
    }
}

/// Runs a request. The second value says that the daemon has to end.
pub fn run(daemon: &mut Daemon, request: &Request) -> (Answer, Option<Done>) {
    let (answer, done) = execute(daemon, request);
    let lines = |value| match value {
        Value::String(text) => Value::String(whole_lines(text)),
        other => other,
    };
    (answer.map(lines).map_err(whole_lines), done)
}

/// Stock tools print what they are told as it is: it ends with a line's end.
fn whole_lines(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn execute(daemon: &mut Daemon, request: &Request) -> (Answer, Option<Done>) {
    if request.method == "exit" {
        let cleanup = request.params.iter().any(|p| p == "--cleanup") || daemon.cleanup_on_exit;
        return (Ok(json!("")), Some(Done { cleanup }));
    }
    let Some(command) = commands(daemon).find(|c| c.name == request.method) else {
        let text = format!(
            "\"{}\" is not a valid command (use \"list-commands\" to see a list of valid commands)",
            request.method
        );
        return (Err(text), None);
    };
    let (min, max) = command.params;
    let n = request.params.len();
    if n < min {
        return (
            Err(format!(
                "\"{}\" command requires at least {min} arguments",
                command.name
            )),
            None,
        );
    }
    if n > max {
        return (
            Err(format!(
                "\"{}\" command takes at most {max} arguments",
                command.name
            )),
            None,
        );
    }
    ((command.run)(daemon, &request.params), None)
}

fn list_commands(daemon: &mut Daemon, _: &[String]) -> Answer {
    let mut lines: Vec<(&str, &str)> = commands(daemon).map(|c| (c.name, c.usage)).collect();
    lines.push(("exit", "[--cleanup]"));
    lines.sort_unstable();
    let mut text = String::from("The available commands are:\n");
    for (name, usage) in lines {
        let _ = writeln!(text, "  {name:<23} {usage}");
    }
    Ok(json!(text))
}

fn version(_: &mut Daemon, _: &[String]) -> Answer {
    Ok(json!(format!("rvswitchd {}\n", env!("CARGO_PKG_VERSION"))))
}

fn log_level(_: &mut Daemon, params: &[String]) -> Answer {
    match params.first() {
        Some(level) => logging::set_all(level).map(|()| json!("")),
        None => {
            let level = logging::most_talkative();
            Ok(json!(format!("{}\n", level.map_or("off", |l| l.as_str()))))
        }
    }
}

fn flush_flows(daemon: &mut Daemon, _: &[String]) -> Answer {
    daemon.switch.flush_flows();
    Ok(json!(""))
}

/// Cached flows, of one bridge or all, as they were installed.
pub fn cached_flows(slow: &SlowPath, only: Option<BridgeId>) -> Vec<&InstalledFlow> {
    let mut flows: Vec<&InstalledFlow> = slow
        .flows()
        .iter()
        .filter(|f| only.is_none_or(|b| f.deps.bridges.contains(&b)))
        .collect();
    flows.sort_by_key(|f| f.flow.id);
    flows
}

fn rvs_cache(daemon: &mut Daemon, params: &[String]) -> Answer {
    let only = params
        .first()
        .map(|n| daemon.bridge(n).map(|b| b.cfg.uuid))
        .transpose()?;
    let only = only.and_then(|u| daemon.switch.bridge_id(u));
    daemon.switch.credit();
    let now = clock::now();
    let slow = daemon.switch.slow();
    let flows = cached_flows(&slow, only);
    let name = |dp: DpPort| daemon.port_name(dp);
    let kernel = daemon.switch.rim.devices.kernel().ok();
    let tier = |f: &InstalledFlow| match kernel {
        Some(tier0) if tier0.contains(f.flow.id) => 0,
        _ => 2,
    };
    let row = |f: &&InstalledFlow| flow_row(f, tier(f), now, &name);
    let rows: Vec<Value> = flows.iter().map(row).collect();
    let sum = |read: fn(&rvs_datapath::WorkerCounters) -> u64| {
        daemon
            .workers
            .iter()
            .map(|w| read(&w.counters))
            .sum::<u64>()
    };
    let (emc, megaflow, misses) = (
        sum(|c| c.emc_hits.read()),
        sum(|c| c.megaflow_hits.read()),
        sum(|c| c.misses.read()),
    );
    let masks: usize = slow.flows().port_usage().map(|(_, _, masks)| masks).sum();
    let kernel = kernel.map(|tier0| {
        let (flows, masks) = tier0.size();
        json!({"tier": 0, "name": "kernel", "hits": tier0.hits(), "flows": flows, "masks": masks})
    });
    let tiers = kernel.into_iter().chain([
        json!({"tier": 1, "name": "exact-match", "hits": emc}),
        json!({"tier": 2, "name": "megaflow", "hits": megaflow, "flows": slow.flows().len(), "masks": masks}),
        json!({"tier": 3, "name": "translate", "hits": misses}),
    ]);
    Ok(json!({
        "tiers": tiers.collect::<Vec<Value>>(),
        "upcall_latency_us": daemon.latency.read(),
        "flows": rows,
    }))
}

fn flow_row(f: &InstalledFlow, tier: u8, now: Now, name: &dyn Fn(DpPort) -> String) -> Value {
    let s = f.flow.stats.read();
    json!({
        "id": f.flow.id.0,
        "tier": tier,
        "in_port": name(f.port()),
        "match": OdpFlow::new(&f.flow.key, &f.flow.mask).with_names(&|p| Some(name(p))).to_string(),
        "actions": ActionText { actions: &f.flow.actions, port: name }.to_string(),
        "drop": f.flow.drop.map(DropReason::text),
        "packets": s.packets,
        "bytes": s.bytes,
        "used": (s.used > Now::ZERO).then(|| now.since(s.used).as_secs_f64()),
        "age": now.since(f.created).as_secs_f64(),
    })
}

pub fn rvs_ports(daemon: &mut Daemon, params: &[String]) -> Answer {
    let bridges: Vec<rvs_ovsdb::Uuid> = match params.first() {
        Some(name) => vec![daemon.bridge(name)?.cfg.uuid],
        None => daemon
            .switch
            .topology()
            .bridges()
            .map(|b| b.cfg.uuid)
            .collect(),
    };
    let mut rows = Vec::new();
    for uuid in bridges {
        let Some(bridge) = daemon.switch.topology().bridge(uuid) else {
            continue;
        };
        for (port, iface) in bridge.ifaces() {
            let stats = iface
                .open
                .as_ref()
                .and_then(|(dp, _)| daemon.switch.rim.devices.stats(*dp));
            let patch = iface.patch.iter().flat_map(|p| {
                let c = p.counters();
                [
                    ("rx_packets", c.rx_packets),
                    ("rx_bytes", c.rx_bytes),
                    ("tx_packets", c.tx_packets),
                    ("tx_bytes", c.tx_bytes),
                ]
            });
            let counters: Map<String, Value> = stats
                .iter()
                .flat_map(|s| s.named())
                .chain(patch)
                .map(|(k, v)| (k.to_owned(), json!(v)))
                .collect();
            rows.push(json!({
                "bridge": bridge.cfg.name,
                "port": port.cfg.name,
                "interface": iface.cfg.name,
                "ofport": iface.of_port.to_u16(),
                "error": iface.error.as_ref().map(ToString::to_string),
                "link": iface.link().map(|l| json!({
                    "admin": l.admin_up, "carrier": l.link_up, "mtu": l.mtu, "mac": l.mac.to_string(), "note": l.note,
                })),
                "counters": counters,
            }));
        }
    }
    Ok(Value::Array(rows))
}

/// What of the process is in memory.
pub fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|v| v.split_whitespace().next())
        .and_then(|v| v.parse::<u64>().ok())
        .unwrap_or(0)
}

pub fn rvs_memory(daemon: &mut Daemon, _: &[String]) -> Answer {
    let slow = daemon.switch.slow();
    let macs: usize = slow
        .world()
        .bridges()
        .filter_map(|b| slow.macs().get(b.id))
        .map(|t| t.len())
        .sum();
    let waiting: u64 = daemon
        .workers
        .iter()
        .map(|w| w.counters.waiting.read())
        .sum();
    Ok(json!({
        "resident_kib": resident_kib(),
        "flows": slow.flows().len(),
        "flow_limit": slow.limits().flows,
        "mac_entries": macs,
        "ports": daemon.switch.topology().bridges().flat_map(BridgeState::ifaces).count(),
        "database_clients": daemon.switch.server.session_count(),
        "parked_frames": waiting,
        "uptime": clock::now().since(daemon.started).as_secs(),
    }))
}

fn memory_show(daemon: &mut Daemon, params: &[String]) -> Answer {
    let memory = rvs_memory(daemon, params)?;
    let text: Vec<String> = memory
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}:{v}"))
        .collect();
    Ok(json!(format!("{}\n", text.join(" "))))
}
