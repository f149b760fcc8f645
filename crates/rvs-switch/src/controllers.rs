//! What the database says about controllers, as typed values, and what is written back about them.

use std::path::PathBuf;
use std::time::Duration;

use rvs_openflow::message::Role;
use rvs_openflow::{Version, VersionSet};
use rvs_ovsdb::database::Database;
use rvs_ovsdb::value::Datum;
use rvs_ovsdb::{RowRef, Uuid};
use rvs_pipeline::BridgeId;

use crate::config::FailMode;
use crate::status::RowStatus;

/// OpenFlow of a bridge as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenflowConfig {
    pub bridge: BridgeId,
    pub uuid: Uuid,
    pub name: String,
    /// Column `protocols`; all when it is empty.
    pub versions: VersionSet,
    pub fail_mode: FailMode,
    pub controllers: Vec<ControllerConfig>,
}

/// One row of table Controller that a bridge refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerConfig {
    pub uuid: Uuid,
    pub target: String,
    /// `type=service`, or a listener: it hears of nothing until it asks, and does not count for `fail_mode`.
    pub service: bool,
    /// Longest wait between attempts to connect.
    pub max_backoff: Duration,
    /// Silence after which an echo request is sent; `None` for never.
    pub inactivity_probe: Option<Duration>,
    /// Packets a second and burst (`controller_rate_limit`, `controller_burst_limit`).
    pub rate_limit: Option<(u32, u32)>,
}

/// The row of table SSL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SslConfig {
    pub private_key: PathBuf,
    pub certificate: PathBuf,
    pub ca_cert: PathBuf,
    /// Trust the certificate authority of the first peer and write it to `ca_cert`.
    pub bootstrap_ca: bool,
}

impl ControllerConfig {
    pub const DEFAULT_MAX_BACKOFF: Duration = Duration::from_secs(8);
    pub const DEFAULT_PROBE: Duration = Duration::from_secs(5);
    /// Smallest rate and burst that are not taken for a mistake.
    const LEAST_RATE: (i64, i64) = (100, 25);

    fn read(row: RowRef<'_>) -> Self {
        let target = row.str("target").to_owned();
        let millis = |column: &str| {
            let n = u64::try_from(row.opt_int(column)?).ok()?;
            Some(Duration::from_millis(n))
        };
        let number = |n: i64, least: i64| u32::try_from(n.max(least)).unwrap_or(u32::MAX);
        let passive = ["ptcp:", "pssl:", "punix:"]
            .iter()
            .any(|p| target.starts_with(p));
        let rate_limit = row
            .opt_int("controller_rate_limit")
            .filter(|n| *n > 0)
            .map(|rate| {
                let burst = row.opt_int("controller_burst_limit").unwrap_or(rate / 4);
                let (least, least_burst) = Self::LEAST_RATE;
                (number(rate, least), number(burst, least_burst))
            });
        Self {
            uuid: row.uuid(),
            service: passive || row.opt_str("type") == Some("service"),
            target,
            max_backoff: millis("max_backoff")
                .map_or(Self::DEFAULT_MAX_BACKOFF, |d| d.max(Duration::from_secs(1))),
            inactivity_probe: match millis("inactivity_probe") {
                Some(Duration::ZERO) => None,
                Some(d) => Some(d.max(Duration::from_secs(1))),
                None => Some(Self::DEFAULT_PROBE),
            },
            rate_limit,
        }
    }
}

/// What the database says about OpenFlow of the bridge in this row.
pub(crate) fn read(
    db: &Database,
    row: RowRef<'_>,
    bridge: BridgeId,
    fail_mode: FailMode,
) -> OpenflowConfig {
    let table = db.table("Controller");
    let controllers = row
        .set_of_uuid("controller")
        .filter_map(|u| table.as_ref()?.row(u))
        .map(ControllerConfig::read)
        .collect();
    let versions: VersionSet = row
        .set_of_str("protocols")
        .filter_map(Version::from_name)
        .collect();
    OpenflowConfig {
        bridge,
        uuid: row.uuid(),
        name: row.str("name").to_owned(),
        versions: if versions == VersionSet::default() {
            VersionSet::ALL
        } else {
            versions
        },
        fail_mode,
        controllers,
    }
}

/// One row of table Manager that the root refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerConfig {
    pub uuid: Uuid,
    pub target: String,
    /// Longest wait between attempts to connect.
    pub max_backoff: Duration,
    /// Silence after which a client is probed; `None` for never, as on this machine's sockets without a wish.
    pub inactivity_probe: Option<Duration>,
}

/// The managers of the switch.
pub(crate) fn managers(db: &Database) -> Vec<ManagerConfig> {
    let root = db.table("Open_vSwitch").and_then(|t| t.rows().next());
    let rows = db.table("Manager");
    let named = root.iter().flat_map(|r| r.set_of_uuid("manager_options"));
    let read = |row: RowRef<'_>| {
        let target = row.str("target").to_owned();
        let millis = |column: &str| {
            let n = u64::try_from(row.opt_int(column)?).ok()?;
            Some(Duration::from_millis(n))
        };
        let local = target.starts_with("unix:") || target.starts_with("punix:");
        ManagerConfig {
            uuid: row.uuid(),
            max_backoff: millis("max_backoff").unwrap_or(ControllerConfig::DEFAULT_MAX_BACKOFF),
            inactivity_probe: match millis("inactivity_probe") {
                Some(Duration::ZERO) => None,
                Some(d) => Some(d.max(Duration::from_secs(1))),
                None => (!local).then_some(ControllerConfig::DEFAULT_PROBE),
            },
            target,
        }
    };
    named
        .filter_map(|u| rows.as_ref()?.row(u))
        .map(read)
        .collect()
}

/// What is known of a manager: columns of its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerStatus {
    pub uuid: Uuid,
    pub connected: bool,
    /// Keys and values of column `status`.
    pub status: Vec<(String, String)>,
}

impl ManagerStatus {
    pub(crate) fn row(self) -> RowStatus {
        RowStatus {
            table: "Manager",
            row: self.uuid,
            columns: vec![
                ("is_connected", Datum::scalar(self.connected)),
                ("status", Datum::map(self.status)),
            ],
        }
    }
}

/// The SSL row that the root refers to.
pub(crate) fn ssl(db: &Database) -> Option<SslConfig> {
    let root = db.table("Open_vSwitch")?.rows().next()?;
    let uuid = root.set_of_uuid("ssl").next()?;
    let row = db.table("SSL")?.row(uuid)?;
    let path = |column: &str| PathBuf::from(row.str(column));
    Some(SslConfig {
        private_key: path("private_key"),
        certificate: path("certificate"),
        ca_cert: path("ca_cert"),
        bootstrap_ca: row.bool("bootstrap_ca_cert"),
    })
}

/// What is known of a controller: columns of its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerStatus {
    pub uuid: Uuid,
    pub connected: bool,
    pub role: Option<Role>,
    /// Keys and values of column `status`: `state`, `sec_since_connect`, `sec_since_disconnect`, `last_error`.
    pub status: Vec<(String, String)>,
}

impl ControllerStatus {
    pub(crate) fn row(self) -> RowStatus {
        let role = match self.role {
            None | Some(Role::NoChange) => None,
            Some(Role::Equal) => Some("other"),
            Some(Role::Primary) => Some("master"),
            Some(Role::Secondary) => Some("slave"),
        };
        RowStatus {
            table: "Controller",
            row: self.uuid,
            columns: vec![
                ("is_connected", Datum::scalar(self.connected)),
                ("role", Datum::set(role.map(str::to_owned))),
                ("status", Datum::map(self.status)),
            ],
        }
    }
}
