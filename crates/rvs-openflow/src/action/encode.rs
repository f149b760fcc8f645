//! Actions to bytes.

use rvs_flow::field::{Field, FieldId};
use rvs_flow::{OfPort, SubField};
use rvs_packet::{EtherType, IpProto};

use super::field::{put_move, put_ofs_nbits, put_set};
use super::nicira::subtype;
use super::{controller, learn, select, EXPERIMENTER};
use crate::error::NICIRA;
use crate::model::{Action, FieldValue, LoadValue, TableId};
use crate::oxm::{put_header, FlowMatch};
use crate::version::Version;
use crate::wire::{EncodeError, Writer};

/// What the encoding of an action depends on besides the action.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListContext {
    version: Version,
    /// The flow's frames have a tag.
    has_vlan: bool,
    /// Their IP protocol.
    proto: Option<IpProto>,
}

impl ListContext {
    /// Nothing is known of the frames.
    pub(crate) const fn new(version: Version) -> Self {
        Self {
            version,
            has_vlan: false,
            proto: None,
        }
    }

    /// The frames match `m`.
    pub(crate) fn of_flow(version: Version, m: &FlowMatch) -> Self {
        let (tci, tci_mask) = m.field(FieldId::VlanTci);
        let (proto, proto_mask) = m.field(FieldId::IpProto);
        Self {
            version,
            has_vlan: tci & tci_mask & 0x1000 != 0,
            proto: (proto_mask == 0xff).then_some(IpProto(proto as u8)),
        }
    }
}

/// Writes the list. What the version has no action for is a fault of `w`.
pub(crate) fn put_actions(w: &mut Writer, actions: &[Action], mut cx: ListContext) {
    for a in actions {
        put_action(w, a, &mut cx);
    }
}

fn put_action(w: &mut Writer, a: &Action, cx: &mut ListContext) {
    use Action as A;
    match a {
        A::Output { port, max_len } => put_output(w, *port, *max_len, cx.version),
        A::Enqueue { port, queue } => put_enqueue(w, *port, *queue, cx.version),
        A::SetVlanVid { .. } | A::SetVlanPcp { .. } => put_set_vlan(w, a, cx),
        A::PushVlan(t) => {
            // In 1.0 setting the VID or priority pushes.
            if cx.version > Version::Of10 {
                standard(w, 17, |w| w.u16(t.0));
            }
            cx.has_vlan = true;
        }
        A::PopVlan => {
            standard(w, if cx.version == Version::Of10 { 3 } else { 18 }, |_| {});
            cx.has_vlan = false;
        }
        A::SetEthSrc(_)
        | A::SetEthDst(_)
        | A::SetNwSrc(_)
        | A::SetNwDst(_)
        | A::SetNwTos(_)
        | A::SetNwEcn(_)
        | A::SetNwTtl(_)
        | A::SetTpSrc(_)
        | A::SetTpDst(_)
        | A::SetTunnel(_)
        | A::SetMplsLabel(_)
        | A::SetMplsTc(_)
        | A::SetMplsTtl(_) => put_setter(w, a, cx),
        A::SetField(v) => match (v.field, cx.version) {
            // 1.0 and 1.1 have actions for the tag.
            (FieldId::VlanVid | FieldId::VlanPcp, Version::Of10 | Version::Of11) if is_whole(v) => {
                put_set_vlan(w, &vlan_setter(v), cx);
            }
            _ => put_set_field(w, v, cx.version),
        },
        A::Load(v) => put_load(w, v, cx.version),
        A::Move { src, dst } => put_copy(w, src, dst, cx.version),
        _ if put_nicira(w, a, cx) => {}
        _ => put_standard(w, a, cx.version),
    }
}

/// Type, length, body, padding to 8.
fn standard(w: &mut Writer, kind: u16, body: impl FnOnce(&mut Writer)) {
    let start = w.len();
    w.u16(kind);
    w.u16(0);
    body(w);
    w.pad8(start);
    w.set_len(start + 2, start, "action");
}

fn vendor(w: &mut Writer, id: u32, sub: u16, body: impl FnOnce(&mut Writer)) {
    standard(w, EXPERIMENTER, |w| {
        w.u32(id);
        w.u16(sub);
        body(w);
    });
}

fn nicira(w: &mut Writer, sub: u16, body: impl FnOnce(&mut Writer)) {
    vendor(w, NICIRA, sub, body);
}

/// Padding of Nicira's actions up to the 16 octets that they all have at least, then to `len`.
fn pad_to(w: &mut Writer, start: usize, len: usize) {
    let have = w.len() - start;
    w.zeros(len.saturating_sub(have));
}

