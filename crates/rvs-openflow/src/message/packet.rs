//! Packet-ins and packet-outs of every form.

use rvs_flow::field::FieldId;
use rvs_flow::OfPort;

use super::flow::buffer;
use super::port::{pull_port, put_port};
use super::{props, Dialect, PacketInFormat};
use crate::action::{pull_actions, put_actions, reason_from, reason_number, ListContext};
use crate::error::{ErrorCode, OfError};
use crate::model::{Action, PacketInReason, TableId};
use crate::oxm::{
    pull_match, pull_nxm, pull_oxm_list, put_match, put_nxm, put_oxm_list, FlowMatch,
};
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// A frame on its way to a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketIn {
    /// We hold no frames; other switches may.
    pub buffer_id: Option<u32>,
    /// Octets of the whole frame; `data` may be less.
    pub total_len: u32,
    pub reason: PacketInReason,
    /// The table of the flow; 0 in OpenFlow 1.0, which doesn't say.
    pub table: TableId,
    /// Of the flow; `None` for unknown.
    pub cookie: Option<u64>,
    /// The pipeline's fields: input port (always), metadata, registers, tunnel.
    pub metadata: FlowMatch,
    /// From the `controller` action (`NXT_PACKET_IN2`).
    pub userdata: Vec<u8>,
    /// Where a paused translation goes on; opaque to the controller (`NXT_PACKET_IN2`).
    pub continuation: Vec<u8>,
    pub data: Vec<u8>,
}

/// Properties of `NXT_PACKET_IN2`.
mod prop {
    pub(super) const PACKET: u16 = 0;
    pub(super) const FULL_LEN: u16 = 1;
    pub(super) const BUFFER_ID: u16 = 2;
    pub(super) const TABLE_ID: u16 = 3;
    pub(super) const COOKIE: u16 = 4;
    pub(super) const REASON: u16 = 5;
    pub(super) const METADATA: u16 = 6;
    pub(super) const USERDATA: u16 = 7;
    pub(super) const CONTINUATION: u16 = 8;
}

/// A continuation is a list of properties; ours is one, of a type that Open vSwitch does not use.
const OUR_CONTINUATION: u16 = 0x7276;

/// What is in our property; a continuation of another switch as it is.
fn pull_continuation(r: &mut Reader<'_>) -> Result<Vec<u8>, OfError> {
    r.skip(4)?;
    let all = r.rest();
    let mut list = Reader::new(all, ErrorCode::BpcBadLen);
    match props::pull(&mut list)? {
        Some((OUR_CONTINUATION, mut p)) if list.is_empty() => Ok(p.rest().to_vec()),
        _ => Ok(all.to_vec()),
    }
}

fn reason(n: u8) -> Result<PacketInReason, OfError> {
    reason_from(n).ok_or_else(|| {
        ErrorCode::NxbrcBadReason.because(format!("packet-in reason {n}; known are 0 to 5"))
    })
}

/// The finer reasons are plain actions before 1.4.
const fn reason_to_wire(r: PacketInReason, version: Version) -> u8 {
    use PacketInReason as R;
    match r {
        R::ActionSet | R::Group | R::PacketOut
            if !matches!(version, Version::Of14 | Version::Of15) =>
        {
            reason_number(R::Action)
        }
        _ => reason_number(r),
    }
}

impl PacketIn {
    /// An empty frame from `port`.
    pub fn new(port: OfPort, reason: PacketInReason) -> Self {
        let mut metadata = FlowMatch::any();
        metadata.set_in_port(port);
        Self {
            buffer_id: None,
            total_len: 0,
            reason,
            table: TableId(0),
            cookie: None,
            metadata,
            userdata: Vec::new(),
            continuation: Vec::new(),
            data: Vec::new(),
        }
    }

    /// The port on which the frame came in.
    pub fn in_port(&self) -> OfPort {
        OfPort(self.metadata.value().of_port)
    }

