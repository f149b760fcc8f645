//! Single actions, read.

use rvs_flow::field::{Field, FieldId, SubField};
use rvs_flow::OfPort;
use rvs_packet::{EtherType, MacAddr, VlanId};

use super::{choice, controller, learn, ParseError, Words};
use crate::action::{check_meter, settable_whole};
use crate::model::{Action, ControllerId, FieldValue, GroupId, MeterId, TableId};

/// A number, decimal or hexadecimal with `0x`, that fits `T`.
pub(super) fn number<T: TryFrom<u128>>(text: &str, what: &str) -> Result<T, ParseError> {
    let v = any_number(text, what)?;
    T::try_from(v).map_err(|_| ParseError(format!("{what}: {text} is too large")))
}

pub(super) fn any_number(text: &str, what: &str) -> Result<u128, ParseError> {
    let t = text.trim();
    let parsed = match t.strip_prefix("0x").or_else(|| t.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with('+') => u128::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None if t != "0" && t.starts_with(['0', '+']) => None,
        None => t.parse().ok(),
    };
    parsed.ok_or_else(|| {
        ParseError(format!(
            "{what}: {text:?} is no number (decimal, or hexadecimal with 0x)"
        ))
    })
}

/// A number of at most `max`.
fn below(text: &str, max: u32, what: &str) -> Result<u32, ParseError> {
    match number(text, what)? {
        n if n <= max => Ok(n),
        n => Err(ParseError(format!("{what}: {n} is more than {max}"))),
    }
}

/// Pairs of hexadecimal digits, with or without dots between them.
pub(super) fn octets(text: &str, what: &str) -> Result<Vec<u8>, ParseError> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'.').collect();
    let bad = || ParseError(format!("{what}: {text} is not pairs of hexadecimal digits"));
    if digits.len() % 2 != 0 {
        return Err(bad());
    }
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            u8::from_str_radix(pair, 16).map_err(|_| bad())
        })
        .collect()
}

/// The value without the parentheses that some actions take it in.
fn unwrapped(value: &str) -> &str {
    value
        .strip_prefix('(')
        .and_then(|v| v.strip_suffix(')'))
        .unwrap_or(value)
}

fn ether_type(text: &str, what: &str) -> Result<EtherType, ParseError> {
    number(text, what).map(EtherType)
}

fn vlan(text: &str, what: &str) -> Result<VlanId, ParseError> {
    VlanId::new(number(text, what)?).ok_or_else(|| ParseError(format!("{what}: {text} is no VLAN")))
}

fn address(text: &str, what: &str) -> Result<[u8; 4], ParseError> {
    text.parse()
        .map(|a: std::net::Ipv4Addr| a.octets())
        .map_err(|_| ParseError(format!("{what}: {text} is no IPv4 address")))
}

fn mac(text: &str, what: &str) -> Result<MacAddr, ParseError> {
    text.parse()
        .map_err(|_| ParseError(format!("{what}: {text} is no Ethernet address")))
}

/// Reads one action: the word, and what followed it (with its parentheses).
pub(super) fn parse_action(
    key: &str,
    value: Option<&str>,
    w: &Words<'_>,
) -> Result<Action, ParseError> {
    use Action as A;
    let given = || value.ok_or_else(|| ParseError(format!("{key} needs a value")));
    let arg = || given().map(unwrapped);
    Ok(match key.to_ascii_lowercase().as_str() {
        "output" => parse_output(given()?, w)?,
        "controller" => controller::parse(value)?,
        "enqueue" => parse_enqueue(arg()?, w)?,
        "set_queue" => A::SetQueue(number(arg()?, key)?),
        "group" => A::Group(GroupId(below(arg()?, GroupId::MAX.0, key)?)),
        "meter" => {
            let id = number(arg()?, key)?;
            check_meter(id).map_err(|e| ParseError(e.why.into_owned()))?;
            A::Meter(MeterId(id))
        }
        "set_field" => parse_set_field(given()?, w)?,
        "load" | "reg_load" => parse_load(given()?)?,
        "move" => parse_move(given()?)?,
        "push" => A::Push(arg()?.parse()?),
        "pop" => A::Pop(writable(arg()?.parse()?)?),
        "resubmit" => parse_resubmit(given()?, w)?,
        "note" => parse_note(given()?)?,
        "clone" => A::Clone(w.parse_actions(arg()?)?.into()),
        "conjunction" => parse_conjunction(arg()?)?,
        "learn" => learn::parse(value, w)?,
        "multipath" => choice::parse_multipath(value)?,
        "bundle" => choice::parse_bundle(value, false, w)?,
        "bundle_load" => choice::parse_bundle(value, true, w)?,
        "fin_timeout" => parse_fin_timeout(arg()?)?,
        "check_pkt_larger" => parse_check_pkt_larger(given()?)?,
        "ct" | "ct_clear" | "nat" => {
            return Err(ParseError(format!(
                "{key}: connection tracking is not supported"
            )));
        }
        "sample" | "encap" | "decap" | "dec_nsh_ttl" | "delete_field" => {
            return Err(ParseError(format!("the action {key} is not supported")));
        }
        word => match parse_header(word, value)? {
            Some(a) => a,
            None => parse_bare_port(key, value, w)?,
        },
    })
}

