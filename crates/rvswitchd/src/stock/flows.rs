//! `dpctl/{add,mod,get,del}-flow`: one cached flow, by its number or in the datapath's words.
//!
//! Flows are put in beside dummies alone: elsewhere people's traffic would follow them for half a second. They go at the next
//! round of the slow path, unless a translation decides the same.

use std::sync::Arc;

use rvs_dpif::{DpAction, FlowId, Megaflow, WorkerId};
use rvs_flow::{
    odp_text, FlowKey, Mask, Match, NoPortNames, OdpFlow, OfPort, PipelineKey, PortNames as _,
};
use rvs_packet::{EtherType, VlanTci};
use serde_json::json;

use super::{datapath, flow, name_of, style, ufid, Answer, Named};
use crate::commands::Daemon;
use crate::{clock, trace};

/// Numbers that people gave to flows, at most.
const MOST_NAMED: usize = 1024;

fn said(what: &str) -> String {
    format!("ovs-vswitchd: {what}")
}

/// The words behind the options, without the datapath's name.
fn rest<'w>(daemon: &Daemon, words: Vec<&'w str>, wanted: usize) -> Result<Vec<&'w str>, String> {
    match words.len().checked_sub(wanted) {
        Some(0) => Ok(words),
        Some(1) => {
            datapath(name_of(daemon), words[0])?;
            Ok(words[1..].to_vec())
        }
        _ => Err(said("datapath not found (Invalid argument)")),
    }
}

/// `ufid:NUMBER` at the beginning of a flow, and what follows.
fn numbered(text: &str) -> (Option<&str>, &str) {
    let text = text.trim();
    if !text.starts_with("ufid:") {
        return (None, text);
    }
    let end = text.find([',', ' ']).unwrap_or(text.len());
    (
        Some(&text[..end]),
        text[end..].trim_start_matches([',', ' ']),
    )
}

/// What a cached flow is called, as it was put in or by its own number.
pub(super) fn called(daemon: &Daemon, id: FlowId) -> String {
    daemon
        .named_flows
        .get(&id)
        .cloned()
        .unwrap_or_else(|| ufid(id))
}

/// The flow of this number, or in these words.
fn find(daemon: &Daemon, text: &str) -> Option<FlowId> {
    let words = match numbered(text) {
        (Some(name), _) => {
            let ids = daemon.switch.slow().flows().ids();
            return ids.into_iter().find(|id| called(daemon, *id) == name);
        }
        (None, words) => words,
    };
    let (key, mask) = parse(daemon, words).ok()?;
    let all: Vec<Arc<Megaflow>> = {
        let slow = daemon.switch.slow();
        if let Some(found) = slow.flows().find(&mask.apply(&key), &mask) {
            return Some(found.flow.id);
        }
        slow.flows().iter().map(|f| Arc::clone(&f.flow)).collect()
    };
    // A mask may have bits that the words don't say. Nobody waits for the lock while they are compared.
    let said = |f: &Megaflow| OdpFlow::new(&f.key, &f.mask).to_string();
    all.iter().find(|f| said(f) == words).map(|f| f.id)
}

/// A flow in the datapath's words: the port and the recirculation always count.
fn parse(daemon: &Daemon, text: &str) -> Result<(FlowKey, Mask<FlowKey>), String> {
    let wrong = |at: &str| {
        said(&format!(
            "parsing flow key (syntax error at {at}) (Invalid argument)"
        ))
    };
    let flow = odp_text::parse(text).map_err(|e| wrong(&e.0))?;
    let matching = Match::<PipelineKey>::parse(&flow.terms, &NoPortNames);
    let matching = matching.map_err(|e| wrong(&e.to_string()))?;
    let (full, _) = trace::key_of(&flow.terms, &NoPortNames)?;
    let mut key = full.flow;
    let mut mask = matching.mask().0.flow;
    mask.present = key.present;
    if let Some(port) = flow.in_port {
        let number = port.parse().ok().map(OfPort);
        let number = number.or_else(|| Named(daemon).port_by_name(&port));
        key.in_port = number.ok_or_else(|| wrong(text))?.0;
        mask.in_port = u32::MAX;
    }
    mask.recirc_id = u32::MAX;
    Ok((key, Mask(mask)))
}

/// Actions: ports, `drop`, `push_vlan(..)`, `pop_vlan`, `trunc(N),PORT`.
fn actions(text: &str) -> Option<Vec<DpAction>> {
    if text == "drop" {
        return Some(Vec::new());
    }
    let (mut list, mut rest, mut cut) = (Vec::new(), text, None);
    while !rest.is_empty() {
        let end = match rest.find([',', '(']) {
            Some(at) if rest[at..].starts_with('(') => at + rest[at..].find(')')? + 1,
            Some(at) => at,
            None => rest.len(),
        };
        let word = &rest[..end];
        rest = rest[end..].strip_prefix(',').unwrap_or(&rest[end..]);
        list.push(match word.split_once('(') {
            Some(("push_vlan", args)) => push_vlan(args.strip_suffix(')')?)?,
            Some(("trunc", n)) => {
                cut = Some(n.strip_suffix(')')?.parse().ok()?);
                continue;
            }
            None if word == "pop_vlan" => DpAction::PopVlan,
            None => {
                let port = rvs_flow::DpPort(word.parse().ok()?);
                match cut.take() {
                    Some(max_len) => DpAction::OutputTruncated { port, max_len },
                    None => DpAction::Output(port),
                }
            }
            Some(_) => return None,
        });
    }
    cut.is_none().then_some(list)
}

