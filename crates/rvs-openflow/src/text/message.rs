//! Whole messages as `ovs-ofctl` and the log of Open vSwitch's daemon write them: a heading, `OFPT_FLOW_MOD (OF1.3) (xid=0x2):`,
//! and what is in them. Of answers about tables, queues and features that only machines read, it says how many entries they have.

mod events;
mod raw;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use rvs_flow::OfPort;

use super::flow::{Rule, FLAGS};
use super::port::{config_names, desc_text, or_zero, stats_text};
use super::Words;
use crate::message::{
    kind, BundleAdd, BundleCommand, BundleControl, BundleFlags, Capabilities, ControllerReason,
    ControllerStatus, Features, FlowCommand, FlowFlags, FlowFormat, FlowMod, FlowStatsRequest,
    Fragments, GroupCommand, GroupMod, Message, MeterCommand, PacketInFormat, PortChange, PortMod,
    Reply, Request, Role, RoleMessage, SwitchConfig, BUCKET_ALL, BUCKET_FIRST, BUCKET_LAST,
};
use crate::model::{GroupId, MeterId, TableId};
use crate::version::{Version, VersionSet};
use crate::{Dialect, ErrorMessage};
use events::{counters, flow_removed, packet_in};

pub use events::{event_name, frame_text, reason_name, removal_name, update_text};

/// ` (OF1.3)`, as headings have it; nothing for 1.0.
pub const fn version_note(v: Version) -> &'static str {
    match v {
        Version::Of10 => "",
        Version::Of11 => " (OF1.1)",
        Version::Of12 => " (OF1.2)",
        Version::Of13 => " (OF1.3)",
        Version::Of14 => " (OF1.4)",
        Version::Of15 => " (OF1.5)",
    }
}

/// How many messages deep a message is written out: a bundled one in the bundle's in an error. What is inside that is a heading,
/// for errors hold errors as deep as somebody likes, and each holds a copy of the rest.
const DEPTH: usize = 3;

/// A message that came or goes in this dialect, without a newline at its end.
pub fn wire_text(dialect: &Dialect, bytes: &[u8]) -> String {
    nested_text(dialect, bytes, DEPTH)
}

/// As [`wire_text`], with so many messages in one another; beyond them a heading.
fn nested_text(dialect: &Dialect, bytes: &[u8], depth: usize) -> String {
    let raw = match raw::whole(bytes) {
        Ok(raw) => raw,
        Err(text) => return text.trim_end().to_owned(),
    };
    // A HELLO is written in the version that its sender likes best.
    let version = Version::from_wire(raw.version).unwrap_or(dialect.version);
    let words = Words::new(version);
    let text = match dialect.decode(bytes) {
        Ok((_, m)) => {
            let name = name(&m, version, raw.kind == kind::EXPERIMENTER, dialect);
            let note = version_note(version);
            let inner = depth.checked_sub(1);
            let body = inner.map(|inner| nested_body(&m, dialect, &words, inner));
            let body = body.unwrap_or_default();
            format!("{name}{note} (xid={:#x}):{body}", raw.xid)
        }
        Err(e) => raw::refused(raw, bytes, e.code),
    };
    text.trim_end().to_owned()
}

/// What a message is called, with the prefix of whoever defined its form.
fn name(m: &Message, version: Version, experimenter: bool, dialect: &Dialect) -> String {
    let plain = match m {
        Message::MultipartRequest(r) => return format!("{} request", r.name(version)),
        Message::MultipartReply(r) => return format!("{} reply", r.name(version)),
        Message::PacketIn(_) if experimenter && dialect.packet_in == PacketInFormat::Nxt2 => {
            "PACKET_IN2"
        }
        m => plain_name(m),
    };
    let onf = matches!(
        m,
        Message::BundleControl(_) | Message::BundleAdd(_) | Message::RequestForward(_)
    );
    let prefix = match experimenter {
        false => "OFPT",
        true if onf => "ONFT",
        true => "NXT",
    };
    format!("{prefix}_{plain}")
}

/// What a message is called in a version's own form.
pub fn full_name(m: &Message, version: Version) -> String {
    name(m, version, false, &Dialect::new(version))
}

