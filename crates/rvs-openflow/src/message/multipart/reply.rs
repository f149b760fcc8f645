//! What multipart replies answer.

use super::{entries, Kind};
use crate::error::OfError;
use crate::message::bundle::BundleFeatures;
use crate::message::controller_status::ControllerStatus;
use crate::message::desc::Desc;
use crate::message::flow_stats::{AggregateStats, FlowStats, FlowStatsForm};
use crate::message::group::{pull_group_desc, put_group_desc};
use crate::message::group_stats::{GroupFeatures, GroupStats};
use crate::message::meter::{pull_meter_config, put_meter_config, MeterFeatures, MeterStats};
use crate::message::monitor::FlowUpdate;
use crate::message::port::Port;
use crate::message::port_stats::PortStats;
use crate::message::queue::{Queue, QueueStats};
use crate::message::table::TableConfig;
use crate::message::table_features::TableFeatures;
use crate::message::table_stats::TableStats;
use crate::message::Dialect;
use crate::model::{Group, Meter};
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Desc(Box<Desc>),
    /// In the form of the request.
    Flow(FlowStatsForm, Vec<FlowStats>),
    Aggregate(FlowStatsForm, AggregateStats),
    Table(Vec<TableStats>),
    Port(Vec<PortStats>),
    Queue(Vec<QueueStats>),
    Group(Vec<GroupStats>),
    GroupDesc(Vec<Group>),
    GroupFeatures(GroupFeatures),
    Meter(Vec<MeterStats>),
    MeterConfig(Vec<Meter>),
    MeterFeatures(MeterFeatures),
    TableFeatures(Vec<TableFeatures>),
    PortDesc(Vec<Port>),
    TableDesc(Vec<TableConfig>),
    QueueDesc(Vec<Queue>),
    FlowMonitor(Vec<FlowUpdate>),
    /// Flows without instructions, cookies, flags and timeouts (OpenFlow 1.5).
    FlowCounters(Vec<FlowStats>),
    /// OpenFlow 1.5.
    ControllerStatus(Vec<ControllerStatus>),
    /// OpenFlow 1.5.
    BundleFeatures(BundleFeatures),
}

