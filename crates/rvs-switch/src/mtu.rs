//! The MTU of internal interfaces that nobody has asked for: the smallest of their bridge's other ports.
//!
//! They follow it while they have the MTU that the switch gave them last. One that the device's user has set since stays,
//! and so does that of a device in another namespace. What was given is kept where the device is, so that the next daemon
//! knows as much.

use rvs_ovsdb::Uuid;

use crate::config::IfaceKind;
use crate::platform::{Platform, PortSpec};
use crate::ports::{BridgeState, Changes, IfaceState, Topology};

/// What an internal interface has on a bridge without other ports.
const DEFAULT_MTU: u32 = 1500;

impl IfaceState {
    /// Internal, and without a wish.
    fn follows(&self) -> bool {
        self.cfg.kind == IfaceKind::Internal && self.cfg.mtu_request.is_none()
    }
}

impl BridgeState {
    /// The smallest MTU of its ports but of those that follow.
    pub(crate) fn smallest_mtu(&self) -> Option<u32> {
        self.ifaces()
            .filter(|(_, i)| !i.follows())
            .filter_map(|(_, i)| i.open.as_ref().map(|(_, l)| l.mtu))
            .filter(|mtu| *mtu > 0)
            .min()
    }
}

impl Topology {
    /// Has internal interfaces of bridges that changed follow.
    pub(crate) fn follow_mtus(&mut self, platform: &mut impl Platform, changes: &mut Changes) {
        let bridges: Vec<Uuid> = changes.bridges.iter().copied().collect();
        for uuid in bridges {
            let Some(bridge) = self.bridges.get_mut(&uuid) else {
                continue;
            };
            let now = bridge.smallest_mtu().unwrap_or(DEFAULT_MTU);
            for iface in bridge.ifaces_mut().filter(|i| i.follows()) {
                let Some((dp, link)) = &mut iface.open else {
                    continue;
                };
                let before = link.given_mtu.unwrap_or(DEFAULT_MTU);
                if link.mtu != before || before == now || link.elsewhere {
                    continue;
                }
                let wish = PortSpec {
                    mac: None,
                    mtu: Some(now),
                    ..iface.wish.clone()
                };
                match platform.adjust(*dp, &wish) {
                    Ok(new) => {
                        *link = new;
                        changes.ifaces.insert(iface.cfg.uuid);
                    }
                    Err(e) => tracing::info!("the MTU of {} stays {before}: {e}", iface.cfg.name),
                }
            }
        }
    }
}
