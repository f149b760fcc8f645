//! `ofproto/trace`: what would happen to a frame, told step by step.
//!
//! The very same `translate` as for frames runs on the slow path's view, with a recorder; nothing is learned, counted or
//! sent. The layout is that of Open vSwitch's trace, because programs read it: `Flow:`, the bridge, a line for each table with
//! the actions below it, `Final flow:`, `Megaflow:`, `Datapath actions:`. A frame that recirculates is followed: each
//! round has these lines of its own.

pub mod packet_out;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use rvs_dpif::{ActionText, DropReason};
use rvs_flow::field::PortNames;
use rvs_flow::key::{FRAG_LATER, TCI_PRESENT};
use rvs_flow::matching::{terms, MatchParser};
use rvs_flow::odp_text::{self, OdpText};
use rvs_flow::{
    extract_bytes, DpPort, FlowKey, Mask, Match, NoPortNames, OfPort, ParseLimits, PipelineKey,
    Present,
};
use rvs_openflow::text::Words;
use rvs_openflow::{Action, ActionSet, Instructions, PacketInReason, TableId, Version};
use rvs_packet::{EtherType, IpProto};
use rvs_pipeline::{
    translate, translate_actions, Bridge, FrozenRest, FrozenState, FrozenStates, FrozenThen,
    PipelineView, Ports, PuntNote, Recorder, TraceEvent, TraceLine, Translation, World,
};
use serde_json::{json, Value};

use self::asked::Asked;
use self::committed::Committed;
use self::copies::{packet_in, punts};
use self::layout::Layout;
use crate::clock;
use crate::commands::Daemon;
use crate::stock;

mod asked;
pub mod committed;
mod copies;
mod layout;

pub use self::asked::octets;
pub use self::copies::copy_in_flow;

/// Rounds of recirculation that are followed.
const MAX_ROUNDS: usize = 32;
/// Places that traces stopped at that are kept for later ones, before all are forgotten.
const MAX_KEPT: usize = 256;
/// TTL of a frame whose flow names none: what hosts send. `ofproto/trace` takes flows to the letter.
const USUAL_TTL: u8 = 64;

/// `ofproto/trace`: as text. With a packet, or `-generate`, what it teaches is learned.
pub fn as_text(daemon: &mut Daemon, params: &[String]) -> Result<Value, String> {
    let told = trace(daemon, params, true)?;
    told.teach(daemon);
    Ok(json!(told.text()))
}

/// `rvs/trace`: as JSON, with the text in it.
pub fn as_json(daemon: &mut Daemon, params: &[String]) -> Result<Value, String> {
    trace(daemon, params, false).map(|t| {
        json!({
            "text": t.text(),
            "rounds": t.rounds.iter().map(Round::json).collect::<Vec<_>>(),
        })
    })
}

/// The names of a bridge's ports.
struct BridgePorts<'a>(&'a Ports);

impl PortNames for BridgePorts<'_> {
    fn port_by_name(&self, name: &str) -> Option<OfPort> {
        self.0.by_name(name).map(|p| p.of)
    }

    fn name_of(&self, port: OfPort) -> Option<Cow<'_, str>> {
        self.0.get(port).map(|p| Cow::Borrowed(&*p.name))
    }
}

/// A finished trace.
struct Told {
    rounds: Vec<Round>,
    /// What there is to be learned from.
    lessons: Vec<Translation>,
    /// Where it stopped, under the numbers that it tells.
    frozen: FrozenStates,
}

/// One translation of it.
struct Round {
    /// What brought the frame back: the number of the recirculation.
    resumed: Option<u32>,
    flow: String,
    steps: Vec<(usize, String)>,
    end: String,
    megaflow: String,
    drop: Option<DropReason>,
    actions: String,
    to_controller: bool,
    /// It has the action that asks for the slow path.
    debug_slow: bool,
    stock: bool,
}

fn trace(daemon: &Daemon, params: &[String], stock: bool) -> Result<Told, String> {
    let asked = Asked::parse(params, stock)?;
    let slow = daemon.switch.slow();
    let view = slow.view();
    let (bridge, key) = situate(daemon, view, &asked)?;
    let frozen = daemon.traced.clone();
    let id = key.flow.recirc_id;
    let start = match frozen.get(&id).or_else(|| view.frozen.get(&id)) {
        Some(state) => Some((**state).clone()),
        None => start_of(view.world, bridge, &key),
    };
    Ok(follow(view, bridge, &key, (start, frozen), &asked))
}

