//! What stock tools ask about bridges and the datapath: `bridge/*`, `ofproto/list`, `dpif/*`, `dpctl/*`,
//! `ovsdb-server/*`, in the layout that scripts and exporters read.
//!
//! There is one datapath. It goes by the name that tools of Linux look for, `system@ovs-system`, and answers to
//! `netdev@ovs-netdev` too.

mod features;
mod flow_files;
mod flows;
mod handmade;
mod ports;
mod rules;

pub use features::Features;
pub use handmade::Handmade;

use std::borrow::Cow;
use std::fmt::Write as _;

use rvs_dpif::{ActionText, FlowId};
use rvs_flow::{DpPort, FlowKey, Mask, Match, OdpFlow, OfPort, PipelineKey, PortNames};
use rvs_packet::Now;
use rvs_pipeline::BridgeId;
use rvs_slowpath::{InstalledFlow, SlowPath};
use rvs_switch::config::IfaceKind;
use rvs_switch::ports::{BridgeState, IfaceState};
use rvs_switch::DATABASE;
use serde_json::{json, Value};

use crate::clock;
use crate::commands::{cached_flows, Command, Daemon};
use crate::dummy;
use crate::trace;
use crate::trace::committed::Committed;

const DATAPATH: &str = "system@ovs-system";
/// Other spellings of its name.
const ALIASES: &[&str] = &["ovs-system", "netdev@ovs-netdev", "ovs-netdev"];

/// What the datapath is called: as one in memory, if the ports are.
pub fn name_of(daemon: &Daemon) -> &'static str {
    match daemon.switch.rim.dummies {
        Some(_) => dummy::DATAPATH,
        None => DATAPATH,
    }
}

/// Whether `ofproto/trace` may call the datapath `name`: by its name, or by its type alone.
pub fn is_datapath(daemon: &Daemon, name: &str) -> bool {
    let stock = ALIASES.contains(&name) || matches!(name, "system" | "netdev");
    match &daemon.switch.rim.dummies {
        Some(dummies) => {
            matches!(name, "ovs-dummy" | "dummy") || (dummies.has_everything() && stock)
        }
        None => stock,
    }
}

type Answer = Result<Value, String>;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "bridge/dump-flows",
        usage: "BRIDGE",
        params: (1, 2),
        run: rules::show,
    },
    Command {
        name: "bridge/reconnect",
        usage: "[BRIDGE]",
        params: (0, 1),
        run: reconnect,
    },
    Command {
        name: "dpctl/add-dp",
        usage: "DATAPATH [IFACE...]",
        params: (1, usize::MAX),
        run: handmade::add,
    },
    Command {
        name: "dpctl/add-flow",
        usage: "[DATAPATH] FLOW ACTIONS",
        params: (2, 3),
        run: flows::add,
    },
    Command {
        name: "dpctl/add-if",
        usage: "DATAPATH IFACE...",
        params: (2, usize::MAX),
        run: handmade::add_ports,
    },
    Command {
        name: "dpctl/del-dp",
        usage: "DATAPATH",
        params: (1, 1),
        run: handmade::delete,
    },
    Command {
        name: "dpctl/del-if",
        usage: "DATAPATH IFACE...",
        params: (2, usize::MAX),
        run: handmade::delete_ports,
    },
    Command {
        name: "dpctl/get-flow",
        usage: "[-m] [--names] [DATAPATH] UFID",
        params: (1, 5),
        run: flows::get,
    },
    Command {
        name: "dpctl/add-flows",
        usage: "[DATAPATH] FILE",
        params: (1, 5),
        run: flow_files::add,
    },
    Command {
        name: "dpctl/mod-flows",
        usage: "[DATAPATH] FILE",
        params: (1, 5),
        run: flow_files::modify,
    },
    Command {
        name: "dpctl/mod-flow",
        usage: "[--may-create] [--clear] [-s] [DATAPATH] FLOW ACTIONS",
        params: (2, 6),
        run: flows::modify,
    },
    Command {
        name: "dpctl/set-if",
        usage: "DATAPATH IFACE...",
        params: (2, usize::MAX),
        run: handmade::set_ports,
    },
    Command {
        name: "dpctl/del-flow",
        usage: "[-s] [DATAPATH] FLOW",
        params: (1, 3),
        run: flows::delete,
    },
    Command {
        name: "dpctl/del-flows",
        usage: "[DATAPATH] [FILE]",
        params: (0, 2),
        run: flow_files::delete,
    },
    Command {
        name: "dpctl/dump-dps",
        usage: "",
        params: (0, 0),
        run: datapaths,
    },
    Command {
        name: "dpctl/dump-flows",
        usage: "[-m] [--names] [DATAPATH] [filter=FLOW] [type=KIND]",
        params: (0, 8),
        run: datapath_flows,
    },
    Command {
        name: "dpctl/show",
        usage: "[-s] [DATAPATH]",
        params: (0, 2),
        run: ports::show,
    },
    Command {
        name: "dpif/dump-dps",
        usage: "",
        params: (0, 0),
        run: datapath_of_bridges,
    },
    Command {
        name: "dpif/dump-flows",
        usage: "[-m] [--names] BRIDGE",
        params: (1, 4),
        run: flows_of_bridge,
    },
    Command {
        name: "dpif/set-dp-features",
        usage: "BRIDGE [FEATURE [VALUE]]",
        params: (1, 3),
        run: features::set,
    },
    Command {
        name: "dpif/show",
        usage: "",
        params: (0, 0),
        run: bridges,
    },
    Command {
        name: "dpif/show-dp-features",
        usage: "BRIDGE",
        params: (1, 1),
        run: features::show,
    },
    Command {
        name: "ofproto/list",
        usage: "",
        params: (0, 0),
        run: list,
    },
    Command {
        name: "ovsdb-server/compact",
        usage: "[DATABASE]",
        params: (0, 1),
        run: compact,
    },
    Command {
        name: "ovsdb-server/list-dbs",
        usage: "",
        params: (0, 0),
        run: databases,
    },
];

