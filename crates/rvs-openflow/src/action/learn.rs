//! `NXAST_LEARN` and `NXAST_LEARN2`.

use rvs_flow::SubField;

use super::decode::bad_argument;
use super::field::{dst_field, pull_field, sub_field};
use crate::error::{ErrorCode, OfError};
use crate::model::{Action, Learn, LearnDst, LearnSpec, LearnSrc, TableId};
use crate::oxm::{pull_value, put_header, put_value};
use crate::wire::{Reader, Writer};

const SEND_FLOW_REM: u16 = 1 << 0;
const DELETE_LEARNED: u16 = 1 << 1;
const WRITE_RESULT: u16 = 1 << 2;

/// A specification's header: three bits of kind, eleven of width.
const SRC_IMMEDIATE: u16 = 1 << 13;
const DST_MASK: u16 = 3 << 11;
const DST_MATCH: u16 = 0;
const DST_LOAD: u16 = 1 << 11;
const DST_OUTPUT: u16 = 2 << 11;
const N_BITS: u16 = 0x3ff;

pub(super) fn pull_learn(r: &mut Reader<'_>, second: bool) -> Result<Action, OfError> {
    let (idle_timeout, hard_timeout, priority) = (r.u16()?, r.u16()?, r.u16()?);
    let (cookie, flags, table) = (r.u64()?, r.u16()?, r.u8()?);
    r.zeros(1, ErrorCode::BacBadArgument)?;
    let (fin_idle_timeout, fin_hard_timeout) = (r.u16()?, r.u16()?);
    if table == TableId::ALL.0 {
        return Err(bad_argument(
            "learn into table 255, which is no table".into(),
        ));
    }
    let known = if second {
        SEND_FLOW_REM | DELETE_LEARNED | WRITE_RESULT
    } else {
        SEND_FLOW_REM | DELETE_LEARNED
    };
    if flags & !known != 0 {
        return Err(bad_argument(format!("learn with unknown flags {flags:#x}")));
    }
    let (mut limit, mut result) = (0, None);
    if second {
        limit = r.u32()?;
        let ofs = r.u16()?;
        r.zeros(2, ErrorCode::NxbacMustBeZero)?;
        if flags & WRITE_RESULT != 0 {
            result = Some(dst_field(pull_field(r)?, ofs, 1)?);
        } else if ofs != 0 {
            return Err(bad_argument(
                "learn with the offset of a result it does not write".into(),
            ));
        }
    }
    Ok(Action::Learn(Box::new(Learn {
        table: TableId(table),
        priority,
        cookie,
        idle_timeout,
        hard_timeout,
        fin_idle_timeout,
        fin_hard_timeout,
        send_flow_removed: flags & SEND_FLOW_REM != 0,
        delete_learned: flags & DELETE_LEARNED != 0,
        limit,
        result,
        specs: pull_specs(r)?.into(),
    })))
}

/// Specifications until a header of 0 or the end; what follows is padding.
fn pull_specs(r: &mut Reader<'_>) -> Result<Vec<LearnSpec>, OfError> {
    let mut specs = Vec::new();
    while !r.is_empty() {
        let header = r.u16()?;
        if header == 0 {
            break;
        }
        specs.push(pull_spec(r, header)?);
    }
    let rest = r.len();
    r.zeros(rest, ErrorCode::BacBadArgument)?;
    Ok(specs)
}

fn pull_spec(r: &mut Reader<'_>, header: u16) -> Result<LearnSpec, OfError> {
    let n = header & N_BITS;
    let immediate = header & SRC_IMMEDIATE != 0;
    let dst = header & DST_MASK;
    if header & !(SRC_IMMEDIATE | DST_MASK | N_BITS) != 0
        || dst == DST_MASK
        || dst == DST_OUTPUT && immediate
    {
        return Err(bad_argument(format!(
            "learn specification of kind {header:#06x}"
        )));
    }
    let src = if immediate {
        // No field is wider than 16 octets; a wider value is refused before it is read.
        if n == 0 || n > 128 {
            return Err(bad_argument(format!("learn of a value of {n} bits")));
        }
        let value = pull_value(r, 2 * usize::from(n.div_ceil(16)))?;
        if n < 128 && value >> n != 0 {
            return Err(bad_argument(format!(
                "learn of value {value:#x}, which is wider than {n} bits"
            )));
        }
        LearnSrc::Value(value)
    } else {
        LearnSrc::Field(pull_sub(r, n, false)?)
    };
    let dst = match dst {
        DST_MATCH => LearnDst::Match(pull_sub(r, n, false)?),
        DST_LOAD => LearnDst::Load(pull_sub(r, n, true)?),
        _ => LearnDst::Output,
    };
    Ok(LearnSpec { src, dst })
}

fn pull_sub(r: &mut Reader<'_>, n: u16, write: bool) -> Result<SubField, OfError> {
    let field = pull_field(r)?;
    let ofs = r.u16()?;
    if write {
        dst_field(field, ofs, n)
    } else {
        sub_field(field, ofs, n)
    }
}

/// True when the older action says all of it.
pub(super) fn fits_learn(l: &Learn) -> bool {
    l.limit == 0 && l.result.is_none()
}

pub(super) fn put_learn(w: &mut Writer, l: &Learn) {
    let flag = |on: bool, bit: u16| if on { bit } else { 0 };
    w.u16(l.idle_timeout);
    w.u16(l.hard_timeout);
    w.u16(l.priority);
    w.u64(l.cookie);
    w.u16(
        flag(l.send_flow_removed, SEND_FLOW_REM)
            | flag(l.delete_learned, DELETE_LEARNED)
            | flag(l.result.is_some(), WRITE_RESULT),
    );
    w.u8(l.table.0);
    w.zeros(1);
    w.u16(l.fin_idle_timeout);
    w.u16(l.fin_hard_timeout);
    if !fits_learn(l) {
        w.u32(l.limit);
        w.u16(l.result.map_or(0, |s| s.ofs().into()));
        w.zeros(2);
        if let Some(s) = &l.result {
            put_header(w, s.field(), None, false);
        }
    }
    for spec in &l.specs {
        put_spec(w, spec);
    }
}

fn put_spec(w: &mut Writer, spec: &LearnSpec) {
    let n = match (&spec.dst, &spec.src) {
        (LearnDst::Match(s) | LearnDst::Load(s), _) | (_, LearnSrc::Field(s)) => s.bits(),
        (LearnDst::Output, LearnSrc::Value(_)) => {
            return w.not_in_version("learn of an output to a constant");
        }
    };
    let dst = match spec.dst {
        LearnDst::Match(_) => DST_MATCH,
        LearnDst::Load(_) => DST_LOAD,
        LearnDst::Output => DST_OUTPUT,
    };
    let sub = |w: &mut Writer, s: &SubField| {
        put_header(w, s.field(), None, false);
        w.u16(s.ofs().into());
    };
    match &spec.src {
        LearnSrc::Value(v) => {
            w.u16(SRC_IMMEDIATE | dst | u16::from(n));
            put_value(w, *v, 2 * n.div_ceil(16));
        }
        LearnSrc::Field(s) => {
            w.u16(dst | u16::from(n));
            sub(w, s);
        }
    }
    if let LearnDst::Match(s) | LearnDst::Load(s) = &spec.dst {
        sub(w, s);
    }
}
