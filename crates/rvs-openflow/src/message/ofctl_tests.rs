//! What we write and refuse, judged by `ovs-ofctl` of Open vSwitch 3.1. Skipped, loudly, where it is not installed.

use std::collections::{BTreeMap, HashMap};
use std::process::Command;

use rvs_flow::testing::Entropy;

use super::tests::{fix_length, mutate};
use super::{Dialect, Message};
use crate::testing;

/// A message under its transaction id.
struct Sample {
    xid: u32,
    said: String,
    ours: Result<(), String>,
    bytes: Vec<u8>,
}

fn samples(n: u32, mutated: bool) -> Vec<Sample> {
    let mut all = Vec::new();
    for xid in 0..n {
        let mut e = Entropy::seed(xid.into());
        // A stream of messages has no state: no table ids in the commands of 1.0.
        let d = Dialect {
            flow_mod_table_id: false,
            ..testing::dialect(&mut e)
        };
        let m = testing::message(&mut e, &d);
        // The text of these is not about themselves.
        if matches!(m, Message::Error(_) | Message::Hello(_)) {
            continue;
        }
        let mut bytes = d.encode(&m, xid).unwrap();
        if mutated {
            mutate(&mut e, &mut bytes);
            fix_length(&mut bytes);
        }
        let ours = d.decode(&bytes).map(|_| ());
        all.push(Sample {
            xid,
            said: format!("{m:?}"),
            ours: ours.map_err(|e| e.code.name().to_owned()),
            bytes,
        });
    }
    all
}

/// Which of the samples `ovs-ofctl` cannot decode, and why. `None` without `ovs-ofctl`.
fn ask(samples: &[Sample]) -> Option<HashMap<u32, String>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stream");
    let stream: Vec<u8> = samples.iter().flat_map(|s| s.bytes.clone()).collect();
    std::fs::write(&path, stream).unwrap();
    let Ok(out) = Command::new("ovs-ofctl")
        .arg("ofp-parse")
        .arg(&path)
        .output()
    else {
        eprintln!("SKIPPED: ovs-ofctl is not installed");
        return None;
    };
    let text = String::from_utf8_lossy(&out.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let mut refused = HashMap::new();
    for (i, line) in lines.iter().enumerate() {
        let Some((_, rest)) = line.split_once("decode error: ") else {
            continue;
        };
        let name: String = rest
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        // The dump that follows starts with the header.
        let dump = lines[i..]
            .iter()
            .take(4)
            .find_map(|l| l.strip_prefix("00000000  "));
        let octets: Vec<&str> = dump.unwrap_or("").split([' ', '-']).take(8).collect();
        if let Ok(xid) = u32::from_str_radix(&octets.get(4..8).unwrap_or(&[]).concat(), 16) {
            refused.insert(xid, name);
        }
    }
    Some(refused)
}

/// What Open vSwitch 3.1 lacks of what we can say, and what it would not say itself.
fn lacks(error: &str, said: &str) -> bool {
    let any = |words: &[&str]| words.iter().any(|w| said.contains(w));
    match error {
        // It has neither PBB nor copy-TTL.
        "OFPBAC_BAD_TYPE" => any(&[
            "CopyTtl", "Pbb", // Our action sets hold every output.
            "write: [",
        ]),
        "OFPBAC_BAD_SET_TYPE" => any(&["InPhyPort", "PbbIsid", "Ipv6Exthdr"]),
        "OFPBMC_BAD_FIELD" => any(&["ipv6_exthdr", "pbb_isid"]),
        // An empty table description or table features reply is a message of one octet too few for it.
        "OFPBRC_BAD_LEN" => any(&["TableDesc([])", "TableFeatures([])"]),
        // Counters without instructions (1.5) are not in it.
        "OFPBRC_BAD_STAT" => any(&["FlowCounters"]),
        // It takes OFPFMF_NO_ABBREV for unknown.
        "OFPMOFC_BAD_FLAGS" => any(&["FlowMonitor"]),
        // It wants one bucket of an indirect group to be inserted or removed, even by number.
        "OFPGMFC_INVALID_GROUP" => any(&["Bucket, command_bucket"]) && any(&["kind: Indirect"]),
        // It counts the tags of actions and action set together.
        "OFPBAC_BAD_TAG" => any(&["write: ["]),
        _ => false,
    }
}

