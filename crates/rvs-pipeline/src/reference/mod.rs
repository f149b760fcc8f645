//! The oracle: OpenFlow interpreted on the frame itself.
//!
//! No caches, no masks, no composition. A table is a list of rules that is searched from end to end; every lookup parses the
//! frame anew; every action edits the frame's octets; every output copies them. It is slow and meant to be obviously right,
//! and it shares no code with `translate` beyond the snapshot that both read and the field registry.
//!
//! What it leaves out: meters let everything pass, queues write the DSCP and nothing else, `learn` and `controller` only report.

mod edit;
mod execute;
mod lookup;
mod mirror;
mod normal;
mod output;

use std::collections::BTreeSet;
use std::sync::Arc;

use rvs_flow::field::{Field, FieldId, SubField};
use rvs_flow::{extract, DpPort, Match, OfPort, ParseLimits, PipelineKey, Present};
use rvs_l2::Lesson;
use rvs_openflow::{
    Action, ActionSet, Bucket, ControllerId, GroupId, GroupKind, Instructions, PacketInReason,
    TableId,
};
use rvs_packet::Frame;

use crate::bridge::{Bridge, BridgeId, FragMode, Miss};
use crate::table::Rule;
use crate::translate::limits::{MAX_DEPTH, MAX_NESTED, MAX_RESUBMITS, MAX_WATCHED};
use crate::world::{MacTables, World};

pub use execute::{execute, Executed};
use lookup::admits;

/// A copy that a controller gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketIn {
    pub bridge: BridgeId,
    pub reason: PacketInReason,
    pub cookie: u64,
    pub controller: ControllerId,
    pub frame: Vec<u8>,
}

/// Everything that happens to one frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In order.
    pub outputs: Vec<(DpPort, Vec<u8>)>,
    pub packet_ins: Vec<PacketIn>,
    pub lessons: Vec<(BridgeId, Lesson)>,
    /// Cookies of the rules that matched, in order.
    pub rules: Vec<(BridgeId, TableId, u64)>,
    /// A limit was exceeded, so that nothing leaves.
    pub aborted: bool,
}

/// What happens to `frame` when it arrives on `in_port`.
pub fn interpret(world: &World, macs: &MacTables, frame: &Frame, in_port: DpPort) -> Outcome {
    let mut out = Outcome::default();
    let Some((bridge, port)) = world.port(in_port) else {
        return out;
    };
    if frame.len() < 14 || !admits(bridge, port, frame) {
        return out;
    }
    let key = extract(frame, in_port, ParseLimits::new(0));
    let mut run = Run {
        world,
        macs,
        out: &mut out,
        resubmits: 0,
        depth: 0,
        nested: 0,
        mirrored: BTreeSet::new(),
    };
    let mut packet = Packet::arrived(frame.clone(), bridge, port.of);
    let mut end = mirror::mirror(&mut run, &packet, port, false);
    let dropped = bridge.settings.frags == FragMode::Drop && key.nw_frag != 0;
    if end.is_ok() && !dropped {
        end = run.pipeline(&mut packet);
    }
    out.aborted = end == Err(End::Aborted);
    if out.aborted || !port.stp.forwards() {
        out.outputs.clear();
        out.packet_ins.clear();
    }
    out
}

/// Why interpretation of something stops early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The rest of this rule (or bucket, or clone) is not executed.
    Halted,
    /// Nothing more is executed in this bridge (or bucket, or clone) but the action set.
    Exited,
    /// A limit is exceeded: the frame goes nowhere.
    Aborted,
}

type Step = Result<(), End>;

/// A frame and what the pipeline knows beside it.
#[derive(Clone)]
struct Packet<'w> {
    frame: Frame,
    bridge: &'w Bridge,
    of_port: OfPort,
    /// Metadata, registers and the like; `flow` is not meant.
    fields: PipelineKey,
    stack: Vec<u128>,
    action_set: ActionSet,
    /// Outermost tags that the pipeline itself has pushed: the VLAN limit does not count them.
    own_tags: usize,
    /// Of the bridge that the frame arrived in.
    vlan_limit: u8,
    frags: FragMode,
    /// Of the queue that was chosen; 0: none.
    priority: u32,
    at: Place,
}

