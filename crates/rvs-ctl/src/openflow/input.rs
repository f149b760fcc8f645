//! Files of flows and groups: a change to a line, comments from `#` on, and a word before the change that says which.

use std::io::Read;

use rvs_openflow::message::{FlowCommand, GroupCommand};

use super::batch::Source;
use crate::failure::Failure;

/// A file, or what came on standard input.
pub struct Input {
    pub source: Source,
    text: String,
    /// One change even if it is empty, not lines.
    whole: bool,
}

impl Input {
    /// `-` is standard input.
    pub fn read(name: &str) -> Result<Self, Failure> {
        let refused = |e: std::io::Error| Failure::Refused(format!("{name}: {e}"));
        if name == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(refused)?;
            return Ok(Self {
                source: Source(Some("<stdin>".to_owned())),
                text,
                whole: false,
            });
        }
        Ok(Self {
            source: Source(Some(name.to_owned())),
            text: std::fs::read_to_string(name).map_err(refused)?,
            whole: false,
        })
    }

    /// One change, from the command line.
    pub fn argument(text: &str) -> Self {
        Self {
            source: Source(None),
            text: text.to_owned(),
            whole: true,
        }
    }

    /// Lines that say something, with their numbers.
    pub fn lines(&self) -> impl Iterator<Item = (u32, &str)> {
        let whole = self.whole.then_some((1, self.text.as_str()));
        let text = if self.whole { "" } else { &self.text };
        let lines = text.lines().zip(1..).filter_map(|(line, n)| {
            let text = line.split('#').next().unwrap_or("").trim();
            (!text.is_empty()).then_some((n, text))
        });
        whole.into_iter().chain(lines)
    }
}

const FLOW_WORDS: [(&str, FlowCommand); 5] = [
    ("add", FlowCommand::Add),
    ("modify", FlowCommand::Modify),
    ("modify_strict", FlowCommand::ModifyStrict),
    ("delete", FlowCommand::Delete),
    ("delete_strict", FlowCommand::DeleteStrict),
];

const GROUP_WORDS: [(&str, GroupCommand); 6] = [
    ("add", GroupCommand::Add),
    ("modify", GroupCommand::Modify),
    ("add_or_mod", GroupCommand::AddOrMod),
    ("delete", GroupCommand::Delete),
    ("insert_bucket", GroupCommand::InsertBucket),
    ("remove_bucket", GroupCommand::RemoveBucket),
];

/// Takes the word off the front of a line.
fn command<'t, C: Copy>(words: &[(&str, C)], line: &'t str) -> Option<(C, &'t str)> {
    let (first, rest) = match line.split_once(char::is_whitespace) {
        Some((first, rest)) => (first, rest.trim_start()),
        None => (line, ""),
    };
    let (_, c) = words.iter().find(|(w, _)| *w == first)?;
    Some((*c, rest))
}

/// The command of a line of flows; an add if it doesn't say.
pub fn flow_command(line: &str) -> (FlowCommand, &str) {
    command(&FLOW_WORDS, line).unwrap_or((FlowCommand::Add, line))
}

/// The command of a line of groups; an add if it doesn't say.
pub fn group_command(line: &str) -> (GroupCommand, &str) {
    command(&GROUP_WORDS, line).unwrap_or((GroupCommand::Add, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_numbers_and_no_comments() {
        let input = Input {
            source: Source(None),
            text: "# head\n\n  tcp,actions=1 # why\r\n\t\nudp\n".to_owned(),
            whole: false,
        };
        let lines: Vec<_> = input.lines().collect();
        assert_eq!(lines, [(3, "tcp,actions=1"), (5, "udp")]);
    }

    #[test]
    fn a_word_may_stand_before_a_flow() {
        let of = flow_command;
        assert_eq!(of("tcp"), (FlowCommand::Add, "tcp"));
        assert_eq!(of("delete"), (FlowCommand::Delete, ""));
        assert_eq!(
            of("modify_strict\t tcp,actions=1"),
            (FlowCommand::ModifyStrict, "tcp,actions=1")
        );
        assert_eq!(
            group_command("insert_bucket group_id=1"),
            (GroupCommand::InsertBucket, "group_id=1")
        );
    }
}
