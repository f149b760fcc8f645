//! The flow commands and their options, as `ovs-ofctl` has them.

use clap::{Args, Subcommand};
use rvs_flow::field::Field;
use rvs_openflow::{Version, VersionSet};

use crate::failure::Failure;

/// Options of flow commands; they may stand anywhere.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Options of flow commands")]
pub struct FlowOptions {
    /// Versions of OpenFlow to speak: OpenFlow10,OpenFlow13 [default: the newest that the switch speaks]
    #[arg(long, short = 'O', value_name = "VERSIONS", global = true)]
    pub protocols: Option<String>,

    /// Make all changes at once or none of them (OpenFlow 1.3 and later).
    #[arg(long, global = true)]
    pub bundle: bool,

    /// Change or delete flows of exactly this match and priority.
    #[arg(long, global = true)]
    pub strict: bool,

    /// Print names of ports [default on a terminal].
    #[arg(long, global = true, overrides_with = "no_names")]
    pub names: bool,

    /// Print numbers of ports [default otherwise].
    #[arg(long, global = true)]
    pub no_names: bool,

    /// Leave out counters and ages.
    #[arg(long, global = true)]
    pub no_stats: bool,

    /// Sort flows by priority, or by a match field.
    #[arg(
        long,
        value_name = "FIELD",
        global = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "priority"
    )]
    pub sort: Option<String>,

    /// The same, from the largest down.
    #[arg(
        long,
        value_name = "FIELD",
        global = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "priority",
        conflicts_with = "sort"
    )]
    pub rsort: Option<String>,
}

/// How a dump is sorted.
pub struct Order {
    /// Priority if no field.
    pub by: Option<&'static Field>,
    pub descending: bool,
}

impl FlowOptions {
    /// True if any of them was given.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    pub fn versions(&self) -> Result<VersionSet, Failure> {
        let Some(text) = &self.protocols else {
            return Ok(VersionSet::ALL);
        };
        let words = text.split([',', ' ']).filter(|w| !w.is_empty());
        let version = |w: &str| {
            Version::from_name(w).ok_or_else(|| {
                let all: Vec<&str> = Version::ALL.iter().map(|v| v.name()).collect();
                Failure::Usage(format!(
                    "--protocols: \"{w}\" is no version; there are {}",
                    all.join(", ")
                ))
            })
        };
        let set: VersionSet = words.map(version).collect::<Result<_, _>>()?;
        if set == VersionSet::default() {
            return Err(Failure::Usage("--protocols names no version".to_owned()));
        }
        Ok(set)
    }

    pub fn order(&self) -> Result<Option<Order>, Failure> {
        let (name, descending) = match (&self.sort, &self.rsort) {
            (Some(n), _) => (n, false),
            (None, Some(n)) => (n, true),
            (None, None) => return Ok(None),
        };
        let by = match name.as_str() {
            "priority" => None,
            name => Some(Field::by_name(name).ok_or_else(|| {
                Failure::Usage(format!("cannot sort by \"{name}\": it is no match field"))
            })?),
        };
        Ok(Some(Order { by, descending }))
    }
}

