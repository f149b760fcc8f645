//! Values of fields as text, both ways, in the syntax of ovs-fields(7).

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use rvs_packet::MacAddr;

use super::{ones, Field, FieldId, Format};
use crate::key::{FRAG_ANY, FRAG_LATER};
use crate::port::OfPort;

/// Names of the ports of one bridge.
pub trait PortNames {
    fn port_by_name(&self, name: &str) -> Option<OfPort>;
    fn name_of(&self, port: OfPort) -> Option<Cow<'_, str>>;
}

/// No port has a name: numbers and the reserved names only.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPortNames;

impl PortNames for NoPortNames {
    fn port_by_name(&self, _: &str) -> Option<OfPort> {
        None
    }

    fn name_of(&self, _: OfPort) -> Option<Cow<'_, str>> {
        None
    }
}

/// A text that is no value of its field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {text} is not {expected}")]
pub struct BadValue {
    pub field: FieldId,
    pub text: String,
    pub expected: &'static str,
}

/// A value and mask of a field, for display.
pub struct FieldValue<'a> {
    field: &'static Field,
    value: u128,
    mask: u128,
    ports: &'a dyn PortNames,
}

pub(crate) const FRAG_WORDS: [(&str, u8, u8); 5] = [
    ("no", 0, FRAG_ANY | FRAG_LATER),
    ("yes", FRAG_ANY, FRAG_ANY),
    ("first", FRAG_ANY, FRAG_ANY | FRAG_LATER),
    ("later", FRAG_ANY | FRAG_LATER, FRAG_ANY | FRAG_LATER),
    ("not_later", 0, FRAG_LATER),
];

/// Bit 0 upwards; the last three have no name of their own.
const TCP_FLAG_NAMES: [&str; 12] = [
    "fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]",
];

impl Field {
    /// The value (and mask, if it is not exact) as Open vSwitch writes it in `set_field` and elsewhere.
    pub fn display<'a>(
        &'static self,
        value: u128,
        mask: u128,
        ports: &'a dyn PortNames,
    ) -> FieldValue<'a> {
        FieldValue {
            field: self,
            value,
            mask,
            ports,
        }
    }

    /// Reads `value`, `value/mask`, or `*`, and gives value and mask. A mask may have bits that the value has not.
    ///
    /// # Errors
    /// Says what the field expects. A value or mask wider than the field is an error, and so is a mask on a field that
    /// does not take one.
    pub fn parse_value(&self, text: &str, ports: &dyn PortNames) -> Result<(u128, u128), BadValue> {
        let bad = |expected| BadValue {
            field: self.id,
            text: text.to_owned(),
            expected,
        };
        if text == "*" {
            return Ok((0, 0));
        }
        let (value, mask) = match self.format {
            Format::Decimal | Format::Hexadecimal => self.parse_integer(text).map_err(bad)?,
            Format::Ethernet => {
                parse_ethernet(text).ok_or_else(|| bad("an Ethernet address, or address/mask"))?
            }
            Format::Ipv4 => parse_ipv4(text)
                .ok_or_else(|| bad("an IPv4 address, address/mask or address/0..32"))?,
            Format::Ipv6 => parse_ipv6(text)
                .ok_or_else(|| bad("an IPv6 address, address/mask or address/0..128"))?,
            Format::Frag => FRAG_WORDS
                .iter()
                .find(|w| w.0 == text)
                .map(|w| (u128::from(w.1), u128::from(w.2)))
                .ok_or_else(|| bad("no, yes, first, later or not_later"))?,
            Format::TcpFlags => self.parse_tcp_flags(text).map_err(bad)?,
            Format::Port => {
                let port = parse_port(text, ports).ok_or_else(|| bad("a port's number or name"))?;
                let wide = if self.id == FieldId::InPort {
                    u128::from(port.to_u16().ok_or_else(|| bad("a 16-bit port number"))?)
                } else {
                    u128::from(port.0)
                };
                (wide, self.match_mask())
            }
            Format::PacketType => {
                let v = parse_packet_type(text).ok_or_else(|| bad("(namespace,type)"))?;
                (v, self.match_mask())
            }
        };
        if !self.maskable && mask != self.match_mask() && mask != 0 {
            return Err(bad("a value without a mask"));
        }
        Ok((value, mask))
    }

    /// A number, `number/mask`; masks that are wider than the field are an error, except that `/-1` is not accepted.
    fn parse_integer(&self, text: &str) -> Result<(u128, u128), &'static str> {
        let (value, mask) = match text.split_once('/') {
            None => (text, None),
            Some((v, m)) => (v, Some(m)),
        };
        let max = self.match_mask();
        let value = parse_number(value).ok_or("a number (decimal, or hexadecimal with 0x)")?;
        // Untagged in the words of OpenFlow 1.0.
        let no_vlan = self.id == FieldId::DlVlan && value == 0xffff;
        if value > max && !no_vlan {
            return Err("in the field's range");
        }
        let mask = match mask {
            None => max,
            Some(m) => parse_number(m).ok_or("a number with a numeric mask")?,
        };
        // A mask in the width of the field's octets is what Open vSwitch prints and takes.
        if mask > ones(self.wire_len * 8) {
            return Err("masked within the field's width");
        }
        Ok((value, mask & max))
    }

    fn parse_tcp_flags(&self, text: &str) -> Result<(u128, u128), &'static str> {
        const EXPECTED: &str = "TCP flags, as +syn-ack, syn|ack or 0x2/0x12";
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return self.parse_integer(text);
        }
        if !text.starts_with(['+', '-']) {
            let mut value = 0;
            for name in text.split('|') {
                value |= tcp_flag(name).ok_or(EXPECTED)?;
            }
            return Ok((value, self.match_mask()));
        }
        let (mut value, mut mask) = (0, 0);
        let mut rest = text;
        while let Some(sign) = rest.chars().next() {
            let body = &rest[1..];
            let end = body.find(['+', '-']).unwrap_or(body.len());
            let bit = tcp_flag(&body[..end]).ok_or(EXPECTED)?;
            if mask & bit != 0 {
                return Err("TCP flags, each named once");
            }
            mask |= bit;
            if sign == '+' {
                value |= bit;
            }
            rest = &body[end..];
        }
        Ok((value, mask))
    }
}

