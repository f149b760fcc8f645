//! Nicira's actions: subtypes of experimenter 0x2320, numbers as in `nicira-ext.h`.
//!
//! A subtype that stands in for a standard action exists only in the versions that lack the latter, as in Open vSwitch.
//! Connection tracking and sampling are recognised and refused, so that a controller that probes for them gets an answer
//! that it understands.

use rvs_flow::OfPort;
use rvs_packet::EtherType;

use super::decode::{bad_argument, exhausted, group, mpls_label, mpls_type, output_port, Pulled};
use super::field::{
    dst_field, pull_field, pull_load, pull_load2, pull_move, split_ofs_nbits, sub_field,
};
use super::{controller, debug_actions, learn, pull_list, select, Budget, MAX_DEPTH};
use crate::error::{ErrorCode, OfError};
use crate::model::{Action, ControllerId, MetadataWrite, TableId};
use crate::version::Version;
use crate::wire::Reader;

/// Subtypes of the actions that have no standard counterpart, and of the stand-ins.
pub(super) mod subtype {
    pub(crate) const RESUBMIT: u16 = 1;
    pub(crate) const SET_TUNNEL: u16 = 2;
    pub(crate) const SET_QUEUE: u16 = 4;
    pub(crate) const POP_QUEUE: u16 = 5;
    pub(crate) const REG_MOVE: u16 = 6;
    pub(crate) const REG_LOAD: u16 = 7;
    pub(crate) const NOTE: u16 = 8;
    pub(crate) const SET_TUNNEL64: u16 = 9;
    pub(crate) const MULTIPATH: u16 = 10;
    pub(crate) const BUNDLE: u16 = 12;
    pub(crate) const BUNDLE_LOAD: u16 = 13;
    pub(crate) const RESUBMIT_TABLE: u16 = 14;
    pub(crate) const OUTPUT_REG: u16 = 15;
    pub(crate) const LEARN: u16 = 16;
    pub(crate) const EXIT: u16 = 17;
    pub(crate) const DEBUG_SLOW: u16 = 254;
    pub(crate) const DEBUG_RECIRC: u16 = 255;
    pub(crate) const DEC_TTL: u16 = 18;
    pub(crate) const FIN_TIMEOUT: u16 = 19;
    pub(crate) const CONTROLLER: u16 = 20;
    pub(crate) const DEC_TTL_CNT_IDS: u16 = 21;
    pub(crate) const WRITE_METADATA: u16 = 22;
    pub(crate) const PUSH_MPLS: u16 = 23;
    pub(crate) const POP_MPLS: u16 = 24;
    pub(crate) const SET_MPLS_TTL: u16 = 25;
    pub(crate) const DEC_MPLS_TTL: u16 = 26;
    pub(crate) const STACK_PUSH: u16 = 27;
    pub(crate) const STACK_POP: u16 = 28;
    pub(crate) const SAMPLE: u16 = 29;
    pub(crate) const SET_MPLS_LABEL: u16 = 30;
    pub(crate) const SET_MPLS_TC: u16 = 31;
    pub(crate) const OUTPUT_REG2: u16 = 32;
    pub(crate) const REG_LOAD2: u16 = 33;
    pub(crate) const CONJUNCTION: u16 = 34;
    pub(crate) const CT: u16 = 35;
    pub(crate) const NAT: u16 = 36;
    pub(crate) const CONTROLLER2: u16 = 37;
    pub(crate) const SAMPLE2: u16 = 38;
    pub(crate) const OUTPUT_TRUNC: u16 = 39;
    pub(crate) const GROUP: u16 = 40;
    pub(crate) const SAMPLE3: u16 = 41;
    pub(crate) const CLONE: u16 = 42;
    pub(crate) const CT_CLEAR: u16 = 43;
    pub(crate) const RESUBMIT_TABLE_CT: u16 = 44;
    pub(crate) const LEARN2: u16 = 45;
    pub(crate) const CHECK_PKT_LARGER: u16 = 49;
}

