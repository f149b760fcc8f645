//! The `controller` actions and the reasons of packet-ins.

use super::decode::bad_argument;
use crate::error::{ErrorCode, OfError};
use crate::message::props;
use crate::model::{Action, ControllerAction, ControllerId, MeterId, PacketInReason};
use crate::wire::{Reader, Writer};

/// Properties of `NXAST_CONTROLLER2`.
const MAX_LEN: u16 = 0;
const CONTROLLER_ID: u16 = 1;
const REASON: u16 = 2;
const USERDATA: u16 = 3;
const PAUSE: u16 = 4;
const METER_ID: u16 = 5;

/// A reason's number in `NXAST_CONTROLLER` and in the packet-ins of 1.4 and later.
pub(crate) const fn reason_number(reason: PacketInReason) -> u8 {
    match reason {
        PacketInReason::NoMatch => 0,
        PacketInReason::Action => 1,
        PacketInReason::InvalidTtl => 2,
        PacketInReason::ActionSet => 3,
        PacketInReason::Group => 4,
        PacketInReason::PacketOut => 5,
    }
}

pub(crate) const fn reason_from(n: u8) -> Option<PacketInReason> {
    Some(match n {
        0 => PacketInReason::NoMatch,
        1 => PacketInReason::Action,
        2 => PacketInReason::InvalidTtl,
        3 => PacketInReason::ActionSet,
        4 => PacketInReason::Group,
        5 => PacketInReason::PacketOut,
        _ => return None,
    })
}

fn reason(n: u8) -> Result<PacketInReason, OfError> {
    reason_from(n).ok_or_else(|| bad_argument(format!("packet-in reason {n}; known are 0 to 5")))
}

pub(super) fn pull_controller(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let (max_len, id, why) = (r.u16()?, r.u16()?, r.u8()?);
    r.skip(1)?;
    Ok(Action::Controller(Box::new(ControllerAction {
        max_len,
        controller: ControllerId(id),
        reason: reason(why)?,
        userdata: Box::new([]),
        pause: false,
        meter: None,
    })))
}

pub(super) fn pull_controller2(r: &mut Reader<'_>) -> Result<Action, OfError> {
    r.zeros(6, ErrorCode::NxbrcMustBeZero)?;
    let mut c = ControllerAction {
        max_len: 0xffff,
        controller: ControllerId(0),
        reason: PacketInReason::Action,
        userdata: Box::new([]),
        pause: false,
        meter: None,
    };
    let mut properties = Reader::new(r.rest(), ErrorCode::BpcBadLen);
    while let Some((kind, mut p)) = props::pull(&mut properties)? {
        match kind {
            MAX_LEN => c.max_len = p.u16()?,
            CONTROLLER_ID => c.controller = ControllerId(p.u16()?),
            REASON => c.reason = reason(p.u8()?)?,
            USERDATA => c.userdata = p.rest().into(),
            PAUSE => c.pause = true,
            METER_ID => c.meter = Some(MeterId(p.u32()?)),
            _ => return Err(props::unknown(kind, "controller2")),
        }
    }
    Ok(Action::Controller(Box::new(c)))
}

/// True when the older action says all of it.
pub(super) fn fits_controller(c: &ControllerAction) -> bool {
    c.userdata.is_empty() && !c.pause && c.meter.is_none()
}

pub(super) fn put_controller(w: &mut Writer, c: &ControllerAction) {
    w.u16(c.max_len);
    w.u16(c.controller.0);
    w.u8(reason_number(c.reason));
    w.zeros(1);
}

/// The properties of the newer action that differ from their defaults.
pub(super) fn put_controller2(w: &mut Writer, c: &ControllerAction) {
    w.zeros(6);
    if c.max_len != 0xffff {
        props::put(w, MAX_LEN, |w| w.u16(c.max_len));
    }
    if c.controller.0 != 0 {
        props::put(w, CONTROLLER_ID, |w| w.u16(c.controller.0));
    }
    if c.reason != PacketInReason::Action {
        props::put(w, REASON, |w| w.u8(reason_number(c.reason)));
    }
    if !c.userdata.is_empty() {
        props::put(w, USERDATA, |w| w.bytes(&c.userdata));
    }
    if c.pause {
        props::put(w, PAUSE, |_| {});
    }
    if let Some(m) = c.meter {
        props::put(w, METER_ID, |w| w.u32(m.0));
    }
}
