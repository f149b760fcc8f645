//! Which messages a connection hears unasked, by role (OpenFlow 1.3.5 section 7.3.10, 1.4.1 section 7.3.10).
//!
//! Reasons are kept as 1.4 numbers them. An older version's bit stands for all the finer reasons that 1.4 made of it.

use rvs_openflow::message::{AsyncConfig, AsyncKind};
use rvs_openflow::{PacketInReason, Version};

/// `OFPR_ACTION` of 1.0 to 1.3, and what 1.4 made of it beside itself: action set, group, packet-out.
const ACTION: u32 = 1 << 1;
const FINER_ACTIONS: u32 = 0x38;
const INVALID_TTL: u32 = 1 << 2;
/// `OFPRR_DELETE`; meter deletion and eviction are deletions before 1.4, group deletion has its own bit from 1.1 on.
const DELETE: u32 = 1 << 2;
const FINER_DELETES: u32 = 0x30;

/// What a secondary hears too, until it says otherwise. The specification's sentence is that it hears of ports alone (OpenFlow 1.3.5
/// section 6.3.6, and later ones in the same place). Its own role is told it as Open vSwitch does. That it hears of other
/// controllers is our choice: a standby that takes over when the primary's channel goes has to know that it went.
const OF_ALL_ROLES: [AsyncKind; 3] = [
    AsyncKind::PortStatus,
    AsyncKind::RoleStatus,
    AsyncKind::ControllerStatus,
];

/// The masks of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AsyncMasks {
    /// By [`AsyncKind`]: while primary or equal, and while secondary.
    masks: [[u32; 2]; AsyncKind::ALL.len()],
}

impl Default for AsyncMasks {
    /// Until the controller says otherwise: everything but expired TTLs and other controllers' requests; a secondary hears
    /// of ports, of its role and of how the others fare.
    fn default() -> Self {
        let all = |kind: AsyncKind| kind.reasons(Version::Of15);
        let mut masks = [[0; 2]; AsyncKind::ALL.len()];
        masks[AsyncKind::PacketIn as usize] = [all(AsyncKind::PacketIn) & !INVALID_TTL, 0];
        masks[AsyncKind::FlowRemoved as usize] = [all(AsyncKind::FlowRemoved), 0];
        masks[AsyncKind::TableStatus as usize] = [all(AsyncKind::TableStatus), 0];
        masks[AsyncKind::FlowStats as usize] = [all(AsyncKind::FlowStats), 0];
        for kind in OF_ALL_ROLES {
            masks[kind as usize] = [all(kind); 2];
        }
        Self { masks }
    }
}

impl AsyncMasks {
    /// Takes over what `config` says, as a peer of `version` means it.
    pub(super) fn set(&mut self, config: &AsyncConfig, version: Version) {
        for kind in AsyncKind::ALL {
            for secondary in [false, true] {
                if let Some(mask) = config.get(kind, secondary) {
                    let known = kind.reasons(Version::Of15);
                    self.masks[kind as usize][usize::from(secondary)] =
                        widen(kind, mask, version) & known;
                }
            }
        }
    }

    /// The masks in the reasons of `version`.
    pub(super) fn report(&self, version: Version) -> AsyncConfig {
        let mut config = AsyncConfig::default();
        let known = |k: &AsyncKind| k.reasons(version) != 0;
        for kind in AsyncKind::ALL.into_iter().filter(known) {
            for secondary in [false, true] {
                let mut known = kind.reasons(version);
                if kind == AsyncKind::FlowRemoved && version < Version::Of14 {
                    known &= !FINER_DELETES;
                }
                let mask = self.masks[kind as usize][usize::from(secondary)];
                config.set(kind, secondary, mask & known);
            }
        }
        config
    }

    /// `OFPC_INVALID_TTL_TO_CONTROLLER` of 1.2 and before.
    pub(super) fn set_invalid_ttl(&mut self, on: bool) {
        let mask = &mut self.masks[AsyncKind::PacketIn as usize][0];
        *mask = *mask & !INVALID_TTL | if on { INVALID_TTL } else { 0 };
    }

    pub(super) fn wants_packet_in(&self, reason: PacketInReason, secondary: bool) -> bool {
        let bit = match reason {
            PacketInReason::NoMatch => 0,
            PacketInReason::Action => 1,
            PacketInReason::InvalidTtl => 2,
            PacketInReason::ActionSet => 3,
            PacketInReason::Group => 4,
            PacketInReason::PacketOut => 5,
        };
        self.wants(AsyncKind::PacketIn, bit, secondary)
    }

    pub(super) fn wants(&self, kind: AsyncKind, reason: u32, secondary: bool) -> bool {
        let mask = self.masks[kind as usize][usize::from(secondary)];
        mask.checked_shr(reason).unwrap_or(0) & 1 != 0
    }
}

/// Adds the finer reasons to a mask of a version that has only the coarse ones.
fn widen(kind: AsyncKind, mask: u32, version: Version) -> u32 {
    let (coarse, finer) = match kind {
        AsyncKind::PacketIn => (ACTION, FINER_ACTIONS),
        AsyncKind::FlowRemoved => (DELETE, FINER_DELETES),
        _ => return mask,
    };
    if version < Version::Of14 && mask & coarse != 0 && mask & finer == 0 {
        mask | finer
    } else {
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expired_ttls_are_off_until_asked_for() {
        let mut m = AsyncMasks::default();
        assert!(!m.wants_packet_in(PacketInReason::InvalidTtl, false));
        assert!(m.wants_packet_in(PacketInReason::NoMatch, false));
        assert!(m.wants_packet_in(PacketInReason::Group, false));
        m.set_invalid_ttl(true);
        assert!(m.wants_packet_in(PacketInReason::InvalidTtl, false));
        m.set_invalid_ttl(false);
        assert_eq!(m, AsyncMasks::default());
    }

    #[test]
    fn a_secondary_hears_of_ports_and_roles() {
        let m = AsyncMasks::default();
        for kind in AsyncKind::ALL {
            let hears = (0..32).any(|r| m.wants(kind, r, true));
            let should = OF_ALL_ROLES.contains(&kind);
            assert_eq!(hears, should, "{kind:?}");
        }
        assert!(!m.wants(AsyncKind::PortStatus, 32, true));
    }

    #[test]
    fn an_old_bit_stands_for_the_finer_reasons() {
        let mut m = AsyncMasks::default();
        let mut c = AsyncConfig::default();
        c.set(AsyncKind::PacketIn, false, 0b010);
        m.set(&c, Version::Of13);
        assert!(m.wants_packet_in(PacketInReason::Group, false));
        assert!(!m.wants_packet_in(PacketInReason::NoMatch, false));
        c.set(AsyncKind::PacketIn, false, 0b001);
        m.set(&c, Version::Of13);
        assert!(!m.wants_packet_in(PacketInReason::Group, false));
        let said = m.report(Version::Of13);
        assert_eq!(said.get(AsyncKind::PacketIn, false), Some(1));
        assert_eq!(said.get(AsyncKind::FlowRemoved, false), Some(0xf));
        let said = m.report(Version::Of14);
        assert_eq!(said.get(AsyncKind::FlowRemoved, false), Some(0x3f));
    }

    #[test]
    fn what_a_message_leaves_out_stays() {
        let mut m = AsyncMasks::default();
        m.set(&AsyncConfig::default(), Version::Of14);
        assert_eq!(m, AsyncMasks::default());
    }
}
