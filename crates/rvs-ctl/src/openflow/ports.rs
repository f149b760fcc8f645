//! What ports, tables and their counters look like.

use rvs_flow::OfPort;
use rvs_openflow::message::{
    Port, PortConfig, PortFeatures, PortMod, PortStats, Reply, Request, TableStats,
};
use rvs_openflow::text::message::version_note;
use rvs_openflow::text::port::{
    config_names, counter, desc_text, feature_names, speed, state_names, stats_text,
};
use rvs_openflow::text::{ParseError, Words};
use rvs_openflow::{Message, Version};
use serde_json::{json, Value};

use super::printer::{heading, Printer};
use super::session::Session;
use crate::failure::Failure;
use crate::output::{print, Style};

pub fn seconds(sec: u32, nsec: u32) -> f64 {
    f64::from(sec) + f64::from(nsec) / 1e9
}

fn known(n: u64) -> Option<u64> {
    (n != u64::MAX).then_some(n)
}

/// A port by name or number, `None` for all.
pub fn port(words: &Words<'_>, text: Option<&str>) -> Result<OfPort, ParseError> {
    let Some(text) = text else {
        return Ok(OfPort::ANY);
    };
    let m = words.parse_actions(&format!("output:{text}"))?;
    match m.first() {
        Some(rvs_openflow::Action::Output { port, .. }) => Ok(*port),
        _ => Err(ParseError(format!("{text} is not a port"))),
    }
}

/// The port as it is printed.
fn shown(words: &Words<'_>, port: OfPort) -> String {
    match words.ports.name_of(port) {
        Some(name) => name.into_owned(),
        None => port.to_string(),
    }
}

/// `dump-ports` over OpenFlow.
pub fn dump_stats(s: &mut Session, which: Option<&str>, style: Style) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut transaction = 0;
    let question = |s: &Session| port(&s.reading(), which).map(Request::Port);
    s.ask(question, |_, xid, reply| {
        transaction = xid;
        if let Reply::Port(stats) = reply {
            all.extend(stats);
        }
    })?;
    if !style.json && !style.terminal {
        let note = version_note(s.version());
        print(&format!(
            "OFPST_PORT reply{note} (xid={transaction:#x}): {} ports\n",
            all.len()
        ));
    }
    let mut printer = Printer::new(style);
    for p in &all {
        let name = shown(&s.printing(), p.port);
        printer.entry(
            || stats_text(p, &name, s.version()),
            || stats_json(p, &shown(&s.reading(), p.port)),
        );
    }
    printer.finish();
    Ok(())
}

fn stats_json(p: &PortStats, name: &str) -> Value {
    json!({
        "port": p.port.0,
        "name": name,
        "duration": seconds(p.duration_sec, p.duration_nsec),
        "rx": {
            "packets": known(p.rx_packets), "bytes": known(p.rx_bytes), "dropped": known(p.rx_dropped),
            "errors": known(p.rx_errors), "frame": known(p.rx_frame_err), "over": known(p.rx_over_err),
            "crc": known(p.rx_crc_err),
        },
        "tx": {
            "packets": known(p.tx_packets), "bytes": known(p.tx_bytes), "dropped": known(p.tx_dropped),
            "errors": known(p.tx_errors), "collisions": known(p.collisions),
        },
    })
}

/// `dump-ports-desc`.
pub fn dump_desc(s: &mut Session, which: Option<&str>, style: Style) -> Result<(), Failure> {
    let wanted = port(&s.reading(), which).map_err(|e| Failure::Refused(e.to_string()))?;
    let version = s.version();
    // Before 1.5 the question is for all of them.
    let ask = if version >= Version::Of15 {
        wanted
    } else {
        OfPort::ANY
    };
    let (mut ports, mut transaction) = (Vec::new(), 0);
    s.ask(
        |_| Ok(Request::PortDesc(ask)),
        |_, xid, reply| {
            transaction = xid;
            if let Reply::PortDesc(p) = reply {
                ports.extend(p);
            }
        },
    )?;
    ports.retain(|p: &Port| wanted == OfPort::ANY || p.number == wanted);
    ports.sort_by_key(|p| p.number);
    print(&heading(style, "OFPST_PORT_DESC", version, transaction));
    let mut printer = Printer::new(style);
    for p in &ports {
        printer.entry(|| desc_text(p, version), || desc_json(p, version));
    }
    printer.finish();
    Ok(())
}

pub fn desc_json(p: &Port, v: Version) -> Value {
    json!({
        "port": p.number.0,
        "name": p.name,
        "mac": p.mac.to_string(),
        "config": config_names(p.config),
        "state": state_names(p.state, v),
        "current": feature_names(p.current),
        "advertised": feature_names(p.advertised),
        "supported": feature_names(p.supported),
        "peer": feature_names(p.peer),
        "speed_mbps": speed(p.current_speed, p.current, v),
        "max_speed_mbps": speed(p.max_speed, p.supported, v),
    })
}