/// Ends the OpenFlow connections of a bridge, or all; those that are dialled are made anew.
fn reconnect(daemon: &mut Daemon, params: &[String]) -> Answer {
    let bridge = match params.first() {
        None => None,
        Some(name) => {
            let state = daemon.switch.topology().bridge_by_name(name);
            let id = state.and_then(|b| daemon.switch.bridge_id(b.cfg.uuid));
            Some(id.ok_or("Unknown bridge")?)
        }
    };
    daemon.reconnect.push(bridge);
    Ok(json!(""))
}

fn list(daemon: &mut Daemon, _: &[String]) -> Answer {
    let names = sorted(daemon).into_iter().map(|b| b.cfg.name.as_str());
    Ok(json!(names.map(|n| format!("{n}\n")).collect::<String>()))
}

fn databases(daemon: &mut Daemon, _: &[String]) -> Answer {
    let names = daemon.switch.server.database_names();
    Ok(json!(names.map(|n| format!("{n}\n")).collect::<String>()))
}

fn compact(daemon: &mut Daemon, params: &[String]) -> Answer {
    let name = params.first().map_or(DATABASE, String::as_str);
    if daemon.switch.server.database(name).is_none() {
        return Err("not a valid database name".to_owned());
    }
    let done = daemon.switch.server.compact(name);
    done.map(|()| json!("")).map_err(|e| e.to_string())
}

fn sorted(daemon: &Daemon) -> Vec<&BridgeState> {
    let mut all: Vec<&BridgeState> = daemon.switch.topology().bridges().collect();
    all.sort_by(|a, b| a.cfg.name.cmp(&b.cfg.name));
    all
}

fn datapaths(daemon: &mut Daemon, _: &[String]) -> Answer {
    let mut names: Vec<&str> = daemon.handmade.names().collect();
    // Without a bridge there is no datapath, tools expect.
    if daemon.switch.topology().bridges().next().is_some() {
        names.push(name_of(daemon));
    }
    names.sort_unstable();
    Ok(json!(names
        .iter()
        .map(|n| format!("{n}\n"))
        .collect::<String>()))
}

/// Each bridge, and the type of its datapath.
fn datapath_of_bridges(daemon: &mut Daemon, _: &[String]) -> Answer {
    let kind = name_of(daemon).split_once('@').map_or("", |(kind, _)| kind);
    let bridges = daemon.switch.topology().bridges();
    let mut lines: Vec<String> = bridges
        .map(|b| format!("{kind}@{}\n", b.cfg.name))
        .collect();
    lines.sort_unstable();
    Ok(json!(lines.concat()))
}

/// Frames that the caches answered, and frames that were translated.
fn hits(daemon: &Daemon) -> (u64, u64, u64) {
    let counters = || daemon.workers.iter().map(|w| &w.counters);
    let hit = counters().map(|c| c.emc_hits.read() + c.megaflow_hits.read());
    (
        hit.sum(),
        counters().map(|c| c.misses.read()).sum(),
        counters().map(|c| c.upcalls_refused.read()).sum(),
    )
}

