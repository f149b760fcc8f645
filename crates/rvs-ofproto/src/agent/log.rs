//! What connections say in the log: few lines a second of what was refused, and, when asked, every message.

use rvs_openflow::text::message::{version_numbers, wire_text};
use rvs_openflow::{Dialect, Framer, Version, VersionSet};
use rvs_packet::Now;

use super::limits::LOG_PER_SECOND;

/// The module of the log in which messages are written out, as Open vSwitch calls it: its test-suite and people look there.
macro_rules! vconn {
    ($($arg:tt)*) => { tracing::debug!(target: "vconn", $($arg)*) };
}

/// Writes messages out, if somebody wants to read them. `bytes` are whole messages.
pub(super) fn message(conn: &str, what: &str, dialect: &Dialect, bytes: &[u8]) {
    if !tracing::enabled!(target: "vconn", tracing::Level::DEBUG) {
        return;
    }
    let mut framer = Framer::new();
    framer.push(bytes);
    while let Ok(Some(one)) = framer.next_message() {
        vconn!("{conn}: {what}: {}", wire_text(dialect, one));
    }
}

/// Says which version was agreed on.
pub(super) fn negotiated(conn: &str, agreed: Version, ours: VersionSet, theirs: VersionSet) {
    vconn!(
        "{conn}: negotiated OpenFlow version {:#04x} (we support {}, peer supports {})",
        agreed.wire(),
        in_words(ours),
        in_words(theirs)
    );
}

/// `version 0x06 and earlier`, or the versions one by one.
fn in_words(set: VersionSet) -> String {
    let all: Vec<u32> = set.wire().collect();
    match all[..] {
        [] => "no versions".to_owned(),
        [1, .., last] if all.len() as u32 == last => format!("version {last:#04x} and earlier"),
        [one] => format!("version {one:#04x}"),
        _ => format!("versions {}", version_numbers(set)),
    }
}

/// Lets [`LOG_PER_SECOND`] lines a second through.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    second: u64,
    lines: u32,
}

impl LogLimit {
    pub(super) fn allows(&mut self, now: Now) -> bool {
        let second = now.as_millis() / 1000;
        if second != self.second {
            (self.second, self.lines) = (second, 0);
        }
        self.lines += 1;
        self.lines <= LOG_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_said_as_open_vswitch_says_them() {
        for (bits, want) in [
            (0, "no versions"),
            (0b10, "version 0x01"),
            (0b111_1110, "version 0x06 and earlier"),
            (0b10_0010, "versions 0x01, 0x05"),
        ] {
            assert_eq!(in_words(VersionSet::from_bits(bits)), want);
        }
    }

    #[test]
    fn so_many_lines_a_second_and_no_more() {
        let mut log = LogLimit::default();
        for second in 1..4 {
            let t = Now::from_secs(second);
            for n in 0..20 * LOG_PER_SECOND {
                assert_eq!(log.allows(t), n < LOG_PER_SECOND);
            }
        }
    }
}
