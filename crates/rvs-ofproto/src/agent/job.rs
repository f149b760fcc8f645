//! Long replies, written in slices.
//!
//! A reply may have a million entries. It is written while its reader reads:
//! [`TURN_ENTRIES`](super::limits::TURN_ENTRIES) a turn and only while less than [`REPLY_BACKLOG`] waits, from the one
//! version of the tables that was pinned when it was asked for. Requests that come later on the connection wait for it, so
//! that replies keep their order and a barrier means what it says.

use std::collections::VecDeque;

use rvs_openflow::message::{
    AggregateStats, FlowStats, FlowStatsForm, FlowUpdate, MonitorFlags, Parts, Reply,
};
use rvs_packet::Now;

use super::agent::Agent;
use super::connection::Connection;
use super::limits::REPLY_BACKLOG;
use super::monitor;
use crate::state::{aggregate, flow_stats, FlowDump, Ofproto};

/// Entries that are written at once.
const SLICE: usize = 256;

/// Flows that are counted in the time that one is written.
const COUNTED: usize = 8;

/// A reply that is being written.
#[derive(Debug)]
pub(super) struct Job {
    source: Source,
    out: Out,
}

/// Where entries come from.
#[derive(Debug)]
enum Source {
    /// Flow statistics.
    Flows(FlowDump, FlowForm),
    /// Their sums.
    Sums(FlowDump, FlowStatsForm, AggregateStats),
    /// Entries that are there already, in pieces.
    Rows(VecDeque<Reply>),
    /// What monitors see; with a time, of flows that have changed since.
    Monitors(VecDeque<(FlowDump, MonitorFlags)>, Option<Now>),
}

/// Which reply flow statistics make.
#[derive(Clone, Copy, Debug)]
pub(super) enum FlowForm {
    Stats(FlowStatsForm),
    /// `OFPMP_FLOW_STATS` of 1.5.
    Counters,
}

impl FlowForm {
    fn reply(self, flows: Vec<FlowStats>) -> Reply {
        match self {
            Self::Stats(form) => Reply::Flow(form, flows),
            Self::Counters => Reply::FlowCounters(flows),
        }
    }
}

/// Where they go.
#[derive(Debug)]
enum Out {
    /// The parts of one reply.
    Reply(Parts),
    /// Updates that belong to no request.
    Updates,
}

impl Job {
    fn reply(conn: &Connection, xid: u32, source: Source) -> Self {
        Self {
            source,
            out: Out::Reply(Parts::new(conn.dialect, xid)),
        }
    }

    pub(super) fn flows(conn: &Connection, xid: u32, dump: FlowDump, form: FlowForm) -> Self {
        Self::reply(conn, xid, Source::Flows(dump, form))
    }

    pub(super) fn sums(conn: &Connection, xid: u32, dump: FlowDump, form: FlowStatsForm) -> Self {
        let zero = AggregateStats::default();
        Self::reply(conn, xid, Source::Sums(dump, form, zero))
    }

    /// A reply in pieces, one at least.
    pub(super) fn rows(conn: &Connection, xid: u32, pieces: impl Into<VecDeque<Reply>>) -> Self {
        Self::reply(conn, xid, Source::Rows(pieces.into()))
    }

    /// The flows that new monitors see.
    pub(super) fn initial(
        conn: &Connection,
        xid: u32,
        dumps: VecDeque<(FlowDump, MonitorFlags)>,
    ) -> Self {
        Self::reply(conn, xid, Source::Monitors(dumps, None))
    }

    /// What a paused monitor has missed since `since`.
    pub(super) fn missed(dumps: VecDeque<(FlowDump, MonitorFlags)>, since: Now) -> Self {
        Self {
            source: Source::Monitors(dumps, Some(since)),
            out: Out::Updates,
        }
    }

    /// Whether it lists flows for flow monitors.
    pub(super) fn is_of_monitors(&self) -> bool {
        matches!(self.source, Source::Monitors(..))
    }

