//! The rows of the registry. Numbers and names are those of OpenFlow 1.0-1.5, of `nicira-ext.h` and of the Open vSwitch
//! manual page ovs-fields(7).

use std::mem::offset_of;

use super::prereq::Prereq;
use super::{ones, version, Field, Format, Layout, OxmName, OxmType};
use crate::key::{PipelineKey, Present};

use Format::{Decimal, Ethernet, Frag, Hexadecimal, Ipv4, Ipv6, PacketType, Port, TcpFlags};

/// Every field, in the order of [`FIELDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FieldId {
    /// Input port in the 16-bit numbering of OpenFlow 1.0.
    InPort,
    /// Input port in the 32-bit numbering of OpenFlow 1.1 and later.
    InPortOxm,
    /// The physical port below the input port; the same here.
    InPhyPort,
    ActsetOutput,
    PacketType,
    PktMark,
    /// Id of a conjunctive match; only ever matched.
    ConjId,
    TunId,
    Metadata,
    Reg0,
    Reg1,
    Reg2,
    Reg3,
    Reg4,
    Reg5,
    Reg6,
    Reg7,
    Reg8,
    Reg9,
    Reg10,
    Reg11,
    Reg12,
    Reg13,
    Reg14,
    Reg15,
    Xreg0,
    Xreg1,
    Xreg2,
    Xreg3,
    Xreg4,
    Xreg5,
    Xreg6,
    Xreg7,
    Xxreg0,
    Xxreg1,
    Xxreg2,
    Xxreg3,
    EthSrc,
    EthDst,
    EthType,
    /// The whole tag with the presence bit in DEI's place (`NXM_OF_VLAN_TCI`).
    VlanTci,
    /// VID of OpenFlow 1.0; matching 0xffff means untagged.
    DlVlan,
    /// Priority of OpenFlow 1.0.
    DlVlanPcp,
    /// VID with `OFPVID_PRESENT` (OpenFlow 1.2).
    VlanVid,
    VlanPcp,
    PbbIsid,
    /// 1: the customer's addresses are those of the service (OpenFlow 1.4).
    PbbUca,
    /// Label of the outermost entry.
    MplsLabel,
    MplsTc,
    MplsBos,
    MplsTtl,
    Ipv4Src,
    Ipv4Dst,
    Ipv6Src,
    Ipv6Dst,
    Ipv6Label,
    Ipv6Exthdr,
    IpProto,
    /// DSCP in the upper six bits (OpenFlow 1.0).
    NwTos,
    /// DSCP right-aligned (OpenFlow 1.1).
    IpDscp,
    IpEcn,
    IpTtl,
    /// [`crate::key::FRAG_ANY`] and [`crate::key::FRAG_LATER`].
    IpFrag,
    /// Low 8 bits of the operation.
    ArpOp,
    ArpSpa,
    ArpTpa,
    ArpSha,
    ArpTha,
    TcpSrc,
    TcpDst,
    /// 12 bits.
    TcpFlags,
    UdpSrc,
    UdpDst,
    SctpSrc,
    SctpDst,
    Icmpv4Type,
    Icmpv4Code,
    Icmpv6Type,
    Icmpv6Code,
    NdTarget,
    NdSll,
    NdTll,
    NdReserved,
    NdOptionsType,
}

impl FieldId {
    /// `reg0` to `reg15`.
    pub const fn reg(n: u8) -> Option<Self> {
        Self::nth(Self::Reg0, n, 16)
    }

    /// `xreg0` to `xreg7`.
    pub const fn xreg(n: u8) -> Option<Self> {
        Self::nth(Self::Xreg0, n, 8)
    }

    /// `xxreg0` to `xxreg3`.
    pub const fn xxreg(n: u8) -> Option<Self> {
        Self::nth(Self::Xxreg0, n, 4)
    }

    const fn nth(first: Self, n: u8, count: u8) -> Option<Self> {
        if n < count {
            Some(FIELDS[first as usize + n as usize].id)
        } else {
            None
        }
    }
}

const COUNT: usize = FieldId::NdOptionsType as usize + 1;

/// The registry, indexed by [`FieldId`].
pub static FIELDS: [Field; COUNT] = ROWS;

