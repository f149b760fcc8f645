//! Commands on ports, bonds and interfaces, in the words of ovs-vsctl.

use std::collections::BTreeSet;

use rvs_ovsdb::value::Datum;
use rvs_ovsdb::Uuid;

use super::bridges::{check_name, check_word};
use super::draft::Draft;
use super::records::apply_settings;
use super::tree::{self, Bridge};
use crate::failure::Failure;

/// Names of rows, ascending.
fn names(draft: &Draft<'_>, table: &str, rows: &[Uuid]) -> Vec<String> {
    let mut names: Vec<String> = rows.iter().map(|u| draft.text(table, *u, "name")).collect();
    names.sort();
    names
}

fn interfaces_of(draft: &Draft<'_>, port: Uuid) -> Vec<String> {
    names(draft, "Interface", &draft.refs("Port", port, "interfaces"))
}

pub struct NewPort<'a> {
    pub bridge: &'a str,
    pub name: &'a str,
    /// One, or several of a bond.
    pub interfaces: &'a [String],
    pub settings: &'a [String],
    pub may_exist: bool,
    pub fake_iface: bool,
}

/// Adds a port.
pub fn add(draft: &mut Draft<'_>, new: &NewPort<'_>) -> Result<(), Failure> {
    let NewPort {
        bridge,
        name,
        interfaces,
        settings,
        may_exist,
        fake_iface,
    } = *new;
    check_word("port", name)?;
    let bridge = tree::bridge(draft, bridge)?;
    if let (true, Some(there)) = (may_exist, tree::port(draft, name).filter(|p| !p.is_local)) {
        return check_same(draft, &there, &bridge, new);
    }
    tree::check_unused(draft, "a port", name)?;
    let mut rows = Vec::new();
    for iface in interfaces {
        check_word("interface", iface)?;
        tree::check_unused(draft, "an interface", iface)?;
        let row = draft.insert("Interface");
        draft.set("Interface", row, "name", Datum::scalar(iface.as_str()));
        rows.push(row);
    }
    if rows.len() != interfaces.iter().collect::<BTreeSet<_>>().len() {
        return Err(Failure::Usage(format!(
            "port {name}: an interface is named twice"
        )));
    }
    let port = draft.insert("Port");
    draft.set("Port", port, "name", Datum::scalar(name));
    draft.set("Port", port, "interfaces", Datum::set(rows));
    if fake_iface {
        draft.set("Port", port, "bond_fake_iface", Datum::scalar(true));
    }
    if let Some(fake) = &bridge.fake {
        draft.set("Port", port, "tag", Datum::scalar(fake.vlan));
    }
    draft.link("Bridge", bridge.row, "ports", port, true);
    apply_settings(draft, "Port", port, settings)
}

/// `--may-exist`: what is there has to be what was asked for, and stays as it is.
fn check_same(
    draft: &Draft<'_>,
    there: &tree::Port,
    bridge: &Bridge,
    new: &NewPort<'_>,
) -> Result<(), Failure> {
    if there.bridge.name != bridge.name {
        return Err(Failure::Refused(format!(
            "cannot create a port named {} because a port named {} already exists on bridge {}",
            new.name, new.name, there.bridge.name
        )));
    }
    let has: BTreeSet<String> = interfaces_of(draft, there.row).into_iter().collect();
    if has != new.interfaces.iter().cloned().collect() {
        let has: Vec<String> = has.into_iter().collect();
        return Err(Failure::Refused(format!(
            "port {} exists, and its interfaces are {}",
            new.name,
            has.join(", ")
        )));
    }
    Ok(())
}

/// Deletes the rows of a port that its bridge does not name any more.
pub fn delete_port_rows(draft: &mut Draft<'_>, port: Uuid) {
    for iface in draft.refs("Port", port, "interfaces") {
        draft.delete("Interface", iface);
    }
    draft.delete("Port", port);
}

/// What `del-port` takes away.
pub struct OldPort<'a> {
    pub bridge: Option<&'a str>,
    pub name: &'a str,
    pub if_exists: bool,
    pub with_iface: bool,
}

