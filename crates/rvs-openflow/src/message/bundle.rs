//! Bundles (OpenFlow 1.4; ONF's extension for 1.3).

use super::kind::{self, of11};
use super::props;
use crate::error::{ErrorCode, OfError};
use crate::framer::{RawHeader, HEADER_LEN};
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// `OFPBF_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BundleFlags(pub u16);

impl BundleFlags {
    pub const ATOMIC: Self = Self(1 << 0);
    pub const ORDERED: Self = Self(1 << 1);
    /// Committed at a time that the controller sets (OpenFlow 1.5).
    pub const TIME: Self = Self(1 << 2);

    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }
}

/// `OFPBCT_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BundleCommand {
    OpenRequest,
    OpenReply,
    CloseRequest,
    CloseReply,
    CommitRequest,
    CommitReply,
    DiscardRequest,
    DiscardReply,
}

impl BundleCommand {
    const ALL: [Self; 8] = [
        Self::OpenRequest,
        Self::OpenReply,
        Self::CloseRequest,
        Self::CloseReply,
        Self::CommitRequest,
        Self::CommitReply,
        Self::DiscardRequest,
        Self::DiscardReply,
    ];

    /// What answers a request.
    pub const fn reply(self) -> Self {
        match self {
            Self::OpenRequest | Self::OpenReply => Self::OpenReply,
            Self::CloseRequest | Self::CloseReply => Self::CloseReply,
            Self::CommitRequest | Self::CommitReply => Self::CommitReply,
            Self::DiscardRequest | Self::DiscardReply => Self::DiscardReply,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleControl {
    pub bundle: u32,
    pub command: BundleCommand,
    pub flags: BundleFlags,
}

fn pull_flags(v: u16, version: Version) -> Result<BundleFlags, OfError> {
    if version >= Version::Of15 && BundleFlags(v).has(BundleFlags::TIME) {
        return Err(ErrorCode::BfcSchedNotSupported
            .because("bundle flag 4 (time); this switch commits when it is told to"));
    }
    if v & !3 != 0 {
        return Err(ErrorCode::BfcBadFlags.because(format!(
            "bundle flags {v:#x}; known are 1 (atomic) and 2 (ordered)"
        )));
    }
    Ok(BundleFlags(v))
}

impl BundleControl {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let bundle = r.u32()?;
        let n = r.u16()?;
        let command = BundleCommand::ALL
            .get(usize::from(n))
            .copied()
            .ok_or_else(|| {
                ErrorCode::BfcBadType.because(format!("bundle control {n}; known are 0 to 7"))
            })?;
        let flags = pull_flags(r.u16()?, version)?;
        // Properties are experimenters' and, in 1.5, the time of a commit that the flags refuse.
        r.rest();
        Ok(Self {
            bundle,
            command,
            flags,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer) {
        w.u32(self.bundle);
        w.u16(self.command as u16);
        w.u16(self.flags.0);
    }
}

/// `ofp_bundle_add_msg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleAdd {
    pub bundle: u32,
    pub flags: BundleFlags,
    /// A whole message of the connection's version and of the same transaction id, of a type that bundles take. Decode it
    /// when it is added; keep it, for errors carry it.
    pub message: Vec<u8>,
}

impl BundleAdd {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version, xid: u32) -> Result<Self, OfError> {
        let bundle = r.u32()?;
        r.skip(2)?;
        let flags = pull_flags(r.u16()?, version)?;
        let h = RawHeader::parse(r.peek())
            .ok_or_else(|| ErrorCode::BfcMsgBadLen.because("no message to add"))?;
        if h.version != version.wire() {
            return Err(ErrorCode::BfcBadVersion.because(format!(
                "a message of version {:#x} in a bundle of {version}",
                h.version
            )));
        }
        let len = usize::from(h.length);
        if len < HEADER_LEN || len > r.len() {
            return Err(ErrorCode::BfcMsgBadLen.because(format!(
                "the message to add says it has {len} octets where {} are",
                r.len()
            )));
        }
        if h.xid != xid {
            return Err(ErrorCode::BfcMsgBadXid.because(format!(
                "the message to add has transaction {:#x}, the bundle-add {xid:#x}",
                h.xid
            )));
        }
        let bundled = [
            kind::FLOW_MOD,
            kind::PACKET_OUT,
            of11::GROUP_MOD,
            of11::PORT_MOD,
        ];
        let nicira = [0, 0, 0x23, 0x20, 0, 0, 0, kind::nxt::FLOW_MOD as u8];
        let message = r.bytes(len)?;
        let is_nx_flow_mod =
            h.kind == kind::EXPERIMENTER && message[HEADER_LEN..].starts_with(&nicira);
        if !bundled.contains(&h.kind) && !is_nx_flow_mod {
            return Err(ErrorCode::BfcMsgUnsup.because(format!(
                "message type {} in a bundle; it takes flow-, group- and port-mods and packet-outs",
                h.kind
            )));
        }
        r.rest();
        Ok(Self {
            bundle,
            flags,
            message: message.to_vec(),
        })
    }

    pub(crate) fn put(&self, w: &mut Writer) {
        w.u32(self.bundle);
        w.zeros(2);
        w.u16(self.flags.0);
        w.bytes(&self.message);
    }
}

/// `ofp_bundle_features_request` (OpenFlow 1.5): what the request brings along (`OFPBF_TIMESTAMP` and so on).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BundleFeaturesRequest {
    pub flags: u32,
}

/// `OFPTMPBF_TIME_CAPABILITY`, and the octets of its body: padding and four times.
const TIME_PROPERTY: u16 = 1;
const TIME_OCTETS: usize = 4 + 4 * 16;

/// Reads past the properties, which speak of scheduled commits alone.
fn skip_features_properties(r: &mut Reader<'_>) -> Result<(), OfError> {
    let mut properties = Reader::new(r.rest(), ErrorCode::BpcBadLen);
    while let Some((kind, p)) = props::pull(&mut properties)? {
        if kind != TIME_PROPERTY {
            return Err(props::unknown(kind, "bundle features"));
        }
        if p.len() != TIME_OCTETS {
            return Err(ErrorCode::BpcBadLen.because(format!(
                "a time property of {} octets; it has {}",
                p.len() + 4,
                TIME_OCTETS + 4
            )));
        }
    }
    Ok(())
}

impl BundleFeaturesRequest {
    /// `OFPBF_TIME_SET_SCHED`: sets how far from now a commit may be scheduled.
    pub const SET_SCHED: u32 = 1 << 1;

