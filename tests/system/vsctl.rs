//! rvs-ctl says all that ovs-vsctl says: the same command lines to two switches, by the one and by the other.

use std::collections::HashMap;

use rvs_tests::daemon::binary;
use rvs_tests::{Daemon, Lab};
use serde_json::Value;

const SCRIPT: &str = include_str!("vsctl.txt");

/// The columns that commands write; the switch itself writes the others.
const COLUMNS: [(&str, &[&str]); 14] = [
    (
        "Open_vSwitch",
        &[
            "bridges",
            "manager_options",
            "ssl",
            "datapaths",
            "external_ids",
            "other_config",
            "next_cfg",
        ],
    ),
    (
        "Bridge",
        &[
            "name",
            "ports",
            "controller",
            "fail_mode",
            "external_ids",
            "other_config",
            "flood_vlans",
            "mirrors",
            "netflow",
            "auto_attach",
            "protocols",
            "stp_enable",
        ],
    ),
    (
        "Port",
        &[
            "name",
            "interfaces",
            "tag",
            "trunks",
            "vlan_mode",
            "fake_bridge",
            "bond_mode",
            "bond_fake_iface",
            "external_ids",
            "other_config",
            "qos",
        ],
    ),
    (
        "Interface",
        &[
            "name",
            "type",
            "options",
            "external_ids",
            "other_config",
            "ingress_policing_rate",
        ],
    ),
    ("Controller", &["target", "inactivity_probe"]),
    ("Manager", &["target", "inactivity_probe"]),
    (
        "SSL",
        &["private_key", "certificate", "ca_cert", "bootstrap_ca_cert"],
    ),
    ("Mirror", &["name", "select_all", "output_port"]),
    ("QoS", &["type", "queues"]),
    ("Queue", &["dscp", "other_config"]),
    ("AutoAttach", &["mappings"]),
    ("NetFlow", &["targets"]),
    ("CT_Zone", &["timeout_policy"]),
    ("CT_Timeout_Policy", &["timeouts"]),
];

/// What is configured, with names in place of UUIDs, in an order that does not depend on them.
fn configuration(lab: &Lab, switch: &Daemon<'_>) -> Vec<String> {
    let dump = format!(
        "ovsdb-client --timeout=10 -f json dump unix:{}/db.sock Open_vSwitch",
        switch.rundir().display()
    );
    let text = lab.sh(&dump);
    let tables: Vec<Value> = text
        .lines()
        .filter(|l| l.starts_with('{'))
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let mut names: HashMap<String, String> = HashMap::new();
    let mut rows: Vec<(String, Vec<(String, Value)>)> = Vec::new();
    for table in &tables {
        let caption = table["caption"]
            .as_str()
            .unwrap()
            .trim_end_matches(" table");
        let headings: Vec<&str> = table["headings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|h| h.as_str().unwrap())
            .collect();
        for row in table["data"].as_array().unwrap() {
            let cells: Vec<(&str, &Value)> = headings
                .iter()
                .copied()
                .zip(row.as_array().unwrap())
                .collect();
            let cell = |name: &str| cells.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
            let uuid = cell("_uuid").unwrap()[1].as_str().unwrap().to_owned();
            let name = cell("name").or(cell("target")).and_then(Value::as_str);
            names.insert(uuid, format!("{caption} {}", name.unwrap_or_default()));
            let Some((_, wanted)) = COLUMNS.iter().find(|(t, _)| *t == caption) else {
                continue;
            };
            let kept = cells.iter().filter(|(n, _)| wanted.contains(n));
            let kept = kept.map(|(n, v)| ((*n).to_owned(), (*v).clone())).collect();
            rows.push((caption.to_owned(), kept));
        }
    }
    let mut lines: Vec<String> = rows
        .into_iter()
        .map(|(table, cells)| {
            let cells = cells
                .into_iter()
                .map(|(n, v)| format!("{n}={}", named(&v, &names)));
            format!("{table}: {}", cells.collect::<Vec<_>>().join(" "))
        })
        .collect();
    lines.sort();
    lines
}

/// The value with names for UUIDs, sets in order.
fn named(value: &Value, names: &HashMap<String, String>) -> String {
    match value.as_array().map(Vec::as_slice) {
        Some([Value::String(kind), Value::String(uuid)]) if kind == "uuid" => {
            names.get(uuid).cloned().unwrap_or_default()
        }
        Some([Value::String(kind), Value::Array(items)]) if kind == "set" => {
            let mut items: Vec<String> = items.iter().map(|v| named(v, names)).collect();
            items.sort();
            format!("[{}]", items.join(", "))
        }
        Some(items) => {
            let items: Vec<String> = items.iter().map(|v| named(v, names)).collect();
            format!("({})", items.join(" "))
        }
        None => value.to_string(),
    }
}

/// The text without what differs from one switch to the other: UUIDs, MAC addresses and what is derived from them.
fn normalised(text: &str, sorted: bool) -> String {
    let is_part = |c: char| c.is_ascii_hexdigit() || matches!(c, '-' | ':');
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        let is_identifier = word.len() == 36 && word.matches('-').count() == 4
            || word.len() == 17 && word.matches(':').count() == 5
            || word.len() == 16 && word.bytes().all(|b| b.is_ascii_hexdigit());
        out += before;
        out += if is_identifier { "U" } else { word };
        rest = after;
    }
    out += rest;
    if !sorted {
        return out;
    }
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

pub fn says_all_that_ovs_vsctl_says(lab: &Lab) {
    for name in ["stock", "ours"] {
        lab.sh(&format!("ip netns add {name}; ip -n {name} link set lo up"));
    }
    let (stock, ours) = (
        Daemon::named(lab, "stock", ""),
        Daemon::named(lab, "ours", ""),
    );
    for switch in [&stock, &ours] {
        switch.expects(&[
            "could not open network device",
            "an access port ignores trunks",
            "it does nothing",
            "neither an IPv4 address nor a name",
        ]);
    }
    let mut differences = Vec::new();
    for line in SCRIPT.lines().filter(|l| !l.starts_with('#')) {
        let sorted = line.starts_with('~') || line == "show";
        let words = line.trim_start_matches('~');
        let said = lab.try_sh(&format!(
            "ovs-vsctl --timeout=10 -vsyslog:off --db=unix:{}/db.sock {words}",
            stock.rundir().display()
        ));
        let told = lab.try_sh(&format!(
            "{} --timeout=10 -vsyslog:off --db=unix:{}/db.sock {words}",
            binary("rvs-ctl").display(),
            ours.rundir().display()
        ));
        let end = match said.code {
            // Bad usage has its own code, and so has a timeout, at which ovs-vsctl ends by a signal.
            1 if told.code == 2 => 2,
            -1 => 124,
            code => code,
        };
        let (said, told) = (
            (end, normalised(&said.out, sorted), said.err),
            (told.code, normalised(&told.out, sorted), told.err),
        );
        if (said.0, &said.1) != (told.0, &told.1) {
            differences.push(format!("{words}\novs-vsctl: {said:?}\nrvs-ctl: {told:?}\n"));
        }
        let (there, here) = (configuration(lab, &stock), configuration(lab, &ours));
        assert_eq!(
            there, here,
            "the databases differ after: {words}\n{said:?}\n{told:?}"
        );
    }
    assert!(
        differences.is_empty(),
        "{} of {} lines differ:\n{}",
        differences.len(),
        SCRIPT.lines().count(),
        differences.join("\n")
    );
}
