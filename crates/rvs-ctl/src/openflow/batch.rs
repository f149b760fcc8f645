//! Changes, many at once: encoded first, sent in one go, with one barrier at the end (or as one bundle), and every error
//! of the switch brought back to the line that caused it.
//!
//! Nothing is sent before everything is read and encoded: a file with a mistake changes nothing. What a version cannot say
//! is tried in the other versions that both ends speak, newest first.

use rvs_openflow::message::{BundleAdd, BundleCommand, BundleControl, BundleFlags};
use rvs_openflow::{Dialect, EncodeError, ErrorMessage, Message, Version};

use super::connection::Connection;
use super::errors;
use crate::failure::Failure;

/// The one bundle of a connection.
const BUNDLE: u32 = 0;
/// Lines that are named when more than one was refused.
const NAMED: usize = 5;

/// Where messages come from, for errors: the command line, or lines of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source(pub Option<String>);

impl Source {
    /// `flows.txt:17: why`.
    pub fn at(&self, line: u32, why: &str) -> String {
        match &self.0 {
            Some(file) => format!("{file}:{line}: {why}"),
            None => why.to_owned(),
        }
    }
}

/// Encoded messages; message `i` has the transaction id `first + i`.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Line of each message.
    lines: Vec<u32>,
    bundle: bool,
}

/// The transaction id of a batch's first message: far from those of questions.
const FIRST_XID: u32 = 0x1000_0000;

impl Batch {
    pub fn new(bundle: bool) -> Self {
        Self {
            bundle,
            ..Self::default()
        }
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    fn xid(i: usize) -> u32 {
        FIRST_XID.wrapping_add(i as u32)
    }

    /// Adds a message of `line`.
    pub fn push(&mut self, d: &Dialect, message: &Message, line: u32) -> Result<(), EncodeError> {
        let xid = Self::xid(self.len());
        let mut bytes = d.encode(message, xid)?;
        if self.bundle {
            let add = BundleAdd {
                bundle: BUNDLE,
                flags: FLAGS,
                message: bytes,
            };
            bytes = d.encode(&Message::BundleAdd(add), xid)?;
        }
        self.bytes.extend_from_slice(&bytes);
        self.lines.push(line);
        Ok(())
    }

    /// Sends everything, and returns when the switch has done it or said why not.
    pub fn send(self, c: &mut Connection, source: &Source) -> Result<(), Failure> {
        let mut refusals = Refusals::default();
        let end = if self.bundle {
            c.send(&control(BundleCommand::OpenRequest))?;
            c.send_bytes(&self.bytes)?;
            c.send(&control(BundleCommand::CommitRequest))?
        } else {
            c.send_bytes(&self.bytes)?;
            c.send(&Message::BarrierRequest)?
        };
        loop {
            let answer = c.receive()?;
            if let Message::Error(e) = answer.message {
                let i = answer.xid.wrapping_sub(FIRST_XID) as usize;
                refusals.add(self.lines.get(i).copied(), &e, c.version());
            }
            if answer.xid == end {
                return refusals.end(source);
            }
        }
    }
}

const FLAGS: BundleFlags = BundleFlags(BundleFlags::ATOMIC.0 | BundleFlags::ORDERED.0);

fn control(command: BundleCommand) -> Message {
    Message::BundleControl(BundleControl {
        bundle: BUNDLE,
        command,
        flags: FLAGS,
    })
}

/// What the switch refused.
#[derive(Debug, Default)]
struct Refusals {
    /// Line and reason of the first refusal of a line.
    first: Option<(u32, String)>,
    /// Lines refused.
    lines: Vec<u32>,
    /// Errors that belong to no line: of the bundle.
    whole: Option<String>,
}

impl Refusals {
    fn add(&mut self, line: Option<u32>, e: &ErrorMessage, version: Version) {
        let Some(line) = line else {
            self.whole.get_or_insert_with(|| errors::said(e, version));
            return;
        };
        self.first
            .get_or_insert_with(|| (line, errors::said(e, version)));
        if self.lines.last() != Some(&line) {
            self.lines.push(line);
        }
    }

    fn end(self, source: &Source) -> Result<(), Failure> {
        let Some((line, why)) = self.first else {
            return match self.whole {
                Some(why) => Err(Failure::Refused(why)),
                None => Ok(()),
            };
        };
        let mut text = source.at(line, &why);
        let more: Vec<String> = self.lines.iter().skip(1).map(u32::to_string).collect();
        if !more.is_empty() {
            let named = more.get(..NAMED.min(more.len())).unwrap_or(&more);
            text.push_str(&format!(
                " ({} more refused: line{} {}{})",
                more.len(),
                if more.len() > 1 { "s" } else { "" },
                named.join(", "),
                if more.len() > NAMED { " ..." } else { "" }
            ));
        }
        Err(Failure::Refused(text))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rvs_openflow::ErrorCode;

    use super::*;

    fn refused(lines: &[u32]) -> String {
        let mut r = Refusals::default();
        for line in lines {
            let e = ErrorMessage::new(ErrorCode::FmfcOverlap, Version::Of13, &[]);
            r.add(Some(*line), &e, Version::Of13);
        }
        let file = Source(Some("f".to_owned()));
        r.end(&file).unwrap_err().to_string()
    }

    #[test]
    fn refusals_name_their_lines() {
        assert!(refused(&[17]).starts_with("f:17: OFPFMFC_OVERLAP: "));
        assert!(!refused(&[17, 17]).contains("more"));
        assert!(refused(&[2, 3]).ends_with("(1 more refused: line 3)"));
        assert!(
            refused(&[1, 2, 3, 4, 5, 6, 7]).ends_with("(6 more refused: lines 2, 3, 4, 5, 6 ...)")
        );
    }

    #[test]
    fn the_bundle_itself_may_be_refused() {
        let mut r = Refusals::default();
        let e = ErrorMessage::new(ErrorCode::BfcTimeout, Version::Of14, &[]);
        r.add(None, &e, Version::Of14);
        let said = r.end(&Source(None)).unwrap_err().to_string();
        assert!(said.starts_with("OFPBFC_TIMEOUT: "), "{said}");
        assert!(Refusals::default().end(&Source(None)).is_ok());
    }
}
