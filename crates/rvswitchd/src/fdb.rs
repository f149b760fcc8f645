//! `fdb/*`: the MAC tables as people and stock tools see and change them.

use std::fmt::Write as _;

use rvs_flow::OfPort;
use rvs_l2::{BundleId, FdbKey, Flush};
use rvs_ovsdb::Uuid;
use rvs_pipeline::Bundle;
use serde_json::{json, Value};

use crate::clock;
use crate::commands::{Answer, Command, Daemon};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "fdb/add",
        usage: "BRIDGE PORT VLAN MAC",
        params: (4, 4),
        run: add,
    },
    Command {
        name: "fdb/del",
        usage: "BRIDGE VLAN MAC",
        params: (3, 3),
        run: del,
    },
    Command {
        name: "fdb/flush",
        usage: "[BRIDGE]",
        params: (0, 1),
        run: flush,
    },
    Command {
        name: "fdb/show",
        usage: "BRIDGE",
        params: (1, 1),
        run: show,
    },
    Command {
        name: "fdb/stats-clear",
        usage: "[BRIDGE]",
        params: (0, 1),
        run: clear_stats,
    },
    Command {
        name: "fdb/stats-show",
        usage: "BRIDGE",
        params: (1, 1),
        run: stats,
    },
    Command {
        name: "mdb/flush",
        usage: "[BRIDGE]",
        params: (0, 1),
        run: no_snooping,
    },
    Command {
        name: "mdb/show",
        usage: "BRIDGE",
        params: (1, 1),
        run: no_snooping,
    },
    Command {
        name: "rvs/fdb",
        usage: "BRIDGE",
        params: (1, 1),
        run: rows,
    },
];

fn rows(daemon: &mut Daemon, params: &[String]) -> Answer {
    entries(daemon, params, false)
}

/// The entries of a bridge, by VLAN and address or the one first that has been silent the longest.
fn entries(daemon: &mut Daemon, params: &[String], by_age: bool) -> Answer {
    let now = clock::now();
    let bridge = daemon.bridge(&params[0])?;
    let id = daemon
        .switch
        .bridge_id(bridge.cfg.uuid)
        .ok_or("the bridge is not up")?;
    daemon.switch.credit();
    let slow = daemon.switch.slow();
    let Some(table) = slow.macs().get(id) else {
        return Ok(json!([]));
    };
    let ports = slow.world().bridge(id).map(|b| b.ports.clone());
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|e| (e.key.vlan, e.key.mac));
    if by_age {
        // Static ones do not age, and stand first.
        entries.sort_by_key(|e| (!e.is_static, e.used));
    }
    let all = entries.into_iter().map(|e| {
        let bundle = ports.as_ref().and_then(|p| p.bundle(e.port));
        json!({
            "port": port_of(bundle, e.port),
            "name": bundle.map(|b| b.name.to_string()),
            "vlan": e.key.vlan.get(),
            "mac": e.key.mac.to_string(),
            "age": if e.is_static { Value::Null } else { json!(now.since(e.used).as_secs()) },
            "static": e.is_static,
        })
    });
    Ok(all.collect())
}

fn show(daemon: &mut Daemon, params: &[String]) -> Answer {
    let mut text = String::from(" port  VLAN  MAC                Age\n");
    let all = entries(daemon, params, true)?;
    for row in all.as_array().into_iter().flatten() {
        let age = match row["age"].as_u64() {
            Some(n) => n.to_string(),
            None => "static".to_owned(),
        };
        let (port, mac) = (
            row["port"].as_str().unwrap_or_default(),
            row["mac"].as_str().unwrap_or_default(),
        );
        let vlan = row["vlan"].as_u64().unwrap_or_default();
        let _ = writeln!(text, "{port:>5}  {vlan:>4}  {mac}  {age:>3}");
    }
    Ok(json!(text))
}

