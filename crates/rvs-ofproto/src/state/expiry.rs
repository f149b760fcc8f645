//! Idle and hard timeouts.

use rvs_openflow::message::FlowRemovedReason;
use rvs_packet::Now;

use super::index::{deadline, FlowId};
use super::limits::EXPIRIES;
use super::ofproto::Ofproto;
use super::txn::Txn;
use crate::{Author, Plant};

/// Deadlines are met this much late at most: those that lie closer together are one transaction, and one round of crediting.
const GRAIN: u64 = 100_000_000;

impl Ofproto {
    /// When [`Self::expire`] is to be called next.
    pub fn next_expiry(&self) -> Option<Now> {
        let at = self.index.next_deadline()?;
        Some(Now(at.0.div_ceil(GRAIN).saturating_mul(GRAIN)))
    }

    /// Removes the flows that have timed out by `now`, going by traffic up to `now`. Looks at a bounded number of flows;
    /// [`Self::next_expiry`] then lies in the past. While a transaction is under way nothing expires.
    pub fn expire(&mut self, now: Now, plant: &mut impl Plant) {
        if self.is_busy() || self.index.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        plant.credit();
        let Some(mut txn) = Txn::begin(self, now, Author::switch(), plant) else {
            return;
        };
        let (mut idle, mut hard) = (Vec::new(), Vec::new());
        for id in txn.state.index.due(now, EXPIRIES) {
            match txn.judge(id) {
                Some(FlowRemovedReason::IdleTimeout) => idle.push(id),
                Some(_) => hard.push(id),
                None => {}
            }
        }
        txn.remove_flows(&idle, FlowRemovedReason::IdleTimeout);
        txn.remove_flows(&hard, FlowRemovedReason::HardTimeout);
        txn.commit();
    }
}

impl<P: Plant> Txn<'_, P> {
    /// Why the flow goes now. One that stays is looked at again when its timeouts say so by now.
    fn judge(&mut self, id: FlowId) -> Option<FlowRemovedReason> {
        let table = self.w.bridge.table(id.table)?.clone();
        let rules = table.read();
        let Some(found) = rules.rule(id.rule) else {
            self.state.index.watch(id, None);
            return None;
        };
        match deadline(found.payload(), self.w.now) {
            Some(d) if d.expires && d.at <= self.w.now => Some(if d.idle {
                FlowRemovedReason::IdleTimeout
            } else {
                FlowRemovedReason::HardTimeout
            }),
            next => {
                self.state.index.watch(id, next.map(|d| d.at));
                None
            }
        }
    }
}
