//! The controllers that the configuration names, and what others are told of them (OpenFlow 1.5): one that loses its channel
//! can be replaced by another that hears of it.

use rvs_openflow::message::{AsyncKind, ControllerReason, ControllerStatus, Role};
use rvs_openflow::Message;

use super::agent::Agent;
use super::connection::Connection;
use crate::ConnId;

/// A controller, connected or not.
#[derive(Debug)]
pub(super) struct Entry {
    conn: Option<ConnId>,
    /// As the others know it.
    told: ControllerStatus,
}

impl Agent {
    /// The controllers that the configuration names, by URI. The others hear of who comes and goes.
    pub fn set_controllers(&mut self, uris: &[String]) {
        let (kept, gone) = std::mem::take(&mut self.roster)
            .into_iter()
            .partition(|e: &Entry| uris.contains(&e.told.uri));
        self.roster = kept;
        for entry in gone {
            self.tell_of(entry.conn, entry.told, ControllerReason::Removed);
        }
        for uri in uris {
            if self.roster.iter().any(|e| e.told.uri == *uri) {
                continue;
            }
            let told = ControllerStatus {
                short_id: 0,
                role: Role::Equal,
                reason: ControllerReason::Added,
                up: false,
                uri: uri.clone(),
            };
            self.roster.push(Entry {
                conn: None,
                told: told.clone(),
            });
            self.tell_of(None, told, ControllerReason::Added);
        }
    }

    /// The connection is that of the controller of this URI.
    pub fn belongs_to(&mut self, conn: ConnId, uri: &str) {
        if let Some(e) = self.roster.iter_mut().find(|e| e.told.uri == uri) {
            e.conn = Some(conn);
        }
    }

    /// How every controller fares. `current` is the connection that is being served, if it is not among the others.
    pub(super) fn controllers(&self, current: Option<&Connection>) -> Vec<ControllerStatus> {
        let status = |e: &Entry| {
            let others = || e.conn.and_then(|id| self.conns.get(&id).map(|c| &**c));
            let here = current.filter(|c| e.conn == Some(c.id)).or_else(others);
            let mut status = e.told.clone();
            status.reason = ControllerReason::Request;
            status.up = false;
            if let Some(c) = here.filter(|c| c.is_open()) {
                (status.up, status.role, status.short_id) = (true, c.role, c.short_id);
            }
            status
        };
        self.roster.iter().map(status).collect()
    }

    /// Tells the others what is different of each.
    pub(super) fn tell_controllers(&mut self) {
        for (i, new) in self.controllers(None).into_iter().enumerate() {
            let Some(e) = self.roster.get_mut(i) else {
                return;
            };
            let (conn, old) = (e.conn, std::mem::replace(&mut e.told, new.clone()));
            let changes = [
                (old.up != new.up, ControllerReason::Channel),
                (old.role != new.role, ControllerReason::Role),
                (old.short_id != new.short_id, ControllerReason::ShortId),
            ];
            for (_, reason) in changes.into_iter().filter(|(is_new, _)| *is_new) {
                self.tell_of(conn, new.clone(), reason);
            }
        }
    }

    /// Tells those who want to hear of it, except itself.
    fn tell_of(&mut self, about: Option<ConnId>, status: ControllerStatus, why: ControllerReason) {
        let message = Message::ControllerStatus(Box::new(ControllerStatus {
            reason: why,
            ..status
        }));
        for c in self.conns.values_mut() {
            let wants = c
                .masks
                .wants(AsyncKind::ControllerStatus, why as u32, c.is_secondary());
            if about != Some(c.id) && c.hears_events() && wants {
                c.tell(&message);
            }
        }
    }
}
