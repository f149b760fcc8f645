//! The state against a list of flows that does what the specification's text says, one flow after the other.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use rvs_flow::OfPort;
use rvs_openflow::message::{FlowFlags, FlowMod, FlowStats};
use rvs_openflow::{Action, CookieMask, FlowMatch, GroupId, Instructions, TableId};

use super::*;
use crate::testing::matching;

/// A flow of the naive switch.
#[derive(Clone, Debug, PartialEq)]
struct Flow {
    table: TableId,
    priority: u16,
    matching: FlowMatch,
    cookie: u64,
    idle: u16,
    hard: u16,
    importance: u16,
    flags: FlowFlags,
    created: Now,
    modified: Now,
    used: Now,
    /// It took another's place.
    replaces: bool,
    packets: u64,
    instructions: Instructions,
}

/// A naive switch: its flows, groups, limit, and whom it told of what.
#[derive(Clone, Debug)]
struct Model {
    flows: Vec<Flow>,
    groups: BTreeSet<u32>,
    limit: usize,
    removed: Vec<(FlowRemovedReason, String, u64)>,
}

/// One thing that a controller, packets or time do.
#[derive(Clone, Debug)]
enum Op {
    Flow(Box<FlowMod>),
    AddGroup(u32),
    DelGroup(u32),
}

#[derive(Clone, Debug)]
enum Deed {
    /// Several operations at once, or one.
    Bundle(Vec<Op>),
    /// That flow of the list, if there are so many, sees packets.
    Hit(usize, u64),
    Pass(u64),
    Tidy,
}

impl Model {
    fn apply(&mut self, ops: &[Op], now: Now) -> Result<(), (usize, ErrorCode)> {
        let mut next = self.clone();
        for (i, op) in ops.iter().enumerate() {
            match op {
                Op::Flow(m) => next.flow_mod(m, now),
                Op::AddGroup(g) if !next.groups.insert(*g) => Err(ErrorCode::GmfcGroupExists),
                Op::AddGroup(_) => Ok(()),
                Op::DelGroup(g) => {
                    next.groups.remove(g);
                    let uses = |f: &Flow| mentions(&f.instructions, &Action::Group(GroupId(*g)));
                    next.remove(uses, FlowRemovedReason::GroupDelete);
                    Ok(())
                }
            }
            .map_err(|e| (i, e))?;
        }
        *self = next;
        Ok(())
    }

    fn remove(&mut self, which: impl Fn(&Flow) -> bool, why: FlowRemovedReason) {
        let (gone, stay) = self.flows.drain(..).partition(|f| which(f));
        self.flows = stay;
        for f in gone {
            self.tell(&f, why);
        }
    }

    fn tell(&mut self, f: &Flow, why: FlowRemovedReason) {
        if f.flags.has(FlowFlags::SEND_FLOW_REM) {
            let name = format!("{} {} {:?}", f.table.0, f.priority, f.matching);
            self.removed.push((why, name, f.packets));
        }
    }

