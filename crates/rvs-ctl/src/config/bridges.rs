//! Commands on bridges, in the words of ovs-vsctl.

use rvs_ovsdb::value::{Atom, Datum};
use rvs_ovsdb::Uuid;

use super::args::Kinds;
use super::draft::Draft;
use super::ports::delete_port_rows;
use super::tree::{self, Bridge};
use crate::failure::Failure;

/// Octets of a device's name at most (IFNAMSIZ without the terminating zero).
const MAX_NAME: usize = 15;

/// Refuses what can't be the name of a device.
pub fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    check_word(what, name)?;
    match name.len() {
        0..=MAX_NAME => Ok(()),
        _ => Err(bad_name(what, name)),
    }
}

/// The same, of any length: a port that is no device of the kernel's has the name that it likes.
pub fn check_word(what: &str, name: &str) -> Result<(), Failure> {
    let bad = |c: char| c == '/' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.contains(bad) || name == "." || name == ".." {
        return Err(bad_name(what, name));
    }
    Ok(())
}

fn bad_name(what: &str, name: &str) -> Failure {
    Failure::Usage(format!(
        "{what} \"{name}\": a device's name has 1 to {MAX_NAME} characters, none of them slash or space"
    ))
}

pub fn list(draft: &Draft<'_>, kinds: &Kinds) -> Vec<String> {
    let wanted = |b: &Bridge| !(kinds.real && b.fake.is_some() || kinds.fake && b.fake.is_none());
    let all = tree::bridges(draft).into_iter();
    all.filter(wanted).map(|b| b.name).collect()
}

/// Rows of a port with an internal interface, both of this name: what a bridge has of its own.
fn local_port(draft: &mut Draft<'_>, name: &str) -> Uuid {
    let (iface, port) = (draft.insert("Interface"), draft.insert("Port"));
    draft.set("Interface", iface, "name", Datum::scalar(name));
    draft.set("Interface", iface, "type", Datum::scalar("internal"));
    draft.set("Port", port, "name", Datum::scalar(name));
    draft.set("Port", port, "interfaces", Datum::set([iface]));
    port
}

/// Adds a bridge; `within` is the parent and the VLAN of a fake one.
pub fn add(
    draft: &mut Draft<'_>,
    name: &str,
    within: Option<(&str, &str)>,
    may_exist: bool,
) -> Result<(), Failure> {
    check_name("bridge", name)?;
    let vlan = |text: &str| match text.parse() {
        Ok(vlan @ 0..=4095) => Ok(vlan),
        _ => Err(Failure::Usage(format!(
            "VLAN \"{text}\" is not between 0 and 4095"
        ))),
    };
    let within = match within {
        Some((parent, text)) => Some((parent, vlan(text)?)),
        None => None,
    };
    if let (true, Some(there)) = (may_exist, tree::try_bridge(draft, name)) {
        return check_same(&there, within);
    }
    tree::check_unused(draft, "a bridge", name)?;
    let Some((parent_name, vlan)) = within else {
        let port = local_port(draft, name);
        let bridge = draft.insert("Bridge");
        draft.set("Bridge", bridge, "name", Datum::scalar(name));
        draft.set("Bridge", bridge, "ports", Datum::set([port]));
        let root = draft.root()?;
        draft.link("Open_vSwitch", root, "bridges", bridge, true);
        return Ok(());
    };
    let parent = tree::bridge(draft, parent_name)?;
    if parent.fake.is_some() {
        return Err(Failure::Refused(format!(
            "{parent_name} is a fake bridge: it can't be the parent of another"
        )));
    }
    let of_vlan =
        |b: &Bridge| b.row == parent.row && b.fake.as_ref().is_some_and(|fake| fake.vlan == vlan);
    if let Some(other) = tree::bridges(draft).into_iter().find(of_vlan) {
        return Err(Failure::Refused(format!(
            "bridge {parent_name} has a fake bridge on VLAN {vlan} already: {}",
            other.name
        )));
    }
    let port = local_port(draft, name);
    draft.set("Port", port, "fake_bridge", Datum::scalar(true));
    draft.set("Port", port, "tag", Datum::scalar(vlan));
    draft.link("Bridge", parent.row, "ports", port, true);
    Ok(())
}

/// `--may-exist`: what is there has to be what was asked for.
fn check_same(there: &Bridge, within: Option<(&str, i64)>) -> Result<(), Failure> {
    let fake = there.fake.as_ref().map(|f| (f.parent.as_str(), f.vlan));
    if fake == within {
        return Ok(());
    }
    let is = match fake {
        Some((parent, vlan)) => format!("VLAN {vlan} of bridge {parent}"),
        None => "a real bridge".to_owned(),
    };
    Err(Failure::Refused(format!(
        "bridge {} exists, and it is {is}",
        there.name
    )))
}

pub fn delete(draft: &mut Draft<'_>, name: &str, if_exists: bool) -> Result<(), Failure> {
    let bridge = match tree::bridge(draft, name) {
        Ok(bridge) => bridge,
        Err(_) if if_exists => return Ok(()),
        Err(e) => return Err(e),
    };
    match &bridge.fake {
        Some(fake) => {
            let mut ports = tree::ports_of(draft, &bridge);
            ports.push(fake.port);
            for port in ports {
                draft.link("Bridge", bridge.row, "ports", port, false);
                delete_port_rows(draft, port);
            }
        }
        None => {
            let root = draft.root()?;
            draft.link("Open_vSwitch", root, "bridges", bridge.row, false);
            for port in draft.refs("Bridge", bridge.row, "ports") {
                delete_port_rows(draft, port);
            }
            draft.delete("Bridge", bridge.row);
        }
    }
    Ok(())
}

/// Where the external identifiers of a bridge are, and how its keys begin there.
fn external_ids(bridge: &Bridge) -> (&'static str, Uuid, &'static str) {
    match &bridge.fake {
        Some(fake) => ("Port", fake.port, "fake-bridge-"),
        None => ("Bridge", bridge.row, ""),
    }
}

pub fn set_external_id(
    draft: &mut Draft<'_>,
    name: &str,
    key: &str,
    value: Option<&str>,
) -> Result<(), Failure> {
    let bridge = tree::bridge(draft, name)?;
    let (table, row, prefix) = external_ids(&bridge);
    let key = Atom::from(format!("{prefix}{key}").as_str());
    let kept = draft.get(table, row, "external_ids");
    let kept = kept.pairs().iter().filter(|(k, _)| *k != key).cloned();
    let new = value.map(|v| (key.clone(), Atom::from(v)));
    draft.set(table, row, "external_ids", Datum::map(kept.chain(new)));
    Ok(())
}

/// The value of a key, or `key=value` of all.
pub fn external_id(
    draft: &Draft<'_>,
    name: &str,
    key: Option<&str>,
) -> Result<Vec<String>, Failure> {
    let bridge = tree::bridge(draft, name)?;
    let (table, row, prefix) = external_ids(&bridge);
    let ids = draft.get(table, row, "external_ids");
    let texts = ids.pairs().iter().filter_map(|(k, v)| {
        let own = k.as_str()?.strip_prefix(prefix)?;
        Some((own, v.as_str()?))
    });
    Ok(match key {
        Some(key) => texts
            .filter(|(k, _)| *k == key)
            .map(|(_, v)| v.to_owned())
            .collect(),
        None => texts.map(|(k, v)| format!("{k}={v}")).collect(),
    })
}
