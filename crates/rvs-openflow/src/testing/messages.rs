//! Whole messages.

use rvs_flow::testing::Entropy;
use rvs_flow::OfPort;
use rvs_packet::MacAddr;

use super::actions::{actions, instructions};
use super::multipart::{reply, request};
use super::{match_in, name, octets, real_port, u32_of, u64_of};
use crate::error::{ErrorCode, ErrorMessage};
use crate::message::{
    Capabilities, Dialect, Features, FlowCommand, FlowFlags, FlowFormat, FlowMod, FlowRemoved,
    FlowRemovedReason, Fragments, Hello, Message, MultipartReply, MultipartRequest, PacketIn,
    PacketInFormat, PacketOut, Port, PortChange, PortConfig, PortFeatures, PortMod, PortState,
    PortStatus, SwitchConfig,
};
use crate::model::{ControllerId, GroupId, PacketInReason, TableId};
use crate::oxm::{CookieMask, FlowMatch};
use crate::version::{Version, VersionSet};

/// Any message that `d` can say.
pub fn message(e: &mut Entropy<'_>, d: &Dialect) -> Message {
    use Message as M;
    let v = d.version;
    match e.below(40) {
        0 => M::Hello(Hello {
            versions: VersionSet::from_bits(1 << v.wire() | u32::from(e.u8()) & 0x7e),
        }),
        1 => M::Error(ErrorMessage::new(e.pick(ErrorCode::ALL), v, &octets(e, 64))),
        2 => M::EchoRequest(octets(e, 20)),
        3 => M::EchoReply(octets(e, 20)),
        4 => M::FeaturesRequest,
        5 => M::FeaturesReply(Box::new(features(e, v))),
        6 => M::GetConfigRequest,
        7 => M::GetConfigReply(config(e, v)),
        8 => M::SetConfig(config(e, v)),
        9 | 10 => M::PacketIn(Box::new(packet_in(e, d))),
        11 => M::FlowRemoved(Box::new(flow_removed(e, d))),
        12 => M::PortStatus(Box::new(PortStatus {
            change: e.pick(&[PortChange::Add, PortChange::Delete, PortChange::Modify]),
            port: port_desc(e, v),
        })),
        13 | 14 => M::PacketOut(Box::new(packet_out(e, d))),
        15..=18 => M::FlowMod(Box::new(flow_mod(e, d))),
        19 => M::PortMod(Box::new(port_mod(e, v))),
        20 => e.pick(&BARE).message(),
        21..=25 => M::MultipartRequest(MultipartRequest {
            more: e.one_in(8),
            body: request(e, d),
        }),
        26..=30 => M::MultipartReply(MultipartReply {
            more: e.one_in(8),
            body: reply(e, d),
        }),
        31 => setting(e, d),
        _ => super::control::control_message(e, d),
    }
}

const BARE: [Bare; 4] = [
    Bare::BarrierRequest,
    Bare::BarrierReply,
    Bare::FlowAge,
    Bare::TlvTableRequest,
];

#[derive(Clone, Copy)]
enum Bare {
    BarrierRequest,
    BarrierReply,
    FlowAge,
    TlvTableRequest,
}

impl Bare {
    const fn message(self) -> Message {
        match self {
            Self::BarrierRequest => Message::BarrierRequest,
            Self::BarrierReply => Message::BarrierReply,
            Self::FlowAge => Message::FlowAge,
            Self::TlvTableRequest => Message::TlvTableRequest,
        }
    }
}

fn setting(e: &mut Entropy<'_>, d: &Dialect) -> Message {
    match e.below(4) {
        0 if d.version == Version::Of10 => {
            Message::SetFlowFormat(e.pick(&[FlowFormat::OpenFlow10, FlowFormat::Nxm]))
        }
        1 => Message::SetPacketInFormat(e.pick(&[
            PacketInFormat::Standard,
            PacketInFormat::Nxt,
            PacketInFormat::Nxt2,
        ])),
        2 => Message::SetControllerId(ControllerId(e.u16())),
        _ => Message::FlowModTableId(e.one_in(2)),
    }
}

