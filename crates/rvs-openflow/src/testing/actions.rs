//! Actions and instructions.

use std::time::Duration;

use rvs_flow::field::{Field, FieldId, SubField, FIELDS};
use rvs_flow::testing::Entropy;
use rvs_packet::{EtherType, MacAddr, VlanId};

use super::{octets, port, real_port, u32_of, u64_of};
use crate::action::{check_actions, CheckLevel};
use crate::model::{
    Action, BundleAction, BundleAlgorithm, ControllerAction, ControllerId, FieldValue, GroupId,
    HashFields, Instructions, Learn, LearnDst, LearnSpec, LearnSrc, LoadValue, MetadataWrite,
    MeterId, Multipath, MultipathAlgorithm, PacketInReason, StatTrigger, TableId, Threshold,
};
use crate::oxm::FlowMatch;
use crate::version::Version;

/// Some bits of a field that has a header on the wire.
pub fn sub_field(e: &mut Entropy<'_>, writable: bool, max_bits: u8) -> SubField {
    let fits = |f: &&Field| !f.oxms.is_empty() && (f.writable || !writable);
    let fields: Vec<&Field> = FIELDS.iter().filter(fits).collect();
    let f = e.pick(&fields);
    let width = f.bits.min(f.match_bits);
    let bits = 1 + e.below(usize::from(width.min(max_bits))) as u8;
    let ofs = e.below(usize::from(width - bits) + 1) as u8;
    SubField::new(f.id, ofs.into(), (ofs + bits - 1).into())
        .unwrap_or_else(|_| SubField::whole(FieldId::Reg0))
}

/// A sub-field of a register: fits any flow.
fn register(e: &mut Entropy<'_>, bits: u8) -> SubField {
    let id = FieldId::reg(e.below(16) as u8).unwrap_or(FieldId::Reg0);
    SubField::new(id, 0, u32::from(bits) - 1).unwrap_or_else(|_| SubField::whole(id))
}

fn low(e: &mut Entropy<'_>, bits: u8) -> u128 {
    let wide = u128::from(e.u64()) << 64 | u128::from(e.u64());
    if bits >= 128 {
        wide
    } else {
        wide & ((1 << bits) - 1)
    }
}

/// One action that `version` has and reads back as it was.
pub fn action(e: &mut Entropy<'_>, version: Version) -> Action {
    loop {
        let a = any_action(e, version, 2);
        if native(&a, version) {
            return a;
        }
    }
}

/// True when `version` has the action under this name.
fn native(a: &Action, version: Version) -> bool {
    use Action as A;
    let v = version;
    match a {
        A::Enqueue { .. } => v == Version::Of10,
        A::Meter(_) => v >= Version::Of15,
        A::PushVlan(_) | A::CopyTtlIn | A::CopyTtlOut | A::SetNwTtl(_) => v >= Version::Of11,
        A::PushPbb(_) | A::PopPbb => v >= Version::Of13,
        A::Load(_) => v <= Version::Of14,
        // 1.0 and 1.1 load what is whole, or have an older action for it.
        A::SetField(s) => v >= Version::Of12 || s.mask != Field::of(s.field).match_mask(),
        A::SetVlanVid { push, .. } | A::SetVlanPcp { push, .. } => {
            v == if *push { Version::Of10 } else { Version::Of11 }
        }
        A::SetEthSrc(_)
        | A::SetEthDst(_)
        | A::SetNwSrc(_)
        | A::SetNwDst(_)
        | A::SetNwTos(_)
        | A::SetTpSrc(_)
        | A::SetTpDst(_)
        | A::SetTunnel(_)
        | A::SetMplsLabel(_)
        | A::SetMplsTc(_) => v <= Version::Of11,
        A::SetNwEcn(_) => v == Version::Of11,
        _ => true,
    }
}

