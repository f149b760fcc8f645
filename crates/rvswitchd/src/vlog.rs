//! `vlog/*`: the log as stock tools see and set it.
//!
//! This daemon logs as one module to two places, the console (standard error) and a file; cached flows and states of spanning
//! trees are said by modules of their own. What is set for other modules, or for the system's log, is understood and changes
//! nothing.

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
        usage: "SPEC...",
        params: (1, usize::MAX),
        run: set,
    },
];

/// The module under which everything is logged.
const MODULE: &str = "rvswitchd";

/// Levels that a specification sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// One of [`logging::MODULES`]; `None`, all of it.
    pub module: Option<&'static str>,
    /// By [`Place`]: `None` leaves it, `Some(None)` is off.
    pub console: Option<Option<Level>>,
    pub file: Option<Option<Level>>,
}

impl Spec {
    /// Reads `[MODULE][:PLACE][:LEVEL]`, in any order, as `-v` and `vlog/set` have it. Without a level it is `dbg`.
    ///
    /// # Errors
    /// When a word is none of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut level = Some(Level::Debug);
        let (mut console, mut file, mut ours, mut module) = (true, true, true, None);
        // How lines look is not a setting of this daemon.
        if text.starts_with("PATTERN:") || text.starts_with("FACILITY:") {
            return Ok(Self::default());
        }
        for word in text.split([':', ',', ' ']).filter(|w| !w.is_empty()) {
            match word.to_ascii_lowercase().as_str() {
                "off" => level = None,
                "emer" | "err" => level = Some(Level::Error),
                "warn" => level = Some(Level::Warn),
                "info" => level = Some(Level::Info),
                "dbg" => level = Some(Level::Debug),
                "console" => file = false,
                "file" => console = false,
                "syslog" => (console, file) = (false, false),
                "any" | MODULE => {}
                w if logging::MODULES.contains(&w) => {
                    module = logging::MODULES.into_iter().find(|m| *m == w);
                }
                w if w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => ours = false,
                _ => return Err(format!("no destination, level, or module \"{word}\"")),
            }
        }
        Ok(Self {
            module,
            console: (ours && console).then_some(level),
            file: (ours && file).then_some(level),
        })
    }

    pub fn apply(&self) -> Result<(), String> {
        for (place, level) in [(Place::Console, self.console), (Place::File, self.file)] {
            match (level, self.module) {
                (Some(level), Some(module)) => logging::set_module(place, module, level)?,
                (Some(level), None) => logging::set(place, level)?,
                (None, _) => {}
            }
        }
        Ok(())
    }
}

fn set(_: &mut Daemon, params: &[String]) -> Answer {
    let specs: Result<Vec<Spec>, String> = params.iter().map(|p| Spec::parse(p)).collect();
    for spec in specs? {
        spec.apply()?;
    }
    Ok(json!(""))
}

/// Nothing that this daemon logs depends on how much it has logged.
fn rate_limit(_: &mut Daemon, _: &[String]) -> Answer {
    Ok(json!(""))
}

fn list(_: &mut Daemon, _: &[String]) -> Answer {
    let word = |place| match logging::level(place) {
        None => "OFF",
        Some(Level::Error) => "ERR",
        Some(Level::Warn) => "WARN",
        Some(Level::Info) => "INFO",
        Some(Level::Debug | Level::Trace) => "DBG",
    };
    Ok(json!(format!(
        "                 console    syslog    file\n                 -------    ------    ------\n\
         {MODULE:<16}  {:>4}       {:>4}       {:>4}\n",
        word(Place::Console),
        "OFF",
        word(Place::File)
    )))
}

fn list_pattern(_: &mut Daemon, _: &[String]) -> Answer {
    Ok(json!(
        "         prefix                            format\n         ------                            ------\n\
         CONSOLE  none                              %D{%Y-%m-%dT%H:%M:%SZ}|%05N|%c%T|%p|%m\n\
         FILE     none                              %D{%Y-%m-%dT%H:%M:%S.###Z}|%05N|%c%T|%p|%m\n"
    ))
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
        let both = |level| Spec {
            module: None,
            console: Some(level),
            file: Some(level),
        };
        assert_eq!(Spec::parse("dbg"), Ok(both(Some(Level::Debug))));
        assert_eq!(Spec::parse("ANY:ANY:warn"), Ok(both(Some(Level::Warn))));
        assert_eq!(Spec::parse("off"), Ok(both(None)));
        let console = Spec {
            module: None,
            console: Some(None),
            file: None,
        };
        assert_eq!(Spec::parse("console:off"), Ok(console.clone()));
        assert_eq!(Spec::parse("off:console"), Ok(console));
        for nothing in [
            "syslog:err",
            "ofproto_dpif_xlate:dbg",
            "PATTERN:console:%m",
            "vconn:file:info",
        ] {
            assert_eq!(Spec::parse(nothing), Ok(Spec::default()), "{nothing}");
        }
        let flows = Spec::parse("dpif_netdev:file:dbg").unwrap();
        assert_eq!(
            (flows.module, flows.console, flows.file),
            (Some("dpif_netdev"), None, Some(Some(Level::Debug)))
        );
        assert!(Spec::parse("a=b").is_err());
    }
}