/// Reads the action after its experimenter id; `len` is that of the whole action.
pub(super) fn pull(r: &mut Reader<'_>, len: usize, budget: &mut Budget) -> Result<Pulled, OfError> {
    use subtype as s;
    let sub = r.u16()?;
    let before15 = budget.version < Version::Of15;
    let action = match sub {
        s::NOTE => Action::Note(r.rest().into()),
        s::CLONE => pull_clone(r, budget)?,
        s::CONTROLLER2 => controller::pull_controller2(r)?,
        s::LEARN => learn::pull_learn(r, false)?,
        s::LEARN2 => learn::pull_learn(r, true)?,
        s::BUNDLE => select::pull_bundle(r, false)?,
        s::BUNDLE_LOAD => select::pull_bundle(r, true)?,
        s::DEC_TTL_CNT_IDS => pull_cnt_ids(r)?,
        s::REG_LOAD2 if before15 => pull_load2(r)?,
        s::REG_MOVE if before15 => pull_move(r)?,
        s::OUTPUT_REG2 => pull_output_reg2(r)?,
        s::STACK_PUSH => Action::Push(pull_stack(r, false)?),
        s::STACK_POP => Action::Pop(pull_stack(r, true)?),
        s::CHECK_PKT_LARGER => pull_check_pkt_larger(r)?,
        s::CT | s::NAT | s::CT_CLEAR | s::RESUBMIT_TABLE_CT => {
            return Err(ErrorCode::NxbacCtDatapathSupport
                .because("connection tracking is not supported by this switch"));
        }
        s::SAMPLE | s::SAMPLE2 | s::SAMPLE3 => {
            return Err(ErrorCode::BacBadVendorType
                .because("the sample action is not supported by this switch"));
        }
        _ => {
            let pulled = pull_fixed(r, sub, budget.version)?;
            exhausted(r, len as u16)?;
            return Ok(pulled);
        }
    };
    Ok(Pulled::Action(action))
}

/// Actions that have one size.
fn pull_fixed(r: &mut Reader<'_>, sub: u16, version: Version) -> Result<Pulled, OfError> {
    use subtype as s;
    let of10 = version == Version::Of10;
    let action = match sub {
        s::RESUBMIT => {
            let port = resubmit_port(r.u16()?);
            r.skip(4)?;
            Action::Resubmit { port, table: None }
        }
        s::RESUBMIT_TABLE => {
            let (port, table) = (resubmit_port(r.u16()?), r.u8()?);
            r.zeros(3, ErrorCode::BacBadArgument)?;
            let table = (table != TableId::ALL.0).then_some(TableId(table));
            Action::Resubmit { port, table }
        }
        s::SET_TUNNEL => Action::SetTunnel(word(r)?.into()),
        s::SET_TUNNEL64 => {
            r.skip(6)?;
            Action::SetTunnel(r.u64()?)
        }
        s::SET_QUEUE if of10 => Action::SetQueue(word(r)?),
        s::POP_QUEUE => void(r, Action::PopQueue)?,
        s::REG_LOAD if version < Version::Of15 => pull_load(r)?,
        s::MULTIPATH => select::pull_multipath(r)?,
        s::OUTPUT_REG => pull_output_reg(r)?,
        s::EXIT => void(r, Action::Exit)?,
        s::DEBUG_RECIRC if debug_actions() => void(r, Action::DebugRecirc)?,
        s::DEBUG_SLOW if debug_actions() => void(r, Action::DebugSlow)?,
        s::DEC_TTL if of10 => void(r, Action::DecNwTtl(Box::new([])))?,
        s::FIN_TIMEOUT => {
            let (idle, hard) = (r.u16()?, r.u16()?);
            r.skip(2)?;
            Action::FinTimeout { idle, hard }
        }
        s::CONTROLLER => controller::pull_controller(r)?,
        s::WRITE_METADATA => {
            r.zeros(6, ErrorCode::NxbrcMustBeZero)?;
            let (value, mask) = (r.u64()?, r.u64()?);
            return Ok(Pulled::Metadata(MetadataWrite {
                value: value & mask,
                mask,
            }));
        }
        s::PUSH_MPLS if of10 => Action::PushMpls(mpls_type(half(r)?)?),
        s::POP_MPLS if of10 => Action::PopMpls(EtherType(half(r)?)),
        s::SET_MPLS_TTL if of10 => Action::SetMplsTtl((half(r)? >> 8) as u8),
        s::DEC_MPLS_TTL if of10 => void(r, Action::DecMplsTtl)?,
        s::SET_MPLS_LABEL if of10 => Action::SetMplsLabel(mpls_label(word(r)?)?),
        s::SET_MPLS_TC if of10 => {
            let tc = (half(r)? >> 8) as u8;
            if tc > 7 {
                return Err(bad_argument(format!("mpls_tc is {tc}; 7 is the most")));
            }
            Action::SetMplsTc(tc)
        }
        s::CONJUNCTION => pull_conjunction(r)?,
        s::OUTPUT_TRUNC => pull_output_trunc(r)?,
        s::GROUP if of10 => group(word(r)?)?,
        _ => return Err(ErrorCode::BacBadVendorType.because(format!("Nicira action {sub}"))),
    };
    Ok(Pulled::Action(action))
}

