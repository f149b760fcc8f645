//! `multipath`, `bundle` and `bundle_load`, printed and read.

use std::fmt;

use super::parse::number;
use super::{ParseError, Words};
use crate::model::{
    Action, BundleAction, BundleAlgorithm, HashFields, Multipath, MultipathAlgorithm,
};

const FIELDS: [(&str, HashFields); 7] = [
    ("eth_src", HashFields::EthSrc),
    ("symmetric_l4", HashFields::SymmetricL4),
    ("symmetric_l3l4", HashFields::SymmetricL3L4),
    ("symmetric_l3l4+udp", HashFields::SymmetricL3L4Udp),
    ("nw_src", HashFields::NwSrc),
    ("nw_dst", HashFields::NwDst),
    ("symmetric_l3", HashFields::SymmetricL3),
];

const MULTIPATH: [(&str, MultipathAlgorithm); 4] = [
    ("modulo_n", MultipathAlgorithm::ModuloN),
    ("hash_threshold", MultipathAlgorithm::HashThreshold),
    ("hrw", MultipathAlgorithm::Hrw),
    ("iter_hash", MultipathAlgorithm::IterHash),
];

const BUNDLE: [(&str, BundleAlgorithm); 2] = [
    ("active_backup", BundleAlgorithm::ActiveBackup),
    ("hrw", BundleAlgorithm::Hrw),
];

fn name_of<T: PartialEq>(table: &[(&'static str, T)], v: &T) -> &'static str {
    table.iter().find(|(_, t)| t == v).map_or("", |(n, _)| n)
}

fn by_name<T: Copy>(table: &[(&str, T)], name: &str, what: &str) -> Result<T, ParseError> {
    let found = table.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    found.ok_or_else(|| {
        let names: Vec<&str> = table.iter().map(|(n, _)| *n).collect();
        ParseError(format!(
            "{name} is not {what}; known are {}",
            names.join(", ")
        ))
    })
}

pub(super) fn fmt_multipath(f: &mut fmt::Formatter<'_>, m: &Multipath) -> fmt::Result {
    write!(
        f,
        "multipath({},{},{},{},{},{})",
        name_of(&FIELDS, &m.fields),
        m.basis,
        name_of(&MULTIPATH, &m.algorithm),
        u32::from(m.max_link) + 1,
        m.arg,
        m.dst
    )
}

pub(super) fn fmt_bundle(
    f: &mut fmt::Formatter<'_>,
    b: &BundleAction,
    w: &Words<'_>,
) -> fmt::Result {
    let load = if b.dst.is_some() { "_load" } else { "" };
    write!(
        f,
        "bundle{load}({},{},{},ofport,",
        name_of(&FIELDS, &b.fields),
        b.basis,
        name_of(&BUNDLE, &b.algorithm),
    )?;
    if let Some(dst) = &b.dst {
        write!(f, "{dst},")?;
    }
    let members: Vec<String> = b.members.iter().map(|m| w.port(*m).to_string()).collect();
    write!(f, "members:{})", members.join(","))
}

/// The arguments in parentheses, which are separated by commas or white space.
fn arguments<'t>(value: Option<&'t str>, what: &str) -> Result<Vec<&'t str>, ParseError> {
    let inner = value
        .and_then(|v| v.strip_prefix('('))
        .and_then(|v| v.strip_suffix(')'))
        .ok_or_else(|| ParseError(format!("{what} needs arguments in parentheses")))?;
    Ok(inner
        .split([',', ' ', '\t'])
        .map(str::trim)
        .filter(|a| !a.is_empty())
        .collect())
}

pub(super) fn parse_multipath(value: Option<&str>) -> Result<Action, ParseError> {
    let args = arguments(value, "multipath")?;
    let [fields, basis, algorithm, n_links, arg, dst] = args[..] else {
        return Err(ParseError::new(
            "multipath takes (fields, basis, algorithm, n_links, arg, destination)",
        ));
    };
    let n: u32 = number(n_links, "n_links")?;
    let max_link = n
        .checked_sub(1)
        .and_then(|n| u16::try_from(n).ok())
        .ok_or_else(|| ParseError(format!("n_links {n} is not 1 to 65536")))?;
    let dst: rvs_flow::SubField = dst.parse()?;
    if u32::from(max_link) >> dst.bits().min(31) != 0 {
        return Err(ParseError(format!("{dst} is too narrow for {n} links")));
    }
    Ok(Action::Multipath(Box::new(Multipath {
        fields: by_name(&FIELDS, fields, "a set of hashed fields")?,
        basis: number(basis, "basis")?,
        algorithm: by_name(&MULTIPATH, algorithm, "a multipath algorithm")?,
        max_link,
        arg: number(arg, "arg")?,
        dst,
    })))
}

pub(super) fn parse_bundle(
    value: Option<&str>,
    load: bool,
    w: &Words<'_>,
) -> Result<Action, ParseError> {
    let usage = || {
        let dst = if load { " destination," } else { "" };
        ParseError(format!(
            "bundle takes (fields, basis, algorithm, ofport,{dst} members:port,...)"
        ))
    };
    let args = arguments(value, "bundle")?;
    let (&[fields, basis, algorithm, kind], rest) =
        args.split_first_chunk::<4>().ok_or_else(usage)?;
    if kind != "ofport" {
        return Err(ParseError(format!(
            "members of a bundle are of type ofport, not {kind}"
        )));
    }
    let (dst, rest) = match rest {
        [dst, rest @ ..] if load => (Some(dst.parse::<rvs_flow::SubField>()?), rest),
        _ if load => return Err(usage()),
        _ => (None, rest),
    };
    let mut members = Vec::new();
    for (i, text) in rest.iter().enumerate() {
        let text = match i {
            // Older words for the same.
            0 => ["members:", "slaves:"]
                .iter()
                .find_map(|p| text.strip_prefix(p))
                .ok_or_else(usage)?,
            _ => text,
        };
        if !text.is_empty() {
            members.push(w.parse_port(text)?);
        }
    }
    Ok(Action::Bundle(Box::new(BundleAction {
        algorithm: by_name(&BUNDLE, algorithm, "a bundle algorithm")?,
        fields: by_name(&FIELDS, fields, "a set of hashed fields")?,
        basis: number(basis, "basis")?,
        members: members.into(),
        dst,
    })))
}
