//! Where the lines of a trace stand.
//!
//! A trace is a tree: a bridge has tables, a table has the actions of its rule, and an action that asks another table is
//! followed by that table. Lines that go on after a table (another action, the action set) stand further left than the
//! table's own actions; a table that nothing follows is not indented at all, so that a chain of gotos runs down the page. The
//! rules are those of Open vSwitch's traces, which programs compare line by line.

use rvs_dpif::DropReason;
use rvs_flow::field::Field;
use rvs_flow::SubField;
use rvs_openflow::text::Words;
use rvs_openflow::{Action, TableId};
use rvs_packet::EtherType;
use rvs_pipeline::{TraceEvent, TraceLine, World};

/// Columns of one step of indentation.
const STEP: usize = 4;

#[derive(Debug)]
struct Node {
    text: String,
    /// An action, a bucket or a remark: indented though nothing follows it.
    is_step: bool,
    is_bridge: bool,
    inside: Vec<usize>,
}

/// A node that lines may still go into, and how deep in the translation those lie.
#[derive(Clone, Copy, Debug)]
struct Open {
    node: usize,
    depth: usize,
    is_bridge: bool,
}

/// Grows the tree of a translation from its events.
pub struct Layout<'w> {
    words: Words<'w>,
    world: &'w World,
    /// What the field's traces would say, and nothing else.
    stock: bool,
    nodes: Vec<Node>,
    /// Top of the tree.
    roots: Vec<usize>,
    open: Vec<Open>,
    /// An action at this depth has just asked a table.
    asked: Option<usize>,
    /// The action of which events speak.
    action: Option<Action>,
    /// What a trace without a frame does not do is said.
    pub suppresses: bool,
    /// The EtherType of the frame.
    pub dl_type: EtherType,
}

impl<'w> Layout<'w> {
    pub fn new(words: Words<'w>, world: &'w World, stock: bool) -> Self {
        Self {
            words,
            world,
            stock,
            nodes: Vec::new(),
            roots: Vec::new(),
            open: Vec::new(),
            asked: None,
            action: None,
            suppresses: false,
            dl_type: EtherType(0),
        }
    }

    pub fn line(&mut self, line: &TraceLine) {
        let depth = usize::from(line.depth);
        let asked = self.asked.take() == Some(depth);
        match &line.event {
            TraceEvent::Bridge { name, .. } => self.bridge(depth, name),
            TraceEvent::Rule {
                table,
                priority,
                cookie,
                matching,
            } => {
                let said = matching.display(self.words.ports).to_string();
                let comma = if said.is_empty() { "" } else { ", " };
                let cookie = match cookie {
                    0 => String::new(),
                    cookie => format!(", cookie {cookie:#x}"),
                };
                let text = format!("{:2}. {said}{comma}priority {priority}{cookie}", table.0);
                self.table(depth, *table, text, asked);
            }
            TraceEvent::Miss { table } => {
                self.table(depth, *table, format!("{:2}. No match.", table.0), asked);
                if asked {
                    // Elsewhere a drop is an event of its own.
                    self.step(depth + 1, "drop".to_owned());
                }
            }
            TraceEvent::Action(a) => {
                let text = self.words.actions(std::slice::from_ref(a)).to_string();
                self.step(depth, text);
                self.asked = asks_table(a).then_some(depth);
                if self.suppresses && matches!(a, Action::Learn(_)) {
                    let why = " >> suppressing side effects, so learn action ignored";
                    self.step(depth, why.to_owned());
                }
                self.action = Some(a.clone());
            }
            TraceEvent::Instruction(alone) => {
                let text = self.words.instructions(alone).to_string();
                self.step(depth, text);
            }
            TraceEvent::ActionSet => self.action_set(depth),
            TraceEvent::ActionSetIs(set) => {
                let text = self.words.actions(set).to_string();
                self.step(depth, format!(" -> action set is: {text}"));
            }
            TraceEvent::ActionSetWas(set) if set.is_empty() => {
                self.step(depth, " -> action set was empty".to_owned());
            }
            TraceEvent::ActionSetWas(set) => {
                let text = self.words.actions(set).to_string();
                self.step(depth, format!(" -> action set was: {text}"));
            }
            TraceEvent::Bucket { index, chosen, .. } => {
                if *chosen {
                    self.step(depth, format!(" -> using bucket {index}"));
                }
                let node = self.step(depth, format!("bucket {index}"));
                self.enter(node, depth + 1, false);
            }
            TraceEvent::Written { dst, value } => {
                let text = self.written(*dst, *value);
                self.step(depth, text);
            }
            TraceEvent::Note(text) => {
                self.step(depth, format!(" -> {text}"));
            }
            TraceEvent::Aside(text) => {
                if !self.stock {
                    self.step(depth, format!(" -> {text}"));
                }
            }
            TraceEvent::Drop(reason) => self.drop(depth, *reason),
            TraceEvent::Final { .. } => {}
        }
    }