fn features(e: &mut Entropy<'_>, v: Version) -> Features {
    Features {
        datapath_id: e.u64(),
        n_buffers: u32_of(e),
        n_tables: e.u8(),
        auxiliary_id: if v >= Version::Of13 { e.u8() } else { 0 },
        capabilities: Capabilities(e.u16().into()),
        actions: e.u16().into(),
        ports: if v <= Version::Of12 {
            (0..e.below(3)).map(|_| port_desc(e, v)).collect()
        } else {
            Vec::new()
        },
    }
}

fn config(e: &mut Entropy<'_>, v: Version) -> SwitchConfig {
    let ttl = (Version::Of11..=Version::Of12).contains(&v);
    SwitchConfig {
        fragments: e.pick(&[
            Fragments::Normal,
            Fragments::Drop,
            Fragments::Reassemble,
            Fragments::NxMatch,
        ]),
        invalid_ttl_to_controller: ttl && e.one_in(2),
        miss_send_len: e.u16(),
    }
}

/// A port's description.
pub(super) fn port_desc(e: &mut Entropy<'_>, v: Version) -> Port {
    let of10 = v == Version::Of10;
    let features =
        |e: &mut Entropy<'_>| PortFeatures(u32::from(e.u16()) & if of10 { 0xf87f } else { 0xffff });
    Port {
        number: if e.one_in(8) {
            OfPort::LOCAL
        } else {
            real_port(e)
        },
        mac: MacAddr::from_u64(e.u64() >> 16),
        name: name(e, 15),
        config: PortConfig(u32::from(e.u8()) & PortConfig::known(v)),
        state: PortState(u32::from(e.u16()) & PortState::known(v)),
        current: features(e),
        advertised: features(e),
        supported: features(e),
        peer: features(e),
        current_speed: if of10 { 0 } else { u32_of(e) },
        max_speed: if of10 { 0 } else { u32_of(e) },
    }
}

fn port_mod(e: &mut Entropy<'_>, v: Version) -> PortMod {
    let p = port_desc(e, v);
    PortMod {
        number: p.number,
        mac: p.mac,
        config: p.config,
        mask: PortConfig(u32::from(e.u8()) & PortConfig::known(v)),
        advertise: p.advertised,
    }
}

fn reason(e: &mut Entropy<'_>, d: &Dialect) -> PacketInReason {
    let coarse = [
        PacketInReason::NoMatch,
        PacketInReason::Action,
        PacketInReason::InvalidTtl,
    ];
    let fine = [
        PacketInReason::ActionSet,
        PacketInReason::Group,
        PacketInReason::PacketOut,
    ];
    let has_fine = d.version >= Version::Of14;
    if has_fine && e.one_in(2) {
        e.pick(&fine)
    } else {
        e.pick(&coarse)
    }
}

pub(super) fn packet_in(e: &mut Entropy<'_>, d: &Dialect) -> PacketIn {
    let why = reason(e, d);
    let mut p = PacketIn::new(real_port(e), why);
    p.buffer_id = e.one_in(4).then(|| e.u16().into());
    p.data = octets(e, 40);
    p.data.push(e.u8());
    p.total_len = p.data.len() as u32 + if e.one_in(3) { 100 } else { 0 };
    let standard = d.packet_in == PacketInFormat::Standard;
    if !standard || d.version >= Version::Of11 {
        p.table = TableId(e.u8());
    }
    if !standard || d.version >= Version::Of13 {
        p.cookie = Some(u64_of(e)).filter(|c| *c != u64::MAX);
    }
    if !standard || d.version >= Version::Of12 {
        pipeline_fields(e, &mut p.metadata);
    }
    if d.packet_in == PacketInFormat::Nxt2 {
        p.userdata = octets(e, 9);
        p.continuation = octets(e, 9);
    }
    p
}

fn pipeline_fields(e: &mut Entropy<'_>, m: &mut FlowMatch) {
    use rvs_flow::FieldId as F;
    for id in [F::Metadata, F::Reg3, F::TunId] {
        if e.one_in(3) {
            let set = m.set_exact(id, e.u8().into());
            debug_assert!(set.is_ok());
        }
    }
}

fn packet_out(e: &mut Entropy<'_>, d: &Dialect) -> PacketOut {
    let from = if e.one_in(3) {
        e.pick(&[OfPort::CONTROLLER, OfPort::LOCAL, OfPort::ANY])
    } else {
        real_port(e)
    };
    let list = actions(e, d.version, &FlowMatch::any());
    let mut p = PacketOut::new(from, list, octets(e, 40));
    p.buffer_id = e.one_in(4).then(|| e.u16().into());
    if d.version >= Version::Of15 {
        pipeline_fields(e, &mut p.metadata);
    }
    p
}

