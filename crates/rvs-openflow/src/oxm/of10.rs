//! `ofp_match` of OpenFlow 1.0: twelve fields and a word of wildcards.
//!
//! What it names without its prerequisites is ignored, as 1.0 says (normalisation); what a [`FlowMatch`] says beyond the
//! twelve fields is left out when writing, which [`fits_of10`] tells beforehand.

use rvs_flow::field::FieldId;

use super::{pull_value, put_value, FlowMatch};
use crate::error::{ErrorCode, OfError};
use crate::wire::{Reader, Writer};

const LEN: usize = 40;

const IN_PORT: u32 = 1 << 0;
const DL_VLAN: u32 = 1 << 1;
const DL_SRC: u32 = 1 << 2;
const DL_DST: u32 = 1 << 3;
const DL_TYPE: u32 = 1 << 4;
const NW_PROTO: u32 = 1 << 5;
const TP_SRC: u32 = 1 << 6;
const TP_DST: u32 = 1 << 7;
const NW_SRC_SHIFT: u32 = 8;
const NW_DST_SHIFT: u32 = 14;
const DL_VLAN_PCP: u32 = 1 << 20;
const NW_TOS: u32 = 1 << 21;
const ALL: u32 = (1 << 22) - 1;

/// `OFP_VLAN_NONE`: without a tag.
pub(super) const VLAN_NONE: u16 = 0xffff;

/// True when the structure of OpenFlow 1.0 says all of `m`.
pub fn fits_of10(m: &FlowMatch) -> bool {
    let mut w = Writer::default();
    put_match10(&mut w, m);
    let Ok(bytes) = w.finish_part() else {
        return false;
    };
    let mut r = Reader::new(&bytes, ErrorCode::BrcBadLen);
    pull_match10(&mut r).is_ok_and(|back| back == *m)
}

/// True when the structure of OpenFlow 1.0 has no wildcard for `m`.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn is_exact10(m: &FlowMatch) -> bool {
    let mut w = Writer::default();
    put_match10(&mut w, m);
    w.finish_part().is_ok_and(|b| b.starts_with(&[0, 0, 0, 0]))
}

pub(super) fn value_error(e: impl std::fmt::Display) -> OfError {
    ErrorCode::BmcBadValue.because(e.to_string())
}

pub(crate) fn pull_match10(r: &mut Reader<'_>) -> Result<FlowMatch, OfError> {
    let mut r = r.sub(LEN, ErrorCode::BrcBadLen)?;
    let wild = r.u32()? & ALL;
    let mut m = FlowMatch::any();
    let mut set = |id: FieldId, value: u128| m.set_exact(id, value).map_err(value_error);
    let in_port = r.u16()?;
    if wild & IN_PORT == 0 {
        set(FieldId::InPort, in_port.into())?;
    }
    let dl_src = pull_value(&mut r, 6)?;
    if wild & DL_SRC == 0 {
        set(FieldId::EthSrc, dl_src)?;
    }
    let dl_dst = pull_value(&mut r, 6)?;
    if wild & DL_DST == 0 {
        set(FieldId::EthDst, dl_dst)?;
    }
    let (vlan, pcp) = (r.u16()?, r.u8()?);
    r.skip(1)?;
    let tagged = vlan != VLAN_NONE || wild & DL_VLAN != 0;
    if wild & DL_VLAN == 0 {
        let vid = if tagged { vlan & 0xfff } else { VLAN_NONE };
        set(FieldId::DlVlan, vid.into())?;
    }
    if wild & DL_VLAN_PCP == 0 && tagged {
        set(FieldId::DlVlanPcp, (pcp & 7).into())?;
    }
    let dl_type = r.u16()?;
    if wild & DL_TYPE == 0 {
        set(FieldId::EthType, dl_type.into())?;
    }
    let (tos, proto) = (r.u8()?, r.u8()?);
    if wild & NW_TOS == 0 {
        set(FieldId::NwTos, (tos & 0xfc).into())?;
    }
    if wild & NW_PROTO == 0 {
        set(FieldId::IpProto, proto.into())?;
    }
    r.skip(2)?;
    for (id, shift) in [
        (FieldId::Ipv4Src, NW_SRC_SHIFT),
        (FieldId::Ipv4Dst, NW_DST_SHIFT),
    ] {
        let mask = prefix(wild >> shift & 0x3f);
        let value = r.u32()? & mask;
        m.set(id, value.into(), mask.into()).map_err(value_error)?;
    }
    for (id, bit) in [(FieldId::TcpSrc, TP_SRC), (FieldId::TcpDst, TP_DST)] {
        let value = r.u16()?;
        if wild & bit == 0 {
            set_port(&mut m, id, value)?;
        }
    }
    m.normalize();
    Ok(m)
}

