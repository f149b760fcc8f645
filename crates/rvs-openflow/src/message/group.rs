//! Group-mods and group descriptions: buckets of 1.1 to 1.4, those of 1.5, and Nicira's for 1.0, which are 1.5's.

use rvs_flow::field::FieldId;

use super::port::pull_port;
use super::props;
use crate::action::{pull_actions, put_actions, ListContext};
use crate::error::{ErrorCode, OfError};
use crate::model::{Bucket, Group, GroupId, GroupKind, Selection};
use crate::oxm::{pull_header, pull_value, put_header, put_value};
use crate::version::Version;
use crate::wire::{text, Reader, Writer};

/// Largest number of a bucket, and the numbers that name a place or all of them in commands (OpenFlow 1.5).
pub const BUCKET_MAX: u32 = 0xffff_ff00;
pub const BUCKET_FIRST: u32 = 0xffff_fffd;
pub const BUCKET_LAST: u32 = 0xffff_fffe;
pub const BUCKET_ALL: u32 = 0xffff_ffff;

/// Properties of a bucket.
const WEIGHT: u16 = 0;
const WATCH_PORT: u16 = 1;
const WATCH_GROUP: u16 = 2;

/// Netronome's experimenter property, the field's way to choose how a group selects.
const NTR: u32 = 0x0000_154d;
/// The number that the property began with: Open vSwitch still takes it.
const NTR_OLD: u32 = 0x0000_1540;
const NTRT_SELECTION_METHOD: u32 = 1;
const METHOD_LEN: usize = 16;

/// `OFPGC_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupCommand {
    Add,
    Modify,
    Delete,
    /// OpenFlow 1.5, as is [`Self::RemoveBucket`].
    InsertBucket,
    RemoveBucket,
    /// Open vSwitch's `--may-create mod-group`.
    AddOrMod,
}

impl GroupCommand {
    const NUMBERS: [(u16, Self); 6] = [
        (0, Self::Add),
        (1, Self::Modify),
        (2, Self::Delete),
        (3, Self::InsertBucket),
        (5, Self::RemoveBucket),
        (0x8000, Self::AddOrMod),
    ];

    const fn is_on_bucket(self) -> bool {
        matches!(self, Self::InsertBucket | Self::RemoveBucket)
    }
}

/// `ofp_group_mod`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMod {
    pub command: GroupCommand,
    /// Where buckets are inserted or which are removed; [`BUCKET_ALL`] for the other commands.
    pub command_bucket: u32,
    /// `id` may be [`GroupId::ALL`] to delete all.
    pub group: Group,
}

fn kind_from(n: u8) -> Result<GroupKind, OfError> {
    Ok(match n {
        0 => GroupKind::All,
        1 => GroupKind::Select,
        2 => GroupKind::Indirect,
        3 => GroupKind::FastFailover,
        _ => {
            return Err(ErrorCode::GmfcBadType.because(format!("group type {n}; known are 0 to 3")))
        }
    })
}

/// True where groups are written as in 1.5.
const fn new_form(version: Version) -> bool {
    matches!(version, Version::Of10 | Version::Of15)
}

