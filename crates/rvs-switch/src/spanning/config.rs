//! What the database asks of spanning trees: `stp_enable`, `rstp_enable` and the keys `stp-*` and `rstp-*` of
//! `other_config`, of bridges and ports.

use rvs_l2::spanning::{Config, PortConfig, PortId};
use rvs_ovsdb::RowRef;
use rvs_packet::MacAddr;

use crate::config::Warnings;

/// What a device that says nothing about its speed is taken for, in bits a second.
const USUAL_SPEED: u64 = 10_000_000_000;
/// Path costs of speeds in Mbit/s and more (IEEE 802.1D-1998 table 8-5), and of everything slower.
const STP_COSTS: ([(u64, u32); 6], u32) = (
    [
        (10_000, 2),
        (1000, 4),
        (100, 19),
        (16, 62),
        (10, 100),
        (4, 250),
    ],
    19,
);
/// The same of IEEE 802.1D-2004 table 17-3.
const RSTP_COSTS: ([(u64, u32); 8], u32) = (
    [
        (10_000_000, 2),
        (1_000_000, 20),
        (100_000, 200),
        (10_000, 2000),
        (1000, 20_000),
        (100, 200_000),
        (10, 2_000_000),
        (1, 20_000_000),
    ],
    20_000,
);

/// Of a bridge that takes part in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeTree {
    pub rapid: bool,
    /// `None`: the bridge's own.
    pub mac: Option<MacAddr>,
    pub priority: u16,
    pub hello: u8,
    pub max_age: u8,
    pub forward_delay: u8,
    pub transmit_hold: u16,
}

impl BridgeTree {
    /// `None` when neither protocol is enabled. With both it is RSTP.
    pub(crate) fn read(row: RowRef<'_>, w: &mut Warnings) -> Option<Self> {
        let (stp, rapid) = (row.bool("stp_enable"), row.bool("rstp_enable"));
        if stp && rapid {
            w.add("stp_enable and rstp_enable exclude each other; RSTP is used".to_owned());
        }
        if !stp && !rapid {
            return None;
        }
        let name = |key: &str| format!("{}-{key}", if rapid { "rstp" } else { "stp" });
        let other = |key: &str| row.map_value("other_config", &name(key));
        let mut number = |key: &str, min: u16, max: u16, default: u16| {
            let text = other(key);
            w.parse(&name(key), text, |s| {
                s.parse().ok().filter(|n: &u16| (min..=max).contains(n))
            })
            .unwrap_or(default)
        };
        let default_hello = u16::from(Config::DEFAULT_HELLO);
        // RSTP has one hello time, and forces the old protocol by its number.
        let hello = if rapid {
            2
        } else {
            number("hello-time", 1, 10, default_hello)
        };
        let max_age = number("max-age", 6, 40, Config::DEFAULT_MAX_AGE.into());
        let forward_delay = number("forward-delay", 4, 30, Config::DEFAULT_FORWARD_DELAY.into());
        let transmit_hold = if rapid {
            number("transmit-hold-count", 1, 10, Config::DEFAULT_TRANSMIT_HOLD)
        } else {
            Config::DEFAULT_TRANSMIT_HOLD
        };
        let forced = if rapid {
            number("force-protocol-version", 0, 3, 2)
        } else {
            0
        };
        let priority = number("priority", 0, u16::MAX, 0x8000);
        // The times of one tree belong together (IEEE 802.1D-2004 17.14).
        let max_age = max_age.max(2 * (hello + 1));
        let forward_delay = forward_delay.max(max_age / 2 + 1).min(30);
        let octet = |n: u16| u8::try_from(n).unwrap_or(u8::MAX);
        Some(Self {
            rapid: rapid && forced >= 2,
            mac: w.parse(
                &name(if rapid { "address" } else { "system-id" }),
                other(if rapid { "address" } else { "system-id" }),
                |s| s.parse().ok().filter(|m: &MacAddr| !m.is_multicast()),
            ),
            // RSTP has the upper four bits alone.
            priority: if rapid { priority & 0xf000 } else { priority },
            hello: octet(hello),
            max_age: octet(max_age),
            forward_delay: octet(forward_delay),
            transmit_hold,
        })
    }
}