fn any_action(e: &mut Entropy<'_>, version: Version, depth: usize) -> Action {
    use Action as A;
    match e.below(46) {
        0..=3 => A::Output {
            port: port(e),
            max_len: e.u16(),
        },
        4 => A::OutputTruncated {
            port: port(e),
            max_len: 14 + e.below(100) as u16,
        },
        5 => A::OutputReg {
            src: sub_field(e, false, 64),
            max_len: e.u16(),
        },
        6 => A::Controller(Box::new(controller(e))),
        7 => A::Enqueue {
            port: real_port(e),
            queue: u32_of(e),
        },
        8 => A::SetQueue(u32_of(e)),
        9 => A::PopQueue,
        10 => A::Group(GroupId(e.u16().into())),
        11 => A::Meter(MeterId(1 + u32::from(e.u16()))),
        12 => A::PushVlan(e.pick(&[EtherType::VLAN, EtherType::QINQ])),
        13 => A::PopVlan,
        14 => A::PushMpls(e.pick(&[EtherType::MPLS, EtherType::MPLS_MC])),
        15 => A::PopMpls(e.pick(&[EtherType::IPV4, EtherType::IPV6, EtherType::MPLS])),
        16 => A::PushPbb(EtherType::PBB),
        17 => A::PopPbb,
        18 | 19 => set_field(e),
        20 => load(e),
        21 => move_field(e),
        22 => A::SetVlanVid {
            vid: VlanId::new(e.u16() & 0xfff).unwrap_or(VlanId::ZERO),
            push: e.one_in(2),
        },
        23 => A::SetVlanPcp {
            pcp: e.below(8) as u8,
            push: e.one_in(2),
        },
        24 => A::SetEthSrc(MacAddr::from_u64(e.u64() >> 16)),
        25 => A::SetEthDst(MacAddr::from_u64(e.u64() >> 16)),
        26 => A::SetNwSrc([e.u8(), 0, 0, 1]),
        27 => A::SetNwDst([e.u8(), 0, 0, 2]),
        28 => A::SetNwTos(e.u8() & 0xfc),
        29 => A::SetNwEcn(e.below(4) as u8),
        30 => A::SetNwTtl(e.u8()),
        31 => A::SetTpSrc(e.u16()),
        32 => A::SetTpDst(e.u16()),
        33 => A::SetTunnel(u64_of(e)),
        34 => e
            .pick(&[MplsSetter::Label, MplsSetter::Tc, MplsSetter::Ttl])
            .draw(e),
        35 => A::DecMplsTtl,
        36 => A::DecNwTtl((0..e.below(3)).map(|_| ControllerId(e.u16())).collect()),
        37 => {
            if e.one_in(2) {
                A::CopyTtlOut
            } else {
                A::CopyTtlIn
            }
        }
        38 => A::Resubmit {
            port: e.one_in(2).then(|| real_port(e)),
            table: e.one_in(2).then(|| TableId(e.below(254) as u8)),
        },
        39 => A::Note((0..6 + 8 * e.below(2)).map(|_| e.u8()).collect()),
        40 => A::Exit,
        41 => {
            if e.one_in(2) {
                A::Push(sub_field(e, false, 128))
            } else {
                A::Pop(sub_field(e, true, 128))
            }
        }
        42 if depth > 0 => clone(e, version, depth),
        43 => A::Learn(Box::new(learn(e))),
        44 => e.pick(&[Choice::Multipath, Choice::Bundle]).draw(e),
        _ => {
            if e.one_in(2) {
                A::FinTimeout {
                    idle: e.u16(),
                    hard: e.u16(),
                }
            } else {
                A::CheckPktLarger {
                    dst: sub_field(e, true, 1),
                    len: e.u16(),
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum MplsSetter {
    Label,
    Tc,
    Ttl,
}

impl MplsSetter {
    fn draw(self, e: &mut Entropy<'_>) -> Action {
        match self {
            Self::Label => Action::SetMplsLabel(u32::from(e.u16())),
            Self::Tc => Action::SetMplsTc(e.below(8) as u8),
            Self::Ttl => Action::SetMplsTtl(e.u8()),
        }
    }
}

#[derive(Clone, Copy)]
enum Choice {
    Multipath,
    Bundle,
}

const FIELDS_HASHED: [HashFields; 7] = [
    HashFields::EthSrc,
    HashFields::SymmetricL4,
    HashFields::SymmetricL3L4,
    HashFields::SymmetricL3L4Udp,
    HashFields::NwSrc,
    HashFields::NwDst,
    HashFields::SymmetricL3,
];

impl Choice {
    fn draw(self, e: &mut Entropy<'_>) -> Action {
        let fields = e.pick(&FIELDS_HASHED);
        let basis = e.u16();
        match self {
            Self::Multipath => Action::Multipath(Box::new(Multipath {
                fields,
                basis,
                algorithm: e.pick(&[
                    MultipathAlgorithm::ModuloN,
                    MultipathAlgorithm::HashThreshold,
                    MultipathAlgorithm::Hrw,
                    MultipathAlgorithm::IterHash,
                ]),
                max_link: e.u8().into(),
                arg: u32_of(e),
                dst: register(e, 16),
            })),
            Self::Bundle => Action::Bundle(Box::new(BundleAction {
                algorithm: e.pick(&[BundleAlgorithm::ActiveBackup, BundleAlgorithm::Hrw]),
                fields,
                basis,
                members: (0..e.below(5)).map(|_| real_port(e)).collect(),
                dst: e.one_in(2).then(|| register(e, 16)),
            })),
        }
    }
}

fn clone(e: &mut Entropy<'_>, version: Version, depth: usize) -> Action {
    let n = e.below(3);
    let mut list = Vec::new();
    while list.len() < n {
        let a = any_action(e, version, depth - 1);
        if native(&a, version) && !matches!(a, Action::Meter(_)) {
            list.push(a);
        } else {
            list.push(Action::Exit);
        }
    }
    Action::Clone(list.into())
}

fn controller(e: &mut Entropy<'_>) -> ControllerAction {
    ControllerAction {
        max_len: e.u16(),
        controller: ControllerId(e.u8().into()),
        reason: e.pick(&[
            PacketInReason::Action,
            PacketInReason::NoMatch,
            PacketInReason::InvalidTtl,
            PacketInReason::ActionSet,
            PacketInReason::Group,
            PacketInReason::PacketOut,
        ]),
        userdata: if e.one_in(2) {
            octets(e, 9).into()
        } else {
            Box::new([])
        },
        pause: e.one_in(3),
        meter: e.one_in(4).then(|| MeterId(1 + e.below(9) as u32)),
    }
}

fn set_field(e: &mut Entropy<'_>) -> Action {
    let drawn = sub_field(e, true, 128);
    // Where a frame came in is loaded, never set. Not drawn again: used-up octets give the same for ever.
    let s = match drawn.field().id {
        FieldId::InPortOxm | FieldId::InPort => SubField::whole(FieldId::Reg0),
        _ => drawn,
    };
    let f = s.field();
    let full = f.match_mask();
    let mut mask = if f.maskable && e.one_in(3) {
        s.mask()
    } else {
        full
    };
    let mut value = low(e, f.bits.min(f.match_bits));
    if f.id == FieldId::VlanVid {
        value |= 0x1000;
        mask |= 0x1000;
    }
    if f.id == FieldId::NwTos {
        value &= 0xfc;
    }
    Action::SetField(Box::new(FieldValue {
        field: f.id,
        value: value & mask,
        mask,
    }))
}

fn load(e: &mut Entropy<'_>) -> Action {
    let dst = sub_field(e, true, 64);
    let value = low(e, dst.bits());
    Action::Load(Box::new(LoadValue { dst, value }))
}

fn move_field(e: &mut Entropy<'_>) -> Action {
    let dst = sub_field(e, true, 32);
    let src = register(e, dst.bits());
    Action::Move { src, dst }
}

fn learn(e: &mut Entropy<'_>) -> Learn {
    let spec = |e: &mut Entropy<'_>| {
        let dst = register(e, 16);
        let src = if e.one_in(2) {
            LearnSrc::Value(low(e, 16))
        } else {
            LearnSrc::Field(register(e, 16))
        };
        match e.below(3) {
            0 => LearnSpec {
                src,
                dst: LearnDst::Match(dst),
            },
            1 => LearnSpec {
                src,
                dst: LearnDst::Load(dst),
            },
            _ => LearnSpec {
                src: LearnSrc::Field(register(e, 16)),
                dst: LearnDst::Output,
            },
        }
    };
    Learn {
        table: TableId(e.below(254) as u8),
        priority: e.u16(),
        cookie: u64_of(e),
        idle_timeout: e.u8().into(),
        hard_timeout: e.u8().into(),
        fin_idle_timeout: e.u8().into(),
        fin_hard_timeout: e.u8().into(),
        send_flow_removed: e.one_in(2),
        delete_learned: e.one_in(2),
        limit: if e.one_in(2) { 7 } else { 0 },
        result: e.one_in(3).then(|| register(e, 1)),
        specs: (0..e.below(4)).map(|_| spec(e)).collect(),
    }
}

/// A list that fits frames matching `m`.
pub fn actions(e: &mut Entropy<'_>, version: Version, m: &FlowMatch) -> Vec<Action> {
    if e.one_in(12) {
        let clause = |e: &mut Entropy<'_>| Action::Conjunction {
            id: u32_of(e),
            clause: e.below(2) as u8,
            n_clauses: 2 + e.below(63) as u8,
        };
        return (0..1 + e.below(2)).map(|_| clause(e)).collect();
    }
    let mut list = Vec::new();
    for _ in 0..e.below(6) {
        list.push(action(e, version));
        if check_actions(m, &list, CheckLevel::of(version)).is_err() {
            list.pop();
        }
    }
    list
}

/// Instructions that fit frames of table 0 matching `m`.
pub fn instructions(e: &mut Entropy<'_>, version: Version, m: &FlowMatch) -> Instructions {
    let mut i = Instructions::apply(actions(e, version, m));
    if i.apply
        .iter()
        .any(|a| matches!(a, Action::Conjunction { .. }))
    {
        return i;
    }
    if e.one_in(4) {
        let mask = u64_of(e);
        i.metadata = Some(Box::new(MetadataWrite {
            value: u64_of(e) & mask,
            mask,
        }));
    }
    if version == Version::Of10 {
        return i;
    }
    if e.one_in(3) {
        let set = actions(e, version, m);
        i.write = set.into_iter().filter(Action::allowed_in_set).collect();
    }
    i.clear = e.one_in(4);
    i.goto = e.one_in(3).then(|| TableId(1 + e.below(253) as u8));
    if (Version::Of13..=Version::Of14).contains(&version) && e.one_in(4) {
        i.meter = Some(MeterId(1 + e.below(9) as u32));
    }
    if version >= Version::Of15 && e.one_in(4) {
        i.stat_trigger = Some(Box::new(StatTrigger {
            periodic: e.one_in(2),
            only_first: e.one_in(2),
            thresholds: (0..1 + e.below(StatTrigger::MAX))
                .map(|_| threshold(e))
                .collect(),
        }));
    }
    i
}

fn threshold(e: &mut Entropy<'_>) -> Threshold {
    let time = |e: &mut Entropy<'_>| Duration::new(1 + u64::from(e.u16()), u32::from(e.u16()));
    match e.below(4) {
        0 => Threshold::Duration(time(e)),
        1 => Threshold::Idle(time(e)),
        2 => Threshold::Packets(u64_of(e).max(1)),
        _ => Threshold::Bytes(u64_of(e).max(1)),
    }
}
