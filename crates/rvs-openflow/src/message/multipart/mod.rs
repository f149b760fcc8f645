//! Multipart messages (statistics): envelope, kinds, replies cut into parts of 64 KiB, requests put together again.

mod parts;
mod reassembly;
mod reply;
mod request;

use super::kind::{self, mp, nxst, onfst};
use super::Dialect;
use crate::error::{ErrorCode, OfError, NICIRA, ONF};
use crate::version::Version;
use crate::wire::{Reader, Writer};

pub use parts::Parts;
pub use reassembly::{Reassembly, MULTIPART_OCTETS, MULTIPART_REQUESTS, MULTIPART_TIMEOUT};
pub use reply::Reply;
pub use request::Request;

/// `OFPMPF_REQ_MORE` and `OFPMPF_REPLY_MORE`.
const MORE: u16 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipartRequest {
    /// More parts of the request follow.
    pub more: bool,
    pub body: Request,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipartReply {
    /// More parts of the reply follow.
    pub more: bool,
    pub body: Reply,
}

/// Kinds of multiparts, whatever their number in a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Desc,
    Flow,
    NxFlow,
    Aggregate,
    NxAggregate,
    Table,
    Port,
    Queue,
    Group,
    GroupDesc,
    GroupFeatures,
    Meter,
    MeterConfig,
    MeterFeatures,
    TableFeatures,
    PortDesc,
    TableDesc,
    QueueDesc,
    FlowMonitor,
    /// OpenFlow 1.5.
    FlowCounters,
    ControllerStatus,
    BundleFeatures,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Desc => "DESC",
            Self::Flow | Self::NxFlow => "FLOW",
            Self::Aggregate | Self::NxAggregate => "AGGREGATE",
            Self::Table => "TABLE",
            Self::Port => "PORT",
            Self::Queue => "QUEUE",
            Self::Group => "GROUP",
            Self::GroupDesc => "GROUP_DESC",
            Self::GroupFeatures => "GROUP_FEATURES",
            Self::Meter => "METER",
            Self::MeterConfig => "METER_CONFIG",
            Self::MeterFeatures => "METER_FEATURES",
            Self::TableFeatures => "TABLE_FEATURES",
            Self::PortDesc => "PORT_DESC",
            Self::TableDesc => "TABLE_DESC",
            Self::QueueDesc => "QUEUE_DESC",
            Self::FlowMonitor => "FLOW_MONITOR",
            Self::FlowCounters => "FLOW_STATS",
            Self::ControllerStatus => "CONTROLLER_STATUS",
            Self::BundleFeatures => "BUNDLE_FEATURES",
        }
    }

    /// Its name in a version, with the prefix of who defined it there.
    fn full_name(self, version: Version) -> String {
        let row = rows(version).find(|r| r.kind == self);
        let prefix = match row.map(|r| r.code) {
            Some(Code::Vendor(NICIRA, _)) => "NXST",
            Some(Code::Vendor(..)) => "ONFST",
            _ => "OFPST",
        };
        format!("{prefix}_{}", self.name())
    }
}

/// The number of a kind: the standard's, or a vendor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Standard(u16),
    Vendor(u32, u32),
}

/// Versions `first..=last` know the kind under this number.
struct Row {
    kind: Kind,
    first: u8,
    last: u8,
    code: Code,
}

const fn std(kind: Kind, first: u8, last: u8, number: u16) -> Row {
    Row {
        kind,
        first,
        last,
        code: Code::Standard(number),
    }
}

const fn nx(kind: Kind, first: u8, last: u8, sub: u32) -> Row {
    Row {
        kind,
        first,
        last,
        code: Code::Vendor(NICIRA, sub),
    }
}

const ROWS: [Row; 27] = [
    std(Kind::Desc, 1, 6, mp::DESC),
    std(Kind::Flow, 1, 6, mp::FLOW),
    nx(Kind::NxFlow, 1, 1, nxst::FLOW),
    std(Kind::Aggregate, 1, 6, mp::AGGREGATE),
    nx(Kind::NxAggregate, 1, 1, nxst::AGGREGATE),
    std(Kind::Table, 1, 6, mp::TABLE),
    std(Kind::Port, 1, 6, mp::PORT),
    std(Kind::Queue, 1, 6, mp::QUEUE),
    nx(Kind::Group, 1, 1, nxst::GROUP),
    std(Kind::Group, 2, 6, mp::GROUP),
    nx(Kind::GroupDesc, 1, 1, nxst::GROUP_DESC),
    std(Kind::GroupDesc, 2, 6, mp::GROUP_DESC),
    nx(Kind::GroupFeatures, 1, 2, nxst::GROUP_FEATURES),
    std(Kind::GroupFeatures, 3, 6, mp::GROUP_FEATURES),
    std(Kind::Meter, 4, 6, mp::METER),
    std(Kind::MeterConfig, 4, 6, mp::METER_CONFIG),
    std(Kind::MeterFeatures, 4, 6, mp::METER_FEATURES),
    std(Kind::TableFeatures, 4, 6, mp::TABLE_FEATURES),
    std(Kind::PortDesc, 1, 6, mp::PORT_DESC),
    std(Kind::TableDesc, 5, 6, mp::TABLE_DESC),
    std(Kind::QueueDesc, 5, 6, mp::QUEUE_DESC),
    nx(Kind::FlowMonitor, 1, 3, nxst::FLOW_MONITOR),
    Row {
        kind: Kind::FlowMonitor,
        first: 4,
        last: 4,
        code: Code::Vendor(ONF, onfst::FLOW_MONITOR),
    },
    std(Kind::FlowMonitor, 5, 6, mp::FLOW_MONITOR),
    std(Kind::FlowCounters, 6, 6, mp::FLOW_STATS),
    std(Kind::ControllerStatus, 6, 6, mp::CONTROLLER_STATUS),
    std(Kind::BundleFeatures, 6, 6, mp::BUNDLE_FEATURES),
];