fn bridges(daemon: &mut Daemon, _: &[String]) -> Answer {
    let all = sorted(daemon);
    if all.is_empty() {
        return Ok(json!(""));
    }
    let (hit, missed, _) = hits(daemon);
    let mut text = format!("{}: hit:{hit} missed:{missed}\n", name_of(daemon));
    for bridge in all {
        let _ = writeln!(text, "  {}:", bridge.cfg.name);
        let mut ifaces: Vec<&IfaceState> = bridge.ifaces().map(|(_, i)| i).collect();
        ifaces.retain(|i| i.link().is_some());
        ifaces.sort_by(|a, b| a.cfg.name.cmp(&b.cfg.name));
        for i in ifaces {
            let of = i.of_port.to_u16().map_or(i.of_port.0, u32::from);
            let dp = match &i.open {
                Some((dp, _)) => dp.to_string(),
                None => "none".to_owned(),
            };
            let peer = i.cfg.peer.as_ref().filter(|_| i.patch.is_some());
            let options = peer.map_or_else(String::new, |p| format!(": peer={p}"));
            let kind = kind(daemon, i);
            let _ = writeln!(text, "    {} {of}/{dp}: ({kind}{options})", i.cfg.name);
        }
    }
    Ok(json!(text))
}

fn kind<'i>(daemon: &Daemon, iface: &'i IfaceState) -> &'i str {
    match &iface.cfg.kind {
        IfaceKind::Internal if daemon.switch.rim.dummies.is_some() => "dummy-internal",
        IfaceKind::System => "system",
        IfaceKind::Internal => "internal",
        IfaceKind::Tap => "tap",
        IfaceKind::Patch => "patch",
        IfaceKind::Dummy => "dummy",
        IfaceKind::Unknown(kind) => kind,
    }
}

/// How flows are to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    more: bool,
    names: bool,
}

/// Options and words of a command that shows flows.
fn style(params: &[String]) -> Result<(Style, Vec<&str>), String> {
    let mut style = Style::default();
    let (mut names, mut words) = (None, Vec::new());
    for p in params {
        match p.as_str() {
            "-m" | "--more" => style.more = true,
            "--names" => names = Some(true),
            "--no-names" => names = Some(false),
            option if option.starts_with('-') => return Err(format!("no option {option}")),
            word => words.push(word),
        }
    }
    // Who wants more wants names, too.
    style.names = names.unwrap_or(style.more);
    Ok((style, words))
}

fn flows_of_bridge(daemon: &mut Daemon, params: &[String]) -> Answer {
    let (style, words) = style(params)?;
    let [name] = words[..] else {
        return Err("the name of one bridge is expected".to_owned());
    };
    let uuid = daemon
        .switch
        .topology()
        .bridge_by_name(name)
        .ok_or_else(|| "no such bridge".to_owned())?
        .cfg
        .uuid;
    let id = daemon.switch.bridge_id(uuid);
    Ok(json!(flows(daemon, style, id, None)))
}

fn datapath_flows(daemon: &mut Daemon, params: &[String]) -> Answer {
    let (style, words) = style(params)?;
    if let Some(text) = words.iter().find_map(|w| daemon.handmade.flows_text(w)) {
        return Ok(json!(text));
    }
    let (mut wanted, mut filter) = (true, None);
    for word in words {
        match word.split_once('=') {
            // Where flows are: none of ours are offloaded to a card.
            Some(("type", kinds)) => {
                for kind in kinds.split(',') {
                    wanted &= is_here(kind)?;
                }
            }
            Some(("filter", text)) => {
                let parsed = Match::parse(text, &Named(daemon));
                filter =
                    Some(parsed.map_err(|e| {
                        format!("ovs-vswitchd: Failed to parse filter ({text}: {e})")
                    })?);
            }
            Some((key, _)) => return Err(format!("there is no {key}= for dump-flows")),
            None => datapath(name_of(daemon), word)?,
        }
    }
    let mut text = match wanted {
        true => flows(daemon, style, None, filter.as_ref()),
        false => String::new(),
    };
    // Datapaths in user space say which thread has the flows.
    if daemon.switch.rim.dummies.is_some() && !text.is_empty() {
        text.insert_str(0, "flow-dump from the main thread:\n");
    }
    Ok(json!(text))
}

/// Whether the datapath, which is `known` by this name, may be called `name`.
fn datapath(known: &str, name: &str) -> Result<(), String> {
    let short = known.split_once('@').map_or(known, |(_, short)| short);
    if name == known || name == short || ALIASES.contains(&name) || name == DATAPATH {
        return Ok(());
    }
    Err(format!(
        "ovs-vswitchd: opening datapath {name} failed (No such device); there is {known}"
    ))
}

/// Whether cached flows are where this word says.
fn is_here(kind: &str) -> Result<bool, String> {
    match kind {
        "ovs" | "non-offloaded" | "dpdk" | "all" => Ok(true),
        "tc" | "offloaded" | "partially-offloaded" => Ok(false),
        _ => Err(format!(
            "ovs-vswitchd: Failed to parse type ({kind}) (Invalid argument)"
        )),
    }
}

/// Ports of the datapath by name.
struct Named<'d>(&'d Daemon);

