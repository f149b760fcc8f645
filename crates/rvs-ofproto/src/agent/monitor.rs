//! Flow monitors: controllers that want to hear of every change of certain flows.
//!
//! What a connection changes itself it hears in short, by the transaction's id. When more than [`MONITOR_BACKLOG`] waits to
//! be sent, its monitors pause: deletions of flows that it knows are still reported, and when it has read, what was added or
//! changed in the meantime is read off the tables, so that a slow reader costs memory for no more than the flows it knew.

use std::collections::{BTreeMap, VecDeque};

use rvs_flow::OfPort;
use rvs_openflow::message::{
    FlowChange, FlowEvent, FlowMonitorRequest, FlowUpdate, MonitorCommand, MonitorFlags,
};
use rvs_openflow::{
    ErrorCode, FlowMatch, GroupId, Instructions, Message, OfError, TableId, Version,
};
use rvs_packet::Now;

use super::agent::{Agent, Call};
use super::connection::Connection;
use super::job::{send_updates, Job};
use super::limits::{MONITORS, MONITOR_BACKLOG, MONITOR_HELD};
use super::status::CloseReason;
use crate::plant::Plant;
use crate::state::{
    forwards_to, outputs_to, FlowChangeKind, FlowChanged, FlowDump, FlowSelect, FlowView, Ofproto,
};
use crate::ConnId;

#[derive(Clone, Debug)]
struct Monitor {
    flags: MonitorFlags,
    select: FlowSelect,
}

/// The monitors of a connection.
#[derive(Debug, Default)]
pub(super) struct Monitors {
    by_id: BTreeMap<u32, Monitor>,
    /// Updates of the request being handled.
    pending: Vec<FlowUpdate>,
    paused: Option<Pause>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    /// What was added later it has not been told of.
    at: Now,
    /// The first change that is to be told.
    missed: Option<Now>,
}

impl Pause {
    fn new(now: Now, state: &mut Ofproto) -> Self {
        Self {
            at: state.divide(now),
            missed: None,
        }
    }
}

impl Monitor {
    /// By the specification `ONLY_OWN` without `NO_ABBREV` asks for nothing but the numbers of one's own requests.
    /// `ovs-ofctl` means by it what older versions call `own`: everybody's changes, one's own in full.
    fn of(q: FlowMonitorRequest) -> Self {
        let mut flags = q.flags;
        if flags.has(MonitorFlags::ONLY_OWN) && !flags.has(MonitorFlags::NO_ABBREV) {
            flags.0 ^= MonitorFlags::ONLY_OWN.0 | MonitorFlags::NO_ABBREV.0;
        }
        Self {
            flags,
            select: FlowSelect {
                table: q.table,
                matching: q.matching,
                out_port: q.out_port,
                out_group: q.out_group,
                ..FlowSelect::all()
            },
        }
    }

    fn sees(&self, c: &FlowChanged, own: bool) -> bool {
        let FlowSelect {
            table,
            matching,
            out_port,
            out_group,
            ..
        } = &self.select;
        let wanted = match c.kind {
            FlowChangeKind::Added => MonitorFlags::ADD,
            FlowChangeKind::Modified => MonitorFlags::MODIFY,
            FlowChangeKind::Removed(_) => MonitorFlags::REMOVED,
        };
        // Who leaves a port by a change is seen leaving it. Not so with groups: the field looks at the new flow alone.
        let either = |f: &dyn Fn(&Instructions) -> bool| {
            f(&c.instructions) || c.before.as_ref().is_some_and(f)
        };
        self.flags.has(wanted)
            && (own || !self.flags.has(MonitorFlags::ONLY_OWN))
            && (*table == TableId::ALL || *table == c.table)
            && c.matching.is_more_specific(matching)
            && (*out_port == OfPort::ANY || either(&|i| outputs_to(i, *out_port)))
            && (*out_group == GroupId::ANY || forwards_to(&c.instructions, *out_group))
    }
}