/// What happened to a port.
pub const fn change_name(c: PortChange) -> &'static str {
    match c {
        PortChange::Add => "ADD",
        PortChange::Delete => "DEL",
        PortChange::Modify => "MOD",
    }
}

/// What a message is called, without the prefix of whoever defined its form; multiparts aside.
const fn plain_name(m: &Message) -> &'static str {
    use Message as M;
    match m {
        M::Hello(_) => "HELLO",
        M::Error(_) => "ERROR",
        M::EchoRequest(_) => "ECHO_REQUEST",
        M::EchoReply(_) => "ECHO_REPLY",
        M::FeaturesRequest => "FEATURES_REQUEST",
        M::FeaturesReply(_) => "FEATURES_REPLY",
        M::GetConfigRequest => "GET_CONFIG_REQUEST",
        M::GetConfigReply(_) => "GET_CONFIG_REPLY",
        M::SetConfig(_) => "SET_CONFIG",
        M::PacketIn(_) => "PACKET_IN",
        M::FlowRemoved(_) => "FLOW_REMOVED",
        M::PortStatus(_) => "PORT_STATUS",
        M::PacketOut(_) => "PACKET_OUT",
        M::FlowMod(_) => "FLOW_MOD",
        M::GroupMod(_) => "GROUP_MOD",
        M::PortMod(_) => "PORT_MOD",
        M::TableMod(_) => "TABLE_MOD",
        M::MeterMod(_) => "METER_MOD",
        M::BarrierRequest => "BARRIER_REQUEST",
        M::BarrierReply => "BARRIER_REPLY",
        M::QueueGetConfigRequest(_) => "QUEUE_GET_CONFIG_REQUEST",
        M::QueueGetConfigReply(_) => "QUEUE_GET_CONFIG_REPLY",
        M::RoleRequest(_) => "ROLE_REQUEST",
        M::RoleReply(_) => "ROLE_REPLY",
        M::RoleStatus(_) => "ROLE_STATUS",
        M::GetAsyncRequest => "GET_ASYNC_REQUEST",
        M::GetAsyncReply(_) => "GET_ASYNC_REPLY",
        M::SetAsync(_) => "SET_ASYNC",
        M::TableStatus(_) => "TABLE_STATUS",
        M::RequestForward(_) => "REQUESTFORWARD",
        M::ControllerStatus(_) => "CONTROLLER_STATUS",
        M::BundleControl(_) => "BUNDLE_CONTROL",
        M::BundleAdd(_) => "BUNDLE_ADD_MESSAGE",
        M::MultipartRequest(_) => "MULTIPART_REQUEST",
        M::MultipartReply(_) => "MULTIPART_REPLY",
        M::SetFlowFormat(_) => "SET_FLOW_FORMAT",
        M::FlowModTableId(_) => "FLOW_MOD_TABLE_ID",
        M::SetPacketInFormat(_) => "SET_PACKET_IN_FORMAT",
        M::FlowAge => "FLOW_AGE",
        M::SetControllerId(_) => "SET_CONTROLLER_ID",
        M::FlowMonitorCancel(_) => "FLOW_MONITOR_CANCEL",
        M::FlowMonitorPaused => "FLOW_MONITOR_PAUSED",
        M::FlowMonitorResumed => "FLOW_MONITOR_RESUMED",
        M::TlvTableMod(_) => "TLV_TABLE_MOD",
        M::TlvTableRequest => "TLV_TABLE_REQUEST",
        M::TlvTableReply(_) => "TLV_TABLE_REPLY",
        M::Resume(_) => "RESUME",
    }
}

/// What stands behind the heading. Messages inside messages are in the same dialect.
pub fn body(m: &Message, dialect: &Dialect, w: &Words<'_>) -> String {
    nested_body(m, dialect, w, DEPTH)
}

