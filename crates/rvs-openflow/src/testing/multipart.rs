//! Multipart requests and replies.

use rvs_flow::testing::Entropy;
use rvs_flow::OfPort;

use super::actions::{actions, instructions};
use super::control::{controller_status, group, meter, queue, table};
use super::messages::{cookie, port_desc};
use super::{match_in, name, real_port, u32_of, u64_of};
use crate::message::{
    AggregateStats, BundleFeatures, BundleFeaturesRequest, BundleFlags, Desc, Dialect, FlowChange,
    FlowEvent, FlowFlags, FlowFormat, FlowMonitorRequest, FlowRemovedReason, FlowStats,
    FlowStatsForm, FlowStatsRequest, FlowUpdate, GroupFeatures, GroupStats, MeterFeatures,
    MeterStats, MonitorCommand, MonitorFlags, PacketCount, PortStats, QueueSelector, QueueStats,
    Reply, Request, TableFeatures, TableProperty, TableStats, QUEUE_ALL,
};
use crate::model::{GroupId, Instructions, MeterId, TableId};
use crate::version::Version;

fn form(e: &mut Entropy<'_>, d: &Dialect) -> FlowStatsForm {
    if d.version == Version::Of10 && e.one_in(2) {
        FlowStatsForm::Nicira
    } else {
        FlowStatsForm::Standard
    }
}

/// The dialect whose matches that form of flow statistics writes.
fn of_form(d: &Dialect, form: FlowStatsForm) -> Dialect {
    Dialect {
        flow_format: match form {
            FlowStatsForm::Nicira => FlowFormat::Nxm,
            FlowStatsForm::Standard => FlowFormat::OpenFlow10,
        },
        ..*d
    }
}

fn flow_request(e: &mut Entropy<'_>, d: &Dialect) -> Box<FlowStatsRequest> {
    let form = form(e, d);
    let mut q = FlowStatsRequest::all(form);
    q.table = TableId(e.u8());
    q.matching = match_in(e, &of_form(d, form));
    if e.one_in(2) {
        q.out_port = real_port(e);
    }
    if d.version >= Version::Of11 && e.one_in(2) {
        q.out_group = GroupId(e.u8().into());
    }
    if (form == FlowStatsForm::Nicira || d.version >= Version::Of11) && e.one_in(2) {
        q.cookie = cookie(e);
    }
    Box::new(q)
}

/// What multipart requests ask.
pub fn request(e: &mut Entropy<'_>, d: &Dialect) -> Request {
    let port = if e.one_in(2) {
        OfPort::ANY
    } else {
        real_port(e)
    };
    let v = d.version;
    let queues = |e: &mut Entropy<'_>| QueueSelector {
        port,
        queue: if e.one_in(2) {
            QUEUE_ALL
        } else {
            e.u8().into()
        },
    };
    let group = GroupId(if e.one_in(3) {
        GroupId::ALL.0
    } else {
        e.u8().into()
    });
    let meter = MeterId(if e.one_in(3) {
        MeterId::ALL.0
    } else {
        e.u8().into()
    });
    let named = matches!(v, Version::Of10 | Version::Of15);
    match e.below(19) {
        0 => Request::Desc,
        1 => Request::Flow(flow_request(e, d)),
        2 => Request::Aggregate(flow_request(e, d)),
        3 => Request::Table,
        4 => Request::Port(port),
        5 => Request::Queue(queues(e)),
        6 => Request::Group(group),
        7 => Request::GroupDesc(if named { group } else { GroupId::ALL }),
        8 => Request::GroupFeatures,
        9 if v >= Version::Of13 => Request::Meter(meter),
        10 if v >= Version::Of13 => Request::MeterConfig(meter),
        11 if v >= Version::Of13 => Request::MeterFeatures,
        12 if v >= Version::Of13 => {
            Request::TableFeatures((0..e.below(3)).map(|_| table_features(e, v)).collect())
        }
        13 if v >= Version::Of14 => Request::TableDesc,
        14 if v >= Version::Of14 => Request::QueueDesc(queues(e)),
        15 => Request::FlowMonitor((0..e.below(3)).map(|_| monitor(e, d)).collect()),
        16 if v >= Version::Of15 => Request::FlowCounters(flow_request(e, d)),
        17 if v >= Version::Of15 && e.one_in(2) => Request::ControllerStatus,
        17 if v >= Version::Of15 => {
            Request::BundleFeatures(BundleFeaturesRequest { flags: u32_of(e) })
        }
        _ if v >= Version::Of15 => Request::PortDesc(port),
        _ => Request::PortDesc(OfPort::ANY),
    }
}

