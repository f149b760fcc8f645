//! Flows that a dead daemon left in the kernel, and what this one leaves.
//!
//! The program carries left flows out until each has been judged under the slow path's lock, as promotions are: it becomes
//! a flow of the book, or it is taken out. While any waits, whatever changes a way out or takes a port away takes all of
//! them out: what they rest on is not known here.

use rvs_dpif::{FlowSnapshot, WorkerId};
use rvs_kcache::tier0::Orphan;
use rvs_kcache::Pins;
use rvs_slowpath::{Adopted, Dispatch, SlowPath};
use rvs_switch::survive::Evidence;

use super::*;

/// The worker that reads what is handed up, and so the one that the flows of all ports in the kernel belong to.
const WORKER: WorkerId = WorkerId(0);

impl Tier0 {
    /// Judges what was left: lessons first, since a flow stays only where addresses are known to be where it says. Returns
    /// how many wait.
    pub fn judge_left(
        &self,
        now: Now,
        slow: &mut SlowPath,
        evidence: &Evidence<'_>,
        out: &mut impl Dispatch,
    ) -> usize {
        let mut left = self.left();
        left.sort_unstable_by_key(|o| (o.used, o.id));
        for orphan in &left {
            slow.recall_lessons(&orphan.key, orphan.used, evidence.trusted, out);
        }
        let (mut kept, mut waiting) = (0, 0);
        let all = left.len();
        for orphan in left {
            let takes = |id: FlowId, actions: &[rvs_dpif::DpAction]| {
                let mut state = self.lock();
                let State { cache, ports, .. } = &mut *state;
                cache.name_orphan(&orphan, id, actions, |port| ports.get(&port).copied())
            };
            let key = (&orphan.key, &orphan.mask);
            match slow.adopt(now, WORKER, key, evidence.undecided, takes, out) {
                Adopted::Kept(flow) => {
                    self.lock().settle_in(flow);
                    kept += 1;
                }
                Adopted::Undecided if self.lock().waits(&orphan) => waiting += 1,
                Adopted::Undecided | Adopted::Wrong => {
                    self.lock().cache.remove(orphan.id);
                    // Whoever waits for this worker waits for the kernel too.
                    slow.sent_to(WORKER);
                }
            }
        }
        if all > 0 {
            tracing::info!(
                "flows of the last daemon in the kernel: {kept} go on, {waiting} wait for their tables, {} are gone",
                all - kept - waiting
            );
        }
        self.ring();
        waiting
    }

    /// Flows that wait to be judged.
    fn left(&self) -> Vec<Orphan> {
        self.lock().cache.orphans()
    }

    /// Takes them out.
    pub fn discard_left(&self) {
        self.lock().discard_left();
        self.ring();
    }

    /// How long the program goes on without a heartbeat.
    pub fn set_survive(&self, time: Duration) {
        let mut state = self.lock();
        state.survive = time;
        state.set_silence();
    }

    /// What is done from now on is done to this process's memory only: the kernel goes on as it is.
    pub fn leave(&self, now: Now) {
        let mut state = self.lock();
        state.cache.beat(now);
        state.left = true;
    }

    /// Gives everything but links a name. See [`rvs_kcache::KernelCache::pin`].
    pub fn pin(&self, pins: &Pins) -> std::result::Result<(), Error> {
        self.lock().cache.pin(pins)
    }

    /// Gives the link of a port a name.
    pub fn name_link(&self, port: &mut PortGuard) {
        self.lock().cache.name_link(port);
    }

    /// The program's id.
    pub fn prog_id(&self) -> u32 {
        self.lock().cache.prog_id()
    }

    pub fn forget_names(&self) {
        self.lock().cache.forget_names();
    }

    /// Whether what is in the kernel outlives the daemon.
    pub fn is_pinned(&self) -> bool {
        self.lock().cache.is_pinned()
    }

    /// Ports whose links end with the daemon all the same.
    pub fn unpinned(&self) -> u64 {
        self.lock().cache.unpinned()
    }

    /// Ports of the dead daemon that this one did not open again are no ports any more.
    pub fn disinherit(&self) {
        self.lock().cache.disinherit();
    }
}

impl State {
    pub(super) fn set_silence(&self) {
        self.cache.set_survive(self.survive.max(SILENCE));
    }

    /// Whether there is anything to wait for: its port is there.
    fn waits(&self, orphan: &Orphan) -> bool {
        self.inside.contains(&DpPort(orphan.key.in_port))
    }

    pub(super) fn discard_left(&mut self) {
        for orphan in self.cache.orphans() {
            self.cache.remove(orphan.id);
            self.counters.demoted += 1;
        }
    }

    /// A left flow is one of the book's now. What it carried before counts for the daemon that is dead.
    fn settle_in(&mut self, flow: Arc<Megaflow>) {
        let before = self.cache.stats(flow.id).unwrap_or_default();
        flow.stats.set_standing(Standing::Settled);
        self.counters.adopted += 1;
        *self.held.entry(DpPort(flow.key.in_port)).or_default() += 1;
        let base = FlowSnapshot {
            packets: before.packets.wrapping_neg(),
            bytes: before.bytes.wrapping_neg(),
            ..FlowSnapshot::default()
        };
        self.residents
            .insert(flow.id, Resident::with_base(flow, base));
    }
}