fn nested_body(m: &Message, dialect: &Dialect, w: &Words<'_>, depth: usize) -> String {
    match m {
        Message::Hello(h) => format!("\n version bitmap: {}\n", version_numbers(h.versions)),
        Message::Error(e) => error(e, dialect, w.version, depth),
        Message::EchoRequest(data) | Message::EchoReply(data) => {
            format!(" {} bytes of payload\n", data.len())
        }
        Message::FeaturesReply(f) => features(f, w.version),
        Message::GetConfigReply(c) | Message::SetConfig(c) => config(c),
        Message::PacketIn(p) | Message::Resume(p) => packet_in(p, w),
        Message::FlowRemoved(f) => flow_removed(f, w),
        Message::PortStatus(p) => {
            let change = change_name(p.change);
            format!(" {change}:{}", desc_text(&p.port, w.version))
        }
        Message::PacketOut(p) => format!(
            " in_port={} actions={} data_len={}\n{}\n",
            w.port(p.in_port()),
            w.actions(&p.actions),
            p.data.len(),
            frame_text(&p.data)
        ),
        Message::FlowMod(f) => flow_mod(f, w),
        Message::GroupMod(g) => group_mod(g, w),
        Message::PortMod(p) => port_mod(p),
        Message::MeterMod(m) => {
            let command = match m.command {
                MeterCommand::Add => "ADD",
                MeterCommand::Modify => "MOD",
                MeterCommand::Delete => return format!(" DEL meter={} bands=\n", m.meter.id),
            };
            format!(" {command} {}", w.meter(&m.meter))
        }
        Message::QueueGetConfigRequest(port) => format!(" port={}\n", w.port(*port)),
        Message::RoleRequest(r) | Message::RoleReply(r) => role(r),
        Message::ControllerStatus(c) => controller_status(c),
        Message::BundleControl(b) => bundle_control(b),
        Message::BundleAdd(b) => bundle_add(b, dialect, depth),
        Message::MultipartRequest(r) => format!("{}\n", request(&r.body, w)),
        Message::MultipartReply(r) => {
            let more = if r.more { " flags=[more]" } else { "" };
            format!("{more}{}", reply(&r.body, w))
        }
        Message::SetFlowFormat(f) => format!(
            " format={}\n",
            match f {
                FlowFormat::OpenFlow10 => "openflow10",
                FlowFormat::Nxm => "nxm",
            }
        ),
        Message::FlowModTableId(on) => format!(" {}\n", if *on { "enable" } else { "disable" }),
        Message::SetPacketInFormat(f) => format!(
            " format={}\n",
            match f {
                PacketInFormat::Standard => "standard",
                PacketInFormat::Nxt => "nxt_packet_in",
                PacketInFormat::Nxt2 => "nxt_packet_in2",
            }
        ),
        Message::SetControllerId(id) => format!(" id={}\n", id.0),
        Message::FlowMonitorCancel(id) => format!(" id={id}\n"),
        _ => "\n".to_owned(),
    }
}

/// `0x01, 0x04`
pub fn version_numbers(set: VersionSet) -> String {
    let all: Vec<String> = set.wire().map(|v| format!("{v:#04x}")).collect();
    all.join(", ")
}

/// The error's name, and what was refused; a text for who could not agree on a version.
fn error(e: &ErrorMessage, dialect: &Dialect, version: Version, depth: usize) -> String {
    let Some(code) = e.known(version) else {
        return format!(
            " ***unknown error: vendor {:#x}, type {}, code {}***\n",
            e.vendor, e.kind, e.code
        );
    };
    let name = code.name();
    if name.starts_with("OFPHFC") {
        let text: String = String::from_utf8_lossy(&e.data)
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        return format!(" {name}\n{text}\n");
    }
    format!(" {name}\n{}\n", nested_text(dialect, &e.data, depth))
}

