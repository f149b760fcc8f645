//! The command line of the daemon.
//!
//! The options of Open vSwitch's daemon are understood, so that scripts that start it can start this one. Their spelling
//! differs from what the parser of this one takes in a few places, which [`respell`] irons out.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Stands for the file that is used when an option names none.
pub const USUAL: &str = "-";

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

    /// Keep the flows in the kernel in this bpf file system (/sys/fs/bpf), so that they go on while the daemon is started
    /// anew, for `other_config:survive-secs` at most.
    #[arg(long, value_name = "DIR")]
    pub bpffs: Option<PathBuf>,

    /// Go to the background once ready.
    #[arg(long)]
    pub detach: bool,

    /// Write the process id here too [default: rvswitchd.pid in the run directory].
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = USUAL)]
    pub pidfile: Option<PathBuf>,

    /// How much to log [default: info].
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<Level>,

    /// Log to a file too [default: $OVS_LOGDIR/rvswitchd.log, else /var/log/rvswitchd.log].
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = USUAL)]
    pub log_file: Option<PathBuf>,

    /// Levels of the log as ovs-vswitchd has them: -vconsole:off, -vfile:dbg; -v alone for everything.
    #[arg(short = 'v', long = "verbose", value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "dbg")]
    pub verbose: Vec<String>,

    /// Start the daemon again when it crashes; after 10 seconds if it crashed sooner than that after its start.
    #[arg(long)]
    pub monitor: bool,

    /// Keep all memory of the process from being swapped out.
    #[arg(long)]
    pub mlockall: bool,

    /// Start anew what a pid file of another daemon names: never done, the lock decides.
    #[arg(long, hide = true)]
    pub overwrite_pidfile: bool,

    /// Stay in the directory where it was started; it always does, unless detached.
    #[arg(long, hide = true)]
    pub no_chdir: bool,

    /// No kernel datapath of Open vSwitch is used: there is none here.
    #[arg(long, hide = true)]
    pub disable_system: bool,

    /// Make ports of memory instead of devices, for tests that drive the switch with netdev-dummy/receive: those of the
    /// types dummy and internal, with =override of every type.
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub enable_dummy: Option<String>,

    /// As above.
    #[arg(long, hide = true)]
    pub disable_system_route: bool,

    /// Processors that a test has on each node: ports in memory have one thread wherever it runs.
    #[arg(long, value_name = "NODES", hide = true)]
    pub dummy_numa: Option<String>,

    /// How the system's log is reached: nothing is said there.
    #[arg(long, value_name = "METHOD", hide = true)]
    pub syslog_method: Option<String>,

    /// As above.
    #[arg(long, value_name = "HOST", hide = true)]
    pub syslog_target: Option<String>,

    /// No confinement by SELinux, of which nothing is done here anyway.
    #[arg(long, hide = true)]
    pub no_self_confinement: bool,

    /// The database server whose client the daemon is (unix:FILE, tcp:HOST[:PORT], ssl:HOST[:PORT]). Where nobody answers
    /// at unix:RUNDIR/db.sock the daemon serves the database there itself.
    #[arg(value_name = "DATABASE")]
    pub remote: Option<String>,

    /// Private key for a DATABASE at ssl:
    #[arg(short = 'p', long, value_name = "FILE")]
    pub private_key: Option<PathBuf>,

    /// Certificate for a DATABASE at ssl:
    #[arg(short = 'c', long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,

    /// Certificate of the authority that signed the server's.
    #[arg(short = 'C', long, value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,

    /// As --ca-cert; a file that does not exist is made from what the first server shows.
    #[arg(long, value_name = "FILE", hide = true)]
    pub bootstrap_ca_cert: Option<PathBuf>,

    /// Also listen for control clients here.
    #[arg(long, value_name = "SOCKET", hide = true)]
    pub unixctl: Option<PathBuf>,

    /// This process was started in the background by --detach.
    #[arg(long, hide = true)]
    pub in_background: bool,

    /// On a clean end remove internal ports and bridges' interfaces instead of leaving them for the next start.
    #[arg(long)]
    pub cleanup_on_exit: bool,

    /// Serve figures for Prometheus at http://ADDR/metrics, such as 127.0.0.1:9475.
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<std::net::SocketAddr>,

    /// Remove what a daemon left that died in this run directory, and end.
    #[arg(long)]
    pub clean: bool,

    /// Print the manual page or a completion script, and end.
    #[arg(long, value_name = "WHAT", hide = true)]
    pub generate: Option<Generate>,

    /// Forwarding threads; 0 lets the daemon choose.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub workers: usize,
}

