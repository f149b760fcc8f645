//! What happened, told to those who want to hear of it.

use std::collections::BTreeMap;

use rvs_openflow::message::{
    AsyncKind, FlowStats, Parts, PortChange, Reply, RequestForward, TableReason,
};
use rvs_openflow::{Message, Version};
use rvs_packet::Now;

use super::agent::Agent;
use super::connection::Connection;
use super::monitor;
use crate::state::{Event, Mod};
use crate::{Author, ConnId};

/// All connections: the one whose request is being handled stands apart from the others.
struct Everybody<'a> {
    current: Option<&'a mut Connection>,
    others: &'a mut BTreeMap<ConnId, Box<Connection>>,
}

impl Everybody<'_> {
    fn each(&mut self, mut f: impl FnMut(&mut Connection)) {
        if let Some(c) = &mut self.current {
            f(c);
        }
        self.others.values_mut().for_each(|c| f(c));
    }

    /// Tells those who want to hear of such.
    fn tell(&mut self, kind: AsyncKind, reason: u32, message: &Message) {
        self.each(|c| {
            if c.hears_events() && c.masks.wants(kind, reason, c.is_secondary()) {
                c.tell(message);
            }
        });
    }
}

impl Agent {
    /// Tells the connections what the state has collected. `current` is the one whose request did it, if it is not among the
    /// others.
    pub(super) fn hand_out(&mut self, now: Now, current: Option<&mut Connection>) {
        let events = self.state.take_events();
        if events.is_empty() {
            return;
        }
        let mut everybody = Everybody {
            current,
            others: &mut self.conns,
        };
        for event in events {
            hand_out(&mut everybody, event);
        }
        let state = &mut self.state;
        everybody.each(|c| monitor::flush(now, c, state));
    }
}

fn hand_out(everybody: &mut Everybody<'_>, event: Event) {
    match event {
        Event::FlowRemoved(f) => {
            let reason = f.reason as u32;
            everybody.tell(AsyncKind::FlowRemoved, reason, &Message::FlowRemoved(f));
        }
        Event::PortStatus(p) => {
            let reason = match p.change {
                PortChange::Add => 0,
                PortChange::Delete => 1,
                PortChange::Modify => 2,
            };
            everybody.tell(AsyncKind::PortStatus, reason, &Message::PortStatus(p));
        }
        Event::PortLive(p) => {
            let message = Message::PortStatus(p);
            everybody.each(|c| {
                let wants = c.masks.wants(AsyncKind::PortStatus, 2, c.is_secondary());
                if c.hears_events() && wants && c.version() >= Version::Of11 {
                    c.tell(&message);
                }
            });
        }
        Event::TableStatus(t) => {
            let reason = match t.reason {
                TableReason::VacancyDown => 3,
                TableReason::VacancyUp => 4,
            };
            everybody.tell(AsyncKind::TableStatus, reason, &Message::TableStatus(t));
        }
        Event::StatTriggered(stats) => tell_statistics(everybody, stats),
        Event::FlowChanged(c) => everybody.each(|conn| conn.monitors.hear(conn.id, &c)),
        Event::Requested(m, by) => forward_request(everybody, *m, &by),
    }
}

/// As a reply that nobody asked for, of transaction 0. Versions before 1.5 have no words for it.
fn tell_statistics(everybody: &mut Everybody<'_>, stats: Vec<FlowStats>) {
    const STAT_TRIGGER: u32 = 1;
    let reply = Reply::FlowCounters(stats);
    everybody.each(|c| {
        let wants = c
            .masks
            .wants(AsyncKind::FlowStats, STAT_TRIGGER, c.is_secondary());
        if c.version() >= Version::Of15 && c.hears_events() && wants {
            let mut parts = Parts::new(c.dialect, 0);
            parts.push(&reply, |m| c.tell_bytes(&m));
            c.tell_bytes(&parts.finish());
        }
    });
}

/// Another controller's group- or meter-mod.
fn forward_request(everybody: &mut Everybody<'_>, m: Mod, by: &Author) {
    let (reason, request) = match m {
        Mod::Group(m) => (0, Message::GroupMod(m)),
        Mod::Meter(m) => (1, Message::MeterMod(m)),
        _ => return,
    };
    let message = Message::RequestForward(Box::new(RequestForward {
        xid: by.xid,
        request,
    }));
    everybody.each(|c| {
        let wants = c
            .masks
            .wants(AsyncKind::RequestForward, reason, c.is_secondary());
        if by.conn != Some(c.id) && c.hears_events() && wants {
            c.tell(&message);
        }
    });
}
