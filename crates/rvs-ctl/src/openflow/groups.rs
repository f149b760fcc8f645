//! Commands on groups and meters.

use rvs_openflow::message::{
    GroupCommand, GroupFeatures, GroupStats, MeterCommand, MeterFeatures, MeterMod, MeterStats,
    Reply, Request,
};
use rvs_openflow::text::port::duration;
use rvs_openflow::text::{parse_group, parse_meter, ParseError, Words};
use rvs_openflow::{BandKind, Group, GroupId, Message, Meter, MeterId, MeterUnit, Version};
use serde_json::{json, Map, Value};

use super::input::{group_command, Input};
use super::ports::seconds;
use super::printer::{heading, nicira10, Printer};
use super::session::Session;
use crate::failure::Failure;
use crate::output::{print, print_json, Style};

fn group_mod(text: &str, command: GroupCommand, w: &Words<'_>) -> Result<Message, ParseError> {
    parse_group(text, command, w).map(|m| Message::GroupMod(Box::new(m)))
}

/// One change of groups from the command line.
pub fn change_group(
    s: &mut Session,
    text: &str,
    command: GroupCommand,
    bundle: bool,
) -> Result<(), Failure> {
    s.change(&Input::argument(text), bundle, |t, w| {
        group_mod(t, command, w)
    })
}

/// `add-groups`: a file of changes.
pub fn change_group_file(s: &mut Session, file: &str, bundle: bool) -> Result<(), Failure> {
    s.change(&Input::read(file)?, bundle, |line, w| {
        let (command, text) = group_command(line);
        group_mod(text, command, w)
    })
}

/// `group_id=5`, or `5`; nothing is all.
fn named_group(which: Option<&str>, w: &Words<'_>) -> Result<GroupId, ParseError> {
    let text = match which {
        None => return Ok(GroupId::ALL),
        Some(t) if t.contains('=') => t.to_owned(),
        Some(t) => format!("group_id={t}"),
    };
    parse_group(&text, GroupCommand::Delete, w).map(|m| m.group.id)
}

/// `del-groups`.
pub fn delete_groups(s: &mut Session, which: Option<&str>, bundle: bool) -> Result<(), Failure> {
    let text = match which {
        None => "group_id=all".to_owned(),
        Some(t) if t.contains('=') => t.to_owned(),
        Some(t) => format!("group_id={t}"),
    };
    change_group(s, &text, GroupCommand::Delete, bundle)
}

/// `dump-groups`.
pub fn dump_groups(s: &mut Session, which: Option<&str>, style: Style) -> Result<(), Failure> {
    let wanted = named_group(which, &s.reading()).map_err(refused)?;
    let mut printer = Printer::new(style);
    let mut first = true;
    s.ask(
        |_| Ok(Request::GroupDesc(wanted)),
        |words, xid, reply| {
            if std::mem::take(&mut first) {
                let name = nicira10(words.version, "GROUP_DESC");
                print(&heading(style, name, words.version, xid));
            }
            let Reply::GroupDesc(groups) = reply else {
                return;
            };
            // Before 1.5 the question is for all of them.
            for g in groups
                .iter()
                .filter(|g| wanted == GroupId::ALL || g.id == wanted)
            {
                printer.entry(|| format!(" {}\n", words.group(g)), || group_json(words, g));
            }
        },
    )?;
    printer.finish();
    Ok(())
}

fn refused(e: ParseError) -> Failure {
    Failure::Refused(e.to_string())
}

fn group_json(words: &Words<'_>, g: &Group) -> Value {
    let buckets = g.buckets.iter().map(|b| {
        json!({
            "id": b.id, "weight": b.weight, "watch_port": b.watch_port.map(|p| p.0),
            "watch_group": b.watch_group.map(|g| g.0), "actions": words.actions(&b.actions).to_string(),
        })
    });
    json!({
        "group": g.id.0,
        "type": match g.kind {
            rvs_openflow::GroupKind::All => "all",
            rvs_openflow::GroupKind::Select => "select",
            rvs_openflow::GroupKind::Indirect => "indirect",
            rvs_openflow::GroupKind::FastFailover => "ff",
        },
        "buckets": buckets.collect::<Vec<_>>(),
        "text": words.group(g).to_string(),
    })
}

