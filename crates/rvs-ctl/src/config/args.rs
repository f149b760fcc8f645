//! The configuration commands and their options, as `ovs-vsctl` has them.

use clap::{Args, Subcommand};

use super::table::{Cells, Format};

/// How `list` and `find` print; they may stand anywhere.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Options of list and find")]
pub struct TableOptions {
    /// How rows are laid out [default: list].
    #[arg(long, short = 'f', value_name = "FORMAT", global = true)]
    pub format: Option<Format>,

    /// How values are written [default: string].
    #[arg(long, short = 'd', value_name = "FORMAT", global = true)]
    pub data: Option<Cells>,

    /// No line with the names of the columns, no names in lists.
    #[arg(long, global = true)]
    pub no_headings: bool,

    /// The same as --format=list --data=bare --no-headings.
    #[arg(long, global = true)]
    pub bare: bool,

    /// Columns of tables are cut at this width.
    #[arg(long, value_name = "N", global = true)]
    pub max_column_width: Option<usize>,

    /// JSON on several lines.
    #[arg(long, global = true)]
    pub pretty: bool,
}

/// What a transaction may do.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Options of configuration commands")]
pub struct TransactionOptions {
    /// The database [default: db.sock in the run directory].
    #[arg(long, value_name = "unix:FILE|tcp:HOST:PORT", global = true)]
    pub db: Option<String>,

    /// Do not wait until the switch has made the configuration its own.
    #[arg(long, global = true)]
    pub no_wait: bool,

    /// Do everything but the change itself.
    #[arg(long, global = true)]
    pub dry_run: bool,

    /// Wait for the database when nobody answers.
    #[arg(long, global = true)]
    pub retry: bool,

    /// One line for each command: ends of lines within become \n, backslashes are doubled.
    #[arg(long, global = true)]
    pub oneline: bool,
}

/// What rows to show of a table.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct RowOptions {
    /// Only these columns.
    #[arg(long, value_delimiter = ',', value_name = "COLUMN")]
    pub columns: Vec<String>,
}

/// Which bridges.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[group(multiple = false)]
pub struct Kinds {
    /// Only bridges that are none within another.
    #[arg(long)]
    pub real: bool,
    /// Only bridges that are a VLAN of another.
    #[arg(long)]
    pub fake: bool,
}

