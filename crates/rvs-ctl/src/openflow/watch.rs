//! `monitor` and `snoop`: what a switch sends, as it comes, until it hangs up or the command is interrupted.

use rvs_flow::matching::{terms, MatchParser};
use rvs_flow::Match;
use rvs_openflow::message::{
    FlowMonitorRequest, FlowUpdate, MonitorCommand, MonitorFlags, MultipartRequest, PacketInFormat,
    Reply, Request, SwitchConfig,
};
use rvs_openflow::text::message::{
    self, change_name, event_name, frame_text, reason_name, removal_name, update_text, version_note,
};
use rvs_openflow::text::{ParseError, Words};
use rvs_openflow::{Dialect, GroupId, Message, TableId, Version};
use serde_json::{json, Value};

use super::errors;
use super::ports::{desc_json, seconds};
use super::Context;
use crate::failure::Failure;
use crate::output::{print, Style};

/// What the words behind `monitor SWITCH` ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wishes<'t> {
    miss_len: Option<u16>,
    invalid_ttl: bool,
    watch: Option<&'t str>,
}

impl<'t> Wishes<'t> {
    fn parse(words: &'t [String]) -> Result<Self, Failure> {
        let mut w = Self::default();
        for word in words {
            if let Some(filter) = word.strip_prefix("watch:") {
                w.watch = Some(filter);
            } else if word == "invalid_ttl" {
                w.invalid_ttl = true;
            } else if let Ok(n) = word.parse() {
                w.miss_len = Some(n);
            } else {
                return Err(Failure::Usage(format!(
                    "monitor: \"{word}\" is not MISS_LEN, invalid_ttl or watch:[FLOW]"
                )));
            }
        }
        Ok(w)
    }
}

/// `monitor`.
pub fn monitor(cx: &Context<'_>, switch: &str, words: &[String]) -> Result<(), Failure> {
    let wishes = Wishes::parse(words)?;
    let mut s = cx.open(switch)?;
    // A switch without Nicira's form of packet-ins sends its version's own.
    let asked = s
        .connection
        .request_if_known(&Message::SetPacketInFormat(PacketInFormat::Nxt2))?;
    if asked {
        s.connection.set_packet_in(PacketInFormat::Nxt2);
    }
    if wishes.miss_len.is_some() || wishes.invalid_ttl {
        let mut config = match s.connection.request(&Message::GetConfigRequest)?.message {
            Message::GetConfigReply(c) => c,
            _ => SwitchConfig::default(),
        };
        config.miss_send_len = wishes.miss_len.unwrap_or(config.miss_send_len);
        config.invalid_ttl_to_controller |= wishes.invalid_ttl;
        s.connection.send(&Message::SetConfig(config))?;
    }
    if let Some(filter) = wishes.watch {
        let request = watch(filter, &s.reading()).map_err(|e| Failure::Refused(e.to_string()))?;
        let body = Request::FlowMonitor(vec![request]);
        s.connection
            .send(&Message::MultipartRequest(MultipartRequest::new(body)))?;
    }
    // The last of what can be refused.
    let barrier = s.connection.send(&Message::BarrierRequest)?;
    s.connection.wait_for_ever();
    loop {
        let came = s.connection.receive()?;
        match came.message {
            Message::Error(e) => {
                return Err(Failure::Refused(errors::said(&e, s.version())));
            }
            Message::BarrierReply if came.xid == barrier => {}
            m => show(&m, came.xid, &s.printing(), cx.style),
        }
    }
}

/// `!initial,!add,table=1,out_port=2,tcp`: which changes of which flows.
fn watch(filter: &str, words: &Words<'_>) -> Result<FlowMonitorRequest, ParseError> {
    let mut flags = MonitorFlags::INITIAL.0
        | MonitorFlags::ADD.0
        | MonitorFlags::REMOVED.0
        | MonitorFlags::MODIFY.0
        | MonitorFlags::INSTRUCTIONS.0
        | MonitorFlags::NO_ABBREV.0;
    if words.version >= Version::Of14 {
        flags &= !MonitorFlags::NO_ABBREV.0;
    }
    let mut request = FlowMonitorRequest {
        id: 0,
        command: MonitorCommand::Add,
        flags: MonitorFlags(flags),
        out_port: rvs_flow::OfPort::ANY,
        out_group: GroupId::ANY,
        table: TableId::ALL,
        matching: Match::any(),
    };
    let mut matching = MatchParser::new();
    for term in terms(filter) {
        let (key, value) = term?;
        let without = match key {
            "!initial" => Some(MonitorFlags::INITIAL),
            "!add" => Some(MonitorFlags::ADD),
            "!delete" => Some(MonitorFlags::REMOVED),
            "!modify" => Some(MonitorFlags::MODIFY),
            "!actions" => Some(MonitorFlags::INSTRUCTIONS),
            "!own" => Some(MonitorFlags::NO_ABBREV),
            _ => None,
        };
        let bad = || ParseError(format!("watch: {key} needs a value"));
        match (key, without) {
            (_, Some(flag)) => request.flags.0 &= !flag.0,
            ("table", _) => {
                let n = value.ok_or_else(bad)?.parse().map_err(|_| {
                    ParseError("watch: table takes a number of 0 to 253".to_owned())
                })?;
                request.table = TableId(n);
            }
            ("out_port", _) => {
                request.out_port = super::ports::port(words, Some(value.ok_or_else(bad)?))?;
            }
            _ if matching.take(key, value)? => {}
            _ => return Err(ParseError(format!("watch: {key} is no match field"))),
        }
    }
    request.matching = matching.finish(words.ports)?;
    Ok(request)
}

