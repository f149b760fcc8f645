//! Settings that hang on a bridge or a datapath as maps: Auto Attach and the timeouts of conntrack zones.

use rvs_ovsdb::value::{Atom, Datum};
use rvs_ovsdb::Uuid;

use super::draft::Draft;
use super::tree;
use crate::failure::Failure;

/// Adds or removes a mapping of an I-SID to a VLAN.
pub fn set_mapping(
    draft: &mut Draft<'_>,
    bridge: &str,
    (i_sid, vlan): (i64, i64),
    present: bool,
) -> Result<(), Failure> {
    let bridge = tree::real_bridge(draft, bridge)?;
    let row = match draft.refs("Bridge", bridge, "auto_attach").first() {
        Some(row) => *row,
        None if !present => return Ok(()),
        None => {
            let row = draft.insert("AutoAttach");
            draft.set("Bridge", bridge, "auto_attach", Datum::scalar(row));
            row
        }
    };
    let pair = (Atom::Integer(i_sid), Atom::Integer(vlan));
    let all = draft.get("AutoAttach", row, "mappings");
    let mut pairs: Vec<(Atom, Atom)> = all.pairs().to_vec();
    match present {
        true => {
            pairs.retain(|(k, _)| *k != pair.0);
            pairs.push(pair);
        }
        false => pairs.retain(|p| *p != pair),
    }
    draft.set("AutoAttach", row, "mappings", Datum::map(pairs));
    Ok(())
}

pub fn mappings(draft: &Draft<'_>, bridge: &str) -> Result<Vec<String>, Failure> {
    let bridge = tree::real_bridge(draft, bridge)?;
    let Some(row) = draft.refs("Bridge", bridge, "auto_attach").first().copied() else {
        return Ok(Vec::new());
    };
    let all = draft.get("AutoAttach", row, "mappings");
    Ok(all
        .pairs()
        .iter()
        .map(|(i, v)| format!("{i} {v}"))
        .collect())
}

fn datapath(draft: &Draft<'_>, name: &str) -> Result<Uuid, Failure> {
    let all = draft.get("Open_vSwitch", draft.root()?, "datapaths");
    let row = all.value_of(&Atom::from(name)).and_then(Atom::as_uuid);
    row.ok_or_else(|| {
        let names = all.keys().filter_map(Atom::as_str).map(str::to_owned);
        Failure::Refused(format!(
            "no datapath named {name} (datapaths: {})",
            tree::known(names.collect())
        ))
    })
}

/// `zone=N`.
fn zone_number(text: &str) -> Result<i64, Failure> {
    let number = text.strip_prefix("zone=").and_then(|n| n.parse().ok());
    number
        .filter(|n| (0..=65_535).contains(n))
        .ok_or_else(|| Failure::Usage(format!("\"{text}\" is not zone=N with N from 0 to 65535")))
}

/// Sets timeouts of a zone.
pub fn set_timeouts(
    draft: &mut Draft<'_>,
    name: &str,
    zone: &str,
    policies: &[String],
    may_exist: bool,
) -> Result<(), Failure> {
    let number = zone_number(zone)?;
    let datapath = datapath(draft, name)?;
    let mut zones = draft.get("Datapath", datapath, "ct_zones");
    let key = Atom::Integer(number);
    let there = zones.value_of(&key).and_then(Atom::as_uuid);
    if there.is_some() && !may_exist {
        return Err(Failure::Refused(format!(
            "datapath {name} has timeouts for zone {number} already"
        )));
    }
    let mut timeouts = Vec::new();
    for text in policies {
        let parsed = text
            .split_once('=')
            .and_then(|(k, v)| Some((k, v.parse::<i64>().ok()?)));
        let Some((key, seconds)) = parsed else {
            return Err(Failure::Usage(format!("\"{text}\" is not KEY=SECS")));
        };
        timeouts.push((Atom::from(key), Atom::Integer(seconds)));
    }
    let policy = draft.insert("CT_Timeout_Policy");
    draft.set(
        "CT_Timeout_Policy",
        policy,
        "timeouts",
        Datum::map(timeouts),
    );
    let row = match there {
        Some(row) => row,
        None => {
            let row = draft.insert("CT_Zone");
            zones.insert_all(&Datum::map([(key, Atom::Uuid(row))]));
            draft.set("Datapath", datapath, "ct_zones", zones);
            row
        }
    };
    draft.set("CT_Zone", row, "timeout_policy", Datum::scalar(policy));
    Ok(())
}

pub fn delete_timeouts(
    draft: &mut Draft<'_>,
    name: &str,
    zone: &str,
    if_exists: bool,
) -> Result<(), Failure> {
    let number = zone_number(zone)?;
    let datapath = datapath(draft, name)?;
    let zones = draft.get("Datapath", datapath, "ct_zones");
    let key = Atom::Integer(number);
    if !zones.contains_key(&key) && !if_exists {
        return Err(Failure::Refused(format!(
            "datapath {name} has no timeouts for zone {number}"
        )));
    }
    let kept = zones.pairs().iter().filter(|(k, _)| *k != key).cloned();
    draft.set("Datapath", datapath, "ct_zones", Datum::map(kept));
    Ok(())
}

pub fn timeouts(draft: &Draft<'_>, name: &str) -> Result<Vec<String>, Failure> {
    let datapath = datapath(draft, name)?;
    let zones = draft.get("Datapath", datapath, "ct_zones");
    let line = |(number, row): &(Atom, Atom)| {
        let row = row.as_uuid()?;
        let policy = draft
            .refs("CT_Zone", row, "timeout_policy")
            .first()
            .copied()?;
        let timeouts = draft.get("CT_Timeout_Policy", policy, "timeouts");
        Some(format!(
            "Zone:{number}, Timeout Policies: {}",
            words(&timeouts)
        ))
    };
    Ok(zones.pairs().iter().filter_map(line).collect())
}

pub fn capabilities(draft: &Draft<'_>, name: &str) -> Result<String, Failure> {
    let datapath = datapath(draft, name)?;
    Ok(words(&draft.get("Datapath", datapath, "capabilities")))
}

/// `key=value` of a map, with spaces between.
fn words(map: &Datum) -> String {
    let plain = |a: &Atom| a.as_str().map_or_else(|| a.to_string(), str::to_owned);
    let words = map
        .pairs()
        .iter()
        .map(|(k, v)| format!("{}={}", plain(k), plain(v)));
    words.collect::<Vec<_>>().join(" ")
}
