//! From the state of a bridge to the snapshot that translations read.

use rvs_flow::OfPort;
use rvs_l2::{BundleId, MacConfig, VlanSet};
use rvs_pipeline::{BridgeId, Bundle, Mirrors, Port, PortConfig, Ports, Settings, StpState};

use crate::config::BridgeConfig;
use crate::mirrors;
use crate::patch::Patch;
use crate::ports::{BridgeState, IfaceState};
use crate::qos;

/// The ports of a bridge that are open, in the bundles of its `Port` rows.
/// `config` tells what a controller has configured of a port, `stp` what the spanning tree says of it, `peer` where the other
/// end of a patch port is. `before` is the last such snapshot: a bond stays with the member that it uses.
pub fn ports(
    state: &BridgeState,
    before: &Ports,
    config: impl Fn(OfPort) -> PortConfig,
    stp: impl Fn(OfPort) -> StpState,
    peer: impl Fn(&Patch) -> Option<(BridgeId, OfPort)>,
) -> Ports {
    let mut ports = Vec::new();
    let mut bundles = Vec::new();
    for p in state.ports.values() {
        let mut members: Vec<_> = p.ifaces.iter().filter(|i| is_open(i)).collect();
        let Some(first) = members.iter().map(|i| i.of_port).min() else {
            continue;
        };
        let bundle = BundleId(first.0);
        // The order in which a bond prefers them.
        let primary = p.cfg.bond_primary.as_ref();
        let used = before.bundle(bundle).and_then(|b| before.active(b));
        let rank = |name: &String| match used {
            _ if Some(name) == primary => 0,
            Some(used) if *used.name == **name => 1,
            _ => 2,
        };
        members.sort_by_key(|i| (rank(&i.cfg.name), &i.cfg.name));
        for i in &members {
            let port = match (&i.open, &i.patch) {
                (Some((dp, link)), _) => Port {
                    mtu: link.mtu,
                    // A device that is down sends nothing, and says so where the frame is lost.
                    config: PortConfig {
                        down: false,
                        ..config(i.of_port)
                    },
                    live: link.admin_up && link.link_up,
                    mac: link.mac,
                    dscp: qos::dscp(p.qos.as_ref(), state.cfg.dummy),
                    ..Port::device(i.of_port, *dp, &i.cfg.name)
                },
                (None, Some(patch)) => Port {
                    config: config(i.of_port),
                    mac: patch.link.mac,
                    traffic: patch.traffic.clone(),
                    ..Port::patch(i.of_port, peer(patch), &i.cfg.name)
                },
                (None, None) => continue,
            };
            ports.push(Port {
                bundle,
                stp: stp(i.of_port),
                ..port
            });
        }
        bundles.push(Bundle {
            id: bundle,
            name: p.cfg.name.as_str().into(),
            members: members.iter().map(|i| i.of_port).collect(),
            vlan: p.cfg.vlan.clone(),
            priority_tags: p.cfg.priority_tags,
            protected: p.cfg.protected,
        });
    }
    Ports::new(ports, bundles)
        .expect("invariant: the topology gives every port and device one number")
}

/// The mirrors of a bridge, between the ports that are open.
pub fn mirrors(state: &BridgeState) -> Mirrors {
    mirrors::snapshot(state, |port| {
        let members = state.ports.get(&port)?.ifaces.iter();
        let first = members.filter(|i| is_open(i)).map(|i| i.of_port).min();
        first.map(|of| BundleId(of.0))
    })
}

fn is_open(iface: &IfaceState) -> bool {
    iface.link().is_some() && iface.of_port != OfPort::ANY
}

pub fn settings(cfg: &BridgeConfig, vlan_limit: u8) -> Settings {
    Settings {
        vlan_limit,
        flood_vlans: cfg.flood_vlans.iter().copied().collect::<VlanSet>(),
        forward_bpdu: cfg.forward_bpdu,
        dummy: cfg.dummy,
        spanning_tree: cfg.spanning.is_some(),
        rapid: cfg.rstp,
        ..Settings::default()
    }
}

pub fn mac_config(cfg: &BridgeConfig) -> MacConfig {
    MacConfig {
        ageing: cfg.mac_aging,
        size: cfg.mac_table_size,
    }
}
