//! The command line: global options, then one command, or several configuration commands with `--` between them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::args::{ConfigCommand, TableOptions, TransactionOptions};
use crate::openflow::args::{FlowCommand, FlowOptions};

/// Configures, asks and watches rvswitchd, in the words of ovs-vsctl, ovs-ofctl and ovs-appctl.
///
/// Several configuration commands make one transaction: rvs-ctl add-br br1 -- add-port br1 veth-r tag=100
#[derive(Parser, Debug)]
#[command(
    name = "rvs-ctl",
    version,
    max_term_width = 100,
    args_override_self = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Run directory of the daemon [default: $RVS_RUNDIR, else $OVS_RUNDIR, else /run/rvswitch].
    #[arg(long, value_name = "DIR", global = true)]
    pub rundir: Option<PathBuf>,

    /// Give up after this many seconds; 0 waits for ever.
    #[arg(
        long,
        short = 't',
        value_name = "SECS",
        default_value_t = 5,
        global = true
    )]
    pub timeout: u64,

    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,

    #[command(flatten)]
    pub transaction: TransactionOptions,

    #[command(flatten)]
    pub table: TableOptions,

    #[command(flatten)]
    pub flow_options: FlowOptions,

    #[command(subcommand)]
    pub command: Command,
}

/// A further command behind `--`.
#[derive(Parser, Debug)]
#[command(
    name = "rvs-ctl",
    no_binary_name = true,
    disable_help_subcommand = true
)]
pub struct Segment {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub enum Command {
    #[command(flatten)]
    Config(ConfigCommand),

    /// Show the flows that the caches hold, with their counters, and how often each tier answered.
    DumpCache { bridge: Option<String> },
    /// Show where a bridge has learned which MAC address.
    FdbShow { bridge: String },
    /// Forget learned addresses.
    FdbFlush { bridge: Option<String> },
    /// Pin an address to a port.
    FdbAdd {
        bridge: String,
        port: String,
        vlan: String,
        mac: String,
    },
    /// Forget one address.
    FdbDel {
        bridge: String,
        vlan: String,
        mac: String,
    },
    /// Show ports with their state and counters; of a switch that is named by its address, or with --protocols, as
    /// OpenFlow tells them.
    DumpPorts {
        #[arg(value_name = "BRIDGE|SWITCH")]
        bridge: Option<String>,
        /// Of this port alone (OpenFlow).
        port: Option<String>,
    },
    #[command(flatten)]
    Flow(FlowCommand),
    /// Tell what would happen to a frame: in_port=veth-r,tcp,nw_dst=10.0.0.2,tp_dst=80
    Trace {
        bridge: String,
        /// Match fields, as in add-flow; what is not named is 0.
        flow: String,
        /// The frame itself, in hexadecimal digits; the flow then says where it comes in.
        packet: Option<String>,
    },
    /// Show the daemon's event counters.
    Coverage,
    /// Measure for some seconds where the time of the forwarding threads goes: nanoseconds a frame by stage, sizes of
    /// batches, hits by tier, latency of upcalls.
    Perf {
        #[arg(default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
        seconds: u64,
    },
    /// Show what the daemon holds in memory.
    Memory,
    /// Show or set how much the daemon logs: error, warn, info, debug, trace.
    LogLevel { level: Option<String> },
    /// Say what this kernel and these privileges allow, and how each port runs.
    Doctor {
        /// Remove what a daemon left that died in this run directory: kernel objects, the punt device, filters, sockets.
        #[arg(long)]
        clean: bool,
    },
    /// Print the daemon's version.
    Version,
    /// End the daemon; --cleanup removes internal ports too.
    Exit {
        #[arg(long)]
        cleanup: bool,
    },
    /// Print a completion script for a shell.
    Completions { shell: clap_complete::Shell },
    /// Print the manual page.
    Man,
}

impl Cli {
    pub fn rundir(&self) -> PathBuf {
        let env = |n: &str| {
            std::env::var_os(n)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        self.rundir
            .clone()
            .or_else(|| env("RVS_RUNDIR"))
            .or_else(|| env("OVS_RUNDIR"))
            .unwrap_or_else(|| PathBuf::from("/run/rvswitch"))
    }

    pub fn timeout(&self) -> Option<Duration> {
        (self.timeout > 0).then(|| Duration::from_secs(self.timeout))
    }
}

/// Global options whose value may be the next word.
const WITH_VALUE: [&str; 14] = [
    "-t",
    "--timeout",
    "-f",
    "--format",
    "-d",
    "--data",
    "-O",
    "--protocols",
    "--db",
    "--rundir",
    "--max-column-width",
    "-p",
    "-c",
    "-C",
];
/// Options of a command.
const OWN: [&str; 9] = [
    "--may-exist",
    "--may-create",
    "--if-exists",
    "--all",
    "--cleanup",
    "--real",
    "--fake",
    "--fake-iface",
    "--with-iface",
];
const OWN_BEGIN: [&str; 4] = ["--id=", "--columns=", "--inactivity-probe=", "--bootstrap"];
/// Options of ovs-vsctl about its own log, which rvs-ctl has not: they are accepted, and nothing follows from them.
const LOG_BEGIN: [&str; 5] = ["-v", "--verbose", "--log-file", "--no-syslog", "--syslog-"];

/// Splits a command line at `--`, and lets a command's own options stand before its name, as ovs-vsctl does
/// (`--may-exist add-port br1 p`).
pub fn segments(arguments: Vec<String>) -> Vec<Vec<String>> {
    let mut parts: Vec<Vec<String>> = arguments
        .split(|a| a == "--")
        .map(<[String]>::to_vec)
        .collect();
    parts.retain(|p| !p.is_empty());
    // Global options alone before the first `--` belong to the command behind it.
    if parts.len() > 1 && command_at(&parts[0]).is_none() {
        let options = parts.remove(0);
        parts[0].splice(0..0, options);
    }
    for part in &mut parts {
        let Some(name) = command_at(part) else {
            continue;
        };
        let own =
            |a: &String| OWN.contains(&a.as_str()) || OWN_BEGIN.iter().any(|p| a.starts_with(p));
        let log = |a: &String| LOG_BEGIN.iter().any(|p| a.starts_with(p));
        let (moved, mut kept): (Vec<String>, Vec<String>) = part.drain(..name).partition(own);
        kept.retain(|a| !log(a));
        let command = part.remove(0);
        kept.push(command);
        kept.extend(moved);
        kept.append(part);
        *part = kept;
    }
    parts
}

/// Where the name of the command is: the first word that is no option and no value of one.
fn command_at(part: &[String]) -> Option<usize> {
    let mut is_value = false;
    part.iter().position(|word| {
        let found = !is_value && !word.starts_with('-');
        is_value = !is_value && WITH_VALUE.contains(&word.as_str());
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(s: &str) -> Vec<String> {
        s.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_stand_before_the_command() {
        let parts = segments(words(
            "--json --may-exist add-port br1 p tag=1 -- --id=@m create Mirror name=x",
        ));
        assert_eq!(
            parts,
            [
                words("--json add-port --may-exist br1 p tag=1"),
                words("create --id=@m Mirror name=x")
            ]
        );
        assert!(Segment::try_parse_from(&parts[1]).is_ok());
        let parts = segments(words(
            "-t 5 --no-wait -vsyslog:off -- --if-exists del-br br1 -- list-br",
        ));
        assert_eq!(
            parts,
            [
                words("-t 5 --no-wait del-br --if-exists br1"),
                words("list-br")
            ]
        );
    }
}
