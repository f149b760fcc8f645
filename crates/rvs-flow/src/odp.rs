//! Cache entries as text: the grammar that `dpctl/dump-flows` and `dpif/dump-flows` of Open vSwitch print and tools parse:
//! `recirc_id(0),in_port(2),packet_type(ns=0,id=0),eth(src=..),eth_type(0x0800),ipv4(src=10.0.0.0/255.0.0.0,frag=no)`.
//!
//! A layer is printed when the key has it. Consulting a layer's presence consults the types that lead to it, so they are
//! printed then, although the mask holds only the presence bit. Three things that the grammar has no words for are added
//! where they occur: `malformed(l3)`, `pbb(isid=..)` and `exthdr=..` inside `ipv6()`.

use std::fmt::{self, Write};
use std::net::Ipv6Addr;

use rvs_packet::view::Lse;
use rvs_packet::{EtherType, MacAddr};

use crate::field::{fmt_ipv6_addr, hex, Field, FieldId, NoPortNames};
use crate::key::{FlowKey, Mask, Present, FRAG_ANY};
use crate::port::DpPort;

/// Names of datapath ports for display.
pub type PortName<'a> = &'a dyn Fn(DpPort) -> Option<String>;

/// A key under a mask, for display.
#[derive(Clone, Copy)]
pub struct OdpFlow<'a> {
    key: &'a FlowKey,
    mask: &'a Mask<FlowKey>,
    verbose: bool,
    bare: bool,
    names: Option<PortName<'a>>,
}

impl<'a> OdpFlow<'a> {
    pub const fn new(key: &'a FlowKey, mask: &'a Mask<FlowKey>) -> Self {
        Self {
            key,
            mask,
            verbose: false,
            bare: false,
            names: None,
        }
    }

    /// Prints what does not count too, as `value/0`: `dump-flows -m`.
    pub const fn verbose(mut self) -> Self {
        self.verbose = true;
        self
    }

    /// Prints the key of a frame, which has no mask: everything, and a state that it has not as 0.
    pub const fn bare(mut self) -> Self {
        (self.verbose, self.bare) = (true, true);
        self
    }

    /// Prints ports by name.
    pub const fn with_names(mut self, names: PortName<'a>) -> Self {
        self.names = Some(names);
        self
    }
}

impl fmt::Display for OdpFlow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut w = Writer {
            out: f,
            key: *self.key,
            mask: with_types(&self.mask.0),
            verbose: self.verbose,
            bare: self.bare,
            separate: false,
        };
        w.metadata(self)?;
        let encaps = w.link()?;
        w.network()?;
        w.transport()?;
        w.malformed()?;
        for _ in 0..encaps {
            w.out.write_char(')')?;
        }
        Ok(())
    }
}

/// The mask with the types that a consulted layer stands for.
fn with_types(mask: &FlowKey) -> FlowKey {
    let mut m = *mask;
    let layers = m.present;
    if layers.any(Present::L3 | Present::L4 | Present::MPLS0 | Present::PBB) {
        m.dl_type = u16::MAX.into();
    }
    if layers.any(Present::L4) {
        m.nw_proto = u8::MAX;
    }
    m
}

struct Writer<'a, 'f> {
    out: &'a mut fmt::Formatter<'f>,
    key: FlowKey,
    mask: FlowKey,
    verbose: bool,
    bare: bool,
    /// A comma goes before the next attribute or field.
    separate: bool,
}

/// Writes `name=value[/mask]` fields between parentheses, and nothing at all when there is no field.
macro_rules! attribute {
    ($w:expr, $name:literal, $($field:expr),+ $(,)?) => {{
        if $w.verbose || [$($field.counts()),+].contains(&true) {
            $w.open($name)?;
            $($w.field($field)?;)+
            $w.close()?;
        }
    }};
}