    pub(crate) fn pull(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let flags = r.u32()?;
        r.skip(4)?;
        skip_features_properties(r)?;
        Ok(Self { flags })
    }

    pub(crate) fn put(&self, w: &mut Writer) {
        w.u32(self.flags);
        w.zeros(4);
    }
}

/// `ofp_bundle_features`. Its one property is of switches that schedule commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleFeatures {
    /// Flags that bundles may have.
    pub capabilities: BundleFlags,
}

impl BundleFeatures {
    pub(crate) fn pull(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let capabilities = BundleFlags(r.u16()?);
        r.skip(6)?;
        skip_features_properties(r)?;
        Ok(Self { capabilities })
    }

    pub(crate) fn put(&self, w: &mut Writer) {
        w.u16(self.capabilities.0);
        w.zeros(6);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Dialect, Message, MultipartRequest, Request};

    /// A bundle features request whose one property has this type and this body.
    fn asking(kind: u16, body: usize) -> Vec<u8> {
        let len = 4 + body;
        let mut m = vec![6, 18, 0, 0, 0, 0, 0, 1, 0, 19, 0, 0, 0, 0, 0, 0];
        m.extend([0, 0, 0, 1, 0, 0, 0, 0]);
        m.extend(kind.to_be_bytes());
        m.extend((len as u16).to_be_bytes());
        m.resize(m.len() + body, 0);
        let total = m.len() as u16;
        m[2..4].copy_from_slice(&total.to_be_bytes());
        m
    }

    #[test]
    fn a_time_property_is_read_past_and_others_are_refused() {
        let d = Dialect::new(Version::Of15);
        let (_, m) = d.decode(&asking(1, 68)).unwrap();
        let expected = Request::BundleFeatures(BundleFeaturesRequest { flags: 1 });
        assert_eq!(
            m,
            Message::MultipartRequest(MultipartRequest::new(expected))
        );
        let code = |m: &[u8]| d.decode(m).unwrap_err().code;
        assert_eq!(code(&asking(1, 60)), ErrorCode::BpcBadLen);
        assert_eq!(code(&asking(2, 68)), ErrorCode::BpcBadType);
        assert_eq!(code(&asking(0xffff, 12)), ErrorCode::BpcBadExperimenter);
    }

    #[test]
    fn a_scheduled_bundle_is_refused_by_its_name_in_1_5() {
        let open = |version: u8| [version, 33, 0, 16, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 4];
        let code = |v: Version| Dialect::new(v).decode(&open(v.wire())).unwrap_err().code;
        assert_eq!(code(Version::Of15), ErrorCode::BfcSchedNotSupported);
        assert_eq!(code(Version::Of14), ErrorCode::BfcBadFlags);
    }
}
