//! Type and subtype to the code that reads the body, and back.

use super::kind::{self, nxt, of10, of11, onft};
use super::number::Number;
use super::{
    queue, AsyncConfig, BundleAdd, BundleControl, ControllerStatus, Dialect, Features, FlowFormat,
    FlowMod, FlowRemoved, GroupMod, Header, Hello, Message, MeterMod, MultipartReply,
    MultipartRequest, PacketIn, PacketInFormat, PacketOut, PortMod, PortStatus, QueueConfig,
    RequestForward, RoleMessage, RoleStatus, SwitchConfig, TableConfig, TableStatus, TlvTableMod,
    TlvTableReply,
};
use crate::error::{ErrorCode, ErrorMessage, OfError, NICIRA, ONF};
use crate::framer::{RawHeader, HEADER_LEN};
use crate::model::ControllerId;
use crate::version::Version;
use crate::wire::{EncodeError, Reader, Writer};

/// Reads one message as its own header says, in the standard dialect of that version.
///
/// # Errors
/// As [`Dialect::decode`].
pub fn decode(message: &[u8]) -> Result<(Header, Message), OfError> {
    let version = RawHeader::parse(message).and_then(|h| Version::from_wire(h.version));
    Dialect::new(version.unwrap_or(Version::Of13)).decode(message)
}

impl Dialect {
    /// Reads one whole message.
    ///
    /// HELLO and ERROR are read whatever version their header says.
    ///
    /// # Errors
    /// What the peer should be told: send [`OfError::reply`] to it.
    pub fn decode(&self, message: &[u8]) -> Result<(Header, Message), OfError> {
        let bad_len = |why: &'static str| ErrorCode::BrcBadLen.because(why);
        let h = RawHeader::parse(message).ok_or_else(|| bad_len("shorter than a header"))?;
        if usize::from(h.length) != message.len() {
            return Err(bad_len(
                "the length in the header is not that of the message",
            ));
        }
        let header = Header {
            version: self.version,
            xid: h.xid,
        };
        let mut r = Reader::new(&message[HEADER_LEN..], ErrorCode::BrcBadLen);
        match h.kind {
            kind::HELLO => return Ok((header, Message::Hello(Hello::pull(&mut r, h.version)))),
            kind::ERROR => {
                let e = ErrorMessage::decode(&mut r, h.version)?;
                return Ok((header, Message::Error(e)));
            }
            _ => {}
        }
        if h.version != self.version.wire() {
            return Err(ErrorCode::BrcBadVersion.because(format!(
                "a message of version {:#x} on a connection of {}",
                h.version, self.version
            )));
        }
        if message.len() % 8 != 0 && self.is_whole_words(h.kind, r.peek()) {
            return Err(ErrorCode::BrcBadLen.because(format!(
                "message type {} of {} octets; its length is a multiple of 8",
                h.kind,
                message.len()
            )));
        }
        let m = self.pull(&mut r, h.kind, h.xid)?;
        if !r.is_empty() {
            return Err(ErrorCode::BrcBadLen.because(format!(
                "message type {} with {} octets too many",
                h.kind,
                r.len()
            )));
        }
        Ok((header, m))
    }

    /// True for types whose every part is padded to 8 octets, so that another length is a mistake whatever is inside.
    fn is_whole_words(&self, number: u8, body: &[u8]) -> bool {
        let new = self.version > Version::Of10;
        match number {
            kind::FLOW_MOD => true,
            kind::FLOW_REMOVED => new,
            kind::EXPERIMENTER => {
                let vendor = body.first_chunk().map(|b| u32::from_be_bytes(*b));
                let sub = body
                    .get(4..8)
                    .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
                let words = [
                    nxt::FLOW_MOD,
                    nxt::FLOW_REMOVED,
                    nxt::PACKET_IN2,
                    nxt::RESUME,
                    nxt::GROUP_MOD,
                    nxt::TLV_TABLE_MOD,
                    nxt::TLV_TABLE_REPLY,
                    nxt::SET_ASYNC_CONFIG2,
                ];
                vendor == Some(NICIRA) && sub.is_some_and(|s| words.contains(&s))
            }
            of11::GROUP_MOD..=of11::TABLE_MOD
            | of11::QUEUE_GET_CONFIG_REQUEST..=of11::BUNDLE_CONTROL => {
                new && number != of11::REQUESTFORWARD
            }
            _ => false,
        }
    }

