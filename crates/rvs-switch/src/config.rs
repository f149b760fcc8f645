//! What the database asks for, as typed values.
//!
//! Reading never fails: a value that makes no sense is replaced by the default and named in `warnings`, as the tools of
//! the field expect (the row stays as the user wrote it).

use std::time::Duration;

use rvs_dpif::Policing;
use rvs_flow::OfPort;
use rvs_l2::{PriorityTags, VlanMode, VlanSet};
use rvs_ovsdb::{RowRef, Uuid};
use rvs_packet::{EtherType, MacAddr, VlanId};

use crate::spanning::{BridgeTree, PortTrees};

/// What becomes of frames while no controller is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailMode {
    #[default]
    Standalone,
    Secure,
}

/// One row of table Bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeConfig {
    pub uuid: Uuid,
    pub name: String,
    pub ports: Vec<Uuid>,
    /// Rows of table Mirror.
    pub mirrors: Vec<Uuid>,
    pub fail_mode: FailMode,
    pub mac_aging: Duration,
    pub mac_table_size: usize,
    pub forward_bpdu: bool,
    /// `datapath_type=dummy`.
    pub dummy: bool,
    /// `other_config:hwaddr`: MAC of the bridge's own interface.
    pub hwaddr: Option<MacAddr>,
    pub datapath_id: Option<u64>,
    /// `other_config:dp-desc` and `dp-sn`: texts for controllers.
    pub dp_desc: Option<String>,
    pub dp_sn: Option<String>,
    pub flood_vlans: Vec<VlanId>,
    /// STP or RSTP, when one of them is enabled.
    pub spanning: Option<BridgeTree>,
    /// `rstp_enable`: the `rstp-*` settings of ports count, and the `rstp_*` columns are written.
    pub rstp: bool,
    /// `other_config:kernel-cache`, for ports that do not say themselves.
    pub kernel_cache: Option<bool>,
    pub warnings: Vec<String>,
}

/// One row of table Port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    pub uuid: Uuid,
    pub name: String,
    pub interfaces: Vec<Uuid>,
    pub vlan: VlanMode,
    pub priority_tags: PriorityTags,
    pub protected: bool,
    pub trees: PortTrees,
    /// `other_config:kernel-cache`
    pub kernel_cache: Option<bool>,
    /// `other_config:bond-primary`: the interface that a bond prefers.
    pub bond_primary: Option<String>,
    pub warnings: Vec<String>,
}

/// What an interface is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfaceKind {
    /// A device that exists without us.
    System,
    /// A veth pair that the switch makes; its end of the port's name is the user's.
    Internal,
    /// A tap device.
    Tap,
    /// One end of a wire to another bridge of this switch, without a device.
    Patch,
    /// A port in memory, for tests that drive the switch.
    Dummy,
    /// A type that this switch does not have.
    Unknown(String),
}

/// One row of table Interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfaceConfig {
    pub uuid: Uuid,
    pub name: String,
    pub kind: IfaceKind,
    /// Column `mac`: asked for by the user, for internal interfaces.
    pub mac: Option<MacAddr>,
    pub mtu_request: Option<u32>,
    /// `ingress_policing_*`
    pub policing: Policing,
    /// `options:peer`: the interface at the other end of a patch.
    pub peer: Option<String>,
    /// Of column `options` what a dummy knows.
    pub options: Vec<(String, String)>,
    pub ofport_request: Option<OfPort>,
    /// `other_config:kernel-cache`
    pub kernel_cache: Option<bool>,
    /// Column `ofport`: the number that it has, or had before the daemon started.
    pub ofport: Option<OfPort>,
}

impl BridgeConfig {
    pub const DEFAULT_MAC_AGING: Duration = Duration::from_secs(300);
    pub const DEFAULT_MAC_TABLE_SIZE: usize = 8192;
    pub const MAX_MAC_TABLE_SIZE: usize = 1_000_000;

