//! Commands on bridges, ports, interfaces and controllers, in the words of ovs-vsctl.

use rvs_ovsdb::value::{Atom, Datum};
use rvs_ovsdb::Uuid;
use serde_json::{json, Value};

use super::draft::Draft;
use super::records::apply_settings;
use crate::failure::Failure;

/// Octets of a device's name at most (IFNAMSIZ without the terminating zero).
const MAX_NAME: usize = 15;

fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    let bad = |c: char| c == '/' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > MAX_NAME || name.contains(bad) || name == "." || name == ".."
    {
        return Err(Failure::Usage(format!(
            "{what} \"{name}\": a device's name has 1 to {MAX_NAME} characters, none of them slash or space"
        )));
    }
    Ok(())
}

pub fn names(draft: &Draft<'_>, table: &str, rows: &[Uuid]) -> Vec<String> {
    let mut names: Vec<String> = rows.iter().map(|u| draft.text(table, *u, "name")).collect();
    names.sort();
    names
}

pub fn list_bridges(draft: &Draft<'_>) -> Vec<String> {
    names(draft, "Bridge", &draft.rows("Bridge"))
}

fn known(list: Vec<String>) -> String {
    if list.is_empty() {
        "there is none".to_owned()
    } else {
        list.join(", ")
    }
}

pub fn bridge(draft: &Draft<'_>, name: &str) -> Result<Uuid, Failure> {
    draft.find("Bridge", "name", name).ok_or_else(|| {
        Failure::Refused(format!(
            "no bridge named {name} (bridges: {})",
            known(list_bridges(draft))
        ))
    })
}

/// The bridge that has the port, and the port.
pub fn port(draft: &Draft<'_>, name: &str) -> Option<(Uuid, Uuid)> {
    let port = draft.find("Port", "name", name)?;
    let bridge = draft
        .rows("Bridge")
        .into_iter()
        .find(|b| draft.refs("Bridge", *b, "ports").contains(&port))?;
    Some((bridge, port))
}

pub fn add_bridge(draft: &mut Draft<'_>, name: &str, may_exist: bool) -> Result<(), Failure> {
    check_name("bridge", name)?;
    if draft.find("Bridge", "name", name).is_some() {
        if may_exist {
            return Ok(());
        }
        return Err(Failure::Refused(format!(
            "cannot create a bridge named {name} because a bridge named {name} already exists"
        )));
    }
    if let Some((owner, _)) = port(draft, name) {
        let owner = draft.text("Bridge", owner, "name");
        return Err(Failure::Refused(format!(
            "cannot create a bridge named {name} because a port named {name} already exists on bridge {owner}"
        )));
    }
    let (iface, port, bridge) = (
        draft.insert("Interface"),
        draft.insert("Port"),
        draft.insert("Bridge"),
    );
    draft.set("Interface", iface, "name", Datum::scalar(name));
    draft.set("Interface", iface, "type", Datum::scalar("internal"));
    draft.set("Port", port, "name", Datum::scalar(name));
    draft.set("Port", port, "interfaces", Datum::set([iface]));
    draft.set("Bridge", bridge, "name", Datum::scalar(name));
    draft.set("Bridge", bridge, "ports", Datum::set([port]));
    let root = draft.root()?;
    draft.link("Open_vSwitch", root, "bridges", bridge, true);
    Ok(())
}

pub fn delete_bridge(draft: &mut Draft<'_>, name: &str, if_exists: bool) -> Result<(), Failure> {
    let row = match bridge(draft, name) {
        Ok(row) => row,
        Err(_) if if_exists => return Ok(()),
        Err(e) => return Err(e),
    };
    let root = draft.root()?;
    draft.link("Open_vSwitch", root, "bridges", row, false);
    for port in draft.refs("Bridge", row, "ports") {
        delete_port_rows(draft, port);
    }
    draft.delete("Bridge", row);
    Ok(())
}