#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub enum ConfigCommand {
    /// Make the database ready; every other command does so too.
    Init,
    /// Print bridges, ports and interfaces as a tree.
    Show,
    /// Remove controllers, managers, TLS, mirrors, exporters and all of other_config; bridges and ports stay.
    EmerReset,

    /// Add a bridge with its own interface of the same name; with PARENT, a bridge that is a VLAN of PARENT.
    AddBr {
        bridge: String,
        #[arg(requires = "vlan")]
        parent: Option<String>,
        vlan: Option<String>,
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
    ListBr {
        #[command(flatten)]
        kinds: Kinds,
    },
    /// Exit 0 if the bridge exists, 2 if it does not.
    BrExists { bridge: String },
    /// Print the VLAN of its parent that the bridge is; 0 for a real bridge.
    BrToVlan { bridge: String },
    /// Print the bridge that it is a VLAN of; a real bridge is its own.
    BrToParent { bridge: String },
    /// Set a key of the bridge's external_ids, or remove it when there is no value.
    BrSetExternalId {
        bridge: String,
        key: String,
        #[arg(allow_hyphen_values = true)]
        value: Option<String>,
    },
    /// Print a key of the bridge's external_ids, or all of them.
    BrGetExternalId { bridge: String, key: Option<String> },

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
        /// PORT may be named by one of its interfaces.
        #[arg(long)]
        with_iface: bool,
    },
    /// Add a port of several devices: add-bond BRIDGE PORT IFACE IFACE... [COLUMN=VALUE]...
    AddBond {
        bridge: String,
        port: String,
        #[arg(required = true, num_args = 2.., value_name = "IFACE|COLUMN=VALUE")]
        rest: Vec<String>,
        #[arg(long)]
        may_exist: bool,
        /// Set bond_fake_iface.
        #[arg(long)]
        fake_iface: bool,
    },
    /// Add a device to a port.
    AddBondIface {
        bond: String,
        iface: String,
        #[arg(long)]
        may_exist: bool,
    },
    /// Take a device from its port: del-bond-iface [BOND] IFACE.
    DelBondIface {
        #[arg(value_name = "BOND|IFACE")]
        first: String,
        #[arg(value_name = "IFACE")]
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
    /// Print the bridge that has the interface.
    IfaceToBr { iface: String },

    /// Set the controllers of a bridge: tcp:HOST:PORT, ssl:..., unix:FILE, ptcp:PORT, ...
    SetController {
        bridge: String,
        targets: Vec<String>,
        /// Milliseconds of silence before the other end is asked whether it is there; 0 never asks.
        #[arg(long, value_name = "MSECS")]
        inactivity_probe: Option<i64>,
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
    /// Set where the database listens and whom it calls: ptcp:6640, unix:FILE, ...
    SetManager {
        #[arg(required = true)]
        targets: Vec<String>,
        /// Milliseconds of silence before the other end is asked whether it is there; 0 never asks.
        #[arg(long, value_name = "MSECS")]
        inactivity_probe: Option<i64>,
    },
    /// Remove the managers.
    DelManager,
    /// Print the managers.
    GetManager,
    /// Set the files of TLS.
    SetSsl {
        private_key: String,
        certificate: String,
        ca_cert: String,
        /// Take the CA's certificate from the first peer when the file is not there.
        #[arg(long)]
        bootstrap: bool,
    },
    /// Remove the files of TLS.
    DelSsl,
    /// Print the files of TLS.
    GetSsl,
    /// Map a VLAN to a service (Auto Attach).
    AddAaMapping {
        bridge: String,
        i_sid: i64,
        vlan: i64,
    },
    /// Remove such a mapping.
    DelAaMapping {
        bridge: String,
        i_sid: i64,
        vlan: i64,
    },
    /// Print such mappings.
    GetAaMapping { bridge: String },
    /// Set timeouts of a conntrack zone: add-zone-tp netdev zone=1 icmp_first=30.
    AddZoneTp {
        datapath: String,
        zone: String,
        #[arg(required = true, value_name = "KEY=SECS")]
        policies: Vec<String>,
        #[arg(long)]
        may_exist: bool,
    },
    /// Remove the timeouts of a conntrack zone.
    DelZoneTp {
        datapath: String,
        zone: String,
        #[arg(long)]
        if_exists: bool,
    },
    /// Print the timeouts of all conntrack zones.
    ListZoneTp { datapath: String },
    /// Print what a datapath is capable of.
    ListDpCap { datapath: String },

    /// Print columns of a row.
    Get {
        table: String,
        record: String,
        #[arg(value_name = "COLUMN[:KEY]")]
        columns: Vec<String>,
        #[arg(long, conflicts_with = "id")]
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
        #[arg(long)]
        if_exists: bool,
    },
    /// Remove values from a column.
    Remove {
        table: String,
        record: String,
        column: String,
        #[arg(required = true, value_name = "VALUE|KEY[=VALUE]")]
        values: Vec<String>,
        #[arg(long)]
        if_exists: bool,
    },
    /// Empty columns of a row.
    Clear {
        table: String,
        record: String,
        #[arg(required = true)]
        columns: Vec<String>,
        #[arg(long)]
        if_exists: bool,
    },
    /// Print rows of a table.
    List {
        table: String,
        records: Vec<String>,
        #[command(flatten)]
        options: RowOptions,
        #[arg(long)]
        if_exists: bool,
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
        #[arg(long, value_name = "@NAME|UUID")]
        id: Option<String>,
    },
    /// Delete rows.
    Destroy {
        table: String,
        #[arg(conflicts_with = "all")]
        records: Vec<String>,
        #[arg(long)]
        all: bool,
        #[arg(long)]
        if_exists: bool,
    },
    /// Wait until a row is there and meets the conditions of find.
    WaitUntil {
        table: String,
        record: String,
        #[arg(value_name = "COLUMN[:KEY]=VALUE")]
        conditions: Vec<String>,
    },
    /// Nothing; the words are kept with the transaction in the database's log.
    Comment {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}