pub fn delete(draft: &mut Draft<'_>, old: &OldPort<'_>) -> Result<(), Failure> {
    let name = old.name;
    let bridge = old.bridge.map(|n| tree::bridge(draft, n)).transpose()?;
    let found = tree::port(draft, name).or_else(|| {
        let (_, port) = tree::interface(draft, name).filter(|_| old.with_iface)?;
        Some(port)
    });
    let Some(port) = found.filter(|p| !(p.is_local && old.if_exists)) else {
        if old.if_exists {
            return Ok(());
        }
        let all = names(draft, "Port", &draft.rows("Port"));
        return Err(Failure::Refused(format!(
            "no port named {name} (ports: {})",
            tree::known(all)
        )));
    };
    if port.is_local {
        return Err(Failure::Refused(format!(
            "{name} is the bridge's own interface; delete the bridge instead (rvs-ctl del-br {name})"
        )));
    }
    if let Some(wanted) = bridge.filter(|b| b.name != port.bridge.name) {
        return Err(Failure::Refused(format!(
            "port {name} is on bridge {}, not on {}",
            port.bridge.name, wanted.name
        )));
    }
    draft.link("Bridge", port.bridge.row, "ports", port.row, false);
    delete_port_rows(draft, port.row);
    Ok(())
}

pub fn add_bond_interface(
    draft: &mut Draft<'_>,
    bond: &str,
    name: &str,
    may_exist: bool,
) -> Result<(), Failure> {
    check_word("interface", name)?;
    let port = must_find(draft, bond)?;
    let there = tree::interface(draft, name);
    if there.is_some_and(|(_, p)| p.row == port && may_exist) {
        return Ok(());
    }
    tree::check_unused(draft, "an interface", name)?;
    let row = draft.insert("Interface");
    draft.set("Interface", row, "name", Datum::scalar(name));
    draft.link("Port", port, "interfaces", row, true);
    Ok(())
}

pub fn delete_bond_interface(
    draft: &mut Draft<'_>,
    bond: Option<&str>,
    name: &str,
    if_exists: bool,
) -> Result<(), Failure> {
    let wanted = bond.map(|b| must_find(draft, b)).transpose()?;
    let Some((row, port)) = tree::interface(draft, name) else {
        return match if_exists {
            true => Ok(()),
            false => Err(Failure::Refused(format!("no interface named {name}"))),
        };
    };
    let port_name = draft.text("Port", port.row, "name");
    if let Some(bond) = bond.filter(|_| wanted != Some(port.row)) {
        return Err(Failure::Refused(format!(
            "interface {name} is of port {port_name}, not of {bond}"
        )));
    }
    if draft.refs("Port", port.row, "interfaces").len() == 1 {
        return Err(Failure::Refused(format!(
            "{name} is the only interface of port {port_name}; delete the port (rvs-ctl del-port {port_name})"
        )));
    }
    draft.link("Port", port.row, "interfaces", row, false);
    draft.delete("Interface", row);
    Ok(())
}

fn must_find(draft: &Draft<'_>, name: &str) -> Result<Uuid, Failure> {
    let port = tree::port(draft, name).filter(|p| !p.is_local);
    port.map(|p| p.row)
        .ok_or_else(|| Failure::Refused(format!("no port named {name}")))
}

/// Names of a bridge's ports, or of their interfaces, ascending; its own are not among them.
pub fn list(draft: &Draft<'_>, bridge: &str, interfaces: bool) -> Result<Vec<String>, Failure> {
    let bridge = tree::bridge(draft, bridge)?;
    let ports = tree::ports_of(draft, &bridge);
    if !interfaces {
        return Ok(names(draft, "Port", &ports));
    }
    let of = |p: &Uuid| draft.refs("Port", *p, "interfaces");
    let all: Vec<Uuid> = ports.iter().flat_map(of).collect();
    Ok(names(draft, "Interface", &all))
}

/// The bridge of a port.
pub fn to_bridge(draft: &Draft<'_>, name: &str) -> Result<String, Failure> {
    let port = tree::port(draft, name).filter(|p| !p.is_local);
    port.map(|p| p.bridge.name)
        .ok_or_else(|| Failure::Refused(format!("no port named {name}")))
}

/// The bridge of an interface.
pub fn interface_to_bridge(draft: &Draft<'_>, name: &str) -> Result<String, Failure> {
    let found = tree::interface(draft, name).filter(|(_, p)| !p.is_local);
    found
        .map(|(_, p)| p.bridge.name)
        .ok_or_else(|| Failure::Refused(format!("no interface named {name}")))
}

/// New interfaces that are devices of the kernel's have to have names for such. Only now is known which they are.
pub fn check_devices(draft: &Draft<'_>) -> Result<(), Failure> {
    for row in draft.inserted("Interface") {
        let kind = draft.text("Interface", row, "type");
        if matches!(kind.as_str(), "" | "system" | "internal" | "tap") {
            check_name("port", &draft.text("Interface", row, "name"))?;
        }
    }
    Ok(())
}