#[derive(Clone, Copy, Default)]
struct Place {
    table: TableId,
    cookie: u64,
    is_miss: bool,
    reason: PacketInReason,
    /// Table and cookie of the first rule.
    first: Option<(TableId, u64)>,
}

impl<'w> Packet<'w> {
    fn arrived(frame: Frame, bridge: &'w Bridge, of_port: OfPort) -> Self {
        let fields = PipelineKey {
            actset_output: OfPort::UNSET.0,
            ..PipelineKey::default()
        };
        Self {
            frame,
            bridge,
            of_port,
            fields,
            stack: Vec::new(),
            action_set: ActionSet::default(),
            own_tags: 0,
            vlan_limit: bridge.settings.vlan_limit,
            frags: bridge.settings.frags,
            priority: 0,
            at: Place {
                cookie: u64::MAX,
                ..Place::default()
            },
        }
    }

    fn clear_action_set(&mut self) {
        self.action_set.clear();
        self.fields.actset_output = OfPort::UNSET.0;
    }

    /// The frame as the tables see it.
    fn key(&self) -> PipelineKey {
        let mut inner = self.frame.clone();
        for _ in 0..self.own_tags {
            rvs_packet::edit::pop_vlan(&mut inner);
        }
        let limits = ParseLimits::new(self.vlan_limit);
        let mut flow = extract(&inner, DpPort::NONE, limits);
        if self.own_tags > 0 {
            // The tags as they stand; behind them what is behind the tags that arrived, unless there are more than two.
            let tags = extract(&self.frame, DpPort::NONE, ParseLimits::new(0));
            if rvs_packet::EtherType(tags.dl_type.get()).is_vlan() {
                flow = tags;
            }
            flow.vlan0_tci = tags.vlan0_tci;
            flow.vlan0_tpid = tags.vlan0_tpid;
            flow.vlan1_tci = tags.vlan1_tci;
            flow.vlan1_tpid = tags.vlan1_tpid;
            let both = Present::VLAN0 | Present::VLAN1;
            flow.present = flow.present.without(both) | Present(tags.present.0 & both.0);
        }
        if self.frags == FragMode::NxMatch && flow.present.has(Present::LATER_FRAG) {
            flow.present |= match flow.nw_proto {
                1 => Present::ICMP,
                6 => Present::TCP,
                17 => Present::UDP,
                132 => Present::SCTP,
                _ => Present::NONE,
            };
        }
        PipelineKey {
            flow,
            of_port: self.of_port.0,
            ..self.fields
        }
    }
}

struct Run<'w, 'o> {
    world: &'w World,
    macs: &'w MacTables,
    out: &'o mut Outcome,
    resubmits: u32,
    depth: u16,
    nested: u16,
    /// Mirrors that have had their copy, by their places in their bridges.
    mirrored: BTreeSet<(BridgeId, usize)>,
}

