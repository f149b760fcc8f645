//! What multipart requests ask.

use rvs_flow::OfPort;

use super::{entries, Kind};
use crate::error::OfError;
use crate::message::bundle::BundleFeaturesRequest;
use crate::message::flow_stats::{FlowStatsForm, FlowStatsRequest};
use crate::message::monitor::FlowMonitorRequest;
use crate::message::port::{pull_port, put_port};
use crate::message::queue::{QueueSelector, QUEUE_ALL};
use crate::message::table_features::TableFeatures;
use crate::model::{GroupId, MeterId};
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Desc,
    Flow(Box<FlowStatsRequest>),
    Aggregate(Box<FlowStatsRequest>),
    Table,
    /// [`OfPort::ANY`] for all.
    Port(OfPort),
    Queue(QueueSelector),
    /// [`GroupId::ALL`] for all.
    Group(GroupId),
    /// [`GroupId::ALL`] for all; from 1.1 to 1.4 always.
    GroupDesc(GroupId),
    GroupFeatures,
    /// [`MeterId::ALL`] for all.
    Meter(MeterId),
    MeterConfig(MeterId),
    MeterFeatures,
    /// Empty asks; entries set.
    TableFeatures(Vec<TableFeatures>),
    /// [`OfPort::ANY`] for all; before 1.5 always.
    PortDesc(OfPort),
    TableDesc,
    QueueDesc(QueueSelector),
    FlowMonitor(Vec<FlowMonitorRequest>),
    /// Flow statistics without instructions (OpenFlow 1.5).
    FlowCounters(Box<FlowStatsRequest>),
    /// OpenFlow 1.5.
    ControllerStatus,
    /// OpenFlow 1.5.
    BundleFeatures(BundleFeaturesRequest),
}

impl Request {
    pub(super) fn kind(&self) -> Kind {
        let nicira = |q: &FlowStatsRequest| q.form == FlowStatsForm::Nicira;
        match self {
            Self::Desc => Kind::Desc,
            Self::Flow(q) if nicira(q) => Kind::NxFlow,
            Self::Flow(_) => Kind::Flow,
            Self::Aggregate(q) if nicira(q) => Kind::NxAggregate,
            Self::Aggregate(_) => Kind::Aggregate,
            Self::Table => Kind::Table,
            Self::Port(_) => Kind::Port,
            Self::Queue(_) => Kind::Queue,
            Self::Group(_) => Kind::Group,
            Self::GroupDesc(_) => Kind::GroupDesc,
            Self::GroupFeatures => Kind::GroupFeatures,
            Self::Meter(_) => Kind::Meter,
            Self::MeterConfig(_) => Kind::MeterConfig,
            Self::MeterFeatures => Kind::MeterFeatures,
            Self::TableFeatures(_) => Kind::TableFeatures,
            Self::PortDesc(_) => Kind::PortDesc,
            Self::TableDesc => Kind::TableDesc,
            Self::QueueDesc(_) => Kind::QueueDesc,
            Self::FlowMonitor(_) => Kind::FlowMonitor,
            Self::FlowCounters(_) => Kind::FlowCounters,
            Self::ControllerStatus => Kind::ControllerStatus,
            Self::BundleFeatures(_) => Kind::BundleFeatures,
        }
    }

