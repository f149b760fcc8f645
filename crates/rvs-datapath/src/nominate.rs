//! Which flows deserve a place in the kernel (tier 0): those that were hit a few times while nothing was parked.
//!
//! The worker only names them; whoever owns the kernel's cache decides. A flow is named once, until somebody says
//! [`Standing::Unasked`] of it again.

use std::sync::Arc;

use rvs_dpif::{Megaflow, Standing};

use crate::batch::FrameBatch;

/// Packets after which a flow is named: a question and its answer do not make one.
const AFTER: u64 = 3;
/// Flows named in one batch.
const MOST: usize = FrameBatch::MAX;

#[derive(Debug, Default)]
pub(crate) struct Nominations {
    /// There is a tier 0.
    on: bool,
    flows: Vec<Arc<Megaflow>>,
}

impl Nominations {
    pub fn begin(&mut self) {
        self.on = true;
    }

    /// Looks at a flow that was just hit; `waiting`: frames are parked, and promoting one's flow would let later ones
    /// overtake it.
    #[inline]
    pub fn consider(&mut self, flow: &Arc<Megaflow>, waiting: bool) {
        if self.on
            && flow.stats.standing() == Standing::Unasked
            && flow.stats.worker_packets() >= AFTER
            && !waiting
            && self.flows.len() < MOST
        {
            flow.stats.set_standing(Standing::Settled);
            self.flows.push(Arc::clone(flow));
        }
    }

    pub fn take(&mut self) -> impl Iterator<Item = Arc<Megaflow>> + '_ {
        self.flows.drain(..)
    }
}