impl fmt::Display for FieldValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (v, m) = (self.value, self.mask);
        let exact = m == self.field.match_mask() || m == self.field.max();
        match self.field.format {
            _ if m == 0 => f.write_str("*"),
            Format::Decimal if exact => write!(f, "{v}"),
            Format::Hexadecimal if exact => hex(f, v),
            Format::Decimal => write!(f, "{v:#x}/{m:#x}"),
            Format::Hexadecimal => {
                hex(f, v)?;
                write!(f, "/{m:#x}")
            }
            Format::Ethernet => {
                MacAddr::from_u64(v as u64).fmt(f)?;
                if exact {
                    return Ok(());
                }
                write!(f, "/{}", MacAddr::from_u64(m as u64))
            }
            Format::Ipv4 => fmt_ipv4(f, v as u32, m as u32),
            Format::Ipv6 => fmt_ipv6(f, v, m),
            Format::Frag => match FRAG_WORDS
                .iter()
                .find(|w| (u128::from(w.1), u128::from(w.2)) == (v, m))
            {
                Some(w) => f.write_str(w.0),
                None => write!(f, "{v:#x}/{m:#x}"),
            },
            Format::TcpFlags => fmt_tcp_flags(f, v, m),
            Format::Port => {
                let port = if self.field.id == FieldId::InPort {
                    OfPort::from_u16(v as u16)
                } else {
                    OfPort(v as u32)
                };
                fmt_port(f, port, self.ports)
            }
            Format::PacketType => {
                f.write_str("(")?;
                short_hex(f, v >> 16)?;
                f.write_str(",")?;
                short_hex(f, v & 0xffff)?;
                f.write_str(")")
            }
        }
    }
}

/// Decimal, or hexadecimal with `0x`. A leading zero is refused: C reads it as octal, people do not.
pub(crate) fn parse_number(text: &str) -> Option<u128> {
    let digits = |t: &str| !t.is_empty() && !t.starts_with('+');
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if digits(hex) => u128::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None if digits(text) && (text == "0" || !text.starts_with('0')) => text.parse().ok(),
        None => None,
    }
}

/// As C's `%#x`: zero has no prefix.
pub(crate) fn hex(f: &mut impl fmt::Write, v: u128) -> fmt::Result {
    if v == 0 {
        f.write_str("0")
    } else {
        write!(f, "{v:#x}")
    }
}

/// One digit needs no prefix.
fn short_hex(f: &mut impl fmt::Write, v: u128) -> fmt::Result {
    if v < 10 {
        write!(f, "{v}")
    } else {
        write!(f, "{v:#x}")
    }
}

fn split_mask(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((v, m)) => (v, Some(m)),
        None => (text, None),
    }
}

fn parse_ethernet(text: &str) -> Option<(u128, u128)> {
    let (value, mask) = split_mask(text);
    let number = |t: &str| t.parse().ok().map(|m: MacAddr| u128::from(m.to_u64()));
    let mask = match mask {
        None => ones(48),
        Some(m) => number(m)?,
    };
    Some((number(value)?, mask))
}

/// A mask written as a prefix length of an address of `bits` bits.
fn prefix_mask(text: &str, bits: u8) -> Option<u128> {
    let n: u8 = match parse_number(text)? {
        n if n <= u128::from(bits) => n as u8,
        _ => return None,
    };
    Some(ones(bits) & !ones(bits - n))
}

