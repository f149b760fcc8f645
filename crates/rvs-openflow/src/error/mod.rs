//! Errors: what is wrong (version-free), why (for the log), and how each version says it.
//!
//! An [`OfError`] is made where the fault is seen, with a sentence that names cause and cure; [`OfError::reply`] turns it
//! into the message for the peer, with what the peer sent. An error that the peer's version has no
//! number for is sent as the nearest that it has.

mod table;

use std::borrow::Cow;
use std::fmt;

use crate::framer::RawHeader;
use crate::version::Version;
use crate::wire::{Reader, Writer};

pub use table::ErrorCode;

/// Experimenter id of Nicira's extensions.
pub const NICIRA: u32 = 0x0000_2320;
/// Experimenter id of the Open Networking Foundation.
pub const ONF: u32 = 0x4f4e_4600;

/// Octets of the offending message that an error carries, at most. OpenFlow 1.3.5 section 7.5.4 wants 64 at least; a tool can
/// show in words what was refused when it has the whole, and few are longer than this.
pub const ERROR_DATA: usize = 1024;

/// `NXET_VENDOR`: the type of a vendor error of OpenFlow 1.0 and 1.1.
const NXET_VENDOR: u16 = 0xb0c2;
/// `OFPET_EXPERIMENTER`.
const EXPERIMENTER: u16 = 0xffff;

/// The numbers of an error in a range of versions.
#[derive(Clone, Copy, Debug)]
struct Code {
    vendor: u32,
    first: u8,
    last: u8,
    kind: u16,
    code: u16,
}

/// Standard error of wire versions `first..=last`.
const fn of(first: u8, last: u8, kind: u16, code: u16) -> Code {
    vendor(0, first, last, kind, code)
}

/// Nicira's: type and code before 1.2, type alone from then on.
const fn nx(first: u8, last: u8, kind: u16, code: u16) -> Code {
    vendor(NICIRA, first, last, kind, code)
}

const fn onf(first: u8, last: u8, kind: u16, code: u16) -> Code {
    vendor(ONF, first, last, kind, code)
}

const fn vendor(vendor: u32, first: u8, last: u8, kind: u16, code: u16) -> Code {
    Code {
        vendor,
        first,
        last,
        kind,
        code,
    }
}

/// An error with the sentence for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfError {
    pub code: ErrorCode,
    /// What is wrong and what would be right.
    pub why: Cow<'static, str>,
}

impl fmt::Display for OfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.why)
    }
}

impl std::error::Error for OfError {}

impl From<ErrorCode> for OfError {
    fn from(code: ErrorCode) -> Self {
        code.because(code.name())
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ErrorCode {
    /// The error with its reason.
    pub fn because(self, why: impl Into<Cow<'static, str>>) -> OfError {
        OfError {
            code: self,
            why: why.into(),
        }
    }

    /// The constant called `name`.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|e| e.name() == name)
    }

    fn code(self, version: Version) -> Option<&'static Code> {
        let v = version.wire();
        self.codes().iter().find(|c| c.first <= v && v <= c.last)
    }

    /// True if `version` has numbers for this error.
    pub fn exists_in(self, version: Version) -> bool {
        self.code(version).is_some()
    }

    /// The error that stands for this one in a version that doesn't have it: the most general one of its kind.
    fn nearest(self, version: Version) -> Self {
        let name = self.name();
        let candidates: &[Self] = if name.contains("BMC") {
            &[Self::BmcBadValue, Self::BrcEperm]
        } else if name.contains("BIC") {
            &[Self::BicUnsupInst, Self::FmfcUnsupported]
        } else if name.contains("BAC") {
            &[Self::BacBadArgument]
        } else if name.contains("FMFC") {
            &[Self::FmfcUnknown, Self::FmfcUnsupported]
        } else if name.contains("PMFC") {
            &[Self::PmfcBadConfig, Self::PmfcBadPort]
        } else {
            &[]
        };
        candidates
            .iter()
            .copied()
            .find(|c| c.exists_in(version))
            .unwrap_or(Self::NxbrcUnencodableError)
    }
}

/// An error as a message carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorMessage {
    /// 0 for an error of the standard.
    pub vendor: u32,
    pub kind: u16,
    /// 0 for an experimenter error of 1.2 and later, which has none.
    pub code: u16,
    /// The offending message or its start; a text for `OFPET_HELLO_FAILED`.
    pub data: Vec<u8>,
}

impl ErrorMessage {
    /// `error` in the numbers of `version`.
    pub fn new(error: ErrorCode, version: Version, data: &[u8]) -> Self {
        let code = error
            .code(version)
            .or_else(|| error.nearest(version).code(version));
        let (vendor, kind, code) = code.map_or((0, 1, 0), |c| (c.vendor, c.kind, c.code));
        Self {
            vendor,
            kind,
            code,
            data: data.to_vec(),
        }
    }

    /// Which error that is in `version`, if we know it.
    pub fn known(&self, version: Version) -> Option<ErrorCode> {
        ErrorCode::ALL.iter().copied().find(|e| {
            e.code(version)
                .is_some_and(|c| (c.vendor, c.kind, c.code) == (self.vendor, self.kind, self.code))
        })
    }

    /// Body of an `OFPT_ERROR` message.
    pub(crate) fn encode(&self, w: &mut Writer, version: Version) {
        if self.vendor == 0 {
            w.u16(self.kind);
            w.u16(self.code);
        } else if version >= Version::Of12 {
            w.u16(EXPERIMENTER);
            w.u16(self.kind);
            w.u32(self.vendor);
        } else {
            w.u16(NXET_VENDOR);
            w.u16(0);
            w.u32(self.vendor);
            w.u16(self.kind);
            w.u16(self.code);
        }
        w.bytes(&self.data);
    }

    pub(crate) fn decode(r: &mut Reader<'_>, version: u8) -> Result<Self, OfError> {
        let (mut kind, mut code, mut vendor) = (r.u16()?, r.u16()?, 0);
        let old = version < Version::Of12.wire();
        if kind == NXET_VENDOR && code == 0 && old && r.len() >= 8 {
            (vendor, kind, code) = (r.u32()?, r.u16()?, r.u16()?);
        } else if kind == EXPERIMENTER && !old && r.len() >= 4 {
            (vendor, kind, code) = (r.u32()?, code, 0);
        }
        Ok(Self {
            vendor,
            kind,
            code,
            data: r.rest().to_vec(),
        })
    }
}

impl OfError {
    /// The whole message that answers `request` (at least its header; its transaction id is the reply's).
    pub fn reply(&self, version: Version, request: &[u8]) -> Vec<u8> {
        let header = RawHeader::parse(request);
        let xid = header.map_or(0, |h| h.xid);
        // Who speaks another version than was agreed reads the refusal in that one.
        let spoken = header.filter(|_| self.code == ErrorCode::BrcBadVersion);
        let spoken = spoken.and_then(|h| Version::from_wire(h.version));
        let version = spoken.unwrap_or(version);
        let data = &request[..request.len().min(ERROR_DATA)];
        let mut w = Writer::message(version.wire(), crate::message::kind::ERROR, xid);
        ErrorMessage::new(self.code, version, data).encode(&mut w, version);
        w.finish_short()
    }
}

#[cfg(test)]
mod tests;
