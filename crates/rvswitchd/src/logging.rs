//! The log: lines on standard error, their level changed at run time.

use std::io::IsTerminal;
use std::sync::Mutex;

use clap::ValueEnum;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::Registry;

use crate::args::Level;

struct Control {
    handle: Handle<LevelFilter, Registry>,
    level: Level,
}

static CONTROL: Mutex<Option<Control>> = Mutex::new(None);

/// Starts the log. Called once, before any thread.
pub fn start(level: Level) {
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    *lock() = Some(Control { handle, level });
}

/// Changes the level.
pub fn set(name: &str) -> Result<(), String> {
    let level = Level::from_str(name, true)
        .map_err(|_| format!("{name} is no log level (error, warn, info, debug, trace)"))?;
    if let Some(control) = lock().as_mut() {
        control
            .handle
            .reload(filter(level))
            .map_err(|e| e.to_string())?;
        control.level = level;
    }
    Ok(())
}

pub fn level() -> &'static str {
    lock().as_ref().map_or("off", |c| c.level.as_str())
}

fn lock() -> std::sync::MutexGuard<'static, Option<Control>> {
    CONTROL
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}