/// What multipart replies answer.
pub fn reply(e: &mut Entropy<'_>, d: &Dialect) -> Reply {
    let v = d.version;
    let n = e.below(4);
    match e.below(19) {
        0 => Reply::Desc(Box::new(Desc {
            manufacturer: name(e, 255),
            hardware: name(e, 20),
            software: name(e, 20),
            serial: name(e, 31),
            datapath: name(e, 20),
        })),
        1 => {
            let form = form(e, d);
            Reply::Flow(form, (0..n).map(|_| flow_stats(e, d, form)).collect())
        }
        2 => Reply::Aggregate(
            form(e, d),
            AggregateStats {
                packets: u64_of(e),
                bytes: u64_of(e),
                flows: u32_of(e),
            },
        ),
        3 => Reply::Table((0..n).map(|_| table_stats(e, v)).collect()),
        4 => Reply::Port((0..n).map(|_| port_stats(e, v)).collect()),
        5 => Reply::Queue((0..n).map(|_| queue_stats(e, v)).collect()),
        6 => Reply::Group((0..n).map(|_| group_stats(e, v)).collect()),
        7 => Reply::GroupDesc((0..n).map(|_| group(e, v)).collect()),
        8 => Reply::GroupFeatures(group_features(e)),
        9 if v >= Version::Of13 => Reply::Meter((0..n).map(|_| meter_stats(e)).collect()),
        10 if v >= Version::Of13 => Reply::MeterConfig((0..n).map(|_| meter(e)).collect()),
        11 if v >= Version::Of13 => Reply::MeterFeatures(MeterFeatures {
            max_meter: u32_of(e),
            band_types: 6,
            capabilities: 15,
            max_bands: e.u8(),
            max_color: e.u8(),
        }),
        12 if v >= Version::Of13 => {
            Reply::TableFeatures((0..n).map(|_| table_features(e, v)).collect())
        }
        13 if v >= Version::Of14 => Reply::TableDesc((0..n).map(|_| table(e, v)).collect()),
        14 if v >= Version::Of14 => Reply::QueueDesc(
            (0..n)
                .map(|_| {
                    let port = real_port(e);
                    queue(e, v, port)
                })
                .collect(),
        ),
        15 => Reply::FlowMonitor((0..n).map(|_| update(e, d)).collect()),
        16 if v >= Version::Of15 => {
            Reply::FlowCounters((0..n).map(|_| flow_counters(e, d)).collect())
        }
        17 if v >= Version::Of15 && e.one_in(2) => {
            Reply::ControllerStatus((0..n).map(|_| controller_status(e)).collect())
        }
        17 if v >= Version::Of15 => Reply::BundleFeatures(BundleFeatures {
            capabilities: BundleFlags(e.u16()),
        }),
        _ => Reply::PortDesc((0..n).map(|_| port_desc(e, v)).collect()),
    }
}

fn flow_stats(e: &mut Entropy<'_>, d: &Dialect, form: FlowStatsForm) -> FlowStats {
    let v = d.version;
    let nicira = form == FlowStatsForm::Nicira;
    let mut f = FlowStats::new(match_in(e, &of_form(d, form)));
    f.table = TableId(e.u8());
    f.priority = e.u16();
    f.cookie = u64_of(e);
    f.duration_sec = u32_of(e);
    f.duration_nsec = u32_of(e);
    f.idle_timeout = e.u16();
    f.hard_timeout = e.u16();
    if (nicira || v >= Version::Of15) && e.one_in(2) {
        f.idle_age = Some(e.u8().into());
    }
    if nicira && e.one_in(2) {
        f.hard_age = Some(e.u8().into());
    }
    if v >= Version::Of13 {
        f.flags = FlowFlags(FlowFlags(e.u16()).to_wire(v));
    }
    if v >= Version::Of14 {
        f.importance = e.u16();
    }
    f.packets = u64_of(e);
    f.bytes = u64_of(e);
    f.instructions = instructions(e, v, &f.matching);
    f
}