fn push_vlan(args: &str) -> Option<DpAction> {
    let (mut tpid, mut vid, mut pcp) = (EtherType::VLAN, None, 0_u16);
    for arg in args.split(',') {
        match arg.split_once('=')? {
            ("vid", n) => vid = n.parse::<u16>().ok().filter(|n| *n < 4096),
            ("pcp", n) => pcp = n.parse().ok().filter(|n| *n < 8)?,
            ("tpid", n) => tpid = EtherType(u16::from_str_radix(n.strip_prefix("0x")?, 16).ok()?),
            _ => return None,
        }
    }
    let tci = VlanTci(vid? | pcp << 13);
    Some(DpAction::PushVlan { tpid, tci })
}

/// Whether these are a flow, and actions.
pub(super) fn check(daemon: &Daemon, flow: &str, list: &str) -> Result<(), String> {
    parse(daemon, numbered(flow).1)?;
    let known = list.is_empty() || actions(list).is_some();
    known
        .then_some(())
        .ok_or_else(|| said("parsing actions (Invalid argument)"))
}

pub(super) fn add(daemon: &mut Daemon, params: &[String]) -> Answer {
    put(daemon, params.iter().map(String::as_str).collect(), false)
}

pub(super) fn modify(daemon: &mut Daemon, params: &[String]) -> Answer {
    let words = params.iter().map(String::as_str);
    let (options, words): (Vec<&str>, Vec<&str>) = words.partition(|w| w.starts_with('-'));
    let may_create = options.contains(&"--may-create");
    let there = words
        .iter()
        .rev()
        .nth(1)
        .and_then(|text| find(daemon, text));
    put(daemon, words, !may_create || there.is_some())
}

fn put(daemon: &mut Daemon, words: Vec<&str>, replaces: bool) -> Answer {
    if daemon.switch.rim.dummies.is_none() {
        return Err(said("updating flow table (Operation not supported)"));
    }
    let words = rest(daemon, words, 2)?;
    let (name, text) = numbered(words[0]);
    let (key, mask) = parse(daemon, text)?;
    if mask.0.in_port != u32::MAX {
        tracing::info!(target: "dpif_netdev", "flow: in_port is not an exact match");
        return Err(said("updating flow table (Invalid argument)"));
    }
    let list = actions(words[1]).ok_or_else(|| said("parsing actions (Invalid argument)"))?;
    if name.is_some() && daemon.named_flows.len() >= MOST_NAMED {
        let slow = daemon.switch.slow();
        let named = &mut daemon.named_flows;
        named.retain(|id, _| slow.flows().get(*id).is_some());
    }
    let put = daemon.switch.put_flow(
        clock::now(),
        WorkerId(0),
        (&key, mask),
        list.into(),
        replaces,
    );
    let id = put.map_err(|why| said(&format!("updating flow table ({why})")))?;
    if let Some(name) = name.filter(|_| daemon.named_flows.len() < MOST_NAMED) {
        daemon.named_flows.insert(id, name.to_owned());
    }
    Ok(json!(""))
}

pub(super) fn get(daemon: &mut Daemon, params: &[String]) -> Answer {
    let (style, words) = style(params)?;
    let words = rest(daemon, words, 1)?;
    if numbered(words[0]).0.is_none() {
        return Err(said("parsing flow ufid"));
    }
    daemon.switch.credit();
    let id = find(daemon, words[0]);
    let slow = daemon.switch.slow();
    let found = id.and_then(|id| slow.flows().get(id));
    let found = found.ok_or_else(|| said("getting flow (No such file or directory)"))?;
    let mut text = String::new();
    flow(&mut text, daemon, &slow, found, style, clock::now());
    Ok(json!(text))
}

pub(super) fn delete(daemon: &mut Daemon, params: &[String]) -> Answer {
    let words = params.iter().map(String::as_str).filter(|w| *w != "-s");
    let words = rest(daemon, words.collect(), 1)?;
    let id = find(daemon, words[0]).ok_or_else(|| {
        said("deleting flow (No such file or directory)\nPerhaps you need to specify a UFID?")
    })?;
    daemon.switch.take_out_flow(id);
    daemon.named_flows.remove(&id);
    Ok(json!(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rvs_flow::DpPort;

    #[test]
    fn actions_are_read_as_they_are_written() {
        for text in [
            "2",
            "drop",
            "push_vlan(vid=5,pcp=1),2,pop_vlan,3",
            "trunc(100),2",
        ] {
            let list = actions(text);
            let port = |p: DpPort| p.to_string();
            let said = list.as_ref().map(|actions| {
                rvs_dpif::ActionText {
                    actions,
                    port: &port,
                }
                .to_string()
            });
            assert_eq!(said.as_deref(), Some(text));
        }
        for wrong in [
            "foo",
            "trunc(100)",
            "push_vlan(vid=5000)",
            "push_vlan(vid=5",
            "p2",
            "2,,3",
        ] {
            assert_eq!(actions(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_stand_in_front() {
        assert_eq!(
            numbered("ufid:1-2, in_port(1)"),
            (Some("ufid:1-2"), "in_port(1)")
        );
        assert_eq!(numbered("ufid:1-2"), (Some("ufid:1-2"), ""));
        assert_eq!(numbered("in_port(1)"), (None, "in_port(1)"));
    }
}
