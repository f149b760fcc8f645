//! Generators of messages for tests (feature `testing`): what each dialect can say, drawn from an [`Entropy`].
//!
//! Everything generated survives the wire: decoding what was encoded gives the same value. Where two values mean the same
//! in a version (`mod_dl_src` and `set_field` in 1.3) only the one that is read back is generated.

mod actions;
mod control;
mod messages;
mod multipart;

use proptest::strategy::Strategy;
use rvs_flow::testing::{drawn, matching, Entropy};
use rvs_flow::OfPort;

use crate::error::ErrorCode;
use crate::message::{Dialect, FlowFormat, Message, PacketInFormat};
use crate::oxm::{pull_match, pull_match10, put_match, put_match10, FlowMatch};
use crate::version::Version;
use crate::wire::{Reader, Writer};

pub use actions::{action, actions, instructions, sub_field};
pub use control::{bundle_add, group, meter};
pub use messages::message;
pub use multipart::{reply, request};

/// Messages with the dialect that says them, for `proptest`.
pub fn messages() -> impl Strategy<Value = (Dialect, Message)> {
    drawn(|e| {
        let d = dialect(e);
        let m = message(e, &d);
        (d, m)
    })
}

/// Any dialect that connections speak.
pub fn dialect(e: &mut Entropy<'_>) -> Dialect {
    let mut d = Dialect::new(e.pick(&Version::ALL));
    if d.version == Version::Of10 && e.one_in(2) {
        d.flow_format = FlowFormat::Nxm;
    }
    d.packet_in = e.pick(&[
        PacketInFormat::Standard,
        PacketInFormat::Nxt,
        PacketInFormat::Nxt2,
    ]);
    d.flow_mod_table_id = d.version == Version::Of10 && e.one_in(2);
    d
}

/// A match as the dialect's flow-mods can say it.
pub fn match_in(e: &mut Entropy<'_>, d: &Dialect) -> FlowMatch {
    let m = matching(e);
    match (d.version, d.flow_format) {
        (Version::Of10, FlowFormat::OpenFlow10) => as_of10(&m),
        (Version::Of10, _) => m,
        (version, _) => as_of(&m, version),
    }
}

/// What is left of `m` in the structure of OpenFlow 1.0.
pub(crate) fn as_of10(m: &FlowMatch) -> FlowMatch {
    let mut w = Writer::default();
    put_match10(&mut w, m);
    through(w, pull_match10)
}

fn as_of(m: &FlowMatch, version: Version) -> FlowMatch {
    let mut w = Writer::default();
    put_match(&mut w, m, version);
    through(w, pull_match)
}

fn through(
    w: Writer,
    pull: impl FnOnce(&mut Reader<'_>) -> Result<FlowMatch, crate::error::OfError>,
) -> FlowMatch {
    let bytes = w.finish_part().unwrap_or_default();
    let mut r = Reader::new(&bytes, ErrorCode::BrcBadLen);
    pull(&mut r).unwrap_or_else(|_| FlowMatch::any())
}

/// A real port, or now and then a reserved one that flows may output to.
pub fn port(e: &mut Entropy<'_>) -> OfPort {
    if e.one_in(4) {
        e.pick(&[
            OfPort::LOCAL,
            OfPort::CONTROLLER,
            OfPort::IN_PORT,
            OfPort::NORMAL,
            OfPort::FLOOD,
            OfPort::ALL,
            OfPort::TABLE,
        ])
    } else {
        real_port(e)
    }
}

/// Ports 1 to 8 mostly.
pub fn real_port(e: &mut Entropy<'_>) -> OfPort {
    OfPort(if e.one_in(8) {
        0xfeff
    } else {
        1 + e.below(8) as u32
    })
}

/// A short text.
pub(crate) fn name(e: &mut Entropy<'_>, max: usize) -> String {
    let n = e.below(max + 1);
    (0..n)
        .map(|_| char::from(b'a' + e.below(26) as u8))
        .collect()
}

/// Up to `max` octets.
pub(crate) fn octets(e: &mut Entropy<'_>, max: usize) -> Vec<u8> {
    let n = e.below(max + 1);
    (0..n).map(|_| e.u8()).collect()
}

pub(crate) fn u32_of(e: &mut Entropy<'_>) -> u32 {
    if e.one_in(8) {
        u32::MAX - 1
    } else {
        u32::from(e.u16())
    }
}

pub(crate) fn u64_of(e: &mut Entropy<'_>) -> u64 {
    match e.below(6) {
        0 => u64::MAX,
        1 => e.u64(),
        _ => e.u8().into(),
    }
}
