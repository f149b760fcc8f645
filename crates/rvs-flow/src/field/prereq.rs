//! What must already match for a field to mean anything (OpenFlow 1.5 section 7.2.3.6, `nicira-ext.h`).

use std::fmt;

use rvs_packet::{EtherType, IpProto};

use super::{Field, FieldId};
use crate::key::{Mask, PipelineKey, FRAG_LATER, TCI_PRESENT};

/// A condition on the other fields of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prereq {
    None,
    /// Not a packet of another type than Ethernet.
    Ethernet,
    /// A VLAN tag is matched to be there.
    Vlan,
    Pbb,
    /// MPLS unicast or multicast.
    Mpls,
    /// ARP or RARP.
    Arp,
    Ipv4,
    Ipv6,
    /// IPv4 or IPv6.
    Ip,
    Tcp,
    Udp,
    Sctp,
    Icmpv4,
    Icmpv6,
    /// Neighbour solicitation or advertisement.
    Nd,
    NdSolicit,
    NdAdvert,
}

/// A field is matched or written without what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} needs {needs}, which is not matched")]
pub struct PrereqError {
    pub field: FieldId,
    pub needs: &'static str,
}

const ND_SOLICIT: u16 = 135;
const ND_ADVERT: u16 = 136;

impl Prereq {
    /// The first condition that a match of `value` under `mask` does not fulfil, as the text that would fulfil it.
    pub fn missing(self, value: &PipelineKey, mask: &Mask<PipelineKey>) -> Option<&'static str> {
        let m = Matched { value, mask };
        match self {
            Self::None => None,
            Self::Ethernet => m.need_ethernet(),
            Self::Vlan => m.need_vlan(),
            Self::Pbb => m.need_type(&[EtherType::PBB], "eth_type=0x88e7"),
            Self::Mpls => m.need_type(
                &[EtherType::MPLS, EtherType::MPLS_MC],
                "eth_type=0x8847 or 0x8848",
            ),
            Self::Arp => m.need_type(
                &[EtherType::ARP, EtherType::RARP],
                "eth_type=0x0806 or 0x8035",
            ),
            Self::Ipv4 => m.need_ipv4(),
            Self::Ipv6 => m.need_ipv6(),
            Self::Ip => m.need_ip(),
            Self::Tcp => m
                .need_ip()
                .or_else(|| m.need_proto(IpProto::TCP, "ip_proto=6")),
            Self::Udp => m
                .need_ip()
                .or_else(|| m.need_proto(IpProto::UDP, "ip_proto=17")),
            Self::Sctp => m
                .need_ip()
                .or_else(|| m.need_proto(IpProto::SCTP, "ip_proto=132")),
            Self::Icmpv4 => m
                .need_ipv4()
                .or_else(|| m.need_proto(IpProto::ICMP, "ip_proto=1")),
            Self::Icmpv6 => m.need_icmpv6(),
            Self::Nd => m.need_nd(&[ND_SOLICIT, ND_ADVERT], "icmpv6_type=135 or 136"),
            Self::NdSolicit => m.need_nd(&[ND_SOLICIT], "icmpv6_type=135"),
            Self::NdAdvert => m.need_nd(&[ND_ADVERT], "icmpv6_type=136"),
        }
    }

    /// The fields on which this condition depends.
    pub const fn fields(self) -> &'static [FieldId] {
        use FieldId::{EthType, Icmpv6Code, Icmpv6Type, IpFrag, IpProto};
        match self {
            Self::None | Self::Ethernet => &[],
            Self::Vlan => &[],
            Self::Pbb | Self::Mpls | Self::Arp | Self::Ipv4 | Self::Ipv6 | Self::Ip => &[EthType],
            Self::Tcp | Self::Udp | Self::Sctp | Self::Icmpv4 | Self::Icmpv6 => {
                &[EthType, IpProto, IpFrag]
            }
            Self::Nd | Self::NdSolicit | Self::NdAdvert => {
                &[EthType, IpProto, IpFrag, Icmpv6Type, Icmpv6Code]
            }
        }
    }
}

impl Field {
    /// Checks that a match of `value` under `mask` fulfils the field's prerequisites.
    ///
    /// # Errors
    /// Names the field and the first thing that it lacks.
    pub fn check_prereq(
        &self,
        value: &PipelineKey,
        mask: &Mask<PipelineKey>,
    ) -> Result<(), PrereqError> {
        match self.prereq.missing(value, mask) {
            None => Ok(()),
            Some(needs) => Err(PrereqError {
                field: self.id,
                needs,
            }),
        }
    }