/// `mod-port`.
pub fn modify(s: &mut Session, which: &str, action: &str) -> Result<(), Failure> {
    let (bit, set) = match action {
        "up" => (PortConfig::PORT_DOWN, false),
        "down" => (PortConfig::PORT_DOWN, true),
        "stp" => (PortConfig::NO_STP, false),
        "no-stp" => (PortConfig::NO_STP, true),
        "receive" => (PortConfig::NO_RECV, false),
        "no-receive" => (PortConfig::NO_RECV, true),
        "receive-stp" => (PortConfig::NO_RECV_STP, false),
        "no-receive-stp" => (PortConfig::NO_RECV_STP, true),
        "flood" => (PortConfig::NO_FLOOD, false),
        "no-flood" => (PortConfig::NO_FLOOD, true),
        "forward" => (PortConfig::NO_FWD, false),
        "no-forward" => (PortConfig::NO_FWD, true),
        "packet-in" => (PortConfig::NO_PACKET_IN, false),
        "no-packet-in" => (PortConfig::NO_PACKET_IN, true),
        _ => {
            return Err(Failure::Usage(format!(
                "\"{action}\" is none of up, down, receive, no-receive, flood, no-flood, forward, no-forward, \
                 packet-in, no-packet-in"
            )))
        }
    };
    let only10 = PortConfig::NO_STP.0 | PortConfig::NO_RECV_STP.0 | PortConfig::NO_FLOOD.0;
    if only10 & bit.0 != 0 {
        s.use_version(Version::Of10)?;
    }
    let number = port(&s.reading(), Some(which)).map_err(|e| Failure::Refused(e.to_string()))?;
    let mut mac = None;
    s.ask(
        |_| Ok(Request::PortDesc(OfPort::ANY)),
        |_, _, reply| {
            if let Reply::PortDesc(ports) = reply {
                mac = mac.or(ports.iter().find(|p| p.number == number).map(|p| p.mac));
            }
        },
    )?;
    let mac = mac.ok_or_else(|| Failure::Refused(format!("there is no port {which}")))?;
    let message = Message::PortMod(Box::new(PortMod {
        number,
        mac,
        config: if set { bit } else { PortConfig(0) },
        mask: bit,
        advertise: PortFeatures(0),
    }));
    s.change_to(&[message], false)
}

/// `dump-tables`.
pub fn dump_tables(s: &mut Session, style: Style) -> Result<(), Failure> {
    let mut all: Vec<TableStats> = Vec::new();
    let mut transaction = 0;
    s.ask(
        |_| Ok(Request::Table),
        |_, xid, reply| {
            transaction = xid;
            if let Reply::Table(tables) = reply {
                all.extend(tables);
            }
        },
    )?;
    if style.json {
        let mut printer = Printer::new(style);
        for t in &all {
            printer.entry(String::new, || {
                json!({
                    "table": t.table.0, "name": t.name, "active": t.active, "lookups": known(t.lookups),
                    "matched": known(t.matched), "max_entries": (t.max_entries != 0).then_some(t.max_entries),
                })
            });
        }
        printer.finish();
        return Ok(());
    }
    print(&heading(style, "OFPST_TABLE", s.version(), transaction));
    print(&tables_text(&all));
    Ok(())
}

/// A paragraph for each table; those that repeat the one before are said in one line.
fn tables_text(all: &[TableStats]) -> String {
    let same = |a: &TableStats, b: &TableStats| {
        (a.active, a.lookups, a.matched) == (b.active, b.lookups, b.matched)
    };
    let mut paragraphs = Vec::new();
    for run in all.chunk_by(same) {
        let Some((head, rest)) = run.split_first() else {
            continue;
        };
        paragraphs.push(format!(
            "  table {}:\n    active={}, lookup={}, matched={}\n",
            head.table.0,
            head.active,
            counter(head.lookups),
            counter(head.matched)
        ));
        match rest {
            [] => {}
            [one] => paragraphs.push(format!("  table {}: ditto\n", one.table.0)),
            [a, .., b] => {
                paragraphs.push(format!("  tables {}...{}: ditto\n", a.table.0, b.table.0));
            }
        }
    }
    paragraphs.join("\n")
}

#[cfg(test)]
mod tests {
    use rvs_openflow::TableId;

    use super::*;

    fn table(n: u8, active: u32) -> TableStats {
        TableStats {
            table: TableId(n),
            name: String::new(),
            max_entries: 0,
            config: 0,
            active,
            lookups: 7,
            matched: u64::MAX,
        }
    }

    #[test]
    fn repeated_tables_are_one_line() {
        let all = [
            table(0, 1),
            table(1, 1),
            table(2, 0),
            table(3, 0),
            table(4, 0),
        ];
        assert_eq!(
            tables_text(&all),
            "  table 0:\n    active=1, lookup=7, matched=?\n\n  table 1: ditto\n\n  \
             table 2:\n    active=0, lookup=7, matched=?\n\n  tables 3...4: ditto\n"
        );
        assert_eq!(tables_text(&[]), "");
    }
}
