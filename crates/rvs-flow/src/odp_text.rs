//! Reads a flow in the words of the datapath, `in_port(1),eth(src=..,dst=..),eth_type(0x0800),ipv4(..)`, by telling it in
//! those of OpenFlow, which [`MatchParser`](crate::matching::MatchParser) takes. The other direction is [`OdpFlow`](crate::OdpFlow).

use std::fmt::Write as _;

use crate::field::parse_number;
use crate::key::{FlowKey, Present};

/// Nesting of `encap()` that is followed.
const DEPTH: usize = 3;

/// A flow in OpenFlow's words, and what those can't say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OdpText {
    /// Number or name of the datapath port.
    pub in_port: Option<String>,
    /// Terms with commas between.
    pub terms: String,
    /// What brought the frame back, if it says so and is not 0.
    pub recirc_id: Option<u32>,
    /// TPIDs of the tags, outermost first, and the inner tag, of which OpenFlow has no field.
    tpids: Vec<u16>,
    inner: Option<u16>,
}

impl OdpText {
    /// Puts into the key of the terms what they can't say of the tags.
    pub fn add_tags(&self, key: &mut FlowKey) {
        if let Some(tpid) = self
            .tpids
            .first()
            .filter(|_| key.present.has(Present::VLAN0))
        {
            key.vlan0_tpid = (*tpid).into();
        }
        if let (Some(tci), Some(tpid)) = (self.inner, self.tpids.get(1)) {
            key.vlan1_tpid = (*tpid).into();
            key.vlan1_tci = tci.into();
            key.present = key.present.with(Present::VLAN1);
        }
    }
}

/// What a text is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error at {0}")]
pub struct NotOdp(pub String);

/// Reads a flow.
///
/// # Errors
/// The place where it stops to be one, or the attribute that this switch does not have.
pub fn parse(text: &str) -> Result<OdpText, NotOdp> {
    let mut flow = OdpText::default();
    if !text.contains('(') {
        return Err(NotOdp(text.to_owned()));
    }
    attributes(text, &mut flow, 0)?;
    Ok(flow)
}

/// Splits `name(content),name(content)`.
fn attributes(text: &str, flow: &mut OdpText, depth: usize) -> Result<(), NotOdp> {
    let mut rest = text.trim_matches([',', ' ']);
    while !rest.is_empty() {
        let wrong = || NotOdp(rest.to_owned());
        // What a dump says before a flow.
        if let Some(tail) = rest.strip_prefix("ufid:") {
            rest = tail.split_once([',', ' ']).map_or("", |(_, t)| t);
            rest = rest.trim_start_matches([',', ' ']);
            continue;
        }
        let (name, tail) = rest.split_once('(').ok_or_else(wrong)?;
        let end = closing(tail).ok_or_else(wrong)?;
        let (content, tail) = (&tail[..end], &tail[end + 1..]);
        if name == "encap" {
            if depth == DEPTH {
                return Err(wrong());
            }
            attributes(content, flow, depth + 1)?;
        } else {
            attribute(name.trim(), content.trim(), flow).ok_or_else(wrong)?;
        }
        rest = tail.trim_start_matches([',', ' ']);
    }
    Ok(())
}

/// Where the parenthesis that is open ends.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1_usize;
    text.char_indices().find_map(|(i, c)| {
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        (open == 0).then_some(i)
    })
}