    /// OpenFlow 1.3.5 section 6.4, and what 1.0 and 1.1 do otherwise.
    fn flow_mod(&mut self, m: &FlowMod, now: Now) -> Result<(), ErrorCode> {
        if m.table.0 == 254 {
            return Err(ErrorCode::FmfcBadTableId);
        }
        if !m.command.is_delete() {
            for a in m.instructions.apply.iter().chain(&m.instructions.write) {
                if let Action::Group(g) = a {
                    if !self.groups.contains(&g.0) {
                        return Err(ErrorCode::BacBadOutGroup);
                    }
                }
            }
        }
        let strict = matches!(
            m.command,
            FlowCommand::ModifyStrict | FlowCommand::DeleteStrict
        );
        let m_ = m.clone();
        let meant = move |f: &Flow| {
            let same = f.matching == m_.matching && f.priority == m_.priority;
            let wider = f.matching.is_more_specific(&m_.matching);
            let cookie = f.cookie & m_.cookie.mask == m_.cookie.value & m_.cookie.mask;
            let table = m_.table == TableId::ALL || f.table == m_.table;
            let out = !m_.command.is_delete()
                || m_.out_port == OfPort::ANY
                || outputs(&f.instructions, m_.out_port);
            let group = !m_.command.is_delete()
                || m_.out_group == GroupId::ANY
                || mentions(&f.instructions, &Action::Group(m_.out_group));
            (if strict { same } else { wider }) && cookie && table && out && group
        };
        match m.command {
            FlowCommand::Add => self.add(m, now),
            FlowCommand::Delete | FlowCommand::DeleteStrict => {
                self.remove(meant, FlowRemovedReason::Delete);
                Ok(())
            }
            FlowCommand::Modify | FlowCommand::ModifyStrict => {
                let mut any = false;
                for f in self.flows.iter_mut().filter(|f| meant(f)) {
                    if m.instructions.goto.is_some_and(|t| t <= f.table) {
                        return Err(ErrorCode::BicBadTableId);
                    }
                    any = true;
                    f.instructions = m.instructions.clone();
                    f.modified = now;
                    if m.modify_cookie {
                        f.cookie = m.new_cookie.unwrap();
                    }
                    if m.flags.has(FlowFlags::RESET_COUNTS) {
                        f.packets = 0;
                    }
                }
                let adds = m.cookie.mask == 0 && m.new_cookie.is_some_and(|c| c != u64::MAX);
                if any || !adds {
                    return Ok(());
                }
                self.add(m, now)
            }
        }
    }

    fn add(&mut self, m: &FlowMod, now: Now) -> Result<(), ErrorCode> {
        let table = if m.table == TableId::ALL {
            TableId(0)
        } else {
            m.table
        };
        if m.instructions.goto.is_some_and(|t| t <= table) {
            return Err(ErrorCode::BicBadTableId);
        }
        let here = |f: &&Flow| f.table == table && f.priority == m.priority;
        let overlap = self.flows.iter().filter(here);
        if m.flags.has(FlowFlags::CHECK_OVERLAP)
            && overlap.clone().any(|f| f.matching.overlaps(&m.matching))
        {
            return Err(ErrorCode::FmfcOverlap);
        }
        let twin = |f: &Flow| here(&f) && f.matching == m.matching;
        let old = self
            .flows
            .iter()
            .position(twin)
            .map(|i| self.flows.remove(i));
        if old.is_none() && self.flows.len() >= self.limit {
            return Err(ErrorCode::FmfcTableFull);
        }
        let (used, replaces) = (old.as_ref().map_or(Now::ZERO, |o| o.used), old.is_some());
        let kept = old.filter(|_| !m.flags.has(FlowFlags::RESET_COUNTS));
        self.flows.push(Flow {
            table,
            priority: m.priority,
            matching: m.matching,
            cookie: m.new_cookie.unwrap_or(0),
            idle: m.idle_timeout,
            hard: m.hard_timeout,
            importance: m.importance,
            flags: m.flags,
            created: now,
            modified: now,
            used,
            replaces,
            packets: kept.map_or(0, |k| k.packets),
            instructions: m.instructions.clone(),
        });
        Ok(())
    }

    fn expire(&mut self, now: Now) {
        let after = |t: Now, s: u16| t + Duration::from_secs(s.into());
        let idle = |f: &Flow| (f.idle > 0).then(|| after(f.created.max(f.used), f.idle));
        let hard = |f: &Flow| (f.hard > 0).then(|| after(f.modified, f.hard));
        // Whichever came first is the reason.
        let idle_first =
            move |f: &Flow| idle(f).is_some_and(|i| i <= now && hard(f).is_none_or(|h| i < h));
        self.remove(idle_first, FlowRemovedReason::IdleTimeout);
        let hard = move |f: &Flow| hard(f).is_some_and(|h| h <= now);
        self.remove(hard, FlowRemovedReason::HardTimeout);
    }

