//! `ofp_match` of OpenFlow 1.1 (`OFPMT_STANDARD`), 88 octets with their type and length.

use rvs_flow::field::FieldId;
use rvs_flow::OfPort;

use super::of10::{set_port, value_error, VLAN_NONE};
use super::{pull_value, put_value, FlowMatch};
use crate::error::{ErrorCode, OfError};
use crate::wire::{Reader, Writer};

/// Octets with type and length.
pub(super) const LEN: usize = 88;

const IN_PORT: u32 = 1 << 0;
const DL_VLAN: u32 = 1 << 1;
const DL_VLAN_PCP: u32 = 1 << 2;
const DL_TYPE: u32 = 1 << 3;
const NW_TOS: u32 = 1 << 4;
const NW_PROTO: u32 = 1 << 5;
const TP_SRC: u32 = 1 << 6;
const TP_DST: u32 = 1 << 7;
const MPLS_LABEL: u32 = 1 << 8;
const MPLS_TC: u32 = 1 << 9;
const ALL: u32 = (1 << 10) - 1;

/// `OFPVID_ANY`: tagged with any VID.
const VLAN_ANY: u16 = 0xfffe;

const MAC: u128 = 0xffff_ffff_ffff;

/// What follows type and length.
pub(super) fn pull_match11(r: &mut Reader<'_>) -> Result<FlowMatch, OfError> {
    let mut r = r.sub(LEN - 4, ErrorCode::BmcBadLen)?;
    let mut m = FlowMatch::any();
    let in_port = r.u32()?;
    let wild = r.u32()?;
    if wild & !ALL != 0 {
        return Err(ErrorCode::BmcBadWildcards.because(format!(
            "wildcards {wild:#x} name fields that 1.1 does not have"
        )));
    }
    if wild & IN_PORT == 0 {
        if OfPort(in_port).to_u16().is_none() {
            return Err(ErrorCode::BmcBadValue.because(format!("in_port={in_port:#x} is no port")));
        }
        m.set_exact(FieldId::InPortOxm, in_port.into())
            .map_err(value_error)?;
    }
    for id in [FieldId::EthSrc, FieldId::EthDst] {
        let value = pull_value(&mut r, 6)?;
        let mask = !pull_value(&mut r, 6)? & MAC;
        m.set(id, value & mask, mask).map_err(value_error)?;
    }
    let (vlan, pcp) = (r.u16()?, r.u8()?);
    r.skip(1)?;
    pull_vlan(&mut m, wild, vlan, pcp)?;
    let (dl_type, tos, proto) = (r.u16()?, r.u8()?, r.u8()?);
    let mut set = |bit: u32, id: FieldId, value: u128| match wild & bit {
        0 => m.set_exact(id, value).map_err(value_error),
        _ => Ok(()),
    };
    set(DL_TYPE, FieldId::EthType, dl_type.into())?;
    // Six bits, right-aligned in the upper six.
    if wild & NW_TOS == 0 && tos & 3 != 0 {
        return Err(ErrorCode::BmcBadValue.because(format!("nw_tos={tos} has ECN bits")));
    }
    set(NW_TOS, FieldId::NwTos, tos.into())?;
    set(NW_PROTO, FieldId::IpProto, proto.into())?;
    for id in [FieldId::Ipv4Src, FieldId::Ipv4Dst] {
        let value = r.u32()?;
        let mask = !r.u32()?;
        m.set(id, (value & mask).into(), mask.into())
            .map_err(value_error)?;
    }
    for (bit, id) in [(TP_SRC, FieldId::TcpSrc), (TP_DST, FieldId::TcpDst)] {
        let value = r.u16()?;
        if wild & bit == 0 {
            set_port(&mut m, id, value)?;
        }
    }
    let (label, tc) = (r.u32()?, r.u8()?);
    r.skip(3)?;
    if wild & MPLS_LABEL == 0 {
        m.set_exact(FieldId::MplsLabel, label.into())
            .map_err(value_error)?;
    }
    if wild & MPLS_TC == 0 {
        m.set_exact(FieldId::MplsTc, tc.into())
            .map_err(value_error)?;
    }
    let metadata = r.u64()?;
    let mask = !r.u64()?;
    m.set(FieldId::Metadata, (metadata & mask).into(), mask.into())
        .map_err(value_error)?;
    m.normalize();
    Ok(m)
}

