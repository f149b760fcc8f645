//! The log: lines on standard error and in a file, the level of each changed at run time.
//!
//! A line is `TIME|NUMBER|MODULE|LEVEL|TEXT`, unless another pattern is set: the form of Open vSwitch's daemons, for which
//! scripts and test suites look. The time is UTC, to the second on the console and to the millisecond in the file; lines are
//! counted from 1 at each place; the module is the part of the program that speaks.

mod modules;
mod pattern;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

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

pub use self::modules::{MODULES, OURS, UNIXCTL};
pub use self::pattern::FACILITIES;

/// Where lines go. To the system's log none does: its levels and its pattern are kept, and asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Syslog,
    Console,
    File,
}

impl Place {
    pub const ALL: [Self; 3] = [Self::Syslog, Self::Console, Self::File];
}

/// What is said at one place.
struct Levels {
    handle: Option<Handle<Targets, Registry>>,
    /// Of each of [`MODULES`].
    modules: [Option<Level>; MODULES.len()],
}

impl Levels {
    const fn new(handle: Option<Handle<Targets, Registry>>, level: Level) -> Self {
        Self {
            handle,
            modules: [Some(level); MODULES.len()],
        }
    }

    fn of(&self, module: &str) -> Option<Level> {
        let mut all = MODULES.iter().zip(self.modules);
        all.find(|(name, _)| **name == module)
            .and_then(|(_, level)| level)
    }

    /// Every module is named: one that is not would have the level of a module whose name its own begins with.
    fn apply(&self) -> Result<(), String> {
        let Some(handle) = &self.handle else {
            return Ok(());
        };
        let named = MODULES.iter().zip(self.modules);
        let targets = Targets::new()
            .with_default(filter(self.of(OURS)))
            .with_targets(named.map(|(name, level)| (*name, filter(level))));
        handle.reload(targets).map_err(|e| e.to_string())
    }
}

/// By [`Place`].
static CONTROL: Mutex<Option<[Levels; 3]>> = Mutex::new(None);
/// What was set instead of [`pattern::USUAL`], by [`Place`].
static PATTERNS: Mutex<[Option<String>; 3]> = Mutex::new([const { None }; 3]);
/// `%B` names it: local0, until another is set.
static FACILITY: AtomicU8 = AtomicU8::new(16);
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

/// How the lines of a place look.
struct Form {
    place: Place,
    program: String,
    started: Instant,
    /// Lines so far.
    said: AtomicU32,
}

impl Form {
    fn new(place: Place) -> Self {
        let program = std::env::args_os().next().unwrap_or_default();
        let program = Path::new(&program).file_name().unwrap_or_default();
        Self {
            place,
            program: program.to_string_lossy().into_owned(),
            started: Instant::now(),
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
        let (mut time, mut text) = (String::new(), String::new());
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        context.format_fields(Writer::new(&mut text), event)?;
        let line = pattern::Line {
            time: &time,
            number: self.said.fetch_add(1, Ordering::Relaxed).wrapping_add(1),
            module: module(event.metadata().target()),
            level: *event.metadata().level(),
            text: &text,
            program: &self.program,
            facility: FACILITY.load(Ordering::Relaxed),
            running: self.started.elapsed().as_millis(),
        };
        pattern::write(&mut to, &pattern_of(self.place), &line)?;
        writeln!(to)
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
        .event_format(Form::new(Place::Console))
        .with_filter(to_console);
    let in_file = tracing_subscriber::fmt::layer()
        .with_writer(|| ToFile)
        .with_ansi(false)
        .event_format(Form::new(Place::File))
        .with_filter(to_file);
    let layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> =
        vec![Box::new(on_console), Box::new(in_file)];
    tracing_subscriber::registry().with(layers).init();
    *lock(&CONTROL) = Some([
        Levels::new(None, Level::Info),
        Levels::new(Some(console), level),
        Levels::new(Some(file), level),
    ]);
}

/// Changes what a module, or every one, says at a place; `None` is off.
pub fn set(place: Place, module: Option<&str>, level: Option<Level>) -> Result<(), String> {
    let mut control = lock(&CONTROL);
    let Some(control) = control.as_mut() else {
        return Ok(());
    };
    let levels = &mut control[place as usize];
    for (name, own) in MODULES.iter().zip(&mut levels.modules) {
        if module.is_none_or(|m| m == *name) {
            *own = level;
        }
    }
    levels.apply()
}

/// Changes how the lines of a place look.
pub fn set_pattern(place: Place, pattern: &str) {
    lock(&PATTERNS)[place as usize] = Some(pattern.to_owned());
}

/// How the lines of a place look.
pub fn pattern_of(place: Place) -> String {
    let set = lock(&PATTERNS)[place as usize].clone();
    set.unwrap_or_else(|| pattern::USUAL[place as usize].to_owned())
}

/// Changes the facility that lines may name, an index into [`FACILITIES`].
pub fn set_facility(number: u8) {
    FACILITY.store(number, Ordering::Relaxed);
}

/// Changes the level of every place.
pub fn set_all(name: &str) -> Result<(), String> {
    let level = <Level as clap::ValueEnum>::from_str(name, true)
        .map_err(|_| format!("{name} is no log level (error, warn, info, debug, trace)"))?;
    set(Place::Console, None, Some(level))?;
    set(Place::File, None, Some(level))
}

/// What a module says at a place; `None` is nothing.
pub fn level(place: Place, module: &str) -> Option<Level> {
    let control = lock(&CONTROL);
    control.as_ref()?[place as usize].of(module)
}

/// What the program says where it says most: a daemon in the background may have left the console alone.
pub fn most_talkative() -> Option<Level> {
    let has_file = lock(&FILE).1.is_some();
    let in_file = level(Place::File, OURS).filter(|_| has_file);
    level(Place::Console, OURS).max(in_file)
}

/// Writes to this file from now on too.
///
/// # Errors
/// When it can't be opened, in words.
pub fn open(path: &Path) -> Result<(), String> {
    let file = append(path)?;
    *lock(&FILE) = (Some(path.to_owned()), Some(file));
    opened(path);
    Ok(())
}

fn opened(path: &Path) {
    tracing::info!(target: "vlog", "opened log file {}", path.display());
}

/// Opens the file anew, after it was renamed; false when there is none.
///
/// # Errors
/// When it can't be opened, in words.
pub fn reopen() -> Result<bool, String> {
    let Some(path) = lock(&FILE).0.clone() else {
        return Ok(false);
    };
    let new = append(&path)?;
    let id = |file: &File| file.metadata().map(|m| (m.dev(), m.ino())).ok();
    let old = lock(&FILE).1.as_ref().map(id);
    if old == Some(id(&new)) {
        return Ok(true);
    }
    if old.is_some() {
        tracing::info!(target: "vlog", "closing log file");
    }
    lock(&FILE).1 = Some(new);
    opened(&path);
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
            .event_format(Form::new(Place::File));
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
