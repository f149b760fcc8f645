//! Rewrites of header fields: every one is the same step with another place, width, mask and set of checksums.

use rvs_dpif::{Masked, SetField};
use rvs_flow::Present;
use rvs_packet::MacAddr;

use crate::tier0::layout::op;

/// `enum op_kind`
const SET: u8 = 5;
/// `enum set_flags`
const L3: u8 = 1;
const L4: u8 = 2;
const WIDE: u8 = 4;
const HEADER: u8 = 8;
const PSEUDO: u8 = 16;
const PART: u8 = 32;

/// One rewrite: where, under which layers, and what.
struct Place {
    flags: u8,
    /// Even.
    at: u16,
    /// One of these must be there.
    layers: Present,
}

const fn place(flags: u8, at: u16, layers: Present) -> Place {
    Place { flags, at, layers }
}

/// The words of a rewrite of `N` octets (even, at most 16).
fn words<const N: usize>(place: Place, value: [u8; N], mask: [u8; N], out: &mut Vec<Vec<u64>>) {
    let halves = |from: [u8; N]| {
        let mut all = [0; 16];
        for (to, from) in all.iter_mut().zip(from) {
            *to = from;
        }
        let word = |at: usize| {
            all.get(at..)
                .and_then(|b| b.first_chunk())
                .map_or(0, |b| u64::from_ne_bytes(*b))
        };
        [word(0), word(8)]
    };
    let wide = N > 8;
    let flags = place.flags | if wide { WIDE } else { 0 };
    let head = op(SET, flags, place.at | (N as u16) << 8, place.layers.0);
    let [v0, v1] = halves(value);
    let [m0, m1] = halves(mask);
    out.push(if wide {
        vec![head, v0 & m0, v1 & m1, m0, m1]
    } else {
        vec![head, v0 & m0, m0]
    });
}

fn mac(at: u16, flags: u8, layers: Present, m: Masked<MacAddr>, out: &mut Vec<Vec<u64>>) {
    words(place(flags, at, layers), m.value.0, m.mask.0, out);
}

/// The steps of a rewrite, each with its arguments; `None` when this tier can't do it. Fields that two IP versions have
/// become a step for each, of which a frame takes one; those of a layer in `absent` are left out.
pub(super) fn steps(field: &SetField, absent: Present) -> Option<Vec<Vec<u64>>> {
    let mut out = Vec::new();
    let to = &mut out;
    let address4 = HEADER | PSEUDO | L3;
    let address6 = PSEUDO | L3;
    match *field {
        SetField::EthDst(m) => mac(0, 0, Present::NONE, m, to),
        SetField::EthSrc(m) => mac(6, 0, Present::NONE, m, to),
        SetField::Ipv4Src(m) => words(place(address4, 12, Present::IPV4), m.value, m.mask, to),
        SetField::Ipv4Dst(m) => words(place(address4, 16, Present::IPV4), m.value, m.mask, to),
        SetField::Ipv6Src(m) => words(place(address6, 8, Present::IPV6), m.value, m.mask, to),
        SetField::Ipv6Dst(m) => words(place(address6, 24, Present::IPV6), m.value, m.mask, to),
        SetField::Ipv6Label(m) => {
            let mask = m.mask & 0x000f_ffff;
            let at = place(L3, 0, Present::IPV6);
            words(at, m.value.to_be_bytes(), mask.to_be_bytes(), to);
        }
        SetField::NwTos(m) => {
            words(
                place(HEADER | L3, 0, Present::IPV4),
                [0, m.value],
                [0, m.mask],
                to,
            );
            let class = |v: u8| (u16::from(v) << 4).to_be_bytes();
            words(
                place(L3, 0, Present::IPV6),
                class(m.value),
                class(m.mask),
                to,
            );
        }
        SetField::NwTtl(v) => {
            words(place(HEADER | L3, 8, Present::IPV4), [v, 0], [0xff, 0], to);
            words(place(L3, 6, Present::IPV6), [0, v], [0, 0xff], to);
        }
        SetField::TpSrc(m) => port(0, m, to),
        SetField::TpDst(m) => port(2, m, to),
        SetField::IcmpType(m) => {
            words(
                place(PART | L4, 0, Present::ICMP),
                [m.value, 0],
                [m.mask, 0],
                to,
            );
        }
        SetField::IcmpCode(m) => {
            words(
                place(PART | L4, 0, Present::ICMP),
                [0, m.value],
                [0, m.mask],
                to,
            );
        }
        SetField::ArpOp(v) => {
            words(place(L3, 6, Present::ARP), v.to_be_bytes(), [0xff; 2], to);
        }
        SetField::ArpSha(m) => mac(8, L3, Present::ARP, m, to),
        SetField::ArpSpa(m) => words(place(L3, 14, Present::ARP), m.value, m.mask, to),
        SetField::ArpTha(m) => mac(18, L3, Present::ARP, m, to),
        SetField::ArpTpa(m) => words(place(L3, 24, Present::ARP), m.value, m.mask, to),
        // Neighbour messages and labels are not parsed here, so no frame that has them comes this far.
        SetField::Vlan(_)
        | SetField::NdTarget(_)
        | SetField::NdSll(_)
        | SetField::NdTll(_)
        | SetField::MplsLse(_)
        | SetField::PbbIsid(_) => return None,
    }
    let layers = |step: &[u64]| Present(step.first().map_or(0, |head| (head >> 32) as u32));
    out.retain(|step| {
        layers(step) == Present::NONE || layers(step).without(absent) != Present::NONE
    });
    Some(out)
}

/// A port of TCP or UDP. SCTP's would need its CRC: the caller keeps such frames away.
fn port(at: u16, m: Masked<u16>, out: &mut Vec<Vec<u64>>) {
    let layers = Present::TCP.with(Present::UDP);
    words(
        place(PART | L4, at, layers),
        m.value.to_be_bytes(),
        m.mask.to_be_bytes(),
        out,
    );
}

/// True when the rewrite is of a field that SCTP has too.
pub(super) const fn is_port(field: &SetField) -> bool {
    matches!(field, SetField::TpSrc(_) | SetField::TpDst(_))
}