pub fn add_port(
    draft: &mut Draft<'_>,
    bridge_name: &str,
    name: &str,
    settings: &[String],
    may_exist: bool,
) -> Result<(), Failure> {
    check_name("port", name)?;
    let row = bridge(draft, bridge_name)?;
    if let Some((owner, existing)) = port(draft, name) {
        let owner_name = draft.text("Bridge", owner, "name");
        if may_exist && owner == row {
            return apply_settings(draft, "Port", existing, settings);
        }
        return Err(Failure::Refused(format!(
            "cannot create a port named {name} because a port named {name} already exists on bridge {owner_name}"
        )));
    }
    let (iface, port) = (draft.insert("Interface"), draft.insert("Port"));
    draft.set("Interface", iface, "name", Datum::scalar(name));
    draft.set("Port", port, "name", Datum::scalar(name));
    draft.set("Port", port, "interfaces", Datum::set([iface]));
    draft.link("Bridge", row, "ports", port, true);
    apply_settings(draft, "Port", port, settings)
}

fn delete_port_rows(draft: &mut Draft<'_>, port: Uuid) {
    for iface in draft.refs("Port", port, "interfaces") {
        draft.delete("Interface", iface);
    }
    draft.delete("Port", port);
}

pub fn delete_port(
    draft: &mut Draft<'_>,
    on: Option<&str>,
    name: &str,
    if_exists: bool,
) -> Result<(), Failure> {
    let on_row = on.map(|n| bridge(draft, n)).transpose()?;
    let Some((owner, row)) = port(draft, name) else {
        if if_exists {
            return Ok(());
        }
        let all = names(draft, "Port", &draft.rows("Port"));
        return Err(Failure::Refused(format!(
            "no port named {name} (ports: {})",
            known(all)
        )));
    };
    let owner_name = draft.text("Bridge", owner, "name");
    if let (Some(wanted), Some(wanted_name)) = (on_row, on) {
        if wanted != owner {
            return Err(Failure::Refused(format!(
                "port {name} is on bridge {owner_name}, not on {wanted_name}"
            )));
        }
    }
    if name == owner_name {
        return Err(Failure::Refused(format!(
            "{name} is the bridge's own interface; delete the bridge instead (rvs-ctl del-br {name})"
        )));
    }
    draft.link("Bridge", owner, "ports", row, false);
    delete_port_rows(draft, row);
    Ok(())
}

pub fn list_ports(draft: &Draft<'_>, name: &str, interfaces: bool) -> Result<Vec<String>, Failure> {
    let row = bridge(draft, name)?;
    let ports = draft.refs("Bridge", row, "ports");
    let list = if interfaces {
        let all: Vec<Uuid> = ports
            .iter()
            .flat_map(|p| draft.refs("Port", *p, "interfaces"))
            .collect();
        names(draft, "Interface", &all)
    } else {
        names(draft, "Port", &ports)
    };
    Ok(list.into_iter().filter(|n| n != name).collect())
}

pub fn port_to_bridge(draft: &Draft<'_>, name: &str) -> Result<String, Failure> {
    port(draft, name)
        .map(|(b, _)| draft.text("Bridge", b, "name"))
        .ok_or_else(|| Failure::Refused(format!("no port named {name}")))
}

pub fn set_controller(
    draft: &mut Draft<'_>,
    name: &str,
    targets: &[String],
) -> Result<(), Failure> {
    const KINDS: [&str; 6] = ["tcp:", "ssl:", "unix:", "ptcp:", "pssl:", "punix:"];
    let row = bridge(draft, name)?;
    if let Some(bad) = targets
        .iter()
        .find(|t| !KINDS.iter().any(|k| t.starts_with(k)))
    {
        return Err(Failure::Usage(format!(
            "\"{bad}\" is no controller: it begins with one of {}",
            KINDS.join(" ")
        )));
    }
    let mut rows = Vec::new();
    for target in targets {
        let controller = draft.insert("Controller");
        draft.set(
            "Controller",
            controller,
            "target",
            Datum::scalar(target.as_str()),
        );
        rows.push(controller);
    }
    draft.set("Bridge", row, "controller", Datum::set(rows));
    Ok(())
}

