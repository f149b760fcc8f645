//! NXM and OXM: TLVs to matches and back.

use rvs_flow::field::{Field, FieldId, OxmType};
use rvs_flow::matching::{FieldForm, MatchError};
use rvs_flow::OfPort;

use super::{of11, pull_header, pull_value, put_field, CookieMask, FlowMatch};
use crate::error::{ErrorCode, OfError};
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// `OFPMT_STANDARD` and `OFPMT_OXM`.
const STANDARD: u16 = 0;
const OXM: u16 = 1;

/// `NXM_NX_COOKIE`: shares its number with the MPLS TTL and is told apart by its length.
const NXM_NX_COOKIE: OxmType = OxmType {
    class: OxmType::NXM_NX,
    field: 30,
    experimenter: 0,
};

/// Reads all of `r` as TLVs into a match that matches everything. With `cookies`, an `NXM_NX_COOKIE` is taken out.
fn pull_fields(
    r: &mut Reader<'_>,
    cookies: bool,
    m: &mut FlowMatch,
) -> Result<Option<CookieMask>, OfError> {
    let mut cookie = None;
    while !r.is_empty() {
        let h = pull_header(r)?;
        let is_cookie = h.oxm == NXM_NX_COOKIE && h.len == 8usize << u8::from(h.has_mask);
        if cookies && is_cookie {
            if cookie.is_some() {
                return Err(ErrorCode::BmcDupField.because("cookie is matched twice"));
            }
            let value = r.u64()?;
            let mask = if h.has_mask { r.u64()? } else { u64::MAX };
            if value & !mask != 0 {
                return Err(ErrorCode::BmcBadWildcards.because(format!(
                    "cookie={value:#x}/{mask:#x} has bits outside its mask"
                )));
            }
            cookie = Some(CookieMask { value, mask });
            continue;
        }
        let field = h.field(ErrorCode::BmcBadField, ErrorCode::BmcBadLen)?;
        let n = usize::from(field.wire_len);
        let value = pull_value(r, n)?;
        let mask = if h.has_mask {
            Some(pull_value(r, n)?)
        } else {
            None
        };
        add(m, field, value, mask)?;
    }
    Ok(cookie)
}

/// Adds one field to the match with all that OpenFlow wants checked.
fn add(
    m: &mut FlowMatch,
    field: &'static Field,
    value: u128,
    mask: Option<u128>,
) -> Result<(), OfError> {
    let full = field.match_mask();
    let mask = match mask {
        None => full,
        Some(mask) => {
            if value & !mask != 0 {
                return Err(ErrorCode::BmcBadWildcards.because(format!(
                    "{field}={value:#x}/{mask:#x} has bits outside its mask; clear them"
                )));
            }
            mask & full
        }
    };
    field
        .check_prereq(m.value(), m.mask())
        .map_err(|e| ErrorCode::BmcBadPrereq.because(e.to_string()))?;
    if m.field(field.id).1 != 0 {
        return Err(ErrorCode::BmcDupField.because(format!("{field} is matched twice")));
    }
    if field.id == FieldId::InPortOxm && OfPort(value as u32).to_u16().is_none() && mask != 0 {
        return Err(ErrorCode::BmcBadValue.because(format!(
            "in_port={value:#x}: ports are numbered 1 to 0xfeff, reserved ones from 0xffffff00"
        )));
    }
    m.set(field.id, value, mask).map_err(|e| match e {
        MatchError::Value { .. } => ErrorCode::BmcBadValue.because(e.to_string()),
        MatchError::Mask { .. } => ErrorCode::BmcBadMask.because(e.to_string()),
    })
}

/// A match of OpenFlow 1.1 or later with its type, length and padding.
pub(crate) fn pull_match(r: &mut Reader<'_>) -> Result<FlowMatch, OfError> {
    let mut m = FlowMatch::any();
    pull_match_into(r, &mut m)?;
    Ok(m)
}

