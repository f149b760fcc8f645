//! Who steers the switch: controllers, fail mode, managers, TLS; and `emer-reset`, which takes all that away.

use rvs_ovsdb::value::{Atom, Datum};
use rvs_ovsdb::Uuid;

use super::draft::Draft;
use super::tree;
use crate::failure::Failure;

const KINDS: [&str; 6] = ["tcp:", "ssl:", "unix:", "ptcp:", "pssl:", "punix:"];

/// Rows of `table` for these targets.
fn rows_for(
    draft: &mut Draft<'_>,
    table: &str,
    targets: &[String],
    probe: Option<i64>,
) -> Result<Vec<Uuid>, Failure> {
    let strange = |t: &&String| !KINDS.iter().any(|k| t.starts_with(k));
    if let Some(bad) = targets.iter().find(strange) {
        return Err(Failure::Usage(format!(
            "\"{bad}\" is no {}: it begins with one of {}",
            table.to_lowercase(),
            KINDS.join(" ")
        )));
    }
    let mut rows = Vec::new();
    for target in targets {
        let row = draft.insert(table);
        draft.set(table, row, "target", Datum::scalar(target.as_str()));
        if let Some(probe) = probe {
            draft.set(table, row, "inactivity_probe", Datum::scalar(probe));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Targets of rows, ascending.
fn targets(draft: &Draft<'_>, table: &str, rows: Vec<Uuid>) -> Vec<String> {
    let texts = rows.into_iter().map(|r| draft.text(table, r, "target"));
    let mut texts: Vec<String> = texts.collect();
    texts.sort();
    texts
}

/// Replaces the rows that a set column refers to.
fn replace(
    draft: &mut Draft<'_>,
    (table, row, column): (&str, Uuid, &str),
    of: &str,
    new: Vec<Uuid>,
) {
    for old in draft.refs(table, row, column) {
        draft.delete(of, old);
    }
    draft.set(table, row, column, Datum::set(new));
}

pub fn set_controllers(
    draft: &mut Draft<'_>,
    bridge: &str,
    targets: &[String],
    probe: Option<i64>,
) -> Result<(), Failure> {
    let row = tree::real_bridge(draft, bridge)?;
    let new = rows_for(draft, "Controller", targets, probe)?;
    replace(draft, ("Bridge", row, "controller"), "Controller", new);
    Ok(())
}

/// Targets of the controllers of a bridge, or of its parent.
pub fn controllers(draft: &Draft<'_>, bridge: &str) -> Result<Vec<String>, Failure> {
    let row = tree::bridge(draft, bridge)?.row;
    let rows = draft.refs("Bridge", row, "controller");
    Ok(targets(draft, "Controller", rows))
}

/// What the bridge does without a controller, if it was said.
pub fn fail_mode(draft: &Draft<'_>, bridge: &str) -> Result<Option<String>, Failure> {
    let row = tree::bridge(draft, bridge)?.row;
    Ok(Some(draft.text("Bridge", row, "fail_mode")).filter(|m| !m.is_empty()))
}

pub fn set_fail_mode(
    draft: &mut Draft<'_>,
    bridge: &str,
    mode: Option<&str>,
) -> Result<(), Failure> {
    let row = tree::real_bridge(draft, bridge)?;
    if let Some(bad) = mode.filter(|m| !matches!(*m, "standalone" | "secure")) {
        return Err(Failure::Usage(format!(
            "fail mode \"{bad}\" is neither standalone nor secure"
        )));
    }
    draft.set("Bridge", row, "fail_mode", Datum::optional(mode));
    Ok(())
}

pub fn set_managers(
    draft: &mut Draft<'_>,
    targets: &[String],
    probe: Option<i64>,
) -> Result<(), Failure> {
    let root = draft.root()?;
    let new = rows_for(draft, "Manager", targets, probe)?;
    replace(
        draft,
        ("Open_vSwitch", root, "manager_options"),
        "Manager",
        new,
    );
    Ok(())
}

pub fn managers(draft: &Draft<'_>) -> Result<Vec<String>, Failure> {
    let root = draft.root()?;
    let rows = draft.refs("Open_vSwitch", root, "manager_options");
    Ok(targets(draft, "Manager", rows))
}

/// The files of TLS.
pub struct Tls<'a> {
    pub private_key: &'a str,
    pub certificate: &'a str,
    pub ca_cert: &'a str,
    pub bootstrap: bool,
}

pub fn set_tls(draft: &mut Draft<'_>, tls: Option<&Tls<'_>>) -> Result<(), Failure> {
    let root = draft.root()?;
    let mut new = Vec::new();
    if let Some(tls) = tls {
        let row = draft.insert("SSL");
        for (column, file) in [
            ("private_key", tls.private_key),
            ("certificate", tls.certificate),
            ("ca_cert", tls.ca_cert),
        ] {
            draft.set("SSL", row, column, Datum::scalar(file));
        }
        draft.set(
            "SSL",
            row,
            "bootstrap_ca_cert",
            Datum::scalar(tls.bootstrap),
        );
        new.push(row);
    }
    replace(draft, ("Open_vSwitch", root, "ssl"), "SSL", new);
    Ok(())
}

pub fn tls(draft: &Draft<'_>) -> Result<Vec<String>, Failure> {
    let root = draft.root()?;
    let Some(row) = draft.refs("Open_vSwitch", root, "ssl").first().copied() else {
        return Ok(Vec::new());
    };
    let file = |column: &str| draft.text("SSL", row, column);
    let bootstrap = draft.flag("SSL", row, "bootstrap_ca_cert");
    Ok(vec![
        format!("Private key: {}", file("private_key")),
        format!("Certificate: {}", file("certificate")),
        format!("CA Certificate: {}", file("ca_cert")),
        format!("Bootstrap: {bootstrap}"),
    ])
}

/// A clean state: nobody steers, nothing is copied or exported, no special settings; bridges and ports stay.
pub fn emergency_reset(draft: &mut Draft<'_>) -> Result<(), Failure> {
    set_managers(draft, &[], None)?;
    set_tls(draft, None)?;
    for bridge in draft.rows("Bridge") {
        for (column, table) in [
            ("controller", "Controller"),
            ("mirrors", "Mirror"),
            ("netflow", "NetFlow"),
            ("sflow", "sFlow"),
            ("ipfix", "IPFIX"),
        ] {
            replace(draft, ("Bridge", bridge, column), table, Vec::new());
        }
        draft.set("Bridge", bridge, "fail_mode", Datum::empty_set());
        draft.set("Bridge", bridge, "flood_vlans", Datum::empty_set());
        // The bridge keeps its address.
        let kept = draft.get("Bridge", bridge, "other_config");
        let kept = kept
            .pairs()
            .iter()
            .filter(|(k, _)| k.as_str() == Some("hwaddr"));
        let kept: Vec<(Atom, Atom)> = kept.cloned().collect();
        draft.set("Bridge", bridge, "other_config", Datum::map(kept));
    }
    for port in draft.rows("Port") {
        draft.set("Port", port, "other_config", Datum::empty_map());
    }
    for iface in draft.rows("Interface") {
        for column in ["ingress_policing_rate", "ingress_policing_burst"] {
            draft.set("Interface", iface, column, Datum::scalar(0i64));
        }
    }
    Ok(())
}
