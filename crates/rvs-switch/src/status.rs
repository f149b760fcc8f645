//! What the switch writes back into the database: columns that tell how things are.

use rvs_flow::OfPort;
use rvs_ovsdb::Uuid;
use serde_json::{json, Map, Value};

use crate::platform::{LinkInfo, PortCounters};
use crate::ports::{BridgeState, IfaceState};

/// `["map", [[k, v], ...]]`.
fn map(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    json!([
        "map",
        pairs
            .into_iter()
            .map(|(k, v)| json!([k, v]))
            .collect::<Vec<_>>()
    ])
}

/// The empty set: an optional column without a value.
fn none() -> Value {
    json!(["set", []])
}

fn update(table: &str, uuid: Uuid, row: Map<String, Value>) -> Value {
    json!({"op": "update", "table": table, "where": [["_uuid", "==", ["uuid", uuid.to_string()]]], "row": row})
}

/// Status of an interface: everything but counters.
pub fn interface(iface: &IfaceState) -> Value {
    let mut row = Map::new();
    let mut set = |column: &str, value: Value| row.insert(column.to_owned(), value);
    let failed = iface.error.is_some();
    set(
        "ofport",
        if failed {
            json!(-1)
        } else {
            json!(wire_port(iface.of_port))
        },
    );
    set(
        "error",
        iface.error.as_ref().map_or_else(none, |e| json!(e)),
    );
    match &iface.open {
        Some((_, link)) => link_columns(link, &mut set),
        None => {
            for column in ["admin_state", "link_state", "mac_in_use", "mtu", "ifindex"] {
                set(column, none());
            }
            set("status", map([]));
        }
    }
    set("link_resets", json!(iface.link_resets));
    update("Interface", iface.cfg.uuid, row)
}

fn link_columns<R>(link: &LinkInfo, set: &mut impl FnMut(&str, Value) -> R) {
    let state = |up| json!(if up { "up" } else { "down" });
    set("admin_state", state(link.admin_up));
    set("link_state", state(link.link_up));
    set("mac_in_use", json!(link.mac.to_string()));
    set("mtu", json!(link.mtu));
    set("ifindex", json!(link.ifindex));
    set("status", map([("driver_name", json!(link.driver))]));
}

/// LOCAL is 65534 for people and databases.
fn wire_port(port: OfPort) -> u32 {
    port.to_u16().map_or(port.0, u32::from)
}

/// Counters of an interface.
pub fn statistics(uuid: Uuid, c: &PortCounters) -> Value {
    let mut row = Map::new();
    let counters = map([
        ("rx_packets", json!(c.rx_packets)),
        ("rx_bytes", json!(c.rx_bytes)),
        ("rx_dropped", json!(c.rx_dropped)),
        ("rx_errors", json!(c.rx_errors)),
        ("tx_packets", json!(c.tx_packets)),
        ("tx_bytes", json!(c.tx_bytes)),
        ("tx_dropped", json!(c.tx_dropped)),
        ("tx_errors", json!(c.tx_errors)),
    ]);
    row.insert("statistics".to_owned(), counters);
    update("Interface", uuid, row)
}

/// Status of a bridge.
pub fn bridge(bridge: &BridgeState) -> Value {
    let mut row = Map::new();
    row.insert(
        "datapath_id".to_owned(),
        json!(format!("{:016x}", bridge.datapath_id())),
    );
    update("Bridge", bridge.cfg.uuid, row)
}

/// `cur_cfg`: the configuration that the switch has caught up with.
pub fn cur_cfg(root: Uuid, value: i64) -> Value {
    let mut row = Map::new();
    row.insert("cur_cfg".to_owned(), json!(value));
    update("Open_vSwitch", root, row)
}

/// What the daemon is.
pub fn identity(root: Uuid, version: &str) -> Value {
    let mut row = Map::new();
    row.insert("ovs_version".to_owned(), json!(version));
    row.insert("db_version".to_owned(), json!("8.8.0"));
    row.insert(
        "datapath_types".to_owned(),
        json!(["set", ["netdev", "system"]]),
    );
    row.insert(
        "iface_types".to_owned(),
        json!(["set", ["internal", "system", "tap"]]),
    );
    update("Open_vSwitch", root, row)
}