    fn dump(&self, lab: &Lab) -> Vec<String> {
        let age = |t: Now| Some(lab.now.since(t).as_secs() as u32);
        let flow = |f: &Flow| FlowStats {
            table: f.table,
            matching: f.matching,
            priority: f.priority,
            cookie: f.cookie,
            duration_sec: lab.now.since(f.created).as_secs() as u32,
            duration_nsec: lab.now.since(f.created).subsec_nanos(),
            idle_timeout: f.idle,
            hard_timeout: f.hard,
            idle_age: age(match f.used {
                used if f.replaces && used != Now::ZERO => used,
                used => f.created.max(used),
            }),
            hard_age: age(f.modified),
            triggered: false,
            flags: f.flags,
            importance: f.importance,
            packets: f.packets,
            bytes: f.packets * 60,
            instructions: f.instructions.clone(),
        };
        let flows = self.flows.iter().map(flow);
        let mut all: Vec<_> = flows
            .map(|f| lab.words().flow(&f, true).to_string())
            .collect();
        all.sort();
        all
    }
}

fn mentions(i: &Instructions, a: &Action) -> bool {
    i.apply.contains(a) || i.write.contains(a)
}

fn outputs(i: &Instructions, to: OfPort) -> bool {
    let is = |a: &Action| match a {
        Action::Output { port, .. } | Action::Enqueue { port, .. } => *port == to,
        _ => false,
    };
    i.apply.iter().any(is) || i.write.iter().any(is)
}

const MATCHES: [&str; 12] = [
    "",
    "in_port=1",
    "in_port=2",
    "ip",
    "ip,nw_dst=10.0.0.0/8",
    "ip,nw_dst=10.1.0.0/16",
    "ip,nw_dst=10.1.1.1",
    "tcp,tp_dst=80",
    "in_port=1,ip",
    "arp",
    "ip,nw_src=1.0.0.0/8",
    "tcp,nw_dst=10.1.1.1",
];

fn instructions() -> impl Strategy<Value = Instructions> {
    let action = prop_oneof![
        4 => (1u32..4).prop_map(|p| Action::output(OfPort(p))),
        1 => Just(Action::output(OfPort::CONTROLLER)),
        1 => Just(Action::Group(GroupId(1))),
        1 => Just(Action::Group(GroupId(2))),
    ];
    (
        prop::collection::vec(action, 0..3),
        prop::option::weighted(0.2, 1u8..4),
    )
        .prop_map(|(apply, goto)| Instructions {
            apply: apply.into(),
            goto: goto.map(TableId),
            ..Instructions::default()
        })
}

fn flow_mod() -> impl Strategy<Value = FlowMod> {
    use FlowCommand as C;
    let command = prop_oneof![
        5 => Just(C::Add),
        1 => Just(C::Modify),
        1 => Just(C::ModifyStrict),
        1 => Just(C::Delete),
        1 => Just(C::DeleteStrict),
    ];
    let cookie = prop_oneof![Just(0u64), Just(1), Just(0x10), Just(0x11), Just(u64::MAX)];
    let mask = prop_oneof![3 => Just(0u64), 1 => Just(1), 1 => Just(0x10), 1 => Just(u64::MAX)];
    let table = prop_oneof![4 => Just(0u8), 2 => Just(2u8), 1 => Just(255u8), 1 => Just(254u8)];
    let flags = prop_oneof![3 => Just(0u16), 1 => 0u16..32];
    (
        (command, table, prop::sample::select(&MATCHES[..])),
        (
            prop::sample::select(&[1u16, 2, 0x8000][..]),
            cookie.clone(),
            cookie,
            mask,
        ),
        (0u16..4, 0u16..4, 0u16..3, flags),
        (
            prop_oneof![3 => Just(OfPort::ANY), 1 => (1u32..3).prop_map(OfPort)],
            prop_oneof![3 => Just(GroupId::ANY), 1 => Just(GroupId(1))],
        ),
        instructions(),
    )
        .prop_map(
            |(
                (command, table, text),
                (priority, new, cookie, mask),
                (idle, hard, importance, flags),
                (out_port, out_group),
                instructions,
            )| {
                let mut m = FlowMod::new(command, matching(text));
                m.table = TableId(table);
                m.priority = priority;
                m.cookie = CookieMask {
                    value: cookie & mask,
                    mask,
                };
                m.new_cookie = (!command.is_delete()).then_some(new);
                if command == C::Add {
                    m.cookie = CookieMask::default();
                }
                m.modify_cookie = new != u64::MAX;
                (m.idle_timeout, m.hard_timeout, m.importance) = (idle, hard, importance);
                m.flags = FlowFlags(flags);
                if command.is_delete() {
                    (m.out_port, m.out_group) = (out_port, out_group);
                } else {
                    m.instructions = instructions;
                }
                m
            },
        )
}

