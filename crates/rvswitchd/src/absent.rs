//! Commands about what this switch does not have: BFD, CFM, tunnels and their routes, connection tracking, auto-attach.
//!
//! Exporters and scripts ask without looking first. They are told what a switch that could, and has none, says; what
//! would change something is no command here.

use serde_json::json;

use crate::commands::{Answer, Command, Daemon};

/// A command that always says the same.
macro_rules! fixed {
    ($name:literal, $usage:literal, $text:literal) => {
        Command {
            name: $name,
            usage: $usage,
            params: (0, 2),
            run: |_, _| Ok(json!($text)),
        }
    };
}

pub const COMMANDS: &[Command] = &[
    nothing("autoattach/statistics", "[BRIDGE]", 1),
    nothing("autoattach/status", "[BRIDGE]", 1),
    Command {
        name: "bfd/show",
        usage: "[IFACE]",
        params: (0, 1),
        run: |_, params| unless_named(params, "no such bfd object"),
    },
    Command {
        name: "cfm/show",
        usage: "[IFACE]",
        params: (0, 1),
        run: |_, params| unless_named(params, "no such CFM object"),
    },
    Command {
        name: "dpctl/ct-get-nconns",
        usage: "[DATAPATH]",
        params: (0, 1),
        run: |_, _| Ok(json!("0\n")),
    },
    Command {
        name: "dpctl/ct-stats-show",
        usage: "[DATAPATH] [zone=N] [-m]",
        params: (0, 3),
        run: |_, _| Ok(json!("Connections Stats:\n    Total: 0\n")),
    },
    fixed!("dpctl/cache-get-size", "[DATAPATH]", ""),
    fixed!(
        "dpctl/ct-bkts",
        "[DATAPATH] [gt=N]",
        "Total Buckets: 1\nCurrent Connections: 0\n\n"
    ),
    fixed!(
        "dpctl/ct-get-limits",
        "[DATAPATH] [zone=N,...]",
        "default limit=0\n"
    ),
    fixed!("dpctl/ct-get-maxconns", "[DATAPATH]", "0\n"),
    fixed!(
        "dpctl/ct-get-tcp-seq-chk",
        "[DATAPATH]",
        "TCP sequence checking: disabled\n"
    ),
    fixed!("dpif-netdev/bond-show", "[DATAPATH]", ""),
    nothing("dpctl/dump-conntrack", "[-m] [-s] [DATAPATH] [zone=N]", 4),
    nothing(
        "dpctl/flush-conntrack",
        "[DATAPATH] [zone=N] [TUPLE [TUPLE]]",
        4,
    ),
    nothing("ofproto/list-tunnels", "", 0),
    Command {
        name: "ovs/route/lookup",
        usage: "IP",
        params: (1, 3),
        run: |_, _| Err("Not found".to_owned()),
    },
    Command {
        name: "ovs/route/show",
        usage: "",
        params: (0, 0),
        run: |_, _| Ok(json!("Route Table:\n")),
    },
    Command {
        name: "tnl/arp/show",
        usage: "",
        params: (0, 0),
        run: neighbours,
    },
    Command {
        name: "tnl/neigh/show",
        usage: "",
        params: (0, 0),
        run: neighbours,
    },
    Command {
        name: "tnl/ports/show",
        usage: "[-v]",
        params: (0, 1),
        run: |_, _| Ok(json!("Listening ports:\n")),
    },
];

/// A command that shows a list, which is empty.
const fn nothing(name: &'static str, usage: &'static str, most: usize) -> Command {
    Command {
        name,
        usage,
        params: (0, most),
        run: |_, _| Ok(json!("")),
    }
}

/// An empty list, unless a single thing is asked for.
fn unless_named(params: &[String], no: &str) -> Answer {
    match params.first() {
        Some(_) => Err(no.to_owned()),
        None => Ok(json!("")),
    }
}

fn neighbours(_: &mut Daemon, _: &[String]) -> Answer {
    let line = "=".repeat(74);
    Ok(json!(format!("{:<46}{:<20}Bridge\n{line}\n", "IP", "MAC")))
}