/// A Nicira action of fixed size.
fn fixed(w: &mut Writer, sub: u16, len: usize, body: impl FnOnce(&mut Writer)) {
    let start = w.len();
    nicira(w, sub, |w| {
        body(w);
        pad_to(w, start, len);
    });
}

fn port16(w: &mut Writer, port: OfPort) {
    match port.to_u16() {
        Some(p) => w.u16(p),
        None => w.fault(EncodeError::Port(port.0)),
    }
}

fn put_output(w: &mut Writer, port: OfPort, max_len: u16, version: Version) {
    standard(w, 0, |w| {
        if version == Version::Of10 {
            port16(w, port);
            w.u16(max_len);
        } else {
            w.u32(port.0);
            w.u16(max_len);
            w.zeros(6);
        }
    });
}

fn put_enqueue(w: &mut Writer, port: OfPort, queue: u32, version: Version) {
    if version == Version::Of10 {
        return standard(w, 11, |w| {
            port16(w, port);
            w.zeros(6);
            w.u32(queue);
        });
    }
    standard(w, 21, |w| w.u32(queue));
    put_output(w, port, 0, version);
    fixed(w, subtype::POP_QUEUE, 16, |_| {});
}

fn put_set_vlan(w: &mut Writer, a: &Action, cx: &mut ListContext) {
    let (kind, field, value, push) = match a {
        Action::SetVlanVid { vid, push } => (1, FieldId::VlanVid, vid.get(), *push),
        Action::SetVlanPcp { pcp, push } => (2, FieldId::VlanPcp, u16::from(*pcp), *push),
        _ => return,
    };
    if push && !cx.has_vlan && cx.version > Version::Of10 {
        standard(w, 17, |w| w.u16(EtherType::VLAN.0));
    }
    cx.has_vlan |= push;
    if cx.version >= Version::Of12 {
        let present = if field == FieldId::VlanVid { 0x1000 } else { 0 };
        return set_whole(w, field, u128::from(value | present), cx.version);
    }
    standard(w, kind, |w| {
        if kind == 1 {
            w.u16(value);
        } else {
            w.u8(value as u8);
        }
        w.zeros(if kind == 1 { 2 } else { 3 });
    });
}

fn set_whole(w: &mut Writer, field: FieldId, value: u128, version: Version) {
    let mask = Field::of(field).match_mask();
    put_set_field(w, &FieldValue { field, value, mask }, version);
}

/// The field that a setter writes, and the value.
fn setter_field(a: &Action, proto: Option<IpProto>) -> Option<(FieldId, u128)> {
    use Action as A;
    Some(match a {
        A::SetEthSrc(m) => (FieldId::EthSrc, m.to_u64().into()),
        A::SetEthDst(m) => (FieldId::EthDst, m.to_u64().into()),
        A::SetNwSrc(v) => (FieldId::Ipv4Src, u32::from_be_bytes(*v).into()),
        A::SetNwDst(v) => (FieldId::Ipv4Dst, u32::from_be_bytes(*v).into()),
        A::SetNwTos(v) => (FieldId::IpDscp, (*v >> 2).into()),
        A::SetNwEcn(v) => (FieldId::IpEcn, (*v).into()),
        A::SetNwTtl(v) => (FieldId::IpTtl, (*v).into()),
        A::SetTunnel(v) => (FieldId::TunId, (*v).into()),
        A::SetMplsLabel(v) => (FieldId::MplsLabel, (*v).into()),
        A::SetMplsTc(v) => (FieldId::MplsTc, (*v).into()),
        A::SetMplsTtl(v) => (FieldId::MplsTtl, (*v).into()),
        A::SetTpSrc(v) => (
            match proto? {
                IpProto::TCP => FieldId::TcpSrc,
                IpProto::UDP => FieldId::UdpSrc,
                IpProto::SCTP => FieldId::SctpSrc,
                _ => return None,
            },
            (*v).into(),
        ),
        A::SetTpDst(v) => (
            match proto? {
                IpProto::TCP => FieldId::TcpDst,
                IpProto::UDP => FieldId::UdpDst,
                IpProto::SCTP => FieldId::SctpDst,
                _ => return None,
            },
            (*v).into(),
        ),
        _ => return None,
    })
}

