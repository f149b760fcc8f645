//! Whole flows: `ovs-ofctl dump-flows` lines and the argument of `add-flow`.

use std::fmt;

use rvs_flow::matching::MatchParser;

use super::parse::number;
use super::{ParseError, Words};
use crate::action::{check_instructions, CheckLevel};
use crate::message::{FlowCommand, FlowFlags, FlowMod, FlowStats};
use crate::model::{GroupId, TableId};
use crate::oxm::{CookieMask, FlowMatch};

pub(super) const FLAGS: [(&str, FlowFlags); 5] = [
    ("send_flow_rem", FlowFlags::SEND_FLOW_REM),
    ("check_overlap", FlowFlags::CHECK_OVERLAP),
    ("reset_counts", FlowFlags::RESET_COUNTS),
    ("no_packet_counts", FlowFlags::NO_PKT_COUNTS),
    ("no_byte_counts", FlowFlags::NO_BYT_COUNTS),
];

const DEFAULT_PRIORITY: u16 = 0x8000;

/// A flow as a line of `ovs-ofctl dump-flows`, without the leading space.
pub struct FlowStatsDisplay<'t> {
    flow: &'t FlowStats,
    words: Words<'t>,
    stats: bool,
}

impl<'t> Words<'t> {
    /// A flow with its statistics, or (`dump-flows --no-stats`) without.
    pub fn flow(self, flow: &'t FlowStats, stats: bool) -> FlowStatsDisplay<'t> {
        FlowStatsDisplay {
            flow,
            words: self,
            stats,
        }
    }
}

/// Seconds as Open vSwitch writes them: no fraction, three digits, or as many as it takes.
struct Duration(u32, u32);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        match self.1 {
            0 => {}
            n if n % 1_000_000 == 0 => write!(f, ".{:03}", n / 1_000_000)?,
            n => f.write_str(format!(".{n:09}").trim_end_matches('0'))?,
        }
        f.write_str("s")
    }
}

/// A counter, `?` if it is unknown.
struct Counter(u64);

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            u64::MAX => f.write_str("?"),
            n => write!(f, "{n}"),
        }
    }
}

impl fmt::Display for FlowStatsDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, stats) = (self.flow, self.stats);
        if stats || s.cookie != 0 {
            write!(f, "cookie={:#x}, ", s.cookie)?;
        }
        if stats {
            write!(
                f,
                "duration={}, ",
                Duration(s.duration_sec, s.duration_nsec)
            )?;
        }
        if stats || s.table.0 != 0 {
            write!(f, "table={}, ", s.table.0)?;
        }
        if stats {
            write!(
                f,
                "n_packets={}, n_bytes={}, ",
                Counter(s.packets),
                Counter(s.bytes)
            )?;
        }
        for (name, v) in [
            ("idle_timeout", s.idle_timeout),
            ("hard_timeout", s.hard_timeout),
        ] {
            if v != 0 {
                write!(f, "{name}={v}, ")?;
            }
        }
        for (name, flag) in FLAGS {
            if s.flags.has(flag) {
                write!(f, "{name} ")?;
            }
        }
        if s.importance != 0 {
            write!(f, "importance={}, ", s.importance)?;
        }
        if let Some(age) = s.idle_age.filter(|_| stats) {
            write!(f, "idle_age={age}, ")?;
        }
        if let Some(age) = s.hard_age.filter(|a| stats && *a != s.duration_sec) {
            write!(f, "hard_age={age}, ")?;
        }
        let rule = Rule {
            matching: &s.matching,
            priority: s.priority,
            words: self.words,
        };
        write!(
            f,
            "{rule}actions={}",
            self.words.instructions(&s.instructions)
        )
    }
}

/// Priority and match with a final space; nothing for the match of everything at the default priority.
pub(super) struct Rule<'t> {
    pub(super) matching: &'t FlowMatch,
    pub(super) priority: u16,
    pub(super) words: Words<'t>,
}

impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let matching = self.matching.display(self.words.ports).to_string();
        if self.priority != DEFAULT_PRIORITY {
            write!(f, "priority={}", self.priority)?;
            f.write_str(if matching.is_empty() { " " } else { "," })?;
        }
        if !matching.is_empty() {
            write!(f, "{matching} ")?;
        }
        Ok(())
    }
}

