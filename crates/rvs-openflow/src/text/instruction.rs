//! All that a flow does: instructions and actions in one list, as Open vSwitch writes them.

use std::fmt;
use std::time::Duration;

use super::action::{Hex, List};
use super::parse::{any_number, number, parse_action};
use super::{ParseError, Words};
use crate::action::check_meter;
use crate::model::{Action, Instructions, MetadataWrite, MeterId, StatTrigger, TableId, Threshold};

pub(super) struct All<'t> {
    pub(super) instructions: &'t Instructions,
    pub(super) words: Words<'t>,
}

impl fmt::Display for All<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (i, words) = (self.instructions, self.words);
        if i.is_empty() {
            return f.write_str("drop");
        }
        let mut comma = "";
        let mut term = |f: &mut fmt::Formatter<'_>, t: fmt::Arguments<'_>| {
            f.write_str(std::mem::replace(&mut comma, ","))?;
            f.write_fmt(t)
        };
        if let Some(m) = i.meter {
            term(f, format_args!("meter:{}", m.0))?;
        }
        if !i.apply.is_empty() {
            term(
                f,
                format_args!(
                    "{}",
                    List {
                        list: &i.apply,
                        words
                    }
                ),
            )?;
        }
        if i.clear {
            term(f, format_args!("clear_actions"))?;
        }
        if !i.write.is_empty() {
            let list = List {
                list: &i.write,
                words,
            };
            term(f, format_args!("write_actions({list})"))?;
        }
        if let Some(m) = &i.metadata {
            let value = Hex(m.value.into());
            if m.mask == u64::MAX {
                term(f, format_args!("write_metadata:{value}"))?;
            } else {
                term(
                    f,
                    format_args!("write_metadata:{value}/{}", Hex(m.mask.into())),
                )?;
            }
        }
        if let Some(t) = &i.stat_trigger {
            term(f, format_args!("stat_trigger({t})"))?;
        }
        if let Some(t) = i.goto {
            term(f, format_args!("goto_table:{}", t.0))?;
        }
        Ok(())
    }
}

/// Where in the order of execution an instruction stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Meter,
    Apply,
    Clear,
    Write,
    Metadata,
    StatTrigger,
    Goto,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Meter => "meter",
            Self::Apply => "actions",
            Self::Clear => "clear_actions",
            Self::Write => "write_actions",
            Self::Metadata => "write_metadata",
            Self::StatTrigger => "stat_trigger",
            Self::Goto => "goto_table",
        }
    }

    fn of(key: &str, first: bool) -> Self {
        match key {
            "meter" if first => Self::Meter,
            "clear_actions" => Self::Clear,
            "write_actions" => Self::Write,
            "write_metadata" => Self::Metadata,
            "stat_trigger" => Self::StatTrigger,
            "goto_table" => Self::Goto,
            _ => Self::Apply,
        }
    }
}

/// Reads what stands after `actions=`.
pub(super) fn parse(text: &str, w: &Words<'_>) -> Result<Instructions, ParseError> {
    let mut out = Instructions::default();
    let mut apply = Vec::new();
    let mut last = None;
    let (mut dropped, mut others) = (false, false);
    for term in rvs_flow::matching::terms(text) {
        let (key, value) = term?;
        if key.eq_ignore_ascii_case("drop") && value.is_none() {
            dropped = true;
            continue;
        }
        let stage = Stage::of(key, !others);
        others = true;
        if last.is_some_and(|l| stage < l || stage == l && stage != Stage::Apply) {
            let last = last.map_or("", Stage::name);
            return Err(ParseError(format!(
                "{} after {last}: the order is meter, actions, clear_actions, write_actions, write_metadata, stat_trigger, goto_table",
                stage.name()
            )));
        }
        last = Some(stage);
        let given = || value.ok_or_else(|| ParseError(format!("{key} needs a value")));
        match stage {
            Stage::Meter => {
                let id = number(given()?, key)?;
                check_meter(id).map_err(|e| ParseError(e.why.into_owned()))?;
                out.meter = Some(MeterId(id));
            }
            Stage::Apply => apply.push(parse_action(key, value, w)?),
            Stage::Clear => out.clear = true,
            Stage::Write => out.write = parse_set(given()?, w)?.into(),
            Stage::Metadata => out.metadata = Some(Box::new(parse_metadata(given()?)?)),
            Stage::StatTrigger => {
                out.stat_trigger = Some(Box::new(parse_stat_trigger(given()?)?));
            }
            Stage::Goto => out.goto = Some(TableId(number(given()?, key)?)),
        }
    }
    if dropped && others {
        return Err(ParseError::new(
            "drop stands alone; leave it out or the other actions",
        ));
    }
    out.apply = apply.into();
    Ok(out)
}

