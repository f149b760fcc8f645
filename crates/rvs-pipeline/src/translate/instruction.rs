//! Tables: looking a rule up, doing what it says, going on.

use std::sync::Arc;

use rvs_classifier::{Classifier, RuleRef, Version};
use rvs_dpif::DropReason;
use rvs_flow::{Mask, OfPort, PipelineKey};
use rvs_openflow::{Action, Instructions, PacketInReason, TableId};

use super::ctx::{Ctx, Unparsed};
use super::limits::MAX_RESUBMITS;
use crate::bridge::Miss;
use crate::table::{Rule, Table};
use crate::trace::{Trace, TraceEvent};
use crate::translation::{push, CachedEffect, TableDep};

/// What a lookup found.
struct Found {
    rule: Arc<Rule>,
    /// Priority 0, matching everything.
    is_miss: bool,
    /// Rules below this priority had no say.
    level: u16,
}

type Rules = Classifier<PipelineKey, Arc<Rule>>;

/// Words of the key, as bits of [`TableDep::rewritten`], that a lookup itself may write.
const OF_PORT_WORD: u32 = 1 << (std::mem::offset_of!(PipelineKey, of_port) / 8);
const CONJ_ID_WORD: u32 = 1 << (std::mem::offset_of!(PipelineKey, conj_id) / 8);

impl<T: Trace> Ctx<'_, '_, T> {
    /// Sends the packet through the tables from `first` on and executes the action set at the end.
    pub(super) fn run_tables(&mut self, first: TableId) {
        if self.at.bridge.is_some_and(|b| b.settings.fail_open) {
            return self.run_actions(&[Action::output(OfPort::NORMAL)]);
        }
        self.go_on(Some(first));
        self.run_action_set();
    }

    /// Looks the packet up in `table` on behalf of a resubmit: a miss does nothing, and what the rule does counts as done
    /// here. The action set goes on.
    pub(super) fn resubmit_to(&mut self, table: TableId) {
        if self.is_deepest() {
            return self.abort(DropReason::TooDeep);
        }
        let anew = table <= self.at.table;
        let Some(found) = self.lookup(table) else {
            return;
        };
        let place = self.at.clone();
        self.descend(anew);
        let next = self.run_rule(found);
        self.go_on(next);
        self.ascend(anew);
        self.at = place;
    }

    /// Follows gotos.
    pub(super) fn go_on(&mut self, mut next: Option<TableId>) {
        while let Some(table) = next.take() {
            if self.stopped() {
                return;
            }
            if self.unparsed != Unparsed::Nothing {
                return self.freeze_before_table(table);
            }
            next = match self.lookup(table) {
                Some(found) => self.run_rule(found),
                None if self.stopped() => None,
                None => match self.miss(table) {
                    Miss::Continue => following(table),
                    Miss::Drop | Miss::Controller => {
                        // The packet ends here, and what was to become of it (OpenFlow 1.3.5 section 5.4).
                        self.clear_action_set();
                        None
                    }
                },
            };
        }
    }

    /// Does what a rule says; returns the table to go on with.
    fn run_rule(&mut self, found: Found) -> Option<TableId> {
        let rule = found.rule;
        self.at.rule = Some(rule.clone());
        self.at.cookie = rule.cookie;
        self.at.table = rule.table;
        self.at.first.get_or_insert((rule.table, rule.cookie));
        self.at.reason = if found.is_miss {
            PacketInReason::NoMatch
        } else {
            PacketInReason::Action
        };
        if rule.instructions == Instructions::default() && self.action_set.is_empty() {
            self.note(|| TraceEvent::Drop(DropReason::Action));
        }
        self.run_instructions(&rule.instructions)
    }

