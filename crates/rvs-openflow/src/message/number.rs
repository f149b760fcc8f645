//! Which type and subtype a message has in a dialect.

use super::kind::{self, nxt, of10, of11, onft};
use super::{Dialect, FlowFormat, Message, PacketInFormat};
use crate::error::{NICIRA, ONF};
use crate::version::Version;

/// A message's type; for an extension, its experimenter and subtype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Standard(u8),
    Vendor(u32, u32),
    /// The dialect doesn't have it; the name says what.
    None(&'static str),
}

use Number::{None as Lacking, Standard};

const fn nx(sub: u32) -> Number {
    Number::Vendor(NICIRA, sub)
}

/// What 1.4 made standard and ONF lent to 1.3.
const fn since14(v: Version, number: u8, onf: u32, name: &'static str) -> Number {
    match v {
        Version::Of14 | Version::Of15 => Standard(number),
        Version::Of13 => Number::Vendor(ONF, onf),
        _ => Lacking(name),
    }
}

/// What Nicira has up to 1.2, ONF in 1.3, and nobody afterwards.
const fn until13(v: Version, nicira: u32, onf: u32, name: &'static str) -> Number {
    match v {
        Version::Of10 | Version::Of11 | Version::Of12 => nx(nicira),
        Version::Of13 => Number::Vendor(ONF, onf),
        _ => Lacking(name),
    }
}

/// What exists from `since` on.
fn from(v: Version, since: Version, number: u8, name: &'static str) -> Number {
    if v >= since {
        Standard(number)
    } else {
        Lacking(name)
    }
}

impl Dialect {
    pub(super) fn number(&self, m: &Message) -> Number {
        use Message as M;
        let v = self.version;
        let is10 = v == Version::Of10;
        let by_version = |old: u8, new: u8| Standard(if is10 { old } else { new });
        let nxm = is10 && self.flow_format == FlowFormat::Nxm;
        match m {
            M::Hello(_) => Standard(kind::HELLO),
            M::Error(_) => Standard(kind::ERROR),
            M::EchoRequest(_) => Standard(kind::ECHO_REQUEST),
            M::EchoReply(_) => Standard(kind::ECHO_REPLY),
            M::FeaturesRequest => Standard(kind::FEATURES_REQUEST),
            M::FeaturesReply(_) => Standard(kind::FEATURES_REPLY),
            M::GetConfigRequest => Standard(kind::GET_CONFIG_REQUEST),
            M::GetConfigReply(_) => Standard(kind::GET_CONFIG_REPLY),
            M::SetConfig(_) => Standard(kind::SET_CONFIG),
            M::PacketIn(_) => match self.packet_in {
                PacketInFormat::Standard => Standard(kind::PACKET_IN),
                PacketInFormat::Nxt => nx(nxt::PACKET_IN),
                PacketInFormat::Nxt2 => nx(nxt::PACKET_IN2),
            },
            M::FlowRemoved(_) if nxm => nx(nxt::FLOW_REMOVED),
            M::FlowRemoved(_) => Standard(kind::FLOW_REMOVED),
            M::PortStatus(_) => Standard(kind::PORT_STATUS),
            M::PacketOut(_) => Standard(kind::PACKET_OUT),
            M::FlowMod(_) if nxm => nx(nxt::FLOW_MOD),
            M::FlowMod(_) => Standard(kind::FLOW_MOD),
            M::GroupMod(_) if is10 => nx(nxt::GROUP_MOD),
            M::GroupMod(_) => Standard(of11::GROUP_MOD),
            M::PortMod(_) => by_version(of10::PORT_MOD, of11::PORT_MOD),
            M::TableMod(_) => from(v, Version::Of11, of11::TABLE_MOD, "a table-mod"),
            M::MeterMod(_) => from(v, Version::Of13, of11::METER_MOD, "a meter-mod"),
            M::BarrierRequest => by_version(of10::BARRIER_REQUEST, of11::BARRIER_REQUEST),
            M::BarrierReply => by_version(of10::BARRIER_REPLY, of11::BARRIER_REPLY),
            M::MultipartRequest(_) => by_version(of10::STATS_REQUEST, of11::MULTIPART_REQUEST),
            M::MultipartReply(_) => Standard(super::multipart::reply_number(v)),
            _ => self.number_of_rest(m),
        }
    }