    pub(super) fn pull(r: &mut Reader<'_>, kind: Kind, version: Version) -> Result<Self, OfError> {
        let flows = |r: &mut Reader<'_>| FlowStatsRequest::pull(r, version).map(Box::new);
        Ok(match kind {
            Kind::Desc => Self::Desc,
            Kind::Flow => Self::Flow(flows(r)?),
            Kind::NxFlow => Self::Flow(Box::new(FlowStatsRequest::pull_nicira(r)?)),
            Kind::Aggregate => Self::Aggregate(flows(r)?),
            Kind::NxAggregate => Self::Aggregate(Box::new(FlowStatsRequest::pull_nicira(r)?)),
            Kind::FlowCounters => Self::FlowCounters(flows(r)?),
            Kind::ControllerStatus => Self::ControllerStatus,
            Kind::BundleFeatures => Self::BundleFeatures(BundleFeaturesRequest::pull(r)?),
            Kind::Table => Self::Table,
            Kind::Port => {
                let port = pull_port(r, version)?;
                r.skip(if version == Version::Of10 { 6 } else { 4 })?;
                Self::Port(port)
            }
            Kind::Queue => Self::Queue(QueueSelector::pull(r, version)?),
            Kind::Group => Self::Group(GroupId(padded(r)?)),
            Kind::GroupDesc => Self::GroupDesc(if group_desc_named(version) {
                GroupId(padded(r)?)
            } else {
                GroupId::ALL
            }),
            Kind::GroupFeatures => Self::GroupFeatures,
            Kind::Meter => Self::Meter(MeterId(padded(r)?)),
            Kind::MeterConfig => Self::MeterConfig(MeterId(padded(r)?)),
            Kind::MeterFeatures => Self::MeterFeatures,
            Kind::TableFeatures => {
                Self::TableFeatures(entries(r, |r| TableFeatures::pull(r, version))?)
            }
            Kind::PortDesc => Self::PortDesc(if version >= Version::Of15 {
                let port = pull_port(r, version)?;
                r.skip(4)?;
                port
            } else {
                OfPort::ANY
            }),
            Kind::TableDesc => Self::TableDesc,
            Kind::QueueDesc => Self::QueueDesc(pull_queue_desc(r, version)?),
            Kind::FlowMonitor => {
                Self::FlowMonitor(entries(r, |r| FlowMonitorRequest::pull(r, version))?)
            }
        })
    }

    pub(super) fn put(&self, w: &mut Writer, version: Version) {
        match self {
            Self::Desc
            | Self::Table
            | Self::GroupFeatures
            | Self::MeterFeatures
            | Self::TableDesc
            | Self::ControllerStatus => {}
            Self::Flow(q) | Self::Aggregate(q) | Self::FlowCounters(q) => q.put(w, version),
            Self::Port(p) => {
                put_port(w, *p, version);
                w.zeros(if version == Version::Of10 { 6 } else { 4 });
            }
            Self::Queue(q) => q.put(w, version),
            Self::QueueDesc(q) => q.put(w, version),
            Self::Group(g) => put_padded(w, g.0),
            Self::GroupDesc(g) => {
                if group_desc_named(version) {
                    put_padded(w, g.0);
                }
            }
            Self::Meter(m) | Self::MeterConfig(m) => put_padded(w, m.0),
            Self::TableFeatures(t) => t.iter().for_each(|t| t.put(w, version)),
            Self::PortDesc(p) => {
                if version >= Version::Of15 {
                    put_port(w, *p, version);
                    w.zeros(4);
                }
            }
            Self::FlowMonitor(m) => m.iter().for_each(|m| m.put(w, version)),
            Self::BundleFeatures(q) => q.put(w),
        }
    }

    /// Adds the entries of a later part of the same request.
    pub(super) fn append(&mut self, more: Self) {
        match (self, more) {
            (Self::TableFeatures(all), Self::TableFeatures(part)) => all.extend(part),
            (Self::FlowMonitor(all), Self::FlowMonitor(part)) => all.extend(part),
            // The others have no entries: a later part can only repeat them.
            _ => {}
        }
    }
}

/// Versions whose group description request names a group.
const fn group_desc_named(version: Version) -> bool {
    matches!(version, Version::Of10 | Version::Of15)
}

fn padded(r: &mut Reader<'_>) -> Result<u32, OfError> {
    let v = r.u32()?;
    r.skip(4)?;
    Ok(v)
}

fn put_padded(w: &mut Writer, v: u32) {
    w.u32(v);
    w.zeros(4);
}

/// The queue may be left out: some controllers of 1.4 send the port alone.
fn pull_queue_desc(r: &mut Reader<'_>, version: Version) -> Result<QueueSelector, OfError> {
    let port = pull_port(r, version)?;
    let queue = if r.is_empty() { QUEUE_ALL } else { r.u32()? };
    Ok(QueueSelector { port, queue })
}
