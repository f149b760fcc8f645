//! Instructions on the wire (OpenFlow 1.1 and later; the actions of 1.0 are an apply-actions).

use crate::action::{
    pull_actions, pull_flow_actions, put_actions, ListContext, NXAST_WRITE_METADATA,
};
use crate::error::{ErrorCode, OfError};
use crate::message::oxs::{pull_thresholds, put_thresholds};
use crate::model::{Action, Instructions, MetadataWrite, MeterId, StatTrigger, TableId};
use crate::oxm::FlowMatch;
use crate::version::Version;
use crate::wire::{Reader, Writer};

const GOTO_TABLE: u16 = 1;
const WRITE_METADATA: u16 = 2;
const WRITE_ACTIONS: u16 = 3;
const APPLY_ACTIONS: u16 = 4;
const CLEAR_ACTIONS: u16 = 5;
const METER: u16 = 6;
const STAT_TRIGGER: u16 = 7;
const EXPERIMENTER: u16 = 0xffff;

/// `OFPSTF_*`.
const PERIODIC: u32 = 1 << 0;
const ONLY_FIRST: u32 = 1 << 1;

/// Reads all of `r` as the instructions of a flow; in OpenFlow 1.0 as its actions.
pub(crate) fn pull_instructions(
    r: &mut Reader<'_>,
    version: Version,
) -> Result<Instructions, OfError> {
    if version == Version::Of10 {
        let list = pull_flow_actions(r, version)?;
        return Ok(Instructions {
            apply: list.actions.into(),
            metadata: list.metadata.map(Box::new),
            ..Instructions::default()
        });
    }
    let mut out = Instructions::default();
    let mut seen = 0u32;
    let mut r = Reader::new(r.rest(), ErrorCode::BicBadLen);
    while !r.is_empty() {
        let mut i = r.element8(2, 8)?;
        let (kind, len) = (i.u16()?, i.u16()?);
        if kind < 32 {
            if seen >> kind & 1 != 0 {
                return Err(ErrorCode::BicDupInst.because(format!("instruction {kind} twice")));
            }
            seen |= 1 << kind;
        }
        pull_instruction(&mut i, kind, version, &mut out)?;
        if !i.is_empty() {
            return Err(ErrorCode::BicBadLen.because(format!(
                "instruction {kind} of {len} octets has {} too many",
                i.len()
            )));
        }
    }
    Ok(out)
}

fn pull_instruction(
    r: &mut Reader<'_>,
    kind: u16,
    version: Version,
    out: &mut Instructions,
) -> Result<(), OfError> {
    match kind {
        GOTO_TABLE => {
            out.goto = Some(TableId(r.u8()?));
            r.skip(3)?;
        }
        WRITE_METADATA => {
            r.skip(4)?;
            let (value, mask) = (r.u64()?, r.u64()?);
            out.metadata = Some(Box::new(MetadataWrite {
                value: value & mask,
                mask,
            }));
        }
        WRITE_ACTIONS => {
            r.skip(4)?;
            let actions = pull_actions(r, version)?;
            if let Some(a) = actions.iter().find(|a| !a.allowed_in_set()) {
                return Err(ErrorCode::BacBadType.because(format!(
                    "{a:?} cannot be in an action set; apply it instead"
                )));
            }
            out.write = actions.into();
        }
        APPLY_ACTIONS => {
            r.skip(4)?;
            out.apply = pull_actions(r, version)?.into();
        }
        CLEAR_ACTIONS => {
            r.skip(4)?;
            out.clear = true;
        }
        METER if version >= Version::Of13 => {
            let id = r.u32()?;
            crate::action::check_meter(id)?;
            out.meter = Some(MeterId(id));
        }
        STAT_TRIGGER if version >= Version::Of15 => {
            out.stat_trigger = Some(Box::new(pull_stat_trigger(r)?));
        }
        EXPERIMENTER => {
            return Err(ErrorCode::BicBadExperimenter
                .because(format!("instruction of experimenter {:#x}", r.u32()?)));
        }
        _ => return Err(ErrorCode::BicUnknownInst.because(format!("instruction type {kind}"))),
    }
    Ok(())
}

