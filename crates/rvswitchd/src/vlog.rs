//! `vlog/*`: the log as stock tools see and set it.
//!
//! Levels are kept for every module of Open vSwitch's daemon. This one says most things as the module `vswitchd`; it answers to
//! `rvswitchd`, too. What is set for modules that say nothing here, or for the system's log, is kept and shown.

use std::fmt::Write;

use serde_json::{json, Value};

use crate::args::Level;
use crate::commands::{Command, Daemon};
use crate::logging::{self, Place};

type Answer = Result<Value, String>;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "vlog/close",
        usage: "",
        params: (0, 0),
        run: close,
    },
    Command {
        name: "vlog/disable-rate-limit",
        usage: "[MODULE]...",
        params: (0, usize::MAX),
        run: rate_limit,
    },
    Command {
        name: "vlog/enable-rate-limit",
        usage: "[MODULE]...",
        params: (0, usize::MAX),
        run: rate_limit,
    },
    Command {
        name: "vlog/list",
        usage: "",
        params: (0, 0),
        run: list,
    },
    Command {
        name: "vlog/list-pattern",
        usage: "",
        params: (0, 0),
        run: list_pattern,
    },
    Command {
        name: "vlog/reopen",
        usage: "",
        params: (0, 0),
        run: reopen,
    },
    Command {
        name: "vlog/set",
        usage: "{spec | PATTERN:destination:pattern}",
        params: (0, usize::MAX),
        run: set,
    },
];

/// Another name of [`logging::OURS`].
const MODULE: &str = "rvswitchd";

/// What a specification sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// Of a module, or of all; at a place, or at all; a level, or nothing.
    Level(Option<&'static str>, Option<Place>, Option<Level>),
    Pattern(Option<Place>, String),
    /// An index into [`logging::FACILITIES`].
    Facility(u8),
}

impl Spec {
    /// Reads `[MODULE][:PLACE][:LEVEL]`, in any order, `PATTERN:PLACE:PATTERN` or `FACILITY:NAME`, as `-v` and `vlog/set` have
    /// it. Without a level it is `dbg`.
    ///
    /// # Errors
    /// When a word is none of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (first, rest) = word(text);
        if first.eq_ignore_ascii_case("PATTERN") {
            return Self::pattern(rest);
        }
        if first.eq_ignore_ascii_case("FACILITY") {
            let (name, _) = word(rest);
            let found = logging::FACILITIES
                .iter()
                .position(|f| !f.is_empty() && f.eq_ignore_ascii_case(name));
            let number = found.and_then(|n| u8::try_from(n).ok());
            return number.map(Self::Facility).ok_or("invalid facility".into());
        }
        let (mut module, mut to, mut level) = (None, None, Some(Level::Debug));
        for word in text.split(ENDS_A_WORD).filter(|w| !w.is_empty()) {
            let lower = word.to_ascii_lowercase();
            match lower.as_str() {
                "any" => {}
                "off" => level = None,
                "emer" | "err" => level = Some(Level::Error),
                "warn" => level = Some(Level::Warn),
                "info" => level = Some(Level::Info),
                "dbg" => level = Some(Level::Debug),
                MODULE => module = Some(logging::OURS),
                lower => match (place(lower), known(lower)) {
                    (Some(place), _) => to = Some(place),
                    (None, Some(known)) => module = Some(known),
                    (None, None) => {
                        return Err(format!("no destination, level, or module \"{word}\""));
                    }
                },
            }
        }
        Ok(Self::Level(module, to, level))
    }

    /// Reads what follows `PATTERN:`.
    fn pattern(text: &str) -> Result<Self, String> {
        let (to, pattern) = word(text);
        let to = match to.to_ascii_lowercase().as_str() {
            "" => return Err("missing destination".into()),
            "any" => None,
            lower => {
                let unknown = || format!("unknown destination \"{to}\"");
                Some(place(lower).ok_or_else(unknown)?)
            }
        };
        Ok(Self::Pattern(to, pattern.to_owned()))
    }

    pub fn apply(&self) -> Result<(), String> {
        let chosen = |one: Option<Place>| {
            Place::ALL
                .into_iter()
                .filter(move |p| one.is_none_or(|o| o == *p))
        };
        match self {
            Self::Level(module, to, level) => {
                chosen(*to).try_for_each(|place| logging::set(place, *module, *level))
            }
            Self::Pattern(to, pattern) => {
                chosen(*to).for_each(|place| logging::set_pattern(place, pattern));
                Ok(())
            }
            Self::Facility(number) => {
                logging::set_facility(*number);
                Ok(())
            }
        }
    }
}

const ENDS_A_WORD: [char; 4] = [' ', ',', ':', '\t'];

/// The first word, and what follows the character that ends it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches(ENDS_A_WORD);
    text.split_once(ENDS_A_WORD).unwrap_or((text, ""))
}

fn place(word: &str) -> Option<Place> {
    match word {
        "syslog" => Some(Place::Syslog),
        "console" => Some(Place::Console),
        "file" => Some(Place::File),
        _ => None,
    }
}

