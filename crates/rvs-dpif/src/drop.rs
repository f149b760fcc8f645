//! Every way a frame is lost has a name and a counter.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! drop_reasons {
    ($($variant:ident = $name:literal, $text:literal;)*) => {
        /// Why a frame (or one copy of it) went nowhere.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason { $(#[doc = $text] $variant,)* }

        impl DropReason {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name of the counter, as `coverage` and the metrics show it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence for people.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

drop_reasons! {
    // The tables decided so.
    Action = "drop_action", "The matching rule has no output.";
    NoRule = "drop_no_rule", "No rule matched and the table's miss behaviour is drop.";
    NoBridge = "drop_no_bridge", "The input port belongs to no bridge.";
    InPort = "drop_in_port", "The only output was the input port.";
    FragDrop = "drop_frag", "Fragments are dropped by the switch configuration.";
    PortNoRecv = "drop_port_no_recv", "The input port is configured not to receive.";
    PortNoFwd = "drop_port_no_fwd", "The output port is configured not to forward.";
    PatchCut = "drop_patch_cut", "A frame that is cut can't go through a patch port.";
    TtlExpired = "drop_ttl_expired", "The TTL ran out.";
    TooDeep = "drop_too_deep", "Resubmits, groups or patch ports nest deeper than the limit.";
    StackTooDeep = "drop_stack_too_deep", "More is pushed than the stack holds.";
    TooManyResubmits = "drop_too_many_resubmits", "More resubmits than the limit.";
    TooManyActions = "drop_too_many_actions", "The translation has more actions than the limit.";
    GroupEmpty = "drop_group_empty", "The group has no live bucket.";
    Meter = "drop_meter", "The meter's bucket is empty.";
    Policed = "drop_policed", "The input port brings more than its policing lets in.";
    // NORMAL decided so.
    VlanTagOnAccess = "drop_vlan_tag_on_access", "A tagged frame arrived on an access port.";
    VlanNotInTrunk = "drop_vlan_not_in_trunk", "The VLAN is not carried by the input port.";
    VlanCvlan = "drop_vlan_cvlan", "The customer VLAN is not carried by the tunnel port.";
    VlanPartial = "drop_vlan_partial", "The frame ends inside a VLAN tag.";
    ReservedMulticast = "drop_reserved_multicast", "A link-local control frame that a bridge must not forward.";
    SplitHorizon = "drop_split_horizon", "The destination was learned on the input port.";
    NoFloodPort = "drop_no_flood_port", "There is no other port to flood to.";
    StpBlocked = "drop_stp_blocked", "Spanning tree blocks the port.";
    Protected = "drop_protected", "Both ports are protected.";
    InactiveMember = "drop_inactive_member", "The input port is a member of a bond, and not the active one.";
    MirrorOutput = "drop_mirror_output", "The input or output port is reserved for a mirror.";
    // The frame itself.
    BadFrame = "drop_bad_frame", "The frame is shorter than an Ethernet header.";
    Poison = "drop_poison", "The frame made a worker panic; the fault is ours.";
    // The slow path had no room.
    UpcallQueueFull = "drop_upcall_queue_full", "The input port's upcall queue is full.";
    ParkingFull = "drop_parking_full", "No room to park the frame while its flow is translated.";
    ParkTimeout = "drop_park_timeout", "The slow path gave no verdict in time.";
    RecircUnknown = "drop_recirc_unknown", "The recirculation context is gone.";
    RecircTooDeep = "drop_recirc_too_deep", "The frame recirculated more often than the limit.";
    // The way out.
    NoPort = "drop_no_port", "The output port does not exist.";
    PortDown = "drop_port_down", "The output port is down.";
    TooBig = "drop_too_big", "The frame exceeds the output port's MTU.";
    CannotSegment = "drop_cannot_segment", "A super-frame of a kind that can't be segmented.";
    TxQueueFull = "drop_tx_queue_full", "The output device has no room.";
    TxError = "drop_tx_error", "The output device refused the frame.";
}

impl DropReason {
    /// What the tables decide, or NORMAL, and no mistake in them.
    pub const TABLES: &'static [Self] = &[
        Self::Action,
        Self::NoRule,
        Self::InPort,
        Self::FragDrop,
        Self::PortNoRecv,
        Self::PortNoFwd,
        Self::PatchCut,
        Self::TtlExpired,
        Self::GroupEmpty,
        Self::VlanTagOnAccess,
        Self::VlanNotInTrunk,
        Self::VlanCvlan,
        Self::VlanPartial,
        Self::ReservedMulticast,
        Self::SplitHorizon,
        Self::NoFloodPort,
        Self::Protected,
        Self::InactiveMember,
        Self::MirrorOutput,
    ];
    /// Whether tables that lead into one another without end are the likely cause.
    pub const fn is_endless(self) -> bool {
        matches!(self, Self::TooDeep | Self::TooManyResubmits)
    }

    /// The slow path had no room.
    pub const NO_ROOM: &'static [Self] =
        &[Self::UpcallQueueFull, Self::ParkingFull, Self::ParkTimeout];
}

/// One counter per reason; relaxed atomics, so that anybody may read while a worker counts.
#[derive(Debug)]
pub struct DropCounters([AtomicU64; DropReason::ALL.len()]);

impl DropCounters {
    pub fn new() -> Self {
        Self([const { AtomicU64::new(0) }; DropReason::ALL.len()])
    }

    pub fn add(&self, reason: DropReason, n: u64) {
        self.0[reason as usize].fetch_add(n, Ordering::Relaxed);
    }

    pub fn read(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    /// Reasons that ever happened, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .map(|r| (*r, self.read(*r)))
            .filter(|(_, n)| *n > 0)
    }
}

impl Default for DropCounters {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_counters_are_their_own() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
        let c = DropCounters::new();
        c.add(DropReason::TooBig, 3);
        assert_eq!(c.iter().collect::<Vec<_>>(), vec![(DropReason::TooBig, 3)]);
    }
}