#[test]
fn what_we_write_is_understood() {
    let samples = samples(4_000, false);
    let Some(refused) = ask(&samples) else { return };
    for s in &samples {
        assert_eq!(s.ours, Ok(()));
        if let Some(error) = refused.get(&s.xid) {
            assert!(
                lacks(error, &s.said),
                "{error}: {}: {:02x?}",
                s.said,
                s.bytes
            );
        }
    }
}

/// Faults that only we refuse, with the reason.
const STRICTER: &[(&str, &str)] = &[
    (
        "OFPBRC_BAD_LEN",
        "octets after the end of a message are a mistake, not an extension",
    ),
    (
        "OFPSCFC_BAD_FLAGS",
        "ovs-ofctl prints unknown flags; ovs-vswitchd refuses them",
    ),
    ("NXBRC_BAD_REASON", "ovs-ofctl prints unknown reasons"),
    (
        "NXBRC_MUST_BE_ZERO",
        "checked by ovs-vswitchd, not by its decoder",
    ),
    (
        "OFPPMFC_BAD_CONFIG",
        "unknown bits are to be refused (OpenFlow 1.4 section 7.5.4.8)",
    ),
    ("OFPTMFC_BAD_CONFIG", "likewise (section 7.5.4.9)"),
    ("OFPACFC_INVALID", "likewise (section 7.5.4.16)"),
    ("OFPMMFC_BAD_FLAGS", "likewise (section 7.5.4.13)"),
    ("OFPMMFC_BAD_BAND", "ovs-ofctl prints unknown bands"),
    (
        "OFPMMFC_INVALID_METER",
        "checked by ovs-vswitchd, not by its decoder",
    ),
    ("OFPGMFC_INVALID_GROUP", "likewise"),
    ("OFPGMFC_BAD_TYPE", "in a description that ovs-ofctl prints"),
    (
        "OFPBFC_BAD_TYPE",
        "ovs-ofctl prints unknown bundle commands",
    ),
    ("OFPBFC_BAD_FLAGS", "likewise flags"),
    (
        "OFPBPC_BAD_TYPE",
        "ovs-ofctl skips properties that it does not know",
    ),
    ("OFPBPC_BAD_EXPERIMENTER", "likewise"),
    (
        "OFPBPC_BAD_VALUE",
        "ovs-ofctl prints odd eviction flags and vacancies",
    ),
    ("OFPBRC_BAD_PORT", "reserved numbers that name no port"),
    ("OFPBRC_EPERM", "formats that nobody defined"),
    (
        "OFPBMC_BAD_FIELD",
        "in packet-ins ovs-ofctl skips unknown fields",
    ),
    ("OFPBMC_BAD_LEN", "likewise"),
    ("OFPBMC_BAD_PREREQ", "likewise"),
    (
        "OFPBMC_BAD_WILDCARDS",
        "it ignores unknown wildcards of 1.1 (section A.2.3)",
    ),
    ("OFPBMC_BAD_VALUE", "likewise"),
    (
        "OFPBAC_BAD_ARGUMENT",
        "unknown packet-in reasons, reserved octets of bundle",
    ),
    (
        "OFPBAC_BAD_SET_LEN",
        "learn of more bits than the field has: it finds out later",
    ),
    ("OFPBAC_BAD_SET_TYPE", "likewise"),
    (
        "NXTTMFC_BAD_OPT_LEN",
        "checked by ovs-vswitchd, not by its decoder",
    ),
    ("NXTTMFC_BAD_FIELD_IDX", "likewise"),
    (
        "OFPFMFC_BAD_COMMAND",
        "ovs-ofctl reads a table id in any command of 1.0",
    ),
];

/// Faults that only `ovs-ofctl` refuses, with the reason, besides what it [`lacks`].
const LAXER: &[(&str, &str)] = &[
    (
        "NXTTMFC_BAD_OPT_LEN",
        "maps in a reply are the switch's own",
    ),
    ("NXTTMFC_BAD_FIELD_IDX", "likewise"),
    ("OFPBPC_BAD_LEN", "a continuation is opaque"),
    (
        "OFPGMFC_INVALID_GROUP",
        "the one bucket of an indirect group cannot be removed: the group knows",
    ),
    (
        "OFPBRC_BAD_LEN",
        "lengths of 1.5's meter features, monitors and padding",
    ),
    ("OFPBMC_BAD_LEN", "padding of OXS"),
];