    fn pull(&self, r: &mut Reader<'_>, number: u8, xid: u32) -> Result<Message, OfError> {
        use Message as M;
        let v = self.version;
        Ok(match number {
            kind::ECHO_REQUEST => M::EchoRequest(r.rest().to_vec()),
            kind::ECHO_REPLY => M::EchoReply(r.rest().to_vec()),
            kind::EXPERIMENTER => return self.pull_experimenter(r, xid),
            kind::FEATURES_REQUEST => M::FeaturesRequest,
            kind::FEATURES_REPLY => M::FeaturesReply(Box::new(Features::pull(r, v)?)),
            kind::GET_CONFIG_REQUEST => M::GetConfigRequest,
            kind::GET_CONFIG_REPLY => M::GetConfigReply(SwitchConfig::pull(r, v)?),
            kind::SET_CONFIG => M::SetConfig(SwitchConfig::pull(r, v)?),
            kind::PACKET_IN => M::PacketIn(Box::new(PacketIn::pull(r, v)?)),
            kind::FLOW_REMOVED => M::FlowRemoved(Box::new(match v {
                Version::Of10 => FlowRemoved::pull10(r)?,
                _ => FlowRemoved::pull11(r, v)?,
            })),
            kind::PORT_STATUS => M::PortStatus(Box::new(PortStatus::pull(r, v)?)),
            kind::PACKET_OUT => M::PacketOut(Box::new(PacketOut::pull(r, v)?)),
            kind::FLOW_MOD => M::FlowMod(match v {
                Version::Of10 => FlowMod::pull10(r, self)?,
                _ => FlowMod::pull11(r, self)?,
            }),
            _ if v == Version::Of10 => return self.pull_of10(r, number),
            _ if number >= of11::METER_MOD => return self.pull_of13(r, number, xid),
            _ => return self.pull_of11(r, number),
        })
    }

    fn pull_of10(&self, r: &mut Reader<'_>, number: u8) -> Result<Message, OfError> {
        use Message as M;
        let v = self.version;
        Ok(match number {
            of10::PORT_MOD => M::PortMod(Box::new(PortMod::pull(r, v)?)),
            of10::STATS_REQUEST => M::MultipartRequest(MultipartRequest::pull(r, v)?),
            of10::STATS_REPLY => M::MultipartReply(MultipartReply::pull(r, self)?),
            of10::BARRIER_REQUEST => M::BarrierRequest,
            of10::BARRIER_REPLY => M::BarrierReply,
            of10::QUEUE_GET_CONFIG_REQUEST => {
                M::QueueGetConfigRequest(queue::pull_config_request(r, v)?)
            }
            of10::QUEUE_GET_CONFIG_REPLY => {
                M::QueueGetConfigReply(Box::new(QueueConfig::pull(r, v)?))
            }
            _ => return Err(bad_type(number)),
        })
    }