    /// `OFPT_PACKET_IN`.
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut p = Self::new(OfPort::ANY, PacketInReason::Action);
        p.buffer_id = buffer(r.u32()?);
        match version {
            Version::Of10 => {
                p.total_len = r.u16()?.into();
                p.metadata.set_in_port(pull_port(r, version)?);
                p.reason = reason(r.u8()?)?;
                r.skip(1)?;
            }
            Version::Of11 => {
                p.metadata.set_in_port(pull_port(r, version)?);
                r.skip(4)?;
                p.total_len = r.u16()?.into();
                p.reason = reason(r.u8()?)?;
                p.table = TableId(r.u8()?);
            }
            _ => {
                p.total_len = r.u16()?.into();
                p.reason = reason(r.u8()?)?;
                p.table = TableId(r.u8()?);
                if version >= Version::Of13 {
                    p.cookie = Some(r.u64()?).filter(|c| *c != u64::MAX);
                }
                p.metadata = pull_match(r)?;
                r.skip(2)?;
            }
        }
        p.data = r.rest().to_vec();
        Ok(p)
    }

    /// `NXT_PACKET_IN`.
    pub(crate) fn pull_nxt(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut p = Self::new(OfPort::ANY, PacketInReason::Action);
        p.buffer_id = buffer(r.u32()?);
        p.total_len = r.u16()?.into();
        p.reason = reason(r.u8()?)?;
        p.table = TableId(r.u8()?);
        p.cookie = Some(r.u64()?).filter(|c| *c != u64::MAX);
        let len = usize::from(r.u16()?);
        r.skip(6)?;
        p.metadata = pull_nxm(r, len)?.0;
        r.skip(2)?;
        p.data = r.rest().to_vec();
        Ok(p)
    }

    /// `NXT_PACKET_IN2` and `NXT_RESUME`, whose properties are the same.
    pub(crate) fn pull_nxt2(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut p = Self::new(OfPort::ANY, PacketInReason::Action);
        let mut full = None;
        let mut properties = Reader::new(r.rest(), ErrorCode::BpcBadLen);
        while let Some((kind, mut b)) = props::pull(&mut properties)? {
            match kind {
                prop::PACKET => p.data = b.rest().to_vec(),
                prop::FULL_LEN => full = Some(b.u32()?),
                prop::BUFFER_ID => p.buffer_id = buffer(b.u32()?),
                prop::TABLE_ID => p.table = TableId(b.u8()?),
                prop::COOKIE => {
                    // 64 bits are aligned to 8 octets.
                    b.skip(4)?;
                    p.cookie = Some(b.u64()?).filter(|c| *c != u64::MAX);
                }
                prop::REASON => p.reason = reason(b.u8()?)?,
                prop::METADATA => p.metadata = pull_oxm_list(&mut b)?,
                prop::USERDATA => p.userdata = b.rest().to_vec(),
                prop::CONTINUATION => p.continuation = pull_continuation(&mut b)?,
                _ => return Err(props::unknown(kind, "packet-in")),
            }
        }
        if p.data.is_empty() {
            return Err(ErrorCode::BrcBadLen.because("a packet-in or resume without a packet"));
        }
        p.total_len = full.unwrap_or(p.data.len() as u32);
        Ok(p)
    }

    /// Writes the body in the dialect's form.
    pub(crate) fn put(&self, w: &mut Writer, d: &Dialect) {
        match d.packet_in {
            PacketInFormat::Nxt2 => self.put_nxt2(w, d.version),
            PacketInFormat::Nxt => self.put_nxt(w, d.version),
            PacketInFormat::Standard => self.put_standard(w, d.version),
        }
    }

    fn short_len(&self) -> u16 {
        self.total_len.min(0xffff) as u16
    }

    fn put_standard(&self, w: &mut Writer, version: Version) {
        w.u32(self.buffer_id.unwrap_or(u32::MAX));
        match version {
            Version::Of10 => {
                w.u16(self.short_len());
                put_port(w, self.in_port(), version);
                w.u8(reason_to_wire(self.reason, version));
                w.zeros(1);
            }
            Version::Of11 => {
                w.u32(self.in_port().0);
                w.u32(self.in_port().0);
                w.u16(self.short_len());
                w.u8(reason_to_wire(self.reason, version));
                w.u8(self.table.0);
            }
            _ => {
                w.u16(self.short_len());
                w.u8(reason_to_wire(self.reason, version));
                w.u8(self.table.0);
                if version >= Version::Of13 {
                    w.u64(self.cookie.unwrap_or(u64::MAX));
                }
                put_match(w, &self.metadata, version);
                w.zeros(2);
            }
        }
        w.bytes(&self.data);
    }

    fn put_nxt(&self, w: &mut Writer, version: Version) {
        w.u32(self.buffer_id.unwrap_or(u32::MAX));
        w.u16(self.short_len());
        w.u8(reason_to_wire(self.reason, version));
        w.u8(self.table.0);
        w.u64(self.cookie.unwrap_or(u64::MAX));
        let at = w.len();
        w.zeros(8);
        let len = put_nxm(w, &self.metadata, None);
        w.set_u16(at, len as u16);
        w.zeros(2);
        w.bytes(&self.data);
    }

    pub(crate) fn put_nxt2(&self, w: &mut Writer, version: Version) {
        props::put(w, prop::PACKET, |w| w.bytes(&self.data));
        if self.total_len as usize != self.data.len() {
            props::put(w, prop::FULL_LEN, |w| w.u32(self.total_len));
        }
        if let Some(b) = self.buffer_id {
            props::put(w, prop::BUFFER_ID, |w| w.u32(b));
        }
        props::put(w, prop::TABLE_ID, |w| w.u8(self.table.0));
        if let Some(c) = self.cookie {
            props::put(w, prop::COOKIE, |w| {
                w.zeros(4);
                w.u64(c);
            });
        }
        props::put(w, prop::REASON, |w| {
            w.u8(reason_to_wire(self.reason, version))
        });
        props::put(w, prop::METADATA, |w| {
            put_oxm_list(w, &self.metadata, version)
        });
        if !self.userdata.is_empty() {
            props::put(w, prop::USERDATA, |w| w.bytes(&self.userdata));
        }
        if !self.continuation.is_empty() {
            props::put(w, prop::CONTINUATION, |w| {
                w.zeros(4);
                props::put(w, OUR_CONTINUATION, |w| w.bytes(&self.continuation));
            });
        }
    }
}

