//! `rvs/doctor`: what this kernel and these privileges allow, and which tier each port runs on.

use rvs_kcache::{Capability, IngressDrop, KernelCache};
use rvs_switch::ports::BridgeState;
use serde_json::{json, Value};

use crate::commands::{Answer, Daemon};

/// Said of what would be loaded if a port needed it.
const UNWANTED: &str = "not loaded, no port wants it";

pub fn run(daemon: &mut Daemon, _: &[String]) -> Answer {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let devices = &daemon.switch.rim.devices;
    let (cache_untried, drop_untried) = devices.are_untried();
    let drop = match devices.ingress_drop() {
        Ok(drop) => Ok(format!("by {}", drop.capability())),
        Err(_) if drop_untried => match IngressDrop::probe() {
            Capability::None(why) => Err(why),
            found => Ok(format!("by {found}; {UNWANTED}")),
        },
        Err(why) => Err(why.to_owned()),
    };
    let tun = std::fs::metadata("/dev/net/tun").is_ok();
    let tier0 = match devices.kernel() {
        Ok(tier0) => {
            let (flows, masks) = tier0.size();
            let hits = tier0.hits();
            Ok(format!(
                "{flows} flows under {masks} masks; {hits} frames so far"
            ))
        }
        Err(_) if cache_untried => KernelCache::probe()
            .map(|()| format!("it works here; {UNWANTED}"))
            .map_err(|e| e.to_string()),
        Err(why) => Err(why.to_owned()),
    };
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
                .map(|e| json!({"port": i.cfg.name, "error": e.to_string()}))
        })
        .collect();
    Ok(json!({
        "kernel": kernel.trim(),
        "checks": [
            {"check": "packet sockets", "ok": true, "text": "with a receive ring and vnet headers"},
            {"check": "host kept away from ports", "ok": drop.is_ok(), "text": drop.unwrap_or_else(|why| why)},
            {"check": "tap devices", "ok": tun, "text": if tun { "/dev/net/tun is there" } else { "no /dev/net/tun: type=tap does not work" }},
            {"check": "survival", "ok": survival.is_ok(), "text": survival.unwrap_or_else(|why| why)},
            {"check": "kernel cache (tier 0)", "ok": tier0.is_ok(), "text": tier0.unwrap_or_else(|why| why)},
        ],
        "ports": ports,
        "waiting": waiting,
    }))
}