fn rows(version: Version) -> impl Iterator<Item = &'static Row> {
    let v = version.wire();
    ROWS.iter().filter(move |r| r.first <= v && v <= r.last)
}

/// Reads type, flags and padding.
/// What the body of a request or reply is one of, `OFPST_FLOW`, if its start tells.
pub(crate) fn name_of(body: &[u8], version: Version) -> Option<String> {
    let mut r = Reader::new(body, ErrorCode::BrcBadLen);
    let (kind, _) = pull_envelope(&mut r, version).ok()?;
    Some(kind.full_name(version))
}

fn pull_envelope(r: &mut Reader<'_>, version: Version) -> Result<(Kind, bool), OfError> {
    let (number, flags) = (r.u16()?, r.u16()?);
    if version > Version::Of10 {
        r.skip(4)?;
    }
    let more = flags & MORE != 0;
    if number != mp::EXPERIMENTER {
        let code = Code::Standard(number);
        return match rows(version).find(|r| r.code == code) {
            Some(row) => Ok((row.kind, more)),
            None => Err(ErrorCode::BrcBadStat
                .because(format!("multipart type {number} is not one of {version}"))),
        };
    }
    let vendor = r.u32()?;
    if !matches!(vendor, NICIRA | ONF) {
        return Err(
            ErrorCode::BrcBadVendor.because(format!("multipart of experimenter {vendor:#x}"))
        );
    }
    let sub = r.u32()?;
    if version == Version::Of10 {
        r.skip(4)?;
    }
    let code = Code::Vendor(vendor, sub);
    match rows(version).find(|r| r.code == code) {
        Some(row) => Ok((row.kind, more)),
        None if vendor == NICIRA && nxst::IPFIX.contains(&sub) => {
            Err(ErrorCode::NxstNotConfigured.because("this switch exports no IPFIX"))
        }
        None => Err(ErrorCode::BrcBadSubtype.because(format!(
            "multipart subtype {sub} of experimenter {vendor:#x}"
        ))),
    }
}

fn put_envelope(w: &mut Writer, version: Version, kind: Kind, more: bool) {
    let Some(row) = rows(version).find(|r| r.kind == kind) else {
        return w.not_in_version("this multipart");
    };
    w.u16(match row.code {
        Code::Standard(number) => number,
        Code::Vendor(..) => mp::EXPERIMENTER,
    });
    w.u16(if more { MORE } else { 0 });
    if version > Version::Of10 {
        w.zeros(4);
    }
    if let Code::Vendor(vendor, sub) = row.code {
        w.u32(vendor);
        w.u32(sub);
        if version == Version::Of10 {
            w.zeros(4);
        }
    }
}

/// Reads entries to the end of `r`; each must take at least one octet.
fn entries<T>(
    r: &mut Reader<'_>,
    mut pull: impl FnMut(&mut Reader<'_>) -> Result<T, OfError>,
) -> Result<Vec<T>, OfError> {
    let mut all = Vec::new();
    while !r.is_empty() {
        let before = r.len();
        all.push(pull(r)?);
        if r.len() >= before {
            return Err(r.bad_len("an entry without octets"));
        }
    }
    Ok(all)
}

impl MultipartRequest {
    /// A request in one part.
    pub const fn new(body: Request) -> Self {
        Self { more: false, body }
    }

    /// `OFPST_FLOW`.
    pub(crate) fn name(&self, version: Version) -> String {
        self.body.kind().full_name(version)
    }

    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let (kind, more) = pull_envelope(r, version)?;
        Ok(Self {
            more,
            body: Request::pull(r, kind, version)?,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        put_envelope(w, version, self.body.kind(), self.more);
        self.body.put(w, version);
    }
}

impl MultipartReply {
    /// A reply in one part.
    pub const fn new(body: Reply) -> Self {
        Self { more: false, body }
    }

    /// `OFPST_FLOW`.
    pub(crate) fn name(&self, version: Version) -> String {
        self.body.kind().full_name(version)
    }

    pub(crate) fn pull(r: &mut Reader<'_>, d: &Dialect) -> Result<Self, OfError> {
        let (kind, more) = pull_envelope(r, d.version)?;
        Ok(Self {
            more,
            body: Reply::pull(r, kind, d)?,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        put_envelope(w, version, self.body.kind(), self.more);
        for i in 0..self.body.len() {
            self.body.put(i, w, version);
        }
    }
}

/// The message type of replies.
pub(super) const fn reply_number(v: Version) -> u8 {
    match v {
        Version::Of10 => kind::of10::STATS_REPLY,
        _ => kind::of11::MULTIPART_REPLY,
    }
}
