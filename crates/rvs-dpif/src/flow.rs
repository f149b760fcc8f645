//! An installed flow: key, mask, actions, and the counters of what it carried.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use rvs_flow::{FlowKey, Mask};
use rvs_packet::Now;

use crate::action::Actions;
use crate::drop::DropReason;

/// Identity of an installed flow, unique over the life of the daemon and the same in every tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// Counters of one flow. One worker writes, so a load and a store make an addition; anybody reads.
#[derive(Debug, Default)]
pub struct FlowStats {
    packets: AtomicU64,
    bytes: AtomicU64,
    used: AtomicU64,
    tcp_flags: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowSnapshot {
    /// Frames; a super-frame counts as its segments.
    pub packets: u64,
    /// Octets from the Ethernet header on, without FCS.
    pub bytes: u64,
    /// When the last frame came; zero for never.
    pub used: Now,
    /// Union of the TCP flags seen.
    pub tcp_flags: u16,
}

impl FlowStats {
    /// Counts `packets` and `bytes`. For the one worker that owns the flow.
    #[inline]
    pub fn count(&self, now: Now, packets: u64, bytes: u64, tcp_flags: u16) {
        let add = |a: &AtomicU64, n| {
            a.store(a.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed)
        };
        add(&self.packets, packets);
        add(&self.bytes, bytes);
        self.used.store(now.0, Ordering::Relaxed);
        if tcp_flags != 0 {
            self.tcp_flags.store(
                self.tcp_flags.load(Ordering::Relaxed) | u64::from(tcp_flags),
                Ordering::Relaxed,
            );
        }
    }

    pub fn read(&self) -> FlowSnapshot {
        FlowSnapshot {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            used: Now(self.used.load(Ordering::Relaxed)),
            tcp_flags: (self.tcp_flags.load(Ordering::Relaxed) & 0xfff) as u16,
        }
    }
}

/// One entry of the megaflow cache. Its identity is (key, mask), not the masked key alone.
///
/// Laid out as it is read: what a hit needs comes first, so that it touches few cache lines.
#[derive(Debug)]
#[repr(C)]
pub struct Megaflow {
    pub actions: Actions,
    pub stats: Arc<FlowStats>,
    /// Masked: `mask.apply(&key) == key`.
    pub key: FlowKey,
    pub mask: Mask<FlowKey>,
    pub id: FlowId,
    /// Version of the world that it was translated under.
    pub version: u64,
    /// Why the flow drops, when it has no action.
    pub drop: Option<DropReason>,
}
