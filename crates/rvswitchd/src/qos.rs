//! `qos/*`: what is at the egress of a port, as stock tools show it.

use std::fmt::Write as _;

use rvs_netdev::rtnl::HtbClass;
use rvs_switch::platform::{Platform, QueueCounters};
use rvs_switch::qos::TYPES;
use serde_json::json;

use crate::commands::{Answer, Command, Daemon};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "qos/show",
        usage: "IFACE",
        params: (1, 1),
        run: show,
    },
    Command {
        name: "qos/show-types",
        usage: "IFACE",
        params: (1, 1),
        run: types,
    },
];

/// The number of an open interface; `None`: it has no device.
fn find(daemon: &Daemon, name: &str) -> Result<Option<rvs_flow::DpPort>, String> {
    let mut all = daemon.switch.topology().bridges().flat_map(|b| b.ifaces());
    let found = all.find(|(_, i)| i.cfg.name == name);
    let (_, iface) = found.ok_or("no such interface")?;
    Ok(iface.open.as_ref().map(|(dp, _)| *dp))
}

fn types(daemon: &mut Daemon, params: &[String]) -> Answer {
    find(daemon, &params[0])?;
    let lines = TYPES.iter().map(|t| format!("QoS type: {t}\n"));
    Ok(json!(lines.collect::<String>()))
}

fn show(daemon: &mut Daemon, params: &[String]) -> Answer {
    let name = &params[0];
    let dp = find(daemon, name)?;
    let counters = dp.map_or_else(Vec::new, |dp| daemon.switch.rim.queues(dp));
    let devices = &daemon.switch.rim.devices;
    let Some((qos, queues)) = dp.and_then(|dp| devices.queues_of(dp)) else {
        return Ok(json!(format!("QoS not configured on {name}\n")));
    };
    let mut text = format!("QoS: {name} {}\n", qos.kind.name());
    if let Some(rate) = qos.max_rate {
        let _ = writeln!(text, "max-rate: {rate}");
    }
    for (queue, class) in queues {
        let sent = counters.iter().find(|c| c.queue == queue);
        write_queue(&mut text, queue, &class, sent);
    }
    Ok(json!(text))
}

/// Rates in bit/s, the burst in bits.
fn write_queue(text: &mut String, queue: u32, class: &HtbClass, sent: Option<&QueueCounters>) {
    let title = match queue {
        0 => "Default".to_owned(),
        n => format!("Queue {n}"),
    };
    let _ = writeln!(text, "\n{title}:\n  burst: {}", u64::from(class.burst) * 8);
    if class.priority != 0 {
        let _ = writeln!(text, "  priority: {}", class.priority);
    }
    let (rate, ceil) = (class.rate * 8, class.ceil * 8);
    let _ = writeln!(text, "  min-rate: {rate}\n  max-rate: {ceil}");
    if let Some(c) = sent {
        let (packets, bytes, errors) = (c.tx_packets, c.tx_bytes, c.tx_dropped);
        let _ = writeln!(
            text,
            "  tx_packets: {packets}\n  tx_bytes: {bytes}\n  tx_errors: {errors}"
        );
    }
}