/// As [`pull_match`], into a match that matches everything: matches are large, and flow-mods are many.
pub(crate) fn pull_match_into(r: &mut Reader<'_>, m: &mut FlowMatch) -> Result<(), OfError> {
    let bad_len = |why: String| ErrorCode::BmcBadLen.because(why);
    let kind = r.u16()?;
    if !matches!(kind, STANDARD | OXM) {
        return Err(ErrorCode::BmcBadType.because(format!("match type {kind}; known are 0 and 1")));
    }
    let len = usize::from(r.u16()?);
    let body = len
        .checked_sub(4)
        .filter(|n| *n <= r.len())
        .ok_or_else(|| {
            bad_len(format!(
                "a match of {len} octets where {} are left",
                r.len()
            ))
        })?;
    match kind {
        STANDARD if len == of11::LEN => {
            *m = of11::pull_match11(r)?;
            Ok(())
        }
        STANDARD => Err(bad_len(format!(
            "a standard match of {len} octets; it has {}",
            of11::LEN
        ))),
        _ => {
            let mut tlvs = r.sub(body, ErrorCode::BmcBadLen)?;
            pull_fields(&mut tlvs, false, m)?;
            let pad = len.next_multiple_of(8) - len;
            r.sub(pad.min(r.len()), ErrorCode::BmcBadLen)?;
            Ok(())
        }
    }
}

/// `len` octets of NXM with their padding, and the cookie among them.
pub(crate) fn pull_nxm(
    r: &mut Reader<'_>,
    len: usize,
) -> Result<(FlowMatch, Option<CookieMask>), OfError> {
    let padded = len.next_multiple_of(8);
    if padded > r.len() {
        return Err(ErrorCode::BmcBadLen.because(format!(
            "a match of {len} octets where {} are left",
            r.len()
        )));
    }
    let mut tlvs = r.sub(len, ErrorCode::BmcBadLen)?;
    let mut m = FlowMatch::any();
    let cookie = pull_fields(&mut tlvs, true, &mut m)?;
    r.skip(padded - len)?;
    Ok((m, cookie))
}

/// TLVs without envelope or padding, to the end of `r`.
pub(crate) fn pull_oxm_list(r: &mut Reader<'_>) -> Result<FlowMatch, OfError> {
    let mut m = FlowMatch::any();
    pull_fields(r, false, &mut m)?;
    Ok(m)
}

/// A match in the form of `version`, which is 1.1 or later.
pub(crate) fn put_match(w: &mut Writer, m: &FlowMatch, version: Version) {
    if version <= Version::Of11 {
        return of11::put_match11(w, m);
    }
    let start = w.len();
    w.u16(OXM);
    w.u16(0);
    put_fields(w, m, version);
    w.set_len(start + 2, start, "match");
    w.pad8(start);
}

/// NXM with padding; gives the length without it.
pub(crate) fn put_nxm(w: &mut Writer, m: &FlowMatch, cookie: Option<CookieMask>) -> usize {
    let start = w.len();
    put_fields(w, m, Version::Of10);
    if let Some(c) = cookie {
        let masked = c.mask != u64::MAX;
        w.u32(NXM_NX_COOKIE.header(masked, 8 << u8::from(masked)));
        w.u64(c.value);
        if masked {
            w.u64(c.mask);
        }
    }
    let len = w.len() - start;
    w.pad8(start);
    len
}

/// TLVs without envelope or padding.
pub(crate) fn put_oxm_list(w: &mut Writer, m: &FlowMatch, version: Version) {
    put_fields(w, m, version);
}

fn put_fields(w: &mut Writer, m: &FlowMatch, version: Version) {
    let (tci, tci_mask) = m.field(FieldId::VlanTci);
    let pcp = tci_mask >> 13;
    // A part of the priority, or a priority without a tag, has no OXM; that no tag has no priority needs no saying.
    let untagged = (tci, tci_mask) == (0, 0xffff);
    let sayable = pcp == 0 || untagged || pcp == 7 && tci & tci_mask & 0x1000 != 0;
    let whole_tci = version >= Version::Of12 && !sayable;
    let form = if version >= Version::Of12 {
        FieldForm::Oxm
    } else {
        FieldForm::Nxm
    };
    for (field, value, mask) in m.fields(form) {
        match field.id {
            FieldId::VlanVid if whole_tci => {
                put_field(w, Field::of(FieldId::VlanTci), None, tci, tci_mask);
            }
            FieldId::VlanPcp if whole_tci || untagged && form == FieldForm::Oxm => {}
            _ => put_field(w, field, Some(version), value, mask),
        }
    }
    if whole_tci && m.field(FieldId::VlanVid).1 == 0 {
        put_field(w, Field::of(FieldId::VlanTci), None, tci, tci_mask);
    }
}
