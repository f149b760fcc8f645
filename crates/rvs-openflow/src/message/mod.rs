//! Messages: one type for all versions, and the dialect that says how they are written.
//!
//! A [`Dialect`] is what both ends of a connection have agreed on: the version, and in Nicira's older extensions the form
//! of flows and packet-ins. [`Dialect::decode`] reads one whole message (as the framer gives it), [`Dialect::encode`]
//! writes one. Decoding refuses what it does not know with the error that the peer should get; it never panics, and takes
//! time and memory in proportion to the message.

#[cfg(test)]
mod attack_tests;
mod bundle;
mod config;
mod controller_status;
mod desc;
mod dispatch;
mod flow;
mod flow_stats;
mod group;
mod group_stats;
mod hello;
pub(crate) mod kind;
mod meter;
mod monitor;
mod multipart;
mod number;
#[cfg(test)]
mod ofctl_tests;
pub(crate) mod oxs;
mod packet;
mod port;
mod port_stats;
pub(crate) mod props;
mod queue;
mod request_forward;
mod role;
mod table;
mod table_features;
mod table_stats;
#[cfg(test)]
pub(crate) mod tests;
mod tlv;

use rvs_flow::OfPort;

use crate::error::ErrorMessage;
use crate::model::ControllerId;
use crate::version::Version;

pub use bundle::{
    BundleAdd, BundleCommand, BundleControl, BundleFeatures, BundleFeaturesRequest, BundleFlags,
};
pub use config::{Capabilities, Features, Fragments, SwitchConfig};
pub use controller_status::{ControllerReason, ControllerStatus};
pub use desc::Desc;
pub use dispatch::decode;
pub use flow::{FlowCommand, FlowFlags, FlowMod, FlowRemoved, FlowRemovedReason};
pub use flow_stats::{AggregateStats, FlowStats, FlowStatsForm, FlowStatsRequest};
pub use group::{GroupCommand, GroupMod, BUCKET_ALL, BUCKET_FIRST, BUCKET_LAST, BUCKET_MAX};
pub use group_stats::{GroupFeatures, GroupStats, PacketCount};
pub use hello::Hello;
pub use meter::{MeterCommand, MeterFeatures, MeterMod, MeterStats};
pub use monitor::{
    FlowChange, FlowEvent, FlowMonitorRequest, FlowUpdate, MonitorCommand, MonitorFlags,
};
pub(crate) use multipart::name_of as multipart_name;
pub use multipart::{
    MultipartReply, MultipartRequest, Parts, Reassembly, Reply, Request, MULTIPART_OCTETS,
    MULTIPART_REQUESTS, MULTIPART_TIMEOUT,
};
pub use packet::{PacketIn, PacketOut};
pub use port::{Port, PortChange, PortConfig, PortFeatures, PortMod, PortState, PortStatus};
pub use port_stats::PortStats;
pub use queue::{Queue, QueueConfig, QueueSelector, QueueStats, QUEUE_ALL};
pub use request_forward::RequestForward;
pub use role::{AsyncConfig, AsyncKind, Role, RoleMessage, RoleReason, RoleStatus};
pub use table::{TableConfig, TableMiss, TableReason, TableStatus, Vacancy};
pub use table_features::{TableFeatures, TableProperty};
pub use table_stats::TableStats;
pub use tlv::{TlvCommand, TlvMap, TlvTableMod, TlvTableReply};

/// Header of a decoded message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub version: Version,
    pub xid: u32,
}

/// How flows are written in OpenFlow 1.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FlowFormat {
    /// `ofp_match` and `ofp_flow_mod`.
    #[default]
    OpenFlow10,
    /// Nicira's extended match; also in later versions when a peer asks for it.
    Nxm,
}

/// How packets go to the controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PacketInFormat {
    /// The version's own.
    #[default]
    Standard,
    /// `NXT_PACKET_IN`.
    Nxt,
    /// `NXT_PACKET_IN2`.
    Nxt2,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dialect {
    pub version: Version,
    pub flow_format: FlowFormat,
    pub packet_in: PacketInFormat,
    /// Flow-mods of 1.0 name a table in the high octet of their command.
    pub flow_mod_table_id: bool,
}

impl Dialect {
    /// The version as its specification has it.
    pub const fn new(version: Version) -> Self {
        Self {
            version,
            flow_format: FlowFormat::OpenFlow10,
            packet_in: PacketInFormat::Standard,
            flow_mod_table_id: false,
        }
    }

    /// OpenFlow 1.0 as `ovs-ofctl` speaks it by default: Nicira's match, tables in flow-mods.
    pub const fn nxm() -> Self {
        Self {
            version: Version::Of10,
            flow_format: FlowFormat::Nxm,
            packet_in: PacketInFormat::Nxt,
            flow_mod_table_id: true,
        }
    }
}

/// One message of any version. What is large is boxed: messages travel through queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Hello(Hello),
    Error(ErrorMessage),
    EchoRequest(Vec<u8>),
    EchoReply(Vec<u8>),
    FeaturesRequest,
    FeaturesReply(Box<Features>),
    GetConfigRequest,
    GetConfigReply(SwitchConfig),
    SetConfig(SwitchConfig),
    PacketIn(Box<PacketIn>),
    FlowRemoved(Box<FlowRemoved>),
    PortStatus(Box<PortStatus>),
    PacketOut(Box<PacketOut>),
    FlowMod(Box<FlowMod>),
    GroupMod(Box<GroupMod>),
    PortMod(Box<PortMod>),
    TableMod(TableConfig),
    MeterMod(Box<MeterMod>),
    BarrierRequest,
    BarrierReply,
    /// Up to 1.3; a multipart from then on.
    QueueGetConfigRequest(OfPort),
    QueueGetConfigReply(Box<QueueConfig>),
    RoleRequest(RoleMessage),
    RoleReply(RoleMessage),
    RoleStatus(RoleStatus),
    GetAsyncRequest,
    GetAsyncReply(Box<AsyncConfig>),
    SetAsync(Box<AsyncConfig>),
    TableStatus(TableStatus),
    RequestForward(Box<RequestForward>),
    ControllerStatus(Box<ControllerStatus>),
    BundleControl(BundleControl),
    BundleAdd(BundleAdd),
    MultipartRequest(MultipartRequest),
    MultipartReply(MultipartReply),
    /// `NXT_SET_FLOW_FORMAT`.
    SetFlowFormat(FlowFormat),
    /// `NXT_FLOW_MOD_TABLE_ID`.
    FlowModTableId(bool),
    /// `NXT_SET_PACKET_IN_FORMAT`.
    SetPacketInFormat(PacketInFormat),
    /// `NXT_FLOW_AGE`: obsolete, does nothing.
    FlowAge,
    /// `NXT_SET_CONTROLLER_ID`.
    SetControllerId(ControllerId),
    /// By the monitor's id; up to 1.3.
    FlowMonitorCancel(u32),
    FlowMonitorPaused,
    FlowMonitorResumed,
    /// `NXT_TLV_TABLE_*`.
    TlvTableMod(TlvTableMod),
    TlvTableRequest,
    TlvTableReply(TlvTableReply),
    /// `NXT_RESUME`: the packet-in with its continuation.
    Resume(Box<PacketIn>),
}
