//! An installed flow: key, mask, actions, and the counters of what it carried.

use std::sync::atomic::{AtomicU16, AtomicU64, AtomicU8, Ordering};
use std::sync::Arc;

use rvs_flow::{FlowKey, Mask};
use rvs_packet::Now;

use crate::action::Actions;
use crate::drop::DropReason;

/// Identity of an installed flow, unique over the life of the daemon and the same in every tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// Counters of one flow over all tiers. One worker writes its share, so a load and a store make an addition; whoever owns
/// the kernel's cache writes what the kernel carried; anybody reads the sum.
#[derive(Debug, Default)]
pub struct FlowStats {
    worker: Share,
    kernel: Share,
    worker_flags: AtomicU16,
    kernel_flags: AtomicU16,
    standing: AtomicU8,
}

/// What one tier, or two that are one thread's, carried of a flow.
#[derive(Debug, Default)]
struct Share {
    packets: AtomicU64,
    bytes: AtomicU64,
    used: AtomicU64,
}

impl Share {
    fn read(&self, flags: &AtomicU16) -> FlowSnapshot {
        FlowSnapshot {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            used: Now(self.used.load(Ordering::Relaxed)),
            tcp_flags: flags.load(Ordering::Relaxed) & 0xfff,
        }
    }
}

/// Where a flow stands with the kernel's cache (tier 0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// Nobody has asked; the worker nominates it after a few hits.
    #[default]
    Unasked = 0,
    /// Nominated, in the kernel, or refused: not to be nominated (again).
    Settled = 1,
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

impl FlowSnapshot {
    /// The figures of two tiers, or of two times, as one.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
            used: self.used.max(other.used),
            tcp_flags: self.tcp_flags | other.tcp_flags,
        }
    }
}

impl FlowStats {
    /// Counts `packets` and `bytes`. For the one worker that owns the flow.
    #[inline]
    pub fn count(&self, now: Now, packets: u64, bytes: u64, tcp_flags: u16) {
        let add = |a: &AtomicU64, n| {
            a.store(a.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed)
        };
        add(&self.worker.packets, packets);
        add(&self.worker.bytes, bytes);
        self.worker.used.store(now.0, Ordering::Relaxed);
        if tcp_flags != 0 {
            let all = self.worker_flags.load(Ordering::Relaxed) | tcp_flags;
            self.worker_flags.store(all, Ordering::Relaxed);
        }
    }

    /// What all tiers carried.
    pub fn read(&self) -> FlowSnapshot {
        self.worker.read(&self.worker_flags).plus(&self.kernel())
    }

    /// What the worker alone has counted.
    #[inline]
    pub fn worker_packets(&self) -> u64 {
        self.worker.packets.load(Ordering::Relaxed)
    }

    /// The kernel's share.
    pub fn kernel(&self) -> FlowSnapshot {
        self.kernel.read(&self.kernel_flags)
    }

    /// Says what the kernel has carried in all. For the one owner of the kernel's cache.
    pub fn set_kernel(&self, all: &FlowSnapshot) {
        let k = &self.kernel;
        k.packets.store(all.packets, Ordering::Relaxed);
        k.bytes.store(all.bytes, Ordering::Relaxed);
        k.used.store(all.used.0, Ordering::Relaxed);
        self.kernel_flags.store(all.tcp_flags, Ordering::Relaxed);
    }

    #[inline]
    pub fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            0 => Standing::Unasked,
            _ => Standing::Settled,
        }
    }

    pub fn set_standing(&self, standing: Standing) {
        self.standing.store(standing as u8, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_and_kernel_are_one_figure() {
        let stats = FlowStats::default();
        stats.count(Now(5), 2, 200, 0x02);
        let kernel = FlowSnapshot {
            packets: 40,
            bytes: 4000,
            used: Now(9),
            tcp_flags: 0x10,
        };
        stats.set_kernel(&kernel);
        stats.count(Now(7), 1, 100, 0);
        let sum = FlowSnapshot {
            packets: 43,
            bytes: 4300,
            used: Now(9),
            tcp_flags: 0x12,
        };
        assert_eq!((stats.read(), stats.kernel()), (sum, kernel));
        assert_eq!(stats.worker_packets(), 3);
    }
}
