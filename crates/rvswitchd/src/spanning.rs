//! `stp/*` and `rstp/*`: the spanning trees as people and stock tools see them.

use std::fmt::Write as _;

use rvs_flow::OfPort;
use rvs_l2::spanning::{BridgeId, PortStatus, Role, Times};
use rvs_switch::ports::BridgeState;
use rvs_switch::spanning::{role_name, rstp_state, stp_state, BridgeSpanning};
use serde_json::json;

use crate::clock;
use crate::commands::{Answer, Command, Daemon};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "rstp/show",
        usage: "[BRIDGE]",
        params: (0, 1),
        run: |d, p| show(d, p, &RSTP),
    },
    Command {
        name: "rstp/tcn",
        usage: "[BRIDGE]",
        params: (0, 1),
        run: |d, p| change(d, p, &RSTP),
    },
    Command {
        name: "stp/show",
        usage: "[BRIDGE]",
        params: (0, 1),
        run: |d, p| show(d, p, &STP),
    },
    Command {
        name: "stp/tcn",
        usage: "[BRIDGE]",
        params: (0, 1),
        run: |d, p| change(d, p, &STP),
    },
];

/// How a protocol's commands speak.
struct Manner {
    rapid: bool,
    /// Between the first key and its value, so that columns stand where tools look for them.
    gap: &'static str,
    cost_width: usize,
    missing: &'static str,
}

const STP: Manner = Manner {
    rapid: false,
    gap: "  ",
    cost_width: 5,
    missing: "no such stp object",
};
const RSTP: Manner = Manner {
    rapid: true,
    gap: "    ",
    cost_width: 8,
    missing: "No such RSTP object",
};

/// The bridges that a command is about: the one it names, or all that run the protocol.
fn bridges<'a>(
    daemon: &'a Daemon,
    params: &[String],
    manner: &Manner,
) -> Result<Vec<(&'a BridgeState, &'a BridgeSpanning)>, String> {
    let all = daemon.switch.topology().bridges();
    let found: Vec<_> = all
        .filter(|b| b.cfg.rstp == manner.rapid)
        .filter(|b| params.first().is_none_or(|name| *name == b.cfg.name))
        .filter_map(|b| Some((b, daemon.switch.spanning(b.cfg.uuid)?)))
        .collect();
    if found.is_empty() && !params.is_empty() {
        return Err(manner.missing.to_owned());
    }
    Ok(found)
}

fn change(daemon: &mut Daemon, params: &[String], manner: &Manner) -> Answer {
    let found = bridges(daemon, params, manner)?;
    let found: Vec<_> = found.into_iter().map(|(b, _)| b.cfg.uuid).collect();
    for uuid in found {
        daemon.switch.announce_topology_change(clock::now(), uuid);
    }
    Ok(json!("OK"))
}

fn show(daemon: &mut Daemon, params: &[String], manner: &Manner) -> Answer {
    let mut text = String::new();
    for (state, spanning) in bridges(daemon, params, manner)? {
        describe(&mut text, state, spanning, manner);
    }
    Ok(json!(text))
}

fn describe(out: &mut String, state: &BridgeState, spanning: &BridgeSpanning, manner: &Manner) {
    let tree = &spanning.tree;
    let (config, root) = (tree.config(), tree.root());
    let name = |key: u32| {
        let mut ifaces = state.ifaces().map(|(_, i)| i);
        ifaces
            .find(|i| i.of_port.0 == key)
            .map_or("?", |i| i.cfg.name.as_str())
    };
    let _ = writeln!(out, "---- {} ----\nRoot ID:", state.cfg.name);
    identity(out, root.priority.root, root.times, manner);
    match root.port {
        None => out.push_str("  This bridge is the root\n"),
        Some(port) => {
            let _ = writeln!(out, "  root-port       {}", name(port));
            let _ = writeln!(out, "  root-path-cost  {}", root.priority.cost);
        }
    }
    out.push_str("\nBridge ID:\n");
    let own = Times::new(config.max_age, config.hello, config.forward_delay);
    identity(out, config.id, own, manner);
    let width = manner.cost_width;
    let _ = writeln!(
        out,
        "\n  Interface  Role       State      {:<width$} Pri.Nbr ",
        "Cost"
    );
    let _ = writeln!(
        out,
        "  ---------- ---------- ---------- {:-<width$} -------",
        ""
    );
    // A port without a link is of no tree; the rapid protocol shows it all the same.
    let links = tree
        .ports(clock::now())
        .into_iter()
        .filter(|p| manner.rapid || p.role != Role::Disabled);
    for p in links {
        let (role, shown) = words(spanning, &p, manner);
        let id = p.cfg.id.0;
        // The number has an octet in the old protocol, 12 bits in the rapid one, whose priority is the rest.
        let (priority, number) = if manner.rapid {
            (id >> 8 & 0xf0, id & 0xfff)
        } else {
            (id >> 8, id & 0xff)
        };
        let _ = writeln!(
            out,
            "  {:<10} {role:<10} {shown:<10} {:<width$} {priority}.{number}",
            name(p.port),
            p.cfg.path_cost,
        );
    }
    out.push('\n');
}

fn identity(out: &mut String, id: BridgeId, times: Times, manner: &Manner) {
    let _ = write!(
        out,
        "  stp-priority{}{}\n  stp-system-id   {}\n  stp-hello-time  {}s\n  stp-max-age     {}s\n  stp-fwd-delay   {}s\n",
        manner.gap,
        id.priority(),
        id.mac(),
        times.hello_secs(),
        times.max_age_secs(),
        times.forward_delay_secs(),
    );
}

fn words(
    spanning: &BridgeSpanning,
    p: &PortStatus,
    manner: &Manner,
) -> (&'static str, &'static str) {
    if manner.rapid {
        return (p.role.name(), rstp_state(p.state));
    }
    (
        role_name(p.role),
        stp_state(spanning.state(OfPort(p.port)), p.role),
    )
}