    /// The lines and the columns where they begin.
    pub fn finish(self) -> Vec<(usize, String)> {
        let mut lines = Vec::new();
        self.print(&self.roots, 0, &mut lines);
        lines
    }

    fn print(&self, nodes: &[usize], level: usize, lines: &mut Vec<(usize, String)>) {
        for (i, n) in nodes.iter().enumerate() {
            let node = &self.nodes[*n];
            let more = usize::from(i + 1 < nodes.len() || node.is_step);
            let column = (level + more) * STEP;
            if node.is_bridge {
                lines.push((0, String::new()));
            }
            lines.push((column, node.text.clone()));
            if node.is_bridge {
                lines.push((column, "-".repeat(node.text.len())));
            }
            self.print(&node.inside, level + 2 * more, lines);
        }
    }

    fn add(&mut self, node: Node) -> usize {
        let at = self.nodes.len();
        self.nodes.push(node);
        match self.open.last() {
            Some(open) => self.nodes[open.node].inside.push(at),
            None => self.roots.push(at),
        }
        at
    }

    fn enter(&mut self, node: usize, depth: usize, is_bridge: bool) {
        self.open.push(Open {
            node,
            depth,
            is_bridge,
        });
    }

    /// Leaves everything that lies deeper than `depth`.
    fn leave(&mut self, depth: usize) {
        while self.open.last().is_some_and(|o| o.depth > depth) {
            self.open.pop();
        }
    }

    /// An action, or a remark about one.
    fn step(&mut self, depth: usize, text: String) -> usize {
        self.leave(depth);
        self.add(Node {
            text,
            is_step: true,
            is_bridge: false,
            inside: Vec::new(),
        })
    }

    fn bridge(&mut self, depth: usize, name: &str) {
        // What a bridge does lies as deep as the bridge; the action that led to it does not.
        match depth.checked_sub(1) {
            Some(outside) => self.leave(outside),
            None => self.open.clear(),
        }
        let node = self.add(Node {
            text: format!("bridge(\"{name}\")"),
            is_step: false,
            is_bridge: true,
            inside: Vec::new(),
        });
        self.enter(node, depth, true);
    }

    /// A table, at the behest of an action of the last one (`asked`), or because the last one went on to it.
    fn table(&mut self, depth: usize, table: TableId, text: String, asked: bool) {
        self.leave(depth);
        if !asked && self.open.last().is_some_and(|o| !o.is_bridge) {
            self.step(depth, format!("goto_table:{}", table.0));
        }
        let node = self.add(Node {
            text,
            is_step: false,
            is_bridge: false,
            inside: Vec::new(),
        });
        self.enter(node, depth + usize::from(asked), false);
    }

    /// The action set stands in the first table of the bridge.
    fn action_set(&mut self, depth: usize) {
        self.leave(depth);
        if let Some(bridge) = self.open.iter().rposition(|o| o.is_bridge) {
            self.open.truncate(bridge + 2);
        }
        let node = self.add(Node {
            text: "--. Executing action set:".to_owned(),
            is_step: false,
            is_bridge: false,
            inside: Vec::new(),
        });
        self.enter(node, depth, false);
    }

