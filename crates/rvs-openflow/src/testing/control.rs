//! Groups, meters, tables, queues, roles, bundles.

use rvs_flow::testing::Entropy;
use rvs_flow::{FieldId, OfPort};

use super::actions::actions;
use super::messages::{flow_mod, packet_in};
use super::{name, real_port, u32_of, u64_of};
use crate::message::{
    AsyncConfig, AsyncKind, BundleAdd, BundleCommand, BundleControl, BundleFlags, ControllerReason,
    ControllerStatus, Dialect, GroupCommand, GroupMod, Message, MeterCommand, MeterMod, Queue,
    QueueConfig, RequestForward, Role, RoleMessage, RoleReason, RoleStatus, TableConfig, TableMiss,
    TableReason, TableStatus, TlvCommand, TlvMap, TlvTableMod, TlvTableReply, Vacancy, BUCKET_ALL,
    BUCKET_FIRST, BUCKET_LAST,
};
use crate::model::{
    Band, BandKind, Bucket, Group, GroupId, GroupKind, Meter, MeterId, MeterUnit, Selection,
    TableId,
};
use crate::oxm::FlowMatch;
use crate::version::Version;

/// A message that sets up or tells of something other than flows and packets.
pub(super) fn control_message(e: &mut Entropy<'_>, d: &Dialect) -> Message {
    use Message as M;
    let v = d.version;
    let from14 = v >= Version::Of13;
    match e.below(22) {
        0..=3 => M::GroupMod(Box::new(group_mod(e, v))),
        4 | 5 if v >= Version::Of13 => M::MeterMod(Box::new(meter_mod(e))),
        6 if v >= Version::Of11 => M::TableMod(table_mod(e, v)),
        7 if v <= Version::Of13 => M::QueueGetConfigRequest(real_port(e)),
        8 if v <= Version::Of13 => M::QueueGetConfigReply(Box::new(queue_config(e, v))),
        9 if e.one_in(2) => M::RoleRequest(role(e, v)),
        9 => M::RoleReply(role(e, v)),
        10 if v >= Version::Of15 => M::ControllerStatus(Box::new(controller_status(e))),
        11 if from14 => M::RoleStatus(RoleStatus {
            role: e.pick(&[Role::Equal, Role::Primary, Role::Secondary]),
            reason: e.pick(&[RoleReason::PrimaryRequest, RoleReason::Config]),
            generation_id: generation(e),
        }),
        12 if v >= Version::Of13 => M::GetAsyncRequest,
        12 | 13 => M::SetAsync(Box::new(async_config(e, v))),
        14 if v >= Version::Of13 => M::GetAsyncReply(Box::new(async_config(e, v))),
        14 if v >= Version::Of14 => M::TableStatus(TableStatus {
            reason: e.pick(&[TableReason::VacancyDown, TableReason::VacancyUp]),
            table: table(e, v),
        }),
        15 => M::RequestForward(Box::new(RequestForward {
            xid: u32_of(e),
            request: Message::GroupMod(Box::new(group_mod(e, v))),
        })),
        16 if from14 => M::BundleControl(BundleControl {
            bundle: u32_of(e),
            command: e.pick(&[
                BundleCommand::OpenRequest,
                BundleCommand::CloseReply,
                BundleCommand::CommitRequest,
                BundleCommand::DiscardReply,
            ]),
            flags: BundleFlags(e.below(4) as u16),
        }),
        17 if v >= Version::Of14 => M::TableStatus(TableStatus {
            reason: e.pick(&[TableReason::VacancyDown, TableReason::VacancyUp]),
            table: table(e, v),
        }),
        18 if v <= Version::Of13 => e
            .pick(&[Monitor::Cancel, Monitor::Paused, Monitor::Resumed])
            .message(e),
        19 => M::TlvTableMod(TlvTableMod {
            command: e.pick(&[TlvCommand::Add, TlvCommand::Delete, TlvCommand::Clear]),
            maps: maps(e),
        }),
        20 => M::TlvTableReply(TlvTableReply {
            max_option_space: u32_of(e),
            max_fields: e.u16(),
            maps: maps(e),
        }),
        _ => M::Resume(Box::new(packet_in(
            e,
            &Dialect {
                packet_in: crate::message::PacketInFormat::Nxt2,
                ..*d
            },
        ))),
    }
}

