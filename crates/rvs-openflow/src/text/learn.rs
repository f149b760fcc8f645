//! `learn(...)`, printed and read.

use std::fmt;

use rvs_flow::field::Field;
use rvs_flow::SubField;

use super::action::Hex;
use super::parse::{any_number, number};
use super::{ParseError, Words};
use crate::model::{Action, Learn, LearnDst, LearnSpec, LearnSrc, TableId};

const DEFAULT_PRIORITY: u16 = 0x8000;

pub(super) fn fmt(f: &mut fmt::Formatter<'_>, l: &Learn, w: &Words<'_>) -> fmt::Result {
    write!(f, "learn(table={}", l.table.0)?;
    for (name, seconds) in [
        ("idle_timeout", l.idle_timeout),
        ("hard_timeout", l.hard_timeout),
        ("fin_idle_timeout", l.fin_idle_timeout),
        ("fin_hard_timeout", l.fin_hard_timeout),
    ] {
        if seconds != 0 {
            write!(f, ",{name}={seconds}")?;
        }
    }
    if l.priority != DEFAULT_PRIORITY {
        write!(f, ",priority={}", l.priority)?;
    }
    if l.send_flow_removed {
        f.write_str(",send_flow_rem")?;
    }
    if l.delete_learned {
        f.write_str(",delete_learned")?;
    }
    if l.cookie != 0 {
        write!(f, ",cookie={:#x}", l.cookie)?;
    }
    if l.limit != 0 {
        write!(f, ",limit={}", l.limit)?;
    }
    if let Some(s) = &l.result {
        write!(f, ",result_dst={s}")?;
    }
    for spec in &l.specs {
        f.write_str(",")?;
        fmt_spec(f, spec, w)?;
    }
    f.write_str(")")
}

fn fmt_spec(f: &mut fmt::Formatter<'_>, spec: &LearnSpec, w: &Words<'_>) -> fmt::Result {
    match (&spec.src, &spec.dst) {
        (LearnSrc::Value(v), LearnDst::Match(dst)) if dst.is_whole() => {
            let field = dst.field();
            let value = field.display(*v, field.match_mask(), w.ports);
            write!(f, "{field}={value}")
        }
        (LearnSrc::Value(v), LearnDst::Match(dst)) => write!(f, "{dst}={}", Hex(*v)),
        (LearnSrc::Field(src), LearnDst::Match(dst)) if src == dst => write!(f, "{dst}"),
        (LearnSrc::Field(src), LearnDst::Match(dst)) => write!(f, "{dst}={src}"),
        (LearnSrc::Value(v), LearnDst::Load(dst)) => write!(f, "load:{}->{dst}", Hex(*v)),
        (LearnSrc::Field(src), LearnDst::Load(dst)) => write!(f, "load:{src}->{dst}"),
        (LearnSrc::Field(src), LearnDst::Output) => write!(f, "output:{src}"),
        (LearnSrc::Value(v), LearnDst::Output) => write!(f, "output:{v}"),
    }
}

/// After `learn`: terms in parentheses.
pub(super) fn parse(value: Option<&str>, w: &Words<'_>) -> Result<Action, ParseError> {
    let inner = value
        .and_then(|v| v.strip_prefix('('))
        .and_then(|v| v.strip_suffix(')'))
        .unwrap_or("");
    let mut l = Learn {
        table: TableId(1),
        priority: DEFAULT_PRIORITY,
        cookie: 0,
        idle_timeout: 0,
        hard_timeout: 0,
        fin_idle_timeout: 0,
        fin_hard_timeout: 0,
        send_flow_removed: false,
        delete_learned: false,
        limit: 0,
        result: None,
        specs: Box::new([]),
    };
    let mut specs = Vec::new();
    for term in rvs_flow::matching::terms(inner) {
        let (key, value) = term?;
        if !setting(&mut l, key, value)? {
            specs.push(parse_spec(key, value, w)?);
        }
    }
    if l.table == TableId::ALL {
        return Err(ParseError::new("learn: table 255 is no table"));
    }
    l.specs = specs.into();
    Ok(Action::Learn(Box::new(l)))
}

/// Takes a term that is no specification.
fn setting(l: &mut Learn, key: &str, value: Option<&str>) -> Result<bool, ParseError> {
    let given = || value.ok_or_else(|| ParseError(format!("learn: {key} needs a value")));
    match key {
        "table" => l.table = TableId(number(given()?, key)?),
        "priority" => l.priority = number(given()?, key)?,
        "idle_timeout" => l.idle_timeout = number(given()?, key)?,
        "hard_timeout" => l.hard_timeout = number(given()?, key)?,
        "fin_idle_timeout" => l.fin_idle_timeout = number(given()?, key)?,
        "fin_hard_timeout" => l.fin_hard_timeout = number(given()?, key)?,
        "cookie" => l.cookie = number(given()?, key)?,
        "limit" => l.limit = number(given()?, key)?,
        "send_flow_rem" => l.send_flow_removed = true,
        "delete_learned" => l.delete_learned = true,
        "result_dst" => {
            let dst: SubField = given()?.parse()?;
            if dst.bits() != 1 {
                return Err(ParseError(format!(
                    "learn: result_dst {dst} is not one bit"
                )));
            }
            l.result = Some(dst);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn parse_spec(key: &str, value: Option<&str>, w: &Words<'_>) -> Result<LearnSpec, ParseError> {
    let given = || value.ok_or_else(|| ParseError(format!("learn: {key} needs a value")));
    match key {
        "load" => {
            let (src, dst) = given()?.split_once("->").ok_or_else(|| {
                ParseError::new("learn: load is written load:source->destination")
            })?;
            let dst: SubField = dst.parse()?;
            let src = source(src, &dst)?;
            Ok(LearnSpec {
                src,
                dst: LearnDst::Load(dst),
            })
        }
        "output" => Ok(LearnSpec {
            src: LearnSrc::Field(given()?.parse()?),
            dst: LearnDst::Output,
        }),
        _ => parse_match(key, value, w),
    }
}

/// `field=value`, `field=field[bits]`, `field[bits]=...`, or `field[bits]` alone.
fn parse_match(key: &str, value: Option<&str>, w: &Words<'_>) -> Result<LearnSpec, ParseError> {
    let dst: SubField = key.parse()?;
    let src = match value {
        None => LearnSrc::Field(dst),
        Some(text) => match whole_value(&dst, text, w) {
            Some(v) => LearnSrc::Value(v),
            None => source(text, &dst)?,
        },
    };
    Ok(LearnSpec {
        src,
        dst: LearnDst::Match(dst),
    })
}

/// A value in the field's own format, if the whole field is meant.
fn whole_value(dst: &SubField, text: &str, w: &Words<'_>) -> Option<u128> {
    let field: &Field = dst.field();
    let (value, mask) = field.parse_value(text, w.ports).ok()?;
    (dst.is_whole() && mask == field.match_mask()).then_some(value)
}

/// A number, or as many bits of a field.
fn source(text: &str, dst: &SubField) -> Result<LearnSrc, ParseError> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let v = any_number(text, "learn")?;
        if dst.bits() < 128 && v >> dst.bits() != 0 {
            return Err(ParseError(format!(
                "learn: {text} does not fit the bits of {dst}"
            )));
        }
        return Ok(LearnSrc::Value(v));
    }
    let src: SubField = text.parse()?;
    if src.bits() != dst.bits() {
        return Err(ParseError(format!(
            "learn: {src} has {} bits, {dst} has {}",
            src.bits(),
            dst.bits()
        )));
    }
    Ok(LearnSrc::Field(src))
}