/// `dump-group-stats`.
pub fn dump_group_stats(s: &mut Session, which: Option<&str>, style: Style) -> Result<(), Failure> {
    let wanted = named_group(which, &s.reading()).map_err(refused)?;
    let mut printer = Printer::new(style);
    let mut first = true;
    s.ask(
        |_| Ok(Request::Group(wanted)),
        |words, xid, reply| {
            if std::mem::take(&mut first) {
                let name = nicira10(words.version, "GROUP");
                print(&heading(style, name, words.version, xid));
            }
            if let Reply::Group(groups) = reply {
                for g in &groups {
                    printer.entry(|| group_stats_text(g), || group_stats_json(g));
                }
            }
        },
    )?;
    printer.finish();
    Ok(())
}

fn group_stats_text(g: &GroupStats) -> String {
    let mut text = format!(" group_id={},", g.id.0);
    if g.duration_sec != u32::MAX {
        text.push_str(&format!(
            "duration={},",
            duration(g.duration_sec, g.duration_nsec)
        ));
    }
    text.push_str(&format!(
        "ref_count={},packet_count={},byte_count={}",
        g.ref_count, g.total.packets, g.total.bytes
    ));
    for (i, b) in g.buckets.iter().enumerate() {
        text.push_str(&format!(
            ",bucket{i}:packet_count={},byte_count={}",
            b.packets, b.bytes
        ));
    }
    text.push('\n');
    text
}

fn group_stats_json(g: &GroupStats) -> Value {
    let buckets = g
        .buckets
        .iter()
        .map(|b| json!({"packets": b.packets, "bytes": b.bytes}));
    json!({
        "group": g.id.0, "duration": seconds(g.duration_sec, g.duration_nsec), "references": g.ref_count,
        "packets": g.total.packets, "bytes": g.total.bytes, "buckets": buckets.collect::<Vec<_>>(),
    })
}

/// Action types of OpenFlow 1.1 and later by their number, in the order in which they are printed.
const ACTIONS: [(u32, &str); 18] = [
    (0, "output"),
    (22, "group"),
    (25, "set_field"),
    (18, "strip_vlan"),
    (17, "push_vlan"),
    (23, "mod_nw_ttl"),
    (24, "dec_ttl"),
    (15, "set_mpls_ttl"),
    (16, "dec_mpls_ttl"),
    (19, "push_mpls"),
    (20, "pop_mpls"),
    (21, "set_queue"),
    (11, "copy_ttl_out"),
    (12, "copy_ttl_in"),
    (26, "push_pbb"),
    (27, "pop_pbb"),
    (28, "move"),
    (29, "meter"),
];

/// Those of OpenFlow 1.0.
const ACTIONS_10: [(u32, &str); 12] = [
    (0, "output"),
    (11, "enqueue"),
    (1, "set_vlan_vid"),
    (2, "set_vlan_pcp"),
    (3, "strip_vlan"),
    (4, "mod_dl_src"),
    (5, "mod_dl_dst"),
    (6, "mod_nw_src"),
    (7, "mod_nw_dst"),
    (8, "mod_nw_tos"),
    (9, "mod_tp_src"),
    (10, "mod_tp_dst"),
];

/// Group types by their number.
const TYPES: [&str; 4] = ["all", "select", "indirect", "fast failover"];

fn action_names(bits: u32, v: Version) -> Vec<&'static str> {
    let table = match v {
        Version::Of10 => &ACTIONS_10[..],
        _ => &ACTIONS[..],
    };
    let set = table.iter().filter(|(n, _)| bits >> n & 1 != 0);
    set.map(|(_, name)| *name).collect()
}

/// `group-features`.
pub fn group_features(s: &mut Session, style: Style) -> Result<(), Failure> {
    s.ask(
        |_| Ok(Request::GroupFeatures),
        |words, xid, reply| {
            let Reply::GroupFeatures(f) = reply else {
                return;
            };
            let v = words.version;
            if style.json {
                return print_json(&group_features_json(&f, v));
            }
            print(&heading(style, nicira10(v, "GROUP_FEATURES"), v, xid));
            print(&group_features_text(&f, v));
        },
    )
}