fn deed() -> impl Strategy<Value = Deed> {
    let op = || {
        prop_oneof![
            10 => flow_mod().prop_map(|m| Op::Flow(Box::new(m))),
            1 => (1u32..3).prop_map(Op::AddGroup),
            1 => (1u32..3).prop_map(Op::DelGroup),
        ]
    };
    prop_oneof![
        6 => op().prop_map(|o| Deed::Bundle(vec![o])),
        3 => prop::collection::vec(op(), 2..7).prop_map(Deed::Bundle),
        3 => (0usize..8, 1u64..5).prop_map(|(i, n)| Deed::Hit(i, n)),
        3 => prop_oneof![Just(1u64), Just(999), Just(1000), 1u64..4000].prop_map(Deed::Pass),
        1 => Just(Deed::Tidy),
    ]
}

/// The operation as it arrives in that version; `None` when it can't be said or is refused on arrival.
fn arrives(lab: &Lab, op: &Op) -> Option<(Op, Mod)> {
    match op {
        Op::Flow(m) => {
            let mut m = m.clone();
            // What the version has no words for.
            if lab.version < Version::Of14 {
                m.importance = 0;
            }
            if lab.version == Version::Of10 {
                m.out_group = GroupId::ANY;
                m.instructions.goto = None;
            } else {
                m.modify_cookie = false;
            }
            m.flags.0 &= match lab.version {
                Version::Of10 | Version::Of11 => 3,
                Version::Of12 => 7,
                _ => 0x1f,
            };
            let Ok(Message::FlowMod(m)) = lab.travel(Message::FlowMod(m)) else {
                return None;
            };
            Some((Op::Flow(m.clone()), Mod::Flow(m)))
        }
        Op::AddGroup(g) => {
            let line = format!("add-group group_id={g},type=all,bucket=actions=output:1");
            Some((op.clone(), lab.parse(&line).unwrap()))
        }
        Op::DelGroup(g) => {
            let line = format!("del-group group_id={g}");
            Some((op.clone(), lab.parse(&line).unwrap()))
        }
    }
}

