//! Flow-mods (OpenFlow 1.3.5 section 6.4).

use std::sync::Arc;

use rvs_classifier::{Filter, RuleId, WriteError};
use rvs_openflow::message::{FlowCommand, FlowFlags, FlowMod, FlowRemovedReason, PacketOut};
use rvs_openflow::{Action, ErrorCode, FlowMatch, Instructions, OfError, TableId};
use rvs_packet::Now;
use rvs_pipeline::{Rule, RuleFlags, Table};

use super::index::FlowId;
use super::limits::LOOKS;
use super::ready::ReadyAdd;
use super::select::{find, FlowSelect, Rules};
use super::sweep::Sweep;
use super::txn::{match_of, unwritable, Txn};
use super::{uses, FlowChangeKind};
use crate::Plant;

impl<P: Plant> Txn<'_, P> {
    /// Adds, changes or deletes flows.
    ///
    /// # Errors
    /// Those of the specification; whatever was done before the error is for the caller to roll back.
    pub(super) fn flow_mod(&mut self, m: Box<FlowMod>) -> Result<(), OfError> {
        match self.begin_flow_mod(m)? {
            Some(mut sweep) => self.sweep_all(&mut sweep),
            None => Ok(()),
        }
    }

    /// As [`Self::flow_mod`], but what may be about many flows is only begun.
    pub(super) fn begin_flow_mod(&mut self, mut m: Box<FlowMod>) -> Result<Option<Sweep>, OfError> {
        if m.table > TableId::MAX && m.table != TableId::ALL {
            return Err(
                ErrorCode::FmfcBadTableId.because(format!("table {}; the last is 253", m.table.0))
            );
        }
        if !m.command.is_delete() {
            if let Some(id) = m.buffer_id {
                return Err(ErrorCode::BrcBufferUnknown.because(format!(
                    "buffer {id:#x}; the switch keeps no frames, send them along"
                )));
            }
            self.check_references(&m.instructions)?;
        }
        match m.command {
            FlowCommand::Add => self.add(&mut m)?,
            FlowCommand::ModifyStrict | FlowCommand::DeleteStrict => self.strict(&mut m)?,
            FlowCommand::Modify | FlowCommand::Delete => return Ok(Some(self.begin_sweep(m))),
        }
        Ok(None)
    }

    /// Adds the flow of a message, whose instructions it takes.
    pub(super) fn add(&mut self, m: &mut FlowMod) -> Result<(), OfError> {
        let rule = Arc::new(rule_of(m));
        self.add_rule(&m.matching, rule)
    }

    /// Adds a flow that was made ready before.
    ///
    /// # Errors
    /// As of the flow-mod that it was.
    pub(super) fn add_ready(&mut self, ready: ReadyAdd) -> Result<(), OfError> {
        self.check_references(&ready.rule.instructions)?;
        self.add_rule(&ready.matching.unpack(), ready.rule)
    }

    /// Adds a flow, or replaces the one with the same match and priority. Nobody else has the rule yet.
    fn add_rule(&mut self, m: &FlowMatch, mut rule: Arc<Rule>) -> Result<(), OfError> {
        check_goto(&rule.instructions, rule.table)?;
        let table = self.table(rule.table);
        let mut rules = table.write();
        if rule.flags.check_overlap {
            self.check_overlap(&rules, m, &rule)?;
        }
        let new = Arc::get_mut(&mut rule).expect("invariant: nobody else has the rule yet");
        (new.created, new.modified) = (self.w.now, self.w.now);
        let kind = FlowChangeKind::Added;
        if self.has_room(&table, &rules) {
            // Nearly all flows are new, which the table finds out by itself.
            let put = self.insert(&table, &mut rules, m, &rule, kind, false);
            if !matches!(put, Err(WriteError::Duplicate(_))) {
                return put.map(|_| ()).map_err(unwritable);
            }
        }
        let old = find(&rules, self.w.version, m, rule.priority)
            .filter(|r| !r.payload().flags.hidden)
            .map(|r| r.id());
        if let Some(old) = old {
            let gone = self.remove(table.id, &mut rules, old, None);
            let new = Arc::get_mut(&mut rule).expect("invariant: it is in no table");
            new.flags.replaces = true;
            match gone.as_ref().map(|(old, _)| &old.counters) {
                Some(old) if new.flags.reset_counts => new.counters.count(0, 0, old.used()),
                Some(old) => new.counters = old.clone(),
                None => {}
            }
        } else {
            self.make_room(&table, &mut rules)?;
        }
        let new = self
            .insert(&table, &mut rules, m, &rule, kind, false)
            .map_err(unwritable)?;
        if let Some(rule) = old {
            let old = FlowId { rule, ..new };
            self.state.index.triggers.inherit(old, new);
        }
        Ok(())
    }

    /// No packet may match both this flow and another of its priority, the same flow included.
    fn check_overlap(&self, rules: &Rules, m: &FlowMatch, rule: &Rule) -> Result<(), OfError> {
        let filter = Filter::Overlapping {
            value: m.value(),
            mask: m.mask(),
            priority: Some(rule.priority.into()),
        };
        let mut found = rules.select(self.w.version, filter);
        if found.any(|r| !r.payload().flags.hidden) {
            return Err(ErrorCode::FmfcOverlap.because(format!(
                "a flow of priority {} in table {} matches some of the same packets",
                rule.priority, rule.table.0
            )));
        }
        Ok(())
    }

    fn has_room(&self, table: &Table, rules: &Rules) -> bool {
        rules.len() < self.state.table_limit(table.id)
            && self.state.index.flows < self.state.limits.flows
    }

    /// Makes sure that one more flow fits, by eviction of one if the table is configured so. Where a lower limit leaves more of them
    /// than fit, [`Self::shrink`](super::table_mod) evicts the others.
    pub(super) fn make_room(&mut self, table: &Table, rules: &mut Rules) -> Result<(), OfError> {
        if self.has_room(table, rules) {
            return Ok(());
        }
        if self.evict(table.id, rules, &mut { LOOKS }).is_none() {
            return Err(ErrorCode::FmfcTableFull.because(format!(
                "table {} holds {} flows of {}, the bridge {}",
                table.id.0,
                rules.len(),
                self.state.table_limit(table.id),
                self.state.index.flows
            )));
        }
        if !self.has_room(table, rules) {
            self.state.large.insert(table.id);
        }
        Ok(())
    }

    /// Changes or deletes the one flow of that match and priority. A change adds one where there is none in versions that do so:
    /// 1.0 always, 1.1 without a cookie mask, which the codec says by giving a new cookie.
    fn strict(&mut self, m: &mut FlowMod) -> Result<(), OfError> {
        let select = FlowSelect::of_mod(m);
        let mut found = false;
        for table in self.tables(m.table) {
            let id = select.strict(&table.read(), self.w.version, m.priority);
            let Some(id) = id else {
                continue;
            };
            found = true;
            if m.command.is_delete() {
                self.remove_all(&table, &[id], FlowRemovedReason::Delete);
            } else {
                check_goto(&m.instructions, table.id)?;
                self.change_one(&table, &mut table.write(), id, m)?;
            }
        }
        let may_add = m.cookie.mask == 0 && m.new_cookie.is_some_and(|c| c != u64::MAX);
        if !found && may_add && !m.command.is_delete() {
            return self.add(m);
        }
        Ok(())
    }

    /// Gives a flow new instructions. Counters, timeouts, flags and duration stay.
    pub(super) fn change_one(
        &mut self,
        table: &Table,
        rules: &mut Rules,
        id: RuleId,
        m: &FlowMod,
    ) -> Result<(), OfError> {
        let Some(matching) = rules.rule(id).map(|r| match_of(&r)) else {
            return Ok(());
        };
        let Some((old, learned)) = self.remove(table.id, rules, id, None) else {
            return Ok(());
        };
        let mut rule = like(&old, self.w.now);
        rule.instructions = m.instructions.clone();
        if m.flags.has(FlowFlags::RESET_COUNTS) {
            // When the last packet came stays known: the idle timeout runs from then.
            rule.counters = Arc::default();
            rule.counters.count(0, 0, old.counters.used());
        }
        if let Some(cookie) = m.new_cookie.filter(|_| m.modify_cookie) {
            rule.cookie = cookie;
        }
        let kind = FlowChangeKind::Modified;
        let new = self
            .insert(table, rules, &matching, &Arc::new(rule), kind, learned)
            .map_err(unwritable)?;
        let old = FlowId { rule: id, ..new };
        self.state.index.triggers.inherit(old, new);
        Ok(())
    }

    /// Groups and meters that instructions name must be there.
    ///
    /// # Errors
    /// [`ErrorCode::BacBadOutGroup`], [`ErrorCode::MmfcInvalidMeter`], [`ErrorCode::BacBadMeter`].
    fn check_references(&self, i: &Instructions) -> Result<(), OfError> {
        if let Some(m) = i.meter.filter(|m| !self.w.bridge.meters.contains(*m)) {
            return Err(ErrorCode::MmfcInvalidMeter.because(format!("no meter {} is there", m.0)));
        }
        self.check_actions(&i.apply)?;
        self.check_actions(&i.write)
    }

    pub(super) fn check_actions(&self, actions: &[Action]) -> Result<(), OfError> {
        let mut missing = None;
        uses::each(actions, &mut |a| match a {
            Action::Group(g) if !self.w.bridge.groups.contains(*g) => missing = Some(*g),
            _ => {}
        });
        match missing {
            Some(g) => Err(ErrorCode::BacBadOutGroup.because(format!("no group {} is there", g.0))),
            None => self.check_meters(actions),
        }
    }

    /// A bucket may name groups that are not there yet, in whatever order groups come, but not meters.
    pub(super) fn check_meters(&self, actions: &[Action]) -> Result<(), OfError> {
        let mut missing = None;
        uses::each(actions, &mut |a| match a {
            Action::Meter(m) if !self.w.bridge.meters.contains(*m) => missing = Some(*m),
            _ => {}
        });
        missing.map_or(Ok(()), |m| {
            Err(ErrorCode::BacBadMeter.because(format!("no meter {} is there", m.0)))
        })
    }

    pub(super) fn check_packet_out(&self, m: &PacketOut) -> Result<(), OfError> {
        if let Some(id) = m.buffer_id {
            return Err(ErrorCode::BrcBufferUnknown.because(format!(
                "buffer {id:#x}; the switch keeps no frames, send them along"
            )));
        }
        self.check_actions(&m.actions)
    }
}

