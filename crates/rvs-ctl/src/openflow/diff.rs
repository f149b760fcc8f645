//! `diff-flows` and `replace-flows`: two sets of flows, from files or switches, side by side.

use std::collections::btree_map::Entry;
use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rvs_openflow::message::{FlowCommand, FlowFlags, FlowMod, FlowStats};
use rvs_openflow::text::{parse_flow, Words};
use rvs_openflow::{FlowMatch, Instructions, Message, TableId};
use serde_json::json;

use super::flows;
use super::input::Input;
use super::printer::Printer;
use super::session::Session;
use super::Context;
use crate::failure::Failure;
use crate::output::Style;

/// What makes two flows the same flow; sorted as people look for them, the match by its text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    table: u8,
    /// Highest first.
    priority: std::cmp::Reverse<u16>,
    matching: String,
}

/// What is compared of them.
#[derive(Clone, Debug)]
struct Body {
    matching: FlowMatch,
    cookie: u64,
    idle_timeout: u16,
    hard_timeout: u16,
    importance: u16,
    instructions: Instructions,
    /// What a flow that is added has; two flows that differ in nothing else are the same.
    flags: FlowFlags,
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            matching,
            cookie,
            idle_timeout,
            hard_timeout,
            importance,
            instructions,
            flags: _,
        } = self;
        *matching == other.matching
            && *cookie == other.cookie
            && *idle_timeout == other.idle_timeout
            && *hard_timeout == other.hard_timeout
            && *importance == other.importance
            && *instructions == other.instructions
    }
}

/// Flows by what they match.
#[derive(Debug, Default)]
struct Flows(BTreeMap<Id, Body>);

impl Flows {
    fn of_switch(s: &mut Session) -> Result<Self, Failure> {
        let mut all = Self::default();
        flows::each(s, "", |_, _, flows| {
            for f in flows {
                all.insert(from_stats(f));
            }
        })?;
        Ok(all)
    }

    /// Flows of a file. `s` says what its switch would make of them; without one they are taken as they are.
    fn of_file(name: &str, s: Option<&Session>) -> Result<Self, Failure> {
        let input = Input::read(name)?;
        let plain = Words::default();
        let words = s.map_or(plain, |s| s.reading());
        let mut all = Self::default();
        for (n, line) in input.lines() {
            let refused = |why: &str| Failure::Refused(input.source.at(n, why));
            let m =
                parse_flow(line, FlowCommand::Add, &words).map_err(|e| refused(&e.to_string()))?;
            let m = match s {
                Some(s) => s.as_switch_reads(m).map_err(|e| refused(&e))?,
                None => m,
            };
            if all.insert(from_mod(m)) {
                return Err(refused(
                    "the same match and priority stand in the file twice",
                ));
            }
        }
        Ok(all)
    }

    /// True if it was there already.
    fn insert(&mut self, (id, body): (Id, Body)) -> bool {
        match self.0.entry(id) {
            Entry::Occupied(_) => true,
            Entry::Vacant(v) => {
                v.insert(body);
                false
            }
        }
    }
}

fn id(table: TableId, priority: u16, matching: &FlowMatch) -> Id {
    Id {
        table: table.0,
        priority: std::cmp::Reverse(priority),
        matching: matching.to_string(),
    }
}

fn from_stats(f: FlowStats) -> (Id, Body) {
    (
        id(f.table, f.priority, &f.matching),
        Body {
            matching: f.matching,
            cookie: f.cookie,
            idle_timeout: f.idle_timeout,
            hard_timeout: f.hard_timeout,
            importance: f.importance,
            instructions: f.instructions,
            flags: f.flags,
        },
    )
}

fn from_mod(m: FlowMod) -> (Id, Body) {
    // No table is the first.
    let table = if m.table == TableId::ALL {
        TableId(0)
    } else {
        m.table
    };
    (
        id(table, m.priority, &m.matching),
        Body {
            matching: m.matching,
            cookie: m.new_cookie.unwrap_or(0),
            idle_timeout: m.idle_timeout,
            hard_timeout: m.hard_timeout,
            importance: m.importance,
            instructions: m.instructions,
            flags: m.flags,
        },
    )
}

/// A flow of the difference, as `diff-flows` prints it behind its sign.
fn line(id: &Id, b: &Body, words: &Words<'_>) -> String {
    let mut text = String::new();
    if id.table != 0 {
        text.push_str(&format!("table={} ", id.table));
    }
    if id.priority.0 != 0x8000 {
        text.push_str(&format!("priority={}", id.priority.0));
        text.push_str(if id.matching.is_empty() { "" } else { "," });
    }
    text.push_str(&b.matching.display(words.ports).to_string());
    text.push(' ');
    if b.cookie != 0 {
        text.push_str(&format!("cookie={:#x} ", b.cookie));
    }
    for (name, n) in [
        ("idle_timeout", b.idle_timeout),
        ("hard_timeout", b.hard_timeout),
        ("importance", b.importance),
    ] {
        if n != 0 {
            text.push_str(&format!("{name}={n} "));
        }
    }
    text.push_str(&format!("actions={}", words.instructions(&b.instructions)));
    text
}

