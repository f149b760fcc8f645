//! Flows, actions, groups and meters as text, in the words of `ovs-ofctl`: what [`Display`](std::fmt::Display) prints is
//! what `ovs-ofctl dump-flows`, `dump-groups` and `dump-meters` print, and what the readers take is what `add-flow`,
//! `add-group` and `add-meter` take.
//!
//! What Open vSwitch has no word for is written in the style of its neighbours: `copy_ttl_in`, `copy_ttl_out`,
//! `push_pbb:0x88e7`, `pop_pbb`.
//!
//! Reading differs from Open vSwitch where it is silent: a number with a leading zero is refused (C reads octal), and
//! terms that contradict each other are an error (see `rvs_flow::matching`).

mod action;
mod choice;
mod controller;
mod flow;
mod group;
mod instruction;
mod learn;
pub mod message;
mod meter;
mod parse;
pub mod port;
#[cfg(test)]
mod tests;

use std::fmt;

use rvs_flow::field::{Field, FieldId, NoPortNames, PortNames};
use rvs_flow::OfPort;

use crate::model::{Action, Instructions};
use crate::version::Version;

pub use flow::{parse_flow, FlowStatsDisplay};
pub use group::{parse_group, GroupDisplay};
pub use meter::{parse_meter, MeterDisplay};

/// Why a text is not what it should be: what is wrong and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

impl ParseError {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl From<rvs_flow::matching::ParseMatchError> for ParseError {
    fn from(e: rvs_flow::matching::ParseMatchError) -> Self {
        Self(e.to_string())
    }
}

impl From<rvs_flow::field::BadValue> for ParseError {
    fn from(e: rvs_flow::field::BadValue) -> Self {
        Self(e.to_string())
    }
}

impl From<rvs_flow::field::BadSubField> for ParseError {
    fn from(e: rvs_flow::field::BadSubField) -> Self {
        Self(e.to_string())
    }
}

/// What printing and reading depend on besides the thing.
#[derive(Clone, Copy)]
pub struct Words<'a> {
    /// Names of the bridge's ports.
    pub ports: &'a dyn PortNames,
    /// The version over which the thing came: 1.0 says `strip_vlan` where the others say `pop_vlan`, and buckets have
    /// numbers in 1.0 (Nicira's) and 1.5 alone.
    pub version: Version,
}

impl Words<'static> {
    /// Numbers instead of names.
    pub const fn new(version: Version) -> Self {
        Self {
            ports: &NoPortNames,
            version,
        }
    }
}

impl Default for Words<'static> {
    fn default() -> Self {
        Self::new(Version::Of13)
    }
}

impl fmt::Debug for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Words({})", self.version)
    }
}

impl<'a> Words<'a> {
    /// A port by its name or number.
    fn port(&self, port: OfPort) -> impl fmt::Display + 'a {
        Field::of(FieldId::InPortOxm).display(port.0.into(), u32::MAX.into(), self.ports)
    }

    fn parse_port(&self, text: &str) -> Result<OfPort, ParseError> {
        let (value, _) = Field::of(FieldId::InPortOxm)
            .parse_value(text.trim(), self.ports)
            .map_err(|_| ParseError(format!("{text} is not a port's number or name")))?;
        Ok(OfPort(value as u32))
    }

    /// The list as `ovs-ofctl` prints it; `drop` when it is empty.
    pub fn actions(self, list: &'a [Action]) -> impl fmt::Display + 'a {
        action::List { list, words: self }
    }

    /// All that a flow does, after `actions=`.
    pub fn instructions(self, i: &'a Instructions) -> impl fmt::Display + 'a {
        instruction::All {
            instructions: i,
            words: self,
        }
    }

    /// Reads what stands after `actions=` of a flow.
    ///
    /// # Errors
    /// Names the action that is wrong.
    pub fn parse_instructions(&self, text: &str) -> Result<Instructions, ParseError> {
        instruction::parse(text, self)
    }

    /// Reads a list of actions, without instructions: of a packet-out or a bucket.
    ///
    /// # Errors
    /// Names the action that is wrong.
    pub fn parse_actions(&self, text: &str) -> Result<Vec<Action>, ParseError> {
        let i = instruction::parse(text, self)?;
        let mut actions = i.apply.to_vec();
        if let Some(m) = i.meter {
            actions.insert(0, Action::Meter(m));
        }
        let only_actions = Instructions { meter: None, ..i }.is_only_apply();
        if only_actions {
            Ok(actions)
        } else {
            Err(ParseError::new(
                "instructions such as goto_table cannot stand here, only actions",
            ))
        }
    }
}

impl fmt::Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Words::default().instructions(self).fmt(f)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Words::default().actions(std::slice::from_ref(self)).fmt(f)
    }
}