fn check(version: Version, deeds: &[Deed], limit: usize) -> Result<(), TestCaseError> {
    let limits = Limits {
        flows: limit,
        ..Limits::default()
    };
    let mut lab = Lab::with_limits(version, limits);
    let mut model = Model {
        flows: Vec::new(),
        groups: BTreeSet::new(),
        limit,
        removed: Vec::new(),
    };
    for deed in deeds {
        match deed {
            Deed::Bundle(ops) => {
                let (ops, mods): (Vec<_>, Vec<_>) =
                    ops.iter().filter_map(|o| arrives(&lab, o)).unzip();
                let before = (lab.dump_of(FlowSelect::all(), true), lab.plant.up().version);
                let author = lab.author();
                let got = lab.state.apply(lab.now, &author, mods, &mut lab.plant);
                let got = got.map_err(|(i, e)| (i, e.code));
                prop_assert_eq!(got, model.apply(&ops, lab.now), "{:?}", ops);
                if got.is_err() {
                    let after = (lab.dump_of(FlowSelect::all(), true), lab.plant.up().version);
                    prop_assert_eq!(before, after);
                }
            }
            Deed::Hit(i, n) => {
                let Some(f) = model.flows.get_mut(*i) else {
                    continue;
                };
                f.packets += n;
                f.used = lab.now;
                let bridge = lab.plant.up().clone();
                let rules = bridge.table(f.table).unwrap().read();
                let found = crate::state::select::find(
                    &rules,
                    lab.plant.up().version,
                    &f.matching,
                    f.priority,
                );
                found.unwrap().payload().counters.count(*n, n * 60, lab.now);
            }
            Deed::Pass(ms) => {
                lab.pass(*ms);
                lab.expire();
                model.expire(lab.now);
            }
            Deed::Tidy => while lab.state.tidy(&lab.plant) {},
        }
        prop_assert_eq!(lab.dump_of(FlowSelect::all(), true), model.dump(&lab));
        prop_assert_eq!(lab.state.index.flows, model.flows.len());
        let mut told: Vec<_> = Vec::new();
        for e in lab.state.take_events() {
            if let Event::FlowRemoved(f) = e {
                let name = format!("{} {} {:?}", f.table.unwrap().0, f.priority, f.matching);
                told.push((f.reason, name, f.packets));
            }
        }
        let key = |t: &(FlowRemovedReason, String, u64)| (t.1.clone(), t.0 as u8, t.2);
        told.sort_by_key(key);
        model.removed.sort_by_key(key);
        prop_assert_eq!(told, std::mem::take(&mut model.removed));
    }
    // A timeout lies ahead exactly when a flow has one.
    let timed = model.flows.iter().any(|f| f.idle != 0 || f.hard != 0);
    prop_assert_eq!(lab.state.next_expiry().is_some(), timed);
    Ok(())
}

/// The random lives meet every outcome, or they would judge nothing.
#[test]
fn random_lives_are_eventful() {
    let mut runner = prop::test_runner::TestRunner::deterministic();
    let mut outcomes = BTreeSet::new();
    let mut removed = BTreeSet::new();
    for version in Version::ALL.into_iter().cycle().take(150) {
        let deeds = prop::collection::vec(deed(), 40)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let mut lab = Lab::new(version);
        let mut model = Model {
            flows: Vec::new(),
            groups: BTreeSet::new(),
            limit: 4,
            removed: Vec::new(),
        };
        for deed in deeds {
            match deed {
                Deed::Bundle(ops) => {
                    let arrived = ops.iter().filter_map(|o| arrives(&lab, o));
                    let ops: Vec<_> = arrived.map(|(op, _)| op).collect();
                    let result = model.apply(&ops, lab.now);
                    outcomes.insert((ops.len() > 1, result.map_err(|(_, e)| e)));
                }
                Deed::Pass(ms) => {
                    lab.pass(ms);
                    model.expire(lab.now);
                }
                _ => {}
            }
        }
        removed.extend(model.removed.iter().map(|(why, _, _)| *why as u8));
    }
    for error in [
        ErrorCode::FmfcOverlap,
        ErrorCode::FmfcTableFull,
        ErrorCode::FmfcBadTableId,
        ErrorCode::BacBadOutGroup,
        ErrorCode::GmfcGroupExists,
    ] {
        assert!(outcomes.contains(&(true, Err(error))), "{error}");
        assert!(outcomes.contains(&(false, Err(error))), "{error}");
    }
    assert!(outcomes.contains(&(true, Ok(()))));
    assert_eq!(removed, [0, 1, 2, 3].into());
}

proptest! {
    #[test]
    fn a_random_life_goes_as_the_specification_says(
        version in prop::sample::select(&Version::ALL[..]),
        deeds in prop::collection::vec(deed(), 1..40),
        limit in prop_oneof![Just(3usize), Just(6), Just(1000)],
    ) {
        check(version, &deeds, limit)?;
    }
}
