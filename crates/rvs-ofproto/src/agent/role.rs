//! Roles: who may change the switch (OpenFlow 1.3.5 section 6.3.6).

use rvs_openflow::message::{AsyncKind, Role, RoleMessage, RoleReason, RoleStatus};
use rvs_openflow::{ErrorCode, Message, OfError};

use super::agent::Agent;
use super::async_config::AsyncMasks;
use super::connection::Connection;
use super::status::ConnKind;

impl Connection {
    /// # Errors
    /// A secondary changes nothing. Service connections are bound by no role.
    pub(super) fn check_may_change(&self) -> Result<(), OfError> {
        if self.kind == ConnKind::Primary && self.is_secondary() {
            return Err(ErrorCode::BrcIsSecondary
                .because("a controller in the role of secondary changes nothing; it must become primary or equal"));
        }
        Ok(())
    }
}

/// True if `new` comes before `old` on the circle of 64-bit numbers.
const fn is_stale(new: u64, old: u64) -> bool {
    (new.wrapping_sub(old) as i64) < 0
}

impl Agent {
    pub(super) fn role_request(
        &mut self,
        conn: &mut Connection,
        xid: u32,
        m: RoleMessage,
    ) -> Result<(), OfError> {
        let is_other = |c: &Connection| c.short_id == m.short_id && c.is_open();
        if m.short_id != 0 && self.conns.values().any(|c| is_other(c)) {
            return Err(ErrorCode::RrfcIdInUse.because(format!(
                "short id {}, by which another controller goes",
                m.short_id
            )));
        }
        if let (Role::Primary | Role::Secondary, Some(new)) = (m.role, m.generation_id) {
            if let Some(old) = self.generation.filter(|old| is_stale(new, *old)) {
                return Err(ErrorCode::RrfcStale.because(format!(
                    "generation {new:#x} is older than {old:#x}, which another controller has brought"
                )));
            }
            self.generation = Some(new);
        }
        if m.role == Role::Primary && conn.role != Role::Primary {
            self.demote_primary();
        }
        if m.role != Role::NoChange {
            conn.role = m.role;
            self.wishes_changed = true;
        }
        if m.short_id != 0 {
            conn.short_id = m.short_id;
            self.wishes_changed = true;
        }
        let reply = RoleMessage {
            role: conn.role,
            short_id: conn.short_id,
            generation_id: self.generation.filter(|_| !m.nicira),
            nicira: m.nicira,
        };
        conn.send(xid, &Message::RoleReply(reply));
        Ok(())
    }

    /// There is one primary at most.
    fn demote_primary(&mut self) {
        for other in self.conns.values_mut().filter(|c| c.role == Role::Primary) {
            let wants = |m: &AsyncMasks| {
                m.wants(
                    AsyncKind::RoleStatus,
                    RoleReason::PrimaryRequest as u32,
                    false,
                )
            };
            let tell = other.is_open() && wants(&other.masks);
            other.role = Role::Secondary;
            if tell {
                other.tell(&Message::RoleStatus(RoleStatus {
                    role: Role::Secondary,
                    reason: RoleReason::PrimaryRequest,
                    generation_id: self.generation,
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_go_round_in_a_circle() {
        assert!(!is_stale(5, 5));
        assert!(!is_stale(6, 5));
        assert!(is_stale(4, 5));
        assert!(!is_stale(2, u64::MAX - 1));
        assert!(is_stale(u64::MAX, 3));
    }
}