impl PortNames for Named<'_> {
    fn port_by_name(&self, name: &str) -> Option<OfPort> {
        let bridges = self.0.switch.topology().bridges();
        let mut ifaces = bridges.flat_map(BridgeState::ifaces);
        let (_, found) = ifaces.find(|(_, i)| i.cfg.name == name)?;
        found.open.as_ref().map(|(dp, _)| OfPort(dp.0))
    }

    fn name_of(&self, port: OfPort) -> Option<Cow<'_, str>> {
        Some(self.0.port_name(DpPort(port.0)).into())
    }
}

/// Cached flows, of one bridge or all, and of those the ones that may decide a frame that matches.
fn flows(
    daemon: &mut Daemon,
    style: Style,
    only: Option<BridgeId>,
    filter: Option<&Match<PipelineKey>>,
) -> String {
    daemon.switch.credit();
    let now = clock::now();
    let slow = daemon.switch.slow();
    let mut flows = cached_flows(&slow, only);
    if let Some(filter) = filter {
        // Ports are those of the datapath here.
        let whole = |flow: FlowKey, of_port: u32| PipelineKey {
            flow,
            of_port,
            ..PipelineKey::default()
        };
        flows.retain(|f| {
            let key = whole(f.flow.key, f.flow.key.in_port);
            filter.overlaps(&Match::new(&key, Mask(whole(f.flow.mask.0, u32::MAX))))
        });
    }
    let mut text = String::new();
    for f in flows {
        flow(&mut text, daemon, &slow, f, style, now);
    }
    text
}

/// A flow's number in the form of those that Open vSwitch makes of a flow's key.
pub fn ufid(id: FlowId) -> String {
    format!("ufid:00000000-0000-0000-0000-{:012x}", id.0)
}

fn flow(
    text: &mut String,
    daemon: &Daemon,
    slow: &SlowPath,
    f: &InstalledFlow,
    style: Style,
    now: Now,
) {
    let name = |dp: DpPort| match style.names {
        true => daemon.port_name(dp),
        false => dp.to_string(),
    };
    let names = |dp: DpPort| Some(daemon.port_name(dp));
    let mut key = OdpFlow::new(&f.flow.key, &f.flow.mask);
    if style.more {
        let _ = write!(text, "{}, ", flows::called(daemon, f.flow.id));
        key = key.verbose();
    }
    if style.names {
        key = key.with_names(&names);
    }
    let s = f.flow.stats.read();
    let packets = s.packets.saturating_sub(f.asked.0);
    let bytes = s.bytes.saturating_sub(f.asked.1);
    let _ = write!(text, "{key}, packets:{packets}, bytes:{bytes}, ");
    if packets > 0 {
        let _ = write!(text, "used:{:.3}s", now.since(s.used).as_secs_f64());
    } else {
        text.push_str("used:never");
    }
    if s.tcp_flags != 0 && packets > 0 {
        let _ = write!(text, ", flags:{}", tcp_flags(s.tcp_flags));
    }
    if style.more {
        text.push_str(", dp:ovs");
    }
    let list = &f.flow.actions;
    // Flows of a dummy have every bit that their actions write.
    let actions = match daemon.switch.rim.dummies {
        Some(_) => Committed {
            port: &name,
            punt: &|cookie| trace::copy_in_flow(&*slow.note(cookie)?),
        }
        .text(&f.flow.key, list),
        None => ActionText {
            actions: list,
            port: &name,
        }
        .to_string(),
    };
    let _ = writeln!(text, ", actions:{actions}");
}

/// Letters of the flags seen, from FIN to NS.
fn tcp_flags(bits: u16) -> String {
    let letters = "FSRP.UEC".chars().chain(['N']);
    let seen = letters.enumerate().filter(|(i, _)| bits >> i & 1 != 0);
    seen.map(|(_, c)| c).collect()
}

pub fn delete_flows(daemon: &mut Daemon, params: &[String]) -> Answer {
    for word in params {
        datapath(name_of(daemon), word)?;
    }
    daemon.switch.flush_flows();
    Ok(json!(""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn flags_are_letters() {
        assert_eq!(tcp_flags(0x013), "FS.");
        assert_eq!(tcp_flags(0x1ff), "FSRP.UECN");
    }

    #[test]
    fn options_stand_anywhere() {
        let params = ["br0", "-m", "--names"].map(str::to_owned);
        let (style, words) = style(&params).unwrap();
        assert!(style.more && style.names);
        assert_eq!(words, ["br0"]);
        assert!(super::style(&["--colour".to_owned()]).is_err());
        let named = |words: &[&str]| {
            let params: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            super::style(&params).unwrap().0.names
        };
        assert!(named(&["-m"]) && !named(&["-m", "--no-names"]) && !named(&[]));
        assert!(datapath(DATAPATH, "netdev@ovs-netdev").is_ok());
        assert!(datapath(DATAPATH, "dp9")
            .unwrap_err()
            .contains("No such device"));
    }
}
