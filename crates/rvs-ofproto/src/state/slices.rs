//! Transactions that would hold everybody up, in slices.
//!
//! A bundle of a hundred thousand flows, or a delete of a million, or of the groups that they refer to, takes its time. It is written at the
//! bridge's next version, while packets, echoes and dumps go on by what is published, and put aside between slices. There is one
//! at a time in a bridge, and nothing that another bridge publishes shows it. Flows that learn actions make meanwhile wait for its end;
//! whoever else changes anything (a set of controllers that is another) ends it first ([`Ofproto::finish`], which [`Txn::begin`] calls): two
//! writers never interleave.

use rvs_openflow::message::{GroupCommand, MeterCommand};
use rvs_openflow::{ErrorCode, GroupId, MeterId, OfError};
use rvs_packet::Now;

use super::doomed::Doomed;
use super::limits::MANY;
use super::ofproto::Ofproto;
use super::ready::ReadyAdd;
use super::sweep::Sweep;
use super::txn::{Txn, Work};
use super::Mod;
use crate::{Author, Plant};

/// What a transaction is to do.
pub enum Task {
    Mod(Mod),
    Add(ReadyAdd),
    /// All groups go; all meters; what packets taught so far and is not made yet.
    ForgetGroups,
    ForgetMeters,
    ForgetLessons,
}

impl From<Mod> for Task {
    fn from(m: Mod) -> Self {
        Self::Mod(m)
    }
}

/// Modifications that are made one by one.
pub type Tasks = Box<dyn Iterator<Item = Task> + Send>;

/// What became of a transaction: the first modification that failed, and why.
pub type Outcome = Result<(), (usize, OfError)>;

enum Phase {
    /// Modifications are being made, after so many; of the current one something may be left.
    Modify(usize, Option<Current>),
    /// It is published.
    Tell,
    /// That one failed.
    Undo(usize, OfError),
}

/// What is left of a modification.
enum Current {
    Flows(Box<Sweep>),
    Doomed(Doomed),
}

/// A transaction under way.
pub(super) struct Running {
    work: Work,
    tasks: Tasks,
    phase: Phase,
    /// Somebody is to have the outcome.
    asked: bool,
}

/// What one slice came to.
enum Progress {
    More(Box<Running>),
    Done(Outcome),
}

impl Ofproto {
    /// Begins to do all of `tasks` or nothing, as [`Self::apply`] does; [`Self::proceed`] does it.
    pub fn start(&mut self, now: Now, author: &Author, tasks: Tasks, plant: &mut impl Plant) {
        if !self.begin(now, author, tasks, true, plant) {
            let down = ErrorCode::BrcEperm.because("the bridge is not up");
            self.outcome = Some(Err((0, down)));
        }
    }

    /// As [`Self::start`]; `asked` says whether somebody is to have the outcome. False when the bridge is not up.
    pub(super) fn begin(
        &mut self,
        now: Now,
        author: &Author,
        tasks: Tasks,
        asked: bool,
        plant: &mut impl Plant,
    ) -> bool {
        let Some(txn) = Txn::begin(self, now, *author, plant) else {
            return false;
        };
        let work = txn.w;
        self.running = Some(Box::new(Running {
            work,
            tasks,
            phase: Phase::Modify(0, None),
            asked,
        }));
        true
    }

    /// True for a change that may take long enough to be made in slices.
    pub fn is_long(&self, m: &Mod) -> bool {
        use rvs_openflow::message::FlowCommand as C;
        let goes = match m {
            Mod::Flow(m) if matches!(m.command, C::Modify | C::Delete) => self.index.flows,
            Mod::Group(m) if m.command == GroupCommand::Delete => match m.group.id {
                GroupId::ALL => self.groups.len() + self.index.flows,
                id => self.index.by_group(id).len(),
            },
            Mod::Meter(m) if m.command == MeterCommand::Delete => match m.meter.id {
                MeterId::ALL => self.meters.len() + self.index.flows,
                id => self.index.by_meter(id).len(),
            },
            _ => 0,
        };
        goes > MANY
    }

    /// True from [`Self::start`] until [`Self::proceed`] has given the outcome, while flows are still to go with the last flow that
    /// taught them, and while flows that were taught meanwhile wait to be made.
    pub fn is_busy(&self) -> bool {
        self.running.is_some() || self.outcome.is_some() || !self.lessons.queue.is_empty()
    }

    /// Does about `work` of the changes to single flows that are still to do. Gives the outcome once when all is done.
    pub fn proceed(&mut self, work: usize, plant: &mut impl Plant) -> Option<Outcome> {
        let was_running = self.running.is_some();
        self.run_slice(work, plant);
        if !was_running {
            self.learn_waiting(work, plant);
        }
        self.outcome.take()
    }