impl GroupMod {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let number = r.u16()?;
        let command = GroupCommand::NUMBERS
            .iter()
            .find(|(n, c)| *n == number && (new_form(version) || !c.is_on_bucket()))
            .map(|(_, c)| *c)
            .ok_or_else(|| ErrorCode::GmfcBadCommand.because(format!("group command {number}")))?;
        let kind = kind_from(r.u8()?)?;
        r.skip(1)?;
        let id = GroupId(r.u32()?);
        let mut g = Self {
            command,
            command_bucket: BUCKET_ALL,
            group: Group {
                id,
                kind,
                selection: Selection::Default,
                buckets: Box::new([]),
            },
        };
        if new_form(version) {
            let len = r.u16()?;
            r.skip(2)?;
            g.command_bucket = r.u32()?;
            g.check_command_bucket()?;
            let mut buckets = r.sub(len.into(), ErrorCode::BrcBadLen)?;
            g.group.buckets = pull_buckets15(&mut buckets, version, kind)?;
            g.group.selection = pull_selection(r, kind)?;
        } else {
            g.group.buckets = pull_buckets11(r, version)?;
            // OpenFlow 1.3.5 section 6.4.
            if command == GroupCommand::Delete
                && version >= Version::Of13
                && !g.group.buckets.is_empty()
            {
                return Err(ErrorCode::GmfcInvalidGroup.because("a delete with buckets"));
            }
        }
        g.check()?;
        Ok(g)
    }

    fn check_command_bucket(&self) -> Result<(), OfError> {
        let b = self.command_bucket;
        let place = b <= BUCKET_MAX || b == BUCKET_FIRST || b == BUCKET_LAST;
        let ok = match self.command {
            GroupCommand::RemoveBucket => place || b == BUCKET_ALL,
            GroupCommand::InsertBucket => place,
            _ => b == BUCKET_ALL,
        };
        if ok {
            return Ok(());
        }
        Err(ErrorCode::GmfcBadBucket
            .because(format!("command bucket {b:#x} for {:?}", self.command)))
    }

    /// What a group of its kind must have.
    fn check(&self) -> Result<(), OfError> {
        let g = &self.group;
        let delete = self.command == GroupCommand::Delete;
        let on_bucket = self.command.is_on_bucket();
        if g.id > GroupId::MAX && !(delete && g.id == GroupId::ALL) {
            return Err(ErrorCode::GmfcInvalidGroup.because(format!(
                "group {:#x}; groups are numbered to 0xffffff00",
                g.id.0
            )));
        }
        if self.command == GroupCommand::RemoveBucket && !g.buckets.is_empty() {
            return Err(ErrorCode::GmfcBadBucket.because("buckets to remove are named, not given"));
        }
        if g.selection != Selection::Default && (on_bucket || delete) {
            return Err(
                ErrorCode::BpcBadValue.because("a selection method belongs to add and modify")
            );
        }
        let whole = !on_bucket && !delete;
        if g.kind == GroupKind::Indirect && whole && g.buckets.len() != 1 {
            return Err(ErrorCode::GmfcInvalidGroup.because(format!(
                "an indirect group with {} buckets; it has one",
                g.buckets.len()
            )));
        }
        if self.command == GroupCommand::InsertBucket {
            // It need not say the type of the group: the group that is there tells what its buckets may be.
            return Ok(());
        }
        g.buckets.iter().try_for_each(|b| check_bucket(b, g.kind))
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        let g = &self.group;
        if self.command.is_on_bucket() && !new_form(version) {
            w.not_in_version("a command on buckets");
        }
        let number = GroupCommand::NUMBERS
            .iter()
            .find(|(_, c)| *c == self.command);
        w.u16(number.map_or(0, |(n, _)| *n));
        w.u8(g.kind as u8);
        w.zeros(1);
        w.u32(g.id.0);
        if new_form(version) {
            let at = w.len();
            w.zeros(4);
            w.u32(self.command_bucket);
            let start = w.len();
            put_buckets(w, g, version);
            w.set_len(at, start, "buckets");
            put_selection(w, &g.selection, version);
        } else {
            put_buckets(w, g, version);
        }
    }
}

fn check_bucket(b: &Bucket, kind: GroupKind) -> Result<(), OfError> {
    let watches = b.watch_port.is_some() || b.watch_group.is_some();
    if b.weight != 0 && kind != GroupKind::Select {
        return Err(ErrorCode::GmfcInvalidGroup
            .because("a weight in a group that does not select by weight"));
    }
    match kind {
        GroupKind::All | GroupKind::Indirect if watches => Err(ErrorCode::GmfcWatchUnsupported
            .because("a watched port or group in a group that does not look at liveness")),
        GroupKind::FastFailover if !watches => Err(ErrorCode::GmfcInvalidGroup
            .because("a fast failover bucket that watches neither a port nor a group")),
        _ => Ok(()),
    }
}

fn watch_port(r: &mut Reader<'_>, version: Version) -> Result<Option<rvs_flow::OfPort>, OfError> {
    let port = pull_port(r, version).map_err(|e| ErrorCode::GmfcBadWatch.because(e.why))?;
    Ok((port != rvs_flow::OfPort::ANY).then_some(port))
}