#[derive(Clone, Copy)]
enum Monitor {
    Cancel,
    Paused,
    Resumed,
}

impl Monitor {
    fn message(self, e: &mut Entropy<'_>) -> Message {
        match self {
            Self::Cancel => Message::FlowMonitorCancel(u32_of(e)),
            Self::Paused => Message::FlowMonitorPaused,
            Self::Resumed => Message::FlowMonitorResumed,
        }
    }
}

/// A flow-mod to add to a bundle; its transaction id is `xid`, as the outer message's must be.
pub fn bundle_add(e: &mut Entropy<'_>, d: &Dialect, xid: u32) -> Option<Message> {
    let inner = Message::FlowMod(Box::new(flow_mod(e, d)));
    Some(Message::BundleAdd(BundleAdd {
        bundle: u32_of(e),
        flags: BundleFlags(e.below(4) as u16),
        message: d.encode(&inner, xid).ok()?,
    }))
}

fn maps(e: &mut Entropy<'_>) -> Vec<TlvMap> {
    (0..e.below(3))
        .map(|_| TlvMap {
            class: e.u16(),
            kind: e.u8(),
            len: 4 * (1 + e.below(31) as u8),
            index: e.below(64) as u16,
        })
        .collect()
}

fn bucket(e: &mut Entropy<'_>, v: Version, kind: GroupKind, id: u32) -> Bucket {
    let watches = match kind {
        GroupKind::FastFailover => 1 + e.below(3),
        GroupKind::Select => e.below(4),
        GroupKind::All | GroupKind::Indirect => 0,
    };
    Bucket {
        id,
        weight: if kind == GroupKind::Select {
            e.u8().into()
        } else {
            0
        },
        watch_port: (watches & 1 != 0).then(|| real_port(e)),
        watch_group: (watches & 2 != 0).then(|| GroupId(e.u8().into())),
        actions: actions(e, v, &FlowMatch::any()).into(),
    }
}

/// A group that is valid in `v`.
pub fn group(e: &mut Entropy<'_>, v: Version) -> Group {
    let kind = e.pick(&[
        GroupKind::All,
        GroupKind::Select,
        GroupKind::Indirect,
        GroupKind::FastFailover,
    ]);
    let new = matches!(v, Version::Of10 | Version::Of15);
    let n = if kind == GroupKind::Indirect {
        1
    } else {
        e.below(4)
    };
    let first = if new { e.u8().into() } else { 0 };
    let selection = match e.below(3) {
        0 if new && kind == GroupKind::Select => Selection::DpHash { param: u64_of(e) },
        1 if new && kind == GroupKind::Select => Selection::Hash {
            param: u64_of(e),
            fields: Box::new([(FieldId::Ipv4Src, 0xffff_ff00), (FieldId::IpProto, 0xff)]),
        },
        _ => Selection::Default,
    };
    Group {
        id: GroupId(e.u16().into()),
        kind,
        selection,
        buckets: (0..n as u32)
            .map(|i| bucket(e, v, kind, first + i))
            .collect(),
    }
}

fn group_mod(e: &mut Entropy<'_>, v: Version) -> GroupMod {
    let mut commands = vec![
        GroupCommand::Add,
        GroupCommand::Modify,
        GroupCommand::Delete,
        GroupCommand::AddOrMod,
    ];
    if matches!(v, Version::Of10 | Version::Of15) {
        commands.extend([GroupCommand::InsertBucket, GroupCommand::RemoveBucket]);
    }
    let command = e.pick(&commands);
    let mut group = group(e, v);
    let command_bucket = match command {
        GroupCommand::InsertBucket => e.pick(&[0, BUCKET_FIRST, BUCKET_LAST]),
        GroupCommand::RemoveBucket => e.pick(&[9, BUCKET_FIRST, BUCKET_ALL]),
        _ => BUCKET_ALL,
    };
    if !matches!(
        command,
        GroupCommand::Add | GroupCommand::Modify | GroupCommand::AddOrMod
    ) {
        group.selection = Selection::Default;
    }
    if command == GroupCommand::RemoveBucket {
        group.buckets = Box::new([]);
    }
    if command == GroupCommand::Delete {
        group.buckets = Box::new([]);
        if e.one_in(2) {
            group.id = GroupId::ALL;
        }
    }
    GroupMod {
        command,
        command_bucket,
        group,
    }
}