/// Actions on headers; `None` if the word is none of theirs.
fn parse_header(key: &str, value: Option<&str>) -> Result<Option<Action>, ParseError> {
    use Action as A;
    let given = || value.ok_or_else(|| ParseError(format!("{key} needs a value")));
    let arg = || given().map(unwrapped);
    Ok(Some(match key {
        "mod_vlan_vid" | "set_vlan_vid" => A::SetVlanVid {
            vid: vlan(arg()?, key)?,
            push: key == "mod_vlan_vid",
        },
        "mod_vlan_pcp" | "set_vlan_pcp" => A::SetVlanPcp {
            pcp: below(arg()?, 7, key)? as u8,
            push: key == "mod_vlan_pcp",
        },
        "strip_vlan" | "pop_vlan" => A::PopVlan,
        "push_vlan" => {
            let t = ether_type(arg()?, key)?;
            if !t.is_vlan() {
                return Err(ParseError(format!(
                    "push_vlan: {:#x} is not 0x8100 or 0x88a8",
                    t.0
                )));
            }
            A::PushVlan(t)
        }
        "push_mpls" => {
            let t = ether_type(arg()?, key)?;
            if !t.is_mpls() {
                return Err(ParseError(format!(
                    "push_mpls: {:#x} is not 0x8847 or 0x8848",
                    t.0
                )));
            }
            A::PushMpls(t)
        }
        "pop_mpls" => A::PopMpls(ether_type(arg()?, key)?),
        "push_pbb" => A::PushPbb(ether_type(arg()?, key)?),
        "pop_pbb" => A::PopPbb,
        "mod_dl_src" => A::SetEthSrc(mac(arg()?, key)?),
        "mod_dl_dst" => A::SetEthDst(mac(arg()?, key)?),
        "mod_nw_src" => A::SetNwSrc(address(arg()?, key)?),
        "mod_nw_dst" => A::SetNwDst(address(arg()?, key)?),
        "mod_nw_tos" => {
            let tos: u8 = number(arg()?, key)?;
            if tos & 3 != 0 {
                return Err(ParseError(format!(
                    "mod_nw_tos: {tos} has ECN bits; use mod_nw_ecn"
                )));
            }
            A::SetNwTos(tos)
        }
        "mod_nw_ecn" => A::SetNwEcn(below(arg()?, 3, key)? as u8),
        "mod_nw_ttl" => A::SetNwTtl(number(arg()?, key)?),
        "mod_tp_src" => A::SetTpSrc(number(arg()?, key)?),
        "mod_tp_dst" => A::SetTpDst(number(arg()?, key)?),
        "set_tunnel" | "set_tunnel64" => A::SetTunnel(number(arg()?, key)?),
        "set_mpls_label" => A::SetMplsLabel(below(arg()?, 0xf_ffff, key)?),
        "set_mpls_tc" => A::SetMplsTc(below(arg()?, 7, key)? as u8),
        "set_mpls_ttl" => A::SetMplsTtl(number(arg()?, key)?),
        "dec_mpls_ttl" => A::DecMplsTtl,
        "dec_ttl" => parse_dec_ttl(value.map(unwrapped))?,
        "copy_ttl_out" => A::CopyTtlOut,
        "copy_ttl_in" => A::CopyTtlIn,
        "pop_queue" => A::PopQueue,
        "exit" => A::Exit,
        "debug_recirc" => A::DebugRecirc,
        "debug_slow" => A::DebugSlow,
        _ => return Ok(None),
    }))
}

