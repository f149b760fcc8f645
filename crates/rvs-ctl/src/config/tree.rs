//! Bridges and ports as `ovs-vsctl` names them.
//!
//! A *fake bridge* is a port whose `fake_bridge` is set and that has a tag: for the commands it is a bridge of its own, and the
//! ports of its parent with the same tag are its ports. The switch itself knows nothing of it: its ports are access ports.

use rvs_ovsdb::value::Atom;
use rvs_ovsdb::Uuid;

use super::draft::Draft;
use crate::failure::Failure;

/// A real bridge or a fake one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    pub name: String,
    /// The row of the real bridge: its own, or that of its parent.
    pub row: Uuid,
    pub fake: Option<Fake>,
}

/// What makes a bridge a fake one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fake {
    pub parent: String,
    pub vlan: i64,
    /// The port that stands for it.
    pub port: Uuid,
}

/// A port and the bridge that it belongs to.
#[derive(Clone, Debug)]
pub struct Port {
    pub row: Uuid,
    pub bridge: Bridge,
    /// The interface that the bridge itself has.
    pub is_local: bool,
}

fn real(draft: &Draft<'_>, row: Uuid) -> Bridge {
    Bridge {
        name: draft.text("Bridge", row, "name"),
        row,
        fake: None,
    }
}

/// The VLAN of a port that is a fake bridge.
fn fake_vlan(draft: &Draft<'_>, port: Uuid) -> Option<i64> {
    let fake = draft.flag("Port", port, "fake_bridge");
    draft
        .integer("Port", port, "tag")
        .filter(|vlan| fake && (0..=4095).contains(vlan))
}

fn fakes_of(draft: &Draft<'_>, parent: &Bridge) -> Vec<Bridge> {
    let ports = draft.refs("Bridge", parent.row, "ports").into_iter();
    let fake = |port: Uuid| {
        Some(Bridge {
            name: draft.text("Port", port, "name"),
            row: parent.row,
            fake: Some(Fake {
                parent: parent.name.clone(),
                vlan: fake_vlan(draft, port)?,
                port,
            }),
        })
    };
    ports.filter_map(fake).collect()
}

/// All bridges, real and fake, by name.
pub fn bridges(draft: &Draft<'_>) -> Vec<Bridge> {
    let mut all = Vec::new();
    for row in draft.rows("Bridge") {
        let bridge = real(draft, row);
        all.extend(fakes_of(draft, &bridge));
        all.push(bridge);
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

pub fn try_bridge(draft: &Draft<'_>, name: &str) -> Option<Bridge> {
    if let Some(row) = draft.find("Bridge", "name", name) {
        return Some(real(draft, row));
    }
    let port = draft.find("Port", "name", name)?;
    fake_vlan(draft, port)?;
    let parent = owner(draft, port)?;
    fakes_of(draft, &parent)
        .into_iter()
        .find(|b| b.name == name)
}

pub fn bridge(draft: &Draft<'_>, name: &str) -> Result<Bridge, Failure> {
    try_bridge(draft, name).ok_or_else(|| {
        let names = bridges(draft).into_iter().map(|b| b.name).collect();
        Failure::Refused(format!(
            "no bridge named {name} (bridges: {})",
            known(names)
        ))
    })
}

/// A bridge that has controllers of its own.
pub fn real_bridge(draft: &Draft<'_>, name: &str) -> Result<Uuid, Failure> {
    let bridge = bridge(draft, name)?;
    match bridge.fake {
        None => Ok(bridge.row),
        Some(fake) => Err(Failure::Refused(format!(
            "{name} is a fake bridge: this is a setting of its parent {}",
            fake.parent
        ))),
    }
}

/// The real bridge that has a port's row.
fn owner(draft: &Draft<'_>, port: Uuid) -> Option<Bridge> {
    let has = |b: &Uuid| {
        draft
            .get("Bridge", *b, "ports")
            .contains_key(&Atom::Uuid(port))
    };
    let row = draft.rows("Bridge").into_iter().find(has)?;
    Some(real(draft, row))
}

/// A port's row with its bridge.
pub fn port_of_row(draft: &Draft<'_>, row: Uuid) -> Option<Port> {
    let parent = owner(draft, row)?;
    let tag = draft.integer("Port", row, "tag");
    let fakes = match tag {
        Some(_) => fakes_of(draft, &parent),
        None => Vec::new(),
    };
    let mut fakes = fakes.into_iter();
    let bridge = fakes
        .find(|b| b.fake.as_ref().map(|f| f.vlan) == tag)
        .unwrap_or(parent);
    let is_local = draft.text("Port", row, "name") == bridge.name;
    Some(Port {
        row,
        bridge,
        is_local,
    })
}

/// The port of this name, local ones included.
pub fn port(draft: &Draft<'_>, name: &str) -> Option<Port> {
    port_of_row(draft, draft.find("Port", "name", name)?)
}

/// The interface of this name and the port that has it.
pub fn interface(draft: &Draft<'_>, name: &str) -> Option<(Uuid, Port)> {
    let row = draft.find("Interface", "name", name)?;
    // Nearly always a port and its interface have one name.
    let named = draft.find("Port", "name", name);
    let has = |p: &Uuid| draft.refs("Port", *p, "interfaces").contains(&row);
    let port = match named.filter(has) {
        Some(port) => port,
        None => draft.rows("Port").into_iter().find(has)?,
    };
    Some((row, port_of_row(draft, port)?))
}

/// Ports of a bridge without its own.
pub fn ports_of(draft: &Draft<'_>, bridge: &Bridge) -> Vec<Uuid> {
    let vlan_of = |b: &Bridge| b.fake.as_ref().map(|f| f.vlan);
    let fakes: Vec<i64> = fakes_of(draft, &real(draft, bridge.row))
        .iter()
        .filter_map(vlan_of)
        .collect();
    let belongs = |port: &Uuid| {
        let tag = draft.integer("Port", *port, "tag");
        let fake = tag.filter(|tag| fakes.contains(tag));
        fake == vlan_of(bridge) && draft.text("Port", *port, "name") != bridge.name
    };
    let ports = draft.refs("Bridge", bridge.row, "ports").into_iter();
    ports.filter(belongs).collect()
}

/// Names in words.
pub fn known(list: Vec<String>) -> String {
    if list.is_empty() {
        "there is none".to_owned()
    } else {
        list.join(", ")
    }
}

/// Refuses a name that a bridge, a port or an interface has already.
pub fn check_unused(draft: &Draft<'_>, what: &str, name: &str) -> Result<(), Failure> {
    let on = |port: Port| format!(" on bridge {}", port.bridge.name);
    let (kind, place) = if try_bridge(draft, name).is_some() {
        ("a bridge", String::new())
    } else if let Some(port) = port(draft, name) {
        ("a port", on(port))
    } else if let Some((_, port)) = interface(draft, name) {
        ("an interface", on(port))
    } else {
        return Ok(());
    };
    Err(Failure::Refused(format!(
        "cannot create {what} named {name} because {kind} named {name} already exists{place}"
    )))
}