fn table_stats(e: &mut Entropy<'_>, v: Version) -> TableStats {
    let old = v <= Version::Of12;
    TableStats {
        table: TableId(e.u8()),
        name: if old { name(e, 31) } else { String::new() },
        max_entries: if old { u32_of(e) } else { 0 },
        config: if matches!(v, Version::Of11 | Version::Of12) {
            e.below(4) as u32
        } else {
            0
        },
        active: u32_of(e),
        lookups: u64_of(e),
        matched: u64_of(e),
    }
}

fn port_stats(e: &mut Entropy<'_>, v: Version) -> PortStats {
    let timed = v >= Version::Of13;
    PortStats {
        port: real_port(e),
        duration_sec: if timed { u32_of(e) } else { 0 },
        duration_nsec: if timed { u32_of(e) } else { 0 },
        rx_packets: u64_of(e),
        tx_packets: u64_of(e),
        rx_bytes: u64_of(e),
        tx_bytes: u64_of(e),
        rx_dropped: u64_of(e),
        tx_dropped: u64_of(e),
        rx_errors: u64_of(e),
        tx_errors: u64_of(e),
        rx_frame_err: u64_of(e),
        rx_over_err: u64_of(e),
        rx_crc_err: u64_of(e),
        collisions: u64_of(e),
    }
}

fn flow_counters(e: &mut Entropy<'_>, d: &Dialect) -> FlowStats {
    let from = flow_stats(e, d, FlowStatsForm::Standard);
    FlowStats {
        table: from.table,
        priority: from.priority,
        duration_sec: from.duration_sec,
        duration_nsec: from.duration_nsec,
        idle_age: from.idle_age,
        packets: from.packets,
        bytes: from.bytes,
        triggered: e.one_in(2),
        ..FlowStats::new(from.matching)
    }
}

fn queue_stats(e: &mut Entropy<'_>, v: Version) -> QueueStats {
    let timed = v >= Version::Of13;
    QueueStats {
        port: real_port(e),
        queue: u32_of(e),
        tx_bytes: u64_of(e),
        tx_packets: u64_of(e),
        tx_errors: u64_of(e),
        duration_sec: if timed { u32_of(e) } else { 0 },
        duration_nsec: if timed { u32_of(e) } else { 0 },
    }
}

fn count(e: &mut Entropy<'_>) -> PacketCount {
    PacketCount {
        packets: u64_of(e),
        bytes: u64_of(e),
    }
}

fn group_stats(e: &mut Entropy<'_>, v: Version) -> GroupStats {
    let timed = !matches!(v, Version::Of11 | Version::Of12);
    GroupStats {
        id: GroupId(u32_of(e)),
        ref_count: u32_of(e),
        total: count(e),
        duration_sec: if timed { u32_of(e) } else { 0 },
        duration_nsec: if timed { u32_of(e) } else { 0 },
        buckets: (0..e.below(3)).map(|_| count(e)).collect(),
    }
}

fn group_features(e: &mut Entropy<'_>) -> GroupFeatures {
    GroupFeatures {
        types: 0xf,
        capabilities: e.below(16) as u32,
        max_groups: [u32_of(e), u32_of(e), 0, 1],
        actions: [u32_of(e), 0, u32_of(e), 1],
    }
}

fn meter_stats(e: &mut Entropy<'_>) -> MeterStats {
    MeterStats {
        id: MeterId(u32_of(e)),
        flow_count: u32_of(e),
        total: count(e),
        duration_sec: u32_of(e),
        duration_nsec: u32_of(e),
        bands: (0..e.below(3)).map(|_| count(e)).collect(),
    }
}

