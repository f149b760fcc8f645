//! What of spanning trees stands in the database, in the words of the field's schema.

use rvs_flow::OfPort;
use rvs_l2::spanning::{BridgeId, Forwarding, PortId, PortStatus, Role, RootStatus, Vector};
use rvs_ovsdb::value::{Atom, Datum};
use rvs_packet::Now;
use rvs_pipeline::StpState;

use super::{row_of, BridgeSpanning};
use crate::ports::BridgeState;
use crate::status::RowStatus;

/// Rows of the bridge and of its ports.
pub fn rows(state: &BridgeState, t: &BridgeSpanning, now: Now) -> Vec<RowStatus> {
    // What the user has asked for decides which columns: RSTP that is held to the old protocol is still RSTP.
    let rapid = state.cfg.rstp;
    let root = t.tree.root();
    let own = t.tree.config().id;
    let (column, empty) = columns(rapid);
    let shown = if rapid {
        rstp_bridge(own, &root)
    } else {
        stp_bridge(own, &root)
    };
    let mut rows = vec![RowStatus {
        table: "Bridge",
        row: state.cfg.uuid,
        columns: vec![(column, Datum::map(shown)), (empty, nothing())],
    }];
    for port in t.tree.ports(now) {
        let Some((row, _)) = row_of(state, port.port) else {
            continue;
        };
        let columns = if rapid {
            rstp_port(&port)
        } else {
            stp_port(t, &port)
        };
        rows.push(RowStatus {
            table: "Port",
            row: *row,
            columns,
        });
    }
    rows
}

/// Rows of a bridge that has no tree any more.
pub fn cleared(state: &BridgeState) -> Vec<RowStatus> {
    let empty = |names: &[&'static str]| names.iter().map(|c| (*c, nothing())).collect();
    let mut rows = vec![RowStatus {
        table: "Bridge",
        row: state.cfg.uuid,
        columns: empty(&["status", "rstp_status"]),
    }];
    rows.extend(state.ports.keys().map(|row| RowStatus {
        table: "Port",
        row: *row,
        columns: empty(&["status", "statistics", "rstp_status", "rstp_statistics"]),
    }));
    rows
}

/// The column that is used, and the one that is not.
const fn columns(rapid: bool) -> (&'static str, &'static str) {
    if rapid {
        ("rstp_status", "status")
    } else {
        ("status", "rstp_status")
    }
}

fn nothing() -> Datum {
    Datum::map(Vec::<(Atom, Atom)>::new())
}

type Pair = (String, String);

fn pair(key: &str, value: impl Into<String>) -> Pair {
    (key.to_owned(), value.into())
}

fn stp_bridge(own: BridgeId, root: &RootStatus) -> Vec<Pair> {
    vec![
        pair("stp_bridge_id", own.to_string()),
        pair("stp_designated_root", root.priority.root.to_string()),
        pair("stp_root_path_cost", root.priority.cost.to_string()),
    ]
}

/// The rapid protocol's way to write a bridge: 4 bits of priority, 12 of a system's number.
fn rstp_id(id: BridgeId) -> String {
    let (priority, mac) = (id.priority(), id.0 & 0xffff_ffff_ffff);
    format!("{:x}.{:03x}.{mac:012x}", priority >> 12, priority & 0xfff)
}

fn port_id(id: PortId) -> String {
    format!("{:04x}", id.0)
}

fn rstp_bridge(own: BridgeId, root: &RootStatus) -> Vec<Pair> {
    let Vector {
        root: id,
        cost,
        bridge,
        port,
    } = root.priority;
    vec![
        pair("rstp_bridge_id", rstp_id(own)),
        pair("rstp_bridge_port_id", port_id(root.port_id)),
        pair("rstp_designated_id", rstp_id(bridge)),
        pair("rstp_designated_port_id", port_id(port)),
        pair("rstp_root_id", rstp_id(id)),
        pair("rstp_root_path_cost", cost.to_string()),
    ]
}

fn counters(list: &[(&str, u64)]) -> Datum {
    let one = |(k, v): &(&str, u64)| ((*k).to_owned(), i64::try_from(*v).unwrap_or(i64::MAX));
    Datum::map(list.iter().map(one))
}

fn stp_port(t: &BridgeSpanning, p: &PortStatus) -> Vec<(&'static str, Datum)> {
    let status = [
        pair("stp_port_id", p.cfg.id.0.to_string()),
        pair("stp_role", role_name(p.role)),
        pair("stp_sec_in_state", p.in_state.as_secs().to_string()),
        pair("stp_state", stp_state(t.state(OfPort(p.port)), p.role)),
    ];
    let statistics = [
        ("stp_error_count", p.counters.errors),
        ("stp_rx_count", p.counters.rx),
        ("stp_tx_count", p.counters.tx),
    ];
    vec![
        ("status", Datum::map(status)),
        ("statistics", counters(&statistics)),
        ("rstp_status", nothing()),
        ("rstp_statistics", nothing()),
    ]
}

/// The role as the old protocol names it.
pub const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Root => "root",
        Role::Designated => "designated",
        Role::Alternate | Role::Backup => "alternate",
        Role::Disabled => "disabled",
    }
}

/// The state as the old protocol names it.
pub const fn stp_state(state: StpState, role: Role) -> &'static str {
    match state {
        _ if matches!(role, Role::Disabled) => "disabled",
        StpState::Disabled => "disabled",
        StpState::Blocking => "blocking",
        StpState::Listening => "listening",
        StpState::Learning => "learning",
        StpState::Forwarding => "forwarding",
    }
}

/// The state as the rapid protocol names it.
pub const fn rstp_state(state: Forwarding) -> &'static str {
    match state {
        Forwarding::Discarding => "Discarding",
        Forwarding::Learning => "Learning",
        Forwarding::Forwarding => "Forwarding",
    }
}

fn rstp_port(p: &PortStatus) -> Vec<(&'static str, Datum)> {
    let status = [
        pair("rstp_designated_bridge_id", rstp_id(p.segment.bridge)),
        pair("rstp_designated_path_cost", p.segment.cost.to_string()),
        pair("rstp_designated_port_id", port_id(p.segment.port)),
        pair("rstp_port_id", port_id(p.cfg.id)),
        pair("rstp_port_role", p.role.name()),
        pair("rstp_port_state", rstp_state(p.state)),
    ];
    let statistics = [
        ("rstp_error_count", p.counters.errors),
        ("rstp_rx_count", p.counters.rx),
        ("rstp_tx_count", p.counters.tx),
        ("rstp_uptime", p.uptime.as_secs()),
    ];
    vec![
        ("rstp_status", Datum::map(status)),
        ("rstp_statistics", counters(&statistics)),
        ("status", nothing()),
        ("statistics", nothing()),
    ]
}
