//! Flow-mods that name any number of flows: finding them and doing something to each, in slices.

use std::collections::VecDeque;
use std::sync::Arc;

use rvs_classifier::{Cursor, RuleId};
use rvs_openflow::message::{FlowCommand, FlowMod, FlowRemovedReason};
use rvs_openflow::{FlowMatch, OfError};
use rvs_pipeline::Table;

use super::flow_mod::check_goto;
use super::limits::SLICE;
use super::select::FlowSelect;
use super::txn::Txn;
use crate::Plant;

/// Rules looked at in the time that changing one takes.
const LOOKS: usize = 16;

/// A modify or delete that is not strict, under way.
pub(super) struct Sweep {
    m: Box<FlowMod>,
    select: FlowSelect,
    /// Those still to do, the current one last.
    tables: Vec<Arc<Table>>,
    cursor: Cursor,
    /// The current table was looked through.
    searched: bool,
    /// Flows found in it that are still to do.
    ids: VecDeque<RuleId>,
    found: bool,
}

impl<P: Plant> Txn<'_, P> {
    /// Begins a modify or delete. Tables that it leaves without a flow are done with at once where that can be.
    pub(super) fn begin_sweep(&mut self, m: Box<FlowMod>) -> Sweep {
        let select = FlowSelect::of_mod(&m);
        let all = m.command == FlowCommand::Delete && select.is_all();
        let mut tables = self.tables(m.table);
        tables.retain(|table| !(all && self.empty(table)));
        tables.reverse();
        Sweep {
            m,
            select,
            tables,
            cursor: Cursor::default(),
            searched: false,
            ids: VecDeque::new(),
            found: false,
        }
    }

    /// The deletion of flows that the next of the flows that are gone now was the last to teach.
    pub(super) fn next_orphans(&mut self) -> Option<Sweep> {
        if self.w.orphans.is_empty() {
            self.w.orphans = self.state.index.take_orphans();
        }
        let (table, cookie) = self.w.orphans.pop()?;
        let m = FlowMod::new(FlowCommand::Delete, FlowMatch::any());
        Some(Sweep {
            m: Box::new(m),
            select: FlowSelect::of_cookie(table, cookie),
            tables: self.tables(table),
            cursor: Cursor::default(),
            searched: false,
            ids: VecDeque::new(),
            found: false,
        })
    }

    /// Does all of it at once.
    ///
    /// # Errors
    /// Those of the flow-mod.
    pub(super) fn sweep_all(&mut self, s: &mut Sweep) -> Result<(), OfError> {
        while !self.sweep(s, &mut { usize::MAX })? {}
        Ok(())
    }

    /// Goes on with a modify or delete; `left` is how many flows may be done, and says afterwards how many more might have
    /// been. True when it is complete.
    ///
    /// # Errors
    /// Those of the flow-mod.
    pub(super) fn sweep(&mut self, s: &mut Sweep, left: &mut usize) -> Result<bool, OfError> {
        while let Some(table) = s.tables.last().cloned() {
            while !s.searched {
                if *left == 0 {
                    return Ok(false);
                }
                self.search(s, &table);
                *left -= (SLICE / LOOKS).min(*left);
            }
            if !s.ids.is_empty() && !s.found {
                s.found = true;
            }
            if !s.ids.is_empty() && !s.m.command.is_delete() {
                check_goto(&s.m.instructions, table.id)?;
            }
            while !s.ids.is_empty() {
                if *left == 0 {
                    return Ok(false);
                }
                let n = SLICE.min(*left).min(s.ids.len());
                let slice: Vec<RuleId> = s.ids.drain(..n).collect();
                *left -= n;
                self.do_to(&s.m, &table, &slice)?;
            }
            s.tables.pop();
            (s.cursor, s.searched) = (Cursor::default(), false);
        }
        let may_add = s.m.cookie.mask == 0 && s.m.new_cookie.is_some_and(|c| c != u64::MAX);
        if !s.found && may_add && !s.m.command.is_delete() {
            self.add(&mut s.m)?;
        }
        Ok(true)
    }

    /// Looks through a slice of the table.
    fn search(&self, s: &mut Sweep, table: &Table) {
        let (select, ids) = (&s.select, &mut s.ids);
        let found = |r: super::select::Found<'_>| {
            if select.admits(r.payload()) {
                ids.push_back(r.id());
            }
        };
        let (version, filter) = (self.w.version, select.filter());
        s.searched = table
            .read()
            .scan(version, &mut s.cursor, SLICE, filter, found);
    }

    fn do_to(&mut self, m: &FlowMod, table: &Table, ids: &[RuleId]) -> Result<(), OfError> {
        if m.command.is_delete() {
            self.remove_all(table, ids, FlowRemovedReason::Delete);
            return Ok(());
        }
        let mut rules = table.write();
        ids.iter()
            .try_for_each(|id| self.change_one(table, &mut rules, *id, m))
    }
}