fn features(f: &Features, v: Version) -> String {
    const CAPABILITIES: [(Capabilities, &str); 8] = [
        (Capabilities::FLOW_STATS, "FLOW_STATS"),
        (Capabilities::TABLE_STATS, "TABLE_STATS"),
        (Capabilities::PORT_STATS, "PORT_STATS"),
        (Capabilities::GROUP_STATS, "GROUP_STATS"),
        (Capabilities::IP_REASM, "IP_REASM"),
        (Capabilities::QUEUE_STATS, "QUEUE_STATS"),
        (Capabilities::ARP_MATCH_IP, "ARP_MATCH_IP"),
        (Capabilities::PORT_BLOCKED, "PORT_BLOCKED"),
    ];
    let set = CAPABILITIES
        .iter()
        .filter(|(c, _)| f.capabilities.0 & c.0 != 0);
    let names: Vec<&str> = set.map(|(_, n)| *n).collect();
    let mut text = format!(
        " dpid:{:016x}\nn_tables:{}, n_buffers:{}",
        f.datapath_id, f.n_tables, f.n_buffers
    );
    if f.auxiliary_id != 0 {
        let _ = write!(text, ", auxiliary_id:{}", f.auxiliary_id);
    }
    let _ = writeln!(text, "\ncapabilities: {}", or_zero(&names));
    if v == Version::Of10 {
        const ACTIONS: [&str; 12] = [
            "output",
            "set_vlan_vid",
            "set_vlan_pcp",
            "strip_vlan",
            "mod_dl_src",
            "mod_dl_dst",
            "mod_nw_src",
            "mod_nw_dst",
            "mod_nw_tos",
            "mod_tp_src",
            "mod_tp_dst",
            "enqueue",
        ];
        // Queues are said beside ports.
        let order = std::iter::once(0).chain(std::iter::once(11)).chain(1..11);
        let names: Vec<&str> = order
            .filter(|n| f.actions >> n & 1 != 0)
            .filter_map(|n| ACTIONS.get(n).copied())
            .collect();
        let _ = writeln!(text, "actions: {}", names.join(" "));
    }
    f.ports.iter().for_each(|p| text.push_str(&desc_text(p, v)));
    text
}

fn config(c: &SwitchConfig) -> String {
    let frags = match c.fragments {
        Fragments::Normal => "normal",
        Fragments::Drop => "drop",
        Fragments::Reassemble => "reassemble",
        Fragments::NxMatch => "nx-match",
    };
    let ttl = match c.invalid_ttl_to_controller {
        true => " invalid_ttl_to_controller",
        false => "",
    };
    format!(" frags={frags}{ttl} miss_send_len={}\n", c.miss_send_len)
}

fn flow_mod(f: &FlowMod, w: &Words<'_>) -> String {
    let command = match f.command {
        FlowCommand::Add => "ADD",
        FlowCommand::Modify => "MOD",
        FlowCommand::ModifyStrict => "MOD_STRICT",
        FlowCommand::Delete => "DEL",
        FlowCommand::DeleteStrict => "DEL_STRICT",
    };
    let mut text = format!(" {command} ");
    // Where a version names no table, all are meant.
    if f.table.0 != 0 && (w.version > Version::Of10 || f.table != TableId::ALL) {
        let _ = write!(text, "table:{} ", f.table.0);
    }
    let rule = Rule {
        matching: &f.matching,
        priority: f.priority,
        words: *w,
    };
    let _ = write!(text, "{rule}");
    if let Some(cookie) = f.new_cookie.filter(|c| !matches!(*c, 0 | u64::MAX)) {
        let _ = write!(text, "cookie:{cookie:#x} ");
    }
    if f.cookie.mask != 0 {
        let _ = write!(text, "cookie:{:#x}/{:#x} ", f.cookie.value, f.cookie.mask);
    }
    for (name, v) in [
        ("idle", f.idle_timeout),
        ("hard", f.hard_timeout),
        ("importance", f.importance),
    ] {
        if v != 0 {
            let _ = write!(text, "{name}:{v} ");
        }
    }
    if let Some(id) = f.buffer_id {
        let _ = write!(text, "buf:{id:#x} ");
    }
    if f.out_port != OfPort::ANY {
        let _ = write!(text, "out_port:{} ", w.port(f.out_port));
    }
    for (name, flag) in FLAGS {
        // An add of 1.0 or 1.1 resets counters, and has no word for it.
        let unsaid = flag == FlowFlags::RESET_COUNTS && w.version <= Version::Of11;
        if f.flags.has(flag) && !unsaid {
            let _ = write!(text, "{name} ");
        }
    }
    format!("{text}actions={}\n", w.instructions(&f.instructions))
}

