//! Columns of the schema that the switch keeps for others and does nothing with.
//!
//! Who sets one is told so, once for each column and life of the daemon, and not as a warning: configurations of the field
//! set such columns as a matter of course.

use std::collections::BTreeSet;

use rvs_ovsdb::database::Delta;

/// By table. What is a column's default, or what the switch does anyway ([`ANYWAY`]), asks for nothing.
const INERT: &[(&str, &[&str])] = &[
    (
        "AutoAttach",
        &["mappings", "system_description", "system_name"],
    ),
    (
        "Bridge",
        &[
            "auto_attach",
            "ipfix",
            "mcast_snooping_enable",
            "netflow",
            "sflow",
        ],
    ),
    ("CT_Timeout_Policy", &["timeouts"]),
    ("CT_Zone", &["limit", "timeout_policy"]),
    (
        "Controller",
        &[
            "connection_mode",
            "controller_queue_size",
            "enable_async_messages",
            "local_gateway",
            "local_ip",
            "local_netmask",
        ],
    ),
    (
        "Datapath",
        &[
            "capabilities",
            "ct_zone_default_limit",
            "ct_zones",
            "datapath_version",
        ],
    ),
    (
        "Flow_Sample_Collector_Set",
        &["bridge", "id", "ipfix", "local_group_id"],
    ),
    ("Flow_Table", &["prefixes"]),
    (
        "IPFIX",
        &[
            "cache_active_timeout",
            "cache_max_flows",
            "obs_domain_id",
            "obs_point_id",
            "other_config",
            "sampling",
            "stats_interval",
            "targets",
            "template_interval",
        ],
    ),
    ("Interface", &["bfd", "cfm_flap_count", "cfm_mpid", "lldp"]),
    ("Manager", &["connection_mode"]),
    ("Mirror", &["filter"]),
    (
        "NetFlow",
        &[
            "active_timeout",
            "add_id_to_interface",
            "engine_id",
            "engine_type",
            "targets",
        ],
    ),
    ("Open_vSwitch", &["datapaths"]),
    (
        "Port",
        &[
            "bond_downdelay",
            "bond_fake_iface",
            "bond_updelay",
            "lacp",
            "mac",
        ],
    ),
    (
        "sFlow",
        &["agent", "header", "polling", "sampling", "targets"],
    ),
];

/// Values by which a column of [`INERT`] asks for what is done anyway.
const ANYWAY: &[(&str, &str)] = &[
    ("connection_mode", "out-of-band"),
    ("enable_async_messages", "true"),
    ("lacp", "off"),
];

/// Values of which one is used, whatever a row says: table, column, value.
const USED: &[(&str, &str, &str)] = &[("Port", "bond_mode", "active-backup")];

/// What has been said.
#[derive(Debug, Default)]
pub struct Inert {
    said: BTreeSet<(&'static str, &'static str)>,
}

impl Inert {
    /// What is to be said of the rows that came or changed.
    pub fn notice(&mut self, delta: &Delta) -> Vec<String> {
        let mut lines = self.notice_used(delta);
        for (table, columns) in INERT {
            for row in delta.table(table).filter_map(|c| c.after()) {
                for column in *columns {
                    let asks = row.table().column(column).is_some_and(|(index, schema)| {
                        let value = row.row().column(index);
                        !schema.ty.is_default(value)
                            && !ANYWAY.contains(&(column, value.to_text(&schema.ty).as_str()))
                    });
                    if asks && self.said.insert((table, column)) {
                        lines.push(format!(
                            "column {column} of table {table} has no effect; it is kept for others"
                        ));
                    }
                }
            }
        }
        lines
    }

    fn notice_used(&mut self, delta: &Delta) -> Vec<String> {
        let mut lines = Vec::new();
        for (table, column, used) in USED {
            for row in delta.table(table).filter_map(|c| c.after()) {
                let differs = row.opt_str(column).is_some_and(|value| value != *used);
                if differs && self.said.insert((table, column)) {
                    lines.push(format!(
                        "column {column} of table {table} is taken as {used}, whatever it says"
                    ));
                }
            }
        }
        lines
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use rvs_ovsdb::schema::Schema;

    use super::INERT;
    use crate::status::is_written;

    /// What the switch neither reads nor writes and nobody expects it to: made by and for clients, or ids of rows.
    const FOR_OTHERS: &[(&str, &str)] = &[
        ("Controller", "other_config"),
        ("Interface", "cfm_fault"),
        ("Interface", "cfm_fault_status"),
        ("Interface", "cfm_health"),
        ("Interface", "cfm_remote_mpids"),
        ("Interface", "cfm_remote_opstate"),
        ("Interface", "bfd_status"),
        ("Interface", "lacp_current"),
        ("Manager", "other_config"),
        ("Open_vSwitch", "dpdk_initialized"),
        ("Open_vSwitch", "dpdk_version"),
        ("Open_vSwitch", "system_type"),
        ("Open_vSwitch", "system_version"),
    ];

    /// The columns that the manual says have an effect, by table.
    fn documented() -> BTreeSet<(String, String)> {
        let text = include_str!("../../../docs/compatibility.md");
        let (_, rows) = text.split_once("## Database columns with effect").unwrap();
        let (rows, _) = rows.split_once("\n## ").unwrap();
        let mut all = BTreeSet::new();
        for row in rows.lines().filter(|l| l.starts_with("| ")) {
            let mut cells = row.trim_matches('|').split('|').map(str::trim);
            let (table, columns) = (cells.next().unwrap(), cells.next().unwrap());
            let words = columns.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            all.extend(words.map(|w| (table.to_owned(), w.to_owned())));
        }
        all
    }

    #[test]
    fn every_column_of_the_schema_has_an_effect_or_is_said_to_have_none() {
        let schema = Schema::open_vswitch();
        let documented = documented();
        let mut wrong = Vec::new();
        for table in schema.tables() {
            for column in table.columns.iter().filter(|c| !c.name.starts_with('_')) {
                let (t, c) = (table.name.as_str(), column.name.as_str());
                let inert = INERT.iter().any(|(x, all)| *x == t && all.contains(&c));
                let other = c == "external_ids" || FOR_OTHERS.contains(&(t, c));
                let effect = is_written(t, c) || documented.contains(&(t.to_owned(), c.to_owned()));
                if usize::from(inert) + usize::from(other) + usize::from(effect) != 1 {
                    wrong.push(format!(
                        "{t}.{c}: inert {inert}, others' {other}, effect {effect}"
                    ));
                }
            }
        }
        for (table, columns) in INERT {
            let there = schema.table(table).unwrap();
            wrong.extend(
                columns
                    .iter()
                    .filter(|c| there.column(c).is_none())
                    .map(|c| format!("{table}.{c} is not in the schema")),
            );
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
