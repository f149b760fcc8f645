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
        let old = self.flows.find(&key, &mask).map(|f| f.flow.id);
        match old {
            Some(_) if !replaces => return Err("File exists"),
            None if replaces => return Err("No such file or directory"),
            _ => {}
        }
        let others = self.by_hand.iter().filter(|id| Some(**id) != old).count();
        let flows = self.flows.len() - usize::from(old.is_some());
        if others >= MOST || flows >= self.limits.flows {
            return Err("No space left on device");
        }
        if let Some(old) = old {
            self.forget(old, DelReason::Replaced, out);
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
        self.forget(id, DelReason::Flushed, out);
        self.ask_acknowledgement(out)
    }

    fn forget(&mut self, id: FlowId, why: DelReason, out: &mut impl Dispatch) {
        self.by_hand.retain(|put| *put != id);
        self.remove(id, why, out);
    }

    /// Judges what was put in since the last round.
    pub(crate) fn judge_by_hand(&mut self, out: &mut impl Dispatch) {
        let put = std::mem::take(&mut self.by_hand);
        self.revalidate(&put, out);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rvs_dpif::Upcall;
    use rvs_pipeline::PuntNote;

    use super::*;
    use crate::{Limits, Taught};

    /// Flows that a worker has.
    #[derive(Default)]
    struct Cache(Vec<FlowId>);

    impl Dispatch for Cache {
        fn command(&mut self, _: WorkerId, command: DpCommand) {
            match command {
                DpCommand::Install(flow) => self.0.push(flow.id),
                DpCommand::Remove(id) => self.0.retain(|f| *f != id),
                _ => {}
            }
        }
        fn punt(&mut self, _: Upcall, _: Arc<PuntNote>) {}
        fn learn_flow(&mut self, _: Taught) {}
    }

    struct Bench {
        slow: SlowPath,
        cache: Cache,
    }

    impl Bench {
        fn new(flows: usize) -> Self {
            let limits = Limits {
                flows,
                ..Limits::default()
            };
            let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
            let slow = SlowPath::new(limits, hasher);
            let cache = Cache::default();
            Self { slow, cache }
        }

        fn put(&mut self, n: u16, replaces: bool) -> Result<FlowId, &'static str> {
            let key = FlowKey {
                tp_dst: n.into(),
                ..FlowKey::default()
            };
            let what = (&key, Mask::exact());
            let (now, worker) = (Now::ZERO, WorkerId(0));
            let none = Vec::new().into();
            let put = self
                .slow
                .put(now, worker, what, none, replaces, &mut self.cache);
            put.map(|(id, _)| id)
        }
    }

    const FULL: Result<FlowId, &str> = Err("No space left on device");

    #[test]
    fn a_flow_that_finds_no_room_leaves_the_old_one_in() {
        let mut bench = Bench::new(10);
        let old = bench.put(1, false).unwrap();
        bench.slow.limits.flows = 0;
        assert_eq!(bench.put(1, true), FULL);
        assert_eq!(bench.cache.0, [old]);
        assert_eq!(bench.slow.flows.len(), 1);
    }

    #[test]
    fn what_was_replaced_or_taken_out_counts_no_more() {
        let mut bench = Bench::new(usize::MAX);
        let mut last = bench.put(0, false).unwrap();
        for _ in 0..2 * MOST {
            last = bench.put(0, true).unwrap();
        }
        for _ in 0..2 * MOST {
            let id = bench.put(1, false).unwrap();
            bench.slow.take_out(id, &mut bench.cache);
        }
        assert_eq!(bench.cache.0, [last]);
        for n in 1..MOST as u16 {
            bench.put(n, false).unwrap();
        }
        assert_eq!(bench.put(u16::MAX, false), FULL);
        assert_eq!(bench.put(0, true).map(|id| id > last), Ok(true));
    }
}