/// One field: name, value, mask and how they are written.
struct Item<'n> {
    name: &'n str,
    value: u128,
    mask: u128,
    full: u128,
    style: Style,
}

#[derive(Clone, Copy)]
enum Style {
    Decimal,
    Hex,
    Mac,
    Ipv4,
    Ipv6,
}

impl Item<'_> {
    const fn counts(&self) -> bool {
        self.mask != 0
    }
}

fn item(
    name: &str,
    value: impl Into<u128>,
    mask: impl Into<u128>,
    bits: u8,
    style: Style,
) -> Item<'_> {
    Item {
        name,
        value: value.into(),
        mask: mask.into(),
        full: crate::field::ones(bits),
        style,
    }
}

fn mac<'n>(name: &'n str, value: &[u8; 6], mask: &[u8; 6]) -> Item<'n> {
    let number = |m: &[u8; 6]| MacAddr(*m).to_u64();
    item(name, number(value), number(mask), 48, Style::Mac)
}

fn ipv4<'n>(name: &'n str, value: &[u8; 4], mask: &[u8; 4]) -> Item<'n> {
    let number = |a: &[u8; 4]| u32::from_be_bytes(*a);
    item(name, number(value), number(mask), 32, Style::Ipv4)
}

fn ipv6<'n>(name: &'n str, value: &[u8; 16], mask: &[u8; 16]) -> Item<'n> {
    let number = |a: &[u8; 16]| u128::from(Ipv6Addr::from(*a));
    item(name, number(value), number(mask), 128, Style::Ipv6)
}

impl Writer<'_, '_> {
    fn open(&mut self, name: &str) -> fmt::Result {
        if self.separate {
            self.out.write_char(',')?;
        }
        self.separate = false;
        write!(self.out, "{name}(")
    }

    fn close(&mut self) -> fmt::Result {
        self.separate = true;
        self.out.write_char(')')
    }

    fn comma(&mut self) -> fmt::Result {
        if std::mem::replace(&mut self.separate, true) {
            self.out.write_char(',')?;
        }
        Ok(())
    }

    fn field(&mut self, i: Item<'_>) -> fmt::Result {
        if !i.counts() && !self.verbose {
            return Ok(());
        }
        self.comma()?;
        write!(self.out, "{}=", i.name)?;
        self.value(i.value, i.style)?;
        if i.mask == i.full {
            return Ok(());
        }
        self.out.write_char('/')?;
        self.value(
            i.mask,
            if matches!(i.style, Style::Decimal) {
                Style::Hex
            } else {
                i.style
            },
        )
    }

    fn value(&mut self, v: u128, style: Style) -> fmt::Result {
        match style {
            Style::Decimal => write!(self.out, "{v}"),
            Style::Hex => hex(self.out, v),
            Style::Mac => write!(self.out, "{}", MacAddr::from_u64(v as u64)),
            Style::Ipv4 => write!(self.out, "{}", std::net::Ipv4Addr::from(v as u32)),
            Style::Ipv6 => fmt_ipv6_addr(self.out, v),
        }
    }

    /// Part of a tag and its mask, to be said or not.
    fn tag_part(&mut self, name: &str, part: [u16; 2], all: u16, say: bool) -> fmt::Result {
        if !say && !self.verbose {
            return Ok(());
        }
        let [value, mask] = part;
        self.comma()?;
        write!(self.out, "{name}={value}")?;
        if mask != all {
            write!(self.out, "/{mask:#x}")?;
        }
        Ok(())
    }

    /// `name(value)` or `name(value/mask)`.
    fn whole(&mut self, name: &str, value: u32, mask: u32) -> fmt::Result {
        if mask == 0 && !self.verbose {
            return Ok(());
        }
        self.open(name)?;
        hex(self.out, value.into())?;
        if mask != u32::MAX {
            self.out.write_char('/')?;
            hex(self.out, mask.into())?;
        }
        self.close()
    }