fn attribute(name: &str, content: &str, flow: &mut OdpText) -> Option<()> {
    let terms = &mut flow.terms;
    let mut say = |key: &str, value: &str| {
        let comma = if terms.is_empty() { "" } else { "," };
        let _ = write!(terms, "{comma}{key}={value}");
    };
    // Fields by their names here and there.
    let named: &[(&str, &str)] = match name {
        "in_port" => {
            flow.in_port = Some(content.to_owned());
            return Some(());
        }
        "eth_type" => {
            // An outer tag's type is said by the tag.
            match content {
                "0x8100" => flow.tpids.push(0x8100),
                "0x88a8" => flow.tpids.push(0x88a8),
                _ => say("dl_type", content),
            }
            return Some(());
        }
        "skb_mark" => {
            say("pkt_mark", content);
            return Some(());
        }
        "tcp_flags" => {
            say("tcp_flags", &flags(content)?);
            return Some(());
        }
        "vlan" => match (vlan(content)?, flow.tpids.len()) {
            ((tci, _), 2..) => {
                flow.inner = Some(tci);
                return Some(());
            }
            ((tci, u16::MAX), _) => {
                say("vlan_tci", &format!("{tci:#x}"));
                return Some(());
            }
            ((tci, mask), _) => {
                say("vlan_tci", &format!("{tci:#x}/{mask:#x}"));
                return Some(());
            }
        },
        "recirc_id" => {
            let id = u32::try_from(parse_number(content)?).ok()?;
            flow.recirc_id = Some(id).filter(|id| *id != 0);
            return Some(());
        }
        "mpls" => &[
            ("label", "mpls_label"),
            ("tc", "mpls_tc"),
            ("ttl", "mpls_ttl"),
            ("bos", "mpls_bos"),
        ],
        "eth" => &[("src", "dl_src"), ("dst", "dl_dst")],
        "ipv4" => &[
            ("src", "nw_src"),
            ("dst", "nw_dst"),
            ("proto", "nw_proto"),
            ("ttl", "nw_ttl"),
            ("frag", "nw_frag"),
            ("tos", ""),
        ],
        "ipv6" => &[
            ("src", "ipv6_src"),
            ("dst", "ipv6_dst"),
            ("proto", "nw_proto"),
            ("hlimit", "nw_ttl"),
            ("frag", "nw_frag"),
            ("label", "ipv6_label"),
            ("tclass", ""),
        ],
        "arp" => &[
            ("sip", "arp_spa"),
            ("tip", "arp_tpa"),
            ("op", "arp_op"),
            ("sha", "arp_sha"),
            ("tha", "arp_tha"),
        ],
        "tcp" | "udp" | "sctp" => &[("src", "tp_src"), ("dst", "tp_dst")],
        "icmp" => &[("type", "icmp_type"), ("code", "icmp_code")],
        "icmpv6" => &[("type", "icmpv6_type"), ("code", "icmpv6_code")],
        "nd" => &[
            ("target", "nd_target"),
            ("sll", "nd_sll"),
            ("tll", "nd_tll"),
        ],
        "dp_hash" | "skb_priority" | "ct_state" | "ct_zone" | "ct_mark" | "ct_label"
        | "packet_type" => return Some(()),
        _ => return None,
    };
    for pair in content.split(',').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=')?;
        let (_, openflow) = named.iter().find(|(k, _)| *k == key.trim())?;
        match *openflow {
            "" => traffic_class(value, &mut say)?,
            // A message that lacks an option has zeros for it.
            "nd_sll" | "nd_tll" if value.trim() == "00:00:00:00:00:00" => {}
            key => say(key, value.trim()),
        }
    }
    Some(())
}

/// `vid`, `pcp` and `cfi` as the one word that they are on the wire, where 1 of `cfi` says that there is a tag; and its mask.
fn vlan(content: &str) -> Option<(u16, u16)> {
    let (mut tci, mut mask) = (0x1000_u16, 0x1000_u16);
    for pair in content.split(',').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=')?;
        let (shift, all) = match key.trim() {
            "vid" => (0, 0xfff),
            "pcp" => (13, 7),
            "cfi" => (12, 1),
            _ => return None,
        };
        let (value, under) = masked(value, all)?;
        tci = tci & !(all << shift) | value << shift;
        mask |= under << shift;
    }
    Some((tci, mask))
}

/// The octet of DSCP and ECN, which OpenFlow names apart.
fn traffic_class(text: &str, say: &mut dyn FnMut(&str, &str)) -> Option<()> {
    let (value, mask) = masked(text, 0xff)?;
    // OpenFlow's match takes them whole or not at all.
    if mask & 0xfc == 0xfc {
        say("nw_tos", &(value & 0xfc).to_string());
    }
    if mask & 3 == 3 {
        say("nw_ecn", &(value & 3).to_string());
    }
    Some(())
}

/// A number, and the mask behind its slash.
fn masked(text: &str, all: u16) -> Option<(u16, u16)> {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (value, number(mask)?),
        None => (text, all),
    };
    let value = number(value)?;
    (value <= all && mask <= all).then_some((value, mask))
}

fn number(text: &str) -> Option<u16> {
    u16::try_from(parse_number(text.trim())?).ok()
}