    /// Ends what is under way at once; its outcome waits for [`Self::proceed`].
    pub(super) fn finish(&mut self, plant: &mut impl Plant) {
        while self.run_slice(usize::MAX, plant) {}
    }

    /// True while there is more to do.
    fn run_slice(&mut self, work: usize, plant: &mut impl Plant) -> bool {
        let Some(running) = self.running.take() else {
            return false;
        };
        let asked = running.asked;
        match running.slice(self, work, plant) {
            Progress::More(r) => self.running = Some(r),
            Progress::Done(outcome) if asked => self.outcome = Some(outcome),
            Progress::Done(_) => {}
        }
        self.running.is_some()
    }
}

impl Running {
    /// The end of a transaction, of which nobody is to have the outcome: `left` are deletions, which do not fail.
    pub(super) fn rest(work: Work, left: Sweep) -> Self {
        Self {
            work,
            tasks: Box::new(std::iter::empty()),
            phase: Phase::Modify(0, Some(Current::Flows(Box::new(left)))),
            asked: false,
        }
    }

    /// Of what it writes.
    pub(super) fn version(&self) -> u64 {
        self.work.version
    }

    fn slice<P: Plant>(self, state: &mut Ofproto, work: usize, plant: &mut P) -> Progress {
        let (mut tasks, mut phase, mut left) = (self.tasks, self.phase, work);
        let mut txn = Txn::resume(self.work, state, plant);
        while left > 0 {
            match &mut phase {
                Phase::Modify(at, current) => {
                    let at = *at;
                    phase = match txn.modify_slice(&mut tasks, current, &mut left) {
                        Ok(true) => {
                            txn.catch_up();
                            if let Some(old) = txn.plant.bridge(txn.state.id) {
                                txn.state.faded.add(&old);
                            }
                            txn.publish();
                            Phase::Tell
                        }
                        Ok(false) if current.is_some() => continue,
                        Ok(false) => Phase::Modify(at + 1, None),
                        Err(e) => Phase::Undo(at, e),
                    };
                }
                Phase::Tell => {
                    if txn.tell_some(left) {
                        txn.conclude();
                        return Progress::Done(Ok(()));
                    }
                    left = 0;
                }
                Phase::Undo(..) => {
                    // What was not begun is forgotten in slices too.
                    if txn.undo(left) && tasks.by_ref().take(left).count() < left {
                        txn.state.faded.add(&txn.w.bridge);
                        txn.give_back();
                        let Phase::Undo(at, e) = phase else {
                            unreachable!("invariant: matched above")
                        };
                        return Progress::Done(Err((at, e)));
                    }
                    left = 0;
                }
            }
        }
        Progress::More(Box::new(Self {
            work: txn.w,
            tasks,
            phase,
            asked: self.asked,
        }))
    }
}

impl<P: Plant> Txn<'_, P> {
    /// Makes the next modification, or a part of it that `current` remembers. True when there is none.
    fn modify_slice(
        &mut self,
        tasks: &mut Tasks,
        current: &mut Option<Current>,
        left: &mut usize,
    ) -> Result<bool, OfError> {
        let done = match current {
            None => false,
            Some(Current::Flows(sweep)) => self.sweep(sweep, left)?,
            Some(Current::Doomed(doomed)) => self.remove_some(doomed, left),
        };
        if done {
            *current = None;
        }
        if done || current.is_some() {
            return Ok(false);
        }
        *left -= 1;
        let flows = |sweep| Current::Flows(Box::new(sweep));
        match tasks.next() {
            None => {
                *current = self.next_orphans().map(flows);
                return Ok(current.is_none());
            }
            Some(Task::Add(ready)) => self.add_ready(ready)?,
            Some(Task::Mod(Mod::Flow(m))) => *current = self.begin_flow_mod(m)?.map(flows),
            Some(Task::Mod(Mod::Group(m))) => {
                *current = Some(Current::Doomed(self.group_mod(&m)?));
                self.requested(Mod::Group(m));
            }
            Some(Task::Mod(Mod::Meter(m))) => {
                *current = Some(Current::Doomed(self.meter_mod(&m)?));
                self.requested(Mod::Meter(m));
            }
            Some(Task::Mod(m)) => self.modify(m)?,
            Some(Task::ForgetGroups) => *current = Some(Current::Doomed(self.doom_groups())),
            Some(Task::ForgetMeters) => *current = Some(Current::Doomed(self.doom_meters())),
            Some(Task::ForgetLessons) => self.state.lessons.clear(),
        }
        Ok(false)
    }
}