    fn pull_of11(&self, r: &mut Reader<'_>, number: u8) -> Result<Message, OfError> {
        use Message as M;
        let v = self.version;
        Ok(match number {
            of11::GROUP_MOD => M::GroupMod(Box::new(GroupMod::pull(r, v)?)),
            of11::PORT_MOD => M::PortMod(Box::new(PortMod::pull(r, v)?)),
            of11::TABLE_MOD => M::TableMod(TableConfig::pull_mod(r, v)?),
            of11::MULTIPART_REQUEST => M::MultipartRequest(MultipartRequest::pull(r, v)?),
            of11::MULTIPART_REPLY => M::MultipartReply(MultipartReply::pull(r, self)?),
            of11::BARRIER_REQUEST => M::BarrierRequest,
            of11::BARRIER_REPLY => M::BarrierReply,
            of11::QUEUE_GET_CONFIG_REQUEST if v <= Version::Of13 => {
                M::QueueGetConfigRequest(queue::pull_config_request(r, v)?)
            }
            of11::QUEUE_GET_CONFIG_REPLY if v <= Version::Of13 => {
                M::QueueGetConfigReply(Box::new(QueueConfig::pull(r, v)?))
            }
            of11::ROLE_REQUEST if v >= Version::Of12 => M::RoleRequest(RoleMessage::pull(r, v)?),
            of11::ROLE_REPLY if v >= Version::Of12 => M::RoleReply(RoleMessage::pull(r, v)?),
            of11::GET_ASYNC_REQUEST if v >= Version::Of13 => M::GetAsyncRequest,
            of11::GET_ASYNC_REPLY if v >= Version::Of13 => M::GetAsyncReply(self.pull_async(r)?),
            of11::SET_ASYNC if v >= Version::Of13 => M::SetAsync(self.pull_async(r)?),
            _ => return Err(bad_type(number)),
        })
    }

    fn pull_of13(&self, r: &mut Reader<'_>, number: u8, xid: u32) -> Result<Message, OfError> {
        use Message as M;
        let v = self.version;
        if number == of11::METER_MOD && v >= Version::Of13 {
            return Ok(M::MeterMod(Box::new(MeterMod::pull(r)?)));
        }
        if v < Version::Of14 {
            return Err(bad_type(number));
        }
        Ok(match number {
            of11::ROLE_STATUS => M::RoleStatus(RoleStatus::pull(r)?),
            of11::TABLE_STATUS => M::TableStatus(TableStatus::pull(r, v)?),
            of11::REQUESTFORWARD => M::RequestForward(Box::new(RequestForward::pull(r, self)?)),
            of11::BUNDLE_CONTROL => M::BundleControl(BundleControl::pull(r, v)?),
            of11::BUNDLE_ADD => M::BundleAdd(BundleAdd::pull(r, v, xid)?),
            of11::CONTROLLER_STATUS if v >= Version::Of15 => {
                M::ControllerStatus(Box::new(ControllerStatus::pull(r)?))
            }
            _ => return Err(bad_type(number)),
        })
    }

    fn pull_async(&self, r: &mut Reader<'_>) -> Result<Box<AsyncConfig>, OfError> {
        let config = if self.version >= Version::Of14 {
            let mut properties = Reader::new(r.rest(), ErrorCode::BpcBadLen);
            AsyncConfig::pull_props(&mut properties, self.version)?
        } else {
            AsyncConfig::pull_masks(r)?
        };
        Ok(Box::new(config))
    }

    fn pull_experimenter(&self, r: &mut Reader<'_>, xid: u32) -> Result<Message, OfError> {
        let vendor = r.u32()?;
        // What follows is the vendor's own: in 1.0 there need not be a type.
        if !matches!(vendor, NICIRA | ONF) {
            return Err(
                ErrorCode::BrcBadVendor.because(format!("message of experimenter {vendor:#x}"))
            );
        }
        let sub = r.u32()?;
        match vendor {
            NICIRA => self.pull_nicira(r, sub),
            _ if self.version == Version::Of13 => self.pull_onf(r, sub, xid),
            _ => Err(bad_subtype("ONF", sub)),
        }
    }

    fn pull_onf(&self, r: &mut Reader<'_>, sub: u32, xid: u32) -> Result<Message, OfError> {
        use Message as M;
        Ok(match sub {
            onft::ROLE_STATUS => M::RoleStatus(RoleStatus::pull(r)?),
            onft::FLOW_MONITOR_CANCEL => M::FlowMonitorCancel(r.u32()?),
            onft::FLOW_MONITOR_PAUSED => M::FlowMonitorPaused,
            onft::FLOW_MONITOR_RESUMED => M::FlowMonitorResumed,
            onft::BUNDLE_CONTROL => M::BundleControl(BundleControl::pull(r, self.version)?),
            onft::BUNDLE_ADD => M::BundleAdd(BundleAdd::pull(r, self.version, xid)?),
            onft::REQUESTFORWARD => M::RequestForward(Box::new(RequestForward::pull(r, self)?)),
            _ => return Err(bad_subtype("ONF", sub)),
        })
    }