fn group_mod(g: &GroupMod, w: &Words<'_>) -> String {
    let command = match g.command {
        GroupCommand::Add => "ADD",
        GroupCommand::Modify => "MOD",
        GroupCommand::AddOrMod => "ADD_OR_MOD",
        GroupCommand::Delete => "DEL",
        GroupCommand::InsertBucket => "INSERT_BUCKET",
        GroupCommand::RemoveBucket => "REMOVE_BUCKET",
    };
    let mut text = format!("\n {command} ");
    let of_buckets = matches!(
        g.command,
        GroupCommand::InsertBucket | GroupCommand::RemoveBucket
    );
    let mut said = w.group(&g.group).to_string();
    if of_buckets {
        let place = match g.command_bucket {
            BUCKET_FIRST => "first".to_owned(),
            BUCKET_LAST => "last".to_owned(),
            BUCKET_ALL => "all".to_owned(),
            n => n.to_string(),
        };
        let _ = write!(text, "command_bucket_id:{place},");
        // A change of buckets has no type.
        let head = format!("group_id={}", g.group.id.0);
        let typed = said.find(",type=").map(|at| at + 1);
        let rest = typed.and_then(|at| said[at..].find(',').map(|end| at + end));
        said = head + rest.map_or("", |at| &said[at..]);
    }
    format!("{text}{said}\n")
}

fn port_mod(p: &PortMod) -> String {
    let advertised = match p.advertise.0 {
        0 => "UNCHANGED".to_owned(),
        _ => super::port::feature_names(p.advertise).join(" "),
    };
    format!(
        " port: {}: addr:{}\n     config: {}\n     mask:   {}\n     advertise: {advertised}\n",
        p.number,
        p.mac,
        or_zero(&config_names(p.config)),
        or_zero(&config_names(p.mask)),
    )
}

const fn role_name(r: Role) -> &'static str {
    match r {
        Role::NoChange => "nochange",
        Role::Equal => "equal",
        Role::Primary => "primary",
        Role::Secondary => "secondary",
    }
}

fn controller_status(c: &ControllerStatus) -> String {
    let reason = match c.reason {
        ControllerReason::Request => "request",
        ControllerReason::Channel => "channel_status",
        ControllerReason::Role => "role",
        ControllerReason::Added => "added",
        ControllerReason::Removed => "removed",
        ControllerReason::ShortId => "short_id",
        ControllerReason::Experimenter => "experimenter",
    };
    let channel = if c.up { "up" } else { "down" };
    format!(
        " uri={} channel={channel} role={} short_id={} reason={reason}\n",
        c.uri,
        role_name(c.role),
        c.short_id
    )
}

fn role(r: &RoleMessage) -> String {
    let name = role_name(r.role);
    let generation = r.generation_id.map(|g| format!(" generation_id={g}"));
    format!(" role={name}{}\n", generation.unwrap_or_default())
}

fn bundle_flags(f: BundleFlags) -> String {
    let all = [
        (BundleFlags::ATOMIC, "atomic"),
        (BundleFlags::ORDERED, "ordered"),
    ];
    let set: Vec<&str> = all
        .iter()
        .filter(|(bit, _)| f.has(*bit))
        .map(|(_, name)| *name)
        .collect();
    or_zero(&set)
}

fn bundle_control(b: &BundleControl) -> String {
    let command = match b.command {
        BundleCommand::OpenRequest => "OPEN_REQUEST",
        BundleCommand::OpenReply => "OPEN_REPLY",
        BundleCommand::CloseRequest => "CLOSE_REQUEST",
        BundleCommand::CloseReply => "CLOSE_REPLY",
        BundleCommand::CommitRequest => "COMMIT_REQUEST",
        BundleCommand::CommitReply => "COMMIT_REPLY",
        BundleCommand::DiscardRequest => "DISCARD_REQUEST",
        BundleCommand::DiscardReply => "DISCARD_REPLY",
    };
    let (id, flags) = (bundle_id(b.bundle), bundle_flags(b.flags));
    format!("\n bundle_id={id} type={command} flags={flags}\n")
}

fn bundle_add(b: &BundleAdd, dialect: &Dialect, depth: usize) -> String {
    let (id, flags) = (bundle_id(b.bundle), bundle_flags(b.flags));
    let inner = nested_text(dialect, &b.message, depth);
    format!("\n bundle_id={id} flags={flags}\n{inner}\n")
}