/// The setters that have a type of their own in 1.0, 1.1 or all versions; the rest is `set_field`.
fn put_setter(w: &mut Writer, a: &Action, cx: &ListContext) {
    use Action as A;
    let of10 = cx.version == Version::Of10;
    match a {
        A::SetNwTtl(v) if !of10 => return standard(w, 23, |w| w.u8(*v)),
        A::SetMplsTtl(v) if !of10 => return standard(w, 15, |w| w.u8(*v)),
        _ => {}
    }
    if cx.version >= Version::Of12 {
        match setter_field(a, cx.proto) {
            Some((field, value)) => set_whole(w, field, value, cx.version),
            None => w.not_in_version("mod_tp_src or mod_tp_dst of a flow of unknown protocol"),
        }
        return;
    }
    let shift = u16::from(of10);
    match a {
        A::SetEthSrc(m) => standard(w, 3 + shift, |w| w.bytes(&m.0)),
        A::SetEthDst(m) => standard(w, 4 + shift, |w| w.bytes(&m.0)),
        A::SetNwSrc(v) => standard(w, 5 + shift, |w| w.bytes(v)),
        A::SetNwDst(v) => standard(w, 6 + shift, |w| w.bytes(v)),
        A::SetNwTos(v) => standard(w, 7 + shift, |w| w.u8(*v)),
        A::SetNwEcn(v) if !of10 => standard(w, 8, |w| w.u8(*v)),
        A::SetTpSrc(v) => standard(w, 9, |w| w.u16(*v)),
        A::SetTpDst(v) => standard(w, 10, |w| w.u16(*v)),
        A::SetTunnel(v) => match u32::try_from(*v) {
            Ok(v) => fixed(w, subtype::SET_TUNNEL, 16, |w| {
                w.zeros(2);
                w.u32(v);
            }),
            Err(_) => fixed(w, subtype::SET_TUNNEL64, 24, |w| {
                w.zeros(6);
                w.u64(*v);
            }),
        },
        A::SetMplsLabel(v) if of10 => fixed(w, subtype::SET_MPLS_LABEL, 16, |w| {
            w.zeros(2);
            w.u32(*v);
        }),
        A::SetMplsLabel(v) => standard(w, 13, |w| w.u32(*v)),
        A::SetMplsTc(v) if of10 => fixed(w, subtype::SET_MPLS_TC, 16, |w| w.u8(*v)),
        A::SetMplsTc(v) => standard(w, 14, |w| w.u8(*v)),
        A::SetMplsTtl(v) => fixed(w, subtype::SET_MPLS_TTL, 16, |w| w.u8(*v)),
        // ECN and TTL of 1.0: only Nicira's load sets them.
        _ => {
            if let Some((field, value)) = setter_field(a, cx.proto) {
                put_load(
                    w,
                    &LoadValue {
                        dst: SubField::whole(field),
                        value,
                    },
                    cx.version,
                );
            }
        }
    }
}

fn put_set_field(w: &mut Writer, v: &FieldValue, version: Version) {
    let whole = is_whole(v);
    if v.field == FieldId::InPortOxm && version >= Version::Of15 {
        // A set_field may not, and there is no other load.
        w.not_in_version("a load of in_port");
    }
    if version >= Version::Of15 || whole && version >= Version::Of12 {
        return standard(w, 25, |w| put_set(w, v, Some(version)));
    }
    if whole {
        if let Some(a) = legacy_setter(v, version) {
            return put_setter(w, &a, &ListContext::new(version));
        }
        let whole = SubField::whole(v.field);
        let parts: Vec<LoadValue> = (0..whole.bits().div_ceil(64))
            .filter_map(|i| load_part(v, i))
            .collect();
        if parts.iter().all(|p| fits_load(&p.dst)) {
            return parts.iter().for_each(|p| put_load(w, p, version));
        }
    }
    nicira(w, subtype::REG_LOAD2, |w| put_set(w, v, None));
}

fn is_whole(v: &FieldValue) -> bool {
    v.mask == Field::of(v.field).match_mask()
}

/// A `set_field` of the tag, which is there, as the action of 1.0 and 1.1.
fn vlan_setter(v: &FieldValue) -> Action {
    match v.field {
        FieldId::VlanPcp => Action::SetVlanPcp {
            pcp: v.value as u8 & 7,
            push: false,
        },
        _ => Action::SetVlanVid {
            vid: rvs_packet::VlanId::new(v.value as u16 & 0xfff)
                .unwrap_or(rvs_packet::VlanId::ZERO),
            push: false,
        },
    }
}

