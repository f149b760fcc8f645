//! A match as text, as `ovs-ofctl dump-flows` prints it.

use std::fmt::{self, Write};

use rvs_packet::{EtherType, IpProto};

use super::{Match, PCP_MASK, VID_MASK};
use crate::field::{
    fmt_port, hex, matched_eth_type, matched_proto, Field, FieldId, NoPortNames, PortNames,
};
use crate::key::{FlowKey, PipelineKey, TCI_PRESENT};
use crate::port::OfPort;

/// A match with the names of its bridge's ports.
pub struct MatchDisplay<'a> {
    matching: &'a Match<PipelineKey>,
    ports: &'a dyn PortNames,
}

impl Match<PipelineKey> {
    /// As `Display`, with ports by their names.
    pub fn display<'a>(&'a self, ports: &'a dyn PortNames) -> MatchDisplay<'a> {
        MatchDisplay {
            matching: self,
            ports,
        }
    }
}

impl fmt::Display for Match<PipelineKey> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.display(&NoPortNames).fmt(f)
    }
}

impl fmt::Display for MatchDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut w = Terms {
            out: f,
            first: true,
            matching: self.matching,
            ports: self.ports,
        };
        w.pipeline_state()?;
        let shown = w.shorthand()?;
        w.registers()?;
        w.link(shown)?;
        w.network(shown)?;
        w.transport()
    }
}

/// What the shorthand (`tcp`, `arp`) has already said.
#[derive(Clone, Copy)]
struct Shown {
    eth_type: bool,
    proto: bool,
}

struct Terms<'a, 'f> {
    out: &'a mut fmt::Formatter<'f>,
    first: bool,
    matching: &'a Match<PipelineKey>,
    ports: &'a dyn PortNames,
}

impl Terms<'_, '_> {
    fn value(&self) -> &FlowKey {
        &self.matching.value.flow
    }

    fn mask(&self) -> &FlowKey {
        &self.matching.mask.0.flow
    }

    fn term(&mut self, text: &str) -> fmt::Result {
        if !self.first {
            self.out.write_char(',')?;
        }
        self.first = false;
        self.out.write_str(text)
    }

    fn key(&mut self, name: &str) -> fmt::Result {
        self.term(name)?;
        self.out.write_char('=')
    }

    /// `name=value/mask` in the field's own format, if it is matched.
    fn field(&mut self, name: &str, id: FieldId) -> fmt::Result {
        let (value, mask) = self.matching.field(id);
        if mask == 0 {
            return Ok(());
        }
        self.key(name)?;
        write!(
            self.out,
            "{}",
            Field::of(id).display(value, mask, self.ports)
        )
    }

    /// `name=0x0001/0x00ff` with leading zeros to `digits`.
    fn padded(
        &mut self,
        name: &str,
        value: u32,
        mask: u32,
        exact: u32,
        digits: usize,
    ) -> fmt::Result {
        if mask == 0 {
            return Ok(());
        }
        let width = digits + 2;
        self.key(name)?;
        write!(self.out, "{value:#0width$x}")?;
        if mask != exact {
            write!(self.out, "/{mask:#0width$x}")?;
        }
        Ok(())
    }

    fn pipeline_state(&mut self) -> fmt::Result {
        self.field("pkt_mark", FieldId::PktMark)?;
        if self.mask().recirc_id != 0 {
            self.key("recirc_id")?;
            hex(self.out, self.value().recirc_id.into())?;
        }
        self.field("conj_id", FieldId::ConjId)?;
        self.field("actset_output", FieldId::ActsetOutput)?;
        self.field("packet_type", FieldId::PacketType)
    }

    fn shorthand(&mut self) -> Result<Shown, fmt::Error> {
        let m = self.matching;
        let by_packet_type = m.mask.0.packet_type.get() != 0;
        let proto = matched_proto(&m.value, &m.mask);
        let mut shown = Shown {
            eth_type: false,
            proto: false,
        };
        if by_packet_type || m.mask.0.flow.dl_type.get() != u16::MAX {
            return Ok(shown);
        }
        let word = match (EtherType(m.value.flow.dl_type.get()), proto) {
            (EtherType::IPV4, Some(IpProto::ICMP)) => ("icmp", true),
            (EtherType::IPV4, Some(IpProto::TCP)) => ("tcp", true),
            (EtherType::IPV4, Some(IpProto::UDP)) => ("udp", true),
            (EtherType::IPV4, Some(IpProto::SCTP)) => ("sctp", true),
            (EtherType::IPV4, _) => ("ip", false),
            (EtherType::IPV6, Some(IpProto::ICMPV6)) => ("icmp6", true),
            (EtherType::IPV6, Some(IpProto::TCP)) => ("tcp6", true),
            (EtherType::IPV6, Some(IpProto::UDP)) => ("udp6", true),
            (EtherType::IPV6, Some(IpProto::SCTP)) => ("sctp6", true),
            (EtherType::IPV6, _) => ("ipv6", false),
            (EtherType::ARP, _) => ("arp", false),
            (EtherType::RARP, _) => ("rarp", false),
            (EtherType::MPLS, _) => ("mpls", false),
            (EtherType::MPLS_MC, _) => ("mplsm", false),
            _ => return Ok(shown),
        };
        self.term(word.0)?;
        shown.eth_type = true;
        shown.proto = word.1;
        Ok(shown)
    }

    fn registers(&mut self) -> fmt::Result {
        for n in 0..16 {
            if let Some(id) = FieldId::reg(n) {
                self.field(Field::of(id).name, id)?;
            }
        }
        self.field("tun_id", FieldId::TunId)?;
        self.field("metadata", FieldId::Metadata)
    }

