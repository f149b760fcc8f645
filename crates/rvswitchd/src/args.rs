//! The command line of the daemon.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// A user-space OpenFlow switch: Open vSwitch's job without a kernel module.
///
/// Bridges, ports and VLANs are configured with rvs-ctl (or ovs-vsctl) and are kept in a database: what was configured is
/// back after a restart.
#[derive(Parser, Debug)]
#[command(name = "rvswitchd", version, max_term_width = 100)]
pub struct Args {
    /// Make sure that this bridge exists; may be given several times.
    #[arg(long = "bridge", value_name = "NAME")]
    pub bridges: Vec<String>,

    /// Directory for sockets and pid files [default: $RVS_RUNDIR, else $OVS_RUNDIR, else /run/rvswitch].
    #[arg(long, value_name = "DIR")]
    pub rundir: Option<PathBuf>,

    /// The configuration database [default: $RVS_DBDIR/conf.db, else /var/lib/rvswitch/conf.db].
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,

    /// Go to the background once ready.
    #[arg(long)]
    pub detach: bool,

    /// Write the process id here too [default: rvswitchd.pid in the run directory].
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "")]
    pub pidfile: Option<PathBuf>,

    /// How much to log.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: Level,

    /// On a clean end remove internal ports and bridges' interfaces instead of leaving them for the next start.
    #[arg(long)]
    pub cleanup_on_exit: bool,

    /// Forwarding threads; 0 lets the daemon choose.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub workers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Directory for sockets and pid files.
pub fn rundir(args: &Args) -> PathBuf {
    args.rundir
        .clone()
        .or_else(|| env_path("RVS_RUNDIR"))
        .or_else(|| env_path("OVS_RUNDIR"))
        .unwrap_or_else(|| PathBuf::from("/run/rvswitch"))
}

/// The database file.
pub fn database(args: &Args) -> PathBuf {
    args.db
        .clone()
        .or_else(|| env_path("RVS_DBDIR").map(|d| d.join("conf.db")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/rvswitch/conf.db"))
}

fn env_path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|v| !v.is_empty())
        .map(PathBuf::from)
}
