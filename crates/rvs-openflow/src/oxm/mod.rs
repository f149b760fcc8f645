//! Matches on the wire.
//!
//! Four forms: the fixed structures of OpenFlow 1.0 and 1.1, Nicira's extended match (NXM) that `ovs-ofctl` prefers on
//! 1.0, and OXM of 1.2 and later. NXM and OXM are rows of TLVs under 32-bit headers (64-bit for experimenters); which
//! field a header names, how wide it is and what it needs is the field registry's knowledge, not ours.

mod fields;
mod of10;
mod of11;
#[cfg(test)]
mod tests;

use rvs_flow::field::{Field, OxmType};
use rvs_flow::{Match, PipelineKey};

use crate::error::{ErrorCode, OfError};
use crate::version::Version;
use crate::wire::{Reader, Writer};

pub(crate) use fields::{
    pull_match, pull_match_into, pull_nxm, pull_oxm_list, put_match, put_nxm, put_oxm_list,
};
pub(crate) use of10::{pull_match10, put_match10};

#[cfg(any(test, feature = "testing"))]
pub(crate) use of10::is_exact10;

pub use of10::fits_of10;

/// A match on everything that the tables see.
pub type FlowMatch = Match<PipelineKey>;

/// A cookie and the bits of it that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CookieMask {
    pub value: u64,
    pub mask: u64,
}

/// The header of a TLV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TlvHeader {
    pub(crate) oxm: OxmType,
    pub(crate) has_mask: bool,
    /// Octets of value and mask, without an experimenter id.
    pub(crate) len: usize,
}

/// Reads a header and, for class 0xffff, the experimenter that follows it.
pub(crate) fn pull_header(r: &mut Reader<'_>) -> Result<TlvHeader, OfError> {
    let h = r.u32()?;
    let class = (h >> 16) as u16;
    let mut len = (h & 0xff) as usize;
    let experimenter = if class == OxmType::EXPERIMENTER {
        len = len
            .checked_sub(4)
            .ok_or_else(|| r.bad_len("an experimenter field shorter than its experimenter id"))?;
        r.u32()?
    } else {
        0
    };
    Ok(TlvHeader {
        oxm: OxmType {
            class,
            field: (h >> 9 & 0x7f) as u8,
            experimenter,
        },
        has_mask: h >> 8 & 1 != 0,
        len,
    })
}

impl TlvHeader {
    /// The field, if we know it.
    ///
    /// # Errors
    /// `unknown` for a field that we don't have, `bad_len` for a length that is not the field's.
    pub(crate) fn field(
        &self,
        unknown: ErrorCode,
        bad_len: ErrorCode,
    ) -> Result<&'static Field, OfError> {
        let OxmType {
            class,
            field,
            experimenter,
        } = self.oxm;
        let f = Field::by_oxm(self.oxm).ok_or_else(|| {
            unknown.because(format!(
                "field {field} of class {class:#06x} (experimenter {experimenter:#x}) is not supported"
            ))
        })?;
        let want = usize::from(f.wire_len) << u8::from(self.has_mask);
        if self.len != want {
            let mask = if self.has_mask {
                " of value and mask"
            } else {
                ""
            };
            return Err(bad_len.because(format!(
                "{f} with {} octets{mask}; it takes {want}",
                self.len
            )));
        }
        Ok(f)
    }
}

/// Reads a number of `n` octets, 16 at most.
pub(crate) fn pull_value(r: &mut Reader<'_>, n: usize) -> Result<u128, OfError> {
    Ok(r.bytes(n)?.iter().fold(0, |v, b| v << 8 | u128::from(*b)))
}

/// Writes the low `n` octets, 16 at most.
pub(crate) fn put_value(w: &mut Writer, value: u128, n: u8) {
    w.bytes(&value.to_be_bytes()[16 - usize::from(n)..]);
}

/// The header under which `field` travels in `version`, or, with `None`, in Nicira's actions, where any will do and old
/// readers know NXM best.
fn oxm_of(field: &Field, version: Option<Version>) -> Option<OxmType> {
    let by_version = version.and_then(|v| field.oxm_for(v.wire()));
    let plain = |o: &&rvs_flow::field::OxmName| o.oxm.class != OxmType::EXPERIMENTER;
    by_version
        .or_else(|| field.oxms.iter().rev().find(plain))
        .or_else(|| field.oxms.last())
        .map(|o| o.oxm)
}

/// Writes the header of `field`: 4 octets, 8 under an experimenter.
pub(crate) fn put_header(w: &mut Writer, field: &Field, version: Option<Version>, has_mask: bool) {
    let Some(oxm) = oxm_of(field, version) else {
        w.not_in_version(field.name);
        w.u32(0);
        return;
    };
    let len = field.wire_len << u8::from(has_mask);
    if oxm.class == OxmType::EXPERIMENTER {
        w.u32(oxm.header(has_mask, len + 4));
        w.u32(oxm.experimenter);
    } else {
        w.u32(oxm.header(has_mask, len));
    }
}

/// Writes `field` with its value, and its mask unless it is exact.
pub(crate) fn put_field(
    w: &mut Writer,
    field: &Field,
    version: Option<Version>,
    value: u128,
    mask: u128,
) {
    let exact = mask == field.match_mask();
    put_header(w, field, version, !exact);
    put_value(w, value, field.wire_len);
    if !exact {
        put_value(w, mask, field.wire_len);
    }
}
