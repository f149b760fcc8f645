//! Nicira's choices by hash: `multipath`, `bundle`, `bundle_load`.

use rvs_flow::field::OxmType;
use rvs_flow::OfPort;

use super::decode::bad_argument;
use super::field::{dst_field, pull_field, put_ofs_nbits, split_ofs_nbits};
use crate::error::{ErrorCode, OfError};
use crate::model::{
    Action, BundleAction, BundleAlgorithm, HashFields, Multipath, MultipathAlgorithm,
};
use crate::oxm::put_header;
use crate::wire::{Reader, Writer};

/// Members of one bundle.
const MAX_MEMBERS: u16 = 2048;

const HASH_FIELDS: [(u16, HashFields); 7] = [
    (0, HashFields::EthSrc),
    (1, HashFields::SymmetricL4),
    (2, HashFields::SymmetricL3L4),
    (3, HashFields::SymmetricL3L4Udp),
    (4, HashFields::NwSrc),
    (5, HashFields::NwDst),
    (6, HashFields::SymmetricL3),
];

const MULTIPATH: [(u16, MultipathAlgorithm); 4] = [
    (0, MultipathAlgorithm::ModuloN),
    (1, MultipathAlgorithm::HashThreshold),
    (2, MultipathAlgorithm::Hrw),
    (3, MultipathAlgorithm::IterHash),
];

const BUNDLE: [(u16, BundleAlgorithm); 2] = [
    (0, BundleAlgorithm::ActiveBackup),
    (1, BundleAlgorithm::Hrw),
];

fn by_number<T: Copy>(table: &[(u16, T)], n: u16, what: &str) -> Result<T, OfError> {
    table
        .iter()
        .find(|(m, _)| *m == n)
        .map(|(_, v)| *v)
        .ok_or_else(|| bad_argument(format!("{what} {n} is not known")))
}

fn number_of<T: PartialEq>(table: &[(u16, T)], v: &T) -> u16 {
    table.iter().find(|(_, t)| t == v).map_or(0, |(n, _)| *n)
}

pub(super) fn pull_multipath(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let fields = by_number(&HASH_FIELDS, r.u16()?, "set of hashed fields")?;
    let basis = r.u16()?;
    r.skip(2)?;
    let algorithm = by_number(&MULTIPATH, r.u16()?, "multipath algorithm")?;
    let (max_link, arg) = (r.u16()?, r.u32()?);
    r.skip(2)?;
    let (ofs, n) = split_ofs_nbits(r.u16()?);
    let dst = dst_field(pull_field(r)?, ofs, n)?;
    if u32::from(max_link) >> dst.bits().min(31) != 0 {
        return Err(bad_argument(format!(
            "multipath of {} links into the {} bits of {dst}",
            u32::from(max_link) + 1,
            dst.bits()
        )));
    }
    Ok(Action::Multipath(Box::new(Multipath {
        fields,
        basis,
        algorithm,
        max_link,
        arg,
        dst,
    })))
}

pub(super) fn put_multipath(w: &mut Writer, m: &Multipath) {
    w.u16(number_of(&HASH_FIELDS, &m.fields));
    w.u16(m.basis);
    w.zeros(2);
    w.u16(number_of(&MULTIPATH, &m.algorithm));
    w.u16(m.max_link);
    w.u32(m.arg);
    w.zeros(2);
    put_ofs_nbits(w, &m.dst);
    put_header(w, m.dst.field(), None, false);
}

pub(super) fn pull_bundle(r: &mut Reader<'_>, load: bool) -> Result<Action, OfError> {
    let algorithm = by_number(&BUNDLE, r.u16()?, "bundle algorithm")?;
    let fields = by_number(&HASH_FIELDS, r.u16()?, "set of hashed fields")?;
    let basis = r.u16()?;
    let member_type = r.u32()?;
    if member_type != member_header() {
        return Err(bad_argument(format!(
            "bundle members of type {member_type:#x}"
        )));
    }
    let n = r.u16()?;
    if n > MAX_MEMBERS {
        return Err(bad_argument(format!(
            "{n} members; {MAX_MEMBERS} are the most"
        )));
    }
    let ofs_nbits = r.u16()?;
    let dst = if load {
        let (ofs, bits) = split_ofs_nbits(ofs_nbits);
        let dst = dst_field(pull_field(r)?, ofs, bits)?;
        if dst.bits() < 16 {
            return Err(bad_argument(format!(
                "bundle_load into {dst}; a port takes 16 bits"
            )));
        }
        Some(dst)
    } else {
        if ofs_nbits != 0 || r.u32()? != 0 {
            return Err(bad_argument(
                "bundle with a destination; that is bundle_load".into(),
            ));
        }
        None
    };
    r.zeros(4, ErrorCode::BacBadArgument)?;
    let mut members = Vec::new();
    for _ in 0..n {
        members.push(member(r.u16()?)?);
    }
    let rest = r.len();
    r.zeros(rest, ErrorCode::BacBadArgument)?;
    Ok(Action::Bundle(Box::new(BundleAction {
        algorithm,
        fields,
        basis,
        members: members.into(),
        dst,
    })))
}

/// A real port, the local one, or none; no other reserved port can be a member.
fn member(v: u16) -> Result<OfPort, OfError> {
    let port = OfPort::from_u16(v);
    if port < OfPort::MAX || matches!(port, OfPort::LOCAL | OfPort::ANY) {
        return Ok(port);
    }
    Err(ErrorCode::BacBadOutPort.because(format!("{port} cannot be a member of a bundle")))
}

/// `NXM_OF_IN_PORT`: members are ports.
fn member_header() -> u32 {
    OxmType {
        class: OxmType::NXM_OF,
        field: 0,
        experimenter: 0,
    }
    .header(false, 2)
}

pub(super) fn put_bundle(w: &mut Writer, b: &BundleAction) {
    w.u16(number_of(&BUNDLE, &b.algorithm));
    w.u16(number_of(&HASH_FIELDS, &b.fields));
    w.u16(b.basis);
    w.u32(member_header());
    w.count16("bundle", b.members.len());
    match &b.dst {
        Some(dst) => {
            put_ofs_nbits(w, dst);
            put_header(w, dst.field(), None, false);
        }
        None => w.zeros(6),
    }
    w.zeros(4);
    for m in &b.members {
        match m.to_u16() {
            Some(p) => w.u16(p),
            None => w.fault(crate::wire::EncodeError::Port(m.0)),
        }
    }
}