fn parse_ipv4(text: &str) -> Option<(u128, u128)> {
    let (value, mask) = split_mask(text);
    let number = |t: &str| t.parse().ok().map(|a: Ipv4Addr| u128::from(u32::from(a)));
    let mask = match mask {
        None => ones(32),
        Some(m) if m.contains('.') => number(m)?,
        Some(m) => prefix_mask(m, 32)?,
    };
    Some((number(value)?, mask))
}

fn parse_ipv6(text: &str) -> Option<(u128, u128)> {
    let (value, mask) = split_mask(text);
    let number = |t: &str| t.parse().ok().map(|a: Ipv6Addr| u128::from(a));
    let mask = match mask {
        None => u128::MAX,
        Some(m) if m.contains(':') => number(m)?,
        Some(m) => prefix_mask(m, 128)?,
    };
    Some((number(value)?, mask))
}

/// A reserved name, a number in either numbering, or a port's name, which may be quoted.
pub(crate) fn parse_port(text: &str, ports: &dyn PortNames) -> Option<OfPort> {
    if let Some(name) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        return ports.port_by_name(name);
    }
    if let Some(n) = parse_number(text) {
        // The reserved numbers of OpenFlow 1.0 name the same ports as their 32-bit forms.
        return match u32::try_from(n).ok()? {
            n @ 0xff00..=0xffff => Some(OfPort::from_u16(n as u16)),
            n @ (0..0xff00 | 0xffff_ff00..) => Some(OfPort(n)),
            _ => None,
        };
    }
    OfPort::from_name(text).or_else(|| ports.port_by_name(text))
}

pub(crate) fn fmt_port(
    f: &mut impl fmt::Write,
    port: OfPort,
    ports: &dyn PortNames,
) -> fmt::Result {
    if port.is_reserved() {
        return match port.reserved_name() {
            Some(n) => f.write_str(n),
            None => write!(f, "{}", port.to_u16().map_or(port.0, u32::from)),
        };
    }
    match ports.name_of(port) {
        None => write!(f, "{}", port.0),
        Some(n) if is_plain_name(&n) => f.write_str(&n),
        Some(n) => quote(f, &n),
    }
}

/// A letter, then letters and digits; anything else is quoted. A name that is a reserved port's is quoted too.
fn is_plain_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric())
        && OfPort::from_name(name).is_none()
}

fn quote(f: &mut impl fmt::Write, name: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in name.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", c as u32)?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

fn parse_packet_type(text: &str) -> Option<u128> {
    let (ns, kind) = text.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    let part = |t: &str| parse_number(t.trim()).filter(|n| *n <= 0xffff);
    Some(part(ns)? << 16 | part(kind)?)
}

fn tcp_flag(name: &str) -> Option<u128> {
    TCP_FLAG_NAMES
        .iter()
        .position(|n| *n == name)
        .map(|i| 1 << i)
}

fn fmt_tcp_flags(f: &mut impl fmt::Write, value: u128, mask: u128) -> fmt::Result {
    let exact = mask == ones(12);
    if exact && value == 0 {
        return f.write_str("0");
    }
    let mut first = true;
    for (i, name) in TCP_FLAG_NAMES.iter().enumerate() {
        let bit = 1 << i;
        if exact && value & bit != 0 {
            if !first {
                f.write_char('|')?;
            }
            f.write_str(name)?;
            first = false;
        } else if !exact && mask & bit != 0 {
            f.write_char(if value & bit != 0 { '+' } else { '-' })?;
            f.write_str(name)?;
        }
    }
    Ok(())
}

pub(crate) fn fmt_ipv4(f: &mut impl fmt::Write, value: u32, mask: u32) -> fmt::Result {
    write!(f, "{}", Ipv4Addr::from(value))?;
    match mask.leading_ones() {
        32 => Ok(()),
        n if n == 32 - mask.trailing_zeros() => write!(f, "/{n}"),
        _ => write!(f, "/{}", Ipv4Addr::from(mask)),
    }
}

pub(crate) fn fmt_ipv6(f: &mut impl fmt::Write, value: u128, mask: u128) -> fmt::Result {
    fmt_ipv6_addr(f, value)?;
    match mask.leading_ones() {
        128 => Ok(()),
        n if n == 128 - mask.trailing_zeros() => write!(f, "/{n}"),
        _ => {
            f.write_char('/')?;
            fmt_ipv6_addr(f, mask)
        }
    }
}

/// As `inet_ntop` of the C library: an address with 96 leading zero bits and more than 16 others ends in dotted form.
pub(crate) fn fmt_ipv6_addr(f: &mut impl fmt::Write, addr: u128) -> fmt::Result {
    if addr >> 32 == 0 && addr >> 16 != 0 {
        write!(f, "::{}", Ipv4Addr::from(addr as u32))
    } else {
        write!(f, "{}", Ipv6Addr::from(addr))
    }
}