/// A port's number or name alone is an output.
fn parse_bare_port(key: &str, value: Option<&str>, w: &Words<'_>) -> Result<Action, ParseError> {
    match w.parse_port(key) {
        Ok(port) if value.is_none() => Ok(output(port)),
        _ => Err(ParseError(format!("{key} is neither an action nor a port"))),
    }
}

fn output(port: OfPort) -> Action {
    Action::Output {
        port,
        max_len: if port == OfPort::CONTROLLER {
            u16::MAX
        } else {
            0
        },
    }
}

fn parse_output(value: &str, w: &Words<'_>) -> Result<Action, ParseError> {
    let Some(inner) = value.strip_prefix('(').and_then(|v| v.strip_suffix(')')) else {
        return match w.parse_port(value) {
            Ok(port) => Ok(output(port)),
            Err(e) => match value.parse::<SubField>() {
                Ok(src) => Ok(Action::OutputReg {
                    src,
                    max_len: u16::MAX,
                }),
                Err(_) => Err(e),
            },
        };
    };
    let (mut port, mut len) = (None, None);
    for term in rvs_flow::matching::terms(inner) {
        let (key, value) = term?;
        let value = value.ok_or_else(|| ParseError(format!("{key} of output needs a value")))?;
        match key {
            "port" => port = Some(w.parse_port(value)?),
            "max_len" => len = Some(number::<u32>(value, key)?),
            _ => return Err(ParseError(format!("output has no {key}"))),
        }
    }
    match (port, len) {
        (Some(port), Some(len)) if len >= 14 => Ok(Action::OutputTruncated {
            port,
            max_len: len.min(0xffff) as u16,
        }),
        (_, Some(len)) if len < 14 => Err(ParseError(format!(
            "max_len {len} is shorter than an Ethernet header (14)"
        ))),
        _ => Err(ParseError::new("output takes (port=PORT,max_len=OCTETS)")),
    }
}

fn parse_enqueue(value: &str, w: &Words<'_>) -> Result<Action, ParseError> {
    let (port, queue) = value
        .rsplit_once([':', ','])
        .ok_or_else(|| ParseError::new("enqueue takes PORT:QUEUE"))?;
    Ok(Action::Enqueue {
        port: w.parse_port(port)?,
        queue: number(queue, "enqueue")?,
    })
}

fn writable(dst: SubField) -> Result<SubField, ParseError> {
    if dst.field().writable {
        Ok(dst)
    } else {
        Err(ParseError(format!("{} cannot be written", dst.field())))
    }
}

fn arrow<'t>(value: &'t str, what: &str) -> Result<(&'t str, &'t str), ParseError> {
    value
        .split_once("->")
        .map(|(a, b)| (a.trim(), b.trim()))
        .ok_or_else(|| ParseError(format!("{what} is written {what}:source->destination")))
}

fn parse_set_field(value: &str, w: &Words<'_>) -> Result<Action, ParseError> {
    let (text, name) = arrow(value, "set_field")?;
    let field = Field::by_name(name).ok_or_else(|| ParseError(format!("{name} is no field")))?;
    let (mut value, mut mask) = field.parse_value(text, w.ports)?;
    if !field.writable && !settable_whole(field, value, mask) {
        return Err(ParseError(format!("{field} cannot be written")));
    }
    if field.id == FieldId::VlanVid {
        // The tag is there: writing a VID does not remove it.
        value |= 0x1000;
        mask |= 0x1000;
    }
    if value & !mask != 0 {
        return Err(ParseError(format!(
            "set_field: {text} has bits outside its mask"
        )));
    }
    Ok(Action::SetField(Box::new(FieldValue {
        field: field.id,
        value,
        mask,
    })))
}

fn parse_load(value: &str) -> Result<Action, ParseError> {
    let (text, dst) = arrow(value, "load")?;
    let dst = writable(dst.parse()?)?;
    let value = any_number(text, "load")?;
    if dst.bits() < 128 && value >> dst.bits() != 0 {
        return Err(ParseError(format!(
            "load: {text} does not fit the {} bits of {dst}",
            dst.bits()
        )));
    }
    Ok(Action::load(dst, value))
}

