//! How lines look: the patterns that `-vPATTERN:` and `vlog/set PATTERN:` give, in the language of Open vSwitch's manual pages.

use std::fmt::{self, Write};

/// The patterns that hold unless others are set: syslog's, the console's, the file's.
pub const USUAL: [&str; 3] = [
    "ovs|%05N|%c%T|%p|%m",
    "%D{%Y-%m-%dT%H:%M:%SZ}|%05N|%c%T|%p|%m",
    "%D{%Y-%m-%dT%H:%M:%S.###Z}|%05N|%c%T|%p|%m",
];

/// How a time looks where a pattern does not say it.
const USUAL_TIME: &str = "%Y-%m-%d %H:%M:%S.###";

/// Widest field that a pattern may ask for.
const WIDEST: usize = 256;

/// Facilities of RFC 5424 by their numbers.
pub const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "clock", "ftp",
    "ntp", "audit", "alert", "clock2", "", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// What a line says.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// As `2026-01-02T03:04:05.678901Z`.
    pub time: &'a str,
    pub number: u32,
    pub module: &'a str,
    pub level: tracing::Level,
    pub text: &'a str,
    pub program: &'a str,
    /// Index into [`FACILITIES`].
    pub facility: u8,
    /// Milliseconds since the log was started.
    pub running: u128,
}

/// `EMER` (never said), `ERR`, `WARN`, `INFO` or `DBG`, and the severity of RFC 5424 that goes with it.
const fn level(level: tracing::Level) -> (&'static str, u8) {
    match level {
        tracing::Level::ERROR => ("ERR", 3),
        tracing::Level::WARN => ("WARN", 4),
        tracing::Level::INFO => ("INFO", 5),
        tracing::Level::DEBUG | tracing::Level::TRACE => ("DBG", 7),
    }
}

/// One conversion: `%`, `-` for the left, `0` for zeros, a width, a letter.
struct Field {
    left: bool,
    fill: char,
    width: usize,
}

/// Writes a line as `pattern` has it, without the line's end.
pub fn write(to: &mut impl Write, pattern: &str, line: &Line<'_>) -> fmt::Result {
    let mut rest = pattern;
    while let Some((plain, after)) = rest.split_once('%') {
        to.write_str(plain)?;
        let (field, after) = field(after);
        let mut letters = after.chars();
        let Some(letter) = letters.next() else {
            return Ok(());
        };
        rest = letters.as_str();
        let said = converted(letter, &mut rest, line);
        let missing = field.width.saturating_sub(said.chars().count());
        let padding: String = std::iter::repeat_n(field.fill, missing).collect();
        match field.left {
            true => write!(to, "{said}{padding}")?,
            false => write!(to, "{padding}{said}")?,
        }
    }
    to.write_str(rest)
}

fn field(text: &str) -> (Field, &str) {
    let (left, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let fill = if text.starts_with('0') { '0' } else { ' ' };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (width, text) = text.split_at(digits);
    // A width without end would be a line without end.
    let width = width.parse().unwrap_or(0).min(WIDEST);
    (Field { left, fill, width }, text)
}

/// What a letter stands for. Some take braces, which are cut off `rest`.
fn converted(letter: char, rest: &mut &str, line: &Line<'_>) -> String {
    let (name, severity) = level(line.level);
    match letter {
        'A' => line.program.to_owned(),
        'B' => (line.facility * 8 + severity).to_string(),
        'c' => {
            braces(rest);
            line.module.to_owned()
        }
        // This program knows no time but UTC.
        'd' | 'D' => time(braces(rest).unwrap_or(USUAL_TIME), line.time),
        'E' => nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        'm' => line.text.trim_end_matches('\n').to_owned(),
        'N' => line.number.to_string(),
        'n' => "\n".to_owned(),
        'p' => name.to_owned(),
        'P' => std::process::id().to_string(),
        'r' => line.running.to_string(),
        't' => braces(rest).unwrap_or("main").to_owned(),
        'T' => String::new(),
        other => other.to_string(),
    }
}

/// What stands in braces at the start of `rest`.
fn braces<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let (inside, after) = rest.strip_prefix('{')?.split_once('}')?;
    *rest = after;
    Some(inside)
}

/// A time by the letters of `strftime` that dates and times need; each `#` is a digit of the second's fraction.
fn time(pattern: &str, stamp: &str) -> String {
    let part = |from: usize, to: usize| stamp.get(from..to).unwrap_or("");
    let day = part(8, 10);
    let month = part(5, 7).parse().unwrap_or(0_usize).wrapping_sub(1);
    let month = MONTHS.get(month).copied().unwrap_or("");
    let mut fraction = part(20, 26).chars();
    let mut out = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '#' => out.push(fraction.next().unwrap_or('0')),
            '%' => match letters.next() {
                Some('Y') => out.push_str(part(0, 4)),
                Some('y') => out.push_str(part(2, 4)),
                Some('m') => out.push_str(part(5, 7)),
                Some('d') => out.push_str(day),
                Some('e') => out.push_str(&format!("{:>2}", day.trim_start_matches('0'))),
                Some('H') => out.push_str(part(11, 13)),
                Some('M') => out.push_str(part(14, 16)),
                Some('S') => out.push_str(part(17, 19)),
                Some('F') => out.push_str(part(0, 10)),
                Some('T') => out.push_str(part(11, 19)),
                Some('b' | 'h') => out.push_str(month),
                Some('%') => out.push('%'),
                Some(other) => out.extend(['%', other]),
                None => out.push('%'),
            },
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LINE: Line<'_> = Line {
        time: "2026-01-02T03:04:05.678901Z",
        number: 7,
        module: "bridge",
        level: tracing::Level::INFO,
        text: "all is well",
        program: "ovs-vswitchd",
        facility: 16,
        running: 1234,
    };

    fn said(pattern: &str) -> String {
        let mut out = String::new();
        write(&mut out, pattern, &LINE).unwrap();
        out
    }

    #[test]
    fn the_usual_patterns_are_the_form_that_scripts_look_for() {
        assert_eq!(said(USUAL[0]), "ovs|00007|bridge|INFO|all is well");
        assert_eq!(
            said(USUAL[1]),
            "2026-01-02T03:04:05Z|00007|bridge|INFO|all is well"
        );
        assert_eq!(
            said(USUAL[2]),
            "2026-01-02T03:04:05.678Z|00007|bridge|INFO|all is well"
        );
    }

    #[test]
    fn conversions_are_padded_on_the_side_that_is_asked_for() {
        assert_eq!(said("<%B>1 %A %m"), "<133>1 ovs-vswitchd all is well");
        assert_eq!(
            said("%8c|%-8c|%3N|%-3N|%r"),
            "  bridge|bridge  |  7|7  |1234"
        );
        assert_eq!(said("%D{%h %e %T} %d{%F}"), "Jan  2 03:04:05 2026-01-02");
        assert_eq!(said("%d"), "2026-01-02 03:04:05.678");
        assert_eq!(said("%%%n%t%T%c{}%"), "%\nmainbridge");
        assert_eq!(said(""), "");
    }

    /// A pattern comes from whoever may talk to the control socket: no width costs more than a line.
    #[test]
    fn no_field_is_wider_than_the_widest() {
        assert_eq!(said("%999999999999999999999m"), "all is well");
        assert_eq!(said("%99999m").len(), WIDEST);
    }
}
