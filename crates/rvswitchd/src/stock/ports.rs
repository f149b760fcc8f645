//! `dpctl/show`: the datapath, its ports, and what has come and gone by them.

use rvs_flow::DpPort;
use rvs_switch::platform::{Platform as _, PortCounters};
use rvs_switch::ports::BridgeState;
use serde_json::json;

use super::{datapath, hits, kind, name_of, Answer};
use crate::commands::Daemon;

pub(super) fn show(daemon: &mut Daemon, params: &[String]) -> Answer {
    let mut names = params.iter().filter(|p| !p.starts_with('-'));
    match names.next() {
        Some(name) => match daemon.handmade.text(name) {
            Some(text) => return Ok(json!(text)),
            None => datapath(name_of(daemon), name)?,
        },
        None if daemon.handmade.is_empty() => {}
        None => return all(daemon),
    }
    let counted = params.iter().any(|p| p == "-s" || p == "--statistics");
    let mut ports: Vec<(DpPort, String)> = opened(daemon);
    if counted {
        for (dp, line) in &mut ports {
            let counters = daemon.switch.rim.counters(*dp);
            line.push_str(&traffic(&counters));
        }
    }
    let (hit, missed, lost) = hits(daemon);
    let slow = daemon.switch.slow();
    let masks: usize = slow.flows().port_usage().map(|(_, _, masks)| masks).sum();
    let mut text = format!(
        "{}:\n  lookups: hit:{hit} missed:{missed} lost:{lost}\n  flows: {}\n",
        name_of(daemon),
        slow.flows().len()
    );
    // A datapath in user space does not tell its masks, and has a port of its own.
    text.push_str(&match daemon.switch.rim.dummies {
        Some(_) => "  port 0: ovs-dummy (dummy-internal)\n".to_owned(),
        None => format!("  masks: hit:0 total:{masks} hit/pkt:0.00\n"),
    });
    if counted && daemon.switch.rim.dummies.is_some() {
        text.push_str(&traffic(&PortCounters {
            rx_packets: 0,
            rx_bytes: 0,
            tx_packets: 0,
            tx_bytes: 0,
            ..PortCounters::UNKNOWN
        }));
    }
    ports.iter().for_each(|(_, lines)| text.push_str(lines));
    Ok(json!(text))
}

/// Every datapath, where some were made by hand.
fn all(daemon: &mut Daemon) -> Answer {
    let mut names: Vec<String> = daemon.handmade.names().map(str::to_owned).collect();
    names.push(name_of(daemon).to_owned());
    names.sort_unstable();
    let mut text = String::new();
    for name in names {
        if let Some(one) = show(daemon, &[name])?.as_str() {
            text.push_str(one);
        }
    }
    Ok(json!(text))
}

/// Ports of the datapath, ascending, and what is said of each.
fn opened(daemon: &Daemon) -> Vec<(DpPort, String)> {
    let bridges = daemon.switch.topology().bridges();
    let ifaces = bridges.flat_map(BridgeState::ifaces).map(|(_, i)| i);
    let open = ifaces.filter_map(|i| {
        let (dp, _) = i.open.as_ref()?;
        let kind = match kind(daemon, i) {
            "system" => String::new(),
            kind => format!(" ({kind})"),
        };
        Some((*dp, format!("  port {dp}: {}{kind}\n", i.cfg.name)))
    });
    let mut ports: Vec<(DpPort, String)> = open.collect();
    ports.sort_by_key(|(dp, _)| *dp);
    ports
}

/// What has come and gone by a port; `?` is what nobody counts.
fn traffic(c: &PortCounters) -> String {
    let count = |n: u64| match n {
        PortCounters::NOT_COUNTED => "?".to_owned(),
        n => n.to_string(),
    };
    let octets = |n: u64| count(n) + &rounded(n);
    format!(
        "    RX packets:{} errors:{} dropped:{} overruns:? frame:?\n    \
         TX packets:{} errors:{} dropped:{} aborted:? carrier:?\n    \
         collisions:?\n    RX bytes:{}  TX bytes:{}\n",
        count(c.rx_packets),
        count(c.rx_errors),
        count(c.rx_dropped),
        count(c.tx_packets),
        count(c.tx_errors),
        count(c.tx_dropped),
        octets(c.rx_bytes),
        octets(c.tx_bytes)
    )
}

/// Many octets, once more as people say it.
fn rounded(octets: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(bits, _)| octets >> bits != 0);
    match unit.filter(|_| octets != PortCounters::NOT_COUNTED) {
        Some((bits, name)) => format!(" ({:.1} {name})", octets as f64 / (1_u64 << bits) as f64),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_octets_are_said_in_words_too() {
        let all = [
            0,
            1023,
            1024,
            1536 << 10,
            5 << 30,
            PortCounters::NOT_COUNTED,
        ]
        .map(rounded);
        assert_eq!(all, ["", "", " (1.0 KiB)", " (1.5 MiB)", " (5.0 GiB)", ""]);
        let counters = PortCounters {
            rx_packets: 3,
            rx_bytes: 2048,
            ..PortCounters::UNKNOWN
        };
        let text = traffic(&counters);
        assert!(text.starts_with("    RX packets:3 errors:? dropped:? overruns:? frame:?\n"));
        assert!(text.ends_with("    RX bytes:2048 (2.0 KiB)  TX bytes:?\n"));
    }
}
