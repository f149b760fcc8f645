//! Type and subtype to the code that reads the body, and back.

use super::kind::{self, nxt, of10, of11};
use super::{
    Dialect, Features, FlowFormat, FlowMod, FlowRemoved, Header, Hello, Message, MultipartReply,
    MultipartRequest, PacketIn, PacketInFormat, PacketOut, PortMod, PortStatus, SwitchConfig,
};
use crate::error::{ErrorCode, ErrorMessage, OfError, NICIRA, ONF};
use crate::framer::{RawHeader, HEADER_LEN};
use crate::model::ControllerId;
use crate::version::Version;
use crate::wire::{EncodeError, Reader, Writer};

pub(super) const fn multipart_reply_kind(v: Version) -> u8 {
    match v {
        Version::Of10 => of10::STATS_REPLY,
        _ => of11::MULTIPART_REPLY,
    }
}

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
        let m = self.pull(&mut r, h.kind)?;
        if !r.is_empty() {
            return Err(ErrorCode::BrcBadLen.because(format!(
                "message type {} with {} octets too many",
                h.kind,
                r.len()
            )));
        }
        Ok((header, m))
    }

    fn pull(&self, r: &mut Reader<'_>, number: u8) -> Result<Message, OfError> {
        use Message as M;
        let v = self.version;
        Ok(match number {
            kind::ECHO_REQUEST => M::EchoRequest(r.rest().to_vec()),
            kind::ECHO_REPLY => M::EchoReply(r.rest().to_vec()),
            kind::EXPERIMENTER => return self.pull_experimenter(r),
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
            kind::FLOW_MOD => M::FlowMod(Box::new(match v {
                Version::Of10 => FlowMod::pull10(r, self)?,
                _ => FlowMod::pull11(r, self)?,
            })),
            _ if v == Version::Of10 => return self.pull_of10(r, number),
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
            _ => return Err(bad_type(number)),
        })
    }

    fn pull_of11(&self, r: &mut Reader<'_>, number: u8) -> Result<Message, OfError> {
        use Message as M;
        let v = self.version;
        Ok(match number {
            of11::PORT_MOD => M::PortMod(Box::new(PortMod::pull(r, v)?)),
            of11::MULTIPART_REQUEST => M::MultipartRequest(MultipartRequest::pull(r, v)?),
            of11::MULTIPART_REPLY => M::MultipartReply(MultipartReply::pull(r, self)?),
            of11::BARRIER_REQUEST => M::BarrierRequest,
            of11::BARRIER_REPLY => M::BarrierReply,
            _ => return Err(bad_type(number)),
        })
    }

    fn pull_experimenter(&self, r: &mut Reader<'_>) -> Result<Message, OfError> {
        let (vendor, sub) = (r.u32()?, r.u32()?);
        match vendor {
            NICIRA => self.pull_nicira(r, sub),
            ONF => Err(bad_subtype("ONF", sub)),
            _ => {
                Err(ErrorCode::BrcBadVendor.because(format!("message of experimenter {vendor:#x}")))
            }
        }
    }

    fn pull_nicira(&self, r: &mut Reader<'_>, sub: u32) -> Result<Message, OfError> {
        use Message as M;
        Ok(match sub {
            nxt::SET_FLOW_FORMAT if self.version == Version::Of10 => {
                M::SetFlowFormat(match r.u32()? {
                    0 => FlowFormat::OpenFlow10,
                    2 => FlowFormat::Nxm,
                    n => {
                        return Err(ErrorCode::BrcEperm.because(format!(
                            "flow format {n}; known are 0 (OpenFlow 1.0) and 2 (NXM)"
                        )))
                    }
                })
            }
            nxt::FLOW_MOD => M::FlowMod(Box::new(FlowMod::pull_nxm(r, self)?)),
            nxt::FLOW_REMOVED => M::FlowRemoved(Box::new(FlowRemoved::pull_nxm(r)?)),
            nxt::FLOW_MOD_TABLE_ID => {
                let on = r.u8()?;
                r.skip(7)?;
                M::FlowModTableId(on != 0)
            }
            nxt::SET_PACKET_IN_FORMAT => M::SetPacketInFormat(match r.u32()? {
                0 => PacketInFormat::Standard,
                1 => PacketInFormat::Nxt,
                2 => PacketInFormat::Nxt2,
                n => {
                    return Err(ErrorCode::BrcEperm
                        .because(format!("packet-in format {n}; known are 0, 1 and 2")))
                }
            }),
            nxt::PACKET_IN => M::PacketIn(Box::new(PacketIn::pull_nxt(r)?)),
            nxt::PACKET_IN2 => M::PacketIn(Box::new(PacketIn::pull_nxt2(r)?)),
            nxt::FLOW_AGE => M::FlowAge,
            nxt::SET_CONTROLLER_ID => {
                r.zeros(6, ErrorCode::NxbrcMustBeZero)?;
                M::SetControllerId(ControllerId(r.u16()?))
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
        let (number, sub) = self.number(m);
        let mut w = Writer::message(version, number, xid);
        if let Some((vendor, sub)) = sub {
            w.u32(vendor);
            w.u32(sub);
        }
        self.put(m, &mut w);
        w.finish()
    }

    /// Type, and for an extension experimenter and subtype.
    fn number(&self, m: &Message) -> (u8, Option<(u32, u32)>) {
        use Message as M;
        let plain = |n: u8| (n, None);
        let nx = |sub: u32| (kind::EXPERIMENTER, Some((NICIRA, sub)));
        let is10 = self.version == Version::Of10;
        let by_version = |old: u8, new: u8| plain(if is10 { old } else { new });
        let nxm = is10 && self.flow_format == FlowFormat::Nxm;
        match m {
            M::Hello(_) => plain(kind::HELLO),
            M::Error(_) => plain(kind::ERROR),
            M::EchoRequest(_) => plain(kind::ECHO_REQUEST),
            M::EchoReply(_) => plain(kind::ECHO_REPLY),
            M::FeaturesRequest => plain(kind::FEATURES_REQUEST),
            M::FeaturesReply(_) => plain(kind::FEATURES_REPLY),
            M::GetConfigRequest => plain(kind::GET_CONFIG_REQUEST),
            M::GetConfigReply(_) => plain(kind::GET_CONFIG_REPLY),
            M::SetConfig(_) => plain(kind::SET_CONFIG),
            M::PacketIn(_) => match self.packet_in {
                PacketInFormat::Standard => plain(kind::PACKET_IN),
                PacketInFormat::Nxt => nx(nxt::PACKET_IN),
                PacketInFormat::Nxt2 => nx(nxt::PACKET_IN2),
            },
            M::FlowRemoved(_) if nxm => nx(nxt::FLOW_REMOVED),
            M::FlowRemoved(_) => plain(kind::FLOW_REMOVED),
            M::PortStatus(_) => plain(kind::PORT_STATUS),
            M::PacketOut(_) => plain(kind::PACKET_OUT),
            M::FlowMod(_) if nxm => nx(nxt::FLOW_MOD),
            M::FlowMod(_) => plain(kind::FLOW_MOD),
            M::PortMod(_) => by_version(of10::PORT_MOD, of11::PORT_MOD),
            M::BarrierRequest => by_version(of10::BARRIER_REQUEST, of11::BARRIER_REQUEST),
            M::BarrierReply => by_version(of10::BARRIER_REPLY, of11::BARRIER_REPLY),
            M::MultipartRequest(_) => by_version(of10::STATS_REQUEST, of11::MULTIPART_REQUEST),
            M::MultipartReply(_) => plain(multipart_reply_kind(self.version)),
            M::SetFlowFormat(_) => nx(nxt::SET_FLOW_FORMAT),
            M::FlowModTableId(_) => nx(nxt::FLOW_MOD_TABLE_ID),
            M::SetPacketInFormat(_) => nx(nxt::SET_PACKET_IN_FORMAT),
            M::FlowAge => nx(nxt::FLOW_AGE),
            M::SetControllerId(_) => nx(nxt::SET_CONTROLLER_ID),
        }
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
            M::FlowRemoved(f) => f.put(w, self),
            M::PortStatus(p) => p.put(w, v),
            M::PacketOut(p) => p.put(w, v),
            M::FlowMod(f) => f.put(w, self),
            M::PortMod(p) => p.put(w, v),
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
            M::FeaturesRequest
            | M::GetConfigRequest
            | M::BarrierRequest
            | M::BarrierReply
            | M::FlowAge => {}
        }
    }
}

fn bad_type(number: u8) -> OfError {
    ErrorCode::BrcBadType.because(format!("message type {number}"))
}

fn bad_subtype(vendor: &str, sub: u32) -> OfError {
    ErrorCode::BrcBadSubtype.because(format!("{vendor} message subtype {sub}"))
}