/// Tells the log how a translation came to be given up, as the field's daemon does. One that goes on after a recirculation is
/// not followed.
pub fn log_failure(daemon: &Daemon, key: &FlowKey) {
    let slow = daemon.switch.slow();
    let view = slow.view();
    let arrived = view.world.port(DpPort(key.in_port));
    let Some((bridge, port)) = arrived.filter(|_| key.recirc_id == 0) else {
        return;
    };
    let key = PipelineKey {
        flow: *key,
        of_port: port.of.0,
        ..PipelineKey::default()
    };
    let asked = Asked {
        stock: true,
        ..Asked::default()
    };
    let told = follow(view, bridge, &key, (None, FrozenStates::default()), &asked);
    drop(slow);
    tracing::warn!(target: "ofproto_dpif_upcall", "{}", told.text().trim_end());
}

/// The bridge that is asked about, and the key of the frame.
fn situate<'w>(
    daemon: &Daemon,
    view: PipelineView<'w>,
    asked: &Asked<'_>,
) -> Result<(&'w Bridge, PipelineKey), String> {
    match odp_text::parse(asked.flow) {
        Ok(flow) => {
            // To the letter, as there: a bridge is no datapath, nor the other way about.
            let is_known = |name| stock::is_datapath(daemon, name);
            if asked.stock && !asked.bridge.is_none_or(is_known) {
                return Err("Cannot find the datapath".to_owned());
            }
            arrival_at(daemon, view, &flow, asked)
        }
        Err(e) => {
            let name = asked
                .bridge
                .ok_or_else(|| format!("{e} (or the bridge name was omitted)"))?;
            let bridge = view
                .world
                .bridge_by_name(name)
                .ok_or_else(|| format!("{name}: unknown bridge"))?;
            Ok((bridge, arrival(bridge, asked)?))
        }
    }
}

/// The key of a frame that is described in the words of the datapath, and the bridge that its port belongs to.
fn arrival_at<'w>(
    daemon: &Daemon,
    PipelineView { world, frozen, .. }: PipelineView<'w>,
    flow: &OdpText,
    asked: &Asked<'_>,
) -> Result<(&'w Bridge, PipelineKey), String> {
    let (mut key, _) = key_of(&flow.terms, &NoPortNames)?;
    flow.add_tags(&mut key.flow);
    if let Some(id) = flow.recirc_id {
        if !daemon.traced.contains_key(&id) && !frozen.contains_key(&id) {
            return Err(format!("no recirculation data for recirc_id {id:#x}"));
        }
        key.flow.recirc_id = id;
    }
    if let Some(bytes) = &asked.packet {
        key.flow = extract_bytes(bytes, DpPort::NONE, ParseLimits::new(0));
    }
    let name = flow.in_port.as_deref().unwrap_or("0");
    let mut ifaces = daemon.switch.topology().bridges().flat_map(|b| b.ifaces());
    let dp = match name.parse() {
        Ok(number) => Some(DpPort(number)),
        Err(_) => ifaces
            .find_map(|(_, i)| i.open.as_ref().filter(|_| i.cfg.name == name))
            .map(|(dp, _)| *dp),
    };
    let found = dp.and_then(|dp| Some((dp, world.port(dp)?)));
    let (dp, (bridge, port)) =
        found.ok_or_else(|| format!("no OpenFlow port for datapath port {name}"))?;
    key.flow.in_port = dp.0;
    key.of_port = port.of.0;
    Ok((bridge, key))
}

/// The key of the frame that the flow describes, as it comes in.
fn arrival(bridge: &Bridge, asked: &Asked<'_>) -> Result<PipelineKey, String> {
    let (mut key, has_ttl) = key_of(asked.flow, &BridgePorts(&bridge.ports))?;
    let dp = bridge.ports.get(OfPort(key.of_port)).and_then(|p| p.dp());
    match &asked.packet {
        Some(bytes) => {
            key.flow = extract_bytes(bytes, DpPort::NONE, ParseLimits::new(0));
        }
        None if !asked.stock && !has_ttl && is_ip(&key.flow) => key.flow.nw_ttl = USUAL_TTL,
        None => {}
    }
    key.flow.in_port = dp.unwrap_or(DpPort::NONE).0;
    if asked.stock && key.of_port == 0 {
        // Not given: the frame comes from nowhere.
        key.of_port = OfPort::ANY.0;
    }
    Ok(key)
}

