//! Actions on fields: `set_field`, `load`, `move` and their kin, and the sub-fields that Nicira's actions name.

use rvs_flow::field::{Field, FieldId, SubField};
use rvs_packet::EtherType;

use super::decode::bad_argument;
use crate::error::{ErrorCode, OfError};
use crate::model::{Action, FieldValue};
use crate::oxm::{pull_header, pull_value, put_field, put_header};
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// Reads the header of a field that an action names.
pub(super) fn pull_field(r: &mut Reader<'_>) -> Result<&'static Field, OfError> {
    let h = pull_header(r)?;
    if h.has_mask {
        return Err(ErrorCode::BacBadSetType.because("a field's header with a mask where none is"));
    }
    h.field(ErrorCode::BacBadSetType, ErrorCode::BacBadSetLen)
}

/// `n` bits of `field` from bit `ofs` on.
pub(super) fn sub_field(field: &'static Field, ofs: u16, n: u16) -> Result<SubField, OfError> {
    let first = u32::from(ofs);
    let last = (first + u32::from(n)).checked_sub(1).filter(|_| n > 0);
    last.and_then(|last| SubField::new(field.id, first, last).ok())
        .ok_or_else(|| {
            ErrorCode::BacBadSetLen.because(format!(
                "{n} bits of {field} from bit {ofs} on; it has {}",
                field.bits
            ))
        })
}

/// As [`sub_field`], of a field that can be written.
pub(super) fn dst_field(field: &'static Field, ofs: u16, n: u16) -> Result<SubField, OfError> {
    if !field.writable {
        return Err(ErrorCode::BacBadSetArgument.because(format!("{field} cannot be written")));
    }
    sub_field(field, ofs, n)
}

/// Offset and width in 16 bits: ten of offset, six of width less one.
pub(super) const fn split_ofs_nbits(v: u16) -> (u16, u16) {
    (v >> 6, (v & 0x3f) + 1)
}

/// The inverse of [`split_ofs_nbits`]; a width above 64 can't be said.
pub(super) fn put_ofs_nbits(w: &mut Writer, s: &SubField) {
    if s.bits() > 64 {
        w.not_in_version("a sub-field of more than 64 bits");
    }
    w.u16(u16::from(s.ofs()) << 6 | u16::from(s.bits() - 1) & 0x3f);
}

/// The TLV of `set_field` and `reg_load2`, then zeros to the end.
fn pull_tlv(r: &mut Reader<'_>, may_mask: bool) -> Result<(&'static Field, u128, u128), OfError> {
    let h = pull_header(r)?;
    let f = h.field(ErrorCode::BacBadSetType, ErrorCode::BacBadSetLen)?;
    if h.has_mask && !may_mask {
        return Err(ErrorCode::BacBadSetMask.because(format!(
            "set_field of {f} with a mask; OpenFlow 1.5 and reg_load2 take one"
        )));
    }
    let n = usize::from(f.wire_len);
    let value = pull_value(r, n)?;
    let full = f.match_mask();
    let mask = if h.has_mask { pull_value(r, n)? } else { full };
    let rest = r.len();
    r.zeros(rest, ErrorCode::BacBadSetArgument)?;
    if h.has_mask && value & !mask != 0 {
        return Err(ErrorCode::BacBadSetMask.because(format!(
            "set_field of {f} to {value:#x}/{mask:#x}: bits outside the mask"
        )));
    }
    if !f.writable && !f.announces() {
        return Err(ErrorCode::BacBadSetArgument.because(format!("{f} cannot be written")));
    }
    if value & !full != 0 || f.id == FieldId::NwTos && value & 3 != 0 {
        return Err(ErrorCode::BacBadSetArgument
            .because(format!("{f} cannot be {value:#x}: it has {} bits", f.bits)));
    }
    if h.has_mask && f.announces() && mask & full != full {
        return Err(ErrorCode::BacBadSetMask.because(format!("{f} cannot be set in part")));
    }
    if f.announces() && !settable_whole(f, value, mask) {
        return Err(ErrorCode::BacBadSetArgument.because(format!("{f} cannot be {value:#x}")));
    }
    Ok((f, value, mask & full))
}

/// Fields that [say how the rest of the frame is read](Field::announces) are set whole. A type that is a length or makes the
/// payload a VLAN tag can't be.
pub(crate) fn settable_whole(f: &Field, value: u128, mask: u128) -> bool {
    let kind = EtherType(value as u16);
    f.announces()
        && mask == f.max()
        && (f.id != FieldId::EthType || kind.0 >= EtherType::MIN && !kind.is_vlan())
}

/// `OFPAT_SET_FIELD` after its type and length.
pub(super) fn pull_set_field(r: &mut Reader<'_>, version: Version) -> Result<Action, OfError> {
    let (f, value, mask) = pull_tlv(r, version >= Version::Of15)?;
    if f.id == FieldId::InPortOxm {
        return Err(ErrorCode::BacBadSetArgument.because("set_field may not write in_port"));
    }
    if f.id == FieldId::VlanVid && value & 0x1000 == 0 {
        return Err(ErrorCode::BacBadSetArgument.because(format!(
            "vlan_vid {value:#x} without OFPVID_PRESENT (0x1000); use pop_vlan to remove a tag"
        )));
    }
    Ok(set(f, value, mask))
}

fn set(f: &Field, value: u128, mask: u128) -> Action {
    Action::SetField(Box::new(FieldValue {
        field: f.id,
        value: value & mask,
        mask,
    }))
}

/// Nicira's `reg_load` after its subtype.
pub(super) fn pull_load(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let (ofs, n) = split_ofs_nbits(r.u16()?);
    let field = pull_field(r)?;
    let dst = dst_field(field, ofs, n)?;
    let value = u128::from(r.u64()?);
    if value >> dst.bits() != 0 {
        return Err(bad_argument(format!("load of {value:#x} into {dst}")));
    }
    Ok(Action::load(dst, value))
}

/// Nicira's `reg_load2` after its subtype.
pub(super) fn pull_load2(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let (f, value, mask) = pull_tlv(r, true)?;
    Ok(set(f, value, mask))
}

/// Nicira's `reg_move` after its subtype.
pub(super) fn pull_move(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let (n, src_ofs, dst_ofs) = (r.u16()?, r.u16()?, r.u16()?);
    pull_move_fields(r, n, src_ofs, dst_ofs)
}

/// `OFPAT_COPY_FIELD` of 1.5 after its length, or ONF's of 1.3 after its first padding.
pub(super) fn pull_copy_field(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let (n, src_ofs, dst_ofs) = (r.u16()?, r.u16()?, r.u16()?);
    r.skip(2)?;
    pull_move_fields(r, n, src_ofs, dst_ofs)
}

fn pull_move_fields(
    r: &mut Reader<'_>,
    n: u16,
    src_ofs: u16,
    dst_ofs: u16,
) -> Result<Action, OfError> {
    let src = sub_field(pull_field(r)?, src_ofs, n)?;
    let dst = dst_field(pull_field(r)?, dst_ofs, n)?;
    let rest = r.len();
    r.zeros(rest, ErrorCode::NxbrcMustBeZero)?;
    Ok(Action::Move { src, dst })
}

/// Writes the TLV of a `set_field` in a list of `version` (`None`: in Nicira's `reg_load2`).
pub(super) fn put_set(w: &mut Writer, v: &FieldValue, version: Option<Version>) {
    // Two fields have no TLV of their own; the tag's do as well.
    let (field, value, mask) = match v.field {
        FieldId::DlVlan => (FieldId::VlanVid, v.value | 0x1000, v.mask | 0x1000),
        FieldId::DlVlanPcp => (FieldId::VlanPcp, v.value, v.mask),
        f => (f, v.value, v.mask),
    };
    put_field(w, Field::of(field), version, value, mask);
}

/// Writes the fields of a `move`: bits, offsets, `gap` octets, headers.
pub(super) fn put_move(
    w: &mut Writer,
    src: &SubField,
    dst: &SubField,
    version: Option<Version>,
    gap: usize,
) {
    w.u16(dst.bits().into());
    w.u16(src.ofs().into());
    w.u16(dst.ofs().into());
    w.zeros(gap);
    put_header(w, src.field(), version, false);
    put_header(w, dst.field(), version, false);
}
