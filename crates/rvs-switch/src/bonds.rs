//! Bonds: ports of several interfaces. Whatever mode the row asks for, one member is in use at a time: the first that is live,
//! `other_config:bond-primary` before others, the one that is in use before the rest, and these by name; NORMAL neither sends to the others nor takes frames from them: no loop, and no
//! frame twice, whatever is at the other end. Neither LACP nor delays are looked at.

use rvs_ovsdb::Uuid;
use rvs_packet::MacAddr;

use crate::ports::row;
use crate::status::{self, RowStatus};
use crate::switch::{Rim, Switch};

/// A port with several interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bond {
    /// Its row of table Port.
    pub row: Uuid,
    pub name: String,
    /// The member that is preferred, which may be none of them.
    pub primary: Option<String>,
    /// By name.
    pub members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub mac: MacAddr,
    /// Its device is there, up, and has a carrier.
    pub live: bool,
    /// It is the one in use.
    pub active: bool,
}

impl Bond {
    /// The member in use; none while no member is live.
    pub fn active(&self) -> Option<&Member> {
        self.members.iter().find(|m| m.active)
    }
}

impl<R: Rim> Switch<R> {
    /// The bonds of a bridge, by name.
    pub fn bonds(&self, bridge: Uuid) -> Vec<Bond> {
        let (Some(state), Some(id)) = (self.topology().bridge(bridge), self.bridge_id(bridge))
        else {
            return Vec::new();
        };
        let slow = self.slow();
        let ports = slow.world().bridge(id).map(|b| &b.ports);
        let mut bonds = Vec::new();
        for (row, port) in &state.ports {
            if port.cfg.interfaces.len() < 2 {
                continue;
            }
            let member = |name: &str| {
                let open = ports.and_then(|all| Some((all, all.by_name(name)?)));
                let (mac, live) = open.map_or((MacAddr::ZERO, false), |(_, p)| (p.mac, p.live));
                let used = open.and_then(|(all, p)| all.active(all.bundle(p.bundle)?));
                let active = live && used.is_some_and(|p| &*p.name == name);
                let name = name.to_owned();
                Member {
                    name,
                    mac,
                    live,
                    active,
                }
            };
            let mut members: Vec<Member> =
                port.ifaces.iter().map(|i| member(&i.cfg.name)).collect();
            members.sort_by(|a, b| a.name.cmp(&b.name));
            bonds.push(Bond {
                row: *row,
                name: port.cfg.name.clone(),
                primary: port.cfg.bond_primary.clone(),
                members,
            });
        }
        bonds.sort_by(|a, b| a.name.cmp(&b.name));
        bonds
    }

    /// Which member each bond of a bridge uses, for the database. What is a bond no more uses none.
    pub(crate) fn bond_rows(&self, bridge: Uuid) -> Vec<RowStatus> {
        let used = |b: &Bond| status::bond(b.row, b.active().map(|m| m.mac));
        let mut rows: Vec<RowStatus> = self.bonds(bridge).iter().map(used).collect();
        let ports = self.topology().bridge(bridge).map(|b| &b.ports);
        let single = ports
            .into_iter()
            .flatten()
            .filter(|(_, p)| p.cfg.interfaces.len() < 2);
        let written = |port: &Uuid| {
            row(self.database(), "Port", *port)
                .is_some_and(|r| r.opt_str("bond_active_slave").is_some())
        };
        rows.extend(
            single
                .filter(|(port, _)| written(port))
                .map(|(port, _)| status::bond(*port, None)),
        );
        rows
    }
}