fn table_features(e: &mut Entropy<'_>, v: Version) -> TableFeatures {
    use rvs_flow::FieldId as F;
    let fields = || vec![F::EthDst, F::VlanVid, F::TcpFlags, F::Metadata];
    let miss = e.one_in(2);
    let both = |p: &dyn Fn(bool) -> TableProperty| {
        let mut all = vec![p(false)];
        if miss {
            all.push(p(true));
        }
        all
    };
    let mut properties = [
        both(&|miss| TableProperty::Instructions {
            miss,
            types: vec![1, 2, 3, 4, 5],
        }),
        both(&|miss| TableProperty::NextTables {
            miss,
            tables: (1..9).collect(),
        }),
        both(&|miss| TableProperty::WriteActions {
            miss,
            types: vec![0, 22, 25],
        }),
        both(&|miss| TableProperty::ApplyActions {
            miss,
            types: vec![0, 11],
        }),
        vec![
            TableProperty::Match(vec![(F::EthDst, true), (F::IpProto, false)]),
            TableProperty::Wildcards(fields()),
        ],
        both(&|miss| TableProperty::WriteSetField {
            miss,
            fields: fields(),
        }),
        both(&|miss| TableProperty::ApplySetField {
            miss,
            fields: vec![],
        }),
    ]
    .concat();
    if v >= Version::Of15 && e.one_in(3) {
        properties.clear();
    }
    TableFeatures {
        table: TableId(e.below(254) as u8),
        command: if v >= Version::Of15 {
            e.below(4) as u8
        } else {
            0
        },
        name: name(e, 31),
        metadata_match: u64_of(e),
        metadata_write: u64_of(e),
        capabilities: if v >= Version::Of14 { 12 } else { 0 },
        max_entries: u32_of(e),
        properties,
    }
}

/// Monitors of 1.0 to 1.2 speak NXM whatever the flows do.
fn of_monitor(d: &Dialect) -> Dialect {
    let version = if d.version <= Version::Of12 {
        Version::Of10
    } else {
        d.version
    };
    Dialect {
        version,
        flow_format: FlowFormat::Nxm,
        ..*d
    }
}

fn monitor(e: &mut Entropy<'_>, d: &Dialect) -> FlowMonitorRequest {
    let new = d.version >= Version::Of14;
    let command = if new {
        e.pick(&[
            MonitorCommand::Add,
            MonitorCommand::Modify,
            MonitorCommand::Delete,
        ])
    } else {
        MonitorCommand::Add
    };
    let flags = MonitorFlags(u16::from(e.u8()) & if new { 0x7f } else { 0x3f } | 2);
    FlowMonitorRequest {
        id: u32_of(e),
        command,
        flags: if command == MonitorCommand::Delete {
            MonitorFlags(0)
        } else {
            flags
        },
        out_port: if e.one_in(2) {
            OfPort::ANY
        } else {
            real_port(e)
        },
        out_group: if new {
            GroupId(e.u8().into())
        } else {
            GroupId::ANY
        },
        table: TableId(e.u8()),
        matching: match_in(e, &of_monitor(d)),
    }
}

fn update(e: &mut Entropy<'_>, d: &Dialect) -> FlowUpdate {
    let new = d.version >= Version::Of14;
    match e.below(6) {
        0 => FlowUpdate::Abbrev { xid: u32_of(e) },
        1 if new => FlowUpdate::Paused,
        2 if new => FlowUpdate::Resumed,
        _ => FlowUpdate::Flow(Box::new(change(e, d))),
    }
}

fn change(e: &mut Entropy<'_>, d: &Dialect) -> FlowChange {
    let event = match e.below(4) {
        0 if d.version >= Version::Of14 => FlowEvent::Initial,
        0 | 1 => FlowEvent::Added,
        2 => FlowEvent::Modified,
        _ => FlowEvent::Removed(e.pick(&[
            FlowRemovedReason::IdleTimeout,
            FlowRemovedReason::HardTimeout,
            FlowRemovedReason::Delete,
        ])),
    };
    let matching = match_in(e, &of_monitor(d));
    let instructions = if d.version >= Version::Of13 {
        instructions(e, d.version, &matching)
    } else {
        Instructions::apply(actions(e, d.version, &matching))
    };
    FlowChange {
        event,
        table: TableId(e.u8()),
        priority: e.u16(),
        idle_timeout: e.u16(),
        hard_timeout: e.u16(),
        cookie: u64_of(e),
        matching,
        instructions,
    }
}