    /// Names of zeros, for who wants everything.
    fn absent(&mut self, names: &[&str], mask: u32) -> fmt::Result {
        if self.verbose || mask == u32::MAX {
            for name in names {
                match *name {
                    // Bits of a state are said one by one.
                    "ct_state" if mask == u32::MAX && !self.bare => self.no_state()?,
                    name => self.whole(name, 0, mask)?,
                }
            }
        }
        Ok(())
    }

    fn no_state(&mut self) -> fmt::Result {
        self.open("ct_state")?;
        self.out.write_str("-new-est-rel-rpl-inv-trk-snat-dnat")?;
        self.close()
    }

    fn metadata(&mut self, flow: &OdpFlow<'_>) -> fmt::Result {
        let (k, m) = (self.key, self.mask);
        // What this datapath does not have is 0, and matched where everything is.
        let absent = match m.pkt_mark {
            u32::MAX => u32::MAX,
            _ => 0,
        };
        self.absent(&["skb_priority"], absent)?;
        self.whole("skb_mark", k.pkt_mark, m.pkt_mark)?;
        self.absent(&["ct_state", "ct_zone", "ct_mark", "ct_label"], absent)?;
        self.whole("recirc_id", k.recirc_id, u32::MAX)?;
        self.absent(&["dp_hash"], absent)?;
        let port = DpPort(k.in_port);
        self.open("in_port")?;
        match flow.names.and_then(|n| n(port)) {
            Some(name) => write!(self.out, "{name}")?,
            None => write!(self.out, "{port}")?,
        }
        if m.in_port != u32::MAX {
            self.out.write_char('/')?;
            hex(self.out, m.in_port.into())?;
        }
        self.close()?;
        self.out.write_str(",packet_type(ns=0,id=0)")
    }

    /// Addresses, tags and type. Gives how many `encap(` it opened.
    fn link(&mut self) -> Result<usize, fmt::Error> {
        let (k, m) = (self.key, self.mask);
        attribute!(
            self,
            "eth",
            mac("src", &k.dl_src, &m.dl_src),
            mac("dst", &k.dl_dst, &m.dl_dst)
        );
        let tags = [
            (Present::VLAN0, k.vlan0_tpid, k.vlan0_tci, m.vlan0_tci),
            (Present::VLAN1, k.vlan1_tpid, k.vlan1_tci, m.vlan1_tci),
        ];
        let mut encaps = 0;
        for (layer, tpid, tci, mask) in tags {
            if !k.present.has(layer) || mask.get() == 0 && !m.present.has(layer) && !self.verbose {
                break;
            }
            self.open("eth_type")?;
            write!(self.out, "{:#06x}", tpid.get())?;
            self.close()?;
            let (tci, mask) = (tci.get(), mask.get());
            self.open("vlan")?;
            let pcp = [tci >> 13, mask >> 13];
            // Something has to be said.
            let vid = pcp == [0, 0] || (tci | mask) & 0xfff != 0;
            self.tag_part("vid", [tci & 0xfff, mask & 0xfff], 0xfff, vid)?;
            self.tag_part("pcp", pcp, 7, pcp != [0, 0])?;
            self.close()?;
            self.open("encap")?;
            encaps += 1;
        }
        let (kind, mask) = (k.dl_type.get(), m.dl_type.get());
        if kind == EtherType::NOT_ETH_TYPE.0 && mask != 0 {
            self.open("eth_type")?;
            self.out.write_str("0/0xffff")?;
            self.close()?;
        } else if mask != 0 || encaps != 0 || self.verbose {
            self.open("eth_type")?;
            write!(self.out, "{kind:#06x}")?;
            if mask != u16::MAX {
                self.out.write_char('/')?;
                hex(self.out, mask.into())?;
            }
            self.close()?;
        }
        Ok(encaps)
    }