/// The rule of an add, whose instructions it takes.
pub(super) fn rule_of(m: &mut FlowMod) -> Rule {
    // 1.0 leaves the choice of the table to the switch.
    let table = match m.table {
        TableId::ALL => TableId(0),
        table => table,
    };
    let mut rule = Rule::new(table, m.priority, std::mem::take(&mut m.instructions));
    rule.cookie = m.new_cookie.unwrap_or(0);
    rule.importance = m.importance;
    rule.flags = RuleFlags {
        send_flow_removed: m.flags.has(FlowFlags::SEND_FLOW_REM),
        check_overlap: m.flags.has(FlowFlags::CHECK_OVERLAP),
        reset_counts: m.flags.has(FlowFlags::RESET_COUNTS),
        no_packet_counts: m.flags.has(FlowFlags::NO_PKT_COUNTS),
        no_byte_counts: m.flags.has(FlowFlags::NO_BYT_COUNTS),
        replaces: false,
        hidden: false,
    };
    rule.set_timeouts(m.idle_timeout, m.hard_timeout);
    rule
}

/// The same flow again, to be changed: it shares the counters and keeps the time of its creation.
pub(super) fn like(old: &Rule, now: Now) -> Rule {
    let mut rule = Rule::new(old.table, old.priority, Instructions::default());
    rule.cookie = old.cookie;
    rule.importance = old.importance;
    rule.flags = old.flags;
    rule.created = old.created;
    rule.modified = now;
    rule.counters = old.counters.clone();
    let (idle, hard) = old.timeouts();
    rule.set_timeouts(idle, hard);
    rule
}

/// The codec can't check a goto where the message names no table.
pub(super) fn check_goto(i: &Instructions, table: TableId) -> Result<(), OfError> {
    match i.goto {
        Some(to) if to <= table || to > TableId::MAX => {
            Err(ErrorCode::BicBadTableId.because(format!(
                "goto_table:{} from table {}; it must lead forward and to 253 at most",
                to.0, table.0
            )))
        }
        _ => Ok(()),
    }
}
