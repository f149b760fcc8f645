//! What a switch tells unasked, in words: packets, flows that went, changes of flows.

use rvs_flow::{extract_bytes, DpPort, Match, ParseLimits, PipelineKey};

use crate::message::{
    FlowChange, FlowEvent, FlowRemoved, FlowRemovedReason, FlowStats, FlowUpdate, PacketIn,
};
use crate::model::PacketInReason;
use crate::text::port::duration;
use crate::text::Words;

/// Why a packet went to the controller.
pub const fn reason_name(r: PacketInReason) -> &'static str {
    match r {
        PacketInReason::NoMatch => "no_match",
        PacketInReason::Action => "action",
        PacketInReason::InvalidTtl => "invalid_ttl",
        PacketInReason::ActionSet => "action_set",
        PacketInReason::Group => "group",
        PacketInReason::PacketOut => "packet_out",
    }
}

/// Why a flow went.
pub const fn removal_name(r: FlowRemovedReason) -> &'static str {
    match r {
        FlowRemovedReason::IdleTimeout => "idle",
        FlowRemovedReason::HardTimeout => "hard",
        FlowRemovedReason::Delete => "delete",
        FlowRemovedReason::GroupDelete => "group_delete",
        FlowRemovedReason::MeterDelete => "meter_delete",
        FlowRemovedReason::Eviction => "eviction",
    }
}

/// The headers of a frame.
pub fn frame_text(bytes: &[u8]) -> String {
    let key = PipelineKey {
        flow: extract_bytes(bytes, DpPort(0), ParseLimits::default()),
        ..PipelineKey::default()
    };
    Match::of_frame(&key).to_string()
}

pub(super) fn packet_in(p: &PacketIn, w: &Words<'_>) -> String {
    let mut text = String::new();
    if p.table.0 != 0 {
        text.push_str(&format!(" table_id={}", p.table.0));
    }
    if let Some(c) = p.cookie {
        text.push_str(&format!(" cookie={c:#x}"));
    }
    text.push_str(&format!(
        " total_len={} {} (via {}) data_len={} (unbuffered)\n",
        p.total_len,
        p.metadata.display(w.ports),
        reason_name(p.reason),
        p.data.len()
    ));
    if !p.userdata.is_empty() {
        let octets: Vec<String> = p.userdata.iter().map(|b| format!("{b:02x}")).collect();
        text.push_str(&format!(" userdata={}\n", octets.join(".")));
    }
    text.push_str(&format!("{}\n", frame_text(&p.data)));
    text
}

pub(super) fn flow_removed(f: &FlowRemoved, w: &Words<'_>) -> String {
    let mut text = String::from(" ");
    let matching = f.matching.display(w.ports).to_string();
    if f.priority != 0x8000 {
        text.push_str(&format!("priority={}", f.priority));
        text.push_str(if matching.is_empty() { "" } else { "," });
    }
    text.push_str(&format!("{matching} reason={}", removal_name(f.reason)));
    if let Some(t) = f.table {
        text.push_str(&format!(" table_id={}", t.0));
    }
    if f.cookie != 0 {
        text.push_str(&format!(" cookie:{:#x}", f.cookie));
    }
    text.push_str(&format!(
        " duration{} idle{}",
        duration(f.duration_sec, f.duration_nsec),
        f.idle_timeout
    ));
    if f.hard_timeout != 0 {
        text.push_str(&format!(" hard{}", f.hard_timeout));
    }
    text.push_str(&format!(" pkts{} bytes{}\n", f.packets, f.bytes));
    text
}

/// What happened to a flow, and why.
pub fn event_name(c: &FlowChange) -> (&'static str, Option<&'static str>) {
    match c.event {
        FlowEvent::Initial => ("INITIAL", None),
        FlowEvent::Added => ("ADDED", None),
        FlowEvent::Modified => ("MODIFIED", None),
        FlowEvent::Removed(r) => ("DELETED", Some(removal_name(r))),
    }
}

/// A line of a flow monitor.
pub fn update_text(u: &FlowUpdate, w: &Words<'_>) -> String {
    let c = match u {
        FlowUpdate::Flow(c) => c,
        FlowUpdate::Abbrev { xid } => return format!("event=ABBREV xid={xid:#x}"),
        FlowUpdate::Paused => return "event=PAUSED".to_owned(),
        FlowUpdate::Resumed => return "event=RESUMED".to_owned(),
    };
    let (event, reason) = event_name(c);
    let mut text = format!("event={event}");
    if let Some(r) = reason {
        text.push_str(&format!(" reason={r}"));
    }
    text.push_str(&format!(" table={}", c.table.0));
    for (name, n) in [
        ("idle_timeout", c.idle_timeout),
        ("hard_timeout", c.hard_timeout),
    ] {
        if n != 0 {
            text.push_str(&format!(" {name}={n}"));
        }
    }
    let cookie = match c.cookie {
        0 => "0".to_owned(),
        n => format!("{n:#x}"),
    };
    text.push_str(&format!(" cookie={cookie}"));
    let matching = c.matching.display(w.ports).to_string();
    if !matching.is_empty() {
        text.push_str(&format!(" {matching}"));
    }
    format!("{text} actions={}", w.instructions(&c.instructions))
}

/// A flow that has no actions to tell, and why it is told of, if nobody asked.
pub(super) fn counters(f: &FlowStats, w: &Words<'_>) -> String {
    let text = w.flow(f, true).to_string();
    let text = text.strip_prefix("cookie=0x0, ").unwrap_or(&text);
    let text = text.strip_suffix("actions=drop").unwrap_or(text);
    let why = if f.triggered {
        "reason=stat_trigger"
    } else {
        ""
    };
    format!(" {}\n", format!("{text}{why}").trim_end())
}
