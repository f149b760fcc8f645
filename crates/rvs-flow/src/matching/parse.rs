//! The text syntax of matches: `tcp,in_port=1,dl_vlan=10,nw_src=10.0.0.0/8,tp_dst=80`.
//!
//! Terms may stand in any order, as in ovs-ofctl(8). Two differences from Open vSwitch's reader, both on purpose: a field
//! whose prerequisite is not matched is an error that says which (there it is dropped with a warning), and terms that
//! contradict each other are an error (there the last one wins).

use rvs_packet::{EtherType, IpProto};

use super::{Match, MatchError};
use crate::field::{
    matched_eth_type, matched_proto, BadValue, Field, FieldId, PortNames, PrereqError,
};
use crate::key::PipelineKey;

/// Why a text is no match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseMatchError {
    #[error("{0} is not a match field")]
    UnknownKeyword(String),
    #[error("{0} needs a value")]
    NoValue(String),
    #[error("{0} takes no value")]
    NoValueWanted(String),
    #[error("{0}: parenthesis or quote is not closed")]
    Unbalanced(String),
    #[error(transparent)]
    Value(#[from] BadValue),
    #[error(transparent)]
    Match(#[from] MatchError),
    #[error(transparent)]
    Prereq(#[from] PrereqError),
    #[error("{0} contradicts an earlier term")]
    Contradiction(String),
}

/// `keyword` for `eth_type` and `ip_proto` together.
const SHORTHANDS: [(&str, EtherType, Option<IpProto>); 14] = [
    ("ip", EtherType::IPV4, None),
    ("icmp", EtherType::IPV4, Some(IpProto::ICMP)),
    ("tcp", EtherType::IPV4, Some(IpProto::TCP)),
    ("udp", EtherType::IPV4, Some(IpProto::UDP)),
    ("sctp", EtherType::IPV4, Some(IpProto::SCTP)),
    ("ipv6", EtherType::IPV6, None),
    ("icmp6", EtherType::IPV6, Some(IpProto::ICMPV6)),
    ("tcp6", EtherType::IPV6, Some(IpProto::TCP)),
    ("udp6", EtherType::IPV6, Some(IpProto::UDP)),
    ("sctp6", EtherType::IPV6, Some(IpProto::SCTP)),
    ("arp", EtherType::ARP, None),
    ("rarp", EtherType::RARP, None),
    ("mpls", EtherType::MPLS, None),
    ("mplsm", EtherType::MPLS_MC, None),
];

impl Match<PipelineKey> {
    /// Reads a whole match; `ports` resolves names of ports.
    ///
    /// # Errors
    /// Says which term is wrong and what it should be.
    pub fn parse(text: &str, ports: &dyn PortNames) -> Result<Self, ParseMatchError> {
        let mut parser = MatchParser::new();
        for term in terms(text) {
            let (key, value) = term?;
            if !parser.take(key, value)? {
                return Err(ParseMatchError::UnknownKeyword(key.to_owned()));
            }
        }
        parser.finish(ports)
    }
}

/// Collects the terms of a match out of a longer text (a flow, a learn action), then builds it.
#[derive(Clone, Debug, Default)]
pub struct MatchParser<'t> {
    types: Vec<(&'t str, EtherType, Option<IpProto>)>,
    fields: Vec<(&'t str, &'static Field, &'t str)>,
}

impl<'t> MatchParser<'t> {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a term if its key is one of the match syntax; false leaves it to the caller.
    ///
    /// # Errors
    /// A field without a value, a shorthand with one.
    pub fn take(&mut self, key: &'t str, value: Option<&'t str>) -> Result<bool, ParseMatchError> {
        if let Some(s) = SHORTHANDS.iter().find(|s| s.0 == key) {
            return match value {
                None => {
                    self.types.push(*s);
                    Ok(true)
                }
                Some(_) => Err(ParseMatchError::NoValueWanted(key.to_owned())),
            };
        }
        if key == "eth" {
            return Ok(true);
        }
        let Some(field) = Field::by_keyword(key) else {
            return Ok(false);
        };
        let value = value.ok_or_else(|| ParseMatchError::NoValue(key.to_owned()))?;
        self.fields.push((key, field, value));
        Ok(true)
    }

    /// The match of all terms.
    ///
    /// # Errors
    /// Bad values, contradicting terms, missing prerequisites.
    pub fn finish(mut self, ports: &dyn PortNames) -> Result<Match<PipelineKey>, ParseMatchError> {
        let mut m = Match::any();
        for (key, eth_type, proto) in &self.types {
            add(&mut m, key, FieldId::EthType, eth_type.0.into(), u128::MAX)?;
            if let Some(p) = proto {
                add(&mut m, key, FieldId::IpProto, p.0.into(), u128::MAX)?;
            }
        }
        // What the meaning of other terms depends on comes first; the sort is stable.
        self.fields.sort_by_key(|(_, f, _)| match f.id {
            FieldId::PacketType => 0,
            FieldId::EthType => 1,
            FieldId::IpProto => 2,
            _ => 3,
        });
        let mut named = Vec::with_capacity(self.fields.len());
        for (key, field, text) in &self.fields {
            let field = resolve(key, field, &m);
            let (value, mask) = field.parse_value(text, ports)?;
            add(&mut m, key, field.id, value, mask)?;
            named.push(field);
        }
        for field in named {
            // Matching an OpenFlow 1.1 priority brings the tag that it needs.
            field.check_prereq(&m.value, &m.mask)?;
        }
        Ok(m)
    }
}

fn add(
    m: &mut Match<PipelineKey>,
    key: &str,
    field: FieldId,
    value: u128,
    mask: u128,
) -> Result<(), ParseMatchError> {
    let mut one = Match::any();
    one.set(field, value, mask)?;
    if !m.intersect(&one) {
        return Err(ParseMatchError::Contradiction(key.to_owned()));
    }
    m.derive_presence();
    Ok(())
}

/// The field that an OpenFlow 1.0 name means in this match: `tp_dst` of a UDP match is `udp_dst`.
fn resolve(key: &str, field: &'static Field, m: &Match<PipelineKey>) -> &'static Field {
    use FieldId as F;
    let kind = matched_eth_type(&m.value, &m.mask);
    let proto = matched_proto(&m.value, &m.mask);
    let arp = matches!(kind, Some(EtherType::ARP | EtherType::RARP));
    let id = match key {
        "nw_src" if arp => F::ArpSpa,
        "nw_dst" if arp => F::ArpTpa,
        "nw_proto" if arp => F::ArpOp,
        "icmp_type" if proto == Some(IpProto::ICMPV6) => F::Icmpv6Type,
        "icmp_code" if proto == Some(IpProto::ICMPV6) => F::Icmpv6Code,
        "tp_src" => match proto {
            Some(IpProto::UDP) => F::UdpSrc,
            Some(IpProto::SCTP) => F::SctpSrc,
            Some(IpProto::ICMP) => F::Icmpv4Type,
            Some(IpProto::ICMPV6) => F::Icmpv6Type,
            _ => field.id,
        },
        "tp_dst" => match proto {
            Some(IpProto::UDP) => F::UdpDst,
            Some(IpProto::SCTP) => F::SctpDst,
            Some(IpProto::ICMP) => F::Icmpv4Code,
            Some(IpProto::ICMPV6) => F::Icmpv6Code,
            _ => field.id,
        },
        _ => field.id,
    };
    Field::of(id)
}

/// Splits `key`, `key=value`, `key:value` and `key(value)` terms at commas and white space outside parentheses and quotes.
pub fn terms(text: &str) -> impl Iterator<Item = Result<(&str, Option<&str>), ParseMatchError>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(is_separator);
        if rest.is_empty() {
            return None;
        }
        let Some(end) = term_end(rest) else {
            let all = std::mem::take(&mut rest);
            return Some(Err(ParseMatchError::Unbalanced(all.to_owned())));
        };
        let (term, tail) = rest.split_at(end);
        rest = tail;
        Some(Ok(match term.find(['=', ':', '(']) {
            None => (term, None),
            Some(at) if term[at..].starts_with('(') => {
                (&term[..at], Some(&term[at..]).filter(|v| *v != "()"))
            }
            Some(at) => (&term[..at], Some(&term[at + 1..])),
        }))
    })
}

const fn is_separator(c: char) -> bool {
    matches!(c, ',' | ' ' | '\t' | '\r' | '\n')
}

/// Where the first term of `text` ends; `None` if a parenthesis or quote stays open.
fn term_end(text: &str) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            c if depth == 0 && is_separator(c) => return Some(i),
            _ => {}
        }
    }
    (depth == 0 && !quoted).then_some(text.len())
}
