//! Flows that people put into the caches, to see what they do there.
//!
//! No translation answers for them: the next round judges them like others, and they go unless a translation decides the same.

use std::sync::Arc;

use rvs_dpif::{Actions, DpCommand, DropReason, FlowId, FlowStats, Megaflow, WorkerId};
use rvs_flow::{FlowKey, Mask};
use rvs_packet::Now;
use rvs_pipeline::{Deps, Translation};

use crate::flows::{DelReason, Held, InstalledFlow};
use crate::revalidate::Wait;
use crate::slowpath::{Dispatch, SlowPath};

/// Flows put in between two rounds, at most.
const MOST: usize = 1024;

impl SlowPath {
    /// Puts a flow in, or another in the place of one with this key and mask if `replaces`. Gives its number.
    ///
    /// # Errors
    /// In the words of the system's error: it is there already, it is not there, or there is no room.
    pub fn put(
        &mut self,
        now: Now,
        worker: WorkerId,
        (key, mask): (&FlowKey, Mask<FlowKey>),
        actions: Actions,
        replaces: bool,
        out: &mut impl Dispatch,
    ) -> Result<(FlowId, Wait), &'static str> {
        let key = mask.apply(key);
        match self.flows.find(&key, &mask).map(|f| f.flow.id) {
            Some(_) if !replaces => return Err("File exists"),
            None if replaces => return Err("No such file or directory"),
            Some(old) => {
                self.remove(old, DelReason::Replaced, out);
            }
            None => {}
        }
        if self.by_hand.len() >= MOST || self.flows.len() >= self.limits.flows {
            return Err("No space left on device");
        }
        let drop = actions.is_empty().then_some(DropReason::Action);
        let flow = Arc::new(Megaflow {
            id: self.new_flow_id(),
            key,
            mask,
            actions: actions.clone(),
            drop,
            stats: Arc::new(FlowStats::default()),
            version: self.world.version(),
        });
        let id = flow.id;
        let decided = Translation {
            actions: actions.to_vec(),
            mask,
            effects: Vec::new(),
            notes: Vec::new(),
            frozen: Vec::new(),
            cacheable: true,
            drop,
            deps: Deps::default(),
        };
        self.counters.installed += 1;
        self.by_hand.push(id);
        let entry = InstalledFlow::new(flow.clone(), worker, decided, Held::default(), now);
        self.flows.insert(entry);
        out.command(worker, DpCommand::Install(flow));
        self.sent_to(worker);
        Ok((id, self.ask_acknowledgement(out)))
    }

    /// Takes one flow out of the caches.
    pub fn take_out(&mut self, id: FlowId, out: &mut impl Dispatch) -> Wait {
        self.remove(id, DelReason::Flushed, out);
        self.ask_acknowledgement(out)
    }

    /// Judges what was put in since the last round.
    pub(crate) fn judge_by_hand(&mut self, out: &mut impl Dispatch) {
        let put = std::mem::take(&mut self.by_hand);
        self.revalidate(&put, out);
    }
}