    fn network(&mut self) -> fmt::Result {
        let (k, m) = (self.key, self.mask);
        if k.present.has(Present::IPV4) {
            let items = [
                ipv4("src", &k.nw_src, &m.nw_src),
                ipv4("dst", &k.nw_dst, &m.nw_dst),
                item("proto", k.nw_proto, m.nw_proto, 8, Style::Decimal),
                item("tos", k.nw_tos, m.nw_tos, 8, Style::Hex),
                item("ttl", k.nw_ttl, m.nw_ttl, 8, Style::Decimal),
            ];
            self.ip("ipv4", items.into_iter())
        } else if k.present.has(Present::IPV6) {
            let label = |v: &FlowKey| v.ipv6_label.get();
            let exthdr = item(
                "exthdr",
                k.ipv6_exthdr.get(),
                m.ipv6_exthdr.get(),
                16,
                Style::Hex,
            );
            let items = [
                ipv6("src", &k.ipv6_src, &m.ipv6_src),
                ipv6("dst", &k.ipv6_dst, &m.ipv6_dst),
                item("label", label(&k), label(&m) & 0xf_ffff, 20, Style::Hex),
                item("proto", k.nw_proto, m.nw_proto, 8, Style::Decimal),
                item("tclass", k.nw_tos, m.nw_tos, 8, Style::Hex),
                item("hlimit", k.nw_ttl, m.nw_ttl, 8, Style::Decimal),
            ];
            self.ip(
                "ipv6",
                items.into_iter().chain(exthdr.counts().then_some(exthdr)),
            )
        } else if k.present.has(Present::ARP) {
            attribute!(
                self,
                "arp",
                ipv4("sip", &k.nw_src, &m.nw_src),
                ipv4("tip", &k.nw_dst, &m.nw_dst),
                item("op", k.nw_proto, m.nw_proto, 8, Style::Decimal),
                mac("sha", &k.arp_sha, &m.arp_sha),
                mac("tha", &k.arp_tha, &m.arp_tha),
            );
            Ok(())
        } else {
            self.labels()
        }
    }