/// The group types that there are: name, number of groups, actions.
fn group_types(f: &GroupFeatures) -> impl Iterator<Item = (&'static str, u32, u32)> + '_ {
    let limits = f.max_groups.into_iter().zip(f.actions);
    let all = TYPES.into_iter().zip(limits).enumerate();
    all.filter(|(i, _)| f.types >> i & 1 != 0)
        .map(|(_, (name, (max, actions)))| (name, max, actions))
}

fn group_features_text(f: &GroupFeatures, v: Version) -> String {
    let mut text = format!(
        " Group table:\n    Types:  {:#x}\n    Capabilities:  {:#x}\n",
        f.types, f.capabilities
    );
    for (name, max, actions) in group_types(f) {
        text.push_str(&format!(
            "    {name} group:\n       max_groups={max:#x}\n       actions: {}\n",
            action_names(actions, v).join(" ")
        ));
    }
    text
}

fn group_features_json(f: &GroupFeatures, v: Version) -> Value {
    const CAPABILITIES: [&str; 4] = [
        "select_weight",
        "select_liveness",
        "chaining",
        "chaining_checks",
    ];
    let set = CAPABILITIES.iter().enumerate();
    let capabilities = set.filter(|(i, _)| f.capabilities >> i & 1 != 0);
    let types: Map<String, Value> = group_types(f)
        .map(|(name, max, actions)| {
            let actions = action_names(actions, v);
            (
                name.to_owned(),
                json!({"max_groups": max, "actions": actions}),
            )
        })
        .collect();
    json!({"types": types, "capabilities": capabilities.map(|(_, n)| *n).collect::<Vec<_>>()})
}

/// `add-meter`, `mod-meter`, `del-meters`; a deletion of nothing in particular is of all.
pub fn change_meter(s: &mut Session, text: &str, command: MeterCommand) -> Result<(), Failure> {
    s.change(&Input::argument(text), false, |t, _| {
        let meter = parse_meter(t, command == MeterCommand::Delete)?;
        Ok(Message::MeterMod(Box::new(MeterMod { command, meter })))
    })
}

/// `meter=5`, or `5`; nothing is all.
pub fn meter_text(which: Option<&str>) -> String {
    match which {
        None => String::new(),
        Some(t) if t.contains('=') => t.to_owned(),
        Some(t) => format!("meter={t}"),
    }
}

fn named_meter(which: Option<&str>) -> Result<MeterId, ParseError> {
    parse_meter(&meter_text(which), true).map(|m| m.id)
}

/// `dump-meters`.
pub fn dump_meters(s: &mut Session, which: Option<&str>, style: Style) -> Result<(), Failure> {
    let mut printer = Printer::new(style);
    let mut paragraphs = Paragraphs::default();
    s.ask(
        |_| named_meter(which).map(Request::MeterConfig),
        |words, xid, reply| {
            print(&paragraphs.heading(style, "OFPST_METER_CONFIG", words.version, xid));
            if let Reply::MeterConfig(meters) = reply {
                for m in &meters {
                    let text = || paragraphs.next(words.meter(m).to_string());
                    printer.entry(text, || meter_json(m));
                }
            }
        },
    )?;
    printer.finish();
    Ok(())
}

/// A heading once, then texts with an empty line between them.
#[derive(Default)]
struct Paragraphs {
    headed: bool,
    started: bool,
}

impl Paragraphs {
    fn heading(&mut self, style: Style, name: &str, v: Version, xid: u32) -> String {
        if std::mem::replace(&mut self.headed, true) {
            return String::new();
        }
        heading(style, name, v, xid)
    }

    fn next(&mut self, text: String) -> String {
        if std::mem::replace(&mut self.started, true) {
            format!("\n{text}")
        } else {
            text
        }
    }
}

fn meter_json(m: &Meter) -> Value {
    let bands = m.bands.iter().map(|b| match b.kind {
        BandKind::Drop => json!({"type": "drop", "rate": b.rate, "burst_size": b.burst}),
        BandKind::DscpRemark { levels } => json!({
            "type": "dscp_remark", "rate": b.rate, "burst_size": b.burst, "prec_level": levels,
        }),
    });
    json!({
        "meter": m.id.0,
        "unit": match m.unit {
            MeterUnit::KilobitsPerSecond => "kbps",
            MeterUnit::PacketsPerSecond => "pktps",
        },
        "burst": m.burst, "stats": m.stats, "bands": bands.collect::<Vec<_>>(),
    })
}

/// `meter-stats`.
pub fn meter_stats(s: &mut Session, which: Option<&str>, style: Style) -> Result<(), Failure> {
    let mut printer = Printer::new(style);
    let mut paragraphs = Paragraphs::default();
    s.ask(
        |_| named_meter(which).map(Request::Meter),
        |words, xid, reply| {
            print(&paragraphs.heading(style, "OFPST_METER", words.version, xid));
            if let Reply::Meter(meters) = reply {
                for m in &meters {
                    let text = || paragraphs.next(meter_stats_text(m));
                    printer.entry(text, || meter_stats_json(m));
                }
            }
        },
    )?;
    printer.finish();
    Ok(())
}

fn meter_name(id: MeterId) -> String {
    match id {
        MeterId::CONTROLLER => "controller".to_owned(),
        MeterId::SLOWPATH => "slowpath".to_owned(),
        id => id.0.to_string(),
    }
}

fn meter_stats_text(m: &MeterStats) -> String {
    let mut text = format!(
        "meter:{} flow_count:{} packet_in_count:{} byte_in_count:{} duration:{} bands:\n",
        meter_name(m.id),
        m.flow_count,
        m.total.packets,
        m.total.bytes,
        duration(m.duration_sec, m.duration_nsec)
    );
    for (i, b) in m.bands.iter().enumerate() {
        text.push_str(&format!(
            "{i}: packet_count:{} byte_count:{}\n",
            b.packets, b.bytes
        ));
    }
    text
}

fn meter_stats_json(m: &MeterStats) -> Value {
    let bands = m
        .bands
        .iter()
        .map(|b| json!({"packets": b.packets, "bytes": b.bytes}));
    json!({
        "meter": m.id.0, "flows": m.flow_count, "packets": m.total.packets, "bytes": m.total.bytes,
        "duration": seconds(m.duration_sec, m.duration_nsec), "bands": bands.collect::<Vec<_>>(),
    })
}

/// `meter-features`.
pub fn meter_features(s: &mut Session, style: Style) -> Result<(), Failure> {
    s.ask(
        |_| Ok(Request::MeterFeatures),
        |words, xid, reply| {
            let Reply::MeterFeatures(f) = reply else { return };
            if style.json {
                return print_json(&json!({
                    "max_meter": f.max_meter, "max_bands": f.max_bands, "max_color": f.max_color,
                    "band_types": bits(f.band_types, &BAND_TYPES), "capabilities": bits(f.capabilities, &FLAGS),
                }));
            }
            print(&heading(style, "OFPST_METER_FEATURES", words.version, xid));
            print(&meter_features_text(&f));
        },
    )
}

/// By bit.
const BAND_TYPES: [&str; 3] = ["", "drop", "dscp_remark"];
const FLAGS: [&str; 4] = ["kbps", "pktps", "burst", "stats"];

fn bits(set: u32, names: &[&'static str]) -> Vec<&'static str> {
    let all = names.iter().enumerate();
    all.filter(|(i, n)| set >> i & 1 != 0 && !n.is_empty())
        .map(|(_, n)| *n)
        .collect()
}

fn meter_features_text(f: &MeterFeatures) -> String {
    format!(
        "max_meter:{} max_bands:{} max_color:{}\nband_types: {}\ncapabilities: {}\n",
        f.max_meter,
        f.max_bands,
        f.max_color,
        bits(f.band_types, &BAND_TYPES).join(" "),
        bits(f.capabilities, &FLAGS).join(" ")
    )
}

#[cfg(test)]
mod tests {
    use rvs_openflow::message::PacketCount;

    use super::*;

    #[test]
    fn counters_of_groups_and_meters_read_as_programs_expect() {
        let count = |packets, bytes| PacketCount { packets, bytes };
        let g = GroupStats {
            id: GroupId(7),
            ref_count: 2,
            total: count(3, 180),
            duration_sec: 1,
            duration_nsec: 0,
            buckets: vec![count(1, 60), count(2, 120)],
        };
        assert_eq!(
            group_stats_text(&g),
            " group_id=7,duration=1s,ref_count=2,packet_count=3,byte_count=180,\
             bucket0:packet_count=1,byte_count=60,bucket1:packet_count=2,byte_count=120\n"
        );
        let m = MeterStats {
            id: MeterId(1),
            flow_count: 1,
            total: count(5, 300),
            duration_sec: 0,
            duration_nsec: 156_000_000,
            bands: vec![count(1, 60)],
        };
        assert_eq!(
            meter_stats_text(&m),
            "meter:1 flow_count:1 packet_in_count:5 byte_in_count:300 duration:0.156s bands:\n\
             0: packet_count:1 byte_count:60\n"
        );
    }

    #[test]
    fn features_read_as_programs_expect() {
        let f = MeterFeatures {
            max_meter: 262_144,
            band_types: 2,
            capabilities: 15,
            max_bands: 8,
            max_color: 0,
        };
        assert_eq!(
            meter_features_text(&f),
            "max_meter:262144 max_bands:8 max_color:0\nband_types: drop\ncapabilities: kbps pktps burst stats\n"
        );
        let g = GroupFeatures {
            types: 0b1001,
            capabilities: 7,
            max_groups: [1, 2, 3, 4],
            actions: [1, 0, 0, 1 << 22 | 1],
        };
        assert_eq!(
            group_features_text(&g, Version::Of13),
            " Group table:\n    Types:  0x9\n    Capabilities:  0x7\n    all group:\n       max_groups=0x1\n       \
             actions: output\n    fast failover group:\n       max_groups=0x4\n       actions: output group\n"
        );
    }
}
