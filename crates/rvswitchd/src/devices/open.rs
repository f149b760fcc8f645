//! Opening what a port stands on: a device that is there, a veth pair of our own, a tap.

use std::sync::Arc;

use rvs_flow::DpPort;
use rvs_netdev::internal::{self, Internal, InternalError, InternalId, UserEnd};
use rvs_netdev::packet::{self, PacketConfig, PacketTx};
use rvs_netdev::rtnl::{Link, LinkRef, NotAPort};
use rvs_netdev::{egress, tap, OpenError, Transmit};
use rvs_packet::MacAddr;
use rvs_switch::platform::{LinkInfo, LinkSpeed, PortError, PortSpec};

use super::{Base, Devices, DEFAULT_MTU};
use crate::worker::Source;

/// A device that was opened, and how frames go in and out.
pub(super) struct Opened {
    pub base: Base,
    pub link: LinkInfo,
    pub io: Io,
}

pub(super) enum Io {
    Packet(PacketTx),
    /// A tap's frames come from its file; the host never had them.
    Tap(Box<dyn Source>, Arc<dyn Transmit>),
}

impl Devices {
    pub(super) fn open_system(&mut self, spec: &PortSpec) -> Result<Opened, PortError> {
        let link = self
            .rtnl
            .link_by_name(&spec.name)
            .map_err(|e| PortError(e.to_string()))?
            .ok_or_else(|| {
                PortError(format!(
                    "could not open network device {} (No such device)",
                    spec.name
                ))
            })?;
        internal::can_be_port(&link).map_err(|e| self.not_a_port(&spec.name, &e))?;
        let tx = packet::open_sender(&link, &PacketConfig::default())
            .map_err(|e| open_error(&spec.name, &e))?;
        let mut info = info(&link);
        info.note = self.address_note(&link, &spec.bridge);
        Ok(Opened {
            base: Base::System { index: link.index },
            link: info,
            io: Io::Packet(tx),
        })
    }

    fn not_a_port(&mut self, name: &str, why: &NotAPort) -> PortError {
        let NotAPort::HasMaster(index) = why else {
            return PortError(format!("{name} can't be a port: {why}"));
        };
        let at = LinkRef {
            index: *index,
            nsid: None,
        };
        let master = match self.rtnl.link(at) {
            Ok(Some(link)) => format!("{} ({})", link.name, link.role()),
            _ => format!("the device with index {index}"),
        };
        PortError(format!(
            "{name} can't be a port: it belongs to {master}; take it out first (ip link set {name} nomaster)"
        ))
    }

    /// A device with an address is no longer answered for by the host: say so, and how to go on.
    fn address_note(&mut self, link: &Link, bridge: &str) -> Option<String> {
        let addresses: Vec<String> = self
            .rtnl
            .addresses(link.index)
            .ok()?
            .into_iter()
            .filter(|(ip, _)| !matches!(ip, std::net::IpAddr::V6(v6) if v6.is_unicast_link_local()))
            .map(|(ip, prefix)| format!("{ip}/{prefix}"))
            .collect();
        if addresses.is_empty() {
            return None;
        }
        let moves: Vec<String> = addresses
            .iter()
            .map(|a| {
                format!(
                    "ip addr del {a} dev {name}; ip addr add {a} dev {bridge}",
                    name = link.name
                )
            })
            .collect();
        Some(format!(
            "{name} carries {list}, on which the host no longer answers while it is a port; move it to the bridge: {moves}; \
             ip link set {bridge} up",
            name = link.name,
            list = addresses.join(", "),
            moves = moves.join("; ")
        ))
    }

    pub(super) fn open_internal(&mut self, spec: &PortSpec) -> Result<Opened, PortError> {
        let id = self.internal_id(spec);
        let error = |e: InternalError| PortError(e.to_string());
        let port = match internal::adopt(&mut self.rtnl, &id).map_err(error)? {
            Some(found) => found,
            None => {
                let user = UserEnd {
                    mtu: spec.mtu.unwrap_or(DEFAULT_MTU),
                    mac: spec.mac.unwrap_or_else(|| id.stable_mac()),
                };
                internal::create(&mut self.rtnl, &id, user).map_err(error)?
            }
        };
        let tx = packet::open_sender(&port.hidden, &PacketConfig::default())
            .map_err(|e| open_error(&spec.name, &e))?;
        let link = self.internal_info(&port);
        Ok(Opened {
            base: Base::Internal(Box::new(port)),
            link,
            io: Io::Packet(tx),
        })
    }

    pub(super) fn open_tap(&mut self, dp: DpPort, spec: &PortSpec) -> Result<Opened, PortError> {
        let (rx, tx) = tap::open(&spec.name, dp.0).map_err(|e| {
            PortError(format!(
                "could not open tap {}: {e} (it needs /dev/net/tun and CAP_NET_ADMIN)",
                spec.name
            ))
        })?;
        let link = self.rtnl.link_by_name(&spec.name).ok().flatten();
        let link = link.ok_or_else(|| {
            PortError(format!(
                "tap {} vanished while it was being made",
                spec.name
            ))
        })?;
        Ok(Opened {
            base: Base::Tap { index: link.index },
            link: info(&link),
            io: Io::Tap(Box::new(rx), Arc::new(tx)),
        })
    }

    pub(super) fn internal_id(&self, spec: &PortSpec) -> InternalId {
        InternalId {
            database: self.database.clone(),
            port: spec.name.clone(),
        }
    }

    /// What the user sees of an internal port.
    pub(super) fn internal_info(&mut self, port: &Internal) -> LinkInfo {
        match port.user_link(&mut self.rtnl) {
            Ok(Some(user)) => LinkInfo {
                ifindex: if user.nsid.is_none() { user.index } else { 0 },
                elsewhere: user.nsid.is_some(),
                given_mtu: port.given_mtu(),
                link_up: user.is_up(),
                driver: "veth".to_owned(),
                speed: speed(&port.hidden.name),
                ..info(&user)
            },
            // In a namespace that we can't look into: the hidden end's carrier still tells whether it is up.
            _ => LinkInfo {
                ifindex: 0,
                elsewhere: true,
                mac: MacAddr::ZERO,
                mtu: DEFAULT_MTU,
                given_mtu: port.given_mtu(),
                admin_up: port.hidden.has_carrier(),
                link_up: port.hidden.has_carrier(),
                driver: "veth".to_owned(),
                speed: speed(&port.hidden.name),
                note: None,
            },
        }
    }
}

pub(super) fn open_error(name: &str, e: &OpenError) -> PortError {
    match e {
        OpenError::NoDevice => PortError(format!(
            "could not open network device {name} (No such device)"
        )),
        e => PortError(format!("could not open network device {name}: {e}")),
    }
}

/// The speed of a device of this namespace.
fn speed(name: &str) -> Option<LinkSpeed> {
    egress::link_speed(name).map(|s| LinkSpeed {
        bits: s.bits,
        full_duplex: s.full_duplex,
    })
}

pub(super) fn info(link: &Link) -> LinkInfo {
    LinkInfo {
        ifindex: link.index,
        elsewhere: false,
        mac: link.mac.unwrap_or_default(),
        mtu: link.mtu,
        given_mtu: None,
        admin_up: link.is_up(),
        link_up: link.has_carrier(),
        driver: link.kind.clone().unwrap_or_default(),
        speed: speed(&link.name).filter(|_| link.nsid.is_none()),
        note: link.master.map(|m| {
            format!("{} belongs to the device with index {m} now; take it out (ip link set {0} nomaster)", link.name)
        }),
    }
}
