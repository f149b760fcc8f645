//! Edges only go down. Changing the house is one visible line in [`MAY_USE`].

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Crate, layer, and which crates of the house its product code may use.
const MAY_USE: &[(&str, u8, &[&str])] = &[
    ("rvs-packet", 0, &[]),
    ("rvs-flow", 1, &["rvs-packet"]),
    ("rvs-classifier", 2, &["rvs-flow"]),
    ("rvs-openflow", 2, &["rvs-packet", "rvs-flow"]),
    ("rvs-dpif", 2, &["rvs-packet", "rvs-flow"]),
    ("rvs-netdev", 2, &["rvs-packet"]),
    ("rvs-l2", 2, &["rvs-packet", "rvs-flow"]),
    ("rvs-ovsdb", 2, &[]),
    (
        "rvs-datapath",
        3,
        &["rvs-dpif", "rvs-classifier", "rvs-flow", "rvs-packet"],
    ),
    ("rvs-kcache", 3, &["rvs-dpif", "rvs-flow", "rvs-packet"]),
    (
        "rvs-pipeline",
        3,
        &[
            "rvs-classifier",
            "rvs-openflow",
            "rvs-dpif",
            "rvs-l2",
            "rvs-flow",
            "rvs-packet",
        ],
    ),
    (
        "rvs-slowpath",
        4,
        &[
            "rvs-pipeline",
            "rvs-openflow",
            "rvs-dpif",
            "rvs-l2",
            "rvs-flow",
            "rvs-packet",
        ],
    ),
    (
        "rvs-ofproto",
        4,
        &[
            "rvs-pipeline",
            "rvs-openflow",
            "rvs-dpif",
            "rvs-l2",
            "rvs-flow",
            "rvs-packet",
            "rvs-classifier",
        ],
    ),
    (
        "rvs-switch",
        5,
        &[
            "rvs-slowpath",
            "rvs-ofproto",
            "rvs-pipeline",
            "rvs-classifier",
            "rvs-openflow",
            "rvs-dpif",
            "rvs-l2",
            "rvs-ovsdb",
            "rvs-flow",
            "rvs-packet",
        ],
    ),
    (
        "rvswitchd",
        6,
        &[
            "rvs-switch",
            "rvs-slowpath",
            "rvs-ofproto",
            "rvs-pipeline",
            "rvs-classifier",
            "rvs-datapath",
            "rvs-kcache",
            "rvs-openflow",
            "rvs-dpif",
            "rvs-netdev",
            "rvs-l2",
            "rvs-ovsdb",
            "rvs-flow",
            "rvs-packet",
        ],
    ),
    (
        "rvs-ctl",
        6,
        &["rvs-ovsdb", "rvs-openflow", "rvs-flow", "rvs-packet"],
    ),
];

/// May use everything: they judge the rest and ship nothing.
const JUDGES: &[&str] = &["rvs-testkit", "rvs-tests", "rvs-bench"];

fn metadata() -> Value {
    let out = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--manifest-path",
        ])
        .arg(super::root().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn edges_only_go_down() {
    let allowed: BTreeMap<_, _> = MAY_USE.iter().map(|(n, l, d)| (*n, (*l, *d))).collect();
    let mut wrong = Vec::new();
    for package in metadata()["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if JUDGES.contains(&name) {
            continue;
        }
        let Some((layer, may)) = allowed.get(name) else {
            wrong.push(format!("{name} has no line in MAY_USE"));
            continue;
        };
        for dep in package["dependencies"].as_array().unwrap() {
            let to = dep["name"].as_str().unwrap();
            if !to.starts_with("rvs") || dep["kind"] == "dev" {
                continue;
            }
            if !may.contains(&to) {
                wrong.push(format!("{name} uses {to}, which MAY_USE does not allow"));
            } else if allowed.get(to).is_some_and(|(l, _)| l >= layer) {
                wrong.push(format!(
                    "{name} (layer {layer}) uses {to}, which is not below it"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "the house is broken:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn unsafe_stays_on_its_islands() {
    let islands = ["rvs-netdev", "rvs-kcache"];
    let mut wrong = Vec::new();
    for (name, ..) in MAY_USE {
        let dir = super::root().join("crates").join(name).join("src");
        let Some(root) = ["lib.rs", "main.rs"]
            .iter()
            .map(|f| dir.join(f))
            .find(|p| p.exists())
        else {
            continue;
        };
        let text = std::fs::read_to_string(&root).unwrap();
        if !islands.contains(name) && !text.contains("#![forbid(unsafe_code)]") {
            wrong.push(format!("{name} does not forbid unsafe code"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
