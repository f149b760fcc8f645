//! Bundles (OpenFlow 1.4; ONF's extension for 1.3).

use super::kind::{self, of11};
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

fn pull_flags(v: u16) -> Result<BundleFlags, OfError> {
    if v & !3 != 0 {
        return Err(ErrorCode::BfcBadFlags.because(format!(
            "bundle flags {v:#x}; known are 1 (atomic) and 2 (ordered)"
        )));
    }
    Ok(BundleFlags(v))
}

impl BundleControl {
    pub(crate) fn pull(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let bundle = r.u32()?;
        let n = r.u16()?;
        let command = BundleCommand::ALL
            .get(usize::from(n))
            .copied()
            .ok_or_else(|| {
                ErrorCode::BfcBadType.because(format!("bundle control {n}; known are 0 to 7"))
            })?;
        let flags = pull_flags(r.u16()?)?;
        // Properties are experimenters' alone.
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
        let flags = pull_flags(r.u16()?)?;
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