fn parse_set(value: &str, w: &Words<'_>) -> Result<Vec<Action>, ParseError> {
    let inner = value
        .strip_prefix('(')
        .and_then(|v| v.strip_suffix(')'))
        .ok_or_else(|| ParseError::new("write_actions needs actions in parentheses"))?;
    let actions = w.parse_actions(inner)?;
    match actions.iter().find(|a| !a.allowed_in_set()) {
        Some(a) => Err(ParseError(format!(
            "{a} cannot be in an action set; apply it instead"
        ))),
        None => Ok(actions),
    }
}

fn parse_metadata(text: &str) -> Result<MetadataWrite, ParseError> {
    let word = |t: &str| {
        let v = any_number(t, "write_metadata")?;
        u64::try_from(v)
            .map_err(|_| ParseError(format!("write_metadata: {t} has more than 64 bits")))
    };
    let (value, mask) = match text.split_once('/') {
        Some((v, m)) => (word(v)?, word(m)?),
        None => (word(text)?, u64::MAX),
    };
    Ok(MetadataWrite {
        value: value & mask,
        mask,
    })
}

/// `periodic,only_first,duration=1.5,idle_time=10,packet_count=100,byte_count=1000`, times in seconds: flags and OXS fields by the
/// names of the specification.
impl fmt::Display for StatTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [(self.periodic, "periodic"), (self.only_first, "only_first")];
        let mut terms: Vec<String> = flags
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, name)| (*name).to_owned())
            .collect();
        terms.extend(self.thresholds.iter().map(|t| match *t {
            Threshold::Duration(t) => format!("duration={}", seconds(t)),
            Threshold::Idle(t) => format!("idle_time={}", seconds(t)),
            Threshold::Packets(n) => format!("packet_count={n}"),
            Threshold::Bytes(n) => format!("byte_count={n}"),
        }));
        f.write_str(&terms.join(","))
    }
}

fn seconds(t: Duration) -> String {
    let text = format!("{}.{:09}", t.as_secs(), t.subsec_nanos());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn parse_stat_trigger(value: &str) -> Result<StatTrigger, ParseError> {
    let inner = value
        .strip_prefix('(')
        .and_then(|v| v.strip_suffix(')'))
        .ok_or_else(|| ParseError::new("stat_trigger needs thresholds in parentheses"))?;
    let mut out = StatTrigger::default();
    let mut all = Vec::new();
    for term in rvs_flow::matching::terms(inner) {
        match term? {
            ("periodic", None) => out.periodic = true,
            ("only_first", None) => out.only_first = true,
            ("duration", Some(t)) => all.push(Threshold::Duration(parse_seconds(t)?)),
            ("idle_time", Some(t)) => all.push(Threshold::Idle(parse_seconds(t)?)),
            (key @ "packet_count", Some(n)) => all.push(Threshold::Packets(number(n, key)?)),
            (key @ "byte_count", Some(n)) => all.push(Threshold::Bytes(number(n, key)?)),
            (key, _) => {
                return Err(ParseError(format!(
                    "stat_trigger: {key:?} is none of periodic, only_first, duration=, idle_time=, packet_count=, byte_count="
                )))
            }
        }
    }
    out.thresholds = all.into();
    let checked = out.check();
    checked.map_err(|why| ParseError(format!("stat_trigger: {why}")))?;
    Ok(out)
}

/// Whole seconds, or with up to nine digits behind a point.
fn parse_seconds(text: &str) -> Result<Duration, ParseError> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let sec: u32 = number(whole, "seconds")?;
    let digits = part.bytes().all(|b| b.is_ascii_digit()) && part.len() <= 9;
    let nsec = format!("{part:0<9}").parse();
    match nsec {
        Ok(nsec) if digits => Ok(Duration::new(sec.into(), nsec)),
        _ => Err(ParseError(format!("{text:?} is no number of seconds"))),
    }
}
