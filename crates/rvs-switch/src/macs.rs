//! What the switch knows of addresses, told or forgotten from outside.

use std::sync::PoisonError;

use rvs_l2::Flush;
use rvs_ovsdb::Uuid;
use rvs_packet::Now;
use rvs_pipeline::Translation;

use crate::switch::{Rim, Switch};

impl<R: Rim> Switch<R> {
    /// Learns what a translation teaches, addresses and flows, as if its frame had come.
    pub fn teach(&mut self, now: Now, translation: &Translation) {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = slow.teach(now, translation, &mut self.rim);
        drop(slow);
        self.wait(wait);
    }

    /// Forgets addresses of a bridge; returns how many.
    pub fn flush_macs(&mut self, bridge: Uuid, what: Flush) -> usize {
        let Some(id) = self.bridge_id(bridge) else {
            return 0;
        };
        let (n, wait) = self
            .slow
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .flush_macs(id, what, &mut self.rim);
        self.wait(wait);
        n
    }
}