/// The key of a frame for which these terms hold, whole; and whether they name its TTL.
pub fn key_of(flow: &str, ports: &dyn PortNames) -> Result<(PipelineKey, bool), String> {
    let syntax = |e: &dyn std::fmt::Display| format!("Bad openflow flow syntax: {flow}: {e}");
    let mut parser = MatchParser::new();
    for term in terms(flow) {
        let (key, value) = term.map_err(|e| syntax(&e))?;
        if !parser.take(key, value).map_err(|e| syntax(&e))? {
            return Err(syntax(&format!("unknown field {key}")));
        }
    }
    let matching = parser.finish(ports).map_err(|e| syntax(&e))?;
    let mut key = *matching.value();
    complete(&mut key.flow);
    Ok((key, matching.mask().0.flow.nw_ttl != 0))
}

fn is_ip(f: &FlowKey) -> bool {
    matches!(
        EtherType(f.dl_type.get()),
        EtherType::IPV4 | EtherType::IPV6
    )
}

/// A flow says what its frame announces; the layers announced are there, and whole.
fn complete(f: &mut FlowKey) {
    let mut p = f.present;
    if f.vlan0_tci.get() & TCI_PRESENT != 0 {
        p = p.with(Present::VLAN0);
        if f.vlan0_tpid.get() == 0 {
            f.vlan0_tpid = EtherType::VLAN.0.into();
        }
    }
    p = p.with(match EtherType(f.dl_type.get()) {
        EtherType::IPV4 => Present::IPV4,
        EtherType::IPV6 => Present::IPV6,
        EtherType::ARP | EtherType::RARP => Present::ARP,
        EtherType::MPLS | EtherType::MPLS_MC => Present::MPLS0,
        _ => Present::NONE,
    });
    if is_ip(f) && f.nw_frag & FRAG_LATER != 0 {
        p = p.with(Present::LATER_FRAG);
    } else if is_ip(f) {
        p = p.with(match IpProto(f.nw_proto) {
            IpProto::TCP => Present::TCP,
            IpProto::UDP => Present::UDP,
            IpProto::SCTP => Present::SCTP,
            IpProto::ICMP | IpProto::ICMPV6 => Present::ICMP,
            _ => Present::NONE,
        });
    }
    f.present = p;
}

/// Translates, from `start` if it is not where frames of devices do, and goes on where the frame recirculates. `frozen` is what
/// earlier traces left.
fn follow(
    view: PipelineView<'_>,
    bridge: &Bridge,
    key: &PipelineKey,
    (mut start, mut frozen): (Option<FrozenState>, FrozenStates),
    asked: &Asked<'_>,
) -> Told {
    let world = view.world;
    let (mut rounds, mut lessons) = (Vec::new(), Vec::new());
    let mut waiting = VecDeque::from([(None, *key)]);
    while let Some((resumed, key)) = waiting.pop_front() {
        let view = PipelineView {
            frozen: &frozen,
            ..view
        };
        let mut recorder = Recorder::default();
        // The first round alone.
        let mut t = match start.take() {
            Some(state) => translate_actions(&view, &key.flow, &state, &mut recorder),
            None => translate(&view, &key.flow, &mut recorder),
        };
        let first = frozen.len() as u32 + 1;
        t.bind(|i| i as u64, |i| first + i as u32);
        let last = final_key(&recorder.lines).unwrap_or(key);
        // As there, where that action ends a trace.
        let follows = !asked.stock || !recorder.ran(&Action::DebugRecirc);
        for (id, state) in (first..).zip(std::mem::take(&mut t.frozen)) {
            frozen.insert(id, Arc::new(state));
            let mut again = PipelineKey {
                of_port: key.of_port,
                ..PipelineKey::default()
            };
            again.flow = last.flow;
            again.flow.recirc_id = id;
            complete(&mut again.flow);
            if follows && rounds.len() + waiting.len() < MAX_ROUNDS {
                waiting.push_back((Some(id), again));
            }
        }
        let shown = Shown {
            world,
            ports: BridgePorts(&bridge.ports),
            names: asked.names,
            stock: asked.stock,
            teaches: asked.teaches,
        };
        rounds.push(shown.round(resumed, &key, &recorder, &t));
        if asked.teaches {
            lessons.push(t);
        }
    }
    Told {
        rounds,
        lessons,
        frozen,
    }
}