/// The older action that 1.0 or 1.1 has for a whole field.
fn legacy_setter(v: &FieldValue, version: Version) -> Option<Action> {
    use Action as A;
    let mac = rvs_packet::MacAddr::from_u64(v.value as u64);
    let address = (v.value as u32).to_be_bytes();
    Some(match v.field {
        FieldId::EthSrc => A::SetEthSrc(mac),
        FieldId::EthDst => A::SetEthDst(mac),
        FieldId::Ipv4Src => A::SetNwSrc(address),
        FieldId::Ipv4Dst => A::SetNwDst(address),
        FieldId::NwTos => A::SetNwTos(v.value as u8),
        FieldId::IpDscp => A::SetNwTos((v.value as u8) << 2),
        FieldId::IpEcn if version == Version::Of11 => A::SetNwEcn(v.value as u8),
        FieldId::TcpSrc | FieldId::UdpSrc => A::SetTpSrc(v.value as u16),
        FieldId::TcpDst | FieldId::UdpDst => A::SetTpDst(v.value as u16),
        _ => return None,
    })
}

/// The `nth` 64 bits of a whole field.
fn load_part(v: &FieldValue, nth: u8) -> Option<LoadValue> {
    let first = u32::from(nth) * 64;
    let last = (first + 63).min(u32::from(Field::of(v.field).bits) - 1);
    let dst = SubField::new(v.field, first, last).ok()?;
    let value = v.value >> first & dst.mask() >> dst.ofs();
    Some(LoadValue { dst, value })
}

/// True when Nicira's `reg_load` can name the bits.
fn fits_load(dst: &SubField) -> bool {
    dst.bits() <= 64 && dst.field().oxms.iter().any(|o| o.oxm.experimenter == 0)
}

fn put_load(w: &mut Writer, v: &LoadValue, version: Version) {
    let dst = &v.dst;
    if version < Version::Of15 && fits_load(dst) {
        return fixed(w, subtype::REG_LOAD, 24, |w| {
            put_ofs_nbits(w, dst);
            put_header(w, dst.field(), None, false);
            w.u64(v.value as u64);
        });
    }
    let mask = dst.mask() & dst.field().match_mask();
    let set = FieldValue {
        field: dst.id(),
        value: v.value << dst.ofs() & mask,
        mask,
    };
    put_set_field(w, &set, version);
}

fn put_copy(w: &mut Writer, src: &SubField, dst: &SubField, version: Version) {
    if version >= Version::Of15 {
        return standard(w, 28, |w| put_move(w, src, dst, Some(version), 2));
    }
    nicira(w, subtype::REG_MOVE, |w| put_move(w, src, dst, None, 0));
}

/// Nicira's own, and the stand-ins that only 1.0 needs. False leaves the action to [`put_standard`].
fn put_nicira(w: &mut Writer, a: &Action, cx: &ListContext) -> bool {
    use subtype as s;
    use Action as A;
    match a {
        A::Resubmit { port, table } => put_resubmit(w, *port, *table),
        A::Note(octets) => nicira(w, s::NOTE, |w| w.bytes(octets)),
        A::Exit => fixed(w, s::EXIT, 16, |_| {}),
        A::DebugRecirc => fixed(w, s::DEBUG_RECIRC, 16, |_| {}),
        A::DebugSlow => fixed(w, s::DEBUG_SLOW, 16, |_| {}),
        A::PopQueue => fixed(w, s::POP_QUEUE, 16, |_| {}),
        A::Push(sub) => put_stack(w, s::STACK_PUSH, sub),
        A::Pop(sub) => put_stack(w, s::STACK_POP, sub),
        A::Clone(list) => nicira(w, s::CLONE, |w| {
            w.zeros(6);
            put_actions(w, list, *cx);
        }),
        A::Conjunction {
            id,
            clause,
            n_clauses,
        } => fixed(w, s::CONJUNCTION, 16, |w| {
            w.u8(*clause);
            w.u8(*n_clauses);
            w.u32(*id);
        }),
        A::Learn(l) => {
            let sub = if learn::fits_learn(l) {
                s::LEARN
            } else {
                s::LEARN2
            };
            nicira(w, sub, |w| learn::put_learn(w, l));
        }
        A::Multipath(m) => fixed(w, s::MULTIPATH, 32, |w| select::put_multipath(w, m)),
        A::Bundle(b) => {
            let sub = if b.dst.is_some() {
                s::BUNDLE_LOAD
            } else {
                s::BUNDLE
            };
            nicira(w, sub, |w| select::put_bundle(w, b));
        }
        A::FinTimeout { idle, hard } => fixed(w, s::FIN_TIMEOUT, 16, |w| {
            w.u16(*idle);
            w.u16(*hard);
        }),
        A::CheckPktLarger { dst, len } => fixed(w, s::CHECK_PKT_LARGER, 24, |w| {
            w.u16(*len);
            w.u16(dst.ofs().into());
            put_header(w, dst.field(), None, false);
        }),
        A::OutputTruncated { port, max_len } => fixed(w, s::OUTPUT_TRUNC, 16, |w| {
            port16(w, *port);
            w.u32((*max_len).into());
        }),
        A::OutputReg { src, max_len } => put_output_reg(w, src, *max_len),
        A::Controller(c) if controller::fits_controller(c) => {
            fixed(w, s::CONTROLLER, 16, |w| controller::put_controller(w, c));
        }
        A::Controller(c) => nicira(w, s::CONTROLLER2, |w| controller::put_controller2(w, c)),
        A::DecNwTtl(ids) if !ids.is_empty() => nicira(w, s::DEC_TTL_CNT_IDS, |w| {
            w.count16("dec_ttl", ids.len());
            w.zeros(4);
            for id in ids {
                w.u16(id.0);
            }
        }),
        _ if cx.version == Version::Of10 => return put_stand_in(w, a),
        _ => return false,
    }
    true
}