pub fn meter(e: &mut Entropy<'_>) -> Meter {
    Meter {
        id: MeterId(if e.one_in(8) {
            MeterId::CONTROLLER.0
        } else {
            1 + u32::from(e.u16())
        }),
        unit: e.pick(&[MeterUnit::KilobitsPerSecond, MeterUnit::PacketsPerSecond]),
        burst: e.one_in(2),
        stats: e.one_in(2),
        bands: (0..e.below(3))
            .map(|_| Band {
                kind: if e.one_in(2) {
                    BandKind::Drop
                } else {
                    BandKind::DscpRemark {
                        levels: e.below(4) as u8,
                    }
                },
                rate: u32_of(e),
                burst: u32_of(e),
            })
            .collect(),
    }
}

fn meter_mod(e: &mut Entropy<'_>) -> MeterMod {
    let command = e.pick(&[
        MeterCommand::Add,
        MeterCommand::Modify,
        MeterCommand::Delete,
    ]);
    let mut meter = meter(e);
    if command == MeterCommand::Delete && e.one_in(2) {
        meter.id = MeterId::ALL;
    }
    MeterMod { command, meter }
}

pub(super) fn table(e: &mut Entropy<'_>, v: Version) -> TableConfig {
    let new = v >= Version::Of14;
    let down = e.below(50) as u8;
    TableConfig {
        table: TableId(e.u8()),
        miss: if new {
            TableMiss::Controller
        } else {
            e.pick(&[TableMiss::Controller, TableMiss::Continue, TableMiss::Drop])
        },
        eviction: new && e.one_in(2),
        vacancy_events: new && e.one_in(2),
        eviction_flags: (new && e.one_in(2)).then(|| e.below(8) as u32),
        vacancy: (new && e.one_in(2)).then(|| Vacancy {
            down,
            up: down + e.below(50) as u8,
            current: e.below(101) as u8,
        }),
    }
}

fn table_mod(e: &mut Entropy<'_>, v: Version) -> TableConfig {
    let mut t = table(e, v);
    if let Some(v) = &mut t.vacancy {
        v.current = 0;
    }
    t
}

pub(super) fn queue(e: &mut Entropy<'_>, v: Version, port: OfPort) -> Queue {
    Queue {
        port,
        id: u32_of(e),
        min_rate: e.one_in(2).then(|| e.u16()),
        max_rate: (v >= Version::Of12 && e.one_in(2)).then(|| e.u16()),
    }
}

fn queue_config(e: &mut Entropy<'_>, v: Version) -> QueueConfig {
    let port = real_port(e);
    QueueConfig {
        port,
        queues: (0..e.below(3)).map(|_| queue(e, v, port)).collect(),
    }
}

fn generation(e: &mut Entropy<'_>) -> Option<u64> {
    Some(u64_of(e)).filter(|g| *g != u64::MAX)
}

fn role(e: &mut Entropy<'_>, v: Version) -> RoleMessage {
    let nicira = v < Version::Of12 || e.one_in(4);
    let role = e.pick(&[Role::Equal, Role::Primary, Role::Secondary, Role::NoChange]);
    RoleMessage {
        role: if nicira && role == Role::NoChange {
            Role::Equal
        } else {
            role
        },
        generation_id: if nicira { None } else { generation(e) },
        short_id: if v >= Version::Of15 && !nicira {
            e.u16()
        } else {
            0
        },
        nicira,
    }
}

pub(super) fn controller_status(e: &mut Entropy<'_>) -> ControllerStatus {
    ControllerStatus {
        short_id: e.u16(),
        role: e.pick(&[Role::Equal, Role::Primary, Role::Secondary]),
        reason: e.pick(&[
            ControllerReason::Request,
            ControllerReason::Channel,
            ControllerReason::Removed,
        ]),
        up: e.one_in(2),
        uri: name(e, 30),
    }
}

fn async_config(e: &mut Entropy<'_>, v: Version) -> AsyncConfig {
    let mut c = AsyncConfig::default();
    let kinds = match v {
        Version::Of15 => 8,
        Version::Of14 => 6,
        _ => 3,
    };
    for kind in &AsyncKind::ALL[..kinds] {
        for secondary in [false, true] {
            let mask = u32::from(e.u8()) & kind.reasons(v);
            if v < Version::Of14 || e.one_in(2) {
                c.set(*kind, secondary, mask);
            }
        }
    }
    c
}
