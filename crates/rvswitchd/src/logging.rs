//! The log: lines on standard error and in a file, the level of each changed at run time.
//!
//! A line is `TIME|NUMBER|MODULE|LEVEL|TEXT`, the form of Open vSwitch's daemons, for which scripts and test suites look: the
//! time in UTC, to the second on the console and to the millisecond in the file; lines counted from 1 at each place; the part
//! of the program that speaks; `EMER` (never said), `ERR`, `WARN`, `INFO` or `DBG`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::Registry;

use crate::args::Level;

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Console,
    File,
}

/// Names of the field's modules under which particular lines are logged, and which have levels of their own.
pub const MODULES: [&str; 3] = ["dpif_netdev", "ofproto_dpif", UNIXCTL];

/// The module that tells what clients of the control socket ask and hear.
pub const UNIXCTL: &str = "unixctl";

/// What is said at one place.
struct Levels {
    handle: Handle<Targets, Registry>,
    all: Option<Level>,
    /// Of each of [`MODULES`], where it differs.
    modules: [Option<Option<Level>>; MODULES.len()],
}

impl Levels {
    const fn new(handle: Handle<Targets, Registry>, level: Level) -> Self {
        Self {
            handle,
            all: Some(level),
            modules: [None; MODULES.len()],
        }
    }

    fn apply(&self) -> Result<(), String> {
        let own = MODULES.iter().zip(self.modules);
        let own = own.filter_map(|(name, level)| Some((*name, filter(level?))));
        let targets = Targets::new()
            .with_default(filter(self.all))
            .with_targets(own);
        self.handle.reload(targets).map_err(|e| e.to_string())
    }
}

struct Control {
    console: Levels,
    file: Levels,
}

static CONTROL: Mutex<Option<Control>> = Mutex::new(None);
/// The file's name, and the file while it is open.
static FILE: Mutex<(Option<PathBuf>, Option<File>)> = Mutex::new((None, None));

/// Writes to the file, while there is one.
struct ToFile;

