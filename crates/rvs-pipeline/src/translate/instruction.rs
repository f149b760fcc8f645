//! Tables: looking a rule up, doing what it says, going on.

use std::sync::Arc;

use rvs_dpif::DropReason;
use rvs_flow::{Mask, OfPort, PipelineKey};
use rvs_openflow::{Instructions, PacketInReason, TableId};

use super::ctx::Ctx;
use super::limits::{MAX_DEPTH, MAX_RESUBMITS};
use crate::bridge::Miss;
use crate::table::Rule;
use crate::trace::{Trace, TraceEvent};
use crate::translation::{push, CachedEffect, TableDep};

/// What a lookup found.
struct Found {
    rule: Arc<Rule>,
    /// Priority 0, matching everything.
    is_miss: bool,
}

impl<T: Trace> Ctx<'_, '_, T> {
    /// Sends the packet through the tables from `first` on and executes the action set at the end.
    pub(super) fn run_tables(&mut self, first: TableId) {
        let mut next = Some(first);
        while let Some(table) = next.take() {
            if self.exit {
                return;
            }
            next = match self.lookup(table) {
                Some(found) => self.run_rule(found),
                None => match self.miss(table) {
                    Miss::Continue => following(table),
                    Miss::Drop | Miss::Controller => return,
                },
            };
        }
        if !self.exit {
            self.run_action_set();
        }
    }

    /// Looks the packet up in `table` on behalf of a resubmit: a miss does nothing, and what the rule does counts as done
    /// here. The action set goes on.
    pub(super) fn resubmit_to(&mut self, table: TableId) {
        if self.depth >= MAX_DEPTH {
            return self.abort(DropReason::TooDeep);
        }
        let Some(found) = self.lookup(table) else {
            return;
        };
        let place = self.at.clone();
        self.depth += 1;
        let mut next = self.run_rule(found);
        while let Some(table) = next.take() {
            if self.exit {
                break;
            }
            next = match self.lookup(table) {
                Some(found) => self.run_rule(found),
                None => match self.miss(table) {
                    Miss::Continue => following(table),
                    Miss::Drop | Miss::Controller => None,
                },
            };
        }
        self.depth -= 1;
        self.at = place;
    }

    /// Does what a rule says; returns the table to go on with.
    fn run_rule(&mut self, found: Found) -> Option<TableId> {
        let rule = found.rule;
        self.at.rule = Some(rule.clone());
        self.at.table = rule.table;
        self.at.is_miss = found.is_miss;
        self.run_instructions(&rule.instructions)
    }

    /// The instructions in the order of the specification.
    pub(super) fn run_instructions(&mut self, what: &Instructions) -> Option<TableId> {
        self.run_actions(&what.apply);
        if self.exit {
            return None;
        }
        if what.clear {
            self.action_set.clear();
            self.key.actset_output = OfPort::UNSET.0;
        }
        if !what.write.is_empty() {
            self.action_set.write(&what.write);
            self.key.actset_output = self.action_set.output_port().unwrap_or(OfPort::UNSET).0;
        }
        if let Some(m) = &what.metadata {
            let old = self.key.metadata.get();
            self.key.metadata = (old & !m.mask | m.value & m.mask).into();
            let mut mask = Mask::<PipelineKey>::none();
            mask.0.metadata = m.mask.into();
            self.forget(&mask);
        }
        what.goto
    }

    /// Executes the action set and empties it.
    fn run_action_set(&mut self) {
        let set = std::mem::take(&mut self.action_set);
        if set.is_empty() {
            return;
        }
        self.at_action_set = true;
        for action in set.in_order() {
            if self.exit {
                break;
            }
            self.run_action(action);
        }
        self.at_action_set = false;
    }

    /// The rule that matches, with everything that finding it rests on.
    fn lookup(&mut self, id: TableId) -> Option<Found> {
        let bridge = self.at.bridge?;
        self.resubmits += 1;
        if self.resubmits > MAX_RESUBMITS {
            self.abort(DropReason::TooManyResubmits);
            return None;
        }
        self.at.table = id;
        let rewritten = self.rewritten_words();
        let mut dep = TableDep {
            bridge: bridge.id,
            table: id,
            priority: None,
            rewritten,
        };
        let Some(table) = bridge.table(id) else {
            push(&mut self.deps.tables, dep);
            self.effects.push(CachedEffect::TableMiss {
                bridge: bridge.id,
                id,
                table: None,
            });
            self.note(|| TraceEvent::Miss { table: id });
            return None;
        };
        let version = self.view.world.version();
        let mut wc = Mask::none();
        let rules = table.read();
        let found = rules.lookup(version, &self.key, &mut wc).map(|r| {
            let rule = r.payload().clone();
            let is_miss = rule.priority == 0 && r.mask().is_none();
            (rule, is_miss, r)
        });
        self.see_mask(&wc);
        dep.priority = found.as_ref().map(|(rule, ..)| rule.priority);
        push(&mut self.deps.tables, dep);
        let table = table.clone();
        let Some((rule, is_miss, r)) = found else {
            drop(rules);
            self.effects.push(CachedEffect::TableMiss {
                bridge: bridge.id,
                id,
                table: Some(table),
            });
            self.note(|| TraceEvent::Miss { table: id });
            return None;
        };
        self.note(|| TraceEvent::Rule {
            table: id,
            priority: rule.priority,
            cookie: rule.cookie,
            value: Box::new(r.value()),
            mask: Box::new(*r.mask()),
        });
        drop(rules);
        self.effects.push(CachedEffect::TableHit {
            bridge: bridge.id,
            table,
            rule: rule.clone(),
        });
        Some(Found { rule, is_miss })
    }

    /// What a miss in `table` does: the packet-in is made here.
    fn miss(&mut self, table: TableId) -> Miss {
        let Some(bridge) = self.at.bridge else {
            return Miss::Drop;
        };
        let miss = bridge.miss(table);
        match miss {
            Miss::Drop => self.drop_with(DropReason::NoRule),
            Miss::Controller => {
                self.at.rule = None;
                self.packet_in(PacketInReason::NoMatch, 0xffff);
            }
            Miss::Continue => {}
        }
        miss
    }
}

/// The next table that may hold flows.
fn following(table: TableId) -> Option<TableId> {
    (table < TableId::MAX).then(|| TableId(table.0 + 1))
}