/// What packages are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generate {
    Man,
    Bash,
    Zsh,
    Fish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
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

/// The command line in the spelling that the parser takes: `-vSPEC` and `-v` become `--verbose=SPEC`, and a `--pidfile` before
/// the name of a database has no value.
pub fn respell(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.peekable();
    let mut all = Vec::new();
    while let Some(a) = arguments.next() {
        let names_database = |next: &OsString| next.to_str().is_some_and(is_remote);
        all.push(match a.to_str() {
            Some("-v") => "--verbose=dbg".into(),
            Some("--pidfile") if arguments.peek().is_some_and(names_database) => {
                format!("--pidfile={USUAL}").into()
            }
            Some(text) => match text.strip_prefix("-v") {
                Some(spec) => format!("--verbose={spec}").into(),
                None => a,
            },
            None => a,
        });
    }
    all
}

fn is_remote(text: &str) -> bool {
    ["unix:", "tcp:", "ssl:"]
        .iter()
        .any(|m| text.starts_with(m))
}

/// Whether the program goes by the name of Open vSwitch's daemon. Then its usual places are that daemon's, it says nothing
/// when all is well, and its database is a server's unless none answers.
pub fn is_stock() -> bool {
    let name = std::env::args_os().next().map(PathBuf::from);
    name.is_some_and(|n| n.file_name().is_some_and(|n| n == STOCK))
}

const STOCK: &str = "ovs-vswitchd";

/// The directory of the socket that a DATABASE argument names.
fn directory_of(remote: &str) -> Option<PathBuf> {
    let path = PathBuf::from(remote.strip_prefix("unix:")?);
    let named = path.is_absolute() && path.file_name().is_some_and(|n| n == "db.sock");
    named.then(|| path.parent().map(PathBuf::from)).flatten()
}

/// Where the log file is without a name.
pub fn default_log_file() -> PathBuf {
    env_path("OVS_LOGDIR")
        .unwrap_or_else(|| {
            PathBuf::from(if is_stock() {
                "/var/log/openvswitch"
            } else {
                "/var/log"
            })
        })
        .join(if is_stock() {
            "ovs-vswitchd.log"
        } else {
            "rvswitchd.log"
        })
}

/// Directory for sockets and pid files.
pub fn rundir(args: &Args) -> PathBuf {
    let of_remote = || args.remote.as_deref().and_then(directory_of);
    let given = args.rundir.clone();
    if is_stock() {
        return given
            .or_else(|| env_path("OVS_RUNDIR"))
            .or_else(of_remote)
            .unwrap_or_else(|| PathBuf::from("/var/run/openvswitch"));
    }
    given
        .or_else(of_remote)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(line: &str) -> Args {
        let words = line.split_whitespace().map(OsString::from);
        Args::try_parse_from(respell(words)).unwrap()
    }

    #[test]
    fn the_line_that_starts_the_other_daemon_starts_this_one() {
        let args = parse(
            "rvswitchd unix:/var/run/openvswitch/db.sock -vconsole:emer -vsyslog:err -vfile:info --mlockall --no-chdir \
             --log-file=/var/log/openvswitch/ovs-vswitchd.log --pidfile=/var/run/openvswitch/ovs-vswitchd.pid --detach --monitor",
        );
        assert_eq!(rundir(&args), PathBuf::from("/var/run/openvswitch"));
        assert_eq!(args.verbose, ["console:emer", "syslog:err", "file:info"]);
        let args_of_tests =
            parse("ovs-vswitchd --enable-dummy --dummy-numa=0,0,1,1 --syslog-method=null");
        assert_eq!(args_of_tests.dummy_numa.as_deref(), Some("0,0,1,1"));
        assert!(args.mlockall && args.no_chdir && args.detach && args.monitor);
        assert_eq!(
            args.log_file,
            Some("/var/log/openvswitch/ovs-vswitchd.log".into())
        );
        let args = parse("rvswitchd --pidfile unix:/run/x/db.sock");
        assert_eq!(args.pidfile, Some(USUAL.into()));
        assert_eq!(rundir(&args), PathBuf::from("/run/x"));
        let args = parse("rvswitchd -v --log-file --disable-system --pidfile");
        assert_eq!(args.verbose, ["dbg"]);
        assert_eq!(args.log_file, Some(USUAL.into()));
        assert_eq!(args.pidfile, Some(USUAL.into()));
    }
}