/// Lines with their signs, and whether there are any.
fn differences(first: &Flows, second: &Flows, words: &Words<'_>) -> Vec<(char, String)> {
    let mut ids: Vec<&Id> = first.0.keys().chain(second.0.keys()).collect();
    ids.sort();
    ids.dedup();
    let mut lines = Vec::new();
    for id in ids {
        let (a, b) = (first.0.get(id), second.0.get(id));
        if a == b {
            continue;
        }
        lines.extend(a.map(|a| ('-', line(id, a, words))));
        lines.extend(b.map(|b| ('+', line(id, b, words))));
    }
    lines
}

fn is_file(name: &str) -> bool {
    let readable = |t: std::fs::FileType| !t.is_socket() && !t.is_dir();
    name == "-" || std::fs::metadata(Path::new(name)).is_ok_and(|m| readable(m.file_type()))
}

/// `diff-flows`: prints what only one of two has; the exit code says whether they differ.
pub fn diff(cx: &Context<'_>, first: &str, second: &str) -> Result<(), Failure> {
    let mut sessions = Vec::new();
    for name in [first, second] {
        sessions.push(match is_file(name) {
            true => None,
            false => Some(cx.open(name)?),
        });
    }
    // A file is read as the switch beside it would.
    let reader = sessions.iter().position(Option::is_some);
    let mut sets = Vec::new();
    for (i, name) in [first, second].into_iter().enumerate() {
        let set = match sessions.get_mut(i).and_then(Option::as_mut) {
            Some(s) => Flows::of_switch(s)?,
            None => {
                let reader = reader.and_then(|r| sessions.get(r)?.as_ref());
                Flows::of_file(name, reader)?
            }
        };
        sets.push(set);
    }
    let words = match reader.and_then(|r| sessions.get(r)?.as_ref()) {
        Some(s) => s.printing(),
        None => Words::default(),
    };
    let lines = match &sets[..] {
        [a, b] => differences(a, b, &words),
        _ => Vec::new(),
    };
    show(&lines, cx.style);
    if lines.is_empty() {
        Ok(())
    } else {
        Err(Failure::Answer(2))
    }
}

fn show(lines: &[(char, String)], style: Style) {
    let mut printer = Printer::new(style);
    for (sign, text) in lines {
        printer.entry(
            || format!("{sign}{text}\n"),
            || json!({"only_in": if *sign == '-' { 1 } else { 2 }, "flow": text}),
        );
    }
    printer.finish();
}

/// `replace-flows`: makes the switch's flows those of the file, and touches no flow that stays.
pub fn replace(s: &mut Session, file: &str, bundle: bool) -> Result<(), Failure> {
    let wanted = Flows::of_file(file, Some(s))?;
    let there = Flows::of_switch(s)?;
    let gone = there.0.iter().filter(|(id, _)| !wanted.0.contains_key(id));
    let mut messages: Vec<Message> = gone
        .map(|(id, b)| {
            let mut m = FlowMod::new(FlowCommand::DeleteStrict, b.matching);
            (m.table, m.priority) = (TableId(id.table), id.priority.0);
            Message::FlowMod(Box::new(m))
        })
        .collect();
    let changed = wanted.0.iter().filter(|(id, b)| there.0.get(id) != Some(b));
    messages.extend(changed.map(|(id, b)| {
        let mut m = FlowMod::new(FlowCommand::Add, b.matching);
        (m.table, m.priority) = (TableId(id.table), id.priority.0);
        m.new_cookie = Some(b.cookie);
        (m.idle_timeout, m.hard_timeout) = (b.idle_timeout, b.hard_timeout);
        m.importance = b.importance;
        m.instructions = b.instructions.clone();
        m.flags = b.flags;
        Message::FlowMod(Box::new(m))
    }));
    s.change_to(&messages, bundle)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn flows(text: &str) -> Flows {
        let mut all = Flows::default();
        for l in text.lines() {
            let m = parse_flow(l, FlowCommand::Add, &Words::default()).unwrap();
            all.insert(from_mod(m));
        }
        all
    }

    fn diff_of(a: &str, b: &str) -> Vec<String> {
        let lines = differences(&flows(a), &flows(b), &Words::default());
        lines.into_iter().map(|(c, l)| format!("{c}{l}")).collect()
    }

    #[test]
    fn differences_are_by_match_and_priority() {
        let a = "tcp,actions=1\nudp,actions=2\ntable=3,cookie=5,idle_timeout=9,actions=drop";
        assert!(diff_of(a, a).is_empty());
        assert_eq!(
            diff_of(a, "udp,actions=3\ntcp,actions=1\npriority=7,actions=1"),
            [
                "-udp actions=output:2",
                "+udp actions=output:3",
                "+priority=7 actions=output:1",
                "-table=3  cookie=0x5 idle_timeout=9 actions=drop",
            ]
        );
    }
}