/// `None` for a frame of a device: it starts as frames do. Others (of a patch, of a controller, with registers set) start in
/// the first table.
fn start_of(world: &World, bridge: &Bridge, key: &PipelineKey) -> Option<FrozenState> {
    let fields = PipelineKey {
        flow: FlowKey::default(),
        of_port: 0,
        ..*key
    };
    let is_plain =
        fields == PipelineKey::default() && world.port(DpPort(key.flow.in_port)).is_some();
    (!is_plain).then(|| start_state(bridge, key))
}

/// What comes with a frame besides its headers.
fn fields_of(key: &PipelineKey) -> PipelineKey {
    PipelineKey {
        flow: FlowKey::default(),
        actset_output: OfPort::UNSET.0,
        ..*key
    }
}

fn start_state(bridge: &Bridge, key: &PipelineKey) -> FrozenState {
    let rest = FrozenRest {
        table: TableId(0),
        cookie: u64::MAX,
        reason: PacketInReason::Action,
        actions: Vec::new(),
        then: FrozenThen::Instructions(Box::new(Instructions {
            goto: Some(TableId(0)),
            ..Instructions::default()
        })),
    };
    FrozenState {
        bridge: bridge.id,
        fields: fields_of(key),
        stack: Vec::new(),
        action_set: ActionSet::default(),
        rest: vec![rest],
        first: None,
        run_set: true,
        two_tags: false,
        arriving: true,
        mirrored: Vec::new(),
        priority: 0,
    }
}

fn final_key(lines: &[TraceLine]) -> Option<PipelineKey> {
    lines.iter().rev().find_map(|l| match &l.event {
        TraceEvent::Final { key } => Some(**key),
        _ => None,
    })
}

/// How things are shown.
struct Shown<'a> {
    world: &'a World,
    ports: BridgePorts<'a>,
    names: bool,
    stock: bool,
    teaches: bool,
}

impl Shown<'_> {
    fn port_names(&self) -> &dyn PortNames {
        if self.names {
            &self.ports
        } else {
            &NoPortNames
        }
    }

    fn words(&self) -> Words<'_> {
        Words {
            ports: self.port_names(),
            version: Version::Of13,
        }
    }

    fn frame(&self, key: &PipelineKey) -> String {
        let said = Match::of_frame(key).display(self.port_names()).to_string();
        match self.stock && key.flow.recirc_id != 0 {
            true => with_eth(&said),
            false => said,
        }
    }

    fn round(
        &self,
        resumed: Option<u32>,
        key: &PipelineKey,
        recorder: &Recorder,
        t: &Translation,
    ) -> Round {
        let lines = &recorder.lines;
        let flow = self.frame(key);
        let end = final_key(lines).map_or_else(String::new, |k| self.frame(&k));
        let port = |dp: DpPort| match self.world.port(dp) {
            Some((_, p)) if self.names => p.name.to_string(),
            _ => dp.to_string(),
        };
        let punt = |cookie: u64| match t.notes.get(usize::try_from(cookie).ok()?)? {
            PuntNote::PacketIn(note) => Some(packet_in(note, !self.teaches)),
            PuntNote::Protocol { .. } => None,
        };
        let actions = match self.stock {
            true => Committed {
                port: &port,
                punt: &punt,
            }
            .text(&key.flow, &t.actions),
            false => {
                let actions = &t.actions;
                ActionText {
                    actions,
                    port: &port,
                }
                .to_string()
            }
        };
        Round {
            resumed,
            steps: self.steps(key, lines),
            end: if end == flow {
                "unchanged".to_owned()
            } else {
                end
            },
            flow,
            megaflow: match self.stock && actions.contains("skb_priority") {
                true => with_priority(&self.megaflow(key, &t.mask)),
                false => self.megaflow(key, &t.mask),
            },
            drop: t.drop,
            actions,
            to_controller: punts(&t.actions),
            debug_slow: recorder.ran(&Action::DebugSlow),
            stock: self.stock,
        }
    }

    /// The part of the frame that the answer rests on.
    fn megaflow(&self, key: &PipelineKey, mask: &Mask<FlowKey>) -> String {
        let mut whole = Mask::<PipelineKey>::none();
        whole.0.flow = mask.0;
        if self.stock {
            // That a tag is absent goes without saying.
            let (flow, m) = (&key.flow, &mut whole.0.flow);
            if !flow.present.has(Present::VLAN0) {
                m.vlan0_tci = 0.into();
            }
            if !flow.present.has(Present::VLAN1) {
                m.vlan1_tci = 0.into();
            }
        }
        whole.0.of_port = u32::MAX;
        let said = Match::new(key, whole)
            .display(self.port_names())
            .to_string();
        with_eth(&said)
    }

    fn steps(&self, key: &PipelineKey, lines: &[TraceLine]) -> Vec<(usize, String)> {
        let mut layout = Layout::new(self.words(), self.world, self.stock);
        layout.suppresses = self.stock && !self.teaches;
        layout.dl_type = EtherType(key.flow.dl_type.get());
        lines.iter().for_each(|l| layout.line(l));
        layout.finish()
    }
}