impl Reply {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Desc(_) => Kind::Desc,
            Self::Flow(FlowStatsForm::Standard, _) => Kind::Flow,
            Self::Flow(FlowStatsForm::Nicira, _) => Kind::NxFlow,
            Self::Aggregate(FlowStatsForm::Standard, _) => Kind::Aggregate,
            Self::Aggregate(FlowStatsForm::Nicira, _) => Kind::NxAggregate,
            Self::Table(_) => Kind::Table,
            Self::Port(_) => Kind::Port,
            Self::Queue(_) => Kind::Queue,
            Self::Group(_) => Kind::Group,
            Self::GroupDesc(_) => Kind::GroupDesc,
            Self::GroupFeatures(_) => Kind::GroupFeatures,
            Self::Meter(_) => Kind::Meter,
            Self::MeterConfig(_) => Kind::MeterConfig,
            Self::MeterFeatures(_) => Kind::MeterFeatures,
            Self::TableFeatures(_) => Kind::TableFeatures,
            Self::PortDesc(_) => Kind::PortDesc,
            Self::TableDesc(_) => Kind::TableDesc,
            Self::QueueDesc(_) => Kind::QueueDesc,
            Self::FlowMonitor(_) => Kind::FlowMonitor,
            Self::FlowCounters(_) => Kind::FlowCounters,
            Self::ControllerStatus(_) => Kind::ControllerStatus,
            Self::BundleFeatures(_) => Kind::BundleFeatures,
        }
    }

    pub(super) fn pull(r: &mut Reader<'_>, kind: Kind, d: &Dialect) -> Result<Self, OfError> {
        use FlowStatsForm::{Nicira, Standard};
        let v = d.version;
        Ok(match kind {
            Kind::Desc => Self::Desc(Box::new(Desc::pull(r)?)),
            Kind::Flow => Self::Flow(Standard, entries(r, |r| FlowStats::pull(r, v, Standard))?),
            Kind::NxFlow => Self::Flow(Nicira, entries(r, |r| FlowStats::pull(r, v, Nicira))?),
            Kind::Aggregate => Self::Aggregate(Standard, AggregateStats::pull(r, v)?),
            Kind::NxAggregate => Self::Aggregate(Nicira, AggregateStats::pull(r, v)?),
            Kind::Table => Self::Table(entries(r, |r| TableStats::pull(r, v))?),
            Kind::Port => Self::Port(entries(r, |r| PortStats::pull(r, v))?),
            Kind::Queue => Self::Queue(entries(r, |r| QueueStats::pull(r, v))?),
            Kind::Group => Self::Group(entries(r, |r| GroupStats::pull(r, v))?),
            Kind::GroupDesc => Self::GroupDesc(entries(r, |r| pull_group_desc(r, v))?),
            Kind::GroupFeatures => Self::GroupFeatures(GroupFeatures::pull(r)?),
            Kind::Meter => Self::Meter(entries(r, MeterStats::pull)?),
            Kind::MeterConfig => Self::MeterConfig(entries(r, pull_meter_config)?),
            Kind::MeterFeatures => Self::MeterFeatures(MeterFeatures::pull(r, v)?),
            Kind::TableFeatures => Self::TableFeatures(entries(r, |r| TableFeatures::pull(r, v))?),
            Kind::PortDesc => Self::PortDesc(entries(r, |r| Port::pull(r, v))?),
            Kind::TableDesc => Self::TableDesc(entries(r, |r| TableConfig::pull_desc(r, v))?),
            Kind::QueueDesc => Self::QueueDesc(entries(r, |r| Queue::pull_desc(r, v))?),
            Kind::FlowMonitor => Self::FlowMonitor(entries(r, |r| FlowUpdate::pull(r, v))?),
            Kind::FlowCounters => Self::FlowCounters(entries(r, FlowStats::pull_counters)?),
            Kind::ControllerStatus => Self::ControllerStatus(entries(r, ControllerStatus::pull)?),
            Kind::BundleFeatures => Self::BundleFeatures(BundleFeatures::pull(r)?),
        })
    }

    /// Entries of a kind of reply that may have many; 1 for the others.
    pub fn len(&self) -> usize {
        match self {
            Self::Desc(_)
            | Self::Aggregate(..)
            | Self::GroupFeatures(_)
            | Self::MeterFeatures(_)
            | Self::BundleFeatures(_) => 1,
            Self::Flow(_, v) | Self::FlowCounters(v) => v.len(),
            Self::Table(v) => v.len(),
            Self::Port(v) => v.len(),
            Self::Queue(v) => v.len(),
            Self::Group(v) => v.len(),
            Self::GroupDesc(v) => v.len(),
            Self::Meter(v) => v.len(),
            Self::MeterConfig(v) => v.len(),
            Self::TableFeatures(v) => v.len(),
            Self::PortDesc(v) => v.len(),
            Self::TableDesc(v) => v.len(),
            Self::QueueDesc(v) => v.len(),
            Self::FlowMonitor(v) => v.len(),
            Self::ControllerStatus(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes entry `i`, which is below [`Reply::len`].
    pub(super) fn put(&self, i: usize, w: &mut Writer, v: Version) {
        match self {
            Self::Desc(d) => d.put(w),
            Self::Flow(form, f) => f[i].put(w, v, *form),
            Self::Aggregate(_, a) => a.put(w, v),
            Self::Table(t) => t[i].put(w, v),
            Self::Port(p) => p[i].put(w, v),
            Self::Queue(q) => q[i].put(w, v),
            Self::Group(g) => g[i].put(w, v),
            Self::GroupDesc(g) => put_group_desc(w, &g[i], v),
            Self::GroupFeatures(f) => f.put(w),
            Self::Meter(m) => m[i].put(w),
            Self::MeterConfig(m) => put_meter_config(w, &m[i]),
            Self::MeterFeatures(f) => f.put(w),
            Self::TableFeatures(t) => t[i].put(w, v),
            Self::PortDesc(p) => p[i].put(w, v),
            Self::TableDesc(t) => t[i].put_desc(w, v),
            Self::QueueDesc(q) => q[i].put_desc(w),
            Self::FlowMonitor(u) => u[i].put(w, v),
            Self::FlowCounters(f) => f[i].put_counters(w),
            Self::ControllerStatus(c) => c[i].put(w),
            Self::BundleFeatures(f) => f.put(w),
        }
    }
}