impl Monitors {
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn cancel(&mut self, id: u32) -> Result<(), OfError> {
        match self.by_id.remove(&id) {
            Some(_) => Ok(()),
            None => Err(unknown(id)),
        }
    }

    /// Notes a change, if a monitor sees it.
    pub(super) fn hear(&mut self, conn: ConnId, c: &FlowChanged) {
        let own = c.by.conn == Some(conn);
        let mut flags = MonitorFlags(0);
        for m in self.by_id.values().filter(|m| m.sees(c, own)) {
            flags.0 |= m.flags.0;
        }
        if flags.0 == 0 {
            return;
        }
        let removed = matches!(c.kind, FlowChangeKind::Removed(_));
        if let Some(pause) = &mut self.paused {
            if !removed {
                pause.missed = Some(pause.missed.map_or(c.changed, |t| t.min(c.changed)));
                return;
            }
            if c.created > pause.at && !c.replaces {
                return;
            }
        } else if own && !flags.has(MonitorFlags::NO_ABBREV) {
            let short = FlowUpdate::Abbrev { xid: c.by.xid };
            if self.pending.last() != Some(&short) {
                self.pending.push(short);
            }
            return;
        }
        self.pending.push(of_change(c, flags));
    }

    /// True when they are paused and need not be, with so much waiting.
    pub(super) const fn may_resume(&self, backlog: usize) -> bool {
        self.paused.is_some() && backlog <= MONITOR_BACKLOG / 2
    }

    /// What there is to tell.
    pub(super) fn take_pending(&mut self) -> Vec<FlowUpdate> {
        std::mem::take(&mut self.pending)
    }
}

fn unknown(id: u32) -> OfError {
    ErrorCode::MofcUnknownMonitor.because(format!("there is no flow monitor {id}"))
}

fn instructions(all: &Instructions, flags: MonitorFlags) -> Instructions {
    if flags.has(MonitorFlags::INSTRUCTIONS) {
        all.clone()
    } else {
        Instructions::default()
    }
}

fn of_change(c: &FlowChanged, flags: MonitorFlags) -> FlowUpdate {
    FlowUpdate::Flow(Box::new(FlowChange {
        event: match c.kind {
            FlowChangeKind::Added => FlowEvent::Added,
            FlowChangeKind::Modified => FlowEvent::Modified,
            FlowChangeKind::Removed(why) => FlowEvent::Removed(why),
        },
        table: c.table,
        priority: c.priority,
        idle_timeout: c.idle_timeout,
        hard_timeout: c.hard_timeout,
        cookie: c.cookie,
        matching: c.matching,
        instructions: instructions(&c.instructions, flags),
    }))
}

/// A flow as a monitor reports it: as it is when the monitor is made, or what has become of it since.
pub(super) fn of_dump(
    f: &FlowView<'_>,
    flags: MonitorFlags,
    since: Option<Now>,
) -> Option<FlowUpdate> {
    let event = match since {
        None => FlowEvent::Initial,
        Some(t) if f.rule.created >= t && flags.has(MonitorFlags::ADD) => FlowEvent::Added,
        Some(t) if f.rule.modified >= t && flags.has(MonitorFlags::MODIFY) => FlowEvent::Modified,
        Some(_) => return None,
    };
    let (idle_timeout, hard_timeout) = f.rule.timeouts();
    let matching: FlowMatch = f.matching;
    Some(FlowUpdate::Flow(Box::new(FlowChange {
        event,
        table: f.table,
        priority: f.priority,
        idle_timeout,
        hard_timeout,
        cookie: f.rule.cookie,
        matching,
        instructions: instructions(&f.rule.instructions, flags),
    })))
}