    /// The instructions in the order of the specification.
    pub(super) fn run_instructions(&mut self, what: &Instructions) -> Option<TableId> {
        if let Some(meter) = what.meter {
            self.note_instruction(|i| i.meter = what.meter);
            self.meter(meter);
        }
        self.run_actions(&what.apply);
        if self.freeze.is_some() {
            self.left_instructions(Instructions {
                meter: None,
                apply: Box::new([]),
                stat_trigger: None,
                ..what.clone()
            });
            return None;
        }
        if std::mem::take(&mut self.halted) || self.exit {
            return None;
        }
        if what.clear {
            self.note_instruction(|i| i.clear = true);
            self.note_set(TraceEvent::ActionSetWas);
            self.clear_action_set();
        }
        if !what.write.is_empty() {
            self.note_instruction(|i| i.write = what.write.clone());
            self.action_set.write(&what.write);
            self.note_set(TraceEvent::ActionSetIs);
            self.key.actset_output = self.action_set.output_port().unwrap_or(OfPort::UNSET).0;
        }
        if let Some(m) = &what.metadata {
            self.note_instruction(|i| i.metadata = what.metadata.clone());
            let old = self.key.metadata.get();
            self.key.metadata = (old & !m.mask | m.value & m.mask).into();
            let mut mask = Mask::<PipelineKey>::none();
            mask.0.metadata = m.mask.into();
            self.forget(&mask);
        }
        if what.stat_trigger.is_some() {
            self.note_instruction(|i| i.stat_trigger = what.stat_trigger.clone());
        }
        what.goto
    }

    fn clear_action_set(&mut self) {
        self.action_set.clear();
        self.key.actset_output = OfPort::UNSET.0;
    }

    /// For a trace: an instruction, set by `with` in none.
    fn note_instruction(&mut self, with: impl FnOnce(&mut Instructions)) {
        self.note(|| {
            let mut alone = Instructions::default();
            with(&mut alone);
            TraceEvent::Instruction(Box::new(alone))
        });
    }

    /// Executes the action set and empties it. `exit` does not keep it from running.
    pub(super) fn run_action_set(&mut self) {
        if self.aborted || self.freeze.is_some() {
            return;
        }
        let set = std::mem::take(&mut self.action_set);
        if set.is_empty() {
            return;
        }
        self.exit = false;
        self.note(|| TraceEvent::ActionSet);
        let actions: Vec<Action> = set.in_order().cloned().collect();
        if let Some(first) = self.at.first {
            (self.at.table, self.at.cookie) = first;
        }
        self.at.become_part(PacketInReason::ActionSet);
        self.in_set = true;
        self.run_actions(&actions);
        self.in_set = false;
        self.halted = false;
    }

    /// The rule that matches, with everything that finding it rests on.
    fn lookup(&mut self, id: TableId) -> Option<Found> {
        let bridge = self.at.bridge?;
        self.resubmits += 1;
        if self.resubmits > MAX_RESUBMITS {
            self.abort(DropReason::TooManyResubmits);
            return None;
        }
        let rewritten = self.rewritten_words();
        let mut dep = TableDep {
            bridge: bridge.id,
            table: id,
            priority: None,
            rewritten,
        };
        let mut key = self.key;
        if let Some(port) = self.lookup_port.take() {
            key.of_port = port.0;
            dep.rewritten |= OF_PORT_WORD;
        }
        let table = bridge.table(id).cloned();
        let found = table
            .as_ref()
            .and_then(|t| self.ask(t, bridge.version, key, &mut dep));
        push(&mut self.deps.tables, dep);
        match (&found, table) {
            (Some(found), Some(table)) => {
                let (bridge, rule) = (bridge.id, found.rule.clone());
                self.effects.push(CachedEffect::TableHit {
                    bridge,
                    table,
                    rule,
                });
            }
            (_, table) => {
                self.effects.push(CachedEffect::TableMiss {
                    bridge: bridge.id,
                    id,
                    table,
                    unused: bridge.unused.clone(),
                });
                self.at.table = id;
                self.note(|| TraceEvent::Miss { table: id });
            }
        }
        found
    }

    /// Asks one table, at a version of its bridge.
    fn ask(
        &mut self,
        table: &Table,
        version: u64,
        mut key: PipelineKey,
        dep: &mut TableDep,
    ) -> Option<Found> {
        let mut wc = Mask::none();
        let rules = table.read();
        let found = if table.has_clauses() {
            dep.rewritten |= CONJ_ID_WORD;
            conjunctive(&rules, version, &mut key, &mut wc)
        } else {
            rules
                .lookup(version, &key, &mut wc)
                .map(|r| (r, r.payload().priority))
        };
        let found = found.map(|(r, level)| {
            let rule = r.payload().clone();
            self.note(|| TraceEvent::Rule {
                table: table.id,
                priority: rule.priority,
                cookie: rule.cookie,
                matching: Box::new(rvs_flow::Match::new(&r.value(), *r.mask())),
            });
            let is_miss = rule.priority == 0 && r.mask().is_none();
            Found {
                rule,
                is_miss,
                level,
            }
        });
        drop(rules);
        self.see_mask(&wc);
        dep.priority = found.as_ref().map(|f| f.level);
        found
    }