    fn number_of_rest(&self, m: &Message) -> Number {
        use Message as M;
        let v = self.version;
        let is10 = v == Version::Of10;
        let by_version = |old: u8, new: u8| Standard(if is10 { old } else { new });
        match m {
            M::QueueGetConfigRequest(_) | M::QueueGetConfigReply(_) if v >= Version::Of14 => {
                Lacking("a queue configuration outside multiparts")
            }
            M::QueueGetConfigRequest(_) => by_version(
                of10::QUEUE_GET_CONFIG_REQUEST,
                of11::QUEUE_GET_CONFIG_REQUEST,
            ),
            M::QueueGetConfigReply(_) => {
                by_version(of10::QUEUE_GET_CONFIG_REPLY, of11::QUEUE_GET_CONFIG_REPLY)
            }
            M::RoleRequest(r) if r.nicira => nx(nxt::ROLE_REQUEST),
            M::RoleReply(r) if r.nicira => nx(nxt::ROLE_REPLY),
            M::RoleRequest(_) => from(v, Version::Of12, of11::ROLE_REQUEST, "a role request"),
            M::RoleReply(_) => from(v, Version::Of12, of11::ROLE_REPLY, "a role reply"),
            M::RoleStatus(_) => since14(v, of11::ROLE_STATUS, onft::ROLE_STATUS, "a role status"),
            M::GetAsyncRequest => from(v, Version::Of13, of11::GET_ASYNC_REQUEST, "get-async"),
            M::GetAsyncReply(_) => from(v, Version::Of13, of11::GET_ASYNC_REPLY, "get-async"),
            M::SetAsync(_) if v < Version::Of13 => nx(nxt::SET_ASYNC_CONFIG),
            M::SetAsync(_) => Standard(of11::SET_ASYNC),
            M::TableStatus(_) => from(v, Version::Of14, of11::TABLE_STATUS, "a table status"),
            M::RequestForward(_) if v < Version::Of13 => nx(nxt::REQUESTFORWARD),
            M::RequestForward(_) => since14(
                v,
                of11::REQUESTFORWARD,
                onft::REQUESTFORWARD,
                "a forwarded request",
            ),
            M::BundleControl(_) => {
                since14(v, of11::BUNDLE_CONTROL, onft::BUNDLE_CONTROL, "a bundle")
            }
            M::ControllerStatus(_) => from(
                v,
                Version::Of15,
                of11::CONTROLLER_STATUS,
                "a controller status",
            ),
            M::BundleAdd(_) => since14(v, of11::BUNDLE_ADD, onft::BUNDLE_ADD, "a bundle"),
            M::SetFlowFormat(_) if is10 => nx(nxt::SET_FLOW_FORMAT),
            M::SetFlowFormat(_) => Lacking("a flow format"),
            M::FlowModTableId(_) => nx(nxt::FLOW_MOD_TABLE_ID),
            M::SetPacketInFormat(_) => nx(nxt::SET_PACKET_IN_FORMAT),
            M::FlowAge => nx(nxt::FLOW_AGE),
            M::SetControllerId(_) => nx(nxt::SET_CONTROLLER_ID),
            M::FlowMonitorCancel(_) => until13(
                v,
                nxt::FLOW_MONITOR_CANCEL,
                onft::FLOW_MONITOR_CANCEL,
                "flow monitor cancel",
            ),
            M::FlowMonitorPaused => until13(
                v,
                nxt::FLOW_MONITOR_PAUSED,
                onft::FLOW_MONITOR_PAUSED,
                "flow monitor paused",
            ),
            M::FlowMonitorResumed => until13(
                v,
                nxt::FLOW_MONITOR_RESUMED,
                onft::FLOW_MONITOR_RESUMED,
                "flow monitor resumed",
            ),
            M::TlvTableMod(_) => nx(nxt::TLV_TABLE_MOD),
            M::TlvTableRequest => nx(nxt::TLV_TABLE_REQUEST),
            M::TlvTableReply(_) => nx(nxt::TLV_TABLE_REPLY),
            M::Resume(_) => nx(nxt::RESUME),
            _ => Lacking("this message"),
        }
    }
}