fn stats(daemon: &mut Daemon, params: &[String]) -> Answer {
    let bridge = daemon.bridge(&params[0])?;
    let id = daemon
        .switch
        .bridge_id(bridge.cfg.uuid)
        .ok_or("the bridge is not up")?;
    let slow = daemon.switch.slow();
    let table = slow.macs().get(id).ok_or("the bridge has no MAC table")?;
    let s = table.stats();
    let statics = table.iter().filter(|e| e.is_static).count();
    Ok(json!(format!(
        "Statistics for bridge \"{}\":\n  Current/maximum MAC entries in the table: {}/{}\n  \
         Current static MAC entries in the table : {statics}\n  Total number of learned MAC entries     : {}\n  \
         Total number of expired MAC entries     : {}\n  Total number of evicted MAC entries     : {}\n  \
         Total number of port moved MAC entries  : {}\n",
        params[0],
        table.len(),
        table.config().size,
        s.learned,
        s.expired,
        s.evicted,
        s.moved
    )))
}

/// Whether an address is known for good, and the port where it is.
fn entry(daemon: &Daemon, bridge: Uuid, key: FdbKey) -> Option<(&'static str, String)> {
    let id = daemon.switch.bridge_id(bridge)?;
    let slow = daemon.switch.slow();
    let found = slow.macs().get(id)?.iter().find(|e| e.key == key)?;
    let kind = if found.is_static { "static" } else { "dynamic" };
    let bundle = slow.world().bridge(id)?.ports.bundle(found.port);
    Some((kind, port_of(bundle, found.port)))
}

/// The number of the first port of what an entry points to.
fn port_of(bundle: Option<&Bundle>, id: BundleId) -> String {
    let first = bundle.and_then(|b| b.members.first().copied());
    match first.unwrap_or(OfPort(id.0)) {
        OfPort::LOCAL => "LOCAL".to_owned(),
        of => of.to_string(),
    }
}

/// The bridge that is named, or all.
fn named(daemon: &Daemon, params: &[String]) -> Result<Vec<Uuid>, String> {
    Ok(match params.first() {
        Some(name) => vec![daemon.bridge(name)?.cfg.uuid],
        None => {
            let all = daemon.switch.topology().bridges();
            all.map(|b| b.cfg.uuid).collect()
        }
    })
}

fn flush(daemon: &mut Daemon, params: &[String]) -> Answer {
    for bridge in named(daemon, params)? {
        daemon.switch.flush_macs(bridge, Flush::default());
    }
    Ok(json!("table successfully flushed\n"))
}

fn clear_stats(daemon: &mut Daemon, params: &[String]) -> Answer {
    for bridge in named(daemon, params)? {
        if let Some(id) = daemon.switch.bridge_id(bridge) {
            daemon.switch.slow().clear_mac_stats(id);
        }
    }
    Ok(json!("statistics successfully cleared\n"))
}

/// Multicast goes where broadcasts go: there is no table of its own.
fn no_snooping(daemon: &mut Daemon, params: &[String]) -> Answer {
    named(daemon, params)?;
    Err("multicast snooping is disabled".to_owned())
}

fn add(daemon: &mut Daemon, params: &[String]) -> Answer {
    let [bridge, port, vlan, mac] = params else {
        return Err("four parameters are expected".to_owned());
    };
    let uuid = daemon.bridge(bridge)?.cfg.uuid;
    let vlan = parse_vlan(vlan)?;
    let mac = mac.parse().map_err(|e| format!("{mac}: {e}"))?;
    let key = FdbKey { vlan, mac };
    let before = entry(daemon, uuid, key);
    daemon
        .switch
        .add_static_mac(clock::now(), uuid, port, vlan, mac)?;
    let after = entry(daemon, uuid, key);
    Ok(json!(match before {
        Some((kind, at)) if after.as_ref() != Some(&(kind, at.clone())) =>
            format!("Overriding already existing {kind} entry on {at}\n"),
        _ => String::new(),
    }))
}

fn del(daemon: &mut Daemon, params: &[String]) -> Answer {
    let [bridge, vlan, mac] = params else {
        return Err("three parameters are expected".to_owned());
    };
    let uuid = daemon.bridge(bridge)?.cfg.uuid;
    let vlan = parse_vlan(vlan)?;
    let address = mac.parse().map_err(|e| format!("{mac}: {e}"))?;
    if daemon.switch.remove_mac(uuid, vlan, address) {
        Ok(json!(""))
    } else {
        Err(format!("{mac} is not known in VLAN {vlan} of {bridge}"))
    }
}

fn parse_vlan(text: &str) -> Result<rvs_packet::VlanId, String> {
    let id = text.parse().ok().and_then(rvs_packet::VlanId::new);
    id.ok_or_else(|| format!("{text} is no VLAN (0 to 4095)"))
}