impl<'w> Run<'w, '_> {
    /// From the first table to the action set.
    fn pipeline(&mut self, p: &mut Packet<'w>) -> Step {
        let end = if p.bridge.settings.fail_open {
            self.actions(p, &[Action::output(OfPort::NORMAL)])
        } else {
            self.tables(p, Some(TableId(0)), true)
        };
        match end {
            Ok(()) | Err(End::Exited | End::Halted) => self.action_set(p),
            Err(End::Aborted) => Err(End::Aborted),
        }
    }

    /// Follows gotos.
    fn tables(&mut self, p: &mut Packet<'w>, mut next: Option<TableId>, miss: bool) -> Step {
        let mut miss = miss;
        while let Some(id) = next.take() {
            let port = p.of_port;
            next = match self.find(p, id, port)? {
                Some((rule, is_miss)) => self.rule(p, &rule, is_miss)?,
                None if !miss => None,
                None => match p.bridge.miss(id) {
                    Miss::Drop => {
                        p.clear_action_set();
                        None
                    }
                    Miss::Continue if id < TableId::MAX => Some(TableId(id.0 + 1)),
                    // Behind the last table there is what 1.0 does.
                    Miss::Continue | Miss::Controller => {
                        p.at = Place {
                            table: id,
                            cookie: u64::MAX,
                            is_miss: true,
                            reason: PacketInReason::default(),
                            ..p.at
                        };
                        self.packet_in(p, PacketInReason::NoMatch, ControllerId(0));
                        p.clear_action_set();
                        None
                    }
                },
            };
            miss = true;
        }
        Ok(())
    }

    /// The instructions of a rule; the table to go to.
    fn rule(
        &mut self,
        p: &mut Packet<'w>,
        rule: &Rule,
        is_miss: bool,
    ) -> Result<Option<TableId>, End> {
        let (table, cookie) = (rule.table, rule.cookie);
        self.out.rules.push((p.bridge.id, table, cookie));
        p.at = Place {
            table,
            cookie,
            is_miss,
            reason: PacketInReason::Action,
            first: p.at.first.or(Some((table, cookie))),
        };
        let Instructions {
            meter: _,
            apply,
            clear,
            write,
            metadata,
            stat_trigger: _,
            goto,
        } = &rule.instructions;
        match self.actions(p, apply) {
            Ok(()) => {}
            Err(End::Halted) => return Ok(None),
            Err(end) => return Err(end),
        }
        if *clear {
            p.action_set.clear();
        }
        p.action_set.write(write);
        p.fields.actset_output = p.action_set.output_port().unwrap_or(OfPort::UNSET).0;
        if let Some(m) = metadata {
            let old = p.fields.metadata.get();
            p.fields.metadata = (old & !m.mask | m.value & m.mask).into();
        }
        Ok(*goto)
    }

    fn action_set(&mut self, p: &mut Packet<'w>) -> Step {
        let set = std::mem::take(&mut p.action_set);
        let actions: Vec<Action> = set.in_order().cloned().collect();
        p.at.reason = PacketInReason::ActionSet;
        if let Some((table, cookie)) = p.at.first {
            (p.at.table, p.at.cookie) = (table, cookie);
        }
        self.actions(p, &actions)
    }

    /// The rule of `table` for the packet, seen as if it had come from `port`.
    fn find(
        &mut self,
        p: &Packet<'w>,
        table: TableId,
        port: OfPort,
    ) -> Result<Option<(Arc<Rule>, bool)>, End> {
        self.resubmits += 1;
        if self.resubmits > MAX_RESUBMITS {
            return Err(End::Aborted);
        }
        let Some(table) = p.bridge.table(table) else {
            return Ok(None);
        };
        let rules = table.read();
        let all: Vec<(Match<PipelineKey>, Arc<Rule>)> = rules
            .select(p.bridge.version, rvs_classifier::Filter::All)
            .map(|r| (Match::new(&r.value(), *r.mask()), r.payload().clone()))
            .collect();
        let key = PipelineKey {
            of_port: port.0,
            ..p.key()
        };
        Ok(lookup::choose(&all, key)
            .map(|(m, rule)| (rule.clone(), rule.priority == 0 && m.is_any())))
    }

    fn actions(&mut self, p: &mut Packet<'w>, actions: &[Action]) -> Step {
        actions.iter().try_for_each(|a| self.action(p, a))
    }

    fn action(&mut self, p: &mut Packet<'w>, action: &Action) -> Step {
        match action {
            Action::Output {
                port: OfPort::TABLE,
                ..
            } => {
                return self.resubmit(p, p.of_port, TableId(0));
            }
            Action::Output { port, .. } => return self.output(p, *port),
            Action::OutputTruncated { port, max_len } => {
                return match *port {
                    OfPort::CONTROLLER => self.output(p, *port),
                    OfPort::IN_PORT => self.send(p, p.of_port, Some(*max_len)),
                    port if port == p.of_port => Ok(()),
                    port => self.send(p, port, Some(*max_len)),
                };
            }
            Action::OutputReg { src, .. } => {
                let number = get(p, *src).map(|v| match src.bits() {
                    ..=16 => OfPort::from_u16(v as u16),
                    _ => OfPort(v as u32),
                });
                return number.map_or(Ok(()), |n| self.output(p, n));
            }
            Action::Enqueue { port, queue } => {
                let mut copy = p.clone();
                copy.priority = output::priority_of(p.bridge, *queue).unwrap_or(p.priority);
                return self.output(&copy, *port);
            }
            Action::SetQueue(queue) => {
                p.priority = output::priority_of(p.bridge, *queue).unwrap_or(p.priority);
            }
            Action::PopQueue => p.priority = 0,
            Action::Controller(what) => {
                self.packet_in(p, what.reason, what.controller);
                if what.pause {
                    return Err(End::Exited);
                }
            }
            Action::Group(id) => return self.group(p, *id),
            Action::Exit => return Err(End::Exited),
            // When the frame comes again, everything is as it was.
            Action::DebugRecirc | Action::DebugSlow => {}
            Action::Push(src) => {
                let v = get(p, *src).unwrap_or(0);
                p.stack.push(v);
            }
            Action::Pop(dst) => {
                if let Some(v) = p.stack.pop() {
                    set(p, *dst, v);
                }
            }
            Action::Clone(list) => return self.apart(p, PacketInReason::Action, list),
            Action::Resubmit { port, table } => {
                let port = port
                    .filter(|of| *of != OfPort::IN_PORT)
                    .unwrap_or(p.of_port);
                return self.resubmit(p, port, table.unwrap_or(p.at.table));
            }
            Action::CheckPktLarger { dst, len } => {
                let larger = p.frame.len() > usize::from(*len);
                set(p, *dst, u128::from(larger));
            }
            Action::DecNwTtl(ids) => {
                let ttl = edit::nw_ttl(p);
                if matches!(ttl, Some(0 | 1)) {
                    return self.expired(p, ids);
                }
                edit::apply(p, action);
            }
            Action::DecMplsTtl => {
                let ttl = edit::mpls_ttl(p);
                if matches!(ttl, Some(0 | 1)) {
                    return self.expired(p, &[]);
                }
                edit::apply(p, action);
            }
            _ => edit::apply(p, action),
        }
        Ok(())
    }

    fn expired(&mut self, p: &mut Packet<'w>, ids: &[ControllerId]) -> Step {
        let settings = &p.bridge.settings;
        if settings.invalid_ttl_to_controller || settings.dummy {
            let default = [ControllerId(0)];
            for id in if ids.is_empty() { &default[..] } else { ids } {
                self.packet_in(p, PacketInReason::InvalidTtl, *id);
            }
        }
        p.action_set.clear();
        Err(End::Halted)
    }

    fn resubmit(&mut self, p: &mut Packet<'w>, port: OfPort, table: TableId) -> Step {
        let anew = table <= p.at.table;
        self.down(anew, |run| {
            let Some((rule, is_miss)) = run.find(p, table, port)? else {
                return Ok(());
            };
            let at = p.at;
            let end = run
                .rule(p, &rule, is_miss)
                .and_then(|next| run.tables(p, next, true));
            p.at = at;
            end
        })
    }

    /// Runs something on a copy, of which nothing comes back.
    fn apart(&mut self, p: &Packet<'w>, reason: PacketInReason, list: &[Action]) -> Step {
        let mut copy = p.clone();
        copy.action_set.clear();
        if reason == PacketInReason::Group {
            copy.at.reason = reason;
        }
        match self.down(true, |run| run.actions(&mut copy, list)) {
            Err(End::Aborted) => Err(End::Aborted),
            _ => Ok(()),
        }
    }

    /// `anew` unless it leads to a later table.
    fn down(&mut self, anew: bool, f: impl FnOnce(&mut Self) -> Step) -> Step {
        if self.depth >= MAX_DEPTH || self.nested >= MAX_NESTED {
            return Err(End::Aborted);
        }
        (self.depth, self.nested) = (self.depth + u16::from(anew), self.nested + 1);
        let end = f(self);
        (self.depth, self.nested) = (self.depth - u16::from(anew), self.nested - 1);
        end
    }

    fn group(&mut self, p: &Packet<'w>, id: GroupId) -> Step {
        let Some(entry) = p.bridge.groups.get(id) else {
            return Ok(());
        };
        self.resubmits += 1;
        if self.resubmits > MAX_RESUBMITS {
            return Err(End::Aborted);
        }
        let buckets = &entry.group.buckets;
        let chosen: Vec<&Bucket> = match entry.group.kind {
            GroupKind::All => buckets.iter().collect(),
            GroupKind::Indirect => buckets.iter().take(1).collect(),
            GroupKind::FastFailover => buckets
                .iter()
                .filter(|b| live(p.bridge, b, &mut BTreeSet::new()))
                .take(1)
                .collect(),
            // Which bucket a hash selects is not the interpreter's to know: with one candidate there is no choice.
            GroupKind::Select => buckets
                .iter()
                .filter(|b| b.weight > 0 && live(p.bridge, b, &mut BTreeSet::new()))
                .take(1)
                .collect(),
        };
        for bucket in chosen {
            let mut set = ActionSet::default();
            set.write(&bucket.actions);
            let actions: Vec<Action> = set.in_order().cloned().collect();
            self.apart(p, PacketInReason::Group, &actions)?;
        }
        Ok(())
    }

    fn output(&mut self, p: &Packet<'w>, port: OfPort) -> Step {
        match port {
            OfPort::NORMAL => normal::normal(self, p),
            OfPort::IN_PORT => self.send(p, p.of_port, None),
            OfPort::ALL | OfPort::FLOOD => {
                for to in p.bridge.ports.iter() {
                    let skip = port == OfPort::FLOOD && to.config.no_flood;
                    if to.of != p.of_port && !skip {
                        self.send(p, to.of, None)?;
                    }
                }
                Ok(())
            }
            OfPort::CONTROLLER => {
                let reason = if p.at.is_miss {
                    PacketInReason::NoMatch
                } else {
                    p.at.reason
                };
                self.packet_in(p, reason, ControllerId(0));
                Ok(())
            }
            OfPort::ANY | OfPort::UNSET | OfPort::TABLE => Ok(()),
            _ if port == p.of_port => Ok(()),
            _ => self.send(p, port, None),
        }
    }

    fn packet_in(&mut self, p: &Packet<'w>, reason: PacketInReason, controller: ControllerId) {
        let port = p.bridge.ports.get(p.of_port);
        if p.at.is_miss && port.is_some_and(|port| port.config.no_packet_in) {
            return;
        }
        self.out.packet_ins.push(PacketIn {
            bridge: p.bridge.id,
            reason,
            cookie: p.at.cookie,
            controller,
            frame: p.frame.bytes().to_vec(),
        });
    }
}

