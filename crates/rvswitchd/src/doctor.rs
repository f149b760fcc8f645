//! `rvs/doctor`: what this kernel and these privileges allow, and which tier each port runs on.

use rvs_kcache::IngressDrop;
use rvs_switch::ports::BridgeState;
use serde_json::{json, Value};

use crate::commands::{Answer, Daemon};

pub fn run(daemon: &mut Daemon, _: &[String]) -> Answer {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let drop = match daemon.switch.rim.devices.ingress_drop() {
        Some(drop) => json!({"ok": true, "text": format!("by {}", drop.capability())}),
        None => json!({"ok": false, "text": IngressDrop::probe().to_string()}),
    };
    let tun = std::fs::metadata("/dev/net/tun").is_ok();
    let tier0 = daemon.switch.rim.devices.kernel().map(|tier0| {
        let (flows, masks) = tier0.size();
        format!(
            "{flows} flows under {masks} masks; {} frames so far",
            tier0.hits()
        )
    });
    let tier0 = tier0.map_err(|why| format!("{why}; ports run on tiers 1 to 3"));
    let survival = daemon.survives();
    let ports: Vec<Value> = daemon
        .switch
        .rim
        .devices
        .report()
        .map(|p| {
            let note = (!p.notes.is_empty()).then(|| p.notes.join("; "));
            json!({
                "port": p.name,
                "ifindex": p.ifindex,
                "tier": if p.not_in_kernel.is_none() { "0 (kernel cache)" } else { "1-3 (packet socket)" },
                "not_in_kernel": p.not_in_kernel,
                "way_out": if p.direct { "direct" } else { "egress" },
                "host_kept_away": p.host_kept_away,
                "note": note,
            })
        })
        .collect();
    let waiting: Vec<Value> = daemon
        .switch
        .topology()
        .bridges()
        .flat_map(BridgeState::ifaces)
        .filter_map(|(_, i)| {
            i.error
                .as_ref()
                .map(|e| json!({"port": i.cfg.name, "error": e}))
        })
        .collect();
    Ok(json!({
        "kernel": kernel.trim(),
        "checks": [
            {"check": "packet sockets", "ok": true, "text": "with a receive ring and vnet headers"},
            {"check": "host kept away from ports", "ok": drop["ok"], "text": drop["text"]},
            {"check": "tap devices", "ok": tun, "text": if tun { "/dev/net/tun is there" } else { "no /dev/net/tun: type=tap does not work" }},
            {"check": "survival", "ok": survival.is_ok(), "text": survival.unwrap_or_else(|why| why)},
            {"check": "kernel cache (tier 0)", "ok": tier0.is_ok(), "text": tier0.unwrap_or_else(|why| why)},
        ],
        "ports": ports,
        "waiting": waiting,
    }))
}
