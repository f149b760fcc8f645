//! `ofproto/trace-packet-out`: what a controller's actions would do to a frame that it sends.

use rvs_flow::OfPort;
use rvs_openflow::text::Words;
use rvs_openflow::Version;
use rvs_pipeline::{FrozenState, FrozenStates};
use serde_json::{json, Value};

use super::{fields_of, follow, situate, Asked, BridgePorts};
use crate::commands::Daemon;

/// `ofproto/trace-packet-out`: parameters of `ofproto/trace`, and a list of actions behind them.
pub fn as_text(daemon: &mut Daemon, params: &[String]) -> Result<Value, String> {
    // Rules are never seen half changed, with or without the option.
    let params: Vec<String> = params
        .iter()
        .filter(|p| !matches!(p.as_str(), "-consistent" | "--consistent"))
        .cloned()
        .collect();
    let usage = "trace-packet-out takes BRIDGE FLOW [PACKET] ACTIONS";
    let (list, params) = params.split_last().ok_or(usage)?;
    let asked = Asked::parse(params, true)?;
    let slow = daemon.switch.slow();
    let view = slow.view();
    let (bridge, key) = situate(daemon, view, &asked)?;
    let words = Words {
        ports: &BridgePorts(&bridge.ports),
        version: Version::Of13,
    };
    let actions = words.parse_actions(list).map_err(|e| e.to_string())?;
    let mut start = FrozenState::packet_out(bridge.id, OfPort(key.of_port), actions);
    start.fields = fields_of(&key);
    let told = follow(
        view,
        bridge,
        &key,
        (Some(start), FrozenStates::default()),
        &asked,
    );
    Ok(json!(told.text()))
}