    /// What a miss in `table` does: the packet-in is made here. To continue behind the last table is to miss as 1.0 does.
    fn miss(&mut self, table: TableId) -> Miss {
        let Some(bridge) = self.at.bridge else {
            return Miss::Drop;
        };
        let miss = match bridge.miss(table) {
            Miss::Continue if following(table).is_none() => Miss::Controller,
            miss => miss,
        };
        match miss {
            Miss::Drop => self.drop_with(DropReason::NoRule),
            Miss::Controller => {
                self.at.rule = None;
                self.at.cookie = u64::MAX;
                self.at.reason = PacketInReason::Action;
                self.missed();
            }
            Miss::Continue => {}
        }
        miss
    }
}

/// A lookup in a table with conjunctions: from the highest priority down, the first level that has a plain rule, or all the
/// clauses of a conjunction *and* a plain rule for its id. With the rule, the lowest priority that had a say.
fn conjunctive<'a>(
    rules: &'a Rules,
    version: Version,
    key: &mut PipelineKey,
    wc: &mut Mask<PipelineKey>,
) -> Option<(RuleRef<'a, PipelineKey, Arc<Rule>>, u16)> {
    let mut limit = i32::MAX;
    let mut matching = Vec::new();
    loop {
        let level = rules.lookup_level(version, key, limit, wc, &mut matching)?;
        let at = u16::try_from(level).unwrap_or(0);
        if let Some(plain) = best_plain(&matching) {
            return Some((plain, at));
        }
        for id in complete(&matching) {
            key.conj_id = id;
            if let Some((r, priority)) = plain_lookup(rules, version, key, wc) {
                return Some((r, at.min(priority)));
            }
        }
        key.conj_id = 0;
        limit = level.checked_sub(1)?;
    }
}

/// The best rule that is not just a clause.
fn plain_lookup<'a>(
    rules: &'a Rules,
    version: Version,
    key: &PipelineKey,
    wc: &mut Mask<PipelineKey>,
) -> Option<(RuleRef<'a, PipelineKey, Arc<Rule>>, u16)> {
    let mut limit = i32::MAX;
    let mut matching = Vec::new();
    loop {
        let level = rules.lookup_level(version, key, limit, wc, &mut matching)?;
        if let Some(plain) = best_plain(&matching) {
            return Some((plain, u16::try_from(level).unwrap_or(0)));
        }
        limit = level.checked_sub(1)?;
    }
}

/// Of rules of one priority the most specific plain one.
fn best_plain<'a>(
    matching: &[RuleRef<'a, PipelineKey, Arc<Rule>>],
) -> Option<RuleRef<'a, PipelineKey, Arc<Rule>>> {
    let plain = matching.iter().filter(|r| !r.payload().is_clause());
    plain
        .max_by(|a, b| rvs_classifier::layout::specificity(a.mask(), b.mask()))
        .copied()
}

/// Ids of the conjunctions all of whose clauses match, ascending.
fn complete(matching: &[RuleRef<'_, PipelineKey, Arc<Rule>>]) -> Vec<u32> {
    let mut seen: Vec<(u32, u8, u64)> = Vec::new();
    let actions = matching
        .iter()
        .flat_map(|r| r.payload().instructions.apply.iter());
    for action in actions {
        let Action::Conjunction {
            id,
            clause,
            n_clauses,
        } = action
        else {
            continue;
        };
        let bit = 1u64.checked_shl(u32::from(*clause)).unwrap_or(0);
        match seen.iter_mut().find(|(i, n, _)| i == id && n == n_clauses) {
            Some((.., bits)) => *bits |= bit,
            None => seen.push((*id, *n_clauses, bit)),
        }
    }
    let all = |n: u8| u64::MAX.checked_shr(64 - u32::from(n.min(64))).unwrap_or(0);
    let mut ids: Vec<u32> = seen
        .iter()
        .filter(|(_, n, bits)| *n > 0 && *bits == all(*n))
        .map(|(id, ..)| *id)
        .collect();
    ids.sort_unstable();
    ids
}

/// The next table that may hold flows.
fn following(table: TableId) -> Option<TableId> {
    (table < TableId::MAX).then(|| TableId(table.0 + 1))
}