/// Reads a flow: match, settings and `actions=`, in any order but that the actions come last. What `dump-flows` printed
/// reads back; its counters and ages are passed over.
///
/// An add must have actions; a delete must not. A cookie with a mask filters, one without is the flow's own.
///
/// # Errors
/// Names the term that is wrong, and what it should be.
pub fn parse_flow(
    text: &str,
    command: FlowCommand,
    words: &Words<'_>,
) -> Result<FlowMod, ParseError> {
    let (rule, actions) = split_actions(text);
    let mut m = FlowMod::new(command, FlowMatch::any());
    if command.is_delete() {
        m.table = TableId::ALL;
    }
    let mut matching = MatchParser::new();
    for term in rvs_flow::matching::terms(rule) {
        let (key, value) = term?;
        if setting(&mut m, key, value, words)? || matching.take(key, value)? {
            continue;
        }
        return Err(ParseError(format!(
            "{key} is neither a match field nor a setting of a flow"
        )));
    }
    m.matching = matching.finish(words.ports)?;
    match actions {
        Some(_) if command.is_delete() => {
            return Err(ParseError::new("a flow to delete has no actions"));
        }
        Some(a) => m.instructions = words.parse_instructions(a)?,
        None if !command.is_delete() => {
            return Err(ParseError::new(
                "the flow has no actions; say actions=drop to drop",
            ));
        }
        None => {}
    }
    check_instructions(&m.matching, &m.instructions, m.table, CheckLevel::Lenient)
        .map_err(|e| ParseError(e.why.into_owned()))?;
    Ok(m)
}

/// The text before `actions=` and the text after it.
pub(super) fn split_actions(text: &str) -> (&str, Option<&str>) {
    for word in ["actions=", "action="] {
        let mut from = 0;
        while let Some(at) = text.get(from..).and_then(|t| t.find(word)) {
            let at = from + at;
            let before = text[..at].chars().next_back();
            if before.is_none_or(|c| matches!(c, ',' | ' ' | '\t' | '\n')) {
                return (&text[..at], Some(text[at + word.len()..].trim()));
            }
            from = at + word.len();
        }
    }
    (text, None)
}

/// Takes a term that is no match.
fn setting(
    m: &mut FlowMod,
    key: &str,
    value: Option<&str>,
    words: &Words<'_>,
) -> Result<bool, ParseError> {
    let given = || value.ok_or_else(|| ParseError(format!("{key} needs a value")));
    if let (Some((_, flag)), None) = (FLAGS.iter().find(|(n, _)| *n == key), value) {
        m.flags = m.flags.with(*flag);
        return Ok(true);
    }
    match key {
        "table" => m.table = TableId(number(given()?, key)?),
        "priority" => m.priority = number(given()?, key)?,
        "idle_timeout" => m.idle_timeout = number(given()?, key)?,
        "hard_timeout" => m.hard_timeout = number(given()?, key)?,
        "importance" => m.importance = number(given()?, key)?,
        "out_port" => m.out_port = words.parse_port(given()?)?,
        "out_group" => m.out_group = GroupId(number(given()?, key)?),
        "cookie" => cookie(m, given()?)?,
        "duration" | "n_packets" | "n_bytes" | "idle_age" | "hard_age" => {}
        _ => return Ok(false),
    }
    Ok(true)
}

fn cookie(m: &mut FlowMod, text: &str) -> Result<(), ParseError> {
    let Some((value, mask)) = text.split_once('/') else {
        if m.command.is_delete() {
            return Err(ParseError::new(
                "a cookie that filters needs a mask: cookie=VALUE/-1",
            ));
        }
        m.new_cookie = Some(number(text, "cookie")?);
        m.modify_cookie = m.new_cookie != Some(u64::MAX);
        return Ok(());
    };
    if m.command == FlowCommand::Add {
        return Err(ParseError::new("a new flow has one cookie, without a mask"));
    }
    let mask = if mask.trim() == "-1" {
        u64::MAX
    } else {
        number(mask, "cookie")?
    };
    let value: u64 = number(value, "cookie")?;
    m.cookie = CookieMask {
        value: value & mask,
        mask,
    };
    Ok(())
}