fn parse_move(value: &str) -> Result<Action, ParseError> {
    let (src, dst) = arrow(value, "move")?;
    let (src, dst): (SubField, SubField) = (src.parse()?, dst.parse()?);
    if src.bits() != dst.bits() {
        return Err(ParseError(format!(
            "move: {src} has {} bits, {dst} has {}",
            src.bits(),
            dst.bits()
        )));
    }
    Ok(Action::Move {
        src,
        dst: writable(dst)?,
    })
}

fn parse_resubmit(value: &str, w: &Words<'_>) -> Result<Action, ParseError> {
    let (port, table) = match unwrapped(value).split_once(',') {
        Some((p, t)) => (p.trim(), t.trim()),
        None => (unwrapped(value).trim(), ""),
    };
    if table.contains(',') {
        return Err(ParseError::new(
            "resubmit with ct: connection tracking is not supported",
        ));
    }
    let port = match port {
        "" => None,
        p => Some(w.parse_port(p)?).filter(|p| *p != OfPort::IN_PORT),
    };
    let table = match table {
        "" => None,
        t => Some(TableId(number(t, "resubmit")?)).filter(|t| *t != TableId::ALL),
    };
    // `resubmit(,)`, here again, is what a dump prints of one.
    if port.is_none() && table.is_none() && !value.contains(',') {
        return Err(ParseError::new("resubmit needs a port or a table"));
    }
    Ok(Action::Resubmit { port, table })
}

/// A note travels in whole words: six octets, then eight more and so on.
fn parse_note(value: &str) -> Result<Action, ParseError> {
    let mut note = octets(value, "note")?;
    note.resize((note.len() + 2).next_multiple_of(8).max(8) - 2, 0);
    Ok(Action::Note(note.into()))
}

fn parse_conjunction(value: &str) -> Result<Action, ParseError> {
    let usage = || ParseError::new("conjunction takes (ID,CLAUSE/CLAUSES)");
    let (id, clause) = value.split_once(',').ok_or_else(usage)?;
    let (clause, n) = clause.split_once('/').ok_or_else(usage)?;
    let (clause, n_clauses): (u8, u8) = (number(clause, "clause")?, number(n, "clauses")?);
    if !(2..=64).contains(&n_clauses) || clause == 0 || clause > n_clauses {
        return Err(ParseError(format!(
            "conjunction: clause {clause} of {n_clauses}; there are 2 to 64, counted from 1"
        )));
    }
    Ok(Action::Conjunction {
        id: number(id, "conjunction")?,
        clause: clause - 1,
        n_clauses,
    })
}

fn parse_fin_timeout(value: &str) -> Result<Action, ParseError> {
    let (mut idle, mut hard) = (0, 0);
    for term in rvs_flow::matching::terms(value) {
        let (key, value) = term?;
        let value =
            value.ok_or_else(|| ParseError(format!("{key} of fin_timeout needs a value")))?;
        match key {
            "idle_timeout" => idle = number(value, key)?,
            "hard_timeout" => hard = number(value, key)?,
            _ => return Err(ParseError(format!("fin_timeout has no {key}"))),
        }
    }
    Ok(Action::FinTimeout { idle, hard })
}

fn parse_check_pkt_larger(value: &str) -> Result<Action, ParseError> {
    let usage =
        || ParseError::new("check_pkt_larger is written check_pkt_larger(OCTETS)->FIELD[BIT]");
    let (len, dst) = value.split_once("->").ok_or_else(usage)?;
    let dst = writable(dst.parse()?)?;
    if dst.bits() != 1 {
        return Err(ParseError(format!(
            "check_pkt_larger: {dst} is not one bit"
        )));
    }
    Ok(Action::CheckPktLarger {
        dst,
        len: number(unwrapped(len), "check_pkt_larger")?,
    })
}

fn parse_dec_ttl(value: Option<&str>) -> Result<Action, ParseError> {
    let ids = value.unwrap_or("");
    let ids: Result<Vec<ControllerId>, ParseError> = ids
        .split(',')
        .map(str::trim)
        .filter(|t| !t.is_empty())
        .map(|t| number(t, "dec_ttl").map(ControllerId))
        .collect();
    Ok(Action::DecNwTtl(ids?.into()))
}