/// Of a port, for one of the two protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortTree {
    pub enabled: bool,
    pub number: Option<u16>,
    pub priority: u8,
    /// `None`: by the speed of its device.
    pub path_cost: Option<u32>,
    pub admin_edge: bool,
    pub auto_edge: bool,
    pub point_to_point: bool,
    /// To find out anew what the neighbour speaks.
    pub recheck: bool,
}

/// Of a port, for whichever protocol its bridge runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortTrees {
    pub stp: PortTree,
    pub rstp: PortTree,
}

impl PortTrees {
    pub(crate) fn read(row: RowRef<'_>, w: &mut Warnings) -> Self {
        let other = |key: &str| row.map_value("other_config", key);
        let on = |key: &str, default: bool| match other(key) {
            Some("true") => true,
            Some("false") => false,
            _ => default,
        };
        let mut number = |key: &str, max: u32| {
            w.parse(key, other(key), |s| {
                s.parse().ok().filter(|n: &u32| *n <= max)
            })
        };
        let priority = |n: Option<u32>| n.map_or(128, |n| n as u8);
        let port_number = |n: Option<u32>| n.filter(|n| *n > 0).map(|n| n as u16);
        let stp = PortTree {
            enabled: on("stp-enable", true),
            number: port_number(number("stp-port-num", 255)),
            priority: priority(number("stp-port-priority", 255)),
            path_cost: number("stp-path-cost", 65_535),
            admin_edge: false,
            auto_edge: false,
            point_to_point: true,
            recheck: false,
        };
        let rstp = PortTree {
            enabled: on("rstp-enable", true),
            number: port_number(number("rstp-port-num", 4095)),
            // The upper four bits alone.
            priority: priority(number("rstp-port-priority", 240)) & 0xf0,
            path_cost: number("rstp-path-cost", 200_000_000)
                .or_else(|| number("rstp-port-path-cost", 200_000_000)),
            admin_edge: on("rstp-port-admin-edge", false),
            auto_edge: on("rstp-port-auto-edge", true),
            point_to_point: !matches!(
                other("rstp-admin-p2p-mac"),
                Some("false" | "0" | "force-false")
            ),
            recheck: on("rstp-port-mcheck", false),
        };
        Self { stp, rstp }
    }
}

impl PortTree {
    /// What the state machines are told of a port with this number; `default_cost` unless the user has chosen one.
    pub(super) fn port(&self, number: u16, enabled: bool, default_cost: u32) -> PortConfig {
        PortConfig {
            id: PortId::new(self.priority, number),
            path_cost: self.path_cost.unwrap_or(default_cost),
            enabled,
            admin_edge: self.admin_edge,
            auto_edge: self.auto_edge,
            point_to_point: self.point_to_point,
        }
    }
}

/// The path cost of a port of so many bits a second, by the protocol whose settings count.
pub(super) fn cost_of(speed: Option<u64>, rapid: bool) -> u32 {
    let megabits = speed.unwrap_or(USUAL_SPEED) / 1_000_000;
    let (table, rest) = match rapid {
        true => (&RSTP_COSTS.0[..], RSTP_COSTS.1),
        false => (&STP_COSTS.0[..], STP_COSTS.1),
    };
    let found = table.iter().find(|(least, _)| megabits >= *least);
    found.map_or(rest, |(_, cost)| *cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_those_of_the_standards() {
        let (mega, giga) = (1_000_000, 1_000_000_000);
        for (speed, stp, rstp) in [
            (None, 2, 2000),
            (Some(40 * giga), 2, 2000),
            (Some(10 * giga), 2, 2000),
            (Some(5 * giga), 4, 20_000),
            (Some(giga), 4, 20_000),
            (Some(100 * mega), 19, 200_000),
            (Some(10 * mega), 100, 2_000_000),
            (Some(mega), 19, 20_000_000),
            (Some(0), 19, 20_000),
        ] {
            assert_eq!(
                (cost_of(speed, false), cost_of(speed, true)),
                (stp, rstp),
                "{speed:?}"
            );
        }
    }
}