macro_rules! at {
    ($($path:tt)+) => {
        offset_of!(PipelineKey, $($path)+) as u16
    };
}

const fn wire(byte: u16, len: u8) -> Layout {
    part(byte, len, ones(len * 8), 0)
}

const fn part(byte: u16, len: u8, mask: u128, shift: u8) -> Layout {
    Layout {
        byte,
        len,
        mask,
        shift,
        native: false,
    }
}

const fn native(byte: u16) -> Layout {
    Layout {
        byte,
        len: 4,
        mask: ones(32),
        shift: 0,
        native: true,
    }
}

const fn row(id: FieldId, name: &'static str, layout: Layout, bits: u8, format: Format) -> Field {
    Field {
        id,
        name,
        aliases: &[],
        layout,
        bits,
        wire_len: bits.div_ceil(8),
        match_bits: bits,
        maskable: true,
        writable: true,
        prereq: Prereq::None,
        present: Present::NONE,
        format,
        oxms: &[],
    }
}

impl Field {
    const fn aka(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Not maskable.
    const fn exact(mut self) -> Self {
        self.maskable = false;
        self
    }

    const fn read_only(mut self) -> Self {
        self.writable = false;
        self
    }

    const fn needs(mut self, prereq: Prereq, present: Present) -> Self {
        self.prereq = prereq;
        self.present = present;
        self
    }

    const fn octets(mut self, wire_len: u8) -> Self {
        self.wire_len = wire_len;
        self
    }

    const fn oxm(mut self, oxms: &'static [OxmName]) -> Self {
        self.oxms = oxms;
        self
    }
}

const fn name(class: u16, field: u8, experimenter: u32, name: &'static str, since: u8) -> OxmName {
    OxmName {
        oxm: OxmType {
            class,
            field,
            experimenter,
        },
        name,
        since,
    }
}

const fn nxm(field: u8, text: &'static str) -> OxmName {
    name(OxmType::NXM_OF, field, 0, text, version::OF10)
}

const fn nx(field: u8, text: &'static str) -> OxmName {
    name(OxmType::NXM_NX, field, 0, text, version::OF10)
}

const fn oxm(field: u8, text: &'static str, since: u8) -> OxmName {
    name(OxmType::BASIC, field, 0, text, since)
}

const fn onf(field: u8, text: &'static str) -> OxmName {
    name(
        OxmType::EXPERIMENTER,
        field,
        OxmType::ONF,
        text,
        version::OF13,
    )
}

const fn ericsson(field: u8, text: &'static str) -> OxmName {
    name(OxmType::ERICSSON, field, 0, text, version::OF10)
}

use version::{OF12, OF13, OF14, OF15};
use FieldId as Id;
use Prereq as P;

const L3: Present = Present::IP;

// One row, one field: a table reads better unwrapped.
#[rustfmt::skip]
const ROWS: [Field; COUNT] = [
    row(Id::InPort, "in_port", native(at!(of_port)), 16, Port).exact()
        .oxm(&[nxm(0, "NXM_OF_IN_PORT")]),
    row(Id::InPortOxm, "in_port_oxm", native(at!(of_port)), 32, Port).exact()
        .oxm(&[oxm(0, "OXM_OF_IN_PORT", OF12)]),
    row(Id::InPhyPort, "in_phy_port", native(at!(of_port)), 32, Port).exact().read_only()
        .oxm(&[oxm(1, "OXM_OF_IN_PHY_PORT", OF12)]),
    row(Id::ActsetOutput, "actset_output", native(at!(actset_output)), 32, Port).exact()
        .read_only()
        .oxm(&[oxm(43, "OXM_OF_ACTSET_OUTPUT", OF15), onf(43, "ONFOXM_ET_ACTSET_OUTPUT")]),
    row(Id::PacketType, "packet_type", wire(at!(packet_type), 4), 32, PacketType).exact()
        .read_only().oxm(&[oxm(44, "OXM_OF_PACKET_TYPE", OF15)]),
    row(Id::PktMark, "pkt_mark", native(at!(flow.pkt_mark)), 32, Hexadecimal)
        .oxm(&[nx(33, "NXM_NX_PKT_MARK")]),
    row(Id::ConjId, "conj_id", native(at!(conj_id)), 32, Decimal).exact().read_only()
        .oxm(&[nx(37, "NXM_NX_CONJ_ID")]),
    row(Id::TunId, "tun_id", wire(at!(tun_id), 8), 64, Hexadecimal).aka(&["tunnel_id"])
        .oxm(&[oxm(38, "OXM_OF_TUNNEL_ID", OF13), nx(16, "NXM_NX_TUN_ID")]),
    row(Id::Metadata, "metadata", wire(at!(metadata), 8), 64, Hexadecimal)
        .oxm(&[oxm(2, "OXM_OF_METADATA", OF12)]),
    reg(Id::Reg0, "reg0", 0, 4, &[nx(0, "NXM_NX_REG0")]),
    reg(Id::Reg1, "reg1", 1, 4, &[nx(1, "NXM_NX_REG1")]),
    reg(Id::Reg2, "reg2", 2, 4, &[nx(2, "NXM_NX_REG2")]),
    reg(Id::Reg3, "reg3", 3, 4, &[nx(3, "NXM_NX_REG3")]),
    reg(Id::Reg4, "reg4", 4, 4, &[nx(4, "NXM_NX_REG4")]),
    reg(Id::Reg5, "reg5", 5, 4, &[nx(5, "NXM_NX_REG5")]),
    reg(Id::Reg6, "reg6", 6, 4, &[nx(6, "NXM_NX_REG6")]),
    reg(Id::Reg7, "reg7", 7, 4, &[nx(7, "NXM_NX_REG7")]),
    reg(Id::Reg8, "reg8", 8, 4, &[nx(8, "NXM_NX_REG8")]),
    reg(Id::Reg9, "reg9", 9, 4, &[nx(9, "NXM_NX_REG9")]),
    reg(Id::Reg10, "reg10", 10, 4, &[nx(10, "NXM_NX_REG10")]),
    reg(Id::Reg11, "reg11", 11, 4, &[nx(11, "NXM_NX_REG11")]),
    reg(Id::Reg12, "reg12", 12, 4, &[nx(12, "NXM_NX_REG12")]),
    reg(Id::Reg13, "reg13", 13, 4, &[nx(13, "NXM_NX_REG13")]),
    reg(Id::Reg14, "reg14", 14, 4, &[nx(14, "NXM_NX_REG14")]),
    reg(Id::Reg15, "reg15", 15, 4, &[nx(15, "NXM_NX_REG15")]),
    reg(Id::Xreg0, "xreg0", 0, 8, &[packet_reg(0, "OXM_OF_PKT_REG0")]),
    reg(Id::Xreg1, "xreg1", 2, 8, &[packet_reg(1, "OXM_OF_PKT_REG1")]),
    reg(Id::Xreg2, "xreg2", 4, 8, &[packet_reg(2, "OXM_OF_PKT_REG2")]),
    reg(Id::Xreg3, "xreg3", 6, 8, &[packet_reg(3, "OXM_OF_PKT_REG3")]),
    reg(Id::Xreg4, "xreg4", 8, 8, &[packet_reg(4, "OXM_OF_PKT_REG4")]),
    reg(Id::Xreg5, "xreg5", 10, 8, &[packet_reg(5, "OXM_OF_PKT_REG5")]),
    reg(Id::Xreg6, "xreg6", 12, 8, &[packet_reg(6, "OXM_OF_PKT_REG6")]),
    reg(Id::Xreg7, "xreg7", 14, 8, &[packet_reg(7, "OXM_OF_PKT_REG7")]),
    reg(Id::Xxreg0, "xxreg0", 0, 16, &[nx(111, "NXM_NX_XXREG0")]),
    reg(Id::Xxreg1, "xxreg1", 4, 16, &[nx(112, "NXM_NX_XXREG1")]),
    reg(Id::Xxreg2, "xxreg2", 8, 16, &[nx(113, "NXM_NX_XXREG2")]),
    reg(Id::Xxreg3, "xxreg3", 12, 16, &[nx(114, "NXM_NX_XXREG3")]),
    row(Id::EthSrc, "eth_src", wire(at!(flow.dl_src), 6), 48, Ethernet).aka(&["dl_src"])
        .needs(P::Ethernet, Present::NONE)
        .oxm(&[oxm(4, "OXM_OF_ETH_SRC", OF12), nxm(2, "NXM_OF_ETH_SRC")]),
    row(Id::EthDst, "eth_dst", wire(at!(flow.dl_dst), 6), 48, Ethernet).aka(&["dl_dst"])
        .needs(P::Ethernet, Present::NONE)
        .oxm(&[oxm(3, "OXM_OF_ETH_DST", OF12), nxm(1, "NXM_OF_ETH_DST")]),
    row(Id::EthType, "eth_type", wire(at!(flow.dl_type), 2), 16, Hexadecimal).aka(&["dl_type"])
        .exact().read_only().needs(P::Ethernet, Present::NONE)
        .oxm(&[oxm(5, "OXM_OF_ETH_TYPE", OF12), nxm(3, "NXM_OF_ETH_TYPE")]),
    row(Id::VlanTci, "vlan_tci", wire(at!(flow.vlan0_tci), 2), 16, Hexadecimal)
        .needs(P::Ethernet, Present::NONE).oxm(&[nxm(4, "NXM_OF_VLAN_TCI")]),
    row(Id::DlVlan, "dl_vlan", part(at!(flow.vlan0_tci), 2, 0x0fff, 0), 12, Decimal).exact()
        .needs(P::Ethernet, Present::NONE),
    row(Id::DlVlanPcp, "dl_vlan_pcp", part(at!(flow.vlan0_tci), 2, 0xe000, 13), 3, Decimal).exact()
        .needs(P::Ethernet, Present::NONE),
    Field { match_bits: 13,..row(Id::VlanVid, "vlan_vid", part(at!(flow.vlan0_tci), 2, 0x1fff, 0), 12, Decimal)
        .needs(P::Ethernet, Present::NONE).oxm(&[oxm(6, "OXM_OF_VLAN_VID", OF12)]) },
    row(Id::VlanPcp, "vlan_pcp", part(at!(flow.vlan0_tci), 2, 0xe000, 13), 3, Decimal).exact()
        .needs(P::Vlan, Present::NONE).oxm(&[oxm(7, "OXM_OF_VLAN_PCP", OF12)]),
    row(Id::PbbIsid, "pbb_isid", part(at!(flow.pbb_isid), 4, 0x00ff_ffff, 0), 24, Hexadecimal)
        .needs(P::Pbb, Present::PBB).oxm(&[oxm(37, "OXM_OF_PBB_ISID", OF13)]),
    row(Id::PbbUca, "pbb_uca", part(at!(flow.pbb_isid), 4, 0x0800_0000, 27), 1, Decimal).exact()
        .needs(P::Pbb, Present::PBB).oxm(&[oxm(41, "OXM_OF_PBB_UCA", OF14)]),
    row(Id::MplsLabel, "mpls_label", part(at!(flow.mpls_lse), 4, 0xffff_f000, 12), 20, Decimal)
        .exact().octets(4).needs(P::Mpls, Present::MPLS0)
        .oxm(&[oxm(34, "OXM_OF_MPLS_LABEL", OF12)]),
    row(Id::MplsTc, "mpls_tc", part(at!(flow.mpls_lse), 4, 0xe00, 9), 3, Decimal).exact()
        .needs(P::Mpls, Present::MPLS0).oxm(&[oxm(35, "OXM_OF_MPLS_TC", OF12)]),
    row(Id::MplsBos, "mpls_bos", part(at!(flow.mpls_lse), 4, 0x100, 8), 1, Decimal).exact()
        .read_only().needs(P::Mpls, Present::MPLS0).oxm(&[oxm(36, "OXM_OF_MPLS_BOS", OF13)]),
    row(Id::MplsTtl, "mpls_ttl", part(at!(flow.mpls_lse), 4, 0xff, 0), 8, Decimal).exact()
        .needs(P::Mpls, Present::MPLS0).oxm(&[nx(30, "NXM_NX_MPLS_TTL")]),
    row(Id::Ipv4Src, "ip_src", wire(at!(flow.nw_src), 4), 32, Ipv4).aka(&["nw_src"])
        .needs(P::Ipv4, Present::IPV4)
        .oxm(&[oxm(11, "OXM_OF_IPV4_SRC", OF12), nxm(7, "NXM_OF_IP_SRC")]),
    row(Id::Ipv4Dst, "ip_dst", wire(at!(flow.nw_dst), 4), 32, Ipv4).aka(&["nw_dst"])
        .needs(P::Ipv4, Present::IPV4)
        .oxm(&[oxm(12, "OXM_OF_IPV4_DST", OF12), nxm(8, "NXM_OF_IP_DST")]),
    row(Id::Ipv6Src, "ipv6_src", wire(at!(flow.ipv6_src), 16), 128, Ipv6)
        .needs(P::Ipv6, Present::IPV6)
        .oxm(&[oxm(26, "OXM_OF_IPV6_SRC", OF12), nx(19, "NXM_NX_IPV6_SRC")]),
    row(Id::Ipv6Dst, "ipv6_dst", wire(at!(flow.ipv6_dst), 16), 128, Ipv6)
        .needs(P::Ipv6, Present::IPV6)
        .oxm(&[oxm(27, "OXM_OF_IPV6_DST", OF12), nx(20, "NXM_NX_IPV6_DST")]),
    row(Id::Ipv6Label, "ipv6_label", part(at!(flow.ipv6_label), 4, 0xf_ffff, 0), 20, Hexadecimal)
        .octets(4).needs(P::Ipv6, Present::IPV6)
        .oxm(&[oxm(28, "OXM_OF_IPV6_FLABEL", OF12), nx(27, "NXM_NX_IPV6_LABEL")]),
    row(Id::Ipv6Exthdr, "ipv6_exthdr", part(at!(flow.ipv6_exthdr), 2, 0x1ff, 0), 9, Hexadecimal)
        .read_only().needs(P::Ipv6, Present::IPV6).oxm(&[oxm(39, "OXM_OF_IPV6_EXTHDR", OF13)]),
    row(Id::IpProto, "nw_proto", wire(at!(flow.nw_proto), 1), 8, Decimal).aka(&["ip_proto"])
        .exact().read_only().needs(P::Ip, L3)
        .oxm(&[oxm(10, "OXM_OF_IP_PROTO", OF12), nxm(6, "NXM_OF_IP_PROTO")]),
    row(Id::NwTos, "nw_tos", part(at!(flow.nw_tos), 1, 0xfc, 0), 8, Decimal).exact()
        .needs(P::Ip, L3).oxm(&[nxm(5, "NXM_OF_IP_TOS")]),
    row(Id::IpDscp, "ip_dscp", part(at!(flow.nw_tos), 1, 0xfc, 2), 6, Decimal).exact()
        .needs(P::Ip, L3).oxm(&[oxm(8, "OXM_OF_IP_DSCP", OF12)]),
    row(Id::IpEcn, "nw_ecn", part(at!(flow.nw_tos), 1, 0x03, 0), 2, Decimal).aka(&["ip_ecn"])
        .exact().needs(P::Ip, L3).oxm(&[oxm(9, "OXM_OF_IP_ECN", OF12), nx(28, "NXM_NX_IP_ECN")]),
    row(Id::IpTtl, "nw_ttl", wire(at!(flow.nw_ttl), 1), 8, Decimal).exact().needs(P::Ip, L3)
        .oxm(&[nx(29, "NXM_NX_IP_TTL")]),
    row(Id::IpFrag, "ip_frag", part(at!(flow.nw_frag), 1, 3, 0), 2, Frag).aka(&["nw_frag"])
        .read_only().needs(P::Ip, L3).oxm(&[nx(26, "NXM_NX_IP_FRAG")]),
    Field { match_bits: 8,..row(Id::ArpOp, "arp_op", wire(at!(flow.nw_proto), 1), 16, Decimal).exact()
        .needs(P::Arp, Present::ARP)
        .oxm(&[oxm(21, "OXM_OF_ARP_OP", OF12), nxm(15, "NXM_OF_ARP_OP")])},
    row(Id::ArpSpa, "arp_spa", wire(at!(flow.nw_src), 4), 32, Ipv4).needs(P::Arp, Present::ARP)
        .oxm(&[oxm(22, "OXM_OF_ARP_SPA", OF12), nxm(16, "NXM_OF_ARP_SPA")]),
    row(Id::ArpTpa, "arp_tpa", wire(at!(flow.nw_dst), 4), 32, Ipv4).needs(P::Arp, Present::ARP)
        .oxm(&[oxm(23, "OXM_OF_ARP_TPA", OF12), nxm(17, "NXM_OF_ARP_TPA")]),
    row(Id::ArpSha, "arp_sha", wire(at!(flow.arp_sha), 6), 48, Ethernet)
        .needs(P::Arp, Present::ARP)
        .oxm(&[oxm(24, "OXM_OF_ARP_SHA", OF12), nx(17, "NXM_NX_ARP_SHA")]),
    row(Id::ArpTha, "arp_tha", wire(at!(flow.arp_tha), 6), 48, Ethernet)
        .needs(P::Arp, Present::ARP)
        .oxm(&[oxm(25, "OXM_OF_ARP_THA", OF12), nx(18, "NXM_NX_ARP_THA")]),
    row(Id::TcpSrc, "tcp_src", wire(at!(flow.tp_src), 2), 16, Decimal).aka(&["tp_src"])
        .needs(P::Tcp, Present::TCP)
        .oxm(&[oxm(13, "OXM_OF_TCP_SRC", OF12), nxm(9, "NXM_OF_TCP_SRC")]),
    row(Id::TcpDst, "tcp_dst", wire(at!(flow.tp_dst), 2), 16, Decimal).aka(&["tp_dst"])
        .needs(P::Tcp, Present::TCP)
        .oxm(&[oxm(14, "OXM_OF_TCP_DST", OF12), nxm(10, "NXM_OF_TCP_DST")]),
    row(Id::TcpFlags, "tcp_flags", part(at!(flow.tcp_flags), 2, 0xfff, 0), 12, TcpFlags)
        .read_only().needs(P::Tcp, Present::TCP)
        .oxm(&[oxm(42, "OXM_OF_TCP_FLAGS", OF15), onf(42, "ONFOXM_ET_TCP_FLAGS"), nx(34, "NXM_NX_TCP_FLAGS")]),
    row(Id::UdpSrc, "udp_src", wire(at!(flow.tp_src), 2), 16, Decimal).needs(P::Udp, Present::UDP)
        .oxm(&[oxm(15, "OXM_OF_UDP_SRC", OF12), nxm(11, "NXM_OF_UDP_SRC")]),
    row(Id::UdpDst, "udp_dst", wire(at!(flow.tp_dst), 2), 16, Decimal).needs(P::Udp, Present::UDP)
        .oxm(&[oxm(16, "OXM_OF_UDP_DST", OF12), nxm(12, "NXM_OF_UDP_DST")]),
    row(Id::SctpSrc, "sctp_src", wire(at!(flow.tp_src), 2), 16, Decimal)
        .needs(P::Sctp, Present::SCTP).oxm(&[oxm(17, "OXM_OF_SCTP_SRC", OF12)]),
    row(Id::SctpDst, "sctp_dst", wire(at!(flow.tp_dst), 2), 16, Decimal)
        .needs(P::Sctp, Present::SCTP).oxm(&[oxm(18, "OXM_OF_SCTP_DST", OF12)]),
    row(Id::Icmpv4Type, "icmp_type", part(at!(flow.tp_src), 2, 0xff, 0), 8, Decimal).exact()
        .needs(P::Icmpv4, Present::ICMP)
        .oxm(&[oxm(19, "OXM_OF_ICMPV4_TYPE", OF12), nxm(13, "NXM_OF_ICMP_TYPE")]),
    row(Id::Icmpv4Code, "icmp_code", part(at!(flow.tp_dst), 2, 0xff, 0), 8, Decimal).exact()
        .needs(P::Icmpv4, Present::ICMP)
        .oxm(&[oxm(20, "OXM_OF_ICMPV4_CODE", OF12), nxm(14, "NXM_OF_ICMP_CODE")]),
    row(Id::Icmpv6Type, "icmpv6_type", part(at!(flow.tp_src), 2, 0xff, 0), 8, Decimal).exact()
        .needs(P::Icmpv6, Present::ICMP)
        .oxm(&[oxm(29, "OXM_OF_ICMPV6_TYPE", OF12), nx(21, "NXM_NX_ICMPV6_TYPE")]),
    row(Id::Icmpv6Code, "icmpv6_code", part(at!(flow.tp_dst), 2, 0xff, 0), 8, Decimal).exact()
        .needs(P::Icmpv6, Present::ICMP)
        .oxm(&[oxm(30, "OXM_OF_ICMPV6_CODE", OF12), nx(22, "NXM_NX_ICMPV6_CODE")]),
    row(Id::NdTarget, "nd_target", wire(at!(flow.nd_target), 16), 128, Ipv6)
        .needs(P::Nd, Present::ND)
        .oxm(&[oxm(31, "OXM_OF_IPV6_ND_TARGET", OF12), nx(23, "NXM_NX_ND_TARGET")]),
    row(Id::NdSll, "nd_sll", wire(at!(flow.arp_sha), 6), 48, Ethernet)
        .needs(P::NdSolicit, Present::ND_SLL)
        .oxm(&[oxm(32, "OXM_OF_IPV6_ND_SLL", OF12), nx(24, "NXM_NX_ND_SLL")]),
    row(Id::NdTll, "nd_tll", wire(at!(flow.arp_tha), 6), 48, Ethernet)
        .needs(P::NdAdvert, Present::ND_TLL)
        .oxm(&[oxm(33, "OXM_OF_IPV6_ND_TLL", OF12), nx(25, "NXM_NX_ND_TLL")]),
    row(Id::NdReserved, "nd_reserved", wire(at!(flow.nd_reserved), 4), 32, Decimal).exact()
        .needs(P::Nd, Present::ND).oxm(&[ericsson(1, "ERICOXM_OF_ICMPV6_ND_RESERVED")]),
    row(Id::NdOptionsType, "nd_options_type", wire(at!(flow.nd_options_type), 1), 8, Decimal)
        .exact().needs(P::Nd, Present::ND).oxm(&[ericsson(2, "ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE")]),
];

/// A register of `len` octets that starts at `reg<first>`.
const fn reg(
    id: FieldId,
    name: &'static str,
    first: u16,
    len: u8,
    oxms: &'static [OxmName],
) -> Field {
    row(
        id,
        name,
        wire(at!(regs) + first * 4, len),
        len * 8,
        Hexadecimal,
    )
    .oxm(oxms)
}

const fn packet_reg(field: u8, text: &'static str) -> OxmName {
    name(OxmType::PACKET_REGS, field, 0, text, version::OF13)
}

/// Field numbers of one class to rows; 0xff = none.
type ClassIndex = [u8; 128];

const fn index_of(class: u16, experimenter: u32) -> ClassIndex {
    let mut index = [0xff; 128];
    let mut i = 0;
    while i < COUNT {
        let oxms = ROWS[i].oxms;
        let mut j = 0;
        while j < oxms.len() {
            let o = oxms[j].oxm;
            if o.class == class && o.experimenter == experimenter {
                index[o.field as usize] = i as u8;
            }
            j += 1;
        }
        i += 1;
    }
    index
}

static NXM_OF: ClassIndex = index_of(OxmType::NXM_OF, 0);
static NXM_NX: ClassIndex = index_of(OxmType::NXM_NX, 0);
static ERICSSON: ClassIndex = index_of(OxmType::ERICSSON, 0);
static BASIC: ClassIndex = index_of(OxmType::BASIC, 0);
static PACKET_REGS: ClassIndex = index_of(OxmType::PACKET_REGS, 0);
static ONF: ClassIndex = index_of(OxmType::EXPERIMENTER, OxmType::ONF);

pub(super) fn by_oxm(oxm: OxmType) -> Option<FieldId> {
    let index = match (oxm.class, oxm.experimenter) {
        (OxmType::NXM_OF, 0) => &NXM_OF,
        (OxmType::NXM_NX, 0) => &NXM_NX,
        (OxmType::ERICSSON, 0) => &ERICSSON,
        (OxmType::BASIC, 0) => &BASIC,
        (OxmType::PACKET_REGS, 0) => &PACKET_REGS,
        (OxmType::EXPERIMENTER, OxmType::ONF) => &ONF,
        _ => return None,
    };
    let row = *index.get(usize::from(oxm.field))?;
    FIELDS.get(usize::from(row)).map(|f| f.id)
}
