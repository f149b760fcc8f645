//! Statistics and descriptions.

use std::collections::VecDeque;

use rvs_flow::OfPort;
use rvs_openflow::message::{
    BundleFeatures, BundleFeaturesRequest, BundleFlags, FlowStatsRequest, MultipartRequest, Queue,
    QueueSelector, QueueStats, Reply, Request, TableFeatures, QUEUE_ALL,
};
use rvs_openflow::{ErrorCode, OfError, TableId, Version};
use rvs_packet::Now;

use super::agent::{Agent, Call};
use super::connection::Connection;
use super::job::{FlowForm, Job};
use crate::plant::Plant;
use crate::state::{FlowSelect, Mod};
use crate::Author;

/// Entries in a piece of a reply.
const PIECE: usize = 64;

/// Cuts entries into pieces; one, if empty, so that a reply has its kind.
fn pieces<T>(mut all: Vec<T>, reply: impl Fn(Vec<T>) -> Reply) -> VecDeque<Reply> {
    let mut out = VecDeque::new();
    while all.len() > PIECE {
        let rest = all.split_off(PIECE);
        out.push_back(reply(std::mem::replace(&mut all, rest)));
    }
    out.push_back(reply(all));
    out
}

/// Bundles are done at once, all or nothing, and in order.
///
/// # Errors
/// The request sets how far ahead a commit may be scheduled, and none can be.
fn bundle_features(q: BundleFeaturesRequest) -> Result<BundleFeatures, OfError> {
    if q.flags & BundleFeaturesRequest::SET_SCHED != 0 {
        return Err(ErrorCode::BrcMultipartBadSched
            .because("tolerances for scheduled bundles; this switch commits when it is told to"));
    }
    Ok(BundleFeatures {
        capabilities: BundleFlags(BundleFlags::ATOMIC.0 | BundleFlags::ORDERED.0),
    })
}

fn check_table(q: &FlowStatsRequest) -> Result<(), OfError> {
    if q.table <= TableId::MAX || q.table == TableId::ALL {
        return Ok(());
    }
    Err(ErrorCode::BrcBadTableId.because(format!("table {}; there are tables 0 to 253", q.table.0)))
}

impl Agent {
    pub(super) fn multipart<P: Plant>(
        &mut self,
        conn: &mut Connection,
        call: &mut Call<'_, P>,
        part: MultipartRequest,
    ) -> Result<(), OfError> {
        let whole = conn
            .reassembly
            .push(call.now.0, call.xid, call.octets, part)?;
        match whole {
            None => Ok(()),
            Some(Request::FlowMonitor(requests)) => self.flow_monitor(conn, call, requests),
            Some(Request::TableFeatures(set)) => self.table_features(conn, call, set),
            Some(request) => {
                let job = self.job(conn, call, request)?;
                conn.job = Some(job);
                Ok(())
            }
        }
    }

    /// What a request asks for, to be written.
    fn job<P: Plant>(
        &mut self,
        conn: &Connection,
        call: &mut Call<'_, P>,
        request: Request,
    ) -> Result<Job, OfError> {
        let (now, plant) = (call.now, &mut *call.plant);
        let rows = match request {
            Request::Flow(q) => {
                check_table(&q)?;
                let dump = self.state.dump(plant, FlowSelect::from(&*q));
                return Ok(Job::flows(conn, call.xid, dump, FlowForm::Stats(q.form)));
            }
            Request::FlowCounters(q) => {
                check_table(&q)?;
                let dump = self.state.dump(plant, FlowSelect::from(&*q));
                return Ok(Job::flows(conn, call.xid, dump, FlowForm::Counters));
            }
            Request::Aggregate(q) => {
                check_table(&q)?;
                let dump = self.state.dump(plant, FlowSelect::from(&*q));
                return Ok(Job::sums(conn, call.xid, dump, q.form));
            }
            Request::Desc => [Reply::Desc(Box::new(self.identity.desc.clone()))].into(),
            Request::Table => pieces(self.state.table_stats(plant), Reply::Table),
            Request::Port(port) => self.port_stats(now, port, plant)?,
            Request::PortDesc(port) => {
                self.check_port(port)?;
                let ports = self.state.ports().filter(|p| is(port, p.number));
                pieces(ports.collect(), Reply::PortDesc)
            }
            Request::Queue(q) => {
                let queues = self.queues(now, q, plant)?.into_iter();
                pieces(queues.map(|(_, stats)| stats).collect(), Reply::Queue)
            }
            Request::QueueDesc(q) => {
                let queues = self.queues(now, q, plant)?.into_iter();
                pieces(queues.map(|(queue, _)| queue).collect(), Reply::QueueDesc)
            }
            Request::Group(id) => pieces(self.state.group_stats(now, id, plant), Reply::Group),
            Request::GroupDesc(id) => pieces(self.state.group_desc(id, plant), Reply::GroupDesc),
            Request::GroupFeatures => [Reply::GroupFeatures(
                self.state.group_features(conn.version()),
            )]
            .into(),
            Request::Meter(id) => pieces(self.state.meter_stats(now, id, plant)?, Reply::Meter),
            Request::MeterConfig(id) => {
                pieces(self.state.meter_config(id, plant)?, Reply::MeterConfig)
            }
            Request::MeterFeatures => [Reply::MeterFeatures(self.state.meter_features())].into(),
            Request::TableDesc => pieces(self.state.table_desc(plant), Reply::TableDesc),
            Request::ControllerStatus => {
                pieces(self.controllers(Some(conn)), Reply::ControllerStatus)
            }
            Request::BundleFeatures(q) => [Reply::BundleFeatures(bundle_features(q)?)].into(),
            Request::TableFeatures(_) | Request::FlowMonitor(_) => VecDeque::new(),
        };
        Ok(Job::rows(conn, call.xid, rows))
    }