impl Write for ToFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut lock(&FILE).1 {
            // A full disk costs lines, not the switch.
            Some(file) => Ok(file.write(bytes).unwrap_or(bytes.len())),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Octets of a time (`2026-01-02T03:04:05.678901Z`) that stand on the console.
const TO_THE_SECOND: usize = 19;
/// Octets of it that stand in the file.
const TO_THE_MILLISECOND: usize = 23;

/// How a line looks.
struct Form {
    /// Octets of the time that are shown.
    time: usize,
    /// Lines so far.
    said: AtomicU32,
}

impl Form {
    const fn new(time: usize) -> Self {
        Self {
            time,
            said: AtomicU32::new(0),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Form
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let number = self.said.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let level = word(*event.metadata().level());
        let module = module(event.metadata().target());
        let time = time.get(..self.time).unwrap_or(&time);
        write!(to, "{time}Z|{number:05}|{module}|{level}|")?;
        context.format_fields(to.by_ref(), event)?;
        writeln!(to)
    }
}

const fn word(level: tracing::Level) -> &'static str {
    match level {
        tracing::Level::ERROR => "ERR",
        tracing::Level::WARN => "WARN",
        tracing::Level::INFO => "INFO",
        tracing::Level::DEBUG | tracing::Level::TRACE => "DBG",
    }
}

/// The part of the program that a path of modules names: its last word.
fn module(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

/// Starts the log. Called once, before any thread.
pub fn start(level: Level) {
    let (to_console, console) =
        reload::Layer::new(Targets::new().with_default(filter(Some(level))));
    let (to_file, file) = reload::Layer::new(Targets::new().with_default(filter(Some(level))));
    let on_console = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .event_format(Form::new(TO_THE_SECOND))
        .with_filter(to_console);
    let in_file = tracing_subscriber::fmt::layer()
        .with_writer(|| ToFile)
        .with_ansi(false)
        .event_format(Form::new(TO_THE_MILLISECOND))
        .with_filter(to_file);
    let layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> =
        vec![Box::new(on_console), Box::new(in_file)];
    tracing_subscriber::registry().with(layers).init();
    *lock(&CONTROL) = Some(Control {
        console: Levels::new(console, level),
        file: Levels::new(file, level),
    });
}

/// Changes the level of a place; `None` is off.
pub fn set(place: Place, level: Option<Level>) -> Result<(), String> {
    change(place, |levels| {
        levels.all = level;
        levels.modules = [None; MODULES.len()];
    })
}

/// Changes what one of [`MODULES`] says at a place.
pub fn set_module(place: Place, module: &str, level: Option<Level>) -> Result<(), String> {
    change(place, |levels| {
        for (name, own) in MODULES.iter().zip(&mut levels.modules) {
            if *name == module {
                *own = Some(level);
            }
        }
    })
}

fn change(place: Place, how: impl FnOnce(&mut Levels)) -> Result<(), String> {
    let mut control = lock(&CONTROL);
    let Some(control) = control.as_mut() else {
        return Ok(());
    };
    let levels = match place {
        Place::Console => &mut control.console,
        Place::File => &mut control.file,
    };
    how(levels);
    levels.apply()
}

/// Changes the level of every place.
pub fn set_all(name: &str) -> Result<(), String> {
    let level = <Level as clap::ValueEnum>::from_str(name, true)
        .map_err(|_| format!("{name} is no log level (error, warn, info, debug, trace)"))?;
    set(Place::Console, Some(level))?;
    set(Place::File, Some(level))
}

/// The level of a place; off without a file.
pub fn level(place: Place) -> Option<Level> {
    let control = lock(&CONTROL);
    let control = control.as_ref()?;
    match place {
        Place::Console => control.console.all,
        Place::File => control.file.all.filter(|_| lock(&FILE).1.is_some()),
    }
}

/// Writes to this file from now on too.
///
/// # Errors
/// When it can't be opened, in words.
pub fn open(path: &Path) -> Result<(), String> {
    let file = append(path)?;
    *lock(&FILE) = (Some(path.to_owned()), Some(file));
    tracing::info!("opened log file {}", path.display());
    Ok(())
}

/// Opens the file anew, after it was renamed; false when there is none.
///
/// # Errors
/// When it can't be opened, in words.
pub fn reopen() -> Result<bool, String> {
    let mut file = lock(&FILE);
    let Some(path) = file.0.clone() else {
        return Ok(false);
    };
    file.1 = Some(append(&path)?);
    Ok(true)
}

/// Writes to the file no more, until it is reopened.
pub fn close() {
    lock(&FILE).1 = None;
}

fn append(path: &Path) -> Result<File, String> {
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path);
    opened.map_err(|e| format!("can't write the log file {}: {e}", path.display()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn filter(level: Option<Level>) -> LevelFilter {
    match level {
        None => LevelFilter::OFF,
        Some(Level::Error) => LevelFilter::ERROR,
        Some(Level::Warn) => LevelFilter::WARN,
        Some(Level::Info) => LevelFilter::INFO,
        Some(Level::Debug) => LevelFilter::DEBUG,
        Some(Level::Trace) => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What a subscriber has written.
    static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    struct ToMemory;

    impl Write for ToMemory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            lock(&WRITTEN).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_have_the_form_that_scripts_look_for() {
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(|| ToMemory)
            .with_ansi(false)
            .event_format(Form::new(TO_THE_MILLISECOND));
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            tracing::warn!("port {} has no {}", 7, "name");
            tracing::error!(target: "rvs_switch::openflow", "broken");
        });
        let text = String::from_utf8(lock(&WRITTEN).clone()).unwrap();
        let (first, second) = text.trim_end().split_once('\n').unwrap();
        assert_eq!(&first[10..11], "T");
        assert_eq!(&first[19..20], ".");
        assert_eq!(&first[23..], "Z|00001|tests|WARN|port 7 has no name");
        assert_eq!(&second[23..], "Z|00002|openflow|ERR|broken");
    }
}