    fn pull_nicira(&self, r: &mut Reader<'_>, sub: u32) -> Result<Message, OfError> {
        use Message as M;
        let v = self.version;
        Ok(match sub {
            nxt::ROLE_REQUEST => M::RoleRequest(RoleMessage::pull_nicira(r)?),
            nxt::ROLE_REPLY => M::RoleReply(RoleMessage::pull_nicira(r)?),
            nxt::SET_FLOW_FORMAT if v == Version::Of10 => M::SetFlowFormat(pull_flow_format(r)?),
            nxt::FLOW_MOD => M::FlowMod(FlowMod::pull_nxm(r, self)?),
            nxt::FLOW_REMOVED => M::FlowRemoved(Box::new(FlowRemoved::pull_nxm(r)?)),
            nxt::FLOW_MOD_TABLE_ID => {
                let on = r.u8()?;
                r.skip(7)?;
                M::FlowModTableId(on != 0)
            }
            nxt::SET_PACKET_IN_FORMAT => M::SetPacketInFormat(pull_packet_in_format(r)?),
            nxt::PACKET_IN => M::PacketIn(Box::new(PacketIn::pull_nxt(r)?)),
            nxt::PACKET_IN2 => M::PacketIn(Box::new(PacketIn::pull_nxt2(r)?)),
            nxt::RESUME => M::Resume(Box::new(PacketIn::pull_nxt2(r)?)),
            nxt::FLOW_AGE => M::FlowAge,
            nxt::SET_ASYNC_CONFIG => M::SetAsync(Box::new(AsyncConfig::pull_masks(r)?)),
            nxt::SET_ASYNC_CONFIG2 if v <= Version::Of13 => {
                let mut properties = Reader::new(r.rest(), ErrorCode::BpcBadLen);
                M::SetAsync(Box::new(AsyncConfig::pull_props(&mut properties, v)?))
            }
            nxt::SET_CONTROLLER_ID => {
                r.zeros(6, ErrorCode::NxbrcMustBeZero)?;
                M::SetControllerId(ControllerId(r.u16()?))
            }
            nxt::FLOW_MONITOR_CANCEL if v <= Version::Of12 => M::FlowMonitorCancel(r.u32()?),
            nxt::FLOW_MONITOR_PAUSED if v <= Version::Of12 => M::FlowMonitorPaused,
            nxt::FLOW_MONITOR_RESUMED if v <= Version::Of12 => M::FlowMonitorResumed,
            nxt::TLV_TABLE_MOD => M::TlvTableMod(TlvTableMod::pull(r)?),
            nxt::TLV_TABLE_REQUEST => M::TlvTableRequest,
            nxt::TLV_TABLE_REPLY => M::TlvTableReply(TlvTableReply::pull(r)?),
            nxt::GROUP_MOD if v == Version::Of10 => M::GroupMod(Box::new(GroupMod::pull(r, v)?)),
            nxt::REQUESTFORWARD if v <= Version::Of12 => {
                M::RequestForward(Box::new(RequestForward::pull(r, self)?))
            }
            _ => return Err(bad_subtype("Nicira", sub)),
        })
    }

    /// Writes one message under transaction id `xid`.
    ///
    /// # Errors
    /// What the dialect has no words for, or more than 64 KiB.
    pub fn encode(&self, m: &Message, xid: u32) -> Result<Vec<u8>, EncodeError> {
        let version = match m {
            Message::Hello(h) => h.wire_version(),
            _ => self.version.wire(),
        };
        let mut w;
        match self.number(m) {
            Number::Standard(n) => w = Writer::message(version, n, xid),
            Number::Vendor(vendor, sub) => {
                w = Writer::message(version, kind::EXPERIMENTER, xid);
                w.u32(vendor);
                w.u32(sub);
            }
            Number::None(what) => return Err(EncodeError::NotInVersion(what)),
        }
        self.put(m, &mut w);
        w.finish()
    }