fn known(word: &str) -> Option<&'static str> {
    logging::MODULES.into_iter().find(|m| *m == word)
}

/// Applies one after the other, up to the first that is wrong, as the field does; none is all that there is to say.
fn set(_: &mut Daemon, params: &[String]) -> Answer {
    if params.is_empty() {
        Spec::Level(None, None, Some(Level::Debug)).apply()?;
    }
    for param in params {
        Spec::parse(param)?.apply()?;
    }
    Ok(json!(""))
}

/// Nothing that this daemon logs depends on how much it has logged.
fn rate_limit(_: &mut Daemon, modules: &[String]) -> Answer {
    let all = |m: &str| matches!(m, MODULE | "any" | "ANY");
    match modules.iter().all(|m| all(m) || known(m).is_some()) {
        true => Ok(json!("")),
        false => Err("unknown module".into()),
    }
}

fn list(_: &mut Daemon, _: &[String]) -> Answer {
    let word = |place, module| match logging::level(place, module) {
        None => "OFF",
        Some(Level::Error) => "ERR",
        Some(Level::Warn) => "WARN",
        Some(Level::Info) => "INFO",
        Some(Level::Debug | Level::Trace) => "DBG",
    };
    let mut text = String::from(
        "                 console    syslog    file\n                 -------    ------    ------\n",
    );
    for module in logging::MODULES {
        let [console, syslog, file] =
            [Place::Console, Place::Syslog, Place::File].map(|place| word(place, module));
        let _ = writeln!(
            text,
            "{module:<16}  {console:>4}       {syslog:>4}       {file:>4}"
        );
    }
    Ok(json!(text))
}

fn list_pattern(_: &mut Daemon, _: &[String]) -> Answer {
    let mut text = String::from(
        "         prefix                            format\n         ------                            ------\n",
    );
    // What the field's daemon puts before a line for the system's log.
    let prefix = "<%B> %D{%h %e %T} %E %A:";
    for (place, name, prefix) in [
        (Place::Syslog, "SYSLOG", prefix),
        (Place::Console, "CONSOLE", "none"),
        (Place::File, "FILE", "none"),
    ] {
        let _ = writeln!(
            text,
            "{name:<7}  {prefix:<32}  {}",
            logging::pattern_of(place)
        );
    }
    Ok(json!(text))
}

fn reopen(_: &mut Daemon, _: &[String]) -> Answer {
    // Scripts that rotate logs ask whether there is a file or not.
    match logging::reopen()? {
        true => Ok(json!("")),
        false => Ok(json!("Logging to file not configured")),
    }
}

fn close(_: &mut Daemon, _: &[String]) -> Answer {
    logging::close();
    Ok(json!(""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn specifications_name_module_place_and_level_in_any_order() {
        use Place::{Console, File, Syslog};
        for (text, module, place, level) in [
            ("dbg", None, None, Some(Level::Debug)),
            ("ANY:ANY:warn", None, None, Some(Level::Warn)),
            ("off", None, None, None),
            ("console:off", None, Some(Console), None),
            ("off:console", None, Some(Console), None),
            ("syslog:err", None, Some(Syslog), Some(Level::Error)),
            (
                "vconn:file:info",
                Some("vconn"),
                Some(File),
                Some(Level::Info),
            ),
            (
                "dpif_netdev,file",
                Some("dpif_netdev"),
                Some(File),
                Some(Level::Debug),
            ),
            ("rvswitchd:dbg", Some("vswitchd"), None, Some(Level::Debug)),
        ] {
            assert_eq!(
                Spec::parse(text),
                Ok(Spec::Level(module, place, level)),
                "{text}"
            );
        }
        for wrong in [
            "nonesuch",
            "bridge:nonesuch:dbg",
            "bridge:file:dbg:x",
            "a=b",
        ] {
            let Err(why) = Spec::parse(wrong) else {
                panic!("{wrong} is a specification");
            };
            assert!(
                why.starts_with("no destination, level, or module"),
                "{wrong}: {why}"
            );
        }
    }

    #[test]
    fn specifications_name_patterns_and_facilities() {
        for (text, place, pattern) in [
            ("PATTERN:file:I<3|%m: %c", Some(Place::File), "I<3|%m: %c"),
            ("pattern:ANY:%m", None, "%m"),
            ("PATTERN:console", Some(Place::Console), ""),
        ] {
            let is = Spec::Pattern(place, pattern.into());
            assert_eq!(Spec::parse(text), Ok(is), "{text}");
        }
        assert_eq!(Spec::parse("FACILITY:daemon"), Ok(Spec::Facility(3)));
        for (text, says) in [
            ("PATTERN", "missing destination"),
            ("PATTERN:", "missing destination"),
            ("PATTERN:nonesuch", "unknown destination \"nonesuch\""),
            ("FACILITY", "invalid facility"),
            ("FACILITY:nonesuch", "invalid facility"),
        ] {
            assert_eq!(Spec::parse(text), Err(says.into()), "{text}");
        }
    }
}