impl Agent {
    /// Makes, changes and deletes monitors: all that the request asks, or nothing.
    pub(super) fn flow_monitor<P: Plant>(
        &mut self,
        conn: &mut Connection,
        call: &mut Call<'_, P>,
        requests: Vec<FlowMonitorRequest>,
    ) -> Result<(), OfError> {
        let mut after = conn.monitors.by_id.clone();
        let mut initial = BTreeMap::new();
        for q in requests {
            let id = q.id;
            if q.command != MonitorCommand::Add && !after.contains_key(&id) {
                return Err(unknown(id));
            }
            if q.command == MonitorCommand::Delete {
                after.remove(&id);
                initial.remove(&id);
                continue;
            }
            if q.command == MonitorCommand::Add && after.contains_key(&id) {
                let why = format!("there is a flow monitor {id} already");
                return Err(ErrorCode::MofcMonitorExists.because(why));
            }
            if q.table > TableId::MAX && q.table != TableId::ALL {
                let why = format!("table {}; there are tables 0 to 253", q.table.0);
                return Err(ErrorCode::MofcBadTableId.because(why));
            }
            let monitor = Monitor::of(q);
            if monitor.flags.has(MonitorFlags::INITIAL) {
                initial.insert(id, monitor.clone());
            } else {
                initial.remove(&id);
            }
            after.insert(id, monitor);
            if after.len() > MONITORS {
                return Err(ErrorCode::MofcUnknown
                    .because(format!("a connection has {MONITORS} flow monitors at most")));
            }
        }
        conn.monitors.by_id = after;
        self.wishes_changed = true;
        if !conn.monitors.is_empty() {
            self.state.set_watched(true);
        }
        let dumps = self.dumps(initial.values(), call.plant);
        conn.job = Some(Job::initial(conn, call.xid, dumps));
        Ok(())
    }

    fn dumps<'a, P: Plant>(
        &mut self,
        monitors: impl Iterator<Item = &'a Monitor>,
        plant: &mut P,
    ) -> VecDeque<(FlowDump, MonitorFlags)> {
        monitors
            .map(|m| (self.state.dump(plant, m.select), m.flags))
            .collect()
    }

    /// Pauses the connection's monitors when too much waits, and resumes them when it has been read.
    pub(super) fn mind_monitors<P: Plant>(
        &mut self,
        now: Now,
        conn: &mut Connection,
        plant: &mut P,
    ) {
        if conn.job.is_some() || !conn.is_open() || !conn.monitors.may_resume(conn.backlog()) {
            return;
        }
        let Some(pause) = conn.monitors.paused else {
            return;
        };
        let Some(since) = pause.missed.filter(|_| !conn.monitors.is_empty()) else {
            conn.monitors.paused = None;
            return tell_pause(conn, false);
        };
        conn.monitors.paused = Some(Pause::new(now, &mut self.state));
        let monitors: Vec<Monitor> = conn.monitors.by_id.values().cloned().collect();
        let dumps = self.dumps(monitors.iter(), plant);
        conn.job = Some(Job::missed(dumps, since));
    }
}

/// Sends what monitors have collected, and pauses them if that is too much.
///
/// While their flows are still being listed, as they were when that began, later changes wait: the last word about a flow is
/// to be the true one.
pub(super) fn flush(now: Now, conn: &mut Connection, state: &mut Ofproto) {
    if conn.job.as_ref().is_some_and(Job::is_of_monitors) {
        if conn.monitors.pending.len() > MONITOR_HELD {
            conn.close(CloseReason::NotReading);
        }
        return;
    }
    let updates = conn.monitors.take_pending();
    if updates.is_empty() {
        return;
    }
    send_updates(conn, updates);
    if conn.backlog() > MONITOR_BACKLOG && conn.monitors.paused.is_none() {
        conn.monitors.paused = Some(Pause::new(now, state));
        tell_pause(conn, true);
    }
}

fn tell_pause(conn: &mut Connection, paused: bool) {
    if conn.version() >= Version::Of14 {
        let update = match paused {
            true => FlowUpdate::Paused,
            false => FlowUpdate::Resumed,
        };
        return send_updates(conn, vec![update]);
    }
    conn.tell(&match paused {
        true => Message::FlowMonitorPaused,
        false => Message::FlowMonitorResumed,
    });
}