/// `recirc_id=0,eth,...`: that the packet is an Ethernet frame stands behind what is the datapath's own.
fn with_eth(said: &str) -> String {
    let end = |from: usize| said[from..].find(',').map_or(said.len(), |n| from + n);
    match said.find("recirc_id=").map(end) {
        Some(at) => format!("{},eth{}", &said[..at], &said[at..]),
        None if said.is_empty() => "eth".to_owned(),
        None => format!("eth,{said}"),
    }
}

/// A frame's priority is the one that it came with, where it is changed.
fn with_priority(megaflow: &str) -> String {
    megaflow.replacen("recirc_id=0,", "recirc_id=0,skb_priority=0,", 1)
}

impl Round {
    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(id) = self.resumed {
            let line = "=".repeat(79);
            let _ = write!(text, "\n{line}\nrecirc({id:#x}) - resume\n{line}\n\n");
        }
        let _ = writeln!(text, "Flow: {}", self.flow);
        for (indent, step) in &self.steps {
            let _ = writeln!(text, "{:indent$}{step}", "");
        }
        let _ = writeln!(text, "\nFinal flow: {}", self.end);
        let _ = writeln!(text, "Megaflow: {}", self.megaflow);
        if let Some(reason) = self.drop.filter(|_| !self.stock) {
            let _ = writeln!(text, "Drop reason: {}: {}", reason.name(), reason.text());
        }
        let _ = writeln!(text, "Datapath actions: {}", self.actions);
        if let Some(why) = self.drop.filter(|_| self.stock).and_then(layout::failure) {
            let _ = writeln!(text, "Translation failed ({why}), packet is dropped.");
        }
        if self.debug_slow {
            text.push_str(
                "This flow is handled by the userspace slow path because it:\n  \
                 - Uses action(s) not supported by datapath.\n",
            );
        }
        if self.to_controller && !self.stock {
            text.push_str(
                "This flow is handled by the userspace slow path because it:\n  \
                 - Sends \"packet-in\" messages to the OpenFlow controller.\n",
            );
        }
        text
    }

    fn json(&self) -> Value {
        let steps = self.steps.iter().filter(|(_, s)| !s.is_empty());
        json!({
            "recirc": self.resumed,
            "flow": self.flow,
            "steps": steps.map(|(indent, s)| json!({"indent": indent, "text": s})).collect::<Vec<_>>(),
            "final_flow": self.end,
            "megaflow": self.megaflow,
            "drop": self.drop.map(|d| json!({"reason": d.name(), "text": d.text()})),
            "actions": self.actions,
            "to_controller": self.to_controller,
        })
    }
}

impl Told {
    /// Has the switch learn what the frame teaches, as if it had come.
    fn teach(&self, daemon: &mut Daemon) {
        for lesson in &self.lessons {
            daemon.switch.teach(clock::now(), lesson);
        }
        if !self.lessons.is_empty() {
            daemon.traced = match self.frozen.len() {
                ..=MAX_KEPT => self.frozen.clone(),
                _ => FrozenStates::default(),
            };
        }
    }

    fn text(&self) -> String {
        self.rounds.iter().map(Round::text).collect()
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