    fn written(&self, dst: SubField, value: u128) -> String {
        let text = match dst.is_whole() {
            true => {
                let field: &'static Field = dst.field();
                let shown = field.display(value, field.match_mask(), self.words.ports);
                shown.to_string()
            }
            false => format!("{value:#x}"),
        };
        let text = if value == 0 && text == "0x0" {
            "0".to_owned()
        } else {
            text
        };
        format!(" -> {dst} is now {text}")
    }

    fn drop(&mut self, depth: usize, reason: DropReason) {
        if matches!(reason, DropReason::Action | DropReason::NoRule) {
            self.step(depth, "drop".to_owned());
        }
        let text = match self.stock {
            true => self.stock_reason(reason),
            false => Some(format!(" >> {}", reason.text())),
        };
        if let Some(text) = text {
            self.step(depth, text);
        }
    }

    /// Whether the bridge of which lines speak has a tree of the rapid protocol.
    fn is_rapid(&self) -> bool {
        let open = self.open.iter().rev().find(|o| o.is_bridge);
        let node = open.and_then(|o| self.nodes.get(o.node));
        let name = node.and_then(|n| n.text.strip_prefix("bridge(\"")?.strip_suffix("\")"));
        let bridge = name.and_then(|n| self.world.bridge_by_name(n));
        bridge.is_some_and(|b| b.settings.rapid)
    }

    /// What the field's traces say of a drop.
    fn stock_reason(&self, reason: DropReason) -> Option<String> {
        let text = match reason {
            // The last has been said.
            DropReason::Action
            | DropReason::NoRule
            | DropReason::NoFloodPort
            | DropReason::PatchCut => return None,
            DropReason::InPort => " >> skipping output to input port",
            DropReason::NoPort => " >> Nonexistent output port",
            DropReason::TtlExpired => match (&self.action, self.dl_type) {
                (Some(Action::DecMplsTtl), _) => " >> MPLS decrement TTL exception",
                (_, EtherType::IPV6) => " >> IPv6 decrement TTL exception",
                _ => " >> IPv4 decrement TTL exception",
            },
            DropReason::TooDeep => " >>>> over max translation depth 64 <<<<",
            DropReason::StackTooDeep => " >>>> resubmits yielded over 64 kB of stack <<<<",
            DropReason::TooManyResubmits => " >>>> over 4096 resubmit actions <<<<",
            DropReason::GroupEmpty => " -> no live bucket",
            DropReason::VlanTagOnAccess | DropReason::VlanNotInTrunk => {
                " >> disallowed VLAN VID for this input port, dropping"
            }
            DropReason::ReservedMulticast => " -> packet has reserved destination MAC, dropping",
            DropReason::SplitHorizon => " -> learned port is input port, dropping",
            DropReason::StpBlocked if self.is_rapid() => {
                " >> RSTP not in forwarding state, skipping output"
            }
            DropReason::StpBlocked => " >> STP not in forwarding state, skipping output",
            DropReason::PortNoFwd => " >> OFPPC_NO_FWD set, skipping output",
            other => return Some(format!(" >> {}", other.text())),
        };
        Some(text.to_owned())
    }
}

/// Why a translation was given up, as the field's traces call it; `None` for a frame that is dropped in good order.
pub const fn failure(reason: DropReason) -> Option<&'static str> {
    match reason {
        DropReason::TooDeep => Some("Recursion too deep"),
        DropReason::StackTooDeep => Some("Stack too deep"),
        DropReason::TooManyResubmits => Some("Too many resubmits"),
        _ => None,
    }
}

fn asks_table(action: &Action) -> bool {
    match action {
        Action::Resubmit { .. } => true,
        Action::Output { port, .. } => *port == rvs_flow::OfPort::TABLE,
        _ => false,
    }
}