/// `syn|ack`, `+syn-ack`, or a number with a mask.
fn flags(text: &str) -> Option<String> {
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '-') {
        return Some(text.to_owned());
    }
    const NAMES: [&str; 12] = [
        "fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]",
    ];
    let bit = |name: &str| Some(1_u16 << NAMES.iter().position(|n| *n == name)?);
    let all: Option<Vec<u16>> = text.split('|').filter(|n| !n.is_empty()).map(bit).collect();
    Some(format!("{:#x}", all?.iter().fold(0, |a, b| a | b)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_those_of_other_fields() {
        assert_eq!(number("0x1F"), Some(0x1f));
        assert_eq!(number(" 65535 "), Some(65535));
        for bad in ["", "0x", "+1", "0x+1", "010", "65536"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    fn said(text: &str) -> (Option<String>, String) {
        let flow = parse(text).unwrap();
        (flow.in_port, flow.terms)
    }

    #[test]
    fn flows_as_dumps_and_tests_write_them() {
        let port = |p: &str| Some(p.to_owned());
        assert_eq!(
            said("recirc_id(0),in_port(1),packet_type(ns=0,id=0),eth(src=50:54:00:00:00:05,dst=50:54:00:00:00:07),eth_type(0x0800),\
                  ipv4(src=10.0.0.1,dst=10.0.0.2,proto=6,tos=5,ttl=64,frag=no),tcp(src=8,dst=9),tcp_flags(syn|ack)"),
            (port("1"), "dl_src=50:54:00:00:00:05,dl_dst=50:54:00:00:00:07,dl_type=0x0800,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_proto=6,\
                         nw_tos=4,nw_ecn=1,nw_ttl=64,nw_frag=no,tp_src=8,tp_dst=9,tcp_flags=0x12".to_owned())
        );
        assert_eq!(
            said("ufid:1-2, in_port(p1),eth_type(0x8100),vlan(vid=99,pcp=3),encap(eth_type(0x86dd),ipv6(src=fe80::1,proto=58),icmpv6(type=128,code=0))"),
            (port("p1"), "vlan_tci=0x7063,dl_type=0x86dd,ipv6_src=fe80::1,nw_proto=58,icmpv6_type=128,icmpv6_code=0".to_owned())
        );
        assert_eq!(
            said("icmpv6(type=135,code=0),nd(target=fe80::2,sll=50:54:00:00:00:05,tll=00:00:00:00:00:00)").1,
            "icmpv6_type=135,icmpv6_code=0,nd_target=fe80::2,nd_sll=50:54:00:00:00:05"
        );
        assert_eq!(
            said("eth_type(0x0806),arp(sip=10.0.0.1,op=1)").1,
            "dl_type=0x0806,arp_spa=10.0.0.1,arp_op=1"
        );
    }

    #[test]
    fn a_second_tag_is_put_into_the_key() {
        let text = "recirc_id(0x2),eth_type(0x88a8),vlan(vid=16,pcp=1),encap(eth_type(0x8100),vlan(vid=17,pcp=0),encap(eth_type(0xabcd)))";
        let flow = parse(text).unwrap();
        assert_eq!(flow.terms, "vlan_tci=0x3010,dl_type=0xabcd");
        assert_eq!(flow.recirc_id, Some(2));
        let mut key = FlowKey {
            present: Present::VLAN0,
            ..FlowKey::default()
        };
        flow.add_tags(&mut key);
        assert_eq!(
            (
                key.vlan0_tpid.get(),
                key.vlan1_tpid.get(),
                key.vlan1_tci.get()
            ),
            (0x88a8, 0x8100, 0x1011)
        );
        assert!(key.present.has(Present::VLAN1));
        assert_eq!(parse("recirc_id(0),in_port(1)").unwrap().recirc_id, None);
    }

    #[test]
    fn what_is_none_is_refused_where_it_goes_wrong() {
        for (text, at) in [
            ("junk", "junk"),
            ("in_port=1,tcp", "in_port=1,tcp"),
            ("in_port(1),eth(src=1", "eth(src=1"),
            ("in_port(1),wrong(x=1)", "wrong(x=1)"),
            ("ipv4(colour=1)", "ipv4(colour=1)"),
            ("vlan(vid=5000)", "vlan(vid=5000)"),
        ] {
            assert_eq!(parse(text), Err(NotOdp(at.to_owned())));
        }
        let deep = "encap(".repeat(9) + &")".repeat(9);
        assert!(parse(&deep).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "((in_port|eth|vlan|encap|ufid:|é|tcp_flags)?[(),=/0-9x|+]{0,3}){0,12}") {
            let _ = parse(&text);
        }
    }
}