/// Targets of a bridge's controllers, ascending.
pub fn controllers(draft: &Draft<'_>, name: &str) -> Result<Vec<String>, Failure> {
    let row = bridge(draft, name)?;
    let rows = draft.refs("Bridge", row, "controller").into_iter();
    let mut targets: Vec<String> = rows
        .map(|c| draft.text("Controller", c, "target"))
        .collect();
    targets.sort();
    Ok(targets)
}

/// What the bridge does without a controller, if it was said.
pub fn fail_mode(draft: &Draft<'_>, name: &str) -> Result<Option<String>, Failure> {
    let row = bridge(draft, name)?;
    Ok(Some(draft.text("Bridge", row, "fail_mode")).filter(|m| !m.is_empty()))
}

pub fn set_fail_mode(draft: &mut Draft<'_>, name: &str, mode: Option<&str>) -> Result<(), Failure> {
    let row = bridge(draft, name)?;
    if let Some(bad) = mode.filter(|m| !matches!(*m, "standalone" | "secure")) {
        return Err(Failure::Usage(format!(
            "fail mode \"{bad}\" is neither standalone nor secure"
        )));
    }
    draft.set("Bridge", row, "fail_mode", Datum::optional(mode));
    Ok(())
}

/// The tree of bridges, ports and interfaces.
pub fn show(draft: &Draft<'_>) -> Result<Value, Failure> {
    let scalar = |table: &str, row, column: &str| match draft.get(table, row, column).as_scalar() {
        Some(Atom::String(s)) => json!(s.to_string()),
        Some(Atom::Integer(i)) => json!(i),
        Some(Atom::Boolean(b)) => json!(b),
        _ => Value::Null,
    };
    let ints = |row, column: &str| -> Vec<i64> {
        draft
            .get("Port", row, column)
            .keys()
            .filter_map(Atom::as_i64)
            .collect()
    };
    let mut bridges = Vec::new();
    for b in sorted(draft, "Bridge", draft.rows("Bridge")) {
        let mut ports = Vec::new();
        for p in sorted(draft, "Port", draft.refs("Bridge", b, "ports")) {
            let interfaces: Vec<Value> =
                sorted(draft, "Interface", draft.refs("Port", p, "interfaces"))
                    .into_iter()
                    .map(|i| {
                        json!({
                            "name": scalar("Interface", i, "name"),
                            "type": scalar("Interface", i, "type"),
                            "link_state": scalar("Interface", i, "link_state"),
                            "error": scalar("Interface", i, "error"),
                        })
                    })
                    .collect();
            ports.push(json!({
                "name": scalar("Port", p, "name"),
                "tag": scalar("Port", p, "tag"),
                "vlan_mode": scalar("Port", p, "vlan_mode"),
                "trunks": ints(p, "trunks"),
                "interfaces": interfaces,
            }));
        }
        let controllers: Vec<Value> = draft
            .refs("Bridge", b, "controller")
            .into_iter()
            .map(|c| {
                json!({
                    "target": scalar("Controller", c, "target"),
                    "is_connected": scalar("Controller", c, "is_connected"),
                })
            })
            .collect();
        bridges.push(json!({
            "name": scalar("Bridge", b, "name"),
            "fail_mode": scalar("Bridge", b, "fail_mode"),
            "controllers": controllers,
            "ports": ports,
        }));
    }
    let root = draft.root()?;
    Ok(
        json!({"uuid": root.to_string(), "bridges": bridges, "ovs_version": scalar("Open_vSwitch", root, "ovs_version")}),
    )
}

fn sorted(draft: &Draft<'_>, table: &str, mut rows: Vec<Uuid>) -> Vec<Uuid> {
    rows.sort_by_key(|u| draft.text(table, *u, "name"));
    rows
}