fn pull_stat_trigger(r: &mut Reader<'_>) -> Result<StatTrigger, OfError> {
    let unsupported = |why: String| ErrorCode::BicUnsupInst.because(why);
    let flags = r.u32()?;
    if flags & !(PERIODIC | ONLY_FIRST) != 0 {
        return Err(unsupported(format!("stat_trigger with flags {flags:#x}")));
    }
    let trigger = StatTrigger {
        periodic: flags & PERIODIC != 0,
        only_first: flags & ONLY_FIRST != 0,
        thresholds: pull_thresholds(r)?,
    };
    let checked = trigger.check();
    checked.map_err(|why| unsupported(format!("stat_trigger: {why}")))?;
    Ok(trigger)
}

/// As [`put_instructions`], to show a flow that is there: before 1.5 without the statistics that it tells, which packets don't see.
pub(crate) fn show_instructions(w: &mut Writer, i: &Instructions, m: &FlowMatch, version: Version) {
    if version >= Version::Of15 || i.stat_trigger.is_none() {
        return put_instructions(w, i, m, version);
    }
    let mut shown = i.clone();
    shown.stat_trigger = None;
    put_instructions(w, &shown, m, version);
}

/// Writes the instructions of a flow that matches `m`.
pub(crate) fn put_instructions(w: &mut Writer, i: &Instructions, m: &FlowMatch, version: Version) {
    let cx = ListContext::of_flow(version, m);
    if version == Version::Of10 {
        return put_actions10(w, i, cx);
    }
    let element = |w: &mut Writer, kind: u16, body: &mut dyn FnMut(&mut Writer)| {
        let start = w.len();
        w.u16(kind);
        w.u16(0);
        body(w);
        w.set_len(start + 2, start, "instruction");
    };
    // Of 1.5 on the meter is the first of the actions that are applied.
    let meter_action = i.meter.filter(|_| version >= Version::Of15);
    match i.meter {
        Some(m) if version == Version::Of13 || version == Version::Of14 => {
            element(w, METER, &mut |w| w.u32(m.0));
        }
        Some(_) if version < Version::Of13 => w.not_in_version("meter"),
        _ => {}
    }
    if !i.apply.is_empty() || meter_action.is_some() {
        element(w, APPLY_ACTIONS, &mut |w| {
            w.zeros(4);
            if let Some(m) = meter_action {
                put_actions(w, &[Action::Meter(m)], cx);
            }
            put_actions(w, &i.apply, cx);
        });
    }
    if i.clear {
        element(w, CLEAR_ACTIONS, &mut |w| w.zeros(4));
    }
    if !i.write.is_empty() {
        element(w, WRITE_ACTIONS, &mut |w| {
            w.zeros(4);
            put_actions(w, &i.write, cx);
        });
    }
    if let Some(m) = &i.metadata {
        element(w, WRITE_METADATA, &mut |w| {
            w.zeros(4);
            w.u64(m.value);
            w.u64(m.mask);
        });
    }
    match &i.stat_trigger {
        Some(t) if version >= Version::Of15 => element(w, STAT_TRIGGER, &mut |w| {
            w.u32(
                if t.periodic { PERIODIC } else { 0 } | if t.only_first { ONLY_FIRST } else { 0 },
            );
            put_thresholds(w, &t.thresholds);
        }),
        Some(_) => w.not_in_version("stat_trigger"),
        None => {}
    }
    if let Some(t) = i.goto {
        element(w, GOTO_TABLE, &mut |w| {
            w.u8(t.0);
            w.zeros(3);
        });
    }
}

fn put_actions10(w: &mut Writer, i: &Instructions, cx: ListContext) {
    if i.meter.is_some() {
        w.not_in_version("meter");
    }
    if i.stat_trigger.is_some() {
        w.not_in_version("stat_trigger");
    }
    if i.clear || !i.write.is_empty() {
        w.not_in_version("an action set");
    }
    put_actions(w, &i.apply, cx);
    if let Some(m) = &i.metadata {
        w.u16(EXPERIMENTER);
        w.u16(32);
        w.u32(crate::error::NICIRA);
        w.u16(NXAST_WRITE_METADATA);
        w.zeros(6);
        w.u64(m.value);
        w.u64(m.mask);
    }
    if let Some(t) = i.goto {
        // 1.0 has no goto_table; resubmitting from the same port does the same as the last action.
        let action = Action::Resubmit {
            port: None,
            table: Some(t),
        };
        put_actions(w, &[action], cx);
    }
}