    pub fn read(row: RowRef<'_>) -> Self {
        let mut w = Warnings::of("Bridge", row.str("name"));
        let other = |key: &str| row.map_value("other_config", key);
        let number = |w: &mut Warnings, key: &str, min: u64, max: u64| {
            w.parse(key, other(key), |s| {
                s.parse().ok().filter(|v: &u64| (min..=max).contains(v))
            })
        };
        let spanning = BridgeTree::read(row, &mut w);
        Self {
            spanning,
            rstp: row.bool("rstp_enable"),
            uuid: row.uuid(),
            name: row.str("name").to_owned(),
            ports: row.set_of_uuid("ports").collect(),
            mirrors: row.set_of_uuid("mirrors").collect(),
            fail_mode: match row.opt_str("fail_mode") {
                Some("secure") => FailMode::Secure,
                _ => FailMode::Standalone,
            },
            mac_aging: number(&mut w, "mac-aging-time", 1, 1_000_000)
                .map_or(Self::DEFAULT_MAC_AGING, Duration::from_secs),
            mac_table_size: number(&mut w, "mac-table-size", 1, Self::MAX_MAC_TABLE_SIZE as u64)
                .map_or(Self::DEFAULT_MAC_TABLE_SIZE, |n| n as usize),
            forward_bpdu: other("forward-bpdu") == Some("true"),
            dummy: row.str("datapath_type") == "dummy",
            hwaddr: w.parse("hwaddr", other("hwaddr"), |s| {
                s.parse()
                    .ok()
                    .filter(|m: &MacAddr| !m.is_multicast() && !m.is_zero())
            }),
            dp_desc: other("dp-desc").map(str::to_owned),
            dp_sn: other("dp-sn").map(str::to_owned),
            // Of another form it is no wish, and nobody is warned: configurations of the field are full of such.
            datapath_id: other("datapath-id").and_then(parse_datapath_id),
            flood_vlans: row.set_of_int("flood_vlans").filter_map(vlan_id).collect(),
            kernel_cache: w.parse("kernel-cache", other("kernel-cache"), on_or_off),
            warnings: w.list,
        }
    }
}

impl PortConfig {
    pub fn read(row: RowRef<'_>) -> Self {
        let mut w = Warnings::of("Port", row.str("name"));
        let vlan = read_vlan_mode(row, &mut w);
        let priority_tags = match row.map_value("other_config", "priority-tags") {
            Some("always") => PriorityTags::Always,
            Some("if-nonzero" | "true") => PriorityTags::IfNonzero,
            None | Some("no" | "false" | "never") => PriorityTags::No,
            Some(other) => {
                w.add(format!(
                    "other_config:priority-tags={other} is none of no, if-nonzero, always"
                ));
                PriorityTags::No
            }
        };
        let kernel_cache = row.map_value("other_config", "kernel-cache");
        let interfaces: Vec<Uuid> = row.set_of_uuid("interfaces").collect();
        Self {
            kernel_cache: w.parse("kernel-cache", kernel_cache, on_or_off),
            bond_primary: row
                .map_value("other_config", "bond-primary")
                .map(str::to_owned),
            uuid: row.uuid(),
            name: row.str("name").to_owned(),
            interfaces,
            vlan,
            priority_tags,
            protected: row.bool("protected"),
            trees: PortTrees::read(row, &mut w),
            warnings: w.list,
        }
    }
}

/// `vlan_mode`, `tag`, `trunks` and `cvlans` together. Without `vlan_mode` a tag makes an access port, else it is a trunk.
fn read_vlan_mode(row: RowRef<'_>, w: &mut Warnings) -> VlanMode {
    let tag = row.opt_int("tag").and_then(vlan_id);
    let set = |column| {
        row.set_of_int(column)
            .filter_map(vlan_id)
            .collect::<VlanSet>()
    };
    let trunks = set("trunks");
    let mode = row
        .opt_str("vlan_mode")
        .unwrap_or(if tag.is_some() { "access" } else { "trunk" });
    if mode == "access" && !trunks.is_empty() {
        w.add(
            "an access port ignores trunks (set vlan_mode=native-untagged to use both)".to_owned(),
        );
    }
    let native = tag.unwrap_or(VlanId::ZERO);
    match mode {
        "access" => VlanMode::Access(native),
        "native-tagged" => VlanMode::NativeTagged {
            tag: native,
            trunks,
        },
        "native-untagged" => VlanMode::NativeUntagged {
            tag: native,
            trunks,
        },
        "dot1q-tunnel" => {
            let ethertype = match row.map_value("other_config", "qinq-ethtype") {
                Some("802.1q" | "0x8100") => EtherType::VLAN,
                None | Some("802.1ad" | "0x88a8") => EtherType::QINQ,
                Some(other) => {
                    w.add(format!(
                        "other_config:qinq-ethtype={other} is neither 802.1ad nor 802.1q"
                    ));
                    EtherType::QINQ
                }
            };
            VlanMode::Dot1qTunnel {
                tag: native,
                cvlans: set("cvlans"),
                ethertype,
            }
        }
        _ => VlanMode::Trunk { trunks },
    }
}