    fn link(&mut self, shown: Shown) -> fmt::Result {
        if self.matching.mask.0.of_port != 0 {
            self.key("in_port")?;
            fmt_port(self.out, OfPort(self.matching.value.of_port), self.ports)?;
        }
        let (v, m) = (*self.value(), *self.mask());
        self.vlan("", v.vlan0_tci.get(), m.vlan0_tci.get())?;
        self.vlan("1", v.vlan1_tci.get(), m.vlan1_tci.get())?;
        self.field("dl_src", FieldId::EthSrc)?;
        self.field("dl_dst", FieldId::EthDst)?;
        if shown.eth_type {
            return Ok(());
        }
        self.padded(
            "dl_type",
            v.dl_type.get().into(),
            m.dl_type.get().into(),
            0xffff,
            4,
        )
    }

    /// The tag as VID and priority where these say all of it, else as bits.
    fn vlan(&mut self, nth: &str, tci: u16, mask: u16) -> fmt::Result {
        let (vid, pcp) = (mask & VID_MASK, mask & PCP_MASK);
        let says_all = tci & mask & TCI_PRESENT != 0
            && (vid == 0 || vid == VID_MASK)
            && (pcp == 0 || pcp == PCP_MASK)
            && mask != TCI_PRESENT;
        if !says_all {
            return self.padded(
                &format!("vlan_tci{nth}"),
                tci.into(),
                mask.into(),
                0xffff,
                4,
            );
        }
        if vid != 0 {
            self.key(&format!("dl_vlan{nth}"))?;
            write!(self.out, "{}", tci & VID_MASK)?;
        }
        if pcp != 0 {
            self.key(&format!("dl_vlan_pcp{nth}"))?;
            write!(self.out, "{}", tci >> 13)?;
        }
        Ok(())
    }

    fn network(&mut self, shown: Shown) -> fmt::Result {
        let kind = matched_eth_type(&self.matching.value, &self.matching.mask);
        let arp = matches!(kind, Some(EtherType::ARP | EtherType::RARP));
        if kind == Some(EtherType::IPV6) {
            self.field("ipv6_src", FieldId::Ipv6Src)?;
            self.field("ipv6_dst", FieldId::Ipv6Dst)?;
            let (v, m) = (self.value().ipv6_label.get(), self.mask().ipv6_label.get());
            self.padded("ipv6_label", v, m, 0xf_ffff, 5)?;
            self.field("ipv6_exthdr", FieldId::Ipv6Exthdr)?;
        } else {
            let (src, dst) = if arp {
                ("arp_spa", "arp_tpa")
            } else {
                ("nw_src", "nw_dst")
            };
            self.field(src, FieldId::Ipv4Src)?;
            self.field(dst, FieldId::Ipv4Dst)?;
        }
        if !shown.proto {
            self.field(if arp { "arp_op" } else { "nw_proto" }, FieldId::IpProto)?;
        }
        if arp {
            self.field("arp_sha", FieldId::ArpSha)?;
            self.field("arp_tha", FieldId::ArpTha)?;
        }
        self.field("nw_tos", FieldId::NwTos)?;
        self.field("nw_ecn", FieldId::IpEcn)?;
        self.field("nw_ttl", FieldId::IpTtl)?;
        self.field("mpls_label", FieldId::MplsLabel)?;
        self.field("mpls_tc", FieldId::MplsTc)?;
        self.field("mpls_ttl", FieldId::MplsTtl)?;
        self.field("mpls_bos", FieldId::MplsBos)?;
        self.inner_labels()?;
        self.field("pbb_isid", FieldId::PbbIsid)?;
        self.field("pbb_uca", FieldId::PbbUca)?;
        self.field("nw_frag", FieldId::IpFrag)
    }

    /// The label stack entries below the first have no fields of their own; a megaflow may hold them.
    fn inner_labels(&mut self) -> fmt::Result {
        for n in 1..3 {
            let (v, m) = (
                self.value().mpls_lse[n].get(),
                self.mask().mpls_lse[n].get(),
            );
            if m == 0 {
                continue;
            }
            self.key(&format!("mpls_lse{n}"))?;
            if m == u32::MAX {
                write!(self.out, "{v}")?;
            } else {
                write!(self.out, "{v:#x}/{m:#x}")?;
            }
        }
        Ok(())
    }

    fn transport(&mut self) -> fmt::Result {
        let kind = matched_eth_type(&self.matching.value, &self.matching.mask);
        match (
            kind,
            matched_proto(&self.matching.value, &self.matching.mask),
        ) {
            (Some(EtherType::IPV4), Some(IpProto::ICMP)) => {
                self.field("icmp_type", FieldId::Icmpv4Type)?;
                self.field("icmp_code", FieldId::Icmpv4Code)
            }
            (Some(EtherType::IPV6), Some(IpProto::ICMPV6)) => {
                self.field("icmp_type", FieldId::Icmpv6Type)?;
                self.field("icmp_code", FieldId::Icmpv6Code)?;
                self.field("nd_target", FieldId::NdTarget)?;
                self.field("nd_sll", FieldId::NdSll)?;
                self.field("nd_tll", FieldId::NdTll)?;
                self.field("nd_reserved", FieldId::NdReserved)?;
                self.field("nd_options_type", FieldId::NdOptionsType)
            }
            _ => {
                self.field("tp_src", FieldId::TcpSrc)?;
                self.field("tp_dst", FieldId::TcpDst)?;
                self.field("tcp_flags", FieldId::TcpFlags)
            }
        }
    }
}