/// SWITCH is a bridge's name, unix:FILE or tcp:HOST[:PORT].
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub enum FlowCommand {
    /// Add a flow, or replace the one of the same match and priority.
    AddFlow { switch: String, flow: String },
    /// Add flows from a file, or from standard input (-); lines may start with add, modify, modify_strict, delete or delete_strict.
    AddFlows { switch: String, file: String },
    /// Change the actions of flows.
    ModFlows { switch: String, flow: String },
    /// Delete flows: those that match, or all.
    DelFlows {
        switch: String,
        flow: Option<String>,
    },
    /// Make the flows those of a file: add what is missing, change what differs, delete the rest.
    ReplaceFlows { switch: String, file: String },
    /// Compare two sets of flows, each a file or a switch; exit 2 if they differ.
    DiffFlows {
        #[arg(value_name = "FILE|SWITCH")]
        first: String,
        #[arg(value_name = "FILE|SWITCH")]
        second: String,
    },
    /// Print flows: those that match, or all.
    DumpFlows {
        switch: String,
        flow: Option<String>,
    },
    /// Print the sums of flows' counters.
    DumpAggregate {
        switch: String,
        flow: Option<String>,
    },
    /// Print flow tables with their counters.
    DumpTables { switch: String },
    /// Print what ports are.
    DumpPortsDesc {
        switch: String,
        port: Option<String>,
    },
    /// Change a port: up, down, flood, no-flood, forward, no-forward, receive, no-receive, packet-in, no-packet-in.
    ModPort {
        switch: String,
        port: String,
        action: String,
    },
    /// Add a group.
    AddGroup { switch: String, group: String },
    /// Add groups from a file, or from standard input (-).
    AddGroups { switch: String, file: String },
    /// Change a group.
    ModGroup {
        switch: String,
        group: String,
        /// Add it if there is none.
        #[arg(long)]
        may_create: bool,
    },
    /// Delete a group, or all.
    #[command(visible_alias = "del-group")]
    DelGroups {
        switch: String,
        group: Option<String>,
    },
    /// Add buckets to a group.
    #[command(visible_alias = "insert-bucket")]
    InsertBuckets { switch: String, group: String },
    /// Remove buckets from a group.
    #[command(visible_alias = "remove-bucket")]
    RemoveBuckets { switch: String, group: String },
    /// Print groups.
    DumpGroups {
        switch: String,
        group: Option<String>,
    },
    /// Print groups' counters.
    DumpGroupStats {
        switch: String,
        group: Option<String>,
    },
    /// Print what groups the switch can have.
    #[command(visible_alias = "dump-group-features")]
    GroupFeatures { switch: String },
    /// Add a meter.
    AddMeter { switch: String, meter: String },
    /// Change a meter.
    ModMeter { switch: String, meter: String },
    /// Delete a meter, or all.
    #[command(visible_alias = "del-meter")]
    DelMeters {
        switch: String,
        meter: Option<String>,
    },
    /// Print meters.
    #[command(visible_alias = "dump-meter")]
    DumpMeters {
        switch: String,
        meter: Option<String>,
    },
    /// Print meters' counters.
    MeterStats {
        switch: String,
        meter: Option<String>,
    },
    /// Print what meters the switch can have.
    MeterFeatures { switch: String },
    /// Send a packet: packet-out SWITCH in_port=PORT,packet=HEX,actions=ACTIONS, or SWITCH PORT ACTIONS HEX...
    PacketOut {
        switch: String,
        #[arg(required = true)]
        packet: Vec<String>,
    },
    /// Print what the switch sends: packet-ins, changes of ports and flows. MISS_LEN, invalid_ttl, watch:[FLOW].
    Monitor {
        switch: String,
        options: Vec<String>,
    },
    /// Print what a bridge and its controllers say to each other.
    Snoop { switch: String },
    /// See whether the switch answers.
    Probe { switch: String },
    /// Measure how fast the switch answers.
    Ping {
        switch: String,
        /// How often to ask.
        #[arg(long, short = 'c', default_value_t = 10)]
        count: u32,
        /// Octets to send along.
        #[arg(long, short = 's', default_value_t = 56)]
        size: u16,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions_are_lists_of_names() {
        let of = |t: &str| {
            FlowOptions {
                protocols: Some(t.to_owned()),
                ..FlowOptions::default()
            }
            .versions()
        };
        let both: VersionSet = [Version::Of10, Version::Of13].into_iter().collect();
        assert_eq!(of("OpenFlow10,OpenFlow13").unwrap(), both);
        assert_eq!(of("OpenFlow13 OpenFlow10").unwrap(), both);
        assert!(of("OpenFlow17").is_err() && of(",").is_err());
        assert_eq!(FlowOptions::default().versions().unwrap(), VersionSet::ALL);
    }
}