fn watch_group(id: u32) -> Option<GroupId> {
    (id != GroupId::ANY.0).then_some(GroupId(id))
}

fn pull_buckets11(r: &mut Reader<'_>, version: Version) -> Result<Box<[Bucket]>, OfError> {
    let mut all = Vec::new();
    let mut r = Reader::new(r.rest(), ErrorCode::GmfcBadBucket);
    while !r.is_empty() {
        let mut b = r.element8(0, 16)?;
        b.skip(2)?;
        let weight = b.u16()?;
        let watch_port = watch_port(&mut b, version)?;
        let watch_group = watch_group(b.u32()?);
        b.skip(4)?;
        all.push(Bucket {
            id: all.len() as u32,
            weight,
            watch_port,
            watch_group,
            actions: pull_actions(&mut b, version)?.into(),
        });
    }
    Ok(all.into())
}

fn pull_buckets15(
    r: &mut Reader<'_>,
    version: Version,
    kind: GroupKind,
) -> Result<Box<[Bucket]>, OfError> {
    let mut all: Vec<Bucket> = Vec::new();
    let mut r = Reader::new(r.rest(), ErrorCode::GmfcBadBucket);
    while !r.is_empty() {
        let mut b = r.element8(0, 8)?;
        b.skip(2)?;
        let len = b.u16()?;
        let id = b.u32()?;
        if id > BUCKET_MAX {
            return Err(ErrorCode::GmfcBadBucket.because(format!(
                "bucket {id:#x}; buckets are numbered to 0xffffff00"
            )));
        }
        let mut actions = b.sub(len.into(), ErrorCode::GmfcBadBucket)?;
        let mut bucket = Bucket {
            id,
            weight: u16::from(kind == GroupKind::Select),
            watch_port: None,
            watch_group: None,
            actions: pull_actions(&mut actions, version)?.into(),
        };
        while let Some((what, mut p)) = props::pull(&mut b)? {
            match what {
                WEIGHT => bucket.weight = p.u16()?,
                WATCH_PORT => bucket.watch_port = watch_port(&mut p, Version::Of15)?,
                WATCH_GROUP => bucket.watch_group = watch_group(p.u32()?),
                _ => return Err(props::unknown(what, "bucket")),
            }
        }
        all.push(bucket);
    }
    let mut ids: Vec<u32> = all.iter().map(|b| b.id).collect();
    ids.sort_unstable();
    if let Some(w) = ids.windows(2).find(|w| w[0] == w[1]) {
        return Err(ErrorCode::GmfcBucketExists.because(format!("two buckets numbered {}", w[0])));
    }
    Ok(all.into())
}

/// The properties of a group: how a select group selects, at most.
fn pull_selection(r: &mut Reader<'_>, kind: GroupKind) -> Result<Selection, OfError> {
    let mut selection = Selection::Default;
    while let Some((what, mut p)) = props::pull(r)? {
        let known = what == props::EXPERIMENTER && matches!(p.u32()?, NTR | NTR_OLD);
        if !known || p.u32()? != NTRT_SELECTION_METHOD {
            return Err(props::unknown(what, "group"));
        }
        if kind != GroupKind::Select {
            return Err(ErrorCode::BpcBadValue
                .because("a selection method in a group that does not select"));
        }
        p.skip(4)?;
        let method = text(p.bytes(METHOD_LEN)?);
        let param = p.u64()?;
        let fields = pull_hashed_fields(&mut p)?;
        selection = match method.as_str() {
            "hash" => Selection::Hash { param, fields },
            "dp_hash" if fields.is_empty() => Selection::DpHash { param },
            "dp_hash" => {
                return Err(ErrorCode::BpcBadValue.because("dp_hash takes no fields; hash does"))
            }
            _ => {
                return Err(ErrorCode::BpcBadValue.because(format!(
                    "selection method {method:?}; known are \"hash\" and \"dp_hash\""
                )))
            }
        };
    }
    Ok(selection)
}

