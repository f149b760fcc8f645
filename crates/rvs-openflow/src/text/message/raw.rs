//! Messages of which little more is known than their octets: cut off, too short, or refused by the codec.

use std::cmp::Ordering;
use std::fmt::Write as _;

use super::version_note;
use crate::framer::{RawHeader, HEADER_LEN};
use crate::message::kind::{self, of10, of11};
use crate::message::multipart_name;
use crate::version::Version;
use crate::ErrorCode;

/// Octets of a line of a dump.
const LINE: usize = 16;

/// The header of one whole message.
///
/// # Errors
/// What is to be said of octets that are more or less than that.
pub(super) fn whole(bytes: &[u8]) -> Result<RawHeader, String> {
    let len = bytes.len();
    if len == 0 {
        return Err("OpenFlow message is empty".to_owned());
    }
    let Some(header) = RawHeader::parse(bytes) else {
        let why = format!("OpenFlow packet too short (only {len} bytes):");
        return Err(format!("{why}\n{}", dump(bytes)));
    };
    let said = usize::from(header.length);
    let why = match said.cmp(&len) {
        Ordering::Equal => return Ok(header),
        Ordering::Less => format!("(***only uses {said} bytes out of {len}***)"),
        Ordering::Greater => {
            let heading = heading(header, bytes).map(|h| h + "\n");
            let heading = heading.unwrap_or_default();
            format!("{heading}(***truncated to {len} bytes from {said}***)")
        }
    };
    Err(format!("{why}\n{}", dump(bytes)))
}

/// A whole message that the codec refused. One whose length is wrong has no heading.
pub(super) fn refused(header: RawHeader, bytes: &[u8], code: ErrorCode) -> String {
    let heading = heading(header, bytes).filter(|_| code != ErrorCode::BrcBadLen);
    let heading = heading.map(|h| h + " ").unwrap_or_default();
    let (name, dump) = (code.name(), dump(bytes));
    format!("{heading}***decode error: {name}***\n{dump}")
}

/// `OFPT_FLOW_MOD (OF1.3) (xid=0x2):` for a type of the standard.
fn heading(header: RawHeader, bytes: &[u8]) -> Option<String> {
    let version = Version::from_wire(header.version)?;
    let multiparts = match version {
        Version::Of10 => [of10::STATS_REQUEST, of10::STATS_REPLY],
        _ => [of11::MULTIPART_REQUEST, of11::MULTIPART_REPLY],
    };
    let name = match multiparts.iter().position(|n| *n == header.kind) {
        Some(reply) => {
            let name = multipart_name(bytes.get(HEADER_LEN..)?, version)?;
            format!("{name} {}", ["request", "reply"][reply])
        }
        None => format!("OFPT_{}", standard_name(header.kind, version)?),
    };
    Some(format!(
        "{name}{} (xid={:#x}):",
        version_note(version),
        header.xid
    ))
}

/// What a type of the standard is called, multiparts and extensions aside.
fn standard_name(number: u8, v: Version) -> Option<&'static str> {
    Some(match number {
        kind::HELLO => "HELLO",
        kind::ERROR => "ERROR",
        kind::ECHO_REQUEST => "ECHO_REQUEST",
        kind::ECHO_REPLY => "ECHO_REPLY",
        kind::FEATURES_REQUEST => "FEATURES_REQUEST",
        kind::FEATURES_REPLY => "FEATURES_REPLY",
        kind::GET_CONFIG_REQUEST => "GET_CONFIG_REQUEST",
        kind::GET_CONFIG_REPLY => "GET_CONFIG_REPLY",
        kind::SET_CONFIG => "SET_CONFIG",
        kind::PACKET_IN => "PACKET_IN",
        kind::FLOW_REMOVED => "FLOW_REMOVED",
        kind::PORT_STATUS => "PORT_STATUS",
        kind::PACKET_OUT => "PACKET_OUT",
        kind::FLOW_MOD => "FLOW_MOD",
        of10::PORT_MOD if v == Version::Of10 => "PORT_MOD",
        of10::BARRIER_REQUEST if v == Version::Of10 => "BARRIER_REQUEST",
        of10::BARRIER_REPLY if v == Version::Of10 => "BARRIER_REPLY",
        of10::QUEUE_GET_CONFIG_REQUEST if v == Version::Of10 => "QUEUE_GET_CONFIG_REQUEST",
        of10::QUEUE_GET_CONFIG_REPLY if v == Version::Of10 => "QUEUE_GET_CONFIG_REPLY",
        _ if v == Version::Of10 => return None,
        of11::GROUP_MOD => "GROUP_MOD",
        of11::PORT_MOD => "PORT_MOD",
        of11::TABLE_MOD => "TABLE_MOD",
        of11::BARRIER_REQUEST => "BARRIER_REQUEST",
        of11::BARRIER_REPLY => "BARRIER_REPLY",
        of11::QUEUE_GET_CONFIG_REQUEST if v <= Version::Of13 => "QUEUE_GET_CONFIG_REQUEST",
        of11::QUEUE_GET_CONFIG_REPLY if v <= Version::Of13 => "QUEUE_GET_CONFIG_REPLY",
        of11::ROLE_REQUEST if v >= Version::Of12 => "ROLE_REQUEST",
        of11::ROLE_REPLY if v >= Version::Of12 => "ROLE_REPLY",
        of11::GET_ASYNC_REQUEST if v >= Version::Of13 => "GET_ASYNC_REQUEST",
        of11::GET_ASYNC_REPLY if v >= Version::Of13 => "GET_ASYNC_REPLY",
        of11::SET_ASYNC if v >= Version::Of13 => "SET_ASYNC",
        of11::METER_MOD if v >= Version::Of13 => "METER_MOD",
        of11::ROLE_STATUS if v >= Version::Of14 => "ROLE_STATUS",
        of11::TABLE_STATUS if v >= Version::Of14 => "TABLE_STATUS",
        of11::REQUESTFORWARD if v >= Version::Of14 => "REQUESTFORWARD",
        of11::BUNDLE_CONTROL if v >= Version::Of14 => "BUNDLE_CONTROL",
        of11::BUNDLE_ADD if v >= Version::Of14 => "BUNDLE_ADD_MESSAGE",
        _ => return None,
    })
}

/// Sixteen octets a line: where they are, in hexadecimal with a dash behind the eighth, and as text.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (n, line) in bytes.chunks(LINE).enumerate() {
        let mut numbers = String::new();
        for (at, b) in line.iter().enumerate() {
            let after = if at == LINE / 2 - 1 { '-' } else { ' ' };
            let _ = write!(numbers, "{b:02x}{after}");
        }
        let seen = |b: &u8| match *b {
            b' '..=b'~' => char::from(*b),
            _ => '.',
        };
        let seen: String = line.iter().map(seen).collect();
        let _ = writeln!(text, "{:08x}  {numbers:48}|{seen:16}|", n * LINE);
    }
    text
}