    /// Reads what tables can do, after setting it if entries say so.
    fn table_features<P: Plant>(
        &mut self,
        conn: &mut Connection,
        call: &mut Call<'_, P>,
        set: Vec<TableFeatures>,
    ) -> Result<(), OfError> {
        if !set.is_empty() {
            conn.check_may_change()?;
            let author = Author {
                conn: Some(conn.id),
                version: conn.version(),
                xid: call.xid,
            };
            let change = [Mod::TableFeatures(set)];
            self.state
                .apply(call.now, &author, change, call.plant)
                .map_err(|(_, e)| e)?;
        }
        let rows = pieces(
            self.state.table_features(conn.version(), call.plant),
            Reply::TableFeatures,
        );
        conn.job = Some(Job::rows(conn, call.xid, rows));
        Ok(())
    }

    fn port_stats<P: Plant>(
        &self,
        now: Now,
        port: OfPort,
        plant: &mut P,
    ) -> Result<VecDeque<Reply>, OfError> {
        self.check_port(port)?;
        let ports = self.state.ports().filter(|p| is(port, p.number));
        let stats = ports.filter_map(|p| plant.port_stats(now, self.id, p.number));
        Ok(pieces(stats.collect(), Reply::Port))
    }

    fn check_port(&self, port: OfPort) -> Result<(), OfError> {
        if port == OfPort::ANY || self.has_port(port) {
            return Ok(());
        }
        Err(ErrorCode::BrcBadPort.because(format!("the bridge has no port {}", port.0)))
    }

    /// The queues that are meant, by port and number.
    ///
    /// # Errors
    /// No such port, or no such queue on any of them.
    pub(super) fn queues<P: Plant>(
        &self,
        now: Now,
        q: QueueSelector,
        plant: &mut P,
    ) -> Result<Vec<(Queue, QueueStats)>, OfError> {
        self.check_queue_port(q.port)?;
        let ports = self.state.ports().filter(|p| is(q.port, p.number));
        let meant = |(queue, _): &(Queue, _)| q.queue == QUEUE_ALL || queue.id == q.queue;
        let found: Vec<_> = ports
            .flat_map(|p| plant.queues(now, self.id, p.number))
            .filter(meant)
            .collect();
        if q.queue == QUEUE_ALL || !found.is_empty() {
            return Ok(found);
        }
        Err(ErrorCode::QofcBadQueue.because(format!("there is no queue {}", q.queue)))
    }
}

/// True if `port` is meant by `asked`.
fn is(asked: OfPort, port: OfPort) -> bool {
    asked == OfPort::ANY || asked == port
}

/// Answers requests whose rest did not come in time.
pub(super) fn expire(now: Now, conn: &mut Connection) {
    for xid in conn.reassembly.expire(now.0) {
        let e = ErrorCode::BrcMultipartRequestTimeout
            .because("the rest of a multipart request did not come within a second");
        let request = header(conn.version(), xid);
        conn.refuse(now, &e, &request);
    }
}

/// The header of a multipart request, of which the rest is forgotten.
fn header(version: Version, xid: u32) -> [u8; 8] {
    let kind = if version == Version::Of10 { 16 } else { 18 };
    let [a, b, c, d] = xid.to_be_bytes();
    [version.wire(), kind, 0, 8, a, b, c, d]
}