/// A frame from a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketOut {
    pub buffer_id: Option<u32>,
    /// The pipeline's fields as the actions shall find them: the input port (always; a real port, `LOCAL`, `CONTROLLER`
    /// or `ANY`), and in 1.5 others.
    pub metadata: FlowMatch,
    pub actions: Vec<Action>,
    pub data: Vec<u8>,
}

impl PacketOut {
    pub fn new(in_port: OfPort, actions: Vec<Action>, data: Vec<u8>) -> Self {
        let mut metadata = FlowMatch::any();
        metadata.set_in_port(in_port);
        Self {
            buffer_id: None,
            metadata,
            actions,
            data,
        }
    }

    pub fn in_port(&self) -> OfPort {
        OfPort(self.metadata.value().of_port)
    }

    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let buffer_id = buffer(r.u32()?);
        let mut metadata = FlowMatch::any();
        let len;
        if version >= Version::Of15 {
            len = r.u16()?;
            r.skip(2)?;
            metadata = pull_match(r)?;
            check_pipeline_fields(&metadata)?;
        } else {
            metadata.set_in_port(pull_port(r, version)?);
            len = r.u16()?;
            if version > Version::Of10 {
                r.skip(6)?;
            }
        }
        let mut actions = r.sub(len.into(), ErrorCode::BrcBadLen)?;
        let out = Self {
            buffer_id,
            metadata,
            actions: pull_actions(&mut actions, version)?,
            data: r.rest().to_vec(),
        };
        out.check_in_port()?;
        Ok(out)
    }

    fn check_in_port(&self) -> Result<(), OfError> {
        let port = self.in_port();
        let reserved = [OfPort::LOCAL, OfPort::ANY, OfPort::CONTROLLER];
        let given = self.metadata.mask().0.of_port == u32::MAX;
        if given && (port < OfPort::MAX || reserved.contains(&port)) {
            return Ok(());
        }
        Err(ErrorCode::BrcBadPort.because(format!(
            "packet-out as if from {port}; it must be a port, LOCAL, CONTROLLER or ANY"
        )))
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        w.u32(self.buffer_id.unwrap_or(u32::MAX));
        let at;
        if version >= Version::Of15 {
            at = w.len();
            w.zeros(4);
            put_match(w, &self.metadata, version);
        } else {
            put_port(w, self.in_port(), version);
            at = w.len();
            w.zeros(if version > Version::Of10 { 8 } else { 2 });
        }
        let start = w.len();
        put_actions(w, &self.actions, ListContext::new(version));
        w.set_len(at, start, "actions");
        w.bytes(&self.data);
    }
}

/// The match of a packet-out of 1.5 may name what belongs to the pipeline, nothing of the frame (section 7.3.6).
fn check_pipeline_fields(m: &FlowMatch) -> Result<(), OfError> {
    let mut of_frame = *m.mask();
    of_frame.0.of_port = 0;
    for id in [
        FieldId::TunId,
        FieldId::Metadata,
        FieldId::PacketType,
        FieldId::PktMark,
    ] {
        clear(&mut of_frame, id);
    }
    for n in 0..16 {
        if let Some(id) = FieldId::reg(n) {
            clear(&mut of_frame, id);
        }
    }
    if of_frame.is_none() {
        return Ok(());
    }
    Err(ErrorCode::BrcPipelineFieldsOnly.because(
        "the match of a packet-out names fields of the frame; only the pipeline's may be given",
    ))
}

fn clear(mask: &mut rvs_flow::Mask<rvs_flow::PipelineKey>, id: FieldId) {
    rvs_flow::field::Field::of(id).set(&mut mask.0, 0);
}