    /// Takes up to `max` entries from the source and writes them. True when there are no more.
    fn slice(&mut self, now: Now, max: usize, state: &mut Ofproto, conn: &mut Connection) -> bool {
        let (piece, done) = match &mut self.source {
            Source::Flows(dump, form) => {
                let mut flows = Vec::new();
                let done = state.dump_next(dump, max, |f| flows.push(flow_stats(&f, now)));
                (form.reply(flows), done)
            }
            Source::Sums(dump, form, sum) => {
                let done = state.dump_next(dump, max * COUNTED, |f| aggregate(sum, &f));
                if !done {
                    return false;
                }
                (Reply::Aggregate(*form, *sum), true)
            }
            Source::Rows(pieces) => match pieces.pop_front() {
                Some(piece) => (piece, pieces.is_empty()),
                None => return true,
            },
            Source::Monitors(dumps, since) => {
                let mut updates = Vec::new();
                if let Some((dump, flags)) = dumps.front_mut() {
                    let (flags, since) = (*flags, *since);
                    let done = state.dump_next(dump, max, |f| {
                        updates.extend(monitor::of_dump(&f, flags, since));
                    });
                    if done {
                        if let Some((dump, _)) = dumps.pop_front() {
                            state.dump_end(dump);
                        }
                    }
                }
                (Reply::FlowMonitor(updates), dumps.is_empty())
            }
        };
        self.out.write(piece, conn);
        done
    }

    /// Lets go of what is pinned.
    fn end(self, state: &mut Ofproto) -> Out {
        match self.source {
            Source::Flows(dump, _) | Source::Sums(dump, ..) => state.dump_end(dump),
            Source::Rows(_) => {}
            Source::Monitors(dumps, _) => dumps.into_iter().for_each(|(d, _)| state.dump_end(d)),
        }
        self.out
    }
}

impl Out {
    fn write(&mut self, piece: Reply, conn: &mut Connection) {
        match (self, piece) {
            (Self::Reply(parts), piece) => parts.push(&piece, |m| conn.send_bytes(&m)),
            (Self::Updates, Reply::FlowMonitor(updates)) => send_updates(conn, updates),
            (Self::Updates, _) => {}
        }
    }
}

/// Sends updates of flow monitors that answer no request.
pub(super) fn send_updates(conn: &mut Connection, updates: Vec<FlowUpdate>) {
    if updates.is_empty() {
        return;
    }
    let mut parts = Parts::new(conn.dialect, 0);
    parts.push(&Reply::FlowMonitor(updates), |m| conn.tell_bytes(&m));
    let last = parts.finish();
    conn.tell_bytes(&last);
}

impl Agent {
    /// Goes on with the connection's long reply, if it has one. `budget` entries are left in this turn.
    pub(super) fn work_on_job(&mut self, now: Now, conn: &mut Connection, budget: &mut usize) {
        let Some(mut job) = conn.job.take() else {
            return;
        };
        loop {
            if *budget == 0 || conn.backlog() >= REPLY_BACKLOG || conn.is_closing() {
                conn.job = Some(job);
                return;
            }
            let n = SLICE.min(*budget);
            *budget -= n;
            if job.slice(now, n, &mut self.state, conn) {
                break;
            }
        }
        match job.end(&mut self.state) {
            Out::Reply(parts) => {
                if parts.skipped() > 0 {
                    let (conn, n) = (conn.id.0, parts.skipped());
                    tracing::debug!(
                        conn,
                        n,
                        "entries that the version has no words for are left out"
                    );
                }
                if parts.oversized() > 0 && conn.log.allows(now) {
                    // As Open vSwitch says it, for those that look for it.
                    tracing::warn!(
                        target: "ofp_flow",
                        "Flow exceeded the maximum flow statistics reply size and was excluded from the response set"
                    );
                }
                conn.send_bytes(&parts.finish());
            }
            Out::Updates => {}
        }
        monitor::flush(now, conn, &mut self.state);
    }

    /// Gives the connection's long reply up.
    pub(super) fn end_job(&mut self, conn: &mut Connection) {
        if let Some(job) = conn.job.take() {
            job.end(&mut self.state);
        }
    }
}
