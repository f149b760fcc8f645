//! Properties: TLVs of 16-bit type and length, padded to 8 octets (OpenFlow 1.4 section 7.2.3 and Nicira's copies).

use crate::error::{ErrorCode, OfError};
use crate::wire::{Reader, Writer};

/// Type of a property that starts with an experimenter id.
pub(crate) const EXPERIMENTER: u16 = 0xffff;

/// Takes the next property: its type, and its body without padding. Always advances.
pub(crate) fn pull<'a>(r: &mut Reader<'a>) -> Result<Option<(u16, Reader<'a>)>, OfError> {
    if r.is_empty() {
        return Ok(None);
    }
    let mut outer = Reader::new(r.peek(), ErrorCode::BpcBadLen);
    let mut p = outer.element(2, 4)?;
    let len = p.len();
    let kind = p.u16()?;
    p.skip(2)?;
    outer.pad8(len);
    let taken = r.len() - outer.len();
    r.skip(taken)?;
    Ok(Some((kind, p)))
}

/// Writes a property with its padding.
pub(crate) fn put(w: &mut Writer, kind: u16, body: impl FnOnce(&mut Writer)) {
    let start = w.len();
    w.u16(kind);
    w.u16(0);
    body(w);
    w.set_len(start + 2, start, "property");
    w.pad8(start);
}

/// A property that must be known and isn't.
pub(crate) fn unknown(kind: u16, of: &str) -> OfError {
    let code = if kind == EXPERIMENTER {
        ErrorCode::BpcBadExperimenter
    } else {
        ErrorCode::BpcBadType
    };
    code.because(format!("property {kind} of {of}"))
}