    /// Un-wildcards the field and those that its prerequisites name.
    pub fn unwildcard_with_prereqs(&self, mask: &mut Mask<PipelineKey>) {
        self.unwildcard(mask);
        for id in self.prereq.fields() {
            Self::of(*id).unwildcard(mask);
        }
    }
}

/// The Ethernet type that a match of `value` under `mask` fixes, by `eth_type` or by `packet_type`.
pub(crate) fn matched_eth_type(value: &PipelineKey, mask: &Mask<PipelineKey>) -> Option<EtherType> {
    let packet_type = value.packet_type.get();
    if mask.0.packet_type.get() == u32::MAX && packet_type >> 16 == 1 {
        return Some(EtherType(packet_type as u16));
    }
    (mask.0.flow.dl_type.get() == u16::MAX).then(|| EtherType(value.flow.dl_type.get()))
}

/// The IP protocol (or ARP operation) that a match of `value` under `mask` fixes.
pub(crate) fn matched_proto(value: &PipelineKey, mask: &Mask<PipelineKey>) -> Option<IpProto> {
    (mask.0.flow.nw_proto == u8::MAX).then_some(IpProto(value.flow.nw_proto))
}

struct Matched<'a> {
    value: &'a PipelineKey,
    mask: &'a Mask<PipelineKey>,
}

type Missing = Option<&'static str>;

impl Matched<'_> {
    fn need_type(&self, types: &[EtherType], text: &'static str) -> Missing {
        match matched_eth_type(self.value, self.mask) {
            Some(t) if types.contains(&t) => None,
            _ => Some(text),
        }
    }

    fn need_ethernet(&self) -> Missing {
        let packet_type = self.value.packet_type.get() & self.mask.0.packet_type.get();
        (packet_type != 0).then_some("packet_type=(0,0)")
    }

    fn need_vlan(&self) -> Missing {
        let tci = self.value.flow.vlan0_tci.get() & self.mask.0.flow.vlan0_tci.get();
        (tci & TCI_PRESENT == 0).then_some("vlan_vid=0x1000/0x1000")
    }

    fn need_ipv4(&self) -> Missing {
        self.need_type(&[EtherType::IPV4], "eth_type=0x0800")
    }

    fn need_ipv6(&self) -> Missing {
        self.need_type(&[EtherType::IPV6], "eth_type=0x86dd")
    }

    fn need_ip(&self) -> Missing {
        self.need_type(
            &[EtherType::IPV4, EtherType::IPV6],
            "eth_type=0x0800 or 0x86dd",
        )
    }

    /// The protocol, in a packet that is not matched to be a later fragment.
    fn need_proto(&self, proto: IpProto, text: &'static str) -> Missing {
        if matched_proto(self.value, self.mask) != Some(proto) {
            return Some(text);
        }
        let frag = self.value.flow.nw_frag & self.mask.0.flow.nw_frag;
        (frag & FRAG_LATER != 0).then_some("ip_frag=not_later")
    }

    fn need_icmpv6(&self) -> Missing {
        self.need_ipv6()
            .or_else(|| self.need_proto(IpProto::ICMPV6, "ip_proto=58"))
    }

    fn need_nd(&self, types: &[u16], text: &'static str) -> Missing {
        self.need_icmpv6().or_else(|| {
            let (v, m) = (&self.value.flow, &self.mask.0.flow);
            let kind = (m.tp_src.get() & 0xff == 0xff).then(|| v.tp_src.get());
            match kind {
                Some(k) if types.contains(&k) => {
                    let code = v.tp_dst.get() & m.tp_dst.get();
                    (code != 0).then_some("icmpv6_code=0")
                }
                _ => Some(text),
            }
        })
    }
}

impl fmt::Display for Prereq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Ethernet => "Ethernet",
            Self::Vlan => "VLAN VID",
            Self::Pbb => "PBB",
            Self::Mpls => "MPLS",
            Self::Arp => "ARP",
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
            Self::Ip => "IPv4/IPv6",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Icmpv4 => "ICMPv4",
            Self::Icmpv6 => "ICMPv6",
            Self::Nd => "ND",
            Self::NdSolicit => "ND solicit",
            Self::NdAdvert => "ND advert",
        })
    }
}
