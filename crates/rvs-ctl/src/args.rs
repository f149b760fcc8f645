//! The command line: global options, then one command, or several configuration commands with `--` between them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::openflow::args::{FlowCommand, FlowOptions};

/// Configures, asks and watches rvswitchd, in the words of ovs-vsctl, ovs-ofctl and ovs-appctl.
///
/// Several configuration commands make one transaction: rvs-ctl add-br br1 -- add-port br1 veth-r tag=100
#[derive(Parser, Debug)]
#[command(
    name = "rvs-ctl",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Run directory of the daemon [default: $RVS_RUNDIR, else $OVS_RUNDIR, else /run/rvswitch].
    #[arg(long, value_name = "DIR", global = true)]
    pub rundir: Option<PathBuf>,

    /// The database's socket [default: db.sock in the run directory].
    #[arg(long, value_name = "unix:FILE", global = true)]
    pub db: Option<String>,

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

    /// Do not wait until the switch has made the configuration its own.
    #[arg(long, global = true)]
    pub no_wait: bool,

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

/// What rows to show of a table.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct RowOptions {
    /// Only these columns.
    #[arg(long, value_delimiter = ',', value_name = "COLUMN")]
    pub columns: Vec<String>,
}

#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Add a bridge with its own interface of the same name.
    AddBr {
        bridge: String,
        #[arg(long)]
        may_exist: bool,
    },
    /// Delete a bridge and its ports.
    DelBr {
        bridge: String,
        #[arg(long)]
        if_exists: bool,
    },
    /// List the bridges.
    ListBr,
    /// Exit 0 if the bridge exists, 2 if it does not.
    BrExists { bridge: String },
    /// Print bridges, ports and interfaces as a tree.
    Show,
    /// Add a device to a bridge, with settings of its port: tag=100, vlan_mode=native-untagged, trunks=100,200.
    AddPort {
        bridge: String,
        port: String,
        settings: Vec<String>,
        #[arg(long)]
        may_exist: bool,
    },
    /// Delete a port: del-port [BRIDGE] PORT.
    DelPort {
        #[arg(value_name = "BRIDGE|PORT")]
        first: String,
        #[arg(value_name = "PORT")]
        second: Option<String>,
        #[arg(long)]
        if_exists: bool,
    },
    /// List the ports of a bridge.
    ListPorts { bridge: String },
    /// List the interfaces of a bridge.
    ListIfaces { bridge: String },
    /// Print the bridge that has the port.
    PortToBr { port: String },
    /// Set the controllers of a bridge: tcp:HOST:PORT, ssl:..., unix:FILE, ptcp:PORT, ...
    SetController {
        bridge: String,
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// Remove the controllers of a bridge.
    DelController { bridge: String },
    /// Print the controllers of a bridge.
    GetController { bridge: String },
    /// Print the fail mode of a bridge.
    GetFailMode { bridge: String },
    /// Say what the bridge does without a controller: standalone or secure.
    SetFailMode { bridge: String, mode: String },
    /// Back to the default fail mode.
    DelFailMode { bridge: String },
    /// Print columns of a row.
    Get {
        table: String,
        record: String,
        #[arg(value_name = "COLUMN[:KEY]")]
        columns: Vec<String>,
        #[arg(long)]
        if_exists: bool,
        /// Name the row for the other commands of the transaction.
        #[arg(long, value_name = "@NAME")]
        id: Option<String>,
    },
    /// Set columns of a row.
    Set {
        table: String,
        record: String,
        #[arg(required = true, value_name = "COLUMN[:KEY]=VALUE")]
        settings: Vec<String>,
        #[arg(long)]
        if_exists: bool,
    },
    /// Add values to a column.
    Add {
        table: String,
        record: String,
        column: String,
        #[arg(required = true, value_name = "[KEY=]VALUE")]
        values: Vec<String>,
    },
    /// Remove values from a column.
    Remove {
        table: String,
        record: String,
        column: String,
        #[arg(required = true, value_name = "VALUE|KEY[=VALUE]")]
        values: Vec<String>,
    },
    /// Empty columns of a row.
    Clear {
        table: String,
        record: String,
        #[arg(required = true)]
        columns: Vec<String>,
    },
    /// Print rows of a table.
    List {
        table: String,
        records: Vec<String>,
        #[command(flatten)]
        options: RowOptions,
    },
    /// Print the rows that meet conditions.
    Find {
        table: String,
        #[arg(
            value_name = "COLUMN[:KEY](=|!=|<|>|<=|>=|{=}|{!=}|{<}|{>}|{<=}|{>=}|{in}|{not-in})VALUE"
        )]
        conditions: Vec<String>,
        #[command(flatten)]
        options: RowOptions,
    },
    /// Make a row; --id=@NAME names it for the other commands of the transaction.
    Create {
        table: String,
        #[arg(value_name = "COLUMN[:KEY]=VALUE")]
        settings: Vec<String>,
        #[arg(long, value_name = "@NAME")]
        id: Option<String>,
    },
    /// Delete rows.
    Destroy {
        table: String,
        records: Vec<String>,
        #[arg(long)]
        all: bool,
        #[arg(long)]
        if_exists: bool,
    },

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
    Doctor,
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

impl Command {
    /// Part of a transaction on the database.
    pub fn is_configuration(&self) -> bool {
        use Command as C;
        !matches!(
            self,
            C::DumpCache { .. }
                | C::FdbShow { .. }
                | C::FdbFlush { .. }
                | C::FdbAdd { .. }
                | C::FdbDel { .. }
                | C::DumpPorts { .. }
                | C::Flow(_)
                | C::Trace { .. }
                | C::Coverage
                | C::Memory
                | C::Perf { .. }
                | C::LogLevel { .. }
                | C::Doctor
                | C::Version
                | C::Exit { .. }
                | C::Completions { .. }
                | C::Man
        )
    }
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

/// Splits a command line at `--`, and lets a command's own options stand before its name, as ovs-vsctl does
/// (`--may-exist add-port br1 p`).
pub fn segments(arguments: Vec<String>) -> Vec<Vec<String>> {
    let mut parts: Vec<Vec<String>> = arguments
        .split(|a| a == "--")
        .map(<[String]>::to_vec)
        .collect();
    parts.retain(|p| !p.is_empty());
    for part in &mut parts {
        let Some(name) = part.iter().position(|a| !a.starts_with('-')) else {
            continue;
        };
        let own = |a: &String| {
            [
                "--may-exist",
                "--may-create",
                "--if-exists",
                "--all",
                "--cleanup",
            ]
            .contains(&a.as_str())
                || ["--id=", "--columns="].iter().any(|p| a.starts_with(p))
        };
        let (moved, mut kept): (Vec<String>, Vec<String>) = part.drain(..name).partition(own);
        let command = part.remove(0);
        kept.push(command);
        kept.extend(moved);
        kept.append(part);
        *part = kept;
    }
    parts
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
    }
}
