//! `controller(...)`, printed and read.

use std::fmt;

use super::action::Octets;
use super::parse::{number, octets};
use super::ParseError;
use crate::model::{Action, ControllerAction, ControllerId, MeterId, PacketInReason};

const REASONS: [(&str, PacketInReason); 6] = [
    ("no_match", PacketInReason::NoMatch),
    ("action", PacketInReason::Action),
    ("invalid_ttl", PacketInReason::InvalidTtl),
    ("action_set", PacketInReason::ActionSet),
    ("group", PacketInReason::Group),
    ("packet_out", PacketInReason::PacketOut),
];

fn plain(max_len: u16) -> ControllerAction {
    ControllerAction {
        max_len,
        controller: ControllerId(0),
        reason: PacketInReason::Action,
        userdata: Box::new([]),
        pause: false,
        meter: None,
    }
}

pub(super) fn fmt(f: &mut fmt::Formatter<'_>, c: &ControllerAction) -> fmt::Result {
    if *c == plain(c.max_len) {
        return write!(f, "CONTROLLER:{}", c.max_len);
    }
    let mut terms = Vec::new();
    if c.reason != PacketInReason::Action {
        let name = REASONS.iter().find(|(_, r)| *r == c.reason);
        terms.push(format!("reason={}", name.map_or("", |(n, _)| n)));
    }
    if c.max_len != u16::MAX {
        terms.push(format!("max_len={}", c.max_len));
    }
    if c.controller.0 != 0 {
        terms.push(format!("id={}", c.controller.0));
    }
    if !c.userdata.is_empty() {
        terms.push(format!("userdata={}", Octets(&c.userdata)));
    }
    if c.pause {
        terms.push("pause".to_owned());
    }
    if let Some(m) = c.meter {
        terms.push(format!("meter_id={}", m.0));
    }
    write!(f, "controller({})", terms.join(","))
}

/// After `controller`: nothing, a length, or terms in parentheses.
pub(super) fn parse(value: Option<&str>) -> Result<Action, ParseError> {
    let Some(value) = value else {
        return Ok(Action::output(rvs_flow::OfPort::CONTROLLER));
    };
    let Some(inner) = value.strip_prefix('(').and_then(|v| v.strip_suffix(')')) else {
        return Ok(Action::Output {
            port: rvs_flow::OfPort::CONTROLLER,
            max_len: number(value, "controller")?,
        });
    };
    let mut c = plain(u16::MAX);
    for term in rvs_flow::matching::terms(inner) {
        let (key, value) = term?;
        let given =
            || value.ok_or_else(|| ParseError(format!("{key} of controller needs a value")));
        match key {
            "reason" => {
                let name = given()?;
                let known = REASONS.iter().find(|(n, _)| *n == name);
                c.reason = known
                    .map(|(_, r)| *r)
                    .ok_or_else(|| ParseError(format!("{name} is not a packet-in reason")))?;
            }
            "max_len" => c.max_len = number(given()?, key)?,
            "id" => c.controller = ControllerId(number(given()?, key)?),
            "userdata" => c.userdata = octets(given()?, key)?.into(),
            "pause" => c.pause = true,
            "meter_id" => c.meter = Some(MeterId(number(given()?, key)?)),
            _ => return Err(ParseError(format!("controller has no {key}"))),
        }
    }
    let simple = c == plain(c.max_len);
    Ok(if simple {
        Action::Output {
            port: rvs_flow::OfPort::CONTROLLER,
            max_len: c.max_len,
        }
    } else {
        Action::Controller(Box::new(c))
    })
}