/// As C's `%#x` has it: no prefix before zero.
fn bundle_id(id: u32) -> String {
    match id {
        0 => "0".to_owned(),
        id => format!("{id:#x}"),
    }
}

/// What a request asks for, after its heading.
fn request(r: &Request, w: &Words<'_>) -> String {
    let group = |id: &GroupId| match *id {
        GroupId::ALL => "ALL".to_owned(),
        id => id.0.to_string(),
    };
    let meter = |id: &MeterId| match *id {
        MeterId::ALL => "all".to_owned(),
        id => id.to_string(),
    };
    match r {
        Request::Flow(q) | Request::Aggregate(q) | Request::FlowCounters(q) => flows_asked(q, w),
        Request::Port(p) => format!(" port_no={}", w.port(*p)),
        Request::PortDesc(p) => format!(" port={}", w.port(*p)),
        Request::Group(id) | Request::GroupDesc(id) => format!(" group_id={}", group(id)),
        Request::Meter(id) | Request::MeterConfig(id) => format!(" meter={}", meter(id)),
        Request::Queue(q) | Request::QueueDesc(q) => {
            let queue = match q.queue {
                crate::message::QUEUE_ALL => "ALL".to_owned(),
                n => n.to_string(),
            };
            format!(" port={} queue={queue}", w.port(q.port))
        }
        Request::FlowMonitor(all) => {
            let ids = all.iter().map(|m| format!("\n id={}", m.id));
            ids.collect()
        }
        _ => String::new(),
    }
}

fn flows_asked(q: &FlowStatsRequest, w: &Words<'_>) -> String {
    let mut text = String::new();
    if q.table != TableId::ALL {
        let _ = write!(text, " table={}", q.table.0);
    }
    if q.out_port != OfPort::ANY {
        let _ = write!(text, " out_port={}", w.port(q.out_port));
    }
    let matching = q.matching.display(w.ports).to_string();
    if !matching.is_empty() {
        let _ = write!(text, " {matching}");
    }
    text
}

/// What a reply tells, after its heading.
fn reply(r: &Reply, w: &Words<'_>) -> String {
    let mut text = String::from("\n");
    match r {
        Reply::Flow(_, flows) => {
            for f in flows {
                let _ = writeln!(text, " {}", w.flow(f, true));
            }
        }
        Reply::FlowCounters(flows) => {
            flows.iter().for_each(|f| text.push_str(&counters(f, w)));
        }
        Reply::Aggregate(_, a) => {
            return format!(
                " packet_count={} byte_count={} flow_count={}\n",
                a.packets, a.bytes, a.flows
            )
        }
        Reply::Desc(d) => {
            return format!(
            "\nManufacturer: {}\nHardware: {}\nSoftware: {}\nSerial Num: {}\nDP Description: {}\n",
            d.manufacturer, d.hardware, d.software, d.serial, d.datapath
        )
        }
        Reply::Port(all) => {
            text = format!(" {} ports\n", all.len());
            for p in all {
                text.push_str(&stats_text(p, &w.port(p.port).to_string(), w.version));
            }
        }
        Reply::PortDesc(all) => {
            all.iter()
                .for_each(|p| text.push_str(&desc_text(p, w.version)));
        }
        Reply::GroupDesc(all) => {
            for g in all {
                let _ = writeln!(text, " {}", w.group(g));
            }
        }
        Reply::MeterConfig(all) => {
            let all: Vec<String> = all.iter().map(|m| w.meter(m).to_string()).collect();
            text.push_str(&all.join("\n"));
        }
        Reply::FlowMonitor(all) => {
            for u in all {
                let _ = writeln!(text, " {}", update_text(u, w));
            }
        }
        Reply::ControllerStatus(all) => {
            all.iter()
                .for_each(|c| text.push_str(&controller_status(c)));
        }
        Reply::BundleFeatures(f) => {
            return format!(" capabilities={}\n", bundle_flags(f.capabilities))
        }
        other => return format!(" {} entries\n", other.len()),
    }
    text
}