/// OXMs whose values are masks.
fn pull_hashed_fields(r: &mut Reader<'_>) -> Result<Box<[(FieldId, u128)]>, OfError> {
    let mut all: Vec<(FieldId, u128)> = Vec::new();
    while !r.is_empty() {
        let h = pull_header(r)?;
        if h.has_mask {
            return Err(ErrorCode::BmcBadMask.because("a hashed field with a mask of its mask"));
        }
        let f = h.field(ErrorCode::BmcBadField, ErrorCode::BmcBadLen)?;
        let mask = pull_value(r, f.wire_len.into())?;
        if all.iter().any(|(id, _)| *id == f.id) {
            return Err(ErrorCode::BmcDupField.because(format!("{f} is hashed twice")));
        }
        if mask == 0 || !f.maskable && mask & f.match_mask() != f.match_mask() {
            return Err(ErrorCode::BmcBadMask.because(format!("{f} hashed under {mask:#x}")));
        }
        all.push((f.id, mask & f.match_mask()));
    }
    Ok(all.into())
}

fn put_selection(w: &mut Writer, s: &Selection, version: Version) {
    let (method, param, fields) = match s {
        Selection::Default => return,
        Selection::DpHash { param } => ("dp_hash", *param, &[][..]),
        Selection::Hash { param, fields } => ("hash", *param, &fields[..]),
    };
    props::put(w, props::EXPERIMENTER, |w| {
        w.u32(NTR);
        w.u32(NTRT_SELECTION_METHOD);
        w.zeros(4);
        w.text(method, METHOD_LEN);
        w.u64(param);
        for (id, mask) in fields {
            let f = rvs_flow::field::Field::of(*id);
            put_header(w, f, Some(version), false);
            put_value(w, *mask, f.wire_len);
        }
    });
}

fn put_buckets(w: &mut Writer, g: &Group, version: Version) {
    for b in &g.buckets {
        let start = w.len();
        w.zeros(2);
        if new_form(version) {
            put_bucket15(w, b, g.kind, version);
        } else {
            w.u16(b.weight);
            w.u32(b.watch_port.map_or(u32::MAX, |p| p.0));
            w.u32(b.watch_group.map_or(u32::MAX, |g| g.0));
            w.zeros(4);
            put_actions(w, &b.actions, ListContext::new(version));
        }
        w.set_len(start, start, "bucket");
    }
}

fn put_bucket15(w: &mut Writer, b: &Bucket, kind: GroupKind, version: Version) {
    let at = w.len();
    w.zeros(2);
    w.u32(b.id);
    let start = w.len();
    put_actions(w, &b.actions, ListContext::new(version));
    w.set_len(at, start, "actions");
    if b.weight != u16::from(kind == GroupKind::Select) {
        props::put(w, WEIGHT, |w| w.u16(b.weight));
    }
    if let Some(p) = b.watch_port {
        props::put(w, WATCH_PORT, |w| w.u32(p.0));
    }
    if let Some(g) = b.watch_group {
        props::put(w, WATCH_GROUP, |w| w.u32(g.0));
    }
}

/// One entry of a group description reply.
pub(crate) fn pull_group_desc(r: &mut Reader<'_>, version: Version) -> Result<Group, OfError> {
    let mut e = r.element8(0, 8)?;
    e.skip(2)?;
    let kind = kind_from(e.u8()?)?;
    e.skip(1)?;
    let id = GroupId(e.u32()?);
    let (buckets, selection) = if new_form(version) {
        let len = e.u16()?;
        e.skip(6)?;
        let mut b = e.sub(len.into(), ErrorCode::BrcBadLen)?;
        let buckets = pull_buckets15(&mut b, version, kind)?;
        (buckets, pull_selection(&mut e, kind)?)
    } else {
        (pull_buckets11(&mut e, version)?, Selection::Default)
    };
    Ok(Group {
        id,
        kind,
        selection,
        buckets,
    })
}

pub(crate) fn put_group_desc(w: &mut Writer, g: &Group, version: Version) {
    let start = w.len();
    w.zeros(2);
    w.u8(g.kind as u8);
    w.zeros(1);
    w.u32(g.id.0);
    if new_form(version) {
        let at = w.len();
        w.zeros(8);
        let from = w.len();
        put_buckets(w, g, version);
        w.set_len(at, from, "buckets");
        put_selection(w, &g.selection, version);
    } else {
        put_buckets(w, g, version);
    }
    w.set_len(start, start, "group");
}