    fn put(&self, m: &Message, w: &mut Writer) {
        use Message as M;
        let v = self.version;
        match m {
            M::Hello(h) => h.put(w),
            M::Error(e) => e.encode(w, v),
            M::EchoRequest(d) | M::EchoReply(d) => w.bytes(d),
            M::FeaturesReply(f) => f.put(w, v),
            M::GetConfigReply(c) | M::SetConfig(c) => c.put(w, v),
            M::PacketIn(p) => p.put(w, self),
            M::Resume(p) => p.put_nxt2(w, v),
            M::FlowRemoved(f) => f.put(w, self),
            M::PortStatus(p) => p.put(w, v),
            M::PacketOut(p) => p.put(w, v),
            M::FlowMod(f) => f.put(w, self),
            M::GroupMod(g) => g.put(w, v),
            M::PortMod(p) => p.put(w, v),
            M::TableMod(t) => t.put_mod(w, v),
            M::MeterMod(m) => m.put(w),
            M::QueueGetConfigRequest(p) => queue::put_config_request(w, *p, v),
            M::QueueGetConfigReply(q) => q.put(w, v),
            M::RoleRequest(r) | M::RoleReply(r) => r.put(w, v),
            M::RoleStatus(r) => r.put(w),
            M::GetAsyncReply(c) | M::SetAsync(c) => {
                if v >= Version::Of14 {
                    c.put_props(w);
                } else {
                    c.put_masks(w);
                }
            }
            M::TableStatus(t) => t.put(w, v),
            M::RequestForward(f) => f.put(w, self),
            M::ControllerStatus(c) => c.put(w),
            M::BundleControl(b) => b.put(w),
            M::BundleAdd(b) => b.put(w),
            M::MultipartRequest(q) => q.put(w, v),
            M::MultipartReply(a) => a.put(w, v),
            M::SetFlowFormat(f) => w.u32(match f {
                FlowFormat::OpenFlow10 => 0,
                FlowFormat::Nxm => 2,
            }),
            M::FlowModTableId(on) => {
                w.u8(u8::from(*on));
                w.zeros(7);
            }
            M::SetPacketInFormat(f) => w.u32(*f as u32),
            M::SetControllerId(id) => {
                w.zeros(6);
                w.u16(id.0);
            }
            M::FlowMonitorCancel(id) => w.u32(*id),
            M::TlvTableMod(t) => t.put(w),
            M::TlvTableReply(t) => t.put(w),
            M::FeaturesRequest
            | M::GetConfigRequest
            | M::BarrierRequest
            | M::BarrierReply
            | M::GetAsyncRequest
            | M::FlowAge
            | M::FlowMonitorPaused
            | M::FlowMonitorResumed
            | M::TlvTableRequest => {}
        }
    }
}

fn pull_flow_format(r: &mut Reader<'_>) -> Result<FlowFormat, OfError> {
    match r.u32()? {
        0 => Ok(FlowFormat::OpenFlow10),
        2 => Ok(FlowFormat::Nxm),
        n => Err(ErrorCode::BrcEperm.because(format!(
            "flow format {n}; known are 0 (OpenFlow 1.0) and 2 (NXM)"
        ))),
    }
}

fn pull_packet_in_format(r: &mut Reader<'_>) -> Result<PacketInFormat, OfError> {
    match r.u32()? {
        0 => Ok(PacketInFormat::Standard),
        1 => Ok(PacketInFormat::Nxt),
        2 => Ok(PacketInFormat::Nxt2),
        n => {
            Err(ErrorCode::BrcEperm.because(format!("packet-in format {n}; known are 0, 1 and 2")))
        }
    }
}

fn bad_type(number: u8) -> OfError {
    ErrorCode::BrcBadType.because(format!("message type {number}"))
}

fn bad_subtype(vendor: &str, sub: u32) -> OfError {
    ErrorCode::BrcBadSubtype.because(format!("{vendor} message subtype {sub}"))
}