/// A port, or an ICMP type or code, which are 8 bits of it. What it means depends on the protocol; [`FlowMatch`] keeps
/// all of them in one place.
pub(super) fn set_port(m: &mut FlowMatch, id: FieldId, value: u16) -> Result<(), OfError> {
    m.set_exact(id, value.into()).map_err(value_error)
}

/// The mask of `n` wildcarded low bits, 32 and more for all.
const fn prefix(n: u32) -> u32 {
    if n >= 32 {
        0
    } else {
        u32::MAX << n
    }
}

pub(crate) fn put_match10(w: &mut Writer, m: &FlowMatch) {
    let mut wild = 0;
    let at = w.len();
    w.u32(0);
    let mut get = |id: FieldId, bit: u32, all: u128| {
        let (value, mask) = m.field(id);
        if mask & all == all {
            value
        } else {
            wild |= bit;
            0
        }
    };
    let in_port = get(FieldId::InPort, IN_PORT, 0xffff) as u16;
    let dl_src = get(FieldId::EthSrc, DL_SRC, 0xffff_ffff_ffff);
    let dl_dst = get(FieldId::EthDst, DL_DST, 0xffff_ffff_ffff);
    let dl_type = get(FieldId::EthType, DL_TYPE, 0xffff) as u16;
    let tos = get(FieldId::NwTos, NW_TOS, 0xfc) as u8;
    let proto = get(FieldId::IpProto, NW_PROTO, 0xff) as u8;
    let tp_src = get(FieldId::TcpSrc, TP_SRC, 0xffff) as u16;
    let tp_dst = get(FieldId::TcpDst, TP_DST, 0xffff) as u16;
    let (vlan, pcp) = vlan_of(m, &mut wild);
    let mut address = |id: FieldId, shift: u32| {
        let (value, mask) = m.field(id);
        let n = (mask as u32).leading_ones();
        let mask = prefix(32 - n);
        wild |= (32 - n) << shift;
        value as u32 & mask
    };
    let nw_src = address(FieldId::Ipv4Src, NW_SRC_SHIFT);
    let nw_dst = address(FieldId::Ipv4Dst, NW_DST_SHIFT);

    w.u16(in_port);
    put_value(w, dl_src, 6);
    put_value(w, dl_dst, 6);
    w.u16(vlan);
    w.u8(pcp);
    w.zeros(1);
    w.u16(dl_type);
    w.u8(tos);
    w.u8(proto);
    w.zeros(2);
    w.u32(nw_src);
    w.u32(nw_dst);
    w.u16(tp_src);
    w.u16(tp_dst);
    w.set_u32(at, wild);
}

/// VID and priority, with their wildcards.
fn vlan_of(m: &FlowMatch, wild: &mut u32) -> (u16, u8) {
    let (tci, mask) = m.field(FieldId::VlanTci);
    let (tci, mask) = (tci as u16, mask as u16);
    if mask & 0x1000 == 0 {
        *wild |= DL_VLAN | DL_VLAN_PCP;
        return (0, 0);
    }
    if tci & 0x1000 == 0 {
        // The priority of no tag is wildcarded, as `ovs-ofctl` does.
        *wild |= DL_VLAN_PCP;
        return (VLAN_NONE, 0);
    }
    let vid = if mask & 0xfff == 0xfff {
        tci & 0xfff
    } else {
        0
    };
    let pcp = if mask >> 13 == 7 { tci >> 13 } else { 0 };
    if mask & 0xfff != 0xfff {
        *wild |= DL_VLAN;
    }
    if mask >> 13 != 7 {
        *wild |= DL_VLAN_PCP;
    }
    (vid, pcp as u8)
}