    fn ip<'n>(&mut self, name: &str, items: impl Iterator<Item = Item<'n>>) -> fmt::Result {
        let frag = self.mask.nw_frag != 0 || self.verbose;
        let mut any = false;
        for i in items {
            if !any && (i.counts() || self.verbose) {
                self.open(name)?;
                any = true;
            }
            self.field(i)?;
        }
        if frag {
            if !any {
                self.open(name)?;
                any = true;
            }
            let word = match self.key.nw_frag {
                0 => "no",
                FRAG_ANY => "first",
                _ => "later",
            };
            self.comma()?;
            write!(self.out, "frag={word}")?;
        }
        if any {
            self.close()?;
        }
        Ok(())
    }

    fn labels(&mut self) -> fmt::Result {
        let (k, m) = (self.key, self.mask);
        if k.present.has(Present::PBB) {
            let part = |v: u32, field: u32| (v & field) >> field.trailing_zeros();
            let of = |name, field: u32, style| {
                let (value, mask) = (k.pbb_isid.get(), m.pbb_isid.get());
                let bits = field.count_ones() as u8;
                item(name, part(value, field), part(mask, field), bits, style)
            };
            attribute!(
                self,
                "pbb",
                of("isid", FlowKey::PBB_ISID, Style::Hex),
                of("uca", FlowKey::PBB_UCA, Style::Decimal)
            );
        }
        let entries = [Present::MPLS0, Present::MPLS1, Present::MPLS2]
            .iter()
            .filter(|p| k.present.has(**p))
            .count();
        let masks = &m.mpls_lse[..entries];
        if masks.iter().all(|m| m.get() == 0) && !self.verbose || entries == 0 {
            return Ok(());
        }
        let exact = masks.iter().all(|m| m.get() == u32::MAX);
        self.open("mpls")?;
        for (value, mask) in k.mpls_lse.iter().zip(masks) {
            self.comma()?;
            let (v, m) = (Lse(value.get()), Lse(mask.get()));
            if exact {
                write!(
                    self.out,
                    "label={},tc={},ttl={},bos={}",
                    v.label(),
                    v.tc(),
                    v.ttl(),
                    u8::from(v.bos())
                )?;
            } else {
                write!(
                    self.out,
                    "label={}/{:#x},tc={}/{:x},",
                    v.label(),
                    m.label(),
                    v.tc(),
                    m.tc()
                )?;
                let (bos, bos_mask) = (u8::from(v.bos()), u8::from(m.bos()));
                write!(
                    self.out,
                    "ttl={}/{:#x},bos={bos}/{bos_mask:x}",
                    v.ttl(),
                    m.ttl()
                )?;
            }
        }
        self.close()
    }

    fn transport(&mut self) -> fmt::Result {
        let (k, m) = (self.key, self.mask);
        let p = k.present;
        let ports = [
            item("src", k.tp_src.get(), m.tp_src.get(), 16, Style::Decimal),
            item("dst", k.tp_dst.get(), m.tp_dst.get(), 16, Style::Decimal),
        ];
        let [src, dst] = ports;
        if p.has(Present::TCP) {
            attribute!(self, "tcp", src, dst);
            return self.tcp_flags();
        } else if p.has(Present::UDP) {
            attribute!(self, "udp", src, dst);
        } else if p.has(Present::SCTP) {
            attribute!(self, "sctp", src, dst);
        } else if p.has(Present::ICMP) {
            let kind = item(
                "type",
                k.tp_src.get(),
                m.tp_src.get() & 0xff,
                8,
                Style::Decimal,
            );
            let code = item(
                "code",
                k.tp_dst.get(),
                m.tp_dst.get() & 0xff,
                8,
                Style::Decimal,
            );
            if p.has(Present::IPV6) {
                attribute!(self, "icmpv6", kind, code);
            } else {
                attribute!(self, "icmp", kind, code);
            }
        }
        if p.has(Present::ND) {
            attribute!(
                self,
                "nd",
                ipv6("target", &k.nd_target, &m.nd_target),
                mac("sll", &k.arp_sha, &m.arp_sha),
                mac("tll", &k.arp_tha, &m.arp_tha),
            );
            let reserved = item(
                "nd_reserved",
                k.nd_reserved.get(),
                m.nd_reserved.get(),
                32,
                Style::Hex,
            );
            let option = item(
                "nd_options_type",
                k.nd_options_type,
                m.nd_options_type,
                8,
                Style::Decimal,
            );
            if reserved.counts() || option.counts() {
                attribute!(self, "nd_ext", reserved, option);
            }
        }
        Ok(())
    }

    fn tcp_flags(&mut self) -> fmt::Result {
        let flags = Field::of(FieldId::TcpFlags);
        let mask = u128::from(self.mask.tcp_flags.get() & 0xfff);
        if mask == 0 && !self.verbose {
            return Ok(());
        }
        self.open("tcp_flags")?;
        if mask == 0 {
            self.out.write_str("0/0")?;
        } else {
            let value = u128::from(self.key.tcp_flags.get());
            write!(
                self.out,
                "{}",
                flags.display(value & mask, mask, &NoPortNames)
            )?;
        }
        self.close()
    }

    fn malformed(&mut self) -> fmt::Result {
        let p = self.key.present;
        if !p.any(Present::MALFORMED) {
            return Ok(());
        }
        self.open("malformed")?;
        for (bit, word) in [
            (Present::BAD_L2, "l2"),
            (Present::BAD_VLAN, "vlan"),
            (Present::BAD_L3, "l3"),
            (Present::BAD_L4, "l4"),
        ] {
            if p.has(bit) {
                self.comma()?;
                self.out.write_str(word)?;
            }
        }
        self.close()
    }
}

#[cfg(test)]
mod tests;
