//! Multipart messages (statistics): envelope, kinds, and replies cut into parts of 64 KiB.

use rvs_flow::OfPort;

use super::port::{pull_port, put_port, Port};
use super::stats::{
    AggregateStats, Desc, FlowStats, FlowStatsForm, FlowStatsRequest, PortStats, TableStats,
};
use super::{kind, Dialect};
use crate::error::{ErrorCode, OfError, NICIRA, ONF};
use crate::framer::MAX_LEN;
use crate::version::Version;
use crate::wire::{EncodeError, Reader, Writer};

/// `OFPMPF_REQ_MORE` and `OFPMPF_REPLY_MORE`.
const MORE: u16 = 1;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Desc,
    Flow(Box<FlowStatsRequest>),
    Aggregate(Box<FlowStatsRequest>),
    Table,
    /// [`OfPort::ANY`] for all.
    Port(OfPort),
    /// [`OfPort::ANY`] for all; before 1.5 always.
    PortDesc(OfPort),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipartRequest {
    /// More parts of the request follow.
    pub more: bool,
    pub body: Request,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Desc(Box<Desc>),
    /// In the form of the request.
    Flow(FlowStatsForm, Vec<FlowStats>),
    Aggregate(FlowStatsForm, AggregateStats),
    Table(Vec<TableStats>),
    Port(Vec<PortStats>),
    PortDesc(Vec<Port>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipartReply {
    /// More parts of the reply follow.
    pub more: bool,
    pub body: Reply,
}

/// The number of a kind: the standard's, or a vendor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Standard(u16),
    Vendor(u32, u32),
}

use kind::{mp, nxst};

fn nicira(sub: u32) -> Code {
    Code::Vendor(NICIRA, sub)
}

/// Reads type, flags and padding.
fn pull_envelope(r: &mut Reader<'_>, version: Version) -> Result<(Code, bool), OfError> {
    let (kind, flags) = (r.u16()?, r.u16()?);
    if version > Version::Of10 {
        r.skip(4)?;
    }
    let code = if kind == mp::EXPERIMENTER {
        let vendor = r.u32()?;
        let sub = r.u32()?;
        match vendor {
            NICIRA | ONF => {
                if version == Version::Of10 {
                    r.skip(4)?;
                }
                Code::Vendor(vendor, sub)
            }
            _ => {
                return Err(ErrorCode::BrcBadVendor
                    .because(format!("multipart of experimenter {vendor:#x}")))
            }
        }
    } else {
        Code::Standard(kind)
    };
    Ok((code, flags & MORE != 0))
}

fn put_envelope(w: &mut Writer, version: Version, code: Code, more: bool) {
    w.u16(match code {
        Code::Standard(k) => k,
        Code::Vendor(..) => mp::EXPERIMENTER,
    });
    w.u16(if more { MORE } else { 0 });
    if version > Version::Of10 {
        w.zeros(4);
    }
    if let Code::Vendor(vendor, sub) = code {
        w.u32(vendor);
        w.u32(sub);
        if version == Version::Of10 {
            w.zeros(4);
        }
    }
}

fn unknown(code: Code) -> OfError {
    match code {
        Code::Standard(k) => ErrorCode::BrcBadStat.because(format!("multipart type {k}")),
        Code::Vendor(v, s) => ErrorCode::BrcBadSubtype
            .because(format!("multipart subtype {s} of experimenter {v:#x}")),
    }
}

const FLOW: Code = Code::Standard(mp::FLOW);
const AGGREGATE: Code = Code::Standard(mp::AGGREGATE);

impl Request {
    fn code(&self) -> Code {
        match self {
            Self::Desc => Code::Standard(mp::DESC),
            Self::Flow(q) => match q.form {
                FlowStatsForm::Standard => FLOW,
                FlowStatsForm::Nicira => nicira(nxst::FLOW),
            },
            Self::Aggregate(q) => match q.form {
                FlowStatsForm::Standard => AGGREGATE,
                FlowStatsForm::Nicira => nicira(nxst::AGGREGATE),
            },
            Self::Table => Code::Standard(mp::TABLE),
            Self::Port(_) => Code::Standard(mp::PORT),
            Self::PortDesc(_) => Code::Standard(mp::PORT_DESC),
        }
    }

    fn pull(r: &mut Reader<'_>, code: Code, version: Version) -> Result<Self, OfError> {
        let of10 = version == Version::Of10;
        Ok(match code {
            Code::Standard(mp::DESC) => Self::Desc,
            FLOW => Self::Flow(Box::new(FlowStatsRequest::pull(r, version)?)),
            AGGREGATE => Self::Aggregate(Box::new(FlowStatsRequest::pull(r, version)?)),
            Code::Vendor(NICIRA, nxst::FLOW) if of10 => {
                Self::Flow(Box::new(FlowStatsRequest::pull_nicira(r)?))
            }
            Code::Vendor(NICIRA, nxst::AGGREGATE) if of10 => {
                Self::Aggregate(Box::new(FlowStatsRequest::pull_nicira(r)?))
            }
            Code::Standard(mp::TABLE) => Self::Table,
            Code::Standard(mp::PORT) => {
                let port = pull_port(r, version)?;
                r.skip(if of10 { 6 } else { 4 })?;
                Self::Port(port)
            }
            Code::Standard(mp::PORT_DESC) => {
                let port = if version >= Version::Of15 {
                    let port = pull_port(r, version)?;
                    r.skip(4)?;
                    port
                } else {
                    OfPort::ANY
                };
                Self::PortDesc(port)
            }
            _ => return Err(unknown(code)),
        })
    }

    fn put(&self, w: &mut Writer, version: Version) {
        match self {
            Self::Desc | Self::Table => {}
            Self::Flow(q) | Self::Aggregate(q) => q.put(w, version),
            Self::Port(p) => {
                put_port(w, *p, version);
                w.zeros(if version == Version::Of10 { 6 } else { 4 });
            }
            Self::PortDesc(p) => {
                if version >= Version::Of15 {
                    put_port(w, *p, version);
                    w.zeros(4);
                }
            }
        }
    }
}

impl MultipartRequest {
    /// A request in one part.
    pub const fn new(body: Request) -> Self {
        Self { more: false, body }
    }

    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let (code, more) = pull_envelope(r, version)?;
        Ok(Self {
            more,
            body: Request::pull(r, code, version)?,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        put_envelope(w, version, self.body.code(), self.more);
        self.body.put(w, version);
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
        debug_assert!(r.len() < before);
        if r.len() >= before {
            return Err(r.bad_len("an entry without octets"));
        }
    }
    Ok(all)
}

impl Reply {
    fn code(&self) -> Code {
        match self {
            Self::Desc(_) => Code::Standard(mp::DESC),
            Self::Flow(FlowStatsForm::Standard, _) => FLOW,
            Self::Flow(FlowStatsForm::Nicira, _) => nicira(nxst::FLOW),
            Self::Aggregate(FlowStatsForm::Standard, _) => AGGREGATE,
            Self::Aggregate(FlowStatsForm::Nicira, _) => nicira(nxst::AGGREGATE),
            Self::Table(_) => Code::Standard(mp::TABLE),
            Self::Port(_) => Code::Standard(mp::PORT),
            Self::PortDesc(_) => Code::Standard(mp::PORT_DESC),
        }
    }

    fn pull(r: &mut Reader<'_>, code: Code, d: &Dialect) -> Result<Self, OfError> {
        use FlowStatsForm::{Nicira, Standard};
        let v = d.version;
        let of10 = v == Version::Of10;
        Ok(match code {
            Code::Standard(mp::DESC) => Self::Desc(Box::new(Desc::pull(r)?)),
            FLOW => Self::Flow(Standard, entries(r, |r| FlowStats::pull(r, d, Standard))?),
            Code::Vendor(NICIRA, nxst::FLOW) if of10 => {
                Self::Flow(Nicira, entries(r, |r| FlowStats::pull(r, d, Nicira))?)
            }
            AGGREGATE => Self::Aggregate(Standard, AggregateStats::pull(r, v)?),
            Code::Vendor(NICIRA, nxst::AGGREGATE) if of10 => {
                Self::Aggregate(Nicira, AggregateStats::pull(r, v)?)
            }
            Code::Standard(mp::TABLE) => Self::Table(entries(r, |r| TableStats::pull(r, v))?),
            Code::Standard(mp::PORT) => Self::Port(entries(r, |r| PortStats::pull(r, v))?),
            Code::Standard(mp::PORT_DESC) => Self::PortDesc(entries(r, |r| Port::pull(r, v))?),
            _ => return Err(unknown(code)),
        })
    }

    /// Entries of a kind of reply that may have many; 1 for the others.
    pub fn len(&self) -> usize {
        match self {
            Self::Desc(_) | Self::Aggregate(..) => 1,
            Self::Flow(_, v) => v.len(),
            Self::Table(v) => v.len(),
            Self::Port(v) => v.len(),
            Self::PortDesc(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes entry `i`, which is below [`Reply::len`].
    fn put(&self, i: usize, w: &mut Writer, v: Version) {
        match self {
            Self::Desc(d) => d.put(w),
            Self::Flow(form, f) => f[i].put(w, v, *form),
            Self::Aggregate(_, a) => a.put(w, v),
            Self::Table(t) => t[i].put(w, v),
            Self::Port(p) => p[i].put(w, v),
            Self::PortDesc(p) => p[i].put(w, v),
        }
    }
}

impl MultipartReply {
    /// A reply in one part.
    pub const fn new(body: Reply) -> Self {
        Self { more: false, body }
    }

    pub(crate) fn pull(r: &mut Reader<'_>, d: &Dialect) -> Result<Self, OfError> {
        let (code, more) = pull_envelope(r, d.version)?;
        Ok(Self {
            more,
            body: Reply::pull(r, code, d)?,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        put_envelope(w, version, self.body.code(), self.more);
        for i in 0..self.body.len() {
            self.body.put(i, w, version);
        }
    }
}

/// Writes a reply of any length as messages of 64 KiB at most, each but the last marked "more".
///
/// Feed it entries as they come out of a snapshot ([`Parts::push`]) and send what it gives back; memory stays at one
/// message. An entry that its version cannot say is left out and counted: one odd flow must not hide the others.
#[derive(Debug)]
pub struct Parts {
    dialect: Dialect,
    xid: u32,
    open: Vec<u8>,
    /// Octets before the first entry; 0 before the first push.
    header: usize,
    skipped: usize,
}

impl Parts {
    pub const fn new(dialect: Dialect, xid: u32) -> Self {
        Self {
            dialect,
            xid,
            open: Vec::new(),
            header: 0,
            skipped: 0,
        }
    }

    /// Entries that were left out.
    pub const fn skipped(&self) -> usize {
        self.skipped
    }

    /// Adds the entries of `reply`, which is of the same kind in all calls, and hands full messages to `full`.
    pub fn push(&mut self, reply: &Reply, mut full: impl FnMut(Vec<u8>)) {
        if self.header == 0 {
            self.open = self.start(reply);
            self.header = self.open.len();
        }
        for i in 0..reply.len() {
            let mut w = Writer::default();
            reply.put(i, &mut w, self.dialect.version);
            let Ok(entry) = w.finish_part() else {
                self.skipped += 1;
                continue;
            };
            if self.header + entry.len() > MAX_LEN {
                self.skipped += 1;
                continue;
            }
            if self.open.len() + entry.len() > MAX_LEN {
                let next = self.open[..self.header].to_vec();
                let done = std::mem::replace(&mut self.open, next);
                full(close(done, true));
            }
            self.open.extend_from_slice(&entry);
        }
    }

    fn start(&self, reply: &Reply) -> Vec<u8> {
        let v = self.dialect.version;
        let number = super::dispatch::multipart_reply_kind(v);
        let mut w = Writer::message(v.wire(), number, self.xid);
        put_envelope(&mut w, v, reply.code(), false);
        w.finish_short()
    }

    /// The last message. Push at least once before, if only an empty reply, so that the kind is known.
    pub fn finish(self) -> Vec<u8> {
        close(self.open, false)
    }
}

/// Fills in length and flags.
fn close(mut message: Vec<u8>, more: bool) -> Vec<u8> {
    let len = (message.len() as u16).to_be_bytes();
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&len);
    }
    if let Some(flag) = message.get_mut(11) {
        *flag = u8::from(more);
    }
    message
}

impl Dialect {
    /// `reply` as one message or several.
    ///
    /// # Errors
    /// An entry that cannot be said; use [`Parts`] to leave such entries out.
    pub fn encode_reply(&self, xid: u32, reply: &Reply) -> Result<Vec<Vec<u8>>, EncodeError> {
        let mut parts = Parts::new(*self, xid);
        let mut all = Vec::new();
        parts.push(reply, |m| all.push(m));
        if parts.skipped() > 0 {
            return Err(EncodeError::NotInVersion("an entry of a multipart reply"));
        }
        all.push(parts.finish());
        Ok(all)
    }
}