/// Standard actions of 1.1 as Nicira's of 1.0.
fn put_stand_in(w: &mut Writer, a: &Action) -> bool {
    use subtype as s;
    use Action as A;
    let mut word = |sub: u16, v: u32| {
        fixed(w, sub, 16, |w| {
            w.zeros(2);
            w.u32(v);
        });
    };
    match a {
        A::SetQueue(q) => word(s::SET_QUEUE, *q),
        A::Group(g) => word(s::GROUP, g.0),
        A::PushMpls(t) => fixed(w, s::PUSH_MPLS, 16, |w| w.u16(t.0)),
        A::PopMpls(t) => fixed(w, s::POP_MPLS, 16, |w| w.u16(t.0)),
        A::DecMplsTtl => fixed(w, s::DEC_MPLS_TTL, 16, |_| {}),
        A::DecNwTtl(_) => fixed(w, s::DEC_TTL, 16, |_| {}),
        _ => return false,
    }
    true
}

fn put_standard(w: &mut Writer, a: &Action, version: Version) {
    use Action as A;
    let since = |v: Version| version >= v;
    match a {
        A::CopyTtlOut if since(Version::Of11) => standard(w, 11, |_| {}),
        A::CopyTtlIn if since(Version::Of11) => standard(w, 12, |_| {}),
        A::DecMplsTtl => standard(w, 16, |_| {}),
        A::PushMpls(t) => standard(w, 19, |w| w.u16(t.0)),
        A::PopMpls(t) => standard(w, 20, |w| w.u16(t.0)),
        A::SetQueue(q) => standard(w, 21, |w| w.u32(*q)),
        A::Group(g) => standard(w, 22, |w| w.u32(g.0)),
        A::DecNwTtl(_) => standard(w, 24, |_| {}),
        A::PushPbb(t) if since(Version::Of13) => standard(w, 26, |w| w.u16(t.0)),
        A::PopPbb if since(Version::Of13) => standard(w, 27, |_| {}),
        A::Meter(m) if since(Version::Of15) => standard(w, 29, |w| w.u32(m.0)),
        A::CopyTtlOut => w.not_in_version("copy_ttl_out"),
        A::CopyTtlIn => w.not_in_version("copy_ttl_in"),
        A::PushPbb(_) => w.not_in_version("push_pbb"),
        A::PopPbb => w.not_in_version("pop_pbb"),
        A::Meter(_) => w.not_in_version("meter among actions"),
        _ => w.not_in_version("this action"),
    }
}

fn put_resubmit(w: &mut Writer, port: Option<OfPort>, table: Option<TableId>) {
    let port = port.unwrap_or(OfPort::IN_PORT);
    match table {
        None => fixed(w, subtype::RESUBMIT, 16, |w| port16(w, port)),
        Some(t) => fixed(w, subtype::RESUBMIT_TABLE, 16, |w| {
            port16(w, port);
            w.u8(t.0);
        }),
    }
}

fn put_stack(w: &mut Writer, sub: u16, s: &SubField) {
    fixed(w, sub, 24, |w| {
        w.u16(s.ofs().into());
        put_header(w, s.field(), None, false);
        w.u16(s.bits().into());
    });
}

fn put_output_reg(w: &mut Writer, src: &SubField, max_len: u16) {
    let plain = src.field().oxms.iter().any(|o| o.oxm.experimenter == 0);
    let sub = if plain {
        subtype::OUTPUT_REG
    } else {
        subtype::OUTPUT_REG2
    };
    fixed(w, sub, 24, |w| {
        put_ofs_nbits(w, src);
        if plain {
            put_header(w, src.field(), None, false);
            w.u16(max_len);
        } else {
            w.u16(max_len);
            put_header(w, src.field(), None, false);
        }
    });
}
