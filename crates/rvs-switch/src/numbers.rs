//! Numbers of ports: who gets which.

use std::collections::BTreeSet;

use rvs_flow::{DpPort, OfPort};
use rvs_ovsdb::database::Database;
use rvs_ovsdb::Uuid;

use crate::config::{BridgeConfig, IfaceConfig};
use crate::platform::{Platform, PortSpec};
use crate::ports::{row, BridgeState, Changes, Topology};

impl Topology {
    /// A number that no cache can know: a new one, or the one that the platform wants if it was not in use just now.
    pub(crate) fn next_dp(
        &self,
        wish: &PortSpec,
        platform: &mut impl Platform,
        changes: &Changes,
    ) -> DpPort {
        let is_free = |dp: &DpPort| !self.by_dp.contains_key(dp) && !changes.closed.contains(dp);
        let wanted = platform.number(wish).filter(is_free);
        wanted.unwrap_or(DpPort(self.last_dp + 1))
    }
}

impl BridgeState {
    /// Gives interfaces the numbers that they ask for, when all of a change of the database is known. Who has such a number
    /// without asking for it moves.
    pub(crate) fn grant_numbers(&mut self, kept: &BTreeSet<OfPort>, changes: &mut Changes) {
        let asking: Vec<(Uuid, OfPort)> = self
            .ifaces()
            .map(|(_, i)| i)
            .filter(|i| i.of_port != OfPort::LOCAL)
            .filter_map(|i| i.cfg.ofport_request.map(|wish| (i, wish)))
            .filter(|(i, wish)| i.of_port != *wish)
            .map(|(i, wish)| (i.cfg.uuid, wish))
            .collect();
        for (iface, wish) in asking {
            let holder = self
                .ifaces()
                .map(|(_, i)| i)
                .find(|i| i.of_port == wish)
                .map(|i| (i.cfg.uuid, i.cfg.ofport_request == Some(wish)));
            match holder {
                Some((_, true)) => {}
                Some((other, false)) => {
                    let free = free_number(self.last_number, &self.numbers(), kept);
                    self.last_number = free;
                    self.renumber(other, free, changes);
                    self.renumber(iface, wish, changes);
                }
                None => self.renumber(iface, wish, changes),
            }
        }
    }

    fn renumber(&mut self, iface: Uuid, to: OfPort, changes: &mut Changes) {
        if let Some(i) = self.ifaces_mut().find(|i| i.cfg.uuid == iface) {
            i.of_port = to;
            changes.ifaces.insert(iface);
        }
    }

    pub(crate) fn numbers(&self) -> BTreeSet<OfPort> {
        self.ifaces().map(|(_, i)| i.of_port).collect()
    }
}

/// Numbers that interfaces of the bridge ask for, or had before the daemon started: nobody else is given them.
fn kept_numbers(db: &Database, bridge: &BridgeConfig) -> BTreeSet<OfPort> {
    let ports = bridge.ports.iter().filter_map(|p| row(db, "Port", *p));
    let ifaces = ports.flat_map(|p| p.set_of_uuid("interfaces").collect::<Vec<_>>());
    ifaces
        .filter_map(|i| row(db, "Interface", i))
        .flat_map(IfaceConfig::numbers)
        .collect()
}

/// The numbers of a bridge while interfaces come: gathered once for all that come together.
#[derive(Debug)]
pub(crate) struct Numbers {
    taken: BTreeSet<OfPort>,
    pub(crate) kept: BTreeSet<OfPort>,
    /// What was given last.
    pub(crate) last: OfPort,
}

impl Numbers {
    pub(crate) fn of(db: &Database, bridge: &BridgeState) -> Self {
        Self {
            taken: bridge.numbers(),
            kept: kept_numbers(db, &bridge.cfg),
            last: bridge.last_number,
        }
    }

    /// LOCAL for the bridge's own interface; else the wish or the number it had, where they are free; else a free number.
    pub(crate) fn choose(&mut self, bridge: &BridgeState, cfg: &IfaceConfig) -> OfPort {
        if cfg.name == bridge.cfg.name {
            return OfPort::LOCAL;
        }
        let wishes = [cfg.ofport_request, cfg.ofport];
        let granted = wishes
            .into_iter()
            .flatten()
            .find(|w| !self.taken.contains(w));
        let chosen = granted.unwrap_or_else(|| {
            self.last = free_number(self.last, &self.taken, &self.kept);
            self.last
        });
        self.taken.insert(chosen);
        chosen
    }
}

/// The next number after `last`, in a circle, that is neither taken nor kept for somebody; `ANY` when the bridge is full.
fn free_number(last: OfPort, taken: &BTreeSet<OfPort>, kept: &BTreeSet<OfPort>) -> OfPort {
    let first = if last < OfPort::MAX { last.0 + 1 } else { 1 };
    (first..OfPort::MAX.0)
        .chain(1..first)
        .map(OfPort)
        .find(|p| !taken.contains(p) && !kept.contains(p))
        .unwrap_or(OfPort::ANY)
}
