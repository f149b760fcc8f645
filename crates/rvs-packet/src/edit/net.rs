//! Fields of ARP, IPv4 and IPv6.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::edit::{odd_sum, Covered, Edit};
use crate::layout::Net;
use crate::view::{Arp, Ipv4, Ipv6};
use crate::{IpProto, MacAddr};

impl Edit<'_> {
    pub fn set_arp_op(&mut self, value: u16, mask: u16) -> bool {
        self.arp(Arp::OP, value.to_be_bytes(), mask.to_be_bytes())
    }

    pub fn set_arp_sha(&mut self, value: MacAddr, mask: MacAddr) -> bool {
        self.arp(Arp::SHA, value.0, mask.0)
    }

    pub fn set_arp_spa(&mut self, value: Ipv4Addr, mask: Ipv4Addr) -> bool {
        self.arp(Arp::SPA, value.octets(), mask.octets())
    }

    pub fn set_arp_tha(&mut self, value: MacAddr, mask: MacAddr) -> bool {
        self.arp(Arp::THA, value.0, mask.0)
    }

    pub fn set_arp_tpa(&mut self, value: Ipv4Addr, mask: Ipv4Addr) -> bool {
        self.arp(Arp::TPA, value.octets(), mask.octets())
    }

    pub fn set_ipv4_src(&mut self, value: Ipv4Addr, mask: Ipv4Addr) -> bool {
        let c = Covered::Addresses;
        self.ip(Net::Ipv4, Ipv4::SRC, value.octets(), mask.octets(), c)
    }

    pub fn set_ipv4_dst(&mut self, value: Ipv4Addr, mask: Ipv4Addr) -> bool {
        let c = Covered::Addresses;
        self.ip(Net::Ipv4, Ipv4::DST, value.octets(), mask.octets(), c)
    }

    /// DSCP (upper 6 bits) and ECN (lower 2).
    pub fn set_ipv4_tos(&mut self, value: u8, mask: u8) -> bool {
        self.ip(Net::Ipv4, Ipv4::TOS, [value], [mask], Covered::Header)
    }

    pub fn set_ipv4_ttl(&mut self, value: u8, mask: u8) -> bool {
        self.ip(Net::Ipv4, Ipv4::TTL, [value], [mask], Covered::Header)
    }

    pub fn set_ipv6_src(&mut self, value: Ipv6Addr, mask: Ipv6Addr) -> bool {
        let c = Covered::Addresses;
        self.ip(Net::Ipv6, Ipv6::SRC, value.octets(), mask.octets(), c)
    }

    /// A destination that is only a way station (routing header with segments left) is not in the pseudo header.
    pub fn set_ipv6_dst(&mut self, value: Ipv6Addr, mask: Ipv6Addr) -> bool {
        let c = if self.lay.en_route {
            Covered::No
        } else {
            Covered::Addresses
        };
        self.ip(Net::Ipv6, Ipv6::DST, value.octets(), mask.octets(), c)
    }

    /// DSCP (upper 6 bits) and ECN (lower 2).
    pub fn set_ipv6_tclass(&mut self, value: u8, mask: u8) -> bool {
        let (v, m) = (u16::from(value) << 4, u16::from(mask) << 4);
        self.ip(Net::Ipv6, 0, v.to_be_bytes(), m.to_be_bytes(), Covered::No)
    }

    pub fn set_ipv6_hop_limit(&mut self, value: u8, mask: u8) -> bool {
        self.ip(Net::Ipv6, Ipv6::HOP_LIMIT, [value], [mask], Covered::No)
    }

    /// The lower 20 bits of `value` and `mask`.
    pub fn set_ipv6_flow_label(&mut self, value: u32, mask: u32) -> bool {
        let (v, m) = (value & 0xf_ffff, mask & 0xf_ffff);
        self.ip(Net::Ipv6, 0, v.to_be_bytes(), m.to_be_bytes(), Covered::No)
    }

    /// Changes what the octets behind the header are said to be. The checksum of the transport that is there now takes the new
    /// pseudo header: where it stands under the new protocol is not known.
    pub fn set_ip_proto(&mut self, value: IpProto) -> bool {
        if self.lay.net == Net::Ipv4 {
            let c = Covered::Addresses;
            return self.ip(Net::Ipv4, Ipv4::PROTO, [value.0], [0xff], c);
        }
        let l3 = self.lay.l3;
        let packet = self.frame.bytes().get(l3..).and_then(Ipv6::new);
        let Some(upper) = packet
            .filter(|_| self.lay.net == Net::Ipv6)
            .and_then(|ip| ip.upper())
        else {
            return false;
        };
        let Some(octet) = self.frame.bytes_mut().get_mut(l3 + upper.named_at) else {
            return false;
        };
        let old = std::mem::replace(octet, value.0);
        if old != value.0 {
            // In the pseudo header it is the low half of a word, wherever it stands in the packet.
            self.patch_transport(odd_sum(&[value.0]).minus(odd_sum(&[old])), true);
        }
        true
    }

    fn arp<const N: usize>(&mut self, at: usize, value: [u8; N], mask: [u8; N]) -> bool {
        self.ip(Net::Arp, at, value, mask, Covered::No)
    }

    fn ip<const N: usize>(
        &mut self,
        net: Net,
        at: usize,
        value: [u8; N],
        mask: [u8; N],
        covered: Covered,
    ) -> bool {
        self.lay.net == net && self.write(self.lay.l3 + at, value, mask, covered)
    }
}