fn pull_vlan(m: &mut FlowMatch, wild: u32, vlan: u16, pcp: u8) -> Result<(), OfError> {
    if wild & DL_VLAN != 0 {
        return Ok(());
    }
    match vlan {
        VLAN_NONE => {
            return m
                .set_exact(FieldId::DlVlan, VLAN_NONE.into())
                .map_err(value_error)
        }
        VLAN_ANY => m.set(FieldId::VlanVid, 0x1000, 0x1000),
        _ => m.set_exact(FieldId::DlVlan, vlan.into()),
    }
    .map_err(value_error)?;
    if wild & DL_VLAN_PCP == 0 {
        m.set_exact(FieldId::DlVlanPcp, pcp.into())
            .map_err(value_error)?;
    }
    Ok(())
}

pub(super) fn put_match11(w: &mut Writer, m: &FlowMatch) {
    let mut wild = 0;
    let mut get = |id: FieldId, bit: u32, all: u128| {
        let (value, mask) = m.field(id);
        if mask & all == all {
            value
        } else {
            wild |= bit;
            0
        }
    };
    w.u16(0);
    w.u16(LEN as u16);
    let in_port = get(FieldId::InPortOxm, IN_PORT, 0xffff_ffff) as u32;
    let dl_type = get(FieldId::EthType, DL_TYPE, 0xffff) as u16;
    let tos = get(FieldId::NwTos, NW_TOS, 0xfc) as u8;
    let proto = get(FieldId::IpProto, NW_PROTO, 0xff) as u8;
    let tp_src = get(FieldId::TcpSrc, TP_SRC, 0xffff) as u16;
    let tp_dst = get(FieldId::TcpDst, TP_DST, 0xffff) as u16;
    let label = get(FieldId::MplsLabel, MPLS_LABEL, 0xf_ffff) as u32;
    let tc = get(FieldId::MplsTc, MPLS_TC, 7) as u8;
    let (vlan, pcp) = put_vlan(m, &mut wild);

    w.u32(in_port);
    w.u32(wild);
    for id in [FieldId::EthSrc, FieldId::EthDst] {
        let (value, mask) = m.field(id);
        put_value(w, value, 6);
        put_value(w, !mask, 6);
    }
    w.u16(vlan);
    w.u8(pcp);
    w.zeros(1);
    w.u16(dl_type);
    w.u8(tos);
    w.u8(proto);
    for id in [FieldId::Ipv4Src, FieldId::Ipv4Dst] {
        let (value, mask) = m.field(id);
        w.u32(value as u32);
        w.u32(!mask as u32);
    }
    w.u16(tp_src);
    w.u16(tp_dst);
    w.u32(label);
    w.u8(tc);
    w.zeros(3);
    let (metadata, mask) = m.field(FieldId::Metadata);
    w.u64(metadata as u64);
    w.u64(!mask as u64);
}

fn put_vlan(m: &FlowMatch, wild: &mut u32) -> (u16, u8) {
    let (tci, mask) = m.field(FieldId::VlanTci);
    let (tci, mask) = (tci as u16, mask as u16);
    if mask & 0x1000 == 0 {
        *wild |= DL_VLAN | DL_VLAN_PCP;
        return (0, 0);
    }
    if tci & 0x1000 == 0 {
        *wild |= DL_VLAN_PCP;
        return (VLAN_NONE, 0);
    }
    let vid = if mask & 0xfff == 0xfff {
        tci & 0xfff
    } else {
        VLAN_ANY
    };
    if mask >> 13 == 7 {
        return (vid, (tci >> 13) as u8);
    }
    *wild |= DL_VLAN_PCP;
    (vid, 0)
}
