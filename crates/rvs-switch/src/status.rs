//! What the switch writes back into the database: columns that tell how things are.

use rvs_flow::OfPort;
use rvs_ovsdb::client::RowUpdate;
use rvs_ovsdb::database::Txn;
use rvs_ovsdb::value::{Atom, Datum};
use rvs_ovsdb::Uuid;
use rvs_packet::MacAddr;

use crate::mirrors::MirrorState;
use crate::platform::{LinkInfo, PortCounters};
use crate::ports::{BridgeState, IfaceState, Refusal};

/// New values of columns of one row.
#[derive(Debug)]
pub struct RowStatus {
    pub table: &'static str,
    pub row: Uuid,
    pub columns: Vec<(&'static str, Datum)>,
}

/// Columns that the switch writes: when they change, nothing is asked of it.
const WRITTEN: &[(&str, &[&str])] = &[
    (
        "Open_vSwitch",
        &[
            "cur_cfg",
            "ovs_version",
            "db_version",
            "datapath_types",
            "iface_types",
            "statistics",
        ],
    ),
    (
        "Bridge",
        &["datapath_id", "datapath_version", "status", "rstp_status"],
    ),
    (
        "Port",
        &[
            "status",
            "statistics",
            "rstp_status",
            "rstp_statistics",
            "bond_active_slave",
        ],
    ),
    (
        "Interface",
        &[
            "ofport",
            "error",
            "link_resets",
            "admin_state",
            "link_state",
            "mac_in_use",
            "mtu",
            "ifindex",
            "status",
            "statistics",
            "link_speed",
            "duplex",
        ],
    ),
    ("Controller", &["is_connected", "role", "status"]),
    ("Manager", &["is_connected", "status"]),
    ("Mirror", &["statistics"]),
];

/// Whether the switch, and nobody else, writes this column.
pub fn is_written(table: &str, column: &str) -> bool {
    let of_table = WRITTEN.iter().find(|(t, _)| *t == table);
    of_table.is_some_and(|(_, columns)| columns.contains(&column))
}

impl From<&RowStatus> for RowUpdate {
    fn from(row: &RowStatus) -> Self {
        Self {
            table: row.table,
            row: row.row,
            columns: row.columns.clone(),
        }
    }
}

impl RowStatus {
    /// Writes it as part of a transaction.
    ///
    /// # Errors
    /// When the row is gone or a value is not one of its column's.
    pub fn write(&self, txn: &mut Txn<'_>) -> rvs_ovsdb::Result<()> {
        let Some(table) = txn.database().schema().table_index(self.table) else {
            return Ok(());
        };
        for (column, value) in &self.columns {
            txn.set(table, self.row, column, value.clone())?;
        }
        Ok(())
    }
}

fn text(s: impl Into<String>) -> Datum {
    Datum::scalar(s.into())
}

/// The empty set: an optional column without a value.
fn none() -> Datum {
    Datum::set(Vec::<Atom>::new())
}

/// Status of an interface: everything but counters.
pub fn interface(iface: &IfaceState) -> RowStatus {
    let ofport = if iface.error.is_some() {
        -1
    } else {
        wire_port(iface.of_port)
    };
    let error = match &iface.error {
        None | Some(Refusal::ReservedName) => none(),
        Some(Refusal::Because(why)) => text(why.clone()),
    };
    let mut columns = vec![("ofport", Datum::scalar(ofport)), ("error", error)];
    match iface.link() {
        Some(link) => {
            columns.extend(link_columns(link));
            let resets = i64::try_from(iface.link_resets).unwrap_or(i64::MAX);
            columns.push(("link_resets", Datum::scalar(resets)));
        }
        None => {
            let unknown = [
                "admin_state",
                "link_state",
                "mac_in_use",
                "mtu",
                "ifindex",
                "link_speed",
                "duplex",
                "link_resets",
            ];
            columns.extend(unknown.map(|c| (c, none())));
            columns.push(("status", Datum::map(Vec::<(Atom, Atom)>::new())));
        }
    }
    RowStatus {
        table: "Interface",
        row: iface.cfg.uuid,
        columns,
    }
}

fn link_columns(link: &LinkInfo) -> [(&'static str, Datum); 8] {
    let state = |up| text(if up { "up" } else { "down" });
    let driver = Some(link.driver.clone()).filter(|d| !d.is_empty());
    let driver = driver.map(|d| ("driver_name".to_owned(), d));
    let note = link.note.iter().map(|n| ("note".to_owned(), n.clone()));
    [
        ("admin_state", state(link.admin_up)),
        ("link_state", state(link.link_up)),
        ("mac_in_use", text(link.mac.to_string())),
        (
            "mtu",
            Datum::set((link.mtu > 0).then_some(i64::from(link.mtu))),
        ),
        ("ifindex", Datum::scalar(i64::from(link.ifindex))),
        (
            "link_speed",
            Datum::set(
                link.speed
                    .map(|s| i64::try_from(s.bits).unwrap_or(i64::MAX)),
            ),
        ),
        (
            "duplex",
            link.speed
                .map_or_else(none, |s| text(if s.full_duplex { "full" } else { "half" })),
        ),
        ("status", Datum::map(note.chain(driver))),
    ]
}

/// LOCAL is 65534 for people and databases.
fn wire_port(port: OfPort) -> i64 {
    i64::from(port.to_u16().map_or(port.0, u32::from))
}

/// Counters of an interface.
pub fn statistics(row: Uuid, c: &PortCounters) -> RowStatus {
    // As Open vSwitch's user-space datapath names it.
    let policed = c.rx_policed.unwrap_or(PortCounters::NOT_COUNTED);
    let counters = [
        ("ovs_rx_qos_drops", policed),
        ("rx_packets", c.rx_packets),
        ("rx_bytes", c.rx_bytes),
        ("rx_dropped", c.rx_dropped),
        ("rx_errors", c.rx_errors),
        ("tx_packets", c.tx_packets),
        ("tx_bytes", c.tx_bytes),
        ("tx_dropped", c.tx_dropped),
        ("tx_errors", c.tx_errors),
    ];
    RowStatus {
        table: "Interface",
        row,
        columns: vec![("statistics", pairs(&counters))],
    }
}

/// What nobody counts is left out.
fn pairs(counters: &[(&str, u64)]) -> Datum {
    let pair = |(k, v): &(&str, u64)| ((*k).to_owned(), i64::try_from(*v).unwrap_or(i64::MAX));
    let counted = |(_, n): &&(&str, u64)| *n != PortCounters::NOT_COUNTED;
    Datum::map(counters.iter().filter(counted).map(pair))
}

/// Counters of a patch port, which has no device to lose frames.
pub fn patch_statistics(row: Uuid, c: &PortCounters) -> RowStatus {
    let counters = [
        ("rx_packets", c.rx_packets),
        ("rx_bytes", c.rx_bytes),
        ("tx_packets", c.tx_packets),
        ("tx_bytes", c.tx_bytes),
    ];
    RowStatus {
        table: "Interface",
        row,
        columns: vec![("statistics", pairs(&counters))],
    }
}

/// Copies that a mirror has sent.
pub fn mirror(mirror: &MirrorState) -> RowStatus {
    let (packets, bytes) = mirror.traffic.tx();
    RowStatus {
        table: "Mirror",
        row: mirror.cfg.uuid,
        columns: vec![(
            "statistics",
            pairs(&[("tx_packets", packets), ("tx_bytes", bytes)]),
        )],
    }
}

/// Status of a bridge.
pub fn bridge(bridge: &BridgeState) -> RowStatus {
    RowStatus {
        table: "Bridge",
        row: bridge.cfg.uuid,
        columns: vec![
            (
                "datapath_id",
                text(format!("{:016x}", bridge.datapath_id())),
            ),
            ("datapath_version", text("<built-in>")),
        ],
    }
}

/// The member of a bond that is in use, by its MAC.
pub fn bond(row: Uuid, active: Option<MacAddr>) -> RowStatus {
    let active = active.map_or_else(none, |mac| text(mac.to_string()));
    RowStatus {
        table: "Port",
        row,
        columns: vec![("bond_active_slave", active)],
    }
}

/// `cur_cfg`: the configuration that the switch has caught up with.
pub fn cur_cfg(root: Uuid, value: i64) -> RowStatus {
    RowStatus {
        table: "Open_vSwitch",
        row: root,
        columns: vec![("cur_cfg", Datum::scalar(value))],
    }
}

/// What the daemon is; `dummies`: its ports are in memory.
pub fn identity(root: Uuid, version: &str, dummies: bool) -> RowStatus {
    let mut datapaths = vec!["netdev", "system"];
    let mut ifaces = vec!["internal", "patch", "system", "tap"];
    if dummies {
        datapaths.push("dummy");
        ifaces.extend(["dummy", "dummy-internal", "dummy-pmd"]);
    }
    let set = |names: &[&str]| Datum::set(names.iter().map(|n| (*n).to_owned()));
    RowStatus {
        table: "Open_vSwitch",
        row: root,
        columns: vec![
            ("ovs_version", text(version)),
            ("db_version", text("8.8.0")),
            ("datapath_types", set(&datapaths)),
            ("iface_types", set(&ifaces)),
        ],
    }
}