/// `snoop`: the socket sends copies of messages, each in the version of the controller that it went to or came from.
pub fn snoop(cx: &Context<'_>, bridge: &str) -> Result<(), Failure> {
    let mut c = super::open_snoop(cx, bridge)?;
    c.wait_for_ever();
    loop {
        let bytes = c.receive_bytes()?;
        match rvs_openflow::decode(&bytes) {
            Ok((header, message)) => {
                let words = Words::new(header.version);
                show(&message, header.xid, &words, cx.style);
            }
            Err(e) => print(&format!("a message that cannot be read: {e}\n")),
        }
    }
}

fn show(m: &Message, xid: u32, words: &Words<'_>, style: Style) {
    if style.json {
        print(&format!("{}\n", to_json(m, xid, words)));
    } else {
        print(&to_text(m, xid, words));
    }
}

/// A message in the words of `ovs-ofctl`; errors in those for people.
fn to_text(m: &Message, xid: u32, w: &Words<'_>) -> String {
    let name = match m {
        // Asked for in Nicira's form, the one that says everything.
        Message::PacketIn(_) => "NXT_PACKET_IN2".to_owned(),
        m => message::full_name(m, w.version),
    };
    let body = match m {
        Message::Error(e) => format!(" {}\n", errors::said(e, w.version)),
        m => message::body(m, &Dialect::new(w.version), w),
    };
    format!("{name}{} (xid={xid:#x}):{body}", version_note(w.version))
}

fn to_json(m: &Message, xid: u32, w: &Words<'_>) -> Value {
    let about = match m {
        Message::PacketIn(p) => json!({
            "reason": reason_name(p.reason), "table": p.table.0, "cookie": p.cookie, "total_len": p.total_len,
            "metadata": p.metadata.display(w.ports).to_string(), "frame": frame_text(&p.data),
            "data": hex(&p.data), "userdata": hex(&p.userdata),
        }),
        Message::FlowRemoved(f) => json!({
            "reason": removal_name(f.reason), "table": f.table.map(|t| t.0), "cookie": f.cookie,
            "priority": f.priority, "match": f.matching.display(w.ports).to_string(),
            "duration": seconds(f.duration_sec, f.duration_nsec), "packets": f.packets, "bytes": f.bytes,
        }),
        Message::PortStatus(p) => {
            json!({"change": change_name(p.change), "port": desc_json(&p.port, w.version)})
        }
        Message::MultipartReply(r) => match &r.body {
            Reply::FlowMonitor(updates) => updates.iter().map(|u| update_json(u, w)).collect(),
            _ => json!(to_text(m, xid, w).trim_end()),
        },
        _ => json!(to_text(m, xid, w).trim_end()),
    };
    json!({"message": message::full_name(m, w.version), "xid": xid, "version": w.version.name(), "about": about})
}

fn update_json(u: &FlowUpdate, w: &Words<'_>) -> Value {
    let FlowUpdate::Flow(c) = u else {
        return json!({"event": update_text(u, w)});
    };
    let (event, reason) = event_name(c);
    json!({
        "event": event, "reason": reason, "table": c.table.0, "priority": c.priority, "cookie": c.cookie,
        "idle_timeout": c.idle_timeout, "hard_timeout": c.hard_timeout,
        "match": c.matching.display(w.ports).to_string(), "actions": w.instructions(&c.instructions).to_string(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rvs_flow::OfPort;
    use rvs_openflow::message::PacketIn;
    use rvs_openflow::PacketInReason;

    use super::*;

    #[test]
    fn wishes_are_read() {
        let words = ["65534", "watch:tcp", "invalid_ttl"].map(str::to_owned);
        let w = Wishes::parse(&words).unwrap();
        let wanted = Wishes {
            miss_len: Some(65534),
            invalid_ttl: true,
            watch: Some("tcp"),
        };
        assert_eq!(w, wanted);
        assert!(Wishes::parse(&["70000".to_owned()]).is_err());
    }

    #[test]
    fn a_watch_names_flows_and_events() {
        let w = Words::new(Version::Of13);
        let m = watch("!initial,!own,table=3,out_port=2,tcp", &w).unwrap();
        assert_eq!((m.table, m.out_port), (TableId(3), OfPort(2)));
        assert!(!m.flags.has(MonitorFlags::INITIAL) && !m.flags.has(MonitorFlags::NO_ABBREV));
        assert!(m.flags.has(MonitorFlags::ADD) && m.flags.has(MonitorFlags::REMOVED));
        assert!(watch("table=x", &w).is_err() && watch("frob", &w).is_err());
        assert_eq!(watch("", &w).unwrap().table, TableId::ALL);
    }

    #[test]
    fn packet_ins_read_as_programs_expect() {
        let mut p = PacketIn::new(OfPort(2), PacketInReason::Action);
        p.cookie = Some(0);
        p.data = vec![0; 14];
        p.total_len = 14;
        assert_eq!(
            to_text(&Message::PacketIn(Box::new(p)), 0, &Words::new(Version::Of13)),
            "NXT_PACKET_IN2 (OF1.3) (xid=0x0): cookie=0x0 total_len=14 in_port=2 (via action) data_len=14 (unbuffered)\n\
             vlan_tci=0x0000,dl_src=00:00:00:00:00:00,dl_dst=00:00:00:00:00:00,dl_type=0x05ff\n"
        );
    }
}