pub(super) fn cookie(e: &mut Entropy<'_>) -> CookieMask {
    let mask = u64_of(e);
    CookieMask {
        value: u64_of(e) & mask,
        mask,
    }
}

pub(super) fn flow_mod(e: &mut Entropy<'_>, d: &Dialect) -> FlowMod {
    let v = d.version;
    let command = e.pick(&[
        FlowCommand::Add,
        FlowCommand::Add,
        FlowCommand::Modify,
        FlowCommand::ModifyStrict,
        FlowCommand::Delete,
        FlowCommand::DeleteStrict,
    ]);
    let mut m = FlowMod::new(command, match_in(e, d));
    let of10 = v == Version::Of10;
    let standard10 = of10 && d.flow_format == FlowFormat::OpenFlow10;
    m.table = match (of10, d.flow_mod_table_id) {
        (true, false) => TableId::ALL,
        _ => TableId(e.pick(&[0, 0, 1, 253, 255])),
    };
    let all_allowed = of10 || command.is_delete() && v != Version::Of11;
    if m.table == TableId::ALL && !all_allowed {
        m.table = TableId(7);
    }
    m.priority = if standard10 && crate::oxm::is_exact10(&m.matching) {
        u16::MAX
    } else {
        e.u16()
    };
    if command == FlowCommand::Add {
        m.new_cookie = Some(u64_of(e));
        m.modify_cookie = of10 && m.new_cookie != Some(u64::MAX);
        if v < Version::Of12 {
            m.flags = FlowFlags::RESET_COUNTS;
        }
    } else {
        if !standard10 && e.one_in(2) {
            m.cookie = cookie(e);
        }
        let modify = !command.is_delete();
        m.new_cookie = match v {
            Version::Of10 if modify => Some(u64_of(e)),
            Version::Of11 if modify && m.cookie.mask == 0 => Some(u64_of(e)),
            _ => None,
        };
        m.modify_cookie = of10 && m.new_cookie.is_some_and(|c| c != u64::MAX);
    }
    m.idle_timeout = e.u8().into();
    m.hard_timeout = e.u8().into();
    m.importance = if v >= Version::Of14 { e.u8().into() } else { 0 };
    m.buffer_id = e.one_in(8).then(|| e.u16().into());
    m.out_port = if e.one_in(2) {
        OfPort::ANY
    } else {
        real_port(e)
    };
    if !of10 && e.one_in(4) {
        m.out_group = GroupId(e.u8().into());
    }
    m.flags = m.flags.with(FlowFlags(u16::from(e.u8())));
    m.flags = FlowFlags(
        m.flags.to_wire(v)
            | if v < Version::Of12 {
                u16::from(command == FlowCommand::Add) << 2
            } else {
                0
            },
    );
    m.instructions = instructions(e, v, &m.matching);
    if m.table != TableId::ALL && m.instructions.goto.is_some_and(|t| t <= m.table) {
        m.instructions.goto = None;
    }
    m
}

fn flow_removed(e: &mut Entropy<'_>, d: &Dialect) -> FlowRemoved {
    let v = d.version;
    let mut reasons = vec![
        FlowRemovedReason::IdleTimeout,
        FlowRemovedReason::HardTimeout,
        FlowRemovedReason::Delete,
    ];
    if v >= Version::Of11 {
        reasons.push(FlowRemovedReason::GroupDelete);
    }
    if v >= Version::Of14 {
        reasons.extend([FlowRemovedReason::MeterDelete, FlowRemovedReason::Eviction]);
    }
    let standard10 = v == Version::Of10 && d.flow_format == FlowFormat::OpenFlow10;
    FlowRemoved {
        matching: match_in(e, d),
        cookie: u64_of(e),
        priority: e.u16(),
        reason: e.pick(&reasons),
        table: (!standard10).then(|| TableId(e.below(254) as u8)),
        duration_sec: u32_of(e),
        duration_nsec: u32_of(e),
        idle_timeout: e.u16(),
        hard_timeout: if v >= Version::Of12 { e.u16() } else { 0 },
        packets: u64_of(e),
        bytes: u64_of(e),
    }
}