#[test]
fn we_refuse_what_it_refuses() {
    let samples = samples(20_000, true);
    let Some(refused) = ask(&samples) else { return };
    let mut odd: BTreeMap<(String, String), &Sample> = BTreeMap::new();
    let (mut both, mut same) = (0, 0);
    for s in &samples {
        match (&s.ours, refused.get(&s.xid)) {
            (Ok(()), None) => {}
            (Err(a), Some(b)) => {
                both += 1;
                same += u32::from(a == b);
            }
            (Err(a), None) if STRICTER.iter().any(|(e, _)| e == a) => {}
            (Ok(()), Some(b)) if LAXER.iter().any(|(e, _)| e == b) || lacks(b, &s.said) => {}
            // A mutation may turn an action or field into one that it lacks.
            (Ok(()), Some(b)) if b.starts_with("OFPBAC_BAD_TYPE") || b.ends_with("FIELD") => {}
            (Ok(()), Some(b)) if b == "OFPBAC_BAD_SET_TYPE" => {}
            (ours, theirs) => {
                let key = (format!("{ours:?}"), format!("{theirs:?}"));
                odd.insert(key, s);
            }
        }
    }
    for ((ours, theirs), s) in &odd {
        eprintln!("{ours} but {theirs}: {}: {:02x?}", s.said, s.bytes);
    }
    assert!(odd.is_empty(), "{} kinds of differences", odd.len());
    // Of a message with two faults each may name another first.
    assert!(
        same * 100 >= both * 85,
        "{same} of {both} with the same error"
    );
}

/// A flow-mod as `ovs-ofctl` prints it, from the match on.
fn as_printed(m: &super::FlowMod, version: crate::Version) -> (String, String) {
    let words = crate::text::Words::new(version);
    let priority = match m.priority {
        0x8000 => String::new(),
        p => format!("priority={p}"),
    };
    let matching = m.matching.to_string();
    let comma = if priority.is_empty() || matching.is_empty() {
        ""
    } else {
        ","
    };
    (
        format!("{priority}{comma}{matching}"),
        words.instructions(&m.instructions).to_string(),
    )
}

/// What it prints of such actions is its own affair.
fn prints_otherwise(actions: &str) -> bool {
    // A wide load is printed as two, an odd mask of set_field as several loads.
    actions.contains("XXREG")
}

#[test]
fn flows_are_printed_as_it_prints_them() {
    let mut flows = Vec::new();
    for s in samples(12_000, false) {
        let version = crate::Version::from_wire(s.bytes[0]).unwrap();
        if let Ok((_, Message::FlowMod(m))) = Dialect::new(version).decode(&s.bytes) {
            flows.push((s, as_printed(&m, version)));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stream");
    let stream: Vec<u8> = flows.iter().flat_map(|(s, _)| s.bytes.clone()).collect();
    std::fs::write(&path, stream).unwrap();
    let Ok(out) = Command::new("ovs-ofctl")
        .arg("ofp-parse")
        .arg(&path)
        .output()
    else {
        eprintln!("SKIPPED: ovs-ofctl is not installed");
        return;
    };
    let text = String::from_utf8_lossy(&out.stdout);
    let lines: HashMap<u32, &str> = text
        .lines()
        .filter_map(|l| {
            let (_, rest) = l.split_once("(xid=0x")?;
            let (xid, rest) = rest.split_once("): ")?;
            Some((u32::from_str_radix(xid, 16).ok()?, rest))
        })
        .collect();
    let mut bad = 0;
    let mut compared = 0;
    for (s, (rule, actions)) in &flows {
        let Some(line) = lines.get(&s.xid).filter(|l| !l.contains("decode error")) else {
            continue;
        };
        let (head, printed) = line.split_once("actions=").unwrap();
        if prints_otherwise(actions) {
            continue;
        }
        compared += 1;
        // The match of 1.1 knows nothing of IPv6; we keep what is the same there.
        let of11 = s.bytes[0] == crate::Version::Of11.wire();
        let head_has_rule = rule.is_empty() || head.contains(&format!(" {rule} "));
        if !head_has_rule && !(of11 && rule.contains("6")) { println!("{head}\n   {rule}"); bad += 1; }
        if printed != actions { bad += 1; println!("{printed}\n    {actions}"); }
    }
    assert!(bad == 0);
    assert!(compared > 500, "{compared}");
}