/// Keys of column `options` of a dummy: files that its frames are written to, and who it is joined to.
const DUMMY_OPTIONS: &[&str] = &["pcap", "pstream", "rxq_pcap", "stream", "tx_pcap"];

impl IfaceConfig {
    pub fn read(row: RowRef<'_>) -> Self {
        let kind = match row.str("type") {
            "" | "system" => IfaceKind::System,
            "internal" => IfaceKind::Internal,
            "tap" => IfaceKind::Tap,
            "patch" => IfaceKind::Patch,
            "dummy" | "dummy-pmd" | "dummy-internal" => IfaceKind::Dummy,
            other => IfaceKind::Unknown(other.to_owned()),
        };
        let options = DUMMY_OPTIONS
            .iter()
            .filter(|_| kind == IfaceKind::Dummy)
            .filter_map(|k| Some(((*k).to_owned(), row.map_value("options", k)?.to_owned())));
        Self {
            uuid: row.uuid(),
            name: row.str("name").to_owned(),
            options: options.collect(),
            kind,
            mac: row
                .opt_str("mac")
                .and_then(|s| s.parse().ok())
                .filter(|m: &MacAddr| !m.is_multicast()),
            mtu_request: row
                .opt_int("mtu_request")
                .and_then(|n| u32::try_from(n).ok()),
            policing: read_policing(row),
            peer: row.map_value("options", "peer").map(str::to_owned),
            ofport_request: number(row, "ofport_request"),
            kernel_cache: row
                .map_value("other_config", "kernel-cache")
                .and_then(on_or_off),
            ofport: number(row, "ofport"),
        }
    }

    /// The numbers that it asks for and had.
    pub fn numbers(row: RowRef<'_>) -> impl Iterator<Item = OfPort> {
        let both = [number(row, "ofport_request"), number(row, "ofport")];
        both.into_iter().flatten()
    }
}

fn number(row: RowRef<'_>, column: &str) -> Option<OfPort> {
    let n = u32::try_from(row.opt_int(column)?).ok()?;
    (1..OfPort::MAX.0).contains(&n).then_some(OfPort(n))
}

/// Rates and bursts; what is counted in thousands of frames is told in frames.
fn read_policing(row: RowRef<'_>) -> Policing {
    let number = |column: &str, unit: i64| {
        let n = row.int(column).max(0).saturating_mul(unit);
        u32::try_from(n).unwrap_or(u32::MAX)
    };
    Policing {
        kbps: number("ingress_policing_rate", 1),
        kbits: number("ingress_policing_burst", 1),
        pps: number("ingress_policing_kpkts_rate", 1000),
        frames: number("ingress_policing_kpkts_burst", 1000),
    }
}

/// A switch as `other_config:kernel-cache` has it.
pub(crate) fn on_or_off(text: &str) -> Option<bool> {
    match text {
        "on" | "true" => Some(true),
        "off" | "false" => Some(false),
        _ => None,
    }
}

fn vlan_id(v: i64) -> Option<VlanId> {
    u16::try_from(v).ok().and_then(VlanId::new)
}

/// 16 hexadecimal digits, or `0x` and up to 16; never 0.
fn parse_datapath_id(s: &str) -> Option<u64> {
    let digits = match s.strip_prefix("0x") {
        Some(d) if d.len() <= 16 => d,
        None if s.len() == 16 => s,
        _ => return None,
    };
    u64::from_str_radix(digits, 16).ok().filter(|v| *v != 0)
}

/// Collects what was ignored, with the place it stands.
pub(crate) struct Warnings {
    place: String,
    list: Vec<String>,
}

impl Warnings {
    fn of(table: &str, name: &str) -> Self {
        Self {
            place: format!("{table} {name}"),
            list: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, text: String) {
        self.list.push(format!("{}: {text}", self.place));
    }

    pub(crate) fn parse<T>(
        &mut self,
        key: &str,
        text: Option<&str>,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = text?;
        let value = parse(text);
        if value.is_none() {
            self.add(format!(
                "other_config:{key}={text} is not understood and ignored"
            ));
        }
        value
    }
}