/// `seen`: groups that were asked already; those of them that are live have said so.
fn live(bridge: &Bridge, bucket: &Bucket, seen: &mut BTreeSet<GroupId>) -> bool {
    let watched_port = bucket.watch_port.map(|of| {
        bridge
            .ports
            .get(of)
            .is_some_and(|p| p.live && !p.config.down)
    });
    let watched_group = bucket.watch_group.map(|id| {
        let buckets = bridge.groups.get(id).map(|e| &e.group.buckets);
        seen.len() < MAX_WATCHED
            && seen.insert(id)
            && buckets.is_some_and(|all| all.iter().any(|b| live(bridge, b, seen)))
    });
    match (watched_port, watched_group) {
        (None, None) => true,
        (a, b) => a == Some(true) || b == Some(true),
    }
}

/// A sub-field of the packet; `None` when it has none such.
fn get(p: &Packet<'_>, sub: SubField) -> Option<u128> {
    let key = p.key();
    sub.field().exists_in(&key).then(|| sub.get(&key))
}

fn set(p: &mut Packet<'_>, sub: SubField, value: u128) {
    edit::set_field(p, sub.id(), (value << sub.ofs()) & sub.mask(), sub.mask());
}

/// True when the packet has the field.
fn has(p: &Packet<'_>, id: FieldId) -> bool {
    Field::of(id).exists_in(&p.key())
}