/// 16 bits and what pads them to 16 octets.
fn half(r: &mut Reader<'_>) -> Result<u16, OfError> {
    let v = r.u16()?;
    r.skip(4)?;
    Ok(v)
}

/// 32 bits after two octets of padding.
fn word(r: &mut Reader<'_>) -> Result<u32, OfError> {
    r.skip(2)?;
    r.u32()
}

fn void(r: &mut Reader<'_>, action: Action) -> Result<Action, OfError> {
    r.skip(6)?;
    Ok(action)
}

fn resubmit_port(v: u16) -> Option<OfPort> {
    let port = OfPort::from_u16(v);
    (port != OfPort::IN_PORT).then_some(port)
}

fn pull_clone(r: &mut Reader<'_>, budget: &mut Budget) -> Result<Action, OfError> {
    r.skip(6)?;
    if budget.depth == MAX_DEPTH {
        return Err(
            ErrorCode::BacTooMany.because(format!("clone in clone deeper than {MAX_DEPTH}"))
        );
    }
    budget.depth += 1;
    let list = pull_list(r, budget)?;
    budget.depth -= 1;
    if list.metadata.is_some() {
        return Err(ErrorCode::BicUnsupInst.because("write_metadata inside clone"));
    }
    if list.actions.iter().any(|a| matches!(a, Action::Meter(_))) {
        return Err(ErrorCode::BacBadArgument.because("meter inside clone"));
    }
    Ok(Action::Clone(list.actions.into()))
}

fn pull_cnt_ids(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let n = r.u16()?;
    r.zeros(4, ErrorCode::NxbrcMustBeZero)?;
    let mut ids = Vec::new();
    for _ in 0..n {
        ids.push(ControllerId(r.u16()?));
    }
    Ok(Action::DecNwTtl(ids.into()))
}

fn pull_output_reg(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let (ofs, n) = split_ofs_nbits(r.u16()?);
    let src = sub_field(pull_field(r)?, ofs, n)?;
    let max_len = r.u16()?;
    r.zeros(6, ErrorCode::BacBadArgument)?;
    Ok(Action::OutputReg { src, max_len })
}

fn pull_output_reg2(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let (ofs, n) = split_ofs_nbits(r.u16()?);
    let max_len = r.u16()?;
    let src = sub_field(pull_field(r)?, ofs, n)?;
    let rest = r.len();
    r.zeros(rest, ErrorCode::NxbrcMustBeZero)?;
    Ok(Action::OutputReg { src, max_len })
}

fn pull_stack(r: &mut Reader<'_>, pop: bool) -> Result<rvs_flow::SubField, OfError> {
    let ofs = r.u16()?;
    let field = pull_field(r)?;
    let n = r.u16()?;
    let rest = r.len();
    r.zeros(rest, ErrorCode::NxbrcMustBeZero)?;
    if pop {
        dst_field(field, ofs, n)
    } else {
        sub_field(field, ofs, n)
    }
}

fn pull_check_pkt_larger(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let (len, ofs) = (r.u16()?, r.u16()?);
    let dst = dst_field(pull_field(r)?, ofs, 1)?;
    let rest = r.len();
    r.zeros(rest, ErrorCode::NxbrcMustBeZero)?;
    Ok(Action::CheckPktLarger { dst, len })
}

fn pull_conjunction(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let (clause, n_clauses, id) = (r.u8()?, r.u8()?, r.u32()?);
    if !(2..=64).contains(&n_clauses) || clause >= n_clauses {
        return Err(ErrorCode::NxbacBadConjunction.because(format!(
            "clause {} of {n_clauses}; a conjunction has 2 to 64 clauses",
            u16::from(clause) + 1
        )));
    }
    Ok(Action::Conjunction {
        id,
        clause,
        n_clauses,
    })
}

fn pull_output_trunc(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let port = output_port(OfPort::from_u16(r.u16()?))?;
    let len = r.u32()?;
    // Shorter than an Ethernet header is no frame; longer than any frame cuts nothing.
    if len < 14 {
        return Err(bad_argument(format!(
            "output cut to {len} octets; 14 is the least"
        )));
    }
    Ok(Action::OutputTruncated {
        port,
        max_len: len.min(0xffff) as u16,
    })
}
